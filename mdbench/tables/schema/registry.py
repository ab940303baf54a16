"""All columns of a zoo table, in the order in which they stand there."""

from collections.abc import Iterable, Iterator
from typing import Final, Literal

from mdbench.tables.schema import (
    connectivity,
    diversity,
    grid,
    hessian,
    labels,
    memorization,
    performance,
    prunability,
    record,
    sharpness,
    similarity,
    spectra,
    topology,
    weights,
)
from mdbench.tables.schema.column import Column, Family

Kind = Literal["number", "whole", "flag", "text"]
_WHOLE: Final = ("seed", "steps", "diverged_at", "step", "seeds", "diverged_seeds")

_ALL: Final = (
    *record.COLUMNS,
    *grid.COLUMNS,
    *performance.TRAINED,
    *hessian.PUBLISHED,
    *connectivity.PUBLISHED,
    *similarity.PUBLISHED,
    *performance.COLUMNS,
    *hessian.COLUMNS,
    *connectivity.COLUMNS,
    *similarity.COLUMNS,
    *sharpness.COLUMNS,
    *diversity.COLUMNS,
    *spectra.COLUMNS,
    *topology.COLUMNS,
    *memorization.COLUMNS,
    *prunability.COLUMNS,
    *weights.COLUMNS,
    *labels.COLUMNS,
)

#: What the name of a column ends in that places a row among all rows of its zoo.
QUANTILE: Final = "_quantile"


def _with_quantiles(columns: Iterable[Column]) -> Iterator[Column]:
    """Yield columns and, behind all of them, the quantile of each measure of the landscape of a configuration."""
    every = tuple(columns)
    yield from every
    for column in every:
        spread = column.name.endswith(("_std", "_se"))
        if column.family is Family.LANDSCAPE and not spread and not column.of_layer:
            yield Column(
                f"{column.name}{QUANTILE}",
                "1",
                Family.LANDSCAPE,
                f"(rank − ½) / n of {column.name} among the n configurations of the zoo that have it, equal ones sharing "
                "their mean rank",
                relative=True,
                needs=column.needs,
            )


COLUMNS: Final[dict[str, Column]] = {column.name: column for column in _with_quantiles(_ALL)}


def of_family(*families: Family) -> list[str]:
    """Return the names of the columns of these families, in schema order."""
    return [column.name for column in COLUMNS.values() if column.family in families]


def kind(name: str) -> Kind:
    """Return what the values of a column are."""
    if name in _WHOLE:
        return "whole"
    if COLUMNS[name].unit:
        return "number"
    return "flag" if name == "diverged" else "text"
