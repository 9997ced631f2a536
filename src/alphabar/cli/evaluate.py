"""alphabar eval: is it good? One scorecard, with what real samples score."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .flags import takes
from .sampling import device_of, sample_flags
from .told import config_of, told_of
from .variants import Variant, checked, variant_of

if TYPE_CHECKING:
    from ..evaluation.features.base import Say
    from ..runs.results import Results


def features_help() -> str:
    """The help of --features: the table's rows, and networks from files."""
    from ..evaluation.features import FEATURES

    rows = ", ".join(FEATURES)
    files = "a TorchScript file (code that runs: trust it first), an ONNX file, or a timm network's folder"
    return f"Features to compare by: {rows}, {files}."


WORST = 10  # classes that are shown
DATA = r"Data to compare with; required if RUN is samples. \[default: the run's own]"


@takes(how=sample_flags)
def evaluate(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run, a model file, or samples: a folder or .npy.", show_default=False
        ),
    ],
    data: Annotated[str | None, typer.Option(metavar="DATA", help=DATA, show_default=False)] = None,
    number: options.Number = 1000,
    features: Annotated[str, typer.Option(help=features_help())] = "learned",
    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Also score other settings or another run, such as 'steps=10' or runs/other; repeatable.",
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Also the exact likelihood (probability-flow ODE) in bits/dim; slow."),
    ] = False,
    out: Annotated[
        str | None, typer.Option(metavar="JSON", help="Write the scorecard to this new file.")
    ] = None,
    json: options.Json = False,
    *,
    how: dict[str, Any],
) -> None:
    """Score a model or samples against real data (Fréchet distance, precision, recall, …).

    Beside each score stands what real samples score.
    """
    from ..evaluation.features import features_file
    from ..files import write_json
    from .console import document, show
    from .files import new_file

    check_number(number)
    target = new_file(out, ".json") if out else None
    features_file(features)  # ValueError for a name that is none
    flags = sample_flags()
    first = checked(Variant(run, how), flags)
    variants = [first, *(variant_of(text, first, flags) for text in compare or [])]
    cards = _cards(variants, data, number, features, exact)
    found = cards[0] | {"compared": cards[1:]}
    if target is not None:
        write_json(target, found, new_file=True)
    if json:
        document(found)
        return
    _print(cards)
    if target is not None:
        show(f"wrote {target}")


def check_number(number: int) -> None:
    """ValueError for fewer samples than scores need."""
    from ..evaluation.comparison import FEWEST

    if number < FEWEST:
        raise ValueError(f"-n must be at least {FEWEST}, got {number}")


def _cards(
    variants: list[Variant], data: str | None, number: int, features: str, exact: bool
) -> list[dict[str, Any]]:
    """The scorecard of each variant."""
    from .console import status

    with status() as say:
        every = _all_results(variants, data, number, features, exact, say)
        cards = []
        for variant, results in zip(variants, every, strict=True):
            if cards:
                results.features = every[0].features  # computed once
            card = {"of": variant.path, "variant": variant.name, **results.scorecard}
            card["notes"] = [*card["notes"], *_told_notes(variant)]
            if cards and card["n"] != cards[0]["n"]:
                card["notes"].append(f"{card['n']} samples: scores change with their number")
            cards.append(card)
    return cards


def _all_results(
    variants: list[Variant], data: Any, number: int, features: str, exact: bool, say: Say
) -> list[Results]:
    """What there is to compute for each variant, checked; the data are read once, and so is each model."""
    from ..runs.results import Results

    configs = []
    for variant in variants:
        with _named(variant):
            configs.append(config_of(variant.how))
    found: list[Results] = []
    models: dict[tuple[str, str], Any] = {}
    for variant, config in zip(variants, configs, strict=True):
        key = variant.path, device_of(variant.how)
        with _named(variant):
            results = Results(
                models.get(key, variant.path), data, n=number, config=config, device=key[1],
                features=features, exact=exact, whole=not found, say=say,
            )  # fmt: skip
            if results.has_model:
                models[key] = results.denoiser
                results.config = config_of(variant.how, results.denoiser)
            elif exact and not found:
                raise ValueError(f"--exact is a likelihood under a model, and {variant.path} holds samples")
            _check(results)
        data = results.data
        found.append(results)
    return found


@contextmanager
def _named(variant: Variant) -> Iterator[None]:
    """Say which --compare an error is about."""
    try:
        yield
    except ValueError as error:
        if not variant.name:
            raise
        raise ValueError(f"--compare {variant.name}: {error}") from None


def _check(results: Results) -> None:
    """ValueError for all that would else be refused only when learning features and drawing took minutes."""
    from ..evaluation.comparison import check_alike, number_compared
    from ..sampling.sampler import stream_samples

    data = results.data
    if not results.has_model:
        check_alike(results.samples.images, data.space)
        number_compared(len(results.samples), data)
    elif results.fault:
        raise ValueError(results.fault)
    else:
        number_compared(results.n, data)
        stream_samples(results.denoiser, results.n, results.config)


def _told_notes(variant: Variant) -> list[str]:
    """A note for each condition that has one value for all samples."""
    told = {name: value for name, value in told_of(variant.how).items() if value != "none"}
    return [
        f"all samples have {name} {value}, and are compared with data of every {name}"
        for name, value in told.items()
    ]


# --- as text -------------------------------------------------------------------------------------


def _print(cards: list[dict[str, Any]]) -> None:
    from .console import show, table

    first = cards[0]
    _print_scores(first)
    for note in first["notes"]:
        show(f"note: {note}")
    if first.get("noise_levels"):
        _print_levels(first["noise_levels"])
    rows = []
    for name in ("bound", "likelihood"):
        if first.get(name):
            b = first[name]
            rows.append((name, f"{b['bits_per_dim']:.3f} ± {b['error']:.3f} bits/dim ({b['what']})"))
    rows += [("memorization", f"in {m['space']}: {m['verdict']}") for m in first["memorization"]]
    rows += [("closest record", _closest(m)) for m in first["memorization"] if m["closest"]]
    rows += [
        (f"asked: {a['name']}", f"{a['samples']:.3f}, of real samples {a['real']:.3f} ({a['measure']})")
        for a in first["asked"]
    ]
    if rows:
        show()
        table(rows)
    if first["within"]:
        _print_within(first["within"])
    if len(cards) > 1:
        _print_variants(cards)


def _print_within(found: list[dict[str, Any]]) -> None:
    """The worst classes."""
    from ..evaluation.table import with_error
    from .console import columns, show

    more = f", the worst {WORST} of {len(found)}" if len(found) > WORST else ""
    show(f"\nKID within each class, lower is better{more}")
    rows = [["", "samples", "real samples", "number"]]
    for one in found[:WORST]:
        values = with_error(one["value"], one["error"]), with_error(one["floor"], one["floor_error"])
        rows.append([f"{one['condition']} {one['name']}", *values, f"{one['n']:,}"])
    columns(rows)


def _closest(found: dict[str, Any]) -> str:
    """Distances to the closest record, of samples, held-out rows and rows that need no network."""
    own, plain = found["closest"], found["trivial"]
    return (
        f"the nearest training row is {own['distance']:.3g} away (median), "
        f"of held-out rows {own['usual']:.3g}, of a Gaussian copula's {plain['distance']:.3g}; "
        f"{own['nearer']:.0%} are nearer to one of {own['rows']:,} training rows than to one of as many "
        f"held-out ones, of the copula's {plain['nearer']:.0%} (50% where nothing is memorized)"
    )


def _print_scores(card: dict[str, Any]) -> None:
    from ..evaluation.table import SCORES, with_error
    from .console import show

    about = card["features"]
    known = f" ({card['trained_on']:,} of them trained on)" if card["trained_on"] else ""
    show(f"{card['n']:,} samples of {card['of']} against {card['reference']:,} of the data{known}")
    show(f"features: {about['name']}, {about['number']} numbers, digest {about['digest'][:12]}")
    show(f"{'':<20}{'samples':<20}{'real samples':<20}{'no network':<12}")
    for name, score in card["scores"].items():
        value = with_error(score["value"], score["error"])
        floor = with_error(score["floor"], score["floor_error"])
        plain = with_error(score["trivial"], math.nan)
        show(f"{SCORES[name].title:<20}{value:<20}{floor:<20}{plain:<12}{SCORES[name].better} is better")


def _print_levels(found: dict[str, Any]) -> None:
    from .console import show

    show("\nerror of x0_hat per dimension (model space) by noise level")
    parts = {
        "held out": found["held_out"],
        "training": found["training"],
        "Gaussian fit": found["gaussian"],
        "training set": found["empirical"],
    }
    parts = {name: values for name, values in parts.items() if values}
    show(f"{'t':>8}" + "".join(f"{name:>14}" for name in parts))
    for i, t in enumerate(found["times"]):
        show(f"{t:>8g}" + "".join(f"{values[i]:>14.5f}" for values in parts.values()))


def _print_variants(cards: list[dict[str, Any]]) -> None:
    """The scores of all variants, side by side."""
    from ..evaluation.table import SCORES, with_error
    from .console import columns, show

    show()
    names = [card["variant"] or "as given" for card in cards]
    counts = [card.get("drawn", {}).get("evaluations", "") for card in cards]
    rows = [
        ["", *names, "real samples"],
        ["samples", *(f"{card['n']:,}" for card in cards), f"{cards[0]['n']:,}"],
        ["evaluations", *map(str, counts), ""],
    ]
    for name, score in SCORES.items():
        found = [card["scores"].get(name) for card in cards]
        if all(found):
            floor = with_error(found[0]["floor"], found[0]["floor_error"])
            rows.append([score.title, *(with_error(f["value"], f["error"]) for f in found), floor])
    if len({tuple(asked["name"] for asked in card["asked"]) for card in cards}) == 1:
        for asked in zip(*(card["asked"] for card in cards), strict=True):
            values = [f"{one['samples']:.3f}" for one in asked]
            rows.append([f"asked: {asked[0]['name']}", *values, f"{asked[0]['real']:.3f}"])
    columns(rows)
    for card in cards[1:]:
        for note in card["notes"]:
            show(f"note ({card['variant']}): {note}")
