"""The U-Net of DDPM and ADM for samples of any channel count and any one, two or three sides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from .embedding import Embedded
from .layers import (
    CONVOLUTIONS,
    Attention,
    Downsample,
    Repeat,
    ResBlock,
    Upsample,
    divided,
    fold,
    held,
    pad_to_multiple,
    patches,
    strides,
    unfold,
)
from .norm import normalized
from .unet_settings import checked, checked_shape

CHANNELS = 64
"""Of the top level, unless asked for."""
GROUPS = 32


class UNet(Embedded):
    """U-Net of residual blocks: x (B, C, *sides), c_noise (B,), cond → (B, C, *sides).

    Args:
        shape: (C, *sides) of one sample. C and the number of sides, one to three, are built in; the sides
            themselves may be others in each call.
        channels: channels of the first level.
        channel_mult: one factor a level; each level halves the sides of the one before, but for those that
            are less than half as long as the longest: unequal sides become about equal first.
        num_res_blocks: residual blocks a level (one more on the way up).
        attention_levels: the levels, counted from 0, that have self-attention; level l works at
            1 / 2^l of the sample's longest side.
        middle_attention: self-attention between the two middle blocks.
        head_channels: channels of one attention head; None for a single head.
        dropout: within the residual blocks, while training.
        groups: of every group norm.
        scale_shift: the embedding scales and shifts the second norm (ADM) rather than being added
            before it (DDPM).
        skips: how the way up takes in what the way down kept: `concat` (DDPM, ADM), or `add`, which
            computes a third less (arXiv 2301.11093). There a matrix makes the channels those of the level
            above before the sides are doubled, and what has other channels is not added.
        patch: blocks of `patch` places a side, of shorter sides fewer, are folded into channels first: a
            cheap way to make the top level small. 1 for none.
        conditions: name → shape of what the network can be told. (K,) is a vector: a matrix without bias
            maps it to (B, embed), added to the embedding of the time. (C', *sides) is concatenated to the
            input. All zeros, or a missing name, tell nothing.

    `UNet((3, 32, 32), 128, (1, 2, 2, 2), 2, (1,), dropout=0.1)` is the CIFAR-10 network of arXiv 2006.11239:
    35.7 M parameters, the same operations. Sides that don't halve evenly are padded by their edge and the
    result is cropped.

    >>> net = UNet((1, 28, 28), channels=32, channel_mult=(1, 2), conditions={"class": (10,)})
    >>> net(torch.zeros(4, 1, 28, 28), torch.zeros(4), {"class": torch.eye(10)[:4]}).shape
    torch.Size([4, 1, 28, 28])
    """

    any_sides = True
    outer = (*Embedded.outer, "conv_in", "norm_out", "conv_out")

    @staticmethod
    def suits(shape: Sequence[int], given: Mapping[str, Any]) -> dict[str, Any]:
        """Settings for samples of this shape, those that are `given` among them.

        The lowest level has at most about 10 places a side. The top level has at most 32 for sides up to 128.
        For longer ones it has at most 64, but a patch never grows beyond as many numbers as that level has
        channels, which couldn't predict them all. Shorter sides are folded and halved as often as makes them
        about as long as the longest (`nn.layers.strides`).
        """
        settings: dict[str, Any] = {"channels": CHANNELS, "patch": 1, "channel_mult": [1], **given}
        channels, patch, mults = (settings[name] for name in ("channels", "patch", "channel_mult"))
        counts = all(type(n) is int and n > 0 for n in (channels, patch))
        if not counts or not isinstance(mults, list | tuple) or len(shape) - 1 not in CONVOLUTIONS:
            return dict(given)  # which are refused
        side = max(shape[1:])
        if "patch" not in given:
            patch = 1 if side <= 16 else 2 if side <= 64 else 4
            while side > 64 * patch and held(shape, 2 * patch) <= channels:
                patch *= 2
        if "channel_mult" not in given:
            levels = max(2, round(math.log2(side / patch / 7)) + 1)
            mults = [1, *[2] * (levels - 1)]
        groups = {} if channels % GROUPS == 0 else {"groups": math.gcd(channels, GROUPS)}
        found = {"channels": channels, "channel_mult": mults, "num_res_blocks": 2, "patch": patch, **groups}
        found |= {"attention_levels": [len(mults) - 1], "scale_shift": True, "skips": "add"}
        return {**found, **given}

    def __init__(
        self,
        shape: Sequence[int],
        channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 2, 2),
        num_res_blocks: int = 2,
        attention_levels: Sequence[int] = (1,),
        middle_attention: bool = True,
        head_channels: int | None = None,
        dropout: float = 0.0,
        groups: int = GROUPS,
        scale_shift: bool = False,
        skips: str = "concat",
        patch: int = 1,
        conditions: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.config = checked(
            {
                "name": "unet",
                "channels": channels,
                "channel_mult": channel_mult,
                "num_res_blocks": num_res_blocks,
                "attention_levels": attention_levels,
                "middle_attention": middle_attention,
                "head_channels": head_channels,
                "dropout": dropout,
                "groups": groups,
                "scale_shift": scale_shift,
                "skips": skips,
                "patch": patch,
            }
        )
        self.shape = checked_shape(shape)
        self.dims, self.patches = len(shape) - 1, patches(self.shape[1:], patch)
        self.strides = self._halvings(divided(self.shape[1:], self.patches), len(channel_mult) - 1)
        self.multiples = tuple(math.prod(by) for by in zip(self.patches, *self.strides, strict=True))
        embed, folded = 4 * channels, math.prod(self.patches)
        conv = CONVOLUTIONS[self.dims]
        c_in = self.add_conditions("the U-Net", conditions or {}, channels, embed)
        self.conv_in = conv(c_in * folded, channels, 3, padding=1)
        c = self._add_stages()
        self.norm_out = nn.GroupNorm(groups, c, eps=1e-6)
        self.conv_out = conv(c, self.shape[0] * folded, 3, padding=1)
        self._initialize()

    @staticmethod
    def _halvings(sides: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
        """What each change of level divides the sides by."""
        found = []
        for _ in range(count):
            found.append(strides(sides, 2))
            sides = divided(sides, found[-1])
        return found

    def _add_stages(self) -> int:
        """Build the way down, the middle and the way up; return the channels at its end."""
        config, dims = self.config, self.dims
        channels, mults, blocks = config["channels"], config["channel_mult"], config["num_res_blocks"]
        last, added = len(mults) - 1, config["skips"] == "add"

        def block(c_in: int, c_out: int) -> ResBlock:
            rest = config["dropout"], config["groups"], config["scale_shift"]
            return ResBlock(dims, c_in, c_out, 4 * channels, *rest)

        def attention(c: int, wanted: bool) -> nn.Module:
            return Attention(c, config["groups"], config["head_channels"]) if wanted else nn.Identity()

        def kept(c: int) -> int:
            return 0 if added else c

        c = channels
        joined = [kept(c)]
        self.down = nn.ModuleList()
        for level, mult in enumerate(mults):
            stage = Stage()
            for _ in range(blocks):
                stage.blocks.append(block(c, channels * mult))
                c = channels * mult
                stage.attentions.append(attention(c, level in config["attention_levels"]))
                joined.append(kept(c))
            if level < last:
                stage.resample = Downsample(self.strides[level], c)
                joined.append(kept(c))
            self.down.append(stage)

        self.middle = Stage()
        self.middle.blocks.extend([block(c, c), block(c, c)])
        self.middle.attentions.append(attention(c, config["middle_attention"]))

        self.up = nn.ModuleList()
        for level, mult in reversed(list(enumerate(mults))):
            stage = Stage()
            for _ in range(blocks + 1):
                stage.blocks.append(block(c + joined.pop(), channels * mult))
                c = channels * mult
                stage.attentions.append(attention(c, level in config["attention_levels"]))
            if level and added:
                c = channels * mults[level - 1]
                stage.resample = Repeat(self.strides[level - 1], channels * mult, c)
            elif level:
                stage.resample = Upsample(self.strides[level - 1], c)
            self.up.append(stage)
        return c

    def _initialize(self) -> None:
        """`initialize`, with last layers at zero."""
        self.initialize()
        for module in self.modules():
            if isinstance(module, ResBlock):
                nn.init.zeros_(module.conv2.weight)
            elif isinstance(module, Attention):
                nn.init.zeros_(module.out.weight)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        """x: (B, C, *sides); c_noise: (B,); cond: name → (B, *its shape), grids with the sides of x."""
        sides = x.shape[2:]
        x, cond = self.joined(x, cond or {})
        emb = self.embedded(c_noise, cond)
        h = self.conv_in(fold(pad_to_multiple(x, self.multiples), self.patches))
        added = self.config["skips"] == "add"
        skips = [h]
        for stage in cast(list[Stage], self.down):
            for block, attention in zip(stage.blocks, stage.attentions, strict=True):
                h = attention(block(h, emb))
                skips.append(h)
            if stage.resample is not None:
                h = stage.resample(h)
                skips.append(h)

        first, second = self.middle.blocks
        h = second(self.middle.attentions[0](first(h, emb)), emb)

        for stage in cast(list[Stage], self.up):
            for block, attention in zip(stage.blocks, stage.attentions, strict=True):
                skip = skips.pop()
                if not added:
                    h = torch.cat([h, skip], 1)
                elif skip.shape == h.shape:
                    h = h + skip
                h = attention(block(h, emb))
            if stage.resample is not None:
                h = stage.resample(h)

        h = unfold(self.conv_out(normalized(h, self.norm_out, silu=True)), self.patches)
        return h[(..., *(slice(side) for side in sides))]


class Stage(nn.Module):
    """What belongs to one level: blocks, an attention after each, and a change of resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        self.attentions = nn.ModuleList()
        self.resample: nn.Module | None = None
