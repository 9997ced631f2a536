"""Stable targets: what a network is to say is clean is a mean over the samples that it may have been."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from alphabar.data import Dataset, Space, VectorCondition
from alphabar.evaluation.noise_levels import EmpiricalDenoiser
from alphabar.model import fit_codec, load
from alphabar.runs import train
from alphabar.theory.at import At
from alphabar.theory.gaussian import q_sample, x0_among
from alphabar.theory.parametrization import PREDICTIONS
from alphabar.theory.schedule import Schedule
from alphabar.training.objectives import CLEAR, Draws, References, denoise, stable_x0
from alphabar.training.presets import default_references, resolve
from alphabar.training.trainer import Trainer
from tiny import NETWORK, gappy_data, state, tiny_config, tiny_data, tiny_denoiser

SCHEDULE = Schedule.sigmoid(100)


def references(x_0, cond):
    return References(x_0, x_0.flatten(1).square().sum(1), cond)


def samples(n=12, seed=0):
    """(x_0, what is told) of n samples of two classes, of which each fourth is told nothing."""
    source = torch.Generator().manual_seed(seed)
    x_0 = torch.randn(n, 1, 2, 2, generator=source)
    cond = torch.eye(2).repeat(n // 2, 1)
    cond[::4] = 0
    return x_0, {"class": cond}


# --- the formula ----------------------------------------------------------------------------------------


def test_of_two_points_it_is_a_hyperbolic_tangent():
    """x_0 = ±a: E[x_0 | x_t] = a tanh(sqrt(alpha_bar) a x_t / (1 - alpha_bar))."""
    x, t = np.linspace(-3, 3, 13)[:, None], np.linspace(1, 100, 13)
    bar = SCHEDULE.alpha_bar_at(t)[:, None]
    found = x0_among(SCHEDULE, x, t, np.array([[1.5], [-1.5]]))
    np.testing.assert_allclose(found, 1.5 * np.tanh(np.sqrt(bar) * 1.5 * x / (1 - bar)), rtol=1e-12)


def test_it_is_the_ideal_denoiser_of_the_samples():
    data = replace(tiny_data(30), holdout=0.0)
    codec = fit_codec(data.space)
    x_0 = torch.from_numpy(codec.encode(data.images)).double()
    t = np.linspace(3, 100, 30)
    x_t = q_sample(SCHEDULE, x_0, t, torch.randn(x_0.shape, dtype=torch.float64))
    same = torch.from_numpy(data.values["class"][:, None] == data.values["class"])
    for among, values in ((None, None), (same, data.values)):
        ideal = EmpiricalDenoiser(data, codec, SCHEDULE, data.conditions)
        found = x0_among(SCHEDULE, x_t, t, x_0, among)
        np.testing.assert_allclose(found.numpy(), ideal(x_t.numpy(), t, values), rtol=1e-9, atol=1e-12)


def test_its_mean_over_what_the_sample_may_have_been_is_that_of_the_sample():
    """The law that makes it a target: sum_i q(x_t | x_i) (E[x_0 | x_t] - x_i) = 0, of those told alike."""
    x_0, cond = samples()
    t, x_t = np.array([90.0]), torch.randn(1, 1, 2, 2)
    at, bar = SCHEDULE.at(t), float(SCHEDULE.alpha_bar_at(90.0))
    for told in ([0.0, 0], [1.0, 0], [0.0, 1]):
        alike = [i for i in range(12) if cond["class"][i].tolist() == told]
        assert alike
        lost = torch.zeros(1, 1, 2, 2)
        for i in alike:
            own = {"class": torch.tensor([told])}
            found = stable_x0(SCHEDULE, x_t, at, x_0[i : i + 1], own, references(x_0, cond))
            away = (x_t - bar**0.5 * x_0[i]).square().sum()
            lost += torch.exp(-away / (2 * (1 - bar))) * (found - x_0[i])
        torch.testing.assert_close(lost, torch.zeros_like(lost), atol=1e-6, rtol=0)


def test_where_little_is_hidden_it_is_the_sample_itself():
    x_0, cond = samples()
    t = np.linspace(1, 100, 12)
    at = SCHEDULE.at(t)
    x_t = q_sample(SCHEDULE, x_0, at, torch.randn_like(x_0))
    found = stable_x0(SCHEDULE, x_t, at, x_0, cond, references(x_0, cond))
    same = (found == x_0).flatten(1).all(1).numpy()
    assert same[at.alpha_bar >= CLEAR].all()
    assert not same[at.alpha_bar < CLEAR].any()


def test_times_as_tensors_give_the_same():
    x_0, cond = samples()
    t = np.linspace(1, 100, 12).round()
    x_t = q_sample(SCHEDULE, x_0, t, torch.randn_like(x_0))
    there = At.on_device(torch.tensor(t), torch.tensor(SCHEDULE.alpha_bar))
    a, b = (stable_x0(SCHEDULE, x_t, at, x_0, cond, references(x_0, cond)) for at in (SCHEDULE.at(t), there))
    torch.testing.assert_close(a, b)


# --- the loss -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_loss_is_the_usual_one_and_its_gradient_that_of_the_stable_target(prediction):
    """Of w mean (x_0 - x0_hat)^2 with the stable x_0 in the place of its own."""
    denoiser = tiny_denoiser(prediction)
    x_0 = torch.rand(12, 1, 8, 8) * 2 - 1
    cond = {"class": torch.eye(2).repeat(6, 1)}
    t, eps = np.linspace(60, 99, 12), torch.randn_like(x_0)
    at = denoiser.schedule.at(t)
    x_t = q_sample(denoiser.schedule, x_0, at, eps)
    weights = [p.requires_grad_() for p in denoiser.net.parameters()]

    def gradient(loss):
        found = torch.autograd.grad(loss.sum(), weights, allow_unused=True)
        return torch.cat([g.flatten() for g in found if g is not None])

    around = references(x_0, cond)
    plain = denoise(denoiser, "x0", x_0, cond, Draws(t, eps))["loss"]
    stable = denoise(denoiser, "x0", x_0, cond, Draws(t, eps, references=around))["loss"]
    torch.testing.assert_close(stable, plain)
    clean = stable_x0(denoiser.schedule, x_t, at, x_0, cond, around)
    assert (clean - x_0).square().mean() > 0.01
    wanted = gradient((clean - denoiser(x_t, t, cond)).square().mean((1, 2, 3)))
    torch.testing.assert_close(gradient(stable), wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def test_gradients_have_the_usual_mean_and_far_less_variance():
    """Over noise and which sample it is, in batches of 16 of a set of 16 near t = T."""
    denoiser = tiny_denoiser("x0")
    x_0 = torch.linspace(-1, 1, 16).reshape(16, 1, 1, 1).expand(16, 1, 8, 8)
    cond = {"class": torch.eye(2).repeat(8, 1)}
    weight = denoiser.net.get_parameter("conv_out.bias").requires_grad_()
    found = {"plain": [], "stable": []}
    for k in range(225):
        draws = torch.Generator().manual_seed(k)
        chosen = torch.randint(16, (16,), generator=draws)
        told = {"class": cond["class"][chosen]}
        t, eps = np.full(16, 97.0), torch.randn(x_0.shape, generator=draws)
        for name, around in (("plain", None), ("stable", references(x_0, cond))):
            loss = denoise(denoiser, "x0", x_0[chosen], told, Draws(t, eps, references=around))["loss"]
            found[name].append(torch.autograd.grad(loss.mean(), weight)[0].flatten())
    plain, stable = (torch.stack(found[name]) for name in found)
    off = (plain - stable).mean(0) / ((plain - stable).std(0) / 15)
    assert off.abs().max() < 5
    assert stable.var(0).sum() < 0.2 * plain.var(0).sum()


# --- where they come from -------------------------------------------------------------------------------


CONFIGS = {
    "one batch": {"references": 8},
    "part of a batch": {"references": 13},
    "augmented": {"references": 16, "flip": True, "turns": True, "condition_dropout": 0.5},
    "balanced": {"references": 16, "balanced": True},
    "not told": {"references": 16, "conditional": False},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_batch_is_the_usual_one_among_the_batches_that_follow_it(name):
    usual = Trainer(tiny_config(**CONFIGS[name] | {"references": 0}), tiny_data()).feed
    feed = Trainer(tiny_config(**CONFIGS[name]), tiny_data()).feed
    later = -(-CONFIGS[name]["references"] // 8)
    for k in (0, 1, 2, 7, 8, 3):  # also forth and back
        a, b = usual(k), feed(k)
        assert torch.equal(a.x_0, b.x_0)
        assert torch.equal(a.eps, b.eps)
        assert np.array_equal(a.t.t, b.t.t)
        assert all(torch.equal(a.cond[name], b.cond[name]) for name in a.cond)
        batches = [usual(j) for j in range(k, k + later + 1)]
        around = b.references
        assert len(around.x_0) == 8 * (later + 1)
        torch.testing.assert_close(around.squares, around.x_0.square().sum((1, 2, 3)))
        for batch in batches:
            for i in range(8):
                here = (around.x_0 == batch.x_0[i]).flatten(1).all(1)
                told = [around.cond[name][here] == batch.cond[name][i] for name in batch.cond]
                assert here.any()
                assert all(each.all(1).any() for each in told)


@pytest.mark.parametrize("settings", [{}, {"micro_batch": 3}, {"batch_size": 4}])
def test_training_goes_on_from_any_update_to_the_bit(settings):
    config = tiny_config(references=16, **settings)
    whole = Trainer(config, tiny_data())
    for _ in range(3):
        whole.update()
    before = state(whole)
    rows = [whole.update() for _ in range(3)]
    other = Trainer(config, tiny_data())
    other.update()
    other.load_state(before, 3)
    assert [other.update() for _ in range(3)] == rows
    assert all(torch.equal(other.state()[name], tensor) for name, tensor in state(whole).items())


def test_they_change_what_is_learned_and_not_what_is_measured():
    plain, stable = (Trainer(tiny_config(references=n), tiny_data()) for n in (0, 16))
    first = plain.update(), stable.update()
    assert first[0]["loss"] == first[1]["loss"]
    assert first[0]["grad_norm"] != first[1]["grad_norm"]


# --- by default, and where they can't be ----------------------------------------------------------------


PICTURES = Space((1, 28, 28))
ANGLE = {"angle": VectorCondition(mean=(0.5,), scale=(1.0,), low=(0.0,), high=(1.0,))}


def test_the_default_follows_from_the_data():
    classes = tiny_data().conditions
    assert default_references(PICTURES, classes, 60_000, 64) == 4096
    assert default_references(PICTURES, None, 60_000, 64) == 4096
    assert default_references(Space((3, 64, 64)), classes, 60_000, 64) == 2**22 // (3 * 64 * 64) // 64 * 64
    assert default_references(PICTURES, classes, 1000, 64) == 384  # so that a batch is among half of them
    assert default_references(PICTURES, classes, 100, 64) == 0
    assert default_references(Space((5,)), classes, 60_000, 256) == 0
    assert default_references(PICTURES, ANGLE, 60_000, 64) == 0
    assert default_references(gappy_data().space, None, 60_000, 64) == 0
    for conditional, wanted in ((True, 0), (False, 4096)):
        assert resolve(PICTURES, ANGLE, 60_000, settings={"conditional": conditional}).references == wanted
    for preset in ("ddpm", "cifar10"):
        assert resolve(PICTURES, classes, 60_000, preset).references == 0
    assert resolve(PICTURES, classes, 60_000, settings={"references": 100}).references == 100


def test_samples_that_share_nothing_are_refused():
    with pytest.raises(ValueError, match="have gaps: take 0"):
        Trainer(tiny_config(network=NETWORK, references=8), gappy_data())
    images = np.zeros((20, 1, 8, 8), np.uint8)
    data = Dataset(images, Space((1, 8, 8)), ANGLE, {"angle": np.linspace(0, 1, 20)})
    with pytest.raises(ValueError, match="told the same angle: train with references 0"):
        Trainer(tiny_config(references=8), data)
    with pytest.raises(ValueError, match="references"):
        tiny_config(references=-1)


def test_a_run_with_them_is_the_same_when_it_is_resumed(tmp_path):
    settings = {**tiny_config(references=16, previews=False).model_dump(exclude_unset=True)}
    data = tiny_data()
    *_, last = train(data, tmp_path / "whole", **settings)
    steps = train(data, tmp_path / "parts", **settings)
    for row in steps:
        if row["step"] == 4:
            break
    steps.close()
    *_, again = train(data, tmp_path / "parts", **settings)
    a, b = (load(tmp_path / name).net.state_dict() for name in ("whole", "parts"))
    assert last["loss"] == again["loss"]
    assert all(torch.equal(a[name], b[name]) for name in a)
