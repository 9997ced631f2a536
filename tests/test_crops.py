"""Crops of samples that are too large to train on whole, whole samples from such models, and their memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import alphabar as ab
from alphabar.data import Space, prepare
from alphabar.model import Denoiser, batched, fit_codec, memory
from alphabar.sampling.slots import Slots
from alphabar.theory.schedule import Schedule
from alphabar.training.trainer import Trainer
from program import TINY, call
from tiny import AFFINE, tiny_config, tiny_denoiser, write_nifti

N, SIDES = 8, (9, 12, 9)
CROP = (4, 12, 4)


def placed(n=N, sides=SIDES):
    """(n, *sides) int32 in which every number says where it is: its place in the array."""
    return np.arange(n * np.prod(sides), dtype=np.int32).reshape(n, *sides)


def where(crop):
    """(sample, corner) of a crop of `placed`; it must be a part of one sample."""
    sample, *corner = np.unravel_index(crop.flat[0], (N, *SIDES))
    part = tuple(slice(a, a + side) for a, side in zip(corner, CROP, strict=True))
    np.testing.assert_array_equal(crop, placed()[sample][part])
    return int(sample), tuple(int(a) for a in corner)


@pytest.fixture(params=["array", "file"])
def data(request, tmp_path):
    given = placed()
    if request.param == "file":
        given = tmp_path / "d.npy"
        np.save(given, placed())
    return prepare(given, layout="volume", crop=CROP, holdout=0.3)


def test_tiles_cover_every_sample_and_crops_come_from_anywhere_in_it(data):
    assert data.space.shape == (1, *CROP)
    tiles = [where(tile) for tile in data.images[:][:, 0]]
    assert len(tiles) == len(set(tiles)) == N * 3 * 1 * 3
    for i in range(N):
        mine = np.concatenate([image.ravel() for image in data.images[9 * i : 9 * (i + 1)]])
        assert set(mine) == set(placed()[i].ravel())
    found = [where(crop) for k in range(40) for crop in data.batch(3, k, 10).images[:, 0]]
    training = {int(i) // 9 for i in data.training}
    assert {sample for sample, _ in found} == training
    corners = {corner for _, corner in found}
    assert corners == {(d, 0, w) for d in range(6) for w in range(6)}  # each place, the last ones included


def test_which_crop_is_a_function_of_seed_and_batch_alone(data):
    first = data.batch(3, 5, 12).images
    data.batch(3, 6, 12)
    np.testing.assert_array_equal(data.batch(3, 5, 12).images, first)
    np.testing.assert_array_equal(data.batch(3, 5, 12, flip=False).images, first)
    assert not np.array_equal(data.batch(4, 5, 12).images, first)
    np.testing.assert_array_equal(data.take(np.array([1])).images[0], data.images[1])  # none is drawn


def test_the_tiles_of_a_sample_are_held_out_together_and_have_its_class():
    values, labels = placed(40), np.arange(40) % 3
    data = prepare((values, labels), layout="volume", crop=CROP, holdout=0.3)
    held_out, training = {int(i) // 9 for i in data.held_out}, {int(i) // 9 for i in data.training}
    assert held_out
    assert not held_out & training
    assert held_out | training == set(range(40))
    np.testing.assert_array_equal(data.values["class"], np.repeat(labels, 9))
    whole = prepare((values, labels), layout="volume", holdout=0.3)
    assert set(whole.held_out.tolist()) == held_out  # as without crops


def test_crops_of_any_size_share_what_was_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABAR_CACHE", str(tmp_path / "cache"))
    np.save(tmp_path / "d.npy", placed())
    made = [prepare(tmp_path / "d.npy", layout="volume", crop=crop) for crop in (None, 4, "4x5x6")]
    assert [data.space.shape[1:] for data in made] == [SIDES, (4, 4, 4), (4, 5, 6)]
    assert len({data.fingerprint for data in made}) == 3  # each is other data for a run
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1


def test_a_picture_in_an_array_and_a_field_are_cut_as_volumes_are():
    pictures = np.random.default_rng(0).integers(0, 256, (5, 20, 30, 3), dtype=np.uint8)
    data = prepare(pictures, crop=8, holdout=0)
    assert (data.space.kind, data.space.shape, len(data)) == ("picture", (3, 8, 8), 5 * 3 * 4)
    np.testing.assert_array_equal(data.images[59], pictures[4, -8:, -8:].transpose(2, 0, 1))
    fields = np.random.default_rng(0).normal(size=(5, 20, 30)).astype(np.float32)
    assert prepare(fields, layout="HW", crop="8x30").space.shape == (1, 8, 30)


def test_what_cannot_be_cut_is_refused(tmp_path):
    for crop, words in (
        ("13", "none longer than the samples' 1 × 9 × 12 × 9 .* got 13"),
        ("4x4", "a row of them as 9x12x9"),
        ("3", "sides of a crop must be at least 4, or the samples' own where these are shorter .*, got 3"),
        ("0", "sides must be one such as 32, or a row as 32x48x48"),
        ("4xb", "sides must be one such as 32"),
    ):
        with pytest.raises(ValueError, match=words):
            prepare(placed(), layout="volume", crop=crop)
    series = np.zeros((5, 2, 100), np.float32)
    with pytest.raises(ValueError, match="series are cut by --window"):
        prepare(series, layout="CL", crop=10)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(ValueError, match="crop is for pictures and arrays"):
        prepare(tmp_path / "t.csv", crop=4)


def test_one_volume_is_trained_on_in_crops_and_whole_ones_are_sampled(tmp_path, done):
    """A file or folder of one NIfTI; samples of the size asked for, with its affine."""
    nibabel = pytest.importorskip("nibabel")
    values = np.random.default_rng(0).normal(size=(1, 6, 8, 5)).astype(np.float32)
    folder = write_nifti(tmp_path / "d", values)
    with pytest.raises(
        ValueError, match=r"s00\.nii\.gz is one sample of 6 × 8 × 5: train on .* by --crop SIDE"
    ):
        prepare(folder)
    assert prepare(folder, crop=4, holdout=0).images.shape == (2 * 2 * 2, 1, 4, 4, 4)
    run = tmp_path / "run"
    done("train", folder / "s00.nii.gz", "--crop", 4, "--out", run, "--images", 8, "--holdout", 0, *TINY)
    for size, sides in ((None, (6, 8, 5)), (4, (4, 4, 4)), ("6x9x5", (6, 9, 5))):
        out = tmp_path / f"out-{size}"
        done("sample", run, "-n", 2, "--steps", 1, "--out", out, *(["--size", size] if size else []))
        drawn = np.load(out / "samples.npy")
        assert drawn.shape == (2, 1, *sides)
        image = nibabel.load(out / "000001.nii.gz")
        np.testing.assert_array_equal(image.affine, AFFINE)
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), drawn[1, 0])
    assert call("train", folder / "s00.nii.gz", "--crop", 5, "--out", run, "--holdout", 0, *TINY) == 2


def test_fixed_crops_of_one_single_value_are_counted():
    values = np.zeros((2, 8, 8, 8), np.float32)
    values[0, :4] = np.random.default_rng(0).normal(size=(4, 8, 8))
    values[1, 7, 7, 7] = 1
    data = prepare(values, layout="volume", crop=4, holdout=0)
    assert any("16 in all, 11 of which hold one single value" in note for note in data.notes)
    assert prepare(values[:, :2], layout="volume", crop="2x4x4", holdout=0).space.shape == (1, 2, 4, 4)


# --- other sizes -----------------------------------------------------------------------------------


def test_samples_of_another_size_are_those_of_a_model_that_was_made_for_it():
    small = tiny_denoiser(classes=False)
    large = Denoiser(small.net, small.schedule, small.prediction, fit_codec(Space((1, 12, 12)))).eval()
    found = ab.sample(small, 3, size=12, evaluations=3, seed=4)
    assert found.space.shape == (1, 12, 12)
    np.testing.assert_array_equal(found.images, ab.sample(large, 3, evaluations=3, seed=4).images)
    assert ab.sample(small, 1, evaluations=2).images.shape[1:] == (1, 8, 8)  # it is as it was
    assert ab.sample(small, 1, size="9x20", evaluations=2).images.shape[1:] == (1, 9, 20)
    with pytest.raises(ValueError, match="size must be one side, or 2 for samples of 1 × 8 × 8"):
        ab.sample(small, 1, size=(8, 8, 8))


def test_a_size_is_refused_where_a_model_has_one_alone():
    vectors = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    data = prepare(vectors, holdout=0)
    config = tiny_config(network={"name": "mlp", "width": 8, "blocks": 1})
    with pytest.raises(ValueError, match=r"size is for networks that take any sides.* this model has MLP"):
        ab.sample(Trainer(config, data).ema, 1, size=8)


# --- memory ----------------------------------------------------------------------------------------


class Doubled(nn.Module):
    """Twice the input, twice: three tensors of its size at once with the weight's product."""

    any_sides = True

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x, c_noise):
        return (x * self.weight) * self.weight


def doubled(shape):
    space = Space(shape, "float32", -1.0, 1.0)
    return Denoiser(Doubled(), Schedule.from_dict({"name": "linear", "T": 10}), "v", fit_codec(space))


def test_the_memory_that_a_network_takes_is_counted():
    denoiser = doubled((2, 1024, 512))
    each = 4 * 2 * 2**19
    assert memory.needed_memory(denoiser, 1, False) == pytest.approx(memory.REAL * 2 * each, rel=1e-3)
    assert memory.needed_memory(denoiser, 3, False) == pytest.approx(memory.REAL * 6 * each, rel=1e-3)
    in_training = memory.needed_memory(denoiser, 1, True)
    assert in_training is not None
    assert in_training > memory.REAL * 3 * each
    assert memory.needed_memory(doubled((2, 64, 64)), 1, True) is None  # small: nothing is lost by trying


def test_a_volume_larger_than_memory_allows_is_refused_with_what_helps(tmp_path, monkeypatch, refused):
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**28)
    np.save(tmp_path / "d.npy", np.random.default_rng(0).normal(size=(3, 64, 64, 64)).astype(np.float32))
    arguments = ["train", tmp_path / "d.npy", "--layout", "volume", "--out", tmp_path / "run", "--images", 64]
    said = refused(*arguments, *TINY, news=4)
    assert "an update on 8 at once of 1 × 64 × 64 × 64 (C × D × H × W) takes about" in said
    assert "0.2 GiB are free" in said
    assert "--micro-batch" in said
    assert "--crop SIDE" in said
    assert "--set network.channels=32" in said
    assert not (tmp_path / "run" / "model.safetensors").exists()
    with pytest.raises(memory.TooLarge, match=r"sampling 1 at once of .* ask for shorter sides \(--size\)"):
        ab.sample(doubled((1, 8, 8, 8)), 1, size=512)


def test_memory_of_a_container_counts():
    free = memory.free_memory(torch.device("cpu"))
    if free is None:
        pytest.skip("this system doesn't say")
    assert 0 < free < 2**50
    assert memory.free_memory(torch.device("meta")) is None


MEASURE = """
import sys
import numpy as np
import alphabar as ab
from alphabar.model import memory
from alphabar.training.presets import resolve
from alphabar.training.trainer import Trainer

def peak():  # of this program alone, in KiB: ru_maxrss begins with that of the process that started it
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

shape, n = eval(sys.argv[1]), 8
data = ab.prepare(np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32), holdout=0)
config = resolve(data.space, {}, 4, None, {"images": 99, "batch_size": n, "network": {"channels": 32}})
trainer = Trainer(config, data)
needed = memory.needed_memory(trainer.model, n, True)
before = peak()
trainer.update()
print(needed / 1024 / (peak() - before))
"""


@pytest.mark.parametrize("shape", [(1, 40, 48, 48), (3, 256, 256)])
def test_what_is_counted_is_what_an_update_takes(shape):
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, str(shape)], capture_output=True, text=True, check=True,
        cwd=Path(ab.__file__).parent.parent,
    )  # fmt: skip
    assert 0.85 < float(ran.stdout) < 1.5


def test_large_samples_sit_in_smaller_batches_and_are_the_same_in_any_company(monkeypatch):
    assert [batched.batch_size(shape) for shape in ((3, 64, 64), (1, 64, 64, 64), (5,))] == [16, 1, 256]
    monkeypatch.setattr(batched, "PLACES", 4 * 64)
    denoiser = tiny_denoiser(classes=False)
    assert len(Slots(denoiser, denoiser.shape).jobs) == 4
    every = ab.sample(denoiser, 6, evaluations=2).images
    for i in (0, 5):
        np.testing.assert_array_equal(ab.sample(denoiser, indices=[i], evaluations=2).images[0], every[i])
