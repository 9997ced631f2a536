"""The weights of a model as a start for another one: the same network, told other conditions perhaps."""

from __future__ import annotations

import re

from torch import Tensor, nn

from ..data.conditions.named import ClassCondition
from ..model.denoiser import Denoiser
from ..nn import network_config
from ..settings import differences

EMBEDDING = re.compile(r"(?:^|\.)condition_embeddings\.of_([^.]+)\.(.+)")
"""What the weights of a condition's own embedding are called, in `UNet` and in networks that follow it."""


def adapt_state(source: Denoiser, target: Denoiser) -> tuple[dict[str, Tensor], list[str]]:
    """(weights for `target`'s network, what a person should know of how they were matched).

    In an embedding called as in `UNet`, the weights of classes are matched by the classes' names: those that
    are new keep the target's fresh weights, and those that are gone are left out, as whole conditions are.
    All other weights are copied. Samples may have other sides, where no weight's shape depends on them.

    ValueError if the models predict different things, samples have other channels, or networks differ.
    """
    _check_alike(source, target)
    before, fresh = source.net.state_dict(), target.net.state_dict()
    found: dict[str, Tensor] = {}
    unfit, by_name = [], set()
    for name, tensor in fresh.items():
        owner = _condition_of(name, source, target)
        old = before.get(name)
        if old is None:
            unfit += [] if owner else [f"{name} (not there before)"]
            found[name] = tensor
        elif owner and (matched := _matched(name, owner, source, target)) is not None:
            found[name] = matched
            by_name.add(owner)
        elif old.shape == tensor.shape:
            found[name] = old.to(tensor.device)
        else:
            unfit.append(f"{name} {tuple(old.shape)} → {tuple(tensor.shape)}")
    gone = sorted(before.keys() - fresh.keys())
    unfit += [f"{name} (gone)" for name in gone if not _condition_of(name, source, target)]
    if unfit:
        raise _differing(source, target, unfit)
    return found, _notes(source, target, by_name)


def _differing(source: Denoiser, target: Denoiser, unfit: list[str]) -> ValueError:
    """What to say where weights have no place in the other network."""
    what = "the network differs from that of the model to start from"
    settings = differences(network_config(source.net), network_config(target.net))
    if settings:
        what = f"{what}: {', '.join(settings)}"
        return ValueError(f"{what}; leave the network's settings out, and it is that model's")
    return ValueError(
        f"{what}, with the same settings, in {', '.join(unfit[:3])}: give data of the same sides and "
        "classes. (Other classes are matched by name where the network embeds them by a layer called "
        "condition_embeddings.of_NAME, linear or a torch.nn.Embedding)"
    )


def _check_alike(source: Denoiser, target: Denoiser) -> None:
    if source.prediction != target.prediction:
        raise ValueError(
            f"the model to start from predicts {source.prediction}, and this run {target.prediction}, for "
            "which its weights mean nothing: leave prediction out"
        )
    a, b = source.space, target.space
    if a.channels != b.channels or len(a.shape) != len(b.shape):
        raise ValueError(
            f"the model to start from has samples of {a.shown_shape()}, and the data {b.shown_shape()}: "
            "give data with as many channels (--channels gray or rgb)"
        )


def _condition_of(name: str, source: Denoiser, target: Denoiser) -> str | None:
    """The condition whose embedding a weight belongs to."""
    match = EMBEDDING.search(name)
    return match[1] if match and match[1] in source.conditions.keys() | target.conditions.keys() else None


def _axis_of_classes(name: str, owner: str, model: Denoiser) -> int | None:
    """The axis of a condition's weight along which its classes are; None if there is none."""
    condition, layer = model.conditions.get(owner), model.net.get_submodule(name.rpartition(".")[0])
    if not isinstance(condition, ClassCondition) or not name.endswith(f"of_{owner}.weight"):
        return None
    if isinstance(layer, nn.Linear) and layer.in_features == len(condition.names):
        return 1
    return 0 if isinstance(layer, nn.Embedding) and layer.num_embeddings == len(condition.names) else None


def _matched(name: str, owner: str, source: Denoiser, target: Denoiser) -> Tensor | None:
    """A weight by class, where classes that both know have those of before; None if it has none by class."""
    axes = [_axis_of_classes(name, owner, model) for model in (source, target)]
    if axes[0] is None or axes[0] != axes[1]:
        return None
    before, found = (model.net.state_dict()[name].movedim(axes[0], 0) for model in (source, target))
    if before.shape[1:] != found.shape[1:]:
        return None
    old, new = (getattr(model.conditions[owner], "names", ()) for model in (source, target))
    both = [each for each in new if each in old]
    here, there = ([known.index(each) for each in both] for known in (new, old))
    found = found.clone()
    found[here] = before[there].to(found.device)
    return found.movedim(0, axes[0]).contiguous()


def _notes(source: Denoiser, target: Denoiser, by_name: set[str]) -> list[str]:
    """What differs; `by_name` are the conditions whose classes were matched."""
    notes = []
    if source.space.shape != target.space.shape:
        notes.append(f"samples were {source.space.shown_shape()} and are {target.space.shown_shape()}")
    if source.schedule.to_dict() != target.schedule.to_dict():
        notes.append("the schedule is another one")
    for name in sorted(source.conditions.keys() | target.conditions.keys()):
        old, new = (getattr(m.conditions.get(name), "names", ()) for m in (source, target))
        if old and new and old != new and name not in by_name:
            pairs = [f"{b} has the weights of {a}" for a, b in zip(old, new, strict=False) if a != b]
            more = ", …" if len(pairs) > 3 else ""
            notes.append(f"{name}: not matched by name in this network: {', '.join(pairs[:3])}{more}")
            continue
        parts = {
            "known": [n for n in new if n in old],
            "new": [n for n in new if n not in old],
            "left out": [n for n in old if n not in new],
        }
        if parts["new"] or parts["left out"]:
            notes.append(f"{name}: " + "; ".join(f"{k} {', '.join(v)}" for k, v in parts.items() if v))
    return notes
