"""What pictures say before they are decoded, and what follows from it for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image

from ...errors import some
from ...images import MARK
from ..config import DataConfig
from .colors import Profile, has_alpha, profile_of
from .fitting import factors
from .pictures import decoder_arguments, is_deep, upright_size
from .source_types import files

GRAY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"}
LARGEST_DEFAULT_SIZE = 64
PLACE = 33550, 34264, 34735
"""The tags by which a TIFF says where on earth it lies."""
SUBFILE, REDUCED_OR_MASK = 254, 0b101
"""The tag by which a page of a TIFF says that it is a smaller copy of another one, or its mask."""


class Header(NamedTuple):
    """One picture by its header.

    Attributes:
        size: (H, W), upright.
        mode: Pillow's.
        alpha: whether pixels may be transparent.
        deep: whether values are read in more than 8 bits.
        cut: whether they have more than 8 bits, and are read in 8.
        profile: its ICC profile, unless that is sRGB.
        written: what Alphabar wrote inside, if it did.
        frames: the numbers of those that are pictures of their own.
        geo: whether it says where on earth it lies.
    """

    size: tuple[int, int]
    mode: str
    alpha: bool
    deep: bool
    cut: bool
    profile: Profile | None
    written: str | None
    frames: tuple[int, ...]
    geo: bool = False


def header_of(image: Image.Image) -> Header:
    """The header of a picture that was opened."""
    deep = is_deep(image)
    cut = not deep and ("16" in str(decoder_arguments(image)) or image.info.get("bit_depth", 8) > 8)
    profile = profile_of(image)
    size, mode, alpha, written = upright_size(image), image.mode, has_alpha(image), _written(image)
    geo = any(tag in getattr(image, "tag_v2", {}) for tag in PLACE)
    frames = _frames(image)  # which moves to the last
    return Header(size, mode, alpha, deep, cut, profile, written, frames, geo)


def header_from(listed: Sequence[Any]) -> Header:
    """A header from the list of its values, as JSON."""
    size, mode, alpha, deep, cut, profile, written, frames, geo = listed
    own = None if profile is None else Profile(*profile)
    return Header(tuple(size), mode, alpha, deep, cut, own, written, tuple(frames), geo)


def _written(image: Image.Image) -> str | None:
    """The mark that `images` leaves in what it writes."""
    comment = image.info.get("comment", b"")
    in_gif = image.format == "GIF" and comment == MARK.encode()
    return image.info.get(MARK, "{}" if in_gif else None)


def _frames(image: Image.Image) -> tuple[int, ...]:
    """The numbers of frames, of HEIC the main one first; a photograph with a second one (MPO) has one."""
    n = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if n == 1 or image.format != "TIFF":
        return tuple(sorted(range(n), key=lambda k: k != image.tell()))
    whole = []
    for k in range(n):
        image.seek(k)
        if not image.tag_v2.get(SUBFILE, 0) & REDUCED_OR_MASK:  # pyright: ignore[reportAttributeAccessIssue]
            whole.append(k)
    return tuple(whole) or (0,)


def without_own(headers: dict[int, Header], names: Sequence[str]) -> tuple[dict[int, Header], str]:
    """Those that Alphabar didn't write, and a note; where it wrote all, its samples without its sheets."""
    own = {i for i, header in headers.items() if header.written is not None}
    if not own:
        return headers, ""
    all_own = len(own) == len(headers)
    samples = {i for i in own if all_own and '"index"' in str(headers[i].written)}
    out = sorted(own - samples)
    if len(out) == len(headers):
        raise ValueError(
            f"all pictures are sheets that Alphabar wrote ({some([names[i] for i in out])}); "
            "give a folder of pictures or of samples"
        )
    note = f"left out, written by Alphabar: {some([names[i] for i in out])} ({files(len(out))})"
    return {i: header for i, header in headers.items() if i not in out}, note if out else ""


# --- what follows --------------------------------------------------------------------------------


BROUGHT = {"crop": "resized and cut to", "pad": "resized and padded to", "stretch": "stretched to"}
"""What is done to pictures of another size."""


def choose_size(sizes: Mapping[str, tuple[int, int]], config: DataConfig) -> tuple[tuple[int, int], str]:
    """The (height, width) for pictures of these sizes by name, and a note.

    It is the one that was asked for; or that of half of them or more, if it is small; or the most common
    one (of several the largest), if all are small; or else 64.
    """
    counts = Counter(sizes.values())
    most, n = max(counts.items(), key=lambda entry: (entry[1], entry[0]))
    largest = max(max(size) for size in counts)
    small = max(most) <= LARGEST_DEFAULT_SIZE and (2 * n >= len(sizes) or largest <= LARGEST_DEFAULT_SIZE)
    height, width = size = config.size or (most if small else (LARGEST_DEFAULT_SIZE, LARGEST_DEFAULT_SIZE))
    if set(counts) == {size}:
        return size, f"all {height} × {width} pixels (height × width), taken as they are"
    brought = f"{BROUGHT[config.fit]} "
    enlarged = sum(max(factors(own, size, config.fit)) > 1 for own in sizes.values())
    if most == size and 2 * n >= len(sizes):
        odd = [f"{name} ({h} × {w})" for name, (h, w) in sizes.items() if (h, w) != size]
        note = f"{n} of {len(sizes)} are {height} × {width} pixels; {brought}that: {some(odd)}"
    else:
        heights, widths = [h for h, _ in counts], [w for _, w in counts]
        own = f"{_span(heights)} × {_span(widths)} pixels (height × width)"
        note = f"{own}, {brought}{height} × {width}"
    if enlarged:
        note += f" ({enlarged} of {len(sizes)} are enlarged)"
    if len(counts) == 1 and config.size is None:
        note += f"; --size {most[0]}x{most[1]} keeps them"
    return size, note


def _span(values: list[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def pixel_art_note(headers: Sequence[Header], size: tuple[int, int], config: DataConfig) -> str:
    """What to say where small pictures, such as sprites, are resized; "" if nothing."""
    others = [header for header in headers if header.size != size]
    if config.resize == "nearest":
        uneven = sum(not _by_whole_factor(factors(header.size, size, config.fit)) for header in others)
        return f"not resized by a whole factor, so pixels differ in width: {files(uneven)}" if uneven else ""
    if any(header.mode == "P" or max(header.size) <= LARGEST_DEFAULT_SIZE for header in others):
        return "small pictures are smoothed where they are resized; for pixel art give --resize nearest"
    return ""


def _by_whole_factor(ratios: Sequence[float]) -> bool:
    return all(ratio.is_integer() or (1 / ratio).is_integer() for ratio in ratios)


def found_notes(headers: Mapping[str, Header], config: DataConfig) -> list[str]:
    """What pictures are, as far as it matters, by their headers."""
    every = list(headers.values())
    modes = Counter(header.mode for header in every)
    notes = ["modes: " + ", ".join(f"{n} × {mode}" for mode, n in modes.most_common())]
    cut = [name for name, header in headers.items() if header.cut]
    if cut:
        notes.append(
            f"more than 8 bits are read in 8, as colors are: {some(cut)}; as an array, .npy keeps them"
        )
    deep = [name for name, header in headers.items() if header.deep]
    plain = [name for name, header in headers.items() if not header.deep]
    if deep and plain:
        few = min(deep, plain, key=len)
        notes.append(
            f"{len(deep)} of 16 bits and {len(plain)} of 8: the latter's values are multiplied by 257, so "
            f"that white is white; {'16' if few is deep else '8'} bits have {some(few)}"
        )
    if any(header.geo for header in every):
        notes.append("GeoTIFFs of 8 bits are read as pictures, and samples lie nowhere on earth")
    notes += _profile_notes(headers)
    several = [name for name, header in headers.items() if len(header.frames) > 1]
    if several:
        n = sum(len(headers[name].frames) for name in several)
        what = f"{files(len(several))} with several frames: {some(several)}; "
        if config.frames == "all":
            notes.append(f"{what}their {n} frames are a sample each")
        else:
            notes.append(f"{what}the first is used, {n - len(several)} further left out: --frames all")
    return notes


def _profile_notes(headers: Mapping[str, Header]) -> list[str]:
    used, unused = Counter(), {}
    for name, header in headers.items():
        if header.profile is not None and header.profile.fault:
            unused.setdefault(header.profile, []).append(name)
        elif header.profile is not None:
            used[header.profile.name] += 1
    notes = [f"colors are converted to sRGB from {own} ({files(n)})" for own, n in used.most_common()]
    notes += [
        f"the color profile {own.name} {own.fault}, so colors are taken as they are: {some(names)}"
        for own, names in unused.items()
    ]
    bare = [name for name, header in headers.items() if header.mode == "CMYK" and header.profile is None]
    if bare:
        notes.append(f"CMYK without a profile, so colors are approximate: {some(bare)}")
    return notes
