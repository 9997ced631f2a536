"""Scores of tables beside sdmetrics, which defined them.

It is no dependency of ours, and without it all of this is skipped. Ours are its metrics KSComplement,
TVComplement, CorrelationSimilarity and ContingencySimilarity (numbers in bins over the real data's range),
and their means over all columns and all pairs. They differ on purpose from its report:

- It leaves out pairs of little correlation or association in the real data; we count all.
- Its report takes bins for a number beside a category over the range of real data in these, and over that of
  samples in samples, so that a shift or another scale isn't seen. Its metric has one range, and so have we.
- A column that is missing everywhere in one of both has no score there and is left out; ours is 0.
  Missing in both, ours is 1.
- It rounds numbers to 14 decimals before it compares them, which makes small units equal; we don't.
"""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

from alphabar.data.columns import Column
from alphabar.evaluation.columns import column_pairs, column_shapes

pandas = pytest.importorskip("pandas")
sdmetrics = pytest.importorskip("sdmetrics")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sdmetrics.column_pairs import ContingencySimilarity, CorrelationSimilarity
    from sdmetrics.errors import ConstantInputError
    from sdmetrics.reports import QualityReport
    from sdmetrics.single_column import KSComplement, TVComplement

LETTERS = np.array(list("abcdefgh"))
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs, of constant columns and of pandas


def gone(values, share, rng):
    """With some values missing."""
    return np.where(rng.random(len(values)) < share, np.nan, values)


def odd(n, seed, shift=0.0):
    """{column: (what it holds, its numbers)}, none plain."""
    rng = np.random.default_rng(seed)
    x, letters = rng.standard_normal(n), Column("category", names=tuple(LETTERS), missing="")
    day = 86_400.0 * rng.integers(15_000, 20_000, n)
    return {
        "normal": (Column(), x + shift),
        "whole": (Column(decimals=0), rng.integers(0, 11, n) + np.rint(shift)),
        "skewed": (Column(), np.exp(2 * x)),
        "piled": (Column(), np.where(rng.random(n) < 0.7, 0.0, rng.exponential(3, n).round(1))),
        "far": (Column(), 1e9 + 1e3 * x),
        "holes": (Column(missing=""), gone(x + rng.standard_normal(n), 0.3, rng)),
        "constant": (Column(), np.full(n, 7.0)),
        "nearly constant": (Column(), np.where(rng.random(n) < 0.02, 8.0, 7.0)),
        "date": (Column("date", form="%Y-%m-%d"), day),
        "date with holes": (Column("date", form="%Y-%m-%d", missing=""), gone(day, 0.1, rng)),
        "letter": (letters, rng.choice(8, n, p=np.arange(1, 9) / 36).astype(float)),
        "letter with holes": (letters, gone(rng.integers(0, 5, n).astype(float), 0.2, rng)),
        "rare": (letters, rng.geometric(0.5, n).clip(1, 8) - 1.0),
        "one letter": (letters, np.zeros(n)),
    }  # fmt: skip


def frame(table):
    """A table as theirs have it."""
    made = {}
    for name, (column, values) in table.items():
        if column.kind == "category":
            texts = [None if np.isnan(v) else LETTERS[int(v)] for v in values]
            made[name] = pandas.Series(texts, dtype=object)
        else:
            made[name] = pandas.Series(
                pandas.to_datetime(values, unit="s") if column.kind == "date" else values
            )
    return pandas.DataFrame(made)


SAMPLES, REAL = odd(300, 0, 0.4), odd(500, 1)
OURS, THEIRS = frame(SAMPLES), frame(REAL)


def score(function, *names):
    """Of some columns."""
    rows = (np.stack([table[name][1] for name in names], 1) for table in (SAMPLES, REAL))
    return function(*rows, [REAL[name][0] for name in names])


@pytest.mark.parametrize("name", REAL)
def test_columns(name):
    metric = TVComplement if REAL[name][0].kind == "category" else KSComplement
    assert score(column_shapes, name) == pytest.approx(metric.compute(THEIRS[name], OURS[name]), abs=1e-9)


@pytest.mark.parametrize(("a", "b"), [*itertools.combinations(REAL, 2)])
def test_pairs(a, b):
    numbers = [name for name in (a, b) if REAL[name][0].kind != "category"]
    pair = THEIRS[[a, b]].copy(), OURS[[a, b]].copy()
    if len(numbers) == 2 and "constant" in (a, b):
        with pytest.raises(ConstantInputError):
            CorrelationSimilarity.compute(*pair)
        return  # theirs has no score, and ours doesn't count the pair
    if len(numbers) == 2:
        expected = CorrelationSimilarity.compute(*pair)
    else:
        for each, name in itertools.product(pair, numbers):
            if REAL[name][0].kind == "date":
                each[name] = pandas.Series((SAMPLES if each is pair[1] else REAL)[name][1])
        expected = ContingencySimilarity.compute(*pair, continuous_column_names=numbers)
    assert score(column_pairs, a, b) == pytest.approx(expected, abs=1e-9)


def test_the_report():
    kinds = {"category": "categorical", "number": "numerical", "date": "datetime"}
    columns = {name: {"sdtype": kinds[column.kind]} for name, (column, _) in REAL.items()}
    report = QualityReport()
    metadata = {"tables": {"odd": {"columns": columns}}}
    report.generate({"odd": THEIRS}, {"odd": OURS}, metadata, verbose=False)
    shapes = report.get_details("Column Shapes")["Score"]
    assert score(column_shapes, *REAL) == pytest.approx(shapes.mean(), abs=1e-9)
    pairs = report.get_details("Column Pair Trends")
    kind = {name: column.kind == "category" for name, (column, _) in REAL.items()}
    alike = pairs[(pairs["Column 1"].map(kind) == pairs["Column 2"].map(kind)) & pairs["Score"].notna()]
    assert len(alike)
    for a, b, theirs in zip(alike["Column 1"], alike["Column 2"], alike["Score"]):
        assert score(column_pairs, a, b) == pytest.approx(theirs, abs=1e-9)


def test_what_differs_on_purpose():
    number = [Column(missing="")]
    there, lacking = np.arange(10.0)[:, None], np.full((10, 1), np.nan)
    assert np.isnan(KSComplement.compute(there[:, 0], lacking[:, 0]))
    assert column_shapes(lacking, there, number) == 0
    assert column_shapes(lacking, lacking, number) == 1
    small = np.linspace(0, 1e-15, 10)
    assert KSComplement.compute(small, 2 * small) == 1
    assert column_shapes(2 * small[:, None], small[:, None], number) < 0.6
