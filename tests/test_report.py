"""The report of a run: one page that is whole, safe and loads nothing, whatever the run is."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import math
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from alphabar import Dataset, DataSpec, Run, sample
from alphabar.cli.report import training_options
from alphabar.denoiser import load
from alphabar.evaluation import card, diagnose, open_features
from alphabar.evaluation.diagnose import Diagnosis, Finding
from alphabar.evaluation.report import MARK, report
from alphabar.evaluation.report.charts import Axis, Line, histogram, intervals, line_chart, short
from alphabar.evaluation.report.counted import flat
from alphabar.evaluation.report.facts import Facts
from alphabar.evaluation.report.markup import Html, duration, tag, text
from alphabar.evaluation.report.page import SECTIONS
from alphabar.evaluation.report.seen import tiles
from alphabar.evaluation.table import measured
from alphabar.images import displayable, save_picture
from alphabar.sampling.output import grid
from alphabar.training import resolve
from test_bad_input import TINY, call
from tiny import NETWORK, tiny_config, tiny_data

HOSTILE = '<script>alert("1")</script>'
VOID = {"meta", "img", "input"}
HEALTHY = Diagnosis([], ["everything"], [])


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
    assert "url(" not in page
    assert "@import" not in page
    assert len(found.all("script")) == 1
    assert not found.all("link") + found.all("iframe") + found.all("base")
    for name, attributes in found.elements:
        assert not any(key.startswith("on") for key in attributes), name
        for key in ("src", "href", "action", "data", "srcset", "poster"):
            assert attributes.get(key, "#").startswith(("data:image/", "#")), (name, attributes)
    assert all(image["alt"] for image in found.all("img"))
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"] for link in found.all("a")} == {f"#{name}" for name in ids}
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    policy = next(m["content"] for m in found.all("meta") if "http-equiv" in m)
    assert script
    assert base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode() in policy
    assert "default-src 'none'" in policy
    assert "nan" not in re.sub(r"base64,[^\"]*|<style>.*?</style>", "", page, flags=re.DOTALL).lower()
    return found


def trained(folder, data, more=None, **settings):
    """A run of ten steps, and samples as `alphabar train` leaves them."""
    network = {**NETWORK, "in_channels": data.spec.shape[0], "num_classes": len(data.spec.classes)}
    network |= more or {}
    run = Run(folder, data, tiny_config(network=network, **settings), source="my data")
    for row in run.train():
        if row["step"] in (2, 10):
            drawn = displayable(np.asarray(data.images[:16]), data.spec.low, data.spec.high)
            save_picture(folder / "samples" / f"{row['images']:09d}.png", grid(drawn, 256))
    return folder


def page_of(folder, data, n=12, found=None, diagnosis=HEALTHY, commands=()):
    denoiser = load(folder)
    return report(folder, data, denoiser, sample(denoiser, n), found or {}, diagnosis, commands)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with classes, two of them hostile, and its page with all sections."""
    data = tiny_data(60)
    data.spec = replace(data.spec, classes=(HOSTILE, 'b & "c"'))
    data.notes = [HOSTILE]
    folder = trained(tmp_path_factory.mktemp("report") / "<i>run", data)
    denoiser = load(folder)
    samples = sample(denoiser, 16)
    found = card(samples.images, data, open_features("pixels", data), denoiser)
    found["likelihood"] = found["bound"] | {"what": "an exact density"}
    diagnosis = diagnose(folder, data, 16)
    page = report(folder, data, denoiser, samples, found, diagnosis, [("Train <again>.", "alphabar '<b>'")])
    return SimpleNamespace(folder=folder, data=data, page=page, found=found, diagnosis=diagnosis)


def test_the_page_has_every_section_and_loads_nothing(whole):
    found = check(whole.page)
    assert found.titles == list(SECTIONS)
    assert MARK in whole.page[:1000]
    assert len(whole.page) < 400_000
    assert len(found.all("svg")) >= 6
    assert found.text.count("± ") > 10
    for words in (
        "images trained on",
        "an exact density",
        "80",
        "most likely",
        "held out",
        "bits",
        "Gaussian fit",
        "by heart",
    ):
        assert words.lower() in found.text.lower(), words
    for finding in whole.diagnosis.findings:
        assert finding.remedy in found.text
    assert json.loads(json.dumps(whole.found))  # a card is JSON


def test_hostile_words_stay_words(whole):
    assert HOSTILE not in whole.page
    found = Page(whole.page)
    assert HOSTILE in found.text
    assert "<i>run" in found.text
    assert "alphabar '<b>'" in found.text
    assert not found.all("i")[0].get("onload")
    assert not found.all("b")


def frames_of(page):
    """The frames under the slider, by their labels, and whether each is hidden."""
    return {a["data-at"]: "hidden" in a for _, a in page.elements if "data-at" in a}


def test_frames_of_training_from_first_to_last(whole):
    found = Page(whole.page)
    assert frames_of(found) == {"16 images": True, "80 images": False}
    slider = found.all("input")[0]
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "1", "1")
    assert [image["alt"] for image in found.all("img")].count("80 images") == 16


def test_at_most_24_frames_spread_evenly(whole, tmp_path):
    """And a sheet that no preview is is shown whole."""
    for i in range(60):
        save_picture(tmp_path / "samples" / f"{i:09d}.png", np.zeros((1, 70, 50), np.uint8))
    facts = Facts(tmp_path, whole.data, load(whole.folder), None, {}, HEALTHY, ())
    found = Page(text(SECTIONS["Training"](facts)))
    at = [int(label.split()[0]) for label in frames_of(found)]
    assert len(at) == 24
    assert (at[0], at[-1]) == (0, 59)
    assert set(np.diff(at)) <= {2, 3}
    assert {(image["width"], image["height"]) for image in found.all("img")} == {("50", "70")}


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 12), (3, 64, 64)])
def test_previews_are_taken_apart_exactly(shape):
    images = np.random.default_rng(0).integers(0, 256, (16, *shape), np.uint8)
    assert np.array_equal(np.stack(tiles(grid(images, 256), *shape[1:])), images)


KINDS = {
    "plain": DataSpec((1, 8, 8)),
    "colour": DataSpec((3, 8, 8)),
    "wide, see-through": DataSpec((4, 8, 16)),
    "two channels of floats without bounds": DataSpec((2, 8, 8), "float32", None, None, 0.0, 50.0),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("holdout", [0.0, 0.1])
def test_any_data(tmp_path, kind, holdout):
    spec = KINDS[kind]
    rng = np.random.default_rng(0)
    images = spec.to_data(rng.uniform(-1, 1, (30, *spec.shape)))
    data = Dataset(images, None, spec, holdout=holdout)
    folder = trained(tmp_path / "run", data, images=16)
    found = check(page_of(folder, data))
    missing = set(SECTIONS) - set(found.titles)
    assert missing == {"Error by noise level", "Scores", "Bits per dimension", "Commands"} | (
        set() if holdout else {"Memorising"}
    )
    assert ("(no bounds)" in found.text) == (spec.low is None)


def test_what_is_not_there_is_left_out(whole, tmp_path):
    """A folder with a model and nothing else, and one of an unfinished run."""
    (tmp_path / "model.safetensors").write_bytes((whole.folder / "model.safetensors").read_bytes())
    found = check(page_of(tmp_path, whole.data))
    assert "Training" not in found.titles
    assert "Nothing wrong was found" in found.text
    rows = [{"step": k, "images": 8 * k, "loss": 1 / k} for k in range(1, 400)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(lines + '{"step": 4')  # cut short
    seconds = (3.0, 8.0, 1.0, 4.0)
    times = [{"step": 1, "images": 8, "time": 0.0, "elapsed_s": s, "images_per_s": 1.0} for s in seconds]
    (tmp_path / "times.jsonl").write_text("".join(json.dumps(row) + "\n" for row in times))
    worse = Diagnosis([Finding("a <cause>", "an & evidence", "a remedy")], ["x"], ["y"])
    found = check(page_of(tmp_path, whole.data, diagnosis=worse))
    assert "Training" in found.titles
    assert "12 s" in found.text
    assert "Most likely wrong: a <cause>" in found.text


def test_size_of_a_page_of_larger_pictures(tmp_path):
    """Of noise in colour, 64 × 64: as large as pictures get, but for photographs shrunk to 128."""
    rng, spec = np.random.default_rng(0), DataSpec((3, 64, 64))
    data = Dataset(rng.integers(0, 256, (60, 3, 64, 64), np.uint8), None, spec)
    folder = trained(tmp_path / "run", data, {"channels": 4, "attention_levels": []}, images=8)
    for i in range(24):
        save_picture(folder / "samples" / f"{i:09d}.png", grid(data.images[i : i + 16], 256))
    page = page_of(folder, data, 12)
    assert len(frames_of(check(page))) == 12
    assert 1_000_000 < len(page) < 6_000_000


# --- pieces --------------------------------------------------------------------------------------


def test_what_is_not_markup_is_escaped():
    assert tag("p", "a < b", Html("<b>"), None, ["&", 1]) == "<p>a &lt; b<b>&amp;1</p>"
    assert tag("img", src='"', stroke_width=2, hidden=True, alt=None, class_="x") == (
        '<img src="&quot;" stroke-width="2" hidden class="x">'
    )


def test_numbers_for_people():
    assert [short(v) for v in (0, 0.5, 999, 20_000, 1.5e6, 1e-5)] == [
        "0",
        "0.5",
        "999",
        "20k",
        "1.5M",
        "10⁻⁵",
    ]
    assert measured(0.55123, 0.0341) == "0.551 ± 0.034"
    assert measured(-0.00012, 0.00041) == "−0.0001 ± 0.0004"
    assert measured(0.45, 0.15) == "0.45 ± 0.15"
    assert measured(0.5, math.nan) == "0.500"
    assert measured(-0.0004, 0.004) == "0.000 ± 0.004"
    assert [duration(s) for s in (0, 59, 294, 3600, 93_784)] == [
        "0 s",
        "59 s",
        "4 min 54 s",
        "1 h",
        "26 h 3 min",
    ]
    assert flat({"a": {"b": 1, "c": {"d": 2}}, "e": [3]}) == [("a.b", 1), ("a.c.d", 2), ("e", [3])]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3e-9, 7e-9), (80, 79_872), (0.1, 0.13), (5, 5)])
def test_even_ticks(low, high):
    ticks = Axis(np.array([low, high], float), 0, 100, False).ticks
    assert 2 <= len(ticks) <= 7 or low == high
    assert all(low - 0.5 * (low == high) <= tick * (1 + 1e-9) for tick in ticks)
    assert ticks == sorted(set(ticks))


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.1, 1), (0.3, 0.4), (0.56, 0.61), (0.9, 1.1), (1e-5, 1), (0.0, 2.0), (1e-30, 1), (7, 7)],
)
def test_logarithmic_ticks(low, high):
    axis = Axis(np.array([low, high], float), 0, 100, True)
    assert 2 <= len(axis.ticks) <= 7 or low == high
    assert 0 <= axis(0.0) <= axis(low) <= axis(high) <= 100
    assert axis.high - axis.low <= 5.2


def test_names_of_lines_stay_apart_and_inside():
    lines = [Line(f"line {i}", [0, 1], [1, 1e-9 * i], i + 1) for i in range(4)]
    chart = line_chart("four that end together", lines, "x", "y")
    heights = sorted(float(y) for y in re.findall(r'y="([\d.]+)" class="name"', chart))
    assert len(heights) == 4
    assert min(np.diff(heights)) >= 14.9
    assert heights[-1] <= 245


def test_charts_of_nothing():
    assert line_chart("none", [Line("none", [], [])], "x", "y") == ""
    assert line_chart("none", [Line("none", [1.0], [math.nan])], "x", "y") == ""
    assert intervals([(math.nan, math.nan)]) == ""
    Page(line_chart("a point", [Line("a", [1], [2], dots=True)], "x", "y", log=True))
    below = [Line("below", [0, 1], [1e-12, 1e-30]), Line("above", [0, 1], [1, 2])]
    chart = line_chart("two", below, "x", "y", log=True)
    assert "above" in chart
    assert "below" not in chart
    assert 'd="M"' not in chart
    Page(histogram("equal", {"a": np.ones(3), "b": np.ones(2)}, "x"))


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
    assert found.titles == list(SECTIONS)
    command = next(words for words in found.words if words.startswith("alphabar train"))
    assert len(command) < 400
    code, out, err = said(*shlex.split(command)[1:])  # the same run
    assert (code, out, err) == (0, "run is finished: 64 images\n", "")
    for name, before in (("mine.html", "mine"), ("x.txt", "")):
        (tmp_path / name).write_text(before)
        code, out, err = said(*asked, "--out", name)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert (tmp_path / name).read_text() == before
    assert said("report", "data.npy")[0] == 2


def test_a_page_without_scores_where_pictures_are_few(tmp_path, monkeypatch, said):
    np.save(tmp_path / "data.npy", np.random.default_rng(0).random((16, 8, 8), np.float32))
    monkeypatch.chdir(tmp_path)
    assert said("train", "data.npy", "--images", "16", "--range", "0", "1", *TINY, "--out", "run")[0] == 0
    code, _, err = said("report", "run", "-n", "3", "--out", "there/page.html")
    assert (code, err.count("\n")) == (0, 1)
    found = check((tmp_path / "there" / "page.html").read_text(encoding="utf-8"))
    assert "Scores" not in found.titles
    assert "--range 0.0 1.0" in found.text


SETTINGS = [
    {},
    {"images": 5000, "lr": 0.01},
    {"network": {"channels": 32}, "schedule": {"name": "cosine", "T": 300, "s": 0.01}},
    {"preset": "ddpm"},
    {"preset": "digits", "minutes": 2.0, "flip": True, "betas": (0.8, 0.9)},
    {"preset": "cifar10", "epochs": 1.5, "network": {"dropout": 0.0}, "micro_batch": 64},
    {"network": {"name": "unet", "channels": 24, "channel_mult": [1, 3], "groups": 8}, "seed": 3},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_options_of_a_run_are_its_settings_again(settings):
    data, settings = tiny_data(), dict(settings)
    asked = resolve(data.spec, len(data), settings.pop("preset", None), settings)
    words = training_options({"config": asked.model_dump(mode="json")}, data)
    assert len(words) <= 2 + 2 * sum(len(v) if isinstance(v, dict) else 1 for v in settings.values())
    seen = {}

    def train(run):
        seen["config"] = run.asked

    with pytest.MonkeyPatch.context() as patch:
        program = importlib.import_module("alphabar.cli.train")
        patch.setattr(program.options, "read_data", lambda *_: data)
        patch.setattr(program, "_train", train)
        assert (
            call("train", "data", *words, "--set", "precision=float32", "--set", "channels_last=false") == 0
        )
    assert seen["config"] == asked.model_copy(update={"precision": "float32", "channels_last": False})
