"""What an update works on besides its samples: times, and which conditions are hidden."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import rng
from ..theory.schedule import Schedule
from .config import TrainConfig
from .objectives import TIMES


class Inputs(NamedTuple):
    """What update k works on, on the CPU; noise is made on the device where that is another."""

    x_0: np.ndarray
    cond: dict[str, np.ndarray]
    t: np.ndarray
    eps: np.ndarray | None
    known: np.ndarray | None = None


def draw_times(config: TrainConfig, schedule: Schedule, k: int) -> np.ndarray:
    """The times of batch k; if stratified, one in each of B parts of equal probability."""
    n = config.batch_size
    u = rng.uniform(config.seed, "time", np.arange(n), k)
    if config.stratified:
        u = (np.arange(n) + u) / n
    return TIMES[config.times](u, schedule)


def hide(cond: dict[str, np.ndarray], config: TrainConfig, k: int) -> dict[str, np.ndarray]:
    """Each condition told to none of a share p of the samples, `condition_dropout`; of several, any subset.

    So the network learns the unconditional model as well (sec. 3.2 of arXiv 2207.12598), and that of each
    subset of conditions. A share q = min(1, 2 max p) of the samples is told a subset: there condition i is
    hidden with probability v^(q / p_i - 1) for one v, uniform in [0, 1), a sample; the mean of that is
    p_i / q. With all p equal, below 1/2, each number of hidden conditions is as likely as any other; hidden
    each by itself, six conditions would hardly ever be hidden all at once.
    """
    shares = np.array([config.dropout_of(name) for name in sorted(cond)])
    if not shares.any():
        return cond
    u = rng.uniform(config.seed, "condition_dropout", np.arange(config.batch_size), k, shape=(len(cond) + 2,))
    q = min(1.0, 2 * float(shares.max()))
    with np.errstate(divide="ignore"):
        power = q / shares - 1
    is_hidden = (u[:, :1] < q) & (u[:, 2:] < u[:, 1:2] ** power)
    hidden = {}
    for i, name in enumerate(sorted(cond)):
        kept = (~is_hidden[:, i]).astype(np.float32)
        hidden[name] = cond[name] * kept.reshape(-1, *[1] * (cond[name].ndim - 1))
    return hidden
