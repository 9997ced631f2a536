"""What settings have in common: frozen values that say in plain words what they can't be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import brief, unknown


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
        return f"{name}: {entry['msg']}, got {brief(entry['input'])}"

    return ValueError("; ".join(map(one, complaints)))


def numbers_by_name(what: str) -> Callable[[Any], Any]:
    """A reader of "2", "age=2,color=3" and {"age": 2}: a number, or numbers by name. `what`: for messages.

    >>> numbers_by_name("guidance")("2"), numbers_by_name("guidance")("age=2, color=0.5")
    (2.0, {'age': 2.0, 'color': 0.5})
    """

    def read(given: Any) -> Any:
        if not isinstance(given, str):
            return given
        pairs = [part.rpartition("=") for part in given.split(",")]
        try:
            if len(pairs) == 1 and not pairs[0][1]:
                return float(given)
            if not all(name.strip() for name, _, _ in pairs):
                raise ValueError
            return {name.strip(): float(number) for name, _, number in pairs}
        except ValueError:
            raise ValueError(
                f"{what} must be a number, or NAME=NUMBER with commas between them, got {brief(given)}"
            ) from None

    return read


def differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Names of the settings that differ, with both values."""
    found = []
    for name in sorted({*before, *now}):
        a, b = before.get(name), now.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append(f"{prefix}{name} ({a} → {b})")
    return found
