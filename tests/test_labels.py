"""Labels beside samples: files of names and classes, files beside pictures, columns of tables."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from alphabar import load, prepare, sample, train
from alphabar.sampling import write_samples

NAMES = ["a.png", "in/b.png", "in/c.JPG", "d.png"]
CLASSES = ["cat", "dog", "dog", "cat"]
TINY = {
    "images": 64, "batch_size": 16, "network": {"name": "mlp", "width": 16, "blocks": 1}, "previews": False,
    "precision": "float32", "channels_last": False, "device": "cpu",
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ALPHABAR_CACHE", str(tmp_path_factory.mktemp("cache")))


def png(seed):
    file = io.BytesIO()
    array = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def entries(names=NAMES):
    return {name: png(i) for i, name in enumerate(names)}


def write(place, files):
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return place


def tar(path, files):
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            raw = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return path


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def told(data):
    """The class of each sample by name, in the order of the files' names."""
    if "class" not in data.conditions:
        return None
    return [data.conditions["class"].names[i] for i in data.values["class"]]


def notes(data):
    return " | ".join(data.notes)


# --- files of names and classes --------------------------------------------------------------------


def rows(names, columns="file,label", sep=","):
    lines = [columns] if columns else []
    return "\n".join([*lines, *(f"{n}{sep}{c}" for n, c in zip(names, CLASSES, strict=True))])


BARE = [name.rpartition(".")[0] for name in NAMES]
LAST = [name.rpartition("/")[2] for name in NAMES]
FORMS = {
    "l.csv": rows(NAMES), "bare.csv": rows(BARE, "name;kind", ";"), "last.tsv": rows(LAST, "", "\t"),
    "neither.csv": rows([name.rpartition("/")[2] for name in BARE], "id,class"),
    "windows.csv": rows(["C:\\pictures\\" + name.replace("/", "\\") for name in NAMES]),
    "more.csv": "\n".join(["size,image,target,who", *(f"{i},{n},{c},me" for i, (n, c) in enumerate(
        zip(NAMES, CLASSES, strict=True)))]),
    "l.json": json.dumps(dict(zip(NAMES, CLASSES, strict=True))),
    "stylegan.json": json.dumps({"labels": [[n, c] for n, c in zip(BARE, CLASSES, strict=True)]}),
    "objects.json": json.dumps([{"n": n, "c": c} for n, c in zip(LAST, CLASSES, strict=True)]),
    "l.jsonl": "\n".join(json.dumps({"file_name": n, "label": c, "score": 0.5}) for n, c in zip(
        NAMES, CLASSES, strict=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_label_file_gives_the_same_classes(tmp_path, name):
    place, file = write(tmp_path / "d", entries()), write(tmp_path, {name: FORMS[name]}) / name
    data = prepare(place, labels=file, holdout=0)
    assert told(data) == ["cat", "cat", "dog", "dog"]  # a, d, in/b, in/c
    assert f"classes from {file}" in notes(data)
    assert told(prepare(place, holdout=0)) is None
    assert told(prepare(zipped(tmp_path / "d.zip", entries()), labels=file, holdout=0)) == told(data)
    assert told(prepare(tar(tmp_path / "d.tar", entries()), labels=str(file), holdout=0)) == told(data)


def test_numbers_are_in_their_order_and_columns_can_be_named(tmp_path):
    place = write(tmp_path / "d", entries())
    lines = [f"{n},{x},{y}" for n, x, y in zip(NAMES, ("10", "9", "2", "10"), "wxyz", strict=True)]
    write(tmp_path, {"l.csv": "\n".join(["f,number,letter", *lines])})
    both = prepare(place, labels=tmp_path / "l.csv", holdout=0).conditions
    assert {name: condition.kind for name, condition in both.items()} == {
        "number": "vector",
        "letter": "class",
    }
    data = prepare(place, labels=f"{tmp_path}/l.csv:number", holdout=0)
    assert data.conditions["class"].names == ("2", "9", "10")
    assert "not used: letter" in notes(data)
    assert told(prepare(place, labels=f"{tmp_path}/l.csv:f,letter", holdout=0)) == ["w", "z", "x", "y"]
    with pytest.raises(ValueError, match=r"no column gone .* f, number, letter"):
        prepare(place, labels=f"{tmp_path}/l.csv:gone")


def test_a_table_that_names_the_pictures_is_pointed_out_and_not_taken(tmp_path):
    place = write(tmp_path / "d", entries() | {"about.csv": "who,when\nme,today", "l.csv": FORMS["l.csv"]})
    data = prepare(place, holdout=0)
    assert told(data) is None
    assert "l.csv names these pictures: --labels l.csv tells what stands there" in data.notes
    assert not any(note.startswith("about.csv") for note in data.notes)
    assert told(prepare(place, labels="l.csv", holdout=0)) == ["cat", "cat", "dog", "dog"]


def test_labels_of_another_length_are_named_with_it(tmp_path):
    other = np.arange(4)
    np.savez(tmp_path / "d.npz", images=np.zeros((6, 8, 8), np.uint8), labels=other, other=other)
    assert "not used: labels (4,) for 6 samples, other (" in notes(prepare(tmp_path / "d.npz"))


def test_missing_and_extra_names_are_counted_and_never_passed_over(tmp_path):
    place = write(tmp_path / "d", entries())
    file = (
        write(tmp_path, {"l.csv": "file,label\na.png,cat\nd.png,\nin/b.png,dog\nx.png,cat\ny.png,cat"})
        / "l.csv"
    )
    with pytest.raises(
        ValueError, match=r"2 of 4 pictures have no label in .*: d\.png, in/c\.JPG.*--skip-unl"
    ):
        prepare(place, labels=file)
    data = prepare(place, labels=file, skip_unlabeled=True, holdout=0)
    assert told(data) == ["cat", "dog"]
    assert "left out without a label: 2 of 4 pictures, d.png, in/c.JPG" in notes(data)
    assert "2 names in" in notes(data)
    assert "of no picture here: x.png, y.png" in notes(data)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"l.csv": "file,label\na.png,cat\na.png,dog"}, r"a\.png has two labels in .*, cat and dog"),
        ({"l.csv": "file,label\nx.png,cat"}, r"names no picture: it has x\.png, and the pictures are a\.png"),
        ({"l.csv": "file\na.png"}, "no column beside that of names, file"),
        ({"l.csv": ""}, "it is empty"),
        ({"l.csv": b"file,label\na.png,\xff"}, "not in UTF-8"),
        ({"l.json": "{"}, "cannot be read as names and labels"),
        ({"l.json": "3"}, 'it must be {"NAME": "LABEL"'),
        ({"l.json": '{"a.png": [1, 2]}'}, r"one a picture, got list \[1, 2\] for a\.png"),
        ({"l.json": '{"a.png": 0.5}'}, "got float 0.5"),
        ({"l.jsonl": '{"f": "a.png", "label": 1}\n[1]'}, "must all be objects, or all be pairs"),
        ({"l.txt": "a.png,cat"}, r"a file of names and classes \(.csv, .tsv, .json, .jsonl"),
    ],
)  # fmt: skip
def test_label_files_that_say_no_class_are_refused(tmp_path, files, message):
    place = write(tmp_path / "d", entries())
    (name,) = write(tmp_path, files) and files
    with pytest.raises(ValueError, match=message):
        prepare(place, labels=tmp_path / name)


def test_a_name_that_could_be_two_pictures_is_refused(tmp_path):
    place = write(tmp_path / "d", entries(["x/1.png", "y/1.png"]))
    write(tmp_path, {"l.csv": "file,label\n1.png,cat"})
    with pytest.raises(
        ValueError, match=r"1\.png in .* could be x/1\.png or y/1\.png: give names as from DATA"
    ):
        prepare(place, labels=tmp_path / "l.csv")


def test_what_labels_mean_nothing_for_is_refused(tmp_path):
    place = write(tmp_path / "d", entries())
    write(tmp_path, {"l.csv": rows(NAMES)})
    for classes in ("none", "folders"):
        with pytest.raises(ValueError, match=f"labels and classes {classes} are two answers"):
            prepare(place, labels=tmp_path / "l.csv", classes=classes)
    with pytest.raises(ValueError, match="no labels are given"):
        prepare(place, skip_unlabeled=True)
    np.save(tmp_path / "a.npy", np.zeros((9, 8, 8), np.uint8))
    with pytest.raises(ValueError, match="labels is for files of pictures, and tables"):
        prepare(tmp_path / "a.npy", labels="l.csv")
    with pytest.raises(FileNotFoundError, match=r"no such file of labels: gone\.csv"):
        prepare(place, labels="gone.csv")


def test_other_labels_are_other_data_and_a_changed_file_is_read_again(tmp_path):
    place, file = write(tmp_path / "d", entries()), tmp_path / "l.csv"
    write(tmp_path, {"l.csv": rows(NAMES)})
    first = prepare(place, labels=file)
    assert prepare(place, labels=file).fingerprint == first.fingerprint
    file.write_text(rows(NAMES).replace("d.png,cat", "d.png,dog"), encoding="utf-8")
    assert prepare(place, labels=file).fingerprint != first.fingerprint


# --- what is plainly there -------------------------------------------------------------------------


METADATA = {
    "metadata.jsonl": "\n".join(
        json.dumps({"file_name": n, "label": c}) for n, c in zip(NAMES, CLASSES, strict=True)
    ),
    "metadata.csv": rows(NAMES, "file_name,label"),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_in_the_folder_are_found_and_said(tmp_path, name):
    files = entries() | {name: METADATA[name]}
    for data in (
        write(tmp_path / "d", files),
        zipped(tmp_path / "d.zip", files),
        tar(tmp_path / "d.tar", files),
    ):
        found = prepare(data, holdout=0)
        assert told(found) == ["cat", "cat", "dog", "dog"]
        assert f"classes from {name}" in notes(found)
        assert "other file" not in notes(found)
        assert told(prepare(data, classes="none")) is None


def test_metadata_of_each_split_are_of_its_own_names(tmp_path):
    files = {f"{split}/{i}.png": png(i) for split in ("test", "train") for i in range(2)}
    for split, classes in (("test", "ab"), ("train", "ba")):
        files[f"{split}/metadata.csv"] = "file_name,label\n" + "\n".join(
            f"{i}.png,{classes[i]}" for i in range(2)
        )
    assert told(prepare(write(tmp_path / "d", files), holdout=0)) == ["a", "b", "b", "a"]


def test_captions_are_no_classes_and_can_be_taken(tmp_path):
    lines = "\n".join(
        json.dumps({"file_name": n, "text": f"a {c}"}) for n, c in zip(NAMES, CLASSES, strict=True)
    )
    place = write(tmp_path / "d", entries() | {"metadata.jsonl": lines})
    data = prepare(place)
    assert told(data) is None
    assert "metadata.jsonl has no column that is plainly a label (file_name, text)" in notes(data)
    assert told(prepare(place, labels="metadata.jsonl:text", holdout=0)) == [
        "a cat",
        "a cat",
        "a dog",
        "a dog",
    ]


def test_files_beside_pictures_are_labels(tmp_path):
    cls = {name.rpartition(".")[0] + ".cls": label for name, label in zip(NAMES, CLASSES, strict=True)}
    data = prepare(tar(tmp_path / "d.tar", entries() | cls), holdout=0)
    assert told(data) == ["cat", "cat", "dog", "dog"]
    assert "classes from files .cls beside them" in notes(data)
    facts = {name.replace(".cls", ".json"): json.dumps({"label": c, "w": 8}) for name, c in cls.items()}
    assert told(prepare(tar(tmp_path / "j.tar", entries() | facts), holdout=0)) == told(data)
    texts = {name.replace(".cls", ".txt"): label for name, label in cls.items()}
    plain = tar(tmp_path / "t.tar", entries() | texts)
    assert told(prepare(plain)) is None
    assert told(prepare(plain, labels=".txt", holdout=0)) == told(data)
    with pytest.raises(ValueError, match=r"no picture has a file \.cls beside it"):
        prepare(plain, labels=".cls")
    odd = {name: json.dumps({"kind": 1, "w": 8}) for name in facts}
    place = write(tmp_path / "odd", entries() | odd)
    assert "which entry of the files .json" in notes(prepare(place))
    assert told(prepare(place, labels=".json:kind", holdout=0)) == ["1"] * 4


# --- .tar ------------------------------------------------------------------------------------------


def test_shards_are_read_one_after_another(tmp_path):
    (tmp_path / "d").mkdir()
    for shard in range(2):
        files = {f"{i}.png": png(10 * shard + i) for i in range(3)} | {
            f"{i}.cls": str(shard) for i in range(3)
        }
        tar(tmp_path / "d" / f"s{shard}.tar", files)
    data = prepare(tmp_path / "d", holdout=0)
    assert sorted(told(data)) == ["0"] * 3 + ["1"] * 3
    assert len(np.unique(data.hashes)) == 6
    assert "2 .tar files are read one after another: s0.tar, s1.tar" in notes(data)


def test_a_tar_has_the_classes_of_a_folder(tmp_path):
    names = [f"pets/{kind}/{i}.png" for kind in ("cat", "dog") for i in range(2)]
    data = prepare(tar(tmp_path / "d.tar", entries(names)), holdout=0)
    assert told(data) == ["cat", "cat", "dog", "dog"]


@pytest.mark.parametrize("cut", [100, 512, 1000, -10240, -11000])
def test_a_tar_that_is_cut_short_is_refused(tmp_path, cut):
    path = tar(tmp_path / "d.tar", {f"{i}.png": png(i) for i in range(30)})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"cut short"):
        prepare(path)


def test_a_compressed_tar_is_refused_with_the_way_out(tmp_path):
    with tarfile.open(tmp_path / "d.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(ValueError, match="decompress it once"):
        prepare(tmp_path / "d.tar")


# --- tables ----------------------------------------------------------------------------------------


def table(place, missing=False):
    pytest.importorskip("pyarrow")
    draw = np.random.default_rng(0)
    kinds = draw.choice(["red", "green", "blue"], 90)
    lines = [f"{draw.normal():.2f},{kind},{draw.integers(0, 12)}" for kind in kinds]
    if missing:
        lines[5] = "0.50,,3"
    (place / "t.csv").write_text("\n".join(["size,color,month", *lines]), encoding="utf-8")
    return place / "t.csv"


def test_a_column_is_the_class_and_no_column_of_a_sample(tmp_path):
    path = table(tmp_path)
    data = prepare(path, labels="color", holdout=0)
    assert data.space.names == ("size", "month")
    assert told(data) == [line.split(",")[1] for line in path.read_text("utf-8").split()[1:]]
    assert prepare(path, labels="month").conditions["class"].names == tuple(map(str, range(12)))
    assert prepare(path).fingerprint != data.fingerprint
    with pytest.raises(ValueError, match=r"no column gone .* size, color, month"):
        prepare(path, labels="gone")
    with pytest.raises(ValueError, match="two answers"):
        prepare(path, labels="color", classes="none")
    with pytest.raises(ValueError, match="types says number"):
        prepare(path, labels="month", types={"month": "number"})


def test_rows_without_a_label_are_refused_or_left_out_on_request(tmp_path):
    path = table(tmp_path, missing=True)
    with pytest.raises(ValueError, match=r"1 of 90 rows have no color.*--skip-unlabeled"):
        prepare(path, labels="color")
    data = prepare(path, labels="color", skip_unlabeled=True)
    assert len(data.images) == 89
    assert "left out without a label: 1 of 90 rows" in notes(data)


def test_a_label_comes_back_in_its_place_and_a_run_goes_on(tmp_path):
    path = table(tmp_path)
    data = prepare(path, labels="color")
    list(train(data, out=tmp_path / "run", **TINY))
    model = load(tmp_path / "run/model.safetensors", device="cpu")
    assert model.space == data.space
    drawn = sample(model, 3, evaluations=2, cond={"class": ["red", "blue", "green"]})
    write_samples(tmp_path / "s", drawn)
    written = [line.split(",") for line in (tmp_path / "s/samples.csv").read_text("utf-8").splitlines()]
    assert written[0] == ["size", "color", "month"]
    assert [row[1] for row in written[1:]] == ["red", "blue", "green"]
    list(train(prepare(path, labels="color"), out=tmp_path / "run", **(TINY | {"images": 128})))
    assert load(tmp_path / "run/model.safetensors", device="cpu").about["images"] == 128
    with pytest.raises(ValueError, match=r"data"):
        list(train(prepare(path), out=tmp_path / "run", **(TINY | {"images": 192})))


def test_a_parquet_label_comes_back_in_its_own_type(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {
        "x": np.arange(40) / 7,
        "good": [i % 3 > 0 for i in range(40)],
        "n": pa.array(range(40), pa.int16()),
    }
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    data = prepare(tmp_path / "t.parquet", labels="good", holdout=0)
    assert told(data) == [str(i % 3 > 0).lower() for i in range(40)]
    from alphabar.data.sources.table_files import table_bytes, whole_rows

    rows = whole_rows(np.asarray(data.images), data.space, {"class": told(data)})
    _, content = table_bytes(*rows, data.space.layout)
    back = parquet.read_table(io.BytesIO(content))
    assert back.schema.names == ["x", "good", "n"]
    assert back.column("good").to_pylist() == columns["good"]


# --- Parquet with pictures -------------------------------------------------------------------------


def parquet(path, columns, names=None, group=3):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    made = pa.table(columns)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(made, path, row_group_size=group)
    return path


def test_a_column_of_pictures_is_read_with_its_labels(tmp_path):
    images = [{"bytes": png(i), "path": f"{i}.png"} for i in range(8)]
    columns = {"image": images, "label": [i % 2 for i in range(8)], "text": ["x"] * 8}
    path = parquet(tmp_path / "t.parquet", columns, ["cat", "dog"])
    data = prepare(path, holdout=0)
    assert told(data) == ["cat", "dog"] * 4
    assert "pictures from image, classes from label; not used: text" in notes(data)
    folder = prepare(write(tmp_path / "d", entries([f"{i}.png" for i in range(8)])), holdout=0)
    np.testing.assert_array_equal(data.images[:], folder.images[:])
    plain = parquet(tmp_path / "b.parquet", {"file": [png(i) for i in range(8)], "kind": ["a", None] * 4})
    assert told(prepare(plain)) is None
    with pytest.raises(ValueError, match=r"4 of 8 pictures have no label in the column kind"):
        prepare(plain, labels="kind")
    assert len(prepare(plain, labels="kind", skip_unlabeled=True).images) == 4
    (tmp_path / "s").mkdir()
    for i in range(2):
        parquet(tmp_path / "s" / f"{i}.parquet", columns, ["cat", "dog"])
    assert len(prepare(tmp_path / "s").images) == 16


def test_columns_beside_pictures_are_told_each_as_what_it_is(tmp_path):
    columns = {
        "image": [png(i) for i in range(8)], "label": [i % 2 for i in range(8)], "age": [1.5, None] * 4,
        "seen": ["hat;tie", "tie"] * 4, "note": [f"n{i}" for i in range(8)],
    }  # fmt: skip
    path = parquet(tmp_path / "t.parquet", columns, ["dog", "cat"])
    data = prepare(path, labels="label,age,seen", holdout=0)
    kinds = {name: condition.kind for name, condition in data.conditions.items()}
    assert kinds == {"label": "class", "age": "vector", "seen": "tags"}
    assert data.conditions["label"].names == ("cat", "dog")
    assert data.values["label"].tolist() == [1, 0] * 4
    np.testing.assert_array_equal(data.values["age"].ravel(), [1.5, np.nan] * 4)
    assert data.values["seen"].tolist() == [[1, 1], [0, 1]] * 4
    assert "pictures from image, told label, age, seen; not used: note" in notes(data)
    alone = prepare(path, conditions="seen=tags", holdout=0)
    assert (list(alone.conditions), len(alone.images)) == (["seen"], 8)
    assert "pictures from image, told seen; not used: label, age, note" in notes(alone)
    assert list(prepare(path, labels="age").conditions) == ["age"]
    assert list(prepare(path, conditions="label=class").conditions) == ["class"]
    for settings, message in (
        ({"labels": "label,wrong"}, "no column wrong beside the pictures; it has label, age, seen, note"),
        ({"labels": "age", "conditions": "sene=tags"}, "no column sene beside"),
        ({"labels": "note,age", "conditions": "note=vector"}, "note of the columns note, age: a vector is"),
        ({"labels": "label,age", "skip_unlabeled": True}, "skip_unlabeled"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(path, **settings)


def test_rows_without_a_picture_and_damaged_files_are_refused(tmp_path):
    path = parquet(tmp_path / "t.parquet", {"image": [png(0), None, b"x", png(1)]})
    with pytest.raises(
        ValueError, match=r"2 of 4 pictures cannot be read: image 1 \(no picture there\), image 2"
    ):
        prepare(path)
    assert len(prepare(path, skip_bad=True).images) == 2
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="damaged or no Parquet"):
        prepare(path)


# --- balanced --------------------------------------------------------------------------------------


def uneven(counts=(2, 30, 5)):
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.random.default_rng(0).normal(size=(len(labels), 3)).astype(np.float32)
    return prepare((images, labels), holdout=0)


@pytest.mark.parametrize("size", [6, 7, 40])
def test_balanced_batches_have_each_class_as_often_and_every_sample_in_turn(size):
    data = uneven()
    seen = np.concatenate([data.balanced_indices(3, k, size) for k in range(60)])
    np.testing.assert_array_equal(seen, data.balanced_indices(3, 0, 60 * size))  # the cut changes nothing
    labels = data.values["class"][seen]
    whole = labels[: len(labels) // 3 * 3].reshape(-1, 3)
    assert (np.sort(whole, 1) == np.arange(3)).all()
    for c, count in enumerate((2, 30, 5)):
        own = seen[labels == c]
        for epoch in own[: len(own) // count * count].reshape(-1, count):
            assert set(epoch) == set(np.flatnonzero(data.values["class"] == c))
    assert (data.balanced_indices(4, 0, 60) != seen[:60]).any()
    np.testing.assert_array_equal(uneven().balanced_indices(3, 40, size), data.balanced_indices(3, 40, size))


def test_a_balanced_run_goes_on_to_the_bit_and_needs_classes(tmp_path):
    settings, weights = TINY | {"balanced": True}, {}
    list(train(uneven(), out=tmp_path / "whole", **settings))
    for _ in train(uneven(), out=tmp_path / "parts", **settings):
        break  # after the first of four updates
    list(train(uneven(), out=tmp_path / "parts", **settings))
    list(train(uneven(), out=tmp_path / "plain", **TINY))
    for name in ("whole", "parts", "plain"):
        net = load(tmp_path / name / "model.safetensors", device="cpu").net
        weights[name] = np.concatenate([each.numpy().ravel() for each in net.state_dict().values()])
    np.testing.assert_array_equal(weights["parts"], weights["whole"])
    assert (weights["plain"] != weights["whole"]).any()
    with pytest.raises(ValueError, match="balanced is for data with classes"):
        list(train(prepare(np.zeros((9, 3), np.float32), holdout=0), out=tmp_path / "none", **settings))


def test_each_class_is_drawn_as_often_whatever_the_data_have(tmp_path):
    list(train(uneven(), out=tmp_path / "run", **TINY))
    model = load(tmp_path / "run/model.safetensors", device="cpu")
    drawn = sample(model, 9, evaluations=1, cond={"class": "each"})
    assert drawn.told["class"] == [0, 1, 2] * 3
    assert sample(model, evaluations=1, indices=[4, 5], cond={"class": "each"}).told["class"] == [1, 2]
