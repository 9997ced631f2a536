"""Ways to draw that a command names beside its own, and the samples of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from .drawing import OPTIONS, arguments, load_model
from .given import given_samples, is_model

if TYPE_CHECKING:
    import numpy as np

    from ..data import Dataset
    from ..denoiser import Denoiser

SUBSET = 2**35  # a stream of its own
USUAL = {option: default for option, (_, default) in OPTIONS.items()}


def as_asked(path: str, how: dict[str, Any], name: str = "") -> tuple[str, dict[str, Any], str]:
    """A way to draw, or samples that are there: those take no options."""
    if not Path(path).expanduser().exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    given = [option for option, value in how.items() if value != USUAL[option] and option != "device"]
    if given and not is_model(path):
        raise ValueError(f"{path} holds samples, and {', '.join(given)} would be for a model to draw some")
    return path, how, name


def way(run: str, how: dict[str, Any], text: str) -> tuple[str, dict[str, Any], str]:
    """A run and its way to draw from words such as "runs/other steps=10"."""
    import shlex

    from ..errors import unknown

    given, path = dict(how), run
    for word in shlex.split(text):
        name, equals, value = word.partition("=")
        if not equals or Path(word).expanduser().exists():
            path = word
            continue
        name = {"class": "class_name"}.get(name, name.replace("-", "_"))
        if name not in OPTIONS:
            raise unknown("way to draw", name, OPTIONS)
        given[name] = _read(name, value)
    if (path, given) == (run, how):
        raise ValueError(f"--compare takes a run, or a way to draw such as steps=10, got {text!r}")
    if given == how and not is_model(path):  # samples beside a model that was asked to draw in some way
        given = USUAL
    return as_asked(path, given, text)


def _read(name: str, text: str) -> Any:
    """A value of this option of drawing."""
    (kind, *_) = get_args(OPTIONS[name][0])
    kind = next((one for one in get_args(kind) if one is not type(None)), kind)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if get_origin(kind) is tuple:
            low, high = map(float, text.split(","))
            return low, high
        return kind(text)
    except (KeyError, ValueError):
        takes = (
            "true or false" if kind is bool else "LOW,HIGH" if get_origin(kind) is tuple else kind.__name__
        )
        raise ValueError(f"--compare: {name} takes {takes}, got {text!r}") from None


def samples_of(
    path: str, how: dict[str, Any], dataset: Dataset, n: int, say: Any
) -> tuple[np.ndarray, Any, dict[str, Any], list[str]]:
    """Samples that are there, or drawn now; with the model, the facts of the drawing, and notes."""
    import time

    import numpy as np

    from ..random import stream
    from ..sampling import sample

    notes = []
    if not is_model(path):
        images = given_samples(path)
        if len(images) > n:
            notes.append(f"{n} of the {len(images)} samples of {path}, drawn at random (-n)")
            images = images[np.sort(stream(0, "evaluation", SUBSET).permutation(len(images))[:n])]
        notes += [f"the data: {note}" for note in dataset.notes if "resized" in note or "laid over" in note]
        return np.asarray(images), None, {}, notes
    denoiser = load_model(path, how)
    check_finite(denoiser, path)
    say(f"drawing {n} samples of {path} …")
    start = time.perf_counter()
    drawn = sample(denoiser, n, **arguments(denoiser, how))
    facts = {"drawn": drawn.facts | {"elapsed_s": time.perf_counter() - start}}
    if how["class_name"] not in (None, "none"):
        notes.append(f"samples of the class {how['class_name']} alone, beside all of the data")
    return drawn.images, denoiser, facts, notes


def check_given(path: str, dataset: Dataset) -> None:
    """ValueError, before anything takes long, for samples that are not of the data's kind."""
    from ..evaluation.card import check_alike

    if is_model(path):
        return
    try:
        check_alike(given_samples(path), dataset.spec)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def check_finite(denoiser: Denoiser, path: str) -> None:
    """ValueError for weights of which nothing can be drawn."""
    if not all(bool(p.isfinite().all()) for p in denoiser.parameters()):
        raise ValueError(f"the weights of {path} hold NaN or infinity: alphabar diagnose tells more")
