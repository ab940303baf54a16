"""Tables of a zoo from outside: what is refused, and how the rest is put in order."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mdbench.errors import MdbenchError
from mdbench.tables.schema import COLUMNS, Family, kind

_DERIVED = (Family.RFI, Family.LABEL)


def checked(where: str, table: pd.DataFrame, needed: Sequence[str]) -> pd.DataFrame:
    """Return a table with its measurements as floats, and without what is computed from them.

    Whole numbers stay what they are, and so do texts: the names that a knob may have for values.
    """
    table = table.drop(columns=[c for c in table.columns if c in COLUMNS and _is_derived(c)])
    unknown = [str(column) for column in table.columns if column not in COLUMNS]
    if unknown:
        raise MdbenchError(f"{where}: column {unknown[0]!r} is not one of `mdbench columns`")
    absent = [need for need in needed if need not in table.columns]
    if absent:
        raise MdbenchError(f"{where}: column {absent[0]!r} is missing")
    if table.empty:
        raise MdbenchError(f"{where}: the table has no rows")
    kinds = table.dtypes
    known = [column for column in table.columns if COLUMNS[column].family is not Family.ID]
    for column in known:
        if kind(column) == "text":
            if not table[column].map(lambda value: isinstance(value, str) and bool(value)).all():
                raise MdbenchError(f"{where}: column {column!r} is not text in every row")
        elif not pd.api.types.is_numeric_dtype(kinds[column]) or pd.api.types.is_bool_dtype(kinds[column]):
            raise MdbenchError(f"{where}: column {column!r} is not numeric")
    measured = [column for column in known if kind(column) == "number"]
    # As one block: pandas takes a millisecond for every column that is converted alone.
    numbers = table[measured].to_numpy(dtype=float, na_value=np.nan)
    return pd.concat([table.drop(columns=measured), pd.DataFrame(numbers, index=table.index, columns=measured)], axis=1)


def _is_derived(column: str) -> bool:
    return COLUMNS[column].family in _DERIVED or COLUMNS[column].relative


def named(where: str, table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a table indexed by the names of its rows, columns in schema order."""
    if table[column].isna().any() or table[column].duplicated().any():
        raise MdbenchError(f"{where}: column {column!r} must name every row, each differently")
    return table.set_index(column)[[known for known in COLUMNS if known in table.columns and known != column]]


def checked_checkpoints(where: str, table: pd.DataFrame, grid: pd.DataFrame, means: pd.Series) -> pd.DataFrame:
    """Return the table of networks, which must agree with the knobs and the mean test errors of the configurations."""
    table = checked(where, table, ("checkpoint", "configuration", "seed", "test_error"))
    table = named(where, table, "checkpoint")
    if not pd.api.types.is_integer_dtype(table["seed"]):
        raise MdbenchError(f"{where}: column 'seed' must be whole numbers")
    strangers = table[~table["configuration"].isin(grid.index)]
    if len(strangers):
        name, unknown = strangers.index[0], strangers["configuration"].iloc[0]
        raise MdbenchError(f"{where}: {name!r} is of configuration {unknown!r}, which the zoo does not have")
    twice = table.index[table.duplicated(subset=["configuration", "seed"])]
    if len(twice):
        raise MdbenchError(f"{where}: {twice[0]!r} has the configuration and the seed of another network")
    for knob in grid.columns.intersection(table.columns):
        wrong = table.index[table[knob].to_numpy() != grid.loc[table["configuration"], knob].to_numpy()]
        if len(wrong):
            raise MdbenchError(f"{where}: knob {knob!r} of {wrong[0]!r} is not that of its configuration")
    table["test_error"] = table["test_error"].where(np.isfinite(table["test_error"]))
    found = table.groupby("configuration")["test_error"].mean().reindex(means.index)
    contradicted = means.index[~np.isclose(found, means, rtol=1e-9, atol=1e-9, equal_nan=True)]
    if len(contradicted):
        name = contradicted[0]
        raise MdbenchError(
            f"{where}: the test errors of configuration {name!r} have the mean {found[name]:.10g}, "
            f"but its own test_error is {means[name]:.10g}"
        )
    return table


def checked_layers(
    where: str, table: pd.DataFrame, checkpoints: pd.DataFrame | None, *, steps: bool = False
) -> pd.DataFrame:
    """Return the table of layers, or, with steps, of a trajectory, whose networks the table of networks must have."""
    names = ["checkpoint", *(["step"] if steps else []), "layer"]
    table = checked(where, table, names).reset_index(drop=True)
    if steps and (not pd.api.types.is_integer_dtype(table["step"]) or (table["step"] < 0).any()):
        raise MdbenchError(f"{where}: column 'step' must be whole numbers from 0 up")
    unknown = table["checkpoint"][~table["checkpoint"].isin([] if checkpoints is None else checkpoints.index)]
    if len(unknown):
        raise MdbenchError(f"{where}: {unknown.iloc[0]!r} is a network that the zoo does not have")
    twice = table[table.duplicated(subset=names)]
    if len(twice):
        name, *step, layer = twice[names].iloc[0]
        at = f" at step {step[0]}" if steps else ""
        raise MdbenchError(f"{where}: layer {layer!r} of {name!r}{at} stands there twice")
    return table[[known for known in COLUMNS if known in table.columns]]
