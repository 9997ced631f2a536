"""alphabar info: what a model is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .options import Model


def info(
    run: Model,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
) -> None:
    """Say what a model is."""
    import json
    from pathlib import Path

    from ..denoiser import load, model_path
    from ..training.run import run_progress
    from .console import output, table
    from .given import data_options

    denoiser = load(run)
    facts: dict[str, Any] = {
        "file": str(model_path(run)),
        "digest": denoiser.digest,
        "parameters": sum(p.numel() for p in denoiser.parameters()),
        "terminal_signal": denoiser.schedule.terminal_signal,
        **denoiser.facts(),
    }
    if as_json:
        folder = Path(run).expanduser()
        if folder.is_dir():
            facts["run"] = run_progress(folder)
        output.print(json.dumps(facts, indent=1))
        return
    spec, about, schedule = denoiser.data, denoiser.about, facts["schedule"]
    network = {k: v for k, v in facts["network"].items() if k != "name"}
    shown = ", ".join(f"{k} {v}" for k, v in schedule.items() if k not in ("name", "alpha_bar"))
    values = "no bounds" if spec.low is None else f"{spec.low:g} to {spec.high:g}"
    total = f" of {about['of_images']:,}" if about.get("of_images") else ""
    table([
        ("file", facts["file"]),
        ("digest", denoiser.digest[:16]),
        ("samples", f"{' × '.join(map(str, spec.shape))} (C × H × W), {spec.dtype}, {values}"),
        ("classes", ", ".join(spec.classes) or "none"),
        ("network", f"{facts['network']['name']}, {facts['parameters']:,} parameters"),
        ("", ", ".join(f"{k} {v}" for k, v in network.items())),
        ("predicts", denoiser.head),
        ("schedule", f"{schedule['name']}, {shown or f'T {denoiser.schedule.T}'}"),
        ("terminal signal", f"sqrt(alpha_bar_T) = {facts['terminal_signal']:.4g}"),
        ("trained", f"{about.get('images', 0):,}{total} images, Alphabar {about.get('alphabar', '?')}"),
        ("on", " ".join([about.get("source") or "?", *data_options(about.get("prepared", {}))])),
        ("guidance", "yes" if denoiser.label_dropout else "by another model only"),
        ("fitted", ", ".join(_fitted(denoiser)) or "nothing (alphabar tune)"),
    ])  # fmt: skip


def _fitted(denoiser: Any) -> list[str]:
    """What `alphabar tune` found."""
    found = []
    for plan in denoiser.plans:
        scale = plan.made_by["guidance"]["scale"]
        found.append(f"--steps {plan.num_evaluations}" + (f" --guidance {scale:g}" if scale != 1 else ""))
    return found + ["--sampler ddpm --variance optimal"] * (denoiser.x0_mse is not None)
