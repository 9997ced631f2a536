"""Runs that begin with weights: those of a model, or of another run at one of its checkpoints."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..data import Dataset, prepare
from ..files import DamagedFile, check_facts, expanded, load_tensors, missing, read_metadata
from ..model.denoiser import Denoiser
from ..model.facts import CHECKPOINT
from ..model.file import load, model_path
from ..settings import differences
from ..training.adapt import adapt_state
from ..training.config import BUDGETS, TrainConfig
from ..training.fitted import config_for
from ..training.presets import PRESETS
from ..training.trainer import Trainer
from .checkpoints import checkpoint_files
from .folder import RunFolder
from .history import TOTAL, Entry, identity, other_settings, record

Say = Callable[[str], None]


def named_start(config: TrainConfig, fork_of: str | os.PathLike[str] | None) -> Entry | None:
    """What a run is asked to begin with, as its run.json says it; the digest is "" where the file is gone."""
    if fork_of is not None and config.init_from is not None:
        raise ValueError("a fork begins with the weights of its run: give --fork or --from, not both")
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


def begin(entry: Entry, trainer: Trainer, config: TrainConfig, total: int | None, say: Say) -> list[str]:
    """Give a trainer the state that its run begins with; the run's entry gets what there is to know of it.

    What a person should know is said and returned: how weights were matched, which settings of a fork differ.
    ValueError if the run has the `total` images already. Doing it again, after a kill, is no other thing.
    """
    start = entry["identity"]["start"]
    entry["history"] = []
    found = _give(start, entry, trainer, config, say)
    if total is not None and total <= trainer.images:
        raise ValueError(
            f"{start['path']} has {trainer.images:,} images already, and the fork would end at {total:,}: "
            "set a larger budget, such as --images"
        )
    record(entry, trainer.images, start["what"], start["path"], found)
    for difference in found:
        say(f"{start['path']}: {difference}")
    return found


def _give(start: Entry, entry: Entry, trainer: Trainer, config: TrainConfig, say: Say) -> list[str]:
    """The weights; a fork also takes over what its run had decided on its length, for the learning rate."""
    if start["what"] == "from":
        model = load(start["path"], str(trainer.device), copy.deepcopy(trainer.model.net))
        start |= {"digest": model.digest, "step": 0, "images": 0}
        return _begin_from(model, trainer)
    path, tensors, metadata, digest = _newest(expanded(start["path"]), say)
    images = metadata["checkpoint"]["images"]
    step = max(1, round(images / config.batch_size)) if images else 0
    trainer.load_state(_fitting(tensors, trainer, path), step)
    start |= {"digest": digest, "step": step, "images": trainer.images}
    before = RunFolder.holding(path).entry()
    entry["budget"] = before["budget"]
    entry["history"] = [r for r in before["history"] if r["what"] == TOTAL and r["images"] <= images]
    return fork_differences(before, config, trainer.data)


def _begin_from(model: Denoiser, trainer: Trainer) -> list[str]:
    """The averaged weights of a model, for the weights and their average."""
    state, notes = adapt_state(model, trainer.model)
    trainer.load_state({f"{part}.{name}": t for part in ("net", "ema") for name, t in state.items()}, 0)
    return notes


def execution_of(source: str | os.PathLike[str]) -> Entry:
    """What was measured for a run, which its forks take over."""
    measured = RunFolder.holding(source).entry()["measured"]
    return {
        name: value for name, value in measured.items() if name not in ("made_with", "took_s", "afforded")
    }


def fork_differences(entry: Entry, config: TrainConfig, data: Dataset) -> list[str]:
    """How a fork differs from the run that it goes on from, in words."""
    found = other_settings(entry["identity"], identity(config, data))
    return found + differences(
        entry["budget"] | entry["habits"], config.of_role("budget") | config.of_role("habit")
    )


def _newest(path: Path, say: Say) -> tuple[Path, Mapping[str, Tensor], Entry, str]:
    """(file, tensors, metadata, digest) of a checkpoint, or of the newest sound one of a run."""
    if not path.exists():
        raise missing(path, "run or checkpoint")
    files = checkpoint_files(RunFolder(path).checkpoint_folder) if path.is_dir() else [path]
    for file in reversed(files):
        try:
            tensors, metadata, digest = load_tensors(file)
        except (FileNotFoundError, DamagedFile):
            if not path.is_dir():
                raise
            say(f"{file} is damaged: an earlier checkpoint is taken")
            continue
        if "checkpoint" not in metadata:
            break
        check_facts(file, metadata, CHECKPOINT)
        return file, tensors, metadata, digest
    raise ValueError(
        f"{path} holds no checkpoint to go on from: give a run's folder, or one of its checkpoints "
        "(to start from the weights of a model, --from MODEL)"
    )


def _fitting(tensors: Mapping[str, Tensor], trainer: Trainer, path: Path) -> dict[str, Tensor]:
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
    source: str | os.PathLike[str], data: Any, changes: dict[str, Any]
) -> tuple[TrainConfig, Dataset, str]:
    """(settings, data, their source) of a run, with some settings changed."""
    folder = RunFolder.holding(source)
    if not folder.exists():
        raise FileNotFoundError(f"{source} is not a run, nor a checkpoint of one")
    entry = folder.entry()
    where = str(data) if isinstance(data, str | os.PathLike) else ""
    if data is None:
        where = entry["data"]["source"]
        if not where:
            raise ValueError(f"{folder} doesn't say where its data are: give data")
        data = prepare(where, **entry["data"]["prepared"])
    elif not isinstance(data, Dataset):
        data = prepare(data)
    before: dict[str, Any] = entry["identity"]["config"] | entry["budget"] | entry["habits"]
    if any(changes.get(name) is not None for name in BUDGETS):
        before = {name: value for name, value in before.items() if name not in BUDGETS}
    for name in ("network", "schedule"):
        part = changes.get(name, {})
        if isinstance(part, dict) and part.get("name", before[name].get("name")) == before[name].get("name"):
            changes = {**changes, name: before[name] | part}
    config = config_for(data, None, before | changes)
    if (changes["network"] or {}).get("name") == before["network"]["name"]:
        config = config.model_copy(update={"network": changes["network"]})  # what it left open stays so
    return config, data, where


def resumed_config(
    folder: RunFolder, data: Dataset, preset: str | None, settings: Mapping[str, Any], processes: int = 1
) -> TrainConfig:
    """`config_for` a run that may be there already: what it took from its first budget, from its first number
    of processes and from the model that it began with stays, unless it is given.
    """
    if not folder.exists():
        is_open = settings.get("virtual_processes") is None
        return config_for(data, preset, {**settings, "virtual_processes": processes} if is_open else settings)
    entry = folder.entry()
    before = entry["identity"]
    taken = ["network", "schedule", "prediction"] if (before["start"] or {}).get("what") == "from" else []
    followed = ["batch_size", "virtual_processes", "schedule", *entry["measured"].get("afforded", [])]
    taken += [name for name in followed if name not in PRESETS.get(preset or "", {})]
    known = {name: before["config"][name] for name in taken}
    return config_for(data, preset, settings, known)
