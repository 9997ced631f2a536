"""The page: a head, and the sections that have something to say."""

from __future__ import annotations

import base64
import hashlib
import string
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...data import Dataset
from ...denoiser import Denoiser
from ...sampling import Samples
from ...version import __version__
from ..diagnose import Diagnosis
from . import counted, seen
from .facts import Facts
from .markup import Html, duration, facts_list, pair, tag, text

MARK = '<meta name="generator" content="Alphabar report">'
SCRIPT = """
for (const box of document.querySelectorAll(".scrubber")) {
  const range = box.querySelector("input"), frames = box.querySelectorAll(".sheet");
  const show = () => {
    frames.forEach((frame, i) => { frame.hidden = i != range.value; });
    box.querySelector("output").value = frames[range.value].dataset.at;
  };
  range.addEventListener("input", show);
  show();
}
"""


def head(f: Facts) -> Html:
    """The name, how it is in a sentence, and what it is."""
    about, spec, formula = f.denoiser.about, f.denoiser.data, f.denoiser.schedule.to_dict()
    config, (channels, height, width) = about.get("config", {}), spec.shape
    images, total = about.get("images", 0), about.get("of_images") or 0
    facts = facts_list([
        ("parameters", f"{sum(p.numel() for p in f.denoiser.parameters()):,}"),
        ("images trained on", f"{images:,}" + f" of {total:,}" * (images < total)),
        ("passes over the data", f"{images / len(f.data):,.1f}"),
        ("time", duration(f.elapsed_s) if f.times else None),
        ("channels × height × width", f"{channels} × {height} × {width}"),
        ("classes", f"{len(spec.classes):,}" if spec.classes else "none"),
        ("predicts", f.denoiser.head),
        ("schedule", f"{formula['name']}, T\u00a0=\u00a0{f.denoiser.schedule.T:,}"),
        ("computed in", config.get("precision")),
        ("trained", time.strftime("%Y-%m-%d", time.gmtime(f.times[-1]["time"])) if f.times else None),
    ])  # fmt: skip
    return tag("header", tag("p", "ᾱ  Alphabar", class_="brand"), tag("h1", f.name),
               tag("p", sentence(f), class_="lead"), facts)  # fmt: skip


def sentence(f: Facts) -> str:
    """How it is."""
    findings, scores = f.diagnosis.findings, f.card.get("scores", {})
    found = f"Most likely wrong: {findings[0].cause}." if findings else "Nothing wrong was found."
    if "classifier" not in scores:
        return found
    told = scores["classifier"]
    return (
        f"{found} A simple classifier tells its samples from real pictures in {told['value']:.0%} of cases, "
        f"and real pictures from one another in {told['floor']:.0%}."
    )


def training(f: Facts) -> list[Html]:
    """Samples and losses as training went."""
    parts = [
        *seen.previews(f),
        *counted.loss_chart(f),
        *counted.distance_chart(f),
        *counted.held_out_chart(f),
    ]
    parts = [part for part in parts if part]
    return [pair(parts[0], parts[1:])] if parts else []


SECTIONS: dict[str, Callable[[Facts], list[Html]]] = {
    "Verdict": counted.verdict,
    "Samples": seen.samples,
    "From noise to sample": seen.from_noise,
    "Training": training,
    "Data": seen.pictures,
    "Error by noise level": counted.by_level,
    "Schedule": counted.schedule,
    "Scores": counted.scores,
    "Bits per dimension": counted.bits,
    "Memorising": seen.memorising,
    "Configuration": counted.configuration,
    "Commands": counted.commands,
}
"""By their titles, in the page's order. One that returns nothing is left out."""


def report(
    run: str | Path,
    data: Dataset,
    denoiser: Denoiser,
    samples: Samples,
    card: dict[str, Any],
    diagnosis: Diagnosis,
    commands: Sequence[tuple[str, str]] = (),
) -> str:
    """One page of HTML on a run, that loads nothing.

    Args:
        run: its folder; run.json, metrics.jsonl, times.jsonl and samples are shown if they are there.
        data: what it was trained on.
        denoiser: its model.
        samples: drawn by `sample` with the default plan.
        card: of these samples, by `card`; empty if there are too few pictures for one.
        diagnosis: by `diagnose`.
        commands: (what for, what to type), to make it all again.
    """
    f = Facts(Path(run).expanduser(), data, denoiser, samples, card, diagnosis, commands)
    made = {title: text(section(f)) for title, section in SECTIONS.items()}
    made = {title: inside for title, inside in made.items() if inside}
    ids = {title: title.lower().replace(" ", "-") for title in made}
    body = [
        head(f),
        tag("nav", [tag("a", title, href=f"#{ids[title]}") for title in made]),
        *[tag("section", tag("h2", title), inside, id=ids[title]) for title, inside in made.items()],
        tag("footer", f"Alphabar {__version__}; model {denoiser.digest[:16]}; data {data.fingerprint[:16]}"),
    ]
    page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return string.Template(page).substitute(
        title=text(f"{f.name}: report"), body=text(body), script=SCRIPT, script_digest=digest
    )
