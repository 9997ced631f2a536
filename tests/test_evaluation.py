"""Features, scores of samples and the scorecard: on toys, of any rank."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from alphabar.data import ClassCondition, Dataset, Space
from alphabar.data.missing import packed
from alphabar.data.preparing.preparation import cache_folder
from alphabar.evaluation import FEATURES, compare, comparison, frechet_distance, open_features
from alphabar.evaluation import scorecard as scorecard_module
from alphabar.evaluation.comparison import embed, split
from alphabar.evaluation.features import learned, learned_features, pixel_features, untrained_features
from alphabar.evaluation.likelihood import ode_likelihood
from alphabar.evaluation.noise_levels import error_by_noise_level
from alphabar.evaluation.scorecard import memorization_by, scorecard
from alphabar.evaluation.table import with_error
from alphabar.sampling import sample
from alphabar.training import Trainer
from tiny import tiny_config, tiny_data, tiny_denoiser

RNG = np.random.default_rng


def squares(n, seed=0, classes=True):
    """`tiny_data` with a fingerprint of its own, by which features are kept."""
    data = tiny_data(n, seed, classes)
    data.fingerprint += f" {n} {seed}"
    return data


# --- features ------------------------------------------------------------------------------------


def test_features_learned_from_classes_are_kept_and_tell_them_apart(monkeypatch):
    data = squares(200)
    said = []
    found = learned_features(data, images_seen=1500, say=said.append)
    assert found.about["how"] == "classes"
    assert found.about["accuracy"] == 1
    again = learned_features(data, images_seen=1500, say=said.append)
    assert len(said) == 1
    assert again.digest == found.digest
    images = np.asarray(data.images)
    np.testing.assert_array_equal(found(images), again(images))
    assert found(images).shape == (200, 64)
    kept = found.of_dataset(data)
    monkeypatch.setattr(found, "embed", lambda images: 1 / 0)
    np.testing.assert_array_equal(found.of_dataset(data), kept)


def test_what_is_measured_on_held_out_samples_is_capped_and_said(monkeypatch):
    data = dataclasses.replace(squares(200), holdout=0.3)
    monkeypatch.setattr(learned, "MEASURED", 7)
    monkeypatch.setattr(comparison, "MOST_HELD_OUT", 9)
    found = learned_features(data, images_seen=100)
    assert found.about["samples"] == 7
    assert f"of 7 of {len(data.held_out)} held-out samples)" in found.name
    test = embed(np.asarray(data.images[:20]), data, pixel_features(data)).memorization()
    assert (test.held_out, len(test.usual), test.training) == (9, 9, len(data.training))
    assert "every one of 9 held-out samples" in test.verdict


def test_features_are_learned_alike_in_threads_and_leave_the_global_generator_alone():
    data = dataclasses.replace(squares(60), fingerprint="")  # which are not kept
    alone = learned_features(data, images_seen=400).digest
    before, found = torch.get_rng_state(), []
    learn = lambda: found.append(learned_features(data, images_seen=400).digest)  # noqa: E731
    threads = [threading.Thread(target=learn) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 3
    assert torch.equal(torch.get_rng_state(), before)


def test_features_learned_without_classes_find_the_same_picture_again():
    patches = np.random.default_rng(0).integers(0, 256, (200, 1, 4, 4)).astype(np.uint8)
    data = Dataset(patches.repeat(2, 2).repeat(2, 3), Space((1, 8, 8)), fingerprint="patches")
    found = learned_features(data, images_seen=4000)
    assert found.about["how"] == "pairs"
    assert found.about["accuracy"] > 0.5  # one of ten held-out pictures, by luck 0.1
    other = learned_features(
        Dataset(data.images, data.space), images_seen=200
    )  # unnamed data: nothing is kept
    assert other.digest != found.digest


@pytest.mark.parametrize("shape", [(7,), (2, 33), (3, 16, 20), (1, 9, 8, 8)])
def test_features_are_learned_from_as_many_samples_as_their_work_allows(shape, monkeypatch):
    net = learned.SmallNet(len(shape) - 1, shape[0], 64)
    with FlopCounterMode(display=False) as counter:
        net.embed(torch.zeros(2, *shape))
    last = 2 * net.features.weight.numel()
    assert counter.get_total_flops() / 2 == 2 * net.products(shape) + last

    values = np.random.default_rng(0).normal(size=(40, *shape)).astype(np.float32)
    data = Dataset(values, Space(shape, dtype="float32"))
    monkeypatch.setattr(learned, "PRODUCTS", 300.5 * 2 * net.products(shape))  # two versions of each
    assert learned_features(data).about["images_seen"] == 300
    monkeypatch.setattr(learned, "IMAGES_SEEN", 100)
    assert learned_features(data).about["images_seen"] == 100


def test_a_network_given_by_path_and_bad_names(tmp_path):
    class Net(torch.nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    data = squares(40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's, of TorchScript
        torch.jit.script(Net()).save(str(tmp_path / "net.pt"))
        found = open_features(str(tmp_path / "net.pt"), data)(np.asarray(data.images))
    assert found.shape == (40, 3)
    np.testing.assert_allclose(found[:, 1], np.asarray(data.images).mean((1, 2, 3)) / 255, rtol=1e-5)
    np.testing.assert_allclose(
        pixel_features(data)(np.asarray(data.images)).mean(1), 2 * found[:, 0] - 1, rtol=1e-4
    )
    with pytest.raises(ValueError, match=r"must be learned, inception, untrained, pixels, .* got 'vgg'"):
        open_features("vgg", data)
    with pytest.raises(FileNotFoundError, match=r"no such file: .*none\.pt"):
        open_features(str(tmp_path / "none.pt"), data)
    with pytest.raises(ValueError, match="take 1, 3 or 4 channels and the data have 2"):
        open_features(str(tmp_path / "net.pt"), Dataset(np.zeros((4, 2, 8, 8)), Space((2, 8, 8))))
    torch.save({"weight": torch.zeros(2)}, tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"state\.pt is no TorchScript network; one is made by"):
        open_features(str(tmp_path / "state.pt"), data)


def test_a_network_that_cannot_take_the_pictures_is_named(tmp_path):
    net = torch.nn.Conv2d(3, 4, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(net, torch.zeros(1, 3, 16, 16)).save(str(tmp_path / "net.pt"))
        features = open_features(str(tmp_path / "net.pt"), squares(40))
    with pytest.raises(
        ValueError, match=r"net\.pt can't take pictures of shape \(3, 8, 8\): .*[Kk]ernel size"
    ):
        features(np.asarray(squares(40).images))


def test_data_without_bounds_look_the_same_to_a_network_in_any_company(tmp_path):
    images = (0.5 + 2 * RNG(0).standard_normal((400, 1, 8, 8))).astype(np.float32)
    data = Dataset(images, Space((1, 8, 8), "float32", None, None))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(torch.nn.Flatten()).save(str(tmp_path / "net.pt"))
        features = open_features(str(tmp_path / "net.pt"), data)
    np.testing.assert_array_equal(features(images)[:1], features(images[:1]))
    shown = np.clip(images.reshape(400, -1), -5.5, 6.5)
    np.testing.assert_allclose(features(images)[:, :64] * 12 - 5.5, shown, atol=0.2)


def test_inception_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ValueError, match=r"torch-fidelity: pip install 'alphabar\[inception\]'"):
        open_features("inception", squares(40))


@pytest.mark.parametrize(("given", "package"), [("folder", "timm"), ("folder/net.onnx", "onnxruntime")])
def test_a_network_whose_library_is_missing_names_it(given, package, tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    for name in ("config.json", "net.onnx"):
        (tmp_path / "folder" / name).write_text("{}")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"need the package {package}: pip install {package}; or use"):
        open_features(str(tmp_path / given), squares(40))


# --- the card ------------------------------------------------------------------------------------


def test_good_samples_score_as_the_floor_and_bad_ones_worse():
    data = squares(400, seed=4)  # classes are even in floor and reference
    features = learned_features(data, images_seen=1500)
    good = compare(np.asarray(squares(150, seed=1).images), data, features)
    assert good.n == 150
    assert good.reference == 250
    noise = RNG(0).integers(0, 256, (150, 1, 8, 8)).astype(np.uint8)
    bad = compare(noise, data, features)
    for name in ("frechet", "kid", "sliced_wasserstein", "classifier"):
        a, b = good.scores[name], bad.scores[name]
        assert a.floor == b.floor
        assert abs(a.value - a.floor) < 5 * (a.error + a.floor_error), name
        assert b.value > b.floor + 5 * (b.error + b.floor_error), name
    for name in ("precision", "recall", "coverage"):
        assert good.scores[name].value > bad.scores[name].value + 0.3, name
    assert bad.scores["classifier"].value > 0.95


def test_a_card_says_what_its_numbers_cannot_mean():
    data = squares(100)
    found = compare(
        np.asarray(squares(80, seed=1).images), data, pixel_features(data), data.fingerprint, errors=0
    )
    held = len(data.held_out)
    assert found.n == 50
    assert found.trained_on == 50
    assert any("50 of the 80 samples are used" in note for note in found.notes)
    assert any("few for Fréchet distance (2000), KID (200)" in note for note in found.notes)
    assert any(f"{held} held-out ones and {50 - held} of the training part" in note for note in found.notes)
    first, rest = split(data, 50)
    assert set(data.held_out) <= set(first)
    assert sorted([*first, *rest]) == list(range(100))


def test_scores_of_all_pairs_are_of_some_of_much_data_and_it_is_said(monkeypatch):
    """Distances among 70,000 pictures took a quarter of an hour, 26 times."""
    data, samples = squares(300), np.asarray(squares(100, seed=1).images)
    whole = compare(samples, data, pixel_features(data), errors=0)
    monkeypatch.setattr(comparison, "MOST_OF_PAIRS", 60)
    part = compare(samples, data, pixel_features(data), errors=0)
    said = "60 of the 200 pictures are used for KID, precision, recall, density, coverage"
    assert said in part.notes
    assert said not in whole.notes
    different = {name for name, score in part.scores.items() if score != whole.scores[name]}
    assert {"kid", "coverage"} <= different <= {"kid", "precision", "recall", "density", "coverage"}
    assert abs(part.scores["kid"].value - whole.scores["kid"].value) < 0.05


def test_data_without_a_fingerprint_are_not_counted_as_trained_on():
    """Unknown data and an unknown model aren't the same data."""
    data = squares(100)
    images = np.asarray(squares(40, seed=1).images)
    for fingerprint, trained_on, known in (("", "", 0), ("a", "", 0), ("a", "b", 0), ("a", "a", 60)):
        data.fingerprint = fingerprint
        found = compare(images, data, pixel_features(data), trained_on, errors=0)
        assert found.reference == 60
        assert found.trained_on == known


def test_samples_that_are_not_of_the_datas_kind_are_refused():
    data = squares(100)
    features = pixel_features(data)
    images = np.asarray(squares(30, seed=1).images)
    with pytest.raises(ValueError, match=r"shape \(1, 4, 8\) and the data \(1, 8, 8\)"):
        compare(images[:, :, :4], data, features)
    with pytest.raises(ValueError, match="from 0 to 1 and the data from 0 to 255: their ranges differ"):
        compare(np.round(images / 255.0), data, features)
    with pytest.raises(ValueError, match="not finite"):
        compare(np.full((30, 1, 8, 8), np.nan), data, features)
    with pytest.raises(
        ValueError, match="12 samples or more, and 24 pictures or more in the data, got 3 and 100"
    ):
        compare(images[:3], data, features)


def test_long_and_narrow_pictures_have_features():
    images = RNG(0).random((30, 1, 8, 300), np.float32)
    data = Dataset(images, Space((1, 8, 300), "float32", 0.0, 1.0), fingerprint="narrow")
    assert pixel_features(data)(images).shape == (30, 8 * 33)
    assert untrained_features(data)(images).shape == (30, 64)


def test_features_depend_on_what_is_held_out_and_damaged_ones_are_made_again():
    data = squares(100)
    other = dataclasses.replace(data, holdout=0.5)
    assert untrained_features(other).digest != untrained_features(data).digest
    features = untrained_features(data)
    kept = features.of_dataset(data)
    for path in (cache_folder() / "features").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-8])
    np.testing.assert_array_equal(features.of_dataset(data), kept)
    assert learned_features(data, images_seen=300).digest == learned_features(data, images_seen=300).digest


def test_a_network_must_give_a_finite_row_for_each_picture(tmp_path):
    class One(torch.nn.Module):
        def forward(self, x):
            return x[:1].flatten(1)

    class Nan(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1) / 0.0 * 0.0

    for net, message in (
        (One(), r"a row of features for each of 40 pictures, got shape \(1,"),
        (Nan(), "not finite"),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.script(net).save(str(tmp_path / "net.pt"))
        with pytest.raises(ValueError, match=message):
            open_features(str(tmp_path / "net.pt"), squares(40))(np.asarray(squares(40).images))


def test_scores_of_a_given_network_are_in_its_own_units(tmp_path):
    """As papers have them; features of ours, which have no scale of their own, have that of the data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(torch.nn.Flatten()).save(str(tmp_path / "net.pt"))
    data, images = squares(100), np.asarray(squares(40, seed=1).images)
    features = open_features(str(tmp_path / "net.pt"), data)
    _, reference = split(data, 40)
    found = compare(images, data, features, errors=0).scores["frechet"].value
    assert found == pytest.approx(frechet_distance(features(images), features(data.images)[reference]))
    for features in (untrained_features(data), learned_features(data, images_seen=300)):
        real = features(data.images[data.training])
        np.testing.assert_allclose(real.mean(0), 0, atol=1e-5)
        assert real.var(0).mean() == pytest.approx(1, rel=1e-4)
    same = dataclasses.replace(data, images=data.images // 2, fingerprint="half")
    assert (
        untrained_features(data).digest == untrained_features(data).digest != untrained_features(same).digest
    )


def test_data_with_other_classes_are_compared_with_but_not_given_to_the_model():
    data, model = squares(100), tiny_denoiser()
    other = dataclasses.replace(
        data, conditions={"class": ClassCondition(names=("one", "two"))}, fingerprint="other names"
    )
    found = scorecard(sample(model, 32, evaluations=2).images, other, pixel_features(other), model)
    note = "the model is told the class (left, right), and the data have class (one, two)"
    assert any(note.replace("have class (one, two)", "have one, two") in each for each in found["notes"])
    assert "noise_levels" not in found
    assert "scores" in found


def test_the_whole_scorecard_is_json(monkeypatch):
    monkeypatch.setattr(scorecard_module, "ode_likelihood", partial(ode_likelihood, steps=2))
    data, model = squares(100), tiny_denoiser()
    images = sample(model, 32, evaluations=2).images
    found = scorecard(images, data, pixel_features(data), model, exact=True)
    text = json.loads(json.dumps(found))
    assert {"scores", "noise_levels", "bound", "likelihood", "memorization", "features", "notes"} <= set(text)
    assert [m["space"] for m in text["memorization"]] == ["pixels"]
    assert np.isfinite(text["bound"]["bits_per_dim"])
    assert any("only between models of one schedule" in note for note in text["notes"])
    copies = np.asarray(data.images)[data.training[:40]]
    assert all(m.memorizes for m in memorization_by(copies, data))


def test_a_scorecard_takes_what_is_computed_already(monkeypatch):
    data, model = squares(100), tiny_denoiser()
    images, features = sample(model, 32, evaluations=2).images, untrained_features(data)
    given = embed(images, data, features)
    computed = {
        "embedded": given,
        "memorization": memorization_by(images, data, given),
        "noise_levels": error_by_noise_level(model, data),
    }
    assert [m.space for m in computed["memorization"]] == ["pixels", features.name]
    whole = scorecard(images, data, features, model)
    for name in ("embed", "memorization_by", "error_by_noise_level"):
        monkeypatch.setattr(scorecard_module, name, lambda *a, **k: 1 / 0)
    again = scorecard(images, data, features, model, **computed)
    for card in (whole, again):
        del card["seconds"]
    assert json.dumps(whole) == json.dumps(again)


@pytest.mark.parametrize("shape", [(5,), (2, 64), (1, 4, 8, 8), (1, 2, 2, 3, 4)])
def test_samples_of_any_rank_are_scored(shape):
    rng = RNG(0)
    images = (0.3 + 0.4 * RNG(3).standard_normal((120, *shape))).astype(np.float32)
    data = Dataset(images, Space(shape, "float32", None, None), fingerprint=f"gaussian {shape}")
    good = (0.3 + 0.4 * rng.standard_normal((40, *shape))).astype(np.float32)
    names = [name for name in ("pixels", "untrained", "learned") if len(shape) < 5 or name == "pixels"]
    for name in names:
        features = learned_features(data, images_seen=200) if name == "learned" else open_features(name, data)
        scores = [compare(images, data, features, errors=0).scores["frechet"] for images in (good, good + 3)]
        assert scores[0].floor == scores[1].floor
        assert scores[0].value < 3 * scores[0].floor
        assert scores[1].value > 3 * scores[0].value
    for name in {"untrained", "learned"} - set(names):
        with pytest.raises(
            ValueError, match=r"samples of up to 3 sides and these have 4 .*; use features pixels"
        ):
            open_features(name, data)
    assert pixel_features(data).name == "values"
    with pytest.raises(ValueError, match=r"take samples of shape \(C, H, W\) and these have"):
        open_features("inception", data)
    assert [m.space for m in memorization_by(good, data)] == ["values"]


def test_what_features_there_are_is_said_by_their_table(monkeypatch):
    monkeypatch.setitem(FEATURES, "mean", lambda data: "made")
    assert open_features("mean", tiny_data()) == "made"
    with pytest.raises(ValueError, match=f"features must be {', '.join(FEATURES)}, a TorchScript"):
        open_features("none", tiny_data())


def test_numbers_are_printed_with_signs_that_every_terminal_has():
    assert with_error(-0.0512, 0.094) == "-0.05 ± 0.09"
    assert with_error(-0.0001, 0.4).encode("cp1252")


@pytest.mark.parametrize("space", [
    Space((4, 8, 8), names=("red", "green", "blue", "alpha")),
    Space((1, 8, 8), "float32", None, None, kind="field", missing=packed(np.eye(8, dtype=bool)[None])),
], ids=["alpha", "missing"])  # fmt: skip
def test_what_has_no_density_is_scored_without_a_likelihood_and_it_is_said(space):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, *space.shape)).astype(space.dtype)
    if space.absent is not None:
        images[:, space.absent] = np.nan
    data = Dataset(images, space, fingerprint="no density", holdout=0.3)
    denoiser = Trainer(tiny_config(), data).ema
    denoiser.about["data_fingerprint"] = data.fingerprint
    card = scorecard(images[:20], data, untrained_features(data), denoiser)
    assert any(denoiser.codec.no_density in note for note in card["notes"])
    assert card["noise_levels"]
    assert "bound" not in card
