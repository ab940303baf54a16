"""How the work on a zoo is cut, and what it costs."""

import hashlib
import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, TypedDict

from mdbench.errors import MdbenchError
from zoo_builder.specification import WORDS, Material, Network, ZooSpec, initialised, networks
from zoo_builder.training import Cost, check_training, cost, step_seconds


class Limits(TypedDict):
    """How large a unit may be, for it is what an interruption can cost, and on a GPU a stack that memory must hold.

    Attributes
    ----------
    stack : networks.
    activations : numbers that their layers put out in one step, all networks together.
    """

    stack: int
    activations: int


#: Kind of device → limits.
LIMITS: Final[dict[str, Limits]] = {
    "cpu": {"stack": 16, "activations": 2**23},
    "cuda": {"stack": 1024, "activations": 2**30},
}


#: What of a training neither fits nor does not, and takes no time.
_NUMBERS: Final = {"learning_rate", "weight_decay", "epochs", "steps", "data_fraction", "label_noise"}

#: Bytes that safetensors' header takes for a tensor, besides its name: type, shape and place.
_SAID_OF_A_TENSOR: Final = 65


@dataclass(frozen=True)
class Unit:
    """A piece of work that is done whole or not at all: networks that train together.

    Attributes
    ----------
    networks : of one shape and one batch size.
    key : SHA-256 of everything that the result depends on: its address in the store.
    """

    networks: tuple[Network, ...]
    key: str

    @cached_property
    def samples(self) -> int:
        """Examples that pass through a network in training, over all networks."""
        return sum(one.steps * one.batch_size for one in self.networks)


@dataclass(frozen=True)
class Plan:
    """The whole work on a zoo.

    Attributes
    ----------
    spec : what is to be built.
    units : the work, the largest first, so that workers end together.
    costs : (width, depth) → cost of a network.
    """

    spec: ZooSpec
    units: tuple[Unit, ...]
    costs: dict[tuple[int | None, int | None], Cost]

    @property
    def models(self) -> int:
        """Number of networks."""
        return sum(len(unit.networks) for unit in self.units)

    @property
    def steps(self) -> int:
        """Optimizer steps, over all networks."""
        return sum(one.steps for unit in self.units for one in unit.networks)

    @property
    def samples(self) -> int:
        """Examples that pass through a network in training, over all networks."""
        return sum(unit.samples for unit in self.units)

    @property
    def parameters(self) -> tuple[int, int]:
        """Parameters of the smallest and of the largest network."""
        every = [one.parameters for one in self.costs.values()]
        return min(every), max(every)

    @property
    def multiplications(self) -> int:
        """Multiply–adds of all training."""
        return sum(
            3 * self.costs[one.width, one.depth].multiplications * one.steps * one.batch_size
            for unit in self.units
            for one in unit.networks
        )

    def weight(self, unit: Unit) -> float:
        """Return roughly what a unit costs, in numbers put out by layers.

        Ten multiply–adds cost about as much as one such number, and no step is free, however small its batch.
        """
        first = unit.networks[0]
        cost = self.costs[first.width, first.depth]
        each = first.batch_size * (cost.activations + cost.multiplications / 10) + 20_000
        return float(each * sum(one.steps for one in unit.networks))

    @property
    def largest(self) -> Unit:
        """The unit that is likely to need most memory."""

        def numbers(unit: Unit) -> int:
            first = unit.networks[0]
            cost = self.costs[first.width, first.depth]
            return len(unit.networks) * (first.batch_size * cost.activations + cost.parameters)

        return max(self.units, key=numbers)

    @property
    def disk(self) -> int:
        """Bytes that the checkpoints take: of small networks, much is what safetensors says of each tensor."""
        every = [(one, self.costs[one.width, one.depth]) for unit in self.units for one in unit.networks]
        return sum(cost.bytes + cost.tensors * (_SAID_OF_A_TENSOR + len(one.name)) for one, cost in every)


def plan(
    spec: ZooSpec,
    material: Material,
    stack: int,
    activations: int,
    *,
    only: Collection[str] | None = None,
    company: bool = False,
) -> Plan:
    """Cut a zoo's networks into units.

    Networks of one shape and batch size belong together; where they are too many for one unit they are cut by their number
    of steps, so that those of a stack that leave early leave together.

    Parameters
    ----------
    spec, material : the zoo and its data.
    stack, activations : see `Limits`.
    only : names of the configurations whose networks are wanted; all if left out.
    company : whether the units that hold them stay whole, as they are in the plan of the whole grid.

    Raises
    ------
    MdbenchError
        Architecture, data and training do not fit together.
    """
    if only is not None and company:
        every = plan(spec, material, stack, activations)
        units = [unit for unit in every.units if any(one.configuration in only for one in unit.networks)]
        return replace(every, units=tuple(units))
    chosen = [one for one in networks(spec, material) if only is None or one.configuration in only]
    _check(spec, material, chosen)
    groups: dict[tuple[int | None, int | None, int, str, tuple[float, ...]], list[Network]] = {}
    for one in chosen:
        said = one.data.model_dump_json()
        alike = one.width, one.depth, one.batch_size, said, tuple(one.options.values())
        groups.setdefault(alike, []).append(one)
    shapes = {(width, depth): group[0] for (width, depth, *_), group in groups.items()}
    costs = {shape: cost_of(spec, material, one) for shape, one in sorted(shapes.items(), key=str)}
    units = []
    common = {
        "spec": json.loads(spec.model_dump_json(exclude={"name", "axes", "seeds", *WORDS})),
        "data": material.digest,
    }
    for (width, depth, batch_size, *_), group in groups.items():
        most = max(1, min(stack, activations // (batch_size * costs[width, depth].activations)))
        group.sort(key=lambda one: one.steps)
        pieces = math.ceil(len(group) / most)
        size = math.ceil(len(group) / pieces)
        units += [_unit(group[start : start + size], common) for start in range(0, len(group), size)]
    whole = Plan(spec, tuple(units), costs)
    return replace(whole, units=tuple(sorted(units, key=whole.weight, reverse=True)))


def _check(spec: ZooSpec, material: Material, chosen: Sequence[Network]) -> None:
    """Make sure of one network of each kind that data, architecture and training fit together."""
    kinds: dict[tuple[object, ...], Network] = {}
    for one in chosen:
        how = one.how.model_dump_json(exclude={*_NUMBERS, "batch_size"})
        kinds.setdefault((one.width, one.depth, how, one.data.model_dump_json(), *one.options.values()), one)
    for one in kinds.values():
        dataset = material.of(one.data).dataset
        check_training(one.how, dataset, initialised(spec, dataset, one))


def cost_of(spec: ZooSpec, material: Material, network: Network) -> Cost:
    """Return what one example costs a network of a zoo."""
    dataset = material.of(network.data).dataset
    return cost(initialised(spec, dataset, network), dataset.shape, tokens=bool(dataset.vocabulary))


def _unit(group: Sequence[Network], common: dict[str, object]) -> Unit:
    said = json.dumps({**common, "networks": [one.identity for one in group]}, sort_keys=True)
    return Unit(tuple(group), hashlib.sha256(said.encode()).hexdigest()[:20])


def estimate(
    plan: Plan, material: Material, device: str, timed: Callable[[int, int], None] = lambda _done, _whole: None
) -> dict[str, float]:
    """Return the seconds that a worker needs for each unit, by key, after timing a few steps of each kind of network.

    Parameters
    ----------
    plan, material : the zoo and its data.
    device : where to time.
    timed : is called with how many kinds have been timed, and how many there are.

    Raises
    ------
    MdbenchError
        A step does not fit into memory.
    """
    parts = {unit.key: _parts(unit) for unit in plan.units}
    largest: dict[tuple[object, ...], list[Network]] = {}
    for every in parts.values():
        for kind, group in every.items():
            largest[kind] = max(largest.get(kind, []), group, key=len)
    costs, tests = {}, {}
    for done, (kind, group) in enumerate(largest.items()):
        timed(done, len(largest))
        lesson = material.of(group[0].data)
        try:
            costs[kind] = step_seconds(plan.spec, *lesson, group, device)
        except MemoryError as error:
            raise MdbenchError(
                f"{group[0].configuration}: a step of batch_size = {group[0].batch_size} does not fit into memory; write a "
                "smaller one"
            ) from error
        tests[kind] = len(lesson.dataset.test_targets)
    return {
        key: sum(_seconds(group, costs[kind], tests[kind]) for kind, group in every.items())
        for key, every in parts.items()
    }


def _parts(unit: Unit) -> dict[tuple[object, ...], list[Network]]:
    """Return the networks of a unit by what the time of their step depends on; each way of training trains apart."""
    parts: dict[tuple[object, ...], list[Network]] = {}
    for one in unit.networks:
        how = one.how.model_dump_json(exclude=_NUMBERS)
        parts.setdefault((one.width, one.depth, one.batch_size, how, bool(one.options)), []).append(one)
    return parts


def _seconds(networks: Sequence[Network], step: tuple[float, float], test_examples: int) -> float:
    (shared, each), behind, total = step, 0, 0.0
    steps = sorted(one.steps for one in networks)
    for at, until in enumerate(steps):
        total += (until - behind) * (shared + each * (len(steps) - at))
        behind = until
    # A forward pass is a third of a step: each network is measured once on its own examples and on the test set.
    return total + sum((test_examples + one.examples) / one.batch_size * each / 3 for one in networks)
