"""Samples as files that say how they were made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..data.spec import DataSpec
from ..files import atomic, write_json
from ..images import displayable, enlarged, save_animation, save_picture, tiled
from ..version import __version__
from .sampler import Samples

STRIP_COLUMNS = 11
STRIP_ROWS = 8


def new_folder(path: str | Path) -> Path:
    """Check that `path` is absent or an empty folder, so that nothing is overwritten."""
    folder = Path(path).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; --out must be a folder")
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; choose a new folder (nothing was written)")
    return folder


def write_samples(folder: Path, samples: Samples, spec: DataSpec, **more: Any) -> list[Path]:
    """Write pictures, grid, array and facts into a new folder; return the files.

    000000.png … are named by the sample's number and carry the facts inside; samples.npy has the
    data's own dtype, range and layout; samples.json says how to make any one again. With frames,
    strip.png and trajectory.gif show the way from noise to sample.
    """
    folder = new_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shown = displayable(samples.images, spec.low, spec.high)
    facts = {"alphabar": __version__, **samples.facts, **more}
    written = []
    for i, index in enumerate(samples.indices.tolist()):
        own = {**facts, "index": index}
        if samples.labels is not None:
            own["class"] = spec.classes[samples.labels[i]] if samples.labels[i] >= 0 else None
        written.append(folder / f"{index:06d}.png")
        save_picture(written[-1], shown[i], own)
    written.append(folder / "grid.png")
    save_picture(written[-1], grid(shown), facts)
    written.append(folder / "samples.npy")
    with atomic(written[-1]) as temporary, open(temporary, "wb") as file:
        np.save(file, spec.to_layout(samples.images))
    if samples.frames is not None:
        frames = displayable(samples.frames, spec.low, spec.high)
        written += [folder / "strip.png", folder / "trajectory.gif"]
        save_picture(written[-2], strip(frames), facts)
        save_animation(written[-1], np.stack([grid(frame, 256) for frame in frames]))
        facts["frame_times"] = samples.frame_times
    written.append(folder / "samples.json")
    listing = {
        "indices": samples.indices.tolist(),
        "labels": None if samples.labels is None else samples.labels.tolist(),
        "classes": list(spec.classes),
        "shape": list(samples.images.shape),
        "dtype": spec.dtype,
        "value_range": None if spec.low is None else [spec.low, spec.high],
    }
    write_json(written[-1], {**facts, **listing})
    return written


def grid(images: np.ndarray, least: int = 512) -> np.ndarray:
    """(N, C, H, W) uint8 → one sheet, enlarged to be looked at."""
    return enlarged(tiled(images), least)


def strip(frames: np.ndarray, least: int = 1000) -> np.ndarray:
    """(F, n, C, H, W) uint8 → a row a sample and a column a time, from noise to sample."""
    columns = np.unique(np.linspace(0, len(frames) - 1, STRIP_COLUMNS).round().astype(int))
    chosen = frames[columns, :STRIP_ROWS]
    rows = np.moveaxis(chosen, 0, 1).reshape(-1, *frames.shape[2:])
    return enlarged(tiled(rows, columns=len(columns)), least)
