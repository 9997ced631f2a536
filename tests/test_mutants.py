"""Every mutant of mutants.py is killed by the tests named beside it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import alphabar
import mutants
from mutation import mutate, mutate_file

TESTS = Path(__file__).parent
NOTICED = 41  # pytest's exit code for failed tests, 1, kept apart from that of a crash
LOST = 255  # what multiprocessing says when the fork server has lost a process: no verdict
ALL_BUGS = set(range(1, 46))
CONTEXT = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
CONTEXT.set_forkserver_preload(["torch", "torch._dynamo", "pydantic", "safetensors.torch", "PIL.Image"])


def run_tests(package_parent, nodes):
    """In a fresh process: the named tests, against the package found in `package_parent`."""
    sys.path.insert(0, str(package_parent))
    ours = {"alphabar", "conftest", *(file.stem for file in TESTS.glob("*.py"))}
    for name in [name for name in sys.modules if name.split(".")[0] in ours]:
        del sys.modules[name]
    import alphabar as mutated

    assert Path(mutated.__file__).is_relative_to(package_parent)
    sys.stdout = sys.stderr = open("/dev/null", "w")  # noqa: SIM115
    sys.exit(NOTICED - 1 + pytest.main(["-x", "-q", f"--rootdir={TESTS.parent}", *nodes]))


def kill(mutant, folder):
    """NOTICED if a test of the mutant's failed; anything else if none did, or could be run."""
    package = Path(alphabar.__file__).parent
    shutil.copytree(package, folder / "alphabar", ignore=shutil.ignore_patterns("__pycache__"))
    mutate_file(folder / "alphabar", mutant.function, mutant.old, mutant.new)
    nodes = [str(TESTS / node) for node in mutant.tests.split()]
    for _ in range(2):
        process = CONTEXT.Process(target=run_tests, args=(folder, nodes))
        process.start()
        process.join()
        if process.exitcode != LOST:
            break
    shutil.rmtree(folder)
    return process.exitcode


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """All mutants at once, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        yield [pool.submit(kill, m, tmp_path_factory.mktemp("mutant")) for m in mutants.MUTANTS]


@pytest.mark.parametrize(
    "i", range(len(mutants.MUTANTS)), ids=[f"{m.number}: {m.bug}" for m in mutants.MUTANTS]
)
def test_the_mutant_is_killed(verdicts, i):
    assert verdicts[i].result() == NOTICED


def test_every_known_bug_is_answered():
    answered = {m.number for m in mutants.MUTANTS} | set(mutants.BY_CONSTRUCTION) | set(mutants.LATER)
    assert answered == ALL_BUGS


def test_the_table_in_the_documentation_is_this_one():
    assert mutants.table() in (TESTS.parent / "docs/known_bugs.md").read_text(encoding="utf-8")


# --- the tool ------------------------------------------------------------------------------------

SOURCE = '''
RATE = {"low": first, "high": second}

def other(a, b):
    return a * b

class Box:
    def area(self, a, b):
        """The area."""
        if (a <
                0):  # negative
            raise ValueError("negative")
        total = a*b
        return total
'''


@pytest.mark.parametrize(
    ("name", "old", "new", "gives"),
    [
        ("Box.area", "a * b", "a + b", "total = a + b"),
        ("Box.area", "a < 0", "a < 1", "if a < 1:"),
        ("Box.area", "if a < 0: raise ValueError('negative')", "", "pass\n        total = a * b"),
        ("Box.area", "total = (a * b)", "total = a\ntotal *= b", "total = a\n        total *= b"),
        ("RATE", "second", "first", "RATE = {'low': first, 'high': first}"),
    ],
)
def test_a_change_is_found_by_its_syntax_within_its_function(name, old, new, gives):
    changed = mutate(SOURCE, name, old, new)
    assert gives in changed
    assert "return a * b" in changed


@pytest.mark.parametrize(
    ("name", "old", "message"),
    [
        ("Box.area", "a / b", r"Box.area holds `a / b` 0 times, not once; it is\ndef area\(self, a, b\)"),
        ("Box.area", "a", "Box.area holds `a` 2 times, not once"),
        ("Box.volume", "a * b", "there is no Box.volume"),
    ],
)
def test_a_change_without_its_place_names_the_function(name, old, message):
    with pytest.raises(LookupError, match=message):
        mutate(SOURCE, name, old, "b")


def test_a_mutant_without_its_place_names_its_file_too(tmp_path):
    (tmp_path / "box.py").write_text(SOURCE, encoding="utf-8")
    with pytest.raises(LookupError, match="box:other: other holds `c` 0 times"):
        mutate_file(tmp_path, "box:other", "c", "b")
    with pytest.raises(LookupError, match=r"crate\.box:other: there is no module crate\.box"):
        mutate_file(tmp_path, "crate.box:other", "c", "b")
    mutate_file(tmp_path, "box:other", "a * b", "a - b")
    assert "return a - b" in (tmp_path / "box.py").read_text(encoding="utf-8")
