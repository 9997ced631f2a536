"""The scorecard: every score of samples against data, with what perfect samples would get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from ..data import Dataset, spread
from ..model import Denoiser
from .bound import variational_bound
from .comparison import Comparison, Embedded, compare, compare_embedded, embed
from .features import Features, pixel_features
from .likelihood import ode_likelihood
from .memorization import NEIGHBORS, Memorization, check_memorization
from .noise_levels import NoiseLevels, error_by_noise_level, same_conditions, trained_on

__all__ = ["Comparison", "Embedded", "can_tell", "compare", "embed", "memorization_by", "scorecard"]

BOUND_SAMPLES, EXACT_SAMPLES = 256, 32

Say = Callable[[str], None]


def scorecard(
    images: np.ndarray,
    data: Dataset,
    features: Features,
    denoiser: Denoiser | None = None,
    *,
    embedded: Embedded | None = None,
    memorization: Sequence[Memorization] | None = None,
    noise_levels: NoiseLevels | None = None,
    exact: bool = False,
    whole: bool = True,
    say: Say = lambda message: None,
) -> dict[str, Any]:
    """All that is told of samples, and of their model also the error by noise level and the bound. As JSON.

    Args:
        images: samples (n, *shape) in data space.
        data: what they are to be like.
        features: what to compare by.
        denoiser: the model that drew them, if it is at hand.
        embedded: `embed(images, data, features)`, if it was computed.
        memorization: `memorization_by` of these samples, if it was computed.
        noise_levels: `error_by_noise_level` of this model, if it was measured.
        exact: the exact likelihood as well.
        whole: what is asked of the model too, and not of its samples alone.
        say: told what is being done.
    """
    if embedded is None:
        say(f"features of {len(images)} samples and {len(data.images)} of the data …")
        embedded = embed(images, data, features)
    known = "" if denoiser is None else denoiser.about.get("data_fingerprint", "")
    card = compare_embedded(embedded, data, known, say=say).to_dict()
    card["data"] = {"fingerprint": data.fingerprint, "samples": len(data.images)}
    card["memorization"] = []
    own = denoiser is None or trained_on(denoiser, data)
    if not own:
        card["notes"].append(
            "the model was trained on other data: memorization, and the error on fresh samples, are not told"
        )
    elif can_tell(data):
        if memorization is None:
            say("nearest training samples …")
            memorization = memorization_by(images, data, embedded)
        card["memorization"] = [found.to_dict() for found in memorization]
    if denoiser is not None:
        card["model"] = denoiser.digest
        if whole:
            notes, asked = _of_model(denoiser, data, own, noise_levels, exact, say)
            card |= asked
            card["notes"] += notes
    return card


def _of_model(
    denoiser: Denoiser, data: Dataset, own: bool, noise_levels: NoiseLevels | None, exact: bool, say: Say
) -> tuple[list[str], dict[str, Any]]:
    """(notes, what is asked of the model: the error by noise level if the data are its own, likelihoods)."""
    if other := same_conditions(denoiser, data):
        return [f"{other}: no error by noise level, and no likelihood"], {}
    notes, found = [], {}
    if own:
        if noise_levels is None:
            say("error by noise level …")
            noise_levels = error_by_noise_level(denoiser, data)
        found["noise_levels"] = noise_levels.to_dict()
        if len(data.held_out) < 2:
            notes.append("hardly a sample is held out: the bound is of training samples")
    some = spread(data.held_out if len(data.held_out) > 1 else data.training, BOUND_SAMPLES)

    def of(indices: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return np.asarray(data.images[indices]), data.values_at(indices, denoiser.conditions)

    say("variational bound …")
    found["bound"] = _plain(variational_bound(denoiser, *of(some)))
    if exact:
        say("exact likelihood …")
        likelihood = ode_likelihood(denoiser, *of(some[:EXACT_SAMPLES]))
        found["likelihood"] = _plain(likelihood)
        notes.append(likelihood.note)
    return notes, found


def can_tell(data: Dataset) -> bool:
    """Whether there are samples enough to tell memorizing from luck."""
    return len(data.held_out) > 1 and len(data.training) > NEIGHBORS + 1


def memorization_by(
    images: np.ndarray, data: Dataset, embedded: Embedded | None = None
) -> list[Memorization]:
    """`check_memorization` of samples (n, *shape) by their pixels, and by features if these are at hand."""
    plain = pixel_features(data)
    spaces = [embed(images, data, plain)]
    if embedded is not None and embedded.features.digest != plain.digest:
        spaces.append(embedded)
    return [
        check_memorization(a.samples, a.data[data.training], a.data[data.held_out], a.features.name)
        for a in spaces
    ]


def _plain(found: Any) -> dict[str, Any]:
    """A result as JSON."""
    values = {f.name: getattr(found, f.name) for f in fields(found)}
    return {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in values.items()}
