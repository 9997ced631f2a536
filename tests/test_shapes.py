"""Pictures of another shape or size than the samples: fitted, cut at random, turned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from alphabar.cli.masks import read_mask
from alphabar.cli.read import read_sample
from alphabar.data import Space, prepare
from alphabar.data.dataset import Dataset
from alphabar.data.sources.pictures import open_picture
from alphabar.runs.given import alike
from alphabar.training.trainer import Trainer
from tiny import tiny_config


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ALPHABAR_CACHE", str(tmp_path_factory.mktemp("cache")))


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path)
    return path


def noise(*shape, seed=0, high=256, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, high, shape, dtype=dtype)


def notes(dataset):
    return " | ".join(dataset.notes)


# --- fit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("resize", ["lanczos", "nearest"])
@pytest.mark.parametrize(("height", "width"), [(8, 16), (16, 8), (32, 16), (4, 8)])
def test_padded_pictures_are_whole_in_the_middle_of_the_background(tmp_path, height, width, resize):
    array = noise(height, width, 3, high=200)
    path = save(tmp_path / "a.png", array)
    made = open_picture(path, (16, 16), 3, "#ff8000", resize=resize, how="pad")
    inner = (8, 16) if height < width else (16, 8)
    top, left = ((16 - side) // 2 for side in inner)
    inside = np.zeros((16, 16), bool)
    inside[top : top + inner[0], left : left + inner[1]] = True
    assert (made[:, ~inside].T == (255, 128, 0)).all()
    part = made[:, inside].reshape(3, *inner)
    if (height, width) == inner:  # no pixel is resampled
        np.testing.assert_array_equal(part, np.moveaxis(array, 2, 0))
    else:
        assert abs(part.mean() - array.mean()) < 12
        assert part.std() > 10


def test_what_is_around_a_picture_is_transparent_black_or_the_background(tmp_path):
    clear = np.dstack([noise(8, 16, 3), noise(8, 16, high=250)])
    for i in range(3):
        save(tmp_path / "clear" / f"{i}.png", clear)
        save(tmp_path / "deep" / f"{i}.png", noise(8, 16, seed=i, high=4096, dtype=np.uint16))
        save(tmp_path / "plain" / f"{i}.png", noise(8, 16, seed=i))
    dataset = prepare(tmp_path / "clear", size=16, fit="pad", holdout=0)
    assert (dataset.images[:, :, :4] == 0).all()
    assert (dataset.space.background, dataset.space.fit) == (None, "pad")
    np.testing.assert_array_equal(dataset.images[0, 3, 4:12], clear[..., 3])
    assert "padded with transparent pixels: 3 files" in notes(dataset)

    dataset = prepare(tmp_path / "deep", size=16, fit="pad", holdout=0)
    assert (dataset.images[:, :, :4] == 0).all()
    assert (dataset.space.background, dataset.images.dtype) == ("black", np.uint16)
    assert "padded with black (--background): 3 files" in notes(dataset)
    with pytest.raises(ValueError, match=r"values up to 40\d\d alone, would be padded with 65535.*black"):
        prepare(tmp_path / "deep", size=16, fit="pad", background="white")
    gray = prepare(tmp_path / "deep", size=16, fit="pad", background="#0a0a0a", holdout=0)
    assert (gray.images[:, :, :4] == 2570).all()

    dataset = prepare(tmp_path / "plain", size=16, fit="pad", holdout=0)
    assert (dataset.images[:, :, :4] == 255).all()
    assert "padded with white (--background): 3 files" in notes(dataset)
    assert "padded" not in notes(prepare(tmp_path / "plain", size="8x16", fit="pad"))


def test_stretched_pictures_lose_their_proportions_alone(tmp_path):
    array = np.zeros((8, 32), np.uint8)
    array[:, :8] = 255  # a quarter
    save(tmp_path / "a.png", array)
    dataset = prepare(tmp_path, size=8, fit="stretch", resize="box", holdout=0)
    np.testing.assert_array_equal(dataset.images[0, 0], np.repeat([[255, 255] + [0] * 6], 8, 0))
    assert "8 × 32 pixels (height × width), stretched to 8 × 8" in notes(dataset)
    assert dataset.space.fit == "stretch"


def test_an_extreme_shape_is_padded_to_one_pixel_at_least(tmp_path):
    path = save(tmp_path / "a.png", np.full((1, 500), 9, np.uint8))
    made = open_picture(path, (16, 16), 1, how="pad")[0]
    assert (made == 9).sum() == 16
    assert (made[7] == 9).all()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_pictures_of_one_pixel_are_taken_and_enlarged(tmp_path, fit):
    for i in range(3):
        save(tmp_path / f"{i}.png", np.full((1, 1, 3), 50 * i, np.uint8))
    own = prepare(tmp_path, fit=fit, holdout=0)
    assert own.images[:, 0].ravel().tolist() == [0, 50, 100]
    assert "all 1 × 1 pixels (height × width), taken as they are" in notes(own)
    large = prepare(tmp_path, size=8, fit=fit, holdout=0)
    assert (large.images[:] == own.images[:]).all()
    assert "(3 of 3 are enlarged)" in notes(large)


def test_a_way_to_fit_that_is_none_and_one_for_arrays_are_refused():
    with pytest.raises(ValueError, match=r"unknown way to fit 'area'.*crop, pad, stretch"):
        prepare(np.zeros((4, 3, 8, 8), np.uint8), fit="area")
    with pytest.raises(ValueError, match="fit is for pictures, which these data are not"):
        prepare(np.zeros((4, 3, 8, 8), np.uint8), fit="pad")
    with pytest.raises(ValueError, match=r"unknown way to fit"):
        Space((3, 8, 8), fit="area")


def test_pictures_and_masks_to_edit_are_fitted_as_those_of_the_data(tmp_path, capsys):
    space = Space((1, 16, 16), background="white", resize="nearest", fit="pad")
    picture = save(tmp_path / "a.png", np.full((8, 16), 50, np.uint8))
    array = read_sample(str(picture), space)
    assert (array[0, 4:12] == 50).all()
    assert (array[0, :4] == 255).all()
    assert "resized and padded to 16 × 16, as in training" in capsys.readouterr().err
    hole = np.zeros((8, 16), np.uint8)
    hole[:, :4] = 255
    known = read_mask(str(save(tmp_path / "m.png", hole)), space, str(picture))
    clear = np.dstack([np.zeros((8, 16, 3), np.uint8), 255 - hole])
    for mask in (known, read_mask(str(save(tmp_path / "c.png", clear)), space, str(picture))):
        assert not mask[0, 4:12, :4].any()
        assert mask.sum() == 256 - 32  # what is around it is known


# --- crops ---------------------------------------------------------------------------------------


@pytest.fixture
def numbered(tmp_path):
    """Pictures whose pixels say which picture they are of, and where."""
    for i in range(24):
        rows, columns = np.mgrid[:12, :16]
        save(
            tmp_path / "pics" / f"{i:02d}.png",
            np.dstack([rows, columns, np.full_like(rows, i)]).astype(np.uint8),
        )
    return tmp_path / "pics"


CUT = {"size": "12x16", "crop": 8, "channels": "rgb"}


def test_batches_of_pictures_are_crops_from_anywhere_and_all_else_is_tiles(numbered):
    dataset, whole = prepare(numbered, **CUT, holdout=0.2), prepare(numbered, size="12x16", channels="rgb")
    assert dataset.space.shape == dataset.images.shape[1:] == (3, 8, 8)
    assert (dataset.space.kept, len(dataset.images)) == ((12, 16), 24 * 4)
    assert "crops of 8 × 8 from anywhere in the 24 pictures of 12 × 16" in notes(dataset)
    seen = {}
    for k in range(60):
        for image in dataset.batch(5, k, 4).images:
            top, left, i = (int(n) for n in image[:, 0, 0])
            seen[top, left] = seen.get((top, left), 0) + 1
            np.testing.assert_array_equal(image, whole.images[i][:, top : top + 8, left : left + 8])
    assert {top for top, _ in seen} == set(range(5))
    assert {left for _, left in seen} == set(range(9))
    assert max(seen.values()) < 20  # of 240 over 45 places


def test_crops_are_a_function_of_seed_k_and_place_in_memory_too(numbered):
    dataset = prepare(numbered, **CUT, holdout=0)
    expected = [dataset.batch(3, k, 6, flip=True).images for k in range(8)]
    again = prepare(numbered, **CUT, holdout=0)
    for k in reversed(range(8)):
        np.testing.assert_array_equal(again.batch(3, k, 6, flip=True).images, expected[k])
    assert not np.array_equal(dataset.batch(4, 0, 6).images, dataset.batch(3, 0, 6).images)
    pictures = [Image.open(path) for path in sorted(numbered.iterdir())]
    given = prepare(pictures, **CUT, holdout=0)
    np.testing.assert_array_equal(given.images[:], dataset.images[:])
    np.testing.assert_array_equal(given.batch(3, 0, 6, flip=True).images, expected[0])


def test_other_crops_are_other_data_and_other_data_get_the_same(numbered):
    a, b = prepare(numbered, **CUT), prepare(numbered, size="12x16", crop="8x9", channels="rgb")
    plain = prepare(numbered, size="12x16", channels="rgb")
    assert set((a.held_out // 4).tolist()) == set(plain.held_out.tolist())
    assert len({a.fingerprint, b.fingerprint, plain.fingerprint}) == 3
    again = prepare(numbered, alike(numbered, {}, a.space, {}))
    np.testing.assert_array_equal(again.images[:], a.images[:])
    assert again.space.kept == (12, 16)
    with pytest.raises(ValueError, match=r"none longer than the samples' 3 × 12 × 16 .*--size.*; got 20"):
        prepare(numbered, size="12x16", crop=20, channels="rgb")


def test_a_picture_to_edit_is_its_center_and_a_sample_is_whole(tmp_path):
    space = Space((1, 8, 8), resize="lanczos", kept=(12, 16))
    array = noise(12, 16)
    np.testing.assert_array_equal(
        read_sample(str(save(tmp_path / "a.png", array)), space)[0], array[2:10, 4:12]
    )
    own = noise(8, 8)
    np.testing.assert_array_equal(read_sample(str(save(tmp_path / "s.png", own)), space)[0], own)


def test_training_on_crops_goes_on_to_the_bit_and_micro_batches_see_the_same(numbered):
    dataset = prepare(numbered, **CUT)
    config = tiny_config(flip=True, turns=True)
    whole, after = (Trainer(config, dataset) for _ in range(2))
    whole.update()
    after.load_state({name: tensor.clone() for name, tensor in whole.state().items()}, 1)
    for trainer in (whole, after):
        trainer.update()
    for name, tensor in whole.state().items():
        assert torch.equal(after.state()[name], tensor), name
    small = Trainer(tiny_config(flip=True, turns=True, micro_batch=2), dataset)
    assert torch.equal(torch.from_numpy(small.inputs(3).x_0), torch.from_numpy(whole.inputs(3).x_0))


# --- quarter turns -------------------------------------------------------------------------------


def test_turns_are_by_any_quarter_as_likely():
    images = noise(400, 3, 4, 4)
    dataset = Dataset(images, Space((3, 4, 4)), holdout=0)
    plain, turned = dataset.batch(0, 5, 400).images, dataset.batch(0, 5, 400, turns=True).images
    by = np.stack([(np.rot90(plain, q, (2, 3)) == turned).all(axis=(1, 2, 3)) for q in range(4)])
    assert (by.sum(0) == 1).all()
    assert (by.sum(1) > 70).all()
    again = dataset.batch(0, 5, 400, turns=True).images
    np.testing.assert_array_equal(turned, again)
    np.testing.assert_array_equal(dataset.images, images)


def test_turns_are_for_square_pictures_and_fields_whose_mask_allows_it():
    def turned(shape, **more):
        Dataset(
            np.zeros((9, *shape), np.float32), Space(shape, "float32", None, None, **more), holdout=0
        ).batch(0, 0, 4, turns=True)

    turned((2, 6, 6), kind="field")
    for shape in ((3, 6, 8), (5,), (2, 64), (1, 4, 4, 4)):
        with pytest.raises(
            ValueError, match=r"turns are for square pictures and fields, .*: leave turns out"
        ):
            turned(shape)
    data = noise(20, 1, 6, 6).astype(np.float32) * 3 - 100
    data[:, :, 0] = np.nan
    with pytest.raises(ValueError, match="would lie elsewhere in one that is turned"):
        prepare(data, layout="CHW").batch(0, 0, 4, turns=True)
    data[:, :, :, 0] = data[:, :, -1] = data[:, :, :, -1] = np.nan
    batch = prepare(data, layout="CHW").batch(0, 0, 4, turns=True)
    assert np.isnan(batch.images[:, :, 0]).all()
