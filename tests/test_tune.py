"""What is fitted to a model, a plan and the optimal variance; and whether a model uses its classes."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from alphabar import (
    Dataset,
    DataSpec,
    Denoiser,
    Guidance,
    Run,
    Schedule,
    Trainer,
    ancestral,
    condition_probe,
    dpmpp_sde,
    estimate_x0_mse,
    fit_plan,
    load,
    make_plan,
    prepare,
    sample,
    store_plan,
)
from alphabar.cli.main import app
from alphabar.files import load_tensors
from alphabar.random import stream
from alphabar.sampling.sampler import draw_labels
from alphabar.sampling.tune import LONG
from alphabar.theory.plans import GRIDS, SAMPLERS
from tiny import NETWORK, tiny_config, tiny_data, tiny_denoiser

LINEAR = Schedule.linear(1000)
POINTS = [  # two classes of two points each
    [[0.2, -0.4, -0.8, -0.9], [0.6, 0.7, 0.2, 0.4]],
    [[0.1, 0.8, 0.6, -0.9], [0.6, -0.8, 0.4, -0.6]],
]
SHAPE = (1, 2, 2)


class Mixture(nn.Module):
    """The ideal x_0-network of Gaussians about points, per class; a class may be hidden, or ignored."""

    config = None

    def __init__(self, schedule, points, variance, ignores_class=False):
        super().__init__()
        self.schedule, self.variance, self.ignores_class = schedule, variance, ignores_class
        self.points = np.array(points)
        self.num_classes = len(points)

    def forward(self, x, c_noise, label):
        bar = float(self.schedule.alpha_bar_at(float(c_noise[0]) + 1))
        a, v = math.sqrt(bar), bar * self.variance + 1 - bar
        points = torch.from_numpy(self.points.reshape(-1, self.points.shape[-1])).to(x)
        away = x.flatten(1)[:, None] - a * points
        likely = -away.square().sum(-1) / (2 * v)
        if label is not None and not self.ignores_class:
            of = torch.arange(self.num_classes).repeat_interleave(self.points.shape[1])
            other = (label[:, None] >= 0) & (label[:, None] != of)
            likely = likely.masked_fill(other, -math.inf)
        each = points + a * self.variance / v * away
        return (torch.softmax(likely, 1)[..., None] * each).sum(1).reshape(x.shape)


def ideal(points=POINTS, variance=0.04, shape=SHAPE, bounded=False, classes=False, **options):
    low, high = (-1.0, 1.0) if bounded else (None, None)
    names = tuple("abc"[: len(points)]) if classes else ()
    spec = DataSpec(shape, "float32", low, high, 0.0, 1.0, classes=names)
    denoiser = Denoiser(Mixture(LINEAR, points, variance, **options), LINEAR, "x0", spec)
    denoiser.label_dropout = 0.1 if classes else 0.0
    return denoiser


def noises(denoiser, first, n, seed=0):
    shape = denoiser.data.shape
    return np.stack(
        [stream(seed, "tune", i).standard_normal(shape, np.float32) for i in range(first, first + n)]
    )


def ends(denoiser, plan, first, n, seed=0, guidance=1.0):
    """Where `sample` ends with a plan, from noises first … first + n - 1."""
    labels = draw_labels(denoiser.data, np.arange(first, first + n), seed)
    label = None if labels is None else labels.tolist()
    start = noises(denoiser, first, n, seed)
    return sample(denoiser, n, x_t=start, label=label, plan=plan, guidance=guidance).images


def distances(denoiser, plans, *which, **how):
    """Root mean square, over noises, between where each plan and the long run end."""
    long = make_plan(denoiser.schedule, "dpmpp", LONG, grid="log_snr", order=2)
    far = ends(denoiser, long, *which, **how)
    return [float(np.sqrt(np.mean((ends(denoiser, p, *which, **how) - far) ** 2))) for p in plans]


# --- a plan fitted to a model --------------------------------------------------------------------

fitted = partial(fit_plan, noise=False)


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
    for sampler, grid in itertools.product(SAMPLERS, GRIDS):
        other = make_plan(denoiser.schedule, sampler, evaluations, grid=grid)
        if not other.stochastic:
            plain[f"{sampler}, {grid}"] = other
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
    (plan, report), (plain, other) = fit_plan(ideal(), 5, n=8), fitted(ideal(), 5, n=8)
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
    long = make_plan(LINEAR, "dpmpp", LONG, grid="log_snr", order=2)
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
        assert sample(denoiser, 1, steps=3, guidance=w).facts["plan"] == plans[w].made_by
        assert plans[w].made_by["error"] < 0.5 * plans[w].made_by["error_before"]
        own, foreign = distances(denoiser, [plans[w], plans[other]], 0, 16, guidance=w)
        assert own == pytest.approx(plans[w].made_by["error_fitted_to"], rel=1e-3)
        assert own < 0.7 * foreign
    for guidance in (2.0, Guidance(3.0, (0, 500)), Guidance(3.0, rescale=0.5)):
        assert sample(denoiser, 1, steps=3, guidance=guidance).facts["plan"]["sampler"] != "fitted"


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
        (4, {"guidance": Guidance(2.0)}, "guidance needs a model with classes"),
    ],
)
def test_what_cannot_be_fitted_is_refused(evaluations, options, message):
    with pytest.raises(ValueError, match=message):
        fitted(ideal(), evaluations, **options)


# --- kept with the model -------------------------------------------------------------------------


def stand_in(schedule, steps, guidance=1.0, order=1):
    """A plan that says it was fitted."""
    plan = make_plan(schedule, "ipndm", steps, order=order)
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
    denoiser = tiny_denoiser("v", channel_mult=[1], attention_levels=[])
    denoiser.label_dropout = 0.1
    for w in (1.0, 2.0):
        store_plan(denoiser, stand_in(denoiser.schedule, 3, w))
    path = tmp_path_factory.mktemp("kept") / "model.safetensors"
    denoiser.save(path)
    return path


PICTURE = np.zeros((1, 8, 8), np.uint8)


@pytest.mark.parametrize(
    "how",
    [
        {"steps": 3},
        {"steps": 3, "guidance": 2},
        {"steps": 3, "start": 100},
        {"steps": 3, "clip": False},
        {"steps": 3, "x_0": PICTURE},
    ],
)
def test_a_kept_plan_is_used_for_steps_alone(kept, how):
    denoiser = load(kept)
    drawn = sample(denoiser, 2, **how)
    plan = denoiser.plans[how.get("guidance", 1) - 1]
    assert drawn.facts["plan"] == plan.made_by
    assert drawn.facts["times"] == plan.times.tolist()
    assert np.array_equal(
        drawn.images,
        sample(denoiser, 2, plan=plan, **{k: how[k] for k in how if k not in ("steps", "start")}).images,
    )


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"steps": 4},
        {"steps": 3, "sampler": "ddim"},
        {"steps": 3, "grid": "karras"},
        {"steps": 3, "sampler": "ddpm", "variance": "beta"},
        {"steps": 3, "guidance": 3.0},
        {"steps": 3, "guidance": Guidance(2.0, (0, 50))},
        {"steps": 3, "guidance": Guidance(2.0, rescale=0.5)},
        {"steps": 3, "guidance": Guidance(2.0, by=tiny_denoiser(seed=1))},
        {"steps": 3, "start": 50, "x_0": PICTURE},
        {"times": (100, 60, 30, 0)},
    ],
)
def test_and_for_nothing_else(kept, how):
    denoiser = load(kept)
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
    how = {"n": 2, "sampler": "ddpm", "steps": 4, "variance": "optimal"}
    with pytest.raises(ValueError, match="estimated from the model once: alphabar tune RUN --variance"):
        sample(denoiser, **how)
    denoiser.x0_mse = estimate_x0_mse(denoiser, n=4)
    denoiser.save(tmp_path / "a.safetensors")
    denoiser = load(tmp_path / "a.safetensors")
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


# --- the commands --------------------------------------------------------------------------------


def call(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, and one that stopped half-way."""
    place = tmp_path_factory.mktemp("trained")
    config = tiny_config(images=48, network={**NETWORK, "channel_mult": [1], "attention_levels": []})
    for row in Run(place / "half", tiny_data(), config).train():
        if row["step"] == 3:
            break
    shutil.copytree(place / "half", place / "run")
    list(Run(place / "run", tiny_data(), config).train())
    return SimpleNamespace(run=place / "run", half=place / "half", config=config)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the finished run, to change."""
    return shutil.copytree(trained.run, tmp_path / "run")


def tensors_of(path):
    return {name: tensor.numpy().tobytes() for name, tensor in load_tensors(path)[0].items()}


def test_tune_keeps_a_plan_in_the_model_and_sample_uses_it(run, tmp_path):
    path = run / "model.safetensors"
    before, weights, about = load(path).digest, tensors_of(path), load(path).about
    assert "nothing (alphabar tune)" in call("info", run)
    shown = call("tune", run, "--evaluations", "2", "--noises", "8")
    (plan,) = load(path).plans
    report = plan.made_by
    assert not plan.stochastic  # noise needs some rows to pay
    assert (plan.num_evaluations, report["sampler"], report["noises"]) == (2, "fitted", 8)
    assert "on 8 held-out noises" in shown
    assert f"(root mean square, model space): {report['error']:.4f}" in shown
    assert f"the best plain plan ({report['before']}): {report['error_before']:.4f}" in shown
    assert f"kept in {path}; now: alphabar sample {run} --steps 2" in shown.replace(" \n", " ")
    assert tensors_of(path) == weights
    assert load(path).digest != before
    assert load(path).about == about
    assert "fitted --steps 2" in call("info", run)
    listed = json.loads(CliRunner().invoke(app, ["info", str(run), "--json"]).stdout)
    assert listed["plans"] == [plan.to_dict()]
    call("sample", run, "-n", "2", "--steps", "2", "--out", tmp_path / "s")
    facts = json.loads((tmp_path / "s/samples.json").read_text())
    assert facts["plan"] == plan.made_by
    assert facts["times"] == plan.times.tolist()
    drawn = sample(load(run), 2, plan=plan).images
    assert np.load(tmp_path / "s/samples.npy").tobytes() == drawn.tobytes()


def test_tune_to_another_file_leaves_the_model_and_adds_to_what_it_has(run, tmp_path):
    path, other = run / "model.safetensors", tmp_path / "other.safetensors"
    denoiser = load(path)
    store_plan(denoiser, stand_in(denoiser.schedule, 3))
    denoiser.save(path)
    before = path.read_bytes()
    words = ["--variance", "--evaluations", "2", "--noises", "8", "--guidance", "2", "--deterministic"]
    call("tune", run, *words, "--out", other)
    assert path.read_bytes() == before
    assert tensors_of(other) == tensors_of(path)
    tuned = load(other)
    assert [(p.num_evaluations, p.made_by["guidance"]["scale"]) for p in tuned.plans] == [(2, 2.0), (3, 1.0)]
    assert not tuned.plans[0].stochastic
    assert list(tuned.x0_mse) == list(estimate_x0_mse(denoiser, 8))
    listed = "--steps 2 --guidance 2, --steps 3, --sampler ddpm --variance optimal"
    assert listed in call("info", other)
    drawn = ["sample", other, "-n", "1", "--steps", "2"]
    call(*drawn, "--sampler", "ddpm", "--variance", "optimal", "--out", tmp_path / "a")
    call(*drawn, "--guidance", "2", "--out", tmp_path / "b")
    plans = [json.loads((tmp_path / name / "samples.json").read_text())["plan"] for name in "ab"]
    assert plans[0]["variance"] == "optimal"
    assert plans[1] == tuned.plans[0].made_by
    with pytest.raises(ValueError, match="exists already"):
        call("tune", run, "--evaluations", "2", "--noises", "8", "--out", other)


def test_tune_refuses_before_anything_is_written(run, tmp_path):
    before = (run / "model.safetensors").read_bytes()
    for words, message in [
        ([], "say what to fit: --evaluations N, --variance, or both"),
        (["--evaluations", "1"], "2 to 20 evaluations, got 1"),
        (["--evaluations", "21"], "got 21"),
        (["--evaluations", "3", "--noises", "4"], "at least 8 noises"),
        (["--evaluations", "3", "--guidance", "-1"], "scale must be at least 0"),
        (["--evaluations", "3", "--out", "x.png"], r"must end in \.safetensors"),
    ]:
        with pytest.raises(ValueError, match=message):
            call("tune", run, *words)
    assert (run / "model.safetensors").read_bytes() == before


def test_a_checkpoint_is_never_written_over(run, tmp_path):
    checkpoint = sorted((run / "checkpoints").glob("step-*.safetensors"))[-1]
    before = checkpoint.read_bytes()
    with pytest.raises(ValueError, match="is a checkpoint, from which training resumes: give --out"):
        call("tune", checkpoint, "--variance", "--noises", "8")
    call("tune", checkpoint, "--variance", "--noises", "8", "--out", tmp_path / "new.safetensors")
    assert load(tmp_path / "new.safetensors").x0_mse
    assert checkpoint.read_bytes() == before


def test_resuming_a_finished_run_keeps_what_was_fitted(run, trained):
    denoiser = load(run)
    store_plan(denoiser, stand_in(denoiser.schedule, 3))
    denoiser.x0_mse = ([1.0, 100.0], [0.1, 0.2])
    denoiser.save(run / "model.safetensors")
    before = (run / "model.safetensors").read_bytes()
    said = []
    assert list(Run(run, tiny_data(), trained.config, say=said.append).train()) == []
    assert not said
    assert (run / "model.safetensors").stat().st_size == len(before)
    again = load(run)
    assert [plan.to_dict() for plan in again.plans] == [plan.to_dict() for plan in denoiser.plans]
    assert list(again.x0_mse) == list(denoiser.x0_mse)
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("fitted", ["plan", "variance", "nothing"])
def test_training_on_drops_what_was_fitted_and_says_so(trained, tmp_path, fitted):
    run = shutil.copytree(trained.half, tmp_path / "run")
    denoiser = load(run)
    if fitted == "plan":
        store_plan(denoiser, stand_in(denoiser.schedule, 3))
    if fitted == "variance":
        denoiser.x0_mse = ([1.0, 100.0], [0.1, 0.2])
    denoiser.save(run / "model.safetensors")
    said = []
    assert len(list(Run(run, tiny_data(), trained.config, say=said.append).train())) == 3
    dropped = "the weights have changed: what alphabar tune fitted to those before is dropped"
    assert said == [dropped] * (fitted != "nothing")
    assert (load(run).plans, load(run).x0_mse) == ([], None)
    assert (run / "model.safetensors").read_bytes() == (trained.run / "model.safetensors").read_bytes()


def test_a_checkpoint_has_nothing_fitted(run):
    denoiser = load(run)
    store_plan(denoiser, stand_in(denoiser.schedule, 3))
    denoiser.x0_mse = ([1.0, 100.0], [0.1, 0.2])
    denoiser.save(run / "model.safetensors")
    older = load(sorted((run / "checkpoints").glob("step-*.safetensors"))[0])
    assert (older.plans, older.x0_mse) == ([], None)


# --- is the class used ---------------------------------------------------------------------------


def two_classes(m, n, shape=SHAPE, v=0.25):
    """An ideal model of N(-m, v) and N(m, v), and n samples of them with their labels."""
    size = math.prod(shape)
    labels = np.arange(n) % 2
    z = np.random.default_rng(0).standard_normal((n, *shape))
    images = (m * (2 * labels - 1))[:, None, None, None] + math.sqrt(v) * z
    return ideal([[[-m] * size], [[m] * size]], v, shape, classes=True), images.astype(np.float32), labels


@pytest.mark.parametrize("m", [0.1, 0.5])
def test_the_probes_gain_is_the_closed_form(m):
    """The wrong class adds (2m (1 - a k))^2 to the posterior variance."""
    v = 0.25
    denoiser, images, labels = two_classes(m, 400)
    probe = condition_probe(denoiser, images, labels)
    assert probe.times == [63, 188, 313, 438, 563, 688, 813, 938]
    bar = LINEAR.alpha_bar_at(probe.times)
    posterior = v * (1 - bar) / (bar * v + 1 - bar)
    more = (2 * m * (1 - bar * v / (bar * v + 1 - bar))) ** 2
    np.testing.assert_allclose(probe.gain, more / posterior, rtol=0.3, atol=0.12)
    assert probe.total == pytest.approx(more.sum() / posterior.sum(), rel=0.2, abs=0.03)
    assert probe.used
    assert condition_probe(denoiser, images, labels) == probe


def test_a_gain_must_be_both_large_and_beyond_chance():
    few = condition_probe(*two_classes(0.1, 8))
    assert few.total > 0.05
    assert few.z < 3
    assert not few.used
    hardly = condition_probe(*two_classes(0.02, 300, (1, 8, 8)))
    assert hardly.total < 0.01
    assert hardly.z > 4.5
    assert not hardly.used


def test_own_samples_are_probed_unless_others_are_given():
    denoiser = ideal(classes=True)
    probe = condition_probe(denoiser, n=32)
    drawn = sample(denoiser, 32, label=[0, 1] * 16)
    assert probe == condition_probe(denoiser, drawn.images, drawn.labels)
    assert probe.used
    assert probe.total > 0.5
    assert condition_probe(denoiser, n=32, seed=1) != probe


def test_a_class_that_is_ignored_or_taken_for_another_is_not_used():
    probe = condition_probe(ideal(classes=True, ignores_class=True), n=32)
    assert (probe.gain, probe.total, probe.z, probe.used) == ([0.0] * 8, 0.0, 0.0, False)
    denoiser = ideal(classes=True)
    drawn = sample(denoiser, 32, label=[0, 1] * 16)
    swapped = condition_probe(denoiser, drawn.images, 1 - drawn.labels)
    assert not swapped.used
    assert swapped.total < -0.3


def test_the_wrong_class_is_any_of_the_others_and_never_the_right_one():
    denoiser = ideal([*POINTS, POINTS[0]], classes=True)
    seen = []
    denoiser.net.register_forward_pre_hook(lambda _, args: seen.append(args[2].numpy()))
    labels = np.arange(60) % 3
    condition_probe(denoiser, np.zeros((60, *SHAPE), np.float32), labels)
    seen = np.concatenate(seen).reshape(8, 2, 60)
    assert np.array_equal(seen[:, 0], np.tile(labels, (8, 1)))
    wrong = seen[0, 1]
    assert np.array_equal(seen[:, 1], np.tile(wrong, (8, 1)))
    for label in range(3):
        assert set(wrong[labels == label]) == {0, 1, 2} - {label}


@pytest.fixture(scope="module")
def labelled():
    """{shuffled: (model, its data)}: one was told which side is bright, one at random.

    Within each side half of the labels are each class, so that not by chance either they say anything:
    in a plain permutation of 500 they are right for 50 ± 2 %, which is learned, and which the probe sees.
    """
    made = {}
    network = {**NETWORK, "channel_mult": [1], "attention_levels": []}
    settings = {"batch_size": 16, "images": 960, "lr": 5e-3, "warmup_images": 64, "network": network}
    for shuffled in (False, True):
        data = tiny_data(500)
        if shuffled:
            labels, rng = np.empty_like(data.labels), np.random.default_rng(0)
            for side in (0, 1):
                there = data.labels == side
                labels[there] = rng.permutation(np.arange(there.sum()) % 2)
            data = Dataset(data.images, labels, data.spec, "shuffled")
        trainer = Trainer(tiny_config(head="v", loss="v", **settings), data)
        while trainer.images < 960:
            trainer.update(960)
        made[shuffled] = trainer.ema, data
    return made


@pytest.mark.parametrize("own", [True, False], ids=["own samples", "held-out"])
def test_a_model_that_learned_its_classes_passes_and_one_of_shuffled_labels_fails(labelled, own):
    probes = {}
    for shuffled, (denoiser, data) in labelled.items():
        held_out = data.held_out
        given = () if own else (data.images[held_out], data.labels[held_out])
        probes[shuffled] = condition_probe(denoiser, *given, n=48)
    assert probes[False].used
    assert probes[False].total > 0.5
    assert probes[False].z > 20
    assert not probes[True].used
    assert abs(probes[True].total) < 0.05


def test_the_probes_exit_code_says_it(labelled, tmp_path):
    for shuffled, (denoiser, _) in labelled.items():
        file = tmp_path / f"{shuffled}.safetensors"
        denoiser.save(file)
        result = CliRunner().invoke(app, ["probe", str(file), "-n", "32"])
        assert result.exit_code == int(shuffled), result.output
        said = "the class is hardly used, or not at all" if shuffled else "the class is used"
        assert said in " ".join(result.stdout.split())
        assert "t = 94" in result.stdout


def test_the_command_probes_held_out_samples_of_data(labelled, tmp_path):
    denoiser, _ = labelled[False]
    denoiser.precision = "float32"  # as it will be loaded
    denoiser.save(tmp_path / "model.safetensors")
    data = tiny_data(120, seed=1)
    for name in ("left", "right", "more/left", "more/middle"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
    for i, (image, label) in enumerate(zip(data.images, data.labels)):
        name = data.spec.classes[label]
        Image.fromarray(image[0]).save(tmp_path / "pictures" / name / f"{i}.png")
    shutil.move(tmp_path / "pictures/more", tmp_path / "more")
    pictures = prepare(tmp_path / "pictures", 8, channels="grey")
    held_out = pictures.held_out
    assert len(held_out) == 6
    probe = condition_probe(denoiser, pictures.images[held_out], pictures.labels[held_out])
    shown = call("probe", tmp_path / "model.safetensors", "--data", tmp_path / "pictures")
    assert f"{probe.total:+.2%} (z = {probe.z:.1f}): the class is used" in shown
    for i, image in enumerate(data.images[:10, 0]):
        Image.fromarray(image).save(tmp_path / "more" / ("left", "middle")[i % 2] / f"{i}.png")
    with pytest.raises(ValueError, match=r"classes left, right, and .*more left, middle"):
        call("probe", tmp_path / "model.safetensors", "--data", tmp_path / "more")


def test_what_cannot_be_probed_is_refused():
    images, labels = np.zeros((4, *SHAPE), np.float32), np.zeros(4, int)
    for denoiser, arguments, message in [
        (ideal(), {}, "needs a model with classes, and this one has none"),
        (ideal(POINTS[:1], classes=True), {}, "needs a model with classes, and this one has 1"),
        (ideal(classes=True), {"images": images}, "give both images and their labels, or neither"),
        (ideal(classes=True), {"labels": labels}, "give both images and their labels, or neither"),
        (ideal(classes=True), {"n": 1}, "needs 2 samples or more, got n = 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            condition_probe(denoiser, **arguments)


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("evaluations", [6, 10])
def test_a_fitted_plan_with_noise_keeps_the_datas_spread(bounded, evaluations):
    denoiser = ideal(bounded=bounded)
    plan, _ = fit_plan(denoiser, evaluations, n=64, seed=1)
    images = sample(denoiser, 512, plan=plan).images.reshape(512, -1)
    spread = np.array(POINTS).reshape(-1, 4).var(0) + 0.04
    assert (images.var(0) / spread).mean() == pytest.approx(1, abs=0.4)
    assert np.abs(plan.B[(plan.C > 0) | (plan.times[1:] == 0)]).max() < 5  # noise isn't amplified


def test_equal_guidance_is_one_whatever_the_number_is_written_as():
    denoiser = ideal(classes=True)
    for w in (2, 2.0, np.float64(2)):
        store_plan(denoiser, stand_in(LINEAR, 3, w))
    assert len(denoiser.plans) == 1


def test_the_command_probes_arrays(labelled, tmp_path):
    denoiser, data = labelled[False]
    denoiser.data = DataSpec(**{**denoiser.data.to_dict(), "classes": ("0", "1")})
    denoiser.save(tmp_path / "model.safetensors")
    np.savez(tmp_path / "data.npz", images=data.images[:, 0], labels=data.labels)
    assert "the class is used" in call(
        "probe", tmp_path / "model.safetensors", "--data", tmp_path / "data.npz"
    )


@pytest.mark.parametrize(("images", "labels"), [(4, [0, 1, 0]), (1, [0]), (2, [0, 7]), (2, [0, -1]), (0, [])])
def test_labels_that_cannot_be_probed(images, labels):
    with pytest.raises(ValueError, match=r"label|samples"):
        condition_probe(ideal(classes=True), np.zeros((images, *SHAPE), np.float32), np.array(labels, int))
