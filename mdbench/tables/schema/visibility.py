"""Which columns a method may see."""

from collections.abc import Iterable
from typing import Final

from mdbench.errors import MdbenchError, nearest
from mdbench.tables.schema.column import Family
from mdbench.tables.schema.registry import COLUMNS

#: A method sees columns of these families and of no other (rule 1 of docs/design.md).
VISIBLE_FAMILIES: Final = (Family.CONFIGURATION, Family.VALIDATION, Family.LANDSCAPE)


def check_visible(names: Iterable[str], *, transductive: bool = False) -> None:
    """Check that a method may see these columns.

    Parameters
    ----------
    names : columns that a method asks for.
    transductive : whether the method uses the test table as a batch. Such a method gets no column that reveals the label,
        and it alone gets those that place a row among all others.

    Raises
    ------
    MdbenchError
        A column is unknown, of a family that no method sees, gives labels away to a transductive method, or places a row
        among all others for an inductive one.
    """
    for name in names:
        column = COLUMNS.get(name)
        if column is None:
            raise MdbenchError(
                f"column {name!r} does not exist; `mdbench columns` lists those that do{nearest(name, COLUMNS)}"
            )
        if column.family not in VISIBLE_FAMILIES:
            raise MdbenchError(
                f"column {name!r} is forbidden: no method sees the {column.family} family "
                f"(allowed: {', '.join(VISIBLE_FAMILIES)})"
            )
        if column.relative and not transductive:
            raise MdbenchError(
                f"column {name!r} is forbidden on the inductive track: it places a row among all rows of its zoo; "
                'a method that uses it declares track = "transductive"'
            )
        if transductive and column.reveals_label:
            raise MdbenchError(
                f"column {name!r} is forbidden on the transductive track: "
                "a batch of test rows with it gives their labels away"
            )
