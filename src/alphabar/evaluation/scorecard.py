"""The scorecard: every score of samples against data, with what real samples score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from ..data import Dataset, spread
from ..model import Denoiser
from .bound import variational_bound
from .comparison import Embedded, embed, trivial_samples
from .features import Features, pixel_features
from .features.base import Say, silent
from .likelihood import ode_likelihood
from .memorization import MOST_HELD_OUT, NEIGHBORS, Memorization, check_memorization, closest_record
from .noise_levels import NoiseLevels, error_by_noise_level, same_conditions, trained_on

BOUND_SAMPLES, EXACT_SAMPLES = 256, 32
MOST_NUMBERS = 2**27
"""Of the training samples that memorization is looked for in: 512 MB."""


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
    say: Say = silent,
) -> dict[str, Any]:
    """All scores of samples, and of their model the error by noise level and the likelihoods, as JSON.

    Args:
        images: samples (n, *shape) in data space.
        data: what to compare them with.
        features: what to compare by.
        denoiser: the model that drew them, if there is one.
        embedded: `embed(images, data, features)`, if computed already.
        memorization: `memorization_by` of these samples, if computed already.
        noise_levels: `error_by_noise_level` of this model, if computed already.
        exact: include the exact likelihood.
        whole: judge the model itself too, and not its samples alone.
        say: told what is being done.
    """
    if embedded is None:
        say(f"features of {len(images)} samples and {len(data.images)} of the data …")
        embedded = embed(images, data, features)
    known = "" if denoiser is None else denoiser.about.get("data_fingerprint", "")
    card = embedded.compare(known, say=say).to_dict()
    card["data"] = {"fingerprint": data.fingerprint, "samples": len(data.images)}
    card["memorization"] = []
    own = denoiser is None or trained_on(denoiser, data)
    if not own:
        card["notes"].append(
            "the model was trained on other data: memorization, and the error on fresh samples, are left out"
        )
    elif can_tell(data):
        if memorization is None:
            say("nearest training samples …")
            memorization = memorization_by(images, data, embedded)
        card["memorization"] = [found.to_dict() for found in memorization]
    if denoiser is not None:
        card["model"] = denoiser.digest
        if whole:
            notes, asked = _of_model(
                denoiser, data, own, noise_levels, min(len(images), BOUND_SAMPLES), exact, say
            )
            card |= asked
            card["notes"] += notes
    return card


def _of_model(
    denoiser: Denoiser,
    data: Dataset,
    own: bool,
    noise_levels: NoiseLevels | None,
    n: int,
    exact: bool,
    say: Say,
) -> tuple[list[str], dict[str, Any]]:
    """(notes, the model's own entries: the error by noise level if the data are its own, likelihoods)."""
    if other := same_conditions(denoiser, data):
        return [f"{other}: no error by noise level, and no likelihood"], {}
    notes, found = [], {}
    if own:
        if noise_levels is None:
            say("error by noise level …")
            noise_levels = error_by_noise_level(denoiser, data)
        found["noise_levels"] = noise_levels.to_dict()
        if len(data.held_out) < 2:
            notes.append("fewer than two samples are held out: the bound is that of training samples")
    some = spread(data.held_out if len(data.held_out) > 1 else data.training, n)

    def of(indices: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return np.asarray(data.images[indices]), data.values_at(indices, denoiser.conditions)

    if why := denoiser.codec.no_density:
        return [*notes, f"no likelihood: {why}"], found
    say("variational bound …")
    found["bound"] = _plain(variational_bound(denoiser, *of(some)))
    if exact:
        say("exact likelihood …")
        likelihood = ode_likelihood(denoiser, *of(some[:EXACT_SAMPLES]))
        found["likelihood"] = _plain(likelihood)
        notes.append(likelihood.note)
    return notes, found


def can_tell(data: Dataset) -> bool:
    """Whether there are enough samples to tell memorization from chance."""
    return len(data.held_out) > 1 and len(data.training) > NEIGHBORS + 1


def memorization_by(
    images: np.ndarray, data: Dataset, embedded: Embedded | None = None
) -> list[Memorization]:
    """`check_memorization` of samples (n, *shape) in pixels, and in the features of `embedded` if given."""
    plain = pixel_features(data)
    found = [in_values(images, data)]
    if embedded is not None and embedded.features.digest != plain.digest:
        found.append(embedded.memorization())
    return found


def in_values(images: np.ndarray, data: Dataset) -> Memorization:
    """`check_memorization` in `pixel_features`, beside training samples of up to `MOST_NUMBERS` numbers."""
    plain = pixel_features(data)
    made = plain.raw(images)
    places = spread(np.arange(len(data.training)), max(MOST_NUMBERS // made.shape[1], NEIGHBORS + 2))
    training = plain.raw(data.images[data.training[places]])
    held_out = plain.raw(data.images[spread(data.held_out, MOST_HELD_OUT)])
    found = check_memorization(made, training, held_out, plain.name)
    found = replace(found, nearest=places[found.nearest])
    if not data.space.columns:
        return found
    drawn = plain.raw(trivial_samples(data, len(images)))
    closest, trivial = (closest_record(x, training, held_out) for x in (made, drawn))
    return replace(found, closest=closest, trivial=trivial)


def _plain(found: Any) -> dict[str, Any]:
    """A result as JSON."""
    values = {f.name: getattr(found, f.name) for f in fields(found)}
    return {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in values.items()}
