"""What a U-Net's settings may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import brief, unknown
from .layers import CONVOLUTIONS

SKIPS = ("concat", "add")
LEAST = {"channels": 4, "num_res_blocks": 1, "groups": 1, "patch": 1, "head_channels": 1}
LEAST |= {"channel_mult": 1, "attention_levels": 0}
MOST, MOST_LEVELS, MOST_BLOCKS = 2**14, 16, 64
"""Of a network: its greatest number, its levels, its blocks a level; far more than can be trained."""


def checked(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with its rows as lists, after a check that its numbers can be a network's."""
    for name, least in LEAST.items():
        value = config[name]
        if name == "head_channels" and value is None:
            continue
        what, numbers = "a whole number", [value]
        if name in ("channel_mult", "attention_levels"):
            what = "a list of whole numbers"
            numbers = list(value) if isinstance(value, list | tuple) else [None]
            config[name] = numbers
        most = MOST_BLOCKS if name in ("num_res_blocks", "patch") else MOST
        if not all(type(n) is int and n >= least for n in numbers):
            raise ValueError(f"network: {name} must be {what} of at least {least}, got {brief(value)}")
        if len(numbers) > MOST_LEVELS or any(int(n or 0) > most for n in numbers):
            raise ValueError(
                f"network: {name} must be at most {most}, at {MOST_LEVELS} levels at most, got {brief(value)}"
            )
    if not config["channel_mult"]:
        raise ValueError("network: channel_mult needs a factor for each level, got none")
    if config["skips"] not in SKIPS:
        raise unknown("skips of the network", config["skips"], SKIPS)
    for name in ("middle_attention", "scale_shift"):
        if type(config[name]) is not bool:
            raise ValueError(f"network: {name} must be true or false, got {brief(config[name])}")
    levels, channels, groups = len(config["channel_mult"]), config["channels"], config["groups"]
    if not set(config["attention_levels"]) <= set(range(levels)):
        got = config["attention_levels"]
        raise ValueError(f"network: attention_levels must be among 0..{levels - 1}, got {got}")
    if channels % groups:
        raise ValueError(f"network: channels must be a multiple of groups = {groups}, got {channels}")
    return config


def checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a sample; ValueError if a U-Net can't be for such."""
    if len(shape) - 1 not in CONVOLUTIONS or not all(isinstance(n, int) and n >= 1 for n in shape):
        raise ValueError(
            "network: the U-Net is for samples of shape (C, *sides) with one to three sides, "
            f"got {tuple(shape)}; for others name a network of your own, package.module:Class"
        )
    return tuple(shape)
