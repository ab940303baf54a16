"""From a grid of test accuracies to failure labels.

A zoo is a grid: every row is a point, every knob an axis. A *move* turns one knob in one direction. The room for
improvement (RFI) of a move at a point is the best accuracy that the move alone can reach, staying put included, minus the
point's own (Zhou et al., MD tree, ICML 2024, section 3). A label compares the RFI of moves.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mdbench.tasks import NONE, TASKS, Task


@dataclass(frozen=True)
class Move:
    """One knob turned in one direction.

    Attributes
    ----------
    name : what the move does: ``temperature_up``, ``temperature_down``, ``width``, ``data``. Knobs that do the same
        (batch size and learning rate both set the temperature) share a name.
    knob : the column that is turned.
    step : whether the knob grows or shrinks.
    """

    name: str
    knob: str
    step: Literal["up", "down"]

    @property
    def sign(self) -> int:
        """+1 where the knob grows, −1 where it shrinks."""
        return 1 if self.step == "up" else -1


def order_along(grid: pd.DataFrame, move: Move) -> tuple[np.ndarray, np.ndarray]:
    """Sort grid points into lines along a move.

    Parameters
    ----------
    grid : one row a point, one numeric column a knob, shape (n, knobs).
    move : the move to follow.

    Returns
    -------
    line : the line of each point, shape (n,): points that differ in the moved knob alone share one.
    order : positions sorted by line and, within a line, from the start of the move to its end, shape (n,).
    """
    others = [knob for knob in grid.columns if knob != move.knob]
    line = grid.groupby(others, sort=False).ngroup().to_numpy() if others else np.zeros(len(grid), dtype=np.int64)
    return line, np.lexsort((move.sign * grid[move.knob].to_numpy(), line))


def room_for_improvement(grid: pd.DataFrame, accuracy: pd.Series, moves: Iterable[Move]) -> pd.Series:
    """Return the accuracy to gain by turning one knob alone.

    Parameters
    ----------
    grid : one row a point, one numeric column a knob, no point twice; points may be missing.
    accuracy : test accuracy in %, same index as `grid`; NaN where it is not known.
    moves : one move, or several knobs that do the same: the best of them counts.

    Returns
    -------
    RFI in percentage points, at least 0, same index as `grid`; NaN where the point's own accuracy is.
    """
    own = accuracy.to_numpy(dtype=float)
    reachable = own
    for move in moves:
        line, order = order_along(grid, move)
        # From the far end of each line backwards, the running maximum is the best accuracy still ahead.
        back = order[::-1]
        ahead = np.empty_like(own)
        ahead[back] = pd.Series(own[back]).groupby(line[back], sort=False).cummax().to_numpy()
        reachable = np.maximum(reachable, ahead)
    return pd.Series(reachable - own, index=grid.index)


def label(rfi: pd.DataFrame, task: Task) -> tuple[pd.Series, pd.Series]:
    """Return a task's verdict on every row, and by how much it leads.

    Parameters
    ----------
    rfi : RFI in points, shape (n, moves), one column for each move of the task, named after it.
    task : the question.

    Returns
    -------
    labels : the verdict whose best move has the largest RFI; `NONE` where the largest is shared; null where an RFI is.
    margin : largest RFI among the verdicts minus the second largest, in points, same index.
    """
    best = np.stack([rfi[list(moves)].to_numpy().max(axis=1) for moves in task.verdicts.values()])
    ranked = np.sort(best, axis=0)
    margin = ranked[-1] - ranked[-2]
    verdicts = np.array(task.classes, dtype=object)[best.argmax(axis=0)]
    verdicts[ranked[-1] == ranked[-2]] = NONE
    verdicts[np.isnan(best).any(axis=0)] = None
    return pd.Series(verdicts, index=rfi.index, dtype=object), pd.Series(margin, index=rfi.index)


def derive(grid: pd.DataFrame, test_error: pd.Series, moves: Sequence[Move]) -> pd.DataFrame:
    """Return every RFI and label column that a grid supports.

    Parameters
    ----------
    grid : one row a point, one numeric column a knob.
    test_error : test error in %, same index.
    moves : what can be turned. A task whose moves are not all there gets no label.

    Returns
    -------
    Columns ``rfi_MOVE``, ``TASK`` and ``TASK_margin`` of `mdbench.schema`, same index as `grid`.
    """
    accuracy = 100 - test_error
    names = dict.fromkeys(move.name for move in moves)
    rfi = pd.DataFrame(
        {name: room_for_improvement(grid, accuracy, [m for m in moves if m.name == name]) for name in names},
        index=grid.index,
    )
    derived = rfi.add_prefix("rfi_")
    for task in TASKS.values():
        if set(task.moves) <= set(names):
            derived[task.name], derived[f"{task.name}_margin"] = label(rfi, task)
    return derived
