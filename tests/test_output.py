"""Samples as files: written as they are drawn, and gone on with after an interruption."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from alphabar.data import ClassCondition, Space, prepare
from alphabar.model import Denoiser, fit_codec
from alphabar.sampling import Samples, SampleWriter, sample, stream_samples, write_samples, write_stream
from alphabar.sampling.output import UNFINISHED, check_free
from alphabar.theory.schedule import Schedule
from tiny import CLASSES, tiny_denoiser

SETTINGS = {"evaluations": 2, "seed": 3}


@pytest.fixture(scope="module")
def denoiser():
    return tiny_denoiser("v", dropout=0.1)


class Zero(nn.Module):
    """The network that says 0, for samples of any shape."""

    def forward(self, x, c_noise):
        return torch.zeros_like(x)


def model_of(space):
    images = np.random.default_rng(0).standard_normal((9, *space.shape))
    return Denoiser(Zero(), Schedule.linear(20), "v", fit_codec(space, images))


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def test_a_folder_holds_pictures_a_sheet_an_array_and_what_makes_them_again(denoiser, tmp_path):
    samples = sample(denoiser, indices=[7, 3, 20], cond={"class": ["left", None, 1]}, frames=3, **SETTINGS)
    files = write_samples(tmp_path / "s", samples, model_file="here")
    names = [f"{i:06d}.png" for i in (3, 7, 20)]
    others = ["grid.png", "labels.csv", "samples.json", "samples.npy", "strip.png", "trajectory.gif"]
    assert [file.name for file in files] == [*names, *others]
    assert sorted(contents(tmp_path / "s")) == [*names, *others]
    told = "file_name,class\n000007.png,left\n000003.png,\n000020.png,right\n"
    assert (tmp_path / "s/labels.csv").read_text() == told
    array = np.load(tmp_path / "s/samples.npy")
    assert array.tobytes() == samples.images.tobytes()
    for i, index in enumerate((7, 3, 20)):
        with Image.open(tmp_path / f"s/{index:06d}.png") as image:
            assert np.array_equal(np.asarray(image), samples.images[i, 0])
            inside = json.loads(image.text["alphabar"])
        assert inside["index"] == index
        assert inside["told"] == {"class": ["left", "none", "right"][i]}
        assert inside["settings"] == samples.facts["settings"] == SETTINGS
    facts = json.loads((tmp_path / "s/samples.json").read_text())
    assert facts["indices"] == [7, 3, 20]
    assert facts["told"] == {"class": [0, None, 1]}
    assert facts["conditions"]["class"]["names"] == ["left", "right"]
    assert facts["model_file"] == "here"
    assert facts["frame_times"] == samples.frame_times
    assert (facts["shape"], facts["dtype"]) == ([3, 1, 8, 8], "uint8")
    again = sample(denoiser, indices=facts["indices"], cond=facts["told"], **SETTINGS)
    assert again.images.tobytes() == array.tobytes()
    with Image.open(tmp_path / "s/trajectory.gif") as film:
        assert film.n_frames == 3


def test_the_table_of_what_samples_were_told_is_read_again_as_their_labels(denoiser, tmp_path):
    write_samples(tmp_path / "s", sample(denoiser, 4, cond={"class": ["left", "right", 1, 0]}, **SETTINGS))
    data = prepare(str(tmp_path / "s"), labels=str(tmp_path / "s/labels.csv"), skip_unlabeled=True)
    condition = data.conditions["class"]
    names = [condition.title(value) for value in data.values["class"].tolist()]
    assert names == ["left", "right", "right", "left"]
    write_samples(tmp_path / "untold", sample(denoiser, 1, cond={"class": None}, **SETTINGS))
    assert not (tmp_path / "untold/labels.csv").exists()


@pytest.mark.parametrize(
    ("grid", "rows"),
    [({}, ["row_,row", "0,right", "1,left"]),
     ({"file": ".npy"}, ["file_name,row", "000005.npy,right", "000008.npy,left"])],
)  # fmt: skip
def test_samples_without_files_of_their_own_are_labeled_by_their_rows(tmp_path, grid, rows):
    drawn = sample(model_of(Space((2, 8), "float32", None, None, grid=grid)), indices=[5, 8], evaluations=2)
    facts = drawn.facts | {"conditions": {"row": CLASSES.to_dict()}}
    write_samples(tmp_path / "s", replace(drawn, told={"row": [1, 0]}, facts=facts))
    assert (tmp_path / "s/labels.csv").read_text().splitlines() == rows


@pytest.mark.parametrize(
    "space",
    [
        Space((5,), "float32", None, None),
        Space((2, 64), "float64", -3.0, 3.0),
        Space((1, 4, 8, 8), "int16", -100, 100),
        Space((5, 8, 8), "float32", None, None),
        Space((3, 8, 9), "uint8", layout="HWC"),
        Space((3, 3, 3), "uint8", layout="HWC"),
        Space((1, 8, 9), "uint16", 0, 4095, layout="HW"),
    ],
    ids=lambda space: str(space.shape),
)
def test_samples_of_any_shape_type_and_layout_are_written(space, tmp_path):
    model = model_of(space)
    samples = sample(model, 20, evaluations=2, frames=2)
    write_samples(tmp_path / "whole", samples)
    array = np.load(tmp_path / "whole/samples.npy")
    assert array.dtype == np.dtype(space.dtype)
    assert np.array_equal(array, space.to_layout(samples.images))
    pictures = sorted(path.name for path in (tmp_path / "whole").glob("0*.png"))
    assert pictures == ([f"{i:06d}.png" for i in range(20)] if space.kind == "picture" else [])
    with Image.open(tmp_path / "whole/grid.png") as image:
        assert min(image.size) > 4
    write_stream(tmp_path / "stream", stream_samples(model, 20, evaluations=2, frames=2))
    assert contents(tmp_path / "stream") == contents(tmp_path / "whole")


@pytest.mark.parametrize("blocks", [0, 1, 2])
@pytest.mark.parametrize("frames", [0, 3])
def test_what_was_interrupted_goes_on_by_number_to_the_same_bytes(denoiser, tmp_path, blocks, frames):
    def stream():
        return stream_samples(denoiser, indices=range(5, 45), frames=frames, **SETTINGS)

    write_stream(tmp_path / "whole", stream(), more=1)
    with SampleWriter(tmp_path / "cut", stream(), more=1) as writer:
        for block, _ in zip(stream(), range(blocks)):
            writer.write(block)
    assert (tmp_path / "cut" / UNFINISHED).exists()
    assert not (tmp_path / "cut/samples.json").exists()
    drawn = []
    denoiser_calls = denoiser.net.register_forward_pre_hook(lambda *_: drawn.append(1))
    write_stream(tmp_path / "cut", stream(), more=1)
    denoiser_calls.remove()
    assert len(drawn) == 2 * (3 - blocks)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_line_that_was_cut_short_counts_for_nothing(denoiser, tmp_path):
    stream = stream_samples(denoiser, 20, **SETTINGS)
    write_stream(tmp_path / "whole", stream)
    with SampleWriter(tmp_path / "cut", stream) as writer:
        writer.write(next(iter(stream)))
    log = tmp_path / "cut" / UNFINISHED
    log.write_text(log.read_text() + "[16, 17")
    with SampleWriter(tmp_path / "cut", stream) as writer:
        assert writer.missing.tolist() == [16, 17, 18, 19]
    log.write_text(log.read_text()[:40])  # nor does what came with half a header
    with SampleWriter(tmp_path / "cut", stream) as writer:
        assert len(writer.missing) == 20
    write_stream(tmp_path / "cut", stream)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_other_settings_and_finished_folders_are_refused(denoiser, tmp_path):
    stream = stream_samples(denoiser, 20, **SETTINGS)
    SampleWriter(tmp_path / "cut", stream).close()
    for other in ({"seed": 4}, {"evaluations": 3}, {"told": {"class": 1}}):
        (name,) = other
        settings = {**SETTINGS, **other}
        settings |= {"cond": settings.pop("told")} if name == "told" else {}
        with pytest.raises(ValueError, match=rf"unfinished samples of other settings \({name}"):
            SampleWriter(tmp_path / "cut", stream_samples(denoiser, 20, **settings))
    with pytest.raises(ValueError, match=r"other settings \(number 20 → 21"):
        SampleWriter(tmp_path / "cut", stream_samples(denoiser, 21, **SETTINGS))
    write_stream(tmp_path / "cut", stream)
    with pytest.raises(ValueError, match=r"choose a new folder \(its samples are finished, and n"):
        SampleWriter(tmp_path / "cut", stream)
    with pytest.raises(ValueError, match=r"is not empty; choose a new folder \(nothing was written"):
        SampleWriter(tmp_path, stream)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file; --out must be a folder"):
        check_free(tmp_path / "file")
    with (
        SampleWriter(tmp_path / "new", stream) as writer,
        pytest.raises(ValueError, match=r"20 of 20 .*missing"),
    ):
        writer.finish()


def test_what_grows_with_samples_or_classes_is_written_once_and_not_into_each_picture(tmp_path):
    denoiser = tiny_denoiser("v", dropout=0.1)
    names = tuple(f"kind number {i}" for i in range(2))
    denoiser.conditions = {"class": ClassCondition(names, dropout=0.1)}
    samples = sample(denoiser, 40, cond={"class": [0, 1] * 20}, **SETTINGS)
    write_samples(tmp_path / "s", samples)
    with Image.open(tmp_path / "s/000001.png") as image:
        inside = image.text["alphabar"]
    assert json.loads(inside)["told"] == {"class": "kind number 1"}
    assert "kind number 0" not in inside
    assert "0, 1, 0, 1" not in inside
    listing = (tmp_path / "s/samples.json").read_text()
    assert json.loads(listing)["told"] == {"class": [0, 1] * 20}
    assert listing.count("kind number 0") == 1
    again = sample(denoiser, 40, cond=json.loads(listing)["told"], **json.loads(listing)["settings"])
    assert again.images.tobytes() == samples.images.tobytes()


def test_samples_of_another_type_or_shape_are_refused(denoiser, tmp_path):
    samples = sample(denoiser, 4, frames=2, **SETTINGS)
    others = [
        {"images": samples.images.astype(np.float64)},
        {"images": samples.images[:, 0]},
        {"images": samples.images[:3]},
        {"frames": samples.frames.astype(np.float32)},
        {"frames": samples.frames[:1]},
    ]
    for i, other in enumerate(others):
        with pytest.raises(ValueError, match=r"samples to be written here are uint8 of shape \(.*, got"):
            write_samples(tmp_path / str(i), replace(samples, **other))


def test_samples_that_were_read_or_made_by_hand_can_be_written(tmp_path):
    images = np.arange(3 * 64, dtype=np.uint8).reshape(3, 1, 8, 8)
    write_samples(tmp_path / "s", Samples(images, np.arange(3), {}, {}, Space((1, 8, 8), layout="HW")))
    assert np.array_equal(np.load(tmp_path / "s/samples.npy"), images[:, 0])


def test_two_writers_never_share_a_folder(denoiser, tmp_path):
    stream = stream_samples(denoiser, 4, **SETTINGS)
    with SampleWriter(tmp_path / "s", stream), pytest.raises(ValueError, match="another process is writing"):
        SampleWriter(tmp_path / "s", stream)


def test_the_next_free_folder_is_made_at_once_and_an_unfinished_one_is_taken_up(denoiser, tmp_path):
    stream = stream_samples(denoiser, 4, **SETTINGS)

    def beside(**more):
        return SampleWriter.beside(tmp_path / "samples", stream, **more)

    (tmp_path / "samples-001").mkdir()  # as a writer that was killed at once leaves it
    first = beside()
    assert first.folder == tmp_path / "samples-001"
    with beside() as second:  # the first is being written
        assert second.folder.name == "samples-002"
    first.close()
    with beside() as again, beside(more=1) as third:
        assert again.folder == first.folder
        assert third.folder.name == "samples-003"
    write_stream(first.folder, stream)
    shutil.rmtree(second.folder)
    (tmp_path / "samples-002").write_text("a person's")
    with beside() as last:
        assert last.folder.name == "samples-004"


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path, monkeypatch):
    monkeypatch.setattr("alphabar.sampling.output.ON_SHEET", 16)
    model = model_of(Space((3, 64, 64), "float32", -1.0, 1.0, kind="array"))

    def peak(n):
        tracemalloc.start()
        write_stream(tmp_path / str(n), stream_samples(model, n, evaluations=1))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(16)
    few, many = peak(64), peak(352)  # 14 MB of samples more
    assert many - few < 2e6


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[2])
from tiny import tiny_denoiser
from alphabar.sampling import stream_samples, write_stream
model = tiny_denoiser("v", dropout=0.1)
model.net.register_forward_pre_hook(lambda *_: time.sleep(0.05))
write_stream(sys.argv[1], stream_samples(model, 160, evaluations=2, seed=3))
"""


@pytest.mark.parametrize("after", [1, 4])
def test_a_kill_at_any_moment_leaves_what_can_be_gone_on_with(denoiser, tmp_path, after):
    stream = stream_samples(denoiser, 160, **SETTINGS)
    arguments = [sys.executable, "-c", KILLED, str(tmp_path / "cut"), str(Path(__file__).parent)]
    process = subprocess.Popen(arguments)
    log = tmp_path / "cut" / UNFINISHED
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") > after):
        time.sleep(0.01)
    assert process.poll() is None
    process.kill()
    process.wait()
    with SampleWriter(tmp_path / "cut", stream) as writer:
        assert 16 <= len(writer.missing) <= 160 - 16 * after
    write_stream(tmp_path / "cut", stream)
    write_stream(tmp_path / "whole", stream)
    found, whole = contents(tmp_path / "cut"), contents(tmp_path / "whole")
    assert {name for name in found if not name.startswith(".")} == set(whole)
    assert all(found[name] == whole[name] for name in whole)


def test_pictures_without_bounds_are_shown_by_the_range_of_all(tmp_path):
    model = model_of(Space((1, 8, 8), "float32", None, None))
    samples = sample(model, 40, evaluations=1)
    write_samples(tmp_path / "s", samples)
    low, high = samples.images.min(), samples.images.max()
    for i in (0, 39):
        with Image.open(tmp_path / f"s/{i:06d}.png") as image:
            expected = np.rint(255 * (samples.images[i, 0] - low) / (high - low))
            assert np.abs(np.asarray(image) - expected).max() <= 1
