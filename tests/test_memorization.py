"""Copies are found, and honest models are left alone: power and calibration by simulation."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest

from alphabar.data import Dataset, Space
from alphabar.evaluation import memorization as memorization_module
from alphabar.evaluation.laws import exact_p, hits_p, mann_whitney, share_p
from alphabar.evaluation.memorization import check_memorization, close, find_equal
from alphabar.evaluation.scorecard import memorization_by

RNG = np.random.default_rng


def test_mann_whitney_is_the_count_of_pairs():
    rng = RNG(0)
    a, b = rng.integers(0, 6, 40).astype(float), rng.integers(1, 7, 23).astype(float)
    pairs = (a[:, None] < b).mean() + 0.5 * (a[:, None] == b).mean()
    auc, p = mann_whitney(a, b)
    assert auc == pytest.approx(pairs)
    stats = pytest.importorskip("scipy.stats")
    exact = stats.mannwhitneyu(a, b, alternative="less", method="asymptotic", use_continuity=False)
    assert p == pytest.approx(exact.pvalue)


def test_closeness_is_the_nearest_over_the_mean_of_the_ten_next():
    rng = RNG(1)
    queries, pictures = rng.standard_normal((7, 3)), rng.standard_normal((50, 3))
    pictures[1] = pictures[0]
    queries[0] = pictures[0] + 1e-9
    ratio, nearest = close(queries, pictures)
    for i, query in enumerate(queries):
        distances = np.sort(np.linalg.norm(pictures - query, axis=1))
        assert ratio[i] == pytest.approx(distances[0] / distances[1:11].mean(), rel=1e-6)
        assert np.linalg.norm(pictures[nearest[i]] - query) == pytest.approx(distances[0], abs=1e-12)


def test_closeness_is_the_same_in_blocks_of_any_size(monkeypatch):
    rng = RNG(4)
    queries, pictures = rng.standard_normal((37, 6)), rng.standard_normal((53, 6))
    ratio, nearest = close(queries, pictures)
    for numbers in (1, 200, 1000):
        monkeypatch.setattr(memorization_module, "AT_ONCE", numbers)
        found = close(queries, pictures)
        np.testing.assert_allclose(found[0], ratio, rtol=1e-12)
        np.testing.assert_array_equal(found[1], nearest)


def test_large_samples_are_compared_in_little_memory(monkeypatch):
    """Blocks count numbers, not rows."""
    monkeypatch.setattr(memorization_module, "AT_ONCE", 2**18)
    rng = RNG(5)
    samples, training, held_out = (rng.random((n, 20_000), np.float32) for n in (40, 60, 20))
    tracemalloc.start()
    try:
        check_memorization(samples, training, held_out, "toy")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * 8 * 2**18  # six arrays of that many float64


def test_the_test_for_copies_is_calibrated():
    """Of models that draw as the data do, one in twenty has p < 0.05, and none is called a copier."""
    ps = []
    for seed in range(150):
        rng = RNG(seed)
        found = check_memorization(*(rng.standard_normal((n, 6)) for n in (60, 150, 20)), "toy")
        ps.append(found.p)
        assert not found.memorizes
    assert 0.01 <= np.mean(np.array(ps) < 0.05) <= 0.11
    assert 0.35 < np.mean(np.array(ps) < 0.5) < 0.65


def test_copies_are_found_among_others_and_blur_is_not_taken_for_them():
    rng = RNG(2)
    training, held_out = rng.standard_normal((100, 16)), rng.standard_normal((10, 16))
    copies = training[rng.integers(0, 100, 80)] + 0.05 * rng.standard_normal((80, 16))
    found = check_memorization(copies, training, held_out, "toy")
    assert found.memorizes
    assert found.copies == 1
    assert all(np.linalg.norm(copies[i] - training[j]) < 0.5 for i, j in found.pairs())
    blurred = 0.3 * rng.standard_normal((80, 16))
    assert not check_memorization(blurred, training, held_out, "toy").memorizes
    with pytest.raises(ValueError, match="2 held-out samples or more, got 1"):
        check_memorization(copies, training, held_out[:1], "toy")
    with pytest.raises(ValueError, match="12 training samples or more, got 5"):
        check_memorization(copies, training[:5], held_out, "toy")


@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 3), (3, 5), (7, 7), (9, 2)])
def test_the_exact_law_of_mann_whitney_counts_every_order(n, m):
    orders = [
        sum(i < j for j in b for i in set(range(n + m)) - set(b))
        for b in itertools.combinations(range(n + m), m)
    ]
    for u in range(n * m + 1):
        assert exact_p(n, m, u) == pytest.approx(np.mean(np.array(orders) >= u))


def test_copies_are_told_with_few_held_out_pictures():
    rng = RNG(0)
    training, held_out = rng.standard_normal((60, 16)), rng.standard_normal((3, 16))
    near = np.resize(training, (1000, 16)) + 0.01 * rng.standard_normal((1000, 16))
    found = check_memorization(near, training, held_out, "toy")
    assert found.memorizes
    assert found.p == pytest.approx(1 / math.comb(1003, 3))
    copies = check_memorization(np.resize(training, (1000, 16)), training, held_out, "toy")
    assert copies.p == pytest.approx(1 / math.comb(1003, 3))
    doubled = np.concatenate([held_out, held_out[:1]])
    assert check_memorization(held_out, training, doubled, "toy").p > 0.3  # ties count against


@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 3), (3, 5), (9, 2)])
def test_the_law_of_the_share_that_is_closest_counts_every_order(n, m):
    """P(the k least of n + m are all among the n)."""
    firsts = [min(b) for b in itertools.combinations(range(n + m), m)]
    for k in range(n + 1):
        assert share_p(n, m, k) == pytest.approx(np.mean(np.array(firsts) >= k))


@pytest.mark.parametrize(("n", "m", "hits"), [(3, 4, 2), (5, 2, 3), (4, 6, 0), (2, 2, 4)])
def test_the_law_of_hits_counts_every_way_to_share_them(n, m, hits):
    among = [sum(i < n for i in where) for where in itertools.combinations(range(n + m), hits)]
    for k in range(max(0, hits - m), min(n, hits) + 1):
        assert hits_p(n, m, k, hits - k) == pytest.approx(np.mean(np.array(among) >= k))


def test_equal_rows_are_found_whatever_their_type_and_the_sign_of_zero():
    training = np.array([[0.0, 1], [2, 3], [2, 3], [4, 5], [2, 3], [0.1, 0]])
    samples = np.array([[-0.0, 1], [2, 3], [9, 9], [3, 2]], np.float32)
    equal, doubles = find_equal(samples, training)
    assert equal.tolist() == [True, True, False, False]
    assert doubles == 3


def grains(rng, n):
    """Pictures of few gray levels: three shapes, and grain."""
    shapes = np.kron(np.eye(3), np.ones((1, 8)))
    return np.rint(40 * shapes[rng.integers(0, 3, n)] + 6 * rng.standard_normal((n, 24))) / 40


@pytest.mark.parametrize(
    ("share", "exact", "least"),
    [
        (0.01, True, 1),
        (0.05, True, 1),
        (0.1, True, 1),
        (0.4, True, 1),
        (0.05, False, 0.9),
        (0.1, False, 1),
        (0.4, False, 1),
    ],
)
def test_a_few_copies_among_honest_samples_are_found(share, exact, least):
    """1, 5, 10 and 40 % of 400 samples are training samples, to the number or with a little noise."""
    found = []
    for seed in range(12):
        rng = RNG(seed)
        training, held_out, samples = (grains(rng, n) for n in (4750, 250, 400))
        chosen = rng.choice(400, round(400 * share), replace=False)
        samples[chosen] = training[rng.integers(0, 4750, len(chosen))]
        if not exact:
            samples[chosen] += 0.002 * rng.standard_normal((len(chosen), 24))
        found.append(check_memorization(samples, training, held_out, "toy"))
    assert np.mean([m.memorizes for m in found]) >= least
    assert np.mean([m.copies for m in found]) >= 0.9 * share
    if exact:
        assert np.mean([m.equal for m in found]) == pytest.approx(share)
        assert all("in every number" in m.verdict for m in found if m.equal_p < 1e-3 and m.equal > 0.005)


@pytest.mark.parametrize("near", [False, True])
def test_what_no_sign_would_have_noticed_is_noticed_19_times_of_20(near):
    """Samples are copies with the probability that the verdict names, or with a third of it."""

    def seen(share, seed):
        rng = RNG(seed)
        training, held_out, samples = (grains(rng, n) for n in (600, 60, 200))
        copied = rng.random(200) < share
        samples[copied] = training[rng.integers(0, 600, copied.sum())] + near * 0.002
        return check_memorization(samples, training, held_out, "toy")

    honest = seen(0.0, 0)
    assert not honest.memorizes
    share = honest.noticed[near]
    assert 0 < share < 0.4
    assert f"copies would be noticed from {honest.noticed[0]:.1%} on" in honest.verdict
    assert np.mean([seen(share, seed).memorizes for seed in range(60)]) > 0.87
    assert np.mean([seen(share / 3, seed).memorizes for seed in range(60)]) < 0.6


def test_samples_half_of_which_are_copies_are_an_alarm_and_the_share_is_told():
    rng = RNG(0)
    training, held_out, samples = (grains(rng, n) for n in (1900, 100, 400))
    samples[:220] = training[:220]
    found = check_memorization(samples, training, held_out, "toy")
    assert found.memorizes
    assert found.verdict.startswith(
        "it repeats training samples: 55.0% of the samples equal a training sample in every number (0.0% "
    )
    assert "are closer to one than every one of 100 held-out samples is (1.0% expected" in found.verdict
    facts = found.to_dict()
    assert facts["memorizes"] is True
    assert facts["equal"] == pytest.approx(0.55)
    assert facts["verdict"] == found.verdict


def few_values(rng, n):
    return rng.integers(0, 3, (n, 6)).astype(float)  # 729 in all: most have doubles


def smooth(rng, n):
    return rng.standard_normal((n, 2)) @ RNG(9).standard_normal((2, 30))


@pytest.mark.parametrize("draw", [grains, few_values, smooth])
def test_honest_models_are_not_called_copiers_even_where_data_have_doubles(draw):
    """Of 60 models that draw as the data do, and data of which some are equal; held-out ones never are."""
    alarms, ps = 0, []
    for seed in range(60):
        rng = RNG(seed)
        whole, samples = draw(rng, 1000), draw(rng, 300)
        data = Dataset(whole, Space(whole.shape[1:], "float64", None, None), holdout=0.1)
        found = check_memorization(samples, whole[data.training], whole[data.held_out], "toy")
        alarms += found.memorizes
        ps.append([found.p, found.copies_p, found.equal_p])
    assert alarms == 0
    assert np.all(np.mean(np.array(ps) < 0.05, 0) <= 0.15)


def test_samples_are_compared_in_pixels():
    images = RNG(0).integers(0, 256, (60, 1, 4, 4)).astype(np.uint8)
    data = Dataset(images, Space((1, 4, 4)), holdout=0.2)
    (found,) = memorization_by(images[data.training], data)
    assert found.space == "pixels"
    assert found.equal == 1
    assert found.pairs(3) == [(0, 0), (1, 1), (2, 2)]
