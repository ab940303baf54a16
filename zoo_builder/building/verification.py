"""Verifying a zoo: some configurations, chosen at random, are trained and measured again, and compared with its tables.

How they are compared: `zoo_builder.building.comparison`.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mdbench.errors import MdbenchError
from mdbench.tables import CHECKPOINTS, Zoo, bundled_zoos, load_zoo, sha256_of
from zoo_builder.building.builder import build
from zoo_builder.building.comparison import Comparison, compare
from zoo_builder.building.executors import OpenExecutor
from zoo_builder.building.measuring import measure
from zoo_builder.building.pairs import read_tables
from zoo_builder.building.portions import sliced
from zoo_builder.building.progress import Progress
from zoo_builder.building.store import SPEC
from zoo_builder.landscape import FAMILIES, chosen
from zoo_builder.specification import Material, ZooSpec, check_trust, configuration_name, read_spec
from zoo_builder.training import form

#: Says what is being done, and returns what shows how far it is.
Stage = Callable[[str], AbstractContextManager[Callable[[Progress], None]]]


@dataclass(frozen=True)
class Verification:
    """What was rebuilt of a zoo, and how it compares.

    Attributes
    ----------
    zoo : its name.
    seed : that the configurations were drawn with.
    configurations : their names, in the order of the grid.
    families : what was measured.
    made_by, rebuilt_by : what built the zoo, and what built it again.
    comparison : the result.
    """

    zoo: str
    seed: int
    configurations: tuple[str, ...]
    families: tuple[str, ...]
    made_by: str
    rebuilt_by: str
    comparison: Comparison


def verify(
    folder: Path,
    open_executor: OpenExecutor,
    *,
    seed: int,
    configurations: int = 20,
    families: Sequence[str] | None = None,
    device: str = "cpu",
    trust_code: bool = False,
    keep: Path | None = None,
    stage: Stage = lambda _: nullcontext(lambda _: None),
) -> Verification:
    """Rebuild some configurations of a zoo, and compare them with its tables.

    Of the folder only ``zoo.json``, ``spec.toml`` and the tables are read. The specification is carried out as
    `build` does: code that it names is run for those who trust it alone.

    Parameters
    ----------
    folder : the zoo's.
    open_executor : opens workers; see `zoo_builder.building.executors`.
    seed : of the choice.
    configurations : how many at least, all their seeds: those that are measured together are drawn together.
    families : names of families to be measured; if left out, all that the zoo was measured in.
    device : kind of device that the work is cut for, ``cpu`` or ``cuda``.
    trust_code : whether to run the code that the specification names, see `zoo_builder.specification.check_trust`.
    keep : folder that the rebuilt zoo is left in, and gone on with; if left out, a temporary one.
    stage : called for training and for measuring.

    Raises
    ------
    MdbenchError
        The folder holds no zoo that can be rebuilt: its files are damaged, its specification is missing, not the one that it
        was built from, or that of another grid, or names code, and is not trusted; a family was not measured of it; and what
        building and measuring raise.
    """
    zoo, spec = load_zoo(folder), _specification(folder)
    _check(zoo, spec, folder)
    check_trust(spec, trust_code, str(folder))
    wanted = _families(zoo, families)
    some, stacked = _drawn(spec, seed, configurations, device)
    with _workshop(keep) as home:
        with stage("training") as progress:
            rebuilt = build(
                folder / SPEC,
                home,
                open_executor,
                device=device,
                trust_code=True,
                only=some,
                company=stacked,
                progress=progress,
            )
        if wanted:
            with stage("measuring") as progress:
                measure(
                    home,
                    open_executor,
                    families=wanted,
                    device=device,
                    trust_code=True,
                    only=some,
                    progress=progress,
                )
        comparison = compare(read_tables(folder), read_tables(home), some, wanted)
    made_by = zoo.provenance.made_by, rebuilt.provenance.made_by
    return Verification(zoo.name, seed, tuple(some), tuple(wanted), *made_by, comparison)


def _drawn(spec: ZooSpec, seed: int, configurations: int, device: str) -> tuple[list[str], bool]:
    """Draw configurations, and tell whether what trains together with them must be trained, too.

    Sums over networks that are measured together, and steps of a stack, are rounded by their company. So those that are
    measured together are drawn together, until there are enough; and of a stack all are trained.
    """
    names = [configuration_name(point) for point in spec.points()]
    material = Material.of_spec(spec)
    slices = sliced(spec, material, device)
    together = {name: one.names for one in slices for name in one.names}
    some: set[str] = set()
    for at in np.random.default_rng(seed).permutation(len(names)):
        if len(some) >= configurations:
            break
        some.update(together[names[at]])
    first = (one.networks[0] for one in slices)
    kinds = {(one.width, one.depth, one.how.loss, *one.options.values()): one for one in first}
    forms = {form(spec, material.of(one.data).dataset, one, device) for one in kinds.values()}
    return [name for name in names if name in some], forms != {"taped"}


@contextmanager
def _workshop(keep: Path | None) -> Iterator[Path]:
    """Open the folder to build in; one that nobody wants to keep is removed, whatever happens."""
    if keep is not None:
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="mdbench-verify-") as name:
        yield Path(name)


def _specification(folder: Path) -> ZooSpec:
    if not (folder / SPEC).is_file():
        raise MdbenchError(f"{folder} has no {SPEC}: nobody can say how to build this zoo again")
    return read_spec(folder / SPEC)


def _check(zoo: Zoo, spec: ZooSpec, folder: Path) -> None:
    """Make sure that a specification is a zoo's own, and that the zoo is whole."""
    known = {file.path: file.sha256 for file in zoo.provenance.inputs}
    if known.get(SPEC) != sha256_of(folder / SPEC):
        raise MdbenchError(f"{folder / SPEC} is not the specification that the zoo was built from (SHA-256 differs)")
    grid = [configuration_name(point) for point in spec.points()]
    if zoo.checkpoints is None:
        raise MdbenchError(f"{folder} has no {CHECKPOINTS}: there is no network to compare with")
    networks = {f"{name}/seed={seed}" for name in grid for seed in spec.seeds}
    for what, there, wanted in (
        ("configuration", zoo.configurations.index, set(grid)),
        ("network", zoo.checkpoints.index, networks),
    ):
        strange = sorted(wanted.symmetric_difference(there))
        if strange:
            more = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
            raise MdbenchError(
                f"{folder}: {what} {strange[0]} is in one of {SPEC} and the tables, but not in both{more}"
            )
    if zoo.name != spec.name or set(zoo.moves) != set(spec.moves):
        raise MdbenchError(f"{folder}: zoo.json has another name, or other moves, than follow from {SPEC}")


def _families(zoo: Zoo, names: Sequence[str] | None) -> list[str]:
    """Return which families are to be measured: those that are wanted, or all that the zoo was measured in."""
    assert zoo.checkpoints is not None
    there = [family.name for family in FAMILIES.values() if family.reason in zoo.checkpoints]
    if names is None:
        return there
    wanted = [family.name for family in chosen(names)]
    absent = [name for name in wanted if name not in there]
    if absent:
        raise MdbenchError(
            f"zoo {zoo.name} was not measured in {absent[0]}; it was in: {', '.join(there) or 'nothing'}"
        )
    return wanted


def shipped_zoos() -> list[Path]:
    """Return the folders of the zoos that come with mdbench and can be rebuilt.

    Raises
    ------
    MdbenchError
        There are none.
    """
    found = sorted(path.parent for path in bundled_zoos().glob(f"*/{SPEC}"))
    if not found:
        raise MdbenchError(f"no zoo that comes with mdbench has a {SPEC}; name one, or give its folder")
    return found
