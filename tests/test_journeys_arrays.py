"""What newcomers have as arrays, through training to samples: in their own values, type and axes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from alphabar.data import prepare
from program import TINY

RNG = np.random.default_rng(0)
N = 40


ARRAYS = {  # (array, options, the axes of its channels)
    "latents": (RNG.standard_normal((N, 16, 8, 8)).astype(np.float16), ("--layout", "CHW"), 1),
    "masks": (RNG.random((N, 8, 8)) < 0.3, (), None),
    "doubles far from zero": (1e6 + RNG.standard_normal((N, 2, 16)), ("--layout", "array"), 1),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ARRAYS)
def test_samples_come_back_in_the_arrays_own_values_type_and_axes(place, done, name):
    array, options, channels = ARRAYS[name]
    np.save("data.npy", array)
    layout = dict(zip(("layout",), options[1:], strict=False))
    data = prepare("data.npy", **layout)
    whole = array.dtype == bool
    own = array.astype(np.uint8)[:, None] if whole else array
    np.testing.assert_array_equal(data.images, own)
    axes = tuple(axis for axis in range(array.ndim) if axis != channels)
    low, high = ([0], [1]) if channels is None else (array.min(axes), array.max(axes))
    if data.space.kind == "field":
        assert data.space.bounds is None
        span = np.subtract(high, low)
        low, high = low - span, high + span  # they may go beyond the data
    else:
        np.testing.assert_array_equal((data.space.low, data.space.high), (low, high))
    done("train", "data.npy", *options, "--out", "run", "--images", 16, *TINY, "--prediction", "v")
    done("sample", "run", "-n", 6, "--steps", 3, "--out", "new")
    samples = np.load("new/samples.npy")
    assert samples.dtype == (np.uint8 if whole else array.dtype)
    assert samples.shape == (6, *array.shape[1:])
    least, most = (np.reshape(end, (-1,) + (1,) * (array.ndim - 2)) for end in (low, high))
    assert ((samples >= least) & (samples <= most)).all()
    spread = (samples.max(axes) - samples.min(axes)) / (np.subtract(high, low, dtype=float))
    assert (spread > 0.05).all()  # each channel fills its own range, and no other's


LABELS = {"a column": np.arange(N)[:, None] % 3, "one-hot": np.eye(3)[np.arange(N) % 3]}


@pytest.mark.parametrize("form", LABELS)
def test_labels_in_any_form_are_classes_that_can_be_asked_for(place, done, refused, form):
    np.savez("data.npz", images=RNG.integers(0, 256, (N, 8, 8), np.uint8), labels=LABELS[form])
    facts = json.loads(done("data", "data.npz", "--json")[0])
    assert facts["conditions"]["class"]["names"] == ["0", "1", "2"]
    np.testing.assert_array_equal(prepare("data.npz").values["class"], np.arange(N) % 3)
    done("train", "data.npz", "--out", "run", "--images", 16, *TINY)
    done("sample", "run", "-n", 2, "--steps", 2, "--class", "2", "--out", "new")
    assert "unknown class '3'" in refused(
        "sample", "run", "-n", 2, "--steps", 2, "--class", "3", "--out", "x"
    )
