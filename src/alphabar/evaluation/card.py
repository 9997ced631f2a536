"""The card: every score of samples against data, with what perfect samples would get."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..data import Dataset, DataSpec
from ..denoiser import Denoiser
from ..random import stream
from .features import Features, pixels
from .levels import levels, other_classes, spread, trained_on
from .likelihood import ode_likelihood
from .memorisation import NEIGHBOURS, Memorisation, memorisation
from .scores import Estimate, error_of
from .table import SCORES
from .variational import bound

SPLIT, DRAW = 2**33, 2**33 + 1  # streams of their own, far from those of pictures
BOUND_PICTURES, EXACT_PICTURES = 256, 32
FEWEST = 12  # samples that scores need


@dataclass(frozen=True)
class Scored:
    """One score: its value for the samples, its standard error, and what real pictures get (the floor)."""

    value: float
    error: float
    floor: float
    floor_error: float


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        scores: by the names of `SCORES`.
        n: samples compared, and pictures of the floor.
        reference: pictures that both are compared with.
        trained_on: how many of those pictures the model was trained on (if they are its run's).
        features: name, digest, preprocessing and number.
        seconds: by score, for the samples, without errors and floor.
        notes: what the numbers can't mean.
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


def compare(
    images: np.ndarray,
    data: Dataset,
    features: Features,
    trained_on: str = "",
    errors: int = 4,
    say: Callable[[str], None] = lambda message: None,
) -> Comparison:
    """Score samples against a data set, and as many of its own pictures in their place.

    The data are split: n pictures, the held-out ones first, stand for perfect samples; the rest is the
    reference. So samples and floor meet the same pictures, and as many of them, and a sample is as good as
    a picture that is new to the reference. n is the number of samples, but at most half of the pictures.

    Args:
        images: samples (n, C, H, W), in the data's space.
        data: the data.
        features: what to compare by.
        trained_on: fingerprint of the data that the model was trained on, if known.
        errors: draws of halves for the standard errors (`error_of`).
        say: told what is being done.
    """
    check_alike(images, data.spec)
    n = min(len(images), len(data.images) // 2)
    if n < FEWEST:
        raise ValueError(
            f"scores need {FEWEST} samples and {2 * FEWEST} pictures or more, got {len(images)} and "
            f"{len(data.images)}; ask for more samples, or give more pictures"
        )
    notes = _notes(len(images), n, data)
    say(f"features of {n} samples and {len(data.images)} pictures …")
    chosen = np.sort(stream(0, "evaluation", DRAW).permutation(len(images))[:n])
    ours, real = features(images[chosen]), features.of_dataset(data)
    perfect, reference = split(data, n)
    a, floor, b = ours, real[perfect], real[reference]
    say("scores …")
    scores, seconds = {}, {}
    for function in dict.fromkeys(score.function for score in SCORES.values()):
        names = [name for name, score in SCORES.items() if score.function is function]
        start = time.perf_counter()
        found = function(a, b)
        seconds |= dict.fromkeys(names, time.perf_counter() - start)
        real_ones = function(floor, b)
        error = _errors(function, names, found, a, b, errors)
        floor_error = _errors(function, names, real_ones, floor, b, errors)
        for name in names:
            of = SCORES[name].of
            scores[name] = Scored(of(found), error[name], of(real_ones), floor_error[name])
    known = len(np.intersect1d(reference, data.training)) if trained_on == data.fingerprint else 0
    about = {
        "name": features.name,
        "digest": features.digest,
        "preprocessing": features.preprocessing,
        "number": a.shape[1],
    }
    return Comparison(scores, n, len(reference), known, about, seconds, notes)


def _errors(
    function: Callable[..., Any], names: list[str], found: Any, a: np.ndarray, b: np.ndarray, draws: int
) -> dict[str, float]:
    """The standard error of each: the function's own, or from halves."""
    if isinstance(found, Estimate):
        return dict.fromkeys(names, found.error)
    if not draws:
        return dict.fromkeys(names, math.nan)

    def numbers(x: np.ndarray, y: np.ndarray) -> list[float]:
        half = function(x, y)
        return [SCORES[name].of(half) for name in names]

    return dict(zip(names, error_of(numbers, a, b, draws).tolist(), strict=True))


def split(data: Dataset, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(n pictures, held-out ones first; all others): disjoint, and the same for everybody."""
    rng = stream(0, "evaluation", SPLIT)
    order = np.concatenate([rng.permutation(data.held_out), rng.permutation(data.training)])
    return np.sort(order[:n]), np.sort(order[n:])


def check_alike(images: np.ndarray, spec: DataSpec) -> None:
    """ValueError unless samples have the shape and, as far as can be seen, the range of the data."""
    if images.ndim != 4 or images.shape[1:] != spec.shape:
        raise ValueError(
            f"samples have the shape {images.shape[1:]} and the data {spec.shape} (channels, height, width): "
            "give data prepared as the samples are, or samples of the data's size"
        )
    if not np.all(np.isfinite(images)):
        raise ValueError("some samples hold values that are not finite")
    if spec.low is not None and spec.high is not None:
        low, high, width = float(images.min()), float(images.max()), spec.high - spec.low
        unit = width > 50 and low < high <= 1 and low >= -1  # scaled to -1 to 1 or 0 to 1, most likely
        if low < spec.low - 0.05 * width or high > spec.high + 0.05 * width or unit:
            raise ValueError(
                f"samples reach from {low:g} to {high:g} and the data from {spec.low:g} to {spec.high:g}: "
                "they are not of one range; scale one to the other"
            )


def _notes(given: int, n: int, data: Dataset) -> list[str]:
    notes = []
    if n < given:
        notes.append(
            f"{n} of the {given} samples are used: half of the {len(data.images)} pictures stand beside them"
        )
    few = [f"{score.title} ({score.least})" for score in SCORES.values() if n < score.least]
    if few:
        notes.append(f"{n} samples are few for {', '.join(few)}: read them beside their floors only")
    if len(data.held_out) < n:
        notes.append(
            f"the floor's pictures are {len(data.held_out)} held-out ones and "
            f"{n - len(data.held_out)} of the training part"
        )
    return notes


def card(
    images: np.ndarray,
    data: Dataset,
    features: Features,
    denoiser: Denoiser | None = None,
    exact: bool = False,
    whole: bool = True,
    say: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """`compare` and `memorising` of samples; of their model also the error by level and the bound. As JSON.

    Args:
        images: samples (n, C, H, W) in data space.
        data: what they are to be like.
        features: what to compare by.
        denoiser: the model that drew them, if it is at hand.
        exact: the exact likelihood as well.
        whole: what is asked of the model too, and not of its samples alone.
        say: told what is being done.
    """
    fingerprint = "" if denoiser is None else denoiser.about.get("data_fingerprint", "")
    found = compare(images, data, features, fingerprint, say=say).to_dict()
    found["data"] = {"fingerprint": data.fingerprint, "pictures": len(data.images)}
    found["memorisation"] = []
    own = denoiser is None or trained_on(denoiser, data)
    if not own:
        found["notes"].append(
            "the model was trained on other data: memorising, and the error on fresh pictures, are not told"
        )
    elif can_tell(data):
        say("nearest training pictures …")
        found["memorisation"] = [m.to_dict() for m in memorising(images, data, features)]
    if denoiser is None:
        return found
    found["model"] = denoiser.digest
    if not whole:
        return found
    if other := other_classes(denoiser, data):
        found["notes"].append(f"{other}: no error by noise level, and no likelihood")
        return found
    if own:
        say("error by noise level …")
        found["levels"] = levels(denoiser, data).to_dict()
    if own and len(data.held_out) < 2:
        found["notes"].append("hardly a picture is held out: the bound is of training pictures")
    fresh = data.held_out if len(data.held_out) > 1 else data.training
    some = spread(fresh, BOUND_PICTURES)
    pictures, labels = np.asarray(data.images[some]), None
    if data.labels is not None and denoiser.data.classes:
        labels = np.asarray(data.labels[some])
    say("variational bound …")
    found["bound"] = _plain(bound(denoiser, pictures, labels))
    if exact:
        say("exact likelihood …")
        few = slice(0, EXACT_PICTURES)
        found["likelihood"] = _plain(
            ode_likelihood(denoiser, pictures[few], None if labels is None else labels[few])
        )
    return found


def _plain(found: Any) -> dict[str, Any]:
    """A result as JSON."""
    values = {name: getattr(found, name) for name in found.__dataclass_fields__}
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()
    }


def can_tell(data: Dataset) -> bool:
    """Whether there are pictures enough to tell memorising from luck."""
    return len(data.held_out) > 1 and len(data.training) > NEIGHBOURS + 1


def memorising(images: np.ndarray, data: Dataset, features: Features | None) -> list[Memorisation]:
    """`memorisation` in pixels, and in features if they are given."""
    check_alike(images, data.spec)

    flat = pixels(data.spec).raw
    known, fresh = flat(data.images[data.training]), flat(data.images[data.held_out])
    found = [memorisation(flat(images), known, fresh, "pixels")]
    if features is not None and features.name != "pixels":
        real = features.of_dataset(data)
        found.append(memorisation(features(images), real[data.training], real[data.held_out], features.name))
    return found
