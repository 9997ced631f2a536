"""The settings of reading DATA: what `prepare` takes by name, and the command line as flags."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, get_args

from PIL import ImageColor
from pydantic import BeforeValidator, Field, field_validator, model_validator

from ..errors import brief, unknown
from ..settings import Settings
from .conditions.kinds import CONDITIONS
from .parsing import parse_pairs, parse_range, parse_sides, parse_size

Channels = Literal["auto", "gray", "rgb", "rgba"]
Classes = Literal["auto", "folders", "none"]
Layout = Literal["auto", "HW", "HWC", "CHW", "L", "CL", "LC", "volume", "array"]
Resize = Literal["lanczos", "bicubic", "box", "nearest"]
Fit = Literal["crop", "pad", "stretch"]
Frames = Literal["first", "all"]
TOLD_AS = (*(kind for kind in CONDITIONS if kind != "place"), "skip")
NUM_CHANNELS: dict[str, int | None] = {"auto": None, "gray": 1, "rgb": 3, "rgba": 4}


def _one_of(what: str, choices: Any) -> BeforeValidator:
    def check(given: Any) -> Any:
        names = get_args(choices)
        match = next((name for name in names if name.lower() == str(given).lower()), None)
        if match is None and given is not None:
            raise unknown(what, given, names)
        return match

    return BeforeValidator(check)


def _above_zero(name: str, unit: str) -> BeforeValidator:
    def check(given: Any) -> Any:
        try:
            fine = given is None or 0 < float(given) < float("inf")
        except (TypeError, ValueError):
            fine = False
        if not fine:
            raise ValueError(f"{name} must be a number of {unit} above 0, got {brief(given)}")
        return given

    return BeforeValidator(check)


def _parse_types(given: Any) -> Any:
    return parse_pairs(given, "types", "COLUMN=TYPE")


def _parse_conditions(given: Any) -> Any:
    found = parse_pairs(given, "conditions", "NAME=KIND")
    for kind in found.values() if isinstance(found, dict) else ():
        if kind not in TOLD_AS:
            raise unknown("kind of condition", kind, TOLD_AS)
    return found


class DataConfig(Settings):
    """How DATA is read. What isn't given follows from the data, and the notes say how."""

    kind: ClassVar[str] = "setting of data"

    size: Annotated[tuple[int, int] | None, BeforeValidator(parse_size)] = Field(
        default=None,
        description="bring pictures to this size; SIDE or HxW pixels",
        json_schema_extra={
            "metavar": "SIDE|HxW",
            "shown": "that of most pictures, if at most 64; else 64",
        },
    )
    resize: Annotated[Resize, _one_of("way to resize", Resize)] = Field(
        default="lanczos",
        description="how pictures are resized; nearest keeps the colors and edges of pixel art",
    )
    fit: Annotated[Fit, _one_of("way to fit", Fit)] = Field(
        default="crop",
        description="how pictures of another shape get that size; crop: shorter side resized, center cut "
        "out; pad: longer side resized, the rest filled; stretch: squashed to it, proportions lost",
    )
    channels: Annotated[Channels, _one_of("choice of channels", Channels)] = Field(
        default="auto",
        description="channels of pictures; auto: gray if every picture is, else rgb, and rgba if most "
        "have transparent pixels",
    )
    classes: Annotated[Classes, _one_of("way to find classes", Classes)] = Field(
        default="auto",
        description="where classes come from; auto: sub-folder names, if they look like classes",
    )
    labels: Annotated[str | None, BeforeValidator(lambda given: given and str(given))] = Field(
        default=None,
        description="file of picture names and what is told of them (.csv, .tsv, .json, .jsonl), or .ENDING "
        "for a file beside each picture; of a table, the columns that are told",
        json_schema_extra={
            "metavar": "FILE|COLUMN,…",
            "shown": "metadata.jsonl and the like, if they are there",
        },
    )
    conditions: Annotated[dict[str, str] | None, BeforeValidator(_parse_conditions)] = Field(
        default=None,
        description=f"what columns that the model is told are: {', '.join(TOLD_AS[:-1])} or skip",
        json_schema_extra={"metavar": "NAME=KIND,…", "shown": "found from their values"},
    )
    text_encoder: Annotated[str | None, BeforeValidator(lambda given: given and str(given))] = Field(
        default=None,
        description="what texts are embedded by: a model of sentence-transformers, by its folder or its name "
        "on the Hugging Face Hub",
        json_schema_extra={"metavar": "NAME|FOLDER", "shown": "none: texts are told as hashed words"},
    )
    pairs: str | None = Field(
        default=None,
        description="a picture or other grid to tell of each sample: DATA of its own, matched by name "
        "without ending, arrays by number",
        json_schema_extra={"metavar": "DATA"},
    )
    pairs_resize: Annotated[Resize | None, _one_of("way to resize", Resize)] = Field(
        default=None,
        description="how pictures of pairs are resized; nearest for masks",
        json_schema_extra={"shown": "as --resize"},
    )
    skip_unlabeled: bool = Field(default=False, description="skip samples that have no label")
    frames: Annotated[Frames, _one_of("choice of frames", Frames)] = Field(
        default="first", description="of files with several frames (TIFF, GIF, WebP), which are samples"
    )
    background: str | None = Field(
        default=None,
        description="lay transparent pixels over this color, and fill with it where pictures are padded",
        json_schema_extra={"metavar": "COLOR", "shown": "white; around 16 bits black; none with alpha"},
    )
    range: Annotated[tuple[float, float] | None, BeforeValidator(parse_range)] = Field(
        default=None,
        description="lowest and highest possible values",
        json_schema_extra={
            "shown": "0 255 for bytes; none for fields; else min and max, of arrays a channel"
        },
    )
    clip: bool = Field(
        default=False, description="cut values outside the range off at its ends, instead of refusing them"
    )
    crop: Annotated[tuple[int, ...] | None, BeforeValidator(parse_sides)] = Field(
        default=None,
        description="train on crops of this size, from anywhere in larger samples (pictures of --size); "
        "SIDE, HxW or DxHxW",
        json_schema_extra={"metavar": "SIDE|DxHxW", "shown": "whole samples"},
    )
    gaps: bool = Field(
        default=False,
        description="train on what is known of fields and volumes that lack other numbers (NaN) each",
    )
    layout: Annotated[Layout, _one_of("layout", Layout)] = Field(
        default="auto",
        description="axis order of each sample: of a picture, or of a series (L: times; of a table, whose "
        "columns are times); volume: depth, height, width; array: use as is",
    )
    series: str | None = Field(
        default=None,
        description="the column of a table that tells its series apart, of several rows each; other numbers "
        "are channels",
        json_schema_extra={"metavar": "COLUMN"},
    )
    rate: Annotated[float | None, _above_zero("rate", "numbers a second")] = Field(
        default=None,
        description="numbers a second of series whose file doesn't say it",
        json_schema_extra={"metavar": "HZ"},
    )
    window: Annotated[float | None, _above_zero("window", "seconds")] = Field(
        default=None,
        description="cut sound or series into samples of this length, in seconds",
        json_schema_extra={"metavar": "SECONDS", "shown": "whole series; of sound at most 16,384 numbers"},
    )
    hop: Annotated[float | None, _above_zero("hop", "seconds")] = Field(
        default=None,
        description="from the start of one window to that of the next, in seconds",
        json_schema_extra={"metavar": "SECONDS", "shown": "the window"},
    )
    types: Annotated[dict[str, str] | None, BeforeValidator(_parse_types)] = Field(
        default=None,
        description="what columns of a table hold: number, category, skip, or a date such as %d.%m.%Y",
        json_schema_extra={"metavar": "COLUMN=TYPE,…", "shown": "found from their values"},
    )
    skip_bad: bool = Field(default=False, description="skip pictures that cannot be read")
    stream: Annotated[int | None, Field(ge=1)] = Field(
        default=None,
        description="prepare so many files (.tar, .zip, .parquet, .npz) of a folder or address at a time, "
        "shuffle their samples, and give them up for the next ones: for data larger than the disk",
        json_schema_extra={"metavar": "FILES", "shown": "all are prepared, kept and shuffled"},
    )
    holdout: float = Field(
        default=0.05,
        description="share held out for validation, picked by a hash of each sample",
        json_schema_extra={"metavar": "SHARE"},
    )

    @field_validator("background")
    @classmethod
    def _background(cls, background: str | None) -> str | None:
        return None if background is None else check_background(background)

    @model_validator(mode="after")
    def _together(self) -> DataConfig:
        if self.labels is not None and self.classes != "auto":
            raise ValueError(f"labels and classes {self.classes} are two answers to one question: give one")
        if self.pairs_resize is not None and self.pairs is None:
            raise ValueError("pairs_resize is for pairs: give these, or leave it out")
        for name in ("pairs", "text_encoder"):
            if self.stream is not None and getattr(self, name) is not None:
                raise ValueError(f"{name} need all of the data at hand, and stream has a part: leave one out")
        if self.background is not None and self.channels == "rgba":
            raise ValueError(
                f"background {self.background} is what transparent pixels are laid over, and channels rgba "
                "keeps them transparent: give one"
            )
        return self

    @field_validator("holdout")
    @classmethod
    def _holdout(cls, holdout: float) -> float:
        if not 0 <= holdout < 1:
            raise ValueError(f"holdout must lie within 0 and 1 (1 excluded), got {holdout}")
        return holdout


def check_background(background: str) -> str:
    """`background`; ValueError unless it is a color that Pillow knows, without transparency."""
    try:
        color = ImageColor.getrgb(background)
    except ValueError:
        raise ValueError(
            f"unknown background {background!r}; give a color such as 'white' or '#808080'"
        ) from None
    if len(color) == 4 and color[3] < 255:
        raise ValueError(
            f"a background must be opaque, got {brief(background)}; channels rgba keeps transparency"
        )
    return background


def data_config(config: DataConfig | None, settings: dict[str, Any]) -> DataConfig:
    """`config` with some settings replaced; ValueError says what is wrong with each."""
    if config is not None and not isinstance(config, DataConfig):
        raise ValueError(
            "settings of prepare go by name, such as prepare(data, size=64), and labels beside the data, "
            f"prepare((data, labels)); got something of type {type(config).__name__}"
        )
    before = {} if config is None else config.model_dump(exclude_defaults=True)
    return DataConfig(**{**before, **settings})
