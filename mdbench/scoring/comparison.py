"""Two methods against each other, case by case and over all."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mdbench.errors import MdbenchError
from mdbench.methods import TIMEOUT, Answer, find_method
from mdbench.scoring import stats
from mdbench.scoring.evaluation import Asking, Progress
from mdbench.scoring.posing import Posed, choose, pose
from mdbench.scoring.results import Failure
from mdbench.scoring.stats import holm
from mdbench.scoring.student import mean_difference, paired_mean


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
class Corrected:
    """The p of the overall difference, corrected by Holm for the number of pairs among some methods, as the board has it.

    Attributes
    ----------
    p : the corrected one.
    methods : names of all methods whose pairs are counted, these two first; all answer the cases of the comparison.
    """

    p: float
    methods: tuple[str, ...]

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return len(self.methods) * (len(self.methods) - 1) // 2


@dataclass(frozen=True, repr=False)
class Comparison:
    """The comparison of two methods.

    Attributes
    ----------
    a, b : their names.
    cases : one entry a case that both answer; about this grid.
    overall : the mean over these cases, each with the same weight; about this grid.
    over_zoos : the mean over the zoos asked about, each with the same weight; about other zoos. None where there is one zoo.
    corrected : p of `overall`, corrected for the pairs among several methods; None where none were named.
    failures : what could not be answered.
    """

    a: str
    b: str
    cases: tuple[Compared, ...]
    overall: Compared
    over_zoos: Compared | None
    corrected: Corrected | None
    failures: tuple[Failure, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return a row a line: ``case``, ``about``, each method, ``difference``, ``low``, ``high``, ``p`` and ``df``."""
        lines = [(one, "this grid") for one in (*self.cases, self.overall)]
        lines += [(self.over_zoos, "other zoos")] if self.over_zoos else []
        rows = [
            (one.case, about, one.a, one.b, d.estimate, d.interval.low, d.interval.high, d.p, one.degrees)
            for one, about in lines
            for d in (one.difference,)
        ]
        columns = ["case", "about", self.a, self.b, "difference", "low", "high", "p", "df"]
        return pd.DataFrame(rows, columns=columns).astype({"df": float})

    def __repr__(self) -> str:
        d = self.overall.difference
        return (
            f"<Comparison: {self.a} − {self.b} = {d.estimate:+.2f} points [{d.interval.low:+.2f}, {d.interval.high:+.2f}], "
            f"{len(self.cases)} cases>"
        )

    def _repr_html_(self) -> str:
        """Return the lines as a table, for notebooks."""
        html: str = self.to_frame().to_html(index=False, float_format="{:.3g}".format, na_rep="–")
        return html


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
    among: Sequence[Any] = (),
    workers: int = 0,
    timeout: float = TIMEOUT,
    cache: bool = True,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two methods that learn from the same training samples.

    The estimand of each case and of the mean over all is the difference of mean accuracies on the test rows of this grid,
    over training samples: interval and p are of the paired differences, a training sample each, by Student's distribution
    (see `mdbench.scoring.student`). Where there are no two training samples or nothing varies over them, they are of the
    paired bootstrap of test grid cells. Where several zoos are asked about, the mean over these is about other zoos too: its
    interval and p are Student's over zoos.

    Parameters
    ----------
    a, b : each the name of a method, the path of a method file, an object or class that is a method.
    cases : selections, tasks, sweeps, cases or patterns, as `mdbench cases` lists them; None for the selection ``core``.
        With a zoo, of that zoo's own cases, None for all.
    zoo : name or folder of a zoo to compare on, by the cases that it makes by itself.
    among : other methods: p over all cases is corrected too, by Holm, for all pairs among them and these two, as the board
        corrects for the pairs that it ranks. Methods that do not answer all of the cases are left out.
    workers : processes to run method files in. 0 runs them in this one, without a time limit; objects always run here.
    timeout : seconds a method may take for one case, with workers.
    cache : whether answers given before, by the same source to the same case, are used and new ones kept.
    progress : called with the number of answers there and wanted, after every answer.

    Raises
    ------
    MdbenchError
        A method cannot be loaded, or there is no case that both answer.
    """
    wanted, at_hand = choose(cases, zoo)
    if _same(a, b):
        raise MdbenchError(f"there are no two methods to compare: {a} and {b} are the same method")
    with Asking(
        [a, b, *among], workers=workers, timeout=timeout, cache=cache, strict=True, progress=progress
    ) as asking:
        posed, unposed = pose(wanted, at_hand)
        answers = asking.answers(posed)
    first, second, *others = (method.name for method in asking.methods)
    both = [one for one in posed if all((name, one.rows.case.name) in answers for name in (first, second))]
    if not both:
        reasons = "; ".join(failure.reason for failure in asking.failures)
        raise MdbenchError(f"there is no case that both {first} and {second} answer{': ' if reasons else ''}{reasons}")
    compared = [_compared(one.rows.case.name, [one], answers, first, second) for one in both]
    return Comparison(
        first,
        second,
        tuple(compared),
        _compared("all", both, answers, first, second),
        _over_zoos(both, compared),
        _corrected(both, answers, [first, second, *others]) if among else None,
        (*asking.failures, *unposed),
    )


def _same(a: Any, b: Any) -> bool:
    named = isinstance(a, str | Path) and isinstance(b, str | Path)
    return find_method(str(a)) == find_method(str(b)) if named else a is b


def _compared(
    name: str, posed: Sequence[Posed], answers: Mapping[tuple[str, str], Answer], first: str, second: str
) -> Compared:
    """Return two methods over some cases that both answer."""
    said = [tuple(answers[method, one.rows.case.name] for method in (first, second)) for one in posed]
    pairs = [pair(one, *both) for one, both in zip(posed, said, strict=True)]
    right = [[100 * float(pair(one, by).gain.mean()) for by in both] for one, both in zip(posed, said, strict=True)]
    a, b = np.mean(right, axis=0)
    return Compared(name, float(a), float(b), *difference(pairs, posed))


def _over_zoos(posed: Sequence[Posed], compared: Sequence[Compared]) -> Compared | None:
    """Return the mean over the zoos asked about, of means over the cases of each; None of one zoo."""
    zoos = dict.fromkeys(one.test.name for one in posed)
    means = np.array(
        [
            np.mean(
                [(one.a, one.b) for one, asked in zip(compared, posed, strict=True) if asked.test.name == zoo], axis=0
            )
            for zoo in zoos
        ]
    )
    if len(zoos) < 2:
        return None
    a, b = means.mean(axis=0)
    return Compared(f"{len(zoos)} zoos", float(a), float(b), mean_difference(means[:, 0] - means[:, 1]), len(zoos) - 1)


def _corrected(posed: Sequence[Posed], answers: Mapping[tuple[str, str], Answer], methods: Sequence[str]) -> Corrected:
    """Return p of the first pair over all cases, corrected for all pairs of the methods that answer every case."""
    names = [name for name in methods if all((name, one.rows.case.name) in answers for one in posed)]
    found = [_compared("all", posed, answers, *two).difference.p for two in combinations(names, 2)]
    return Corrected(float(holm(np.array(found))[0]), tuple(names))


def difference(pairs: list[stats.Pair], posed: Sequence[Posed]) -> tuple[stats.Difference, float | None]:
    """Return the mean difference of two methods over some cases, in points, with Student's degrees of freedom.

    They are None where the interval is the bootstrap's; see `compare`.
    """
    several = all(len(set(one.rows.distinct)) > 1 for one in posed)
    found = paired_mean([100 * pair.gain.mean(axis=1) for pair in pairs]) if several else None
    return found or (stats.paired_difference(pairs), None)
