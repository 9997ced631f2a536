"""The scores against closed forms, plain loops, invariances, and their errors against true spreads."""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest

from alphabar.evaluation import SCORES, scores
from alphabar.evaluation.scores import (
    classifier_two_sample,
    error_of,
    frechet_distance,
    kid,
    prdc,
    sliced_wasserstein,
)

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state
OF_FEATURES = {name: score for name, score in SCORES.items() if not score.of_columns}
ALL = [frechet_distance, kid, prdc, sliced_wasserstein, classifier_two_sample]


def normal(n, d, shift=0.0, scale=1.0):
    return RNG.standard_normal((n, d)) * scale + shift


def exact(n, mean, covariance):
    """n rows whose mean and unbiased covariance are these, to rounding."""
    z = normal(n, len(mean))
    z -= z.mean(0)
    z = z @ np.linalg.inv(np.linalg.cholesky(np.cov(z, rowvar=False))).T
    return z @ np.linalg.cholesky(covariance).T + mean


def a_covariance(d):
    factor = normal(d, d)
    return factor @ factor.T / d + 0.1 * np.eye(d)


@pytest.fixture(autouse=True)
def _same_numbers_in_every_order():
    RNG.bit_generator.state = START


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(scores, "BLOCK", 60)


# --- Fréchet -------------------------------------------------------------------------------------


def test_frechet_of_axis_parallel_gaussians_is_the_closed_form():
    means, deviations = np.array([[0, 1, 2.0], [0.5, 1, -1]]), np.array([[1, 2, 0.5], [3, 0.1, 0.5]])
    a, b = (exact(n, m, np.diag(s**2)) for n, m, s in zip((50, 70), means, deviations, strict=True))
    expected = ((means[0] - means[1]) ** 2).sum() + ((deviations[0] - deviations[1]) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "m", "d"), [(40, 60, 7), (7, 60, 20), (6, 9, 20), (60, 5, 20), (2, 2, 3)])
def test_frechet_is_the_formula_with_a_matrix_root(n, m, d):
    linalg = pytest.importorskip("scipy.linalg")
    a, b = normal(n, d) @ a_covariance(d), normal(m, d, 0.3)
    s_a, s_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = linalg.eigh(s_a)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    inner = np.sqrt(np.clip(linalg.eigvalsh(root @ s_b @ root), 0, None)).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s_a + s_b) - 2 * inner
    # A zero eigenvalue is 1e-16 there and its root 1e-8: ours has no such error.
    assert frechet_distance(a, b) == pytest.approx(expected, abs=3e-6 if min(n, m) <= d else 1e-10)
    if min(n, m) > d:
        inner = np.trace(linalg.sqrtm(s_a @ s_b)).real
        expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s_a + s_b) - 2 * inner
        assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)


def test_frechet_of_two_rows_each_is_known():
    """Rank one: S = u u^T / 2 for u the difference of the rows, tr (S_a S_b)^1/2 = |u.v| / 2."""
    a, b = normal(2, 5), normal(2, 5)
    u, v = a[0] - a[1], b[0] - b[1]
    shift = a.mean(0) - b.mean(0)
    expected = shift @ shift + (u @ u + v @ v) / 2 - abs(u @ v)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_frechet_is_biased_by_as_much_as_is_said():
    d, n, m = 6, 200, 300
    found = [frechet_distance(normal(n, d), normal(m, d)) for _ in range(150)]
    assert np.mean(found) == pytest.approx((1 / n + 1 / m) * (d + d * (d + 1) / 4), rel=0.1)


# --- KID -----------------------------------------------------------------------------------------


def plain_mmd(a, b):
    """Means over pairs, one kernel value at a time."""

    def k(x, y):
        return (sum(p * q for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3

    within = [np.mean([k(x, y) for x, y in itertools.permutations(z, 2)]) for z in (a, b)]
    return sum(within) - 2 * np.mean([k(x, y) for x in a for y in b])


def test_kid_and_its_error_are_those_of_plain_loops(small_blocks):
    a, b = normal(9, 4), normal(13, 4, 0.5)
    found = kid(a, b)
    assert found.value == pytest.approx(plain_mmd(a, b), rel=1e-12)
    variance = 0.0
    for z, without in (
        (a, [plain_mmd(np.delete(a, i, 0), b) for i in range(len(a))]),
        (b, [plain_mmd(a, np.delete(b, i, 0)) for i in range(len(b))]),
    ):
        variance += (len(z) - 1) / len(z) * ((np.array(without) - np.mean(without)) ** 2).sum()
    assert found.error == pytest.approx(math.sqrt(variance), rel=1e-10)
    assert found.interval == (found.value - 1.96 * found.error, found.value + 1.96 * found.error)


def test_kid_is_unbiased_and_its_interval_covers():
    """E k(x, y) of independent N(s, I) and N(t, I) in d dimensions, by moments of x.y, here with s = 0."""
    d, n, m, t = 2, 200, 150, 0.5
    points = np.array(
        [[p, q] for p in (-math.sqrt(3), 0, math.sqrt(3)) for q in (-math.sqrt(3), 0, math.sqrt(3))]
    )
    w = np.outer([1 / 6, 2 / 3, 1 / 6], [1 / 6, 2 / 3, 1 / 6]).ravel()  # exact to degree 5; the kernel's is 3

    def mean(shift_x, shift_y):
        return w @ ((points + shift_x) @ (points + shift_y).T / d + 1) ** 3 @ w

    for shift, low, high in ((t, 0.88, 0.97), (0.0, 0.92, 1)):
        truth = mean(0, 0) + mean(shift, shift) - 2 * mean(0, shift)
        found = [kid(normal(n, d), normal(m, d, shift)) for _ in range(300)]
        values, errors = np.array([f.value for f in found]), np.array([f.error for f in found])
        assert abs(values.mean() - truth) < 4 * values.std() / math.sqrt(len(values))
        covered = np.mean([f.interval[0] <= truth <= f.interval[1] for f in found])
        assert low <= covered <= high
        ratio = math.sqrt((errors**2).mean()) / values.std()
        assert 0.85 < ratio < 1.3 if shift else 1.2 < ratio < 1.7


# --- neighbors ----------------------------------------------------------------------------------


def plain_prdc(a, b, k=3, k_density=5):
    def ball(z, i, k):
        return sorted(((z[i] - z[j]) ** 2).sum() for j in range(len(z)) if j != i)[k - 1]

    def within(x, z, radii):
        return [((x - y) ** 2).sum() <= r for y, r in zip(z, radii, strict=True)]

    r_a = [ball(a, i, k) for i in range(len(a))]
    r_b = [ball(b, i, k) for i in range(len(b))]
    wide = [ball(b, i, k_density) for i in range(len(b))]
    inside = np.array([within(x, b, wide) for x in a])
    return (
        np.mean([any(within(x, b, r_b)) for x in a]),
        np.mean([any(within(y, a, r_a)) for y in b]),
        inside.sum() / (k_density * len(a)),
        inside.any(0).mean(),
    )


@pytest.mark.parametrize("k", [{}, {"k": 1, "k_density": 2}, {"k": 6, "k_density": 4}])
def test_neighbors_are_those_of_plain_loops(small_blocks, k):
    a, b = normal(31, 3, 0.7), normal(43, 3)
    assert prdc(a, b, **k) == pytest.approx(plain_prdc(a, b, **k), rel=1e-12)


def test_ties_and_duplicates_are_those_of_exact_arithmetic(small_blocks):
    """Whole numbers: plain distances are exact, and the balls' edges full of rows."""
    for offset in (0, 1000):
        a, b = (RNG.integers(0, 4, (n, 3)) + offset for n in (40, 50))
        assert len(np.unique(b, axis=0)) < len(b)
        assert prdc(a / 8, b / 8) == pytest.approx(plain_prdc(a, b), rel=1e-12)


def test_a_row_is_not_its_own_neighbor_and_its_duplicates_are():
    places = np.arange(6.0)[:, None] * 10
    twice = np.repeat(places, 2, axis=0)
    beside = places + 0.1
    assert prdc(beside, twice, k=1, k_density=1) == (0, 1, 0, 0)  # radius 0: the other of the pair
    assert prdc(beside, places, k=1, k_density=1).precision == 1  # radius 10: the next place
    assert prdc(twice + 0.1, twice, k=2, k_density=2)[:2] == (1, 1)


@pytest.mark.parametrize(("n", "d"), [(80, 3), (30, 100)])
@pytest.mark.parametrize("copies", [1, 7])  # with 7 all radii are 0
def test_a_set_and_itself(n, d, copies):
    a = np.repeat(normal(n, d, 50), copies, axis=0)
    assert frechet_distance(a, RNG.permutation(a)) < 1e-8
    found = prdc(a, RNG.permutation(a))
    assert found.precision == found.recall == found.coverage == 1
    assert found.density >= 1
    assert sliced_wasserstein(a, RNG.permutation(a), 8) == 0


def test_density_and_coverage_of_one_law_are_as_said():
    found = np.mean([prdc(normal(200, 3), normal(200, 3)) for _ in range(30)], axis=0)
    assert found[2] == pytest.approx(1, abs=0.03)
    assert found[3] == pytest.approx(1 - 2**-5, abs=0.02)


# --- sliced Wasserstein --------------------------------------------------------------------------


def test_wasserstein_of_shifted_and_scaled_gaussians():
    quantiles = np.array([NormalDist().inv_cdf((i + 0.5) / 5000) for i in range(5000)])[:, None]
    for shift, scale in ((0.7, 1), (0, 2.5), (-0.3, 0.4)):
        expected = math.hypot(shift, scale - 1)
        assert sliced_wasserstein(quantiles, shift + scale * quantiles[::-1], 1) == pytest.approx(
            expected, rel=1e-3
        )


@pytest.mark.parametrize(("n", "m"), [(12, 12), (12, 8), (5, 7), (20, 3)])
def test_wasserstein_of_any_two_numbers_of_rows_is_that_of_their_copies(n, m):
    optimize = pytest.importorskip("scipy.optimize")
    a, b = normal(n, 1), normal(m, 1, 0.5, 2)
    both = math.lcm(n, m)
    cost = (np.repeat(a, both // n, axis=0) - np.repeat(b, both // m, axis=0).T) ** 2
    expected = math.sqrt(cost[optimize.linear_sum_assignment(cost)].mean())
    assert sliced_wasserstein(a, b, 1) == pytest.approx(expected, rel=1e-12)
    assert sliced_wasserstein(a, b, 50) == pytest.approx(expected, rel=1e-12)  # all directions are +-1


def test_a_shift_is_seen_through_the_dimensions_and_the_seed():
    d, a = 8, normal(50, 8)
    shift = normal(1, d)
    found = [sliced_wasserstein(a, a + shift, 2000, seed) for seed in (0, 1)]
    assert found == pytest.approx([np.linalg.norm(shift) / math.sqrt(d)] * 2, rel=0.05)
    assert found[0] != found[1]
    assert found[0] == sliced_wasserstein(a, a + shift, 2000)


# --- classifier ----------------------------------------------------------------------------------


def test_the_classifier_reaches_the_best_accuracy_of_shifted_gaussians():
    for distance in (0.5, 1, 2, 4):
        found = classifier_two_sample(normal(3000, 4, distance / 2), normal(4000, 4))
        assert found.value == pytest.approx(NormalDist().cdf(distance / 2), abs=4 * found.error)
        assert found.error == pytest.approx(math.sqrt(found.value * (1 - found.value) / 3000))
        assert found.p_value < 1e-6


def test_the_classifiers_p_values_are_calibrated_and_its_error_true():
    for n, d, folds in ((50, 2, 5), (40, 60, 5), (60, 5, 2)):
        found = [classifier_two_sample(normal(n, d), normal(n + 5, d), i, folds) for i in range(200)]
        accuracies, p = np.array([f.value for f in found]), np.array([f.p_value for f in found])
        assert abs(accuracies.mean() - 0.5) < 4 * accuracies.std() / math.sqrt(len(p))
        assert (p < 0.2).mean() > 0.05  # and not so cautious as to be of no use
        for level in (0.05, 0.2):
            slack = 3 * math.sqrt(level * (1 - level) / len(p))
            assert (p < level).mean() < level + slack
        assert 0.9 < np.mean([f.error for f in found]) / accuracies.std() < 1.5


def test_the_classifier_settles_where_newtons_method_does():
    x, y = np.column_stack([normal(200, 5), np.ones(200)]), RNG.random(200) < 0.5
    x[y] += 0.4
    held = np.arange(200) >= 150
    w, train, target = np.zeros(6), x[:150], y[:150]
    for _ in range(20):
        p = 1 / (1 + np.exp(-train @ w))
        hessian = train.T @ (train * (p * (1 - p))[:, None]) + 5 * np.eye(6)
        w += np.linalg.solve(hessian, train.T @ (target - p) - 5 * w)
    assert scores._held_out_logits(x, y, held, x.T @ x) == pytest.approx(x[held] @ w, abs=1e-3)


def test_what_the_classifier_says_of_the_easy_the_constant_and_the_wild():
    assert classifier_two_sample(normal(50, 3, 50), normal(50, 3)).value == 1
    same = classifier_two_sample(np.ones((20, 3)), np.ones((30, 3)))
    assert (same.value, same.p_value) == (0.5, 0.5)
    heavy = [RNG.standard_cauchy((300, 5)) for _ in range(2)]
    assert classifier_two_sample(*heavy).p_value > 1e-3
    assert classifier_two_sample(normal(2000, 3, 0, 3), normal(2000, 3)).p_value > 1e-3  # blind: equal means
    assert classifier_two_sample(heavy[0], heavy[0].copy()).value <= 0.55  # copies


# --- errors of any score -------------------------------------------------------------------------


def test_the_error_of_a_mean_is_the_closed_form():
    a, b = normal(400, 1), normal(101, 1, 0, 2)
    found = error_of(lambda x, y: x.mean() - y.mean(), a, b, draws=400)
    expected = math.sqrt(a.var(ddof=1) / 400 + b.var(ddof=1) / 101)
    assert found == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(
    ("score", "n", "d", "shift", "low", "high"),
    [
        (frechet_distance, 200, 4, 0.4, 0.7, 1.4),
        (frechet_distance, 200, 4, 0.0, 1.0, 1.8),  # one law: up to sqrt(2) too large, as is said
        (frechet_distance, 60, 30, 0.3, 0.8, 1.5),
        (frechet_distance, 30, 50, 0.0, 0.8, 1.6),  # fewer rows than features
        (lambda a, b: sliced_wasserstein(a, b, 16), 100, 4, 0.4, 0.7, 1.4),
        (prdc, 60, 2, 0.4, 0.6, 1.6),
    ],
)
def test_the_error_is_the_true_spread(score, n, d, shift, low, high):
    true = np.std([score(normal(n, d, shift), normal(n, d)) for _ in range(300)], axis=0, ddof=1)
    found = [error_of(score, normal(n, d, shift), normal(n, d), 5, seed) for seed in range(60)]
    ratio = np.sqrt(np.mean(np.square(found), axis=0)) / true
    assert np.all((low < ratio) & (ratio < high)), ratio


def test_the_error_repeats_by_its_seed_and_halves_never_overlap():
    a, b = np.arange(21.0)[:, None], np.arange(30.0, 40)[:, None]
    seen = []
    errors = [error_of(lambda x, y: seen.append((x, y)) or x.sum(), a, b, 2, seed) for seed in (0, 0, 1)]
    assert errors[0] == errors[1] != errors[2]
    for (x_1, y_1), (x_2, y_2) in zip(seen[::2], seen[1::2], strict=True):
        assert len(x_1) == len(x_2) == 10
        assert len(np.unique([x_1, x_2])) == 20
        assert np.array_equal(np.sort(np.concatenate([y_1, y_2]), 0), b)


# --- all of them ---------------------------------------------------------------------------------


def test_the_order_of_rows_blocks_and_dtypes_do_not_matter(monkeypatch):
    a, b = normal(40, 3), normal(30, 3, 0.5)
    before = a.copy()
    first = [score(a, b) for score in OF_FEATURES.values() if score.function is not classifier_two_sample]
    monkeypatch.setattr(scores, "BLOCK", 1)
    for x, y in ((RNG.permutation(a), RNG.permutation(b)), (a.tolist(), b), (np.asfortranarray(a), b)):
        again = [score(x, y) for score in OF_FEATURES.values() if score.function is not classifier_two_sample]
        assert again == pytest.approx(first, rel=1e-9)
    assert np.array_equal(a, before)
    whole = RNG.integers(0, 256, (2, 20, 3), np.uint8)
    for score in ALL:  # no arithmetic in bytes
        assert score(*whole) == score(*whole.astype(np.float64))


def test_rotations_and_shifts_of_both_do_not_matter_where_they_should_not():
    a, b = normal(40, 5), normal(30, 5, 0.5)
    rotation = np.linalg.qr(normal(5, 5))[0]
    for score in (frechet_distance, lambda a, b: kid(a, b).value, prdc):
        assert score(a @ rotation, b @ rotation) == pytest.approx(score(a, b), rel=1e-9)
    for score in (frechet_distance, prdc, sliced_wasserstein, lambda a, b: classifier_two_sample(a, b).value):
        assert score(a + 100, b + 100) == pytest.approx(score(a, b), rel=1e-6)
    assert classifier_two_sample(a * [1, 9, 1e4, 1e-6, 1], b * [1, 9, 1e4, 1e-6, 1]).value == pytest.approx(
        classifier_two_sample(a, b).value
    )


def test_the_table_prefers_what_is_nearer():
    data = normal(200, 3)
    near, far = normal(200, 3, 0.1), normal(200, 3, 1.5)
    for name, score in OF_FEATURES.items():
        values = score(near, data), score(far, data)
        assert (values[0] < values[1]) == (score.better == "lower"), name
        assert score.better in ("lower", "higher")
        assert score.says[-1] in ".?"
        assert score.least >= 100
        assert score.of(score.function(near, data)) == values[0]
        assert type(values[0]) is float
        assert float(error_of(score, near, data, 1)) >= 0


@pytest.mark.parametrize("score", [*ALL, lambda a, b: error_of(frechet_distance, a, b)])
def test_what_is_wrong_is_said(score):
    good = normal(20, 3)
    for bad, says in (
        (np.zeros((20, 1, 3)), r"a must be real numbers of shape \(rows, features\), got float64 of shape"),
        (np.zeros(20), "reshape"),
        (np.zeros((20, 0)), r"\(20, 0\)"),
        (np.zeros((20, 3), complex), "complex128"),
        ([["a", "b"]] * 20, "real numbers"),
        (np.zeros((1, 3)), "a has 1 rows, and this needs .* or more"),
        (np.zeros((0, 3)), "a has 0 rows"),
        (np.where(np.arange(20)[:, None] < 3, np.nan, good), "a has nan or inf in 3 of 20 rows"),
        (np.full((20, 3), np.inf), "20 of 20"),
        (np.zeros((20, 4)), "the same features, got 4 and 3 a row"),
    ):
        with pytest.raises(ValueError, match=says):
            score(bad, good)
    with pytest.raises(ValueError, match="b has 1 rows"):
        score(good, good[:1])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda a: prdc(a, a, k=0), "k must be a whole number of at least 1, got 0"),
        (lambda a: prdc(a, a, k_density=2.0), "k_density must be a whole number"),
        (lambda a: prdc(a, a, k=20), "a has 20 rows, and this needs 21 or more"),
        (lambda a: kid(a[:2], a), "needs 3 or more"),
        (lambda a: sliced_wasserstein(a, a, projections=0), "projections must be"),
        (lambda a: sliced_wasserstein(a, a, seed=-1), "seed must be"),
        (lambda a: classifier_two_sample(a, a, folds=1), "folds must be a whole number of at least 2, got 1"),
        (lambda a: classifier_two_sample(a, a[:4]), "b has 4 rows, and this needs 5 or more"),
        (lambda a: error_of(frechet_distance, a, a, draws=True), "draws must be"),
        (lambda a: error_of(frechet_distance, a[:3], a), "needs 4 or more"),
    ],
)
def test_numbers_that_cannot_be_are_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call(normal(20, 3))
