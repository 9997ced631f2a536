"""Checkpoints of a run: whole or absent, checked to the bit, the last two and some milestones kept."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..files import DamagedFile, check_facts, load_tensors, save_tensors
from ..model.facts import CHECKPOINT
from ..model.file import facts_of
from ..training.trainer import Trainer

KEPT = 2


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(folder.glob("step-*.safetensors"))


def checkpoint_steps(folder: Path) -> list[int]:
    """The updates after which these were saved."""
    numbers = (path.stem.removeprefix("step-") for path in checkpoint_files(folder))
    return [int(number) for number in numbers if number.isdecimal()]


def checkpoint_file(folder: Path, step: int) -> Path:
    """The checkpoint after so many updates."""
    return folder / f"step-{step:09d}.safetensors"


class Moment(NamedTuple):
    """What a trainer is after some update, and what its averaged model says of itself."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]
    step: int
    images: int

    @classmethod
    def of(cls, trainer: Trainer, copied: bool = True, part: str = "") -> Moment:
        """This one.

        Args:
            trainer: in training.
            copied: whether the tensors are copies, where they are, which further updates don't change.
            part: what the names of the tensors that are wanted begin with.
        """
        state = {name: t for name, t in trainer.state().items() if name.startswith(part)}
        if copied:
            state = {name: tensor.detach().clone() for name, tensor in state.items()}
        return cls(state, facts_of(trainer.ema) | FITTED_TO_NONE, trainer.step, trainer.images)


FITTED_TO_NONE: dict[str, Any] = {"plans": [], "x0_mse": None, "guidance": None}


def save_checkpoint(folder: Path, moment: Moment, milestones: Collection[int] = ()) -> Path:
    """Write a trainer's state, then delete all but the last two and the milestones (in updates, before it).

    It describes the averaged model too, so that `load` can make it of the checkpoint alone.
    """
    path = checkpoint_file(folder, moment.step)
    told = {"checkpoint": {"step": moment.step, "images": moment.images}}
    save_tensors(path, moment.tensors, moment.facts | told)
    keep = {checkpoint_file(folder, step) for step in milestones}
    for old in checkpoint_files(folder)[:-KEPT]:
        if old not in keep:
            old.unlink()
    return path


def load_newest(folder: Path, trainer: Trainer, say: Callable[[str], None]) -> Path | None:
    """Load the newest sound checkpoint; damaged ones are set aside, and said. None if there is none.

    DamagedFile if there are checkpoints and all of them are damaged, also when they were set aside before.
    ValueError if a sound one doesn't fit the network: it stays where it is.
    """
    files = checkpoint_files(folder)
    for path in reversed(files):
        try:
            tensors, metadata, _ = load_tensors(path)
            step = check_facts(path, metadata, CHECKPOINT)["checkpoint"]["step"]
            if checkpoint_file(folder, step) != path:
                raise DamagedFile(f"{path} says that it was saved at update {step}")
        except ValueError as error:
            aside = path.with_name(path.name + ".damaged")
            path.replace(aside)
            say(f"checkpoint refused and set aside as {aside.name}: {error}")
            continue
        try:
            trainer.load_state(tensors, step)
        except torch.OutOfMemoryError:
            raise
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"{path} doesn't fit this run's network: {error}. Has the network's class changed since?"
            ) from None
        return path
    if files or any(folder.glob("*.damaged")):
        raise DamagedFile(f"every checkpoint in {folder} is damaged; start anew with another --out")
    return None
