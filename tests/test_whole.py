"""Crops are told where they lie, and whole samples are put together of parts that are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import alphabar as ab
from alphabar.data import Space, prepare
from alphabar.data.conditions.place import PlaceCondition
from alphabar.edit import Known, downscaled, interpolate, restore, vary
from alphabar.evaluation.conditioning import check_conditions
from alphabar.model import Denoiser, fit_codec
from alphabar.model.whole import InParts, for_samples, of_crops, of_sides
from alphabar.theory.parametrization import coefficients
from alphabar.theory.schedule import Schedule
from program import call
from tiny import tiny_config

SIDES, CROP = (9, 12, 10), (4, 12, 5)
WHOLE = np.arange(6 * np.prod(SIDES), dtype=np.int32).reshape(6, *SIDES)


def corner_of(crop, sides=SIDES):
    """Where a part of `WHOLE`, or of pictures made alike, lies: its first number says so."""
    return list(np.unravel_index(int(crop.flat[0]) % int(np.prod(sides)), sides))


def test_each_crop_is_told_where_it_lies():
    data = prepare(WHOLE, layout="volume", crop=CROP, holdout=0.3)
    assert data.conditions["place"].whole == SIDES
    fixed = data.take(np.arange(len(data.images)))
    drawn = data.batch(3, 5, 40)
    for batch in (fixed, drawn):
        assert [corner_of(crop) for crop in batch.images] == batch.values["place"].tolist()
    assert len({*map(tuple, drawn.values["place"].tolist())}) > 20
    assert "place" not in prepare(WHOLE, layout="volume", crop=SIDES).conditions  # there is one place alone


@pytest.mark.parametrize("sides", [(8, 8), (6, 9)])
def test_places_move_as_pictures_do(sides):
    """Mirrored and turned alike; where no picture lies as a turned one does, nothing is told."""
    pictures = np.arange(2 * np.prod(sides), dtype=np.uint8).reshape(2, 1, *sides)
    data = prepare(pictures, crop=4, holdout=0)
    told = 0
    for k in range(20):
        batch = data.batch(0, k, 16, flip=True, turns=True)
        for crop, place in zip(batch.images[:, 0], batch.values["place"], strict=True):
            ways = [
                np.rot90(each[:, ::way], q) for each in pictures[:, 0] for way in (1, -1) for q in range(4)
            ]
            if np.isnan(place).any():
                assert np.isnan(place).all()
                continue
            told += 1
            a, b = place.astype(int)
            parts = [way[a : a + 4, b : b + 4] for way in ways]
            assert any(part.shape == (4, 4) and (part == crop).all() for part in parts)
    assert told == 20 * 16 if sides == (8, 8) else 60 < told < 260


def test_a_place_is_told_as_waves_of_length_1_that_differ_everywhere():
    place = PlaceCondition.of((8, 4), (20, 7))
    corners = np.argwhere(np.ones((21, 8))).astype(float)
    told = place.encode(corners)
    assert told.shape == (168, *place.shape)
    np.testing.assert_allclose(np.square(told[:, :-1]).sum(1), 1, rtol=1e-6)
    distance = np.linalg.norm(told[:, None] - told[None], axis=2) + np.eye(168)
    assert distance.min() > 0.1
    assert place.encode([None, [1.0, 2.0]])[0].tolist() == [0.0] * place.shape[0]


class Where(nn.Module):
    """Says of each place where it is in the whole: the corner that it is told, and where in the part."""

    def forward(self, x, c_noise, cond):
        half = (cond["place"].shape[1] - 1) // 2
        waves = cond["place"][:, :half].reshape(len(x), x.ndim - 2, -1)[:, :, 0], cond["place"][:, half:-1]
        cosine = waves[1].reshape(len(x), x.ndim - 2, -1)[:, :, 0]
        share = torch.atan2(waves[0], cosine) / torch.pi  # the first wave has half a period
        places = torch.stack(torch.meshgrid(*[torch.arange(n) for n in x.shape[2:]], indexing="ij"))
        corner = share * torch.tensor(self.room)
        return corner.reshape(*corner.shape, *[1] * (x.ndim - 2)) + places + 0 * c_noise.sum() + 0 * x


def where_model(sides, whole):
    room = tuple(a - b for a, b in zip(whole, sides, strict=True))
    net = Where()
    net.room = room
    space = Space((len(sides), *sides), dtype="float32", low=(-1.0,), high=(1.0,), kind="array")
    place = PlaceCondition.of(sides, room)
    return Denoiser(net, Schedule.linear(100), "x0", fit_codec(space), {"place": place}).eval()


@pytest.mark.parametrize(
    ("sides", "whole"), [((4, 6), (13, 17)), ((8, 8), (8, 21)), ((4, 4, 4), (9, 4, 11)), ((5,), (23,))]
)
def test_parts_agree_on_a_whole_that_each_knows_its_part_of(sides, whole):
    """And what is told of places and samples goes to the right ones: x0_hat is where each place is."""
    model = where_model(sides, whole)
    assert model.whole == whole
    large = of_sides(model, whole)
    x = torch.randn(3, *large.shape)
    wanted = np.stack(np.meshgrid(*[np.arange(n) for n in whole], indexing="ij"))
    for _ in range(2):
        found = large(x, 50).numpy()
        np.testing.assert_allclose(found, np.broadcast_to(wanted, found.shape), atol=1e-4)
    assert isinstance(large.call, InParts)
    assert large.conditions == {}
    assert of_sides(large, whole).call is large.call
    assert for_samples(model, (1, *whole)).shape[1:] == whole
    assert for_samples(model, (1, *sides)).shape == of_crops(model).shape == model.shape
    assert of_crops(model).whole is None


class Told(nn.Module):
    """x times what is told of the sample, plus the grid that is told of its places."""

    def forward(self, x, c_noise, cond):
        scale = cond["scale"][:, :1].reshape(-1, *[1] * (x.ndim - 1))
        return x * scale + cond["edges"][:, :1] * c_noise.reshape(-1, *[1] * (x.ndim - 1))


def test_parts_are_told_what_the_whole_is_told():
    """Times and vectors of its sample, and of a grid its own part; in float64 the sums are exact enough."""
    space = Space((1, 4, 6), dtype="float32", low=(-1.0,), high=(1.0,))
    conditions = {
        "place": PlaceCondition.of((4, 6), (5, 4)),
        "scale": ab.data.VectorCondition(),
        "edges": ab.data.PictureCondition(space=space.to_dict()),
    }
    model = Denoiser(Told(), Schedule.linear(100), "x0", fit_codec(space), conditions).eval()
    large = of_sides(model, (9, 10))
    edges = np.random.default_rng(0).normal(size=(3, 1, 9, 10))
    cond = large.told({"scale": [1.0, 2.0, 3.0], "edges": list(edges)}, 3)
    x = torch.randn(3, 1, 9, 10, dtype=torch.float64)
    t = np.array([10.0, 50.0, 90.0])
    found = large(x, t, cond)
    scale = np.array([1, 2, 3]).reshape(-1, 1, 1, 1)
    row = coefficients("x0", model.schedule, t)
    c_in, c_noise = (np.reshape(each, (-1, 1, 1, 1)) for each in (row.c_in, row.c_noise))
    np.testing.assert_allclose(found, scale * c_in * x.numpy() + edges * c_noise, rtol=1e-5, atol=1e-5)


# --- a run -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model of parts of fields, told a class beside."""
    folder = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(0)
    np.savez(
        folder / "d.npz", x=rng.normal(size=(12, 1, 16, 20)).astype(np.float32), labels=np.arange(12) % 2
    )
    data = prepare(folder / "d.npz", layout="CHW", crop=8, holdout=0.0)
    list(ab.runs.Run(folder / "run", data, tiny_config(images=16)).train())
    return folder / "run"


def test_whole_samples_are_drawn_unless_others_are_asked_for(run):
    model = ab.load(run)
    assert {*model.conditions} == {"class", "place"}
    settings = {"evaluations": 2, "seed": 3}
    whole = ab.sample(model, 5, **settings)
    assert whole.images.shape == (5, 1, 16, 20)
    assert "place" not in whole.told
    some = ab.sample(model, indices=[3, 1], **settings)  # as they are in any company
    np.testing.assert_array_equal(some.images, whole.images[[3, 1]])
    parts = ab.sample(model, 4, size=8, **settings)
    assert parts.images.shape == (4, 1, 8, 8)
    assert all(0 <= a <= 8 and 0 <= b <= 12 for a, b in parts.told["place"])
    told = ab.sample(model, 2, size=8, cond={"place": [3, 4], "class": 1}, **settings)
    assert told.told == {"class": [1, 1], "place": [[3, 4], [3, 4]]}
    other = ab.sample(model, 1, size=(24, 8), **settings)
    assert other.images.shape == (1, 1, 24, 8)
    assert "place" not in other.told
    with pytest.warns(UserWarning, match="place 30, 4 lies outside of what was trained on, 0 to 8, 0 to 12"):
        ab.sample(model, 1, size=8, cond={"place": [30, 4]}, **settings)


def test_edits_take_whole_samples_and_parts(run, tmp_path, done):
    model = ab.load(run)
    rng = np.random.default_rng(1)
    for sides in ((16, 20), (8, 8)):
        given = rng.normal(size=(1, *sides)).astype(np.float32)
        assert vary(model, given[None], 50, 2, evaluations=2)[0].images.shape == (2, 1, *sides)
        assert interpolate(model, given, given + 1, 3, evaluations=2).images.shape == (3, 1, *sides)
        known = rng.random((1, *sides)) < 0.5
        filled = restore(model, Known(known), given, 1, evaluations=2)[0].images[0]
        np.testing.assert_array_equal(filled[known], given[known])
        small = downscaled(given.shape, 2)
        measured = given.reshape(1, sides[0] // 2, 2, sides[1] // 2, 2).mean((2, 4))
        assert restore(model, small, measured, 1, evaluations=2)[0].images.shape == (1, 1, *sides)
        np.save(tmp_path / "given.npy", given)
        out = tmp_path / "x".join(map(str, sides))
        flags = ("--steps", 2, "-n", 1, "--out")
        done("edit", "vary", run, tmp_path / "given.npy", "--t", 50, *flags, out / "v")
        assert np.load(out / "v" / "samples.npy").shape[-2:] == sides
        done("edit", "inpaint", run, tmp_path / "given.npy", "left", *flags, out / "i")
        assert np.load(out / "i" / "samples.npy").shape[-2:] == sides


def test_a_model_that_is_told_no_place_draws_parts(tmp_path):
    """And sizes are those of a network of convolutions, as without crops."""
    data = prepare(WHOLE, layout="volume", crop=CROP, holdout=0)
    list(ab.runs.Run(tmp_path / "run", data, tiny_config(images=8, conditional=False)).train())
    model = ab.load(tmp_path / "run")
    assert model.whole is None
    assert ab.sample(model, 1, evaluations=1).images.shape == (1, 1, *CROP)
    assert ab.sample(model, 1, size=SIDES, evaluations=1).images.shape == (1, 1, *SIDES)


def test_what_cannot_be_is_refused(run, tmp_path, refused):
    assert call("sample", run, "-n", 1, "--steps", 1, "--out", tmp_path / "a") == 0
    said = refused("sample", run, "--size", 12, "--cond", "place=1,2", "--out", tmp_path / "b", news=1)
    assert said.startswith("these are neither parts (8x8) nor whole (16x20): drawn at once, told no place")
    assert "unknown condition 'place'; known: class" in said
    said = refused("sample", run, "--cond", "place=1,2", "--out", tmp_path / "b", news=1)
    assert said.startswith(
        "each is put together of 9 parts, told their places; --size 8x8 draws a part alone"
    )
    assert "put together of parts in all places: with size 8x8, place tells where one alone lies" in said


def test_places_are_not_said_to_be_ignored(run):
    """They are right by themselves, and of noise, which is alike everywhere, they change nothing."""
    model, data = ab.load(run), prepare(run.parent / "d.npz", layout="CHW", crop=8, holdout=0.0)
    assert {*check_conditions(model, data, 8)} == {"class"}
    with pytest.raises(ValueError, match="as many sides and room as numbers"):
        PlaceCondition(size=2, sides=(4,), room=(4, 4))
