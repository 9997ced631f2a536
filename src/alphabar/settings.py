"""What settings have in common: frozen values that say in plain words what they can't be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import unknown


class Settings(BaseModel):
    """Values by name. ValueError, in the words of this project, for a name or value that can't be."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str] = "setting"
    """What one of them is, for messages."""

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise in_words(error.errors(), self.kind, type(self).model_fields) from None


def in_words(complaints: Iterable[Any], kind: str, known: Iterable[object]) -> ValueError:
    """pydantic's `errors()` of settings; `known` are the settings' names."""

    def one(entry: Any) -> str:
        name = ".".join(map(str, entry["loc"]))
        if entry["type"] == "extra_forbidden":
            return str(unknown(kind, name, known))
        if entry["type"] == "value_error":
            return entry["msg"].removeprefix("Value error, ")
        return f"{name}: {entry['msg']}, got {entry['input']!r}"

    return ValueError("; ".join(map(one, complaints)))
