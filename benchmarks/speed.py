"""Training and sampling beside other libraries, and beside the limit of this machine, in one run.

    python benchmarks/speed.py                       # all; make bench
    python benchmarks/speed.py --what training sampling memory start --rounds 5

Every contender is measured for a few seconds in turn, `--rounds` times around, so that a machine that
slows down slows all of them. A figure is the median of its rounds, with the lowest and the highest.
The table is printed and written to benchmarks/results/. With a CUDA GPU everything runs there.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import gc
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import limits
import numpy as np
import peers
import torch
from peers import DEVICE, wait

import alphabar as ab
from alphabar.data import ClassCondition, Dataset, Space
from alphabar.training import resolve
from alphabar.training.autotune import fastest_execution
from alphabar.training.trainer import Trainer

HERE = Path(__file__).parent
GPU = DEVICE.type == "cuda"
UNET = {"name": "unet", "patch": 1, "scale_shift": False, "skips": "concat"}
DIGITS = {
    "name": "unet",
    "channel_mult": [1, 2],
    "num_res_blocks": 1,
    "attention_levels": [],
    "skips": "concat",
}
NETWORKS: dict[str, tuple[tuple[int, int, int], int, dict[str, Any]]] = {
    "cifar10": ((3, 32, 32), 128 if GPU else 16, {"preset": "cifar10"}),
    "6M": (
        (3, 32, 32),
        128 if GPU else 32,
        {
            "network": {**UNET, "channels": 64, "channel_mult": [1, 2, 2], "attention_levels": [2]},
            "optimizer": "adamw",  # as its peers have
        },
    ),
    "digits": ((1, 28, 28), 128 if GPU else 32, {"network": DIGITS}),
}
"""(shape, images a step, settings): the paper's network (35.7 M), one of 6.5 M, and one for digits."""

TITLES = {
    "cifar10": "the paper's CIFAR-10 network, 35.7 M",
    "6M": "a U-Net of 6.5 M at 32 × 32",
    "digits": "a U-Net of 2.8 M for digits",
}
SAMPLED, STEPS = 256 if GPU else 32, 10


class Contender(NamedTuple):
    """Something that is timed: `run` deals with `images` images."""

    name: str
    run: Callable[[], Any]
    images: int


class Figure(NamedTuple):
    """Images a second: the median of the rounds, and their range."""

    name: str
    rate: float
    low: float
    high: float


# --- contenders --------------------------------------------------------------------------------


def dataset(shape: tuple[int, int, int], classes: int = 0) -> Dataset:
    """Random pictures, in memory."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (512, *shape), dtype=np.uint8)
    if not classes:
        return Dataset(images, Space(shape), holdout=0.0)
    condition = ClassCondition(names=tuple(map(str, range(classes))))
    return Dataset(
        images, Space(shape), {"class": condition}, {"class": rng.integers(0, classes, 512)}, holdout=0.0
    )


def trainer(
    name: str, batch: int | None = None, micro: int | None = None, compiled: str | None = None
) -> tuple[Trainer, dict[str, Any]]:
    """Alphabar's trainer for one of NETWORKS, run in the way it chooses itself here."""
    shape, images, settings = NETWORKS[name]
    data = dataset(shape, 10 if name == "digits" else 0)
    preset = settings.get("preset")
    rest = {k: v for k, v in settings.items() if k != "preset"}
    rest |= {"batch_size": batch or images, "images": 10**9}
    config = resolve(data.space, data.conditions, len(data), preset, rest)
    config = config.model_copy(update={"micro_batch": micro})
    chosen = fastest_execution(config, data, str(DEVICE))
    config = config.model_copy(update={k: chosen[k] for k in ("precision", "channels_last")})
    return Trainer(config.model_copy(update={"compile": compiled}), data, str(DEVICE)), chosen


def way(chosen: dict[str, Any]) -> str:
    return f"{chosen['precision']}, {'channels_last' if chosen['channels_last'] else 'contiguous'}"


def training_contenders(name: str, with_compile: bool) -> list[Contender]:
    shape, images, _ = NETWORKS[name]
    own, chosen = trainer(name)
    found = [Contender(f"Alphabar ({way(chosen)})", own.update, images)]
    if with_compile:
        title = f"Alphabar ({way(chosen)}, compiled)"
        found.append(Contender(title, trainer(name, compiled="default")[0].update, images))
    if name not in peers.DIFFUSERS:
        return found
    batch = torch.rand(images, *shape) * 2 - 1

    def other(**ways: bool) -> peers.DiffusersTraining:
        return peers.DiffusersTraining(peers.diffusers_unet(name, shape[0]), batch, **ways)

    shipped = other()
    a, b = (sum(p.numel() for p in net.parameters()) for net in (own.model.net, shipped.net))
    assert a == b, f"the networks differ: {a} and {b} parameters"
    found.append(Contender("diffusers, as its script is", shipped.step, images))
    best = min(peers.diffusers_ways(with_compile), key=lambda ways: quick(lambda: other(**ways)))
    names = ", ".join(key for key, on in best.items() if on) or "as it is"
    found.append(Contender(f"diffusers, the best way ({names})", other(**best).step, images))
    if name == "cifar10":
        for bfloat16 in (False, True):
            lucid = peers.LucidrainsTraining(batch, bfloat16)
            title = f"denoising-diffusion-pytorch{', bfloat16' if bfloat16 else ', as it is'}"
            found.append(Contender(f"{title} (its own network, 35.7 M)", lucid.step, images))
    return found


def quick(make: Callable[[], Any]) -> float:
    """Seconds a step, from a few; infinite where that way fails."""
    torch._dynamo.reset()
    try:
        made = make()
        times = []
        for _ in range(4):
            start = time.perf_counter()
            made.step()
            wait()
            times.append(time.perf_counter() - start)
        return statistics.median(times[1:])
    except (RuntimeError, ImportError) as error:
        print(f"  (a way of diffusers fails here: {str(error).splitlines()[0][:100]})", file=sys.stderr)
        return float("inf")
    finally:
        gc.collect()


def model_of(name: str) -> ab.Denoiser:
    """A network of this name with random weights."""
    model = trainer(name)[0].ema
    with torch.no_grad():  # a new network predicts 0: give its last layer something to say
        for p in model.net.parameters():
            p.add_(0.01 * torch.randn_like(p))
    return model


def end_to_end_contenders(name: str) -> list[Contender]:
    """Each with its own sampler, at equal scores by docs/sampling.md: 6 of ours for 50, 8 for 1000."""
    model, net = model_of(name), peers.diffusers_unet(name, NETWORKS[name][0][0])
    ddim, ddpm = peers.pipeline(net, "ddim"), peers.pipeline(net, "ddpm")
    few = SAMPLED // 4

    def draw(evaluations: int) -> Any:  # in the precision that a trained model of this kind has
        return ab.sample(model, SAMPLED, evaluations=evaluations, precision=model.precision)

    return [
        Contender("Alphabar, 8 evaluations", lambda: draw(8), SAMPLED),
        Contender("Alphabar, 6 evaluations", lambda: draw(6), SAMPLED),
        Contender("diffusers' DDIMPipeline, its 50", lambda: ddim(SAMPLED, 50), SAMPLED),
        Contender("diffusers' DDPMPipeline, its 1000", lambda: ddpm(few, 1000), few),
    ]


def sampling_contenders(name: str) -> list[Contender]:
    """DDIM with STEPS evaluations by the same network."""
    model, (shape, _, _) = model_of(name), NETWORKS[name]

    def draw(precision: str) -> Callable[[], Any]:
        return lambda: ab.sample(model, SAMPLED, sampler="ddim", evaluations=STEPS, precision=precision)

    net = peers.diffusers_unet(name, shape[0])
    return [
        Contender(f"Alphabar ({model.precision})", draw(model.precision), SAMPLED),
        Contender("Alphabar (float32)", draw("float32"), SAMPLED),
        *(
            Contender(
                f"diffusers' DDIMPipeline{way}",
                lambda d=peers.pipeline(net, "ddim", half): d(SAMPLED, STEPS),
                SAMPLED,
            )
            for way, half in ((", as it is", False), (", bfloat16 autocast", True))
        ),
    ]


# --- measuring ---------------------------------------------------------------------------------


def interleaved(contenders: list[Contender], rounds: int, seconds: float) -> list[Figure]:
    """Each contender in turn for `seconds` (at least one run), `rounds` times around."""
    rates: list[list[float]] = [[] for _ in contenders]
    for contender in contenders:
        contender.run()
        wait()
    for _ in range(rounds):
        for contender, found in zip(contenders, rates, strict=True):
            times: list[float] = []
            while sum(times) < seconds:
                start = time.perf_counter()
                contender.run()
                wait()
                times.append(time.perf_counter() - start)
            found.append(contender.images / statistics.median(times))
    return [
        Figure(c.name, statistics.median(r), min(r), max(r)) for c, r in zip(contenders, rates, strict=True)
    ]


def network_calls(name: str, images: int) -> Counter[limits.Call]:
    """The convolutions and products of one pass of this network."""
    shape, _, _ = NETWORKS[name]
    model = trainer(name)[0].model
    cond = {k: torch.zeros(images, *c.shape, device=DEVICE) for k, c in model.conditions.items()}
    x, c_noise = torch.randn(images, *shape, device=DEVICE), torch.ones(images, device=DEVICE)
    return limits.record(lambda: model.net(x, c_noise, cond))


def with_limit(
    contenders: list[Contender], name: str, training: bool, args: argparse.Namespace
) -> list[Figure]:
    """The figures, and the rate of convolutions and products alone: before, between and after."""
    images, passes = contenders[0].images, 1 if training else STEPS
    calls = network_calls(name, images)
    totals, found = [limits.limit(calls, training)], []
    for share in (args.rounds // 2, args.rounds - args.rounds // 2):
        found.append(interleaved(contenders, max(share, 1), args.seconds))
        totals.append(limits.limit(calls, training))
    rates = [images / (passes * seconds) for seconds, _ in totals]
    merged = [
        Figure(a.name, statistics.median([a.rate, b.rate]), min(a.low, b.low), max(a.high, b.high))
        for a, b in zip(*found, strict=True)
    ]
    gflop = passes * totals[0][1] / images / 1e9
    name = f"the limit: its convolutions and products alone, bfloat16 ({gflop:.2f} GFLOP an image)"
    return [*merged, Figure(name, statistics.median(rates), min(rates), max(rates))]


def table(title: str, figures: list[Figure]) -> str:
    own = figures[0].rate
    lines = [f"### {title}", "", "| | images/s | range | Alphabar is |", "|---|---|---|---|"]
    for figure in figures:
        ratio = (
            f"{own / figure.rate:.2f} ×"
            if not figure.name.startswith("the limit")
            else f"{own / figure.rate:.0%}"
        )
        lines.append(
            f"| {figure.name} | {figure.rate:.1f} | {figure.low:.1f} to {figure.high:.1f} | "
            f"{'' if figure is figures[0] else ratio} |"
        )
    return "\n".join(lines) + "\n"


# --- memory and start-up: processes of their own ------------------------------------------------


def alone(*arguments: str) -> dict[str, Any]:
    """What `speed.py --alone …` prints, in a process of its own."""
    start = time.time()
    out = subprocess.run(
        [sys.executable, __file__, "--alone", *arguments],
        env={**os.environ, "STARTED": str(start)},
        capture_output=True,
        text=True,
    )
    if out.returncode:
        raise RuntimeError(out.stderr[-2000:])
    return json.loads(out.stdout.splitlines()[-1])


def peak_mib() -> float:
    import resource

    if GPU:
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def memory_of(whose: str, micro: int) -> dict[str, Any]:
    """Peak memory of two steps of 128 images in parts of `micro`."""
    if whose == "alphabar":
        own, _ = trainer("cifar10", batch=128, micro=micro)
        for _ in range(2):
            own.update()
    else:
        batch = torch.rand(micro, 3, 32, 32) * 2 - 1
        made = peers.DiffusersTraining(
            peers.diffusers_unet("cifar10"), batch, bfloat16=whose == "diffusers-bfloat16"
        )
        for _ in range(2):
            for _ in range(128 // micro):
                made.backward(made.batch, micro / 128)
            made.update()
    return {"mib": peak_mib()}


def memory(args: argparse.Namespace) -> str:
    lines = ["### memory: training the 35.7 M network at batch 128 by accumulation, peak", ""]
    lines += ["| | images at once | MiB |", "|---|---|---|"]
    for micro in (16, 32):
        for whose, name in (
            ("alphabar", "Alphabar"),
            ("diffusers", "diffusers, as its script is"),
            ("diffusers-bfloat16", "diffusers, bfloat16"),
        ):
            lines.append(f"| {name} | {micro} | {alone('memory', whose, str(micro))['mib']:,.0f} |")
    return "\n".join(lines) + "\n"


def resume(folder: str, name: str) -> dict[str, Any]:
    """Resume the run in `folder` and make one step; when the process began is in the environment."""
    shape, _, settings = NETWORKS[name]
    data = dataset(shape, 10 if name == "digits" else 0)
    steps = ab.train(data, out=folder, **settings, images=10_000, batch_size=16, device=str(DEVICE))
    next(iter(steps))
    return {"total_s": time.time() - float(os.environ["STARTED"])}


def start_up(args: argparse.Namespace) -> str:
    """From the start of the process to the first step of a resumed run, less `import torch`."""
    code = "import time, os, torch; print(time.time() - float(os.environ['STARTED']))"
    bare = []
    for _ in range(3):
        environment = {**os.environ, "STARTED": str(time.time())}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        bare.append(float(done.stdout))
    torch_s = statistics.median(bare)
    lines = ["### start-up: a resumed run to its first step", ""]
    lines += ["| | from the process's start | of which `import torch` | beyond it |", "|---|---|---|---|"]
    for name in ("digits", "cifar10"):
        with tempfile.TemporaryDirectory() as folder:
            alone("resume", folder + "/run", name)
            times = [alone("resume", folder + "/run", name)["total_s"] for _ in range(3)]
        total = statistics.median(times)
        lines.append(f"| {TITLES[name]} | {total:.1f} s | {torch_s:.1f} s | {total - torch_s:.1f} s |")
    return "\n".join(lines) + "\n"


# --- the report --------------------------------------------------------------------------------


def hardware() -> tuple[str, str]:
    """(for a file's name, for people)."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    threads = torch.get_num_threads()
    if GPU:
        name = torch.cuda.get_device_name()
    about = f"{name}, {threads} threads, Python {platform.python_version()}, PyTorch {torch.__version__}"
    for package in ("diffusers", "denoising_diffusion_pytorch"):
        with contextlib.suppress(Exception):
            from importlib.metadata import version

            about += f", {package.replace('_', '-')} {version(package)}"
    short = "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")
    return f"{short}-{threads}", about


def written(out: Path, name: str, text: str) -> Path:
    """The file of `out` that keeps these tables, with the machine, the day and the command."""
    short, about = hardware()
    out.mkdir(parents=True, exist_ok=True)
    today = datetime.date.today().isoformat()
    path = out / f"{name}_{short}_{today}.md"
    given = (Path(a).name if "/" in a else a for a in sys.argv[1:])  # of paths, the name alone
    command = f"python benchmarks/{Path(sys.argv[0]).name} {' '.join(given)}".strip()
    path.write_text(f"# {name.replace('-', ', ')}, {today}\n\n{about}\n\n`{command}`\n\n{text}")
    print(f"written: {path}")
    return path


WHATS = ("training", "sampling", "memory", "start")


def report(args: argparse.Namespace) -> str:
    parts: list[str] = []
    missing = peers.stand_in()

    def add(part: str) -> None:
        parts.append(part)
        print(part, flush=True)
        gc.collect()

    for what in args.what:
        if what == "memory":
            add(memory(args))
        elif what == "start":
            add(start_up(args))
        elif what == "training":
            for name in args.networks:
                add(
                    table(
                        f"training: {TITLES[name]}",
                        with_limit(training_contenders(name, args.compile), name, True, args),
                    )
                )
        else:
            for name in [name for name in args.networks if name in peers.DIFFUSERS]:
                title = f"sampling: {TITLES[name]}, DDIM with {STEPS} evaluations"
                add(table(title, with_limit(sampling_contenders(name), name, False, args)))
            if "6M" in args.networks:
                title = f"sampling, end to end: {TITLES['6M']}, equal scores"
                add(table(title, interleaved(end_to_end_contenders("6M"), 1, args.seconds)))
    if missing:
        parts.append(f"Empty modules stood in for {', '.join(missing)}, which reading data there needs.\n")
    return "\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure beside other libraries.")
    parser.add_argument("--what", nargs="+", choices=WHATS, default=WHATS)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each contender, each round")
    parser.add_argument("--compile", action="store_true", help="try torch.compile too")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--alone", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.alone:
        what, *rest = args.alone
        with contextlib.redirect_stdout(io.StringIO()):
            found = memory_of(rest[0], int(rest[1])) if what == "memory" else resume(*rest)
        print(json.dumps(found))
        return 0
    print(hardware()[1], flush=True)
    written(args.out, "-".join(args.what), report(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
