"""The command line: parse, call, print. The only place that prints and exits."""

from __future__ import annotations

import os
import sys
import time

__all__ = ["main"]

BEGAN = time.monotonic()
"""When the program began."""


def main() -> None:
    """Run the program: a user's mistake is one message on standard error and exit code 2."""
    # threads that wait for each other soon leave the cores to others: ten times faster on a busy machine
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    before = sys.unraisablehook

    def unraisable(what: sys.UnraisableHookArgs) -> None:
        """Ctrl-C in what Python calls by itself, as an import's callback: Python would print it and go on."""
        if issubclass(what.exc_type, KeyboardInterrupt):
            os._exit(130)
        before(what)

    sys.unraisablehook = unraisable
    try:
        from .app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # Ctrl-C, also while Python is still reading the program
        code = 130
    finally:
        sys.unraisablehook = before
    sys.exit(code)
