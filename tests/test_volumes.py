"""Volumes: arrays of three sides, NIfTI files in and out, and folders of files that are a sample each."""

from __future__ import annotations

import numpy as np
import pytest

from alphabar.data import prepare
from alphabar.model import fit_codec
from tiny import AFFINE, write_nifti

N, SIDES = 24, (4, 6, 8)


def heads(seed=0, dtype=np.float32):
    """(N, *SIDES): a ball of random brightness each."""
    rng = np.random.default_rng(seed)
    away = sum(np.square(place / side - 0.5) for place, side in zip(np.indices(SIDES), SIDES, strict=True))
    return (rng.uniform(500, 900, (N, 1, 1, 1)) * (away < 0.2) + rng.normal(0, 5, (N, *SIDES))).astype(dtype)


def test_arrays_of_volumes_keep_their_mean_and_deviation_and_are_shown_by_slices():
    values = heads()
    with pytest.raises(ValueError, match=r"volume for volumes of 12 × 6 × 16"):
        prepare(values.repeat(3, 1).repeat(2, 3))
    data = prepare(values, layout="volume", holdout=0)
    assert (data.space.kind, data.space.shape, data.space.bounds) == ("volume", (1, *SIDES), None)
    np.testing.assert_array_equal(data.images[:, 0], values)
    assert prepare(np.stack([values, values], 1)).space.shape == (2, *SIDES)
    one = np.zeros((1, 1, *SIDES), np.float32)
    one[0, 0, 2] = 1  # the middle slice along the first side is white, a line in the others
    shown = data.space.shown(one)
    assert shown.shape == (1, 1, 6, 8 + 1 + 8 + 1 + 6 + 1)
    assert (shown[0, 0, :, :8] == 255).all()
    assert (shown[0, 0, 2, 9:17] == 255).all()
    assert shown[0, 0, :, 9:17].sum() == 8 * 255


@pytest.mark.parametrize("dtype", ["int16", "float32", "uint8"])
def test_nifti_is_read_on_its_grid_and_seen_with_mean_0_and_deviation_1(tmp_path, dtype):
    values = (heads() / 4).clip(0, 255).astype(dtype)
    folder = write_nifti(tmp_path / "d", values)
    data = prepare(folder, holdout=0)
    assert (data.space.kind, data.space.dtype, data.space.shape) == ("volume", dtype, (1, *SIDES))
    np.testing.assert_array_equal(data.images[:, 0], values)
    assert any("volumes of 4 × 6 × 8, 2 × 3 × 4 mm apart" in note for note in data.notes)
    x_0 = fit_codec(data.space, data.images).encode(data.images)
    np.testing.assert_allclose((x_0.mean(), x_0.std()), (0, 1), atol=1e-3)


def test_volumes_on_other_grids_or_of_other_shapes_are_refused(tmp_path):
    values = heads()[:3]
    moved = [AFFINE, AFFINE, AFFINE + np.eye(4, k=3)]
    with pytest.raises(ValueError, match=r"s02\.nii\.gz lies on another grid \(affine\) than s00"):
        prepare(write_nifti(tmp_path / "moved", values, moved))
    with pytest.raises(ValueError, match=r"s01\.nii\.gz is float32 .* samples have one shape and type"):
        prepare(write_nifti(tmp_path / "cut", [values[0], values[1][:-1]]))


def test_windows_of_tomograms_are_cut_off_and_counted(tmp_path):
    values = heads(dtype=np.int16)
    folder = write_nifti(tmp_path / "d", values)
    data = prepare(folder, range=(0, 600), clip=True, holdout=0)
    np.testing.assert_array_equal(data.images[:, 0], values.clip(0, 600))
    assert (data.space.low, data.space.high) == ((0,), (600,))


def test_what_nifti_needs_is_named(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / f"{name}.nii").write_bytes(b"anything")
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(ValueError, match=r"need the package nibabel: pip install 'alphabar\[volumes\]'"):
        prepare(tmp_path)


def test_a_folder_of_arrays_is_a_sample_a_file_in_the_order_of_names(tmp_path):
    values = np.random.default_rng(0).normal(size=(N, 2, 8, 9)).astype(np.float32)
    for i, value in enumerate(values):
        np.save(tmp_path / f"{i:03d}.npy", value)
    (tmp_path / "about.txt").write_text("made by hand")
    data = prepare(tmp_path, holdout=0)
    assert data.space.kind == "field"
    np.testing.assert_array_equal(data.images, values)
    assert any(f"{N} files of {tmp_path.name}, a sample each" in note for note in data.notes)
    assert any("1 file beside them are left out" in note for note in data.notes)
    np.save(tmp_path / "100.npy", values[0, :, :4])
    with pytest.raises(
        ValueError, match=r"100\.npy is float32 \(2, 4, 9\), and 000\.npy float32 \(2, 8, 9\)"
    ):
        prepare(tmp_path)
    (tmp_path / "one").mkdir()
    np.save(tmp_path / "one/d.npy", values)
    with pytest.raises(ValueError, match=r"d\.npy is one sample of 24 × 2 × 8 × 9: .* the file itself"):
        prepare(tmp_path / "one")
