"""Runs that begin with weights: those of a model, or of another run at one of its checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from ..data import Dataset, prepare
from ..files import DamagedFile, load_tensors, read_metadata
from ..model.denoiser import Denoiser
from ..model.file import load, model_path
from ..training.adapt import adapt_state
from ..training.config import BUDGETS, TrainConfig, differences
from ..training.presets import resolve
from ..training.trainer import Trainer
from .checkpoints import checkpoint_files
from .folder import RunFolder
from .history import Entry, identity, other_settings

Say = Callable[[str], None]


def named_start(config: TrainConfig, fork_of: str | os.PathLike[str] | None) -> Entry | None:
    """What a run is asked to begin with, as its run.json says it; the digest is "" where the file is gone."""
    if fork_of is not None:
        return {"what": "fork", "path": str(fork_of), "digest": ""}
    if config.init_from is None:
        return None
    path = Path(config.init_from)
    try:
        digest = read_metadata(model_path(path))[1]
    except (FileNotFoundError, DamagedFile):
        digest = ""
    return {"what": "from", "path": str(path), "digest": digest}


def begin(start: Entry, trainer: Trainer, config: TrainConfig) -> list[str]:
    """Give a trainer the state that its run begins with; `start` gets what there is to know of it.

    What a person should know is returned: how weights were matched, which settings of a fork differ.
    """
    if start["what"] == "from":
        model = load(start["path"], str(trainer.device))
        start |= {"digest": model.digest, "step": 0, "images": 0}
        return _begin_from(model, trainer)
    path, tensors, metadata, digest = _newest(Path(start["path"]).expanduser())
    images = metadata["checkpoint"]["images"]
    step = max(1, round(images / config.batch_size)) if images else 0
    trainer.load_state(_fitting(tensors, trainer, path), step)
    start |= {"digest": digest, "step": step, "images": trainer.images}
    entry = RunFolder(path.parent.parent).entry()
    return fork_differences(entry, config, trainer.data)


def _begin_from(model: Denoiser, trainer: Trainer) -> list[str]:
    """The averaged weights of a model, for the weights and their average."""
    state, notes = adapt_state(model, trainer.model)
    trainer.model.net.load_state_dict(state)
    trainer.ema.net.load_state_dict(state)
    return notes


def fork_differences(entry: Entry, config: TrainConfig, data: Dataset) -> list[str]:
    """How a fork differs from the run that it goes on from, in words."""
    found = other_settings(entry["identity"], identity(config, data))
    return found + differences(
        entry["budget"] | entry["habits"], config.of_role("budget") | config.of_role("habit")
    )


def _newest(path: Path) -> tuple[Path, dict[str, Tensor], Entry, str]:
    """(file, tensors, metadata, digest) of a checkpoint, or of the newest sound one of a run."""
    if not path.exists():
        raise FileNotFoundError(f"no such run or checkpoint: {path}")
    files = checkpoint_files(RunFolder(path).checkpoint_folder) if path.is_dir() else [path]
    for file in reversed(files):
        try:
            tensors, metadata, digest = load_tensors(file)
        except (FileNotFoundError, DamagedFile):
            if not path.is_dir():
                raise
            continue
        if "checkpoint" not in metadata:
            break
        return file, tensors, metadata, digest
    raise ValueError(
        f"{path} holds no checkpoint to go on from: give a run's folder, or one of its checkpoints "
        "(to start from the weights of a model, --from MODEL)"
    )


def _fitting(tensors: dict[str, Tensor], trainer: Trainer, path: Path) -> dict[str, Tensor]:
    """The tensors of a state that a trainer with other settings can go on from.

    Weights must be the same ones; what an optimizer remembers of a weight that is now another one's is left.
    """
    wanted = {name: t.shape for name, t in trainer.state().items()}
    found = {name: t.shape for name, t in tensors.items() if name.split(".")[0] in ("net", "ema")}
    if {name: shape for name, shape in wanted.items() if name.split(".")[0] in ("net", "ema")} != found:
        raise ValueError(
            f"the network differs from that of {path}, and a fork goes on with the same one; "
            "to start another one from its weights, --from"
        )
    kept = {name: tensors[name] for name in found}
    for which, optimizer in trainer.optimizers.items():
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        names = {name for name, parameter in trainer.parameters.items() if id(parameter) in own}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            if part == which and rest.partition(".")[2] in names:
                kept[name] = tensor
    return kept


def forked_config(
    source: str | os.PathLike[str], data: Dataset | None, changes: dict[str, Any]
) -> tuple[TrainConfig, Dataset, str]:
    """(settings, data, their source) of a run, with some settings changed."""
    path = Path(source).expanduser()
    folder = RunFolder(path if path.is_dir() else path.parent.parent)
    if not folder.exists():
        raise FileNotFoundError(f"{source} is not a run, nor a checkpoint of one")
    entry = folder.entry()
    where = ""
    if data is None:
        where = entry["data"]["source"]
        if not where:
            raise ValueError(f"{folder} doesn't say where its data are: give data")
        data = prepare(where, **entry["data"]["prepared"])
    before: dict[str, Any] = entry["identity"]["config"] | entry["budget"] | entry["habits"]
    if any(changes.get(name) is not None for name in BUDGETS):
        before = {name: value for name, value in before.items() if name not in BUDGETS}
    for name in ("network", "schedule"):
        part = changes.get(name, {})
        if isinstance(part, dict) and part.get("name", before[name].get("name")) == before[name].get("name"):
            changes = {**changes, name: before[name] | part}
    config = resolve(data.space, data.conditions, len(data), None, before | changes)
    return config, data, where
