"""Building a zoo: from its specification to its tables, going on from wherever the last attempt ended."""

import heapq
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from mdbench import __version__, files
from mdbench.errors import MdbenchError
from mdbench.revision import own_revision
from mdbench.tables import MANIFEST as ZOO_MANIFEST
from mdbench.tables import Zoo, sha256_of, write_tables
from zoo_builder.building.executors import OpenExecutor, carry_out, local
from zoo_builder.building.plan import LIMITS, Plan, Unit, estimate, plan
from zoo_builder.building.progress import Progress
from zoo_builder.building.store import LANDSCAPE, SPEC, Manifest, Store
from zoo_builder.building.tables import assemble, predicted_of
from zoo_builder.building.units import writing
from zoo_builder.building.work import Order, do, rehearse
from zoo_builder.specification import Material, ZooSpec, check_trust, read_spec
from zoo_builder.training import form

TIMINGS = "timings.parquet"


def build(
    spec_path: Path,
    folder: Path,
    open_executor: OpenExecutor,
    *,
    device: str = "cpu",
    trust_code: bool = False,
    only: Collection[str] | None = None,
    company: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Zoo:
    """Build a zoo, or go on building it.

    Parameters
    ----------
    spec_path : the specification, a TOML file.
    folder : where the zoo goes; one that holds the beginning of the same build is continued.
    open_executor : opens workers; see `zoo_builder.building.executors`.
    device : kind of device that the work is cut for, ``cpu`` or ``cuda``.
    trust_code : whether to run the code that the specification names, see `zoo_builder.specification.check_trust`.
    only : names of the configurations that are built; all if left out. The labels of a part of a grid mean nothing.
    company : whether whatever trains together with these is built, too; see `zoo_builder.building.plan.plan`.
    progress : called at the start and after every unit.

    Returns
    -------
    The zoo, whose tables are in the folder.

    Raises
    ------
    MdbenchError
        The specification is wrong, or names code, and is not trusted; the folder cannot be used, or
        holds something else; a unit in it is damaged; workers die.
    """
    spec = read_spec(spec_path)
    check_trust(spec, trust_code, str(spec_path))
    material = Material.of_spec(spec)
    whole = plan(spec, material, **LIMITS[device], only=only, company=company)
    store = Store(folder.absolute())
    with store.locked():
        manifest = Manifest(
            spec_sha256=spec.digest,
            data_sha256=material.digest,
            builder=__version__,
            revision=own_revision(),
            device=device,
            units={unit.key: len(unit.networks) for unit in whole.units},
        )
        examples = {
            f"{at}/{name}" if at else name: torch.from_numpy(said)
            for at, (_, subsets) in enumerate(material.lessons.values())
            for name, said in (("order", subsets.order), ("wrong_labels", subsets.wrong_labels))
        }
        store.begin(manifest, spec_path.read_text(encoding="utf-8"), examples)
        there = [unit for unit in whole.units if store.has(unit.key)]
        for unit in there:
            store.check(unit.key)
        for report in _train(store, whole, manifest, there, open_executor):
            progress(report)
        return _finish(store, spec, whole, material)


def _train(
    store: Store, whole: Plan, manifest: Manifest, there: Sequence[Unit], open_executor: OpenExecutor
) -> Iterator[Progress]:
    """Train what is not there yet, and tell after each unit how far the build is."""
    begun = time.monotonic()
    units = {unit.key: unit for unit in whole.units}
    done = {unit.key: unit for unit in there}
    spec = whole.spec.text
    orders = {
        key: Order(str(store.folder), spec, manifest.data_sha256, manifest.device, unit)
        for key, unit in units.items()
        if key not in done
    }
    yield _progress(whole, done, there, 0.0)
    for key in carry_out(open_executor, do, orders, store.has, found=len(there)):
        done[key] = units[key]
        yield _progress(whole, done, there, time.monotonic() - begun)


def _progress(whole: Plan, done: Mapping[str, Unit], there: Sequence[Unit], seconds: float) -> Progress:
    def models(units: Iterable[Unit]) -> int:
        return sum(len(unit.networks) for unit in units)

    def work(units: Iterable[Unit]) -> float:
        return sum(whole.weight(unit) for unit in units)

    return Progress(
        models=whole.models,
        models_done=models(done.values()),
        found=models(there),
        work=work(whole.units),
        work_done=work(done.values()),
        work_fresh=work(done.values()) - work(there),
        seconds=seconds,
    )


def _finish(store: Store, spec: ZooSpec, whole: Plan, material: Material) -> Zoo:
    """Write the zoo's tables and return the zoo."""
    table = store.rows([unit.key for unit in whole.units])
    predicted = predicted_of(material.first.dataset)
    zoo = assemble(spec, table, sha256_of(store.folder / SPEC), store.manifest().made_by, predicted)
    if (store.folder / LANDSCAPE).is_dir():
        # It imports all families, which a build has no use for.
        from zoo_builder.building.measured import with_measurements

        zoo = with_measurements(zoo, store.folder)
    timings = table.sort_values("checkpoint", ignore_index=True)[["checkpoint", "seconds"]]
    with writing(store.folder):
        files.replace({store.folder / TIMINGS: files.parquet(timings)})
        write_tables(zoo, store.folder)
    return zoo


@dataclass(frozen=True)
class Forecast:
    """What a zoo will be, and cost.

    Attributes
    ----------
    name : the zoo's name.
    axes : knob → values.
    seeds : networks at each grid point.
    models, units : networks, and pieces of work that they are cut into.
    steps, samples : optimizer steps, and examples that pass through networks, over all networks.
    parameters : of the smallest and the largest network.
    multiplications : multiply–adds of the matrix products of all training.
    form : how its networks train, see `zoo_builder.training.form`.
    workers, seconds : estimated wall-clock time with so many workers, of which every one is on a core or a device of its own;
        without their start.
    memory : bytes that a worker needs at most, as one had it after a few steps of the largest unit; on a GPU, of the host.
    bytes : estimated size of the checkpoints.
    """

    name: str
    axes: dict[str, tuple[float | str, ...]]
    seeds: int
    models: int
    units: int
    steps: int
    samples: int
    parameters: tuple[int, int]
    multiplications: int
    form: str
    workers: int
    seconds: float
    memory: int
    bytes: int


def forecast(
    spec_path: Path,
    device: str,
    workers: int,
    *,
    trust_code: bool = False,
    timed: Callable[[int, int], None] = lambda _done, _whole: None,
) -> Forecast:
    """Return what a zoo will be and cost, after timing a few steps of each kind of network on a device.

    Parameters
    ----------
    spec_path : the specification.
    device, workers : where it is to be trained, and by how many processes.
    trust_code : whether code that the specification names may run.
    timed : is called with how many kinds of network have been timed, and how many there are.

    Raises
    ------
    MdbenchError
        The specification is wrong, its data are not there, or it names code, and is not trusted; a step does not fit into
        memory.
    """
    spec = read_spec(spec_path)
    check_trust(spec, trust_code, str(spec_path))
    material = Material.of_spec(spec)
    whole = plan(spec, material, **LIMITS[device.split(":")[0]])
    torch.set_num_threads(1)  # as workers do
    seconds = [*estimate(whole, material, device, timed).values()]
    first = whole.units[0].networks[0]
    return Forecast(
        name=spec.name,
        axes={axis.knob: axis.values for axis in spec.axes},
        seeds=len(spec.seeds),
        models=whole.models,
        units=len(whole.units),
        steps=whole.steps,
        samples=whole.samples,
        parameters=whole.parameters,
        multiplications=whole.multiplications,
        form=form(spec, material.of(first.data).dataset, first, device),
        workers=workers,
        seconds=makespan(seconds, workers),
        memory=_memory(whole, material, device),
        bytes=whole.disk,
    )


def _memory(whole: Plan, material: Material, device: str) -> int:
    """Return the bytes of memory that a worker has had at most who did a few steps of the largest unit."""
    order = Order("", whole.spec.text, material.digest, device.split(":")[0], whole.largest)
    try:
        with local(1, [device])() as executor:
            return executor.submit(rehearse, order).result()
    except (BrokenExecutor, MemoryError) as error:
        first = whole.largest.networks[0]
        raise MdbenchError(
            f"{first.configuration}: a worker that takes a step of batch_size = {first.batch_size} ends, perhaps for want of "
            "memory; write a smaller one"
        ) from error


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return when the last of some workers ends who take pieces of work, in this order, as soon as they are free."""
    free = [0.0] * workers
    for duration in seconds:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


@dataclass(frozen=True)
class Status:
    """What a folder holds.

    Attributes
    ----------
    name : the zoo's name.
    models, models_done : networks wanted, and in the store.
    units, units_done : pieces of work.
    diverged : networks whose loss stopped being finite.
    seconds : that workers spent on what is done.
    bytes : that it takes on the disk.
    tables : whether the zoo's tables are there.
    measured : family of metrics → networks that it has numbers of; empty before any measuring.
    """

    name: str
    models: int
    models_done: int
    units: int
    units_done: int
    diverged: int
    seconds: float
    bytes: int
    tables: bool
    measured: dict[str, int]


def status(folder: Path) -> Status:
    """Return how far the build in a folder is.

    Raises
    ------
    MdbenchError
        There is no build in it, or what is there is damaged.
    """
    store = Store(folder)
    manifest = store.manifest()
    there = [key for key in manifest.units if store.has(key)]
    rows = store.rows(there)
    return Status(
        name=read_spec(store.folder / SPEC).name,
        models=sum(manifest.units.values()),
        models_done=len(rows),
        units=len(manifest.units),
        units_done=len(there),
        diverged=int(rows["diverged"].sum()) if len(rows) else 0,
        seconds=float(rows["seconds"].sum()) if len(rows) else 0.0,
        bytes=_bytes(store.folder),
        tables=(store.folder / ZOO_MANIFEST).is_file(),
        measured=store.measured(),
    )


def _bytes(folder: Path) -> int:
    """Return how much there is in a folder, in which a build may be at work: things come and go."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(where, name).stat().st_size
    return total
