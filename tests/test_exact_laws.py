"""Samplers against closed forms, with no sampling error.

For data N(m, v) the ideal denoiser is affine, so a whole run of the executor is an affine map of its
noises. Feeding it one-hot noises gives that map's coefficients, and with them the exact mean and
variance of what it samples.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import reference
from alphabar import rng
from alphabar.data import Space
from alphabar.model import Codec, Denoiser
from alphabar.sampling import clip, p_sample, sample, trajectory
from alphabar.sampling.slots import Job, Slots
from alphabar.theory.gaussian import eps_from_x0, posterior, q_sample
from alphabar.theory.parametrization import PREDICTIONS, coefficients
from alphabar.theory.plans import Plan, ancestral, ddim, make_plan, trailing
from alphabar.theory.schedule import Schedule
from tiny import exact_law

SCHEDULES = {"linear": Schedule.linear(1000), "cosine": Schedule.cosine(1000)}
STEPS = [1, 2, 3, 7, 50, 1000]
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())


class IdealNetwork(nn.Module):
    """The network that is exactly right for N(m, v) under a prediction: solves it for its output."""

    def __init__(self, schedule, prediction, m, v):
        super().__init__()
        self.schedule, self.prediction, self.m, self.v = schedule, prediction, m, v
        self.by_c_noise = {}
        for t in np.arange(1, schedule.T + 1):
            self.by_c_noise[float(coefficients(prediction, schedule, t).c_noise)] = float(t)
        self.times = []

    def forward(self, scaled, c_noise):
        t = self.by_c_noise[float(c_noise[0])]
        self.times.append(t)
        ab = float(self.schedule.alpha_bar[int(t)])
        row = coefficients(self.prediction, self.schedule, t)
        x = scaled / float(row.c_in)
        return (reference.ideal_x0(self.m, self.v, ab, x) - float(row.c_skip) * x) / float(row.c_out)


def ideal_denoiser(schedule, prediction, m, v, shape=(1,)):
    net = IdealNetwork(schedule, prediction, m, v)
    codec = Codec(Space(shape, "float64", None, None), 0.0, 1.0)
    return Denoiser(net, schedule, prediction, codec), net


@each_schedule
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", STEPS)
def test_every_sampler_has_the_law_of_its_closed_form(schedule, prediction, steps):
    m, v = 0.7, 0.16
    times = trailing(schedule, 1000, steps)
    bars = [reference.alpha_bar(schedule.beta[1:].tolist(), int(t)) for t in times] if steps < 1000 else None
    bars = bars or schedule.alpha_bar[::-1].tolist()
    denoise, net = ideal_denoiser(schedule, prediction, m, v)
    cases = [
        (ancestral(schedule, times, c), reference.ddpm_law(m, v, bars, c)) for c in ("posterior", "beta")
    ]
    cases += [(ddim(schedule, times, eta), reference.ddim_law(m, v, bars, eta)) for eta in (0, 0.5, 1)]
    for plan, (mean, variance) in cases:
        net.times.clear()
        got = exact_law(denoise, plan)
        assert got == pytest.approx((mean, variance), rel=1e-9, abs=1e-9), plan.made_by
        assert net.times == times[:-1].tolist()  # starts at T, never beyond the times, N evaluations


@each_schedule
def test_with_all_steps_the_law_is_the_datas(schedule):
    """Ancestral sampling in 1000 steps, and DDIM too, end at N(m, v) up to the discretization."""
    m, v = 0.7, 0.16
    denoise, _ = ideal_denoiser(schedule, "eps", m, v)
    times = trailing(schedule, 1000, 1000)
    for plan in (ancestral(schedule, times), ddim(schedule, times, 0.5), ddim(schedule, times)):
        mean, variance = exact_law(denoise, plan)
        assert mean == pytest.approx(m, abs=0.01)
        assert variance == pytest.approx(v, rel=0.03)


def test_data_far_from_the_unit_interval_are_unbiased():
    """Nothing is clipped unless asked: N(5, 3^2) keeps its mean and spread."""
    schedule = SCHEDULES["linear"]
    denoise, _ = ideal_denoiser(schedule, "eps", 5.0, 9.0)
    mean, variance = exact_law(denoise, ancestral(schedule, trailing(schedule, 1000, 1000)))
    assert mean == pytest.approx(5, abs=0.02)
    assert variance == pytest.approx(9, rel=0.02)


@each_schedule
@pytest.mark.parametrize("eta", [0, 0.5, 1])
@pytest.mark.parametrize("steps", STEPS)
def test_every_step_keeps_the_marginal(schedule, steps, eta):
    """From the exact x_t of a single point x_0, each row gives the exact x_s: mean and variance."""
    x_0 = -0.4
    plan = ddim(schedule, trailing(schedule, 1000, steps), eta)
    for k in range(steps):
        ab, before = (float(schedule.alpha_bar_at(t)) for t in plan.times[k : k + 2])
        mean = plan.A[k] * math.sqrt(ab) * x_0 + plan.B[k, 0] * x_0
        assert mean == pytest.approx(math.sqrt(before) * x_0, abs=1e-9)
        variance = plan.A[k] ** 2 * (1 - ab) + plan.C[k] ** 2
        assert variance == pytest.approx(1 - before, abs=1e-9)


@each_schedule
@pytest.mark.parametrize("steps", STEPS)
def test_ddim_with_eta_1_is_ancestral_with_the_posterior_variance(schedule, steps):
    times = trailing(schedule, 1000, steps)
    a, b = ancestral(schedule, times), ddim(schedule, times, 1.0)
    for name in ("A", "B", "C"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-9)


@each_schedule
def test_the_last_step_ends_clean(schedule):
    for plan in (
        ancestral(schedule, trailing(schedule, 1000, 7)),
        ancestral(schedule, trailing(schedule, 1000, 1000), "beta"),
        ddim(schedule, trailing(schedule, 1000, 50), 0.5),
    ):
        assert plan.times[-1] == 0
        np.testing.assert_allclose([plan.A[-1], plan.B[-1, 0], plan.C[-1]], [0, 1, 0], atol=1e-12)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_every_prediction_gives_the_same_trajectory(prediction):
    schedule = SCHEDULES["linear"]
    plan = ddim(schedule, trailing(schedule, 1000, 20), 0.5)
    z = np.random.default_rng(0).standard_normal((21, 5, 1))
    runs = []
    for name in (prediction, "x0"):
        denoise, _ = ideal_denoiser(schedule, name, 0.3, 0.5)
        steps = trajectory(denoise, plan, torch.from_numpy(z[0]), lambda k: torch.from_numpy(z[k + 1]))
        runs.append(np.stack([step.x_s.numpy() for step in steps]))
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-8, atol=1e-9)


# --- any rank, and in mixed company --------------------------------------------------------------

RANKS = [(5,), (2, 64), (1, 3, 5), (1, 4, 8, 8)]


@pytest.mark.parametrize("shape", RANKS, ids=str)
@pytest.mark.parametrize("sampler", ["ddpm", "unipc", "deis"])
def test_the_law_is_the_same_for_samples_of_any_rank(shape, sampler):
    """Every number of a sample is an affine map of its own noises, with the coefficients of a single one."""
    schedule = SCHEDULES["cosine"]
    plan = make_plan(schedule, sampler, 4, spacing="trailing")
    single, _ = ideal_denoiser(schedule, "v", 0.7, 0.16)
    many, _ = ideal_denoiser(schedule, "v", 0.7, 0.16, shape)
    z = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 3, *shape)))
    *_, last = trajectory(many, plan, z[4], lambda k: z[k])
    flat = z.reshape(5, -1, 1)
    *_, expected = trajectory(single, plan, flat[4], lambda k: flat[k])
    np.testing.assert_allclose(last.x_s.reshape(-1, 1), expected.x_s, rtol=1e-9, atol=1e-9)


class Affine:
    """The ideal x0_hat of N(m, v) for one time or one a sample."""

    def __init__(self, schedule, m, v):
        self.schedule, self.m, self.v = schedule, m, v

    def __call__(self, x, t, cond=None):
        bar = np.broadcast_to(self.schedule.alpha_bar_at(t), len(x))
        bar = torch.from_numpy(bar.reshape(-1, *[1] * (x.ndim - 1)).copy())
        slope = bar.sqrt() * self.v / (bar * self.v + 1 - bar)
        return (self.m + slope * (x.double() - bar.sqrt() * self.m)).to(x.dtype)


@pytest.mark.parametrize("shape", RANKS, ids=str)
def test_slots_in_mixed_company_follow_each_its_own_closed_form(shape):
    """Sixteen plans beside one another: each sample is the recursion of its plan, in its own numbers."""
    schedule, m, v = SCHEDULES["linear"], 0.7, 0.16
    names = ["ddpm", "ddim", "unipc", "sa_solver", "deis", "ipndm", "dpmpp_sde", "heun"]
    plans = [make_plan(schedule, names[i % 8], 2 + i % 5, spacing="log_snr") for i in range(16)]
    denoise = Affine(schedule, m, v)
    jobs = [Job(plan, i, seed=2) for i, plan in enumerate(plans)]
    found = {job.index: x for done in Slots(denoise, shape).run(jobs) for job, x in done}
    for i, plan in enumerate(plans):
        z = [rng.normal(2, "sample", i, k, shape=shape).astype(float) for k in range(9)]
        x, history = z[0], []
        for k in range(plan.num_evaluations):
            bar = plan.alpha_bar[k]
            x0_hat = reference.ideal_x0(m, v, bar, x)
            mean = plan.A[k] * x + plan.B[k, 0] * x0_hat
            mean = mean + sum(b * h for b, h in zip(plan.B[k, 1:], history))
            eps_hat = (x - math.sqrt(bar) * x0_hat) / math.sqrt(1 - bar)
            history = [x0_hat if plan.history == "x0" else eps_hat, *history]
            x = mean + plan.C[k] * z[k + 1]
        np.testing.assert_allclose(found[i], x, rtol=2e-3, atol=2e-5 * max(1, np.abs(x).max()))


@pytest.mark.parametrize("shape", RANKS, ids=str)
def test_samples_of_any_rank_have_the_mean_and_variance_of_the_law(shape):
    schedule = SCHEDULES["linear"]
    denoiser, _ = ideal_denoiser(schedule, "eps", 0.7, 0.16, shape)
    plan = make_plan(schedule, "ddpm", 10)
    mean, variance = exact_law(ideal_denoiser(schedule, "eps", 0.7, 0.16)[0], plan)
    images = sample(denoiser, 4096 // math.prod(shape) + 16, plan=plan).images
    assert images.mean() == pytest.approx(mean, abs=0.03)
    assert images.var() == pytest.approx(variance, rel=0.1)


# --- starting in the middle ----------------------------------------------------------------------


@each_schedule
@pytest.mark.parametrize("t", [1, 2, 300, 999])
def test_a_noised_sample_brought_back_keeps_the_datas_law(schedule, t):
    """x_t of the data's law, denoised from t in t steps, has the data's law again."""
    m, v = 0.7, 0.16
    bar = schedule.alpha_bar[t]
    start = math.sqrt(bar) * m, math.sqrt(bar * v + 1 - bar)
    denoise, net = ideal_denoiser(schedule, "eps", m, v)
    mean, variance = exact_law(denoise, make_plan(schedule, "ddpm", t, t), start)
    assert net.times[0] == t
    assert len(net.times) == t
    assert mean == pytest.approx(m, abs=1e-6)
    assert variance == pytest.approx(v, rel=0.02)


def test_noising_and_denoising_use_the_same_time():
    """From t = 1, x0_hat of a perfect denoiser is the picture itself, not nearly."""
    schedule = SCHEDULES["linear"]
    x_0 = torch.full((1, 1), 0.3, dtype=torch.float64)
    eps = torch.ones_like(x_0)
    for t in (1, 300, 1000):
        x_t = q_sample(schedule, x_0, t, eps)

        def denoise(x, time, cond, eps=eps):
            return (x - math.sqrt(1 - schedule.alpha_bar_at(time)) * eps) / math.sqrt(
                schedule.alpha_bar_at(time)
            )

        first = next(trajectory(denoise, make_plan(schedule, "ddim", 1, t), x_t, lambda _: eps))
        assert first.t == t
        assert first.x_s.item() == pytest.approx(0.3, abs=1e-9)


# --- the executor --------------------------------------------------------------------------------


def test_one_step_from_python_is_algorithm_2():
    schedule = SCHEDULES["linear"]
    betas = reference.linear_betas()
    rng = np.random.default_rng(0)
    x_t, z, eps_hat = rng.standard_normal((3, 2, 1, 4, 4))
    for t in (1, 2, 500, 1000):
        ab = reference.alpha_bar(betas, t)

        def denoise(x, time, cond, ab=ab):
            return (x - math.sqrt(1 - ab) * torch.from_numpy(eps_hat)) / math.sqrt(ab)

        for variance in ("posterior", "beta"):
            step = p_sample(
                denoise, schedule, torch.from_numpy(x_t), t, torch.from_numpy(z), variance=variance
            )
            mean = reference.mean_from_eps(betas, t, x_t, eps_hat)
            sigma = {
                "posterior": math.sqrt(reference.posterior(betas, t)[2]),
                "beta": math.sqrt(betas[t - 1]),
            }
            sigma = sigma[variance] if t > 1 else 0.0
            np.testing.assert_allclose(step.mean.numpy(), mean, rtol=1e-8, atol=1e-10)
            assert step.std == pytest.approx(sigma, abs=1e-9)
            np.testing.assert_allclose(step.x_s.numpy(), mean + sigma * z, rtol=1e-8, atol=1e-9)
            assert (step.t, step.s) == (t, t - 1)


def test_a_plan_with_history_uses_the_newest_first():
    """A hand-made plan of two predictions against the same arithmetic written out."""
    bar = [0.1, 0.5, 0.9, 1.0]
    plan = Plan([3, 2, 1, 0], bar, [0.5, 0.4, 0.3], [[1.0, 9.0], [0.8, -0.2], [0.6, -0.1]], [0.0, 0.1, 0.0])
    predicted = {3.0: 2.0, 2.0: -1.0, 1.0: 0.5}
    z = torch.tensor([[1.5]], dtype=torch.float64)
    run = trajectory(lambda x, t, cond: torch.full_like(x, predicted[t]), plan, 10 * z, lambda k: z)
    x3 = 15.0
    x2 = 0.5 * x3 + 2.0
    x1 = 0.4 * x2 + 0.8 * -1.0 - 0.2 * 2.0 + 0.1 * 1.5
    x0 = 0.3 * x1 + 0.6 * 0.5 - 0.1 * -1.0
    assert [step.x_s.item() for step in run] == pytest.approx([x2, x1, x0])


def test_clipping_x0_leaves_eps_consistent():
    """After clipping, x_t = sqrt(bar) x0_hat + sqrt(1 - bar) eps_hat still holds for the eps implied."""
    schedule = SCHEDULES["linear"]
    plan = ddim(schedule, (500, 250, 0))
    x = torch.tensor([[2.0], [-0.1]], dtype=torch.float64)
    step = next(trajectory(lambda x, t, _: 3 * x, plan, x, lambda _: x, on_x0=[clip(-1, 1)]))
    assert step.x0_hat.tolist() == [[1.0], [pytest.approx(-0.3)]]
    eps = eps_from_x0(schedule, x, step.x0_hat, 500)
    bar = schedule.alpha_bar[250]
    np.testing.assert_allclose(step.x_s, math.sqrt(bar) * step.x0_hat + math.sqrt(1 - bar) * eps, rtol=1e-9)


def test_functions_on_x0_act_in_order():
    schedule = SCHEDULES["linear"]
    x = torch.ones(1, 1, dtype=torch.float64)
    on_x0 = [lambda h: h + 5, clip(-1, 1), lambda h: h / 2]
    assert next(trajectory(lambda x, *_: x, ddim(schedule, (10, 0)), x, lambda _: x, on_x0=on_x0)).x_s == 0.5


@pytest.mark.parametrize("make", [Schedule.linear, Schedule.cosine])
@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_a_small_error_of_the_network_never_explodes_within_the_datas_range(make, prediction):
    """1 % error of the output at every step, x0_hat clipped: the state stays that of data and noise."""
    schedule = make(1000)
    for steps in (1, 10, 1000):
        x = torch.ones(1, 1, dtype=torch.float64)
        ideal, _ = ideal_denoiser(schedule, prediction, 0.0, 0.25)

        def denoise(x, t, cond, ideal=ideal):
            return ideal(x, t, cond) + float(coefficients(prediction, schedule, t).c_out) * 0.01

        for step in trajectory(
            denoise, ddim(schedule, trailing(schedule, 1000, steps)), x, lambda _: x, on_x0=[clip(-1, 1)]
        ):
            assert step.x_s.abs().max() < 1.5


def test_v_on_cosine_needs_no_clipping():
    schedule = Schedule.cosine(1000)
    ideal, _ = ideal_denoiser(schedule, "v", 0.0, 0.25)

    def denoise(x, t, cond):
        return ideal(x, t, cond) + float(coefficients("v", schedule, t).c_out) * 0.01

    x = torch.ones(1, 1, dtype=torch.float64)
    for step in trajectory(denoise, ddim(schedule, trailing(schedule, 1000, 1000)), x, lambda _: x):
        assert step.x_s.abs().max() < 1.5


# --- spacings and plans -----------------------------------------------------------------------------


@pytest.mark.parametrize("T", [1, 2, 10, 250, 1000])
def test_the_trailing_times_start_at_the_top_end_clean_and_have_their_number_of_steps(T):
    for steps in {1, 2, 3, 7, 9, 30, 31, 53, T - 1, T} - {0}:
        times = trailing(Schedule.linear(T), T, steps)
        assert len(times) == steps + 1
        assert times[0] == T
        assert times[-1] == 0
        assert np.all(np.diff(times) < 0)
        if steps <= T:
            assert np.array_equal(times, np.round(times))
            assert np.abs(times - T * (1 - np.arange(steps + 1) / steps)).max() <= 0.5
    np.testing.assert_array_equal(trailing(Schedule.linear(T), T, T), np.arange(T, -1, -1))


def test_more_steps_than_T_stop_at_real_times():
    schedule = Schedule.linear(10)
    plan = make_plan(schedule, "ddpm", 25)
    assert plan.num_evaluations == 25
    assert plan.times[1] == pytest.approx(9.6)
    times = trailing(schedule, 0.5, 3)
    assert times.tolist() == pytest.approx([0.5, 1 / 3, 1 / 6, 0])


def test_rows_use_exactly_the_consecutive_pairs_of_its_times():
    schedule = SCHEDULES["linear"]
    for steps in (3, 7, 31, 53, 999):
        plan = make_plan(schedule, "ddpm", steps)
        A, B, C = posterior(schedule, plan.times[:-1], plan.times[1:])
        np.testing.assert_array_equal(plan.A, A)
        np.testing.assert_array_equal(plan.B[:, 0], B)
        np.testing.assert_allclose(plan.C, C)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ((0, 250, 500), r"did you mean reversed\(times\)"),
        ((500, 500, 0), "fall strictly"),
        ((500, 600, 0), "fall strictly"),
        ((500,), "two or more"),
        ((500, -200), "not fall below 0"),
        ((float("nan"), 0), "finite"),
    ],
)
def test_times_must_fall_to_0(times, message):
    for maker in (ancestral, ddim):
        with pytest.raises(ValueError, match=message):
            maker(SCHEDULES["linear"], times)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "ddmp"}, "known: ddpm, ddim, heun"),
        ({"evaluations": 0}, "evaluations must be a whole number of at least 1, got 0"),
        ({"evaluations": 2.5}, "evaluations must be"),
        ({"sampler": "ddpm", "eta": 0.5}, "ddpm takes variance, x0_mse, and not eta"),
        ({"sampler": "ddim", "eta": 1.5}, r"eta must lie within 0\.\.1, got 1.5"),
        ({"sampler": "ddpm", "variance": "big"}, "known: posterior, beta"),
        ({"start": 0}, "start must be above 0"),
        ({"start": 1001}, r"t must lie within 0\.\.1000, got 1001"),
    ],
)
def test_plans_refuse_what_they_cannot_do(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_plan(SCHEDULES["linear"], **arguments)


def test_a_plan_survives_json_and_prints_as_a_table():
    import json

    plan = make_plan(SCHEDULES["cosine"], "ddim", 5, eta=0.3)
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    for name in ("times", "alpha_bar", "A", "B", "C"):
        assert np.array_equal(getattr(again, name), getattr(plan, name))
    assert again.made_by == {"sampler": "ddim", "eta": 0.3, "spacing": "scales"}
    assert len(str(plan).splitlines()) == 6


def test_a_plans_tables_must_fit_its_times():
    with pytest.raises(ValueError, match="a plan of 2 rows needs"):
        Plan([2, 1, 0], [0.1, 0.5, 1], [1.0], [[1.0]], [0.0])
