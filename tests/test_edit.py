"""The noise of given samples, the way between two, variations, and the rest of what is half known.

The way up and the way between are held against the closed forms of Gaussian data, whose ideal denoiser is
affine.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import alphabar
from alphabar import rng
from alphabar.data import Space
from alphabar.model import Codec, Denoiser, fit_codec
from alphabar.nn import UNet, build_network
from alphabar.sampling import (
    Known,
    Observation,
    blurred,
    downscaled,
    encode,
    gray,
    interpolate,
    restore,
    sample,
    trajectory,
    vary,
)
from alphabar.sampling.edit import slerp
from alphabar.sampling.inverse import measured_of
from alphabar.theory.gaussian import q_sample
from alphabar.theory.plans import SAMPLERS, Plan, inversion, make_plan
from alphabar.theory.schedule import Schedule
from tiny import NETWORK, Ideal, tiny_denoiser

FREE = Codec(Space((1, 2, 2), "float32", None, None), 0.0, 1.0)  # data space is model space, without bounds


LINEAR = Schedule.linear(1000)


def independent(schedule=LINEAR, m=0.3, v=0.16, codec=FREE):
    d = math.prod(codec.space.shape)
    return Ideal(schedule, [m] * d, v * np.eye(d), codec)


# --- restore -------------------------------------------------------------------------------------


def bounded(codec=None):
    """A network of random weights that is told nothing, for any data of (1, 8, 8)."""
    model = tiny_denoiser("v", classes=False)
    model.codec = codec or model.codec
    return model


def fitted_like(schedule):
    """Three rows with history whose last keeps something of x and of the predictions before."""
    times = np.array([schedule.T, 0.6 * schedule.T, 0.2 * schedule.T, 0])
    B = [[0.5, 0, 0], [0.6, -0.1, 0], [0.9, 0.15, -0.05]]
    return Plan(times, schedule.alpha_bar_at(times), [0.8, 0.5, 0.07], B, np.zeros(3))


def way_down(model, sampler):
    """Settings of a few evaluations by this sampler."""
    if sampler == "fitted":
        return {"plan": fitted_like(model.schedule)}
    return {"sampler": sampler, "evaluations": 4}


CODECS = {
    "uint8": Codec(Space((1, 8, 8)), 127.5, 127.5),
    "int16": Codec(Space((1, 8, 8), "int16", -1000, 3000), 1000, 2000),
    "float32": Codec(Space((1, 8, 8), "float32", 0.0, 10.0), 5.0, 5.0),
    "float32 without bounds": Codec(Space((1, 8, 8), "float32", None, None), 3.0, 7.0),
}
LEFT = np.zeros((1, 8, 8), bool)
LEFT[:, :, :4] = True


def picture(space, seed=0):
    low, high = (space.low[0], space.high[0]) if space.low is not None else (-20, 20)
    values = np.random.default_rng(seed).uniform(low, high, space.shape)
    return values.astype(space.dtype)


@pytest.mark.parametrize("sampler", [*SAMPLERS, "fitted"])
@pytest.mark.parametrize("name", CODECS)
def test_known_pixels_come_back_to_the_bit_whatever_else_is_in_the_picture(name, sampler):
    codec = CODECS[name]
    model = bounded(codec)
    how = way_down(model, sampler)
    image = picture(codec.space)
    other = np.where(LEFT, image, picture(codec.space, 1))
    samples, errors = restore(model, Known(LEFT), image, 2, **how)
    assert samples.images.dtype == np.dtype(codec.space.dtype)
    for one in samples.images:
        assert np.where(LEFT, one, 0).tobytes() == np.where(LEFT, image, 0).tobytes()
        assert not np.array_equal(one, image)
    assert np.all(errors == 0)
    again, _ = restore(model, Known(LEFT), other, 2, **how)
    assert again.images.tobytes() == samples.images.tobytes()


@pytest.mark.parametrize("sampler", [*SAMPLERS, "fitted"])
def test_the_run_itself_ends_at_what_is_known(sampler):
    """Also where the last row is not x0_hat alone, before anything is pasted."""
    codec = CODECS["float32"]
    model = bounded(codec)
    how = way_down(model, sampler)
    y = codec.encode(picture(codec.space))
    images = sample(model, 2, observation=Observation(Known(LEFT), y), **how).images
    np.testing.assert_array_equal(images[:, LEFT], np.broadcast_to(codec.decode(y)[LEFT], (2, 32)))
    assert images.min() >= 0
    assert images.max() <= 10


def test_nan_where_nothing_is_known_does_no_harm():
    codec = CODECS["float32"]
    image = np.where(LEFT, picture(codec.space), np.float32(np.nan))
    samples, _ = restore(bounded(codec), Known(LEFT), image, 1, evaluations=2)
    assert np.isfinite(samples.images).all()


def test_the_projection_comes_after_clipping():
    """So the run ends where the measurement holds, and clipping has not undone it."""
    codec = CODECS["float32"]
    model = bounded(codec)
    operator = downscaled(codec.space.shape, 2)
    y = np.random.default_rng(0).uniform(0.6, 1, (1, 4, 4)).astype(np.float32)  # bright: x0_hat is clipped
    for how in ({"sampler": "ddpm", "evaluations": 3}, {"plan": fitted_like(model.schedule)}):
        images = sample(model, 3, observation=Observation(operator, y), **how).images
        miss = operator.measure(torch.from_numpy(codec.encode(images))).numpy() - y
        assert np.abs(miss).max() < 1e-5
        assert images.max() > 10  # the price; `restore` settles it


def test_a_restoration_leaves_the_range_where_clipping_is_turned_off():
    codec = CODECS["float32"]
    y = np.full((1, 4, 4), 12, np.float32)  # beyond 0 to 10
    for how, greatest in (({}, 10), ({"threshold": 0.9}, 10), ({"clip": False}, 12)):
        samples, errors = restore(bounded(codec), downscaled((1, 8, 8), 2), y, 2, evaluations=2, **how)
        assert samples.images.max() >= greatest - 1e-4
        assert (samples.images.max() <= 10) == (greatest == 10)
        np.testing.assert_allclose(errors, 12 - greatest, atol=1e-4)


@pytest.mark.parametrize("sampler", ["ddpm", "unipc", "ipndm"])
@pytest.mark.parametrize("name", CODECS)
def test_downscaled_by_projection_agrees_to_rounding_and_within_the_range(name, sampler):
    codec = CODECS[name]
    operator = downscaled(codec.space.shape, 2)
    given = picture(Space((1, 4, 4), codec.space.dtype, codec.space.low, codec.space.high))
    samples, errors = restore(bounded(codec), operator, given, 3, sampler=sampler, evaluations=5)
    whole = np.dtype(codec.space.dtype).kind in "iu"
    means = samples.images.astype(float).reshape(3, 1, 4, 2, 4, 2).mean((3, 5))
    recomputed = np.sqrt(((means - given) ** 2).mean((1, 2, 3)))
    np.testing.assert_allclose(errors, recomputed, rtol=1e-3, atol=1e-4)
    assert errors.max() < (0.5 if whole else 1e-3 * codec.scale[0])
    if codec.space.low is not None:
        assert samples.images.min() >= codec.space.low[0]
        assert samples.images.max() <= codec.space.high[0]
    assert samples.images.dtype == np.dtype(codec.space.dtype)


def test_the_error_is_in_units_of_the_data_and_of_what_is_known_alone():
    codec = CODECS["int16"]
    x_0 = np.zeros((2, 1, 8, 8), np.float32)
    x_0[1, :, :, 0] = 0.5  # one of the four known columns
    seen = Observation(Known(LEFT), np.zeros((1, 8, 8)))
    np.testing.assert_allclose(seen.error(x_0), [0, 0.25])
    x_0[1, :, :, 7] = 9  # unknown
    np.testing.assert_allclose(seen.error(x_0), [0, 0.25])
    image = picture(codec.space)
    operator = blurred(codec.space.shape, 1.0)
    y = measured_of(operator, image, codec.space)
    samples, errors = restore(bounded(codec), operator, y, 2, method="gradient", evaluations=3)
    own = [
        operator.measure(torch.from_numpy(one.astype(float))[None])[0].numpy() - y for one in samples.images
    ]
    np.testing.assert_allclose(errors, np.sqrt(np.mean(np.square(own), axis=(1, 2, 3))), rtol=1e-3)


def colors():
    net = build_network({**NETWORK}, (3, 8, 8), {})
    return Denoiser(net, Schedule.linear(100), "v", fit_codec(Space((3, 8, 8)))).eval().requires_grad_(False)


def test_colorized_pictures_have_the_luminance():
    image = np.random.default_rng(0).integers(60, 200, (3, 8, 8), dtype=np.uint8)
    y = measured_of(gray((3, 8, 8)), image, Space((3, 8, 8)))
    samples, errors = restore(colors(), gray((3, 8, 8)), y, 2, evaluations=4)
    luminance = np.tensordot(samples.images.astype(float), [0.299, 0.587, 0.114], (1, 0))
    assert np.abs(luminance - y[0]).max() < 0.6
    assert errors.max() < 0.5
    assert samples.images.std(1).mean() > 1  # and colors


def test_deblurring_agrees_more_than_what_the_model_makes_up():
    codec = CODECS["uint8"]
    operator = blurred(codec.space.shape, 0.6)
    smooth = (100 + 50 * np.sin(np.arange(8) / 2)[:, None] * np.ones(8)).astype(np.uint8)[None]
    y = measured_of(operator, smooth, codec.space)
    _, errors = restore(bounded(), operator, y, 2, evaluations=4)
    assert errors.max() < 1
    _, by_gradient_ = restore(bounded(), operator, y, 2, method="gradient", evaluations=20, sampler="ddpm")
    free = sample(bounded(), 2, evaluations=20, sampler="ddpm").images
    apart = Observation(operator, codec.encode(y)).error(codec.encode(free)) * codec.scale[0]
    assert by_gradient_.max() < 0.7 * apart.min()


TASKS = {
    "inpainting": (Known(LEFT), (1, 8, 8), "projection"),
    "upscaling": (downscaled((1, 8, 8), 2), (1, 4, 4), "projection"),
    "upscaling by gradient": (downscaled((1, 8, 8), 2), (1, 4, 4), "gradient"),
    "deblurring by gradient": (blurred((1, 8, 8), 1.0), (1, 8, 8), "gradient"),
}


@pytest.mark.parametrize("task", TASKS)
def test_restored_sample_i_is_the_same_bytes_alone_in_a_batch_and_in_reverse(task):
    operator, shape, method = TASKS[task]
    model = bounded()
    y = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)

    def restored(indices):
        how = {"sampler": "ddpm", "evaluations": 3, "method": method, "seed": 2}
        return restore(model, operator, y, None, indices=indices, **how)

    together, errors = restored(range(20))
    backwards, backward_errors = restored(range(19, -1, -1))
    assert together.images.tobytes() == backwards.images[::-1].tobytes()
    np.testing.assert_allclose(errors, backward_errors[::-1], rtol=1e-12)
    assert len(np.unique(together.images.reshape(20, -1), axis=0)) == 20
    for i in (0, 7, 17):
        alone, error = restored([i])
        assert alone.images[0].tobytes() == together.images[i].tobytes()
        assert error[0] == pytest.approx(errors[i], rel=1e-12)


def test_restoring_records_how_and_is_told_nothing_unless_asked():
    model = tiny_denoiser("v", dropout=0.1)
    y = np.full((1, 4, 4), 90, np.uint8)
    operator = downscaled((1, 8, 8), 2)
    samples, _ = restore(model, operator, y, 2, evaluations=2, method="gradient", strength=0.5)
    assert samples.told == {"class": [None, None]}
    assert samples.facts["observation"] == {
        "operator": "means of 2 × 2 pixels", "method": "gradient", "strength": 0.5
    }  # fmt: skip
    guided, _ = restore(model, operator, y, 2, evaluations=2, cond={"class": 1}, guidance=2.0)
    assert guided.told == {"class": [1, 1]}
    assert guided.facts["evaluations"] == 4


@pytest.mark.parametrize(
    ("operator", "shape", "message"),
    [
        (
            Known(LEFT),
            (1, 8, 9),
            r"measured \(known pixels\) must have the shape \(1, 8, 8\), got \(1, 8, 9\)",
        ),
        (downscaled((1, 8, 8), 2), (1, 8, 8), r"must have the shape \(1, 4, 4\), got \(1, 8, 8\)"),
        (downscaled((1, 8, 8), 2), (4, 4), r"got \(4, 4\)"),
    ],
)
def test_measured_of_another_shape_is_refused(operator, shape, message):
    with pytest.raises(ValueError, match=message):
        restore(bounded(), operator, np.zeros(shape, np.uint8))


def test_known_pixels_given_as_other_numbers_come_back_in_the_datas_type():
    samples, _ = restore(bounded(), Known(LEFT), np.full((1, 8, 8), 90.0), evaluations=1)
    assert samples.images.dtype == np.uint8
    assert np.all(samples.images[0][LEFT] == 90)


def test_what_was_measured_must_be_numbers():
    y = np.full((1, 8, 8), np.nan, np.float32)
    with pytest.raises(ValueError, match="finite"):
        restore(bounded(CODECS["float32"]), Known(LEFT), y, evaluations=1)
    with pytest.raises(ValueError, match="finite"):
        restore(bounded(CODECS["float32"]), downscaled((1, 8, 8), 2), y[:, :4, :4], evaluations=1)


# --- the way up ----------------------------------------------------------------------------------


def exact_noise(schedule, m, v, x_0):
    """The flow of N(m, v) from x_1 = sqrt(alpha_bar_1) x_0 to T: quantile to quantile."""
    first, last = float(schedule.alpha_bar[1]), float(schedule.alpha_bar[-1])
    stretch = math.sqrt((last * v + 1 - last) / (first * v + 1 - first))
    return math.sqrt(last) * m + stretch * math.sqrt(first) * (x_0 - m)


QUANTILES = np.array([[[[-2.0, -0.5], [1.0, 2.5]]]])
M, S = 0.3, 0.4
X_0 = (M + S * QUANTILES).astype(np.float32)


@pytest.mark.parametrize("schedule", [LINEAR, Schedule.cosine(1000)], ids=["linear", "cosine"])
@pytest.mark.parametrize("order", [1, 2])
def test_the_ways_error_falls_with_its_order(schedule, order):
    exact = exact_noise(schedule, M, S**2, X_0.astype(float))
    errors = []
    for steps in (20, 40, 80):
        plan = inversion(schedule, steps, order)
        x = torch.from_numpy(math.sqrt(schedule.alpha_bar[1]) * X_0.astype(float))
        *_, last = trajectory(independent(schedule, M, S**2), plan, x, torch.zeros_like)
        errors.append(np.abs(last.x_s.numpy() - exact).max())
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(slopes, order, atol=0.15)
    assert errors[-1] < {1: 0.15, 2: 0.01}[order]


def test_encoding_gives_the_standard_normal_quantiles():
    """N(m, s^2) → (x - m) / s, but for the little noise of t = 1 and what is left at T."""
    encoded = encode(independent(m=M, v=S**2), X_0, evaluations=100)
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded, QUANTILES, atol=0.006)
    np.testing.assert_allclose(encoded, exact_noise(LINEAR, M, S**2, X_0.astype(float)), atol=0.003)
    errors = [
        np.abs(encode(independent(m=M, v=S**2), X_0, evaluations=n) - exact_noise(LINEAR, M, S**2, X_0)).max()
        for n in (1, 2, 5, 10, 20, 50)
    ]
    assert np.all(np.diff(errors) < 0)


def test_a_picture_encoded_and_sampled_again_is_itself():
    for sampler, grid in (("dpmpp", "log_snr"), ("unipc", "trailing"), ("ddim", "trailing")):
        errors = []
        for steps in (5, 20, 80):
            model = independent(m=M, v=S**2)
            x_T = encode(model, X_0, evaluations=steps)
            images = sample(model, 1, x_t=x_T, sampler=sampler, spacing=grid, evaluations=steps).images
            errors.append(np.abs(images - X_0).max())
        assert errors[1] < errors[0] / 2
        assert errors[2] <= max(errors[1] / 2, 0.001)  # the step from t = 1 to 0 leaves 0.0006
    assert errors[2] < 0.05


@pytest.mark.parametrize("T", [1, 2, 10, 1000])
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_predictions_are_made_where_x_is_from_t_1_to_below_T(T, steps):
    """The times that the network sees are those whose alpha_bar the row uses; never beyond the top."""
    schedule = Schedule.linear(T)
    plan = inversion(schedule, steps)
    model = independent(schedule)
    encode(model, X_0, evaluations=steps)
    assert model.times == plan.times[:-1].tolist()
    assert len(model.times) == steps
    assert plan.times[0] == pytest.approx(1 if T > 1 else 0.5)
    assert plan.times[-1] == T
    assert np.all(np.diff(plan.times) > 0)
    np.testing.assert_array_equal(plan.alpha_bar, schedule.alpha_bar_at(plan.times))
    assert not plan.stochastic
    first = math.sqrt(plan.alpha_bar[0]) * X_0
    np.testing.assert_allclose(model.asked[0][1][0], first[0], rtol=1e-6)


def test_every_row_up_keeps_a_single_point_with_its_noise():
    """For data of one point x0_hat is it exactly, and each row leads from (x_t, eps) to (x_s, eps)."""
    schedule, c, eps = LINEAR, 0.7, -1.3
    for order in (1, 2, 3):
        plan = inversion(schedule, 9, order)
        bars = plan.alpha_bar
        for k in range(9):
            x = math.sqrt(bars[k]) * c + math.sqrt(1 - bars[k]) * eps
            up = plan.A[k] * x + plan.B[k].sum() * c
            expected = math.sqrt(bars[k + 1]) * c + math.sqrt(1 - bars[k + 1]) * eps
            assert up == pytest.approx(expected, abs=1e-9)


def test_encoding_batches_and_classes():
    """A sample's code doesn't depend on its company; it is told nothing where the model knows that."""
    images = np.random.default_rng(0).integers(0, 256, (18, 1, 8, 8), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"always needs to be told the class.*: give one"):
        encode(tiny_denoiser("v"), images[:1])
    of_class = encode(tiny_denoiser("v"), images[:2], cond={"class": 1}, evaluations=3)
    model = tiny_denoiser("v", dropout=0.1)
    many = encode(model, images, evaluations=3)
    assert many.shape == images.shape
    np.testing.assert_array_equal(encode(model, images[:3], evaluations=3), many[:3])
    np.testing.assert_array_equal(encode(model, images, cond={"class": None}, evaluations=3), many)
    np.testing.assert_array_equal(encode(model, images[:2], cond={"class": 1}, evaluations=3), of_class)
    np.testing.assert_array_equal(encode(model, images[:2], cond={"class": [1, 1]}, evaluations=3), of_class)
    assert not np.array_equal(of_class, many[:2])
    seen = []
    encode(model, images, evaluations=4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 8) for i in range(1, 9)]  # two batches of four evaluations


def test_what_cannot_be_encoded_is_refused():
    model = bounded()
    for images in (np.zeros((1, 8, 8), np.uint8), np.zeros((2, 1, 8, 9), np.uint8), np.zeros((2, 3, 8, 8))):
        with pytest.raises(ValueError, match="images must have the shape"):
            encode(model, images)
    with pytest.raises(ValueError, match="has no class to give"):
        encode(model, np.zeros((1, 1, 8, 8), np.uint8), cond={"class": 0})


@pytest.mark.parametrize("steps", [0, -1, 2.5])
def test_numbers_of_evaluations_up_that_are_none(steps):
    with pytest.raises(ValueError, match=rf"evaluations must be a whole number of at least 1, got {steps}"):
        inversion(LINEAR, steps)


@pytest.mark.parametrize("order", [0, 4, 5])
def test_an_order_that_the_way_up_does_not_have_is_refused(order):
    with pytest.raises(ValueError, match="order"):
        inversion(LINEAR, 8, order)


# --- between two ---------------------------------------------------------------------------------


def pair_of(model, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (2, *model.space.shape)).astype(model.space.dtype)


def test_the_ends_of_an_interpolation_are_the_pictures():
    model = independent(m=M, v=S**2)
    a, b = X_0[0], X_0[0, :, ::-1, ::-1].copy()
    between = interpolate(model, a, b, 5, evaluations=100, spacing="log_snr").images
    assert between.shape == (5, 1, 2, 2)
    np.testing.assert_allclose(between[0], a, atol=0.005)
    np.testing.assert_allclose(between[-1], b, atol=0.005)
    pair = interpolate(model, a, b, 2, evaluations=100, spacing="log_snr").images
    np.testing.assert_array_equal(pair, between[[0, -1]])
    far = np.linalg.norm((between - a).reshape(5, -1), axis=1)
    assert np.all(np.diff(far) > 0)  # and what is between lies on the way


def test_between_two_noises_the_way_is_a_great_circle():
    model = independent(m=M, v=S**2)
    a, b = X_0[0], X_0[0, :, ::-1, ::-1].copy()
    x_a, x_b = encode(model, np.stack([a, b]))
    model.asked.clear()
    interpolate(model, a, b, 4, evaluations=3)
    states = next(x for t, x in model.asked if t == 1000)
    states = states[:4].numpy()
    np.testing.assert_allclose(states[[0, -1]], [x_a, x_b], atol=1e-6)
    norms = np.linalg.norm(states.reshape(4, -1), axis=1)
    np.testing.assert_allclose(norms, norms[0], rtol=1e-4)  # both ends have one here
    unit = states.reshape(4, -1) / norms[:, None]
    angles = np.arccos((unit[:-1] * unit[1:]).sum(1))
    np.testing.assert_allclose(angles, angles[0], rtol=1e-3)


@pytest.mark.parametrize("t", [1, 37, 100, None])
def test_by_noise_both_are_noised_to_t_with_the_same_noise_and_brought_back_from_t(t):
    model = recorded(bounded())
    a, b = pair_of(model)
    interpolate(model, a, b, 5, method="noise", t=t, evaluations=2, seed=4)
    state, c_noise = model.net.shown[0]
    t = 50 if t is None else t
    eps = rng.normal(4, "sample", 0, 0, shape=(1, 8, 8))
    x_a, x_b = model.codec.encode(a), model.codec.encode(b)
    for i, w in enumerate((0, 0.25, 0.5, 0.75, 1)):
        x_t = q_sample(model.schedule, (1 - w) * x_a + w * x_b, t, eps)
        np.testing.assert_allclose(state[i], x_t, atol=1e-6)
    assert c_noise == t - 1
    assert [c for _, c in model.net.shown][-1] < t


@pytest.mark.parametrize("method", ["encode", "noise"])
def test_the_way_back_is_the_way_there(method):
    model = bounded(CODECS["float32"])
    a, b = (picture(model.space, seed) for seed in (0, 1))
    there = interpolate(model, a, b, 6, method=method, evaluations=5).images
    back = interpolate(model, b, a, 6, method=method, evaluations=5).images
    np.testing.assert_allclose(back[::-1], there, atol=2e-3)
    assert len(np.unique(there.reshape(6, -1), axis=0)) == 6


def test_interpolation_is_deterministic_and_told_nothing_or_one_thing():
    model = tiny_denoiser("v")
    a, b = pair_of(model)
    with pytest.raises(ValueError, match="always needs to be told the class"):
        interpolate(model, a, b, 3)
    one = interpolate(model, a, b, 3, cond={"class": 1}, method="noise", evaluations=2)
    assert one.told == {"class": [1, 1, 1]}
    model = tiny_denoiser("v", dropout=0.1)
    free = interpolate(model, a, b, 3, evaluations=2)
    assert free.told == {"class": [None, None, None]}
    assert np.array_equal(interpolate(model, a, b, 3, evaluations=2, seed=8).images, free.images)
    guided = interpolate(model, a, b, 3, cond={"class": 1}, method="noise", evaluations=2, guidance=3.0)
    assert guided.facts["guidance"]["scale"] == 3
    with pytest.raises(ValueError, match="guidance leads towards what is told"):
        interpolate(model, a, b, 3, method="noise", evaluations=2, guidance=3.0)
    with pytest.raises(ValueError, match="told the same class: give one value, not a list"):
        interpolate(model, a, b, 3, cond={"class": [0, 1, 1]})


def test_the_way_down_is_unipc_even_in_log_snr_unless_told_otherwise():
    model = bounded()
    a, b = pair_of(model)
    made = interpolate(model, a, b, 2).facts["plan"]["made_by"]
    assert (made["sampler"], made["spacing"]) == ("unipc", "log_snr")
    assert len(interpolate(model, a, b, 2).facts["times"]) == 51
    half = interpolate(model, a, b, 2, method="noise", sampler="ddim", spacing="trailing", evaluations=3)
    assert half.facts["times"] == [50, 33, 17, 0]


@pytest.mark.parametrize("make", [Schedule.linear, Schedule.cosine, Schedule.sigmoid])
def test_there_and_back_by_default_is_near_and_carries_no_error_on(make):
    """Off by 0.003 at most for data of standard deviation 0.4; an error of eps_hat comes out no larger."""
    schedule = make(1000)
    model = independent(schedule, M, S**2)
    back = interpolate(model, X_0[0], X_0[0, :, ::-1].copy(), 2).images
    assert np.abs(back[0] - X_0[0]).max() < 0.0035

    class Erring(Ideal):
        def forward(self, x_t, t, cond=None):
            bar = float(self.schedule.alpha_bar_at(t))
            return super().forward(x_t, t) - math.sqrt((1 - bar) / bar) * 0.01

    erring = Erring(schedule, model.mean, model.covariance, FREE)
    x_T = encode(model, X_0)
    plan = make_plan(schedule, "unipc", 50, spacing="log_snr")
    found = sample(erring, 1, x_t=x_T, plan=plan).images - sample(model, 1, x_t=x_T, plan=plan).images
    assert np.abs(found).max() < 0.06  # the same error in every evaluation, 50 of them


def test_slerp_goes_along_an_arc_at_even_speed():
    a, b = np.zeros((1, 2, 2)), np.zeros((1, 2, 2))
    a[0, 0, 0], b[0, 1, 1] = 3, 3
    w = np.linspace(0, 1, 7).reshape(-1, 1, 1, 1)
    way = slerp(a, b, w)
    np.testing.assert_allclose(way[0], a, atol=1e-12)
    np.testing.assert_allclose(way[-1], b, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(way.reshape(7, -1), axis=1), 3)
    angle = np.arctan2(way[:, 0, 1, 1], way[:, 0, 0, 0])
    np.testing.assert_allclose(angle, np.linspace(0, np.pi / 2, 7))
    rng = np.random.default_rng(0)
    c, d = rng.standard_normal((2, 1, 8, 8)), rng.standard_normal((2, 1, 8, 8))
    np.testing.assert_allclose(slerp(c, d, w[3]), slerp(d, c, w[3]))


def test_slerp_of_nearly_parallel_ones_is_the_straight_way():
    a = np.random.default_rng(0).standard_normal((1, 4, 4))
    w = np.linspace(0, 1, 5).reshape(-1, 1, 1, 1)
    for b in (a, 2 * a, a + 1e-9, a * (1 + 1e-7)):
        np.testing.assert_allclose(slerp(a, b, w), (1 - w) * a + w * b, atol=1e-12)
    near = a + 1e-3 * np.random.default_rng(1).standard_normal((1, 4, 4))
    np.testing.assert_allclose(slerp(a, near, w), (1 - w) * a + w * near, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 2.5}, "n must be a whole number of at least 2, got 2.5"),
        ({"n": 1}, "n must be a whole number of at least 2, got 1"),
        ({"method": "magic"}, "unknown way to interpolate 'magic'; known: encode, noise"),
        ({"t": 50}, "t is for interpolation by noise"),
        ({"method": "noise", "t": 101}, r"t must lie within 0\.\.100, got 101"),
        ({"method": "noise", "t": 0}, "start must be above 0"),
        ({"method": "noise", "sampler": "ddpm"}, "a plan that adds no noise"),
        ({"method": "noise", "sampler": "ddim", "eta": 0.5}, "a plan that adds no noise"),
        ({"method": "noise", "etaa": 1}, "unknown setting of sampling 'etaa'"),
        ({"cond": {"class": 1}}, "has no class to give"),
        ({"start": 50}, "give t instead of start"),
    ],
)
def test_interpolations_that_are_none(options, message):
    model = bounded()
    a, b = pair_of(model)
    with pytest.raises(ValueError, match=message):
        interpolate(model, a, b, **{"n": 3, **options})


def test_a_plan_may_be_given_for_interpolation():
    model = bounded()
    a, b = pair_of(model)
    plan = make_plan(model.schedule, "ddim", 3)
    given = interpolate(model, a, b, 3, plan=plan).images
    named = interpolate(model, a, b, 3, sampler="ddim", spacing="scales", evaluations=3)
    assert np.array_equal(given, named.images)
    half = make_plan(model.schedule, "ddim", 3, start=50)
    from_50 = interpolate(model, a, b, 3, plan=half, method="noise", t=50).images
    named = interpolate(
        model, a, b, 3, sampler="ddim", spacing="scales", evaluations=3, method="noise", t=50
    ).images
    assert np.array_equal(from_50, named)


def test_a_plan_for_interpolation_is_given_alone_and_starts_where_the_pictures_are():
    model = bounded()
    a, b = pair_of(model)
    plan, half = make_plan(model.schedule, "ddim", 3), make_plan(model.schedule, "ddim", 3, start=50)
    for options in ({"evaluations": 7}, {"sampler": "unipc"}, {"eta": 1}):
        with pytest.raises(ValueError, match="give it alone"):
            interpolate(model, a, b, 3, plan=plan, **options)
    for options in ({}, {"method": "noise", "t": 80}):
        with pytest.raises(ValueError, match="start"):
            interpolate(model, a, b, 3, plan=half, **options)


@pytest.mark.parametrize("method", ["encode", "noise"])
def test_pictures_of_another_shape_cannot_be_interpolated(method):
    model = bounded()
    a, b = pair_of(model)
    for shape in (np.s_[:, :, :1], np.s_[0]):
        with pytest.raises(ValueError, match="shape"):
            interpolate(model, a[shape], b[shape], 3, method=method)


# --- many samples at once -----------------------------------------------------------------------


class Recorder(UNet):
    """A U-Net that remembers what it was shown."""

    def forward(self, x, c_noise, cond=None):
        self.shown.append((x.clone(), float(c_noise[0])))
        return super().forward(x, c_noise, cond)


def recorded(model):
    net = Recorder((1, 8, 8), **{k: v for k, v in NETWORK.items() if k != "name"})
    net.load_state_dict(model.net.state_dict())
    net.shown = []
    return Denoiser(net, model.schedule, model.prediction, model.codec).eval().requires_grad_(False)


def test_each_sample_starts_from_its_own_picture_with_its_own_noise():
    model = recorded(bounded())
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
    indices = [*range(3, 22), 40]
    together = sample(model, indices=indices, seed=6, x_0=images, start=40, evaluations=1)
    batches = [[*indices[:16]], indices[16:]]  # 19 … 22 and 40 wait for their places
    assert len(model.net.shown) == 2
    for (state, c_noise), members in zip(model.net.shown, batches):
        assert c_noise == 39
        for number in members:
            x_0 = model.codec.encode(images[indices.index(number)])
            eps = rng.normal(6, "sample", number, shape=(1, 8, 8))
            np.testing.assert_allclose(state[number % 16], q_sample(model.schedule, x_0, 40, eps), atol=1e-6)
    alone = sample(model, indices=[15], seed=6, x_0=images[12], start=40, evaluations=1)
    assert alone.images[0].tobytes() == together.images[12].tobytes()


def test_each_sample_starts_from_its_own_noisy_one():
    model = recorded(bounded())
    x_t = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)
    a = sample(model, 3, x_t=x_t, start=30, sampler="ddim", evaluations=3)
    assert np.array_equal(model.net.shown[0][0][:3].numpy(), x_t)
    for i in range(3):
        alone = sample(model, indices=[i], x_t=x_t[i], start=30, sampler="ddim", evaluations=3)
        assert alone.images[0].tobytes() == a.images[i].tobytes()


@pytest.mark.parametrize("name", ["x_0", "x_t"])
def test_as_many_pictures_as_samples_or_one(name):
    model = bounded()
    for shape in ((2, 1, 8, 8), (4, 1, 8, 8), (1, 1, 8, 8), (3, 8, 8), (3, 1, 8, 9)):
        with pytest.raises(ValueError, match=rf"{name} must have the model's shape \(1, 8, 8\)"):
            sample(model, 3, start=10, evaluations=1, **{name: np.zeros(shape, np.float32)})


def test_the_public_module_has_what_edits_are_made_of():
    from alphabar.edit import Known as Mask
    from alphabar.edit import vary as varied

    assert alphabar.edit.restore is restore
    assert (Mask, varied) == (Known, vary)


# --- variations ----------------------------------------------------------------------------------


def test_variations_are_noised_to_t_and_brought_back_each_with_its_own_noise():
    model = recorded(bounded())
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8), dtype=np.uint8)
    samples, noisy = vary(model, images, 40, 3, evaluations=2, seed=5, frames=2)
    assert samples.images.shape == (6, 1, 8, 8)
    assert samples.frame_times == [40, 0]
    state, c_noise = model.net.shown[0]
    assert c_noise == 39
    for i in range(6):
        eps = rng.normal(5, "sample", i, shape=(1, 8, 8))
        expected = q_sample(model.schedule, model.codec.encode(images[i // 3]), 40, eps)
        np.testing.assert_allclose(state[i], expected, atol=1e-6)
    np.testing.assert_allclose(noisy, state[[0, 3]], atol=1e-6)
    assert len(np.unique(samples.images.reshape(6, -1), axis=0)) == 6


def test_what_is_noisy_already_is_taken_as_it_is():
    model = recorded(bounded())
    x_t = np.random.default_rng(0).standard_normal((1, 1, 8, 8)).astype(np.float32)
    samples, noisy = vary(model, x_t, 30, 2, noisy=True, sampler="ddpm", evaluations=3)
    assert np.array_equal(noisy, x_t)
    assert np.array_equal(model.net.shown[0][0][:2], np.repeat(x_t, 2, 0))
    assert not np.array_equal(samples.images[0], samples.images[1])
    assert samples.facts["from"] == "x_t as given"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"t": 0.5}, r"t must lie within 1\.\.100, got 0.5"),
        ({"t": 101}, r"t must lie within 1\.\.100, got 101"),
        ({"t": 20, "n": 0}, "n must be a whole number of at least 1, got 0"),
        ({"t": 20, "start": 30}, "give t instead of start"),
        ({"t": 20, "plan": make_plan(Schedule.linear(100), "ddim", 3)}, "starts at 100, and t is 20"),
        ({"t": 20, "images": np.zeros((1, 8, 8))}, "images must have the shape"),
    ],
)
def test_variations_that_are_none(arguments, message):
    with pytest.raises(ValueError, match=message):
        vary(bounded(), **{"images": np.zeros((1, 1, 8, 8), np.uint8), **arguments})
