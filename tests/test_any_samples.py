"""Any rank, any conditions, anybody's network: train, save, load, sample, evaluate, and the exact laws."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from alphabar import load, sample, save, train
from alphabar.data import CONDITIONS, ClassCondition, Condition, Dataset, Space
from alphabar.evaluation.conditioning import check_conditioning
from alphabar.evaluation.likelihood import ode_likelihood
from alphabar.evaluation.noise_levels import error_by_noise_level
from alphabar.model import Denoiser, describe, fit_codec
from alphabar.theory.schedule import Schedule
from tiny import EXECUTION

SHAPES = [(5,), (2, 64), (1, 8, 8), (1, 4, 8, 8)]
MODULE = '''
import torch
from torch import nn


class Dense(nn.Module):
    """x, c_noise and all conditions, side by side, through two layers."""

    def __init__(self, shape, conditions, width=64):
        super().__init__()
        size = torch.Size(shape).numel()
        told = sum(torch.Size(s).numel() for s in conditions.values())
        self.names = sorted(conditions)
        self.inner = nn.Linear(size + 1 + told, width)
        self.outer_layer = nn.Linear(width, size)

    def forward(self, x, c_noise, cond):
        parts = [x.flatten(1), c_noise[:, None].to(x.dtype) / 100, *(cond[n].flatten(1) for n in self.names)]
        return self.outer_layer(torch.tanh(self.inner(torch.cat(parts, 1)))).view(x.shape)


class Plain(Dense):
    """The same for who is told nothing."""

    def __init__(self, shape, width=64):
        super().__init__(shape, {}, width)

    def forward(self, x, c_noise):
        return super().forward(x, c_noise, {})
'''


@dataclass(frozen=True)
class Level(Condition):
    """A number, told as (number, 1)."""

    kind: ClassVar[str] = "level"
    low: float = -1.0
    high: float = 1.0

    @property
    def shape(self):
        return (2,)

    def encode_told(self, values):
        return np.stack([values, np.ones(len(values))], 1).astype(np.float32)

    def draw(self, u):
        return self.low + (self.high - self.low) * u

    def parse(self, given):
        return None if given in (None, "none") else float(given)


@pytest.fixture(autouse=True)
def level(monkeypatch):
    """A second kind of condition, registered as a row."""
    monkeypatch.setitem(CONDITIONS, "level", Level)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A user's own module with networks."""
    (tmp_path / "their_networks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "their_networks"
    sys.modules.pop("their_networks", None)


def two_conditions(shape, n=256, seed=0):
    """N(level + 2 side, 0.3²), side one of -1 and 1, level within -1..1."""
    rng = np.random.default_rng(seed)
    side, level = rng.integers(0, 2, n), rng.uniform(-1, 1, n)
    mean = (level + 4 * side - 2).reshape(-1, *[1] * len(shape))
    images = (mean + 0.3 * rng.standard_normal((n, *shape))).astype(np.float32)
    conditions = {"side": ClassCondition(names=("minus", "plus"), counts=(n // 2, n // 2)), "level": Level()}
    space = Space(shape, "float32", low=-4, high=4)
    return Dataset(images, space, conditions, {"side": side, "level": level}, f"two {shape}")


SETTINGS = {"schedule": {"name": "cosine", "T": 100}, "batch_size": 64, "warmup_images": 640, "lr": 3e-3,
            "optimizer": "adamw", "prediction": "x0", "loss": "x0", **EXECUTION, "precision": "float32",
            "channels_last": False}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_two_conditions_any_rank_and_a_users_network_from_training_to_scores(shape, package, tmp_path):
    data = two_conditions(shape)
    network = {"name": f"{package}:Dense", "width": 96}
    rows = list(train(data, tmp_path / "run", network=network, images=38_400, **SETTINGS))
    assert rows[-1]["loss"] < rows[0]["loss"]
    facts = describe(tmp_path / "run")
    assert facts["network"] == network
    assert facts["requires"]["package"] == package
    model = load(tmp_path / "run", "cpu")
    assert model.space == data.space
    assert set(model.conditions) == {"side", "level"}
    for side, level in (("plus", 0.5), ("minus", -0.5), ("plus", -1.0)):
        drawn = sample(model, 32, cond={"side": side, "level": level}, evaluations=10)
        assert drawn.images.shape == (32, *shape)
        assert drawn.images.mean() == pytest.approx(level + (2 if side == "plus" else -2), abs=0.35)
    free = sample(model, 64, evaluations=10)
    assert {len(values) for values in free.told.values()} == {64}
    levels = error_by_noise_level(model, data, n=32)
    assert all(ours < 4 * best + 0.02 for ours, best in zip(levels.training, levels.gaussian, strict=True))
    for name in ("side", "level"):
        assert check_conditioning(model, data.images, data.values, name).used
    again = tmp_path / "again.safetensors"
    save(model, again)
    same = sample(load(again, "cpu"), 4, evaluations=5)
    assert np.array_equal(same.images, sample(model, 4, evaluations=5).images)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_has_its_default_network(shape, tmp_path):
    data = two_conditions(shape, 40)
    settings = {**SETTINGS, "images": 128}
    network = {"channels": 8, "groups": 4, "num_res_blocks": 1}
    if len(shape) == 1:
        network = {"width": 32, "blocks": 2}
    list(train(data, tmp_path / "run", network=network, **settings))
    model = load(tmp_path / "run", "cpu")
    assert sample(model, 3, evaluations=3).images.shape == (3, *shape)


def test_another_version_of_a_networks_package_is_warned_of(package, tmp_path, monkeypatch):
    data = two_conditions((5,), 64)
    network = {"name": f"{package}:Plain"}
    list(train(data, tmp_path / "run", network=network, images=64, conditional=False, **SETTINGS))
    load(tmp_path / "run", "cpu")
    monkeypatch.setattr(sys.modules[package], "__version__", "99", raising=False)
    with pytest.warns(UserWarning, match="and 99 is installed"):
        load(tmp_path / "run", "cpu")


def test_a_network_without_conditions_takes_two_arguments(package, tmp_path):
    data = two_conditions((5,), 64)
    settings = {**SETTINGS, "images": 640, "conditional": False}
    list(train(data, tmp_path / "run", network={"name": f"{package}:Plain"}, **settings))
    model = load(tmp_path / "run", "cpu")
    assert model.conditions == {}
    assert sample(model, 2, evaluations=3).told == {}
    with pytest.raises(ValueError, match="takes \\(x, c_noise\\) alone"):
        list(
            train(
                data,
                tmp_path / "other",
                network={"name": f"{package}:Plain"},
                **{**settings, "conditional": True},
            )
        )


def test_a_module_given_from_python_is_saved_by_its_class_and_loaded_with_one(tmp_path):
    class Local(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(0.5))

        def forward(self, x, c_noise):
            return self.scale * x

    data = Dataset(np.zeros((8, 5), np.float32), Space((5,), "float32", -1, 1), fingerprint="zeros")
    model = Denoiser(Local(), Schedule.linear(100), "x0", fit_codec(data.space))
    drawn = sample(model.eval().requires_grad_(False), 4, evaluations=4)
    save(model, tmp_path / "local.safetensors")
    with pytest.raises(ValueError, match="net="):
        load(tmp_path / "local.safetensors", "cpu")
    again = load(tmp_path / "local.safetensors", "cpu", net=Local())
    assert np.array_equal(sample(again, 4, evaluations=4).images, drawn.images)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_ideal_denoiser_of_a_gaussian_has_its_law_in_any_rank(shape):
    """Samples of N(1, 0.5²) by its closed-form x0_hat: mean and variance, and the bits of its density."""
    mean, sd = 1.0, 0.5
    schedule = Schedule.cosine(200)

    class Ideal(torch.nn.Module):
        def forward(self, x, c_noise):
            bar = torch.from_numpy(schedule.alpha_bar_at((c_noise + 1).double().clamp(max=200).numpy()))
            bar = bar.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
            gain = bar.sqrt() * sd**2 / (bar * sd**2 + 1 - bar)
            return mean + gain * (x - bar.sqrt() * mean)

    space = Space(shape, "float32", None, None)
    codec = type(fit_codec(Space(shape, "float32", -1, 1)))(space, (0.0,), (1.0,))
    model = Denoiser(Ideal(), schedule, "x0", codec).eval()
    drawn = sample(model, 400, sampler="ddpm", evaluations=200).images.astype(float)
    error = sd / np.sqrt(drawn.size)
    assert drawn.mean() == pytest.approx(mean, abs=5 * error + 0.01)
    assert drawn.std() == pytest.approx(sd, rel=0.03 + 5 / np.sqrt(2 * drawn.size))
    images = (mean + sd * np.random.default_rng(0).standard_normal((32, *shape))).astype(np.float32)
    found = ode_likelihood(model, images, steps=16)
    variance = sd**2 + found.sigma**2
    exact = (0.5 * np.log2(2 * np.pi * variance) + (images - mean) ** 2 / (2 * variance * np.log(2))).mean()
    assert found.bits_per_dim == pytest.approx(exact, abs=0.15)
