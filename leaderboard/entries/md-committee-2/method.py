"""A committee of Gaussian processes, each on two or three coordinates that mean the same in every zoo.

Each member says how far a network is on the side of each verdict: regressions of +1 for the verdict and −1 for the others,
on few coordinates (`mdbench.tables.coordinates_of`), so that none can learn what sets one zoo apart. The verdict with the
largest mean over the members is said. Rare verdicts weigh as much as common ones: shares of verdicts are what differs most
between zoos.

Coordinates are centred on the training median and clipped; what is missing counts as the median. The prior's covariance of
two networks is 1 + 0.1 x·x′ + exp(−|x − x′|² / 8).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mdbench.tables import columns_for, coordinates_of
from mdbench.tasks import Task

#: Task → the coordinates of each member. A member none of whose coordinates was measured is not asked.
MEMBERS: dict[str, list[tuple[str, ...]]] = {
    "optimizer": [
        ("relative_peak", "scaled_trace", "exponent"),
        ("log_rest", "log_loss", "log_test_error"),
        ("barrier", "log_spikes", "noise_distance"),
        ("barrier", "log_trace", "noise_distance"),
        ("relative_peak", "log_spikes"),
        ("log_rest",),
    ],
    "width_vs_optimizer": [
        ("relative_peak", "exponent", "log_stable_rank"),
        ("log_trace", "exponent", "log_error"),
        ("barrier", "scaled_trace", "relative_sharpness"),
        ("exponent", "window_exponent", "log_error"),
        ("relative_peak", "disagreement", "error_gap"),
        ("log_rest", "noise_distance", "disagreement"),
    ],
    "data_vs_optimizer": [
        ("exponent", "error_gap", "curve_log_loss"),
        ("disagreement", "log_error", "log_stable_rank"),
        ("scaled_trace", "log_trace", "error_gap"),
        ("relative_peak", "disagreement", "log_stable_rank"),
        ("error_gap",),
    ],
    "failure_source": [
        ("exponent", "disagreement", "curve_log_loss"),
        ("relative_peak", "disagreement", "error_gap"),
        ("barrier", "log_stable_rank", "membership"),
        ("noise_distance",),
        ("exponent", "window_exponent", "disagreement"),
        ("log_rest", "disagreement", "curve_log_loss"),
    ],
}
columns = {
    task: columns_for(dict.fromkeys(name for member in members for name in member)) for task, members in MEMBERS.items()
}


def columns_of(members: Mapping[str, Sequence[tuple[str, ...]]]) -> dict[str, list[str]]:
    """Return the columns that members look at, task → as a method declares them."""
    return {task: columns_for(dict.fromkeys(name for one in some for name in one)) for task, some in members.items()}


columns = columns_of(MEMBERS)

#: Variance of the noise of a label, where every verdict is as common as the others.
NOISE = 0.5
#: Coordinates end so far from the median.
FARTHEST = 6.0
#: The least that a verdict of the training sample is taken to be likely, before all are made to add up to 1.
UNLIKELY = 0.02
#: Training networks that functions are spanned by. With more of them the answer is the same, and takes longer.
SPANNING = 400


def covariance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the prior's covariance between networks at (n, d) and at (m, d); shape (n, m)."""
    product = one @ other.T
    distance = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * product
    between: np.ndarray = 1 + 0.1 * product + np.exp(-np.maximum(distance, 0) / 8)
    return between


class Member:
    """A Gaussian process regression on a few coordinates; on subsets of regressors where there are many networks.

    (Rasmussen and Williams, Gaussian processes for machine learning, 2006, section 8.3.1.)
    """

    def __init__(self, seen: np.ndarray, wanted: np.ndarray, noise: np.ndarray) -> None:
        """Fit values `wanted` (n, k) at `seen` (n, d), each with a variance `noise` (n,)."""
        some = np.random.default_rng(0).permutation(len(seen))[:SPANNING]
        self.at = seen[some]
        among = covariance(self.at, seen)
        inner = (among / noise) @ among.T + among[:, some] + 1e-8 * np.eye(len(some))
        self.weights = np.linalg.solve(inner, (among / noise) @ wanted)

    def __call__(self, seen: np.ndarray) -> np.ndarray:
        """Return the mean of the posterior at (m, d); shape (m, k)."""
        return covariance(seen, self.at) @ self.weights


class MDCommittee:
    """The verdict that the members are for on average."""

    members_of: Mapping[str, Sequence[tuple[str, ...]]] = MEMBERS

    def fit(self, models: pd.DataFrame, labels: pd.Series, task: Task) -> None:
        """Have each member look at its coordinates."""
        self.verdicts = np.array([verdict for verdict in task.classes if (labels == verdict).any()], dtype=object)
        self.classes_ = self.verdicts
        right = labels.to_numpy()[:, None] == self.verdicts
        noise = NOISE * len(self.verdicts) * (right * right.mean(axis=0)).sum(axis=1)
        self.coordinates = list(dict.fromkeys(name for member in self.members_of[task.name] for name in member))
        found = coordinates_of(models, self.coordinates)
        self.middle = found.median()
        known = set(found.columns[found.notna().any()])
        self.members = [
            (list(member), Member(self.look(found, member), np.where(right, 1.0, -1.0), noise))
            for member in self.members_of[task.name]
            if known.intersection(member)
        ]

    def look(self, found: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
        """Return what a member sees of some coordinates; shape (n, names)."""
        seen = (found - self.middle)[list(names)].clip(-FARTHEST, FARTHEST).fillna(0.0)
        return seen.to_numpy(dtype=float)

    def predict(self, models: pd.DataFrame) -> np.ndarray:
        """Say what the committee is for."""
        said: np.ndarray = self.verdicts[self.votes(models).argmax(axis=1)]
        return said

    def predict_proba(self, models: pd.DataFrame) -> np.ndarray:
        """Say how likely each verdict is, where all are equally common: a regression on ±1 estimates 2p − 1.

        Votes may leave [−1, 1]; none counts as less than `UNLIKELY`, and they are made to add up to 1.
        """
        shares = np.maximum((1 + self.votes(models)) / 2, UNLIKELY)
        likely: np.ndarray = shares / shares.sum(axis=1, keepdims=True)
        return likely

    def votes(self, models: pd.DataFrame) -> np.ndarray:
        """Return the mean over the members, for each verdict of the training sample; shape (n, verdicts)."""
        found = coordinates_of(models, self.coordinates)
        votes: np.ndarray = np.mean([member(self.look(found, names)) for names, member in self.members], axis=0)
        return votes


method = MDCommittee
