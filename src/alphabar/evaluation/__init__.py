"""Is it good, and what is wrong with it."""

from .card import Comparison, card, compare
from .diagnose import Diagnosis, Finding, diagnose
from .features import Features, open_features
from .levels import Levels, levels
from .likelihood import Likelihood, ode_likelihood
from .memorisation import Memorisation, memorisation
from .probe import Probe, condition_probe
from .scores import (
    classifier_two_sample,
    frechet_distance,
    kid,
    prdc,
    sliced_wasserstein,
)
from .table import SCORES
from .variational import Bound, bound

__all__ = [
    "SCORES",
    "Bound",
    "Comparison",
    "Diagnosis",
    "Features",
    "Finding",
    "Levels",
    "Likelihood",
    "Memorisation",
    "Probe",
    "bound",
    "card",
    "classifier_two_sample",
    "compare",
    "condition_probe",
    "diagnose",
    "frechet_distance",
    "kid",
    "levels",
    "memorisation",
    "ode_likelihood",
    "open_features",
    "prdc",
    "sliced_wasserstein",
]
