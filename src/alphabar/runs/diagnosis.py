"""What is wrong with a run: the one most likely cause, with the evidence and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .checks import CHECKS, NOT_FINITE, Finding

if TYPE_CHECKING:
    from .results import Results

__all__ = ["CHECKS", "Diagnosis", "Finding", "diagnose", "run_checks"]

SAMPLES = 64


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.

    Attributes:
        findings: every cause that shows, the most likely one first.
        looked_at, skipped: names of checks.
        conditioning: the numbers behind the check of that name, by condition.
    """

    findings: list[Finding]
    looked_at: list[str]
    skipped: list[str]
    conditioning: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def diagnose(run: Any, data: Any = None, *, n: int = SAMPLES, **settings: Any) -> Diagnosis:
    """Look for what is wrong with a run, cause by cause.

    Args:
        run: its folder, or results that are at hand: what they have computed is not computed again.
        data: what it was trained on; found by itself unless given.
        n: samples to look at.
        settings: further ones of `Results`.
    """
    from .results import Results  # which imports this module

    results = run if isinstance(run, Results) else Results(run, data, n=n, **settings)
    return results.diagnosis


def run_checks(results: Results, names: Iterable[str] = CHECKS) -> Diagnosis:
    """These of `CHECKS`, in the table's order; after weights that are not finite the others are skipped."""
    findings, looked, skipped = [], [], []
    for name in (name for name in CHECKS if name in set(names)):
        if findings and findings[0].cause == NOT_FINITE:
            skipped.append(name)
            continue
        results.say(name)
        looked.append(name)
        found = CHECKS[name](results)
        if found is not None:
            findings.append(found)
    conditioning = results.conditioning if "conditioning" in looked else {}
    return Diagnosis(findings, looked, skipped, {name: asdict(c) for name, c in conditioning.items()})
