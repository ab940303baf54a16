"""Training networks as a stack, by PyTorch's own operators."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from zoo_builder.specification import Batches, Dataset, Network, Subsets, Trained, ZooSpec, initialised, learning_rates
from zoo_builder.training.operators import Descent, cross_entropy, gather
from zoo_builder.training.stack import Stack

#: Steps whose batches are drawn and brought to the device at once.
_BLOCK = 64
#: Numbers that one layer's output may have in an evaluation; bounds its memory.
_EVALUATION = 2**20


class Examples:
    """A data set on a device.

    Attributes
    ----------
    inputs : training inputs (n, …).
    labels : noise level in % → training labels (n,), int64.
    order : training examples in the order in which data fractions take them, (n,).
    test_inputs : (…, m), the examples last.
    test_labels : (m,).
    """

    def __init__(
        self,
        dataset: Dataset,
        subsets: Subsets,
        noises: Sequence[float],
        device: str | torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.inputs = torch.from_numpy(dataset.train_inputs).to(device, dtype)
        self.labels = {
            noise: torch.from_numpy(subsets.labels(dataset.train_targets, noise)).to(device) for noise in set(noises)
        }
        self.order = torch.from_numpy(subsets.order.astype(np.int64)).to(device)
        self.test_inputs = torch.from_numpy(dataset.test_inputs).to(device, dtype).movedim(0, -1).contiguous()
        self.test_targets = torch.from_numpy(dataset.test_targets).to(device)


def train(
    spec: ZooSpec,
    dataset: Dataset,
    subsets: Subsets,
    networks: Sequence[Network],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> list[Trained]:
    """Train networks of one shape and batch size together; see `zoo_builder.training.train`."""
    run = _Run(spec, dataset, subsets, networks, device, dtype)
    trained: dict[str, Trained] = {}
    while run.networks:
        run.advance(min(one.steps for one in run.networks))
        for one in run.leave():
            trained[one.network.name] = one
    return [trained[one.name] for one in networks]


def step_seconds(
    spec: ZooSpec, dataset: Dataset, subsets: Subsets, networks: Sequence[Network], device: str | torch.device
) -> tuple[float, float]:
    """Return the seconds that a step of this stack takes here: for the step itself, and for each network."""
    most, few = len(networks), max(1, len(networks) // 4)
    whole = _whole_step_seconds(spec, dataset, subsets, networks, device)
    if most == few:
        return 0.0, whole / most
    part = _whole_step_seconds(spec, dataset, subsets, networks[:few], device)
    each = max(0.0, (whole - part) / (most - few))
    return max(0.0, whole - most * each), each


def _whole_step_seconds(
    spec: ZooSpec, dataset: Dataset, subsets: Subsets, networks: Sequence[Network], device: str | torch.device
) -> float:
    """Return the best of a few."""
    run = _Run(spec, dataset, subsets, networks, device, torch.float32)
    run.advance(2)
    taken = []
    for until in (4, 6, 8):
        begun = time.perf_counter()
        run.advance(until)
        taken.append((time.perf_counter() - begun) / 2)
    return min(taken)


class _Run:
    """A stack on its way: the networks still in it, row for row, and what each has behind it."""

    def __init__(
        self,
        spec: ZooSpec,
        dataset: Dataset,
        subsets: Subsets,
        networks: Sequence[Network],
        device: str | torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.networks = list(networks)
        self._training = spec.training
        modules = [initialised(spec, dataset, one) for one in networks]
        self._stack = Stack(modules, dataset.shape, device, dtype)
        self._examples = examples = Examples(dataset, subsets, [one.label_noise for one in networks], device, dtype)
        self._device = examples.inputs.device
        self._velocities: list[Tensor] | None = None
        self._batches = [Batches(one.seed, one.examples, one.batch_size) for one in networks]
        self._noises = list(examples.labels)
        self._labels = torch.stack(list(examples.labels.values()))
        self._step = 0
        self._diverged_at = torch.full((len(networks),), -1, device=self._device)
        self._seconds = [0.0] * len(networks)

    def advance(self, until: int) -> None:
        """Train until this many steps are taken."""
        begun = time.perf_counter()
        parameters = list(self._stack.parameters.values())
        level = torch.tensor([self._noises.index(one.label_noise) for one in self.networks], device=self._device)
        decay = torch.tensor([one.weight_decay for one in self.networks], dtype=torch.float64, device=self._device)
        descent = Descent(parameters, self._training.momentum, decay, self._velocities)
        self._velocities = descent.velocities
        while self._step < until:
            steps = min(_BLOCK, until - self._step)
            taken = np.stack([batches.take(steps) for batches in self._batches], axis=1)
            chosen = self._examples.order[torch.from_numpy(taken).to(self._device, non_blocking=True)]
            labels = self._labels[level[:, None], chosen]
            losses = []
            for batch, wanted, rate in zip(chosen, labels, self._learning_rates(steps), strict=True):
                logits = self._stack(gather(self._examples.inputs, batch), training=True)
                loss, slope = cross_entropy(logits, wanted)
                descent.step(torch.autograd.grad(logits, parameters, slope, allow_unused=True), rate)
                losses.append(loss)
            self._note_divergence(torch.stack(losses))
            self._step += steps
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        each = (time.perf_counter() - begun) / len(self.networks)
        self._seconds = [seconds + each for seconds in self._seconds]

    def _learning_rates(self, steps: int) -> Tensor:
        rates = [learning_rates(one, self._step, self._step + steps) for one in self.networks]
        return torch.from_numpy(np.stack(rates, axis=1)).to(self._device, non_blocking=True)

    def _note_divergence(self, losses: Tensor) -> None:
        bad = ~losses.isfinite()
        first = self._step + bad.to(torch.int8).argmax(0)
        self._diverged_at = torch.where((self._diverged_at < 0) & bad.any(0), first, self._diverged_at)

    def leave(self) -> list[Trained]:
        """Measure the networks that have taken all their steps, and let them leave the stack."""
        going = [row for row, one in enumerate(self.networks) if one.steps == self._step]
        staying = [row for row in range(len(self.networks)) if row not in set(going)]
        finished = self._finish(going)
        if staying:
            rows = torch.tensor(staying, device=self._device)
            self._stack = self._stack.part(rows)
            self._velocities = [value[rows] for value in self._velocities or []]
            self._diverged_at = self._diverged_at[rows]
        self.networks = [self.networks[row] for row in staying]
        self._batches = [self._batches[row] for row in staying]
        self._seconds = [self._seconds[row] for row in staying]
        return finished

    def _finish(self, rows: list[int]) -> list[Trained]:
        begun = time.perf_counter()
        stack = self._stack.part(torch.tensor(rows, device=self._device))
        ending = [self.networks[row] for row in rows]
        train = evaluate_on_training(stack, self._examples, ending)
        test = evaluate_on_test(stack, self._examples)
        diverged = self._diverged_at[rows].tolist()
        each = (time.perf_counter() - begun) / len(rows)
        finished = []
        for at, (row, one) in enumerate(zip(rows, ending, strict=True)):
            (train_loss, train_error), (test_loss, test_error) = train[at], test[at]
            first = diverged[at] if diverged[at] >= 0 else None
            if first is None and not np.isfinite(train_loss + test_loss):
                first = one.steps
            finished.append(
                Trained(
                    network=one,
                    state=stack.state(at),
                    parameters=sum(value[at].numel() for value in stack.parameters.values()),
                    train_loss=train_loss,
                    train_error=train_error,
                    test_loss=test_loss,
                    test_error=test_error,
                    diverged_at=first,
                    seconds=self._seconds[row] + each,
                )
            )
        return finished


def evaluate_on_test(stack: Stack, examples: Examples) -> list[tuple[float, float]]:
    """Return each network's test loss (nats) and test error (%), in evaluation mode."""
    labels = examples.test_targets
    total = torch.zeros(2, len(stack), dtype=torch.float64, device=labels.device)
    for some in _portions(stack, len(labels)):
        logits = _logits(stack, examples.test_inputs[..., some].contiguous()[None])
        total += _losses_and_errors(logits, labels[some].expand(len(stack), -1)).sum(2)
    return _means(total, torch.full((len(stack),), len(labels)))


def evaluate_on_training(stack: Stack, examples: Examples, networks: Sequence[Network]) -> list[tuple[float, float]]:
    """Return each network's loss (nats) and error (%) on the examples and labels it was trained on, in evaluation mode."""
    counts = torch.tensor([one.examples for one in networks], device=examples.order.device)
    labels = torch.stack([examples.labels[one.label_noise] for one in networks])
    total = torch.zeros(2, len(stack), dtype=torch.float64, device=labels.device)
    for some in _portions(stack, int(counts.max())):
        chosen = examples.order[some].expand(len(stack), -1).contiguous()
        logits = _logits(stack, gather(examples.inputs, chosen))
        own = torch.arange(some.start, some.start + chosen.shape[1], device=counts.device) < counts[:, None]
        each = _losses_and_errors(logits, labels.gather(1, chosen))
        total += torch.where(own, each, 0).sum(2)
    return _means(total, counts)


def _portions(stack: Stack, examples: int) -> list[slice]:
    widest = max(value.shape[1] for value in stack.parameters.values())
    size = max(16, min(examples, _EVALUATION // (len(stack) * widest * 16)))
    return [slice(start, min(start + size, examples)) for start in range(0, examples, size)]


@torch.no_grad()
def _logits(stack: Stack, x: Tensor) -> Tensor:
    return stack(x, training=False)


def _losses_and_errors(logits: Tensor, labels: Tensor) -> Tensor:
    loss = functional.cross_entropy(logits, labels, reduction="none")
    return torch.stack([loss.double(), (logits.argmax(1) != labels).double()])


def _means(total: Tensor, counts: Tensor) -> list[tuple[float, float]]:
    loss, error = (total / counts.to(total.device)).tolist()
    return [(one_loss, 100 * one_error) for one_loss, one_error in zip(loss, error, strict=True)]
