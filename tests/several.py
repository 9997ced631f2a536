"""Several processes that train together, as torchrun would begin them; and what they train."""

from __future__ import annotations

import os
import socket
import time

import torch
from torch import nn

from tiny import NETWORK, tiny_config, tiny_data
from victim import CONTEXT


def start(size, function, *args):
    """Begin `function(*args)` in so many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = [CONTEXT.Process(target=_within, args=(r, size, port, function, args)) for r in range(size)]
    for process in found:
        process.start()
    return found


def run(size, function, *args):
    """The same, to the end; the exit codes."""
    processes = start(size, function, *args)
    for process in processes:
        process.join(120)
        process.kill()  # does nothing to one that has ended
        process.join()
    return [process.exitcode for process in processes]


def _within(rank, size, port, function, args):
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()}, MASTER_ADDR="127.0.0.1")
    torch.set_num_threads(1)
    function(*args)


class Masked(nn.Module):
    """A network with torch's own dropout, and with a weight that no loss reaches."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)
        self.unreached = nn.Parameter(torch.ones(3))

    def forward(self, x, c_noise, cond):
        told = cond["class"][:, :1, None, None] + c_noise[:, None, None, None]
        return self.last(torch.dropout(torch.tanh(self.first(x) + told), 0.3, self.training))


VIT = {"name": "vit", "channels": 16, "head_channels": 8, "blocks": 2, "patch": 2}
CASES = {
    "unet": {},
    "micro-batches": {"micro_batch": 3},
    "odd": {"virtual_processes": 12, "batch_size": 12, "images": 96},
    "dropout": {"network": {**NETWORK, "dropout": 0.3}, "condition_dropout": 0.5},
    "vit": {"network": VIT, "optimizer": "adamw"},
    "augmented": {"flip": True, "turns": True, "balanced": True, "stratified": False},
    "references": {"references": 20, "condition_dropout": 0.5},
    "own": {"net": Masked},
    "crops": {},
}
"""Settings by name, beside those of `tiny_config` and four virtual processes."""


def train_case(name, folder, stop_after=None, wait_s=0.0, **settings):
    """Train a case in folder/NAME, to the end or until so many updates are done."""
    from alphabar.runs import train

    settings = {"virtual_processes": 12 if name == "odd" else 4, **CASES[name], **settings}
    make = settings.pop("net", None)
    torch.manual_seed(0)
    net = make() if make else None
    config = tiny_config(**{"batch_size": 16, "images": 128, "previews": False, **settings})
    values = config.model_dump(exclude_unset=True)
    if net is not None:
        del values["network"]
    data = tiny_data(80)
    if name == "crops":
        from alphabar.data import prepare

        data = prepare(data.images[:, 0], crop=(6,))
    steps = train(data, folder / name, net=net, **values)
    for row in steps:
        time.sleep(wait_s)
        if row["step"] == stop_after:
            break
    steps.close()


def train_all(folder, **settings):
    """Train every case."""
    for name in CASES:
        train_case(name, folder, **settings)


def call(*words):
    """A command of the program."""
    from alphabar.cli.app import run as program

    raise SystemExit(program([str(word) for word in words]))


def train_without_room(folder):
    """Train a case in shards, where the second process finds the disk full."""
    import errno

    from alphabar.runs import checkpoints

    def full(path, pieces):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    if os.environ["RANK"] == "1":
        checkpoints.save_part = full
    try:
        train_case("vit", folder, sharded=True)
    except OSError as error:
        (folder / f"{os.environ['RANK']}.txt").write_text(str(error))
        raise


def train_stream(tars, folder):
    """Train on files of which two at a time are prepared."""
    from alphabar.data import prepare
    from alphabar.runs import train

    config = tiny_config(batch_size=8, images=96, previews=False, virtual_processes=2)
    for _ in train(prepare(tars, stream=2), folder / "run", **config.model_dump(exclude_unset=True)):
        pass
