"""What is fitted to a model: a plan of few evaluations, and the optimal variance."""

from __future__ import annotations

import itertools
import json
from functools import partial

import numpy as np
import pytest
import torch

from alphabar import rng
from alphabar.data import ClassCondition, Space
from alphabar.model import Codec, Denoiser, load, save
from alphabar.sampling import Guidance, estimate_x0_mse, fit_sampler, sample, store_plan
from alphabar.sampling.bench import LONG
from alphabar.sampling.told import tell
from alphabar.theory.plans import SAMPLERS, SPACINGS, ancestral, dpmpp_sde, make_plan
from alphabar.theory.schedule import Schedule
from tiny import Mixture, tiny_denoiser

LINEAR = Schedule.linear(1000)
POINTS = [  # two classes of two points each
    [[0.2, -0.4, -0.8, -0.9], [0.6, 0.7, 0.2, 0.4]],
    [[0.1, 0.8, 0.6, -0.9], [0.6, -0.8, 0.4, -0.6]],
]
SHAPE = (1, 2, 2)


def ideal(points=POINTS, variance=0.04, shape=SHAPE, bounded=False, classes=False, **options):
    low, high = (-1.0, 1.0) if bounded else (None, None)
    codec = Codec(Space(shape, "float32", low, high), 0.0, 1.0)
    conditions = {"class": ClassCondition(tuple("abc"[: len(points)]), dropout=0.1)} if classes else {}
    return Denoiser(Mixture(LINEAR, points, variance, **options), LINEAR, "x0", codec, conditions)


def noises(denoiser, first, n, seed=0):
    return rng.normal(seed, "fit", range(first, first + n), shape=denoiser.space.shape)


def ends(denoiser, plan, first, n, seed=0, guidance=1.0):
    """Where `sample` ends with a plan, from noises first … first + n - 1."""
    told = tell(denoiser, np.arange(first, first + n), seed, {})
    start = noises(denoiser, first, n, seed)
    return sample(denoiser, n, x_t=start, cond=told, plan=plan, guidance=guidance).images


def distances(denoiser, plans, *which, **how):
    """Root mean square, over noises, between where each plan and the long run end."""
    long = make_plan(denoiser.schedule, "dpmpp", LONG, spacing="log_snr", order=2)
    far = ends(denoiser, long, *which, **how)
    return [float(np.sqrt(np.mean((ends(denoiser, p, *which, **how) - far) ** 2))) for p in plans]


# --- a plan fitted to a model --------------------------------------------------------------------

fitted = partial(fit_sampler, noise=False)


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("evaluations", [2, 4])
@pytest.mark.filterwarnings("ignore:from sigma", "ignore:order")
def test_a_fitted_plan_comes_much_nearer_than_any_plain_one(bounded, evaluations):
    """And what is reported is what `sample` does, on noises that it was not fitted to."""
    denoiser = ideal(bounded=bounded)
    said = []
    plan, report = fitted(denoiser, evaluations, n=32, progress=said.append)
    assert plan.num_evaluations == evaluations
    assert report["error"] < 0.5 * report["error_before"]
    reached = [*distances(denoiser, [plan], 32, 32), *distances(denoiser, [plan], 0, 32)]
    reported = [report["error"], report["error_fitted_to"]]
    plain = {}
    for sampler, spacing in itertools.product(SAMPLERS, SPACINGS):
        other = make_plan(denoiser.schedule, sampler, evaluations, spacing=spacing)
        if not other.stochastic:
            plain[f"{sampler}, {spacing}"] = other
    errors = dict(zip(plain, distances(denoiser, plain.values(), 32, 32)))
    best = min(errors, key=errors.get)
    assert errors[best] > 2 * reached[0]
    if bounded:  # the report is of the end before `sample` clips it
        assert np.all(np.array(reached) <= 1.001 * np.array(reported))
    else:
        assert reached == pytest.approx(reported, rel=1e-3, abs=1e-5)
        assert best == report["before"]
        assert errors[best] == pytest.approx(report["error_before"], rel=1e-3)
    assert (report["noises"], report["seed"]) == (32, 0)
    assert plan.made_by == {
        "sampler": "fitted",
        "guidance": Guidance().facts(),
        "noise": False,
        **report,
    }
    assert "long runs of 100 evaluations from 64 noises" in said[0]
    assert said[-1].startswith("error 0.")


def test_it_adds_no_noise_its_times_fall_and_it_fits_its_schedule():
    plan, _ = fitted(ideal(), 5, n=8)
    assert not plan.stochastic
    assert np.all(np.diff(plan.times) < 0)
    assert (plan.times[0], plan.times[-1]) == (1000, 0)
    for k in range(5):
        assert not plan.B[k, k + 1 :].any()  # of predictions that there are not yet
    plan.check_fits(LINEAR)
    again = type(plan).from_dict(json.loads(json.dumps(plan.to_dict(), allow_nan=False)))
    assert again.to_dict() == plan.to_dict()


def test_the_same_seed_gives_the_same_bits_and_another_one_another_plan():
    (a, first), (b, second), (c, _) = (fitted(ideal(), 3, n=8, seed=seed) for seed in (4, 4, 5))
    assert a.to_dict() == b.to_dict()
    assert first == second
    assert a.times.tolist() != c.times.tolist()
    assert not np.array_equal(a.A, c.A)


def test_with_noise_its_late_rows_are_those_of_the_sde_on_the_same_times_but_for_the_last():
    """Unless told otherwise; the report is that of the plan without."""
    (plan, report), (plain, other) = fit_sampler(ideal(), 5, n=8), fitted(ideal(), 5, n=8)
    assert report == other
    assert (plan.made_by.pop("noise"), plain.made_by.pop("noise")) == (True, False)
    assert plan.made_by == plain.made_by
    assert np.array_equal(plan.times, plain.times)
    late = (LINEAR.alpha_bar_at(plan.times)[1:] > 0.5) & (plan.times[1:] > 0)
    assert 0 < late.sum() < 4
    assert np.array_equal(plan.C > 0, late)
    sde = dpmpp_sde(LINEAR, plan.times)
    columns = sde.B.shape[1]
    assert np.array_equal(plan.C[late], sde.C[late])
    assert np.array_equal(plan.A[late], sde.A[late])
    assert np.array_equal(plan.B[late, :columns], sde.B[late])
    assert not plan.B[late, columns:].any()
    early = ~late & (plan.times[1:] > 0)
    assert np.array_equal(plan.A[early], plain.A[early])
    assert np.array_equal(plan.B[early], plain.B[early])
    assert not np.array_equal(plan.B[-1], plain.B[-1])  # fitted to where the noise leads


def test_one_row_is_the_least_squares_solution():
    """With times given, rows by NumPy's least squares towards the states of the long run."""
    denoiser = ideal()
    plan, _ = fitted(denoiser, 2, n=16)
    start = noises(denoiser, 0, 16)
    long = make_plan(LINEAR, "dpmpp", LONG, spacing="log_snr", order=2)
    states = sample(denoiser, 16, x_t=start, plan=long, frames=LONG + 1).frames
    lam, wanted = LINEAR.lam_at(long.times[:-1]), LINEAR.lam_at(plan.times[1])
    targets = [np.empty_like(start), states[-1]]
    for place in np.ndindex(start.shape):
        targets[0][place] = np.interp(wanted, lam, states[:-1][(slice(None), *place)])
    x, history = start, []
    for k, target in enumerate(targets):
        history.insert(0, denoiser(torch.from_numpy(x), plan.times[k]).numpy())
        terms = np.stack([term.astype(np.float64).ravel() for term in (x, *history)], 1)
        x = (plan.A[k] * terms[:, 0] + terms[:, 1:] @ plan.B[k, : k + 1]).reshape(x.shape).astype(np.float32)
        best = np.linalg.lstsq(terms, target.ravel().astype(np.float64), rcond=None)[0]
        best = np.square(terms @ best - target.ravel()).mean()
        assert np.square(x - target).mean() == pytest.approx(best, rel=1e-3, abs=1e-8)


def test_each_guidance_has_its_own_plan():
    denoiser = ideal(classes=True)
    plans = {w: fitted(denoiser, 3, n=16, guidance=Guidance(w))[0] for w in (1.0, 3.0)}
    for plan in plans.values():
        store_plan(denoiser, plan)
    assert len(denoiser.plans) == 2
    for w, other in ((1.0, 3.0), (3.0, 1.0)):
        assert plans[w].made_by["guidance"] == Guidance(w).facts()
        assert sample(denoiser, 1, evaluations=3, guidance=w).facts["plan"] == plans[w].made_by
        assert plans[w].made_by["error"] < 0.5 * plans[w].made_by["error_before"]
        own, foreign = distances(denoiser, [plans[w], plans[other]], 0, 16, guidance=w)
        assert own == pytest.approx(plans[w].made_by["error_fitted_to"], rel=1e-3)
        assert own < 0.7 * foreign
    others = {"guidance": 2.0}, {"guidance_interval": (0, 500)}, {"guidance_rescale": 0.5}
    for other in others:
        settings = {"evaluations": 3, "guidance": 3.0, **other}
        assert sample(denoiser, 1, **settings).facts["plan"]["sampler"] != "fitted"


def test_a_plan_can_be_fitted_to_a_model_under_autoguidance():
    bad = ideal(variance=0.1)
    plan, report = fitted(ideal(), 3, n=16, guidance=Guidance(2.0, by=bad))
    assert report["error"] < report["error_before"]
    assert plan.made_by["guidance"]["scale"] == 2.0


@pytest.mark.parametrize(
    ("evaluations", "options", "message"),
    [
        (1, {}, "2 to 20 evaluations, got 1: one has no times to choose"),
        (0, {}, "2 to 20 evaluations, got 0"),
        (-3, {}, "got -3"),
        (21, {}, "2 to 20 evaluations, got 21"),
        (2.5, {}, "got 2.5"),
        (True, {}, "got True"),
        (4, {"n": 7}, "at least 8 noises to be fitted to, a whole number, got 7"),
        (4, {"seed": -1}, "seed must be"),
        (4, {"guidance": Guidance(2.0)}, "guidance needs a model that is told something"),
    ],
)
def test_what_cannot_be_fitted_is_refused(evaluations, options, message):
    with pytest.raises(ValueError, match=message):
        fitted(ideal(), evaluations, **options)


# --- kept with the model -------------------------------------------------------------------------


def stand_in(schedule, evaluations, guidance=1.0, order=1):
    """A plan that says it was fitted."""
    plan = make_plan(schedule, "ipndm", evaluations, order=order)
    plan.made_by.clear()
    plan.made_by.update({"sampler": "fitted", "guidance": Guidance(guidance).facts()})
    return plan


def test_a_plan_replaces_the_one_of_its_kind_and_no_other():
    denoiser = ideal(classes=True)
    plans = [stand_in(LINEAR, steps, w) for steps, w in ((4, 1.0), (3, 1.0), (3, 2.0), (2, 1.0))]
    for plan in plans:
        store_plan(denoiser, plan)
    assert [plan.num_evaluations for plan in denoiser.plans] == [2, 3, 3, 4]
    newer = stand_in(LINEAR, 3, order=2)
    store_plan(denoiser, newer)
    assert len(denoiser.plans) == 4
    assert all(any(kept is plan for kept in denoiser.plans) for plan in (newer, plans[0], *plans[2:]))
    assert not any(kept is plans[1] for kept in denoiser.plans)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A model file with plans for 3 evaluations, without guidance and with 2."""
    denoiser = tiny_denoiser("v", dropout=0.1, channel_mult=[1], attention_levels=[])
    for w in (1.0, 2.0):
        store_plan(denoiser, stand_in(denoiser.schedule, 3, w))
    path = tmp_path_factory.mktemp("kept") / "model.safetensors"
    save(denoiser, path)
    return path


PICTURE = np.zeros((1, 8, 8), np.uint8)


@pytest.mark.parametrize(
    "how",
    [
        {"evaluations": 3},
        {"evaluations": 3, "guidance": 2},
        {"evaluations": 3, "start": 100},
        {"evaluations": 3, "clip": False},
        {"evaluations": 3, "x_0": PICTURE},
    ],
)
def test_a_kept_plan_is_used_for_evaluations_alone(kept, how):
    denoiser = load(kept, "cpu")
    drawn = sample(denoiser, 2, **how)
    plan = denoiser.plans[how.get("guidance", 1) - 1]
    assert drawn.facts["plan"] == plan.made_by
    assert drawn.facts["times"] == plan.times.tolist()
    assert np.array_equal(
        drawn.images,
        sample(denoiser, 2, plan=plan, **{k: how[k] for k in how.keys() - {"evaluations", "start"}}).images,
    )


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"evaluations": 4},
        {"evaluations": 3, "sampler": "ddim"},
        {"evaluations": 3, "spacing": "karras"},
        {"evaluations": 3, "sampler": "ddpm", "variance": "beta"},
        {"evaluations": 3, "guidance": 3.0},
        {"evaluations": 3, "guidance": 2.0, "guidance_interval": (0, 50)},
        {"evaluations": 3, "guidance": 2.0, "guidance_rescale": 0.5},
        {"evaluations": 3, "guidance": 2.0, "guide": tiny_denoiser(seed=1)},
        {"evaluations": 3, "start": 50, "x_0": PICTURE},
    ],
)
def test_and_for_nothing_else(kept, how):
    denoiser = load(kept, "cpu")
    drawn = sample(denoiser, 1, **how)
    assert drawn.facts["plan"]["sampler"] != "fitted"
    denoiser.plans = []
    assert np.array_equal(drawn.images, sample(denoiser, 1, **how).images)


# --- the optimal variance ------------------------------------------------------------------------


def test_the_error_of_x0_hat_is_the_posterior_variance_of_a_gaussian():
    m, v = 0.3, 0.25
    denoiser = ideal([[[m] * 16]], v, (1, 4, 4))
    times, found = estimate_x0_mse(denoiser, n=64)
    assert (times[0], times[-1]) == (1, 1000)
    assert len(times) == 24
    assert np.all(np.diff(times) > 0)
    bar = LINEAR.alpha_bar_at(times)
    ratio = np.array(found) / (v * (1 - bar) / (bar * v + 1 - bar))
    assert np.abs(ratio - 1).max() < 0.2  # of 1024 numbers, which has a standard error of 0.044
    assert ratio.mean() == pytest.approx(1, abs=0.06)
    assert estimate_x0_mse(denoiser, n=64) == (times, found)
    assert estimate_x0_mse(denoiser, n=64, seed=1)[1] != found


def test_few_times_are_each_taken_once():
    denoiser = tiny_denoiser("v")
    denoiser.schedule = Schedule.linear(10)
    assert estimate_x0_mse(denoiser, n=2)[0] == list(range(1, 11))


def test_the_optimal_variance_is_refused_without_it_and_larger_with_it(tmp_path):
    denoiser = tiny_denoiser("v")
    how = {"n": 2, "sampler": "ddpm", "evaluations": 4, "variance": "optimal"}
    with pytest.raises(ValueError, match="estimated from the model once: alphabar fit-sampler RUN"):
        sample(denoiser, **how)
    denoiser.x0_mse = estimate_x0_mse(denoiser, n=4)
    save(denoiser, tmp_path / "a.safetensors")
    denoiser = load(tmp_path / "a.safetensors", "cpu")
    drawn = sample(denoiser, **how)
    assert drawn.facts["plan"]["variance"] == "optimal"
    times = drawn.facts["times"]
    plan = ancestral(denoiser.schedule, times, "optimal", denoiser.x0_mse)
    assert np.array_equal(drawn.images, sample(denoiser, 2, plan=plan).images)
    posterior = ancestral(denoiser.schedule, times)
    assert np.all(plan.C[:-1] > posterior.C[:-1])
    assert plan.C[-1] == 0
    own = sample(denoiser, **how, x0_mse=([1, 100], [0.0, 0.0])).images
    assert np.array_equal(own, sample(denoiser, 2, plan=posterior).images)


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("evaluations", [6, 10])
def test_a_fitted_plan_with_noise_keeps_the_datas_spread(bounded, evaluations):
    denoiser = ideal(bounded=bounded)
    plan, _ = fit_sampler(denoiser, evaluations, n=64, seed=1)
    images = sample(denoiser, 512, plan=plan).images.reshape(512, -1)
    spread = np.array(POINTS).reshape(-1, 4).var(0) + 0.04
    assert (images.var(0) / spread).mean() == pytest.approx(1, abs=0.4)
    assert np.abs(plan.B[(plan.C > 0) | (plan.times[1:] == 0)]).max() < 5  # noise isn't amplified


def test_equal_guidance_is_one_whatever_the_number_is_written_as():
    denoiser = ideal(classes=True)
    for w in (2, 2.0, np.float64(2)):
        store_plan(denoiser, stand_in(LINEAR, 3, w))
    assert len(denoiser.plans) == 1


@pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 4), (1, 2, 2, 1)], ids=str)
def test_a_plan_and_the_variance_are_fitted_to_models_of_any_rank(shape):
    """The numbers are those of one rank, whatever shape they stand in."""
    whole, parts = ideal(), ideal(shape=shape)
    (a, first), (b, second) = (fitted(model, 2, n=8) for model in (whole, parts))
    np.testing.assert_allclose(a.times, b.times)
    assert first["error"] == pytest.approx(second["error"], rel=1e-4)
    assert estimate_x0_mse(parts, 20)[1] == pytest.approx(estimate_x0_mse(whole, 20)[1], rel=1e-4)
