"""Reading, preparing once, normalising; batch k as a function of (seed, k). Knows no diffusion."""

from .dataset import Batch, Dataset
from .prepare import prepare
from .spec import DataSpec

__all__ = ["Batch", "DataSpec", "Dataset", "prepare"]
