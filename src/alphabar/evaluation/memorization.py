"""Does the model repeat its training samples? Tests that need no threshold of similarity."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..data import spread
from .baselines import AT_ONCE
from .laws import hits_p, least_share, mann_whitney, share_p

NEIGHBORS = 10
SURE, PLAIN = 1e-3, 0.75
MOST_HELD_OUT = 5000
LEAST_COPIES = 0.005  # more than this share beyond what is expected


@dataclass(frozen=True)
class Closest:
    """Distances to the closest record (DCR), as privacy reports of tables have them.

    Attributes:
        distance: the median of samples' distances to the nearest training sample.
        usual: that of held-out samples.
        nearer: the share of samples that are nearer to one of `rows` training samples than to one of as many
            held-out ones, ties half: about 1/2 if nothing is memorized.
        rows: the lesser of both numbers.
    """

    distance: float
    usual: float
    nearer: float
    rows: int


@dataclass(frozen=True, eq=False)
class Memorization:
    """What `check_memorization` found in one space.

    The null hypothesis is that the model's samples and the held-out ones are draws of one law.

    Attributes:
        space: pixels, or the features' name.
        n, held_out, training: how many samples of each kind were compared.
        closeness: for each sample, its distance to the nearest training sample over its mean distance
            to the next ten. Near 0 for a copy; about 1 where no training sample stands out.
        usual: the same for the held-out samples.
        likelihood_closer: the probability that a sample is closer, in this sense, than a held-out one;
            1/2 under the null hypothesis (ties count half).
        p: the probability of at least this much under it (Mann-Whitney, one-sided).
        copies: the share of samples closer than every held-out one.
        copies_expected: its mean under the null hypothesis, 1 / (held_out + 1).
        copies_p: the probability of at least this share under it.
        equal: the share of samples equal to a training sample in every number.
        equal_expected: the share of training samples that are equal to another one.
        equal_p: the probability of at least this share if samples are equal to others as seldom as those.
        nearest: for each sample, the index of the nearest training sample.
        closest: of tables, distances to the closest record.
        trivial: of tables, those of samples that need no network.
        memorizes: p < 0.001 and likelihood_closer > 0.75, or one of the shares exceeds its expectation by
            more than 0.005, with a probability below 0.001.
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
    copies_expected: float
    copies_p: float
    equal: float
    equal_expected: float
    equal_p: float
    nearest: np.ndarray
    closest: Closest | None = None
    trivial: Closest | None = None

    @property
    def reasons(self) -> list[str]:
        """The evidence for copying, in words; empty if there is none."""
        found = []
        if stands_out(self.equal, self.equal_expected, self.equal_p):
            found.append(
                f"{self.equal:.1%} of the samples equal a training sample in every number "
                f"({self.equal_expected:.1%} expected, p = {self.equal_p:.1g})"
            )
        if stands_out(self.copies, self.copies_expected, self.copies_p):
            found.append(
                f"{self.copies:.1%} are closer to one than every one of {self.held_out:,} held-out samples "
                f"is ({self.copies_expected:.1%} expected, p = {self.copies_p:.1g})"
            )
        if self.p < SURE and self.likelihood_closer > PLAIN:
            found.append(
                "a sample is closer to one than a held-out sample is with probability "
                f"{self.likelihood_closer:.2f} (p = {self.p:.1g})"
            )
        return found

    @property
    def memorizes(self) -> bool:
        """Whether the model clearly repeats training samples."""
        return bool(self.reasons)

    @property
    def verdict(self) -> str:
        """One line for a person."""
        if self.memorizes:
            return "it repeats training samples: " + "; ".join(self.reasons)
        exact, near = self.noticed
        return (
            f"no sign: {round(self.equal * self.n)} of {self.n} samples equal a training sample, "
            f"{round(self.copies * self.n)} are closer to one than every one of {self.held_out:,} "
            f"held-out samples is ({self.copies_expected:.1%} expected, p = {self.copies_p:.2g}), and one is "
            f"closer than a held-out one with probability {self.likelihood_closer:.2f} (p = {self.p:.2g}); "
            f"copies would be noticed from {exact:.1%} on, near copies from {near:.1%}"
        )

    @cached_property
    def noticed(self) -> tuple[float, float]:
        """The least share of copies, and of near copies, that the tests notice 19 times out of 20.

        A copy equals a training sample in every number. A near one is closer to it than every held-out sample
        is to any; where training samples have doubles, both are held against the share of these.
        """
        doubles, pairs = self.equal_expected, self.training // 2
        others = -(-round(doubles * self.training) // 2)

        def is_copy(k: int) -> bool:
            return stands_out(k / self.n, doubles, hits_p(self.n, pairs, k, others))

        def is_near(k: int) -> bool:
            return stands_out(k / self.n, self.copies_expected, share_p(self.n, self.held_out, k))

        return least_share(self.n, is_copy), least_share(self.n, is_near)

    def pairs(self, most: int = 12) -> list[tuple[int, int]]:
        """(sample, training sample) of the pairs that stand out most, to look at."""
        order = np.argsort(self.closeness, kind="stable")[:most]
        return [(int(i), int(self.nearest[i])) for i in order]

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without the entries for each sample."""
        facts = asdict(self)
        for name in ("closeness", "usual", "nearest"):
            del facts[name]
        return facts | {
            "median_closeness": float(np.median(self.closeness)),
            "median_usual": float(np.median(self.usual)),
            "memorizes": self.memorizes,
            "noticed": dict(zip(("copies", "near_copies"), self.noticed, strict=True)),
            "verdict": self.verdict,
        }


def stands_out(share: float, expected: float, p: float) -> bool:
    """Whether a share is beyond what is expected, and not by chance."""
    return p < SURE and share > expected + LEAST_COPIES


def check_memorization(
    samples: np.ndarray, training: np.ndarray, held_out: np.ndarray, space: str
) -> Memorization:
    """Compare how near samples come to the training samples with how near held-out samples come.

    Each argument is (n, d). A held-out sample is what an honest model's sample would be: fresh, and from the
    same source. For an honest model the two sets of closeness are therefore draws of one law, whatever the
    space, their number and the doubles among them; a model that repeats what it saw gives smaller values.
    Closeness is a ratio, so that samples that are near to everything, because they are blurred or too much
    alike, don't count.

    There are three tests: of the two laws as a whole (Mann-Whitney), which notices a tendency of most
    samples; of the share that is closer than every held-out sample (`share_p`), which notices a part that are
    copies; and of the share that equals a training sample in every number, compared with the share of
    training samples that have a double. The last notices a few copies even where few samples are held out,
    but exact ones only. Where training samples have doubles, equal samples count in the last test alone,
    because a held-out sample of a `Dataset` never equals a training sample.

    ValueError with fewer than 2 held-out samples, or fewer than 12 training samples.
    """
    if len(held_out) < 2:
        raise ValueError(
            f"telling memorization from chance takes 2 held-out samples or more, got {len(held_out)}"
        )
    if len(training) < NEIGHBORS + 2:
        raise ValueError(f"the test needs {NEIGHBORS + 2} training samples or more, got {len(training)}")
    closeness, nearest = close(samples, training)
    usual, _ = close(held_out, training)
    equal, doubles = find_equal(samples, training)
    n, m = len(samples), len(held_out)
    counted = closeness[~equal] if doubles else closeness
    auc, p = mann_whitney(counted, usual) if len(counted) else (1.0, 1.0)
    return Memorization(
        space=space,
        n=n,
        held_out=m,
        training=len(training),
        closeness=closeness,
        usual=usual,
        likelihood_closer=auc,
        p=p,
        copies=float((closeness < usual.min()).mean()),
        copies_expected=1 / (m + 1) + doubles / len(training),
        copies_p=share_p(len(counted), m, int((counted < usual.min()).sum())),
        equal=float(equal.mean()),
        equal_expected=doubles / len(training),
        # doubles come in pairs: only half of them are independent
        equal_p=hits_p(n, len(training) // 2, int(equal.sum()), -(-doubles // 2)),
        nearest=nearest,
    )


def closest_record(samples: np.ndarray, training: np.ndarray, held_out: np.ndarray) -> Closest:
    """How near samples (n, d) come to training samples, and whether nearer than to held-out ones."""
    rows = min(len(training), len(held_out))
    alike = (kind[spread(np.arange(len(kind)), rows)] for kind in (training, held_out))
    own, other = (nearest_of(samples, kind, 1)[0][:, 0] for kind in alike)
    medians = (float(np.median(nearest_of(x, training, 1)[0])) for x in (samples, held_out))
    return Closest(*medians, nearer=float(((own < other) + (own == other) / 2).mean()), rows=rows)


def find_equal(samples: np.ndarray, training: np.ndarray) -> tuple[np.ndarray, int]:
    """(which samples equal a training sample in every number, how many training samples equal another)."""
    dtype = np.result_type(samples, training)

    def key(row: np.ndarray) -> bytes:  # a digest, so that no second copy of all is kept
        return hashlib.sha256((row.astype(dtype) + 0).tobytes()).digest()  # + 0: -0 is 0

    known = Counter(key(row) for row in training)
    return np.array([key(row) in known for row in samples]), sum(c for c in known.values() if c > 1)


def close(queries: np.ndarray, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(distance to the nearest over the mean distance to the next ten, index of the nearest)."""
    exact, first = nearest_of(queries, pictures, NEIGHBORS + 1)
    rest = exact[:, 1:].mean(1)
    ratio = np.where(rest > 0, exact[:, 0] / np.where(rest > 0, rest, 1), 1.0)
    return ratio, first[:, 0]


def nearest_of(queries: np.ndarray, pictures: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(distances, indices), each (n, k): the nearest k of pictures, in their order; memory is bounded."""
    count, d = pictures.shape
    first = np.empty((len(queries), k), np.int64)
    norms = np.concatenate([np.square(part, dtype=np.float64).sum(1) for part in parts(pictures, d)])
    place = 0
    for block in parts(queries, max(count, d)):
        x = block.astype(np.float64)
        products = np.concatenate([x @ part.T.astype(np.float64) for part in parts(pictures, d)], 1)
        products *= -2
        products += norms  # squared distances but for |x|^2, which changes no order
        first[place : place + len(x)] = np.argpartition(products, k - 1, 1)[:, :k]
        place += len(x)
    # the distances to those few again, without the cancellation above
    exact = np.concatenate([
        np.sqrt(np.square(x[:, None].astype(np.float64) - pictures[near]).sum(2))
        for x, near in zip(parts(queries, k * d), parts(first, k * d), strict=True)
    ])  # fmt: skip
    order = np.argsort(exact, 1)
    return np.take_along_axis(exact, order, 1), np.take_along_axis(first, order, 1)


def parts(rows: np.ndarray, numbers: int) -> list[np.ndarray]:
    """The rows in blocks of at most AT_ONCE numbers, if each row takes this many."""
    size = max(1, AT_ONCE // numbers)
    return [rows[i : i + size] for i in range(0, len(rows), size)]
