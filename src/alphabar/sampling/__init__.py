"""Noise by (seed, index, step), the executor of plans, and what acts on x0_hat."""

from .executor import Step, clip, p_sample, threshold, trajectory
from .guidance import Guidance, guided
from .measurements import Known, Measurement, Operator, Separable, blurred, downscaled, grey
from .pictures import encode, interpolate, restore
from .sampler import Samples, choose_plan, sample
from .tune import estimate_x0_mse, fit_plan, store_plan

__all__ = [
    "Guidance",
    "Known",
    "Measurement",
    "Operator",
    "Samples",
    "Separable",
    "Step",
    "blurred",
    "choose_plan",
    "clip",
    "downscaled",
    "encode",
    "estimate_x0_mse",
    "fit_plan",
    "grey",
    "guided",
    "interpolate",
    "p_sample",
    "restore",
    "sample",
    "store_plan",
    "threshold",
    "trajectory",
]
