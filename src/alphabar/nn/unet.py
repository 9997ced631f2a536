"""The U-Net of DDPM and ADM for pictures of any channel count and any height and width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UNet(nn.Module):
    """U-Net of residual blocks, (B, C, H, W), (B,) → (B, C, H, W).

    Args:
        in_channels: C.
        channels: channels of the first level.
        channel_mult: one factor a level; each level halves the sides of the one before.
        num_res_blocks: residual blocks a level (one more on the way up).
        attention_levels: the levels, counted from 0, that have self-attention; level l works at
            1 / 2^l of the picture's sides.
        middle_attention: self-attention between the two middle blocks.
        head_channels: channels of one attention head; None for a single head.
        num_classes: labels 0 … num_classes - 1 are embedded and added to the time, and the label -1
            adds nothing; 0 for a network without labels.
        dropout: within the residual blocks, while training.
        groups: of every group norm.
        scale_shift: the embedding scales and shifts the second norm (ADM) rather than being added
            before it (DDPM).
        patch: squares of patch x patch pixels are folded into channels first: a cheap way to make
            the top level small. 1 for none.

    `UNet(3, 128, (1, 2, 2, 2), 2, (1,), dropout=0.1)` is the CIFAR-10 network of arXiv 2006.11239:
    35.7 M parameters, the same operations. Sides that don't halve evenly are padded by their edge
    and the result is cropped.
    """

    outer = ("time_embedding", "class_embedding", "embed", "conv_in", "norm_out", "conv_out")
    """What reads an input or writes the output; all else is hidden, and Muon's where it is a matrix."""

    def __init__(
        self,
        in_channels: int,
        channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 2, 2),
        num_res_blocks: int = 2,
        attention_levels: Sequence[int] = (1,),
        middle_attention: bool = True,
        head_channels: int | None = None,
        num_classes: int = 0,
        dropout: float = 0.0,
        groups: int = 32,
        scale_shift: bool = False,
        patch: int = 1,
    ) -> None:
        super().__init__()
        config = {
            "name": "unet",
            "in_channels": in_channels,
            "channels": channels,
            "channel_mult": channel_mult,
            "num_res_blocks": num_res_blocks,
            "attention_levels": attention_levels,
            "middle_attention": middle_attention,
            "head_channels": head_channels,
            "num_classes": num_classes,
            "dropout": dropout,
            "groups": groups,
            "scale_shift": scale_shift,
            "patch": patch,
        }
        self.config = _checked(config)
        levels = len(channel_mult)
        if not set(attention_levels) <= set(range(levels)):
            raise ValueError(f"attention_levels must be among 0..{levels - 1}, got {list(attention_levels)}")
        if channels % groups:
            raise ValueError(f"channels must be a multiple of groups = {groups}, got {channels}")
        self.num_classes = num_classes
        self.multiple = patch * 2 ** (levels - 1)
        embed = 4 * channels

        def block(c_in: int, c_out: int) -> ResBlock:
            return ResBlock(c_in, c_out, embed, dropout, groups, scale_shift)

        def attention(c: int, wanted: bool) -> nn.Module:
            return Attention(c, groups, head_channels) if wanted else nn.Identity()

        self.patch = patch
        self.time_embedding = TimeEmbedding(channels, embed)
        self.class_embedding = nn.Embedding(num_classes, embed) if num_classes else None
        self.conv_in = nn.Conv2d(in_channels * patch**2, channels, 3, padding=1)

        c = channels
        skips = [c]
        self.down = nn.ModuleList()
        for level, mult in enumerate(channel_mult):
            stage = Stage()
            for _ in range(num_res_blocks):
                stage.blocks.append(block(c, channels * mult))
                c = channels * mult
                stage.attentions.append(attention(c, level in attention_levels))
                skips.append(c)
            if level < levels - 1:
                stage.resample = Downsample(c)
                skips.append(c)
            self.down.append(stage)

        self.middle = Stage()
        self.middle.blocks.extend([block(c, c), block(c, c)])
        self.middle.attentions.append(attention(c, middle_attention))

        self.up = nn.ModuleList()
        for level, mult in reversed(list(enumerate(channel_mult))):
            stage = Stage()
            for _ in range(num_res_blocks + 1):
                stage.blocks.append(block(c + skips.pop(), channels * mult))
                c = channels * mult
                stage.attentions.append(attention(c, level in attention_levels))
            if level:
                stage.resample = Upsample(c)
            self.up.append(stage)

        self.norm_out = nn.GroupNorm(groups, c, eps=1e-6)
        self.conv_out = nn.Conv2d(c, in_channels * patch**2, 3, padding=1)
        self._initialise()

    def _initialise(self) -> None:
        """Xavier-uniform weights and zero biases, as in the paper's code; last layers at zero."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, ResBlock):
                nn.init.zeros_(module.conv2.weight)
            elif isinstance(module, Attention):
                nn.init.zeros_(module.out.weight)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor, c_noise: Tensor, label: Tensor | None = None) -> Tensor:
        """x: (B, C, H, W); c_noise: (B,); label: (B,) integers, exactly if there are classes; -1 is none."""
        if (label is None) == bool(self.num_classes):
            raise ValueError(
                f"this network has {self.num_classes} classes, "
                + ("and got no label" if label is None else "but got a label")
            )
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        emb = self.time_embedding(c_noise)
        if self.class_embedding is not None and label is not None:
            known = (label >= 0)[:, None]
            emb = emb + known * self.class_embedding(label.clamp(min=0))
        emb = F.silu(emb)

        h = self.conv_in(F.pixel_unshuffle(x, self.patch) if self.patch > 1 else x)
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
                h = attention(block(torch.cat([h, skips.pop()], 1), emb))
            if stage.resample is not None:
                h = stage.resample(h)

        h = self.conv_out(F.silu(self.norm_out(h)))
        h = F.pixel_shuffle(h, self.patch) if self.patch > 1 else h
        return h[..., :height, :width]


LEAST = {"in_channels": 1, "channels": 4, "num_res_blocks": 1, "groups": 1, "patch": 1, "num_classes": 0}
LEAST |= {"head_channels": 1, "channel_mult": 1, "attention_levels": 0}


def _checked(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with its rows as lists, after a check that its numbers can be a network's."""
    for name, least in LEAST.items():
        value = config[name]
        row = name in ("channel_mult", "attention_levels")
        if row:
            value = config[name] = list(value) if isinstance(value, list | tuple) else [None]
        elif name == "head_channels" and value is None:
            continue
        numbers = value if row else [value]
        if not all(type(n) is int and n >= least for n in numbers):
            what = "whole numbers" if row else "a whole number"
            raise ValueError(f"network: {name} must be {what} of at least {least}, got {value!r}")
    if not config["channel_mult"]:
        raise ValueError("network: channel_mult needs a factor for each level, got none")
    for name in ("middle_attention", "scale_shift"):
        if type(config[name]) is not bool:
            raise ValueError(f"network: {name} must be true or false, got {config[name]!r}")
    if not isinstance(config["dropout"], int | float) or not 0 <= config["dropout"] < 1:
        raise ValueError(f"network: dropout must lie within 0 and 1 (1 excluded), got {config['dropout']}")
    return config


class Stage(nn.Module):
    """What belongs to one level: blocks, an attention after each, and a change of resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        self.attentions = nn.ModuleList()
        self.resample: nn.Module | None = None


class TimeEmbedding(nn.Module):
    """c_noise → [sin, cos] of it at `channels / 2` frequencies from 1 to 1e-4 → two layers.

    The angles are made in c_noise's own dtype, never in reduced precision.
    """

    def __init__(self, channels: int, embed: int) -> None:
        super().__init__()
        self.count = channels // 2
        self.linear1 = nn.Linear(2 * self.count, embed)
        self.linear2 = nn.Linear(embed, embed)

    def forward(self, c_noise: Tensor) -> Tensor:
        exponent = torch.arange(self.count, dtype=c_noise.dtype, device=c_noise.device)
        angle = c_noise[:, None] * torch.exp(-math.log(10000) / (self.count - 1) * exponent)
        features = torch.cat([angle.sin(), angle.cos()], 1)
        return self.linear2(F.silu(self.linear1(features.to(self.linear1.weight.dtype))))


class ResBlock(nn.Module):
    """norm, SiLU, conv; embedding; norm, SiLU, dropout, conv; plus the input."""

    def __init__(
        self, c_in: int, c_out: int, embed: int, dropout: float, groups: int, scale_shift: bool
    ) -> None:
        super().__init__()
        self.scale_shift = scale_shift
        self.norm1 = nn.GroupNorm(groups, c_in, eps=1e-6)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.embed = nn.Linear(embed, 2 * c_out if scale_shift else c_out)
        self.norm2 = nn.GroupNorm(groups, c_out, eps=1e-6)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        e = self.embed(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = e.chunk(2, 1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + e)
        return self.shortcut(x) + self.conv2(self.dropout(F.silu(h)))


class Attention(nn.Module):
    """Self-attention over the pixels, plus the input."""

    def __init__(self, channels: int, groups: int, head_channels: int | None) -> None:
        super().__init__()
        head_channels = head_channels or channels
        if channels % head_channels:
            raise ValueError(f"head_channels = {head_channels} must divide {channels} channels")
        self.heads = channels // head_channels
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x).flatten(2).transpose(1, 2)  # (B, pixels, C)
        q, k, v = (
            layer(h).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.out(h).transpose(1, 2).unflatten(2, x.shape[-2:])


class Downsample(nn.Module):
    """Halve the sides by a strided convolution, padded at the far edges as in the paper's code."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double the sides: repeat each pixel, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
