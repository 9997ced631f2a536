"""Files of DATA, prepared once and kept: later runs read only what is memory-mapped in the cache."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..conditions.base import Condition
from ..conditions.encoders import stamp_of
from ..conditions.kinds import fitted
from ..conditions.named import ClassCondition
from ..config import DataConfig
from ..crops import cropped
from ..dataset import Dataset
from ..sources.label_files import stamp_of_labels
from ..sources.opener import identity_of, open_source
from ..sources.source_types import TELLING, Arrays, Pictures
from ..stored import Stored
from .building import FACTS, Building, new_entry
from .cache import cache_folder
from .pairs import Pairs
from .recording import open_samples, record, write_rest
from .remote import Remote, is_remote
from .shards import Progress, shards_of

VERSION = 9


def kept(
    data: str | os.PathLike[str], config: DataConfig, progress: Progress | None = None, alone: bool = False
) -> tuple[Path, tuple[str, ...] | None]:
    """Where DATA is kept prepared, by now; and notes on what lies beside it, if that was looked at.

    Args:
        data: of a file, a folder or an address.
        config: how to read it.
        progress: called with (done, total).
        alone: let one process at a time prepare it, also if it is small.
    """
    if is_remote(data):
        return _fetched(str(data), config, progress), None
    place = None if (known := identity_of(data, config)) is None else place_of([known], config)
    if place is not None and (place / FACTS).exists():
        return place, None
    source, pairs = opened_source(data, config)
    place = place_of([source.identity, *([] if pairs is None else [pairs.identity])], config)
    if not (place / FACTS).exists():
        with new_entry(place, resumable=alone or _are_many(source)) as building:
            _fill(building, source, pairs, config, progress, str(data))
    # what lies beside pictures may have changed since
    return place, tuple(source.notes) if isinstance(source, Pictures) else None


def _fetched(address: str, config: DataConfig, progress: Progress | None) -> Path:
    """Where what lies at an address is kept, prepared from a copy of it that is removed then."""
    if config.pairs is not None:
        raise ValueError(f"pairs are read beside data on this machine: copy {address} first")
    remote = Remote(address)
    place = place_of([remote.identity, stamp_of_labels(config.labels)], config)
    if not (place / FACTS).exists():
        with new_entry(place, resumable=True) as building:
            if building is not None and building.parts is not None:
                local = remote.copy(building.parts.with_name("source"), progress)
                source, _ = opened_source(local, config)
                _fill(building, source, None, config, progress, address)
    return place


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


def opened_source(data: Any, config: DataConfig) -> tuple[Pictures | Arrays, Pairs | None]:
    """The source that DATA names, and what is paired with it; ValueError for settings that mean nothing."""
    source = open_source(data, config)
    _refuse(source, config)
    return source, None if config.pairs is None else Pairs(source, config)


def place_of(identity: list[Any], config: DataConfig) -> Path:
    """Where what has this identity is kept, prepared as the configuration says."""
    identity = identity + ([] if config.text_encoder is None else [stamp_of(config.text_encoder)])
    options = config.model_dump(mode="json", exclude={"holdout", "crop", "stream"})
    key = hashlib.sha256(json.dumps([VERSION, *identity, options]).encode()).hexdigest()[:20]
    return cache_folder() / key


def dataset_of(stored: Stored, config: DataConfig, is_part: bool = False) -> Dataset:
    """The data set of what is stored: cropped, held out and fitted as the configuration says."""
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
        stored.hashes, is_part,
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
