"""`mdbench.tables.schema`, under the path that method files import."""

from mdbench.tables.schema import (
    COLUMNS,
    QUANTILE,
    VISIBLE_FAMILIES,
    Column,
    Family,
    Kind,
    check_visible,
    kind,
    of_family,
)

__all__ = [
    "COLUMNS",
    "QUANTILE",
    "VISIBLE_FAMILIES",
    "Column",
    "Family",
    "Kind",
    "check_visible",
    "kind",
    "of_family",
]
