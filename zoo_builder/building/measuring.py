"""Measuring the landscapes of a zoo, going on from wherever the last attempt ended.

    DIR/landscape/FAMILY.json          what a family was last measured in, to the end
    DIR/landscape/FAMILY/KEY/          a unit: networks.parquet, configurations.parquet, layers.parquet, unit.json

A unit holds whole configurations whose networks have one shape and were trained on the same examples. Families are kept
apart: one more of them, or a new edition of one, leaves the others as they are.
"""

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from mdbench import files
from mdbench.errors import MdbenchError, reason
from mdbench.tables import Zoo, write_tables
from zoo_builder.building.built import Built, Source
from zoo_builder.building.executors import OpenExecutor, carry_out, device_here
from zoo_builder.building.plan import LIMITS
from zoo_builder.building.progress import Progress
from zoo_builder.building.store import LANDSCAPE, Store
from zoo_builder.building.tables import MEASURED
from zoo_builder.building.units import Units, writing
from zoo_builder.landscape import (
    FAMILIES,
    Data,
    Family,
    Settings,
    Subject,
    chosen,
    configuration_table,
    gate,
    joined_layers,
    layer_table,
    network_table,
    open_surface,
)
from zoo_builder.specification import Dataset, Network, networks
from zoo_builder.training import cost

TABLES: Final = ("networks.parquet", "configurations.parquet", "layers.parquet")
#: Parameters that the networks of a portion have together, at most, unless one configuration has more.
_PARAMETERS: Final = 2**22
#: By how much a test error may differ from what it was after training, on another kind of machine: points, and examples.
_POINTS, _EXAMPLES = 0.1, 2
#: Why nothing is measured.
DIVERGED: Final = "diverged"
ALL_DIVERGED: Final = "all networks diverged"


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
        said = [family.name, family.edition, asdict(settings), data, self.configurations]
        said += [[one.name, one.examples, one.label_noise] for one in self.networks] + [self.digests]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Order:
    """A portion to be measured. Results travel as files.

    Attributes
    ----------
    source : where its networks are.
    device : kind of device, ``cpu`` or ``cuda``.
    portion : what to measure.
    families : name → key of the unit to be written.
    settings : how much of everything.
    """

    source: Source
    device: str
    portion: Portion
    families: Mapping[str, str]
    settings: Settings


class _Manifest(BaseModel):
    """What a family was measured in: its edition, the networks (a digest of all of theirs), the units."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    edition: int
    networks: str
    units: tuple[str, ...]


def measure(
    folder: Path,
    open_executor: OpenExecutor,
    *,
    families: Sequence[str] | None = None,
    device: str = "cpu",
    settings: Settings | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Zoo:
    """Measure a zoo, or go on measuring it.

    Parameters
    ----------
    folder : a zoo's, whose networks are all there.
    open_executor : opens workers; see `zoo_builder.building.executors`.
    families : names of families; all if left out. What was measured of others before is kept.
    device : kind of device that the work is cut for, ``cpu`` or ``cuda``. On another one everything is measured anew.
    settings : how much of everything.
    progress : called at the start and after every unit.

    Returns
    -------
    The zoo, whose tables are in the folder.

    Raises
    ------
    MdbenchError
        The folder holds no finished build; it cannot be written; a unit in it is damaged; workers die.
    """
    wanted, settings = chosen(families), settings or Settings()
    store = Store(folder.absolute())
    store.manifest()  # without a build there is nothing to lock
    with store.locked():
        built = Built.open(folder)
        portions = cut(built, device)
        shelves = {family.name: Units(store.folder / LANDSCAPE / family.name) for family in wanted}
        keys = [
            {family.name: portion.key(family, settings, built.dataset.digest) for family in wanted}
            for portion in portions
        ]
        _tidy(store.folder / LANDSCAPE, shelves.values())
        for own in keys:
            for name, key in own.items():
                if shelves[name].has(key):
                    shelves[name].check(key, TABLES, "measures these networks again")
        orders = {
            str(at): Order(
                Source.of(built),
                device,
                portion,
                {name: key for name, key in keys[at].items() if not shelves[name].has(key)},
                settings,
            )
            for at, portion in enumerate(portions)
        }
        orders = {at: order for at, order in orders.items() if order.families}

        def there(at: str) -> bool:
            return all(shelves[name].has(key) for name, key in keys[int(at)].items())

        for report in _carry_out(portions, orders, there, open_executor):
            progress(report)
        return _finish(built, wanted, keys)


def _tidy(folder: Path, shelves: Iterable[Units]) -> None:
    """Remove what interrupted writing left behind."""
    with writing(folder):
        files.tidy(folder)
        for shelf in shelves:
            shelf.tidy()


def _finish(built: Built, wanted: Sequence[Family], keys: Sequence[Mapping[str, str]]) -> Zoo:
    """Say what the families were measured in, write the zoo's tables, and return the zoo."""
    folder, digest = built.store.folder, _digest(built.zoo)
    with writing(folder / LANDSCAPE):
        (folder / LANDSCAPE).mkdir(exist_ok=True)
        manifests = {
            folder / LANDSCAPE / f"{family.name}.json": _Manifest(
                edition=family.edition, networks=digest, units=tuple(own[family.name] for own in keys)
            )
            for family in wanted
        }
        files.replace({path: (said.model_dump_json(indent=2) + "\n").encode() for path, said in manifests.items()})
        for family in wanted:  # what was measured before with other settings, of other networks, in another edition
            Units(folder / LANDSCAPE / family.name).keep({own[family.name] for own in keys})
    zoo = with_measurements(built.zoo, folder)
    with writing(folder):
        write_tables(zoo, folder)
    return zoo


def _digest(zoo: Zoo) -> str:
    """Return a digest of which networks a zoo has, and of all their numbers."""
    assert zoo.checkpoints is not None
    said = "\n".join(f"{name} {digest}" for name, digest in sorted(zoo.checkpoints["sha256"].items()))
    return hashlib.sha256(said.encode()).hexdigest()


def _carry_out(
    portions: Sequence[Portion],
    orders: Mapping[str, Order],
    there: Callable[[str], bool],
    open_executor: OpenExecutor,
) -> Iterator[Progress]:
    """Measure what is not there yet, and tell after each unit how far that is."""
    begun = time.monotonic()
    left = set(orders)
    found = [portion for at, portion in enumerate(portions) if str(at) not in left]

    def report() -> Progress:
        done = [portion for at, portion in enumerate(portions) if str(at) not in left]
        models, models_done, models_found = (sum(len(one.networks) for one in some) for some in (portions, done, found))
        work, work_done, work_found = (sum(one.weight for one in some) for some in (portions, done, found))
        taken = time.monotonic() - begun
        return Progress(models, models_done, models_found, work, work_done, work_done - work_found, taken)

    yield report()
    for key in carry_out(open_executor, do, orders, there, found=len(found)):
        left.discard(key)
        yield report()


def cut(built: Built, device: str) -> list[Portion]:
    """Cut a zoo's configurations into portions, the most expensive first."""
    spec, dataset, table = built.spec, built.dataset, _checkpoints(built)
    groups: dict[tuple[Any, ...], dict[str, list[Network]]] = {}
    for one in networks(spec, built.subsets):
        if one.name in table.index:  # a part of the grid may have been built
            same = one.width, one.depth, one.data_fraction, one.label_noise
            groups.setdefault(same, {}).setdefault(one.configuration, []).append(one)
    build = spec.architecture.build
    shapes = {(width, depth) for width, depth, *_ in groups}
    costs = {
        (width, depth): cost(build(dataset.shape, dataset.classes, width, depth), dataset.shape)
        for width, depth in sorted(shapes, key=str)
    }
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


def _checkpoints(built: Built) -> pd.DataFrame:
    assert built.zoo.checkpoints is not None
    return built.zoo.checkpoints


def portion_of(built: Built, name: str) -> Portion:
    """Return a network, and the next seed's of its configuration where there is one, to be measured.

    Parameters
    ----------
    built : the zoo.
    name : a configuration, whose first network is meant, or a network.

    Raises
    ------
    MdbenchError
        There is no such configuration or network, or it diverged.
    """
    table = _checkpoints(built)
    own = table[(table["configuration"] == name) | (table.index == name)]
    if own.empty:
        near = get_close_matches(name, [*table["configuration"].unique(), *table.index], n=3, cutoff=0.3)
        known = ", ".join(near) or table["configuration"].iloc[0]
        raise MdbenchError(f"the zoo has no configuration or network {name!r}; it has, for instance, {known}")
    configuration = own["configuration"].iloc[0]
    group = [one for one in networks(built.spec, built.subsets) if one.configuration == configuration]
    alive = [one for one in group if not table.loc[one.name, "diverged"]]
    meant = [at for at, one in enumerate(alive) if name in (configuration, one.name)]
    if not meant:
        raise MdbenchError(f"{name} diverged: there is no landscape around it")
    around = [*alive[meant[0] :], *alive[: meant[0]]]
    return Portion.of(around[:2], [configuration], table, 1.0)


def do(order: Order) -> str:
    """Measure a portion, write its units, and return the zoo's folder. Units that are there already are left as they are."""
    torch.set_num_threads(1)
    shelf = Path(order.source.folder) / LANDSCAPE
    left = {name: key for name, key in order.families.items() if not Units(shelf / name).has(key)}
    subject = None
    if order.portion.networks:
        subject = open_subject(order.source, order.portion, order.settings, device_here(order.device))
    for name, key in left.items():
        tables = _tables(FAMILIES[name], subject, order.portion)
        contents = {file: files.parquet(table) for file, table in zip(TABLES, tables, strict=True)}
        Units(shelf / name).write(key, contents)
    return order.source.folder


def _check_test_errors(subject: Subject, portion: Portion) -> None:
    """Make sure that the networks are those that were trained: their test error is what it was then."""
    assert subject.test is not None
    tolerance = max(_POINTS, 100 * _EXAMPLES / len(subject.test)) + 1e-9
    wrong = subject.test_logits.argmax(2) != subject.test.targets
    errors = 100 * wrong.double().mean(1).numpy()
    for one, error, before in zip(portion.networks, errors, portion.test_errors, strict=True):
        if not abs(error - before) <= tolerance:
            raise MdbenchError(
                f"{one.name} has a test error of {error:.2f} %, but had {before:.2f} % after its training: "
                "the data, or what computes, have changed since; build the zoo anew"
            )


def open_subject(source: Source, portion: Portion, settings: Settings, device: str = "cpu") -> Subject:
    """Return the networks of a portion with their data, to be measured, after making sure that they are what was trained.

    Raises
    ------
    MdbenchError
        They are not; or their outputs differ when they are asked twice.
    """
    _, dataset, subsets = source.material()
    first = portion.networks[0]
    modules = [
        source.load(one, shard, digest)
        for one, shard, digest in zip(portion.networks, portion.shards, portion.digests, strict=True)
    ]
    rows = subsets.examples(first.data_fraction).astype(np.int64)
    labels = subsets.labels(dataset.train_labels, first.label_noise)[rows]
    truth = dataset.train_labels[rows]
    owners = [one.configuration for one in portion.networks]
    subject = Subject(
        open_surface(modules, dataset.shape, device=device),
        Data.of(dataset.train_inputs[rows], labels),
        _test_data(dataset),
        wrong=labels != truth,
        truth=truth,
        groups=[[at for at, owner in enumerate(owners) if owner == name] for name in portion.alive],
        names=[one.name for one in portion.networks],
        settings=settings,
    )
    gate(subject)
    _check_test_errors(subject, portion)
    return subject


_TEST: dict[str, Data] = {}


def _test_data(dataset: Dataset) -> Data:
    """Return the test data, the same from portion to portion, so that they are laid out once."""
    if dataset.digest not in _TEST:
        _TEST.clear()
        _TEST[dataset.digest] = Data.of(dataset.test_inputs, dataset.test_labels)
    return _TEST[dataset.digest]


def _tables(
    family: Family, subject: Subject | None, portion: Portion
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Measure a family: rows of networks, of configurations, of layers."""
    dead = pd.DataFrame(
        {family.reason: ALL_DIVERGED}, index=[n for n in portion.configurations if n not in portion.alive]
    )
    dead = dead.reindex(columns=[*family.columns("configuration"), family.reason])
    if subject is None:
        nothing = pd.DataFrame({"checkpoint": pd.Series(dtype=str)})
        return nothing, dead.rename_axis("configuration").reset_index(), nothing
    found = family.measure(subject)
    names = list(subject.names)
    own = network_table(family, found, names).drop(columns=list(MEASURED), errors="ignore")
    together = configuration_table(family, found, portion.alive)
    together = pd.concat([together, dead.astype(together.dtypes)]) if len(dead) else together
    return (
        own.rename_axis("checkpoint").reset_index(),
        together.rename_axis("configuration").reset_index(),
        layer_table(found, names),
    )


def with_measurements(zoo: Zoo, folder: Path) -> Zoo:
    """Return a zoo with everything that was measured of it to the end, in the place of what it had before."""
    assert zoo.checkpoints is not None
    configurations, checkpoints, layers = zoo.configurations, zoo.checkpoints, []
    networks_there = _digest(zoo)
    for family in FAMILIES.values():
        found = _measured(family, folder, networks_there)
        stale = [
            name for name in (*family.columns("checkpoint", "configuration"), family.reason) if name not in MEASURED
        ]
        spread = [f"{name}_std" for name in stale]
        configurations = configurations.drop(columns=[*stale, *spread], errors="ignore")
        checkpoints = checkpoints.drop(columns=stale, errors="ignore")
        if found is None:
            continue
        own, together, of_layers = found
        own = own.set_index("checkpoint").reindex(checkpoints.index)
        own.loc[checkpoints["diverged"].astype(bool), family.reason] = DIVERGED
        checkpoints = checkpoints.join(own)
        numbers = own.drop(columns=family.reason).groupby(checkpoints["configuration"])
        means, spreads = (some.reindex(configurations.index) for some in (numbers.mean(), numbers.std(ddof=1)))
        together = together.set_index("configuration").reindex(configurations.index)
        together[family.reason] = _reasons(together[family.reason], checkpoints)
        configurations = pd.concat([configurations, means, spreads.add_suffix("_std"), together], axis=1)
        layers.append(of_layers)
    whole = joined_layers(layers)
    order = {name: at for at, name in enumerate(checkpoints.index)}
    whole = whole.sort_values("checkpoint", key=lambda names: names.map(order), kind="stable", ignore_index=True)
    return Zoo.from_table(
        zoo.name,
        zoo.title,
        configurations.reset_index(),
        zoo.moves,
        zoo.provenance,
        checkpoints=checkpoints.reset_index(),
        layers=whole if len(whole) else None,
    )


def _reasons(of_configurations: "pd.Series[Any]", checkpoints: pd.DataFrame) -> list[str | None]:
    """Return what is missing of configurations, and of how many of their networks."""
    missing = checkpoints[of_configurations.name].dropna().groupby(checkpoints["configuration"])
    of_networks = {
        str(name): [f"{count} of its networks: {why}" for why, count in some.value_counts(sort=False).items()]
        for name, some in missing
    }
    reasons = []
    for name, own in of_configurations.items():
        said = [*([own] if isinstance(own, str) else []), *of_networks.get(str(name), [])]
        reasons.append("; ".join(said) or None)
    return reasons


def _measured(
    family: Family, folder: Path, networks_there: str
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame] | None:
    """Return a family's tables of networks, configurations and layers; None where these networks were not measured.

    Raises
    ------
    MdbenchError
        A unit cannot be read.
    """
    path = folder / LANDSCAPE / f"{family.name}.json"
    try:
        manifest = _Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise MdbenchError(f"{path} cannot be read: {reason(error)}; remove it, and measure again") from error
    shelf = Units(folder / LANDSCAPE / family.name)
    if (manifest.edition, manifest.networks) != (family.edition, networks_there) or not all(
        shelf.has(key) for key in manifest.units
    ):
        return None
    tables = []
    for name in TABLES:
        parts = [_read(shelf.home(key) / name) for key in manifest.units]
        filled = [part for part in parts if len(part)]
        tables.append(pd.concat(filled, ignore_index=True) if filled else parts[0])
    return tables[0], tables[1], tables[2]


def _read(path: Path) -> pd.DataFrame:
    try:
        table: pd.DataFrame = pq.ParquetFile(io.BytesIO(path.read_bytes())).read().to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise MdbenchError(
            f"{path} cannot be read: {reason(error)}; move {path.parent} away, and measure again"
        ) from error
    return table
