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
from .objectives import TIMES, References


class Inputs(NamedTuple):
    """What update k works on, arrays or tensors; t and eps are None where a device makes them itself."""

    x_0: Any
    cond: dict[str, Any]
    known: Any = None
    t: Any = None
    eps: Any = None
    references: References | None = None


Places = np.ndarray | Tensor
"""Among 0 … B - 1; a tensor on a device where what is drawn for them is to be."""

Number = int | Tensor
"""Of an update: a tensor, int64 (1,), where a device draws what it needs."""


def draw_times(config: TrainConfig, schedule: Schedule, k: Number, places: Places | None = None) -> Any:
    """The times at places of batch k, or at all of them.

    If stratified, one in each of B parts of equal probability.
    """
    places = np.arange(config.batch_size) if places is None else places
    u = _uniform(config, "time", k, (), places)
    if config.stratified:
        u = (places + u) / config.batch_size
    return TIMES[config.times](u, schedule)


def hide(
    cond: Mapping[str, Any], config: TrainConfig, k: Number, places: Places | None = None
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
    places = np.arange(config.batch_size) if places is None else places
    u = _uniform(config, "condition_dropout", k, (len(cond) + 2,), places)
    q, xp, hidden = min(1.0, 2 * max(shares.values())), namespace(u), {}
    for i, (name, share) in enumerate(shares.items()):
        power = q / share - 1 if share else np.inf
        is_hidden = (u[:, 0] < q) & (u[:, 2 + i] < u[:, 1] ** power)
        kept = xp.asarray(~is_hidden, dtype=xp.float32)
        hidden[name] = cond[name] * kept.reshape(-1, *[1] * (cond[name].ndim - 1))
    return hidden


def _uniform(config: TrainConfig, purpose: str, k: Number, shape: tuple[int, ...], places: Places) -> Any:
    """Uniform numbers for each of the places, (n, *shape)."""
    if not isinstance(places, Tensor):
        assert isinstance(k, int)
        return rng.uniform(config.seed, purpose, places, k, shape=shape)
    return rng.uniform_tensor(config.seed, purpose, places, k, shape=shape, device=places.device)
