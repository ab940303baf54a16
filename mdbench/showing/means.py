"""Means over cases, and which methods can be compared by them."""

from collections.abc import Iterable, Sequence

import numpy as np

from mdbench.cases import Case
from mdbench.scoring import Difference, Evaluated, Means, Posed, gained, mean_of, stats
from mdbench.tables import TASKS, Family, decided


def mean(
    found: Evaluated, cases: Iterable[str], method: str, minus: str | None = None, *, only_decided: bool = False
) -> Difference | None:
    """Return a mean accuracy over cases, in %, or the mean difference of two, as `mdbench compare --accuracy` has it.

    Parameters
    ----------
    found : holds the answers.
    cases : names; each has the same weight.
    method, minus : names of the method, and of the one that is subtracted.
    only_decided : score only the rows whose label is outside noise; cases without such rows are left out.

    Returns
    -------
    None where a method did not answer one of the cases, or there is nothing to score.
    """
    gains: list[Means] = []
    for one in posed_of(found, cases):
        name = one.rows.case.name
        said, other = found.answers.get((method, name)), found.answers.get((minus or method, name))
        if said is None or other is None:
            return None
        chosen = outside_noise(one) if only_decided else None
        if chosen is None or chosen.any():
            gains.append(gained(one, said, other if minus else None, rows=chosen))
    bounds = {} if minus else {"low": 0.0, "high": 100.0}
    return mean_of(gains).difference(**bounds)[0] if gains else None


def outside_noise(one: Posed) -> np.ndarray:
    """Return which test rows of a case have a label outside noise; shape (rows,), bool."""
    return decided(one.test, one.rows.task)[one.rows.test.table.index].to_numpy()


def comparable(found: Evaluated, cases: Sequence[Case]) -> list[tuple[tuple[str, ...], list[str], list[str]]]:
    """Return the means over some cases that can be compared: over the same tasks, for all who answered all of these.

    Returns
    -------
    For each set of tasks that is all that some method answers: the tasks, the names of their cases, and the methods, the
    largest set first.
    """
    tasks = tuple(dict.fromkeys(case.task for case in cases))
    answers = {
        method: tuple(
            task for task in tasks if all((method, case.name) in found.answers for case in cases if case.task == task)
        )
        for method in methods_of(found)
    }
    sets = sorted(set(answers.values()) - {()}, key=lambda some: (-len(some), [tasks.index(task) for task in some]))
    return [
        (
            some,
            [case.name for case in cases if case.task in some],
            [method for method, all_of_it in answers.items() if set(some) <= set(all_of_it)],
        )
        for some in sets
    ]


def methods_of(found: Evaluated) -> list[str]:
    """Return the names of the methods, in the order in which they were asked."""
    return [method.name for method in found.result.methods]


def posed_of(found: Evaluated, cases: Iterable[str]) -> list[Posed]:
    """Return what was posed of these cases."""
    wanted = set(cases)
    return [one for one in found.posed if one.rows.case.name in wanted]


def grouped(cases: Sequence[Case]) -> dict[tuple[str, str], list[Case]]:
    """Return cases by scenario and task, in the order in which they come."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for scenario in dict.fromkeys(case.scenario for case in cases):
        for case in sorted(
            (case for case in cases if case.scenario == scenario), key=lambda case: list(TASKS).index(case.task)
        ):
            groups.setdefault((scenario, case.task), []).append(case)
    return groups


def above_chance(found: Evaluated, cases: Iterable[str], method: str) -> Difference | None:
    """Return what a method has above chance in the mean over some cases, in %, with its interval about this grid.

    Parameters
    ----------
    found, cases, method : see `mean`; cases where all rows but a few have one verdict are left out.

    Returns
    -------
    None where the method did not answer one of the cases.
    """
    several: list[Means] = []
    least: list[float] = []
    for one in posed_of(found, cases):
        answer = found.answers.get((method, one.rows.case.name))
        if answer is None:
            return None
        test = one.rows.test
        right = (answer.predicted == test.codes)[None].astype(float)
        mean = stats.means_above_chance(
            right, test.codes, test.cells, test.cell_count, zoo=one.test.name, several=one.rows.several
        )
        if mean:
            several.append(mean)
            least.append(-100 / (len(stats.counted(test.codes)) - 1))  # all wrong
    return mean_of(several).difference(low=float(np.mean(least)), high=100)[0] if several else None


def ordered(found: Evaluated, cases: Sequence[str], methods: Iterable[str]) -> list[tuple[str, Difference]]:
    """Return methods that answered all these cases, with their mean accuracies, the best first."""
    means = {method: mean(found, cases, method) for method in methods}
    known = [(method, accuracy) for method, accuracy in means.items() if accuracy]
    return sorted(known, key=lambda one: -one[1].estimate)


def ranks_of(found: Evaluated, cases: Sequence[str], methods: Sequence[str]) -> dict[str, float]:
    """Return the mean rank of each method among these by balanced accuracy, over cases that they all answered."""
    scores = {(score.method, score.case): score.balanced_accuracy for score in found.result.scores}
    table = np.array([[scores[method, case] for case in cases] for method in methods])
    ranks = 1 + (table[None] > table[:, None]).sum(axis=1)
    return dict(zip(methods, ranks.mean(axis=1).tolist(), strict=True))


def sees(found: Evaluated) -> dict[str, tuple[str, ...]]:
    """Return the families of columns that each method was given, over all cases."""
    seen: dict[str, dict[str, None]] = {method: {} for method in methods_of(found)}
    for score in found.result.scores:
        seen[score.method] |= dict.fromkeys(score.families)
    return {method: tuple(sorted(families)) for method, families in seen.items()}


def configured(found: Evaluated) -> list[str]:
    """Return the methods that look at the training configuration, which diagnosis presumes unknown."""
    return [method for method, families in sees(found).items() if Family.CONFIGURATION in families]
