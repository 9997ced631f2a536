"""What a budget in minutes affords: a network and a batch by the speed measured, recorded and kept."""

from __future__ import annotations

import itertools
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from alphabar.cli.expected import tell_difference, tell_rise
from alphabar.data import Dataset, Space
from alphabar.model.memory import TooLarge
from alphabar.nn import UNet
from alphabar.runs import RunFolder, afford, train
from alphabar.runs.run import Run
from alphabar.training import autotune, resolve
from alphabar.training.presets import default_batch
from alphabar.training.trainer import Trainer
from tiny import EXECUTION, NETWORK, tiny_config, tiny_data

DATA = tiny_data(60)


@pytest.fixture
def speeds(monkeypatch):
    """Networks do so many multiplications a second, the larger the more; what was timed."""
    timed, speed = [], {32: 1e9, 48: 1.1e9, 64: 1.2e9, 96: 1.3e9, 128: 1.3e9}

    def fastest(config, data, device, net, limit_s, clock, processes):
        channels = config.network["channels"]
        timed.append(channels)
        work = afford.measures(data.space, config.network)[1]
        rate = speed.get(channels, 1.3e9) / work
        return {"precision": "float32", "channels_last": False, "images_per_s": {"a": rate, "b": 1.0}}

    monkeypatch.setattr(afford, "fastest_execution", fastest)
    return timed


def afforded(tmp_path, given, times=iter(range(1000)), begun=None, device="cpu"):
    given = {"minutes": 1.0, **given}
    settings = {name: value for name, value in given.items() if name != "preset"}
    config = resolve(DATA.space, DATA.conditions, len(DATA), given.get("preset"), settings)
    clock = times.__next__
    return afford.afford(RunFolder(tmp_path / "run"), config, DATA, device, given, clock=clock, begun=begun)


WAYS = afford.ways(DATA.space, resolve(DATA.space, {}, 60).network)


@pytest.mark.parametrize(("minutes", "channels", "timed"), [
    (0.1, 32, [32]),
    (30, 32, [32]),
    (100, 32, [32, 48]),
    (160, 48, [32, 48]),  # by what 32 do it would see too little
    (180, 48, [32, 48]),
    (400, 48, [32, 64, 48]),
    (560, 64, [32, 64]),
    (2400, 96, [32, 96]),
])  # fmt: skip
def test_the_largest_network_that_sees_enough_places_for_each_parameter(
    tmp_path, speeds, minutes, channels, timed
):
    config, measured, images = afforded(tmp_path, {"minutes": float(minutes)})
    assert (config.network["channels"], speeds) == (channels, timed)
    chosen = next(way for way in WAYS if way.network["channels"] == channels)
    larger = WAYS[WAYS.index(chosen) - 1]
    assert images >= chosen.wants or channels == 32
    assert images * chosen.work / larger.work < larger.wants
    left_s = 60 * minutes - 1 - timed.index(channels)  # measuring took a second for each network till then
    assert images == round(0.86 * left_s * max(measured["images_per_s"].values()))
    assert config.prediction == ("x0" if images < afford.FEW_IMAGES else "v")
    assert config.batch_size == (16 if images < 16_000 else 32 if images < 32_000 else 64)
    assert measured["took_s"] > 0


def test_a_network_wants_20_places_for_each_parameter_and_its_work_is_counted():
    """Of an 8 x 8 picture in patches of one place there are 64."""
    for way in WAYS:
        settings = resolve(DATA.space, {}, 60, settings={"network": way.network}).network
        net = UNet((1, 8, 8), **{name: value for name, value in settings.items() if name != "name"})
        assert 64 * way.wants == pytest.approx(20 * sum(p.numel() for p in net.parameters()))
        with FlopCounterMode(display=False) as counter:
            net(torch.zeros(3, 1, 8, 8), torch.zeros(3))
        assert way.work == pytest.approx(counter.get_total_flops() / 6, rel=0.01)
    assert [way.work for way in WAYS] == sorted((way.work for way in WAYS), reverse=True)


def test_color_wants_a_larger_network_than_gray_for_as_many_images():
    """By distances: 8 or 19 places a parameter are as good, 68 are too many (docs/log.md)."""
    network = {"name": "unet", "channels": 64, "channel_mult": [1, 2], "num_res_blocks": 1, "patch": 1}
    gray, field, color, clear = (
        afford.places_wanted(Space((c, 8, 8), kind=kind))
        for c, kind in ((1, "picture"), (3, "field"), (3, "picture"), (4, "picture"))
    )
    assert (gray, field, color, clear) == (20, 20, 12, 12)
    wants, _ = afford.measures(Space((3, 8, 8)), network)
    parameters = sum(
        p.numel() for p in UNet((3, 8, 8), **{k: network[k] for k in network if k != "name"}).parameters()
    )
    assert 64 * wants == pytest.approx(12 * parameters)


def test_what_does_not_fit_into_memory_is_passed_over(tmp_path, speeds, monkeypatch):
    fastest = afford.fastest_execution

    def bounded(config, *rest):
        if config.network["channels"] > 48:
            raise TooLarge("more memory is needed")
        return fastest(config, *rest)

    monkeypatch.setattr(afford, "fastest_execution", bounded)
    assert afforded(tmp_path, {"minutes": 2400.0})[0].network["channels"] == 48
    monkeypatch.setattr(afford, "ways", lambda space, network: WAYS[:2])
    with pytest.raises(TooLarge, match="more memory"):
        afforded(tmp_path, {"minutes": 2400.0})


def test_a_gpu_tries_the_widest_first_each_in_its_own_way_and_large_batches(tmp_path, speeds, monkeypatch):
    asked, fastest = [], afford.fastest_execution

    def noted(config, *rest):
        asked.append((config.batch_size, config.precision))
        return fastest(config, *rest)

    monkeypatch.setattr(afford, "fastest_execution", noted)
    config, _, images = afforded(tmp_path, {"minutes": 2400.0}, device="cuda")
    assert speeds == [32, 256, 192, 128, 96]
    assert asked == [(256, "auto")] * 5
    assert config.network["channels"] == 96
    assert config.batch_size == default_batch(DATA.space, images, on_gpu=True) > 64
    config, _, _ = afforded(tmp_path, {"minutes": 2400.0, "batch_size": 48}, device="cuda")
    assert (config.batch_size, asked[-1][0]) == (48, 48)


@pytest.mark.parametrize(("images", "size"), [
    (None, 64), (639_999, 64), (640_000, 128), (1_280_000, 256), (10**9, 256), (16_000, 32),
])  # fmt: skip
def test_a_gpu_gets_larger_batches_where_many_updates_are_left(images, size):
    assert default_batch(DATA.space, images, on_gpu=True) == size
    assert default_batch(DATA.space, images) == min(size, 64)


def test_a_gpu_without_memory_for_large_batches_gets_the_usual_ones(tmp_path, speeds, monkeypatch):
    fastest, sizes = afford.fastest_execution, []

    def small(config, *rest):
        sizes.append(config.batch_size)
        if config.batch_size > 64:
            raise TooLarge("there is no room")
        return fastest(config, *rest)

    monkeypatch.setattr(afford, "fastest_execution", small)
    assert afforded(tmp_path, {"minutes": 0.1}, device="cuda")[0].network["channels"] == 32
    assert sizes == [256, 64]


@pytest.mark.parametrize(("begun", "spent"), [(880.0, 20.0), (100.0, 30.0)])
def test_reading_the_data_counts_up_to_half_of_the_minutes(tmp_path, speeds, begun, spent):
    for given in ({}, {"network": NETWORK, "batch_size": 8}):
        measured = afforded(tmp_path, given, iter(range(900, 1000)), begun=begun)[1]
        assert spent < measured["took_s"] < spent + 7  # the clock goes on by one at each look


@pytest.mark.parametrize(("shape", "patches"), [
    ((1, 32, 32, 32), [2, 4]),
    ((1, 64, 64, 64), [2, 4]),
    ((2, 32, 32, 32), [2, 2]),  # 128 numbers in a place of 32 channels
    ((1, 96, 96, 96), [4, 4]),
    ((1, 32, 32), [2, 2]),
])  # fmt: skip
def test_small_volumes_can_be_learned_in_coarser_patches(shape, patches):
    space = Space(shape, dtype="float32")
    network = resolve(space, {}, 100, None, {}).network
    tried = [network | way.network for way in afford.ways(space, network)]
    assert [one["patch"] for one in tried[-2:]] == patches
    assert tried[-1]["channels"] == 32
    UNet(shape, **{name: value for name, value in tried[-1].items() if name != "name"})
    assert [way.network for way in afford.ways(space, {"name": "vit"})] == [{}]


def test_what_is_asked_for_stays(tmp_path, speeds):
    config, _, _ = afforded(tmp_path, {"batch_size": 48})
    assert config.batch_size == 48
    assert config.network["channels"] == 32
    assert (config.prediction, config.lr) == ("x0", 2e-3)
    assert afforded(tmp_path, {"prediction": "eps"})[0].prediction == "eps"
    config, _, _ = afforded(tmp_path, {"lr": 1e-3})
    assert (config.prediction, config.lr, config.network["channels"]) == ("x0", 1e-3, 32)
    config, measured, images = afforded(tmp_path, {"network": {"channels": 64}})
    assert (config.network["channels"], config.batch_size, config.prediction) == (64, 16, "v")
    assert images == round(0.86 * 59 * measured["images_per_s"]["a"])
    speeds.clear()
    config, measured, images = afforded(tmp_path, {"preset": "cifar10"})
    assert (config.network["channels"], config.batch_size, measured, images) == (128, 128, {}, None)
    config, measured, images = afforded(tmp_path, {"minutes": None, "images": 100})
    assert (config.network["channels"], measured, images) == (64, {}, None)
    assert speeds == []


def test_a_run_keeps_what_was_chosen_and_counts_the_time_it_took(tmp_path, monkeypatch, caplog):
    """On another day, when the machine is faster or slower, the same command is the same run."""
    small = afford.Way({**afford.QUICK, "channels": 8, "groups": 4}, 0.0, 1.0)
    large = afford.Way({}, 1e9, 9.0)
    monkeypatch.setattr(afford, "ways", lambda space, network: [large, small])
    settings = {**EXECUTION, "minutes": 0.05, "previews": False}
    rows = train(DATA, tmp_path / "run", device="cpu", **settings)
    next(rows)
    rows.close()
    entry = RunFolder(tmp_path / "run").entry()
    assert entry["identity"]["config"]["network"]["channels"] == 8
    assert entry["identity"]["config"]["batch_size"] == 16
    assert entry["identity"]["config"]["prediction"] == "x0"
    assert entry["measured"]["took_s"] > 0
    assert entry["measured"]["afforded"] == ["loss", "network", "prediction"]
    assert RunFolder(tmp_path / "run").times()[-1]["spent_s"] > entry["measured"]["took_s"]
    monkeypatch.setattr(afford, "fastest_execution", lambda *_: pytest.fail("measured again"))
    with caplog.at_level(logging.WARNING):
        list(train(DATA, tmp_path / "run", device="cpu", **settings))  # none if all minutes went by measuring
    assert RunFolder(tmp_path / "run").entry()["identity"] == entry["identity"]
    with pytest.raises(ValueError, match="network"):
        list(train(DATA, tmp_path / "run", device="cpu", **settings, network=NETWORK))


@pytest.mark.parametrize(("shape", "kind", "prediction"), [
    ((1, 28, 28), "picture", "v"),
    ((4, 64, 64), "picture", "v"),  # 16 numbers in a place
    ((3, 128, 128), "picture", "x0"),  # 48
    ((1, 2048), "series", "x0"),  # 32
    ((6, 100), "series", "v"),
    ((9,), "array", "v"),
])  # fmt: skip
def test_what_is_clean_is_predicted_where_a_place_is_many_numbers(shape, kind, prediction):
    space = Space(shape, "float32", None, None, kind)
    assert resolve(space, {}, 60).prediction == prediction
    assert resolve(space, {}, 60, settings={"prediction": "eps"}).prediction == "eps"
    assert resolve(space, {}, 60, "ddpm").prediction == "eps"


@pytest.mark.parametrize(("length", "patch"), [(1024, 16), (4096, 16), (4097, 32), (16_000, 64)])
def test_long_series_are_learned_by_a_transformer(length, patch):
    space = Space((2, length), "float32", None, None, "series")
    found = resolve(space, {}, 60)
    assert (found.network["name"], found.network["patch"]) == ("vit", patch)
    assert (found.prediction, found.optimizer, found.lr) == ("x0", "adamw", 1e-3)
    asked = resolve(space, {}, 60, settings={"network": {"name": "unet"}})
    assert (asked.network["name"], asked.optimizer) == ("unet", "muon")
    assert resolve(Space((2, 1023), "float32", None, None, "series"), {}, 60).network["name"] == "unet"
    assert [way.network for way in afford.ways(space, found.network)] == [{}]


def test_far_fewer_images_than_expected_are_said_and_far_more():
    said = []
    for images in (40, 60, 199, 250):
        tell_difference(images, 100, said.append)
    tell_difference(40, None, said.append)
    assert len(said) == 2
    assert "40% of the 100 images expected" in said[0]
    assert "2.5 times the 100 images expected: the machine was less busy" in said[1]


def test_a_held_out_loss_that_has_risen_is_said(tmp_path):
    run = SimpleNamespace(
        folder=SimpleNamespace(metrics=lambda: rows, best=tmp_path / "best.safetensors"),
        data=SimpleNamespace(held_out=[1, 2, 3], space=DATA.space),
        asked=SimpleNamespace(best="held_out_loss"),
    )
    said = []
    for last in (0.54, 0.8):
        losses = [None, 1.0, 0.5, last]
        rows = [{"images": 100 * i, "held_out_loss": loss} for i, loss in enumerate(losses)]
        tell_rise(run, said.append)
    assert len(said) == 1
    assert said[0].startswith("the loss on held-out images was least after 200 (0.5) and has risen to 0.8")
    assert said[0].endswith("best.safetensors is the model of then")


@pytest.mark.parametrize(
    ("all_s", "alone_s", "threads"), [([0.1], 0.3, None), ([0.1, 0.5], 0.12, 1), ([0.1, 0.5], 0.28, None)]
)
def test_one_thread_is_taken_where_the_machine_is_busy_and_it_is_faster(monkeypatch, all_s, alone_s, threads):
    t, now = [0.0], [2]
    turns = itertools.cycle(all_s)
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda number: now.__setitem__(0, number))

    def update(trainer, *_):
        t[0] += next(turns) if now[0] > 1 else alone_s

    monkeypatch.setattr(Trainer, "update", update)
    config = tiny_config(precision="float32", channels_last=False)
    found = autotune.fastest_execution(config, tiny_data(), "cpu", clock=lambda: t[0])
    assert found.get("threads") == threads
    expected = config.batch_size / (alone_s if threads else np.mean(all_s))
    assert found["images_per_s"]["float32, contiguous"] == pytest.approx(expected, rel=0.25)
    assert now == [2]
    given = config.model_copy(update={"threads": 2})
    assert "threads" not in autotune.fastest_execution(given, tiny_data(), "cpu", clock=lambda: t[0])


def test_a_run_works_with_its_threads_and_leaves_them_as_they_were(tmp_path, monkeypatch):
    before, seen = torch.get_num_threads(), []
    launch = Trainer.launch

    def watched(trainer, rate=None):
        seen.append(torch.get_num_threads())
        launch(trainer, rate)

    monkeypatch.setattr(Trainer, "launch", watched)
    config = tiny_config(images=16, previews=False, threads=before + 1)
    list(Run(tmp_path / "run", tiny_data(), config).train())
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


def test_a_network_without_faster_ways_gets_a_batch_alone(tmp_path):
    data = Dataset(np.zeros((40, 5), np.float32), Space((5,), "float32", 0, 1), fingerprint="vectors")
    config = resolve(data.space, {}, 40, settings={"minutes": 0.01})
    found = afford.afford(RunFolder(tmp_path / "run"), config, data, "cpu", {"minutes": 0.01})
    assert found.config.network == config.network
    assert found.measured["afforded"] == []


@pytest.mark.parametrize(
    ("shape", "size"), [((1, 28, 28), 64), ((3, 128, 128), 8), ((1, 32, 32, 32), 4), ((1, 96, 96, 96), 1)]
)
def test_large_samples_are_timed_in_small_batches(monkeypatch, shape, size):
    """An update of 32 crops of a volume took minutes, which were those of training."""
    timed = []

    class Timed:
        model, device = SimpleNamespace(net=None), torch.device("cpu")

        def __init__(self, config, data, *rest):
            self.config = config
            timed.append(config.batch_size)

        def update(self):
            pass

    monkeypatch.setattr(autotune, "Trainer", Timed)
    monkeypatch.setattr(autotune, "_seconds", lambda trainer, clock: 0.03 + 0.005 * trainer.config.batch_size)
    checked = []
    monkeypatch.setattr(autotune, "check_memory", lambda model, n, training: checked.append(n))
    data = Dataset(np.zeros((2, *shape), np.uint8), Space(shape), holdout=0)
    config = resolve(data.space, {}, 2, None, {"minutes": 1.0})
    found = autotune.fastest_execution(config, data, "cpu", budget_s=0.0)
    assert set(timed) == ({size, size // 2} if 1 < size < 64 else {size})
    n = 64 if size > 1 else 1  # an update of a batch whole is foreseen
    rate = n / (0.03 + 0.005 * n)
    assert [*found["images_per_s"].values()] == pytest.approx([rate] * len(found["images_per_s"]), rel=0.01)
    assert checked == [64] * (size < 64)  # a small trial fits where training would not
