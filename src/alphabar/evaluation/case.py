"""A run with its data, and what there is to ask of them."""

from __future__ import annotations

import contextlib
import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Dataset
from ..denoiser import Denoiser, load
from ..files import DamagedFile, json_lines, load_tensors
from ..sampling import sample
from .levels import Levels, denoise_with, errors, levels, other_classes, spread, trained_on

PICTURES = 2000


class Case:
    """A run with its data, and what the checks ask of them, each computed once."""

    def __init__(self, run: Path, data: Dataset, n: int, seed: int = 0, device: str = "cpu") -> None:
        self.run, self.data, self.n, self.seed = run, data, n, seed
        self.denoiser = load(run, device)
        if self.denoiser.data.shape != data.spec.shape:
            raise ValueError(
                f"the model's samples have the shape {self.denoiser.data.shape} and the data's "
                f"{data.spec.shape}: give the data that it was trained on"
            )
        if other := other_classes(self.denoiser, data):
            raise ValueError(f"{other}: give the data that it was trained on")
        self.config: dict[str, Any] = self.denoiser.about.get("config", {})

    @property
    def own(self) -> bool:
        """Whether the data are those that the run was trained on, as far as is known."""
        return trained_on(self.denoiser, self.data)

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        return json_lines(self.run / "metrics.jsonl")

    @cached_property
    def raw(self) -> Denoiser | None:
        """The model with the weights that training goes on with, rather than their average."""
        for path in sorted((self.run / "checkpoints").glob("step-*.safetensors"), reverse=True):
            with contextlib.suppress(DamagedFile, RuntimeError):
                tensors = load_tensors(path)[0]
                model = copy.deepcopy(self.denoiser)
                net = {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")}
                model.net.load_state_dict(net)
                return model
        return None

    @cached_property
    def pictures(self) -> np.ndarray:
        """Training pictures as the model is to see them, by its own normalisation."""
        return self.denoiser.data.to_model(self.data.images[spread(self.data.training, PICTURES)])

    @cached_property
    def samples(self) -> np.ndarray:
        """Samples in model space."""
        drawn = sample(self.denoiser, self.n, seed=self.seed, precision="float32")
        return self.denoiser.data.to_model(drawn.images)

    @cached_property
    def levels(self) -> Levels:
        return levels(self.denoiser, self.data, self.n, self.seed)

    @cached_property
    def raw_error(self) -> list[float] | None:
        """What `levels.fresh` would be with the weights that training goes on with."""
        if self.raw is None:
            return None
        fresh = spread(self.data.held_out if len(self.data.held_out) else self.data.training, self.n)
        return errors(denoise_with(self.raw), self.data, fresh, self.raw.schedule, self.seed).mean(1).tolist()
