"""One step, the averages, accumulation, validation, and that something is learned."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from alphabar import Dataset, Denoiser, Schedule, TrainConfig, Trainer, load, sample, train
from alphabar.data import ClassCondition, Space
from alphabar.model import fit_codec
from alphabar.nn import NETWORKS, Dropout, UNet, build_network, network_config
from alphabar.runs import Run
from alphabar.runs.history import total_of
from alphabar.runs.monitor import COST, SHARE, Monitor, held_out_loss, sample_distance
from alphabar.sampling import Samples
from alphabar.training import PRESETS, TIMES, Diverged, resolve
from alphabar.training.adapt import adapt_state
from alphabar.training.inputs import draw_times, hide
from alphabar.training.objectives import OBJECTIVES, Draws, denoise
from tiny import EXECUTION, NETWORK, ROUGH, default_network, tiny_config, tiny_data


def weights(trainer):
    return {name: p.detach().clone() for name, p in trainer.parameters.items()}


def averages(trainer):
    return {name: p.clone() for name, p in trainer.averages.items()}


# --- the loss ------------------------------------------------------------------------------------


class Constant(torch.nn.Module):
    """A network that always gives the same number and remembers what it saw."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x, c_noise):
        self.seen = x.clone(), c_noise.clone()
        return torch.full_like(x, self.value)


def test_the_simple_loss_is_algorithm_1():
    """‖eps - net(sqrt(bar) x_0 + sqrt(1 - bar) eps, t - 1)‖^2, a mean over each sample."""
    schedule = Schedule.linear(100)
    denoiser = Denoiser(Constant(0.3), schedule, "eps", fit_codec(tiny_data().space))
    rng = np.random.default_rng(0)
    x_0, eps = torch.from_numpy(rng.standard_normal((2, 5, 1, 8, 8), np.float32))
    t = np.array([1.0, 2, 50, 99, 100])
    got = denoise(denoiser, "simple", x_0, {}, Draws(t, eps))["loss"]
    torch.testing.assert_close(got, (eps - 0.3).square().mean((1, 2, 3)))
    seen, c_noise = denoiser.net.seen
    bar = torch.tensor(schedule.alpha_bar[t.astype(int)], dtype=torch.float32)[:, None, None, None]
    torch.testing.assert_close(seen, bar.sqrt() * x_0 + (1 - bar).sqrt() * eps)
    assert c_noise.tolist() == [0, 1, 49, 98, 99]


def test_every_sample_of_the_batch_counts():
    denoiser = Denoiser(Constant(0.0), Schedule.linear(100), "x0", fit_codec(tiny_data().space))
    x_0 = torch.arange(4.0)[:, None, None, None].expand(4, 1, 8, 8)
    losses = denoise(denoiser, "x0", x_0, {}, Draws(np.full(4, 50.0), torch.zeros(4, 1, 8, 8)))["loss"]
    assert losses.tolist() == [0, 1, 4, 9]


def test_times_are_whole_uniform_on_1_to_T_and_never_outside():
    config = tiny_config(batch_size=1000)
    times = np.concatenate([draw_times(config, Schedule.linear(10), k) for k in range(100)])
    counts = np.bincount(times.astype(int), minlength=11)
    assert counts[0] == 0
    assert len(counts) == 11
    assert np.abs(counts[1:] / 10_000 - 1).max() < 0.05
    assert draw_times(config, Schedule.linear(1), 0).tolist() == [1] * 1000
    spread = draw_times(tiny_config(batch_size=50, stratified=True), Schedule.linear(1000), 0)
    assert np.array_equal((np.sort(spread) - 1) // 20, np.arange(50))


# --- one step ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "micro_batch"), [("adamw", 1), ("adamw", 3), ("adamw", 4), ("muon", 3)]
)
def test_accumulation_gives_the_same_update(optimizer, micro_batch):
    """Batch 8 = micro-batches: weights, average, clipping, rate and the number of steps."""
    data = tiny_data()
    whole = Trainer(tiny_config(grad_clip=0.05, optimizer=optimizer), data)
    parts = Trainer(tiny_config(grad_clip=0.05, optimizer=optimizer, micro_batch=micro_batch), data)
    tolerance = 3e-4 * ROUGH if optimizer == "adamw" else max(1e-3, 3e-4 * ROUGH)  # rounded products
    for _ in range(3):
        a, b = whole.update(), parts.update()
        assert a["lr"] == b["lr"]
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5 * ROUGH)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3 * ROUGH)
    assert whole.step == parts.step == 3
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], value, atol=tolerance, rtol=0)
        torch.testing.assert_close(averages(parts)[name], averages(whole)[name], atol=tolerance, rtol=0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_every_way_goes_on_to_the_bit(precision, channels_last):
    """From a state saved on the way, with dropout and an average that is not soon the weights again."""
    network = {**NETWORK, "dropout": 0.3}
    config = tiny_config(precision=precision, channels_last=channels_last, network=network, ema_ramp=2)
    a, b = Trainer(config, tiny_data()), Trainer(config, tiny_data())
    a.update(), a.update()
    b.load_state({name: tensor.clone() for name, tensor in a.state().items()}, 2)
    assert [a.update(), a.update()] == [b.update(), b.update()]
    assert all(torch.equal(tensor, b.state()[name]) for name, tensor in a.state().items())


def test_the_gradient_is_clipped_to_its_norm():
    trainer = Trainer(tiny_config(grad_clip=1e-3), tiny_data())
    norm = trainer.update()["grad_norm"]
    clipped = math.sqrt(sum(float(p.grad.square().sum()) for p in trainer.parameters.values()))
    assert norm > 1e-2
    assert clipped == pytest.approx(1e-3, rel=1e-3)


def test_the_average_follows_its_formula_once_a_step():
    """decay = 0.5^(batch / min(halflife, ramp * images))."""
    config = tiny_config(ema_halflife=20, ema_ramp=0.5, micro_batch=2)
    trainer = Trainer(config, tiny_data())
    expected = weights(trainer)
    for step in (1, 2, 3, 4, 5, 6, 7):
        trainer.update()
        decay = 0.5 ** (8 / min(20, 0.5 * 8 * step))
        for name, value in weights(trainer).items():
            expected[name] = decay * expected[name] + (1 - decay) * value
            torch.testing.assert_close(trainer.averages[name], expected[name], atol=1e-6, rtol=1e-5)


def test_the_average_does_not_stall_where_one_image_is_a_small_share_of_its_half_life():
    """In float32 0.98 + 1.4e-6 (1 - 0.98) is 0.98."""
    trainer = Trainer(tiny_config(batch_size=1, ema_halflife=500_000, ema_ramp=1.0), tiny_data())
    first, updates = 10_000_000, 1280
    for parameter, average in zip(trainer.parameters.values(), trainer.averages.values(), strict=True):
        parameter.data.fill_(1.0), average.data.fill_(0.98)
    for step in range(first + 1, first + updates + 1):
        trainer.updates._average(torch.tensor(trainer.updates._share(step)))
    moved = next(iter(trainer.averages.values())).flatten()[0].item() - 0.98
    assert moved == pytest.approx(0.02 * (1 - 0.5 ** (updates / 500_000)), rel=0.05)


def test_buffers_are_not_averaged_and_the_schedule_is_none_of_the_weights():
    trainer = Trainer(tiny_config(), tiny_data())
    assert not list(trainer.model.buffers())
    for model, value in ((trainer.model, 1.0), (trainer.ema, 5.0)):
        model.net.register_buffer("table", torch.tensor([value]))
        model.net.register_buffer("count", torch.tensor(int(value)))
    trainer.update()
    assert (trainer.ema.net.table.item(), trainer.ema.net.count.item()) == (1.0, 1)


class Users(nn.Module):
    """A network of a user's, with tied weights, statistics of its own, and masks that torch draws."""

    def __init__(self):
        super().__init__()
        self.inp, self.out = nn.Linear(64, 64), nn.Linear(64, 64)
        self.out.weight = self.inp.weight
        self.norm, self.dropout = nn.BatchNorm1d(64), nn.Dropout(0.3)

    def forward(self, x, c_noise):
        h = self.dropout(self.norm(self.inp(x.flatten(1))))
        return F.dropout(self.out(h), 0.1, self.training).view(x.shape)


USERS = {"network": {"name": "test_training:Users"}, "precision": "float32", "micro_batch": 3}


def test_the_average_has_the_statistics_of_the_network():
    trainer = Trainer(tiny_config(**USERS), tiny_data(classes=False))
    trainer.update()
    trainer.update()
    own, average = trainer.model.net.norm, trainer.ema.net.norm
    assert average.num_batches_tracked == 6
    assert average.running_mean.abs().max() > 0
    assert torch.equal(average.running_mean, own.running_mean)
    assert torch.equal(average.running_var, own.running_var)
    assert not torch.equal(average.weight, own.weight)


def test_what_torch_draws_in_an_update_is_a_function_of_its_number_and_the_micro_batch():
    """And torch's generator is left as it was."""
    a, b = (Trainer(tiny_config(**USERS), tiny_data(classes=False)) for _ in range(2))
    masks = {}
    for trainer in (a, b):
        kept = masks[trainer] = []
        trainer.model.net.dropout.register_forward_hook(lambda *args, kept=kept: kept.append(args[2] != 0))
    a.update(), a.update(), a.update()
    first = torch.get_rng_state()
    b.update()
    assert torch.equal(torch.get_rng_state(), first)
    torch.rand(5)
    c = Trainer(tiny_config(**USERS), tiny_data(classes=False))
    c.load_state({name: tensor.clone() for name, tensor in b.state().items()}, 1)
    c.model.net.dropout.register_forward_hook(lambda *args: masks[b].append(args[2] != 0))
    c.update(), c.update()
    assert len(masks[a]) == len(masks[b]) == 9
    assert all(torch.equal(one, other) for one, other in zip(masks[a], masks[b], strict=True))
    assert all(torch.equal(tensor, c.state()[name]) for name, tensor in a.state().items())
    patterns = {tuple(mask[:2].flatten().tolist()) for mask in masks[a]}
    assert len(patterns) == 9


class Frugal(nn.Module):
    """A network that may run a layer again in the backward pass, rather than keep what it made."""

    def __init__(self, again):
        super().__init__()
        self.linear, self.dropout, self.again = nn.Linear(64, 64), Dropout(0.5), again

    def forward(self, x, c_noise):
        def layer(h):
            return F.dropout(self.dropout(self.linear(h)), 0.2).sin()

        h = x.flatten(1)
        return (checkpoint(layer, h, use_reentrant=False) if self.again else layer(h)).view(x.shape)


def test_a_layer_that_runs_again_in_the_backward_pass_has_the_same_masks():
    config, trainers = tiny_config(precision="float32"), []
    for again in (False, True):
        torch.manual_seed(1)
        trainers.append(Trainer(config, tiny_data(classes=False), net=Frugal(again)))
    assert trainers[0].update() == trainers[1].update()
    for one, other in zip(*(trainer.parameters.values() for trainer in trainers), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_tied_weights_and_statistics_are_saved_loaded_and_resumed_to_the_bit(tmp_path):
    data, config = tiny_data(classes=False), tiny_config(**USERS)
    list(Run(tmp_path / "whole", data, config).train())
    steps = Run(tmp_path / "parts", data, config).train()
    for _ in range(4):
        next(steps)
    steps.close()
    list(Run(tmp_path / "parts", data, config).train())
    whole, parts = load(tmp_path / "whole"), load(tmp_path / "parts")
    assert whole.net.out.weight is whole.net.inp.weight
    assert whole.net.norm.running_mean.abs().max() > 0
    for name, tensor in whole.net.state_dict().items():
        assert torch.equal(tensor, parts.net.state_dict()[name]), name
    assert np.isfinite(sample(whole, 2, evaluations=2).images).all()


def test_the_rate_rises_stays_and_falls_and_its_start_ignores_the_total():
    config = tiny_config(lr=1.0, warmup_images=80, decay=0.25)
    assert config.learning_rate(0, None) == pytest.approx(0.1)
    assert config.learning_rate(72, None) == 1
    rates = [config.learning_rate(images, 1000) for images in range(0, 1000, 8)]
    assert max(rates) == 1
    assert config.learning_rate(750, 1000) == 1
    assert config.learning_rate(875, 1000) == pytest.approx(0.5)
    assert rates[-1] == pytest.approx(0.032)
    for images in range(0, 700, 8):
        assert config.learning_rate(images, 1000) == config.learning_rate(images, None)


def test_dropout_is_a_function_of_the_step_and_off_in_the_average():
    config = tiny_config(network={**NETWORK, "dropout": 0.5})
    a, b = Trainer(config, tiny_data()), Trainer(config, tiny_data())
    a.update()
    torch.manual_seed(123)
    b.update()
    b.load_state(a.state(), 1)
    torch.manual_seed(456)
    assert a.update() == b.update()
    assert held_out_loss(a) == held_out_loss(a)
    plain = Trainer(tiny_config(), tiny_data())
    plain.load_state(a.state(), 2)
    assert held_out_loss(plain) == held_out_loss(a)
    assert plain.update()["loss"] != a.update()["loss"]


def test_the_rate_that_diverges_stops_at_the_first_bad_loss():
    trainer = Trainer(tiny_config(lr=1e6, grad_clip=1e30, warmup_images=0), tiny_data())
    with pytest.raises(Diverged, match=r"at update \d+, t = \d+ of 100: .* lower learning rate") as caught:
        for _ in range(50):
            before = weights(trainer), averages(trainer), trainer.step
            trainer.update()
    assert f"update {trainer.step + 1}," in str(caught.value)
    assert trainer.step == before[2]
    for old, new in zip(before[:2], (weights(trainer), averages(trainer)), strict=True):
        assert all(torch.equal(old[name], new[name]) for name in old)


def test_held_out_loss_is_fixed_to_the_bit_and_covers_the_levels():
    data = tiny_data(60)
    trainer = Trainer(tiny_config(), data)
    trainer.update()
    first = held_out_loss(trainer)
    assert first == held_out_loss(trainer)
    other = Trainer(tiny_config(seed=9, lr=1.0), data)
    other.load_state(trainer.state(), 1)
    assert held_out_loss(other) == first
    assert first["held_out_t"] == [7, 19, 32, 44, 57, 69, 82, 94]
    assert first["held_out_loss"] == pytest.approx(np.mean(first["held_out_loss_by_t"]))
    trainer.update()
    assert held_out_loss(trainer) != first


def test_what_is_measured_in_training_is_a_function_of_the_averaged_weights_alone():
    data = tiny_data(60)
    trainer = Trainer(tiny_config(), data)
    trainer.update()
    before = trainer.state()
    first = Monitor(trainer)()
    assert {"held_out_loss", "training_loss", "sample_distance", "sample_floor"} <= set(first)
    assert json.loads(json.dumps(first)) == first
    other = Trainer(tiny_config(seed=9, lr=1.0), data)
    other.load_state(before, 1)
    other.ema.about = {"config": {"precision": "bfloat16"}}  # as a save leaves it: not to be looked at
    assert Monitor(other)() == first
    trainer.update()
    assert sample_distance(trainer) != {key: first[key] for key in ("sample_distance", "sample_floor")}
    untouched = Trainer(tiny_config(), data)
    untouched.update()
    untouched.update()
    assert all(torch.equal(weights(trainer)[n], weights(untouched)[n]) for n in weights(trainer))


def test_samples_are_as_far_as_their_features_say(monkeypatch):
    """The distance of "samples" that are held-out pictures is the floor; of noise it is far above."""
    data = tiny_data(120)
    trainer = Trainer(tiny_config(), data)
    given = {}
    monkeypatch.setattr(
        "alphabar.runs.monitor.sample",
        lambda ema, n, cond, plan, precision: Samples(given["images"], np.arange(n), {}, {}, data.space),
    )
    given["images"] = np.asarray(data.images[data.held_out])
    found = sample_distance(trainer)
    assert found["sample_distance"] == found["sample_floor"]
    given["images"] = np.random.default_rng(0).integers(0, 256, (64, 1, 8, 8)).astype(np.uint8)
    assert sample_distance(trainer)["sample_distance"] > 10 * found["sample_floor"]
    given["images"] = np.full((64, 1, 8, 8), np.nan)
    assert sample_distance(trainer)["sample_distance"] is None


def test_measuring_is_a_small_share_of_the_time_and_falls_in_long_runs():
    monitor = Monitor(Trainer(tiny_config(batch_size=4), tiny_data()))

    def measured(first, last):
        due = []
        for monitor.trainer.step in range(first + 1, last + 1):
            due += [monitor.trainer.step] if monitor.is_due() else []
        return due

    every = round(COST / SHARE / 4)
    assert measured(0, 5 * every) == [every, 2 * every, 3 * every, 4 * every, 5 * every]
    late = measured(400 * every, 450 * every)
    assert np.diff(late) == pytest.approx(np.array(late[:-1]) / 50, rel=0.02)
    assert len(late) < 10


def test_with_little_data_there_is_less_to_measure():
    images = np.zeros((3, 1, 8, 8), np.uint8)
    everything = Dataset(images, Space((1, 8, 8)), fingerprint="three", holdout=0)
    config = tiny_config()
    assert set(Monitor(Trainer(config, everything))()) == {"sample_distance", "sample_n"}
    images[0] = 1
    two = Dataset(images[:2], Space((1, 8, 8)), fingerprint="two")
    assert "held_out_loss" in Monitor(Trainer(config, two))()
    assert "sample_distance" not in Monitor(Trainer(config, two))()


def test_weights_are_a_function_of_the_seed():
    a, b, c = (Trainer(tiny_config(seed=seed), tiny_data()) for seed in (1, 1, 2))
    torch.randn(7)
    assert all(torch.equal(weights(a)[n], weights(b)[n]) for n in weights(a))
    assert not all(torch.equal(weights(a)[n], weights(c)[n]) for n in weights(a))


# --- learning ------------------------------------------------------------------------------------


def test_two_kinds_of_picture_are_learned_by_class(tmp_path):
    """Bright squares left or right: after seconds the samples of a class look like it."""
    data = tiny_data(200)
    settings = {"images": 9600, "batch_size": 32, "lr": 3e-3, "prediction": "v", "loss": "v"}
    run = Run(tmp_path / "run", data, tiny_config(**settings))
    rows = list(run.train())
    held_out = [row["held_out_loss"] for row in rows if "held_out_loss" in row]
    assert held_out[-1] < 0.3
    model = load(tmp_path / "run")
    for label, (there, elsewhere) in enumerate([(slice(0, 4), slice(4, 8)), (slice(4, 8), slice(0, 4))]):
        images = sample(model, 16, cond={"class": label}, evaluations=20).images.astype(float)
        assert abs(images[:, 0, 2:6, there].mean() - 220) < 25
        assert abs(images[:, 0, 2:6, elsewhere].mean() - 20) < 25


def test_data_in_another_range_come_back_in_it(tmp_path):
    """Floats around 5 with a spread of 3, normalized by mean and deviation, unclipped."""
    rng = np.random.default_rng(0)
    images = (5 + 3 * rng.standard_normal((256, 1, 4, 4))).astype(np.float32)
    data = Dataset(images, Space((1, 4, 4), "float32", None, None), fingerprint="normal")
    network = {**NETWORK, "attention_levels": []}
    settings = {
        "images": 12_800,
        "batch_size": 64,
        "lr": 3e-3,
        "network": network,
        "prediction": "v",
        "loss": "v",
    }
    for _ in train(data, tmp_path / "run", schedule={"name": "linear", "T": 100}, warmup_images=64,
                   **EXECUTION, **settings):  # fmt: skip
        pass
    drawn = sample(load(tmp_path / "run"), 64, evaluations=20, sampler="ddpm").images
    assert drawn.dtype == np.float32
    assert drawn.mean() == pytest.approx(5, abs=0.5)
    assert drawn.std() == pytest.approx(3, abs=0.7)


class Watched:
    """An array that knows how many of its numbers were taken at once."""

    def __init__(self, array):
        self.array, self.shape, self.most = array, array.shape, 0

    def __len__(self):
        return len(self.array)

    def __getitem__(self, index):
        self.most = max(self.most, self.array[index].size)
        return self.array[index]


@pytest.mark.parametrize("shape", [(2, 3, 5), (30,), (3, 40)])
def test_data_without_bounds_are_measured_block_by_block(monkeypatch, shape):
    monkeypatch.setattr("alphabar.model.affine.NUMBERS_AT_ONCE", 1000)
    images = 1e6 + np.random.default_rng(0).standard_normal((500, *shape)).astype(np.float64)
    images[:, 0] = 0.1
    watched = Watched(images)
    codec = fit_codec(Space(shape, "float64", None, None), watched)
    assert 500 < watched.most <= 1000
    flat = np.moveaxis(images, 1, 0).reshape(shape[0], -1)
    np.testing.assert_allclose(codec.offset, flat.mean(1), rtol=1e-14)
    np.testing.assert_allclose(codec.scale[1:], flat.std(1)[1:], rtol=1e-9)
    assert codec.scale[0] == 1


def test_a_data_set_is_measured_once_for_all_its_trainers(monkeypatch):
    fitted = []
    monkeypatch.setattr(
        "alphabar.training.fitted.fit_codec", lambda *args: fitted.append(args) or fit_codec(*args)
    )
    one, other = tiny_data(), tiny_data(seed=1)
    for data in (one, one, other, one):
        Trainer(tiny_config(), data)
    assert len(fitted) == 2


# --- starting from a model -----------------------------------------------------------------------


def told_trainer(names, condition="class", net=None):
    """A trainer for classes of these names."""
    images = np.random.default_rng(0).integers(0, 255, (16, 1, 8, 8)).astype(np.uint8)
    conditions, values = {condition: ClassCondition(names=names)}, {condition: np.arange(16) % len(names)}
    data = Dataset(images, Space((1, 8, 8)), conditions, values, "told")
    return Trainer(tiny_config(seed=len(names[0])), data, net=net)


@pytest.mark.parametrize("condition", ["weight", "embed", "down", "conv1"])
def test_a_condition_may_be_called_like_a_part_of_the_network(condition):
    """Also where there are as many classes as channels: only its own embedding is matched by class."""
    names = tuple("abcdefgh")
    source, target = told_trainer(names, condition).model, told_trainer(names[::-1], condition).model
    state, _ = adapt_state(source, target)
    own = f"condition_embeddings.of_{condition}.weight"
    before = source.net.state_dict()
    assert torch.equal(state[own], before[own].flip(1))
    assert all(torch.equal(state[name], tensor) for name, tensor in before.items() if name != own)


class Told(nn.Module):
    """A network of a user's that looks classes up in a table."""

    def __init__(self, classes, width, by_name):
        super().__init__()
        table = nn.Embedding(classes, width)
        self.by_name = by_name
        if by_name:
            self.condition_embeddings = nn.ModuleDict({"of_class": table})
        else:
            self.table = table
        self.linear = nn.Linear(width, 64)

    def forward(self, x, c_noise, cond):
        table = self.condition_embeddings["of_class"] if self.by_name else self.table
        return x + self.linear(table(cond["class"].argmax(1))).view(x.shape)


@pytest.mark.parametrize("width", [2, 3])
def test_a_table_called_as_an_embedding_of_the_unet_is_matched_by_its_rows(width):
    source = told_trainer(("ant", "bee", "cow"), net=Told(3, width, by_name=True)).model
    target = told_trainer(("cow", "ant", "dog"), net=Told(3, width, by_name=True)).model
    state, notes = adapt_state(source, target)
    before, fresh = source.net.state_dict(), target.net.state_dict()
    own = "condition_embeddings.of_class.weight"
    assert torch.equal(state[own], torch.stack([before[own][2], before[own][0], fresh[own][2]]))
    assert torch.equal(state["linear.weight"], before["linear.weight"])
    assert notes == ["class: known cow, ant; new dog; left out bee"]


def test_classes_of_another_network_are_copied_in_their_order_and_other_numbers_are_refused():
    source = told_trainer(("ant", "bee", "cow"), net=Told(3, 3, by_name=False)).model
    target = told_trainer(("ant", "cow", "dog"), net=Told(3, 3, by_name=False)).model
    state, notes = adapt_state(source, target)
    assert all(torch.equal(state[name], tensor) for name, tensor in source.net.state_dict().items())
    assert notes == [
        "class: not matched by name in this network: cow has the weights of bee, dog has the weights of cow"
    ]
    four = told_trainer(("ant", "bee", "cow", "dog"), net=Told(4, 3, by_name=False)).model
    with pytest.raises(ValueError, match=r"table\.weight \(3, 3\) → \(4, 3\): give data of the same"):
        adapt_state(source, four)


# --- configuration -------------------------------------------------------------------------------


def test_presets_are_what_they_say():
    space = Space((3, 32, 32))
    paper = resolve(space, {}, 50_000, "cifar10")
    assert (paper.prediction, paper.loss, paper.stratified) == ("eps", "simple", False)
    assert paper.schedule == {"name": "linear", "T": 1000, "beta_min": 1e-4, "beta_max": 0.02}
    assert (paper.lr, paper.batch_size, paper.flip, paper.network["dropout"]) == (2e-4, 128, True, 0.1)
    assert paper.images == 800_000 * 128
    assert 0.5 ** (128 / paper.ema_halflife) == pytest.approx(0.9999)
    with torch.device("meta"):
        net = build_network(paper.network, space.shape, {})
        assert sum(p.numel() for p in net.parameters()) == 35_746_307
    assert not resolve(space, {"class": ClassCondition(names=("a", "b"))}, 9, "cifar10").conditional
    notes = resolve(space, {}, 50_000, "ddpm")
    assert (notes.prediction, notes.loss, notes.stratified) == ("eps", "simple", False)
    assert notes.schedule == paper.schedule
    for name in PRESETS:
        assert resolve(space, {}, 1000, name) == resolve(space, {}, 1000, name)


@pytest.mark.parametrize(
    "shape",
    [
        (1, 8, 8),
        (3, 32, 32),
        (3, 33, 61),
        (2, 64, 48),
        (3, 256, 256),
        (3, 520, 300),
        (2, 16_000),
        (1, 9, 2000),
    ],
)
def test_the_default_network_fits_any_size(shape):
    config = resolve(Space(shape), {}, 100)
    with torch.device("meta"):
        net = build_network(config.network, shape, {})
        out = net(torch.empty(1, *shape), torch.empty(1), {})
    assert out.shape == (1, *shape)


@pytest.mark.parametrize(
    ("sides", "patch", "levels"),
    [
        ((8,), 1, 2),
        ((8, 8), 1, 2),
        ((28, 28), 2, 2),
        ((32, 32), 2, 2),
        ((64, 64), 2, 3),
        ((65, 65), 4, 2),
        ((128, 128), 4, 3),
        ((128, 16, 16), 4, 3),
        ((256, 256), 4, 4),
        ((512, 512), 4, 5),
        ((1024,), 16, 4),
        ((16_000,), 16, 8),
        ((80, 1000), 8, 5),
    ],
)
def test_large_sides_are_folded_as_far_as_channels_reach_and_halved_for_the_rest(sides, patch, levels):
    network = default_network(Space((3, *sides)), "unet")
    assert network["patch"] == patch
    assert network["channel_mult"] == [1] + [2] * (levels - 1)
    assert network["attention_levels"] == [levels - 1]


@pytest.mark.parametrize(
    ("dims", "side"),
    [(d, n) for d in (1, 2, 3) for n in (129, 200, 256, 257, 500, 1000, 3000, 16_000) if n**d <= 2**30],
)
def test_the_default_networks_levels_are_neither_too_large_nor_too_small(dims, side):
    network = default_network(Space((1, *[side] * dims)), "unet")
    top = side / network["patch"]
    bottom = top / 2 ** (len(network["channel_mult"]) - 1)
    assert 4.9 < bottom < 10
    assert network["patch"] ** dims <= network["channels"]
    assert top <= 64 or (2 * network["patch"]) ** dims > network["channels"]


@pytest.mark.parametrize("shape", [(9,), (2, 300), (3, 40, 64), (1, 16, 16, 16)])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_by_name_suits_the_data_as_the_default_does(name, shape):
    space = Space(shape, "float32", None, None)
    if (len(shape) == 1) != (name == "mlp"):
        return
    network = resolve(space, {}, 100, None, {"network": {"name": name}}).network
    if network["name"] == default_network(space)["name"]:
        assert network == default_network(space) == resolve(space, {}, 100).network
    assert resolve(space, {}, 100, None, {"network": network}).network == network
    given = {"width": 32} if name == "mlp" else {"channels": 24, "patch": 3}
    some = resolve(space, {}, 100, None, {"network": {"name": name, **given}}).network
    assert some.items() >= given.items()
    assert some.keys() >= network.keys() - {"window", "global_every"}
    for config in (network, some):
        with torch.device("meta"):
            net = build_network(config, shape, {})
            assert net(torch.empty(1, *shape), torch.empty(1), {}).shape == (1, *shape)


def test_a_network_that_a_preset_names_is_that_network_for_any_data():
    for shape in ((1, 8, 8), (3, 32, 32), (3, 256, 256)):
        with torch.device("meta"):
            paper = UNet(shape, 128, [1, 2, 2, 2], 2, [1], dropout=0.1)
            found = build_network(resolve(Space(shape), {}, 1000, "cifar10").network, shape, {})
        assert network_config(found) == network_config(paper)
        assert resolve(Space(shape), {}, 1000, "ddpm").network == default_network(Space(shape))


def test_settings_override_presets_key_by_key():
    config = resolve(Space((1, 28, 28)), {}, 1000, "cifar10", {"epochs": 2, "network": {"channels": 64}})
    assert config.network["channels"] == 64
    assert config.network["channel_mult"] == [1, 2, 2, 2]
    assert config.images is None
    assert config.epochs == 2
    cosine = resolve(Space((1, 28, 28)), {}, 1000, None, {"schedule": {"name": "cosine", "T": 200}})
    assert cosine.schedule == {"name": "cosine", "T": 200, "s": 0.008, "max_beta": 0.999, "shift": 1.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 1}, "unknown setting 'learning_rate'"),
        ({"lr": -1}, "lr: .*greater than 0, got -1"),
        ({"images": 5, "minutes": 1}, "one of images, epochs and minutes, got images and minutes"),
        ({"prediction": "esp"}, "did you mean 'eps'"),
        ({"loss": "simpel"}, "did you mean 'simple'"),
        ({"schedule": {"name": "cosin"}}, "cosine"),
        ({"schedule": {"name": "cosine", "beta_min": 1}}, "beta_min"),
        ({"batch_size": 0}, "batch_size"),
        ({"precision": "float16"}, "precision"),
    ],
)
def test_settings_are_validated(settings, message):
    with pytest.raises(ValueError, match=message):
        resolve(Space((1, 8, 8)), {}, 100, None, settings)


def test_a_log_that_settings_could_not_check_is_refused_by_the_run(tmp_path):
    """Settings know the logs only once `alphabar.runs.sinks` is imported."""
    config = tiny_config().model_copy(update={"log": "tensorbord"})
    with pytest.raises(ValueError, match=r"unknown log 'tensorbord'; known: .*did you mean 'tensorboard'"):
        Run(tmp_path / "run", tiny_data(), config)


def test_budgets(tmp_path):
    data = tiny_data(40)
    run = Run(tmp_path / "a", data, tiny_config(images=None, epochs=1.5))
    assert run.total == round(1.5 * len(data.training))
    assert len(list(run.train())) == math.ceil(run.total / 8)
    timed = Run(tmp_path / "b", data, tiny_config(images=None, minutes=1 / 30))
    assert timed.total is None
    rows = list(timed.train())
    assert timed.total == total_of(json.loads((tmp_path / "b/run.json").read_text()))
    assert rows[-1]["images"] >= timed.total > rows[-2]["images"]


@pytest.mark.parametrize("has", [True, False])
def test_precision_and_layout_are_measured_and_recorded(tmp_path, monkeypatch, has):
    """bfloat16 only where the device computes in it."""
    monkeypatch.setattr("alphabar.training.autotune.has_bfloat16", lambda device: has)
    run = Run(tmp_path / "run", tiny_data(), tiny_config(precision="auto", channels_last=None, images=16))
    list(run.train())
    measured = json.loads((tmp_path / "run/run.json").read_text())["measured"]
    precisions = ["float32", "bfloat16"] if has else ["float32"]
    layouts = ["contiguous", "channels_last"]
    assert set(measured["images_per_s"]) == {f"{p}, {layout}" for p in precisions for layout in layouts}
    best = max(measured["images_per_s"], key=measured["images_per_s"].get)
    layout = "channels_last" if measured["channels_last"] else "contiguous"
    assert best == f"{measured['precision']}, {layout}"
    assert isinstance(TrainConfig.model_validate(run.config), TrainConfig)


def test_classes_may_be_left_out(tmp_path):
    run = Run(tmp_path / "run", tiny_data(), tiny_config(conditional=False, images=16))
    list(run.train())
    model = load(tmp_path / "run")
    assert model.conditions == {}
    assert sample(model, 1, evaluations=2).told == {}


def test_less_data_than_a_batch_trains(tmp_path):
    data = tiny_data(3, classes=False)
    rows = list(Run(tmp_path / "run", data, tiny_config(images=24)).train())
    assert len(rows) == 3


def test_held_out_loss_sees_every_class_of_a_sorted_data_set():
    images = np.random.default_rng(0).integers(0, 256, (4000, 1, 8, 8)).astype(np.uint8)
    condition = ClassCondition(names=("a", "b"))
    data = Dataset(
        images, Space((1, 8, 8)), {"class": condition}, {"class": np.arange(4000) // 2000}, "sorted"
    )
    trainer = Trainer(tiny_config(), data)
    seen = []
    trainer.ema.net.register_forward_pre_hook(lambda _, args: seen.append(args[2]["class"].sum(0)))
    held_out_loss(trainer)
    assert len(seen) == 16 * 4  # held-out and training pictures at 8 times, 16 at once
    assert 24 <= float(sum(seen[:4])[1]) <= 40


def test_few_steps_and_a_strong_terminal_signal_are_warned_of_when_training():
    with pytest.warns(UserWarning, match="T = 20: at least 100"):
        resolve(Space((1, 8, 8)), {}, 100, None, {"schedule": {"T": 20}})
    bounds = {"name": "linear", "beta_min": 1e-4, "beta_max": 2e-3}
    with pytest.warns(UserWarning, match="x_T keeps"):
        resolve(Space((1, 8, 8)), {}, 100, None, {"schedule": bounds})


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"chanels": 16}, "unknown setting of the network unet 'chanels'.*did you mean 'channels'"),
        ({"channels": -16}, "channels must be a whole number of at least 4, got -16"),
        ({"scale_shift": "False"}, "scale_shift must be true or false, got 'False'"),
        ({"dropout": "abc"}, "dropout must lie within"),
        ({"channel_mult": 3}, "channel_mult must be a list of whole numbers"),
        ({"shape": [3, 8, 8]}, "shape"),
    ],
)
def test_networks_are_validated(network, message):
    with pytest.raises(ValueError, match=message):
        Trainer(resolve(Space((1, 8, 8)), {}, 100, None, {"network": network}), tiny_data(classes=False))


# --- compiling -----------------------------------------------------------------------------------


def test_a_compiled_network_is_asked_in_training_alone(monkeypatch):
    asked = []

    def compile_(function, **options):
        asked.append(options)
        return lambda *inputs: asked.append(inputs[0]) or function(*inputs)

    monkeypatch.setattr(torch, "compile", compile_)
    a, b = (Trainer(tiny_config(compile=mode), tiny_data()) for mode in ("reduce-overhead", None))
    assert a.update() == b.update()
    assert asked == [{"dynamic": False, "mode": "reduce-overhead"}, a.model.net]
    assert held_out_loss(a) == held_out_loss(b)
    assert len(asked) == 2


def test_without_a_compiler_compiling_is_refused(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler, and none is found"):
        Trainer(tiny_config(compile="default"), tiny_data())


def test_the_model_of_the_least_held_out_loss_is_kept_also_over_a_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(Monitor, "is_due", lambda self: True)
    losses = iter([3.0, 1.0, 2.0, 1.5, 2.5])
    monkeypatch.setattr(Monitor, "__call__", lambda self, total: {"held_out_loss": next(losses)})
    config = tiny_config(images=40)
    steps = Run(tmp_path, tiny_data(), config).train()
    for _ in range(3):
        next(steps)
    steps.close()
    assert load(tmp_path / "best.safetensors").about["images"] == 16
    assert [row["held_out_loss"] for row in Run(tmp_path, tiny_data(), config).train()] == [1.5, 2.5]
    assert load(tmp_path / "best.safetensors").about["images"] == 16
    assert load(tmp_path).about["images"] == 40


def test_the_best_model_can_be_that_of_the_nearest_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(Monitor, "is_due", lambda self: True)
    distances = iter([3.0, 2.0, 1.0, None, 2.5])
    monkeypatch.setattr(
        Monitor, "__call__", lambda self, total: {"held_out_loss": 1, "sample_distance": next(distances)}
    )
    list(Run(tmp_path, tiny_data(), tiny_config(images=40, best="sample_distance")).train())
    assert load(tmp_path / "best.safetensors").about["images"] == 24


# --- conditions, objectives and times as rows ------------------------------------------------------


def test_each_condition_is_hidden_from_its_share_of_samples_apart():
    config = tiny_config(condition_dropout=0.25, batch_size=4000)
    told = {"a": np.ones((4000, 3), np.float32), "b": np.ones((4000, 2, 4, 4), np.float32)}
    hidden = hide(told, config, 0)
    a, b = hidden["a"][:, 0] == 0, hidden["b"][:, 0, 0, 0] == 0
    assert a.mean() == pytest.approx(0.25, abs=0.03)
    assert b.mean() == pytest.approx(0.25, abs=0.03)
    assert (a & b).mean() == pytest.approx(0.5 / 3, abs=0.02)  # of a half, v v for v uniform
    assert set(np.unique(hidden["b"].reshape(4000, -1).sum(1))) == {0.0, 32.0}
    assert np.array_equal(hide(told, config, 0)["a"], hidden["a"])
    assert not np.array_equal(hide(told, config, 1)["a"], hidden["a"])
    assert hide(told, tiny_config(condition_dropout=0), 0) is told


def test_an_objective_and_a_density_of_times_are_one_registration_each(monkeypatch):
    def with_size(denoiser, loss, x_0, cond, draws):
        """The usual loss, and how large the network's output is."""
        return {**denoise(denoiser, loss, x_0, cond, draws), "size": torch.ones(len(x_0)) * 2}

    monkeypatch.setitem(OBJECTIVES, "with_size", with_size)
    monkeypatch.setitem(TIMES, "late", lambda u, schedule: np.full(len(u), float(schedule.T)))
    trainer = Trainer(tiny_config(objective="with_size", times="late"), tiny_data())
    row = trainer.update()
    assert row["size"] == 2
    assert row["loss"] > 2
    assert draw_times(trainer.config, trainer.model.schedule, 0).tolist() == [100.0] * 8
    with pytest.raises(ValueError, match="late"):
        tiny_config(times="lat")


def test_what_an_update_works_on_is_a_function_of_its_number_alone():
    """In micro-batches, ahead of time in another thread, and after going back."""
    trainer = Trainer(tiny_config(flip=True), tiny_data())
    first = trainer.inputs(3)
    for _ in range(3):
        trainer.update()
    prepared = trainer.feed(3)
    assert np.array_equal(first.x_0, prepared.x_0)
    assert np.array_equal(first.eps, prepared.eps)
    assert np.array_equal(first.t, prepared.t.t)
    trainer.load_state(trainer.state(), 1)
    assert np.array_equal(trainer.feed(1).eps, Trainer(tiny_config(flip=True), tiny_data()).inputs(1).eps)


@pytest.mark.parametrize("micro_batch", [1, 3, None])
def test_dropout_is_the_same_in_any_micro_batch(micro_batch):
    network = {**NETWORK, "dropout": 0.4}
    whole = Trainer(tiny_config(network=network), tiny_data())
    parts = Trainer(tiny_config(network=network, micro_batch=micro_batch), tiny_data())
    for _ in range(2):
        assert parts.update()["loss"] == pytest.approx(whole.update()["loss"], rel=1e-4 * ROUGH)


def test_threads_make_the_same_initial_weights():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: Trainer(tiny_config(), tiny_data()), range(4)))
    for name, value in weights(made[0]).items():
        assert all(torch.equal(weights(other)[name], value) for other in made[1:])
