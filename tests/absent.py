"""torchvision as others import it, where it isn't installed (it has no CPU build everywhere).

timm and torch-fidelity read names of it on import, for their data sets and pictures; none is called here.
"""

from __future__ import annotations

import contextlib
import enum
import importlib.util
import sys
from types import ModuleType

NAMES = [
    "torchvision",
    *(f"torchvision.{name}" for name in ("datasets", "models", "ops", "transforms", "utils")),
    "torchvision.models.feature_extraction",
    "torchvision.ops.misc",
    "torchvision.transforms.functional",
]
MODES = enum.Enum("InterpolationMode", "NEAREST BILINEAR BICUBIC BOX HAMMING LANCZOS")


class Absent(ModuleType):
    """A module in which every name is an empty class."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return MODES if name == "InterpolationMode" else type(name, (), {})


@contextlib.contextmanager
def torchvision_or_names():
    """Let others be imported without torchvision; after that nobody else takes this for the real one."""
    stub = {} if importlib.util.find_spec("torchvision") else {name: Absent(name) for name in NAMES}
    for name, module in stub.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(stub[parent], child, module)
    sys.modules.update(stub)
    try:
        yield
    finally:
        for name in stub:
            del sys.modules[name]
