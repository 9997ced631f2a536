"""Many pictures are prepared by shards: over processes, gone on with after a kill, the same as at once."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
from PIL import Image

from alphabar import forked
from alphabar.data import prepare
from alphabar.data.preparing import decoding, recording, shards
from alphabar.data.preparing.cache import cache_entries, cache_folder, clear_cache
from alphabar.data.sources import archives
from alphabar.data.stored import StoredSamples
from alphabar.files import DamagedFile
from program import call

SMALL = 20
BAD = {"skip_bad": True, "frames": "all"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shards, "FEWEST", SMALL)
    return tmp_path / "cache"


@pytest.fixture
def at_once(monkeypatch):
    """What is found if there is but one shard, in a cache of its own."""

    def found(data, **settings):
        with monkeypatch.context() as here:
            here.setattr(shards, "FEWEST", 10**6)
            here.setenv("ALPHABAR_CACHE", os.environ["ALPHABAR_CACHE"] + "-at-once")
            return prepare(data, **settings)

    return found


def png(seed, side=6):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def tars(folder, n=100, each=50):
    """Shards as WebDataset writes them, with a class beside each picture."""
    folder.mkdir(parents=True)
    for first in range(0, n, each):
        with tarfile.open(folder / f"{first:06d}.tar", "w") as tar:
            for i in range(first, min(first + each, n)):
                for name, content in ((f"{i:06d}.png", png(i)), (f"{i:06d}.cls", b"%d" % (i % 3))):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
    return folder


def mixed(folder):
    """Pictures of three folders; some are damaged, some have frames, some are of Alphabar's own making."""
    for i in range(90):
        place = folder / "abc"[i % 3] / f"{i:03d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"damaged" if i in (7, 44, 45) else png(i))
    for i in range(90, 96):
        frames = [Image.fromarray(np.full((6, 6, 3), 10 * k + i, np.uint8)) for k in range(i - 88)]
        frames[0].save(folder / "c" / f"{i:03d}.gif", save_all=True, append_images=frames[1:])
    return folder


def zipped(folder):
    """The pictures of `mixed` in a .zip."""
    mixed(folder)
    return shutil.make_archive(str(folder), "zip", folder)


def same(found, expected):
    assert found.fingerprint == expected.fingerprint
    assert np.array_equal(found.images[:], expected.images[:])
    assert np.array_equal(found.hashes, expected.hashes)
    assert np.array_equal(found.values["class"], expected.values["class"])
    assert found.space == expected.space
    assert found.notes == expected.notes


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize(("make", "settings"), [(tars, {}), (mixed, BAD), (zipped, BAD)])
def test_by_shards_they_are_the_same_as_at_once(tmp_path, at_once, monkeypatch, make, settings, processes):
    monkeypatch.setattr(forked, "cores", lambda: processes)
    data, seen = make(tmp_path / "data"), []
    found = prepare(data, progress=lambda *done: seen.append(done), **settings)
    same(found, at_once(data, **settings))
    (entry,) = cache_folder().iterdir()
    assert len(list(entry.glob("images-*.raw"))) > 3
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]
    same(prepare(data, **settings), found)


def test_large_tars_are_looked_through_by_several_processes(tmp_path, at_once, monkeypatch):
    data = tars(tmp_path / "data", each=10)
    expected = at_once(data)
    monkeypatch.setattr(forked, "cores", lambda: 3)
    monkeypatch.setattr(archives, "LARGE", 0)
    same(prepare(data), expected)


def test_what_cannot_be_read_is_named_and_the_rest_is_not_lost(tmp_path):
    data = mixed(tmp_path / "data")
    with pytest.raises(ValueError, match=r"3 of \d+ pictures cannot be read: a/045.png \(not in .*, b/007"):
        prepare(data)
    (partial,) = cache_folder().glob(".*.partial")
    assert list(partial.glob("parts/headers-*.json"))
    (entry,) = cache_entries()
    assert entry.source == "being prepared, or given up"
    assert entry.size_bytes > 0
    assert clear_cache() == entry.size_bytes
    assert not list(cache_folder().iterdir())


KILLED = """
import os, sys
from alphabar import forked
from alphabar.data import prepare
from alphabar.data.preparing import shards
shards.FEWEST, where = 20, int(sys.argv[2])
forked.cores = lambda: int(sys.argv[3])
seen = []
def progress(done, total):
    seen.append(done)
    if len(seen) == where:
        os.kill(os.getpid(), 9)
prepare(sys.argv[1], progress=progress)
"""


def killed(data, where, processes=1):
    done = subprocess.run([sys.executable, "-c", KILLED, data, str(where), str(processes)], timeout=120)
    assert done.returncode == -signal.SIGKILL


def test_killed_twice_it_goes_on_and_a_shard_at_most_is_done_again(tmp_path, at_once, monkeypatch):
    data = tars(tmp_path / "data")
    killed(data, 4)
    first = {path.name for path in cache_folder().glob(".*.partial/parts/images-*.json")}
    killed(data, 5)
    kept = {path.name for path in cache_folder().glob(".*.partial/parts/images-*.json")}
    assert first < kept
    monkeypatch.setattr(forked, "cores", lambda: 1)
    opened, decode = [], decoding.picture_array
    monkeypatch.setattr(decoding, "picture_array", lambda *given: opened.append(1) or decode(*given))
    found = prepare(data)
    assert len(opened) == 100 - SMALL * len(kept)
    same(found, at_once(data))
    assert not [path for path in cache_folder().iterdir() if path.name.startswith(".")]


def test_killed_with_processes_none_of_them_is_left(tmp_path, at_once):
    data = tars(tmp_path / "data")
    killed(data, 2, processes=3)
    same(prepare(data), at_once(data))  # which a process that were left would keep waiting


def test_a_shard_of_which_something_is_damaged_is_done_again(tmp_path, at_once):
    data = tars(tmp_path / "data")
    killed(data, 5)
    parts = sorted(cache_folder().glob(".*.partial/parts/images-*.json"))
    parts[0].write_text('{"numbers": [1')
    raw = parts[1].parents[1] / "entry" / parts[1].with_suffix(".raw").name
    raw.write_bytes(raw.read_bytes()[:-1])
    same(prepare(data), at_once(data))


def test_a_process_that_is_ended_from_outside_is_said_and_the_rest_goes_on(tmp_path, at_once, monkeypatch):
    data = tars(tmp_path / "data")
    monkeypatch.setattr(forked, "cores", lambda: 2)
    decode = decoding.picture_array

    def fatal(*given):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(decoding, "picture_array", fatal)
    with pytest.raises(ValueError, match="ended from outside, such as for want of memory; the same command"):
        prepare(data)
    monkeypatch.setattr(decoding, "picture_array", decode)
    same(prepare(data), at_once(data))


def test_two_that_prepare_the_same_do_it_once(tmp_path, at_once):
    data = tars(tmp_path / "data")
    code = f"""
import sys
from alphabar.data import prepare
from alphabar.data.preparing import shards
shards.FEWEST, seen = 20, []
prepare({str(data)!r}, progress=lambda *done: seen.append(done))
print(len(seen))
"""
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)]
    steps = sorted(int(each.communicate(timeout=120)[0]) for each in both)
    assert steps[0] == 0 < steps[1]
    same(prepare(data), at_once(data))
    assert len(cache_entries()) == 1


def test_what_was_given_up_a_week_ago_is_removed(tmp_path):
    data = mixed(tmp_path / "data")
    with pytest.raises(ValueError, match="cannot be read"):
        prepare(data)
    (partial,) = cache_folder().glob(".*.partial")
    prepare(tars(tmp_path / "few", 30))
    assert partial.exists()
    old = time.time() - 8 * 24 * 3600
    os.utime(partial, (old, old))
    prepare(tars(tmp_path / "more", 40))
    assert not partial.exists()


def test_prepared_tars_are_not_listed_again_until_they_change(tmp_path, monkeypatch):
    data = tars(tmp_path / "data", 30, 15)
    first = prepare(data)
    one = prepare(data / "000000.tar")
    with monkeypatch.context() as here:
        here.setattr(archives, "_index", None)
        same(prepare(data), first)
        same(prepare(data, holdout=0.3), first)
        same(prepare(data / "000000.tar"), one)
        with pytest.raises(TypeError):
            prepare(data, size=4)
    table = tmp_path / "labels.csv"
    table.write_text("file_name,label\n" + "".join(f"{i:06d}.png,{i % 2}\n" for i in range(30)))
    assert prepare(data, labels=str(table)).conditions["class"].names == ("0", "1")
    with monkeypatch.context() as here:
        here.setattr(archives, "_index", None)
        assert prepare(data, labels=str(table)).conditions["class"].names == ("0", "1")
    table.write_text("file_name,label\n" + "".join(f"{i:06d}.png,x\n" for i in range(30)))
    assert prepare(data, labels=str(table)).conditions["class"].names == ("x",)
    (data / "000015.tar").unlink()
    assert len(prepare(data).images) == 15


def test_samples_of_several_files_are_had_as_of_one(tmp_path):
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 2**16, (12, 2, 3, 5)).astype(np.uint16)
    files, first = {}, 0
    for k, n in enumerate((3, 0, 1, 8)):
        whole[first : first + n].tofile(tmp_path / f"{k}")
        files[tmp_path / f"{k}"], first = n, first + n
    stored = StoredSamples(files, (2, 3, 5), np.dtype(np.uint16))
    assert stored.shape == whole.shape
    for key in (slice(None), slice(2, 9), [11, 0, 3, 3, 2, 4], 3, np.arange(12) % 2 == 0, []):
        assert np.array_equal(stored[key], whole[key])
    part = (slice(0, 2), slice(1, 3), slice(2, 4))
    for i in (0, 2, 3, 4, 11):
        assert np.array_equal(stored.read_part(i, part), whole[(i, *part)])
    (tmp_path / "3").write_bytes(b"")
    with pytest.raises(DamagedFile, match="got shorter since it was opened"):
        stored[:]


def test_equal_shards_of_two_entries_take_their_room_once(tmp_path):
    data = tars(tmp_path / "data")
    prepare(data)
    prepare(data, classes="none")
    inodes = [path.stat().st_ino for path in sorted(cache_folder().glob("*/images-*.raw"))]
    assert len(inodes) == 2 * len(set(inodes)) > 6


def test_the_command_goes_on_and_trains_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = tars(tmp_path / "data")
    killed(data, 3)
    assert call("data", data, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    clear_cache()
    monkeypatch.setattr(shards, "FEWEST", 10**6)
    assert call("data", data, "--json") == 0
    assert json.loads(capsys.readouterr().out) == facts


def test_on_the_way_nothing_of_the_samples_is_held(tmp_path, monkeypatch):
    """What is written by shards is read again block by block."""
    data, blocks = tars(tmp_path / "data"), []
    monkeypatch.setattr(recording, "_stored", None)
    see = recording.Survey.see
    monkeypatch.setattr(recording.Survey, "see", lambda self, b: blocks.append(len(b)) or see(self, b))
    prepare(data)
    assert max(blocks) <= SMALL
    assert sum(blocks) == 100


def test_shards_are_256_at_most_and_cover_all(monkeypatch):
    monkeypatch.setattr(shards, "FEWEST", 4096)
    for n in (1, 4096, 4097, 10**6, 10**7 + 1):
        found = shards.shards_of(n)
        assert len(found) <= 256
        assert found[0].start == 0
        assert found[-1].stop == n
        assert all(a.stop == b.start for a, b in zip(found, found[1:], strict=False))
