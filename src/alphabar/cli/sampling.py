"""The options of every command that samples: the fields of `SampleConfig`, and the samplers' own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..theory.plans import ORIGINAL_SAMPLER, SAMPLERS
from . import options
from .flags import Flag, flags_of, flags_of_rows, listed
from .settings import exact

if TYPE_CHECKING:
    from ..model import Denoiser

OWN = "Sampler"
PLANNED = ("evaluations", "sampler", "spacing", "start")
FRAMES = 41  # of a trajectory
DRAWN = "classes at the data's rates"
UNTOLD = f"none; with --guidance: {DRAWN}"


def sampler_flags() -> dict[str, Flag]:
    """The samplers' own options."""
    return flags_of_rows({name: row.options for name, row in SAMPLERS.items()}, OWN)


def planning_flags() -> dict[str, Flag]:
    """The options that make a plan."""
    from ..sampling.config import SampleConfig

    fields = flags_of(SampleConfig)
    fields["evaluations"] = _explained(fields["evaluations"])
    return {name: fields[name] for name in PLANNED} | sampler_flags()


def _explained(steps: Flag, from_noise: bool = True) -> Flag:
    """--steps, with a word on the samplers whose steps have several evaluations, and on the original DDPM."""
    several = [
        f"{name} uses {round(1000 / row.intervals(1000))} per step"
        for name, row in SAMPLERS.items()
        if row.intervals is not None
    ]
    text = "; ".join([steps.help.rstrip("."), *several]) + "."
    if from_noise:
        text += f" For the original DDPM: --sampler {ORIGINAL_SAMPLER} --steps 1000."
    return replace(steps, help=text)


def with_defaults(flags: dict[str, Flag], **shown: str) -> dict[str, Flag]:
    """The same options, with a command's own defaults in the help."""
    return flags | {name: replace(flags[name], shown=text) for name, text in shown.items()}


def sample_flags(without: Iterable[str] = ("start", "size"), from_noise: bool = True) -> dict[str, Flag]:
    """All options of sampling but those in `without`.

    `from_noise`: whether samples start from pure noise, rather than from pictures.
    """
    from ..data.conditions.kinds import CONDITIONS
    from ..sampling.config import SampleConfig

    fields = flags_of(SampleConfig, without={"cond", "options", *without})
    fields["evaluations"] = _explained(fields["evaluations"], from_noise)
    kinds = listed(CONDITIONS)
    told = {
        "class_name": Flag(
            "class_name", "--class", str,
            "Class to draw, by name or number; each: all as often; none: unconditional.",
            DRAWN, metavar="NAME",
        ),
        "cond": Flag(
            "cond", "--cond", list,
            f"Value of any condition ({kinds}) the model was trained with, as NAME=VALUE; of "
            "vectors also an .npy file, of pictures a file; repeatable.",
            metavar="NAME=VALUE",
        ),
        "cond_from": Flag(
            "cond_from", "--cond-from", str,
            "Table with a column for each condition and a row for each sample (.csv, .tsv, .json, .jsonl); "
            "of a model that is told pictures, a folder of them, a sample each.",
            metavar="FILE|FOLDER",
        ),
    }  # fmt: skip
    common = {name: flag for name, flag in fields.items() if flag.group is None}
    return told | common | {"device": options.DEVICE} | fields | sampler_flags()


def load_model(run: str, how: Mapping[str, Any]) -> Denoiser:
    """The model, on the device that `how` names."""
    from ..model import load

    return load(run, device_of(how))


def device_of(how: Mapping[str, Any]) -> str:
    """The device that the options name."""
    return how.get("device", options.DEVICE.shown)


def fitted_words(evaluations: int, guidance: float | dict[str, float]) -> str:
    """The options with which `sample` takes a plan that was fitted to these."""
    return f"--steps {evaluations}" + (f" {guidance_words(guidance)}" if guidance != 1 else "")


def guidance_words(
    scale: float | dict[str, float], interval: Sequence[float] | None = None, every: int = 1
) -> str:
    """The options of a guidance."""
    if isinstance(scale, dict):
        words = ",".join(f"{name}={exact(one)}" for name, one in scale.items())
    else:
        words = exact(scale)
    within = "" if interval is None else f" --guidance-interval {exact(interval[0])} {exact(interval[1])}"
    kept = "" if every == 1 else f" --guidance-every {every}"
    return f"--guidance {words}{within}{kept}"


OPTIMAL_WORDS = f"--sampler {ORIGINAL_SAMPLER} --variance optimal"
"""The options with which `sample` takes the optimal variance."""
