"""alphabar eval: is it good? One scorecard, with what real samples score."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .flags import takes
from .sampling import device_of, sample_flags
from .scores import print_cards
from .told import config_of, told_of
from .variants import Variant, checked, variant_of

if TYPE_CHECKING:
    from ..evaluation.features.base import Say
    from ..runs.results import Results
    from ..world import World


def features_help() -> str:
    """The help of --features: the table's rows, and networks from files."""
    from ..evaluation.features import FEATURES

    rows = ", ".join(FEATURES)
    files = "a TorchScript file (code that runs: trust it first), an ONNX file, or a timm network's folder"
    return f"Features to compare by: {rows}, {files}."


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
    processes: options.Processes = None,
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
    variants = _variants(run, how, compare or [])
    options.begin_several(processes)
    if not (cards := _cards(variants, data, number, features, exact)):
        return  # another process has them
    found = cards[0] | {"compared": cards[1:]}
    if target is not None:
        write_json(target, found, new_file=True)
    if json:
        document(found)
        return
    print_cards(cards)
    if target is not None:
        show(f"wrote {target}")


def check_number(number: int) -> None:
    """ValueError for fewer samples than scores need."""
    from ..evaluation.comparison import FEWEST

    if number < FEWEST:
        raise ValueError(f"-n must be at least {FEWEST}, got {number}")


def _variants(run: str, how: dict[str, Any], compare: list[str]) -> list[Variant]:
    """What is scored: as given, and each that it is compared with."""
    flags = sample_flags()
    first = checked(Variant(run, how), flags)
    return [first, *(variant_of(text, first, flags) for text in compare)]


def _cards(
    variants: list[Variant], data: str | None, number: int, features: str, exact: bool
) -> list[dict[str, Any]]:
    """The scorecard of each variant; none at other processes than the first, which only draw samples."""
    from ..world import join
    from .console import status

    world = join()
    with status() as say:
        every, cards = _all_results(variants, data, number, features, exact, world, say), []
        if world.rank:
            for results in every:
                _ = results.samples
            return []
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
    variants: list[Variant], data: Any, number: int, features: str, exact: bool, world: World, say: Say
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
                features=features, exact=exact, whole=not found, world=world, say=say,
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
