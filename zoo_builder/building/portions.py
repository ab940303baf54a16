"""How a zoo is cut into portions, which are measured together.

A portion holds whole configurations whose networks have one shape and were trained on the same examples.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from mdbench.errors import MdbenchError
from zoo_builder.building.built import Built
from zoo_builder.building.naming import meant
from zoo_builder.building.plan import LIMITS, cost_of
from zoo_builder.landscape import Family, Settings
from zoo_builder.specification import Network, networks
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


def cut(built: Built, device: str) -> list[Portion]:
    """Cut a zoo's configurations into portions, the most expensive first."""
    spec, material, table = built.spec, built.material, _checkpoints(built)
    groups: dict[tuple[Any, ...], dict[str, list[Network]]] = {}
    for one in networks(spec, material):
        if one.name in table.index:  # a part of the grid may have been built
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
    portions = []
    for (width, depth, *_), group in groups.items():
        each = costs[width, depth]
        most = min(LIMITS[device]["stack"], _PARAMETERS // each.parameters)
        size = max(1, most // max(len(many) for many in group.values()))
        names = list(group)
        for start in range(0, len(names), size):
            some = names[start : start + size]
            own = [one for name in some for one in group[name]]
            weight = 2000 + each.activations + each.multiplications / 10
            portions.append(Portion.of(own, some, table, weight))
    return sorted(portions, key=lambda portion: portion.weight, reverse=True)


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
