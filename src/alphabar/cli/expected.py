"""What to expect of so much training, beforehand; how far its samples are and what it ignores, afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..runs.run import Run
    from ..training.config import TrainConfig

EXPECTED = (  # of so few images
    (2_000, "little more than noise; more minutes, smaller pictures (--size) or a faster machine help"),
    (10_000, "rough shapes at best"),
    (30_000, "shapes that one can tell, if the pictures are small and simple"),
)
MEASURED = (  # channels, images seen, what came of them: rows of benchmarks/speedrun
    (1, 204_000, "MNIST: nearly all digits clean, distance 0.09 (real ones 0.06)"),
    (3, 104_000, "CIFAR-10: scenes, some animals; class right in 82 %, distance 4.1 (real ones 0.2)"),
    (3, 224_000, "CIFAR-10: scenes, vehicles, horses; class right in 87 %, distance 2.3"),
    (3, 493_000, "CIFAR-10: vehicles, horses, many animals; class right in 87 %, distance 1.1"),
)
WORTH_A_LOOK = 50_000  # images trained on: looking takes about as long as 700 of them for each condition
FEW, MANY = 0.5, 2.0  # of the images that were expected
FEW_HELD_OUT = 2  # samples, for their loss to say something
RISEN = 1.1  # times its least value the held-out loss has come to
NOISE, CLOSE = 10.0, 0.7  # times as far from the data as held-out samples are


def expected_in_minutes(config: TrainConfig, images: int, kind: str = "picture") -> str:
    """What the minutes allow on this machine, and what to expect of it if samples are pictures."""
    if images < config.batch_size:
        return (
            f"these minutes are over before a batch of {config.batch_size} {noun_of(kind)} is seen here: "
            "it is seen, and more need more minutes"
        )
    text = f"{images:,} {noun_of(kind)} fit into these minutes here, about, in batches of {config.batch_size}"
    if "channels" in config.network:
        text += f", by a network of {config.network['channels']} channels"
    return text + (expected_of(images) if kind == "picture" else "")


def measured_alike(shape: tuple[int, ...], images: int) -> str:
    """What came of about so many images in the speedrun, of pictures with as many channels or colors."""
    alike = [row for row in MEASURED if (row[0] == 1) == (shape[0] == 1)]
    _, seen, found = min(alike, key=lambda row: abs(math.log(row[1] / max(images, 1))))
    return f"as measured after {seen:,}, {found}; larger or more varied pictures take more"


def noun_of(kind: str) -> str:
    """What samples of a kind are called while they are counted."""
    from ..data.kinds import KINDS

    return "images" if kind == "picture" else KINDS[kind].noun


def expected_of(images: int) -> str:
    """What to expect of few images."""
    for most, expected in EXPECTED:
        if images < most:
            return f": expect {expected}"
    return ""


def tell_end(run: Run, last: dict[str, Any], expected: int | None, show: Callable[[str], None]) -> None:
    """Say at a run's end what a person should know of it, by its last metrics and what was expected."""
    tell_distance(last, show, run.trainer.ema.guidance is not None)
    tell_rise(run, show)
    tell_difference(run.trainer.images, expected, show, run.data.space.kind)
    tell_ignored(run, show)
    tell_guidance(run, show)


def tell_guidance(run: Run, show: Callable[[str], None]) -> None:
    """Say by what samples are guided from now on, if by anything."""
    own = run.trainer.ema.guidance
    if own is not None:
        show(
            f"samples are guided by {own['scale']:g}, which makes up for what is not learned yet; "
            "--guidance 1 for none"
        )


def tell_difference(images: int, expected: int | None, show: Any, kind: str = "picture") -> None:
    """Say where training saw far fewer images than its minutes promised, or far more."""
    if not expected or FEW * expected <= images <= MANY * expected:
        return
    noun = f"the {expected:,} {noun_of(kind)} expected"
    if images > expected:
        show(
            f"these are {images / expected:.1f} times {noun}: the machine was less busy than when it was "
            "measured; a new run may take a larger network"
        )
        return
    import torch

    alone = "; beside other programs one thread is often faster (--set threads=1)"
    show(
        f"these are {images / expected:.0%} of {noun}: the machine was busier than when it was measured"
        f"{alone * (torch.get_num_threads() > 1)}; with a larger budget the run goes on"
    )


def tell_rise(run: Run, show: Callable[[str], None]) -> None:
    """Say where the loss on held-out samples has risen since its least value: training learns by heart."""
    rows = [row for row in run.folder.metrics() if row.get("held_out_loss") is not None]
    if not rows or len(run.data.held_out) < FEW_HELD_OUT:
        return
    best, last = min(rows, key=lambda row: row["held_out_loss"]), rows[-1]
    if not 0 < RISEN * best["held_out_loss"] < last["held_out_loss"]:
        return
    kept = f"; {run.folder.best} is the model of then" * (run.asked.best == "held_out_loss")
    show(
        f"the loss on held-out {noun_of(run.data.space.kind)} was least after {best['images']:,} "
        f"({best['held_out_loss']:.3g}) and has risen to {last['held_out_loss']:.3g}: since then training "
        f"learns what it sees by heart{kept}"
    )


def tell_distance(row: dict[str, Any], show: Any, guided: bool = False) -> None:
    """Say how far the samples still are from the data, if that was measured: it is without guidance."""
    distance, floor = row.get("sample_distance"), row.get("sample_floor")
    if distance is None or not floor:
        return
    times = distance / floor
    samples = f"{row['sample_n']} samples" + " without guidance" * guided
    text = f"{samples} lie {times:,.1f} times as far from the data as held-out ones do"
    if times > NOISE:
        text += "; they may look like noise still: train on more images"
    elif times < CLOSE:
        text += ": closer than new ones would; whether they are copies is told by alphabar eval"
    show(text)


def tell_ignored(run: Run, show: Callable[[str], None]) -> None:
    """Say which conditions the model ignores, where looking is little beside what was trained."""
    from ..evaluation.conditioning import check_conditions

    if not run.trainer.ema.conditions or run.trainer.images < WORTH_A_LOOK:
        return
    for name, found in check_conditions(run.trainer.ema, run.data).items():
        if not found.used:
            show(
                f"the {name} is ignored: told a wrong one, the model's error changes by {found.total:+.1%} "
                f"(z = {found.z:.1f}); does each belong to its sample? More: alphabar diagnose"
            )
