"""train --dry-run: the time, memory and disk that a run takes, and its settings. Nothing is written."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from .data import read_as

if TYPE_CHECKING:
    from ..runs.run import Run

MEASURED_S = 2.0
CHECKPOINTS = 5  # two, and a milestone at each quarter


def explain(run: Run, as_json: bool, expected: int | None) -> None:
    """Print what a run costs on this machine, and then its settings.

    Args:
        run: one that is open.
        as_json: print JSON.
        expected: how many images fit into its minutes, if that was measured.
    """
    from ..training.autotune import seconds_per_update
    from .console import document, show, table
    from .expected import measured_alike
    from .progress import execution, time_left

    config, trainer = run.config, run.trainer
    rates = run.entry["measured"].get("images_per_s", {})
    if expected is None:
        update_s = seconds_per_update(trainer, MEASURED_S)
    else:
        update_s = config.batch_size / max(rates.values())
    rate = config.batch_size / update_s
    total = run.total or _asked(run, rate, expected)
    total_s = total / rate if config.minutes is None else 60 * config.minutes
    parameters = sum(p.numel() for p in trainer.parameters.values())
    loading = _loading_s(run) / update_s
    state = 4 * parameters
    disk = state * (3 * CHECKPOINTS + 2)
    facts = {
        "run": str(run.folder), "images": total, "seconds": total_s, "images_per_s": rate,
        "update_s": update_s, "parameters": parameters, "memory_bytes": _peak_memory(run), "disk_bytes": disk,
        "data_bytes": run.data.disk_bytes, "execution": execution(run), "processes": run.world.size,
    }  # fmt: skip
    if as_json:
        document(facts | {"config": config.model_dump(mode="json")})
        return
    memory, data_mib = facts["memory_bytes"], facts["data_bytes"] / 2**20
    picture = run.data.space.kind == "picture"
    several = f", {run.world.size} processes" if run.world else ""
    measured = "; ".join(f"{way} {each:,.1f}" for way, each in rates.items())
    table([
        ("time", f"{time_left(total_s)} for {total:,} images, {total / len(run.data):.1f} passes over "
                 f"{len(run.data):,}"),
        ("memory", "unknown on this system" if memory is None else f"{memory / 2**20:,.0f} MiB"),
        ("disk", f"{disk / 2**20:,.0f} MiB in {run.folder}; prepared data {data_mib:,.0f} MiB"),
        ("network", _network(run, parameters, total)),
        ("schedule", _schedule(run)),
        *([("expect", measured_alike(run.data.space.shape, total))] if picture else []),
        ("here", execution(run) + several),
        ("because", f"images/s here: {measured}" if measured else "it was asked for"),
        *([("of the card", _share(run, rate))] if trainer.device.type == "cuda" else []),
        ("an update", f"{update_s:.3f} s, {rate:,.1f} images/s; reading images takes {loading:.1%} of it"),
    ])  # fmt: skip
    for line in read_as(run.data):
        show(f"data: {line}")
    show("\nsettings:")
    for line in json.dumps(config.model_dump(mode="json"), indent=1).splitlines()[1:-1]:
        show(line)
    show("nothing was written (--dry-run)")


def _asked(run: Run, rate: float, expected: int | None) -> int:
    """The length asked for, in images, as far as it can be known beforehand."""
    from ..runs.afford import TRAINING_SHARE

    config = run.config
    if config.epochs is not None:
        return max(1, round(config.epochs * len(run.data)))
    if expected is not None:
        return max(expected, config.batch_size)
    return round(TRAINING_SHARE * 60 * (config.minutes or 0) * rate)


def _network(run: Run, parameters: int, images: int) -> str:
    """Its size, and how that suits the images."""
    from ..runs.afford import places_of, places_wanted

    network, text = run.config.network, f"{parameters:,} parameters"
    if "channels" in network:
        text = f"{network['name']} of {network['channels']} channels, {text}"
    if network["name"] == "unet":
        seen = images * places_of(run.data.space, network) / parameters
        text += f", which see {seen:,.1f} places each ({places_wanted(run.data.space):g} are enough)"
    return text


def _share(run: Run, rate: float) -> str:
    """How much of a GPU's own rate this is: an update is three times the products that a U-Net is made of."""
    from ..runs.afford import measures
    from ..training.autotune import product_rate

    can = product_rate(run.trainer.device)
    text = f"{can / 1e12:,.0f} TFLOP/s, the rate of products of large matrices in bfloat16"
    if run.config.network["name"] != "unet":
        return text
    return f"{3 * 2 * measures(run.data.space, run.config.network)[1] * rate / can:.0%} of {text}"


def _schedule(run: Run) -> str:
    """The noise schedule, and why it is shifted if it is."""
    from ..theory.scales import HALF_LOST
    from ..training.fitted import fitted_to

    schedule, own = run.config.schedule, fitted_to(run.data).shift
    if (shift := schedule.get("shift", 1.0)) == 1.0:
        return str(schedule["name"])
    sigmas = f"sigma = {HALF_LOST * own:.3g}, of small photographs at {HALF_LOST:g}"
    lost = f": half of the data's variance is lost at {sigmas}"
    return f"{schedule['name']}, shift {shift:g}" + lost * (shift == own)


def _loading_s(run: Run) -> float:
    """Seconds to read a batch."""
    config, start = run.config, time.perf_counter()
    for k in range(10):
        run.data.batch(config.seed, k, config.batch_size, config.flip, config.balanced, config.turns)
    return (time.perf_counter() - start) / 10


def _peak_memory(run: Run) -> int | None:
    """The most memory used so far, on the GPU if it trains there; None if that is unknown."""
    if run.trainer.device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(run.trainer.device)
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    found: Any = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return found
