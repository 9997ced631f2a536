"""Logs where people look: unbroken, nothing twice, over any number of stops."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
import time
from types import ModuleType, SimpleNamespace

import pytest

from alphabar.runs import SINKS, Run, RunFolder
from alphabar.runs.sinks import Sink, Sinks, clock
from alphabar.training import TrainConfig, resolve
from tiny import tiny_config, tiny_data

NAMES = ("tensorboard", "wandb", "trackio", "mlflow")


class Journal(list):
    """(images, name, value) of all that a service was told, by whatever process."""

    def images(self, name="loss"):
        return [images for images, what, _ in self if what == name]


def is_recent(seconds):
    return abs(time.time() - seconds) < 600


def module(monkeypatch, name, **content):
    made = ModuleType(name)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None)
    made.__dict__.update(content)
    monkeypatch.setitem(sys.modules, name, made)
    return made


def tensorboard(monkeypatch, journal):
    class SummaryWriter:
        def __init__(self, log_dir):
            assert log_dir.endswith("tensorboard")

        def add_scalar(self, tag, value, step, walltime):
            assert is_recent(walltime)
            journal.append((step, tag, value))

        def add_image(self, tag, array, step, walltime, dataformats):
            assert (array.ndim, dataformats) == (3, "HWC")
            assert is_recent(walltime)
            journal.append((step, tag, "picture"))

        def flush(self):
            pass

        close = flush

    class EventAccumulator:
        def __init__(self, place, size_guidance):
            pass

        def Reload(self):
            pass

        def Tags(self):
            return {"scalars": {what for _, what, _ in journal}}

        def Scalars(self, tag):
            return [SimpleNamespace(step=step) for step, what, _ in journal if what == tag]

    module(monkeypatch, "tensorboard")
    module(monkeypatch, "tensorboard.backend")
    accumulator = SimpleNamespace(EventAccumulator=EventAccumulator)
    module(monkeypatch, "tensorboard.backend.event_processing", event_accumulator=accumulator)
    module(monkeypatch, "torch.utils.tensorboard", SummaryWriter=SummaryWriter)


def wandb(monkeypatch, journal, runs=None):
    runs = {} if runs is None else runs

    def init(project, id, name, dir, config, resume, mode):
        assert (project, resume, mode) == ("alphabar", "allow", "offline")
        runs.setdefault(id, []).append(config)

        def log(values, step):
            assert values["images"] == step
            journal.extend((step, what, value) for what, value in values.items() if what != "images")

        return SimpleNamespace(log=log, finish=lambda: None, resumed=False, step=0)

    monkeypatch.setenv("HOME", "/nowhere")
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    module(monkeypatch, "wandb", init=init, Image=lambda path: "picture")


def trackio(monkeypatch, journal):
    """As slow as can be: nothing is stored until it is finished, and what isn't by then is gone."""
    waiting = []

    def init(project, name, config, resume):
        assert (project, resume) == ("alphabar", "allow")
        waiting.clear()
        print("* Trackio project initialized")
        return SimpleNamespace(_next_step=max((step + 1 for step, *_ in journal), default=0))

    def log(values, step):
        waiting.extend((step, what, value) for what, value in values.items() if what != "images")

    def finish():
        journal.extend(waiting)
        waiting.clear()
        print("* Run finished")

    for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    module(monkeypatch, "trackio", init=init, log=log, finish=finish, Image=lambda path: "picture")


def mlflow(monkeypatch, journal):
    runs = {}

    class MlflowClient:
        def __init__(self, uri):
            assert uri.startswith("sqlite:///")

        def get_experiment_by_name(self, name):
            return SimpleNamespace(experiment_id="1") if runs else None

        def create_experiment(self, name, where):
            assert where.startswith("file://")
            return "1"

        def search_runs(self, experiments, wanted):
            known = [run for tag, run in runs.items() if wanted == f"tags.alphabar = '{tag}'"]
            return [SimpleNamespace(info=SimpleNamespace(run_id=run)) for run in known]

        def create_run(self, experiment, tags, run_name):
            runs[tags["alphabar"]] = run_name
            return SimpleNamespace(info=SimpleNamespace(run_id=run_name))

        def log_param(self, run, name, value):
            assert name in TrainConfig.model_fields

        def log_batch(self, run, metrics):
            assert len(metrics) <= 1000
            assert all(is_recent(milliseconds / 1000) for _, _, milliseconds, _ in metrics)
            journal.extend((step, name, value) for name, value, _, step in metrics)

        def log_artifact(self, run, path, where):
            journal.append((int(path[-13:-4]), where, "picture"))

        def get_metric_history(self, run, name):
            return [SimpleNamespace(step=step) for step, what, _ in journal if what == name]

        def set_terminated(self, run):
            pass

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    module(monkeypatch, "mlflow", MlflowClient=MlflowClient)
    module(monkeypatch, "mlflow.entities", Metric=lambda name, value, time, step: (name, value, time, step))


FAKES = {"tensorboard": tensorboard, "wandb": wandb, "trackio": trackio, "mlflow": mlflow}


@pytest.fixture(params=NAMES)
def service(request, monkeypatch):
    """(name, journal) of each service in turn."""
    journal = Journal()
    FAKES[request.param](monkeypatch, journal)
    return request.param, journal


def some_updates(folder, n, **settings):
    rows = Run(folder, tiny_data(), tiny_config(**settings)).train()
    for _ in range(n):
        next(rows)
    rows.close()


def test_every_row_is_told_once_by_images_with_pictures_over_a_stop(service, tmp_path):
    name, journal = service
    some_updates(tmp_path / "run", 4, log=name)
    list(Run(tmp_path / "run", tiny_data(), tiny_config(log=name)).train())
    rows = RunFolder(tmp_path / "run").metrics()
    assert journal.images() == [row["images"] for row in rows] == list(range(8, 88, 8))
    for what in ("loss", "lr", "grad_norm"):
        assert [value for _, told, value in journal if told == what] == [row[what] for row in rows]
    assert journal.images("held_out_loss") == journal.images("sample_distance") == [80]
    assert journal.images("images_per_s")[-1] == 80
    assert journal.images("previews") == [80]
    list(Run(tmp_path / "run", tiny_data(), tiny_config(log=name, images=96)).train())
    assert journal.images() == list(range(8, 104, 8))
    assert len({(images, what) for images, what, _ in journal}) == len(journal)


def test_a_log_that_is_asked_for_later_begins_at_the_beginning(service, tmp_path):
    name, journal = service
    some_updates(tmp_path / "run", 4)
    assert not journal
    some_updates(tmp_path / "run", 2, log=name)
    assert journal.images() == [8, 16, 24, 32, 40, 48]


def test_killed_while_it_is_told_nothing_comes_twice(service, tmp_path, monkeypatch):
    """One that can tell what it knows is told of the rest, one that can't is taken to know."""
    name, journal = service
    some_updates(tmp_path / "run", 4, log=name, save_minutes=60.0)
    told = list(journal)
    write = SINKS[name].write

    class Killed(BaseException):
        pass

    def killed(sink, images, *rest):
        write(sink, images, *rest)
        sink.flush()
        if images == 48:
            raise Killed

    monkeypatch.setattr(SINKS[name], "write", killed)
    with pytest.raises(Killed):
        some_updates(tmp_path / "run", 4, log=name, save_minutes=60.0)
    certain = 40 if SINKS[name].flushes else 32
    assert RunFolder(tmp_path / "run").logged()[name] == {"images": certain, "toward": 56}
    monkeypatch.setattr(SINKS[name], "write", write)
    assert len(journal) > len(told)
    list(Run(tmp_path / "run", tiny_data(), tiny_config(log=name)).train())
    missing = [56] if name == "wandb" else []
    assert journal.images() == [images for images in range(8, 88, 8) if images not in missing]


def test_killed_after_it_was_told_nothing_is_lost(service, tmp_path, monkeypatch):
    """Whatever it had kept only in memory is told again, and nothing else."""
    name, journal = service
    some_updates(tmp_path / "run", 2, log=name)
    with monkeypatch.context() as patch:
        patch.setattr(Sinks, "__exit__", lambda *_: None)  # it doesn't come to that
        some_updates(tmp_path / "run", 4, log=name, save_minutes=0.0)
    list(Run(tmp_path / "run", tiny_data(), tiny_config(log=name)).train())
    assert journal.images() == list(range(8, 88, 8))
    assert RunFolder(tmp_path / "run").logged()[name] == {"images": 80}


def test_a_server_of_trackio_that_says_nothing_is_not_told_again(tmp_path, monkeypatch):
    trackio(monkeypatch, Journal())
    folder, entry = RunFolder(tmp_path / "run"), {"id": "1"}
    assert SINKS["trackio"](folder, entry, {}).last() == 0
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/runs")
    assert SINKS["trackio"](folder, entry, {}).last() is None


def test_standard_output_is_for_results(tmp_path, monkeypatch, capsys):
    trackio(monkeypatch, Journal())
    some_updates(tmp_path / "run", 2, log="trackio")
    out, err = capsys.readouterr()
    assert out == ""
    assert "Run finished" in err


def test_what_is_not_saved_is_not_told(service, tmp_path):
    """After a kill those updates come again, perhaps with other decisions."""
    name, journal = service
    rows = Run(tmp_path / "run", tiny_data(), tiny_config(log=name, save_minutes=60.0)).train()
    next(rows)
    assert not journal
    rows.close()
    assert journal.images() == [8]


def test_a_sink_that_fails_stops_no_training_and_is_told_the_rest_later(service, tmp_path, monkeypatch):
    name, journal = service
    said = []
    with monkeypatch.context() as patch:
        patch.setattr(SINKS[name], "write", lambda *_: (_ for _ in ()).throw(OSError("no network")))
        config = tiny_config(log=name)
        assert len(list(Run(tmp_path / "run", tiny_data(), config, say=said.append).train())) == 10
    assert said == [f"log {name} failed, and is left out from here on: OSError: no network"]
    assert not journal
    if name != "wandb":
        list(Run(tmp_path / "run", tiny_data(), tiny_config(log=name)).train())
        assert journal.images() == list(range(8, 88, 8))


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_package_is_named_with_the_command(name, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    absent = {name}
    monkeypatch.setattr("importlib.util.find_spec", lambda p: None if p in absent else find(p))
    with pytest.raises(ValueError, match=f"pip install {name}, or leave {name} out"):
        Run(tmp_path / "run", tiny_data(), tiny_config(log=name))
    assert not (tmp_path / "run").exists()


def test_a_new_sink_is_one_line_and_unknown_ones_are_named(tmp_path, monkeypatch):
    told = []

    class Notes(Sink):
        def __init__(self, folder, entry, config):
            self.folder = folder

        def write(self, images, values, picture, time):
            told.append((images, sorted(values), picture))
            assert is_recent(time)

    monkeypatch.setitem(SINKS, "notes", Notes)
    list(Run(tmp_path / "run", tiny_data(), tiny_config(log="notes", images=16)).train())
    assert told[0][1] == ["grad_norm", "images_per_s", "loss", "lr"]  # it was saved
    assert told[1][2] == RunFolder(tmp_path / "run").preview(16)
    assert json.loads((tmp_path / "run/logged.json").read_text()) == {"notes": {"images": 16}}
    with pytest.raises(ValueError, match=r"unknown log 'note'; known: .*notes; did you mean 'notes'"):
        resolve(tiny_data().space, {}, 100, None, {"log": "note"})
    assert resolve(tiny_data().space, {}, 100, None, {"log": ["wandb", "notes"]}).logs == ("wandb", "notes")


def test_rows_keep_the_time_at_which_they_were_made():
    """Also over a stop, in which no time goes by."""
    times = [(100, 1010.0, 10.0), (200, 1020.0, 20.0), (300, 5010.0, 10.0)]
    rows = [{"images": images, "time": at, "elapsed_s": since} for images, at, since in times]
    when = clock(rows)
    assert [when(images) for images in (100, 200, 300)] == [1010, 1020, 5010]
    assert when(50) == pytest.approx(1005, abs=0.2)
    assert when(150) == pytest.approx(1015, abs=0.2)
    assert when(250) == pytest.approx(5005, abs=0.2)
    again = [*rows, {"images": 250, "time": 9000.0, "elapsed_s": 30.0}]  # from an older checkpoint
    assert clock(again)(250) == 9000
    assert clock(rows[:1], start=90)(95) == pytest.approx(1005, abs=1)
    assert is_recent(clock([])(8))


def test_the_real_tensorboard_reads_what_was_written(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    some_updates(tmp_path / "run", 4, log="tensorboard")
    list(Run(tmp_path / "run", tiny_data(), tiny_config(log="tensorboard")).train())
    events = EventAccumulator(str(tmp_path / "run/tensorboard"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(8, 88, 8))
    assert [event.step for event in events.Images("previews")] == [80]
