"""Pictures of any depth, size, profile and number of frames: what they become, and what is said of it."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import zipfile
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alphabar.cli.read import read_sample
from alphabar.data import Space, prepare
from alphabar.data.sources import pictures
from alphabar.data.sources.headers import header_of
from alphabar.data.sources.pictures import open_picture, opened, picture_array, upright_size
from alphabar.images import save_animation, save_picture
from alphabar.model.codec import fit_codec
from alphabar.runs.plots import forward_strip, plot_losses, plot_schedule
from alphabar.sampling.output import write_samples
from alphabar.sampling.samples import Samples
from alphabar.theory.schedule import Schedule
from profiles import cmyk, display_p3, gray


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Each test prepares from scratch."""
    monkeypatch.setenv("ALPHABAR_CACHE", str(tmp_path_factory.mktemp("cache")))


def noise(*shape, seed=0, dtype: Any = np.uint8, high=256):
    return np.random.default_rng(seed).integers(0, high, shape, dtype=dtype)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


def slices(folder, n=4, side=8, high=4096, ending="png", seed=0):
    """n gray pictures of 16 bits with values below `high`, both ends among them."""
    arrays = [noise(side, side, seed=seed + i, dtype=np.uint16, high=high) for i in range(n)]
    arrays[0][0, 0], arrays[0][0, 1] = 0, high - 1
    for i, array in enumerate(arrays):
        save(folder / f"{i:03d}.{ending}", array)
    return np.stack(arrays)[:, None]


def notes(dataset):
    return " | ".join(dataset.notes)


# --- 16 bits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bits_stay_in_the_range_of_the_values_and_come_back(tmp_path, ending):
    arrays = slices(tmp_path, ending=ending)
    dataset = prepare(tmp_path)
    assert dataset.images.dtype == np.uint16
    np.testing.assert_array_equal(dataset.images, arrays)
    assert (dataset.space.low, dataset.space.high) == ((0.0,), (4095.0,))
    assert "range: 0 to 4095" in notes(dataset)
    codec = fit_codec(dataset.space)
    x_0 = codec.encode(dataset.images)
    assert (x_0.min(), x_0.max()) == (-1, 1)
    np.testing.assert_array_equal(codec.decode(x_0), arrays)


def test_pgm_with_a_greatest_value_of_its_own_keeps_its_values(tmp_path):
    arrays = noise(2, 8, 8, dtype=np.uint16, high=4096)
    for i, array in enumerate(arrays):
        (tmp_path / f"{i}.pgm").write_bytes(b"P5 8 8 4095\n" + array.astype(">u2").tobytes())
    np.testing.assert_array_equal(prepare(tmp_path).images[:, 0], arrays)


def test_samples_of_sixteen_bits_are_written_as_such_and_read_again(tmp_path):
    arrays = slices(tmp_path / "data")
    space = prepare(tmp_path / "data").space
    write_samples(tmp_path / "s", Samples(arrays, np.arange(4), {}, {}, space))
    for i, array in enumerate(arrays):
        with Image.open(tmp_path / f"s/{i:06d}.png") as image:
            assert image.mode == "I;16"
            np.testing.assert_array_equal(np.asarray(image), array[0])
            assert json.loads(image.info["alphabar"])["index"] == i
        np.testing.assert_array_equal(read_sample(str(tmp_path / f"s/{i:06d}.png"), space), array)
    with Image.open(tmp_path / "s/grid.png") as grid:
        assert (grid.mode, grid.getextrema()) == ("L", (0, 255))
    again = prepare(tmp_path / "s", holdout=0)
    np.testing.assert_array_equal(again.images, arrays)
    assert again.space == space


def test_masks_of_0_and_1_become_the_ends_in_either_depth(tmp_path):
    masks = noise(3, 8, 8, high=2)
    for i, mask in enumerate(masks):
        save(tmp_path / "deep" / f"{i}.png", mask.astype(np.uint16))
        save(tmp_path / "bytes" / f"{i}.png", mask)
    plain = prepare(tmp_path / "bytes")
    assert "values 0 to 1 fill little of the range 0 to 255: --range 0 1 makes use of all" in notes(plain)
    for dataset in (prepare(tmp_path / "deep"), prepare(tmp_path / "bytes", range=(0, 1))):
        assert "little" not in notes(dataset)
        assert np.unique(fit_codec(dataset.space).encode(dataset.images)).tolist() == [-1, 1]
        write_samples(
            tmp_path / dataset.space.dtype, Samples(dataset.images, np.arange(3), {}, {}, dataset.space)
        )
        with Image.open(tmp_path / dataset.space.dtype / "000000.png") as image:
            np.testing.assert_array_equal(np.asarray(image), masks[0])  # in their own values


def test_the_range_of_pictures_may_be_given_and_must_hold_all_values(tmp_path):
    slices(tmp_path, high=3000)
    dataset = prepare(tmp_path, range=(0, 4095))
    assert (dataset.space.low, dataset.space.high) == ((0.0,), (4095.0,))
    assert "values 0 to 2999 found" in notes(dataset)
    assert "values 0 to 2999 fill little of the range 0 to 65535" in notes(
        prepare(tmp_path, range=(0, 65535))
    )
    with pytest.raises(ValueError, match="values reach from 0 to 2999, outside the range 0 to 1000"):
        prepare(tmp_path, range=(0, 1000))


def test_a_few_far_values_of_sixteen_bits_are_said(tmp_path):
    slices(tmp_path, side=32)
    assert "few" not in notes(prepare(tmp_path))
    hot = noise(32, 32, dtype=np.uint16, high=4096)
    hot[3, 3] = 65535
    save(tmp_path / "hot.png", hot)
    said = notes(prepare(tmp_path))
    assert re.search(r"all values but a few lie within \d to 409\d, which fill little of the range", said)


def test_a_way_to_resize_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"unknown way to resize 'lancos'.*did you mean 'lanczos'"):
        Space((1, 8, 8), resize="lancos")


def test_transparency_keeps_its_own_range(tmp_path):
    array = noise(8, 8, 4, high=16)
    array[..., 3] = 255
    save(tmp_path / "a.png", array)
    space = prepare(tmp_path, channels="rgba", range=(0, 15)).space
    assert (space.low, space.high) == ((0, 0, 0, 0), (15, 15, 15, 255))


def test_depths_are_mixed_white_to_white_and_said(tmp_path):
    deep = slices(tmp_path, 3, high=65536)
    plain = save(tmp_path / "plain.png", noise(8, 8))
    dataset = prepare(tmp_path)
    np.testing.assert_array_equal(dataset.images[:3], deep)
    np.testing.assert_array_equal(dataset.images[3, 0], noise(8, 8).astype(np.uint16) * 257)
    assert "3 of 16 bits and 1 of 8: the latter's values are multiplied by 257" in notes(dataset)
    assert f"8 bits have {plain.name}" in notes(dataset)
    save(tmp_path / "color.png", noise(8, 8, 3))
    assert prepare(tmp_path).images.shape == (5, 3, 8, 8)


def test_depths_that_cannot_be_mixed_are_refused(tmp_path):
    slices(tmp_path, 3, high=4096)
    save(tmp_path / "plain.png", noise(8, 8))
    with pytest.raises(
        ValueError, match=r"values up to 4095 alone, cannot be put beside .* plain\.png \(1 file"
    ):
        prepare(tmp_path)


def test_resizing_sixteen_bits_is_as_smooth_as_eight_and_stays_within_the_values(tmp_path):
    y, x = np.mgrid[:96, :96]
    disc = ((x - 47.5) ** 2 + (y - 47.5) ** 2 < 40**2).astype(np.uint16)
    small = {}
    for top in (255, 4000):
        save(tmp_path / f"{top}.png", disc * top if top > 255 else (disc * top).astype(np.uint8))
        dtype = np.uint16 if top > 255 else np.uint8
        small[top] = open_picture(tmp_path / f"{top}.png", (32, 32), 1, dtype=dtype).astype(float) / top
    assert (small[4000].min(), small[4000].max()) == (0, 1)
    assert abs(small[4000] - small[255]).mean() < 0.005  # which is clipped twice, along each axis
    assert len(np.unique(small[4000])) > 30  # antialiased


def test_a_picture_of_another_depth_than_the_models_is_said(tmp_path, capsys):
    space = Space((1, 8, 8), "uint16", (100.0,), (4095.0,), layout="HW", resize="lanczos")
    plain = save(tmp_path / "plain.png", np.array([[0, 255]] * 8, np.uint8).repeat(4, 1))
    read = read_sample(str(plain), space)
    assert (read.dtype, np.unique(read).tolist()) == (np.uint16, [100, 4095])
    assert "has 8 bits: its black and white are taken as 100 to 4095" in capsys.readouterr().err
    beyond = save(tmp_path / "beyond.png", np.array([[7, 5000]] * 8, np.uint16).repeat(4, 1))
    assert np.unique(read_sample(str(beyond), space)).tolist() == [100, 4095]
    assert "holds 7 to 5000, in training it was 100 to 4095: cut off" in capsys.readouterr().err
    deep = save(tmp_path / "deep.png", np.array([[0, 65535]] * 8, np.uint16).repeat(4, 1))
    eight = Space((3, 8, 8), layout="HWC", resize="lanczos")
    assert np.unique(read_sample(str(deep), eight)).tolist() == [0, 255]
    assert "has 16 bits" in capsys.readouterr().err


def test_colors_of_sixteen_bits_are_said_to_be_read_in_eight(tmp_path):
    data = noise(8, 8, 3, dtype=np.uint16, high=65536).astype(">u2").tobytes()
    (tmp_path / "a.ppm").write_bytes(b"P6 8 8 65535\n" + data)
    (tmp_path / "b.png").write_bytes(png_of_sixteen_bit_colors(data))
    assert "more than 8 bits are read in 8, as colors are: " in notes(prepare(tmp_path))
    assert "b.png" in notes(prepare(tmp_path))


def png_of_sixteen_bit_colors(data):
    """An 8 × 8 PNG."""
    import struct
    import zlib

    def chunk(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    rows = b"".join(b"\0" + data[i : i + 48] for i in range(0, len(data), 48))
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_a_transparent_gray_of_sixteen_bits_is_refused(tmp_path):
    save(tmp_path / "a.png", noise(8, 8, dtype=np.uint16, high=65536), transparency=7)
    with pytest.raises(ValueError, match="16-bit pictures with a transparent gray"):
        prepare(tmp_path)


# --- sizes ---------------------------------------------------------------------------------------


def sprites(folder, n, side, seed=0):
    """Sprites of four colors, with a palette."""
    colors = np.array([(0, 0, 0), (255, 0, 77), (41, 173, 255), (255, 241, 232)], np.uint8)
    for i in range(n):
        image = Image.fromarray(colors[noise(side, side, seed=seed + i, high=4)])
        folder.mkdir(parents=True, exist_ok=True)
        image.quantize(4).save(folder / f"{side}-{i}.png")
    return {tuple(color) for color in colors.tolist()}


def test_pixel_art_keeps_its_colors_in_whole_steps_with_nearest(tmp_path):
    palette = sprites(tmp_path, 3, 16) | sprites(tmp_path, 3, 32, seed=9)
    smooth = prepare(tmp_path)
    assert smooth.space.shape == (3, 32, 32)
    assert "(3 of 6 are enlarged)" in notes(smooth)
    assert "for pixel art give --resize nearest" in notes(smooth)
    sharp = prepare(tmp_path, resize="nearest")
    assert "pixel art" not in notes(sharp)
    assert {tuple(color) for color in np.moveaxis(sharp.images, 1, -1).reshape(-1, 3).tolist()} == palette
    small = prepare(tmp_path, resize="nearest", size=16).images[:3]
    np.testing.assert_array_equal(sharp.images[:3], small.repeat(2, 2).repeat(2, 3))
    assert sharp.space.resize == "nearest"
    assert "not resized by a whole factor, so pixels differ in width: 6 files" in notes(
        prepare(tmp_path, resize="nearest", size=24)
    )


@pytest.mark.parametrize("resize", ["lanczos", "bicubic", "box", "nearest"])
def test_every_way_to_resize_keeps_a_flat_picture_flat(resize):
    image = Image.new("RGB", (300, 200), (200, 50, 25))
    array = picture_array(image, (20, 20), 3, resize=resize)
    assert np.unique(array.reshape(3, -1), axis=1).ravel().tolist() == [200, 50, 25]


def test_the_size_is_that_of_half_of_them_and_odd_ones_are_named(tmp_path):
    for i in range(6):
        save(tmp_path / f"{i}.png", noise(28, 28, seed=i))
    for name, side in {"big": 500, "a": 20, "b": 21}.items():
        save(tmp_path / f"{name}.png", noise(side, side))
    dataset = prepare(tmp_path)
    assert dataset.space.shape == (1, 28, 28)
    assert "6 of 9 are 28 × 28 pixels" in notes(dataset)
    assert "a.png (20 × 20), b.png (21 × 21), big.png (500 × 500) (2 of 9 are enlarged)" in notes(dataset)


def test_small_pictures_of_many_sizes_get_the_most_common_one(tmp_path):
    for i, side in enumerate([16, 16, 24, 24, 24, 32, 40, 48]):
        save(tmp_path / f"{i}.png", noise(side, side, seed=i))
    assert prepare(tmp_path).space.shape == (1, 24, 24)
    save(tmp_path / "photo.png", noise(300, 200))
    assert prepare(tmp_path).space.shape == (1, 64, 64)


@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_orientation_counts_once_in_every_format(tmp_path, ending):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / f"a.{ending}", noise(16, 32), exif=exif)
    with opened(tmp_path / f"a.{ending}") as image:
        assert upright_size(image) == (32, 16)
    assert prepare(tmp_path).space.shape[1:] == (32, 16)


# --- frames --------------------------------------------------------------------------------------


def stack(path, n, side=8, **options):
    frames = [Image.fromarray(noise(side, side, seed=i)) for i in range(n)]
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return np.stack([np.asarray(frame) for frame in frames])


@pytest.mark.parametrize("name", ["a.tif", "a.gif", "a.png", "a.webp"])
def test_all_frames_are_samples_on_demand_and_left_out_ones_are_counted(tmp_path, name):
    lossless = {"lossless": True} if name.endswith("webp") else {}
    frames = stack(tmp_path / name, 70, **lossless)
    save(tmp_path / "single.png", noise(8, 8, seed=99))
    first = prepare(tmp_path)
    assert len(first.images) == 2
    assert (
        f"1 file with several frames: {name}; the first is used, 69 further left out: --frames all"
        in notes(first)
    )
    every = prepare(tmp_path, frames="all", channels="gray")
    assert "their 70 frames are a sample each" in notes(every)
    exact = 0 if name != "a.gif" else 2  # in its palette, and through colors to gray
    assert abs(every.images[:70, 0].astype(int) - frames).max() <= exact
    np.testing.assert_array_equal(every.images[70, 0], noise(8, 8, seed=99))


def test_the_frames_of_a_class_are_its_samples(tmp_path):
    stack(tmp_path / "a" / "0.tif", 3)
    stack(tmp_path / "b" / "0.tif", 2)
    dataset = prepare(tmp_path, frames="all")
    assert dataset.values["class"].tolist() == [0, 0, 0, 1, 1]


def test_a_photograph_with_a_second_picture_beside_it_is_one(tmp_path):
    photos = [Image.fromarray(noise(8, 8, 3, seed=i)) for i in range(2)]
    photos[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=photos[1:])
    dataset = prepare(tmp_path, frames="all")
    assert len(dataset.images) == 1
    assert "frames" not in notes(dataset)


def test_smaller_copies_within_a_tiff_are_no_samples(tmp_path):
    frames = [Image.fromarray(noise(side, side)) for side in (16, 8, 4)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    raw = (tmp_path / "a.tif").read_bytes()
    with Image.open(tmp_path / "a.tif") as image:
        assert image.n_frames == 3
    marked = [Image.fromarray(noise(side, side)) for side in (16, 8, 4)]
    for image, kind in zip(marked, (0, 1, 1), strict=True):
        image.encoderinfo = {"tiffinfo": {254: kind}}
    marked[0].save(tmp_path / "a.tif", save_all=True, append_images=marked[1:])
    assert (tmp_path / "a.tif").read_bytes() != raw
    assert len(prepare(tmp_path, frames="all").images) == 1


def test_a_frame_that_is_damaged_is_named_and_the_others_are_kept(tmp_path):
    frames = stack(tmp_path / "a.tif", 5, side=32, compression="tiff_adobe_deflate")
    raw = bytearray((tmp_path / "a.tif").read_bytes())
    with Image.open(tmp_path / "a.tif") as image:
        image.seek(3)
        place = image.tag_v2[273][0]  # of its pixels
    raw[place : place + 40] = bytes(40)
    (tmp_path / "a.tif").write_bytes(raw)
    with pytest.raises(ValueError, match=r"1 of 5 pictures cannot be read: a\.tif, frame 4 \("):
        prepare(tmp_path, frames="all")
    dataset = prepare(tmp_path, frames="all", skip_bad=True)
    np.testing.assert_array_equal(dataset.images[:, 0], frames[[0, 1, 2, 4]])


# --- colors --------------------------------------------------------------------------------------


def srgb_of_gray(value, gamma):
    linear = (value / 255) ** gamma
    return 255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grays_are_read_by_their_profile(tmp_path, mode):
    Image.new(mode, (8, 8), 100 if mode == "L" else (100, 255)).save(
        tmp_path / "a.png", icc_profile=gray(1.0)
    )
    dataset = prepare(tmp_path)
    assert dataset.images.shape[1] == 1
    assert abs(int(dataset.images[0, 0, 0, 0]) - srgb_of_gray(100, 1.0)) <= 1  # 167
    assert "colors are converted to sRGB from Gray Gamma (1 file)" in notes(dataset)


def test_palettes_are_read_by_their_profile(tmp_path):
    color = Image.new("RGB", (8, 8), (200, 60, 60))
    color.save(tmp_path / "a.png", icc_profile=display_p3())
    color.quantize(2).save(tmp_path / "b.png", icc_profile=display_p3())
    dataset = prepare(tmp_path)
    assert dataset.images[0, 0, 0, 0] > 210
    np.testing.assert_array_equal(dataset.images[0], dataset.images[1])


def test_cmyk_is_read_by_its_profile_and_said_to_be_approximate_without(tmp_path):
    black = Image.new("CMYK", (8, 8), (0, 0, 0, 128))
    black.save(tmp_path / "a.jpg", icc_profile=cmyk(), quality=95)
    black.save(tmp_path / "b.jpg", quality=95)
    dataset = prepare(tmp_path)
    half = 119  # the gray of L* = 50
    assert abs(dataset.images[0].astype(int) - half).max() <= 3
    assert abs(dataset.images[1].astype(int) - 127).max() <= 3
    assert "colors are converted to sRGB from Some Press (1 file)" in notes(dataset)
    assert "CMYK without a profile, so colors are approximate: b.jpg" in notes(dataset)


def test_profiles_that_are_not_used_are_named_with_why(tmp_path):
    save(tmp_path / "damaged.png", noise(8, 8, 3), icc_profile=b"none")
    save(tmp_path / "other.png", noise(8, 8, 3), icc_profile=gray(1.0))
    dataset = prepare(tmp_path)
    assert "a profile is damaged, so colors are taken as they are: damaged.png" in notes(dataset)
    assert "Gray Gamma is for GRAY, and the picture is RGB, so colors are taken as they are: other" in notes(
        dataset
    )
    np.testing.assert_array_equal(dataset.images[1], np.moveaxis(noise(8, 8, 3), -1, 0))
    save(tmp_path / "deep" / "a.png", noise(8, 8, dtype=np.uint16), icc_profile=gray(1.0))
    assert "Gray Gamma is not applied to 16 bits" in notes(prepare(tmp_path / "deep"))


# --- formats -------------------------------------------------------------------------------------


def smooth(side=16):
    """RGBA without an edge, which lossy formats keep."""
    ramp = np.linspace(40, 200, side)
    bands = [ramp[None].repeat(side, 0), ramp[:, None].repeat(side, 1), np.full((side, side), 90.0)]
    return np.rint(np.stack([*bands, bands[0] + 40], 2)).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.avif", {"quality": 100, "subsampling": "4:4:4"}), ("a.webp", {"lossless": True, "exact": True})],
)
def test_avif_and_webp_keep_colors_alpha_and_frames(tmp_path, name, options):
    array = smooth()
    frames = [Image.fromarray(np.rot90(array, k).copy()) for k in range(3)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    dataset = prepare(tmp_path, frames="all", channels="rgba", holdout=0)
    wanted = np.stack([np.moveaxis(np.rot90(array, k), 2, 0) for k in range(3)]).astype(int)
    assert abs(dataset.images[:].astype(int) - wanted).max() <= (4 if name.endswith("avif") else 0)


def test_a_heic_says_which_package_reads_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    photo = b"\0\0\0\x18ftypheic" + bytes(64)
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics/IMG_1.HEIC").write_bytes(photo)
    save(tmp_path / "pics/a.png", noise(8, 8, 3))
    with zipfile.ZipFile(tmp_path / "pics.zip", "w") as archive:
        archive.writestr("IMG_1.heic", photo)
    for place in ("pics", "pics.zip"):
        with pytest.raises(ValueError, match=r"IMG_1.* pip install 'alphabar\[heic\]'"):
            prepare(tmp_path / place)
    dataset = prepare(tmp_path / "pics", skip_bad=True)
    assert "left out as unreadable: IMG_1.HEIC (HEIC pictures need" in notes(dataset)


def test_heic_keeps_colors_alpha_direction_and_its_main_picture(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    array = smooth()
    wanted = np.moveaxis(array, 2, 0).astype(int)
    photo = heif.from_pillow(Image.fromarray(np.rot90(array).copy()))
    photo.add_from_pillow(Image.fromarray(array))
    (tmp_path / "two").mkdir()
    photo.save(tmp_path / "two/a.heic", quality=-1, chroma=444, primary_index=1)
    dataset = prepare(tmp_path / "two", channels="rgba")
    assert abs(dataset.images[0].astype(int) - wanted).max() <= 4
    assert "1 file with several frames: a.heic; the first is used, 1 further left out" in notes(dataset)
    every = prepare(tmp_path / "two", channels="rgba", frames="all", holdout=0)
    turned = np.moveaxis(np.rot90(array), 2, 0).astype(int)
    assert abs(every.images[:].astype(int) - np.stack([wanted, turned])).max() <= 4

    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter, which the format has in its own way
    (tmp_path / "turned").mkdir()
    color = Image.fromarray(array[..., :3].copy())
    heif.from_pillow(color).save(tmp_path / "turned/a.heic", quality=-1, chroma=444, exif=exif.tobytes())
    found = prepare(tmp_path / "turned", size=16).images[0].astype(int)
    assert abs(found - np.moveaxis(np.rot90(array[..., :3], -1), 2, 0)).max() <= 4

    (tmp_path / "wide").mkdir()
    color.save(tmp_path / "wide/a.png", icc_profile=display_p3())
    plain = prepare(tmp_path / "wide").images[0].astype(int)
    made = heif.from_pillow(Image.open(tmp_path / "wide/a.png"))
    (tmp_path / "wide/a.png").unlink()
    made.save(tmp_path / "wide/a.heic", quality=-1, chroma=444)
    dataset = prepare(tmp_path / "wide")
    assert abs(dataset.images[0].astype(int) - plain).max() <= 5
    assert "colors are converted to sRGB" in notes(dataset)


def test_a_damaged_heic_is_named(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    content = io.BytesIO()
    heif.from_pillow(Image.fromarray(smooth())).save(content)
    raw = content.getvalue()
    (tmp_path / "a.heic").write_bytes(raw[: len(raw) // 2])
    save(tmp_path / "b.png", noise(16, 16, 3))
    with pytest.raises(ValueError, match=r"1 of 2 pictures cannot be read: a\.heic"):
        prepare(tmp_path)


# --- large pictures ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_what_is_reduced_first_is_as_if_it_were_not(mode, monkeypatch):
    y, x = np.mgrid[:240, :320] / 320
    color = np.stack([x, y, (x * y), np.where(x > 0.3, 1, 0)], -1)
    deep = Image.fromarray((color[..., 0] * 65535).astype(np.uint16))
    image = (
        deep
        if mode == "I;16"
        else Image.fromarray((255 * color).astype(np.uint8))
        .convert("RGB" if mode in ("P", "CMYK", "1") else mode)
        .convert(mode)
    )
    channels = 4 if mode == "RGBA" else 3
    reduced = picture_array(image.copy(), (12, 12), channels).astype(int)
    monkeypatch.setattr(pictures, "BAND_PIXELS", 5)
    np.testing.assert_array_equal(picture_array(image.copy(), (12, 12), channels), reduced)
    monkeypatch.setattr(pictures, "GAP", 1000)
    whole = picture_array(image.copy(), (12, 12), channels).astype(int)
    assert abs(reduced - whole).mean() < (6 if mode == "1" else 1.5)


def test_of_large_photographs_a_part_is_decoded(tmp_path):
    y, x = np.mgrid[:480, :640]
    path = save(
        tmp_path / "a.jpg", np.stack([x % 256, y % 256, (x + y) % 256], -1).astype(np.uint8), quality=95
    )
    decoded = []
    with opened(path) as image:
        load = image.load
        image.load = lambda: decoded.append(image.size) or load()
        small = picture_array(image, (16, 16), 3).astype(int)
    assert max(decoded) == (80, 60)
    with Image.open(path) as image:
        whole = picture_array(image.copy(), (16, 16), 3).astype(int)
    assert abs(small - whole).mean() < 3


def test_a_photograph_above_the_limit_is_decoded_in_part_or_named(tmp_path, monkeypatch):
    y, x = np.mgrid[:400, :300]
    save(
        tmp_path / "a.jpg", np.stack([x * 255 // 300, y * 255 // 400, x * 0], -1).astype(np.uint8), quality=95
    )
    whole = np.asarray(prepare(tmp_path, size=8).images).astype(int)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / "a.jpg")
    assert abs(open_picture(tmp_path / "a.jpg", (8, 8), 3).astype(int) - whole[0]).max() <= 1
    with pytest.raises(ValueError, match=r"a\.jpg \(whole, but of more than .* pixels: save it smaller\)"):
        prepare(tmp_path, size=128)


def test_a_large_picture_is_converted_in_bands(tmp_path, monkeypatch):
    Image.new("P", (1500, 900), 3).save(tmp_path / "a.png", transparency=0)
    seen, colors = [], pictures._colors
    monkeypatch.setattr(pictures, "BAND_PIXELS", 1000)
    monkeypatch.setattr(
        pictures, "_colors", lambda *given: seen.append(given[-1].width * given[-1].height) or colors(*given)
    )
    open_picture(tmp_path / "a.png", (16, 16), 3)
    assert len(seen) > 10
    assert max(seen) <= 18 * 1000 * 3


def test_a_large_picture_takes_little_more_memory_than_its_pixels(tmp_path):
    side = 4000
    Image.new("P", (side, side), 3).save(tmp_path / "a.png", transparency=0)
    code = f"""
import resource
from alphabar.data.sources.pictures import open_picture
call({str(tmp_path / "a.png")!r}, (8, 8), 3)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    mib = {
        act: int(subprocess.check_output([sys.executable, "-c", code.replace("call(", f"{act}(")])) / 1024
        for act in ("open_picture", "print and ")
    }
    assert mib["open_picture"] - mib["print and "] < 4 * side**2 / 2**20  # 13 as colors over a background


def test_large_entries_of_a_zip_are_unpacked_to_the_disk(tmp_path, monkeypatch):
    from alphabar.data.sources import archives

    sizes = []

    class Counting(archives.SpooledTemporaryFile):
        def rollover(self):
            sizes.append(self.tell())
            return super().rollover()

    monkeypatch.setattr(archives, "SpooledTemporaryFile", Counting)
    monkeypatch.setattr(archives, "LARGEST_IN_MEMORY", 5000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for side in (8, 64):
            buffer = io.BytesIO()
            Image.fromarray(noise(side, side, 3)).save(buffer, "BMP")
            archive.writestr(f"{side}.bmp", buffer.getvalue())
    assert len(prepare(tmp_path / "x.zip").images) == 2
    assert sizes


# --- what Alphabar wrote -------------------------------------------------------------------------


def test_whatever_picture_alphabar_writes_is_left_out_of_data(tmp_path):
    save_picture(tmp_path / "grid.png", noise(1, 8, 8))
    save_animation(tmp_path / "trajectory.gif", noise(3, 1, 8, 8))
    rows = [{"images": i, "loss": 1.0, "held_out_loss": 1.0} for i in (1, 2, 3)]
    plot_losses(tmp_path / "loss.png", rows)
    plot_schedule(tmp_path / "schedule.png", Schedule.linear(100))
    for path in tmp_path.iterdir():
        with opened(path) as image:
            assert header_of(image).written is not None, path
    for i in range(2):
        save(tmp_path / f"{i}.png", noise(8, 8, seed=i))
    dataset = prepare(tmp_path)
    assert len(dataset.images) == 2
    names = "grid.png, loss.png, schedule.png, trajectory.gif (4 files)"
    assert f"left out, written by Alphabar: {names}" in notes(dataset)


# --- small things --------------------------------------------------------------------------------


def test_hidden_files_are_named_by_what_hides_them(tmp_path):
    for place in ("", "@eaDir/", ".thumbnails/", "__MACOSX/"):
        save(tmp_path / f"{place}a.png", noise(8, 8))
    assert "3 hidden files left out (" in notes(prepare(tmp_path))
    for name in ("@eaDir", ".thumbnails", "__MACOSX"):
        assert name in notes(prepare(tmp_path))


def test_the_forward_process_shows_sixteen_bits_from_black_to_white(tmp_path):
    save(tmp_path / "a.png", np.linspace(0, 4095, 64).reshape(8, 8).astype(np.uint16))
    (t, image), *_ = forward_strip(Schedule.linear(100), tmp_path / "a.png", 8, 0)
    assert (t, image.dtype, image.min(), image.max()) == (0, np.uint8, 0, 255)


# --- alpha ---------------------------------------------------------------------------------------


def emoji(folder, n=4, side=16, seed=0, garbage=True):
    """Discs of one color on nothing, under which lies garbage."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    alpha = np.clip((0.4 * side - np.hypot(x, y)) * 255, 0, 255)
    for i in range(n):
        array = noise(side, side, 4, seed=seed + i) if garbage else np.zeros((side, side, 4), np.uint8)
        array[alpha > 0, :3] = noise(3, seed=seed + i)
        array[..., 3] = alpha
        save(folder / f"{i}.png", array)


def test_alpha_is_kept_where_most_pictures_have_transparent_pixels(tmp_path):
    emoji(tmp_path / "e", 3)
    save(tmp_path / "e" / "x.png", noise(16, 16, 3))
    data = prepare(tmp_path / "e")
    assert data.space.names == ("red", "green", "blue", "alpha")
    assert "alpha is kept as a fourth channel: 3 of 3 pictures looked at" in notes(data)
    assert prepare(tmp_path / "e", channels="rgb").space.background == "white"
    assert prepare(tmp_path / "e", background="red").space.background == "red"
    for i in range(3):  # that only could have some
        save(
            tmp_path / "opaque" / f"{i}.png", np.dstack([noise(16, 16, 3), np.full((16, 16), 255, np.uint8)])
        )
    assert prepare(tmp_path / "opaque").space.channels == 3
    emoji(tmp_path / "few", 2)
    for i in range(2):
        save(tmp_path / "few" / f"x{i}.png", noise(16, 16, 3))
    assert prepare(tmp_path / "few").space.channels == 3
    with pytest.raises(ValueError, match="channels rgba keeps them transparent: give one"):
        prepare(tmp_path / "e", background="red", channels="rgba")


@pytest.mark.parametrize("resize", pictures.RESIZE)
@pytest.mark.parametrize("side", [8, 12, 16, 40])
def test_nothing_bleeds_from_transparent_pixels(tmp_path, side, resize):
    emoji(tmp_path / "garbage", 2)
    emoji(tmp_path / "black", 2, garbage=False)
    bad, good = (prepare(tmp_path / name, size=side, resize=resize) for name in ("garbage", "black"))
    np.testing.assert_array_equal(bad.images[:], good.images[:])
    for i, image in enumerate(good.images):
        solid = image[:3, image[3] > 60]
        assert np.abs(solid.T.astype(int) - noise(3, seed=i)).max() <= 2
        assert not image[:3, image[3] == 0].any()


def test_the_model_sees_colors_times_alpha_and_pictures_come_back(tmp_path):
    for i in range(3):
        save(tmp_path / f"{i}.png", noise(8, 8, 4, seed=i))
    data = prepare(tmp_path)
    codec = fit_codec(data.space)
    assert codec.name == "premultiplied"
    images = np.asarray(data.images)
    x_0 = codec.encode(images)
    np.testing.assert_allclose(x_0[:, :3], 2 * (images[:, :3] / 255) * (images[:, 3:] / 255) - 1, atol=1e-6)
    np.testing.assert_array_equal(codec.decode(x_0), images)
    decoded = codec.decode(np.random.default_rng(0).normal(size=(4, *data.space.shape)).astype(np.float32))
    assert not decoded[:, :3][np.broadcast_to(decoded[:, 3:] == 0, (4, 3, 8, 8))].any()
    with pytest.raises(ValueError, match="colors under alpha 0"):
        _ = codec.log2_scale


def test_samples_with_alpha_are_written_as_such(tmp_path):
    emoji(tmp_path / "e", 3)
    data = prepare(tmp_path / "e")
    drawn = Samples(np.asarray(data.images), np.arange(3), {}, {}, data.space)
    write_samples(tmp_path / "s", drawn)
    with Image.open(tmp_path / "s" / "000001.png") as image:
        assert image.mode == "RGBA"
        np.testing.assert_array_equal(np.moveaxis(np.asarray(image), -1, 0), data.images[1])
