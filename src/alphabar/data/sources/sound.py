"""A sound file ↔ numbers (C, L), in its own rate and depth."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ...images import MARK
from ..timeline import Timeline

if TYPE_CHECKING:
    from ..space import Space

SOUND_ENDINGS = {".wav", ".flac"}
BITS = {"PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 0, "DOUBLE": 0}
"""Depths that can be read and written, and how many bits whole numbers have in them."""
SAME = {"PCM_S8": "PCM_U8"}  # FLAC's eight bits, and those that a WAV can have


@dataclass(frozen=True)
class Sound:
    """What the header of a sound file says; `own` is whether Alphabar wrote it."""

    length: int
    rate: int
    channels: int
    depth: str
    own: bool = False

    @property
    def dtype(self) -> str:
        """Of its numbers."""
        return {"FLOAT": "float32", "DOUBLE": "float64"}.get(
            self.depth, "int16" if BITS[self.depth] <= 16 else "int32"
        )

    @property
    def limits(self) -> tuple[float, float] | None:
        """The least and the greatest number there is in this depth; None of floats."""
        bits = BITS[self.depth]
        return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if bits else None


def header(sound: BinaryIO, name: str) -> Sound:
    """Of a sound file of this name; ValueError if it can't be read."""
    with _opened(sound) as file:
        depth = SAME.get(file.subtype, file.subtype)
        if depth not in BITS:
            raise ValueError(
                f"its numbers are {depth}: ffmpeg -i {PurePath(name).name} -c:a pcm_s16le OUT.wav"
            )
        return Sound(file.frames, file.samplerate, file.channels, depth, file.comment == MARK)


def read_part(stream: BinaryIO, name: str, start: int, length: int) -> np.ndarray:
    """(C, length) from a place of a sound file on, whole numbers in their own depth."""
    sound = header(stream, name)
    stream.seek(0)
    with _opened(stream) as file:
        file.seek(start)
        found = file.read(length, dtype=sound.dtype, always_2d=True).T
    if found.shape[1] < length:
        raise ValueError(f"{name} holds fewer numbers than its header says: it is cut short")
    return found >> _spare(sound.depth, sound.dtype) if BITS[sound.depth] else found


def read_sound(path: str, space: Space) -> tuple[np.ndarray, int]:
    """(the first numbers (C, L) of a file, how many it has); ValueError unless it is like the samples."""
    with open(path, "rb") as file:
        sound, timeline = header(file, path), space.timeline
        file.seek(0)
        series = read_part(file, path, 0, min(space.shape[1], sound.length))
    wanted = (space.channels, timeline.rate, timeline.depth)
    if (sound.channels, float(sound.rate), sound.depth) != wanted or sound.length < space.shape[1]:
        raise ValueError(
            f"this model's samples are {space.channels} channels of {timeline.lasting(space.shape[1])}, "
            f"{timeline.depth or 'and no sound'}; {path} has {sound.channels} of {sound.length:,} at "
            f"{sound.rate:,}, {sound.depth}"
        )
    return series, sound.length


def sound_bytes(series: np.ndarray, timeline: Timeline) -> bytes:
    """A WAV of numbers (C, L) in the rate and depth of the data, marked as ours."""
    content, depth = io.BytesIO(), timeline.depth
    numbers = series.T << _spare(depth, str(series.dtype)) if BITS[depth] else series.T
    kinds = {"samplerate": round(timeline.rate or 1), "channels": len(series), "subtype": depth}
    with soundfile().SoundFile(content, "w", format="WAV", **kinds) as file:
        file.comment = MARK
        file.write(np.ascontiguousarray(numbers))
    return content.getvalue()


def _spare(depth: str, dtype: str) -> int:
    """How many bits the library's type has more than the depth; it leaves these at 0."""
    return np.dtype(dtype).itemsize * 8 - BITS[depth]


def _opened(file: BinaryIO) -> Any:
    library = soundfile()
    try:
        return library.SoundFile(file)
    except library.LibsndfileError as error:
        raise ValueError(f"cannot be read: {error.error_string}") from None


def soundfile() -> Any:
    """The package; ValueError that says how to get it."""
    try:
        import soundfile  # pyright: ignore[reportMissingImports]
    except (ImportError, OSError):
        raise ValueError("sound needs the package soundfile: pip install 'alphabar[sound]'") from None
    return soundfile
