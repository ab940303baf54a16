"""Columns of a zoo's tables, each beside the one that was built again, and their values compared one by one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mdbench.tables import CHECKPOINTS, COLUMNS, CONFIGURATIONS, LAYERS, TRAJECTORY, Family, is_single, table_digests
from zoo_builder.building.tables import MEASURED
from zoo_builder.landscape import FAMILIES

#: By how much of its size a double-precision number may differ and be equal. A mean over seeds is of the size of the largest.
LAST_BITS: Final = 1e-12
#: The same where single precision has been in between.
SINGLE: Final = 1e-6

#: File → the columns that name its rows.
_ROWS: Final = {
    CONFIGURATIONS: ["configuration"],
    CHECKPOINTS: ["checkpoint"],
    LAYERS: ["checkpoint", "layer"],
    TRAJECTORY: ["checkpoint", "step", "layer"],
}
#: The record of the runs, as far as it does not depend on rounding.
_FIXED: Final = ("configuration", "seed", "steps", "matrix_rows", "matrix_columns")
#: Columns that come with a family, and are none of its metrics.
_BESIDE: Final = {"spectra": ("matrix_rows", "matrix_columns")}
#: Names of rows, by which tables are joined, and where networks lay.
_UNCOMPARED: Final = ("checkpoint", "step", "layer", "shard")


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
class Cell:
    """One value, compared: whether it is equal, and whether to the last bit."""

    difference: Difference
    equal: bool
    identical: bool


@dataclass(frozen=True)
class Pair:
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

    def cells(self) -> Iterator[Cell]:
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
            yield Cell(found, bool(identical or size <= LAST_BITS), bool(identical))


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Return a zoo's tables as its files have them, file → table, indexed by names of rows."""
    tables = {}
    for name in table_digests(folder):
        table: pd.DataFrame = pq.ParquetFile(folder / name).read().to_pandas()
        table.index = pd.Index(table[_ROWS[name]].astype(str).agg(": ".join, axis=1))
        tables[name] = table
    return tables


def side_by_side(
    own: Mapping[str, pd.DataFrame], rebuilt: Mapping[str, pd.DataFrame], families: Sequence[str]
) -> Iterator[Pair]:
    """Yield every column that is compared. What the rebuilt tables lack is missing there, be it a row or a column."""
    networks = own[CHECKPOINTS]
    for name, before in own.items():
        after = rebuilt.get(name, before.iloc[:0])
        rows = before.index.union(after.index, sort=False)
        owners = rows.to_series()
        if name == CHECKPOINTS:
            owners = before["configuration"].reindex(rows)
        elif name in (LAYERS, TRAJECTORY):
            checkpoints = pd.concat([before["checkpoint"], after["checkpoint"]])
            owners = checkpoints[~checkpoints.index.duplicated()].reindex(rows).map(networks["configuration"])
        for column in compared_columns(before, families):
            other = after[column] if column in after else pd.Series(None, index=after.index, dtype=object)
            if name == CONFIGURATIONS and is_single(column) and _in_single(before[column]):
                other = other.astype(float).astype(np.float32)
            shipped, again = _alike(before[column].reindex(rows), other.reindex(rows))
            scale = pd.Series(np.nan, index=rows)
            of_networks = column.removesuffix("_std")
            if name == CONFIGURATIONS and shipped.dtype == np.float64 and of_networks in networks:
                numbers = pd.to_numeric(networks[of_networks]).abs()
                scale = numbers.groupby(networks["configuration"]).max().reindex(rows).astype(float)
            yield Pair(name, column, shipped, again, owners, scale)


def compared_columns(table: pd.DataFrame, families: Sequence[str]) -> list[str]:
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


def _in_single(values: "pd.Series[Any]") -> bool:
    """Tell whether doubles hold numbers of single precision, as the means of a published zoo do: see `single_precision`."""
    numbers = values.astype(float).dropna()
    return bool((numbers.astype(np.float32).astype(float) == numbers).all())


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
