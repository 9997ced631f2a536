"""Labels beside samples: which array or column they are, and the classes that they name."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence

import numpy as np

from .source_types import Labels

CAPTIONS = 0.5
"""The share of samples from which on as many classes are none."""
NO_CLASSES = "go on without classes (--classes none, classes='none')"


def the_one(what: str, candidates: Sequence[str], usual: Iterable[str], how: str) -> str | None:
    """The only candidate, or the only one with a usual name; None of none, ValueError of several.

    Args:
        what: they are candidates for, in messages: "samples".
        candidates: names of arrays or columns.
        usual: names that say what they are.
        how: to name one.
    """
    named = [name for name in candidates if name in set(usual)] or list(candidates)
    if len(named) > 1:
        raise ValueError(f"{', '.join(named)} could each be the {what}: say which, {how}")
    return next(iter(named), None)


def named_parts(
    given: str, known: Container[str], classes: str, missing: Callable[[str], str]
) -> tuple[str, list[str]]:
    """SAMPLES,LABELS,… → the name of the samples, "" if it isn't given, and those of labels.

    ValueError for what isn't known or of use.

    Args:
        given: the names.
        known: those that there are.
        classes: the way to find classes.
        missing: what to say of a name that is not known.
    """
    samples, *others = given.split(",")
    labels = [name for name in others if name]
    for name in filter(None, (samples, *labels)):
        if name not in known:
            raise ValueError(missing(name))
    if labels and classes == "none":
        raise ValueError(f"{labels[0]!r} is named as labels, and classes are not to be used: leave one out")
    return samples, labels


def could_be_labels(shape: tuple[int, ...], n: int) -> bool:
    """Whether an array of this shape may hold a label, or a row for one, for each of n samples."""
    return len(shape) in (1, 2) and shape[0] == n


def labels_of(blocks: Iterable[np.ndarray], n: int, where: str) -> Labels:
    """Blocks of labels (N,) or (N, 1), whole numbers or text, or of one-hot rows (N, K) → classes.

    Classes are in the order of their values; those of one-hot rows are the numbers 0 to K - 1.
    """
    found = [_numbers(block, where) for block in blocks]
    if (count := sum(len(block) for block, _ in found)) != n:
        raise ValueError(f"{where} must be one for each of {n} samples, got {count}")
    values, columns = np.concatenate([block for block, _ in found]), found[0][1]
    if columns:
        note = f"{where} of shape ({n}, {columns}) are one-hot: classes 0 to {columns - 1}"
        return Labels(values, tuple(map(str, range(columns))), (note,))
    names, numbers = np.unique(values, return_inverse=True)
    texts = tuple(
        v.decode(errors="backslashreplace") if isinstance(v, bytes) else str(v) for v in names.tolist()
    )
    return Labels(numbers.astype(np.int64), texts, many_classes(len(texts), n))


def many_classes(classes: int, n: int) -> tuple[str, ...]:
    """What to say of so many classes of n samples."""
    if classes <= 2 or classes <= CAPTIONS * n:
        return ()
    return (
        f"{classes} classes for {n} samples: what differs from sample to sample is no class "
        "(--classes none goes on without)",
    )


def _numbers(block: np.ndarray, where: str) -> tuple[np.ndarray, int]:
    """(values (n,), 0), or (class numbers (n,), K) of one-hot rows (n, K)."""
    if block.ndim not in (1, 2):
        raise ValueError(f"{where} must be one for each sample, got shape {block.shape}; or {NO_CLASSES}")
    if block.ndim == 1 or block.shape[1] == 1:
        if block.dtype.kind not in "iubUS":
            raise ValueError(
                f"labels must be whole numbers or text, got {where} of {block.dtype}: convert them, such as "
                f"{where}.astype(int), tell them as numbers (--conditions {where}=vector), or {NO_CLASSES}"
            )
        return block.reshape(-1), 0
    if block.dtype.kind not in "biuf" or not ((block == 0) | (block == 1)).all() or (block.sum(1) != 1).any():
        raise ValueError(
            f"{where} (N, {block.shape[1]}) are not one-hot: each row must have a single 1 and else zeros. A "
            f"sample has one class: give it, such as {where}.argmax(1), or {NO_CLASSES}; several at once are "
            f"tags (--conditions {where}=tags)"
        )
    return block.argmax(1).astype(np.int64), block.shape[1]
