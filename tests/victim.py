"""Training in another process, to be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal

import torch

from alphabar import Run
from tiny import tiny_config, tiny_data

CONTEXT = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
CONTEXT.set_forkserver_preload(["torch", "alphabar.training.run", "safetensors.torch", "PIL.Image"])


def config():
    from tiny import NETWORK

    return tiny_config(images=200, save_minutes=0.0, network={**NETWORK, "dropout": 0.3})


def train_in(folder, die_at=None):
    """Train to the end; or die without warning at the n-th system call that changes a file's fate."""
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

        for name in ("replace", "fsync", "chmod", "unlink"):
            setattr(os, name, deadly(getattr(os, name)))
    for _ in Run(folder, tiny_data(), config()).train():
        pass


def start(*args):
    process = CONTEXT.Process(target=train_in, args=args)
    process.start()
    return process
