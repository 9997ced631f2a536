"""Every option of every command, as the parser knows them: none is ignored, and no value is a traceback."""

from __future__ import annotations

import json
import random
import re

import pytest

from alphabar.cli.app import COMMANDS, command
from chaos import cases
from commands import SMALL
from forked import forked
from program import contents
from worlds import copy

DRAW = ["-n", 2, "--steps", 3, "--out", "new"]
BASE = {
    "data": ["data", "pets"],
    "train": ["train", "pets", "--out", "new", "--images", 16, *SMALL],
    "sample": ["sample", "run", *DRAW],
    "edit vary": ["edit", "vary", "run", "pets/cats/00.png", "--t", 50, *DRAW],
    "edit interpolate": ["edit", "interpolate", "run", "pets/cats/00.png", "pets/dogs/00.png", *DRAW],
    "edit inpaint": ["edit", "inpaint", "run", "pets/cats/00.png", "left", *DRAW],
    "edit upscale": ["edit", "upscale", "run", "00.png", "--factor", 2, *DRAW],
    "edit colorize": ["edit", "colorize", "run", "pets/cats/00.png", *DRAW],
    "edit deblur": ["edit", "deblur", "run", "pets/cats/00.png", "--sigma", 1.5, *DRAW],
    "eval": ["eval", "run", "-n", 20, "--features", "pixels", "--steps", 2],
    "diagnose": ["diagnose", "run", "-n", 20],
    "report": ["report", "run", "-n", 20, "--features", "pixels"],
    "info": ["info", "run"],
    "show schedule": ["show", "schedule"],
    "show plan": ["show", "plan", "run", "--steps", 3],
    "fit-sampler": ["fit-sampler", "run", "--steps", 2, "--noises", 8],
    "launch": ["launch", "--print", "slurm", "train", "pets"],
    "runs": ["runs", "."],
}
"""Commands that work."""

VALID = {
    "--size": [16], "--channels": ["gray"], "--classes": ["none"], "--background": ["red"], "--range": [0, 1],
    "--layout": ["CHW"], "--holdout": [0.2], "--out": ["other"], "--preset": ["ddpm"], "--images": [24],
    "--epochs": [2], "--minutes": [0.01], "--schedule": ["cosine"], "--T": [200], "--network": ["vit"],
    "--from": ["run"], "--prediction": ["x0"], "--condition-dropout": [0.3], "--loss": ["simple"],
    "--references": [16], "--batch": [4], "--optimizer": ["adamw"], "--lr": [0.01], "--warmup-images": [8],
    "--decay": [0.5],
    "--momentum": [0.5], "--betas": [0.5, 0.6], "--weight-decay": [0.2], "--grad-clip": [0.1],
    "--ema-halflife": [100], "--ema-ramp": [0.5], "--seed": [5], "--micro-batch": [2],
    "--precision": ["bfloat16"], "--compile": ["default"], "--save-minutes": [1],
    "--best": ["sample_distance"],
    "--log": ["tensorboard"], "--fork": ["other"], "--set": ["decay=0.4"], "-n": [3], "--first": [3],
    "--class": ["dogs"], "--cond": ["class=1"], "--steps": [4], "--sampler": ["ddim"], "--guidance": [2],
    "--guidance-interval": [10, 50], "--guidance-rescale": [0.5], "--guidance-every": [2],
    "--guide": ["other.safetensors"], "--spacing": ["trailing"], "--plan": ["plan.json"],
    "--threshold": [0.9], "--variance": ["beta"],
    "--eta": [0.5], "--churn": [1], "--churn-min": [1], "--churn-max": [5], "--churn-noise": [1.1],
    "--order": [1], "--t": [30], "--by": ["latents"], "--method": ["repaint"], "--strength": [0.5],
    "--factor": [4], "--sigma": [2.5], "--data": ["others"], "--features": ["untrained"],
    "--compare": ["steps=3"], "--check": ["average"], "--picture": ["pets/cats/00.png"],
    "--name": ["cosine"], "--beta-min": [0.001], "--beta-max": [0.05], "--s": [0.02], "--max-beta": [0.9],
    "--start": [2], "--end": [4], "--tau": [0.5], "--times": ["100,50,0"], "--noises": [12],
    "--resize": ["nearest"], "--frames": ["all"], "--fit": ["pad"], "--crop": [3], "--labels": ["ages.csv"],
    "--conditions": ["age=vector"], "--text-encoder": ["nil"], "--pairs": ["others"],
    "--pairs-resize": ["box"], "--series": ["id"], "--rate": [4], "--window": [2], "--hop": [1],
    "--types": ["value=category"], "--stream": [1], "--virtual-processes": [2],
    "--keep-every": [8], "--cond-from": ["pets/cats"], "--print": ["k8s"],
    "--nodes": [2], "--hours": [3], "--shift": [2],
}  # fmt: skip
"""A value of each option that takes one, other than the default and that of `BASE`."""
PAIRED = {"--guidance-interval", "--range", "--betas"}
ELSEWHERE = {
    "data --resize": ["data", "pets", "--size", 4],
    "data --fit": ["data", "pets", "--size", "4x8"],
    "data --crop": ["data", "pets", "--size", 4],
    "data --background": ["data", "faint"],
    "data --skip-bad": ["data", "torn"],
    "data --frames": ["data", "moving"],
    "launch --print": ["launch", "train", "pets"],
}  # fmt: skip
"""What is called instead, where a command of `BASE` gives an option nothing to act on."""
for flag, place in {
    "--conditions": ["pets", "--labels", "ages.csv"],
    "--pairs-resize": ["pets", "--size", 4, "--pairs", "others"],
    "--series": ["rows.csv"],
    "--rate": ["waves.npy", "--layout", "L"],
    "--window": ["waves.npy", "--layout", "L", "--rate", 8],
    "--hop": ["waves.npy", "--layout", "L", "--rate", 8, "--window", 2],
    "--types": ["rows.csv"],
    "--stream": ["shards"],
}.items():
    ELSEWHERE[f"data {flag}"] = ["data", *place]
    learn = ["--set", "network.width=8"] if place[0] == "rows.csv" else SMALL
    ELSEWHERE[f"train {flag}"] = ["train", *place, "--out", "new", "--images", 16, *learn]
NO_DIFFERENCE = {
    "--device": "this machine may have one device",
    "--compile": "it takes a minute, and torch warns of its own code on the way",
    "--processes": "several take seconds to begin; tests/test_distributed.py is about them",
    "--exact-processes": "they are one process here",
    "--threads": "this machine may have one core",
    "--deterministic": "the plan of two evaluations is deterministic anyway",
}
"""Options whose valid value changes nothing that can be seen here, and why."""
HOSTILE = ["", "-1", "0", "1e308", "nan", "inf", "9" * 30, "火\x1b[31m", "[1]", "[" * 2000, "null", "a=b",
    "1,2",
           "~nil/x", "../..", "{}", "--json", "1e-320", "true", "x" * 5000]  # fmt: skip
HOSTILE_SETS = [
    "schedule.name=[1]", "schedule.T=[1]", "schedule.T=1e308", "schedule.T=-5", "schedule=null", "lr=null",
    "lr=1e308", "lr=true", "stratifed=null", "stratified=null", "network.channels=[1]",
    "network.channels=1e30",
    "network.channels=1000000", "network.name=[1]", "network.name=null", "network.channel_mult=[[1]]",
    "network.channel_mult=" + "[" * 2000, "network.channel_mult=[]", "network=null",
    "network.num_res_blocks=5000",
    "schedule.alpha_bar=[1,0.5]", "log=[1]", "log=null", "seed=1.5", "betas=[1]", "betas=null",
    "grad_clip=nan",
    "ema_halflife=0", "batch_size=99999999999", "warmup_images=99999999999999999999", "init_from=null",
    "micro_batch=null", "network.=1", ".=1", "network..channels=3", "lr==1", "best=null", "objective=null",
    "prediction={}", "times=[]", "network.groups=0", "network.patch=1000000", "schedule.beta_min=1e308",
    "schedule.beta_min=[]", "network.head_channels=3", "compile=[1]", "channels_last=[1]", "precision=[]",
]  # fmt: skip
PAIRS = [
    ("train", ["--T", 500, "--set", "schedule.T=200"]), ("train", ["--lr", 1, "--set", "lr=2"]),
    ("train", ["--set", "lr=1", "--set", "lr=2"]),
    ("train", ["--schedule", "cosine", "--set", "schedule.name=linear"]),
    ("train", ["--epochs", 1]), ("train", ["--lr", 1, "--lr", 2]), ("train", ["--batch", 8, "--batch", 4]),
    ("train", ["--from", "run", "--fork", "other"]), ("train", ["--images", 8, "--images", 16]),
    ("train", ["--precision", "float32", "--set", "precision=bfloat16"]),
    ("fit-sampler", ["--steps", 2, "--steps", 3]), ("sample", ["--plan", "plan.json", "--sampler", "ddim"]),
    ("sample", ["--no-clip", "--threshold", 0.9]), ("sample", ["--class", "cats", "--cond", "class=1"]),
    ("sample", ["--clip", "--no-clip"]), ("sample", ["--guidance-interval", 50, 10]), ("data", ["--cache"]),
    ("show plan", ["--schedule", "cosine"]), ("show schedule", ["--size", 16]),
    ("data", ["--clear", "--json"]),
    ("show plan", ["--times", "100,50,0", "--spacing", "flow"]),
    ("eval", ["--class", "cats", "--cond", "class=0"]),
    ("diagnose", ["--check", "nothing"]), ("info", ["--json", "--json"]), ("edit vary", ["--t", 5, "--t", 6]),
]  # fmt: skip
"""What contradicts itself; refused, unless both can be done."""


def parsed():
    """(command, the option's name, the option) from the parser itself."""
    for name in COMMANDS:
        made = command(name)
        for inner, one in (getattr(made, "commands", None) or {"": made}).items():
            for option in one.params:
                if option.param_type_name == "option":
                    yield f"{name} {inner}".strip(), option.opts[0], option


OPTIONS = [(name, flag, option) for name, flag, option in parsed() if flag != "--help"]
"""All options of all commands."""


def is_switch(option):
    return getattr(option, "is_flag", False)


def dealt():
    """(command, option, value or None): hostile values, dealt to options; each kind of them gets all.

    An option is tried at one of the commands that have it. Numbers of a kind share a parser; words are each
    read by their own.
    """
    draw = random.Random(0)
    having, kinds = {}, {}
    for name, flag, option in OPTIONS:
        having.setdefault(flag, []).append((name, option))
    for flag, found in having.items():
        name, option = draw.choice(found)
        kind = "switch" if is_switch(option) else (option.type_descriptor.annotation, option.nargs)
        kinds.setdefault(kind, []).append((name, flag))
    for kind, found in kinds.items():
        values = {"switch": ["=1", "=", "=" + "x" * 5000]}.get(kind, [None, *HOSTILE])
        for i in range(len(values) if kind == "switch" else max(len(values), len(found))):
            yield *found[i % len(found)], values[i % len(values)]


@pytest.fixture
def place(world, tmp_path, monkeypatch):
    """A copy of the world to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALPHABAR_CACHE", str(tmp_path / "cache"))
    return copy(world, tmp_path / "place")


def outcome(place, words):
    """How a command ends: its code, what it says, what it leaves, without what depends on the clock."""
    before = contents(place)
    said = forked(*words, seconds=60)
    said.check(" ".join(map(str, words)))
    left = {name: raw for name, raw in contents(place).items() if before.get(name) != raw}
    for name in left:
        if name.endswith("run.json"):
            entry = json.loads(left[name])
            left[name] = json.dumps([entry[part] for part in ("identity", "budget", "habits")])
    left = {n: raw for n, raw in left.items() if not n.endswith(("times.jsonl", "metrics.jsonl"))}
    text = re.sub(r"\d+(\.\d+)? (s|\w+/s|MB|min)\b", "", said.out + said.err)
    return said.code, re.sub(r"\d\d:\d\d:\d\d", "", text), left


def test_each_option_of_each_command_has_a_base_and_a_value():
    for name, flag, option in OPTIONS:
        assert name in BASE
        assert is_switch(option) or flag in {**VALID, **NO_DIFFERENCE}, f"{name} {flag}"


def given(base, words):
    """A command with options after it, or before the training that `launch` begins."""
    return ["launch", *words, *base[1:]] if base[0] == "launch" else [*base, *words]


BASES = {}


@pytest.mark.parametrize(("name", "flag", "option"), cases(OPTIONS, keep=1))
def test_an_option_acts_or_is_refused(world, place, name, flag, option):
    if flag in NO_DIFFERENCE:
        return
    base = ELSEWHERE.get(f"{name} {flag}", BASE[name])
    without = BASES.get(tuple(base))
    if without is None:
        without = BASES[tuple(base)] = outcome(place, base)
        copy(world, place)
    assert without[0] in (0, 1) or base != BASE[name], without
    ways = [[one] for one in (flag, *option.secondary_opts)] if is_switch(option) else [[flag, *VALID[flag]]]
    found = []
    for words in ways:
        found.append(outcome(place, given(base, words)))
        copy(world, place)
    assert any(one != without for one in found), f"{name} ignores {flag}"
    for code, text, _ in found:
        assert code != 2 or "No such option" not in text


@pytest.mark.parametrize(("name", "flag", "value"), cases(dealt(), keep=2))
def test_no_value_of_an_option_is_a_traceback(place, name, flag, value):
    if value is None:
        words = [flag]  # and nothing after it
    elif value.startswith("="):
        words = [flag + value]  # of a switch
    else:
        words = [flag, value, *([value] if flag in PAIRED else [])]
    forked(*given(BASE[name], words)).check(f"{name} {' '.join(words)[:100]}")


@pytest.mark.parametrize("word", cases(HOSTILE_SETS, keep=1))
def test_no_setting_is_a_traceback(place, word):
    forked(*BASE["train"], "--set", word).check(f"--set {word[:100]}")


@pytest.mark.parametrize(("name", "words"), cases(PAIRS, keep=1))
def test_what_contradicts_itself_is_refused(place, name, words):
    said = forked(*given(BASE[name], words))
    said.check(f"{name} {words}")
    assert said.code == 2, f"{name} takes {words}: {said.out}{said.err}"
