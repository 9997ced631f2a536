"""Scores of two sets of vectors: how far samples are from data.

The vectors are pixels, or what a network makes of them (`alphabar.evaluation.open_features`).
"""

from .evaluation.scores import (
    Estimate,
    Prdc,
    TwoSample,
    classifier_two_sample,
    error_of,
    frechet_distance,
    kid,
    prdc,
    sliced_wasserstein,
)

__all__ = [
    "Estimate",
    "Prdc",
    "TwoSample",
    "classifier_two_sample",
    "error_of",
    "frechet_distance",
    "kid",
    "prdc",
    "sliced_wasserstein",
]
