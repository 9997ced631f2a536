"""A batch whose slots are each at a row of a plan of their own: the bytes of a sample alone; any rank."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from alphabar import rng
from alphabar.data import ClassCondition, Condition, Space, condition_from
from alphabar.data.conditions.kinds import CONDITIONS
from alphabar.model import Denoiser, fit_codec
from alphabar.sampling import (
    Guidance,
    Job,
    Known,
    Observation,
    Slots,
    clip,
    encode,
    guided,
    interpolate,
    restore,
    sample,
    trajectory,
    vary,
)
from alphabar.sampling.executor import advance, as_columns, row_of
from alphabar.theory.plans import SAMPLERS, Plan, make_plan
from alphabar.theory.schedule import Schedule
from tiny import tiny_denoiser

LINEAR = Schedule.linear(100)
RANKS = [(5,), (2, 64), (1, 8, 8), (1, 4, 8, 8)]
each_rank = pytest.mark.parametrize("shape", RANKS, ids=str)


def a_mixture():
    """A hand-made last row that keeps something of x and of the predictions before."""
    times = np.array([100, 60, 20, 0])
    B = [[0.5, 0, 0], [0.6, -0.1, 0], [0.9, 0.15, -0.05]]
    return Plan(times, LINEAR.alpha_bar_at(times), [0.8, 0.5, 0.07], B, np.zeros(3))


PLANS = [
    *(make_plan(LINEAR, name, n, spacing=s) for name, n, s in [
        ("ddpm", 5, "trailing"), ("ddim", 3, "flow"), ("heun", 6, "log_snr"), ("deis", 7, "log_snr"),
        ("ipndm", 6, "flow"), ("unipc", 4, "karras"), ("sa_solver", 8, "flow"), ("dpmpp_sde", 4, "flow"),
        ("ddim", 1, "flow"),
    ]),
    a_mixture(),
]  # fmt: skip


@pytest.fixture(scope="module")
def denoiser():
    return tiny_denoiser("v", dropout=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_and_columns_give_the_same_bits(dtype):
    """Each plan's rows for a whole batch as numbers, and for one sample of it among others as columns."""
    torch.manual_seed(0)
    for plan, k in itertools.product(PLANS, range(8)):
        if k >= plan.num_evaluations:
            continue
        x, x0_hat, z, *history = torch.randn(6, 4, 3, 2, dtype=dtype)
        row = row_of(plan, k)
        whole = advance(x, x0_hat, history[:k], row, z)
        others = [row_of(PLANS[0], 1), None, row, row_of(PLANS[3], 3)]
        mixed = advance(x, x0_hat, history, as_columns(others, x), z)
        for a, b in zip(whole, mixed, strict=True):
            assert torch.equal(a[2], b[2])


def test_what_is_no_business_of_a_row_does_it_no_harm():
    """Infinity and NaN in the history of whoever sat there before, and in the noise of others."""
    x, x0_hat = torch.ones(2, 3), torch.ones(2, 3)
    bad = torch.full((2, 3), torch.nan)
    rows = [row_of(PLANS[1], 0), row_of(PLANS[3], 2)]
    for found in advance(x, x0_hat, [bad, bad], as_columns(rows, x), bad):
        assert found[0].isfinite().all()


def drawn_by_slots(slots, jobs):
    return {(job.seed, job.index): x for finished in slots.run(jobs) for job, x in finished}


def as_sample_draws(denoiser, plan, seed, index, **settings):
    """One sample in data space, alone."""
    return sample(denoiser, indices=[index], seed=seed, plan=plan, **settings).images[0]


def jobs_of(denoiser, order, seed=3):
    """A job of another plan for each number, told what `sample` would tell it."""
    for i in order:
        told = sample(denoiser, indices=[i], seed=seed, evaluations=1).told
        cond = {name: value[0] for name, value in denoiser.told(told, 1).items()}
        yield Job(PLANS[i % len(PLANS)], i, seed, cond)


def test_in_mixed_company_each_sample_has_the_bytes_that_it_has_alone(denoiser):
    """Plans of every kind beside each other, some done before others, new ones in their places."""
    for order in (range(40), range(39, -1, -1), [7, 23, 8, 39, 24]):
        calls = []
        slots = Slots(
            lambda x, t, cond: calls.append(len(x)) or denoiser(x, t, cond),
            denoiser.space.shape,
            [clip(-1, 1)],
        )
        found = drawn_by_slots(slots, jobs_of(denoiser, order))
        assert len(found) == len(order)
        assert set(calls) == {16}
        for (seed, i), x in found.items():
            alone = as_sample_draws(denoiser, PLANS[i % len(PLANS)], seed, i)
            assert denoiser.codec.decode(x).tobytes() == alone.tobytes(), i
    assert len(calls) < sum(PLANS[i % len(PLANS)].num_evaluations for i in order)


def test_jobs_that_arrive_later_change_nothing_for_those_under_way(denoiser):
    jobs = list(jobs_of(denoiser, range(12)))
    slots, found = Slots(denoiser, denoiser.space.shape, [clip(-1, 1)]), {}
    while jobs or slots.live:
        slots.put(*jobs[:3])
        del jobs[:3]
        found |= {job.index: x for job, x in slots.step()}
    for i, x in found.items():
        alone = as_sample_draws(denoiser, PLANS[i % len(PLANS)], 3, i)
        assert denoiser.codec.decode(x).tobytes() == alone.tobytes()
    assert len(found) == 12
    assert slots.step() == []


def test_guidance_with_an_interval_acts_by_the_time_of_each_slot(denoiser):
    guidance = Guidance(3.0, (20, 60), 0.5)
    slots = Slots(guided(denoiser, guidance), denoiser.space.shape, [clip(-1, 1)])
    found = drawn_by_slots(slots, jobs_of(denoiser, range(10)))
    settings = {"guidance": 3.0, "guidance_interval": (20, 60), "guidance_rescale": 0.5}
    changed = 0
    for (seed, i), x in found.items():
        plan = PLANS[i % len(PLANS)]
        alone = as_sample_draws(denoiser, plan, seed, i, **settings)
        assert denoiser.codec.decode(x).tobytes() == alone.tobytes()
        changed += not np.array_equal(alone, as_sample_draws(denoiser, plan, seed, i))
    assert changed >= 5


def test_a_difference_is_kept_for_each_slot_from_its_own_last_time(denoiser):
    """Jobs of one plan that arrive one after another, those that are done making room for new ones."""
    plan = make_plan(denoiser.schedule, "dpmpp_sde", 7)
    guidance = Guidance(3.0, (0, 90), 0.5, every=3)
    slots = Slots(guided(denoiser, guidance, plan.times[:-1]), denoiser.space.shape, [clip(-1, 1)])
    waiting, found = list(range(20)), {}
    while waiting or slots.live:
        if waiting:
            told = sample(denoiser, indices=waiting[:1], seed=3, evaluations=1).told
            cond = {name: value[0] for name, value in denoiser.told(told, 1).items()}
            if slots.has_room(job := Job(plan, waiting[0], 3, cond)):
                slots.put(job)
                waiting.pop(0)
        found |= {job.index: x for job, x in slots.step()}
    assert len(found) == 20
    settings = {"guidance": 3.0, "guidance_interval": (0, 90), "guidance_rescale": 0.5, "guidance_every": 3}
    for i, x in found.items():
        alone = as_sample_draws(denoiser, plan, 3, i, **settings)
        assert denoiser.codec.decode(x).tobytes() == alone.tobytes(), i
        assert not np.array_equal(
            alone, as_sample_draws(denoiser, plan, 3, i, **settings | {"guidance_every": 1})
        )


@pytest.mark.parametrize("method", ["projection", "gradient"])
def test_an_observation_acts_on_every_slot_at_its_own_time(denoiser, method):
    left = np.zeros((1, 8, 8), bool)
    left[..., :4] = True
    seen = Observation(Known(left), np.full((1, 8, 8), 0.3, np.float32), method)
    denoise = seen.within(denoiser, denoiser.schedule)
    slots = Slots(denoise, denoiser.space.shape, [clip(-1, 1), *seen.on_x0()])
    for (seed, i), x in drawn_by_slots(slots, jobs_of(denoiser, range(10))).items():
        told = sample(denoiser, indices=[i], seed=seed, evaluations=1).told
        alone = as_sample_draws(denoiser, PLANS[i % len(PLANS)], seed, i, observation=seen, cond=told)
        assert denoiser.codec.decode(x).tobytes() == alone.tobytes()


def test_a_taken_place_is_refused_and_run_waits_for_it(denoiser):
    slots = Slots(denoiser, denoiser.space.shape)
    slots.put(Job(PLANS[1], 3))
    with pytest.raises(ValueError, match="place 3 is taken: sample 19 must wait"):
        slots.put(Job(PLANS[1], 19))
    order = [
        job.index for finished in slots.run([Job(PLANS[1], 19), Job(PLANS[1], 4)]) for job, _ in finished
    ]
    assert order == [3, 19, 4]


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_a_model_that_gives_no_numbers_is_an_error_that_says_where(broken):
    """Clipping would make white or black pictures of infinity."""
    model = tiny_denoiser("v", classes=False)

    def denoise(x_t, t, cond=None):
        x0_hat = model(x_t, t, cond).clone()
        x0_hat[3, 0, 2, 2] = broken if np.max(t) < 50 else 0.0
        return x0_hat

    plan = make_plan(LINEAR, "ddim", 4, spacing="trailing")
    jobs = [Job(plan, i) for i in (2, 19)]
    with pytest.raises(
        ValueError, match=r"sample 19 is not finite .* at evaluation 4 of 4, t = 25: the model's"
    ):
        list(Slots(denoise, (1, 8, 8), [clip(-1, 1)]).run(jobs))
    assert len(list(Slots(denoise, (1, 8, 8), [clip(-1, 1)]).run([Job(plan, 2)]))) == 1
    with pytest.raises(ValueError, match=r"x0_hat is not finite .* at evaluation 4 of 4, t = 25"):
        list(trajectory(denoise, plan, torch.zeros(4, 1, 8, 8), lambda _: torch.zeros(1)))


def test_states_on_the_way_are_kept_from_the_start_to_the_end(denoiser):
    job = Job(PLANS[1], 5, 2, keep=(0, 2, 3))
    ((_, x),) = [pair for finished in Slots(denoiser, (1, 8, 8)).run([job]) for pair in finished]
    assert sorted(job.kept) == [0, 2, 3]
    assert np.array_equal(job.kept[0], rng.normal(2, "sample", 5, shape=(1, 8, 8)))
    assert np.array_equal(job.kept[3], x)


# --- any rank, any conditions --------------------------------------------------------------------


class Linear(nn.Module):
    """x → a mixture of each channel's numbers with its neighbors, moved by what is told; any shape."""

    def __init__(self, shape, conditions=None, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.mix = nn.Parameter(torch.randn(shape[-1], shape[-1], generator=generator) / shape[-1] ** 0.5)
        self.maps = nn.ParameterDict({
            name: nn.Parameter(torch.randn(int(np.prod(c)), *shape, generator=generator))
            for name, c in (conditions or {}).items()
        })  # fmt: skip

    def forward(self, x, c_noise, cond=None):
        told = sum(
            torch.tensordot(v.flatten(1), self.maps[name].to(v), 1) for name, v in (cond or {}).items()
        )
        when = torch.tanh(c_noise / 100).reshape(-1, *[1] * (x.ndim - 1)).to(x)
        return torch.tanh(x @ self.mix.to(x)) * when + told


@dataclass(frozen=True)
class Angle(Condition):
    """A direction in degrees, told as (cos, sin, 1)."""

    kind: ClassVar[str] = "angle"

    @property
    def shape(self):
        return (3,)

    def encode_told(self, values):
        radians = np.deg2rad(values.astype(np.float64))
        return np.stack([np.cos(radians), np.sin(radians), np.ones(len(values))], 1).astype(np.float32)

    def draw(self, u):
        return 360 * u

    def parse(self, given):
        return None if given is None or given == "none" else float(given)


@dataclass(frozen=True)
class Place(Condition):
    """Where something is, a vector of three numbers; all zeros are nowhere."""

    kind: ClassVar[str] = "place"
    rank: ClassVar[int] = 1

    @property
    def shape(self):
        return (3,)

    def encode_told(self, values):
        if values.shape[1:] != self.shape:
            raise ValueError(f"a place has three numbers, got {values.shape[1:]}")
        return values.astype(np.float32)

    def draw(self, u):
        return np.stack([u, 1 - u, np.ones(len(u))], 1)

    def parse(self, given):
        return None if given == "none" else [float(part) for part in given.split(",")]


@pytest.fixture
def angles(monkeypatch):
    monkeypatch.setitem(CONDITIONS, "angle", Angle)


def model_of(shape, conditions=None, bounded=True):
    space = Space(shape, "float32", -1.0 if bounded else None, 1.0 if bounded else None)
    conditions = conditions or {}
    net = Linear(shape, {name: condition.shape for name, condition in conditions.items()})
    codec = fit_codec(space, None if bounded else np.random.default_rng(0).standard_normal((50, *shape)))
    return Denoiser(net, LINEAR, "v", codec, conditions).eval().requires_grad_(False)


@each_rank
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_of_any_rank_are_the_same_bytes_however_they_are_drawn(shape, sampler):
    model = model_of(shape)
    settings = {"sampler": sampler, "evaluations": 3, "seed": 1, "clip": False}
    together = sample(model, 18, **settings)
    assert together.images.shape == (18, *shape)
    backwards = sample(model, indices=range(17, -1, -1), **settings)
    assert together.images.tobytes() == backwards.images[::-1].tobytes()
    assert sample(model, indices=[17], **settings).images.tobytes() == together.images[17:].tobytes()
    assert len(np.unique(together.images.reshape(18, -1), axis=0)) == 18


@each_rank
def test_a_run_of_any_rank_is_the_executors_own(shape):
    model = model_of(shape, bounded=False)
    plan = make_plan(LINEAR, "ddpm", 5)
    z = [torch.from_numpy(rng.normal(3, "sample", range(16), k, shape=shape)) for k in range(6)]
    *_, last = trajectory(model, plan, z[0], lambda k: z[k + 1])
    drawn = sample(model, 16, seed=3, plan=plan)
    assert drawn.images.tobytes() == model.codec.decode(last.x_s.numpy()).tobytes()


@each_rank
def test_everything_that_is_done_to_samples_is_done_to_those_of_any_rank(shape):
    model = model_of(shape)
    images = np.random.default_rng(0).uniform(-1, 1, (3, *shape)).astype(np.float32)
    assert encode(model, images, evaluations=5).shape == images.shape
    for method in ("encode", "noise"):
        between = interpolate(model, images[0], images[1], 4, method=method, evaluations=5).images
        assert between.shape == (4, *shape)
    samples, noisy = vary(model, images, 30, 2, evaluations=3)
    assert samples.images.shape == (6, *shape)
    assert noisy.shape == images.shape
    known = np.random.default_rng(1).random(shape) < 0.5
    samples, errors = restore(model, Known(known), images[0], 2, evaluations=3)
    assert np.array_equal(samples.images[:, known], np.broadcast_to(images[0][known], (2, known.sum())))
    assert np.all(errors == 0)
    sample(model, 2, evaluations=2, threshold=0.9)
    assert samples._repr_png_().startswith(b"\x89PNG")


@each_rank
def test_two_conditions_at_once_are_told_drawn_hidden_and_guided_towards(shape, angles):
    conditions = {
        "class": ClassCondition(("a", "b", "c"), (1, 1, 8), dropout=0.1),
        "angle": Angle(dropout=0.2),
    }
    assert condition_from(conditions["angle"].to_dict()) == conditions["angle"]
    model = model_of(shape, conditions)
    drawn = sample(model, 60, evaluations=1)
    assert set(drawn.told) == {"class", "angle"}
    assert drawn.told["class"].count(2) > 35
    assert len(set(drawn.told["angle"])) == 60
    among_a, among_c = (
        [a for k, a in zip(drawn.told["class"], drawn.told["angle"]) if k == c] for c in (0, 2)
    )
    assert max(among_a) > min(among_c)  # each is drawn by itself
    settings = {"evaluations": 3, "seed": 4, "clip": False}
    both = sample(model, 2, cond={"class": "b", "angle": [90, None]}, **settings)
    assert both.told == {"class": [1, 1], "angle": [90.0, None]}
    one = sample(model, 2, cond={"class": "b", "angle": None}, **settings)
    assert one.images[1].tobytes() == both.images[1].tobytes()
    assert one.images[0].tobytes() != both.images[0].tobytes()
    nothing = sample(model, 2, cond={"class": None, "angle": None}, **settings)
    guided_away = sample(model, 2, cond={"class": "b", "angle": 45}, guidance=0.0, **settings)
    np.testing.assert_allclose(guided_away.images, nothing.images, atol=1e-6)
    edited = sample(model, 1, x_0=np.zeros(shape, np.float32), start=30, **settings)
    assert edited.told == {"class": [None], "angle": [None]}
    sample(model, 2, cond={"class": "b", "angle": None}, guidance=2.0, **settings)
    with pytest.raises(ValueError, match="guidance leads towards what is told: give one of class, angle"):
        sample(model, 2, cond={"class": ["b", None], "angle": None}, guidance=2.0, **settings)


def test_guidance_keeps_what_the_model_is_always_told(angles):
    """A condition that training never hid stays told in both halves of the batch."""
    model = model_of((5,), {"class": ClassCondition(("a", "b")), "angle": Angle(dropout=0.2)})
    seen = []
    model.net.register_forward_pre_hook(
        lambda _, args: seen.append({k: v.clone() for k, v in args[2].items()})
    )
    sample(model, 2, cond={"class": "b", "angle": 90}, guidance=2.0, evaluations=1)
    (cond,) = seen
    half = len(cond["class"]) // 2
    assert cond["class"][[0, 1, half, half + 1]].tolist() == [[0, 1]] * 4
    assert cond["angle"][[0, half]].tolist() == [pytest.approx([0, 1, 1], abs=1e-6), [0, 0, 0]]
    with pytest.raises(ValueError, match="always needs to be told the class"):
        sample(model, 1, cond={"class": None})
    with pytest.raises(ValueError, match="always needs to be told the class, which training never hid"):
        model.told({"class": [None]}, 1)


A, B = [0.1, 0.2, 0.3], [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("given", "n", "told"),
    [
        (A, 4, [A] * 4),
        (A, 3, [A] * 3),
        (np.array(A), 3, [A] * 3),
        ("0.1,0.2,0.3", 2, [A] * 2),
        ([A, None], 2, [A, None]),
        ([None, "1,2,3", np.array(A)], 3, [None, B, A]),
        (np.array([A, B, A]), 3, [A, B, A]),
        (torch.tensor([B, B], dtype=torch.float64), 2, [B, B]),
        (None, 2, [None, None]),
    ],
    ids=str,
)
def test_a_value_may_be_a_vector_for_all_or_one_each(given, n, told):
    model = model_of((5,), {"place": Place(dropout=0.1)})
    drawn = sample(model, n, cond={"place": given}, evaluations=1)
    assert drawn.told == {"place": told}
    each = sample(model, n, cond={"place": told}, evaluations=1)
    assert drawn.images.tobytes() == each.images.tobytes()


@pytest.mark.parametrize(
    ("cond", "message"),
    [
        ({"place": [A, A]}, "place must be one value, or 3 of them, got 2"),
        ({"place": [[A, A, A]]}, "a value of place has rank 1: give one, or a list of 3, got 3 axes"),
        ({"place": [A, [1.0], B]}, "values of kind place must all have one shape"),
        ({"place": [1.0, 2.0]}, "a place has three numbers"),
        ({"color": [1, 0]}, "color must be one value, or 3 of them, got 2"),
        ({"color": "x"}, "color: unknown class 'x'; known: r, g"),
        ({"color": 7}, r"color: a class is a whole number within 0\.\.1"),
        ({"size": [[0, 1, 1]]}, "a value of size has rank 0: give one, or a list of 3, got 2 axes"),
    ],
    ids=str,
)
def test_values_that_are_none_are_refused_by_the_name_of_their_condition(cond, message):
    conditions = {
        "place": Place(dropout=0.1),
        "color": ClassCondition(("r", "g"), dropout=0.1),
        "size": ClassCondition(("s", "l"), dropout=0.1),
    }
    with pytest.raises(ValueError, match=message):
        sample(model_of((5,), conditions), 3, cond=cond, evaluations=1)


def test_between_two_samples_all_are_told_one_vector():
    model = model_of((5,), {"place": Place(dropout=0.1)})
    a, b = np.zeros((2, 5), np.float32)
    assert interpolate(model, a, b, 3, cond={"place": A}, evaluations=2).told == {"place": [A] * 3}
    with pytest.raises(ValueError, match="told the same place: give one value, not a list"):
        interpolate(model, a, b, 3, cond={"place": [A, A, A]}, evaluations=2)
    with pytest.raises(ValueError, match="unknown condition 'plaice'; known: place"):
        interpolate(model, a, b, 3, cond={"plaice": A}, evaluations=2)
