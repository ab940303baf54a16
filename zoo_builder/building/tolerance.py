"""How far apart the numbers of a zoo may be that was built again on another kind of machine.

There sums are rounded differently, and training is chaotic: no network has the same tensors, and each is another draw from
the same distribution of seed noise. What does not depend on rounding (knobs, steps, shapes) must be equal still. What is
measured of networks is compared twice, by Student's t:

- configuration by configuration: the means over the seeds, in standard errors that both tables' spread over seeds gives,
  2 n − 2 degrees of freedom for n seeds;
- column by column: the mean over the configurations of these differences in standard errors, in its own standard errors. It
  sees what is wrong by a little everywhere. What has no seeds (properties of a configuration as a whole, of layers, how
  many numbers are missing) is compared in this way alone.

How far apart is too far follows from the number of comparisons: a rebuild by the same procedure is called different in at
most `FALSE_ALARMS` of all cases (Bonferroni), half of them for what training measures, which labels are made of. A
fixed number of standard errors would not do: with five seeds, one fair comparison in 250 is beyond four of them, and
there are thousands. Spreads are taken from both tables, so that one which is small by chance is no tolerance by itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from mdbench.tables import CHECKPOINTS, CONFIGURATIONS
from zoo_builder.building.pairs import SINGLE, Difference, Pair
from zoo_builder.building.tables import MEASURED

#: Probability that a rebuild by the same procedure on another kind of machine is called different.
FALSE_ALARMS: Final = 0.01
_ALL: Final = "all configurations"
_MISSING: Final = " is missing"


def by_tolerance(pairs: Sequence[Pair]) -> list[Difference]:
    """Compare by tolerance what is measured: see the module. Sizes are multiples of what is tolerated."""
    of_networks = {pair.column for pair in pairs if pair.table == CHECKPOINTS}
    found: list[tuple[Difference, int]] = []  # with degrees of freedom
    for pair in pairs:
        # Means over networks are no news; `compare` sees to it that they are those of the zoo's networks.
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


def _apart(pair: Pair) -> pd.DataFrame:
    """Return, for each configuration, means, their difference, that in standard errors, and how many more are missing."""
    ahead, behind = (one.groupby(pair.configurations, sort=False) for one in (pair.shipped, pair.rebuilt))
    n, m = ahead.count(), behind.count()
    table = pd.DataFrame({"shipped": ahead.mean(), "rebuilt": behind.mean(), "missing": n - m})
    table["difference"] = table["rebuilt"] - table["shipped"]
    largest = np.fmax(ahead.max().abs(), ahead.min().abs())
    table.loc[table["difference"].abs() <= SINGLE * largest, "difference"] = 0.0
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
