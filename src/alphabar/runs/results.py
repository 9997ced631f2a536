"""The expensive results of a model with its data: each computed once, when it is first asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import rng
from ..data.dataset import Dataset, spread
from ..data.space import KINDS, Space
from ..evaluation.comparison import FEWEST, Embedded, embed
from ..evaluation.conditioning import Conditioning, check_conditioning
from ..evaluation.features import Features, open_features, pixel_features
from ..evaluation.keys import SUBSET
from ..evaluation.memorization import Memorization, check_memorization
from ..evaluation.noise_levels import (
    NoiseLevels,
    error_by_noise_level,
    model_errors,
    same_conditions,
    trained_on,
)
from ..evaluation.scorecard import can_tell, scorecard
from ..model.denoiser import Denoiser
from ..sampling.config import SampleConfig
from ..sampling.sampler import sample
from ..sampling.samples import Samples
from .diagnosis import CHECKS, SAMPLES, Diagnosis, run_checks
from .given import data_beside, data_of, read_samples
from .subject import Subject

CLEAN = 2000  # training samples that checks look at
LEVEL_SAMPLES = 128
CONDITION_SAMPLES = 128
WALKERS, FRAMES = 6, 11  # samples on their way from noise, and states of each


class Results(Subject):
    """A model, or samples that are there, with data: what there is to know of them.

    Every attribute is computed when it is first asked for, and kept: a model is loaded once, samples are
    drawn or read once, noise levels measured once, whoever asks.

    Args:
        of: a run's folder, a model file or a checkpoint, or a model; or samples: a folder that
            `alphabar sample` wrote, an .npy file, a folder of pictures.
        data: a data set, or as for `prepare`; unless given, what the model was trained on.
        n: how many samples.
        config: how they are drawn; as `sample` does unless given.
        device: where the model runs.
        features: what scores compare by: features, or as for `open_features`.
        exact: the exact likelihood in the scorecard too.
        whole: what numbers say of the model itself in the scorecard, and not of its samples alone.
        say: told what is being done.
    """

    def __init__(
        self,
        of: str | Path | Denoiser,
        data: Any = None,
        *,
        n: int = 1000,
        config: SampleConfig | None = None,
        device: str = "auto",
        features: str | Features = "learned",
        exact: bool = False,
        whole: bool = True,
        say: Callable[[str], None] = lambda message: None,
    ) -> None:
        super().__init__(of, device)
        self.given_data, self.given_features = data, features
        self.n, self.exact, self.whole, self.say = n, exact, whole, say
        self.config = config or SampleConfig()
        self.notes: list[str] = []

    # --- the data -------------------------------------------------------------------------------

    @cached_property
    def data(self) -> Dataset:
        """What it is compared with."""
        if isinstance(self.given_data, Dataset):
            return self._checked(self.given_data)
        if not self.has_model:
            if self.given_data is None:
                raise ValueError(
                    f"{self.of} is neither a run nor a model file: say what to compare it with, --data DATA"
                )
            return data_beside(self.samples.images, self.given_data)
        model = self.denoiser
        about = {**model.about, **{k: v for k, v in self.entry.get("data", {}).items() if v}}
        return data_of(about, model.space, model.conditions, self.given_data)

    def _checked(self, data: Dataset) -> Dataset:
        if self.has_model and self.denoiser.space.shape != data.space.shape:
            raise ValueError(
                f"the model's samples have the shape {self.denoiser.space.shape} and the data's "
                f"{data.space.shape}: give the data that it was trained on"
            )
        return data

    @property
    def noun(self) -> str:
        """What its samples are called."""
        return KINDS[self.data.space.kind].noun

    @property
    def own(self) -> bool:
        """Whether the data are those that the model was trained on, as far as is known."""
        return not self.has_model or trained_on(self.denoiser, self.data)

    @cached_property
    def other_conditions(self) -> str:
        """What to say if the data can't tell the model what it needs to be told; nothing if they can."""
        return same_conditions(self.denoiser, self.data) if self.has_model else ""

    @cached_property
    def space(self) -> Space:
        """The data's, with bounds between which samples are shown where it has none."""
        space = self.data.space
        if space.low is not None:
            return space
        flat = np.moveaxis(self.data.images[spread(self.data.training, 256)], 1, 0)
        flat = flat.reshape(space.channels, -1).astype(np.float64)
        low, high = flat.min(1), flat.max(1)
        return replace(space, low=tuple(low), high=tuple(np.where(high > low, high, low + 1)))

    @cached_property
    def clean(self) -> np.ndarray:
        """Training samples as the model is to see them, by its own codec."""
        return self.denoiser.codec.encode(self.data.images[spread(self.data.training, CLEAN)])

    # --- samples --------------------------------------------------------------------------------

    @cached_property
    def samples(self) -> Samples:
        """Drawn by the model; or read, and of more than n some at random."""
        if not self.has_model:
            return self._read()
        if self.fault:
            raise ValueError(self.fault)
        self.say(f"drawing {self.n} samples …")
        start = time.perf_counter()
        drawn = sample(self.denoiser, self.n, self.config)
        self.elapsed_s = time.perf_counter() - start
        return drawn

    def _read(self) -> Samples:
        assert self.path is not None
        found = read_samples(self.path)
        if len(found) <= self.n:
            return found
        self.notes.append(f"{self.n} of the {len(found)} samples of {self.of}, chosen at random (-n)")
        chosen = np.sort(rng.stream(0, "evaluation", SUBSET).permutation(len(found))[: self.n])
        told = {name: [values[i] for i in chosen] for name, values in found.told.items()}
        return replace(
            found, images=np.asarray(found.images[chosen]), indices=found.indices[chosen], told=told
        )

    @cached_property
    def first(self) -> np.ndarray:
        """The first of them, in model space."""
        return self.denoiser.codec.encode(self.samples.images[:SAMPLES])

    @cached_property
    def walks(self) -> Samples:
        """The first few once more, with states along their way from noise."""
        told = {name: values[:WALKERS] for name, values in self.samples.told.items()}
        config = self.config.model_copy(update={"cond": told})
        return sample(self.denoiser, None, config, indices=self.samples.indices[:WALKERS], frames=FRAMES)

    # --- what is measured -----------------------------------------------------------------------

    @cached_property
    def noise_levels(self) -> NoiseLevels:
        """The model's error by noise level."""
        self.say("error by noise level …")
        return error_by_noise_level(self.denoiser, self.data, LEVEL_SAMPLES)

    @cached_property
    def raw_error(self) -> list[float] | None:
        """What `noise_levels.fresh` would be with the weights that training goes on with."""
        if self.raw is None:
            return None
        fresh = self.data.held_out if len(self.data.held_out) else self.data.training
        return model_errors(self.raw, self.data, spread(fresh, LEVEL_SAMPLES)).mean(1).tolist()

    @cached_property
    def conditioning(self) -> dict[str, Conditioning]:
        """By condition: how much more the model errs when it is told something else."""
        data, model, found = self.data, self.denoiser, {}
        indices = spread(data.held_out if len(data.held_out) >= 16 else data.training, CONDITION_SAMPLES)
        values = data.values_at(indices, model.conditions)
        for name in values:
            if len(np.unique(values[name], axis=0)) > 1:
                self.say(f"what the {name} changes …")
                found[name] = check_conditioning(model, data.images[indices], values, name)
        return found

    @cached_property
    def features(self) -> Features:
        """What scores compare by."""
        if isinstance(self.given_features, Features):
            return self.given_features
        return open_features(self.given_features, self.data, self.say)

    @cached_property
    def embedded(self) -> Embedded:
        """Samples and data in those features."""
        self.say(f"features of {len(self.samples)} samples and {len(self.data.images)} of the data …")
        return embed(self.samples.images, self.data, self.features)

    @cached_property
    def memorization_in_pixels(self) -> Memorization | None:
        """In the numbers of the samples themselves; None where the data can't tell."""
        if not self.can_tell:
            return None
        self.say("nearest training samples …")
        return self._memorization(embed(self.samples.images, self.data, pixel_features(self.data)))

    @cached_property
    def memorization_in_features(self) -> Memorization | None:
        """In the features that scores compare by; None where the data can't tell, or these are pixels."""
        if not self.can_tell or self.features.digest == pixel_features(self.data).digest:
            return None
        return self._memorization(self.embedded)

    @property
    def can_tell(self) -> bool:
        """Whether these data can tell memorization from luck."""
        return self.own and can_tell(self.data)

    def _memorization(self, by: Embedded) -> Memorization:
        training, held_out = by.data[self.data.training], by.data[self.data.held_out]
        return check_memorization(by.samples, training, held_out, by.features.name)

    @cached_property
    def no_scores(self) -> str:
        """Why there can be no scores; nothing where there can."""
        n, there = self.n, len(self.data.images)
        if n < FEWEST or there < 2 * FEWEST:
            return f"scores need {FEWEST} samples and {2 * FEWEST} {self.noun}, and there are {n} and {there}"
        return self.fault

    @cached_property
    def scorecard(self) -> dict[str, Any]:
        """What numbers say of the samples and of their model, as JSON."""
        in_both = (self.memorization_in_pixels, self.memorization_in_features)
        measured = self.whole and self.has_model and self.own and not self.other_conditions
        card = scorecard(
            self.samples.images,
            self.data,
            self.features,
            self.denoiser if self.has_model else None,
            embedded=self.embedded,
            memorization=[found for found in in_both if found is not None],
            noise_levels=self.noise_levels if measured else None,
            exact=self.exact,
            whole=self.whole,
            say=self.say,
        )
        if self.has_model:
            card["drawn"] = self.samples.facts | {"elapsed_s": self.elapsed_s}
        else:
            changed = [note for note in self.data.notes if "resized" in note or "laid over" in note]
            card["notes"] += [*self.notes, *(f"the data: {note}" for note in changed)]
        return card

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """What is most likely wrong. ValueError if the data are not of the model's kind."""
        return self.diagnose(CHECKS)

    def diagnose(self, names: Iterable[str]) -> Diagnosis:
        """What some of `CHECKS` alone find."""
        if self.other_conditions:
            raise ValueError(f"{self.other_conditions}: give the data that it was trained on")
        return run_checks(self, names)
