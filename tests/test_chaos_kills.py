"""Every command that writes, broken at its calls that change files: nothing is lost, torn or left behind.

Killed, or with a device that fails once, or with a disk that is full from then on: the same command again
ends with the bytes of an unbroken one. A failure is told in one line that names the file.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import breaking
import commands
from alphabar.files import is_temporary

HOWS = ("kill", "EIO", "ENOSPC")
TOLD = re.compile(r"alphabar: (Input/output error|No space left on device): [^ ].*")
PARTS = 3  # cases of a command and a way to break


class Bench:
    """A folder that is made anew for each try, always at the same place: caches go by it."""

    def __init__(self, start, place):
        self.start, self.place = start, place

    def fresh(self):
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.start, self.place)
        return self.place


@pytest.fixture(scope="module")
def bench(chaos_start):
    return Bench(chaos_start, chaos_start.parent / "kills")


_unbroken = {}
_gone_on_with = set()  # what was left, and the same command was given again: it would do the same


def unbroken(name, bench):
    """(exit code, calls, contents) of a command that isn't broken."""
    if name not in _unbroken:
        commands.begin(name, bench.start)
        code, printed, calls = breaking.run(commands.COMMANDS[name], bench.fresh())
        assert code in (0, 1), printed  # diagnose exits with 1 where it finds something
        _unbroken[name] = code, calls, commands.contents(bench.place)
    return _unbroken[name]


def kind(call):
    """A call, but for the number of what it is about: calls of a kind are those of one line of our code."""
    event, path = call
    return event, re.sub(r"\d+", "N", path)


def chosen(calls):
    """The first and the last call of each kind."""
    places = {}
    for n, call in enumerate(calls, 1):
        places.setdefault(kind(call), []).append(n)
    return sorted({n for found in places.values() for n in (found[0], found[-1])})


def visible(found):
    return {name: content for name, content in found.items() if not _is_own(name)}


def _is_own(name):
    """Whether it is a temporary, in one, or a lock: what killed processes may leave to the next one."""
    parts = [is_temporary(Path(part)) for part in name.split("/")]
    return any(parts) or name.endswith(".lock")


def check_broken(name, n, how, bench):
    """Break a command at its n-th call; look at what is there; give it again."""
    whole_code, calls, whole = unbroken(name, bench)
    arguments, before = commands.COMMANDS[name], commands.contents(bench.fresh())
    code, printed, _ = breaking.run(arguments, bench.place, n, how)
    where = f"{name}, {how} at {n}: {calls[n - 1]}\n{printed}"
    after = commands.contents(bench.place)
    if how == "kill":
        assert code == -9, where
    elif code == 2:
        assert "Traceback" not in printed, where
        told = [line for line in printed.splitlines() if line.startswith("alphabar: ")]
        assert len(told) == 1, where
        assert TOLD.fullmatch(told[0]), where
    else:  # what it couldn't do was not needed
        assert code == whole_code, where
        assert visible(after).keys() == visible(whole).keys(), where
    lost = [path for path in visible(before).keys() - after.keys() if path in whole]
    assert not lost, f"{where}\n{lost}"
    for path in ("pets/00.png", "fresh/00.png", "array.npz"):
        assert after[f"here/{path}"] == before[f"here/{path}"], where
    state = repr(sorted((re.sub(r"-\d+-\d+\.tmp", ".tmp", k), repr(v)) for k, v in after.items()))
    if (name, state) in _gone_on_with or (how != "kill" and code != 2):
        return
    _gone_on_with.add((name, state))
    code, printed, _ = breaking.run(arguments, bench.place)
    where += f"\nagain: {printed}"
    found = commands.contents(bench.place)
    if code == 2:
        assert commands.REFUSED_AGAIN.search(printed), where
    else:
        assert code == whole_code, where
    differing = [path for path in found.keys() | whole.keys() if found.get(path) != whole.get(path)]
    assert not differing, f"{where}\n{differing}"


EVERY = [(name, how, part) for name in commands.COMMANDS for how in HOWS for part in range(PARTS)]


@pytest.mark.chaos
@pytest.mark.parametrize(("name", "how", "part"), EVERY)
def test_broken_at_any_call_the_same_command_ends_with_the_same_bytes(bench, name, how, part):
    for n in chosen(unbroken(name, bench)[1])[part::PARTS]:
        check_broken(name, n, how, bench)


ONE_OF_EACH = [
    ("data", "kill", 0.5), ("data --out", "ENOSPC", 0.8), ("data --clear", "kill", 0.5),
    ("sample", "kill", 0.2), ("sample", "ENOSPC", 0.4), ("edit vary", "kill", 0.9),
    ("edit inpaint", "EIO", 0.6), ("show plan", "kill", 0.9), ("fit-sampler --variance", "EIO", 0.5),
]  # fmt: skip


@pytest.mark.parametrize(("name", "how", "part"), ONE_OF_EACH)
def test_broken_at_one_call_the_same_command_ends_with_the_same_bytes(bench, name, how, part):
    calls = unbroken(name, bench)[1]
    check_broken(name, max(1, round(part * len(calls))), how, bench)
