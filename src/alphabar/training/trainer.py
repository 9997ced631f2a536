"""One training update, and the state that decides the next one."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .. import rng
from ..data.dataset import Dataset
from ..model.denoiser import Denoiser, call_network
from ..model.devices import compiled, keep_memory, layout_of
from ..model.file import AVERAGED
from ..model.generators import seeded
from ..model.memory import check_memory
from ..nn import build_network
from ..theory.schedule import Schedule
from ..world import ALONE, World
from .config import TrainConfig
from .distributed import Reducer, at_once, is_exact
from .feed import Feed
from .fitted import conditions_told, fitted_to
from .gradient import Gradient
from .optimizer import make_optimizers
from .pending import Diverged, Pending
from .recompute import recompute
from .sharding import Sharding, shard_of, whole
from .updates import Updates

UPDATE, LOAD, SAVE, COLLECT = "update", "load", "save", "collect"
"""What the first of several processes tells the others, with the number of updates done."""


class Trainer:
    """A model in training: network, average (EMA), optimizers and the number of updates done.

    `update` makes one; what it does is a function of this state, the configuration and the data alone. That
    includes what a network draws from torch's own generators, such as the masks of `torch.nn.Dropout`: for
    each micro-batch they are set by (seed, update, place of its first image). So these draws change with the
    cut into micro-batches, as the statistics of a batch norm do; the masks of `alphabar.nn.Dropout` don't.
    Where an update is recorded as one launch (`Updates`), they are set once for all of its micro-batches.

    Args:
        config: the settings.
        data: what to train on.
        device: where the network is.
        net: a network to train instead of the one that `config.network` describes.
        world: the processes that train it together, each with such a trainer. Each batch is cut into
            `config.virtual_processes` parts, of which each has as many; their gradients are added up as a
            `Tree`, so that their number doesn't matter.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: Dataset,
        device: str = "cpu",
        net: nn.Module | None = None,
        world: World = ALONE,
    ) -> None:
        self.config, self.data, self.world, self.step = config, data, world, 0
        self.device = torch.device(device)
        keep_memory(self.device)
        if config.balanced:
            data.balanced_indices(0, 0, 1)  # raises without classes
        conditions = conditions_told(config, data)
        shapes = {name: condition.shape for name, condition in conditions.items()}
        codec, scales, _ = fitted_to(data)
        if net is None:
            net = initial_network(config, codec.shape, shapes)
        if world:
            net.load_state_dict(dict(world.shared(net.state_dict())))
        schedule = Schedule.from_dict(config.schedule, advise=False)
        self.model = Denoiser(net, schedule, config.prediction, codec, conditions).to(self.device)
        self.model.scales = scales
        self.model.precision = "float32" if config.precision == "auto" else config.precision
        if config.recompute and not (world and config.sharded):
            recompute(net)
        check_memory(self.model, at_once(config, world.size), training=True)
        self.layout = torch.contiguous_format
        if config.channels_last:
            self.layout = layout_of(codec.shape)
            self.model.net.to(memory_format=self.layout)  # pyright: ignore[reportCallIssue]
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        if config.compile:
            self.model.call = compiled(call_network, config.compile, self.device)
        self.sharding, self._collected = self._shard() if world and config.sharded else None, -1
        self.parameters = dict(self.model.net.named_parameters())
        self.averages: dict[str, Tensor] = dict(self.ema.net.named_parameters())
        if self.sharding is not None:
            self.averages = {name: weight.detach().clone() for name, weight in self.parameters.items()}
        self.optimizers: dict[str, Any] = {**make_optimizers(config, self.model.net)}
        self.rate = 0.0
        self.feed = Feed(config, data, self.model, self.device, world.share_of(config.batch_size))
        self.inputs = self.feed.inputs
        reducer = self.sharding
        if reducer is None and world and not is_exact(config):
            reducer = Reducer(self.model)
        gradient = Gradient(config, self.model, self.feed, self.layout, world, reducer)
        self.updates = Updates(gradient, self.ema, self.optimizers, self.parameters, self.averages)
        self.begun: deque[Pending] = deque()

    def _shard(self) -> Sharding:
        """Cut the network into shards; the first process alone keeps a whole average, `collect`ed at times.

        ValueError with a compiler, which wants whole weights.
        """
        if self.config.compile:
            raise ValueError("a network in shards is not compiled: leave compile out, or sharded")
        if self.world.rank:
            self.ema.net.to("meta")
        found = Sharding(self.model, self.world)
        if self.config.recompute:
            recompute(self.model.net, sharded=True)
        return found

    @property
    def images(self) -> int:
        """Images trained on so far."""
        return self.step * self.config.batch_size

    def update(self, rate: float | None = None) -> dict[str, Any]:
        """One update, on batch `step`; a row of metrics.

        The batch is worked through in micro-batches whose gradients add up to that of the mean
        over the whole batch; rate, clipping and average happen once. Raises Diverged, with weights and
        average unchanged, if the loss or the gradient is not finite.

        Args:
            rate: the learning rate; unless given, the configuration's for a run of unknown length.
        """
        self.launch(rate)
        *_, row = self.rows()
        return row

    def launch(self, rate: float | None = None) -> None:
        """Begin an update, whose metrics `rows` has; nothing here waits for a device that is apart.

        There an update whose loss or gradient is not finite, and each one after it, changes nothing.
        """
        config, k = self.config, self.step
        self.rate = config.learning_rate(self.images, None) if rate is None else rate
        self.world.tell((UPDATE, k, self.rate))
        self.begun.append(self.updates(k, self.rate))
        self.step += 1

    def rows(self, lag: int = 0) -> Iterator[dict[str, Any]]:
        """The metrics of the updates that were begun, as soon as they are known, but for the last `lag`.

        Without lag where nothing is apart. If one raises Diverged, all is as before that update.
        """
        while len(self.begun) > (lag if self.feed.apart else 0):
            first = self.begun.popleft()
            try:
                yield first.row()
            except Diverged:
                self.step = first.step - 1
                self._sound()
                raise

    def _sound(self) -> None:
        """No update is under way, and none was bad."""
        self.begun.clear()
        self.updates.sound()

    # --- the state as tensors ------------------------------------------------------------------

    def collect(self) -> None:
        """Let `ema` be the average of now, also where that is in shards."""
        if self.sharding is None or self._collected == self.step:
            return
        self.world.tell((COLLECT, self.step))
        self._collected = self.step
        there = dict(self.ema.net.named_parameters())
        with torch.no_grad():
            for name, average in self.averages.items():
                found = whole(average)
                if not self.world.rank:
                    there[name].copy_(found)

    def state(self) -> dict[str, Tensor]:
        """Everything that decides the next bit, besides configuration, data and `step`; of a network in
        shards these.
        """
        tensors = {f"net.{name}": tensor for name, tensor in self.model.net.state_dict().items()}
        averages = self.ema.net.state_dict() | ({} if self.sharding is None else self.averages)
        tensors |= {f"{AVERAGED}{name}": tensor for name, tensor in averages.items()}
        for which, optimizer in self.optimizers.items():
            for name, parameter in self.parameters.items():
                for key, value in optimizer.state.get(parameter, {}).items():
                    tensors[f"{which}.{key}.{name}"] = value
        return tensors

    def average(self) -> dict[str, Tensor]:
        """The averaged weights, whole, by their names in the state."""
        self.collect()
        return {f"{AVERAGED}{name}": tensor for name, tensor in self.ema.net.state_dict().items()}

    def load_state(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Go on from `state()` after `step` updates; of several processes, from what the first one has, of
        which the others hold one tensor at a time.

        KeyError or RuntimeError for the state of another network.
        """
        self.world.tell((LOAD, step))
        wanted = self._wanted()
        missing = {*wanted}
        for optimizer in self.optimizers.values():
            optimizer.state.clear()
        for name, tensor in self.world.shared(tensors):
            which, _, entry = name.partition(".")
            if which in self.optimizers:
                key, _, entry = entry.partition(".")
                parameter = self.parameters[entry]
                self.optimizers[which].state[parameter][key] = _like(parameter, tensor)
                continue
            missing.discard(name)
            for own in wanted[name]:
                if own.shape != tensor.shape:
                    raise RuntimeError(f"size mismatch for {name}: {[*tensor.shape]}, not {[*own.shape]}")
                own.copy_(shard_of(tensor, own))
        if missing:
            raise KeyError(", ".join(sorted(missing)))
        self.step, self._collected, self.updates.recorded = step, -1, None
        self._sound()

    def _wanted(self) -> dict[str, list[Tensor]]:
        """The tensors of the network and of its average here, by their names in the state: the first of
        several processes has the average in shards, and whole.
        """
        found = {f"net.{name}": [tensor] for name, tensor in self.model.net.state_dict().items()}
        averaged = {f"{AVERAGED}{name}": [tensor] for name, tensor in self.ema.net.state_dict().items()}
        if self.sharding is None:
            return found | averaged
        for name, whole_ones in averaged.items():
            shard = self.averages.get(name.removeprefix(AVERAGED))
            found[name] = [t for t in (shard, *whole_ones) if t is not None and not t.is_meta]
        return found


def initial_network(config: TrainConfig, shape: tuple[int, ...], conditions: dict[str, Any]) -> nn.Module:
    """The network that a configuration describes, with weights that follow from its seed."""
    with seeded(int(rng.stream(config.seed, "weights").integers(2**62)), torch.device("cpu")):
        return build_network(config.network, shape, conditions)


def _like(parameter: Tensor, saved: Tensor) -> Tensor:
    """A saved tensor on the parameter's device, in its memory layout."""
    if saved.shape != parameter.shape:
        return saved.to(parameter.device, copy=True)
    return torch.empty_like(parameter).copy_(shard_of(saved, parameter))
