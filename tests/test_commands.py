"""Plans, guidance, restoration and the way between two pictures, through the command line."""

from __future__ import annotations

import json
import os
import re
import shlex
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from alphabar import Schedule
from alphabar.cli.app import command
from alphabar.cli.masks import read_mask
from alphabar.data import Space
from alphabar.data.sources import pictures as pictures_module
from alphabar.model import Denoiser, fit_codec, load, save
from alphabar.model import file as model_file
from alphabar.nn import NETWORKS, build_network
from alphabar.rng import normal
from alphabar.runs.checkpoints import Moment, save_checkpoint
from alphabar.theory.gaussian import q_sample
from alphabar.theory.plans import SAMPLERS, Plan, make_plan
from alphabar.training.trainer import Trainer
from program import call, contents
from tiny import NETWORK, tiny_config, tiny_data, tiny_denoiser

NEW = ["fit-sampler", "edit interpolate", "edit inpaint", "edit upscale", "edit colorize", "edit deblur"]
RUN, PLAIN, COLOR, FIELDS = (
    "run.safetensors",
    "plain.safetensors",
    "color.safetensors",
    "fields.safetensors",
)
ALWAYS, WEAK = "always.safetensors", "weak.safetensors"  # always: told a class; weak: to guide by


def smooth(n, seed=0):
    """A picture of n × n grays that is not noise alone."""
    rng = np.random.default_rng(seed)
    waves = 120 + 80 * np.sin(np.arange(n) / (1 + seed))[:, None] * np.cos(np.arange(n) / 2)
    return (waves + rng.uniform(-20, 20, (n, n))).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """No test here is about power cuts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


def model_of(space):
    """A model of random weights for samples of another space, told nothing."""
    torch.manual_seed(0)
    net = build_network(NETWORK, space.shape, {})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return Denoiser(net, Schedule.linear(100), "v", fit_codec(space))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Models of random weights for data of 8 × 8, and pictures: never to be changed."""
    place = tmp_path_factory.mktemp("models")
    for name, model in (
        (RUN, tiny_denoiser("v", dropout=0.1)),
        (WEAK, tiny_denoiser("v", seed=1, dropout=0.1)),
        (ALWAYS, tiny_denoiser("v", dropout=0.0)),
        (PLAIN, tiny_denoiser("v", classes=False)),
        (COLOR, model_of(Space((3, 8, 8)))),
        (FIELDS, model_of(Space((1, 8, 8), "float32", 0.0, 10.0, layout="HW"))),
    ):
        save(model, place / name)
    for name, seed in (("a", 0), ("b", 1)):
        Image.fromarray(smooth(8, seed)).save(place / f"{name}.png")
    Image.fromarray(smooth(4)).save(place / "small.png")
    Image.fromarray(np.stack([smooth(8, i) for i in range(3)], -1)).save(place / "color.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 3:] = 255
    Image.fromarray(mask).save(place / "mask.png")
    np.save(place / "mask.npy", mask > 0)
    return place


@pytest.fixture
def refused(here, refused):
    """The same, and nothing is written."""

    def refused_and_nothing_written(*arguments):
        before = contents(here)
        message = refused(*arguments)
        assert contents(here) == before
        return message

    return refused_and_nothing_written


def facts(folder):
    return json.loads((folder / "samples.json").read_text())


def files(folder):
    return {path.name for path in folder.iterdir()}


def values(path):
    """A picture file as an array."""
    with Image.open(path) as image:
        return np.asarray(image)


SAMPLES = {"grid.png", "samples.npy", "samples.json"}
LINEAR_PLAN = ("show", "plan", "--schedule", "linear")


@pytest.mark.parametrize("command", [*(c.split() for c in NEW), ["show"], ["show", "plan"]])
def test_every_new_command_has_help(done, command):
    out, _ = done(*command, "--help")
    assert "Usage: alphabar " + " ".join(command) in out


# --- show plan -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_is_shown_as_its_table(done, sampler):
    out, err = done("show", "plan", "--sampler", sampler, "--steps", 4)
    plan = make_plan(Schedule.sigmoid(1000), sampler, 4)
    assert out.startswith(str(plan) + "\n")
    last = out.splitlines()[-1]
    assert last.startswith(f"4 evaluations, {'adds noise' if plan.stochastic else 'deterministic'}: ")
    assert f"sampler {sampler}" in last
    assert err == ""


def test_the_times_and_the_schedule_of_a_plan(done):
    out, _ = done("show", "plan", "--sampler", "dpmpp", "--times", "1000,400,0")
    assert str(make_plan(Schedule.sigmoid(1000), "dpmpp", times=(1000, 400, 0))) in out
    out, _ = done("show", "plan", "--sampler", "ddim", "--start", 300, "--steps", 3, "--spacing", "trailing")
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["300.00", "200.00", "100.00"]
    out, _ = done("show", "plan", "--schedule", "cosine", "--T", 200, "--sampler", "ddim", "--steps", 2)
    assert str(make_plan(Schedule.cosine(200), "ddim", 2)) in out
    out, _ = done("show", "plan", "--sampler", "unipc", "--spacing", "log_snr", "--steps", 3, "--order", 1)
    assert str(make_plan(Schedule.sigmoid(1000), "unipc", 3, spacing="log_snr", order=1)) in out


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_plan_written_down_samples_the_same_bytes_as_its_name(here, done, sampler):
    out, _ = done(
        *LINEAR_PLAN, "--T", 100, "--sampler", sampler, "--steps", 4, "--out", "p.json"
    )  # fmt: skip
    assert out.endswith("wrote p.json\n")
    again, _ = done("show", "plan", "p.json")
    assert again == out.removesuffix("wrote p.json\n")
    done("sample", RUN, "-n", 3, "--plan", "p.json", "--out", "by-plan")
    done("sample", RUN, "-n", 3, "--sampler", sampler, "--steps", 4, "--out", "by-name")
    bytes_ = [(here / folder / "samples.npy").read_bytes() for folder in ("by-plan", "by-name")]
    assert bytes_[0] == bytes_[1]
    recorded = facts(here / "by-plan")
    assert Plan.from_dict(recorded["plan"]).A.tolist() == json.loads((here / "p.json").read_text())["A"]
    assert recorded["times"] == facts(here / "by-name")["times"]


def test_a_runs_own_plan_has_its_schedule(here, done):
    out, _ = done("show", "plan", RUN, "--sampler", "unipc", "--steps", 3, "--out", "p.json")
    assert str(make_plan(Schedule.linear(100), "unipc", 3)) in out
    done("sample", RUN, "-n", 1, "--plan", "p.json", "--out", "s")
    assert facts(here / "s")["evaluations"] == 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--times", "0,500,1000"], "times must fall strictly, got (0, 500, 1000); did you mean reversed"),
        (["--times", "1000,400,400,0"], "times must fall strictly"),
        (["--times", "1000"], "two or more finite numbers"),
        (["--times", "1000,nan,0"], "finite"),
        (["--times", "2000,0"], "t must lie within 0..1000, got 2000"),
        (["--times", "a,b"], "--times must be numbers with commas between, such as 1000,400,0, got 'a,b'"),
        (["--times", ","], "--times must be numbers with commas between"),
        (
            ["--times", "1000,0", "--steps", "1"],
            "times are given: evaluations, start and spacing follow from them",
        ),
        (["--start", "1001"], "t must lie within 0..1000, got 1001"),
        (["--start", "0"], "start must be above 0"),
        (["--spacing", "even"], "unknown spacing 'even'; known: scales, flow, trailing, log_snr, karras"),
        (["--sampler", "unpic"], "unknown sampler 'unpic'"),
        (["--sampler", "ddpm", "--order", "2"], "ddpm takes variance, x0_mse, and not order"),
        (["--sampler", "dpmpp", "--order", "4"], "order must be a whole number within 1..3, got 4"),
        (["--sampler", "ddpm", "--variance", "optimal"], "the optimal variance is a model's"),
        (["--schedule", "sine"], "unknown schedule 'sine'"),
        (["--T", "0"], "T must be a whole number of at least 1, got 0"),
        ([RUN, "--T", "100"], "a RUN has its own schedule"),
        ([RUN, "--schedule", "cosine"], "a RUN has its own schedule"),
        ([RUN, "--sampler", "ddpm", "--variance", "optimal"], "alphabar fit-sampler RUN --variance"),
        (["nowhere"], "no such file: nowhere"),
        (["nowhere.json"], "no such file: nowhere.json"),
        (["--out", "plan.txt"], "--out must end in .json, got plan.txt"),
    ],
)
def test_plans_that_are_none(refused, options, expected):
    assert expected in refused("show", "plan", *options)


def test_a_plans_file_is_shown_alone_and_never_overwritten(done, refused):
    done("show", "plan", "--sampler", "ddim", "--steps", 2, "--out", "p.json")
    assert "give it alone" in refused("show", "plan", "p.json", "--steps", 3)
    assert "give it alone" in refused("show", "plan", "p.json", "--T", 100)
    assert "p.json exists already" in refused("show", "plan", "--sampler", "unipc", "--out", "p.json")


def test_the_optimal_variance_of_a_model_is_known_at_any_times(here, done, refused):
    how = ["--sampler", "ddpm", "--variance", "optimal", "--times", "100,40,0"]
    assert "fit-sampler RUN --variance" in refused("show", "plan", RUN, *how)
    done("fit-sampler", RUN, "--variance", "--noises", 8, "--out", "own.safetensors")
    out, _ = done("show", "plan", "own.safetensors", *how)
    x0_mse = load("own.safetensors").x0_mse
    plan = make_plan(Schedule.linear(100), "ddpm", times=(100, 40, 0), variance="optimal", x0_mse=x0_mse)
    assert str(plan) in out
    assert "times are given" in refused("show", "plan", "own.safetensors", *how, "--steps", 2)


def test_files_that_hold_no_plan(here, done, refused):
    done(*LINEAR_PLAN, "--T", 100, "--sampler", "ddim", "--steps", 2, "--out", "good.json")
    good = json.loads((here / "good.json").read_text())
    for name, entry in {
        "list": [1, 2],
        "other": {"times": [1, 0]},
        "more": {**good, "color": 1},
        "short": {**good, "A": [1.0]},
        "words": {**good, "A": ["a", "b"]},
        "ragged": {**good, "B": [[1.0], [1.0, 2.0]]},
        "history": {**good, "history": "v"},
        "negative": {**good, "C": [-1.0, 0.0]},
        "flat": {**good, "times": 5},
    }.items():
        (here / f"{name}.json").write_text(json.dumps(entry))
    (here / "text.json").write_text("no JSON at all")
    (here / "infinite.json").write_text(json.dumps({**good, "A": [float("inf"), 0]}))
    (here / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for name, expected in {
        "text": "text.json is no plan: ",
        "bytes": "bytes.json is no plan: ",
        "list": "a plan has the entries A, B, C, alpha_bar, history, made_by, times, got list",
        "other": "got times",
        "more": "color",
        "short": "a plan of 2 rows needs",
        "words": "A of a plan must be a table of numbers",
        "ragged": "B of a plan must be a table of numbers",
        "history": "unknown history 'v'; known: x0, eps",
        "negative": "C >= 0",
        "infinite": "must be finite numbers",
        "flat": "a plan of 0 rows needs",
        "nowhere": "no such file: nowhere.json",
    }.items():
        assert expected in refused("show", "plan", f"{name}.json"), name
    for name in ("text", "history"):
        assert f"{name}.json is no plan: " in refused("sample", RUN, "--plan", f"{name}.json", "--out", "s")


def test_how_a_plan_was_made_is_a_table_of_names(here, done, refused):
    done(*LINEAR_PLAN, "--T", 100, "--sampler", "ddim", "--steps", 2, "--out", "good.json")
    good = json.loads((here / "good.json").read_text())
    (here / "bad.json").write_text(json.dumps({**good, "made_by": [1]}))
    assert "bad.json is no plan: " in refused("show", "plan", "bad.json")
    assert "bad.json is no plan: " in refused("sample", RUN, "--plan", "bad.json", "--out", "s")


# --- sample: how to draw -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "made_by"),
    [
        (
            ["--sampler", "dpmpp", "--order", 3, "--spacing", "karras"],
            {"order": 3, "spacing": "karras", "eta": 0},
        ),
        (["--sampler", "dpmpp", "--eta", 1, "--spacing", "log_snr"], {"eta": 1, "spacing": "log_snr"}),
        (["--sampler", "heun", "--churn", 9], {"churn": 9}),
        (["--sampler", "ddpm", "--variance", "beta"], {"variance": "beta"}),
        (["--sampler", "ipndm", "--order", 2], {"order": 2}),
    ],
)
def test_options_reach_the_plan(here, done, options, made_by):
    done("sample", RUN, "-n", 2, "--steps", 6, *options, "--out", "s")
    found = facts(here / "s")
    assert {k: found["plan"][k] for k in made_by} == made_by
    assert found["evaluations"] == 6
    assert files(here / "s") == {"000000.png", "000001.png", "labels.csv", *SAMPLES}


def test_guidance_its_interval_and_its_rescale(here, done):
    how = ["--steps", 4, "--sampler", "ddim", "--class", "left", "-n", 2]
    done("sample", RUN, *how, "--out", "plain")
    done("sample", RUN, *how, "--guidance", 1, "--out", "one")
    done("sample", RUN, *how, "--guidance", 3, "--out", "three")
    done("sample", RUN, *how, "--guidance", 3, "--guidance-rescale", 0.7, "--out", "rescaled")
    interval = ["--guidance-interval", 25, 75]
    done("sample", RUN, *how, "--guidance", 3, *interval, "--spacing", "trailing", "--out", "within")
    done("sample", RUN, *how, "--guidance", 2, "--guide", WEAK, "--out", "by")
    out, _ = done("sample", RUN, *how, "--guidance", 3, "--guidance-every", 3, "--out", "third")
    assert "--guidance 3 --guidance-every 3" in out
    arrays = {name: np.load(here / name / "samples.npy") for name in ("plain", "three", "rescaled", "within")}
    assert np.array_equal(arrays["plain"], np.load("one/samples.npy"))
    assert len(np.unique(np.stack([*arrays.values()]).reshape(4, -1), axis=0)) == 4
    evaluations = {name: facts(here / name)["evaluations"] for name in (*arrays, "by", "third")}
    assert evaluations == {"plain": 4, "three": 8, "rescaled": 8, "within": 6, "by": 8, "third": 6}
    assert facts(here / "plain")["guidance"] is None
    assert facts(here / "within")["guidance"] == {
        "scale": 3, "interval": [25, 75], "rescale": 0, "by": None, "every": 1
    }  # fmt: skip
    assert facts(here / "by")["guidance"]["by"] == load(WEAK).digest


def test_no_class_and_thresholding(here, done):
    done("sample", RUN, "-n", 2, "--steps", 3, "--class", "none", "--out", "free")
    done("sample", RUN, "-n", 2, "--steps", 3, "--threshold", 0.9, "--out", "dynamic")
    assert facts(here / "free")["told"]["class"] == [None, None]
    with Image.open("free/000001.png") as picture:
        assert json.loads(picture.text["alphabar"])["told"] == {"class": "none"}
    assert (facts(here / "dynamic")["threshold"], facts(here / "dynamic")["clip"]) == (0.9, None)


def test_an_order_that_is_not_reached_is_said_and_lowered(here, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert (
            call("sample", RUN, "-n", 1, "--sampler", "dpmpp", "--order", 3, "--steps", 2, "--out", "s") == 0
        )
        err = capfd.readouterr().err
        assert err.startswith("alphabar: warning: order 3 is not reached in 2 evaluations")
        assert "lowered to 1" in err
        assert call("show", "plan", "--sampler", "ipndm", "--order", 4, "--steps", 3) == 0
        assert "order 4 is not reached in 3 evaluations" in capfd.readouterr().err
    assert facts(here / "s")["plan"]["order"] == 1


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        (
            RUN,
            ["--spacing", "even"],
            "unknown spacing 'even'; known: scales, flow, trailing, log_snr, karras",
        ),
        (RUN, ["--sampler", "unipc", "--order", "9"], "order must be a whole number within 1..3, got 9"),
        (RUN, ["--sampler", "heun", "--churn", "-1"], "churn and churn_noise must be finite and at least 0"),
        (
            PLAIN,
            ["--guidance", "2"],
            "guidance needs a model that is told something, such as a class, and this one is not",
        ),
        (ALWAYS, ["--guidance", "2"], "--set condition_dropout=0.1"),
        (ALWAYS, ["--class", "none"], "this model always needs to be told the class"),
        (PLAIN, ["--class", "none"], "this model is told nothing beside x_t: it has no class to give"),
        (RUN, ["--guidance", "-1"], "the guidance scale must be at least 0 (1: none), got -1.0"),
        (RUN, ["--guidance", "nan"], "the guidance scale must be at least 0"),
        (RUN, ["--guidance", "2", "--guidance-interval", "80", "20"], "two rising times, got (80.0, 20.0)"),
        (RUN, ["--guidance", "2", "--guidance-rescale", "2"], "rescale must lie within 0..1, got 2.0"),
        (RUN, ["--guidance", "2", "--guidance-every", "0"], "must be a whole number of at least 1, got 0"),
        (RUN, ["--guidance-every", "2"], "act only where the guidance scale is not 1"),
        (RUN, ["--guidance-rescale", "0.5"], "act only where the guidance scale is not 1"),
        (RUN, ["--guide", WEAK], "acts only where the guidance scale is not 1"),
        (RUN, ["--guidance", "2", "--guide", "nowhere"], "no such file: nowhere"),
        (RUN, ["--guidance", "2", "--guide", PLAIN], "the model to guide by has other conditions"),
        (COLOR, ["--guidance", "2", "--guide", PLAIN], "has another shape of samples"),
        (RUN, ["--guidance", "2", "--class", "none"], "guidance leads towards what is told: give a class"),
        (RUN, ["--threshold", "1.5"], "must lie within 0..1, got 1.5"),
        (RUN, ["--threshold", "0.9", "--no-clip"], "give threshold or clip, not both"),
        (RUN, ["--sampler", "ddpm", "--variance", "optimal"], "alphabar fit-sampler RUN --variance"),
    ],
)
def test_ways_to_draw_that_are_none(refused, model, options, expected):
    assert expected in refused("sample", model, *options, "--out", "s")


def test_plans_that_do_not_fit(done, refused):
    done(*LINEAR_PLAN, "--T", 100, "--sampler", "ddim", "--steps", 2, "--out", "p.json")
    done(*LINEAR_PLAN, "--T", 200, "--sampler", "ddim", "--steps", 2, "--out", "long.json")
    done("show", "plan", "--schedule", "cosine", "--T", 100, "--steps", 2, "--out", "cosine.json")
    done(*LINEAR_PLAN, "--T", 100, "--sampler", "ddim", "--times", "100,50", "--out", "open.json")
    done(*LINEAR_PLAN, "--T", 100, "--sampler", "ddim", "--start", 50, "--steps", 2, "--out", "half.json")
    for options in (["--steps", 2], ["--sampler", "ddim"], ["--spacing", "karras"], ["--eta", 0]):
        assert "give it alone" in refused("sample", RUN, "--plan", "p.json", *options)
    for name in ("long", "cosine"):
        assert "made for another schedule" in refused("sample", RUN, "--plan", f"{name}.json")
    assert "ends at 0, the clean sample, got 50" in refused("sample", RUN, "--plan", "open.json")
    assert "from pure noise sampling starts at T = 100, got 50" in refused(
        "sample", RUN, "--plan", "half.json"
    )
    assert "this plan starts at 50, and t is 40" in refused(
        "edit", "vary", RUN, "a.png", "--t", 40, "--plan", "half.json"
    )


def test_plans_that_do_not_fit_an_interpolation(done, refused):
    done(*LINEAR_PLAN, "--T", 100, "--sampler", "ddim", "--steps", 2, "--out", "p.json")
    done(*LINEAR_PLAN, "--T", 100, "--sampler", "ddim", "--start", 50, "--steps", 2, "--out", "half.json")
    pair = ["edit", "interpolate", PLAIN, "a.png", "b.png"]
    assert "give it alone" in refused(*pair, "--plan", "p.json", "--steps", 3)
    assert "start" in refused(*pair, "--plan", "half.json")
    assert "start" in refused(*pair, "--by", "noise", "--t", 80, "--plan", "half.json")


# --- several real pictures -----------------------------------------------------------------------


def test_several_pictures_are_each_brought_back_in_several_ways(here, done):
    how = ["--t", 40, "--steps", 3, "--sampler", "ddim", "--spacing", "trailing", "--seed", 5]
    done("edit", "vary", RUN, "a.png", "b.png", *how, "-n", 2, "--out", "d")
    expected = {"noisy.npy", "noisy.png", "input.png", "strip.png", "trajectory.gif", *SAMPLES}
    assert files(here / "d") == {f"{i:06d}.png" for i in range(4)} | expected
    found = facts(here / "d")
    assert (found["pictures"], found["t"], found["told"]) == (["a.png", "b.png"], 40, {"class": [None] * 4})
    assert found["times"] == [40, 27, 13, 0]
    model, noisy = load(RUN), np.load("d/noisy.npy")
    for i, name in enumerate(("a.png", "b.png")):  # the state that the first sample of each started from
        x_0 = model.codec.encode(values(name)[None])
        eps = normal(5, "sample", 2 * i, shape=(1, 8, 8))
        np.testing.assert_allclose(noisy[i], q_sample(model.schedule, x_0, 40, eps), atol=1e-6)
    samples = np.load("d/samples.npy")
    np.save("b-noisy.npy", noisy[1])
    done("edit", "vary", RUN, "b-noisy.npy", "--noisy", *how, "-n", 1, "--out", "again")
    assert np.abs(np.load("again/samples.npy")[0].astype(int) - samples[2]).max() <= 1
    np.save("a-noisy.npy", noisy[0])
    done("edit", "vary", RUN, "a-noisy.npy", "b-noisy.npy", "--noisy", *how, "-n", 1, "--out", "both")
    assert "input.png" not in files(here / "both")
    for got, i in zip(np.load("both/samples.npy"), (0, 2)):
        assert np.abs(got.astype(int) - samples[i]).max() <= 1


def test_pictures_come_back_with_a_plan_from_their_own_time(here, done):
    how = ["--sampler", "ddim", "--spacing", "trailing", "--steps", 2]
    done("show", "plan", RUN, "--start", 50, *how, "--out", "half.json")
    done("edit", "vary", RUN, "a.png", "--t", 50, "--plan", "half.json", "-n", 1, "--out", "d")
    assert facts(here / "d")["times"] == [50, 25, 0]


@pytest.mark.parametrize("by", [["--by", "encode"], ["--by", "noise", "--t", 40]], ids=["encode", "noise"])
def test_the_way_between_two_pictures(here, done, by):
    done("edit", "interpolate", RUN, "a.png", "b.png", "-n", 3, "--steps", 3, *by, "--out", "i")
    assert files(here / "i") == {"000000.png", "000001.png", "000002.png", "row.png", *SAMPLES}
    found = facts(here / "i")
    assert (found["pictures"], found["by"]) == (["a.png", "b.png"], by[1])
    assert found["times"][0] == (40 if "noise" in by else 100)
    assert found["told"] == {"class": [None] * 3}
    factor = len(values("i/row.png")) // 8
    row = values("i/row.png")[::factor, ::factor]
    assert row.shape == (8, 5 * 8 + 4 * 2)  # A, the three, B, and gaps
    np.testing.assert_array_equal(row[:, :8], values("a.png"))
    np.testing.assert_array_equal(row[:, 20:28], values("i/000001.png"))
    np.testing.assert_array_equal(row[:, -8:], values("b.png"))


def test_the_way_between_two_of_a_class_under_guidance(here, done):
    how = ["--steps", 2, "--by", "noise", "--sampler", "dpmpp", "--class", "right", "--guidance", 2]
    done("edit", "interpolate", RUN, "a.png", "b.png", "-n", 2, *how, "--out", "i")
    assert facts(here / "i")["told"] == {"class": [1, 1]}
    assert facts(here / "i")["guidance"]["scale"] == 2


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        (RUN, ["--t", "40"], "t is for interpolation by noise"),
        (RUN, ["--by", "noise", "--t", "0"], "--t must lie within 1..100, got 0"),
        (RUN, ["--by", "noise", "--t", "101"], "--t must lie within 1..100, got 101"),
        (RUN, ["--by", "noise", "--t", "nan"], "--t must lie within 1..100, got nan"),
        (RUN, ["--by", "magic"], "unknown way to interpolate 'magic'; known: encode, noise"),
        (RUN, ["-n", "1"], "n must be a whole number of at least 2, got 1"),
        (RUN, ["--by", "noise", "--sampler", "ddpm"], "interpolation needs a plan that adds no noise"),
        (ALWAYS, [], "this model always needs to be told the class"),
        (RUN, ["--by", "noise", "--guidance", "2"], "guidance leads towards what is told: give a class"),
    ],
)
def test_ways_between_two_that_are_none(refused, model, options, expected):
    assert expected in refused("edit", "interpolate", model, "a.png", "b.png", *options, "--out", "i")
    assert "no such file: c.png" in refused("edit", "interpolate", model, "a.png", "c.png", "--out", "i")


# --- restoration ---------------------------------------------------------------------------------

FILLED = {
    "left": np.s_[:, :4],
    "right": np.s_[:, 4:],
    "top": np.s_[:4],
    "bottom": np.s_[4:],
    "mask.png": np.s_[2:5, 3:],
    "mask.npy": np.s_[2:5, 3:],
}


@pytest.mark.parametrize("mask", FILLED)
def test_inpainting_keeps_what_the_mask_leaves_to_the_bit(here, done, mask):
    out, _ = done("edit", "inpaint", RUN, "a.png", mask, "-n", 2, "--steps", 2, "--out", "i")
    assert files(here / "i") == {"000000.png", "000001.png", "observed.png", *SAMPLES}
    assert out.splitlines()[-1] == "observation error (known pixels): 0, at most 0 of a range of 255"
    found = facts(here / "i")
    assert (found["picture"], found["mask"], found["observation_error"]) == ("a.png", mask, [0, 0])
    assert found["observation"] == {"operator": "known pixels", "method": "projection", "strength": 1}
    assert found["told"] == {"class": [None, None]}
    known = np.ones((8, 8), bool)
    known[FILLED[mask]] = False
    for i in range(2):
        got = values(f"i/{i:06d}.png")
        np.testing.assert_array_equal(got[known], values("a.png")[known])
        assert np.any(got[~known] != values("a.png")[~known])
    shown = values("i/observed.png")[::32, ::32]
    np.testing.assert_array_equal(shown, np.where(known, values("a.png"), 0))


def test_the_same_soft_mask_fills_the_same_as_a_picture_and_as_an_array(here):
    soft = np.linspace(0, 255, 64).reshape(8, 8).astype(np.uint8)
    Image.fromarray(soft).save("soft.png")
    np.save("soft.npy", soft)
    np.save("share.npy", soft / 255)
    expected = soft[None] <= 127
    for mask in ("soft.png", "soft.npy", "share.npy"):
        np.testing.assert_array_equal(read_mask(mask, Space((1, 8, 8)), "a.png"), expected)


def test_a_transparent_hole_in_a_mask_is_filled_and_what_could_mean_two_things_is_refused(here, refused):
    layers = np.zeros((8, 8, 4), np.uint8)
    layers[..., 3] = 255
    layers[2:5, 3:, 3] = 0
    Image.fromarray(layers).save("hole.png")
    known = read_mask("hole.png", Space((1, 8, 8)), "a.png")
    np.testing.assert_array_equal(known, np.asarray(Image.open("mask.png"))[None] == 0)
    layers[0, 0, :3] = 255
    Image.fromarray(layers).save("both.png")
    assert "has white parts and transparent ones" in refused("edit", "inpaint", RUN, "a.png", "both.png")


def test_a_mask_of_the_pictures_own_size_is_resized_as_the_picture_is(here, done, refused):
    for name in ("a", "mask"):
        with Image.open(f"{name}.png") as image:
            image.resize((32, 32), Image.Resampling.NEAREST).save(f"{name}-large.png")
    known = read_mask("mask-large.png", Space((1, 8, 8)), "a-large.png")
    np.testing.assert_array_equal(known, read_mask("mask.png", Space((1, 8, 8)), "a.png"))
    assert "give a mask of that size, or of the picture's own" in refused(
        "edit", "inpaint", RUN, "a.png", "mask-large.png"
    )


@pytest.mark.parametrize(
    ("space", "accepted", "refused"),
    [
        (Space((5,), "float32", None, None), [(5,)], "the shape (5,), got (4,)"),
        (Space((2, 64), "float32", None, None), [(64,), (1, 64), (2, 64)], "the shape (64,) or (2, 64), got"),
        (Space((1, 4, 8, 8)), [(4, 8, 8), (1, 4, 8, 8)], "the shape (4, 8, 8), got (4,)"),
        (Space((3, 8, 8), layout="HWC"), [(8, 8), (1, 8, 8), (8, 8, 3)], "the shape (8, 8) or (8, 8, 3),"),
        (Space((1, 8, 8), layout="HW"), [(8, 8), (1, 8, 8)], "the shape (8, 8), got (4,)"),
    ],
    ids=str,
)
def test_a_mask_is_of_the_sides_or_of_the_whole_sample(here, space, accepted, refused):
    for shape in accepted:
        fill = np.zeros(shape, bool)
        fill[..., 1] = True
        np.save("fill.npy", fill)
        known = read_mask("fill.npy", space, "sample.npy")
        whole = space.from_layout(fill) if shape == (8, 8, 3) else np.broadcast_to(fill, space.shape)
        np.testing.assert_array_equal(np.broadcast_to(known, space.shape), ~whole)
    np.save("fill.npy", np.array([True, False, False, False]))
    with pytest.raises(ValueError, match=re.escape(f"must have {refused}")):
        read_mask("fill.npy", space, "sample.npy")


class Third(nn.Module):
    """A third of x, of any shape."""

    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1 / 3))

    def forward(self, x, c_noise):
        return self.weight * x


@pytest.mark.parametrize("shape", [(5,), (2, 16)], ids=str)
def test_single_numbers_of_any_sample_are_filled_in(here, done, shape, monkeypatch):
    monkeypatch.setitem(NETWORKS, "third", Third)
    space = Space(shape, "float32", -3.0, 3.0)
    net = build_network({"name": "third"}, shape, {})
    save(Denoiser(net, Schedule.linear(100), "x0", fit_codec(space)), here / "any.safetensors")
    sample, fill = np.random.default_rng(0).uniform(-3, 3, shape).astype(np.float32), np.zeros(shape, bool)
    fill[-1] = True
    np.save("sample.npy", sample)
    np.save("fill.npy", fill)
    how = ["-n", 2, "--steps", 2, "--out", "i"]
    done("edit", "inpaint", "any.safetensors", "sample.npy", "fill.npy", *how)
    for found in np.load("i/samples.npy"):
        np.testing.assert_array_equal(found[~fill], sample[~fill])
        assert np.all(found[fill] != sample[fill])


def test_the_defaults_of_a_restoration_are_those_that_its_help_shows(here, done):
    shown = {option.name: str(option.help) for option in command("edit").commands["inpaint"].params}
    done("edit", "inpaint", PLAIN, "a.png", "left", "--steps", 1, "--out", "i")
    found = facts(here / "i")
    observation = found["observation"]
    assert f"default: {len(found['indices'])}]" in shown["number"]
    assert f"default: {observation['method']}]" in shown["method"]
    assert f"default: {observation['strength']:g}]" in shown["strength"]


def test_inpainting_by_gradient_under_guidance(here, done):
    how = [
        "--method",
        "gradient",
        "--strength",
        0.5,
        "--class",
        "left",
        "--guidance",
        2,
        "--sampler",
        "ipndm",
    ]
    done("edit", "inpaint", RUN, "a.png", "left", "-n", 1, "--steps", 4, *how, "--out", "i")
    found = facts(here / "i")
    assert found["observation"] == {"operator": "known pixels", "method": "gradient", "strength": 0.5}
    np.testing.assert_array_equal(values("i/000000.png")[:, 4:], values("a.png")[:, 4:])


def test_upscaling_a_small_picture(here, done):
    out, _ = done("edit", "upscale", RUN, "small.png", "--factor", 2, "-n", 3, "--steps", 4, "--out", "u")
    assert files(here / "u") == {f"{i:06d}.png" for i in range(3)} | {"observed.png", *SAMPLES}
    found = facts(here / "u")
    assert found["observation"]["operator"] == "means of 2 × 2 pixels"
    means = np.load("u/samples.npy").astype(float).reshape(3, 4, 2, 4, 2).mean((2, 4))
    errors = np.sqrt(((means - values("small.png")) ** 2).mean((1, 2)))
    np.testing.assert_allclose(found["observation_error"], errors, atol=1e-3)
    assert max(errors) < 0.5
    assert "observation error (means of 2 × 2 pixels): 0." in out
    np.testing.assert_array_equal(values("u/observed.png")[::64, ::64], values("small.png"))


def test_upscaling_a_whole_picture_measures_it_first(here, done):
    done("edit", "upscale", PLAIN, "a.png", "--whole", "--factor", 2, "-n", 1, "--steps", 2, "--out", "u")
    assert files(here / "u") == {"000000.png", "whole.png", "observed.png", *SAMPLES}
    means = np.rint(values("a.png").astype(float).reshape(4, 2, 4, 2).mean((1, 3)))
    assert np.abs(values("u/observed.png")[::64, ::64] - means).max() <= 1  # a half may go either way
    np.testing.assert_array_equal(values("u/whole.png")[::32, ::32], values("a.png"))


def test_colorizing(here, done):
    done("edit", "colorize", COLOR, "a.png", "-n", 2, "--steps", 3, "--out", "c")
    samples = np.moveaxis(np.load("c/samples.npy"), 1, -1).astype(float)
    assert samples.shape == (2, 8, 8, 3)
    assert np.abs(samples @ [0.299, 0.587, 0.114] - values("a.png")).max() < 1
    assert max(facts(here / "c")["observation_error"]) < 0.5
    assert values("c/observed.png").ndim == 2
    done("edit", "colorize", COLOR, "color.png", "--whole", "-n", 1, "--steps", 2, "--out", "w")
    assert {"whole.png", "observed.png"} <= files(here / "w")
    assert values("w/whole.png").shape[-1] == 3


def test_a_photograph_is_no_mask(here, refused):
    color = np.zeros((8, 8, 3), np.uint8)
    color[:, 4:] = 200, 40, 90
    Image.fromarray(color).save("photo.png")
    assert "photo.png has colors: a mask is white where" in refused(
        "edit", "inpaint", PLAIN, "a.png", "photo.png"
    )


def test_an_edit_loads_opens_and_evaluates_once(here, done, monkeypatch):
    """The model, the picture, and the evaluations of all samples together."""
    counted = {"model": 0, "picture": 0, "evaluation": 0}

    def count(place, name, what):
        original = getattr(place, name)

        def counting(*given, **more):
            counted[what] += 1
            return original(*given, **more)

        monkeypatch.setattr(place, name, counting)

    count(model_file, "load_tensors", "model")
    count(pictures_module, "picture_array", "picture")
    count(Denoiser, "forward", "evaluation")
    done("edit", "inpaint", PLAIN, "a.png", "right", "-n", 4, "--steps", 6, "--out", "i")
    assert counted == {"model": 1, "picture": 1, "evaluation": 6}


def test_deblurring(here, done):
    done(
        "edit",
        "deblur",
        PLAIN,
        "a.png",
        "--sigma",
        0.7,
        "-n",
        1,
        "--steps",
        3,
        "--method",
        "gradient",
        "--out",
        "d",
    )
    found = facts(here / "d")
    assert found["observation"] == {"operator": "blur of 0.7 pixels", "method": "gradient", "strength": 1}
    assert files(here / "d") == {"000000.png", "observed.png", *SAMPLES}
    done("edit", "deblur", PLAIN, "a.png", "--whole", "-n", 1, "--steps", 3, "--sigma", 0.7, "--out", "w")
    assert facts(here / "w")["observation_error"][0] < 2  # of 255
    assert "whole.png" in files(here / "w")


def test_arrays_are_restored_in_their_own_type_and_layout(here, done):
    whole = np.random.default_rng(0).uniform(0, 10, (8, 8)).astype(np.float32)
    np.save("whole.npy", whole)
    done("edit", "inpaint", FIELDS, "whole.npy", "top", "-n", 2, "--steps", 2, "--out", "i")
    samples = np.load("i/samples.npy")
    assert (samples.dtype, samples.shape) == (np.float32, (2, 8, 8))
    assert samples[:, 4:].tobytes() == np.stack([whole[4:]] * 2).tobytes()
    np.save("small.npy", whole.reshape(4, 2, 4, 2).mean((1, 3)))
    done("edit", "upscale", FIELDS, "small.npy", "--factor", 2, "-n", 1, "--steps", 2, "--out", "u")
    means = np.load("u/samples.npy")[0].reshape(4, 2, 4, 2).mean((1, 3))
    np.testing.assert_allclose(means, np.load("small.npy"), atol=1e-3)


def test_an_array_of_another_type_is_restored_in_the_models(here, done):
    np.save("double.npy", np.linspace(0, 10, 64).reshape(8, 8))
    done("edit", "inpaint", FIELDS, "double.npy", "top", "-n", 1, "--steps", 1, "--out", "i")
    assert np.load("i/samples.npy").dtype == np.float32 == np.dtype(facts(here / "i")["dtype"])


def test_masks_that_are_none(here, refused):
    Image.new("L", (9, 8), 255).save("wide.png")
    np.save("wide.npy", np.ones((8, 9), bool))
    for name, value in (("white", 255), ("black", 0)):
        Image.new("L", (8, 8), value).save(f"{name}.png")
        np.save(f"{name}.npy", np.full((8, 8), value))
    (here / "text.png").write_text("no picture")
    for mask, expected in {
        "wide.png": "the mask wide.png is 9 × 8, and the model's pictures are 8 × 8",
        "wide.npy": "the mask wide.npy must have the shape (8, 8), got (8, 9)",
        "white.png": "the mask white.png is all white: white is filled",
        "black.png": "the mask black.png is all black: white is filled",
        "white.npy": "the mask white.npy is all white: white is filled",
        "black.npy": "the mask black.npy is all black: white is filled",
        "nowhere.png": "no such file: nowhere.png (a mask is a picture, .npy, or left, right, top, bottom)",
        "middle": "no such file: middle (a mask is a picture, .npy, or left, right, top, bottom)",
        "text.png": "text.png cannot be read as a picture",
    }.items():
        assert expected in refused("edit", "inpaint", RUN, "a.png", mask, "--out", "i")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["edit", "upscale", RUN, "a.png", "--factor", "2"],
            "a.png is 8 × 8, and what this model can restore is 4 × 4; for a whole picture, to be degraded "
            "first, add --whole",
        ),
        (["edit", "upscale", RUN, "small.png", "--factor", "3"], "2 or more and divide 8 × 8, got 3"),
        (["edit", "upscale", RUN, "small.png", "--factor", "1"], "2 or more and divide 8 × 8, got 1"),
        (["edit", "upscale", RUN, "small.png", "--factor", "0"], "got 0"),
        (
            ["edit", "upscale", RUN, "small.png", "--factor", "2", "-n", "0"],
            "n must be a whole number of at least 1, got 0",
        ),
        (["edit", "upscale", RUN, "nowhere.png", "--factor", "2"], "no such file: nowhere.png"),
        (
            ["edit", "upscale", RUN, "small.png", "--factor", "2", "--method", "guess"],
            "unknown method 'guess'",
        ),
        (
            ["edit", "upscale", RUN, "small.png", "--factor", "2", "--strength", "2"],
            "a positive factor on the gradient",
        ),
        (
            ["edit", "colorize", RUN, "a.png"],
            "colorizing needs a model of three channels, and this one has 1",
        ),
        (["edit", "deblur", RUN, "a.png", "--sigma", "0"], "the blur must be above 0 pixels, got 0"),
        (
            ["edit", "deblur", RUN, "small.png"],
            "small.png is 4 × 4, and what this model can restore is 8 × 8",
        ),
        (
            ["edit", "deblur", RUN, "a.png", "--method", "gradient", "--strength", "-1"],
            "strength is a positive factor on the gradient, got -1",
        ),
        (["edit", "inpaint", RUN, "nowhere.png", "left"], "no such file: nowhere.png"),
        (["edit", "inpaint", RUN, "a.png"], "Missing argument 'MASK'; see alphabar edit inpaint --help"),
        (["edit", "inpaint", "nowhere", "a.png", "left"], "no such file: nowhere"),
        (
            ["edit", "inpaint", RUN, "a.png", "left", "--steps", "0"],
            "--steps must be a whole number of at least 1, got 0",
        ),
    ],
)
def test_restorations_that_are_none(refused, arguments, expected):
    assert expected in refused(*arguments, "--out", "out")


def test_measurements_that_are_not_numbers(refused):
    np.save("nan.npy", np.full((4, 4), np.nan, np.float32))
    np.save("hole.npy", np.full((8, 8), np.inf, np.float32))
    assert "finite" in refused("edit", "upscale", FIELDS, "nan.npy", "--factor", 2, "--out", "u")
    assert "finite" in refused("edit", "inpaint", FIELDS, "hole.npy", "left", "--out", "i")


COMMANDS = {  # and the name of the folder that each writes
    "interpolate": (["edit", "interpolate", PLAIN, "a.png", "b.png", "--by", "noise"], "interpolated"),
    "inpaint": (["edit", "inpaint", PLAIN, "a.png", "left"], "inpainted"),
    "upscale": (["edit", "upscale", PLAIN, "small.png", "--factor", "2"], "upscaled"),
    "colorize": (["edit", "colorize", COLOR, "a.png"], "colorized"),
    "deblur": (["edit", "deblur", PLAIN, "a.png"], "deblurred"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_overwritten(here, done, refused, command):
    (here / "full").mkdir()
    (here / "full" / "mine.txt").write_text("mine")
    arguments, stem = COMMANDS[command]
    how = ["--steps", 1, "--sampler", "ddim", "-n", 2]
    assert "full is not empty; choose a new folder" in refused(*arguments, *how, "--out", "full")
    message = refused(*arguments, *how, "--out", "a.png")
    assert "--out is a folder for all that is written" in message
    assert "give --out a, and look at a/grid.png" in message
    for _ in range(2):
        done(*arguments, *how)
    assert {f"{stem}-001", f"{stem}-002"} <= files(here)


@pytest.mark.parametrize("command", ["inpaint", "upscale", "deblur"])
def test_a_class_that_is_drawn_is_said(here, done, command):
    """A model that always needs a class gets one at random for a restoration, and one is told."""
    arguments = [ALWAYS if word == PLAIN else word for word in COMMANDS[command][0]]
    _, err = done(*arguments, "--steps", 1, "-n", 2, "--out", "s")
    assert err == "no --class was given: the class of each is drawn at random\n"
    _, err = done(*arguments, "--steps", 1, "-n", 2, "--class", "right", "--out", "of-class")
    assert err == ""
    assert facts(here / "of-class")["told"] == {"class": [1, 1]}


# --- fit-sampler ----------------------------------------------------------------------------------------


def test_a_fitted_model_uses_its_own_plan(here, done):
    before = (here / RUN).read_bytes()
    out, _ = done(
        "fit-sampler", RUN, "--steps", 2, "--noises", 8, "--variance", "--out", "fitted.safetensors"
    )
    assert (here / RUN).read_bytes() == before
    assert "kept in fitted.safetensors; now: alphabar sample fitted.safetensors --steps 2 or" in out
    shown, _ = done("show", "plan", "fitted.safetensors", "--steps", 2)
    assert "sampler fitted" in shown
    assert shown.splitlines()[:3] == out.splitlines()[:3]
    done("sample", "fitted.safetensors", "-n", 2, "--steps", 2, "--out", "s")
    assert facts(here / "s")["plan"]["sampler"] == "fitted"
    done("sample", "fitted.safetensors", "-n", 2, "--steps", 2, "--sampler", "ddim", "--out", "ddim")
    assert facts(here / "ddim")["plan"]["sampler"] == "ddim"
    optimal = ["--sampler", "ddpm", "--variance", "optimal", "--steps", 3]
    done("sample", "fitted.safetensors", "-n", 2, *optimal, "--out", "optimal")
    assert facts(here / "optimal")["plan"]["variance"] == "optimal"
    done("edit", "inpaint", "fitted.safetensors", "a.png", "left", "-n", 1, "--steps", 2, "--out", "i")
    assert facts(here / "i")["plan"]["sampler"] == "fitted"
    np.testing.assert_array_equal(values("i/000000.png")[:, 4:], values("a.png")[:, 4:])
    done("show", "plan", "fitted.safetensors", "--steps", 2, "--out", "fitted.json")
    done("sample", RUN, "-n", 2, "--plan", "fitted.json", "--out", "elsewhere")
    np.testing.assert_array_equal(np.load("elsewhere/samples.npy"), np.load("s/samples.npy"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "say what to fit: --steps N, --variance, or both"),
        (["--steps", "1"], "a plan can be fitted to 2 to 20 evaluations, got 1"),
        (["--steps", "21"], "a plan can be fitted to 2 to 20 evaluations, got 21"),
        (["--steps", "2", "--noises", "4"], "at least 8 noises to be fitted to, a whole number, got 4"),
        (["--steps", "2", "--out", RUN], f"{RUN} exists already"),
        (["--steps", "2", "--out", "tuned.bin"], "--out must end in .safetensors"),
        (["--steps", "2", "--guidance", "-1"], "the guidance scale must be at least 0"),
        (["--variance", "--guidance", "3"], "--guidance would be for a plan: give --steps N as well"),
        (["--variance", "--deterministic"], "--deterministic would be for a plan: give --steps N as well"),
    ],
)
def test_what_cannot_be_fitted(refused, options, expected):
    assert expected in refused("fit-sampler", RUN, *options)


def test_the_command_that_fitting_proposes_uses_what_was_fitted(here, done):
    how = ["--steps", 2, "--noises", 8, "--guidance", 2.125]
    out, _ = done("fit-sampler", RUN, *how, "--out", "my model.safetensors")
    _, proposed = out.splitlines()[-1].split("now: alphabar ")
    assert proposed == "sample 'my model.safetensors' --steps 2 --guidance 2.125"
    done(*shlex.split(proposed), "-n", 1, "--out", "s")
    assert facts(here / "s")["plan"]["sampler"] == "fitted"
    assert "--steps 2 --guidance 2.125\n" in done("info", "my model.safetensors")[0]


def test_guidance_cannot_be_fitted_for_a_model_without_classes(refused):
    assert "guidance needs a model that is told something" in refused(
        "fit-sampler", PLAIN, "--steps", 2, "--guidance", 2
    )


def test_fitting_never_takes_a_checkpoints_place(here, capfd):
    """What is fitted to an earlier moment of a run goes elsewhere: the run must still resume from it."""
    trainer = Trainer(tiny_config(), tiny_data())
    save_checkpoint(Moment.of(trainer, here / "trained" / "checkpoints"))
    save(trainer.ema, here / "trained" / "model.safetensors")
    before = contents(here / "trained" / "checkpoints")
    name = sorted(before)[-1]
    call("fit-sampler", f"trained/checkpoints/{name}", "--variance", "--noises", 8)
    assert contents(here / "trained" / "checkpoints") == before
