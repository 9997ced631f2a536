"""What is known of a picture, its noise, and the way between two.

Operators are held against dense matrices and NumPy; the way up, the way between and restoration against
the closed forms of Gaussian data, whose ideal denoiser is affine.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from alphabar import (
    DataSpec,
    Denoiser,
    Known,
    Measurement,
    Plan,
    Schedule,
    Separable,
    UNet,
    blurred,
    downscaled,
    encode,
    grey,
    interpolate,
    inversion,
    make_plan,
    q_sample,
    restore,
    sample,
    trajectory,
)
from alphabar.sampling.measurements import LUMINANCE, by_gradient, measured_of
from alphabar.sampling.pictures import slerp
from alphabar.sampling.slots import sample_noise
from alphabar.theory.plans import SAMPLERS
from tiny import tiny_denoiser

FREE = DataSpec((1, 2, 2), "float32", None, None, 0.0, 1.0)  # data space is model space, without bounds


class Ideal(Denoiser):
    """E[x_0 | x_t] for data N(mean, covariance); remembers what it was asked."""

    def __init__(self, schedule, mean, covariance, spec):
        super().__init__(nn.Identity(), schedule, "x0", spec)
        self.mean = torch.as_tensor(mean, dtype=torch.float64).reshape(-1)
        self.covariance = torch.as_tensor(covariance, dtype=torch.float64)
        self.asked = []

    def gain(self, t):
        bar = float(self.schedule.alpha_bar_at(t))
        noise = (1 - bar) * torch.eye(len(self.mean), dtype=torch.float64)
        return math.sqrt(bar) * self.covariance @ torch.linalg.inv(bar * self.covariance + noise)

    def forward(self, x_t, t, label=None):
        self.asked.append((float(t), x_t.detach().clone(), label))
        root = math.sqrt(self.schedule.alpha_bar_at(t))
        x = x_t.flatten(1).double()
        x_0 = self.mean + (x - root * self.mean) @ self.gain(t).T
        return x_0.reshape(x_t.shape).to(x_t.dtype)

    @property
    def times(self):
        return [t for t, _, _ in self.asked]


LINEAR = Schedule.linear(1000)


def independent(schedule=LINEAR, m=0.3, v=0.16, spec=FREE):
    d = math.prod(spec.shape)
    return Ideal(schedule, [m] * d, v * np.eye(d), spec)


# --- operators -----------------------------------------------------------------------------------

RANDOM = np.random.default_rng(5)
HALF = np.zeros((1, 4, 4), bool)
HALF[:, :, :2] = True
SPECKLED = RANDOM.random((2, 4, 4)) < 0.4
OPERATORS = {
    "downscaled": ((1, 8, 8), downscaled((1, 8, 8), 2)),
    "downscaled, colour": ((3, 6, 9), downscaled((3, 6, 9), 3)),
    "downscaled to one": ((1, 4, 4), downscaled((1, 4, 4), 4)),
    "grey": ((3, 4, 5), grey((3, 4, 5))),
    "known half": ((2, 4, 4), Known(HALF)),
    "known, each channel": ((2, 4, 4), Known(SPECKLED)),
    "wide": (
        (3, 5, 4),
        Separable("wide", *(RANDOM.standard_normal(s) for s in ((2, 3), (3, 5), (4, 4))), rcond=1e-12),
    ),
    "tall": ((1, 2, 3), Separable("tall", *(RANDOM.standard_normal(s) for s in ((2, 1), (3, 2), (5, 3))))),
    "blurred": ((1, 8, 8), blurred((1, 8, 8), 1.5)),
    "blurred a little": ((2, 6, 9), blurred((2, 6, 9), 0.7)),
}
ONTO = ["downscaled", "downscaled, colour", "downscaled to one", "grey", "wide"]  # A A^+ = 1
each_operator = pytest.mark.parametrize("name", OPERATORS)


def dense(name):
    """(A, A^+) as matrices, column by column."""
    shape, operator = OPERATORS[name]
    A = operator.measure(unit(shape)).flatten(1).T
    y_shape = operator.measure(unit(shape)[:1]).shape[1:]
    blank = torch.zeros(math.prod(y_shape), *shape, dtype=torch.float64)
    return A.numpy(), operator.project(blank, unit(y_shape)).flatten(1).T.numpy()


def unit(shape):
    """Every one-hot picture of this shape."""
    d = math.prod(shape)
    return torch.eye(d, dtype=torch.float64).reshape(d, *shape)


@each_operator
def test_the_pseudo_inverse_is_moores_and_penroses(name):
    A, back = dense(name)
    np.testing.assert_allclose(back @ A @ back, back, atol=3e-5 * np.abs(back).max())
    for both in (A @ back, back @ A):
        np.testing.assert_allclose(both, both.T, atol=3e-5)
    if "blurred" not in name:  # there small singular values are left out on purpose
        np.testing.assert_allclose(A @ back @ A, A, atol=3e-5)


@pytest.mark.parametrize("name", ONTO)
def test_what_is_projected_measures_exactly_what_was_asked(name):
    A, back = dense(name)
    np.testing.assert_allclose(A @ back, np.eye(len(A)), atol=2e-5)


@each_operator
def test_norm2_is_the_largest_eigenvalue(name):
    A, _ = dense(name)
    assert OPERATORS[name][1].norm2 == pytest.approx(np.linalg.eigvalsh(A @ A.T)[-1], rel=1e-6)


@each_operator
def test_measuring_in_single_precision_is_accurate_and_acts_on_each_of_a_batch(name):
    shape, operator = OPERATORS[name]
    A, _ = dense(name)
    x = np.random.default_rng(1).standard_normal((3, *shape)).astype(np.float32)
    y = operator.measure(torch.from_numpy(x))
    assert y.dtype == torch.float32
    np.testing.assert_allclose(y.flatten(1), x.reshape(3, -1) @ A.T, atol=1e-5)


def test_downscaled_is_the_means():
    x = np.random.default_rng(2).standard_normal((2, 3, 6, 12))
    for factor in (2, 3, 6):
        means = x.reshape(2, 3, 6 // factor, factor, 12 // factor, factor).mean((3, 5))
        y = downscaled((3, 6, 12), factor).measure(torch.from_numpy(x))
        np.testing.assert_allclose(y, means, atol=1e-6)


def test_grey_is_the_luminance_of_itu_r_601_as_pillow_has_it():
    image = np.random.default_rng(3).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    assert LUMINANCE == (0.299, 0.587, 0.114)
    expected = np.tensordot([0.299, 0.587, 0.114], image.astype(float), 1)[None]
    y = grey((3, 16, 16)).measure(torch.from_numpy(image.astype(float))[None])[0]
    np.testing.assert_allclose(y, expected, atol=1e-4)
    measured = measured_of(grey((3, 16, 16)), image, DataSpec((3, 16, 16)))
    pillow = np.asarray(Image.fromarray(np.moveaxis(image, 0, -1)).convert("L"))
    assert np.abs(measured[0].astype(int) - pillow).max() <= 1
    assert (measured.dtype, measured.shape) == (np.uint8, (1, 16, 16))


AVERAGING = {
    "downscaled": (lambda shape: downscaled(shape, 2)),
    "grey": grey,
    "blurred": (lambda shape: blurred(shape, 1.2)),
}


@pytest.mark.parametrize("name", AVERAGING)
def test_an_average_of_data_is_the_average_in_model_space(name):
    """Their weights sum to 1, so the affine map between the spaces commutes with them."""
    shape = (3, 8, 8)
    spec = DataSpec(shape, "float64", None, None, 5.0, 100.0)
    operator = AVERAGING[name](shape)
    image = np.random.default_rng(4).uniform(0, 255, shape)
    in_data = operator.measure(torch.from_numpy(image)[None])[0].numpy()
    np.testing.assert_allclose(measured_of(operator, image, spec), in_data, atol=1e-4)
    constant = operator.measure(torch.full((1, *shape), 0.7, dtype=torch.float64))
    np.testing.assert_allclose(constant, 0.7, atol=1e-6)


def mirrored_blur(x, sigma):
    """The same blur by padding: an explicit sum over shifts, along both axes."""
    for axis in (1, 2):
        reach = math.ceil(4 * sigma)
        pad = [(reach, reach) if i == axis else (0, 0) for i in range(3)]
        padded = np.pad(x, pad, mode="symmetric")
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        n = x.shape[axis]
        shifts = [np.take(padded, np.arange(j, j + n), axis) for j in range(2 * reach + 1)]
        x = np.tensordot(weights / weights.sum(), shifts, 1)
    return x


@pytest.mark.parametrize("sigma", [0.4, 1.5, 4.0])
def test_the_blur_is_gaussian_and_mirrored_at_all_four_edges(sigma):
    x = np.random.default_rng(6).standard_normal((2, 7, 10))
    y = blurred((2, 7, 10), sigma).measure(torch.from_numpy(x)[None])[0]
    np.testing.assert_allclose(y, mirrored_blur(x, sigma), atol=1e-6)


def test_the_blur_of_a_mirrored_picture_is_the_blur_mirrored_and_keeps_its_mean():
    operator = blurred((1, 8, 8), 1.5)
    x = torch.from_numpy(np.random.default_rng(7).standard_normal((1, 1, 8, 8)))
    for axis in (2, 3):
        torch.testing.assert_close(operator.measure(x.flip(axis)), operator.measure(x).flip(axis))
    assert operator.measure(x).mean().item() == pytest.approx(x.mean().item(), abs=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: downscaled((1, 8, 8), 3), "the factor must be 2 or more and divide 8 × 8, got 3"),
        (lambda: downscaled((1, 8, 6), 4), "divide 8 × 6, got 4"),
        (lambda: downscaled((1, 8, 8), 1), "2 or more"),
        (lambda: downscaled((1, 8, 8), 0), "2 or more"),
        (lambda: downscaled((1, 8, 8), -2), "2 or more"),
        (lambda: grey((1, 8, 8)), "a model of three channels, and this one has 1"),
        (lambda: blurred((1, 8, 8), 0), "the blur must be above 0 pixels, got 0"),
        (lambda: blurred((1, 8, 8), float("nan")), "above 0 pixels, got nan"),
        (lambda: Measurement(Known(HALF), np.zeros((2, 4, 4)), "guess"), "unknown method 'guess'"),
        (lambda: Measurement(Known(HALF), np.zeros((2, 4, 4)), "gradient", 0.0), "a positive factor"),
        (lambda: Measurement(Known(HALF), np.zeros((2, 4, 4)), "projection", 2.0), "factor on the gradient"),
    ],
)
def test_measurements_that_are_none(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- projection ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ONTO)
def test_a_projection_agrees_and_is_the_nearest_that_does(name):
    shape, operator = OPERATORS[name]
    A, _ = dense(name)
    rng = np.random.default_rng(8)
    x, y = rng.standard_normal((4, *shape)), rng.standard_normal((1, len(A)))
    target = torch.from_numpy(y).reshape(1, *operator.measure(torch.from_numpy(x)).shape[1:])
    projected = operator.project(torch.from_numpy(x), target)
    flat, moved = x.reshape(4, -1), projected.flatten(1).numpy()
    np.testing.assert_allclose(moved @ A.T, np.broadcast_to(y, (4, len(A))), atol=2e-4)
    nearest = flat + np.linalg.lstsq(A, (y - flat @ A.T).T, rcond=None)[0].T  # the least step that does it
    np.testing.assert_allclose(moved, nearest, atol=2e-4)
    torch.testing.assert_close(operator.project(projected, target), projected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("known", [HALF, SPECKLED], ids=["half", "each channel"])
def test_known_pixels_are_put_back_to_the_bit(known):
    x, y = torch.randn(2, 5, 2, 4, 4).float()
    projected = Known(known).project(x, y)
    assert torch.equal(projected, torch.where(torch.from_numpy(known), y, x))


# --- the gradient --------------------------------------------------------------------------------


def test_the_gradient_shifts_x0_hat_by_its_closed_form():
    """For x0_hat = G x + o the gradient over x of |y - A x0_hat|^2 is -2 G^T A^T (y - A x0_hat)."""
    rng = np.random.default_rng(9)
    shape = (1, 4, 4)
    root = rng.standard_normal((16, 16)) / 4
    model = Ideal(LINEAR, rng.standard_normal(16), root @ root.T, DataSpec(shape))
    operator = downscaled(shape, 2)
    A = operator.measure(unit(shape)).flatten(1).T
    y = rng.standard_normal((1, 2, 2)).astype(np.float32)
    x = torch.from_numpy(rng.standard_normal((3, *shape)))
    for t, strength in ((1, 1.0), (400, 1.0), (400, 2.5), (1000, 0.3)):
        measured = Measurement(operator, y, "gradient", strength)
        plain = model(x, t)
        got = measured.within(model, LINEAR)(x, t, None)
        miss = torch.from_numpy(y).double().flatten() - plain.flatten(1) @ A.T
        gradient = -2 * miss @ A @ model.gain(t)
        alpha = math.sqrt(LINEAR.alpha_bar_at(t))
        expected = plain.flatten(1) - strength / (2 * alpha * operator.norm2) * gradient
        torch.testing.assert_close(got.flatten(1), expected, rtol=1e-5, atol=1e-6)
        assert not got.requires_grad


def test_the_gradient_is_taken_where_none_is_recorded_and_through_a_network_that_wants_none():
    model = tiny_denoiser("v", num_classes=0)
    model.data = DataSpec((1, 8, 8))
    measured = Measurement(downscaled((1, 8, 8), 2), np.full((1, 4, 4), 0.5, np.float32), "gradient", 0.05)
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        shifted = by_gradient(model, model.schedule, measured)(x, 50.0, None)
        plain = model(x, 50)
    assert np.all(measured.error(shifted.numpy()) < 0.99 * measured.error(plain.numpy()))
    assert all(p.grad is None for p in model.parameters())


def test_the_gradient_does_not_mix_the_samples_of_a_batch():
    model = tiny_denoiser("v", num_classes=0)
    model.data = DataSpec((1, 8, 8))
    shifted = Measurement(downscaled((1, 8, 8), 2), np.zeros((1, 4, 4)), "gradient").within(
        model, model.schedule
    )
    x = torch.randn(3, 1, 8, 8)
    other = torch.cat([x[:1], 5 * x[1:]])
    torch.testing.assert_close(shifted(x, 30.0, None)[0], shifted(other, 30.0, None)[0])


# --- restoration, against closed forms -----------------------------------------------------------


def law_of_restored(model, plan, measured):
    """Mean and covariance of what the executor gives: an affine map of its noises, asked one by one."""
    d, n = len(model.mean), plan.num_evaluations
    x = torch.zeros(1 + d * (n + 1), *model.data.shape, dtype=torch.float64)
    x.flatten(1)[1 : d + 1] = torch.eye(d)

    def noise(k):
        z = torch.zeros_like(x)
        z.flatten(1)[d * (k + 1) + 1 : d * (k + 2) + 1] = torch.eye(d)
        return z

    *_, last = trajectory(
        measured.within(model, model.schedule), plan, x, noise, on_x0=measured.on_x0()
    )  # fmt: skip
    response = last.x_s.flatten(1).numpy()
    ways = response[1:] - response[0]
    return response[0], ways.T @ ways


PAIR = DataSpec((1, 1, 2), "float32", None, None, 0.0, 1.0)
FIRST = Known(np.array([[[True, False]]]))


@pytest.mark.parametrize("rho", [0.5, 0.9, -0.7])
@pytest.mark.parametrize(
    ("sampler", "options"), [("ddpm", {}), ("dpmpp", {"eta": 1.0}), ("unipc", {})], ids=["ddpm", "sde", "ode"]
)
def test_by_projection_the_known_pixel_is_exact_and_the_other_moves_the_right_way(rho, sampler, options):
    """Of two correlated pixels one is known to be 1; the other is then N(rho, 1 - rho^2).

    x0_hat sees the known one only through its noise, so that projection (like DDNM) moves the other by a
    part of rho alone: a half or more with noise on the way, a third or more without.
    """
    model = Ideal(LINEAR, [0, 0], [[1, rho], [rho, 1]], PAIR)
    measured = Measurement(FIRST, np.array([[[1.0, 0.0]]]))
    mean, covariance = law_of_restored(
        model, make_plan(LINEAR, sampler, 100, grid="log_snr", **options), measured
    )
    assert mean[0] == 1
    assert np.all(covariance[0] == 0)
    assert (0.34 if sampler == "unipc" else 0.5) < mean[1] / rho < 1
    assert 1 - rho**2 < covariance[1, 1] < 1


@pytest.mark.parametrize("rho", [0.5, 0.9, -0.7])
def test_by_gradient_the_law_is_nearly_the_conditional_one_for_data_of_unit_variance(rho):
    """The weight is right for data of variance 1: both moments come within a few per cent."""
    model = Ideal(LINEAR, [0, 0], [[1, rho], [rho, 1]], PAIR)
    measured = Measurement(FIRST, np.array([[[1.0, 0.0]]]), "gradient")
    mean, covariance = law_of_restored(
        model, make_plan(LINEAR, "dpmpp", 100, grid="log_snr", eta=1.0), measured
    )
    assert mean[0] == pytest.approx(1, abs=1e-4)
    assert mean[1] == pytest.approx(rho, rel=0.06)
    assert covariance[1, 1] == pytest.approx(1 - rho**2, abs=0.03)
    assert covariance[0, 0] < 1e-3


def test_the_gradient_moves_towards_what_was_measured_and_further_the_stronger_it_is():
    model = Ideal(LINEAR, [0, 0], [[0.16, 0.08], [0.08, 0.16]], PAIR)
    plan = make_plan(LINEAR, "ddim", 20)
    ends = [
        law_of_restored(model, plan, Measurement(FIRST, np.array([[[0.4, 0.0]]]), "gradient", strength))[0]
        for strength in (1e-6, 0.1, 1.0)
    ]
    assert np.all(np.diff([end[0] for end in ends]) > 0.005)
    assert np.all(np.diff([end[1] for end in ends]) > 0.005)
    assert ends[-1][0] == pytest.approx(0.4, abs=0.05)


def test_known_pixels_have_at_every_time_the_noise_of_that_time():
    """Where y is known, the state at each time s is q(x_s | y) with the noise it started from."""
    y = np.array([[[0.8, 0.0]]], np.float32)
    for sampler in ("ddim", "dpmpp", "unipc", "deis", "ipndm", "heun"):
        model = Ideal(LINEAR, [0, 0], [[0.3, 0.2], [0.2, 0.3]], PAIR)
        plan = make_plan(LINEAR, sampler, 8)
        x = torch.tensor([[[[0.6, -1.0]]]], dtype=torch.float64)
        bar = float(LINEAR.alpha_bar[-1])
        eps = (0.6 - math.sqrt(bar) * y[0, 0, 0]) / math.sqrt(1 - bar)
        for step in trajectory(model, plan, x, torch.zeros_like, on_x0=Measurement(FIRST, y).on_x0()):
            expected = q_sample(LINEAR, y.astype(float), step.s, eps) if step.s else y
            assert step.x_s[0, 0, 0, 0].item() == pytest.approx(expected[0, 0, 0], abs=1e-6), sampler
        assert step.s == 0
        assert step.x_s[0, 0, 0, 0] == torch.tensor(y[0, 0, 0]).double()


def test_ancestral_noise_on_known_pixels_has_the_size_of_its_time():
    """Given y, the known pixel's own variance at time s is 1 - alpha_bar_s: not that of the time before."""
    model = Ideal(LINEAR, [0, 0], [[0.3, 0.2], [0.2, 0.3]], PAIR)
    measured = Measurement(FIRST, np.array([[[0.8, 0.0]]], np.float32))
    for steps, k in ((7, 1), (7, 4), (1000, 500)):
        plan = make_plan(LINEAR, "ddpm", steps)
        s = plan.times[k]
        cut = Plan(plan.times[: k + 1], plan.alpha_bar[: k + 1], plan.A[:k], plan.B[:k], plan.C[:k])
        mean, covariance = law_of_restored(model, cut, measured)
        bar, top = float(LINEAR.alpha_bar_at(s)), float(LINEAR.alpha_bar[-1])
        assert covariance[0, 0] == pytest.approx(1 - bar, abs=2 * top)  # the start is noise without y
        assert mean[0] == pytest.approx(math.sqrt(bar) * 0.8, abs=2 * math.sqrt(top))


# --- restore -------------------------------------------------------------------------------------


def bounded(spec=None):
    """A network of random weights without classes, for any data of (1, 8, 8)."""
    model = tiny_denoiser("v", num_classes=0)
    model.data = spec or DataSpec((1, 8, 8))
    return model


def fitted_like(schedule):
    """Three rows with history whose last keeps something of x and of the predictions before."""
    times = np.array([schedule.T, 0.6 * schedule.T, 0.2 * schedule.T, 0])
    B = [[0.5, 0, 0], [0.6, -0.1, 0], [0.9, 0.15, -0.05]]
    return Plan(times, schedule.alpha_bar_at(times), [0.8, 0.5, 0.07], B, np.zeros(3))


SPECS = {
    "uint8": DataSpec((1, 8, 8)),
    "int16": DataSpec((1, 8, 8), "int16", -1000, 3000, 1000, 2000),
    "float32": DataSpec((1, 8, 8), "float32", 0.0, 10.0, 5.0, 5.0),
    "float32 without bounds": DataSpec((1, 8, 8), "float32", None, None, 3.0, 7.0),
}
LEFT = np.zeros((1, 8, 8), bool)
LEFT[:, :, :4] = True


def picture(spec, seed=0):
    low, high = (spec.low, spec.high) if spec.low is not None else (-20, 20)
    values = np.random.default_rng(seed).uniform(low, high, spec.shape)
    return values.astype(spec.dtype)


@pytest.mark.parametrize("sampler", [*SAMPLERS, "fitted"])
@pytest.mark.parametrize("name", SPECS)
def test_known_pixels_come_back_to_the_bit_whatever_else_is_in_the_picture(name, sampler):
    spec = SPECS[name]
    model = bounded(spec)
    how = {"plan": fitted_like(model.schedule)} if sampler == "fitted" else {"sampler": sampler, "steps": 4}
    image = picture(spec)
    other = np.where(LEFT, image, picture(spec, 1))
    samples, errors = restore(model, Known(LEFT), image, 2, **how)
    assert samples.images.dtype == np.dtype(spec.dtype)
    for one in samples.images:
        assert np.where(LEFT, one, 0).tobytes() == np.where(LEFT, image, 0).tobytes()
        assert not np.array_equal(one, image)
    assert np.all(errors == 0)
    again, _ = restore(model, Known(LEFT), other, 2, **how)
    assert again.images.tobytes() == samples.images.tobytes()


@pytest.mark.parametrize("sampler", [*SAMPLERS, "fitted"])
def test_the_run_itself_ends_at_what_is_known(sampler):
    """Also where the last row is not x0_hat alone, before anything is pasted."""
    spec = SPECS["float32"]
    model = bounded(spec)
    how = {"plan": fitted_like(model.schedule)} if sampler == "fitted" else {"sampler": sampler, "steps": 4}
    y = spec.to_model(picture(spec))
    images = sample(model, 2, measured=Measurement(Known(LEFT), y), **how).images
    np.testing.assert_array_equal(images[:, LEFT], np.broadcast_to(spec.to_data(y)[LEFT], (2, 32)))
    assert images.min() >= 0
    assert images.max() <= 10


def test_nan_where_nothing_is_known_does_no_harm():
    spec = SPECS["float32"]
    image = np.where(LEFT, picture(spec), np.float32(np.nan))
    samples, _ = restore(bounded(spec), Known(LEFT), image, 1, steps=2)
    assert np.isfinite(samples.images).all()


def test_the_projection_comes_after_clipping():
    """So the run ends where the measurement holds, and clipping has not undone it."""
    spec = SPECS["float32"]
    model = bounded(spec)
    operator = downscaled(spec.shape, 2)
    y = np.random.default_rng(0).uniform(0.6, 1, (1, 4, 4)).astype(np.float32)  # bright: x0_hat is clipped
    for how in ({"sampler": "ddpm", "steps": 3}, {"plan": fitted_like(model.schedule)}):
        images = sample(model, 3, measured=Measurement(operator, y), **how).images
        miss = operator.measure(torch.from_numpy(spec.to_model(images))).numpy() - y
        assert np.abs(miss).max() < 1e-5
        assert images.max() > 10  # the price; `restore` settles it


@pytest.mark.parametrize("sampler", ["ddpm", "unipc", "ipndm"])
@pytest.mark.parametrize("name", SPECS)
def test_downscaled_by_projection_agrees_to_rounding_and_within_the_range(name, sampler):
    spec = SPECS[name]
    operator = downscaled(spec.shape, 2)
    given = picture(DataSpec((1, 4, 4), spec.dtype, spec.low, spec.high))
    samples, errors = restore(bounded(spec), operator, given, 3, sampler=sampler, steps=5)
    whole = np.dtype(spec.dtype).kind in "iu"
    means = samples.images.astype(float).reshape(3, 1, 4, 2, 4, 2).mean((3, 5))
    recomputed = np.sqrt(((means - given) ** 2).mean((1, 2, 3)))
    np.testing.assert_allclose(errors, recomputed, rtol=1e-3, atol=1e-4)
    assert errors.max() < (0.5 if whole else 1e-3 * spec.scale)
    if spec.low is not None:
        assert samples.images.min() >= spec.low
        assert samples.images.max() <= spec.high
    assert samples.images.dtype == np.dtype(spec.dtype)


def test_the_error_is_in_units_of_the_data_and_of_what_is_known_alone():
    spec = SPECS["int16"]
    x_0 = np.zeros((2, 1, 8, 8), np.float32)
    x_0[1, :, :, 0] = 0.5  # one of the four known columns
    measured = Measurement(Known(LEFT), np.zeros((1, 8, 8)))
    np.testing.assert_allclose(measured.error(x_0), [0, 0.25])
    x_0[1, :, :, 7] = 9  # unknown
    np.testing.assert_allclose(measured.error(x_0), [0, 0.25])
    image = picture(spec)
    operator = blurred(spec.shape, 1.0)
    y = measured_of(operator, image, spec)
    samples, errors = restore(bounded(spec), operator, y, 2, method="gradient", steps=3)
    own = [
        operator.measure(torch.from_numpy(one.astype(float))[None])[0].numpy() - y for one in samples.images
    ]
    np.testing.assert_allclose(errors, np.sqrt(np.mean(np.square(own), axis=(1, 2, 3))), rtol=1e-3)


def colours():
    model = tiny_denoiser("v", num_classes=0, in_channels=3)
    model.data = DataSpec((3, 8, 8))
    return model


def test_colourised_pictures_have_the_luminance():
    image = np.random.default_rng(0).integers(60, 200, (3, 8, 8), dtype=np.uint8)
    y = measured_of(grey((3, 8, 8)), image, DataSpec((3, 8, 8)))
    samples, errors = restore(colours(), grey((3, 8, 8)), y, 2, steps=4)
    luminance = np.tensordot(samples.images.astype(float), [0.299, 0.587, 0.114], (1, 0))
    assert np.abs(luminance - y[0]).max() < 0.6
    assert errors.max() < 0.5
    assert samples.images.std(1).mean() > 1  # and colours


def test_deblurring_agrees_more_than_what_the_model_makes_up():
    spec = SPECS["uint8"]
    operator = blurred(spec.shape, 0.6)
    smooth = (100 + 50 * np.sin(np.arange(8) / 2)[:, None] * np.ones(8)).astype(np.uint8)[None]
    y = measured_of(operator, smooth, spec)
    _, errors = restore(bounded(), operator, y, 2, steps=4)
    assert errors.max() < 1
    _, by_gradient_ = restore(bounded(), operator, y, 2, method="gradient", steps=20, sampler="ddpm")
    free = sample(bounded(), 2, steps=20, sampler="ddpm").images
    apart = Measurement(operator, spec.to_model(y)).error(spec.to_model(free)) * spec.scale
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
        how = {"sampler": "ddpm", "steps": 3, "method": method, "seed": 2}
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


def test_restoring_records_how_and_knows_no_class_unless_told():
    model = tiny_denoiser("v")
    model.label_dropout = 0.1
    y = np.full((1, 4, 4), 90, np.uint8)
    operator = downscaled((1, 8, 8), 2)
    samples, _ = restore(model, operator, y, 2, steps=2, method="gradient", strength=0.5)
    assert samples.labels.tolist() == [-1, -1]
    assert samples.facts["measured"] == {
        "operator": "means of 2 × 2 pixels", "method": "gradient", "strength": 0.5
    }  # fmt: skip
    guided, _ = restore(model, operator, y, 2, steps=2, label=1, guidance=2.0)
    assert guided.labels.tolist() == [1, 1]
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
    samples, _ = restore(bounded(), Known(LEFT), np.full((1, 8, 8), 90.0), steps=1)
    assert samples.images.dtype == np.uint8
    assert np.all(samples.images[0][LEFT] == 90)


def test_what_was_measured_must_be_numbers():
    y = np.full((1, 8, 8), np.nan, np.float32)
    with pytest.raises(ValueError, match="finite"):
        restore(bounded(SPECS["float32"]), Known(LEFT), y, steps=1)
    with pytest.raises(ValueError, match="finite"):
        restore(bounded(SPECS["float32"]), downscaled((1, 8, 8), 2), y[:, :4, :4], steps=1)


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
    encoded = encode(independent(m=M, v=S**2), X_0, steps=100)
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded, QUANTILES, atol=0.006)
    np.testing.assert_allclose(encoded, exact_noise(LINEAR, M, S**2, X_0.astype(float)), atol=0.003)
    errors = [
        np.abs(encode(independent(m=M, v=S**2), X_0, steps=n) - exact_noise(LINEAR, M, S**2, X_0)).max()
        for n in (1, 2, 5, 10, 20, 50)
    ]
    assert np.all(np.diff(errors) < 0)


def test_a_picture_encoded_and_sampled_again_is_itself():
    for sampler, grid in (("dpmpp", "log_snr"), ("unipc", "trailing"), ("ddim", "trailing")):
        errors = []
        for steps in (5, 20, 80):
            model = independent(m=M, v=S**2)
            x_T = encode(model, X_0, steps=steps)
            images = sample(model, 1, x_t=x_T, sampler=sampler, grid=grid, steps=steps).images
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
    encode(model, X_0, steps=steps)
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
    """A picture's code doesn't depend on its company; no class where the model knows that."""
    model = tiny_denoiser("v")
    images = np.random.default_rng(0).integers(0, 256, (18, 1, 8, 8), dtype=np.uint8)
    with pytest.raises(ValueError, match="this model always needs a class: give one"):
        encode(model, images[:1])
    of_class = encode(model, images[:2], label=1, steps=3)
    model.label_dropout = 0.1
    many = encode(model, images, steps=3)
    assert many.shape == images.shape
    np.testing.assert_array_equal(encode(model, images[:3], steps=3), many[:3])
    np.testing.assert_array_equal(encode(model, images, label=-1, steps=3), many)
    np.testing.assert_array_equal(encode(model, images[:2], label=1, steps=3), of_class)
    np.testing.assert_array_equal(encode(model, images[:2], label=[1, 1], steps=3), of_class)
    assert not np.array_equal(of_class, many[:2])
    seen = []
    encode(model, images, steps=4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 8) for i in range(1, 9)]  # two batches of four evaluations


def test_what_cannot_be_encoded_is_refused():
    model = bounded()
    for images in (np.zeros((1, 8, 8), np.uint8), np.zeros((2, 1, 8, 9), np.uint8), np.zeros((2, 3, 8, 8))):
        with pytest.raises(ValueError, match="images must have the shape"):
            encode(model, images)
    with pytest.raises(ValueError, match="has no classes"):
        encode(model, np.zeros((1, 1, 8, 8), np.uint8), label=0)


@pytest.mark.parametrize("steps", [0, -1, 2.5])
def test_numbers_of_steps_up_that_are_none(steps):
    with pytest.raises(ValueError, match=rf"steps must be a whole number of at least 1, got {steps}"):
        inversion(LINEAR, steps)


@pytest.mark.parametrize("order", [0, 4, 5])
def test_an_order_that_the_way_up_does_not_have_is_refused(order):
    with pytest.raises(ValueError, match="order"):
        inversion(LINEAR, 8, order)


# --- between two ---------------------------------------------------------------------------------


def pair_of(model, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (2, *model.data.shape)).astype(model.data.dtype)


def test_the_ends_of_an_interpolation_are_the_pictures():
    model = independent(m=M, v=S**2)
    a, b = X_0[0], X_0[0, :, ::-1, ::-1].copy()
    between = interpolate(model, a, b, 5, steps=100, grid="log_snr").images
    assert between.shape == (5, 1, 2, 2)
    np.testing.assert_allclose(between[0], a, atol=0.005)
    np.testing.assert_allclose(between[-1], b, atol=0.005)
    pair = interpolate(model, a, b, 2, steps=100, grid="log_snr").images
    np.testing.assert_array_equal(pair, between[[0, -1]])
    far = np.linalg.norm((between - a).reshape(5, -1), axis=1)
    assert np.all(np.diff(far) > 0)  # and what is between lies on the way


def test_between_two_noises_the_way_is_a_great_circle():
    model = independent(m=M, v=S**2)
    a, b = X_0[0], X_0[0, :, ::-1, ::-1].copy()
    x_a, x_b = encode(model, np.stack([a, b]))
    model.asked.clear()
    interpolate(model, a, b, 4, steps=3)
    states = next(x for t, x, _ in model.asked if t == 1000)
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
    interpolate(model, a, b, 5, method="noise", t=t, steps=2, seed=4)
    state, c_noise = model.net.shown[0]
    t = 50 if t is None else t
    eps = sample_noise(4, 0, 0, (1, 8, 8))
    x_a, x_b = model.data.to_model(a), model.data.to_model(b)
    for i, w in enumerate((0, 0.25, 0.5, 0.75, 1)):
        x_t = q_sample(model.schedule, (1 - w) * x_a + w * x_b, t, eps)
        np.testing.assert_allclose(state[i], x_t, atol=1e-6)
    assert c_noise == t - 1
    assert [c for _, c in model.net.shown][-1] < t


@pytest.mark.parametrize("method", ["encode", "noise"])
def test_the_way_back_is_the_way_there(method):
    model = bounded(SPECS["float32"])
    a, b = (picture(model.data, seed) for seed in (0, 1))
    there = interpolate(model, a, b, 6, method=method, steps=5).images
    back = interpolate(model, b, a, 6, method=method, steps=5).images
    np.testing.assert_allclose(back[::-1], there, atol=2e-3)
    assert len(np.unique(there.reshape(6, -1), axis=0)) == 6


def test_interpolation_is_deterministic_without_a_class_or_of_one():
    model = tiny_denoiser("v")
    a, b = pair_of(model)
    with pytest.raises(ValueError, match="always needs a class"):
        interpolate(model, a, b, 3)
    one = interpolate(model, a, b, 3, label=1, method="noise", steps=2)
    assert one.labels.tolist() == [1, 1, 1]
    model.label_dropout = 0.1
    free = interpolate(model, a, b, 3, steps=2)
    assert free.labels.tolist() == [-1, -1, -1]
    assert np.array_equal(interpolate(model, a, b, 3, steps=2, seed=8).images, free.images)
    guided = interpolate(model, a, b, 3, label=1, method="noise", steps=2, guidance=3.0)
    assert guided.facts["guidance"]["scale"] == 3
    with pytest.raises(ValueError, match="guidance leads towards a class"):
        interpolate(model, a, b, 3, method="noise", steps=2, guidance=3.0)
    assert free.facts["plan"]["made_by"]["sampler"] == "unipc"


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
        ({"n": 1}, "n must be at least 2, the two pictures, got 1"),
        ({"method": "magic"}, "unknown way to interpolate 'magic'; known: encode, noise"),
        ({"t": 50}, "t is for interpolation by noise"),
        ({"method": "noise", "t": 101}, r"t must lie within 0\.\.100, got 101"),
        ({"method": "noise", "t": 0}, "start must be above 0"),
        ({"method": "noise", "sampler": "ddpm"}, "a plan that adds no noise"),
        ({"method": "noise", "sampler": "ddim", "eta": 0.5}, "a plan that adds no noise"),
        ({"method": "noise", "etaa": 1}, "and not etaa"),
        ({"label": 1}, "has no classes"),
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
    assert np.array_equal(given, interpolate(model, a, b, 3, sampler="ddim", steps=3).images)
    half = make_plan(model.schedule, "ddim", 3, start=50)
    from_50 = interpolate(model, a, b, 3, plan=half, method="noise", t=50).images
    named = interpolate(model, a, b, 3, sampler="ddim", steps=3, method="noise", t=50).images
    assert np.array_equal(from_50, named)


def test_a_plan_for_interpolation_is_given_alone_and_starts_where_the_pictures_are():
    model = bounded()
    a, b = pair_of(model)
    plan, half = make_plan(model.schedule, "ddim", 3), make_plan(model.schedule, "ddim", 3, start=50)
    for options in ({"steps": 7}, {"sampler": "unipc"}, {"etaa": 1}):
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


# --- many pictures at once -----------------------------------------------------------------------


class Recorder(UNet):
    """A U-Net that remembers what it was shown."""

    def forward(self, x, c_noise, label=None):
        self.shown.append((x.clone(), float(c_noise[0])))
        return super().forward(x, c_noise, label)


def recorded(model):
    net = Recorder(**{k: v for k, v in model.net.config.items() if k != "name"})
    net.load_state_dict(model.net.state_dict())
    net.shown = []
    return Denoiser(net, model.schedule, model.head, model.data).eval().requires_grad_(False)


def test_each_sample_starts_from_its_own_picture_with_its_own_noise():
    model = recorded(bounded())
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
    indices = [*range(3, 22), 40]
    together = sample(model, indices=indices, seed=6, x_0=images, start=40, steps=1)
    blocks = {0: indices[:13], 1: indices[13:19], 2: indices[19:]}
    assert len(model.net.shown) == 3
    for (state, c_noise), (block, members) in zip(model.net.shown, blocks.items()):
        assert c_noise == 39
        for number in members:
            x_0 = model.data.to_model(images[indices.index(number)])
            eps = sample_noise(6, number, 0, (1, 8, 8))
            expected = q_sample(model.schedule, x_0, 40, eps)
            np.testing.assert_allclose(state[number - 16 * block], expected, atol=1e-6)
    alone = sample(model, indices=[15], seed=6, x_0=images[12], start=40, steps=1)
    assert alone.images[0].tobytes() == together.images[12].tobytes()


def test_each_sample_starts_from_its_own_noisy_one():
    model = recorded(bounded())
    x_t = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)
    a = sample(model, 3, x_t=x_t, start=30, sampler="ddim", steps=3)
    assert np.array_equal(model.net.shown[0][0][:3].numpy(), x_t)
    for i in range(3):
        alone = sample(model, indices=[i], x_t=x_t[i], start=30, sampler="ddim", steps=3)
        assert alone.images[0].tobytes() == a.images[i].tobytes()


@pytest.mark.parametrize("name", ["x_0", "x_t"])
def test_as_many_pictures_as_samples_or_one(name):
    model = bounded()
    for shape in ((2, 1, 8, 8), (4, 1, 8, 8), (1, 1, 8, 8), (3, 8, 8), (3, 1, 8, 9)):
        with pytest.raises(ValueError, match=rf"{name} must have the model's shape \(1, 8, 8\)"):
            sample(model, 3, start=10, steps=1, **{name: np.zeros(shape, np.float32)})
