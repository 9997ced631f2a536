"""Data of which a few files at a time are prepared: all samples in each epoch, in an order that follows from
the seed, from however little disk; resumed to the bit."""

from __future__ import annotations

import io
import json
import tarfile
import time

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

import several
from alphabar import train
from alphabar.data import prepare
from alphabar.data.dataset import content_hashes
from alphabar.data.preparing import turns
from alphabar.data.preparing.cache import cache_entries, cache_folder, clear_cache
from alphabar.data.preparing.turns import Streamed
from alphabar.runs import RunFolder
from program import TINY, call
from tiny import tiny_config

NAMES = ["ant", "bee", "cat", "dog"]
SIZES = [7, 11, 5, 9, 8]  # of the files


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def picture(number, label):
    """A picture whose first value is its class."""
    array = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
    array[0, 0, 0] = label
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def write_tars(folder, sizes=SIZES, names=NAMES):
    """Files of pictures with the name of a class beside each; not every file has all classes."""
    folder.mkdir(parents=True)
    number = 0
    for k, size in enumerate(sizes):
        with tarfile.open(folder / f"part-{k}.tar", "w") as tar:
            for i in range(size):
                label = (k + i % 2) % len(names)
                for ending, content in ((".png", picture(number, label)), (".cls", names[label].encode())):
                    info = tarfile.TarInfo(f"{number:04d}{ending}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
                number += 1
    return folder


@pytest.fixture
def tars(tmp_path):
    return write_tars(tmp_path / "tars")


def epoch_of(data, seed=0, epoch=0, size=4):
    """The batches of an epoch, in one row."""
    n = len(data)
    first, last = epoch * n // size, -(-(epoch + 1) * n // size)
    batches = [data.batch(seed, k, size) for k in range(first, last)]
    images = np.concatenate([batch.images for batch in batches])
    classes = np.concatenate([batch.values["class"] for batch in batches])
    start = epoch * n - first * size
    return images[start : start + n], classes[start : start + n]


@pytest.mark.parametrize("window", [1, 2, 5, 9])
def test_each_epoch_has_each_training_sample_once_with_what_it_is_told(tars, window):
    whole = prepare(tars, holdout=0.2)
    data = prepare(tars, holdout=0.2, stream=window)
    assert isinstance(data, Streamed)
    assert (len(data), data.num_samples) == (len(whole), len(whole.images))
    expected = np.sort(content_hashes(whole.images[whole.training]))
    seen = []
    for epoch in range(3):
        images, classes = epoch_of(data, epoch=epoch)
        assert np.array_equal(np.sort(content_hashes(images)), expected)
        assert np.array_equal(images[:, 0, 0, 0], classes)
        seen.append(content_hashes(images))
    assert data.conditions["class"].names == tuple(NAMES)
    assert data.conditions["class"].counts == whole.conditions["class"].counts
    assert not np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[0], content_hashes(epoch_of(data, seed=1)[0]))


def test_a_few_files_at_a_time_are_shuffled_and_kept(tars, monkeypatch):
    data = prepare(tars, holdout=0, stream=2)
    kept = []
    monkeypatch.setattr(turns.Shelf, "_begin", lambda *_: None)
    of = np.repeat(np.arange(len(SIZES)), SIZES)
    order = []
    for k in range(len(data)):  # of one sample each
        order.append(int(of[data.indices(0, k, 1)[0]]))
        data.batch(0, k, 1)
        kept.append(len(cache_entries()) - 1)  # beside the entry of the stream
    assert max(kept) <= 4
    changes = np.flatnonzero(np.diff(order)).size
    assert changes > 2 * len(SIZES)  # shuffled
    places = [np.flatnonzero(np.array(order) == number) for number in range(len(SIZES))]
    begins = sorted(each[0] for each in places)
    at_once = [sum(each[0] <= k <= each[-1] for each in places) for k in range(len(order))]
    assert max(at_once) == 2
    assert len(begins) == len(SIZES)


def test_a_batch_is_the_same_whatever_came_before_and_by_parts(tars):
    first, second = (prepare(tars, stream=2) for _ in range(2))
    for k in (0, 1, 2, 3):
        first.batch(0, k, 8)
    ours, theirs = first.batch(0, 30, 8, flip=True), second.batch(0, 30, 8, flip=True)
    assert np.array_equal(ours.images, theirs.images)
    parts = [second.batch(0, 30, 8, flip=True, part=part) for part in (slice(0, 4), slice(4, 8))]
    assert np.array_equal(np.concatenate([part.images for part in parts]), theirs.images)
    assert np.array_equal(np.concatenate([part.values["class"] for part in parts]), theirs.values["class"])


def test_what_is_measured_is_measured_on_samples_that_stay(tars, monkeypatch):
    monkeypatch.setattr("alphabar.data.preparing.streaming.KEPT", 10)
    whole, data = prepare(tars, holdout=0.3), prepare(tars, holdout=0.3, stream=1)
    known = set(content_hashes(whole.images[whole.training]).tolist())
    assert set(content_hashes(data.images[data.training]).tolist()) <= known
    assert not set(content_hashes(data.images[data.held_out]).tolist()) & known
    assert 5 <= len(data.training) <= 10
    assert 1 <= len(data.held_out) <= 10
    assert "streamed: " in data.notes[0]
    assert "within 1 files" in data.notes[0]


def test_files_are_prepared_ahead_by_another_process(tars):
    data = prepare(tars, holdout=0, stream=1)
    later = data._files_of(0, 1).tolist()
    data.indices(0, 0, 1)
    data.shelf.turn(data._files_of(0, 0).tolist(), later)
    entry = cache_folder() / data.parts[later[0]].entry / "facts.json"
    until = time.monotonic() + 60
    while not entry.exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert entry.exists()


def test_training_goes_on_to_the_bit_and_another_window_is_another_run(tars, tmp_path):
    settings = tiny_config(batch_size=8, images=96, previews=False).model_dump(exclude_unset=True)

    def trained(place, stop=None, window=2):
        steps = train(prepare(tars, stream=window), tmp_path / place, **settings)
        for row in steps:
            if row["step"] == stop:
                break
        steps.close()

    trained("whole/run")
    trained("parts/run", stop=5)
    clear_cache()
    trained("parts/run")
    for name in ("model.safetensors", "metrics.jsonl"):
        ours, theirs = (tmp_path / place / "run" / name for place in ("whole", "parts"))
        assert ours.read_bytes() == theirs.read_bytes()
    with pytest.raises(ValueError, match=r"stream \(2 → 3\)"):
        trained("parts/run", window=3)


def test_what_was_trained_before_data_were_lost_is_saved(tars, tmp_path, caplog):
    settings = tiny_config(batch_size=4, images=160, previews=False).model_dump(exclude_unset=True)
    whole = train(prepare(tars, stream=1), tmp_path / "whole" / "run", **settings)
    assert len(list(whole)) == 40
    clear_cache()
    steps, done = train(prepare(tars, stream=1), tmp_path / "lost" / "run", **settings), 0
    with pytest.raises((OSError, ValueError)):
        for row in steps:
            done = row["step"]
            if done == 3:
                tars.rename(tmp_path / "elsewhere")
                clear_cache()
    assert 3 <= done < 40
    assert RunFolder(tmp_path / "lost" / "run").progress()["step"] == done
    assert f"{4 * done} images are saved; the same command goes on from there" in caplog.text
    (tmp_path / "elsewhere").rename(tars)
    list(train(prepare(tars, stream=1), tmp_path / "lost" / "run", **settings))
    for name in ("model.safetensors", "metrics.jsonl"):
        ours, theirs = (tmp_path / place / "run" / name for place in ("whole", "lost"))
        assert ours.read_bytes() == theirs.read_bytes()


def test_two_processes_see_the_same_stream_as_one(tars, tmp_path):
    for size in (1, 2):
        assert several.run(size, several.train_stream, tars, tmp_path / str(size)) == [0] * size
    for name in ("model.safetensors", "metrics.jsonl"):
        assert len({(tmp_path / str(size) / "run" / name).read_bytes() for size in (1, 2)}) == 1
    assert len(cache_entries()) <= 5


def test_a_file_may_be_held_out_as_a_whole(tmp_path):
    data = prepare(write_tars(tmp_path / "ones", sizes=[1] * 12), holdout=0.4, stream=2)
    assert 0 < len(data) < 12
    assert 0 in [part.training for part in data.parts]
    images, _ = epoch_of(data, size=3)
    assert len(set(content_hashes(images).tolist())) == len(data)


def test_a_killed_count_goes_on(tars, monkeypatch):
    from alphabar.data.preparing import streaming

    kept, asked = streaming.kept, []

    def counted(name, *rest, **how):
        asked.append(name)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return kept(name, *rest, **how)

    monkeypatch.setattr(streaming, "kept", counted)
    with pytest.raises(KeyboardInterrupt):
        prepare(tars, stream=1)
    found = prepare(tars, stream=1)
    assert len(asked) == len(SIZES) + 1
    clear_cache()
    assert prepare(tars, stream=1).fingerprint == found.fingerprint


def test_a_file_that_changes_is_noticed(tars):
    data = prepare(tars, stream=1)
    clear_cache()
    for k in range(len(SIZES)):
        (tars / f"part-{k}.tar").unlink()
    tars.rmdir()
    write_tars(tars, sizes=[6] * 5)
    with pytest.raises(ValueError, match=r"part-\d.tar has changed since its samples were counted"):
        epoch_of(data)


def test_files_at_an_address_and_of_hugging_face(tars, tmp_path):
    datasets = pytest.importorskip("datasets")
    system = MemoryFileSystem()
    system.pseudo_dirs[:] = [""]
    system.put(str(tars) + "/", "/bucket/tars", recursive=True)
    here = prepare(tars, stream=2, holdout=0)
    there = prepare("memory://bucket/tars", stream=2, holdout=0)
    system.store.clear()
    clear = {
        content_hashes(epoch_of(data)[0]).tobytes() for data in (here, prepare(tars, stream=2, holdout=0))
    }
    assert len(clear) == 1
    assert [part.samples for part in there.parts] == SIZES

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for k in range(3):
        rows = {"image": [], "label": []}
        for i in range(6):
            rows["image"].append({"bytes": picture(10 * k + i, i % 4), "path": None})
            rows["label"].append(i % 4)
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(tmp_path / "hub" / "data" / f"train-{k:05d}-of-00003.parquet")
    data = prepare(f"hf:{tmp_path / 'hub'}", stream=1, holdout=0)
    images, classes = epoch_of(data)
    assert len(images) == 18
    assert data.conditions["class"].names == tuple(NAMES)
    assert np.array_equal(images[:, 0, 0, 0], classes)
    with pytest.raises(ValueError, match="no files of a split 'test'; its splits: train"):
        prepare(f"hf:{tmp_path / 'hub'}@test", stream=1)


def test_the_program_streams(tars, tmp_path, capsys):
    assert call("data", tars, "--stream", 2, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["samples"] == sum(SIZES)
    assert found["prepared"] == {"stream": 2}
    assert call("train", tars, "--stream", 2, "--out", "run", "--images", 16, *TINY) == 0
    assert call("sample", "run", "-n", 2) == 0
    assert call("fit-sampler", "run", "--steps", 3) == 0


def test_a_note_on_one_file_says_which(tmp_path):
    write_tars(tmp_path / "some", sizes=[6, 6, 4])
    notes = prepare(tmp_path / "some", stream=1).notes
    assert "part-0.tar and 1 more: modes: 6 × RGB" in notes
    assert "part-2.tar: modes: 4 × RGB" in notes
    assert "each file: classes from files .cls beside them" in notes


def test_a_cache_that_can_not_be_one_is_named(tars, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "sub"):
        monkeypatch.setenv("ALPHABAR_CACHE", str(place))
        for how in ({}, {"stream": 1}):
            with pytest.raises(ValueError, match="set ALPHABAR_CACHE to another folder"):
                prepare(tars, **how)


def test_transparent_pictures_in_one_file_are_no_other_kind(tmp_path):
    write_tars(tmp_path / "mixed", sizes=[6, 6])
    with tarfile.open(tmp_path / "mixed" / "part-1.tar", "a") as tar:
        file = io.BytesIO()
        Image.new("RGBA", (8, 8), (9, 9, 9, 0)).save(file, "PNG")
        for ending, content in ((".png", file.getvalue()), (".cls", b"ant")):
            info = tarfile.TarInfo(f"clear{ending}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    data = prepare(tmp_path / "mixed", stream=1, holdout=0)
    assert data.space.background == prepare(tmp_path / "mixed").space.background == "white"
    assert len(epoch_of(data)[0]) == 13


def test_what_can_not_be_streamed_is_refused(tars, tmp_path):
    with pytest.raises(ValueError, match="stream is for files, and these data are in memory"):
        prepare(np.zeros((4, 8, 8), np.uint8), stream=1)
    Image.new("L", (8, 8)).save(tmp_path / "one.png")
    with pytest.raises(ValueError, match=r"one.png is .*leave stream out"):
        prepare(tmp_path / "one.png", stream=1)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        prepare("nowhere", stream=1)
    with pytest.raises(ValueError, match="the digits come with a package: leave it out"):
        prepare("digits", stream=1)
    with pytest.raises(ValueError, match="pairs need all of the data at hand"):
        prepare(tars, stream=1, pairs="others")
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        prepare(tars, stream=0)
    with pytest.raises(ValueError, match="balanced needs all samples of a class at hand"):
        next(train(prepare(tars, stream=1), tmp_path / "run", images=8, balanced=True, device="cpu"))
    (tars / "more.npz").write_bytes(b"")
    with pytest.raises(ValueError, match="stream is for files of one kind"):
        prepare(tars, stream=1)
    (tars / "more.npz").rename(tars / "README.md")
    with pytest.raises(ValueError, match=r"beside them .* holds .*README.md: move that elsewhere"):
        prepare(tars, stream=1)
    (tars / "README.md").unlink()
    tarfile.open(tars / "part-8.tar", "w").close()
    with pytest.raises(
        ValueError, match=r"part-8.tar.*\(it is one of .*tars: mend it, or move it elsewhere\)"
    ):
        prepare(tars, stream=1)
    (tars / "part-8.tar").unlink()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty is empty: leave stream out"):
        prepare(tmp_path / "empty", stream=1)
    with tarfile.open(tars / "part-9.tar", "w") as tar:
        file = io.BytesIO()
        Image.new("L", (8, 8), 7).save(file, "PNG")
        info = tarfile.TarInfo("x.png")
        info.size = len(file.getvalue())
        tar.addfile(info, io.BytesIO(file.getvalue()))
    with pytest.raises(ValueError, match=r"part-9.tar differ from those of .*part-0.tar \(.*--channels"):
        prepare(tars, stream=1)
    with pytest.raises(ValueError, match=r"are told nothing, those of .* class, or not in the same way"):
        prepare(tars, stream=1, channels="rgb")
