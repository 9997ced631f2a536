"""Networks: (x, c_noise, label) → a tensor of x's shape. They know nothing of diffusion."""

from __future__ import annotations

from typing import Any

from .unet import UNet

NETWORKS = {"unet": UNet}


def build_network(config: dict[str, Any]) -> UNet:
    """A fresh network from its `config`: {"name": …, and its constructor's arguments}."""
    arguments = dict(config)
    name = arguments.pop("name", None)
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    return NETWORKS[name](**arguments)
