"""Series of DICOM: slices that are sorted by their place into a volume each."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import needs
from .source_types import files
from .volume_files import NIFTI, One

ENDINGS = (".dcm", ".dicom", ".ima")
EVEN = 0.01
"""How much distances of slices may differ, as a share of them."""
TAGS = [
    "SeriesInstanceUID", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsStored", "PixelSpacing",
    "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "ImagePositionPatient",
    "ImageOrientationPatient",
]  # fmt: skip


class Series(NamedTuple):
    """The volumes in a folder by name, all their files, and what to say of others."""

    volumes: dict[str, Callable[[], One]]
    files: list[Path]
    notes: list[str]


def pydicom() -> Any:
    """The package; ValueError that says how to get it."""
    with needs("DICOM files", "pydicom", "dicom"):
        import pydicom  # pyright: ignore[reportMissingImports]
    return pydicom


def dicom_series(path: Path) -> Series | None:
    """The series below a folder; None if there is no DICOM.

    DICOM is known by its ending, or in files without one by its mark.
    """
    every = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
    found = sorted(file for file in every if _is_dicom(file))
    if not found:
        return None
    series: dict[str, list[tuple[Path, Any]]] = defaultdict(list)
    others = [file for file in every if file not in set(found)]
    for file in found:
        try:
            header = pydicom().dcmread(file, stop_before_pixels=True, specific_tags=TAGS)
        except (pydicom().errors.InvalidDicomError, OSError, EOFError) as error:
            raise ValueError(f"{file} is damaged or no DICOM: {error}") from None
        if "Rows" in header and "ImagePositionPatient" in header:
            series[str(header.get("SeriesInstanceUID", file.parent))].append((file, header))
        else:
            others.append(file)
    if not series:
        raise ValueError(f"the DICOM files below {path} are no slices of volumes, with rows and a position")
    notes = [f"{files(len(others))} beside them are left out"] if others else []
    named = {_name(path, slices): partial(_volume, slices) for slices in series.values()}
    if len(named) < len(series):
        named = {uid: partial(_volume, slices) for uid, slices in series.items()}
    return Series(dict(sorted(named.items())), found, notes)


def _is_dicom(file: Path) -> bool:
    if file.suffix.lower() in ENDINGS:
        return True
    if file.suffix or file.name.startswith("."):
        return False
    try:
        with open(file, "rb") as opened:
            return opened.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _name(path: Path, slices: list[tuple[Path, Any]]) -> str:
    """A series by its sub-folder."""
    return str(slices[0][0].parent.relative_to(path))


def _volume(slices: list[tuple[Path, Any]]) -> One:
    """(1, slices, rows, columns) of one series, with the affine to NIfTI's millimeters (right, front, up)."""
    where, first = slices[0]
    for file, header in slices:
        if int(header.get("NumberOfFrames", 1) or 1) > 1 or int(header.get("SamplesPerPixel", 1)) > 1:
            raise ValueError(f"{file} has several frames or colors: convert it to NIfTI, as by dcm2niix")
        for tag in ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient"):
            if tag not in header or not np.allclose(header[tag].value, first[tag].value, rtol=0, atol=1e-3):
                raise ValueError(f"{file} and {where} are of one series, and differ in {tag}: take one out")
    along_row, along_column = np.reshape(np.array(first.ImageOrientationPatient, np.float64), (2, 3))
    normal = np.cross(along_row, along_column)
    placed = sorted(slices, key=lambda pair: float(normal @ _position(pair[1])))
    places = np.array([_position(header) for _, header in placed])
    affine = np.eye(4)
    affine[:3, 0] = _step(places, normal, where.parent)
    affine[:3, 1] = along_column * float(first.PixelSpacing[0])
    affine[:3, 2] = along_row * float(first.PixelSpacing[1])
    affine[:3, 3] = places[0]
    affine[:2] *= -1  # DICOM counts to the left and to the back
    dtype = np.result_type(*{_dtype(header) for _, header in slices})

    def read() -> np.ndarray:
        return np.stack([_slice(file, dtype) for file, _ in placed])[None]

    return One((1, len(placed), int(first.Rows), int(first.Columns)), dtype, affine, read, NIFTI[0], True)


def _position(header: Any) -> np.ndarray:
    return np.array(header.ImagePositionPatient, np.float64)


def _step(places: np.ndarray, normal: np.ndarray, where: Path) -> np.ndarray:
    """From one slice to the next; ValueError where they are not evenly apart."""
    if len(places) == 1:
        raise ValueError(f"{where} has one slice alone: a volume has several")
    apart = np.diff(places @ normal)
    middle = float(np.median(apart))
    odd = np.flatnonzero(np.abs(apart - middle) > EVEN * abs(middle))
    if middle <= 0 or odd.size:
        i = int(odd[0]) if odd.size else 0
        raise ValueError(
            f"slices {i + 1} and {i + 2} of {where} are {apart[i]:.3g} mm apart, and most are {middle:.3g}: "
            "one is missing or there twice"
        )
    return (places[-1] - places[0]) / (len(places) - 1)


def _dtype(header: Any) -> np.dtype:
    """The least type that holds all values of a slice, rescaled."""
    slope, intercept = _rescale(header)
    bits, signed = int(header.get("BitsStored", 16)), bool(header.get("PixelRepresentation", 0))
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if slope != int(slope) or intercept != int(intercept):
        return np.dtype(np.float32)
    ends = sorted((slope * least + intercept, slope * most + intercept))
    small = np.iinfo(np.int16).min <= ends[0] and ends[1] <= np.iinfo(np.int16).max
    return np.dtype(np.int16 if small else np.int32)


def _rescale(header: Any) -> tuple[float, float]:
    return float(header.get("RescaleSlope", 1) or 1), float(header.get("RescaleIntercept", 0) or 0)


def _slice(file: Path, dtype: np.dtype) -> np.ndarray:
    """The values of a slice, in Hounsfield units where it is of a CT."""
    opened = pydicom().dcmread(file)
    try:
        values = opened.pixel_array
    except (RuntimeError, NotImplementedError, AttributeError, ValueError) as error:
        syntax = getattr(opened.file_meta, "TransferSyntaxUID", None)
        if syntax is not None and syntax.is_compressed:
            raise ValueError(
                f"{file} is compressed ({syntax.name}), which takes more packages: pip install pylibjpeg "
                "pylibjpeg-libjpeg pylibjpeg-openjpeg"
            ) from None
        raise ValueError(f"{file} is damaged: {error}") from None
    slope, intercept = _rescale(opened)
    scaled = values.astype(np.float64) * slope + intercept
    return (np.rint(scaled) if dtype.kind == "i" else scaled).astype(dtype)
