"""Reading and preparing once; batch k as a function of (seed, k). Knows no diffusion."""

from .conditions.base import Condition
from .conditions.embedding import EmbeddingCondition
from .conditions.kinds import CONDITIONS, condition_from
from .conditions.named import ClassCondition
from .conditions.picture import Grid, PictureCondition
from .conditions.place import PlaceCondition
from .conditions.tags import TagsCondition
from .conditions.text import TextCondition
from .conditions.vector import VectorCondition
from .config import DataConfig
from .dataset import Batch, Dataset, spread
from .kinds import KINDS
from .preparing.preparation import prepare
from .space import Space

__all__ = [
    "CONDITIONS",
    "KINDS",
    "Batch",
    "ClassCondition",
    "Condition",
    "DataConfig",
    "Dataset",
    "EmbeddingCondition",
    "Grid",
    "PictureCondition",
    "PlaceCondition",
    "Space",
    "TagsCondition",
    "TextCondition",
    "VectorCondition",
    "condition_from",
    "prepare",
    "spread",
]
