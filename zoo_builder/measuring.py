"""Measuring the landscapes of a zoo, going on from wherever the last attempt ended.

    DIR/landscape/FAMILY.json          which units a family is measured in
    DIR/landscape/FAMILY/KEY/          a unit: networks.parquet, configurations.parquet, layers.parquet, unit.json

A unit holds whole configurations whose networks have one shape and were trained on the same examples. Families are kept
apart: one more of them, or a new edition of one, leaves the others as they are.
"""

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mdbench import files
from mdbench.errors import MdbenchError, reason
from mdbench.zoo import MANIFEST as ZOO_MANIFEST
from mdbench.zoo import Zoo, load_zoo, write_tables
from zoo_builder.build import Progress
from zoo_builder.datasets import Dataset
from zoo_builder.executors import OpenExecutor, carry_out
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.measurement import (
    configuration_table,
    gate,
    joined_layers,
    layer_table,
    network_table,
)
from zoo_builder.landscape.metric import Settings, Subject
from zoo_builder.landscape.registry import FAMILIES, Family, chosen
from zoo_builder.landscape.surface import open_surface
from zoo_builder.network import Network, initialised, networks
from zoo_builder.plan import LIMITS, cost
from zoo_builder.spec import ZooSpec, read_spec
from zoo_builder.store import LANDSCAPE, SPEC, Store
from zoo_builder.subsets import Subsets
from zoo_builder.tables import MEASURED, digest_of
from zoo_builder.units import Units, writing

_NETWORKS, _CONFIGURATIONS, _LAYERS = TABLES = ("networks.parquet", "configurations.parquet", "layers.parquet")
#: Points of test error by which a network may differ from what was measured after its training, on another kind of machine.
_TOLERANCE: Final = 0.1
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
    folder : the zoo's.
    spec : the specification, as JSON.
    data : digest of the data set.
    device : kind of device, ``cpu`` or ``cuda``.
    families : name → key of the unit to be written.
    """

    folder: str
    spec: str
    data: str
    device: str
    portion: Portion
    families: Mapping[str, str]
    settings: Settings


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    edition: int
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
    open_executor : opens workers; see `zoo_builder.executors`.
    families : names of families; all if left out. What was measured of others before is kept.
    device : kind of device that the work is cut for, ``cpu`` or ``cuda``.
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
    from zoo_builder.work import material

    wanted, settings = chosen(families), settings or Settings()
    store = Store(folder.absolute())
    manifest = store.manifest()
    if not (store.folder / ZOO_MANIFEST).is_file():
        raise MdbenchError(f"{folder} is not built to its end; `mdbench zoo build` goes on with it")
    with store.locked():
        spec = read_spec(store.folder / SPEC)
        zoo = load_zoo(store.folder)
        dataset, subsets = material(spec)
        if dataset.digest != manifest.data_sha256:
            raise MdbenchError(f"{dataset.name!r} holds other data than the networks in {folder} were trained on")
        portions = cut(spec, dataset, subsets, zoo, device)
        shelves = {family.name: Units(store.folder / LANDSCAPE / family.name) for family in wanted}
        keys = [
            {family.name: portion.key(family, settings, dataset.digest) for family in wanted} for portion in portions
        ]
        for shelf in shelves.values():
            shelf.tidy()
        for own in keys:
            for name, key in own.items():
                if shelves[name].has(key):
                    shelves[name].check(key, TABLES, "measures these networks again")
        orders = {
            str(at): Order(
                str(store.folder),
                spec.model_dump_json(),
                dataset.digest,
                device,
                portion,
                {name: key for name, key in keys[at].items() if not shelves[name].has(key)},
                settings,
            )
            for at, portion in enumerate(portions)
        }
        orders = {at: order for at, order in orders.items() if order.families}
        with writing(store.folder / LANDSCAPE):
            (store.folder / LANDSCAPE).mkdir(exist_ok=True)
            files.replace(
                {
                    store.folder / LANDSCAPE / f"{family.name}.json": _Manifest(
                        edition=family.edition, units=tuple(own[family.name] for own in keys)
                    )
                    .model_dump_json(indent=2)
                    .encode()
                    for family in wanted
                }
            )

        def there(at: str) -> bool:
            return all(shelves[name].has(key) for name, key in keys[int(at)].items())

        for report in _carry_out(portions, orders, there, open_executor):
            progress(report)
        measured = with_measurements(zoo, store.folder)
        with writing(store.folder):
            write_tables(measured, store.folder)
        return measured


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


def cut(spec: ZooSpec, dataset: Dataset, subsets: Subsets, zoo: Zoo, device: str) -> list[Portion]:
    """Cut a zoo's configurations into portions, the most expensive first."""
    assert zoo.checkpoints is not None
    groups: dict[tuple[Any, ...], dict[str, list[Network]]] = {}
    for one in networks(spec, subsets):
        same = one.width, one.depth, one.data_fraction, one.label_noise
        groups.setdefault(same, {}).setdefault(one.configuration, []).append(one)
    table = zoo.checkpoints
    absent = [
        one.name for group in groups.values() for many in group.values() for one in many if one.name not in table.index
    ]
    if absent:
        raise MdbenchError(f"the zoo's tables do not know {absent[0]!r}; `mdbench zoo build` writes them anew")
    most = LIMITS[device]["stack"]
    build = spec.architecture.build
    shapes = {(width, depth) for width, depth, *_ in groups}
    costs = {
        (width, depth): cost(build(dataset.shape, dataset.classes, width, depth), dataset.shape)
        for width, depth in sorted(shapes, key=str)
    }
    portions = []
    for (width, depth, *_), group in groups.items():
        each = costs[width, depth]
        size = max(1, most // max(len(many) for many in group.values()))
        names = list(group)
        for start in range(0, len(names), size):
            some = names[start : start + size]
            portions.append(
                _portion(
                    [one for name in some for one in group[name]],
                    some,
                    table,
                    2000 + each.activations + each.multiplications / 10,
                )
            )
    return sorted(portions, key=lambda portion: portion.weight, reverse=True)


def do(order: Order) -> str:
    """Measure a portion, write its units, and return the zoo's folder. Units that are there already are left as they are."""
    from zoo_builder.executors import device_here
    from zoo_builder.work import material_of

    torch.set_num_threads(1)
    folder = Path(order.folder)
    left = {name: key for name, key in order.families.items() if not Units(folder / LANDSCAPE / name).has(key)}
    spec, dataset, subsets = material_of(order.spec, order.data)
    subject = None
    if order.portion.networks:
        subject = open_subject(folder, spec, dataset, subsets, order.portion, order.settings, device_here(order.device))
        gate(subject)
        _check_test_errors(subject, order.portion)
    for name, key in left.items():
        tables = _tables(FAMILIES[name], subject, order.portion)
        Units(folder / LANDSCAPE / name).write(
            key, {file: files.parquet(table) for file, table in zip(TABLES, tables, strict=True)}
        )
    return order.folder


def _check_test_errors(subject: Subject, portion: Portion) -> None:
    """Make sure that the networks are those that were trained: their test error is what it was then."""
    assert subject.test is not None
    wrong = subject.test_logits.argmax(2).cpu() != subject.test.targets.cpu()
    errors = 100 * wrong.double().mean(1).numpy()
    for one, error, before in zip(portion.networks, errors, portion.test_errors, strict=True):
        if not abs(error - before) <= _TOLERANCE:
            raise MdbenchError(
                f"{one.name} has a test error of {error:.2f} %, but had {before:.2f} % after its training: "
                "the data, or what computes, have changed since; build the zoo anew"
            )


def portion_of(spec: ZooSpec, subsets: Subsets, zoo: Zoo, name: str) -> tuple[Portion, int]:
    """Return the portion that a configuration is, and which of its networks is meant: the first, unless one is named.

    Raises
    ------
    MdbenchError
        There is no such configuration or network, or it diverged.
    """
    assert zoo.checkpoints is not None
    table = zoo.checkpoints
    own = table[(table["configuration"] == name) | (table.index == name)]
    if own.empty:
        near = get_close_matches(name, [*table["configuration"].unique(), *table.index], n=3, cutoff=0.3)
        raise MdbenchError(
            f"the zoo has no configuration or network {name!r}; it has {', '.join(near) or table['configuration'].iloc[0]}"
        )
    configuration = own["configuration"].iloc[0]
    group = [one for one in networks(spec, subsets) if one.configuration == configuration]
    portion = _portion(group, [configuration], zoo.checkpoints, 1.0)
    alive = [one.name for one in portion.networks]
    meant = alive[0] if name == configuration and alive else name
    if meant not in alive:
        raise MdbenchError(f"{name} diverged: there is no landscape around it")
    return portion, alive.index(meant)


def _portion(group: Sequence[Network], names: Sequence[str], table: pd.DataFrame, each: float) -> Portion:
    alive = [one for one in group if not table.loc[one.name, "diverged"]]
    rows = table.loc[[one.name for one in alive]]
    return Portion(
        networks=tuple(alive),
        shards=tuple(rows["shard"]),
        digests=tuple(rows["sha256"]),
        test_errors=tuple(map(float, rows["test_error"])),
        configurations=tuple(names),
        weight=len(alive) * each,
    )


def open_subject(
    folder: Path,
    spec: ZooSpec,
    dataset: Dataset,
    subsets: Subsets,
    portion: Portion,
    settings: Settings,
    device: str,
) -> Subject:
    """Return the networks of a portion with their data, to be measured.

    Raises
    ------
    MdbenchError
        As `load` does.
    """
    first = portion.networks[0]
    modules = [
        load(folder, spec, dataset, one, shard, digest)
        for one, shard, digest in zip(portion.networks, portion.shards, portion.digests, strict=True)
    ]
    rows = subsets.examples(first.data_fraction).astype(np.int64)
    labels = subsets.labels(dataset.train_labels, first.label_noise)[rows]
    truth = dataset.train_labels[rows]
    configurations = [one.configuration for one in portion.networks]
    groups = [
        [at for at, name in enumerate(configurations) if name == configuration] for configuration in portion.alive
    ]
    return Subject(
        open_surface(modules, dataset.shape, device=device),
        Data.of(dataset.train_inputs[rows], labels),
        _test_data(dataset),
        wrong=labels != truth,
        truth=truth,
        groups=groups,
        names=[one.name for one in portion.networks],
        settings=settings,
    )


_TEST: dict[str, Data] = {}


def _test_data(dataset: Dataset) -> Data:
    """Return the test data, the same from portion to portion, so that they are laid out once."""
    if dataset.digest not in _TEST:
        _TEST.clear()
        _TEST[dataset.digest] = Data.of(dataset.test_inputs, dataset.test_labels)
    return _TEST[dataset.digest]


def load(folder: Path, spec: ZooSpec, dataset: Dataset, network: Network, shard: str, digest: str) -> nn.Module:
    """Return a trained network as a module, after checking that it is the one that was trained.

    Raises
    ------
    MdbenchError
        Its tensors are missing, or not those that the table of checkpoints describes.
    """
    path = folder / shard
    module = initialised(spec, dataset, network)
    try:
        with safe_open(path, framework="pt") as file:
            state: dict[str, Tensor] = {name: file.get_tensor(f"{network.name}/{name}") for name in module.state_dict()}
    except (OSError, SafetensorError) as error:
        raise MdbenchError(f"{path} cannot be read: {reason(error)}") from error
    if digest_of(state) != digest:
        raise MdbenchError(f"{path}: the tensors of {network.name} are not those that the zoo's tables describe")
    module.load_state_dict(state)
    return module.eval()


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
    for family in FAMILIES.values():
        found = _measured(family, folder)
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


def _measured(family: Family, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame] | None:
    """Return a family's tables of networks, configurations and layers; None where it is not measured to the end.

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
    if manifest.edition != family.edition or not all(shelf.has(key) for key in manifest.units):
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
