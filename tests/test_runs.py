"""How long a run is, by the clock and by what was decided; what it starts from; what it says as it goes."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alphabar import load, sample, save
from alphabar.data import ClassCondition, Dataset, Space
from alphabar.runs import MEASURES, Run, RunFolder, fork, monitor, train
from alphabar.runs import pace as clock
from alphabar.runs.checkpoints import checkpoint_steps, save_checkpoint
from alphabar.runs.export import Best
from alphabar.runs.history import milestones
from alphabar.runs.pace import Pace
from alphabar.theory.plans import make_plan
from alphabar.training import resolve
from alphabar.training.adapt import adapt_state
from alphabar.training.autotune import fastest_execution
from alphabar.training.config import TrainConfig
from alphabar.training.rate import rate_factor
from alphabar.training.trainer import Trainer
from tiny import EXECUTION, NETWORK, tiny_config, tiny_data

# --- the learning rate ----------------------------------------------------------------------------


@st.composite
def plans(draw):
    at = sorted(draw(st.sets(st.integers(0, 5000), min_size=0, max_size=4)))
    return [(a, a + draw(st.integers(1, 5000))) for a in at]


@given(plans(), st.integers(0, 12_000), st.integers(0, 2000), st.floats(0, 1))
def test_the_rate_is_a_share_and_depends_on_no_later_decision(decisions, images, warmup, decay):
    factor = rate_factor(images, decisions, 8, warmup, decay)
    assert 0 <= factor <= 1
    earlier = [pair for pair in decisions if pair[0] <= images]
    assert factor == rate_factor(images, earlier, 8, warmup, decay)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 500))
def test_a_longer_plan_goes_on_from_where_the_rate_is(first, more, warmup):
    """No jump up at the decision; at its end the rate is 0."""
    decided = [(0, first), (first, first + more)]
    before = rate_factor(first - 1, decided[:1], 1, warmup, 0.7)
    after = rate_factor(first, decided, 1, warmup, 0.7)
    step = 1 / max(1, min(warmup, 0.1 * (first + more)))
    assert after <= before + step + 1e-9
    assert rate_factor(first + more, decided, 1, warmup, 0.7) == 0


def test_a_short_run_warms_up_within_a_tenth():
    """Of 4,480 images with a warm-up of 10,000, none was seen at the full rate."""
    config = tiny_config(images=4480, warmup_images=10_000, lr=1.0, decay=0.5)
    rates = np.array([config.learning_rate(images, 4480) for images in range(0, 4480, 8)])
    assert rates.max() == 1
    assert np.argmax(rates) * 8 <= 448
    assert config.learning_rate(0, None) == pytest.approx(8 / 10_000)


def test_batches_of_a_short_run_are_smaller():
    space = Space((1, 8, 8))
    for images, size in [(5_000, 16), (20_000, 32), (10**6, 64)]:
        assert resolve(space, {}, 100, None, {"images": images}).batch_size == size
    assert resolve(space, {}, 1000, None, {"epochs": 5}).batch_size == 16
    assert resolve(space, {}, 1000, None, {"minutes": 1}).batch_size == 64  # nobody knows yet
    assert resolve(space, {}, 1000, None, {"images": 5_000, "batch_size": 64}).batch_size == 64


# --- minutes --------------------------------------------------------------------------------------


class World:
    """A machine whose clock stands still unless something is done."""

    def __init__(self, monkeypatch, update_s, save_s=0.2):
        self.t, self.update_s = 0.0, update_s
        monkeypatch.setattr(clock, "now", lambda: self.t)

        def launch(trainer, rate):
            self.t += self.update_s(self.t)
            trainer.step += 1
            row = {"step": trainer.step, "images": trainer.images, "loss": 1.0, "grad_norm": 1.0, "lr": rate}
            trainer.begun.append(SimpleNamespace(row=lambda: row))

        monkeypatch.setattr(Trainer, "launch", launch)
        monkeypatch.setattr("alphabar.runs.run.save_checkpoint", lambda *_: self.spend(save_s))
        settle = Run.settle  # a save that a thread ends sooner or later would spend its time then
        monkeypatch.setattr(Run, "settle", lambda run, wait=False: settle(run, wait=True))
        monkeypatch.setattr("alphabar.runs.monitor.Monitor.__call__", self.measure)

    def spend(self, seconds):
        self.t += seconds

    def measure(self, total):
        """As long as updates on so many images would take, of 2 each."""
        n = monitor.num_samples(total)
        self.spend(monitor.cost(total) / 2 * self.update_s(self.t))
        return {"held_out_loss": 1.0} if n else {}


MACHINES = {
    "steady": lambda t: 0.25,
    "three times slower from the middle": lambda t: 0.25 if t < 30 else 0.75,
    "ten times slower near the end": lambda t: 0.25 if t < 50 else 2.5,
    "four times faster from the middle": lambda t: 0.4 if t < 30 else 0.1,
    "fifteen times faster from the middle": lambda t: 0.6 if t < 30 else 0.04,
    "busy while it is measured": lambda t: 2.0 if t < 8 else 0.2,
    "uneven": lambda t: 0.2 if int(t) % 7 else 0.7,
    "slower and slower": lambda t: 0.2 * 1.03**t,
    "very slow": lambda t: 5.0,
    "ten times slower now and then": lambda t: 0.1 if int(t / 7) % 2 else 1.0,
}


@pytest.mark.parametrize("machine", MACHINES)
def test_minutes_are_kept_within_a_tenth(tmp_path, monkeypatch, machine):
    """Measurements, saves and what the loop itself does count."""
    world = World(monkeypatch, MACHINES[machine])
    config = tiny_config(images=None, minutes=1.0, batch_size=2, previews=False, save_minutes=0.1)
    for row in Run(tmp_path / "run", tiny_data(), config).train():
        if row["step"] % 20 == 0:
            world.spend(0.5)
    assert 54 <= world.t <= 66
    entry = RunFolder(tmp_path / "run").entry()
    plans = [r for r in entry["history"] if r["what"] == "total"]
    assert abs(RunFolder(tmp_path / "run").metrics()[-1]["images"] - plans[-1]["after"]) < 2
    assert len(plans) < 25


def test_minutes_are_those_of_the_loop_and_none_counts_twice(tmp_path, monkeypatch):
    """A run may be made long before it is trained, and its loop be left and taken up again."""
    world = World(monkeypatch, MACHINES["steady"])
    config = tiny_config(images=None, minutes=1.0, batch_size=2, previews=False, save_minutes=0.1)
    monkeypatch.setattr("alphabar.runs.run.save_checkpoint", save_checkpoint)
    run = Run(tmp_path / "run", tiny_data(), config)
    world.spend(360.0)
    rows = run.train()
    while world.t < 380:
        next(rows)
    rows.close()
    list(run.train())
    assert 54 <= world.t - 360 <= 66


def test_a_long_measurement_counts_and_is_smaller_where_there_is_no_time_for_it():
    """Of a run of a few hundred images, measuring 64 samples would take longer than training."""
    from alphabar.runs.monitor import COST, SAMPLES, Monitor

    trainer, asked = Trainer(tiny_config(), tiny_data(60)), []
    measures = Monitor(trainer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MEASURES, "held_out_loss", lambda trainer, n: asked.append(n) or {})
        patch.setitem(MEASURES, "sample_distance", lambda trainer, n: {})
        for total in (None, 100 * COST, 5 * COST, 10):
            measures(total)
    assert asked == [SAMPLES, SAMPLES, SAMPLES // 2]


def test_minutes_go_on_to_the_bit_with_the_decisions_that_were_taken(tmp_path, monkeypatch):
    """Broken off again and again, and replayed in one go from what run.json says."""
    config = tiny_config(images=None, minutes=0.5, batch_size=2, previews=False, save_minutes=60.0)
    t, done, launch = [0.0], 0, Trainer.launch
    monkeypatch.setattr(clock, "now", lambda: t[0])

    def slow(trainer, rate):
        t[0] += 0.25 if t[0] < 15 else 0.5
        launch(trainer, rate)

    monkeypatch.setattr(Trainer, "launch", slow)
    while True:
        rows = Run(tmp_path / "run", tiny_data(), config, device="cpu").train()
        for row in rows:
            done = row["step"]
            if done % 17 == 0:
                break
        else:
            break
        rows.close()
    assert 27 <= t[0] <= 33
    folder = RunFolder(tmp_path / "run")
    decided = [(r["images"], r["after"]) for r in folder.entry()["history"] if r["what"] == "total"]
    assert len(decided) > 1
    trainer = Trainer(tiny_config(images=decided[-1][1], batch_size=2), tiny_data())
    losses = []
    while trainer.images < decided[-1][1]:
        losses.append(trainer.update(rate=trainer.config.learning_rate(trainer.images, decided))["loss"])
    assert [row["loss"] for row in folder.metrics()] == losses
    ema = load(tmp_path / "run", "cpu").net.state_dict()
    assert all(torch.equal(ema[name], tensor) for name, tensor in trainer.ema.net.state_dict().items())


def test_what_processes_before_spent_counts(tmp_path, monkeypatch):
    world = World(monkeypatch, lambda t: 0.25)
    monkeypatch.setattr("alphabar.runs.run.save_checkpoint", save_checkpoint)
    config = tiny_config(images=None, minutes=1.0, batch_size=2, previews=False, save_minutes=60.0)
    rows = Run(tmp_path / "run", tiny_data(), config).train()
    while world.t < 30:
        next(rows)
    rows.close()
    world.t += 1000  # between the two
    list(Run(tmp_path / "run", tiny_data(), config).train())
    assert 1054 <= world.t <= 1066


def test_more_minutes_go_on_and_fewer_are_enough(tmp_path, monkeypatch):
    world = World(monkeypatch, lambda t: 0.25)
    monkeypatch.setattr("alphabar.runs.run.save_checkpoint", save_checkpoint)
    settings = {"images": None, "batch_size": 2, "previews": False, "save_minutes": 60.0}
    list(Run(tmp_path / "run", tiny_data(), tiny_config(minutes=0.5, **settings)).train())
    assert 27 <= world.t <= 33
    list(Run(tmp_path / "run", tiny_data(), tiny_config(minutes=1.0, **settings)).train())
    assert 54 <= world.t <= 66
    assert list(Run(tmp_path / "run", tiny_data(), tiny_config(minutes=0.5, **settings)).train()) == []


def test_minutes_are_measured_once(tmp_path):
    config = tiny_config(images=None, minutes=1 / 20, save_minutes=60.0)
    run = Run(tmp_path / "run", tiny_data(), config)
    for _ in run.train():
        if run.total is not None:
            break
    total = run.total
    again = Run(tmp_path / "run", tiny_data(), config)
    assert again.total == total
    assert list(again.train())[-1]["images"] > 0


def test_the_layout_is_chosen_by_its_best_moment_and_within_the_budget(monkeypatch):
    """A busy moment at the first of four ways must not decide."""
    t, calls = [0.0], []

    def update(trainer, *_):
        way = trainer.config.precision, trainer.config.channels_last
        calls.append(way)
        busy = way == ("float32", False) and calls.count(way) < 4
        t[0] += 5.0 if busy else {("float32", False): 0.05, ("float32", True): 0.06}.get(way, 0.1)

    monkeypatch.setattr(Trainer, "update", update)
    monkeypatch.setattr("alphabar.training.autotune.has_bfloat16", lambda device: True)
    config = tiny_config(precision="auto", channels_last=None)
    found = fastest_execution(config, tiny_data(), "cpu", clock=lambda: t[0])
    assert (found["precision"], found["channels_last"]) == ("float32", False)
    calls.clear()
    found = fastest_execution(config, tiny_data(), "cpu", budget_s=6.0, clock=lambda: t[0])
    assert set(calls) == {("float32", False)}


def test_what_a_network_can_not_do_is_no_choice(monkeypatch):
    """Such as one of the user's that joins c_noise, which stays float32, to x in bfloat16."""

    def update(trainer, *_):
        if trainer.config.precision == "bfloat16" or trainer.config.lr == 1.0:
            raise RuntimeError("mat1 and mat2 must have the same dtype")

    monkeypatch.setattr(Trainer, "update", update)
    monkeypatch.setattr("alphabar.training.autotune.has_bfloat16", lambda device: True)
    config = tiny_config(precision="auto", channels_last=None)
    ticks = iter(range(10**6))
    found = fastest_execution(config, tiny_data(), "cpu", clock=lambda: next(ticks) / 10)
    assert found["precision"] == "float32"
    with pytest.raises(RuntimeError, match="same dtype"):
        fastest_execution(config.model_copy(update={"lr": 1.0}), tiny_data(), "cpu")


def test_what_is_left_is_the_minutes_less_what_was_spent(monkeypatch):
    """Other programs made 7 s, 29 min and 71 s of it within one run of five minutes."""
    t = [0.0]
    monkeypatch.setattr(clock, "now", lambda: t[0])
    pace, endless = Pace(1.0, 0.0, 12.0, 0), Pace(None, 0.0, 0.0, 0)
    for images in range(0, 100, 10):
        pace.mark(images), endless.mark(images)
        t[0] += 1.0
    assert pace.left_s(90, 100) == 60.0 - 12.0 - 10.0
    assert endless.left_s(90, 100) == pytest.approx(1.0)


def test_a_long_run_keeps_few_marks_and_its_rate_is_of_as_long_as_what_is_left(monkeypatch):
    t = [0.0]
    monkeypatch.setattr(clock, "now", lambda: t[0])
    pace = Pace(100.0, 0.0, 0.0, 0)
    for images in range(40_000):
        pace.mark(images)
        t[0] += 0.01 if t[0] < 300 else 0.1
    assert len(pace.marks) < 2000
    assert pace.rate == pytest.approx(40_000 / t[0], rel=0.01)  # most of the minutes are left
    monkeypatch.setattr(clock, "now", lambda: t[0] + 60.0 * 100)
    assert pace.rate == pytest.approx(10.0, rel=0.01)


def test_a_run_without_minutes_is_not_planned_by_the_clock():
    pace = Pace(None, 0.0, 0.0, 0)
    assert pace.left_s(0, 80) is None
    for images in range(8, 80, 8):
        pace.mark(images)
        assert pace.planned(images, 80) is None


# --- what a run starts from ---------------------------------------------------------------------------


def classes_data(names, n=40, size=8, channels=1):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (n, channels, size, size)).astype(np.uint8)
    condition = ClassCondition(names=names)
    values = {"class": np.arange(n) % len(names)}
    return Dataset(images, Space((channels, size, size)), {"class": condition}, values, "-".join(names))


def trainer_for(data, **settings):
    return Trainer(tiny_config(**settings), data)


def test_classes_are_matched_by_name_and_new_ones_are_fresh():
    source = trainer_for(classes_data(("ant", "bee", "cow"))).model
    with torch.no_grad():
        for parameter in source.net.parameters():
            parameter.add_(torch.randn_like(parameter))
    target = trainer_for(classes_data(("cow", "dog", "ant")), seed=5).model
    fresh = {name: t.clone() for name, t in target.net.state_dict().items()}
    state, notes = adapt_state(source, target)
    name = "condition_embeddings.of_class.weight"
    before = source.net.state_dict()[name]
    assert torch.equal(state[name][:, 0], before[:, 2])
    assert torch.equal(state[name][:, 1], fresh[name][:, 1])
    assert torch.equal(state[name][:, 2], before[:, 0])
    assert all(torch.equal(state[k], v) for k, v in source.net.state_dict().items() if k != name)
    assert notes == ["class: known cow, ant; new dog; left out bee"]
    target.net.load_state_dict(state)
    x, told = torch.randn(4, 1, 8, 8), {"class": [0, 0, 2, 2]}
    same = {"class": [2, 2, 0, 0]}
    source.eval(), target.eval()
    torch.testing.assert_close(target(x, 50.0, target.told(told, 4)), source(x, 50.0, source.told(same, 4)))


def test_classes_may_come_and_go_as_a_whole():
    with_classes = trainer_for(classes_data(("ant", "bee"))).model
    without = trainer_for(tiny_data(classes=False)).model
    name = "condition_embeddings.of_class.weight"
    state, notes = adapt_state(with_classes, without)
    assert name not in state
    assert notes == ["class: left out ant, bee"]
    state, notes = adapt_state(without, with_classes)
    assert torch.equal(state[name], with_classes.net.state_dict()[name])
    assert notes == ["class: new ant, bee"]


def test_other_sides_are_fine_and_other_channels_networks_and_predictions_are_refused():
    source = trainer_for(classes_data(("a", "b"))).model
    assert adapt_state(source, trainer_for(classes_data(("a", "b"), size=16)).model)[1] == [
        "samples were 1 × 8 × 8 (C × H × W) and are 1 × 16 × 16 (C × H × W)"
    ]
    with pytest.raises(ValueError, match=r"1 × 8 × 8.*and the data 3 × 8 × 8.*as many channels"):
        adapt_state(source, trainer_for(classes_data(("a", "b"), channels=3)).model)
    wider = {**NETWORK, "channels": 16}
    with pytest.raises(ValueError, match=r"network differs.*: channels \(8 → 16\)"):
        adapt_state(source, trainer_for(classes_data(("a", "b")), network=wider).model)
    with pytest.raises(ValueError, match="predicts v, and this run eps"):
        adapt_state(source, trainer_for(classes_data(("a", "b")), prediction="eps").model)


@pytest.mark.parametrize("kind", ["run", "model file", "checkpoint"])
def test_a_run_starts_from_the_averaged_weights_of_a_model(tmp_path, kind):
    data = tiny_data()
    list(Run(tmp_path / "first", data, tiny_config()).train())
    model = load(tmp_path / "first")
    save(model, tmp_path / "copy.safetensors")
    place = {
        "run": tmp_path / "first",
        "model file": tmp_path / "copy.safetensors",
        "checkpoint": RunFolder(tmp_path / "first").checkpoints()[-1],
    }[kind]
    settings = {"images": 80, "batch_size": 8, "device": "cpu", **EXECUTION}
    rows = train(data, tmp_path / "second", init_from=str(place), **settings)
    assert next(rows)["step"] == 1
    rows.close()
    begun = load(RunFolder(tmp_path / "second").checkpoints()[0])
    weights = model.net.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in begun.net.state_dict().items())
    entry = RunFolder(tmp_path / "second").entry()
    assert entry["identity"]["config"]["network"].items() >= NETWORK.items()  # the model's own
    assert entry["identity"]["start"]["what"] == "from"
    assert entry["identity"]["start"]["digest"] == load(place).digest


def test_a_run_that_began_with_a_model_needs_neither_the_model_nor_its_name_again(tmp_path):
    data, first = tiny_data(), tmp_path / "first"
    list(Run(first, data, tiny_config()).train())
    settings = {"images": 400, "device": "cpu", **EXECUTION}
    for again in ({"init_from": str(first)}, {}):
        rows = train(data, tmp_path / "second", init_from=str(first), **settings)
        next(rows), rows.close()
        (first / "model.safetensors").rename(tmp_path / "kept.safetensors")
        rows = train(data, tmp_path / "second", **again, **settings)
        assert next(rows)["step"] > 1
        rows.close()
        (tmp_path / "kept.safetensors").rename(first / "model.safetensors")
    with pytest.raises(ValueError, match="weights to start from"):
        list(train(data, first, init_from=str(first / "best.safetensors"), network=NETWORK, **settings))


def test_a_run_made_longer_keeps_its_batch(tmp_path):
    """A larger budget alone would ask for larger ones."""
    settings = {"network": NETWORK, "device": "cpu", "previews": False, **EXECUTION}
    assert [row["images"] for row in train(tiny_data(), tmp_path / "run", images=32, **settings)] == [16, 32]
    rows = train(tiny_data(), tmp_path / "run", images=400_000, **settings)
    assert next(rows)["images"] == 48
    rows.close()


def test_a_fork_and_a_model_to_start_from_exclude_each_other(tmp_path):
    list(Run(tmp_path / "first", tiny_data(), tiny_config()).train())
    begun = {"init_from": str(tmp_path / "first"), "images": 160}
    with pytest.raises(ValueError, match="give --fork or --from"):
        fork(tmp_path / "first", tmp_path / "second", tiny_data(), **begun)
    list(fork(tmp_path / "first", tmp_path / "fork", tiny_data(), images=88, device="cpu").train())
    for other in ({"fork_of": tmp_path / "first/checkpoints"}, {}):
        config = (
            tiny_config(images=88) if other else tiny_config(images=88, init_from=str(tmp_path / "first"))
        )
        with pytest.raises(ValueError, match="weights to start from"):
            Run(tmp_path / "fork", tiny_data(), config, **other)


def test_a_run_keeps_its_own_copy_of_what_it_started_from(tmp_path):
    """The model that it names may have been trained on meanwhile."""
    list(Run(tmp_path / "first", tiny_data(), tiny_config()).train())
    config = tiny_config(init_from=str(tmp_path / "first"), previews=False)
    rows = Run(tmp_path / "second", tiny_data(), config).train()
    next(rows), rows.close()
    list(Run(tmp_path / "first", tiny_data(), tiny_config(images=160)).train())
    assert len(list(Run(tmp_path / "second", tiny_data(), config).train())) == 9
    other = config.model_copy(update={"init_from": str(tmp_path / "first/best.safetensors")})
    with pytest.raises(ValueError, match="weights to start from"):
        Run(tmp_path / "second", tiny_data(), other)


# --- what a run says, and its folder --------------------------------------------------------------------


def test_run_json_keeps_apart_what_decides_the_bits_how_long_and_habits(tmp_path):
    run = Run(tmp_path / "run", tiny_data(), tiny_config(), source="place", command=["train", "place"])
    list(run.train())
    entry = json.loads((tmp_path / "run/run.json").read_text())
    assert entry["command"] == ["train", "place"]
    assert entry["data"] == {"source": "place", "prepared": {}, "samples": 40}
    parts = entry["identity"]["config"], entry["budget"], entry["habits"]
    assert sorted(name for part in parts for name in part) == sorted(
        set(TrainConfig.model_fields) - {"init_from"}
    )
    assert set(entry["budget"]) == {"images", "epochs", "minutes"}
    assert set(entry["habits"]) == {
        "threads",
        "recompute",
        "save_minutes",
        "keep_every",
        "best",
        "log",
        "previews",
    }
    assert TrainConfig(**{**parts[0], **parts[1], **parts[2]}) == run.asked


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something that is not a run of Alphabar"):
        Run(tmp_path, tiny_data(), tiny_config())
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        Run(tmp_path / "file", tiny_data(), tiny_config())
    other = tmp_path / "other"
    other.mkdir()
    (other / "run.json").write_text('{"name": "somebody\'s"}')
    with pytest.raises(ValueError, match="not the description of a run"):
        Run(other, tiny_data(), tiny_config())
    checkpoints = tmp_path / "third/checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "precious.pt").write_text("")
    with pytest.raises(ValueError, match="not a run"):
        Run(tmp_path / "third", tiny_data(), tiny_config())
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_checkpoints_of_which_nobody_knows_the_run_are_not_touched(tmp_path):
    list(Run(tmp_path / "run", tiny_data(), tiny_config(previews=False)).train())
    (tmp_path / "archive").mkdir()
    (tmp_path / "run/checkpoints").rename(tmp_path / "archive/checkpoints")
    before = RunFolder(tmp_path / "archive").checkpoints()
    with pytest.raises(ValueError, match="not a run"):
        list(Run(tmp_path / "archive", tiny_data(), tiny_config(previews=False)).train())
    assert RunFolder(tmp_path / "archive").checkpoints() == before != []


def test_a_run_whose_checkpoints_are_gone_is_not_begun_anew_over_its_model(tmp_path):
    list(Run(tmp_path / "run", tiny_data(), tiny_config(previews=False)).train())
    for file in RunFolder(tmp_path / "run").checkpoints():
        file.unlink()
    before = (tmp_path / "run/metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match="put its checkpoints back"):
        list(Run(tmp_path / "run", tiny_data(), tiny_config(images=160, previews=False)).train())
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(("error", "seen", "said"), [
    (torch.OutOfMemoryError("of the GPU"), torch.OutOfMemoryError, "of the GPU"),
    (RuntimeError("size mismatch"), ValueError, "Has the network's class changed"),
])  # fmt: skip
def test_a_sound_checkpoint_that_cannot_be_loaded_stays_where_it_is(tmp_path, monkeypatch, error, seen, said):
    list(Run(tmp_path / "run", tiny_data(), tiny_config(previews=False)).train())
    before = RunFolder(tmp_path / "run").checkpoints()

    def load_state(*_):
        raise error

    monkeypatch.setattr(Trainer, "load_state", load_state)
    with pytest.raises(seen, match=said):
        list(Run(tmp_path / "run", tiny_data(), tiny_config(images=160, previews=False)).train())
    assert RunFolder(tmp_path / "run").checkpoints() == before


def test_quarters_are_those_of_each_length_while_it_was_planned():
    made = [(0, 800), (800, 1600), (1000, 2000)]
    entry = {"history": [{"what": "total", "images": a, "after": b} for a, b in made]}
    assert milestones(entry, 10) == [20, 40, 60, 150]
    assert milestones({"history": []}, 10) == []


def test_checkpoints_after_each_so_many_images_are_kept_beside_the_others(tmp_path):
    config = tiny_config(images=160, previews=False, save_minutes=60.0, keep_every=28)
    list(Run(tmp_path / "run", tiny_data(), config).train())
    steps = checkpoint_steps(RunFolder(tmp_path / "run").checkpoint_folder)
    crossed = {4, 7, 11, 14, 18}  # 28, 56, 84, 112 and 140 images
    assert steps == sorted(crossed | {5, 10, 15, 20})
    list(
        Run(
            tmp_path / "run", tiny_data(), config.model_copy(update={"images": 240, "keep_every": None})
        ).train()
    )
    assert not crossed & {*checkpoint_steps(RunFolder(tmp_path / "run").checkpoint_folder)}


def test_the_best_is_the_least_since_its_metric_counts():
    rows = [{"images": 8, "a": 1.0, "b": 9.0}, {"images": 16, "a": 3.0, "b": 5.0}, {"images": 24}]
    best = Best("b", [{"what": "best", "images": 8}], rows)
    assert not best.is_by({"images": 32, "b": 6.0})
    assert best.is_by({"images": 40, "b": 4.0})
    assert not best.is_by({"images": 48, "b": None})
    assert Best("a", [], rows).least == 1.0


def test_previews_of_work_that_was_lost_go(tmp_path):
    list(Run(tmp_path / "run", tiny_data(), tiny_config(previews=False)).train())
    folder = RunFolder(tmp_path / "run")
    lost, kept = folder.preview(5000), folder.preview(8)
    folder.previews.mkdir(exist_ok=True)
    for file in (lost, kept):
        file.write_bytes(b"a picture")
    list(Run(folder, tiny_data(), tiny_config(images=160, previews=False)).train())
    assert kept.exists()
    assert not lost.exists()


def test_another_machine_is_said_once_and_recorded(tmp_path, monkeypatch):
    list(Run(tmp_path / "run", tiny_data(), tiny_config(previews=False)).train())
    monkeypatch.setattr("platform.machine", lambda: "another")
    said = []
    for images in (88, 96):
        list(
            Run(
                tmp_path / "run", tiny_data(), tiny_config(images=images, previews=False), say=said.append
            ).train()
        )
    assert [line for line in said if "last bits may differ" in line] == said[:1]
    history = RunFolder(tmp_path / "run").entry()["history"]
    assert [row["after"]["machine"] for row in history if row["what"] == "made_with"] == ["another"]


def test_what_people_print_is_one_line(tmp_path):
    """Data, models, schedules, plans, samples and loops, and no arrays."""
    data, config = tiny_data(), tiny_config(previews=False)
    run = Run(tmp_path / "run", data, config)
    steps = run.train()
    list(steps)
    model = load(tmp_path / "run")
    drawn = sample(model, 3, evaluations=4)
    plan = make_plan(model.schedule, "ddim", 4)
    shown = [repr(value) for value in (data, model, model.schedule, plan, drawn, steps)]
    assert [words.partition("(")[0] for words in shown] == [
        "Dataset", "Denoiser", "Schedule", "Plan", "Samples", "Steps",
    ]  # fmt: skip
    assert all(len(words) < 250 and "\n" not in words and "array" not in words for words in shown)
    assert shown[3] == "Plan(ddim, 4 evaluations, t = 100 to 0)"


def test_a_notebook_shows_how_far_a_loop_is(tmp_path, monkeypatch):
    import types

    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data["text/plain"])

    def display(data, raw, display_id):
        shown.append(data["text/plain"])
        return Handle()

    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    settings = {"network": NETWORK, "device": "cpu", "previews": False, "batch_size": 8, **EXECUTION}
    rows = list(train(tiny_data(), tmp_path / "run", images=80, **settings))
    assert shown[0].startswith("8 of 80 images, loss ")
    assert shown[-1].startswith(f"80 of 80 images, loss {rows[-1]['loss']:.4f}, ")
    assert len(shown) <= len(rows)


def test_in_python_what_a_person_should_know_is_logged(tmp_path, caplog):
    settings = {"network": NETWORK, "device": "cpu", "previews": False, "batch_size": 8, **EXECUTION}
    list(train(tiny_data(), tmp_path / "run", images=16, **settings))
    list(train(tiny_data(), tmp_path / "run", images=16, save_minutes=1.0, **settings))
    assert "from here on: save_minutes (2.0 → 1.0)" in caplog.text


def test_a_live_process_s_temporary_stays_when_training_starts(tmp_path):
    import os

    from alphabar.files import temporary_name

    list(Run(tmp_path / "run", tiny_data(), tiny_config()).train())
    live = temporary_name(tmp_path / "run/model.safetensors")
    live.write_text("being written")
    dead = live.with_name(live.name.replace(f"-{os.getpid()}-", "-999999999-"))
    dead.write_text("left")
    list(Run(tmp_path / "run", tiny_data(), tiny_config(images=88)).train())
    assert live.exists()
    assert not dead.exists()


def test_a_new_measure_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(MEASURES, "weight_norm", lambda trainer, n: {"weight_norm": 2.5})
    rows = list(Run(tmp_path / "run", tiny_data(), tiny_config()).train())
    assert rows[-1]["weight_norm"] == 2.5
    assert RunFolder(tmp_path / "run").metrics()[-1]["weight_norm"] == 2.5


def test_a_run_shows_itself(tmp_path):
    run = Run(tmp_path / "a <run>", tiny_data(), tiny_config())
    assert run.folder._repr_png_() is None
    assert "not begun" in run._repr_html_()
    list(run.train())
    assert run.folder._repr_png_().startswith(b"\x89PNG")
    assert "a &lt;run&gt;" in run._repr_html_()
    assert "80 images" in run._repr_html_()


@pytest.mark.parametrize("shape", [(1, 64), (1, 4, 8, 8)])
def test_runs_train_on_samples_of_any_rank(tmp_path, shape):
    rng = np.random.default_rng(0)
    images = rng.random((40, *shape), np.float32)
    data = Dataset(images, Space(shape, "float32", 0, 1), fingerprint="any", holdout=0.3)
    config = tiny_config(network={**NETWORK, "channel_mult": [1, 2]}, channels_last=False, images=24)
    rows = list(Run(tmp_path / "run", data, config).train())
    assert {"held_out_loss", "sample_distance"} <= set(rows[-1])
    assert RunFolder(tmp_path / "run").preview(24).exists()
    assert load(tmp_path / "run").space == replace(data.space)


def test_vectors_have_a_network_and_samples_with_four_sides_none(tmp_path):
    data = Dataset(np.zeros((20, 5), np.float32), Space((5,), "float32", 0, 1), fingerprint="vectors")
    network = {"name": "mlp", "width": 32, "blocks": 1}
    rows = list(train(data, tmp_path / "run", images=64, network=network, device="cpu"))
    assert np.isfinite(rows[-1]["loss"])
    assert load(tmp_path / "run").net.config["name"] == "mlp"
    shape = (1, 2, 2, 2, 2)
    data = Dataset(np.zeros((20, *shape), np.float32), Space(shape, "float32", 0, 1), fingerprint="4-d")
    with pytest.raises(ValueError, match=r"no default network for samples of shape .*--network vit"):
        list(train(data, tmp_path / "other", images=16))


class Vectors(torch.nn.Module):
    """A small network for vectors that is told nothing."""

    def __init__(self, shape=(5,), width=8):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(shape[0] + 1, width), torch.nn.SiLU(), torch.nn.Linear(width, shape[0])
        )
        self.config = {"width": width}

    def forward(self, x, c_noise):
        return self.net(torch.cat([x, c_noise[:, None] / 100], 1))


def test_a_module_of_the_user_s_trains_and_goes_on(tmp_path):
    rng = np.random.default_rng(0)
    data = Dataset(rng.random((40, 5), np.float32), Space((5,), "float32", 0, 1), fingerprint="vectors")
    settings = {
        "images": 80,
        "batch_size": 8,
        "device": "cpu",
        "precision": "float32",
        "channels_last": False,
    }
    whole = list(train(data, tmp_path / "whole", net=Vectors(), **settings))
    rows = train(data, tmp_path / "run", net=Vectors(), **settings)
    for _ in range(4):
        next(rows)
    rows.close()
    assert len(list(train(data, tmp_path / "run", net=Vectors(), **settings))) == 6
    assert len(whole) == 10
    assert load(tmp_path / "run").net.config == {"width": 8}
