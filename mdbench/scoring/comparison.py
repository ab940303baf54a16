"""Two methods against each other, case by case and over all."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdbench.errors import MdbenchError
from mdbench.methods import TIMEOUT, Answer
from mdbench.scoring import stats
from mdbench.scoring.evaluation import Asking, Posed, Progress, choose, pose
from mdbench.scoring.results import Failure
from mdbench.scoring.student import paired_mean


@dataclass(frozen=True)
class Compared:
    """Two methods on one case, or over all of them; accuracies in %, the difference A − B in points.

    Attributes
    ----------
    degrees : degrees of freedom of Student's distribution, which interval and p are of; None where they are the bootstrap's.
    """

    case: str
    a: float
    b: float
    difference: stats.Difference
    degrees: float | None


@dataclass(frozen=True)
class Comparison:
    """The comparison of two methods.

    Attributes
    ----------
    a, b : their names.
    cases : one entry a case that both answer.
    overall : the mean over these cases, each with the same weight.
    failures : what could not be answered.
    """

    a: str
    b: str
    cases: tuple[Compared, ...]
    overall: Compared
    failures: tuple[Failure, ...]


def pair(one: Posed, a: Answer, b: Answer | None = None) -> stats.Pair:
    """Return two methods on one case for the paired bootstrap; without B, A against a method that is never right."""
    test = one.rows.test
    right_a, right_b = ((said.predicted == test.codes).astype(float) if said else 0.0 for said in (a, b))
    return stats.Pair(np.asarray(right_a - right_b), test.cells, test.cell_count, one.test.name)


def compare(
    a: Any,
    b: Any,
    cases: str | Sequence[str] | None = None,
    *,
    zoo: str | os.PathLike[str] | None = None,
    workers: int = 0,
    timeout: float = TIMEOUT,
    cache: bool = True,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two methods that learn from the same training samples.

    The estimand is the difference of mean accuracies on the test rows of this grid, over training samples: interval and p are
    of the paired differences, a training sample each, by Student's distribution (see `mdbench.scoring.student`). Where there
    are no two training samples or nothing varies over them, they are of the paired bootstrap of test grid cells.

    Parameters
    ----------
    a, b, workers, timeout, cache, progress : see `mdbench.scoring.evaluation.Asking`.
    cases, zoo : see `mdbench.scoring.choose`.

    Raises
    ------
    MdbenchError
        A method cannot be loaded, or there is no case that both answer.
    """
    wanted, at_hand = choose(cases, zoo)
    with Asking([a, b], workers=workers, timeout=timeout, cache=cache, progress=progress) as asking:
        posed, unposed = pose(wanted, at_hand)
        answers = asking.answers(posed)
    if len(asking.methods) < 2:
        why = next((failure.reason for failure in asking.failures), f"{a} and {b} are the same method")
        raise MdbenchError(f"there are no two methods to compare: {why}")
    first, second = (method.name for method in asking.methods)
    pairs, compared, both = [], [], []
    for one in posed:
        name = one.rows.case.name
        if (first, name) in answers and (second, name) in answers:
            said = answers[first, name], answers[second, name]
            right_a, right_b = (100 * float(pair(one, by).gain.mean()) for by in said)
            pairs.append(pair(one, *said))
            compared.append(Compared(name, right_a, right_b, *difference(pairs[-1:], [one])))
            both.append(one)
    if not compared:
        reasons = "; ".join(failure.reason for failure in asking.failures)
        raise MdbenchError(f"there is no case that both {first} and {second} answer{': ' if reasons else ''}{reasons}")
    overall = Compared(
        "all",
        float(np.mean([one.a for one in compared])),
        float(np.mean([one.b for one in compared])),
        *difference(pairs, both),
    )
    return Comparison(first, second, tuple(compared), overall, (*asking.failures, *unposed))


def difference(pairs: list[stats.Pair], posed: Sequence[Posed]) -> tuple[stats.Difference, float | None]:
    """Return the mean difference of two methods over some cases, in points, with Student's degrees of freedom.

    They are None where the interval is the bootstrap's; see `compare`.
    """
    several = all(len(set(one.rows.distinct)) > 1 for one in posed)
    found = paired_mean([100 * pair.gain.mean(axis=1) for pair in pairs]) if several else None
    return found or (stats.paired_difference(pairs), None)
