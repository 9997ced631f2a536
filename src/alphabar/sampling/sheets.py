"""Samples to look at: sheets and strips."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..data.conditions.base import Condition, is_told
from ..data.conditions.picture import PictureCondition
from ..data.kinds import shown_space
from ..data.space import Space
from ..images import GAP, enlarged, html_image, picture, tiled

STRIP_COLUMNS = 11
STRIP_ROWS = 8


def sheet(images: np.ndarray, least: int = 512) -> np.ndarray:
    """(N, C, H, W) uint8 → one sheet, enlarged to be looked at."""
    return enlarged(tiled(images), least)


def with_told(
    shown: np.ndarray, told: Mapping[str, Sequence[Any]], conditions: Mapping[str, Condition]
) -> np.ndarray:
    """Pictures (n, C, H, W) uint8 of samples, with the grids that each was told at its left; (n, C', H', W').

    Args:
        shown: the samples.
        told: name → what each was told, of these or of more samples.
        conditions: what is told, by name.
    """
    n, columns = len(shown), []
    for name, condition in conditions.items():
        values = list(told.get(name, ()))[:n]
        some = [i for i, told_here in enumerate(is_told(values).tolist()) if told_here]
        if not isinstance(condition, PictureCondition) or not some:
            continue
        grids = np.stack([np.asarray(values[i]) for i in some])
        pictures = shown_space(Space(**condition.space), [grids]).shown(grids)
        larger = max(1, shown.shape[2] // pictures.shape[2])  # of lower resolution
        pictures = pictures.repeat(larger, 2).repeat(larger, 3)
        column = np.full((n, *pictures.shape[1:]), 255, np.uint8)
        column[some] = pictures
        columns.append(column)
    return _beside([*columns, shown]) if columns else shown


def _beside(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures (n, C, H, W) one beside the other, in the channels and the height of the largest."""
    channels, height = (max(column.shape[axis] for column in columns) for axis in (1, 2))
    found = []
    for column in columns:
        if column.shape[1] < 3 <= channels:
            column = column.repeat(3, 1)
        if column.shape[1] < channels:
            column = np.concatenate([column, np.full_like(column[:, :1], 255)], 1)
        room = ((0, 0), (0, 0), (0, height - column.shape[2]), (0, GAP if found == [] else 0))
        found.append(np.pad(column, room, constant_values=255))
    return np.concatenate(found, 3)


def strip(frames: np.ndarray, least: int = 1000) -> np.ndarray:
    """(F, n, C, H, W) uint8 → a row a sample and a column a time, from noise to sample."""
    columns = np.unique(np.linspace(0, len(frames) - 1, STRIP_COLUMNS).round().astype(int))
    chosen = frames[columns, :STRIP_ROWS]
    rows = np.moveaxis(chosen, 0, 1).reshape(-1, *frames.shape[2:])
    return enlarged(tiled(rows, columns=len(columns)), least)


def png_of(images: np.ndarray) -> bytes:
    """A sheet of (N, C, H, W) uint8, as the bytes of a PNG."""
    buffer = io.BytesIO()
    picture(sheet(images)).save(buffer, "PNG")
    return buffer.getvalue()


def html_of(images: np.ndarray, caption: str) -> str:
    """The sheet with a caption, as HTML."""
    return f"<figure>{html_image(png_of(images))}<figcaption>{html.escape(caption)}</figcaption></figure>"
