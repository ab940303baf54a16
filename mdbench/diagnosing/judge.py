"""What answers: extremely randomized trees and the committee `md_committee`, on what could be measured.

Both look at coordinates (`mdbench.tables.coordinates_of`), and learn from verdicts that are more than noise. Of the network
in question nothing is filled in: columns that it does not have are taken from the pool too, so that no coordinate of theirs
is asked about. No coordinate is taken to lie beyond what the pool has: a strange network is judged as the nearest known one.
Rare verdicts weigh as much as common ones. What both say is averaged as logarithms.

(Geurts et al., Extremely randomized trees, Machine Learning, 2006.)
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.ensemble import ExtraTreesClassifier

from mdbench.diagnosing.calibration import FLOOR
from mdbench.errors import MdbenchError
from mdbench.methods import Method, find_method, load_method, stand_in
from mdbench.tables import Task, columns_for, coordinates_of

Floats = NDArray[np.float64]

#: Coordinates that the trees look at where they could be measured.
COORDINATES: Final = (
    *("relative_peak", "barrier", "curve_log_loss", "scaled_trace", "log_trace", "log_rest", "relative_sharpness"),
    *("exponent", "window_exponent", "log_spikes", "noise_distance", "log_stable_rank"),
    *("log_loss", "log_error", "error_gap", "disagreement"),
)
TREES: Final = 100
COMMITTEE: Final = "md_committee"
#: Share of the pool that must have a column for it to be looked at.
_SHARED: Final = 0.5
#: Standard deviations of the pool by which a coordinate may lie beyond all of it: past that, nothing like it was seen.
FAR: Final = 2.0
#: Coordinates without which nothing is answered.
_FEWEST: Final = 3


@cache
def committee() -> Method:
    """Return the committee, untrained."""
    return load_method(find_method(COMMITTEE))


class Judge:
    """Trees and a committee, for one task.

    Attributes
    ----------
    task : what is asked.
    names : the coordinates that the trees look at.
    """

    def __init__(self, task: Task, columns: Sequence[str]) -> None:
        """Look at these columns alone."""
        self.task, self._columns = task, list(columns)

    def fit(self, models: pd.DataFrame, right: NDArray[np.int64], weights: Floats) -> "Judge":
        """Learn.

        Parameters
        ----------
        models : columns of the pool's tables, (n, …).
        right : (n,), places of the verdicts among the task's.
        weights : (n,), of the networks.
        """
        models = models[self._columns]
        found = coordinates_of(models, COORDINATES)
        self.names = [name for name in COORDINATES if found[name].notna().mean() > _SHARED]
        found = found[self.names]
        self._middle = found.median()
        seen = found.fillna(self._middle).to_numpy()
        self._least, self._most, self._spread = seen.min(axis=0), seen.max(axis=0), seen.std(axis=0, ddof=1)
        trees = ExtraTreesClassifier(TREES, min_samples_leaf=2, class_weight="balanced", random_state=42)
        self._trees: Any = stand_in(trees, seen).fit(seen, right, weights)
        self._committee: Any = committee().fresh()
        self._committee.members_of = {self.task.name: self._members(models)}
        self._committee.fit(models, pd.Series(np.array(self.task.classes, dtype=object)[right]), self.task)
        return self

    def _members(self, models: pd.DataFrame) -> list[tuple[str, ...]]:
        """Return what each member of the committee looks at, of what was measured; one that has nothing is not asked."""
        every = self._committee.members_of[self.task.name]
        found = coordinates_of(models, list(dict.fromkeys(name for member in every for name in member)))
        there = set(found.columns[found.notna().mean() > _SHARED])
        left = (tuple(name for name in member if name in there) for member in every)
        return [member for member in left if member]

    def far(self, models: pd.DataFrame) -> NDArray[np.bool_]:
        """Return of which networks some coordinate lies beyond all that was learned from, by more than `FAR`; (n,)."""
        seen = coordinates_of(models[self._columns], self.names).to_numpy()
        beyond = np.fmax(self._least - seen, seen - self._most)  # what is missing is not beyond
        found: NDArray[np.bool_] = (beyond > FAR * self._spread).any(axis=1)
        return found

    def predict_proba(self, models: pd.DataFrame) -> Floats:
        """Return how likely each verdict is, (n, classes); see `mdbench.diagnosing.calibration` for how true that is."""
        models = models[self._columns]
        seen = coordinates_of(models, self.names).fillna(self._middle).to_numpy()
        votes = self._ordered(self._trees.predict_proba(np.clip(seen, self._least, self._most)), self._trees.classes_)
        others = self._committee_says(models)
        logarithms = np.log(np.maximum(votes, FLOOR)) + np.log(np.maximum(others, FLOOR))
        found: Floats = softmax(logarithms / 2, axis=1)
        return found

    def telling(self) -> list[str]:
        """Return the coordinates that the trees look at, those first that they lean on most (mean decrease in impurity)."""
        order = np.argsort(-self._trees.feature_importances_, kind="stable")
        return [self.names[place] for place in order]

    def _committee_says(self, models: pd.DataFrame) -> Floats:
        committee = self._committee
        found = coordinates_of(models, committee.coordinates)
        votes = np.mean([member(committee.look(found, names)) for names, member in committee.members], axis=0)
        return self._ordered(softmax(2 * votes, axis=1), [self.task.classes.index(one) for one in committee.verdicts])

    def _ordered(self, probabilities: Floats, places: Sequence[int]) -> Floats:
        """Return probabilities (n, k) of verdicts at some places as those of all, (n, classes)."""
        found = np.zeros((len(probabilities), len(self.task.classes)))
        found[:, list(places)] = probabilities
        return found


def known(row: pd.DataFrame, pool: pd.DataFrame) -> tuple[str, ...]:
    """Return the columns that a network has and most of the pool has too, of those that are looked at.

    A number may be there and its coordinate not: the trace of a Hessian may be smaller than its largest eigenvalue, the loss
    zero. What the coordinate is of, its first column, is left out then, so that nothing is filled in for it.

    Raises
    ------
    MdbenchError
        They are too few to say anything.
    """
    wanted = columns_for(COORDINATES)
    wanted += [column for some in (committee().columns or {}).values() for column in some]
    every = [one for column in dict.fromkeys(wanted) for one in column.split("|") if one]
    numbers = [one for one in dict.fromkeys(every) if one in row and one in pool]
    there = [
        one
        for one in numbers
        if np.isfinite(row[one].to_numpy(dtype=float)).all() and pool[one].notna().mean() > _SHARED
    ]
    for name in sorted(COORDINATES, key=lambda name: len(columns_for([name]))):
        mine, theirs = (coordinates_of(rows[there], [name])[name].notna().mean() for rows in (row, pool))
        if not mine and theirs > _SHARED:
            first = columns_for([name])[0].split("|")
            there = [one for one in there if one not in first]
    seen = coordinates_of(row[there], COORDINATES).notna().all()
    if seen.sum() < _FEWEST:
        raise MdbenchError(
            f"only {seen.sum()} of the numbers that methods look at could be measured"
            f" ({', '.join(seen.index[seen]) or 'none'}), too few for any answer"
        )
    return tuple(there)
