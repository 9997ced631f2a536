"""The order of many samples is a permutation that is computed, and looks like any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabar.data import Dataset, Space
from alphabar.data.order import SMALL, permuted


@given(st.integers(2, 3000), st.integers(0, 2**63 - 1), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_it_is_a_permutation_of_any_number(n, seed, epoch):
    assert np.array_equal(np.sort(permuted(np.arange(n), n, seed, epoch)), np.arange(n))


def test_each_place_is_known_without_the_others():
    whole = permuted(np.arange(100_003), 100_003, 7, 3)
    assert np.array_equal(np.sort(whole), np.arange(100_003))
    some = np.array([99_999, 5, 0, 100_002])
    assert np.array_equal(permuted(some, 100_003, 7, 3), whole[some])
    far = permuted(np.arange(1000), 10**15, 7, 3)
    assert len(np.unique(far)) == 1000
    assert far.min() >= 0
    assert 5e14 < far.max() < 10**15


def test_orders_differ_by_seed_and_epoch_and_have_no_trend():
    n = 2**17 + 1
    orders = [permuted(np.arange(n), n, *which) for which in ((0, 0), (0, 1), (1, 0), (2**40, 0))]
    for i, a in enumerate(orders):
        assert abs(np.corrcoef(a, np.arange(n))[0, 1]) < 4 / np.sqrt(n)
        assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 4 / np.sqrt(n)
        assert np.sum(a == np.arange(n)) <= 8  # about one place stays
        for b in orders[:i]:
            assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(n)


def test_every_place_takes_each_about_as_often():
    counts = np.zeros((4, 4))
    for epoch in range(4000):
        counts[np.arange(4), permuted(np.arange(4), 4, 0, epoch)] += 1
    assert np.abs(counts - 1000).max() < 150


@pytest.fixture
def large():
    """More samples than are put in order by a list, of a number each."""
    rows = np.arange(SMALL + 500, dtype=np.float32)[:, None]
    return Dataset(rows, Space((1,), "float32", None, None), holdout=0.0)


def test_every_sample_is_seen_once_in_a_pass_over_many(large):
    n = len(large)
    seen = np.concatenate([large.batch(3, k, 1000).images[:, 0] for k in range(-(-2 * n // 1000))])[: 2 * n]
    first, second = seen[:n], seen[n:]
    assert np.array_equal(np.sort(first), np.arange(n))
    assert np.array_equal(np.sort(second), np.arange(n))
    assert not np.array_equal(first, second)


def test_no_list_of_all_is_made(large, monkeypatch):
    monkeypatch.setattr(large, "_order", None)
    assert len(np.unique(large.indices(0, 2, 500))) == 500
