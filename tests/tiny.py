"""Small data and small models that several tests use."""

from __future__ import annotations

import os

import numpy as np

from alphabar import Dataset, DataSpec, Denoiser, Schedule, TrainConfig, UNet

WAY = os.environ.get("ALPHABAR_TEST_WAY", "float32, contiguous")  # or "bfloat16, channels_last"
PRECISION, LAYOUT = WAY.split(", ")
EXECUTION = {"precision": PRECISION, "channels_last": {"contiguous": False, "channels_last": True}[LAYOUT]}
SET_EXECUTION = [
    "--set", f"precision={PRECISION}", "--set", f"channels_last={str(EXECUTION['channels_last']).lower()}",
]  # fmt: skip
"""How networks are trained in the tests."""
ROUGH = {"float32": 1, "bfloat16": 30}[PRECISION]
"""How much more two orders of summation may differ."""

NETWORK = {
    "name": "unet",
    "in_channels": 1,
    "channels": 8,
    "channel_mult": [1, 2],
    "num_res_blocks": 1,
    "attention_levels": [1],
    "groups": 4,
    "num_classes": 2,
}


def tiny_data(n=40, seed=0, classes=True, size=8):
    """Bright squares on the left (class 0) or right (class 1)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    images = rng.integers(0, 40, (n, 1, size, size)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 2:6, (4 if label else 0) : (8 if label else 4)] = 220
    if not classes:
        return Dataset(images, None, DataSpec((1, size, size)), "plain")
    spec = DataSpec((1, size, size), classes=("left", "right"), class_counts=(n // 2, n - n // 2))
    return Dataset(images, labels, spec, "classes")


def tiny_config(**settings):
    values = {
        "network": NETWORK,
        "schedule": {"name": "linear", "T": 100},
        "batch_size": 8,
        "images": 80,
        "lr": 2e-3,
        "warmup_images": 16,
        **EXECUTION,
    }
    return TrainConfig(**{**values, **settings})


def tiny_denoiser(head="eps", seed=0, **network):
    """A network with random weights everywhere, also where training starts from zero."""
    import torch

    torch.manual_seed(seed)
    config = {k: v for k, v in {**NETWORK, **network}.items() if k != "name"}
    net = UNet(**config)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return Denoiser(net, Schedule.linear(100), head, tiny_data().spec).eval().requires_grad_(False)
