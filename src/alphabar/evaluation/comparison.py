"""Every score of samples against data, with its error and its floor: what real samples score."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from .. import rng
from ..data import KINDS, Dataset, Space, spread
from .baselines import Gaussian
from .columns import gaussian_copula
from .features import Features
from .features.base import Say, codec_of, silent
from .keys import SPLIT, SUBSET
from .memorization import MOST_HELD_OUT, Memorization, check_memorization
from .scores import Estimate, error_by_halves
from .table import SCORES, Score

MOST_OF_PAIRS = 10_000  # of the data, for scores that compare all pairs
FEWEST = 12  # samples for scores to be computed


@dataclass(frozen=True)
class Scored:
    """One score: its value for the samples, its standard error, and what real samples score (the floor).

    `trivial` is what `trivial_samples` score, which need no network: a model should do better.
    """

    value: float
    error: float
    floor: float
    floor_error: float
    trivial: float


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        scores: by the names of `SCORES`.
        n: how many samples are compared, and as many real ones for the floor.
        reference: how many samples of the data both are compared with.
        trained_on: how many of those the model was trained on, as far as is known.
        features: their name, digest, preprocessing and number.
        seconds: by score, for the samples alone, without errors and floor.
        notes: how the numbers must not be read.
    """

    scores: dict[str, Scored]
    n: int
    reference: int
    trained_on: int
    features: dict[str, Any]
    seconds: dict[str, float]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Embedded:
    """Samples and a whole data set as features, (n, d) and (N, d).

    Attributes:
        features: what both were embedded by.
        samples, data: their features.
        dataset: the data set.
        images: the samples themselves.
    """

    features: Features
    samples: np.ndarray
    data: np.ndarray
    dataset: Dataset
    images: np.ndarray

    def compare(self, trained_on: str = "", errors: int = 10, say: Say = silent) -> Comparison:
        """`compare` of what is embedded."""
        data, given = self.dataset, len(self.samples)
        n = number_compared(given, data)
        say("scores …")
        draws = rng.stream(0, "evaluation", SUBSET)
        chosen = np.sort(draws.permutation(given)[:n])
        perfect, reference = split(data, n)
        trivial = trivial_samples(data, n)
        embedded = self.samples[chosen], self.data[perfect], self.features.raw(trivial), self.data[reference]
        rows = embedded
        if data.space.columns:
            every = np.asarray(data.images)
            rows = self.images[chosen], every[perfect], trivial, every[reference]
        near = np.sort(draws.permutation(len(reference))[:MOST_OF_PAIRS])
        scores, seconds = {}, {}
        for function in dict.fromkeys(score.function for score in scores_of(data.space).values()):
            names = [name for name, score in SCORES.items() if score.function is function]
            sets, call = embedded, function
            if SCORES[names[0]].of_columns:
                sets, call = rows, partial(function, columns=data.space.columns)
            if SCORES[names[0]].of_pairs:
                sets = (*sets[:3], sets[3][near])
            made, timed = _scored(call, names, sets, errors)
            scores |= made
            seconds |= timed
        same = bool(trained_on) and trained_on == data.fingerprint
        known = len(np.intersect1d(reference, data.training)) if same else 0
        about = {
            "name": self.features.name,
            "digest": self.features.digest,
            "preprocessing": self.features.preprocessing,
            "number": self.data.shape[1],
        }
        notes = [*_notes(given, n, data), *_trivial_notes(scores, data)]
        if len(near) < len(reference):
            titles = [score.title for score in SCORES.values() if score.of_pairs]
            noun = KINDS[data.space.kind].noun
            notes.insert(
                0, f"{len(near):,} of the {len(reference):,} {noun} are used for {', '.join(titles)}"
            )
        return Comparison(scores, n, len(reference), known, about, seconds, notes)

    def memorization(self) -> Memorization:
        """`check_memorization` in these features, beside up to `MOST_HELD_OUT` held-out samples."""
        training = self.data[self.dataset.training]
        held_out = self.data[spread(self.dataset.held_out, MOST_HELD_OUT)]
        return check_memorization(self.samples, training, held_out, self.features.name)


def embed(images: np.ndarray, data: Dataset, features: Features) -> Embedded:
    """The features of samples (n, *shape), in the data's space, and of the data."""
    check_alike(images, data.space)
    return Embedded(features, features.raw(images), features.of_dataset(data), data, images)


def scores_of(space: Space) -> dict[str, Score]:
    """The rows of `SCORES` that samples of a space have."""
    return {name: score for name, score in SCORES.items() if space.columns or not score.of_columns}


def trivial_samples(data: Dataset, n: int) -> np.ndarray:
    """n samples (n, *shape) by what needs no network: a Gaussian fit in model space, or a table's copula."""
    if data.space.columns:
        return gaussian_copula(np.asarray(data.images[data.training]), n)
    codec = codec_of(data)
    drawn = Gaussian(data, codec).draw(n)
    if codec.bounds is not None:
        drawn = np.clip(drawn, *codec.bounds)
    return codec.decode(drawn)


def compare(
    images: np.ndarray,
    data: Dataset,
    features: Features,
    trained_on: str = "",
    errors: int = 10,
    say: Say = silent,
) -> Comparison:
    """Score samples against a data set, and as many of the data's own samples in their place.

    The data are split: n samples, held-out ones first, stand for perfect samples, and the rest are the
    reference. So samples and floor are compared with one reference of one size, which neither is part of.
    n is the number of samples, but at most half of the data.

    Args:
        images: samples (n, *shape), in the data's space.
        data: the data.
        features: what to compare by.
        trained_on: fingerprint of the data that the model was trained on, if known.
        errors: draws of halves for the standard errors (`error_of`).
        say: told what is being done.
    """
    number_compared(len(images), data)
    say(f"features of {len(images)} samples and {len(data.images)} of the data …")
    return embed(images, data, features).compare(trained_on, errors, say)


def number_compared(given: int, data: Dataset) -> int:
    """How many samples are compared; ValueError if there are too few of them, or too few data."""
    n, noun = min(given, len(data.images) // 2), KINDS[data.space.kind].noun
    if n < FEWEST:
        raise ValueError(
            f"scores need {FEWEST} samples or more, and {2 * FEWEST} {noun} or more in the data, got "
            f"{given} and {len(data.images)}; ask for more samples, or give more data"
        )
    return n


def _scored(
    function: Callable[..., Any], names: list[str], sets: tuple[np.ndarray, ...], errors: int
) -> tuple[dict[str, Scored], dict[str, float]]:
    """(the scores that a function gives, its seconds) for (samples, real ones, trivial ones, reference)."""
    a, floor, trivial, b = sets
    start = time.perf_counter()
    found = function(a, b)
    seconds = dict.fromkeys(names, time.perf_counter() - start)
    real_ones, trivial_ones = function(floor, b), function(trivial, b)
    error = _errors(function, names, found, a, b, errors)
    floor_error = _errors(function, names, real_ones, floor, b, errors)
    scores = {}
    for name in names:
        of = SCORES[name].of
        values = of(found), error[name], of(real_ones), floor_error[name], of(trivial_ones)
        scores[name] = Scored(*values)
    return scores, seconds


def _trivial_notes(scores: dict[str, Scored], data: Dataset) -> list[str]:
    """Where samples are no better than trivial ones."""
    worse = [
        SCORES[name].title
        for name, s in scores.items()
        if (s.value >= s.trivial if SCORES[name].better == "lower" else s.value <= s.trivial)
    ]
    if not worse:
        return []
    what = "Gaussian copula" if data.space.columns else "Gaussian with the data's mean and covariance"
    return [f"a {what}, which needs no network, is as good by {', '.join(worse)}"]


def _errors(
    function: Callable[..., Any], names: list[str], found: Any, a: np.ndarray, b: np.ndarray, draws: int
) -> dict[str, float]:
    """The standard error of each score: the function's own, or from halves."""
    if isinstance(found, Estimate):
        return dict.fromkeys(names, found.error)
    if not draws:
        return dict.fromkeys(names, math.nan)

    def numbers(x: np.ndarray, y: np.ndarray) -> list[float]:
        half = function(x, y)
        return [SCORES[name].of(half) for name in names]

    return dict(zip(names, error_by_halves(numbers, a, b, draws).tolist(), strict=True))


def split(data: Dataset, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(n samples, held-out ones first; all others): disjoint, and the same on every call."""
    draws = rng.stream(0, "evaluation", SPLIT)
    order = np.concatenate([draws.permutation(data.held_out), draws.permutation(data.training)])
    return np.sort(order[:n]), np.sort(order[n:])


def check_alike(images: np.ndarray, space: Space) -> None:
    """ValueError unless samples have the data's shape and, as far as one can tell, its range."""
    if images.shape[1:] != space.shape:
        raise ValueError(
            f"samples have the shape {images.shape[1:]} and the data {space.shape} "
            f"({KINDS[space.kind].axes(len(space.shape))}): give data prepared as the samples are, or "
            "samples of the data's size"
        )
    if space.columns:
        return
    if not space.is_whole_sample(images):
        raise ValueError("some samples hold values that are not finite")
    if space.low is None or space.high is None or not len(images):
        return
    axes = (0, *range(2, images.ndim))
    low, high = (np.asarray(bound(images, axis=axes), np.float64) for bound in (np.min, np.max))
    least, most = np.array(space.low), np.array(space.high)
    width = most - least
    # scaled to -1 to 1 or 0 to 1, most likely
    unit = bool(np.all(width > 50) and low.min() < high.max() <= 1 and low.min() >= -1)
    if unit or np.any(low < least - 0.05 * width) or np.any(high > most + 0.05 * width):
        raise ValueError(
            f"samples reach from {low.min():g} to {high.max():g} and the data from {space.shown_range()}: "
            "their ranges differ; scale one to the other"
        )


def _notes(given: int, n: int, data: Dataset) -> list[str]:
    noun, notes = KINDS[data.space.kind].noun, []
    if n < given:
        notes.append(
            f"{n} of the {given} samples are used: no more than half of the {len(data.images)} {noun}"
        )
    few = [f"{score.title} ({score.least})" for score in scores_of(data.space).values() if n < score.least]
    if few:
        notes.append(f"{n} samples are few for {', '.join(few)}: compare these with their floors only")
    if len(data.held_out) < n:
        notes.append(
            f"the floor's {noun} are {len(data.held_out)} held-out ones and "
            f"{n - len(data.held_out)} of the training part"
        )
    return notes
