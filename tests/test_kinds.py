"""Every kind of data, from every kind of file, by every command: a row each, which all tests here run over.

A row makes small data, and reads what samples were written in. So it is told that samples come back in the
data's own type, shape, values, names, units and files; what a command does, or says where it means nothing;
and that bits depend on what they should alone: whole and resumed runs, any number of samples, the file of a
model by itself, and the units of each channel.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from alphabar import load, prepare, sample, train
from alphabar.cli.read import read_sample
from alphabar.data import KINDS, Space
from alphabar.files import load_tensors
from alphabar.sampling import stream_samples
from commands import SMALL
from program import call, contents
from tiny import AFFINE, EXECUTION, write_nifti

N, HOLDOUT = 40, 0.2
RNG = np.random.default_rng(0)
NAMES = ("autumn", "spring", "summer")
LAND = np.zeros((2, 8, 12), bool)
LAND[0, 2:6, 3:9] = LAND[1, 0] = True


class Row(NamedTuple):
    """Data of one kind from one source.

    Attributes:
        kind, dtype: of samples.
        values: (N, *shape) what the data hold, as the model's space has it.
        write: (folder, values) → DATA.
        read: a folder of samples → (n, *shape), what their files hold.
        files: a glob of these, one each or one of all.
        flags: options of DATA.
        refused: command of `edit` → a part of what is said where it means nothing.
        units: (scale, offset), (C, 1, …), in which the data are the same data; none if their range is fixed.
        given: a file of one sample, by its glob within the data, or a row or series of a file, by its number
            for {}; unless given, a sample is given as an array.
        layout: as in `Space`.
    """

    kind: str
    dtype: str
    values: np.ndarray
    write: Callable[[Path, np.ndarray], str]
    read: Callable[[Path], np.ndarray]
    files: str
    flags: Mapping[str, object] = MappingProxyType({})
    refused: Mapping[str, str] = MappingProxyType({})
    units: tuple[np.ndarray, np.ndarray] | None = None
    given: str = ""
    layout: str = "CHW"


# --- values --------------------------------------------------------------------------------------


def column(*values, sides=2):
    return np.array(values, float).reshape(-1, *[1] * sides)


def blobs(dtype="uint8", channels=1, high=255.0, sides=(8, 8)):
    """A bright square at any place, and noise."""
    values = RNG.uniform(0, 0.2, (N, channels, *sides))
    for value, place in zip(values, RNG.integers(0, 4, (N, len(sides)))):
        value[(slice(None), *(slice(p, p + 4) for p in place))] += 0.7
    values[0].flat[:2] = 0, 1
    return (high * values).astype(dtype)


def emoji():
    """Discs of any color on nothing."""
    y, x = np.mgrid[:8, :8] - 3.5
    alpha = np.clip(4 - np.hypot(x, y), 0, 1)
    color = RNG.integers(100, 256, (N, 3, 1, 1)) * (alpha > 0)
    return np.concatenate([color, np.broadcast_to(255 * alpha, (N, 1, 8, 8))], 1).astype(np.uint8)


def waves(scale, offset, sides, dtype="float32"):
    """(N, C, *sides): smooth, of any phase, cubed, each channel in its own units."""
    scale, offset = (column(*each, sides=len(sides)) for each in (scale, offset))
    phase = RNG.uniform(0, 2 * np.pi, (N, len(scale), *[1] * len(sides)))
    steps = sum(place / (2 + axis) for axis, place in enumerate(np.indices(sides)))
    return (offset + scale * np.sin(phase + steps) ** 3).astype(dtype)


def at_sea():
    values = waves((9, 0.3), (285, 0), (8, 12))
    values[:, LAND] = np.nan
    return values


def things():
    """(N, 4): a length in centimeters, some missing; a price; a season; a whole number."""
    length = np.where(RNG.random(N) < 0.1, np.nan, RNG.normal(30, 5, N).round(1))
    price = RNG.exponential(9, N).round(2).astype(np.float32)
    return np.stack([length, price, RNG.integers(0, 3, N), RNG.integers(0, 9, N)], 1)


# --- files ---------------------------------------------------------------------------------------


def write_pictures(folder, values):
    folder.mkdir(parents=True)
    for i, value in enumerate(values):
        Image.fromarray(value[0] if len(value) == 1 else np.moveaxis(value, 0, -1)).save(
            folder / f"{i:02d}.png"
        )
    return str(folder)


def write_classes(folder, values):
    for k, name in enumerate(NAMES[:2]):
        write_pictures(folder / name, values[k::2])
    return shutil.make_archive(str(folder), "zip", folder)


def read_pictures(folder):
    found = [np.asarray(Image.open(path)) for path in sorted(folder.glob("0*.png"))]
    return np.stack(
        [picture[None] if picture.ndim == 2 else np.moveaxis(picture, -1, 0) for picture in found]
    )


def write_array(folder, values):
    folder.mkdir(parents=True)
    np.save(folder / "d.npy", values)
    return str(folder / "d.npy")


def read_array(folder):
    return np.load(folder / "samples.npy")


def write_labeled(folder, values):
    folder.mkdir(parents=True)
    np.savez(folder / "d.npz", images=values[:, 0], labels=np.array(NAMES)[np.arange(N) % 3])
    return str(folder / "d.npz")


def write_netcdf(folder, values):
    netcdf = pytest.importorskip("netCDF4")
    folder.mkdir(parents=True)
    with netcdf.Dataset(folder / "d.nc", "w") as file:
        for name, size in zip(("time", "lat", "lon"), (len(values), 8, 12)):
            file.createDimension(name, size)
        for name, unit, value in (("sst", "K", values[:, 0]), ("u", "m s-1", values[:, 1])):
            made = file.createVariable(name, values.dtype, ("time", "lat", "lon"), fill_value=-9e9)
            made[:], made.units = np.ma.masked_invalid(value), unit
    return f"{folder}/d.nc:sst,u"


def read_netcdf(folder):
    with pytest.importorskip("netCDF4").Dataset(folder / "samples.nc") as file:
        assert [file[name].units for name in ("sst", "u")] == ["K", "m s-1"]
        return np.stack([np.ma.filled(file[name][:], np.nan) for name in ("sst", "u")], 1)


def write_hdf5(folder, values):
    h5py = pytest.importorskip("h5py")
    folder.mkdir(parents=True)
    with h5py.File(folder / "d.h5", "w") as file:
        file["sea/sst"], file["u"] = values[:, 0], values[:, 1]
        file["u"].attrs["units"] = "m s-1"
    return f"{folder}/d.h5:sea/sst,u"


def read_hdf5(folder):
    with pytest.importorskip("h5py").File(folder / "samples.h5") as file:
        assert file["u"].attrs["units"] == "m s-1"
        return np.stack([file["sea/sst"], file["u"]], 1)


def write_volumes(folder, values):
    return str(write_nifti(folder, values[:, 0]))


def read_nifti(folder):
    images = [pytest.importorskip("nibabel").load(path) for path in sorted(folder.glob("*.nii.gz"))]
    assert all(np.array_equal(image.affine, AFFINE) for image in images)
    return np.stack([np.asanyarray(image.dataobj)[None] for image in images])


def write_arrays(folder, values):
    folder.mkdir(parents=True)
    for i, value in enumerate(values):
        np.save(folder / f"{i:03d}.npy", value)
    return str(folder)


def read_arrays(folder):
    return np.stack([np.load(path) for path in sorted(folder.glob("0*.npy"))])


def write_text(folder, *rows):
    pytest.importorskip("pyarrow")
    folder.mkdir(parents=True)
    with open(folder / "d.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return str(folder / "d.csv")


def read_text(folder, *names):
    with open(folder / "samples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(names)
    return rows


def write_rows(folder, values):
    """One row a series, of two classes."""
    head = ["kind", *(f"{t}:00" for t in range(values.shape[2]))]
    return write_text(
        folder, head, *([NAMES[i % 2], *map(repr, v[0].tolist())] for i, v in enumerate(values))
    )


def read_rows(folder):
    rows = read_text(folder, "kind", *(f"{t}:00" for t in range(16)))
    assert {row.pop("kind") for row in rows} <= {*NAMES[:2], ""}
    return np.array([[[float(value) for value in row.values()]] for row in rows])


def write_long(folder, values):
    """One row a time."""
    rows = [[f"s{i}", t, *map(repr, v[:, t].tolist())] for i, v in enumerate(values) for t in range(16)]
    return write_text(folder, ["who", "step", "volts", "amps"], *rows)


def read_long(folder):
    rows = read_text(folder, "who", "step", "volts", "amps")
    series = np.array([[float(row["volts"]), float(row["amps"])] for row in rows]).reshape(-1, 16, 2)
    assert [row["step"] for row in rows] == [str(t) for t in range(16)] * len(series)
    assert [row["who"] for row in rows] == [str(i) for i in range(len(series)) for _ in range(16)]
    return np.moveaxis(series, 2, 1)


def write_sounds(folder, values):
    soundfile = pytest.importorskip("soundfile")
    for i, value in enumerate(values):
        place = folder / NAMES[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        soundfile.write(place / f"{i:02d}.wav", value.T, 8000, subtype="PCM_16")
    return str(folder)


def read_sounds(folder):
    read = pytest.importorskip("soundfile").read
    found = [read(path, dtype="int16", always_2d=True) for path in sorted(folder.glob("*.wav"))]
    assert {rate for _, rate in found} == {8000}
    return np.stack([sound.T for sound, _ in found])


THINGS = ["length", "price", "season", "count"]


def write_table(folder, values):
    rows = [
        ["" if np.isnan(a) else repr(a), repr(b), NAMES[int(c)], int(d)] for a, b, c, d in values.tolist()
    ]
    return write_text(folder, THINGS, *rows)


def read_table(folder):
    rows = read_text(folder, *THINGS)
    assert all(row["count"].isdecimal() for row in rows)
    return np.array([
        [float(row["length"] or "nan"), float(row["price"]), NAMES.index(row["season"]), int(row["count"])]
        for row in rows
    ])  # fmt: skip


def write_parquet(folder, values):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    length, price, season, count = values.T
    columns = [
        pa.array(length, pa.float64(), mask=np.isnan(length)), pa.array(price, pa.float32()),
        pa.array([NAMES[int(i)] for i in season]), pa.array(count.astype(np.int16)),
    ]  # fmt: skip
    pq.write_table(pa.table(dict(zip(THINGS, columns))), folder / "d.parquet")
    return str(folder / "d.parquet")


def read_parquet(folder):
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "samples.parquet")
    assert table.column_names == THINGS
    assert [str(kind) for kind in table.schema.types] == ["double", "float", "string", "int16"]
    length, price, season, count = (each.to_pylist() for each in table.columns)
    return np.array([
        [np.nan if x is None else x for x in length], price, [NAMES.index(x) for x in season], count,
    ], float).T  # fmt: skip


# --- the table -----------------------------------------------------------------------------------

NO_COLOR = {"colorize": "colorizing is for pictures"}
GRAY = {"colorize": "needs a model of three channels"}
LINEAR = dict.fromkeys(("upscale", "deblur"), "only masked")
ALL = dict.fromkeys(("upscale", "deblur"), "that is of all numbers of a sample")
SIDES = {"upscale": "divide sides, of which these samples have none", "deblur": "only samples with sides"}
ROWS = {
    "gray pictures": Row(
        "picture", "uint8", blobs(), write_pictures, read_pictures, "0*.png", refused=GRAY, given="*.png",
        layout="HW",
    ),
    "color pictures in a .zip": Row(
        "picture", "uint8", blobs(channels=3), write_classes, read_pictures, "0*.png",
        layout="HWC",
    ),
    "pictures with alpha": Row(
        "picture", "uint8", emoji(), write_pictures, read_pictures, "0*.png", refused=LINEAR | GRAY,
        given="*.png", layout="HWC",
    ),
    "pictures of 16 bits": Row(
        "picture", "uint16", blobs("uint16", high=4000), write_pictures, read_pictures, "0*.png",
        refused=GRAY, units=(column(2), column(100)), given="*.png", layout="HW",
    ),
    "an .npz with labels": Row(
        "picture", "float32", blobs("float32", high=1), write_labeled, lambda f: read_array(f)[:, None],
        "samples.npy", refused=GRAY, layout="HW",
    ),
    "fields in an .npy": Row(
        "field", "float32", waves((9, 0.3), (285, 0), (8, 12)), write_array, read_array,
        "samples.npy", refused=NO_COLOR, units=(column(0.125, 64), column(3.7, -1e3)),
    ),
    "a folder of arrays": Row(
        "field", "float32", waves((9, 0.3), (285, 0), (8, 12)), write_arrays, read_arrays,
        "0*.npy", refused=NO_COLOR, units=(column(0.125, 64), column(3.7, -1e3)), given="*.npy",
    ),
    "NetCDF with land": Row(
        "field", "float32", at_sea(), write_netcdf, read_netcdf, "samples.nc", refused=ALL | NO_COLOR,
        units=(column(0.125, 64), column(3.7, -50)),
    ),
    "HDF5": Row(
        "field", "float64", waves((9, 0.3), (285, 0), (8, 12), "float64"), write_hdf5,
        read_hdf5, "samples.h5", refused=NO_COLOR, units=(column(0.125, 64), column(3.7, -1e3)),
    ),
    "volumes in an .npy": Row(
        "volume", "float32", blobs("float32", 2, 500, (4, 6, 8)), write_array, read_array, "samples.npy",
        refused=NO_COLOR, units=(column(0.5, 8, sides=3), column(3, -100, sides=3)),
    ),
    "NIfTI": Row(
        "volume", "int16", blobs("int16", 1, 900, (4, 6, 8)), write_volumes, read_nifti, "*.nii.gz",
        refused=NO_COLOR, units=(column(8, sides=3), column(-1000, sides=3)),
    ),
    "series in an .npy": Row(
        "series", "float64", waves((50, 1e-6, 3), (1000, 0, -5), (16,), "float64"),
        write_array, read_array, "samples.npy", refused=NO_COLOR, layout="CL",
        units=(column(2, 0.25, 1024, sides=1), column(-7, 1e-5, 99, sides=1)),
    ),
    "a CSV of a row a series": Row(
        "series", "float64", waves((5,), (20,), (16,), "float64"), write_rows, read_rows,
        "samples.csv", {"layout": "L"}, NO_COLOR, (column(4, sides=1), column(-7, sides=1)), "d.csv:{}", ",",
    ),
    "a CSV of a row a time": Row(
        "series", "float64", waves((50, 1e-6), (1000, 0), (16,), "float64"),
        write_long, read_long, "samples.csv", {"series": "who"}, NO_COLOR,
        (column(2, 0.25, sides=1), column(-7, 1e-5, sides=1)), "d.csv:s{}", ",",
    ),
    "sound": Row(
        "series", "int16", waves((3000, 500), (0, 0), (64,), "int16"),
        write_sounds, read_sounds, "*.wav", refused=NO_COLOR,
        units=(column(2, 4, sides=1), column(64, -32, sides=1)), given="*/*.wav", layout="sound",
    ),
    "a table in a CSV": Row(
        "table", "float64", things(), write_table, read_table, "samples.csv", refused=SIDES | NO_COLOR,
        layout=",", given="d.csv:{}", units=(np.array([4, 0.5, 1, 3]), np.array([100, 0, 0, 7])),
    ),
    "a table in Parquet": Row(
        "table", "float64", things(), write_parquet, read_parquet, "samples.parquet", layout="parquet",
        refused=SIDES | NO_COLOR, given="d.parquet:{}",
        units=(np.array([4, 0.5, 1, 3]), np.array([100, 0, 0, 7])),
    ),
}  # fmt: skip
FEW = ["--steps", 2, "--device", "cpu"]
EDITS = {  # what stands behind the sample
    "vary": ["--t", 30],
    "interpolate": ["OTHER", "--by", "noise"],
    "inpaint": ["MASK"],
    "upscale": ["--factor", 2, "--whole"],
    "colorize": ["--whole"],
    "deblur": ["--whole"],
}


class Place(NamedTuple):
    """A row, the folder with its data and run, and DATA there."""

    row: Row
    folder: Path
    data: str

    @property
    def flags(self):
        """The options of DATA, as a command has them."""
        named = {"holdout": HOLDOUT, **self.row.flags}
        return [word for name, value in named.items() for word in (f"--{name}", value)]

    def prepared(self, data=""):
        return prepare(data or self.data, holdout=HOLDOUT, **self.row.flags)

    def sample(self, which):
        """A file of one sample."""
        if "{}" in self.row.given:
            return str(self.folder / "data" / self.row.given.format(which))
        if self.row.given:
            return str(sorted((self.folder / "data").glob(self.row.given))[which])
        data, path = self.prepared(), self.folder / f"one-{which}.npy"
        np.save(path, data.space.to_layout(data.images[which]))
        return str(path)


@pytest.fixture(scope="module", params=ROWS)
def trained(request, tmp_path_factory):
    """A row's data, and a run of two updates on them."""
    row, folder = ROWS[request.param], tmp_path_factory.mktemp("kind")
    place = Place(row, folder, row.write(folder / "data", row.values))
    assert not call("train", place.data, "--out", folder / "run", "--images", 16, *place.flags, *small(row))
    yield place
    shutil.rmtree(folder)


def small(row):
    """The options of a small network."""
    if row.kind == "table":
        words = [(a, b) for a, b in zip(SMALL[::2], SMALL[1::2]) if not b.startswith("network.")]
        return [
            *(w for pair in words for w in pair),
            "--set",
            "network.width=16",
            "--set",
            "network.blocks=1",
        ]
    return SMALL


@pytest.fixture
def place(trained, monkeypatch):
    monkeypatch.chdir(trained.folder)
    return trained


# --- by every command ----------------------------------------------------------------------------


def in_any_order(values):
    """The samples (n, *shape) as a list that doesn't depend on their order."""
    return sorted(np.nan_to_num(value, nan=-9e9).tolist() for value in values)


def test_data_are_read_as_they_are_and_shown(place, done):
    row = place.row
    out, _ = done("data", place.data, *place.flags, "--out", "sheet.png", "--json")
    facts = json.loads(out)
    space = facts["space"]
    assert (space["kind"], space["dtype"], space["shape"]) == (row.kind, row.dtype, [*row.values.shape[1:]])
    assert space["layout"] == row.layout
    assert 1 < facts["held_out"] < N / 2
    assert in_any_order(place.prepared().images) == in_any_order(row.values)
    with Image.open("sheet.png") as sheet:
        assert len(np.unique(np.asarray(sheet))) > 10 or row.kind == "series"
    said = " ".join(done("data", place.data, *place.flags)[0].split())
    standard = KINDS[row.kind].standardized
    assert ("seen with mean 0 and standard deviation 1" in said) == standard
    assert ("seen as -1 to 1" in said) == (row.kind == "picture")


def as_they_came(row, folder, n):
    """The samples in a folder, which must be in the data's own type, shape, values and files."""
    samples = np.load(folder / "samples.npy")
    space = Space(**json.loads((folder / "samples.json").read_text())["space"])
    assert samples.dtype == row.dtype
    found = space.from_layout(samples)
    assert found.shape == (n, *row.values.shape[1:])
    assert len(list(folder.glob(row.files))) in (1, n)
    np.testing.assert_allclose(row.read(folder), found, rtol=1e-9)
    axes = (0, *range(2, found.ndim))
    if row.kind == "table":
        known = [set(column[~np.isnan(column)]) for column in row.values.T]
        assert set(found[:, 2]) <= known[2]
        assert set(found[:, 3]) <= set(range(9))
    else:
        np.testing.assert_array_equal(np.isnan(found), np.isnan(row.values[:1].repeat(n, 0)))
    low, high = np.nanmin(row.values.astype(float), axes), np.nanmax(row.values.astype(float), axes)
    room = 0 if row.kind == "table" else 2 * (high - low)
    if space.bounds is not None:
        low, high, room = np.array(space.low), np.array(space.high), 0
    assert (np.nanmin(found, axes) >= low - room).all()
    assert (np.nanmax(found, axes) <= high + room).all()
    return found


def test_samples_come_back_as_the_data_came(place, done):
    done("sample", "run", "-n", 5, *FEW, "--out", "new")
    found = as_they_came(place.row, Path("new"), 5)
    assert len(np.unique(found.reshape(5, -1), axis=0)) == 5
    assert Path("new/grid.png").exists()


def test_a_sample_that_was_written_is_read_again_by_itself(place, done):
    done("sample", "run", "-n", 1, *FEW, "--out", "one")
    space = place.prepared().space
    sample = space.from_layout(np.load("one/samples.npy"))[0]
    (path,) = Path("one").glob(place.row.files)
    found = read_sample(str(path), space) if path.suffix != ".npy" else sample
    np.testing.assert_allclose(found, sample, rtol=1e-9)


@pytest.mark.parametrize("command", EDITS)
def test_samples_are_edited_or_it_is_said_why_not(place, said, command):
    data = place.prepared()
    fill = np.zeros(data.space.shape, bool)
    fill[..., : fill.shape[-1] // 2] = True
    np.save("mask.npy", data.space.to_layout(fill))
    given = {"OTHER": place.sample(1), "MASK": "mask.npy" if place.row.kind == "table" else "left"}
    more = [given.get(word, word) for word in EDITS[command]]
    number = 3 if command == "interpolate" else 2
    code, _, err = said("edit", command, "run", place.sample(0), *more, "-n", number, *FEW, "--out", command)
    if command in place.row.refused:
        assert code == 2
        assert place.row.refused[command] in err
        assert not Path(command).exists()
        return
    assert code == 0, err
    found = as_they_came(place.row, Path(command), number)
    one = np.asarray(data.images[0])
    if command == "inpaint":
        np.testing.assert_array_equal(found[:, ~fill], one[~fill][None].repeat(2, 0))
    if command == "interpolate":  # from one to the other
        assert not np.array_equal(found[0], found[2], equal_nan=True)


def test_samples_are_scored(place, done):
    card = json.loads(done("eval", "run", "-n", 16, *FEW, "--features", "untrained", "--json")[0])
    scores = {"frechet", "kid", "precision", "recall", "density", "coverage", "sliced_wasserstein"}
    scores |= {
        "classifier",
        *(["column_shapes", "column_pairs", "trees"] if place.row.kind == "table" else []),
    }
    assert card["scores"].keys() == scores
    for name, score in card["scores"].items():
        assert all(np.isfinite(score[of]) for of in ("value", "floor", "trivial")), name
    assert [found["verdict"][:7] for found in card["memorization"]]
    noun = KINDS[place.row.kind].noun
    assert any(noun in note for note in card["notes"])
    assert len(card["noise_levels"]["held_out"]) == len(card["noise_levels"]["times"])


def test_other_data_and_written_samples_are_scored(place, done):
    """Data in other files of the same form, read as the run's own were."""
    other = place.row.write(place.folder / "other", place.row.values[::-1][: N - 4])
    few = ["-n", 16, "--features", "untrained", "--json"]
    card = json.loads(done("eval", "run", *few, *FEW, "--data", other)[0])
    assert card["data"]["samples"] == N - 4
    done("sample", "run", "-n", 16, *FEW, "--out", "drawn")
    again = json.loads(done("eval", "drawn", *few, "--data", other)[0])
    assert again["data"]["fingerprint"] == card["data"]["fingerprint"]


def test_a_run_is_reported(place, done):
    done("report", "run", "-n", 16, "--features", "untrained", "--out", "page.html")
    page = Path("page.html").read_text()
    kind = KINDS[place.row.kind]
    assert f"real {kind.noun}" in page
    assert f'alt="{"16 rows" if kind.together else kind.one}' in page


# --- bits ----------------------------------------------------------------------------------------


def settings(row):
    """Of a small training."""
    network = {"channels": 8, "channel_mult": [1], "attention_levels": [], "groups": 8, "num_res_blocks": 1}
    small = {"width": 16, "blocks": 1} if row.kind == "table" else network
    schedule = {"name": "linear", "T": 100}
    return {
        "network": small,
        "schedule": schedule,
        "batch_size": 8,
        "images": 32,
        "warmup_images": 0,
        **EXECUTION,
    }


def test_a_run_that_stopped_and_went_on_has_the_same_bytes(place):
    for folder, stops in (("whole", []), ("parts", [1, 3])):
        for stop in [*stops, None]:
            for row in train(place.prepared(), folder, device="cpu", **settings(place.row)):
                if row["step"] == stop:
                    break
    for name in ("model.safetensors", "checkpoints/step-000000004.safetensors"):
        whole, parts = (load_tensors(Path(folder, name))[0] for folder in ("whole", "parts"))
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_sample_is_the_same_bytes_beside_any_others(place, done):
    """In files of three and of twenty, which take two batches; alone, and in another order."""
    for number in (3, 20):
        done("sample", "run", "-n", number, *FEW, "--out", str(number))
    few, many = (np.load(f"{number}/samples.npy") for number in (3, 20))
    assert few.tobytes() == many[:3].tobytes()
    np.testing.assert_array_equal(place.row.read(Path("3")), place.row.read(Path("20"))[:3])
    stream = stream_samples(load("run", "cpu"), 20, evaluations=2)
    for block in stream.only(np.array([19, 2])):
        assert block.space.to_layout(block.images).tobytes() == many[block.indices].tobytes()


def test_the_file_of_a_model_is_enough(place, done, tmp_path, monkeypatch):
    """Elsewhere, and without the data, it gives the same files."""
    monkeypatch.chdir("run")
    done("sample", "model.safetensors", "-n", 3, *FEW, "--out", "../near")
    shutil.copy("model.safetensors", tmp_path)
    (place.folder / "data").rename(place.folder / "away")
    monkeypatch.chdir(tmp_path)
    try:
        done("sample", "model.safetensors", "-n", 3, *FEW, "--out", "far")
    finally:
        (place.folder / "away").rename(place.folder / "data")
    far, near = contents(Path("far")), contents(place.folder / "near")
    assert far.keys() == near.keys()
    far.pop("samples.nc", near.pop("samples.nc", None))  # which holds the time when it was made
    assert far == near
    np.testing.assert_array_equal(place.row.read(Path("far")), place.row.read(place.folder / "near"))


def drawn_from(row, folder, values):
    """(weights, samples) of a small training on values in a row's files."""
    data = prepare(row.write(folder / "data", values), holdout=0, **row.flags)
    list(train(data, folder / "run", device="cpu", **{**settings(row), "images": 16}))
    model = load(folder / "run", "cpu")
    return model.net.state_dict(), sample(model, 3, evaluations=3).images.astype(float)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.units])
def test_units_of_channels_change_nothing_but_the_samples(name, tmp_path):
    """To the bit where scales are powers of two and no offset is added, else to rounding."""
    row = ROWS[name]
    scale, offset = row.units
    weights, drawn = drawn_from(row, tmp_path / "own", row.values)
    steps = {"table": np.array([0.1, 0.01, 0, 1])}.get(row.kind, np.dtype(row.dtype).kind in "iu")
    axes = (0, *range(2, drawn.ndim))
    for exact, shift in ((True, 0 * offset), (False, offset)):
        values = (row.values * scale + shift).astype(row.values.dtype)
        other, again = drawn_from(row, tmp_path / f"exact {exact}", values)
        if exact:
            assert all(torch.equal(weights[key], other[key]) for key in weights)
        rounding = steps * (1 + 1 / scale) / 2 + (
            0 if exact else 1e-3 * np.nanstd(drawn, axes, keepdims=True)[0]
        )
        back = (again - shift) / scale
        np.testing.assert_array_equal(np.isnan(back), np.isnan(drawn))
        assert (np.nan_to_num(np.abs(back - drawn)) <= rounding + 1e-12).all()


def test_monotone_maps_of_columns_change_no_weights_and_keep_the_order(tmp_path):
    """Logarithms, powers: what the model sees of a number is its rank."""
    row = ROWS["a table in a CSV"]
    mapped = row.values.copy()
    mapped[:, 0], mapped[:, 1] = np.exp(row.values[:, 0] / 5), row.values[:, 1] ** 3
    (weights, drawn), (other, again) = (
        drawn_from(row, tmp_path / name, values) for name, values in (("own", row.values), ("mapped", mapped))
    )
    assert all(torch.equal(weights[key], other[key]) for key in weights)
    for j in (0, 1):
        there = ~np.isnan(drawn[:, j])
        np.testing.assert_array_equal(there, ~np.isnan(again[:, j]))
        places = [
            np.searchsorted(np.sort(values[:, j]), found[there, j] + 1e-9)
            for values, found in ((row.values, drawn), (mapped, again))
        ]
        np.testing.assert_array_equal(*places)
