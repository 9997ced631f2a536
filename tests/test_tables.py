"""Tables: what columns hold is found; rows come back as they were, in the form of their file."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabar import load, prepare, sample, train
from alphabar.data import Dataset
from alphabar.data.charts import histograms
from alphabar.data.columns import Column, Found, read_column
from alphabar.data.sources.table_files import table_bytes
from alphabar.data.sources.table_rows import read_row
from alphabar.data.space import Space
from alphabar.evaluation.columns import column_pairs, column_shapes, gaussian_copula, trees
from alphabar.evaluation.features import pixel_features
from alphabar.evaluation.scorecard import in_values
from alphabar.model.codec import codec_from, fit_codec
from alphabar.model.table_codec import TableCodec
from alphabar.runs.given import check_shape
from alphabar.sampling import write_samples

pa = pytest.importorskip("pyarrow")


def found(texts):
    known = list(dict.fromkeys(texts))
    return Found(known, np.array([known.index(text) for text in texts]))


def column_of(texts, wanted=""):
    read = read_column(found(texts), wanted)
    assert read is not None
    return read


def write(path, rows, delimiter=","):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


PEOPLE = {
    "age": ["41", "18", "", "77", "18", "30"],
    "income": ["1200.50", "0.00", "0.00", "99.90", "15.25", "0.00"],
    "rate": ["1e-3", "2.5", "-1E4", "3", "?", "7.25"],
    "city": ["Paris", "Nice, FR", "Łódź", "Paris", "Paris", "None"],
    "zip": ["00501", "01001", "00501", "94110", "01001", "00501"],
    "born": ["1980-05-17", "2001-12-01", "1948-01-31", "", "2001-12-01", "1990-07-07"],
    "seen": ["2024-01-01 12:30:05", "2024-03-01 00:00:00", *["2025-06-06 23:59:59"] * 4],
    "member": ["yes", "no", "yes", "", "no", "no"],
}


@pytest.mark.parametrize(
    ("name", "kind", "decimals"),
    [("age", "number", 0), ("income", "number", 2), ("rate", "number", None), ("city", "category", None),
     ("zip", "category", None), ("born", "date", None), ("seen", "date", None), ("member", "category", None)],
)  # fmt: skip
def test_what_a_column_holds_is_found_and_its_texts_come_back(name, kind, decimals):
    column, values, _ = column_of(PEOPLE[name])
    assert (column.kind, column.decimals) == (kind, decimals)
    again, numbers = (
        column.texts(values),
        [float(t) if t not in ("", "?") else None for t in PEOPLE[name]] if (kind == "number") else [],
    )
    if name == "rate":  # the same numbers, in another spelling
        assert [float(t) if t != "?" else None for t in again] == numbers
    else:
        assert again == PEOPLE[name]
    assert np.isnan(values).tolist() == [text in ("", "?") for text in PEOPLE[name]]


def test_dates_that_can_be_read_in_two_ways_are_refused_with_both():
    with pytest.raises(ValueError, match=r"%d/%m/%Y or %m/%d/%Y.*--types"):
        column_of(["03/04/2020", "05/06/2021"])
    column, values, _ = column_of(["03/04/2020", "05/06/2021"], "%m/%d/%Y")
    assert column.texts(values) == ["03/04/2020", "05/06/2021"]
    assert column_of(["13/04/2020", "05/06/2021"])[0].form == "%d/%m/%Y"


def test_what_is_wanted_and_cannot_be_names_the_value():
    with pytest.raises(ValueError, match="it is no number: it holds 'seven'"):
        column_of(["1", "seven"], "number")
    with pytest.raises(ValueError, match="number, category, skip, or a date"):
        column_of(["1"], "numbr")
    assert column_of(["1", "2"], "category")[0].names == ("1", "2")
    assert column_of(["007", "010"], "number")[0].decimals == 0
    with pytest.raises(ValueError, match=r"it has 1,001 different values, a category at most 1,000"):
        column_of([f"v{i}" for i in range(1001)], "category")


def test_free_text_is_no_column():
    assert read_column(found([f"text {i}" for i in range(100)])) is None
    assert read_column(found(["a", "b", "c"])) is not None


@given(st.lists(st.decimals(-10_000, 10_000, places=3), min_size=1, max_size=30))
def test_numbers_come_back_with_as_many_decimals(numbers):
    texts = [str(number) for number in numbers]
    column, values, _ = column_of(texts)
    assert [float(t) for t in column.texts(values)] == [float(t) for t in texts]


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "delimiter"), [(".csv", ","), (".csv", ";"), (".csv", "|"), (".tsv", "\t")]
)
def test_a_file_comes_back_as_it_was(tmp_path, ending, delimiter):
    rows = [list(PEOPLE), *zip(*PEOPLE.values(), strict=True)]
    path = write(tmp_path / f"people{ending}", rows, delimiter)
    data = prepare(path, holdout=0, types={"rate": "skip"})
    space = data.space
    assert space.kind == "table"
    assert space.names == tuple(name for name in PEOPLE if name != "rate")
    made, content = table_bytes(np.asarray(data.images), space.names, space.columns, space.layout)
    assert made == ending
    again = list(csv.reader(content.decode().splitlines(), delimiter=delimiter))
    kept = [i for i, name in enumerate(PEOPLE) if name != "rate"]
    assert again == [[str(row[i]) for i in kept] for row in rows]
    assert any("left out: rate" in note for note in data.notes)


def test_a_decimal_comma_comes_back(tmp_path):
    path = write(tmp_path / "a.csv", [["x", "y"], ["1,5", "2"], ["-0,25", "3"]], ";")
    data = prepare(path, holdout=0)
    assert np.asarray(data.images).tolist() == [[1.5, 2], [-0.25, 3]]
    _, content = table_bytes(np.asarray(data.images), data.space.names, data.space.columns, data.space.layout)
    assert content.decode() == "x;y\n1,5;2\n-0,25;3\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,a\n1,2\n", "different names"), ("a,\n1,2\n", "different names"), ("a,b\n1,2,3\n", "table"),
     ("a,b\n", "no rows"), ("", "names|table|rows"), ("a\nx1\n", None)],
)  # fmt: skip
def test_what_is_no_table_is_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    if message is None:
        prepare(tmp_path / "a.csv", holdout=0)
    else:
        with pytest.raises(ValueError, match=message):
            prepare(tmp_path / "a.csv", holdout=0)


def test_other_encodings_and_missing_headers(tmp_path):
    (tmp_path / "a.csv").write_bytes("name,x\nfaç,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"not in UTF-8.* iconv -f LATIN1 -t UTF-8 .*a\.csv > utf8-a\.csv"):
        prepare(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("1.5,red\n2.5,blue\n")
    data = prepare(tmp_path / "b.csv", holdout=0)
    assert data.space.names == ("column 1", "column 2")
    assert len(data.images) == 2
    assert any("first row holds numbers" in note for note in data.notes)


def arrow_table():
    rng = np.random.default_rng(0)
    return pa.table({
        "whole": pa.array([1, None, 3] * 20, pa.int16()),
        "real": pa.array(rng.standard_normal(60), pa.float32()),
        "price": pa.array([1.25, 2.5, 3.0] * 20),
        "yes": pa.array([True, False, None] * 20),
        "city": pa.array(["a", "b", None] * 20).dictionary_encode(),
        "day": pa.array([0, 1, 20_000] * 20, pa.date32()),
        "moment": pa.array([0, 10**9, None] * 20, pa.timestamp("ms", "UTC")),
    })  # fmt: skip


def test_parquet_comes_back_in_its_own_types(tmp_path):
    import pyarrow.parquet as pq

    table = arrow_table()
    pq.write_table(table, tmp_path / "a.parquet")
    data = prepare(tmp_path / "a.parquet", holdout=0)
    kinds = [column.kind for column in data.space.columns]
    assert kinds == ["number", "number", "number", "category", "category", "date", "date"]
    made, content = table_bytes(
        np.asarray(data.images), data.space.names, data.space.columns, data.space.layout
    )
    assert made == ".parquet"
    (tmp_path / "b.parquet").write_bytes(content)
    again = pq.read_table(tmp_path / "b.parquet")
    plain = table.set_column(4, "city", table.column("city").cast(pa.string()))
    assert again.to_pylist() == plain.to_pylist()
    assert again.schema.types == plain.schema.types


def test_frames_are_tables():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [1.5, 2.5, math.nan], "y": ["a", "b", "a"], "z": [1, 2, 3]})
    data = prepare(frame, holdout=0)
    assert data.space.names == ("x", "y", "z")
    np.testing.assert_array_equal(data.images, [[1.5, 0, 1], [2.5, 1, 2], [math.nan, 0, 3]])
    with pytest.raises(ValueError, match="a column of its own"):
        prepare((frame, [0, 1, 0]))


def test_options_of_other_data_are_refused(tmp_path):
    path = write(tmp_path / "a.csv", [["x"], ["1"], ["2"]])
    with pytest.raises(ValueError, match="of a table, --layout L"):
        prepare(path, layout="HW")
    with pytest.raises(ValueError, match="types is for tables"):
        prepare(np.zeros((4, 8, 8), np.uint8), types={"x": "number"})
    with pytest.raises(ValueError, match="no column y"):
        prepare(path, types="y=number")


# --- the codec -----------------------------------------------------------------------------------


def space_of(*columns):
    names = tuple(f"c{i}" for i in range(len(columns)))
    return Space((len(columns),), "float64", None, None, kind="table", names=names, columns=columns)


def test_rows_come_back_from_model_space():
    rng = np.random.default_rng(0)
    n = 2000
    columns = [
        Column("number", decimals=2),
        Column("number", decimals=0, missing=""),
        Column("category", names=("a",)),
        Column("category", names=("a", "b")),
        Column("category", names=tuple("abcde"), missing=""),
        Column("category", names=tuple(map(str, range(200)))),
        Column("number", decimals=0, missing=""),
        Column("number"),
    ]
    zero_heavy = np.where(rng.random(n) < 0.6, 0, np.round(rng.exponential(10, n), 2))
    rows = np.stack([
        zero_heavy,
        np.where(rng.random(n) < 0.01, np.nan, rng.integers(0, 20, n)),
        np.zeros(n),
        rng.integers(0, 2, n),
        np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 5, n)),
        rng.integers(0, 200, n),
        np.full(n, np.nan),
        np.full(n, 3.25),
    ], 1).astype(np.float64)  # fmt: skip
    codec = fit_codec(space_of(*columns), rows)
    assert isinstance(codec, TableCodec)
    x_0 = codec.encode(rows)
    assert x_0.shape == (n, *codec.shape) == (n, 1 + 2 + 1 + 1 + 6 + 8 + 2 + 1)
    np.testing.assert_array_equal(codec.decode(x_0), rows)
    low, high = codec.bounds
    assert np.all(x_0 >= low)
    assert np.all(x_0 <= high)
    again = codec_from(codec.to_dict(), codec.space)
    np.testing.assert_array_equal(again.encode(rows), x_0)
    noisy = codec.decode(x_0 + 0.01 * rng.standard_normal(x_0.shape).astype(np.float32))
    assert (noisy[:, 0] == 0).mean() > 0.55  # what piles up has a stretch of its own
    np.testing.assert_array_equal(noisy[:, 2:7], rows[:, 2:7])


def test_any_law_of_numbers_is_about_standard_normal():
    rng = np.random.default_rng(0)
    rows = np.stack([rng.standard_cauchy(5000), rng.exponential(1e-9, 5000), 1e12 + rng.random(5000)], 1)
    codec = fit_codec(space_of(*[Column()] * 3), rows)
    x_0 = codec.encode(rows)
    np.testing.assert_allclose(x_0.mean(0), 0, atol=0.01)
    np.testing.assert_allclose(x_0.std(0), 1, atol=0.02)
    np.testing.assert_allclose(np.quantile(x_0, [0.025, 0.975], 0), [[-1.96] * 3, [1.96] * 3], atol=0.03)


def test_a_tables_rows_are_affinely_equivariant():
    """Numbers in other units are the same in model space, and come back in those units."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, 2)) ** 3
    scale, shift = np.array([1000.0, 3.0]), np.array([7.0, 1e4])
    a = fit_codec(space_of(Column(), Column()), rows)
    b = fit_codec(space_of(Column(), Column()), rows * scale + shift)
    x_0 = a.encode(rows)
    np.testing.assert_allclose(b.encode(rows * scale + shift), x_0, atol=1e-5)
    z = rng.standard_normal((100, 2)).astype(np.float32)
    np.testing.assert_allclose(b.decode(z), a.decode(z) * scale + shift, rtol=1e-9, atol=1e-6)


# --- scores --------------------------------------------------------------------------------------


def test_columns_are_compared_as_sdmetrics_does():
    """KSComplement, TVComplement, CorrelationSimilarity and ContingencySimilarity, by loops."""
    rng = np.random.default_rng(0)
    columns = [Column("number"), Column("number"), Column("category", names=("a", "b", "c"), missing="")]

    def rows(n, shift):
        x = rng.standard_normal(n) + shift
        codes = rng.choice([0.0, 1.0, 2.0, math.nan], n, p=[0.5, 0.2, 0.2, 0.1])
        return np.stack([x, x * shift + rng.standard_normal(n), codes], 1)

    a, b = rows(150, 0.5), rows(400, 0.0)
    grid = np.unique(np.concatenate([a, b])[:, :2])
    smirnov = [max(abs((a[:, j] <= v).mean() - (b[:, j] <= v).mean()) for v in grid) for j in (0, 1)]

    def share(z, *values):
        same = [np.isnan(z[:, j]) if math.isnan(v) else z[:, j] == v for j, v in values]
        return np.logical_and.reduce(same).mean()

    codes = [0.0, 1.0, 2.0, math.nan]
    there = [z[~np.isnan(z[:, 2])] for z in (a, b)]
    tv = sum(abs(share(there[0], (2, v)) - share(there[1], (2, v))) for v in codes[:3]) / 2
    expected = np.mean([1 - smirnov[0], 1 - smirnov[1], 1 - tv])
    assert column_shapes(a, b, columns) == pytest.approx(expected, abs=1e-12)
    r = [np.corrcoef(z[:, 0], z[:, 1])[0, 1] for z in (a, b)]
    pairs = [1 - abs(r[0] - r[1]) / 2]
    for j in (0, 1):
        edges = np.linspace(b[:, j].min(), b[:, j].max(), 11)
        cut = [np.column_stack([np.digitize(z[:, j], edges[1:-1]), z[:, 2]]) for z in (a, b)]
        cells = [(k, v) for k in range(10) for v in codes]
        pairs.append(
            1 - sum(abs(share(cut[0], (0, k), (1, v)) - share(cut[1], (0, k), (1, v))) for k, v in cells) / 2
        )
    assert column_pairs(a, b, columns) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert column_shapes(b, b, columns) == column_pairs(b, b, columns) == 1


def test_a_copula_keeps_columns_and_their_dependence_and_trees_see_what_it_misses():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(3000)
    rows = np.stack(
        [np.exp(x), np.where(rng.random(3000) < 0.1, np.nan, x + rng.standard_normal(3000)), x**2], 1
    )
    columns = [Column("number")] * 3
    drawn = gaussian_copula(rows, 3000)
    assert column_shapes(drawn, rows, columns) > 0.96
    both = ~np.isnan(drawn[:, 1])
    assert np.corrcoef(np.log(drawn[both, 0]), drawn[both, 1])[0, 1] == pytest.approx(0.5**0.5, abs=0.08)
    again = rows[rng.permutation(3000)]
    assert trees(again[:1500], again[1500:], columns).value < 0.54
    assert trees(drawn, rows, columns).value > 0.9  # that the third is the first one's logarithm, squared


# --- tables that others' programs fail at --------------------------------------------------------


def odd_table(name, n=60):
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    return {
        "40 categories, many columns of them": {f"c{i}": rng.choice(letters, n) for i in range(20)},
        "only categories": {"a": rng.choice(["x", "y"], n), "b": rng.choice(["1a", "2b", "3c"], n)},
        "constant": {"a": ["7"] * n, "b": ["same"] * n, "c": rng.integers(0, 9, n)},
        "piled up": {"a": np.where(rng.random(n) < 0.5, 50.0, rng.random(n).round(3)), "b": rng.random(n)},
        "a thousand columns": {f"c{i}": rng.standard_normal(n).round(2) for i in range(1000)},
        "missing": {
            "a": np.where(rng.random(n) < 0.2, "", rng.integers(0, 99, n).astype(str)),
            "b": [""] * n,
        },
        "zero-heavy": {"a": np.where(rng.random(n) < 0.9, 0, rng.exponential(5, n).round(1))},
        "one row missing all": {"a": ["", *["1", "2"] * 30], "b": ["", *["u", "v"] * 30]},
    }[name]


@pytest.mark.parametrize(
    "name",
    ["40 categories, many columns of them", "only categories", "constant", "piled up", "a thousand columns",
     "missing", "zero-heavy", "one row missing all"],
)  # fmt: skip
def test_odd_tables_train_and_come_back_in_their_own_values(tmp_path, name):
    table = odd_table(name)
    rows = list(zip(*table.values(), strict=True))
    path = write(tmp_path / "a.csv", [list(table), *rows])
    network = {"name": "mlp", "width": 32, "blocks": 1}
    list(train(prepare(path), tmp_path / "run", device="cpu", network=network, batch_size=16, images=160))
    samples = sample(load(tmp_path / "run"), 8, evaluations=3)
    write_samples(tmp_path / "out", samples)
    with open(tmp_path / "out" / "samples.csv", newline="") as file:
        made = list(csv.DictReader(file))
    assert len(made) == 8
    assert list(made[0]) == list(table)
    for column, values in table.items():
        known = {str(value) for value in np.asarray(values).tolist()}
        for row in made:
            if row[column] not in known:  # a number between those that there are
                numbers = [float(value) for value in known if value]
                assert min(numbers) <= float(row[column]) <= max(numbers)


# --- trained -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    n = 400
    color = rng.choice(["red", "green", "blue"], n, p=[0.6, 0.3, 0.1])
    size = np.where(color == "red", 10, 30) + rng.integers(0, 5, n)
    price = np.round(size * 1.5 + rng.random(n), 2)
    path = write(
        folder / "things.csv",
        [["color", "size", "price"], *zip(color, size, [f"{p:.2f}" for p in price], strict=True)],
    )
    network = {"name": "mlp", "width": 64, "blocks": 2}
    settings = {
        "device": "cpu",
        "network": network,
        "batch_size": 64,
        "images": 20_000,
        "warmup_images": 1000,
        "lr": 4e-3,
    }
    list(train(prepare(path), folder / "run", **settings))
    return folder


def test_a_table_is_learned_and_written_as_it_was_given(trained, tmp_path):
    model = load(trained / "run")
    samples = sample(model, 200, seed=1)
    write_samples(tmp_path / "out", samples)
    with open(tmp_path / "out" / "samples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    assert {row["color"] for row in rows} <= {"red", "green", "blue"}
    assert all(row["size"].isdecimal() and len(row["price"].partition(".")[2]) == 2 for row in rows)
    red = np.array([row["color"] == "red" for row in rows])
    size = np.array([int(row["size"]) for row in rows])
    assert 0.4 < red.mean() < 0.8
    assert (size[red] < 20).mean() > 0.9
    assert (size[~red] > 20).mean() > 0.9
    price = np.array([float(row["price"]) for row in rows])
    assert np.corrcoef(size, price)[0, 1] > 0.9


def test_what_is_known_of_a_row_stays_and_the_rest_follows(trained):
    from alphabar.sampling.inverse import Known
    from alphabar.sampling.restoration import restore

    model = load(trained / "run")
    names = model.space.columns[0].names
    row = np.array([names.index("green"), 0.0, 0.0])
    filled, off = restore(model, Known(np.array([True, False, False])), row, 32)
    assert np.all(filled.images[:, 0] == names.index("green"))
    assert np.all(off == 0)
    assert (filled.images[:, 1] > 20).mean() > 0.6  # of all rows 0.4


def test_columns_of_a_row_in_a_file_are_filled_in_by_their_names(
    trained, tmp_path, monkeypatch, done, refused
):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "one.csv", [["price", "color"], ["", "green"]])
    edit = ["edit", "inpaint", trained / "run", "one.csv"]
    done(*edit, "size,price", "-n", 20, "--out", "filled")
    with open("filled/samples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["color"] for row in rows} == {"green"}
    assert np.mean([int(row["size"]) > 20 for row in rows]) > 0.6  # of all rows 0.4
    for columns, said in {
        "size": "one.csv has no price, which the data never miss",
        "siz,price": "unknown column 'siz'; known: color, size, price; did you mean 'size'",
        "color,size,price": "has all columns",
    }.items():
        assert said in refused(*edit, columns, "--out", "again")
    for cells, said in {
        ("price", "color"): "unknown category 'grey'; known: blue, green, red",
        ("weight", "color"): "has the columns weight, which the model has not: color, size, price",
    }.items():
        write(tmp_path / "one.csv", [cells, ["1", "grey"]])
        assert said in refused(*edit, "size,price", "--out", "again")
    write(tmp_path / "one.csv", [["color"], ["red"], ["red"]])
    assert "has 2 rows (0, 1): name one, as one.csv:0" in refused(*edit, "size,price", "--out", "again")
    edit[-1] = "one.csv:2"
    assert "name one, as one.csv:0, got 2" in refused(*edit, "size,price", "--out", "again")


def test_a_row_is_read_as_it_was_written(trained):
    model, path = load(trained / "run"), trained / "one.csv"
    row = np.array([1.0, 31.0, 46.75])
    texts = [column.texts(row[[i]])[0] for i, column in enumerate(model.space.columns)]
    write(path, [model.space.names, texts])
    np.testing.assert_array_equal(read_row(path, model.space), row)


def test_what_stands_in_a_row_and_does_not_count_is_said(tmp_path):
    rows = [(f"c{i}", i % 7 / 2, "AB"[i % 2]) for i in range(40)]
    write(tmp_path / "d.csv", [("id", " size ", "group"), *rows])
    data = prepare(tmp_path / "d.csv", types={"id": "skip"}, labels="group", holdout=0)
    assert "without the spaces around their names: size" in data.notes
    said = []
    row = read_row(tmp_path / "d.csv", data.space, which="3", say=said.append)
    assert row.tolist() == [1.5]
    assert len(said) == 2
    assert said[0].endswith("the model was trained without: id")
    assert said[1].startswith("group B, which stands in ")


def test_letters_that_the_font_lacks_are_drawn_without_their_accents():
    def drawn(name):
        return histograms(np.zeros((4, 1)), [name], [Column()])

    np.testing.assert_array_equal(drawn("São"), drawn("Sao"))
    assert (drawn("São") != drawn("S\ufffdo")).any()


def test_a_few_extreme_values_are_drawn_as_rarely_as_they_are():
    """Between the last quantile of 257 even ones and the greatest value lay 0.4 % of all that was drawn."""
    values = np.random.default_rng(0).normal(5.7, 1.1, (50_000, 1))
    values[:2, 0] = 31.8, 58.9
    space = Space((1,), "float64", None, None, "table", names=("y",), columns=(Column(),))
    codec = fit_codec(space, values)
    drawn = codec.decode(np.random.default_rng(1).standard_normal((400_000, 1)).astype(np.float32))
    assert (drawn > 15).mean() < 2e-4  # of the data 4e-5
    assert abs(drawn.std() / values.std() - 1) < 0.05
    np.testing.assert_allclose(codec.decode(codec.encode(values[:2])), values[:2], rtol=0.05)


@pytest.mark.parametrize(
    ("column", "text", "number"),
    [
        (Column("date", form="%H:%M"), "07:30", 27_000.0),
        (Column("date", form="%d.%m.%Y"), "02.01.1970", 86_400.0),
        (Column(decimals=2, comma=True), "1,5", 1.5),
        (Column("category", ("a", "NA")), "NA", 1.0),
        (Column(), "NA", math.nan),
    ],
)
def test_a_text_of_a_known_column_is_its_number(column, text, number):
    """A time of day is that of the first day, as where columns are found."""
    np.testing.assert_equal(column.number(text), number)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (Column(), "inf"),
        (Column(), "x"),
        (Column("date", form="%H:%M"), "7.30"),
        (Column("category", ("a",)), "b"),
    ],
)
def test_a_text_that_a_known_column_cannot_hold_is_refused(column, text):
    with pytest.raises(ValueError, match=repr(text)):
        column.number(text)


def test_bits_are_refused_for_a_table(trained):
    from alphabar.evaluation.likelihood import ode_likelihood

    model, data = load(trained / "run"), prepare(trained / "things.csv")
    with pytest.raises(ValueError, match="table"):
        ode_likelihood(model, np.asarray(data.images[:4]))


def test_other_rows_have_the_models_numbers_for_categories(tmp_path):
    own = prepare(
        write(tmp_path / "a.csv", [["color", "x"], ["red", 1], ["blue", 2], ["green", 3]]), holdout=0
    )
    other = [["color", "x"], ["yellow", 4], ["green", 5], ["red", 6]]
    data = check_shape(prepare(write(tmp_path / "b.csv", other), holdout=0), own.space)
    assert data.space.columns[0].names == ("blue", "green", "red", "yellow")
    np.testing.assert_array_equal(data.images, [[3, 4], [1, 5], [2, 6]])
    assert check_shape(own, own.space) is own
    wrong = prepare(write(tmp_path / "c.csv", [["x", "color"], [4, "red"], [5, "blue"]]), holdout=0)
    with pytest.raises(
        ValueError, match=r"columns are color \(category\), x \(number\), and the data have x"
    ):
        check_shape(wrong, own.space)


# --- distances to the closest record -------------------------------------------------------------


def mixed_rows(n, seed=0):
    """A skewed number, a number with holes, and a category with holes."""
    rng = np.random.default_rng(seed)
    holes = np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 9, n))
    codes = rng.choice([0.0, 1.0, 2.0, np.nan], n)
    return np.stack([np.exp(2 * rng.standard_normal(n)), holes, codes], 1)


def mixed(n, holdout=0.4):
    columns = (
        Column(),
        Column(decimals=0, missing=""),
        Column("category", names=("a", "b", "c"), missing=""),
    )
    return Dataset(mixed_rows(n), space_of(*columns), holdout=holdout, fingerprint=f"mixed {n}")


def test_rows_are_as_far_apart_as_their_ranks_and_categories():
    data = mixed(60)
    features, training = pixel_features(data), np.asarray(data.images)[data.training]
    assert features.name == "rows"

    def place(j, value):
        known = training[~np.isnan(training[:, j]), j]
        below, same = (known < value).sum(), (known == value).sum()
        return 0.5 if np.isnan(value) else (below + (same - 1) / 2) / (len(known) - 1)

    def apart(a, b):
        lacking = np.isnan([a[:2], b[:2]]).sum(0) == 1
        ranks = [place(j, a[j]) - place(j, b[j]) for j in (0, 1)]
        return np.square(ranks).sum() + lacking.sum() + (not np.array_equal(a[2:], b[2:], equal_nan=True))

    embedded = features(training)
    for i in range(len(training)):
        j = (7 * i + 3) % len(training)
        squared = np.square(embedded[i] - embedded[j]).sum()
        assert squared == pytest.approx(apart(training[i], training[j]), abs=1e-5)


def test_half_of_fresh_rows_are_nearer_to_training_ones_and_most_copies():
    data = mixed(1500)
    fresh, training = mixed_rows(600, seed=1), np.asarray(data.images)[data.training]
    found = in_values(fresh, data)
    assert found.space == "rows"
    assert found.closest.rows == min(len(data.training), len(data.held_out))
    assert found.closest.nearer == pytest.approx(0.5, abs=0.07)
    assert found.closest.distance == pytest.approx(found.closest.usual, rel=0.25)
    assert found.trivial.nearer == pytest.approx(0.5, abs=0.07)
    assert not found.memorizes
    copies = in_values(training[:600], data)
    assert copies.closest.distance == 0
    assert copies.closest.nearer > 0.7
    assert copies.memorizes
    facts = copies.to_dict()
    assert facts["closest"]["usual"] > 0
    assert facts["trivial"]["distance"] > 0


def test_many_rows_are_compared_with_some_of_them(monkeypatch):
    from alphabar.evaluation import scorecard

    data = mixed(300, holdout=0.2)
    rows = np.asarray(data.images)[data.training]
    monkeypatch.setattr(scorecard, "MOST_NUMBERS", 8 * 40)
    found = in_values(rows[:20], data)
    assert found.training == 40
    chosen = np.unique(np.linspace(0, len(rows) - 1, 40).round().astype(int))
    assert set(found.nearest.tolist()) <= set(chosen.tolist())


def test_numbers_with_an_exponent_come_back_with_as_many_digits_as_the_data_have():
    column, values, _ = read_column(found(["4.7297e-05", "-1.25", "0.004", "1E4"]))
    assert (column.decimals, column.digits) == (None, 5)
    assert column.rounded(values).tolist() == values.tolist()
    drawn = column.rounded(np.array([0.123456789, -3.00000001e-7, np.nan, 123456.0]))
    assert column.texts(drawn) == ["0.12346", "-3e-07", "", "123460"]


def test_a_table_whose_columns_count_evenly_is_asked_whether_its_rows_are_series(tmp_path):
    rng = np.random.default_rng(0)
    for name, heads in {"a": [f"h{2 * i}" for i in range(12)], "b": list("abcdefghijkl")}.items():
        rows = [",".join(heads), *(",".join(map(str, row)) for row in rng.normal(size=(30, 12)).tolist())]
        (tmp_path / f"{name}.csv").write_text("\n".join(rows))
    said = "h0 to h22 look like times: if each row is a series, --layout L"
    assert said in prepare(tmp_path / "a.csv").notes
    assert not any("times" in note for note in prepare(tmp_path / "b.csv").notes)


def test_asking_a_tables_model_for_a_class_names_the_way_to_one(trained):
    with pytest.raises(
        ValueError, match=r"no class to give \(training with --labels COLUMN makes one of color\)"
    ):
        sample(load(trained / "run"), 2, cond={"class": 0})
