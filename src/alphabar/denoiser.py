"""Network + schedule + head + data description → x0_hat. Torch meets the theory here."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.func import functional_call

from .data.spec import DataSpec
from .errors import unknown
from .files import DamagedFile, load_tensors, read_facts, save_tensors
from .nn import build_network
from .theory.gaussian import column
from .theory.heads import HEADS, head_row
from .theory.plans import Plan
from .theory.schedule import Schedule

FORMAT = 1
MODEL_FILE = "model.safetensors"
PRECISIONS = ("float32", "bfloat16")


class Denoiser(nn.Module):
    """x0_hat(x_t, t): the clean sample that a network sees in a noisy one, in model space.

    Attributes:
        net: (c_in x_t, c_noise, label) → a tensor of x_t's shape.
        schedule, head: what t means and what the network predicts.
        data: what one sample is.
        about: where the weights come from, for people and programs.
        label_dropout: the share of labels that training hid; above 0, label -1 (no class) is known too.
        plans: samplers that were fitted to these weights.
        x0_mse: (times, E (x_0 - x0_hat)^2 per dimension there), if it was estimated.
        precision: "float32", or "bfloat16" to run the network in it (`in_precision`).
        call: `call_network`, or a compiled one.
        digest: of the file that the weights were loaded from, if they were.
    """

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        head: str,
        data: DataSpec,
        about: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise unknown("head", head, HEADS)
        self.net = net
        self.schedule = schedule
        self.head = head
        self.data = data
        self.about = about or {}
        self.label_dropout = 0.0
        self.plans: list[Plan] = []
        self.x0_mse: tuple[list[float], list[float]] | None = None
        self.precision = "float32"
        self.call = call_network
        self.digest = ""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.net.parameters()), torch.device("cpu"))

    def forward(self, x_t: Tensor, t: ArrayLike, label: Tensor | None = None) -> Tensor:
        """x0_hat = c_skip x_t + c_out net(c_in x_t, c_noise).

        Args:
            x_t: (B, …), model space.
            t: one time, or one a sample (B,); real numbers within (0, T] (below 1 is less noise than any
                that the network was trained on).
            label: (B,) integers, exactly if the network has classes; -1 is no class.
        """
        row = head_row(self.head, self.schedule, t)
        return column(row.c_skip, x_t) * x_t + column(row.c_out, x_t) * self.predict(x_t, t, label)

    def predict(self, x_t: Tensor, t: ArrayLike, label: Tensor | None = None) -> Tensor:
        """The network's own output, net(c_in x_t, c_noise), in x_t's dtype."""
        row = head_row(self.head, self.schedule, t)
        c_noise = x_t.new_tensor(np.broadcast_to(row.c_noise, len(x_t)))
        x = column(row.c_in, x_t) * x_t
        if self.precision == "float32":
            return self.call(self.net, {}, x, c_noise, label).to(x_t.dtype)
        # the network alone: c_noise, and what is before and after, stay in x_t's precision
        dtype = getattr(torch, self.precision)
        weights = {name: p.to(dtype) for name, p in self.net.named_parameters() if p.dtype != dtype}
        return self.call(self.net, weights, x.to(dtype), c_noise, label).to(x_t.dtype)

    def in_precision(self, precision: str) -> Denoiser:
        """This model with its network in "float32" or "bfloat16", for inference.

        Its weights are cast once. (Those of a model that trains stay float32, as its gradients do, and
        are cast in each pass.)
        """
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        if precision == self.precision == "float32":
            return self
        cast = copy.deepcopy(self).eval().requires_grad_(False)
        cast.net.to(getattr(torch, precision))
        cast.precision = precision
        return cast

    def facts(self) -> dict[str, Any]:
        """All that is needed to use the weights, as JSON."""
        return {
            "format": FORMAT,
            "network": self.net.config,
            "schedule": self.schedule.to_dict(),
            "head": self.head,
            "data": self.data.to_dict(),
            "label_dropout": self.label_dropout,
            "plans": [plan.to_dict() for plan in self.plans],
            "x0_mse": self.x0_mse,
            "about": self.about,
        }

    def save(self, path: str | Path) -> str:
        """Write one self-describing .safetensors file; return its digest."""
        return save_tensors(Path(path), self.net.state_dict(), self.facts())


def call_network(
    net: nn.Module, weights: dict[str, Tensor], x: Tensor, c_noise: Tensor, label: Tensor | None
) -> Tensor:
    """The network, with `weights` in place of its own where there are some."""
    return functional_call(net, weights, (x, c_noise, label)) if weights else net(x, c_noise, label)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself, rather than by way of float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def from_facts(facts: dict[str, Any]) -> Denoiser:
    """The denoiser that `Denoiser.facts` described, with fresh weights."""
    denoiser = Denoiser(
        build_network(facts["network"]),
        Schedule.from_dict(facts["schedule"], advise=False),
        facts["head"],
        DataSpec(**facts["data"]),
        facts["about"],
    )
    denoiser.label_dropout = facts.get("label_dropout", 0.0)
    denoiser.plans = [Plan.from_dict(entry) for entry in facts.get("plans", [])]
    denoiser.x0_mse = facts.get("x0_mse")
    return denoiser


def model_path(path: str | Path) -> Path:
    """The model file that RUN names: itself, or the one inside a run's folder."""
    path = Path(path).expanduser()
    if path.is_dir():
        if not (path / MODEL_FILE).exists():
            raise FileNotFoundError(
                f"{path} holds no {MODEL_FILE}: give the folder of a training run that has saved, "
                "or a model file"
            )
        return path / MODEL_FILE
    return path


def load(path: str | Path, device: str = "cpu") -> Denoiser:
    """Load a model from a run's folder or a .safetensors file, ready to sample from.

    A checkpoint within a run's folder gives the averaged model of that moment.

    DamagedFile (a ValueError) if the file was cut short or changed, ValueError if it is another
    program's, FileNotFoundError if there is none.
    """
    path = model_path(path)
    tensors, facts, digest = load_tensors(path)
    if "step" in facts and "format" not in facts:
        facts, tensors = _of_checkpoint(path, facts, tensors)
    if facts.get("format") != FORMAT:
        raise ValueError(f"{path} has format {facts.get('format')!r}, and this version reads {FORMAT}")
    denoiser = from_facts(facts)
    try:
        denoiser.net.load_state_dict(tensors)
    except RuntimeError as error:
        raise DamagedFile(f"{path} does not fit its own description: {error}") from None
    denoiser.digest = digest
    return denoiser.to(device).eval().requires_grad_(False)


def _of_checkpoint(
    path: Path, facts: dict[str, Any], tensors: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The averaged model in a checkpoint, with the description of the run that it is in."""
    model = path.parent.parent / MODEL_FILE
    if not model.exists():
        raise ValueError(
            f"{path} is a checkpoint, and its run's {MODEL_FILE}, which describes it, is not there"
        )
    described, _ = read_facts(model)
    about = {**described["about"], "images": facts["images"], "steps": facts["step"]}
    ema = {name.removeprefix("ema."): t for name, t in tensors.items() if name.startswith("ema.")}
    return {**described, "about": about, "plans": [], "x0_mse": None}, ema
