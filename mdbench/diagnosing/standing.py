"""Where a network stands in the pool: what of it lies beyond all, and which networks look like it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mdbench.diagnosing.diagnosis import Neighbour, Outside
from mdbench.diagnosing.judge import COORDINATES
from mdbench.diagnosing.leaving import Rows, learned
from mdbench.diagnosing.pool import ASKED, Pool
from mdbench.tables import Task, coordinates_of

#: Networks that are nearest.
NEAREST: Final = 20
#: No coordinate counts for more than so many standard deviations of a distance.
_FARTHEST: Final = 4.0


def outside(row: pd.DataFrame, pool: pd.DataFrame, columns: Sequence[str]) -> tuple[Outside, ...]:
    """Return the coordinates of a network that lie beyond all of the pool, the farthest first.

    Parameters
    ----------
    row : columns of a zoo's tables, one row.
    pool : the same, of the networks that it is compared with.
    columns : that are looked at.
    """
    mine, theirs = _coordinates(row, columns), _coordinates(pool, columns)
    low, high, spread = theirs.min(), theirs.max(), theirs.std()
    found = []
    for name, value in zip(mine.columns, mine.iloc[0].to_numpy(dtype=float), strict=True):
        beyond = max(float(low[name]) - value, value - float(high[name]))
        if beyond > 0:  # not where it is missing
            found.append(
                Outside(
                    coordinate=str(name),
                    value=float(value),
                    low=float(low[name]),
                    high=float(high[name]),
                    beyond=float(beyond / spread[name]),
                )
            )
    return tuple(sorted(found, key=lambda one: -one.beyond))


def nearest(row: pd.DataFrame, pool: Pool, columns: Sequence[str], count: int = NEAREST) -> tuple[Neighbour, ...]:
    """Return the networks of the pool that look most like one, the nearest first.

    The distance is the mean over coordinates that both have of their difference, in standard deviations of the pool.
    """
    mine, theirs = _coordinates(row, columns), _coordinates(pool.rows, columns)
    apart = ((theirs - mine.iloc[0]).abs() / theirs.std()).clip(upper=_FARTHEST)
    distance = apart.mean(axis=1).to_numpy()
    order = np.argsort(distance, kind="stable")[:count]
    return tuple(
        Neighbour(
            zoo=str(pool.rows["zoo"].iloc[at]),
            configuration=str(pool.rows["configuration"].iloc[at]),
            distance=float(distance[at]),
            lacked={task: str(pool.labels[task].iloc[at]) for task in ASKED},
        )
        for at in order
        if np.isfinite(distance[at])
    )


def _coordinates(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    return coordinates_of(rows[[name for name in columns if name in rows]], COORDINATES)


@dataclass(frozen=True, eq=False)
class Standing:
    """The pool over two coordinates, coloured by what each network lacked, and where one network is in it.

    Attributes
    ----------
    task : whose verdicts the labels are.
    x, y : the coordinates.
    points : (n, 2), of the pool's networks with a clear verdict.
    labels : (n,), their verdicts.
    own : (2,), of the network in question.
    """

    task: str
    x: str
    y: str
    points: NDArray[np.float64]
    labels: Sequence[str]
    own: NDArray[np.float64]


def phase(row: pd.DataFrame, pool: Pool, columns: Sequence[str], task: Task) -> Standing:
    """Return where a network is over the two coordinates that the trees of a task lean on most."""
    rows = Rows.of(pool, task)
    rows = rows.some(rows.clear)
    judge = learned(pool, task, columns, rows)
    x, y = judge.telling()[:2]
    theirs = _coordinates(pool.rows.iloc[rows.at], columns)[[x, y]].to_numpy(dtype=float)
    known = np.isfinite(theirs).all(axis=1)
    labels = [task.classes[place] for place in rows.right[known]]
    own = _coordinates(row, columns)[[x, y]].to_numpy(dtype=float)[0]
    return Standing(task.name, x, y, theirs[known], labels, own)
