"""The program `alphabar`."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import typer

from ..version import __version__
from .data import data
from .evaluate import diagnose, evaluate
from .info import info
from .pictures import denoise, interpolate
from .plan import plan
from .report import report
from .restore import colourise, deblur, inpaint, upscale
from .sample import sample
from .schedule import schedule
from .train import train
from .tune import probe, tune

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train denoising diffusion models on your own data, and sample from them.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"alphabar {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


for command in (data, train, sample, tune, probe, info):
    app.command()(command)
app.command("eval", rich_help_panel="Is it good?")(evaluate)
for command in (diagnose, report):
    app.command(rich_help_panel="Is it good?")(command)
for command in (denoise, interpolate, inpaint, upscale, colourise, deblur):
    app.command(rich_help_panel="Real pictures")(command)
app.command(rich_help_panel="Theory")(schedule)
app.add_typer(plan, name="plan", rich_help_panel="Theory")


def main() -> None:
    """Run the program: a user's mistake is one message on standard error and exit code 2."""
    warnings.showwarning = lambda message, *_, **__: print(f"alphabar: warning: {message}", file=sys.stderr)
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], prog_name="alphabar", standalone_mode=False))
    except typer.Abort:  # Ctrl-C
        sys.exit(130)
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        hint = "try a smaller --micro-batch (same result), --size or network"
        print(f"alphabar: out of memory; {hint}", file=sys.stderr)
        sys.exit(2)
    except (ValueError, OSError, ArithmeticError) as error:
        message = _message(error)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        message = _usage(error)
    print(f"alphabar: {message}", file=sys.stderr)
    sys.exit(2)


def _usage(error: Any) -> str:
    """What Typer says of the arguments, with the value it got and where help is, in one line."""
    message = error.format_message().rstrip(".")
    names = getattr(getattr(error, "param", None), "opts", [])
    for argument, following in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        value = value if equals else following
        if name in names and repr(value) not in message:
            message += f", got {value!r}"
            break
    command = error.ctx.command_path if getattr(error, "ctx", None) else "alphabar"
    return f"{message}; see {command} --help"


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        import errno

        where = f": {error.filename}" if error.filename else ""
        hint = "; free some space and give the same command again" if error.errno == errno.ENOSPC else ""
        return f"{error.strerror}{where}{hint}"
    return str(error)
