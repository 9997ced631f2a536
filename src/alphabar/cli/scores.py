"""Scorecards as text."""

from __future__ import annotations

import math
from typing import Any

WORST = 10  # classes that are shown


def print_cards(cards: list[dict[str, Any]]) -> None:
    """Print the first card, and the scores of the others beside its own."""
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
