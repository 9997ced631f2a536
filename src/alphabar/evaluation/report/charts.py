"""Small charts as inline SVG, coloured by the page's CSS variables --c1, --c2, …"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from .markup import Html, tag

WIDTH, HEIGHT = 440, 280
TOP, BOTTOM = 30, 42
LETTER, LABEL = 6.7, 15  # widths of a letter, and the least distance of two labels
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
DECADES = 4  # of a logarithmic axis, at most
POINTS = 240  # of a line, at most


@dataclass
class Line:
    """A line of a chart.

    Attributes:
        name: its label, at its end.
        x, y: points; those that are not finite are left out.
        colour: which of the page's colours.
        dash: an SVG dash pattern, to be told without colour too.
        band: (low, high) around it.
        dots: mark the points.
        area: fill what is below.
        strength: opacity.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    colour: int = 1
    dash: str | None = None
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


class Axis:
    """Numbers → pixels from `start` to `end`, and where the ticks are."""

    def __init__(self, values: np.ndarray, start: float, end: float, log: bool, most: int = 6) -> None:
        self.start, self.end, self.log = start, end, log
        if log:
            values = values[values > 0] if (values > 0).any() else np.ones(1)
            high = float(values.max())
            low = max(float(values.min()), high / 10**DECADES)
            self.low, self.high = math.log10(low) - 0.04, math.log10(high) + 0.04
            self.ticks = _log_ticks(self.low, self.high, most)
        else:
            self.low, self.high = float(values.min()), float(values.max())
            if self.high == self.low:
                self.low, self.high = self.low - 0.5, self.high + 0.5
            self.ticks = _even_ticks(self.low, self.high, most)

    def __call__(self, value: float) -> float:
        place = (math.log10(max(value, 1e-300)) if self.log else value) - self.low
        share = min(max(place / (self.high - self.low), 0), 1)
        return self.start + share * (self.end - self.start)


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    for steps in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3), (1,)):
        whole = range(math.floor(low), math.ceil(high) + 1)
        found = [s * 10.0**k for k in whole for s in steps if low <= math.log10(s * 10.0**k) <= high]
        if 3 <= len(found) <= most:
            return found
    return found if high - low > 2 else _even_ticks(10**low, 10**high, most)


def _even_ticks(low: float, high: float, most: int) -> list[float]:
    unit = 10 ** math.floor(math.log10((high - low) / most))
    step = next(s * unit for s in (1, 2, 5, 10, 20) if (high - low) / (s * unit) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def short(value: float) -> str:
    """20000 → 20k, 1500000 → 1.5M, 0.00001 → 10⁻⁵."""
    for least, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / unit:.4g}{letter}"
    digits, _, power = f"{value:.4g}".partition("e")
    if not power:
        return digits.replace("-", "−")
    factor = "" if digits == "1" else f"{digits}·".replace("-", "−")
    return f"{factor}10{str(int(power)).translate(SUPERSCRIPT)}"


def line_chart(
    title: str,
    lines: Sequence[Line],
    x: str,
    y: str,
    *,
    log: bool = False,
    ticks: Sequence[tuple[float, str]] | None = None,
    zero: bool = False,
) -> Html:
    """Lines over axes with names, each labelled at its end; nothing where no line has points.

    Args:
        title: for those who can't see it.
        lines: what to draw.
        x, y: names of the axes.
        log: logarithmic in y, over at most four decades.
        ticks: (place, label) on the x axis, in place of round numbers.
        zero: let y begin at 0.
    """
    lines = [line for line in lines if len(line.rows)]
    if not lines:
        return Html()
    rows = np.concatenate([line.rows for line in lines])
    heights = np.append(rows[:, 1:].ravel(), [0.0] * zero)
    upright = Axis(heights, HEIGHT - BOTTOM, TOP, log)
    lines = [line for line in lines if not log or line.rows[:, 1].max() >= 10**upright.low]
    left = 12 + LETTER * max(len(short(tick)) for tick in upright.ticks or [0])
    right = WIDTH - 10 - LETTER * max(len(line.name) for line in lines)
    across = Axis(rows[:, 0], left, right, False)
    labels = [(tick, short(tick)) for tick in across.ticks] if ticks is None else ticks
    return tag(
        "svg",
        tag("title", title),
        [_grid_line(upright(tick), left, right, short(tick)) for tick in upright.ticks],
        [_upright_tick(across(place), label) for place, label in labels],
        tag("text", y, x=0, y=14),
        tag("text", x, x=f"{(left + right) / 2:.1f}", y=HEIGHT - 3, text_anchor="middle"),
        [_drawn(line, across, upright) for line in lines],
        _names(lines, upright, right + 6),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
    )


def _grid_line(height: float, left: float, right: float, label: str) -> list[Html]:
    return [
        tag("path", d=f"M{left:.1f} {height:.1f}H{right:.1f}", class_="grid"),
        tag("text", label, x=f"{left - 6:.1f}", y=f"{height + 4:.1f}", text_anchor="end"),
    ]


def _upright_tick(place: float, label: str) -> list[Html]:
    foot = HEIGHT - BOTTOM
    return [
        tag("path", d=f"M{place:.1f} {foot}v4", class_="tick"),
        tag("text", label, x=f"{place:.1f}", y=foot + 17, text_anchor="middle"),
    ]


def _path(points: list[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _drawn(line: Line, across: Axis, upright: Axis) -> Html:
    rows = line.rows
    if upright.log:  # what lies below the axis is left out, but for where the line goes there
        rows = rows[np.convolve(rows[:, 1] >= 10**upright.low, [1, 1, 1])[1:-1] > 0]
    x = [across(value) for value in rows[:, 0]]
    y, low, high = ([upright(value) for value in column] for column in rows[:, 1:].T)
    fill = []
    if line.band is not None:
        fill = [*zip(x, low, strict=True), *zip(x[::-1], high[::-1], strict=True)]
    if line.area:
        fill = [(x[0], upright.start), *zip(x, y, strict=True), (x[-1], upright.start)]
    points = list(zip(x, y, strict=True))
    return tag(
        "g",
        tag("path", d=_path(fill) + "Z", class_="area") if fill else None,
        tag("path", d=_path(points), stroke_dasharray=line.dash, class_="line"),
        [tag("circle", cx=f"{a:.1f}", cy=f"{b:.1f}", r=2.6) for a, b in points if line.dots],
        style=f"--c: var(--c{line.colour}); opacity: {line.strength:g}",
    )


def _names(lines: Sequence[Line], upright: Axis, left: float) -> list[Html]:
    """Each line's name beside its last point, moved apart where they would meet."""
    wanted = sorted((upright(line.rows[-1, 1]), i) for i, line in enumerate(lines))
    places: list[float] = []
    for height, _ in wanted:
        places.append(max(height, places[-1] + LABEL) if places else height)
    floor = HEIGHT - BOTTOM
    for i in reversed(range(len(places))):  # and up again, if that went through the floor
        places[i] = min(places[i], floor)
        floor = places[i] - LABEL
    return [
        tag("text", lines[i].name, x=f"{left:.1f}", y=f"{place + 4:.1f}", class_="name",
            style=f"--c: var(--c{lines[i].colour})")
        for place, (_, i) in zip(places, wanted, strict=True)
    ]  # fmt: skip


def histogram(title: str, sets: dict[str, np.ndarray], x: str, bins: int = 36) -> Html:
    """The shares of several sets of numbers by bins of equal width."""
    edges = np.histogram_bin_edges(np.concatenate(list(sets.values())), bins)
    lines = []
    for i, (name, values) in enumerate(sets.items()):
        share = np.histogram(values, edges)[0] / max(len(values), 1)
        steps = np.repeat(edges, 2)[1:-1]
        lines.append(Line(name, steps, np.repeat(share, 2), i + 1, area=True, dash="5 3" if i else None))
    return line_chart(title, lines, x, "share", zero=True)


def intervals(rows: Sequence[tuple[float, float]], width: int = 150) -> Html:
    """Values with their 95 % intervals, on one line each and one scale for all."""
    ends = np.array([[value - 1.96 * error, value + 1.96 * error] for value, error in rows])
    ends = ends[np.isfinite(ends)]
    if not len(ends):
        return Html()
    axis = Axis(ends, 8, width - 8, False)
    marks = []
    for i, (value, error) in enumerate(rows):
        y = 8 + 12 * i
        reach = (
            [axis(value + 1.96 * e) for e in (-error, error)] if math.isfinite(error) else [axis(value)] * 2
        )
        marks.append(
            tag(
                "g",
                tag("path", d=f"M{reach[0]:.1f} {y}H{reach[1]:.1f}", class_="line"),
                tag("circle", cx=f"{axis(value):.1f}", cy=y, r=3.4),
                style=f"--c: var(--c{i + 1})",
            )
        )
    return tag(
        "svg", marks, viewBox=f"0 0 {width} {4 + 12 * len(rows)}", class_="intervals", aria_hidden="true"
    )
