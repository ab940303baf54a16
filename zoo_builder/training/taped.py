"""Training networks one after the other on a CPU, each from its tape, in compiled loops."""

import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from mdbench.errors import MdbenchError
from zoo_builder.specification import (
    LOSSES,
    Batches,
    Dataset,
    Informed,
    Network,
    Subsets,
    Trained,
    TrainingSpec,
    ZooSpec,
    initialised,
    learning_rates,
    mixed,
    stream,
)
from zoo_builder.training import kernels
from zoo_builder.training.augmentation import Draws, augmented
from zoo_builder.training.averages import STATISTICS_BATCH, epoch_ends
from zoo_builder.training.averages import weights as weights_of_average
from zoo_builder.training.errors import error_of
from zoo_builder.training.graph import ONE_VALUE, UnknownLayerError
from zoo_builder.training.layerwise import Balance
from zoo_builder.training.learning import Learning, recipe_of
from zoo_builder.training.losses import loss_of
from zoo_builder.training.probe import Answers, Probe, tried_loss
from zoo_builder.training.tape import Memory, Tape

#: Numbers put out and multiplied before training or measuring can be interrupted: some tenths of a second.
_BLOCK = 2**28
#: Most steps in such a block.
_STEPS = 4096
#: Examples at a time in an evaluation, and numbers that the network may put out for them.
_EVALUATION, _PUT_OUT = 64, 2**24
#: Numbers of augmented examples that are laid out at once.
_LAID_OUT = 2**22
#: Seconds of timed steps that are enough.
_LONG = 1.0
#: How a network is tried.
_NO_STEP = TrainingSpec(momentum=0)


def train(
    spec: ZooSpec,
    dataset: Dataset,
    subsets: Subsets,
    networks: Sequence[Network],
    *,
    dtype: torch.dtype = torch.float32,
) -> list[Trained]:
    """Train networks of one shape and batch size; see `zoo_builder.training.train`.

    Raises
    ------
    UnknownLayerError
        They do something that the compiled loops do not know.
    MdbenchError
        A batch is too small for batch normalization.
    """
    if not knows(dataset, networks[0]):
        raise UnknownLayerError
    workshop = _Workshop(spec, dataset, subsets, networks[0], dtype)
    with threadpool_limits(1, "blas"):
        return [workshop.train(one) for one in networks]


def step_seconds(
    spec: ZooSpec,
    dataset: Dataset,
    subsets: Subsets,
    network: Network,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the seconds that a step of a network takes here, by some clock, the median of a few hundredths of a second.

    Where a step takes a second, one says enough.

    Raises
    ------
    UnknownLayerError, MdbenchError
        As in `train`.
    """
    if not knows(dataset, network):
        raise UnknownLayerError
    run = _Run(_Workshop(spec, dataset, subsets, network, torch.float32), network)
    taken: list[float] = []
    steps = 1
    with threadpool_limits(1, "blas"):
        run.advance(steps)
        while len(taken) < 5 and sum(taken) < _LONG:
            begun = clock()
            run.advance(steps)
            taken.append((clock() - begun) / steps)
            if taken[-1] * steps < 0.01:
                taken, steps = [], 2 * steps
    return float(np.median(taken))


def write(
    network: nn.Module, shape: tuple[int, ...], dtype: torch.dtype = torch.float32, *, lasting: bool = False
) -> Tape:
    """Return a network's tape, after trying whether the loops compute from it what the network does.

    Parameters
    ----------
    network, shape, lasting : see `zoo_builder.training.tape.Tape`.
    dtype : what to compute in.

    Raises
    ------
    UnknownLayerError
        The network does something that the compiled loops do not know, or is to be trained in another precision; or Numba
        is told not to compile.
    """
    if dtype not in (torch.float32, torch.float64) or not _compiles():
        raise UnknownLayerError
    tape = Tape(network, shape, lasting=lasting)
    probe = Probe.of(network, shape, dtype, tape.vocabulary)
    if tape.sides and tape.channels == 1:
        raise UnknownLayerError  # no class at any position
    inputs, batch = _laid_out(network, probe.inputs.to(dtype).numpy()), len(probe.labels)
    parameters, buffers = tape.parameters(network, inputs.dtype), tape.buffers(network, inputs.dtype)
    gradient, loss = np.zeros_like(parameters), np.empty(1, inputs.dtype)
    memory, rows = Memory(tape, batch, inputs.dtype), np.arange(batch)
    loss_name = "mse" if tape.channels == 1 else ("per_position" if tape.sides else "cross_entropy")
    recipe = recipe_of(_NO_STEP, loss_name, 0.0)
    learning = Learning.of(recipe, tape, parameters, buffers)
    taught = _labels_laid_out(probe.labels.numpy()[None]), np.ones((1, batch, 1), inputs.dtype)
    keys = np.zeros((1, len(tape.drops)), np.uint64)  # as those of the network that was asked
    room = (memory.arena, memory.saved, memory.scratch)
    with threadpool_limits(1, "blas"):
        network_of: tuple[Any, ...] = (tape.values, tape.steps, parameters, learning.moments, gradient, buffers)
        kernels.train(
            *(*network_of, *room, inputs, rows[None], *taught),
            *(np.zeros(1), *learning.arrays, np.zeros(1), learning.aside, keys, 0, loss),
        )
        put_out = _room_for_outputs(tape, batch, inputs.dtype)
        kernels.logits(tape.values, tape.steps, parameters, buffers, *room, inputs, memory.batch, tape.exit, put_out)
    later = tried_loss(_outputs(tape, put_out).double(), probe.labels).item()
    state = tape.state(gradient, buffers, 1)
    gradients = {name: value for name, value in state.items() if name in probe.answers.gradients}
    own_buffers = {name: value for name, value in state.items() if name in probe.answers.buffers}
    own_buffers |= {f"{name}.key": torch.zeros(()) for name in tape.drops}
    probe.check(Answers((float(loss[0]), later), gradients, own_buffers))
    return tape


def knows(dataset: Dataset, network: Network) -> bool:
    """Tell whether the compiled loops know how a network is trained, whatever its layers."""
    return network.how.loss in (None, LOSSES[dataset.kind])


@cache
def _compiles() -> bool:
    """Tell whether Numba compiles; where it does not, warn once."""
    from numba import config  # a while to import, and other devices do without

    off = bool(config.DISABLE_JIT)  # type: ignore[attr-defined]
    if off:
        warnings.warn("PyTorch computes instead of compiled loops, which need NUMBA_DISABLE_JIT unset", stacklevel=1)
    return not off


def _laid_out(network: nn.Module, inputs: np.ndarray) -> np.ndarray:
    """Return a network's inputs (n, channels, …) as the kernels read them: (n, … · channels)."""
    if isinstance(network, Informed):
        return network.equation.weighed(inputs).astype(inputs.dtype)
    return np.ascontiguousarray(np.moveaxis(inputs, 1, -1).reshape(len(inputs), -1))


def _labels_laid_out(labels: np.ndarray) -> np.ndarray:
    """Return classes (steps, B, …) as the kernels read them: (steps, … · B)."""
    return np.ascontiguousarray(np.moveaxis(labels, 1, -1).reshape(len(labels), -1))


def _room_for_outputs(tape: Tape, examples: int, dtype: np.dtype) -> np.ndarray:
    """Return an array that the kernels write outputs to: (n, … · channels)."""
    return np.empty((examples, int(np.prod(tape.sides, dtype=int)) * tape.channels), dtype)


def _outputs(tape: Tape, written: np.ndarray) -> Tensor:
    """Return what they wrote as a network does: (n, channels, …)."""
    return torch.from_numpy(written).view(len(written), *tape.sides, tape.channels).movedim(-1, 1)


class _Workshop:
    """What networks of one kind are trained with."""

    def __init__(self, spec: ZooSpec, dataset: Dataset, subsets: Subsets, network: Network, dtype: torch.dtype) -> None:
        self.spec, self.dataset, self.subsets = spec, dataset, subsets
        self.module = initialised(spec, dataset, network)
        self.tape = write(self.module, dataset.shape, dtype)
        if bool(self.tape.sides) != (dataset.kind == "positions") or self.tape.vocabulary != dataset.vocabulary:
            raise UnknownLayerError
        if self.tape.fewest is not None and self.tape.fewest * network.batch_size < 2:
            raise MdbenchError(ONE_VALUE)
        self.dtype = torch.empty(0, dtype=dtype).numpy().dtype
        self.memory = Memory(self.tape, network.batch_size, self.dtype)
        at_once = min(_EVALUATION, max(1, _PUT_OUT // self.tape.outputs))
        self.evaluation = Memory(self.tape, at_once, self.dtype, training=False)
        self.train_inputs = dataset.train_inputs.astype(self.dtype, copy=False)
        self.inputs = _laid_out(self.module, self.train_inputs)
        self.test_inputs = _laid_out(self.module, dataset.test_inputs.astype(self.dtype, copy=False))
        self.asked = None
        if dataset.equation is not None:
            asked, solution = dataset.asked
            self.asked = _laid_out(self.module, asked.astype(self.dtype, copy=False)), solution
        how = network.how
        self.plain = dataset.kind == "classes" and not how.label_smoothing and not how.class_weights
        self.loss = loss_of(how, dataset)
        self.balance = None if how.layerwise is None else Balance(self.module, how.layerwise)

    def block(self, times: int) -> int:
        """Return how many examples may go through the network, so many times each, before an interruption is heard."""
        return max(1, _BLOCK // (times * (self.tape.outputs + self.tape.multiplications // 4)))

    def train(self, network: Network) -> Trained:
        """Train a network and measure it."""
        begun = time.perf_counter()
        run = _Run(self, network)
        times = 6 if network.how.sharpness is not None else 3
        block = min(_STEPS, max(1, self.block(times) // network.batch_size))
        if network.how.augmentation is not None:  # whose examples are laid out for all steps of a block
            block = min(block, max(1, _LAID_OUT // (network.batch_size * self.inputs.shape[1])))
        run.pause()
        while run.step < network.steps:
            until = min(stop for stop in run.stops if stop > run.step)
            while run.step < until:
                run.advance(min(block, until - run.step))
            run.pause()
        run.finish()
        train_loss, train_error = run.measure(self.inputs, run.rows, run.targets)
        if self.asked is not None:
            inputs, solution = self.asked
            _, train_error = run.measure(inputs, run.rows, solution[run.rows])
        test_rows = np.arange(len(self.test_inputs))
        test_loss, test_error = run.measure(self.test_inputs, test_rows, self.dataset.test_targets)
        if run.diverged_at is None and not np.isfinite(train_loss + test_loss):
            run.diverged_at = network.steps
        return Trained(
            network=network,
            state=self.tape.state(run.parameters, run.buffers, network.steps),
            parameters=len(run.parameters),
            train_loss=train_loss,
            train_error=train_error,
            test_loss=test_loss,
            test_error=test_error,
            diverged_at=run.diverged_at,
            seconds=time.perf_counter() - begun,
            kept=run.kept,
        )


class _Run:
    """A network on its way."""

    def __init__(self, workshop: _Workshop, network: Network) -> None:
        self._network, self._workshop = network, workshop
        how, dataset = network.how, workshop.dataset
        module = initialised(workshop.spec, dataset, network)
        tape, dtype = workshop.tape, workshop.dtype
        self.parameters, self.buffers = tape.parameters(module, dtype), tape.buffers(module, dtype)
        self._gradient = np.zeros_like(self.parameters)
        recipe = recipe_of(how, LOSSES[dataset.kind], network.weight_decay)
        weights = np.array(how.class_weights or [1.0] * tape.channels)
        self._learning = Learning.of(recipe, tape, self.parameters, self.buffers, weights)
        self._moves = weights_of_average(network)
        self._streams = np.array([stream(network.seed, layer) for layer in range(len(tape.drops))], np.uint64)
        self._draws = None if how.augmentation is None else Draws(how.augmentation, network.seed)
        self.rows = workshop.subsets.examples(network.data_fraction).astype(np.int64)
        self.targets = workshop.subsets.labels(dataset.train_targets, network.label_noise)[self.rows]
        self._batches = Batches(network.seed, network.examples, network.batch_size)
        self._measured = set() if how.layerwise is None else {0, *epoch_ends(network, how.layerwise.every).tolist()}
        self._measured.discard(network.steps)  # no step would be taken at these rates
        #: Steps at which there is something to do beside training.
        self.stops = {*self._measured, *how.keep, network.steps}
        self.kept: dict[int, dict[str, Tensor]] = {}
        self.step = 0
        self.diverged_at: int | None = None

    def advance(self, steps: int) -> None:
        """Train for some steps."""
        network, workshop, learning = self._network, self._workshop, self._learning
        taken = self._batches.take(steps)
        losses = np.empty(steps, workshop.dtype)
        memory, tape = workshop.memory, workshop.tape
        inputs, chosen = workshop.inputs, self.rows[taken]
        if self._draws is not None:
            inputs = self._augmented(self._draws, chosen)
            chosen = np.arange(chosen.size).reshape(chosen.shape)
        targets = self.targets[taken]
        if workshop.dataset.kind == "values":
            taught = np.empty((steps, 0), np.int64), targets.astype(workshop.dtype, copy=False)
        else:
            taught = _labels_laid_out(targets), np.empty((steps, 0, 0), workshop.dtype)
        network_of: tuple[Any, ...] = (tape.values, tape.steps, self.parameters, learning.moments, self._gradient)
        rates = learning_rates(network, self.step, self.step + steps)
        keys = mixed(self._streams, np.arange(self.step, self.step + steps)[:, None])
        moves = self._moves[self.step : self.step + steps]
        kernels.train(
            *(*network_of, self.buffers, memory.arena, memory.saved, memory.scratch, inputs, chosen, *taught),
            *(rates, *learning.arrays, moves, learning.aside, keys, self.step, losses),
        )
        bad = ~np.isfinite(losses)
        if self.diverged_at is None and bad.any():
            self.diverged_at = self.step + int(bad.argmax())
        self.step += steps

    def _augmented(self, draws: Draws, chosen: np.ndarray) -> np.ndarray:
        """Return the examples of the next steps, changed, as the kernels read them."""
        places = draws.places(self.step, self.step + len(chosen), chosen.shape[1], self._workshop.dataset.shape[1:])
        seen = torch.from_numpy(self._workshop.train_inputs[chosen])
        changed = augmented(seen, [torch.from_numpy(place) for place in places])
        return _laid_out(self._workshop.module, changed.flatten(0, 1).numpy())

    def pause(self) -> None:
        """Keep what is to be kept of this step, and measure the layers where it is time."""
        workshop = self._workshop
        if self.step in self._network.how.keep:
            self.kept[self.step] = workshop.tape.state(self.parameters, self.buffers, self.step)
        if workshop.balance is not None and self.step in self._measured:
            weights = workshop.tape.some(workshop.balance.weights, self.parameters)
            found = workshop.balance.factors({name: value[None] for name, value in weights.items()})
            workshop.tape.write({name: values[0] for name, values in found.items()}, self._learning.factors)

    def finish(self) -> None:
        """Put the average over the way in the place of the parameters, with statistics of normalization that are its own."""
        if self._network.how.average is None:
            return
        workshop, tape = self._workshop, self._workshop.tape
        self.parameters = self._learning.average
        if tape.fewest is None:  # there is no such normalization
            return
        memory = Memory(tape, min(STATISTICS_BATCH, len(self.rows)), workshop.dtype, training=False)
        steps = tape.steps.copy()
        steps["momentum"] = 1
        kernels.statistics(
            *(tape.values, steps, self.parameters, np.empty_like(self.buffers)),
            *(memory.arena, memory.saved, memory.scratch),
            *(workshop.inputs[self.rows], memory.batch, self.buffers),
        )

    def measure(self, inputs: np.ndarray, rows: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
        """Return mean loss and error (%) on some examples, in evaluation mode."""
        if not self._workshop.plain:
            return self._measure_any(inputs, rows, targets)
        workshop, memory, tape = self._workshop, self._workshop.evaluation, self._workshop.tape
        room = (memory.arena, memory.saved, memory.scratch)
        total, errors = 0.0, 0
        for start in range(0, len(rows), block := workshop.block(1)):
            some = slice(start, start + block)
            loss, wrong = kernels.evaluate(
                *(tape.values, tape.steps, self.parameters, self.buffers, *room, inputs),
                *(rows[some], targets[some], memory.batch),
            )
            total, errors = total + loss, errors + wrong
        return total / len(rows), 100 * errors / len(rows)

    def _measure_any(self, inputs: np.ndarray, rows: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
        """Return the same for any loss and kind of data."""
        workshop, memory, tape = self._workshop, self._workshop.evaluation, self._workshop.tape
        put_out = _room_for_outputs(tape, len(rows), workshop.dtype)
        network_of: tuple[Any, ...] = (tape.values, tape.steps, self.parameters, self.buffers)
        for start in range(0, len(rows), block := workshop.block(1)):
            some = slice(start, start + block)
            seen: tuple[Any, ...] = (inputs[rows[some]], memory.batch, tape.exit, put_out[some])
            kernels.logits(*(*network_of, memory.arena, memory.saved, memory.scratch, *seen))
        kind, middle = workshop.dataset.kind, None
        outputs, known = _outputs(tape, put_out).movedim(0, -1)[None], torch.from_numpy(targets).movedim(0, -1)[None]
        if kind == "values":
            middle, known = torch.from_numpy(workshop.dataset.middle), known.to(outputs.dtype)
        total, weight = workshop.loss.parts(outputs, known)
        return float(total.double().sum() / weight.double().sum()), float(error_of(kind, outputs, known, middle))
