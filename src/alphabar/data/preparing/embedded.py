"""Labels whose texts are told as an encoder embeds them."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import numpy as np

from ...errors import some
from ..conditions.base import is_told
from ..conditions.embedding import EmbeddingCondition
from ..conditions.encoders import PLACE, Encoder, encoder_of
from ..conditions.text import TextCondition
from ..sources.source_types import Labels

OTHERWISE = (
    f"give a folder that an encoder was saved to (--text-encoder FOLDER; {PLACE}=FOLDER where that of a run "
    "has moved), or leave text_encoder out: texts told by their words need none"
)


def embedding(name: str | None, progress: Callable[[int, int], None] | None) -> Callable[[Labels], Labels]:
    """What becomes of labels where this encoder is asked for; nothing without one.

    It is loaded, or that of `PLACE` if it can't be had. ValueError without either.
    """
    if name is None:
        return lambda labels: labels
    try:
        encoder = encoder_of(name, OTHERWISE)
    except ValueError:
        if not (other := os.environ.get(PLACE)):
            raise
        encoder = encoder_of(other, OTHERWISE)
    return partial(_embedded, encoder, progress)


def _embedded(encoder: Encoder, progress: Callable[[int, int], None] | None, labels: Labels) -> Labels:
    """ValueError if none of them is a text."""
    told, notes = dict(labels.told), list(labels.notes)
    texts = [name for name, (condition, _) in told.items() if isinstance(condition, TextCondition)]
    if not texts:
        kinds = [f"{name} ({condition.kind})" for name, (condition, _) in told.items()]
        kinds += ["classes"] * bool(labels.names)
        raise ValueError(
            f"text_encoder is for texts, and what is told is {some(kinds) or 'nothing'}: say which are texts "
            "(--conditions NAME=text), or leave text_encoder out"
        )
    for name in texts:
        values = told[name][1]
        different = np.unique(values[is_told(values)]).tolist()
        encoder.learn(different, progress)
        told[name] = EmbeddingCondition.by(encoder), values
        notes.append(f"{name}: {len(different):,} different texts, embedded by {encoder.name}")
        if note := encoder.cut(different):
            notes.append(f"{name}: {note}")
    return labels._replace(told=told, notes=tuple(notes))
