"""What training hides of what it tells, so that the model also knows how to be told nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from alphabar.model import load, save
from alphabar.runs.checkpoints import Moment, save_checkpoint
from alphabar.runs.monitor import held_out_loss
from alphabar.sampling import sample
from alphabar.training.inputs import hide
from alphabar.training.trainer import Trainer
from tiny import NETWORK, ROUGH, tiny_config, tiny_data, tiny_denoiser

LABELS = np.arange(16) % 2
TOLD = {"class": np.eye(2, dtype=np.float32)[LABELS]}


def asked_of(model):
    """Record what a model's network is told, each time it is asked: class numbers, -1 where nothing."""
    seen, network = [], model._net

    def recording(row, x_t, cond):
        told = cond["class"]
        seen.append(torch.where(told.any(1), told.argmax(1), -1).tolist())
        return network(row, x_t, cond)

    model._net = recording
    return seen


def test_conditions_are_hidden_one_by_one_with_their_probability():
    config = tiny_config(condition_dropout=0.3, batch_size=16)
    batches = np.stack([hide(TOLD, config, k)["class"] for k in range(500)])
    hidden = ~batches.any(-1)
    assert np.array_equal(batches[~hidden], np.tile(TOLD["class"], (500, 1, 1))[~hidden])
    assert hidden.mean() == pytest.approx(0.3, abs=0.02)
    assert np.abs(hidden.mean(0) - 0.3).max() < 0.1  # at every place of the batch
    of_8000 = math.sqrt(0.3 * 0.7 / 8000)
    assert hidden.sum(1).std() == pytest.approx(math.sqrt(16 * 0.3 * 0.7), abs=16 * 4 * of_8000)
    assert len(np.unique(hidden, axis=0)) > 400
    assert np.array_equal(hide(TOLD, config, 7)["class"], batches[7])
    other = tiny_config(condition_dropout=0.3, batch_size=16, seed=1)
    assert not np.array_equal(hide(TOLD, other, 7)["class"], batches[7])
    assert hide(TOLD, tiny_config(condition_dropout=0), 7) is TOLD
    assert hide({}, config, 7) == {}


def test_of_two_conditions_none_one_and_both_are_hidden_as_often():
    config = tiny_config(condition_dropout=0.5, batch_size=16)
    told = {**TOLD, "angle": np.ones((16, 3, 2), np.float32)}
    hidden = [hide(told, config, k) for k in range(200)]
    a, b = (np.stack([~h[name].reshape(16, -1).any(1) for h in hidden]) for name in told)
    for which, share in ((a & b, 1 / 3), (a & ~b, 1 / 6), (~a & b, 1 / 6), (~a & ~b, 1 / 3)):
        assert which.mean() == pytest.approx(share, abs=0.03)


def test_conditions_are_hidden_in_training_alone():
    trainer = Trainer(tiny_config(condition_dropout=0.5, batch_size=32), tiny_data(60))
    trained, held_out = asked_of(trainer.model), asked_of(trainer.ema)
    trainer.update()
    assert {-1, 0, 1} == set(trained[0])
    assert not held_out
    trained.clear()
    loss = held_out_loss(trainer)
    assert held_out
    assert not trained
    truth = tiny_data(60)
    labels = truth.values["class"][truth.held_out].tolist()
    assert held_out[0][: len(labels)] == labels
    assert not any(-1 in labels for labels in held_out)
    plain = Trainer(tiny_config(condition_dropout=0, batch_size=32), tiny_data(60))
    plain.load_state(trainer.state(), 1)
    assert held_out_loss(plain) == loss
    told = sample(trainer.ema, 40, evaluations=2).told["class"]
    assert set(told) == {0, 1}


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_accumulation_hides_the_same(micro_batch):
    whole = Trainer(tiny_config(condition_dropout=0.3), tiny_data())
    parts = Trainer(tiny_config(condition_dropout=0.3, micro_batch=micro_batch), tiny_data())
    seen = asked_of(whole.model), asked_of(parts.model)
    for _ in range(3):
        assert whole.update()["loss"] == pytest.approx(parts.update()["loss"], rel=1e-5 * ROUGH)
    labels = [[label for batch in calls for label in batch] for calls in seen]
    assert labels[0] == labels[1]
    assert 2 < labels[0].count(-1) < 14


def test_what_is_hidden_is_a_function_of_the_update():
    config = tiny_config(condition_dropout=0.3)
    unbroken = Trainer(config, tiny_data())
    for _ in range(2):
        unbroken.update()
    resumed = Trainer(config, tiny_data())
    resumed.load_state({name: tensor.clone() for name, tensor in unbroken.state().items()}, 2)
    seen = asked_of(unbroken.model), asked_of(resumed.model)
    assert unbroken.update() == resumed.update()
    assert seen[0] == seen[1]
    assert -1 in seen[0][0]


def test_the_share_travels_with_the_model(tmp_path):
    trainer = Trainer(tiny_config(condition_dropout=0.25), tiny_data())
    save(trainer.ema, tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors").conditions["class"].dropout == 0.25
    always = Trainer(tiny_config(condition_dropout=0), tiny_data())
    assert always.ema.conditions["class"].dropout == 0


def test_a_checkpoint_is_loaded_with_its_averaged_weights(tmp_path):
    network = {**NETWORK, "channel_mult": [1], "attention_levels": []}
    trainer = Trainer(tiny_config(condition_dropout=0.25, network=network), tiny_data())
    for _ in range(5):
        trainer.update()
    bad = load(save_checkpoint(Moment.of(trainer, tmp_path)), device="cpu")
    weights = bad.net.state_dict()
    assert all(torch.equal(weights[name], p) for name, p in trainer.averages.items())
    assert not all(torch.equal(weights[name], p) for name, p in trainer.parameters.items())
    assert not bad.net.training
    assert bad.conditions["class"].dropout == 0.25
    save(trainer.ema, tmp_path / "model.safetensors")
    good = load(tmp_path, device="cpu")
    assert all(torch.equal(weights[name], p) for name, p in good.net.state_dict().items())
    assert bad.digest != good.digest
    drawn = sample(good, 1, evaluations=2, cond={"class": 0}, guidance=2.0, guide=bad)
    assert drawn.facts["guidance"]["by"] == bad.digest
    assert drawn.facts["evaluations"] == 4


def test_what_is_not_told_gives_its_embedding_no_gradient():
    denoiser = tiny_denoiser(dropout=0.1).requires_grad_(True)
    told = denoiser.told({"class": [None, 1, None, 1]}, 4)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 1, 8, 8)).astype(np.float32))
    denoiser(x, 30, told).square().sum().backward()
    (embedding,) = denoiser.net.condition_embeddings.values()
    assert not embedding.weight.grad[:, 0].any()
    assert embedding.weight.grad[:, 1].abs().max() > 0
