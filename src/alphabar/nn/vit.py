"""A transformer over patches of samples with any number of sides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import check_whole
from .dropout import Dropout
from .embedding import Embedded
from .layers import divided, fold, held, pad_to_multiple, patches, unfold
from .tokens import RMSNorm, SwiGLU, TokenAttention, Windows, rotations

FREQUENCIES = 256
MOST_TOKENS, MOST_HELD = 640, 4
"""Unless asked for, of tokens that hold at most so many times as many numbers as they have channels."""
LONG, WINDOW = 2048, 512
"""From so many tokens on, most blocks attend within windows of at most so many, unless asked for."""


class ViT(Embedded):
    """Transformer of patches: x (B, C, *sides), c_noise (B,), cond → (B, C, *sides).

    As in JiT (arXiv 2511.13720), after DiT (arXiv 2212.09748): RMS norms, rotary positions along each axis
    beside sines and cosines of the place, normalized queries and keys, SwiGLU. Time and conditions scale,
    shift and gate each block (adaLN-Zero).

    Args:
        shape: (C, *sides) of one sample. C and the number of sides are built in; the sides themselves may be
            others in each call.
        channels: of a token.
        blocks: how many.
        head_channels: channels of one attention head.
        patch: places a side that make one token; of shorter sides fewer. Sides that it doesn't divide are
            padded by their edge, and the result is cropped.
        bottleneck: numbers that a patch is mapped to on its way in; None for none. For tokens that hold more
            numbers than can matter.
        window: places of tokens a side within which blocks attend, shifted by half of it in every other one;
            None to attend to all.
        global_every: with a window, each so manieth block attends to all nevertheless; None for none.
        condition_tokens: tokens of time and conditions that are put before those of the sample.
        expansion: within a block, over `channels`: SwiGLU has 2/3 of it, so as many weights as a plain MLP.
        dropout: within the blocks, while training.
        conditions: name → shape of what the network can be told. (K,) is a vector: a matrix without bias
            maps it to (B, channels), added to the embedding of the time. (C', *sides) is concatenated to the
            input. All zeros, or a missing name, tell nothing.

    >>> net = ViT((1, 28, 28), channels=64, blocks=2, patch=4, head_channels=32, conditions={"class": (10,)})
    >>> net(torch.zeros(4, 1, 28, 28), torch.zeros(4), {"class": torch.eye(10)[:4]}).shape
    torch.Size([4, 1, 28, 28])
    """

    any_sides = True
    outer = (*Embedded.outer, "linear_in", "linear_out")

    @staticmethod
    def suits(shape: Sequence[int], given: Mapping[str, Any]) -> dict[str, Any]:
        """Settings for samples of this shape, those that are `given` among them.

        The patch is the smallest power of two with at most `MOST_TOKENS` tokens. Patches that hold more
        numbers than a token has channels come in through a bottleneck, as in JiT (arXiv 2511.13720).
        """
        settings: dict[str, Any] = {"channels": 256, "blocks": 8, "patch": 1, **given}
        channels, sides = settings["channels"], tuple(shape[1:])
        counts = (settings[name] for name in ("channels", "patch"))
        if not sides or not all(type(n) is int and 0 < n < 2**14 for n in counts):
            return settings  # which are refused

        def folded(patch: int) -> tuple[int, int]:
            return math.prod(divided(sides, patches(sides, patch))), held(shape, patch)

        tokens, numbers = folded(settings["patch"])
        while "patch" not in given and tokens > MOST_TOKENS:
            after = folded(2 * settings["patch"])
            if after[1] > MOST_HELD * channels:
                break
            settings["patch"], (tokens, numbers) = 2 * settings["patch"], after
        for head in range(2, min(channels, 64) + 1, 2):
            if channels % head == 0 and "head_channels" not in given:
                settings["head_channels"] = head
        if numbers > channels:
            settings.setdefault("bottleneck", max(1, channels // 4))
        if tokens > LONG and "window" not in given:
            settings = {"global_every": 4, **settings, "window": int(WINDOW ** (1 / len(sides)) + 1e-9)}
        return settings

    def __init__(
        self,
        shape: Sequence[int],
        channels: int = 256,
        blocks: int = 8,
        head_channels: int = 64,
        patch: int = 2,
        bottleneck: int | None = None,
        window: int | None = None,
        global_every: int | None = None,
        condition_tokens: int = 0,
        expansion: int = 4,
        dropout: float = 0.0,
        conditions: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.shape = _checked_shape(shape)
        config = {
            "name": "vit", "channels": channels, "blocks": blocks, "head_channels": head_channels,
            "patch": patch, "bottleneck": bottleneck, "window": window, "global_every": global_every,
            "condition_tokens": condition_tokens, "expansion": expansion, "dropout": dropout,
        }  # fmt: skip
        self.config = _checked(config, len(shape) - 1)
        self.patches = patches(self.shape[1:], patch)
        c_in = self.add_conditions("vit", conditions or {}, FREQUENCIES, channels)
        held = math.prod(self.patches)
        first = [nn.Linear(c_in * held, bottleneck, bias=False)] if bottleneck else []
        self.linear_in = nn.Sequential(*first, nn.Linear(bottleneck or c_in * held, channels))
        self.tokens = None
        if condition_tokens:
            self.tokens = nn.Parameter(0.02 * torch.randn(condition_tokens, channels))
            self.tell_tokens = nn.Linear(channels, channels)
        self.blocks = nn.ModuleList(
            Block(channels, head_channels, 8 * math.ceil(expansion * channels / 12), dropout)
            for _ in range(blocks)
        )
        self.norm_out = RMSNorm()
        self.modulation = nn.Linear(channels, 2 * channels)
        self.linear_out = nn.Linear(channels, self.shape[0] * held)
        self.initialize()
        for block in cast(list[Block], [self, *self.blocks]):
            nn.init.zeros_(block.modulation.weight)
        nn.init.zeros_(self.linear_out.weight)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        """x: (B, C, *sides); c_noise: (B,); cond: name → (B, *its shape), grids with the sides of x."""
        sides = x.shape[2:]
        x, cond = self.joined(x, cond or {})
        emb = self.embedded(c_noise, cond)
        x = fold(pad_to_multiple(x, self.patches), self.patches)
        grid = x.shape[2:]
        place = rotations(
            grid, self.config["channels"], x.device
        )  # where it is: turns tell differences alone
        h = self.linear_in(x.flatten(2).transpose(1, 2))
        h = h + torch.cat([place.sin(), place.cos()], 1).to(h.dtype)
        angle = rotations(grid, self.config["head_channels"], x.device)
        if self.tokens is not None:
            h = torch.cat([self.tell_tokens(emb)[:, None] + self.tokens, h], 1)
            angle = F.pad(angle, (0, 0, len(self.tokens), 0))
        turn = angle.cos().to(h.dtype), angle.sin().to(h.dtype)
        for block, windows in zip(self.blocks, self._windows(grid, x.device), strict=True):
            h = block(h, emb, turn, windows)
        scale, shift = self.modulation(emb)[:, None].chunk(2, 2)
        h = self.linear_out(self.norm_out(h[:, -math.prod(grid) :]) * (1 + scale) + shift)
        h = unfold(h.transpose(1, 2).unflatten(2, grid), self.patches)
        return h[(..., *(slice(side) for side in sides))]

    def _windows(self, grid: Sequence[int], device: torch.device) -> list[Windows | None]:
        """For each block its windows; None where it attends to all."""
        size, every, blocks = self.config["window"], self.config["global_every"], len(self.blocks)
        if size is None or size >= max(grid):
            return [None] * blocks
        made = [Windows(grid, size, shifted, device) for shifted in (False, True)]
        found: list[Windows | None] = []
        for i in range(1, blocks + 1):
            found.append(None if every and i % every == 0 else made[(len(found) - found.count(None)) % 2])
        return found


class Block(nn.Module):
    """Attention, then SwiGLU, each on a norm that is scaled and shifted, and gated; plus the input."""

    def __init__(self, channels: int, head_channels: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.modulation = nn.Linear(channels, 6 * channels)
        self.norm = RMSNorm()
        self.attention = TokenAttention(channels, head_channels)
        self.feed = SwiGLU(channels, inner, Dropout(dropout))

    def forward(self, x: Tensor, emb: Tensor, turn: tuple[Tensor, Tensor], windows: Windows | None) -> Tensor:
        scale1, shift1, gate1, scale2, shift2, gate2 = self.modulation(emb)[:, None].chunk(6, 2)
        x = x + gate1 * self.attention(self.norm(x) * (1 + scale1) + shift1, turn, windows)
        return x + gate2 * self.feed(self.norm(x) * (1 + scale2) + shift2)


WHOLE = {
    "channels": (4, 2**14),
    "blocks": (1, 256),
    "head_channels": (2, 2**10),
    "patch": (1, 2**12),
    "bottleneck": (1, 2**14),
    "window": (2, 2**14),
    "global_every": (1, 256),
    "condition_tokens": (0, 2**10),
    "expansion": (1, 16),
}
"""The least and the most of each whole number; far more than can be trained."""
OPEN = ("bottleneck", "window", "global_every")
"""That may be None."""


def _checked(config: dict[str, Any], dims: int) -> dict[str, Any]:
    """The configuration, after a check that its numbers can be a network's."""
    for name, (least, most) in WHOLE.items():
        if config[name] is not None or name not in OPEN:
            check_whole(f"network: {name}", config[name], least, most)
    channels, head = config["channels"], config["head_channels"]
    if channels % head:
        raise ValueError(f"network: head_channels = {head} must divide {channels} channels")
    if head % 2 or head < 2 * dims:
        raise ValueError(
            f"network: head_channels must be even, and at least {2 * dims} for {dims} sides (rotary "
            f"positions turn pairs of channels for each), got {head}"
        )
    if config["global_every"] is not None and config["window"] is None:
        raise ValueError(
            f"network: global_every = {config['global_every']} needs a window: without one, every block "
            "attends to all"
        )
    return config


def _checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    if len(shape) < 2 or not all(isinstance(n, int) and n >= 1 for n in shape):
        raise ValueError(
            f"network: vit is for samples of shape (C, *sides) with one side or more, got {tuple(shape)}; "
            "for vectors there is mlp"
        )
    return tuple(shape)
