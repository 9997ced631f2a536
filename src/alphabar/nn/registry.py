"""Networks by name: a row of `NETWORKS`, or a class of the user's as "package.module:Class"."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..errors import brief, unknown
from .mlp import MLP
from .unet import UNet
from .vit import ViT

NETWORKS: dict[str, type[nn.Module]] = {"unet": UNet, "mlp": MLP, "vit": ViT}
"""Each takes `shape`, `conditions` (name → shape) and its settings, and is called (x, c_noise, cond).

It may have `suits(shape, given)`: the settings for samples of this shape, those that are given among them.
"""

FROM_DATA = ("shape", "conditions")
TRUST = "ALPHABAR_TRUST"
"""The variable of the environment that names packages whose networks files may ask for."""
OWN_IMPORTS = {"torch", __name__.partition(".")[0]}
"""Packages that are always imported, so that it says nothing of who asks."""
UNKNOWN = "unknown_settings"
"""In a config: the network was given as a module, and nobody knows what settings it was made with."""


def build_network(
    config: Mapping[str, Any], shape: Sequence[int], conditions: Mapping[str, Sequence[int]] | None = None
) -> nn.Module:
    """A fresh network from its config: {"name": a row of NETWORKS or "package.module:Class", **settings}.

    Args:
        config: its settings are arguments of the constructor. `network_config` of the network gives it back.
        shape: of one sample, (C, *sides) or (D,); passed to a constructor that has such a parameter.
        conditions: name → shape of what the network will be told; passed likewise.

    ValueError if there is no such network, or its constructor doesn't take these settings.
    """
    settings = dict(config)
    name = settings.pop("name", None)
    if settings.pop(UNKNOWN, False):
        raise ValueError(
            f"the network {name} was given as a module, whose settings aren't known: give it again (net=), "
            "or let it keep its constructor's arguments as a dictionary `config`, so that files can tell them"
        )
    made = network_class(name)
    signature = inspect.signature(made)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    accepted = [p for p in signature.parameters if p not in FROM_DATA]
    for setting in settings:
        if setting in FROM_DATA:
            raise ValueError(f"the network's {setting} comes from the data: leave it out of its settings")
        if setting not in accepted and inspect.Parameter.VAR_KEYWORD not in kinds:
            raise unknown(f"setting of the network {name}", setting, accepted)
    given = {"shape": tuple(shape), "conditions": {key: tuple(c) for key, c in (conditions or {}).items()}}
    arguments = settings | {key: value for key, value in given.items() if key in signature.parameters}
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"the network {name} cannot be made of {', '.join(arguments) or 'no settings'}: {error}"
        ) from None
    net = made(**arguments)
    if _own_config(net) is None:
        config = {"name": name, **settings}
        if hasattr(net, "config"):  # something else, that the module works with
            net._network_config = config  # pyright: ignore[reportArgumentType]
        else:
            net.config = config  # pyright: ignore[reportArgumentType]
    return net


def suited(config: Mapping[str, Any], shape: Sequence[int]) -> dict[str, Any]:
    """A config in which what is left open suits samples of this shape; that of other classes as it is."""
    name = config.get("name")
    row = NETWORKS.get(name) if isinstance(name, str) and not config.get(UNKNOWN) else None
    suits = getattr(row, "suits", None)
    if suits is None:
        return dict(config)
    return {"name": name, **suits(shape, {key: value for key, value in config.items() if key != "name"})}


def check_trusted(name: str) -> None:
    """ValueError where a file names a network whose code nobody here has asked to run.

    A class is code of its module, which runs when it is imported. A program asks for that by importing it
    before it loads the file, a person by the environment: ALPHABAR_TRUST=PACKAGE, or several with commas.
    """
    module = name.partition(":")[0]
    package = module.partition(".")[0]
    trusted = {word.strip() for word in os.environ.get(TRUST, "").split(",")}
    imported = module in sys.modules and package not in OWN_IMPORTS
    if name not in NETWORKS and not imported and not trusted & {module, package}:
        raise ValueError(
            f"its network {name!r} is code that would be imported from {package!r}, and run: if you trust "
            f"both, set {TRUST}={package} in the environment (in Python: import {module} before loading it)"
        )


def network_class(name: Any) -> type[nn.Module]:
    """The class that a name stands for; ValueError if there is none, or it is no network."""
    if isinstance(name, str) and name in NETWORKS:
        return NETWORKS[name]
    module_name, colon, path = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not colon or not module_name or not path:
        raise unknown("network", name, [*NETWORKS, "package.module:Class (your own)"])
    if "<locals>" in path:
        raise ValueError(
            f"the network {name} is a class made inside a function, which cannot be found by name: "
            "move it to the top of a module, or give the network itself (net=)"
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        advice = "its own code raises that"
        if isinstance(error, ModuleNotFoundError):
            advice = "install its package, or put its folder on PYTHONPATH"
        raise ValueError(
            f"{module_name}, which the network {name} needs, cannot be imported: "
            f"{type(error).__name__}: {error}; {advice}"
        ) from error
    try:
        found: Any = functools.reduce(getattr, path.split("."), module)
    except AttributeError:
        advice = "it must have the class at its top"
        if module_name == "__main__":
            advice = (
                "it is of another program or notebook; move it to a module, or give the network itself (net=)"
            )
        raise ValueError(
            f"there is no {path} in {module_name}, which the network {name} needs: {advice}"
        ) from None
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        raise ValueError(
            f"the network {name} must be a class derived from torch.nn.Module, got {brief(found)}"
        )
    return found


def network_config(net: nn.Module) -> dict[str, Any]:
    """What a file says of a network: {"name": …, **settings}, of which `build_network` makes it again.

    For a module that was given from Python, its class's path; and as settings, its `config` if that is a
    dictionary of arguments of its constructor. (`UNet` has one; one from `build_network` has what it was
    made of.) Without one, a constructor that takes settings can't be called again: the config says so.
    """
    config = _own_config(net)
    if config is not None:
        return config
    made = type(net)
    rows = [name for name, row in NETWORKS.items() if row is made]
    name = rows[0] if rows else f"{made.__module__}:{made.__qualname__}"
    settings = getattr(net, "config", None)
    accepted = inspect.signature(made).parameters.keys() - set(FROM_DATA)
    if isinstance(settings, dict) and settings.keys() <= accepted and _is_json(settings):
        return {"name": name, **settings}
    return {"name": name, UNKNOWN: True} if accepted else {"name": name}


def _own_config(net: nn.Module) -> dict[str, Any] | None:
    """The config of a network that says how it is made, if it carries one."""
    for attribute in ("_network_config", "config"):
        config = getattr(net, attribute, None)
        if isinstance(config, dict) and "name" in config:
            try:
                if network_class(config["name"]) is type(net):
                    return config
            except ValueError:  # a dictionary of the module's own
                pass
    return None


def requirement(config: Mapping[str, Any]) -> dict[str, str | None] | None:
    """The package, and its version, that a network of the user's comes from; None for a row of NETWORKS.

    The version is the installed distribution's, else the top module's `__version__`, else None.
    """
    name = config.get("name", "")
    if name in NETWORKS:
        return None
    top = str(name).partition(":")[0].partition(".")[0]
    for distribution in _distributions().get(top, []):
        return {"package": distribution, "version": importlib.metadata.version(distribution)}
    return {"package": top, "version": getattr(sys.modules.get(top), "__version__", None)}


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def takes_cond(net: nn.Module) -> bool:
    """Whether a network is called net(x, c_noise, cond), rather than net(x, c_noise)."""
    kinds = [p.kind for p in inspect.signature(net.forward).parameters.values()]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return inspect.Parameter.VAR_POSITIONAL in kinds or sum(kind in positional for kind in kinds) >= 3


def _is_json(value: Any) -> bool:
    try:
        return json.loads(json.dumps(value)) is not None
    except (TypeError, ValueError):
        return False
