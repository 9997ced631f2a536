"""Kinds of conditions: what each value is told as, what isn't told, what is drawn, refused and warned of."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

from alphabar.data import (
    CONDITIONS,
    ClassCondition,
    PictureCondition,
    PlaceCondition,
    Space,
    TagsCondition,
    TextCondition,
    VectorCondition,
    condition_from,
    prepare,
)
from alphabar.data.conditions.base import is_told
from alphabar.data.conditions.kinds import EXAMPLES, fitted, form_of
from alphabar.files import check_facts
from alphabar.model import Denoiser, fit_codec, load, save
from alphabar.nn import build_network
from alphabar.sampling import sample
from alphabar.sampling.told import evenly, tell
from alphabar.theory.schedule import Schedule
from encoding import embedded_texts

NAMES = ("round", "red", "large")
AGES = np.array([20.0, 30.0, 40.0, 70.0])
CAPTIONS = np.array(["a red cat", "a dog", "two red dogs", "A cat, red!"])
TAGS = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0], [0, 0, 1]])
EMBEDDED = embedded_texts([*CAPTIONS.tolist(), "a large cat"], 8)
EXAMPLE = {  # kind: (condition, the values of four samples, a text, its value)
    "class": (ClassCondition(names=NAMES), np.array([0, 2, 2, 1]), "large", 2),
    "vector": (VectorCondition(), AGES, "40", 40.0),
    "tags": (TagsCondition(names=NAMES), TAGS, "red, round", [1, 1, 0]),
    "text": (TextCondition(size=8), CAPTIONS, "a large cat", "a large cat"),
    "embedding": (EMBEDDED, CAPTIONS, "a large cat", "a large cat"),
    "picture": (
        PictureCondition(space=Space((2, 3, 4)).to_dict()), np.arange(96.0).reshape(4, 2, 3, 4), "", None
    ),
    "place": (
        PlaceCondition.of((8, 4), (20, 7)), np.array([[0.0, 0], [20, 7], [3, 4], [8, 1]]), "8, 1", [8.0, 1.0]
    ),
}  # fmt: skip
TYPED = [kind for kind in CONDITIONS if kind != "picture"]  # the others: see test_pairs.py


@pytest.fixture(params=CONDITIONS)
def row(request):
    """A condition of each kind, fitted to values beside another one, with them, a text and its value."""
    condition, values, text, value = EXAMPLE[request.param]
    both = {"it": condition, "other": VectorCondition()}
    known = fitted(both, {"it": values, "other": AGES}, np.arange(4))
    return known["it"], values, text, value


def test_every_kind_has_zeros_for_what_is_not_told_and_something_else_for_every_value(row):
    condition, values, _, _ = row
    encoded = condition.encode([*values.tolist(), None])
    assert encoded.dtype == np.float32
    assert encoded.shape == (5, *condition.shape)
    assert not encoded[-1].any()
    assert encoded[:-1].any(axis=1).all()
    assert np.array_equal(condition.encode(values), encoded[:-1])


def test_every_kind_is_itself_again_from_json_and_its_facts_have_their_form(row):
    condition = row[0]
    facts = json.loads(json.dumps(condition.to_dict()))
    check_facts("a file", facts, form_of(condition.kind))
    assert condition_from(facts) == condition
    for name in type(condition).form:
        with pytest.raises(ValueError, match=name):
            check_facts("a file", {**facts, name: {"a": 1}}, form_of(condition.kind))


@pytest.mark.parametrize("row", TYPED, indirect=True)
def test_every_kind_reads_what_a_person_types_and_says_it(row):
    condition, _, text, value = row
    assert condition.parse(text) == value
    assert condition.parse("none") is None
    assert condition.values("it", text, 2) == [value] * 2
    assert condition.values("it", [value, None, text], 3) == [value, None, value]
    assert condition.title(None) == condition.title(math.nan) == "none"
    assert condition.parse(condition.title(value)) == value
    assert condition.described()
    if condition.kind not in ("text", "embedding"):  # any is one
        with pytest.raises(ValueError, match=r"it: .*nothing of the kind"):
            condition.values("it", "nothing of the kind", 1)


@pytest.mark.parametrize("row", TYPED, indirect=True)
def test_every_kind_draws_values_of_training_samples_and_all_conditions_those_of_the_same(row):
    condition, values, _, _ = row
    drawn = condition.draw(np.linspace(0, 1, 9)[:-1])
    assert drawn == [value for value in values.tolist() for _ in range(2)]


def test_what_is_missing_in_an_array_is_not_told():
    assert is_told(np.array([1.0, math.nan])).tolist() == [True, False]
    assert is_told(np.array([[1.0, 2.0], [math.nan, 1.0]])).tolist() == [True, False]
    age = VectorCondition().fitted(np.array([10.0, math.nan, 30.0]))
    assert (age.mean, age.scale, age.low, age.high) == ((20.0,), (10.0,), (10.0,), (30.0,))
    assert age.encode(np.array([math.nan, 20.0, 30.0])).tolist() == [[0, 0], [0, 1], [1, 1]]
    color = ClassCondition(names=("r", "g")).fitted(np.array([1.0, math.nan, 1.0]))
    assert color.counts == (0, 2)
    assert color.encode(np.array([1.0, math.nan])).tolist() == [[0, 1], [0, 0]]
    known = age.with_examples(np.array([10.0, math.nan]))
    assert known.draw(np.array([0.0, 0.5])) == [10.0, None]


def test_the_mean_is_not_what_is_not_told_and_a_constant_has_no_scale():
    place = VectorCondition(size=2).fitted(np.array([[0.0, 5.0], [4.0, 5.0]]))
    assert place.encode([[2.0, 5.0], None]).tolist() == [[0, 0, 1], [0, 0, 0]]
    np.testing.assert_allclose(place.encode([[4.0, 6.0]]), [[0.5**0.5, 0.5**0.5, 1]], rtol=1e-6)
    assert place.parse("4; 6") == [4.0, 6.0]
    assert place.is_one([2.0, 5.0])
    assert not place.is_one([[2.0, 5.0]])


@pytest.mark.parametrize("size", [0, 1, 7, 384])
def test_numbers_are_told_with_a_mean_square_length_of_one_and_agree_with_themselves_alone(size):
    values = np.random.default_rng(0).normal(3, 5, (500, size) if size else 500)
    condition = VectorCondition(size=size).fitted(values)
    encoded = condition.encode(values)
    assert np.square(encoded[:, :-1]).sum(1).mean() == pytest.approx(1, abs=1e-5)
    assert condition.agreement(encoded, encoded) == 1
    assert condition.agreement(np.zeros_like(encoded), encoded) == pytest.approx(0, abs=1e-5)


def test_no_tag_is_something_else_than_not_told():
    tags = TagsCondition(names=NAMES)
    assert tags.encode([[0, 0, 0], None]).tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]
    assert tags.parse("") == [0, 0, 0]
    assert (tags.title([0, 0, 0]), tags.title([1, 0, 1])) == ("no tags", "round, large")
    assert tags.fitted(TAGS).described() == "round (2), red (1), large (2)"
    odd = TagsCondition(names=("a, b", "none", "a"))
    assert [odd.parse(text) for text in ("a, b", "none", "a;none")] == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_texts_are_told_by_the_words_in_them():
    text = TextCondition(size=64)
    one, two, same, other, empty = text.encode([*CAPTIONS[[0, 1, 3]], "red", ""])
    assert not empty.any()
    np.testing.assert_allclose(np.linalg.norm(one[:-1]), 1, atol=0.5)
    away = {name: float(np.linalg.norm(one - each)) for name, each in (("two", two), ("same", same))}
    assert away["same"] < 1e-6  # the same words in another order, with other signs and letters
    assert away["two"] > 0.5
    assert np.count_nonzero(other) == 2
    again = TextCondition(size=64).encode(np.array(["a red cat"]))[0]
    assert np.array_equal(again, one)
    assert "hashed bags of words" in text.described()
    assert (text.parse(" , "), text.title("x" * 99)) == (None, "x" * 59 + "…")


def test_words_that_training_never_saw_are_warned_of(monkeypatch):
    known = TextCondition(size=64).fitted(np.array(["A red cat", "", "blue dogs", "a red cat"]))
    assert known.words == ("a", "blue", "cat", "dogs", "red")
    with warnings.catch_warnings(action="error"):
        known.check_told("caption", ["a Red CAT"])
        replace(known, dropout=0.1).check_asked("caption", ["blue cat", None])
    with pytest.warns(UserWarning, match="caption: no training sample had dinosaur, green in it"):
        replace(known, dropout=0.1).check_asked("caption", ["a green Dinosaur", None, "cat"])
    monkeypatch.setattr("alphabar.data.conditions.text.MOST_WORDS", 3)
    assert TextCondition(size=64).fitted(np.array(["A red cat", "blue dogs"])).words == ()


@pytest.mark.parametrize(
    ("condition", "value", "message"),
    [
        (TextCondition(), 3, "a value must be a text, got"),
        (VectorCondition(), "old", "a value must be a number, 20 to 70, got 'old'"),
        (VectorCondition(), "inf", "a number, 20 to 70, got 'inf'"),
        (VectorCondition(), "1,2", "a number, 20 to 70, got '1,2'"),
        (VectorCondition(), math.inf, "got .*inf"),
        (VectorCondition(size=2), [1.0, 2.0, 3.0], "2 numbers, got"),
        (TagsCondition(names=NAMES), "red,rund", "unknown tag 'rund'; .*did you mean 'round'"),
        (TagsCondition(names=NAMES), [0, 2, 0], r"3 numbers 0 or 1, or names .*got \[\[0, 2, 0\]\]"),
        (TagsCondition(names=NAMES), [0, 1], "3 numbers 0 or 1"),
    ],
)
def test_what_is_no_value_is_refused_with_what_is_accepted(condition, value, message):
    condition = condition if getattr(condition, "size", 1) else condition.fitted(AGES)
    with pytest.raises(ValueError, match=message):
        condition.values("it", value, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VectorCondition(size=2, mean=(1.0,)), "mean of a vector must be 2 numbers"),
        (lambda: VectorCondition(scale=(0.0,)), "scale of a vector must be above 0"),
        (lambda: VectorCondition(size=-1), "size of a vector must be a whole number of at least 0"),
        (lambda: TagsCondition(), "a tags? condition needs the names of its tags"),
        (lambda: TagsCondition(names=("a", "a")), "names of tags must differ"),
    ],
)
def test_conditions_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_training_never_saw_is_warned_of():
    age = VectorCondition(dropout=0.1).fitted(AGES)
    with pytest.warns(UserWarning, match="age 90 lies outside of what was trained on, 20 to 70"):
        age.check_asked("age", [30.0, 90.0, None])
    rows = np.random.default_rng(0).normal(size=(50, 200))
    many = VectorCondition(size=200, dropout=0.1).fitted(rows[:49])
    with pytest.warns(UserWarning, match=r"many (\S+, ){7}\S+ and so on lies outside"):
        many.check_asked("many", [(3 * rows[49]).tolist()])
    tags = TagsCondition(names=NAMES, counts=(3, 0, 1), dropout=0.1)
    with pytest.warns(UserWarning, match="no training sample was of tags red: it was never learned"):
        tags.check_asked("tags", [[0, 1, 0], None])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        age.check_asked("age", [20.0, 70.0, None])
        tags.check_asked("tags", [[1, 0, 1], None])
        many.check_asked("many", [rows[49].tolist()])  # some of 200 numbers are new by chance
        age.check_told("age", [90.0])  # of data, nothing is asked


def test_the_examples_are_bounded_and_of_the_same_training_samples():
    n, training = 5000, np.arange(0, 5000, 2)
    conditions = {
        "a": VectorCondition(),
        "b": VectorCondition(size=100),
        "c": ClassCondition(names=("x", "y")),
    }
    numbers = np.arange(n, dtype=float)
    values = {"a": numbers, "b": numbers[:, None] + np.arange(100), "c": (numbers >= 2500).astype(int)}
    known = fitted(conditions, values, training)
    a, b, c = (known[name].examples for name in "abc")
    assert len(a) == len(b) == len(c) == 327  # of 100 numbers each, 2^15 in all
    assert [row[0] for row in b] == list(a)
    assert [int(value >= 2500) for value in a] == list(c)
    assert not any(value % 2 for value in a)
    assert len(fitted({"a": conditions["a"]}, values, training)["a"].examples) == EXAMPLES
    alone = fitted({"c": conditions["c"]}, values, training)["c"]
    assert (alone.counts, alone.examples) == ((1250, 1250), ())


# --- in a model ----------------------------------------------------------------------------------


def model_told(dropout=0.1, **conditions):
    """A small network with random weights, told these."""
    space, n = Space((5,), "float32", -1.0, 1.0), len(AGES)
    values = {name: EXAMPLE[condition.kind][1] for name, condition in conditions.items()}
    known = fitted(conditions, values, np.arange(n))
    known = {name: type(c)(**{**c.__dict__, "dropout": dropout}) for name, c in known.items()}
    shapes = {name: condition.shape for name, condition in known.items()}
    net = build_network({"name": "mlp", "width": 16, "blocks": 1}, space.shape, shapes)
    return Denoiser(net, Schedule.linear(100), "v", fit_codec(space), known).eval().requires_grad_(False)


def several(**settings):
    rows = {"kind": EXAMPLE["class"][0], "age": EXAMPLE["vector"][0], "tags": EXAMPLE["tags"][0]}
    return model_told(**rows, **settings)


def test_a_model_knows_any_number_of_conditions_by_name_and_they_are_in_its_file(tmp_path):
    model = several()
    save(model, tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors", "cpu")
    assert again.conditions == model.conditions
    cond = {"kind": "red", "age": [35, None], "tags": "red;large"}
    a, b = (sample(each, 2, cond=cond, evaluations=2) for each in (model, again))
    assert a.told == {"kind": [1, 1], "age": [35, None], "tags": [[0, 1, 1]] * 2}
    assert a.images.tobytes() == b.images.tobytes()


def test_what_is_not_given_is_drawn_together_and_beside_what_is_given_not_told():
    drawn = sample(several(), 40, evaluations=1).told
    rows = {(EXAMPLE["class"][1][i], age, tuple(TAGS[i].tolist())) for i, age in enumerate(AGES.tolist())}
    told = zip(drawn["kind"], drawn["age"], map(tuple, drawn["tags"]), strict=True)
    assert set(told) == rows
    one = sample(several(), 3, cond={"age": 30}, evaluations=1).told
    assert one == {"kind": [None] * 3, "age": [30] * 3, "tags": [None] * 3}
    always = sample(several(dropout=0.0), 9, cond={"age": 30}, evaluations=1).told
    assert {(k, tuple(t)) for k, t in zip(always["kind"], always["tags"], strict=True)} <= {
        (k, t) for k, _, t in rows
    }


# --- asked for on the command line ---------------------------------------------------------------


def told_in(folder):
    return json.loads((folder / "samples.json").read_text())["told"]


def test_a_table_tells_each_sample_its_own(tmp_path, done, refused):
    save(several(), tmp_path / "m.safetensors")
    (tmp_path / "t.csv").write_text("age,tags,kind\n35,red;large,round\n,,large\n60.5,red,\n")
    rows = [
        {"age": 35, "tags": ["red", "large"], "kind": "round"},
        {"kind": "large"},
        {"age": 60.5, "tags": ["red"]},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    how = ["sample", tmp_path / "m.safetensors", "--steps", 1]
    for ending in ("csv", "jsonl"):
        _, said = done(*how, "--cond-from", tmp_path / f"t.{ending}", "--out", tmp_path / ending)
        assert "drawn at random" not in said
        assert told_in(tmp_path / ending) == {
            "kind": [0, 2, None], "age": [35.0, None, 60.5], "tags": [[0, 1, 1], None, [0, 1, 0]],
        }  # fmt: skip
    (tmp_path / "two.csv").write_text("age\n35\n40\n")
    two = ["--cond-from", tmp_path / "two.csv", "-n", 2]
    done(*how, *two, "--cond", "kind=red", "--out", tmp_path / "both")
    assert told_in(tmp_path / "both") == {"kind": [1, 1], "age": [35.0, 40.0], "tags": [None, None]}
    (tmp_path / "gaps.csv").write_text('age,kind\n35,\n,\n"",""\n\n40,red\n')
    done(*how, "--cond-from", tmp_path / "gaps.csv", "--out", tmp_path / "gaps")
    assert told_in(tmp_path / "gaps")["age"] == [35.0, None, None, 40.0]  # a row of nothing is one, too
    (tmp_path / "wrong.csv").write_text("age,sise\n35,1\n")
    (tmp_path / "empty.csv").write_text("age\n")
    for arguments, message in (
        (["two.csv", "--cond", "age=3"], "age is told twice, '3' and by"),
        (["two.csv", "-n", 3], "has 2 rows, a sample each, and -n is 3"),
        (["two.csv", "-n", 16], "has 2 rows, a sample each, and -n is 16"),  # the default elsewhere
        (["wrong.csv"], "unknown condition 'sise'; known: age, kind, tags"),
        (["empty.csv"], "has no rows"),
        (["gone.csv"], "no such table or folder: "),
        (
            ["two.csv", "--first", 2**56 - 1],
            "samples are numbered up to 2^56 - 1, got --first 720575940379279",
        ),
    ):
        file, *more = arguments
        assert message in refused(*how, "--cond-from", tmp_path / file, *more, "--out", tmp_path / "no")


def test_a_vector_is_asked_for_by_a_file(tmp_path, done, refused):
    space, rows = Space((5,), "float32", -1.0, 1.0), np.random.default_rng(0).normal(size=(40, 384))
    known = fitted({"emb": VectorCondition(size=384, dropout=0.1)}, {"emb": rows}, np.arange(40))
    net = build_network({"name": "mlp", "width": 16, "blocks": 1}, space.shape, {"emb": (385,)})
    save(Denoiser(net, Schedule.linear(100), "v", fit_codec(space), known), tmp_path / "m.safetensors")
    for name, array in (
        ("one", rows[0]),
        ("two", rows[:2]),
        ("short", rows[0, :9]),
        ("words", np.array(["a"])),
    ):
        np.save(tmp_path / f"{name}.npy", array)
    how = ["sample", tmp_path / "m.safetensors", "--steps", 1]
    for name, wanted in (("one", [rows[0]] * 2), ("two", rows[:2])):
        done(*how, "-n", 2, "--cond", f"emb={tmp_path / name}.npy", "--out", tmp_path / name)
        assert np.array_equal(told_in(tmp_path / name)["emb"], wanted)
    (tmp_path / "t.csv").write_text(f"emb\n{tmp_path / 'one.npy'}\n\n{tmp_path / 'one.npy'}\n")
    done(*how, "--cond-from", tmp_path / "t.csv", "--out", tmp_path / "t")
    assert told_in(tmp_path / "t")["emb"] == [rows[0].tolist()] * 2
    for name, message in (
        ("short", "emb: a value must be 384 numbers, got float64 (9,)"),
        ("words", "must hold numbers, got <U1"),
        ("gone", "no such file"),
    ):
        file = f"emb={tmp_path / name}.npy"
        assert message in refused(*how, "-n", 2, "--cond", file, "--out", tmp_path / "no")
    assert "such as 1,2 or FILE.npy" in refused(*how, "--cond", "emb=1,2", "--out", tmp_path / "no")


def test_scales_by_name_are_taken_and_written(tmp_path, done, refused):
    save(several(), tmp_path / "m.safetensors")
    how = ["sample", tmp_path / "m.safetensors", "-n", 1, "--steps", 2, "--cond", "age=35", "--cond", "tags="]
    done(*how, "--guidance", "age=2,tags=1.5", "--out", tmp_path / "s")
    facts = json.loads((tmp_path / "s" / "samples.json").read_text())
    assert facts["guidance"]["scale"] == {"age": 2.0, "tags": 1.5}
    assert (facts["evaluations"], facts["told"]["tags"]) == (6, [[0, 0, 0]])
    assert "unknown condition 'aeg'" in refused(*how, "--guidance", "aeg=2", "--out", tmp_path / "n")


def test_any_subset_of_conditions_is_hidden_often_enough_to_be_learned():
    """Hidden each by itself with 0.1, all six would be hidden from one sample of a million."""
    from alphabar.training.inputs import hide
    from tiny import tiny_config

    config, names = tiny_config(condition_dropout=0.1, batch_size=40_000), "abcdef"
    told = hide({name: np.ones((40_000, 1), np.float32) for name in names}, config, 0)
    kept = np.stack([told[name][:, 0] for name in names], 1)
    assert 1 - kept.mean(0) == pytest.approx(np.full(6, 0.1), abs=0.006)
    shares = np.bincount((1 - kept).sum(1).astype(int), minlength=7) / len(kept)
    assert shares[1:] == pytest.approx(np.full(6, 0.2 / 7), abs=0.004)
    alone = {tuple(row) for row in kept[kept.sum(1) == 1].tolist()}
    assert len(alone) == 6


def test_each_condition_is_hidden_as_often_as_its_own_share(tmp_path):
    from alphabar.training.config import TrainConfig
    from alphabar.training.fitted import conditions_told
    from alphabar.training.inputs import hide
    from tiny import tiny_config

    config = tiny_config(condition_dropout="age=0.6, kind=0, size=0.9", batch_size=20_000)
    assert isinstance(config, TrainConfig)
    assert config.condition_dropout == {"age": 0.6, "kind": 0.0, "size": 0.9}
    told = {name: np.ones((20_000, 2), np.float32) for name in ("age", "kind", "tags", "size")}
    hidden = {name: 1 - values[:, 0].mean() for name, values in hide(told, config, 0).items()}
    assert hidden["kind"] == 0
    assert hidden["size"] == pytest.approx(0.9, abs=0.01)
    assert hidden["age"] == pytest.approx(0.6, abs=0.02)
    assert hidden["tags"] == pytest.approx(0.1, abs=0.01)
    data = prepare((np.zeros((6, 8, 8), np.uint8), {"age": [1.5, 2, 3, 4, 5, 6]}), holdout=0)
    assert conditions_told(tiny_config(condition_dropout={"age": 0.25}), data)["age"].dropout == 0.25
    with pytest.raises(ValueError, match="unknown condition in condition_dropout 'aeg'; known: age"):
        conditions_told(tiny_config(condition_dropout={"aeg": 0.25}), data)
    with pytest.raises(ValueError, match=r"must lie within 0 and 1 .*, got 1\.5"):
        tiny_config(condition_dropout={"age": 1.5})


@pytest.mark.parametrize("first", [0, 12_345, 2**55])
def test_consecutive_samples_are_told_classes_as_often_as_the_data_have_them(first):
    names = tuple("abcd")
    condition = replace(ClassCondition(names=names), counts=(100, 0, 250, 650))
    net = build_network({"name": "mlp", "width": 8}, (2,), {"class": (4,)})
    denoiser = Denoiser(
        net, Schedule.linear(10), "eps", fit_codec(Space((2,), "float32", 0, 1)), {"class": condition}
    )
    indices = first + np.arange(5000)
    for seed in (0, 2**62 + 7):
        told = np.array(tell(denoiser, indices, seed, {})["class"])
        for n in (40, 1000, 5000):
            counts = np.bincount(told[:n], minlength=4)
            assert np.abs(counts - n * np.array([0.1, 0, 0.25, 0.65])).max() <= 3
        assert tell(denoiser, indices[700:703], seed, {})["class"] == told[700:703].tolist()


def test_what_one_sample_is_told_is_uniform_over_seeds():
    u = np.array([evenly(seed, np.array([0, 7, 2**56 - 1])) for seed in range(2000)])
    assert u.min() >= 0
    assert u.max() < 1
    assert np.abs(np.sort(u, 0) - (np.arange(2000)[:, None] + 0.5) / 2000).max() < 0.04
