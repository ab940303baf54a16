"""Verifying a zoo: some configurations, chosen at random, are trained and measured again, and compared with its tables.

On the same kind of machine a network is trained to the same bits. Then every value must be equal, at the precision of its
column; in double precision, numbers that differ in the last bits alone (`LAST_BITS`) are counted as equal, and told.

On another kind of machine sums are rounded differently, and training is chaotic: no network has the same tensors, and each is
another draw from the same distribution of seed noise. What does not depend on rounding (knobs, steps, shapes) must be
equal still. What is measured of networks is compared twice, by Student's t:

- configuration by configuration: the means over the seeds, in standard errors that both tables' spread over seeds gives,
  2 n − 2 degrees of freedom for n seeds;
- column by column: the mean over the configurations of these differences in standard errors, in its own standard errors. It
  sees what is wrong by a little everywhere. What has no seeds (properties of a configuration as a whole, of layers, how
  many numbers are missing) is compared in this way alone.

How far apart is too far follows from the number of comparisons: a rebuild by the same procedure is called different in at
most `FALSE_ALARMS` of all cases (Bonferroni), half of them for what training measures, which labels are made of. A
fixed number of standard errors would not do: with five seeds, one fair comparison in 250 is beyond four of them, and
there are thousands. Spreads are taken from both tables, so that one which is small by chance is no tolerance by itself.

Where some networks have the same tensors and others do not, there is no tolerance: a machine that rounds differently
changes all of them.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import stats

from mdbench.errors import MdbenchError
from mdbench.tables import (
    CHECKPOINTS,
    COLUMNS,
    CONFIGURATIONS,
    LAYERS,
    Family,
    Zoo,
    bundled_zoos,
    load_zoo,
    sha256_of,
    table_digests,
)
from zoo_builder.building.builder import build
from zoo_builder.building.executors import OpenExecutor
from zoo_builder.building.measuring import measure
from zoo_builder.building.progress import Progress
from zoo_builder.building.store import SPEC
from zoo_builder.building.tables import MEASURED
from zoo_builder.landscape import FAMILIES, chosen
from zoo_builder.specification import ARCHITECTURES, ZooSpec, configuration_name, read_spec

Verdict = Literal["equal", "within tolerance", "differs"]
#: Says what is being done, and returns what shows how far it is.
Stage = Callable[[str], AbstractContextManager[Callable[[Progress], None]]]

#: By how much of its size a double-precision number may differ and be equal. A mean over seeds is of the size of the largest.
LAST_BITS: Final = 1e-12
#: The same where single precision has been in between.
_SINGLE: Final = 1e-6
#: Probability that a rebuild by the same procedure on another kind of machine is called different.
FALSE_ALARMS: Final = 0.01

#: File → the columns that name its rows.
_ROWS: Final = {CONFIGURATIONS: ["configuration"], CHECKPOINTS: ["checkpoint"], LAYERS: ["checkpoint", "layer"]}
#: The record of the runs, as far as it does not depend on rounding.
_FIXED: Final = ("configuration", "seed", "steps", "matrix_rows", "matrix_columns")
#: Columns that come with a family, and are none of its metrics.
_BESIDE: Final = {"spectra": ("matrix_rows", "matrix_columns")}
#: Names of rows, by which tables are joined, and where networks lay.
_UNCOMPARED: Final = ("checkpoint", "layer", "shard")
_DIGEST: Final = "sha256"
_ALL: Final = "all configurations"
_MISSING: Final = " is missing"


@dataclass(frozen=True)
class Difference:
    """A value that is not what it should be, or the one that comes nearest to that.

    Attributes
    ----------
    table, row, column : where it is.
    shipped, rebuilt : both values; None where there is none.
    size : of numbers, their difference as a share of the larger one, or as a multiple of what is tolerated where `t` is
        given; None of what has no such size: texts, and numbers of which one is missing.
    t : Student's, of a comparison by tolerance.
    """

    table: str
    row: str
    column: str
    shipped: float | str | None
    rebuilt: float | str | None
    size: float | None
    t: float | None = None


@dataclass(frozen=True)
class Comparison:
    """What came of comparing tables.

    Attributes
    ----------
    verdict, said : in a word, and in a line.
    networks, digests_equal : networks, and how many of them have the same tensors.
    values : values compared to the last bit; on another kind of machine those that do not depend on rounding.
    values_equal, values_identical : how many are equal, and how many of these to the last bit.
    tests : comparisons by tolerance.
    largest : the largest difference between numbers, if there is any.
    differences : all that is too much, the worst first.
    """

    verdict: Verdict
    said: str
    networks: int
    digests_equal: int
    values: int
    values_equal: int
    values_identical: int
    tests: int
    largest: Difference | None
    differences: tuple[Difference, ...]


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
    `build` does: where its architecture is an import path, that is imported, for those who trust it alone.

    Parameters
    ----------
    folder : the zoo's.
    open_executor : opens workers; see `zoo_builder.building.executors`.
    seed : of the choice.
    configurations : how many, all their seeds; at most all that there are.
    families : names of families to be measured; if left out, all that the zoo was measured in.
    device : kind of device that the work is cut for, ``cpu`` or ``cuda``.
    trust_code : whether to run the code that an architecture ``package.module:factory`` names. A specification can name
        any function that can be imported: only for those that one has read.
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
    if spec.architecture.name not in ARCHITECTURES and not trust_code:
        raise MdbenchError(
            f"{folder}: the networks of zoo {zoo.name} are made by code of its own, {spec.architecture.name}; "
            "if you know this code and trust it, pass trust_code=True (--trust-code)"
        )
    wanted = _families(zoo, families)
    names = [configuration_name(point) for point in spec.points()]
    drawn = np.random.default_rng(seed).choice(len(names), size=min(configurations, len(names)), replace=False)
    some = [names[at] for at in sorted(drawn)]
    with _workshop(keep) as home:
        with stage("training") as progress:
            rebuilt = build(folder / SPEC, home, open_executor, device=device, only=some, progress=progress)
        if wanted:
            with stage("measuring") as progress:
                measure(home, open_executor, families=wanted, device=device, progress=progress)
        comparison = compare(read_tables(folder), read_tables(home), some, wanted)
    made_by = zoo.provenance.made_by, rebuilt.provenance.made_by
    return Verification(zoo.name, seed, tuple(some), tuple(wanted), *made_by, comparison)


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


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Return a zoo's tables as its files have them, file → table, indexed by names of rows."""
    tables = {}
    for name in table_digests(folder):
        table: pd.DataFrame = pq.ParquetFile(folder / name).read().to_pandas()
        table.index = pd.Index(table[_ROWS[name]].astype(str).agg(": ".join, axis=1))
        tables[name] = table
    return tables


def compare(
    shipped: Mapping[str, pd.DataFrame],
    rebuilt: Mapping[str, pd.DataFrame],
    some: Sequence[str],
    families: Sequence[str],
) -> Comparison:
    """Compare a zoo's tables with those of some configurations that were rebuilt.

    Parameters
    ----------
    shipped, rebuilt : tables as from `read_tables`.
    some : names of the configurations.
    families : what was measured of them.
    """
    own = _of(shipped, some)
    before, after = own[CHECKPOINTS], rebuilt[CHECKPOINTS].reindex(own[CHECKPOINTS].index)
    alive = ~before["diverged"].astype(bool)
    same = before[_DIGEST] == after[_DIGEST]
    decisive = same[alive] if alive.any() else same  # what a network's tensors are once it has diverged may be anything
    elsewhere = not decisive.any()
    pairs = list(_pairs(own, rebuilt, families))
    contradictions = _contradictions(shipped, families)
    fixed = [cell for pair in pairs if not elsewhere or pair.fixed for cell in pair.cells()]
    wrong = [cell.difference for cell in fixed if not cell.equal] + contradictions
    largest = max((cell.difference for cell in fixed if cell.difference.size), key=_size, default=None)
    tests: list[Difference] = []
    if elsewhere:
        tests = _tests(pairs)
        largest = max(tests, key=_size, default=None)
        wrong += [test for test in tests if _size(test) > 1]
    wrong.sort(key=lambda one: (-_size(one), one.column != _DIGEST))
    counts = len(same), int(same.sum()), len(fixed), sum(cell.equal for cell in fixed)
    identical = sum(cell.identical for cell in fixed)
    verdict: Verdict = "differs" if wrong or (elsewhere and not tests) else "within tolerance" if elsewhere else "equal"
    said = _said(verdict, counts, identical, tests, largest, len(wrong), mixed=not elsewhere and not decisive.all())
    return Comparison(verdict, said, *counts, identical, len(tests), largest, tuple(wrong))


def _said(
    verdict: Verdict,
    counts: tuple[int, int, int, int],
    identical: int,
    tests: Sequence[Difference],
    largest: Difference | None,
    wrong: int,
    *,
    mixed: bool,
) -> str:
    networks, same, values, equal = counts
    if verdict == "equal":
        last = f", {equal - identical:,} of them in all but the last bits" if equal > identical else ", to the last bit"
        return f"equal: {networks:,} networks, {values:,} values{last}"
    if verdict == "within tolerance":
        assert largest is not None
        return (
            "within tolerance: no network has the same tensors, as on another kind of machine; of "
            f"{len(tests):,} comparisons the widest is {_size(largest):.2f} of what seed noise explains"
        )
    if mixed:
        return (
            f"differs: {same:,} of {networks:,} networks have the same tensors and {networks - same:,} have others: "
            "a machine that rounds differently changes all of them"
        )
    if same:
        return f"differs: the networks are the same, but {wrong:,} values are not"
    if not tests:
        return (
            "differs: no network has the same tensors, as on another kind of machine, and there are too few networks to "
            "judge them by"
        )
    return (
        "differs: no network has the same tensors, as on another kind of machine, and "
        f"{wrong:,} differences are more than seed noise explains"
    )


def _size(one: Difference) -> float:
    return np.inf if one.size is None else one.size


def _of(tables: Mapping[str, pd.DataFrame], some: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return the rows of some configurations."""
    networks = tables[CHECKPOINTS]
    networks = networks[networks["configuration"].isin(some)]
    own = {CONFIGURATIONS: tables[CONFIGURATIONS].loc[list(some)], CHECKPOINTS: networks}
    if LAYERS in tables:
        own[LAYERS] = tables[LAYERS][tables[LAYERS]["checkpoint"].isin(networks.index)]
    return own


@dataclass(frozen=True)
class _Cell:
    """One value, compared: whether it is equal, and whether to the last bit."""

    difference: Difference
    equal: bool
    identical: bool


@dataclass(frozen=True)
class _Pair:
    """A column of a table, as it is and as it was rebuilt.

    Attributes
    ----------
    table, column : which.
    shipped, rebuilt : values of the same rows; numbers as float64 after rounding to the precision of the zoo's own column,
        otherwise texts and None.
    configurations : of each row.
    scale : of each row, how large the numbers are that the value was computed from; NaN where it is its own scale.
    """

    table: str
    column: str
    shipped: "pd.Series[Any]"
    rebuilt: "pd.Series[Any]"
    configurations: "pd.Series[str]"
    scale: "pd.Series[float]"

    @property
    def fixed(self) -> bool:
        """Whether it does not depend on rounding."""
        return self.column in _FIXED or COLUMNS[self.column].family in (Family.KNOB, Family.CONFIGURATION)

    @property
    def measured(self) -> bool:
        """Whether it is a number that a network, a layer or a configuration has."""
        return self.numeric and COLUMNS[self.column].family in (Family.LANDSCAPE, Family.VALIDATION)

    @property
    def numeric(self) -> bool:
        """Whether both are numbers."""
        return self.shipped.dtype == np.float64

    def cells(self) -> Iterator[_Cell]:
        """Compare value by value."""
        same = (self.shipped == self.rebuilt) | (self.shipped.isna() & self.rebuilt.isna())
        sizes: NDArray[np.float64] = np.full(len(same), np.nan)
        if self.numeric:
            scale = np.fmax(np.fmax(self.shipped.abs(), self.rebuilt.abs()), self.scale)
            sizes = np.where(same, 0.0, (self.shipped - self.rebuilt).abs() / scale)
        for row, one, other, identical, size in zip(
            self.shipped.index, self.shipped, self.rebuilt, same, sizes, strict=True
        ):
            found = Difference(
                self.table,
                str(row),
                self.column,
                None if pd.isna(one) else one,
                None if pd.isna(other) else other,
                float(size) if np.isfinite(size) else None,
            )
            yield _Cell(found, bool(identical or size <= LAST_BITS), bool(identical))


def _pairs(
    own: Mapping[str, pd.DataFrame], rebuilt: Mapping[str, pd.DataFrame], families: Sequence[str]
) -> Iterator[_Pair]:
    """Yield every column that is compared. What the rebuilt tables lack is missing there, be it a row or a column."""
    networks = own[CHECKPOINTS]
    for name, before in own.items():
        after = rebuilt.get(name, before.iloc[:0])
        rows = before.index.union(after.index, sort=False)
        owners = rows.to_series()
        if name == CHECKPOINTS:
            owners = before["configuration"].reindex(rows)
        elif name == LAYERS:
            checkpoints = pd.concat([before["checkpoint"], after["checkpoint"]])
            owners = checkpoints[~checkpoints.index.duplicated()].reindex(rows).map(networks["configuration"])
        for column in _compared(before, families):
            other = after[column] if column in after else pd.Series(None, index=after.index, dtype=object)
            shipped, again = _alike(before[column].reindex(rows), other.reindex(rows))
            scale = pd.Series(np.nan, index=rows)
            of_networks = column.removesuffix("_std")
            if name == CONFIGURATIONS and shipped.dtype == np.float64 and of_networks in networks:
                numbers = pd.to_numeric(networks[of_networks]).abs()
                scale = numbers.groupby(networks["configuration"]).max().reindex(rows).astype(float)
            yield _Pair(name, column, shipped, again, owners, scale)


def _compared(table: pd.DataFrame, families: Sequence[str]) -> list[str]:
    """Return the columns of a zoo's table that a rebuild must have, too.

    Labels, RFI and quantiles are functions of a whole zoo, and other families were not measured again.
    """
    others: set[str] = set()
    for family in FAMILIES.values():
        columns = {
            family.reason,
            *family.columns("checkpoint", "configuration", "layer"),
            *_BESIDE.get(family.name, ()),
        }
        if family.name not in families:
            others |= columns | {f"{column}_std" for column in columns}
    others -= {name for column in MEASURED for name in (column, f"{column}_std")}
    return [
        column
        for column in map(str, table.columns)
        if column not in others
        and column not in _UNCOMPARED
        and not column.endswith("_quantile")
        and COLUMNS[column].family not in (Family.RFI, Family.LABEL)
    ]


def _alike(shipped: "pd.Series[Any]", rebuilt: "pd.Series[Any]") -> tuple["pd.Series[Any]", "pd.Series[Any]"]:
    """Return both as float64, the rebuilt one rounded to the precision of the other, or both as texts."""
    if all(pd.api.types.is_numeric_dtype(one) or one.isna().all() for one in (shipped, rebuilt)):
        rounded = rebuilt.astype(float)
        if pd.api.types.is_float_dtype(shipped):
            rounded = rounded.astype(shipped.dtype)
        return shipped.astype(float), rounded.astype(float)
    texts = (one.astype(object).where(one.notna(), None) for one in (shipped, rebuilt))
    first, second = (one.map(lambda value: None if value is None else str(value)) for one in texts)
    return first.astype(object), second.astype(object)


def _contradictions(shipped: Mapping[str, pd.DataFrame], families: Sequence[str]) -> list[Difference]:
    """Return the means and standard deviations of a zoo, of all configurations, that are not those of its own networks."""
    table, networks = shipped[CONFIGURATIONS], shipped[CHECKPOINTS]
    columns = [
        column
        for column in _compared(networks, families)
        if column in table and COLUMNS[column].family in (Family.LANDSCAPE, Family.VALIDATION)
    ]
    groups = networks[columns].astype(float).groupby(networks["configuration"])
    means, spreads = groups.mean().reindex(table.index), groups.std(ddof=1).reindex(table.index)
    scale = networks[columns].astype(float).abs().groupby(networks["configuration"]).max().reindex(table.index)
    found = []
    for name, wanted in (
        (name, some[column]) for column in columns for name, some in ((column, means), (f"{column}_std", spreads))
    ):
        if name not in table:
            continue
        said = table[name].astype(float)
        apart = (said - wanted).abs() / scale[name.removesuffix("_std")]
        wrong = (apart > _SINGLE) | (said.isna() != wanted.isna())
        for row in table.index[wrong]:
            values = [None if pd.isna(one[row]) else float(one[row]) for one in (said, wanted, apart)]
            found.append(Difference(CONFIGURATIONS, str(row), name, values[0], values[1], values[2]))
    return found


def _tests(pairs: Sequence[_Pair]) -> list[Difference]:
    """Compare by tolerance what is measured: see the module."""
    of_networks = {pair.column for pair in pairs if pair.table == CHECKPOINTS}
    found: list[tuple[Difference, int]] = []  # with degrees of freedom
    for pair in pairs:
        # Means over networks are no news; `_contradictions` sees to it that they are those of the zoo's networks.
        if not pair.measured or (pair.table == CONFIGURATIONS and pair.column.removesuffix("_std") in of_networks):
            continue
        apart = _apart(pair)
        missing, together = apart["missing"], apart["difference"]
        if pair.table == CHECKPOINTS:
            apart = apart[apart["freedom"] > 0]
            together = apart["t"]
            found += [
                (
                    Difference(pair.table, str(row), pair.column, one["shipped"], one["rebuilt"], None, one["t"]),
                    one["freedom"],
                )
                for row, one in apart.iterrows()
            ]
        t, freedom = _student(together.to_numpy(dtype=float))
        ends = float(apart["shipped"].mean()), float(apart["rebuilt"].mean())
        found.append((Difference(pair.table, _ALL, pair.column, ends[0], ends[1], None, t), freedom))
        t, freedom = _student(missing.to_numpy(dtype=float))
        found.append((Difference(pair.table, _ALL, f"{pair.column}{_MISSING}", None, None, None, t), freedom))
    found = [one for one in found if one[1]]
    return list(_judged(found))


def _apart(pair: _Pair) -> pd.DataFrame:
    """Return, for each configuration, means, their difference, that in standard errors, and how many more are missing."""
    ahead, behind = (one.groupby(pair.configurations, sort=False) for one in (pair.shipped, pair.rebuilt))
    n, m = ahead.count(), behind.count()
    table = pd.DataFrame({"shipped": ahead.mean(), "rebuilt": behind.mean(), "missing": n - m})
    table["difference"] = table["rebuilt"] - table["shipped"]
    largest = np.fmax(ahead.max().abs(), ahead.min().abs())
    table.loc[table["difference"].abs() <= _SINGLE * largest, "difference"] = 0.0
    table["freedom"] = (n + m - 2).where((n > 0) & (m > 0), 0)
    squares = sum(one.var(ddof=0) * one.count() for one in (ahead, behind))
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.sqrt(squares / table["freedom"] * (1 / n + 1 / m))
        table["t"] = np.where(table["difference"] == 0, 0.0, table["difference"] / errors)
    return table


def _student(values: NDArray[np.float64]) -> tuple[float, int]:
    """Return Student's t of a mean that should be 0, and its degrees of freedom; 0 of them where there are too few values."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return 0.0, 0
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    return float(mean / error if error else np.copysign(np.inf, mean) if mean else 0.0), len(values) - 1


def _judged(found: Sequence[tuple[Difference, int]]) -> Iterator[Difference]:
    """Yield comparisons with their sizes, as multiples of what is tolerated."""
    for training in (True, False):
        own = [one for one in found if (one[0].column.removesuffix(_MISSING) in MEASURED) == training]
        for difference, freedom in own:
            assert difference.t is not None
            size = abs(difference.t) / float(stats.t.isf(FALSE_ALARMS / 2 / len(own) / 2, freedom))
            yield replace(difference, size=size if np.isfinite(size) else None)
