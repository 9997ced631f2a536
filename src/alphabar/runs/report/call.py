"""The call from Python that trains a run."""

from __future__ import annotations

from typing import Any

from ...data.dataset import Dataset
from ...training.config import BUDGETS
from ...training.fitted import config_for
from ..results import Results


def training_call(results: Results) -> str:
    """The loop over `alphabar.train` that makes a run, or resumes it; "" if its data can't be named."""
    entry = results.entry
    source, prepared = entry["data"]["source"], entry["data"]["prepared"]
    if not source:
        return ""
    config = entry["identity"]["config"] | entry["budget"] | entry["habits"]
    if results.data.fingerprint == entry["identity"]["data"]["fingerprint"]:
        config = short_settings(config, results.data)
    data = f"alphabar.prepare({_arguments(repr(source), prepared)})" if prepared else repr(source)
    return f"for row in alphabar.train({_arguments(f'{data}, {str(results.of)!r}', config)}):\n    print(row)"


def short_settings(config: dict[str, Any], data: Dataset) -> dict[str, Any]:
    """Those settings of a run that `config_for` needs to come to all of them for these data.

    Args:
        config: all settings, as JSON.
        data: what the run trains on.
    """
    given = {name: value for name, value in config.items() if value is not None}
    budget = {name: given[name] for name in BUDGETS if name in given}
    try:
        default = _resolved(data, {})
        usual = _resolved(data, budget)
    except ValueError:  # there is no default network for these data
        return given
    short = {name: _part(given[name], usual[name]) for name in given if given[name] != usual[name]}
    if any(default[name] != config[name] for name in BUDGETS):
        short = budget | short
    made = _resolved(data, short)  # some defaults follow from settings that differ
    short |= {name: given[name] for name in given if made.get(name) != given[name]}
    return short if _resolved(data, short).items() >= config.items() else given


def _resolved(data: Dataset, settings: dict[str, Any]) -> dict[str, Any]:
    config = config_for(data, None, settings)
    return config.model_dump(mode="json")


def _part(ours: Any, usual: Any) -> Any:
    """What differs, if the rest of a dictionary stays as usual; else all of it."""
    if not isinstance(ours, dict) or ours.get("name") != usual.get("name") or usual.keys() - ours.keys():
        return ours
    return {key: value for key, value in ours.items() if key not in usual or usual[key] != value}


def _arguments(first: str, settings: dict[str, Any]) -> str:
    return ", ".join([first, *(f"{name}={value!r}" for name, value in settings.items() if value is not None)])
