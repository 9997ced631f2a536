"""A random order of any number of samples, in memory that doesn't grow with it."""

from __future__ import annotations

import numpy as np

from ..philox import MASK, philox
from ..rng import PURPOSES, check_seed

SMALL = 2**16
"""So many are put in order by a list; more by `permuted`, which is slower and needs none."""

ROUNDS = 8


def permuted(places: np.ndarray, n: int, seed: int, epoch: int) -> np.ndarray:
    """Where a random permutation of 0 … n - 1, one for each (seed, epoch), takes these places.

    A Feistel network on the bits of a place: each round changes one half of them by a Philox number of the
    other half, which can be undone, so that it is a permutation of all that have as many bits. What is not
    below n goes through it again until it is (cycle walking; at most four times as many have these bits).

    Args:
        places: (m,), each within 0 … n - 1.
        n: 2 … 2^60.
        seed, epoch: 0 … 2^63 - 1 and 0 … 2^32 - 1.

    >>> bool((np.sort(permuted(np.arange(1000), 1000, 0, 0)) == np.arange(1000)).all())
    True
    """
    check_seed(seed)
    half = -(-int(n - 1).bit_length() // 2)
    found, todo = np.array(places, np.int64), np.arange(len(places))
    while todo.size:
        found[todo] = _mixed(found[todo], half, seed, epoch)
        todo = todo[found[todo] >= n]
    return found


def _mixed(x: np.ndarray, half: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of the numbers of 2 half bits: round r takes block `right` of number r for "order"."""
    mask, key = (1 << half) - 1, (seed & MASK, seed >> 32)
    left, right = x >> half, x & mask
    for r in range(ROUNDS):
        counter = right, epoch, np.full_like(right, r), PURPOSES["order"] << 24
        left, right = right, left ^ (philox(counter, key)[0] & mask)
    return (left << half) | right
