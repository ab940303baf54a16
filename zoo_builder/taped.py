"""Training networks one after the other on a CPU, each from its tape, in compiled loops."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from mdbench.errors import MdbenchError
from zoo_builder import kernels
from zoo_builder.datasets import Dataset
from zoo_builder.network import Batches, Network, Trained, initialised, learning_rates
from zoo_builder.spec import TrainingSpec, ZooSpec
from zoo_builder.subsets import Subsets
from zoo_builder.tape import Memory, Tape

#: Numbers that networks put out in training before it can be interrupted: some tenths of a second.
_BLOCK = 2**27
#: Examples at a time in an evaluation.
_EVALUATION = 64


def train(
    spec: ZooSpec,
    dataset: Dataset,
    subsets: Subsets,
    networks: Sequence[Network],
    *,
    dtype: torch.dtype = torch.float32,
) -> list[Trained]:
    """Train networks of one shape and batch size; see `zoo_builder.train.train`.

    Raises
    ------
    UnknownLayerError
        They do something that the compiled loops do not know.
    MdbenchError
        A batch is too small for batch normalization.
    """
    workshop = _Workshop(spec, dataset, subsets, networks[0], dtype)
    with threadpool_limits(1, "blas"):
        return [workshop.train(one) for one in networks]


def step_seconds(spec: ZooSpec, dataset: Dataset, subsets: Subsets, networks: Sequence[Network]) -> float:
    """Return the seconds that a step of all these networks takes here, the median of a few hundredths of a second.

    Raises
    ------
    UnknownLayerError, MdbenchError
        As in `train`.
    """
    workshop = _Workshop(spec, dataset, subsets, networks[0], torch.float32)
    run = _Run(workshop, networks[-1])
    taken: list[float] = []
    steps = 1
    with threadpool_limits(1, "blas"):
        run.advance(steps)
        while len(taken) < 5:
            begun = time.perf_counter()
            run.advance(steps)
            taken.append((time.perf_counter() - begun) / steps)
            if taken[-1] * steps < 0.01:
                taken, steps = [], 2 * steps
    return len(networks) * float(np.median(taken))


class _Workshop:
    """What networks of one shape and batch size are trained with."""

    def __init__(self, spec: ZooSpec, dataset: Dataset, subsets: Subsets, network: Network, dtype: torch.dtype) -> None:
        self.spec, self.dataset, self.subsets = spec, dataset, subsets
        self.tape = Tape(initialised(spec, dataset, network), dataset.shape)
        if self.tape.fewest is not None and self.tape.fewest * network.batch_size < 2:
            raise MdbenchError(
                "batch normalization cannot tell the spread of one value: "
                "the batch size must be 2 at least, or the architecture without norm"
            )
        self.dtype = torch.empty(0, dtype=dtype).numpy().dtype
        self.memory = Memory(self.tape, network.batch_size, self.dtype)
        self.evaluation = Memory(self.tape, _EVALUATION, self.dtype)
        self.inputs, self.test_inputs = (self._laid_out(some) for some in (dataset.train_inputs, dataset.test_inputs))

    def _laid_out(self, inputs: np.ndarray) -> np.ndarray:
        """Return inputs (n, channels, …) as the kernels read them: (n, … · channels)."""
        channels_last = np.moveaxis(inputs, 1, -1).reshape(len(inputs), -1)
        return np.ascontiguousarray(channels_last, dtype=self.dtype)

    def train(self, network: Network) -> Trained:
        """Train a network and measure it."""
        begun = time.perf_counter()
        run = _Run(self, network)
        block = max(1, _BLOCK // (self.tape.size * network.batch_size))
        while run.step < network.steps:
            run.advance(min(block, network.steps - run.step))
        train_loss, train_error = run.measure(self.inputs, run.rows, run.labels)
        test_rows = np.arange(len(self.test_inputs))
        test_loss, test_error = run.measure(self.test_inputs, test_rows, self.dataset.test_labels)
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
        self._how: TrainingSpec = workshop.spec.training
        module = initialised(workshop.spec, workshop.dataset, network)
        tape, dtype = workshop.tape, workshop.dtype
        self.parameters, self.buffers = tape.parameters(module, dtype), tape.buffers(module, dtype)
        self._velocity, self._gradient = np.zeros_like(self.parameters), np.zeros_like(self.parameters)
        self.rows = workshop.subsets.examples(network.data_fraction).astype(np.int64)
        self.labels = workshop.subsets.labels(workshop.dataset.train_labels, network.label_noise)[self.rows]
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
            learning_rates(network, self._how, self.step, self.step + steps),
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
        workshop, memory = self._workshop, self._workshop.evaluation
        loss, wrong = kernels.evaluate(
            workshop.tape.values,
            workshop.tape.steps,
            self.parameters,
            self.buffers,
            memory.arena,
            memory.saved,
            memory.scratch,
            inputs,
            rows,
            labels,
            memory.batch,
        )
        return loss / len(rows), 100 * wrong / len(rows)
