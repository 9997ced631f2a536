"""Alphabar: train denoising diffusion models on your own data, and sample from them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

# name → module; imported when first asked for, so that `import alphabar` doesn't wait for torch.
_HOMES = {
    "Bound": "evaluation",
    "Comparison": "evaluation",
    "DataSpec": "data",
    "Dataset": "data",
    "Denoiser": "denoiser",
    "Diagnosis": "evaluation",
    "Diverged": "training",
    "Features": "evaluation",
    "Guidance": "sampling",
    "Known": "sampling",
    "Levels": "evaluation",
    "Likelihood": "evaluation",
    "Measurement": "sampling",
    "Memorisation": "evaluation",
    "Plan": "theory.plans",
    "Probe": "evaluation",
    "Run": "training",
    "Samples": "sampling",
    "Schedule": "theory.schedule",
    "Separable": "sampling",
    "Step": "sampling",
    "TrainConfig": "training",
    "Trainer": "training",
    "UNet": "nn",
    "ancestral": "theory.plans",
    "blurred": "sampling",
    "bound": "evaluation",
    "bound_terms": "theory.losses",
    "card": "evaluation",
    "choose_plan": "sampling",
    "classifier_two_sample": "evaluation",
    "clip": "sampling",
    "compare": "evaluation",
    "condition_probe": "evaluation",
    "ddim": "theory.plans",
    "deis": "theory.plans",
    "diagnose": "evaluation",
    "downscaled": "sampling",
    "dpmpp": "theory.plans",
    "dpmpp_sde": "theory.plans",
    "encode": "sampling",
    "eps_from_x0": "theory.gaussian",
    "estimate_x0_mse": "sampling",
    "fit_plan": "sampling",
    "flow": "theory.plans",
    "frechet_distance": "evaluation",
    "grey": "sampling",
    "guided": "sampling",
    "head_row": "theory.heads",
    "heun": "theory.plans",
    "interpolate": "sampling",
    "inversion": "theory.plans",
    "ipndm": "theory.plans",
    "karras": "theory.plans",
    "kid": "evaluation",
    "levels": "evaluation",
    "load": "denoiser",
    "log_snr": "theory.plans",
    "loss_weight": "theory.losses",
    "make_plan": "theory.plans",
    "mean_from_eps": "theory.gaussian",
    "memorisation": "evaluation",
    "ode_likelihood": "evaluation",
    "open_features": "evaluation",
    "p_sample": "sampling",
    "posterior": "theory.gaussian",
    "prdc": "evaluation",
    "prepare": "data",
    "q_posterior": "theory.gaussian",
    "q_sample": "theory.gaussian",
    "restore": "sampling",
    "sa_solver": "theory.plans",
    "sample": "sampling",
    "sliced_wasserstein": "evaluation",
    "store_plan": "sampling",
    "threshold": "sampling",
    "trailing": "theory.plans",
    "train": "training",
    "trajectory": "sampling",
    "transition": "theory.gaussian",
    "unipc": "theory.plans",
    "x0_from_eps": "theory.gaussian",
}

__all__ = sorted([*_HOMES, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'alphabar' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]


if TYPE_CHECKING:
    from .data import Dataset, DataSpec, prepare
    from .denoiser import Denoiser, load
    from .evaluation import (
        Bound,
        Comparison,
        Diagnosis,
        Features,
        Levels,
        Likelihood,
        Memorisation,
        Probe,
        bound,
        card,
        classifier_two_sample,
        compare,
        condition_probe,
        diagnose,
        frechet_distance,
        kid,
        levels,
        memorisation,
        ode_likelihood,
        open_features,
        prdc,
        sliced_wasserstein,
    )
    from .nn import UNet
    from .sampling import (
        Guidance,
        Known,
        Measurement,
        Samples,
        Separable,
        Step,
        blurred,
        choose_plan,
        clip,
        downscaled,
        encode,
        estimate_x0_mse,
        fit_plan,
        grey,
        guided,
        interpolate,
        p_sample,
        restore,
        sample,
        store_plan,
        threshold,
        trajectory,
    )
    from .theory.gaussian import (
        eps_from_x0,
        mean_from_eps,
        posterior,
        q_posterior,
        q_sample,
        transition,
        x0_from_eps,
    )
    from .theory.heads import head_row
    from .theory.losses import bound_terms, loss_weight
    from .theory.plans import (
        Plan,
        ancestral,
        ddim,
        deis,
        dpmpp,
        dpmpp_sde,
        flow,
        heun,
        inversion,
        ipndm,
        karras,
        log_snr,
        make_plan,
        sa_solver,
        trailing,
        unipc,
    )
    from .theory.schedule import Schedule
    from .training import Diverged, Run, TrainConfig, Trainer, train
