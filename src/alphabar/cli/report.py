"""alphabar report: everything there is to see of a run, on one page."""

from __future__ import annotations

import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .evaluate import By, Own
from .given import data_of, data_options, prepared_as

if TYPE_CHECKING:
    from ..data import Dataset
    from ..denoiser import Denoiser

OPTIONS = {"images": "--images", "epochs": "--epochs", "minutes": "--minutes", "batch_size": "--batch",
           "micro_batch": "--micro-batch", "lr": "--lr", "head": "--head", "loss": "--loss",
           "seed": "--seed"}  # fmt: skip


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)],
    data: Own = None,
    number: Annotated[int, typer.Option("-n", "--number", help="How many samples to score.")] = 1000,
    features: By = "learned",
    seed: options.Seed = 0,
    device: options.Device = "auto",
    out: Annotated[
        str | None, typer.Option(metavar="HTML", help="The file to write.", show_default="RUN/report.html")
    ] = None,
) -> None:
    """Write one page on a run: samples, losses, scores, memorising, and what may be wrong with it."""
    import numpy as np

    from ..denoiser import load
    from ..evaluation import card, diagnose, open_features
    from ..evaluation.report import report as page
    from ..files import atomic
    from ..sampling import sample
    from .console import errors, output, say

    folder = Path(run).expanduser()
    if not (folder / "run.json").exists():
        raise ValueError(f"report reads a run's folder, with its metrics and samples; {run} is none")
    target = _target(out, folder)
    with errors.status("…") as status, np.errstate(invalid="ignore"):  # weights may be NaN
        dataset = data_of(run, data)
        denoiser = load(run, options.parse_device(device))
        found: dict[str, Any] = {}
        why = _why_not(denoiser, number, len(dataset.images))
        chosen = None if why else open_features(features, dataset, status.update)
        status.update(f"drawing {number} samples …")
        samples = sample(denoiser, number, seed=seed)
        if chosen is None:
            say(f"{why}: a page without scores")
        else:
            found = card(samples.images, dataset, chosen, denoiser, say=status.update)
        diagnosis = diagnose(run, dataset, seed=seed, device=str(denoiser.device), say=status.update)
        status.update("the page …")
        commands = _commands(run, data, denoiser, dataset, number, features, seed)
        text = page(run, dataset, denoiser, samples, found, diagnosis, commands)
    with atomic(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    output.print(f"wrote {target} ({target.stat().st_size / 1e6:.1f} MB); open it in a browser")


def _why_not(denoiser: Denoiser, n: int, pictures: int) -> str:
    """Why there can be no scores, or nothing."""
    from ..evaluation.card import FEWEST
    from .ways import check_finite

    if n < FEWEST or pictures < 2 * FEWEST:
        return f"scores need {FEWEST} samples and {2 * FEWEST} pictures, and there are {n} and {pictures}"
    try:
        check_finite(denoiser, "this run")
    except ValueError as error:
        return str(error)
    return ""


def _target(out: str | None, folder: Path) -> Path:
    """The file to write: a new one, or a report from before."""
    from ..evaluation.report import MARK

    target = Path(out).expanduser() if out else folder / "report.html"
    if target.suffix.lower() != ".html":
        raise ValueError(f"--out must end in .html, got {out}")
    if target.exists() and MARK not in target.read_text(encoding="utf-8", errors="replace")[:1000]:
        raise ValueError(f"{target} is there and no report; choose another name (nothing was written)")
    return target


# --- what to type, to make it all again ----------------------------------------------------------


def _commands(
    run: str, data: str | None, denoiser: Denoiser, dataset: Dataset, number: int, features: str, seed: int
) -> list[tuple[str, str]]:
    from ..files import read_json

    entry = read_json(Path(run).expanduser() / "run.json")
    source, how = prepared_as(run, denoiser.facts(), data)
    train = ["train", source, *data_options(how), *training_options(entry, dataset)]
    training = "Train. The same command again resumes."
    if entry["config"].get("images") is None and "images" in entry["measured"]:
        training += (
            f" The budget was {entry['measured']['images']:,} images here: --images says so elsewhere."
        )
    own = ["--data", data] if data else []
    which = ["--seed", str(seed)] if seed else []
    by = ["--features", features] if features != "learned" else []
    count = ["-n", str(number)]
    lines = {
        training: [*train, "--out", run],
        "Draw the samples.": ["sample", run, *count, *which, "--out", "samples"],
        "Score them.": ["eval", run, *own, *count, *which, *by],
        "Look for what is wrong.": ["diagnose", run, *own, *which],
        "Write this page.": ["report", run, *own, *count, *which, *by],
    }
    return [(what, shlex.join(["alphabar", *words])) for what, words in lines.items()]


def training_options(entry: dict[str, Any], dataset: Dataset) -> list[str]:
    """The fewest options of `alphabar train` that resolve to the settings of run.json."""
    from ..training.config import PRESETS, resolve
    from ..training.run import EARLIER

    asked, found = EARLIER | entry["config"], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for preset in (None, *PRESETS):
            usual = resolve(dataset.spec, len(dataset), preset).model_dump(mode="json")
            different = _difference(asked, usual)
            try:
                again = resolve(dataset.spec, len(dataset), preset, different).model_dump(mode="json")
            except ValueError:
                continue
            words = [word for pair in different.items() for word in _words(*pair)]
            found.append((again != asked, len(words), ["--preset", preset, *words] if preset else words))
    return min(found, key=lambda entry: entry[:2])[2] if found else []


def _difference(asked: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """The settings that are not the usual ones; of another network or schedule all."""
    found = {}
    for name, value in asked.items():
        before = usual.get(name)
        if isinstance(value, dict) and isinstance(before, dict) and value.get("name") == before.get("name"):
            value = _difference(value, before)
            before = {}
        if value != before and value is not None:
            found[name] = value
    return found


def _words(name: str, value: Any) -> list[str]:
    import json

    if isinstance(value, dict):
        return [word for key, inner in value.items() for word in _words(f"{name}.{key}", inner)]
    if name == "flip" and value is True:
        return ["--flip"]
    written = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return [OPTIONS[name], written] if name in OPTIONS else ["--set", f"{name}={written}"]
