"""alphabar report: everything about a run on one page."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from . import options
from .evaluate import features_help


def report(
    run: options.Folder,
    data: options.Own = None,
    number: options.Number = 1000,
    features: Annotated[str, typer.Option(help=features_help())] = "learned",
    seed: options.Seed = 0,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="HTML", help=r"The file to write. \[default: RUN/report.html]", show_default=False
        ),
    ] = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Write everything about a run on one page: samples, losses, scores, and what may be wrong with it."""
    from ..files import expanded
    from ..runs.folder import RunFolder
    from ..runs.report import write_report
    from ..runs.results import Results
    from ..sampling.config import SampleConfig
    from .console import document, say, show, status

    folder = expanded(run)
    if not RunFolder(folder).exists():
        raise ValueError(f"report reads a run's folder, with its metrics and samples; {run} is not one")
    if number < 1:
        raise ValueError(f"-n must be at least 1, got {number}")
    target = _target(out, folder)
    with status() as telling:
        config = SampleConfig(seed=seed)
        results = Results(
            folder, data, n=number, config=config, device=device, features=features, say=telling
        )
        write_report(results, target, _commands(run, data, number, features, seed))
        if results.no_scores:
            say(f"the page has no scores: {results.no_scores}")
    if json:
        document(
            {"wrote": str(target), "bytes": target.stat().st_size, "no_scores": results.no_scores or None}
        )
    else:
        show(f"wrote {target} ({target.stat().st_size / 1e6:.1f} MB); open it in a browser")


def _target(out: str | None, folder: Path) -> Path:
    """The file to write: a new one, or an earlier report."""
    from ..files import expanded
    from ..runs.report import is_report

    target = expanded(out) if out else folder / "report.html"
    if target.suffix.lower() != ".html":
        raise ValueError(f"--out must end in .html, got {out}")
    if os.path.lexists(target) and not is_report(target):
        raise ValueError(f"{target} exists and is not a report; choose another name (nothing was written)")
    return target


def _commands(run: str, data: str | None, number: int, features: str, seed: int) -> list[tuple[str, str]]:
    """(what for, what to type) for the rest of the page; the run itself says how it was trained."""
    own = ["--data", data] if data else []
    seeded = ["--seed", str(seed)] if seed else []
    by = ["--features", features] if features != "learned" else []
    count = ["-n", str(number)]
    lines = {
        "Sample from it.": ["sample", run, *count, *seeded, "--out", "samples"],
        "Score the samples.": ["eval", run, *own, *count, *seeded, *by],
        "Look for what is wrong.": ["diagnose", run, *own, *seeded],
        "Write this page.": ["report", run, *own, *count, *seeded, *by],
    }
    return [(what, shlex.join(["alphabar", *words])) for what, words in lines.items()]
