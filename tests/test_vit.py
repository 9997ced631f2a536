"""The transformer: a plain one beside it, rotary positions, windows, and what every network must do."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from alphabar import load, sample
from alphabar.data import Space
from alphabar.evaluation.conditioning import check_conditioning
from alphabar.nn import ViT, build_network, network_config
from alphabar.nn.attention import attend
from alphabar.nn.layers import fold, pad_to_multiple, patches, unfold
from alphabar.nn.tokens import Windows, rotated, rotations
from alphabar.runs.run import Run
from alphabar.training.optimizer import make_optimizers
from alphabar.training.presets import resolve
from alphabar.training.trainer import Trainer
from tiny import tiny_config, tiny_data

SETTINGS = {"channels": 24, "blocks": 3, "head_channels": 12, "patch": 2}
ONE_HOT = torch.eye(3)


def random_net(shape=(1, 8, 8), seed=0, **arguments):
    """With weights everywhere, also where training starts from zero."""
    torch.manual_seed(seed)
    net = ViT(shape, **{**SETTINGS, **arguments})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


# --- a plain transformer, written again ----------------------------------------------------------


def rms(x, weight=1.0):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def turned(x, positions):
    """Complex numbers turned by position times frequency, axis after axis."""
    half, dims = x.shape[-1] // 2, positions.shape[1]
    base, start = {1: 10_000}.get(dims, 100), 0
    z = torch.complex(x[..., :half], x[..., half:])
    for axis, share in enumerate(len(part) for part in np.array_split(np.arange(half), dims)):
        for i in range(share):
            z[..., start + i] *= torch.exp(1j * positions[:, axis] * base ** (-i / share))
        start += share
    return torch.cat([z.real, z.imag], -1)


def neighbors(positions, size, shifted, first):
    """Who reads whom: all the first ones, and within the same window of the grid."""
    n = len(positions)
    same = torch.ones(n, n, dtype=torch.bool)
    for place in positions.T:
        side = int(place.max()) + 1
        window = (place + (size // 2 if shifted and size < side else 0)) // size
        same &= window[:, None] == window[None]
    whole = torch.zeros(first + n, first + n, dtype=torch.bool)
    whole[first:, first:], whole[:, :first] = same, True
    return whole


def plain_attention(layer, x, positions, mask):
    first = x.shape[1] - len(positions)
    found = []
    for head in range(layer.heads):
        rows = slice(head * x.shape[2] // layer.heads, (head + 1) * x.shape[2] // layer.heads)
        q, k, v = (x @ each.weight[rows].T for each in (layer.query, layer.key, layer.value))
        q, k = rms(q, layer.norm_query.weight), rms(k, layer.norm_key.weight)
        q, k = (torch.cat([each[:, :first], turned(each[:, first:], positions)], 1) for each in (q, k))
        scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~mask, -torch.inf)
        found.append(scores.softmax(-1) @ v)
    return torch.cat(found, -1) @ layer.out.weight.T


def plain(net, x, c_noise, cond=None):
    """The network, by full attention alone, with a mask of all pairs."""
    sides, config = x.shape[2:], net.config
    x, cond = net.joined(x, cond or {})
    emb = net.embedded(c_noise, cond)
    x = fold(pad_to_multiple(x, net.patches), net.patches)
    grid = x.shape[2:]
    positions = torch.tensor(list(itertools.product(*map(range, grid))), dtype=torch.float64)
    unit = torch.zeros(1, len(positions), config["channels"]).double()
    unit[..., : config["channels"] // 2] = 1  # turned: cosines, then sines
    cos, sin = turned(unit, positions).chunk(2, -1)
    h = net.linear_in(x.flatten(2).mT) + torch.cat([sin, cos], -1)
    first = config["condition_tokens"]
    if first:
        h = torch.cat([net.tell_tokens(emb)[:, None] + net.tokens, h], 1)
    windowed = 0
    for i, block in enumerate(net.blocks, 1):
        mask = torch.tensor(True)
        if config["window"] and not (config["global_every"] and i % config["global_every"] == 0):
            mask = neighbors(positions, config["window"], windowed % 2, first)
            windowed += 1
        a, b, gate, c, d, gate2 = (part[:, None] for part in block.modulation(emb).chunk(6, 1))
        h = h + gate * plain_attention(block.attention, rms(h) * (1 + a) + b, positions, mask)
        g = rms(h) * (1 + c) + d
        feed = block.feed
        inner = F.silu(g @ feed.gate.weight.T) * (g @ feed.up.weight.T)
        h = h + gate2 * (inner @ feed.down.weight.T)
    scale, shift = (part[:, None] for part in net.modulation(emb).chunk(2, 1))
    out = net.linear_out(rms(h[:, first:]) * (1 + scale) + shift)
    out = unfold(out.mT.unflatten(2, grid), net.patches)
    return out[(..., *(slice(side) for side in sides))]


CASES = [
    ((2, 23), {}),
    ((1, 7, 10), {"patch": 3}),
    ((1, 3, 5, 4), {"patch": 1, "blocks": 2}),
    ((2, 31), {"patch": 1, "window": 4, "blocks": 2}),
    ((1, 9, 7), {"patch": 1, "window": 4, "global_every": 3}),
    ((3, 8, 8), {"patch": 1, "window": 4, "condition_tokens": 2, "conditions": {"class": (3,)}}),
    ((1, 5, 7, 6), {"patch": 1, "window": 3, "condition_tokens": 1, "global_every": 2}),
    ((2, 12, 3), {"patch": 1, "window": 5, "bottleneck": 3}),
]


@pytest.mark.parametrize(("shape", "settings"), CASES)
def test_it_equals_a_plain_transformer_with_a_mask_of_all_pairs(shape, settings):
    net = random_net(shape, **settings).double()
    cond = {"class": torch.eye(3).double()[:2]} if net.vectors else {}
    for sides in (shape[1:], [side + 2 for side in shape[1:]]):  # and others than it was built for
        x, t = torch.randn(2, shape[0], *sides).double(), torch.tensor([3.0, 700.0]).double()
        torch.testing.assert_close(
            net(x, t, cond), plain(net, x, t, cond), atol=1e-6, rtol=1e-6
        )  # angles are float32


def test_nothing_beyond_the_grid_is_read_and_windows_come_back_in_their_places():
    for sides, size, shifted in itertools.product([(9,), (5, 8), (3, 4, 7)], [2, 3, 4], [False, True]):
        windows = Windows(sides, size, shifted)
        n = math.prod(sides)
        x = torch.arange(1.0, 2 * 3 * n * 2 + 1).view(2, 3, n, 2)
        cut = windows.cut(x)
        assert torch.equal(windows.join(cut, 3), x)
        there = torch.ones(cut.shape[1:3], dtype=torch.bool) if windows.mask is None else windows.mask[:, 0]
        assert there.sum() == n
        assert (cut[:, ~there] == 0).all()
        assert there.any(1).all()  # a window without any place would give NaN
        q, k, v = torch.randn(3, 2, 3, n, 2).unbind()
        keys, values = (torch.where(there[:, :, None], windows.cut(e), 1e9) for e in (k, v))
        found = windows.join(attend(windows.cut(q), keys, values, windows.mask), 3)
        torch.testing.assert_close(found, windows.attend(q, k, v))


@pytest.mark.parametrize("sides", [(11,), (4, 6), (3, 4, 2)])
def test_products_of_rotated_vectors_depend_on_the_difference_of_places_alone(sides):
    angle = rotations(sides, 20).double()
    places = list(itertools.product(*map(range, sides)))
    q, k = torch.randn(2, 20).double()
    turned_q, turned_k = (rotated(x.expand(len(places), -1), angle.cos(), angle.sin()) for x in (q, k))
    products = turned_q @ turned_k.T
    by_difference = {}
    for (i, a), (j, b) in itertools.product(enumerate(places), repeat=2):
        difference = tuple(x - y for x, y in zip(a, b, strict=True))
        by_difference.setdefault(difference, []).append(products[i, j])
    for found in by_difference.values():
        torch.testing.assert_close(torch.stack(found), found[0].expand(len(found)), atol=1e-5, rtol=0)
    assert by_difference[(0,) * len(sides)][0] == pytest.approx(float(q @ k))
    means = torch.stack([found[0] for found in by_difference.values()])
    assert len(means.mul(1e4).round().unique()) == len(means)  # each axis, and each way along it, counts
    torch.testing.assert_close(turned_q.norm(dim=1), q.norm().expand(len(places)))


# --- what every network must do ------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(1, 8), (3, 13), (2, 1), (3, 7, 13), (1, 1, 1), (2, 3, 5, 7), (1, 2, 3, 2, 4)]
)
@pytest.mark.parametrize("patch", [1, 2, 3, 4, 5, 6, 7, 8])
def test_any_sides_and_any_patch(shape, patch):
    net = random_net(shape, patch=patch, channels=16, head_channels=8, blocks=1)
    t = torch.tensor([0.0, 50.0])
    for sides in (shape[1:], [side + 3 for side in shape[1:]]):
        x = torch.randn(2, shape[0], *sides, requires_grad=True)
        out = net(x, t)
        assert out.shape == x.shape
        torch.testing.assert_close(net(x[1:], t[1:])[0], out[1], atol=1e-4, rtol=1e-4)
        assert torch.autograd.grad(out[0].square().sum(), x)[0][0].abs().amin() > 0  # each place counts


@pytest.mark.parametrize("settings", [{}, {"window": 2, "condition_tokens": 2}])
def test_a_sample_has_the_same_bytes_in_any_company(settings):
    net = random_net((1, 9, 12), conditions={"class": (3,)}, **settings)
    x, t, told = torch.randn(16, 1, 9, 12), torch.linspace(0, 999, 16), ONE_HOT[torch.arange(16) % 3]
    with torch.no_grad():
        whole = net(x, t, {"class": told})
        x[:5], t[8:], told[9:] = 7.0, 3.0, 0.0
        assert torch.equal(net(x, t, {"class": told})[5:8], whole[5:8])


@pytest.mark.parametrize("shape", [(1, 12), (2, 6, 8), (1, 4, 6, 4)])
def test_it_knows_where_a_token_is(shape):
    """Where all places hold the same, as in much noise: rotary positions alone would give all the same."""
    out = random_net(shape, patch=1)(torch.ones(1, *shape), torch.ones(1))[0, 0]
    for axis in range(out.ndim):
        steps = out.diff(dim=axis).abs()
        assert (steps > 1e-4).double().mean() > 0.9


def test_a_fresh_network_gives_zero_and_every_parameter_learns():
    settings = {
        **SETTINGS, "conditions": {"class": (3,), "mask": (2, 8, 8)},
        "window": 2, "global_every": 3, "condition_tokens": 2, "bottleneck": 5,
    }  # fmt: skip
    x, t = torch.randn(4, 1, 8, 8), torch.tensor([0.0, 3.0, 50.0, 99.0])
    cond = {"class": ONE_HOT[[0, 1, 2, 1]], "mask": torch.randn(4, 2, 8, 8)}
    net = ViT((1, 8, 8), **settings)
    assert (net(x, t, cond) == 0).all()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for _ in range(3):  # the last layer lets gradients through, then the gates
        net.zero_grad()
        (net(x, t, cond) - x).square().mean().backward()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter -= 0.1 * parameter.grad
    assert [name for name, p in net.named_parameters() if torch.equal(p, before[name])] == []


def test_it_sees_the_time_and_each_condition_and_zeros_tell_nothing():
    net = random_net(conditions={"class": (3,), "size": (2,), "mask": (2, 8, 8)}, condition_tokens=2)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([10.0, 90.0])
    zeros = {"class": torch.zeros(2, 3), "size": torch.zeros(2, 2), "mask": torch.zeros(2, 2, 8, 8)}
    nothing = net(x, t)
    for cond in ({}, zeros, {"mask": zeros["mask"]}, {"class": zeros["class"]}):
        assert torch.equal(net(x, t, cond), nothing)
    assert not torch.allclose(net(x, t + 1), nothing, atol=1e-4)
    mask = torch.zeros(2, 2, 8, 8)
    mask[:, 1, 3, 3] = 1
    for cond in ({"class": ONE_HOT[:2]}, {"size": torch.ones(2, 2)}, {"mask": mask}):
        assert not torch.allclose(net(x, t, cond), nothing, atol=1e-4)
    half = {"class": torch.stack([ONE_HOT[1], torch.zeros(3)])}  # one sample is told, the other is not
    torch.testing.assert_close(net(x, t, half)[1], nothing[1])


def test_bfloat16_and_channels_last_change_no_more_than_roundings():
    for shape in [(2, 9), (2, 7, 6), (2, 3, 5, 6)]:
        net = random_net(shape, conditions={"class": (3,)}, window=2, condition_tokens=1)
        x, t, cond = torch.randn(2, *shape), torch.tensor([3.0, 80.0]), {"class": ONE_HOT[:2]}
        exact = net(x, t, cond)
        if len(shape) > 2:
            layout = torch.channels_last if len(shape) == 3 else torch.channels_last_3d
            found = net.to(memory_format=layout)(x.to(memory_format=layout), t, cond)
            torch.testing.assert_close(found, exact, atol=1e-4, rtol=1e-4)
        reduced = net.to(torch.bfloat16)(x.bfloat16(), t, cond)
        assert reduced.dtype == torch.bfloat16
        assert (reduced.float() - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.filterwarnings("ignore:.torch.jit.script")  # torch's own, which its forward mode calls
@pytest.mark.parametrize("settings", [{}, {"window": 2}, {"window": 3, "condition_tokens": 2}])
def test_it_is_differentiated_forward(settings):
    """As backward does: ⟨w, J v⟩ = ⟨Jᵀ w, v⟩ in input and time; also while weights want a gradient."""
    net = random_net((1, 7, 8), **settings).double()
    x, v, w = torch.randn(3, 2, 1, 7, 8).double()
    t, u = torch.tensor([[3.0, 80.0], [1.0, -2.0]]).double()
    out, forward = torch.func.jvp(net, (x, t), (v, u))
    again, backward = torch.func.vjp(net, x, t)
    torch.testing.assert_close(out, again)
    found = backward(w)
    product = float((w * forward.detach()).sum())
    assert product == pytest.approx(float(((found[0] * v).sum() + (found[1] * u).sum()).detach()))
    forward.square().sum().backward()  # as consistency models need
    assert all(p.grad is not None for p in net.blocks[0].attention.parameters())


def test_nearly_all_its_weights_are_muons():
    made = make_optimizers(
        tiny_config(), ViT((3, 64, 64), channels=128, patch=4, conditions={"class": (10,)})
    )
    muon, adam = (
        sum(p.numel() for group in made[name].param_groups for p in group["params"])
        for name in ("muon", "adam")
    )
    assert muon > 0.95 * (muon + adam)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": 8.5}, "network: channels must be a whole number of at least 4, got 8.5"),
        ({"blocks": 0}, "network: blocks must be a whole number of at least 1, got 0"),
        ({"patch": True}, "network: patch must be a whole number of at least 1, got True"),
        ({"patch": 5000}, "network: patch must be at most 4,096, got 5000"),
        ({"head_channels": 5}, "network: head_channels = 5 must divide 24 channels"),
        ({"head_channels": 3}, "head_channels must be even, and at least 4 for 2 sides .*, got 3"),
        ({"head_channels": 2}, "at least 4 for 2 sides"),
        ({"window": 1}, "network: window must be a whole number of at least 2, got 1"),
        ({"global_every": 2}, "global_every = 2 needs a window"),
        ({"bottleneck": "few"}, "bottleneck must be a whole number of at least 1, got 'few'"),
        ({"condition_tokens": None}, "condition_tokens must be a whole number of at least 0, got None"),
        ({"dropout": 1}, "dropout must lie within 0 and 1"),
        ({"conditions": {"mask": (1, 4, 4)}}, r"vit takes conditions of shape \(K,\) or \(C, 8, 8\)"),
        ({"shape": (9,)}, r"vit is for samples of shape \(C, \*sides\).* for vectors there is mlp"),
    ],
)
def test_settings_that_make_no_network_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ViT(**{"shape": (1, 8, 8), **SETTINGS, **settings})


def test_its_config_makes_it_again():
    net = build_network({"name": "vit", **SETTINGS, "window": 2}, (3, 4, 6), {"class": (2,)})
    config = network_config(net)
    assert {**config, **SETTINGS} == config
    build_network(config, (3, 4, 6), {"class": (2,)}).load_state_dict(net.state_dict())


# --- in a training -------------------------------------------------------------------------------


def resolved(shape, settings=None, **network):
    config = resolve(
        Space(shape, "float32", -1, 1, "array"), {}, 1000, None,
        {"network": {"name": "vit", **network}, **(settings or {})},
    )  # fmt: skip
    ViT(shape, **{name: value for name, value in config.network.items() if name != "name"})
    return config


@pytest.mark.parametrize(
    ("shape", "patch", "tokens"),
    [
        ((1, 8, 8), 1, 64), ((1, 28, 28), 2, 196), ((3, 32, 32), 2, 256), ((3, 64, 64), 4, 256),
        ((1, 4096), 8, 512), ((1, 1, 4096), 8, 512), ((1, 32, 32, 32), 4, 512), ((1, 8, 8, 8, 8), 2, 256),
    ],
)  # fmt: skip
def test_its_default_size_follows_from_the_sides(shape, patch, tokens):
    with torch.device("meta"):
        config = resolved(shape)
    assert config.network["patch"] == patch
    assert (
        math.prod(-(-n // by) for n, by in zip(shape[1:], patches(shape[1:], patch), strict=True)) == tokens
    )
    much = shape in ((3, 64, 64), (1, 32, 32, 32))  # 48 and 64 numbers of 256 channels
    assert config.prediction == ("x0" if much else "v")
    assert not {"window", "bottleneck"} & config.network.keys()


def test_tokens_that_hold_much_come_through_a_bottleneck_and_predict_x0():
    with torch.device("meta"):
        config = resolved((3, 256, 256))
        assert (config.network["patch"], config.network["bottleneck"]) == (16, 64)
        assert (config.prediction, config.loss) == ("x0", "clipped")
        assert resolved((3, 256, 256), {"prediction": "eps"}).prediction == "eps"
        assert resolved((3, 256, 256), bottleneck=None).network["bottleneck"] is None
        assert resolved((1, 28, 28), patch=14).prediction == "x0"
        assert resolved((1, 28, 28), patch=4, channels=128).prediction == "x0"
        assert resolved((1, 28, 28), patch=4, channels=256).prediction == "v"
        assert resolved((1, 28, 28), channels=96).network["head_channels"] == 48
        long = resolved((2, 100_000), patch=16).network
        assert (long["window"], long["global_every"]) == (512, 4)
        assert resolved((3, 512, 512), patch=8).network["window"] == 22
        assert "global_every" not in resolved((2, 100_000), patch=16, window=None).network


NETWORK = {"name": "vit", "channels": 32, "blocks": 2, "head_channels": 16, "patch": 4}


def test_a_run_resumes_to_the_bit_and_its_file_describes_itself(tmp_path):
    network = {**NETWORK, "patch": 2, "dropout": 0.1, "condition_tokens": 1, "window": 2}
    settings = {"network": network, "images": 48, "previews": False}
    list(Run(tmp_path / "whole", tiny_data(), tiny_config(**settings)).train())
    half = Run(tmp_path / "parts", tiny_data(), tiny_config(**settings)).train()
    for _ in range(3):
        next(half)
    half.close()
    list(Run(tmp_path / "parts", tiny_data(), tiny_config(**settings)).train())
    whole, parts = (load(tmp_path / name, "cpu") for name in ("whole", "parts"))
    state = parts.net.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in whole.net.state_dict().items())
    assert whole.net.config == {**whole.net.config, **network}
    drawn = sample(whole, indices=[5], evaluations=2).images
    assert np.array_equal(drawn[0], sample(parts, indices=[2, 5, 9], evaluations=2).images[1])
    assert sample(whole, 1, size=(12, 10), evaluations=2).images.shape == (1, 1, 12, 10)


def test_micro_batches_have_the_gradient_of_the_whole():
    ends = []
    for micro_batch in (None, 3):
        trainer = Trainer(
            tiny_config(network={**NETWORK, "dropout": 0.2}, micro_batch=micro_batch), tiny_data()
        )
        ends.append([trainer.update()["loss"] for _ in range(3)])
    assert ends[0] == pytest.approx(ends[1], rel=1e-3)


def test_a_transformer_learns_and_uses_the_class():
    data, schedule = tiny_data(200), {"name": "cosine", "T": 100}
    settings = {"prediction": "x0", "loss": "x0", "schedule": schedule, "batch_size": 32, "lr": 1e-2}
    trainer = Trainer(tiny_config(network=NETWORK, warmup_images=100, **settings), data)
    losses = [trainer.update()["loss"] for _ in range(75)]
    assert np.mean(losses[-10:]) < 0.25 * losses[0]
    assert check_conditioning(trainer.ema.eval(), data.images, data.values, "class").used
