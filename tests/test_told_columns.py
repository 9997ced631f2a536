"""What is told comes from columns of files, tables, arrays and mappings, each as what it plainly is."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

from alphabar.data import prepare
from alphabar.data.sources.typed import is_class, read_cells
from alphabar.runs import train
from program import pictures

AGES = [20.5, 30, 41, 52, 63, 74]
COLORS = ["red", "blue", "red", "red", "blue", "blue"]
TAGS = ["hat;glasses", "", "hat", "glasses", "hat", "beard;hat"]
HOT = [[0, 1, 1], None, [0, 0, 1], [0, 1, 0], [0, 0, 1], [1, 0, 1]]


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1.5", "2", "NA", None], "vector", [1.5, 2, math.nan, math.nan]),
        ([1, 2, 3], "vector", [1, 2, 3]),
        ([[0.5, 1], [2, 3], None], "vector", [[0.5, 1], [2, 3], [math.nan] * 2]),
        (["b", "a", "b"], "class", [1, 0, 1]),
        (["b", None, "a"], "class", [1, math.nan, 0]),
        ([True, False, True], "class", [1, 0, 1]),
        (["b|a", "a", " c | a"], "tags", [[1, 1, 0], [1, 0, 0], [1, 0, 1]]),
        ([["b"], [], ["a", "b"]], "tags", [[0, 1], [0, 0], [1, 1]]),
        ([[0, 1], [1, 1]], "tags", [[0, 1], [1, 1]]),
    ],
    ids=str,
)
def test_a_column_is_what_it_plainly_is(cells, kind, values):
    condition, found = read_cells(cells)
    assert condition.kind == kind
    np.testing.assert_array_equal(found, np.array(values, float))
    again, same = read_cells(cells, kind)
    assert again == condition
    np.testing.assert_array_equal(same, found)


def test_many_texts_are_told_by_their_words_if_they_have_several():
    texts = [f"a text of its own {i}" for i in range(60)]
    assert read_cells(texts)[0].kind == "text"
    assert read_cells([*texts, None])[1].tolist() == [*texts, ""]
    assert read_cells([f"name_{i}" for i in range(60)]) is None
    assert read_cells(["a", "b"], "text")[0].kind == "text"
    assert len(read_cells(texts, "class")[0].names) == 60
    assert read_cells(["a, b", "b"], "tags")[0].names == ("a", "b")
    assert read_cells([3, 1, 3], "class")[0].names == ("1", "3")
    for kind, cells in (("vector", texts), ("tags", [1, 2]), ("class", [1.5, 2.0]), ("text", [1, 2])):
        with pytest.raises(ValueError, match=r"got (\[|'a text)"):
            read_cells(cells, kind)


def test_one_column_alone_is_the_class_if_it_holds_texts_or_whole_numbers():
    assert is_class(["7", "2"])
    assert is_class(["a", "b"])
    assert not is_class(["7.5", "2"])
    assert not is_class(["a;b", "b"])
    assert not is_class(["7", "2"], "vector")
    assert is_class(["7.5", "2"], "class")


def rows_of(folder):
    return sorted(path.name for path in (folder / "pics").iterdir())


def sheet(names, missing=None):
    rows = zip(names, AGES, COLORS, TAGS, range(6), strict=True)
    return "name,age,color,tags,url\n" + "".join(
        f"{n},{'' if i == missing else a},{c},{t},http://{n}/{i}\n" for n, a, c, t, i in rows
    )


def check_told(data, ages=AGES):
    assert {name: condition.kind for name, condition in data.conditions.items()} == {
        "age": "vector", "color": "class", "tags": "tags",
    }  # fmt: skip
    np.testing.assert_array_equal(data.values["age"], ages)
    assert [data.conditions["color"].names[i] for i in data.values["color"]] == COLORS
    assert data.conditions["tags"].names == ("beard", "glasses", "hat")
    found = [None if math.isnan(row[0]) else row.tolist() for row in data.values["tags"]]
    assert found == HOT


def test_columns_of_a_file_beside_pictures_are_told_by_name(tmp_path):
    pictures(tmp_path / "pics", 6)
    names = rows_of(tmp_path)
    file = tmp_path / "labels.csv"
    file.write_text(sheet(names, missing=2), encoding="utf-8")
    for _ in range(2):  # the second time from the cache
        data = prepare(tmp_path / "pics", labels=str(file), conditions="url=skip", holdout=0, size=8)
        check_told(data, [*AGES[:2], math.nan, *AGES[3:]])
        assert data.conditions["age"].low == (20.5,)
        assert any("age (vector), color (class), tags (tags)" in note for note in data.notes)
        assert any("not told: url" in note for note in data.notes)
    before = data.fingerprint
    file.write_text(sheet(names), encoding="utf-8")
    assert prepare(tmp_path / "pics", labels=str(file), holdout=0, size=8).fingerprint != before


def test_json_has_lists_and_numbers_of_their_own(tmp_path):
    pictures(tmp_path / "pics", 6)
    rows = [
        {"file_name": name, "age": age, "color": color, "tags": [t for t in tags.split(";") if t] or None}
        for name, age, color, tags in zip(rows_of(tmp_path), AGES, COLORS, TAGS, strict=True)
    ]
    (tmp_path / "pics" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    check_told(prepare(tmp_path / "pics", labels="metadata.jsonl", holdout=0, size=8))
    one = prepare(tmp_path / "pics", labels="metadata.jsonl:age", holdout=0, size=8)
    assert list(one.conditions) == ["age"]
    two = prepare(tmp_path / "pics", labels="metadata.jsonl:file_name,age,color", holdout=0, size=8)
    assert list(two.conditions) == ["age", "color"]


def test_what_a_column_is_told_as_can_be_said_otherwise(tmp_path):
    pictures(tmp_path / "pics", 6)
    file = tmp_path / "labels.csv"
    file.write_text(sheet(rows_of(tmp_path)), encoding="utf-8")
    kinds = {"age": "class", "color": "tags", "tags": "skip", "url": "skip"}
    data = prepare(tmp_path / "pics", labels=str(file), conditions=kinds, size=8)
    assert {name: c.kind for name, c in data.conditions.items()} == {"age": "class", "color": "tags"}
    assert data.conditions["age"].names == ("20.5", "30", "41", "52", "63", "74")
    with pytest.raises(ValueError, match=r"color of .*a vector is a finite number, .* got 'red' in row 0"):
        prepare(tmp_path / "pics", labels=str(file), conditions=kinds | {"color": "vector"}, size=8)
    for wrong, message in (
        (
            "age=number",
            "unknown kind of condition 'number'; known: class, vector, tags, text, embedding, picture, skip",
        ),
        ("age", "conditions must be NAME=KIND"),
        ("aeg=vector", "conditions says what aeg is, and what can be told in .* is age, color, tags, url"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(tmp_path / "pics", labels=str(file), conditions=wrong, size=8)
    with pytest.raises(ValueError, match=r"conditions says what columns .* no labels are given"):
        prepare(tmp_path / "pics", conditions="age=vector", size=8)
    with pytest.raises(ValueError, match=r"conditions is for .*by name from Python"):
        prepare(np.zeros((4, 8, 8), np.uint8), conditions="age=vector")


def test_arrays_of_an_npz_are_told_by_name(tmp_path):
    x = np.zeros((6, 8, 8), np.uint8)
    arrays = {"age": np.array(AGES), "place": np.random.default_rng(0).normal(size=(6, 2))}
    hot = np.array([row or [0, 0, 0] for row in HOT])
    np.savez(tmp_path / "a.npz", x=x, color=np.array(COLORS), tags=hot, y=np.arange(6) % 2, **arrays)
    data = prepare(f"{tmp_path}/a.npz:x,age,place,color,tags,y", holdout=0)
    kinds = {name: condition.kind for name, condition in data.conditions.items()}
    assert kinds == {"age": "vector", "place": "vector", "color": "class", "tags": "tags", "y": "class"}
    np.testing.assert_array_equal(data.values["place"], arrays["place"])
    np.testing.assert_array_equal(data.values["tags"], hot)
    assert list(prepare(f"{tmp_path}/a.npz:x,age", holdout=0).conditions) == ["age"]
    assert list(prepare(f"{tmp_path}/a.npz:x,y", holdout=0).conditions) == ["class"]
    assert prepare(f"{tmp_path}/a.npz:x,y", conditions="y=vector", holdout=0).conditions["y"].kind == "vector"


def test_a_mapping_from_python_is_told_by_name():
    told = {"age": AGES, "color": COLORS, "tags": [t.split(";") if t else None for t in TAGS]}
    check_told(prepare((np.zeros((6, 8, 8), np.uint8), told), holdout=0))
    with pytest.raises(ValueError, match="age must be one for each of 6 samples, got 2"):
        prepare((np.zeros((6, 8, 8), np.uint8), {"age": [1, 2]}))


def test_parts_of_samples_are_told_what_is_told_of_the_whole():
    told = {"age": np.array([1.0, 2.5])}
    windows = prepare((np.random.default_rng(0).normal(size=(2, 1, 9)), told), rate=1, window=3, holdout=0)
    assert windows.values["age"].tolist() == [1.0] * 3 + [2.5] * 3
    crops = prepare((np.random.default_rng(0).normal(size=(2, 1, 8, 8)), told), crop=4, holdout=0)
    assert crops.values["age"].tolist() == [1.0] * 4 + [2.5] * 4


# --- tables --------------------------------------------------------------------------------------


def table(path, n=60):
    """Columns that go together, in a file."""
    rng = np.random.default_rng(0)
    age = rng.integers(18, 90, n)
    rows = [
        (int(a), COLORS[i % 6], f"{a / 7 + rng.normal():.2f}", TAGS[i % 6], f"{i / 8:.3f}")
        for i, a in enumerate(age)
    ]
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("age", "color", "income", "tags", "x"), *rows])
    return rows


def test_columns_of_a_table_are_told_and_stand_in_their_places_again(tmp_path, done):
    pytest.importorskip("pyarrow")
    rows = table(tmp_path / "t.csv")
    data = prepare(tmp_path / "t.csv", labels="age,tags,color", holdout=0)
    assert data.space.names == ("income", "x")
    assert {name: condition.kind for name, condition in data.conditions.items()} == {
        "age": "vector", "tags": "tags", "color": "class",
    }  # fmt: skip
    assert data.values["age"].tolist() == [row[0] for row in rows]
    config = {"network": {"name": "mlp", "width": 16, "blocks": 1}, "images": 64, "batch_size": 32}
    list(train(data, tmp_path / "run", **config))
    given = ["--cond", "age=35", "--cond", "color=blue", "--cond", "tags=hat;beard"]
    done("sample", tmp_path / "run", "-n", 3, "--steps", 2, "--out", tmp_path / "s", *given)
    with open(tmp_path / "s" / "samples.csv", encoding="utf-8") as file:
        header, *written = csv.reader(file)
    assert header == ["age", "color", "income", "tags", "x"]
    assert [(row[0], row[1], row[3]) for row in written] == [("35", "blue", "beard;hat")] * 3
    done("sample", tmp_path / "run", "-n", 2, "--steps", 2, "--out", tmp_path / "n", "--cond", "age=35")
    with open(tmp_path / "n" / "samples.csv", encoding="utf-8") as file:
        assert [(row[0], row[1], row[3]) for row in list(csv.reader(file))[1:]] == [("35", "", "")] * 2


def test_one_column_of_a_table_that_is_not_whole_is_a_number_that_is_told(tmp_path):
    pytest.importorskip("pyarrow")
    table(tmp_path / "t.csv")
    assert (
        prepare(tmp_path / "t.csv", labels="income", types="tags=skip").conditions["income"].kind == "vector"
    )
    assert list(prepare(tmp_path / "t.csv", labels="color", types="tags=skip").conditions) == ["class"]
    told = prepare(tmp_path / "t.csv", labels="age", conditions="age=vector", types="tags=skip")
    assert told.conditions["age"].kind == "vector"
    with pytest.raises(ValueError, match=r"there is no column agee .*; did you mean 'age'"):
        prepare(tmp_path / "t.csv", labels="age,agee")
    with pytest.raises(ValueError, match="say which these are, labels"):
        prepare(tmp_path / "t.csv", conditions="age=vector")
    with pytest.raises(ValueError, match="skip_unlabeled leaves out rows without a class"):
        prepare(tmp_path / "t.csv", labels="age,color", skip_unlabeled=True)


def test_the_command_shows_ranges_and_counts(tmp_path, done):
    pictures(tmp_path / "pics", 6)
    file = tmp_path / "labels.csv"
    file.write_text(sheet(rows_of(tmp_path)), encoding="utf-8")
    shown, _ = done("data", tmp_path / "pics", "--labels", file, "--conditions", "url=skip", "--holdout", 0)
    words = " ".join(shown.split())
    assert "told age numbers, 20.5 to 74, mean" in words
    assert "told color class of 2: blue (3), red (3)" in words
    assert "told tags tags of 3: beard (1), glasses (2), hat (4)" in words


def test_captions_beside_pictures_are_told_by_their_words(tmp_path, done):
    pictures(tmp_path / "pics", 6)
    for i, name in enumerate(rows_of(tmp_path)):
        (tmp_path / "pics" / name).with_suffix(".txt").write_text(f"a {COLORS[i]} thing, number {i}")
    how = {"labels": ".txt", "conditions": "txt=text", "holdout": 0, "size": 8}
    for _ in range(2):
        data = prepare(tmp_path / "pics", **how)
        assert data.conditions["txt"].kind == "text"
        assert data.values["txt"].tolist() == [
            f"a {color} thing, number {i}" for i, color in enumerate(COLORS)
        ]
    shown, _ = done("data", tmp_path / "pics", "--labels", ".txt", "--conditions", "txt=text", "--size", 8)
    assert "hashed bags of words" in " ".join(shown.split())
    with pytest.raises(ValueError, match=r"conditions says what caption is, .* is txt"):
        prepare(tmp_path / "pics", **{**how, "conditions": "caption=text"})


def test_the_options_that_info_shows_say_the_kinds_as_they_are_typed():
    from alphabar.cli.options import data_flags
    from alphabar.cli.settings import typed

    words = typed(data_flags(), {"labels": "l.csv", "conditions": {"age": "vector", "url": "skip"}})
    assert words == ["--labels", "l.csv", "--conditions", "age=vector,url=skip"]


def test_rows_of_an_array_with_nan_are_not_told_and_other_rows_that_are_no_numbers_are_refused(tmp_path):
    rows = np.arange(40, dtype=np.float32).reshape(20, 2) / 7
    rows[7, 1] = np.nan
    pictures, labels = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 3
    np.savez(tmp_path / "a.npz", images=pictures, labels=labels, attributes=rows)
    data = prepare(f"{tmp_path}/a.npz:images,labels,attributes", holdout=0)
    assert np.isnan(data.values["attributes"]).any(1).tolist() == [row == 7 for row in range(20)]
    assert "attributes is not told in 1 of 20 rows, which have NaN" in " ".join(data.notes)
    rows[5, 0] = np.inf
    np.savez(tmp_path / "b.npz", images=pictures, labels=labels, attributes=rows)
    with pytest.raises(ValueError, match=r"attributes of b.npz: .* got \[inf, .*\] in row 5"):
        prepare(f"{tmp_path}/b.npz:images,labels,attributes", holdout=0)
