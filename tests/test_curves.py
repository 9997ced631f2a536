"""Curves: SVG that a page can hold, PNG files, and axes and labels that can be read."""

from __future__ import annotations

import json
import math
import os
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from alphabar.runs.curves import COLORS, CSS, Chart, Line, apart, save_png, short, svg
from alphabar.runs.folder import RunFolder
from alphabar.runs.plots import (
    draw_curves,
    forward_strip,
    loss_chart,
    plot_losses,
    plot_schedule,
    training_charts,
)
from alphabar.theory.schedule import Schedule

X = [0.0, 1.0, 2.0]


def parsed(text):
    return ElementTree.fromstring(text.replace("xlink:href", "href"))


def texts(text):
    return [element.text for element in parsed(text).iter("text")]


def test_an_svg_is_small_and_takes_its_colors_and_font_from_the_page():
    line = Line(
        "a < b", np.arange(1000), np.exp(-np.arange(1000) / 300), band=(np.zeros(1000), np.ones(1000))
    )
    chart = svg(Chart("t & u", [line, Line("two", X, X, 2, dots=True)], "x <", "y"))
    assert len(chart) < 15_000
    root = parsed(chart)
    assert root.find("title").text == "t & u"
    assert {"a < b", "two", "x <", "y"} <= set(texts(chart))
    assert "var(--c1)" in chart
    for absent in ("font-family", "http", "<style", "<!--", "<?xml", "metadata", 'id="axes', *CSS):
        assert absent not in chart, absent
    references = set(re.findall(r"#([\w-]+)", chart))
    assert references == {element.get("id") for element in root.iter() if element.get("id")}


def test_equal_charts_are_equal_bytes_and_different_ones_share_no_ids():
    def chart(title):
        return svg(Chart(title, [Line("a", X, X, dots=True)], "x", "y"))

    assert chart("one") == chart("one")
    ids = [set(re.findall(r' id="([^"]*)"', chart(title))) for title in ("one", "two")]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_charts_of_nothing():
    assert svg(Chart("none", [Line("none", [], [])], "x", "y")) == ""
    assert svg(Chart("none", [Line("none", [1.0], [math.nan])], "x", "y")) == ""
    assert "a" in texts(svg(Chart("a point", [Line("a", [1], [2], dots=True)], "x", "y", log=True)))
    assert "level" in texts(svg(Chart("a level", [Line("level", X, [3.0] * 3)], "x", "y")))


def test_four_decades_at_most_and_no_line_below_them():
    below = [Line("below", X, [1e-12, 1e-30, 1e-31]), Line("above", X, [1, 2, 3])]
    found = Chart("two", below, "x", "y", log=True)
    assert [line.name for line in found.lines] == ["above"]
    long = Chart("one", [Line("a", X, [1.0, 1e-3, 1e-9])], "x", "y", log=True)
    assert 3.9 < math.log10(long.limits[1] / long.limits[0]) < 4.2


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.1, 1), (0.3, 0.4), (0.56, 0.61), (0.9, 1.1), (1e-5, 1), (0.0, 2.0), (1e-30, 1), (7, 7)],
)
@pytest.mark.parametrize("log", [True, False])
def test_two_to_eight_ticks_on_any_axis(low, high, log):
    chart = svg(Chart("t", [Line("name", [0, 1], [low, high])], "", "", log=log, ticks=[]))
    ticks = [text for text in texts(chart) if text and text != "name"]
    assert 2 <= len(ticks) <= 8, ticks
    assert len(set(ticks)) == len(ticks)


@pytest.mark.parametrize(
    "heights",
    [[0, 0, 0, 0], [1, 1, 1], [0.5], [], [0.2, 0.21, 0.9], [1.0, 0.99, 0.0, 0.98], [0.9, 0.95, 1.0]],
)
def test_names_of_lines_stay_apart_in_order_and_inside(heights):
    found = apart(heights, 0.1)
    assert len(found) == len(heights)
    assert all(-1e-9 <= height <= 1 + 1e-9 for height in found)
    assert np.all(np.diff(sorted(found)) >= 0.1 - 1e-9)
    assert np.argsort(found, kind="stable").tolist() == np.argsort(heights, kind="stable").tolist()


def test_numbers_for_people():
    shown = [short(v) for v in (0, 0.5, 999, 20_000, 1.5e6, 1e-5, -2)]
    assert shown == ["0", "0.5", "999", "20k", "1.5M", "10⁻⁵", "−2"]


def rows(n):
    held_out = {
        "held_out_loss": 0.5,
        "held_out_t": [1, 50],
        "held_out_loss_by_t": [0.4, 0.6],
        "training_loss": 0.3,
    }
    found = [{"images": 8 * k, "loss": 1 / k} for k in range(1, n + 1)]
    for row in found[::10]:
        row |= held_out | {"sample_distance": None if row["images"] == 8 else 2.0, "sample_floor": 1.0}
    return found


def test_how_training_went_as_far_as_it_was_measured():
    assert not any(training_charts([]))
    assert not training_charts(rows(5))[1]
    loss, distance, held_out = training_charts(rows(400))
    assert [line.name for line in loss.lines] == ["training", "held out, EMA", "training, EMA"]
    assert len(loss.lines[0].rows) == 120
    assert [line.name for line in distance.lines] == ["samples", "held out"]
    assert len(held_out.lines) == 5
    assert loss_chart(rows(400)).lines[0].rows[-1, 1] == pytest.approx(1 / 398.5, rel=0.01)


def test_files_are_pictures(tmp_path):
    plot_losses(tmp_path / "loss.png", rows(40))
    plot_losses(tmp_path / "none.png", [])
    schedule = Schedule.linear(100)
    plot_schedule(tmp_path / "schedule.png", schedule)
    strip = forward_strip(schedule, tmp_path / "loss.png", 16, seed=0)
    assert [t for t, _ in strip] == [0, 12, 25, 38, 50, 62, 75, 88, 100]
    assert {image.shape for _, image in strip} == {(3, 16, 16)}
    plot_schedule(tmp_path / "with.png", schedule, strip)
    save_png(tmp_path / "chart.png", [Chart("t", [Line("a", X, X)], "x", "y")])
    assert not (tmp_path / "none.png").exists()
    heads = {path.read_bytes()[:8] for path in tmp_path.iterdir()}
    assert heads == {b"\x89PNG\r\n\x1a\n"}
    assert len(list(tmp_path.iterdir())) == 4


def test_curves_of_a_run_are_drawn_once(tmp_path):
    folder = RunFolder(tmp_path)
    draw_curves(folder)
    assert not folder.curves.exists()
    folder.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows(40)))
    draw_curves(folder)
    drawn = folder.curves.stat()
    draw_curves(folder)
    assert folder.curves.stat().st_ino == drawn.st_ino
    os.utime(folder.metrics_file, (drawn.st_mtime + 1, drawn.st_mtime + 1))
    draw_curves(folder)
    assert folder.curves.stat().st_ino != drawn.st_ino


def test_every_color_of_a_chart_has_a_name_on_the_page():
    assert len(set(COLORS)) == 5
    assert set(CSS.values()) == {"var(--soft)", "var(--rule)", *(f"var(--c{i})" for i in range(1, 6))}


def test_no_two_ticks_of_a_narrow_range_have_one_label():
    chart = Chart("t", [Line("loss", np.arange(9.0), 0.75 + 1e-5 * np.arange(9))], "x", "y")
    labels = re.findall(r">(0\.75\d*)<", svg(chart))
    assert len(set(labels)) == len(labels) > 3, labels
