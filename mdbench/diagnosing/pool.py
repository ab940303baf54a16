"""The pool: networks of all zoos of this package, as one network of one's own is measured, with what each of them lacked."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mdbench.cases import load_cases
from mdbench.tables import COLUMNS, NONE, Family, Need, Task, Zoo, decided, find_task, load_zoo

#: Tasks that enough zoos pose for each to be left out in turn, and others to calibrate on.
ASKED: Final = ("optimizer", "data_vs_optimizer", "width_vs_optimizer", "failure_source")
#: Columns that are logarithms of the seed mean of another.
_LOGARITHMS: Final = {
    "log_hessian_trace": "hessian_trace",
    "log_hessian_top_eigenvalue": "hessian_top_eigenvalue",
}


@dataclass(frozen=True, eq=False)
class Pool:
    """Networks with their labels.

    Attributes
    ----------
    seeds : whether a row is a mean over several seeds, with what is between them; otherwise it is one network.
    rows : columns of the zoos' tables, and ``zoo``, ``configuration``; unique index.
    labels : a task's name → the verdict of each row; `NONE` where it has none.
    decided : a task's name → whether the verdict is more than noise.
    groups : a task's name → zoo → its group of kin, of the zoos that pose the task.
    zoos : by name.
    """

    seeds: bool
    rows: pd.DataFrame
    labels: pd.DataFrame
    decided: pd.DataFrame
    groups: dict[str, dict[str, int]]
    zoos: dict[str, Zoo]

    def asked(self, task: Task) -> NDArray[np.int64]:
        """Return the places of the rows that have a verdict in a task."""
        there = self.rows["zoo"].isin(list(self.groups[task.name])) & self.labels[task.name].isin(task.classes)
        found: NDArray[np.int64] = np.flatnonzero(there.to_numpy())
        return found


def kin(task: str) -> dict[str, int]:
    """Return the zoos that are asked about after learning from others, each with the number of its group of kin."""
    train = {case.test: frozenset(case.train) for case in load_cases("unseen") if case.task == task}
    groups: dict[frozenset[str], int] = {}
    return {zoo: groups.setdefault(frozenset(train) - others, len(groups)) for zoo, others in train.items()}


@lru_cache(maxsize=2)
def bundled_pool(seeds: bool) -> Pool:
    """Return the networks of the zoos that come with mdbench.

    Parameters
    ----------
    seeds : whether several seeds of one's own network are there. Where one is, the pool's rows are one network each, the
        first seed of every configuration, and no column that needs two.
    """
    groups = {task: kin(task) for task in ASKED}
    zoos = {zoo: load_zoo(zoo, layers=False) for zoo in dict.fromkeys(zoo for of in groups.values() for zoo in of)}
    return pool_of(zoos, groups, seeds)


def pool_of(zoos: dict[str, Zoo], groups: dict[str, dict[str, int]], seeds: bool) -> Pool:
    """Return the networks of some zoos; see `Pool`."""
    rows, labels, clear = [], [], []
    for name, zoo in zoos.items():
        own = zoo.configurations if seeds else single(zoo)
        own = own.rename_axis("configuration").reset_index().assign(zoo=name)
        told = zoo.configurations.loc[own["configuration"]]
        rows.append(own)
        labels.append(pd.DataFrame({task: told.get(task, NONE) for task in ASKED}).reset_index(drop=True))
        clear.append(
            pd.DataFrame(
                {
                    task: decided(zoo, find_task(task)).loc[own["configuration"]].to_numpy()
                    if task in zoo.tasks
                    else False
                    for task in ASKED
                }
            )
        )
    return Pool(
        seeds,
        pd.concat(rows, ignore_index=True),
        pd.concat(labels, ignore_index=True),
        pd.concat(clear, ignore_index=True),
        groups,
        zoos,
    )


def single(zoo: Zoo) -> pd.DataFrame:
    """Return one network of every configuration, the first that did not diverge, indexed by its configuration.

    What needs two seeds is left out; logarithms of seed means are the network's own.
    """
    assert zoo.checkpoints is not None
    alive = zoo.checkpoints[~zoo.checkpoints["diverged"].astype(bool)].sort_values("seed", kind="stable")
    first = alive.drop_duplicates("configuration").set_index("configuration")
    first = first.loc[[name for name in zoo.configurations.index if name in first.index]]
    known = [column for column in map(str, first) if column in COLUMNS and Need.SEEDS not in COLUMNS[column].needs]
    found = first[known].copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        for logarithm, column in _LOGARITHMS.items():
            if column in found:
                found[logarithm] = np.log(found[column].where(found[column] > 0))
    more = [
        column
        for column in map(str, zoo.configurations)
        if COLUMNS[column].family is Family.CONFIGURATION and column not in found
    ]
    return found.join(zoo.configurations[more])


def measured(rows: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return those of some columns that a table has a number in."""
    return [column for column in columns if column in rows and bool(np.isfinite(rows[column].astype(float)).any())]
