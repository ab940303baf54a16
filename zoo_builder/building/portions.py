"""How a zoo is cut into portions, which are measured together.

A portion holds whole configurations whose networks have one shape and were trained on the same examples.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from mdbench.errors import MdbenchError
from zoo_builder.building.built import Built
from zoo_builder.building.naming import meant
from zoo_builder.building.plan import LIMITS, cost_of
from zoo_builder.landscape import Family, Settings
from zoo_builder.specification import Material, Network, ZooSpec, networks
from zoo_builder.training import Cost

#: Parameters that the networks of a portion have together, at most, unless one configuration has more.
_PARAMETERS: Final = 2**22


@dataclass(frozen=True)
class Portion:
    """Configurations that are measured together.

    Attributes
    ----------
    networks : theirs that did not diverge, a configuration's one behind the other.
    shards : where the networks' tensors are, relative to the zoo's folder.
    digests : of the networks' tensors.
    test_errors : measured after training, %.
    configurations : their names, also of those of which no network is left.
    weight : roughly what measuring costs, in arbitrary units.
    """

    networks: tuple[Network, ...]
    shards: tuple[str, ...]
    digests: tuple[str, ...]
    test_errors: tuple[float, ...]
    configurations: tuple[str, ...]
    weight: float

    @classmethod
    def of(cls, group: Sequence[Network], names: Sequence[str], table: pd.DataFrame, each: float) -> "Portion":
        """Return the portion of some configurations' networks; `table` is the zoo's, `each` a network's weight."""
        alive = [one for one in group if not table.loc[one.name, "diverged"]]
        rows = table.loc[[one.name for one in alive]]
        return cls(
            networks=tuple(alive),
            shards=tuple(rows["shard"]),
            digests=tuple(rows["sha256"]),
            test_errors=tuple(map(float, rows["test_error"])),
            configurations=tuple(names),
            weight=len(alive) * each,
        )

    @property
    def alive(self) -> list[str]:
        """The configurations of which a network is left."""
        left = {one.configuration for one in self.networks}
        return [name for name in self.configurations if name in left]

    def key(self, family: Family, settings: Settings, data: str) -> str:
        """Return the unit's key: a digest of everything that its numbers depend on."""
        said = [family.name, family.edition, settings.said(), data, self.configurations]
        said += [[one.name, one.examples, one.label_noise] for one in self.networks] + [self.digests]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Slice:
    """Configurations of one kind, whose networks make a portion.

    Attributes
    ----------
    names : the configurations'.
    networks : theirs, a configuration's one behind the other.
    weight : roughly what measuring a network costs, in arbitrary units.
    """

    names: tuple[str, ...]
    networks: tuple[Network, ...]
    weight: float


def cut(built: Built, device: str, only: Collection[str] | None = None) -> list[Portion]:
    """Cut a zoo's configurations into portions, the most expensive first.

    Of a part of the grid, what was built is cut. With `only`, names of configurations, the whole grid is, and those portions
    are returned that lie among them: their networks have the company that they have where all is measured.
    """
    table = _checkpoints(built)
    some = None if only is not None else set(table.index)
    slices = sliced(built.spec, built.material, device, some)
    portions = [
        Portion.of(one.networks, one.names, table, one.weight)
        for one in slices
        if only is None or set(one.names) <= set(only)
    ]
    return sorted(portions, key=lambda portion: portion.weight, reverse=True)


def sliced(spec: ZooSpec, material: Material, device: str, some: Collection[str] | None = None) -> list[Slice]:
    """Cut the configurations of a grid, or of some networks of it, by name."""
    groups: dict[tuple[Any, ...], dict[str, list[Network]]] = {}
    for one in networks(spec, material):
        if some is None or one.name in some:
            same = (
                one.width,
                one.depth,
                one.data_fraction,
                one.label_noise,
                one.data.model_dump_json(),
                _loss(one),
                *one.options.values(),
            )
            groups.setdefault(same, {}).setdefault(one.configuration, []).append(one)
    costs: dict[tuple[int | None, int | None], Cost] = {}
    for (width, depth, *_), group in groups.items():
        if (width, depth) not in costs:
            costs[width, depth] = cost_of(spec, material, next(iter(group.values()))[0])
    slices = []
    for (width, depth, *_), group in groups.items():
        each = costs[width, depth]
        most = min(LIMITS[device]["stack"], _PARAMETERS // each.parameters)
        size = max(1, most // max(len(many) for many in group.values()))
        names = list(group)
        for start in range(0, len(names), size):
            chosen = tuple(names[start : start + size])
            own = tuple(one for name in chosen for one in group[name])
            slices.append(Slice(chosen, own, 2000 + each.activations + each.multiplications / 10))
    return slices


def _loss(network: Network) -> tuple[object, ...]:
    """Return what the loss of a network follows from, beside the data."""
    return network.how.loss, network.how.label_smoothing, network.how.class_weights


def _checkpoints(built: Built) -> pd.DataFrame:
    assert built.zoo.checkpoints is not None
    return built.zoo.checkpoints


def meant_in(built: Built, said: str) -> str:
    """Return the name of the configuration or network of a zoo that is meant, see `zoo_builder.building.naming.meant`."""
    table = _checkpoints(built)
    return meant(said, pd.concat([table["configuration"], table.index.to_series()]))


def portion_of(built: Built, name: str) -> Portion:
    """Return a network, and the next seed's of its configuration where there is one, to be measured.

    Parameters
    ----------
    built : the zoo.
    name : a configuration, whose first network is meant, or a network, as `meant_in` returns it.

    Raises
    ------
    MdbenchError
        It diverged.
    """
    table = _checkpoints(built)
    configuration = str(table.loc[name, "configuration"]) if name in table.index else name
    group = [one for one in networks(built.spec, built.material) if one.configuration == configuration]
    alive = [one for one in group if not table.loc[one.name, "diverged"]]
    meant = [at for at, one in enumerate(alive) if name in (configuration, one.name)]
    if not meant:
        raise MdbenchError(f"{name} diverged: there is no landscape around it")
    around = [*alive[meant[0] :], *alive[: meant[0]]]
    return Portion.of(around[:2], [configuration], table, 1.0)
