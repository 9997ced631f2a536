"""What an update works on besides its samples: times, and which conditions are hidden.

Each is worked out by NumPy, or by torch where the network is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from .. import rng
from ..theory.at import namespace
from ..theory.schedule import Schedule
from .config import TrainConfig
from .objectives import TIMES


class Inputs(NamedTuple):
    """What update k works on, arrays or tensors; eps is None where a device makes it itself."""

    x_0: Any
    cond: dict[str, Any]
    t: Any
    eps: Any
    known: Any = None


def draw_times(config: TrainConfig, schedule: Schedule, k: int, places: Tensor | None = None) -> Any:
    """The times of batch k; if stratified, one in each of B parts of equal probability.

    Args:
        places: 0 … B - 1 on a device, where the times are then.
    """
    n = config.batch_size
    u = _uniform(config, "time", k, (), places)
    if config.stratified:
        u = ((np.arange(n) if places is None else places) + u) / n
    return TIMES[config.times](u, schedule)


def hide(
    cond: Mapping[str, Any], config: TrainConfig, k: int, places: Tensor | None = None
) -> Mapping[str, Any]:
    """Each condition told to none of a share p of the samples, `condition_dropout`; of several, any subset.

    So the network learns the unconditional model as well (sec. 3.2 of arXiv 2207.12598), and that of each
    subset of conditions. A share q = min(1, 2 max p) of the samples is told a subset: there condition i is
    hidden with probability v^(q / p_i - 1) for one v, uniform in [0, 1), a sample; the mean of that is
    p_i / q. With all p equal, below 1/2, each number of hidden conditions is as likely as any other; hidden
    each by itself, six conditions would hardly ever be hidden all at once.
    """
    shares = {name: config.dropout_of(name) for name in sorted(cond)}
    if not any(shares.values()):
        return cond
    u = _uniform(config, "condition_dropout", k, (len(cond) + 2,), places)
    q, xp, hidden = min(1.0, 2 * max(shares.values())), namespace(u), {}
    for i, (name, share) in enumerate(shares.items()):
        power = q / share - 1 if share else np.inf
        is_hidden = (u[:, 0] < q) & (u[:, 2 + i] < u[:, 1] ** power)
        kept = xp.asarray(~is_hidden, dtype=xp.float32)
        hidden[name] = cond[name] * kept.reshape(-1, *[1] * (cond[name].ndim - 1))
    return hidden


def _uniform(config: TrainConfig, purpose: str, k: int, shape: tuple[int, ...], places: Tensor | None) -> Any:
    """Uniform numbers for each place of batch k, (B, *shape)."""
    if places is None:
        return rng.uniform(config.seed, purpose, np.arange(config.batch_size), k, shape=shape)
    return rng.uniform_tensor(config.seed, purpose, places, k, shape=shape, device=places.device)
