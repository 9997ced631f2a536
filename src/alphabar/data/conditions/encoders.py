"""Encoders of texts, of `sentence-transformers`: which one it is, and what it makes of texts."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import needs
from ...files import brief, expanded

PLACE = "ALPHABAR_TEXT_ENCODER"
"""The variable that names the folder of a model's encoder, where that isn't what training had."""
SENTENCE = "Three red cats (7 kg, très vieux) sleep on an old wooden chair!"
"""What an encoder makes of this is kept, to know its tokens and pooling by."""
ALIKE = 0.01
"""How far what it makes of it may lie away, as a share: another device adds in another order."""
AT_ONCE = 1024  # texts between two signs of progress
TYPE = np.dtype("<f2")
"""Embeddings are rounded to 11 bits as they are made, so that they are the same wherever they are kept."""

KNOWN: defaultdict[str, dict[str, np.ndarray]] = defaultdict(dict)
"""SHA-256 of an encoder → text → its embedding (D,), as far as they were made or read."""


@dataclass(frozen=True, eq=False)
class Encoder:
    """An encoder that was loaded.

    Attributes:
        name: the folder, or the name on the Hugging Face Hub.
        sha256: of its weights as float32, whatever they are called and stored as.
        model: a `sentence_transformers.SentenceTransformer`.
    """

    name: str
    sha256: str
    model: Any = field(repr=False)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """(n, D), float16. ValueError for numbers that it can't hold."""
        rows = np.asarray(self.model.encode(list(texts), show_progress_bar=False), np.float32)
        with np.errstate(over="ignore"):
            found = rows.astype(TYPE)
        if found.ndim != 2 or len(found) != len(texts) or not np.isfinite(found).all():
            raise ValueError(
                f"the text encoder {self.name} must give a row of finite numbers below 65,504 for each text, "
                f"and gave {found.shape} for {len(texts)}"
            )
        return found

    def learn(
        self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None
    ) -> list[np.ndarray]:
        """The embedding (D,) of each text; those that aren't known yet are made."""
        known = KNOWN[self.sha256]
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        for start in range(0, len(missing), AT_ONCE):
            some = missing[start : start + AT_ONCE]
            known.update(zip(some, self.embed(some), strict=True))
            if progress is not None:
                progress(start + len(some), len(missing))
        return [known[text] for text in texts]

    def cut(self, texts: Sequence[str]) -> str:
        """What to say of texts that have more tokens than it reads; "" if none has, or it doesn't tell."""
        most: Any = getattr(self.model, "max_seq_length", None)
        tokens: Any = getattr(self.model, "tokenizer", None)
        if not isinstance(most, int) or tokens is None or not texts:
            return ""
        try:
            found = tokens(list(texts), truncation=False, verbose=False)["input_ids"]
        except Exception:  # of encoders that read pictures too, say, these are called in another way
            return ""
        long = sum(len(each) > most for each in found)
        whose = f"{long} of {len(texts)} texts are longer than the {most} tokens that {self.name} reads"
        return f"{whose}: their ends are not told" if long else ""


def encoder_of(name: str, otherwise: str) -> Encoder:
    """The encoder in a folder, or of this name on the Hugging Face Hub; one that is here is never asked for.

    ValueError, with what can be done `otherwise`, if there is none, or it can't be had.
    """
    with needs("texts that an encoder embeds", "sentence-transformers", "text"):
        from sentence_transformers import SentenceTransformer  # pyright: ignore[reportMissingImports]
    path = expanded(name)
    place = str(path.resolve()) if path.is_dir() else name
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # bars of what takes no time
            model = SentenceTransformer(place, local_files_only=True)
    except Exception as error:  # the package raises many kinds
        if path.is_dir():
            raise ValueError(f"{name} holds no text encoder that can be read: {error}; {otherwise}") from None
        _check_hub(name, otherwise)
        try:
            model = SentenceTransformer(name)
        except Exception as found:
            raise ValueError(
                f"the text encoder {name!r} can't be fetched or read: {found}; {otherwise}"
            ) from None
    model = model.float().eval()
    return Encoder(place, _digest(model), model)


def _check_hub(name: str, otherwise: str) -> None:
    """ValueError unless the Hub has a model of this name; asked once, as loading one asks for minutes."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        huggingface_hub.HfApi().model_info(name, timeout=10)
    except HFValidationError:
        what = "is no folder here, and no name that a model on the Hugging Face Hub can have"
    except HfHubHTTPError:
        what = (
            "is not on this machine, and the Hugging Face Hub shows no such model (private ones take a token)"
        )
    except Exception:  # of the network, in the words of whatever library does it
        what = "is not on this machine, and the Hugging Face Hub, where it may be, can't be reached"
    else:
        return
    raise ValueError(f"the text encoder {name!r} {what}: {otherwise}")


def _digest(model: Any) -> str:
    each = []
    for weights in model.parameters():
        array = np.ascontiguousarray(weights.detach().cpu().numpy(), "<f4")
        each.append(hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest())
    return hashlib.sha256("".join(sorted(each)).encode()).hexdigest()


def stamp_of(name: str) -> Any:
    """As JSON: the name; of a folder its place, and the size and time of each file."""
    path = expanded(name)
    if not path.is_dir():
        return name
    files = sorted(Path(at, file) for at, _, names in os.walk(path) for file in names)
    stats = [(str(file), file.stat()) for file in files if file.is_file()]
    return [str(path.resolve()), *((file, stat.st_size, stat.st_mtime_ns) for file, stat in stats)]


def packed(rows: np.ndarray) -> str:
    """Embeddings (n, D) as text."""
    return base64.b64encode(np.ascontiguousarray(rows, TYPE).tobytes()).decode()


def unpacked(text: str, size: int) -> np.ndarray:
    """The embeddings (n, size) in a text; ValueError unless there are some, all finite."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError(f"embeddings of texts must be in base64, got {brief(text)}") from None
    if not raw or len(raw) % (size * TYPE.itemsize):
        raise ValueError(f"embeddings of texts must be rows of {size} numbers, got {len(raw)} bytes")
    rows = np.frombuffer(raw, TYPE).reshape(-1, size)
    if not np.isfinite(rows).all():
        raise ValueError("embeddings of texts must be finite numbers")
    return rows
