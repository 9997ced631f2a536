"""What is known of samples once each was looked at: their range, a digest, and which are equal."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from ..dataset import content_hashes
from ..differences import less
from ..missing import check_missing

LITTLE = 0.25
"""The share of their range below which samples fill little of it."""


class Survey:
    """Looks at samples block by block.

    Args:
        may_miss: whether any number may be missing (NaN), and none is looked at; else the same ones of all
            samples, or none,
        gaps: or some here and there.

    Attributes:
        num: how many there were.
        low, high: the least and the greatest value of each channel, (C,), in the samples' own type.
        absent: (*shape) which numbers each sample lacks, unless any may be missing.
        lost: with gaps, how many numbers are missing in all.
        gray: whether there are three channels, and they are equal everywhere.
    """

    def __init__(self, may_miss: bool = False, gaps: bool = False) -> None:
        self.may_miss, self.gaps, self.lost = may_miss, gaps, 0
        self.num, self.gray = 0, True
        self.absent: np.ndarray | None = None
        self.low = self.high = self._typical = self._distance = np.zeros(0)
        self._digest, self._hashes = hashlib.sha256(), []
        self._count = 0
        self._frequencies = np.zeros(2**16, np.int64)

    def see(self, block: np.ndarray) -> np.ndarray:
        """Look at samples (n, *shape), and return them in one piece; ValueError where one isn't finite."""
        block = np.ascontiguousarray(block)
        if block.dtype.kind == "f" and not self.may_miss:
            (self._count_missing if self.gaps else self._check_finite)(block)
        axes = (0, *range(2, block.ndim))
        lower, higher = (np.fmin, np.fmax) if self.absent is not None else (np.minimum, np.maximum)
        low, high = lower.reduce(block, axes), higher.reduce(block, axes)
        if self.num:
            low, high = lower(self.low, low), higher(self.high, high)
        self.low, self.high = low, high
        if block.dtype != np.uint8 and not self.may_miss:
            self._add_distances(np.moveaxis(block, 1, -1).reshape(-1, len(low)))
        if block.dtype == np.uint16:
            self._frequencies += np.bincount(block.ravel(), minlength=2**16)
        self.gray = self.gray and block.shape[1] == 3 and bool((block[:, :1] == block[:, 1:]).all())
        self.num += len(block)
        self._digest.update(block.data)
        self._hashes.append(content_hashes(block))
        return block

    def _check_finite(self, block: np.ndarray) -> None:
        """ValueError unless all numbers are finite, but for those that are missing (NaN) in every sample."""
        if not self.num and len(block) and np.isnan(block[0]).any():
            absent = self.absent = np.isnan(block[0])
            check_missing(absent, str(block.dtype))
        expected = np.False_ if self.absent is None else self.absent
        lost = (np.isnan(block) != expected) | np.isinf(block)
        bad = np.flatnonzero(lost.reshape(len(block), -1).any(1)).tolist()
        if not bad:
            return
        if self.absent is None or np.isinf(block[bad[0]]).any():
            place = ", ".join(map(str, np.argwhere(lost[bad[0]])[0].tolist()))
            raise ValueError(
                "the data holds values that are not finite (NaN or infinity), first in sample "
                f"{self.num + bad[0]} at ({place}); remove those samples or fill the values in; "
                "--gaps trains on what is known"
            )
        here, there = int(self.absent.sum()), int(np.isnan(block[bad[0]]).sum())
        raise ValueError(
            f"values are missing (NaN) in other places of sample {self.num + bad[0]}, {there} of them, than "
            f"of sample 0, {here}. They may be missing in the same places of every sample, as over land; "
            "what is missing in some must be filled in, or those samples removed; --gaps trains on what is "
            "known"
        )

    def _count_missing(self, block: np.ndarray) -> None:
        """Which numbers are missing (NaN); ValueError for infinity, and for samples without any number."""
        lost, n = np.isnan(block), len(block)
        flat = lost.reshape(n, -1)
        bad = np.isinf(block).reshape(n, -1).any(1) | flat.all(1)
        if bad.any():
            raise ValueError(
                f"sample {self.num + int(bad.argmax())} holds infinity, or no number at all: remove it, or "
                "fill the values in"
            )
        self.lost += int(lost.sum())
        always = np.asarray(lost.all(0))
        self.absent = always if self.absent is None else self.absent & always

    @property
    def missing(self) -> np.ndarray | None:
        """`absent`; None if no number is. ValueError if a channel has none."""
        if self.absent is None or not self.absent.any():
            return None
        check_missing(self.absent, str(self.low.dtype))
        return self.absent

    @property
    def share_of_gaps(self) -> float:
        """The share of numbers that are missing beside those that every sample lacks."""
        if self.absent is None or not self.gaps:
            return 0.0
        return self.lost / (self.num * self.absent.size) - float(self.absent.mean())

    def _add_distances(self, values: np.ndarray) -> None:
        """Add up how far values (n, C) are from a typical one, a median of the first ones."""
        if not self._count:
            self._typical, self._distance = _middle(values), np.zeros(values.shape[1])
        with np.errstate(over="ignore"):
            self._distance += np.nansum(np.abs(less(values, self._typical)), 0)
        self._count += len(values)

    def ends(
        self, known: tuple[float, float] | None, channels: slice = slice(None)
    ) -> tuple[list[float], list[float]]:
        """(low, high) of channels: `known` for all, or what each one's values reach from and to, not equal.

        ValueError if a value lies outside what is known.
        """
        least, greatest = self.low[channels], self.high[channels]
        if known is not None:
            if least.min() < known[0] or greatest.max() > known[1]:
                raise ValueError(
                    f"values reach from {least.min()} to {greatest.max()}, outside the range "
                    f"{known[0]:g} to {known[1]:g} (arrays: --clip cuts them off there)"
                )
            return [known[0]] * len(least), [known[1]] * len(least)
        low, high = least.tolist(), greatest.tolist()
        whole = self.low.dtype.kind in "iu"
        above = [a + 1 if whole else max(a + 1, math.nextafter(a, math.inf)) for a in low]
        return low, [b if b > a else next for a, b, next in zip(low, high, above, strict=True)]

    @property
    def sha256(self) -> str:
        """Of all bytes."""
        return self._digest.hexdigest()

    @property
    def hashes(self) -> np.ndarray:
        """64 bits of each sample's content, (N,)."""
        return np.concatenate(self._hashes)

    @property
    def distance(self) -> np.ndarray:
        """The mean distance of a channel's values from the median of the first ones; not known for bytes."""
        return self._distance / max(self._count, 1)

    @property
    def central(self) -> tuple[int, int] | None:
        """What all but a thousandth of 16-bit numbers lie within; None for other types."""
        if not self._frequencies.any():
            return None
        share = np.cumsum(self._frequencies) / self._frequencies.sum()
        return int(np.searchsorted(share, 0.0005, "right")), int(np.searchsorted(share, 0.9995))

    @property
    def num_equal(self) -> int:
        """How many samples are equal to one before."""
        return self.num - len(np.unique(self.hashes))


def _middle(values: np.ndarray) -> np.ndarray:
    """A median (C,) of values (n, C), one of them; NaN counts as greater than all."""
    middle = (len(values) - 1) // 2
    found = np.partition(values, middle, 0)[middle]
    if values.dtype.kind == "f" and np.isnan(found).any():  # most are missing
        known = [column[~np.isnan(column)] for column in values.T]
        found = np.array([np.median(column) if len(column) else 0.0 for column in known])
    return found
