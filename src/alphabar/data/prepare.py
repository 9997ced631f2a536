"""DATA → a prepared `Dataset`, once: later runs read only the memory-mapped cache."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import unknown
from ..files import DamagedFile, flush_folder, read_json, write_json
from .dataset import Dataset
from .pictures import GREY_MODES, check_background, has_alpha, picture_array, reason, upright_size
from .sources import Arrays, Pictures, open_source
from .spec import DataSpec, spec_for

VERSION = 1
CHANNEL_CHOICES = {"auto": 0, "grey": 1, "rgb": 3, "rgba": 4}
LARGEST_DEFAULT_SIZE = 64
CHUNK = 256
LEFTOVER_S = 86_400
Progress = Callable[[int, int], None]


def cache_folder() -> Path:
    """Where prepared data lies: $ALPHABAR_CACHE, or alphabar/ in the user's cache folder."""
    if "ALPHABAR_CACHE" in os.environ:
        return Path(os.environ["ALPHABAR_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "alphabar"


def prepare(
    data: str | os.PathLike[str],
    size: int | tuple[int, int] | None = None,
    *,
    channels: str = "auto",
    classes: str = "auto",
    background: str = "white",
    value_range: tuple[float, float] | None = None,
    skip_bad: bool = False,
    holdout: float = 0.05,
    progress: Progress | None = None,
) -> Dataset:
    """Read DATA once and return it at the training size.

    Args:
        data: a folder or .zip of pictures, an .npy or .npz file, `hf:NAME` or `hf:PATH` for a
            Hugging Face data set, or `digits`.
        size: side, or (H, W), that pictures are resized to (shorter side, antialiased) and cut out
            of the centre at. Unless given: their own if all have the same and at most 64, else 64.
        channels: `grey`, `rgb`, `rgba`, or `auto`: grey if every picture is, else rgb.
        classes: `folders` if the sub-folders are classes, `none`, or `auto`: if they plainly are.
        background: the colour that transparent pixels are laid over.
        value_range: of the values of arrays; unless given, 0..255 for bytes, else their own.
        skip_bad: go on without the pictures that cannot be read, rather than stop.
        holdout: the share kept for validation.
        progress: called with (done, total) while pictures are read.
    """
    if channels not in CHANNEL_CHOICES:
        raise unknown("choice of channels", channels, CHANNEL_CHOICES)
    check_background(background)
    wanted = None if size is None else _check_size(size)
    source = open_source(str(data), classes)
    if isinstance(source, Arrays):
        _refuse_for_arrays(size=wanted, channels=channels != "auto", skip_bad=skip_bad)
    elif value_range is not None:
        raise ValueError("value_range (--range) is for arrays; pictures have the range 0..255")
    asked = {
        "size": wanted,
        "channels": channels,
        "classes": classes,
        "background": background,
        "value_range": value_range,
        "skip_bad": skip_bad,
    }
    options = [VERSION, *asked.values()]
    key = hashlib.sha256(json.dumps([source.identity, options]).encode()).hexdigest()[:20]
    place = cache_folder() / key
    if not (place / "facts.json").exists():
        notes = list(source.notes)
        if isinstance(source, Arrays):
            spec, rows = _array_rows(source, value_range)
        else:
            spec, rows = _picture_rows(source, wanted, channels, background, skip_bad, notes, progress)
        _build(place, source, spec, rows, notes)
    usual = inspect.signature(prepare).parameters
    dataset = _open(place, holdout)
    asked["holdout"] = holdout
    dataset.prepared = {name: value for name, value in asked.items() if value != usual[name].default}
    return dataset


# Blocks of images, with their numbers in the source.
Rows = Iterator[tuple[list[int], np.ndarray]]


def _array_rows(source: Arrays, value_range: tuple[float, float] | None) -> tuple[dict[str, Any], Rows]:
    images = source.images
    _check_finite(images)
    spec = spec_for(images, source.layout, value_range)
    if images.min() < spec["low"] or images.max() > spec["high"]:
        raise ValueError(
            f"values reach from {images.min()} to {images.max()}, outside the range "
            f"{spec['low']:g} to {spec['high']:g}"
        )

    def rows() -> Rows:
        for i in range(0, len(images), CHUNK):
            block = np.ascontiguousarray(images[i : i + CHUNK])
            yield list(range(i, i + len(block))), block

    return spec | {"shape": images.shape[1:]}, rows()


def _check_finite(images: np.ndarray) -> None:
    for i in range(0, len(images) if images.dtype.kind == "f" else 0, CHUNK):
        finite = np.isfinite(images[i : i + CHUNK]).all(axis=(1, 2, 3))
        if not finite.all():
            first = i + int(np.flatnonzero(~finite)[0])
            raise ValueError(
                f"the data holds values that are not finite (NaN or infinity), first in sample {first}; "
                "remove those samples or fill the values in"
            )


def _picture_rows(
    source: Pictures,
    size: tuple[int, int] | None,
    channels: str,
    background: str,
    skip_bad: bool,
    notes: list[str],
    progress: Progress | None,
) -> tuple[dict[str, Any], Rows]:
    """Look at all headers, decide on size and channels, and set out to decode."""
    bad: dict[int, str] = {}
    headers = list(_read_all(source, lambda image: (upright_size(image), image.mode, has_alpha(image)), bad))
    sizes = Counter(header[0] for _, header in headers)
    modes = Counter(header[1] for _, header in headers)
    if not headers:
        raise ValueError(_bad_message(source, bad))
    size = size or _default_size(sizes)
    notes.append(_sizes_note(sizes, size))
    num_channels = CHANNEL_CHOICES[channels] or (1 if set(modes) <= GREY_MODES else 3)
    notes.append("modes: " + ", ".join(f"{n} × {mode}" for mode, n in modes.most_common()))
    alpha = any(header[2] for _, header in headers)
    if alpha and num_channels != 4:
        notes.append(f"transparent pixels are laid over {background}")
    spec = spec_for(np.zeros(0, np.uint8), "HWC" if num_channels > 1 else "HW", None)
    spec |= {"shape": (num_channels, *size)}
    spec |= {"background": background if alpha and num_channels != 4 else None}

    def rows() -> Rows:
        total = len(source.names)
        if bad and not skip_bad:
            raise ValueError(_bad_message(source, bad))
        decode = lambda image: picture_array(image, size, num_channels, background)  # noqa: E731
        for i, array in _read_all(source, decode, bad):
            if progress is not None and (i % CHUNK == 0 or i == total - 1):
                progress(i + 1, total)
            yield [i], np.ascontiguousarray(array[None])
        if bad and not skip_bad:
            raise ValueError(_bad_message(source, bad))
        if bad:
            notes.append(f"left out as unreadable: {_names(source, bad)}")

    return spec, rows()


def _read_all(
    source: Pictures, act: Callable[[Image.Image], Any], bad: dict[int, str]
) -> Iterator[tuple[int, Any]]:
    """(i, act(picture i)) in order, over some threads; what fails goes into `bad` and is passed over."""

    def one(i: int) -> Any:
        if i in bad:
            return None
        try:
            with source.open(i) as image:
                return act(image)
        except Exception as error:  # decoders raise many kinds, all about the picture
            bad[i] = reason(error)
            return None

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        numbers = range(len(source.names))
        for start in range(0, len(numbers), CHUNK):
            block = numbers[start : start + CHUNK]
            with warnings.catch_warnings():  # around the threads: within them it isn't safe
                warnings.simplefilter("ignore")  # Pillow's, about odd metadata
                results = list(pool.map(one, block))
            for i, result in zip(block, results, strict=True):
                if result is not None:
                    yield i, result


def _bad_message(source: Pictures, bad: dict[int, str]) -> str:
    return (
        f"{len(bad)} of {len(source.names)} pictures cannot be read: {_names(source, bad)}. "
        "Repair or remove them, or go on without them (--skip-bad, skip_bad=True)"
    )


def _names(source: Pictures, bad: dict[int, str], most: int = 5) -> str:
    shown = [f"{source.names[i]} ({bad[i]})" for i in sorted(bad)[:most]]
    return ", ".join(shown) + (f" and {len(bad) - most} more" if len(bad) > most else "")


def _default_size(sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
    if len(sizes) == 1 and max(next(iter(sizes))) <= LARGEST_DEFAULT_SIZE:
        return next(iter(sizes))
    return LARGEST_DEFAULT_SIZE, LARGEST_DEFAULT_SIZE


def _sizes_note(sizes: Counter[tuple[int, int]], size: tuple[int, int]) -> str:
    height, width = size
    n = sum(sizes.values())
    smaller = sum(count for (h, w), count in sizes.items() if h < height or w < width)
    heights, widths = [h for h, _ in sizes], [w for _, w in sizes]
    if set(sizes) == {size}:
        return f"all {width} × {height} pixels, taken as they are"
    note = (
        f"{min(widths)} to {max(widths)} × {min(heights)} to {max(heights)} pixels, "
        f"resized and cut to {width} × {height}"
    )
    return note + (f" ({smaller} of {n} are enlarged)" if smaller else "")


def _check_size(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if not (4 <= height <= 4096 and 4 <= width <= 4096):
        raise ValueError(f"size must be 4 to 4096 pixels a side, got {height} × {width}")
    return height, width


def _refuse_for_arrays(**given: object) -> None:
    for name, value in given.items():
        if value:
            raise ValueError(f"{name} is for pictures; an array is taken as it is: leave the option out")


def _build(
    place: Path, source: Pictures | Arrays, spec: dict[str, Any], rows: Rows, notes: list[str]
) -> None:
    """Fill the cache folder `place`, under a temporary name until it is complete."""
    place.parent.mkdir(parents=True, exist_ok=True)
    for left in place.parent.glob(".preparing-*"):  # by a preparation that was killed
        if time.time() - left.stat().st_mtime > LEFTOVER_S:
            shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=".preparing-", dir=place.parent))
    try:
        kept: list[int] = []
        spec = spec | {"classes": source.classes}
        digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode())
        with open(temporary / "images.raw", "wb") as file:
            for numbers, block in rows:
                file.write(block.data)
                digest.update(block.data)
                kept.extend(numbers)
            file.flush()
            os.fsync(file.fileno())
        if not kept:
            raise ValueError(f"nothing readable is left: {'; '.join(notes)}")
        if source.labels is not None:
            labels = np.ascontiguousarray(source.labels[kept], dtype=np.int64)
            digest.update(labels.data)
            np.save(temporary / "labels.npy", labels)
        facts = {"spec": spec, "num_images": len(kept), "notes": notes, "fingerprint": digest.hexdigest()}
        write_json(temporary / "facts.json", facts)
        try:
            os.replace(temporary, place)
        except OSError:
            if not (place / "facts.json").exists():  # else another process was faster
                raise
        flush_folder(place.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _open(place: Path, holdout: float) -> Dataset:
    facts = read_json(place / "facts.json")
    spec = DataSpec(**facts["spec"])
    try:
        shape = (facts["num_images"], *spec.shape)
        images = np.memmap(place / "images.raw", np.dtype(spec.dtype), "r", shape=shape)
        labels = np.load(place / "labels.npy") if spec.classes else None
    except (ValueError, OSError, EOFError) as error:
        raise DamagedFile(f"the prepared data in {place} is damaged; delete that folder: {error}") from None
    dataset = Dataset(images, labels, spec, facts["fingerprint"], holdout, facts["notes"])
    if labels is not None:
        counts = np.bincount(labels[dataset.training], minlength=len(spec.classes))
        dataset.spec = dataclasses.replace(spec, class_counts=tuple(counts.tolist()))
    return dataset
