"""Texts: captions, names, descriptions, told as the words that are in them."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np

from ...errors import brief, check_whole, some
from ...files import COUNT
from .base import NOT_TOLD, Condition

WORD = re.compile(r"\w+")
SIZE = 256
SHOWN = 60  # letters
MOST_WORDS = 10_000


@dataclass(frozen=True)
class TextCondition(Condition):
    """A text, told as a hashed bag of its words and a mark, (K + 1,): no language model, the words alone.

    Word w adds its sign to one of K numbers, both by a hash of it in small letters (BLAKE2b), and the sum is
    divided by the root of the number of words ("feature hashing", arXiv 0902.2206). So texts are alike as far
    as they share words, order and meaning are lost, and a word that training never saw says nothing that was
    learned. An empty text is not told. `EmbeddingCondition` tells what an encoder makes of them.

    Attributes:
        size: K.
        words: of the training samples, unless they are more than `MOST_WORDS`.
    """

    kind: ClassVar[str] = "text"
    measure: ClassVar[str] = "1 - E (predicted - told)^2 / E (told - mean)^2 of hashed words"
    form: ClassVar[Mapping[str, Any]] = {"size": COUNT, "words": [str]}
    fitted_only: ClassVar[frozenset[str]] = Condition.fitted_only | {"words"}
    size: int = SIZE
    words: tuple[str, ...] = field(default=(), repr=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("the size of a text", self.size, 1, 2**16)
        object.__setattr__(self, "words", tuple(self.words))

    @classmethod
    def read(cls, cells: Sequence[Any], asked: bool) -> tuple[Self, np.ndarray] | None:
        """Texts of which most have several words; any texts if asked."""
        known = [cell for cell in cells if cell is not None]
        texts = bool(known) and all(isinstance(cell, str) for cell in known)
        if asked and not texts:
            raise ValueError(f"a text is told of each sample, got {known[:3]}")
        several = texts and sum(len(WORD.findall(cell)) > 1 for cell in known) > len(known) / 2
        if not (asked or several):
            return None
        return cls(), np.array([cell or "" for cell in cells], str)

    @property
    def shape(self) -> tuple[int, ...]:
        """(K + 1,)."""
        return (self.size + 1,)

    def encode_told(self, values: np.ndarray) -> np.ndarray:
        """[sum of signs / sqrt(words), 1]; ValueError for what is no text."""
        texts = self.texts(values)
        encoded = np.zeros((len(texts), self.size + 1), np.float32)
        encoded[:, -1] = 1
        for row, text in zip(encoded, texts, strict=True):
            words = WORD.findall(text.lower())
            for word in words:
                place, sign = _hashed(word, self.size)
                row[place] += sign / np.sqrt(len(words))
        return encoded

    def fitted(self, values: np.ndarray) -> Self:
        """With the words of the training samples."""
        words = {word for text in set(self.texts(values)) for word in WORD.findall(text.lower())}
        return replace(self, words=tuple(sorted(words)) if len(words) <= MOST_WORDS else ())

    def check_asked(self, name: str, values: Sequence[Any] | np.ndarray) -> None:
        """Also warn of words that training never saw."""
        super().check_asked(name, values)
        asked = {word for text in set(filter(None, values)) for word in WORD.findall(text.lower())}
        if self.words and (unseen := sorted(asked.difference(self.words))):
            warnings.warn(
                f"{name}: no training sample had {some(unseen)} in it, which says nothing that was learned",
                stacklevel=3,
            )

    def texts(self, values: np.ndarray) -> list[str]:
        """The values as a list; ValueError for what is no text."""
        if values.ndim != 1 or values.dtype.kind != "U":
            raise ValueError(f"a value must be a text, got {brief(values.tolist())}")
        return values.tolist()

    def parse(self, given: Any) -> str | None:
        """The text; None for `none`, and for one without words."""
        text = str(given).strip()
        return None if given is None or text == NOT_TOLD or not WORD.search(text) else text

    def said(self, value: Any) -> str:
        """Its beginning."""
        return value if len(value) <= SHOWN else value[: SHOWN - 1] + "…"

    def written(self, value: Any) -> str:
        """The whole text."""
        return value or ""

    def described(self) -> str:
        """How it is told, and an example."""
        return f"texts, told as hashed bags of words of {self.size} numbers{self._such_as()}"

    def _such_as(self) -> str:
        return next((f", such as {self.said(text)!r}" for text in self.examples if text), "")


@lru_cache(2**16)
def _hashed(word: str, size: int) -> tuple[int, int]:
    number = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
    return (number >> 1) % size, 1 - 2 * (number & 1)
