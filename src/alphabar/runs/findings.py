"""What a diagnosis finds: causes, each with its evidence and its remedy."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """A cause, how it shows in this run, and what to do about it."""

    cause: str
    evidence: str
    remedy: str


@dataclass(frozen=True)
class Diagnosis:
    """The result of `diagnose`.

    Attributes:
        findings: every cause that shows, the most likely one first.
        looked_at: names of the checks that were made.
        skipped: names of those that were not.
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
        """The same as JSON."""
        return asdict(self)
