"""Network + schedule + parametrization + codec + conditions: the denoiser, and its file."""

from .affine import Codec
from .batched import Batched, batch_size
from .codec import CODECS, codec_from, fit_codec
from .conditions import Cond
from .denoiser import Denoiser
from .devices import has_bfloat16, pick_device
from .file import MODEL_FILE, describe, load, save

__all__ = [
    "CODECS",
    "MODEL_FILE",
    "Batched",
    "Codec",
    "Cond",
    "Denoiser",
    "batch_size",
    "codec_from",
    "describe",
    "fit_codec",
    "has_bfloat16",
    "load",
    "pick_device",
    "save",
]
