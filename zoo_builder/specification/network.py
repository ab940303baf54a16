"""The networks of a zoo, one by one: before and after training, and the random numbers that are their own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache

import numpy as np
from torch import Tensor, nn

from mdbench.errors import MdbenchError
from zoo_builder.specification.axes import OF_ARCHITECTURE, Point, configuration_name
from zoo_builder.specification.datasets import Dataset, DatasetSpec
from zoo_builder.specification.material import Material
from zoo_builder.specification.recipe import TrainingSpec
from zoo_builder.specification.spec import ZooSpec

# What a seed is used for: streams that share nothing.
_INITIALISATION, _ORDER = range(2)


@dataclass(frozen=True)
class Network:
    """One network of a zoo, before its training.

    Attributes
    ----------
    name : the checkpoint's name: grid point and seed.
    configuration : the grid point's name.
    point : the grid point.
    seed : of initialisation and data order.
    width, depth : of the architecture; None where it decides itself.
    batch_size : examples a step.
    data_fraction, label_noise : which examples, with which labels, in %.
    examples : number of training examples.
    learning_rate, weight_decay : of the optimizer.
    steps : optimizer steps, ⌈epochs · examples / batch_size⌉ where they are not given.
    how : its training, as the grid point has it.
    data : what it learns, as the grid point has it.
    options : of the architecture, where the grid point has them.
    """

    name: str
    configuration: str
    point: Point
    seed: int
    width: int | None
    depth: int | None
    batch_size: int
    data_fraction: float
    label_noise: float
    examples: int
    learning_rate: float
    weight_decay: float
    steps: int
    how: TrainingSpec
    data: DatasetSpec
    options: dict[str, float]

    @property
    def identity(self) -> dict[str, object]:
        """What tells it from the other networks of its zoo."""
        derived = ("how", "data", "options")
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name not in derived}


@dataclass(frozen=True)
class Trained:
    """A network after its training.

    Attributes
    ----------
    network : what was trained.
    state : its parameters and buffers, by their names in a ``state_dict``, on the CPU.
    parameters : how many parameters it has.
    train_loss, test_loss : the mean loss, in evaluation mode: of classes in nats; in training, on the targets it was
        trained on.
    train_error, test_error : %; see `zoo_builder.training.errors`.
    diverged_at : the first step whose loss was not finite; `network.steps` where only the final losses are not.
    seconds : its share of the time that training and measuring took.
    kept : step → state, where the training says to keep some.
    """

    network: Network
    state: dict[str, Tensor]
    parameters: int
    train_loss: float
    train_error: float
    test_loss: float
    test_error: float
    diverged_at: int | None
    seconds: float
    kept: dict[int, dict[str, Tensor]] = field(default_factory=dict)


def networks(spec: ZooSpec, material: Material) -> list[Network]:
    """Return every network of a zoo, in grid order, seeds fastest.

    Raises
    ------
    MdbenchError
        A data fraction is none of the examples, or a step that is to be kept is never reached.
    """
    every = []
    for point in spec.points():
        how, data = spec.training.at(point), spec.dataset_at(point)
        examples = material.of(data).subsets.amount(how.data_fraction)
        batch_size = examples if how.full_batch else how.batch_size
        configuration = configuration_name(point)
        for seed in spec.seeds:
            network = Network(
                name=f"{configuration}/seed={seed}",
                configuration=configuration,
                point=point,
                seed=seed,
                width=int(point["width"]) if "width" in point else None,
                depth=int(point["depth"]) if "depth" in point else None,
                batch_size=batch_size,
                data_fraction=how.data_fraction,
                label_noise=how.label_noise,
                examples=examples,
                learning_rate=how.learning_rate,
                weight_decay=how.weight_decay,
                steps=math.ceil(how.epochs * examples / batch_size) if how.steps is None else how.steps,
                how=how,
                data=data,
                options={knob: float(value) for knob, value in point.items() if knob in OF_ARCHITECTURE},
            )
            every.append(network)
    _check_kept(every)
    return every


def _check_kept(every: Sequence[Network]) -> None:
    """Refuse steps that no network reaches."""
    kept = {step for one in every for step in one.how.keep}
    reached = {step for one in every for step in one.how.keep if step <= one.steps}
    if kept - reached:
        most = max(one.steps for one in every)
        raise MdbenchError(
            f"keep: step {min(kept - reached)} is never reached, for networks take {most} steps at most: leave it out"
        )


def initialisation_seed(seed: int) -> int:
    """Return the seed of PyTorch's generator from which a network's parameters are drawn, in [0, 2⁶³)."""
    return int(np.random.SeedSequence([seed, _INITIALISATION]).generate_state(1, np.uint64)[0] >> 1)


@lru_cache(maxsize=64)
def epoch_order(seed: int, epoch: int, examples: int) -> np.ndarray:
    """Return the order in which a network sees its examples in an epoch: a permutation of 0 … examples − 1."""
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(examples)


def initialised(spec: ZooSpec, dataset: Dataset, network: Network) -> nn.Module:
    """Return a network as it is before training."""
    return module_at(
        spec, network.point, dataset.shape, dataset.outputs, dataset.vocabulary, initialisation_seed(network.seed)
    )


def module_at(
    spec: ZooSpec, point: Point, shape: tuple[int, ...], outputs: int, vocabulary: int = 0, seed: int = 0
) -> nn.Module:
    """Return the module of a grid point, whose data are of a shape, with numbers of outputs and of token ids."""
    equation = spec.dataset_at(point).equation
    width, depth = (int(point[knob]) if knob in point else None for knob in ("width", "depth"))
    options: dict[str, float] = {knob: float(value) for knob, value in point.items() if knob in OF_ARCHITECTURE}
    module = spec.architecture.build(
        shape if equation is None else (shape[0] - 1,),
        outputs,
        width,
        depth,
        seed,
        vocabulary=vocabulary,
        **options,
    )
    return module if equation is None else equation.informed(module)


class Batches:
    """A network's batches: its epochs' orders one behind the other, cut into batches.

    Every batch is full; one may reach over the border of two epochs.
    """

    def __init__(self, seed: int, examples: int, batch_size: int) -> None:
        self._seed, self._examples, self._batch_size = seed, examples, batch_size
        self._epoch = 0
        self._left = np.empty(0, dtype=np.int64)

    def take(self, steps: int) -> np.ndarray:
        """Return the next batches: positions among the network's examples, int64 (steps, batch_size)."""
        wanted = steps * self._batch_size
        parts, have = [self._left], len(self._left)
        while have < wanted:
            parts.append(epoch_order(self._seed, self._epoch, self._examples))
            have += self._examples
            self._epoch += 1
        stream = np.concatenate(parts)
        self._left = stream[wanted:]
        return stream[:wanted].reshape(steps, self._batch_size)


def learning_rate_share(step: int, steps: int, how: TrainingSpec) -> float:
    """Return the share of the learning rate at a step, 0 being the first: a linear warm-up, and the schedule."""
    done, risen = step / steps, how.warmup * steps
    rise = min(1.0, (step + 1) / risen) if how.warmup else 1.0
    if how.schedule == "steps":
        return rise * how.factor ** sum(done >= milestone for milestone in how.milestones)
    if how.schedule == "constant":
        return rise
    behind = max(0.0, (step - risen) / (steps - risen))
    return rise * (1 - behind if how.schedule == "linear" else (1 + math.cos(math.pi * behind)) / 2)


def learning_rates(network: Network, start: int, stop: int) -> np.ndarray:
    """Return a network's learning rates at the steps from `start` to before `stop`, float64."""
    shares = [learning_rate_share(step, network.steps, network.how) for step in range(start, stop)]
    return network.learning_rate * np.array(shares)
