"""DATA → a prepared `Dataset`."""

from __future__ import annotations

import os
from typing import Any

from ..config import DataConfig, data_config
from ..dataset import Dataset
from .cache import cache_folder, read_entry
from .keeping import dataset_of, kept, opened_source
from .recording import open_samples, record
from .shards import Progress
from .streaming import streamed

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
        if config.stream is not None:
            raise ValueError("stream is for files, and these data are in memory: leave it out")
        source, pairs = opened_source(data, config)
        return dataset_of(record(open_samples(source, config, progress, pairs)), config)
    if config.stream is not None:
        return streamed(str(data), config, progress)
    place, found = kept(data, config, progress)
    stored = read_entry(place)
    return dataset_of(stored if found is None else stored._replace(found=found), config)
