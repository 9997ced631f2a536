"""The report of a run: one page of HTML with all that there is to see of it, and nothing to load."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path

from ...files import atomic
from ...version import __version__
from ..results import Results
from .page import Page

__all__ = ["MARK", "render", "write_report"]

MARK = '<meta name="generator" content="Alphabar report">'


def write_report(results: Results, path: str | Path, commands: Sequence[tuple[str, str]] = ()) -> Path:
    """Write one page of HTML on a run, that loads nothing, atomically.

    Args:
        results: of its folder or model.
        path: of the file.
        commands: (what for, what to type), to make the rest of the page again; how the run was made it
            says itself.
    """
    target = Path(path).expanduser()
    page = render(results, commands)
    with atomic(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target


def render(results: Results, commands: Sequence[tuple[str, str]] = ()) -> str:
    """The page. Whatever is not its own markup is escaped, so that no data can become any."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = "{:,}".format
    environment.filters["sha256"] = _digest
    page = Page(results, [*_training(results), *commands])
    return environment.get_template("page.html.j2").render(page=page, version=__version__)


def _digest(text: str) -> str:
    """As a Content-Security-Policy names a script."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _training(results: Results) -> list[tuple[str, str]]:
    """How the run was made: the command that run.json keeps, or else the call from Python."""
    if not results.entry:
        return []
    if command := results.entry.get("command"):
        words = command if isinstance(command, str) else shlex.join(command)
        return [("Train. The same command again resumes.", words)]
    source = results.entry.get("data", {}).get("source") or "data"
    settings = {name: value for name, value in results.settings.items() if value is not None}
    arguments = "".join(f", {name}={value!r}" for name, value in settings.items())
    return [("Train, from Python.", f"alphabar.train({source!r}, out={str(results.of)!r}{arguments})")]
