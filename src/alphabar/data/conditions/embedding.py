"""Texts, told as an encoder of the user's choice embeds them."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np

from ...files import COUNT
from .base import NOT_TOLD, is_told
from .encoders import ALIKE, KNOWN, PLACE, SENTENCE, TYPE, Encoder, encoder_of, packed, unpacked
from .text import TextCondition

_asked = lru_cache(1)(lambda name: encoder_of(name, OTHERWISE))
OTHERWISE = f"name the folder that holds it, {PLACE}=FOLDER; where no text is told, it isn't needed"


@dataclass(frozen=True)
class EmbeddingCondition(TextCondition):
    """A text with the embedding e (K,), told as (e - mean) / scale and a mark, (K + 1,).

    The training samples' e have this mean, and scale^2 = E |e - mean|^2: one for all numbers keeps angles,
    and how far away a text lies that training never saw. Embeddings are made once, and found again by the
    encoder's digest and the text. An empty text is not told.

    Attributes:
        size: K.
        encoder: its folder or name, see `encoder_of`.
        sha256: of its weights.
        embeddings: what it makes of `SENTENCE` and of the examples, each once, see `packed`: so that these
            can be drawn without it.
        mean, scale: of the training samples, (K,) and a number.
    """

    kind: ClassVar[str] = "embedding"
    measure: ClassVar[str] = "1 - E (predicted - told)^2 / E (told - mean)^2 of embeddings"
    form: ClassVar[Mapping[str, Any]] = {
        "size": COUNT, "encoder": str, "sha256": str, "embeddings": str, "mean": [float], "scale": float,
    }  # fmt: skip
    fitted_only: ClassVar[frozenset[str]] = TextCondition.fitted_only | {
        "encoder", "embeddings", "mean", "scale",
    }  # fmt: skip
    encoder: str = ""
    sha256: str = ""
    embeddings: str = field(default="", repr=False)
    mean: tuple[float, ...] = field(default=(), repr=False)
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        if len(self.mean) not in (0, self.size) or not 0 < self.scale < math.inf:
            raise ValueError(
                f"embeddings of {self.size} numbers must have as many of mean, and a scale above 0, got "
                f"{len(self.mean)} and {self.scale}"
            )
        texts, rows = _kept(self.examples), unpacked(self.embeddings, self.size)
        if len(texts) != len(rows):
            raise ValueError(f"embeddings must be those of {len(texts)} texts, got {len(rows)}")
        for text, row in zip(texts, rows, strict=True):
            KNOWN[self.sha256].setdefault(text, row)

    @classmethod
    def by(cls, encoder: Encoder) -> Self:
        """Texts as this encoder embeds them."""
        (row,) = encoder.learn([SENTENCE])
        return cls(len(row), encoder.name, encoder.sha256, packed(row))

    @classmethod
    def read(cls, cells: Sequence[Any], asked: bool) -> tuple[Self, np.ndarray] | None:
        """None: cells are texts, until an encoder is given."""
        if asked:
            raise ValueError("texts are embedded by an encoder: say NAME=text, and --text-encoder ENCODER")
        return None

    def encode_told(self, values: np.ndarray) -> np.ndarray:
        """[(e - mean) / scale, 1]; ValueError for what is no text, and if there is no encoder to ask."""
        rows = self.embed(self.texts(values))
        told = (rows.astype(np.float64) - np.array(self.mean or 0.0)) / self.scale
        return np.concatenate([told, np.ones((len(rows), 1))], 1).astype(np.float32)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """(n, K) float16; the encoder is loaded if some aren't known. ValueError if that is another one."""
        known = KNOWN[self.sha256]
        if missing := [text for text in dict.fromkeys(texts) if text not in known]:
            encoder = _asked(os.environ.get(PLACE) or self.encoder)
            self._check(encoder)
            if note := encoder.cut(missing):
                warnings.warn(note, stacklevel=2)
            encoder.learn(missing)
        return np.array([known[text] for text in texts], TYPE).reshape(len(texts), self.size)

    def learn(self, values: np.ndarray, rows: np.ndarray) -> None:
        """Take the embeddings of these values, as `of_each` gave them; ValueError for other ones."""
        texts = _sorted(values)
        if rows.shape != (len(texts), self.size) or rows.dtype != TYPE:
            raise ValueError(f"embeddings must be {self.size} numbers for each of {len(texts)} texts")
        KNOWN[self.sha256].update(zip(texts, rows, strict=True))

    def of_each(self, values: np.ndarray) -> np.ndarray:
        """The embeddings of different values, sorted, (m, K) float16."""
        return self.embed(_sorted(values))

    def _check(self, encoder: Encoder) -> None:
        """ValueError unless it is the one that training had."""
        differ = f"has other weights ({encoder.sha256[:12]})"
        if encoder.sha256 == self.sha256:
            then, now = unpacked(self.embeddings, self.size)[0], encoder.embed([SENTENCE])[0]
            away = np.linalg.norm(now.astype(float) - then) if now.shape == then.shape else math.inf
            if away <= ALIKE * np.linalg.norm(then.astype(float)):
                return
            differ = "has the same weights, but other tokens, prompts or pooling"
        raise ValueError(
            f"this model is told texts as {self.encoder} (weights {self.sha256[:12]}) embeds them, and "
            f"{encoder.name} {differ}: give the same one, {PLACE}=FOLDER"
        )

    def fitted(self, values: np.ndarray) -> Self:
        """With mean and scale of the embeddings of these."""
        told = values[is_told(values)].tolist()
        if not told:
            return self
        rows = self.embed(told).astype(np.float64)
        deviation = math.sqrt(rows.var(0).sum())
        scale = deviation if deviation > 1e-6 * np.linalg.norm(rows, axis=1).max() else 1.0
        return replace(self, mean=tuple(rows.mean(0).tolist()), scale=scale)

    def example_size(self, values: np.ndarray) -> int:
        """A number of an embedding takes an eighth of the room that one takes in digits."""
        return max(1, self.size // 8)

    def with_examples(self, values: np.ndarray) -> Self:
        """Also with the embeddings of these."""
        examples = tuple(text or None for text in values.tolist())
        return replace(self, examples=examples, embeddings=packed(self.embed(_kept(examples))))

    def parse(self, given: Any) -> str | None:
        """The text; None for `none`, and for an empty one."""
        text = str(given).strip()
        return None if given is None or text in ("", NOT_TOLD) else text

    def described(self) -> str:
        """What embeds them, and an example."""
        encoder = f"{self.encoder} (weights {self.sha256[:12]})"
        return f"texts, as {encoder} embeds them in {self.size} numbers{self._such_as()}"

    def encoding(self) -> dict[str, Any]:
        """Also what embeddings are standardized by."""
        return {**self.meaning(), "mean": list(self.mean), "scale": self.scale}


def _sorted(values: np.ndarray) -> list[str]:
    return np.unique(values[is_told(values)]).tolist()


def _kept(examples: Sequence[str | None]) -> list[str]:
    """The texts whose embeddings are kept with these examples."""
    return list(dict.fromkeys([SENTENCE, *filter(None, examples)]))
