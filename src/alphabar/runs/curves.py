"""Charts, drawn alike for pages (inline SVG) and files (PNG). matplotlib is imported when needed."""

from __future__ import annotations

import html
import io
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..files import write_bytes
from ..images import MARK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#1f5fae", "#b4510f", "#1b7a48", "#71757c", "#7a3fa0")
SOFT, RULE = "#5c6168", "#dcdcd5"
CSS = {SOFT: "var(--soft)", RULE: "var(--rule)"} | {c: f"var(--c{i})" for i, c in enumerate(COLORS, 1)}
"""The names of the colors on a page, so that they follow its light or dark theme."""
WIDTH, HEIGHT, LETTERS = 4.7, 2.9, 8.5  # inches, and points
LEFT, TOP, BOTTOM, LETTER = 0.7, 0.28, 0.48, 0.08  # inches beside the axes, and of a letter of a line's name
DECADES = 4  # of a logarithmic axis, at most
POINTS = 240  # of a line, at most
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": LETTERS,
    "svg.fonttype": "none",
    "axes.edgecolor": RULE,
    "axes.labelcolor": SOFT,
    "text.color": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "grid.color": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}


@dataclass
class Line:
    """A line of a chart.

    Attributes:
        name: the label at its end.
        x, y: its points; those that are not finite are left out.
        color: which of `COLORS`, from 1.
        style: a line style of matplotlib, so that lines differ by more than color.
        band: (low, high) around the line.
        dots: whether to mark the points.
        area: whether to fill the area below the line.
        strength: the opacity.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    color: int = 1
    style: Any = "-"
    band: tuple[ArrayLike, ArrayLike] | None = None
    dots: bool = False
    area: bool = False
    strength: float = 1.0
    rows: np.ndarray = field(init=False)  # x, y, low, high of each point

    def __post_init__(self) -> None:
        low, high = self.band or (self.y, self.y)
        rows = np.stack([np.asarray(column, np.float64) for column in (self.x, self.y, low, high)], 1)
        rows = rows[np.isfinite(rows).all(1)]
        if len(rows) > POINTS and not self.area:
            rows = rows[np.linspace(0, len(rows) - 1, POINTS).round().astype(int)]
        self.rows = rows


@dataclass
class Chart:
    """Lines in one pair of axes, each labeled at its end.

    Attributes:
        title: for those who can't see the chart.
        lines: those that have points within the axes.
        x, y: the labels of the axes.
        log: whether y is logarithmic, over at most four decades.
        ticks: (place, label) on the x axis, instead of round numbers.
        zero: whether y begins at 0.
    """

    title: str
    lines: Sequence[Line]
    x: str
    y: str
    log: bool = False
    ticks: Sequence[tuple[float, str]] | None = None
    zero: bool = False

    def __post_init__(self) -> None:
        self.lines = [line for line in self.lines if len(line.rows)]
        if self.log:
            self.lines = [line for line in self.lines if line.rows[:, 1].max() >= self.limits[0]]

    def __bool__(self) -> bool:
        return bool(self.lines)

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest y that are shown."""
        values = np.concatenate([np.zeros(0), *(line.rows[:, 1:].ravel() for line in self.lines)])
        values = values if len(values) else np.ones(1)
        if not self.log:
            values = np.append(values, [0.0] * self.zero)
            low, high = float(values.min()), float(values.max())
            room = 0.03 * (high - low) or 0.5
            return low if self.zero else low - room, high + room
        values = values[values > 0] if (values > 0).any() else np.ones(1)
        high = float(values.max())
        return max(float(values.min()), high / 10**DECADES) / 1.1, high * 1.1


def short(value: float, digits: int = 4) -> str:
    """20000 → 20k, 1500000 → 1.5M, 0.00001 → 10⁻⁵.

    >>> short(20_000), short(1.5e6), short(1e-5), short(0.750125, 6)
    ('20k', '1.5M', '10⁻⁵', '0.750125')
    """
    for least, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / unit:.{digits}g}{letter}"
    number, _, power = f"{value:.{digits}g}".partition("e")
    if not power:
        return number.replace("-", "−")
    factor = "" if number == "1" else f"{number}·".replace("-", "−")
    return f"{factor}10{str(int(power)).translate(SUPERSCRIPT)}"


def draw(axes: Axes, chart: Chart) -> None:
    """Draw a chart onto matplotlib's axes."""
    for line in chart.lines:
        x, y, low, high = line.rows.T
        color = COLORS[line.color - 1]
        marker = "o" if line.dots else None
        axes.plot(x, y, ls=line.style, lw=1.6, marker=marker, ms=3, mew=0, color=color, alpha=line.strength)
        if line.area:
            low, high = np.zeros_like(y), y
        if line.band is not None or line.area:
            axes.fill_between(x, low, high, color=color, alpha=0.18, lw=0)
    if chart.log:
        axes.set_yscale("log")
    axes.set_ylim(*chart.limits)
    axes.set_xlabel(chart.x)
    axes.xaxis.set_label_coords(0.5, (0.22 - BOTTOM) / (HEIGHT - TOP - BOTTOM))
    axes.set_title(chart.y, loc="left", fontsize=LETTERS, y=1)
    axes.grid(axis="y", lw=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(left=False, length=3)
    _ticks(axes, chart)
    _names(axes, chart)


def _ticks(axes: Axes, chart: Chart) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    if chart.ticks is not None:
        axes.set_xticks([place for place, _ in chart.ticks], [label for _, label in chart.ticks])
    low, high = chart.limits
    decades = math.log10(high / low) if chart.log else 0.0
    if decades < 0.8:
        axes.yaxis.set_major_locator(MaxNLocator(6))
    else:
        steps = (1, 2, 5) if decades < 1.5 else (1, 3) if decades < 2.5 else (1,)
        axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.yaxis.set_minor_locator(NullLocator())
    digits = 4 if chart.log else max(4, 2 + math.ceil(math.log10(max(abs(low), abs(high)) / (high - low))))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value, digits)))


def _names(axes: Axes, chart: Chart) -> None:
    """Each line's name beside its last point, moved where names would overlap."""
    low, high = (math.log10(v) if chart.log else v for v in chart.limits)
    ends = [line.rows[-1, 1] for line in chart.lines]
    if chart.log:
        ends = [math.log10(max(end, 1e-300)) for end in ends]
    heights = apart([min(max((end - low) / (high - low), 0.0), 1.0) for end in ends])
    for line, height in zip(chart.lines, heights, strict=True):
        axes.text(1.02, height, line.name, transform=axes.transAxes, va="center", fontweight="bold",
                  color=COLORS[line.color - 1])  # fmt: skip


def apart(heights: Sequence[float], gap: float = 0.075) -> list[float]:
    """Heights in 0..1, moved so that any two are at least `gap` apart, in the same order."""
    order = np.argsort(heights, kind="stable")
    placed = list(heights)
    for before, i in itertools.pairwise(order.tolist()):
        placed[i] = max(placed[i], placed[before] + gap)
    ceiling = 1.0
    for i in reversed(order.tolist()):  # and back down where they went through the ceiling
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed


def figure(charts: Sequence[Chart], below: float = 0.0) -> Figure:
    """Charts side by side; with `below` inches of room under them, as a second sub-figure.

    The axes have fixed places: finding them by what is written there would draw everything twice.
    """
    from matplotlib.figure import Figure  # without pyplot: no window system, quick to import

    width = WIDTH * len(charts)
    made = Figure(figsize=(width, HEIGHT + below))
    place = made.subfigures(2, 1, squeeze=False, height_ratios=[HEIGHT, below])[0, 0] if below else made
    for i, chart in enumerate(charts):
        names = 0.15 + LETTER * max(len(line.name) for line in chart.lines)
        left, right = (i * WIDTH + LEFT) / width, ((i + 1) * WIDTH - names) / width
        box = left, BOTTOM / HEIGHT, right - left, (HEIGHT - TOP - BOTTOM) / HEIGHT
        draw(place.add_axes(box), chart)
    return made


PNG: dict[str, Any] = {"format": "png", "dpi": 110, "metadata": {MARK: "{}"}}
"""How charts are written: with the mark by which they are left out of data."""


def save_png(path: Path, charts: Sequence[Chart]) -> None:
    """Write charts side by side as a PNG, atomically; nothing if all of them are empty."""
    import matplotlib as mpl

    charts = [chart for chart in charts if chart]
    if charts:
        with mpl.rc_context(STYLE):
            write_bytes(path, png(figure(charts)))


def png(made: Figure) -> bytes:
    """A figure as a PNG that is marked as ours."""
    content = io.BytesIO()
    made.savefig(content, **PNG)
    return content.getvalue()


def svg(chart: Chart) -> str:
    """A chart as an inline SVG that takes its font and its colors (`CSS`) from the page; "" if it is empty.

    Equal charts give equal bytes. Charts with different titles share no ids.
    """
    import matplotlib as mpl

    if not chart:
        return ""
    file = io.BytesIO()
    style: dict[Any, Any] = {**STYLE, "svg.hashsalt": chart.title}
    with mpl.rc_context(style):
        figure([chart]).savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _inlined(file.getvalue().decode(), chart.title)


def _inlined(text: str, title: str) -> str:
    """matplotlib's SVG without what a page doesn't need or must not have: names, metadata, fonts, ids."""
    body = text[text.index("<svg") :]
    view = re.search(r'viewBox="([^"]*)"', body)
    assert view is not None
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'(<g) id="[^"]*"', r"\1", body)
    body = re.sub(r' transform="rotate\(-0 [^"]*"| ?font-family: [^;"]*;?', "", body)
    body = re.sub(r'((?:\bd|[xy]|width|height|transform)=")([^"]*)"', _rounded, body)
    body = re.sub(r">\s+<", "><", body)
    while (shorter := re.sub(r"<(g|defs)>\s*</\1>", "", body)) != body:
        body = shorter
    for color, name in CSS.items():
        body = body.replace(color, name)
    return f'<svg viewBox="{view[1]}" role="img"><title>{html.escape(title)}</title>{body.strip()}'


def _rounded(found: re.Match[str]) -> str:
    numbers = re.sub(r"-?\d+\.\d+", lambda n: f"{float(n[0]):.1f}", found[2])
    return found[1] + re.sub(r"\s*\n\s*", "", numbers) + '"'
