"""Series as files of the form that the data had."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .grid_files import grid_each
from .series_tables import as_table
from .sound import sound_bytes
from .table_files import table_bytes

if TYPE_CHECKING:
    from ..space import Space


def series_each(space: Space) -> tuple[str, Callable[[np.ndarray], bytes]] | None:
    """A WAV of sound, an .npy of what were such ones."""
    if not space.timeline.depth:
        return grid_each(space)
    return ".wav", lambda series: sound_bytes(series, space.timeline)


def series_files(
    images: Callable[[], np.ndarray], space: Space, indices: Sequence[int], told: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, bytes]]:
    """(name, content): one table of what was a table; of arrays none."""
    if space.timeline.order:
        rows, names, columns = as_table(images(), space.names, space.timeline, indices, told.get("class", ()))
        ending, content = table_bytes(rows, names, columns, space.layout)
        yield f"samples{ending}", content
