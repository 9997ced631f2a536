"""Any set of conditions, any network: resume, samples by themselves, files that say it all, restoration."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from alphabar import load, prepare, sample
from alphabar.edit import Known, restore
from alphabar.runs.run import Run
from tiny import NETWORK, tiny_config

N = 24
VIT = {"name": "vit", "channels": 16, "blocks": 1, "head_channels": 8, "patch": 4, "condition_tokens": 1}
SOME = np.random.default_rng(0)
TOLD = {
    "kind": ["ab"[i % 2] for i in range(N)],
    "age": [float(i) for i in range(N)],
    "tags": [[], ["hat"], ["hat", "red"]] * (N // 3),
    "caption": ["a red hat", "a green hat", "nothing at all"] * (N // 3),
    "edges": SOME.integers(0, 2, (N, 8, 8)).astype(np.uint8),
}
ASKED = {
    "kind": ("b", "a"), "age": (7.0, 19.0), "tags": ("hat", "hat;red"),
    "caption": ("a red hat", "a green hat"), "edges": (TOLD["edges"][:1], TOLD["edges"][1:2]),
}  # fmt: skip
"""Of each, two values."""
SETS = [("kind",), ("age", "edges"), ("caption", "kind"), ("tags", "age"), tuple(TOLD)]


def data_told(names):
    images = np.random.default_rng(1).normal(size=(N, 8, 8)).astype(np.float32)
    kinds = {name: {"caption": "text", "tags": "tags"}[name] for name in names if name in ("caption", "tags")}
    return prepare((images, {name: TOLD[name] for name in names}), conditions=kinds or None, holdout=0.1)


@pytest.fixture(scope="module", params=[(names, net) for names in SETS for net in (NETWORK, VIT)], ids=str)
def runs(request, tmp_path_factory):
    """(the conditions' names, a run, the same one stopped and resumed)."""
    names, network = request.param
    place = tmp_path_factory.mktemp("told")
    config = tiny_config(
        network={**network, "dropout": 0.1}, images=48, condition_dropout=0.3, previews=False
    )
    list(Run(place / "whole", data_told(names), config).train())
    half = Run(place / "parts", data_told(names), config).train()
    for _ in range(3):
        next(half)
    half.close()
    list(Run(place / "parts", data_told(names), config).train())
    return names, place / "whole", place / "parts"


def test_a_resumed_run_is_the_whole_one(runs):
    _, whole, parts = runs
    a, b = (load(run, "cpu").net.state_dict() for run in (whole, parts))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert (whole / "metrics.jsonl").read_bytes() == (parts / "metrics.jsonl").read_bytes()


def test_a_file_alone_tells_its_conditions_and_a_sample_is_the_same_alone(runs, tmp_path):
    names, whole, _ = runs
    shutil.copy(whole / "model.safetensors", tmp_path / "m.safetensors")
    model = load(tmp_path / "m.safetensors", "cpu")
    assert set(model.conditions) == set(names)
    how = {"evaluations": 2, "guidance": dict.fromkeys(names, 2.0) if len(names) < 3 else 1.5}
    told = {name: list(ASKED[name]) for name in names}
    drawn = sample(model, 2, cond=told, **how)
    alone = sample(model, indices=[1], cond={name: ASKED[name][1] for name in names}, **how)
    assert alone.images.tobytes() == drawn.images[1:2].tobytes()
    for name in names:  # each of them counts
        other = {each: ASKED[each][each == name] for each in names}
        assert sample(model, 1, cond=other, **how).images.tobytes() != drawn.images[:1].tobytes()


def test_what_is_known_stays_whatever_is_told(runs):
    names, whole, _ = runs
    model, data = load(whole, "cpu"), data_told(names)
    left = np.zeros((1, 8, 8), bool)
    left[:, :, :4] = True
    told = {name: ASKED[name][0] for name in names}
    filled, off = restore(model, Known(left), np.asarray(data.images[0]), 2, cond=told, evaluations=3)
    assert (filled.images == np.asarray(data.images[0]))[:, left].all()
    assert np.all(off == 0)
