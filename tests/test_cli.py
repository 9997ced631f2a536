from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from alphabar import __version__
from alphabar.cli import console
from alphabar.cli.app import COMMANDS, app, command
from alphabar.cli.dry_run import _share
from alphabar.cli.flags import amount
from alphabar.cli.read import read_sample
from alphabar.cli.settings import parse_sets
from alphabar.cli.train import default_folder
from alphabar.data import Space
from alphabar.training.config import TrainConfig
from program import pictures
from tiny import SET_EXECUTION, WAY

TINY = [
    "--batch", "8", "--set", "network.channels=16", "--set", "network.groups=8",
    "--set", "network.num_res_blocks=1", "--set", "warmup_images=0", *SET_EXECUTION,
]  # fmt: skip


def call(*arguments):
    """What the command prints on standard output, standard error, both; it must succeed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with pictures of two classes, and a run on them."""
    place = tmp_path_factory.mktemp("trained")
    pictures(place / "pets" / "cats", 6)
    pictures(place / "pets" / "dogs", 6, seed=1)
    result = call("train", place / "pets", "--out", place / "run", "--images", "64", *TINY)
    return place, result


@pytest.fixture(scope="module")
def array_run(tmp_path_factory):
    """A run on float arrays (N, H, W, C) with values within 0..10."""
    place = tmp_path_factory.mktemp("arrays")
    values = np.random.default_rng(0).uniform(0, 10, (12, 8, 6, 2)).astype(np.float32)
    np.save(place / "fields.npy", values)
    arguments = ["--range", "0", "10", "--images", "16", "--T", "100", "--schedule", "linear", *TINY]
    call("train", place / "fields.npy", "--out", place / "run", *arguments)
    return place


@pytest.fixture
def run(trained):
    return trained[0] / "run"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def inside(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def bytes_of(folder):
    return {name: (folder / name).read_bytes() for name in inside(folder)}


# --- the program -------------------------------------------------------------------------------


def test_the_program_starts_and_errors_go_to_standard_error_with_exit_code_2():
    def start(*arguments):
        command = [sys.executable, "-m", "alphabar", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    good = start("--version")
    assert (good.returncode, good.stdout, good.stderr) == (0, f"alphabar {__version__}\n", "")
    bad = start("info", "nowhere")
    assert (bad.returncode, bad.stdout, bad.stderr) == (2, "", "alphabar: no such file: nowhere\n")


def test_help_is_quick_to_give_and_lists_every_command():
    code = (
        "import sys; from alphabar.cli import main; sys.argv[1:] = ['--help']\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'matplotlib', 'numpy', 'PIL', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    for name in COMMANDS:
        assert name in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_in_its_help_what_the_list_says_of_it(name):
    assert f" {name} " in call(name, "--help").stdout
    made = command(name)
    assert made.help.startswith(COMMANDS[name].summary.rstrip("."))
    for inner in getattr(made, "commands", {"": made}).values():
        assert any(option.name == "json" for option in inner.params), inner.name


def test_an_option_that_many_commands_take_reads_the_same_in_each():
    """But for the defaults."""
    found = {}
    for name in COMMANDS:
        made = command(name)
        for inner in getattr(made, "commands", {"": made}).values():
            for option in inner.params:
                if option.name in ("json", "device"):
                    found.setdefault(option.name, set()).add((tuple(option.opts), option.help))
    assert {name: len(forms) for name, forms in found.items()} == {"json": 1, "device": 1}


def test_amounts_and_settings_are_read():
    assert [amount(text, "--images") for text in ("5000", "200k", "3M", "0.5k")] == [
        5000,
        200_000,
        3_000_000,
        500,
    ]
    pairs = ["lr=1e-3", "network.channels=96", "network.name=unet", "flip=true", "betas=[0.9, 0.99]"]
    assert parse_sets(pairs, TrainConfig) == {
        "lr": 1e-3,
        "network": {"channels": 96, "name": "unet"},
        "flip": True,
        "betas": [0.9, 0.99],
    }


# --- data --------------------------------------------------------------------------------------


def test_data_says_what_the_model_sees(here):
    pictures(here / "pets" / "cats", 6)
    pictures(here / "pets" / "dogs", 14, seed=1)
    (here / "pets" / "notes.txt").write_text("hello")
    shown = call("data", "pets", "--out", "sheet.png").stdout
    for line in (
        "samples      20",
        "model sees   1 × 8 × 8 (C × H × W), uint8",
        "values       0 to 255, seen as -1 to 1",
        "note         1 other file left out (1 × .txt)",
        "wrote sheet.png",
    ):
        assert line in shown.splitlines()
    assert "2 classes    cats (" in shown
    training, held_out = (int(re.search(rf"{name} +(\d+)", shown)[1]) for name in ("training", "held out"))
    assert training + held_out == 20
    assert held_out >= 1
    with Image.open("sheet.png") as sheet:
        assert sheet.mode == "L"
    assert "3 × 4 × 6 (C × H × W)" in call("data", "pets", "--size", "4x6", "--channels", "rgb").stdout


def test_data_of_an_array(here):
    np.save("d.npy", np.linspace(-3, 5, 4 * 8 * 8).reshape(4, 8, 8))
    shown = call("data", "d.npy", "--range", "-4", "6", "--holdout", "0").stdout
    assert "-4 to 6, seen as -1 to 1" in shown
    assert "float64" in shown
    assert "0 (0%" in shown


def test_the_data_options_that_info_shows_prepare_the_same_data(here):
    np.save("d.npy", np.random.default_rng(0).uniform(-1, 1, (20, 8, 8)))
    how = ["--range", "-1.23456789", "1.000000123", "--holdout", "0.123456789"]
    call("train", "d.npy", *how, "--out", "r", "--images", "8", *TINY)
    (line,) = [line for line in call("info", "r").stdout.splitlines() if line.startswith("on ")]
    words = shlex.split(line)[1:]
    fingerprint = json.loads((here / "r" / "run.json").read_text())["identity"]["data"]["fingerprint"]
    assert json.loads(call("data", *words, "--json").stdout)["fingerprint"] == fingerprint
    prepared = json.loads((here / "r" / "run.json").read_text())["data"]["prepared"]
    assert json.loads(call("data", *words, "--json").stdout)["prepared"] == prepared


# --- train and info ----------------------------------------------------------------------------


def test_train_writes_a_run(trained):
    place, result = trained
    files = inside(place / "run")
    assert {"run.json", "metrics.jsonl", "times.jsonl", "loss.png", "model.safetensors"} <= files
    assert "previews/000000064.png" in files
    assert "checkpoints/step-000000008.safetensors" in files
    assert not any(name.endswith(".tmp") for name in files)
    rows = [json.loads(line) for line in (place / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert [row["images"] for row in rows] == list(range(8, 65, 8))
    assert np.isfinite([row["loss"] for row in rows]).all()
    assert "held_out_loss" in rows[-1]
    assert f"trained on 64 images; now: alphabar sample {place / 'run'}" in result.stdout
    assert "data: all 8 × 8 pixels (height × width), taken as they are" in result.stderr
    assert "data: 2 classes: " in result.stderr
    assert "Traceback" not in result.output


def test_the_same_command_on_a_finished_run_changes_nothing(trained, tmp_path):
    place, _ = trained
    copy = shutil.copytree(place / "run", tmp_path / "run")
    before = bytes_of(copy)
    result = call("train", place / "pets", "--out", copy, "--images", "64", *TINY)
    assert f"{copy} is finished: 64 images" in result.stdout
    assert bytes_of(copy) == before


def test_dry_run_writes_nothing(here):
    pictures(here / "pics")
    before = inside(here)
    shown = call("train", "pics", "--dry-run", "--images", "4k", "--flip", "--device", "cpu", *TINY).stdout
    assert inside(here) == before
    assert not (here / "runs").exists()
    for expected in (
        '"images": 4000',
        '"flip": true',
        '"channels": 16',
        "parameters",
        f"{WAY}, cpu",
        "for 4,000 images, ",
        " passes over ",
        "nothing was written (--dry-run)",
    ):
        assert expected in shown


def test_dry_run_names_one_number_of_images_for_minutes(here):
    pictures(here / "pics")
    small = [word for word in TINY if word not in ("--batch", "8")]
    result = call("train", "pics", "--dry-run", "--minutes", "0.2", "--device", "cpu", *small)
    fit = re.search(r"([\d,]+) images fit into these minutes", result.stderr)
    assert fit is not None
    assert f"12 s for {fit[1]} images, " in result.stdout


def test_a_dry_run_says_how_much_of_a_gpu_it_takes(monkeypatch):
    """An update is three passes; 1e9 multiplications for each image are 6e9 FLOP."""
    monkeypatch.setattr("alphabar.runs.afford.measures", lambda space, network: (0.0, 1e9))
    monkeypatch.setattr("alphabar.training.autotune.product_rate", lambda device: 600e12)
    run = SimpleNamespace(
        trainer=SimpleNamespace(device=torch.device("cuda")),
        data=SimpleNamespace(space=None),
        config=SimpleNamespace(network={"name": "unet"}),
    )
    assert _share(run, 25_000.0).startswith("25% of 600 TFLOP/s")
    run.config.network = {"name": "vit"}
    assert _share(run, 25_000.0).startswith("600 TFLOP/s")


def test_options_reach_the_configuration(here):
    pictures(here / "pics")
    options = [
        "--prediction",
        "x0",
        "--loss",
        "x0",
        "--schedule",
        "cosine",
        "--lr",
        "3e-4",
        "--micro-batch",
        "4",
    ]
    options += ["--seed", "5", "--epochs", "2.5", "--set", "schedule.max_beta=0.99", "--holdout", "0.5"]
    call("train", "pics", "--out", "r", *options, *TINY)
    entry = json.loads((here / "r" / "run.json").read_text())
    config = entry["identity"]["config"]
    expected = {"prediction": "x0", "loss": "x0", "lr": 3e-4, "micro_batch": 4, "seed": 5}
    assert {name: config[name] for name in expected} == expected
    assert entry["budget"]["epochs"] == 2.5
    assert config["schedule"] == {"name": "cosine", "T": 1000, "s": 0.008, "max_beta": 0.99, "shift": 1.0}
    assert re.search(r"trained +\d\d? images", call("info", "r").stdout)


def test_T_alone_keeps_the_schedule(here):
    pictures(here / "pics")
    result = CliRunner().invoke(app, ["train", "pics", "--out", "r", "--images", "8", "--T", "200", *TINY])
    assert result.exit_code == 0
    config = json.loads((here / "r" / "run.json").read_text())["identity"]["config"]
    assert (config["schedule"]["name"], config["schedule"]["T"]) == ("sigmoid", 200)


def test_the_run_is_named_after_the_data(here, monkeypatch):
    pictures(here / "my.pics")
    call("train", "my.pics", "--images", "8", *TINY)
    assert (here / "runs" / "my.pics" / "model.safetensors").exists()
    monkeypatch.chdir(here / "my.pics")
    call("train", ".", "--images", "8", *TINY)
    assert (here / "my.pics" / "runs" / "my.pics" / "model.safetensors").exists()


def test_info_describes_run_and_lone_file(run, tmp_path):
    shown = call("info", run).stdout
    for expected in (
        "1 × 8 × 8 (C × H × W), uint8, 0 to 255",
        "cats, dogs",
        "predicts         v",
        "64 images",
        "unet",
    ):
        assert expected in shown
    alone = shutil.copy(run / "model.safetensors", tmp_path / "copied.safetensors")
    facts, lone = (json.loads(call("info", path, "--json").stdout) for path in (run, alone))
    assert facts["run"] == {"step": 8, "images": 64}
    assert sorted(facts["conditions"]["class"]["counts"]) == [5, 6]
    assert facts["network"]["channels"] == 16
    assert lone["run"] is None
    own = ("run", "file")
    assert {k: v for k, v in facts.items() if k not in own} == {k: v for k, v in lone.items() if k not in own}


@pytest.mark.parametrize(
    ("data", "name"),
    [("scans/brain.nii.gz", "brain"), ("a.csv", "a"), ("sea.nc:sst,u", "sea"), ("hf:who/what", "what")],
)
def test_a_run_is_called_by_its_data_without_their_ending(data, name):
    assert str(default_folder(data)) == f"runs/{name}"


# --- sample ------------------------------------------------------------------------------------


def test_sample_writes_pictures_grid_array_and_facts(run, here):
    result = call("sample", run, "-n", "5", "--steps", "3", "--out", "s")
    names = [f"{i:06d}.png" for i in range(5)]
    assert inside(here / "s") == {*names, "grid.png", "labels.csv", "samples.npy", "samples.json"}
    assert "5 samples in 3 evaluations" in result.stdout
    assert "look at s/grid.png" in result.stdout
    array = np.load(here / "s" / "samples.npy")
    assert (array.dtype, array.shape) == (np.uint8, (5, 8, 8))
    for i, name in enumerate(names):
        with Image.open(here / "s" / name) as picture:
            np.testing.assert_array_equal(np.asarray(picture), array[i])


def test_any_one_picture_can_be_made_again_from_its_own_facts(run, here):
    call("sample", run, "-n", "20", "--steps", "4", "--sampler", "ddpm", "--seed", "7", "--out", "all")
    listing = json.loads((here / "all" / "samples.json").read_text())
    info = json.loads(call("info", run, "--json").stdout)
    assert listing["model"] == info["digest"]
    assert listing["alphabar"] == __version__
    with Image.open(here / "all" / "000017.png") as picture:
        facts = json.loads(picture.text["alphabar"])
    assert facts["index"] == 17
    assert facts["told"]["class"] == listing["conditions"]["class"]["names"][listing["told"]["class"][17]]
    again = [
        "--first",
        facts["index"],
        "-n",
        "1",
        "--seed",
        facts["seed"],
        "--steps",
        len(facts["times"]) - 1,
    ]
    again += ["--sampler", facts["plan"]["sampler"]]
    call("sample", facts["model_file"], *again, "--out", "one")
    pixels = [np.asarray(Image.open(here / folder / "000017.png")) for folder in ("all", "one")]
    np.testing.assert_array_equal(*pixels)
    assert (here / "one" / "000017.png").read_bytes() == (here / "all" / "000017.png").read_bytes()


def test_a_copied_model_file_alone_gives_the_same_samples(run, here):
    shutil.copy(run / "model.safetensors", here / "alone.safetensors")
    call("sample", run, "-n", "2", "--steps", "2", "--out", "a")
    call("sample", "alone.safetensors", "-n", "2", "--steps", "2", "--out", "b")
    np.testing.assert_array_equal(np.load("a/samples.npy"), np.load("b/samples.npy"))


def test_class_restricts_samples_and_is_written_down(run, here):
    call("sample", run, "-n", "4", "--steps", "5", "--class", "dogs", "--out", "dogs")
    call("sample", run, "-n", "4", "--steps", "5", "--class", "0", "--out", "cats")
    listings = [json.loads((here / name / "samples.json").read_text()) for name in ("dogs", "cats")]
    assert [listing["told"]["class"] for listing in listings] == [[1] * 4, [0] * 4]
    with Image.open(here / "dogs" / "000000.png") as picture:
        assert json.loads(picture.text["alphabar"])["told"] == {"class": "dogs"}
    assert not np.array_equal(np.load("dogs/samples.npy"), np.load("cats/samples.npy"))


def test_trajectory_writes_strip_and_animation(run, here):
    call("sample", run, "-n", "3", "--steps", "6", "--trajectory", "--out", "s")
    assert {"strip.png", "trajectory.gif"} <= inside(here / "s")
    with Image.open("s/trajectory.gif") as animation:
        assert animation.n_frames == 7
    with Image.open("s/strip.png") as picture:
        width, height = picture.size
    assert width > 2 * height  # 7 states of 3 samples
    times = json.loads((here / "s" / "samples.json").read_text())["frame_times"]
    assert (times[0], times[-1], len(times)) == (1000, 0, 7)


def test_samples_of_arrays_have_their_dtype_range_and_layout(array_run, here):
    call("sample", array_run / "run", "-n", "3", "--steps", "5", "--out", "s")
    array = np.load("s/samples.npy")
    assert (array.dtype, array.shape) == (np.float32, (3, 8, 6, 2))
    assert array.min() >= 0
    assert array.max() <= 10
    assert array.std() > 1
    space = json.loads((here / "s" / "samples.json").read_text())["space"]
    assert (space["low"], space["high"]) == ([0, 0], [10, 10])
    with Image.open("s/000000.png") as picture:
        assert picture.width > picture.height  # two channels side by side
    call("sample", array_run / "run", "-n", "3", "--steps", "5", "--no-clip", "--out", "free")
    assert json.loads((here / "free" / "samples.json").read_text())["clip"] is None
    assert np.abs(np.load("free/samples.npy")).max() > 10


def test_without_out_the_next_free_name_is_taken(run, here):
    for _ in range(2):
        call("sample", run, "-n", "1", "--steps", "1")
    Image.new("L", (8, 8), 99).save("a.png")
    call("edit", "vary", run, "a.png", "--t", "10", "--steps", "1")
    assert sorted(path.name for path in here.iterdir() if path.is_dir()) == [
        "samples-001",
        "samples-002",
        "varied-001",
    ]


# --- edit vary -----------------------------------------------------------------------------------


def test_vary_noises_and_brings_back(run, here):
    array = np.random.default_rng(3).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(array).save("a.png")
    how = ["--steps", "4", "--spacing", "trailing"]
    call("edit", "vary", run, "a.png", "--t", "400", *how, "-n", "3", "--out", "d")
    expected = {"noisy.npy", "noisy.png", "input.png", "strip.png", "trajectory.gif", "samples.npy"}
    assert expected <= inside(here / "d")
    facts = json.loads((here / "d" / "samples.json").read_text())
    assert (facts["pictures"], facts["t"], facts["times"]) == (["a.png"], 400, [400, 300, 200, 100, 0])
    assert facts["from"] == "x_0 noised to t"
    assert len(np.load("d/samples.npy")) == 3
    x_t = np.load("d/noisy.npy")
    assert x_t.shape == (1, 8, 8)
    assert x_t.dtype == np.float32


def test_vary_at_a_small_time_gives_the_picture_back(run, here):
    array = np.random.default_rng(3).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(array).save("a.png")
    call("edit", "vary", run, "a.png", "--t", "1", "-n", "2", "--out", "d")
    difference = np.load("d/samples.npy").astype(int) - array
    assert abs(difference).max() < 15


def test_vary_goes_on_from_its_own_noisy_array(run, here):
    Image.new("L", (8, 8), 99).save("a.png")
    options = ["--t", "300", "--steps", "3", "-n", "1", "--class", "cats"]
    call("edit", "vary", run, "a.png", *options, "--out", "first")
    call("edit", "vary", run, "first/noisy.npy", "--noisy", *options, "--out", "second")
    np.testing.assert_array_equal(np.load("first/samples.npy"), np.load("second/samples.npy"))
    np.testing.assert_array_equal(np.load("first/noisy.npy"), np.load("second/noisy.npy"))
    assert "input.png" not in inside(here / "second")
    assert json.loads((here / "second" / "samples.json").read_text())["from"] == "x_t as given"


def test_vary_resizes_a_picture_of_another_size_and_says_so(run, here):
    Image.new("RGB", (40, 20), (99, 99, 99)).save("big.png")
    result = call("edit", "vary", run, "big.png", "--t", "50", "--steps", "1", "-n", "1", "--out", "d")
    assert "big.png is 40 × 20: resized and cut to 8 × 8, as in training" in result.stderr
    with Image.open("d/input.png") as picture:
        assert np.unique(np.asarray(picture)).tolist() == [99]


def test_one_of_several_arrays_is_named_by_its_number(tmp_path):
    images = np.arange(5 * 8 * 9, dtype=np.float32).reshape(5, 8, 9)
    np.save(tmp_path / "d.npy", images)
    np.savez(tmp_path / "d.npz", x=images, y=np.arange(5))
    np.savez(tmp_path / "two.npz", x=images, y=images)
    space = Space((1, 8, 9), "float32", None, None, layout="HW")
    for name in ("d.npy", "d.npz"):
        np.testing.assert_array_equal(read_sample(f"{tmp_path}/{name}:3", space), images[None, 3])
        with pytest.raises(ValueError, match=rf"name one, as .*{name}:0"):
            read_sample(f"{tmp_path}/{name}", space)
        with pytest.raises(ValueError, match=rf"has 5 samples .*name one, as .*{name}:0, got 5"):
            read_sample(f"{tmp_path}/{name}:5", space)
    with pytest.raises(ValueError, match=r"one array of .* must hold samples of shape \(8, 9\), 2 do"):
        read_sample(f"{tmp_path}/two.npz:3", space)


def test_vary_takes_one_sample_of_arrays(array_run, here, refused):
    one = np.load(array_run / "fields.npy")[0]
    np.save("one.npy", one)
    call("edit", "vary", array_run / "run", "one.npy", "--t", "1", "-n", "1", "--out", "d")
    assert "--t is needed, the noise level to start from: try --t 60 of 100" in refused(
        "edit", "vary", array_run / "run", "one.npy"
    )
    restored = np.load("d/samples.npy")[0]
    assert restored.shape == one.shape
    np.testing.assert_allclose(restored, one, atol=2)


# --- schedule ----------------------------------------------------------------------------------


def test_schedule_prints_numbers_and_draws(here):
    assert re.search(r"schedule +sigmoid", call("show", "schedule").stdout)
    shown = call("show", "schedule", "--name", "linear").stdout
    assert "0.0001 to 0.02" in shown
    assert "sqrt(alpha_bar_T) = 0.006353" in shown
    Image.new("RGB", (30, 20), (10, 200, 30)).save("a.png")
    result = call(
        "show", "schedule", "--name", "cosine", "--T", "200", "--picture", "a.png", "--out", "plot.png"
    )
    assert "200" in result.stdout
    with Image.open("plot.png") as plot:
        assert plot.format == "PNG"
        assert plot.width > 500
    literal = call("show", "schedule", "--name", "linear", "--beta-min", "0.001", "--beta-max", "0.03").stdout
    assert "0.001 to 0.03" in literal


def test_the_progress_bar_works_on_a_terminal_while_the_budget_is_not_known(here):
    """With --minutes there is no total at first; on a real terminal the bar is drawn all the same."""
    pty = pytest.importorskip("pty")
    pictures(here / "pics")
    words = ["train", "pics", "--out", "r", "--minutes", "0.05", *TINY]
    primary, secondary = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(
        [sys.executable, "-m", "alphabar", *words], stdout=secondary, stderr=secondary, env=environment
    )
    os.close(secondary)
    seen = b""
    with contextlib.suppress(OSError):
        while block := os.read(primary, 65536):
            seen += block
    assert process.wait() == 0, seen.decode()
    assert b"images" in seen
    assert b"loss" in seen
    assert b"Traceback" not in seen


def test_a_path_with_nothing_there_is_answered_by_what_is_called_almost_so(tmp_path):
    from alphabar.files.places import missing

    (tmp_path / "diamonds").mkdir()
    (tmp_path / "power").mkdir()
    assert str(missing(tmp_path / "diamods", "run")).endswith(
        f"diamods; did you mean {tmp_path / 'diamonds'}?"
    )
    assert str(missing(tmp_path / "x" / "y")) == f"no such file or folder: {tmp_path / 'x' / 'y'}"
    assert "did you mean" not in str(missing(tmp_path / "nothing like it"))


def test_what_takes_long_is_said_where_no_terminal_is(monkeypatch, capsys):
    monkeypatch.setattr(console, "PATIENCE_S", 0.05)
    with console.status() as tell:
        tell("learning features on the data, once …")
        time.sleep(0.3)
    tell("drawing")
    said = capsys.readouterr().err.splitlines()
    assert [line.split("  ", 1)[1] for line in said] == ["learning features on the data, once …", "drawing …"]
    with console.status() as tell:
        tell("a moment")
    time.sleep(0.3)
    assert not capsys.readouterr().err
