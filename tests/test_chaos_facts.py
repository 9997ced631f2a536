"""Facts of a stranger's files, each changed to what it can't be, under digests that are right.

Whatever they say, a command that reads them does its work or refuses in one line: it takes no memory for what
they claim, imports nothing that they name, and prints nothing that steers a terminal.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import save as tensors_as_bytes

from alphabar.files.tensors import KEY, _digest
from alphabar.model import load, save
from alphabar.sampling import Guidance, store_plan
from alphabar.theory.plans import make_plan
from chaos import cases
from forked import forked
from program import TINY, call, pictures

os.environ.pop("ALPHABAR_TRUST", None)
DEEP, TWICE, GONE = "@deep@", "@twice@", "@gone@"
HOSTILE = {
    "gone": GONE, "null": None, "negative": -1, "zero": 0, "1e308": 1e308, "NaN": float("nan"), "huge": 10**30
    ,
    "word": "a\x1b[31m\x07\nb", "empty": "", "list": [1], "lists": [[[]]], "mapping": {"a": 1}, "true": True,
    "numbers": list(range(3000)), "half": 0.5, "deep": DEEP, "twice": TWICE, "class": "antigravity:Class",
}  # fmt: skip
CLAIMS = [  # of a model: (what, value)
    (("schedule",), {"name": "cosine", "T": 300_000_000, "s": 0.008, "max_beta": 0.999}),
    (("schedule", "T"), 300_000_000),
    (("schedule",), {"name": "alpha_bar", "alpha_bar": [1.0, 0.5, "0.1"]}),
    (("schedule",), {"name": "alpha_bar", "alpha_bar": [[1.0, 0.5]]}),
    (("network", "channels"), 4096), (("network", "channels"), 2**62), (("network", "num_res_blocks"), 5000),
    (("network", "channel_mult"), [1] * 2000), (("network", "channel_mult"), [2**40]),
    (("network", "patch"), 10**9), (("network", "groups"), 10**9), (("network", "head_channels"), 3),
    (("network", "name"), "torch.nn:Linear"), (("network", "name"), "antigravity:Net"),
    (("network",), {"name": "torch.nn:Linear", "in_features": 10**6, "out_features": 10**6}),
    (("space", "shape"), [3, 8, 8]), (("space", "shape"), [1, 64]), (("space", "shape"), [1, 8, 8, 8]),
    (("space", "shape"), [64]), (("space", "shape"), [1, 10**6, 10**6]), (("space", "shape"), [1] * 200),
    (("space", "dtype"), "O"), (("space", "dtype"), "complex64"), (("space", "dtype"), "U8"),
    (("conditions", "class", "names"), ["cats", "dogs", "birds"]), (("conditions", "class", "names"), [0, 1]),
    (("conditions", "class", "names"), [f"{i}" for i in range(50_000)]),
    (("conditions", "class", "names"), "ab"), (("conditions", "class", "counts"), [-5, 5]),
    (("conditions", "class", "counts"), [10**40, 1]), (("conditions", "other"), {"kind": "class"}),
    (("conditions",), {"a\x1b[2J": {"kind": "class", "names": ["a", "b"], "counts": [], "dropout": 0.1}}),
    (("plans",), [{}]), (("plans",), [{}] * 3000), (("x0_mse",), [[1, 2], [1]]),
    (("x0_mse",), [["a"], ["b"]]),
    (("about", "images"), "many"), (("about", "prepared"), {"size": "none", "nonsense": 1}),
    (("about", "prepared"), [1]), (("about", "source"), 3), (("about", "training"), "x"),
    (("format",), 2.0), (("format",), True), (("codec", "scale"), [0.0]), (("codec", "scale"), [1e308]),
    (("codec",), {"name": "affine"}), (("requires",), {"package": "a\x1b[31m", "version": 1}),
]  # fmt: skip


def paths(value, before=()):
    """The places of all facts within a value; of a list the first two and the last entry."""
    inner = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        inner = [(i, value[i]) for i in sorted({0, 1, len(value) - 1} & set(range(len(value))))]
    for name, each in inner:
        yield (*before, name)
        yield from paths(each, (*before, name))


def changed(value, path, new):
    """The JSON text of a value with another fact at a path."""
    value = json.loads(json.dumps(value))
    place = value
    for name in path[:-1]:
        place = place[name]
    if new == GONE:
        del place[path[-1]]
    elif new == TWICE:
        return json.dumps(value).replace(json.dumps(path[-1]) + ":", f'"{path[-1]}": 1, "{path[-1]}":')
    else:
        place[path[-1]] = new
    return json.dumps(value).replace(json.dumps(DEEP), "[" * 3000 + "]" * 3000)


def resigned(path, change):
    """Change the facts of a file of tensors, and sign it as the program does; `change` gives their text."""
    with safe_open(str(path), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = json.loads(file.metadata()[KEY])["facts"]
    text = change(facts)
    try:
        digest = _digest(tensors, json.loads(text))
    except RecursionError:
        digest = "any"
    path.write_bytes(tensors_as_bytes(tensors, {KEY: f'{{"digest": "{digest}", "facts": {text}}}'}))


def fitted(path):
    """Let a model's file tell of a plan and of errors that were fitted to it, as `fit-sampler` does."""
    model = load(path, "cpu")
    plan = make_plan(model.schedule, "ddim", 2)
    plan.made_by["guidance"] = Guidance().facts()
    store_plan(model, plan)
    model.x0_mse = ([1.0, 50.0, 100.0], [0.01, 0.4, 0.5])
    save(model, path)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A run with a fitted plan, samples and a plan's file."""
    place = tmp_path_factory.mktemp("world")
    before = Path.cwd()
    os.chdir(place)
    try:
        for seed, name in enumerate(("cats", "dogs")):
            pictures(place / "pets" / name, 20, seed=seed)
        assert call(*TRAIN) == 0
        fitted("run/model.safetensors")
        assert call("sample", "run", "-n", 20, "--steps", 1, "--out", "samples") == 0
        assert call("show", "plan", "run", "--steps", 3, "--out", "plan.json") == 0
    finally:
        os.chdir(before)
    return place


TRAIN = ["train", "pets", "--out", "run", "--images", 72, *TINY]
SHORT = ["-n", 20, "--features", "pixels"]
LOOK = [["eval", "run", *SHORT], ["diagnose", "run", "-n", 20], ["report", "run", *SHORT]]
SAMPLE = ["sample", "FILE", "-n", 1, "--steps"]
READ_BY = {
    "run/model.safetensors": [
        ["info", "FILE"], ["info", "FILE", "--json"], [*SAMPLE, 1], [*SAMPLE, 2, "--guidance", 3],
        [*SAMPLE, 2, "--sampler", "ddpm", "--variance", "optimal"],
    ],
    "run/checkpoints/step-000000008.safetensors": [["info", "FILE"], [*SAMPLE, 1], TRAIN],
    "run/run.json": [TRAIN, ["info", "run"]],
    "run/metrics.jsonl": [TRAIN],
    "run/times.jsonl": [TRAIN],
    "samples/samples.json": [["eval", "samples", "--data", "pets", *SHORT]],
    "plan.json": [["show", "plan", "FILE"], ["sample", "run", "-n", 1, "--plan", "FILE"]],
}  # fmt: skip
"""What reads each file; those of a run are also read by one of `LOOK`, in turn."""
FACTS = {"run/model.safetensors": 120, "run/checkpoints/step-000000008.safetensors": 30, "run/run.json": 70,
         "run/metrics.jsonl": 40, "run/times.jsonl": 25, "samples/samples.json": 40,
         "plan.json": 40}  # fmt: skip
"""How many changes of each, drawn by a seed."""


def drawn():
    """(file, seed) of each change; and the claims of a model one by one."""
    found = [(file, seed) for file, n in FACTS.items() for seed in range(n)]
    return found + [("run/model.safetensors", claim) for claim in CLAIMS]


def change_of(facts, seed):
    """(path, text) of a change."""
    if isinstance(seed, tuple):
        return seed[0], changed(facts, *seed)
    draw = random.Random(seed)
    path = draw.choice(list(paths(facts)))
    return (*path, name := draw.choice(list(HOSTILE))), changed(facts, path, HOSTILE[name])


def written(path, seed):
    """Write a change into a file; what was changed."""
    said = []

    def change(facts):
        told, text = change_of(facts, seed)
        said.append(told)
        return text

    if path.suffix == ".safetensors":
        resigned(path, change)
    elif path.suffix == ".jsonl":
        lines = path.read_text().splitlines()
        i = random.Random(seed).choice([0, len(lines) // 2, len(lines) - 1])
        lines[i] = change(json.loads(lines[i]))
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text(change(json.loads(path.read_text())))
    return said[0]


@pytest.mark.parametrize(("file", "seed"), cases(drawn(), keep=8))
def test_whatever_a_file_claims_it_is_read_or_refused_in_one_line(world, tmp_path, monkeypatch, file, seed):
    place = tmp_path / "place"
    shutil.copytree(world, place)
    monkeypatch.chdir(place)
    told = written(place / file, seed)
    commands = list(READ_BY[file])
    if file.startswith("run/") and "checkpoint" not in file:
        commands.append(LOOK[(seed if isinstance(seed, int) else len(told[-1])) % 3])
    for words in commands:
        words = [file if word == "FILE" else word for word in words]
        said = forked(*words)
        said.check(f"{file} {told} by {' '.join(map(str, words[:2]))}")
        if said.code == 2:
            names = (Path(file).name, "run is a run with other settings", "this plan was made for")
            assert any(name in said.err for name in names), f"{told} by {words[0]}: {said.err}"
