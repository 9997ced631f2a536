"""The kinds of conditions as a table, and what is known of a data set's from its training samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import rng
from ...errors import made_from
from .base import Condition
from .embedding import EmbeddingCondition
from .named import ClassCondition
from .picture import PictureCondition
from .place import PlaceCondition
from .tags import TagsCondition
from .text import TextCondition
from .vector import VectorCondition

NUMBERS = 2**15
"""Numbers that are kept of a condition's values in training, to draw from, at most."""
EXAMPLES = 1024
"""Training samples whose values are kept at most."""
LOOKED_AT = 2**24
"""Numbers of grids and embeddings that their mean and scale are fitted to, at most."""

CONDITIONS: dict[str, type[Condition]] = {
    row.kind: row
    for row in (
        ClassCondition, VectorCondition, TagsCondition, TextCondition, EmbeddingCondition, PictureCondition,
        PlaceCondition,
    )
}  # fmt: skip
"""Kinds of conditions by name: one of several classes, numbers, any of several tags, texts, as words or as
an encoder embeds them, grids, where a crop lies."""


def condition_from(entry: Mapping[str, Any]) -> Condition:
    """The condition that `to_dict` described."""
    return made_from(CONDITIONS, entry, "kind", "kind of condition")


def form_of(kind: str) -> dict[Any, Any]:
    """What the facts of a condition of this kind must be, see `files.check_facts`."""
    row = CONDITIONS.get(kind)
    own = {} if row is None else row.form
    return {
        "kind": str, "dropout": float, "examples?": [Any], str: Any,
        **{f"{name}?": form for name, form in own.items()},
    }  # fmt: skip


def fitted(
    conditions: Mapping[str, Condition], values: Mapping[str, np.ndarray], training: np.ndarray
) -> dict[str, Condition]:
    """The conditions with what is known of them from the training samples.

    They are drawn together, from values of the same samples; a class alone is drawn by its counts, and
    grids are not drawn.

    Args:
        conditions: by name.
        values: of all samples, (N, …).
        training: the numbers of those that are trained on.
    """
    found = {name: c.fitted(values[name][_looked_at(c, training)]) for name, c in conditions.items()}
    small = [name for name, condition in found.items() if not isinstance(condition, PictureCondition)]
    alone = len(small) == 1 and isinstance(found[small[0]], ClassCondition)
    if alone or not small or not len(training):
        return found
    most = min(EXAMPLES, NUMBERS // max(1, *(found[name].example_size(values[name]) for name in small)))
    some = _some(training, max(1, most))
    return found | {name: found[name].with_examples(values[name][some]) for name in small}


def _looked_at(condition: Condition, training: np.ndarray) -> np.ndarray:
    """The training samples that a condition is fitted to: all, but for large grids and embeddings."""
    large = isinstance(condition, PictureCondition | EmbeddingCondition)
    most = LOOKED_AT // math.prod(condition.shape) if large else None
    return training if most is None or most >= len(training) else _some(training, max(1, most))


def _some(training: np.ndarray, most: int) -> np.ndarray:
    """So many of the training samples, in their order; always the same."""
    return np.sort(rng.stream(0, "condition", 0).permutation(training)[:most])
