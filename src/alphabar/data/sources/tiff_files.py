"""TIFF as numbers: floats, and bands that pictures don't have, with the place on earth that GeoTIFF knows."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

from ...errors import needs
from ...images import MODES
from ..config import DataConfig
from .headers import PLACE
from .pictures import opened
from .source_types import Arrays, Rows, Samples, stamp
from .volume_files import TIFF, One

if TYPE_CHECKING:
    from ..space import Space

BITS, BANDS, FORMAT, FLOATS = 258, 277, 339, 3
GEO = (*PLACE, 42112, 42113)
"""The tags by which a file knows its place, the names of its bands, or what a missing number is."""
KEPT = {
    "names": "the names of bands",
    "units": "units",
    "crs": "coordinate systems",
    "pixel": "the size of pixels",
    "nodata": "the number for what is missing",
}
"""What is kept of files if it is the same in all."""
SIDE = 64
MOST = 2**30  # numbers of a sample


class Tags(NamedTuple):
    """What the first page of a TIFF says of itself."""

    bands: int
    bits: int
    floats: bool
    geo: bool

    @property
    def is_plain(self) -> bool:
        """Whether Pillow reads its floats, and they are all there is."""
        return self.floats and self.bands == 1 and self.bits == 32 and not self.geo


def _tags(file: Path) -> Tags | None:
    """None for a file that is no TIFF, or damaged."""
    try:
        with open(file, "rb") as stream, warnings.catch_warnings(action="ignore"):
            head = stream.read(8)
            found = TiffImagePlugin.ImageFileDirectory_v2(head + stream.read(8 if 43 in head[2:4] else 0))
            stream.seek(found.next)
            found.load(stream)
            bits, kinds = (tuple(np.ravel(found.get(tag) or 1).tolist()) for tag in (BITS, FORMAT))
            geo = any(tag in found for tag in GEO)
            return Tags(int(found.get(BANDS) or 1), max(bits), FLOATS in kinds, geo)
    except Exception:  # Pillow's parser raises many kinds; whoever reads the file says what is wrong with it
        return None


def is_numbers(file: Path) -> bool:
    """Whether a TIFF is no picture: floats, more bands than pictures have, or a place and over 8 bits."""
    tags = _tags(file)
    if tags is None:
        return False
    return tags.floats or tags.bands > max(MODES) or (tags.geo and (tags.bits > 8 or tags.bands not in MODES))


def tiff(file: Path) -> One:
    """The numbers (C, H, W) of a file; `grid` has the names of its bands, and where it lies."""
    tags = _tags(file)
    if tags is None or not tags.is_plain:
        return _raster(file)
    with opened(file) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise _pages(file)
        shape = (1, image.height, image.width)

    def read() -> np.ndarray:
        with opened(file) as image:
            return np.asarray(image, np.float32)[None]

    return One(shape, np.dtype(np.float32), None, read, TIFF[0])


def _pages(file: Path) -> ValueError:
    return ValueError(f"{file} has several pages: give a file of one each")


# --- by GDAL ---------------------------------------------------------------------------------------


def rasterio() -> Any:
    """The package; ValueError that says how to get it."""
    with needs("GeoTIFF, and TIFFs of several bands of numbers,", "rasterio", "geotiff"):
        import rasterio  # pyright: ignore[reportMissingImports]
    return rasterio


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Any]:
    package = rasterio()
    with warnings.catch_warnings(action="ignore"), package.Env():  # of files without a place
        try:
            found = package.open(file, driver="GTiff")
        except package.errors.RasterioError as error:
            raise ValueError(f"{file} is damaged or no TIFF: {error}") from None
        with found:
            yield found


def _type(data: Any) -> np.dtype:
    """Of the numbers of a file: its own, or floats where some may be missing or stand for others."""
    dtype = np.result_type(*data.dtypes)
    if dtype.kind not in "iuf":
        raise ValueError(f"{data.name} must hold real numbers, got {dtype}")
    may_miss = any("all_valid" not in [flag.name for flag in flags] for flags in data.mask_flag_enums)
    if dtype.kind != "f" and (may_miss or {*data.scales, 1.0} != {1.0} or {*data.offsets, 0.0} != {0.0}):
        return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)  # in which 16 bits are whole
    return dtype


def _values(data: Any, dtype: np.dtype, window: Any = None) -> np.ndarray:
    """Numbers (C, H, W), NaN where one is missing."""
    block = data.read(window=window, masked=True)
    if dtype.kind != "f":
        return np.ma.getdata(block).astype(dtype, copy=False)
    scale, offset = (np.array(each, dtype).reshape(-1, 1, 1) for each in (data.scales, data.offsets))
    return np.ma.filled(block.astype(dtype) * scale + offset, np.nan)


def _raster(file: Path) -> One:
    with _opened(file) as data:
        if len(data.subdatasets) > 1:
            raise _pages(file)
        shape, dtype = (data.count, data.height, data.width), _type(data)
        a, b, c, d, e, f = data.transform[:6]
        found = {
            "names": [name or f"band {i}" for i, name in enumerate(data.descriptions, 1)]
            if any(data.descriptions)
            else [],
            "units": [unit or "" for unit in data.units] if any(data.units) else [],
            "crs": data.crs.to_wkt() if data.crs else None,
            "pixel": None if data.transform.is_identity else [a, b, d, e],
            "origin": None if data.transform.is_identity else [c, f],
            "nodata": data.nodata if data.nodata is not None and math.isfinite(data.nodata) else None,
        }

    def read() -> np.ndarray:
        if math.prod(shape) > MOST:
            raise ValueError(f"{file} has {math.prod(shape):,} numbers, too many for a sample")
        with _opened(file) as data:
            return _values(data, dtype)

    return One(shape, dtype, None, read, TIFF[0], grid=found)


# --- samples ---------------------------------------------------------------------------------------


def tiff_samples(rows: Rows, ones: Sequence[Mapping[str, Any]], notes: list[str]) -> Samples:
    """Files of one shape as samples: what they all say of their bands and their place is kept."""
    same = {key: ones[0].get(key) for key in ones[0] if all(one.get(key) == ones[0][key] for one in ones)}
    lost = [word for key, word in KEPT.items() if key in ones[0] and key not in same]
    if lost:
        notes.append(f"the files differ in {', '.join(lost)}: samples have none")
    return _samples(rows, same, notes)


def _samples(rows: Rows, same: Mapping[str, Any], notes: list[str]) -> Samples:
    grid: dict[str, Any] = {"file": ".tif"}
    grid |= {key: same[key] for key in ("crs", "pixel", "origin", "nodata") if same.get(key) is not None}
    if "pixel" not in grid:
        grid.pop("origin", None)
    elif "origin" in grid:
        notes.append("all lie in one place, where samples are put as well")
    else:
        notes.append("they lie in several places: samples have their size of pixels, and 0, 0 for a corner")
    kind = "picture" if rows.dtype == np.uint8 and rows.shape[1] in MODES else "field"
    names, units = (tuple(same.get(key) or ()) for key in ("names", "units"))
    notes.append(f"read as {kind}s of {' × '.join(map(str, rows.shape[2:]))}, a channel a band")
    return Samples(rows, "CHW", kind, notes, names=names, units=units, grid=grid)


def scene(path: Path, config: DataConfig) -> Arrays:
    """One file, cut into tiles of `size` that don't overlap; those that lack a number are left out."""

    def open_file() -> Samples:
        one = _raster(path)
        height, width = config.size or (SIDE, SIDE)
        down, across = one.shape[1] // height, one.shape[2] // width
        if down * across < 2:
            raise ValueError(
                f"{path} has {one.shape[1]} × {one.shape[2]} pixels: too few to be cut into samples of "
                f"{height} × {width} (--size); a folder of such files is read as a sample each"
            )

        def tiles() -> Iterator[np.ndarray]:
            with _opened(path) as data:
                for row in range(down):
                    window = rasterio().windows.Window(0, row * height, across * width, height)
                    block = _values(data, one.dtype, window).reshape(-1, height, across, width)
                    yield np.moveaxis(block, 2, 0)

        def whole() -> Iterator[np.ndarray]:
            for block in tiles():
                if len(block := block[~np.isnan(block).any((1, 2, 3))]):
                    yield block

        count = sum(map(len, whole())) if one.dtype.kind == "f" else down * across
        notes = [
            f"{path.name} is cut into {down * across} tiles of {height} × {width} (--size), side by side"
        ]
        if not count:
            raise ValueError(f"each of the {down * across} tiles of {path} lacks a number: give smaller ones")
        if count < down * across:
            notes.append(f"tiles that lack numbers are left out: {down * across - count}")
        over = one.shape[1] % height, one.shape[2] % width
        if any(over):
            notes.append(
                f"what fills no tile is left out: {over[0]} rows below, {over[1]} columns at the right"
            )
        rows = Rows(
            (count, one.shape[0], height, width), one.dtype, whole if one.dtype.kind == "f" else tiles
        )
        return _samples(rows, {**one.grid, "origin": None}, notes)

    return Arrays(stamp(path), open_file, frozenset({"size", "range", "clip"}))


# --- back ------------------------------------------------------------------------------------------


def _is_plain(space: Space) -> bool:
    return (
        space.channels == 1 and space.dtype == "float32" and not space.names and set(space.grid) == {"file"}
    )


def check_tiff(space: Space) -> None:
    """ValueError unless samples of a space can be written as TIFF."""
    grid = space.grid
    try:
        numbers = [*grid.get("pixel", [1] * 4), *grid.get("origin", [0] * 2), grid.get("nodata", 0)]
        fits = (
            len(space.shape) == 3 and len(numbers) == 7 and np.isfinite(np.array(numbers, np.float64)).all()
        )
    except (TypeError, ValueError):
        fits = False
    if not fits or not isinstance(grid.get("crs", ""), str):
        raise ValueError(f"samples of shape {space.shape} are not on the grid that their space describes")
    if _is_plain(space):
        return
    package = rasterio()
    with package.Env():
        if "crs" in grid:
            package.crs.CRS.from_wkt(grid["crs"])


def tiff_bytes(image: np.ndarray, space: Space) -> bytes:
    """A sample (C, H, W) as the content of a .tif, with the bands and the place of the data."""
    if _is_plain(space):
        content = io.BytesIO()
        Image.fromarray(image[0]).save(content, "TIFF")
        return content.getvalue()
    grid, package = space.grid, rasterio()
    nodata = grid.get("nodata", math.nan if image.dtype.kind == "f" else None)
    if image.dtype.kind == "f" and space.missing:
        image = np.where(np.isnan(image), image.dtype.type(nodata), image)
    (a, b, d, e), (c, f) = grid.get("pixel", (1, 0, 0, 1)), grid.get("origin", (0, 0))
    form = {
        "driver": "GTiff", "count": image.shape[0], "height": image.shape[1], "width": image.shape[2],
        "dtype": image.dtype.name, "nodata": nodata if space.missing else None, "compress": "deflate",
        "transform": package.Affine(a, b, c, d, e, f) if "pixel" in grid else None,
        "crs": package.crs.CRS.from_wkt(grid["crs"]) if "crs" in grid else None,
    }  # fmt: skip
    with warnings.catch_warnings(action="ignore"), package.Env(), package.MemoryFile() as memory:
        with memory.open(**form) as data:
            data.write(image)
            if space.names:
                data.descriptions = space.names
            if space.units:
                data.units = space.units
        return memory.read()
