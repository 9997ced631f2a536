from __future__ import annotations

import atexit
import os
import shutil
import tempfile

import pytest
import torch

CACHE = os.environ["ALPHABAR_CACHE"] = tempfile.mkdtemp(prefix="alphabar-tests-")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)

torch.set_num_threads(1)  # small networks: more threads only get in each other's way


@pytest.fixture(autouse=True)
def _clean_random_state():
    """Tests must not depend on the global generators, and neither may the package."""
    torch.manual_seed(0)


@pytest.fixture
def here(original, tmp_path, monkeypatch):
    """A copy of the module's `original` to work in, and to damage."""
    place = tmp_path / "here"
    shutil.copytree(original, place)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def said(capfd):
    """The program's exit code, output and errors."""

    from test_bad_input import call

    def said(*arguments):
        capfd.readouterr()
        return call(*arguments), *capfd.readouterr()

    return said
