"""alphabar runs lists what there is, from files alone."""

from __future__ import annotations

import json

from alphabar.runs import Run, RunFolder
from program import call
from tiny import tiny_config, tiny_data


def test_runs_are_listed_with_how_far_they_are(tmp_path, capsys):
    assert call("runs", tmp_path) == 0
    assert "there is no run in" in capsys.readouterr().out
    for name in ("a", "deep/b"):
        list(Run(tmp_path / name, tiny_data(), tiny_config(images=48, previews=False)).train())
    (tmp_path / "other").mkdir()
    assert call("runs", tmp_path, "--json") == 0
    last, first = json.loads(capsys.readouterr().out)
    assert (first["run"], last["run"]) == (str(tmp_path / "a"), str(tmp_path / "deep" / "b"))
    assert (first["images"], first["of_images"], first["trains"]) == (48, 48, False)
    assert first["images_per_s"] > 0
    assert first["loss"] == RunFolder(tmp_path / "a").metrics()[-1]["loss"]
    assert call("runs", tmp_path) == 0
    printed = capsys.readouterr().out
    assert printed.count("48") >= 4
    assert "ago" in printed


def test_one_in_training_is_marked(tmp_path, capsys):
    steps = Run(tmp_path / "a", tiny_data(), tiny_config(images=80, previews=False)).train()
    next(steps)
    assert call("runs", tmp_path) == 0
    printed = capsys.readouterr().out
    steps.close()
    assert "not saved yet, in training" in printed
    assert call("runs", tmp_path / "none") == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_damaged_run_hides_no_other(tmp_path, capsys):
    list(Run(tmp_path / "a", tiny_data(), tiny_config(images=16, previews=False)).train())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run.json").write_text("{")
    assert call("runs", tmp_path, "--json") == 0
    told = capsys.readouterr()
    assert [row["images"] for row in json.loads(told.out)] == [16]
    assert "left out, damaged: " in told.err
    assert call("runs", tmp_path / "a" / "run.json") == 2
    assert "is a file: give a folder" in capsys.readouterr().err


def test_a_file_that_was_cut_short_is_marked_and_a_link_is_no_other_run(tmp_path, capsys):
    list(Run(tmp_path / "a", tiny_data(), tiny_config(images=16, previews=False)).train())
    (tmp_path / "again").symlink_to(tmp_path / "a")
    model = tmp_path / "a" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-100])
    assert call("runs", tmp_path, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["run"] == str(tmp_path / "a")
    assert row["damaged"] == ["model.safetensors"]
    assert call("runs", tmp_path) == 0
    assert "ago, model.safetensors is damaged" in capsys.readouterr().out
