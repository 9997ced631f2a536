"""The report of a run: one page of HTML with all that there is to see of it, and nothing to load."""

from .page import MARK, report

__all__ = ["MARK", "report"]
