"""Data given from Python: arrays, tensors, lists, pictures, and data sets of PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import alphabar as ab
from alphabar import rng
from alphabar.data import ClassCondition, prepare
from alphabar.data.sources.opener import is_array
from alphabar.nn import UNet
from alphabar.sampling.config import SampleConfig
from alphabar.theory.plans import Plan
from tiny import tiny_config


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


IMAGES, KINDS = noise(12, 8, 8), np.arange(12) % 3
PICTURES = [Image.fromarray(image) for image in IMAGES]


class MapStyle(torch.utils.data.Dataset):
    """Items as a person's own data set gives them."""

    def __init__(self, items, classes=None):
        self.items = items
        if classes is not None:
            self.classes = classes

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


PAIRS = list(zip(IMAGES, KINDS, strict=True))
PICTURE_PAIRS = list(zip(PICTURES, KINDS.tolist(), strict=True))


@pytest.mark.parametrize(
    "data",
    [
        IMAGES,
        torch.from_numpy(IMAGES),
        torch.from_numpy(IMAGES).requires_grad_(False),
        list(IMAGES),
        tuple(IMAGES),
        list(torch.from_numpy(IMAGES)),
        PICTURES,
        tuple(PICTURES),
        MapStyle(IMAGES),
        MapStyle(PICTURES),
    ],
)
def test_samples_are_the_same_however_they_are_given(data):
    dataset = prepare(data)
    np.testing.assert_array_equal(dataset.images[:, 0], IMAGES)
    assert (dataset.space.kind, dataset.space.layout, dataset.conditions) == ("picture", "HW", {})


@pytest.mark.parametrize(
    "data",
    [
        (IMAGES, KINDS),
        (torch.from_numpy(IMAGES), torch.from_numpy(KINDS)),
        (list(IMAGES), KINDS.tolist()),
        (PICTURES, KINDS),
        (MapStyle(PICTURES), KINDS),
        (PAIRS, KINDS),
        PAIRS,
        PICTURE_PAIRS,
        MapStyle(PAIRS),
        MapStyle(PICTURE_PAIRS),
        torch.utils.data.Subset(MapStyle(PICTURE_PAIRS), range(12)),
        [(image, np.eye(3)[kind]) for image, kind in PAIRS],
        [(torch.from_numpy(image), torch.tensor([kind])) for image, kind in PAIRS],
        torch.utils.data.TensorDataset(torch.from_numpy(IMAGES), torch.from_numpy(KINDS)),
    ],
)
def test_labels_are_used_however_they_are_given(data):
    dataset = prepare(data)
    np.testing.assert_array_equal(dataset.images[:, 0], IMAGES)
    assert dataset.conditions["class"].names == ("0", "1", "2")
    np.testing.assert_array_equal(dataset.values["class"], KINDS)
    assert prepare(data, classes="none").conditions == {}


def test_a_list_of_two_is_two_samples_and_a_tuple_of_two_is_samples_and_labels():
    assert len(prepare([IMAGES[0], IMAGES[1]], holdout=0).images) == 2
    assert prepare((IMAGES[:2], ["a", "b"])).conditions["class"].names == ("a", "b")
    with pytest.raises(ValueError, match=r"labels \(N, 8\) are not one-hot"):
        prepare((IMAGES[0], IMAGES[1]))


def test_names_of_classes_come_along():
    dataset = prepare(MapStyle(PICTURE_PAIRS, classes=["cat", "dog", "emu", "yak"]))
    assert dataset.conditions["class"].names == ("cat", "dog", "emu", "yak")
    assert any("classes without a training sample: yak" in note for note in dataset.notes)
    assert prepare(MapStyle(PICTURE_PAIRS, classes=["cat"])).conditions["class"].names == ("0", "1", "2")


def test_pictures_take_the_settings_of_pictures_and_arrays_those_of_arrays():
    mixed = [*PICTURES, Image.fromarray(noise(20, 30, 3))]
    assert prepare(mixed, size=16).space.shape == (3, 16, 16)
    assert not is_array(mixed)
    assert not is_array((MapStyle(PICTURE_PAIRS), KINDS))
    assert is_array(list(IMAGES))
    with pytest.raises(ValueError, match="layout is for arrays"):
        prepare(PICTURES, layout="HW")
    with pytest.raises(ValueError, match="size is for pictures"):
        prepare(list(IMAGES), size=8)
    floats = [image.astype(np.float32)[None] / 255 for image in IMAGES]
    assert prepare(floats).space.shape == (1, 8, 8)


def test_items_that_do_not_fit_are_named():
    odd = [*PICTURES[:3], "not a picture", *PICTURES[4:]]
    with pytest.raises(
        ValueError, match=r"1 of 12 pictures cannot be read: picture 3 \(items must be samples"
    ):
        prepare(odd)
    assert len(prepare(odd, skip_bad=True).images) == 11
    pairs = [*PICTURE_PAIRS[:3], PICTURES[3], *PICTURE_PAIRS[4:]]
    with pytest.raises(ValueError, match=r"picture 3 \(item 3 is no pair, unlike item 0\)"):
        prepare(pairs)
    skipping = prepare(pairs, skip_bad=True)
    np.testing.assert_array_equal(skipping.values["class"], np.delete(KINDS, 3))
    for items, message in [
        ([*IMAGES[:3], noise(9, 9)], r"item 3 is uint8 \(9, 9\), item 0 uint8 \(8, 8\)"),
        ([*IMAGES[:3], IMAGES[3].astype(float)], "item 3 is float64"),
        ([*PAIRS[:3], IMAGES[3]], "item 3 is no pair, unlike item 0"),
        (
            [*PAIRS[:3], (IMAGES[3], [1, 2])],
            r"labels must be one for each sample, got shapes \(\) and others",
        ),
        ([{"image": IMAGES[0]}], r"items must be samples or pairs \(sample, label\), got dict as 0"),
        ([None, None], "must hold numbers"),
    ]:
        with pytest.raises(ValueError, match=message):
            prepare(items)


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(IMAGES)


class Broken(MapStyle):
    def __getitem__(self, i):
        raise KeyError("the file is gone")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Stream(), r"got Stream; what can only be gone through: give list\(data\)"),
        (iter(IMAGES), r"give list\(data\)"),
        (torch.utils.data.DataLoader(MapStyle(IMAGES)), r"got DataLoader; .* give list\(data\)"),
        ({"images": IMAGES}, "a map-style data set .* got dict"),
        (3, "got int"),
        (None, "got NoneType"),
        ([], "no samples in the list"),
        (Broken(IMAGES), r"item 0 of Broken cannot be had by its number \(KeyError: 'the file is gone'\)"),
    ],
)
def test_what_is_no_data_is_told_what_is(data, message):
    with pytest.raises(ValueError, match=message):
        prepare(data)


def test_a_data_set_of_pytorch_trains(tmp_path):
    settings = tiny_config().model_dump(exclude_defaults=True)
    rows = list(ab.train(MapStyle(PICTURE_PAIRS), tmp_path / "run", **settings | {"images": 16}))
    assert rows[-1]["images"] == 16
    assert ab.load(tmp_path / "run").conditions["class"].names == ("0", "1", "2")


LONG = 3000
LONG_GIVEN = {
    "a setting": lambda: tiny_config(images=[1] * LONG),
    "a setting of sampling": lambda: SampleConfig(seed=[1] * LONG),
    "a setting of the network": lambda: UNet((1, 8, 8), channel_mult=["a"] * LONG),
    "a name": lambda: tiny_config(loss="a" * LONG),
    "sides": lambda: prepare(np.zeros((8, 1, 8, 8), np.uint8), size=[1] * LONG),
    "a range": lambda: prepare(np.zeros((8, 1, 8, 8), np.uint8), range=[1] * LONG),
    "classes": lambda: ClassCondition(("a", "b")).encode([17] * 2 + [*range(LONG)]),
    "a plan": lambda: Plan(*[[float("nan")] * LONG] * 5),
    "numbers of samples": lambda: rng.normal(0, "noise", [0.5] * LONG, 0, shape=(1,)),
}


@pytest.mark.parametrize("what", LONG_GIVEN)
def test_what_is_long_is_not_repeated_in_full(what):
    with pytest.raises(ValueError) as error:
        LONG_GIVEN[what]()
    assert "got" in str(error.value) or "unknown" in str(error.value)
    assert len(str(error.value)) < 600
