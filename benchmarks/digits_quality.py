"""Quality of digits against evaluations, for every solver; guidance against scale.

    python benchmarks/digits_quality.py RUN --mnist mnist.npz --out quality.jsonl --what solvers
    python benchmarks/digits_quality.py RUN --mnist mnist.npz --out quality.jsonl --what guidance
    python benchmarks/digits_quality.py --table quality.jsonl --picture quality.png

Draws -n samples of each of --seeds (the same noise and classes for every solver) and scores them with
speedrun/judge.py; a line of OUT for each, and what is there already is not done again. A model with
fitted plans (alphabar fit-sampler) is scored with those too. The table shows means over seeds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import alphabar as ab

sys.path.append(str(Path(__file__).resolve().parent / "speedrun"))
from judge import CACHE, Judge

EVALUATIONS = [1, 2, 3, 4, 5, 6, 8, 10, 20, 50]
SOLVERS: dict[str, dict[str, Any]] = {
    "DDPM (the paper's)": {"sampler": "ddpm"},
    "DDPM, optimal variance": {"sampler": "ddpm", "variance": "optimal"},
    "DDIM": {"sampler": "ddim"},
    "Heun": {"sampler": "heun"},
    "DPM-Solver++ 2": {"sampler": "dpmpp", "order": 2},
    "DPM-Solver++ 3": {"sampler": "dpmpp", "order": 3},
    "SDE-DPM-Solver++ 2": {"sampler": "dpmpp_sde"},
    "DEIS 3": {"sampler": "deis", "order": 3},
    "iPNDM 4": {"sampler": "ipndm", "order": 4},
    "UniPC 2": {"sampler": "unipc", "order": 2},
    "UniPC 3": {"sampler": "unipc", "order": 3},
    "SA-Solver 2": {"sampler": "sa_solver"},
}
GUIDANCE = [0.0, 1.0, 1.5, 2.0, 3.0]


def jobs(model: ab.Denoiser, what: str, counts: list[int]) -> list[tuple[str, int, dict[str, Any]]]:
    """(name, evaluations, arguments of `sample`), the cheap ones first."""
    if what == "guidance":
        made = {"evaluations": 10}
        found = [(f"guidance {w:g}", 10, {**made, "guidance": w}) for w in GUIDANCE]
        inner = (0.2 * model.schedule.T, 0.8 * model.schedule.T)
        found.append(
            ("guidance 2 at 0.2 T < t <= 0.8 T", 10, {**made, "guidance": 2.0, "guidance_interval": inner})
        )
        found.append(("guidance 2, rescaled 0.7", 10, {**made, "guidance": 2.0, "guidance_rescale": 0.7}))
        return found
    if what == "long":
        return [
            ("DPM-Solver++ 2", 200, {"sampler": "dpmpp", "order": 2, "evaluations": 200}),
            ("DDPM (the paper's)", 1000, {"sampler": "ddpm", "evaluations": 1000}),
        ]
    if what == "spacings":
        return [
            (f"{name}, {spacing}", n, {**SOLVERS[name], "evaluations": n, "spacing": spacing})
            for n in (6, 10, 20)
            for name in ("DDPM (the paper's)", "DDIM", "DPM-Solver++ 2", "UniPC 2", "SA-Solver 2")
            for spacing in ("flow", "trailing", "log_snr", "karras")
        ]
    fitted = [("fitted", plan.num_evaluations, {"evaluations": plan.num_evaluations}) for plan in model.plans]
    solvers = {k: v for k, v in SOLVERS.items() if model.x0_mse is not None or "variance" not in v}
    return fitted + [(name, n, {**made, "evaluations": n}) for n in counts for name, made in solvers.items()]


def score(judge: Judge, model: ab.Denoiser, n: int, seed: int, given: dict[str, Any]) -> dict[str, Any]:
    """The judge's figures of n samples, and what drawing them took."""
    start = time.perf_counter()
    samples = ab.sample(model, n, seed=seed, **given)
    elapsed = time.perf_counter() - start
    arrays = {"samples": samples.images, "classes": np.asarray(samples.told["class"])}
    found = judge.score(judge.dataset.encoded(arrays, Path("samples")))
    return {
        "frechet": found["distance"],
        "floor": judge.floor(n)["mean"],
        "agreement": found["agreement"],
        "sure": found["sure"],
        "network_evaluations": samples.facts["evaluations"],
        "elapsed_s": elapsed,
    }


def means(rows: list[dict[str, Any]]) -> dict[tuple[str, int], float]:
    """The mean distance over seeds of each (name, evaluations)."""
    found: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        found.setdefault((row["name"], row["evaluations"]), []).append(row["frechet"])
    return {key: float(np.mean(values)) for key, values in found.items()}


def table(rows: list[dict[str, Any]]) -> str:
    columns = sorted({row["evaluations"] for row in rows})
    names = list(dict.fromkeys(row["name"] for row in rows))
    found = means(rows)
    lines = [f"| | {' | '.join(map(str, columns))} |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        cells = [f"{found[name, c]:.2f}" if (name, c) in found else "" for c in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    found = means(rows)
    for i, name in enumerate(dict.fromkeys(row["name"] for row in rows)):
        own = sorted((evaluations, d) for (of, evaluations), d in found.items() if of == name)
        fitted = name == "fitted"
        style = {"color": "black", "linewidth": 2.5, "zorder": 5} if fitted else {"color": f"C{i % 10}"}
        axes.plot(*zip(*own, strict=True), "o-" if i < 10 else "o--", label=name, markersize=4, **style)
    best = found["DDPM (the paper's)", 1000]
    axes.axhline(best, color="gray", linestyle=":", label=f"the paper's at 1000: {best:.2f}")
    axes.axhline(rows[0]["floor"], color="gray", label=f"real digits: {rows[0]['floor']:.2f}")
    axes.set(xscale="log", yscale="log", xlabel="network evaluations", ylabel="Fréchet distance")
    axes.set_xticks(
        [1, 2, 3, 4, 5, 6, 8, 10, 20, 50, 200, 1000], [1, 2, 3, 4, 5, 6, 8, 10, 20, 50, 200, 1000]
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description="Score every solver at every number of evaluations.")
    parser.add_argument("run", nargs="?")
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--out", type=Path, help="a line for each score")
    parser.add_argument("--what", choices=["solvers", "guidance", "long", "spacings"], default="solvers")
    parser.add_argument("-n", type=int, default=1008)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--evaluations", type=int, nargs="+", default=EVALUATIONS)
    parser.add_argument("--only", help="solvers of this name, such as fitted")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--table", type=Path, help="print what is in this file as a table")
    parser.add_argument("--picture", type=Path, help="with --table: draw it")
    args = parser.parse_args()
    if args.table:
        rows = [json.loads(line) for line in args.table.read_text().splitlines()]
        print(table(rows))
        if args.picture:
            picture(rows, args.picture)
        return 0
    warnings.simplefilter("ignore")  # orders that few evaluations lower
    model = ab.load(args.run)
    judge = Judge("mnist", args.mnist, args.cache)
    keys = ("name", "evaluations", "seed", "precision")
    done = set()
    if args.out.exists():
        done = {tuple(json.loads(line)[key] for key in keys) for line in args.out.read_text().splitlines()}
    for seed, (name, evaluations, given) in itertools.product(
        args.seeds, jobs(model, args.what, args.evaluations)
    ):
        found = (name, evaluations, seed, args.precision)
        if found in done or args.only not in (None, name):
            continue
        row = (
            dict(zip(keys, found, strict=True))
            | {"n": args.n}
            | score(judge, model, args.n, seed, {**given, "precision": args.precision})
        )
        with open(args.out, "a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{name}, {evaluations}, seed {seed}: {row['frechet']:.3f}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
