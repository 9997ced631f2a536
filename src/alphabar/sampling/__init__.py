"""Slots on which plans are executed, what acts on x0_hat, and what is made of them: samples, edits, fits."""

from .choices import choose_plan
from .config import SampleConfig
from .edit import encode, interpolate, vary
from .executor import Denoise, Step, clip, p_sample, threshold, trajectory
from .fit import estimate_x0_mse, fit_sampler, store_plan
from .guidance import Guidance, guided, own_guidance
from .inverse import Known, Observation, Operator, Separable, blurred, downscaled, gray
from .output import SampleWriter, write_samples, write_stream
from .restoration import restore
from .sampler import SampleStream, sample, stream_samples
from .samples import Samples
from .slots import Job, Slots

__all__ = [
    "Denoise",
    "Guidance",
    "Job",
    "Known",
    "Observation",
    "Operator",
    "SampleConfig",
    "SampleStream",
    "SampleWriter",
    "Samples",
    "Separable",
    "Slots",
    "Step",
    "blurred",
    "choose_plan",
    "clip",
    "downscaled",
    "encode",
    "estimate_x0_mse",
    "fit_sampler",
    "gray",
    "guided",
    "interpolate",
    "own_guidance",
    "p_sample",
    "restore",
    "sample",
    "store_plan",
    "stream_samples",
    "threshold",
    "trajectory",
    "vary",
    "write_samples",
    "write_stream",
]
