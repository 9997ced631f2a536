"""Noise by (seed, index, step), and the executor of plans."""

from .executor import Step, clip, p_sample, trajectory
from .sampler import Samples, sample

__all__ = ["Samples", "Step", "clip", "p_sample", "sample", "trajectory"]
