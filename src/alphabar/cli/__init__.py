"""The command line: parse, call, print. The only place that prints and exits."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the program: a user's mistake is one message on standard error and exit code 2."""
    # threads that wait for each other leave the cores to others, instead of keeping them busy with waiting
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from .app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # Ctrl-C, also while Python is still reading the program
        code = 130
    sys.exit(code)
