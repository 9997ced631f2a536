"""Numbers of every type, however large and however far from zero, through the codec and back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alphabar.data import Space, prepare
from alphabar.model.codec import codec_from, fit_codec

WHOLE = ["int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", ">i8", ">u8"]
FLOATS = ["float16", "float32", "float64", ">f4", ">f8"]


def there_and_back(values):
    """(what comes back, the codec, x_0), by data that are prepared and a codec read from its entry."""
    dataset = prepare(values, layout="array", holdout=0)
    space = Space(**dataset.space.to_dict())
    assert space == dataset.space
    codec = codec_from(fit_codec(space).to_dict(), space)
    x_0 = codec.encode(np.asarray(dataset.images))
    assert x_0.dtype == np.float32
    assert np.abs(x_0).max() <= 1 + 1e-4  # the middle of a range is itself rounded
    back = codec.decode(x_0)
    assert back.dtype == values.dtype
    return back, codec, x_0


def steps_between(back, values):
    """back - values exactly, as Python numbers: whole ones have no limits."""
    return [abs(a - b) for a, b in zip(back.ravel().tolist(), values.ravel().tolist(), strict=True)]


def ranges(dtype, seed):
    """(least, greatest) of many kinds: all of the type, at both ends of it, one value, odd and even."""
    draws = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    low, high = int(info.min), int(info.max)
    for size in (0, 1, 2, 3, 100, 1000, 2**24, 2**53, 2**62):
        if size < high - low:
            yield low, low + size
            yield high - size, high
            middle = low + (high - low) // 2 + int(draws.integers(-9, 9))
            yield middle - size // 2, middle - size // 2 + size
    yield low, high
    yield low + 1, high - 1


@pytest.mark.parametrize("dtype", WHOLE)
def test_whole_numbers_come_back_within_half_a_unit_of_float32_and_exactly_at_both_ends(dtype):
    for i, (low, high) in enumerate(ranges(dtype, 0)):
        draws = np.random.default_rng(i)
        inside = [low + int(draws.random() * 2**60) * (high - low) // 2**60 for _ in range(64)]
        values = np.array([low, high, *inside], dtype).reshape(-1, 1, 1)
        back, codec, x_0 = there_and_back(values)
        assert back.ravel()[:2].tolist() == [low, high]
        apart = max(steps_between(back, values))
        assert apart <= (high - low) * 2.0**-24
        if high - low < 2**23:
            np.testing.assert_array_equal(back, values)
        assert codec.bounds == pytest.approx((-1, 1))
        if high > low:
            assert x_0.ravel()[:2].tolist() == [-1, 1]


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_whole_numbers_beyond_float64_keep_their_differences(dtype):
    for origin in (2**53 + 1, 2**62 + 12345, int(np.iinfo(dtype).max) - 2000, int(np.iinfo(dtype).min)):
        values = np.array([origin + i for i in range(1999)], dtype).reshape(-1, 1, 1)
        back, *_ = there_and_back(values)
        np.testing.assert_array_equal(back, values)


def test_each_channel_has_an_origin_of_its_own():
    values = np.arange(60).reshape(20, 3, 1) + np.array([2**62, -(2**62), 0])[:, None]
    back, codec, _ = there_and_back(values)
    np.testing.assert_array_equal(back, values)
    assert codec.space.low == tuple(values.min((0, 2)).tolist())
    assert f"{2**62} to {2**62 + 57}" in codec.space.shown_range()


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_come_back_within_half_a_unit_of_float32_and_exactly_at_both_ends(dtype):
    info = np.finfo(dtype)
    most, tiny = float(info.max), float(info.smallest_subnormal)
    for low, high in [
        (-most, most), (0, most), (most / 2, most), (0, tiny), (-tiny, tiny), (0.1, 0.7), (1e-4, 1),
        (-1e-5, 3e4), (1, 1), (math.pi, math.pi + 1), (-7e4 if dtype != "float16" else -60, 1 / 3),
    ]:  # fmt: skip
        low, high = np.array([low, high], dtype).tolist()
        share = np.random.default_rng(0).random(64)
        inside = low * (1 - share) + high * share
        values = np.array([low, high, *np.clip(inside, low, high)], dtype).reshape(-1, 1, 1)
        back, codec, _ = there_and_back(values)
        assert back.ravel()[:2].tolist() == [low, high]
        top = np.abs(values).max().astype(np.dtype(dtype).newbyteorder("="))
        own = float(top) - float(np.nextafter(top, top.dtype.type(0)))
        apart = np.abs(back.astype(np.float64) / 4 - values.astype(np.float64) / 4).max() * 4
        assert apart <= (high / 2 - low / 2) * 2.0**-23 + own
        assert codec.bounds is not None


@pytest.mark.parametrize("far", [1e9, -1e12, 1e15])
def test_noise_on_a_large_number_stays_intact(far):
    noise = np.random.default_rng(0).normal(size=(50, 1, 20))
    values = far + noise
    back, _, x_0 = there_and_back(values)
    span = float(np.ptp(values))
    np.testing.assert_allclose(back - far, values - far, rtol=0, atol=span * 2.0**-24 + np.spacing(abs(far)))
    assert len(np.unique(x_0)) > 0.9 * len(np.unique(values))


def test_values_of_other_data_far_outside_are_encoded_as_such():
    codec = fit_codec(Space((1,), "int64", 2**62, 2**62 + 10))
    x_0 = codec.encode(np.array([[-(2**63)], [2**62 + 5], [2**63 - 1]]))
    assert (x_0[0, 0] < -1e17, x_0[1, 0], x_0[2, 0] > 1e17) == (True, 0, True)
    assert codec.decode(np.array([[-1e30], [0], [1e30]])).ravel().tolist() == [2**62, 2**62 + 5, 2**62 + 10]


@pytest.mark.parametrize("low", [None, [[1]], "a", [None], 10**400, float("nan"), {}])
def test_bounds_that_are_none_are_refused(low):
    with pytest.raises(
        ValueError, match=r"low must be a finite number|both low and high|finite number for each"
    ):
        Space((2,), "int64", low, 10**500)
