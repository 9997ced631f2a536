"""Arrays of grids that are told beside samples: outlines, masks, the past of a series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import some
from ..conditions.picture import PictureCondition
from ..config import DataConfig
from ..space import Space
from .layouts import RANKS, arranged
from .source_types import Labels, Rows, Samples

GRID = PictureCondition.kind


def are_grids(name: str, shape: tuple[int, ...], kinds: Mapping[str, str] | None) -> bool:
    """Whether an array of this name and shape tells grids: by its axes, or because it is asked for."""
    wanted = (kinds or {}).get(name)
    return wanted == GRID or (wanted is None and len(shape) > 2)


def with_grids(labels: Labels, grids: Mapping[str, Rows], config: DataConfig, where: str) -> Labels:
    """What is told of samples, with arrays (N, …) of grids by name beside it, as (N, C', *sides).

    They are read in the layout of the samples where they have as many axes, else as arrays are.
    """
    if not grids:
        return labels
    if config.window is not None:
        raise ValueError(
            f"windows cut samples, and not the grids that are told of them ({some(list(grids))}): cut both "
            "first, or tell the grids by --pairs"
        )
    told, notes = dict(labels.told), []
    for name, rows in grids.items():
        fits = RANKS.get(config.layout, len(rows.shape)) == len(rows.shape)
        samples = arranged(rows, config.layout if fits else "auto", f"{name} in {where}")
        told[name] = PictureCondition(space=space_of(samples).to_dict()), samples.rows
        notes.append(f"told from {where}: {name} ({GRID}), {', '.join(samples.notes)}")
    return labels._replace(told=told, notes=(*labels.notes, *notes))


def space_of(samples: Samples) -> Space:
    """What one grid is; only bytes and what has limits have bounds."""
    shape, dtype = samples.rows.shape[1:], samples.rows.dtype
    kind = "field" if samples.kind == "picture" and dtype.kind == "f" else samples.kind
    known = samples.limits or ((0.0, 255.0) if dtype == np.uint8 else None)
    ends: tuple[Any, Any] = (None, None) if known is None else known
    return Space(
        shape, str(dtype), *ends, kind=kind, layout=samples.layout, names=samples.names,
        units=samples.units, grid=dict(samples.grid), timeline=samples.timeline,
    )  # fmt: skip
