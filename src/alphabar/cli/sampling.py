"""The options of every command that samples: the fields of `SampleConfig`, and the samplers' own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..theory.plans import ORIGINAL_SAMPLER, SAMPLERS
from . import options
from .flags import Flag, flags_of, flags_of_rows, listed
from .settings import exact, in_flags

if TYPE_CHECKING:
    from ..model import Denoiser
    from ..sampling.config import SampleConfig

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
            f"Value of any condition ({kinds}) the model was trained with, as NAME=VALUE; repeatable.",
            metavar="NAME=VALUE",
        ),
        "cond_from": Flag(
            "cond_from", "--cond-from", str,
            "Table with a column for each condition and a row for each sample (.csv, .tsv, .json, .jsonl).",
            metavar="FILE",
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


def config_of(how: Mapping[str, Any]) -> SampleConfig:
    """The settings of sampling, from the options given."""
    from ..sampling.config import SampleConfig

    own = ("class_name", "cond", "cond_from", "device")
    fields = {name: value for name, value in how.items() if name not in own}
    told: dict[str, Any] = dict(told_of(how))
    for name, values in (told_from(how["cond_from"]) if "cond_from" in how else {}).items():
        if name in told:
            raise ValueError(f"{name} is told twice, {told[name]!r} and by {how['cond_from']}: tell it once")
        told[name] = values
    try:
        return SampleConfig.of(None, {**fields, "cond": told} if told else fields)
    except ValueError as error:
        raise in_flags(error, flags_of(SampleConfig)) from None


def told_of(how: Mapping[str, Any]) -> dict[str, str]:
    """The values of conditions as they were typed, by name: --class 7 and --cond NAME=VALUE."""
    words = {"class": how["class_name"]} if "class_name" in how else {}
    for pair in how.get("cond", []):
        name, equals, value = pair.partition("=")
        if not (equals and name):
            raise ValueError(f"--cond takes NAME=VALUE, such as class=7, got {pair!r}")
        if name in words:
            raise ValueError(f"{name} is told twice, {words[name]!r} and {value!r}: tell it once")
        words[name] = value
    return words


def told_from(file: str) -> dict[str, list[Any]]:
    """The values of conditions in a table, by its columns; None for an empty cell, which is not told."""
    from ..data.sources.label_files import LABEL_FILES, read_sheet
    from ..files import expanded

    path = expanded(file)
    if not path.name.lower().endswith(LABEL_FILES) or not path.is_file():
        raise ValueError(f"--cond-from takes a file, {', '.join(LABEL_FILES)}, got {file}")
    sheet = read_sheet(path.read_bytes(), file, lambda text: False)
    if not sheet.rows:
        raise ValueError(f"{file} has no rows: give one for each sample, below the names of conditions")
    columns = zip(sheet.columns, zip(*sheet.rows, strict=True), strict=True)
    return {name: [_cell(cell) for cell in cells] for name, cells in columns}


def _cell(cell: Any) -> Any:
    """A cell as a condition reads it: lists of texts as one, nothing as None."""
    if isinstance(cell, list) and all(isinstance(part, str) for part in cell):
        return ";".join(cell)
    return None if cell == "" else cell


def fitted_words(evaluations: int, guidance: float | dict[str, float]) -> str:
    """The options with which `sample` takes a plan that was fitted to these."""
    if isinstance(guidance, dict):
        words = ",".join(f"{name}={exact(scale)}" for name, scale in guidance.items())
        return f"--steps {evaluations} --guidance {words}"
    return f"--steps {evaluations}" + (f" --guidance {exact(guidance)}" if guidance != 1 else "")


OPTIMAL_WORDS = f"--sampler {ORIGINAL_SAMPLER} --variance optimal"
"""The options with which `sample` takes the optimal variance."""
