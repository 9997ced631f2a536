"""alphabar data: what is in it, and what the model will see of it."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options


def data(
    data: options.Data,
    size: options.Size = None,
    classes: options.Classes = "auto",
    channels: options.Channels = "auto",
    background: options.Background = "white",
    value_range: options.ValueRange = None,
    skip_bad: options.SkipBad = False,
    holdout: options.Holdout = 0.05,
    out: Annotated[
        str | None, typer.Option(metavar="PNG", help="Write a sheet of what the model sees.")
    ] = None,
) -> None:
    """Show what is in DATA, and what the model will see of it."""
    import numpy as np

    from ..images import displayable, save_picture
    from ..sampling.output import grid
    from .console import output, table
    from .files import new_file

    target = new_file(out) if out else None
    dataset = options.read_data(data, size, classes, channels, background, value_range, skip_bad, holdout)
    spec = dataset.spec
    num_channels, height, width = spec.shape
    values = "no bounds" if spec.low is None else f"{spec.low:g} to {spec.high:g}, seen as -1 to 1"
    rows = [
        ("samples", f"{len(dataset.images):,}"),
        (
            "model sees",
            f"{num_channels} channel{'s' * (num_channels > 1)}, {width} × {height} pixels, {spec.dtype}",
        ),
        ("values", values),
        ("training", f"{len(dataset.training):,}"),
        (
            "held out",
            f"{len(dataset.held_out):,} ({len(dataset.held_out) / len(dataset.images):.0%}, "
            "drawn once for all runs on this data)",
        ),
    ]
    if spec.classes:
        shown = [f"{c} ({n:,})" for c, n in zip(spec.classes[:20], spec.class_counts, strict=False)]
        rest = len(spec.classes) - len(shown)
        rows.append(
            (f"{len(spec.classes)} classes", ", ".join(shown) + (f" and {rest} more" if rest else ""))
        )
    else:
        rows.append(("classes", "none"))
    rows += [("note", note) for note in dataset.notes]
    rows.append(("fingerprint", dataset.fingerprint[:16]))
    table(rows)
    if target is not None:
        chosen = np.sort(np.random.default_rng(0).permutation(len(dataset.images))[:64])
        save_picture(target, grid(displayable(np.asarray(dataset.images[chosen]), spec.low, spec.high)))
        output.print(f"wrote {target}")
