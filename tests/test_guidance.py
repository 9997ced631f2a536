"""Guidance by what is told and by a worse model, and what acts on x0_hat."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from alphabar import rng
from alphabar.data import ClassCondition, Space
from alphabar.model import Codec, Denoiser, save
from alphabar.sampling import Guidance, Known, Observation, clip, guided, sample, threshold, trajectory
from alphabar.sampling.inverse import by_gradient
from alphabar.theory.gaussian import eps_from_x0
from alphabar.theory.plans import SAMPLERS, make_plan
from alphabar.theory.schedule import Schedule
from tiny import tiny_denoiser

SHAPE = (1, 8, 8)
FLOATS = Space(SHAPE, "float32", -1.0, 1.0)


def model(prediction="v", seed=0, dropout=0.1, **network):
    """Random weights; floats within -1..1, so that no rounding to bytes hides a difference."""
    denoiser = tiny_denoiser(prediction, seed, dropout, **network)
    denoiser.codec = Codec(FLOATS, 0.0, 1.0)
    return denoiser


small = partial(model, "v", channel_mult=[1], attention_levels=[])


def calls_of(denoiser):
    """A list that grows by (t, classes) with every evaluation of the network; None where it is not told."""
    calls = []

    def record(_, args):
        told = args[2].get("class")
        classes = None if told is None else [row.index(1) if 1 in row else None for row in told.tolist()]
        calls.append((float(args[1][0]) + 1, classes))

    denoiser.net.register_forward_pre_hook(record)
    return calls


def noisy(n=4, seed=0, shape=SHAPE):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, *shape)))


def told(*classes, k=2):
    """As the network takes it."""
    return {"class": torch.from_numpy(ClassCondition(names=tuple("abcdef"[:k])).encode(classes))}


NOTHING = told(None, None, None, None)


# --- the formula ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["ddpm", "unipc"])
def test_scale_1_is_the_conditional_model_to_the_byte_and_asks_one_network(sampler):
    """Written out with the model itself, for a whole batch."""
    denoiser = model()
    plan = make_plan(denoiser.schedule, sampler, 5, spacing="trailing")
    classes = [i % 2 for i in range(16)]
    noise = lambda k: torch.from_numpy(rng.normal(3, "sample", range(16), k + 1, shape=SHAPE))  # noqa: E731
    *_, last = trajectory(denoiser, plan, noise(-1), noise, told(*classes), [clip(-1, 1)])
    calls = calls_of(denoiser)
    for guidance in (1.0, 1):
        calls.clear()
        drawn = sample(denoiser, 16, seed=3, plan=plan, cond={"class": classes}, guidance=guidance)
        assert drawn.images.tobytes() == last.x_s.numpy().tobytes()
        assert calls == [(t, classes) for t in plan.times[:-1].tolist()]
        assert drawn.facts["evaluations"] == 5
        assert drawn.facts["guidance"] is None
    assert guided(denoiser, Guidance()) is denoiser


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("w", [0, 0.5, 2, 7.5])
def test_guided_x0_hat_is_the_formula_in_x0_and_in_eps(prediction, w):
    denoiser = model(prediction).double()
    x, label = noisy(), told(0, 1, 1, 0)
    for t in (1, 40, 99.5, 100, np.array([1, 40, 99.5, 100])):
        good, bad = denoiser(x, t, label), denoiser(x, t, NOTHING)
        torch.testing.assert_close(bad, denoiser(x, t))
        assert (good - bad).abs().max() > 1e-3
        found = guided(denoiser, Guidance(w))(x, t, label)
        torch.testing.assert_close(found, bad + w * (good - bad))
        found, good, bad = (eps_from_x0(denoiser.schedule, x, x0, t) for x0 in (found, good, bad))
        torch.testing.assert_close(found, bad + w * (good - bad), rtol=1e-9, atol=1e-9)


def test_scale_0_is_the_unconditional_model():
    denoiser = model()
    a = sample(denoiser, 5, cond={"class": 1}, evaluations=4, guidance=0).images
    np.testing.assert_allclose(a, sample(denoiser, 5, cond={"class": None}, evaluations=4).images, atol=1e-5)


@pytest.mark.parametrize("sampler", ["ddim", "heun", "unipc", "ddpm"])
def test_two_networks_are_asked_exactly_at_low_below_t_to_high(sampler):
    denoiser = small()
    plan = make_plan(denoiser.schedule, sampler, 10, spacing="trailing")
    times = plan.times[:-1].tolist()
    low, high = sorted((times[6], times[2]))
    inside = [t for t in times if low < t <= high]
    assert 0 < len(inside) < 10
    assert high in inside
    assert low not in inside
    calls = calls_of(denoiser)
    drawn = sample(denoiser, 1, plan=plan, cond={"class": 1}, guidance=3.0, guidance_interval=(low, high))
    assert Counter(t for t, _ in calls) == Counter(times)
    assert Counter(t for t, label in calls if label[16:] == [None] * 16) == Counter(inside)  # in one batch
    assert drawn.facts["evaluations"] == 10 + len(inside)
    assert drawn.facts["guidance"] == Guidance(3.0, (low, high)).facts()
    everywhere = sample(denoiser, 1, plan=plan, cond={"class": 1}, guidance=3.0)
    assert everywhere.facts["evaluations"] == 20
    nowhere = sample(denoiser, 1, plan=plan, cond={"class": 1}, guidance=3.0, guidance_interval=(100, 200))
    assert nowhere.facts["evaluations"] == 10
    plain = sample(denoiser, 1, plan=plan, cond={"class": 1})
    assert nowhere.images.tobytes() == plain.images.tobytes()
    assert len({s.images.tobytes() for s in (drawn, everywhere, plain)}) == 3


@pytest.mark.parametrize("sampler", ["ddim", "heun", "sa_solver"])
def test_every_third_asks_anew_at_the_first_of_its_times_and_then_at_each_third(sampler):
    """Written out: x0_hat = x0_good + (w - 1) (x0_good - x0_bad at the last time that was asked)."""
    denoiser = small()
    plan = make_plan(denoiser.schedule, sampler, 12, spacing="trailing")
    times = plan.times[:-1].tolist()
    high = sorted(set(times))[-3]
    inside = [k for k, t in enumerate(times) if 10 < t <= high]
    anew = {times[k] for k in inside[::3]}
    assert len(anew) >= 3
    last = {}

    def written_out(x, t, cond):
        good = denoiser(x, t, cond)
        if t in anew:
            last["difference"] = good - denoiser(x, t)
        return good + 2.0 * last["difference"] if 10 < t <= high else good

    noise = lambda k: torch.from_numpy(rng.normal(0, "sample", range(2), k + 1, shape=SHAPE))  # noqa: E731
    *_, end = trajectory(written_out, plan, noise(-1), noise, told(1, 0), [clip(-1, 1)])
    led = {"plan": plan, "guidance": 3.0, "guidance_interval": (10, high)}
    calls = calls_of(denoiser)
    drawn = sample(denoiser, 2, cond={"class": [1, 0]}, guidance_every=3, **led)
    assert [t for t, label in calls if len(label) == 32] == [t for t in times if t in anew]
    assert drawn.facts["evaluations"] == len(calls) + sum(t in anew for t in times)
    assert drawn.facts["guidance"]["every"] == 3
    np.testing.assert_allclose(drawn.images, end.x_s, atol=1e-5)
    assert not np.allclose(drawn.images, sample(denoiser, 2, cond={"class": [1, 0]}, **led).images, atol=1e-3)
    one = sample(denoiser, 2, cond={"class": [1, 0]}, guidance_every=1, **led)
    assert np.array_equal(one.images, sample(denoiser, 2, cond={"class": [1, 0]}, **led).images)


@pytest.mark.parametrize("method", ["projection", "gradient"])
def test_an_observation_goes_together_with_a_difference_that_is_kept(method):
    left = np.zeros(SHAPE, bool)
    left[..., :4] = True
    seen = Observation(Known(left), np.full(SHAPE, 0.3, np.float32), method)
    how = {"cond": {"class": 1}, "evaluations": 6, "guidance": 3.0, "observation": seen}
    kept = sample(small(), 2, guidance_every=3, **how)
    assert kept.facts["evaluations"] == 8
    assert np.isfinite(kept.images).all()
    assert not np.array_equal(kept.images, sample(small(), 2, **how).images)


def test_without_times_of_a_plan_nothing_is_kept_from_one_batch_for_another():
    denoiser, x = small(), noisy(4).float()
    led = guided(denoiser, Guidance(3.0, (20, 60)))
    led(x, 40, told(0, 1, 1, 0))
    t = np.array([40, 80])
    fresh = guided(denoiser, Guidance(3.0, (20, 60)))(x[:2], t, told(0, 1))
    assert torch.equal(led(x[:2], t, told(0, 1)), fresh)


def test_rescaling_brings_back_the_deviation_of_the_conditional_model():
    denoiser = model().double()
    x, label = noisy(), told(0, 1, 1, 0)
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

    def forward(self, x, c_noise, cond):
        a, v, k = affine(self.schedule, float(c_noise[0]) + 1)
        one_hot = cond["class"].to(x)
        sign = one_hot[:, 1] - one_hot[:, 0]
        sign = torch.where(sign != 0, sign, torch.tanh(a * MEAN * x.flatten(1).sum(1) / v))
        return k * x + (sign * MEAN * (1 - a * k))[:, None, None, None]


def affine(schedule, t):
    """alpha, Var x_t within a class, and the slope of E[x_0 | x_t, class]."""
    bar = float(schedule.alpha_bar_at(t))
    v = bar * VAR + 1 - bar
    return math.sqrt(bar), v, math.sqrt(bar) * VAR / v


@pytest.fixture(scope="module")
def ideal():
    schedule = Schedule.linear(1000)
    codec = Codec(Space((1, 1, 2), "float64", None, None), 0.0, 1.0)
    return Denoiser(
        TwoGaussians(schedule), schedule, "x0", codec, {"class": ClassCondition(("-", "+"), dropout=0.1)}
    )


@pytest.mark.parametrize("t", [1, 300, 700, 1000])
@pytest.mark.parametrize("w", [0.0, 1.0, 2.0, 5.0])
def test_one_guided_step_is_its_closed_form(ideal, t, w):
    """k x + (1 - a k) m (th + w (1 - th)), th = tanh(a m sum(x) / v): outward by w for what is unsure."""
    x = np.array([[[[-1.0, 0.7]]], [[[0.3, 0.2]]], [[[2.0, -0.1]]]])
    a, v, k = affine(ideal.schedule, t)
    unsure = 1 - np.tanh(a * MEAN * x.sum((1, 2, 3), keepdims=True) / v)
    expected = k * x + (1 - a * k) * MEAN * (1 + (w - 1) * unsure)
    drawn = sample(ideal, 3, x_t=x, start=t, evaluations=1, sampler="ddim", cond={"class": 1}, guidance=w)
    np.testing.assert_allclose(drawn.images, expected, rtol=2e-5, atol=2e-5)
    if t == 1000:  # nothing is known yet: the mean itself is taken w times
        np.testing.assert_allclose(drawn.images, w * MEAN, atol=0.05 * max(w, 1))


def test_samples_move_outwards_with_the_scale_and_to_their_own_side(ideal):
    draw = partial(sample, ideal, 64, sampler="ddim", evaluations=20)
    means = [draw(cond={"class": 1}, guidance=w).images.mean() for w in (1, 2, 4)]
    assert means[0] == pytest.approx(MEAN, abs=0.12)
    assert means[0] + 0.05 < means[1] < means[2] - 0.05
    other = draw(cond={"class": 0}, guidance=4.0).images.mean()
    assert other == pytest.approx(-means[2], abs=0.15)


def test_the_gradient_of_a_measurement_is_taken_at_x_t(ideal):
    """Through the network: the slope k of x0_hat is in it, which the gradient at x0_hat has not."""
    y, x, label = np.array([[[0.5, 0.0]]]), noisy(3, shape=(1, 1, 2)), told(1, 1, 1)
    seen = Observation(Known(np.array([[[True, False]]])), y, "gradient", 0.8)
    for t in (5, 400, 1000):
        a, _, k = affine(ideal.schedule, t)
        x0_hat = ideal(x, t, label)
        miss = torch.tensor([1.0, 0.0]) * (torch.from_numpy(y) - x0_hat)
        found = by_gradient(ideal, ideal.schedule, seen)(x, t, label)
        torch.testing.assert_close(found, x0_hat + 0.8 * k / a * miss, rtol=1e-6, atol=1e-9)


# --- by another model ----------------------------------------------------------------------------


@pytest.mark.parametrize("w", [0, 0.5, 3])
def test_another_model_is_told_the_same(w):
    """Neither model needs to know what it is not told."""
    good, bad = model(dropout=0).double(), model("eps", seed=1, dropout=0).double()
    x, label = noisy(), told(0, 1, 1, 0)
    a, b = good(x, 50, label), bad(x, 50, label)
    calls = calls_of(good), calls_of(bad)
    found = guided(good, Guidance(w, by=bad))(x, 50, label)
    torch.testing.assert_close(found, b + w * (a - b))
    assert calls == ([(50, [0, 1, 1, 0])],) * 2


def test_another_model_may_be_smaller_and_both_without_classes():
    good, bad = model(classes=False), model(classes=False, seed=1, channel_mult=[1], attention_levels=[])
    calls = calls_of(good), calls_of(bad)
    settings = {"guidance": 2.0, "guidance_interval": (30, 100), "guide": bad}
    drawn = sample(good, 2, evaluations=4, spacing="trailing", **settings)
    assert [[t for t, _ in each] for each in calls] == [[100, 75, 50, 25], [100, 75, 50]]
    assert drawn.facts["evaluations"] == 7
    assert not np.array_equal(drawn.images, sample(good, 2, evaluations=4).images)


def test_another_model_may_be_named_by_its_file(tmp_path):
    good, bad = small(), small(seed=1)
    digest = save(bad, tmp_path / "bad.safetensors")
    settings = {"evaluations": 2, "cond": {"class": 1}, "guidance": 2.0}
    by_path = sample(good, 2, guide=tmp_path / "bad.safetensors", **settings)
    assert by_path.images.tobytes() == sample(good, 2, guide=bad, **settings).images.tobytes()
    assert by_path.facts["guidance"]["by"] == digest
    assert by_path.facts["evaluations"] == 4
    with pytest.raises(FileNotFoundError, match="nowhere"):
        sample(good, 2, guide="nowhere.safetensors", **settings)


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


def changed(space=FLOATS, scale=1.0, schedule=None, names=("left", "right")):
    """A model of another space, codec, schedule or meaning of classes."""
    denoiser = model(seed=1)
    conditions = {"class": ClassCondition(names=names, dropout=0.1)}
    return Denoiser(denoiser.net, schedule or denoiser.schedule, "v", Codec(space, 0.0, scale), conditions)


@pytest.mark.parametrize(
    ("denoiser", "settings", "message"),
    [
        (model(classes=False), {}, "guidance needs a model that is told something, such as a class"),
        (model(dropout=0), {}, "train one with condition_dropout above 0 .*, or guide by an earlier"),
        (model(), {"guide": changed(Space((1, 8, 9), "float32", -1.0, 1.0))},
         r"another shape of samples: \(1, 8, 9\), not"),
        (model(), {"guide": changed(names=("right", "left"))}, r"other conditions: .*right.*, not .*left"),
        (model(), {"guide": model(classes=False)}, r"other conditions: {}, not"),
        (model(classes=False), {"guide": model()}, "other conditions"),
        (model(), {"guide": changed(scale=2.0)}, "another normalization"),
        (model(), {"guide": changed(schedule=Schedule.cosine(100))}, "another schedule"),
        (model(), {"guide": changed(schedule=Schedule.linear(101))}, "another schedule"),
    ],
)  # fmt: skip
def test_models_that_cannot_guide_are_refused(denoiser, settings, message):
    with pytest.raises(ValueError, match=message):
        sample(denoiser, 1, guidance=2.0, evaluations=1, **settings)


def test_other_shares_that_were_hidden_and_other_counts_are_no_other_conditions():
    bad = model(seed=1)
    bad.conditions = {"class": ClassCondition(("left", "right"), (7, 3), dropout=0.3)}
    sample(model(), 1, guidance=2.0, guide=bad, evaluations=1)


def test_guidance_towards_nothing_is_refused():
    for value in (None, [0, None]):
        with pytest.raises(ValueError, match="guidance leads towards what is told: give a class"):
            sample(model(), 2, guidance=2.0, cond={"class": value})
    sample(model(), 1, guidance=2.0, guide=model(seed=1), cond={"class": None}, evaluations=1)
    with pytest.raises(ValueError, match="always needs to be told the class"):
        sample(model(), 1, guidance=2.0, guide=model(seed=1, dropout=0), cond={"class": None})


# --- every option, every sampler -----------------------------------------------------------------

HALF = np.indices((8, 8)).sum(0)[None] % 2 == 0
KNOWN = np.zeros(SHAPE, np.float32)
OPTIONS = {  # name: (with, without)
    "guidance": ({"guidance": 3.0}, {}),
    "interval": ({"guidance": 3.0, "guidance_interval": (20, 60)}, {"guidance": 3.0}),
    "rescale": ({"guidance": 3.0, "guidance_rescale": 0.7}, {"guidance": 3.0}),
    "guide": ({"guidance": 3.0, "guide": small(seed=1)}, {"guidance": 3.0}),
    "clip": ({}, {"clip": False}),
    "threshold": ({"threshold": 0.99}, {}),
    "projection": ({"observation": Observation(Known(HALF), KNOWN)}, {}),
    "gradient": ({"observation": Observation(Known(HALF), KNOWN, "gradient")}, {}),
    "class": ({"cond": {"class": 0}}, {}),
    "not told": ({"cond": {"class": None}}, {}),
}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_acts_in_every_sampler(sampler, option):
    drawn = []
    for options in OPTIONS[option]:
        settings = {"sampler": sampler, "evaluations": 4, "cond": {"class": 1}, **options}
        images = sample(small(), 2, **settings).images
        assert np.all(np.isfinite(images))
        drawn.append(images)
    assert (np.abs(drawn[0] - drawn[1]).max((1, 2, 3)) > 1e-3).all()


def test_a_sample_is_the_same_bytes_alone_in_a_batch_and_in_reverse():
    denoiser = small()
    guidance = {"guidance": 3.0, "guidance_interval": (20, 90), "guidance_rescale": 0.7}
    how = {"seed": 3, "evaluations": 3, "sampler": "ddpm", "threshold": 0.99, **guidance}
    together = sample(denoiser, 64, **how)
    backwards = sample(denoiser, indices=range(63, -1, -1), **how)
    assert together.images.tobytes() == backwards.images[::-1].tobytes()
    assert len(np.unique(together.images.reshape(64, -1), axis=0)) == 64
    for i in (0, 15, 16, 63):
        alone = sample(denoiser, indices=[i], **how)
        assert alone.images[0].tobytes() == together.images[i].tobytes()
        assert alone.told["class"][0] == together.told["class"][i]


# --- not told ------------------------------------------------------------------------------------


def test_a_model_may_be_told_nothing_where_training_hid_it():
    drawn = sample(model(), 3, cond={"class": [None, 0, 1]}, evaluations=2)
    assert drawn.told == {"class": [None, 0, 1]}
    alone = sample(model(), 1, cond={"class": "none"}, evaluations=2)
    assert np.array_equal(drawn.images[0], alone.images[0])
    assert None not in sample(model(), 50, evaluations=1).told["class"]
    with pytest.raises(ValueError, match="always needs to be told the class, which training never hid"):
        sample(model(dropout=0), 1, cond={"class": None})
    with pytest.raises(ValueError, match="has no class to give"):
        sample(model(classes=False), 1, cond={"class": None})
    with pytest.raises(ValueError, match=r"within 0\.\.1, .*got \[-1\]"):
        sample(model(), 1, cond={"class": -1})


GIVEN = {
    "x_0": {"x_0": KNOWN, "start": 50},
    "x_t": {"x_t": KNOWN, "start": 50},
    "observation": {"observation": Observation(Known(HALF), KNOWN)},
}


@pytest.mark.parametrize("given", GIVEN)
def test_what_is_given_is_told_nothing_unless_asked_or_guided(given):
    draw = partial(sample, n=20, evaluations=1, **GIVEN[given])
    assert draw(model()).told == {"class": [None] * 20}
    assert draw(model(), cond={"class": 1}).told == {"class": [1] * 20}
    for denoiser, guidance in [(model(), 2.0), (model(dropout=0), 1.0)]:
        assert set(draw(denoiser, guidance=guidance).told["class"]) == {0, 1}
    assert draw(model(classes=False)).told == {}


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
    """-0.05..2.5, as of bytes that were normalized by 5 and 100: distances count from 1.225."""
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
    drawn = sample(model("eps"), 1, evaluations=1, cond={"class": 0}, sampler="ddim", threshold=0.9)
    assert (drawn.facts["clip"], drawn.facts["threshold"]) == (None, 0.9)
    x_T = torch.from_numpy(rng.normal(0, "sample", 0, shape=SHAPE))
    with torch.no_grad():
        x0_hat = model("eps")(x_T[None].repeat(16, 1, 1, 1), 100, told(*[0] * 16))[:1]
    np.testing.assert_allclose(drawn.images, threshold(-1, 1, 0.9)(x0_hat).numpy(), atol=1e-4)
    for flag in (True, False):
        with pytest.raises(ValueError, match="threshold or clip, not both"):
            sample(model(), 1, threshold=0.9, clip=flag)
    with pytest.raises(ValueError, match="no bounds to clip to"):
        sample(ideal, 1, threshold=0.9)
