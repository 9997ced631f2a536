"""Small data and small models that several tests use."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from alphabar.data import ClassCondition, Dataset, Space
from alphabar.model import Denoiser, fit_codec
from alphabar.nn import build_network
from alphabar.sampling import trajectory
from alphabar.theory.schedule import Schedule
from alphabar.training.config import TrainConfig
from alphabar.training.presets import resolve

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
    "channels": 8,
    "channel_mult": [1],
    "num_res_blocks": 1,
    "attention_levels": [0],
    "groups": 4,
}
AFFINE = np.array([[2.0, 0, 0, -10], [0, 3, 0, 5], [0, 0, 4, 7], [0, 0, 0, 1]])
"""Of volumes in files."""
CLASSES = ClassCondition(names=("left", "right"))


def tiny_data(n=40, seed=0, classes=True, size=8):
    """Bright squares on the left (class 0) or right (class 1)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    images = rng.integers(0, 40, (n, 1, size, size)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 2:6, (4 if label else 0) : (8 if label else 4)] = 220
    space = Space((1, size, size))
    if not classes:
        return Dataset(images, space, fingerprint="plain")
    condition = replace(CLASSES, counts=(n // 2, n - n // 2))
    return Dataset(images, space, {"class": condition}, {"class": labels}, "classes")


def gappy_data():
    """Fields of two channels with gaps that differ from sample to sample."""
    source = np.random.default_rng(1)
    images = source.normal(size=(30, 2, 8, 8)).astype(np.float32)
    images[source.random(images.shape) < 0.2] = np.nan
    space = Space((2, 8, 8), dtype="float32", kind="field", names=("u", "v"), gaps=True)
    return Dataset(images, space, fingerprint="gaps")


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


def default_network(space, name=None):
    """The network that `train` takes for samples of this space, or the one of this name as it suits them."""
    return resolve(space, None, 100, settings={"network": name and {"name": name}}).network


def state(trainer):
    """A copy of all that decides a trainer's next bit."""
    return {name: tensor.detach().clone() for name, tensor in trainer.state().items()}


def tiny_denoiser(prediction="eps", seed=0, dropout=0.0, classes=True, **network):
    """A network with random weights everywhere, also where training starts from zero."""
    torch.manual_seed(seed)
    data = tiny_data(classes=classes)
    conditions = {name: replace(c, dropout=dropout) for name, c in data.conditions.items()}
    shapes = {name: condition.shape for name, condition in conditions.items()}
    net = build_network({**NETWORK, **network}, data.space.shape, shapes)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    denoiser = Denoiser(net, Schedule.linear(100), prediction, fit_codec(data.space), conditions)
    return denoiser.eval().requires_grad_(False)


class Ideal(Denoiser):
    """E[x_0 | x_t] for data N(mean, covariance); remembers what it was asked."""

    def __init__(self, schedule, mean, covariance, codec):
        super().__init__(nn.Identity(), schedule, "x0", codec)
        self.mean = torch.as_tensor(mean, dtype=torch.float64).reshape(-1)
        self.covariance = torch.as_tensor(covariance, dtype=torch.float64)
        self.asked = []

    def gain(self, t):
        bar = float(self.schedule.alpha_bar_at(t))
        noise = (1 - bar) * torch.eye(len(self.mean), dtype=torch.float64)
        return math.sqrt(bar) * self.covariance @ torch.linalg.inv(bar * self.covariance + noise)

    def forward(self, x_t, t, cond=None):
        self.asked.append((float(t), x_t.detach().clone()))
        root = math.sqrt(self.schedule.alpha_bar_at(t))
        x = x_t.flatten(1).double()
        x_0 = self.mean + (x - root * self.mean) @ self.gain(t).T
        return x_0.reshape(x_t.shape).to(x_t.dtype)

    @property
    def times(self):
        return [t for t, _ in self.asked]


def exact_law(denoise, plan, start=None):
    """Mean and variance of what the executor gives, from its responses to one-hot noises."""
    n = plan.num_evaluations
    x = torch.zeros(n + 2, 1, dtype=torch.float64)
    if start is None:
        x[n + 1] = 1
    else:
        x[:] = start[0]
        x[n + 1] += start[1]

    def noise(k):
        z = torch.zeros_like(x)
        z[k] = 1
        return z

    *_, last = trajectory(denoise, plan, x, noise)
    response = last.x_s[:, 0].numpy()
    mean = response[n]  # no noise at all
    return mean, float(((response - mean) ** 2).sum())


def write_nifti(folder, volumes, affines=None):
    """A folder of NIfTI files."""
    nibabel = pytest.importorskip("nibabel")
    folder.mkdir(parents=True)
    for i, volume in enumerate(volumes):
        affine = AFFINE if affines is None else affines[i]
        nibabel.save(nibabel.Nifti1Image(volume, affine), folder / f"s{i:02d}.nii.gz")
    return folder


class Mixture(nn.Module):
    """The ideal x_0-network of Gaussians about points, per class; a class may be hidden, or ignored."""

    config = None

    def __init__(self, schedule, points, variance, ignores_class=False):
        super().__init__()
        self.schedule, self.variance, self.ignores_class = schedule, variance, ignores_class
        self.points = np.array(points)

    def forward(self, x, c_noise, cond):
        bar = float(self.schedule.alpha_bar_at(float(c_noise[0]) + 1))
        a, v = math.sqrt(bar), bar * self.variance + 1 - bar
        points = torch.from_numpy(self.points.reshape(-1, self.points.shape[-1])).to(x)
        away = x.flatten(1)[:, None] - a * points
        likely = -away.square().sum(-1) / (2 * v)
        if "class" in cond and not self.ignores_class:
            told = cond["class"].repeat_interleave(self.points.shape[1], 1)
            likely = likely.masked_fill((told == 0) & told.any(1, keepdim=True), -math.inf)
        each = points + a * self.variance / v * away
        return (torch.softmax(likely, 1)[..., None] * each).sum(1).reshape(x.shape)
