"""What newcomers bring: what `alphabar data` says of it, and what samples of it look like as files."""

from __future__ import annotations

import unicodedata
import zipfile

import numpy as np
import pytest
from PIL import Image

from alphabar.cli.read import read_sample
from alphabar.data import prepare
from alphabar.data.sources.pictures import opened
from alphabar.model.codec import fit_codec
from alphabar.sampling.output import write_samples
from alphabar.sampling.samples import Samples
from program import TINY, pictures

SCRIPTS = ("café", "снег", "猫", "قطة", "नमस्ते")


@pytest.fixture
def journey(tmp_path, monkeypatch, done):
    """Go from DATA to files of samples, and back; what was said, and the data as a model has it."""
    monkeypatch.setenv("ALPHABAR_CACHE", str(tmp_path / "cache"))

    def journey(data, mode, **options):
        flags = [word for name, value in options.items() for word in (f"--{name}", value)]
        said, _ = done("data", data, *flags, "--out", tmp_path / f"sheet-{len(list(tmp_path.iterdir()))}.png")
        dataset = prepare(data, **options)
        codec = fit_codec(dataset.space)
        again = codec.decode(codec.encode(dataset.images))
        assert again.dtype == dataset.images.dtype
        np.testing.assert_array_equal(again, dataset.images)
        folder = tmp_path / f"samples-{len(list(tmp_path.iterdir()))}"
        write_samples(folder, Samples(again, np.arange(len(again)), {}, {}, dataset.space))
        for i, image in enumerate(again):
            with opened(folder / f"{i:06d}.png") as file:
                assert file.mode == mode
            read = read_sample(str(folder / f"{i:06d}.png"), dataset.space)
            np.testing.assert_array_equal(read, image)
        return " ".join(said.split()), dataset

    return journey


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def noise(*shape, seed=0, high=256):
    return np.random.default_rng(seed).integers(0, high, shape, dtype=np.uint8)


def emoji(folder, n=4, side=16):
    """Yellow discs on nothing."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    alpha = np.clip(8 - np.hypot(x, y), 0, 1)
    for i in range(n):
        color = np.full((side, side, 3), (255, 200 - i, 0))
        save(folder / f"{i}.png", np.dstack([color, 255 * alpha]).astype(np.uint8))


def test_emoji_are_laid_over_white_or_keep_their_transparency(tmp_path, journey):
    emoji(tmp_path / "emoji")
    said, dataset = journey(tmp_path / "emoji", "RGB", channels="rgb")
    assert "laid over white" in said
    assert dataset.images[0, :, 0, 0].tolist() == [255, 255, 255]
    said, dataset = journey(tmp_path / "emoji", "RGBA")
    assert "4 × 16 × 16" in said
    assert "laid over" not in said
    assert dataset.images[0, :, 0, 0].tolist() == [0, 0, 0, 0]
    assert dataset.images[0, :, 8, 8].tolist() == [255, 200, 0, 255]


def test_sprites_of_two_sizes_keep_their_palette(tmp_path, journey):
    palette = np.array([(0, 0, 0), (255, 0, 77), (41, 173, 255)], np.uint8)
    for i in range(6):
        side = 16 if i % 2 else 32
        image = Image.fromarray(palette[noise(side, side, seed=i, high=3)]).quantize(3)
        (tmp_path / "sprites").mkdir(exist_ok=True)
        image.save(tmp_path / "sprites" / f"{i}.png")
    said, smooth = journey(tmp_path / "sprites", "RGB")
    assert smooth.space.shape == (3, 32, 32)
    assert "3 of 6 are 32 × 32 pixels" in said
    assert "1.png (16 × 16)" in said
    assert "small pictures are smoothed where they are resized; for pixel art give --resize nearest" in said
    said, sharp = journey(tmp_path / "sprites", "RGB", resize="nearest")
    assert "smoothed" not in said
    found = np.moveaxis(sharp.images, 1, -1).reshape(-1, 3)
    assert {tuple(color) for color in found.tolist()} == {tuple(color) for color in palette.tolist()}


def test_slices_of_a_scanner_come_back_in_their_own_values(tmp_path, journey):
    slices = np.random.default_rng(0).integers(24, 4000, (5, 16, 16), dtype=np.uint16)
    for i, array in enumerate(slices):
        save(tmp_path / "slices" / f"{i}.tif", array)
    said, dataset = journey(tmp_path / "slices", "I;16")
    assert "1 × 16 × 16 (C × H × W), uint16" in said
    assert f"values {slices.min()} to {slices.max()}, seen as -1 to 1" in said
    np.testing.assert_array_equal(dataset.images[:, 0], slices)


def test_a_folder_of_links_is_followed_and_ends(tmp_path, journey):
    pictures(tmp_path / "data" / "birds", 3)
    pictures(tmp_path / "disk" / "cats", 2, seed=7)
    (tmp_path / "data" / "cats").symlink_to(tmp_path / "disk" / "cats")
    (tmp_path / "disk" / "cats" / "home").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "lost").symlink_to(tmp_path / "nowhere")
    said, dataset = journey(tmp_path / "data", "L")
    assert "2 classes birds (" in said
    assert dataset.values["class"].tolist() == [0, 0, 0, 1, 1]
    assert "cats/home is a link to DATA itself, which is read once" in said
    assert "lost is a link to nothing" in said


def test_a_class_from_a_telephone_is_named_as_unreadable(tmp_path, journey):
    pictures(tmp_path / "data" / "cats", 3)
    (tmp_path / "data" / "dogs").mkdir()
    for i in range(3):
        (tmp_path / "data" / "dogs" / f"IMG_{i}.DNG").write_bytes(b"\0\0\0\x18ftypdng ")
    said, dataset = journey(tmp_path / "data", "L")
    assert "dogs holds no picture that can be read (3 × .dng) and is left out as a whole" in said
    assert dataset.conditions == {}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("kind", ["folder", "zip", "Info-ZIP"])
def test_names_in_any_script_are_classes(tmp_path, journey, kind, form):
    names = [unicodedata.normalize(form, name) for name in SCRIPTS]
    for k, name in enumerate(names):
        pictures(tmp_path / "data" / name, 2, seed=k)
    data = tmp_path / "data"
    if kind != "folder":
        data = tmp_path / "data.zip"
        with zipfile.ZipFile(data, "w") as archive:
            for path in sorted((tmp_path / "data").rglob("*.png")):
                archive.write(path, path.relative_to(tmp_path / "data").as_posix())
    if kind == "Info-ZIP":  # which writes UTF-8 and doesn't say so
        data.write_bytes(without_the_flag(data.read_bytes()))
    said, dataset = journey(data, "L")
    assert dataset.conditions["class"].names == tuple(sorted(names))
    for name in names:
        assert f"{name} (" in said
        assert dataset.conditions["class"].parse(name) == sorted(names).index(name)


def without_the_flag(raw):
    """A zip whose entries don't say that their names are UTF-8."""
    raw = bytearray(raw)
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = raw.find(signature)
        while start >= 0:
            raw[start + place + 1] &= ~0x08
            start = raw.find(signature, start + 4)
    return bytes(raw)


def test_frames_of_an_animation_are_counted_and_may_all_be_samples(tmp_path, journey):
    frames = [Image.fromarray(noise(16, 16, seed=i) // 64 * 64) for i in range(9)]
    (tmp_path / "gifs").mkdir()
    frames[0].save(tmp_path / "gifs" / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "gifs" / "b.gif")
    said, dataset = journey(tmp_path / "gifs", "RGB")
    assert len(dataset.images) == 2
    assert "1 file with several frames: a.gif; the first is used, 8 further left out: --frames all" in said
    said, dataset = journey(tmp_path / "gifs", "L", frames="all", channels="gray")
    assert len(dataset.images) == 10
    np.testing.assert_array_equal(dataset.images[:9, 0], [np.asarray(frame) for frame in frames])
    assert "1 of 10 samples are equal to another one" in said


def test_a_run_in_its_own_data_and_a_second_one_with_more(tmp_path, monkeypatch, done, refused, journey):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "data", 12)
    train = ["train", "data", *TINY, "--device", "cpu", "--images"]
    done(*train, 8, "--out", "data/run")
    done("sample", "data/run", "-n", 2, "--steps", 2, "--out", "data/samples", "--device", "cpu")
    heard, before = journey("data", "L")
    assert before.fingerprint == prepare(pictures(tmp_path / "alone", 12)).fingerprint
    assert "left out, written by Alphabar: run, samples (" in heard
    pictures(tmp_path / "more", 3, seed=9)
    for path in (tmp_path / "more").iterdir():
        path.rename(tmp_path / "data" / f"new-{path.name}")
    assert len(journey("data", "L")[1].images) == 15
    assert "--fork NEW_RUN" in refused(*train, 24, "--out", "data/run")
    done(*train, 8, "--out", "data/second")
