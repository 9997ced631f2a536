"""run.json: what decides the bits, how long, habits, what was measured; and a history of decisions."""

from __future__ import annotations

import math
import platform
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..data.dataset import Dataset
from ..settings import differences
from ..training.config import TrainConfig
from ..training.distributed import is_exact
from ..training.trainer import Trainer
from ..version import __version__

Entry = dict[str, Any]
TOTAL = "total"  # in the history: a decision on how many images the run has in all


def new_entry(
    config: TrainConfig, data: Dataset, source: str, command: list[str], start: Entry | None
) -> Entry:
    """The description of a run that begins.

    Args:
        config, data: of the run.
        source: what the data were prepared from.
        command: the words of the command that began it.
        start: {"what": "from" or "fork", "path", "digest", "step", "images"} if it begins with weights.
    """
    return {
        "alphabar": __version__,
        "id": secrets.token_hex(6),
        "command": command,
        "data": {"source": source, "prepared": data.prepared, "samples": data.num_samples},
        "identity": identity(config, data) | {"start": start},
        "budget": config.of_role("budget"),
        "habits": config.of_role("habit"),
        "measured": {},
        "history": [],
    }


def identity(config: TrainConfig, data: Dataset) -> Entry:
    """What decides the bits, but for the weights to start from."""
    return {
        "data": {"fingerprint": data.fingerprint, "holdout": data.holdout},
        "config": config.of_role("identity"),
    }


def other_settings(before: Entry, now: Entry) -> list[str]:
    """How two identities differ, in words."""
    found = differences(before["config"], now["config"])
    for name, what in (("fingerprint", "the data, or what they are told"), ("holdout", "holdout")):
        if before["data"].get(name) != now["data"][name]:
            found.append(f"{what} ({before['data'].get(name)!s:.12} → {now['data'][name]!s:.12})")
    return found


def check_same(path: Path, before: Entry, config: TrainConfig, data: Dataset, start: Entry | None) -> None:
    """ValueError that names what differs, unless the run in a folder is the one that is asked for."""
    found = other_settings(before["identity"], identity(config, data))
    own = {"holdout": None}  # which is among the settings already
    found += differences(before["data"]["prepared"] | own, data.prepared | own)
    if (there := before["data"]["samples"]) != data.num_samples:
        found.append(f"samples ({there:,} → {data.num_samples:,})")
    begun = before["identity"].get("start")
    if not _same_start(begun, start):
        found.append(f"weights to start from ({_start_words(begun)} → {_start_words(start)})")
    if found:
        raise ValueError(
            f"{path} is a run with other settings: {', '.join(found)}. Give the same ones to resume it; "
            "add --fork NEW_RUN to continue with the new ones in a new run; another --out starts anew"
        )


def _same_start(before: Entry | None, now: Entry | None) -> bool:
    """A run has its own copy of the weights that it began with, so that their file may change, or go, and
    needn't be named again.
    """
    if before is None or now is None:
        return now is None
    same_file = Path(before["path"]).resolve() == Path(now["path"]).resolve()
    return before["what"] == now["what"] and (same_file or before["digest"] == now["digest"])


def _start_words(start: Entry | None) -> str:
    return "none" if start is None else f"{start['path']}, {start['digest'] or 'gone':.12}"


def machine_changes(entry: Entry, trainer: Trainer) -> list[str]:
    """What has changed of all that the last bits may depend on; it is recorded."""
    now: dict[str, Any] = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    now["device"] = trainer.device.type
    if not is_exact(trainer.config):
        now["processes"] = trainer.world.size
    before = entry["measured"].setdefault("made_with", now)
    changed = [f"{name} {before.get(name)} → {now[name]}" for name in now if before.get(name) != now[name]]
    if changed:
        record(entry, trainer.images, "made_with", before, now)
        entry["measured"]["made_with"] = now
    return changed


def record(entry: Entry, images: int, what: str, before: Any, after: Any) -> None:
    """Add to the history what changed, and after how many images."""
    row = {"time": time.time(), "images": images, "what": what, "before": before, "after": after}
    entry["history"].append(row)


def decisions(entry: Entry) -> list[tuple[int, int]]:
    """(images, total) of each decision on the run's length, which the learning rate follows."""
    return [(row["images"], row["after"]) for row in entry["history"] if row["what"] == TOTAL]


def total_of(entry: Entry) -> int | None:
    """The run's length in images; None while the speed for `minutes` is not yet measured."""
    known = decisions(entry)
    return known[-1][1] if known else None


def milestones(entry: Entry, batch_size: int) -> list[int]:
    """The updates whose checkpoints are kept: at each quarter of the run, by what its length was then."""
    steps, made = [], decisions(entry)
    ends = [*(images for images, _ in made[1:]), math.inf]
    for (begin, total), end in zip(made, ends, strict=False):
        quarters = [-(-total // batch_size) * quarter // 4 for quarter in (1, 2, 3)]
        steps += [step for step in quarters if begin < step * batch_size <= end]
    return steps


def is_milestone(entry: Entry, step: int, batch_size: int, every: int | None = None) -> bool:
    """Whether the checkpoint after this update is kept: of `milestones`, or first after `every` images."""
    images = step * batch_size
    regular = every is not None and images // every > (images - batch_size) // every
    return regular or step in milestones(entry, batch_size)


def decide_total(entry: Entry, images: int, total: int) -> None:
    """Decide on another length after so many images. Later decisions, of work that was lost, are dropped."""
    before = total_of(entry)
    entry["history"] = [r for r in entry["history"] if r["what"] != TOTAL or r["images"] < images]
    record(entry, images, TOTAL, before, total)


def adopt_changes(
    entry: Entry, config: TrainConfig, data: Dataset, source: str, command: list[str], images: int
) -> list[str]:
    """Take over what may change at any time: habits, and where the data are. What changed, in words."""
    said = []
    habits = config.of_role("habit")
    for name, value in habits.items():
        if entry["habits"].get(name) != value:
            record(entry, images, name, entry["habits"].get(name), value)
            said.append(f"{name} ({entry['habits'].get(name)} → {value})")
    entry["habits"] = habits
    place = entry["data"] | {"source": source, "prepared": data.prepared}
    if source and entry["data"] != place:
        record(entry, images, "data", entry["data"], place)
        said.append(f"data are now at {source}")
        entry["data"] = place
    entry["command"] = command or entry["command"]
    return said


def adopt_budget(
    entry: Entry, config: TrainConfig, images: int, num_training: int, times: list[dict[str, Any]]
) -> bool:
    """Take over how long the run is to be: decide on its total, unless it is decided already.

    Minutes are turned into images by what the run's clock says of its speed, if it has one by now; if not,
    the total is open until the speed has been measured. False, with nothing changed, if the run has as many
    images already.
    """
    asked, known = config.of_role("budget"), total_of(entry)
    changed = entry["budget"] != asked
    if known is not None and not changed:
        return True
    total = asked_total(config, images, num_training, times)
    if changed and images:
        if total is not None and total <= images:
            return False
        record(entry, images, "budget", entry["budget"], asked)
    entry["budget"] = asked
    if total is not None:
        decide_total(entry, images, total)
    else:
        entry["history"] = [row for row in entry["history"] if row["what"] != TOTAL]
    return True


def asked_total(
    config: TrainConfig, images: int, num_training: int, times: Sequence[dict[str, Any]] = ()
) -> int | None:
    """The images of a budget; of one in minutes only if the clock of the run so far tells its speed."""
    if config.images is not None:
        return config.images
    if config.epochs is not None:
        return max(1, round(config.epochs * num_training))
    assert config.minutes is not None
    if not images or not times:
        return None
    left_s = 60 * config.minutes - times[-1]["spent_s"]
    return round(images + max(0.0, left_s) * times[-1]["images_per_s"])
