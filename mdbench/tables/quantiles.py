"""Where a configuration stands among those of its zoo.

The scale of a measure of the landscape depends on the data, the architecture and the loss: a threshold that was learned
on one zoo means another thing on the next. Its quantile does not depend on any increasing change of scale, and takes no
label; it takes the other rows, though, so that only transductive methods get it.
"""

import pandas as pd

from mdbench.tables.schema import COLUMNS, QUANTILE


def quantiles(table: pd.DataFrame) -> pd.DataFrame:
    """Return the quantile of every measure that has one.

    Parameters
    ----------
    table : the configurations of a zoo; columns as in `mdbench.tables.schema`.

    Returns
    -------
    Columns ``MEASURE_quantile``, same index: (rank − ½) / n among the n rows that have the measure, equal ones sharing their
    mean rank; in (0, 1), with mean ½. NaN where the measure is.
    """
    measures = [column for column in map(str, table) if f"{column}{QUANTILE}" in COLUMNS]
    values = table[measures]
    return ((values.rank() - 0.5) / values.notna().sum()).add_suffix(QUANTILE)
