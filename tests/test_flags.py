"""Options from tables and fields; what reaches a terminal, a file and a program; signals."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, ClassVar, Literal

import numpy as np
import pytest
from pydantic import Field, ValidationError

from alphabar.cli import console, expected, flags, options, settings
from alphabar.cli.app import command
from alphabar.cli.progress import Progress
from alphabar.data import DataConfig
from alphabar.data.conditions.kinds import CONDITIONS, Condition
from alphabar.model import save
from alphabar.nn import NETWORKS, UNet
from alphabar.runs.sinks import SINKS, Sink
from alphabar.sampling import SampleConfig
from alphabar.settings import Settings as BaseSettings
from alphabar.theory.plans import SAMPLERS, Sampler, ddim
from alphabar.training import TrainConfig
from program import TINY, call, pictures
from tiny import tiny_denoiser


def text_of_help(name):
    """The help of a command's options, whole."""
    return " ".join(str(option.help) for option in command(name).params)


# --- from fields to options and back -------------------------------------------------------------


class Settings(BaseSettings):
    count: int = Field(3, ge=1, description="how many", json_schema_extra={"flag": "--number-of"})
    rate: float | None = Field(None, gt=0, description="how fast", json_schema_extra={"group": "Speed"})
    way: Literal["up", "down"] = Field("up", description="where to")
    smooth: bool = Field(True, description="without steps")
    warm: bool = Field(True, description="heated", json_schema_extra={"off": "don't heat it"})
    rough: bool = Field(False, description="with steps")
    loud: bool | None = Field(None, description="to be heard")
    ends: tuple[float, float] | None = Field(None, description="the least and the greatest")
    images: int | None = Field(None, description="budget", json_schema_extra={"amount": True})
    parts: dict[str, int] = Field({}, description="not an option")


def test_a_field_is_an_option_with_its_name_kind_help_default_choices_and_group():
    found = flags.flags_of(Settings)
    assert set(found) == set(Settings.model_fields) - {"parts"}
    shown = {name: (f.flag, f.kind, f.help, f.shown, f.group) for name, f in found.items()}
    assert shown["count"] == ("--number-of", int, "How many.", "3", None)
    assert shown["rate"] == ("--rate", float, "How fast.", "", "Speed")
    assert shown["way"] == ("--way", str, "Where to (up or down).", "up", None)
    assert shown["smooth"][0] == "--no-smooth"
    assert shown["smooth"][2] == "Turn off: without steps."
    assert (shown["warm"][0], shown["warm"][2]) == ("--no-warm", "Don't heat it.")
    assert shown["rough"][0] == "--rough"
    assert shown["loud"][0] == "--loud/--no-loud"
    assert found["ends"].metavar == "LOW HIGH"


def test_words_become_values_and_values_words_again():
    found = flags.flags_of(Settings)
    words = {"count": "7", "rate": "0.5", "loud": "no", "ends": "1,2", "images": "20k"}
    values = {name: found[name].read_text(word) for name, word in words.items()}
    assert values == {"count": 7, "rate": 0.5, "loud": False, "ends": (1, 2), "images": 20_000}
    typed = settings.typed(found, {"count": 7, "rough": True, "smooth": True, "ends": (1.0, 2.5)})
    assert typed == ["--number-of", "7", "--rough", "--ends", "1", "2.5"]


@pytest.mark.parametrize(("given", "expected"), [
    ({"count": 0}, "--number-of must be greater than or equal to 1, got 0"),
    ({"way": "left"}, "--way must be 'up' or 'down', got 'left'"),
    ({"cuont": 1}, "unknown setting 'cuont'; known: count, rate"),
])  # fmt: skip
def test_a_wrong_setting_is_told_by_the_options_name(given, expected):
    with pytest.raises(ValueError) as caught:
        Settings(**given)
    assert not isinstance(caught.value, ValidationError)
    assert str(settings.in_flags(caught.value, flags.flags_of(Settings))).startswith(expected)


def test_settings_from_python_say_in_words_what_they_cannot_be():
    with pytest.raises(ValueError, match="did you mean 'evaluations'"):
        SampleConfig(evalutions=3)
    with pytest.raises(ValueError, match="batch_size: Input should be greater than or equal to 1, got 0"):
        TrainConfig(images=8, batch_size=0)
    with pytest.raises(ValueError, match="unknown setting of data 'sise'"):
        DataConfig(sise=3)


@pytest.mark.parametrize(("pairs", "expected"), [
    (["count=1", "count=2"], "--set gives count twice"),
    (["cuont=null"], "unknown setting 'cuont'"),
    (["count="], "--set takes NAME=VALUE"),
    (["parts=3"], "parts has several settings"),
    (["count=" + "[" * 10**6], "nested too deep"),
])  # fmt: skip
def test_settings_that_would_be_ignored_are_refused(pairs, expected):
    with pytest.raises(ValueError, match=expected):
        settings.parse_sets(pairs, Settings)


def test_an_option_and_set_together_are_refused():
    known = flags.flags_of(Settings)
    assert settings.merged({"parts": {"a": 1}}, {"parts": {"b": 2}}, known) == {"parts": {"a": 1, "b": 2}}
    with pytest.raises(ValueError, match="count is given twice, by --number-of and by --set count"):
        settings.merged({"count": 1}, {"count": 2}, known)
    with pytest.raises(ValueError, match="parts is given twice"):
        settings.merged({"parts": {"a": 1}}, {"parts": {"a": 2}}, known)


# --- one registration is enough ------------------------------------------------------------------


def test_a_new_sampler_is_known_everywhere(tmp_path, monkeypatch, done, refused):
    def mine(schedule, times, wiggle: Annotated[float, "how much it wiggles"] = 0.0):
        """A sampler of our own. It is DDIM."""
        plan = ddim(schedule, times)
        plan.made_by.update({"sampler": "mine", "wiggle": wiggle})
        return plan

    monkeypatch.setitem(SAMPLERS, "mine", Sampler(mine))
    monkeypatch.chdir(tmp_path)
    save(tiny_denoiser(), tmp_path / "m.safetensors")
    for name in ("sample", "eval"):
        assert "ipndm or mine" in text_of_help(name)
        assert r"How much it wiggles; mine only. \[default: 0]" in text_of_help(name)
    done("sample", "m.safetensors", "-n", 1, "--steps", 2, "--sampler", "mine", "--wiggle", 0.5, "--out", "s")
    settings = json.loads((tmp_path / "s" / "samples.json").read_text())["settings"]
    assert settings == {"sampler": "mine", "evaluations": 2, "options": {"wiggle": 0.5}}
    assert "sampler mine" in done("show", "plan", "--sampler", "mine", "--steps", 2)[0]
    assert "ipndm, mine" in refused("sample", "m.safetensors", "--sampler", "mien")
    assert "mine takes wiggle, and not eta" in refused(
        "sample", "m.safetensors", "--sampler", "mine", "--eta", 1
    )
    assert "ddim takes eta, and not wiggle" in refused(
        "sample", "m.safetensors", "--sampler", "ddim", "--wiggle", 1
    )
    message = refused("eval", "m.safetensors", "--data", "d", "--compare", "sampler=mine wiggle=much")
    assert "--compare: wiggle takes a number, got 'much'" in message


class OwnNet(UNet):
    """A network of a test's own."""


def test_a_new_network_is_known_everywhere(tmp_path, monkeypatch, done, refused):
    monkeypatch.setitem(NETWORKS, "own", OwnNet)
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "pics")
    assert "(unet, mlp, vit or own)" in text_of_help("train")
    done("train", "pics", "--out", "r", "--network", "own", "--images", 8, *TINY)
    assert "own, " in done("info", "r")[0]
    assert "known: unet, mlp, vit, own" in refused("train", "pics", "--out", "r2", "--network", "onw", *TINY)
    x = ["--network", "own", "--set", "network.x=1"]
    assert "unknown setting of the network own 'x'" in refused("train", "pics", "--out", "r2", *x, *TINY)


@dataclass(frozen=True)
class Size(Condition):
    """A number that is told."""

    kind: ClassVar[str] = "size"

    @property
    def shape(self):
        return (2,)

    def encode_told(self, values):
        return np.stack([values.astype(np.float32), np.ones(len(values), np.float32)], 1)

    def draw(self, u):
        return u

    def parse(self, given):
        try:
            return None if given in (None, "none") else float(given)
        except ValueError:
            raise ValueError(f"size is a number, got {given!r}") from None


def test_a_new_condition_is_known_everywhere(tmp_path, monkeypatch, done, refused):
    from alphabar.model import Denoiser
    from alphabar.nn import build_network
    from tiny import NETWORK

    monkeypatch.setitem(CONDITIONS, "size", Size)
    monkeypatch.chdir(tmp_path)
    plain = tiny_denoiser(classes=False)
    net = build_network(NETWORK, plain.space.shape, {"width": (2,)})
    save(
        Denoiser(net, plain.schedule, "eps", plain.codec, {"width": Size(dropout=0.1)}),
        tmp_path / "m.safetensors",
    )
    assert "(class, vector, tags, text, embedding, picture, place or size)" in text_of_help("sample")
    assert re.search(r"told width +size, 2 numbers", done("info", "m.safetensors")[0])
    how = ["sample", "m.safetensors", "-n", 1, "--steps", 1]
    done(*how, "--cond", "width=3", "--out", "s")
    assert json.loads((tmp_path / "s" / "samples.json").read_text())["told"] == {"width": [3.0]}
    done(*how, "--cond", "width=none", "--out", "n")
    assert json.loads((tmp_path / "n" / "samples.json").read_text())["told"] == {"width": [None]}
    assert "size is a number, got 'wide'" in refused(*how, "--cond", "width=wide")
    assert "unknown condition 'class'; known: width" in refused(*how, "--class", "3")
    assert "--cond takes NAME=VALUE" in refused(*how, "--cond", "width")
    assert "width is told twice" in refused(*how, "--cond", "width=1", "--cond", "width=2")


def test_a_new_sink_is_known_everywhere(tmp_path, monkeypatch, done, refused):
    told = []

    class Mine(Sink):
        def __init__(self, folder, entry, config):
            pass

        def write(self, images, values, picture, time):
            told.append(images)

    monkeypatch.setitem(SINKS, "mine", Mine)
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "pics")
    assert "mlflow or mine" in text_of_help("train")
    done("train", "pics", "--out", "r", "--images", 16, "--log", "mine", *TINY)
    assert told == [8, 16]
    assert "did you mean 'mine'" in refused("train", "pics", "--out", "r2", "--log", "mien", *TINY)


# --- where words go ------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("words", [["--help"], ["show", "plan", "--steps", "2"]])
def test_a_character_is_never_an_error(encoding, words):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "alphabar", *words],
        capture_output=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode(encoding)


def test_characters_that_an_encoding_lacks_have_plain_ones():
    console.never_fail_for_a_character()
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="alphabar-plain")
    stream.write("−1.5 ± 0.1 … 3 × 4 → ᾱ 火")
    stream.flush()
    assert stream.buffer.getvalue() == b"-1.5 +- 0.1 ... 3 x 4 -> alpha_bar ?"


def test_what_steers_a_terminal_is_never_printed(tmp_path, monkeypatch, done, refused):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "pets" / "ca\x1b[31mts", 4)
    pictures(tmp_path / "pets" / "dogs", 4)
    out, err = done("data", "pets")
    assert "\x1b" not in out + err
    assert "ca[31mts (" in out
    assert "\x1b" not in refused("data", "no\x1b[31mwhere")


def test_json_is_one_document_and_what_is_not_finite_is_null(capsys):
    console.document({"a": float("nan"), "b": np.arange(2), "c": (1, None), "d": {"e": float("inf")}})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [0, 1], "c": [1, None], "d": {"e": None}}


@pytest.mark.parametrize("words", [
    "data pets", "data --cache", "train pets --dry-run", "info m.safetensors",
    "sample m.safetensors -n 1 --steps 1",
    "show schedule", "show plan --steps 2", "edit vary m.safetensors pets/00.png --t 5 --steps 1 -n 1",
    "edit interpolate m.safetensors pets/00.png pets/01.png -n 2 --steps 2",
    "edit inpaint m.safetensors pets/00.png left -n 1 --steps 1",
    "fit-sampler m.safetensors --variance --noises 8",
    "eval pets --data pets -n 12 --features pixels",
])  # fmt: skip
def test_every_command_speaks_to_programs(tmp_path, monkeypatch, done, words):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "pets", 30)
    save(tiny_denoiser(classes=False), tmp_path / "m.safetensors")
    tiny = TINY if words.startswith("train") else []
    out, _ = done(*words.split(), *tiny, "--json")
    assert isinstance(json.loads(out), dict)


@pytest.mark.parametrize(("words", "expected"), [
    (["sample", "m", "--out", ""], "--out has an empty value"),
    (["sample", "m", "--class="], "--class has an empty value"),
    (["info", ""], "an argument has an empty value"),
])  # fmt: skip
def test_empty_values_are_refused(refused, words, expected):
    assert expected in refused(*words)


@pytest.mark.parametrize("words", [
    ["sample", "m", "--steps", "2", "--steps=3"], ["sample", "m", "--clip", "--no-clip"],
    ["info", "m", "--json", "--json"],
])  # fmt: skip
def test_an_option_that_is_given_twice_is_refused(refused, words):
    assert "are one option, which is given twice: give it once" in refused(*words)


@pytest.mark.parametrize(("error", "remedy"), [
    (MemoryError("Unable to allocate 3 GiB for an array"), "smaller data"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), "--micro-batch"),
])  # fmt: skip
def test_the_remedy_for_too_little_memory_is_for_what_took_it(refused, monkeypatch, error, remedy):
    def failing(*_):
        raise error

    monkeypatch.setattr(options, "read_data", failing)
    message = refused("train", "pics")
    assert "out of memory" in message
    assert remedy in message
    assert ("--micro-batch" in message) == (remedy == "--micro-batch")


# --- samples as they are drawn, and stopping -----------------------------------------------------


def test_interrupted_sampling_goes_on_with_the_same_command(tmp_path, monkeypatch, done, said):
    from alphabar.sampling.output import SampleWriter

    monkeypatch.chdir(tmp_path)
    save(tiny_denoiser(classes=False), tmp_path / "m.safetensors")
    how = ["sample", "m.safetensors", "-n", 70, "--steps", 2, "--out"]
    done(*how, "whole")
    write, calls = SampleWriter.write, []

    def once(self, block):
        if calls:
            raise KeyboardInterrupt
        calls.append(block)
        write(self, block)

    with monkeypatch.context() as patched:
        patched.setattr(SampleWriter, "write", once)
        code, _, err = said(*how, "parts")
    assert code == 130
    assert re.search(r"stopped: \d+ of 70 samples are in parts; the same command draws the rest", err)
    _, err = done(*how, "parts")
    assert "going on with the rest" in err
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "parts" / path.name).read_bytes(), path.name


SIGNALS = [name for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]


@pytest.mark.parametrize("name", SIGNALS)
def test_signals_save_and_say_how_to_go_on(tmp_path, monkeypatch, said, name):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "pics")
    number, update, before = getattr(signal, name), Progress.update, signal.getsignal(getattr(signal, name))

    def stopping(self, row, *rest):
        update(self, row, *rest)
        if row["step"] == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Progress, "update", stopping)
    code, _, err = said(
        "train", "pics", "--out", "r", "--images", "1M", *TINY, "--set", "best=sample_distance"
    )
    assert code == 128 + number
    assert "stopped and saved after 24 images" in err
    assert "  alphabar train pics --out r --images 1M" in err
    assert len((tmp_path / "r" / "metrics.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "r" / "checkpoints" / "step-000000003.safetensors").exists()
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("name", SIGNALS)
def test_signals_before_the_first_update_end_it_at_once(tmp_path, monkeypatch, said, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "read_data", lambda *_: os.kill(os.getpid(), getattr(signal, name)))
    code, _, err = said("train", "pics", "--out", "r")
    assert code == 128 + getattr(signal, name)
    assert "stopped before the first update" in err
    assert not (tmp_path / "r").exists()


def test_ctrl_c_while_the_program_is_read_is_no_traceback(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "alphabar", "train", "nowhere"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode in (2, 130, -signal.SIGINT)  # 2: it was through already
    assert process.returncode < 0 or "Traceback" not in err


CALLBACK = """
import weakref
from alphabar import cli
from alphabar.cli import app

class Any: pass
def interrupted(_): raise KeyboardInterrupt
def run(words):
    kept = Any()
    ref = weakref.ref(kept, interrupted)
    del kept
    print("went on")
app.run = run
cli.main()
"""


def test_ctrl_c_in_what_python_calls_by_itself_ends_the_program():
    said = subprocess.run([sys.executable, "-c", CALLBACK], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (130, "", "")


def test_a_finished_run_goes_on_with_a_larger_budget_and_forks(tmp_path, monkeypatch, done):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "pics")
    out, _ = done("train", "pics", "--out", "r", "--images", 16, *TINY)
    out, _ = done("train", "pics", "--out", "r", "--images", 16, *TINY)
    assert "r is finished: 16 images" in out
    assert "--images 32" in out
    out, err = done("train", "pics", "--out", "r", "--images", 32, *TINY)
    assert "trained on 32 images" in out
    _, err = done("train", "pics", "--out", "r", "--fork", "f", "--images", 48, "--lr", 1e-4)
    assert "lr (" in err
    assert len((tmp_path / "f" / "metrics.jsonl").read_text().splitlines()) == 2
    assert call("train", "pics", "--out", "r", "--fork", "g", "--preset", "ddpm") == 2


# --- progress and the cache ----------------------------------------------------------------------


def test_lines_of_progress_come_at_a_falling_rate_with_the_time(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("alphabar.cli.progress.time.monotonic", lambda: now[0])
    lines = []
    with Progress() as progress:
        for second in range(0, 7200, 5):
            now[0] = float(second)
            progress.update(
                {"images": 10 * second, "loss": 0.5, "step": second}, 72_000, 10.0, 7200.0 - second
            )
            if capsys.readouterr().err:
                lines.append(second)
    gaps = np.diff(lines)
    assert lines[0] == 15
    assert np.all(gaps >= 15)
    assert gaps[-1] > 600
    assert len(lines) < 40


def test_a_line_of_progress_says_the_time_how_far_it_is_and_what_is_left(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("alphabar.cli.progress.time.monotonic", lambda: now[0])
    with Progress() as progress:
        for second in (0, 10, 30):
            now[0] = float(second)
            row = {"images": 10 * second, "loss": 0.5, "held_out_loss": 0.25}
            progress.update(row, 1_200, 12.0 if second else 0.0, 75.0 if second else None)
    line = capsys.readouterr().err
    assert re.match(r"\d\d:\d\d:\d\d  300 of 1,200 images, loss 0.5000, ", line)
    assert "held out 0.2500, 12.0 images/s, 75 s left" in line


def test_a_total_that_follows_from_minutes_is_said_to_be_about_so_many(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("alphabar.cli.progress.time.monotonic", lambda: now[0])
    with Progress("rows", rough=True) as progress:
        now[0] = 30.0
        progress.update({"images": 300, "loss": 0.5}, 1_200, 12.0, 75.0)
    assert "300 of about 1,200 rows, loss 0.5000, 12.0 rows/s" in capsys.readouterr().err


def test_the_closing_line_says_how_many_samples_were_compared():
    said = []
    expected.tell_distance({"sample_distance": 3.0, "sample_floor": 2.0, "sample_n": 8}, said.append)
    expected.tell_distance({"sample_distance": 30.0, "sample_floor": 2.0, "sample_n": 64}, said.append)
    expected.tell_distance({"sample_distance": None, "sample_floor": 2.0, "sample_n": 64}, said.append)
    expected.tell_distance({"sample_distance": 1.0, "sample_floor": 2.0, "sample_n": 64}, said.append)
    assert said[0] == "8 samples lie 1.5 times as far from the data as held-out ones do"
    assert said[1].startswith("64 samples lie 15.0 times as far")
    expected.tell_distance({"sample_distance": 30.0, "sample_floor": 2.0, "sample_n": 64}, said.append, True)
    assert said.pop(3).startswith("64 samples without guidance lie 15.0 times as far")
    assert said[2].endswith("copies is told by alphabar eval")
    assert len(said) == 3


def test_minutes_that_are_over_within_a_batch_promise_one():
    config = SimpleNamespace(network={"channels": 8}, batch_size=16)
    assert "before a batch of 16 volumes" in expected.expected_in_minutes(config, 0, "volume")
    assert "about, in batches of 16, by a network of 8 channels" in expected.expected_in_minutes(
        config, 16, "volume"
    )


def test_the_cache_is_listed_and_emptied(tmp_path, monkeypatch, done, refused):
    monkeypatch.setenv("ALPHABAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "pics")
    done("data", "pics")
    out, _ = done("data", "--cache")
    assert "pics" in out
    assert "1 prepared data set, " in out
    assert json.loads(done("data", "--cache", "--json")[0])["entries"][0]["num_samples"] == 12
    assert "give them alone" in refused("data", "pics", "--cache")
    assert "removed from" in done("data", "--clear")[0]
    assert "0 prepared data sets, 0.0 MiB" in done("data", "--cache")[0]
    assert "say which data" in refused("data")
