"""Two commands at once on one run: one is held at a call that changes files while the other runs to its end.

Or until the other waits for the first. Both end well or with one line that says why not; no file is torn;
no older model stands over a newer one; what each says it wrote is there.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil

import pytest
from PIL import Image

import breaking
import commands
from alphabar.files import is_temporary, json_lines, load_tensors
from alphabar.runs import RunFolder

SMALL = commands.SMALL
TRAIN = ["train", "pets", "--out", "run", *SMALL, "--images"]
RACES = {
    "train": [*TRAIN, 24],
    "train longer": [*TRAIN, 32],
    "train otherwise": [*TRAIN, 24, "--lr", "0.5"],
    "fit-sampler": ["fit-sampler", "run", "--steps", 2, "--noises", 8],
    "fit-sampler --variance": ["fit-sampler", "run", "--variance", "--noises", 4],
    "sample": ["sample", "run", "-n", 2, "--steps", 1],
    "edit": ["edit", "vary", "run", "pets/00.png", "--t", 50, "-n", 2, "--steps", 1],
    "eval --out": ["eval", "run", "-n", 12, "--steps", 1, "--features", "untrained", "--out", "card.json"],
    "report": ["report", "run", "-n", 12, "--features", "untrained"],
    "data --out": ["data", "fresh", "--out", "sheet.png"],
    "data --clear": ["data", "--clear"],
}  # fmt: skip
WAIT_S = 3.0  # how long the second may take before it is taken to wait for the first
PAIRS = list(itertools.product(RACES, repeat=2))
FRACTIONS = (0.05, 0.35, 0.65, 0.95)  # of the calls of the first, at which it is held


def raced(start, place, first, second, at):
    """(exit code, output) of each; None for the first if it has no such call."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(start, place)
    a = breaking.Command(RACES[first], place, at, "pause", "first")
    assert a.heard()
    if not a.is_paused:
        return a.end(), None
    b = breaking.Command(RACES[second], place, output="second")
    b.heard(WAIT_S)
    a.go_on()
    return a.end(), b.end()


def check_told(name, code, printed):
    assert "Traceback" not in printed, printed
    assert code in (0, 2), printed
    told = [line for line in printed.splitlines() if line.startswith("alphabar: ")]
    assert len(told) == (code == 2), f"{name}\n{printed}"


def check_whole(here):
    """Every file can be read, and nothing is left but what is there for good."""
    for path in here.rglob("*"):
        assert not is_temporary(path), path
        assert not path.name.endswith(".lock"), path
        if path.suffix == ".safetensors":
            load_tensors(path)
        elif path.suffix in (".png", ".gif"):
            with Image.open(path) as image:
                image.load()
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            assert path.read_bytes().endswith(b"\n")
            json_lines(path)
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")


def check_pair(names, results, here):
    """What is there, by what the commands said."""
    for name, (code, printed) in zip(names, results, strict=True):
        check_told(name, code, printed)
    check_whole(here)
    folder = RunFolder(here / "run")
    _, facts, _ = load_tensors(folder.model)
    trained = folder.progress()["images"]
    assert facts["about"]["images"] == trained, "an older model stands over a newer one"
    assert [row["images"] for row in folder.metrics()] == list(range(8, trained + 1, 8))
    done = [name for name, (code, _) in zip(names, results, strict=True) if code == 0]
    wanted = {"train": 24, "train longer": 32}
    assert trained >= max([16, *(wanted[name] for name in done if name in wanted)])
    if "train otherwise" not in done:
        assert folder.entry()["identity"]["config"]["lr"] != 0.5
    for name, stem in (("sample", "samples"), ("edit", "varied")):
        folders = re.findall(rf"look at ({stem}-\d+)/grid.png", "".join(printed for _, printed in results))
        assert len(folders) == len(set(folders)) == done.count(name)
        assert all((here / place / "samples.json").exists() for place in folders)
    if names == ("fit-sampler", "fit-sampler --variance") and len(done) == 2:
        assert facts["plans"]
        assert facts["x0_mse"]


SAMPLE = [
    ("train", "fit-sampler --variance", 0.65), ("fit-sampler --variance", "fit-sampler --variance", 0.05),
    ("sample", "sample", 0.05), ("sample", "edit", 0.65), ("edit", "edit", 0.95),
    ("data --out", "data --out", 0.95),
]  # fmt: skip
REST = [(a, b, part) for a, b in PAIRS for part in FRACTIONS if (a, b, part) not in SAMPLE]


@pytest.mark.parametrize(
    ("first", "second", "part"), [*SAMPLE, *(pytest.param(*case, marks=pytest.mark.chaos) for case in REST)]
)
def test_of_two_commands_at_once_none_harms_the_other(chaos_start, first, second, part):
    place = chaos_start.parent / "races"
    at = max(1, round(part * number_of_calls(chaos_start, place, first)))
    results = raced(chaos_start, place, first, second, at)
    if results[1] is not None:
        check_pair((first, second), results, place / "here")


_numbers = {}


def number_of_calls(start, place, name):
    if name not in _numbers:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(start, place)
        _numbers[name] = len(breaking.run(RACES[name], place)[2])
    return _numbers[name]
