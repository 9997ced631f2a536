"""Muon: what its matrices become, and which weights it has in any network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from alphabar.model.devices import has_bfloat16
from alphabar.nn import UNet
from alphabar.training import optimizer
from alphabar.training.optimizer import Muon, alike, make_optimizers, orthogonalized
from alphabar.training.trainer import Trainer
from tiny import tiny_config, tiny_data


@pytest.mark.parametrize("shape", [(16, 16), (12, 40), (40, 12), (1, 5)])
def test_orthogonalized_keeps_the_directions_and_evens_the_sizes(shape):
    """U S V^T becomes U S' V^T with the same U and V, and S' near 1 though S falls to a sixteenth."""
    k = min(shape)
    u = torch.linalg.qr(torch.randn(shape[0], k)).Q
    v = torch.linalg.qr(torch.randn(shape[1], k)).Q
    size = torch.logspace(0, -1.2, k)
    core = u.T @ orthogonalized(5.0 * u @ torch.diag(size) @ v.T) @ v
    assert (core - torch.diag(core.diag())).abs().max() < 1e-4
    assert 0.6 < core.diag().min() <= core.diag().max() < 1.3


@pytest.mark.parametrize("shape", [(7, 40), (40, 7), (3, 5, 60), (3, 60, 5)])
def test_by_products_of_rows_it_is_the_same(shape, monkeypatch):
    """Both ways are one polynomial of X: Q X, with Q in powers of X X^T."""
    matrices = torch.randn(shape, dtype=torch.float64)
    by_rows = orthogonalized(matrices)
    monkeypatch.setattr(optimizer, "WIDE", 100)
    plain = orthogonalized(matrices)
    assert not torch.equal(by_rows, plain)
    assert (by_rows - plain).abs().max() < 1e-12
    monkeypatch.undo()
    if has_bfloat16(torch.device("cpu")):
        rough = orthogonalized(matrices.bfloat16()).double()
        assert ((rough - plain).norm() / plain.norm()) < 0.05


def test_small_matrices_of_one_shape_take_their_steps_together(monkeypatch):
    """As many as make `TOGETHER` numbers, with the same steps as one by one."""
    monkeypatch.setattr(optimizer, "has_bfloat16", lambda device: False)
    given = [torch.randn(shape) for shape in ((4, 20), (4, 20), (6, 6), (4, 20), (20, 4))]
    grads, ends = [torch.randn_like(w) for w in given], []
    for together in (1, 170, 2**20):
        monkeypatch.setattr(optimizer, "TOGETHER", together)
        weights = [nn.Parameter(w.clone()) for w in given]
        groups = [*map(len, alike(weights))]
        for weight, grad in zip(weights, grads, strict=True):
            weight.grad = grad.clone()
        Muon(weights, torch.tensor(0.1)).step()
        steps = [(w.detach() - before).flatten() for w, before in zip(weights, given, strict=True)]
        ends.append((groups, torch.cat(steps)))
    assert [groups for groups, _ in ends] == [[1, 1, 1, 1, 1], [2, 1, 1, 1], [3, 1, 1]]
    one_by_one = ends[0][1]
    for _, end in ends[1:]:
        assert (end - one_by_one).norm() < 1e-5 * one_by_one.norm()


@pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="torch's own works in bfloat16")
@pytest.mark.parametrize("shape", [(24, 40), (40, 24)])
def test_it_is_torchs_own_to_the_bit(shape):
    ours = torch.nn.Parameter(torch.randn(shape))
    theirs = torch.nn.Parameter(ours.detach().clone())
    a = Muon([ours], 2e-2, momentum=0.9, weight_decay=0.1)
    like = {"momentum": 0.9, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 3}
    b = torch.optim.Muon([theirs], lr=2e-2, **like)
    for _ in range(4):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        a.step()
        b.step()
        assert torch.equal(ours, theirs)


def test_a_convolution_is_a_matrix_with_a_row_for_each_output_in_any_layout(monkeypatch):
    monkeypatch.setattr(optimizer, "has_bfloat16", lambda device: False)
    weight = torch.randn(8, 4, 3, 3)
    grad = torch.randn_like(weight)
    ends = []
    for given in (weight, weight.to(memory_format=torch.channels_last), weight.flatten(1)):
        parameter = torch.nn.Parameter(given.clone())
        parameter.grad = grad.reshape(given.shape).clone()
        Muon([parameter], 0.1).step()
        ends.append(parameter.detach().reshape(8, 36))
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])
    step = (ends[0] - weight.flatten(1)) / (0.1 * 0.2 * 36**0.5)
    expected = orthogonalized(grad.flatten(1))
    assert (step + expected).abs().max() < 1e-5


def test_muon_has_the_hidden_matrices_and_adamw_all_else():
    trainer = Trainer(tiny_config(), tiny_data())
    muon = {id(p) for group in trainer.optimizers["muon"].param_groups for p in group["params"]}
    adam = {id(p) for group in trainer.optimizers["adam"].param_groups for p in group["params"]}
    assert not muon & adam
    for name, parameter in trainer.parameters.items():
        hidden = name.startswith(("down.", "middle.", "up.")) and parameter.ndim >= 2
        hidden = hidden and ".embed." not in name
        assert (id(parameter) in muon, id(parameter) in adam) == (hidden, not hidden), name
    parts = {part for name in trainer.parameters for part in name.split(".")}
    assert parts >= set(UNet.outer)
    assert set(Trainer(tiny_config(optimizer="adamw"), tiny_data()).optimizers) == {"adam"}


def test_both_follow_the_rate_of_the_run():
    trainer = Trainer(tiny_config(warmup_images=80), tiny_data())
    names = ("middle.blocks.0.conv1.weight", "conv_in.weight")
    before = {}
    for k in range(6):
        if k == 3:  # by then the last layer, which starts from zero, has let gradients through
            before = {name: trainer.parameters[name].detach().clone() for name in names}
        row = trainer.update()
        assert row["lr"] == pytest.approx(2e-3 * 8 * (k + 1) / 80)
    path = 2e-3 * 8 * (4 + 5 + 6) / 80
    for name in names:
        moved = float((trainer.parameters[name].detach() - before[name]).abs().mean())
        assert 0.03 * path < moved < 1.5 * path, name


class Plain(nn.Module):
    """A network of a user's that names no `outer`."""

    def __init__(self):
        super().__init__()
        self.places = nn.Parameter(torch.zeros(1, 5, 4))
        self.table = nn.Embedding(3, 4)
        self.attention = nn.MultiheadAttention(4, 1)
        self.line = nn.Conv1d(4, 6, 3)
        self.block = nn.Conv3d(4, 6, 3)
        self.linear = nn.Linear(4, 2)
        self.frozen = nn.Linear(4, 2).requires_grad_(False)


def test_a_users_network_has_its_convolutions_and_linear_layers_by_muon():
    """Tables and positions are no matrices with a row for every output; what is frozen is nobody's."""
    net = Plain()
    made = make_optimizers(tiny_config(), net)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    by = {
        kind: {names[id(p)] for group in optimizer.param_groups for p in group["params"]}
        for kind, optimizer in made.items()
    }
    assert by["muon"] == {"line.weight", "block.weight", "linear.weight", "attention.out_proj.weight"}
    assert by["adam"] | by["muon"] == {name for name in names.values() if "frozen" not in name}
    assert not by["adam"] & by["muon"]
    net.outer = ("linear",)
    assert names[id(net.linear.weight)] not in {
        names[id(p)]
        for group in make_optimizers(tiny_config(), net)["muon"].param_groups
        for p in group["params"]
    }


def test_a_network_of_one_kind_of_weight_has_one_optimizer():
    assert set(make_optimizers(tiny_config(), nn.Linear(3, 3, bias=False))) == {"muon"}
    assert set(make_optimizers(tiny_config(), nn.LayerNorm(3))) == {"adam"}
    with pytest.raises(ValueError, match="Identity has no parameters that require a gradient"):
        make_optimizers(tiny_config(), nn.Identity())


@pytest.mark.parametrize("shape", [(6, 4, 3), (6, 2, 3, 2, 2)])
def test_convolutions_of_one_and_three_sides_are_matrices_too(shape):
    weight, grad = torch.randn(shape), torch.randn(shape)
    given, flat = nn.Parameter(weight.clone()), nn.Parameter(weight.flatten(1).clone())
    given.grad, flat.grad = grad, grad.flatten(1)
    Muon([given, flat], 0.1).step()
    assert torch.equal(given.flatten(1), flat)
