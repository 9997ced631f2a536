"""Each check of `diagnose` sees its own fault, and not a run without it. Whole runs: benchmarks/faults.py."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from alphabar.cli.app import command
from alphabar.data import Dataset, Space, prepare
from alphabar.evaluation import NoiseLevels, error_by_noise_level
from alphabar.model import Denoiser, fit_codec
from alphabar.nn import build_network
from alphabar.runs import checks
from alphabar.runs.checks import (
    CHECKS,
    average_too_long,
    broken_data,
    condition_ignored,
    memorized,
    non_finite,
    rate_too_high,
    rate_too_low,
    run_checks,
    saturated,
    schedule_ends,
    tinted,
    under_trained,
    value_range,
)
from alphabar.runs.diagnosis import diagnose
from alphabar.runs.findings import Diagnosis, Finding
from alphabar.runs.results import Results
from alphabar.runs.run import Run
from alphabar.theory.schedule import Schedule
from tiny import tiny_config, tiny_data, tiny_denoiser

RNG = np.random.default_rng(0)
FINE = NoiseLevels(
    [1, 50, 100], 64, [0.01, 0.1, 0.5], [0.01, 0.1, 0.5], [0.001] * 3, [0.012, 0.2, 0.55], [0, 0, 0]
)
SETTINGS = {"lr": 2e-3}


def results(denoiser=None, data=None, settings=SETTINGS, samples=None, **known):
    """Results of which this much is known; all else is fine."""
    denoiser, data = denoiser or tiny_denoiser(), data or tiny_data(200)
    denoiser.about = {"training": settings}
    found = Results(denoiser, data, n=32)
    usual = {"metrics": [{"loss": 1 / (1 + k / 20)} for k in range(200)], "noise_levels": FINE, "raw": None}
    if samples is not None:
        known["samples"] = dataclasses.make_dataclass("Samples", ["images"])(samples)
    found.__dict__.update({**usual, **known})
    return found


def of_schedule(schedule):
    denoiser = tiny_denoiser()
    return Denoiser(denoiser.net, schedule, "eps", denoiser.codec, denoiser.conditions)


def test_weights_that_are_not_finite():
    assert non_finite(results()) is None
    denoiser = tiny_denoiser()
    name, weight = next(iter(denoiser.net.named_parameters()))
    weight.data.view(-1)[0] = float("inf")
    found = non_finite(results(denoiser))
    assert found.cause == "the weights are not finite"
    assert name in found.evidence
    broken = run_checks(results(denoiser))
    assert broken.looked_at == ["finite weights"]
    assert broken.skipped == list(CHECKS)[1:]


def test_data_that_are_not_pictures():
    assert broken_data(results()) is None
    plain, doubles = tiny_data(100), tiny_data(100)
    plain.images[plain.training[: len(plain.training) // 2]] = 7
    assert "are all one value" in broken_data(results(data=plain)).evidence
    doubles.images[:60] = doubles.images[0]
    assert "duplicates" in broken_data(results(data=doubles)).evidence


def test_values_that_the_model_scales_wrongly():
    assert value_range(results()) is None
    data = tiny_data()
    unit = Dataset((data.images / 255).astype(np.float32), data.space, data.conditions, data.values, "unit")
    assert "reach from -1 to -0.99" in value_range(results(data=unit)).evidence
    wide = Dataset(data.images.astype(np.int64) * 257, data.space, data.conditions, data.values, "wide")
    assert value_range(results(data=wide)).cause == "value range mismatch"
    dark = Dataset(data.images // 50, data.space, data.conditions, data.values, "dark")
    assert "--range" in value_range(results(data=dark)).remedy


def test_values_without_bounds_and_of_any_rank():
    space = Space((3, 5), "float32", None, None)
    images = 70 + 9 * RNG.standard_normal((200, 3, 5)).astype(np.float32)
    data = Dataset(images, space)
    denoiser = Denoiser(torch.nn.Identity(), Schedule.linear(100), "x0", fit_codec(space, images))
    assert value_range(results(denoiser, data)) is None
    assert saturated(results(denoiser, data)) is None
    assert tinted(results(denoiser, data, samples=images[:64])) is None
    off = images[:64] + np.array([0, 9, 0], np.float32)[:, None]
    assert tinted(results(denoiser, data, samples=off)).cause == "a channel's mean is off"
    wide = Dataset(70 + 400 * (images - 70), space)
    assert (
        "standard deviation 1, and after its scaling these data have"
        in value_range(results(denoiser, wide)).evidence
    )


def test_schedules_that_end_wrongly():
    assert schedule_ends(results(of_schedule(Schedule.linear(1000)))) is None
    assert schedule_ends(results(of_schedule(Schedule.sigmoid(1000)))) is None
    early = schedule_ends(results(of_schedule(Schedule.linear(20, 1e-4, 0.02))))
    assert early.cause == "the schedule stops before the sample is gone"
    few = schedule_ends(results(of_schedule(Schedule.sigmoid(3))))
    assert few.cause == "the schedule is too short"


def test_rates():
    worse = dataclasses.replace(FINE, held_out=[0.02, 0.4, 0.9])
    assert rate_too_high(results()) is None
    assert rate_too_low(results()) is None
    jump = [{"loss": 0.1}] * 150 + [{"loss": 1.0}] * 50
    assert "was 0.1 at its best and is 1 at the end" in rate_too_high(results(metrics=jump)).evidence
    assert rate_too_high(results(noise_levels=worse)) is None
    assert rate_too_high(results(noise_levels=worse, settings={"lr": 0.5})).remedy.endswith("--lr 0.1")
    nowhere = dataclasses.replace(FINE, held_out=[math.nan] * 3)
    assert "at 3 of 3" in rate_too_high(results(noise_levels=nowhere, settings={"lr": 0.5})).evidence
    low = rate_too_low(results(noise_levels=worse, settings={"lr": 1e-5}))
    assert "at 3 of 3 noise levels" in low.evidence


def test_error_where_a_gaussian_fit_has_less():
    assert under_trained(results()) is None
    high = dataclasses.replace(FINE, held_out=[0.01, 0.1, 0.9])
    low = dataclasses.replace(FINE, held_out=[0.05, 0.1, 0.5])
    assert under_trained(results(noise_levels=high)).cause == "under-trained at high noise"
    assert under_trained(results(noise_levels=low)).cause == "under-trained at low noise"


def test_an_average_behind_its_weights():
    good, bad = tiny_denoiser("x0"), tiny_denoiser("x0", seed=1)
    with torch.no_grad():
        for parameter in good.net.conv_out.parameters():
            parameter.zero_()  # x0_hat = 0
        bad.net.conv_out.bias += 3
    data = tiny_data(200)
    of_good, of_bad = (error_by_noise_level(model, data) for model in (good, bad))
    assert results(raw=good).raw_error == of_good.fresh
    assert average_too_long(results(good, noise_levels=of_good)) is None
    assert average_too_long(results(good, noise_levels=of_good, raw=good)) is None
    assert average_too_long(results(good, noise_levels=of_good, raw=bad)) is None
    settings = {"ema_halflife": 5e6, "ema_ramp": 1.0}
    found = average_too_long(results(bad, noise_levels=of_bad, raw=good, settings=settings))
    assert "5,000,000 images" in found.evidence


def test_a_class_that_changes_nothing():
    class ByClass(torch.nn.Module):
        def forward(self, x, c_noise, cond):
            return x + 0.5 * (cond["class"][:, 1] - cond["class"][:, 0])[:, None, None, None] * self.size

    net = ByClass()
    data = tiny_data(200)
    data.images[data.values["class"] == 1] = 180
    data.images[data.values["class"] == 0] = 60
    denoiser = Denoiser(net, Schedule.linear(100), "x0", fit_codec(data.space), data.conditions)
    net.size = 1.0
    assert condition_ignored(results(denoiser, data)) is None
    net.size = 0.0
    found = condition_ignored(results(denoiser, data))
    assert found.cause == "the class is ignored"
    assert "(z = " in found.evidence
    plain = tiny_denoiser(classes=False)
    assert condition_ignored(results(plain, tiny_data(200, classes=False))) is None


def test_samples_that_are_training_samples():
    data = tiny_data(200)
    assert memorized(results(data=data, samples=tiny_data(64, seed=9).images)) is None
    found = memorized(results(data=data, samples=data.images[data.training[:64]]))
    assert found.cause == "it repeats its training pictures"
    assert "p = " in found.evidence


def color(n, mean=(0.0, 0.0, 0.0)):
    return (0.2 * RNG.standard_normal((n, 3, 8, 8)) + np.reshape(mean, (3, 1, 1))).astype(np.float32)


def test_tint_beyond_the_chance_of_sampling():
    assert tinted(results(first=color(64), clean=color(500))) is None
    found = tinted(results(first=color(64, (0, 0.2, 0)), clean=color(500)))
    assert "channel 1" in found.evidence
    slight = tinted(results(first=color(64, (0, 0.02, 0)), clean=color(500)))
    assert slight is None  # certain, but nobody would see it


def test_the_mean_of_a_column_is_told_by_its_name():
    """A category takes several numbers in model space, and a number with missing values two."""
    frame = {
        "kind": np.array(list("abcde") * 40),
        "gap": [None if i % 7 == 0 else float(i) for i in range(200)],
        "size": np.arange(200) / 7,
    }
    pandas = pytest.importorskip("pandas")
    data = prepare(pandas.DataFrame(frame))
    codec = fit_codec(data.space, data.images[:])
    clean = codec.encode(np.asarray(data.images)).astype(np.float32)
    for column, number in enumerate(np.cumsum([part.width for part in codec.parts]) - 1):
        first = clean[:64].copy()
        first[:, number] += 3
        net = build_network({"name": "mlp", "width": 8, "blocks": 1}, codec.shape)
        denoiser = Denoiser(net, Schedule.linear(100), "x0", codec, {})
        found = tinted(results(denoiser, data, first=first, clean=clean))
        assert f"the mean of {data.space.names[column]} is" in found.evidence


def test_saturation_beyond_the_datas():
    assert saturated(results(first=color(64), clean=color(500))) is None
    found = saturated(results(first=np.clip(10 * color(64), -1, 1), clean=color(500)))
    assert "ends of the range" in found.evidence
    space = Space((3, 8, 8), "float32", (0, 0, 0), (1, 2, 3))
    by_channel = Denoiser(tiny_denoiser().net, Schedule.linear(100), "eps", fit_codec(space), {})
    by_channel.conditions = {}
    assert saturated(results(by_channel, first=color(64), clean=color(500))) is None


def test_remedies_name_flags_that_exist():
    words = Path(checks.__file__).read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w-])--[A-Za-z][\w-]*", words))
    assert {"--lr", "--prediction", "--set"} <= named
    programs = [command(name) for name in ("train", "sample", "data")]
    assert named <= {flag for program in programs for option in program.params for flag in option.opts}


def test_a_real_run_is_read_and_its_first_cause_comes_first(tmp_path):
    data = tiny_data(80)
    for _ in Run(tmp_path / "run", data, tiny_config(images=400)).train():
        pass
    said = []
    made = Results(tmp_path / "run", data, n=16, say=said.append)
    found = made.diagnosis
    assert found.looked_at == list(CHECKS)
    assert set(CHECKS) <= set(said)
    assert [f.cause for f in diagnose(tmp_path / "run", data, n=16).findings] == [
        f.cause for f in found.findings
    ]
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    assert len(made.metrics) == 50
    assert made.raw is not None
    assert made.raw.net.conv_out.weight.equal(made.denoiser.net.conv_out.weight) is False
    with pytest.raises(ValueError, match=r"shape \(1, 8, 8\) and the data's \(1, 6, 6\)"):
        diagnose(tmp_path / "run", tiny_data(size=6))
    other = tiny_data(80)
    other.conditions["class"] = dataclasses.replace(other.conditions["class"], names=("up", "down"))
    with pytest.raises(ValueError, match="left, right"):
        diagnose(tmp_path / "run", other)


def test_a_diagnosis_says_whether_it_is_healthy():
    assert Diagnosis([], ["a"], []).healthy
    assert not Diagnosis([Finding("a", "b", "c")], ["a"], []).healthy
