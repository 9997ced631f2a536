"""The weights of a model as a start for another one: the same network, told other conditions perhaps."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..data.conditions import ClassCondition
from ..model.denoiser import Denoiser
from ..nn import network_config
from .config import differences


def adapt_state(source: Denoiser, target: Denoiser) -> tuple[dict[str, Tensor], list[str]]:
    """(weights for `target`'s network, what a person should know of how they were matched).

    Classes are matched by name; those that are new keep the target's fresh weights, and those that are gone
    are left out, as whole conditions are. Samples may have other sides, where the network's weights don't
    depend on them.

    ValueError if the models predict different things, samples have other channels, or networks differ.
    """
    _check_alike(source, target)
    before, fresh = source.net.state_dict(), target.net.state_dict()
    owners = {name: _condition_of(name, source, target) for name in before.keys() | fresh.keys()}
    found, unfit = {}, []
    for name, tensor in fresh.items():
        owner = owners[name]
        if name not in before:
            if owner is None:
                unfit.append(name)
            found[name] = tensor
        elif owner is not None and _are_classes(owner, source, target):
            matched = _matched(before[name], tensor, source.conditions[owner], target.conditions[owner])
            unfit += [name] if matched is None else []
            found[name] = matched
        elif before[name].shape == tensor.shape:
            found[name] = before[name].to(tensor.device)
        else:
            unfit.append(name)
    unfit += [name for name in before.keys() - fresh.keys() if owners[name] is None]
    if unfit:
        settings = differences(network_config(source.net), network_config(target.net))
        why = f": {', '.join(settings)}" if settings else f" in {', '.join(sorted(unfit)[:3])}"
        raise ValueError(
            f"the network differs from that of the model to start from{why}; leave the network's settings "
            "out, and it is that model's"
        )
    return found, _notes(source, target)


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
    """The condition that a weight belongs to: it bears its name, as `of_NAME` or alone."""
    parts = name.split(".")
    known = source.conditions.keys() | target.conditions.keys()
    return next((c for c in sorted(known) if c in parts or f"of_{c}" in parts), None)


def _are_classes(name: str, source: Denoiser, target: Denoiser) -> bool:
    pair = source.conditions.get(name), target.conditions.get(name)
    return all(isinstance(condition, ClassCondition) for condition in pair)


def _matched(before: Tensor, fresh: Tensor, old: Any, new: Any) -> Tensor | None:
    """Weights by class: the columns (or rows) of classes that both know are those of before."""
    found = fresh.clone()
    axis = next((i for i in (1, 0) if _fits(before, fresh, i, len(old.names), len(new.names))), None)
    if axis is None:  # a weight of the condition that doesn't have one part a class
        return before.to(fresh.device) if before.shape == fresh.shape else None
    both = [name for name in new.names if name in old.names]
    here, there = ([known.index(name) for name in both] for known in (new.names, old.names))
    place = (slice(None),) * axis
    found[(*place, here)] = before.to(fresh.device)[(*place, there)]
    return found


def _fits(before: Tensor, fresh: Tensor, axis: int, old: int, new: int) -> bool:
    if before.ndim != fresh.ndim or axis >= before.ndim:
        return False
    rest = [list(t.shape[:axis]) + list(t.shape[axis + 1 :]) for t in (before, fresh)]
    return (before.shape[axis], fresh.shape[axis]) == (old, new) and rest[0] == rest[1]


def _notes(source: Denoiser, target: Denoiser) -> list[str]:
    notes = []
    if source.space.shape != target.space.shape:
        notes.append(f"samples were {source.space.shown_shape()} and are {target.space.shown_shape()}")
    if source.schedule.to_dict() != target.schedule.to_dict():
        notes.append("the schedule is another one")
    for name in sorted(source.conditions.keys() | target.conditions.keys()):
        old, new = (getattr(m.conditions.get(name), "names", ()) for m in (source, target))
        parts = {
            "known": [n for n in new if n in old],
            "new": [n for n in new if n not in old],
            "left out": [n for n in old if n not in new],
        }
        if parts["new"] or parts["left out"]:
            notes.append(f"{name}: " + "; ".join(f"{k} {', '.join(v)}" for k, v in parts.items() if v))
    return notes
