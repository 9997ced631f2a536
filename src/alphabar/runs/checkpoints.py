"""Checkpoints of a run: whole or absent, checked to the bit, the last two and some milestones kept."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from ..files import DamagedFile, load_tensors, save_tensors
from ..model.file import facts_of
from ..training.trainer import Trainer

KEPT = 2


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(folder.glob("step-*.safetensors"))


def save_checkpoint(folder: Path, trainer: Trainer, milestones: Collection[int] = ()) -> Path:
    """Write the trainer's state, then delete all but the last two and the milestones (in updates).

    It describes the averaged model too, so that `load` can make it of the checkpoint alone.
    """
    path = folder / f"step-{trainer.step:09d}.safetensors"
    told = {"checkpoint": {"step": trainer.step, "images": trainer.images}, "plans": [], "x0_mse": None}
    save_tensors(path, trainer.state(), facts_of(trainer.ema) | told)
    keep = {folder / f"step-{step:09d}.safetensors" for step in milestones}
    for old in checkpoint_files(folder)[:-KEPT]:
        if old not in keep:
            old.unlink()
    return path


def load_newest(folder: Path, trainer: Trainer, say: Callable[[str], None]) -> Path | None:
    """Load the newest sound checkpoint; damaged ones are set aside, and said. None if there is none.

    DamagedFile if there are checkpoints and all of them are damaged, also when they were set aside before.
    """
    files = checkpoint_files(folder)
    for path in reversed(files):
        try:
            tensors, metadata, _ = load_tensors(path)
            trainer.load_state(tensors, metadata["checkpoint"]["step"])
            return path
        except (ValueError, KeyError, RuntimeError) as error:
            aside = path.with_name(path.name + ".damaged")
            path.replace(aside)
            say(f"checkpoint refused and set aside as {aside.name}: {error}")
    if files or any(folder.glob("*.damaged")):
        raise DamagedFile(f"every checkpoint in {folder} is damaged; start anew with another --out")
    return None
