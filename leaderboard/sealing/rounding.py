"""What a measure gives away besides what it measures, rounded off before it is published.

A training error is a number of examples divided by their amount: its decimals tell the amount, which is a knob. So do all
shares of examples, and their differences: error barriers, disagreement. A number of eigenvalues, averaged over layers, tells
how many layers there are.
"""

import math
from typing import Final

import numpy as np
import pandas as pd

from mdbench.tables import COLUMNS

#: Units of shares of examples, and of their differences.
SHARES: Final = ("%", "points")
#: Units of numbers of things.
COUNTS: Final = ("eigenvalues",)
#: Where a zoo does not say how many examples its networks learnt from, they are taken for no fewer.
_FEWEST: Final = 100
_AMOUNT: Final = "data_amount"


def step_of(configurations: pd.DataFrame) -> float:
    """Return to which multiples shares of examples are rounded, in %: those that even the smallest amount of data reaches.

    It is one example of the smallest amount, 100 / min n, rounded up to 1, 2 or 5 times a power of ten. A mean over several
    networks is finer than that, so that every multiple is reached by every amount, and by several values of each.
    """
    amounts = configurations[_AMOUNT].dropna() if _AMOUNT in configurations else pd.Series(dtype=float)
    one = 100 / (float(amounts.min()) if len(amounts) else _FEWEST)
    power = 10.0 ** math.floor(math.log10(one) + 1e-9)
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= one * (1 - 1e-9)))


def rounded(configurations: pd.DataFrame, step: float) -> pd.DataFrame:
    """Return measures of which nobody can tell amounts of data, or numbers of layers, but from what they measure.

    Parameters
    ----------
    configurations : a row a configuration, public columns.
    step : to which multiples shares of examples are rounded, in %; see `step_of`. Numbers of things become whole.
    """
    found = configurations.copy()
    for name in map(str, found):
        unit = COLUMNS[name].unit
        if unit in SHARES:
            # A multiple as it is written: 0.3, not 0.30000000000000004.
            found[name] = np.round(np.round(found[name] / step) * step, 10)
        elif unit in COUNTS:
            found[name] = found[name].round()
    for name in map(str, found):
        measure = name.removesuffix("_quantile")
        if measure != name and measure in found:  # of what was rounded: ranks would tell which were equal before
            found[name] = (found[measure].rank() - 0.5) / found[measure].notna().sum()
    return found
