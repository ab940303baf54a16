"""The networks of a zoo, one by one: before and after training, and the random numbers that are their own."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from torch import Tensor, nn

from zoo_builder.specification.datasets import Dataset
from zoo_builder.specification.spec import Point, TrainingSpec, ZooSpec, configuration_name
from zoo_builder.specification.subsets import Subsets

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
    steps : optimizer steps, ⌈epochs · examples / batch_size⌉.
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


@dataclass(frozen=True)
class Trained:
    """A network after its training.

    Attributes
    ----------
    network : what was trained.
    state : its parameters and buffers, by their names in a ``state_dict``, on the CPU.
    parameters : how many parameters it has.
    train_loss, test_loss : mean cross-entropy in nats, in evaluation mode; in training, on the labels it was trained on.
    train_error, test_error : %.
    diverged_at : the first step whose loss was not finite; `network.steps` where only the final losses are not.
    seconds : its share of the time that training and measuring took.
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


def networks(spec: ZooSpec, subsets: Subsets) -> list[Network]:
    """Return every network of a zoo, in grid order, seeds fastest."""
    every = []
    for point in spec.points():
        batch_size = int(spec.knob(point, "batch_size"))
        fraction = spec.knob(point, "data_fraction")
        examples = subsets.amount(fraction)
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
                data_fraction=fraction,
                label_noise=spec.knob(point, "label_noise"),
                examples=examples,
                learning_rate=spec.knob(point, "learning_rate"),
                weight_decay=spec.knob(point, "weight_decay"),
                steps=math.ceil(int(spec.knob(point, "epochs")) * examples / batch_size),
            )
            every.append(network)
    return every


def initialisation_seed(seed: int) -> int:
    """Return the seed of PyTorch's generator from which a network's parameters are drawn, in [0, 2⁶³)."""
    return int(np.random.SeedSequence([seed, _INITIALISATION]).generate_state(1, np.uint64)[0] >> 1)


@lru_cache(maxsize=64)
def epoch_order(seed: int, epoch: int, examples: int) -> np.ndarray:
    """Return the order in which a network sees its examples in an epoch: a permutation of 0 … examples − 1."""
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(examples)


def initialised(spec: ZooSpec, dataset: Dataset, network: Network) -> nn.Module:
    """Return a network as it is before training."""
    build, seed = spec.architecture.build, initialisation_seed(network.seed)
    return build(dataset.shape, dataset.classes, network.width, network.depth, seed=seed)


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


def learning_rate_share(step: int, steps: int, milestones: tuple[float, ...], factor: float, warmup: float) -> float:
    """Return the share of the learning rate at a step, 0 being the first: a linear warm-up, then drops at milestones."""
    done = step / steps
    rise = min(1.0, (step + 1) / (warmup * steps)) if warmup else 1.0
    return rise * factor ** sum(done >= milestone for milestone in milestones)


def learning_rates(network: Network, how: TrainingSpec, start: int, stop: int) -> np.ndarray:
    """Return a network's learning rates at the steps from `start` to before `stop`, float64."""
    shares = [
        learning_rate_share(step, network.steps, how.milestones, how.factor, how.warmup) for step in range(start, stop)
    ]
    return network.learning_rate * np.array(shares)
