"""Samples by number: the same bytes however they are drawn; where they start; what is recorded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from alphabar import Denoiser, Schedule, UNet, make_plan, q_sample, sample
from alphabar.random import stream
from alphabar.theory.gaussian import posterior
from tiny import tiny_denoiser


@pytest.fixture(scope="module")
def denoiser():
    return tiny_denoiser("v")


@pytest.mark.parametrize(
    "options",
    [{}, {"sampler": "ddim", "eta": 0.5}, {"sampler": "ddim"}, {"precision": "bfloat16"}],
    ids=["default", "ddim 0.5", "ddim", "bfloat16"],
)
def test_sample_i_is_the_same_bytes_alone_in_a_batch_and_in_reverse(denoiser, options):
    together = sample(denoiser, 64, seed=3, steps=4, **options)
    backwards = sample(denoiser, indices=range(63, -1, -1), seed=3, steps=4, **options)
    assert together.images.tobytes() == backwards.images[::-1].tobytes()
    assert len(np.unique(together.images.reshape(64, -1), axis=0)) == 64
    for i in (0, 1, 15, 16, 40, 63):
        alone = sample(denoiser, indices=[i], seed=3, steps=4, **options)
        assert alone.images[0].tobytes() == together.images[i].tobytes()
        assert alone.labels[0] == together.labels[i]
    assert not np.array_equal(sample(denoiser, 1, seed=4, steps=4, **options).images[0], together.images[0])


def test_two_calls_are_equal_and_leave_the_global_generators_alone(denoiser):
    state = torch.random.get_rng_state()
    a, b = (sample(denoiser, 3, steps=3, sampler="ddpm").images for _ in range(2))
    assert np.array_equal(a, b)
    assert torch.equal(state, torch.random.get_rng_state())


def test_bfloat16_is_near_and_used_where_it_was_trained_in_and_the_device_has_it(monkeypatch):
    denoiser = tiny_denoiser("v")
    exact = sample(denoiser, 16, steps=5)
    assert exact.facts["precision"] == "float32"
    near = sample(denoiser, 16, steps=5, precision="bfloat16")
    assert near.facts["precision"] == "bfloat16"
    error = np.abs(near.images.astype(float) - exact.images)
    assert 0 < error.mean() < 2  # grey levels of 255
    assert {p.dtype for p in denoiser.net.parameters()} == {torch.float32}
    denoiser.about["config"] = {"precision": "bfloat16"}
    for has, used, images in ((True, "bfloat16", near.images), (False, "float32", exact.images)):
        monkeypatch.setattr("alphabar.sampling.sampler.has_bfloat16", lambda device, has=has: has)
        drawn = sample(denoiser, 16, steps=5)
        assert drawn.facts["precision"] == used
        assert np.array_equal(drawn.images, images)
    assert sample(denoiser, 1, steps=5, precision="float32").facts["precision"] == "float32"


def test_noise_is_normal_and_independent_across_seed_index_and_step():
    draws = np.stack([
        stream(seed, "sample", index, step).standard_normal(4096)
        for seed in (0, 1) for index in (0, 1) for step in (0, 1)
    ])  # fmt: skip
    assert np.abs(draws.mean(1)).max() < 0.08
    assert np.abs(draws.var(1) - 1).max() < 0.12
    assert np.abs(np.corrcoef(draws) - np.eye(8)).max() < 0.08
    with pytest.raises(ValueError, match="seed must be"):
        stream(-1, "sample")


class Recorder(UNet):
    """A U-Net that remembers what it was shown."""

    def forward(self, x, c_noise, label=None):
        self.shown.append((x.clone(), float(c_noise[0])))
        return super().forward(x, c_noise, label)


@pytest.fixture
def recorded():
    model = tiny_denoiser("eps")
    net = Recorder(**{k: v for k, v in model.net.config.items() if k != "name"})
    net.load_state_dict(model.net.state_dict())
    net.shown = []
    return Denoiser(net, model.schedule, "eps", model.data).eval().requires_grad_(False)


def test_from_pure_noise_the_first_state_is_the_noise_of_step_0(recorded):
    sample(recorded, indices=[5], seed=9, steps=2)
    state, c_noise = recorded.net.shown[0]
    expected = stream(9, "sample", 5, 0).standard_normal((1, 8, 8), np.float32)
    assert np.array_equal(state[5].numpy(), expected)
    assert c_noise == recorded.schedule.T - 1


@pytest.mark.parametrize("t", [1, 30, 100])
def test_a_clean_sample_is_noised_to_t_and_denoised_from_t(recorded, t):
    image = np.full((1, 8, 8), 200, np.uint8)
    sample(recorded, 2, seed=1, start=t, steps=1, x_0=image)
    state, c_noise = recorded.net.shown[0]
    eps = stream(1, "sample", 1, 0).standard_normal((1, 8, 8), np.float32)
    x_0 = (image.astype(np.float32) - 127.5) / 127.5
    np.testing.assert_allclose(state[1].numpy(), q_sample(recorded.schedule, x_0, t, eps), rtol=1e-6)
    assert c_noise == t - 1


def test_a_noisy_sample_is_taken_as_it_is(recorded):
    x_t = np.random.default_rng(0).standard_normal((1, 8, 8)).astype(np.float32)
    a = sample(recorded, 1, start=30, steps=3, x_t=x_t)
    assert np.array_equal(recorded.net.shown[0][0][0].numpy(), x_t)
    assert recorded.net.shown[0][1] == 29
    assert a.facts["from"] == "x_t as given"


def test_ancestral_noise_has_the_size_that_the_plan_says(recorded):
    """The second state is A x + B x0_hat + C z with z of step 1."""
    sample(recorded, 1, seed=2, sampler="ddpm", steps=2)
    (first, _), (second, _) = recorded.net.shown[:2]
    labels = torch.zeros(16, dtype=torch.int64)
    labels[0] = int(sample(recorded, 1, seed=2, steps=1).labels[0])
    x0_hat = recorded(first, 100, labels).clamp(-1, 1)
    A, B, C = posterior(recorded.schedule, 100, 50)
    z = stream(2, "sample", 0, 1).standard_normal((1, 8, 8), np.float32)
    expected = float(A) * first[0] + float(B) * x0_hat[0] + float(C) * torch.from_numpy(z)
    torch.testing.assert_close(second[0], expected)


def test_clipping_is_to_the_datas_range_and_recorded():
    denoiser = tiny_denoiser("eps")
    clipped = sample(denoiser, 2, steps=3)
    assert clipped.facts["clip"] == [-1.0, 1.0]
    free = sample(denoiser, 2, steps=3, clip=False)
    assert free.facts["clip"] is None
    assert not np.array_equal(free.images, clipped.images)


def test_the_range_of_other_data_is_not_minus_1_to_1():
    """Bytes normalised by 5 and 100 have the range -0.05 to 2.5 in model space."""
    from alphabar import DataSpec

    model = tiny_denoiser("eps", num_classes=0)
    model.data = DataSpec((1, 8, 8), "uint8", 0, 255, 5.0, 100.0)
    samples = sample(model, 2, steps=1)
    assert samples.facts["clip"] == [-0.05, 2.5]
    assert samples.images.max() == 255
    assert samples.images.min() == 0


def test_images_are_in_the_datas_own_type_and_range(denoiser):
    images = sample(denoiser, 4, steps=2).images
    assert images.dtype == np.uint8
    assert images.shape == (4, 1, 8, 8)


def test_classes_are_drawn_as_often_as_in_the_data_or_as_asked(denoiser):
    labels = sample(denoiser, 200, steps=1).labels
    assert 70 < labels.sum() < 130
    assert sample(denoiser, 3, steps=1, label=1).labels.tolist() == [1, 1, 1]
    assert sample(denoiser, 3, steps=1, label=[1, 0, 1]).labels.tolist() == [1, 0, 1]
    a = sample(denoiser, 1, steps=2, label=0, seed=5).images
    assert not np.array_equal(a, sample(denoiser, 1, steps=2, label=1, seed=5).images)


def test_frames_go_from_the_start_to_the_sample(denoiser):
    samples = sample(denoiser, 18, steps=10, grid="trailing", frames=5)
    assert samples.frames.shape == (5, 18, 1, 8, 8)
    assert samples.frame_times == [100, 80, 50, 20, 0]
    assert np.array_equal(samples.frames[-1], samples.images)
    start = stream(0, "sample", 17, 0).standard_normal((1, 8, 8), np.float32)
    assert np.array_equal(samples.frames[0, 17], denoiser.data.to_data(start))
    assert sample(denoiser, 1, steps=3, grid="trailing", frames=50).frame_times == [100, 67, 33, 0]


def test_any_number_of_steps(denoiser):
    for steps in (1, 2, 99, 100, 150):
        samples = sample(denoiser, 1, steps=steps)
        assert len(samples.facts["times"]) == steps + 1
    assert len(sample(denoiser, 1).facts["times"]) == 21
    few = tiny_denoiser()
    few.schedule = Schedule.linear(20)
    assert sample(few, 1, grid="trailing").facts["times"] == list(range(20, -1, -1))
    assert len(sample(denoiser, 1, start=20, x_0=np.zeros((1, 8, 8), np.uint8)).facts["times"]) == 11


def test_a_plan_may_be_given_whole(denoiser):
    plan = make_plan(denoiser.schedule, "ddim", 4, eta=0.2)
    a = sample(denoiser, 2, plan=plan)
    assert np.array_equal(a.images, sample(denoiser, 2, sampler="ddim", steps=4, eta=0.2).images)
    with pytest.raises(ValueError, match="give it alone"):
        sample(denoiser, 2, plan=plan, steps=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "at least one"),
        ({"indices": [-1]}, "numbered from 0"),
        ({"n": 1, "indices": [0]}, "not both"),
        ({"start": 50}, "starts at T = 100, got 50"),
        ({"x_0": np.zeros((1, 9, 8), np.uint8)}, r"shape \(1, 8, 8\), got \(1, 9, 8\)"),
        ({"x_t": np.full((1, 8, 8), np.nan)}, "not finite"),
        ({"x_0": np.zeros((1, 8, 8)), "x_t": np.zeros((1, 8, 8))}, "not both"),
        ({"label": 2}, r"within 0\.\.1"),
        ({"label": [0, 1]}, "or 1 of them"),
        ({"seed": -1}, "seed must be"),
        ({"indices": [3, 3]}, "indices must differ"),
        ({"indices": [1.5]}, "whole numbers"),
        ({"frames": 1}, "frames must be 0, or 2 or more"),
        ({"steps": 0}, "steps must be"),
        ({"etaa": 1}, "sa_solver takes order, and not etaa"),
        ({"precision": "float16"}, r"float16.*float32, bfloat16"),
    ],
)
def test_what_cannot_be_sampled_is_refused(denoiser, arguments, message):
    with pytest.raises(ValueError, match=message):
        sample(denoiser, **arguments)


def test_a_model_without_classes_or_bounds_says_so():
    from alphabar import DataSpec

    model = tiny_denoiser(num_classes=0)
    model.data = DataSpec((1, 8, 8), "float32", None, None, 5.0, 3.0)
    assert sample(model, 1, steps=1).facts["clip"] is None
    with pytest.raises(ValueError, match="no bounds to clip to"):
        sample(model, 1, clip=True)
    with pytest.raises(ValueError, match="has no classes"):
        sample(model, 1, label=0)
