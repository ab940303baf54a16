"""What a method said, and whether it says the same of a half of the rows as of them among all."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Final

import numpy as np

from mdbench.methods.method import MethodError

#: What stands for a verdict where a method abstained.
ABSTAINED: Final = -1
#: How far a probability may move where other rows are asked about: sums are rounded otherwise.
ROUNDING: Final = 1e-3
#: In an answer's halves: a row that was asked about once alone.
UNASKED: Final = -2
#: Level of the test whether what a random method says depends on the rows around.
_LEVEL: Final = 0.999
#: Share of a case's rows on which that may differ more than chance explains, whatever the test says of all cases.
_FARTHEST: Final = 0.05


@dataclass(frozen=True)
class Answer:
    """What a method said of one case.

    Attributes
    ----------
    predicted : places in ``task.classes``, −1 where it abstained; shape (seeds, test rows), int8; test rows in the zoo's
        order.
    columns : the columns the method was given.
    fit_seconds, predict_seconds : wall time of ``fit`` and ``predict``, one value a seed.
    probabilities : of each verdict, in the order of ``task.classes``; shape (seeds, test rows, classes), float32. None of a
        method without ``predict_proba``.
    halves : with a secret, what was said of rows that were asked about once more, as `predicted`; `UNASKED` of the others.
    again, changed : how many these are, and how many of them were others then.
    warned : what was warned of meanwhile, a line each.
    """

    predicted: np.ndarray
    columns: tuple[str, ...]
    fit_seconds: tuple[float, ...]
    predict_seconds: tuple[float, ...]
    probabilities: np.ndarray | None = None
    again: int = 0
    changed: int = 0
    warned: tuple[str, ...] = ()
    halves: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Reply:
    """What a method said to a question.

    Attributes
    ----------
    said : places in ``task.classes``, `ABSTAINED` where it said None; shape (n,), int8.
    fit_seconds, predict_seconds : how long ``fit`` and ``predict`` took.
    probabilities : of each verdict, in the order of ``task.classes``; shape (n, classes), float32. None where it gives none.
    half : what it said where the question's half was asked about; None where it was not.
    """

    said: np.ndarray
    fit_seconds: float
    predict_seconds: float
    probabilities: np.ndarray | None = None
    half: "Reply | None" = None


def check_inductive(at: np.ndarray | None, whole: Reply, half: Reply) -> None:
    """Make sure that a method says of a shuffled half of the rows what it said of them among all.

    Parameters
    ----------
    at : places of the half among all rows.
    whole, half : replies to a question about all, and about the half alone.

    Raises
    ------
    MethodError
        It does not.
    """
    differs = differing(at, whole, half)
    if differs.any():
        what = "predictions" if (half.said != whole.said[at]).any() else "probabilities"
        raise MethodError(depends_on_others(f"{differs.sum()} of {len(differs)}", what))


def depends_on_others(changed: str, what: str = "predictions") -> str:
    """Say what is wrong with a method of the inductive track whose answers change with the other rows."""
    return (
        f"its {what} depend on which other rows are asked about: {changed} changed on a shuffled subset; a method that uses "
        'the test table as a batch declares track = "transductive", and one that draws numbers draws them in fit'
    )


def differing(at: np.ndarray | None, whole: Reply, half: Reply) -> np.ndarray:
    """Return of which rows of a half something else was said among all; shape (rows of the half,), bool.

    Something else is another verdict, or where verdicts are the same everywhere, probabilities that are more than rounded.
    """
    differs: np.ndarray = half.said != whole.said[at]
    if not differs.any() and whole.probabilities is not None and half.probabilities is not None:
        differs = (np.abs(half.probabilities - whole.probabilities[at]) > ROUNDING).any(axis=1)
    return differs


def leans_on_others(runs: Sequence[Sequence[Answer]]) -> bool:
    """Tell whether a method that does not repeat itself says other things of a half than of the same rows among all.

    Wholes and halves are drawn from two distributions. Where these are one, a whole and a half differ as often as two wholes
    and two halves do in the mean: what is more is the energy distance of the two, which is never less than 0 (Székely and
    Rizzo, Energy statistics, 2013). So drawing at random in one of both hides nothing.

    Parameters
    ----------
    runs : two or more runs of the same questions, each with the same cases in the same order.

    Returns
    -------
    Whether the distance is above 0 in the mean over cases, by Student's one-sided test, or large in one of them.
    """
    excess = np.array([_energy(case) for case in zip(*runs, strict=True) if case[0].halves is not None])
    count, allowed = len(excess), _FARTHEST
    if count > 1:
        from scipy.special import stdtrit

        allowed = float(stdtrit(count - 1, _LEVEL) * excess.std(ddof=1) / np.sqrt(count)) + 1e-9
    return count > 0 and bool(excess.mean() > allowed or excess.max() > _FARTHEST)


def _energy(case: Sequence[Answer]) -> float:
    """Return by which share of the rows wholes and halves of one case differ more often than each among themselves."""
    wholes = np.stack([run.predicted for run in case])
    halves = np.stack([run.halves for run in case if run.halves is not None])
    asked = halves[0] != UNASKED
    wholes, halves = wholes[:, asked], halves[:, asked]
    every = range(len(case))
    within = [np.mean([(some[a] != some[b]).mean() for a, b in combinations(every, 2)]) for some in (wholes, halves)]
    between = np.mean([(wholes[a] != halves[b]).mean() for a, b in permutations(every, 2)])
    return float(between - np.mean(within))
