"""Data and samples that are named beside a model: found, and prepared like that model's samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.conditions.picture import Grid
from ..data.config import DataConfig
from ..data.dataset import Dataset
from ..data.preparing.decoding import Decoder
from ..data.preparing.preparation import prepare
from ..data.sources.layouts import AmbiguousLayoutError
from ..data.sources.opener import is_array, open_source
from ..data.sources.pictures import upright_size
from ..data.sources.source_types import Pictures
from ..data.sources.volume_files import TIFF
from ..data.space import Space
from ..errors import some
from ..files import DamagedFile, check_facts, expanded, missing, read_json
from ..model.file import MODEL_FILE
from ..sampling.output import TOLD_GRIDS, UNFINISHED
from ..sampling.samples import Samples
from .facts import SAMPLES
from .folder import RunFolder

CHANNELS = {1: "gray", 3: "rgb", 4: "rgba"}
"""How `prepare` calls pictures with this many channels."""


def is_model(path: str | Path) -> bool:
    """Whether a path names a run, a checkpoint or a model file, rather than samples or data."""
    place = expanded(path)
    return place.suffix == ".safetensors" or (place / MODEL_FILE).exists() or RunFolder(place).exists()


def data_of(
    about: Mapping[str, Any], space: Space, conditions: Mapping[str, Any], data: Any = None
) -> Dataset:
    """What a model was trained on, or other data prepared like its samples.

    Args:
        about: what the model says of itself, `Denoiser.about`.
        space: the model's.
        conditions: the model's.
        data: anything that `prepare` accepts; what the model was trained on unless given.

    FileNotFoundError if the model's own data are gone; ValueError if they have changed, or if the data have
    another shape.
    """
    source = about.get("source") or ""
    if data is None and not source:
        raise ValueError("the model doesn't say where its data are; give --data DATA")
    try:
        own = data is None or data == source
        config = DataConfig(**about["prepared"]) if own and "prepared" in about else None
        place = source if data is None else data
        found = _prepared(place, config or alike(place, about, space, conditions), _layout(space))
    except FileNotFoundError as error:
        hint = "; give the data that it was trained on by --data DATA" if data is None else ""
        raise FileNotFoundError(f"{error}{hint}") from None
    found = check_shape(found, space)
    before = about.get("data_fingerprint")
    if data is None and before and found.fingerprint != before:
        raise ValueError(
            f"{source} has changed since the model was trained on it (fingerprint {before:.12}, now "
            f"{found.fingerprint:.12}): restore it, or take it as other data, --data {source}"
        )
    return found


def check_shape(data: Dataset, space: Space) -> Dataset:
    """The data in a space that holds a model's samples too; ValueError for another shape or columns."""
    if data.space.shape != space.shape:
        raise ValueError(
            f"the model's samples have the shape {space.shape} and the data's {data.space.shape}: "
            "give the data that it was trained on, or data of the same shape"
        )
    if data.space.missing != space.missing:
        raise ValueError("the data lack other numbers (NaN) than the model's samples: give data like its own")
    if space.columns and data.space.columns:
        return _with_codes(data, space)
    return _with_range(data, space) if space.is_whole and data.space.dtype == space.dtype else data


def _with_range(data: Dataset, space: Space) -> Dataset:
    """Whole numbers within the bounds of both: those of 16-bit pictures and the like are what was found."""
    own = data.space
    if own.low is None or own.high is None or space.low is None or space.high is None:
        return data
    low, high = tuple(map(min, own.low, space.low)), tuple(map(max, own.high, space.high))
    return (
        data if (low, high) == (own.low, own.high) else replace(data, space=replace(own, low=low, high=high))
    )


def _with_codes(data: Dataset, space: Space) -> Dataset:
    """Rows in which each category has the number that it has in a model's space; new ones come behind."""
    ours, theirs = (
        [f"{n} ({c.kind})" for n, c in zip(s.names, s.columns, strict=True)] for s in (space, data.space)
    )
    if ours != theirs:
        odd = [name for name in theirs if name not in ours] or theirs
        raise ValueError(
            f"the model's columns are {some(ours)}, and the data have {some(odd)}: give a table of the same "
            "columns, in their order"
        )
    pairs = list(zip(space.columns, data.space.columns, strict=True))
    if all(own.names == other.names for own, other in pairs):
        return data
    rows, columns = np.array(data.images[:]), []
    for values, (own, other) in zip(rows.T, pairs, strict=True):
        names = (*own.names, *(name for name in other.names if name not in own.names))
        there = ~np.isnan(values) & (own.kind == "category")
        values[there] = np.array([names.index(name) for name in other.names])[values[there].astype(int)]
        columns.append(replace(other, names=names))
    return replace(data, images=rows, space=replace(data.space, columns=tuple(columns)))


def alike(data: Any, about: Mapping[str, Any], space: Space, conditions: Mapping[str, Any]) -> DataConfig:
    """The settings of `prepare` that give data like a model's samples."""
    before = about.get("prepared", {})
    if space.kind == "series":
        return _as_series(before, space, conditions)
    asked: dict[str, Any] = {}
    arrays = is_array(data) or space.kind == "volume"
    for name in ("holdout", *(("layout", "crop") if arrays else ("frames",))):
        if name in before:
            asked[name] = before[name]
    if space.labels:
        asked |= {name: before[name] for name in ("labels", "conditions", "text_encoder") if name in before}
    elif not conditions:
        asked["classes"] = "none"
    if not arrays:
        asked |= _as_pictures((space.channels, *(space.kept or space.shape[1:])))
        asked |= {"background": space.background} if space.background else {}
        if space.resize:
            asked |= {"resize": space.resize, "fit": space.fit, "crop": space.kept and space.shape[1:]}
        if space.resize and space.dtype == "uint8" and "range" in before:
            asked["range"] = before["range"]
        return DataConfig(**asked)
    asked |= _as_tiles(data, space.shape)
    if data != "digits" and space.low and space.high and space.dtype != "uint8":
        if not space.is_whole:  # the bounds of these may be only what was found
            asked["range"] = (min(space.low), max(space.high))
        if "range" in before:
            asked["range"], asked["clip"] = before["range"], bool(before.get("clip"))
    return DataConfig(**asked)


def _as_series(before: Mapping[str, Any], space: Space, conditions: Mapping[str, Any]) -> DataConfig:
    """Those that give series like a model's samples: read as they were, and cut to the same length."""
    names = ("holdout", "layout", "series", "types", "rate", "window", "hop", "range")
    asked: dict[str, Any] = {name: before[name] for name in names if name in before}
    if space.timeline.id:
        asked["series"] = space.timeline.id
    elif space.timeline.order:
        asked["layout"] = "L"
    if space.timeline.depth:
        asked.setdefault("window", space.shape[1] / (space.timeline.rate or 1))
    if not conditions:
        asked["classes"] = "none"
    return DataConfig(**asked)


def data_beside(samples: Samples, data: Any) -> Dataset:
    """Data like given samples, whose model is not known, to compare them with."""
    space = samples.space
    if samples.facts:  # that Alphabar wrote: they say what they are
        config = alike(data, {}, space, samples.facts.get("conditions") or {})
        return check_shape(_prepared(data, config, _layout(space)), space)
    shape = space.shape
    return _prepared(data, DataConfig(**(_as_tiles(data, shape) if is_array(data) else _as_pictures(shape))))


def _layout(space: Space) -> str:
    """That of a space's arrays, where these can be read in several ways."""
    return space.kind if space.kind in ("array", "volume") else space.layout


def _as_tiles(data: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """The size of the tiles that a single TIFF is cut into."""
    return {"size": shape[1:]} if str(data).lower().endswith(TIFF) and len(shape) == 3 else {}


def _prepared(data: Any, config: DataConfig, layout: str = "array") -> Dataset:
    """Prepared data; `layout` is that of arrays that can be read in several ways."""
    try:
        return prepare(data, config)
    except AmbiguousLayoutError:
        return prepare(data, config, layout=layout)


def _as_pictures(shape: tuple[int, ...]) -> dict[str, Any]:
    if len(shape) != 3:
        return {}
    return {"size": shape[1:], "channels": CHANNELS.get(shape[0], "auto")}


def read_samples(path: str | Path) -> Samples:
    """Samples from a folder that `alphabar sample` wrote, an .npy file, or a folder of pictures of one size.

    FileNotFoundError if there is nothing; ValueError if sizes differ, which names an odd one.
    """
    place = expanded(path)
    if not place.exists():
        raise missing(path)
    if (place / UNFINISHED).exists():
        raise ValueError(f"{path} is unfinished: repeat the alphabar sample command to finish it")
    if (place / "samples.json").exists() and (place / "samples.npy").exists():
        return _written(place)
    config = DataConfig(classes="none", holdout=0)
    if not is_array(place):
        config = config.model_copy(update={"size": _one_size(place, config)})
    found = _prepared(place, config)
    return Samples(found.images, np.arange(len(found.images)), {}, {}, found.space)


def _written(place: Path) -> Samples:
    """Samples that `alphabar sample` wrote, mapped into memory."""
    listing, array = place / "samples.json", place / "samples.npy"
    facts = check_facts(listing, read_json(listing), SAMPLES)
    n = len(facts["indices"])
    try:
        space = Space(**facts["space"])
        rows = np.load(array, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DamagedFile(f"{listing} and {array.name} are no samples: {error}") from None
    wanted = space.to_layout(np.broadcast_to(np.zeros((), space.dtype), (n, *space.shape)))
    if (rows.shape, rows.dtype) != (wanted.shape, wanted.dtype):
        raise DamagedFile(
            f"{listing} tells of samples of {wanted.dtype}, {wanted.shape}, and {array.name} "
            f"has {rows.dtype}, {rows.shape}"
        )
    for name, values in facts["told"].items():
        if len(values) != n:
            raise DamagedFile(f"{listing}: told.{name} must have {n} values, got {len(values)}")
    told = {name: _told_grids(place, name, values) for name, values in facts["told"].items()}
    return Samples(space.from_layout(rows), np.array(facts["indices"]), told, facts, space)


def _told_grids(place: Path, name: str, values: list[Any]) -> list[Any]:
    """What was told under one condition; grids from the file beside, by their digests."""
    if not any(isinstance(value, dict) for value in values):
        return values
    path = place / TOLD_GRIDS.format(name)
    try:
        known = {(grid := Grid(row)).digest: grid for row in np.load(path, allow_pickle=False)}
        return [v and replace(known[v["sha256"]], name=v["name"]) for v in values]
    except (OSError, ValueError, EOFError, LookupError, TypeError) as error:
        raise DamagedFile(f"{path} doesn't hold the grids that samples.json tells of: {error}") from None


def _one_size(place: Path, config: DataConfig) -> tuple[int, int]:
    """The (height, width) of pictures, opened one by one; sheets that Alphabar wrote don't count."""
    source = open_source(place, config)
    assert isinstance(source, Pictures)
    sizes = {}
    for i in Decoder(source, config).numbers:
        with source.open(i) as image:
            sizes[source.names[i]] = upright_size(image)
    most, _ = Counter(sizes.values()).most_common(1)[0]
    odd = [name for name, size in sizes.items() if size != most]
    if odd:
        raise ValueError(
            f"samples must be of one size: most in {place} are {most[0]} × {most[1]} (height × width), and "
            f"{len(odd)} of {len(sizes)} are not, such as {odd[0]}; leave those out"
        )
    return most
