"""The error by noise level, its baselines, and the check of conditioning: closed forms, for any rank."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from alphabar.data import ClassCondition, Dataset, Space, spread
from alphabar.evaluation import baselines as baselines_module
from alphabar.evaluation import noise_levels as noise_levels_module
from alphabar.evaluation.baselines import (
    EmpiricalDenoiser,
    GaussianDenoiser,
    cosine_transform,
    inverse_cosine_transform,
)
from alphabar.evaluation.conditioning import check_conditioning
from alphabar.evaluation.noise_levels import (
    error_by_noise_level,
    level_times,
    model_errors,
    same_conditions,
    trained_on,
)
from alphabar.model import Codec, Denoiser
from alphabar.theory.gaussian import q_sample
from alphabar.theory.schedule import Schedule
from tiny import tiny_data, tiny_denoiser

RNG = np.random.default_rng


class Nothing(torch.nn.Module):
    def forward(self, x, c_noise, cond):
        raise AssertionError("the ideal denoiser needs no network")


class Ideal(Denoiser):
    """The ideal denoiser of N(m, std^2 I), with m the sum of what its conditions say: `means` of each."""

    def __init__(self, data, std=0.4, mean=0.3, conditions=None, means=None):
        super().__init__(Nothing(), Schedule.linear(100), "x0", plain_codec(data), conditions)
        self.std, self.mean, self.means = std, mean, means or {}

    def forward(self, x_t, t, cond=None):
        m = self.mean
        for name, of in self.means.items():
            m = m + (cond[name] @ torch.tensor(of)).view(-1, *[1] * (x_t.ndim - 1))
        bar = torch.tensor(np.broadcast_to(self.schedule.alpha_bar_at(t), len(x_t)).copy(), dtype=x_t.dtype)
        bar = bar.view(-1, *[1] * (x_t.ndim - 1))
        return m + bar.sqrt() * self.std**2 / (bar * self.std**2 + 1 - bar) * (x_t - bar.sqrt() * m)


def plain(images, fingerprint, **told):
    """A data set of floats without bounds."""
    return Dataset(
        images, Space(images.shape[1:], str(images.dtype), None, None), fingerprint=fingerprint, **told
    )


def plain_codec(data):
    """Model space is data space."""
    return Codec(data.space, 0.0, 1.0)


def gaussian_data(shape=(1, 2, 3), n=3000, std=0.4):
    images = (0.3 + std * RNG(3).standard_normal((n, *shape))).astype(np.float32)
    return plain(images, f"gaussian {shape}")


SHAPES = [(5,), (2, 64), (1, 4, 8, 8), (1, 2, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_errors_of_an_ideal_model_are_the_closed_form_and_the_gaussian_fits(shape):
    data = gaussian_data(shape)
    found = error_by_noise_level(Ideal(data), data, n=150)
    bar = Schedule.linear(100).alpha_bar_at(found.times)
    exact = 0.16 * (1 - bar) / (bar * 0.16 + 1 - bar)
    assert np.abs(np.array(found.held_out) / exact - 1).max() < 0.25
    assert np.all(np.abs(np.array(found.held_out) - exact) < 4.5 * np.array(found.error))
    np.testing.assert_allclose(found.gaussian, found.held_out, rtol=0.1 if shape == (1, 4, 8, 8) else 0.03)
    assert all(a < 1.02 * b for a, b in zip(found.empirical, found.training))
    assert found.empirical[0] < 0.5 * found.training[0]


def test_a_samples_error_is_a_function_of_seed_sample_and_level(monkeypatch):
    data, model = tiny_data(60), tiny_denoiser()
    whole = model_errors(model, data, np.arange(0, 60, 3))
    assert whole.shape == (len(level_times(model.schedule)), 20)
    np.testing.assert_allclose(model_errors(model, data, np.arange(6, 30, 6)), whole[:, 2:10:2], rtol=1e-4)
    assert np.abs(model_errors(model, data, np.arange(0, 60, 3), seed=1) - whole).min() > 0
    monkeypatch.setattr(noise_levels_module, "AT_ONCE", 3 * len(whole) * 64)
    np.testing.assert_allclose(model_errors(model, data, np.arange(0, 60, 3)), whole, rtol=1e-4)
    found = error_by_noise_level(model, data, n=10)
    np.testing.assert_allclose(
        found.training, model_errors(model, data, spread(data.training, 10)).mean(1), rtol=1e-4
    )


def test_level_times_span_the_noise_of_any_schedule():
    for schedule in (
        Schedule.linear(1000),
        Schedule.cosine(1000),
        Schedule.sigmoid(300),
        Schedule.linear(100),
    ):
        times = level_times(schedule)
        std = np.sqrt(1 - schedule.alpha_bar_at(times))
        assert len(times) >= 6
        assert std[0] < 0.12
        assert std[-1] > 0.9
        assert times == sorted(times)


def test_the_gaussian_fit_shrinks_where_pictures_are_few():
    """With fewer pictures than dimensions the fit stays useful on fresh ones."""
    rng = RNG(4)
    images = rng.standard_normal((40, 1, 8, 8)).astype(np.float32)
    data = plain(images, "few")
    schedule = Schedule.linear(100)
    fit = GaussianDenoiser(data, plain_codec(data), schedule)
    x_0 = rng.standard_normal((200, 1, 8, 8))
    x_t = q_sample(schedule, x_0, 50, rng.standard_normal(x_0.shape))
    error = ((fit(x_t, 50) - x_0) ** 2).mean()
    assert error < 1.15 * (1 - schedule.alpha_bar[50])  # the ideal one's, for N(0, 1)


def cosines(n):
    """The orthonormal cosine transform of n numbers (DCT-II) as a matrix."""
    k, i = np.ogrid[:n, :n]
    matrix = np.sqrt(2 / n) * np.cos(np.pi * k * (2 * i + 1) / (2 * n))
    matrix[0] /= np.sqrt(2)
    return matrix


@pytest.mark.parametrize("shape", [(5,), (2, 7), (3, 8, 5), (1, 4, 1, 6), (1, 2, 3, 4, 5)])
def test_the_cosine_transform_is_the_matrix_along_every_side(shape):
    x = RNG(0).standard_normal((3, *shape))
    expected = x
    for axis, side in enumerate(shape[1:], 2):
        matrix = cosines(side)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(side), atol=1e-12)
        expected = np.moveaxis(np.moveaxis(expected, axis, -1) @ matrix.T, -1, axis)
    np.testing.assert_allclose(cosine_transform(x), expected, atol=1e-12)
    np.testing.assert_allclose(inverse_cosine_transform(cosine_transform(x)), x, atol=1e-12)


@pytest.mark.parametrize("sides", [(8, 6), (48,), (4, 3, 4)])
def test_the_gaussian_fit_of_large_samples_is_the_ideal_one_where_cosines_are_independent(sides, monkeypatch):
    """For samples whose cosine transform has independent entries; and nearly the whole covariance's fit."""
    rng, schedule = RNG(6), Schedule.linear(100)
    std = 1 / (1 + np.indices(sides).sum(0))
    images = inverse_cosine_transform(std * rng.standard_normal((6000, 1, *sides))).astype(np.float32)
    data, x_0 = plain(images[:4000], "cosines"), images[4000:]
    whole = GaussianDenoiser(data, plain_codec(data), schedule)
    monkeypatch.setattr(baselines_module, "GAUSSIAN_DIMENSIONS", 10)
    by_cosines = GaussianDenoiser(data, plain_codec(data), schedule)
    np.testing.assert_allclose(by_cosines.values[0], std**2, rtol=0.12)
    x_t = q_sample(schedule, x_0, 40, rng.standard_normal(x_0.shape))
    ours, theirs = (((fit(x_t, 40) - x_0) ** 2).mean() for fit in (by_cosines, whole))
    bar = schedule.alpha_bar[40]
    exact = (std**2 * (1 - bar) / (bar * std**2 + 1 - bar)).mean()
    assert ours == pytest.approx(exact, rel=0.05)
    assert ours == pytest.approx(theirs, rel=0.02)
    times = np.resize([20, 40, 60], len(x_t))
    for fit in (by_cosines, whole):
        np.testing.assert_allclose(fit(x_t, times)[1::3], fit(x_t[1::3], 40), atol=1e-9)


TOLD = {"class": ClassCondition(names=("left", "right")), "odd": ClassCondition(names=("even", "odd"))}


@pytest.mark.parametrize("names", [(), ("class",), ("class", "odd")])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_empirical_denoiser_is_the_posterior_mean_over_samples_that_were_told_the_same(
    shape, names, monkeypatch
):
    monkeypatch.setattr(baselines_module, "BLOCK", 7)  # so that blocks are put together
    rng, schedule = RNG(5), Schedule.linear(100)
    values = {"class": rng.integers(0, 2, 30), "odd": np.arange(30) % 2}
    conditions, values = ({name: table[name] for name in names} for table in (TOLD, values))
    data = plain(
        rng.standard_normal((30, *shape)).astype(np.float32), "", conditions=conditions, values=values
    )
    x_0 = data.images[data.training[:5]].astype(np.float64)
    x_t = q_sample(schedule, x_0, 40, rng.standard_normal(x_0.shape))
    told = data.values_at(data.training[:5], conditions)
    empirical = EmpiricalDenoiser(data, plain_codec(data), schedule, conditions)
    found = empirical(x_t, 40, told)
    clean, bar = data.images[data.training].astype(np.float64), schedule.alpha_bar[40]
    for i in range(5):
        distance = ((x_t[i] - bar**0.5 * clean) ** 2).reshape(len(clean), -1).sum(1)
        weight = np.exp(-(distance - distance.min()) / (2 * (1 - bar)))
        for name in names:
            weight = weight * (values[name][data.training] == told[name][i])
        expected = np.tensordot(weight, clean, 1) / weight.sum()
        np.testing.assert_allclose(found[i], expected, atol=1e-6)
    mixed = empirical(x_t, np.array([20, 40, 60, 80, 99]), told)
    np.testing.assert_allclose(mixed[1], found[1], atol=1e-12)
    untold = empirical(x_t, 40, {name: [None] * 5 for name in names})
    np.testing.assert_allclose(untold, empirical(x_t, 40), atol=1e-12)  # nobody was told nothing: all count


def test_a_model_that_is_told_two_things_is_measured_with_both():
    """Each sample's mean is the sum of what two conditions say; a model told both errs as the closed form."""
    rng, means = RNG(7), {"class": [-1.0, 1.0], "odd": [-0.5, 0.5]}
    values = {"class": rng.integers(0, 2, 2000), "odd": rng.integers(0, 2, 2000)}
    centers = sum(np.array(means[name])[values[name]] for name in means)
    images = (centers[:, None, None] + 0.4 * rng.standard_normal((2000, 2, 8))).astype(np.float32)
    data = plain(images, "two conditions", conditions=TOLD, values=values)
    model = Ideal(data, mean=0.0, conditions=TOLD, means=means)
    found = error_by_noise_level(model, data, n=100)
    bar = model.schedule.alpha_bar_at(found.times)
    exact = 0.16 * (1 - bar) / (bar * 0.16 + 1 - bar)
    assert np.all(np.abs(np.array(found.held_out) - exact) < 4.5 * np.array(found.error))
    assert found.gaussian[-1] > 2 * found.held_out[-1]  # it isn't told where a sample's mean is
    assert all(e < 1.02 * t for e, t in zip(found.empirical, found.training))


def test_data_are_the_models_own_if_fingerprint_and_conditions_say_so():
    data, model = tiny_data(), tiny_denoiser()
    assert same_conditions(model, data) == ""
    assert same_conditions(tiny_denoiser(dropout=0.1), data) == ""
    assert same_conditions(tiny_denoiser(classes=False), data) == ""
    assert same_conditions(model, tiny_data(classes=False)) == (
        "the model is told the class (left, right), and the data have none"
    )
    assert trained_on(model, data)
    model.about["data_fingerprint"] = "others"
    assert not trained_on(model, data)


# --- is what is told used? -----------------------------------------------------------------------


def told_twice(shape, n=60):
    """Samples whose mean is a matter of their class; that they are even or odd says nothing."""
    rng = RNG(8)
    values = {"class": rng.integers(0, 2, n), "odd": np.arange(n) % 2}
    images = np.array([-1.0, 1.0])[values["class"]].reshape(-1, *[1] * len(shape))
    images = (images + 0.4 * rng.standard_normal((n, *shape))).astype(np.float32)
    data = plain(images, "told twice", conditions=TOLD, values=values)
    means = {"class": [-1.0, 1.0], "odd": [0.0, 0.0]}
    return data, Ideal(data, mean=0.0, conditions=TOLD, means=means)


@pytest.mark.parametrize("shape", [(5,), (2, 64), (1, 4, 8, 8)])
def test_a_condition_that_matters_is_used_and_one_that_says_nothing_is_not(shape):
    data, model = told_twice(shape)
    used = check_conditioning(model, data.images, data.values, "class")
    assert used.used
    assert used.name == "class"
    assert used.n == 60
    assert used.gain[-1] > used.gain[0] > -0.01
    ignored = check_conditioning(model, data.images, data.values, "odd")
    assert not ignored.used
    assert ignored.total == ignored.z == 0
    # at t of the last level, told wrong: (x_0 - x0_hat)^2 is larger by (2 (1 - gain sqrt(bar)))^2
    bar = model.schedule.alpha_bar_at(used.times[-1])
    gain = bar**0.5 * 0.16 / (bar * 0.16 + 1 - bar)
    right = 0.16 * (1 - bar) / (bar * 0.16 + 1 - bar)
    assert used.gain[-1] == pytest.approx((2 * (1 - gain * bar**0.5)) ** 2 / right, rel=0.15)


def test_samples_that_are_not_told_are_left_out_of_the_check():
    data, model = told_twice((5,))
    hidden = {name: dataclasses.replace(c, dropout=0.5) for name, c in TOLD.items()}
    model.conditions = hidden
    some = [None if i < 20 else v for i, v in enumerate(data.values["class"])]
    assert check_conditioning(model, data.images, {**data.values, "class": some}, "class").n == 40


def test_the_check_of_conditioning_draws_samples_of_its_own_where_none_are_given():
    found = check_conditioning(tiny_denoiser(), n=16)
    assert found.n == 16
    assert found.name == "class"
    assert np.isfinite(found.total)


def test_what_cannot_be_checked_is_said():
    data, model = told_twice((5,))
    for arguments, message in (
        ((data.images, data.values), "say which condition to check: class, odd"),
        ((data.images, data.values, "clas"), "unknown condition 'clas'; known: class, odd; did you mean"),
        ((data.images, None, "class"), "both images and the values of their conditions, or neither"),
        (
            (data.images, {"odd": data.values["odd"]}, "class"),
            r"the class of each, got \(60, 5\) and none values",
        ),
        ((data.images[:, :4], data.values, "class"), r"of shape \(5,\) .* got \(60, 4\)"),
        ((data.images, {**data.values, "odd": [1] * 60}, "odd"), "so 2 must differ; all 60 have the same"),
        ((None, None, "class", 1), "2 samples or more, got n = 1"),
    ):
        with pytest.raises(ValueError, match=message):
            check_conditioning(model, *arguments)
    with pytest.raises(ValueError, match="a model with conditions, and this one has none"):
        check_conditioning(tiny_denoiser(classes=False))
