"""A model as one .safetensors file that describes itself."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..data.conditions.kinds import condition_from, form_of
from ..data.conditions.picture import PictureCondition
from ..data.config import DataConfig
from ..data.space import Space
from ..files import DamagedFile, brief, check_facts, expanded, load_tensors, read_metadata, save_tensors
from ..nn import NETWORKS, build_network, check_trusted, network_config, requirement
from ..theory.plans import Plan, ancestral
from ..theory.scales import Scales
from ..theory.schedule import Schedule
from .codec import codec_from
from .denoiser import Denoiser
from .devices import pick_device
from .facts import MODEL, SPACE

FORMAT = 3
MODEL_FILE = "model.safetensors"  # of a run's folder
AVERAGED = "ema."  # what the averaged weights in a checkpoint are called


def facts_of(denoiser: Denoiser) -> dict[str, Any]:
    """All that is needed to use the weights, as JSON; each thing once."""
    network = network_config(denoiser.net)
    return {
        "format": FORMAT,
        "network": network,
        "requires": requirement(network),
        "schedule": denoiser.schedule.to_dict(),
        "prediction": denoiser.prediction,
        "space": denoiser.space.to_dict(),
        "codec": denoiser.codec.to_dict(),
        "conditions": {name: condition.to_dict() for name, condition in denoiser.conditions.items()},
        "plans": [plan.to_dict() for plan in denoiser.plans],
        "scales": denoiser.scales,
        "x0_mse": denoiser.x0_mse,
        "guidance": denoiser.guidance,
        "about": denoiser.about,
    }


def denoiser_from(facts: dict[str, Any], net: nn.Module | None = None) -> Denoiser:
    """The denoiser that `facts_of` described, with fresh weights or those of `net`; or ValueError."""
    codec = codec_from(facts["codec"], Space(**facts["space"]))
    conditions = {name: condition_from(entry) for name, entry in facts["conditions"].items()}
    for condition in conditions.values():
        if isinstance(condition, PictureCondition):
            Space(**condition.space)  # raises if there is none such
    shapes = {name: condition.shape for name, condition in conditions.items()}
    denoiser = Denoiser(
        build_network(facts["network"], codec.shape, shapes) if net is None else net,
        Schedule.from_dict(facts["schedule"], advise=False),
        facts["prediction"],
        codec,
        conditions,
        facts["about"],
    )
    denoiser.plans = [Plan.from_dict(entry) for entry in facts["plans"]]
    denoiser.scales = None if facts["scales"] is None else Scales.of(facts["scales"])
    denoiser.x0_mse, denoiser.guidance = facts["x0_mse"], facts["guidance"]
    if denoiser.guidance and len(interval := denoiser.guidance["interval"] or [0, 0]) != 2:
        raise ValueError(f"guidance acts between two times, got {brief(interval)}")
    if denoiser.x0_mse is not None:
        ancestral(denoiser.schedule, (denoiser.schedule.T, 0), "optimal", denoiser.x0_mse)
    DataConfig(**facts["about"].get("prepared", {}))
    return denoiser


def save(denoiser: Denoiser, path: str | Path) -> str:
    """Write one self-describing .safetensors file; return its digest."""
    return save_tensors(Path(path), denoiser.net.state_dict(), facts_of(denoiser))


def model_path(path: str | Path) -> Path:
    """The model file that a path names: itself, or the one inside a run's folder."""
    path = expanded(path)
    if not path.is_dir():
        return path
    if not (path / MODEL_FILE).exists():
        raise FileNotFoundError(
            f"{path} holds no {MODEL_FILE}: give the folder of a training run that has saved, or a model file"
        )
    return path / MODEL_FILE


def describe(path: str | Path) -> dict[str, Any]:
    """What a model file says of itself, from its header alone; ValueError for one of another format."""
    path = model_path(path)
    return _checked(path, read_metadata(path)[0])


def load(path: str | Path, device: str = "auto", net: nn.Module | None = None) -> Denoiser:
    """Load a model from a run's folder or a .safetensors file, ready to sample from.

    A checkpoint within a run's folder gives the averaged model of that moment.

    Args:
        path: of the folder or file.
        device: `auto`, a GPU if there is one, or a name such as `cpu` or `cuda:1`.
        net: a network for the weights, where the file's own can't be made from its class's name. A class of
            the user's is made only if its module is imported already, or trusted (`ALPHABAR_TRUST`).

    DamagedFile (a ValueError) if the file was cut short or changed, ValueError if it is another
    program's, FileNotFoundError if there is none.
    """
    path = model_path(path)
    try:
        tensors, facts, digest = load_tensors(path)
    except DamagedFile as error:
        raise DamagedFile(f"{error}{_others(path)}") from None
    facts = _checked(path, facts)
    if "checkpoint" in facts:
        tensors = averaged(tensors)
    try:
        described = None
        if net is None:
            check_trusted(facts["network"]["name"])
            described = _described(facts, tensors)
        denoiser = denoiser_from(facts, described if net is None else net)
        if described is None:
            denoiser.net.load_state_dict(dict(tensors))
    except (RuntimeError, ValueError) as error:
        raise DamagedFile(f"{path} does not fit its own description: {error}") from None
    denoiser.digest = digest
    _warn_of_version(path, facts)
    return denoiser.to(pick_device(device)).eval().requires_grad_(False)


def _others(path: Path) -> str:
    """What to take instead of a damaged model in a run's folder."""
    found = [
        *path.parent.glob("best.safetensors"),
        *sorted(path.parent.glob("checkpoints/*.safetensors"))[-1:],
    ]
    others = [str(each) for each in found if each != path]
    return f"; there are also {' and '.join(others)}: give one of these" if others else ""


def _warn_of_version(path: Path, facts: dict[str, Any]) -> None:
    """Warn where a network of the user's comes from another version of its package."""
    then, now = facts.get("requires"), requirement(facts["network"])
    if then and now and then.get("version") != now["version"]:
        warnings.warn(
            f"{path} was saved with {then.get('package')} {then.get('version')}, and {now['version']} is "
            "installed: its network may compute something else",
            stacklevel=3,
        )


def averaged(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The averaged weights among the tensors of a checkpoint."""
    return {name.removeprefix(AVERAGED): tensors[name] for name in tensors if name.startswith(AVERAGED)}


def _checked(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        found = facts.get("format") if isinstance(facts, dict) else None
        raise ValueError(
            f"{path} has format {brief(found)}, and this version reads {FORMAT}: train the model again"
        )
    check_facts(path, facts, MODEL)
    check_facts(
        path, facts, {"conditions": {n: form_of(c["kind"]) for n, c in facts["conditions"].items()}, str: Any}
    )
    for name, condition in facts["conditions"].items():
        if "space" in condition:  # of grids
            check_facts(f"{path}: the condition {name}", condition["space"], SPACE)
    return facts


def _described(facts: dict[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module | None:
    """The network of `facts` with these weights; None for one of the user's, not made yet.

    DamagedFile unless it has the shapes of `tensors`, before any memory is taken for it.
    """
    if facts["network"]["name"] not in NETWORKS:
        return None  # others' constructors may need real tensors
    with torch.device("meta"), _NoDraws():
        net = denoiser_from(facts).net
    state = net.state_dict()
    wanted = {name: tuple(t.shape) for name, t in state.items()}
    found = {name: tuple(t.shape) for name, t in tensors.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise DamagedFile(f"{name} is described as {wanted.get(name)} and is {found.get(name)}")
    assert state.keys() == {n for n, _ in (*net.named_parameters(), *net.named_buffers())}  # all are read
    net.load_state_dict({n: t.to(state[n].dtype, copy=True) for n, t in tensors.items()}, assign=True)
    return net


class _NoDraws(TorchFunctionMode):
    """Weights of a network that is made here are not drawn, as they will be read."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func in DRAWN and args else func(*args, **(kwargs or {}))


DRAWN = {Tensor.uniform_, Tensor.normal_, Tensor.zero_, Tensor.fill_}
