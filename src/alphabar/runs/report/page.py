"""What the page's template shows: numbers, small pictures and curves, each made from a run's results."""

from __future__ import annotations

import json
import math
import textwrap
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from markupsafe import Markup

from ...data.dataset import spread
from ...data.kinds import KINDS
from ...evaluation.memorization import Memorization
from ...evaluation.table import SCORES, with_error
from ...sampling.sheets import with_told
from ..curves import svg
from ..plots import closeness_chart, levels_chart, log_snr_chart, signal_chart, training_charts
from ..results import Results
from . import pictures
from .columns import ScoreRow, duration, flat, intervals
from .pictures import Picture, shown, shown_whole

PAIRS = 12
MOST = 20_000  # training samples that are shown together
PARTS = {
    "decoder": "L₀: the last step",
    "between": "L₁ to the last but one: all other steps",
    "prior": "L_T: the prior",
}

Entry = tuple[str, object]
"""(name, value), of which one without a value is not shown."""


class Page:
    """A run's results as the template needs them; what a run doesn't have is empty."""

    def __init__(self, results: Results, commands: Sequence[tuple[str, str]]) -> None:
        self.results, self.commands = results, commands
        self.name, self.noun = results.name, results.noun
        self.model, self.dataset = results.denoiser, results.data
        self.scorecard = results.scorecard if not results.no_scores else {}

    # --- the head -------------------------------------------------------------------------------

    @property
    def head(self) -> list[Entry]:
        """What was trained, on how much, and for how long."""
        about, times = self.model.about, self.results.times
        images, total = about.get("images", 0), about.get("of_images") or 0
        conditions = ", ".join(self._condition(name) for name in self.model.conditions)
        formula = self.model.schedule.to_dict()
        return [
            ("parameters", f"{self.model.num_parameters:,}"),
            ("images trained on", f"{images:,}" + f" of {total:,}" * (images < total)),
            ("passes over the data", f"{images / len(self.dataset):,.1f}"),
            ("training time", duration(times[-1]["spent_s"]) if times else None),
            ("one sample", self.dataset.space.shown_shape()),
            ("conditions", conditions or "none"),
            ("prediction", self.model.prediction),
            ("schedule", f"{formula['name']}, T\u00a0=\u00a0{self.model.schedule.T:,}"),
            ("precision", self.results.settings.get("precision")),
            ("trained", time.strftime("%Y-%m-%d", time.gmtime(times[-1]["time"])) if times else None),
        ]

    def _condition(self, name: str) -> str:
        names = getattr(self.model.conditions[name], "names", ())
        return f"{name} ({len(names):,})" if names else name

    @property
    def sentence(self) -> str:
        """The verdict, and how well a classifier tells samples from real ones."""
        findings = self.results.diagnosis.findings
        verdict = f"Most likely wrong: {findings[0].cause}." if findings else "Nothing wrong was found."
        if "classifier" not in self.scorecard.get("scores", {}):
            return verdict
        score = self.scorecard["scores"]["classifier"]
        return (
            f"{verdict} A simple classifier tells its samples from real {self.noun} in "
            f"{score['value']:.0%} of cases, and real {self.noun} from one another in {score['floor']:.0%}."
        )

    # --- pictures -------------------------------------------------------------------------------

    @cached_property
    def columns(self) -> int:
        """The number of pictures in a row of a sheet."""
        if self.together:
            return 1
        side = max(self.dataset.space.shown(self.dataset.images[:1]).shape[2:])
        return 16 if side <= 40 else 12 if side <= 80 else 8

    @property
    def together(self) -> bool:
        """Whether one picture shows all samples, as of a table's rows."""
        return KINDS[self.dataset.space.kind].together

    def shown(self, images: np.ndarray, names: Sequence[str], told: Any = None) -> list[Picture]:
        """Samples in data space as small pictures, beside grids that they were told; or together as one."""
        small = with_told(self.results.space.shown(images), told or {}, self.model.conditions)
        if self.together:
            return [shown_whole(small[0], f"{len(images):,} {self.noun}")]
        return [shown(image, name) for image, name in zip(small, names, strict=True)]

    def _number(self, rows: int, most: int) -> int:
        """How many of at most `most` samples are shown in this many rows of pictures."""
        return most if self.together else min(most, rows * self.columns)

    @cached_property
    def samples(self) -> list[tuple[Picture, str]]:
        """The first samples, with the values of their conditions."""
        if self.results.fault:
            return []
        made = self.results.samples
        n = self._number(4, len(made.images))
        names = [f"sample {i}" for i in made.indices[:n]]
        captions = self._captions(made.told, range(n))
        return list(zip(self.shown(made.images[:n], names, made.told), captions, strict=not self.together))

    def _captions(self, told: dict[str, Any], places: Sequence[int] | np.ndarray) -> list[str]:
        """The values of samples' conditions, in words."""
        titles = []
        if self.together:
            return [""] * len(places)
        for name, values in told.items():
            condition = self.model.conditions.get(name) or self.dataset.conditions.get(name)
            if condition is not None and values is not None and condition.kind != "picture":
                which = f"{name} " if len(told) > 1 else ""
                titles.append([which + condition.title(values[i]) for i in places])
        return [", ".join(words) for words in zip(*titles, strict=True)] if titles else [""] * len(places)

    @property
    def samples_are(self) -> str:
        """How these samples were made."""
        made = self.results.samples
        n = self._number(4, len(made.images))
        return (
            f"Samples {made.indices[0]} to {made.indices[n - 1]} of seed {made.facts['seed']}, not selected; "
            f"{made.facts['evaluations']} evaluations of the network each."
        )

    @property
    def walks(self) -> list[Picture]:
        """States of a few samples on their way from noise, sample by sample."""
        if self.results.fault or self.together:
            return []
        states = self.results.walks.frames
        assert states is not None
        return [shown for way in np.moveaxis(states, 1, 0) for shown in self.shown(way, self.walk_times)]

    @property
    def walk_times(self) -> list[str]:
        """The time t of each of those states."""
        return [f"{t:.0f}" for t in self.results.walks.frame_times]

    @cached_property
    def frames(self) -> list[pictures.Frame]:
        """The previews of training."""
        folder = self.results.folder
        if folder is None:
            return []
        shape = self.dataset.space.shown(self.dataset.images[:1]).shape[1:]
        return pictures.frames(folder.preview_files(), shape)

    @property
    def originals(self) -> list[tuple[Picture, str]]:
        """Some training samples, with the values of their conditions."""
        chosen = spread(self.dataset.training, self._number(2, min(len(self.dataset.training), MOST)))
        small = self.shown(self.dataset.images[chosen], [f"{self.results.one} {i}" for i in chosen])
        return list(zip(small, self._captions(self.dataset.values, chosen), strict=not self.together))

    # --- the data -------------------------------------------------------------------------------

    @property
    def about_data(self) -> list[Entry]:
        """Where the data come from, how many there are, and of what kind."""
        data, space = self.dataset, self.dataset.space
        source = self.results.entry.get("data", {}).get("source") or self.model.about.get("source")
        return [
            ("source", source),
            (self.noun, f"{data.num_samples:,}"),
            ("trained on", f"{len(data):,}"),
            ("held out", f"{data.num_samples - len(data):,}"),
            ("values", f"{space.dtype}, {space.shown_range()}"),
            ("conditions", ", ".join(data.conditions) or "none"),
            ("fingerprint", data.fingerprint[:16]),
        ]

    @property
    def class_bars(self) -> dict[str, list[tuple[str, int]]]:
        """(name, number of training samples) for each value of each condition whose values have names."""
        bars = {}
        for name, condition in self.dataset.conditions.items():
            if names := getattr(condition, "names", ()):
                values = np.asarray(self.dataset.values[name])[self.dataset.training]
                bars[name] = list(zip(names, getattr(condition.fitted(values), "counts", ()), strict=True))
        return bars

    # --- curves ---------------------------------------------------------------------------------

    @property
    def training_curves(self) -> list[Markup]:
        """How training went."""
        return [curve for chart in training_charts(self.results.metrics) if (curve := Markup(svg(chart)))]

    @property
    def schedule_curves(self) -> list[Markup]:
        """Signal and noise over t, and where sampling evaluates the network."""
        schedule = self.model.schedule
        used = () if self.results.fault else self.results.samples.facts["times"]
        return [Markup(svg(signal_chart(schedule))), Markup(svg(log_snr_chart(schedule, used)))]

    @property
    def levels_curve(self) -> Markup:
        """The error by noise level, beside that of trivial denoisers."""
        results = self.results
        if not results.own or results.other_conditions or results.fault:
            return Markup()
        return Markup(svg(levels_chart(results.noise_levels, self.model.schedule)))

    @property
    def closeness_curve(self) -> Markup:
        """The distribution of the closeness of samples, and of held-out ones."""
        return Markup(svg(closeness_chart(self.memorization[0])))

    # --- numbers --------------------------------------------------------------------------------

    @property
    def scores(self) -> list[ScoreRow]:
        """Every score of the samples, beside that of real ones."""
        rows = []
        for name, s in self.scorecard.get("scores", {}).items():
            pairs = [(s["value"], s["error"]), (s["floor"], s["floor_error"])]
            about, (value, floor) = SCORES[name], (with_error(*pair) for pair in pairs)
            rows.append(ScoreRow(about.title, about.says, value, floor, about.better, intervals(pairs)))
        return rows

    @property
    def bits(self) -> list[Entry]:
        """The variational bound, and the exact likelihood if it was computed."""
        rows: list[Entry] = []
        for key, what in (
            ("bound", "variational bound"),
            ("likelihood", "exact, by the probability flow ODE"),
        ):
            if b := self.scorecard.get(key):
                rows += [(what, with_error(b["bits_per_dim"], b["error"])), ("bits of the", b["what"])]
                rows += [(name, f"{b[part]:.3f}") for part, name in PARTS.items() if part in b]
                rows += [(self.noun, f"{b['n']:,}")]
        return rows

    @property
    def least_noise(self) -> str:
        """The standard deviation of the noise in x_1."""
        return f"{math.sqrt(1 - self.model.schedule.alpha_bar[1]):.3g}"

    @cached_property
    def memorization(self) -> list[Memorization]:
        """Memorization in pixels, and in features if there are scores."""
        if self.results.fault:
            return []
        in_features = self.results.memorization_in_features if self.scorecard else None
        return [one for one in (self.results.memorization_in_pixels, in_features) if one is not None]

    @property
    def pairs(self) -> list[tuple[Picture, Picture, str]]:
        """(sample, its nearest training sample, closeness) of the pairs that stand out most."""
        if self.together:
            return []
        closest = self.memorization[0]
        chosen = closest.pairs(PAIRS)
        ours = self.shown(
            self.results.samples.images[[i for i, _ in chosen]], [f"sample {i}" for i, _ in chosen]
        )
        numbers = self.dataset.training[[j for _, j in chosen]]
        theirs = self.shown(self.dataset.images[numbers], [f"{self.results.one} {i}" for i in numbers])
        return [
            (a, b, f"{closest.closeness[i]:.2f}") for a, b, (i, _) in zip(ours, theirs, chosen, strict=True)
        ]

    @property
    def history(self) -> list[str]:
        """What was decided or changed in the course of the run."""
        return [
            f"after {row['images']:,} images: {row['what']} "
            + " → ".join(textwrap.shorten(json.dumps(row[which]), 60) for which in ("before", "after"))
            for row in self.results.entry.get("history", [])
        ]

    @property
    def settings(self) -> list[tuple[str, str]]:
        """Everything in run.json that is not shown elsewhere on the page."""
        entry = {k: v for k, v in self.results.entry.items() if k not in ("data", "command", "history")}
        values = flat(entry or self.results.settings)
        return [(name, textwrap.shorten(json.dumps(value), 200)) for name, value in values]
