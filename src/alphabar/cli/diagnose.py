"""alphabar diagnose: what is wrong with a run, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from . import options
from .evaluate import check_number
from .flags import Flag, described, takes


def check_flags() -> dict[str, Flag]:
    """Which checks: names from the table."""
    from ..runs.diagnosis import CHECKS

    text = described("Run only this check; repeatable", map(check_word, CHECKS))
    return {"check": Flag("check", "--check", list, text, "all", metavar="NAME")}


def check_word(name: str) -> str:
    """The name of a check as one word: "error by noise level" → "error-by-noise-level"."""
    return name.replace(" ", "-").replace("(", "").replace(")", "")


def chosen_checks(words: Iterable[str], table: Mapping[str, Any]) -> list[str]:
    """Names of the table from what was typed."""
    from ..errors import unknown

    by_word = {check_word(name): name for name in table}
    found = []
    for word in words:
        name = word if word in table else by_word.get(word)
        if name is None:
            raise unknown("check", word, by_word)
        found.append(name)
    return found


@takes(asked=check_flags)
def diagnose(
    run: options.Folder,
    data: options.Own = None,
    number: options.Number = 64,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    json: options.Json = False,
    *,
    asked: dict[str, Any],
) -> None:
    """Find what is wrong with a run and how to fix it. Exits with 1 if it finds a problem."""
    from ..runs.diagnosis import CHECKS
    from ..runs.given import is_model
    from ..runs.results import Results
    from ..sampling.config import SampleConfig
    from .console import document, status

    check_number(number)
    if not (Path(run).expanduser().is_dir() and is_model(run)):
        raise ValueError(f"diagnose reads a run's folder, with its metrics and checkpoints; {run} is none")
    names = chosen_checks(asked["check"], CHECKS) if "check" in asked else None
    with status() as say:
        results = Results(run, data, n=number, config=SampleConfig(seed=seed), device=device, say=say)
        found = results.diagnosis if names is None else results.diagnose(names)
    if json:
        document(found)
    else:
        _print(found)
    if not found.healthy:
        raise typer.Exit(1)


def _print(found: Any) -> None:
    from .console import show

    if found.healthy:
        show(f"nothing wrong was found; looked at: {', '.join(found.looked_at)}")
    for place, finding in enumerate(found.findings):
        show(f"{'also' if place else 'most likely'}: {finding.cause}")
        show(f"  evidence: {finding.evidence}")
        show(f"  remedy:   {finding.remedy}")
    for name, entry in found.conditioning.items():
        show(f"told a wrong {name}, its error is {entry['total']:+.2%} (z = {entry['z']:.1f}): "
             f"{'it is used' if entry['used'] else 'it is hardly used, or not at all'}")  # fmt: skip
    if found.skipped:
        show(f"not looked at: {', '.join(found.skipped)}")
