"""The U-Net: the paper's size, any shape and condition, and that each part does its work."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from alphabar.data import Space
from alphabar.nn import MLP, UNet
from alphabar.nn.attention import SHORT, attend
from alphabar.nn.embedding import TimeEmbedding
from alphabar.nn.layers import Attention, Downsample, Repeat, ResBlock, Upsample, fold, unfold
from alphabar.nn.unet_settings import SKIPS
from tiny import NETWORK, default_network, tiny_denoiser

SETTINGS = {name: value for name, value in NETWORK.items() if name != "name"}
ONE_HOT = torch.eye(3)


def random_net(shape=(1, 8, 8), seed=0, **arguments):
    torch.manual_seed(seed)
    net = UNet(shape, **{**SETTINGS, **arguments})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


def test_one_configuration_is_the_papers_cifar10_network():
    """35,746,307 parameters: the count of the public weights of arXiv 2006.11239."""
    with torch.device("meta"):
        net = UNet((3, 32, 32), 128, (1, 2, 2, 2), 2, (1,), dropout=0.1)
    assert sum(p.numel() for p in net.parameters()) == 35_746_307


SHAPES = [
    (1, 8),
    (3, 13),
    (2, 1),
    (1, 8, 8),
    (3, 7, 13),
    (2, 9, 4),
    (5, 28, 28),
    (1, 1, 1),
    (1, 4, 8, 8),
    (2, 3, 5, 7),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("skips", SKIPS)
def test_any_channel_count_and_any_one_two_or_three_sides(shape, patch, skips):
    net = random_net(shape, channel_mult=(1, 2, 2), patch=patch, skips=skips)
    c_noise = torch.tensor([0.0, 50.0])
    x = torch.randn(2, *shape)
    out = net(x, c_noise)
    assert out.shape == x.shape
    assert out.isfinite().all()
    others = torch.randn(2, shape[0], *(side + 3 for side in shape[1:]))  # than it was built for
    assert net(others, c_noise).shape == others.shape
    one = net(x[1:], c_noise[1:])
    torch.testing.assert_close(one[0], out[1], atol=1e-4, rtol=1e-4)  # samples of a batch are apart


@pytest.mark.parametrize(
    ("shape", "patch", "levels"),
    [
        ((1, 24, 40, 17), 1, [(24, 40, 17), (12, 20, 17), (6, 10, 9), (3, 5, 5)]),
        ((1, 1, 4096), 64, [(1, 64), (1, 32), (1, 16), (1, 8)]),
        ((1, 5, 300), 8, [(5, 38), (5, 19), (5, 10), (3, 5)]),
        ((1, 100, 300), 8, [(25, 38), (13, 19), (7, 10), (4, 5)]),
        ((2, 16, 16), 2, [(8, 8), (4, 4), (2, 2), (1, 1)]),
    ],
)
def test_unequal_sides_become_about_equal_and_little_is_padded(shape, patch, levels):
    net, seen = random_net(shape, channel_mult=(1, 1, 1, 1), patch=patch, attention_levels=(3,)), []
    for stage in net.down:
        stage.blocks[0].register_forward_hook(lambda block, given, out: seen.append(out.shape[2:]))
    x = torch.randn(1, *shape)
    assert net(x, torch.ones(1)).shape == x.shape
    top = seen[0]
    for depth, (wanted, found) in enumerate(zip(levels, seen, strict=True)):
        assert all(a <= b < a + 2 ** (3 - depth) for a, b in zip(wanted, found, strict=True)), (wanted, found)
    assert math.prod(top) <= 1.4 * math.prod(levels[0])
    gradient = torch.autograd.grad(net(x.requires_grad_(), torch.ones(1)).square().sum(), x)[0]
    assert gradient.abs().amin() > 0  # each place counts


@pytest.mark.parametrize("shape", [(1, 1, 4096), (3, 5, 300), (1, 24, 40, 17), (2, 64, 64), (1, 28, 28)])
def test_the_default_network_for_unequal_sides_has_a_small_lowest_level(shape):
    network = default_network(Space(shape, "float32", None, None, "array"))
    settings = {name: value for name, value in network.items() if name != "name"}
    with torch.device("meta"):
        net = UNet(shape, **settings)
    lowest = [-(-side // multiple) for side, multiple in zip(shape[1:], net.multiples, strict=True)]
    assert max(lowest) <= 11
    assert shape[0] * math.prod(net.patches) <= max(settings["channels"], shape[0] * 16)


@pytest.mark.parametrize("shape", [(1, 12), (2, 5, 8), (1, 4, 6, 5)])
def test_every_side_is_seen_and_axes_are_not_mixed_up(shape):
    """The network of exchanged axes is the network with its convolutions' axes exchanged."""
    net, turned = (
        random_net(given, channel_mult=(1, 2), patch=1) for given in (shape, (shape[0], *shape[:0:-1]))
    )
    weights = {
        name: w.permute(0, 1, *reversed(range(2, w.ndim))) if w.ndim > 2 else w
        for name, w in net.state_dict().items()
    }
    turned.load_state_dict(weights)
    x, t = torch.randn(2, *shape), torch.tensor([1.0, 9.0])
    axes = (0, 1, *reversed(range(2, x.ndim)))
    torch.testing.assert_close(turned(x.permute(axes), t), net(x, t).permute(axes), atol=1e-4, rtol=1e-4)


def test_bfloat16_and_channels_last_change_no_more_than_roundings():
    for shape in [(2, 9), (2, 7, 6), (2, 3, 5, 6)]:
        net = random_net(shape, patch=2, conditions={"class": (3,), "mask": (1, *shape[1:])})
        x, t = torch.randn(2, *shape), torch.tensor([3.0, 80.0])
        cond = {"class": ONE_HOT[:2], "mask": torch.ones(2, 1, *shape[1:])}
        exact = net(x, t, cond)
        if len(shape) > 2:
            layout = torch.channels_last if len(shape) == 3 else torch.channels_last_3d
            torch.testing.assert_close(net.to(memory_format=layout)(x, t, cond), exact, atol=1e-4, rtol=1e-4)
        reduced = net.to(torch.bfloat16)(x.bfloat16(), t, cond)
        assert reduced.dtype == torch.bfloat16
        assert (reduced.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_folding_is_pixel_unshuffle_for_any_number_of_sides():
    x = torch.randn(2, 3, 6, 9)
    assert torch.equal(fold(x, (3, 3)), F.pixel_unshuffle(x, 3))
    assert torch.equal(unfold(fold(x, (3, 3)), (3, 3)), x)
    assert torch.equal(fold(x, (1, 3)), F.pixel_unshuffle(x.flatten(0, 2)[:, None, None], 1).reshape(
        2, 3, 6, 3, 3).permute(0, 1, 4, 2, 3).reshape(2, 9, 6, 3))  # fmt: skip
    assert torch.equal(unfold(fold(x, (2, 1)), (2, 1)), x)
    line, block = torch.arange(6.0).view(1, 1, 6), torch.randn(2, 3, 4, 6, 2)
    assert fold(line, (2,)).tolist() == [[[0, 2, 4], [1, 3, 5]]]
    folded = fold(block, (2, 2, 2))
    assert folded.shape == (2, 24, 2, 3, 1)
    assert torch.equal(folded[:, 8 + 5], block[:, 1, 1::2, 0::2, 1::2])  # offsets 1, 0, 1 are 5 in binary
    for given in (line, block):
        twos, ones = (2,) * (given.ndim - 2), (1,) * (given.ndim - 2)
        assert torch.equal(unfold(fold(given, twos), twos), given)
        assert fold(given, ones) is unfold(given, ones) is given


@pytest.mark.parametrize("skips", SKIPS)
def test_a_fresh_network_gives_zero_and_every_parameter_learns(skips):
    conditions = {"class": (3,), "mask": (2, 8, 8)}
    x, t = torch.randn(4, 1, 8, 8), torch.tensor([0.0, 3.0, 50.0, 99.0])
    cond = {"class": ONE_HOT[[0, 1, 2, 1]], "mask": torch.randn(4, 2, 8, 8)}
    settings = SETTINGS | {"skips": skips, "channel_mult": (1, 2)}
    assert (UNet((1, 8, 8), conditions=conditions, **settings)(x, t, cond) == 0).all()
    net = random_net(conditions=conditions, scale_shift=True, skips=skips, channel_mult=(1, 2))
    net(x, t, cond).square().sum().backward()
    for name, parameter in net.named_parameters():
        if not name.endswith(("key.bias",)):  # softmax doesn't see a shift of all keys
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


def test_it_sees_the_time_and_each_condition():
    net = random_net(conditions={"class": (3,), "mask": (2, 8, 8)})
    x, t = torch.randn(1, 1, 8, 8), torch.tensor([10.0])
    base = net(x, t, {"class": ONE_HOT[:1]})
    assert not torch.allclose(base, net(x, torch.tensor([11.0]), {"class": ONE_HOT[:1]}), atol=1e-4)
    assert not torch.allclose(base, net(x, t, {"class": ONE_HOT[1:2]}), atol=1e-4)
    mask = torch.zeros(1, 2, 8, 8)
    mask[0, 1, 3, 3] = 1
    assert not torch.allclose(base, net(x, t, {"class": ONE_HOT[:1], "mask": mask}), atol=1e-4)


def test_zeros_and_a_missing_name_tell_nothing_and_so_does_no_mapping():
    net = random_net(conditions={"class": (3,), "size": (2,), "mask": (2, 8, 8)}, scale_shift=True)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([10.0, 90.0])
    zeros = {"class": torch.zeros(2, 3), "size": torch.zeros(2, 2), "mask": torch.zeros(2, 2, 8, 8)}
    nothing = net(x, t)
    for cond in ({}, zeros, {"mask": zeros["mask"]}, {"size": zeros["size"], "class": zeros["class"]}):
        assert torch.equal(net(x, t, cond), nothing)
    half = {"class": torch.stack([ONE_HOT[1], torch.zeros(3)])}  # one sample is told, the other is not
    torch.testing.assert_close(net(x, t, half)[1], nothing[1])
    torch.testing.assert_close(net(x, t, half)[0], net(x, t, {"class": ONE_HOT[[1, 1]]})[0])


def seen_by_blocks(net, *arguments):
    """What the blocks are given beside the activations, before SiLU would hide it."""
    seen = []
    hook = net.middle.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    net(*arguments)
    hook.remove()
    return seen[0]


def test_a_vector_is_embedded_as_a_row_of_a_table_and_vectors_add_up():
    net = random_net(conditions={"class": (3,), "size": (2,)})
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([10.0, 90.0])
    table = net.condition_embeddings["of_class"].weight.T
    time = net.time_embedding(t)
    assert torch.equal(seen_by_blocks(net, x, t), F.silu(time))
    one_hot = {"class": ONE_HOT[[2, 0]]}
    looked_up = F.embedding(torch.tensor([2, 0]), table)
    assert torch.equal(seen_by_blocks(net, x, t, one_hot), F.silu(time + looked_up))
    size = torch.tensor([[0.3, 1.0], [2.0, 1.0]])
    both = F.silu(time + looked_up + size @ net.condition_embeddings["of_size"].weight.T)
    torch.testing.assert_close(seen_by_blocks(net, x, t, {**one_hot, "size": size}), both)


def test_tables_of_conditions_begin_as_an_embedding_does():
    """N(0, 1), as nn.Embedding, whatever the number of classes."""
    net = UNet((1, 8, 8), channels=128, conditions={"class": (100,)})
    weight = net.condition_embeddings["of_class"].weight.detach()
    assert weight.shape == (512, 100)
    assert weight.mean().abs() < 4 / 51200**0.5
    assert float(weight.std()) == pytest.approx(1, abs=4 / (2 * 51200) ** 0.5)


def test_any_name_without_dots_can_be_that_of_a_condition():
    names = ["class", "type", "values", "keys", "forward", "two words", "ä"]
    net = random_net(conditions=dict.fromkeys(names, (2,)))
    net(torch.zeros(1, 1, 8, 8), torch.zeros(1), {name: torch.ones(1, 2) for name in names})
    with pytest.raises(ValueError, match=r"must not be empty or have dots, got 'a\.b'"):
        random_net(conditions={"a.b": (2,)})


def test_conditions_that_are_not_the_networks_are_refused():
    x, t = torch.zeros(2, 1, 8, 8), torch.zeros(2)
    net = random_net(conditions={"class": (3,), "mask": (2, 8, 8)})
    with pytest.raises(
        ValueError, match="unknown condition of this network 'clas'; known: class, mask; did you"
    ):
        net(x, t, {"clas": ONE_HOT[:2]})
    with pytest.raises(ValueError, match="known: none"):
        random_net()(x, t, {"class": ONE_HOT[:2]})
    with pytest.raises(ValueError, match=r"condition class must have shape \(2, 3\), got \(2, 4\)"):
        net(x, t, {"class": torch.eye(4)[:2]})
    with pytest.raises(ValueError, match=r"condition class must have shape \(2, 3\), got \(1, 3\)"):
        net(x, t, {"class": ONE_HOT[:1]})
    with pytest.raises(
        ValueError, match=r"condition mask must have shape \(2, 2, 8, 8\), got \(2, 2, 4, 4\)"
    ):
        net(x, t, {"mask": torch.zeros(2, 2, 4, 4)})
    with pytest.raises(ValueError, match=r"\(K,\) or \(C, 8, 8\), and mask has \(2, 4, 4\)"):
        random_net(conditions={"mask": (2, 4, 4)})


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
        net.norm_out = nn.Identity()  # group norms see the whole picture as well
        for module in net.modules():
            if isinstance(module, ResBlock):
                module.norm1 = module.norm2 = nn.Identity()
            elif isinstance(module, Attention):
                module.norm = nn.Identity()
        difference = (net(x, torch.zeros(1)) - net(changed, torch.zeros(1)))[..., 0, 0].abs().item()
        assert (difference > 0) == reaches


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("places", [SHORT, SHORT + 1])
def test_few_keys_are_attended_to_by_plain_products_in_bfloat16_with_the_same_result(places, masked):
    q, k, v = (torch.randn(2, 3, places, 8, dtype=torch.float64) for _ in range(3))
    mask = (torch.arange(places) % 3 > 0).expand(2, 1, 1, places) if masked else None
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    q, k, v = (x.bfloat16().requires_grad_() for x in (q, k, v))
    found = attend(q, k, v, mask)
    assert ("Softmax" in str(_nodes(found.grad_fn))) == (places == SHORT)
    assert (found.double() - expected).abs().max() < 0.02
    assert torch.equal(attend(q.float(), k.float(), v.float(), mask), F.scaled_dot_product_attention(
        q.float(), k.float(), v.float(), attn_mask=mask
    ))  # fmt: skip


def _nodes(node):
    """Names of what a gradient goes through."""
    return (
        [] if node is None else [node.name(), *(name for up, _ in node.next_functions for name in _nodes(up))]
    )


@pytest.mark.parametrize("head_channels", [None, 4])
def test_attention_is_softmax_over_the_keys(head_channels):
    torch.manual_seed(0)
    layer = Attention(8, 4, head_channels)
    nn.init.normal_(layer.out.weight)
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
    nn.init.eye_(layer.linear1.weight)
    nn.init.eye_(layer.linear2.weight)
    nn.init.zeros_(layer.linear1.bias)
    nn.init.zeros_(layer.linear2.bias)
    t = torch.tensor([0.0, 7.0, 999.0])
    frequencies = [1, 10000 ** (-1 / 3), 10000 ** (-2 / 3), 1e-4]
    angle = t[:, None] * torch.tensor(frequencies)
    torch.testing.assert_close(layer(t), F.silu(torch.cat([angle.sin(), angle.cos()], 1)), atol=2e-4, rtol=0)


def test_downsampling_pads_at_the_far_edges():
    layer = Downsample((2, 2), 1)
    nn.init.zeros_(layer.conv.weight)
    layer.conv.weight.data[0, 0, 0, 0] = 1
    layer.conv.bias.data.zero_()
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert layer(x).flatten().tolist() == [0, 2, 8, 10]


def test_skips_are_added_where_channels_are_as_many():
    """Fresh blocks change nothing, so that what comes out can be said: all of a level is the same."""
    net = UNet((1, 8, 8), **SETTINGS | {"skips": "add", "channel_mult": (1, 2, 2)}).eval()
    seen, up = [], [stage.resample for stage in net.up]
    for module in (*(stage.blocks[0] for stage in net.down), net.norm_out):
        module.register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    net(torch.randn(2, 1, 8, 8), torch.ones(2))
    (conv_in, top), (_, middle), (down, low), (out, _) = seen
    assert torch.equal(conv_in, top)
    h = 2 * low + down  # the middle's, the level's block, and what came down: 16 channels all
    h = up[0](h) + middle  # 8 channels came down to it
    torch.testing.assert_close(up[1](h) + 2 * top, out)
    assert [(layer.conv.in_channels, layer.conv.out_channels) for layer in up[:2]] == [(16, 16), (16, 8)]


def test_added_skips_compute_a_third_less():
    counts = []
    for skips in SKIPS:
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            net = UNet((3, 32, 32), 64, (1, 2), 1, (), scale_shift=True, patch=2, skips=skips)
            net(torch.zeros(1, 3, 32, 32), torch.zeros(1))
        counts.append(counter.get_total_flops())
    assert 0.55 < counts[1] / counts[0] < 0.7


@pytest.mark.parametrize("made", [Upsample, Repeat])
def test_upsampling_repeats_each_place(made):
    for dims in (1, 2, 3):
        layer = made((2,) * dims, 1, *[1] * (made is Repeat))
        nn.init.dirac_(layer.conv.weight)
        nn.init.zeros_(layer.conv.bias)
        x = torch.randn(1, 1, *range(2, 2 + dims))
        expected = x
        for side in range(2, x.ndim):
            expected = expected.repeat_interleave(2, side)
        assert torch.equal(layer(x), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attention_levels": (2,)}, r"among 0\.\.0"),
        ({"channels": 10}, "multiple of groups = 4, got 10"),
        ({"head_channels": 3}, "head_channels = 3 must divide"),
        ({"head_channels": 0}, "head_channels must be a whole number of at least 1, got 0"),
        ({"channel_mult": ()}, "channel_mult needs a factor for each level"),
        ({"channel_mult": 2}, "channel_mult must be a list of whole numbers of at least 1, got 2"),
        ({"attention_levels": 1}, "attention_levels must be a list of whole numbers of at least 0, got 1"),
        ({"attention_levels": "1"}, "attention_levels must be a list of whole numbers .* got '1'"),
        ({"attention_levels": (0.5,)}, r"attention_levels must be a list of whole numbers .* got \(0.5,\)"),
        ({"num_res_blocks": 1.0}, "num_res_blocks must be a whole number"),
        ({"scale_shift": 1}, "scale_shift must be true or false"),
        ({"skips": "sum"}, "unknown skips of the network 'sum'; known: concat, add"),
        ({"dropout": 1.0}, "dropout must lie within 0 and 1"),
        ({"patch": 0}, "patch must be a whole number of at least 1"),
        ({"shape": (5,)}, r"one to three sides, got \(5,\)"),
        ({"shape": (1, 2, 3, 4, 5)}, "one to three sides"),
        ({"shape": (0, 8)}, "one to three sides"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        random_net(**arguments)


def test_reduced_precision_touches_the_network_alone():
    """In bfloat16 the angles of the embedding, noising and x0_hat stay float32."""
    denoiser = tiny_denoiser("x0")
    x, told = torch.randn(4, 1, 8, 8), {"class": torch.eye(2)[[0, 0, 0, 0]]}
    exact = denoiser(x, [1.0, 2.0, 99.0, 100.0], told)
    seen = []
    hook = denoiser.net.time_embedding.linear1.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].clone())
    )
    denoiser.precision = "bfloat16"
    reduced = denoiser(x, [1.0, 2.0, 99.0, 100.0], told)
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
    x, told = torch.randn(4, 1, 8, 8), {"class": torch.eye(2)[[0, 1, 0, 1]]}
    cast = denoiser.in_precision("bfloat16")
    assert {p.dtype for p in cast.net.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in denoiser.net.parameters()} == {torch.float32}
    denoiser.precision = "bfloat16"
    in_each = denoiser(x, 50.0, told)
    assert torch.equal(cast(x, 50.0, told), in_each)
    assert torch.equal(cast.in_precision("bfloat16")(x, 50.0, told), in_each)
    in_each.sum().backward()
    assert {p.grad.dtype for p in denoiser.net.parameters() if p.grad is not None} == {torch.float32}
    denoiser.precision = "float32"
    assert denoiser.in_precision("float32") is denoiser
    with pytest.raises(ValueError, match=r"precision.*float16"):
        denoiser.in_precision("float16")


# --- the network for vectors ---------------------------------------------------------------------


def random_mlp(conditions=None):
    torch.manual_seed(0)
    net = MLP((5,), width=16, blocks=2, conditions=conditions)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


def test_an_mlp_begins_with_zeros_and_each_input_matters_later():
    assert not MLP((5,), width=16, blocks=2)(torch.randn(3, 5), torch.ones(3)).any()
    net = random_mlp({"class": (3,), "size": (1,)})
    x, t, one_hot = torch.randn(3, 5), torch.tensor([1.0, 20.0, 300.0]), torch.eye(3)
    plain = net(x, t)
    assert plain.shape == x.shape
    assert torch.equal(plain, net(x, t, {"class": torch.zeros(3, 3)}))
    for other in (
        net(x + 1, t),
        net(x, t + 1),
        net(x, t, {"class": one_hot}),
        net(x, t, {"size": torch.ones(3, 1)}),
    ):
        assert not torch.allclose(plain, other)
    alone = net(x[1:2], t[1:2], {"class": one_hot[1:2]})
    torch.testing.assert_close(net(x, t, {"class": one_hot})[1:2], alone)


def test_a_block_of_the_mlp_is_its_formula():
    net = random_mlp()
    block, h, emb = net.blocks[0], torch.randn(4, 16), torch.randn(4, 16)
    scale, shift, gate = (emb @ block.embed.weight.T + block.embed.bias).chunk(3, 1)
    normed = (h - h.mean(1, keepdim=True)) / torch.sqrt(h.var(1, unbiased=False, keepdim=True) + 1e-5)
    inner = F.silu((normed * (1 + scale) + shift) @ block.linear1.weight.T + block.linear1.bias)
    expected = h + gate * (inner @ block.linear2.weight.T + block.linear2.bias)
    torch.testing.assert_close(block(h, emb), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"shape": (3, 8)}, "vectors"), ({"width": 0}, "width"), ({"blocks": 10**6}, "at most 256"),
     ({"dropout": 1.0}, "dropout"), ({"conditions": {"mask": (1, 8)}}, "mask"),
     ({"conditions": {"a.b": (2,)}}, "dots")],
)  # fmt: skip
def test_an_mlp_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLP(**{"shape": (5,), **arguments})
    with pytest.raises(ValueError, match="condition"):
        random_mlp({"class": (3,)})(torch.zeros(2, 5), torch.zeros(2), {"other": torch.zeros(2, 3)})
