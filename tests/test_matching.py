"""The guidance that is matched to data, where the right scale is known; and where `sample` takes it."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from alphabar.data import ClassCondition, Dataset, Space, VectorCondition
from alphabar.evaluation import guidance, match_guidance
from alphabar.evaluation.guidance import can_be_matched, evaluations, least_at, own_features
from alphabar.files import load_tensors, save_tensors
from alphabar.model import Codec, Denoiser, fit_codec, load, save
from alphabar.nn import blocks_of, build_network
from alphabar.runs import Run
from alphabar.runs import matching as runs_matching
from alphabar.sampling import (
    Guidance,
    Known,
    Observation,
    choose_plan,
    fit_sampler,
    sample,
    store_plan,
)
from alphabar.sampling.config import SampleConfig
from alphabar.sampling.sampler import stream_samples
from alphabar.theory.plans import make_plan
from alphabar.theory.schedule import Schedule
from tiny import NETWORK, Mixture, tiny_config, tiny_data, tiny_denoiser

SCHEDULE = Schedule.cosine(1000)
PATTERN = np.array([[1, 1, -1, -1]] * 4, float).ravel()
POINTS = np.array([[PATTERN], [-PATTERN]])
VARIANCE = 0.5  # so that a sample tells its class, but not for sure
MATCHED = {"scale": 1.6, "interval": [200.0, 800.0]}
VIT = {"name": "vit", "channels": 16, "head_channels": 8, "blocks": 3, "patch": 2}


class HalfTold(nn.Module):
    """A network that makes of its class a share of what it should: guidance of 1 / share is exactly right."""

    config = None

    def __init__(self, share):
        super().__init__()
        self.ideal, self.share = Mixture(SCHEDULE, POINTS, VARIANCE), share

    def forward(self, x, c_noise, cond):
        untold = self.ideal(x, c_noise, {})
        return untold + self.share * (self.ideal(x, c_noise, cond) - untold)


SPACE = Space((1, 4, 4), "float32", None, None)


def model(share=1.0, dropout=0.1, **other):
    conditions = {"class": ClassCondition(("a", "b"), dropout=dropout), **other}
    return Denoiser(HalfTold(share), SCHEDULE, "x0", Codec(SPACE, 0.0, 1.0), conditions)


def real(n=4000):
    """Samples of the two classes."""
    classes = np.arange(n) % 2
    noise = VARIANCE**0.5 * np.random.default_rng(0).standard_normal((n, 16))
    images = (POINTS[classes, 0] + noise).reshape(n, 1, 4, 4).astype(np.float32)
    return Dataset(images, SPACE, {"class": ClassCondition(("a", "b"))}, {"class": classes}, "two")


@pytest.fixture
def pixels(monkeypatch):
    """Compare pixels: in these models there is nothing else to see."""
    monkeypatch.setattr(guidance, "own_features", lambda _, images: images.reshape(len(images), -1))


@pytest.fixture
def steps_cost_nothing(monkeypatch):
    """As many of them with guidance as without, which is then nearer where it helps at all."""
    monkeypatch.setattr(guidance, "choose_plan", lambda *_: SimpleNamespace(num_evaluations=60))


@pytest.mark.usefixtures("pixels", "steps_cost_nothing")
@pytest.mark.parametrize(
    "right", [1.6, *(pytest.param(right, marks=pytest.mark.thorough) for right in (1.0, 1.3))]
)
def test_the_scale_that_makes_up_for_what_a_network_lacks_is_found(right, monkeypatch):
    monkeypatch.setattr(guidance, "WITHIN", (0.0, 1.0))  # everywhere: then it is exactly right
    found = match_guidance(model(1 / right), real(), n=1024)
    assert found["scale"] == pytest.approx(right, abs=0.2)
    assert found["interval"] == ([0.0, 1000.0] if found["scale"] > 1 else None)


@pytest.mark.usefixtures("pixels", "steps_cost_nothing")
def test_it_acts_within_some_times_alone():
    assert match_guidance(model(1 / 1.6), real(), n=512)["interval"] == [0.0, 700.0]


def test_the_least_of_a_parabola_is_found_within_its_scales():
    for at in (0.3, 1.0, 1.2, 1.77, 2.0, 3.1):
        within = min(max(at, 1), 2)
        found = least_at([(s - at) ** 2 + 4 for s in (1, 1.5, 2)])
        assert found == pytest.approx((within, (within - at) ** 2 + 4))
    assert least_at([1.0, 3.0, 2.0]) == (1.0, 1.0)
    assert least_at([3.0, 2.5, 1.0]) == (2.0, 1.0)


@pytest.mark.usefixtures("pixels")
@pytest.mark.parametrize(("unguided", "scale"), [(1.5, 1.5), (0.5, 1.0)])
def test_guidance_has_to_be_worth_the_steps_that_it_takes(unguided, scale, monkeypatch):
    distances, steps = iter([2.0, 1.0, 2.0, unguided]), []

    def drawn(model, n, **how):
        steps.append(how["evaluations"])
        return stream_samples(model, n, **how)

    monkeypatch.setattr(guidance, "frechet_distance", lambda *_: next(distances))
    monkeypatch.setattr(guidance, "stream_samples", drawn)
    assert match_guidance(model(), real(), n=16)["scale"] == scale
    assert steps == [12, 12, 12, 20]


@pytest.mark.usefixtures("pixels")
@pytest.mark.parametrize(("n", "scale"), [(16, 1.0), (512, 1.1)])
def test_few_samples_do_not_find_a_little_of_it(n, scale, monkeypatch):
    distances = iter([(s - 1.1) ** 2 + 1 for s in guidance.SCALES] + [2.0])
    monkeypatch.setattr(guidance, "frechet_distance", lambda *_: next(distances))
    assert match_guidance(model(), real(), n=n)["scale"] == scale


def color_data():
    gray = tiny_data(n=300)
    return replace(gray, images=np.repeat(gray.images, 3, axis=1), space=Space((3, 8, 8)))


def picture_model(network):
    torch.manual_seed(0)
    data = color_data()
    net = build_network(network, data.space.shape, {"class": data.conditions["class"].shape})
    condition = replace(data.conditions["class"], dropout=0.1)
    return Denoiser(net, SCHEDULE, "v", fit_codec(data.space, data.images), {"class": condition}), data


@pytest.mark.parametrize("network", [NETWORK, VIT], ids=["unet", "vit"])
def test_what_it_takes_is_what_it_says(network, monkeypatch):
    monkeypatch.setattr(guidance, "REFERENCE", 100)
    (denoiser, data), calls = picture_model(network), []
    denoiser.net.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    monkeypatch.setattr(guidance, "least_at", lambda _: (1.5, 0.0))  # all are measured
    match_guidance(denoiser, data, n=64)
    assert evaluations(64) * 0.9 <= sum(calls) <= evaluations(64) + 16


@pytest.mark.parametrize("network", [NETWORK, VIT], ids=["unet", "vit"])
def test_features_are_means_of_the_middle_block_and_leave_no_hook(network):
    denoiser, data = picture_model(network)
    found = own_features(denoiser, data.images[:20])
    assert found.shape == (20, network["channels"])
    assert np.array_equal(found[:3], own_features(denoiser, data.images[:3]))
    assert found.std(0).min() > 0
    assert not any(module._forward_hooks for module in denoiser.net.modules())
    block, seen = blocks_of(denoiser.net)[len(blocks_of(denoiser.net)) // 2], []
    with block.register_forward_hook(lambda _, __, out: seen.append(out)):
        own_features(denoiser, data.images[:3])
    (out,) = seen
    assert found[:3] == pytest.approx(out.mean(1 if out.ndim == 3 else (2, 3))[:3].numpy(), abs=1e-5)


# --- where it is taken ---------------------------------------------------------------------------


def led(**other):
    denoiser = model(1 / 1.6, **other)
    denoiser.guidance = dict(MATCHED)
    return denoiser


def test_samples_from_noise_take_it_in_as_many_evaluations_as_without():
    drawn = sample(led(), 4, cond={"class": "each"})
    assert drawn.facts["guidance"] == {**Guidance(1.6, (200, 800)).facts(), "interval": [200, 800]}
    assert 18 <= drawn.facts["evaluations"] <= 20
    assert len(drawn.facts["times"]) - 1 < 16
    same = sample(
        model(1 / 1.6), 4, cond={"class": "each"}, guidance=1.6, guidance_interval=(200, 800),
        evaluations=len(drawn.facts["times"]) - 1,
    )  # fmt: skip
    assert np.array_equal(drawn.images, same.images)
    unguided = sample(model(1 / 1.6), 4, cond={"class": "each"})
    assert unguided.facts["evaluations"] == 20
    assert unguided.facts["guidance"] is None


@pytest.mark.parametrize(
    "how", [{}, {"cond": {"class": 1}}, {"evaluations": 7}, {"sampler": "ddim"}, {"seed": 3}]
)
def test_it_is_taken_unless_another_is_asked_for(how):
    facts = sample(led(), 2, **how).facts
    assert facts["guidance"]["scale"] == 1.6
    assert len(facts["times"]) - 1 == how.get("evaluations", len(facts["times"]) - 1)


@pytest.mark.parametrize(
    "how",
    [
        {"guidance": 1.0},
        {"cond": {"class": None}},
        {"plan": make_plan(SCHEDULE, "ddim", 3)},
        {"x_0": np.zeros((1, 4, 4), np.float32), "start": 500.0},
        {"x_0": np.zeros((1, 4, 4), np.float32), "cond": {"class": 1}},
        {"x_t": np.zeros((1, 4, 4), np.float32), "cond": {"class": 1}},
        {"observation": Observation(Known(np.eye(4) > 0), np.zeros((1, 4, 4))), "cond": {"class": 1}},
    ],
    ids=["none", "untold", "plan", "noised", "clean", "noisy", "known"],
)
def test_and_not_where_it_was_not_matched(how):
    assert sample(led(), 2, **how).facts["guidance"] is None


def test_another_scale_takes_its_place():
    assert sample(led(), 2, guidance=3.0).facts["guidance"]["scale"] == 3.0
    assert sample(led(), 2, guidance=3.0).facts["guidance"]["interval"] is None


def test_a_plan_that_was_fitted_without_it_is_followed_without_it():
    denoiser = led()
    plan = make_plan(SCHEDULE, "ddim", 4)
    plan.made_by["guidance"] = Guidance().facts()
    store_plan(denoiser, plan)
    drawn = sample(denoiser, 2, evaluations=4)
    assert drawn.facts["guidance"] is None
    assert drawn.facts["evaluations"] == 4
    assert choose_plan(denoiser, SampleConfig(evaluations=4)) is plan
    assert sample(denoiser, 2, evaluations=5).facts["guidance"] is not None


def test_a_plan_is_fitted_with_it_and_taken_before_one_without():
    denoiser = led()
    for asked in (None, 1.0):
        plan, _ = fit_sampler(denoiser, 2, n=8, guidance=asked)
        store_plan(denoiser, plan)
    own = next(plan for plan in denoiser.plans if plan.made_by["guidance"]["scale"] == 1.6)
    assert choose_plan(denoiser, SampleConfig(evaluations=2)) is own
    assert sample(denoiser, 2, evaluations=2).facts["guidance"]["scale"] == 1.6
    assert sample(denoiser, 2, evaluations=2, guidance=1.0).facts["guidance"] is None


def test_it_is_kept_in_the_file(tmp_path):
    denoiser = tiny_denoiser(dropout=0.1)
    denoiser.guidance = dict(MATCHED)
    save(denoiser, tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors").guidance == MATCHED


def test_models_of_other_things_are_not_matched():
    denoiser, _ = picture_model(NETWORK)
    assert can_be_matched(denoiser)
    assert not can_be_matched(model())
    gray = copy.copy(denoiser)
    gray.codec = fit_codec(tiny_data().space, tiny_data().images)
    assert not can_be_matched(gray)
    size = VectorCondition(mean=(1.0,), scale=(1.0,), low=(0.0,), high=(2.0,))
    for conditions in ({"class": ClassCondition(("a", "b"))}, {**denoiser.conditions, "size": size}):
        other = copy.copy(denoiser)
        other.conditions = conditions
        assert not can_be_matched(other)
    rows = Denoiser(nn.Identity(), SCHEDULE, "x0", Codec(Space((4,), "float32", None, None), 0.0, 1.0))
    assert not can_be_matched(rows)


# --- at the end of a run --------------------------------------------------------------------------


def run_of(folder, images=80):
    data = color_data()
    return Run(folder, data, tiny_config(images=images, condition_dropout=0.1))


def test_a_run_keeps_what_it_finds_and_finds_the_same_after_it_was_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(runs_matching, "SHARE", 1e3)
    list(run_of(tmp_path / "run").train())
    file = tmp_path / "run/model.safetensors"
    found, written = load(file).guidance, file.read_bytes()
    assert 1 <= found["scale"] <= 2
    tensors, facts, digest = load_tensors(file)
    save_tensors(file, tensors, facts | {"guidance": None}, replacing=digest)  # as if killed before it
    list(run_of(tmp_path / "run").train())
    assert file.read_bytes() == written
    changed = file.stat().st_mtime_ns
    list(run_of(tmp_path / "run").train())
    assert file.stat().st_mtime_ns == changed


def test_other_weights_are_matched_anew_and_short_runs_not_at_all(tmp_path, monkeypatch):
    list(run_of(tmp_path / "run").train())
    assert load(tmp_path / "run").guidance is None
    monkeypatch.setattr(runs_matching, "SHARE", 1e3)
    list(run_of(tmp_path / "run", 160).train())
    assert load(tmp_path / "run").guidance is not None
    asked = []
    monkeypatch.setattr(runs_matching, "match_guidance", lambda *given: asked.append(given) or dict(MATCHED))
    list(run_of(tmp_path / "run", 240).train())
    assert len(asked) == 1
    assert load(tmp_path / "run").guidance == MATCHED
