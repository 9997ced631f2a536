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
from mutation import mutate_file

TESTS = Path(__file__).parent
NOTICED = 41  # pytest's exit code for failed tests, 1, kept apart from that of a crash
LOST = 255  # what multiprocessing says when the fork server has lost a process: no verdict
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
