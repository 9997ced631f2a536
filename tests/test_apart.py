"""A device that is apart: nothing waits for it, nothing is brought to it, and it does as the CPU does.

Its ways are taken on the CPU here (`apart`), and on torch's `meta` device, where tensors have no numbers:
what would wait for one raises, and what comes from elsewhere can be counted.
"""

from __future__ import annotations

import copy
import importlib
import threading

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from alphabar import rng
from alphabar.data import Space
from alphabar.model import fit_codec
from alphabar.model.recorded import Replayed
from alphabar.runs.run import Run
from alphabar.sampling.choices import choose
from alphabar.sampling.config import SampleConfig
from alphabar.sampling.guidance import Guidance, guided
from alphabar.sampling.slots import Job, Slots
from alphabar.theory.at import At
from alphabar.theory.gaussian import column, q_sample
from alphabar.theory.losses import LOSSES, loss_weight
from alphabar.theory.parametrization import PREDICTIONS, coefficients, target_coefficients
from alphabar.theory.schedule import Schedule
from alphabar.training import Diverged
from alphabar.training.resident import Resident
from alphabar.training.trainer import Trainer
from alphabar.training.updates import Dials
from tiny import NETWORK, gappy_data, state, tiny_config, tiny_data, tiny_denoiser

CONFIGS = {
    "adamw": {"optimizer": "adamw"},
    "muon, flip": {"optimizer": "muon", "flip": True},
    "turns, balanced": {"turns": True, "balanced": True},
    "micro-batches, dropout": {"micro_batch": 3, "network": {**NETWORK, "dropout": 0.3}},
    "references": {"references": 16, "flip": True, "condition_dropout": 0.5},
    "told nothing, even times": {"conditional": False, "stratified": False},
    "vit": {"network": {"name": "vit", "channels": 16, "blocks": 1, "patch": 4, "head_channels": 8}},
}


@pytest.fixture
def apart(monkeypatch):
    """The CPU as a device that makes its own numbers."""
    monkeypatch.setattr(rng, "by_numpy", lambda device: False)


# --- formulas and numbers as tensors ------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [Schedule.linear(), Schedule.cosine(400), Schedule.sigmoid(1000)])
def test_formulas_of_t_are_the_same_as_tensors(schedule):
    t = np.arange(2.0, schedule.T + 1)
    here, there = schedule.at(t), At.on_device(torch.tensor(t), torch.tensor(schedule.alpha_bar))
    for name in PREDICTIONS:
        pairs = zip(coefficients(name, schedule, here), coefficients(name, schedule, there), strict=True)
        targets = zip(*(target_coefficients(name, schedule, at) for at in (here, there)), strict=True)
        for a, b in [*pairs, *targets]:
            np.testing.assert_allclose(b.numpy(), a, rtol=1e-13, atol=1e-12)
        for loss in LOSSES:
            a, b = (loss_weight(loss, schedule, at, name) for at in (here, there))
            np.testing.assert_allclose(b.numpy(), a, rtol=1e-9)
    x = torch.randn(len(t), 2, 3)
    assert torch.equal(q_sample(schedule, x, here, -x), q_sample(schedule, x, there, -x))
    assert torch.equal(column(torch.tensor(t), x), column(t, x))
    assert np.array_equal(there.part(slice(3, 7)).before(schedule).t.numpy(), t[3:7] - 1)


def test_random_numbers_for_indices_on_a_device_are_the_same(apart):
    indices = [3, 2**40, 5]
    given = torch.tensor(indices)
    for step in (0, 7):
        a = rng.uniform(2**45, "time", indices, step, shape=(3,))
        assert np.array_equal(rng.uniform_tensor(2**45, "time", given, step, shape=(3,)).numpy(), a)
        a = rng.normal(2**45, "noise", indices, step, shape=(3, 5))
        assert np.array_equal(rng.normal_tensor(2**45, "noise", given, step, shape=(3, 5)).numpy(), a)
    octets = rng.random_bytes(1, "dropout", given, 4, 21)
    assert torch.equal(octets, rng.random_bytes(1, "dropout", indices, 4, 21))


# --- updates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_an_update_on_a_device_apart_is_that_of_the_cpu(name, monkeypatch):
    """To the bit, but for the average, which is masked by a product."""
    config = tiny_config(**CONFIGS[name])
    usual = Trainer(config, tiny_data())
    monkeypatch.setattr(rng, "by_numpy", lambda device: False)
    other = Trainer(config, tiny_data())
    assert other.feed.resident is not None
    for _ in range(4):
        a, b = usual.update(), other.update()
        assert b == pytest.approx(a, rel=1e-6)
    for key, tensor in state(usual).items():
        torch.testing.assert_close(other.state()[key], tensor, atol=1e-6 if key[:4] == "ema." else 0, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_updates_under_way_end_as_one_by_one(name, apart):
    one, many = (Trainer(tiny_config(**CONFIGS[name]), tiny_data()) for _ in range(2))
    rows = [one.update() for _ in range(5)]
    for _ in range(5):
        many.launch()
    assert [*many.rows(lag=2)] == rows[:3]
    assert [*many.rows()] == rows[3:]
    assert all(torch.equal(many.state()[key], tensor) for key, tensor in state(one).items())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_an_update_that_is_not_finite_changes_nothing_nor_do_those_after_it(optimizer, what, apart):
    trainer = Trainer(tiny_config(optimizer=optimizer), tiny_data())
    for _ in range(3):
        trainer.update()
    states, real, calls = [state(trainer)], trainer.model.call, [0]

    def broken(net, weights, arguments):
        calls[0] += 1
        found = real(net, weights, arguments)
        if calls[0] == 2 and what == "gradient":
            found.register_hook(lambda gradient: gradient * torch.inf)
        return found * torch.nan if calls[0] == 2 and what == "loss" else found

    trainer.model.call = broken
    for _ in range(4):
        trainer.launch()
        states.append(state(trainer))
    before, after_one, *_ = states
    assert not all(torch.equal(after_one[key], tensor) for key, tensor in before.items())
    with pytest.raises(Diverged, match=rf"the {what} is .* at update 5, t = \d+ of 100"):
        list(trainer.rows())
    assert trainer.step == 4
    assert all(torch.equal(trainer.state()[key], tensor) for key, tensor in after_one.items())
    trainer.update()  # the fault is over, and it goes on
    assert trainer.step == 5
    assert not all(torch.equal(trainer.state()[key], tensor) for key, tensor in after_one.items())


class Rehearsed:
    """Instead of a recording: the function is called as often as a GPU would for one, and then each time."""

    def __init__(self, function, given, device):
        self.function = function
        for _ in range(4):
            function(*given)

    def __call__(self, *given):
        return self.function(*given)


class Counting(torch.nn.Module):
    """A network with a buffer that counts its calls."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 1, 3, padding=1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x, c_noise, cond):
        self.seen += 1
        return self.layer(x)


@pytest.mark.parametrize("name", [*CONFIGS, "counting"])
def test_what_is_done_to_record_an_update_changes_nothing(name, apart, monkeypatch):
    monkeypatch.setattr("alphabar.training.updates.Recorded", Rehearsed)
    nets = [Counting(), Counting()] if name == "counting" else [None, None]
    if name == "counting":
        nets[1].load_state_dict(nets[0].state_dict())
    one, many = (Trainer(tiny_config(**CONFIGS.get(name, {})), tiny_data(), net=net) for net in nets)
    many.updates.recordable = True
    for _ in range(3):
        assert one.update() == many.update()
    assert isinstance(many.updates.recorded, Rehearsed)
    assert all(torch.equal(many.state()[key], tensor) for key, tensor in state(one).items())
    many.load_state(state(many), 3)
    assert many.updates.recorded is None  # its tensors are others


def test_an_update_that_cannot_be_recorded_is_done_by_steps_and_said(apart, monkeypatch):
    def refused(*given):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr("alphabar.training.updates.Recorded", refused)
    one, many = (Trainer(tiny_config(), tiny_data()) for _ in range(2))
    many.updates.recordable = True
    with pytest.warns(UserWarning, match="UNet can't be recorded as a CUDA graph.* not permitted"):
        row = many.update()
    assert row == one.update()
    assert many.update() == one.update()  # and not said again


def test_weights_that_a_recorded_update_has_changed_are_cast_again(apart):
    """Torch counts no change of theirs."""
    trainer = Trainer(tiny_config(), tiny_data())
    figures = trainer.updates._apart(trainer.feed.ready(0), Dials(torch.zeros(1).long(), *torch.zeros(2)), 0)
    before = [model.in_precision("bfloat16") for model in (trainer.model, trainer.ema)]
    trainer.updates.recorded = lambda ready, dials: figures
    assert [model.in_precision("bfloat16") for model in (trainer.model, trainer.ema)] == before
    trainer.launch()
    after = [model.in_precision("bfloat16") for model in (trainer.model, trainer.ema)]
    assert not any(a is b for a, b in zip(before, after))


def test_a_copy_of_recorded_calls_has_none():
    calls = Replayed()
    calls.known["a kind"] = threading.Lock()  # no more to be copied than a recording
    assert copy.deepcopy(calls).known == {}


def test_a_run_has_all_rows_in_order_and_the_same_bits_however_it_is_left(tmp_path, apart):
    config = tiny_config(images=160, save_minutes=60.0)
    whole = Run(tmp_path / "whole", tiny_data(), config, device="cpu")
    rows = list(whole.train())
    assert [row["step"] for row in rows] == [*range(1, 21)]
    for row in Run(tmp_path / "left", tiny_data(), config, device="cpu").train():
        if row["step"] == 7:  # others have been begun
            break
    again = Run(tmp_path / "left", tiny_data(), config, device="cpu")
    rest = list(again.train())
    assert rest[0]["step"] > 8
    assert rest == rows[rest[0]["step"] - 1 :]
    assert [row["step"] for row in again.folder.metrics()] == [*range(1, 21)]
    assert all(torch.equal(again.trainer.state()[key], t) for key, t in state(whole.trainer).items())


# --- samples kept on the device -------------------------------------------------------------------------


@pytest.mark.parametrize("flip", [False, True])
def test_samples_on_a_device_are_those_that_numpy_makes(flip, apart):
    for data, settings in [(tiny_data(), {"flip": flip, "turns": flip}), (gappy_data(), {})]:
        config = tiny_config(network=NETWORK, **settings)
        trainer = Trainer(config, data)
        assert isinstance(trainer.feed.resident, Resident)
        for k in (0, 3, 11):
            made, wanted = trainer.feed(k), trainer.inputs(k)
            assert np.array_equal(made.x_0.numpy(), wanted.x_0)
            assert (made.known is None) == (wanted.known is None)
            assert made.known is None or np.array_equal(made.known.numpy(), wanted.known)


def test_samples_that_do_not_fit_are_brought_batch_by_batch(apart, monkeypatch):
    config = tiny_config(flip=True)
    kept = Trainer(config, tiny_data())
    monkeypatch.setattr("alphabar.training.resident.free_memory", lambda device: 10_000)
    brought = Trainer(config, tiny_data())
    assert kept.feed.resident is not None
    assert brought.feed.resident is None
    for _ in range(3):
        assert brought.update() == kept.update()
    assert all(torch.equal(brought.state()[key], tensor) for key, tensor in state(kept).items())


# --- what an update brings to the device, and what it waits for ---------------------------------------


class Traffic(TorchDispatchMode):
    """Collects the tensors that are brought to the meta device: (elements, dtype)."""

    def __init__(self):
        super().__init__()
        self.brought = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        there = [x.is_meta for x in [*tensors, *tree_leaves(found)] if isinstance(x, torch.Tensor)]
        if any(there) and not all(there):
            self.brought += [(x.numel(), x.dtype) for x in tensors if not x.is_meta]
        return found


@pytest.fixture
def meta(monkeypatch):
    module = importlib.import_module("torch.optim.optimizer")
    monkeypatch.setattr(module, "_get_fused_kernels_supported_devices", lambda: ["cpu", "meta"])
    with torch.library._scoped_library("aten", "IMPL") as library:  # torch has it for numbers alone
        library.impl("_fused_adamw_.tensor_lr", lambda *args, **kwargs: None, "Meta")
        yield


@pytest.mark.parametrize("name", CONFIGS)
def test_an_update_waits_for_nothing_and_brings_the_numbers_of_its_samples(name, meta):
    trainer = Trainer(tiny_config(**CONFIGS[name]), tiny_data(), "meta")
    with pytest.raises(RuntimeError, match="meta"):
        float(trainer.feed(0).x_0.sum())  # so a look at a number is noticed
    trainer.launch()
    for k in (1, 2):
        with Traffic() as ahead:
            ready = trainer.feed._ahead(k)
        assert ahead.brought == [(8, torch.int64)]
        assert ready.shape == (8,)
        with Traffic() as traffic:
            trainer.launch()
        assert traffic.brought == []


def test_an_update_waits_for_nothing_with_gaps_and_where_samples_are_brought(meta, monkeypatch):
    for free in (None, 10_000):
        monkeypatch.setattr("alphabar.training.resident.free_memory", lambda device, free=free: free)
        trainer = Trainer(tiny_config(network=NETWORK), gappy_data(), "meta")
        assert (trainer.feed.resident is None) == (free is not None)
        trainer.launch()
        with Traffic() as traffic:
            trainer.launch()
        assert traffic.brought == []


def test_the_codec_of_kept_bytes_is_the_usual_one():
    codec = fit_codec(Space((1, 8, 8)))
    data = tiny_data()
    kept = Resident(data, codec, {}, torch.device("cpu"))
    assert kept.x.dtype == torch.uint8
    x_0, cond, known = kept.batch(torch.arange(40), tiny_config(), 0, torch.arange(40))
    assert np.array_equal(x_0.numpy(), codec.encode(data.images))
    assert (cond, known) == ({}, None)


# --- what a step of sampling brings, and waits for -----------------------------------------------------


def jobs(denoiser, n, evaluations=8, seed=3):
    chosen = choose(denoiser, SampleConfig(evaluations=evaluations))
    cond = denoiser.told({"class": [0] * n}, n)
    found = [Job(chosen.plan, i, seed, {"class": cond["class"][i]}) for i in range(n)]
    return chosen, found


def test_a_step_of_sampling_waits_for_nothing_and_brings_nothing():
    """Noise, times and the range of x0_hat included; guidance as well."""
    denoiser = tiny_denoiser(dropout=0.1).to("meta")
    for scale in (1.0, 2.0):
        chosen, some = jobs(denoiser, 16)
        assert (chosen.plan.C > 0).any()
        denoise = guided(denoiser, Guidance(scale))
        slots = Slots(denoise, denoiser.shape, chosen.on_x0, "meta")
        slots.put(*some)
        for _ in range(7):  # the last one brings the samples back
            with Traffic() as traffic:
                slots.step()
            assert traffic.brought == []
        with pytest.raises(NotImplementedError, match="meta"):
            slots.step()


def test_noise_made_for_all_places_at_once_is_that_of_each(apart):
    denoiser = tiny_denoiser()
    chosen, some = jobs(denoiser, 5)
    slots = Slots(denoiser, denoiser.shape, chosen.on_x0)
    assert slots.apart
    together = {job.index: x for done in slots.run(some) for job, x in done}
    slots.apart = False
    alone = {job.index: x for done in slots.run(jobs(denoiser, 5)[1]) for job, x in done}
    assert all(np.array_equal(together[i], alone[i]) for i in range(5))
