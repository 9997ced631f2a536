"""Is it good? Scores, the error by noise level, likelihoods, and checks of what was learned."""

from .baselines import EmpiricalDenoiser, GaussianDenoiser
from .bound import Bound, variational_bound
from .comparison import Comparison, compare
from .conditioning import Conditioning, check_conditioning
from .features import FEATURES, Features, open_features
from .likelihood import Likelihood, ode_likelihood
from .memorization import Memorization, check_memorization
from .noise_levels import NoiseLevels, error_by_noise_level, same_conditions
from .scores import classifier_two_sample, frechet_distance, kid, prdc, sliced_wasserstein
from .table import SCORES

__all__ = [
    "FEATURES",
    "SCORES",
    "Bound",
    "Comparison",
    "Conditioning",
    "EmpiricalDenoiser",
    "Features",
    "GaussianDenoiser",
    "Likelihood",
    "Memorization",
    "NoiseLevels",
    "check_conditioning",
    "check_memorization",
    "classifier_two_sample",
    "compare",
    "error_by_noise_level",
    "frechet_distance",
    "kid",
    "ode_likelihood",
    "open_features",
    "prdc",
    "same_conditions",
    "sliced_wasserstein",
    "variational_bound",
]
