"""Plans, guidance, restoration and the way between two pictures, through the command line."""

from __future__ import annotations

import json
import os
import sys
import warnings

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from alphabar import DataSpec, Schedule, Trainer, load, make_plan
from alphabar.sampling.slots import sample_noise
from alphabar.theory.gaussian import q_sample
from alphabar.theory.plans import SAMPLERS, Plan
from alphabar.training.checkpoints import save_checkpoint
from test_bad_input import call, contents
from tiny import tiny_config, tiny_data, tiny_denoiser

NEW = ["tune", "probe", "interpolate", "inpaint", "upscale", "colourise", "deblur"]
RUN, PLAIN, COLOUR, FIELDS = (
    "run.safetensors",
    "plain.safetensors",
    "colour.safetensors",
    "fields.safetensors",
)
ALWAYS, WEAK = "always.safetensors", "weak.safetensors"  # always: of a class; weak: to guide by


def smooth(n, seed=0):
    """A picture of n × n greys that is not noise alone."""
    rng = np.random.default_rng(seed)
    waves = 120 + 80 * np.sin(np.arange(n) / (1 + seed))[:, None] * np.cos(np.arange(n) / 2)
    return (waves + rng.uniform(-20, 20, (n, n))).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """The commands are built once, not at every call; and no test here is about power cuts."""
    with pytest.MonkeyPatch.context() as patch:
        program = sys.modules["alphabar.cli.main"]
        patch.setattr(program, "app", get_command(program.app))
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Models of random weights for data of 8 × 8, and pictures: never to be changed."""
    place = tmp_path_factory.mktemp("models")
    for name, options, dropout in (
        (RUN, {}, 0.1),
        (WEAK, {"seed": 1}, 0.1),
        (ALWAYS, {}, 0.0),
        (PLAIN, {"num_classes": 0}, 0.0),
        (COLOUR, {"num_classes": 0, "in_channels": 3}, 0.0),
        (FIELDS, {"num_classes": 0}, 0.0),
    ):
        model = tiny_denoiser("v", **options)
        model.label_dropout = dropout
        if not options.get("num_classes", 2):
            model.data = DataSpec((options.get("in_channels", 1), 8, 8))
        if name == FIELDS:
            model.data = DataSpec((1, 8, 8), "float32", 0.0, 10.0, 5.0, 5.0, "HW")
        model.save(place / name)
    for name, seed in (("a", 0), ("b", 1)):
        Image.fromarray(smooth(8, seed)).save(place / f"{name}.png")
    Image.fromarray(smooth(4)).save(place / "small.png")
    Image.fromarray(np.stack([smooth(8, i) for i in range(3)], -1)).save(place / "colour.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 3:] = 255
    Image.fromarray(mask).save(place / "mask.png")
    np.save(place / "mask.npy", mask > 0)
    return place


@pytest.fixture
def done(capfd):
    """Call the program, which must succeed; what it printed on standard output and standard error."""

    def done(*arguments):
        capfd.readouterr()
        code = call(*arguments)
        out, err = capfd.readouterr()
        assert code == 0, f"{out}\n{err}"
        return out, err

    return done


@pytest.fixture
def refused(here, capfd):
    """Call the program, which must refuse: one line, exit code 2, nothing written."""

    def refused(*arguments):
        before = contents(here)
        capfd.readouterr()
        code = call(*arguments)
        out, err = capfd.readouterr()
        assert code == 2, f"{out}\n{err}"
        assert out == ""
        assert err.startswith("alphabar: ")
        assert err.count("\n") == 1, err
        assert contents(here) == before
        return err

    return refused


def facts(folder):
    return json.loads((folder / "samples.json").read_text())


def files(folder):
    return {path.name for path in folder.iterdir()}


def values(path):
    """A picture file as an array."""
    with Image.open(path) as image:
        return np.asarray(image)


SAMPLES = {"grid.png", "samples.npy", "samples.json"}


@pytest.mark.parametrize("command", [*(c.split() for c in NEW), ["plan"], ["plan", "show"]])
def test_every_new_command_has_help(done, command):
    out, _ = done(*command, "--help")
    assert "Usage: alphabar " + " ".join(command) in out


# --- plan show -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_is_shown_as_its_table(done, sampler):
    out, err = done("plan", "show", "--sampler", sampler, "--steps", 4)
    plan = make_plan(Schedule.linear(1000), sampler, 4)
    assert out.startswith(str(plan) + "\n")
    last = out.splitlines()[-1]
    assert last.startswith(f"4 evaluations, {'adds noise' if plan.stochastic else 'deterministic'}: ")
    assert f"sampler {sampler}" in last
    assert err == ""


def test_the_times_and_the_schedule_of_a_plan(done):
    out, _ = done("plan", "show", "--sampler", "dpmpp", "--times", "1000,400,0")
    assert str(make_plan(Schedule.linear(1000), "dpmpp", times=(1000, 400, 0))) in out
    out, _ = done("plan", "show", "--sampler", "ddim", "--start", 300, "--steps", 3, "--grid", "trailing")
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["300.00", "200.00", "100.00"]
    out, _ = done("plan", "show", "--schedule", "cosine", "--T", 200, "--sampler", "ddim", "--steps", 2)
    assert str(make_plan(Schedule.cosine(200), "ddim", 2)) in out
    out, _ = done("plan", "show", "--sampler", "unipc", "--grid", "log_snr", "--steps", 3, "--order", 1)
    assert str(make_plan(Schedule.linear(1000), "unipc", 3, grid="log_snr", order=1)) in out


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_plan_written_down_samples_the_same_bytes_as_its_name(here, done, sampler):
    out, _ = done(
        "plan", "show", "--T", 100, "--sampler", sampler, "--steps", 4, "--out", "p.json"
    )  # fmt: skip
    assert out.endswith("wrote p.json\n")
    again, _ = done("plan", "show", "p.json")
    assert again == out.removesuffix("wrote p.json\n")
    done("sample", RUN, "-n", 3, "--plan", "p.json", "--out", "by-plan")
    done("sample", RUN, "-n", 3, "--sampler", sampler, "--steps", 4, "--out", "by-name")
    bytes_ = [(here / folder / "samples.npy").read_bytes() for folder in ("by-plan", "by-name")]
    assert bytes_[0] == bytes_[1]
    recorded = facts(here / "by-plan")
    assert Plan.from_dict(recorded["plan"]).A.tolist() == json.loads((here / "p.json").read_text())["A"]
    assert recorded["times"] == facts(here / "by-name")["times"]


def test_a_runs_own_plan_has_its_schedule(here, done):
    out, _ = done("plan", "show", RUN, "--sampler", "unipc", "--steps", 3, "--out", "p.json")
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
        (["--times", ""], "--times must be numbers with commas between"),
        (["--times", "1000,0", "--steps", "1"], "times are given: steps, start and grid follow from them"),
        (["--start", "1001"], "t must lie within 0..1000, got 1001"),
        (["--start", "0"], "start must be above 0"),
        (["--grid", "even"], "unknown grid 'even'; known: trailing, log_snr, karras, flow"),
        (["--sampler", "unpic"], "unknown sampler 'unpic'"),
        (["--sampler", "ddpm", "--order", "2"], "ddpm takes variance, x0_mse, and not order"),
        (["--sampler", "dpmpp", "--order", "4"], "order must be a whole number within 1..3, got 4"),
        (["--sampler", "ddpm", "--variance", "optimal"], "the optimal variance is a model's"),
        (["--schedule", "sine"], "unknown schedule 'sine'"),
        (["--T", "0"], "T must be a whole number of at least 1, got 0"),
        ([RUN, "--T", "100"], "a RUN has its own schedule"),
        ([RUN, "--schedule", "cosine"], "a RUN has its own schedule"),
        ([RUN, "--sampler", "ddpm", "--variance", "optimal"], "alphabar tune RUN --variance"),
        (["nowhere"], "no such file: nowhere"),
        (["nowhere.json"], "no such file: nowhere.json"),
        (["--out", "plan.txt"], "--out must end in .json, got plan.txt"),
    ],
)
def test_plans_that_are_none(refused, options, expected):
    assert expected in refused("plan", "show", *options)


def test_a_plans_file_is_shown_alone_and_never_overwritten(done, refused):
    done("plan", "show", "--sampler", "ddim", "--steps", 2, "--out", "p.json")
    assert "give it alone" in refused("plan", "show", "p.json", "--steps", 3)
    assert "give it alone" in refused("plan", "show", "p.json", "--T", 100)
    assert "p.json exists already" in refused("plan", "show", "--sampler", "unipc", "--out", "p.json")


def test_files_that_hold_no_plan(here, done, refused):
    done("plan", "show", "--T", 100, "--sampler", "ddim", "--steps", 2, "--out", "good.json")
    good = json.loads((here / "good.json").read_text())
    for name, entry in {
        "list": [1, 2],
        "other": {"times": [1, 0]},
        "more": {**good, "colour": 1},
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
        "more": "colour",
        "short": "a plan of 2 rows needs",
        "words": "A of a plan must be a table of numbers",
        "ragged": "B of a plan must be a table of numbers",
        "history": "unknown history 'v'; known: x0, eps",
        "negative": "C >= 0",
        "infinite": "must be finite numbers",
        "flat": "a plan of 0 rows needs",
        "nowhere": "no such file: nowhere.json",
    }.items():
        assert expected in refused("plan", "show", f"{name}.json"), name
    for name in ("text", "history"):
        assert f"{name}.json is no plan: " in refused("sample", RUN, "--plan", f"{name}.json", "--out", "s")


def test_how_a_plan_was_made_is_a_table_of_names(here, done, refused):
    done("plan", "show", "--T", 100, "--sampler", "ddim", "--steps", 2, "--out", "good.json")
    good = json.loads((here / "good.json").read_text())
    (here / "bad.json").write_text(json.dumps({**good, "made_by": [1]}))
    assert "bad.json is no plan: " in refused("plan", "show", "bad.json")
    assert "bad.json is no plan: " in refused("sample", RUN, "--plan", "bad.json", "--out", "s")


# --- sample: how to draw -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "made_by"),
    [
        (["--sampler", "dpmpp", "--order", 3, "--grid", "karras"], {"order": 3, "grid": "karras", "eta": 0}),
        (["--sampler", "dpmpp", "--eta", 1, "--grid", "log_snr"], {"eta": 1, "grid": "log_snr"}),
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
    assert files(here / "s") == {"000000.png", "000001.png", *SAMPLES}


def test_guidance_its_interval_and_its_rescale(here, done):
    how = ["--steps", 4, "--sampler", "ddim", "--class", "left", "-n", 2]
    done("sample", RUN, *how, "--out", "plain")
    done("sample", RUN, *how, "--guidance", 1, "--out", "one")
    done("sample", RUN, *how, "--guidance", 3, "--out", "three")
    done("sample", RUN, *how, "--guidance", 3, "--guidance-rescale", 0.7, "--out", "rescaled")
    interval = ["--guidance-interval", 25, 75]
    done("sample", RUN, *how, "--guidance", 3, *interval, "--out", "within")  # times 100, 75, 50, 25
    done("sample", RUN, *how, "--guidance", 2, "--guide", WEAK, "--out", "by")
    arrays = {name: np.load(here / name / "samples.npy") for name in ("plain", "three", "rescaled", "within")}
    assert np.array_equal(arrays["plain"], np.load("one/samples.npy"))
    assert len(np.unique(np.stack([*arrays.values()]).reshape(4, -1), axis=0)) == 4
    evaluations = {name: facts(here / name)["evaluations"] for name in (*arrays, "by")}
    assert evaluations == {"plain": 4, "three": 8, "rescaled": 8, "within": 6, "by": 8}
    assert facts(here / "plain")["guidance"] is None
    assert facts(here / "within")["guidance"] == {
        "scale": 3, "interval": [25, 75], "rescale": 0, "by": None
    }  # fmt: skip
    assert facts(here / "by")["guidance"]["by"] == load(WEAK).digest


def test_no_class_and_thresholding(here, done):
    done("sample", RUN, "-n", 2, "--steps", 3, "--class", "none", "--out", "free")
    done("sample", RUN, "-n", 2, "--steps", 3, "--threshold", 0.9, "--out", "dynamic")
    assert facts(here / "free")["labels"] == [-1, -1]
    with Image.open("free/000001.png") as picture:
        assert json.loads(picture.text["alphabar"])["class"] is None
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
        assert call("plan", "show", "--sampler", "ipndm", "--order", 4, "--steps", 3) == 0
        assert "order 4 is not reached in 3 evaluations" in capfd.readouterr().err
    assert facts(here / "s")["plan"]["order"] == 1


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        (RUN, ["--grid", "even"], "unknown grid 'even'; known: trailing, log_snr, karras, flow"),
        (RUN, ["--sampler", "unipc", "--order", "9"], "order must be a whole number within 1..3, got 9"),
        (RUN, ["--sampler", "heun", "--churn", "-1"], "churn and churn_noise must be finite and at least 0"),
        (PLAIN, ["--guidance", "2"], "guidance needs a model with classes, and this one has none"),
        (ALWAYS, ["--guidance", "2"], "--set label_dropout=0.1"),
        (ALWAYS, ["--class", "none"], "label -1, no class, needs a model that also knows no class"),
        (PLAIN, ["--class", "none"], "this model has no classes"),
        (RUN, ["--guidance", "-1"], "the guidance scale must be at least 0 (1: none), got -1.0"),
        (RUN, ["--guidance", "nan"], "the guidance scale must be at least 0"),
        (RUN, ["--guidance", "2", "--guidance-interval", "80", "20"], "two rising times, got (80.0, 20.0)"),
        (RUN, ["--guidance", "2", "--guidance-rescale", "2"], "rescale must lie within 0..1, got 2.0"),
        (RUN, ["--guidance-rescale", "0.5"], "act only where the guidance scale is not 1"),
        (RUN, ["--guide", WEAK], "act only where the guidance scale is not 1"),
        (RUN, ["--guidance", "2", "--guide", "nowhere"], "no such file: nowhere"),
        (RUN, ["--guidance", "2", "--guide", PLAIN], "the model to guide by has another classes"),
        (COLOUR, ["--guidance", "2", "--guide", PLAIN], "has another shape of samples"),
        (RUN, ["--guidance", "2", "--class", "none"], "guidance leads towards a class"),
        (RUN, ["--threshold", "1.5"], "must lie within 0..1, got 1.5"),
        (RUN, ["--threshold", "0.9", "--no-clip"], "give threshold or clip, not both"),
        (RUN, ["--sampler", "ddpm", "--variance", "optimal"], "alphabar tune RUN --variance"),
    ],
)
def test_ways_to_draw_that_are_none(refused, model, options, expected):
    assert expected in refused("sample", model, *options, "--out", "s")


def test_plans_that_do_not_fit(done, refused):
    done("plan", "show", "--T", 100, "--sampler", "ddim", "--steps", 2, "--out", "p.json")
    done("plan", "show", "--T", 200, "--sampler", "ddim", "--steps", 2, "--out", "long.json")
    done("plan", "show", "--schedule", "cosine", "--T", 100, "--steps", 2, "--out", "cosine.json")
    done("plan", "show", "--T", 100, "--sampler", "ddim", "--times", "100,50", "--out", "open.json")
    done("plan", "show", "--T", 100, "--sampler", "ddim", "--start", 50, "--steps", 2, "--out", "half.json")
    for options in (["--steps", 2], ["--sampler", "ddim"], ["--grid", "karras"], ["--eta", 0]):
        assert "give it alone" in refused("sample", RUN, "--plan", "p.json", *options)
    for name in ("long", "cosine"):
        assert "made for another schedule" in refused("sample", RUN, "--plan", f"{name}.json")
    assert "ends at 0, the clean sample, got 50" in refused("sample", RUN, "--plan", "open.json")
    assert "from pure noise sampling starts at T = 100, got 50" in refused(
        "sample", RUN, "--plan", "half.json"
    )
    assert "this plan starts at 50, and --t is 40" in refused(
        "denoise", RUN, "a.png", "--t", 40, "--plan", "half.json"
    )


def test_plans_that_do_not_fit_an_interpolation(done, refused):
    done("plan", "show", "--T", 100, "--sampler", "ddim", "--steps", 2, "--out", "p.json")
    done("plan", "show", "--T", 100, "--sampler", "ddim", "--start", 50, "--steps", 2, "--out", "half.json")
    pair = ["interpolate", PLAIN, "a.png", "b.png"]
    assert "give it alone" in refused(*pair, "--plan", "p.json", "--steps", 3)
    assert "start" in refused(*pair, "--plan", "half.json")
    assert "start" in refused(*pair, "--by", "noise", "--t", 80, "--plan", "half.json")


# --- several real pictures -----------------------------------------------------------------------


def test_several_pictures_are_each_brought_back_in_several_ways(here, done):
    how = ["--t", 40, "--steps", 3, "--sampler", "ddim", "--grid", "trailing", "--seed", 5]
    done("denoise", RUN, "a.png", "b.png", *how, "-n", 2, "--out", "d")
    expected = {"noisy.npy", "noisy.png", "input.png", "strip.png", "trajectory.gif", *SAMPLES}
    assert files(here / "d") == {f"{i:06d}.png" for i in range(4)} | expected
    found = facts(here / "d")
    assert (found["pictures"], found["t"], found["labels"]) == (["a.png", "b.png"], 40, [-1] * 4)
    assert found["times"] == [40, 27, 13, 0]
    model, noisy = load(RUN), np.load("d/noisy.npy")
    for i, name in enumerate(("a.png", "b.png")):  # the state that the first sample of each started from
        x_0 = model.data.to_model(values(name)[None])
        eps = sample_noise(5, 2 * i, 0, (1, 8, 8))
        np.testing.assert_allclose(noisy[i], q_sample(model.schedule, x_0, 40, eps), atol=1e-6)
    samples = np.load("d/samples.npy")
    np.save("b-noisy.npy", noisy[1])
    done("denoise", RUN, "b-noisy.npy", "--noisy", *how, "-n", 1, "--out", "again")
    assert np.abs(np.load("again/samples.npy")[0].astype(int) - samples[2]).max() <= 1
    np.save("a-noisy.npy", noisy[0])
    done("denoise", RUN, "a-noisy.npy", "b-noisy.npy", "--noisy", *how, "-n", 1, "--out", "both")
    assert "input.png" not in files(here / "both")
    for got, i in zip(np.load("both/samples.npy"), (0, 2)):
        assert np.abs(got.astype(int) - samples[i]).max() <= 1


def test_pictures_come_back_with_a_plan_from_their_own_time(here, done):
    how = ["--sampler", "ddim", "--grid", "trailing", "--steps", 2]
    done("plan", "show", RUN, "--start", 50, *how, "--out", "half.json")
    done("denoise", RUN, "a.png", "--t", 50, "--plan", "half.json", "-n", 1, "--out", "d")
    assert facts(here / "d")["times"] == [50, 25, 0]


@pytest.mark.parametrize("by", [["--by", "encode"], ["--by", "noise", "--t", 40]], ids=["encode", "noise"])
def test_the_way_between_two_pictures(here, done, by):
    done("interpolate", RUN, "a.png", "b.png", "-n", 3, "--steps", 3, *by, "--out", "i")
    assert files(here / "i") == {"000000.png", "000001.png", "000002.png", "row.png", *SAMPLES}
    found = facts(here / "i")
    assert (found["pictures"], found["by"]) == (["a.png", "b.png"], by[1])
    assert found["times"][0] == (40 if "noise" in by else 100)
    assert found["labels"] == [-1] * 3
    factor = len(values("i/row.png")) // 8
    row = values("i/row.png")[::factor, ::factor]
    assert row.shape == (8, 5 * 8 + 4 * 2)  # A, the three, B, and gaps
    np.testing.assert_array_equal(row[:, :8], values("a.png"))
    np.testing.assert_array_equal(row[:, 20:28], values("i/000001.png"))
    np.testing.assert_array_equal(row[:, -8:], values("b.png"))


def test_the_way_between_two_of_a_class_under_guidance(here, done):
    how = ["--steps", 2, "--by", "noise", "--sampler", "dpmpp", "--class", "right", "--guidance", 2]
    done("interpolate", RUN, "a.png", "b.png", "-n", 2, *how, "--out", "i")
    assert facts(here / "i")["labels"] == [1, 1]
    assert facts(here / "i")["guidance"]["scale"] == 2


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        (RUN, ["--t", "40"], "t is for interpolation by noise"),
        (RUN, ["--by", "noise", "--t", "0"], "--t must lie within 1..100, got 0"),
        (RUN, ["--by", "noise", "--t", "101"], "--t must lie within 1..100, got 101"),
        (RUN, ["--by", "noise", "--t", "nan"], "--t must lie within 1..100, got nan"),
        (RUN, ["--by", "magic"], "unknown way to interpolate 'magic'; known: encode, noise"),
        (RUN, ["-n", "1"], "n must be at least 2, the two pictures, got 1"),
        (RUN, ["--by", "noise", "--sampler", "ddpm"], "interpolation needs a plan that adds no noise"),
        (ALWAYS, [], "this model always needs a class: give one"),
        (RUN, ["--by", "noise", "--guidance", "2"], "guidance leads towards a class"),
    ],
)
def test_ways_between_two_that_are_none(refused, model, options, expected):
    assert expected in refused("interpolate", model, "a.png", "b.png", *options, "--out", "i")
    assert "no such file: c.png" in refused("interpolate", model, "a.png", "c.png", "--out", "i")


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
    out, _ = done("inpaint", RUN, "a.png", mask, "-n", 2, "--steps", 2, "--out", "i")
    assert files(here / "i") == {"000000.png", "000001.png", "measured.png", *SAMPLES}
    assert out.splitlines()[-1] == "measurement error (known pixels): 0, at most 0 of a range of 255"
    found = facts(here / "i")
    assert (found["picture"], found["mask"], found["measurement_error"]) == ("a.png", mask, [0, 0])
    assert found["measured"] == {"operator": "known pixels", "method": "projection", "strength": 1}
    assert found["labels"] == [-1, -1]
    known = np.ones((8, 8), bool)
    known[FILLED[mask]] = False
    for i in range(2):
        got = values(f"i/{i:06d}.png")
        np.testing.assert_array_equal(got[known], values("a.png")[known])
        assert np.any(got[~known] != values("a.png")[~known])
    shown = values("i/measured.png")[::32, ::32]
    np.testing.assert_array_equal(shown, np.where(known, values("a.png"), 0))


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
    done("inpaint", RUN, "a.png", "left", "-n", 1, "--steps", 4, *how, "--out", "i")
    found = facts(here / "i")
    assert found["measured"] == {"operator": "known pixels", "method": "gradient", "strength": 0.5}
    np.testing.assert_array_equal(values("i/000000.png")[:, 4:], values("a.png")[:, 4:])


def test_upscaling_a_small_picture(here, done):
    out, _ = done("upscale", RUN, "small.png", "--factor", 2, "-n", 3, "--steps", 4, "--out", "u")
    assert files(here / "u") == {f"{i:06d}.png" for i in range(3)} | {"measured.png", *SAMPLES}
    found = facts(here / "u")
    assert found["measured"]["operator"] == "means of 2 × 2 pixels"
    means = np.load("u/samples.npy").astype(float).reshape(3, 4, 2, 4, 2).mean((2, 4))
    errors = np.sqrt(((means - values("small.png")) ** 2).mean((1, 2)))
    np.testing.assert_allclose(found["measurement_error"], errors, atol=1e-3)
    assert max(errors) < 0.5
    assert "measurement error (means of 2 × 2 pixels): 0." in out
    np.testing.assert_array_equal(values("u/measured.png")[::64, ::64], values("small.png"))


def test_upscaling_a_whole_picture_measures_it_first(here, done):
    done("upscale", PLAIN, "a.png", "--whole", "--factor", 2, "-n", 1, "--steps", 2, "--out", "u")
    assert files(here / "u") == {"000000.png", "whole.png", "measured.png", *SAMPLES}
    means = np.rint(values("a.png").astype(float).reshape(4, 2, 4, 2).mean((1, 3)))
    assert np.abs(values("u/measured.png")[::64, ::64] - means).max() <= 1  # a half may go either way
    np.testing.assert_array_equal(values("u/whole.png")[::32, ::32], values("a.png"))


def test_colourising(here, done):
    done("colourise", COLOUR, "a.png", "-n", 2, "--steps", 3, "--out", "c")
    samples = np.moveaxis(np.load("c/samples.npy"), 1, -1).astype(float)
    assert samples.shape == (2, 8, 8, 3)
    assert np.abs(samples @ [0.299, 0.587, 0.114] - values("a.png")).max() < 1
    assert max(facts(here / "c")["measurement_error"]) < 0.5
    assert values("c/measured.png").ndim == 2
    done("colourise", COLOUR, "colour.png", "--whole", "-n", 1, "--steps", 2, "--out", "w")
    assert {"whole.png", "measured.png"} <= files(here / "w")
    assert values("w/whole.png").shape[-1] == 3


def test_deblurring(here, done):
    done(
        "deblur", PLAIN, "a.png", "--sigma", 0.7, "-n", 1, "--steps", 3, "--method", "gradient", "--out", "d"
    )
    found = facts(here / "d")
    assert found["measured"] == {"operator": "blur of 0.7 pixels", "method": "gradient", "strength": 1}
    assert files(here / "d") == {"000000.png", "measured.png", *SAMPLES}
    done("deblur", PLAIN, "a.png", "--whole", "-n", 1, "--steps", 3, "--sigma", 0.7, "--out", "w")
    assert facts(here / "w")["measurement_error"][0] < 1
    assert "whole.png" in files(here / "w")


def test_arrays_are_restored_in_their_own_type_and_layout(here, done):
    whole = np.random.default_rng(0).uniform(0, 10, (8, 8)).astype(np.float32)
    np.save("whole.npy", whole)
    done("inpaint", FIELDS, "whole.npy", "top", "-n", 2, "--steps", 2, "--out", "i")
    samples = np.load("i/samples.npy")
    assert (samples.dtype, samples.shape) == (np.float32, (2, 8, 8))
    assert samples[:, 4:].tobytes() == np.stack([whole[4:]] * 2).tobytes()
    np.save("small.npy", whole.reshape(4, 2, 4, 2).mean((1, 3)))
    done("upscale", FIELDS, "small.npy", "--factor", 2, "-n", 1, "--steps", 2, "--out", "u")
    means = np.load("u/samples.npy")[0].reshape(4, 2, 4, 2).mean((1, 3))
    np.testing.assert_allclose(means, np.load("small.npy"), atol=1e-3)


def test_an_array_of_another_type_is_restored_in_the_models(here, done):
    np.save("double.npy", np.linspace(0, 10, 64).reshape(8, 8))
    done("inpaint", FIELDS, "double.npy", "top", "-n", 1, "--steps", 1, "--out", "i")
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
        assert expected in refused("inpaint", RUN, "a.png", mask, "--out", "i")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["upscale", RUN, "a.png", "--factor", "2"],
            "a.png is 8 × 8, and what this model can restore is 4 × 4; for a whole picture, to be degraded "
            "first, add --whole",
        ),
        (["upscale", RUN, "small.png", "--factor", "3"], "2 or more and divide 8 × 8, got 3"),
        (["upscale", RUN, "small.png", "--factor", "1"], "2 or more and divide 8 × 8, got 1"),
        (["upscale", RUN, "small.png", "--factor", "0"], "got 0"),
        (["upscale", RUN, "small.png", "--factor", "2", "-n", "0"], "at least one is needed"),
        (["upscale", RUN, "nowhere.png", "--factor", "2"], "no such file: nowhere.png"),
        (["upscale", RUN, "small.png", "--factor", "2", "--method", "guess"], "unknown method 'guess'"),
        (
            ["upscale", RUN, "small.png", "--factor", "2", "--strength", "2"],
            "a positive factor on the gradient",
        ),
        (["colourise", RUN, "a.png"], "colourising needs a model of three channels, and this one has 1"),
        (["deblur", RUN, "a.png", "--sigma", "0"], "the blur must be above 0 pixels, got 0"),
        (["deblur", RUN, "small.png"], "small.png is 4 × 4, and what this model can restore is 8 × 8"),
        (
            ["deblur", RUN, "a.png", "--method", "gradient", "--strength", "-1"],
            "strength is a positive factor on the gradient, got -1",
        ),
        (["inpaint", RUN, "nowhere.png", "left"], "no such file: nowhere.png"),
        (["inpaint", RUN, "a.png"], "Missing argument 'MASK'; see alphabar inpaint --help"),
        (["inpaint", "nowhere", "a.png", "left"], "no such file: nowhere"),
        (["inpaint", RUN, "a.png", "left", "--steps", "0"], "steps must be a whole number of at least 1"),
    ],
)
def test_restorations_that_are_none(refused, arguments, expected):
    assert expected in refused(*arguments, "--out", "out")


def test_measurements_that_are_not_numbers(refused):
    np.save("nan.npy", np.full((4, 4), np.nan, np.float32))
    np.save("hole.npy", np.full((8, 8), np.inf, np.float32))
    assert "finite" in refused("upscale", FIELDS, "nan.npy", "--factor", 2, "--out", "u")
    assert "finite" in refused("inpaint", FIELDS, "hole.npy", "left", "--out", "i")


COMMANDS = {  # and the name of the folder that each writes
    "interpolate": (["interpolate", PLAIN, "a.png", "b.png", "--by", "noise"], "interpolated"),
    "inpaint": (["inpaint", PLAIN, "a.png", "left"], "inpainted"),
    "upscale": (["upscale", PLAIN, "small.png", "--factor", "2"], "upscaled"),
    "colourise": (["colourise", COLOUR, "a.png"], "colourised"),
    "deblur": (["deblur", PLAIN, "a.png"], "deblurred"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_overwritten(here, done, refused, command):
    (here / "full").mkdir()
    (here / "full" / "mine.txt").write_text("mine")
    arguments, stem = COMMANDS[command]
    how = ["--steps", 1, "--sampler", "ddim", "-n", 2]
    assert "full is not empty; choose a new folder" in refused(*arguments, *how, "--out", "full")
    assert "a.png is a file; --out must be a folder" in refused(*arguments, *how, "--out", "a.png")
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
    assert facts(here / "of-class")["labels"] == [1, 1]


# --- tune ----------------------------------------------------------------------------------------


def test_a_tuned_model_uses_its_own_plan(here, done):
    before = (here / RUN).read_bytes()
    out, _ = done("tune", RUN, "--evaluations", 2, "--noises", 8, "--variance", "--out", "tuned.safetensors")
    assert (here / RUN).read_bytes() == before
    assert "kept in tuned.safetensors; now: alphabar sample tuned.safetensors --steps 2 or" in out
    shown, _ = done("plan", "show", "tuned.safetensors", "--steps", 2)
    assert "sampler fitted" in shown
    assert shown.splitlines()[:3] == out.splitlines()[:3]
    done("sample", "tuned.safetensors", "-n", 2, "--steps", 2, "--out", "s")
    assert facts(here / "s")["plan"]["sampler"] == "fitted"
    done("sample", "tuned.safetensors", "-n", 2, "--steps", 2, "--sampler", "ddim", "--out", "ddim")
    assert facts(here / "ddim")["plan"]["sampler"] == "ddim"
    optimal = ["--sampler", "ddpm", "--variance", "optimal", "--steps", 3]
    done("sample", "tuned.safetensors", "-n", 2, *optimal, "--out", "optimal")
    assert facts(here / "optimal")["plan"]["variance"] == "optimal"
    done("inpaint", "tuned.safetensors", "a.png", "left", "-n", 1, "--steps", 2, "--out", "i")
    assert facts(here / "i")["plan"]["sampler"] == "fitted"
    np.testing.assert_array_equal(values("i/000000.png")[:, 4:], values("a.png")[:, 4:])
    done("plan", "show", "tuned.safetensors", "--steps", 2, "--out", "fitted.json")
    done("sample", RUN, "-n", 2, "--plan", "fitted.json", "--out", "elsewhere")
    np.testing.assert_array_equal(np.load("elsewhere/samples.npy"), np.load("s/samples.npy"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "say what to fit: --evaluations N, --variance, or both"),
        (["--evaluations", "1"], "a plan can be fitted to 2 to 20 evaluations, got 1"),
        (["--evaluations", "21"], "a plan can be fitted to 2 to 20 evaluations, got 21"),
        (["--evaluations", "2", "--noises", "4"], "at least 8 noises to be fitted to, a whole number, got 4"),
        (["--evaluations", "2", "--out", RUN], f"{RUN} exists already"),
        (["--evaluations", "2", "--out", "tuned.bin"], "--out must end in .safetensors"),
        (["--evaluations", "2", "--guidance", "-1"], "the guidance scale must be at least 0"),
    ],
)
def test_what_cannot_be_tuned(refused, options, expected):
    assert expected in refused("tune", RUN, *options)


def test_guidance_cannot_be_tuned_for_a_model_without_classes(refused):
    assert "needs a model with classes" in refused("tune", PLAIN, "--evaluations", 2, "--guidance", 2)


def test_tuning_never_takes_a_checkpoints_place(here, capfd):
    """What is fitted to an earlier moment of a run goes elsewhere: the run must still resume from it."""
    trainer = Trainer(tiny_config(), tiny_data())
    save_checkpoint(here / "trained" / "checkpoints", trainer)
    trainer.ema.save(here / "trained" / "model.safetensors")
    before = contents(here / "trained" / "checkpoints")
    name = sorted(before)[-1]
    call("tune", f"trained/checkpoints/{name}", "--variance", "--noises", 8)
    assert contents(here / "trained" / "checkpoints") == before
