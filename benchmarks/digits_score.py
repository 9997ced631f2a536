"""Score samples of handwritten digits against MNIST.

    python benchmarks/digits_score.py samples.npy --mnist mnist.npz
    python benchmarks/digits_score.py samples.npy --labels samples.json --mnist mnist.npz --json

SAMPLES.npy holds n pictures, uint8, of shape (n, 28, 28), (n, 28, 28, 1) or (n, 1, 28, 28); the
archive mnist.npz holds x_train, y_train, x_test, y_test. A small classifier is trained on the
60,000 training digits (five minutes on two cores, above 99 % right on the test digits) and
kept in the folder --cache. It maps a picture to 10 probabilities p and 64 features f (before their
ReLU), all divided by the one number that gives the test digits' features a mean variance of 1.

frechet     Fréchet distance of the samples' features from those of the 10,000 test digits,
            |m1 - m2|^2 + tr S1 + tr S2 - 2 tr sqrt(S1 S2) for means m and covariances S, where
            tr sqrt(S1 S2) = sum sqrt(eigenvalues of S1^1/2 S2 S1^1/2)
floor       the same distance of n real digits from the training set, mean and standard deviation
            over 5 draws: what perfect samples would get; it falls with n, so compare distances
            only at one n
confidence  mean of max p, and the shares of samples with max p > 0.9 and with max p > 0.99;
            beside them the same of the test digits
agreement   with --labels, the share of samples whose argmax p is the class that was asked for;
            beside it the classifier's accuracy on the test digits

The distance is this classifier's, not the FID of Inception features: the two don't compare. Every
seed is fixed: one machine and one thread count give one result.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES, DRAWS = 64, 5
MNIST_KEYS = ("x_train", "y_train", "x_test", "y_test")
ACCEPTED = {
    ".npy": "a .npy file of one array",
    ".npz": f"a .npz archive of {', '.join(MNIST_KEYS)}",
    ".json": "a samples.json as alphabar sample writes it, with the classes that were told",
}


class BadInputError(Exception):
    """Something that the user gave is not what is accepted."""


class Classifier(nn.Module):
    """(B, 28, 28) uint8 → (features (B, 64), logits (B, 10))."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out in ((1, 32), (32, 32), (32, 64), (64, 64)):
            layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU()]
            if c_in == c_out:
                layers.append(nn.MaxPool2d(2))
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3))
        self.features = nn.Linear(64 * 7 * 7, FEATURES)
        self.head = nn.Linear(FEATURES, 10)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        f = self.features(self.body(pictures[:, None].float() / 127.5 - 1))
        return f, self.head(F.relu(f))


def train(pictures: Tensor, labels: Tensor) -> Classifier:
    """Train with a fixed seed: 3 epochs of AdamW, the learning rate up and down once."""
    epochs, batch, peak = 3, 128, 3e-3
    steps = epochs * len(pictures) // batch
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Classifier().train()
        optimizer = torch.optim.AdamW(net.parameters(), lr=peak, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps)
        order = torch.cat([torch.randperm(len(pictures)) for _ in range(epochs)])
        for step in range(steps):
            pick = order[step * batch : (step + 1) * batch]
            loss = F.cross_entropy(net(pictures[pick])[1], labels[pick])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % 200 == 0:
                print(f"training the classifier: step {step} of {steps}", file=sys.stderr)
    return net.eval()


def classifier(mnist: dict[str, np.ndarray], cache: Path) -> Classifier:
    """The trained classifier, from the cache if it was made of the same digits by the same code."""
    key = hashlib.sha256((inspect.getsource(Classifier) + inspect.getsource(train)).encode())
    for name in ("x_train", "y_train"):
        key.update(np.ascontiguousarray(mnist[name]))
    path = cache / f"digits-classifier-{key.hexdigest()[:16]}.pt"
    net = Classifier().eval()
    if path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
        return net
    net = train(torch.from_numpy(mnist["x_train"]), torch.from_numpy(mnist["y_train"]).long())
    cache.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)
    return net


@torch.inference_mode()
def evaluate(net: Classifier, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(features (n, 64), probabilities (n, 10)) of uint8 pictures (n, 28, 28), in float64."""
    outputs = [net(part) for part in torch.from_numpy(np.ascontiguousarray(pictures)).split(500)]
    features, logits = (torch.cat(parts).double() for parts in zip(*outputs, strict=True))
    return features.numpy(), logits.softmax(1).numpy()


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """|m1 - m2|^2 + tr S1 + tr S2 - 2 tr sqrt(S1 S2) of two sets of features, (n, d) and (m, d)."""
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(s1)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ s2 @ root).clip(0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * cross)


def confidence(p: np.ndarray) -> dict[str, float]:
    """The mean of max p, and the shares above 0.9 and 0.99."""
    top = p.max(1)
    return {"mean": float(top.mean()), **{f"> {x}": float((top > x).mean()) for x in (0.9, 0.99)}}


def read(path: Path, kind: str) -> Any:
    """The array of a .npy file, the archive of a .npz file, the classes in a samples.json."""
    try:
        if kind == ".json":
            return np.asarray(json.loads(path.read_text())["told"]["class"])
        loaded = np.load(path, allow_pickle=False)
        return loaded[:] if kind == ".npy" else {name: loaded[name] for name in MNIST_KEYS}
    except (OSError, LookupError, TypeError, ValueError, EOFError, BadZipFile) as error:
        got = getattr(error, "strerror", None) or f"something else ({type(error).__name__})"
        raise BadInputError(f"{path}: got {got}; accepted is {ACCEPTED[kind]}") from None


def load_samples(path: Path) -> np.ndarray:
    """The samples as (n, 28, 28) uint8."""
    array = read(path, ".npy")
    right = array.dtype == np.uint8 and array.shape[1:] in ((28, 28), (28, 28, 1), (1, 28, 28))
    if not right or not 2 <= len(array) <= 60_000:
        raise BadInputError(
            f"{path}: got {array.dtype} of shape {array.shape}; accepted is uint8 of shape "
            "(n, 28, 28), (n, 28, 28, 1) or (n, 1, 28, 28) for n from 2 to 60000"
        )
    return array.reshape(-1, 28, 28)


def load_labels(path: Path, n: int) -> np.ndarray:
    """The n classes that were asked for."""
    labels = read(path, ".json" if path.suffix == ".json" else ".npy")
    right = labels.shape == (n,) and labels.dtype.kind in "iu"
    if not right or labels.min() < 0 or labels.max() > 9:
        raise BadInputError(
            f"{path}: got {labels.dtype} labels of shape {labels.shape}"
            + (f", {labels.min()} to {labels.max()}" if right else "")
            + f"; accepted are {n} integers from 0 to 9, one a sample"
        )
    return labels


def load_mnist(path: Path) -> dict[str, np.ndarray]:
    """The four arrays of mnist.npz."""
    mnist = read(path, ".npz")
    for part, n in (("train", 60_000), ("test", 10_000)):
        x, y = mnist[f"x_{part}"], mnist[f"y_{part}"]
        if x.dtype != np.uint8 or x.shape != (n, 28, 28) or y.shape != (n,):
            raise BadInputError(
                f"{path}: got x_{part} {x.dtype} {x.shape} and y_{part} {y.shape}; accepted are "
                f"uint8 ({n}, 28, 28) and ({n},)"
            )
    return mnist


def score(
    samples: np.ndarray, labels: np.ndarray | None, mnist: dict[str, np.ndarray], cache: Path
) -> dict[str, Any]:
    """Every figure, as the text at the top describes them."""
    net = classifier(mnist, cache)
    real, real_p = evaluate(net, mnist["x_test"])
    unit = np.sqrt(real.var(0).mean())
    features, p = evaluate(net, samples)
    rng = np.random.default_rng(0)
    floors = []
    for _ in range(DRAWS):
        draw = mnist["x_train"][rng.choice(60_000, len(samples), replace=False)]
        floors.append(frechet_distance(evaluate(net, draw)[0] / unit, real / unit))
    figures: dict[str, Any] = {
        "n": len(samples),
        "frechet": frechet_distance(features / unit, real / unit),
        "floor": {"mean": float(np.mean(floors)), "std": float(np.std(floors, ddof=1))},
        "confidence": confidence(p),
        "real_confidence": confidence(real_p),
        "real_agreement": float((real_p.argmax(1) == mnist["y_test"]).mean()),
    }
    if labels is not None:
        figures["agreement"] = float((p.argmax(1) == labels).mean())
    return figures


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Score samples of handwritten digits.")
    add, cache = parser.add_argument, Path.home() / ".cache" / "alphabar"
    add("samples", type=Path, metavar="SAMPLES.npy", help="n pictures, uint8")
    add("--mnist", type=Path, required=True, help=f"archive of {', '.join(MNIST_KEYS)}")
    add("--labels", type=Path, help="classes asked for: .npy, or samples.json")
    add("--cache", type=Path, default=cache, help="keeps the classifier (default: %(default)s)")
    add("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    try:
        samples = load_samples(args.samples)
        labels = load_labels(args.labels, len(samples)) if args.labels else None
        mnist = load_mnist(args.mnist)
    except BadInputError as error:
        print(f"digits_score: {error}", file=sys.stderr)
        return 2
    f = score(samples, labels, mnist, args.cache)
    if args.json:
        print(json.dumps(f, indent=2))
        return 0
    print(f"samples            {f['n']}")
    print(f"Fréchet distance   {f['frechet']:.4f}")
    print(f"  of real digits   {f['floor']['mean']:.4f} ± {f['floor']['std']:.4f} (the floor)")
    for name, value in f["confidence"].items():
        print(f"confidence {name:7} {value:.4f} (real {f['real_confidence'][name]:.4f})")
    if "agreement" in f:
        print(f"agreement          {f['agreement']:.4f} (real {f['real_agreement']:.4f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
