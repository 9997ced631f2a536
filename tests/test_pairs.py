"""Grids that are told beside samples: read in pairs, moved alike, stored, sampled, written and refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from alphabar.data import Dataset, Grid, PictureCondition, Space, prepare
from alphabar.data.conditions import kinds
from alphabar.data.conditions.base import is_told
from alphabar.data.conditions.kinds import fitted
from alphabar.evaluation.asked import how_well_met
from alphabar.evaluation.comparison import embed
from alphabar.evaluation.conditioning import check_conditions
from alphabar.evaluation.features import pixel_features
from alphabar.files import DamagedFile
from alphabar.model import Denoiser, fit_codec, load, save
from alphabar.nn import build_network
from alphabar.runs import Run, train
from alphabar.runs.given import read_samples
from alphabar.sampling import sample
from alphabar.sampling.output import write_samples
from alphabar.sampling.sheets import with_told
from alphabar.sampling.told import told_by
from alphabar.theory.schedule import Schedule
from tiny import NETWORK, tiny_config

RNG = np.random.default_rng(0)
PHOTOS = RNG.integers(0, 256, (12, 12, 16, 3), dtype=np.uint8)
EDGES = (PHOTOS.mean(3) > 128).astype(np.uint8) * 255
PICTURE = PictureCondition(space=Space((1, 8, 8)).to_dict())


def written(folder, images, ending, names=None):
    """Pictures in files of a new folder."""
    for i, image in enumerate(images):
        path = folder / f"{names[i] if names else f'{i:02d}'}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


@pytest.fixture
def folders(tmp_path):
    return written(tmp_path / "photos", PHOTOS, ".png"), written(tmp_path / "edges", EDGES, ".bmp")


def of_squares(n=40, shuffled=False):
    """Pictures of noise, bright where they are told to be; or told where others are."""
    rng = np.random.default_rng(0)
    places = rng.integers(0, 5, (n, 2))
    told = np.zeros((n, 1, 8, 8), np.uint8)
    for grid, (y, x) in zip(told, places, strict=True):
        grid[0, y : y + 4, x : x + 4] = 255
    images = (0.8 * told + rng.integers(0, 50, told.shape)).astype(np.uint8)
    told = told[rng.permutation(n)] if shuffled else told
    data = Dataset(images, Space((1, 8, 8)), {"where": PICTURE}, {"where": told}, f"{n} {shuffled}", 0.2)
    data.conditions = fitted(data.conditions, data.values, data.training)
    return data


def model_of(data, network="unet", dropout=0.1):
    """A small network with random weights everywhere."""
    torch.manual_seed(0)
    settings = {**NETWORK, "attention_levels": []}
    if network == "vit":
        settings = {"name": "vit", "channels": 16, "blocks": 1, "head_channels": 8, "patch": 4}
    conditions = {name: replace(c, dropout=dropout) for name, c in data.conditions.items()}
    net = build_network(settings, data.space.shape, {name: c.shape for name, c in conditions.items()})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    codec = fit_codec(data.space, np.asarray(data.images))
    return Denoiser(net, Schedule.linear(100), "v", codec, conditions).eval().requires_grad_(False)


# --- the condition -------------------------------------------------------------------------------


def test_black_is_not_what_is_not_told_and_a_constant_channel_has_no_scale():
    values = np.stack([np.full((2, 3, 3), 5.0), np.full((2, 3, 3), 5.0)])
    values[0, 0] = 1.0
    known = PictureCondition(space=Space((2, 3, 3), "float64", None, None).to_dict()).fitted(values)
    assert (known.mean, known.scale) == ((3.0, 5.0), (2.0, 1.0))
    one, two, none = known.encode([values[0], values[1], None])
    assert (one[0] == -1).all()
    assert (two[0] == 1).all()
    assert not one[1].any()
    assert (one[2] == 1).all()
    assert not none.any()
    assert known.shape == (3, 3, 3)


def test_what_is_missing_in_a_grid_is_told_as_missing_there_alone():
    values = np.arange(24.0).reshape(2, 1, 3, 4)
    values[0, 0, 1] = math.nan
    values[1] = math.nan
    assert is_told(values).tolist() == [True, False]
    known = PictureCondition(space=Space((1, 3, 4), "float64", None, None).to_dict()).fitted(values)
    assert known.mean == pytest.approx((np.nanmean(values[0]),))
    encoded = known.encode(values)
    assert encoded[0, 1].tolist() == [[1] * 4, [0] * 4, [1] * 4]
    assert not encoded[0, 0, 1].any()
    assert not encoded[1].any()
    assert known.value(values[1]) is None
    with pytest.raises(ValueError, match="infinity"):
        known.value(np.full((1, 3, 4), math.inf))
    with pytest.raises(ValueError, match=r"numbers 1 × 3 × 4, got float64 \(3, 4\)"):
        known.value(values[0, 0])


def test_one_grid_is_for_all_samples_and_several_are_one_each():
    grids = RNG.integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
    assert PICTURE.is_one(grids[0])
    assert [np.asarray(v).tolist() for v in PICTURE.values("where", grids[0], 2)] == [grids[0].tolist()] * 2
    mixed = [Grid(grids[0], "a.png"), None, grids[2].tolist()]
    found = PICTURE.values("where", mixed, 3)
    assert [PICTURE.title(v) for v in found] == ["a.png", "none", Grid(grids[2].astype(int)).said()]
    with pytest.raises(ValueError, match="where must be one value, or 2 of them, got 3"):
        PICTURE.values("where", grids, 2)
    with pytest.raises(
        ValueError, match="where: a value must be an array 1 × 8 × 8; the commands take a fil"
    ):
        PICTURE.values("where", "a.png", 1)
    assert PICTURE.values("where", "none", 1) == [None]


def test_a_model_keeps_no_grids_and_large_ones_are_fitted_to_some(monkeypatch):
    data = of_squares()
    conditions = {**data.conditions, "place": replace(PICTURE, mean=())}
    values = dict.fromkeys(conditions, data.values["where"])
    assert not any(c.examples for c in fitted(conditions, values, data.training).values())
    grids = {"where": RNG.integers(0, 256, (30, 1, 8, 8), dtype=np.uint8)}
    whole = fitted({"where": PICTURE}, grids, np.arange(30))["where"]
    assert whole.mean == pytest.approx((grids["where"].mean(),))
    monkeypatch.setattr(kinds, "LOOKED_AT", 3 * math.prod(PICTURE.shape))
    few, again = (fitted({"where": PICTURE}, grids, np.arange(30))["where"] for _ in range(2))
    assert few == again != whole


def test_what_is_looked_for_in_samples_is_means_of_parts():
    wide = PictureCondition(space=Space((1, 20, 3)).to_dict())
    encoded = RNG.standard_normal((2, 2, 20, 3))
    found = wide.summary(encoded)
    assert found.shape == (2, 1, 8, 3)
    assert found[1, 0, 0, 2] == pytest.approx(encoded[1, 0, :2, 2].mean())
    assert found[0, 0, -1, 0] == pytest.approx(encoded[0, 0, 17:, 0].mean())


@pytest.mark.parametrize("name", ["unet", "vit"])
def test_networks_read_a_grid_place_by_place(name):
    data = of_squares()
    model, x = model_of(data, name), torch.randn(2, 1, 8, 8)
    cond = model.told({"where": data.values["where"][:2]}, 2)
    assert cond["where"].shape == (2, 2, 8, 8)
    told, untold = model(x, 50, cond), model(x, 50)
    assert not torch.equal(told, untold)
    assert torch.equal(model(x, 50, model.told({"where": [None] * 2}, 2)), untold)


def test_networks_without_places_refuse_a_grid():
    with pytest.raises(ValueError, match=r"mlp takes conditions of shape \(K,\), and where has \(2, 8, 8\)"):
        build_network({"name": "mlp"}, (64,), {"where": (2, 8, 8)})


# --- where it comes from -------------------------------------------------------------------------


def test_pairs_are_matched_by_name_and_read_as_the_pictures_are(folders):
    photos, edges = folders
    data = prepare(photos, pairs=str(edges), size=(6, 8), holdout=0)
    alone, other = (prepare(folder, size=(6, 8), holdout=0) for folder in folders)
    np.testing.assert_array_equal(data.images[:], alone.images[:])
    np.testing.assert_array_equal(data.values["picture"][:], other.images[:])
    assert data.conditions["picture"].shape == (2, 6, 8)
    assert data.fingerprint not in (alone.fingerprint, other.fingerprint)
    assert any("told a picture each from" in note for note in data.notes)
    again = prepare(photos, pairs=str(edges), size=(6, 8), holdout=0)
    assert again.fingerprint == data.fingerprint
    masks = prepare(photos, pairs=str(edges), size=(6, 8), holdout=0, pairs_resize="nearest")
    assert set(np.unique(masks.values["picture"][:])) == {0, 255}
    np.testing.assert_array_equal(masks.images[:], alone.images[:])
    Image.fromarray(255 - EDGES[3]).save(edges / "03.bmp")
    assert prepare(photos, pairs=str(edges), size=(6, 8), holdout=0).fingerprint != data.fingerprint


def test_every_picture_needs_its_pair_and_names_must_be_plain(folders, tmp_path):
    photos, edges = folders
    written(edges, EDGES[:1], ".png", ["unused"])
    notes = prepare(photos, pairs=str(edges), size=8).notes
    assert any("pairs of no picture: unused.png (1 of 13)" in note for note in notes)
    written(edges, EDGES[:1], ".png", ["03"])
    with pytest.raises(ValueError, match=r"pairs are not plain: 03.bmp, 03.png of .* have one name"):
        prepare(photos, pairs=str(edges), size=8)
    (edges / "03.bmp").unlink()
    (edges / "03.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 12 pictures have no pair in .*: 03.png. Each needs one"):
        prepare(photos, pairs=str(edges), size=8)
    (edges / "03.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"1 of 12 pictures cannot be read: 03.png|1 of 12 pairs .*: 03.png"):
        prepare(photos, pairs=str(edges), size=8)
    names = [f"{'ab'[i % 2]}/{i // 2}" for i in range(12)]
    deep, flat = (
        written(tmp_path / "deep", PHOTOS, ".png", names),
        written(tmp_path / "as", EDGES, ".png", names),
    )
    data = prepare(deep, pairs=str(flat), size=(12, 16), holdout=0)
    assert set(data.conditions) == {"picture", "class"}
    order = sorted(range(12), key=lambda i: names[i])
    np.testing.assert_array_equal(data.values["picture"][:, 0], EDGES[order])


def test_arrays_are_matched_by_number_and_told_by_key_or_from_python(tmp_path):
    images, edges = np.moveaxis(PHOTOS, 3, 1), EDGES[:, None]
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "edges.npy", edges)
    np.savez(tmp_path / "both.npz", images=images, edges=edges, age=np.arange(12.0))
    by_pairs = prepare(tmp_path / "images.npy", pairs=str(tmp_path / "edges.npy"), holdout=0)
    by_kind = prepare(tmp_path / "both.npz", conditions="edges=picture", holdout=0)
    by_name = prepare(f"{tmp_path / 'both.npz'}:images,age,edges", holdout=0)
    given = prepare((images, {"edges": edges, "age": range(12)}), holdout=0)
    tensors = prepare((images, {"edges": torch.from_numpy(edges)}), holdout=0)
    for data in (by_pairs, by_kind, by_name, given, tensors):
        grids = data.values["picture" if data is by_pairs else "edges"]
        np.testing.assert_array_equal(grids[:], edges)
    assert set(by_name.conditions) == set(given.conditions) == {"age", "edges"}
    assert given.conditions == by_name.conditions


def test_a_grid_of_lower_resolution_is_told_at_several_places_each(tmp_path):
    fine = RNG.normal(size=(12, 2, 8, 8)).astype(np.float32)
    coarse = fine.reshape(12, 2, 4, 2, 2, 4).mean((3, 5))
    np.save(tmp_path / "fine.npy", fine)
    np.save(tmp_path / "coarse.npy", coarse)
    data = prepare(tmp_path / "fine.npy", layout="CHW", pairs=str(tmp_path / "coarse.npy"), holdout=0)
    condition = data.conditions["picture"]
    assert (condition.own_shape, condition.shape, condition.times) == ((2, 4, 2), (3, 8, 8), (2, 4))
    same = replace(condition, space=data.space.to_dict(), times=())
    repeated = coarse.repeat(2, 2).repeat(4, 3)
    np.testing.assert_array_equal(condition.encode(coarse), same.encode(repeated))
    np.testing.assert_allclose(
        condition.summary(condition.encode(coarse)), same.summary(same.encode(repeated)), atol=1e-6
    )
    with pytest.raises(ValueError, match="picture, 4 × 2, isn't square, and can't be turned alike"):
        data.batch(0, 0, 4, turns=True)
    save(model_of(data), tmp_path / "m.safetensors")
    model = load(tmp_path / "m.safetensors", "cpu")
    assert model.conditions["picture"].times == (2, 4)
    drawn = sample(model, 2, cond={"picture": coarse[:2]}, evaluations=2)
    write_samples(tmp_path / "s", drawn)
    assert read_samples(tmp_path / "s").told["picture"][1].array.shape == (2, 4, 2)


def test_a_series_is_told_its_past(tmp_path):
    series = RNG.standard_normal((10, 40)).cumsum(1).astype(np.float32)
    np.savez(tmp_path / "s.npz", future=series[:, 20:], past=series[:, :20])
    data = prepare(f"{tmp_path / 's.npz'}:future", layout="L", conditions="past=picture", holdout=0)
    assert data.space.kind == "series"
    assert data.conditions["past"].shape == (2, 20)
    np.testing.assert_array_equal(data.values["past"][:, 0], series[:, :20])
    np.save(tmp_path / "long.npy", series)
    cut = prepare(tmp_path / "long.npy", layout="L", rate=1, window=10, pairs=str(tmp_path / "long.npy"))
    np.testing.assert_array_equal(cut.values["picture"][:], cut.images[:])


def test_what_is_told_at_several_places_is_mirrored_and_turned_alike():
    fine = RNG.integers(0, 256, (9, 1, 4, 4), dtype=np.uint8).repeat(2, 2).repeat(2, 3)
    data = prepare((fine, {"low": fine[:, :, ::2, ::2]}), layout="CHW")
    for k in range(3):
        batch = data.batch(5, k, 16, flip=True, turns=True)
        np.testing.assert_array_equal(batch.values["low"].repeat(2, 2).repeat(2, 3), batch.images)


@pytest.mark.parametrize("crop", [None, 4])
def test_what_is_told_is_mirrored_turned_and_cut_as_the_sample_is(tmp_path, crop):
    images = RNG.integers(0, 256, (9, 1, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=images, same=images)
    data = prepare(f"{tmp_path / 'x.npz'}:images,same", crop=crop)
    for k in range(3):
        batch = data.batch(5, k, 16, flip=True, turns=True)
        np.testing.assert_array_equal(batch.values["same"], batch.images)
    fixed = data.take(np.arange(len(data.images)))
    np.testing.assert_array_equal(fixed.values["same"], fixed.images)
    assert data.conditions["same"].own_shape == data.space.shape


@pytest.mark.parametrize(
    ("told", "settings", "message"),
    [
        ({"edges": EDGES[:5]}, {}, "edges must be one for each of 12 samples, got 5"),
        (
            {"edges": EDGES[:, :5]},
            {},
            "must have the sides of a sample, 12 × 16, or such as divide them; got 5",
        ),
        ({"edges": EDGES[:, ::2, ::2]}, {"crop": 4}, "grids of lower resolution .* aren't cut: repeat their"),
        ({"edges": EDGES}, {"conditions": "edges=vector"}, "edges"),
        ({"edges": np.full((12, 12, 16), math.inf)}, {"conditions": "edges=picture"}, "infinity|layout"),
    ],
    ids=str,
)
def test_grids_that_cannot_be_told_are_refused(told, settings, message):
    with pytest.raises(ValueError, match=message):
        prepare((PHOTOS, told), **settings)


def test_pairs_of_another_form_are_refused(folders, tmp_path):
    photos, edges = folders
    np.save(tmp_path / "edges.npy", EDGES)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n5,6\n")
    for data, settings, message in (
        (
            photos,
            {"pairs": str(tmp_path / "edges.npy")},
            "pairs must be in the form of the data, .* pictures",
        ),
        (
            tmp_path / "edges.npy",
            {"pairs": str(edges)},
            "pairs must be in the form of the data, which are an",
        ),
        (tmp_path / "t.csv", {"pairs": str(edges)}, "pairs is for .*, which these data are not"),
        (photos, {"pairs": str(edges), "frames": "all"}, "frames all makes several samples of a file"),
        (photos, {"pairs_resize": "nearest"}, "pairs_resize is for pairs: give these, or leave it out"),
        (photos, {"pairs": str(tmp_path / "gone")}, "gone"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            prepare(data, size=8 if data == photos else None, **settings)


# --- where it goes -------------------------------------------------------------------------------


def test_a_samples_bytes_depend_on_its_own_grid_alone(tmp_path):
    data = of_squares()
    save(model_of(data), tmp_path / "m.safetensors")
    model = load(tmp_path / "m.safetensors", "cpu")
    grids = data.values["where"][:3]
    drawn = sample(model, 3, cond={"where": grids}, evaluations=3, guidance=2.0)
    one = sample(model, indices=[1], cond={"where": grids[1]}, evaluations=3, guidance=2.0)
    assert one.images.tobytes() == drawn.images[1:2].tobytes()
    mixed = sample(model, 3, cond={"where": [grids[0], None, grids[2]]}, evaluations=3)
    plain = sample(model, 3, evaluations=3)
    assert mixed.images[1].tobytes() == plain.images[1].tobytes()
    assert mixed.images[2].tobytes() != plain.images[2].tobytes()
    assert plain.told == {"where": [None] * 3}
    with pytest.raises(ValueError, match="holds no pictures to draw from, and training never hid this one"):
        sample(model_of(data, dropout=0.0), 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": 3}, "kind must be"),
        ({"dtype": "float3"}, "float3"),
        ({"more": 1}, "more"),
        ({"kind": "x"}, "'x'"),
    ],
    ids=str,
)
def test_a_file_with_a_grid_that_cannot_be_is_refused(tmp_path, changed, message):
    model = model_of(of_squares())
    grid = model.conditions["where"]
    model.conditions["where"] = replace(grid, space={**grid.space, **changed})
    save(model, tmp_path / "m.safetensors")
    with pytest.raises(DamagedFile, match=message):
        load(tmp_path / "m.safetensors", "cpu")


def test_what_was_told_is_written_beside_samples_and_read_again(tmp_path):
    data = of_squares()
    model, grids = model_of(data), data.values["where"]
    told = [Grid(grids[0], "a.png"), None, Grid(grids[0], "b.png"), Grid(grids[2])]
    drawn = sample(model, 4, cond={"where": told}, evaluations=2)
    write_samples(tmp_path / "s", drawn)
    facts = json.loads((tmp_path / "s" / "samples.json").read_text())
    assert [entry and entry["name"] for entry in facts["told"]["where"]] == ["a.png", None, "b.png", ""]
    assert len(np.load(tmp_path / "s" / "told-where.npy")) == 2
    rows = (tmp_path / "s" / "labels.csv").read_text().splitlines()
    assert rows == ["file_name,where", "000000.png,a.png", "000001.png,", "000002.png,b.png",
                    f"000003.png,{told[3].digest[:12]}"]  # fmt: skip
    again = read_samples(tmp_path / "s")
    assert [entry and entry.name for entry in again.told["where"]] == ["a.png", None, "b.png", ""]
    np.testing.assert_array_equal(again.told["where"][3], grids[2])
    same = sample(model, 4, cond=again.told, evaluations=2)
    assert same.images.tobytes() == drawn.images.tobytes()
    shown = with_told(drawn.space.shown(drawn.images), drawn.told, model.conditions)
    assert shown.shape == (4, 1, 8, 18)
    np.testing.assert_array_equal(shown[0, :, :, :8], grids[0])
    np.testing.assert_array_equal(shown[:, :, :, 10:], drawn.images)
    (tmp_path / "s" / "told-where.npy").unlink()
    with pytest.raises(DamagedFile, match=r"told-where.npy doesn't hold the grids that samples.json tells"):
        read_samples(tmp_path / "s")


def test_the_commands_take_files_and_folders_of_pictures(tmp_path, done, refused):
    photos, edges = written(tmp_path / "p", PHOTOS, ".png"), written(tmp_path / "e", EDGES, ".png")
    data = prepare(photos, pairs=str(edges), size=8)
    save(model_of(data), tmp_path / "m.safetensors")
    how = ["sample", tmp_path / "m.safetensors", "--steps", 1]

    def told_in(folder):
        return [
            entry and entry["name"]
            for entry in json.loads((tmp_path / folder / "samples.json").read_text())["told"]["picture"]
        ]

    done(*how, "--cond-from", edges, "--out", tmp_path / "each")
    assert told_in("each") == [f"{i:02d}.png" for i in range(12)]
    with Image.open(tmp_path / "each" / "grid.png") as grid:
        assert grid.width > 1.5 * grid.height  # what is told is beside each
    done(*how, "--cond", f"picture={edges / '01.png'}", "-n", 2, "--guidance", 2, "--out", tmp_path / "one")
    assert told_in("one") == ["01.png"] * 2
    (tmp_path / "t.json").write_text(json.dumps([{"picture": str(edges / "02.png")}, {"picture": None}]))
    done(*how, "--cond-from", tmp_path / "t.json", "--out", tmp_path / "table")
    assert told_in("table") == ["02.png", None]
    _, said = done(*how, "-n", 1, "--out", tmp_path / "none")
    assert "told no picture: --cond picture=FILE tells one" in said
    vary = ["edit", "vary", tmp_path / "m.safetensors", photos / "00.png", "--t", 50, "-n", 1, "--steps", 2]
    done(*vary, "--cond", f"picture={edges / '00.png'}", "--out", tmp_path / "varied")
    assert told_in("varied") == ["00.png"]
    for arguments, message in (
        (["--cond", "picture=gone.png"], "no such file: gone.png"),
        (["--cond-from", edges, "--cond", f"picture={edges / '01.png'}"], "is left to be told none"),
        (["--guidance", 2], "guidance leads towards what is told: give a picture"),
    ):
        assert message in refused(*how, *arguments, "--out", tmp_path / "no")
    done("data", photos, "--pairs", edges, "--size", 8, "--out", tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1.5 * sheet.height


def test_half_a_run_told_pictures_and_the_rest_are_the_whole_run(tmp_path):
    config = tiny_config(
        network={**NETWORK, "attention_levels": []}, images=64, condition_dropout=0.3, flip=True
    )
    data = of_squares()
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    list(Run(whole, data, config).train())
    for row in Run(parts, data, config).train():
        if row["step"] == 3:
            break
    again = Run(parts, of_squares(), config)
    list(again.train())
    assert again.resumed_from is not None
    a, b = (load(run, "cpu").net.state_dict() for run in (whole, parts))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert load(whole).conditions["where"].dropout == 0.3
    assert len(list((whole / "previews").iterdir())) == 1
    told = told_by(data, load(whole, "cpu"), 30)["where"]
    np.testing.assert_array_equal(told[: len(data.held_out)], data.values["where"][data.held_out])


# --- is it used ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[False, True], ids=["healthy", "shuffled"])
def trained(request, tmp_path_factory):
    """(whether it was shuffled, its data, the model)."""
    data = of_squares(400, request.param)
    folder = tmp_path_factory.mktemp("pairs") / "run"
    settings = {"schedule": {"name": "cosine", "T": 100}, "batch_size": 32, "lr": 4e-3, "optimizer": "adamw"}
    network = {**NETWORK, "attention_levels": [], "middle_attention": False}
    list(train(data, folder, network=network, images=6400, warmup_images=320, previews=False, **settings))
    return request.param, data, load(folder, "cpu")


def test_the_check_accepts_pairs_and_refuses_shuffled_ones(trained):
    shuffled, data, model = trained
    assert check_conditions(model, data)["where"].used == (not shuffled)


def test_samples_are_bright_where_they_are_told_to_be(trained):
    shuffled, _, model = trained
    data = of_squares(400)
    told = data.values["where"][:48]
    drawn = sample(model, 48, cond={"where": told}, evaluations=10)
    inside, outside = (drawn.images[mask].mean() for mask in (told > 0, told == 0))
    assert (inside - outside > 100) == (not shuffled)
    (met,) = how_well_met(embed(drawn.images, data, pixel_features(data)), drawn.told, model.conditions)
    assert met.kind == "picture"
    assert met.real > 0.9
    assert (met.samples > 0.7) == (not shuffled)
