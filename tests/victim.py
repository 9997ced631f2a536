"""Training in another process, to be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from typing import Any

import torch

from tiny import NETWORK, tiny_config, tiny_data

CONTEXT: Any = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
CONTEXT.set_forkserver_preload(
    ["torch", "torch._dynamo", "alphabar.runs.run", "safetensors.torch", "PIL.Image", "PIL.PngImagePlugin"]
    + [
        "PIL.GifImagePlugin",
        "matplotlib.figure",
        "matplotlib.backends.backend_agg",
        "jinja2",
        "rich.progress",
    ]
    + [
        f"alphabar.cli.{name}"
        for name in ("app", "data", "train", "sample", "edit", "evaluate", "report", "fit")
    ]
)


def config(**settings):
    """Every update saves, so that many kills fall into a save; dropout is one more thing to go on exactly."""
    values = {"images": 200, "save_minutes": 0.0, "network": {**NETWORK, "dropout": 0.3}, "previews": False}
    return tiny_config(**{**values, **settings})


def train_in(folder, die_at=None, settings=None, **options):
    """Train to the end; or die without warning at the n-th system call that changes a file's fate."""
    from alphabar.runs import Run

    torch.set_num_threads(1)
    if die_at is not None:
        calls = 0

        def deadly(call):
            def wrapped(*args, **kwargs):
                nonlocal calls
                calls += 1
                if calls == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **kwargs)

            return wrapped

        for name in ("replace", "rename", "link", "fsync", "chmod", "unlink"):
            setattr(os, name, deadly(getattr(os, name)))
    for _ in Run(folder, tiny_data(), config(**(settings or {})), **options).train():
        pass


def start(*args, **kwargs):
    process = CONTEXT.Process(target=train_in, args=args, kwargs=kwargs)
    process.start()
    return process


def finish(*args, **kwargs):
    """The same to its end."""
    process = start(*args, **kwargs)
    process.join()
    assert process.exitcode == 0
