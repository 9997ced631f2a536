"""Does the model repeat its training pictures? A test that needs no threshold of likeness."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

NEIGHBOURS = 10
BLOCK = 500
SURE, PLAIN = 1e-3, 0.75
EXACT = 20


@dataclass(frozen=True)
class Memorisation:
    """What `memorisation` found in one space.

    Attributes:
        space: pixels, or the features' name.
        n, held_out, training: how many samples and pictures were compared.
        closeness: of each sample: its distance to the nearest training picture over its mean distance
            to the ten next ones. Near 0 for a copy; about 1 where no picture stands out.
        usual: the same of the held-out pictures.
        likelihood_closer: the probability that a sample is closer, in this sense, than a held-out picture
            (1/2 for a model that draws as the data do; ties count half).
        p: of at least this under that hypothesis (Mann-Whitney, one-sided).
        copies: share of samples closer than every held-out picture is (1/(held_out + 1) is expected).
        nearest: for each sample, the number of the nearest training picture.
        memorises: p < 0.001 and likelihood_closer > 0.75.
    """

    space: str
    n: int
    held_out: int
    training: int
    closeness: np.ndarray
    usual: np.ndarray
    likelihood_closer: float
    p: float
    copies: float
    nearest: np.ndarray
    memorises: bool

    def pairs(self, most: int = 12) -> list[tuple[int, int]]:
        """(sample, training picture) of those that stand out most, to look at."""
        order = np.argsort(self.closeness)[:most]
        return [(int(i), int(self.nearest[i])) for i in order]

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without what is said of each sample."""
        facts = asdict(self)
        for name in ("closeness", "usual", "nearest"):
            del facts[name]
        return facts | {
            "median_closeness": float(np.median(self.closeness)),
            "median_usual": float(np.median(self.usual)),
        }


def memorisation(samples: np.ndarray, training: np.ndarray, held_out: np.ndarray, space: str) -> Memorisation:
    """Compare how near samples and how near held-out pictures come to a training picture.

    Each argument is (n, d). A held-out picture is what an honest sample would be: fresh, and from the same
    source. So the two sets of closeness are draws of one law, whatever the space, the number of pictures
    and the doubles among them; a model that repeats pictures gives smaller values. Closeness is a ratio, so
    that samples that are merely blurred, or too alike, and near to everything for it, don't count.

    ValueError without held-out pictures, or with fewer than 12 training pictures.
    """
    if len(held_out) < 2:
        raise ValueError(
            f"telling memorising from luck takes 2 held-out pictures or more, got {len(held_out)}"
        )
    if len(training) < NEIGHBOURS + 2:
        raise ValueError(f"the test needs {NEIGHBOURS + 2} training pictures or more, got {len(training)}")
    closeness, nearest = close(samples, training)
    usual, _ = close(held_out, training)
    auc, p = mann_whitney(closeness, usual)
    return Memorisation(
        space,
        len(samples),
        len(held_out),
        len(training),
        closeness,
        usual,
        auc,
        p,
        float((closeness < usual.min()).mean()),
        nearest,
        p < SURE and auc > PLAIN,
    )


def close(queries: np.ndarray, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(distance to the nearest over the mean distance to the ten next, number of the nearest)."""
    ratio, nearest = np.empty(len(queries)), np.empty(len(queries), np.int64)
    norms = np.concatenate([(part.astype(np.float64) ** 2).sum(1) for part in parts(pictures)])
    for i in range(0, len(queries), BLOCK):
        x = np.asarray(queries[i : i + BLOCK], np.float64)
        products = np.concatenate([x @ part.T.astype(np.float64) for part in parts(pictures)], 1)
        squared = (x**2).sum(1)[:, None] - 2 * products + norms
        first = np.argpartition(squared, NEIGHBOURS + 1, 1)[:, : NEIGHBOURS + 1]
        # anew for those few, without the cancellation of the line above
        exact = np.sqrt(((x[:, None] - pictures[first]) ** 2).sum(2))
        order = np.argsort(exact, 1)
        sorted_ = np.take_along_axis(exact, order, 1)
        rest = sorted_[:, 1:].mean(1)
        ratio[i : i + BLOCK] = np.where(rest > 0, sorted_[:, 0] / np.where(rest > 0, rest, 1), 1.0)
        nearest[i : i + BLOCK] = np.take_along_axis(first, order[:, :1], 1)[:, 0]
    return ratio, nearest


def parts(pictures: np.ndarray) -> list[np.ndarray]:
    """In blocks, so that no second copy of all is made."""
    return [pictures[i : i + 20 * BLOCK] for i in range(0, len(pictures), 20 * BLOCK)]


def mann_whitney(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """P(a < b) + P(a = b)/2, and the one-sided p-value of that much or more if a and b are of one law.

    Exact where one side has 20 or fewer, with ties counted against; else by the normal approximation with
    its correction for ties.
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
