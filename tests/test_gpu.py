"""What a GPU must do as the CPU does: random numbers, samples, scores, bits. Skipped without one."""

from __future__ import annotations

import contextlib
import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from alphabar import load, rng, sample
from alphabar.edit import Known, downscaled, encode, restore, vary
from alphabar.evaluation.bound import variational_bound
from alphabar.evaluation.likelihood import ode_likelihood
from alphabar.evaluation.noise_levels import error_by_noise_level
from alphabar.kernels import can_be_built
from alphabar.model.denoiser import call_network
from alphabar.model.devices import LAYOUTS
from alphabar.model.recorded import Replayed
from alphabar.nn.norm import normalized
from alphabar.samplers import SAMPLERS
from alphabar.sampling.choices import choose
from alphabar.sampling.config import SampleConfig
from alphabar.sampling.inverse import measure
from alphabar.sampling.slots import Job, Slots
from alphabar.training.trainer import Trainer
from program import TINY, pictures
from tiny import tiny_config, tiny_data, tiny_denoiser

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Triton's and torch's own
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
    pytest.mark.filterwarnings("ignore:Please use the new API settings to control TF32"),
]
WAYS = [
    {"precision": "float32", "channels_last": False},
    {"precision": "float32", "channels_last": True},
    {"precision": "bfloat16", "channels_last": False},
    {"precision": "bfloat16", "channels_last": True},
]
NAMES = [f"{way['precision']}-{'channels_last' if way['channels_last'] else 'contiguous'}" for way in WAYS]


@pytest.fixture
def float32(monkeypatch):
    """Products in float32 itself; torch's own default for convolutions is TF32, of 11 bits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def both(**settings):
    """The same model on the CPU and on the GPU."""
    settings = {"dropout": 0.1, **settings}
    return tiny_denoiser(**settings), tiny_denoiser(**settings).to("cuda")


def bits(trainer):
    return {name: tensor.detach().cpu().clone() for name, tensor in trainer.state().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("shape", [(3, 32, 32), (7,), ()])
def test_random_numbers_are_those_of_the_cpu_to_the_bit(shape):
    arguments = (2**45 + 1, "sample", [3, 2**40, 5, *range(1000)], 17)
    made = rng.normal_tensor(*arguments, shape=shape, device="cuda")
    assert made.device.type == "cuda"
    assert np.array_equal(made.cpu().numpy(), rng.normal(*arguments, shape=shape))
    octets = rng.random_bytes(*arguments[:3], 17, 1001, "cuda")
    assert torch.equal(octets.cpu(), rng.random_bytes(*arguments[:3], 17, 1001))


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_an_update_is_that_of_the_cpu_up_to_rounding(way, float32):
    here, there = (Trainer(tiny_config(**way), tiny_data(), device) for device in ("cpu", "cuda"))
    rough = 1 if way["precision"] == "float32" else 100
    for _ in range(3):
        a, b = here.update(), there.update()
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4 * rough)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-3 * rough)


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
@pytest.mark.parametrize("micro", [None, 4])
def test_two_runs_and_one_resumed_are_equal_to_the_bit(way, micro):
    config = tiny_config(**way, micro_batch=micro, batch_size=16)
    config = config.model_copy(
        update={"network": {**config.network, "dropout": 0.1, "attention_levels": [0, 1]}}
    )
    first, second = (Trainer(config, tiny_data(), "cuda") for _ in range(2))
    for _ in range(4):
        first.update()
    kept = bits(first)
    for _ in range(4):
        first.update()
        second.update()
    assert same(kept, bits(second))
    third = Trainer(config, tiny_data(), "cuda")
    third.load_state(kept, 4)
    for _ in range(4):
        third.update()
    assert same(bits(first), bits(third))


@pytest.fixture
def unwaiting():
    """Within it, whatever waits for the GPU raises."""

    @contextlib.contextmanager
    def within():
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    return within


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
@pytest.mark.parametrize("free", [None, 10_000], ids=["kept", "brought"])
def test_an_update_does_not_wait(way, free, unwaiting, monkeypatch):
    monkeypatch.setattr("alphabar.training.resident.free_memory", lambda device: free)
    one, many = (Trainer(tiny_config(**way, flip=True), tiny_data(), "cuda") for _ in range(2))
    assert (many.feed.resident is None) == (free is not None)
    many.launch()
    with unwaiting():
        for _ in range(3):
            many.launch()
    assert list(many.rows()) == [one.update() for _ in range(4)]
    assert same(bits(one), bits(many))


def test_a_step_of_sampling_does_not_wait(unwaiting):
    model = tiny_denoiser().to("cuda")
    chosen = choose(model, SampleConfig(evaluations=8))
    cond = model.told({"class": [0] * 256}, 256)
    slots = Slots(model, model.shape, chosen.on_x0, "cuda")
    slots.put(*(Job(chosen.plan, i, 0, {"class": cond["class"][i]}) for i in range(256)))
    slots.step()
    with unwaiting():
        for _ in range(6):
            slots.step()
    assert len(slots.step()) == 256


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
@pytest.mark.parametrize("what", ["muon", "adamw", "micro-batches", "brought"])
def test_an_update_in_one_launch_is_that_kernel_by_kernel(way, what, monkeypatch):
    if what == "brought":
        monkeypatch.setattr("alphabar.training.resident.free_memory", lambda device: 10_000)
    micro, optimizer = 4 if what == "micro-batches" else None, "adamw" if what == "adamw" else "muon"
    config = tiny_config(**way, flip=True, micro_batch=micro, optimizer=optimizer)
    config = config.model_copy(update={"network": {**config.network, "dropout": 0.1}})
    one, many = (Trainer(config, tiny_data(), "cuda") for _ in range(2))
    many.updates.recordable = False
    for _ in range(5):
        assert one.update() == many.update()
    assert one.updates.recorded is not None
    assert many.updates.recorded is None
    assert same(bits(one), bits(many))


class Drawing(torch.nn.Module):
    """A network with torch's own dropout, which may look at a number as well."""

    def __init__(self, looks):
        super().__init__()
        self.looks, self.layer = looks, torch.nn.Conv2d(1, 1, 3, padding=1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x, c_noise, cond):
        if self.looks:
            assert float(x.detach().sum()) < 1e9
        self.seen += 1
        return torch.dropout(self.layer(x), 0.5, self.training)


def test_what_a_network_draws_by_torch_is_new_in_each_launch_and_the_same_again():
    trainers = [Trainer(tiny_config(), tiny_data(), "cuda", net=Drawing(False)) for _ in range(3)]
    one, other, kernels = trainers
    kernels.updates.recordable = False
    rows = [one.update() for _ in range(5)]
    assert rows == [other.update() for _ in range(5)]
    assert len({row["loss"] for row in rows}) == 5
    assert rows == [kernels.update() for _ in range(5)]
    assert one.updates.recorded is not None
    assert float(one.model.net.seen) == float(kernels.model.net.seen) == 5


def test_a_network_that_looks_at_its_numbers_is_launched_kernel_by_kernel():
    trainer = Trainer(tiny_config(), tiny_data(), "cuda", net=Drawing(True))
    with pytest.warns(UserWarning, match="can't be recorded as a CUDA graph"):
        trainer.update()
    assert float(trainer.model.net.seen) == 1
    torch.cuda.synchronize()
    assert trainer.update()["step"] == 2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "shape", [(3, 64, 16, 16), (2, 96, 5, 7), (2, 32, 64, 64), (2, 64, 4, 6, 5)], ids=str
)
def test_a_norm_by_a_kernel_is_torchs_own(shape, precision):
    pytest.importorskip("triton")
    assert can_be_built(torch.device("cuda"))
    dtype, layout = getattr(torch, precision), LAYOUTS[len(shape)]
    made = torch.Generator().manual_seed(0)
    x, dy = (torch.randn(shape, generator=made) * 2 + 1 for _ in range(2))
    told = [torch.randn(shape[:2], generator=made) for _ in range(2)]
    norm = torch.nn.GroupNorm(32, shape[1], eps=1e-6)
    for weight in norm.parameters():
        torch.nn.init.normal_(weight, 1.0, generator=made)
    for silu in (True, False):
        for each in (told, []):
            found = []
            for device, kind in (("cpu", torch.float64), ("cuda", dtype)):
                here = [t.to(device, kind).requires_grad_() for t in (x, *each)]
                here[0] = here[0].detach().to(memory_format=layout).requires_grad_()
                own = copy.deepcopy(norm).to(device, kind)
                y = normalized(here[0], own, silu, *here[1:])
                assert (device == "cuda") == ("GroupNormSiLU" in str(y.grad_fn))
                y.backward(dy.to(device, kind))
                found.append([y, *(t.grad for t in (*here, *own.parameters()))])
            for a, b in zip(*found):
                far = (a - b.cpu().double()).norm() / a.norm()
                assert far < (1e-5 if precision == "float32" else 0.02)


def test_networks_calls_that_are_recorded_are_those_kernel_by_kernel():
    model = tiny_denoiser().to("cuda").in_precision("bfloat16")
    assert isinstance(model.call, Replayed)
    x, t = torch.randn(8, 1, 8, 8, device="cuda"), np.linspace(1, 90, 8)
    cond = model.told({"class": [0] * 8}, 8)
    with torch.no_grad():
        drawn = [model(x * i, t, cond) for i in (1, 2, 3)]
        assert None not in model.call.known.values()
        model.call = call_network
        assert all(torch.equal(model(x * i, t, cond), drawn[i - 1]) for i in (1, 2, 3))


def test_a_compiled_network_trains_to_about_the_same(float32):
    pytest.importorskip("triton")
    plain, compiled = (Trainer(tiny_config(compile=c), tiny_data(), "cuda") for c in (None, "default"))
    for _ in range(3):
        assert compiled.update()["loss"] == pytest.approx(plain.update()["loss"], rel=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_sample_does_not_depend_on_its_neighbors(precision):
    model = tiny_denoiser().to("cuda")
    settings = {"sampler": "ddpm", "evaluations": 5, "precision": precision, "seed": 3}
    many = sample(model, 300, **settings).images  # more than one batch
    for i in (0, 5, 299):
        assert np.array_equal(sample(model, indices=[i], **settings).images[0], many[i])


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_each_sampler_draws_what_the_cpu_draws(name, float32):
    here, there = both()
    drawn = [sample(m, 5, sampler=name, evaluations=8, precision="float32").images for m in (here, there)]
    difference = np.abs(drawn[0].astype(float) - drawn[1])
    assert difference.max() <= 1  # of 255: rounding


def test_edits_are_those_of_the_cpu(float32):
    here, there = both()
    images = tiny_data().images[:3]
    known = np.zeros((1, 8, 8), bool)
    known[:, :, :4] = True
    small = downscaled((1, 8, 8), 2)
    for made in (
        lambda m: vary(m, images, t=50, cond={"class": "left"})[0].images,
        lambda m: encode(m, images),
        lambda m: restore(m, Known(known), images[0], n=2)[0].images,
        lambda m: restore(m, small, measure(small, images[:1])[0], n=2)[0].images,
    ):
        a, b = np.asarray(made(here), float), np.asarray(made(there), float)
        assert np.abs(a - b).max() <= (1 if a.max() > 20 else 1e-3)


def test_measures_are_those_of_the_cpu(float32):
    data, (here, there) = tiny_data(), both()
    for measured in (
        lambda m: error_by_noise_level(m, data, n=8).training,
        lambda m: variational_bound(m, data.images[:4], {"class": data.values["class"][:4]}).bits_per_dim,
        lambda m: ode_likelihood(m, data.images[:2], steps=4, exact=True).bits_per_dim,
        lambda m: ode_likelihood(m, data.images[:2], steps=4, exact=False).bits_per_dim,
    ):
        assert np.asarray(measured(there)) == pytest.approx(np.asarray(measured(here)), rel=1e-3)


def test_the_program_from_data_to_report(tmp_path):
    def alphabar(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "alphabar", *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    pictures(tmp_path / "pictures", 40)
    alphabar("train", "pictures", "--out", "run", "--images", "160", *TINY, "--device", "cuda")
    assert next(load(tmp_path / "run").net.parameters()).device.type == "cuda"
    alphabar("sample", "run", "-n", "4", "--steps", "5", "--out", "samples")
    alphabar("sample", "run", "-n", "4", "--steps", "5", "--out", "again")
    assert (tmp_path / "samples/000003.png").read_bytes() == (tmp_path / "again/000003.png").read_bytes()
    assert json.loads((tmp_path / "samples/samples.json").read_text())
    alphabar("report", "run", "-n", "20")


def test_too_little_memory_is_a_message(tmp_path, refused):
    pictures(tmp_path / "pictures", 4, side=32)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.01)
    try:
        command = ["train", tmp_path / "pictures", "--out", tmp_path / "run", "--images", "100000", *TINY]
        assert "out of memory; " in refused(*command, "--batch", "2048", "--device", "cuda", news=2)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
