"""Bits per dimension against closed forms, with the ideal denoisers of Gaussians, mixtures and bytes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from alphabar.data import ClassCondition, Space
from alphabar.evaluation.bound import variational_bound
from alphabar.evaluation.likelihood import ode_likelihood
from alphabar.model import Codec, Denoiser, batch_size, fit_codec
from alphabar.theory.gaussian import posterior
from alphabar.theory.losses import bound_terms
from alphabar.theory.schedule import Schedule
from tiny import tiny_data, tiny_denoiser

NOISY = Schedule.linear(1000, 1e-4, 0.05)  # alpha_bar_T = 1e-11: x_T is N(0, I) to all the digits tested
SCALE, OFFSET = 3.0, 0.5
FLOATS = Codec(Space((1, 2, 2), "float64", None, None), (OFFSET,), (SCALE,))
BYTES = fit_codec(Space((1, 2, 2)))
MEAN = np.array([0.3, -0.2, 0.1, 0.0])
ROOT = np.array([[0.6, 0, 0, 0], [0.3, 0.4, 0, 0], [-0.2, 0.1, 0.3, 0], [0.1, 0.2, 0.1, 0.2]])
COV = ROOT @ ROOT.T


def affine(shape, dtype="float64", low=None, high=None, offset=OFFSET, scale=SCALE):
    return Codec(Space(shape, dtype, low, high), offset, scale)


class Nothing(torch.nn.Module):
    def forward(self, x, c_noise, cond):
        raise AssertionError("the ideal denoiser needs no network")


class Ideal(Denoiser):
    """x0_hat(y, sigma, cond) in closed form, worked out in float64; keeps what it was called with."""

    def __init__(self, schedule, codec, x0_hat, conditions=None):
        super().__init__(Nothing(), schedule, "x0", codec, conditions)
        self.x0_hat, self.calls = x0_hat, []

    def forward(self, x_t, t, cond=None):
        assert x_t.dtype == torch.float32
        assert len(x_t) == batch_size(self.shape)
        self.calls.append((x_t.detach(), np.asarray(t), cond))
        bar = torch.tensor(np.broadcast_to(self.schedule.alpha_bar_at(t), len(x_t)).copy())[:, None]
        y = x_t.double().flatten(1) / bar.sqrt()
        return self.x0_hat(y, ((1 - bar) / bar).sqrt(), cond).reshape(x_t.shape).float()


def gaussian(schedule=NOISY, codec=FLOATS, mean=MEAN, cov=COV):
    """For data N(mean, cov) in model space: x0_hat = mean + cov (cov + sigma^2)^-1 (y - mean)."""
    values, vectors = np.linalg.eigh(cov)
    values, vectors, mean = (torch.from_numpy(a) for a in (values, vectors, np.asarray(mean)))

    def x0_hat(y, sigma, cond):
        return mean + ((y - mean) @ vectors * (values / (values + sigma**2))) @ vectors.T

    return Ideal(schedule, codec, x0_hat)


def mixture(centers, widths, schedule=NOISY, codec=FLOATS):
    """For an even mixture of N(center, width^2 I): each component's mean, weighed by its posterior."""
    centers, widths = torch.tensor(centers).double(), torch.tensor(widths).double()

    def x0_hat(y, sigma, cond):
        v = widths**2 + sigma**2  # (B, K)
        away = y[:, None] - centers
        share = torch.softmax(-away.square().sum(2) / (2 * v) - y.shape[1] / 2 * v.log(), 1)
        means = centers + (widths**2 / v)[..., None] * away
        return (share[..., None] * means).sum(1)

    return Ideal(schedule, codec, x0_hat)


def to_images(x_0, codec=FLOATS):
    return (SCALE * x_0 + OFFSET).reshape(-1, *codec.space.shape)


def gaussian_images(n, seed=0):
    return to_images(MEAN + np.random.default_rng(seed).standard_normal((n, 4)) @ ROOT.T)


def gaussian_bits(x_0, sigma):
    """-log2 of N(mean, cov + sigma^2)'s density in data space, per dimension."""
    cov = COV + sigma**2 * np.eye(4)
    quadratic = np.einsum("ni,ij,nj->n", x_0 - MEAN, np.linalg.inv(cov), x_0 - MEAN)
    nats = (quadratic + np.linalg.slogdet(2 * math.pi * cov)[1]) / 2
    return nats / (4 * math.log(2)) + math.log2(SCALE)


def sigma_1(schedule):
    return float(posterior(schedule, 2, 1)[2])


def normal_cdf(z):
    return 0.5 * math.erfc(-z / math.sqrt(2))


# --- the bound -----------------------------------------------------------------------------------


def gaussian_terms(schedule, variance):
    """The exact terms for gaussian data, in bits of data space."""
    bar = schedule.alpha_bar[1:, None]
    mse = (1 / (1 / np.linalg.eigvalsh(COV) + bar / (1 - bar))).mean(1)  # variance of x_0 given x_t
    terms = bound_terms(schedule, (np.trace(COV) + MEAN @ MEAN) / 4, mse, variance)
    terms[0] += math.log(SCALE)
    return terms / math.log(2)


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_every_term_of_the_bound_of_a_gaussian_is_the_exact_one(variance):
    schedule = Schedule.cosine(20)
    found = variational_bound(gaussian(schedule), gaussian_images(3000), draws=400, variance=variance)
    exact = gaussian_terms(schedule, variance)
    assert abs(found.bits_per_dim - exact.sum()) < 3 * found.error < 0.06 * exact.sum()
    assert np.abs(found.terms - exact).max() < 3 * found.error
    np.testing.assert_allclose(found.terms[1:-1], exact[1:-1], rtol=0.25, atol=2e-3)
    assert found.prior == found.terms[-1] == pytest.approx(exact[-1], rel=0.2)
    assert found.between == pytest.approx(found.terms[1:-1].sum())
    assert found.decoder == found.terms[0]
    assert found.bits_per_dim == pytest.approx(found.prior + found.between + found.decoder)
    assert (found.variance, found.what, found.n) == (variance, "density", 3000)
    assert found.draws == pytest.approx(400, rel=0.01)


def test_the_better_variance_is_taken_unless_one_is_given():
    schedule = Schedule.linear(20)
    images = gaussian_images(100)
    best, *both = (
        variational_bound(gaussian(schedule), images, variance=v) for v in (None, "posterior", "beta")
    )
    lower, higher = sorted(both, key=lambda b: b.bits_per_dim)
    assert (best.bits_per_dim, best.variance) == (lower.bits_per_dim, lower.variance)
    assert lower.bits_per_dim < higher.bits_per_dim


def test_the_bound_is_above_the_entropy_and_comes_down_to_it():
    codec = affine((1, 64, 64))
    x_0 = 0.5 * np.random.default_rng(0).standard_normal((200, 64 * 64))
    entropy = math.log2(2 * math.pi * math.e * 0.5**2) / 2 + math.log2(SCALE)
    gaps = []
    for T in (10, 40, 160):
        schedule = Schedule.cosine(T)
        ideal = Ideal(schedule, codec, lambda y, sigma, cond: 0.25 / (0.25 + sigma**2) * y)
        found = variational_bound(ideal, to_images(x_0, codec), draws=3200 // T, variance="beta")
        bar = schedule.alpha_bar[1:]
        exact = bound_terms(schedule, 0.25, 0.25 * (1 - bar) / (0.25 * bar + 1 - bar)).sum() / math.log(2)
        gaps.append(found.bits_per_dim - entropy)
        assert abs(found.bits_per_dim - exact - math.log2(SCALE)) < 3 * found.error < 0.01
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > -0.01


def test_with_errors_that_are_known_every_term_is_exact_and_has_no_error():
    """Constant images a, and a denoiser that says a + delta_t: (x_0 - x0_hat)^2 = delta_t^2."""
    schedule, a = Schedule.cosine(30), 0.25
    delta = 0.2 * schedule.alpha_bar[::-1]
    ideal = Ideal(schedule, FLOATS, None)
    ideal.x0_hat = lambda y, sigma, cond: (
        a + torch.from_numpy(delta[ideal.calls[-1][1].astype(int)])[:, None] + 0 * y
    )
    for variance in ("posterior", "beta"):
        found = variational_bound(
            ideal, np.full((5, 1, 2, 2), SCALE * a + OFFSET), draws=2, variance=variance
        )
        exact = bound_terms(schedule, a**2, delta[1:] ** 2, variance) / math.log(2)
        exact[0] += math.log2(SCALE)
        np.testing.assert_allclose(found.terms, exact, rtol=1e-5, atol=1e-6)
        assert found.error < 1e-6


@pytest.mark.parametrize(
    ("n", "draws", "dtype"), [(12, 2, "float64"), (12, 30, "float64"), (300, 8, "float64"), (40, 8, "int16")]
)
def test_the_error_of_the_bound_is_as_large_as_it_says(n, draws, dtype):
    """Over new images and noises; half of the images are far easier than the others, at all times."""
    codec = affine((1, 1, 1), dtype, -90, 90)
    ideal = mixture([[-3.0], [3.0]], [1.0, 0.05], Schedule.linear(20), codec)
    rng = np.random.default_rng(1)
    found = []
    for seed in range(60):
        easy = rng.random((n, 1, 1, 1)) < 0.5
        x_0 = np.where(easy, 3, -3) + np.where(easy, 0.05, 1) * rng.standard_normal((n, 1, 1, 1))
        found.append(variational_bound(ideal, codec.decode(x_0), draws=draws, variance="beta", seed=seed))
    spread = np.std([b.bits_per_dim for b in found], ddof=1)
    ratio = np.sqrt(np.mean([b.error**2 for b in found])) / spread
    assert 0.75 < ratio < 1.35


def test_the_error_knows_of_the_priors_term():
    """A perfect denoiser on two images of different size: L_T alone differs, where x_T keeps half of x_0."""
    schedule = Schedule.from_alpha_bar([1.0, 0.9, 0.5])
    size = torch.tensor([0.1, 2.0], dtype=torch.float64)
    conditions = {"class": ClassCondition(names=("small", "large"))}
    ideal = Ideal(
        schedule, FLOATS, lambda y, _, cond: cond["class"].double() @ size[:, None] + 0 * y, conditions
    )
    labels = np.arange(20) % 2
    found = variational_bound(ideal, to_images(np.repeat(size.numpy()[labels], 4)), {"class": labels})
    squares = size.numpy()[labels] ** 2
    error = 0.5 / 2 * squares.std(ddof=1) / math.sqrt(20) / math.log(2)
    assert found.error == pytest.approx(error, rel=1e-3)


def test_the_error_knows_of_the_decoders_bins():
    """T = 1 and images of one size: L_0 alone differs, as a guess of 10 is nearer to 20 than to -20."""
    codec, schedule = affine((1, 1, 1), "int16", -50, 50, 0.0, 25.0), Schedule.from_alpha_bar([1.0, 0.5])
    ideal = Ideal(schedule, codec, lambda y, sigma, cond: 10 / 25 + 0 * y)
    images = np.resize([20, -20], (20, 1, 1, 1)).astype(np.int16)
    std = math.sqrt(0.5) * 25
    bits = [
        -math.log2(normal_cdf((v + 0.5 - 10) / std) - normal_cdf((v - 0.5 - 10) / std)) for v in (20, -20)
    ]
    found = variational_bound(ideal, images, draws=40)  # each image twice
    assert found.decoder == pytest.approx(np.mean(bits), rel=1e-5)
    assert found.error == pytest.approx(
        (bits[1] - bits[0]) / 2 / math.sqrt(19) * math.sqrt(40 / 39), rel=1e-4
    )


def pixel(value, codec, guess, schedule):
    """L_0 of one pixel's value in bits, by a denoiser that says `guess` whatever it sees."""
    ideal = Ideal(schedule, codec, lambda y, sigma, cond: (guess - codec.offset[0]) / codec.scale[0] + 0 * y)
    found = variational_bound(ideal, np.full((2, 1, 1, 1), value, codec.space.dtype), draws=2)
    assert found.what == "probability mass of whole numbers"
    return found.decoder


@pytest.mark.parametrize(
    ("codec", "values", "guess"),
    [
        (fit_codec(Space((1, 1, 1))), range(256), 252.5),
        (affine((1, 1, 1), "int16", -3, 6, 0.0, 2.0), range(-3, 7), 2.4),
        (affine((1, 1, 1), "int16", None, None, 0.0, 10.0), range(-60, 61), 3.0),
    ],
    ids=["bytes", "another range", "no range"],
)
def test_the_decoders_probabilities_of_all_numbers_sum_to_one(codec, values, guess):
    schedule = Schedule.cosine(2)
    std = sigma_1(schedule) * codec.scale[0]
    bits = [pixel(value, codec, guess, schedule) for value in values]
    assert np.exp2(-np.array(bits)).sum() == pytest.approx(1, abs=1e-6)
    i = len(values) // 2
    mass = [normal_cdf((values[i] + side - guess) / std) for side in (-0.5, 0.5)]
    assert bits[i] == pytest.approx(-math.log2(mass[1] - mass[0]), rel=1e-4)
    if codec.space.high is not None:
        highest = -math.log2(1 - normal_cdf((codec.space.high[0] - 0.5 - guess) / std))
        assert bits[-1] == pytest.approx(highest, rel=1e-4)


def test_bytes_of_one_known_image_cost_the_decoders_bin_alone():
    """A perfect denoiser: L_0 is the mass within half a byte, L_1 … L_{T-1} are 0, L_T its closed form."""
    schedule = Schedule.linear(100)
    ideal = Ideal(schedule, BYTES, lambda y, sigma, cond: (100 - 127.5) / 127.5 + 0 * y)
    found = variational_bound(ideal, np.full((3, 1, 2, 2), 100, np.uint8))
    half_a_byte = 0.5 / (127.5 * sigma_1(schedule))
    assert found.decoder == pytest.approx(-math.log2(math.erf(half_a_byte / math.sqrt(2))), rel=1e-5)
    assert found.between == pytest.approx(0, abs=1e-6)
    bar = schedule.alpha_bar[-1]
    exact = (bar * ((100 - 127.5) / 127.5) ** 2 - bar - math.log1p(-bar)) / (2 * math.log(2))
    assert found.prior == pytest.approx(exact, rel=1e-5)
    assert found.variance == "posterior"
    assert found.error < 1e-6


# --- the ODE -------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0.3, 1.0, 250.5])
def test_the_ode_gives_the_density_of_a_gaussian(start):
    images = gaussian_images(18)
    found = ode_likelihood(gaussian(), images, steps=96, start=start, exact=True)
    sigma = float(np.exp(-NOISY.lam_at(start)))
    exact = gaussian_bits((images.reshape(-1, 4) - OFFSET) / SCALE, sigma)
    np.testing.assert_allclose(found.per_image, exact, atol=1e-5)
    assert found.bits_per_dim == pytest.approx(exact.mean(), abs=1e-5)
    assert found.error == pytest.approx(exact.std(ddof=1) / math.sqrt(18), rel=1e-3)
    assert found.sigma == pytest.approx(SCALE * sigma)
    assert found.integration_error < 2e-4
    assert (found.what, found.start, found.steps, found.probes) == ("density", start, 96, None)


def test_from_the_last_time_the_density_is_the_priors():
    """No integration: x_T = sqrt(alpha_bar_T) y is N(0, I)."""
    schedule = Schedule.linear(1000)
    images = gaussian_images(2)
    found = ode_likelihood(gaussian(schedule), images, steps=2, start=1000, exact=True)
    bar = schedule.alpha_bar[-1]
    y = (images - OFFSET) / SCALE
    nats = (math.log(2 * math.pi) + bar * (y**2).reshape(2, 4).mean(1) - math.log(bar)) / 2
    np.testing.assert_allclose(found.per_image, nats / math.log(2) + math.log2(SCALE), rtol=1e-6)
    assert found.integration_error < 1e-6


def test_hutchinsons_trace_is_right_on_average():
    images = gaussian_images(128)
    exact = gaussian_bits((images.reshape(-1, 4) - OFFSET) / SCALE, float(np.exp(-NOISY.lam_at(1))))
    spreads = []
    for probes in (1, 4):
        found = ode_likelihood(gaussian(), images, steps=24, probes=probes)
        off = found.per_image - exact
        spreads.append(off.std(ddof=1))
        assert abs(off.mean()) < 3 * spreads[-1] / math.sqrt(128)
        assert found.probes == probes
    assert 0.05 < spreads[0] < 1
    assert 0.35 < spreads[1] / spreads[0] < 0.7  # a half


def test_the_ode_gives_the_density_of_a_mixture_with_order_4():
    centers, widths = [[-1.0, 0.2], [0.8, 0.5], [0.3, -0.9]], [0.3, 0.2, 0.4]
    codec = affine((1, 1, 2), "float32")
    x_0 = np.random.default_rng(0).uniform(-1.2, 1.2, (16, 2))
    v = np.square(widths) + float(np.exp(-2 * NOISY.lam_at(1)))
    squares = np.square(x_0[:, None] - np.array(centers)).sum(2)
    nats = -np.log((np.exp(-squares / (2 * v)) / (2 * math.pi * v)).mean(1))
    exact = nats / (2 * math.log(2)) + math.log2(SCALE)
    errors, told = [], []
    for steps in (16, 32, 64):
        found = ode_likelihood(
            mixture(centers, widths, codec=codec), to_images(x_0, codec), steps=steps, exact=True
        )
        errors.append(np.abs(found.per_image - exact).mean())
        told.append(found.integration_error)
    assert errors[-1] < 1e-4
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(orders > 3.3), (errors, orders)
    assert told[1] == pytest.approx(errors[0], rel=0.2)  # the error of half the steps
    assert told[2] == pytest.approx(errors[1], rel=0.2)


def test_even_bytes_cost_eight_bits():
    """Uniform on 0..255, made continuous, is uniform on [-1/2, 255 1/2): 8 bits away from the ends."""
    edge = 128 / 127.5

    def x0_hat(y, sigma, cond):
        low, high = (-edge - y) / sigma, (edge - y) / sigma
        density = (torch.exp(-(low**2) / 2) - torch.exp(-(high**2) / 2)) / math.sqrt(2 * math.pi)
        return y + sigma * density / (torch.special.ndtr(high) - torch.special.ndtr(low))

    images = np.random.default_rng(0).integers(40, 216, (16, 1, 2, 2)).astype(np.uint8)
    found = ode_likelihood(Ideal(NOISY, BYTES, x0_hat), images, steps=64, exact=True)
    np.testing.assert_allclose(found.per_image, 8, atol=1e-3)
    assert found.what == "density of whole numbers + uniform noise in [-1/2, 1/2)"


def test_whole_numbers_get_uniform_noise_and_floats_none():
    codec = affine((1, 2, 2), "int16", -50, 50)
    images = np.rint(gaussian_images(40, seed=1)).astype(np.int16)
    noise = {}
    for seed in (0, 1):
        ideal = gaussian(codec=codec)
        found = ode_likelihood(ideal, images, steps=48, exact=True, seed=seed)
        firsts = [x for x, t, _ in ideal.calls if t == pytest.approx(1)]
        assert len(firsts) == 6  # 3 batches, whole and half the steps
        x_0 = torch.cat(firsts[::2]).numpy()[:40].reshape(40, 4) / math.sqrt(NOISY.alpha_bar[1])
        noise[seed] = (SCALE * x_0 + OFFSET) - images.reshape(40, 4)
        assert np.abs(noise[seed]).max() < 0.5 + 1e-5
        assert noise[seed].mean() == pytest.approx(0, abs=4 / math.sqrt(12 * 160))
        assert noise[seed].std() == pytest.approx(1 / math.sqrt(12), rel=0.1)
        assert len(np.unique(noise[seed].round(4))) > 150
        exact = gaussian_bits(x_0, float(np.exp(-NOISY.lam_at(1))))
        np.testing.assert_allclose(found.per_image, exact, atol=1e-3)
    assert np.abs(noise[0] - noise[1]).min(0).max() > 0
    ideal = gaussian()
    ode_likelihood(ideal, images.astype(float), steps=2)
    x_0 = ideal.calls[0][0].numpy() / math.sqrt(NOISY.alpha_bar[1])
    np.testing.assert_allclose(SCALE * x_0 + OFFSET, images[:16], atol=1e-5)


# --- both ----------------------------------------------------------------------------------------


def test_each_image_goes_with_what_it_is_told():
    """Class c is N(m_c, 0.1^2) far from the others: right ones cost least, and telling none is one too."""
    names = {"class": ClassCondition(names=("a", "b", "c"))}
    means = torch.tensor([-2.0, 0.0, 2.0], dtype=torch.float64)

    def x0_hat(y, sigma, cond):
        told = cond["class"].double()
        m = told @ means[:, None] + 5 * (1 - told.sum(1, keepdim=True))  # 5 for whoever is not told
        return m + 0.01 / (0.01 + sigma**2) * (y - m)

    labels = np.arange(40) % 3
    x_0 = means.numpy()[labels][:, None] + 0.1 * np.random.default_rng(0).standard_normal((40, 4))
    ideal = Ideal(NOISY, FLOATS, x0_hat, names)
    exact = 0.5 * math.log2(2 * math.pi * 0.01) + math.log2(SCALE)
    exact += 0.5 / math.log(2)
    for measure in (variational_bound, ode_likelihood):

        def of(values, measure=measure, ideal=ideal):
            return measure(ideal, to_images(x_0), {"class": values})

        assert of(labels).bits_per_dim == pytest.approx(exact, abs=0.3)
        assert of((labels + 1) % 3).bits_per_dim > 50
        with pytest.raises(ValueError, match=r"whole number within 0\.\.2, one a sample, got \[-1, 0, 1"):
            of(labels - 1)
        with pytest.raises(ValueError, match="always needs to be told the class"):
            of([None] * 40)
    hidden = Ideal(NOISY, FLOATS, x0_hat, {"class": ClassCondition(names=("a", "b", "c"), dropout=0.1)})
    assert ode_likelihood(hidden, to_images(x_0), {"class": [None] * 40}).bits_per_dim > 50
    assert ode_likelihood(hidden, to_images(x_0)).bits_per_dim > 50


def test_an_image_is_the_same_in_any_batch():
    data, denoiser = tiny_data(20), tiny_denoiser("v")
    images, labels = data.images[:20], np.asarray(data.values["class"][:20])

    def bits(n, **how):
        return ode_likelihood(denoiser, images[:n], {"class": labels[:n]}, steps=2, **how).per_image

    whole = bits(20)
    for n in (2, 5, 18):
        assert np.array_equal(bits(n), whole[:n])
    assert not np.any(bits(20, seed=1) == whole)
    a, b, c = (
        variational_bound(denoiser, images, {"class": labels}, draws=2, seed=seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(a.terms, b.terms)
    assert not np.any(a.terms[:-1] == c.terms[:-1])


def test_a_networks_exact_trace_is_what_probes_say_on_average():
    data, denoiser = tiny_data(16, size=4), tiny_denoiser("v")
    denoiser.codec = fit_codec(data.space)
    with torch.no_grad():  # the weights are frozen and the caller wants no gradients
        of = [
            ode_likelihood(denoiser, data.images[:16], data.values, steps=2, **how).per_image
            for how in ({"exact": True}, {"probes": 8})
        ]
    off = of[1] - of[0]
    assert 0 < abs(off.mean()) < 3 * off.std(ddof=1) / 4 < 0.5
    assert all(p.grad is None for p in denoiser.parameters())


SHAPES = [(5,), (2, 64), (1, 4, 8, 8)]


def a_channel(shape, dtype="float64"):
    """A codec with another scale and offset for each channel."""
    return affine(
        shape, dtype, offset=tuple(range(shape[0])), scale=tuple(0.5 * 3**c for c in range(shape[0]))
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_samples_of_any_rank_have_their_densitys_bits(shape):
    """For N(0, 1) in model space, each channel scaled in its own way; exactly the closed form's."""
    codec, D = a_channel(shape), math.prod(shape)
    ideal = Ideal(NOISY, codec, lambda y, sigma, cond: y / (1 + sigma**2))
    x_0 = np.random.default_rng(0).standard_normal((20, *shape))
    images = codec.decode(x_0)
    found = ode_likelihood(ideal, images, steps=16)
    variance = 1 + float(np.exp(-2 * NOISY.lam_at(1)))
    nats = (np.square(x_0).reshape(20, -1).mean(1) / variance + math.log(2 * math.pi * variance)) / 2
    np.testing.assert_allclose(found.per_image, nats / math.log(2) + codec.log2_scale, atol=1e-3)
    sigma = np.exp(-NOISY.lam_at(1)) * np.array(codec.scale)
    np.testing.assert_allclose(found.sigma, sigma if len(set(codec.scale)) > 1 else sigma[0])
    bound = variational_bound(ideal, images, draws=3)
    assert found.bits_per_dim - 0.05 < bound.bits_per_dim < found.bits_per_dim + 0.3 + 5 / D
    assert len(bound.terms) == NOISY.T + 1


@pytest.mark.parametrize("shape", SHAPES)
def test_whole_numbers_of_any_rank_cost_their_bins_mass(shape):
    """With a denoiser that knows them, and channels of other scales: L_0 is the mean of the closed form's."""
    codec, schedule = a_channel(shape, "int32"), Schedule.cosine(2)
    guess = torch.from_numpy(codec.encode(np.zeros((1, *shape))).astype(np.float64)).flatten(1)
    ideal = Ideal(schedule, codec, lambda y, sigma, cond: guess + 0 * y)
    found = variational_bound(ideal, np.zeros((3, *shape), np.int32), draws=2)
    std = sigma_1(schedule) * np.array(codec.scale)
    bits = [-math.log2(math.erf(0.5 / one / math.sqrt(2))) for one in std]
    assert found.decoder == pytest.approx(np.mean(bits), rel=1e-4)


def test_two_conditions_at_once_each_say_their_part():
    """The mean of a sample is the sum of what both say; without one of them it costs much more."""
    names = {
        "place": ClassCondition(names=("a", "b"), dropout=0.1),
        "time": ClassCondition(names=("x", "y", "z"), dropout=0.1),
    }
    means = {"place": torch.tensor([-1.0, 1.0]).double(), "time": torch.tensor([-3.0, 0.0, 3.0]).double()}

    def x0_hat(y, sigma, cond):
        m = sum(cond[name].double() @ means[name][:, None] for name in means)
        return m + 0.01 / (0.01 + sigma**2) * (y - m)

    ideal, rng = Ideal(NOISY, FLOATS, x0_hat, names), np.random.default_rng(0)
    values = {"place": rng.integers(0, 2, 36), "time": rng.integers(0, 3, 36)}
    x_0 = sum(means[name].numpy()[values[name]] for name in means)[:, None] + 0.1 * rng.standard_normal(
        (36, 4)
    )
    entropy = 0.5 * math.log2(2 * math.pi * math.e * 0.01) + math.log2(SCALE)
    for measure in (variational_bound, ode_likelihood):
        assert measure(ideal, to_images(x_0), values).bits_per_dim == pytest.approx(entropy, abs=0.3)
        for name in names:
            assert measure(ideal, to_images(x_0), {**values, name: [None] * 36}).bits_per_dim > 20


def test_the_likelihood_says_what_its_bits_compare_with():
    images = gaussian_images(2)
    found = ode_likelihood(gaussian(), images, steps=2)
    assert f"standard deviation {found.sigma:.3g} in the data's units" in found.note
    assert "only between models of one schedule" in found.note


def test_progress_counts_to_the_end():
    for measure in (variational_bound, ode_likelihood):
        seen = []
        measure(gaussian(Schedule.linear(20)), gaussian_images(18), progress=lambda *at: seen.append(at))
        total = len(seen)
        assert seen == [(i + 1, total) for i in range(total)]
        assert total > 2


@pytest.mark.parametrize("measure", [variational_bound, ode_likelihood])
@pytest.mark.parametrize(
    ("codec", "images", "message"),
    [
        (
            FLOATS,
            np.zeros((3, 2, 2)),
            r"2 images or more of shape \(1, 2, 2\), in one array, got \(3, 2, 2\)",
        ),
        (FLOATS, np.zeros((1, 1, 2, 2)), r"got \(1, 1, 2, 2\)"),
        (FLOATS, np.full((2, 1, 2, 2), np.nan), "images must be finite, got 8 numbers that are not"),
        (FLOATS, np.full((2, 1, 2, 2), "a"), "floating-point numbers, got <U1"),
        (
            BYTES,
            np.full((2, 1, 2, 2), 0.5),
            r"whole numbers within 0 to 255, got numbers from 0.5 to 0.5; give",
        ),
        (BYTES, np.full((2, 1, 2, 2), -1), "got numbers from -1 to -1"),
        (BYTES, np.full((2, 1, 2, 2), 256), "got numbers from 256 to 256"),
    ],
)
def test_images_that_are_not_the_models_are_refused(measure, codec, images, message):
    with pytest.raises(ValueError, match=message):
        measure(gaussian(codec=codec), images)


@pytest.mark.parametrize(
    ("measure", "arguments", "message"),
    [
        (variational_bound, {"draws": 1}, "draws must be a whole number of at least 2, got 1"),
        (variational_bound, {"variance": "big"}, "known: posterior, beta"),
        (variational_bound, {"seed": -1}, "seed must be"),
        (variational_bound, {"values": {"class": [0, 1]}}, "unknown condition 'class'; known: none"),
        (ode_likelihood, {"values": {"class": [0, 1]}}, "unknown condition 'class'; known: none"),
        (ode_likelihood, {"seed": 0.5, "exact": True}, "seed must be"),
        (ode_likelihood, {"steps": 1}, "steps must be a whole number of at least 2, got 1"),
        (ode_likelihood, {"steps": True}, "steps must be"),
        (ode_likelihood, {"probes": 0}, "probes must be a whole number of at least 1"),
        (ode_likelihood, {"start": 0}, "start must be a time above 0 and at most T = 1000, got 0"),
        (ode_likelihood, {"start": 1000.5}, "got 1000.5"),
        (ode_likelihood, {"start": float("nan")}, "got nan"),
        (ode_likelihood, {"exact": True, "probes": 2}, "an exact trace takes no probes"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(measure, arguments, message):
    ideal = gaussian()
    with pytest.raises(ValueError, match=message):
        measure(ideal, gaussian_images(2), **arguments)
    assert not ideal.calls


def test_a_model_that_is_always_told_the_class_wants_it():
    denoiser, images = tiny_denoiser(), tiny_data().images
    for values, message in (
        (None, "always needs to be told the class"),
        ({"class": [0]}, "class needs a value for each of 40 samples, got 1"),
        ({"class": np.full(40, 0.5)}, r"whole number within 0\.\.1, one a sample, got \[0\.5"),
    ):
        with pytest.raises(ValueError, match=message):
            variational_bound(denoiser, images, values)
