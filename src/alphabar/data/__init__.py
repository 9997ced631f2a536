"""Reading and preparing once; batch k as a function of (seed, k). Knows no diffusion."""

from .condition import Condition
from .conditions import CONDITIONS, condition_from
from .config import DataConfig
from .dataset import Batch, Dataset, spread
from .kinds import KINDS
from .named_conditions import ClassCondition
from .preparation import prepare
from .space import Space
from .tag_conditions import TagsCondition
from .text_conditions import TextCondition
from .vector_conditions import VectorCondition

__all__ = [
    "CONDITIONS",
    "KINDS",
    "Batch",
    "ClassCondition",
    "Condition",
    "DataConfig",
    "Dataset",
    "Space",
    "TagsCondition",
    "TextCondition",
    "VectorCondition",
    "condition_from",
    "prepare",
    "spread",
]
