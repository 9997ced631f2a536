"""What each sample is told: as given, as often as in the training data, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import rng
from ..data.conditions import Condition
from ..errors import unknown
from ..model import Denoiser
from .guidance import Guidance, droppable

Told = dict[str, list[Any]]
"""Name → a value for each sample, None where it is not told."""


def tell(
    denoiser: Denoiser, indices: np.ndarray, seed: int, given: Mapping[str, Any], silent: bool = False
) -> Told:
    """The values for samples of these indices.

    Args:
        denoiser: whose conditions they are.
        indices: of the samples.
        seed: of what is drawn.
        given: name → one value for all, or a list of one each; text is read as a person types it, such as a
            class's name; None is not told. What is not given is drawn as often as in the training data, each
            condition by itself.
        silent: what is not given is not told, where the model knows that.
    """
    for name in given:
        if not denoiser.conditions:
            raise ValueError(f"this model is told nothing beside x_t: it has no {name} to give")
        if name not in denoiser.conditions:
            raise unknown("condition", name, denoiser.conditions)
    told: Told = {}
    for k, (name, condition) in enumerate(denoiser.conditions.items()):
        if name in given:
            told[name] = condition.values(given[name], len(indices))
        elif silent and condition.dropout > 0:
            told[name] = [None] * len(indices)
        else:
            told[name] = condition.draw(rng.uniform(seed, "condition", indices, k)).tolist()
        check_may_be_untold(name, condition, told[name])
    return told


def check_may_be_untold(name: str, condition: Condition, values: Sequence[Any]) -> None:
    """Raise ValueError where a value is not told and the model was always told it in training."""
    if not condition.dropout and any(value is None for value in values):
        raise ValueError(
            f"this model always needs to be told the {name}, which training never hid: give one "
            "(a model trained with --set condition_dropout=0.1 does without)"
        )


def check_guidance_leads(denoiser: Denoiser, guidance: Guidance, told: Told) -> None:
    """Raise ValueError where there is nothing that guidance could lead towards, or the guide can't follow."""
    if guidance.scale == 1:
        return
    if guidance.by is not None:
        for name, condition in guidance.by.conditions.items():
            check_may_be_untold(name, condition, told[name])
        return
    names = droppable(denoiser)
    if any(all(value is None for value in row) for row in zip(*(told[name] for name in names), strict=True)):
        article = "a" if len(names) == 1 else "one of"
        raise ValueError(
            f"guidance leads towards what is told: give {article} {', '.join(names)} for each sample"
        )


def part(told: Told, where: Sequence[int] | np.ndarray) -> Told:
    """What the samples at these places are told."""
    return {name: [values[i] for i in where] for name, values in told.items()}
