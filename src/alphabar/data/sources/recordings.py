"""Folders and archives of sound as data: samples are windows of its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np

from ...errors import some
from ..config import DataConfig
from ..timeline import Timeline
from .classes import folder_classes
from .folders import Files, files_of
from .pictures import PICTURE_ENDINGS
from .sound import SOUND_ENDINGS, Sound, header, read_part
from .source_types import Arrays, Rows, Samples
from .windows import Windows, repeated

MOST, LEAST = 2**14, 2**10
"""How many numbers a window has at most and at least, unless it is asked for."""
AT_ONCE = 2**22  # numbers that are read at once


def is_sound(names: Sequence[str]) -> bool:
    """Whether these are sound files rather than pictures: there are more of them."""
    endings = Counter(PurePosixPath(name).suffix.lower() for name in names)
    return sum(endings[e] for e in SOUND_ENDINGS) > sum(endings[e] for e in PICTURE_ENDINGS)


def recordings(found: Files, config: DataConfig) -> Arrays:
    """The sound files among these."""
    names, notes = files_of(found.where, found.names, found.notes, SOUND_ENDINGS, "sound file")
    takes = frozenset({"window", "hop", "skip_bad"})
    return Arrays(found.stamp(names), lambda: _samples(found, names, notes, config), takes)


def _samples(found: Files, names: list[str], notes: list[str], config: DataConfig) -> Samples:
    sounds, said = _headers(found, names, config.skip_bad)
    names, lengths = list(sounds), [sound.length for sound in sounds.values()]
    first = next(iter(sounds.values()))
    rate = _the_one("sampling rates (Hz)", sounds, lambda s: s.rate, "ffmpeg -i IN.wav -ar {} OUT.wav")
    channels = _the_one(
        "numbers of channels", sounds, lambda s: s.channels, "ffmpeg -i IN.wav -ac {} OUT.wav"
    )
    _the_one(
        "depths",
        sounds,
        lambda s: s.depth,
        "convert them, such as by ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav",
    )
    timeline = Timeline(rate=float(rate), depth=first.depth)
    windows = Windows.of(config, timeline.rate, _usual(names, lengths, config, timeline))
    counts = [windows.count(length) for length in lengths]
    origins, cut = windows.told(names, lengths, timeline)
    if config.window is None:
        cut[0] += " (--window SECONDS for others)"
    if set(lengths) == {windows.size}:
        origins, cut = None, [f"{len(names):,} sound files of {timeline.lasting(windows.size)}"]

    def blocks() -> Iterator[np.ndarray]:
        most = max(1, AT_ONCE // windows.size)
        for name, count in zip(names, counts, strict=True):
            for start in range(0, count, most):
                length = (min(most, count - start) - 1) * windows.hop + windows.size
                with found.stream(name, None) as file:
                    yield windows.cut(read_part(file, name, start * windows.hop, length))

    rows = Rows((sum(counts), channels, windows.size), np.dtype(first.dtype), blocks)
    labels = folder_classes(names, config.classes)
    depth = f"{channels} channel{'s' * (channels > 1)} of {first.depth}"
    return Samples(
        rows, "sound", "series", [*notes, *said, depth, *cut], first.limits, repeated(labels, counts),
        names={2: ("left", "right")}.get(channels, ()), timeline=timeline, origins=origins,
    )  # fmt: skip


def _headers(every: Files, names: list[str], skip_bad: bool) -> tuple[dict[str, Sound], list[str]]:
    """What each file says of itself, and notes on those that are left out."""
    found, bad, own = {}, {}, {}
    for name in names:
        try:
            with every.stream(name, None) as file:
                sound = header(file, name)
        except ValueError as error:
            if "alphabar[" in str(error):
                raise
            bad[name] = str(error)
            continue
        (own if sound.own else found)[name] = sound
    notes = [f"left out, written by Alphabar: {some(list(own))}"] if own and found else []
    found = found or own  # samples that are given as data
    listing = some([f"{name} ({why})" for name, why in bad.items()], 3)
    if not found or (bad and not skip_bad):
        raise ValueError(
            f"{len(bad)} of {len(names)} sound files cannot be read: {listing}; --skip-bad leaves them out"
        )
    return found, [*notes, *([f"{len(bad)} sound files cannot be read: {listing}"] if bad else [])]


def _the_one(what: str, sounds: dict[str, Sound], of: Callable[[Sound], int | str], remedy: str) -> int:
    """What all files have alike; ValueError with what is found if they differ."""
    counts = Counter(map(of, sounds.values())).most_common()
    (most, _), *others = counts
    if others:
        listing = ", ".join(f"{n} × {value}" for value, n in counts[:5])
        odd = next(name for name, sound in sounds.items() if of(sound) != most)
        raise ValueError(
            f"sound files of several {what} ({listing}; {odd} is unlike most): bring them to one, "
            f"{remedy.format(most)}, or give a folder of those that are alike"
        )
    return most if isinstance(most, int) else 0


def _usual(names: list[str], lengths: list[int], config: DataConfig, timeline: Timeline) -> int:
    """The length of a window that nobody has asked for: whole files if they are alike and short."""
    shortest = min(lengths)
    if config.window is None and shortest < LEAST and len(set(lengths)) > 1:
        raise ValueError(
            f"{names[lengths.index(shortest)]} lasts {timeline.lasting(shortest)}, and the longest file "
            f"{timeline.lasting(max(lengths))}: say how long samples are by --window SECONDS; shorter files "
            "are then left out"
        )
    return min(MOST, shortest)
