"""alphabar data: what is in a data set, what the model will see of it, and the cache of prepared data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .flags import takes

if TYPE_CHECKING:
    from ..data import Dataset

SHEET = 64  # samples
ROWS = 20_000  # of a table, in its histograms
COLUMNS = 40


@takes(preparing=options.data_flags)
def data(
    data: Annotated[str | None, options.DATA] = None,
    out: Annotated[
        str | None, typer.Option(metavar="PNG", help="Save a contact sheet of prepared samples as PNG.")
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="List cached copies of prepared data (no DATA needed).")
    ] = False,
    clear: Annotated[
        bool,
        typer.Option("--clear", help="Delete those cached copies; your own data is not touched."),
    ] = False,
    json: options.Json = False,
    *,
    preparing: dict[str, Any],
) -> None:
    """Show what is in a data set, and what the model will see of it."""
    if cache or clear:
        if data is not None or out is not None or preparing:
            raise ValueError("--cache and --clear are for all prepared data: give them alone")
        _cache(clear, json)
    elif data is None:
        raise ValueError("say which data: alphabar data DATA; or give --cache, to list all prepared data")
    else:
        _show(data, out, json, preparing)


def _show(data: str, out: str | None, json: bool, preparing: dict[str, Any]) -> None:
    from .console import document, show, table
    from .files import new_file

    target = new_file(out) if out else None
    dataset = options.read_data(data, preparing)
    if target is not None:
        _write_sheet(target, dataset)
    if json:
        document(_facts(dataset) | {"source": data, "wrote": None if target is None else str(target)})
        return
    space, n, held_out = dataset.space, dataset.num_samples, dataset.num_samples - len(dataset)
    rows = [
        ("samples", f"{n:,}"),
        ("model sees", f"{space.shown_shape()}, {space.dtype}"),
        *([("channels", space.shown_names())] if space.names and not space.columns else []),
        *_value_rows(dataset),
        ("training", f"{len(dataset):,}"),
        ("held out", f"{held_out:,} ({held_out / n:.0%}, the same ones for every run)"),
        *(_condition_row(name, condition) for name, condition in dataset.conditions.items()),
    ]
    if not dataset.conditions:
        rows.append(("classes", "none"))
    rows += [("note", note) for note in dataset.notes]
    table([*rows, ("fingerprint", dataset.fingerprint[:16])])
    if target is not None:
        show(f"wrote {target}{_part(dataset)}")


def _value_rows(dataset: Dataset) -> list[tuple[str, str]]:
    """What the values are, and how the model sees them; of a table column by column."""
    space = dataset.space
    if space.columns:
        every = dataset.images[:].T
        named = list(zip(space.names, space.columns, every, strict=True))
        rows = [(name, column.described(values)) for name, column, values in named[:COLUMNS]]
        more = len(named) - COLUMNS
        return [*rows, ("", f"and {more} more columns")] if more > 0 else rows
    seen = "seen with mean 0 and standard deviation 1" if space.is_standardized else "seen as -1 to 1"
    return [("values", f"{space.shown_range()}, {seen}")]


def _condition_row(name: str, condition: Any) -> tuple[str, str]:
    """A condition, and what its values are: for names, how many samples each has; for numbers, the range."""
    names = getattr(condition, "names", ())
    if name == "class" and names:
        return f"{len(names)} classes", condition.described()
    return f"told {name}", (f"{condition.kind} of {len(names)}: " if names else "") + condition.described()


def read_as(dataset: Dataset) -> list[str]:
    """What is told of the samples, and what was found, used and left out: a line each."""
    told = [_condition_row(name, condition) for name, condition in dataset.conditions.items()]
    return [*(f"{what}: {values}" for what, values in told), *dataset.notes]


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {
        "samples": dataset.num_samples,
        "space": dataset.space.to_dict(),
        "training": len(dataset),
        "held_out": dataset.num_samples - len(dataset),
        "conditions": {name: condition.to_dict() for name, condition in dataset.conditions.items()},
        "notes": dataset.notes,
        "prepared": dataset.prepared,
        "fingerprint": dataset.fingerprint,
    }


def _part(dataset: Dataset) -> str:
    """Which of the samples a sheet shows, if it doesn't show all."""
    from ..data import KINDS

    most, n = _most_shown(dataset), len(dataset.images)
    return f": {most:,} of the {n:,} {KINDS[dataset.space.kind].noun}, at random" if n > most else ""


def _most_shown(dataset: Dataset) -> int:
    from ..data import KINDS

    return ROWS if KINDS[dataset.space.kind].together else SHEET


def _write_sheet(path: Any, dataset: Dataset) -> None:
    import numpy as np

    from ..images import enlarged, save_picture, tiled
    from ..sampling.sheets import with_told

    chosen = np.sort(np.random.default_rng(0).permutation(len(dataset.images))[: _most_shown(dataset)])
    told = {name: list(values) for name, values in dataset.values_at(chosen, dataset.values).items()}
    shown = with_told(dataset.space.shown(np.asarray(dataset.images[chosen])), told, dataset.conditions)
    save_picture(path, enlarged(tiled(shown)), new_file=True)


def _cache(clear: bool, json: bool) -> None:
    """List the prepared data in the cache, or remove them."""
    from ..data.preparing.cache import cache_entries, cache_folder, clear_cache
    from .console import columns, document, show

    entries = cache_entries()
    if clear:
        clear_cache()
    if json:
        document({"folder": cache_folder(), "cleared": clear, "entries": entries})
        return
    if entries:
        columns([("source", "samples", "shape", "MiB", "prepared"), *map(_entry_row, entries)])
    total = sum(entry.size_bytes for entry in entries)
    what = "removed from" if clear else "in"
    sets = "data set" if len(entries) == 1 else "data sets"
    show(f"{len(entries)} prepared {sets}, {total / 2**20:,.1f} MiB, {what} {cache_folder()}")


def _entry_row(entry: Any) -> tuple[str, ...]:
    from datetime import datetime

    shape = " × ".join(map(str, entry.shape))
    prepared = f"{datetime.fromtimestamp(entry.prepared_at):%Y-%m-%d %H:%M}"
    return entry.source, f"{entry.num_samples:,}", shape, f"{entry.size_bytes / 2**20:,.1f}", prepared
