"""Volumes in other files: series of DICOM, and TIFF of several pages, in and out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from alphabar.data import prepare
from alphabar.data.sources.volume_files import pages_bytes
from program import TINY

N, SIDES = 3, (5, 6, 8)
ROW, COLUMN, NORMAL = np.array([0, 1, 0]), np.array([0, 0, -1]), np.array([-1, 0, 0])  # sagittal


def write_series(folder, volume, uid, origin=(10, -20, 30), change=None, spacing=(0.5, 0.25), step=2.0):
    """A series of int16 slices in no order, with the values of a CT: 2 stored - 1024."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    folder.mkdir(parents=True)
    for i, values in enumerate(volume):
        header = pydicom.Dataset()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, f"{uid}.{i + 1}"
        header.SeriesInstanceUID = uid
        header.Rows, header.Columns = values.shape
        header.PixelSpacing, header.ImageOrientationPatient = list(spacing), [*ROW.tolist(), *COLUMN.tolist()]
        header.ImagePositionPatient = (np.array(origin) + i * step * NORMAL).tolist()
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.RescaleSlope, header.RescaleIntercept = 2, -1024
        header.PixelData = ((values + 1024) // 2).astype(np.uint16).tobytes()
        if change is not None:
            change(i, header)
        header.save_as(folder / f"{(i * 7) % 10}.dcm", enforce_file_format=True)
    return folder


def tomograms(seed=0):
    """(N, *SIDES) in Hounsfield units, even numbers."""
    return 2 * np.random.default_rng(seed).integers(-400, 700, (N, *SIDES))


def test_a_series_of_dicom_is_a_volume_in_its_own_units_and_comes_back_as_nifti(tmp_path, done):
    nibabel = pytest.importorskip("nibabel")
    values = tomograms()
    for i, volume in enumerate(values):
        write_series(tmp_path / f"d/p{i}", volume, f"1.2.{i + 1}", origin=(10 + i, -20, 30))
    (tmp_path / "d/notes.txt").write_text("of the scanner")
    data = prepare(tmp_path / "d", holdout=0)
    assert (data.space.kind, data.space.shape, data.space.dtype) == ("volume", (1, *SIDES), "int16")
    np.testing.assert_array_equal(data.images[:, 0], values)
    assert any("3 series of DICOM in d, a sample each" in note for note in data.notes)
    assert any("1 file beside them are left out" in note for note in data.notes)
    assert any("2 × 0.5 × 0.25 mm apart" in note for note in data.notes)
    done("train", tmp_path / "d", "--out", tmp_path / "run", "--images", 8, "--holdout", 0, *TINY)
    done("sample", tmp_path / "run", "-n", 1, "--steps", 1, "--out", tmp_path / "out")
    image = nibabel.load(tmp_path / "out/000000.nii.gz")
    assert image.get_data_dtype() == np.int16
    # slice 2, row 3, column 4 lies where DICOM says, counted to the right and to the front
    place = np.array([10, -20, 30]) + 2 * 2.0 * NORMAL + 3 * 0.5 * COLUMN + 4 * 0.25 * ROW
    np.testing.assert_allclose(image.affine @ [2, 3, 4, 1], [-place[0], -place[1], place[2], 1])
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), np.load(tmp_path / "out/samples.npy")[0, 0])


def test_two_series_in_one_folder_are_two_volumes_and_slopes_give_floats(tmp_path):
    def halved(i, header):
        header.RescaleSlope = 0.5

    values = tomograms()
    write_series(tmp_path / "d", values[0], "1.2.1", change=halved)
    other = write_series(tmp_path / "e", values[1], "1.2.2", change=halved)
    for file in other.iterdir():
        file.rename(tmp_path / "d" / f"b{file.stem}")  # without an ending, known by its mark
    data = prepare(tmp_path / "d", holdout=0)
    assert (data.space.dtype, data.images.shape) == ("float32", (2, 1, *SIDES))
    np.testing.assert_array_equal(data.images[:, 0], (values[:2] + 1024) // 2 * 0.5 - 1024)


@pytest.mark.parametrize(("what", "words"), [
    ("gap", r"slices 3 and 4 of .*p0 are 4 mm apart, and most are 2: one is missing"),
    ("turned", r"are of one series, and differ in ImageOrientationPatient"),
    ("frames", r"has several frames or colors: convert it to NIfTI"),
    ("compressed", r"compressed \(JPEG 2000.*\), which takes more packages: pip install pylibjpeg"),
    ("grid", r"p1 lies on another grid \(affine\) than p0: resample all to one"),
    ("shape", r"p1 is int16 \(1, 4, 6, 8\), and p0 int16 \(1, 5, 6, 8\)"),
    ("text", r"is damaged or no DICOM"),
])  # fmt: skip
def test_what_is_no_even_volume_is_refused_by_name(tmp_path, what, words):
    def change(i, header):
        if what == "gap" and i >= 3:
            header.ImagePositionPatient = (np.array([10, -20, 30]) + (i + 1) * 2.0 * NORMAL).tolist()
        if what == "turned" and i == 2:
            header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        if what == "frames":
            header.NumberOfFrames = 4
        if what == "compressed":
            from pydicom.encaps import encapsulate
            from pydicom.uid import JPEG2000Lossless

            header.file_meta.TransferSyntaxUID = JPEG2000Lossless
            header.PixelData = encapsulate([b"\xff\x4f\xff\x51"])
            header["PixelData"].is_undefined_length = True

    values = tomograms()
    write_series(tmp_path / "d/p0", values[0], "1.2.1", change=change)
    volume = values[1][:4] if what == "shape" else values[1]
    write_series(tmp_path / "d/p1", volume, "1.2.2", step=3.0 if what == "grid" else 2.0)
    if what == "text":
        (tmp_path / "d/p0/9.dcm").write_text("no such thing")
    with pytest.raises(ValueError, match=words):
        prepare(tmp_path / "d")


def test_what_dicom_needs_is_named(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pydicom", None)
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(
        ValueError, match=r"DICOM files need the package pydicom: pip install 'alphabar\[dicom\]'"
    ):
        prepare(tmp_path)


def write_stacks(folder, volumes):
    folder.mkdir()
    for i, volume in enumerate(volumes):
        first, *rest = map(Image.fromarray, volume)
        first.save(folder / f"v{i}.tif", save_all=True, append_images=rest)
    return folder


@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 1), ("uint8", 3), ("uint16", 1), ("float32", 1)])
def test_tiff_of_several_pages_are_volumes_and_come_back_as_such(tmp_path, done, dtype, channels):
    values = np.random.default_rng(0).uniform(0, 250, (N, *SIDES, channels)).astype(dtype)
    folder = write_stacks(tmp_path / "d", values if channels == 3 else values[..., 0])
    data = prepare(folder, layout="volume", holdout=0)
    assert (data.space.kind, data.space.dtype, data.space.shape) == ("volume", dtype, (channels, *SIDES))
    np.testing.assert_array_equal(data.images, np.moveaxis(values, -1, 1))
    if dtype == "uint8":
        assert prepare(folder, holdout=0).space.kind == "picture"  # unless it is asked for
    if channels == 3:
        done(
            "train",
            folder,
            "--layout",
            "volume",
            "--out",
            tmp_path / "run",
            "--images",
            8,
            "--holdout",
            0,
            *TINY,
        )
        done("sample", tmp_path / "run", "-n", 1, "--steps", 1, "--out", tmp_path / "out")
        drawn = np.load(tmp_path / "out/samples.npy")[0]
        with Image.open(tmp_path / "out/000000.tif") as image:
            assert image.n_frames == SIDES[0]
            for i in range(SIDES[0]):
                image.seek(i)
                np.testing.assert_array_equal(np.moveaxis(np.asarray(image), -1, 0), drawn[:, i])
    (tmp_path / "again").mkdir()
    for i, image in enumerate(data.images):
        (tmp_path / "again" / f"{i}.tif").write_bytes(pages_bytes(image))
    np.testing.assert_array_equal(prepare(tmp_path / "again", layout="volume").images, data.images)


def test_pages_that_differ_are_refused(tmp_path):
    (tmp_path / "d").mkdir()
    first, second = Image.new("L", (8, 6)), Image.new("L", (4, 6))
    for name in ("a.tif", "b.tif"):
        first.save(tmp_path / "d" / name, save_all=True, append_images=[second])
    with pytest.raises(ValueError, match=r"page 2 of .*a\.tif is \(4, 6\) of L, and page 1 \(8, 6\) of L"):
        prepare(tmp_path / "d", layout="volume")
    (tmp_path / "d/a.tif").write_bytes(b"II*\0")
    with pytest.raises(ValueError, match=r"a\.tif is damaged or no TIFF"):
        prepare(tmp_path / "d", layout="volume")
