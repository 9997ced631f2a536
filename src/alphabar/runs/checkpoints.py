"""Checkpoints of a run: whole or absent, checked to the bit, the last two and some milestones kept.

That of a network in shards is a folder of files, one of each process, and a file that names them, the last
to be written.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..files import DamagedFile, Piece, check_facts, load_tensors, save_part, save_tensors
from ..model.facts import CHECKPOINT
from ..model.file import facts_of
from ..training.sharding import piece_of
from ..training.trainer import SAVE, Trainer
from ..world import World

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


def folder_of_parts(path: Path) -> Path:
    """Where the parts of a checkpoint are, if it has any."""
    return path.with_suffix("")


class Part(NamedTuple):
    """What a process writes of a checkpoint: its pieces of the state, into a folder."""

    world: World
    folder: Path
    pieces: dict[str, Piece]

    @classmethod
    def of(cls, trainer: Trainer, folder: Path) -> Part:
        """A copy of what this process has of a trainer's state in shards, and at the first one of what each
        has whole. The others are told to write theirs.
        """
        world, found = trainer.world, {}
        world.tell((SAVE, trainer.step, str(folder)))
        for name, tensor in trainer.state().items():
            if hasattr(tensor, "full_tensor"):
                found[name] = piece_of(tensor)
            elif not world.rank:
                found[name] = tensor.detach().cpu().clone(), (0,) * tensor.ndim
        assert world.beside is not None
        return cls(world.beside, folder, {name: piece for name, piece in found.items() if piece is not None})

    def write(self) -> dict[str, str]:
        """Write it; at the first process, once all have: their digests, by names below the checkpoints'
        folder. OSError there if another one can't write.
        """
        name = f"part-{self.world.rank + 1:05d}-of-{self.world.size:05d}.safetensors"
        digest, failed = "", None
        try:
            digest = save_part(self.folder / name, self.pieces)
        except Exception as error:  # the first one waits for each, whatever happens
            failed = error if isinstance(error, OSError) else OSError(f"{type(error).__name__}: {error}")
        rows = self.world.at_first((name, digest, failed))
        for _, _, error in rows:
            if error is not None:
                raise error
        for name, _, _ in rows:
            if not (self.folder / name).exists():
                raise FileNotFoundError(
                    f"{self.folder / name} was written by another process and isn't here: with --sharded all "
                    "machines must share the run's folder"
                )
        return {f"{self.folder.name}/{name}": digest for name, digest, _ in rows}


class Moment(NamedTuple):
    """What a trainer is after some update, and what its averaged model says of itself."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]
    step: int
    images: int
    checkpoints: Path | None = None
    """The folder that it is to be saved in."""
    part: Part | None = None
    """Of its state, where that is in shards; `tensors` are the averaged weights then."""

    @classmethod
    def of(cls, trainer: Trainer, checkpoints: Path | None = None, copied: bool = True) -> Moment:
        """This one.

        Args:
            trainer: in training.
            checkpoints: the folder to save it in; without one the averaged weights are enough.
            copied: whether the tensors are copies, where they are, which further updates don't change.
        """
        part, sharded = None, trainer.sharding is not None
        state = trainer.average() if sharded or checkpoints is None else trainer.state()
        if sharded and checkpoints is not None:
            part = Part.of(trainer, folder_of_parts(checkpoint_file(checkpoints, trainer.step)))
        if copied:
            state = {name: tensor.detach().clone() for name, tensor in state.items()}
        facts = facts_of(trainer.ema) | FITTED_TO_NONE
        return cls(state, facts, trainer.step, trainer.images, checkpoints, part)


FITTED_TO_NONE: dict[str, Any] = {"plans": [], "x0_mse": None}


def save_checkpoint(moment: Moment, milestones: Collection[int] = ()) -> Path:
    """Write a trainer's state, then delete all but the last two and the milestones (in updates, before it).

    It describes the averaged model too, so that `load` can make it of the checkpoint alone.
    """
    folder = moment.checkpoints
    assert folder is not None
    path = checkpoint_file(folder, moment.step)
    told = {"checkpoint": {"step": moment.step, "images": moment.images}}
    if moment.part is None:
        save_tensors(path, moment.tensors, moment.facts | told)
    else:
        save_tensors(path, {}, moment.facts | told, parts=moment.part.write())
    keep = {checkpoint_file(folder, step) for step in milestones}
    for old in checkpoint_files(folder)[:-KEPT]:
        if old not in keep:
            old.unlink()
            shutil.rmtree(folder_of_parts(old), ignore_errors=True)
    return path


def clean_parts(folder: Path) -> None:
    """Remove parts of checkpoints that were never whole."""
    for path in folder.glob("step-*"):
        if path.is_dir() and not any(folder.glob(f"{path.name}.safetensors*")):
            shutil.rmtree(path)


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
