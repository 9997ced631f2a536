"""Facts of a stranger's files, each changed to what it can't be, under digests that are right.

Whatever they say, a command that reads them does its work or refuses in one line: it takes no memory for what
they claim, imports nothing that they name, and prints nothing that steers a terminal.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import save as tensors_as_bytes

from alphabar.files.tensors import KEY, _digest
from chaos import cases
from forked import forked
from worlds import TRAIN, copy

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
    (("scales",), []), (("scales",), [1]), (("scales",), [1, 2]), (("scales",), [0, 0]),
    (("scales",), [1, -1]),
    (("scales",), [1e308, 1e-308]), (("scales",), [1e-300, 1e-300]), (("scales",), [3, 2, 1]),
    (("scales",), "12"), (("space", "resize"), "antigravity"), (("space", "resize"), "bicubic\x1b[31m"),
    (("format",), 3.0), (("format",), True), (("format",), 2),
    (("codec", "scale"), [0.0]), (("codec", "scale"), [1e308]),
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


SHORT = ["-n", 20, "--features", "pixels"]
LONGER = [24 if word == 16 else word for word in TRAIN]
LOOK = [["eval", "run", *SHORT], ["diagnose", "run", "-n", 20], ["report", "run", *SHORT]]
SAMPLE = ["sample", "FILE", "-n", 1, "--steps"]
READ_BY = {
    "run/model.safetensors": [
        ["info", "FILE"], ["info", "FILE", "--json"], [*SAMPLE, 1], [*SAMPLE, 2, "--guidance", 3],
        [*SAMPLE, 2, "--sampler", "ddpm", "--variance", "optimal"],
    ],
    "run/checkpoints/step-000000002.safetensors": [["info", "FILE"], [*SAMPLE, 1], LONGER],
    "run/run.json": [TRAIN, ["info", "run"]],
    "run/metrics.jsonl": [LONGER],
    "run/times.jsonl": [TRAIN],
    "samples/samples.json": [["eval", "samples", "--data", "pets", *SHORT]],
    "plan.json": [["show", "plan", "FILE"], ["sample", "run", "-n", 1, "--plan", "FILE"]],
}  # fmt: skip
"""What reads each file; those of a run are also read by one of `LOOK`, in turn."""
FACTS = {"run/model.safetensors": 60, "run/checkpoints/step-000000002.safetensors": 15, "run/run.json": 35,
         "run/metrics.jsonl": 20, "run/times.jsonl": 10, "samples/samples.json": 20,
         "plan.json": 20}  # fmt: skip
"""How many changes of each, drawn by a seed."""


def drawn():
    """(turn, file, seed) of each change; and the claims of a model one by one."""
    found = [(seed, file, seed) for file, n in FACTS.items() for seed in range(n)]
    return found + [(turn, "run/model.safetensors", claim) for turn, claim in enumerate(CLAIMS)]


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


def commands(file, turn):
    """What reads a changed file: two of its readers in turn, and sometimes one of the whole run."""
    readers = READ_BY[file]
    found = [readers[turn % len(readers)], readers[(turn + 1) % len(readers)]][: len(readers)]
    if file.startswith("run/") and not turn % 8:
        found.append(LOOK[turn // 8 % len(LOOK)])
    return [[file if word == "FILE" else word for word in words] for words in found]


@pytest.mark.parametrize(("turn", "file", "seed"), cases(drawn(), keep=6))
def test_whatever_a_file_claims_it_is_read_or_refused_in_one_line(
    world, tmp_path, monkeypatch, turn, file, seed
):
    monkeypatch.chdir(tmp_path)
    place = copy(world, tmp_path / "place")
    told = written(place / file, seed)
    for words in commands(file, turn):
        said = forked(*words)
        said.check(f"{file} {told} by {' '.join(map(str, words[:2]))}")
        if said.code == 2:
            names = (Path(file).name, "run is a run with other settings", "this plan was made for")
            assert any(name in said.err for name in names), f"{told} by {words[0]}: {said.err}"
