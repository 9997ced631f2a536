"""Data and samples that a person names beside a model, read as that model's are."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from ..data import Dataset


CHANNELS = {1: "grey", 3: "rgb", 4: "rgba"}
"""What `prepare` calls pictures of so many channels."""


def is_model(path: str) -> bool:
    """Whether RUN names a run or a model file, rather than samples."""
    from ..denoiser import MODEL_FILE

    place = Path(path).expanduser()
    return place.suffix == ".safetensors" or (place / MODEL_FILE).exists() or (place / "run.json").exists()


def data_of(run: str, data: str | None) -> Dataset:
    """DATA, or what the run was trained on, prepared as the model's samples are."""
    from ..data import prepare
    from ..denoiser import model_path
    from ..files import read_facts

    if not is_model(run):
        if not Path(run).expanduser().exists():
            raise FileNotFoundError(f"no such file or folder: {run}")
        if data is None:
            raise ValueError(
                f"{run} is neither a run nor a model file: say what to compare it with, --data DATA"
            )
        return prepare(data, **_as_samples(given_samples(run).shape[1:], data))
    facts, _ = read_facts(model_path(run))
    if "data" not in facts:
        raise ValueError(f"{run} is a checkpoint; give the run's folder")
    try:
        source, how = prepared_as(run, facts, data)
        found = prepare(source, **how)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            str(error) + ("" if data else "; give the run's data by --data DATA")
        ) from None
    if found.spec.shape != tuple(facts["data"]["shape"]):
        raise ValueError(
            f"the model's samples have the shape {tuple(facts['data']['shape'])} and {source} has "
            f"{found.spec.shape} (channels, height, width): give data of the model's kind"
        )
    before = facts["about"].get("data_fingerprint")
    if data is None and "prepared" in facts["about"] and found.fingerprint != before:
        raise ValueError(
            f"{source} has changed since {run} was trained on it (fingerprint {before:.12}, now "
            f"{found.fingerprint:.12}): bring it back, or take it as other data, --data {source}"
        )
    return found


def prepared_as(run: str, facts: dict[str, Any], data: str | None) -> tuple[str, dict[str, Any]]:
    """(source, arguments of `prepare`): the run's own, or those that make DATA such as the model's samples.

    Models from before that was written down are of the latter kind as well.
    """
    from ..data.sources import Arrays, open_source
    from ..files import read_json

    known, entry = facts["about"], Path(run).expanduser() / "run.json"
    if entry.exists():
        known = read_json(entry).get("data", {})
    source, own = known.get("source", ""), known.get("prepared")
    if not (data or source):
        raise ValueError(f"{run} doesn't say where its data are; give --data DATA")
    if own is not None and data in (None, source):
        return source, own
    source, spec = data or source, facts["data"]
    holdout = (own or known).get("holdout", 0.05)
    how: dict[str, Any] = {} if holdout == 0.05 else {"holdout": holdout}
    if facts["about"].get("config", {}).get("conditional", True) and not spec["classes"]:
        how["classes"] = "none"
    if not isinstance(open_source(source, "auto"), Arrays):
        how |= _as_samples(spec["shape"], source)
        how |= {"background": spec["background"]} if spec.get("background") else {}
    elif source != "digits" and spec["low"] is not None and spec["dtype"] != "uint8":
        how["value_range"] = (spec["low"], spec["high"])
    return source, how


def data_options(how: dict[str, Any]) -> list[str]:
    """Arguments of `prepare` as options of `alphabar train`."""
    words = []
    for name in ("size", "channels", "classes", "background", "value_range", "skip_bad", "holdout"):
        if name not in how:
            continue
        value = how[name]
        words.append("--range" if name == "value_range" else f"--{name.replace('_', '-')}")
        if name == "size":
            height, width = value
            words.append(str(height) if height == width else f"{height}x{width}")
        elif name == "value_range":
            words += map(repr, value)
        elif value is not True:
            words.append(str(value))
    return words


def _as_samples(shape: Sequence[int], data: str) -> dict[str, Any]:
    """Arguments of `prepare` that give pictures of this shape; arrays are as they are."""
    from ..data.sources import Arrays, open_source

    if isinstance(open_source(data, "auto"), Arrays):
        return {}
    channels, height, width = shape
    return {"size": (height, width), "channels": CHANNELS.get(channels, "auto")}


def given_samples(path: str) -> np.ndarray:
    """What `alphabar sample` wrote, an .npy file, or a folder of pictures at their own size."""
    import numpy as np

    from ..data import prepare
    from ..data.pictures import upright_size
    from ..data.sources import Arrays, open_source
    from ..files import read_json

    place = Path(path).expanduser()
    if (place / "samples.json").exists() and (place / "samples.npy").exists():
        about = read_json(place / "samples.json")
        array = np.load(place / "samples.npy", mmap_mode="r")
        shape = tuple(about.get("shape", ()))
        images = array[:, None] if array.ndim == 3 else array
        return images if images.shape == shape else np.moveaxis(images, -1, 1)
    size, source = None, open_source(str(place), "none")
    if not isinstance(source, Arrays):
        with contextlib.ExitStack() as opened:
            sizes = {upright_size(opened.enter_context(source.open(i))) for i in range(len(source.names))}
        size = sizes.pop() if len(sizes) == 1 else None
    return prepare(place, size, classes="none", holdout=0).images
