"""Two methods against each other, case by case and over all."""

import os
from collections.abc import Callable, Mapping, Sequence
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
from mdbench.scoring.student import Difference, Means, mean_of, over_rows, over_zoos


@dataclass(frozen=True)
class Compared:
    """Two methods on one case, or over all of them; scores in %, the difference A − B in points.

    Attributes
    ----------
    degrees : degrees of freedom of Student's distribution, which interval and p are of; NaN where nothing can vary.
    """

    case: str
    a: float
    b: float
    difference: Difference
    degrees: float


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
    measure : of the scores: ``above chance`` or ``accuracy``.
    cases : one entry a case that both answer; about this grid. Above chance, cases are left out of which all rows but a few
        have one verdict: nobody is above chance there.
    overall : the mean over these cases, each with the same weight; about this grid.
    over_zoos : the mean over the zoos asked about, each with the same weight; about other zoos. None where there is one zoo.
    corrected : p of `overall`, corrected for the pairs among several methods; None where none were named.
    failures : what could not be answered.
    """

    a: str
    b: str
    measure: str
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
            f"<Comparison: {self.a} − {self.b} = {d.estimate:+.2f} points of {self.measure} "
            f"[{d.interval.low:+.2f}, {d.interval.high:+.2f}], {len(self.cases)} cases>"
        )

    def _repr_html_(self) -> str:
        """Return the lines as a table, for notebooks."""
        html: str = self.to_frame().to_html(index=False, float_format="{:.3g}".format, na_rep="–")
        return html


def gained(one: Posed, a: Answer, b: Answer | None = None, rows: np.ndarray | None = None) -> Means:
    """Return the accuracy of A on a case, in %, or that less the accuracy of B, in points, paired over what is drawn.

    Parameters
    ----------
    one, a, b : the case, and what the methods said.
    rows : which test rows count, bool, shape (rows,); all without it.
    """
    test, chosen = one.rows.test, slice(None) if rows is None else rows
    right_a, right_b = (100.0 * (said.predicted == test.codes) if said else 0.0 for said in (a, b))
    gain = np.asarray(right_a - right_b)[None, :, chosen]
    return over_rows(gain, test.cells[chosen], test.cell_count, zoo=one.test.name, several=one.rows.several)


def ahead(one: Posed, a: Answer, b: Answer | None = None) -> Means | None:
    """Return what A has above chance on a case, in %, or that less what B has, in points, paired over what is drawn.

    Parameters
    ----------
    one, a, b : the case, and what the methods said.

    Returns
    -------
    None where all rows but a few have one verdict.
    """
    test = one.rows.test
    right = np.stack([said.predicted == test.codes for said in (a, b) if said])
    found = stats.means_above_chance(
        right, test.codes, test.cells, test.cell_count, zoo=one.test.name, several=one.rows.several
    )
    return found.less() if found and b else found


def compare(
    a: Any,
    b: Any,
    cases: str | Sequence[str] | None = None,
    *,
    zoo: str | os.PathLike[str] | None = None,
    among: Sequence[Any] = (),
    accuracy: bool = False,
    workers: int = 0,
    timeout: float = TIMEOUT,
    cache: bool = True,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two methods that learn from the same training samples.

    The score is what a method has above chance, as on the board: balanced accuracy where one verdict said always is 0 and
    perfect 100. By accuracy, which goes by the frequent verdicts, another one of two can be ahead.

    The estimand of each case and of the mean over all is the difference of mean scores on the test rows of this grid, over
    training samples: interval and p are of the paired differences, a training sample each, by Student's distribution
    (see `mdbench.scoring.student`). Where there are no two training samples or nothing varies over them, they are over
    the test zoo's grid cells. Where several zoos are asked about, the mean over these is about other zoos too: its
    interval and p are Student's over zoos.

    Parameters
    ----------
    a, b : each the name of a method, the path of a method file, an object or class that is a method.
    cases : selections, tasks, sweeps, cases or patterns, as `mdbench cases` lists them; None for the selection ``core``.
        With a zoo, of that zoo's own cases, None for all.
    zoo : name or folder of a zoo to compare on, by the cases that it makes by itself.
    among : other methods: p over all cases is corrected too, by Holm, for all pairs among them and these two, as the board
        corrects for the pairs that it ranks. Methods that do not answer all of the cases are left out.
    accuracy : compare by accuracy.
    workers : processes to run method files in. 0 runs them in this one, without a time limit; objects always run here.
    timeout : seconds a method may take for one case, with workers.
    cache : whether answers given before, by the same source to the same case, are used and new ones kept.
    progress : called with the number of answers there and wanted, after every answer.

    Raises
    ------
    MdbenchError
        A method cannot be loaded, or there is no case that both answer.
    """
    among = [among] if isinstance(among, str) else among
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
    score = gained if accuracy else ahead
    telling = [one for one in both if score(one, answers[first, one.rows.case.name])]
    if not telling:
        raise MdbenchError(
            f"on every case that both {first} and {second} answer, all rows but a few have one verdict: nobody is above "
            "chance there, and accuracy alone can be compared (--accuracy, accuracy=True)"
        )
    scores = _Scores(score, answers)
    compared = [scores.compared(one.rows.case.name, [one], first, second) for one in telling]
    return Comparison(
        first,
        second,
        "accuracy" if accuracy else "above chance",
        tuple(compared),
        scores.compared("all", telling, first, second),
        scores.over_zoos(telling, first, second),
        scores.corrected(telling, [first, second, *others]) if among else None,
        (*asking.failures, *unposed),
    )


@dataclass(frozen=True)
class _Scores:
    """What methods said, and how it is scored.

    Attributes
    ----------
    score : the mean of one method on a case, or that less another's; not None of the cases that are asked about.
    said : method and case → what it said.
    """

    score: Callable[..., Means | None]
    said: Mapping[tuple[str, str], Answer]

    def compared(self, name: str, posed: Sequence[Posed], a: str, b: str) -> Compared:
        """Return two methods over some cases that both answer."""
        own, other = (float(self._mean(posed, method).values[0]) for method in (a, b))
        return Compared(name, own, other, *self._mean(posed, a, b).difference())

    def over_zoos(self, posed: Sequence[Posed], a: str, b: str) -> Compared | None:
        """Return the mean over the zoos asked about, of means over the cases of each; None of one zoo."""
        zoos = dict.fromkeys(one.test.name for one in posed)
        by_zoo = [[one for one in posed if one.test.name == zoo] for zoo in zoos]
        if len(zoos) < 2:
            return None
        own, other = (float(np.mean([self._mean(some, method).values for some in by_zoo])) for method in (a, b))
        return Compared(
            f"{len(zoos)} zoos", own, other, *over_zoos([self._mean(some, a, b) for some in by_zoo]).difference()
        )

    def corrected(self, posed: Sequence[Posed], methods: Sequence[str]) -> Corrected:
        """Return p of the first pair over all cases, corrected for all pairs of the methods that answer every case."""
        names = [name for name in methods if all((name, one.rows.case.name) in self.said for one in posed)]
        found = [self.compared("all", posed, *two).difference.p for two in combinations(names, 2)]
        return Corrected(float(stats.holm(np.array(found))[0]), tuple(names))

    def _mean(self, posed: Sequence[Posed], *methods: str) -> Means:
        """Return the mean score over some cases of a method, or of one less another."""
        found = [self.score(one, *(self.said[name, one.rows.case.name] for name in methods)) for one in posed]
        return mean_of([means for means in found if means])


def _same(a: Any, b: Any) -> bool:
    named = isinstance(a, str | Path) and isinstance(b, str | Path)
    return find_method(str(a)) == find_method(str(b)) if named else a is b
