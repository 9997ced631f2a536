"""Reading and preparing once; batch k as a function of (seed, k). Knows no diffusion."""

from .conditions import CONDITIONS, ClassCondition, Condition, condition_from
from .config import DataConfig
from .dataset import Batch, Dataset, spread
from .kinds import KINDS
from .preparation import prepare
from .space import Space

__all__ = [
    "CONDITIONS",
    "KINDS",
    "Batch",
    "ClassCondition",
    "Condition",
    "DataConfig",
    "Dataset",
    "Space",
    "condition_from",
    "prepare",
    "spread",
]
