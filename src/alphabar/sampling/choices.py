"""What the settings of sampling come to for one model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..model import Denoiser, has_bfloat16, load
from ..theory.plans import DEFAULT_EVALUATIONS, DEFAULT_SAMPLER, Plan, make_plan
from .config import SampleConfig
from .executor import OnX0
from .executor import clip as clip_x0
from .executor import threshold as threshold_x0
from .guidance import Guidance

FEWEST = 10  # evaluations by default, however near to the clean sample the start is


@dataclass(frozen=True)
class Choices:
    """What the settings come to: guidance, precision, plan and what acts on x0_hat; `facts` as JSON."""

    guidance: Guidance
    precision: str
    plan: Plan
    on_x0: list[OnX0]
    facts: dict[str, Any]


def choose(denoiser: Denoiser, config: SampleConfig, from_noise: bool = True) -> Choices:
    """The choices for a model, and a start from pure noise or from given samples.

    ValueError for what doesn't fit the model.
    """
    guidance = rule_of(denoiser, config, from_noise)
    precision = config.precision or usual_precision(denoiser)
    plan = choose_plan(denoiser, config, guidance)
    plan.check_fits(denoiser.schedule)
    if plan.times[-1] != 0:
        raise ValueError(f"a plan to sample with ends at 0, the clean sample, got {plan.times[-1]:g}")
    on_x0, facts = bounded(denoiser, config)
    return Choices(guidance, precision, plan, on_x0, {**facts, "precision": precision})


def rule_of(denoiser: Denoiser, config: SampleConfig, from_noise: bool = True) -> Guidance:
    """The given guidance, with the model to guide by loaded to where `denoiser` is; or the model's own."""
    own = None if denoiser.guidance is None or not from_noise else Guidance(**denoiser.guidance)
    if own is not None and _takes(denoiser, config, own):
        return own
    guide = config.guide
    if isinstance(guide, str | Path):
        guide = load(guide, str(denoiser.device))
    return config.rule(guide)


def _takes(denoiser: Denoiser, config: SampleConfig, own: Guidance) -> bool:
    """Whether a model's own guidance acts: on whole ways from noise that are told something; unless
    another or none is asked for, or a plan that was fitted without it.
    """
    other = config.guidance is not None or config.plan is not None
    told = not config.cond or any(value is not None for value in config.cond.values())
    whole = config.start in (None, denoiser.schedule.T)
    without, with_it = (fitted_plan(denoiser, config, one) for one in (Guidance(), own))
    return told and whole and not other and (without is None or with_it is not None)


def usual_precision(denoiser: Denoiser) -> str:
    """What the model was trained in, if that is "bfloat16" and this device computes in it; or "float32".

    A model's errors are larger than bfloat16's roundings (docs/log.md), which a network that was
    trained with them has seen; it takes half the time where the hardware has it, and longer elsewhere.
    """
    trained = denoiser.about.get("training", {}).get("precision")
    return "bfloat16" if trained == "bfloat16" and has_bfloat16(denoiser.device) else "float32"


def choose_plan(denoiser: Denoiser, config: SampleConfig, guidance: Guidance | None = None) -> Plan:
    """The plan of `sample`: the given one, or the model's own fitted one if only `evaluations` are given, or
    that of `make_plan`, by default with as many evaluations as 20 from T have below `start`, but at least 10.
    Where the model's own guidance takes some of the 20, the plan has as many fewer.
    """
    if config.plan is not None:
        return config.plan
    guidance = guidance or rule_of(denoiser, config)
    if (plan := fitted_plan(denoiser, config, guidance)) is not None:
        return plan
    T, start, evaluations = denoiser.schedule.T, config.start, config.evaluations
    options = own_options(denoiser, config)
    sampler = config.sampler or DEFAULT_SAMPLER

    def plan_of(evaluations: int) -> Plan:
        return make_plan(
            denoiser.schedule, sampler, evaluations, start, config.spacing, scales=denoiser.scales, **options
        )

    if evaluations is not None:
        return plan_of(evaluations)
    most = share_below(T if start is None else start, T, DEFAULT_EVALUATIONS)
    plan = plan_of(most)
    if config.guidance is None:
        while guidance.evaluations(plan.times[:-1].tolist()) > most and plan.num_evaluations > FEWEST:
            plan = plan_of(plan.num_evaluations - 1)
    return plan


def fitted_plan(denoiser: Denoiser, config: SampleConfig, guidance: Guidance) -> Plan | None:
    """The plan that was fitted to this model for these evaluations and this guidance, where nothing else of
    the sampler is chosen; None if there is none.
    """
    whole = config.start in (None, denoiser.schedule.T)
    if config.evaluations is None or config.sampler or config.spacing or config.options or not whole:
        return None
    wanted = guidance.facts()
    return next(
        (
            plan
            for plan in denoiser.plans
            if plan.num_evaluations == config.evaluations and plan.made_by["guidance"] == wanted
        ),
        None,
    )


def own_options(denoiser: Denoiser, config: SampleConfig) -> dict[str, Any]:
    """The sampler's own options, with what the model knows for them: x0_mse for the optimal variance."""
    options = dict(config.options)
    if config.sampler == "ddpm" and options.get("variance") == "optimal" and "x0_mse" not in options:
        if denoiser.x0_mse is None:
            raise ValueError(
                "the optimal variance is estimated from the model once: alphabar fit-sampler RUN --variance"
            )
        options["x0_mse"] = denoiser.x0_mse
    return options


def share_below(start: float, T: int, evaluations: int) -> int:
    """As many evaluations as a plan of `evaluations` from T has below `start`; at least 10, and no more than
    one a step.
    """
    return min(max(math.ceil(evaluations * start / T), FEWEST), max(1, math.ceil(start)))


def bounded(denoiser: Denoiser, config: SampleConfig) -> tuple[list[OnX0], dict[str, Any]]:
    """What keeps x0_hat within the data's range, and the record of it."""
    bounds, share = denoiser.codec.bounds, config.threshold
    if bounds is None and (config.clip or share is not None):
        raise ValueError("this model's data has no bounds to clip to; give clip=False and no threshold")
    facts = {"clip": None, "threshold": share}
    if bounds is None or config.clip is False:
        return [], facts
    if share is not None:
        return [threshold_x0(*bounds, share)], facts
    return [clip_x0(*bounds)], {**facts, "clip": [np.ravel(b).tolist() if np.ndim(b) else b for b in bounds]}
