"""The program `alphabar`: its commands by name, of which only the one that is called is built."""

from __future__ import annotations

import errno
import importlib
import os
import re
import sys
import warnings
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from ..errors import brief
from ..torchrun import rank
from ..version import __version__
from .console import clean, never_fail_for_a_character, say


class Entry(NamedTuple):
    """Where a command is, the heading that the help lists it under, and what it does.

    A command's docstring begins with the summary, and a group has no other help.
    """

    target: str
    panel: str
    summary: str


MAKE, JUDGE, MORE = "Make a model, and use it", "Is it good?", "Look closer"
COMMANDS = {
    "data": Entry("data:data", MAKE, "Show what is in a data set, and what the model will see of it."),
    "train": Entry("train:train", MAKE, "Train a model on your data. The same command again resumes."),
    "sample": Entry("sample:sample", MAKE, "Draw samples from a model."),
    "edit": Entry("edit:edit", MAKE, "Vary, mix and restore pictures: inpaint, upscale, colorize, deblur."),
    "eval": Entry("evaluate:evaluate", JUDGE, "Score a model or samples against real data."),
    "diagnose": Entry("diagnose:diagnose", JUDGE, "Find what is wrong with a run and how to fix it."),
    "report": Entry("report:report", JUDGE, "Write everything about a run on one page."),
    "launch": Entry("launch:launch", MORE, "Print a job file for Slurm, Kubernetes or SkyPilot."),
    "runs": Entry("runs:runs", MORE, "List the runs in a folder: how far, how fast, how good."),
    "info": Entry("info:info", MORE, "Describe a model: network, schedule, training, fitted plans."),
    "show": Entry("show:show", MORE, "Show a noise schedule, or a sampler step by step."),
    "fit-sampler": Entry("fit:fit_sampler", MORE, "Fit a sampler to a model, for good samples in few steps."),
}


class Group(dict[str, Any]):
    """Commands by name, under the name of the group, such as `edit`."""


def command(name: str) -> Any:
    """One command, built: its options follow from what the tables hold now."""
    module, _, target = COMMANDS[name].target.partition(":")
    made = _built(name, getattr(importlib.import_module(f".{module}", __package__), target))
    made.name = name
    for one in [made, *getattr(made, "commands", {}).values()]:
        for option in one.params:
            if getattr(option, "is_flag", False) and not option.metavar:
                option.metavar = " "  # a switch takes no value, and the help shows none
    return made


class _Quiet:
    """A command that takes each option once, and whose help shows no value for --help, which takes none."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _check_once(self.params, args)  # type: ignore[attr-defined]
        return super().parse_args(ctx, args)  # type: ignore[misc]

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.metavar = " "
        return option


class _Command(_Quiet, TyperCommand):
    pass


class _Group(_Quiet, TyperGroup):
    pass


def _check_once(options: list[Any], args: list[str]) -> None:
    """ValueError for an option that is given twice, of which the first value would be lost without a word."""
    words = [word.partition("=")[0] for word in (args[: args.index("--")] if "--" in args else args)]
    for option in options:
        if option.param_type_name == "option" and not option.multiple:
            given = [word for word in words if word in (*option.opts, *option.secondary_opts)]
            if len(given) > 1:
                raise ValueError(
                    f"{' and '.join(given[:2])} are one option, which is given twice: give it once"
                )


def _built(name: str, target: Any) -> Any:
    from .flags import with_options

    program = _typer()
    if not isinstance(target, Group):
        settings = getattr(target, "settings", {})  # of how its words are read
        program.command(name, cls=_Command, context_settings=settings)(with_options(target))
        return get_command(program)
    program = _typer(cls=_Group, help=COMMANDS[name].summary, no_args_is_help=True)
    program.callback()(lambda: None)
    for inner, function in target.items():
        program.command(inner, cls=_Command)(with_options(function))
    return get_command(program)


def _typer(**settings: Any) -> typer.Typer:
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, **settings)


class _OnDemand(_Group):
    """Commands of which the help needs only the summaries; the one that is called is built first."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in COMMANDS:
            self.commands[args[0]] = command(args[0])
        return super().resolve_command(ctx, args)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"alphabar {__version__}")
        raise typer.Exit


def _main(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, metavar=" ", help="Print the version."
    ),
) -> None:
    pass


app = _typer(
    cls=_OnDemand,
    no_args_is_help=True,
    help="Train denoising diffusion models on your own data, and sample from them.",
    epilog="Start with: alphabar train FOLDER, and then: alphabar sample RUN",
)
app.callback()(_main)
for _name, _entry in COMMANDS.items():
    app.command(_name, help=_entry.summary, rich_help_panel=_entry.panel)(lambda: None)


# --- running it ----------------------------------------------------------------------------------


def run(arguments: list[str]) -> int:
    """Run the program and return its exit code: 2 for a user's mistake, told in a line on standard error."""
    never_fail_for_a_character()
    if rank() and arguments[:1] == ["train"]:
        return follow()
    warnings.showwarning = lambda message, *_, **__: say(f"alphabar: warning: {message}")
    try:
        _check_empty(arguments)
        return app(arguments or ["--help"], prog_name="alphabar", standalone_mode=False) or 0
    except (typer.Abort, KeyboardInterrupt) as stop:
        if not isinstance(stop.__cause__, EOFError):
            return 130
        message = f"a file ends too early: {stop.__cause__}"
    except BrokenPipeError:  # whoever was reading the output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, ArithmeticError, ModuleNotFoundError) as error:
        message = _message(error)
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not OUT_OF_MEMORY.search(str(error)):
            raise
        message = f"out of memory; {_less_memory(arguments, error)}"
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":  # a group's: its help has been printed
            return 0
        message = _usage(error, arguments)
    say(f"alphabar: {_in_one_line(message)}")
    return 2


def follow() -> int:
    """Train as one of several processes that isn't the first, which does all the talking."""
    from ..runs.following import follow
    from ..world import ProcessLost, join

    try:
        follow(join())
    except ProcessLost:
        return 1
    except (ValueError, OSError) as error:
        print(f"alphabar, process {rank()}: {_in_one_line(str(error))}", file=sys.stderr)
        return 2
    return 0


def _in_one_line(message: str) -> str:
    """A message without line breaks, cut where somebody's file or a library made it long."""
    text = " ".join(clean(message).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


LONGEST = 1000


OUT_OF_MEMORY = re.compile(r"out of memory|not enough memory|can't allocate memory", re.IGNORECASE)


def _less_memory(arguments: list[str], error: Exception) -> str:
    """How this command would take less memory: torch asks for networks, Python and NumPy for data."""
    if arguments and arguments[0] == "train" and not isinstance(error, MemoryError):
        return "try a smaller --micro-batch (same result), --size, --crop or network"
    return "close other programs, or take fewer samples (-n), smaller data or a smaller model"


def _check_empty(arguments: list[str]) -> None:
    """ValueError for an option with an empty value, which would otherwise count as not given."""
    for before, word in zip(["", *arguments], arguments, strict=False):
        name, equals, value = word.partition("=")
        if word == "" or (word.startswith("--") and equals and not value):
            option = name or (before if before.startswith("-") else "an argument")
            raise ValueError(f"{option} has an empty value; give one, or leave it out")


def _usage(error: Any, arguments: list[str]) -> str:
    """What Typer says about the arguments, with the value it got and where to find help, in one line."""
    message = error.format_message().rstrip(".")
    names = getattr(getattr(error, "param", None), "opts", [])
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        value = value if equals else following
        if name in names and repr(value) not in message:
            message += f", got {brief(value)}"
            break
    place = error.ctx.command_path if getattr(error, "ctx", None) else "alphabar"
    return f"{message}; see {place} --help"


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        where = f": {error.filename}" if error.filename else ""
        hint = "; free some space and give the same command again" if error.errno == errno.ENOSPC else ""
        return f"{error.strerror}{where}{hint}"
    return str(error)
