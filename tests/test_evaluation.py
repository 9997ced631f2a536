"""Features, the card, the error by level, memorising: against closed forms, and on toys."""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
import warnings

import numpy as np
import pytest
import torch

from alphabar import Dataset, DataSpec, Schedule, sample
from alphabar.data.prepare import cache_folder
from alphabar.evaluation import card, compare, frechet_distance, levels, memorisation, open_features
from alphabar.evaluation.card import memorising, split
from alphabar.evaluation.case import Case
from alphabar.evaluation.features import learned, pixels, untrained
from alphabar.evaluation.levels import Gaussian, Memorising, cosines, level_times
from alphabar.evaluation.memorisation import close, exact_p, mann_whitney
from alphabar.theory.gaussian import q_sample
from tiny import tiny_data, tiny_denoiser

RNG = np.random.default_rng


def squares(n, seed=0, classes=True):
    """`tiny_data` with a fingerprint of its own, by which features are kept."""
    data = tiny_data(n, seed, classes)
    data.fingerprint += f" {n} {seed}"
    return data


# --- memorising ----------------------------------------------------------------------------------


def test_mann_whitney_is_the_count_of_pairs():
    rng = RNG(0)
    a, b = rng.integers(0, 6, 40).astype(float), rng.integers(1, 7, 23).astype(float)
    pairs = (a[:, None] < b).mean() + 0.5 * (a[:, None] == b).mean()
    auc, p = mann_whitney(a, b)
    assert auc == pytest.approx(pairs)
    stats = pytest.importorskip("scipy.stats")
    exact = stats.mannwhitneyu(a, b, alternative="less", method="asymptotic", use_continuity=False)
    assert p == pytest.approx(exact.pvalue)


def test_closeness_is_the_nearest_over_the_mean_of_the_ten_next():
    rng = RNG(1)
    queries, pictures = rng.standard_normal((7, 3)), rng.standard_normal((50, 3))
    pictures[1] = pictures[0]
    queries[0] = pictures[0] + 1e-9
    ratio, nearest = close(queries, pictures)
    for i, query in enumerate(queries):
        distances = np.sort(np.linalg.norm(pictures - query, axis=1))
        assert ratio[i] == pytest.approx(distances[0] / distances[1:11].mean(), rel=1e-6)
        assert np.linalg.norm(pictures[nearest[i]] - query) == pytest.approx(distances[0], abs=1e-12)


def test_the_test_for_copies_is_calibrated():
    """Of models that draw as the data do, one in twenty has p < 0.05, and none is called a copier."""
    ps = []
    for seed in range(150):
        rng = RNG(seed)
        found = memorisation(*(rng.standard_normal((n, 6)) for n in (60, 150, 20)), "toy")
        ps.append(found.p)
        assert not found.memorises
    assert 0.01 <= np.mean(np.array(ps) < 0.05) <= 0.11
    assert 0.35 < np.mean(np.array(ps) < 0.5) < 0.65


def test_copies_are_found_among_others_and_blur_is_not_taken_for_them():
    rng = RNG(2)
    training, held_out = rng.standard_normal((100, 16)), rng.standard_normal((10, 16))
    copies = training[rng.integers(0, 100, 80)] + 0.05 * rng.standard_normal((80, 16))
    found = memorisation(copies, training, held_out, "toy")
    assert found.memorises
    assert found.copies == 1
    assert all(np.linalg.norm(copies[i] - training[j]) < 0.5 for i, j in found.pairs())
    blurred = 0.3 * rng.standard_normal((80, 16))
    assert not memorisation(blurred, training, held_out, "toy").memorises
    with pytest.raises(ValueError, match="2 held-out pictures or more, got 1"):
        memorisation(copies, training, held_out[:1], "toy")
    with pytest.raises(ValueError, match="12 training pictures or more, got 5"):
        memorisation(copies, training[:5], held_out, "toy")


# --- the error by level --------------------------------------------------------------------------


def gaussian_data(n=3000, std=0.4):
    images = (0.3 + std * RNG(3).standard_normal((n, 1, 2, 3))).astype(np.float32)
    spec = DataSpec((1, 2, 3), "float32", None, None, 0.0, 1.0)
    return Dataset(images, None, spec, "gaussian")


class Ideal(torch.nn.Module):
    """The ideal denoiser of `gaussian_data`."""

    def __init__(self, data, std=0.4):
        super().__init__()
        self.data, self.schedule, self.std = data.spec, Schedule.linear(100), std
        self.device = torch.device("cpu")

    def forward(self, x_t, t, label=None):
        bar = float(self.schedule.alpha_bar_at(t))
        gain = bar**0.5 * self.std**2 / (bar * self.std**2 + 1 - bar)
        return 0.3 + gain * (x_t - bar**0.5 * 0.3)


def test_levels_of_an_ideal_model_are_the_closed_form_and_the_gaussian_fits():
    data = gaussian_data()
    found = levels(Ideal(data), data, n=150)
    bar = Schedule.linear(100).alpha_bar_at(found.times)
    exact = 0.16 * (1 - bar) / (bar * 0.16 + 1 - bar)
    assert np.abs(np.array(found.held_out) / exact - 1).max() < 0.25
    assert np.all(np.abs(np.array(found.held_out) - exact) < 4.5 * np.array(found.error))
    np.testing.assert_allclose(found.gaussian, found.held_out, rtol=0.02)
    assert all(a < 1.02 * b for a, b in zip(found.memorising, found.training))
    assert found.memorising[0] < 0.5 * found.training[0]


def test_level_times_span_the_noise_of_any_schedule():
    for schedule in (
        Schedule.linear(1000),
        Schedule.cosine(1000),
        Schedule.sigmoid(300),
        Schedule.linear(100),
    ):
        times = level_times(schedule)
        std = np.sqrt(1 - schedule.alpha_bar_at(times))
        assert len(times) >= 6
        assert std[0] < 0.12
        assert std[-1] > 0.9
        assert times == sorted(times)


def test_the_gaussian_fit_shrinks_where_pictures_are_few():
    """With fewer pictures than dimensions the fit stays useful on fresh ones."""
    rng = RNG(4)
    images = rng.standard_normal((40, 1, 8, 8)).astype(np.float32)
    data = Dataset(images, None, DataSpec((1, 8, 8), "float32", None, None, 0.0, 1.0), "few")
    schedule = Schedule.linear(100)
    fit = Gaussian(data, schedule)
    x_0 = rng.standard_normal((200, 1, 8, 8))
    x_t = q_sample(schedule, x_0, 50, rng.standard_normal(x_0.shape))
    error = ((fit(x_t, 50) - x_0) ** 2).mean()
    assert error < 1.15 * (1 - schedule.alpha_bar[50])  # the ideal one's, for N(0, 1)


def test_the_gaussian_fit_of_large_pictures_is_the_ideal_one_where_cosines_are_independent(monkeypatch):
    """For pictures whose cosine transform has independent entries; and nearly the whole covariance's fit."""
    rng, schedule = RNG(6), Schedule.linear(100)
    rows, columns = cosines(8), cosines(6)
    np.testing.assert_allclose(rows @ rows.T, np.eye(8), atol=1e-12)
    std = 1 / (1 + np.add.outer(np.arange(8), np.arange(6)))
    images = (rows.T @ (std * rng.standard_normal((4000, 1, 8, 6))) @ columns).astype(np.float32)
    data = Dataset(images, None, DataSpec((1, 8, 6), "float32", None, None, 0.0, 1.0), "cosines")
    whole = Gaussian(data, schedule)
    monkeypatch.setattr(sys.modules[Gaussian.__module__], "GAUSSIAN_DIMENSIONS", 10)
    by_cosines = Gaussian(data, schedule)
    np.testing.assert_allclose(by_cosines.values[0], std**2, rtol=0.12)
    x_0 = data.take(data.held_out).x_0
    x_t = q_sample(schedule, x_0, 40, rng.standard_normal(x_0.shape))
    ours, theirs = (((fit(x_t, 40) - x_0) ** 2).mean() for fit in (by_cosines, whole))
    bar = schedule.alpha_bar[40]
    exact = (std**2 * (1 - bar) / (bar * std**2 + 1 - bar)).mean()
    assert ours == pytest.approx(exact, rel=0.05)
    assert ours == pytest.approx(theirs, rel=0.02)


@pytest.mark.parametrize("labelled", [False, True])
def test_denoising_by_heart_is_the_posterior_mean_over_the_training_pictures(labelled, monkeypatch):
    monkeypatch.setattr(sys.modules[Memorising.__module__], "BLOCK", 7)  # so that blocks are put together
    data, schedule = tiny_data(30, classes=labelled), Schedule.linear(100)
    x_0, label = data.take(data.training[:5])
    x_t = q_sample(schedule, x_0.astype(np.float64), 40, RNG(5).standard_normal(x_0.shape))
    found = Memorising(data, schedule)(x_t, 40, label)
    clean, classes = data.take(data.training)
    clean = clean.astype(np.float64)
    bar = schedule.alpha_bar[40]
    for i in range(5):
        distance = ((x_t[i] - bar**0.5 * clean) ** 2).reshape(len(clean), -1).sum(1)
        weight = np.exp(-(distance - distance.min()) / (2 * (1 - bar)))
        if labelled:
            weight = weight * (classes == label[i])
        expected = (weight[:, None, None, None] * clean).sum(0) / weight.sum()
        np.testing.assert_allclose(found[i], expected, atol=1e-6)


# --- features ------------------------------------------------------------------------------------


def test_features_learned_from_classes_are_kept_and_tell_them_apart(monkeypatch):
    data = squares(200)
    said = []
    found = learned(data, images_seen=1500, say=said.append)
    assert found.about["how"] == "classes"
    assert found.about["accuracy"] == 1
    again = learned(data, images_seen=1500, say=said.append)
    assert len(said) == 1
    assert again.digest == found.digest
    images = np.asarray(data.images)
    np.testing.assert_array_equal(found(images), again(images))
    assert found(images).shape == (200, 64)
    kept = found.of_dataset(data)
    monkeypatch.setattr(found, "embed", lambda images: 1 / 0)
    np.testing.assert_array_equal(found.of_dataset(data), kept)


def test_features_learned_without_classes_find_the_same_picture_again():
    patches = np.random.default_rng(0).integers(0, 256, (200, 1, 4, 4)).astype(np.uint8)
    data = Dataset(patches.repeat(2, 2).repeat(2, 3), None, DataSpec((1, 8, 8)), "patches")
    found = learned(data, images_seen=4000)
    assert found.about["how"] == "pairs"
    assert found.about["accuracy"] > 0.5  # one of ten held-out pictures, by luck 0.1
    other = learned(Dataset(data.images, None, data.spec), images_seen=200)  # unnamed data: nothing is kept
    assert other.digest != found.digest


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
        pixels(data.spec)(np.asarray(data.images)).mean(1), 2 * found[:, 0] - 1, rtol=1e-4
    )
    with pytest.raises(ValueError, match=r"must be learned, inception, untrained, pixels, .* got 'vgg'"):
        open_features("vgg", data)
    with pytest.raises(FileNotFoundError, match=r"no such file: .*none\.pt"):
        open_features(str(tmp_path / "none.pt"), data)
    with pytest.raises(ValueError, match="take 1, 3 or 4 channels and the data have 2"):
        open_features(str(tmp_path / "net.pt"), Dataset(np.zeros((4, 2, 8, 8)), None, DataSpec((2, 8, 8))))
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
    spec = DataSpec((1, 8, 8), "float32", None, None, 0.5, 2.0)
    images = RNG(0).standard_normal((4, 1, 8, 8)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(torch.nn.Flatten()).save(str(tmp_path / "net.pt"))
        features = open_features(str(tmp_path / "net.pt"), Dataset(images, None, spec))
    np.testing.assert_array_equal(features(images)[:1], features(images[:1]))
    np.testing.assert_allclose(features(images)[:, :64] * 12 - 5.5, images.reshape(4, -1), atol=0.03)


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
    data = squares(400)
    features = learned(data, images_seen=1500)
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
        np.asarray(squares(80, seed=1).images), data, pixels(data.spec), data.fingerprint, errors=0
    )
    assert found.n == 50
    assert found.trained_on == 50
    assert any("50 of the 80 samples are used" in note for note in found.notes)
    assert any("few for Fréchet distance (2000), KID (200)" in note for note in found.notes)
    assert any("5 held-out ones and 45 of the training part" in note for note in found.notes)
    first, rest = split(data, 50)
    assert set(data.held_out) <= set(first)
    assert sorted([*first, *rest]) == list(range(100))


def test_samples_that_are_not_of_the_datas_kind_are_refused():
    data = squares(100)
    features = pixels(data.spec)
    images = np.asarray(squares(30, seed=1).images)
    with pytest.raises(ValueError, match=r"shape \(1, 4, 8\) and the data \(1, 8, 8\)"):
        compare(images[:, :, :4], data, features)
    with pytest.raises(ValueError, match="from 0 to 1 and the data from 0 to 255: they are not of one range"):
        compare(np.round(images / 255.0), data, features)
    with pytest.raises(ValueError, match="not finite"):
        compare(np.full((30, 1, 8, 8), np.nan), data, features)
    with pytest.raises(ValueError, match=r"12 samples and 24 pictures or more, got 3 and 100"):
        compare(images[:3], data, features)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 3), (3, 5), (7, 7), (9, 2)])
def test_the_exact_law_of_mann_whitney_counts_every_order(n, m):
    orders = [
        sum(i < j for j in b for i in set(range(n + m)) - set(b))
        for b in itertools.combinations(range(n + m), m)
    ]
    for u in range(n * m + 1):
        assert exact_p(n, m, u) == pytest.approx(np.mean(np.array(orders) >= u))


def test_copies_are_told_with_few_held_out_pictures():
    rng = RNG(0)
    training, held_out = rng.standard_normal((60, 16)), rng.standard_normal((3, 16))
    near = np.resize(training, (1000, 16)) + 0.01 * rng.standard_normal((1000, 16))
    found = memorisation(near, training, held_out, "toy")
    assert found.memorises
    assert found.p == pytest.approx(1 / math.comb(1003, 3))
    copies = memorisation(np.resize(training, (1000, 16)), training, held_out, "toy")
    assert copies.p == pytest.approx(1 / math.comb(1003, 3))
    doubled = np.concatenate([held_out, held_out[:1]])
    assert memorisation(held_out, training, doubled, "toy").p > 0.3  # ties count against


def test_long_and_narrow_pictures_have_features():
    images = RNG(0).random((30, 1, 8, 300), np.float32)
    data = Dataset(images, None, DataSpec((1, 8, 300), "float32", 0.0, 1.0, 0.5, 0.5), "narrow")
    assert pixels(data.spec)(images).shape == (30, 8 * 33)
    assert untrained(data)(images).shape == (30, 64)


def test_features_depend_on_what_is_held_out_and_damaged_ones_are_made_again():
    data = squares(100)
    other = Dataset(data.images, data.labels, data.spec, data.fingerprint, holdout=0.5)
    assert untrained(other).digest != untrained(data).digest
    features = untrained(data)
    kept = features.of_dataset(data)
    for path in (cache_folder() / "features").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-8])
    np.testing.assert_array_equal(features.of_dataset(data), kept)
    assert learned(data, images_seen=300).digest == learned(data, images_seen=300).digest


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
    for features in (untrained(data), learned(data, images_seen=300)):
        real = features(data.images[data.training])
        np.testing.assert_allclose(real.mean(0), 0, atol=1e-5)
        assert real.var(0).mean() == pytest.approx(1, rel=1e-4)
    same = Dataset(data.images // 2, data.labels, data.spec, "half")
    assert untrained(data).digest == untrained(data).digest != untrained(same).digest


def test_data_with_other_classes_are_compared_with_but_not_given_to_the_model(tmp_path):
    data, model = squares(100), tiny_denoiser()
    other = Dataset(
        data.images, data.labels, dataclasses.replace(data.spec, classes=("one", "two")), "other names"
    )
    found = card(sample(model, 32, steps=2).images, other, pixels(other.spec), model)
    assert any("the model has the classes" in note and "the data one, two" in note for note in found["notes"])
    assert "levels" not in found
    assert "scores" in found
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="and the data one, two: give the data that it was trained on"):
        Case(tmp_path, other, 8)


def test_the_whole_card_is_json():
    import json

    data, model = squares(100), tiny_denoiser()
    images = sample(model, 32, steps=2).images
    found = card(images, data, pixels(data.spec), model)
    text = json.loads(json.dumps(found))
    assert {"scores", "levels", "bound", "memorisation", "features", "notes"} <= set(text)
    assert [m["space"] for m in text["memorisation"]] == ["pixels"]
    assert np.isfinite(text["bound"]["bits_per_dim"])
    copies = np.asarray(data.images)[data.training[:40]]
    assert all(m.memorises for m in memorising(copies, data, None))
