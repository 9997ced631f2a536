"""What the page's template shows: numbers, small pictures and curves, each made of a run's results."""

from __future__ import annotations

import json
import math
import textwrap
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from ...data.dataset import spread
from ...evaluation.memorization import Memorization
from ...evaluation.table import SCORES, measured
from ..curves import svg
from ..plots import closeness_chart, levels_chart, log_snr_chart, signal_chart, training_charts
from ..results import Results
from . import pictures
from .columns import duration, elapsed_s, flat, intervals
from .pictures import Picture, shown

PAIRS = 12
PARTS = {
    "decoder": "of it L₀, the last step",
    "between": "L₁ to the last but one",
    "prior": "L_T, from the prior",
}

Fact = tuple[str, object]


class ScoreRow(NamedTuple):
    """A row of the table of scores; its intervals are (low, value, high) in percent of a common scale."""

    title: str
    says: str
    value: str
    floor: str
    better: str
    intervals: list[tuple[float, float, float]]


class Page:
    """A run's results as the template needs them; what there is nothing to say of is empty."""

    def __init__(self, results: Results, commands: Sequence[tuple[str, str]]) -> None:
        self.results, self.commands = results, commands
        self.name, self.noun = results.name, results.noun
        self.model, self.dataset = results.denoiser, results.data
        self.card = results.scorecard if not results.no_scores else {}

    # --- the head -------------------------------------------------------------------------------

    @property
    def head(self) -> list[Fact]:
        """What it is."""
        about, times = self.model.about, self.results.times
        images, total = about.get("images", 0), about.get("of_images") or 0
        told = ", ".join(self._told(name) for name in self.model.conditions)
        formula = self.model.schedule.to_dict()
        return [
            ("parameters", f"{sum(p.numel() for p in self.model.parameters()):,}"),
            ("images trained on", f"{images:,}" + f" of {total:,}" * (images < total)),
            ("passes over the data", f"{images / len(self.dataset):,.1f}"),
            ("time", duration(elapsed_s(times)) if times else None),
            ("a sample", self.dataset.space.shown_shape()),
            ("told", told or "nothing"),
            ("predicts", self.model.prediction),
            ("schedule", f"{formula['name']}, T\u00a0=\u00a0{self.model.schedule.T:,}"),
            ("computed in", self.results.settings.get("precision")),
            ("trained", time.strftime("%Y-%m-%d", time.gmtime(times[-1]["time"])) if times else None),
        ]

    def _told(self, name: str) -> str:
        names = getattr(self.model.conditions[name], "names", ())
        return f"{name} ({len(names):,})" if names else name

    @property
    def sentence(self) -> str:
        """How it is."""
        findings = self.results.diagnosis.findings
        found = f"Most likely wrong: {findings[0].cause}." if findings else "Nothing wrong was found."
        if "classifier" not in self.card.get("scores", {}):
            return found
        told = self.card["scores"]["classifier"]
        return (
            f"{found} A simple classifier tells its samples from real {self.noun} in {told['value']:.0%} of "
            f"cases, and real {self.noun} from one another in {told['floor']:.0%}."
        )

    # --- pictures -------------------------------------------------------------------------------

    @cached_property
    def columns(self) -> int:
        """Pictures in a row of a sheet."""
        side = max(self.dataset.space.shown(self.dataset.images[:1]).shape[2:])
        return 16 if side <= 40 else 12 if side <= 80 else 8

    def shown(self, images: np.ndarray, names: Sequence[str]) -> list[Picture]:
        """Samples in data space as small pictures."""
        drawn = self.results.space.shown(images)
        return [shown(image, name) for image, name in zip(drawn, names, strict=True)]

    @cached_property
    def samples(self) -> list[tuple[Picture, str]]:
        """Samples as they come, with what they were told."""
        if self.results.fault:
            return []
        found = self.results.samples
        n = min(len(found.images), 4 * self.columns)
        names = [f"sample {i}" for i in found.indices[:n]]
        captions = self._captions(found.told, range(n))
        return list(zip(self.shown(found.images[:n], names), captions, strict=True))

    def _captions(self, told: dict[str, Any], places: Sequence[int] | np.ndarray) -> list[str]:
        """What samples were told, in words."""
        titles = []
        for name, values in told.items():
            condition = self.model.conditions.get(name) or self.dataset.conditions.get(name)
            if condition is not None and values is not None:
                titles.append([condition.title(values[i]) for i in places])
        return [", ".join(words) for words in zip(*titles, strict=True)] if titles else [""] * len(places)

    @property
    def samples_are(self) -> str:
        """Where they come from."""
        found, n = self.results.samples, len(self.samples)
        return (
            f"Samples {found.indices[0]} to {found.indices[n - 1]} of seed {found.facts['seed']}, none "
            f"picked; {found.facts['evaluations']} evaluations of the network each."
        )

    @property
    def walks(self) -> list[Picture]:
        """States of a few samples along their way, sample by sample."""
        if self.results.fault:
            return []
        states = self.results.walks.frames
        assert states is not None
        return [shown for way in np.moveaxis(states, 1, 0) for shown in self.shown(way, self.walk_times)]

    @property
    def walk_times(self) -> list[str]:
        """Of those states."""
        return [f"{t:.0f}" for t in self.results.walks.frame_times]

    @cached_property
    def frames(self) -> list[pictures.Frame]:
        """Previews that training left."""
        folder = self.results.folder
        if folder is None:
            return []
        shape = self.dataset.space.shown(self.dataset.images[:1]).shape[1:]
        return pictures.frames(folder.preview_files(), shape)

    @property
    def originals(self) -> list[tuple[Picture, str]]:
        """What it was trained on, with what is told of it."""
        chosen = spread(self.dataset.training, 2 * self.columns)
        drawn = self.shown(self.dataset.images[chosen], [f"{self.noun[:-1]} {i}" for i in chosen])
        return list(zip(drawn, self._captions(self.dataset.values, chosen), strict=True))

    # --- the data -------------------------------------------------------------------------------

    @property
    def data_facts(self) -> list[Fact]:
        """What the data are."""
        data, space = self.dataset, self.dataset.space
        source = self.results.entry.get("data", {}).get("source") or self.model.about.get("source")
        return [
            ("source", source),
            (self.noun, f"{len(data.images):,}"),
            ("trained on", f"{len(data.training):,}"),
            ("held out", f"{len(data.held_out):,}"),
            ("values", f"{space.dtype}, {space.shown_range()}"),
            ("told", ", ".join(data.conditions) or "nothing"),
            ("fingerprint", data.fingerprint[:16]),
        ]

    @property
    def class_bars(self) -> dict[str, list[tuple[str, int]]]:
        """Of each condition whose values have names: (name, training samples that have it)."""
        found = {}
        for name, condition in self.dataset.conditions.items():
            if names := getattr(condition, "names", ()):
                values = np.asarray(self.dataset.values[name])[self.dataset.training]
                if values.ndim == 1:
                    counts = np.bincount(values.astype(np.int64), minlength=len(names)).tolist()
                    found[name] = list(zip(names, counts, strict=True))
        return found

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
        """The error by noise level, beside what trivial denoisers make."""
        results = self.results
        if not results.own or results.other_conditions or results.fault:
            return Markup()
        return Markup(svg(levels_chart(results.noise_levels, self.model.schedule)))

    @property
    def closeness_curve(self) -> Markup:
        """How the closeness of samples is distributed, and that of held-out ones."""
        return Markup(svg(closeness_chart(self.memorization[0])))

    # --- numbers --------------------------------------------------------------------------------

    @property
    def scores(self) -> list[ScoreRow]:
        """Samples beside real ones."""
        rows = []
        for name, s in self.card.get("scores", {}).items():
            pairs = [(s["value"], s["error"]), (s["floor"], s["floor_error"])]
            about, (value, floor) = SCORES[name], (measured(*pair) for pair in pairs)
            rows.append(ScoreRow(about.title, about.says, value, floor, about.better, intervals(pairs)))
        return rows

    @property
    def bits(self) -> list[Fact]:
        """The variational bound, and the exact likelihood if it is there."""
        rows: list[Fact] = []
        for key, what in (
            ("bound", "variational bound"),
            ("likelihood", "exact, by the differential equation"),
        ):
            if b := self.card.get(key):
                rows += [(what, measured(b["bits_per_dim"], b["error"])), ("bits of the", b["what"])]
                rows += [(name, f"{b[part]:.3f}") for part, name in PARTS.items() if part in b]
                rows += [(self.noun, f"{b['n']:,}")]
        return rows

    @property
    def least_noise(self) -> str:
        """The standard deviation of the noise in x_1."""
        return f"{math.sqrt(1 - self.model.schedule.alpha_bar[1]):.3g}"

    @cached_property
    def memorization(self) -> list[Memorization]:
        """In pixels, and in features if there are scores."""
        if self.results.fault:
            return []
        in_features = self.results.memorization_in_features if self.card else None
        return [found for found in (self.results.memorization_in_pixels, in_features) if found is not None]

    @property
    def pairs(self) -> list[tuple[Picture, Picture, str]]:
        """(sample, its nearest training sample, closeness) of those that stand out most."""
        found = self.memorization[0]
        chosen = found.pairs(PAIRS)
        ours = self.shown(
            self.results.samples.images[[i for i, _ in chosen]], [f"sample {i}" for i, _ in chosen]
        )
        numbers = self.dataset.training[[j for _, j in chosen]]
        theirs = self.shown(self.dataset.images[numbers], [f"{self.noun[:-1]} {i}" for i in numbers])
        return [
            (a, b, f"{found.closeness[i]:.2f}") for a, b, (i, _) in zip(ours, theirs, chosen, strict=True)
        ]

    @property
    def history(self) -> list[str]:
        """What was decided and changed as the run went."""
        return [
            f"after {row['images']:,} images: {row['what']} "
            + " → ".join(textwrap.shorten(json.dumps(row[which]), 60) for which in ("before", "after"))
            for row in self.results.entry.get("history", [])
        ]

    @property
    def settings(self) -> list[tuple[str, str]]:
        """All that the run's description says but what stands elsewhere on the page."""
        entry = {k: v for k, v in self.results.entry.items() if k not in ("data", "command", "history")}
        values = flat(entry or self.results.settings)
        return [(name, textwrap.shorten(json.dumps(value), 200)) for name, value in values]
