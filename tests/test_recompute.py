"""Blocks that are run again in the backward pass: the same bits in less memory."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from alphabar.data import Space
from alphabar.model import Codec, Denoiser
from alphabar.model.memory import needed_memory
from alphabar.nn import build_network
from alphabar.runs import Run
from alphabar.theory.schedule import Schedule
from alphabar.training.recompute import recompute
from alphabar.training.trainer import Trainer
from tiny import NETWORK, tiny_config, tiny_data

VIT = {"name": "vit", "channels": 16, "head_channels": 8, "blocks": 3, "patch": 2}
UNET = {**NETWORK, "channel_mult": [1, 2], "dropout": 0.2}


class Blocks(nn.Module):
    """A network of one's own, with torch's dropout in its blocks."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.calls = nn.Conv2d(8, 8, 3, padding=1), 0

        def forward(self, x, *, scale):
            self.calls += 1
            return x + scale * torch.dropout(torch.tanh(self.conv(x)), 0.3, self.training)

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)
        self.blocks = nn.ModuleList(self.Block() for _ in range(3))

    def forward(self, x, c_noise):
        x = self.first(x)
        for block in self.blocks:
            x = block(x, scale=0.5)
        return self.last(x)


def trained(net=None, **settings):
    torch.manual_seed(0)
    config = tiny_config(**{"images": 48, "condition_dropout": 0.3, **settings})
    trainer = Trainer(config, tiny_data(), net=net and net())
    rows = [trainer.update() for _ in range(5)]
    return rows, trainer


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "settings",
    [{"network": UNET}, {"network": VIT, "micro_batch": 3}, {"net": Blocks, "conditional": False}],
    ids=["unet", "vit", "own"],
)
def test_the_bits_are_the_same(settings, precision):
    (rows, plain), (again, other) = (
        trained(**settings, precision=precision, recompute=recompute) for recompute in (False, True)
    )
    assert rows == again
    for name, tensor in plain.state().items():
        assert torch.equal(tensor, other.state()[name]), name
    if settings.get("net"):
        calls = [[block.calls for block in t.model.net.blocks] for t in (plain, other)]
        assert calls == [[5] * 3, [10] * 3]
        assert [block.calls for block in other.ema.net.blocks] == [0] * 3


def test_a_run_may_begin_it_at_any_time(tmp_path):
    for name, habits in (("plain", (False, False)), ("changed", (False, True))):
        for images, again in zip((24, 48), habits, strict=True):
            config = tiny_config(images=images, previews=False, recompute=again)
            list(Run(tmp_path / name, tiny_data(), config).train())
    weights = [Run(tmp_path / name, tiny_data(), config).trainer for name in ("plain", "changed")]
    assert len(weights) == 2
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("plain", "changed")]
    assert metrics[0] == metrics[1]


def denoiser(network, side=256):
    space = Space((3, side, side))
    net = build_network(network, (3, side, side), {})
    return Denoiser(net, Schedule.cosine(), "v", Codec(space, 127.5, 127.5))


@pytest.mark.parametrize(
    "network",
    [
        {"name": "unet", "channels": 32, "channel_mult": [1, 1, 1], "num_res_blocks": 3},
        {"name": "vit", "channels": 64, "head_channels": 32, "blocks": 8, "patch": 8},
    ],
    ids=["unet", "vit"],
)
def test_less_is_kept(network):
    plain = denoiser(network)
    other = copy.deepcopy(plain)
    recompute(other.net)
    before, after = (needed_memory(model, 16, training=True) for model in (plain, other))
    assert after < 0.6 * before
    sampling = (needed_memory(model, 16, training=False) for model in (plain, other))
    assert len(set(sampling)) == 1


def test_a_network_without_blocks_and_a_compiler_are_refused():
    with pytest.raises(ValueError, match="Linear has no blocks in a ModuleList that could be run again"):
        recompute(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="not compiled: leave compile out, or recompute"):
        trained(recompute=True, compile="default")
