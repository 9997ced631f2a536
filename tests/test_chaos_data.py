"""Broken, odd and harmful data: each is read, or refused in one line, in bounded time and memory.

Nothing is changed in it or beside it, a refusal leaves nothing in the cache, and what was read is said the
same the second time, from the cache.
"""

from __future__ import annotations

import importlib
import os
import re

import pytest

from chaos import cases
from forked import MEBIBYTES, forked
from hostile import SOURCES, listing

ROWS = re.compile(
    r"(samples|model sees|values|training|held out|\d+ class(es)?|classes|told \w+|note|fingerprint)  +"
)


@pytest.fixture(scope="module", autouse=True)
def all_is_read():
    """What the command needs is imported once, and not in each child."""
    importlib.import_module("alphabar.cli.data")
    importlib.import_module("alphabar.data")


@pytest.mark.parametrize("name", cases(SOURCES, keep=8))
def test_whatever_data_holds_it_is_read_or_refused_in_one_line(tmp_path, monkeypatch, name):
    outcome, make = SOURCES[name]
    (place := tmp_path / "place").mkdir()
    (cache := tmp_path / "cache").mkdir()
    monkeypatch.setenv("ALPHABAR_CACHE", str(cache))
    monkeypatch.chdir(place)
    words = make(place)
    before = listing(tmp_path)
    said = forked("data", *words)
    after = {
        path: what for path, what in listing(tmp_path).items() if not path.startswith(os.fsencode(cache))
    }
    assert after == {path: what for path, what in before.items() if path != os.fsencode(cache)}
    said.check(name)
    assert said.code in ((0, 2) if outcome is None else (outcome,)), f"{said.err}{said.out}"
    if said.code == 2:
        assert said.out == ""
        assert len(said.err.splitlines()) == 1, said.err
        assert not os.listdir(cache)
        return
    assert all(map(ROWS.match, said.out.splitlines())), said.out
    again = forked("data", *words)
    assert (again.code, again.out, again.err) == (said.code, said.out, said.err)
    assert again.mebibytes < MEBIBYTES
