"""Scores beside those of torch-fidelity and torchmetrics, on the same random features.

They are no dependencies of ours, and without them all of this is skipped. Their networks and pictures
are left out: only what they make of features is compared.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from absent import torchvision_or_names
from alphabar.evaluation.scores import frechet_distance, kid, prdc

if importlib.util.find_spec("torch_fidelity") is None:  # its import needs more than itself, below
    pytest.skip("torch-fidelity is not installed", allow_module_level=True)


with torchvision_or_names():
    metric_fid = pytest.importorskip("torch_fidelity.metric_fid")
    metric_kid = pytest.importorskip("torch_fidelity.metric_kid")
    metric_prc = pytest.importorskip("torch_fidelity.metric_prc")
torchmetrics_fid = pytest.importorskip("torchmetrics.image.fid")
torchmetrics_kid = pytest.importorskip("torchmetrics.image.kid")

SIZES = [(200, 200, 16), (300, 180, 5), (60, 90, 120)]  # the last with fewer rows than features


def features(n, m, d):
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((d, d)) / np.sqrt(d)
    return rng.standard_normal((n, d)) @ mix + 0.3, rng.standard_normal((m, d))


class AsTheyAre(torch.nn.Module):
    """A network for torchmetrics whose features are its input."""

    def __init__(self, d):
        super().__init__()
        self.num_features = d

    def forward(self, x):
        return x


@pytest.mark.parametrize("size", SIZES)
def test_frechet(size):
    a, b = features(*size)
    statistics = [metric_fid.fid_features_to_statistics(torch.from_numpy(x)) for x in (a, b)]
    theirs = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)[metric_fid.KEY_METRIC_FID]
    singular = min(size[:2]) <= size[2]  # then they take the roots of rounded zeros
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-5 if singular else 1e-11)

    metric = torchmetrics_fid.FrechetInceptionDistance(AsTheyAre(size[2])).set_dtype(torch.float64)
    metric.update(torch.from_numpy(b), real=True)
    metric.update(torch.from_numpy(a), real=False)
    assert frechet_distance(a, b) == pytest.approx(float(metric.compute()), rel=1e-5 if singular else 1e-10)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all:UserWarning")
@pytest.mark.parametrize("size", SIZES)
def test_kid(size):
    n, d = min(size[:2]), size[2]  # their subsets are of one size; here of all the rows
    a, b = (x[:n] for x in features(*size))
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    theirs = metric_kid.kid_features_to_metric(x, y, kid_subset_size=n, kid_subsets=1, verbose=False)
    assert kid(a, b).value == pytest.approx(theirs[metric_kid.KEY_METRIC_KID_MEAN], rel=1e-11)

    metric = torchmetrics_kid.KernelInceptionDistance(AsTheyAre(d), subsets=1, subset_size=n)
    metric = metric.set_dtype(torch.float64)
    metric.update(y, real=True)
    metric.update(x, real=False)
    assert kid(a, b).value == pytest.approx(float(metric.compute()[0]), rel=1e-6)  # its result is in float32


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("size", SIZES)
def test_precision_and_recall(size, k):
    a, b = features(*size)
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    theirs = metric_prc.prc_features_to_metric(x, y, prc_neighborhood=k, verbose=False)
    expected = [theirs[metric_prc.KEY_METRIC_PRECISION], theirs[metric_prc.KEY_METRIC_RECALL]]
    assert 0 < min(expected) < 1
    assert prdc(a, b, k=k)[:2] == pytest.approx(expected, abs=1e-6)  # theirs are float32 means
