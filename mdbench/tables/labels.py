"""From a grid of test accuracies to failure labels.

A zoo is a grid: every row is a point, every knob an axis. A *move* turns one knob in one direction. The room for
improvement (RFI) of a move at a point is the best accuracy that the move alone can reach, staying put included, minus the
point's own (Zhou et al., MD tree, ICML 2024, section 3). A label compares the RFI of moves.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mdbench.tables.tasks import NONE, Task, offered_tasks


@dataclass(frozen=True)
class Move:
    """One knob turned in one direction.

    Attributes
    ----------
    name : what the move does: ``temperature_up``, ``temperature_down``, ``width``, ``data``, ``longer``,
        ``regularization_up``, ``regularization_down``. Knobs that do the same (batch size and learning rate both set the
        temperature) share a name.
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
    grid : one row a point, one column a knob, shape (n, knobs); numbers, or names in a knob that no move turns.
    move : the move to follow.

    Returns
    -------
    line : the line of each point, shape (n,): points that differ in the moved knob alone share one.
    order : positions sorted by line and, within a line, from the start of the move to its end, shape (n,).
    """
    others = [knob for knob in grid.columns if knob != move.knob]
    line = grid.groupby(others, sort=False).ngroup().to_numpy() if others else np.zeros(len(grid), dtype=np.int64)
    return line, np.lexsort((move.sign * grid[move.knob].to_numpy(), line))


def reach(grid: pd.DataFrame, accuracy: pd.Series, moves: Iterable[Move]) -> np.ndarray:
    """Return where turning one knob alone leads from each point: to the best accuracy on the way.

    Parameters
    ----------
    grid : one row a point, one column a knob, no point twice; points may be missing.
    accuracy : test accuracy in %, same index as `grid`; NaN where it is not known.
    moves : one move, or several knobs that do the same: the best of them counts.

    Returns
    -------
    Positions in `grid`, shape (n,): the point itself where nothing on the way is better, or its own accuracy is not
    known. Of several equally good points the nearest one counts, and the first move that leads to one.
    """
    own = accuracy.to_numpy(dtype=float)
    here = np.arange(len(own))
    reached = here
    for move in moves:
        line, order = order_along(grid, move)
        # From the far end of each line backwards, the last point to equal the running maximum is the best one ahead.
        back = order[::-1]
        ahead = own[back]
        leads = ahead == pd.Series(ahead).groupby(line[back], sort=False).cummax().to_numpy()
        best = np.empty_like(here)
        best[back] = back[np.maximum.accumulate(np.where(leads, here, 0))]
        reached = np.where(own[best] > own[reached], best, reached)
    return np.where(np.isnan(own), here, reached)


def room_for_improvement(grid: pd.DataFrame, accuracy: pd.Series, moves: Iterable[Move]) -> pd.Series:
    """Return the accuracy to gain by turning one knob alone.

    Parameters
    ----------
    grid, accuracy, moves : see `reach`.

    Returns
    -------
    RFI in percentage points, at least 0, same index as `grid`; NaN where the point's own accuracy is.
    """
    return accuracy.astype(float).iloc[reach(grid, accuracy, moves)].set_axis(grid.index) - accuracy


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


def leading(
    grid: pd.DataFrame, test_error: pd.Series, moves: Sequence[Move], task: Task
) -> tuple[np.ndarray, np.ndarray]:
    """Return the points that a task's best and second-best verdict lead to, as positions in `grid`, (n,) each.

    The margin of a label is the difference of their test errors. Parameters as in `derive`.
    """
    return _leading(*_gains(grid, test_error, moves), task)


def derive(
    grid: pd.DataFrame, test_error: pd.Series, moves: Sequence[Move], by_seed: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return every RFI and label column that a grid supports.

    Standard errors are over paired seeds: a seed has the same initialisation and data order at every grid point, so that
    the difference between two points is taken seed by seed. They are those of a difference between two given points, and
    ignore that the better point was chosen for its mean: the RFI itself is biased upwards by that choice (the winner's
    curse), which they do not say.

    Parameters
    ----------
    grid : one row a point, one column a knob.
    test_error : test error in %, same index.
    moves : what can be turned. Tasks that these moves do not support get no label, see `Task.among`.
    by_seed : test errors in %, same index, one column a seed, NaN where there is none; shape (n, seeds).

    Returns
    -------
    Columns ``rfi_MOVE``, ``TASK`` and ``TASK_margin`` of `mdbench.tables.schema`, same index as `grid`. With `by_seed` also
    ``rfi_MOVE_se`` and ``TASK_margin_se``, in points: 0 where the two points are one, NaN where fewer than two seeds
    have both.
    """
    own = 100 - test_error.to_numpy(dtype=float)
    rfi, reached = _gains(grid, test_error, moves)
    tasks = offered_tasks(reached).values()
    derived = rfi.add_prefix("rfi_")
    for task in tasks:
        derived[task.name], derived[f"{task.name}_margin"] = label(rfi, task)
    if by_seed is not None:
        errors = by_seed.to_numpy(dtype=float)
        for name, at in reached.items():
            derived[f"rfi_{name}_se"] = _standard_error(errors, at, np.arange(len(own)), own)
        for task in tasks:
            derived[f"{task.name}_margin_se"] = _standard_error(errors, *_leading(rfi, reached, task), own)
    return derived


def _gains(
    grid: pd.DataFrame, test_error: pd.Series, moves: Sequence[Move]
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Return the RFI of every move, (n, moves), and the points that each leads to, as positions, name → (n,)."""
    own = 100 - test_error.to_numpy(dtype=float)
    accuracy = pd.Series(own, index=grid.index)
    names = dict.fromkeys(move.name for move in moves)
    reached = {name: reach(grid, accuracy, [m for m in moves if m.name == name]) for name in names}
    return pd.DataFrame({name: own[at] - own for name, at in reached.items()}, index=grid.index), reached


def _leading(rfi: pd.DataFrame, reached: Mapping[str, np.ndarray], task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return the points that the best and the second-best verdict lead to, as positions, (n,) each."""
    gains, ends = [], []
    for moves in task.verdicts.values():
        gain, end = rfi[list(moves)].to_numpy().T, np.stack([reached[move] for move in moves])
        best = gain.argmax(axis=0)[None]
        gains.append(np.take_along_axis(gain, best, axis=0)[0])
        ends.append(np.take_along_axis(end, best, axis=0)[0])
    first, second = np.argsort(-np.stack(gains), axis=0, kind="stable")[:2]
    rows = np.arange(len(rfi))
    return np.stack(ends)[first, rows], np.stack(ends)[second, rows]


def _standard_error(by_seed: np.ndarray, one: np.ndarray, other: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean difference between two points, for each of n rows with a known accuracy."""
    spread = pd.DataFrame(by_seed[one] - by_seed[other]).sem(axis=1, ddof=1).to_numpy()
    return np.where(np.isnan(own), np.nan, np.where(one == other, 0.0, spread))
