"""alphabar info: what a model is."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from . import options
from .sampling import OPTIMAL_WORDS, fitted_words, guidance_words

if TYPE_CHECKING:
    from ..model import Denoiser
    from ..theory.scales import Scales


def info(run: options.Model, json: options.Json = False) -> None:
    """Describe a model: network, schedule, training, fitted plans."""
    from ..model import load
    from ..model.file import facts_of, model_path
    from ..runs.folder import RunFolder
    from .console import document, table

    denoiser = load(run, "cpu")
    facts: dict[str, Any] = {
        "file": str(model_path(run)),
        "digest": denoiser.digest,
        "parameters": denoiser.num_parameters,
        "terminal_signal": denoiser.schedule.terminal_signal,
        **facts_of(denoiser),
    }
    folder = RunFolder(run)
    if json:
        document(facts | {"run": folder.progress() if folder.exists() else None})
        return
    schedule, network, space = facts["schedule"], facts["network"], denoiser.space
    T = denoiser.schedule.T
    table([
        ("file", facts["file"]),
        ("digest", denoiser.digest[:16]),
        ("samples", f"{space.shown_shape()}, {space.dtype}, {space.shown_range()}"),
        *([("channels", space.shown_names())] if space.names and not space.columns else []),
        *([("missing", f"{int(space.absent.sum()):,} numbers of each")] if space.absent is not None else []),
        *(_told(name, condition) for name, condition in denoiser.conditions.items()),
        ("network", f"{network['name']}, {facts['parameters']:,} parameters"),
        ("", _words({key: value for key, value in network.items() if key != "name"})),
        *([("needs", _words(facts["requires"]))] if facts["requires"] else []),
        ("predicts", denoiser.prediction),
        ("schedule", f"{schedule['name']}, {_words({'T': T} | schedule, 'name', 'alpha_bar')}"),
        ("terminal signal", f"sqrt(alpha_bar_T) = {facts['terminal_signal']:.4g}"),
        ("trained", _trained(denoiser.about)),
        ("on", _source(denoiser.about)),
        ("scales", _scales(denoiser.scales)),
        ("guidance", _guidance(denoiser)),
        ("fitted", ", ".join(_fitted(denoiser)) or "nothing (alphabar fit-sampler)"),
    ])  # fmt: skip


def _words(settings: dict[str, Any], *without: str) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items() if key not in without)


def _told(name: str, condition: Any) -> tuple[str, str]:
    """A condition, and what its values are."""
    names = getattr(condition, "names", None)
    return (f"told {name}" if name != "class" else "classes"), (
        condition.described() if names is None else ", ".join(names)
    )


def _trained(about: dict[str, Any]) -> str:
    images, total = about.get("images", 0), about.get("of_images")
    of = f" of {total:,}" if total and images < total else ""
    return f"{images:,}{of} images, Alphabar {about.get('alphabar', '?')}"


def _source(about: dict[str, Any]) -> str:
    """The data, with the options that they were prepared with, as one types them."""
    from .settings import typed

    words = typed(options.data_flags(), about.get("prepared", {}))
    return shlex.join([about.get("source") or "?", *words])


def _scales(scales: Scales | None) -> str:
    if scales is None:
        return "not measured: those of small photographs are taken"
    return f"{scales.coarsest:.3g} (coarsest) to {scales.finest:.2g} (finest), in model space"


def _guidance(denoiser: Denoiser) -> str:
    """Whether the model can be guided, and what it is guided by unless told."""
    if not any(condition.dropout for condition in denoiser.conditions.values()):
        return "by another model only"
    own = denoiser.guidance
    if own is None:
        return "yes; none unless asked for"
    return f"yes; {guidance_words(own['scale'], own['interval'], own['every'])} unless another is asked for"


def _fitted(denoiser: Denoiser) -> list[str]:
    """The options of `sample` for what `alphabar fit-sampler` found."""
    from ..sampling import Guidance

    own, plans = Guidance(**(denoiser.guidance or {})).facts(), []
    for plan in denoiser.plans:
        how = plan.made_by["guidance"]
        plans.append(fitted_words(plan.num_evaluations, 1.0 if how == own else how["scale"]))
    return plans + [OPTIMAL_WORDS] * (denoiser.x0_mse is not None)
