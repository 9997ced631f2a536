"""Several processes train the same bytes, however many they are, and go on from one another's checkpoints."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

import several
from alphabar import load
from alphabar.files import DamagedFile, load_tensors
from alphabar.runs import RunFolder
from alphabar.runs.checkpoints import checkpoint_files
from alphabar.training.distributed import Node, Tree, nodes_of, slots_of
from alphabar.training.trainer import Trainer
from alphabar.world import World
from tiny import tiny_config, tiny_data

# --- sums in one order ---------------------------------------------------------------------------


def summed(numbers, start, stop):
    """The sum as a tree has it, by its definition: the left part is the largest power of two."""
    n = stop - start
    if n == 1:
        return numbers[start]
    half = 1 << ((n - 1).bit_length() - 1)
    return summed(numbers, start, start + half) + summed(numbers, start + half, stop)


@given(st.integers(1, 40), st.data())
def test_a_sum_has_the_same_bits_however_it_is_cut(n, data):
    numbers = torch.from_numpy(np.random.default_rng(n).normal(size=(n, 5)).astype(np.float32) ** 5)
    cuts = sorted(data.draw(st.sets(st.integers(1, n - 1)))) if n > 1 else []
    whole = Tree()
    for start, stop in zip([0, *cuts], [*cuts, n], strict=True):
        part = Tree()
        for i in range(start, stop):
            part.add(Node(i, 1, [numbers[i].clone()]))
        assert [(node.start, node.size) for node in part.nodes] == nodes_of(start, stop)
        for node in part.nodes:
            whole.add(node)
    assert torch.equal(whole.total()[0], summed(numbers, 0, n))


def test_a_tree_is_no_plain_sum():
    numbers = torch.tensor([1e8, 1.0, -1e8, 1.0])
    tree = Tree()
    for i, number in enumerate(numbers):
        tree.add(Node(i, 1, [number.clone()]))
    assert tree.total()[0] == summed(numbers, 0, 4) != functools.reduce(torch.add, numbers)


def test_each_process_has_its_share():
    assert [World(rank, 3).share_of(12) for rank in range(3)] == [slice(0, 4), slice(4, 8), slice(8, 12)]


# --- the same bytes ------------------------------------------------------------------------------


def assert_same(a, b):
    """Two runs, to the byte."""
    for name in ("metrics.jsonl", "model.safetensors"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    ours, theirs = (checkpoint_files(folder / "checkpoints") for folder in (a, b))
    assert [file.name for file in ours] == [file.name for file in theirs]
    assert ours[-1].read_bytes() == theirs[-1].read_bytes()
    tensors = load_tensors(ours[-1])[0]
    assert {name.partition(".")[0] for name in tensors} >= {"net", "ema", "adam"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Every case, trained by one process."""
    folder = tmp_path_factory.mktemp("alone")
    assert several.run(1, several.train_all, folder) == [0]
    return folder


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.thorough)])
def test_any_number_of_processes_trains_the_same_bytes(alone, tmp_path, size):
    assert several.run(size, several.train_all, tmp_path) == [0] * size
    for name in several.CASES:
        assert_same(alone / name, tmp_path / name)


def test_a_run_goes_on_with_other_numbers_of_processes(alone, tmp_path):
    for size, stop_after in ((3, 2), (1, 3), (4, 5), (2, None)):
        assert several.run(size, several.train_case, "odd", tmp_path, stop_after) == [0] * size
    assert_same(alone / "odd", tmp_path / "odd")


def test_virtual_processes_alone_change_last_bits_and_nothing_else():
    rows = []
    for parts in (1, 2):
        trainer = Trainer(tiny_config(virtual_processes=parts, precision="float32"), tiny_data())
        rows.append([trainer.update() for _ in range(3)])
    np.testing.assert_allclose(*([row["loss"] for row in each] for each in rows), rtol=1e-4)
    assert rows[0] != rows[1]


# --- nothing is lost -----------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [0, 1, 2, 3])
def test_a_process_that_is_killed_ends_the_run_and_the_same_again_goes_on(alone, tmp_path, lost):
    clock, size = random.Random(lost), 4
    settings = {"save_minutes": 0.0} if lost == 0 else {"save_minutes": 60.0}
    processes = several.start(
        size, functools.partial(several.train_case, wait_s=0.05, **settings), "unet", tmp_path
    )
    metrics = tmp_path / "unet" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_text().count("\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(clock.uniform(0, 0.1))
    processes[lost].kill()
    for process in processes:
        process.join(60)
    assert all(process.exitcode for process in processes)
    step = RunFolder(tmp_path / "unet").progress()["step"]
    assert 0 < step < 8
    if lost:  # the first one saves what was done until then
        assert step == metrics.read_text().count("\n")
    assert several.run(2, several.train_case, "unet", tmp_path) == [0, 0]
    assert_same(alone / "unet", tmp_path / "unet")


def test_the_program_begins_several_and_a_signal_to_them_all_saves(tmp_path):
    np.save(tmp_path / "data.npy", tiny_data(80).images[:, 0])
    words = ["train", "data.npy", "--layout", "HW", "--processes", "2", "--images", "1M", "--batch", "16"]
    words += ["--set", "network.channels=8", "--precision", "float32", "--set", "channels_last=false"]
    program = subprocess.Popen(
        [sys.executable, "-m", "alphabar", *words, "--out", "run", "--no-previews"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= 3) and program.poll() is None:
        time.sleep(0.02)
    program.send_signal(signal.SIGTERM)
    _, said = program.communicate(timeout=60)
    assert program.returncode == 143, said
    assert said.count("stopped and saved after") == 1
    run = RunFolder(tmp_path / "run")
    assert run.progress()["step"] == metrics.read_text().count("\n") >= 3
    assert run.entry()["identity"]["config"]["virtual_processes"] == 2
    assert not run.is_trained_now()


def test_torchrun_begins_again_by_itself(tmp_path):
    np.save(tmp_path / "data.npy", tiny_data(80).images[:, 0])
    words = ["train", "data.npy", "--layout", "HW", "--images", "16k", "--batch", "16", "--no-previews"]
    words += ["--set", "network.channels=8", "--precision", "float32", "--set", "channels_last=false"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "2"]
    program = subprocess.Popen(
        [*torchrun, "-m", "alphabar", *words, "--out", "run"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= 3) and program.poll() is None:
        time.sleep(0.02)
    last = subprocess.run(["pgrep", "-P", str(program.pid)], capture_output=True, text=True).stdout.split()[
        -1
    ]
    os.kill(int(last), signal.SIGKILL)
    _, said = program.communicate(timeout=120)
    assert program.returncode == 0, said
    assert "resuming run from step-" in said
    assert len(RunFolder(tmp_path / "run").metrics()) == 1000


# --- samples -------------------------------------------------------------------------------------


def assert_same_samples(a, b):
    names = sorted(path.name for path in a.iterdir())
    assert names == sorted(path.name for path in b.iterdir())
    assert {"samples.npy", "samples.json", "grid.png", "000069.png"} <= set(names)
    for name in names:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


@pytest.fixture(scope="module")
def drawn(alone, tmp_path_factory):
    """Samples drawn by one process."""
    folder = tmp_path_factory.mktemp("drawn") / "samples"
    assert several.run(1, several.call, "sample", alone / "unet", "-n", 70, "--out", folder) == [0]
    return folder


@pytest.mark.parametrize("size", [2, 3])
def test_any_number_of_processes_draws_the_same_samples(alone, drawn, tmp_path, size):
    words = ["sample", alone / "unet", "-n", 70, "--out", tmp_path / "samples"]
    assert several.run(size, several.call, *words) == [0] * size
    assert_same_samples(drawn, tmp_path / "samples")


@pytest.mark.parametrize("lost", [0, 1])
def test_samples_go_on_after_a_process_was_killed(alone, drawn, tmp_path, lost):
    out = tmp_path / "samples"
    words = ["sample", alone / "unet", "-n", 70, "--out", out]
    processes = several.start(2, several.call, *words)
    while not list(out.glob("unfinished-1.jsonl")) and any(p.is_alive() for p in processes):
        time.sleep(0.002)
    processes[lost].kill()
    for process in processes:
        process.join(60)
    if (out / "unfinished.jsonl").exists():  # it may have been too fast
        assert any(process.exitcode for process in processes)
        assert several.run(3, several.call, *words) == [0, 0, 0]
    assert_same_samples(drawn, out)


@pytest.mark.thorough
def test_ten_thousand_samples_by_two_processes_of_which_each_is_killed_once(alone, tmp_path):
    words = ["sample", alone / "unet", "-n", 10_000, "--steps", 2, "--out"]
    assert several.run(1, several.call, *words, tmp_path / "one") == [0]
    out = tmp_path / "two"
    for lost, least in ((1, 2000), (0, 5000)):
        processes = several.start(2, several.call, *words, out)
        while len(list(out.glob("*.png"))) < least:
            time.sleep(0.05)
        processes[lost].kill()
        for process in processes:
            process.join(60)
        assert (out / "unfinished.jsonl").exists()
    assert several.run(2, several.call, *words, out) == [0, 0]
    names = sorted(path.name for path in out.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(names) > 10_000
    assert all((out / name).read_bytes() == (tmp_path / "one" / name).read_bytes() for name in names)


def test_any_number_of_processes_scores_the_same(alone, tmp_path):
    data = tiny_data(400)
    np.savez(tmp_path / "d.npz", x_train=data.images[:, 0], y_train=data.values["class"])
    cards = {}
    for size in (1, 2, 3):
        out = tmp_path / f"{size}.json"
        words = ["eval", alone / "unet", "--data", tmp_path / "d.npz", "-n", 70, "--features", "untrained"]
        words += ["--compare", "steps=3", "--out", out]
        assert several.run(size, several.call, *words) == [0] * size
        cards[size] = json.loads(out.read_text())
        for card in (cards[size], *cards[size]["compared"]):
            assert card["drawn"].pop("elapsed_s") > 0
            card.pop("seconds")
    assert cards[1] == cards[2] == cards[3]


# --- what can't be -------------------------------------------------------------------------------


def test_what_processes_cannot_share_is_refused():
    config = tiny_config(virtual_processes=2)
    with pytest.raises(ValueError, match=r"4 processes can't share the parts.*, 2: .*--virtual-processes 4"):
        slots_of(config, 4)
    with pytest.raises(ValueError, match="3 processes can't share a batch of 8"):
        slots_of(tiny_config(exact_processes="off"), 3)
    with pytest.raises(ValueError, match=r"batch_size must be a multiple of .*, got 8 and 3"):
        tiny_config(virtual_processes=3)


def test_statistics_of_a_batch_are_refused():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.layer = nn.BatchNorm2d(1), nn.Conv2d(1, 1, 1)

        def forward(self, x, c_noise, cond):
            return self.layer(self.norm(x))

    Trainer(tiny_config(), tiny_data(), net=Normed())
    with pytest.raises(ValueError, match=r"norm is a BatchNorm2d.*GroupNorm"):
        Trainer(tiny_config(virtual_processes=2), tiny_data(), net=Normed())


def test_a_batch_can_be_cut_into_the_parts_of_any_number_of_processes():
    from alphabar.training.presets import default_batch

    assert [default_batch(tiny_data().space, None, parts) for parts in (1, 3, 6)] == [64, 66, 66]


# --- PyTorch's own reduction ---------------------------------------------------------------------


def losses(folder):
    return [row["loss"] for row in RunFolder(folder).metrics()]


def test_pytorchs_own_reduction_trains_the_same_but_for_last_bits(alone, tmp_path):
    for size in (2, 4):
        folder = tmp_path / str(size)
        train = functools.partial(several.train_case, exact_processes="off", micro_batch=3)
        assert several.run(size, train, "unet", folder) == [0] * size
        np.testing.assert_allclose(losses(folder / "unet"), losses(alone / "unet"), rtol=2e-3)


# --- shards --------------------------------------------------------------------------------------

SHARDED = {"unet": {}, "vit": {}, "dropout": {"micro_batch": 3, "optimizer": "adamw"}}


def test_shards_train_the_same_but_for_last_bits_and_export_whole(tmp_path):
    shards_train(tmp_path, "vit", 2)


@pytest.mark.parametrize("name", SHARDED)
def test_shards_of_other_networks_and_more_processes(tmp_path, name):
    shards_train(tmp_path, name, 2, 4)


def shards_train(tmp_path, name, *sizes):
    train = functools.partial(several.train_case, sharded=True, **SHARDED[name])
    assert several.run(1, train, name, tmp_path / "1") == [0]
    for size in sizes:
        folder = tmp_path / str(size)
        assert several.run(size, train, name, folder) == [0] * size
        np.testing.assert_allclose(losses(folder / name), losses(tmp_path / "1" / name), rtol=2e-3)
        ours, theirs = (load(place / name) for place in (folder, tmp_path / "1"))
        for key, weight in ours.net.state_dict().items():
            torch.testing.assert_close(weight, theirs.net.state_dict()[key], rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize(
    "how", [{"sharded": True}, {"exact_processes": "off"}, {}], ids=["shards", "ddp", "exact"]
)
def test_blocks_that_are_run_again_train_the_same_bits(tmp_path, how):
    for place, again in (("plain", False), ("again", True)):
        train = functools.partial(several.train_case, recompute=again, precision="bfloat16", **how)
        assert several.run(2, train, "dropout", tmp_path / place / "run") == [0, 0]
    plain, again = (tmp_path / place / "run" / "dropout" for place in ("plain", "again"))
    assert losses(plain) == losses(again)
    ours, theirs = (load(place).net.state_dict() for place in (plain, again))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_shards_go_on_to_the_bit_by_as_many_and_closely_by_others(tmp_path):
    train = functools.partial(several.train_case, sharded=True)
    assert several.run(2, train, "dropout", tmp_path / "whole") == [0, 0]
    for size, place in ((2, "same"), (4, "more"), (1, "one")):
        assert several.run(2, train, "dropout", tmp_path / place, 3) == [0, 0]
        assert several.run(size, train, "dropout", tmp_path / place) == [0] * size
    assert_same(tmp_path / "whole" / "dropout", tmp_path / "same" / "dropout")
    for place in ("more", "one"):
        expected = losses(tmp_path / "whole" / "dropout")
        np.testing.assert_allclose(losses(tmp_path / place / "dropout"), expected, rtol=2e-3)


def in_parts(folder, size=2, stop_after=3):
    """The newest checkpoint of a run in shards that was stopped."""
    train = functools.partial(several.train_case, sharded=True)
    assert several.run(size, train, "dropout", folder, stop_after) == [0] * size
    return RunFolder(folder / "dropout").checkpoints()[-1]


def test_a_checkpoint_of_shards_is_a_file_of_each_process_that_torch_reads_as_well(tmp_path):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    path = in_parts(tmp_path)
    parts = sorted(path.with_suffix("").iterdir())
    assert [part.name for part in parts] == [f"part-{k:05d}-of-00002.safetensors" for k in (1, 2)]
    tensors = load_tensors(path)[0]
    each = [sum(tensor.numel() for tensor in load_file(part).values()) for part in parts]
    assert sum(each) == sum(tensor.numel() for tensor in tensors.values())
    assert max(each) < 0.6 * sum(each)
    assert load_file(path) == {}
    theirs = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    reader = HuggingFaceStorageReader(str(path.with_suffix("")))
    with warnings.catch_warnings(action="ignore"):  # that this is one process
        dcp.load(theirs, storage_reader=reader, no_dist=True)
    assert all(torch.equal(theirs[name], tensor) for name, tensor in tensors.items())
    averaged = load(path).net.state_dict()
    assert all(torch.equal(weight, tensors[f"ema.{name}"]) for name, weight in averaged.items())


def test_a_checkpoint_that_lost_a_part_or_a_bit_is_set_aside_and_parts_of_none_are_removed(tmp_path):
    path = in_parts(tmp_path, stop_after=5)
    folder, parts = path.parent, path.with_suffix("")
    earlier = RunFolder(tmp_path / "dropout").checkpoints()
    content = bytearray((parts / "part-00002-of-00002.safetensors").read_bytes())
    content[-3] ^= 1
    (parts / "part-00002-of-00002.safetensors").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"part-00002-of-00002.safetensors is damaged"):
        load_tensors(path)
    (parts / "part-00002-of-00002.safetensors").unlink()
    with pytest.raises(DamagedFile, match=r"it has lost step-000000005/part-00002-of-00002"):
        load_tensors(path)
    (folder / "step-000000007").mkdir()
    (folder / "step-000000007" / "part-00001-of-00002.safetensors").write_bytes(b"half")
    expected = in_parts(tmp_path / "whole", stop_after=99)
    if len(earlier) > 1:
        assert in_parts(tmp_path, stop_after=99).name == expected.name
        assert_same(tmp_path / "whole" / "dropout", tmp_path / "dropout")
    assert not (folder / "step-000000007").exists()
    kept = {file.with_suffix("").name for file in RunFolder(tmp_path / "dropout").checkpoints()}
    kept |= {file.name.partition(".")[0] for file in folder.glob("*.damaged")}
    assert {file.name for file in folder.iterdir() if file.is_dir()} == kept


def test_a_part_that_can_not_be_written_ends_the_run_with_its_name(tmp_path):
    codes = several.run(2, several.train_without_room, tmp_path)
    assert codes[0] == 1
    said = (tmp_path / "0.txt").read_text()
    assert "No space left on device" in said
    assert "part-00002-of-00002.safetensors" in said
    assert not RunFolder(tmp_path / "vit").checkpoints()
