"""Every option of every command, as the parser knows them: none is ignored, and no value is a traceback."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest

from alphabar.cli.app import COMMANDS, command
from chaos import cases
from forked import forked
from program import TINY, call, contents, pictures

DRAW = ["-n", 2, "--steps", 2, "--out", "new"]
BASE = {
    "data": ["data", "pets"],
    "train": ["train", "pets", "--out", "new", "--images", 16, *TINY],
    "sample": ["sample", "run", *DRAW],
    "edit vary": ["edit", "vary", "run", "pets/cats/00.png", "--t", 50, *DRAW],
    "edit interpolate": ["edit", "interpolate", "run", "pets/cats/00.png", "pets/dogs/00.png", *DRAW],
    "edit inpaint": ["edit", "inpaint", "run", "pets/cats/00.png", "left", *DRAW],
    "edit upscale": ["edit", "upscale", "run", "half.png", "--factor", 2, *DRAW],
    "edit colorize": ["edit", "colorize", "run", "pets/cats/00.png", *DRAW],
    "edit deblur": ["edit", "deblur", "run", "pets/cats/00.png", "--sigma", 1.5, *DRAW],
    "eval": ["eval", "run", "-n", 20, "--features", "pixels", "--steps", 2],
    "diagnose": ["diagnose", "run", "-n", 20, "--check", "rate_too_low"],
    "report": ["report", "run", "-n", 20, "--features", "pixels"],
    "info": ["info", "run"],
    "show schedule": ["show", "schedule"],
    "show plan": ["show", "plan", "run", "--steps", 3],
    "fit-sampler": ["fit-sampler", "run", "--steps", 2, "--noises", 8],
}
"""Commands that work."""

VALID = {
    "--size": [16], "--channels": ["rgb"], "--classes": ["none"], "--background": ["red"], "--range": [0, 1],
    "--layout": ["CHW"], "--holdout": [0.2], "--out": ["other"], "--preset": ["ddpm"], "--images": [24],
    "--epochs": [2], "--minutes": [0.01], "--schedule": ["cosine"], "--T": [200], "--network": ["unet"],
    "--from": ["run"], "--prediction": ["x0"], "--condition-dropout": [0.3], "--loss": ["simple"],
    "--batch": [4], "--optimizer": ["adamw"], "--lr": [0.01], "--warmup-images": [8], "--decay": [0.5],
    "--momentum": [0.5], "--betas": [0.5, 0.6], "--weight-decay": [0.2], "--grad-clip": [0.1],
    "--ema-halflife": [100], "--ema-ramp": [0.5], "--seed": [5], "--micro-batch": [2],
    "--precision": ["bfloat16"], "--compile": ["default"], "--save-minutes": [1],
    "--best": ["sample_distance"],
    "--log": ["tensorboard"], "--fork": ["other"], "--set": ["decay=0.4"], "-n": [3], "--first": [3],
    "--class": ["dogs"], "--cond": ["class=1"], "--steps": [4], "--sampler": ["ddim"], "--guidance": [2],
    "--guidance-interval": [10, 50], "--guidance-rescale": [0.5], "--guide": ["other.safetensors"],
    "--spacing": ["trailing"], "--plan": ["plan.json"], "--threshold": [0.9], "--variance": ["beta"],
    "--eta": [0.5], "--churn": [1], "--churn-min": [1], "--churn-max": [5], "--churn-noise": [1.1],
    "--order": [1], "--t": [30], "--by": ["latents"], "--method": ["repaint"], "--strength": [0.5],
    "--factor": [4], "--sigma": [2.5], "--data": ["others"], "--features": ["untrained"],
    "--compare": ["steps=3"], "--check": ["rate_too_high"], "--picture": ["pets/cats/00.png"],
    "--name": ["cosine"], "--beta-min": [0.001], "--beta-max": [0.05], "--s": [0.02], "--max-beta": [0.9],
    "--start": [2], "--end": [4], "--tau": [0.5], "--times": ["100,50,0"], "--noises": [12],
}  # fmt: skip
"""A value of each option that takes one, other than the default and that of `BASE`."""
NO_DIFFERENCE = {"--device": "this machine may have one device"}
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


def words_of(flag, option):
    """Ways to give the option a value that is its own."""
    if getattr(option, "is_flag", False):
        return [[one] for one in (flag, *option.secondary_opts)]
    return [[flag, *VALID[flag]]]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Pictures of two classes, others of none, a run, another model, a plan."""
    place = tmp_path_factory.mktemp("world")
    before = Path.cwd()
    os.chdir(place)
    try:
        for seed, name in enumerate(("cats", "dogs")):
            pictures(place / "pets" / name, 20, seed=seed)
        shutil.copytree(place / "pets", place / "others")
        pictures(place / "others" / "cats", 20, seed=7)
        pictures(place / "small", 1, side=4)
        shutil.copy("small/00.png", "half.png")
        train = ["train", "pets", "--images", 64, *TINY]
        assert call(*train, "--out", "run") == 0
        assert call(*train, "--out", "r2", "--seed", 3) == 0
        shutil.copy("r2/model.safetensors", "other.safetensors")
        assert call("show", "plan", "run", "--steps", 3, "--out", "plan.json") == 0
    finally:
        os.chdir(before)
    return place


@pytest.fixture
def place(world, tmp_path, monkeypatch):
    """A copy of the world to work in."""
    shutil.copytree(world, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    monkeypatch.setenv("ALPHABAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "place"


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
    left = {n: raw for n, raw in left.items() if not n.endswith(("times.jsonl", "metrics.jsonl", ".html"))}
    text = re.sub(r"\d+(\.\d+)? (s|images/s|MB|min)\b", "", said.out + said.err)
    return said.code, re.sub(r"\d\d:\d\d:\d\d", "", text), left


BASES = {}


@pytest.mark.parametrize(("name", "flag", "option"), cases(OPTIONS, keep=1))
def test_an_option_acts_or_is_refused(world, place, name, flag, option):
    if flag in NO_DIFFERENCE:
        return
    if name not in BASES:
        BASES[name] = outcome(place, BASE[name])
        shutil.rmtree(place)
        shutil.copytree(world, place)
        os.chdir(place)
    assert BASES[name][0] in (0, 1), BASES[name]
    found = []
    for words in words_of(flag, option):
        found.append(outcome(place, [*BASE[name], *words]))
        shutil.rmtree(place)
        shutil.copytree(world, place)
        os.chdir(place)
    assert any(one != BASES[name] for one in found), f"{name} ignores {flag}"
    for code, text, _ in found:
        assert code != 2 or "No such option" not in text


@pytest.mark.parametrize(("name", "flag", "option"), cases(OPTIONS, keep=2))
def test_no_value_of_an_option_is_a_traceback(place, name, flag, option):
    draw = random.Random(f"{name} {flag}")
    if getattr(option, "is_flag", False):
        forked(*BASE[name], f"{flag}=1").check(f"{name} {flag}=1")
        return
    forked(*BASE[name], flag).check(f"{name} {flag} without a value")
    for value in draw.sample(HOSTILE, 4):
        words = [flag, value, *([value] if option.nargs == 2 else [])]
        forked(*BASE[name], *words).check(f"{name} {' '.join(words)[:100]}")


@pytest.mark.parametrize("word", cases(HOSTILE_SETS, keep=1))
def test_no_setting_is_a_traceback(place, word):
    forked(*BASE["train"], "--set", word).check(f"--set {word[:100]}")


@pytest.mark.parametrize(("name", "words"), cases(PAIRS, keep=1))
def test_what_contradicts_itself_is_refused(place, name, words):
    said = forked(*BASE[name], *words)
    said.check(f"{name} {words}")
    assert said.code == 2, f"{name} takes {words}: {said.out}{said.err}"
