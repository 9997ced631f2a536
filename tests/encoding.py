"""An encoder of texts as `sentence_transformers` has them, in a module that takes its place."""

from __future__ import annotations

import json
import re
import sys
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn

from alphabar.data.conditions import embedding
from alphabar.data.conditions.embedding import EmbeddingCondition
from alphabar.data.conditions.encoders import KNOWN, PLACE, SENTENCE, TYPE, packed

MOST = 8  # tokens
ROWS = 512
GONE = "gone"
"""How the digests of encoders begin that aren't there."""


class SentenceTransformer(nn.Module):
    """The sum of a random vector for each word of the first eight, as a unit vector.

    It is read from a folder that `write_encoder` made. `asked` are the texts that were encoded, `online` the
    folders of names on the Hub.
    """

    asked: list[str] = []  # noqa: RUF012
    online: dict[str, Path] = {}  # noqa: RUF012

    def __init__(self, place, local_files_only=False):
        super().__init__()
        folder = Path(place)
        if not local_files_only and place in self.online:
            folder = self.online[place]
        if not (folder / "encoder.json").exists():
            raise OSError(f"{place} is not there")
        how = json.loads((folder / "encoder.json").read_text())
        self.lower, self.max_seq_length = how["lower"], MOST
        generator = torch.Generator().manual_seed(how["seed"])
        self.words = nn.Embedding(
            ROWS, how["size"], _weight=torch.randn(ROWS, how["size"], generator=generator)
        )

    def tokenizer(self, texts, truncation=True, verbose=True):
        words = [re.findall(r"\w+|[^\w\s]", text.lower() if self.lower else text) for text in texts]
        ids = [[zlib.crc32(word.encode()) % ROWS for word in each] for each in words]
        return {"input_ids": [each[:MOST] if truncation else each for each in ids]}

    def encode(self, texts, show_progress_bar=None):
        self.asked.extend(texts)
        with torch.no_grad():
            rows = [self.words(torch.tensor(ids)).sum(0) for ids in self.tokenizer(texts)["input_ids"]]
            return nn.functional.normalize(torch.stack(rows)).numpy().astype(np.float32)


def write_encoder(folder, seed=0, size=12, lower=True):
    """A folder that holds one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "encoder.json").write_text(json.dumps({"seed": seed, "size": size, "lower": lower}))
    return folder


def embedded_texts(texts, size):
    """A condition that knows what an encoder, which isn't there, made of these texts."""
    table = np.random.default_rng(0).normal(size=(ROWS, size))
    words = [[zlib.crc32(word.encode()) % ROWS for word in text.split()] for text in [SENTENCE, *texts]]
    vectors = np.array([table[each].mean(0) for each in words], TYPE)
    digest = f"{GONE} {size}"
    KNOWN[digest].update(zip(texts, vectors[1:], strict=True))
    return EmbeddingCondition(size=size, encoder="gone/encoder", sha256=digest, embeddings=packed(vectors[0]))


def stand_in(monkeypatch):
    """Put it in the package's place, with nothing known and nothing counted; the class."""
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    monkeypatch.setattr(SentenceTransformer, "asked", [])
    monkeypatch.setattr(SentenceTransformer, "online", {})
    monkeypatch.delenv(PLACE, raising=False)
    forget()
    return SentenceTransformer


def forget():
    """As in another process."""
    for digest in list(KNOWN):
        if not digest.startswith(GONE):
            del KNOWN[digest]
    embedding._asked.cache_clear()
