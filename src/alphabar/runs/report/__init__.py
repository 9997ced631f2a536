"""The report of a run: everything about it on one page of HTML, which loads nothing."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path

from ...evaluation.table import with_error
from ...files import expanded, write_bytes
from ...version import __version__
from ..results import Results
from .call import training_call
from .page import Page

__all__ = ["MARK", "is_report", "render", "write_report"]

MARK = '<meta name="generator" content="Alphabar report">'


def write_report(results: Results, path: str | Path, commands: Sequence[tuple[str, str]] = ()) -> Path:
    """Write one page of HTML about a run, atomically. The page loads nothing.

    FileExistsError if there is a file that is not a report.

    Args:
        results: of its folder or model.
        path: of the file.
        commands: (what for, what to type) of the commands that the page ends with, after the one that trained
            the run.
    """
    target = expanded(path)
    page = render(results, commands)
    write_bytes(target, page.encode(), new_file=not is_report(target))
    return target


def is_report(path: Path) -> bool:
    """Whether a file is a report, which a new one may replace."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return MARK.encode() in file.read(1000)


def render(results: Results, commands: Sequence[tuple[str, str]] = ()) -> str:
    """The page. Everything but its own markup is escaped, so that no data can become markup."""
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
    environment.filters["with_error"] = with_error
    page = Page(results, [*_training(results), *commands])
    return environment.get_template("page.html.j2").render(page=page, version=__version__)


def _digest(text: str) -> str:
    """The hash by which a Content-Security-Policy names a script."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _training(results: Results) -> list[tuple[str, str]]:
    """How the run was trained: by the command that run.json keeps, or else by a call from Python."""
    if not results.entry:
        return []
    if command := results.entry["command"]:
        return [("Train. The same command again resumes.", shlex.join(command))]
    call = training_call(results)
    return [("Train, from Python. The same again resumes.", call)] if call else []
