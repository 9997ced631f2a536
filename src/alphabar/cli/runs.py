"""alphabar runs: the runs in a folder, and how far each has come."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .progress import time_left

if TYPE_CHECKING:
    from ..runs.folder import RunFolder

UNSAVED = "not saved yet"
HEADINGS = ("run", "images", "of", "images/s", "loss", "held out", "distance", "saved")


def runs(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Where to look, its folders included.")
    ] = "runs",
    json: options.Json = False,
) -> None:
    """List the runs in a folder: how far, how fast, how good.

    The last saved comes first. Distances are those of a few samples, as measured in training, over those of
    held-out data.
    """
    from ..files import expanded, missing
    from .console import columns, document, say, show

    place = expanded(folder)
    if not place.is_dir():
        if place.exists():
            raise ValueError(f"{folder} is a file: give a folder")
        raise missing(folder, "folder")
    found, bad = [], []
    for run in runs_in(place):
        try:
            found.append(facts_of(run))
        except (ValueError, OSError) as error:
            bad.append(f"{run}: {error}")
    found.sort(key=lambda row: -(row["saved_at"] or 0))
    if json:
        document(found)
    elif found:
        columns([HEADINGS, *map(_cells, found)])
    elif not bad:
        show(f"there is no run in {folder} (alphabar train DATA makes one)")
    for line in bad:
        say(f"left out, damaged: {line}")


def runs_in(place: Path) -> list[RunFolder]:
    """The runs at a place and in the folders directly below it, and below those."""
    from ..runs.folder import RunFolder

    entries = [place, *place.glob("*/"), *place.glob("*/*/")]
    each = {path.resolve(): path for path in sorted(entries, reverse=True)}  # by one name, if there are links
    return [run for run in map(RunFolder, each.values()) if run.path.is_dir() and run.exists()]


def facts_of(run: RunFolder) -> dict[str, Any]:
    """What the files of a run say of it, without its weights; `trains` is whether a process is at it."""
    from ..runs.history import total_of

    entry, times = run.entry(), run.times()
    rows = run.metrics()
    last: dict[str, Any] = {}
    for row in rows:
        last |= row
    saved = times[-1] if times else {}
    distance, floor = last.get("sample_distance"), last.get("sample_floor")
    return {
        "run": str(run.path),
        "images": run.progress()["images"],
        "of_images": total_of(entry),
        "images_per_s": saved.get("images_per_s"),
        "loss": last.get("loss"),
        "held_out_loss": last.get("held_out_loss"),
        "distance": distance / floor if distance and floor else None,
        "saved_at": saved.get("time"),
        "trains": run.is_trained_now(),
        "damaged": _damaged(run),
        "data": entry["data"]["source"],
    }


def _damaged(run: RunFolder) -> list[str]:
    """The names of its model and newest checkpoint, if they are cut short or no such files."""
    from ..files import DamagedFile, read_metadata

    found = []
    for path in (run.model, *run.checkpoints()[-1:]):
        try:
            read_metadata(path)
        except DamagedFile:
            found.append(path.name)
        except FileNotFoundError:
            continue
    return found


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    notes = [UNSAVED if row["saved_at"] is None else f"{time_left(time.time() - row['saved_at'])} ago"]
    notes += ["in training"] * row["trains"] + [f"{name} is damaged" for name in row["damaged"]]
    return (
        row["run"],
        f"{row['images']:,}",
        number(row["of_images"], ","),
        number(row["images_per_s"], ",.1f"),
        number(row["loss"], ".4f"),
        number(row["held_out_loss"], ".4f"),
        number(row["distance"], ".1f"),
        ", ".join(notes),
    )
