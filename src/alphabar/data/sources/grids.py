"""Numbers on a grid by file and variable: which are the channels, and what their axes are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import some
from .axes import AXIS_TYPES
from .grid_files import FILES, Variable
from .layouts import AmbiguousLayoutError, arranged
from .source_types import Arrays, Rows, Samples, block_size, stamp

PLACES = (
    "lat",
    "latitude",
    "lon",
    "longitude",
    "x",
    "y",
    "z",
    "level",
    "lev",
    "depth",
    "height",
    "rlat",
    "rlon",
)
"""Names of axes that are never those of samples."""


def grid_file(path: Path, key: str, layout: str) -> Arrays:
    """Samples from the variables of a file that `key` names, one or more with commas between them."""

    def open_file() -> Samples:
        with FILES[path.suffix.lower()].open(path) as variables:
            names = _chosen(path, key, variables)
            return _samples(path, names, {name: variables[name] for name in names}, layout, variables)

    every = sorted(path.rglob("*")) if path.is_dir() else [path]
    return Arrays([*map(stamp, every), key], open_file)


def _chosen(path: Path, key: str, variables: dict[str, Variable]) -> list[str]:
    """The names of the variables that are the channels."""
    listing = some([f"{name} {v.shape}" for name, v in variables.items()], 20) or "none"
    names = [name.strip() for name in key.split(",") if name.strip()]
    if not names:
        names = [name for name, v in variables.items() if len(v.shape) > 2]
        if len(names) != 1:
            shapes = Counter(variables[name].shape for name in names)
            alike = [name for name in names if variables[name].shape == shapes.most_common(1)[0][0]]
            one, several = alike[0] if alike else "NAME", ",".join(alike) if alike[1:] else "NAME,NAME"
            raise ValueError(
                f"say which variables of {path} are the channels, as {path.name}:{one} or "
                f"{path.name}:{several}; it has {listing}"
            )
    if unknown := [name for name in names if name not in variables]:
        raise ValueError(f"there is no variable {some(unknown)} in {path}; it has {listing}")
    if len(set(names)) < len(names):
        raise ValueError(f"each variable can be a channel once, got {key}")
    shapes = {variables[name].shape for name in names}
    if len(shapes) > 1:
        own = ", ".join(f"{name} {variables[name].shape}" for name in names)
        raise ValueError(f"variables that are channels have one shape, got {own}")
    return names


def _samples(
    path: Path, names: list[str], chosen: dict[str, Variable], layout: str, every: dict[str, Variable]
) -> Samples:
    first = chosen[names[0]]
    if first.dims and first.dims[0].lower() in PLACES:
        raise ValueError(
            f"the first axis of {names[0]} in {path} is {first.dims[0]}, and samples must come first (axes: "
            f"{', '.join(first.dims)}): put that of samples or times first"
        )
    dtype = np.result_type(*(v.dtype for v in chosen.values()))
    where = f"{', '.join(names)} in {path}"
    rows = Rows(first.shape, dtype, lambda: _blocks(path, names[:1], 0))
    notes = [f"{some(names)} of {path.name}, samples along {first.dims[0] or 'the first axis'}"]
    if len(names) == 1 and dtype.kind != "f":  # pictures, or anything else, that are in such a file
        found = arranged(rows, layout, where)
        return found._replace(notes=[*notes, *found.notes])
    n, *sides = first.shape
    if len(sides) == 2 and layout in ("auto", "HW"):
        channels, axes = [1] * len(names), first.dims[1:]
        rows = Rows((n, len(names), *sides), dtype, lambda: _blocks(path, names, 1))
        said = f"read as fields of {sides[0]} × {sides[1]}, a channel each"
    elif len(names) > 1 and (len(sides) != 3 or layout not in ("auto", "CHW")):
        raise ValueError(
            f"several variables are channels if each is (sample, height, width) or (sample, channel, height, "
            f"width), got shape {first.shape} ({', '.join(first.dims)})"
        )
    else:
        _refuse_levels(where, first, layout)
        found = arranged(rows, layout, where)
        if found.kind != "picture":
            return found._replace(notes=[*notes, *found.notes])
        channels = [found.rows.shape[1]] * len(names)
        axes = first.dims[1:3] if found.layout == "HWC" else first.dims[2:]
        rows = found.rows
        if len(names) > 1:
            shape = (n, sum(channels), *sides[1:])
            rows = Rows(shape, dtype, lambda: _blocks(path, names, 2))
        said = found.notes[0]
    titles = _titles(names, channels, [v for v in first.dims[1:] if v not in axes], every)
    units = tuple(chosen[name].units for name, c in zip(names, channels, strict=True) for _ in range(c))
    grid = {"file": path.suffix.lower(), "axes": [dim or f"axis_{i}" for i, dim in enumerate(axes, 1)]}
    grid |= {"titles": {name: chosen[name].title for name in names if chosen[name].title}}
    grid |= {"coordinates": _coordinates(axes, every, rows.shape[2:])}
    return Samples(
        rows, "CHW", "field", [*notes, said], names=titles, units=units if any(units) else (), grid=grid
    )


def _refuse_levels(where: str, variable: Variable, layout: str) -> None:
    """AmbiguousLayoutError for named axes of which the second may be channels or depth."""
    if len(variable.shape) == 4 and layout == "auto" and any(variable.dims):
        raise AmbiguousLayoutError(
            f"{where} of shape {variable.shape} ({', '.join(variable.dims)}) can be read in several ways: "
            "say which by --layout (layout= in Python), CHW if the second axis is channels, HWC if the last"
        )


def _titles(
    names: list[str], channels: list[int], rest: list[str], every: dict[str, Variable]
) -> tuple[str, ...]:
    """Names of the channels: a variable's own, with what tells its channels apart if it has several."""
    found: list[str] = []
    for name, count in zip(names, channels, strict=True):
        dim = rest[0] if count > 1 and rest else ""
        values: Sequence[Any] = range(count)
        if dim in every and every[dim].shape == (count,):
            values = every[dim].read(0, count).tolist()
        found += [name] if count == 1 else [f"{name} {value:g}" for value in values]
    return tuple(found)


def _coordinates(axes: Sequence[str], every: dict[str, Variable], sides: Sequence[int]) -> dict[str, Any]:
    """The values along the axes, where the file has finite ones."""
    found = {}
    for axis, side in zip(axes, sides, strict=True):
        if axis in every and every[axis].shape == (side,):
            values = np.asarray(every[axis].read(0, side), np.float64)
            if np.isfinite(values).all():
                dtype = every[axis].dtype.name
                own = {"dtype": dtype} if dtype in AXIS_TYPES else {}
                found[axis] = {"values": values.tolist(), "units": every[axis].units, **own}
    return found


def _blocks(path: Path, names: list[str], way: int) -> Iterator[np.ndarray]:
    """Blocks of one variable (way 0), of several stacked (1) or one after another (2) on the second axis."""
    with FILES[path.suffix.lower()].open(path) as variables:
        chosen = [variables[name] for name in names]
        shape, dtype = chosen[0].shape, np.result_type(*(v.dtype for v in chosen))
        size = block_size((len(names), *shape[1:]), dtype)
        for start in range(0, shape[0], size):
            parts = [v.read(start, min(start + size, shape[0])).astype(dtype, copy=False) for v in chosen]
            yield parts[0] if way == 0 else np.stack(parts, 1) if way == 1 else np.concatenate(parts, 1)
