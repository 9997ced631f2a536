"""Every mutant of mutants.py is killed by the tests named beside it."""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import alphabar
import mutants
import victim

TESTS = Path(__file__).parent
NOTICED = 41  # pytest's exit code for failed tests, 1, kept apart from that of a crash
LOST = 255  # what multiprocessing says when the fork server has lost a process: no verdict
ALL_BUGS = set(range(1, 46))


def run_tests(package_parent, nodes):
    """In a fresh process: the named tests, against the package found in `package_parent`."""
    sys.path.insert(0, str(package_parent))
    for name in [n for n in sys.modules if n.split(".")[0] in ("alphabar", "tiny", "conftest")]:
        del sys.modules[name]
    import alphabar as mutated

    assert Path(mutated.__file__).is_relative_to(package_parent)
    sys.stdout = sys.stderr = open("/dev/null", "w")  # noqa: SIM115
    sys.exit(NOTICED - 1 + pytest.main(["-x", "-q", f"--rootdir={TESTS.parent}", *nodes]))


def kill(mutant, folder):
    """NOTICED if a test of the mutant's failed; anything else if none did, or could be run."""
    shutil.copytree(Path(alphabar.__file__).parent, folder / "alphabar")
    file = folder / "alphabar" / mutant.file
    text = file.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        return f"{mutant.old!r} is found {text.count(mutant.old)} times in {mutant.file}"
    file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    nodes = [str(TESTS / node) for node in mutant.tests.split()]
    for _ in range(2):
        process = victim.CONTEXT.Process(target=run_tests, args=(folder, nodes))
        process.start()
        process.join()
        if process.exitcode != LOST:
            break
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
