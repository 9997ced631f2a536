"""The sections to look at: pictures of all kinds."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from ...data.pictures import open_picture
from ...images import displayable
from ...sampling import sample
from ..levels import spread
from .charts import histogram
from .facts import Facts, shown
from .markup import Html, facts_list, pair, plain, sheet, soft, tag

PREVIEWS = 24
WALKERS, FRAMES = 6, 11  # samples on their way from noise, and states of each
PAIRS = 12
MOST_BARS = 40


def samples(f: Facts) -> list[Html]:
    """Samples, as they come."""
    n, labels, facts = min(len(f.samples.images), 4 * f.columns), f.samples.labels, f.samples.facts
    names = [""] * n if labels is None else [f.class_name(int(label)) for label in labels[:n]]
    how = (
        f"Samples {f.samples.indices[0]} to {f.samples.indices[n - 1]} of seed {facts['seed']}, none picked; "
        f"{facts['evaluations']} evaluations of the network each."
    )
    return [soft(how), sheet([f.sample(i) for i in range(n)], names, f.columns)]


def from_noise(f: Facts) -> list[Html]:
    """States of a few samples along their way."""
    n, labels = min(len(f.samples.images), WALKERS), f.samples.labels
    drawn = sample(
        f.denoiser,
        indices=f.samples.indices[:n],
        seed=f.samples.facts["seed"],
        label=None if labels is None else labels[:n].tolist(),
        frames=FRAMES,
    )
    assert drawn.frames is not None
    times = [f"{t:.0f}" for t in drawn.frame_times]
    ways = np.moveaxis(drawn.frames, 1, 0)  # (sample, frame, C, H, W)
    states = [f.picture(x_t, t) for way in ways for x_t, t in zip(way, times, strict=True)]
    heads = [tag("span", t) for t in times]
    strip = tag("div", heads, states, class_="sheet way", style=f"--columns: {len(times)}")
    return [soft("The first of these samples on their way from pure noise, at the times t."), strip]


def previews(f: Facts) -> list[Html]:
    """RUN/samples under a slider."""
    files = [path for path in sorted(f.run.glob("samples/*.png")) if path.stem.isdecimal()]
    if not files:
        return []
    channels, height, width = displayable(np.zeros(f.data.spec.shape), 0, 1).shape
    frames, at, last = [], "", len(files) - 1
    most = PREVIEWS if max(height, width) <= 32 else PREVIEWS // 2
    for k in np.unique(np.linspace(0, last, most).round().astype(int)).tolist():
        at = f"{int(files[k].stem):,} images"
        parts = tiles(read_sheet(files[k], channels), height, width)
        pictures = [shown(part, at) for part in parts]
        style = f"--columns: {len(parts) ** 0.5:.0f}; --few: {len(parts) ** 0.5:.0f}"
        frames.append(tag("div", pictures, class_="sheet", style=style, data_at=at, hidden=k != last))
    end = len(frames) - 1
    slider = tag("input", type="range", min=0, max=end, value=end, aria_label="images trained on")
    words = "Samples of the average of the weights so far, from the same noise: drag."
    return [tag("figure", frames, tag("label", slider, tag("output", at)), soft(words), class_="scrubber")]


def read_sheet(path: Path, channels: int) -> np.ndarray:
    """A PNG as it is, (C, H, W)."""
    with open(path, "rb") as file:
        width, height = struct.unpack(">II", file.read(24)[16:])  # as its header says
    return open_picture(path, (height, width), channels)


def tiles(sheet: np.ndarray, height: int, width: int) -> list[np.ndarray]:
    """The 4 × 4 pictures of a preview, which `tiled` and `enlarged` put together; or else the whole."""
    down, across = (4 * (side + 2) - 2 for side in (height, width))
    factor = max(sheet.shape[1] // down, 1)
    small = sheet[:, ::factor, ::factor]
    if (factor * down, factor * across) != sheet.shape[1:]:
        return [sheet]
    starts = [(y, x) for y in range(0, down, height + 2) for x in range(0, across, width + 2)]
    return [small[:, y : y + height, x : x + width] for y, x in starts]


def pictures(f: Facts) -> list[Html]:
    """What it was trained on."""
    data, spec = f.data, f.data.spec
    chosen = spread(data.training, 2 * f.columns).tolist()
    names = ["" if data.labels is None else f.class_name(int(data.labels[i])) for i in chosen]
    low, high = f.bounds
    facts = facts_list([
        ("source", f.entry.get("data", {}).get("source") or f.denoiser.about.get("source")),
        ("pictures", f"{len(data.images):,}"),
        ("trained on", f"{len(data.training):,}"),
        ("held out", f"{len(data.held_out):,}"),
        ("values", f"{spec.dtype}, {low:g} to {high:g}" + " (no bounds)" * (spec.low is None)),
        ("classes", f"{len(spec.classes):,}" if spec.classes else "none"),
        ("fingerprint", data.fingerprint[:16]),
    ])  # fmt: skip
    return [
        sheet([f.original(i) for i in chosen], names, f.columns),
        tag("div", facts, class_="below"),
        *class_bars(f),
        *[soft("Note: ", note) for note in data.notes],
    ]


def class_bars(f: Facts) -> list[Html]:
    """How many training pictures each class has."""
    names = f.data.spec.classes
    if f.data.labels is None or not names:
        return []
    counts = np.bincount(np.asarray(f.data.labels)[f.data.training], minlength=len(names)).tolist()
    if len(names) > MOST_BARS:
        return [soft(f"{min(counts):,} to {max(counts):,} training pictures in a class.")]
    bars = [
        tag("div", tag("span", name, title=name),
            tag("i", style=f"width: {count / max(*counts, 1):.1%}"), tag("span", f"{count:,}"))
        for name, count in zip(names, counts, strict=True)
    ]  # fmt: skip
    room = min(12, max(map(len, names)))
    return [tag("div", bars, class_="bars", style=f"--name: {room}ch")]


def memorising(f: Facts) -> list[Html]:
    """Does it repeat its training pictures?"""
    found = f.memorisation
    if found is None:
        return []
    verdicts = []
    for m in f.card.get("memorisation") or [found.to_dict()]:
        word, kind = ("It repeats training pictures", "bad") if m["memorises"] else ("No sign of it", "good")
        space = m["space"] if m["space"] == "pixels" else f"features {m['space']}"
        verdicts.append(
            plain(tag("strong", word, class_=kind),
                  f", in {space}: a sample is closer to a training picture than a held-out picture is with "
                  f"probability {m['likelihood_closer']:.2f} (1/2 if it draws as the data do; "
                  f"p = {m['p']:.2g}). {m['copies']:.1%} of the samples are closer than any held-out one.")
        )  # fmt: skip
    chart = histogram(
        "Closeness to the nearest training picture, of samples and of held-out pictures",
        {"samples": found.closeness, "held out": found.usual},
        "distance to the nearest over that to the ten next",
    )
    pairs = [
        tag("figure", tag("div", f.sample(i), f.original(int(f.data.training[j])), class_="two"),
            tag("figcaption", f"{found.closeness[i]:.2f}"))
        for i, j in found.pairs(PAIRS)
    ]  # fmt: skip
    return [
        pair(chart, [*verdicts, soft("Near 0 is a copy; near 1, no training picture stands out.")]),
        tag("p", "The closest of all, to be looked at: a sample, its nearest training picture on its right, "
            "and the closeness.", class_="soft below"),
        tag("div", pairs, class_="sheet", style=f"--columns: {PAIRS // 2}; --few: {PAIRS // 4}"),
    ]  # fmt: skip
