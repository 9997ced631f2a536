"""Real data that are told something real: how far samples meet what they were asked for.

    python benchmarks/told.py DATA OUT NAME [--minutes 5]

| NAME | DATA | told → drawn | measured |
|---|---|---|---|
| future | power.csv of benchmarks/real_data.py | 12 hours of a day's demand → the next 12 | CRPS |
| price | diamonds.csv of it | all other columns → the price | CRPS, in dollars |
| names | emoji-datasource-apple-*.tgz | words of its name → an emoji, 32 × 32 | asked (`alphabar eval`) |
| colors | CIFAR-10, a folder a class | class, mean color → a picture | asked, rms error of colors |

The CRPS is the mean over held-out rows and numbers of E|x - y| - E|x - x'| / 2 for 32 draws x, x' and what
was, y. Beside it that of forecasts without a network: draws from all that was seen (climatology); the 32 rows
whose told part is nearest; a linear regression with its residuals; for the price, boosted trees of 16
quantiles.
"""

from __future__ import annotations

import argparse
import csv
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import alphabar as ab
from alphabar.runs.results import Results
from alphabar.sampling.output import write_samples

DRAWS, MOST = 32, 512
Forecasts = dict[str, np.ndarray]
"""Draws (n, DRAWS, D) by the name of who made them."""


def crps(draws: np.ndarray, truth: np.ndarray) -> float:
    """The mean over rows and numbers, of draws (n, m, D) and what was (n, D)."""
    off = np.abs(draws - truth[:, None]).mean()
    order = np.sort(draws, 1)
    weights = 2 * np.arange(1, draws.shape[1] + 1) - draws.shape[1] - 1
    apart = 2 * (weights[:, None] * order).sum(1) / draws.shape[1] ** 2  # E|x - x'|
    return float(off - apart.mean() / 2)


def without_network(
    told: np.ndarray, seen: np.ndarray, asked: np.ndarray, rng: np.random.Generator
) -> Forecasts:
    """Forecasts (n, DRAWS, D) from pairs (told (N, K), seen (N, D)) for what is asked (n, K)."""
    mean, scale = told.mean(0), told.std(0) + 1e-9
    near = [np.square((told - row) / scale).sum(1).argsort()[:DRAWS] for row in asked]
    x, new = (np.hstack([np.ones((len(each), 1)), (each - mean) / scale]) for each in (told, asked))
    fit = np.linalg.lstsq(x.T @ x + 1e-3 * np.eye(x.shape[1]), x.T @ seen, rcond=None)[0]
    noise = rng.choice(seen - x @ fit, (len(asked), DRAWS))
    return {
        "climatology": rng.choice(seen, (len(asked), DRAWS)),
        "nearest": seen[np.stack(near)],
        "linear": (new @ fit)[:, None] + noise,
    }


def train(data: Any, out: Path, minutes: float, name: str = "best") -> ab.Denoiser:
    """A model: of forecasts that of the least held-out loss, as few samples are soon learned by heart."""
    for _ in ab.train(data, out / "run", minutes=minutes, previews=False):
        pass
    model, last = (ab.load(out / "run" / f"{each}.safetensors") for each in (name, "model"))
    print(f"{model.about['images']:,} of {last.about['images']:,} samples trained on", flush=True)
    return model


def drawn(model: ab.Denoiser, told: Mapping[str, Any], n: int) -> np.ndarray:
    """(n, DRAWS, D) samples, DRAWS for each of n that are asked for."""
    cond = {name: [value for value in values for _ in range(DRAWS)] for name, values in told.items()}
    return ab.sample(model, n * DRAWS, cond=cond).images.reshape(n, DRAWS, -1)


def judged(found: Forecasts, truth: np.ndarray) -> None:
    """Print the CRPS of each."""
    for name, draws in found.items():
        print(f"CRPS of {len(truth)} × {truth.shape[1]}, {name}: {crps(draws, truth):.4g}")


def future(data: str, out: Path, minutes: float) -> None:
    """The second half of a day, told the first."""
    rng = np.random.default_rng(0)
    with open(data, newline="") as file:
        days = np.array([row[:24] for row in list(csv.reader(file))[1:]], np.float64)
    days = rng.permutation(days)
    past, later = days[:, None, :12], days[:, None, 12:]
    held = len(days) // 10
    model = train(ab.prepare((later[held:], {"past": past[held:]}), layout="CL"), out, minutes)
    own = drawn(model, {"past": past[:held]}, held)
    found = without_network(past[held:, 0], later[held:, 0], past[:held, 0], rng)
    judged({"alphabar": own, **found}, later[:held, 0])


def price(data: str, out: Path, minutes: float) -> None:
    """The price of a diamond, told all else."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    rng = np.random.default_rng(0)
    with open(data, newline="") as file:
        names, *rows = csv.reader(file)
    rows = [rows[i] for i in rng.permutation(len(rows))]
    asked, seen = rows[:MOST], rows[MOST:]
    out.mkdir(parents=True, exist_ok=True)
    with (out / "seen.csv").open("w", newline="") as file:
        csv.writer(file).writerows([names, *seen])
    others = [name for name in names if name != "price"]
    model = train(ab.prepare(out / "seen.csv", labels=",".join(others)), out, minutes)

    def cell(text: str) -> Any:
        return float(text) if text.replace(".", "", 1).isdigit() else text

    told = {name: [cell(row[names.index(name)]) for row in asked] for name in others}
    own = drawn(model, told, len(asked))
    kinds = {
        name: {text: i for i, text in enumerate(sorted({row[names.index(name)] for row in rows}))}
        for name in others
        if isinstance(told[name][0], str)
    }

    def matrix(part: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
        found = [
            [
                kinds[name][row[names.index(name)]] if name in kinds else row[names.index(name)]
                for name in others
            ]
            for row in part
        ]
        return np.array(found, np.float64), np.array(
            [[row[names.index("price")]] for row in part], np.float64
        )

    (x, y), (new, truth) = matrix(seen), matrix(asked)
    found = without_network(x, y, new, rng)
    levels = (np.arange(16) + 0.5) / 16
    trees = [
        HistGradientBoostingRegressor(loss="quantile", quantile=q).fit(x, y[:, 0]).predict(new)
        for q in levels
    ]
    judged({"alphabar": own, **found, "boosted trees": np.stack(trees, 1)[..., None]}, truth)


def asked(model_of: Path, data: ab.Dataset, n: int = 512) -> Results:
    """Print how far samples meet what they are told, as `alphabar eval` tells it."""
    results = Results(model_of / "run", data, n=n)
    for each in results.scorecard["asked"]:
        print(
            f"asked: {each['name']}, {each['measure']}: {each['samples']:.3f}, real ones {each['real']:.3f}"
        )
    write_samples(model_of / "samples", results.samples)
    return results


def names(data: str, out: Path, minutes: float) -> None:
    """Emoji, told the words of their names."""
    (out / "emoji").mkdir(parents=True)
    with tarfile.open(data) as archive, (out / "names.csv").open("w", newline="") as file:
        facts = json.load(archive.extractfile("package/emoji.json"))  # type: ignore[arg-type]
        called = {fact["image"]: (fact["name"] or fact["short_name"]).lower() for fact in facts}
        table = csv.writer(file)
        table.writerow(["file", "name"])
        for entry in archive:
            own = entry.name.rsplit("/", 1)[-1]
            if "/img/apple/64/" in entry.name and own in called:
                (out / "emoji" / own).write_bytes(archive.extractfile(entry).read())  # type: ignore[union-attr]
                table.writerow([own, called[own]])
    told = ab.prepare(out / "emoji", size=32, labels=out / "names.csv", conditions={"name": "text"})
    model = train(told, out, minutes, "model")
    asked(out, told)
    for i, word in enumerate(("flag", "heart", "clock", "face")):
        found = ab.sample(model, 16, seed=i, cond={"name": word}, guidance=2.0)
        write_samples(out / word, found)


def colors(data: str, out: Path, minutes: float) -> None:
    """CIFAR-10, told class and mean color."""
    plain = ab.prepare(data, holdout=0)
    images = np.asarray(plain.images)
    kinds = [plain.conditions["class"].names[i] for i in plain.values["class"]]
    tint = images.mean((2, 3))
    told = ab.prepare((images, {"class": kinds, "tint": tint.round(2).tolist()}), layout="CHW")
    model = train(told, out, minutes, "model")
    asked(out, told)
    rows = told.held_out[:MOST]
    truth, who = tint[rows], [kinds[i] for i in rows]
    for scale in (1.0, 2.0):
        cond = {"class": who, "tint": truth.round(2).tolist()}
        found = ab.sample(model, len(rows), cond=cond, guidance=scale)
        write_samples(out / f"guidance-{scale:g}", found)
        off = np.sqrt(np.square(found.images.mean((2, 3)) - truth).mean())
        print(
            f"guidance {scale:g}: rms error of the mean color {off:.2f} of 255, "
            f"which varies by {tint.std(0).mean():.1f}"
        )


ROWS: dict[str, Callable[[str, Path, float], None]] = {
    "future": future, "price": price, "names": names, "colors": colors,
}  # fmt: skip


def main() -> None:
    """Train, sample and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("name", choices=ROWS)
    parser.add_argument("--minutes", type=float, default=5.0)
    given = parser.parse_args()
    ROWS[given.name](given.data, given.out, given.minutes)


if __name__ == "__main__":
    main()
