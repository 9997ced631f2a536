"""alphabar eval and diagnose as commands: what they print, keep and refuse, and how they prepare data."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from alphabar.cli.sampling import sample_flags
from alphabar.cli.variants import Variant, variant_of
from alphabar.data import Space
from alphabar.data.preparing.cache import cache_folder
from alphabar.evaluation.comparison import scores_of
from alphabar.evaluation.table import with_error
from alphabar.files import load_tensors, save_tensors
from alphabar.runs import results as results_module
from alphabar.runs import subject as subject_module
from alphabar.runs.results import Results
from program import TINY, call, pictures

HOW = ["--size", "8", "--classes", "folders", "--skip-bad", "--holdout", "0.3"]
QUICK = ["-n", "16", "--features", "untrained"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """pets (cats, dogs and a damaged file) and run on them, prepared in unusual ways."""
    place = tmp_path_factory.mktemp("original")
    for seed, name in enumerate(("cats", "dogs")):
        pictures(place / "pets" / name, 24, 10, seed)
    (place / "pets" / "dogs" / "bad.png").write_bytes(b"\x89PNG")
    before = Path.cwd()
    os.chdir(place)
    try:
        assert call("train", "pets", "--out", "run", "--images", 64, *HOW, *TINY) == 0
    finally:
        os.chdir(before)
    return place


def test_a_run_is_scored_against_its_own_data_as_they_were_prepared(here, said):
    assert said("train", "pets", "--out", "run", "--images", 64, *HOW, *TINY)[0] == 0  # it is finished
    prepared = set(cache_folder().iterdir())
    code, out, err = said("eval", "run", *QUICK, "--out", "card.json")
    assert (code, err) == (0, "")
    assert set(cache_folder().iterdir()) - prepared <= {cache_folder() / "features"}  # nothing is read again
    assert "16 samples of run against 32 of the data (32 of them trained on)" in out
    for score in scores_of(Space((3, 8, 8))).values():
        assert score.title in out
    assert json.loads((here / "run/run.json").read_text())["data"]["prepared"] == {
        "size": [8, 8], "classes": "folders", "skip_bad": True, "holdout": 0.3
    }  # fmt: skip
    card = json.loads((here / "card.json").read_text())
    assert (
        card["data"]["fingerprint"]
        == json.loads((here / "run/run.json").read_text())["identity"]["data"]["fingerprint"]
    )
    assert set(card["scores"]) == set(scores_of(Space((3, 8, 8))))
    assert card["drawn"]["evaluations"] == 20
    shutil.copy("run/model.safetensors", "alone.safetensors")
    known = said("info", "alone.safetensors")[1]
    assert "pets --size 8 --classes folders --skip-bad --holdout 0.3\n" in known
    code, out, _ = said("eval", "alone.safetensors", *QUICK)
    assert code == 0
    assert "against 32 of the data (32 of them trained on)" in out


def test_other_data_are_prepared_as_the_models_samples_are(here, said):
    pictures(here / "others", 40, seed=5, side=30)
    code, out, err = said("eval", "run", "--data", "others", *QUICK)
    assert (code, err) == (0, "")
    assert "16 samples of run against 24 of the data\n" in out
    assert "note: the model was trained on other data: memorization, and the error on fresh" in out
    assert "no error by noise level, and no likelihood" in out


def test_samples_of_anybody(here, said):
    pictures(here / "theirs", 20, 10, seed=7)
    np.save("theirs.npy", np.random.default_rng(0).integers(0, 256, (20, 10, 10), np.uint8))
    assert call("sample", "run", "-n", "14", "--steps", "2", "--out", "ours") == 0
    for name, data, n in (("theirs", "pets/cats", 12), ("theirs.npy", "pets/cats", 12)):
        code, out, err = said("eval", name, "--data", data, *QUICK)
        assert (code, err) == (0, "")
        assert f"{n} samples of {name} against 12 of the data\n" in out
        assert f"note: {n} of the 16 samples are used" in out
        assert "bound" not in out
    Path("pets/dogs/bad.png").unlink()
    assert call("data", "pets", "--size", "8") == 0
    pictures(here / "small", 30, side=8)
    code, out, _ = said("eval", "ours", "--data", "small", *QUICK)
    assert code == 0
    assert "14 samples of ours against 16 of the data\n" in out


def test_ways_to_draw_and_other_runs_stand_side_by_side(here, said):
    shutil.copytree("run", "other")
    ways = ["--compare", "steps=2", "--compare", "other sampler=ddim steps=3"]
    code, out, err = said("eval", "run", *QUICK, *ways, "--out", "card.json")
    assert (code, err) == (0, "")
    for word in ("as given", "steps=2", "sampler=ddim", "steps=3", "real samples"):
        assert word in out
    (evaluations,) = [line.split() for line in out.splitlines() if line.split()[:1] == ["evaluations"]]
    assert evaluations[1:] == ["20", "2", "3"]
    (kid,) = [line for line in out.splitlines() if line.split()[:1] == ["KID"] and line.count("±") == 4]
    compared = json.loads(Path("card.json").read_text())["compared"]
    assert [card["variant"] for card in compared] == ["steps=2", "other sampler=ddim steps=3"]
    for card in compared:
        score = card["scores"]["kid"]
        assert with_error(score["value"], score["error"]) in kid
        assert "bound" not in card


def test_a_variant_names_conditions_and_keeps_those_that_it_does_not_name(here):
    first, flags = (
        Variant("run", {"class_name": "cats", "cond": ["style=1"], "evaluations": 3}),
        sample_flags(),
    )
    for text, told in (
        ("cond=style=2", ["class=cats", "style=2"]),
        ("cond=class=dogs cond=style=2", ["class=dogs", "style=2"]),
        ("class=dogs", ["style=1", "class=dogs"]),
    ):
        how = variant_of(text, first, flags).how
        assert sorted(how["cond"]) == sorted(told)
        assert (how["evaluations"], "class_name" in how) == (3, False)
    assert variant_of("steps=5", Variant("run", {}), flags).how == {"evaluations": 5}


def test_a_condition_can_be_compared(here, said):
    code, out, err = said("eval", "run", *QUICK, "--steps", "2", "--compare", "cond=class=dogs", "--json")
    assert (code, err) == (0, "")
    (card,) = json.loads(out)["compared"]
    assert card["drawn"]["evaluations"] == 2
    assert "all samples have class dogs, and are compared with data of every class" in card["notes"]


def test_a_model_is_loaded_once_for_all_its_variants(here, said, monkeypatch):
    shutil.copytree("run", "other")
    loaded, load = [], subject_module.load
    monkeypatch.setattr(
        subject_module, "load", lambda path, device: loaded.append(path) or load(path, device)
    )
    variants = ["steps=2", "sampler=ddim steps=3", "other steps=2", "other steps=3"]
    words = [word for text in variants for word in ("--compare", text)]
    code, out, err = said("eval", "run", *QUICK, *words, "--json")
    assert (code, err) == (0, "")
    assert loaded == ["run", "other"]
    cards = json.loads(out)["compared"]
    assert [card["drawn"]["evaluations"] for card in cards] == [2, 3, 2, 3]
    assert [card["of"] for card in cards] == ["run", "run", "other", "other"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --compare steps=2 --compare steps=0", "--compare steps=0: --steps must be a whole number of"),
        (
            "run --compare steps=2 --compare class=cat",
            "--compare class=cat: unknown class 'cat'; known:",
        ),
        ("run --compare steps=2 --compare order=9", "--compare order=9: "),
        ("run --compare steps=2 --compare cond=style=3", "--compare cond=style=3: unknown condition 'style'"),
        ("run --compare steps=2 --compare array.npy", "--compare array.npy: samples have the shape"),
        ("run --compare steps=2 --features vgg", "features must be learned, inception, untrained, pixels"),
        ("run --data few", "24 pictures or more in the data, got 1000 and 20"),
        ("array.npy --data array.npy --exact", "--exact is a likelihood under a model, and array.npy holds"),
    ],
)
def test_nothing_takes_long_before_all_that_is_wrong_is_refused(here, said, monkeypatch, arguments, message):
    np.save("array.npy", np.zeros((40, 5, 5), np.uint8))
    pictures(here / "few", 20)

    def long(*_, **__):
        raise AssertionError("this takes long")

    monkeypatch.setattr(results_module, "sample", long)
    monkeypatch.setattr(Results, "features", property(long))
    code, out, err = said("eval", *shlex.split(arguments))
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("eval pets", "pets is neither a run nor a model file: say what to compare it with, --data DATA"),
        ("eval nowhere --data pets", "no such file or folder: nowhere"),
        ("eval run -n 5", "-n must be at least 12, got 5"),
        ("eval run --features vgg", "features must be learned, inception, untrained, pixels, a TorchScript"),
        ("eval run --compare stepz=3", "unknown option of sampling 'stepz'; known: "),
        ("eval run --compare nowhere", "no such file or folder: nowhere"),
        ("eval run --compare ''", "--compare has an empty value; give one, or leave it out"),
        (
            "eval run --compare run",
            "--compare takes a run, or options of sampling such as steps=10, got 'run'",
        ),
        ("eval run --compare clip=maybe", "--compare: clip takes true or false, got 'maybe'"),
        (
            "eval run --compare guidance=abc",
            "guidance must be a number, or NAME=NUMBER with commas between them, got 'abc'",
        ),
        ("eval run --compare guidance-interval=5", "guidance_interval takes LOW,HIGH, got '5'"),
        (
            "eval run --compare 'array.npy steps=3'",
            "array.npy holds samples, and --steps would be for a model",
        ),
        ("eval array.npy --data pets --steps 3", "array.npy holds samples, and --steps would be for a model"),
        ("eval run --out card.txt", "--out must end in .json, got card.txt"),
        ("eval run --out old.json", "old.json"),
        ("eval run --data array.npy", "the model's samples have the shape (1, 8, 8) and"),
        ("eval array.npy --data unit.npy -n 16", "samples have the shape (1, 5, 5) and the data (1, 10, 10)"),
        (
            "eval unit.npy --data pets/cats -n 16",
            "samples reach from 0 to 1 and the data from 0 to 255:",
        ),
        (
            "eval run --compare array.npy -n 16 --features pixels",
            "array.npy: samples have the shape (1, 5, 5)",
        ),
        ("diagnose run --check tnit", "unknown check 'tnit'; known: finite-weights, data"),
        ("diagnose pets", "diagnose reads a run's folder, with its metrics and checkpoints; pets is none"),
        ("diagnose run/model.safetensors", "diagnose reads a run's folder"),
        ("diagnose run -n 1", "-n must be at least 12, got 1"),
    ],
)
def test_what_is_refused_with_one_message_and_nothing_written(here, said, arguments, message):
    Path("old.json").write_text("mine")
    np.save("array.npy", np.zeros((40, 5, 5), np.uint8))
    np.save("unit.npy", np.random.default_rng(0).integers(0, 2, (40, 10, 10), np.uint8))
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    code, out, err = said(*shlex.split(arguments))
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert message in err
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_diagnose_says_what_it_found_by_its_exit_code(here, said):
    code, out, err = said("diagnose", "run", "-n", "16")
    assert (code, err) == (1, "")
    assert out.startswith("most likely: ")
    assert "  evidence: " in out
    assert "  remedy:   " in out


def test_some_checks_alone(here, said):
    code, out, err = said(
        "diagnose", "run", "-n", "16", "--check", "finite-weights", "--check", "data", "--json"
    )
    assert (code, err) == (0, "")
    assert json.loads(out)["looked_at"] == ["finite weights", "data"]
    code, out, _ = said("diagnose", "run", "-n", "16", "--check", "conditioning")
    assert code == 1
    assert "told a wrong class, its error is " in out
    assert "it is hardly used, or not at all" in out


def test_the_report_tells_how_the_data_were_prepared(here, said):
    assert said("report", "run", *QUICK)[0] == 0
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert (
        "alphabar train pets --out run --images 64 --size 8 --classes folders --skip-bad --holdout 0.3 "
        in page
    )


def test_data_that_have_changed_are_not_taken_for_those_trained_on(here, said):
    pictures(here / "pets" / "cats", 30, 10, seed=9)
    for command in ("eval", "diagnose", "report"):
        code, out, err = said(command, "run")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "pets has changed since the model was trained on it (fingerprint " in err
        assert "or take it as other data, --data pets" in err
    code, out, err = said("eval", "run", "--data", "pets", *QUICK)
    assert (code, err) == (0, "")
    assert "memorization, and the error on fresh samples, are left out" in out
    assert "\nmemorization" not in out
    assert "by noise level" not in out
    assert said("report", "run", "--data", "pets", *QUICK)[0] == 0
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert 'id="memorization"' not in page


def test_given_samples_are_drawn_from_all_of_them(here, said):
    """Not from the first class alone, where they lie by class."""
    images = np.zeros((300, 10, 10), np.uint8)
    images += np.random.default_rng(0).integers(0, 20, images.shape, np.uint8)
    images[150:] += 200
    np.save("sorted.npy", images)
    code, out, _ = said("eval", "sorted.npy", "--data", "sorted.npy", "-n", "60", "--features", "untrained")
    assert code == 0
    assert "note: 60 of the 300 samples of sorted.npy, chosen at random (-n)" in out
    (recall,) = [line.split() for line in out.splitlines() if line.startswith("recall")]
    assert float(recall[1]) > 0.8


def test_pictures_to_compare_with_get_the_samples_size(here, said):
    pictures(here / "wide", 20, seed=3, side=100)
    code, out, err = said("eval", "wide", "--data", "pets", "-n", "16", "--features", "pixels")
    assert code == 2  # the damaged picture, named
    assert "bad.png" in err
    Path("pets/dogs/bad.png").unlink()
    code, out, err = said("eval", "wide", "--data", "pets", "-n", "16", "--features", "pixels")
    assert (code, err) == (0, "")
    assert re.search("note: the data: .*resized and cut to 100 × 100", out)
    assert "1089 numbers" in out  # 33 x 33 means of 3 x 3


def test_weights_that_are_not_finite_are_named_and_the_report_is_still_written(here, said):
    tensors, facts, _ = load_tensors(Path("run/model.safetensors"))
    next(iter(tensors.values())).fill_(float("nan"))
    save_tensors(Path("run/model.safetensors"), tensors, facts)
    code, out, err = said("eval", "run", *QUICK)
    assert (code, out) == (2, "")
    assert err == "alphabar: the weights of run hold NaN or infinity: alphabar diagnose tells more\n"
    code, _, err = said("report", "run", *QUICK)
    assert code == 0
    assert "the page has no scores" in err
    assert "the weights are not finite" in Path("run/report.html").read_text(encoding="utf-8")


def test_a_line_of_the_metrics_that_was_cut_is_left_out(here, said):
    path = Path("run/metrics.jsonl")
    path.write_text(path.read_text()[:-40])
    code, _, err = said("diagnose", "run", "-n", "16")
    assert (code, err) == (1, "")


def test_one_class_beside_all_is_said(here, said):
    code, out, _ = said("eval", "run", *QUICK, "--class", "cats", "--compare", "class=dogs")
    assert code == 0
    for variant, name in (("", "cats"), (" (class=dogs)", "dogs")):
        assert (
            f"note{variant}: all samples have class {name}, and are compared with data of every class" in out
        )
