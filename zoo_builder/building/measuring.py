"""Measuring the landscapes of a zoo, going on from wherever the last attempt ended.

    DIR/landscape/FAMILY.json          what a family was last measured in, to the end
    DIR/landscape/FAMILY/KEY/          a unit: networks.parquet, configurations.parquet, layers.parquet, unit.json

A unit holds what was measured of a portion (`zoo_builder.building.portions`). Families are kept apart: one more of them, or
a new edition of one, leaves the others as they are.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from mdbench import files
from mdbench.errors import MdbenchError
from mdbench.tables import Zoo, write_tables
from zoo_builder.building.built import Built, Source
from zoo_builder.building.executors import OpenExecutor, carry_out, device_here
from zoo_builder.building.measured import SPECTRA, TABLES, TRAJECTORY, Manifest, networks_digest, with_measurements
from zoo_builder.building.portions import Portion, cut
from zoo_builder.building.progress import Progress
from zoo_builder.building.store import LANDSCAPE, Store
from zoo_builder.building.tables import MEASURED
from zoo_builder.building.units import Units, writing
from zoo_builder.landscape import (
    FAMILIES,
    CrossEntropy,
    Data,
    Family,
    Language,
    Objective,
    Settings,
    Subject,
    chosen,
    configuration_table,
    fitting_surface,
    gate,
    layer_table,
    network_table,
    objective_of,
    own_outputs,
    plain_attention,
    trajectory,
)
from zoo_builder.specification import LOSSES, MASKED, Dataset, Network
from zoo_builder.training import error_of, imported

#: By how much a test error may differ from what it was after training, on another kind of machine: points, examples, and a
#: share of itself, for that of a regression has no bound.
_POINTS, _EXAMPLES, _OF_ERROR = 0.1, 2, 1e-5
#: Why nothing is measured of a configuration.
ALL_DIVERGED: Final = "all networks diverged"


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


def measure(
    folder: Path,
    open_executor: OpenExecutor,
    *,
    families: Sequence[str] | None = None,
    device: str = "cpu",
    settings: Settings | None = None,
    trust_code: bool = False,
    only: Collection[str] | None = None,
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
    trust_code : whether to run the code that the specification names, see `zoo_builder.specification.check_trust`.
    only : names of configurations; others are left out. See `zoo_builder.building.portions.cut`.
    progress : called at the start and after every unit.

    Returns
    -------
    The zoo, whose tables are in the folder.

    Raises
    ------
    MdbenchError
        The folder holds no finished build, or one that names code, and is not trusted; it cannot be
        written; a unit in it is damaged; workers die.
    """
    chosen(families)  # names that are none are refused before the folder is opened
    settings = settings or Settings()
    store = Store(folder.absolute())
    store.manifest()  # without a build there is nothing to lock
    with store.locked():
        built = Built.open(folder, trust_code=trust_code)
        wanted = chosen(families, tokens=_says_tokens(built.material.first.dataset))
        portions = cut(built, device, only)
        shelves = {family.name: Units(store.folder / LANDSCAPE / family.name) for family in wanted}
        keys = [
            {family.name: portion.key(family, settings, built.material.digest) for family in wanted}
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
    folder, digest = built.store.folder, networks_digest(built.zoo)
    with writing(folder / LANDSCAPE):
        (folder / LANDSCAPE).mkdir(exist_ok=True)
        manifests = {
            folder / LANDSCAPE / f"{family.name}.json": Manifest(
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


def do(order: Order) -> str:
    """Measure a portion, write its units, and return the zoo's folder. Units that are there already are left as they are."""
    torch.set_num_threads(1)
    shelf = Path(order.source.folder) / LANDSCAPE
    left = {name: key for name, key in order.families.items() if not Units(shelf / name).has(key)}
    subject = None
    with plain_attention():
        if order.portion.networks:
            subject = open_subject(order.source, order.portion, order.settings, device_here(order.device))
        for name, key in left.items():
            tables = _tables(FAMILIES[name], subject, order.portion)
            contents = {file: files.parquet(table) for file, table in zip(TABLES, tables, strict=True)}
            if name == SPECTRA and any(one.how.keep for one in order.portion.networks):
                contents[TRAJECTORY] = files.parquet(_trajectory(order.source, order.portion))
            Units(shelf / name).write(key, contents)
    return order.source.folder


def _trajectory(source: Source, portion: Portion) -> pd.DataFrame:
    """Return the spectra of a portion's networks at the steps that were kept, one row a network, step and layer."""
    tables = [
        trajectory(source.kept(one, shard)).assign(checkpoint=one.name)
        for one, shard in zip(portion.networks, portion.shards, strict=True)
    ]
    whole = pd.concat(tables, ignore_index=True)
    return whole[["checkpoint", *(column for column in whole if column != "checkpoint")]]


def _check_test_errors(subject: Subject, dataset: Dataset, portion: Portion) -> None:
    """Make sure that the networks are those that were trained: their test error is what it was then."""
    assert subject.test is not None
    tolerance = max(_POINTS, 100 * _EXAMPLES / len(subject.test)) + 1e-9
    outputs, targets = subject.test_logits.movedim(1, -1), subject.test.targets.movedim(0, -1)[None]
    middle = torch.from_numpy(dataset.middle) if dataset.kind == "values" else None
    errors = error_of(dataset.kind, outputs, targets, middle).numpy()
    for one, error, before in zip(portion.networks, errors, portion.test_errors, strict=True):
        if not abs(error - before) <= max(tolerance, _OF_ERROR * abs(before)):
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
    _, material = source.material()
    first = portion.networks[0]
    dataset, subsets = material.of(first.data)
    modules = [
        source.load(one, shard, digest)
        for one, shard, digest in zip(portion.networks, portion.shards, portion.digests, strict=True)
    ]
    rows = subsets.examples(first.data_fraction).astype(np.int64)
    targets = subsets.labels(dataset.train_targets, first.label_noise)[rows]
    truth = dataset.train_targets[rows] if dataset.kind == "classes" else None
    owners = [one.configuration for one in portion.networks]
    train = Data.of(dataset.train_inputs[rows], targets)
    names = [one.name for one in portion.networks]
    outputs = own_outputs(modules, train, names=names, device=device)
    subject = Subject(
        fitting_surface(
            modules, train, _objective(first, dataset, train, outputs[0]), outputs, which="all", device=device
        ),
        train,
        _test_data(dataset),
        wrong=None if truth is None else targets != truth,
        truth=truth,
        language=Language(MASKED, dataset.secrets) if _says_tokens(dataset) else None,
        known=MEASURED,
        groups=[[at for at, owner in enumerate(owners) if owner == name] for name in portion.alive],
        names=names,
        settings=settings,
    )
    gate(subject)
    _check_test_errors(subject, dataset, portion)
    return subject


def _objective(network: Network, dataset: Dataset, train: Data, outputs: Tensor) -> Objective:
    """Return what a network was trained to make small, as a sum over examples; outputs are its own on some of them."""
    how = network.how
    loss = how.loss or LOSSES[dataset.kind]
    if loss in ("cross_entropy", "per_position"):
        weight = torch.tensor(how.class_weights) if how.class_weights else None
        classes = dataset.kind == "classes"
        return CrossEntropy(classes, weight, None if classes else MASKED, how.label_smoothing)
    given = functional.mse_loss if loss == "mse" else imported(loss)
    return objective_of(given, outputs, train.tried.targets.to(outputs.device))


def _says_tokens(dataset: Dataset) -> bool:
    """Tell whether networks say which token is next."""
    return dataset.kind == "positions" and bool(dataset.vocabulary)


_TEST: dict[str, Data] = {}


def _test_data(dataset: Dataset) -> Data:
    """Return the test data, the same from portion to portion, so that they are laid out once."""
    if dataset.digest not in _TEST:
        _TEST.clear()
        _TEST[dataset.digest] = Data.of(dataset.test_inputs, dataset.test_targets)
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
    found = family.measured(subject)
    names = list(subject.names)
    own = network_table(family, found, names).drop(columns=list(MEASURED), errors="ignore")
    together = configuration_table(family, found, portion.alive)
    together = pd.concat([together, dead.astype(together.dtypes)]) if len(dead) else together
    return (
        own.rename_axis("checkpoint").reset_index(),
        together.rename_axis("configuration").reset_index(),
        layer_table(found, names),
    )
