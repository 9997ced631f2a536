"""Each mistake: one clear message on standard error, exit code 2, nothing lost or overwritten."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from alphabar.model import save
from program import TINY, call, contents, pictures
from tiny import tiny_denoiser


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """pets/cats, pets/dogs and run, a finished run on them: never to be changed."""
    place = tmp_path_factory.mktemp("original")
    pictures(place / "pets" / "cats", 6)
    pictures(place / "pets" / "dogs", 6, seed=1)
    before = Path.cwd()
    os.chdir(place)
    try:
        assert call("train", "pets", "--out", "run", "--images", 64, *TINY) == 0
    finally:
        os.chdir(before)
    return place


@pytest.fixture
def plain(tmp_path_factory):
    """A model without classes."""
    path = tmp_path_factory.mktemp("plain") / "plain.safetensors"
    save(tiny_denoiser(classes=False), path)
    return path


def flip_byte(path, place=0.5):
    raw = bytearray(path.read_bytes())
    raw[int(place * len(raw))] ^= 0x10
    path.write_bytes(raw)


# --- data --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["data", "train"])
def test_no_such_data(here, refused, command):
    assert "an argument has an empty value" in refused(command, "")
    message = refused(command, "nowhere")
    assert "no such file or folder: nowhere (a folder, .zip or .tar of pictures" in message


def test_empty_folder_and_folder_without_pictures(here, refused):
    (here / "empty").mkdir()
    assert "no pictures in" in (message := refused("train", "empty", "--images", 8))
    assert "(found nothing); pictures end in .avif" in message
    (here / "texts").mkdir()
    (here / "texts" / "a.txt").write_text("a")
    (here / "texts" / ".b.png").write_text("b")
    assert "(found 1 × .txt, 1 × hidden)" in refused("train", "texts", "--images", 8)
    assert not (here / "runs").exists()


def test_corrupt_and_truncated_pictures_are_named_and_left_out_on_demand(here, refused, capfd):
    pets = here / "pets" / "cats"
    (pets / "torn.png").write_bytes((pets / "00.png").read_bytes()[:80])
    (pets / "text.png").write_text("no picture")
    before = contents(here)
    message = refused("train", "pets", "--out", "new", "--images", 8, *TINY)
    assert "cats/text.png (not in a format that Alphabar reads, or damaged)" in message
    assert "go on without them (--skip-bad" in message
    (pets / "text.png").unlink()
    assert "1 of 13 pictures cannot be read: cats/torn.png (" in refused("data", "pets")
    before.pop("pets/cats/text.png")
    assert contents(here) == before
    assert call("train", "pets", "--out", "new", "--images", 8, "--skip-bad", *TINY) == 0
    assert "left out as unreadable: cats/torn.png" in capfd.readouterr().err


def test_fewer_pictures_than_a_batch_work(here):
    pictures(here / "three", 3)
    assert call("train", "three", "--out", "new", "--images", 16, *TINY) == 0
    pictures(here / "one", 1)
    assert call("train", "one", "--out", "new1", "--images", 16, *TINY) == 0
    assert (here / "new1" / "model.safetensors").exists()


def test_values_that_are_not_finite(here, refused):
    values = np.zeros((9, 8, 8), np.float32)
    values[7, 2, 2] = np.nan
    np.save("d.npy", values)
    assert "not finite (NaN or infinity), first in sample 7" in refused("train", "d.npy", "--images", 8)


def test_options_that_are_not_for_this_data(here, refused):
    np.savez("d.npz", images=np.zeros((4, 8, 8), np.uint8))
    assert "size is for pictures, which these data are not" in refused("data", "d.npz", "--size", 16)
    assert "outside the range 0 to 1" in refused("data", "pets", "--range", 0, 1)
    assert "has no sub-folders" in refused("data", "d.npz", "--classes", "folders")


@pytest.mark.parametrize("size", ["64x", "x64", "0", "-8", "8x8x8", "big", "3.5", "8x99999", ""])
def test_sizes_that_are_none(here, refused, size):
    message = refused("data", "pets", f"--size={size}")
    assert message.startswith("alphabar: --size ")
    assert (
        "must be a side such as 64, or height and width as 48x64" in message
        or "4 to 4096" in message
        or not size
    )
    assert size in message or "0 × 0" in message or "8 × 99999" in message


@pytest.mark.parametrize("holdout", ["1", "-0.1", "nan", "all"])
def test_shares_held_out_that_are_none(here, refused, holdout):
    message = refused("data", "pets", "--holdout", holdout)
    assert "holdout must lie within 0 and 1" in message or "Invalid value for '--holdout'" in message
    assert holdout in message


# --- what a run is made of ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--preset", "cifra10"], "known: ddpm, cifar10; did you mean 'cifar10'?"),
        (["--prediction", "epsilon"], "unknown prediction 'epsilon'; known: "),
        (["--prediction", "epps"], "did you mean 'eps'?"),
        (["--loss", "simpel"], "did you mean 'simple'?"),
        (["--schedule", "cosin"], "unknown schedule 'cosin'; known: "),
        (["--set", "learning_rate=1"], "unknown setting 'learning_rate'; known: images, epochs"),
        (["--set", "batchsize=1"], "did you mean 'batch_size'?"),
        (["--set", "network.chanels=16"], "chanels"),
        (["--set", "network.channels=many"], "network"),
        (["--set", "network.name=unett"], "unknown network 'unett'; known: unet"),
        (["--set", "network=unet"], "network has several settings; give them one by one"),
        (["--set", "lr"], "--set takes NAME=VALUE, such as lr=1e-3 or network.channels=96, got 'lr'"),
        (["--set", "=3"], "--set takes NAME=VALUE"),
        (["--set", "lr=fast"], "--lr must be a valid number"),
        (["--set", "lr=1", "--set", "lr.x=1"], "--set gives both a value and parts to 'lr'"),
        (["--lr", "-1"], "--lr must be greater than 0, got -1.0"),
        (["--lr", "nan"], "got nan"),
        (["--lr", "quick"], "got 'quick'; see alphabar train --help"),
        (["--batch", "0"], "--batch must be greater than or equal to 1, got 0"),
        (["--batch", str(10**9)], "--batch must be less than or equal to 1048576"),
        (["--images", "9" * 23], "--images must be less than or equal to 1000000000000000"),
        (["--seed", "-1"], "--seed must be greater than or equal to 0, got -1"),
        (["--schedule", "linear", "--T", "0"], "T must be a whole number of at least 1, got 0"),
        (["--images", "many"], "--images must be a number such as 5000, 200k or 3M, got 'many'"),
        (["--images", "0"], "--images must be a number such as 5000, 200k or 3M, got '0'"),
        (["--epochs", "1"], "give one of images, epochs and minutes, got images and epochs"),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
        (["--nonsense"], "No such option: --nonsense"),
    ],
)
def test_settings_that_are_none(here, refused, options, expected):
    before = contents(here)
    images = [] if "--images" in options else ["--images", "8"]
    assert expected in refused("train", "pets", "--out", "new", *images, *options)
    assert contents(here) == before
    assert not (here / "new").exists()


@pytest.mark.parametrize("options", [["--lr", "-1"], ["--minutes", "1e99"], ["--epochs", "1"]])
def test_what_no_data_make_right_is_refused_before_they_are_read(here, refused, monkeypatch, options):
    monkeypatch.setattr("alphabar.cli.options.read_data", lambda *_: pytest.fail("the data were read"))
    images = [] if "--minutes" in options else ["--images", 8]
    assert options[0].lstrip("-") in refused("train", "pets", *images, *options)


def test_a_folder_that_holds_something_else(here, refused):
    (here / "thesis").mkdir()
    (here / "thesis" / "chapter.txt").write_text("one")
    before = contents(here)
    message = refused("train", "pets", "--out", "thesis", "--images", 8, *TINY)
    assert "thesis holds something that is not a run of Alphabar; choose a new or an empty folder" in message
    message = refused("train", "pets", "--out", "thesis/chapter.txt", "--images", 8, *TINY)
    assert "thesis/chapter.txt is a file; --out must be a folder" in message
    assert contents(here) == before


def test_a_run_with_other_settings_or_other_data_is_not_resumed(here, refused):
    before = contents(here / "run")
    same = ["train", "pets", "--out", "run", "--images", 64, *TINY]
    message = refused(*same, "--lr", 0.5, "--set", "network.dropout=0.5", "--seed", 3)
    for differing in ("lr (", "→ 0.5)", "network.dropout (", "seed (0 → 3)", "another --out"):
        assert differing in message
    assert "holdout (0.05 → 0.5)" in refused(*same, "--holdout", 0.5)
    pictures(here / "pets" / "dogs", 6, seed=9)
    assert "run with other settings: the data, or what they are told (" in (message := refused(*same))
    assert "samples (" not in message
    pictures(here / "pets" / "dogs", 8, seed=9)
    assert "samples (12 → 14)" in refused(*same)
    (here / "rows.csv").write_text(
        "a,b\n" + "".join(f"{i}.5,{i * i}.5\n" for i in range(30)), encoding="utf-8"
    )
    message = refused("train", "rows.csv", "--out", "run", "--images", 64)  # no U-Net is for rows
    assert "run is a run with other settings" in message
    assert contents(here / "run") == before


def test_a_rate_that_diverges_names_step_and_time_and_keeps_the_last_checkpoint(here, refused):
    from alphabar.files import load_tensors
    from alphabar.runs.checkpoints import checkpoint_files

    options = ["--images", "4k", "--lr", "1e9", *TINY]
    first = refused("train", "pets", "--out", "wild", *options, news=5)
    assert "training has diverged. Try a lower learning rate (it was 1e+09)" in first
    files = checkpoint_files(here / "wild" / "checkpoints")
    assert f" at update {int(files[-1].stem[5:]) + 1}, t = " in first
    for path in files:
        load_tensors(path)  # raises if a single bit is wrong
    before = contents(here / "wild")
    again = refused("train", "pets", "--out", "wild", *options, news=3)
    assert again.splitlines()[-1] == first.splitlines()[-1]
    assert contents(here / "wild") == before


# --- damaged checkpoints and full disks --------------------------------------------------------


def stopped_at(folder, step):
    """Take a finished run back to the moment after a step, as far as its files tell."""
    for path in (folder / "checkpoints").iterdir():
        if int(path.stem[5:]) > step:
            path.unlink()
    (folder / "model.safetensors").unlink()


def resume(images=64):
    return call("train", "pets", "--out", "run", "--images", images, *TINY)


@pytest.mark.parametrize("damage", ["cut", "flipped", "header", "emptied"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_leads_to_the_same(
    here, original, capsys, damage
):
    stopped_at(here / "run", 6)
    newest = here / "run" / "checkpoints" / "step-000000006.safetensors"
    if damage in ("cut", "emptied"):
        raw = newest.read_bytes()
        newest.write_bytes(raw[: len(raw) // 2 if damage == "cut" else 0])
    else:
        flip_byte(newest, 0.6 if damage == "flipped" else 0.002)
    spoilt = newest.read_bytes()
    assert resume() == 0
    err = capsys.readouterr().err
    assert f"checkpoint refused and set aside as {newest.name}.damaged: " in err
    assert "resuming run from step-000000004.safetensors" in err
    assert newest.with_name(newest.name + ".damaged").read_bytes() == spoilt
    after, expected = contents(here / "run"), contents(original / "run")
    for name in ("model.safetensors", "metrics.jsonl", "checkpoints/step-000000008.safetensors"):
        assert after[name] == expected[name]


def test_every_checkpoint_damaged(here, refused):
    for path in (here / "run" / "checkpoints").iterdir():
        flip_byte(path)
    model, metrics = ((here / "run" / name).read_bytes() for name in ("model.safetensors", "metrics.jsonl"))
    same = ["train", "pets", "--out", "run", "--images", 64, *TINY]
    message = refused(*same, news=8)
    assert "every checkpoint in run/checkpoints is damaged; start anew with another --out" in message
    assert len(list((here / "run" / "checkpoints").glob("*.damaged"))) == 5
    assert (here / "run" / "model.safetensors").read_bytes() == model
    assert (here / "run" / "metrics.jsonl").read_bytes() == metrics


def test_every_checkpoint_damaged_and_the_same_command_again(here, capfd):
    for path in (here / "run" / "checkpoints").iterdir():
        flip_byte(path)
    model = (here / "run" / "model.safetensors").read_bytes()
    assert resume() == 2
    assert resume() == 2
    assert "is damaged" in capfd.readouterr().err
    assert (here / "run" / "model.safetensors").read_bytes() == model


def test_a_run_json_that_is_damaged(here, refused):
    path = here / "run" / "run.json"
    path.write_text(path.read_text()[:50])
    before = contents(here / "run")
    assert "run.json is not valid JSON" in refused("train", "pets", "--out", "run", "--images", 64, *TINY)
    assert contents(here / "run") == before


def test_a_run_without_its_run_json_and_a_damaged_model_name_the_way_out(here, refused):
    path, model = here / "run" / "run.json", here / "run" / "model.safetensors"
    model.write_bytes(b"")
    message = refused("sample", "run")
    assert "model.safetensors is damaged" in message
    assert "there are also run/best.safetensors and run/checkpoints/step-000000008.safetensors" in message
    path.unlink()
    message = refused("train", "pets", "--out", "run", "--images", 64, *TINY)
    assert "run holds a run whose run.json is missing; choose a new or an empty folder" in message
    assert "--from run/model.safetensors" in message


@pytest.mark.parametrize("allowed", [0, 2, 12])
def test_a_full_disk_stops_with_one_message_and_the_same_command_goes_on(
    here, original, capfd, monkeypatch, allowed
):
    """`allowed` flushes succeed, then the disk is full."""
    shutil.rmtree(here / "run")
    flushes, real = [], os.fsync

    def full(file):
        flushes.append(file)
        if len(flushes) > allowed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert resume() == 2
    err = capfd.readouterr().err
    assert re.fullmatch(
        "alphabar: No space left on device: .+; free some space and give the same command again",
        err.splitlines()[-1],
    )
    assert "Traceback" not in err
    assert not list((here / "run").rglob("*.tmp"))
    assert resume() == 0
    after, expected = contents(here / "run"), contents(original / "run")
    for name in ("model.safetensors", "metrics.jsonl", "checkpoints/step-000000008.safetensors"):
        assert after[name] == expected[name]


def test_a_full_disk_while_sampling_stops_and_the_same_command_goes_on(here, refused, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device: s/unfinished.jsonl; free some space" in refused(
        "sample", "run", "-n", 2, "--steps", 1, "--out", "s"
    )
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert call("sample", "run", "-n", 2, "--steps", 1, "--out", "s") == 0
    assert {"000000.png", "000001.png", "grid.png", "labels.csv", "samples.npy", "samples.json"} == set(
        contents(here / "s")
    )


@pytest.mark.parametrize("command", [
    "data ~nil/pets", "train ~nil/pets", "train pets --out ~nil/run", "sample ~nil/run",
    "sample run --out ~nil/s", "sample run --plan ~nil/p.json", "info ~nil/run", "eval ~nil/run",
    "eval run --features ~nil/net.pt", "eval run --out ~nil/card.json", "report ~nil/run",
    "diagnose ~nil/run", "fit-sampler ~nil/run --steps 2", "show plan ~nil/run",
    "edit vary ~nil/run pets/cats/00.png --t 5", "show plan ~nil/p.json",
    "show schedule --out ~nil/s.png",
])  # fmt: skip
def test_a_home_folder_that_is_not_known(here, refused, command):
    """Also of a folder whose own name begins so."""
    (here / "~nil").mkdir()
    assert "the home folder in ~nil" in refused(*command.split())


# --- models ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["sample", "info"])
def test_models_that_are_none(here, refused, command):
    save_file({"weight": np.zeros(3, np.float32)}, "other.safetensors")
    (here / "empty").mkdir()
    (here / "text.safetensors").write_text("no tensors")
    shutil.copy("run/model.safetensors", "flipped.safetensors")
    flip_byte(here / "flipped.safetensors")
    (here / "cut.safetensors").write_bytes((here / "run" / "model.safetensors").read_bytes()[:-1])
    before = contents(here)
    for name, expected in {
        "nowhere": "no such file: nowhere",
        "empty": "empty holds no model.safetensors: give the folder of a training run",
        "other.safetensors": "was not written by Alphabar: its metadata has no entry 'alphabar' (it holds 1",
        "text.safetensors": "is damaged or no .safetensors file",
        "flipped.safetensors": "is damaged: its contents don't match the digest",
        "cut.safetensors": "is damaged",
        "pets/cats/00.png": "is damaged or no .safetensors file",
    }.items():
        assert expected in refused(command, name)
    assert contents(here) == before


# --- sampling ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--sampler", "dddm"], "unknown sampler 'dddm'; known: "),
        (["--sampler", "ddpm", "--eta", "0.5"], "ddpm takes variance, x0_mse, and not eta"),
        (["--sampler", "ddim", "--variance", "beta"], "ddim takes eta, and not variance"),
        (["--sampler", "ddpm", "--variance", "big"], "big"),
        (["--sampler", "ddim", "--eta", "1.5"], "eta must lie within 0..1, got 1.5"),
        (["--class", "dog"], "unknown class 'dog'; known: cats, dogs; did you mean 'dogs'?"),
        (["--class", "2"], "unknown class '2'; known: cats, dogs"),
        (["--steps", "0"], "--steps must be a whole number of at least 1, got 0"),
        (["--steps", "-3"], "got -3"),
        (["--steps", "few"], "got 'few'; see alphabar sample --help"),
        (["--seed", "-1"], "--seed must be a whole number within 0..2^63 - 1, got -1"),
        (["-n", "0"], "-n must be at least 1 and --first at least 0, got 0 and 0"),
        (["--first", "-1"], "-n must be at least 1 and --first at least 0, got 4 and -1"),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
    ],
)
def test_sampling_options_that_are_none(here, refused, options, expected):
    number = [] if "-n" in options else ["-n", 4]
    assert expected in refused("sample", "run", *number, "--out", "s", *options)
    assert not (here / "s").exists()


def test_class_for_a_model_without_classes(here, refused, plain):
    assert "this model is told nothing beside x_t: it has no class to give" in refused(
        "sample", plain, "--class", "cats"
    )


def test_more_steps_than_T_are_well_defined(here):
    for grid in ("flow", "trailing"):
        assert call("sample", "run", "-n", 1, "--steps", 150, "--spacing", grid, "--out", grid) == 0
        times = np.array(json.loads((here / grid / "samples.json").read_text())["times"])
        assert (len(times), times[0], times[-1]) == (151, 100, 0)
        assert np.all(np.diff(times) < 0)
        assert np.load(f"{grid}/samples.npy").shape == (1, 8, 8)
    np.testing.assert_allclose(times, 100 * np.arange(150, -1, -1) / 150)


@pytest.mark.parametrize("command", ["sample", "edit vary"])
def test_nothing_is_overwritten_by_samples(here, refused, command):
    vary = ["edit", "vary", "run", "pets/cats/00.png", "--t", 5]
    command, *arguments = ["sample", "run"] if command == "sample" else vary
    before = contents(here)
    assert "pets is not empty; choose a new folder (nothing was written)" in refused(
        command, *arguments, "--out", "pets"
    )
    assert "--out is a folder for all that" in refused(command, *arguments, "--out", "pets/cats/00.png")
    assert contents(here) == before


@pytest.mark.parametrize("t", ["0", "101", "-5", "nan", "0.5", "late"])
def test_times_outside_1_to_T(here, refused, t):
    message = refused("edit", "vary", "run", "pets/cats/00.png", "--t", t, "--out", "d")
    assert "--t must lie within 1..100, got " in message or "Invalid value for '--t'" in message
    assert t in message
    assert not (here / "d").exists()


def test_what_denoise_cannot_take(here, refused):
    np.save("many.npy", np.zeros((4, 8, 8), np.uint8))
    np.save("wide.npy", np.zeros((8, 9), np.uint8))
    np.save("words.npy", np.full((8, 8), "a"))
    np.save("nan.npy", np.full((1, 8, 8), np.nan, np.float32))
    np.savez("several.npz", a=np.zeros(3), b=np.zeros(4))
    shutil.move("several.npz", "several.npy")
    (here / "text.png").write_text("no picture")
    before = contents(here)
    for name, expected in {
        "nowhere.png": "no such file: nowhere.png",
        "text.png": "text.png cannot be read as a picture: not in a format",
        "many.npy": "must hold the numbers of one sample, of shape (8, 8), got uint8 (4, 8, 8)",
        "wide.npy": "of shape (8, 8), got uint8 (8, 9)",
        "words.npy": "must hold numbers, got",
        "several.npy": "got several arrays",
    }.items():
        assert expected in refused("edit", "vary", "run", name, "--t", 50, "--out", "d")
    assert "x_t holds values that are not finite" in refused(
        "edit", "vary", "run", "nan.npy", "--noisy", "--t", 50, "--out", "d"
    )
    assert "of shape (1, 8, 8), got uint8 (8, 9)" in refused(
        "edit", "vary", "run", "wide.npy", "--noisy", "--t", 50, "--out", "d"
    )
    assert "--t is needed, the noise level to start from" in refused("edit", "vary", "run", "nan.npy")
    assert contents(here) == before


# --- schedule, and pictures written ------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["--name", "cosin"],
            "unknown schedule 'cosin'; known: linear, cosine, sigmoid; did you mean 'cosine'?",
        ),
        (["--T", "0"], "T must be a whole number of at least 1, got 0"),
        (["--name", "linear", "--beta-min", "0.1"], "give both beta_min and beta_max, or neither"),
        (["--name", "linear", "--beta-min", "0.2", "--beta-max", "0.1"], "did you mean betas[::-1]?"),
        (
            ["--name", "cosine", "--beta-min", "0.1"],
            "the cosine schedule takes T, s, max_beta, shift, and not beta_min",
        ),
        (["--picture", "pets/cats/00.png"], "--picture needs --out, the file to draw into"),
        (["--out", "plot.jpg"], "--out must end in .png, got plot.jpg"),
        (["--out", "pets/cats/00.png"], "pets/cats/00.png exists already; choose another name"),
        (["--out", "p.png", "--picture", "nowhere.png"], "no such file: nowhere.png"),
        (["--out", "p.png", "--picture", "pets/cats/00.png", "--size", "0"], "--size"),
        (["--size", "64"], "--size and --seed are for a picture: give --picture as well"),
        (["--out", "p.png", "--seed", "0"], "--size and --seed are for a picture: give --picture as well"),
    ],
)
def test_schedules_that_are_none(here, capfd, options, expected):
    before = contents(here)
    assert call("show", "schedule", *options) == 2
    err = capfd.readouterr().err
    assert expected in err
    assert "Traceback" not in err
    assert contents(here) == before


@pytest.mark.parametrize(("arguments", "expected"), [
    (["sampel"], "No such command 'sampel'"),
    (["sample"], "Missing argument 'RUN'; see alphabar sample --help"),
    (["info", "run", "more"], "unexpected extra argument"),
])  # fmt: skip
def test_commands_that_are_none(here, refused, arguments, expected):
    assert expected in refused(*arguments)


def test_a_run_that_is_being_trained_is_refused_before_the_data_are_read(tmp_path, monkeypatch, said):
    from alphabar.runs.folder import RunFolder

    (tmp_path / "run").mkdir()
    with RunFolder(tmp_path / "run").alone():
        code, _, err = said("train", "no such data", "--out", tmp_path / "run", "--images", 64)
    assert (code, "another process or loop is training" in err) == (2, True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").touch()
    assert "something that is not a run" in said("train", "no such data", "--out", tmp_path / "other")[2]
