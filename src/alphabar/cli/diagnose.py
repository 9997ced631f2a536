"""alphabar diagnose: what is wrong with a run, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import typer

from . import options
from .evaluate import check_number
from .flags import Flag, described, takes

if TYPE_CHECKING:
    from ..runs.findings import Diagnosis


def check_flags() -> dict[str, Flag]:
    """The option that chooses checks from the table."""
    from ..runs.checks import CHECKS

    text = described("Run only this check; repeatable", map(check_word, CHECKS))
    return {"check": Flag("check", "--check", list, text, "all", metavar="NAME")}


def check_word(name: str) -> str:
    """The name of a check as one word: "error by noise level" → "error-by-noise-level"."""
    return name.replace(" ", "-").replace("(", "").replace(")", "")


def chosen_checks(words: Iterable[str], table: Mapping[str, Any]) -> list[str]:
    """Names of the table from words that were typed."""
    from ..errors import unknown

    by_word = {check_word(name): name for name in table}
    names = []
    for word in words:
        name = word if word in table else by_word.get(word)
        if name is None:
            raise unknown("check", word, by_word)
        names.append(name)
    return names


@takes(chosen=check_flags)
def diagnose(
    run: options.Folder,
    data: options.Own = None,
    number: options.Number = 64,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    json: options.Json = False,
    *,
    chosen: dict[str, Any],
) -> None:
    """Find what is wrong with a run and how to fix it. Exits with 1 if it finds a problem."""
    from ..files import expanded
    from ..runs.checks import CHECKS
    from ..runs.given import is_model
    from ..runs.results import Results
    from ..sampling.config import SampleConfig
    from .console import document, status

    check_number(number)
    if not (expanded(run).is_dir() and is_model(run)):
        raise ValueError(f"diagnose reads a run's folder, with its metrics and checkpoints; {run} is none")
    names = chosen_checks(chosen["check"], CHECKS) if "check" in chosen else list(CHECKS)
    with status() as say:
        results = Results(run, data, n=number, config=SampleConfig(seed=seed), device=device, say=say)
        diagnosis = results.diagnose(names)
    if json:
        document(diagnosis)
    else:
        _print(diagnosis)
    if not diagnosis.healthy:
        raise typer.Exit(1)


def _print(diagnosis: Diagnosis) -> None:
    from .console import show

    if diagnosis.healthy:
        show(f"nothing wrong was found; looked at: {', '.join(diagnosis.looked_at)}")
    for place, finding in enumerate(diagnosis.findings):
        show(f"{'also' if place else 'most likely'}: {finding.cause}")
        show(f"  evidence: {finding.evidence}")
        show(f"  remedy:   {finding.remedy}")
    for name, entry in diagnosis.conditioning.items():
        show(f"told a wrong {name}, its error is {entry['total']:+.2%} (z = {entry['z']:.1f}): "
             f"{'it is used' if entry['used'] else 'it is hardly used, or not at all'}")  # fmt: skip
    if diagnosis.skipped:
        show(f"not looked at: {', '.join(diagnosis.skipped)}")
