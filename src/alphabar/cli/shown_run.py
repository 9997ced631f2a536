"""Training, as a person sees it."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import typer

from .expected import expected_of, noun_of, tell_end
from .progress import Progress, Stop, execution

if TYPE_CHECKING:
    from ..runs.run import Run


def as_typed() -> str:
    """The command line, as it was typed."""
    return shlex.join(["alphabar", *sys.argv[1:]])


def follow_training(run: Run, stop: Stop, json: bool, expected: int | None) -> None:
    """Train, show how it goes, and say at the end what came of it."""
    from ..runs.plots import draw_curves
    from .console import document, say, show

    last: dict[str, Any] = {}
    updates = run.train()
    stop.finishing = True  # from here on a signal waits for the update in progress, which is saved
    noun, rough = noun_of(run.data.space.kind), run.config.minutes is not None
    with Progress(noun, rough) as shown:
        for row in updates:
            if not last:
                _announce(run, say)
            last |= row
            shown.update(row, run.total, run.pace.rate, run.pace.left_s(row["images"], run.total))
            if stop:
                break
    updates.close()  # saves, if the loop was left early
    draw_curves(run.folder)
    folder, images = run.folder.path, run.trainer.images
    if json:
        document({
            "run": str(folder),
            "images": images,
            "of_images": run.total,
            "stopped": bool(stop),
            **_last(last),
        })  # fmt: skip
    elif stop:
        say(f"stopped and saved after {images:,} {noun}; the same command resumes:")
        say(f"  {as_typed()}")
    elif not last:
        show(f"{folder} is finished: {images:,} {noun}; now: alphabar sample {shlex.quote(str(folder))}")
        show(f"to train it longer, give a larger budget: --images {2 * images}")
    else:
        tell_end(run, last, expected, show)
        show(f"trained on {images:,} {noun}; now: alphabar sample {shlex.quote(str(folder))}")
    if stop:
        raise typer.Exit(stop.exit_code)


def _announce(run: Run, say: Any) -> None:
    if run.resumed_from:
        say(f"resuming {run.folder.path} from {run.resumed_from.name}")
    parameters = sum(p.numel() for p in run.trainer.parameters.values())
    signal_left = run.trainer.model.schedule.terminal_signal
    say(
        f"{run.folder.path}: {parameters:,} parameters that predict {run.config.prediction}, "
        f"{execution(run)}, sqrt(alpha_bar_T) {signal_left:.4f}"
    )
    few = expected_of(run.total) if run.total and run.data.space.kind == "picture" else ""
    if few and run.config.minutes is None:
        say(f"{run.total:,} images are few{few}")


def _last(row: dict[str, Any]) -> dict[str, Any]:
    """The metrics that matter at the end."""
    names = ("loss", "held_out_loss", "sample_distance", "sample_floor")
    return {name: row[name] for name in names if name in row}
