"""DATA → a prepared `Dataset`, once: later runs read only the memory-mapped cache."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from .building import FACTS, Building, new_entry
from .cache import Stored, cache_folder, read_entry
from .conditions.base import Condition
from .conditions.encoders import stamp_of
from .conditions.kinds import fitted
from .conditions.named import ClassCondition
from .config import DataConfig, data_config
from .crops import cropped
from .dataset import Dataset
from .pairs import Pairs
from .recording import open_samples, record, write_rest
from .remote import Remote, is_remote
from .shards import Progress, shards_of
from .sources.label_files import stamp_of_labels
from .sources.opener import identity_of, open_source
from .sources.source_types import TELLING, Arrays, Pictures

VERSION = 9
__all__ = ["cache_folder", "prepare"]


def prepare(
    data: Any, config: DataConfig | None = None, *, progress: Progress | None = None, **settings: Any
) -> Dataset:
    """Read DATA once and return it at the training size.

    Args:
        data: a folder, .zip or .tar of pictures, an .npy or .npz file (FILE.npz:IMAGES,LABELS for arrays of
            it), a table, NetCDF or HDF5 (FILE.nc:NAME,NAME), a folder of sound, of .npy or of NIfTI files,
            `hf:NAME` or `hf:PATH` for a Hugging Face data set, `digits`; the address of any of these files or
            folders (`s3://…`, `gs://…`, `https://…`: fsspec's); or an array or tensor (N, …), a
            list of samples, a map-style `torch.utils.data.Dataset`, or a pair (any of these, labels). Files
            are kept prepared in `cache_folder()`; what is given from Python is copied.
        config: how to read it.
        progress: called with (done, total) while samples are read.
        settings: fields of `DataConfig`, instead of it or to replace some of it.
    """
    config = data_config(config, settings)
    if not isinstance(data, (str, os.PathLike)):
        source, pairs = _opened_source(data, config)
        return _dataset(record(open_samples(source, config, progress, pairs)), config)
    if is_remote(data):
        return _dataset(_fetched(str(data), config, progress), config)
    place = None if (known := identity_of(data, config)) is None else _place([known], config)
    if place is not None and (place / FACTS).exists():
        return _dataset(read_entry(place), config)
    source, pairs = _opened_source(data, config)
    place = _place([source.identity, *([] if pairs is None else [pairs.identity])], config)
    if not (place / FACTS).exists():
        with new_entry(place, resumable=_are_many(source)) as building:
            _fill(building, source, pairs, config, progress, str(data))
    stored = read_entry(place)
    if isinstance(source, Pictures):  # what lies beside them may have changed
        stored = stored._replace(found=tuple(source.notes))
    return _dataset(stored, config)


def _fetched(address: str, config: DataConfig, progress: Progress | None) -> Stored:
    """What lies at an address, prepared from a copy of it that is removed then."""
    if config.pairs is not None:
        raise ValueError(f"pairs are read beside data on this machine: copy {address} first")
    remote = Remote(address)
    place = _place([remote.identity, stamp_of_labels(config.labels)], config)
    if not (place / FACTS).exists():
        with new_entry(place, resumable=True) as building:
            if building is not None and building.parts is not None:
                local = remote.copy(building.parts.with_name("source"), progress)
                source, _ = _opened_source(local, config)
                _fill(building, source, None, config, progress, address)
    return read_entry(place)


def _are_many(source: Pictures | Arrays) -> bool:
    return isinstance(source, Pictures) and len(shards_of(len(source.names))) > 1


def _fill(
    building: Building | None,
    source: Pictures | Arrays,
    pairs: Pairs | None,
    config: DataConfig,
    progress: Progress | None,
    name: str,
) -> None:
    """Write an entry of the cache, unless another process has done it."""
    if building is not None:
        parts = building if _are_many(source) else None
        stored = record(open_samples(source, config, progress, pairs, parts), building.folder)
        write_rest(building.folder, stored, name)


def _opened_source(data: Any, config: DataConfig) -> tuple[Pictures | Arrays, Pairs | None]:
    source = open_source(data, config)
    _refuse(source, config)
    return source, None if config.pairs is None else Pairs(source, config)


def _place(identity: list[Any], config: DataConfig) -> Path:
    """Where what has this identity is kept, prepared as the configuration says."""
    identity = identity + ([] if config.text_encoder is None else [stamp_of(config.text_encoder)])
    options = config.model_dump(mode="json", exclude={"holdout", "crop"})
    key = hashlib.sha256(json.dumps([VERSION, *identity, options]).encode()).hexdigest()[:20]
    return cache_folder() / key


def _dataset(stored: Stored, config: DataConfig) -> Dataset:
    if config.crop is not None:
        stored = cropped(stored, config.crop)
    notes = [*stored.found, *stored.notes]
    conditions: dict[str, Condition] = {name: condition for name, (condition, _) in stored.told.items()}
    values: dict[str, Any] = {name: values for name, (_, values) in stored.told.items()}
    if stored.labels is not None:
        conditions["class"] = ClassCondition(names=stored.classes)
        values["class"] = stored.labels
    prepared = config.model_dump(mode="json", exclude_defaults=True)
    dataset = Dataset(
        stored.images, stored.space, conditions, values, stored.fingerprint, config.holdout, notes, prepared,
        stored.hashes,
    )  # fmt: skip
    if config.holdout and not len(dataset.held_out):
        few = len(np.unique(dataset.hashes)) if dataset.hashes is not None else len(dataset.images)
        dataset.notes.append(
            f"none of the few samples is held out by a share of {config.holdout:g}"
            + (": a larger one (--holdout 0.2) holds some out" if config.holdout < 0.2 and few > 1 else "")
        )
    dataset.conditions = fitted(dataset.conditions, dataset.values, dataset.training)
    for name, condition in dataset.conditions.items():
        dataset.notes += condition.notes(name, dataset.values[name])
    return dataset


def _refuse(source: Pictures | Arrays, config: DataConfig) -> None:
    """ValueError for settings that mean nothing for this kind of data."""
    if config.clip and config.range is None:
        raise ValueError("clip cuts values off at the ends of a range: give that as well, --range LOW HIGH")
    usual = DataConfig()
    for name, whose in MEANT_FOR.items():
        if name not in source.takes and getattr(config, name) != getattr(usual, name):
            raise ValueError(f"{name} is for {whose}, which these data are not: leave the option out")


MEANT_FOR = {
    **dict.fromkeys(("size", "resize", "fit", "channels", "frames", "background", "skip_bad"), "pictures"),
    **dict.fromkeys(("clip", "gaps"), "arrays"),
    **dict.fromkeys(("range", "crop"), "pictures and arrays"),
    "types": "tables",
    "series": "tables",
    **dict.fromkeys(("layout", "rate"), "arrays and tables"),
    **dict.fromkeys(("window", "hop"), "sound and series"),
    **dict.fromkeys(("labels", "skip_unlabeled"), "files of pictures, and tables"),
    "pairs": "pictures, sound, series, fields and volumes in files",
    "pairs_resize": "pictures",
    **dict.fromkeys(TELLING, "files of pictures, tables, .npz, and labels by name from Python"),
}
"""Settings that mean something for some data alone."""
