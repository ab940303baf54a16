"""Training networks as a stack, by PyTorch's own operators."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from zoo_builder.specification import (
    Batches,
    Dataset,
    Network,
    Subsets,
    Trained,
    ZooSpec,
    dropouts,
    initialised,
    learning_rates,
    mixed,
    stream,
)
from zoo_builder.training import averages
from zoo_builder.training.augmentation import Draws, augmented
from zoo_builder.training.evaluation import Examples, evaluate_on_test, evaluate_on_training
from zoo_builder.training.layerwise import Balance
from zoo_builder.training.losses import loss_of, try_loss
from zoo_builder.training.operators import gather
from zoo_builder.training.optimizers import climb, clipped, optimizer_of
from zoo_builder.training.program import program_of
from zoo_builder.training.stack import Stack

#: Steps whose batches are drawn and brought to the device at once.
_BLOCK = 64


def train(
    spec: ZooSpec,
    dataset: Dataset,
    subsets: Subsets,
    networks: Sequence[Network],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> list[Trained]:
    """Train networks of one kind together; see `zoo_builder.training.train`."""
    run = _Run(spec, dataset, subsets, networks, device, dtype)
    trained: dict[str, Trained] = {}
    run.pause()
    while run.networks:
        run.advance(run.next_pause())
        run.pause()
        for one in run.leave():
            trained[one.network.name] = one
    return [trained[one.name] for one in networks]


def step_seconds(
    spec: ZooSpec,
    dataset: Dataset,
    subsets: Subsets,
    networks: Sequence[Network],
    device: str | torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Return the seconds that a step of this stack takes here, by some clock: for the step itself, and for each network."""
    most, few = len(networks), max(1, len(networks) // 4)
    whole = _whole_step_seconds(spec, dataset, subsets, networks, device, clock)
    if most == few:
        return 0.0, whole / most
    part = _whole_step_seconds(spec, dataset, subsets, networks[:few], device, clock)
    each = max(0.0, (whole - part) / (most - few))
    return max(0.0, whole - most * each), each


def _whole_step_seconds(
    spec: ZooSpec,
    dataset: Dataset,
    subsets: Subsets,
    networks: Sequence[Network],
    device: str | torch.device,
    clock: Callable[[], float],
) -> float:
    """Return the best of a few."""
    run = _Run(spec, dataset, subsets, networks, device, torch.float32)
    run.pause()
    run.advance(2)
    taken = []
    for until in (4, 6, 8):
        begun = clock()
        run.advance(until)
        taken.append((clock() - begun) / 2)
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
        self._how = how = networks[0].how
        modules = [initialised(spec, dataset, one) for one in networks]
        self._module, self._shape, self._vocabulary = modules[0], dataset.shape, dataset.vocabulary
        self._stack = Stack(modules, dataset.shape, device, dtype, dataset.vocabulary)
        self._examples = Examples(dataset, subsets, [one.label_noise for one in networks], device, dtype)
        self._device = self._examples.inputs.device
        self._loss = loss_of(how, dataset)
        self._try_loss()
        decay = torch.tensor([one.weight_decay for one in networks], dtype=torch.float64, device=self._device)
        self._optimizer = optimizer_of(how, self._stack.parameters.values(), decay)
        self._batches = [Batches(one.seed, one.examples, one.batch_size) for one in networks]
        self._noises = list(self._examples.labels)
        self._labels = torch.stack(list(self._examples.labels.values()))
        self._drops = dropouts(self._module)
        self._balance = None if how.layerwise is None else Balance(self._module, how.layerwise)
        self._factors: list[Tensor] | None = None
        self._average = (
            None if how.average is None else [torch.zeros_like(one) for one in self._stack.parameters.values()]
        )
        self._kept: dict[str, dict[int, dict[str, Tensor]]] = {one.name: {} for one in networks}
        self._step = 0
        self._diverged_at = torch.full((len(networks),), -1, device=self._device)
        self._seconds = [0.0] * len(networks)

    def _try_loss(self) -> None:
        few = slice(0, 8)
        inputs = self._examples.inputs[self._examples.order[few]].movedim(0, -1)[None]
        targets = next(iter(self._examples.labels.values()))[self._examples.order[few]]
        with torch.no_grad():
            outputs = self._stack(inputs, training=False)[0].movedim(-1, 0)
        kind = torch.float64 if targets.is_floating_point() else targets.dtype
        try_loss(self._loss, outputs.double(), targets.to(kind))

    def next_pause(self) -> int:
        """Return the step at which there is something to do beside training."""
        stops = {one.steps for one in self.networks}
        stops |= {step for one in self.networks for step in one.how.keep if step <= one.steps}
        if self._balance is not None:
            stops |= {step for one in self.networks for step in self._measured_at(one)}
        return min(stop for stop in stops if stop > self._step)

    def _measured_at(self, network: Network) -> list[int]:
        """Return the steps before which learning rates of layers are measured."""
        assert self._how.layerwise is not None
        return [0, *averages.epoch_ends(network, self._how.layerwise.every).tolist()]

    def pause(self) -> None:
        """Keep what is to be kept of this step, and measure the layers where it is time."""
        for row, one in enumerate(self.networks):
            if self._step in one.how.keep:
                self._kept[one.name][self._step] = self._stack.state(row)
        if self._balance is not None:
            self._measure_layers()

    def _measure_layers(self) -> None:
        assert self._balance is not None
        due = [row for row, one in enumerate(self.networks) if self._step in self._measured_at(one)]
        parameters = self._stack.parameters
        if self._factors is None:
            one = torch.ones(len(self.networks), dtype=torch.float64, device=self._device)
            self._factors = [one.clone() for _ in parameters]
        if not due:
            return
        rows = torch.tensor(due, device=self._device)
        found = self._balance.factors({name: value[rows] for name, value in parameters.items()})
        for at, name in enumerate(parameters):
            if name in found:
                self._factors[at][rows] = torch.from_numpy(found[name]).to(self._device)

    def advance(self, until: int) -> None:
        """Train until this many steps are taken."""
        begun = time.perf_counter()
        level = torch.tensor([self._noises.index(one.label_noise) for one in self.networks], device=self._device)
        draws = self._draws()
        sides = self._shape[1:]
        while self._step < until:
            steps = min(_BLOCK, until - self._step)
            taken = np.stack([batches.take(steps) for batches in self._batches], axis=1)
            chosen = self._examples.order[torch.from_numpy(taken).to(self._device, non_blocking=True)]
            labels = self._labels[level[:, None], chosen]
            rates, moves = self._learning_rates(steps), self._moves(steps)
            self._draw_keys(steps)
            places = [one.places(self._step, self._step + steps, chosen.shape[2], sides) for one in draws]
            changed = [torch.from_numpy(np.stack(some, 1)).to(self._device) for some in zip(*places, strict=True)]
            losses = []
            for at, (batch, wanted) in enumerate(zip(chosen, labels, strict=True)):
                if changed:
                    own = augmented(self._examples.inputs[batch], [some[at] for some in changed])
                    inputs = own.movedim(1, -1).contiguous()
                else:
                    inputs = gather(self._examples.inputs, batch)
                losses.append(self._take_step(at, inputs, wanted.movedim(1, -1), rates[at]))
                if self._average is not None:
                    for mean, value in zip(self._average, self._stack.parameters.values(), strict=True):
                        mean.lerp_(value.detach(), moves[at].to(mean).view(-1, *[1] * (mean.dim() - 1)))
            self._note_divergence(torch.stack(losses))
            self._step += steps
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        each = (time.perf_counter() - begun) / len(self.networks)
        self._seconds = [seconds + each for seconds in self._seconds]

    def _take_step(self, at: int, inputs: Tensor, targets: Tensor, rate: Tensor) -> Tensor:
        """Take a step and return the losses before it; `at` is its place in the block."""
        parameters = list(self._stack.parameters.values())
        for name, keys in self._keys.items():
            self._stack.buffers[f"{name}.key"] = keys[at]
        outputs = self._stack(inputs, training=True)
        loss, slope = self._loss.value_and_slope(outputs, targets)
        slopes: Sequence[Tensor | None] = torch.autograd.grad(outputs, parameters, slope, allow_unused=True)
        if self._how.sharpness is not None:
            before = [value.detach().clone() for value in parameters]
            climb(
                list(self._stack.parameters),
                parameters,
                slopes,
                self._how.sharpness.rho,
                adaptive=self._how.sharpness.adaptive,
            )
            # Statistics have moved once; those of the second pass are let go.
            aside = {name: value.clone() for name, value in self._stack.buffers.items()}
            outputs = self._stack.program(self._stack.parameters, aside, inputs, True)
            slope = self._loss.value_and_slope(outputs, targets)[1]
            slopes = torch.autograd.grad(outputs, parameters, slope, allow_unused=True)
            for value, old in zip(parameters, before, strict=True):
                value.detach().copy_(old)
        if self._how.clip:
            slopes = clipped(slopes, self._how.clip)
        self._optimizer.step(slopes, rate, self._factors)
        return loss

    def _draws(self) -> list[Draws]:
        how = self._how.augmentation
        return [] if how is None else [Draws(how, one.seed) for one in self.networks]

    def _draw_keys(self, steps: int) -> None:
        """Draw the keys of dropout's masks: layer → (steps, S)."""
        at = np.arange(self._step, self._step + steps)[:, None]
        self._keys = {}
        for layer, name in enumerate(self._drops):
            streams = np.array([stream(one.seed, layer) for one in self.networks], np.uint64)
            self._keys[name] = torch.from_numpy(mixed(streams, at).view(np.int64)).to(self._device)

    def _learning_rates(self, steps: int) -> Tensor:
        rates = [learning_rates(one, self._step, self._step + steps) for one in self.networks]
        return torch.from_numpy(np.stack(rates, axis=1)).to(self._device, non_blocking=True)

    def _moves(self, steps: int) -> Tensor:
        """Return by how much averages move to the parameters, (steps, S)."""
        if self._average is None:
            return torch.empty(0)
        moves = [averages.weights(one)[self._step : self._step + steps] for one in self.networks]
        return torch.from_numpy(np.stack(moves, axis=1)).to(self._device)

    def _note_divergence(self, losses: Tensor) -> None:
        bad = ~losses.isfinite()
        first = self._step + bad.to(torch.int8).argmax(0)
        self._diverged_at = torch.where((self._diverged_at < 0) & bad.any(0), first, self._diverged_at)

    def leave(self) -> list[Trained]:
        """Measure the networks that have taken all their steps, and let them leave the stack."""
        going = [row for row, one in enumerate(self.networks) if one.steps == self._step]
        if not going:
            return []
        staying = [row for row in range(len(self.networks)) if row not in set(going)]
        finished = self._finish(going)
        if staying:
            rows = torch.tensor(staying, device=self._device)
            self._stack = self._stack.part(rows)
            self._optimizer = self._optimizer.part(self._stack.parameters.values(), rows)
            self._average = None if self._average is None else [value[rows] for value in self._average]
            self._factors = None if self._factors is None else [value[rows] for value in self._factors]
            self._diverged_at = self._diverged_at[rows]
        self.networks = [self.networks[row] for row in staying]
        self._batches = [self._batches[row] for row in staying]
        self._seconds = [self._seconds[row] for row in staying]
        return finished

    def _finish(self, rows: list[int]) -> list[Trained]:
        begun = time.perf_counter()
        at_rows = torch.tensor(rows, device=self._device)
        stack = self._stack.part(at_rows)
        ending = [self.networks[row] for row in rows]
        if self._average is not None:
            for value, mean in zip(stack.parameters.values(), self._average, strict=True):
                value.detach().copy_(mean[at_rows])
            self._take_statistics_anew(stack, ending)
        train = evaluate_on_training(stack, self._loss, self._examples, ending)
        test = evaluate_on_test(stack, self._loss, self._examples)
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
                    kept=self._kept[one.name],
                )
            )
        return finished

    def _take_statistics_anew(self, stack: Stack, networks: Sequence[Network]) -> None:
        """Take normalization's statistics of the training examples: means over full batches of the batch's own."""
        names = [name for name in stack.buffers if name.endswith(("running_mean", "running_var"))]
        if not names:
            return
        program = program_of(
            averages.replacing(self._module), self._shape, averages.normalizing, vocabulary=self._vocabulary
        )
        for row, one in enumerate(networks):
            own = stack.part(torch.tensor([row], device=self._device))
            size = min(averages.STATISTICS_BATCH, one.examples)
            times = one.examples // size
            sums = {name: torch.zeros_like(own.buffers[name]) for name in names}
            for at in range(times):
                chosen = self._examples.order[at * size : (at + 1) * size]
                with torch.no_grad():
                    program(own.parameters, own.buffers, gather(self._examples.inputs, chosen[None]), True)
                for name in names:
                    sums[name] += own.buffers[name] / times
            for name in names:
                stack.buffers[name][row] = sums[name][0]
