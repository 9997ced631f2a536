"""The guidance that a model takes by itself: of which models, by how much, and where `sample` takes it."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from alphabar.data import ClassCondition, Space, VectorCondition
from alphabar.model import Codec, Denoiser, fit_codec, load, save
from alphabar.nn import build_network
from alphabar.runs import Run
from alphabar.sampling import (
    Guidance,
    Known,
    Observation,
    choose_plan,
    fit_sampler,
    guided,
    own_guidance,
    sample,
    store_plan,
)
from alphabar.sampling.config import SampleConfig
from alphabar.theory.plans import make_plan
from alphabar.theory.schedule import Schedule
from tiny import NETWORK, Mixture, tiny_config, tiny_data, tiny_denoiser

SCHEDULE = Schedule.cosine(1000)
PATTERN = np.array([[1, 1, -1, -1]] * 4, float).ravel()
POINTS = np.array([[PATTERN], [-PATTERN]])
VARIANCE = 0.5  # so that a sample tells its class, but not for sure
OWN = {"scale": 1.6, "interval": [200.0, 800.0], "every": 5}


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


@pytest.mark.parametrize("t", [500, 800, 1000])
def test_the_inverse_of_what_a_network_makes_of_its_class_is_exactly_right(t):
    x_t = torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    cond = {"class": torch.eye(2)[[0, 1] * 3]}
    ideal, short = model()(x_t, t, cond), model(1 / 1.6)
    assert torch.allclose(guided(short, Guidance(1.6))(x_t, t, cond), ideal, atol=1e-5)
    assert (short(x_t, t, cond) - ideal).abs().max() > 0.1


def color_model(images=100_000):
    torch.manual_seed(0)
    gray = tiny_data(n=300)
    data = replace(gray, images=np.repeat(gray.images, 3, axis=1), space=Space((3, 8, 8)))
    net = build_network(NETWORK, data.space.shape, {"class": data.conditions["class"].shape})
    condition = replace(data.conditions["class"], dropout=0.1)
    codec = fit_codec(data.space, data.images)
    return Denoiser(net, SCHEDULE, "v", codec, {"class": condition}, {"images": images}), data


@pytest.mark.parametrize(
    ("work", "scale"),
    [(1e7, 3), (75_136 * 2_273_356, 3), (311_104 * 9_044_108, 2), (4.48e13, 1.5), (2.8e16, 1.1)],
)
def test_a_model_of_color_pictures_has_less_of_it_the_more_work_went_into_it(work, scale):
    parameters = sum(p.numel() for p in color_model()[0].net.parameters())
    assert own_guidance(color_model(work / parameters)[0]) == {
        "scale": scale,
        "interval": [0.0, 800.0],
        "every": 5,
    }
    assert own_guidance(color_model(5.2e17 / parameters)[0]) is None


# --- where it is taken ---------------------------------------------------------------------------


def led(**other):
    denoiser = model(1 / 1.6, **other)
    denoiser.guidance = dict(OWN)
    return denoiser


def test_samples_from_noise_take_it_in_as_many_evaluations_as_without():
    drawn = sample(led(), 4, cond={"class": "each"})
    assert drawn.facts["guidance"] == Guidance(1.6, (200, 800), every=5).facts()
    assert 18 <= drawn.facts["evaluations"] <= 20
    assert 16 < len(drawn.facts["times"]) - 1 < drawn.facts["evaluations"]
    same = sample(
        model(1 / 1.6), 4, cond={"class": "each"}, guidance=1.6, guidance_interval=(200, 800),
        guidance_every=5, evaluations=len(drawn.facts["times"]) - 1,
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
def test_and_nowhere_else(how):
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
    denoiser.guidance = dict(OWN)
    save(denoiser, tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors").guidance == OWN


def test_models_of_other_things_have_none():
    denoiser, _ = color_model()
    assert own_guidance(denoiser) is not None
    assert own_guidance(model()) is None
    gray = copy.copy(denoiser)
    gray.codec = fit_codec(tiny_data().space, tiny_data().images)
    assert own_guidance(gray) is None
    size = VectorCondition(mean=(1.0,), scale=(1.0,), low=(0.0,), high=(2.0,))
    for conditions in ({"class": ClassCondition(("a", "b"))}, {**denoiser.conditions, "size": size}, {}):
        other = copy.copy(denoiser)
        other.conditions = conditions
        assert own_guidance(other) is None
    untrained = copy.copy(denoiser)
    untrained.about = {}
    assert own_guidance(untrained) is None
    rows = Denoiser(nn.Identity(), SCHEDULE, "x0", Codec(Space((4,), "float32", None, None), 0.0, 1.0))
    assert own_guidance(rows) is None


def test_every_file_of_a_run_says_it(tmp_path):
    _, data = color_model()
    run = Run(tmp_path / "run", data, tiny_config(images=80, condition_dropout=0.1))
    list(run.train())
    checkpoint = next((tmp_path / "run/checkpoints").glob("*.safetensors"))
    for file in (run.folder.model, run.folder.best, checkpoint):
        assert load(file).guidance == {"scale": 3, "interval": [0.0, 80.0], "every": 5}
    assert sample(load(tmp_path / "run"), 2).facts["guidance"]["scale"] == 3
    written = run.folder.model.stat().st_mtime_ns
    list(Run(tmp_path / "run", data, tiny_config(images=80, condition_dropout=0.1)).train())
    assert run.folder.model.stat().st_mtime_ns == written
    list(Run(tmp_path / "gray", tiny_data(), tiny_config(condition_dropout=0.1)).train())
    assert load(tmp_path / "gray").guidance is None
