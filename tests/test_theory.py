"""The tables equal the paper's formulas, for all t."""

from __future__ import annotations

import math
import warnings
from typing import Annotated

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from alphabar.errors import describe, row_help
from alphabar.theory import gaussian, losses
from alphabar.theory import schedule as schedule_module
from alphabar.theory.parametrization import PREDICTIONS, coefficients, target_coefficients
from alphabar.theory.schedule import Schedule

SCHEDULES = {
    "linear": Schedule.linear(1000),
    "cosine": Schedule.cosine(1000),
    "sigmoid": Schedule.sigmoid(1000),
    "linear, T = 50": Schedule.linear(50),
    "given betas": Schedule.from_betas(np.linspace(0.001, 0.3, 37)),
}
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())


# --- schedules -----------------------------------------------------------------------------------


def test_linear_and_cosine_equal_the_papers_for_all_t():
    for schedule, betas in [
        (Schedule.linear(1000), reference.linear_betas()),
        (Schedule.cosine(1000), reference.cosine_betas(1000)),
        (Schedule.cosine(100), reference.cosine_betas(100)),
    ]:
        expected = [reference.alpha_bar(betas, t) for t in range(len(betas) + 1)]
        np.testing.assert_allclose(schedule.alpha_bar, expected, rtol=1e-11)
        np.testing.assert_allclose(schedule.beta[1:], betas, rtol=1e-9)


def test_sigmoid_follows_its_formula_until_the_clip():
    schedule = Schedule.sigmoid(1000, -3, 3, 0.9)
    g = lambda t: 1 / (1 + math.exp(-(-3 + 6 * t / 1000) / 0.9))  # noqa: E731
    expected = [(g(1000) - g(t)) / (g(1000) - g(0)) for t in range(1000)]
    np.testing.assert_allclose(schedule.alpha_bar[:1000], expected, rtol=1e-9)
    assert schedule.beta[1000] == pytest.approx(0.999)


@each_schedule
def test_tables_are_consistent_and_start_clean(schedule):
    assert schedule.alpha_bar[0] == 1
    assert schedule.beta[0] == 0
    np.testing.assert_allclose(schedule.alpha_bar, np.cumprod(1 - schedule.beta), rtol=1e-11)
    assert np.all((schedule.alpha_bar[1:] > 0) & (schedule.alpha_bar[1:] < 1))
    assert np.all((schedule.beta[1:] > 0) & (schedule.beta[1:] < 1))
    snr = schedule.alpha_bar[1:] / (1 - schedule.alpha_bar[1:])
    np.testing.assert_allclose(np.exp(2 * schedule.lam[1:]), snr, rtol=1e-9)
    assert np.all(np.diff(schedule.lam) < 0)


@pytest.mark.parametrize("make", [Schedule.linear, Schedule.cosine, Schedule.sigmoid])
@pytest.mark.parametrize("T", [1, 2, 5, 10, 20, 100, 250, 1000, 4000])
def test_every_T_keeps_the_terminal_signal_small_and_beta_within_bounds(make, T):
    schedule = make(T)
    assert schedule.T == T
    assert np.all((schedule.beta[1:] > 0) & (schedule.beta[1:] < 1))
    assert schedule.terminal_signal < 0.032
    if make is Schedule.linear:
        assert schedule.terminal_signal == pytest.approx(Schedule.linear(1000).terminal_signal, rel=1e-8)
        assert np.all(np.diff(schedule.beta) > 0)


def test_scaled_linear_betas_scale_both_bounds_by_one_factor():
    schedule = Schedule.linear(4000)
    assert schedule.beta[-1] / schedule.beta[1] == pytest.approx(200)
    assert schedule.beta[-1] == pytest.approx(0.02 * 1000 / 4000, rel=0.01)


def test_given_bounds_are_taken_literally():
    with pytest.warns(UserWarning, match="keeps 28"):
        schedule = Schedule.linear(250, 1e-4, 0.02)
    np.testing.assert_allclose(schedule.beta[[1, -1]], [1e-4, 0.02])


def test_few_steps_are_advised_against():
    with pytest.warns(UserWarning, match="T = 99: at least 100 steps"):
        Schedule.linear(99)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Schedule.linear(100)


@pytest.mark.parametrize(
    ("betas", "message"),
    [
        ([0.1, 0.2, 1.0], "beta_3 = 1.0"),
        ([0.0, 0.2], "beta_1 = 0.0"),
        ([0.1, float("nan")], "beta_2 = nan"),
        ([0.1, 0.1, 0.2], "betas must rise, got beta_1 = 0.1 then beta_2 = 0.1"),
        ([0.3, 0.2], r"betas\[::-1\]"),
        ([], "T >= 1"),
        ([[0.1]], "one row"),
    ],
)
def test_betas_must_rise_within_0_and_1(betas, message):
    with pytest.raises(ValueError, match=message):
        Schedule.from_betas(betas)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        *(("sigmoid", {"end": end}) for end in (1e30, 600.0, np.nan)),
        *(("sigmoid", {"tau": tau}) for tau in (1e300, 1e-300, 0.0)),
        *(("cosine", {"s": s}) for s in (-1.0, -0.1, 1e308, np.nan)),
    ],
)
def test_a_formula_that_gives_no_table_is_refused_in_words(name, setting):
    with pytest.raises(ValueError, match=r"sigmoid needs|s must be|alpha_bar"):
        getattr(Schedule, name)(**setting)


@pytest.mark.parametrize("table", [[0.9, 0.5], [1.0], [1.0, 0.5, 0.5], [1.0, 0.5, 0.0], [1.0, np.nan]])
def test_alpha_bar_must_fall_from_1_and_stay_above_0(table):
    with pytest.raises(ValueError, match="alpha_bar"):
        Schedule.from_alpha_bar(table)


@pytest.mark.parametrize("T", [0, -1, 2.5, True, "10"])
def test_T_must_be_a_whole_number(T):
    with pytest.raises(ValueError, match="T must be a whole number"):
        Schedule.linear(T)


@each_schedule
def test_between_integers_the_log_snr_is_linear(schedule):
    t = np.arange(schedule.T + 1.0)
    assert np.array_equal(schedule.alpha_bar_at(t), schedule.alpha_bar)
    middle = schedule.alpha_bar_at(t[1:-1] + 0.5)
    lam = 0.5 * np.log(middle / (1 - middle))
    np.testing.assert_allclose(lam, (schedule.lam[1:-1] + schedule.lam[2:]) / 2, rtol=1e-6, atol=1e-9)
    assert 1 - schedule.alpha_bar_at(0.25) == pytest.approx(0.25 * schedule.beta[1])
    fine = schedule.alpha_bar_at(np.linspace(0, schedule.T, 7 * schedule.T + 1))
    assert np.all(np.diff(fine) < 0)


@pytest.mark.parametrize("t", [-0.1, 1000.5, float("nan"), [3, 2000]])
def test_times_outside_are_refused(t):
    with pytest.raises(ValueError, match=r"t must lie within 0\.\.1000, got"):
        Schedule.linear().alpha_bar_at(t)


@each_schedule
def test_a_schedule_survives_json_to_the_bit(schedule):
    import json

    again = Schedule.from_dict(json.loads(json.dumps(schedule.to_dict())))
    assert np.array_equal(again.alpha_bar, schedule.alpha_bar)


def test_tables_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        Schedule.linear().alpha_bar[3] = 0.5


# --- forward and posterior -----------------------------------------------------------------------


def test_posterior_equals_eqs_6_and_7_for_all_t():
    betas = reference.linear_betas()
    schedule = Schedule.from_betas(betas)
    t = np.arange(1, 1001)
    A, B, C = gaussian.posterior(schedule, t, t - 1)
    expected = np.array([reference.posterior(betas, int(i)) for i in t])
    np.testing.assert_allclose(B, expected[:, 0], rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(A, expected[:, 1], rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(C**2, expected[:, 2], rtol=1e-9, atol=1e-13)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_posterior_is_bayes_rule_for_any_pair(data):
    schedule = SCHEDULES[data.draw(st.sampled_from(sorted(SCHEDULES)))]
    t = data.draw(st.floats(1, schedule.T))
    s = data.draw(st.floats(0.2, t * 0.98))
    A, B, C = gaussian.posterior(schedule, t, s)
    bars = float(schedule.alpha_bar_at(s)), float(schedule.alpha_bar_at(t))
    np.testing.assert_allclose([B, A, C**2], reference.posterior_by_bayes(*bars), rtol=1e-6, atol=1e-12)


@each_schedule
def test_at_s_0_the_posterior_is_x_0_itself(schedule):
    t = np.arange(1, schedule.T + 1)
    A, B, C = gaussian.posterior(schedule, t, 0)
    assert np.all(A == 0)
    assert np.all(C == 0)
    np.testing.assert_allclose(B, 1, rtol=1e-12)


@each_schedule
def test_steps_compose_into_the_closed_form(schedule):
    x_0, eps = np.array([[1.5, -2.0]]), np.zeros((1, 2))
    x, variance = x_0, 0.0
    for t in range(1, schedule.T + 1):
        x = gaussian.q_sample(schedule, x, t, eps, s=t - 1)
        variance = (1 - schedule.beta[t]) * variance + schedule.beta[t]
        np.testing.assert_allclose(x, np.sqrt(schedule.alpha_bar[t]) * x_0, rtol=1e-9)
        assert variance == pytest.approx(1 - schedule.alpha_bar[t], rel=1e-9)
    ones = gaussian.q_sample(schedule, 0 * x_0, schedule.T, np.ones((1, 2)))
    np.testing.assert_allclose(ones, math.sqrt(1 - schedule.alpha_bar[-1]))


def test_forward_marginal_by_monte_carlo():
    schedule = Schedule.linear(1000)
    rng = np.random.default_rng(0)
    x_t = gaussian.q_sample(schedule, np.full(400_000, 2.0), 200, rng.standard_normal(400_000))
    bar = schedule.alpha_bar[200]
    assert x_t.mean() == pytest.approx(2 * math.sqrt(bar), abs=0.01)
    assert x_t.var() == pytest.approx(1 - bar, rel=0.01)


def test_mean_in_eps_is_the_posterior_mean_and_eq_11():
    betas = reference.linear_betas()
    schedule = Schedule.linear()
    rng = np.random.default_rng(0)
    x_0, eps = rng.standard_normal((2, 1000, 3))
    t = np.arange(1, 1001)
    x_t = gaussian.q_sample(schedule, x_0, t, eps)
    mean, _ = gaussian.q_posterior(schedule, x_t, x_0, t)
    np.testing.assert_allclose(gaussian.mean_from_eps(schedule, x_t, eps, t), mean, rtol=1e-8, atol=1e-10)
    for i in (1, 2, 500, 1000):
        expected = reference.mean_from_eps(betas, i, x_t[i - 1], eps[i - 1])
        np.testing.assert_allclose(mean[i - 1], expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(gaussian.x0_from_eps(schedule, x_t, eps, t), x_0, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(gaussian.eps_from_x0(schedule, x_t, x_0, t), eps, rtol=1e-8, atol=1e-9)


def test_numpy_and_torch_agree_and_keep_their_dtype():
    schedule = Schedule.cosine(100)
    rng = np.random.default_rng(0)
    x_0, eps = rng.standard_normal((2, 4, 3, 5))
    t = np.array([1, 2, 50, 100])
    for dtype in (np.float64, np.float32):
        a, b = x_0.astype(dtype), eps.astype(dtype)
        got = gaussian.q_sample(schedule, a, t, b)
        assert got.dtype == dtype
        other = gaussian.q_sample(schedule, torch.from_numpy(a), t, torch.from_numpy(b))
        assert other.numpy().dtype == dtype
        np.testing.assert_array_equal(other.numpy(), got)


RAW = {"bytes": np.ones((2, 3), np.uint8), "tensor": torch.ones(2, 3, dtype=torch.int64), "number": 3}


@pytest.mark.parametrize("t", [300, [10, 500]], ids=["one time", "a time each"])
@pytest.mark.parametrize("raw", RAW.values(), ids=RAW.keys())
def test_raw_data_are_refused_rather_than_taken_for_model_space(raw, t):
    schedule = Schedule.linear()
    good = torch.ones(2, 3) if isinstance(raw, torch.Tensor) else np.ones((2, 3))
    for function in (
        lambda a, b: gaussian.q_sample(schedule, a, t, b),
        lambda a, b: gaussian.q_posterior(schedule, a, b, t),
        lambda a, b: gaussian.mean_from_eps(schedule, a, b, t),
        lambda a, b: gaussian.x0_from_eps(schedule, a, b, t),
        lambda a, b: gaussian.eps_from_x0(schedule, a, b, t),
    ):
        function(good, good)
        for pair in [(raw, good), (good, raw)]:
            with pytest.raises(ValueError, match=r"floating-point numbers \(model space\), got"):
                function(*pair)


@pytest.mark.parametrize("t", [True, [True, False], "3", None])
def test_a_time_is_a_number(t):
    with pytest.raises(ValueError, match=r"t must be numbers within 0\.\.1000, got"):
        gaussian.q_sample(Schedule.linear(), np.ones((2, 3)), t, np.ones((2, 3)))


@pytest.mark.parametrize(("t", "s"), [(5, 5), (5, 7), (np.array([3, 2]), np.array([2, 2]))])
def test_s_must_come_before_t(t, s):
    with pytest.raises(ValueError, match="did you swap them"):
        gaussian.posterior(Schedule.linear(), t, s)


def every_function(schedule, t):
    """What the process says at times t, by every function that takes them."""
    x, y = np.random.default_rng(0).standard_normal((2, 3, 2))
    yield gaussian.q_sample(schedule, x, t, y)
    yield gaussian.q_posterior(schedule, x, y, t)
    yield gaussian.mean_from_eps(schedule, x, y, t)
    yield gaussian.x0_from_eps(schedule, x, y, t)
    yield gaussian.eps_from_x0(schedule, x, y, t)
    yield gaussian.transition(schedule, t)
    yield gaussian.posterior(schedule, t, 0)
    for variance in gaussian.VARIANCES:
        yield gaussian.step_variance(schedule, t, 0, variance)
    for prediction in PREDICTIONS:
        yield coefficients(prediction, schedule, t)
        yield target_coefficients(prediction, schedule, t)
        for loss in losses.LOSSES:
            yield losses.loss_weight(loss, schedule, t, prediction)


def test_times_looked_up_once_say_the_same_to_the_bit():
    schedule, t = Schedule.cosine(100), [1, 40.5, 100]
    at = schedule.at(t)
    assert schedule.at(at) is at
    for shared, alone in zip(every_function(schedule, at), every_function(schedule, t), strict=True):
        for a, b in zip(shared, alone, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_training_step_looks_its_times_up_twice_at_most(monkeypatch):
    """x_t, x0_hat, the target and the weight, of one row of times."""
    looked_up, look = [], Schedule.alpha_bar_at
    monkeypatch.setattr(Schedule, "alpha_bar_at", lambda self, t: looked_up.append(t) or look(self, t))
    schedule, x, eps = Schedule.linear(), *np.ones((2, 4, 2))
    at = schedule.at([1, 2, 500, 1000])
    gaussian.q_sample(schedule, x, at, eps)
    coefficients("v", schedule, at)
    target_coefficients("v", schedule, at)
    losses.loss_weight("min_snr", schedule, at, "v")
    assert len(looked_up) <= 2


# --- laws, of any schedule and any times ---------------------------------------------------------

SIZES = st.sampled_from([1, 2, 7, 100, 1000])


@st.composite
def any_schedule(draw):
    name = draw(st.sampled_from(["linear", "cosine", "sigmoid", "betas"]))
    if name == "linear":
        return Schedule.linear(draw(SIZES))
    if name == "cosine":
        return Schedule.cosine(draw(SIZES), draw(st.floats(1e-3, 0.1)), draw(st.floats(0.5, 0.9999)))
    if name == "sigmoid":
        start, end = draw(st.floats(-4, 0)), draw(st.floats(0.5, 4))
        return Schedule.sigmoid(draw(SIZES), start, end, draw(st.floats(0.3, 1.5)))
    return Schedule.from_betas(
        sorted(draw(st.lists(st.floats(1e-4, 0.5), min_size=1, max_size=50, unique=True)))
    )


@given(schedule=any_schedule(), places=st.lists(st.floats(0, 1), min_size=1, max_size=9, unique=True))
@settings(max_examples=150, deadline=None)
def test_noise_rises_with_time_and_time_follows_from_the_noise(schedule, places):
    t = np.sort(np.maximum(np.array(places) * schedule.T, 1e-3))
    bar, lam = schedule.alpha_bar_at(t), schedule.lam_at(t)
    assert np.all((bar > 0) & (bar < 1))
    apart = np.diff(t) > 1e-6
    assert np.all(np.diff(bar)[apart] < 0)
    assert np.all(np.diff(lam)[apart] < 0)
    np.testing.assert_allclose(schedule.lam_at(schedule.time_at(lam)), lam, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(schedule.time_at(lam), t, rtol=1e-5)
    again = Schedule.from_dict(schedule.to_dict())
    assert np.array_equal(again.alpha_bar, schedule.alpha_bar)


@given(
    schedule=any_schedule(),
    places=st.tuples(*[st.floats(0.001, 1)] * 3),
    x=st.floats(-3, 3),
    y=st.floats(-3, 3),
)
@settings(max_examples=150, deadline=None)
def test_conversions_go_there_and_back(schedule, places, x, y):
    r, s, t = np.sort(np.array(places) * schedule.T)
    x_0, eps = np.array([x]), np.array([y])
    x_t = gaussian.q_sample(schedule, x_0, t, eps)
    bar = float(schedule.alpha_bar_at(t))
    allowed = 1e-12 * (1 + math.sqrt((1 - bar) / bar)) / math.sqrt(bar * (1 - bar))
    np.testing.assert_allclose(gaussian.x0_from_eps(schedule, x_t, eps, t), x_0, atol=allowed)
    np.testing.assert_allclose(gaussian.eps_from_x0(schedule, x_t, x_0, t), eps, atol=allowed)
    for prediction in PREDICTIONS:
        row = coefficients(prediction, schedule, t)
        p, q = target_coefficients(prediction, schedule, t)
        x0_hat = row.c_skip * x_t + row.c_out * (p * x_0 + q * eps)
        np.testing.assert_allclose(x0_hat, x_0, atol=10 * allowed)
    if r < s < t:
        (a, _), (b, _), (c, _) = (gaussian.transition(schedule, *pair) for pair in [(s, r), (t, s), (t, r)])
        assert a * b == pytest.approx(c, rel=1e-9)


# --- predictions ---------------------------------------------------------------------------------------


@each_schedule
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_every_prediction_recovers_x_0_from_its_papers_target(schedule, prediction):
    rng = np.random.default_rng(0)
    for t in range(1, schedule.T + 1, max(1, schedule.T // 40)):
        ab = float(schedule.alpha_bar[t])
        x_0, eps = rng.standard_normal(2)
        x_t = math.sqrt(ab) * x_0 + math.sqrt(1 - ab) * eps
        row = coefficients(prediction, schedule, t)
        target = reference.network_target(prediction, ab, x_0, eps)
        assert row.c_skip * x_t + row.c_out * target == pytest.approx(x_0, rel=1e-8, abs=1e-8)
        p, q = target_coefficients(prediction, schedule, t)
        assert p * x_0 + q * eps == pytest.approx(target, rel=1e-8, abs=1e-8)
        assert row.c_in * x_t == pytest.approx(reference.network_input(prediction, ab, x_t), rel=1e-9)


def test_the_network_sees_0_based_times():
    for prediction in ("eps", "x0", "v"):
        assert coefficients(prediction, Schedule.linear(), [1, 1000]).c_noise.tolist() == [0, 999]


def test_edm_has_unit_variance_input_and_output_for_its_data():
    schedule = Schedule.linear()
    for t in (1, 100, 1000):
        ab = schedule.alpha_bar[t]
        row = coefficients("edm", schedule, t)
        p, q = target_coefficients("edm", schedule, t)
        assert row.c_in**2 * (ab * 0.25 + 1 - ab) == pytest.approx(1)
        assert p**2 * 0.25 + q**2 == pytest.approx(1)


def test_edm_stays_finite_down_to_the_clean_sample():
    schedule = Schedule.linear()
    rows = coefficients("edm", schedule, [0, 1e-300, 1e-9, 0.01, 1])
    assert np.all(np.isfinite(rows))
    assert np.all(np.diff(rows.c_noise) >= 0)


def test_unknown_names_are_refused_with_a_list():
    with pytest.raises(ValueError, match="known: eps, x0, v, edm, flow"):
        coefficients("epsilon", Schedule.linear(), 1)
    with pytest.raises(ValueError, match="known: simple, kl"):
        losses.loss_weight("simpel", Schedule.linear(), 1)
    with pytest.raises(ValueError, match="posterior, beta"):
        gaussian.step_variance(Schedule.linear(), 2, 1, "learned")


# --- losses and the bound ------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_losses_equal_their_definitions_for_every_prediction(prediction):
    """A wrong network output, as eps, mu, v and x_0 errors computed from the papers' formulas."""
    betas = reference.linear_betas()
    schedule = Schedule.linear()
    rng = np.random.default_rng(0)
    for t in (1, 2, 10, 500, 999, 1000):
        ab = reference.alpha_bar(betas, t)
        x_0, eps, wrong = rng.standard_normal(3)
        x_t = math.sqrt(ab) * x_0 + math.sqrt(1 - ab) * eps
        row = coefficients(prediction, schedule, t)
        p, q = target_coefficients(prediction, schedule, t)
        net = p * x_0 + q * eps + wrong
        x0_hat = row.c_skip * x_t + row.c_out * net
        eps_hat = (x_t - math.sqrt(ab) * x0_hat) / math.sqrt(1 - ab)
        v = math.sqrt(ab) * eps - math.sqrt(1 - ab) * x_0
        v_hat = math.sqrt(ab) * eps_hat - math.sqrt(1 - ab) * x0_hat
        mu_error = reference.mean_from_eps(betas, t, x_t, eps) - reference.mean_from_eps(
            betas, t, x_t, eps_hat
        )
        snr = ab / (1 - ab)
        expected = {
            "simple": (eps - eps_hat) ** 2,
            "mu": mu_error**2,
            "kl": mu_error**2 / (2 * betas[t - 1]),
            "x0": (x_0 - x0_hat) ** 2,
            "v": (v - v_hat) ** 2,
            "min_snr": min(snr, 5) * (x_0 - x0_hat) ** 2,
            "clipped": (x_0 - x0_hat) ** 2 / max(1 - ab, 0.2),
            "edm": (snr + 4) * (x_0 - x0_hat) ** 2,
        }
        for loss, value in expected.items():
            got = losses.loss_weight(loss, schedule, t, prediction) * wrong**2
            assert got == pytest.approx(value, rel=1e-6), (loss, t)
            in_x0 = losses.loss_weight(loss, schedule, t) * (x_0 - x0_hat) ** 2
            assert in_x0 == pytest.approx(value, rel=1e-6), (loss, t)


def test_the_simple_loss_weighs_eps_evenly_and_every_weight_is_finite():
    t = np.arange(1, 1001)
    for schedule in (Schedule.linear(), Schedule.cosine()):
        np.testing.assert_allclose(losses.loss_weight("simple", schedule, t, "eps"), 1, rtol=1e-9)
        for loss in losses.LOSSES:
            weight = losses.loss_weight(loss, schedule, t)
            assert np.all(np.isfinite(weight))
            assert np.all(weight > 0)


def test_the_two_variances():
    schedule = Schedule.linear()
    t = np.arange(1, 1001)
    small = gaussian.step_variance(schedule, t, t - 1, "posterior")
    large = gaussian.step_variance(schedule, t, t - 1, "beta")
    np.testing.assert_allclose(large[1:], reference.linear_betas()[1:], rtol=1e-9)
    assert small[0] == large[0] == 0  # the last step adds no noise
    assert np.all(small[1:] < large[1:])


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_the_bound_of_a_gaussian_is_its_exact_value(variance):
    """With the ideal denoiser, bound - entropy = sum of KL terms, computed here one by one."""
    m, v, T = 0.3, 0.25, 60
    schedule = Schedule.linear(T)
    bar = schedule.alpha_bar
    mse = v * (1 - bar[1:]) / (bar[1:] * v + 1 - bar[1:])
    terms = losses.bound_terms(schedule, m**2 + v, mse, variance)
    assert terms.shape == (T + 1,)
    betas = schedule.beta[1:].tolist()
    for t in range(2, T + 1):
        on_x0, _, small = reference.posterior(betas, t)
        sigma2 = small if variance == "posterior" else betas[t - 1]
        same_mean = reference.gaussian_kl(0, small, 0, sigma2)
        assert terms[t - 1] == pytest.approx(same_mean + on_x0**2 * mse[t - 1] / (2 * sigma2), rel=1e-7)
    rng = np.random.default_rng(0)
    x_0 = m + math.sqrt(v) * rng.standard_normal(200_000)
    prior = reference.gaussian_kl(math.sqrt(bar[-1]) * x_0, 1 - bar[-1], 0, 1).mean()
    assert terms[-1] == pytest.approx(prior, rel=0.02)
    entropy = 0.5 * math.log(2 * math.pi * math.e * v)
    assert terms.sum() > entropy


def test_the_bound_tightens_with_T():
    v = 0.25
    entropy = 0.5 * math.log(2 * math.pi * math.e * v)
    gaps = []
    for T in (100, 400, 1600):
        schedule = Schedule.linear(T)
        bar = schedule.alpha_bar[1:]
        gaps.append(
            losses.bound_terms(schedule, v, v * (1 - bar) / (bar * v + 1 - bar), "posterior").sum() - entropy
        )
    assert 0 < gaps[2] < gaps[1] < gaps[0]
    assert gaps[2] < gaps[0] / 2


def test_discretized_nll_is_a_distribution_over_the_bins():
    values = np.linspace(-1, 1, 256)
    for mean, std in [(0.0, 0.3), (0.9, 0.05), (-1.5, 0.01), (0.2, 1e-3)]:
        nll = losses.discretized_nll(values, np.full(256, mean), std, 2 / 255)
        assert np.exp(-nll).sum() == pytest.approx(1, abs=1e-9)
    assert losses.discretized_nll(np.zeros(1), np.full(1, 0.9), 0.1, 2 / 255)[0] == pytest.approx(
        0.5 * (0.9 / 0.1) ** 2 + math.log(0.1 * math.sqrt(2 * math.pi) / (2 / 255)), rel=1e-2
    )


# --- the tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    [PREDICTIONS, losses.LOSSES, schedule_module.SCHEDULES],
    ids=["predictions", "losses", "schedules"],
)
def test_every_row_says_what_it_is(table):
    for name, row in table.items():
        assert 5 < len(row_help(row)) < 80, name
        assert f"{name} ({row_help(row)})" in describe(table)


@pytest.mark.parametrize("given", [["x", 0.5], [1, [0.5]], [1, True]])
def test_a_table_of_other_things_than_numbers_is_named(given):
    with pytest.raises(ValueError, match=r"alpha_bar of the alpha_bar schedule must be numbers, got \["):
        Schedule.from_dict({"name": "alpha_bar", "alpha_bar": given})


def test_a_new_prediction_loss_or_schedule_is_one_row(monkeypatch):
    def half(at):
        """Half of the noise."""
        row = coefficients("eps", Schedule.linear(), at)
        return row._replace(c_out=row.c_out * 2)

    def flat(schedule, at):
        """One for all."""
        return np.ones_like(at.t) * 7

    def geometric(T: Annotated[int, "steps"] = 1000, ratio: Annotated[float, "of the last beta"] = 0.02):
        """Beta rises geometrically."""
        return Schedule.from_betas(np.geomspace(1e-4, ratio, T))

    monkeypatch.setitem(PREDICTIONS, "half", half)
    monkeypatch.setitem(losses.LOSSES, "flat", flat)
    monkeypatch.setitem(schedule_module.SCHEDULES, "geometric", geometric)
    schedule = Schedule.from_dict({"name": "geometric", "T": 500, "ratio": 0.04})
    assert schedule.T == 500
    assert target_coefficients("half", schedule, 500)[1] == pytest.approx(0.5)
    assert losses.loss_weight("flat", schedule, [1, 2]).tolist() == [7, 7]
    assert "half (half of the noise)" in describe(PREDICTIONS)
    with pytest.raises(ValueError, match="known: linear, cosine, sigmoid, alpha_bar, geometric"):
        Schedule.from_dict({"name": "cubic"})
    with pytest.raises(ValueError, match="unknown setting of the geometric schedule 'rato'; known: T, ratio"):
        Schedule.from_dict({"name": "geometric", "rato": 1})
