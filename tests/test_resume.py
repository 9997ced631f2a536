"""Nothing is lost: kill -9 at any moment, the same again, and every byte is that of an unbroken run."""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
from contextlib import contextmanager

import pytest
import torch

import victim
from alphabar import load
from alphabar.files import DamagedFile, Lines, is_temporary, load_tensors
from alphabar.runs import Run, RunFolder, fork, train
from alphabar.runs.checkpoints import checkpoint_files
from tiny import EXECUTION, NETWORK, tiny_config, tiny_data

STEPS = 25


@contextmanager
def original_in(folder):
    """What victims make unbroken, once a module."""
    victim.finish(folder)
    yield folder


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    with original_in(tmp_path_factory.mktemp("unbroken") / "run") as folder:
        yield folder


def assert_same_bytes(a, b, last=STEPS):
    checkpoint = f"checkpoints/step-{last:09d}.safetensors"
    for name in ("metrics.jsonl", "model.safetensors", "best.safetensors", checkpoint):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    tensors, metadata, _ = load_tensors(a / checkpoint)
    assert metadata["checkpoint"]["step"] == last
    assert {name.split(".")[0] for name in tensors} == {"net", "ema", "adam", "muon"}
    assert not [path for path in a.rglob("*") if is_temporary(path)]


def kill_at_random(folder, moments, **what):
    """Start, kill, start again …: each time after it got an update further. How often it was killed."""
    clock, kills = random.Random(0), 0
    while True:
        before = checkpoint_files(folder / "checkpoints")[-1:]
        process = victim.start(folder, **what)
        while process.is_alive() and checkpoint_files(folder / "checkpoints")[-1:] == before:
            time.sleep(0.002)
        process.join(timeout=clock.uniform(0, moments))
        process.kill()  # does nothing to one that has ended
        process.join()
        if process.exitcode == 0:
            return kills
        assert process.exitcode == -9
        kills += 1


def kill_at(folder, calls, **what):
    """Die at the n-th call that flushes, renames or deletes a file, for each n in turn; then to the end."""
    for die_at in calls:
        process = victim.start(folder, die_at, **what)
        process.join()
        assert process.exitcode in (-9, 0)
    victim.finish(folder, **what)


# --- resume --------------------------------------------------------------------------------------


@pytest.mark.parametrize("moments", [0.3, 0.1])
def test_killed_at_random_moments(unbroken, tmp_path, moments):
    assert kill_at_random(tmp_path / "run", moments) >= 2
    assert_same_bytes(tmp_path / "run", unbroken)


@pytest.mark.parametrize("call", range(1, 38, 4))
def test_killed_at_every_boundary_of_a_save(unbroken, tmp_path, call):
    kill_at(tmp_path / "run", (call, call + 13))
    assert_same_bytes(tmp_path / "run", unbroken)


def test_left_early_it_saves_and_resumes(unbroken, tmp_path):
    """Leaving the loop saves, also when no save was due."""
    slow = victim.config(save_minutes=60.0)
    folder = tmp_path / "run"
    run = Run(folder, tiny_data(), slow)
    for row in run.train():
        if row["step"] == 10:
            break
    assert checkpoint_files(folder / "checkpoints")[-1].name == "step-000000010.safetensors"
    assert load(folder).about["updates"] == 10
    again = Run(folder, tiny_data(), slow)
    rows = list(again.train())
    assert again.resumed_from is not None
    assert again.resumed_from.name == "step-000000010.safetensors"
    assert [row["step"] for row in rows] == list(range(11, STEPS + 1))
    assert (folder / "metrics.jsonl").read_bytes() == (unbroken / "metrics.jsonl").read_bytes()
    a, b = load(folder).net.state_dict(), load(unbroken).net.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_finished_run_stays_as_it_is(unbroken, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert list(Run(folder, tiny_data(), victim.config()).train()) == []
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_what_a_kill_after_the_last_save_lost_is_made_at_the_next_start(unbroken, tmp_path):
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(unbroken, folder)
    folder.model.unlink()
    assert list(Run(folder, tiny_data(), victim.config(previews=True)).train()) == []
    assert folder.model.read_bytes() == (unbroken / "model.safetensors").read_bytes()
    assert [path.name for path in folder.preview_files()] == ["000000200.png"]


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
    assert run.resumed_from is not None
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


def test_a_row_that_could_not_be_written_is_written_when_what_was_done_is_saved(
    unbroken, tmp_path, monkeypatch
):
    write, failed = Lines.write, []

    def fails(lines, row):
        if row.get("step") == 3 and not failed:
            failed.append(row)
            raise OSError(5, "Input/output error")
        write(lines, row)

    monkeypatch.setattr(Lines, "write", fails)
    folder = tmp_path / "run"
    with pytest.raises(OSError, match="Input/output"):
        list(Run(folder, tiny_data(), victim.config()).train())
    said = []
    list(Run(folder, tiny_data(), victim.config(), say=said.append).train())
    assert failed
    assert not any("lost" in line for line in said)
    assert (folder / "metrics.jsonl").read_bytes() == (unbroken / "metrics.jsonl").read_bytes()


def test_an_end_that_failed_is_done_again_and_measured(unbroken, tmp_path, monkeypatch):
    save, failed = Run.save_best, []

    def fails(run):
        if run.finished and not failed:
            failed.append(run.trainer.step)
            raise OSError(5, "Input/output error")
        save(run)

    monkeypatch.setattr(Run, "save_best", fails)
    folder = tmp_path / "run"
    with pytest.raises(OSError, match="Input/output"):
        list(Run(folder, tiny_data(), victim.config()).train())
    list(Run(folder, tiny_data(), victim.config()).train())
    assert failed == [25]
    for name in ("metrics.jsonl", "best.safetensors", "model.safetensors"):
        assert (folder / name).read_bytes() == (unbroken / name).read_bytes()


def test_lost_lines_of_metrics_are_said_and_a_torn_one_is_cut_off(unbroken, tmp_path):
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(unbroken, folder)
    lines = folder.metrics_file.read_bytes().splitlines(keepends=True)
    folder.metrics_file.write_bytes(b"".join(lines[:20]) + lines[20][:30])
    said = []
    list(Run(folder, tiny_data(), victim.config(), say=said.append).train())
    assert folder.metrics_file.read_bytes() == b"".join(lines[:20])
    assert "lacks 5 of 25 lines" in said[0]


# --- longer --------------------------------------------------------------------------------------

LONGER = {"images": 320}


@pytest.fixture(scope="module")
def longer(unbroken, tmp_path_factory):
    """The unbroken run made longer after its end, unbroken."""
    folder = tmp_path_factory.mktemp("longer") / "run"
    shutil.copytree(unbroken, folder)
    victim.finish(folder, settings=LONGER)
    return folder


def test_a_longer_run_goes_on_and_its_rate_is_planned_again(unbroken, longer):
    before, after = (RunFolder(folder).metrics() for folder in (unbroken, longer))
    assert after[:STEPS] == before
    assert [row["step"] for row in after] == list(range(1, 41))
    rates = [row["lr"] for row in after]
    assert rates[STEPS - 1] < rates[STEPS] < rates[STEPS + 2]  # from where it is, over the warm-up
    assert rates[-1] < 0.1 * max(rates)  # and down again to the new end
    config = victim.config(**LONGER)
    decided = [(0, 200), (200, 320)]
    assert rates == [config.learning_rate(row["images"] - 8, decided) for row in after]
    history = [(row["what"], row["images"]) for row in RunFolder(longer).entry()["history"]]
    assert history == [("total", 0), ("budget", 200), ("total", 200)]


def test_longer_killed_at_random_moments(unbroken, longer, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    kill_at_random(folder, 0.7, settings=LONGER)
    assert_same_bytes(folder, longer, 40)


@pytest.mark.parametrize("call", range(1, 14, 4))
def test_longer_killed_at_boundaries(unbroken, longer, tmp_path, call):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    kill_at(folder, (call, call + 9), settings=LONGER)
    assert_same_bytes(folder, longer, 40)


def test_a_running_run_is_made_longer_where_it_is_and_a_shorter_one_has_enough(unbroken, tmp_path):
    folder = tmp_path / "run"
    rows = Run(folder, tiny_data(), victim.config()).train()
    before = [next(rows) for _ in range(10)]
    rows.close()
    after = list(Run(folder, tiny_data(), victim.config(**LONGER)).train())
    decided = [(0, 200), (80, 320)]
    rates = [victim.config().learning_rate(row["images"] - 8, decided) for row in before + after]
    assert [row["lr"] for row in before + after] == rates
    assert after[-1]["step"] == 40
    said, entry = [], RunFolder(folder).entry()
    assert list(Run(folder, tiny_data(), victim.config(images=240), say=said.append).train()) == []
    assert "has 320 images already" in said[0]
    assert RunFolder(folder).entry() == entry


# --- from a model, and forks ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["from", "fork"])
def test_a_run_that_begins_with_weights_killed_at_every_boundary(unbroken, tmp_path, kind):
    """Their source is another folder, which may be gone as soon as the run has begun."""
    source = tmp_path / "source"
    shutil.copytree(unbroken, source)
    what = {"settings": {"init_from": str(source), "images": 80}}
    if kind == "fork":
        what = {"fork_of": str(source / "checkpoints/step-000000018.safetensors"), "settings": {"lr": 1e-3}}
    last = {"from": 10, "fork": 25}[kind]
    (tmp_path / "whole").mkdir()
    whole = tmp_path / "whole/run"
    victim.finish(whole, **what)
    for call in (2, 5, 8):
        folder = tmp_path / f"killed-{call}/run"
        kill_at(folder, (call, call + 1, call + 2, 20), **what)
        assert_same_bytes(folder, whole, last)
    folder = tmp_path / "random/run"
    kill_at_random(folder, 1.0, **what)
    assert_same_bytes(folder, whole, last)
    assert load_tensors(source / "model.safetensors")[2] == load_tensors(unbroken / "model.safetensors")[2]


def test_a_fork_goes_on_from_the_checkpoint_with_other_settings(unbroken, tmp_path):
    run = fork(unbroken, tmp_path / "fork", tiny_data(), lr=1e-3, images=240, device="cpu")
    rows = list(run.train())
    assert [row["step"] for row in rows] == list(range(26, 31))
    assert run.differences == ["lr (0.002 → 0.001)", "images (200 → 240)"]
    decided = [(0, 200), (200, 240)]  # the run's own, and now another one
    assert [row["lr"] for row in rows] == [run.config.learning_rate(8 * k, decided) for k in range(25, 30)]
    entry = RunFolder(tmp_path / "fork").entry()
    assert [r["after"] for r in entry["history"] if r["what"] == "fork"] == [run.differences]
    assert entry["identity"]["start"]["step"] == 25
    assert list(Run(tmp_path / "fork", tiny_data(), run.asked).train()) == []  # it is a run like others


def test_a_fork_with_the_same_settings_is_the_same_run(unbroken, tmp_path):
    run = fork(
        unbroken / "checkpoints/step-000000018.safetensors", tmp_path / "run", tiny_data(), device="cpu"
    )
    list(run.train())
    a, b = (
        load_tensors(f / "checkpoints/step-000000025.safetensors")[0] for f in (tmp_path / "run", unbroken)
    )
    assert run.differences == []
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_a_fork_of_a_run_made_longer_is_the_same_run_too(longer, tmp_path):
    """What was decided on its length, which the learning rate follows, comes along."""
    source = longer / "checkpoints/step-000000030.safetensors"
    list(fork(source, tmp_path / "run", tiny_data(), device="cpu").train())
    a, b = (load_tensors(f / "checkpoints/step-000000040.safetensors")[0] for f in (tmp_path / "run", longer))
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_a_fork_may_have_another_batch_or_optimizer_and_not_another_network(unbroken, tmp_path):
    run = fork(
        unbroken, tmp_path / "a", tiny_data(), batch_size=16, optimizer="adamw", images=260, device="cpu"
    )
    assert [row["images"] for row in run.train()] == [208, 224, 240, 256, 272]
    with pytest.raises(ValueError, match="fork goes on with the same one"):
        list(fork(unbroken, tmp_path / "b", tiny_data(), network={"channels": 16}, images=260).train())
    with pytest.raises(ValueError, match="has 200 images already, and the fork would end at 200"):
        list(fork(unbroken, tmp_path / "c", tiny_data(), lr=1e-3).train())
    assert not (tmp_path / "c" / "run.json").exists()


# --- habits, and what is refused ------------------------------------------------------------------


def test_habits_change_at_once_and_leave_every_number_as_it_is(unbroken, tmp_path):
    folder = tmp_path / "run"
    rows = Run(folder, tiny_data(), victim.config(save_minutes=60.0)).train()
    for _ in range(5):
        next(rows)
    rows.close()
    said = []
    rows = Run(folder, tiny_data(), victim.config(save_minutes=0.5, previews=True), say=said.append).train()
    next(rows)
    rows.close()
    assert said == ["from here on: save_minutes (60.0 → 0.5), previews (False → True)"]
    kill_at_random(folder, 2.0)
    assert_same_bytes(folder, unbroken)
    history = RunFolder(folder).entry()["history"]
    assert [(r["what"], r["after"], r["images"]) for r in history if r["what"] == "save_minutes"] == [
        ("save_minutes", 0.5, 40),
        ("save_minutes", 0.0, 48),
    ]


def test_other_settings_or_data_are_refused_by_name(unbroken):
    for config, data, words in [
        (tiny_config(images=200), tiny_data(), ["network.dropout", "--fork NEW_RUN"]),
        (victim.config(lr=1.0), tiny_data(), ["lr (0.002 → 1.0)"]),
        (victim.config(), tiny_data(classes=False), ["the data, or what they are told (classes → plain)"]),
        (victim.config(init_from=str(unbroken)), tiny_data(), ["weights to start from (none →"]),
    ]:
        with pytest.raises(ValueError, match="other settings") as caught:
            Run(unbroken, data, config)
        assert all(word in str(caught.value) for word in words)


def test_data_that_have_moved_are_found_where_they_are(unbroken, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    Run(tmp_path / "run", tiny_data(), victim.config(), source="elsewhere").train().close()
    list(Run(tmp_path / "run", tiny_data(), victim.config(images=208), source="elsewhere").train())
    assert RunFolder(tmp_path / "run").entry()["data"]["source"] == "elsewhere"
    assert load(tmp_path / "run").about["source"] == "elsewhere"


# --- one process at a time -------------------------------------------------------------------------


def test_one_process_at_a_time(tmp_path):
    first = Run(tmp_path / "run", tiny_data(), tiny_config()).train()
    next(first)
    with pytest.raises(ValueError, match="another process"):
        next(Run(tmp_path / "run", tiny_data(), tiny_config()).train())
    first.close()


def test_a_run_that_was_begun_meanwhile_is_read_again_under_the_lock(tmp_path):
    """Its settings are compared then, and nothing of the other's is overwritten."""
    late = Run(tmp_path / "run", tiny_data(), tiny_config(lr=1.0))
    list(Run(tmp_path / "run", tiny_data(), tiny_config()).train())
    before = RunFolder(tmp_path / "run").entry()
    with pytest.raises(ValueError, match=r"other settings: lr \(0.002 → 1.0\)"):
        next(late.train())
    assert RunFolder(tmp_path / "run").entry() == before
    same = Run(tmp_path / "other", tiny_data(), tiny_config())
    assert same.trainer.step == 0
    list(Run(tmp_path / "other", tiny_data(), tiny_config()).train())
    assert list(same.train()) == []


def test_of_two_processes_one_trains(unbroken, tmp_path):
    folder = tmp_path / "run"
    first, second = victim.start(folder), victim.start(folder)
    first.join(), second.join()
    assert sorted([first.exitcode, second.exitcode])[0] == 0
    victim.finish(folder)
    assert_same_bytes(folder, unbroken)


def test_a_fitted_plan_stays_with_its_weights_and_no_older_model_replaces_a_newer(tmp_path):
    from alphabar.files import save_tensors

    folder = RunFolder(tmp_path / "run")
    run = Run(folder, tiny_data(), victim.config())
    rows = run.train()
    next(rows)
    run.settle(wait=True)  # it is written while training goes on
    tensors, metadata, digest = load_tensors(folder.model)
    next(rows)  # saves another model
    run.settle(wait=True)
    with pytest.raises(ValueError, match="has changed since it was read"):
        save_tensors(folder.model, tensors, metadata, replacing=digest)
    tensors, metadata, digest = load_tensors(folder.model)
    save_tensors(folder.model, tensors, metadata | {"x0_mse": [[1.0], [0.5]]}, replacing=digest)
    rows.close()
    assert load(folder.path).x0_mse == [[1.0], [0.5]]
    said = []
    list(Run(folder, tiny_data(), victim.config(), say=said.append).train())
    assert load(folder.path).x0_mse is None
    assert any("what was fitted to those before is dropped" in line for line in said)


# --- ways to leave ---------------------------------------------------------------------------------


def steps_saved(folder):
    return RunFolder(folder).progress()["step"]


def settings():
    return dict(network=NETWORK, batch_size=8, images=800, save_minutes=60.0, previews=False, **EXECUTION)


def test_an_exception_in_the_loop_saves(tmp_path):
    def loop():
        for row in train(tiny_data(), tmp_path / "run", device="cpu", **settings()):
            if row["step"] == 7:
                raise OSError("in the loop")

    with pytest.raises(OSError, match="in the loop"):
        loop()
    assert steps_saved(tmp_path / "run") == 7


@pytest.mark.parametrize("when", ["in the loop's body", "within an update"])
def test_ctrl_c_saves_and_the_same_call_goes_on(tmp_path, when):
    """Also where the loop stays alive, as in a notebook, which keeps the last error and its frames."""
    import signal

    kept, thread = [], None

    def cell():
        nonlocal thread
        rows = train(tiny_data(), tmp_path / "run", device="cpu", **settings())
        kept.append(rows)
        for row in rows:
            if row["step"] == 5:
                if when == "in the loop's body":
                    signal.raise_signal(signal.SIGINT)
                elif thread is None:
                    thread = threading.Timer(0.05, lambda: signal.raise_signal(signal.SIGINT))
                    thread.start()

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        cell()
    assert signal.getsignal(signal.SIGINT) is handler
    saved = steps_saved(tmp_path / "run")
    assert saved == 5 if when == "in the loop's body" else 5 < saved < 100
    rows = train(tiny_data(), tmp_path / "run", device="cpu", **settings())
    assert next(rows)["step"] == saved + 1
    rows.close()


def test_a_second_ctrl_c_waits_for_the_save(tmp_path, monkeypatch):
    import signal

    import alphabar.runs.run as module

    save, begun = module.save_checkpoint, []

    def interrupted(*arguments):
        begun.append(signal.raise_signal(signal.SIGINT))
        return save(*arguments)

    rows = train(tiny_data(), tmp_path / "run", device="cpu", **settings())
    next(rows)
    monkeypatch.setattr(module, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert len(begun) == 1
    assert steps_saved(tmp_path / "run") == 1


def test_a_loop_that_failed_in_a_notebook_gives_its_run_up(tmp_path):
    """The cell's traceback keeps the loop; the next loop over the run saves what it did, and goes on."""
    kept, errors = [], []

    def cell(n):
        kept.append(train(tiny_data(), tmp_path / "run", device="cpu", **settings()))
        for row in kept[-1]:
            if row["step"] == n:
                raise OSError("in the loop")

    for n in (3, 6):
        with pytest.raises(OSError, match="in the loop") as caught:
            cell(n)
        errors.append(caught)
    kept[-1].close()
    assert steps_saved(tmp_path / "run") == 6
    assert next(kept[0], None) is None


def test_what_is_open_when_the_program_ends_is_saved(tmp_path):
    process = victim.CONTEXT.Process(target=leave_open, args=(tmp_path / "run",))
    process.start()
    process.join()
    assert steps_saved(tmp_path / "run") == 4


def leave_open(folder):
    import atexit

    rows = train(tiny_data(), folder, device="cpu", **settings())
    for _ in range(4):
        next(rows)
    globals()["kept"] = rows
    atexit._run_exitfuncs()  # processes of multiprocessing end without


# --- the clock -------------------------------------------------------------------------------------


def test_metrics_hold_nothing_of_the_clock(unbroken):
    rows = RunFolder(unbroken).metrics()
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert set(rows[0]) == {"step", "images", "loss", "grad_norm", "lr"}
    assert "held_out_loss" in rows[-1]
    times = [json.loads(line) for line in (unbroken / "times.jsonl").read_text().splitlines()]
    assert times[-1]["images_per_s"] > 0
    assert abs(times[-1]["time"] - time.time()) < 600
