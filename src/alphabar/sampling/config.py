"""The settings of sampling as one value: flags, help, validation and samples.json follow from its fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)

from ..data.conditions.base import plain
from ..data.conditions.picture import as_json
from ..data.parsing import parse_sides
from ..errors import brief, check_whole, unknown
from ..files import expanded, parse_json
from ..model import Denoiser
from ..model.denoiser import PRECISIONS
from ..rng import check_seed
from ..settings import Settings, numbers_by_name
from ..theory.plans import DEFAULT_EVALUATIONS, DEFAULT_SAMPLER, SAMPLERS, SPACINGS, Plan, sampler_options
from .guidance import Guidance


def read_plan(given: Any) -> Plan | None:
    """A plan: itself, its description, or the JSON file that holds one."""
    if given is None or isinstance(given, Plan):
        return given
    if isinstance(given, dict):
        return Plan.from_dict(given)
    if not isinstance(given, str | Path):
        raise ValueError(f"a plan is a Plan or the path of its JSON file, got {type(given).__name__}")
    file = expanded(given)
    if not file.is_file():
        raise ValueError(f"no such file: {given} (a plan, as by alphabar show plan --out FILE)")
    try:
        return Plan.from_dict(parse_json(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{given} is no plan: {error}") from None


def _guide(given: Any) -> Any:
    if given is not None and not isinstance(given, str | Path | Denoiser):
        raise ValueError(f"a model to guide by is a path or a Denoiser, got {type(given).__name__}")
    return given


def _plain(given: Any) -> Any:
    if getattr(given, "ndim", 0) > 2:
        return given
    if isinstance(given, list | tuple):
        return [each if getattr(each, "ndim", 0) > 1 else plain(each) for each in given]
    return plain(given)


def _written(given: Any) -> Any:
    """A plan or a model as JSON."""
    if isinstance(given, Plan):
        return given.to_dict()
    return given.digest if isinstance(given, Denoiser) else None if given is None else str(given)


GivenPlan = Annotated[
    Plan | None, PlainValidator(read_plan), PlainSerializer(_written), WithJsonSchema({"type": "string"})
]
Guide = Annotated[
    str | Path | Denoiser | None,
    PlainValidator(_guide),
    PlainSerializer(_written),
    WithJsonSchema({"type": "string"}),
]


GUIDANCE, SAMPLER, RANGE = "Guidance", "Sampler", "Range and precision"


def _field(default: Any, description: str, group: str | None = None, **extra: Any) -> Any:
    """A setting; the most used ones have no group. `extra` is for the command line, see `cli/flags.py`."""
    extra |= {} if group is None else {"group": group}
    return Field(default, description=description, json_schema_extra=extra)


class SampleConfig(Settings):
    """How to sample. A sampler's own options are in `options`; `of` takes them flat."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    kind: ClassVar[str] = "setting of sampling"

    evaluations: int | None = _field(
        None, "network evaluations (NFE)", flag="--steps", metavar="N", shown=str(DEFAULT_EVALUATIONS)
    )  # fmt: skip
    sampler: str | None = _field(
        None, "sampler", shown=f"the plan that fit-sampler made for these --steps, else {DEFAULT_SAMPLER}"
    )
    seed: int = _field(0, "random seed; sample i depends only on the seed and i, not on -n")
    guidance: Annotated[
        float | dict[str, float] | None, BeforeValidator(numbers_by_name("guidance"))
    ] = _field(
        None, "scale of classifier-free guidance, 1 is none; or of some conditions, NAME=SCALE,…",
        metavar="SCALE|NAME=SCALE,…", shown="the one that training found (alphabar info RUN), else 1",
    )  # fmt: skip
    cond: dict[str, Any] = _field(
        {}, "what to tell, by name: one value for all or one each; none is not told; drawn unless given"
    )
    size: Annotated[tuple[int, ...] | None, BeforeValidator(parse_sides)] = _field(
        None, "sides of the samples, of a network of convolutions; such as 64, 64x96 or 64x96x96",
        metavar="SIDE|DxHxW", shown="those trained on",
    )  # fmt: skip
    start: float | None = _field(None, "the time to start from, for a given sample", metavar="T", shown="T")
    guidance_interval: tuple[float, float] | None = _field(
        None, "apply guidance only where LOW < t <= HIGH", GUIDANCE, shown="everywhere"
    )
    guidance_rescale: float = _field(
        0.0, "undo the excess contrast from guidance: 0 not at all, 1 fully (as diffusers' guidance_rescale)",
        GUIDANCE, metavar="SHARE",
    )  # fmt: skip
    guidance_every: int = _field(
        1, "ask what guidance leads away from at every N-th of its times only, and keep the difference in "
        "between: its evaluations are left for --steps", GUIDANCE, metavar="N",
    )  # fmt: skip
    guide: Guide = _field(
        None,
        "autoguidance: guide with this weaker model (smaller, or trained less) instead of the unconditional "
        "one",
        GUIDANCE,
        metavar="MODEL",
    )
    spacing: str | None = _field(
        None, "how the times are spaced", SAMPLER, shown="the sampler's own", glossed=True
    )
    plan: GivenPlan = _field(
        None, "a plan to follow instead (alphabar show plan --out FILE)", SAMPLER, metavar="FILE"
    )
    options: dict[str, Any] = _field({}, "the sampler's own options")
    clip: bool | None = _field(
        None, "clip predicted x0 to the data's range", RANGE, shown="on if the data has one"
    )
    threshold: float | None = _field(
        None, "dynamic thresholding (Imagen) at this quantile, such as 0.995, instead of --clip", RANGE,
        metavar="SHARE",
    )  # fmt: skip
    precision: str | None = _field(
        None, "precision of the network", RANGE, shown="as trained, if the device computes in it"
    )

    tables: ClassVar[dict[str, Any]] = {"sampler": SAMPLERS, "spacing": SPACINGS, "precision": PRECISIONS}
    """Where the accepted values of a field come from."""

    @classmethod
    def of(cls, config: SampleConfig | None = None, settings: dict[str, Any] | None = None) -> SampleConfig:
        """A configuration with some settings changed; those that are no field are the sampler's own options.

        ValueError, in plain words, for what cannot be.
        """
        if config is not None and not isinstance(config, SampleConfig):
            raise ValueError(
                f"settings of sampling go by name, such as sample(model, 4, seed=1), got {brief(config)}"
            )
        given = {} if config is None else {name: getattr(config, name) for name in config.model_fields_set}
        settings = dict(settings or {})
        own = {name: settings.pop(name) for name in list(settings) if name not in cls.model_fields}
        for name in own:
            if name not in (options := sampler_options()):
                raise unknown("setting of sampling", name, [*cls.model_fields, *options])
        given |= settings
        if own:
            given["options"] = {**given.get("options", {}), **own}
        return cls(**given)

    @field_validator("evaluations")
    @classmethod
    def _evaluations(cls, given: int | None) -> int | None:
        return None if given is None else check_whole("evaluations", given, 1)

    @field_validator("sampler", "spacing", "precision")
    @classmethod
    def _known(cls, given: str | None, info: Any) -> str | None:
        table = cls.tables[info.field_name]
        if given is not None and given not in table:
            raise unknown(info.field_name, given, table)
        return given

    @field_validator("cond", "options")
    @classmethod
    def _plain(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Arrays and NumPy's numbers as lists and numbers, so that all is JSON; grids stay arrays."""
        return {name: _plain(value) for name, value in given.items()}

    @field_serializer("cond", when_used="json")
    def _cond_as_json(self, cond: dict[str, Any]) -> dict[str, Any]:
        return as_json(cond)

    @field_validator("seed")
    @classmethod
    def _seed(cls, seed: int) -> int:
        check_seed(seed)
        return seed

    @model_validator(mode="after")
    def _plan_alone(self) -> SampleConfig:
        given = [n for n in ("evaluations", "sampler", "spacing", "start") if getattr(self, n) is not None]
        if self.plan is not None and (given or self.options):
            names = ", ".join([*given, *self.options])
            raise ValueError(f"a plan has its own {names}: give it alone")
        if self.threshold is not None and self.clip is not None:
            raise ValueError("thresholding takes the place of clipping: give threshold or clip, not both")
        self.rule(None)  # raises if it makes no sense
        return self

    def rule(self, guide: Denoiser | None) -> Guidance:
        """The given guidance, none unless it is, by a model that was loaded."""
        scale = 1.0 if self.guidance is None else self.guidance
        if guide is None and self.guide is not None and scale == 1:
            raise ValueError("a model to guide by acts only where the guidance scale is not 1")
        return Guidance(scale, self.guidance_interval, self.guidance_rescale, guide, self.guidance_every)

    def settings(self) -> dict[str, Any]:
        """As JSON, the settings that are not the defaults."""
        return self.model_dump(mode="json", exclude_defaults=True)
