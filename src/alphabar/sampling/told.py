"""What each sample is told: as given, as often as in the training data, or nothing."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import rng
from ..data.conditions.base import is_told, plain
from ..data.conditions.picture import PictureCondition
from ..data.dataset import Dataset, spread
from ..data.kinds import KINDS
from ..data.sources.table_files import labels_bytes
from ..data.space import Space
from ..errors import unknown
from ..model import Denoiser
from ..model.whole import InParts
from .guidance import Guidance, guided_steps

MOST = 2
"""Times as many held-out samples are looked at as are told."""

DRAWN = ("picture", "field")
"""Kinds of which each sample is written as a picture."""

GOLDEN = 0x9E3779B97F4A7C15
"""2^64 / φ with φ = (1 + √5) / 2; odd."""

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
            class's name, or `each` for every class as often; None is not told. Where any is given, the
            others are not told as far as training hid them at times: what is sampled is the law given these.
            What has to be told, or all if none is given, is drawn as often as in the training data: together,
            from the values of one training sample for each, as far as the model keeps some. Samples of
            consecutive numbers share them evenly: 10,000 have each class as often as the data up to a few.
        silent: leave all others untold, where the model was trained for that.
    """
    check_known(denoiser, given)
    told: Told = {}
    together = evenly(seed, indices)
    for k, (name, condition) in enumerate(denoiser.conditions.items()):
        if name in given:
            each = condition.is_each(value := given[name])
            told[name] = condition.each(indices) if each else condition.values(name, value, len(indices))
        elif (silent or given) and condition.dropout > 0:
            told[name] = [None] * len(indices)
        else:
            # by itself, where it can't be of the same training sample: two that turn alike would go together
            apart = k > 0 and not condition.examples
            u = rng.uniform(seed, "condition", indices, k) if apart else together
            told[name] = plain(condition.draw(u))
        condition.check_asked(name, told[name])
    return told


def evenly(seed: int, indices: np.ndarray) -> np.ndarray:
    """Numbers uniform in [0, 1), float64 (n,), of which any run of indices has in each part its share.

        u_i = (u + i / φ) mod 1, u uniform by the seed

    Turns by the golden ratio leave shares within O(log n / n) of what they should be (Knuth, TAOCP 3, 6.4),
    where independent numbers are off by O(1 / √n).
    """
    first = np.uint64(rng.uniform(seed, "condition", 0) * 2**64)
    return ((first + indices.astype(np.uint64) * np.uint64(GOLDEN)) >> np.uint64(11)) * 2.0**-53


def told_by(data: Dataset, denoiser: Denoiser, n: int) -> dict[str, np.ndarray]:
    """What n samples are told of a data set where a model is told grids: its file holds none to draw from.

    All conditions are those of the same samples, held-out ones of values that training saw if there are any,
    spread evenly and again from the first if they are fewer than n. Nothing for other models, and where the
    data lack a condition.
    """
    grids = any(isinstance(c, PictureCondition) for c in denoiser.conditions.values())
    if not grids or not denoiser.conditions.keys() <= data.values.keys():
        return {}
    held_out = [i for i in spread(data.held_out, MOST * n) if _is_learned(data, denoiser, i)]
    among = np.array(held_out) if held_out else data.training
    indices = np.resize(spread(among, n), n)
    return data.values_at(indices, denoiser.conditions)


def _is_learned(data: Dataset, denoiser: Denoiser, index: int) -> bool:
    """Whether what is told of a sample can be asked for without a warning: training saw its like."""
    values = data.values_at(np.array([index]), denoiser.conditions)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            for name, condition in denoiser.conditions.items():
                condition.check_asked(name, values[name])
        except ValueError:  # it lacks one that always has to be told
            return False
    return not said


def check_known(denoiser: Denoiser, names: Iterable[str]) -> None:
    """Raise ValueError unless the model has conditions of these names."""
    for name in names:
        if isinstance(parts := denoiser.call, InParts) and name == parts.name:
            crop = "x".join(map(str, parts.place.sides))
            raise ValueError(
                f"whole samples are put together of parts in all places: with size {crop}, {name} tells "
                "where one alone lies"
            )
        if not denoiser.conditions:
            raise ValueError(
                f"this model is told nothing beside x_t: it has no {name} to give{_way(denoiser)}"
            )
        if name not in denoiser.conditions:
            raise unknown("condition", name, denoiser.conditions)


def _way(denoiser: Denoiser) -> str:
    """How a table's model comes to know a class."""
    columns = zip(denoiser.space.names, denoiser.space.columns, strict=True) if denoiser.space.columns else ()
    names = [name for name, column in columns if column.kind == "category"]
    return f" (training with --labels COLUMN makes one of {', '.join(names)})" if names else ""


def check_guidance_leads(denoiser: Denoiser, guidance: Guidance, told: Told) -> None:
    """Raise ValueError where there is nothing that guidance could lead towards, or the guide can't follow."""
    if not guidance.acts:
        return
    if guidance.by is not None:
        for name, condition in guidance.by.conditions.items():
            condition.check_told(name, told[name])
        return
    names = [name for _, names in guided_steps(denoiser, guidance) for name in names]
    if not np.any([is_told(told[name]) for name in names], axis=0).all():
        article = "a" if len(names) == 1 else "one of"
        raise ValueError(
            f"guidance leads towards what is told: give {article} {', '.join(names)} for each sample, as by "
            f"--cond {names[0]}=VALUE"
        )


def part(told: Told, where: Sequence[int] | np.ndarray) -> Told:
    """What the samples at these places are told."""
    return {name: [values[i] for i in where] for name, values in told.items()}


def told_table(space: Space, indices: Sequence[int], told: Mapping[str, Sequence[str]]) -> bytes | None:
    """A CSV of what samples were told, as texts; None if nothing, or where their own table has it.

    A sample is named by its file, or by its row in samples.npy where it has none.
    """
    if not any(map(any, told.values())) or space.columns or space.timeline.order:
        return None
    each = KINDS[space.kind].each(space)
    ending = each[0] if each else ".png" * (space.kind in DRAWN)
    names = [f"{index:06d}{ending}" for index in indices] if ending else range(len(indices))
    return labels_bytes("file_name" if ending else "row", names, told)
