"""Data and samples that a person names beside a model, read as that model's are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from ..data import Dataset, DataSpec


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
        if data is None:
            raise ValueError(
                f"{run} is neither a run nor a model file: say what to compare it with, --data DATA"
            )
        return prepare(data)
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
    return found


def prepared_as(run: str, facts: dict[str, Any], data: str | None) -> tuple[str, dict[str, Any]]:
    """(source, arguments of `prepare`): the run's own, or those that make DATA such as the model's samples.

    Models from before that was written down are of the latter kind as well.
    """
    from ..data.sources import Arrays, open_source
    from ..files import read_json

    known, entry = facts["about"], Path(run).expanduser() / "run.json"
    if entry.exists():
        known = read_json(entry)["data"]
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
        channels, *size = spec["shape"]
        how |= {"size": tuple(size), "channels": CHANNELS.get(channels, "auto")}
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


def given_samples(path: str, spec: DataSpec, n: int) -> np.ndarray:
    """The first n samples of what `alphabar sample` wrote, of an .npy file, or of a folder of pictures."""
    import numpy as np

    from ..data import prepare

    place = Path(path).expanduser()
    if (place / "samples.json").exists() and (place / "samples.npy").exists():
        about = json.loads((place / "samples.json").read_text(encoding="utf-8"))
        array = np.load(place / "samples.npy", mmap_mode="r")
        images = array.reshape(about["shape"]) if array.ndim == 3 else array
        return np.array(images if images.shape == tuple(about["shape"]) else np.moveaxis(images, -1, 1))[:n]
    if place.is_dir():
        channels = CHANNELS.get(spec.shape[0], "auto")
        found = prepare(place, spec.shape[1:], channels=channels, classes="none", holdout=0)
    else:
        found = prepare(place, classes="none", holdout=0)
    return np.array(found.images[:n])
