"""Random numbers: Philox's published vectors, one function in any cut and on any device, and normality."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from alphabar.philox import _cos_sin, _minus_two_log, box_muller, philox
from alphabar.rng import (
    BLOCKS_AT_ONCE,
    NORMAL,
    PURPOSES,
    _blocks,
    _bytes_in_torch,
    _made,
    normal,
    normal_tensor,
    random_bytes,
    stream,
    uniform,
)

CPU = torch.device("cpu")
VECTORS = [  # kat_vectors of Random123, philox4x32 of 10 rounds
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    return [int(word, 16) for word in text.split()]


def kolmogorov_smirnov(z):
    """sqrt(n) times the greatest distance between the empirical and the normal distribution function."""
    z = np.sort(z.ravel().astype(np.float64))
    cdf = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in z])
    n = len(z)
    above, below = np.arange(1, n + 1) / n - cdf, cdf - np.arange(n) / n
    return math.sqrt(n) * max(above.max(), below.max())


@pytest.mark.parametrize("make", [np.array, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_philox_gives_the_published_words(make, counter, key, expected):
    found = philox([make([word]) for word in words(counter)], [make([word]) for word in words(key)])
    assert [int(word[0]) for word in found] == words(expected)


def test_the_counter_is_block_step_and_index_and_the_key_the_seed():
    """Number 4 b + 2 of a sample is the cosine of the second pair of words of block b."""
    seed, purpose, index, step = 2**40 + 5, "sample", 2**33 + 7, 9
    high = PURPOSES[purpose] * 2**24 + index // 2**32
    counter = [3, step, index % 2**32, high]
    a, b = (int(w[0]) for w in philox([np.array([c]) for c in counter], [5, 2**8])[2:])
    radius = math.sqrt(-2 * math.log((a + 0.5) / 2**32))
    expected = radius * math.cos(2 * math.pi * ((b + 0.5) / 2**32 - 0.5))
    assert normal(seed, purpose, index, step, shape=(20,))[14] == np.float32(expected)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 4), (1, 40, 30)])
def test_a_sample_is_the_same_in_any_slice_and_a_shape_is_a_prefix(shape):
    indices = np.array([4, 0, 2**50, 7, 2**32])
    for function in (normal, uniform):
        whole = function(3, "noise", indices, 11, shape=shape)
        assert whole.shape == (5, *shape)
        for row, index in zip(whole, indices, strict=True):
            alone = function(3, "noise", int(index), 11, shape=shape)
            assert np.shape(alone) == shape
            assert np.array_equal(alone, row)
        assert np.array_equal(function(3, "noise", indices[1:3], 11, shape=shape), whole[1:3])
        longer = function(3, "noise", indices, 11, shape=(math.prod(shape) + 9,))
        assert np.array_equal(longer[:, : math.prod(shape)], whole.reshape(5, -1))
    assert normal(3, "noise", indices, 11, shape=shape).dtype == np.float32
    assert uniform(3, "noise", indices, 11, shape=shape).dtype == np.float64
    assert normal(3, "noise", [], shape=shape).shape == (0, *shape)


def test_the_pieces_in_which_they_are_made_do_not_show():
    """A sample of more blocks than are made at once, and more samples than are made at once."""
    large = normal(0, "noise", [5, 6], shape=(4 * BLOCKS_AT_ONCE + 44,))
    assert np.array_equal(large[1], normal(0, "noise", 6, shape=(4 * BLOCKS_AT_ONCE + 44,)))
    (_, here), *_ = (piece for piece in _blocks(0, "noise", 6, 0, 5))
    out = np.empty((1, 5, 4), np.float32)
    box_muller(here, out)
    assert np.array_equal(out.ravel(), large[1, :20])
    many = normal(0, "noise", range(300), shape=(700,))
    assert np.array_equal(many[299], normal(0, "noise", 299, shape=(700,)))
    assert np.array_equal(many[150], normal(0, "noise", 150, shape=(700,)))


def test_torch_makes_the_same_numbers_to_the_bit():
    arguments = (2**45 + 1, "sample", [3, 2**40, 5], 17)
    expected = normal(*arguments, shape=(3, 50, 70))
    for made in (
        _made(NORMAL, *arguments, shape=(3, 50, 70), device=CPU),
        normal_tensor(*arguments, shape=(3, 50, 70)),
    ):
        assert made.dtype == torch.float32
        assert np.array_equal(made.numpy(), expected)
    assert _made(NORMAL, 0, "sample", 3, 0, (), CPU).shape == ()


def test_seeds_and_steps_may_differ_from_sample_to_sample():
    seeds, indices, steps = [1, 2**60, 1], [5, 5, 6], [0, 9, 2**32 - 1]
    for made in (
        normal(seeds, "sample", indices, steps, shape=(9,)),
        _made(NORMAL, seeds, "sample", indices, steps, (9,), CPU).numpy(),
    ):
        for row, seed, index, step in zip(made, seeds, indices, steps, strict=True):
            assert np.array_equal(row, normal(seed, "sample", index, step, shape=(9,)))
    with pytest.raises(ValueError, match="step must be one number, or one for each of 3 indices, got 2"):
        normal(0, "sample", indices, [1, 2])


def test_log_cosine_and_sine_are_right_to_the_last_digits():
    word = np.concatenate([np.arange(2000), 2**32 - 1 - np.arange(2000), np.arange(0, 2**32, 99_991)])
    u = (word + 0.5) / 2**32
    np.testing.assert_allclose(_minus_two_log(u), -2 * np.log(u), rtol=1e-13)
    cos, sin = _cos_sin(u - 0.5)
    np.testing.assert_allclose(cos, np.cos(2 * np.pi * (u - 0.5)), atol=1e-13)
    np.testing.assert_allclose(sin, np.sin(2 * np.pi * (u - 0.5)), atol=1e-13)
    assert math.sqrt(_minus_two_log(u)[0]) == pytest.approx(6.7637, abs=1e-4)  # the greatest |z|


def test_they_are_normal():
    z = normal(1, "noise", range(64), 2, shape=(5_000,)).astype(np.float64)
    n = z.size
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10_170)]:
        assert abs((z**power).mean() - moment) < 4 * math.sqrt(variance / n), power
    assert kolmogorov_smirnov(z[:20]) < 1.63  # exceeded once in a hundred seeds
    for bound in (2.0, 3.0, 4.0):
        share = math.erfc(bound / math.sqrt(2))
        for found in (2 * (z > bound).mean(), 2 * (z < -bound).mean()):
            assert abs(found - share) < 4 * math.sqrt(2 * share / n), bound


def test_numbers_of_one_sample_and_of_one_block_are_independent():
    """Also in their squares: the two of a pair share a radius, and its square must not show."""
    z = normal(2, "noise", range(4), shape=(100_000,)).astype(np.float64)
    for lag in (1, 2, 3, 4, 5):
        for power in (1, 2):
            a, b = z[:, :-lag] ** power, z[:, lag:] ** power
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / math.sqrt(a.size), (lag, power)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"seed": 2**32},
        {"seed": 2**62},
        {"purpose": "time"},
        {"indices": 1},
        {"indices": 2**32},
        {"indices": 2**55},
        {"step": 1},
        {"step": 2**31},
    ],
)
def test_each_argument_alone_gives_other_independent_numbers(other):
    usual = {"seed": 0, "purpose": "noise", "indices": 0, "step": 0}
    a, b = normal(**usual, shape=(40_000,)), normal(**{**usual, **other}, shape=(40_000,))
    assert not (a == b).any()
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / math.sqrt(len(a))
    assert stream(0, "noise").random() != stream(1, "noise").random()


def test_uniform_numbers_fill_the_interval_evenly():
    u = uniform(0, "time", range(30), shape=(5_000,))
    assert u.min() >= 0
    assert u.max() < 1
    counts = np.histogram(u, 100, (0, 1))[0]
    expected = u.size / 100
    assert ((counts - expected) ** 2 / expected).sum() < 149  # chi square of 99: once in a thousand
    assert abs(np.corrcoef(u[:, :-1].ravel(), u[:, 1:].ravel())[0, 1]) < 4 / math.sqrt(u.size)
    assert len(np.unique(u)) == u.size  # 53 bits
    assert 0 <= uniform(0, "time", 7) < 1


def test_bytes_are_those_of_the_words():
    octets = random_bytes(4, "dropout", [2, 2**32 + 2], 6, 37)
    (_, here), *_ = (piece for piece in _blocks(4, "dropout", 2, 6, 3))
    expected = [int(word[0, b]) >> (8 * j) & 255 for b in range(3) for word in here for j in range(4)]
    assert octets.shape == (2, 37)
    assert octets[0].tolist() == expected[:37]
    assert torch.equal(_bytes_in_torch(4, "dropout", [2, 2**32 + 2], 6, 37, CPU), octets)
    assert not torch.equal(octets[0], octets[1])
    counts = np.bincount(random_bytes(0, "dropout", range(10), 0, 25_600).numpy().ravel(), minlength=256)
    assert ((counts - 1000) ** 2 / 1000).sum() < 331  # chi square of 255: once in a thousand


@pytest.mark.parametrize("seed", [-1, 2**63, 0.5, True, None, "1", 2**70])
def test_what_is_no_seed_is_refused(seed):
    for made in (lambda: normal(seed, "noise", 0), lambda: stream(seed, "noise")):
        with pytest.raises(ValueError, match=r"seed must be a whole number within 0\.\.2\^63 - 1"):
            made()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"purpose": "nois"},
            "unknown purpose of random numbers 'nois'; known: weights, .*did you mean 'noise'",
        ),
        ({"indices": -1}, r"index must be a whole number within 0\.\.2\^56 - 1.*got -1"),
        ({"indices": [0, 2**56]}, "index must be"),
        ({"indices": [0.0, 1.0]}, "index must be"),
        ({"indices": [[0], [1]]}, "index must be"),
        ({"step": -1}, r"step must be a whole number within 0\.\.2\^32 - 1"),
        ({"step": 2**32}, "step must be"),
    ],
)
def test_what_cannot_be_counted_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        normal(**{"seed": 0, "purpose": "noise", "indices": 0, **arguments})
    if "purpose" in arguments:
        with pytest.raises(ValueError, match=message):
            stream(0, arguments["purpose"])
