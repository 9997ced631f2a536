"""Networks by name, a user's own among them, and dropout that is a function of place and step."""

from __future__ import annotations

import copy
import importlib
import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

from alphabar.files import save_tensors
from alphabar.model import load
from alphabar.model.file import facts_of
from alphabar.nn import (
    NETWORKS,
    Dropout,
    UNet,
    build_network,
    keyed_dropout,
    network_config,
    requirement,
    takes_cond,
)
from tiny import NETWORK, tiny_denoiser

MODULE = '''
import torch
from torch import nn

__version__ = "1.2.3"


class Net(nn.Module):
    """A small network for any shape."""

    def __init__(self, shape, width=4, *, conditions, act="silu"):
        super().__init__()
        self.shape, self.conditions, self.width, self.act = shape, conditions, width, act
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x, c_noise, cond):
        return x * self.scale.mean()

    class Inner(nn.Module):
        """Of settings that it keeps itself."""

        def __init__(self, width):
            super().__init__()
            self.config = {"width": width}

        def forward(self, x, c_noise):
            return x


class Wide(nn.Module):
    """Whose config is an object that it works with."""

    def __init__(self, width=1, **rest):
        super().__init__()
        self.config = type("Config", (), {"width": width, "rest": rest})()

    def forward(self, x, *rest):
        return x


def function(**settings):
    return nn.Identity()


number = 3
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package `usersnets` with a module `deep`, imported again in each test."""
    folder = tmp_path / "usersnets"
    folder.mkdir()
    (folder / "__init__.py").write_text('__version__ = "1.2.3"\nfrom .deep import Net as Short\n')
    (folder / "deep.py").write_text(MODULE)
    (folder / "broken.py").write_text("import usersnets.missing\n")
    (folder / "raising.py").write_text("import math\n\nmath.tua\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "usersnets"]:
        del sys.modules[name]


def test_the_unet_is_built_from_its_name_and_gives_its_config_back():
    net = build_network(NETWORK, (3, 4, 6), {"class": (2,)})
    assert isinstance(net, UNet)
    assert net.shape == (3, 4, 6)
    config = network_config(net)
    assert {**config, **NETWORK} == config  # what was asked for, and the defaults beside it
    assert not {"shape", "conditions"} & config.keys()
    again = build_network(json.loads(json.dumps(config)), (3, 4, 6), {"class": (2,)})
    assert network_config(again) == config
    again.load_state_dict(net.state_dict())
    assert network_config(UNet((1, 8))) == network_config(build_network({"name": "unet"}, (1, 8)))
    assert requirement(config) is None
    assert takes_cond(net)


def test_a_row_of_the_table_is_enough_for_a_new_network(monkeypatch):
    class Scale(nn.Module):
        def __init__(self, factor: float = 2.0) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x, c_noise):
            return self.factor * x

    monkeypatch.setitem(NETWORKS, "scale", Scale)
    net = build_network({"name": "scale", "factor": 3.0}, (5,))
    assert network_config(net) == {"name": "scale", "factor": 3.0}
    assert network_config(Scale()) == {"name": "scale", "unknown_settings": True}
    assert requirement(network_config(net)) is None
    assert not takes_cond(net)
    with pytest.raises(
        ValueError, match=r"unknown network 'scal'; known: unet, mlp, vit, scale, package\.module:Class"
    ):
        build_network({"name": "scal"}, (5,))
    with pytest.raises(ValueError, match="unknown setting of the network scale 'facto'; known: factor"):
        build_network({"name": "scale", "facto": 3.0}, (5,))


@pytest.mark.parametrize("name", ["usersnets.deep:Net", "usersnets:Short"])
def test_a_users_class_is_built_saved_as_json_and_built_again(package, name):
    config = {"name": name, "width": 7, "act": "gelu"}
    net = build_network(config, (2, 64), {"class": (3,), "size": (2,)})
    assert (net.shape, net.conditions) == ((2, 64), {"class": (3,), "size": (2,)})
    assert (net.width, net.act) == (7, "gelu")
    assert takes_cond(net)
    saved = json.loads(json.dumps(network_config(copy.deepcopy(net))))
    assert saved == net.config == config
    again = build_network(saved, (2, 64), {})
    again.load_state_dict(net.state_dict())
    assert requirement(saved) == {"package": "usersnets", "version": "1.2.3"}


def test_an_instance_given_from_python_is_saved_by_its_class(package):
    from usersnets.deep import Net  # pyright: ignore[reportMissingImports]

    net = Net((1, 8), width=9, conditions={})
    unknown = network_config(net)
    assert unknown == {"name": "usersnets.deep:Net", "unknown_settings": True}
    with pytest.raises(ValueError, match=r"whose settings aren't known: give it again \(net=\)"):
        build_network(unknown, (1, 8))  # not with the constructor's defaults, which may be others
    assert not hasattr(net, "config")
    inner = Net.Inner(5)
    assert network_config(inner) == {"name": "usersnets.deep:Net.Inner", "width": 5}
    assert build_network(network_config(inner), (1, 8)).config == {"width": 5}


def test_a_modules_own_config_is_left_alone(package):
    net = build_network({"name": "usersnets.deep:Wide", "width": 3, "depth": 2}, (1, 8))
    assert (net.config.width, net.config.rest) == (3, {"depth": 2})
    assert network_config(net) == {"name": "usersnets.deep:Wide", "width": 3, "depth": 2}
    assert takes_cond(net)


def test_the_version_is_the_distributions_where_there_is_one():
    found = requirement({"name": "torch.nn:Identity"})
    assert found is not None
    assert found["package"] == "torch"
    assert found["version"] == torch.__version__.partition("+")[0] or found["version"] == torch.__version__
    assert requirement({"name": "nowhere.at.all:Net"}) == {"package": "nowhere", "version": None}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"name": "missingpackage:Net"},
            "ModuleNotFoundError.*install its package, or put its folder on PYTHONPATH",
        ),
        (
            {"name": "usersnets.broken:Net"},
            "usersnets.broken.*cannot be imported.*No module named 'usersnets.missing'",
        ),
        (
            {"name": "usersnets.raising:Net"},
            "usersnets.raising, .* cannot be imported: AttributeError: module 'math' has no attribute 'tua'",
        ),
        ({"name": "usersnets.deep:Nett"}, "there is no Nett in usersnets.deep"),
        ({"name": "usersnets.deep:Net.Nett"}, "there is no Net.Nett in usersnets.deep"),
        ({"name": "usersnets.deep:function"}, "must be a class derived from torch.nn.Module"),
        ({"name": "usersnets.deep:number"}, "must be a class derived from torch.nn.Module, got 3"),
        ({"name": "subprocess:Popen", "args": "false"}, "must be a class derived from torch.nn.Module"),
        (
            {"name": "usersnets.deep"},
            "unknown network 'usersnets.deep'; known: unet, mlp, vit, package.module:Class",
        ),
        ({"name": ":Net"}, "unknown network ':Net'"),
        ({"name": None}, "unknown network None"),
        ({}, "unknown network None"),
        ({"name": [1]}, "unknown network"),
        ({"name": "__main__:Nowhere"}, r"another program or notebook.*give the network itself \(net=\)"),
        ({"name": "tests:f.<locals>.Net"}, r"made inside a function.*give the network itself \(net=\)"),
        (
            {"name": "usersnets.deep:Net", "widht": 3},
            "unknown setting.*'widht'; known: width, act; did you mean 'width'",
        ),
        ({"name": "usersnets.deep:Net", "shape": [3]}, "the network's shape comes from the data"),
        ({"name": "unet", "conditions": {}}, "the network's conditions comes from the data"),
        (
            {"name": "usersnets.deep:Net.Inner"},
            "cannot be made of no settings: missing a required argument: 'width'",
        ),
        (
            {"name": "unet", "chanels": 8},
            "unknown setting of the network unet 'chanels'.*did you mean 'channels'",
        ),
        ({"name": "unet", "channels": 8.5}, "channels must be a whole number"),
    ],
)
def test_what_is_no_network_is_refused_with_a_way_out(package, config, message):
    with pytest.raises(ValueError, match=message):
        build_network(config, (1, 8, 8), {})


def dropped(places, seed=0, k=0, shape=(6, 5), p=0.25, layers=2, dtype=torch.float32):
    """What each of several layers makes of ones, in a batch of samples at these places."""
    net = nn.ModuleList(Dropout(p) for _ in range(layers)).train()
    ones = torch.ones(len(places), *shape, dtype=dtype)
    with keyed_dropout(net, seed, k, places):
        return [layer(ones) for layer in net]


def test_masks_are_a_function_of_seed_update_place_layer_and_element():
    whole = dropped(range(8))
    for places in ([3], [5, 6], [7, 0, 3]):
        for part, all_of_it in zip(dropped(places), whole, strict=True):
            assert torch.equal(part, all_of_it[places])
    first = whole[0][0]
    others = [whole[1][0], whole[0][1], dropped([0], seed=1)[0][0], dropped([0], k=1)[0][0]]
    assert all(not torch.equal(first, other) for other in others)
    assert torch.equal(dropped(range(8))[1], whole[1])
    assert torch.equal(dropped([0], shape=(30,))[0].view(6, 5), first)


@pytest.mark.parametrize(
    ("p", "share"), [(0.1, 230 / 256), (0.25, 0.75), (0.5, 0.5), (1e-6, 255 / 256), (0.9999, 1 / 256)]
)
def test_the_share_that_is_kept_and_its_scale(p, share):
    (out,) = dropped(range(16), p=p, layers=1, shape=(100, 100))
    assert set(out.unique().tolist()) == {0.0, torch.tensor(1 / share).item()}
    kept = (out > 0).double().mean()
    assert abs(kept - share) < 4 * (share * (1 - share) / out.numel()) ** 0.5
    neighbors = np.corrcoef((out > 0).flatten()[:-1], (out > 0).flatten()[1:])[0, 1]
    assert abs(neighbors) < 4 / out.numel() ** 0.5


def test_without_keys_it_is_torchs_and_in_evaluation_it_does_nothing():
    layer, x = Dropout(0.5), torch.randn(4, 50)
    torch.manual_seed(1)
    made = layer(x)
    torch.manual_seed(1)
    assert torch.equal(made, nn.functional.dropout(x, 0.5))
    with keyed_dropout(layer, 0, 0, range(4)):
        assert layer.eval()(x) is x
    assert layer.train().key is None
    assert Dropout(0.0).train()(x) is x
    with pytest.raises(RuntimeError, match="inside"), keyed_dropout(layer, 0, 0, range(4)):
        raise RuntimeError("inside")
    assert layer.key is None
    with (
        pytest.raises(ValueError, match="3 places, and the batch 4 samples"),
        keyed_dropout(layer, 0, 0, range(3)),
    ):
        layer(x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_micro_batches_of_a_network_with_dropout_have_the_gradient_of_the_whole(layout):
    torch.manual_seed(0)
    net = build_network({**NETWORK, "dropout": 0.4}, (2, 8, 8)).train().to(memory_format=layout)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    x, t = torch.randn(6, 2, 8, 8), torch.arange(6.0)

    def gradients(parts):
        net.zero_grad()
        for places in parts:
            with keyed_dropout(net, 3, 11, places):
                (net(x[places], t[places]).square().sum() / 6).backward()
        return [parameter.grad.clone() for parameter in net.parameters()]

    whole = gradients([[0, 1, 2, 3, 4, 5]])
    rounding = 1e-5 * max(float(gradient.abs().max()) for gradient in whole)
    for cut in ([[0, 1, 2], [3, 4, 5]], [[4], [0, 5, 1], [3, 2]]):
        for a, b in zip(whole, gradients(cut), strict=True):
            torch.testing.assert_close(a, b, atol=rounding, rtol=1e-4)
    net.eval()
    assert not torch.allclose(whole[0], gradients([[0, 1, 2, 3, 4, 5]])[0], atol=rounding)


def test_masks_take_the_dtype_and_the_layout_of_what_they_mask():
    net = nn.ModuleList([Dropout(0.3)]).train()
    x = torch.randn(2, 3, 4, 5)
    with keyed_dropout(net, 0, 0, range(2)):
        plain = net[0](x)
        last = net[0](x.to(memory_format=torch.channels_last))
        reduced = net[0](x.bfloat16())
    assert torch.equal(plain, last)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert reduced.dtype == torch.bfloat16
    assert torch.equal(reduced == 0, plain == 0)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # that the compiler looks at
def test_a_compiled_network_has_the_same_masks_and_is_compiled_once():
    made, counts = [], []

    def backend(graph, inputs):
        made.append(graph)
        return graph

    net = nn.Sequential(nn.Linear(5, 5), Dropout(0.3), nn.Linear(5, 5), Dropout(0.3)).train()
    compiled, x = torch.compile(net, backend=backend, dynamic=False), torch.randn(4, 5)
    for k in range(10):
        with keyed_dropout(net, 0, k, [k, 3, 4, 8]):
            assert torch.equal(compiled(x), net(x))
        counts.append(len(made))
    assert counts[-1] == counts[0] > 0


def test_a_strangers_file_imports_nothing_that_nobody_asked_for(package, tmp_path, monkeypatch):
    """A class that is named in a file is code: it runs when its module is imported."""
    (package / "__init__.py").write_text("raise SystemExit('run')")
    model = tiny_denoiser(classes=False)
    facts = facts_of(model)
    for name in ("usersnets:Net", "antigravity:Net", "torch.nn:Linear", "alphabar.nn.unet:UNet"):
        path = tmp_path / "stranger.safetensors"
        save_tensors(path, model.net.state_dict(), facts | {"network": facts["network"] | {"name": name}})
        top = name.partition(":")[0].partition(".")[0]
        with pytest.raises(ValueError, match=rf"stranger.safetensors .*ALPHABAR_TRUST={top} in the env"):
            load(path, "cpu")
        assert not {"usersnets", "antigravity"} & sys.modules.keys()
    (package / "__init__.py").write_text("")
    save_tensors(path, model.net.state_dict(), facts | {"network": {"name": "usersnets.deep:Gone"}})
    monkeypatch.setenv("ALPHABAR_TRUST", "others, usersnets")
    with pytest.raises(ValueError, match=r"there is no Gone in usersnets\.deep"):
        load(path, "cpu")
