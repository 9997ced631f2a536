"""The mutants have their places, and the tool that makes them works; `test_mutants.py` runs them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import mutants
from mutation import mutate, mutate_file

ALL_BUGS = set(range(1, 46))


def test_every_known_bug_is_answered():
    answered = {m.number for m in mutants.MUTANTS} | set(mutants.BY_CONSTRUCTION) | set(mutants.LATER)
    assert answered == ALL_BUGS


def test_the_table_in_the_documentation_is_this_one():
    assert mutants.table() in (Path(__file__).parent.parent / "docs/known_bugs.md").read_text(
        encoding="utf-8"
    )


def test_every_mutant_has_its_place():
    """What moves takes its mutants along: here and at once, not when they are run."""
    for mutant in mutants.MUTANTS:
        module, _, name = mutant.function.partition(":")
        source = Path(importlib.import_module(f"alphabar.{module}").__file__).read_text(encoding="utf-8")
        assert mutate(source, name, mutant.old, mutant.new) != source, mutant.function


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
