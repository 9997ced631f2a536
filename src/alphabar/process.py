"""The diffusion process as functions: forward, posterior, what a network predicts, and the losses.

Every function takes a `Schedule` and times, and works on NumPy arrays and torch tensors alike.
"""

from .theory.gaussian import (
    VARIANCES,
    eps_from_x0,
    mean_from_eps,
    posterior,
    q_posterior,
    q_sample,
    step_variance,
    transition,
    x0_from_eps,
)
from .theory.losses import LOSSES, bound_terms, discretized_nll, loss_weight
from .theory.parametrization import PREDICTIONS, Coefficients, coefficients, target_coefficients

__all__ = [
    "LOSSES",
    "PREDICTIONS",
    "VARIANCES",
    "Coefficients",
    "bound_terms",
    "coefficients",
    "discretized_nll",
    "eps_from_x0",
    "loss_weight",
    "mean_from_eps",
    "posterior",
    "q_posterior",
    "q_sample",
    "step_variance",
    "target_coefficients",
    "transition",
    "x0_from_eps",
]
