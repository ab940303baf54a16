"""How methods do on zoos that nobody trained on: means over zoos, with intervals that are about other zoos."""

from collections.abc import Mapping, Sequence

import numpy as np

from mdbench.cases import UNSEEN
from mdbench.scoring import Difference, Evaluated, Interval, mean_interval
from mdbench.showing.markdown import code, table
from mdbench.showing.means import configured, methods_of
from mdbench.tables import TASKS

#: Method → task → zoo → score, above chance in %.
Scores = Mapping[str, Mapping[str, Mapping[str, float]]]


def scores_of(found: Evaluated) -> dict[str, dict[str, dict[str, float]]]:
    """Return what each method has above chance on each zoo that was asked about unseen: method → task → zoo → %.

    Cases where all rows but a few have one verdict are left out.
    """
    cases = {one.rows.case.name: one.rows.case for one in found.posed if one.rows.case.scenario == UNSEEN}
    asked = {case.task for case in cases.values()}
    scores: dict[str, dict[str, dict[str, float]]] = {
        method: {task: {} for task in TASKS if task in asked} for method in methods_of(found)
    }
    for score in found.result.scores:
        if score.case in cases and score.above_chance is not None:
            case = cases[score.case]
            scores[score.method][case.task][case.test] = score.above_chance
    return {method: tasks for method, tasks in scores.items() if any(tasks.values())}


def over_zoos(scores: Mapping[str, float]) -> Difference | None:
    """Return the mean over zoos with Student's interval; None of fewer than two."""
    if len(scores) < 2:
        return None
    values = np.array([*scores.values()])
    return Difference(float(values.mean()), mean_interval(values), float("nan"))


def means_of(found: Evaluated) -> dict[str, dict[str, Difference]]:
    """Return task → method → mean over zoos."""
    means: dict[str, dict[str, Difference]] = {}
    for method, tasks in scores_of(found).items():
        for task, by_zoo in tasks.items():
            mean = over_zoos(by_zoo)
            if mean:
                means.setdefault(task, {})[method] = mean
    return means


def zoos_nobody_trained_on(found: Evaluated) -> list[str]:
    """Return the section; nothing where no such case was answered."""
    scores = scores_of(found)
    zoos = {zoo for tasks in scores.values() for by_zoo in tasks.values() for zoo in by_zoo}
    if len(zoos) < 2:
        return []
    knowing = configured(found)
    blocks = [
        "## Zoos that nobody trained on",
        f"The selection `{UNSEEN}`: each of {len(zoos)} zoos in turn is asked about by methods that learned from all "
        "others that pose the task, its kin left out. *Above chance* is balanced accuracy, the mean recall of the verdicts, "
        "where one verdict said always is 0 and perfect is 100; in parentheses as it is, which for two verdicts is 50 by "
        "chance and for four 25. Verdicts that under 5 % of a zoo's rows have are not counted"
        f"{_rare(found)}. The intervals are about *other zoos*: Student's, at 95 %, over these zoos. So few leave them wide. "
        "**Bold**: the best of a column, and those whose difference from it, paired over zoos, has an interval that holds 0.",
    ]
    for title, methods in (
        ("From what can be measured on a network", [name for name in scores if name not in knowing]),
        ("Where the training configuration is known", [name for name in scores if name in knowing]),
    ):
        if methods:
            blocks += [f"### {title}", _table({name: scores[name] for name in methods})]
            blocks += _by_zoo({name: scores[name] for name in methods})
    return blocks


def _rare(found: Evaluated) -> str:
    rare = {
        record.case.test: record.rare for record in found.result.cases if record.case.scenario == UNSEEN and record.rare
    }
    said = "; ".join(f"{code(zoo)}: {', '.join(code(verdict) for verdict in some)}" for zoo, some in rare.items())
    return f" ({said})" if said else ""


def _overall(tasks: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return zoo → mean over the tasks that it poses, of a method that answers all of them."""
    zoos = dict.fromkeys(zoo for by_zoo in tasks.values() for zoo in by_zoo)
    return {zoo: float(np.mean([by_zoo[zoo] for by_zoo in tasks.values() if zoo in by_zoo])) for zoo in zoos}


def _table(scores: Scores) -> str:
    tasks = list(next(iter(scores.values())))
    whole = {method: _overall(by_task) for method, by_task in scores.items() if all(by_task.values())}
    columns = {task: {method: by_task[task] for method, by_task in scores.items()} for task in tasks}
    most = {name: max(map(len, column.values())) for name, column in columns.items()}
    heads = [f"`{task}`<br>{most[task]} zoos" for task in tasks]
    rows = []
    for method in sorted(scores, key=lambda name: -np.mean([*whole[name].values()]) if name in whole else np.inf):
        cells = [_cell(columns[task], method, most[task], len(TASKS[task].classes)) for task in tasks]
        rows.append((code(method), *cells, _cell(whole, method, max(map(len, whole.values()), default=0), 0)))
    return table(("method", *heads, "all tasks"), rows, "l" + "r" * (len(heads) + 1))


def _cell(column: Mapping[str, Mapping[str, float]], method: str, most: int, verdicts: int) -> str:
    own = column.get(method, {})
    mean = over_zoos(own)
    if mean is None:
        return "–"
    text = f"{mean.estimate:.1f} ± {mean.interval.high - mean.estimate:.1f}"
    if verdicts:
        text += f" ({100 / verdicts + mean.estimate * (1 - 1 / verdicts):.1f})"
    if len(own) < most:
        return f"{text}, {len(own)} zoos"
    complete = {name: scores for name, scores in column.items() if len(scores) == most}
    best = max(complete, key=lambda name: np.mean([*complete[name].values()]))
    return f"**{text}**" if method == best or _behind(own, complete[best]).high >= 0 else text


def _behind(own: Mapping[str, float], best: Mapping[str, float]) -> Interval:
    """Return the interval of the difference own − best, paired over zoos."""
    return mean_interval(np.array([own[zoo] - best[zoo] for zoo in own]))


def _by_zoo(scores: Scores) -> list[str]:
    """Show the best method zoo by zoo."""
    whole = {method: _overall(tasks) for method, tasks in scores.items() if all(tasks.values())}
    if not whole:
        return []
    best = max(whole, key=lambda name: np.mean([*whole[name].values()]))
    rows = [
        (code(zoo), *(f"{by_zoo[zoo]:.1f}" if zoo in by_zoo else "–" for by_zoo in scores[best].values()))
        for zoo in sorted(whole[best])
    ]
    heads: Sequence[str] = [f"`{task}`" for task in scores[best]]
    return [f"{code(best)}, zoo by zoo, above chance in %:", table(("zoo", *heads), rows, "l" + "r" * len(heads))]
