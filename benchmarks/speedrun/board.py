"""The tables of README.md, made of the lines of results."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

BEGIN, END = "<!-- tables: run.py --table writes them -->", "<!-- end of tables -->"
HEAD = "| entry | distance | agreement | images seen | evaluations | training, s | libraries |"

Row = dict[str, Any]


def with_tables(page: str, rows: Sequence[Row]) -> str:
    """The page with tables of these rows between its two marks, instead of what stands there."""
    before, found, rest = page.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (found and closed):
        raise ValueError(f"the page has no {BEGIN!r} that is followed by {END!r}: put them where tables go")
    return f"{before}{BEGIN}\n\n{tables(rows)}\n\n{END}{after}"


def tables(rows: Sequence[Row]) -> str:
    """A table for each data set, budget, machine, judge and number of samples: only these compare."""
    if not rows:
        return "No runs yet."
    groups = grouped(rows, lambda row: (row["dataset"], row["minutes"], where(row), row["n"], row["judge"]))
    ordered = sorted(groups.items(), key=lambda item: item[0])
    return "\n\n".join(table(found) for _, found in ordered)


def grouped(rows: Iterable[Row], key: Any) -> dict[Any, list[Row]]:
    """Rows by key, in the order in which keys come."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def where(row: Row) -> str:
    """The machine in words."""
    about = row["machine"]
    threads = f"{about['threads']} thread{'s' * (about['threads'] != 1)}"
    return about["device"] if about["device"] != "CPU" else f"{about['cpu']}, {threads}"


def table(rows: Sequence[Row]) -> str:
    """One table, the best mean distance first. Of one entry and seed the last run counts."""
    last = {(row["entry"], row["seed"]): row for row in rows}
    entries = sorted(grouped(last.values(), lambda row: row["entry"]).values(), key=mean_distance)
    first = rows[0]
    about = (
        f"**{first['dataset']}, {first['minutes']:g} minutes**, {where(first)}; n = {first['n']:,}, "
        f"floor {first['floor']:.3f} ± {first['floor_std']:.3f}, judge `{first['judge'][:12]}`"
    )
    rule = "|---" * (HEAD.count("|") - 1) + "|"
    lines = [about, "", HEAD, rule, *map(line, entries), "", f"`{command(list(last.values()))}`"]
    return "\n".join(lines)


def mean_distance(rows: Sequence[Row]) -> float:
    return statistics.fmean(row["distance"] for row in rows)


def line(rows: Sequence[Row]) -> str:
    """Means over the seeds of one entry; of the distance the range as well."""
    distances = [row["distance"] for row in rows]
    spread = f" ({min(distances):.3f} to {max(distances):.3f}, {len(rows)} seeds)" if len(rows) > 1 else ""
    told = [row["agreement"] for row in rows if row["agreement"] is not None]
    cells = [
        rows[0]["entry"],
        f"{statistics.fmean(distances):.3f}{spread}",
        f"{statistics.fmean(told):.1%}" if told else "not told classes",
        f"{statistics.fmean(row['images'] for row in rows):,.0f}",
        f"{rows[-1]['evaluations']}",
        f"{statistics.fmean(row['seconds'] for row in rows):.0f}",
        ", ".join(rows[-1]["versions"]),
    ]
    return f"| {' | '.join(cells)} |"


def command(rows: Sequence[Row]) -> str:
    """The one command that makes all of these rows."""
    entries = dict.fromkeys(row["entry"] for row in rows)
    seeds = sorted({row["seed"] for row in rows})
    head = rows[0]["command"].partition(" --entries ")[0]
    return f"{head} --entries {' '.join(entries)} --seeds {' '.join(map(str, seeds))} -n {rows[0]['n']}"
