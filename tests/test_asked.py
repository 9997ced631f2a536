"""Is what a model is told used, and do samples show it: for each kind of condition, healthy and shuffled."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from alphabar.cli.expected import WORTH_A_LOOK, tell_ignored
from alphabar.data import (
    CONDITIONS,
    ClassCondition,
    Dataset,
    Space,
    TagsCondition,
    TextCondition,
    VectorCondition,
)
from alphabar.data.conditions.kinds import fitted
from alphabar.evaluation.asked import how_well_met
from alphabar.evaluation.comparison import embed
from alphabar.evaluation.conditioning import check_conditions
from alphabar.evaluation.features import pixel_features
from alphabar.evaluation.within import within_classes
from alphabar.model import load
from alphabar.runs import train
from alphabar.sampling import sample
from encoding import embedded_texts

WORDS = (("warm", "cold"), ("soft", "hard"))
CONDITIONS_HERE = {
    "kind": ClassCondition(names=("a", "b", "c")),
    "age": VectorCondition(),
    "tags": TagsCondition(names=("hat", "beard", "glasses")),
    "caption": TextCondition(size=32),
    "phrase": embedded_texts([f"a {a} and {b} phrase" for a in WORDS[0] for b in WORDS[1]], 16),
}
CENTERS = np.array([[-1.0, -1], [1, -1], [0, 1]])


def samples_told(n=1200, shuffled=False):
    """Numbers: two by the class, one by the age, one a tag and word; or what is told is of others."""
    rng = np.random.default_rng(0)
    values = {
        "kind": rng.integers(0, 3, n),
        "age": rng.uniform(20, 80, n),
        "tags": rng.integers(0, 2, (n, 3)),
    }
    words = rng.integers(0, 2, (n, 2))
    values["caption"] = np.array([f"a {WORDS[0][i]} and {WORDS[1][j]} thing" for i, j in words.tolist()])
    shown = [
        CENTERS[values["kind"]],
        (values["age"][:, None] - 50) / 20,
        1.6 * values["tags"] - 0.8,
        1.6 * words - 0.8,
    ]
    phrases = rng.integers(0, 2, (n, 2))
    values["phrase"] = np.array([f"a {WORDS[0][i]} and {WORDS[1][j]} phrase" for i, j in phrases.tolist()])
    shown.append(1.6 * phrases - 0.8)
    images = (np.concatenate(shown, 1) + 0.15 * rng.standard_normal((n, 10))).astype(np.float32)
    if shuffled:
        values = {name: column[rng.permutation(n)] for name, column in values.items()}
    data = Dataset(
        images, Space((10,), "float32", None, None), CONDITIONS_HERE, values, f"told {shuffled}", 0.2
    )
    data.conditions = fitted(CONDITIONS_HERE, values, data.training)
    return data


@pytest.fixture(scope="module", params=[False, True], ids=["healthy", "shuffled"])
def trained(request, tmp_path_factory):
    """(whether it was shuffled, the data, the model)."""
    data = samples_told(shuffled=request.param)
    folder = tmp_path_factory.mktemp("asked") / "run"
    settings = {"schedule": {"name": "cosine", "T": 100}, "batch_size": 128, "lr": 4e-3, "optimizer": "adamw"}
    settings |= {"condition_dropout": 0.3}  # so that it also learns what it is told little of
    network = {"name": "mlp", "width": 64, "blocks": 2}
    list(train(data, folder, network=network, images=51_200, warmup_images=640, previews=False, **settings))
    return request.param, data, load(folder, "cpu")


def test_the_check_accepts_the_healthy_and_refuses_the_shuffled_for_each_kind(trained):
    shuffled, data, model = trained
    found = check_conditions(model, data)
    elsewhere = {"picture", "place"}  # test_pairs.py, test_whole.py
    assert {model.conditions[name].kind for name in found} == set(CONDITIONS) - elsewhere
    assert {name: one.used for name, one in found.items()} == dict.fromkeys(CONDITIONS_HERE, not shuffled)
    said = []
    run = SimpleNamespace(trainer=SimpleNamespace(ema=model, images=WORTH_A_LOOK), data=data)
    tell_ignored(run, said.append)
    assert [text.split(" is ignored")[0] for text in said] == [
        f"the {name}" for name in CONDITIONS_HERE if shuffled
    ]


def test_what_was_asked_is_predicted_back_from_samples_of_the_healthy_alone(trained):
    shuffled, _, model = trained
    data = samples_told()  # as they are
    values = {name: column[:200].tolist() for name, column in data.values.items()}
    drawn = sample(model, 200, cond=values, evaluations=12)
    found = {
        m.name: m
        for m in how_well_met(embed(drawn.images, data, pixel_features(data)), drawn.told, model.conditions)
    }
    assert set(found) == set(CONDITIONS_HERE)
    for name, chance in (("kind", 1 / 3), ("age", 0.0), ("tags", 0.5), ("caption", 0.0), ("phrase", 0.0)):
        met = found[name]
        assert met.n == 200
        assert met.real > 0.9
        if shuffled:
            assert met.samples < chance + 0.15
        else:
            assert met.samples > met.real - 0.12
    alone = how_well_met(
        embed(drawn.images, data, pixel_features(data)), {"age": [None] * 200}, model.conditions
    )
    assert alone == []


def test_a_class_that_is_wrong_is_first_and_small_ones_are_left_out_and_said():
    rng = np.random.default_rng(1)
    kinds = np.repeat([0, 1, 2], (300, 300, 60))
    images = (CENTERS[kinds] + 0.3 * rng.standard_normal((660, 2))).astype(np.float32)
    condition = ClassCondition(names=("a", "b", "c"))
    data = Dataset(images, Space((2,), "float32", None, None), {"k": condition}, {"k": kinds}, "x", 0.2)
    told = np.repeat([0, 1, 2], (90, 90, 90)).tolist()
    drawn = (CENTERS[told] + 0.3 * rng.standard_normal((270, 2))).astype(np.float32)
    drawn[90:180] += 0.5  # b
    embedded = embed(drawn, data, pixel_features(data))
    found, notes = within_classes(embedded, {"k": [*told[:-1], None]}, {"k": condition})
    assert [one.name for one in found] == ["b", "a"]
    wrong, right = found
    assert wrong.value > wrong.floor + 5 * max(wrong.error, wrong.floor_error)
    assert abs(right.value) < 4 * right.error
    assert (right.n, right.real + right.reference) == (90, 300)
    (note,) = notes
    assert "no score within these values of k, which takes 50 samples" in note
    assert ": c (89, " in note
    shuffled = np.random.default_rng(0).permutation(told).tolist()  # nothing is told
    assert all(
        one.value > 3 * one.error + abs(one.floor)
        for one in within_classes(embedded, {"k": shuffled}, {"k": condition})[0]
    )
    assert within_classes(embedded, {}, {"k": condition}) == ([], [])


def test_told_some_of_them_the_others_have_their_marginal(trained):
    shuffled, data, model = trained
    if shuffled:
        pytest.skip("it ignores what it is told")
    drawn = sample(
        model,
        300,
        cond={"age": 70, "tags": None, "kind": None, "caption": None, "phrase": None},
        evaluations=12,
    ).images
    assert drawn[:, 2].mean() == pytest.approx(1.0, abs=0.3)
    others = np.asarray(data.images)[:, [0, 1, 3, 4, 5]]
    np.testing.assert_allclose(drawn[:, [0, 1, 3, 4, 5]].mean(0), others.mean(0), atol=0.25)
    np.testing.assert_allclose(drawn[:, [0, 1, 3, 4, 5]].std(0), others.std(0), atol=0.25)
