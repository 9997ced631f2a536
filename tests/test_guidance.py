"""Guidance by the class and by a worse model, what acts on x0_hat, and the labels hidden in training."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from alphabar import (
    DataSpec,
    Denoiser,
    Guidance,
    Known,
    Measurement,
    Run,
    Schedule,
    Trainer,
    clip,
    eps_from_x0,
    guided,
    load,
    make_plan,
    sample,
    threshold,
    trajectory,
)
from alphabar.cli.main import app
from alphabar.denoiser import from_facts
from alphabar.sampling.guidance import NO_CLASS
from alphabar.sampling.measurements import by_gradient
from alphabar.sampling.slots import sample_noise
from alphabar.theory.plans import SAMPLERS
from alphabar.training.trainer import drop_labels
from alphabar.training.watch import Watch
from tiny import NETWORK, ROUGH, tiny_config, tiny_data, tiny_denoiser

SHAPE = (1, 8, 8)


def model(head="v", seed=0, label_dropout=0.1, **network):
    """Random weights; floats within -1..1, so that no rounding to bytes hides a difference."""
    denoiser = tiny_denoiser(head, seed, **network)
    classes = ("left", "right") if denoiser.net.num_classes else ()
    denoiser.data = DataSpec(SHAPE, "float32", -1.0, 1.0, 0.0, 1.0, classes=classes)
    denoiser.label_dropout = label_dropout if classes else 0.0
    return denoiser


small = partial(model, "v", channel_mult=[1], attention_levels=[])


def calls_of(denoiser):
    """A list that grows by (t, labels) with every evaluation of the network."""
    calls = []
    denoiser.net.register_forward_pre_hook(
        lambda _, args: calls.append((float(args[1][0]) + 1, None if args[2] is None else args[2].tolist()))
    )
    return calls


def noisy(n=4, seed=0, shape=SHAPE):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, *shape)))


def labels_of(*labels):
    return torch.tensor(labels)


# --- the formula ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["ddpm", "unipc"])
def test_scale_1_is_the_conditional_model_to_the_byte_and_asks_one_network(sampler):
    """Written out with the model itself, for a whole batch."""
    denoiser = model()
    plan = make_plan(denoiser.schedule, sampler, 5, grid="trailing")
    label = np.arange(16) % 2
    z = [np.stack([sample_noise(3, i, k, SHAPE) for i in range(16)]) for k in range(6)]
    noise = lambda k: torch.from_numpy(z[k + 1])  # noqa: E731
    *_, last = trajectory(denoiser, plan, noise(-1), noise, torch.from_numpy(label), [clip(-1, 1)])
    calls = calls_of(denoiser)
    for guidance in (1.0, 1, Guidance()):
        calls.clear()
        drawn = sample(denoiser, 16, seed=3, plan=plan, label=label, guidance=guidance)
        assert drawn.images.tobytes() == last.x_s.numpy().tobytes()
        assert calls == [(t, label.tolist()) for t in plan.times[:-1].tolist()]
        assert drawn.facts["evaluations"] == 5
        assert drawn.facts["guidance"] is None
    assert guided(denoiser, Guidance()) is denoiser


@pytest.mark.parametrize("head", ["eps", "x0", "v"])
@pytest.mark.parametrize("w", [0, 0.5, 2, 7.5])
def test_guided_x0_hat_is_the_formula_in_x0_and_in_eps(head, w):
    denoiser = model(head).double()
    x, label = noisy(), labels_of(0, 1, 1, 0)
    for t in (1, 40, 99.5, 100):
        good, bad = denoiser(x, t, label), denoiser(x, t, torch.full((4,), -1))
        assert (good - bad).abs().max() > 1e-3
        found = guided(denoiser, Guidance(w))(x, t, label)
        torch.testing.assert_close(found, bad + w * (good - bad))
        found, good, bad = (eps_from_x0(denoiser.schedule, x, x0, t) for x0 in (found, good, bad))
        torch.testing.assert_close(found, bad + w * (good - bad), rtol=1e-9, atol=1e-9)


def test_scale_0_is_the_unconditional_model():
    denoiser = model()
    a = sample(denoiser, 5, label=1, steps=4, guidance=0).images
    np.testing.assert_allclose(a, sample(denoiser, 5, label=-1, steps=4).images, atol=1e-5)


@pytest.mark.parametrize("sampler", ["ddim", "heun", "unipc", "ddpm"])
def test_two_networks_are_asked_exactly_at_low_below_t_to_high(sampler):
    denoiser = small()
    plan = make_plan(denoiser.schedule, sampler, 10, grid="trailing")
    times = plan.times[:-1].tolist()
    low, high = sorted((times[6], times[2]))
    inside = [t for t in times if low < t <= high]
    assert 0 < len(inside) < 10
    assert high in inside
    assert low not in inside
    calls = calls_of(denoiser)
    drawn = sample(denoiser, 1, plan=plan, label=1, guidance=Guidance(3.0, (low, high)))
    assert Counter(t for t, _ in calls) == Counter(times)
    assert Counter(t for t, label in calls if label[16:] == [-1] * 16) == Counter(inside)  # in one batch
    assert drawn.facts["evaluations"] == 10 + len(inside)
    assert drawn.facts["guidance"] == {"scale": 3.0, "interval": [low, high], "rescale": 0.0, "by": None}
    everywhere = sample(denoiser, 1, plan=plan, label=1, guidance=3.0)
    assert everywhere.facts["evaluations"] == 20
    nowhere = sample(denoiser, 1, plan=plan, label=1, guidance=Guidance(3.0, (100, 200)))
    assert nowhere.facts["evaluations"] == 10
    plain = sample(denoiser, 1, plan=plan, label=1)
    assert nowhere.images.tobytes() == plain.images.tobytes()
    assert len({s.images.tobytes() for s in (drawn, everywhere, plain)}) == 3


def test_rescaling_brings_back_the_deviation_of_the_conditional_model():
    denoiser = model().double()
    x, label = noisy(), labels_of(0, 1, 1, 0)
    good = denoiser(x, 60, label)
    plain = guided(denoiser, Guidance(4.0))(x, 60, label)
    deviation = lambda h: h.flatten(1).std(1)  # noqa: E731
    assert ((deviation(plain) / deviation(good) - 1).abs() > 0.01).all()
    full = guided(denoiser, Guidance(4.0, rescale=1.0))(x, 60, label)
    torch.testing.assert_close(deviation(full), deviation(good))
    brought_back = plain * (deviation(good) / deviation(plain))[:, None, None, None]
    torch.testing.assert_close(full, brought_back)
    part = guided(denoiser, Guidance(4.0, rescale=0.7))(x, 60, label)
    torch.testing.assert_close(part, 0.7 * brought_back + 0.3 * plain)
    outside = guided(denoiser, Guidance(4.0, (0, 50), rescale=0.7))(x, 60, label)
    assert torch.equal(outside, good)


# --- in closed form ------------------------------------------------------------------------------

MEAN, VAR = 1.0, 0.2  # of class 1; class 0 has -MEAN


class TwoGaussians(nn.Module):
    """The ideal x_0-network for the classes N(-1, VAR) and N(1, VAR), and for both together."""

    config = None

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x, c_noise, label):
        a, v, k = affine(self.schedule, float(c_noise[0]) + 1)
        sign = torch.where(label >= 0, 2.0 * label - 1, torch.tanh(a * MEAN * x.flatten(1).sum(1) / v))
        return k * x + (sign * MEAN * (1 - a * k))[:, None, None, None]


def affine(schedule, t):
    """alpha, Var x_t within a class, and the slope of E[x_0 | x_t, class]."""
    bar = float(schedule.alpha_bar_at(t))
    v = bar * VAR + 1 - bar
    return math.sqrt(bar), v, math.sqrt(bar) * VAR / v


@pytest.fixture(scope="module")
def ideal():
    schedule = Schedule.linear(1000)
    spec = DataSpec((1, 1, 2), "float64", None, None, 0.0, 1.0, classes=("-", "+"))
    denoiser = Denoiser(TwoGaussians(schedule), schedule, "x0", spec)
    denoiser.label_dropout = 0.1
    return denoiser


@pytest.mark.parametrize("t", [1, 300, 700, 1000])
@pytest.mark.parametrize("w", [0.0, 1.0, 2.0, 5.0])
def test_one_guided_step_is_its_closed_form(ideal, t, w):
    """k x + (1 - a k) m (th + w (1 - th)), th = tanh(a m sum(x) / v): outward by w for what is unsure."""
    x = np.array([[[[-1.0, 0.7]]], [[[0.3, 0.2]]], [[[2.0, -0.1]]]])
    a, v, k = affine(ideal.schedule, t)
    unsure = 1 - np.tanh(a * MEAN * x.sum((1, 2, 3), keepdims=True) / v)
    expected = k * x + (1 - a * k) * MEAN * (1 + (w - 1) * unsure)
    drawn = sample(ideal, 3, x_t=x, start=t, steps=1, sampler="ddim", label=1, guidance=w)
    np.testing.assert_allclose(drawn.images, expected, rtol=2e-5, atol=2e-5)
    if t == 1000:  # nothing is known yet: the mean itself is taken w times
        np.testing.assert_allclose(drawn.images, w * MEAN, atol=0.05 * max(w, 1))


def test_samples_move_outwards_with_the_scale_and_to_their_own_side(ideal):
    draw = partial(sample, ideal, 64, sampler="ddim", steps=20)
    means = [draw(label=1, guidance=w).images.mean() for w in (1, 2, 4)]
    assert means[0] == pytest.approx(MEAN, abs=0.12)
    assert means[0] + 0.05 < means[1] < means[2] - 0.05
    other = draw(label=0, guidance=4.0).images.mean()
    assert other == pytest.approx(-means[2], abs=0.15)


def test_the_gradient_of_a_measurement_is_taken_at_x_t(ideal):
    """Through the network: the slope k of x0_hat is in it, which the gradient at x0_hat has not."""
    y, x, label = np.array([[[0.5, 0.0]]]), noisy(3, shape=(1, 1, 2)), labels_of(1, 1, 1)
    measured = Measurement(Known(np.array([[[True, False]]])), y, "gradient", 0.8)
    for t in (5, 400, 1000):
        a, _, k = affine(ideal.schedule, t)
        x0_hat = ideal(x, t, label)
        miss = torch.tensor([1.0, 0.0]) * (torch.from_numpy(y) - x0_hat)
        found = by_gradient(ideal, ideal.schedule, measured)(x, t, label)
        torch.testing.assert_close(found, x0_hat + 0.8 * k / a * miss, rtol=1e-6, atol=1e-9)


# --- by another model ----------------------------------------------------------------------------


@pytest.mark.parametrize("w", [0, 0.5, 3])
def test_another_model_is_asked_for_the_same_class(w):
    """Neither model needs to know no class."""
    good, bad = model(label_dropout=0).double(), model("eps", seed=1, label_dropout=0).double()
    x, label = noisy(), labels_of(0, 1, 1, 0)
    a, b = good(x, 50, label), bad(x, 50, label)
    calls = calls_of(good), calls_of(bad)
    found = guided(good, Guidance(w, by=bad))(x, 50, label)
    torch.testing.assert_close(found, b + w * (a - b))
    assert calls == ([(50, [0, 1, 1, 0])],) * 2


def test_another_model_may_be_smaller_and_both_without_classes():
    good, bad = model(num_classes=0), model(num_classes=0, seed=1, channel_mult=[1], attention_levels=[])
    calls = calls_of(good), calls_of(bad)
    drawn = sample(good, 2, steps=4, grid="trailing", guidance=Guidance(2.0, (30, 100), by=bad))
    assert [[t for t, _ in each] for each in calls] == [[100, 75, 50, 25], [100, 75, 50]]
    assert drawn.facts["evaluations"] == 7
    assert not np.array_equal(drawn.images, sample(good, 2, steps=4).images)


def test_an_earlier_checkpoint_of_the_run_is_such_a_model(tmp_path):
    """alphabar.load of a checkpoint gives the averaged weights of that moment."""
    network = {**NETWORK, "channel_mult": [1], "attention_levels": []}
    run = Run(tmp_path / "run", tiny_data(), tiny_config(label_dropout=0.25, network=network))
    for row in run.train():
        if row["step"] == 5:
            averages = {name: p.clone() for name, p in run.trainer.averages.items()}
            current = {name: p.detach().clone() for name, p in run.trainer.parameters.items()}
    good, bad = load(tmp_path / "run"), load(tmp_path / "run/checkpoints/step-000000005.safetensors")
    weights = bad.net.state_dict()
    assert all(torch.equal(weights[name], averages[name]) for name in averages)
    assert not all(torch.equal(weights[name], current[name]) for name in current)
    assert not bad.net.training
    last = load(tmp_path / "run/checkpoints/step-000000010.safetensors").net.state_dict()
    assert all(torch.equal(last[name], value) for name, value in good.net.state_dict().items())
    assert (bad.about["steps"], bad.about["images"], bad.label_dropout) == (5, 40, 0.25)
    assert bad.digest != good.digest
    drawn = sample(good, 1, steps=2, label=0, guidance=Guidance(2.0, by=bad))
    assert drawn.facts["guidance"]["by"] == bad.digest
    assert drawn.facts["evaluations"] == 4
    (tmp_path / "run/model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"is a checkpoint, and its run's model\.safetensors"):
        load(tmp_path / "run/checkpoints/step-000000005.safetensors")


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": -0.5}, "scale must be at least 0 .*, got -0.5"),
        ({"scale": math.nan}, "got nan"),
        ({"scale": math.inf}, "got inf"),
        ({"scale": 2, "rescale": 1.5}, r"rescale must lie within 0\.\.1, got 1.5"),
        ({"scale": 2, "rescale": -0.1}, r"rescale must lie within 0\.\.1"),
        ({"scale": 2, "interval": (50, 50)}, "two rising times"),
        ({"scale": 2, "interval": (-1, 50)}, "two rising times"),
        ({"interval": (0, 50)}, "act only where the guidance scale is not 1"),
        ({"rescale": 0.5}, "act only where the guidance scale is not 1"),
        ({"scale": 1, "by": tiny_denoiser()}, "act only where the guidance scale is not 1"),
    ],
)
def test_guidance_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Guidance(**options)


def changed(**entries):
    """A model with another data description or schedule."""
    denoiser = model(seed=1)
    schedule = entries.pop("schedule", denoiser.schedule)
    spec = DataSpec(**{**denoiser.data.to_dict(), **entries})
    return Denoiser(denoiser.net, schedule, "v", spec)


@pytest.mark.parametrize(
    ("denoiser", "guidance", "message"),
    [
        (model(num_classes=0), 2.0, "guidance needs a model with classes, and this one has none"),
        (model(label_dropout=0), 2.0, "train one with label_dropout above 0 .*, or guide by an earlier"),
        (model(), Guidance(2, by=changed(shape=(1, 8, 9))), r"another shape of samples: \(1, 8, 9\), not"),
        (model(), Guidance(2, by=changed(classes=("right", "left"))), "another classes"),
        (model(), Guidance(2, by=model(num_classes=0)), r"another classes: \(\), not \('left', 'right'\)"),
        (model(num_classes=0), Guidance(2, by=model()), "another classes"),
        (model(), Guidance(2, by=changed(scale=2.0)), "another normalisation"),
        (model(), Guidance(2, by=changed(schedule=Schedule.cosine(100))), "another schedule"),
        (model(), Guidance(2, by=changed(schedule=Schedule.linear(101))), "another schedule"),
    ],
)
def test_models_that_cannot_guide_are_refused(denoiser, guidance, message):
    with pytest.raises(ValueError, match=message):
        sample(denoiser, 1, guidance=guidance, steps=1)


def test_guidance_towards_no_class_is_refused():
    for label in (-1, [0, -1]):
        with pytest.raises(ValueError, match="guidance leads towards a class: give one"):
            sample(model(), 2, guidance=2.0, label=label)
    sample(model(), 1, guidance=Guidance(2.0, by=model(seed=1)), label=-1, steps=1)


# --- every option, every sampler -----------------------------------------------------------------

HALF = np.indices((8, 8)).sum(0)[None] % 2 == 0
KNOWN = np.zeros(SHAPE, np.float32)
OPTIONS = {  # name: (with, without)
    "guidance": ({"guidance": 3.0}, {}),
    "interval": ({"guidance": Guidance(3.0, (20, 60))}, {"guidance": 3.0}),
    "rescale": ({"guidance": Guidance(3.0, rescale=0.7)}, {"guidance": 3.0}),
    "by": ({"guidance": Guidance(3.0, by=small(seed=1))}, {"guidance": 3.0}),
    "clip": ({}, {"clip": False}),
    "threshold": ({"threshold": 0.99}, {}),
    "projection": ({"measured": Measurement(Known(HALF), KNOWN), "label": 1}, {"label": 1}),
    "gradient": ({"measured": Measurement(Known(HALF), KNOWN, "gradient"), "label": 1}, {"label": 1}),
    "class": ({"label": 0}, {"label": 1}),
    "no class": ({"label": -1}, {"label": 1}),
}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_acts_in_every_sampler(sampler, option):
    drawn = []
    for options in OPTIONS[option]:
        images = sample(small(), 2, sampler=sampler, steps=4, **{"label": 1, **options}).images
        assert np.all(np.isfinite(images))
        drawn.append(images)
    assert (np.abs(drawn[0] - drawn[1]).max((1, 2, 3)) > 1e-3).all()


def test_a_sample_is_the_same_bytes_alone_in_a_batch_and_in_reverse():
    denoiser = small()
    guidance = Guidance(3.0, (20, 90), 0.7)
    how = {"seed": 3, "steps": 3, "sampler": "ddpm", "guidance": guidance, "threshold": 0.99}
    together = sample(denoiser, 64, **how)
    backwards = sample(denoiser, indices=range(63, -1, -1), **how)
    assert together.images.tobytes() == backwards.images[::-1].tobytes()
    assert len(np.unique(together.images.reshape(64, -1), axis=0)) == 64
    for i in (0, 15, 16, 63):
        alone = sample(denoiser, indices=[i], **how)
        assert alone.images[0].tobytes() == together.images[i].tobytes()
        assert alone.labels[0] == together.labels[i]


def test_the_command_hands_on_every_option(tmp_path):
    """The same bytes as from Python, with each of them."""
    good, bad = small(), small(seed=1)
    files = [str(tmp_path / f"{name}.safetensors") for name in ("good", "bad")]
    for denoiser, file in zip((good, bad), files):
        denoiser.digest = denoiser.save(file)
    cases = [
        (["--guidance", "3"], {"guidance": 3.0}),
        (["--guidance", "3", "--guidance-interval", "20", "60"], {"guidance": Guidance(3.0, (20, 60))}),
        (["--guidance", "3", "--guidance-rescale", "0.7"], {"guidance": Guidance(3.0, rescale=0.7)}),
        (["--guidance", "3", "--guide", files[1]], {"guidance": Guidance(3.0, by=bad)}),
        (["--threshold", "0.99"], {"threshold": 0.99}),
        ([], {}),
        (["--no-clip"], {"clip": False}),
    ]
    seen = set()
    for k, (words, options) in enumerate(cases):
        out = tmp_path / f"out{k}"
        words = [
            "sample",
            files[0],
            "-n",
            "2",
            "--steps",
            "3",
            "--sampler",
            "ddim",
            "--class",
            "right",
            *words,
        ]
        result = CliRunner().invoke(app, [*words, "--out", str(out)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        drawn = sample(good, 2, steps=3, sampler="ddim", label=1, **options)
        assert np.load(out / "samples.npy").tobytes() == drawn.images.tobytes(), words
        seen.add(drawn.images.tobytes())
    assert len(seen) == len(cases)


# --- no class ------------------------------------------------------------------------------------


def test_no_class_may_be_asked_for_where_the_model_knows_it():
    drawn = sample(model(), 3, label=[-1, 0, 1], steps=2)
    assert drawn.labels.tolist() == [-1, 0, 1]
    assert np.array_equal(drawn.images[0], sample(model(), 1, label=-1, steps=2).images[0])
    assert -1 not in sample(model(), 50, steps=1).labels
    with pytest.raises(ValueError, match="label -1, no class, needs a model that also knows no class"):
        sample(model(label_dropout=0), 1, label=-1)
    with pytest.raises(ValueError, match="has no classes, got label -1"):
        sample(model(num_classes=0), 1, label=-1)
    with pytest.raises(ValueError, match=r"within 0\.\.1"):
        sample(model(), 1, label=-2)


GIVEN = {
    "x_0": {"x_0": KNOWN, "start": 50},
    "x_t": {"x_t": KNOWN, "start": 50},
    "measured": {"measured": Measurement(Known(HALF), KNOWN)},
}


@pytest.mark.parametrize("given", GIVEN)
def test_what_is_given_has_no_class_unless_told_or_guided(given):
    draw = partial(sample, n=20, steps=1, **GIVEN[given])
    assert draw(model()).labels.tolist() == [-1] * 20
    assert draw(model(), label=1).labels.tolist() == [1] * 20
    for denoiser, guidance in [(model(), 2.0), (model(label_dropout=0), 1.0)]:
        assert set(draw(denoiser, guidance=guidance).labels.tolist()) == {0, 1}
    assert draw(model(num_classes=0)).labels is None


def embedding_of(denoiser):
    return denoiser.net.class_embedding


@pytest.mark.parametrize("options", [{}, {"scale_shift": True}])
def test_no_class_adds_nothing_to_the_embedding(options):
    denoiser = model(**options)
    x = noisy().float()
    without = denoiser(x, 30, labels_of(-1, -1, -1, -1))
    mixed = denoiser(x, 30, labels_of(0, -1, 1, -1))
    full = denoiser(x, 30, labels_of(0, 0, 1, 1))
    assert torch.equal(mixed[[1, 3]], without[[1, 3]])
    assert torch.equal(mixed[[0, 2]], full[[0, 2]])
    assert ((full - without).abs().amax((1, 2, 3)) > 1e-3).all()
    embedding_of(denoiser).weight.zero_()
    assert torch.equal(denoiser(x, 30, labels_of(0, 0, 1, 1)), without)


def test_no_class_gives_the_embedding_no_gradient():
    denoiser = model().requires_grad_(True)
    denoiser(noisy().float(), 30, labels_of(-1, 1, -1, 1)).square().sum().backward()
    gradient = embedding_of(denoiser).weight.grad
    assert not gradient[0].any()
    assert gradient[1].abs().max() > 0


# --- labels hidden in training -------------------------------------------------------------------


def test_labels_are_hidden_one_by_one_with_their_probability():
    config = tiny_config(label_dropout=0.3, batch_size=16)
    label = np.arange(16) % 2
    batches = np.stack([drop_labels(config, label, k) for k in range(500)])
    hidden = batches == NO_CLASS
    assert np.array_equal(np.where(hidden, label, batches), np.tile(label, (500, 1)))
    assert hidden.mean() == pytest.approx(0.3, abs=0.02)
    assert np.abs(hidden.mean(0) - 0.3).max() < 0.1  # at every place of the batch
    of_8000 = math.sqrt(0.3 * 0.7 / 8000)
    assert hidden.sum(1).std() == pytest.approx(math.sqrt(16 * 0.3 * 0.7), abs=16 * 4 * of_8000)
    assert len(np.unique(hidden, axis=0)) > 400
    assert np.array_equal(drop_labels(config, label, 7), batches[7])
    other = tiny_config(label_dropout=0.3, batch_size=16, seed=1)
    assert not np.array_equal(drop_labels(other, label, 7), batches[7])
    assert drop_labels(tiny_config(label_dropout=0), label, 7) is label
    assert drop_labels(config, None, 7) is None


def test_labels_are_hidden_in_training_alone():
    trainer = Trainer(tiny_config(label_dropout=0.5, batch_size=32), tiny_data(60))
    trained, held_out = calls_of(trainer.model), calls_of(trainer.ema)
    trainer.update()
    assert {-1, 0, 1} == set(trained[0][1])
    assert not held_out
    trained.clear()
    loss = Watch(trainer).losses()
    assert len(held_out) == 16  # held-out and training pictures at 8 times
    assert not trained
    truth = tiny_data(60)
    assert held_out[0][1] == truth.labels[truth.held_out].tolist()
    plain = Trainer(tiny_config(label_dropout=0, batch_size=32), tiny_data(60))
    plain.load_state(trainer.state(), 1)
    assert Watch(plain).losses() == loss
    held_out.clear()
    drawn = sample(trainer.ema, 40, steps=2)
    assert sorted(label for _, labels in held_out[::2] for label in labels) == sorted(
        [*drawn.labels.tolist(), *[0] * 8]  # seats that stayed empty
    )
    assert not any(-1 in labels for _, labels in held_out)


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_accumulation_hides_the_same_labels(micro_batch):
    whole = Trainer(tiny_config(label_dropout=0.3), tiny_data())
    parts = Trainer(tiny_config(label_dropout=0.3, micro_batch=micro_batch), tiny_data())
    seen = calls_of(whole.model), calls_of(parts.model)
    for _ in range(3):
        assert whole.update()["loss"] == pytest.approx(parts.update()["loss"], rel=1e-5 * ROUGH)
    labels = [[label for _, batch in calls for label in batch] for calls in seen]
    assert labels[0] == labels[1]
    assert 2 < labels[0].count(-1) < 14
    for a, b in zip(whole.parameters.values(), parts.parameters.values()):
        torch.testing.assert_close(a, b, atol=3e-4 * ROUGH, rtol=0)


def test_what_is_hidden_is_a_function_of_the_step():
    """Also after going on from a checkpoint."""
    a, b = (Trainer(tiny_config(label_dropout=0.5), tiny_data()) for _ in range(2))
    a.update()
    b.load_state(a.state(), 1)
    calls = calls_of(a.model), calls_of(b.model)
    assert a.update() == b.update()
    assert calls[0] == calls[1]
    assert -1 in calls[0][0][1]


def test_the_share_travels_with_the_model(tmp_path):
    for name, settings, expected in [
        ("default", {}, 0.1),
        ("set", {"label_dropout": 0.25}, 0.25),
        ("none", {"label_dropout": 0.0}, 0.0),
        ("no classes", {"network": {**NETWORK, "num_classes": 0}, "conditional": False}, 0.0),
    ]:
        list(Run(tmp_path / name, tiny_data(), tiny_config(images=8, **settings)).train())
        assert load(tmp_path / name).label_dropout == expected
    denoiser = model(label_dropout=0.4)
    denoiser.save(tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors").label_dropout == 0.4
    facts = denoiser.facts()
    del facts["label_dropout"], facts["plans"], facts["x0_mse"]  # a file from before there was guidance
    older = from_facts(facts)
    assert (older.label_dropout, older.plans, older.x0_mse) == (0.0, [], None)


# --- thresholding --------------------------------------------------------------------------------


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None, None]


def test_thresholding_by_hand():
    """80 % of five numbers are four: the fourth by size is the new border, and is shrunk to 1."""
    x = rows([0.5, -2.0, 4.0, -1.0, 0.0], [0.5, -0.2, 3.0, 0.9, 0.0])
    expected = rows([0.25, -1.0, 1.0, -0.5, 0.0], [0.5, -0.2, 1.0, 0.9, 0.0])
    torch.testing.assert_close(threshold(-1, 1, 0.8)(x), expected)
    whole = rows([0.125, -0.5, 1.0, -0.25, 0.0], [0.5 / 3, -0.2 / 3, 1.0, 0.3, 0.0])
    torch.testing.assert_close(threshold(-1, 1, 1)(x), whole)
    assert torch.equal(threshold(-1, 1, 0.01)(x), x.clamp(-1, 1))


def test_thresholding_of_a_range_about_its_middle():
    """-0.05..2.5, as of bytes that were normalised by 5 and 100: distances count from 1.225."""
    middle, half = 1.225, 1.275
    x = rows([middle + 2.55, middle - 3.9, middle + 0.5, middle - 1.0, middle])
    found = threshold(-0.05, 2.5, 0.8)(x)
    torch.testing.assert_close(found, rows([2.5, -0.05, middle + 0.25, middle - 0.5, middle]))
    assert found.min() >= -0.05 - 1e-12
    assert found.max() <= middle + half + 1e-12


@pytest.mark.parametrize("share", [0.5, 0.995, 1])
def test_thresholding_leaves_what_is_inside_and_never_leaves_the_range(share):
    rng = np.random.default_rng(0)
    inside = torch.from_numpy(rng.uniform(-1, 1, (3, *SHAPE)).astype(np.float32))
    assert torch.equal(threshold(-1, 1, share)(inside), inside)
    wide = torch.from_numpy(3 * rng.standard_normal((3, *SHAPE)).astype(np.float32))
    found = threshold(-1, 1, share)(wide)
    assert found.abs().max() <= 1
    away = wide.abs().flatten(1).sort(1).values[:, math.ceil(64 * share) - 1].clamp(min=1)
    away = away[:, None, None, None]
    torch.testing.assert_close(found, wide.clamp(-away, away) / away)
    for i in range(3):
        assert torch.equal(threshold(-1, 1, share)(wide[i : i + 1])[0], found[i])


@pytest.mark.parametrize("share", [0, -0.1, 1.01, math.nan])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match=r"must lie within 0\.\.1"):
        threshold(-1, 1, share)
    with pytest.raises(ValueError, match=r"must lie within 0\.\.1"):
        sample(model(), 1, threshold=share)


def test_thresholding_takes_the_place_of_clipping_and_needs_bounds(ideal):
    drawn = sample(model("eps"), 1, steps=1, label=0, sampler="ddim", threshold=0.9)
    assert (drawn.facts["clip"], drawn.facts["threshold"]) == (None, 0.9)
    x_T = torch.from_numpy(sample_noise(0, 0, 0, SHAPE))
    with torch.no_grad():
        x0_hat = model("eps")(x_T[None].repeat(16, 1, 1, 1), 100, torch.zeros(16, dtype=torch.int64))[:1]
    np.testing.assert_allclose(drawn.images, threshold(-1, 1, 0.9)(x0_hat).numpy(), atol=1e-4)
    for flag in (True, False):
        with pytest.raises(ValueError, match="threshold or clip, not both"):
            sample(model(), 1, threshold=0.9, clip=flag)
    with pytest.raises(ValueError, match="no bounds to clip to"):
        sample(ideal, 1, threshold=0.9)
