"""Results: one owner of what is expensive, so that a command loads, draws, reads and measures once."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from alphabar.data import Dataset, prepare
from alphabar.evaluation import comparison, scorecard
from alphabar.model import save
from alphabar.runs import results as module
from alphabar.runs import subject
from alphabar.runs.given import alike, data_of, is_model, read_samples
from alphabar.runs.report import write_report
from alphabar.runs.results import Results
from alphabar.runs.run import Run
from alphabar.sampling import sample
from alphabar.sampling.output import UNFINISHED, write_samples
from tiny import tiny_config, tiny_data, tiny_denoiser


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An .npz, and a run on it."""
    place = tmp_path_factory.mktemp("results")
    made = tiny_data(120)
    np.savez(place / "data.npz", images=made.images[:, 0], labels=made.values["class"])
    data = prepare(place / "data.npz")
    for _ in Run(place / "run", data, tiny_config(images=160), source=str(place / "data.npz")).train():
        pass
    return SimpleNamespace(data=place / "data.npz", run=place / "run")


@pytest.fixture
def calls(monkeypatch):
    """How often each expensive function was called; samples are counted by number."""
    counted = Counter()

    def count(place, name, size=lambda *given, **more: 1):
        original = getattr(place, name)

        def counting(*given, **more):
            found = original(*given, **more)
            counted[name] += size(found)
            return found

        monkeypatch.setattr(place, name, counting)

    count(subject, "load")
    count(module, "sample", len)
    count(module, "read_samples")
    count(module, "data_of")
    count(module, "open_features")
    count(module, "error_by_noise_level")
    count(comparison, "check_memorization")
    count(scorecard, "check_memorization")
    count(module, "check_conditions")
    return counted


def test_a_report_computes_each_thing_once(trained, calls, tmp_path):
    results = Results(trained.run, n=24, features="untrained")
    write_report(results, tmp_path / "page.html")
    assert calls == {
        "load": 1,
        "data_of": 1,
        "sample": 24 + module.WALKERS,  # the samples; and a few of them again, with their ways from noise
        "open_features": 1,
        "error_by_noise_level": 1,
        "check_memorization": 2,  # in pixels and in features
        "check_conditions": 1,
    }


def test_a_diagnosis_computes_each_thing_once_and_no_features(trained, calls):
    assert Results(trained.run, n=16).diagnosis.looked_at
    assert calls == {
        "load": 1, "data_of": 1, "sample": 16, "error_by_noise_level": 1, "check_memorization": 1,
        "check_conditions": 1,
    }  # fmt: skip


def test_samples_that_are_there_are_read_once_and_need_no_model(trained, calls, tmp_path):
    drawn = sample(Results(trained.run).denoiser, 20)
    calls.clear()
    write_samples(tmp_path / "samples", drawn)
    results = Results(tmp_path / "samples", trained.data, n=20, features="pixels")
    card = results.scorecard
    assert calls == {"read_samples": 1, "open_features": 1, "check_memorization": 1}
    assert card["n"] == 20
    assert "noise_levels" not in card
    assert "drawn" not in card
    assert np.array_equal(results.samples.images, drawn.images)
    assert results.samples.told == drawn.told
    with pytest.raises(ValueError, match="neither a run nor a model"):
        results.denoiser  # noqa: B018
    with pytest.raises(ValueError, match="--data DATA"):
        Results(tmp_path / "samples").data  # noqa: B018


def test_a_scorecard_says_how_its_samples_were_drawn(trained):
    card = Results(trained.run, n=16, features="pixels", whole=False).scorecard
    assert card["drawn"]["seed"] == 0
    assert card["drawn"]["elapsed_s"] > 0
    assert "noise_levels" not in card
    assert set(Results(trained.run, n=16, features="pixels").scorecard) - set(card) == {
        "noise_levels",
        "bound",
    }


def test_more_samples_than_asked_are_chosen_at_random_and_said(trained, tmp_path):
    np.save(tmp_path / "many.npy", tiny_data(50).images[:, 0])
    results = Results(tmp_path / "many.npy", trained.data, n=20, features="pixels")
    assert results.samples.images.shape == (20, 1, 8, 8)
    assert len(np.unique(results.samples.indices)) == 20
    assert any("20 of the 50 samples" in note for note in results.scorecard["notes"])


def test_too_few_samples_and_broken_weights_have_no_scores(trained):
    assert "scores need 12 samples" in Results(trained.run, n=3).no_scores
    assert Results(trained.run, n=16).no_scores == ""
    denoiser = tiny_denoiser()
    next(denoiser.net.parameters()).data[:] = np.nan
    broken = Results(denoiser, tiny_data(100), n=16)
    assert "NaN" in broken.no_scores
    with pytest.raises(ValueError, match="alphabar diagnose"):
        broken.samples  # noqa: B018
    assert broken.diagnosis.findings[0].cause == "the weights are not finite"


def test_the_raw_weights_are_those_of_the_newest_sound_checkpoint(trained):
    results = Results(trained.run)
    newest = results.folder.checkpoints()[-1]
    assert results.raw is not None
    content = newest.read_bytes()
    newest.write_bytes(content[: len(content) // 2])
    try:
        earlier = Results(trained.run).raw
        assert (earlier is None) == (len(results.folder.checkpoints()) == 1)
    finally:
        newest.write_bytes(content)
    assert Results(results.denoiser, tiny_data()).raw is None


# --- data ----------------------------------------------------------------------------------------


def test_a_run_finds_its_own_data(trained, tmp_path, monkeypatch):
    data = Results(trained.run).data
    assert data.fingerprint == prepare(trained.data).fingerprint
    alone = tmp_path / "alone.safetensors"
    save(Results(trained.run).denoiser, alone)
    assert Results(alone).data.fingerprint == data.fingerprint
    own = Results(trained.run)
    given_ = Results(trained.run, tiny_data(60)).data
    assert isinstance(given_, Dataset)
    assert len(given_.images) == 60
    with pytest.raises(ValueError, match=r"shape \(1, 8, 8\) and the data's \(1, 6, 6\)"):
        Results(trained.run, tiny_data(size=6)).data  # noqa: B018
    about = own.denoiser.about
    space, conditions = own.denoiser.space, own.denoiser.conditions
    with pytest.raises(FileNotFoundError, match="--data DATA"):
        data_of({**about, "source": str(tmp_path / "gone")}, space, conditions)
    with pytest.raises(ValueError, match="has changed since the model was trained"):
        data_of({**about, "data_fingerprint": "another"}, space, conditions)
    with pytest.raises(ValueError, match="where its data are"):
        data_of({}, space, conditions)
    np.save(tmp_path / "larger.npy", np.zeros((9, 12, 12), np.uint8))
    with pytest.raises(
        ValueError, match=r"data's \(1, 12, 12\): give the data that it was trained on, or data "
    ):
        data_of(about, space, conditions, str(tmp_path / "larger.npy"))


def test_other_data_are_prepared_as_the_models_samples_are(tmp_path):
    for i in range(8):
        plain_picture(tmp_path / "pictures" / f"{i}.png", 24, 20, 30 * i)
    plain = tiny_denoiser(classes=False)
    data = data_of(
        {"source": "elsewhere", "prepared": {"holdout": 0.3}}, plain.space, {}, str(tmp_path / "pictures")
    )
    assert data.space.shape == plain.space.shape
    assert data.holdout == 0.3
    assert not data.conditions
    floats = alike(
        "x.npy", {}, prepare(np.linspace(-3, 5, 96, dtype=np.float32).reshape(6, 4, 4)).space, {"class": 1}
    )
    assert (floats.range, floats.size) == (None, None)  # of fields, which have no bounds
    pixels = np.linspace(0, 1, 96, dtype=np.float32).reshape(6, 4, 4)
    assert alike("x.npy", {}, prepare(pixels).space, {"class": 1}).range == (0, 1)


# --- samples -------------------------------------------------------------------------------------


def plain_picture(path, width, height, value):
    path.parent.mkdir(exist_ok=True)
    Image.new("L", (width, height), value).save(path)


def test_what_is_a_model(trained, tmp_path):
    assert is_model(trained.run)
    assert is_model("some.safetensors")
    assert not is_model(trained.data)
    assert not is_model(tmp_path)


@pytest.mark.parametrize("layout", ["HW", "HWC", "CHW"])
def test_written_samples_come_back_whatever_their_layout(tmp_path, layout):
    from dataclasses import replace

    from alphabar.model import Denoiser, fit_codec

    denoiser = tiny_denoiser()
    codec = fit_codec(replace(denoiser.space, layout=layout))
    drawn = sample(Denoiser(denoiser.net, denoiser.schedule, "eps", codec, denoiser.conditions), 5)
    write_samples(tmp_path / "s", drawn)
    found = read_samples(tmp_path / "s")
    assert np.array_equal(found.images, drawn.images)
    assert found.indices.tolist() == drawn.indices.tolist()
    assert found.told == drawn.told
    (tmp_path / "s" / UNFINISHED).write_text("")
    with pytest.raises(ValueError, match="unfinished"):
        read_samples(tmp_path / "s")


def test_pictures_of_other_sizes_among_samples_are_named(tmp_path):
    for i in range(6):
        plain_picture(tmp_path / "p" / f"{i}.png", 16, 16, i)
    assert read_samples(tmp_path / "p").images.shape == (6, 1, 16, 16)
    plain_picture(tmp_path / "p" / "odd.png", 40, 56, 9)
    with pytest.raises(ValueError, match=r"16 × 16 .* 1 of 7 are not, such as odd.png"):
        read_samples(tmp_path / "p")
    with pytest.raises(FileNotFoundError):
        read_samples(tmp_path / "absent")


def test_a_thousand_pictures_are_not_open_at_once(tmp_path):
    import resource

    for i in range(200):
        plain_picture(tmp_path / "p" / f"{i:03d}.png", 4, 4, i)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, before[1]))
    try:
        assert len(read_samples(tmp_path / "p")) == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_pictures_alone_of_written_samples_are_samples(tmp_path):
    drawn = sample(tiny_denoiser(), 6)
    write_samples(tmp_path / "s", drawn)
    for name in ("samples.npy", "samples.json"):
        (tmp_path / "s" / name).unlink()
    assert np.array_equal(read_samples(tmp_path / "s").images, drawn.images)  # without the sheet of them
