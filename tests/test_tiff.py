"""TIFF as numbers: floats, bands, places on earth, and what is missing; in and out."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alphabar.data import Space, prepare
from alphabar.model.codec import fit_codec
from alphabar.runs.given import alike, data_beside
from alphabar.sampling.output import write_samples
from alphabar.sampling.samples import Samples

N, SIDES = 6, (8, 10)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ALPHABAR_CACHE", str(tmp_path_factory.mktemp("cache")))


def heights(n=N, bands=0, seed=0):
    shape = (n, bands, *SIDES) if bands else (n, *SIDES)
    return (1e3 * np.random.default_rng(seed).normal(2, 1, shape)).astype(np.float32)


def plain(folder, values):
    folder.mkdir(parents=True, exist_ok=True)
    for i, value in enumerate(values):
        Image.fromarray(value).save(folder / f"{i:03d}.tif")
    return folder


def notes(data):
    return " | ".join(data.notes)


def written(data, folder):
    """The samples of data written as drawn ones are; their names."""
    samples = Samples(np.asarray(data.images[:3]), np.arange(3), {}, {}, data.space)
    return sorted(path.name for path in write_samples(folder, samples) if path.suffix == ".tif")


# --- by Pillow -------------------------------------------------------------------------------------


def test_float_tiffs_are_fields_and_come_back_as_float_tiffs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    values = heights()
    data = prepare(plain(tmp_path / "d", values), holdout=0)
    assert (data.space.kind, data.space.dtype, data.space.bounds) == ("field", "float32", None)
    np.testing.assert_array_equal(data.images[:, 0], values)
    assert "6 files of d, a sample each" in notes(data)
    x_0 = fit_codec(data.space, data.images).encode(data.images)
    assert abs(x_0.mean()) < 1e-5
    assert written(data, tmp_path / "out") == ["000000.tif", "000001.tif", "000002.tif"]
    with Image.open(tmp_path / "out/000002.tif") as image:
        assert image.mode == "F"
        np.testing.assert_array_equal(np.asarray(image), values[2])
    (tmp_path / "out/grid.png").unlink()


def test_what_float_tiffs_all_lack_is_missing_in_samples(tmp_path):
    values = heights()
    values[:, 2:4, 3] = np.nan
    data = prepare(plain(tmp_path / "d", values), holdout=0)
    assert data.space.absent.sum() == 2
    written(data, tmp_path / "out")
    with Image.open(tmp_path / "out/000001.tif") as image:
        np.testing.assert_array_equal(np.asarray(image), values[1])
    values[1, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"missing \(NaN\) in other places of sample 1"):
        prepare(plain(tmp_path / "e", values))


def test_tiffs_of_other_shapes_pages_and_kinds_are_refused(tmp_path):
    values = heights()
    folder = plain(tmp_path / "d", values)
    Image.fromarray(values[0, :4]).save(folder / "004.tif")
    with pytest.raises(
        ValueError, match=r"004\.tif is float32 \(1, 4, 10\), and 000\.tif float32 \(1, 8, 10\)"
    ):
        prepare(folder)
    frames = [Image.fromarray(value) for value in values]
    frames[0].save(folder / "004.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"004\.tif has several pages"):
        prepare(folder)
    (folder / "004.tif").write_bytes(b"II*\0" + bytes(40))
    with pytest.raises(ValueError, match=r"004\.tif|pip install 'alphabar\[geotiff\]'"):
        prepare(folder)
    with pytest.raises(ValueError, match="layout HWC means nothing"):
        prepare(plain(tmp_path / "e", values), layout="HWC")
    with pytest.raises(ValueError, match=r"000\.tif is one sample of \d+ × \d+: train on .* --crop"):
        prepare(plain(tmp_path / "one", values[:1]))
    np.save(tmp_path / "e/a.npy", values)
    with pytest.raises(ValueError, match=r"samples in \.tif and in \.npy: give a folder of one kind"):
        prepare(tmp_path / "e")
    (tmp_path / "e/a.npy").unlink()
    Image.new("L", (8, 8)).save(tmp_path / "e/a.png")
    with pytest.raises(
        ValueError, match="a folder of TIFFs of floats alone, without sub-folders, is read as"
    ):
        prepare(tmp_path / "e")


def test_what_geotiff_needs_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    for name in "ab":
        Image.fromarray(heights()[0]).save(tmp_path / f"{name}.tif", tiffinfo={42113: "-9999"})
    with pytest.raises(ValueError, match=r"need the package rasterio: pip install 'alphabar\[geotiff\]'"):
        prepare(tmp_path)
    with pytest.raises(ValueError, match=r"need the package rasterio: pip install 'alphabar\[geotiff\]'"):
        prepare(tmp_path / "a.tif")


def test_sixteen_bit_tiffs_without_a_place_stay_pictures(tmp_path):
    for i in range(3):
        Image.fromarray((heights()[i] + 5000).astype(np.uint16)).save(tmp_path / f"{i}.tif")
    data = prepare(tmp_path)
    assert (data.space.kind, data.space.dtype) == ("picture", "uint16")


# --- by GDAL ---------------------------------------------------------------------------------------

BANDS = ("red", "near infrared", "temperature")


def geotiff(path, values, crs="EPSG:32633", at=(500000, 4200000), pixel=10, names=BANDS, nodata=None):
    rasterio = pytest.importorskip("rasterio")
    path.parent.mkdir(parents=True, exist_ok=True)
    where = {"transform": rasterio.Affine(pixel, 0, at[0], 0, -pixel, at[1]), "crs": crs}
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=values.dtype.name,
        nodata=nodata, compress="lzw", **where,
    ) as file:  # fmt: skip
        file.write(values)
        if names:
            file.descriptions = names
            file.units = ("", "", "K")
    return path


def test_geotiff_comes_back_with_bands_place_and_what_is_missing(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    values = heights(bands=3)
    values[:, 1, 2:4, 3] = -9999
    for i, value in enumerate(values):
        geotiff(tmp_path / f"d/{i}.tif", value, nodata=-9999)
    data = prepare(tmp_path / "d", holdout=0)
    assert (data.space.kind, data.space.names, data.space.units) == ("field", BANDS, ("", "", "K"))
    assert data.space.absent.sum() == 2
    np.testing.assert_array_equal(np.nan_to_num(data.images[:], nan=-9999), values)
    assert "all lie in one place, where samples are put as well" in notes(data)
    written(data, tmp_path / "out")
    with rasterio.open(tmp_path / "out/000001.tif") as file, rasterio.open(tmp_path / "d/1.tif") as own:
        assert (file.crs, file.transform, file.nodata) == (own.crs, own.transform, -9999)
        assert (file.descriptions, file.units) == (own.descriptions, own.units)
        np.testing.assert_array_equal(file.read(), own.read())


@pytest.mark.parametrize("dtype", ["int16", "uint16"])
def test_whole_numbers_keep_their_type_unless_one_may_be_missing(tmp_path, dtype):
    rasterio = pytest.importorskip("rasterio")
    values = heights(bands=3).astype(dtype)
    for i, value in enumerate(values):
        geotiff(tmp_path / f"d/{i}.tif", value)
        geotiff(tmp_path / f"e/{i}.tif", value, nodata=31000)
    data = prepare(tmp_path / "d", holdout=0)
    assert (data.space.kind, data.space.dtype) == ("field", dtype)
    np.testing.assert_array_equal(data.images[:], values)
    written(data, tmp_path / "out")
    with rasterio.open(tmp_path / "out/000000.tif") as file:
        assert file.dtypes == (dtype,) * 3
        np.testing.assert_array_equal(file.read(), values[0])
    assert prepare(tmp_path / "e").space.dtype == "float32"


def test_of_files_in_several_places_only_what_they_share_is_kept_and_this_is_said(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    values = heights(bands=3)
    for i, value in enumerate(values):
        geotiff(tmp_path / f"d/{i}.tif", value, at=(500000 + 100 * i, 4200000))
        geotiff(tmp_path / f"e/{i}.tif", value, crs=f"EPSG:{32630 + i % 2}", names=BANDS if i else None)
    data = prepare(tmp_path / "d")
    assert "they lie in several places: samples have their size of pixels, and 0, 0 for a corner" in notes(
        data
    )
    written(data, tmp_path / "out")
    with rasterio.open(tmp_path / "out/000000.tif") as file:
        assert file.crs == "EPSG:32633"
        assert tuple(file.transform)[:6] == (10, 0, 0, 0, -10, 0)
    data = prepare(tmp_path / "e")
    assert "the files differ in the names of bands, units, coordinate systems: samples have none" in notes(
        data
    )
    assert (data.space.names, "crs" in data.space.grid) == ((), False)


def test_a_scene_is_cut_into_tiles_without_those_that_lack_numbers(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    whole = np.arange(2 * 21 * 33, dtype=np.float32).reshape(2, 21, 33)
    whole[:, 3, 10] = -1
    scene = geotiff(tmp_path / "scene.tif", whole, names=None, nodata=-1)
    data = prepare(scene, size=8, holdout=0)
    tiles = [whole[:, y : y + 8, x : x + 8] for y in (0, 8) for x in (0, 8, 16, 24)]
    np.testing.assert_array_equal(data.images[:], np.stack([tiles[0], *tiles[2:]]))
    assert "scene.tif is cut into 8 tiles of 8 × 8 (--size)" in notes(data)
    assert "tiles that lack numbers are left out: 1" in notes(data)
    assert "what fills no tile is left out: 5 rows below, 1 columns at the right" in notes(data)
    written(data, tmp_path / "out")
    with rasterio.open(tmp_path / "out/000000.tif") as file:
        assert (file.crs, tuple(file.transform)[:6]) == ("EPSG:32633", (10, 0, 0, 0, -10, 0))
    assert data_beside(
        Samples(data.images[:], np.arange(len(data.images)), {}, {}, Space((2, 8, 8), "float32", None, None)),
        scene,
    ).space.shape == (2, 8, 8)
    np.testing.assert_array_equal(prepare(scene, alike(scene, {}, data.space, {})).images[:], data.images[:])
    with pytest.raises(ValueError, match=r"21 × 33 pixels: too few to be cut into samples of 64 × 64"):
        prepare(scene)
    colors = geotiff(tmp_path / "colors.tif", (heights(3, seed=1) % 256).astype(np.uint8), names=None)
    data = prepare(colors, size=4)
    assert (data.space.kind, data.space.low, data.space.high) == ("picture", (0,) * 3, (255,) * 3)


def test_bytes_with_a_place_are_pictures_and_lose_it_which_is_said(tmp_path):
    for i in range(3):
        geotiff(tmp_path / f"{i}.tif", (heights(3, seed=i) % 256).astype(np.uint8), names=None)
    data = prepare(tmp_path)
    assert data.space.kind == "picture"
    assert "GeoTIFFs of 8 bits are read as pictures, and samples lie nowhere on earth" in notes(data)


@pytest.mark.parametrize(
    "grid",
    [
        {"pixel": [1, 2]},
        {"pixel": 3},
        {"origin": ["a", "b"]},
        {"nodata": "x"},
        {"crs": 7},
        {"pixel": [np.inf] * 4},
    ],
    ids=str,
)
def test_a_place_that_is_none_is_refused(tmp_path, grid):
    data = prepare(plain(tmp_path / "d", heights()))
    data.space.grid.update(grid)
    with pytest.raises(ValueError, match="not on the grid that their space describes"):
        written(data, Path(tmp_path / "out"))
