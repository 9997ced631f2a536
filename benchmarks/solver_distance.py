"""Distance of every solver's ends from those of a long run, by evaluations, for any model.

    python benchmarks/solver_distance.py RUN

From -n starts, the root of the mean square distance in model space between where a deterministic
plan and where DPM-Solver++ 2 with 100 evaluations end: no score, but it needs no judge, so it can
be had for any model. Plans that were fitted without noise (alphabar fit-sampler --deterministic) are too.
"""

from __future__ import annotations

import argparse
import warnings

import alphabar as ab
from alphabar.samplers import make_plan
from alphabar.sampling.fit import long_runs
from alphabar.sampling.guidance import Guidance

SOLVERS = {"DDIM": "ddim", "Heun": "heun", "DPM-Solver++ 2": "dpmpp", "DEIS 3": "deis", "iPNDM 4": "ipndm"}
SOLVERS |= {"UniPC 2": "unipc"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Distances from a long run.")
    parser.add_argument("run")
    parser.add_argument("-n", type=int, default=16)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[2, 3, 4, 5, 6, 8, 10, 20])
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # Heun's first step
    model = ab.load(args.run)
    bench = long_runs(model, Guidance(), 0, 10_000, args.n)
    print(f"| | {' | '.join(map(str, args.evaluations))} |\n{'|---' * (len(args.evaluations) + 1)}|")
    for spacing in ("trailing", "log_snr"):
        for name, sampler in SOLVERS.items():
            plans = [make_plan(model.schedule, sampler, n, spacing=spacing) for n in args.evaluations]
            print(
                f"| {name}, {spacing} | "
                + " | ".join(f"{bench.error_of(plan):.3f}" for plan in plans)
                + " |",
                flush=True,
            )
    for plan in model.plans:
        if not plan.stochastic:
            print(f"fitted, {plan.num_evaluations}: {bench.error_of(plan):.3f}")


if __name__ == "__main__":
    main()
