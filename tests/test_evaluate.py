"""alphabar eval and diagnose as commands: what they print, keep and refuse, and how they prepare data."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alphabar.data.prepare import cache_folder
from alphabar.evaluation.table import SCORES, measured
from test_bad_input import TINY, call

HOW = ["--size", "8", "--classes", "folders", "--skip-bad", "--holdout", "0.3"]
QUICK = ["-n", "16", "--features", "untrained"]


def noise(folder, n, seed=0, side=10):
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        Image.fromarray(generator.integers(0, 256, (side, side), dtype=np.uint8)).save(
            folder / f"{i:02d}.png"
        )


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """pets (cats, dogs and a damaged file) and run on them, prepared in unusual ways."""
    place = tmp_path_factory.mktemp("original")
    for seed, name in enumerate(("cats", "dogs")):
        noise(place / "pets" / name, 24, seed)
    (place / "pets" / "dogs" / "bad.png").write_bytes(b"\x89PNG")
    before = Path.cwd()
    os.chdir(place)
    try:
        assert call("train", "pets", "--out", "run", "--images", 64, *HOW, *TINY) == 0
    finally:
        os.chdir(before)
    return place


@pytest.fixture
def here(original, tmp_path, monkeypatch):
    place = tmp_path / "here"
    shutil.copytree(original, place)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def said(capfd):
    """The program's exit code, output and errors."""

    def said(*arguments):
        capfd.readouterr()
        return call(*arguments), *capfd.readouterr()

    return said


def test_a_run_is_scored_against_its_own_data_as_they_were_prepared(here, said):
    assert said("train", "pets", "--out", "run", "--images", 64, *HOW, *TINY)[0] == 0  # it is finished
    prepared = set(cache_folder().iterdir())
    code, out, err = said("eval", "run", *QUICK, "--out", "card.json")
    assert (code, err) == (0, "")
    assert set(cache_folder().iterdir()) - prepared <= {cache_folder() / "features"}  # nothing is read again
    assert "16 samples of run against 32 pictures (32 of them trained on)" in out
    for score in SCORES.values():
        assert score.title in out
    assert "note: the floor's pictures are 14 held-out ones and 2 of the training part" in out
    card = json.loads((here / "card.json").read_text())
    assert (
        card["data"]["fingerprint"] == json.loads((here / "run/run.json").read_text())["data"]["fingerprint"]
    )
    assert set(card["scores"]) == set(SCORES)
    assert card["drawn"]["evaluations"] == 20
    shutil.copy("run/model.safetensors", "alone.safetensors")
    known = said("info", "alone.safetensors")[1]
    assert "pets --size 8 --classes folders --skip-bad --holdout 0.3\n" in known
    code, out, _ = said("eval", "alone.safetensors", *QUICK)
    assert code == 0
    assert "against 32 pictures (32 of them trained on)" in out


def test_a_run_from_before_this_was_written_down(here, said):
    entry = json.loads(Path("run/run.json").read_text())
    assert entry["data"].pop("prepared") == {
        "size": [8, 8], "classes": "folders", "skip_bad": True, "holdout": 0.3
    }  # fmt: skip
    Path("run/run.json").write_text(json.dumps(entry))
    Path("pets/dogs/bad.png").unlink()
    code, out, err = said("eval", "run", *QUICK)
    assert (code, err) == (0, "")
    assert "16 samples of run against 32 pictures" in out


def test_other_data_are_prepared_as_the_models_samples_are(here, said):
    noise(here / "others", 40, seed=5, side=30)
    code, out, err = said("eval", "run", "--data", "others", *QUICK)
    assert (code, err) == (0, "")
    assert "16 samples of run against 24 pictures\n" in out
    assert "note: the model was trained on other data: nearness to these is no memorising" in out
    assert "note: the model has the classes cats, dogs, and the data none: no error by noise level" in out


def test_samples_of_anybody(here, said):
    noise(here / "theirs", 20, seed=7)
    np.save("theirs.npy", np.random.default_rng(0).integers(0, 256, (20, 10, 10), np.uint8))
    assert call("sample", "run", "-n", "14", "--steps", "2", "--out", "ours") == 0
    for name, data, n in (("theirs", "pets/cats", 12), ("theirs.npy", "pets/cats", 12)):
        code, out, err = said("eval", name, "--data", data, *QUICK)
        assert (code, err) == (0, "")
        assert f"{n} samples of {name} against 12 pictures\n" in out
        assert f"note: {n} of the 16 samples are used" in out
        assert "bound" not in out
    Path("pets/dogs/bad.png").unlink()
    assert call("data", "pets", "--size", "8") == 0
    noise(here / "small", 30, side=8)
    code, out, _ = said("eval", "ours", "--data", "small", *QUICK)
    assert code == 0
    assert "14 samples of ours against 16 pictures\n" in out


def test_ways_to_draw_and_other_runs_stand_side_by_side(here, said):
    shutil.copytree("run", "other")
    ways = ["--compare", "steps=2", "--compare", "other sampler=ddim steps=3"]
    code, out, err = said("eval", "run", *QUICK, *ways, "--out", "card.json")
    assert (code, err) == (0, "")
    for word in ("as asked", "steps=2", "sampler=ddim", "steps=3", "real pictures"):
        assert word in out
    (evaluations,) = [line.split() for line in out.splitlines() if line.split()[:1] == ["evaluations"]]
    assert evaluations[1:] == ["20", "2", "3"]
    (kid,) = [line for line in out.splitlines() if line.split()[:1] == ["KID"] and line.count("±") == 4]
    compared = json.loads(Path("card.json").read_text())["compared"]
    assert [card["way"] for card in compared] == ["steps=2", "other sampler=ddim steps=3"]
    for card in compared:
        score = card["scores"]["kid"]
        assert measured(score["value"], score["error"]) in kid
        assert "bound" not in card


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["eval", "pets"],
            "pets is neither a run nor a model file: say what to compare it with, --data DATA",
        ),
        (
            ["eval", "run", "--features", "vgg"],
            "features must be learned, inception, untrained, pixels, a Torch",
        ),
        (["eval", "run", "--compare", "stepz=3"], "unknown way to draw 'stepz'; known: "),
        (["eval", "run", "--compare", "nowhere"], "nowhere"),
        (
            ["eval", "run", "-n", "5", "--features", "pixels"],
            "scores need 12 samples and 24 pictures or more",
        ),
        (["eval", "run", "--out", "card.txt"], "--out must end in .json, got card.txt"),
        (["eval", "run", "--out", "old.json"], "old.json"),
        (
            ["eval", "run", "--data", "array.npy"],
            "the model's samples have the shape (1, 8, 8) and array.npy has",
        ),
        (
            ["eval", "array.npy", "--data", "pets/cats", *QUICK],
            "samples have the shape (1, 5, 5) and the data",
        ),
        (
            ["eval", "unit.npy", "--data", "pets/cats", *QUICK],
            "samples reach from 0 to 1 and the data from 0 to",
        ),
        (["eval", "run/checkpoints/step-000000008.safetensors"], "is a checkpoint; give the run's folder"),
        (["diagnose", "pets"], "run"),
        (["diagnose", "run/model.safetensors"], "diagnose reads a run's folder"),
    ],
)
def test_what_is_refused_with_one_message_and_nothing_written(here, said, arguments, message):
    Path("old.json").write_text("mine")
    np.save("array.npy", np.zeros((40, 5, 5), np.uint8))
    np.save("unit.npy", np.random.default_rng(0).integers(0, 2, (40, 10, 10), np.uint8))
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    code, out, err = said(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert message in err
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_diagnose_says_what_it_found_by_its_exit_code(here, said):
    code, out, err = said("diagnose", "run", "-n", "16")
    assert (code, err) == (1, "")
    assert out.startswith("most likely: ")
    assert "  evidence: " in out
    assert "  remedy:   " in out


def test_the_report_tells_how_the_data_were_prepared(here, said):
    assert said("report", "run", *QUICK)[0] == 0
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert "alphabar train pets --size 8 --classes folders --skip-bad --holdout 0.3 " in page
