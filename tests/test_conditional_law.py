"""Conditional samples of a joint Gaussian against closed forms, with no sampling error.

For x_0 = a_1 c_1 + a_2 c_2 + noise with Gaussian c, x_0 given any of c is Gaussian, its ideal denoiser is
affine, and so is a guided one: a whole run is an affine map of its noises (see test_exact_laws.py).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import reference
from alphabar.data import PictureCondition, Space, VectorCondition
from alphabar.model import Codec, Denoiser
from alphabar.sampling import Guidance, guided, sample, trajectory
from alphabar.theory.plans import ancestral, ddim, trailing
from alphabar.theory.schedule import Schedule
from tiny import exact_law

SCHEDULES = {"linear": Schedule.linear(1000), "cosine": Schedule.cosine(1000)}
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
SLOPES, SPREADS, REST, OFFSET = (0.75, -0.5), (1.0, 2.0), 0.16, 0.25
"""x_0 = OFFSET + sum_i SLOPES_i (c_i - 1) + N(0, REST), c_i ~ N(1, SPREADS_i^2)."""
ASKED = {"size": 2.0, "angle": -1.0}


def law(told):
    """Mean and variance of x_0 given those of `ASKED` that are told."""
    mean, variance = OFFSET, REST
    for name, slope, spread in zip(ASKED, SLOPES, SPREADS, strict=True):
        mean += slope * (ASKED[name] - 1) * (name in told)
        variance += (slope * spread) ** 2 * (name not in told)
    return mean, variance


class Told(nn.Module):
    """The network that is exactly right, x_0 predicted: it reads each value, or that it isn't told."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x, c_noise, cond):
        ab = float(self.schedule.alpha_bar[round(float(c_noise[0]) + 1)])
        mean, variance = OFFSET, REST
        for name, slope, spread in zip(ASKED, SLOPES, SPREADS, strict=True):
            value, mark = cond[name].double().T if name in cond else torch.zeros(2, len(x)).double()
            mean = mean + slope * spread * value  # standardized: it is (c - 1) / spread
            variance = variance + (slope * spread) ** 2 * (1 - mark)
        gain = math.sqrt(ab) * variance / (ab * variance + 1 - ab)
        return (mean + gain * (x.double()[:, 0] - math.sqrt(ab) * mean)).to(x.dtype)[:, None]


def conditional(schedule):
    conditions = {
        name: VectorCondition(mean=(1.0,), scale=(spread,), low=(-9.0,), high=(9.0,), dropout=0.1)
        for name, spread in zip(ASKED, SPREADS, strict=True)
    }
    return Denoiser(
        Told(schedule), schedule, "x0", Codec(Space((1,), "float64", None, None), 0.0, 1.0), conditions
    )


def told_law(schedule, plan, names, guidance=1.0):
    """Mean and variance of what a plan samples where these are told."""
    model = conditional(schedule)
    denoise = guided(model, Guidance(guidance))

    n = plan.num_evaluations + 2  # what `exact_law` looks at together
    cond = model.told({name: [ASKED[name]] * n for name in names}, n)
    return exact_law(lambda x, t, _=None: denoise(x, t, cond), plan)


@each_schedule
@pytest.mark.parametrize("names", [(), ("size",), ("angle",), ("size", "angle")], ids=str)
def test_told_any_of_them_samples_have_the_conditional_law(schedule, names):
    for steps in (3, 50):
        times = trailing(schedule, 1000, steps)
        bars = [reference.alpha_bar(schedule.beta[1:].tolist(), int(t)) for t in times]
        for eta in (0, 1):
            found = told_law(schedule, ddim(schedule, times, eta), names)
            assert found == pytest.approx(reference.ddim_law(*law(names), bars, eta), rel=1e-9, abs=1e-9)
    mean, variance = told_law(schedule, ancestral(schedule, trailing(schedule, 1000, 250)), names)
    assert mean == pytest.approx(law(names)[0], abs=0.01)
    assert variance == pytest.approx(law(names)[1], rel=0.08)


def guided_law(schedule, levels, scales):
    """Mean and variance at t = 0 of dx/dt under guidance, from N(0, 1) at T.

    In y = x / sqrt(alpha_bar), s^2 = (1 - alpha_bar) / alpha_bar, level i of law N(m_i, v_i) has the
    derivative s (y - m_i) / (v_i + s^2), and guidance weighs them with a_i, which sum to 1. So
    y(0) = Phi(S) y(S) - int_0^S Phi(s) s sum_i a_i m_i / (v_i + s^2) ds, up to the sign of the way, with
    Phi(s) = prod_i (v_i / (v_i + s^2))^(a_i / 2).
    """
    weights = [b - a for a, b in zip([*scales, 0], [1, *scales], strict=True)]
    bar = float(schedule.alpha_bar[-1])
    S = math.sqrt((1 - bar) / bar)
    s = np.concatenate([np.linspace(0, 1, 20001)[:-1], np.geomspace(1, S, 20001)])
    phi = np.prod([(v / (v + s**2)) ** (a / 2) for a, (_, v) in zip(weights, levels, strict=True)], axis=0)
    pull = sum(a * m / (v + s**2) for a, (m, v) in zip(weights, levels, strict=True))
    mean = np.trapezoid(phi * s * pull, s)
    return float(mean), float(phi[-1] ** 2 / bar)


@each_schedule
@pytest.mark.parametrize(
    ("scale", "names"),
    [
        (2.0, ["size", "angle"]),
        (0.5, ["size", "angle"]),
        (3.0, ["size"]),
        ({"size": 2.0, "angle": 1.5}, ["size", "angle"]),
        ({"angle": 3.0, "size": 0.5}, ["size", "angle"]),
        ({"angle": 2.0}, ["size", "angle"]),
        ({"size": 2.0, "angle": 2.0}, ["size", "angle"]),
    ],
    ids=str,
)
def test_the_guided_law_is_its_formula(schedule, scale, names):
    """As S grows, its variance is prod_i v_i^(a_i): with one scale, v_0^(1 - w) v_1^w."""
    if isinstance(scale, dict):
        first = set(names) - scale.keys()
        order = [n for n, _ in scale.items()]
        levels = [law(first | set(order[:i])) for i in range(len(order) + 1)]
        scales = list(scale.values())
    else:
        levels, scales = [law(()), law(names)], [scale]
    expected = guided_law(schedule, levels, scales)
    found = told_law(schedule, ddim(schedule, trailing(schedule, 1000, 250)), names, scale)
    assert found[0] == pytest.approx(expected[0], abs=0.02)
    assert found[1] == pytest.approx(expected[1], rel=0.08)
    weights = [b - a for a, b in zip([*scales, 0], [1, *scales], strict=True)]
    limit = math.prod(v**a for a, (_, v) in zip(weights, levels, strict=True))
    assert expected[1] == pytest.approx(limit, rel=0.03)


def test_scales_that_are_equal_are_one_scale_and_1_is_the_model_itself():
    model, x = conditional(SCHEDULES["linear"]), torch.randn(3, 1, dtype=torch.float64)
    cond = model.told({name: [value] * 3 for name, value in ASKED.items()}, 3)
    one = guided(model, Guidance(2.5))(x, 300, cond)
    assert torch.equal(guided(model, Guidance({"size": 2.5, "angle": 2.5}))(x, 300, cond), one)
    assert guided(model, Guidance({"size": 1.0, "angle": 1.0})) is model
    assert torch.equal(guided(model, Guidance({"size": 2.5}))(x, 300, cond), seen_with(model, x, cond))


def seen_with(model, x, cond):
    """Guidance by the size alone, written out: the angle is told in both."""
    good = model(x, 300, cond)
    return good + 1.5 * (good - model(x, 300, {**cond, "size": torch.zeros_like(cond["size"])}))


def test_samples_have_the_law_and_say_what_guided_them():
    model = conditional(SCHEDULES["cosine"])
    drawn = sample(model, 400, cond=ASKED, sampler="ddpm", evaluations=100)
    mean, variance = law(ASKED)
    assert drawn.images.mean() == pytest.approx(mean, abs=4 * math.sqrt(variance / 400))
    assert drawn.images.var() == pytest.approx(variance, rel=0.3)
    told = sample(model, 2, cond=ASKED, evaluations=4, guidance={"size": 2.0, "angle": 3.0})
    assert told.facts["evaluations"] == 12
    assert told.facts["guidance"]["scale"] == {"size": 2.0, "angle": 3.0}
    as_typed = sample(model, 2, cond=ASKED, evaluations=4, guidance="size=2, angle=3")
    assert as_typed.images.tobytes() == told.images.tobytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guidance": {"sise": 2.0}}, "unknown condition 'sise'; known: size, angle"),
        ({"guidance": {"size": -1.0}}, "guidance scale must be at least 0 .* got -1.0"),
        ({"guidance": "size=much"}, "guidance must be a number, or NAME=NUMBER .* got 'size=much'"),
        ({"guidance": {"angle": 2.0}, "cond": {"size": 1.0}}, "give an? angle for each sample"),
        ({"guidance": {"size": 1.0}, "guidance_rescale": 0.5}, "act only where the guidance scale is not 1"),
    ],
)
def test_guidance_by_what_is_not_there_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        sample(conditional(SCHEDULES["linear"]), 1, **{"cond": ASKED, **settings})


# --- a grid --------------------------------------------------------------------------------------

NEAR = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]]) / 2.0
"""Of the places of a 2 × 2 grid those beside each; what is made of it has common eigenvectors."""
MIXES, LEFT, LEVEL = 0.75 * np.eye(4) - 0.5 * NEAR, 0.2 * np.eye(4) + 0.1 * NEAR, 0.5
"""x_0 = OFFSET + MIXES (c - 1) + LEVEL (s - 1) + N(0, LEFT), of a grid c ~ N(1, 4), a number s ~ N(1, 1)."""
GRID = np.array([2.0, -1.0, 0.5, 3.0]).reshape(1, 2, 2)
BESIDE = {"grid": GRID, "size": 2.0}


def law_of_grids(told):
    """Mean (4,) and covariance (4, 4) of x_0 given those of `BESIDE` that are told."""
    mean, covariance = np.full(4, OFFSET), LEFT
    if "grid" in told:
        mean = mean + MIXES @ (GRID.ravel() - 1)
    else:
        covariance = covariance + 4 * MIXES @ MIXES.T
    return (mean + LEVEL, covariance) if "size" in told else (mean, covariance + LEVEL**2 * np.ones((4, 4)))


class ToldAGrid(nn.Module):
    """The network that is exactly right, x_0 predicted: it reads both, or that they aren't told."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x, c_noise, cond):
        ab = float(self.schedule.alpha_bar[round(float(c_noise[0]) + 1)])
        grid, size = (
            cond[name].double().numpy() if name in cond else np.zeros((len(x), 2, *[1, 1] * (name == "grid")))
            for name in BESIDE
        )
        mean = law_of_grids(())[0] + 2 * (grid[:, 0] + np.zeros((2, 2))).reshape(-1, 4) @ MIXES.T
        mean = torch.from_numpy(mean + LEVEL * size[:, :1])
        x_t, found = x.double().flatten(1), torch.empty(len(x), 4, dtype=torch.float64)
        for names in ((), ("grid",), ("size",), tuple(BESIDE)):
            here = (grid[:, 1].all((1, 2)) == ("grid" in names)) & (size[:, 1] == ("size" in names))
            covariance = law_of_grids(names)[1]
            gain = math.sqrt(ab) * covariance @ np.linalg.inv(ab * covariance + (1 - ab) * np.eye(4))
            found[here] = mean[here] + (x_t - math.sqrt(ab) * mean)[here] @ torch.from_numpy(gain.T)
        return found.reshape(x.shape).to(x.dtype)


def told_a_grid(schedule):
    space = Space((1, 2, 2), "float64", None, None)
    grid = PictureCondition(space=space.to_dict(), mean=(1.0,), scale=(2.0,), dropout=0.1)
    size = VectorCondition(mean=(1.0,), scale=(1.0,), low=(-9.0,), high=(9.0,), dropout=0.1)
    codec = Codec(space, 0.0, 1.0)
    return Denoiser(ToldAGrid(schedule), schedule, "x0", codec, {"grid": grid, "size": size})


def law_of_samples(model, plan, names, guidance=1.0):
    """Mean (4,) and covariance of what a plan samples where these are told, from one-hot noises."""
    kicks, denoise = plan.num_evaluations + 1, guided(model, Guidance(guidance))
    x = torch.zeros(4 * kicks + 1, 1, 2, 2, dtype=torch.float64)
    n = len(x)
    cond = model.told({name: [BESIDE[name]] * n for name in names}, n)

    def one_hot(k):
        z = torch.zeros_like(x)
        z.view(n, 4)[4 * k : 4 * k + 4] = torch.eye(4)
        return z

    *_, last = trajectory(lambda x, t, _=None: denoise(x, t, cond), plan, one_hot(kicks - 1), one_hot)
    found = last.x_s.reshape(n, 4).numpy()
    response = found[:-1] - found[-1]
    return found[-1], response.T @ response


@pytest.mark.parametrize("names", [(), ("grid",), ("size",), ("grid", "size")], ids=str)
def test_told_a_grid_samples_have_the_conditional_law(names):
    schedule, mixed = SCHEDULES["cosine"], law_of_grids(names)
    times = trailing(schedule, 1000, 4)
    bars = [reference.alpha_bar(schedule.beta[1:].tolist(), int(t)) for t in times]
    values, vectors = np.linalg.eigh(mixed[1])
    for eta in (0, 1):
        mean, covariance = law_of_samples(told_a_grid(schedule), ddim(schedule, times, eta), names)
        along = vectors.T @ mixed[0]
        laws = [reference.ddim_law(m, v, bars, eta) for m, v in zip(along, values, strict=True)]
        np.testing.assert_allclose(mean, vectors @ [m for m, _ in laws], atol=1e-9)
        np.testing.assert_allclose(covariance, vectors * [v for _, v in laws] @ vectors.T, atol=1e-9)


def test_guided_by_a_grid_samples_have_the_law_of_its_formula():
    """Along the common eigenvectors each coordinate has the law of one number."""
    schedule, scale = SCHEDULES["cosine"], 2.0
    _, vectors = np.linalg.eigh(law_of_grids(())[1])
    common = vectors.T @ law_of_grids(("grid",))[1] @ vectors
    np.testing.assert_allclose(common, np.diag(np.diag(common)), atol=1e-12)
    model = told_a_grid(schedule)
    found = law_of_samples(model, ddim(schedule, trailing(schedule, 1000, 120)), ("grid",), scale)
    levels = [law_of_grids(()), law_of_grids(("grid",))]
    for k, vector in enumerate(vectors.T):
        along = [(vector @ m, vector @ v @ vector) for m, v in levels]
        mean, variance = guided_law(schedule, along, [scale])
        assert vector @ found[0] == pytest.approx(mean, abs=0.05), k
        assert vector @ found[1] @ vector == pytest.approx(variance, rel=0.15), k
