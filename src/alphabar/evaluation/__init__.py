"""Is it good, and what is wrong with it."""

from .probe import Probe, condition_probe

__all__ = ["Probe", "condition_probe"]
