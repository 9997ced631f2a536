"""What can be refused before all data are read is: large data take minutes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from alphabar import prepare
from alphabar.data import DataConfig

N = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures and files of labels; arrays; tables of which only the names of columns can be read."""
    place = tmp_path_factory.mktemp("early")
    (place / "pictures").mkdir()
    for i in range(N):
        Image.new("L", (8, 8), i).save(place / "pictures" / f"{i}.png")
    (place / "labels.csv").write_text("name,kind\n" + "".join(f"{i}.png,k{i}\n" for i in range(N)))
    (place / "others.csv").write_text("name,kind\n" + "".join(f"x{i}.png,k{i}\n" for i in range(N)))
    np.save(place / "fields.npy", np.random.default_rng(0).normal(size=(N, 2, 8, 12)))
    np.save(place / "series.npy", np.random.default_rng(0).normal(size=(N, 2, 100)))
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (place / "table.csv").write_text("a,b,c\n1,2,3\n1,2\n")
    parquet.write_table(pa.table({name: np.arange(N) / 7 for name in "abc"}), place / "table.parquet")
    with open(place / "table.parquet", "r+b") as file:
        file.seek(4)
        file.write(bytes(200))
    for name in ("table.csv", "table.parquet"):
        with pytest.raises(ValueError, match=r"cannot be read|damaged"):
            prepare(place / name)
    return place


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        ("pictures", {"labels": "HERE/gone.csv"}, "no such file of labels"),
        ("pictures", {"labels": "HERE/labels.csv:age"}, "there is no column age in .*; it has name, kind"),
        ("pictures", {"labels": "HERE/others.csv"}, "names no picture"),
        (
            "pictures",
            {"labels": "HERE/labels.csv", "conditions": "kind=vector"},
            "a vector is a finite number",
        ),
        ("pictures", {"labels": "HERE/labels.csv", "conditions": "kin=vector"}, "what kin is"),
        ("pictures", {"crop": 9}, r"none longer than the samples' 1 × 8 × 8 .* \(pictures: --size\)"),
        ("pictures", {"size": 24, "crop": 25}, "1 × 24 × 24"),
        ("fields.npy", {"crop": "8x13"}, "none longer than the samples' 2 × 8 × 12"),
        ("series.npy", {"crop": 8}, "series are cut by --window"),
        ("series.npy", {"gaps": True}, "gaps are for fields and volumes, and these are series"),
        ("series.npy", {"window": 1}, "give --rate HZ"),
        *(
            (file, settings, "there is no column z.* in .*; it has a, b, c")
            for file in ("table.csv", "table.parquet")
            for settings in ({"labels": "a,z"}, {"types": "z=number"}, {"series": "z"})
        ),
        ("table.csv", {"labels": "a", "series": "b"}, "leave labels out"),
        ("table.parquet", {"labels": "a", "conditions": "b=tags"}, "what b is"),
    ],
)
def test_what_cannot_be_is_refused_before_samples_are_read(place, data, settings, message):
    settings = {name: str(value).replace("HERE", str(place)) for name, value in settings.items()}
    config = DataConfig.model_validate(settings)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        prepare(place / data, config, progress=lambda done, total: pytest.fail(f"{done} were read"))
