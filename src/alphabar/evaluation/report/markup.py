"""HTML and SVG as values: what is not markup is escaped, so that no data can become any."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

VOID = {"img", "input", "meta"}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def text(inside: Any) -> Html:
    """Anything as markup: `Html` as it is, lists joined, None as nothing, all else escaped."""
    if isinstance(inside, Html):
        return inside
    if inside is None:
        return Html()
    if isinstance(inside, Iterable) and not isinstance(inside, str):
        return Html("".join(map(text, inside)))
    return Html(html.escape(str(inside)))


def tag(name: str, *inside: Any, **attributes: Any) -> Html:
    """An element; `stroke_width` and `class_` are the attributes stroke-width and class.

    An attribute is left out for None and False, and has no value for True.
    """
    words = [name]
    for key, value in attributes.items():
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"')
    end = "" if name in VOID else f"</{name}>"
    return Html(f"<{' '.join(words)}>{text(inside)}{end}")


# --- pieces of a page -----------------------------------------------------------------------------


def facts_list(rows: Sequence[tuple[str, object]]) -> Html:
    """Names and values; those without one are left out."""
    return tag("dl", [
        tag("div", tag("dt", name), tag("dd", value)) for name, value in rows if value not in (None, "")
    ])  # fmt: skip


def sheet(pictures: Sequence[Html], captions: Sequence[str], columns: int) -> Html:
    """Pictures in rows, with what is below each."""
    figures = [
        tag("figure", one, tag("figcaption", caption, title=caption) if caption else None)
        for one, caption in zip(pictures, captions, strict=True)
    ]
    return tag("div", figures, class_="sheet", style=f"--columns: {columns}; --few: {columns // 2}")


def pair(*sides: Any) -> Html:
    """Side by side, where there is room."""
    return tag("div", [tag("div", side) for side in sides], class_="pair")


def plain(*words: Any) -> Html:
    """A paragraph."""
    return tag("p", words)


def soft(*words: Any) -> Html:
    """A paragraph that explains."""
    return tag("p", words, class_="soft")


def duration(seconds: float) -> str:
    """4 min 54 s."""
    whole = round(seconds)
    parts = ((whole // 3600, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    shown = [f"{n} {unit}" for n, unit in parts if n][:2]
    return " ".join(shown) or "0 s"
