"""Preparing data that are far larger than what it may take, and keeping what tensors will need again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import alphabar

MIB = 2**20
SHAPE, PART = (600, 512, 512), 100  # 600 MiB of float32
LIMIT = 640 * MIB
"""Above what the process has when it begins: packages, and blocks of 64 MiB, a few at a time."""

PREPARE = """
import contextlib, sys
with contextlib.suppress(ImportError):
    import netCDF4, h5py
from alphabar.data import prepare

def peak():
    with open("/proc/self/status") as lines:  # ru_maxrss begins with the parent's
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

before = peak()
data = prepare(sys.argv[1], holdout=0.05, **eval(sys.argv[2]))
assert data.images.nbytes > 500 * 2**20, data.images.nbytes
print(peak() - before)
"""


def parts():
    """Float32 fields, a part after the other."""
    for start in range(0, SHAPE[0], PART):
        yield start, np.random.default_rng(start).normal(size=(PART, *SHAPE[1:])).astype(np.float32)


def write(form, folder):
    """The data in a form; what is to be prepared, and how."""
    path = folder / f"d.{form}"
    if form == "npy":
        array = np.lib.format.open_memmap(path, "w+", np.float32, SHAPE)
        for start, part in parts():
            array[start : start + PART] = part
        return path, {"layout": "HW"}
    if form == "folder":
        path.mkdir()
        for start, part in parts():
            for i, one in enumerate(part):
                np.save(path / f"{start + i:04d}.npy", one)
        return path, {"layout": "HW"}
    if form == "h5":
        with pytest.importorskip("h5py").File(path, "w") as file:
            made = file.create_dataset("u", SHAPE, "f4", chunks=(1, *SHAPE[1:]))
            for start, part in parts():
                made[start : start + PART] = part
    elif form == "nc":
        with pytest.importorskip("netCDF4").Dataset(path, "w") as file:
            for name, size in zip("tyx", SHAPE, strict=True):
                file.createDimension(name, size)
            made = file.createVariable("u", "f4", ("t", "y", "x"))
            for start, part in parts():
                made[start : start + PART] = part
    else:
        group = pytest.importorskip("zarr").open_group(path, mode="w")
        made = group.create_array("u", shape=SHAPE, dtype="f4", chunks=(1, *SHAPE[1:]))
        for start, part in parts():
            made[start : start + PART] = part
    return f"{path}:u", {}


@pytest.mark.parametrize("form", ["npy", "folder", "h5", "nc", "zarr"])
def test_preparing_takes_no_more_memory_than_some_blocks(tmp_path, form):
    source, settings = write(form, tmp_path)
    ran = subprocess.run(
        [sys.executable, "-c", PREPARE, str(source), repr(settings)], capture_output=True, text=True,
        cwd=Path(alphabar.__file__).parent.parent, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < LIMIT, f"{int(ran.stdout) / MIB:.0f} MiB"


KEEP = """
import resource, torch
from alphabar.model.devices import keep_memory

keep_memory(torch.device("cpu"))
x = torch.zeros(2**22)
for turn in range(12):
    if turn == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    y = x + 1
    del y
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc alone can be told to keep memory")
def test_memory_of_tensors_is_kept_unless_the_environment_says_of_it():
    def faults(**given):
        words, environment = [sys.executable, "-c", KEEP], {**os.environ, **given}
        return int(subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE).stdout)

    kept = faults()
    assert 2 * kept < faults(MALLOC_TRIM_THRESHOLD_="1")
    assert 2 * kept < faults(GLIBC_TUNABLES="glibc.malloc.trim_threshold=1")
    assert 2 * kept < faults(GLIBC_TUNABLES="glibc.rtld.nns=4:glibc.malloc.trim_threshold=1")
