"""Codecs by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.kinds import KINDS
from ..data.space import Space
from ..errors import made_from, unknown
from .affine import Codec
from .premultiplied import Premultiplied
from .table_codec import TableCodec

CODECS: dict[str, type[Codec]] = {"affine": Codec, "premultiplied": Premultiplied, "table": TableCodec}
"""`affine` is a scale and an offset a channel, `premultiplied` the same of colors · alpha; `table` has for
each column what suits it."""


def fit_codec(space: Space, images: np.ndarray | None = None, name: str | None = None) -> Codec:
    """The codec of this name, or that of the space's kind, fitted to its samples (see `Codec.fit`)."""
    usual = "premultiplied" if "alpha" in space.names and space.kind == "picture" else KINDS[space.kind].codec
    name = usual if name is None else name
    if name not in CODECS:
        raise unknown("codec", name, CODECS)
    return CODECS[name].fit(space, images)


def codec_from(entry: dict[str, Any], space: Space) -> Codec:
    """The codec that `to_dict` described."""
    return made_from(CODECS, entry, "name", "codec", space)
