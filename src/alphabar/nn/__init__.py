"""Networks: (x, c_noise, label) → a tensor of x's shape. They know nothing of diffusion."""

from __future__ import annotations

import inspect
from typing import Any

from ..errors import unknown
from .unet import UNet

NETWORKS = {"unet": UNet}


def build_network(config: dict[str, Any]) -> UNet:
    """A fresh network from its `config`: {"name": …, and its constructor's arguments}."""
    arguments = dict(config)
    name = arguments.pop("name", None)
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    accepted = inspect.signature(NETWORKS[name]).parameters
    for argument in arguments:
        if argument not in accepted:
            raise unknown(f"setting of the network {name}", argument, accepted)
    return NETWORKS[name](**arguments)
