"""The same networks and steps in other libraries, as their own training scripts write them.

diffusers: `UNet2DModel` and `DDPMScheduler` as in examples/unconditional_image_generation
(train_unconditional.py with --use_ema). denoising-diffusion-pytorch: `Unet`, `GaussianDiffusion` and
what its `Trainer` does in a step. Batches are in memory already: reading data is free for them.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
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


DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Where everything is measured."""


def wait() -> None:
    """Until a GPU has done what it was given."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def autocast(bfloat16: bool = True) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast(DEVICE.type, torch.bfloat16) if bfloat16 else contextlib.nullcontext()


def stand_in() -> list[str]:
    """Empty modules for what denoising-diffusion-pytorch imports for its data loader and is not here."""
    missing = [name for name in ABSENT if importlib.util.find_spec(name.partition(".")[0]) is None]
    for name in missing:
        module = sys.modules[name] = types.ModuleType(name)
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


# --- learning MNIST ----------------------------------------------------------------------------


class Digits:
    """Training on MNIST with a library's own network, process, average and sampler, in bfloat16.

    Args:
        library: `diffusers` or `lucidrains` (denoising-diffusion-pytorch).
        objective: of diffusers' scheduler: `epsilon` or `v_prediction`.
        batch: images a step.
        lean: of diffusers' network: attention at 7 x 7 only, and one block a level; otherwise that of the
            Hugging Face diffusion course's MNIST notebook, (32, 64, 64) with attention at 14 x 14 too.

    The learning rate is the course's, 1e-3. diffusers' networks are told the class, by its own embedding.
    """

    def __init__(
        self, library: str, objective: str = "v_prediction", batch: int = 128, lean: bool = False
    ) -> None:
        torch.manual_seed(0)
        self.library, self.batch = library, batch
        self.images, self.seconds = 0, 0.0
        make = self._diffusers if library == "diffusers" else self._lucidrains
        make(objective, lean)

    def _diffusers(self, objective: str, lean: bool) -> None:
        from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
        from diffusers.training_utils import EMAModel

        attention = [False, False, True] if lean else [False, True, True]
        self.net = UNet2DModel(
            sample_size=28,
            in_channels=1,
            out_channels=1,
            layers_per_block=1 if lean else 2,
            block_out_channels=(32, 64, 128) if lean else (32, 64, 64),
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
            num_class_embeds=10,
        ).to(DEVICE)
        process = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": objective}
        self.noise = DDPMScheduler(**process)
        self.scheduler = DDIMScheduler(timestep_spacing="trailing", clip_sample=True, **process)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)
        self.ema = EMAModel(self.net.parameters(), decay=0.999, use_ema_warmup=True, power=0.75)

    def _lucidrains(self, objective: str, lean: bool) -> None:
        stand_in()
        from denoising_diffusion_pytorch import GaussianDiffusion, Unet
        from ema_pytorch import EMA

        net = Unet(dim=32, dim_mults=(1, 2, 4), channels=1)
        self.net = GaussianDiffusion(net, image_size=28, sampling_timesteps=50, ddim_sampling_eta=1.0)
        self.net.to(DEVICE)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3, betas=(0.9, 0.99))
        self.ema = EMA(self.net, beta=0.995, update_every=10)

    def data(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.x = torch.from_numpy(images)[:, None].to(DEVICE)
        self.y = torch.from_numpy(labels).long().to(DEVICE)

    def step(self) -> None:
        pick = torch.randint(0, len(self.x), (self.batch,))
        clean, label = self.x[pick].float() / 255, self.y[pick]
        with autocast():
            if self.library == "lucidrains":
                loss = self.net(clean)
            else:
                loss = self._diffusers_loss(2 * clean - 1, label)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.library == "lucidrains":
            self.ema.update()
        else:
            self.ema.step(self.net.parameters())
        self.images += self.batch

    def _diffusers_loss(self, clean: Tensor, label: Tensor) -> Tensor:
        noise = torch.randn_like(clean)
        t = torch.randint(0, 1000, (len(clean),), device=DEVICE)
        output = self.net(self.noise.add_noise(clean, noise, t), t, class_labels=label).sample
        v = self.noise.config.prediction_type == "v_prediction"
        return F.mse_loss(output.float(), self.noise.get_velocity(clean, noise, t) if v else noise)

    def save(self, path: Path) -> None:
        parts = {name: getattr(self, name).state_dict() for name in ("net", "optimizer", "ema")}
        torch.save({**parts, "images": self.images, "seconds": self.seconds}, path)

    def load(self, path: Path) -> None:
        state = torch.load(path, map_location=DEVICE, weights_only=True)
        for name in ("net", "optimizer", "ema"):
            getattr(self, name).load_state_dict(state[name])
        self.images, self.seconds = state["images"], state["seconds"]

    @torch.inference_mode()
    def draw(self, n: int, at_once: int = 100) -> tuple[np.ndarray, np.ndarray | None]:
        """n pictures in uint8, and their classes if they were asked for: 50 steps of DDIM with eta = 1."""
        torch.manual_seed(1)
        label = torch.arange(n, device=DEVICE) % 10
        if self.library == "lucidrains":
            with autocast():
                parts = [self.ema.ema_model.sample(batch_size=len(p)).float() for p in label.split(at_once)]
            return _gray(torch.cat(parts)), None
        net = copy.deepcopy(self.net).eval()
        self.ema.copy_to(net.parameters())
        self.scheduler.set_timesteps(50)
        parts = []
        for classes in label.split(at_once):
            x = torch.randn(len(classes), 1, 28, 28, device=DEVICE)
            for t in self.scheduler.timesteps:
                with autocast():
                    out = net(x, t, class_labels=classes).sample
                x = self.scheduler.step(out.float(), t, x, eta=1.0).prev_sample
            parts.append(x / 2 + 0.5)
        return _gray(torch.cat(parts)), label.cpu().numpy()


def _gray(x: Tensor) -> np.ndarray:
    return (x.clamp(0, 1) * 255).round().byte().cpu().numpy()
