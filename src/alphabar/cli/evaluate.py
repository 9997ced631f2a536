"""alphabar eval and diagnose: is it good, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .drawing import OPTIONS, arguments, draws, load_model
from .given import data_of, given_samples, is_model

if TYPE_CHECKING:
    import numpy as np

    from ..data import Dataset

Own = Annotated[
    str | None,
    typer.Option("--data", metavar="DATA", help="The data to compare with.", show_default="the run's own"),
]
By = Annotated[
    str,
    typer.Option(
        help="learned, inception, untrained, pixels, a TorchScript or ONNX file, or a folder of timm's."
    ),
]


@draws
def evaluate(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run, a model file, or samples: a folder or .npy.", show_default=False
        ),
    ],
    data: Own = None,
    number: Annotated[int, typer.Option("-n", "--number", help="How many samples.")] = 1000,
    features: By = "learned",
    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Another way to draw or another run, in its own row: 'steps=10', 'runs/other'.",
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Also the exact likelihood, by the differential equation.")
    ] = False,
    out: Annotated[str | None, typer.Option(metavar="JSON", help="A new file for the card.")] = None,
    *,
    how: dict[str, Any],
) -> None:
    """Score a model or a folder of samples against data: one card, with what real pictures would get."""
    from ..evaluation import card, open_features
    from ..files import write_json
    from .console import errors, output
    from .files import new_file

    target = new_file(out, ".json") if out else None
    ways = [(run, how, "")] + [_way(run, how, text) for text in compare or []]
    with errors.status("…") as status:
        dataset = data_of(run, data)
        chosen = open_features(features, dataset, status.update)
        cards = []
        for path, given, name in ways:
            images, denoiser, drawn = _samples(path, given, dataset, number, status.update)
            whole = not cards and denoiser is not None
            found = card(images, dataset, chosen, denoiser if whole else None, exact=exact, say=status.update)
            cards.append({"of": path, "way": name, **drawn, **found})
    _print(cards, output)
    if target is not None:
        write_json(target, cards[0] | {"compared": cards[1:]})
        output.print(f"wrote {target}")


def _way(run: str, how: dict[str, Any], text: str) -> tuple[str, dict[str, Any], str]:
    """A run and its way to draw from words such as "runs/other steps=10"."""
    from ..errors import unknown

    given, path = dict(how), run
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals:
            path = word
            continue
        name = {"class": "class_name"}.get(name, name.replace("-", "_"))
        if name not in OPTIONS:
            raise unknown("way to draw", name, OPTIONS)
        kinds = [kind for kind in (int, float) if _is(kind, value)]
        given[name] = kinds[0](value) if kinds else value
    return path, given, text


def _is(kind: type, text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _samples(
    path: str, how: dict[str, Any], dataset: Dataset, n: int, say: Any
) -> tuple[np.ndarray, Any, dict[str, Any]]:
    """Samples that are there, or drawn now; with the model and the facts of the drawing."""
    import time

    from ..sampling import sample

    if not is_model(path):
        return given_samples(path, dataset.spec, n), None, {}
    denoiser = load_model(path, how)
    say(f"drawing {n} samples of {path} …")
    start = time.perf_counter()
    drawn = sample(denoiser, n, **arguments(denoiser, how))
    facts = {"drawn": drawn.facts | {"elapsed_s": time.perf_counter() - start}}
    return drawn.images, denoiser, facts


def _print(cards: list[dict[str, Any]], output: Any) -> None:
    from ..evaluation.table import SCORES, measured
    from .console import table

    first = cards[0]
    scores, about = first["scores"], first["features"]
    known = f" ({first['trained_on']:,} of them trained on)" if first["trained_on"] else ""
    output.print(f"{first['n']:,} samples of {first['of']} against {first['reference']:,} pictures{known}")
    output.print(f"features: {about['name']}, {about['number']} numbers, digest {about['digest'][:12]}")
    output.print(f"{'':<20}{'samples':<20}{'real pictures':<20}")
    for name, score in scores.items():
        value = measured(score["value"], score["error"])
        floor = measured(score["floor"], score["floor_error"])
        output.print(f"{SCORES[name].title:<20}{value:<20}{floor:<20}{SCORES[name].better} is better")
    for note in first["notes"]:
        output.print(f"note: {note}")
    if first.get("levels"):
        output.print("\nerror of x0_hat per dimension (model space) by noise level")
        found = first["levels"]
        output.print(f"{'t':>8}{'fresh':>12}{'training':>12}{'Gaussian fit':>14}{'by heart':>12}")
        fresh = found["held_out"] or found["training"]
        for i, t in enumerate(found["times"]):
            gaussian = f"{found['gaussian'][i]:.5f}"
            output.print(
                f"{t:>8g}{fresh[i]:>12.5f}{found['training'][i]:>12.5f}{gaussian:>14}{found['memorising'][i]:>12.5f}"
            )
    rows = []
    if first.get("bound"):
        b = first["bound"]
        rows.append(("bound", f"{b['bits_per_dim']:.3f} ± {b['error']:.3f} bits/dim ({b['what']})"))
    if first.get("likelihood"):
        b = first["likelihood"]
        rows.append(("likelihood", f"{b['bits_per_dim']:.3f} ± {b['error']:.3f} bits/dim ({b['what']})"))
    for m in first["memorisation"]:
        verdict = "it repeats training pictures" if m["memorises"] else "no sign"
        rows.append((
            "memorising",
            f"{verdict} (in {m['space']}: closer than held-out ones with probability "
            f"{m['likelihood_closer']:.2f}, p = {m['p']:.2g})",
        ))  # fmt: skip
    if rows:
        output.print("")
        table(rows)
    if len(cards) > 1:
        _print_ways(cards, output)


def _print_ways(cards: list[dict[str, Any]], output: Any) -> None:
    """The scores of every way, one beside the other."""
    from rich import box
    from rich.table import Table

    from ..evaluation.table import SCORES, measured

    names = [card["way"] or "as asked" for card in cards]
    ways = Table("", *names, "real pictures", box=box.SIMPLE, pad_edge=False)
    counts = [card.get("drawn", {}).get("evaluations", "") for card in cards]
    ways.add_row("evaluations", *map(str, counts), "")
    for name, first in cards[0]["scores"].items():
        scores = [card["scores"][name] for card in cards]
        values = [measured(score["value"], score["error"]) for score in scores]
        ways.add_row(SCORES[name].title, *values, measured(first["floor"], first["floor_error"]))
    output.print(ways)


def diagnose(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)],
    data: Own = None,
    number: Annotated[int, typer.Option("-n", "--number", help="How many samples and pictures.")] = 64,
    seed: options.Seed = 0,
    device: options.Device = "auto",
) -> None:
    """Name what is most likely wrong with a run, with evidence and remedy. Exit code 1: something is."""
    from ..evaluation import diagnose as look
    from .console import errors, output

    if not Path(run).expanduser().is_dir():
        raise ValueError(f"diagnose reads a run's folder, with its metrics and checkpoints; {run} is none")
    with errors.status("…") as status:
        found = look(run, data_of(run, data), number, seed, options.parse_device(device), status.update)
    if found.healthy:
        output.print(f"nothing wrong was found; looked at: {', '.join(found.looked_at)}")
        return
    for place, finding in enumerate(found.findings):
        output.print(f"{'most likely' if not place else 'also'}: {finding.cause}")
        output.print(f"  evidence: {finding.evidence}")
        output.print(f"  remedy:   {finding.remedy}")
    if found.skipped:
        output.print(f"not looked at: {', '.join(found.skipped)}")
    raise typer.Exit(1)
