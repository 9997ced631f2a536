"""The solvers: against state machines typed from their papers, closed forms, and their theoretical orders.

`python tests/test_solvers.py` prints the orders found.
"""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from functools import cache
from typing import Annotated

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
import reference_solvers as oracle
from alphabar.errors import describe, row_help
from alphabar.samplers import (
    SAMPLERS,
    SPACINGS,
    Plan,
    Sampler,
    ancestral,
    ddim,
    deis,
    dpmpp,
    flow,
    heun,
    inversion,
    ipndm,
    karras,
    log_snr,
    make_plan,
    sampler_options,
    scales,
    trailing,
    unipc,
)
from alphabar.sampling.executor import trajectory
from alphabar.schedules import Schedule
from alphabar.theory.scales import Scales

pytestmark = pytest.mark.filterwarnings("ignore:from sigma")  # Heun's first step from far away

SCHEDULES = {"linear": Schedule.linear(1000), "cosine": Schedule.cosine(1000)}
TABLES = {  # the paper's own alpha_bar_0 … alpha_bar_T
    "linear": np.cumprod([1.0, *(1 - b for b in reference.linear_betas())]).tolist(),
    "cosine": np.cumprod([1.0, *(1 - b for b in reference.cosine_betas(1000))]).tolist(),
}
BARS = {"trailing": oracle.trailing_bars, "log_snr": oracle.log_snr_bars, "karras": oracle.karras_bars}
BARS |= {"flow": oracle.flow_bars, "scales": oracle.scales_bars}
M, V = 0.7, 0.16
each_schedule = pytest.mark.parametrize("name", SCHEDULES)
each_spacing = pytest.mark.parametrize("spacing", SPACINGS)


def remainder(bar):
    """1 - (1 - bar) E |grad log q_t|^2 / d, where q_t = N(sqrt(bar) M, bar V + 1 - bar)."""
    return bar * V / (bar * V + 1 - bar)


def x0_mse(schedule, times):
    """(times, Var(x_0 | x_t)) of N(M, V), at times above 0."""
    t = np.asarray(times)[:-1]
    bar = schedule.alpha_bar_at(t)
    return t, V * (1 - bar) / (bar * V + 1 - bar)


CHURN = {"churn": 30.0, "churn_min": 0.05, "churn_max": 50.0, "churn_noise": 1.007}
CASES = {  # name: (sampler, its options, the oracle, its options)
    "ddpm": ("ddpm", {}, oracle.ddpm, {}),
    "ddpm beta": ("ddpm", {"variance": "beta"}, oracle.ddpm, {"variance": "beta"}),
    "ddpm optimal": (
        "ddpm",
        {"variance": "optimal"},
        oracle.ddpm,
        {"variance": "optimal", "remainder": remainder},
    ),
    **{f"ddim eta {eta}": ("ddim", {"eta": eta}, oracle.ddim, {"eta": eta}) for eta in (0.0, 0.5, 1.0)},
    "heun": ("heun", {}, oracle.edm_heun, {}),
    "heun churn": ("heun", {"churn": 5.0}, oracle.edm_heun, {"churn": 5.0}),
    "heun churn within": ("heun", CHURN, oracle.edm_heun, CHURN),
    "dpmpp 1": ("dpmpp", {"order": 1}, oracle.ddim, {}),
    "dpmpp 2": ("dpmpp", {"order": 2}, oracle.dpmpp_2m, {}),
    "dpmpp_sde": ("dpmpp_sde", {}, oracle.dpmpp_sde, {}),
    "dpmpp 3": ("dpmpp", {"order": 3}, oracle.exponential_3m, {}),
    **{
        f"dpmpp {p} eta {eta}": (
            "dpmpp",
            {"order": p, "eta": eta},
            oracle.exponential_3m if p == 3 else oracle.dpmpp_sde,
            {"eta": eta**2} | ({} if p == 3 else {"order": p}),
        )
        for p in (1, 2, 3)
        for eta in (0.5, 1.0)
    },
    **{f"unipc {p}": ("unipc", {"order": p}, oracle.unipc, {"order": p}) for p in (1, 2, 3)},
    "sa_solver": ("sa_solver", {}, oracle.unipc, {"eta": 1.0}),
    **{
        f"unipc {p} eta {eta}": (
            "unipc",
            {"order": p, "eta": eta},
            oracle.unipc,
            {"order": p, "eta": eta**2},
        )
        for p in (1, 2, 3)
        for eta in (0.5, 1.0)
    },
    **{f"deis {p}": ("deis", {"order": p}, oracle.deis, {"order": p}) for p in (1, 2, 3)},
    **{f"ipndm {p}": ("ipndm", {"order": p}, oracle.ipndm, {"order": p}) for p in (1, 2, 3, 4)},
}
each_case = pytest.mark.parametrize("case", CASES)


def quiet(maker, *arguments, **options):
    """A plan, without the warning that few steps lower the order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return maker(*arguments, **options)


def plan_of(case, schedule, steps, spacing="trailing"):
    sampler, options, *_ = CASES[case]
    if options.get("variance") == "optimal":
        times = SPACINGS[spacing](schedule, schedule.T, steps)
        options = {**options, "x0_mse": x0_mse(schedule, times)}
    return quiet(make_plan, schedule, sampler, steps, spacing=spacing, **options)


# --- exact laws ----------------------------------------------------------------------------------


def responses(schedule, plan, start=(0.0, 1.0)):
    """The executor's states from x = start[0] and from it plus start[1], and with each noise alone.

    Data are N(M, V); a row for each time but the first, columns (none, x, noise of row 0, 1, …).
    """
    rows = np.flatnonzero(plan.C)
    x = torch.full((2 + len(rows), 1), start[0], dtype=torch.float64)
    x[1] += start[1]
    column = {int(k): 2 + i for i, k in enumerate(rows)}

    def noise(k):
        z = torch.zeros_like(x)
        z[column[k]] = 1
        return z

    bars = dict(zip(plan.times.tolist(), schedule.alpha_bar_at(plan.times).tolist()))
    denoise = lambda x, t, cond: reference.ideal_x0(M, V, bars[t], x)  # noqa: E731
    for step in trajectory(denoise, plan, x, noise):
        yield step.x_s[:, 0].numpy()


def mean_and_variance(response):
    return response[0], float(((response - response[0]) ** 2).sum())


@cache
def law(name, case, steps, spacing):
    """Exact mean and variance of what a sampler gives."""
    *_, last = responses(SCHEDULES[name], plan_of(case, SCHEDULES[name], steps, spacing))
    return mean_and_variance(last)


def oracle_law(name, case, steps, spacing):
    sampler, _, solver, options = CASES[case]
    table = TABLES[name]
    intervals = steps
    if sampler == "heun":
        intervals = steps // 2 + 1
        sigma_T = math.sqrt((1 - table[-1]) / table[-1])
        options = {**options, "sigma_T": sigma_T, "euler_first": steps % 2 == 0}
    stochastic = sampler in ("ddpm", "dpmpp_sde", "sa_solver") or options.get("eta") or options.get("churn")
    bars = BARS[spacing](table, intervals)
    return oracle.law(solver, M, V, bars, intervals if stochastic else 0, **options)


@each_schedule
@each_case
def test_every_sampler_has_the_law_of_its_papers_algorithm(name, case):
    wanted = [(steps, spacing) for spacing in SPACINGS for steps in (1, 2, 3, 7, 50)] + [(1000, "trailing")]
    for steps, spacing in wanted:
        expected = pytest.approx(oracle_law(name, case, steps, spacing), rel=1e-9, abs=1e-9)
        assert law(name, case, steps, spacing) == expected, (steps, spacing)


TIMES = (1000, 830, 829.5, 512.25, 300, 299, 41.5, 7, 3.75)


@each_schedule
@pytest.mark.parametrize("case", [case for case in CASES if case != "ddpm optimal"])
@pytest.mark.parametrize("times", [TIMES, TIMES[3:], (*TIMES, 0)], ids=["from T", "within", "to 0"])
def test_and_between_any_times(name, case, times):
    """Uneven steps, and an end that is not clean, where the order stays high."""
    schedule = SCHEDULES[name]
    sampler, options, solver, others = CASES[case]
    plan = make_plan(schedule, sampler, times=times, **options)
    *_, last = responses(schedule, plan)
    if sampler == "heun":
        others = {**others, "sigma_T": math.exp(-schedule.lam[-1])}
    bars = schedule.alpha_bar_at(times).tolist()
    noises = len(times) if plan.stochastic else 0
    expected = oracle.law(solver, M, V, bars, noises, **others)
    assert mean_and_variance(last) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@each_schedule
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("maker", "solver"), [(dpmpp, oracle.dpmpp_sde), (unipc, oracle.unipc)])
def test_noise_may_differ_from_row_to_row(name, maker, solver, order):
    schedule, etas = SCHEDULES[name], [0.0, 0.0, 1.0, 0.5, 0.0, 1.0, 1.0, 0.3]
    plan = maker(schedule, TIMES, order, etas)
    check_it_keeps_the_marginals_of_a_point(plan)
    *_, last = responses(schedule, plan)
    bars = schedule.alpha_bar_at(TIMES).tolist()
    squares = [eta**2 for eta in etas]
    expected = oracle.law(solver, M, V, bars, len(bars), order=order, eta=squares)
    assert mean_and_variance(last) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    with pytest.raises(ValueError, match="one number or one for each of 8 rows, got 7"):
        maker(schedule, TIMES, order, etas[1:])


# --- a single point ------------------------------------------------------------------------------


def check_it_keeps_the_marginals_of_a_point(plan):
    """From the exact x_t of a single x_0, row after row gives the exact x_s.

    Then every x0_hat is x_0, and without noise every eps_hat is the same eps.
    """
    alpha, sigma = np.sqrt(plan.alpha_bar), np.sqrt(1 - plan.alpha_bar)
    newest, before = plan.B[:, 0], plan.B[:, 1:].sum(1)
    allowed = 1e-8 + 1e-12 * np.abs(plan.B).sum(1)  # what rounding may do, where large numbers cancel
    on_x0, noise = plan.A * alpha[:-1] + newest, plan.A * sigma[:-1]
    if plan.history == "x0":
        on_x0 = on_x0 + before
    else:
        assert not plan.stochastic
        noise = noise + before
    assert np.all(np.abs(on_x0 - alpha[1:]) <= allowed)
    if plan.stochastic:
        assert np.all(np.abs(noise**2 + plan.C**2 - sigma[1:] ** 2) <= allowed)
    else:
        assert np.all(np.abs(noise - sigma[1:]) <= allowed)
    for k in range(min(plan.B.shape)):
        assert not plan.B[k, k + 1 :].any()  # of predictions that there are not yet


POINT_CASES = [case for case in CASES if case not in ("ddpm beta", "ddpm optimal", "heun churn within")]


@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid"])
@each_spacing
@pytest.mark.parametrize("case", POINT_CASES)
def test_every_row_keeps_the_marginal_of_a_point(name, spacing, case):
    schedule = getattr(Schedule, name)(1000)
    many = (1200,) if spacing == "trailing" or name == "cosine" else ()
    for steps in (1, 2, 3, 4, 7, 50, *many):
        check_it_keeps_the_marginals_of_a_point(plan_of(case, schedule, steps, spacing))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    times=st.lists(st.integers(0, 4000), min_size=2, max_size=12, unique=True),
    case=st.sampled_from(POINT_CASES),
    name=st.sampled_from(sorted(SCHEDULES)),
)
def test_and_between_any_falling_times(times, case, name):
    times = np.sort(np.array(times) / 4)[::-1]
    sampler, options, *_ = CASES[case]
    check_it_keeps_the_marginals_of_a_point(
        quiet(make_plan, SCHEDULES[name], sampler, times=times, **options)
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    evaluations=st.integers(1, 60),
    T=st.sampled_from([1, 3, 20, 1000]),
    place=st.floats(0.001, 1),
    case=st.sampled_from(POINT_CASES),
    spacing=st.sampled_from(sorted(SPACINGS)),
    name=st.sampled_from(["linear", "cosine", "sigmoid"]),
)
def test_any_plan_has_its_rows_ends_clean_and_keeps_a_point(evaluations, T, place, case, spacing, name):
    schedule = getattr(Schedule, name)(T)
    sampler, options, *_ = CASES[case]
    start = place * T
    plan = quiet(make_plan, schedule, sampler, evaluations, start, spacing, **options)
    assert plan.num_evaluations == evaluations
    assert plan.times[0] == start
    assert (plan.times[-1], plan.alpha_bar[-1], plan.C[-1]) == (0, 1, 0)
    assert plan.made_by["spacing"] == spacing
    check_it_keeps_the_marginals_of_a_point(plan)


# --- noise keeps the data's law ------------------------------------------------------------------

STOCHASTIC = [
    case
    for case, (_, options, _, _) in CASES.items()
    if case.startswith(("ddpm", "dpmpp_", "sa_")) or options.get("eta") or options.get("churn")
]


@each_schedule
@pytest.mark.parametrize("case", STOCHASTIC)
def test_with_many_steps_a_stochastic_one_ends_at_the_datas_law(name, case):
    mean, variance = law(name, case, 1000, "trailing")
    assert mean == pytest.approx(M, abs=0.01)
    assert variance == pytest.approx(V, rel=0.03)


@each_schedule
@each_spacing
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 300])
def test_the_optimal_variance_keeps_the_datas_marginal_at_every_time(name, spacing, steps):
    """A Gaussian's reverse steps are Gaussian: from the marginal at T all marginals, in any steps."""
    schedule = SCHEDULES[name]
    plan = plan_of("ddpm optimal", schedule, steps, spacing)
    alpha, sigma2 = np.sqrt(plan.alpha_bar), 1 - plan.alpha_bar
    start = alpha[0] * M, math.sqrt(alpha[0] ** 2 * V + sigma2[0])
    found = np.array([mean_and_variance(r) for r in responses(schedule, plan, start)])[:-1]
    expected = np.stack([alpha * M, alpha**2 * V + sigma2], 1)[1:-1]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


# --- orders --------------------------------------------------------------------------------------


class Mixture:
    """A Gaussian mixture in d dimensions, with its ideal denoiser."""

    def __init__(self, weights, means, axes, spreads):
        self.w, self.m, self.Q, self.s2 = np.log(weights), np.array(means), np.array(axes), np.square(spreads)

    def x0(self, x, bar):
        """E[x_0 | x_t = x]: each component's own answer, weighted by how likely it made x (P, d)."""
        v = bar * self.s2 + 1 - bar
        z = np.einsum("pki,kij->pkj", x[:, None] - math.sqrt(bar) * self.m, self.Q)
        score = self.w - 0.5 * (np.log(v) + z**2 / v).sum(-1)
        r = np.exp(score - score.max(1, keepdims=True))
        r /= r.sum(1, keepdims=True)
        return np.einsum(
            "pk,pki->pi", r, self.m + np.einsum("pkj,kij->pki", math.sqrt(bar) * self.s2 / v * z, self.Q)
        )


def turned(degrees):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [[c, -s], [s, c]]


ON_A_LINE = Mixture([0.3, 0.5, 0.2], [[-1.0], [0.4], [1.2]], [[[1.0]]] * 3, [[0.2], [0.3], [0.15]])
IN_A_PLANE = Mixture(
    [0.4, 0.35, 0.25],
    [[-0.8, 0.5], [0.9, 0.3], [0.1, -1.0]],
    [turned(20), turned(-50), turned(0)],
    [[0.5, 0.2], [0.3, 0.25], [0.6, 0.3]],
)
STARTS = np.stack(  # the first column on the line, the others in the plane
    [
        np.linspace(-1.9, 2.1, 8),
        [-1.3, -0.7, -0.2, 0.1, 0.4, 0.8, 1.1, 1.6],
        [0.3, -1.2, 0.9, 0.2, 1.4, -0.5, -1.0, 0.6],
    ],
    axis=1,
)


def ideal_x0(x, bar):
    return np.concatenate([ON_A_LINE.x0(x[:, :1], bar), IN_A_PLANE.x0(x[:, 1:], bar)], axis=1)


def exactly(x, lams, steps):
    """x at each of `lams`, from x at the first, by Runge and Kutta: y = x / sigma, y' = e^lambda x0."""

    def slope(lam, y):
        bar = 1 / (1 + math.exp(-2 * lam))
        return math.exp(lam) * ideal_x0(math.sqrt(1 - bar) * y, bar)

    sigma = 1 / np.sqrt(1 + np.exp(2 * np.asarray(lams)))
    y, out = x / sigma[0], [x]
    for k in range(len(lams) - 1):
        h = (lams[k + 1] - lams[k]) / steps
        for i in range(steps):
            lam = lams[k] + i * h
            a = slope(lam, y)
            b = slope(lam + h / 2, y + h / 2 * a)
            c = slope(lam + h / 2, y + h / 2 * b)
            y = y + h / 6 * (a + 2 * b + 2 * c + slope(lam + h, y + h * c))
        out.append(sigma[k + 1] * y)
    return out


INTERVALS = {"T to 1": (1000, 1), "600 to 20": (600, 20)}
COARSE, FINE = 96, 384
ORDERS = {
    **{("ddim", None): 1, ("heun", None): 2},
    **{("dpmpp", p): p for p in (2, 3)},
    **{("unipc", p): p + 1 for p in (1, 2, 3)},
    **{("deis", p): p for p in (2, 3)},
}


@cache
def solution(name, t, s):
    rough, fine = (exactly(STARTS, SCHEDULES[name].lam_at([t, s]), n)[-1] for n in (300, 600))
    return fine + (fine - rough) / 15  # Richardson: the error of order 4 is taken away


def errors(x, name, t, s):
    """Root mean square on the line and in the plane."""
    squares = (x - solution(name, t, s)) ** 2
    return np.sqrt([squares[:, :1].mean(), squares[:, 1:].mean()])


def fall(coarse, fine):
    """The order with which two errors fall."""
    return np.log2(coarse / fine) / math.log2(FINE / COARSE)


def error_of(name, sampler, order, t, s, n):
    """In n steps even in lambda.

    A solver with a history starts at order 1. It walks its first step in 21, each as long as all before
    it, so that those of low order are too short to be seen.
    """
    schedule = SCHEDULES[name]
    lams = np.linspace(*schedule.lam_at([t, s]), n + 1)
    if sampler not in ("ddim", "heun"):
        lams = np.concatenate(
            [lams[:1], lams[0] + (lams[1] - lams[0]) * 0.5 ** np.arange(20, 0, -1), lams[1:]]
        )
    times = schedule.time_at(lams)
    times[0], times[-1] = t, s
    plan = make_plan(schedule, sampler, times=times, **({} if order is None else {"order": order}))
    bars = dict(zip(plan.times.tolist(), plan.alpha_bar.tolist()))
    denoise = lambda x, t, cond: torch.from_numpy(ideal_x0(x.numpy(), bars[t]))  # noqa: E731
    *_, last = trajectory(denoise, plan, torch.from_numpy(STARTS), lambda k: None)
    return errors(last.x_s.numpy(), name, t, s)


@cache
def order_found(name, sampler, order, t, s):
    coarse, fine = (error_of(name, sampler, order, t, s, n) for n in (COARSE, FINE))
    return fall(coarse, fine)


@each_schedule
@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize(("sampler", "order"), ORDERS)
def test_the_error_falls_with_the_theoretical_order(name, interval, sampler, order):
    found = order_found(name, sampler, order, *INTERVALS[interval])
    expected = ORDERS[sampler, order]
    assert np.all((found > expected - 0.5) & (found < expected + 0.5)), found


IPNDM_INTERVALS = [("linear", 1000, 900), ("linear", 600, 150), ("cosine", 600, 150)]


@cache
def ipndm_order_found(name, order, t, s):
    """Its coefficients are for steps even in sigma, all along: so it is given the exact history to start."""
    schedule = SCHEDULES[name]
    found = []
    for n in (COARSE, FINE):
        times = schedule.time_at(-np.log(np.linspace(*np.exp(-schedule.lam_at([t, s])), n + 1)))
        times[0], times[-1] = t, s
        plan = ipndm(schedule, times, order)
        *before, x = exactly(STARTS, schedule.lam_at(times[:order]), 20)
        history = [oracle.predicted_eps(ideal_x0, *pair) for pair in zip(before, plan.alpha_bar)][::-1]
        for k in range(order - 1, n):
            eps = oracle.predicted_eps(ideal_x0, x, plan.alpha_bar[k])
            x = plan.A[k] * x + plan.B[k, 0] * ideal_x0(x, plan.alpha_bar[k])
            x = x + sum(b * e for b, e in zip(plan.B[k, 1:], history))
            history.insert(0, eps)
        found.append(errors(x, name, t, s))
    return fall(*found)


@pytest.mark.parametrize(("name", "t", "s"), IPNDM_INTERVALS)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_ipndms_error_falls_with_its_order_where_sigma_is_even(name, t, s, order):
    found = ipndm_order_found(name, order, t, s)
    assert np.all((found > order - 0.5) & (found < order + 0.5)), found


def order_table():
    """The orders found, as Markdown: the lower of those on the line and in the plane."""
    titles = [f"{interval}, {name}" for interval in INTERVALS for name in SCHEDULES]
    lines = [f"| solver | theory | {' | '.join(titles)} |", "|---" * (len(titles) + 2) + "|"]
    for (sampler, order), theory in ORDERS.items():
        found = [
            order_found(name, sampler, order, *interval)
            for interval in INTERVALS.values()
            for name in SCHEDULES
        ]
        title = sampler if order is None else f"{sampler}, order {order}"
        lines.append(f"| {title} | {theory} | {' | '.join(f'{min(slopes):.2f}' for slopes in found)} |")
    titles = [f"{t} to {s}, {name}" for name, t, s in IPNDM_INTERVALS]
    lines += ["", f"| even in sigma | theory | {' | '.join(titles)} |", "|---" * (len(titles) + 2) + "|"]
    for order in (1, 2, 3, 4):
        found = [ipndm_order_found(name, order, t, s) for name, t, s in IPNDM_INTERVALS]
        slopes = " | ".join(f"{min(slopes):.2f}" for slopes in found)
        lines.append(f"| ipndm, order {order} | {order} | {slopes} |")
    return "\n".join(lines)


# --- structure -----------------------------------------------------------------------------------


@each_spacing
def test_every_sampler_makes_exactly_its_evaluations_and_ends_clean(spacing):
    schedule = SCHEDULES["cosine"]
    for case in CASES:
        for steps in range(1, 31):
            plan = plan_of(case, schedule, steps, spacing)
            assert plan.num_evaluations == steps, case
            assert (plan.times[0], plan.times[-1], plan.alpha_bar[-1]) == (schedule.T, 0, 1)
            assert plan.C[-1] == 0
            if not case.startswith("ipndm"):  # which goes on combining eps_hat
                assert abs(plan.A[-1]) < 1e-12
                np.testing.assert_allclose(plan.B[-1], np.eye(plan.B.shape[1])[0], atol=1e-9)


@each_case
def test_a_run_remembers_nothing_of_another(case):
    """Two runs of one plan in turns, after a third, give what one alone gives."""
    schedule = SCHEDULES["linear"]
    plan = plan_of(case, schedule, 9)
    *_, alone = responses(schedule, plan)
    for first, second in zip(responses(schedule, plan), responses(schedule, plan, (3.0, 0.5))):
        assert not np.array_equal(first, second)
    assert np.array_equal(first, alone)


@pytest.mark.parametrize(
    ("maker", "order", "steps", "lowered"),
    [
        (dpmpp, 2, 1, 1),
        (dpmpp, 3, 3, 2),  # the last step is of order 1
        (unipc, 3, 2, 1),
        (deis, 3, 2, 1),
        (ipndm, 4, 3, 3),
        (ipndm, 2, 1, 1),
    ],
)
def test_an_order_that_few_steps_do_not_allow_is_lowered_aloud(maker, order, steps, lowered):
    schedule = SCHEDULES["linear"]
    with pytest.warns(UserWarning, match=f"order {order} is not reached in {steps} .* lowered to {lowered}"):
        plan = make_plan(schedule, maker.__name__, steps, order=order)
    assert plan.made_by["order"] == lowered
    again = maker(schedule, plan.times, lowered)
    assert np.array_equal(again.A, plan.A)
    assert np.array_equal(again.B, plan.B)
    maker(schedule, trailing(schedule, 1000, 5), order)  # enough of them, and no warning


def assert_same_tables(plan, other):
    """But for columns of 0."""
    columns = min(plan.B.shape[1], other.B.shape[1])
    for p in (plan, other):
        assert not p.B[:, columns:].any()
    for a, b in [(plan.A, other.A), (plan.B[:, :columns], other.B[:, :columns]), (plan.C, other.C)]:
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@each_schedule
@each_spacing
@pytest.mark.parametrize("steps", [1, 7, 50])
def test_those_of_order_1_are_ddim_or_ancestral(name, spacing, steps):
    schedule = SCHEDULES[name]
    times = SPACINGS[spacing](schedule, 1000, steps)
    for maker in (dpmpp, deis, ipndm):
        assert_same_tables(maker(schedule, times, 1), ddim(schedule, times))
    assert_same_tables(dpmpp(schedule, times, 1, eta=1.0), ancestral(schedule, times))
    assert_same_tables(dpmpp(schedule, times, 1, eta=1.0), ddim(schedule, times, 1.0))
    assert_same_tables(heun(schedule, (1000, 0)), ddim(schedule, (1000, 0)))


def test_churn_acts_within_its_bounds_and_below_T():
    schedule = SCHEDULES["linear"]
    sigma = lambda t: np.exp(-schedule.lam_at(t))  # noqa: E731
    times = np.array([1000, 999, 700, 400, 100, 0])
    n = len(times) - 1
    gamma = 3.0 / n
    plan = heun(schedule, times, churn=3.0, churn_max=sigma(700) + 1e-6, churn_min=sigma(400) - 1e-6)
    assert np.flatnonzero(plan.C).tolist() == [3, 5]
    reached = plan.times[[4, 6]]
    np.testing.assert_allclose(sigma(reached), (1 + min(gamma, math.sqrt(2) - 1)) * sigma(times[2:4]))
    capped = heun(schedule, times, churn=1e6)
    assert capped.times.max() == pytest.approx(1000)
    assert capped.times[2] == pytest.approx(1000)  # from 999, where sqrt(2) would lead beyond T
    assert not heun(schedule, times, churn=3.0, churn_min=1e3).stochastic


def test_the_optimal_variance_is_the_posteriors_and_the_errors_linear_in_lambda():
    schedule = SCHEDULES["cosine"]
    times = (900, 500, 100, 0)
    posterior = ancestral(schedule, times)
    assert_same_tables(ancestral(schedule, times, "optimal", ([1, 1000], [0, 0])), posterior)
    middle = schedule.time_at(schedule.lam_at([900, 100]).mean())
    plan = ancestral(schedule, (middle, 50, 0), "optimal", ([100, 900], [0.2, 0.4]))
    plain = ancestral(schedule, (middle, 50, 0))
    assert plan.C[0] ** 2 == pytest.approx(plain.C[0] ** 2 + plain.B[0, 0] ** 2 * 0.3)
    assert plan.C[1] == 0


@each_case
def test_a_plan_fits_its_schedule_alone_and_survives_json(case):
    plan = plan_of(case, SCHEDULES["linear"], 8)
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict(), allow_nan=False)))
    for name in ("times", "alpha_bar", "A", "B", "C"):
        assert np.array_equal(getattr(again, name), getattr(plan, name))
    assert (again.history, again.made_by) == (plan.history, plan.made_by)
    assert plan.history == ("eps" if case.startswith(("deis", "ipndm")) else "x0")
    assert f"B · {plan.history}_hat −1" in str(plan) or plan.B.shape[1] == 1
    again.check_fits(SCHEDULES["linear"])
    for other in (SCHEDULES["cosine"], Schedule.linear(999)):
        with pytest.raises(ValueError, match="made for another schedule"):
            again.check_fits(other)


@pytest.mark.parametrize(("T", "evaluations"), [(1000, 1), (1000, 9), (20, 50), (1, 2)])
def test_the_way_up_predicts_where_x_is_from_t_1_to_below_T(T, evaluations):
    schedule = Schedule.linear(T)
    plan = inversion(schedule, evaluations)
    assert plan.num_evaluations == evaluations
    assert plan.times[0] == pytest.approx(1 if T > 1 else 0.5)
    assert plan.times[-1] == T
    assert np.all(np.diff(plan.times) > 0)
    np.testing.assert_array_equal(plan.alpha_bar, schedule.alpha_bar_at(plan.times))
    assert not plan.stochastic
    check_it_keeps_the_marginals_of_a_point(plan)
    with pytest.raises(ValueError, match="evaluations must be a whole number of at least 1, got 0"):
        inversion(schedule, 0)


@pytest.mark.parametrize(
    ("name", "T"), [("linear", 1000), ("cosine", 1000), ("sigmoid", 1000), ("linear", 1), ("cosine", 20)]
)
def test_lambda_and_time_are_inverses(name, T):
    schedule = getattr(Schedule, name)(T)
    t = np.unique(np.concatenate([np.linspace(0.01, T, 997), np.arange(1, T + 1), [0.5, T - 0.25]]))
    np.testing.assert_allclose(schedule.time_at(schedule.lam_at(t)), t, rtol=1e-9)
    lam = np.linspace(schedule.lam[-1], schedule.lam[1] + 3, 1001)
    np.testing.assert_allclose(schedule.lam_at(schedule.time_at(lam)), lam, rtol=1e-9, atol=1e-9)
    assert np.all(np.diff(schedule.lam_at(t)) < 0)
    assert schedule.time_at(np.inf) == 0
    assert schedule.lam_at(0) == np.inf
    with pytest.raises(ValueError, match="at least lambda_T"):
        schedule.time_at(schedule.lam[-1] - 0.1)


@each_schedule
def test_spacings_are_even_in_what_they_say(name):
    schedule = SCHEDULES[name]
    sigma_1 = math.exp(-schedule.lam[1])
    for start in (1000, 612.5, 40):
        even = np.diff(schedule.lam_at(log_snr(schedule, start, 12))[:-1])
        np.testing.assert_allclose(even, even[0], rtol=1e-9)
        even = np.diff(np.exp(-schedule.lam_at(karras(schedule, start, 12)[:-1]) / 7))
        np.testing.assert_allclose(even, even[0], rtol=1e-9)
        far = np.abs(karras(schedule, start, 12, rho=1e3) - log_snr(schedule, start, 12)).max()
        near = np.abs(karras(schedule, start, 12, rho=1e6) - log_snr(schedule, start, 12)).max()
        assert near < 2e-3 * far
        for shift in (1.0, 3.0):
            times = flow(schedule, start, 12, shift)
            sigma = np.exp(-schedule.lam_at(times))
            even = np.diff(sigma / (shift + sigma))
            if times[-2] == pytest.approx(1):  # where the last interval is from t = 1 to 0
                even = even[:-1]
            np.testing.assert_allclose(even, even[0], rtol=1e-9)
    assert flow(schedule, 1000, 3)[0] == flow(schedule, 1000, 1)[0] == 1000
    with pytest.raises(ValueError, match="shift must be above 0, got 0"):
        flow(schedule, 1000, 3, 0)
    for data in (Scales(), Scales(2.0, 1.0), Scales(300.0, 0.2)):
        sigma = np.exp(-schedule.lam_at(scales(schedule, 1000, 40, data)))
        even = np.diff(np.log((data.coarsest + sigma) / (data.finest + sigma)))
        even = even[:-1] if sigma[-2] == pytest.approx(sigma_1, rel=1e-6) else even  # the last is from t = 1
        np.testing.assert_allclose(even, even[0], rtol=1e-9)
    for spacing in (log_snr, karras):
        assert spacing(schedule, 1000, 2).tolist() == pytest.approx([1000, 1, 0])
        assert spacing(schedule, 1000, 1).tolist() == [1000, 0]
        assert spacing(schedule, 0.5, 2).tolist() == pytest.approx([0.5, 0.25, 0])


@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid"])
@pytest.mark.parametrize("T", [1, 20, 1000])
def test_no_spacing_asks_the_network_below_the_times_it_was_trained_on(name, T):
    """But `trailing` in more intervals than T, which is told that many."""
    schedule = getattr(Schedule, name)(T)
    for spacing in set(SPACINGS) - {"trailing"}:
        for n in (1, 2, 20, 117, 300):
            times = SPACINGS[spacing](schedule, T, n)
            assert len(times) == n + 1
            assert np.all(np.diff(times) < 0)
            assert T == 1 or times[-2] >= 1 - 1e-9, (spacing, n)
    if T == 1000:
        assert flow(schedule, T, 20)[-2] > 1.5  # and its own last time where that lies above


def amplification(plan, variance=0.25):
    """How far an error of 1 in each eps_hat, all independent, moves the end for data N(0, variance)."""
    x, seen = np.zeros(plan.num_evaluations), []
    for k, bar in enumerate(plan.alpha_bar[:-1]):
        x0_hat = math.sqrt(bar) * variance / (bar * variance + 1 - bar) * x
        x0_hat[k] -= math.sqrt((1 - bar) / bar)
        seen.insert(0, x0_hat)
        x = plan.A[k] * x + sum(b * h for b, h in zip(plan.B[k], seen))
    return np.linalg.norm(x)


def test_errors_of_eps_are_carried_far_by_flow_without_noise_and_not_by_log_snr():
    """Docstring of `flow`: why a way down without noise and clipping takes `log_snr`."""
    schedule = SCHEDULES["cosine"]
    found = {
        (sampler, spacing): amplification(make_plan(schedule, sampler, 20, spacing=spacing))
        for sampler in ("unipc", "sa_solver")
        for spacing in ("flow", "log_snr")
    }
    assert found["unipc", "flow"] > 100
    assert max(found["unipc", "log_snr"], found["sa_solver", "flow"], found["sa_solver", "log_snr"]) < 2


def test_the_first_time_is_the_start_whatever_the_numbers_are():
    schedule = Schedule.linear()
    for spacing in SPACINGS.values():
        for start in (0.01, 0.3, 999.9, 1000):
            for n in (1, 3, 49, 201):
                assert spacing(schedule, start, n)[0] == start
    with pytest.raises(ValueError, match=r"t must lie within 0\.\.1000, got 1001"):
        trailing(schedule, 1001, 3)


# --- the table -----------------------------------------------------------------------------------


def test_a_new_sampler_is_one_row(monkeypatch):
    def mine(schedule, times, pull: Annotated[float, "how far"] = 1.0) -> Plan:
        """Half of DDIM."""
        plan = ddim(schedule, times)
        return replace(plan, B=plan.B * pull)

    monkeypatch.setitem(SAMPLERS, "mine", Sampler(mine, spacing="karras"))
    schedule = SCHEDULES["linear"]
    plan = make_plan(schedule, "mine", 4, pull=0.5)
    assert plan.made_by["spacing"] == "karras"
    np.testing.assert_array_equal(plan.B, 0.5 * make_plan(schedule, "ddim", 4, spacing="karras").B)
    assert sampler_options()["pull"] == (float, "how far", ("mine",))
    assert "mine (half of DDIM)" in describe(SAMPLERS)
    with pytest.raises(ValueError, match="mine takes pull, and not eta"):
        make_plan(schedule, "mine", 4, eta=1.0)
    with pytest.raises(ValueError, match=r"known: .*, mine"):
        make_plan(schedule, "yours", 4)


def test_options_of_one_name_are_one_option():
    for name, (kind, text, samplers) in sampler_options().items():
        assert text, name
        for sampler in samplers:
            assert SAMPLERS[sampler].options[name].help == text, (name, sampler)
        if name not in ("x0_mse", "variance"):
            assert kind in (int, float), name
    assert sampler_options()["order"].samplers == (
        "dpmpp",
        "dpmpp_sde",
        "unipc",
        "sa_solver",
        "deis",
        "ipndm",
    )
    with pytest.raises(ValueError, match=r"heun takes churn, .*, and not order"):
        make_plan(SCHEDULES["linear"], "heun", 4, order=2)


def test_the_tables_say_what_each_row_is():
    for table in (SAMPLERS, SPACINGS):
        for name, row in table.items():
            assert 3 < len(row_help(row)) < 80, name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "dpmpp", "order": 5}, r"order must be a whole number within 1\.\.3, got 5"),
        ({"sampler": "unipc", "order": 0}, r"order must be a whole number within 1\.\.3, got 0"),
        ({"sampler": "deis", "order": 4}, r"within 1\.\.3, got 4"),
        ({"sampler": "ipndm", "order": 5}, r"within 1\.\.4, got 5"),
        ({"sampler": "ipndm", "order": True}, "got True"),
        ({"sampler": "ipndm", "order": 2.5}, "got 2.5"),
        ({"sampler": "heun", "churn": -1}, "churn and churn_noise must be finite and at least 0, got -1"),
        ({"sampler": "heun", "churn_noise": -0.1}, "finite and at least 0, got 0.0, -0.1"),
        ({"evaluations": 2.5}, "evaluations must be a whole number of at least 1, got 2.5"),
        ({"evaluations": 0}, "evaluations must be a whole number of at least 1, got 0"),
        ({"sampler": "dpmpp", "eta": 2}, r"eta must lie within 0\.\.1, got 2"),
        ({"sampler": "deis", "eta": 0.5}, "deis takes order, and not eta"),
        ({"spacing": "foo"}, "unknown spacing 'foo'; known: scales, flow, trailing, log_snr, karras"),
        ({"times": (500, 0), "evaluations": 1}, "evaluations, start and spacing follow from them"),
        ({"times": (500, 0), "start": 500}, "evaluations, start and spacing follow from them"),
        ({"times": (500, 0), "spacing": "karras"}, "evaluations, start and spacing follow from them"),
        ({"times": (0, 500)}, r"did you mean reversed\(times\)"),
        ({"sampler": "ddpm", "variance": "optimal"}, "the optimal variance needs x0_mse"),
        ({"sampler": "ddpm", "x0_mse": ([1], [0.1])}, "x0_mse is for the optimal variance, got posterior"),
        ({"sampler": "ddpm", "variance": "optimal", "x0_mse": ([1, 2], [0.1])}, "two rows of equal length"),
        ({"sampler": "ddpm", "variance": "optimal", "x0_mse": ([1, 2], [0.1, -1])}, "at least 0"),
    ],
)
def test_plans_refuse_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        make_plan(SCHEDULES["linear"], **options)


def test_heuns_method_refuses_evaluations_that_its_steps_do_not_have():
    with pytest.raises(ValueError, match="in 2 steps has 3 evaluations, or one less, got 5"):
        heun(SCHEDULES["linear"], (1000, 500, 0), evaluations=5)


def test_every_sampler_is_among_the_cases():
    assert {sampler for sampler, *_ in CASES.values()} == set(SAMPLERS)


def test_heuns_first_step_from_far_away_is_warned_about():
    """Corrected from sigma = 2e4 it is far off; the first step of an even number is Euler's."""
    schedule = SCHEDULES["cosine"]
    with pytest.warns(UserWarning, match="goes far astray: take an even number"):
        make_plan(schedule, "heun", 9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_plan(schedule, "heun", 10)
        make_plan(SCHEDULES["linear"], "heun", 9)
        make_plan(schedule, "deis", 2)  # the usual order is lowered without a word


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "heun", "churn": float("nan")}, "finite"),
        ({"sampler": "heun", "churn": float("inf")}, "finite"),
        ({"sampler": "heun", "churn": 1, "churn_min": 3, "churn_max": 2}, "must rise from 0, got 3 and 2"),
        ({"sampler": "unipc", "order": 2.0}, "order must be a whole number"),
        ({"sampler": "ddpm", "variance": "optimal", "x0_mse": 3}, "two rows, times and numbers, got 3"),
        ({"sampler": "ddpm", "variance": "optimal", "x0_mse": ([], [])}, "two rows of equal length"),
        ({"spacing": ""}, "unknown spacing ''"),
    ],
)
def test_more_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        make_plan(SCHEDULES["linear"], evaluations=3, **options)


def test_what_made_a_plan_is_json_whatever_the_numbers_are():
    for name, options in [("dpmpp", {"order": np.int64(2), "eta": np.float32(0.5)}), ("heun", {"churn": 2})]:
        plan = make_plan(SCHEDULES["linear"], name, 6, **options)
        assert json.loads(json.dumps(plan.to_dict()))["made_by"] == plan.made_by


if __name__ == "__main__":
    print(order_table())
