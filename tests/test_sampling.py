"""Samples by number: the same bytes however they are drawn; where they start; what is recorded."""

from __future__ import annotations

import inspect
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from alphabar import rng
from alphabar.data import ClassCondition, Space
from alphabar.model import Codec, Denoiser
from alphabar.nn import UNet, build_network
from alphabar.sampling import SampleConfig, sample, stream_samples
from alphabar.theory.gaussian import posterior, q_sample
from alphabar.theory.plans import make_plan
from alphabar.theory.schedule import Schedule
from tiny import NETWORK, tiny_denoiser

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def denoiser():
    return tiny_denoiser("v")


@pytest.mark.parametrize(
    "options",
    [{}, {"sampler": "ddim", "eta": 0.5}, {"sampler": "ddim"}, {"precision": "bfloat16"}],
    ids=["default", "ddim 0.5", "ddim", "bfloat16"],
)
def test_sample_i_is_the_same_bytes_alone_in_a_batch_and_in_reverse(denoiser, options):
    together = sample(denoiser, 64, seed=3, evaluations=4, **options)
    backwards = sample(denoiser, indices=range(63, -1, -1), seed=3, evaluations=4, **options)
    assert together.images.tobytes() == backwards.images[::-1].tobytes()
    assert len(np.unique(together.images.reshape(64, -1), axis=0)) == 64
    for i in (0, 1, 15, 16, 40, 63):
        alone = sample(denoiser, indices=[i], seed=3, evaluations=4, **options)
        assert alone.images[0].tobytes() == together.images[i].tobytes()
        assert alone.told["class"][0] == together.told["class"][i]
    assert not np.array_equal(
        sample(denoiser, 1, seed=4, evaluations=4, **options).images[0], together.images[0]
    )


def test_two_calls_are_equal_and_leave_the_global_generators_alone(denoiser):
    state = torch.random.get_rng_state()
    a, b = (sample(denoiser, 3, evaluations=3, sampler="ddpm").images for _ in range(2))
    assert np.array_equal(a, b)
    assert torch.equal(state, torch.random.get_rng_state())


def test_bfloat16_is_near_and_used_where_it_was_trained_in_and_the_device_has_it(monkeypatch):
    denoiser = tiny_denoiser("v")
    exact = sample(denoiser, 16, evaluations=5)
    assert exact.facts["precision"] == "float32"
    near = sample(denoiser, 16, evaluations=5, precision="bfloat16")
    assert near.facts["precision"] == "bfloat16"
    error = np.abs(near.images.astype(float) - exact.images)
    assert 0 < error.mean() < 2  # gray levels of 255
    assert {p.dtype for p in denoiser.net.parameters()} == {torch.float32}
    denoiser.about["training"] = {"precision": "bfloat16"}
    for has, used, images in ((True, "bfloat16", near.images), (False, "float32", exact.images)):
        monkeypatch.setattr("alphabar.sampling.choices.has_bfloat16", lambda device, has=has: has)
        drawn = sample(denoiser, 16, evaluations=5)
        assert drawn.facts["precision"] == used
        assert np.array_equal(drawn.images, images)
    assert sample(denoiser, 1, evaluations=5, precision="float32").facts["precision"] == "float32"


def test_noise_is_normal_and_independent_across_seed_index_and_step():
    draws = np.stack([
        rng.normal(seed, "sample", index, step, shape=(4096,))
        for seed in (0, 1) for index in (0, 1) for step in (0, 1)
    ])  # fmt: skip
    assert np.abs(draws.mean(1)).max() < 0.08
    assert np.abs(draws.var(1) - 1).max() < 0.12
    assert np.abs(np.corrcoef(draws) - np.eye(8)).max() < 0.08
    with pytest.raises(ValueError, match="seed must be"):
        rng.normal(-1, "sample", 0)


class Recorder(UNet):
    """A U-Net that remembers what it was shown."""

    def forward(self, x, c_noise, cond=None):
        self.shown.append((x.clone(), float(c_noise[0])))
        return super().forward(x, c_noise, cond)


@pytest.fixture
def recorded():
    model = tiny_denoiser("eps")
    settings = {k: v for k, v in NETWORK.items() if k != "name"}
    net = Recorder(SHAPE, conditions={"class": (2,)}, **settings)
    net.load_state_dict(model.net.state_dict())
    net.shown = []
    return Denoiser(net, model.schedule, "eps", model.codec, model.conditions).eval().requires_grad_(False)


def test_from_pure_noise_the_first_state_is_the_noise_of_step_0(recorded):
    sample(recorded, indices=[5], seed=9, evaluations=2)
    state, c_noise = recorded.net.shown[0]
    expected = rng.normal(9, "sample", 5, 0, shape=SHAPE)
    assert np.array_equal(state[5].numpy(), expected)
    assert c_noise == recorded.schedule.T - 1


@pytest.mark.parametrize("t", [1, 30, 100])
def test_a_clean_sample_is_noised_to_t_and_denoised_from_t(recorded, t):
    image = np.full((1, 8, 8), 200, np.uint8)
    sample(recorded, 2, seed=1, start=t, evaluations=min(t, 3), x_0=image)
    state, c_noise = recorded.net.shown[0]
    eps = rng.normal(1, "sample", 1, 0, shape=SHAPE)
    x_0 = (image.astype(np.float32) - 127.5) / 127.5
    np.testing.assert_allclose(state[1].numpy(), q_sample(recorded.schedule, x_0, t, eps), rtol=1e-6)
    assert c_noise == t - 1


def test_a_noisy_sample_is_taken_as_it_is(recorded):
    x_t = np.random.default_rng(0).standard_normal((1, 8, 8)).astype(np.float32)
    a = sample(recorded, 1, start=30, evaluations=3, x_t=x_t)
    assert np.array_equal(recorded.net.shown[0][0][0].numpy(), x_t)
    assert recorded.net.shown[0][1] == 29
    assert a.facts["from"] == "x_t as given"


def test_ancestral_noise_has_the_size_that_the_plan_says(recorded):
    """The second state is A x + B x0_hat + C z with z of step 1."""
    sample(recorded, 1, seed=2, sampler="ddpm", evaluations=2)
    (first, _), (second, _) = recorded.net.shown[:2]
    told = sample(recorded, 1, seed=2, evaluations=1).told
    cond = {"class": torch.zeros(16, 2)}
    cond["class"][0, told["class"][0]] = 1
    x0_hat = recorded(first, 100, cond).clamp(-1, 1)
    A, B, C = posterior(recorded.schedule, 100, 50)
    z = rng.normal(2, "sample", 0, 1, shape=SHAPE)
    expected = float(A) * first[0] + float(B) * x0_hat[0] + float(C) * torch.from_numpy(z)
    torch.testing.assert_close(second[0], expected)


def test_clipping_is_to_the_datas_range_and_recorded():
    denoiser = tiny_denoiser("eps")
    clipped = sample(denoiser, 2, evaluations=3)
    assert clipped.facts["clip"] == [-1.0, 1.0]
    free = sample(denoiser, 2, evaluations=3, clip=False)
    assert free.facts["clip"] is None
    assert not np.array_equal(free.images, clipped.images)


def test_the_range_of_other_data_is_not_minus_1_to_1():
    """Bytes normalized by 5 and 100 have the range -0.05 to 2.5 in model space."""
    model = tiny_denoiser("eps", classes=False)
    model.codec = Codec(Space(SHAPE), 5.0, 100.0)
    samples = sample(model, 2, evaluations=1)
    assert samples.facts["clip"] == [-0.05, 2.5]
    assert samples.images.max() == 255
    assert samples.images.min() == 0


def test_images_are_in_the_datas_own_type_and_range(denoiser):
    images = sample(denoiser, 4, evaluations=2).images
    assert images.dtype == np.uint8
    assert images.shape == (4, 1, 8, 8)


def test_classes_are_drawn_as_often_as_in_the_data_or_as_asked(denoiser):
    drawn = sample(denoiser, 200, evaluations=1).told["class"]
    assert 70 < sum(drawn) < 130
    assert sample(denoiser, 3, evaluations=1, cond={"class": 1}).told == {"class": [1, 1, 1]}
    assert sample(denoiser, 3, evaluations=1, cond={"class": [1, 0, 1]}).told == {"class": [1, 0, 1]}
    assert sample(denoiser, 2, evaluations=1, cond={"class": ["right", "left"]}).told == {"class": [1, 0]}
    array = sample(denoiser, 2, evaluations=1, cond={"class": np.array([0, 1])})
    assert array.told == {"class": [0, 1]}
    several = tiny_denoiser("v")
    several.conditions = {"class": ClassCondition(("1", "0"))}  # text is a name, a number is a value
    assert sample(several, 2, evaluations=1, cond={"class": ["1", 1]}).told == {"class": [0, 1]}
    a = sample(denoiser, 1, evaluations=2, cond={"class": 0}, seed=5).images
    assert not np.array_equal(a, sample(denoiser, 1, evaluations=2, cond={"class": 1}, seed=5).images)


def test_frames_go_from_the_start_to_the_sample(denoiser):
    samples = sample(denoiser, 18, evaluations=10, spacing="trailing", frames=5)
    assert samples.frames.shape == (5, 18, 1, 8, 8)
    assert samples.frame_times == [100, 80, 50, 20, 0]
    assert np.array_equal(samples.frames[-1], samples.images)
    start = rng.normal(0, "sample", 17, 0, shape=SHAPE)
    assert np.array_equal(samples.frames[0, 17], denoiser.codec.decode(start))
    assert sample(denoiser, 1, evaluations=3, spacing="trailing", frames=50).frame_times == [100, 67, 33, 0]


def test_any_number_of_steps(denoiser):
    for steps in (1, 2, 99, 100, 150):
        samples = sample(denoiser, 1, evaluations=steps)
        assert len(samples.facts["times"]) == steps + 1
    assert len(sample(denoiser, 1).facts["times"]) == 21
    few = tiny_denoiser()
    few.schedule = Schedule.linear(20)
    assert sample(few, 1, spacing="trailing").facts["times"] == list(range(20, -1, -1))
    assert len(sample(denoiser, 1, start=20, x_0=np.zeros((1, 8, 8), np.uint8)).facts["times"]) == 11


def test_a_plan_may_be_given_whole(denoiser):
    plan = make_plan(denoiser.schedule, "ddim", 4, eta=0.2)
    a = sample(denoiser, 2, plan=plan)
    assert np.array_equal(a.images, sample(denoiser, 2, sampler="ddim", evaluations=4, eta=0.2).images)
    with pytest.raises(ValueError, match="give it alone"):
        sample(denoiser, 2, plan=plan, evaluations=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be a whole number of at least 1, got 0"),
        ({"n": 2.5}, "n must be a whole number of at least 1, got 2.5"),
        ({"indices": []}, "indices must be at least one, got none"),
        ({"indices": [4, -1]}, "numbers of samples from 0, got -1"),
        ({"n": 1, "indices": [0]}, "not both"),
        ({"start": 50}, "starts at T = 100, got 50"),
        ({"x_0": np.zeros((1, 9, 8), np.uint8)}, r"shape \(1, 8, 8\), got \(1, 9, 8\)"),
        ({"x_t": np.full((1, 8, 8), np.nan)}, "not finite"),
        ({"x_0": np.zeros((1, 8, 8)), "x_t": np.zeros((1, 8, 8))}, "not both"),
        ({"cond": {"class": 2}}, r"whole number within 0\.\.1, .*got \[2\]"),
        ({"cond": {"class": "up"}}, "unknown class 'up'; known: left, right"),
        ({"cond": {"class": [0, 1]}}, "class must be one value, or 1 of them, got 2"),
        ({"cond": {"clas": 1}}, "unknown condition 'clas'; known: class"),
        ({"cond": {"class": None}}, "always needs to be told the class"),
        ({"seed": -1}, "seed must be"),
        ({"indices": [3, 3]}, "indices must differ"),
        ({"indices": [1.5]}, "whole numbers"),
        ({"frames": 1}, "frames must be 0, or 2 or more"),
        ({"evaluations": 0}, "evaluations must be"),
        ({"etaa": 1}, "unknown setting of sampling 'etaa'.*did you mean 'eta'"),
        ({"eta": 1}, "sa_solver takes order, and not eta"),
        ({"sampler": "ddimm"}, "unknown sampler 'ddimm'; known: .*did you mean 'ddim'"),
        ({"spacing": "even"}, "unknown spacing 'even'; known: "),
        ({"plan": "nowhere.json"}, "no such file: nowhere.json"),
        ({"guide": 3}, "a path or a Denoiser, got int"),
        ({"precision": "float16"}, r"float16.*float32, bfloat16"),
    ],
)
def test_what_cannot_be_sampled_is_refused(denoiser, arguments, message):
    with pytest.raises(ValueError, match=message):
        sample(denoiser, **arguments)


def test_a_model_without_classes_or_bounds_says_so():
    model = tiny_denoiser(classes=False)
    model.codec = Codec(Space(SHAPE, "float32", None, None), 5.0, 3.0)
    assert sample(model, 1, evaluations=1).facts["clip"] is None
    with pytest.raises(ValueError, match="no bounds to clip to"):
        sample(model, 1, clip=True)
    with pytest.raises(ValueError, match="is told nothing beside x_t: it has no class"):
        sample(model, 1, cond={"class": 0})


def test_channels_with_ranges_of_their_own_are_clipped_each_to_its_own():
    two = build_network({**NETWORK}, (2, 8, 8), {})
    space = Space((2, 8, 8), "float32", (0.0, -10.0), (1.0, 30.0))
    model = Denoiser(two, Schedule.linear(100), "eps", Codec(space, (0.5, 0.0), (0.5, 10.0))).eval()
    samples = sample(model, 4, evaluations=3, sampler="ddim")
    assert samples.facts["clip"] == [[-1.0, -1.0], [1.0, 3.0]]
    for channel, (low, high) in enumerate([(0, 1), (-10, 30)]):
        assert samples.images[:, channel].min() == pytest.approx(low, abs=1e-5)
        assert samples.images[:, channel].max() == pytest.approx(high, rel=1e-5)
    assert np.isfinite(sample(model, 1, evaluations=3, threshold=0.9).images).all()


def test_a_configuration_gives_the_same_as_settings_and_says_what_was_asked(denoiser, tmp_path):
    config = SampleConfig(evaluations=3, sampler="ddim", options={"eta": 0.5}, seed=4)
    samples = sample(denoiser, 2, config)
    flat = sample(denoiser, 2, evaluations=3, sampler="ddim", eta=0.5, seed=4)
    assert samples.images.tobytes() == flat.images.tobytes()
    assert samples.facts == flat.facts
    settings = {"evaluations": 3, "sampler": "ddim", "options": {"eta": 0.5}, "seed": 4}
    assert samples.facts["settings"] == settings
    again = sample(denoiser, 2, SampleConfig(**json.loads(json.dumps(settings))))
    assert again.images.tobytes() == samples.images.tobytes()
    changed = sample(denoiser, 2, config, seed=5)
    assert changed.facts["settings"] == {**settings, "seed": 5}
    plan = make_plan(denoiser.schedule, "ddim", 3, eta=0.5)
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_dict()))
    for given in (plan, tmp_path / "plan.json", str(tmp_path / "plan.json")):
        assert sample(denoiser, 2, plan=given, seed=4).images.tobytes() == samples.images.tobytes()
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(ValueError, match=r"plan\.json is no plan: a plan has the entries"):
        sample(denoiser, 2, plan=tmp_path / "plan.json")


def test_a_bfloat16_copy_is_made_once():
    denoiser = tiny_denoiser("v")
    sample(denoiser, 1, evaluations=1, precision="bfloat16")
    first = denoiser.in_precision("bfloat16")
    sample(denoiser, 1, evaluations=1, precision="bfloat16")
    assert denoiser.in_precision("bfloat16") is first


class Buffered(nn.Module):
    """A network with buffers that bfloat16 has no numbers for."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), 1 / 3))
        self.register_buffer("table", torch.full((1,), 257.0))

    def forward(self, x, c_noise):
        return self.weight * (x.float() * self.table / 257)


def test_in_bfloat16_parameters_alone_are_rounded_in_sampling_as_in_training():
    model = Denoiser(Buffered(), Schedule.linear(20), "v", Codec(Space(SHAPE), 127.5, 127.5))
    x = torch.randn(2, *SHAPE)
    exact, rounded = model(x, 10), model.in_precision("bfloat16")
    assert (rounded.net.weight.dtype, rounded.net.table.dtype) == (torch.bfloat16, torch.float32)
    assert rounded.net.table == 257
    found = rounded(x, 10)
    assert not torch.equal(found, exact)
    model.precision = "bfloat16"  # as a model in training
    torch.testing.assert_close(model(x, 10), found, rtol=0, atol=0)
    model.precision = "float32"
    model.net.table.fill_(514)
    assert model.in_precision("bfloat16").net.table == 514


def test_a_stream_yields_the_same_samples_block_by_block_and_refuses_at_once(denoiser):
    settings = {"evaluations": 3, "seed": 2, "frames": 2}
    whole = sample(denoiser, indices=range(5, 45), **settings)
    stream = stream_samples(denoiser, indices=range(5, 45), **settings)
    blocks = list(stream)
    assert all(1 <= len(block) <= 16 for block in blocks)
    order = np.concatenate([block.indices for block in blocks])
    assert sorted(order.tolist()) == list(range(5, 45))
    images = np.concatenate([block.images for block in blocks])[np.argsort(order)]
    assert images.tobytes() == whole.images.tobytes()
    assert stream.facts == whole.facts == blocks[0].facts
    told = [value for block in blocks for value in block.told["class"]]
    assert [told[i] for i in np.argsort(order)] == whole.told["class"] == stream.told["class"]
    some = list(stream.only([7, 30]))
    assert [block.indices.tolist() for block in some] == [[7, 30]]
    assert some[0].images.tobytes() == whole.images[[2, 25]].tobytes()
    with pytest.raises(ValueError, match="evaluations must be"):
        stream_samples(denoiser, 3, evaluations=0)


def test_samples_show_themselves_in_a_notebook(denoiser):
    samples = sample(denoiser, 70, evaluations=1)
    sheet = np.asarray(Image.open(io.BytesIO(samples._repr_png_())))
    assert sheet.ndim == 2
    assert max(sheet.shape) >= 300
    page = samples._repr_html_()
    assert "data:image/png;base64," in page
    assert "70 samples, seed 0, 1 evaluation; the first 64 are shown" in page
    read = replace(samples, images=samples.images[:1], facts={})  # as those that were read from pictures
    assert "<figcaption>1 sample</figcaption>" in read._repr_html_()


def test_help_and_editors_show_what_sample_takes():
    shown, streamed = inspect.signature(sample), inspect.signature(stream_samples)
    assert shown.parameters == streamed.parameters
    assert shown.return_annotation == "Samples"
    for name in ("denoiser", "n", "indices", "x_0", "frames", "settings"):
        assert name in shown.parameters
        assert f"    {name}: " in sample.__doc__


def test_numbers_of_numpy_may_be_given_anywhere_and_settings_go_by_name(denoiser):
    config = SampleConfig(cond={"class": [np.int64(1), np.array(0)], "other": (np.float32(0.5),)})
    assert json.loads(json.dumps(config.settings())) == {"cond": {"class": [1, 0], "other": [0.5]}}
    drawn = sample(denoiser, 2, evaluations=1, cond={"class": [np.int64(1), np.array(0)]})
    assert json.dumps(drawn.told) == '{"class": [1, 0]}'
    for given in ({"sampler": "ddim"}, 3):
        with pytest.raises(ValueError, match=r"go by name, such as sample\(model, 4, seed=1\), got"):
            sample(denoiser, 4, given)
