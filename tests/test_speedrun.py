"""The speedrun of benchmarks/: its judge's formula, what entries must answer, its tables; no peers."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

SPEEDRUN = Path(__file__).resolve().parents[1] / "benchmarks" / "speedrun"
if not SPEEDRUN.exists():  # as in an installation from the source distribution, which has no benchmarks
    pytest.skip("benchmarks/ is not here", allow_module_level=True)
NAMES = ("data", "classifiers", "contract", "board", "judge", "run")
LIBRARIES = {
    "alphabar": ("alphabar",),
    "diffusers_lean": ("diffusers",),
    "denoising_diffusion_pytorch": ("denoising_diffusion_pytorch", "ema_pytorch"),
    "smalldiffusion": ("smalldiffusion", "accelerate", "torch_ema"),
    "gaussian_copula": ("copulas", "pandas"),
}


@pytest.fixture(scope="module")
def speedrun():
    """Its modules by name, imported as its scripts import them, and forgotten again."""
    before = set(sys.modules)
    sys.path.insert(0, str(SPEEDRUN))
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.remove(str(SPEEDRUN))
        for name in set(NAMES) - before:
            sys.modules.pop(name, None)


# --- judge -------------------------------------------------------------------------------------


def test_the_distance_of_two_gaussians_is_the_closed_form(speedrun):
    """Of commuting covariances: |m1 - m2|^2 + sum (sqrt(a) - sqrt(b))^2 over the eigenvalues."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 3))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T  # exactly N(0, 1)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    a, b, shift = np.array([1.0, 4.0, 0.25]), np.array([9.0, 1.0, 0.0]), np.array([1.0, -2.0, 0.5])
    one, other = (x * np.sqrt(a)) @ turn, (x * np.sqrt(b)) @ turn + shift
    expected = (shift**2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    distance = speedrun["judge"].frechet_distance
    assert distance(one, other) == pytest.approx(expected, rel=1e-6)
    assert distance(other, one) == pytest.approx(expected, rel=1e-6)
    assert distance(one, one) == pytest.approx(0, abs=1e-6)


def test_the_distance_of_covariances_that_do_not_commute(speedrun):
    """In two dimensions tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)) for M = S1 S2."""
    rng = np.random.default_rng(1)
    one, other = (rng.standard_normal((400, 2)) @ rng.standard_normal((2, 2)) for _ in range(2))
    s1, s2 = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    product = s1 @ s2
    cross = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * cross
    assert speedrun["judge"].frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)


def test_a_classifiers_digest_and_training_are_fixed_by_its_samples(speedrun, tmp_path):
    rng, classifiers = np.random.default_rng(0), speedrun["classifiers"]
    samples, labels = rng.standard_normal((256, 22)).astype(np.float32), rng.integers(0, 5, 256)
    net, file = classifiers.classifier("diamonds", samples, labels, tmp_path / "a")
    again, _ = classifiers.classifier("diamonds", samples, labels, tmp_path / "b")
    kept, same = classifiers.classifier("diamonds", samples, labels, tmp_path / "a")
    assert classifiers.digest(net) == classifiers.digest(again) == classifiers.digest(kept)
    assert file == same
    other, file = classifiers.classifier("diamonds", samples + 1, labels, tmp_path / "a")
    assert classifiers.digest(other) != classifiers.digest(net)
    assert file != same


def test_crops_and_flips_are_pieces_of_the_mirrored_picture(speedrun):
    pictures = torch.arange(2 * 8 * 8, dtype=torch.uint8).reshape(1, 2, 8, 8).repeat(50, 1, 1, 1)
    found = speedrun["classifiers"].flips_and_crops(pictures, torch.Generator().manual_seed(0))
    assert found.shape == pictures.shape
    assert found.dtype == torch.uint8
    padded = np.pad(pictures[0].numpy(), ((0, 0), (4, 4), (4, 4)), mode="reflect")
    mirrored = np.pad(pictures[0].numpy()[:, :, ::-1], ((0, 0), (4, 4), (4, 4)), mode="reflect")
    possible = {
        whole[:, i : i + 8, j : j + 8].tobytes()
        for whole in (padded, mirrored)
        for i in range(9)
        for j in range(9)
    }
    assert {picture.numpy().tobytes() for picture in found} <= possible


# --- data --------------------------------------------------------------------------------------


def digits(path, n=30, **changed):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (n, 28, 28), dtype=np.uint8),
        "y_train": np.arange(n, dtype=np.uint8) % 10,
        "x_test": rng.integers(0, 256, (7, 28, 28), dtype=np.uint8),
        "y_test": np.arange(7, dtype=np.uint8),
    }
    np.savez(path, **{**arrays, **changed})
    return path


def test_entries_are_given_the_training_part_alone(speedrun, tmp_path):
    mnist = speedrun["data"].DATASETS["mnist"]
    given = mnist.for_entries(digits(tmp_path / "mnist.npz"), tmp_path / "cache")
    with np.load(given) as archive:
        assert sorted(archive.files) == ["x_train", "y_train"]
    assert mnist.read(given, "train").samples.shape == (30, 1, 28, 28)
    with pytest.raises(speedrun["data"].BadInputError, match="without x_test, y_test"):
        mnist.read(given, "test")


def diamonds(speedrun, path, rows):
    rng, columns = np.random.default_rng(0), speedrun["data"].DIAMONDS
    cells = {k: rng.choice(v, rows) if v else rng.random(rows).astype(str) for k, v in columns.items()}
    lines = [",".join(cells), *(",".join(row) for row in zip(*cells.values()))]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_tenth_of_a_table_is_kept_from_entries(speedrun, tmp_path):
    data = speedrun["data"]
    table = data.Table(data.DIAMONDS, "cut", 50)
    path = diamonds(speedrun, tmp_path / "diamonds.csv", 50)
    train, test = (table.read(path, part) for part in ("train", "test"))
    assert (train.samples.shape, test.samples.shape) == ((45, 22), (5, 22))
    assert len(set(test.classes)) > 1
    given = table.for_entries(path, tmp_path / "cache").read_text().splitlines()
    whole = path.read_text().splitlines()
    assert given == [line for line, test in zip(whole, [False, *table.tested]) if not test]
    with pytest.raises(data.BadInputError, match="got 40 rows; accepted is a"):
        table.read(diamonds(speedrun, tmp_path / "few.csv", 40), "train")


# --- contract ----------------------------------------------------------------------------------


def answer(speedrun, path, arrays=None, **changed):
    """An answer of ten digits, as an entry writes it."""
    facts = {"evaluations": 20, "images": 1000, "seconds": 59.0, "packages": ("numpy",)}
    pictures = {"samples": np.zeros((10, 28, 28), np.uint8), "classes": np.arange(10)}
    speedrun["contract"].write(path, pictures if arrays is None else arrays, **{**facts, **changed})
    return path


def test_an_answer_that_keeps_the_rules_counts(speedrun, tmp_path):
    part, about = speedrun["contract"].check("mnist", answer(speedrun, tmp_path / "s.npz"), 10, 1)
    assert part.samples.shape == (10, 1, 28, 28)
    assert part.classes.tolist() == list(range(10))
    assert about["evaluations"] == 20
    assert about["versions"] == [f"numpy {np.__version__}"]


def pictures(shape, dtype=np.uint8, **more):
    return {"arrays": {"samples": np.zeros(shape, dtype), **more}}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"evaluations": 50}, "got 50 evaluations a sample; accepted are at most 20"),
        ({"seconds": 70.0}, "got 70 seconds of training; accepted are at most 68 for 1 minutes"),
        ({"images": 1.5}, "got images = 1.5; accepted is JSON of evaluations"),
        (pictures((9, 28, 28)), "got 9 samples; accepted are 10: draw as many as -n says"),
        (
            pictures((10, 32, 32)),
            r"got uint8 of shape \(10, 32, 32\); accepted is uint8 of shape \(n, 28, 28, 1\)",
        ),
        (pictures((10, 28, 28), np.float32), "got float32 of shape"),
        (pictures((10, 28, 28), classes=np.full(10, 10)), "accepted are 10 whole numbers from 0 to 9"),
        ({"arrays": {"pictures": np.zeros(1)}}, "got no array `samples`"),
    ],
)
def test_an_answer_that_breaks_a_rule_is_refused(speedrun, tmp_path, changed, said):
    path = answer(speedrun, tmp_path / "s.npz", **changed)
    with pytest.raises(speedrun["data"].BadInputError, match=said):
        speedrun["contract"].check("mnist", path, 10, 1)


def test_an_answer_without_facts_or_that_is_none_is_refused(speedrun, tmp_path):
    check, refused = speedrun["contract"].check, speedrun["data"].BadInputError
    np.savez(tmp_path / "s.npz", samples=np.zeros((10, 28, 28), np.uint8))
    with pytest.raises(refused, match=r"got no such facts .*see contract\.write"):
        check("mnist", tmp_path / "s.npz", 10, 1)
    (tmp_path / "t.npz").write_text("no archive")
    with pytest.raises(refused, match=r"accepted is an \.npz that an entry"):
        check("mnist", tmp_path / "t.npz", 10, 1)


def test_a_folder_as_alphabar_writes_it_is_read(speedrun, tmp_path):
    judge, cifar10 = speedrun["judge"], speedrun["data"].DATASETS["cifar10"]
    np.save(tmp_path / "samples.npy", np.zeros((2, 3, 32, 32), np.uint8))
    (tmp_path / "samples.json").write_text(json.dumps({"told": {"class": ["cat", "truck"]}}))
    arrays = judge.arrays_at(tmp_path, cifar10)
    assert cifar10.encoded(arrays, tmp_path).classes.tolist() == [3, 9]
    (tmp_path / "samples.json").write_text(json.dumps({"told": {"class": ["cat", "cow"]}}))
    with pytest.raises(speedrun["data"].BadInputError, match="accepted is a folder that alphabar sample"):
        judge.arrays_at(tmp_path, cifar10)


@pytest.mark.parametrize(
    ("name", "column", "said"),
    [
        ("cut", np.array(["Perfect"] * 3), "got Perfect in the column cut; accepted are 3 of Fair, Good"),
        ("price", np.array([1.0, np.nan, 2.0]), "got nan in the column price; accepted are 3 finite numbers"),
        ("price", np.zeros(2), r"got float64 of shape \(2,\) in the column price"),
    ],
)
def test_odd_rows_are_refused(speedrun, tmp_path, name, column, said):
    data = speedrun["data"]
    table = data.Table(data.DIAMONDS, "cut", 50)
    table.read(diamonds(speedrun, tmp_path / "diamonds.csv", 50), "train")
    rows = {k: np.array([v[0]] * 3) if v else np.ones(3) for k, v in data.DIAMONDS.items()}
    assert len(table.encoded(rows, tmp_path).samples) == 3
    with pytest.raises(data.BadInputError, match=said):
        table.encoded({**rows, name: column}, tmp_path)


# --- driver ------------------------------------------------------------------------------------

ENTRY = """
import json, os, sys, time
import numpy as np
asked = dict(zip(sys.argv[1::2], sys.argv[2::2]))
about = {"evaluations": 5, "images": 64, "versions": ["x 1"]}
about["seconds"] = time.time() - float(os.environ["SPEEDRUN_STARTED"])
n = int(asked["-n"]) - (asked["--seed"] == "1")
np.savez(asked["--out"], about=json.dumps(about), samples=np.full((n, 28, 28), 7, np.uint8))
sys.exit(asked["--seed"] == "2")
"""


class StillJudge:
    """A judge that trains nothing."""

    sha256 = "0" * 64

    def floor(self, n):
        return {"mean": 0.5, "std": 0.1}

    def score(self, part):
        return {"n": len(part.samples), "distance": 3.0, "agreement": None, "sure": 0.9}


def test_the_driver_runs_an_entry_by_itself_and_keeps_a_line_and_a_picture(speedrun, tmp_path, monkeypatch):
    run = speedrun["run"]
    (tmp_path / "entries").mkdir()
    (tmp_path / "entries" / "mine.py").write_text(ENTRY)
    monkeypatch.setattr(run, "HERE", tmp_path)
    args = argparse.Namespace(
        dataset="mnist", data=Path("somewhere/mnist.npz"), minutes=1.0, n=12, keep=tmp_path / "kept"
    )

    def attempt(seed):
        return run.attempt(args, "mine", seed, StillJudge(), Path("given.npz"))

    row = attempt(0)
    assert row["command"] == (
        "python benchmarks/speedrun/run.py --dataset mnist --data mnist.npz --minutes 1 --entries mine "
        "--seeds 0 -n 12"
    )
    assert 0 < row["seconds"] <= row["elapsed_s"]
    assert (row["distance"], row["floor"], row["images"], row["versions"]) == (3.0, 0.5, 64, ["x 1"])
    assert json.loads(json.dumps(row)) == row
    picture = np.asarray(Image.open(tmp_path / "kept" / "mnist_mine_1min_0.png"))
    assert picture.shape == (280, 280)
    assert (picture == 7).sum() == 12 * 28 * 28
    with pytest.raises(speedrun["data"].BadInputError, match="got 11 samples; accepted are 12"):
        attempt(1)
    with pytest.raises(speedrun["data"].BadInputError, match="ended with 1; see what it said"):
        attempt(2)


# --- tables ------------------------------------------------------------------------------------


def row(entry, seed, distance, **changed):
    command = f"python run.py --dataset mnist --data m.npz --minutes 5 --entries {entry} --seeds {seed}"
    return {
        "entry": entry, "seed": seed, "distance": distance, "dataset": "mnist", "minutes": 5.0, "n": 10_000,
        "seconds": 300.0, "images": 50_000, "evaluations": 20, "agreement": 0.9, "floor": 0.05,
        "floor_std": 0.01, "judge": "0123456789abcdef", "versions": ["torch 2.13"], "command": command,
        "machine": {"cpu": "EPYC", "threads": 2, "device": "CPU"}, **changed,
    }  # fmt: skip


def test_the_table_has_means_and_ranges_the_best_first(speedrun):
    rows = [
        row("slow", 0, 3.0, agreement=None),
        row("fast", 0, 9.0),  # run again below: the last counts
        row("fast", 0, 1.0),
        row("fast", 1, 2.0, images=60_000),
        row("fast", 0, 0.5, machine={"cpu": "x", "threads": 16, "device": "H100"}),
    ]
    text = speedrun["board"].with_tables(
        f"a\n{speedrun['board'].BEGIN}\nwhat was there\n{speedrun['board'].END}\nb", rows
    )
    assert "what was there" not in text
    assert (text[:2], text[-2:]) == ("a\n", "\nb")
    lines = [line for line in text.splitlines() if line.startswith(("| fast", "| slow", "**", "`python"))]
    assert lines == [
        "**mnist, 5 minutes**, EPYC, 2 threads; n = 10,000, floor 0.050 ± 0.010, judge `0123456789ab`",
        "| fast | 1.500 (1.000 to 2.000, 2 seeds) | 90.0% | 55,000 | 20 | 300 | torch 2.13 |",
        "| slow | 3.000 | not told classes | 50,000 | 20 | 300 | torch 2.13 |",
        "`python run.py --dataset mnist --data m.npz --minutes 5 --entries slow fast "
        "--seeds 0 1 -n 10000`",
        "**mnist, 5 minutes**, H100; n = 10,000, floor 0.050 ± 0.010, judge `0123456789ab`",
        "| fast | 0.500 | 90.0% | 50,000 | 20 | 300 | torch 2.13 |",
        "`python run.py --dataset mnist --data m.npz --minutes 5 --entries fast "
        "--seeds 0 -n 10000`",
    ]  # fmt: skip


def test_the_page_has_its_place_for_tables_and_the_tables_of_all_lines(speedrun):
    board, page = speedrun["board"], (SPEEDRUN / "README.md").read_text()
    files = sorted((SPEEDRUN / "results").glob("*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert board.with_tables(page, rows) == page, "python benchmarks/speedrun/run.py --table writes them"
    with pytest.raises(ValueError, match="put them where tables go"):
        board.with_tables("no place", [])


# --- entries -----------------------------------------------------------------------------------


def test_every_entry_is_in_the_drivers_table(speedrun):
    files = {file.stem for file in (SPEEDRUN / "entries").glob("*.py")}
    assert files == set(speedrun["run"].ENTRIES) == set(LIBRARIES)
    for name in files:
        assert name in (SPEEDRUN / "README.md").read_text()


@pytest.mark.parametrize("name", LIBRARIES)
def test_an_entry_says_what_it_takes(name):
    if missing := [library for library in LIBRARIES[name] if importlib.util.find_spec(library) is None]:
        pytest.skip(f"{', '.join(missing)} is not installed")
    words = [sys.executable, SPEEDRUN / "entries" / f"{name}.py", "--help"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"--{word}" in done.stdout for word in ("data", "dataset", "minutes", "seed", "out"))
