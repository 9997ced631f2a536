"""Cases of a harness: all are run by `make chaos`, some of them by `make test`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def cases(found: Iterable[Any], keep: int) -> list[Any]:
    """One case of pytest for each; `keep` of them, spread evenly, are not left to `make chaos`."""
    found = list(found)
    kept = {round(i * (len(found) - 1) / max(keep - 1, 1)) for i in range(min(keep, len(found)))}
    return [
        case
        if i in kept
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.chaos)
        for i, case in enumerate(found)
    ]
