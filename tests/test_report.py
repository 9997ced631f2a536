"""The report of a run: one page that is whole, safe and loads nothing, whatever the run is."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import shlex
from dataclasses import asdict, replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from alphabar.data import ClassCondition, Dataset, Space
from alphabar.evaluation.table import with_error
from alphabar.evaluation.within import Within
from alphabar.images import enlarged, save_picture, tiled, untiled
from alphabar.model import fit_codec
from alphabar.nn import suited
from alphabar.runs.findings import Diagnosis, Finding
from alphabar.runs.folder import RunFolder
from alphabar.runs.report import MARK, render, write_report
from alphabar.runs.report.call import short_settings
from alphabar.runs.report.columns import duration, flat, intervals
from alphabar.runs.report.pictures import frames, shown
from alphabar.runs.results import Results
from alphabar.runs.run import Run
from alphabar.training import resolve
from program import TINY
from tiny import NETWORK, tiny_config, tiny_data

HOSTILE = '<script>alert("1")</script>'
VOID = {"meta", "img", "input"}
HEALTHY = Diagnosis([], ["everything"], [])
TITLES = [
    "Verdict", "Samples", "From noise to sample", "Training", "Data", "Error by noise level", "Conditioning",
    "Schedule", "Scores", "Bits per dimension", "Memorization", "Settings", "Commands",
]  # fmt: skip


class Page(HTMLParser):
    """Its elements, text and sections; fails where elements don't nest."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.words, self.titles = [], [], [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, words):
        if self.open and self.open[-1] == "h2":
            self.titles.append(words)
        if "script" not in self.open and "style" not in self.open:
            self.words.append(words)

    def all(self, name):
        return [attributes for element, attributes in self.elements if element == name]

    @property
    def text(self):
        return " ".join(self.words)


def check(page):
    """Parse a page and assert that it is whole and loads nothing."""
    found = Page(page)
    assert "http://" not in page
    assert "https://" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "@import" not in page
    assert len(found.all("script")) == 1
    assert not found.all("link") + found.all("iframe") + found.all("base")
    for name, attributes in found.elements:
        assert not any(key.startswith("on") for key in attributes), name
        for key in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
            assert attributes.get(key, "#").startswith(("data:image/", "#")), (name, attributes)
    assert all(image["alt"] for image in found.all("img"))
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert [link["href"] for link in found.all("a")] == [f"#{one['id']}" for one in found.all("section")]
    assert len(found.all("section")) == len(found.titles)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    policy = next(m["content"] for m in found.all("meta") if "http-equiv" in m)
    assert script
    assert base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode() in policy
    assert "default-src 'none'" in policy
    assert "nan" not in re.sub(r"base64,[^\"]*|<style>.*?</style>", "", page, flags=re.DOTALL).lower()
    return found


def trained(folder, data, more=None, **settings):
    """A run of ten updates, with sheets of samples as training leaves them."""
    network = suited(NETWORK | (more or {}), data.space.shape)
    run = Run(folder, data, tiny_config(network=network, **settings), source="my data")
    for row in run.train():
        if row["step"] in (2, 10):
            sheet = enlarged(tiled(data.space.shown(np.asarray(data.images[:16]))), 256)
            save_picture(RunFolder(folder).preview(row["images"]), sheet)
    return folder


def page_of(folder, data, n=12, diagnosis=HEALTHY, commands=(), scores=False):
    results = Results(folder, data, n=n, features="pixels")
    results.__dict__["diagnosis"] = diagnosis
    if not scores:
        results.__dict__["no_scores"] = "not asked for"
    return render(results, commands)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with classes, two of them hostile, and its page with all sections."""
    data = tiny_data(60)
    data.conditions = {"class": ClassCondition(names=(HOSTILE, 'b & "c"'))}
    data.notes = [HOSTILE]
    folder = trained(tmp_path_factory.mktemp("report") / "<i>run", data)
    results = Results(folder, data, n=16, features="pixels", exact=True)
    page = render(results, [("Train <again>.", "alphabar '<b>'")])
    return SimpleNamespace(folder=folder, data=data, page=page, results=results)


def test_the_page_has_every_section_and_loads_nothing(whole):
    found = check(whole.page)
    assert found.titles == TITLES
    assert MARK in whole.page[:1000]
    assert len(whole.page) < 400_000
    assert len(found.all("svg")) >= 6
    assert found.text.count("± ") > 10
    for words in (
        "images trained on",
        "variational bound",
        "exact, by the probability flow ODE",
        "80",
        "most likely",
        "held out",
        "bits",
        "Gaussian fit",
        "memorized",
        "Train, from Python.",
    ):
        assert words.lower() in found.text.lower(), words
    (asked,) = whole.results.scorecard["asked"]
    text = " ".join(found.text.split())
    shown = f"{asked['samples']:.3f} {asked['real']:.3f}"
    assert "What was asked What samples were told, predicted back" in text
    assert f"class share of the same class; 16 samples were told it {shown}" in text
    assert whole.results.diagnosis.findings
    for finding in whole.results.diagnosis.findings:
        assert finding.remedy in found.text
    assert json.loads(json.dumps(whole.results.scorecard))  # it is JSON


def test_the_worst_classes_are_shown(whole, monkeypatch):
    within = [
        asdict(Within("class", f"{HOSTILE}{i}", 25.0 - i, 0.1, 0.01, 0.02, 60, 70, 80)) for i in range(25)
    ]
    card = whole.results.scorecard
    assert card["within"] == []
    assert any("no score within these values of class" in note for note in card["notes"])
    monkeypatch.setitem(card, "within", within)
    found = check(render(whole.results, []))
    text = " ".join(found.text.split())
    assert "the worst first: 20 of 25" in text
    assert f"{HOSTILE}0 60 samples, 70 real ones, compared with 80 others 25.00 ± 0.10 0.010 ± 0.020" in text
    assert f"{HOSTILE}19 60" in text
    assert f"{HOSTILE}20 60" not in text


def test_the_same_results_are_the_same_bytes(whole):
    assert render(whole.results, [("Train <again>.", "alphabar '<b>'")]) == whole.page


def test_hostile_words_stay_words(whole):
    assert HOSTILE not in whole.page
    found = Page(whole.page)
    assert HOSTILE in found.text
    assert "<i>run" in found.text
    assert "alphabar '<b>'" in found.text
    assert not found.all("i")[0].get("onload")
    assert not [b for b in found.all("b") if "style" not in b]


def frames_of(page):
    """The frames under the slider, by their labels, and whether each is hidden."""
    return {a["data-at"]: "hidden" in a for _, a in page.elements if "data-at" in a}


def test_frames_of_training_from_first_to_last(whole):
    found = Page(whole.page)
    assert frames_of(found) == {"16 images": True, "80 images": False}
    slider = found.all("input")[0]
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "1", "1")
    assert [image["alt"] for image in found.all("img")].count("80 images") == 16


def test_at_most_24_frames_spread_evenly(tmp_path):
    """And a sheet that no preview is is shown whole."""
    for i in range(60):
        save_picture(tmp_path / f"{i:09d}.png", np.zeros((1, 70, 50), np.uint8))
    found = frames(sorted(tmp_path.glob("*.png")), (1, 8, 8))
    at = [int(frame.at.split()[0]) for frame in found]
    assert len(at) == 24
    assert (at[0], at[-1]) == (0, 59)
    assert set(np.diff(at)) <= {2, 3}
    assert {(p.width, p.height) for frame in found for p in frame.pictures} == {(50, 70)}
    assert frames([], (1, 8, 8)) == []


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 12), (3, 64, 64)])
@pytest.mark.parametrize("n", [1, 7, 16])
def test_sheets_are_taken_apart_exactly(shape, n):
    images = np.random.default_rng(0).integers(0, 256, (n, *shape), np.uint8)
    sheet = enlarged(tiled(images), 256)
    assert np.array_equal(untiled(sheet, n, *shape[1:]), images)
    assert untiled(sheet[:, 1:], n, *shape[1:]) is None


def test_small_pictures_keep_their_shape_and_rows_of_numbers_can_be_seen():
    sizes = [
        shown(np.zeros(shape, np.uint8), "x")[2:]
        for shape in ((3, 8, 12), (1, 2, 64), (1, 300, 200), (1, 1, 5))
    ]
    assert sizes == [(96, 64), (64, 16), (85, 128), (95, 19)]


SPACES = {
    "plain": Space((1, 8, 8)),
    "color": Space((3, 8, 8)),
    "wide, see-through": Space((4, 8, 16)),
    "two channels of floats without bounds": Space((2, 8, 8), "float32", None, None),
    "a series of three channels": Space((3, 16), "float32", (-1, 0, 5), (1, 2, 6), names=("u", "v", "w")),
    "a volume": Space((1, 4, 8, 8)),
}


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("holdout", [0.0, 0.1])
def test_any_data(tmp_path, kind, holdout):
    space, rng = SPACES[kind], np.random.default_rng(0)
    bounded = space if space.low else replace(space, low=0, high=50)
    images = fit_codec(bounded).decode(rng.uniform(-1, 1, (30, *space.shape)))
    data = Dataset(images, space, holdout=holdout)
    folder = trained(tmp_path / "run", data, images=16)
    found = check(page_of(folder, data))
    missing = set(TITLES) - set(found.titles)
    assert missing == {"Scores", "Bits per dimension", "Conditioning"} | (
        {"Memorization"} - {"Memorization" if len(data.held_out) > 1 else ""}
    )
    assert ("no bounds" in found.text) == (space.low is None)


def test_what_is_not_there_is_left_out(whole, tmp_path):
    """A folder with a model and nothing else, and one of an unfinished run."""
    folder = RunFolder(tmp_path)
    folder.model.write_bytes(RunFolder(whole.folder).model.read_bytes())
    found = check(page_of(tmp_path, whole.data))
    assert "Training" not in found.titles
    assert "Nothing wrong was found" in found.text
    rows = [{"step": k, "images": 8 * k, "loss": 1 / k} for k in range(1, 400)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    folder.metrics_file.write_text(lines + '{"step": 4')  # cut short
    seconds = [(10.0, 10.0), (120.0, 130.0), (240.0, 250.0)]  # of this process, and of the run
    times = [
        {"step": k, "images": 8 * k, "time": 0.0, "elapsed_s": own, "spent_s": spent, "images_per_s": 80.0}
        for k, (own, spent) in enumerate(seconds, 1)
    ]
    folder.times_file.write_text("".join(json.dumps(row) + "\n" for row in times))
    worse = Diagnosis([Finding("a <cause>", "an & evidence", "a remedy")], ["x"], ["y"])
    found = check(page_of(tmp_path, whole.data, diagnosis=worse))
    assert "Training" in found.titles
    assert "4 min 10 s" in found.text
    assert "Most likely wrong: a <cause>" in found.text


def test_weights_that_are_not_finite_have_a_page(whole, tmp_path):
    results = Results(whole.folder, whole.data, n=16)
    next(results.denoiser.net.parameters()).data[:] = math.nan
    found = Page(render(results))
    assert "Most likely wrong: the weights are not finite." in found.text
    assert not {"Samples", "Scores", "Memorization", "Error by noise level"} & set(found.titles)


def test_size_of_a_page_of_larger_pictures(tmp_path):
    """Of noise in color, 64 × 64: as large as pictures get, but for photographs shrunk to 128."""
    rng = np.random.default_rng(0)
    data = Dataset(rng.integers(0, 256, (60, 3, 64, 64), np.uint8), Space((3, 64, 64)))
    folder = trained(tmp_path / "run", data, {"channels": 4, "attention_levels": []}, images=8)
    for i in range(24):
        save_picture(RunFolder(folder).preview(i), enlarged(tiled(data.images[i : i + 16]), 256))
    page = page_of(folder, data, 12)
    assert len(frames_of(check(page))) == 12
    assert 1_000_000 < len(page) < 6_000_000


# --- pieces --------------------------------------------------------------------------------------


def test_numbers_for_people():
    assert with_error(0.55123, 0.0341) == "0.551 ± 0.034"
    assert with_error(0.45, 0.15) == "0.45 ± 0.15"
    assert with_error(0.5, math.nan) == "0.500"
    assert with_error(-0.0004, 0.004) == "0.000 ± 0.004"
    spans = [duration(s) for s in (0, 59, 294, 3600, 93_784)]
    assert spans == ["0 s", "59 s", "4 min 54 s", "1 h", "26 h 3 min"]
    assert flat({"a": {"b": 1, "c": {"d": 2}}, "e": [3]}) == [("a.b", 1), ("a.c.d", 2), ("e", [3])]


def test_intervals_share_a_scale():
    (a, b, c), (d, e, f) = intervals([(1.0, 0.1), (2.0, math.nan)])
    assert (a, f) == (5, 95)
    assert a < b < c < d == e == f
    assert intervals([(math.nan, math.nan)]) == []
    assert all(0 <= v <= 100 for row in intervals([(3.0, 0.0), (3.0, 0.0)]) for v in row)


# --- the command ---------------------------------------------------------------------------------


def test_the_command_writes_renews_and_spares(tmp_path, monkeypatch, said):
    np.save(tmp_path / "data.npy", np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8))
    monkeypatch.chdir(tmp_path)
    given = ["--images", "64", "--flip", "--preset", "ddpm", "--lr", "0.003", *TINY, "--out", "run"]
    assert said("train", "data.npy", *given)[0] == 0
    asked = ["report", "run", "-n", "12", "--features", "pixels"]
    target = tmp_path / "run" / "report.html"
    target.write_text(f"an earlier {MARK}")
    code, out, err = said(*asked)
    assert (code, err) == (0, "")
    assert out.startswith("wrote run/report.html (")
    found = check(target.read_text(encoding="utf-8"))
    assert set(TITLES) - set(found.titles) <= {"Conditioning"}
    command = next(words for words in found.words if words.startswith("alphabar train"))
    assert shlex.split(command) == ["alphabar", "train", "data.npy", *given]  # as it was typed
    code, out, _ = said(*shlex.split(command)[1:])  # the same run
    assert code == 0
    assert out.startswith("run is finished: 64 images")
    for name, before in (("mine.html", "mine"), ("x.txt", "")):
        (tmp_path / name).write_text(before)
        code, out, err = said(*asked, "--out", name)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert (tmp_path / name).read_text() == before
    assert said("report", "data.npy")[0] == 2


def test_a_page_without_scores_where_samples_are_few(tmp_path, monkeypatch, said):
    np.save(tmp_path / "data.npy", np.random.default_rng(0).random((16, 8, 8), np.float32))
    monkeypatch.chdir(tmp_path)
    assert said("train", "data.npy", "--images", "16", "--range", "0", "1", *TINY, "--out", "run")[0] == 0
    code, _, err = said("report", "run", "-n", "3", "--out", "there/page.html")
    assert (code, err.count("\n")) == (0, 1)
    found = check((tmp_path / "there" / "page.html").read_text(encoding="utf-8"))
    assert "Scores" not in found.titles
    assert "--range 0 1" in found.text


def the_call(page):
    """The call on a page, as (data, out, settings) of a function `train` that takes it down."""
    taken = []
    words = next(words for words in Page(page).words if words.startswith("for row in alphabar.train("))
    alphabar = SimpleNamespace(
        train=lambda data, out, **settings: taken.append((data, out, settings)) or [],
        prepare=lambda source, **how: (source, how),
    )
    exec(words, {"alphabar": alphabar})
    return taken[0]


def test_a_run_from_python_shows_a_call_that_makes_the_same_run(whole, tmp_path):
    path = write_report(Results(whole.folder, whole.data, n=3), tmp_path / "page.html")
    data, out, settings = the_call(path.read_text(encoding="utf-8"))
    assert (data, out) == ("my data", str(whole.folder))
    assert "lr" not in settings  # it is the default
    list(Run(whole.folder, whole.data, config_of(whole.data, settings), source=data).train())  # the same
    assert RunFolder(whole.folder).entry()["history"][1:] == []


def config_of(data, settings):
    return resolve(data.space, data.conditions, len(data), None, settings)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, set()),
        ({"images": 300}, {"images"}),
        ({"epochs": 2}, {"epochs"}),
        ({"minutes": 5, "lr": 1e-4, "best": "sample_distance"}, {"minutes", "lr", "best"}),
        ({"network": {"channels": 96}}, {"network"}),
        ({"schedule": {"T": 100}}, {"schedule"}),
        ({"schedule": {"name": "linear", "T": 100}, "prediction": "eps"}, {"schedule", "prediction"}),
        ({"network": NETWORK, "betas": (0.9, 0.999)}, {"network", "betas"}),
        ({"batch_size": 16, "images": 300}, {"images"}),  # which that budget comes to
        ({"conditional": False, "compile": "default"}, {"conditional", "compile"}),
    ],
)
def test_no_setting_more_than_it_takes(given, expected):
    data = tiny_data()
    config = config_of(data, given)
    settings = short_settings(config.model_dump(mode="json", exclude={"init_from"}), data)
    assert set(settings) == expected
    assert config_of(data, settings) == config
    assert settings.get("network", {}).get("channels", 96) in (96, 8)
    if given.get("network") == {"channels": 96}:
        assert settings["network"] == {"channels": 96}


def test_presets_and_data_without_a_default_network_come_back_too():
    data = tiny_data()
    for preset in ("ddpm", "cifar10"):
        config = resolve(data.space, data.conditions, len(data), preset)
        assert config_of(data, short_settings(config.model_dump(mode="json"), data)) == config
    vectors = Dataset(np.zeros((40, 5), np.float32), Space((5,), "float32"))
    config = config_of(vectors, {"network": {"name": "package.module:Class"}, "images": 80})
    assert config_of(vectors, short_settings(config.model_dump(mode="json"), vectors)) == config


def test_a_call_says_how_the_data_were_prepared_and_none_is_shown_for_arrays(whole, tmp_path):
    folder = RunFolder(tmp_path)
    folder.model.write_bytes(RunFolder(whole.folder).model.read_bytes())
    entry = RunFolder(whole.folder).entry()
    for source, prepared in (("pics", {"size": [8, 8], "holdout": 0.3}), ("", {})):
        folder.write_entry(entry | {"data": entry["data"] | {"source": source, "prepared": prepared}})
        page = page_of(tmp_path, whole.data)
        assert ("from Python" in page) == bool(source)
        if source:
            assert the_call(page)[0] == (source, prepared)
    other = tiny_data(50, seed=3)  # of which it can't be told what could be left out
    other.fingerprint = "another"
    folder.write_entry(entry)
    assert the_call(page_of(tmp_path, other))[2]["lr"] == 2e-3
