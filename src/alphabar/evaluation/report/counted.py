"""The sections to read: curves, scores and settings."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import numpy as np

from ..table import SCORES, measured
from .charts import Line, intervals, line_chart, short
from .facts import Facts
from .markup import Html, facts_list, pair, plain, soft, tag

CURVES = 5  # of held-out loss
PARTS = {
    "decoder": "of it L₀, the last step",
    "between": "L₁ to the last but one",
    "prior": "L_T, from the prior",
}
PLACES = 120  # of training loss


def verdict(f: Facts) -> list[Html]:
    """What `diagnose` found."""
    found = f.diagnosis
    if found.healthy:
        good = tag("strong", "Nothing wrong was found.", class_="good")
        return [plain(good), soft("Looked at: ", ", ".join(found.looked_at), ".")]
    return [
        tag("div",
            tag("h3", "Also: " if place else "Most likely: ", finding.cause, class_="bad"),
            plain(tag("strong", "Evidence: "), finding.evidence),
            plain(tag("strong", "Remedy: "), finding.remedy), class_="finding")
        for place, finding in enumerate(found.findings)
    ]  # fmt: skip


def loss_chart(f: Facts) -> list[Html]:
    """Training loss, as the median and 80 % of the steps about each place; the average's on some."""
    if not f.metrics:
        return []
    images, loss = (np.array([row[key] for row in f.metrics]) for key in ("images", "loss"))
    parts = np.array_split(np.arange(len(loss)), min(len(loss), PLACES))
    low, middle, high = np.array([np.quantile(loss[part], (0.1, 0.5, 0.9)) for part in parts]).T
    lines = [Line("training", [images[part].mean() for part in parts], middle, band=(low, high))]
    if f.held_out:
        x, y = ([row[key] for row in f.held_out] for key in ("images", "held_out_loss"))
        lines.append(Line("held out", x, y, 2, "5 3", dots=True))
        lines.append(Line("seen", *f.measured("training_loss"), 3, "2 3", dots=True))
    return [
        line_chart(
            "Loss over images trained on",
            lines,
            "images",
            "loss; dots: the average's, on 64 pictures",
            log=True,
        )
    ]


def distance_chart(f: Facts) -> list[Html]:
    """How far 64 samples were from training pictures, as training went, and what held-out ones get."""
    images, distance = f.measured("sample_distance")
    if len(images) < 2:
        return []
    lines = [Line("samples", images, distance, dots=True)]
    lines.append(Line("held-out pictures", *f.measured("sample_floor"), 2, "5 3"))
    title = "64 samples of 6 evaluations, by an untrained network"
    return [line_chart(title, lines, "images", "Fréchet distance of 64 samples", log=True)]


def held_out_chart(f: Facts) -> list[Html]:
    """Held-out loss by t, from early to late."""
    if not f.held_out:
        return []
    chosen = np.unique(np.linspace(0, len(f.held_out) - 1, CURVES).round().astype(int)).tolist()
    lines = []
    for i, row in enumerate(f.held_out[k] for k in chosen):
        strength = 0.3 + 0.7 * (i + 1) / len(chosen)
        x, y = row["held_out_t"], row["held_out_loss_by_t"]
        lines.append(Line(short(float(f"{row['images']:.2g}")), x, y, 2, dots=True, strength=strength))
    title = "Held-out loss by time, from early to late"
    return [line_chart(title, lines, "t", "held-out loss, after so many images", log=True)]


def by_level(f: Facts) -> list[Html]:
    """The error by noise level, beside what trivial denoisers make."""
    found = f.card.get("levels")
    if not found:
        return []
    place = (-f.denoiser.schedule.lam_at(found["times"])).tolist()
    fresh, error = np.array(found["held_out"] or found["training"]), np.array(found["error"], np.float64)
    band = (np.maximum(fresh - 1.96 * error, 0), fresh + 1.96 * error)
    lines = [Line("held out" if found["held_out"] else "model", place, fresh, band=band, dots=True)]
    if found["held_out"]:
        lines.append(Line("training", place, found["training"], 3, "6 3"))
    lines.append(Line("Gaussian fit", place, found["gaussian"], 2, "2 4"))
    lines.append(Line("by heart", place, found["memorising"], 4, "8 3 2 3"))
    ticks = [(x, f"{t:g}") for x, t in zip(place, found["times"], strict=True)]
    return [pair(
        line_chart("Error of the denoised picture by noise level", lines, "t, from little noise to much",
                   "mean squared error of x̂₀, model space", log=True, ticks=ticks),
        [
            plain("How far the model is from the clean picture when it is given a noisy one, on "
                  f"{found['n']:,} pictures at each level; the band is 95 %."),
            plain(tag("strong", "Gaussian fit: "), "the best that can be done knowing only the data's mean "
                  "and covariance. A model that has learnt anything is below it."),
            plain(tag("strong", "By heart: "), "the best that can be done on training pictures by knowing "
                  "each of them; it soon falls below the chart. A training curve near it, and far below the "
                  "held-out one, is memorising."),
        ],
    )]  # fmt: skip


def schedule(f: Facts) -> list[Html]:
    """Signal and noise over t."""
    table = f.denoiser.schedule
    t, signal, used = np.arange(table.T + 1), table.alpha_bar, np.array(f.samples.facts["times"])
    used = np.sort(used[used >= 1])
    return [pair(
        line_chart("Signal and noise over time",
                   [Line("signal ᾱ", t, signal), Line("noise 1−ᾱ", t, 1 - signal, 2, "5 3")],
                   "t", "share of the variance"),
        line_chart("Log signal-to-noise ratio over time, and where sampling evaluates the network",
                   [Line("schedule", t[1:], 2 * table.lam[1:]),
                    Line("evaluated", used, 2 * table.lam_at(used), 2, "0 999", dots=True)],
                   "t", "log-SNR = log(ᾱ / (1 − ᾱ)), and where sampling evaluates the network"),
    )]  # fmt: skip


def scores(f: Facts) -> list[Html]:
    """The score card: samples beside real pictures."""
    if "scores" not in f.card:
        return []
    c, about = f.card, f.card["features"]
    rows = [
        tag("tr", tag("th", SCORES[name].title, tag("small", SCORES[name].says), scope="row"),
            tag("td", intervals([(s["value"], s["error"]), (s["floor"], s["floor_error"])]), class_="wide"),
            tag("td", measured(s["value"], s["error"]), class_="one"),
            tag("td", measured(s["floor"], s["floor_error"]), class_="two"),
            tag("td", SCORES[name].better, class_="wide"))
        for name, s in c["scores"].items()
    ]  # fmt: skip
    columns = {"score": None, "95 % intervals": "wide", "samples": "one", "real pictures": "two",
               "better": "wide"}  # fmt: skip
    heads = tag("tr", [tag("th", name, class_=kind, scope="col") for name, kind in columns.items()])
    known = "all" if c["trained_on"] == c["reference"] else f"{c['trained_on']:,}"
    return [
        plain(f"{c['n']:,} samples, and as many real pictures in their place, against {c['reference']:,} "
              f"other pictures, {known} of them trained on. What the real pictures get is the floor: "
              "perfect samples would get as much."),
        tag("table", tag("thead", heads), tag("tbody", rows), class_="scores"),
        tag("p", f"Features: {about['name']}; {about['number']:,} numbers, digest {about['digest'][:12]}; ",
            about["preprocessing"], ".", class_="soft below"),
        *[soft("Note: ", note) for note in c["notes"]],
    ]  # fmt: skip


def bits(f: Facts) -> list[Html]:
    """The variational bound, and the exact likelihood if it is there."""
    rows = []
    for key, what in (("bound", "variational bound"), ("likelihood", "exact, by the differential equation")):
        if b := f.card.get(key):
            rows += [(what, measured(b["bits_per_dim"], b["error"])), ("bits of the", b["what"])]
            rows += [(name, f"{b[part]:.3f}") for part, name in PARTS.items() if part in b]
            rows += [("pictures", f"{b['n']:,}")]
    if not rows:
        return []
    kind = "held-out" if len(f.data.held_out) > 1 else "training"
    words = f"How many bits the model needs for each number of a {kind} picture; fewer is better."
    return [soft(words), facts_list(rows)]


def configuration(f: Facts) -> list[Html]:
    """All settings."""
    config = f.entry.get("config") or f.denoiser.about.get("config", {})
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            tag("td", tag("code", textwrap.shorten(json.dumps(value), 200))),
        )
        for values in (config, {"measured": f.entry.get("measured", {})})
        for name, value in flat(values)
    ]
    return [tag("details", tag("summary", "All settings of the run"), tag("table", tag("tbody", rows)))]


def flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings by dotted names."""
    found = []
    for name, value in values.items():
        found += flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return found


def commands(f: Facts) -> list[Html]:
    """What to type to get the same."""
    return [part for what, command in f.commands for part in (soft(what), tag("pre", command))]
