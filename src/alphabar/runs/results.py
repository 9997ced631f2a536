"""The expensive results of a model and its data, each computed once, when it is first needed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import rng
from ..data.dataset import Dataset, spread
from ..data.kinds import KINDS, shown_space
from ..data.space import Space
from ..evaluation.asked import how_well_met
from ..evaluation.comparison import FEWEST, Embedded, embed
from ..evaluation.conditioning import Conditioning, check_conditions
from ..evaluation.features import Features, open_features, pixel_features
from ..evaluation.features.base import Say, silent
from ..evaluation.keys import SUBSET
from ..evaluation.memorization import Memorization
from ..evaluation.noise_levels import (
    NoiseLevels,
    error_by_noise_level,
    model_errors,
    same_conditions,
    trained_on,
)
from ..evaluation.scorecard import can_tell, in_values, scorecard
from ..evaluation.within import within_classes
from ..model.denoiser import Denoiser
from ..sampling.config import SampleConfig
from ..sampling.sampler import sample, stream_samples
from ..sampling.samples import Samples
from ..sampling.together import drawn_together
from ..sampling.told import told_by
from ..world import ALONE, World
from .checks import CHECKS, SAMPLES, run_checks
from .findings import Diagnosis
from .given import check_shape, data_beside, data_of, read_samples
from .subject import Subject

CLEAN = 2000  # training samples that a diagnosis looks at
LEVEL_SAMPLES = 128
WALKERS, FRAMES = 6, 11  # samples shown on their way from noise, and states of each


class Results(Subject):
    """All that can be computed from a model, or from existing samples, together with data.

    Every attribute is computed when it is first needed, and kept: the model is loaded once, its samples are
    generated or read once, its error by noise level is computed once, whoever needs them.

    Args:
        of: a model, a run's folder, a model file or a checkpoint; or samples: a folder that
            `alphabar sample` wrote, an .npy file, a folder of pictures.
        data: a data set, or anything that `prepare` accepts; what the model was trained on unless given.
        n: how many samples.
        config: how to generate them; the defaults of `sample` unless given.
        device: where the model runs.
        features: the features that scores compare, or anything that `open_features` accepts.
        exact: include the exact likelihood in the scorecard.
        whole: let the scorecard judge the model itself too, and not its samples alone.
        world: the processes that draw samples together; only the first one has all of them.
        say: is told what is being done.
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
        world: World = ALONE,
        say: Say = silent,
    ) -> None:
        super().__init__(of, device)
        self.given_data, self.given_features = data, features
        self.n, self.exact, self.whole, self.world, self.say = n, exact, whole, world, say
        self.config = config or SampleConfig()
        self.notes: list[str] = []

    # --- the data -------------------------------------------------------------------------------

    @cached_property
    def data(self) -> Dataset:
        """The data that everything is compared with."""
        if isinstance(self.given_data, Dataset):
            return check_shape(self.given_data, self.denoiser.space) if self.has_model else self.given_data
        if not self.has_model:
            if self.given_data is None:
                raise ValueError(
                    f"{self.of} is neither a run nor a model file: say what to compare it with, --data DATA"
                )
            return data_beside(self.samples, self.given_data)
        model = self.denoiser
        about = {**model.about, **{k: v for k, v in self.entry.get("data", {}).items() if v}}
        return data_of(about, model.space, model.conditions, self.given_data)

    @property
    def noun(self) -> str:
        """What the samples are called: "pictures"."""
        return KINDS[self.data.space.kind].noun

    @property
    def one(self) -> str:
        """What one of them is called: "picture"."""
        return KINDS[self.data.space.kind].one

    @property
    def own(self) -> bool:
        """Whether the model was trained on these data, as far as is known."""
        return not self.has_model or trained_on(self.denoiser, self.data)

    @cached_property
    def other_conditions(self) -> str:
        """Why the data don't have the conditions that the model needs; "" if they do."""
        return same_conditions(self.denoiser, self.data) if self.has_model else ""

    @cached_property
    def space(self) -> Space:
        """The data's space, with bounds to show samples between if it has none."""
        return shown_space(self.data.space, [self.data.images[spread(self.data.training, 256)]])

    @cached_property
    def clean(self) -> np.ndarray:
        """Training samples in model space, by the model's own codec."""
        return self.denoiser.codec.encode(self.data.images[spread(self.data.training, CLEAN)])

    # --- samples --------------------------------------------------------------------------------

    @cached_property
    def samples(self) -> Samples:
        """n samples: generated by the model; or read, and chosen at random if there are more."""
        if not self.has_model:
            return self._read()
        if self.fault:
            raise ValueError(self.fault)
        self.say(f"sampling {self.n} …")
        start = time.perf_counter()
        config = self.config
        if not config.cond:
            config = config.model_copy(update={"cond": told_by(self.data, self.denoiser, self.n)})
        if self.world:
            made = drawn_together(stream_samples(self.denoiser, self.n, config), self.world)
        else:
            made = sample(self.denoiser, self.n, config)
        self.elapsed_s = time.perf_counter() - start
        return made

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
        """The first of these samples, in model space."""
        return self.denoiser.codec.encode(self.samples.images[:SAMPLES])

    @cached_property
    def walks(self) -> Samples:
        """The first few samples again, with states along their way from noise."""
        told = {name: values[:WALKERS] for name, values in self.samples.told.items()}
        config = self.config.model_copy(update={"cond": told})
        return sample(self.denoiser, None, config, indices=self.samples.indices[:WALKERS], frames=FRAMES)

    # --- numbers --------------------------------------------------------------------------------

    @cached_property
    def noise_levels(self) -> NoiseLevels:
        """The model's error by noise level."""
        self.say("error by noise level …")
        return error_by_noise_level(self.denoiser, self.data, LEVEL_SAMPLES)

    @cached_property
    def raw_error(self) -> list[float] | None:
        """What `noise_levels.fresh` would be with the current weights instead of their average."""
        if self.raw is None:
            return None
        fresh = self.data.held_out if len(self.data.held_out) else self.data.training
        return model_errors(self.raw, self.data, spread(fresh, LEVEL_SAMPLES)).mean(1).tolist()

    @cached_property
    def conditioning(self) -> dict[str, Conditioning]:
        """How much more the model errs under wrong values of each condition, by its name."""
        return check_conditions(self.denoiser, self.data, say=self.say)

    @cached_property
    def features(self) -> Features:
        """The features that scores compare."""
        if isinstance(self.given_features, Features):
            return self.given_features
        return open_features(self.given_features, self.data, self.say)

    @cached_property
    def embedded(self) -> Embedded:
        """Samples and data in these features."""
        self.say(f"features of {len(self.samples)} samples and {len(self.data.images)} of the data …")
        return embed(self.samples.images, self.data, self.features)

    @cached_property
    def memorization_in_pixels(self) -> Memorization | None:
        """Memorization by the values of the samples themselves; None if the data can't tell."""
        if not self.can_tell:
            return None
        self.say("nearest training samples …")
        return in_values(self.samples.images, self.data)

    @cached_property
    def memorization_in_features(self) -> Memorization | None:
        """The same by the features that scores compare; None also if these are pixels."""
        if not self.can_tell or self.features.digest == pixel_features(self.data).digest:
            return None
        return self.embedded.memorization()

    @property
    def can_tell(self) -> bool:
        """Whether these data can tell memorization from chance."""
        return self.own and can_tell(self.data)

    @cached_property
    def no_scores(self) -> str:
        """Why there can be no scores; "" if there can."""
        n, there = self.n, len(self.data.images)
        if n < FEWEST or there < 2 * FEWEST:
            return f"scores need {FEWEST} samples and {2 * FEWEST} {self.noun}, and there are {n} and {there}"
        return self.fault

    @cached_property
    def scorecard(self) -> dict[str, Any]:
        """All scores of the samples, and those of their model, as JSON."""
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
        conditions = self.denoiser.conditions if self.has_model and not self.other_conditions else {}
        met = how_well_met(self.embedded, self.samples.told, conditions)
        card["asked"] = [asdict(one) for one in met]
        within, notes = within_classes(self.embedded, self.samples.told, conditions)
        card["within"] = [asdict(one) for one in within]
        card["notes"] += notes
        if self.has_model:
            card["drawn"] = self.samples.facts | {"elapsed_s": self.elapsed_s}
        else:
            words = ("resized", "stretched", "padded", "laid over")
            changed = [note for note in self.data.notes if any(word in note for word in words)]
            card["notes"] += [*self.notes, *(f"the data: {note}" for note in changed)]
        return card

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """What is most likely wrong. ValueError if the data don't have the model's conditions."""
        return self.diagnose(CHECKS)

    def diagnose(self, names: Iterable[str]) -> Diagnosis:
        """The same by some of `CHECKS` alone."""
        if self.other_conditions:
            raise ValueError(f"{self.other_conditions}: give the data that it was trained on")
        return run_checks(self, names)
