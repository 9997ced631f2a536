"""DATA by its address: copied once, prepared as if it lay here, and known again without a copy."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from alphabar.data import prepare
from alphabar.data.preparing.cache import cache_folder
from alphabar.data.preparing.remote import is_remote
from program import TINY, call, pictures


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def there(tmp_path):
    """Pictures of two classes, here and at an address."""
    system = MemoryFileSystem()
    system.pseudo_dirs[:] = [""]
    for seed, name in enumerate(("cats", "dogs")):
        pictures(tmp_path / "pets" / name, 20, seed=seed)
    system.put(str(tmp_path / "pets"), "/bucket/pets", recursive=True)
    yield system
    system.store.clear()


def same(a, b):
    assert a.fingerprint == b.fingerprint
    assert a.notes == b.notes
    assert a.conditions["class"].names == b.conditions["class"].names
    assert np.array_equal(a.images[:], b.images[:])


def test_it_is_as_if_it_lay_here_and_copied_once(there, monkeypatch):
    first = prepare("memory://bucket/pets")
    same(first, prepare("pets"))
    assert not [path for path in cache_folder().iterdir() if path.name.startswith(".")]
    monkeypatch.setattr(MemoryFileSystem, "get_file", None)
    same(prepare("memory://bucket/pets"), first)
    same(prepare("memory://bucket/pets", holdout=0.2), first)
    with pytest.raises(ValueError, match=r"memory://bucket/pets can't be read: 'NoneType'"):
        prepare("memory://bucket/pets", size=4)


def test_what_has_changed_is_read_again(there):
    prepare("memory://bucket/pets")
    there.rm("/bucket/pets/dogs/03.png")
    assert len(prepare("memory://bucket/pets").images) == 39


@pytest.mark.parametrize("form", ["npz", "npy"])
def test_a_single_file(there, tmp_path, form):
    array = np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8)
    np.savez("d.npz", x_train=array, y_train=np.arange(30) % 3) if form == "npz" else np.save("d.npy", array)
    there.put(f"d.{form}", f"/bucket/d.{form}")
    found = prepare(f"memory://bucket/d.{form}")
    assert found.fingerprint == prepare(f"d.{form}").fingerprint
    assert prepare((tmp_path / f"d.{form}").as_uri()).fingerprint == found.fingerprint


def test_what_was_copied_before_a_fault_is_not_copied_again(there, monkeypatch):
    copied, get = [], MemoryFileSystem.get_file

    def faulty(self, name, target, **kwargs):
        if len(copied) == 15:
            raise ConnectionResetError("the line is dead")
        copied.append(name)
        get(self, name, target, **kwargs)

    with monkeypatch.context() as here:
        here.setattr(MemoryFileSystem, "get_file", faulty)
        with pytest.raises(ValueError, match="memory://bucket/pets can't be read: the line is dead"):
            prepare("memory://bucket/pets")
    again = []
    monkeypatch.setattr(
        MemoryFileSystem, "get_file", lambda self, name, target: again.append(name) or get(self, name, target)
    )
    same(prepare("memory://bucket/pets"), prepare("pets"))
    assert len(again) == 25
    assert not {*again} & {*copied}


def test_what_cannot_be_is_refused(there):
    for address, message in (
        ("memory://bucket/nothing", "there is nothing at memory://bucket/nothing"),
        ("nosuch://bucket/a", r"nosuch://bucket/a can't be read|[Pp]rotocol not known: nosuch"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(address)
    with pytest.raises(ValueError, match="pairs are read beside data on this machine: copy memory://"):
        prepare("memory://bucket/pets", pairs="pets")
    assert not is_remote("C:/photos")
    assert not is_remote(np.zeros(3))


def test_what_an_address_needs_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it weren't there
    with pytest.raises(ValueError, match=r"s3://bucket/a can't be read: .*s3fs.*: pip install s3fs"):
        prepare("s3://bucket/a")


def test_a_run_is_trained_and_scored(there, capsys):
    assert call("train", "memory://bucket/pets", "--images", 16, *TINY) == 0
    capsys.readouterr()
    assert call("eval", "runs/pets", "-n", 16, "--features", "pixels", "--steps", 2, "--json") == 0
    assert json.loads(capsys.readouterr().out)["trained_on"] > 0
