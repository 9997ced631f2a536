"""Networks: (x, c_noise, cond) → a tensor of x's shape. They know nothing of diffusion."""

from .blocks import blocks_of
from .dropout import Dropout, keyed_dropout
from .mlp import MLP
from .registry import (
    NETWORKS,
    UNKNOWN,
    build_network,
    check_trusted,
    network_class,
    network_config,
    requirement,
    suited,
    takes_cond,
)
from .unet import UNet
from .vit import ViT

__all__ = [
    "MLP",
    "NETWORKS",
    "UNKNOWN",
    "Dropout",
    "UNet",
    "ViT",
    "blocks_of",
    "build_network",
    "check_trusted",
    "keyed_dropout",
    "network_class",
    "network_config",
    "requirement",
    "suited",
    "takes_cond",
]
