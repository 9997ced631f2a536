"""Files are whole or absent; temporaries go with their owners; nothing is overwritten that must stay."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import threading

import numpy as np
import pytest
import torch

from alphabar import files
from alphabar.files import (
    DamagedFile,
    Lines,
    Locked,
    atomic_folder,
    clean,
    json_lines,
    lock_of,
    locked,
    naming,
    read_json,
    save_tensors,
    temporary_name,
    write_array,
    write_bytes,
    write_json,
)
from alphabar.images import save_picture


@pytest.fixture
def dead():
    """The number of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file"
    write_bytes(path, b"first")
    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left") as caught:
        patched.setattr(os, "fsync", full)
        write_bytes(path, b"second")
    assert caught.value.filename == str(path)
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_never_replaces_one_not_even_one_made_meanwhile(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    path = tmp_path / "file"
    write_json(path, 1, new_file=True)
    with pytest.raises(FileExistsError, match="exists already; choose another name"):
        write_json(path, 2, new_file=True)
    other, flush = tmp_path / "other", os.fsync
    with monkeypatch.context() as patched, pytest.raises(FileExistsError):
        patched.setattr(os, "fsync", lambda file: (other.write_text("another's"), flush(file)))
        write_json(other, 3, new_file=True)
    assert (read_json(path), other.read_text()) == (1, "another's")
    assert sorted(tmp_path.iterdir()) == [path, other]


def test_a_new_folder_never_replaces_one(tmp_path):
    with atomic_folder(tmp_path / "b") as temporary:
        (temporary / "x").write_text("1")
    with pytest.raises(FileExistsError), atomic_folder(tmp_path / "b") as temporary:
        (temporary / "x").write_text("2")
    assert (tmp_path / "b/x").read_text() == "1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]


def test_temporaries_are_cleaned_by_owner_and_age(tmp_path, dead):
    own = temporary_name(tmp_path / "model.safetensors")
    host, pid = own.name.split(".")[-2].split("-")[:2]
    assert pid == str(os.getpid())
    left = own.with_name(own.name.replace(f"-{pid}-", f"-{dead}-"))
    elsewhere = own.with_name(own.name.replace(f"{host}-{pid}-", f"elsewhere-{dead}-"))
    old = own.with_name(own.name.replace(host, "long_ago"))
    others = tmp_path / ".notes.tmp"
    for path in (own, left, elsewhere, old, others):
        path.write_text("")
    folder = temporary_name(tmp_path / "cache").with_name(f".cache.{host}-{dead}-7.tmp")
    (folder / "inside").mkdir(parents=True)
    os.utime(old, (0, 0))
    assert sorted(clean(tmp_path)) == sorted([left, old, folder])
    assert sorted(tmp_path.iterdir()) == sorted([own, elsewhere, others])


def test_the_first_to_write_to_a_folder_cleans_it(tmp_path, dead):
    for name, path in (("file", tmp_path / "a"), ("folder", tmp_path / "b")):
        path.mkdir()
        left = temporary_name(path / "x")
        left = left.with_name(left.name.replace(f"-{os.getpid()}-", f"-{dead}-"))
        left.write_text("")
        if name == "file":
            write_json(path / "y", 1)
        else:
            with atomic_folder(path / "y"):
                pass
        assert list(path.iterdir()) == [path / "y"]


WRITES = {
    "tensors": lambda path: save_tensors(path, {"a": torch.zeros(3)}, {}),
    "JSON": lambda path: write_json(path, 1),
    "an array": lambda path: write_array(path, np.zeros(3)),
    "a picture": lambda path: save_picture(path, np.zeros((1, 2, 2), np.uint8)),
}


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("what", WRITES)
def test_a_write_that_fails_names_the_file_and_leaves_nothing(tmp_path, monkeypatch, what, call):
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left") as caught:
        WRITES[what](tmp_path / "file")
    assert caught.value.filename == str(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_names_a_file_of_a_persons_keeps_it(tmp_path):
    for named, shown in [("data.npy", "data.npy"), (temporary_name(tmp_path / "x"), tmp_path / "x")]:
        with pytest.raises(OSError, match="No space left") as caught, naming(tmp_path / "x"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(named))
        assert caught.value.filename == str(shown)


def test_tensors_that_share_memory_come_back_each_under_its_name(tmp_path):
    whole = torch.arange(6.0)
    tensors = {"a": whole, "tied": whole, "part": whole[2:4], "row": whole.view(2, 3)[1], "own": whole + 1}
    digest = save_tensors(tmp_path / "x.safetensors", tensors, {})
    loaded, _, found = files.load_tensors(tmp_path / "x.safetensors")
    assert found == digest
    assert {name: t.tolist() for name, t in loaded.items()} == {n: t.tolist() for n, t in tensors.items()}
    apart = {name: tensor.clone() for name, tensor in tensors.items()}
    assert save_tensors(tmp_path / "y.safetensors", apart, {}) == digest
    assert (tmp_path / "x.safetensors").read_bytes() == (tmp_path / "y.safetensors").read_bytes()


# --- locks ---------------------------------------------------------------------------------------


def test_one_holder_at_a_time_and_the_lock_goes_with_it(tmp_path):
    path, order = tmp_path / ".lock", []

    def wait():
        with locked(path):
            order.append("second")

    with locked(path):
        with pytest.raises(Locked), locked(path, wait=False):
            pass
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert not path.exists()


def test_many_that_change_one_file_lose_nothing(tmp_path):
    path = tmp_path / "count"
    write_json(path, 0)

    def add():
        for _ in range(20):
            with locked(lock_of(path)):
                write_json(path, read_json(path) + 1)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_json(path) == 80
    assert list(tmp_path.iterdir()) == [path]


def test_tensors_replace_only_what_was_read(tmp_path):
    path = tmp_path / "x.safetensors"
    first = save_tensors(path, {"a": torch.zeros(3)}, {})
    second = save_tensors(path, {"a": torch.ones(3)}, {}, replacing=first)
    with pytest.raises(ValueError, match="has changed since it was read"):
        save_tensors(path, {"a": torch.zeros(3)}, {}, replacing=first)
    assert files.read_metadata(path)[1] == second


# --- lines ---------------------------------------------------------------------------------------


def test_a_torn_last_line_is_cut_off_and_one_before_is_named(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a"')
    assert json_lines(path) == [{"a": 1}, {"a": 2}]
    lines = Lines(path)
    lines.write({"a": 3})
    assert json_lines(path) == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert lines.cut(9) == 3
    assert lines.cut(1) == 1
    lines.write({"a": 4})
    lines.flush()
    lines.close()
    assert json_lines(path) == [{"a": 1}, {"a": 4}]
    assert json_lines(path, len('{"a": 1}\n')) == [{"a": 4}]
    path.write_bytes(b'{"a": 1}\n{"a"{"a": 2}\n')
    with pytest.raises(DamagedFile, match=r"x\.jsonl is damaged at line 2"):
        json_lines(path)


def test_a_line_that_finds_no_room_is_not_begun(tmp_path):
    lines = Lines(tmp_path / "x.jsonl")
    lines.write({"a": 1})
    file = lines._file

    class Full:
        def write(self, line):
            return file.write(line[:3])

        def truncate(self, size):
            return file.truncate(size)

    lines._file = Full()
    with pytest.raises(OSError, match="No space left"):
        lines.write({"a": 2})
    lines._file = file
    lines.write({"a": 3})
    lines.close()
    assert json_lines(tmp_path / "x.jsonl") == [{"a": 1}, {"a": 3}]


def test_json_that_is_nested_too_deep_is_damaged(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(DamagedFile, match="nested too deep"):
        read_json(path)
    path.write_text(json.dumps([1]))
    assert read_json(path) == [1]
