"""Training networks one after the other on a CPU, each from its tape, in compiled loops."""

import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from mdbench.errors import MdbenchError
from zoo_builder.specification import (
    Batches,
    Dataset,
    Network,
    Subsets,
    Trained,
    TrainingSpec,
    ZooSpec,
    initialised,
    learning_rates,
)
from zoo_builder.training import kernels
from zoo_builder.training.graph import ONE_VALUE, UnknownLayerError
from zoo_builder.training.probe import Answers, Probe
from zoo_builder.training.tape import Memory, Tape

#: Numbers put out and multiplied before training or measuring can be interrupted: some tenths of a second.
_BLOCK = 2**28
#: Most steps in such a block.
_STEPS = 4096
#: Examples at a time in an evaluation, and numbers that the network may put out for them.
_EVALUATION, _PUT_OUT = 64, 2**24

#: What the compiled loops do not do.
_UNKNOWN = (
    "optimizer",
    "nesterov",
    "dampening",
    "sharpness",
    "layerwise",
    "clip",
    "average",
    "label_smoothing",
    "class_weights",
    "augmentation",
    "keep",
)


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
        while len(taken) < 5:
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
    probe = Probe.of(network, shape, dtype)
    inputs, labels = _laid_out(probe.inputs.numpy()), probe.labels.numpy()
    parameters, buffers = tape.parameters(network, inputs.dtype), tape.buffers(network, inputs.dtype)
    gradient, loss = np.zeros_like(parameters), np.empty(1, inputs.dtype)
    memory, rows = Memory(tape, len(labels), inputs.dtype), np.arange(len(labels))
    train_with = (tape.values, tape.steps, parameters, np.zeros_like(parameters), gradient, buffers)
    room = (memory.arena, memory.saved, memory.scratch)
    with threadpool_limits(1, "blas"):
        kernels.train(*train_with, *room, inputs, rows[None], labels[None], np.zeros(1), 0.0, 0.0, loss)
        later, _ = kernels.evaluate(
            tape.values, tape.steps, parameters, buffers, *room, inputs, rows, labels, memory.batch
        )
    state = tape.state(gradient, buffers, 1)
    gradients = {name: value for name, value in state.items() if name in probe.answers.gradients}
    own_buffers = {name: value for name, value in state.items() if name in probe.answers.buffers}
    probe.check(Answers((float(loss[0]), later / len(labels)), gradients, own_buffers))
    return tape


def knows(dataset: Dataset, network: Network) -> bool:
    """Tell whether the compiled loops know how a network is trained."""
    ours = {name: value for name, value in TrainingSpec() if name in _UNKNOWN}
    plain = dataset.kind == "classes" and network.how.loss in (None, "cross_entropy")
    return plain and all(getattr(network.how, name) == value for name, value in ours.items())


@cache
def _compiles() -> bool:
    """Tell whether Numba compiles; where it does not, warn once."""
    from numba import config  # a while to import, and other devices do without

    off = bool(config.DISABLE_JIT)  # type: ignore[attr-defined]
    if off:
        warnings.warn("PyTorch computes instead of compiled loops, which need NUMBA_DISABLE_JIT unset", stacklevel=1)
    return not off


def _laid_out(inputs: np.ndarray) -> np.ndarray:
    """Return inputs (n, channels, …) as the kernels read them: (n, … · channels)."""
    return np.ascontiguousarray(np.moveaxis(inputs, 1, -1).reshape(len(inputs), -1))


class _Workshop:
    """What networks of one shape and batch size are trained with."""

    def __init__(self, spec: ZooSpec, dataset: Dataset, subsets: Subsets, network: Network, dtype: torch.dtype) -> None:
        self.spec, self.dataset, self.subsets = spec, dataset, subsets
        self.tape = write(initialised(spec, dataset, network), dataset.shape, dtype)
        if self.tape.fewest is not None and self.tape.fewest * network.batch_size < 2:
            raise MdbenchError(ONE_VALUE)
        self.dtype = torch.empty(0, dtype=dtype).numpy().dtype
        self.memory = Memory(self.tape, network.batch_size, self.dtype)
        at_once = min(_EVALUATION, max(1, _PUT_OUT // self.tape.outputs))
        self.evaluation = Memory(self.tape, at_once, self.dtype, training=False)
        self.inputs, self.test_inputs = (
            _laid_out(some.astype(self.dtype, copy=False)) for some in (dataset.train_inputs, dataset.test_inputs)
        )

    def block(self, times: int) -> int:
        """Return how many examples may go through the network, so many times each, before an interruption is heard."""
        return max(1, _BLOCK // (times * (self.tape.outputs + self.tape.multiplications // 4)))

    def train(self, network: Network) -> Trained:
        """Train a network and measure it."""
        begun = time.perf_counter()
        run = _Run(self, network)
        block = min(_STEPS, max(1, self.block(3) // network.batch_size))
        while run.step < network.steps:
            run.advance(min(block, network.steps - run.step))
        train_loss, train_error = run.measure(self.inputs, run.rows, run.labels)
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
        )


class _Run:
    """A network on its way."""

    def __init__(self, workshop: _Workshop, network: Network) -> None:
        self._network, self._workshop = network, workshop
        self._how = network.how
        module = initialised(workshop.spec, workshop.dataset, network)
        tape, dtype = workshop.tape, workshop.dtype
        self.parameters, self.buffers = tape.parameters(module, dtype), tape.buffers(module, dtype)
        self._velocity, self._gradient = np.zeros_like(self.parameters), np.zeros_like(self.parameters)
        self.rows = workshop.subsets.examples(network.data_fraction).astype(np.int64)
        self.labels = workshop.subsets.labels(workshop.dataset.train_targets, network.label_noise)[self.rows]
        self._batches = Batches(network.seed, network.examples, network.batch_size)
        self.step = 0
        self.diverged_at: int | None = None

    def advance(self, steps: int) -> None:
        """Train for some steps."""
        network, workshop = self._network, self._workshop
        taken = self._batches.take(steps)
        losses = np.empty(steps, workshop.dtype)
        memory = workshop.memory
        kernels.train(
            workshop.tape.values,
            workshop.tape.steps,
            self.parameters,
            self._velocity,
            self._gradient,
            self.buffers,
            memory.arena,
            memory.saved,
            memory.scratch,
            workshop.inputs,
            self.rows[taken],
            self.labels[taken],
            learning_rates(network, self.step, self.step + steps),
            self._how.momentum,
            network.weight_decay,
            losses,
        )
        bad = ~np.isfinite(losses)
        if self.diverged_at is None and bad.any():
            self.diverged_at = self.step + int(bad.argmax())
        self.step += steps

    def measure(self, inputs: np.ndarray, rows: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        """Return mean loss (nats) and error (%) on some examples, in evaluation mode."""
        workshop, memory, tape = self._workshop, self._workshop.evaluation, self._workshop.tape
        room = (memory.arena, memory.saved, memory.scratch)
        total, errors = 0.0, 0
        for start in range(0, len(rows), block := workshop.block(1)):
            some = slice(start, start + block)
            loss, wrong = kernels.evaluate(
                tape.values,
                tape.steps,
                self.parameters,
                self.buffers,
                *room,
                inputs,
                rows[some],
                labels[some],
                memory.batch,
            )
            total, errors = total + loss, errors + wrong
        return total / len(rows), 100 * errors / len(rows)
