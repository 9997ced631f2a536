"""Every command that writes, broken at its calls that change files: nothing is lost, torn or left behind.

Killed, or with a device that fails once, or with a disk that is full from then on: the same command again
ends with the bytes of an unbroken one. A failure is told in one line that names the file.

What a kill leaves is copied at every call of one run, and gone on with at the first and the last call of each
kind: an event, and a path but for its numbers. Failures are raised at the first call of each kind that no
other way to call the same command has, because these are handled by the same lines; a full disk only where
room is needed. What was left, and gone on with before, is not gone on with again.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

import breaking
import commands
from alphabar.files import is_temporary

HOWS = ("kill", "EIO", "ENOSPC")
TOLD = re.compile(r"alphabar: (Input/output error|No space left on device): [^ ].*")


class Unbroken(NamedTuple):
    """A command that isn't broken."""

    code: int
    calls: list[tuple[str, str]]
    before: dict[str, object]
    contents: dict[str, object]


class Bench:
    """A folder that is made anew for each try, always at the same place: caches go by it."""

    def __init__(self, start):
        self.start, self.place = start, start.parent / "kills"
        self.states = breaking.states_of(self.place)
        self.copied, self.unbroken, self.gone_on_with, self.begun = "", {}, set(), {}

    def fresh(self, name):
        """The folder, and in it what this command goes on with."""
        breaking.copied(self.start, self.place)
        if folder := commands.BEGUN.get(name):
            if name not in self.begun:
                commands.begin(name, self.place)
                self.begun[name] = shutil.move(
                    self.place / "here" / folder, self.place.parent / f"begun {name}"
                )
                breaking.copied(self.start, self.place)
            shutil.copytree(self.begun[name], self.place / "here" / folder)
        return self.place

    def whole(self, name):
        """The command to its end; `states` has what lay there at each call of the last one."""
        if name not in self.unbroken:
            self.unbroken[name] = self.copies(name)
        return self.unbroken[name]

    def copies(self, name):
        shutil.rmtree(self.states, ignore_errors=True)
        before = commands.contents(self.fresh(name))
        code, printed, calls = breaking.run(commands.COMMANDS[name], self.place, how="copies")
        assert code in (0, 1), printed  # diagnose exits with 1 where it finds something
        self.copied = name
        return Unbroken(code, calls, before, commands.contents(self.place))


@pytest.fixture(scope="module")
def bench(chaos_start):
    made = Bench(chaos_start)
    yield made
    shutil.rmtree(made.place, ignore_errors=True)
    shutil.rmtree(made.states, ignore_errors=True)


def kind(call):
    """A call, but for the number of what it is about: calls of a kind are those of one line of our code."""
    event, path = call
    return event, re.sub(r"\d+", "N", path)


def first_and_last(calls):
    places = {}
    for n, call in enumerate(calls, 1):
        places.setdefault(kind(call), []).append(n)
    return sorted({n for found in places.values() for n in (found[0], found[-1])})


def first_of_all(name, bench):
    """The first call of each kind that no command before it in the list has, wherever it writes."""

    def anywhere(call):
        event, path = kind(call)
        return event, re.sub(r"^(here/)(new|part|run|drawn|unfinished|\w+-N)\b", r"\1RUN", path)

    known, found = set(), []
    for other in commands.COMMANDS:
        if other.split()[0] == name.split()[0]:
            for n, call in enumerate(bench.whole(other).calls, 1):
                if anywhere(call) not in known:
                    known.add(anywhere(call))
                    found += [n] * (other == name)
        if other == name:
            return found
    raise AssertionError(name)


def visible(found):
    return {name: content for name, content in found.items() if not _is_own(name)}


def _is_own(name):
    """Whether it is a temporary, in one, or a lock: what killed processes may leave to the next one."""
    parts = [is_temporary(Path(part)) for part in name.split("/")]
    return any(parts) or name.endswith(".lock")


def check_killed(name, n, bench):
    """Look at what a kill at the n-th call leaves; go on with it."""
    whole = bench.whole(name)
    if bench.copied != name:
        bench.copies(name)
    check_kept(
        name, commands.contents(bench.states / str(n)), f"{name}, killed at {n}: {whole.calls[n - 1]}", bench
    )
    check_again(name, bench.states / str(n), f"{name}, killed at {n}: {whole.calls[n - 1]}", bench)


def check_failed(name, n, how, bench):
    """Let a command's n-th call fail; look at what is there; give it again."""
    whole = bench.whole(name)
    code, printed, _ = breaking.run(commands.COMMANDS[name], bench.fresh(name), n, how)
    where = f"{name}, {how} at {n}: {whole.calls[n - 1]}\n{printed}"
    after = commands.contents(bench.place)
    check_kept(name, after, where, bench)
    assert "Traceback" not in printed, where
    if code != 2:  # what it couldn't do was not needed
        assert code == whole.code, where
        assert visible(after).keys() == visible(whole.contents).keys(), where
        return
    told = [line for line in printed.splitlines() if line.startswith("alphabar: ")]
    assert len(told) == 1, where
    assert TOLD.fullmatch(told[0]), where
    check_again(name, bench.place, where, bench)


def check_kept(name, after, where, bench):
    """What was there, and is there in the end, is there; a person's files are as they were."""
    before = bench.whole(name).before
    lost = [path for path in visible(before).keys() - after.keys() if path in bench.whole(name).contents]
    if name == "train resumed":  # previews after its checkpoint are drawn again
        lost = [path for path in lost if "/previews/" not in path]
    assert not lost, f"{where}\n{lost}"
    for path in ("pets/00.png", "fresh/00.png", "array.npz"):
        assert after[f"here/{path}"] == before[f"here/{path}"], where


def check_again(name, state, where, bench):
    """The same command goes on with a folder as it is left."""
    found = commands.contents(state)
    left = repr(sorted((re.sub(r"-\d+-\d+\.tmp", ".tmp", k), repr(v)) for k, v in found.items()))
    if (name, left) in bench.gone_on_with:
        return
    bench.gone_on_with.add((name, left))
    if state != bench.place:
        breaking.copied(state, bench.place)
    whole = bench.whole(name)
    code, printed, _ = breaking.run(commands.COMMANDS[name], bench.place)
    where += f"\nagain: {printed}"
    found = commands.contents(bench.place)
    if code == 2:
        assert commands.REFUSED_AGAIN.search(printed), where
    else:
        assert code == whole.code, where
    differing = [p for p in found.keys() | whole.contents.keys() if found.get(p) != whole.contents.get(p)]
    assert not differing, f"{where}\n{differing}"


@pytest.mark.chaos
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", commands.COMMANDS)
def test_broken_at_any_call_the_same_command_ends_with_the_same_bytes(bench, name, how):
    whole = bench.whole(name)
    if how == "kill":
        for n in first_and_last(whole.calls):
            check_killed(name, n, bench)
        return
    for n in first_of_all(name, bench):
        if how != "ENOSPC" or whole.calls[n - 1][0] in breaking.NEEDS_ROOM:
            check_failed(name, n, how, bench)


ONE_OF_EACH = [
    ("data", "kill", "os.rename", "cache"), ("sample", "kill", "write", "samples.json"),
    ("train", "kill", "fsync", "here/new/checkpoints"), ("eval", "EIO", "write", "features"),
    ("data --out", "ENOSPC", "write", "sheet.png"), ("data --clear", "EIO", "os.remove", "images-00000.raw"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "how", "event", "path"), ONE_OF_EACH)
def test_broken_at_one_call_the_same_command_ends_with_the_same_bytes(bench, name, how, event, path):
    calls = bench.whole(name).calls
    n = max(n for n, call in enumerate(calls, 1) if call[0] == event and path in call[1])
    if how == "kill":
        check_killed(name, n, bench)
    else:
        check_failed(name, n, how, bench)
