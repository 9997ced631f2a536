"""alphabar eval and diagnose: is it good, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .drawing import draws
from .given import data_of, is_model
from .ways import as_asked, check_given, samples_of, way

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

    check_number(number)
    target = new_file(out, ".json") if out else None
    ways = [as_asked(run, how), *(way(run, how, text) for text in compare or [])]
    with errors.status("…") as status:
        dataset = data_of(run, data)
        for path, *_ in ways:
            check_given(path, dataset)
        chosen = open_features(features, dataset, status.update)
        cards = []
        for path, given, name in ways:
            images, denoiser, drawn, notes = samples_of(path, given, dataset, number, status.update)
            found = card(images, dataset, chosen, denoiser, exact=exact, whole=not cards, say=status.update)
            found["notes"] += notes
            if cards and found["n"] != cards[0]["n"]:
                found["notes"].append(f"{found['n']} samples: scores change with their number")
            cards.append({"of": path, "way": name, **drawn, **found})
    _print(cards, output)
    if target is not None:
        write_json(target, cards[0] | {"compared": cards[1:]})
        output.print(f"wrote {target}")


def check_number(number: int) -> None:
    """ValueError for fewer samples than scores need."""
    from ..evaluation.card import FEWEST

    if number < FEWEST:
        raise ValueError(f"-n must be at least {FEWEST}, got {number}")


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
        columns = {
            "held out": found["held_out"],
            "training": found["training"],
            "Gaussian fit": found["gaussian"],
            "by heart": found["memorising"],
        }
        columns = {name: values for name, values in columns.items() if values}
        output.print(f"{'t':>8}" + "".join(f"{name:>14}" for name in columns))
        for i, t in enumerate(found["times"]):
            output.print(f"{t:>8g}" + "".join(f"{values[i]:>14.5f}" for values in columns.values()))
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
    ways.add_row("samples", *(f"{card['n']:,}" for card in cards), f"{cards[0]['n']:,}")
    counts = [card.get("drawn", {}).get("evaluations", "") for card in cards]
    ways.add_row("evaluations", *map(str, counts), "")
    for name, first in cards[0]["scores"].items():
        scores = [card["scores"][name] for card in cards]
        values = [measured(score["value"], score["error"]) for score in scores]
        ways.add_row(SCORES[name].title, *values, measured(first["floor"], first["floor_error"]))
    output.print(ways)
    for card in cards[1:]:
        for note in card["notes"]:
            if note not in cards[0]["notes"]:
                output.print(f"note ({card['way']}): {note}")


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

    check_number(number)
    if not (Path(run).expanduser().is_dir() and is_model(run)):
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
