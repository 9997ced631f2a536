"""Fields: floats on a plane, with channels of any scale, numbers that are missing, and files of their own."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch

from alphabar.cli.read import read_sample
from alphabar.data import Dataset, Space, prepare
from alphabar.data.missing import packed, unpacked
from alphabar.data.sources.grid_files import check_grid, grid_files
from alphabar.evaluation.comparison import compare
from alphabar.evaluation.features import pixel_features
from alphabar.model import Batched, fit_codec
from alphabar.model.file import load, save
from alphabar.sampling import sample
from alphabar.training.objectives import Draws, denoise
from alphabar.training.trainer import Trainer
from program import TINY
from tiny import tiny_config

N, SIDES = 40, (8, 12)
LAND = np.zeros((2, *SIDES), bool)
LAND[0, 2:6, 3:9] = True
LAND[1, 0] = True


def weather(seed=0, land=True):
    """(N, 2, 8, 12) float32: smooth waves in kelvins, and steeper ones in meters a second."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (N, 2, 1, 1))
    wave = np.sin(phase + np.arange(SIDES[1]) / 3 + np.arange(SIDES[0])[:, None] / 2)
    values = (
        np.array([285.0, 0.0]).reshape(2, 1, 1) + np.array([9.0, 0.3]).reshape(2, 1, 1) * wave**3
    ).astype(np.float32)
    if land:
        values[:, LAND] = np.nan
    return values


def noted(data, words):
    return any(words in note for note in data.notes)


def trained(data, updates, **settings):
    trainer = Trainer(tiny_config(schedule={"name": "cosine", "T": 100}, **settings), data)
    for _ in range(updates):
        trainer.update()
    return trainer


# --- normalization -------------------------------------------------------------------------------


def test_floats_on_a_plane_are_fields_of_mean_0_and_deviation_1_and_nothing_is_cut_off():
    values = weather(land=False)
    data = prepare(values, holdout=0)
    assert (data.space.kind, data.space.bounds) == ("field", None)
    assert noted(data, "each channel of these fields is seen with mean 0 and standard deviation 1")
    assert noted(data, "channel 0 276 to 294, channel 1 -0.3 to 0.3")
    codec = fit_codec(data.space, data.images)
    x_0 = codec.encode(data.images)
    np.testing.assert_allclose(x_0.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(x_0.std((0, 2, 3)), 1, atol=1e-6)
    far = codec.decode(np.full((1, 2, *SIDES), 20, np.float32))
    assert far[0, 0, 0, 0] > values.max() + 50


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1)])
def test_floats_from_0_or_minus_1_to_1_of_as_many_channels_as_pictures_have_are_pictures(low, high):
    values = np.linspace(low, high, 6 * 3 * 64).reshape(6, 3, 8, 8)
    space = prepare(values).space
    assert (space.kind, space.low, space.high) == ("picture", (low,) * 3, (high,) * 3)
    assert prepare(values[:, :2]).space.kind == "field"
    assert prepare(values * 1.01).space.kind == "field"


def test_a_range_makes_pictures_of_floats_and_its_ends_are_bounds():
    space = prepare(weather(land=False)[:, :1], range=(200, 300)).space
    assert (space.kind, space.low, space.high) == ("picture", (200,), (300,))


def test_values_outside_a_range_are_refused_or_cut_off_and_counted():
    values = np.linspace(-1000, 3000, 6 * 64).reshape(6, 1, 8, 8).astype(np.int16)
    with pytest.raises(ValueError, match=r"values reach from -1000 to 3000, outside .*--clip"):
        prepare(values, range=(-160, 240))
    data = prepare(values, range=(-160, 240), clip=True, holdout=0)
    np.testing.assert_array_equal(data.images, values.clip(-160, 240))
    assert (data.space.dtype, data.space.low, data.space.high) == ("int16", (-160,), (240,))
    below, above = (values < -160).sum(), (values > 240).sum()
    assert noted(data, f"{below} values below -160 and {above} above 240 were cut off there")
    with pytest.raises(ValueError, match="clip cuts values off at the ends of a range: give that as well"):
        prepare(values, clip=True)


# --- missing numbers -----------------------------------------------------------------------------


def test_what_every_sample_lacks_is_found_kept_and_said(tmp_path):
    values = weather()
    np.save(tmp_path / "d.npy", values)
    data = prepare(tmp_path / "d.npy", holdout=0)
    np.testing.assert_array_equal(data.space.absent, LAND)
    assert noted(data, f"{LAND.sum()} of the {LAND.size} numbers of each sample are missing (NaN)")
    again = Space(**json.loads(json.dumps(data.space.to_dict())))
    assert again == data.space
    np.testing.assert_array_equal(again.absent, LAND)
    x_0 = fit_codec(data.space, data.images).encode(data.images)
    assert not x_0[:, LAND].any()
    np.testing.assert_allclose(x_0[:, 0][:, ~LAND[0]].std(), 1, atol=1e-6)


def test_what_some_samples_lack_is_refused_naming_one():
    values = weather()
    values[30, 1, 5, 5] = np.nan
    with pytest.raises(ValueError, match=r"other places of sample 30, 37 of them, than of sample 0, 36"):
        prepare(values)
    values = weather(land=False)
    values[30, 1, 5, 5] = np.nan
    with pytest.raises(ValueError, match=r"not finite .* first in sample 30"):
        prepare(values)
    values = weather()
    values[:, 1] = np.nan
    with pytest.raises(ValueError, match="all values of channel 1 are missing"):
        prepare(values)


def clouded(seed=0, land=True):
    """Weather under a cloud of its own in each sample: (N, 2, *SIDES), and where the clouds are."""
    values = weather(seed, land)
    clouds = np.zeros(values.shape, bool)
    for i, cloud in enumerate(clouds):
        cloud[:, i % 5 : i % 5 + 3, i % 7 : i % 7 + 4] = True
    return np.where(clouds, np.nan, values).astype(np.float32), clouds


def test_gaps_are_found_beside_what_all_lack_and_do_not_count_in_the_normalization():
    values, clouds = clouded()
    data = prepare(values, gaps=True, holdout=0)
    assert data.space.kind == "field"
    np.testing.assert_array_equal(data.space.absent, LAND)
    share = (clouds & ~LAND).mean()
    assert noted(data, f"{share:.2%} of the numbers are missing (NaN) here and there")
    codec = fit_codec(data.space, data.images)
    np.testing.assert_allclose(codec.offset, np.nanmean(values, (0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(codec.scale, np.nanstd(values, (0, 2, 3)), rtol=1e-5)
    assert not codec.encode(values)[np.isnan(values)].any()
    values[0, 1] = np.nan  # a channel that the first sample lacks
    codec = fit_codec(data.space, values)
    np.testing.assert_allclose(codec.offset, np.nanmean(values, (0, 2, 3)), rtol=1e-5)
    values[3] = np.nan
    with pytest.raises(ValueError, match="sample 3 holds infinity, or no number at all"):
        prepare(values, gaps=True)
    with pytest.raises(ValueError, match="gaps are for fields and volumes, and these are series"):
        prepare(np.zeros((9, 2, 30), np.float32), layout="CL", gaps=True)


def test_the_network_sees_nothing_in_the_gaps_and_samples_are_full():
    values, _ = clouded()
    data = prepare(values, gaps=True, holdout=0)
    trainer = trained(data, 2)
    inputs = trainer.inputs(0)
    assert not inputs.x_0[inputs.known == 0].any()
    seen = []
    model = trained(data, 2).model
    x_0, known = torch.from_numpy(inputs.x_0), torch.from_numpy(inputs.known)
    call = model.call
    model.call = lambda net, weights, arguments: seen.append(arguments[0]) or call(net, weights, arguments)
    eps = torch.randn(x_0.shape, requires_grad=True)
    draws = Draws(inputs.t, eps, known)
    losses = denoise(model, "v", x_0, {}, draws)["loss"]
    losses.sum().backward()
    assert not seen[0][known == 0].any()
    assert not eps.grad[known == 0].any()
    assert eps.grad[known == 1].all()
    drawn = sample(trainer.ema, 3, evaluations=2).images
    np.testing.assert_array_equal(np.isnan(drawn), np.broadcast_to(LAND, drawn.shape))
    full = prepare(clouded(land=False)[0], gaps=True, holdout=0)
    assert np.isfinite(sample(trained(full, 1).ema, 3, evaluations=2).images).all()


def test_the_loss_is_the_mean_over_what_is_known_of_each():
    values, _ = clouded(land=False)
    data = prepare(values, gaps=True, holdout=0)
    model = trained(data, 1).model
    model.call = lambda net, weights, arguments: torch.zeros_like(arguments[0])
    x_0, known = (
        torch.from_numpy(model.codec.encode(values[:4])),
        torch.from_numpy((~np.isnan(values[:4])).astype(np.float32)),
    )
    eps, t = torch.randn(x_0.shape), np.array([10.0, 30.0, 60.0, 90.0])
    at = model.schedule.at(t)
    a, s = (torch.tensor(np.sqrt(v)).reshape(-1, 1, 1, 1) for v in (at.alpha_bar, 1 - at.alpha_bar))
    target = (a * eps - s * x_0).square()
    expected = torch.stack([target[i][known[i] == 1].mean() for i in range(4)])
    got = denoise(model, "v", x_0, {}, Draws(t, eps, known))["loss"]
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)


def test_crops_of_data_with_land_have_gaps_of_their_own():
    data = prepare(weather(), crop=4, holdout=0)
    assert data.space.absent is None
    assert noted(data, "of crops, samples are full also where all of the data lack a number")
    assert np.isnan(data.images[:]).any()
    trainer = trained(data, 2)
    assert np.isfinite(trainer.update()["loss"])
    assert np.isfinite(sample(trainer.ema, 2, evaluations=2).images).all()


def test_damaged_masks_are_refused():
    text = packed(LAND)
    np.testing.assert_array_equal(unpacked(text, LAND.shape), LAND)
    for bad, shape in [(text[:-8], LAND.shape), ("x", LAND.shape), (text, (2, 8, 13)), (text, (1, 2, 2))]:
        with pytest.raises(ValueError, match="missing must be a packed mask"):
            Space(shape, "float32", None, None, kind="array", missing=bad)
    with pytest.raises(ValueError, match="samples of uint8 have no missing values"):
        Space(LAND.shape, "uint8", kind="field", missing=text)


def masked_data(under):
    """Data whose missing numbers are `under` in the arrays."""
    values = weather()
    space = Space((2, *SIDES), "float32", None, None, kind="field", missing=packed(LAND))
    return Dataset(np.where(np.isnan(values), np.float32(under), values), space, holdout=0)


@pytest.mark.parametrize("prediction", ["eps", "v", "edm"])
def test_what_stands_under_the_mask_changes_no_bit_of_the_weights(prediction):
    codec = fit_codec(masked_data(np.nan).space, masked_data(np.nan).images)
    states = []
    for under in (np.nan, 1e6):
        trainer = trained(masked_data(np.nan), 0, prediction=prediction)
        trainer.data = masked_data(under)
        assert trainer.model.codec == codec
        for _ in range(3):
            trainer.update()
        states.append(trainer.state())
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


def test_the_loss_has_no_gradient_under_the_mask_and_its_mean_is_over_the_rest():
    data = masked_data(np.nan)
    model = trained(data, 2, prediction="v").model
    x_0 = torch.from_numpy(model.codec.encode(data.images[:4])).requires_grad_()
    eps = torch.randn(4, 2, *SIDES, requires_grad=True)
    seen, put_out = [], []

    def call(net, weights, arguments):
        seen.append(arguments[0])
        put_out.append(torch.zeros_like(arguments[0]).requires_grad_())
        return put_out[0]

    model.call = call
    draws = Draws(np.array([10.0, 30.0, 60.0, 90.0]), eps)
    losses = denoise(model, "v", x_0, {}, draws)["loss"]
    losses.sum().backward()
    land = torch.from_numpy(LAND)
    assert not seen[0][:, land].any()
    for tensor in (x_0, eps, put_out[0]):
        assert not tensor.grad[:, land].any()
        assert tensor.grad[:, ~land].all()
    at = model.schedule.at(draws.t)
    a, s = (torch.tensor(np.sqrt(v)).reshape(-1, 1, 1, 1) for v in (at.alpha_bar, 1 - at.alpha_bar))
    target = a * eps - s * x_0  # v, eq. 12 of arXiv 2202.00512
    expected = target.square()[:, ~land].mean(1)
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-6)


def test_samples_lack_just_what_the_data_lack_by_every_sampler_and_the_file_knows(tmp_path):
    data = masked_data(np.nan)
    model = trained(data, 2).ema
    save(model, tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors", "cpu")
    for sampler in ("ddpm", "ddim", "dpmpp", "unipc"):
        drawn = sample(model, 3, sampler=sampler, evaluations=6).images
        np.testing.assert_array_equal(np.isnan(drawn), np.broadcast_to(LAND, drawn.shape))
        np.testing.assert_array_equal(sample(again, 3, sampler=sampler, evaluations=6).images, drawn)
    noised = sample(model, 2, x_0=data.images[0], start=20, evaluations=3).images
    np.testing.assert_array_equal(np.isnan(noised), np.broadcast_to(LAND, noised.shape))
    with pytest.raises(ValueError, match="x_0 holds values that are not finite"):
        sample(model, 1, x_0=np.full((2, *SIDES), np.nan), start=20)


def test_errors_and_scores_are_of_what_there_is():
    data = masked_data(np.nan)
    model = trained(data, 2).ema
    x_0 = model.codec.encode(data.images[:6])
    eps = np.random.default_rng(0).standard_normal(x_0.shape).astype(np.float32)
    errors = Batched(model).square_errors(x_0, 50.0, eps)
    x_t = np.sqrt(model.schedule.alpha_bar_at(50)) * x_0 + np.sqrt(1 - model.schedule.alpha_bar_at(50)) * eps
    x0_hat = Batched(model)(x_t.astype(np.float32), 50.0)
    np.testing.assert_allclose(errors, np.square(x_0 - x0_hat)[:, ~LAND].mean(1), rtol=1e-5)
    drawn = sample(model, 20, evaluations=3).images
    found = compare(drawn, data, pixel_features(data), errors=0)
    assert all(np.isfinite(score.value) and np.isfinite(score.trivial) for score in found.scores.values())
    with pytest.raises(ValueError, match="a likelihood is of all numbers"):
        _ = model.codec.log2_scale


# --- files ---------------------------------------------------------------------------------------


def write_netcdf(path, values):
    netcdf = pytest.importorskip("netCDF4")
    with netcdf.Dataset(path, "w") as file:
        for name, size in zip(("time", "lat", "lon"), (N, *SIDES), strict=True):
            file.createDimension(name, size)
        for name, size, unit in (("lat", SIDES[0], "degrees_north"), ("lon", SIDES[1], "degrees_east")):
            file.createVariable(name, "f4", (name,))[:] = np.linspace(0, 60, size)
            file[name].units = unit
        sst = file.createVariable("sst", "f4", ("time", "lat", "lon"), fill_value=-999.0)
        sst[:] = np.where(np.isnan(values[:, 0]), -999, values[:, 0])
        sst.units, sst.long_name = "K", "sea surface temperature"
        u = file.createVariable("u", "i2", ("time", "lat", "lon"), fill_value=-32767)
        u.scale_factor, u.units = 0.001, "m s-1"
        u[:] = np.ma.masked_array(np.nan_to_num(values[:, 1]), np.isnan(values[:, 1]))
        file.createVariable("by_lat", "f4", ("lat", "time", "lon"))


def test_variables_of_netcdf_are_channels_and_samples_are_written_as_netcdf(tmp_path, done):
    netcdf = pytest.importorskip("netCDF4")
    values, path = weather(), tmp_path / "d.nc"
    write_netcdf(path, values)
    data = prepare(f"{path}:sst,u", holdout=0)
    space = data.space
    assert (space.kind, space.names, space.units) == ("field", ("sst", "u"), ("K", "m s-1"))
    np.testing.assert_array_equal(data.images[:, 0], values[:, 0])
    np.testing.assert_allclose(data.images[:, 1], values[:, 1], atol=0.0006)  # packed in 16 bits
    np.testing.assert_array_equal(space.absent, LAND)
    with pytest.raises(
        ValueError, match=r"say which variables .* as d\.nc:sst or d\.nc:sst,u; it has .*sst \(40"
    ):
        prepare(path)
    with pytest.raises(ValueError, match="there is no variable v in"):
        prepare(f"{path}:sst,v")
    with pytest.raises(ValueError, match="variables that are channels have one shape"):
        prepare(f"{path}:sst,lat")
    with pytest.raises(ValueError, match=r"the first axis of by_lat .* is lat, and samples must come first"):
        prepare(f"{path}:by_lat")
    run, out = tmp_path / "run", tmp_path / "out"
    done("train", f"{path}:sst,u", "--out", run, "--images", 16, *TINY)
    assert "sst (K), u (m s-1)" in done("info", run)[0]
    done("sample", run, "-n", 3, "--steps", 2, "--out", out)
    drawn = np.load(out / "samples.npy")
    with netcdf.Dataset(out / "samples.nc") as file:
        assert file["sst"].dimensions == ("sample", "lat", "lon")
        assert (file["sst"].units, file["sst"].long_name) == ("K", "sea surface temperature")
        np.testing.assert_allclose(file["lat"][:], np.linspace(0, 60, SIDES[0]), rtol=1e-6)
        assert file["lat"].dtype == np.float32
        np.testing.assert_array_equal(
            np.ma.getmaskarray(file["sst"][:]), np.broadcast_to(LAND[0], (3, *SIDES))
        )
        np.testing.assert_array_equal(np.ma.filled(file["u"][:], np.nan), drawn[:, 1])
    np.testing.assert_array_equal(read_sample(f"{out}/samples.nc:2", space), drawn[2])
    with pytest.raises(ValueError, match=r"has 3 samples \(0, 1, 2\): name one, as .*samples\.nc:0, got 3"):
        read_sample(f"{out}/samples.nc:3", space)


@pytest.mark.parametrize("kind", ["float32", "int16"])
def test_values_along_an_axis_keep_their_type_and_others_are_refused(tmp_path, kind):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["sst"], file["lat"] = weather(land=False)[:, 0], np.arange(SIDES[0], dtype=kind)
        file["sst"].dims[1].label = "lat"
    space = prepare(f"{tmp_path}/d.h5:sst", holdout=0).space
    (_, content), *_ = grid_files(lambda: np.zeros((2, *space.shape), np.float32), space, [0, 1], {})
    with h5py.File(io.BytesIO(content)) as file:
        assert file["lat"].dtype == kind
        np.testing.assert_array_equal(file["lat"], np.arange(SIDES[0]))
    check_grid(space)
    for wrong in ({"dtype": ["float32"]}, {"dtype": "S9"}, {"values": [0.1]}, {"values": "abcdefgh"}):
        space.grid["coordinates"]["lat"] |= wrong
        with pytest.raises(ValueError, match="not on the grid that their space describes"):
            check_grid(space)


def test_data_sets_of_hdf5_are_channels(tmp_path):
    h5py = pytest.importorskip("h5py")
    values, path = weather(land=False), tmp_path / "d.h5"
    with h5py.File(path, "w") as file:
        file["sea/sst"], file["u"] = values[:, 0], values[:, 1]
        file["u"].attrs["units"] = "m s-1"
        file["pictures"] = (values[:, :1] / 2).astype(np.uint8)
        file["levels"] = values.repeat(4, 1)
    data = prepare(f"{path}:sea/sst,u", holdout=0)
    np.testing.assert_array_equal(data.images, values)
    assert (data.space.names, data.space.units) == (("sea/sst", "u"), ("", "m s-1"))
    np.testing.assert_array_equal(read_sample(f"{path}:7", data.space), values[7])
    with pytest.raises(ValueError, match=r"has 40 samples .*: name one, as .*d\.h5:0$"):
        read_sample(str(path), data.space)
    assert prepare(f"{path}:pictures").space.kind == "picture"
    with pytest.raises(ValueError, match="can be read in several ways"):
        prepare(f"{path}:levels")
    assert prepare(f"{path}:levels", layout="CHW").space.names[:2] == ("levels 0", "levels 1")


@pytest.mark.parametrize("form", [2, 3])
def test_arrays_of_zarr_are_channels_and_samples_are_written_as_zarr(tmp_path, done, form):
    zarr = pytest.importorskip("zarr")
    values, path = weather(), tmp_path / "d.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=form)

    def add(name, array, dims, **about):
        named = {"dimension_names": dims} if form == 3 else {}
        made = group.create_array(name, shape=array.shape, dtype=array.dtype, chunks=array.shape, **named)
        made[:] = array
        made.attrs.update(about if form == 3 else about | {"_ARRAY_DIMENSIONS": list(dims)})

    dims = ("time", "lat", "lon")
    add("lat", np.linspace(0, 60, SIDES[0]), ("lat",), units="degrees_north")
    add("sea/sst", values[:, 0], dims, units="K", long_name="sea surface temperature")
    packed = np.where(np.isnan(values[:, 1]), -32767, np.rint(values[:, 1] * 1000)).astype(np.int16)
    add("u", packed, dims, units="m s-1", scale_factor=0.001, _FillValue=-32767)
    data = prepare(f"{path}:sea/sst,u", holdout=0)
    space = data.space
    assert (space.kind, space.names, space.units) == ("field", ("sea/sst", "u"), ("K", "m s-1"))
    np.testing.assert_array_equal(data.images[:, 0], values[:, 0])
    np.testing.assert_allclose(data.images[:, 1], values[:, 1], atol=0.0006)
    with pytest.raises(
        ValueError, match=r"say which variables .* as d\.zarr:\S+ or d\.zarr:(u,sea/sst|sea/sst,u);"
    ):
        prepare(path)
    done("train", f"{path}:sea/sst,u", "--out", tmp_path / "run", "--images", 8, *TINY)
    done("sample", tmp_path / "run", "-n", 3, "--steps", 1, "--out", tmp_path / "out")
    drawn, made = (
        np.load(tmp_path / "out/samples.npy"),
        zarr.open_group(tmp_path / "out/samples.zarr", mode="r"),
    )
    assert made["u"].metadata.dimension_names == ("sample", "lat", "lon")
    assert dict(made["sea/sst"].attrs) == {"units": "K", "long_name": "sea surface temperature"}
    np.testing.assert_allclose(made["lat"][:], np.linspace(0, 60, SIDES[0]))
    np.testing.assert_array_equal(np.stack([made["sea/sst"][:], made["u"][:]], 1), drawn)
    np.testing.assert_array_equal(prepare(f"{tmp_path}/out/samples.zarr:sea/sst,u", holdout=0).images, drawn)
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ValueError, match="is damaged or no Zarr store"):
        prepare(f"{tmp_path}/empty.zarr:u")


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    for name, package in (("d.nc", "netCDF4"), ("d.h5", "h5py"), ("d.zarr", "zarr")):
        (tmp_path / name).write_bytes(b"anything")
        monkeypatch.setitem(__import__("sys").modules, package, None)
        extra = "zarr" if package == "zarr" else "fields"
        words = rf"need the package {package}: pip install 'alphabar\[{extra}\]'"
        with pytest.raises(ValueError, match=words):
            prepare(f"{tmp_path / name}:a")
