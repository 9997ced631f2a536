"""Restoration of MNIST test digits: half of one filled in, 4 x super-resolution, deblurring.

    python benchmarks/digits_restoration.py RUN --mnist mnist.npz --out restoration.png

The first test digit of each of 8 classes, none picked; no class is told to the model. A row a digit: the
digit; its left half and four fillings of the right one; its means over 4 x 4 pixels and four
pictures that have them, by projection, then two by gradient; a blur of 1.5 pixels and two
sharpenings. Prints, for each task and method, the measurement error sqrt(mean (A x - y)^2) and the
distance sqrt(mean (x - digit)^2), beside that of A^+ y alone, in gray levels of 255.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import alphabar as ab
from alphabar.edit import Known, blurred, downscaled
from alphabar.images import enlarged, save_picture, tiled
from alphabar.sampling.inverse import measured_of


def main() -> None:
    parser = argparse.ArgumentParser(description="Restore MNIST test digits.")
    parser.add_argument("run")
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--digits", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    model = ab.load(args.run)
    space = model.space
    with np.load(args.mnist) as mnist:
        x, y = mnist["x_test"], mnist["y_test"]
    chosen = [x[np.flatnonzero(y == digit)[0]][None] for digit in range(args.digits)]
    half = np.ones((1, 28, 28), bool)
    half[..., 14:] = False
    tasks = [
        ("right half filled", Known(half), "projection", 4),
        ("4 x super-resolution", downscaled(space.shape, 4), "projection", 4),
        ("4 x super-resolution", downscaled(space.shape, 4), "gradient", 2),
        ("deblurring, 1.5 pixels", blurred(space.shape, 1.5), "projection", 2),
    ]
    rows, figures = [], {}
    for digit in chosen:
        row, seen = [digit], None
        for name, operator, method, n in tasks:
            measured = measured_of(operator, digit, space)
            given = digit if name.startswith("right") else measured
            samples, errors = ab.edit.restore(
                model, operator, given, n, method=method, evaluations=args.steps
            )
            if name != seen:
                row.append(np.kron(measured, np.ones((1, 4, 4), np.uint8)) if "4 x" in name else measured)
            row += list(samples.images)
            seen = name
            start = torch.zeros(1, *space.shape)
            in_model, target = operator.in_model_space(model.codec, measured)
            plain = model.codec.decode(in_model.project(start, torch.from_numpy(target)[None])[0].numpy())
            apart = samples.images.astype(float) - digit
            entry = figures.setdefault(f"{name}, {method}", [])
            plain_apart = float(np.sqrt(np.mean((plain.astype(float) - digit) ** 2)))
            entry.append((errors.mean(), np.sqrt((apart**2).mean((1, 2, 3))).mean(), plain_apart))
        rows.append(np.stack(row))
    print("| task | measurement error | distance to the digit | of A⁺y alone |\n|---|---|---|---|")
    for name, entries in figures.items():
        print("| " + " | ".join([name, *(f"{v:.2f}" for v in np.mean(entries, 0))]) + " |")
    sheet = tiled(np.concatenate(rows), columns=len(rows[0]))
    save_picture(args.out, enlarged(sheet, 1000))


if __name__ == "__main__":
    main()
