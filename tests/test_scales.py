"""The data's scales are measured as they are, and sampling keeps detail of every one of them."""

from __future__ import annotations

import numpy as np
import pytest

from alphabar import load, prepare
from alphabar.data.dataset import spread
from alphabar.runs import Run
from alphabar.samplers import DEFAULT_EVALUATIONS, make_plan, scales
from alphabar.schedules import Schedule
from alphabar.theory.scales import HALF_LOST, USUAL, Scales, half_lost, scales_of
from alphabar.training.fitted import config_for, fitted_to
from tiny import tiny_config, tiny_data

RNG = np.random.default_rng(0)


def smooth(n, side):
    """Waves over a picture, and its brightness: no detail of the size of a pixel."""
    y, x = np.mgrid[0:side, 0:side] / side
    a, b, c = RNG.uniform(-1, 1, (3, n, 1, 1, 1))
    return 0.5 * np.sin(2 * np.pi * (a * x + b * y)) + 0.3 * c


def energy_kept(schedule, plan, sd):
    """The variance of each mode of standard deviation sd (m,) that a plan gives with the ideal denoiser of
    N(0, sd^2), over sd^2: exact, by the response to each noise."""
    sd = np.asarray(sd, np.float64)
    x, seen = np.zeros((len(sd), plan.num_evaluations + 1)), []
    x[:, 0] = 1
    for k, bar in enumerate(plan.alpha_bar[:-1]):
        seen.insert(0, (np.sqrt(bar) * sd**2 / (bar * sd**2 + 1 - bar))[:, None] * x)
        x = plan.A[k] * x + sum(b * h for b, h in zip(plan.B[k], seen))
        x[:, k + 1] += plan.C[k]
    return np.square(x).sum(1) / sd**2


@pytest.mark.parametrize("side", [8, 32])
@pytest.mark.parametrize("sd", [0.02, 0.06, 0.1])
def test_grain_is_measured_whatever_it_lies_on(side, sd):
    x_0 = smooth(400, side)
    x_0 = x_0 + sd * RNG.standard_normal(x_0.shape)
    assert scales_of(x_0).finest == pytest.approx(sd, rel=0.12)


def test_the_coarsest_is_that_of_the_covariance():
    x_0 = 0.1 * RNG.standard_normal((500, 2, 6, 6)) + 0.5 * RNG.standard_normal((500, 1, 1, 1))
    assert scales_of(x_0).coarsest == pytest.approx(0.5 * np.sqrt(72), rel=0.1)


def test_vectors_series_and_volumes_have_scales_too():
    turned = np.linalg.qr(RNG.standard_normal((3, 3)))[0]
    vectors = RNG.standard_normal((400, 3)) * [2, 0.5, 0.05] @ turned
    assert scales_of(vectors) == pytest.approx((2, 0.05), rel=0.15)
    for shape in [(40, 1, 300), (40, 2, 9, 9, 9), (40, 1, 2, 500)]:
        assert scales_of(0.3 * RNG.standard_normal(shape)).finest == pytest.approx(0.3, rel=0.05)
    fine, finer = 0.3 * RNG.standard_normal((40, 1, 20, 20)), 0.02 * RNG.standard_normal((40, 1, 20, 20))
    assert scales_of(np.concatenate([fine, finer], 1)).finest == pytest.approx(0.02, rel=0.05)
    assert scales_of(np.ones((5, 1, 8, 8))) == USUAL


@pytest.mark.parametrize("name", ["sigmoid", "cosine", "linear"])
@pytest.mark.parametrize("finest", [0.02, 0.03, 0.05, 0.1, 0.3])
def test_by_default_detail_of_every_scale_keeps_nine_tenths_of_its_energy(name, finest):
    """And gains less than a quarter; `flow`, the default before, left 3 % of the energy of 0.02."""
    schedule = getattr(Schedule, name)(1000)
    sd = np.geomspace(finest, 8, 50)
    kept = energy_kept(schedule, make_plan(schedule, scales=Scales(8, finest)), sd)
    assert kept.min() >= 0.9 and kept.max() < 1.25, kept  # noqa: PT018
    assert energy_kept(schedule, make_plan(schedule, spacing="flow"), [0.02]) < 0.05
    more = energy_kept(schedule, make_plan(schedule, evaluations=50, scales=Scales(8, finest)), sd)
    assert more.min() >= 0.94 and more.max() < 1.15, more  # noqa: PT018


def test_few_evaluations_are_spent_on_coarse_scales():
    schedule = Schedule.cosine(1000)
    for n, finest in ((4, 0.4), (8, 0.4), (10, 8 / np.exp(3.2)), (20, 0.05)):
        times = make_plan(schedule, evaluations=n, scales=Scales(8, 0.05)).times
        assert times.tolist() == pytest.approx(scales(schedule, 1000, n, Scales(8, finest)).tolist())


def test_a_spectrum_like_that_of_photographs_is_kept():
    """Standard deviations from 9 at k = 0 to 0.03 at the corner, falling as CIFAR-10's do."""
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32))).ravel()
    sd = 9 * np.exp(-np.log(300) * (k / k.max()) ** 0.35)
    schedule = Schedule.sigmoid(1000)
    for evaluations, least in {8: 0.02, 10: 0.03, DEFAULT_EVALUATIONS: 0.9, 50: 0.9}.items():
        plan = make_plan(schedule, evaluations=evaluations, scales=Scales(sd.max(), sd.min()))
        kept = energy_kept(schedule, plan, sd)
        bands = [np.average(kept[part], weights=sd[part] ** 2) for part in np.array_split(np.argsort(k), 8)]
        assert min(bands) >= least, (evaluations, bands)


def test_what_has_no_fine_detail_gets_no_visible_noise():
    """A standard deviation below one level of 255, even where grain of 2.5 levels is kept."""
    for name in ("sigmoid", "cosine", "linear"):
        schedule = getattr(Schedule, name)(1000)
        for finest in (0.02, 0.05, 0.1):
            plan = make_plan(schedule, scales=Scales(8, finest))
            assert np.sqrt(energy_kept(schedule, plan, [1e-4])) * 1e-4 < 2 / 255


def test_a_model_knows_the_scales_of_its_data(tmp_path):
    data = tiny_data()
    list(Run(tmp_path / "run", data, tiny_config(images=8)).train())
    model = load(tmp_path / "run", "cpu")
    assert model.scales == scales_of(model.codec.encode(data.images[spread(data.training, 512)]))


def test_half_of_the_variance_is_lost_where_the_best_linear_denoiser_says():
    x_0 = RNG.standard_normal((4000, 3)) * [4, 1, 0.5]
    sigma, own = half_lost(x_0), np.linalg.eigvalsh(np.cov(x_0.T))
    assert (own * sigma**2 / (own + sigma**2)).sum() == pytest.approx(own.sum() / 2, rel=1e-3)
    assert half_lost(np.ones((5, 1, 8, 8))) == HALF_LOST


@pytest.mark.parametrize("name", ["sigmoid", "cosine"])
def test_a_shifted_schedule_has_so_many_times_the_noise_at_half_of_its_times(name):
    usual, shifted = getattr(Schedule, name)(500), getattr(Schedule, name)(500, shift=7.0)
    times = np.exp(usual.lam[1:] - shifted.lam[1:])
    np.testing.assert_allclose(times, np.linspace(1, 13, 501)[1:], rtol=1e-9)
    assert times[249] == pytest.approx(7)
    assert Schedule.from_dict(shifted.to_dict()).alpha_bar.tolist() == shifted.alpha_bar.tolist()
    for shift in (0, 0.9, 1e6, float("nan")):
        with pytest.raises(ValueError, match=r"shift must lie within 1 and 1000"):
            getattr(Schedule, name)(500, shift=shift)


def test_the_schedule_is_shifted_for_what_shows_through_much_noise_and_for_nothing_else():
    """Smooth volumes, where the whole of the shape is settled long before a photograph's would be."""
    waves = np.linspace(0, 1, 16)
    bright = RNG.uniform(-1, 1, (40, 1, 1, 1)) * np.cos(RNG.uniform(0, 3, (40, 1, 1, 1)) * waves)
    volumes = np.broadcast_to(bright[:, :, None], (40, 16, 16, 1, 16)).reshape(40, 16, 16, 16)
    data = prepare(volumes.astype(np.float32), layout="volume", holdout=0.0)
    found = config_for(data, settings={"network": {"channels": 8}})
    lost = half_lost(fitted_to(data).codec.encode(data.images[:]))
    assert found.schedule["shift"] == pytest.approx(lost / 5, rel=0.05)
    assert found.schedule["shift"] > 2
    assert config_for(data, settings={"schedule": {"T": 500}}).schedule["shift"] == found.schedule["shift"]
    assert config_for(data, settings={"schedule": {"shift": 3}}).schedule["shift"] == 3
    assert config_for(data, "ddpm").schedule["name"] == "linear"
    assert config_for(tiny_data()).schedule["shift"] == 1
