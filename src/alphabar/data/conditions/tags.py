"""Several labels at once: any of some tags."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from ...errors import brief, unknown
from .base import NOT_TOLD, is_told
from .named import Named


@dataclass(frozen=True)
class TagsCondition(Named):
    """Any of K tags at once, told as 0 or 1 for each and a mark, (K + 1,); a value is K zeros and ones.

    The mark is 1 where it is told, so that "no tag" is something else than "not told".
    """

    kind: ClassVar[str] = "tags"
    measure: ClassVar[str] = "share of tags that agree"
    noun: ClassVar[tuple[str, str]] = ("tag", "tags")

    @classmethod
    def read(cls, cells: Sequence[Any], asked: bool) -> tuple[Self, np.ndarray] | None:
        """Lists of texts, or texts of which one has `;` or `|` in it; any text, also with `,`, if asked.

        Rows of zeros and ones are tags as well, named by their numbers.
        """
        known = [cell for cell in cells if cell is not None]
        rows = np.array([1, 0]) if not known or isinstance(known[0], str) else _rows(known)
        if rows.ndim == 2 and ((rows == 0) | (rows == 1)).all():
            found = [None if cell is None else np.flatnonzero(cell).tolist() for cell in cells]
            names = tuple(map(str, range(rows.shape[1])))
        else:
            texts = all(isinstance(cell, str) or _is_texts(cell) for cell in known)
            split = texts and any(not isinstance(cell, str) or re.search("[;|]", cell) for cell in known)
            if not (split or (asked and texts and known)):
                if asked:
                    raise ValueError(
                        f"tags are lists of texts, or texts with ; or | between them, got {known[:3]}"
                    )
                return None
            apart = "[;|,]" if asked else "[;|]"
            tags = [None if cell is None else _apart(cell, apart) for cell in cells]
            names = tuple(sorted({name for each in tags for name in each or ()}))
            place = {name: i for i, name in enumerate(names)}
            found = [None if each is None else [place[name] for name in each] for each in tags]
        if not names:
            return None
        values = np.zeros((len(cells), len(names)), np.float64)
        for i, each in enumerate(found):
            values[i, slice(None) if each is None else each] = math.nan if each is None else 1
        missing = len(known) < len(cells)
        return cls(names=names), values if missing else values.astype(np.uint8)

    @property
    def rank(self) -> int:
        """1."""
        return 1

    @property
    def shape(self) -> tuple[int, ...]:
        """(K + 1,)."""
        return (len(self.names) + 1,)

    def encode_told(self, values: np.ndarray) -> np.ndarray:
        """[value, 1]; ValueError unless all are K zeros and ones."""
        k = len(self.names)
        numbers = values.dtype.kind in "biuf"
        if values.shape[1:] != (k,) or not numbers or not ((values == 0) | (values == 1)).all():
            raise ValueError(
                f"tags are {k} numbers 0 or 1, or names with commas between them, "
                f"got {brief(values.tolist())}"
            )
        return np.concatenate([values, np.ones((len(values), 1))], 1).astype(np.float32)

    def fitted(self, values: np.ndarray) -> Self:
        """With how many of the training samples each tag has."""
        return replace(self, counts=tuple(values[is_told(values)].sum(0).astype(int).tolist()))

    def parse(self, given: Any) -> list[int] | None:
        """Names with `,`, `;` or `|` between them; nothing for no tag."""
        text = str(given).strip()
        if self.place(text) is None and (given is None or text == NOT_TOLD):
            return None
        names = [text] if self.place(text) is not None else _apart(text, "[;|,]")
        found = [0] * len(self.names)
        for name in names:
            place = self.place(name)
            if place is None:
                raise unknown("tag", name, self.names)
            found[place] = 1
        return found

    def check_asked(self, name: str, values: Sequence[Any] | np.ndarray) -> None:
        """Also warn of tags that had no training sample."""
        super().check_asked(name, values)
        told = zip(values, is_told(values).tolist(), strict=True)
        self.warn_of(name, {i for value, known in told if known for i, on in enumerate(value) if on})

    def agreement(self, predicted: np.ndarray, encoded: np.ndarray) -> float:
        """The share of all tags, on or off, that are nearer to the prediction than the opposite."""
        return float(((predicted > 0.5) == (encoded > 0.5))[:, :-1].mean())

    def written(self, value: Any) -> str:
        """Their names with `;` between them."""
        told = is_told([value]).all()
        return ";".join(name for name, on in zip(self.names, value, strict=True) if on) if told else ""

    def said(self, value: Any) -> str:
        """Their names."""
        return ", ".join(name for name, on in zip(self.names, value, strict=True) if on) or "no tags"


def _apart(cell: Any, pattern: str) -> list[str]:
    """The different names of a text or a list."""
    parts = re.split(pattern, cell) if isinstance(cell, str) else cell
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _is_texts(cell: Any) -> bool:
    return isinstance(cell, list | tuple) and all(isinstance(part, str) for part in cell)


def _rows(cells: Sequence[Any]) -> np.ndarray:
    """Rows of numbers (n, K); anything else as no rows."""
    try:
        rows = np.asarray(cells)
    except ValueError:  # of several lengths
        return np.zeros(0)
    return rows if rows.ndim == 2 and rows.dtype.kind in "biuf" else np.zeros(0)
