"""Kernels for a GPU, by Triton: what PyTorch would do in many steps, in one."""

from __future__ import annotations

import functools
import importlib.util
import warnings

import torch


@functools.cache
def can_be_built(device: torch.device) -> bool:
    """Whether Triton builds kernels for this device that do as they should; a warning says it if not.

    Where it can't, PyTorch's own steps do the same, which takes longer.
    """
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    try:
        _check(device)
    except Exception as error:  # whatever a compiler says
        said = (str(error).splitlines() or [""])[0]
        warnings.warn(
            f"Triton's kernels can't be used here, some steps take longer: {type(error).__name__}: {said}",
            stacklevel=2,
        )
        return False
    return True


def _check(device: torch.device) -> None:
    """RuntimeError unless random numbers made here are those of the CPU, to the bit."""
    from .. import rng
    from .draws import normal

    seed, indices, step, blocks = 2**45 + 1, [3, 2**40, *range(100)], 17, 7
    given = (torch.tensor(each, dtype=torch.int64, device=device) for each in ([seed], indices, [step]))
    seeds, where, steps = given
    made = normal(seeds, rng.PURPOSES["noise"], where, steps, blocks).flatten(1).cpu()
    if not torch.equal(made, torch.from_numpy(rng.normal(seed, "noise", indices, step, shape=(4 * blocks,)))):
        raise RuntimeError("its random numbers differ from the CPU's")
