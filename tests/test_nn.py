"""The U-Net: the paper's size, any shape, and that each part does its work."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from alphabar import UNet
from alphabar.nn import build_network
from alphabar.nn.unet import Attention, Downsample, ResBlock, TimeEmbedding
from tiny import NETWORK, tiny_denoiser


def random_net(seed=0, **arguments):
    torch.manual_seed(seed)
    net = UNet(**{k: v for k, v in {**NETWORK, "num_classes": 0, **arguments}.items() if k != "name"})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


def test_one_configuration_is_the_papers_cifar10_network():
    """35,746,307 parameters: the count of the public weights of arXiv 2006.11239."""
    with torch.device("meta"):
        net = UNet(3, 128, (1, 2, 2, 2), 2, (1,), dropout=0.1)
    assert sum(p.numel() for p in net.parameters()) == 35_746_307


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 13), (2, 9, 4), (5, 28, 28), (1, 1, 1)])
@pytest.mark.parametrize("patch", [1, 2])
def test_any_channel_count_height_and_width(shape, patch):
    net = random_net(in_channels=shape[0], channel_mult=(1, 2, 2), patch=patch)
    x = torch.randn(2, *shape)
    out = net(x, torch.tensor([0.0, 50.0]))
    assert out.shape == x.shape
    assert out.isfinite().all()


def test_a_fresh_network_gives_zero_and_every_parameter_learns():
    torch.manual_seed(0)
    net = build_network(NETWORK)
    x, t, label = torch.randn(4, 1, 8, 8), torch.tensor([0.0, 3.0, 50.0, 99.0]), torch.tensor([0, 1, 0, 1])
    assert (net(x, t, label) == 0).all()
    net = random_net(num_classes=2, scale_shift=True)
    net(x, t, label).square().sum().backward()
    for name, parameter in net.named_parameters():
        if not name.endswith(("key.bias",)):  # softmax doesn't see a shift of all keys
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


def test_it_sees_time_class_and_skips():
    net = random_net(num_classes=2)
    x = torch.randn(1, 1, 8, 8)
    base = net(x, torch.tensor([10.0]), torch.tensor([0]))
    assert not torch.allclose(base, net(x, torch.tensor([11.0]), torch.tensor([0])), atol=1e-4)
    assert not torch.allclose(base, net(x, torch.tensor([10.0]), torch.tensor([1])), atol=1e-4)


def test_every_block_on_the_way_up_gets_its_skip():
    net = random_net(channel_mult=(1, 2), num_res_blocks=2)
    down, up = [], []
    net.conv_in.register_forward_hook(lambda *args: down.append(args[2]))
    for stage in net.down:
        for block in stage.blocks if not len(stage.attentions[0]._modules) else stage.attentions:
            block.register_forward_hook(lambda *args: down.append(args[2]))
        if stage.resample is not None:
            stage.resample.register_forward_hook(lambda *args: down.append(args[2]))
    for stage in net.up:
        for block in stage.blocks:
            block.register_forward_hook(lambda *args: up.append(args[1][0]))
    net(torch.randn(1, 1, 8, 8), torch.zeros(1))
    assert len(down) == len(up) == 6
    for skip, seen in zip(reversed(down), up, strict=True):
        assert torch.equal(seen[:, -skip.shape[1] :], skip)


def test_attention_reaches_across_the_picture_and_convolutions_alone_do_not():
    x = torch.randn(1, 1, 64, 64)
    changed = x.clone()
    changed[..., -1, -1] += 1
    for levels, middle, reaches in [((), False, False), ((0,), False, True), ((), True, True)]:
        net = random_net(attention_levels=levels, middle_attention=middle, channel_mult=(1, 1))
        net.norm_out = torch.nn.Identity()  # group norms see the whole picture as well
        for module in net.modules():
            if isinstance(module, ResBlock):
                module.norm1 = module.norm2 = torch.nn.Identity()
            elif isinstance(module, Attention):
                module.norm = torch.nn.Identity()
        difference = (net(x, torch.zeros(1)) - net(changed, torch.zeros(1)))[..., 0, 0].abs().item()
        assert (difference > 0) == reaches


@pytest.mark.parametrize("head_channels", [None, 4])
def test_attention_is_softmax_over_the_keys(head_channels):
    torch.manual_seed(0)
    layer = Attention(8, 4, head_channels)
    torch.nn.init.normal_(layer.out.weight)
    x = torch.randn(2, 8, 3, 5)
    h = layer.norm(x).flatten(2).transpose(1, 2)
    q, k, v = (
        f(h).unflatten(2, (layer.heads, -1)).transpose(1, 2) for f in (layer.query, layer.key, layer.value)
    )
    scores = torch.einsum("bhid,bhjd->bhij", q, k) / math.sqrt(8 // layer.heads)
    mixed = torch.einsum("bhij,bhjd->bhid", scores.exp() / scores.exp().sum(-1, keepdim=True), v)
    expected = x + layer.out(mixed.transpose(1, 2).flatten(2)).transpose(1, 2).unflatten(2, (3, 5))
    torch.testing.assert_close(layer(x), expected)


def test_time_embedding_is_sines_then_cosines_from_1_to_1e_4():
    layer = TimeEmbedding(8, 8)
    torch.nn.init.eye_(layer.linear1.weight)
    torch.nn.init.eye_(layer.linear2.weight)
    torch.nn.init.zeros_(layer.linear1.bias)
    torch.nn.init.zeros_(layer.linear2.bias)
    t = torch.tensor([0.0, 7.0, 999.0])
    frequencies = [1, 10000 ** (-1 / 3), 10000 ** (-2 / 3), 1e-4]
    angle = t[:, None] * torch.tensor(frequencies)
    torch.testing.assert_close(layer(t), F.silu(torch.cat([angle.sin(), angle.cos()], 1)), atol=2e-4, rtol=0)


def test_downsampling_pads_at_the_far_edges():
    layer = Downsample(1)
    torch.nn.init.zeros_(layer.conv.weight)
    layer.conv.weight.data[0, 0, 0, 0] = 1
    layer.conv.bias.data.zero_()
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert layer(x).flatten().tolist() == [0, 2, 8, 10]


def test_labels_are_needed_exactly_if_there_are_classes():
    x, t = torch.zeros(1, 1, 8, 8), torch.zeros(1)
    with pytest.raises(ValueError, match="has 2 classes, and got no label"):
        random_net(num_classes=2)(x, t)
    with pytest.raises(ValueError, match="has 0 classes, but got a label"):
        random_net()(x, t, torch.tensor([0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attention_levels": (2,)}, r"among 0\.\.1"),
        ({"channels": 10}, "multiple of groups = 4, got 10"),
        ({"head_channels": 3}, "head_channels = 3 must divide"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        random_net(**arguments)
    with pytest.raises(ValueError, match="known: unet"):
        build_network({"name": "net"})


def test_reduced_precision_touches_the_network_alone():
    """In bfloat16 the angles of the embedding, noising and x0_hat stay float32."""
    denoiser = tiny_denoiser("x0")
    x, label = torch.randn(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)
    exact = denoiser(x, [1.0, 2.0, 99.0, 100.0], label)
    seen = []
    hook = denoiser.net.time_embedding.linear1.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].clone())
    )
    denoiser.precision = "bfloat16"
    reduced = denoiser(x, [1.0, 2.0, 99.0, 100.0], label)
    hook.remove()
    assert reduced.dtype == torch.float32
    assert seen[0].dtype == torch.bfloat16  # rounded once, after sine and cosine
    angles = 99 * 10000 ** (-np.arange(4) / 3)
    features = np.concatenate([np.sin(angles), np.cos(angles)])
    np.testing.assert_allclose(seen[0][3].float(), features, atol=2**-9 + 1e-4)
    assert not torch.equal(reduced, exact)
    torch.testing.assert_close(reduced, exact, atol=0.1, rtol=0.1)


def test_weights_cast_once_are_those_cast_in_each_pass():
    """Training casts its float32 weights in each pass, for float32 gradients; sampling casts them once."""
    denoiser = tiny_denoiser("v").requires_grad_(True)
    x, label = torch.randn(4, 1, 8, 8), torch.arange(4) % 2
    cast = denoiser.in_precision("bfloat16")
    assert {p.dtype for p in cast.net.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in denoiser.net.parameters()} == {torch.float32}
    denoiser.precision = "bfloat16"
    in_each = denoiser(x, 50.0, label)
    assert torch.equal(cast(x, 50.0, label), in_each)
    assert torch.equal(cast.in_precision("bfloat16")(x, 50.0, label), in_each)
    in_each.sum().backward()
    assert {p.grad.dtype for p in denoiser.net.parameters() if p.grad is not None} == {torch.float32}
    denoiser.precision = "float32"
    assert denoiser.in_precision("float32") is denoiser
    with pytest.raises(ValueError, match=r"precision.*float16"):
        denoiser.in_precision("float16")
