"""The command line: parse, call, print. The only place that prints and exits."""

from .main import app, main

__all__ = ["app", "main"]
