"""Laws of ranks and counts under the null hypothesis, and what a test notices."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

EXACT = 20  # numbers of the smaller of two sets, up to which every order is counted


def share_p(n: int, m: int, k: int) -> float:
    """P(at least k of n are below the least of m) for n + m draws of one law.

    The k least must all be among the n: the product over i < k of (n - i) / (n + m - i). Ties only lower it.

    >>> round(share_p(2, 2, 1), 6), round(share_p(2, 2, 2), 6)
    (0.5, 0.166667)
    """
    i = np.arange(k)
    return float(np.exp(np.sum(np.log(n - i) - np.log(n + m - i))))


def hits_p(n: int, m: int, k: int, others: int) -> float:
    """P(at least k of k + others hits are among n) if n + m draws are equally likely hits (Fisher's test).

    >>> round(hits_p(2, 2, 2, 0), 6), hits_p(5, 5, 0, 3)
    (0.166667, 1.0)
    """
    hits = k + others
    counts = np.arange(k, min(hits, n) + 1)
    counts = counts[hits - counts <= m]
    logs = [_log_choose(n, int(c)) + _log_choose(m, hits - int(c)) for c in counts]
    return min(1.0, math.fsum(math.exp(value - _log_choose(n + m, hits)) for value in logs))


def least_share(n: int, is_seen: Callable[[int], bool], often: float = 0.95) -> float:
    """The least share of which n draws hold, with probability `often`, as many as are seen; 1 if none is.

    >>> round(least_share(100, lambda k: k >= 3), 3)  # 1 - (1 - q)^100 - … = 0.95
    0.062
    """
    k = next((k for k in range(n + 1) if is_seen(k)), None)
    if k is None or k == 0:
        return 1.0 if k is None else 0.0
    logs = [_log_choose(n, i) for i in range(k)]
    low, high = 0.0, 1.0
    for _ in range(50):
        q = (low + high) / 2
        fewer = math.fsum(
            math.exp(log + i * math.log(q) + (n - i) * math.log1p(-q)) for i, log in enumerate(logs)
        )
        low, high = (q, high) if 1 - fewer < often else (low, q)
    return high


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def mann_whitney(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """P(a < b) + P(a = b)/2, and the one-sided p-value of that much or more if a and b have one law.

    Exact if one side has 20 or fewer, counting ties against; else by the normal approximation, corrected for
    ties.
    """
    n, m = len(a), len(b)
    both = np.concatenate([a, b])
    _, where, counts = np.unique(both, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[where]
    u = n * m + n * (n + 1) / 2 - ranks[:n].sum()
    ties = (counts**3 - counts).sum() / ((n + m) * (n + m - 1))
    variance = n * m / 12 * (n + m + 1 - ties)
    if min(n, m) <= EXACT:
        p = exact_p(n, m, int(np.searchsorted(np.sort(a), b).sum()))
    else:
        z = (u - n * m / 2) / math.sqrt(variance) if variance > 0 else 0.0
        p = 0.5 * math.erfc(z / math.sqrt(2))
    return float(u / (n * m)), p


def exact_p(n: int, m: int, u: int) -> float:
    """P(at least u of the n m pairs have a < b) for n + m draws of one law without ties.

    The number of orders with n m - k such pairs is the coefficient of q^k in the Gaussian binomial,
    the product over i = 1..m of (1 - q^(n + i)) / (1 - q^i) (Mann and Whitney 1947).
    """
    large, small, most = max(n, m), min(n, m), n * m - u
    ways = np.zeros(most + 1, object)
    ways[0] = 1
    for i in range(1, small + 1):
        for start in range(min(i, most + 1)):
            ways[start::i] = np.cumsum(ways[start::i])
        if large + i <= most:
            ways[large + i :] = ways[large + i :] - ways[: -(large + i)]
    return int(ways.sum()) / math.comb(n + m, m)
