"""The time of an update by network and batch, in one launch and kernel by kernel, and where it goes.

    python benchmarks/updates.py                      # a line for each; on a GPU, where there is one
    python benchmarks/updates.py --networks wide --batches 64 256 --profile

Random bytes stand for pictures of 32 × 32 in ten classes. A figure is the mean of `--updates` updates in a
row, of which two are under way at a time, as in a run; on a GPU bfloat16 in channels last.
"""

from __future__ import annotations

import argparse
import gc
import time
import warnings
from typing import Any

from peers import DEVICE, wait
from speed import dataset

from alphabar.runs.afford import measures
from alphabar.training import resolve
from alphabar.training.autotune import product_rate
from alphabar.training.trainer import Trainer

SHAPE = (3, 32, 32)
QUICK = {"num_res_blocks": 1, "attention_levels": []}
NETWORKS: dict[str, dict[str, Any]] = {
    "small": {"network": {"channels": 64, **QUICK}},
    "wide": {"network": {"channels": 256, **QUICK}},
    "fine": {"network": {"channels": 128, "patch": 1, "channel_mult": [1, 2, 2], "attention_levels": [1]}},
    "paper": {"preset": "cifar10"},
}
"""What `--minutes` chooses among, one without patches, and the DDPM paper's."""


def trainer(name: str, batch: int, recorded: bool = True) -> Trainer:
    """A trainer of this network, whose updates are recorded where that can be, or aren't."""
    settings = dict(NETWORKS[name])
    preset = settings.pop("preset", None)
    data = dataset(SHAPE, 0 if preset else 10)
    given = {**settings, "batch_size": batch, "images": 10**9}
    config = resolve(data.space, data.conditions, len(data), preset, given)
    gpu = DEVICE.type == "cuda"
    way = {"precision": "bfloat16" if gpu else "float32", "channels_last": gpu, "micro_batch": None}
    made = Trainer(config.model_copy(update=way), data, str(DEVICE))
    made.updates.recordable &= recorded
    return made


def seconds(made: Trainer, updates: int) -> float:
    """Of an update, the mean."""
    made.update()
    for _ in made.rows():
        pass
    wait()
    start = time.perf_counter()
    for _ in range(updates):
        made.launch()
        for _ in made.rows(2):
            pass
    for _ in made.rows():
        pass
    wait()
    return (time.perf_counter() - start) / updates


def flop(made: Trainer) -> float:
    """Of an update for one image: three passes, two a multiplication."""
    return 3 * 2 * measures(made.data.space, made.config.network)[1]


def show_profile(name: str, batch: int) -> None:
    """The kernels of one update, those that take most first."""
    from torch.profiler import ProfilerActivity, profile

    made = trainer(name, batch, recorded=False)
    made.update()
    gpu = DEVICE.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU]) as found:
        made.update()
        wait()
    times = {
        event.key: (event.self_device_time_total if gpu else event.self_cpu_time_total, event.count)
        for event in found.key_averages()
    }
    total, count = (sum(each) for each in zip(*times.values(), strict=True))
    print(f"\n{name}, batch {batch}: busy for {total / 1e3:.2f} ms, {count:,} kernels")
    for key, (each, n) in sorted(times.items(), key=lambda item: -item[1][0])[:20]:
        print(f"{each / total:6.1%} {n:6,}  {key[:100]}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time updates by network and batch.")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 256])
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument(
        "--profile", action="store_true", help="the kernels of each network's last batch as well"
    )
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rate = product_rate(DEVICE, 8192 if DEVICE.type == "cuda" else 512)
    print(f"{rate / 1e12:.1f} TFLOP/s in products of matrices, bfloat16\n", flush=True)
    for name in args.networks:
        for batch in args.batches:
            for recorded in (True, False) if DEVICE.type == "cuda" else (False,):
                made = trainer(name, batch, recorded)
                each = seconds(made, args.updates)
                share = flop(made) * batch / each / rate
                way = "one launch" if made.updates.recorded else "kernel by kernel"
                print(
                    f"{name:6} batch {batch:4}  {way:16} {1e3 * each:8.2f} ms {batch / each:9,.0f} images/s  "
                    f"{share:4.0%} of that",
                    flush=True,
                )
                del made
                gc.collect()
        if args.profile:
            show_profile(name, args.batches[-1])


if __name__ == "__main__":
    main()
