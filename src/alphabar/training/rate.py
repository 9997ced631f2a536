"""The learning rate as a function of the images seen and of what was decided on the way."""

from __future__ import annotations

from collections.abc import Sequence

WARMUP_SHARE = 0.1
"""The warm-up is at most this share of a run."""

Decisions = Sequence[tuple[int, int]]
"""(images, total), in the order of time: after so many images, the run was to have so many in all."""


def rate_factor(images: float, decisions: Decisions, batch_size: int, warmup: float, decay: float) -> float:
    """The share of the full rate after `images`: up over the warm-up, level, down over the last `decay`.

        f(x; T) = min(1, (x + batch) / W) · min(1, (T - x) / (decay T)),    W = min(warmup, T / 10)

    A total T that is decided at the start holds from there on. One that is decided at a > 0 goes on from
    where the rate is, f_a: down to f(x; T) at once, or up to it over W images,

        f_a + (f(x; T) - f_a) · min(1, (x - a + batch) / W).

    Until a total is known, f is without fall and with the whole warm-up. The decisions after `images` don't
    count, so that a run that goes back to a checkpoint makes the same steps again.
    """
    at, total, start = 0, None, None

    def value(x: float) -> float:
        planned = _planned(x, total, batch_size, warmup, decay)
        if start is None or start >= planned:
            return planned
        return start + (planned - start) * min(1.0, (x - at + batch_size) / _warmup(total, warmup))

    for decided_at, new_total in decisions:
        if decided_at > images:
            break
        start = value(decided_at) if decided_at > 0 else None
        at, total = decided_at, new_total
    return value(images)


def _warmup(total: float | None, warmup: float) -> float:
    return max(warmup if total is None else min(warmup, WARMUP_SHARE * total), 1)


def _planned(images: float, total: float | None, batch_size: int, warmup: float, decay: float) -> float:
    factor = min(1.0, (images + batch_size) / _warmup(total, warmup))
    if total is not None and decay > 0:
        factor *= min(1.0, max(0.0, (total - images) / (decay * total)))
    return factor
