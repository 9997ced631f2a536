"""Two commands at once on one run: one is held at a call that changes files while the other runs to its end.

Or until the other waits for the first. Both end well or with one line that says why not; no file is torn;
no older model stands over a newer one; what each says it wrote is there.

The first is held before its first call, when it has read what it begins with, and before the last time that
it renames its main file. Left out are the calls between, which are about files of its own, and the pairs of
which neither writes what the other needs: two that only read the run, but for those that look for the next
free folder, and a sheet of other data beside anything but data.
"""

from __future__ import annotations

import functools
import itertools
import json
import re

import pytest
from PIL import Image

import breaking
import commands
from alphabar.files import is_temporary, json_lines, load_tensors
from alphabar.runs import RunFolder

SMALL = commands.SMALL
TRAIN = ["train", "pets", "--out", "run", *SMALL, "--images"]
RACES = {  # and the main file
    "train": ([*TRAIN, 24], "model.safetensors"),
    "train longer": ([*TRAIN, 32], "model.safetensors"),
    "train otherwise": ([*TRAIN, 24, "--lr", "0.5"], "model.safetensors"),
    "fit-sampler": (["fit-sampler", "run", "--steps", 2, "--noises", 8], "model.safetensors"),
    "fit-sampler --variance": (["fit-sampler", "run", "--variance", "--noises", 4], "model.safetensors"),
    "sample": (["sample", "run", "-n", 2, "--steps", 1], "samples.json"),
    "edit": (["edit", "vary", "run", "pets/00.png", "--t", 50, "-n", 2, "--steps", 1], "samples.json"),
    "eval --out": (
        ["eval", "run", "-n", 12, "--steps", 1, "--features", "untrained", "--out", "card.json"], "card.json"
    ),
    "report": (["report", "run", "-n", 12, "--features", "untrained"], "report.html"),
    "data --out": (["data", "fresh", "--out", "sheet.png"], "sheet.png"),
    "data --clear": (["data", "--clear"], "images-00000.raw"),
}  # fmt: skip
WAIT_S = 10.0  # how long the second may take if it does not wait for the first
WRITERS = list(RACES)[:5]
BESIDE = {  # which also write, or remove, what the other needs
    ("sample", "edit"), ("edit", "sample"),
    *((name, "data --clear") for name in ("eval --out", "report", "data --out")),
    *(("data --clear", name) for name in ("eval --out", "report", "data --out")),
}  # fmt: skip


def share(first, second):
    """Whether one writes what the other reads or writes."""
    if "data --out" in (first, second) or first == second:
        return first == second or (first, second) in BESIDE
    return first in WRITERS or second in WRITERS or (first, second) in BESIDE


PAIRS = [pair for pair in itertools.product(RACES, repeat=2) if share(*pair)]
HOLDS = ("first", "main")


def raced(start, place, first, second, at):
    """(exit code, output) of each."""
    breaking.copied(start, place)
    a = breaking.Command(RACES[first][0], place, at, "pause", "first")
    assert a.heard()
    assert a.is_paused, a.end()
    b = breaking.Command(RACES[second][0], place, output="second")
    b.waits(WAIT_S)
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


SAMPLE = [("train", "fit-sampler --variance", "main"), ("sample", "sample", "first")]
REFUSED = "train otherwise"  # of a run that is there, so that its own files are never renamed
CASES = [(*pair, hold) for pair in PAIRS for hold in (HOLDS[:1] if pair[0] == REFUSED else HOLDS)]
REST = [case for case in CASES if case not in SAMPLE]


@pytest.mark.parametrize(
    ("first", "second", "hold"), [*SAMPLE, *(pytest.param(*case, marks=pytest.mark.chaos) for case in REST)]
)
def test_of_two_commands_at_once_none_harms_the_other(chaos_start, first, second, hold):
    place = chaos_start.parent / "races"
    results = raced(chaos_start, place, first, second, held_at(chaos_start, place, first, hold))
    check_pair((first, second), results, place / "here")


@functools.cache
def calls_of(start, place, name):
    return breaking.run(RACES[name][0], breaking.copied(start, place))[2]


def held_at(start, place, name, hold):
    """The number of the call that a command is held at."""
    if hold == "first":
        return 1
    events = {"os.remove"} if name == "data --clear" else {"os.rename", "os.link"}
    calls, main = calls_of(start, place, name), RACES[name][1]
    return max(n for n, (what, path) in enumerate(calls, 1) if what in events and path.endswith(main))
