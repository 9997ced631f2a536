"""Each check of `diagnose` sees its own fault, and not a run without it. Whole runs: benchmarks/faults.py."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from alphabar import Dataset, DataSpec, Denoiser, Run, Schedule
from alphabar.evaluation import diagnose as look
from alphabar.evaluation.case import Case
from alphabar.evaluation.diagnose import (
    CHECKS,
    average_too_long,
    broken_data,
    conditions_ignored,
    memorised,
    non_finite,
    rate_too_high,
    rate_too_low,
    saturated,
    schedule_ends,
    tinted,
    under_trained,
    value_range,
)
from alphabar.evaluation.levels import Levels, levels
from tiny import tiny_config, tiny_data, tiny_denoiser

RNG = np.random.default_rng(0)
FINE = Levels(
    [1, 50, 100], 64, [0.01, 0.1, 0.5], [0.01, 0.1, 0.5], [0.001] * 3, [0.012, 0.2, 0.55], [0, 0, 0]
)


def case(denoiser=None, data=None, **given):
    """A run of which this much is known; all else is fine."""
    made = object.__new__(Case)
    data = data or tiny_data(200)
    known = {
        "denoiser": denoiser or tiny_denoiser(),
        "data": data,
        "config": {"lr": 2e-3},
        "metrics": [{"loss": 1 / (1 + k / 20)} for k in range(200)],
        "levels": FINE,
        "raw": None,
        "n": 32,
        "seed": 0,
        "run": None,
    }
    made.__dict__.update({**known, **given})
    return made


def of_schedule(schedule):
    denoiser = tiny_denoiser()
    return Denoiser(denoiser.net, schedule, "eps", denoiser.data)


def test_weights_that_are_not_finite():
    assert non_finite(case()) is None
    denoiser = tiny_denoiser()
    denoiser.net.conv_in.weight.data[0, 0, 0, 0] = float("inf")
    found = non_finite(case(denoiser))
    assert found.cause == "the weights are not finite"
    assert "conv_in.weight" in found.evidence


def test_data_that_are_not_pictures():
    assert broken_data(case()) is None
    plain, doubles = tiny_data(100), tiny_data(100)
    plain.images[::2] = 7
    assert "47% are all one value" in broken_data(case(data=plain)).evidence
    doubles.images[:60] = doubles.images[0]
    assert "doubles" in broken_data(case(data=doubles)).evidence


def test_values_that_the_model_scales_wrongly():
    assert value_range(case()) is None
    data = tiny_data()
    unit = Dataset((data.images / 255).astype(np.float32), data.labels, data.spec, "unit")
    assert "reach from -1 to -0.99" in value_range(case(data=unit)).evidence
    wide = Dataset(data.images.astype(np.int64) * 257, data.labels, data.spec, "wide")
    assert value_range(case(data=wide)).cause == "value range mismatch"


def test_schedules_that_end_wrongly():
    assert schedule_ends(case(of_schedule(Schedule.linear(1000)))) is None
    assert schedule_ends(case(of_schedule(Schedule.sigmoid(1000)))) is None
    early = schedule_ends(case(of_schedule(Schedule.linear(20, 1e-4, 0.02))))
    assert early.cause == "the schedule stops before the picture is gone"
    few = schedule_ends(case(of_schedule(Schedule.sigmoid(3))))
    assert few.cause == "the schedule has too few steps"


def test_rates():
    worse = dataclasses.replace(FINE, held_out=[0.02, 0.4, 0.9])
    assert rate_too_high(case()) is None
    assert rate_too_low(case()) is None
    jump = [{"loss": 0.1}] * 150 + [{"loss": 1.0}] * 50
    assert "was 0.1 at its best and is 1 at the end" in rate_too_high(case(metrics=jump)).evidence
    assert rate_too_high(case(levels=worse)) is None
    assert rate_too_high(case(levels=worse, config={"lr": 0.5})).remedy.endswith("--lr 0.1")
    nowhere = dataclasses.replace(FINE, held_out=[math.nan] * 3)
    assert "at 3 of 3" in rate_too_high(case(levels=nowhere, config={"lr": 0.5})).evidence
    assert "at 3 of 3 noise levels" in rate_too_low(case(levels=worse, config={"lr": 1e-5})).evidence


def test_error_where_a_gaussian_fit_has_less():
    assert under_trained(case()) is None
    high = dataclasses.replace(FINE, held_out=[0.01, 0.1, 0.9])
    low = dataclasses.replace(FINE, held_out=[0.05, 0.1, 0.5])
    assert under_trained(case(levels=high)).cause == "under-trained at high noise"
    assert under_trained(case(levels=low)).cause == "under-trained at low noise"


def test_an_average_behind_its_weights():
    good, bad = tiny_denoiser("x0"), tiny_denoiser("x0", seed=1)
    with torch.no_grad():
        for parameter in good.net.conv_out.parameters():
            parameter.zero_()  # x0_hat = 0
        bad.net.conv_out.bias += 3
    of_good, of_bad = (levels(model, tiny_data(200), 32) for model in (good, bad))
    assert case(raw=good).raw_error == of_good.fresh
    assert average_too_long(case(good, levels=of_good)) is None
    assert average_too_long(case(good, levels=of_good, raw=good)) is None
    assert average_too_long(case(good, levels=of_good, raw=bad)) is None
    config = {"ema_halflife": 5e6, "ema_ramp": 1.0}
    found = average_too_long(case(bad, levels=of_bad, raw=good, config=config))
    assert "5,000,000 images" in found.evidence


def test_classes_that_change_nothing():
    class ByClass(torch.nn.Module):
        num_classes = 2

        def forward(self, x, c_noise, label):
            return x + 0.5 * (2 * label.float() - 1)[:, None, None, None] * self.size

    net = ByClass()
    data = tiny_data(200)
    data.images[data.labels == 1] = 180
    data.images[data.labels == 0] = 60
    denoiser = Denoiser(net, Schedule.linear(100), "x0", data.spec)
    net.size = 1.0
    assert conditions_ignored(case(denoiser, data)) is None
    net.size = 0.0
    assert "(z = " in conditions_ignored(case(denoiser, data)).evidence
    assert conditions_ignored(case(data=tiny_data(200, classes=False))) is None


def test_samples_that_are_training_pictures():
    data = tiny_data(200)
    fresh = data.spec.to_model(tiny_data(64, seed=9).images)
    copies = data.spec.to_model(data.images[data.training[:64]])
    assert memorised(case(data=data, samples=fresh)) is None
    assert "p = " in memorised(case(data=data, samples=copies)).evidence


def colour(n, mean=(0.0, 0.0, 0.0)):
    return (0.2 * RNG.standard_normal((n, 3, 8, 8)) + np.reshape(mean, (3, 1, 1))).astype(np.float32)


def test_tint_beyond_the_draw_of_samples():
    assert tinted(case(samples=colour(64), pictures=colour(500))) is None
    found = tinted(case(samples=colour(64, (0, 0.2, 0)), pictures=colour(500)))
    assert "channel 1" in found.evidence
    slight = tinted(case(samples=colour(64, (0, 0.02, 0)), pictures=colour(500)))
    assert slight is None  # certain, but nobody would see it


def test_saturation_beyond_the_datas():
    assert saturated(case(samples=colour(64), pictures=colour(500))) is None
    found = saturated(case(samples=np.clip(10 * colour(64), -1, 1), pictures=colour(500)))
    assert "ends of the range" in found.evidence
    bounds = DataSpec((1, 8, 8), "float32", None, None, 0.0, 1.0)
    free = Denoiser(tiny_denoiser().net, Schedule.linear(100), "eps", bounds)
    assert saturated(case(free)) is None


def test_a_real_run_is_read_and_its_first_cause_comes_first(tmp_path):
    data = tiny_data(80)
    for _ in Run(tmp_path / "run", data, tiny_config(images=400)).train():
        pass
    said = []
    found = look(tmp_path / "run", data, n=16, say=said.append)
    assert said == found.looked_at == list(CHECKS)
    made = Case(tmp_path / "run", data, 16)
    assert len(made.metrics) == 50
    assert made.raw is not None
    assert made.raw.net.conv_out.weight.equal(made.denoiser.net.conv_out.weight) is False
    with pytest.raises(ValueError, match=r"shape \(1, 8, 8\) and the data's \(1, 6, 6\)"):
        look(tmp_path / "run", tiny_data(size=6))
