"""NetCDF and HDF5: their variables, and samples written as they were read."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import needs
from ...files import npy_bytes
from .axes import axis_values, is_axis
from .tiff_files import check_tiff, tiff_bytes
from .volume_files import NIFTI, TIFF, TIFF_TYPES, nibabel, nifti_bytes, pages_bytes

if TYPE_CHECKING:
    from ..space import Space


class Variable(NamedTuple):
    """One array of a file.

    Attributes:
        shape, dtype: as it is read, missing numbers as NaN.
        dims: names of its axes, "" where there is none.
        units, title: as the file has them.
        read: (start, stop) → samples start … stop - 1.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    dims: tuple[str, ...]
    units: str
    title: str
    read: Callable[[int, int], np.ndarray]


Opened = Callable[[Path], AbstractContextManager[dict[str, Variable]]]


def _netcdf4() -> Any:
    with needs("NetCDF files", "netCDF4", "fields"):
        import netCDF4  # pyright: ignore[reportMissingImports]
    return netCDF4


def _h5py() -> Any:
    with needs("HDF5 files", "h5py", "fields"):
        import h5py  # pyright: ignore[reportMissingImports]
    return h5py


@contextlib.contextmanager
def _netcdf(path: Path) -> Iterator[dict[str, Variable]]:
    try:
        file = _netcdf4().Dataset(path)
    except OSError as error:
        raise ValueError(f"{path} is damaged or no NetCDF file: {error}") from None
    with file:
        yield {name: _of_netcdf(v) for name, v in file.variables.items() if v.dtype != str and v.shape}


def _of_netcdf(v: Any) -> Variable:
    there = set(v.ncattrs())
    packed = there & {"scale_factor", "add_offset", "_FillValue", "missing_value", "valid_range", "valid_min"}
    dtype = np.dtype(v.dtype).newbyteorder("=")
    if packed and dtype.kind in "iu":  # 16 bits are whole in float32
        dtype = np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)

    def read(start: int, stop: int) -> np.ndarray:
        block = v[start:stop]
        if dtype.kind == "f":
            return np.ma.filled(np.ma.asarray(block).astype(dtype), np.nan)
        return np.ma.getdata(block)

    units, title = (str(getattr(v, name, "")) for name in ("units", "long_name"))
    return Variable(v.shape, dtype, v.dimensions, units, title, read)


@contextlib.contextmanager
def _hdf5(path: Path) -> Iterator[dict[str, Variable]]:
    h5py = _h5py()
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is damaged or no HDF5 file: {error}") from None
    found: dict[str, Variable] = {}

    def see(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape and item.dtype.kind in "buif":
            found[name] = _of_hdf5(item)

    with file:
        file.visititems(see)
        yield found


def _of_hdf5(v: Any) -> Variable:
    def text(name: str) -> str:
        given = v.attrs.get(name, "")
        return given.decode() if isinstance(given, bytes) else str(given)

    fill = v.attrs.get("_FillValue") if v.dtype.kind == "f" else None

    def read(start: int, stop: int) -> np.ndarray:
        block = v[start:stop]
        return block if fill is None else np.where(block == fill, np.nan, block).astype(v.dtype)

    dims = tuple(dim.label or (Path(dim[0].name).name if len(dim) else "") for dim in v.dims)
    return Variable(v.shape, v.dtype, dims, text("units"), text("long_name"), read)


def _zarr_package() -> Any:
    with needs("Zarr stores", "zarr", "zarr"):
        import zarr  # pyright: ignore[reportMissingImports]
    return zarr


@contextlib.contextmanager
def _zarr(path: Path) -> Iterator[dict[str, Variable]]:
    zarr = _zarr_package()
    try:
        store = zarr.open_group(path, mode="r")
        members = dict(store.members(max_depth=None))
    except Exception as error:  # damaged stores raise many kinds, all about the store
        raise ValueError(f"{path} is damaged or no Zarr store: {error}") from None
    arrays = {name: v for name, v in members.items() if hasattr(v, "dtype") and v.dtype.kind in "buif"}
    yield {name: _of_zarr(v) for name, v in arrays.items() if v.shape}


def _of_zarr(v: Any) -> Variable:
    """As xarray writes them: names of axes, numbers that stand for others, and for none, in attributes."""
    about = dict(v.attrs)
    dims = getattr(v.metadata, "dimension_names", None) or about.get("_ARRAY_DIMENSIONS") or [""] * v.ndim
    fill, scale, offset = (about.get(name) for name in ("_FillValue", "scale_factor", "add_offset"))
    if fill is None and v.metadata.zarr_format == 2:
        fill = v.fill_value or None  # 0 is Zarr's own, and a number like others
    if isinstance(fill, str):  # base 64 of a float
        fill = np.frombuffer(base64.b64decode(fill), "<f8")[0] if len(fill) == 12 else float(fill)
    dtype = np.dtype(v.dtype).newbyteorder("=")
    changed = {fill, scale, offset} != {None}
    if changed and dtype.kind in "iu":  # 16 bits are whole in float32
        dtype = np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)

    def read(start: int, stop: int) -> np.ndarray:
        block = np.asarray(v[start:stop])
        if not changed:
            return block.astype(dtype, copy=False)
        lost = False if fill is None else block == fill
        values = block.astype(dtype) * dtype.type(scale or 1) + dtype.type(offset or 0)
        return np.where(lost, dtype.type(np.nan), values)

    units, title = (str(about.get(name, "")) for name in ("units", "long_name"))
    return Variable(tuple(v.shape), dtype, tuple(dim or "" for dim in dims), units, title, read)


# --- back ----------------------------------------------------------------------------------------


def _variables(space: Space, images: np.ndarray) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """(name, units, title, (n, H, W)) of each channel."""
    titles = space.grid.get("titles", {})
    units = space.units or ("",) * space.channels
    for i, (name, unit) in enumerate(zip(space.names, units, strict=True)):
        yield name, unit, str(titles.get(name, "")), images[:, i]


def _as_netcdf(space: Space, images: np.ndarray) -> Iterator[tuple[str, bytes]]:
    axes, coordinates = space.grid["axes"], space.grid.get("coordinates", {})
    file = _netcdf4().Dataset("samples.nc", "w", memory=images.nbytes + 2**16)
    file.createDimension("sample", len(images))
    for axis, side in zip(axes, space.shape[1:], strict=True):
        file.createDimension(axis, side)
        if axis in coordinates:
            values = axis_values(coordinates[axis])
            made = file.createVariable(axis, values.dtype, (axis,))
            made[:] = values
            made.units = coordinates[axis]["units"]
    for name, unit, title, values in _variables(space, images):
        fill = np.nan if values.dtype.kind == "f" and space.missing else None
        made = file.createVariable(name, values.dtype, ("sample", *axes), fill_value=fill)
        made[:] = values
        made.units, made.long_name = unit, title or name
    yield "samples.nc", bytes(file.close())


def _as_hdf5(space: Space, images: np.ndarray) -> Iterator[tuple[str, bytes]]:
    h5py = _h5py()
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, unit, title, values in _variables(space, images):
            made = file.create_dataset(name, data=values)
            for label, said in (("units", unit), ("long_name", title)):
                if said:
                    made.attrs[label] = said
            for dim, axis in zip(made.dims, ("sample", *space.grid["axes"]), strict=True):
                dim.label = axis
        for axis, entry in space.grid.get("coordinates", {}).items():
            if axis not in file:
                file.create_dataset(axis, data=axis_values(entry)).attrs["units"] = entry["units"]
    yield "samples.h5", content.getvalue()


def _as_zarr(space: Space, images: np.ndarray) -> Iterator[tuple[str, bytes]]:
    zarr, content = _zarr_package(), {}
    group = zarr.open_group(zarr.storage.MemoryStore(content), mode="w", zarr_format=3)

    def add(name: str, values: np.ndarray, dims: tuple[str, ...], units: str, title: str) -> None:
        fill = np.nan if values.dtype.kind == "f" else 0
        chunks = (1, *values.shape[1:]) if values.ndim > 1 else values.shape
        made = group.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=chunks, fill_value=fill, dimension_names=dims
        )
        made[:] = values
        made.attrs.update({"units": units, "long_name": title} if title else {"units": units})

    axes = tuple(space.grid["axes"])
    for name, unit, title, values in _variables(space, images):
        add(name, values, ("sample", *axes), unit, title)
    for axis, entry in space.grid.get("coordinates", {}).items():
        if axis not in space.names:
            add(axis, axis_values(entry), (axis,), entry["units"], "")
    for key, buffer in content.items():
        yield f"samples.zarr/{key}", buffer.to_bytes()


class Format(NamedTuple):
    """A row of `FILES`: how a file is opened, and samples written as one, or as the files of a folder."""

    open: Opened
    write: Callable[[Space, np.ndarray], Iterator[tuple[str, bytes]]]
    package: Callable[[], Any]


NETCDF, HDF5 = Format(_netcdf, _as_netcdf, _netcdf4), Format(_hdf5, _as_hdf5, _h5py)
NPY, ZARR = ".npy", ".zarr"
FILES = {".nc": NETCDF, ".nc4": NETCDF, ".h5": HDF5, ".hdf5": HDF5, ".hdf": HDF5}
FILES[ZARR] = Format(_zarr, _as_zarr, _zarr_package)
"""By the endings of files."""


def check_grid(space: Space) -> None:
    """ValueError unless samples of a space can be written in the form that the data had."""
    grid = space.grid
    if not grid or grid.get("file") == NPY:
        return
    if grid.get("file") == NIFTI[0] and np.shape(grid.get("affine", ())) == (4, 4) and len(space.shape) == 4:
        nibabel()
        return
    if grid.get("file") == TIFF[0] and len(space.shape) == 3:
        return check_tiff(space)
    if grid.get("file") == TIFF[0] and len(space.shape) == 4 and space.dtype in TIFF_TYPES:
        return
    axes, coordinates = grid.get("axes"), grid.get("coordinates", {})
    sides = dict(zip(axes, space.shape[1:], strict=False)) if isinstance(axes, list) else {}
    fits = len(sides) == len(space.shape) - 1 and len(space.names) == space.channels
    fits = fits and isinstance(coordinates, dict)
    fits = fits and all(is_axis(entry, sides.get(axis)) for axis, entry in coordinates.items())
    if not fits or grid.get("file") not in FILES:
        raise ValueError(f"samples of shape {space.shape} are not on the grid that their space describes")
    FILES[grid["file"]].package()


def grid_each(space: Space) -> tuple[str, Callable[[np.ndarray], bytes]] | None:
    """An .npy, NIfTI or TIFF file of what were such ones."""
    if space.grid.get("file") == NPY:
        return NPY, lambda sample: npy_bytes(space.to_layout(sample[None])[0])
    if space.grid.get("file") == NIFTI[0]:
        return NIFTI[0], lambda volume: nifti_bytes(volume, space.grid["affine"])
    if space.grid.get("file") != TIFF[0]:
        return None
    return TIFF[0], pages_bytes if len(space.shape) == 4 else partial(tiff_bytes, space=space)


def grid_files(
    images: Callable[[], np.ndarray], space: Space, indices: Sequence[int], told: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, bytes]]:
    """A file of all in the form that the data had; none of plain arrays, or of a sample each."""
    if space.grid.get("file") in FILES:
        yield from FILES[space.grid["file"]].write(space, images())
