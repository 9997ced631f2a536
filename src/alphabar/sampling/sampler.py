"""Samples by number: sample i of a seed is the same bytes however it is drawn."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, ParamSpec, TypeVar

import numpy as np

from ..data.space import Space
from ..errors import check_whole
from ..model import Denoiser
from ..model.batched import batch_size
from ..model.memory import check_memory
from ..model.whole import of_sides
from .choices import choose
from .config import SampleConfig
from .guidance import Guidance, guided
from .inverse import Observation
from .origin import Origin
from .samples import Samples
from .slots import Job, Progress, Slots, steps_of
from .told import check_guidance_leads, part, tell

Given = ParamSpec("Given")
Result = TypeVar("Result")


def stream_samples(
    denoiser: Denoiser,
    n: int | None = None,
    config: SampleConfig | None = None,
    *,
    indices: Iterable[int] | None = None,
    x_0: np.ndarray | None = None,
    x_t: np.ndarray | None = None,
    observation: Observation | None = None,
    frames: int = 0,
    progress: Progress | None = None,
    **settings: Any,
) -> SampleStream:
    """The samples of `sample` in blocks as they are finished, in memory that doesn't grow with n.

    All that can be refused is refused at once, before the first block is asked for.
    """
    config = SampleConfig.of(config, settings)
    numbers = _numbers(n, indices)
    if frames < 0 or frames == 1:
        raise ValueError(
            f"frames must be 0, or 2 or more (the start and the end are among them), got {frames}"
        )
    return SampleStream(denoiser, config, numbers, Origin(x_0, x_t), observation, frames, progress)


def takes_what(
    other: Callable[Given, object],
) -> Callable[[Callable[..., Result]], Callable[Given, Result]]:
    """Declare that a function takes the arguments of `other`: to `help`, editors and type checkers."""

    def declare(function: Callable[..., Result]) -> Callable[Given, Result]:
        own = inspect.signature(function)
        taken = inspect.signature(other).replace(return_annotation=own.return_annotation)
        function.__signature__ = taken  # pyright: ignore[reportFunctionMemberAccess]
        return function

    return declare


@takes_what(stream_samples)
def sample(*args: Any, **kwargs: Any) -> Samples:
    """Draw samples, from pure noise or from given ones at time `start`.

    Args:
        denoiser: the model, as from `load`.
        n: how many; samples 0 … n - 1 unless `indices` says which (1 unless given).
        config: the settings.
        indices: numbers of the samples. The noise of one is a pure function of (seed, number, row).
        x_0: a clean sample (*shape) in data space to noise to `start` first, for every sample; or one
            for each, (n, *shape).
        x_t: an already noisy one or one for each, in model space, to start from as it is.
        observation: what is known of the sample.
        frames: how many states along the way to keep, the first and the last included.
        progress: called with (done, total) evaluations of a batch.
        settings: fields of `SampleConfig`, and the sampler's own options (`eta=0.5`).
    """
    return stream_samples(*args, **kwargs).collected()


class SampleStream:
    """Samples to be drawn: iterating draws them, and yields `Samples` of one or some at a time.

    Attributes:
        indices: of all samples, in their order.
        told: what each is told.
        facts: as in `Samples`.
        plan: that they follow.
        begin: () → the function of one run, (x_t, t, cond) → x0_hat.
        images_of: x_0 in model space → images in data space.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        config: SampleConfig,
        indices: np.ndarray,
        origin: Origin,
        observation: Observation | None,
        frames: int,
        progress: Progress | None,
    ) -> None:
        self.denoiser, self.config, self.indices, self.origin = denoiser, config, indices, origin
        self.progress = progress
        sides = config.size or (None if origin.given or observation is not None else denoiser.whole)
        if sides is not None:
            self.denoiser = denoiser = of_sides(denoiser, sides)
        check_memory(denoiser, batch_size(denoiser.shape, denoiser.device), training=False)
        given = origin.given or observation is not None
        chosen = choose(denoiser, config, from_noise=not given)
        guidance, self.plan, self.on_x0 = chosen.guidance, chosen.plan, chosen.on_x0
        self.begin = partial(
            guided, denoiser.in_precision(chosen.precision), guidance, self.plan.times[:-1].tolist()
        )
        self.begin()  # refuses a guidance that doesn't fit the model
        origin.check(denoiser, self.plan, len(indices))
        if observation is not None:
            self.on_x0 = [*self.on_x0, *observation.on_x0()]
            begin = self.begin
            self.begin = lambda: observation.within(begin(), denoiser.schedule)
        silent = given and not guidance.acts
        self.told = tell(denoiser, indices, config.seed, config.cond, silent)
        if config.guidance is not None:
            check_guidance_leads(denoiser, guidance, self.told)
        self.rows = _kept_rows(self.plan.num_evaluations, frames)
        self.where = np.arange(len(indices))
        self.images_of: Callable[[np.ndarray], np.ndarray] = denoiser.codec.decode
        self.facts = self._facts(guidance) | {
            **chosen.facts,
            "observation": observation.facts() if observation else None,
        }

    def _facts(self, guidance: Guidance) -> dict[str, Any]:
        """The settings, and most of what follows from them.

        What was given for the conditions is left out: `told` has it, for each sample.
        """
        times, config = self.plan.times.tolist(), self.config
        named = self.plan.made_by and config.plan is None
        return {
            "model": self.denoiser.digest,
            "settings": {name: v for name, v in config.settings().items() if name not in ("plan", "cond")},
            "seed": config.seed,
            "plan": self.plan.made_by if named else self.plan.to_dict(),
            "times": times,
            "evaluations": guidance.evaluations(times[:-1]),
            "batch_size": batch_size(self.denoiser.shape, self.denoiser.device),
            "guidance": guidance.facts() if guidance.acts else None,
            "conditions": {name: c.to_dict() for name, c in self.denoiser.conditions.items()},
            **self.origin.facts(),
        }

    @property
    def space(self) -> Space:
        """What one sample is."""
        return self.denoiser.space

    @property
    def frame_times(self) -> list[float]:
        """t of each state that is kept."""
        return [float(self.plan.times[row]) for row in self.rows]

    def only(self, indices: Iterable[int]) -> SampleStream:
        """The same samples, of which only these are drawn."""
        some = copy.copy(self)
        some.where = np.flatnonzero(np.isin(self.indices, list(indices)))
        return some

    def _jobs(self) -> Iterator[Job]:
        """A job for each sample, made as they are asked for."""
        start, seed = float(self.plan.times[0]), self.config.seed
        size = batch_size(self.denoiser.shape, self.denoiser.device)
        for first in range(0, len(self.where), size):
            where = self.where[first : first + size]
            numbers = self.indices[where]
            x = self.origin.states(self.denoiser, start, seed, numbers, where)
            cond = self.denoiser.told(part(self.told, where), len(where))
            for i, place in enumerate(where.tolist()):
                own = {name: value[i] for name, value in cond.items()}
                state = None if x is None else x[i]
                yield Job(self.plan, int(numbers[i]), seed, own, state, self.rows, tag=place)

    def states(self) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
        """(which of the samples, x_0 (m, *shape), kept states (R, m, *shape)), model space, by blocks."""
        slots = Slots(self.begin(), self.denoiser.shape, self.on_x0, self.denoiser.device)
        steps = steps_of(self.indices[self.where].tolist(), self.plan, slots.size)
        for finished in slots.run(self._jobs(), self.progress, steps):
            finished.sort(key=lambda pair: pair[0].tag)
            kept = np.array([[job.kept[row] for job, _ in finished] for row in self.rows], np.float32)
            yield [job.tag for job, _ in finished], np.stack([x for _, x in finished]), kept

    def samples(self, where: list[int], images: np.ndarray, kept: np.ndarray) -> Samples:
        """Those samples with images in data space and kept states in model space."""
        return Samples(
            images,
            self.indices[where],
            part(self.told, where),
            self.facts,
            self.space,
            self.denoiser.codec.decode(kept) if self.rows else None,
            self.frame_times,
        )

    def __iter__(self) -> Iterator[Samples]:
        for where, x_0, kept in self.states():
            yield self.samples(where, self.images_of(x_0), kept)

    def collected_states(self) -> tuple[np.ndarray, np.ndarray]:
        """(x_0 (n, *shape), kept states (R, n, *shape)) of all in model space, in their order."""
        shape = self.denoiser.shape
        x_0 = np.empty((len(self.indices), *shape), np.float32)
        kept = np.empty((len(self.rows), *x_0.shape), np.float32)
        for where, x, states in self.states():
            x_0[where] = x
            if self.rows:
                kept[:, where] = states
        return x_0, kept

    def collected(self) -> Samples:
        """All of them, in their order."""
        x_0, kept = self.collected_states()
        return self.samples(list(range(len(self.indices))), self.images_of(x_0), kept)


def _numbers(n: int | None, indices: Iterable[int] | None) -> np.ndarray:
    """The samples' numbers: different whole ones from 0."""
    if indices is not None and n is not None:
        raise ValueError("give n or indices, not both")
    if indices is None:
        return np.arange(1 if n is None else check_whole("n", n, 1))
    numbers = np.asarray(list(indices))
    if not numbers.size:
        raise ValueError("indices must be at least one, got none")
    if numbers.dtype.kind not in "iu":
        raise ValueError(f"indices must be whole numbers, got {numbers.dtype}")
    if numbers.min() < 0:
        raise ValueError(f"indices are numbers of samples from 0, got {numbers.min()}")
    if len(np.unique(numbers)) < len(numbers):
        raise ValueError("indices must differ: a sample has one number, and that number one sample")
    return numbers.astype(np.int64)


def _kept_rows(evaluations: int, frames: int) -> list[int]:
    """Which states of a plan, 0 … evaluations, to keep: `frames` evenly, both ends included."""
    if frames <= 0:
        return []
    return np.unique(np.linspace(0, evaluations, frames).round().astype(int)).tolist()
