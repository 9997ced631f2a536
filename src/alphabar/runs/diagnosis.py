"""What is wrong with a run: the most likely cause, with the evidence and the remedy."""

from __future__ import annotations

from typing import Any

from .checks import CHECKS, SAMPLES, run_checks
from .findings import Diagnosis, Finding
from .results import Results

__all__ = ["CHECKS", "Diagnosis", "Finding", "diagnose", "run_checks"]


def diagnose(run: Any, data: Any = None, *, n: int = SAMPLES, **settings: Any) -> Diagnosis:
    """Look for what is wrong with a run, cause by cause.

    Args:
        run: its folder; or its `Results`, so that nothing is computed again.
        data: what it was trained on, if it can't be found from the run itself.
        n: how many samples to look at.
        settings: other arguments of `Results`.
    """
    results = run if isinstance(run, Results) else Results(run, data, n=n, **settings)
    return results.diagnosis
