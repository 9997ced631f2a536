"""What was asked, measured back: shapes made by formula, told numbers, classes and tags, or their outline.

    python benchmarks/conditions.py --minutes 5 --out runs/shapes
    python benchmarks/conditions.py --minutes 5 --out runs/captions --captions
    python benchmarks/conditions.py --minutes 5 --out runs/outlines --outlines digits

Pictures of 16 × 16 with an ellipse (or a cross of two): its place, size, angle and color are numbers, its
shape is a class, `ring`, `frame` and `dot` are tags. Training sees no picture with both `ring` and `frame`,
and of a tenth not the angle. Each is measured back in the samples by formula, from the pixels: the rms error
of numbers, the share of classes and tags that are right; beside it the same of real pictures, which is what
measuring costs. For guidance 1, 2 and 3; for the combination never seen; and for place alone, where the
others must have the marginal of the data. With `--captions`, shapes are told a sentence of words for these,
and nothing else, which would say the same; the share of words that are right is measured. With `--outlines`,
shapes or digits are told where their gradient is large, as a picture, and nothing else; of the places on the
outline of a sample or on the one that it was told, the share on both is measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import alphabar as ab
from alphabar.data import Dataset
from alphabar.evaluation.conditioning import check_conditions
from alphabar.sampling.output import write_samples

SIDE, TAGS, SHAPES = 16, ("ring", "frame", "dot"), ("ellipse", "cross")
SETTINGS = {"schedule": {"name": "cosine", "T": 1000}}


def attributes(n: int, rng: np.random.Generator, unseen: bool = False) -> dict[str, np.ndarray]:
    """What n shapes are; with `unseen` all have the two tags that no training picture has together."""
    theta = rng.uniform(0, np.pi, n)
    tags = rng.random((n, 3)) < 0.4
    tags[:, :2] = True if unseen else tags[:, :2] & ~tags[:, :2].all(1, keepdims=True)
    return {
        "place": rng.uniform(5.5, 9.5, (n, 2)),
        "size": rng.uniform(3.0, 4.5, n),
        "angle": np.stack([np.cos(2 * theta), np.sin(2 * theta)], 1),
        "color": rng.uniform(0.45, 1.0, (n, 3)),
        "shape": rng.integers(0, 2, n),
        "tags": tags.astype(int),
    }


def drawn(what: dict[str, np.ndarray]) -> np.ndarray:
    """The pictures (n, 16, 16, 3), uint8, antialiased."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.0
    dy, dx = (axis - what["place"][:, i, None, None] for i, axis in enumerate((y, x)))
    theta = 0.5 * np.arctan2(what["angle"][:, 1], what["angle"][:, 0])[:, None, None]
    size = what["size"][:, None, None]

    def ellipse(turn: np.ndarray) -> np.ndarray:
        u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        return np.sqrt((u / size) ** 2 + (v / (0.4 * size)) ** 2)

    r = ellipse(theta)
    r = np.where(what["shape"][:, None, None] == 1, np.minimum(r, 1.6 * ellipse(theta + np.pi / 2)), r)
    inside = np.clip((1 - r) * size * 0.4 + 0.5, 0, 1)
    hole = np.clip((0.6 - r) * size * 0.4 + 0.5, 0, 1) * what["tags"][:, 0, None, None]
    images = (inside * (1 - hole))[..., None] * what["color"][:, None, None]
    edge = np.ones((SIDE, SIDE), bool)
    edge[1:-1, 1:-1] = False
    images[:, edge] = np.where(what["tags"][:, 1, None, None] == 1, 0.8, images[:, edge])
    images[:, 1:3, 1:3] = np.where(what["tags"][:, 2, None, None, None] == 1, 1.0, images[:, 1:3, 1:3])
    return (255 * images).round().astype(np.uint8)


def measured(images: np.ndarray) -> dict[str, np.ndarray]:
    """The attributes of pictures (n, 3, 16, 16), 0 to 255, by formula."""
    x = images.astype(np.float64).transpose(0, 2, 3, 1) / 255
    frame = np.concatenate([x[:, 0], x[:, -1], x[:, 1:-1, 0], x[:, 1:-1, -1]], 1).mean((1, 2)) > 0.4
    dot = x[:, 1:3, 1:3].mean((1, 2, 3)) > 0.5
    inner = x[:, 1:-1, 1:-1].copy()
    inner[:, :2, :2] = 0
    light = np.clip(inner.max(3) - DARK, 0, None)  # what is nearly black in samples is background
    w = light / np.maximum(light.sum((1, 2), keepdims=True), 1e-9)
    rows, columns = np.mgrid[1 : SIDE - 1, 1 : SIDE - 1] + 0.0
    place = np.stack([(w * rows).sum((1, 2)), (w * columns).sum((1, 2))], 1)
    dy, dx = rows - place[:, :1, None], columns - place[:, 1:, None]
    vx, vy, vxy = ((w * part).sum((1, 2)) for part in (dx * dx, dy * dy, dx * dy))
    across, along = np.hypot(vx - vy, 2 * vxy), vx + vy
    color = inner.max((1, 2))
    at = np.rint(place - 1).astype(int).clip(0, SIDE - 3)
    center = light[np.arange(len(x)), at[:, 0], at[:, 1]]
    return {
        "place": place,
        "size": 1.36 + 0.617 * np.sqrt(2 * (along + across)),
        "angle": np.stack([vx - vy, 2 * vxy], 1) / np.maximum(across, 1e-9)[:, None],
        "color": color,
        "shape": across / np.maximum(along, 1e-9),
        "tags": np.stack([center < 0.6 * color.max(1), frame, dot], 1).astype(int),
    }


def errors(images: np.ndarray, asked: dict[str, np.ndarray]) -> dict[str, float]:
    """Of numbers the rms error, of the shape and of tags the share that is right."""
    found = measured(images)
    numbers = {name: float(np.sqrt(np.square(found[name] - asked[name]).mean())) for name in NUMBERS}
    shape = float(((found["shape"] < BORDER) == asked["shape"]).mean())
    return numbers | {"shape": shape, "tags": float((found["tags"] == asked["tags"]).mean())}


def outlines(images: np.ndarray) -> np.ndarray:
    """Where the brightness of pictures (n, C, H, W), 0 to 255, changes by more than 50 a pixel; (n, H, W)."""
    dy, dx = np.gradient(images.astype(np.float64).max(1), axis=(1, 2))
    return (255 * (np.hypot(dy, dx) > 50)).astype(np.uint8)


def overlap(images: np.ndarray, told: np.ndarray) -> float:
    """The mean over pictures of |A and B| / |A or B| of their outlines A and those told, B (n, H, W)."""
    own, told = outlines(images) > 0, told > 0
    return float(((own & told).sum((1, 2)) / np.maximum((own | told).sum((1, 2)), 1)).mean())


DARK = 0.15
NUMBERS = ("place", "size", "angle", "color")
BORDER = 0.67  # of how much longer than wide a cross and an ellipse are


def data_of(n: int, shuffled: bool, flat: bool) -> Dataset:
    """The training data; `shuffled`: what is told belongs to other pictures; `flat`: as vectors."""
    rng = np.random.default_rng(0)
    what = attributes(n, rng)
    images = drawn(what)
    if shuffled:
        what = {name: values[rng.permutation(n)] for name, values in what.items()}
    told = {name: values.tolist() for name, values in what.items()}
    told["angle"] = [None if i % 10 == 0 else angle for i, angle in enumerate(told["angle"])]
    told["shape"] = [SHAPES[i] for i in what["shape"]]
    told["tags"] = [[tag for tag, on in zip(TAGS, row, strict=True) if on] for row in what["tags"]]
    return ab.prepare((images.reshape(n, -1) if flat else images, told), layout="array" if flat else "HWC")


def pictures(images: np.ndarray) -> np.ndarray:
    """Samples as pictures (n, 3, 16, 16)."""
    flat = images.reshape(len(images), SIDE, SIDE, 3).transpose(0, 3, 1, 2) if images.ndim == 2 else images
    return flat.clip(0, 255)


def asked_of(what: dict[str, np.ndarray], names: tuple[str, ...]) -> dict[str, list]:
    """What is told of samples."""
    told = {name: what[name].tolist() for name in names}
    if "shape" in told:  # by its name: classes are in the order of theirs
        told["shape"] = [SHAPES[i] for i in what["shape"]]
    if "tags" in told:
        told["tags"] = [
            ",".join(tag for tag, on in zip(TAGS, row, strict=True) if on) for row in what["tags"]
        ]
    return told


def words(what: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What captions say of shapes: a word each, "" for none."""
    tags = [np.where(what["tags"][:, i] == 1, f"with a {tag}", "") for i, tag in enumerate(TAGS)]
    return {
        "size": np.where(what["size"] < 3.75, "small", "large"),
        "color": np.array(["red", "green", "blue"])[what["color"].argmax(1)],
        "shape": np.array(SHAPES)[what["shape"].astype(int)],
        "height": np.where(what["place"][:, 0] < 7.5, "above", "below"),
        "side": np.where(what["place"][:, 1] < 7.5, "left", "right"),
        **dict(zip(TAGS, tags, strict=True)),
    }


def captioned(given: argparse.Namespace) -> None:
    """Train on shapes that are told a caption, and print the share of its words that samples show."""
    rng = np.random.default_rng(0)
    seen, asked = attributes(20_000, rng), attributes(given.n, np.random.default_rng(1))
    said = [" ".join(row) for row in zip(*words(seen).values(), strict=True)]
    told, wanted = [" ".join(row) for row in zip(*words(asked).values(), strict=True)], words(asked)
    if given.shuffled:
        said = [said[i] for i in rng.permutation(len(said))]
    data = ab.prepare((drawn(seen), {"caption": said}), layout="HWC", conditions={"caption": "text"})
    model = trained(data, given)
    rows = [("real", drawn(asked).transpose(0, 3, 1, 2))]
    for scale in (1.0, 2.0, 3.0):
        found = ab.sample(model, given.n, cond={"caption": told}, guidance=scale)
        write_samples(given.out.with_name(f"{given.out.name}-{scale:g}"), found)
        rows.append((f"guidance {scale:g}", found.images))
    print(f"\n| | {' | '.join(wanted)} |\n|---|{'---|' * len(wanted)}")
    for title, images in rows:
        found = measured(images)
        shown = words(found | {"shape": (found["shape"] < BORDER).astype(int)})
        right = [f"{(shown[name] == wanted[name]).mean():.3f}" for name in wanted]
        print(f"| {title} | {' | '.join(right)} |")


def finished(data: Dataset, given: argparse.Namespace, network: dict) -> ab.Denoiser:
    """A model of this network; printed is what it saw."""
    how = SETTINGS | {"condition_dropout": given.dropout, "minutes": given.minutes, "previews": False}
    for _ in ab.train(data, given.out, network=network, **how):
        pass
    model = ab.load(given.out)
    print(f"{model.about['images']:,} pictures trained on")
    return model


def trained(data: Dataset, given: argparse.Namespace) -> ab.Denoiser:
    """A model; printed are what it saw, and what a wrong value of each condition costs it."""
    network: dict = {"channels": given.channels, "channel_mult": [1, 2], "num_res_blocks": 1}
    network = {"name": "mlp", "width": 512, "blocks": 3} if given.mlp else network
    model = finished(data, given, network)
    for name, found in check_conditions(model, data).items():
        print(f"told a wrong {name}: error {found.total:+.1%}, z = {found.z:.1f}, used: {found.used}")
    return model


def outlined(given: argparse.Namespace) -> None:
    """Train on pictures that are told their outlines, and print how far held-out ones are met."""
    if given.outlines == "digits":
        every = np.asarray(ab.prepare("digits", classes="none", holdout=0).images)
    else:
        every = drawn(attributes(20_000, np.random.default_rng(0))).transpose(0, 3, 1, 2)
    order = np.random.default_rng(0).permutation(len(every))
    asked, images = every[order[: given.n]], every[order[given.n :]]
    data = ab.prepare((images, {"outline": outlines(images)}), layout="CHW")
    network = {"channels": given.channels, "groups": 8, "channel_mult": [1, 2, 2], "num_res_blocks": 1}
    network |= {"attention_levels": [], "middle_attention": False}
    model, told = finished(data, given, network), outlines(asked)
    for scale in (1.0, 2.0, 3.0):
        found = ab.sample(model, len(told), cond={"outline": told[:, None]}, guidance=scale)
        write_samples(given.out.with_name(f"{given.out.name}-{scale:g}"), found)
        own, others = overlap(found.images, told), overlap(found.images, np.roll(told, 1, 0))
        print(f"guidance {scale:g}: overlap {own:.3f}, with another's outline {others:.3f}")


def main() -> None:
    """Train, sample and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=Path("runs/shapes"))
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--mlp", action="store_true", help="pictures as vectors, which needs no GPU")
    parser.add_argument("--outlines", choices=("shapes", "digits"), help="tell these their outline instead")
    parser.add_argument("-n", type=int, default=256)
    parser.add_argument("--shuffled", action="store_true", help="tell each picture what is true of another")
    parser.add_argument("--captions", action="store_true", help="tell shapes a caption instead")
    parser.add_argument(
        "--dropout", type=float, default=0.1, help="share of pictures a condition is hidden from"
    )
    given = parser.parse_args()
    if given.captions:
        return captioned(given)
    if given.outlines:
        return outlined(given)
    data = data_of(20_000, given.shuffled, given.mlp)
    model = trained(data, given)
    rng = np.random.default_rng(1)
    what, unseen = attributes(given.n, rng), attributes(given.n, rng, unseen=True)
    real, seen = drawn(what).transpose(0, 3, 1, 2), measured(pictures(np.asarray(data.images[:2000])))
    rows = [("real", errors(real, what))]
    every = tuple(what)
    for scale in (1.0, 2.0, 3.0):
        images = ab.sample(model, given.n, cond=asked_of(what, every), guidance=scale).images
        rows.append((f"guidance {scale:g}", errors(pictures(images), what)))
    images = ab.sample(model, given.n, cond=asked_of(unseen, every)).images
    rows.append(("never seen", errors(pictures(images), unseen)))
    print(f"\n| | {' | '.join(rows[0][1])} |\n|---|{'---|' * len(rows[0][1])}")
    for title, found in rows:
        print(f"| {title} | {' | '.join(f'{value:.3f}' for value in found.values())} |")
    alone = measured(pictures(ab.sample(model, given.n, cond=asked_of(what, ("place",))).images))
    print("\nplace alone is told: mean and deviation of the rest, in samples and in the data")
    print(f"place, rms error: {np.sqrt(np.square(alone['place'] - what['place']).mean()):.3f}")
    for name in ("size", "color", "tags"):
        for i, (a, b) in enumerate(
            zip(np.atleast_2d(alone[name].T), np.atleast_2d(seen[name].T), strict=True)
        ):
            print(f"{name} {i}: {a.mean():.3f} ± {a.std():.3f}, {b.mean():.3f} ± {b.std():.3f}")


if __name__ == "__main__":
    main()
