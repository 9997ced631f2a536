"""Which axis is the channels, which array or column holds labels, and which folders are classes."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from alphabar.data import prepare
from alphabar.data.sources.opener import is_array


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Each test prepares from scratch."""
    monkeypatch.setenv("ALPHABAR_CACHE", str(tmp_path_factory.mktemp("cache")))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def classes(dataset):
    return dataset.conditions["class"].names


def labels(dataset):
    return dataset.values["class"].tolist()


def noted(dataset, text):
    return any(text in note for note in dataset.notes)


# --- axes --------------------------------------------------------------------------------------


def ways(tmp_path, array):
    """The same array given from Python, as .npy and in an .npz."""
    np.save(tmp_path / "d.npy", array)
    np.savez(tmp_path / "d.npz", images=array)
    return array, tmp_path / "d.npy", tmp_path / "d.npz"


@pytest.mark.parametrize(
    ("shape", "dtype", "named"),
    [
        ((6, 16, 8, 8), "uint8", ("CHW for 16 channels of 8 × 8", "HWC for 8 channels of 16 × 8")),
        ((6, 12, 1, 100), "float32", ("CHW for 12 channels of 1 × 100", "HWC for 100 channels of 12 × 1")),
        ((6, 3, 50, 4), "uint8", ("CHW for 3 channels of 50 × 4", "HWC for 4 channels of 3 × 50")),
        (
            (6, 12, 100),
            "float32",
            ("HW for gray pictures of 12 × 100", r"array for samples of shape \(12, 1"),
        ),
        ((6, 100, 2), "float32", ("HW for gray pictures of 100 × 2", "array for samples of shape")),
        ((6, 100, 2), "uint8", ("HW for gray pictures of 100 × 2", "array for samples of shape")),
    ],
)
def test_axes_that_can_be_read_in_two_ways_are_refused_with_both_everywhere(tmp_path, shape, dtype, named):
    for data in ways(tmp_path, noise(*shape).astype(dtype)):
        with pytest.raises(ValueError, match=rf"can be read in several ways: .*--layout.*{'.*'.join(named)}"):
            prepare(data)
        for layout in {3: ("HW", "CL", "LC", "array"), 4: ("CHW", "HWC", "array")}[len(shape)]:
            dataset = prepare(data, layout=layout)
            seen = dataset.space.to_layout(np.asarray(dataset.images))
            np.testing.assert_array_equal(seen, noise(*shape).astype(dtype))
            assert (dataset.space.kind == "array") == (layout == "array")
    with pytest.raises(ValueError, match=r"layout HWC? is for arrays of"):
        prepare(data, layout="HW" if len(shape) == 4 else "HWC")


@pytest.mark.parametrize(
    ("shape", "dtype", "layout", "seen"),
    [
        ((6, 3, 8, 8), "uint8", "CHW", "read as 3 channels of 8 × 8 (height × width), the second axis"),
        ((6, 8, 9, 1), "float32", "HWC", "read as 1 channel of 8 × 9 (height × width), the last axis"),
        ((6, 4, 16, 16), "float32", "CHW", "read as 4 channels of 16 × 16"),
        ((6, 9, 9), "float32", "HW", "read as gray pictures of 9 × 9"),
        ((6, 8, 9), "uint8", "HW", "read as gray pictures of 8 × 9"),
        ((6, 8, 9), "bool", "HW", "read as gray pictures of 8 × 9"),
        ((6, 2, 64), "float32", "CL", "read as series of 2 channels and 64 times"),
        ((6, 64), "float32", "array", "read as samples of shape (64), as they are"),
        ((6, 2, 3, 4, 5), "float32", "volume", "read as volumes of 2 channels, 3 × 4 × 5"),
        ((6, 2, 3, 4, 5, 2), "float32", "array", "read as samples of shape (2, 3, 4, 5, 2), as they are"),
    ],
)
def test_axes_that_are_plain_are_said(tmp_path, shape, dtype, layout, seen):
    for data in ways(tmp_path, noise(*shape).astype(dtype)):
        dataset = prepare(data)
        assert noted(dataset, seen)
        assert (dataset.space.kind in ("array", "volume")) == (layout in ("array", "volume"))
        if layout not in ("array", "volume"):
            assert dataset.space.layout == layout


# --- labels ------------------------------------------------------------------------------------


def one_hot(n=6, k=3):
    return np.eye(k)[np.arange(n) % k]


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint8", "bool"])
def test_one_hot_rows_are_classes_and_said(tmp_path, dtype):
    np.savez(tmp_path / "d.npz", images=noise(6, 8, 8), y_train=one_hot().astype(dtype))
    for data in (tmp_path / "d.npz", (noise(6, 8, 8), one_hot().astype(dtype))):
        dataset = prepare(data)
        assert classes(dataset) == ("0", "1", "2")
        assert labels(dataset) == [0, 1, 2, 0, 1, 2]
        assert noted(dataset, "of shape (6, 3) are one-hot: classes 0 to 2")


def test_one_hot_rows_of_many_samples_are_read_in_blocks(tmp_path):
    n = 1000
    np.savez(tmp_path / "d.npz", images=noise(n, 4, 4), labels=one_hot(n, 7))
    assert labels(prepare(tmp_path / "d.npz")) == (np.arange(n) % 7).tolist()


@pytest.mark.parametrize("rows", [0.9 * one_hot(), 1 - one_hot(), np.zeros((6, 3)), one_hot() * np.nan])
def test_rows_that_are_not_one_hot_are_refused_with_the_way_out(tmp_path, rows):
    np.savez(tmp_path / "d.npz", images=noise(6, 8, 8), labels=rows)
    for data in (tmp_path / "d.npz", (noise(6, 8, 8), rows)):
        with pytest.raises(
            ValueError, match=r"not one-hot: .*labels\.argmax\(1\), or go on .*--classes none"
        ):
            prepare(data)
        assert prepare(data, classes="none").values == {}


def test_which_arrays_of_an_npz_are_samples_and_labels_can_be_said_and_must_be_where_it_is_not_plain(
    tmp_path,
):
    path = tmp_path / "d.npz"
    fine, coarse = np.arange(6) % 3, np.arange(6)[:, None] % 2
    np.savez(path, images=noise(6, 8, 8), data=noise(6, 9, 9), labels=fine, targets=coarse, other=fine + 1)
    with pytest.raises(
        ValueError, match=r"images, data could each be the samples: say which, as d\.npz:NAME"
    ):
        prepare(path)
    with pytest.raises(ValueError, match=r"labels, targets could each be the labels: .*d\.npz:data,NAME"):
        prepare(f"{path}:data")
    for names, side, expected in [
        ("data,targets", 9, coarse), ("images,labels", 8, fine), ("images,other", 8, fine),
    ]:  # fmt: skip
        dataset = prepare(f"{path}:{names}")
        assert dataset.space.shape == (1, side, side)
        assert labels(dataset) == expected.ravel().tolist()
    assert is_array(f"{path}:data,targets")
    for names, message in [
        ("data,nothing", "there is no array 'nothing'"),
        ("data,images", "a told grid must have the sides of a sample, 9 × 9, or such as .*; got 8 × 8"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            prepare(f"{path}:{names}")
    with pytest.raises(ValueError, match="'labels' is named as labels, and classes are not to be used"):
        prepare(f"{path}:images,labels", classes="none")


def test_labels_alone_can_be_named(tmp_path):
    np.savez(tmp_path / "d.npz", pictures=noise(4, 8, 8), kind=["a", "b", "a", "b"], y=[0, 0, 0, 1])
    dataset = prepare(f"{tmp_path / 'd.npz'}:,kind")
    assert (classes(dataset), labels(dataset)) == (("a", "b"), [0, 1, 0, 1])


def test_columns_of_a_hugging_face_data_set_can_be_said_and_must_be_where_they_are_not_plain(tmp_path):
    datasets = pytest.importorskip("datasets")
    one = datasets.ClassLabel(names=["x", "y"])
    pictures = [Image.fromarray(noise(8, 8, seed=i)) for i in range(4)]
    larger = [Image.fromarray(noise(9, 9, seed=i)) for i in range(4)]
    columns = {"left": pictures, "right": larger, "fine_label": [0, 1, 0, 1], "coarse_label": [1, 1, 0, 0]}
    kinds = {"left": datasets.Image(), "right": datasets.Image(), "fine_label": one, "coarse_label": one}
    table = datasets.Dataset.from_dict(columns, datasets.Features(kinds))
    table.save_to_disk(str(tmp_path / "d"))
    name = f"hf:{tmp_path / 'd'}"
    with pytest.raises(
        ValueError, match=r"left, right could each be the pictures: say which, as hf:.*:COLUMN"
    ):
        prepare(name)
    with pytest.raises(
        ValueError, match=r"fine_label, coarse_label could each be the labels: .*:left,LABELS"
    ):
        prepare(f"{name}:left")
    assert prepare(f"{name}:left", classes="none").space.shape == (1, 8, 8)
    for split in ("", "@train"):
        dataset = prepare(f"{name}{split}:right,coarse_label")
        assert (dataset.space.shape, labels(dataset)) == ((1, 9, 9), [1, 1, 0, 0])
        assert noted(dataset, "pictures from right, classes from coarse_label; not used: left, fine_label")
    with pytest.raises(ValueError, match="has no column 'middle'; its columns: left"):
        prepare(f"{name}:middle")
    with pytest.raises(ValueError, match="'fine_label' holds no pictures; columns that do: left, right"):
        prepare(f"{name}:fine_label")


# --- folders -----------------------------------------------------------------------------------


def tree(root, names):
    """A folder of pictures, and a .zip of it, without and with the folder itself."""
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(8, 8, seed=i)).save(path)
    found = [root]
    for top in ("", f"{root.name}/"):
        found.append(root.with_name(f"{root.name}{len(found)}.zip"))
        with zipfile.ZipFile(found[-1], "w") as archive:
            for name in names:
                buffer = io.BytesIO()
                Image.open(root / name).save(buffer, "PNG")
                archive.writestr(f"{top}{name}", buffer.getvalue())
    return found


CATS_AND_DOGS = [f"{kind}/{i}.png" for kind in ("cats", "dogs") for i in range(2)]
SPLIT = [f"{split}/{name}" for split in ("test", "train") for name in CATS_AND_DOGS]


@pytest.mark.parametrize(
    ("names", "auto", "folders"),
    [
        (CATS_AND_DOGS, ("cats", "dogs"), ("cats", "dogs")),
        ([f"all/{name}" for name in CATS_AND_DOGS], ("cats", "dogs"), ("cats", "dogs")),
        ([f"a/b/{name}" for name in CATS_AND_DOGS], ("cats", "dogs"), ("cats", "dogs")),
        (SPLIT, ("cats", "dogs"), ("cats", "dogs")),
        ([f"set/{name}" for name in SPLIT], ("cats", "dogs"), ("cats", "dogs")),
        ([f"Train/{name}" for name in CATS_AND_DOGS], ("cats", "dogs"), ("cats", "dogs")),
        (CATS_AND_DOGS[:2], None, ("cats",)),
        (["train/0.png", "train/1.png", "test/0.png", "test/1.png"], None, ValueError),
        ([*(f"train/{name}" for name in CATS_AND_DOGS), "test/0.png", "test/1.png"], None, ValueError),
        (["a/0.png", "a/1.png", "b/x/0.png", "b/x/1.png"], None, ("a", "b")),
    ],
)
def test_a_folder_and_a_zip_of_it_have_the_same_classes_and_splits_are_none(tmp_path, names, auto, folders):
    for data in tree(tmp_path / "d", names):
        dataset = prepare(data)
        assert (classes(dataset) if dataset.conditions else None) == auto
        assert prepare(data, classes="none").conditions == {}
        if folders is ValueError:
            with pytest.raises(ValueError, match=r"folders in train, test, but \S+/[01]\.png lies in none"):
                prepare(data, classes="folders")
        else:
            insisted = prepare(data, classes="folders")
            assert classes(insisted) == folders
            kinds = [next(kind for kind in folders if f"{kind}/" in f"{name}") for name in sorted(names)]
            assert [folders[i] for i in labels(insisted)] == kinds


@pytest.mark.parametrize("around", ["", "set/"])
def test_splits_that_are_mixed_are_said_with_the_way_to_train_on_one(tmp_path, around):
    folder, *_ = tree(tmp_path / "d", [f"{around}{name}" for name in SPLIT])
    said = f"train, test are taken together; for one alone give DATA/{around}train"
    dataset = prepare(folder)
    assert (len(dataset.images), noted(dataset, said)) == (8, True)
    alone = prepare(folder / around / "train")
    assert (len(alone.images), classes(alone), noted(alone, "together")) == (4, ("cats", "dogs"), False)
