"""The same networks and steps in other libraries, as their own training scripts write them.

diffusers: `UNet2DModel` and `DDPMScheduler` as in examples/unconditional_image_generation
(train_unconditional.py with --use_ema). denoising-diffusion-pytorch: `Unet`, `GaussianDiffusion` and
what its `Trainer` does in a step. Batches are in memory already: reading data is free for them.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

DIFFUSERS = {
    "cifar10": {
        "block_out_channels": (128, 256, 256, 256),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        "dropout": 0.1,
    },
    "6M": {
        "block_out_channels": (64, 128, 128),
        "down_block_types": ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    },
}
"""Arguments of UNet2DModel that make it the network of this name in speed.py: as many parameters."""

ABSENT = ("torchvision", "torchvision.transforms", "torchvision.utils", "pytorch_fid")


class Absent(types.ModuleType):
    """A module in which every name is a function that does nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *given, **named: None


DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Where everything is measured."""


def wait() -> None:
    """Until a GPU has done what it was given."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def autocast(bfloat16: bool = True) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast(DEVICE.type, torch.bfloat16) if bfloat16 else contextlib.nullcontext()


def stand_in() -> list[str]:
    """Empty modules for what the data loaders of peers import and is not here."""
    missing = [name for name in ABSENT if importlib.util.find_spec(name.partition(".")[0]) is None]
    for name in missing:
        module = sys.modules[name] = Absent(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    return missing


def diffusers_unet(name: str, channels: int = 3, size: int = 32) -> Any:
    """diffusers' UNet2DModel of this name, as google/ddpm-cifar10-32 configures it."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=2,
        attention_head_dim=None,
        norm_eps=1e-6,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        **DIFFUSERS[name],
    )


class DiffusersTraining:
    """One step of diffusers' unconditional training script.

    Args:
        net: a UNet2DModel.
        batch: images in -1..1.
        bfloat16, channels_last, compiled: what a person may add to it.
    """

    def __init__(
        self,
        net: Any,
        batch: Tensor,
        bfloat16: bool = False,
        channels_last: bool = False,
        compiled: bool = False,
    ) -> None:
        from diffusers import DDPMScheduler
        from diffusers.optimization import get_scheduler
        from diffusers.training_utils import EMAModel

        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.net = net.to(DEVICE, memory_format=layout).train()
        self.batch = batch.to(DEVICE, memory_format=layout)
        self.run = torch.compile(self.net, dynamic=False) if compiled else self.net
        self.bfloat16 = bfloat16
        self.scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8
        )
        self.rate = get_scheduler("cosine", self.optimizer, num_warmup_steps=500, num_training_steps=100_000)
        self.ema = EMAModel(self.net.parameters(), decay=0.9999, use_ema_warmup=True, power=0.75)

    def backward(self, clean: Tensor, share: float = 1.0) -> None:
        noise = torch.randn_like(clean)
        t = torch.randint(0, 1000, (len(clean),), device=DEVICE)
        noisy = self.scheduler.add_noise(clean, noise, t)
        with autocast(self.bfloat16):
            output = self.run(noisy, t).sample
        (share * F.mse_loss(output.float(), noise.float())).backward()

    def update(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.rate.step()
        self.optimizer.zero_grad()
        self.ema.step(self.net.parameters())

    def step(self) -> None:
        self.backward(self.batch)
        self.update()


class LucidrainsTraining:
    """One step of denoising-diffusion-pytorch's Trainer with its README's Unet(dim=64, (1, 2, 4, 8))."""

    def __init__(self, batch: Tensor, bfloat16: bool = False) -> None:
        stand_in()
        from denoising_diffusion_pytorch import GaussianDiffusion, Unet
        from ema_pytorch import EMA

        self.net = Unet(dim=64, dim_mults=(1, 2, 4, 8), channels=batch.shape[1])
        self.diffusion = GaussianDiffusion(self.net, image_size=batch.shape[-1], timesteps=1000)
        self.diffusion.to(DEVICE).train()
        self.batch = (batch.to(DEVICE) + 1) / 2
        self.bfloat16 = bfloat16
        self.optimizer = torch.optim.Adam(self.diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))
        self.ema = EMA(self.diffusion, beta=0.995, update_every=10)

    def step(self) -> None:
        with autocast(self.bfloat16):
            loss = self.diffusion(self.batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.diffusion.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update()


def diffusers_ways(with_compile: bool) -> Iterator[dict[str, bool]]:
    """What may make diffusers faster: every combination."""
    for compiled in (False, True) if with_compile else (False,):
        for bfloat16 in (False, True):
            for channels_last in (False, True):
                yield {"bfloat16": bfloat16, "channels_last": channels_last, "compiled": compiled}


def pipeline(net: Any, sampler: str, bfloat16: bool = False) -> Callable[[int, int], Any]:
    """(n, steps) → images, by diffusers' DDIMPipeline or DDPMPipeline."""
    import diffusers

    diffusers.utils.logging.disable_progress_bar()
    net = net.to(DEVICE).eval()
    if sampler == "ddim":
        made = diffusers.DDIMPipeline(net, diffusers.DDIMScheduler(num_train_timesteps=1000))
    else:
        made = diffusers.DDPMPipeline(net, diffusers.DDPMScheduler(num_train_timesteps=1000))
    made.set_progress_bar_config(disable=True)

    def draw(n: int, steps: int) -> Any:
        with (
            autocast(bfloat16),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            return made(batch_size=n, num_inference_steps=steps, output_type="np").images

    return draw
