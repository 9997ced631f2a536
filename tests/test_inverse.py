"""What is known of a sample: operators against dense matrices and NumPy, restoration against closed forms.

The ideal denoiser of Gaussian data is affine, so the law of what is restored is known exactly.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from alphabar.data import Space
from alphabar.model import Codec
from alphabar.sampling import Known, Observation, Separable, blurred, downscaled, gray, trajectory
from alphabar.sampling.inverse import LUMINANCE, by_gradient, measure, measured_of
from alphabar.theory.gaussian import q_sample
from alphabar.theory.plans import Plan, make_plan
from alphabar.theory.schedule import Schedule
from tiny import Ideal, tiny_denoiser


def free(shape):
    """Data space is model space, without bounds."""
    return Codec(Space(shape, "float32", None, None), 0.0, 1.0)


LINEAR = Schedule.linear(1000)


# --- operators -----------------------------------------------------------------------------------

RANDOM = np.random.default_rng(5)
HALF = np.zeros((1, 4, 4), bool)
HALF[:, :, :2] = True
SPECKLED = RANDOM.random((2, 4, 4)) < 0.4
OPERATORS = {
    "downscaled": ((1, 8, 8), downscaled((1, 8, 8), 2)),
    "downscaled, color": ((3, 6, 9), downscaled((3, 6, 9), 3)),
    "downscaled to one": ((1, 4, 4), downscaled((1, 4, 4), 4)),
    "gray": ((3, 4, 5), gray((3, 4, 5))),
    "known half": ((2, 4, 4), Known(HALF)),
    "known, each channel": ((2, 4, 4), Known(SPECKLED)),
    "wide": (
        (3, 5, 4),
        Separable("wide", *(RANDOM.standard_normal(s) for s in ((2, 3), (3, 5), (4, 4))), rcond=1e-12),
    ),
    "tall": ((1, 2, 3), Separable("tall", *(RANDOM.standard_normal(s) for s in ((2, 1), (3, 2), (5, 3))))),
    "blurred": ((1, 8, 8), blurred((1, 8, 8), 1.5)),
    "blurred a little": ((2, 6, 9), blurred((2, 6, 9), 0.7)),
    "downscaled row": ((2, 12), downscaled((2, 12), 3)),
    "downscaled volume": ((1, 4, 2, 6), downscaled((1, 4, 2, 6), 2)),
    "gray row": ((3, 7), gray((3, 7))),
    "blurred volume": ((1, 3, 4, 5), blurred((1, 3, 4, 5), 0.8)),
    "known of a vector": ((6,), Known(np.array([1, 0, 0, 1, 1, 0]))),
    "a vector's sums": ((4,), Separable("sums", [[1, 1, 0, 0], [0, 0, 1, 1]])),
}
ONTO = [
    "downscaled",
    "downscaled, color",
    "downscaled to one",
    "gray",
    "wide",
    "downscaled row",
    "downscaled volume",
    "gray row",
    "a vector's sums",
]  # A A^+ = 1
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


def test_gray_is_the_luminance_of_itu_r_601_as_pillow_has_it():
    image = np.random.default_rng(3).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    assert LUMINANCE == (0.299, 0.587, 0.114)
    expected = np.tensordot([0.299, 0.587, 0.114], image.astype(float), 1)[None]
    y = gray((3, 16, 16)).measure(torch.from_numpy(image.astype(float))[None])[0]
    np.testing.assert_allclose(y, expected, atol=1e-4)
    measured = measured_of(gray((3, 16, 16)), image, Space((3, 16, 16)))
    pillow = np.asarray(Image.fromarray(np.moveaxis(image, 0, -1)).convert("L"))
    assert np.abs(measured[0].astype(int) - pillow).max() <= 1
    assert (measured.dtype, measured.shape) == (np.uint8, (1, 16, 16))


AVERAGING = {
    "downscaled": (lambda shape: downscaled(shape, 2)),
    "gray": gray,
    "blurred": (lambda shape: blurred(shape, 1.2)),
}


@pytest.mark.parametrize("name", AVERAGING)
def test_an_average_of_data_is_the_average_in_model_space(name):
    """Their weights sum to 1, so the affine map between the spaces commutes with them."""
    shape = (3, 8, 8)
    codec = Codec(Space(shape, "float64", None, None), 5.0, 100.0)
    operator = AVERAGING[name](shape)
    image = np.random.default_rng(4).uniform(0, 255, shape)
    in_data = operator.measure(torch.from_numpy(image)[None])[0].numpy()
    np.testing.assert_allclose(measured_of(operator, image, codec.space), in_data, atol=1e-4)
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
        (lambda: downscaled((8,), 2), "divide sides, of which these samples have none, got 2"),
        (lambda: blurred((8,), 1.0), r"only samples with sides can be blurred, .*\(8,\)"),
        (lambda: gray((1, 8, 8)), "a model of three channels, and this one has 1"),
        (lambda: blurred((1, 8, 8), 0), "the blur must be above 0 pixels, got 0"),
        (lambda: blurred((1, 8, 8), float("nan")), "above 0 pixels, got nan"),
        (lambda: Observation(Known(HALF), np.zeros((2, 4, 4)), "guess"), "unknown method 'guess'"),
        (lambda: Observation(Known(HALF), np.zeros((2, 4, 4)), "gradient", 0.0), "a positive factor"),
        (lambda: Observation(Known(HALF), np.zeros((2, 4, 4)), "projection", 2.0), "factor on the gradient"),
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


CHANNELS = Codec(Space((3, 4, 4), "float64", (0, -5, 100), (1, 5, 900)), (0.5, 0, 500), (0.5, 5, 400))


@pytest.mark.parametrize("name", [*AVERAGING, "known"])
def test_in_model_space_an_operator_measures_the_same_of_the_same_sample(name):
    """Also where each channel has its own scale and offset, and the operator mixes channels."""
    shape = CHANNELS.space.shape
    operator = Known(np.arange(48).reshape(shape) % 3 == 0) if name == "known" else AVERAGING[name](shape)
    rng = np.random.default_rng(0)
    low, high = CHANNELS.space.bounds
    image, other = rng.uniform(low, high, (2, *shape))
    y = measure(operator, image[None])[0]
    inside, target = operator.in_model_space(CHANNELS, y)
    x_0 = torch.from_numpy(CHANNELS.encode(np.stack([image, other]))).double()
    measured = inside.measure(x_0).numpy()
    np.testing.assert_allclose(measured[0], target, atol=1e-5)
    assert np.abs(measured[1] - target).max() > 1e-3
    if name == "blurred":
        return  # its small singular values are left out
    projected = inside.project(x_0, torch.from_numpy(target)[None].double())
    again = measure(operator, CHANNELS.decode(projected.numpy()))
    np.testing.assert_allclose(again, np.broadcast_to(y, again.shape), rtol=1e-4, atol=1e-3)


def test_one_scale_for_all_channels_leaves_an_operator_as_it_is():
    codec = Codec(Space((3, 4, 4)), 127.5, 127.5)
    for operator in (gray((3, 4, 4)), downscaled((3, 4, 4), 2), Known(np.ones((1, 4, 4), bool))):
        assert operator.in_model_space(codec, measure(operator, np.zeros((1, 3, 4, 4)))[0])[0] is operator


@pytest.mark.parametrize("mask", [[0, 0.5, 1], [0, 128, 255], [-1, 0, 1]])
def test_a_soft_mask_is_refused_for_where_to_cut_it_is_not_known(mask):
    with pytest.raises(ValueError, match=r"true or false .* cut a soft mask first, such as mask >"):
        Known(np.array(mask))
    assert Known(np.array([0, 1, 1])).known.tolist() == [False, True, True]


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
    model = Ideal(LINEAR, rng.standard_normal(16), root @ root.T, free(shape))
    operator = downscaled(shape, 2)
    A = operator.measure(unit(shape)).flatten(1).T
    y = rng.standard_normal((1, 2, 2)).astype(np.float32)
    x = torch.from_numpy(rng.standard_normal((3, *shape)))
    for t, strength in ((1, 1.0), (400, 1.0), (400, 2.5), (1000, 0.3)):
        seen = Observation(operator, y, "gradient", strength)
        plain = model(x, t)
        got = seen.within(model, LINEAR)(x, t, None)
        miss = torch.from_numpy(y).double().flatten() - plain.flatten(1) @ A.T
        gradient = -2 * miss @ A @ model.gain(t)
        alpha = math.sqrt(LINEAR.alpha_bar_at(t))
        expected = plain.flatten(1) - strength / (2 * alpha * operator.norm2) * gradient
        torch.testing.assert_close(got.flatten(1), expected, rtol=1e-5, atol=1e-6)
        assert not got.requires_grad


def test_the_gradient_is_taken_where_none_is_recorded_and_through_a_network_that_wants_none():
    model = tiny_denoiser("v", classes=False)
    seen = Observation(downscaled((1, 8, 8), 2), np.full((1, 4, 4), 0.5, np.float32), "gradient", 0.05)
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        shifted = by_gradient(model, model.schedule, seen)(x, 50.0, None)
        plain = model(x, 50)
    assert np.all(seen.error(shifted.numpy()) < 0.99 * seen.error(plain.numpy()))
    assert all(p.grad is None for p in model.parameters())


def test_the_gradient_does_not_mix_the_samples_of_a_batch():
    model = tiny_denoiser("v", classes=False)
    shifted = Observation(downscaled((1, 8, 8), 2), np.zeros((1, 4, 4)), "gradient").within(
        model, model.schedule
    )
    x = torch.randn(3, 1, 8, 8)
    other = torch.cat([x[:1], 5 * x[1:]])
    torch.testing.assert_close(shifted(x, 30.0, None)[0], shifted(other, 30.0, None)[0])


# --- restoration, against closed forms -----------------------------------------------------------


def law_of_restored(model, plan, seen):
    """Mean and covariance of what the executor gives: an affine map of its noises, asked one by one."""
    d, n = len(model.mean), plan.num_evaluations
    x = torch.zeros(1 + d * (n + 1), *model.space.shape, dtype=torch.float64)
    x.flatten(1)[1 : d + 1] = torch.eye(d)

    def noise(k):
        z = torch.zeros_like(x)
        z.flatten(1)[d * (k + 1) + 1 : d * (k + 2) + 1] = torch.eye(d)
        return z

    *_, last = trajectory(
        seen.within(model, model.schedule), plan, x, noise, on_x0=seen.on_x0()
    )  # fmt: skip
    response = last.x_s.flatten(1).numpy()
    ways = response[1:] - response[0]
    return response[0], ways.T @ ways


PAIR = free((1, 1, 2))
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
    seen = Observation(FIRST, np.array([[[1.0, 0.0]]]))
    mean, covariance = law_of_restored(
        model, make_plan(LINEAR, sampler, 100, spacing="log_snr", **options), seen
    )
    assert mean[0] == 1
    assert np.all(covariance[0] == 0)
    assert (0.34 if sampler == "unipc" else 0.5) < mean[1] / rho < 1
    assert 1 - rho**2 < covariance[1, 1] < 1


@pytest.mark.parametrize("rho", [0.5, 0.9, -0.7])
def test_by_gradient_the_law_is_nearly_the_conditional_one_for_data_of_unit_variance(rho):
    """The weight is right for data of variance 1: both moments come within a few per cent."""
    model = Ideal(LINEAR, [0, 0], [[1, rho], [rho, 1]], PAIR)
    seen = Observation(FIRST, np.array([[[1.0, 0.0]]]), "gradient")
    mean, covariance = law_of_restored(
        model, make_plan(LINEAR, "dpmpp", 100, spacing="log_snr", eta=1.0), seen
    )
    assert mean[0] == pytest.approx(1, abs=1e-4)
    assert mean[1] == pytest.approx(rho, rel=0.06)
    assert covariance[1, 1] == pytest.approx(1 - rho**2, abs=0.03)
    assert covariance[0, 0] < 1e-3


def test_the_gradient_moves_towards_what_was_measured_and_further_the_stronger_it_is():
    model = Ideal(LINEAR, [0, 0], [[0.16, 0.08], [0.08, 0.16]], PAIR)
    plan = make_plan(LINEAR, "ddim", 20)
    ends = [
        law_of_restored(model, plan, Observation(FIRST, np.array([[[0.4, 0.0]]]), "gradient", strength))[0]
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
        for step in trajectory(model, plan, x, torch.zeros_like, on_x0=Observation(FIRST, y).on_x0()):
            expected = q_sample(LINEAR, y.astype(float), step.s, eps) if step.s else y
            assert step.x_s[0, 0, 0, 0].item() == pytest.approx(expected[0, 0, 0], abs=1e-6), sampler
        assert step.s == 0
        assert step.x_s[0, 0, 0, 0] == torch.tensor(y[0, 0, 0]).double()


def test_ancestral_noise_on_known_pixels_has_the_size_of_its_time():
    """Given y, the known pixel's own variance at time s is 1 - alpha_bar_s: not that of the time before."""
    model = Ideal(LINEAR, [0, 0], [[0.3, 0.2], [0.2, 0.3]], PAIR)
    seen = Observation(FIRST, np.array([[[0.8, 0.0]]], np.float32))
    for steps, k in ((7, 1), (7, 4), (1000, 500)):
        plan = make_plan(LINEAR, "ddpm", steps)
        s = plan.times[k]
        cut = Plan(plan.times[: k + 1], plan.alpha_bar[: k + 1], plan.A[:k], plan.B[:k], plan.C[:k])
        mean, covariance = law_of_restored(model, cut, seen)
        bar, top = float(LINEAR.alpha_bar_at(s)), float(LINEAR.alpha_bar[-1])
        assert covariance[0, 0] == pytest.approx(1 - bar, abs=2 * top)  # the start is noise without y
        assert mean[0] == pytest.approx(math.sqrt(bar) * 0.8, abs=2 * math.sqrt(top))
