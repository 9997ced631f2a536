"""Samples to look at: sheets and strips."""

from __future__ import annotations

import html
import io

import numpy as np

from ..images import enlarged, html_image, picture, tiled

STRIP_COLUMNS = 11
STRIP_ROWS = 8


def sheet(images: np.ndarray, least: int = 512) -> np.ndarray:
    """(N, C, H, W) uint8 → one sheet, enlarged to be looked at."""
    return enlarged(tiled(images), least)


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
