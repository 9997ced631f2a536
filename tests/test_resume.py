"""Nothing is lost: kill -9 at any moment, the same again, and every byte is that of an unbroken run."""

from __future__ import annotations

import json
import random
import shutil
import time

import pytest
import torch

import victim
from alphabar import Run, load
from alphabar.files import DamagedFile, load_tensors
from alphabar.training.checkpoints import checkpoint_files
from tiny import tiny_config, tiny_data

STEPS = 25


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    process = victim.start(folder)
    process.join()
    assert process.exitcode == 0
    return folder


def assert_same_bytes(a, b):
    last = "checkpoints/step-000000025.safetensors"
    for name in ("metrics.jsonl", "model.safetensors", "best.safetensors", last):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    tensors, facts, _ = load_tensors(a / "checkpoints/step-000000025.safetensors")
    assert facts["step"] == STEPS
    assert {name.split(".")[0] for name in tensors} == {"net", "ema", "adam", "muon"}


def finish(folder):
    process = victim.start(folder)
    process.join()
    assert process.exitcode == 0


def test_killed_at_random_moments(unbroken, tmp_path):
    """Each time after it got a step further; every step saves, so many of the kills fall into a save."""
    folder, clock = tmp_path / "run", random.Random(0)
    kills = 0
    while True:
        before = checkpoint_files(folder / "checkpoints")[-1:]
        process = victim.start(folder)
        while process.is_alive() and checkpoint_files(folder / "checkpoints")[-1:] == before:
            time.sleep(0.002)
        process.join(timeout=clock.uniform(0, 0.2))
        process.kill()  # does nothing to one that has ended
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -9
        kills += 1
    assert kills >= 2
    assert_same_bytes(folder, unbroken)


@pytest.mark.parametrize("call", range(1, 26, 4))
def test_killed_at_every_boundary_of_a_save(unbroken, tmp_path, call):
    """Die at the n-th call that flushes, renames or deletes a file, from the start or after some steps."""
    folder = tmp_path / "run"
    for die_at in (call, call + 13):
        process = victim.start(folder, die_at)
        process.join()
        assert process.exitcode == -9
    finish(folder)
    assert_same_bytes(folder, unbroken)
    assert not list(folder.rglob("*.tmp"))


def test_left_early_it_saves_and_resumes(unbroken, tmp_path):
    """Leaving the loop saves, also when no save was due."""
    slow = victim.config().model_copy(update={"save_minutes": 60.0})
    folder = tmp_path / "run"
    run = Run(folder, tiny_data(), slow)
    for row in run.train():
        if row["step"] == 10:
            break
    assert [path.name for path in checkpoint_files(folder / "checkpoints")][
        -1
    ] == "step-000000010.safetensors"
    assert load(folder).about["steps"] == 10
    again = Run(folder, tiny_data(), slow)
    rows = list(again.train())
    assert again.resumed_from.name == "step-000000010.safetensors"
    assert [row["step"] for row in rows] == list(range(11, STEPS + 1))
    assert (folder / "metrics.jsonl").read_bytes() == (unbroken / "metrics.jsonl").read_bytes()
    a, b = load(folder).net.state_dict(), load(unbroken).net.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_finished_run_stays_as_it_is(unbroken, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    assert list(Run(folder, tiny_data(), victim.config()).train()) == []
    assert_same_bytes(folder, unbroken)


def test_a_lost_model_file_is_written_again(unbroken, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    (folder / "model.safetensors").unlink()
    list(Run(folder, tiny_data(), victim.config()).train())
    assert (folder / "model.safetensors").exists()


def test_the_last_two_and_the_quarters_are_kept(unbroken):
    kept = [int(path.stem.split("-")[1]) for path in checkpoint_files(unbroken / "checkpoints")]
    assert kept == [6, 12, 18, 24, 25]


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["cut", "last byte", "middle byte", "header"])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_used(unbroken, tmp_path, damage):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    path = folder / "checkpoints/step-000000025.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        flip(path, {"last byte": -1, "middle byte": path.stat().st_size // 2, "header": 60}[damage])
    said = []
    run = Run(folder, tiny_data(), victim.config(), say=said.append)
    rows = list(run.train())
    assert run.resumed_from.name == "step-000000024.safetensors"
    assert len(said) == 1
    assert "refused" in said[0]
    assert path.name in said[0]
    assert [row["step"] for row in rows] == [25]
    assert path.with_name(path.name + ".damaged").exists()
    assert_same_bytes(folder, unbroken)


def test_if_every_checkpoint_is_damaged_nothing_is_started_anew(unbroken, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    for path in checkpoint_files(folder / "checkpoints"):
        flip(path, -1)
    before = (folder / "metrics.jsonl").read_bytes()
    with pytest.raises(DamagedFile, match="every checkpoint"):
        list(Run(folder, tiny_data(), victim.config()).train())
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_one_process_at_a_time(tmp_path):
    first = Run(tmp_path / "run", tiny_data(), tiny_config()).train()
    next(first)
    with pytest.raises(ValueError, match="another process"):
        next(Run(tmp_path / "run", tiny_data(), tiny_config()).train())
    first.close()


def test_other_settings_or_data_are_refused_by_name(unbroken):
    for config, data, words in [
        (tiny_config(images=200), tiny_data(), ["save_minutes", "network.dropout"]),
        (victim.config().model_copy(update={"lr": 1.0}), tiny_data(), ["lr (0.002 → 1.0)"]),
        (victim.config(), tiny_data(classes=False), ["data.fingerprint (classes → plain)"]),
    ]:
        with pytest.raises(ValueError, match="other settings") as caught:
            Run(unbroken, data, config)
        assert all(word in str(caught.value) for word in words)


def test_minutes_are_measured_once(tmp_path):
    config = tiny_config(images=None, minutes=1 / 20, save_minutes=60.0)
    run = Run(tmp_path / "run", tiny_data(), config)
    for _ in run.train():
        if run.total is not None:
            break
    total = run.total
    again = Run(tmp_path / "run", tiny_data(), config)
    assert again.total == total
    assert list(again.train())[-1]["images"] >= total


def test_metrics_hold_nothing_of_the_clock(unbroken):
    rows = [json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert set(rows[0]) == {"step", "images", "loss", "grad_norm", "lr"}
    assert "held_out_loss" in rows[-1]
    times = [json.loads(line) for line in (unbroken / "times.jsonl").read_text().splitlines()]
    assert times[-1]["images_per_s"] > 0
    assert abs(times[-1]["time"] - time.time()) < 600
