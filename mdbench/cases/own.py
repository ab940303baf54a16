"""The cases that a zoo makes by itself, so that a zoo of one's own can be evaluated on at once.

Training rows are whole cells, a tenth of those there are and at least two, drawn anew for each seed. Scenario ``held-out``
asks about the rows of all cells that no seed trained on; so that they are at least half of the zoo, a small one gets fewer
than five seeds. Scenario ``cross-noise``, where the zoo has an axis of label noise, trains on rows without it and asks about
those with it.
"""

from typing import Any, Final

import numpy as np

from mdbench.cases.cases import Case, Range, Sweep
from mdbench.cases.splits import taking_part
from mdbench.errors import MdbenchError
from mdbench.tables import TASKS, Task, Zoo

SEEDS: Final = (42, 90, 38, 18, 72)
#: Cells trained on by one seed, at least; as many must be left over, at least.
FEWEST: Final = 2
SHARE: Final = 10


def own_cases(zoo: Zoo) -> list[Case]:
    """Return a case ``ZOO/TASK/SCENARIO/BUDGET`` for every task and scenario that a zoo supports.

    Raises
    ------
    MdbenchError
        It supports none: it has no labels, one verdict everywhere, or too few cells.
    """
    return own_cases_and_why(zoo)[0]


def own_cases_and_why(zoo: Zoo) -> tuple[list[Case], list[str]]:
    """Return the cases of a zoo, see `own_cases`, and why it makes no others.

    Raises
    ------
    MdbenchError
        It supports none: it has no labels, one verdict everywhere, or too few cells.
    """
    cases: list[Case] = []
    reasons = []
    scenarios = _scenarios(zoo)
    for task in zoo.tasks.values():
        for scenario, how in scenarios.items():
            try:
                cases += _sweep(zoo, task, scenario, how).cases()
            except MdbenchError as error:
                reasons.append(f"{task.name}/{scenario}: {error}")
    there = {move.name for move in zoo.moves}
    for task in TASKS.values():
        lacking = [move for move in task.moves if move not in there]
        if task.name not in zoo.tasks and not task.wide:
            reasons.append(f"{task.name}: there are no labels, for the zoo has no move {lacking[0]!r}")
    if not cases:
        raise MdbenchError(f"zoo {zoo.name} makes no cases of its own: {'; '.join(reasons)}")
    return cases, reasons


def _scenarios(zoo: Zoo) -> dict[str, dict[str, Any]]:
    scenarios: dict[str, dict[str, Any]] = {
        "held-out": {"held_out": True, "about": "a random choice of cells, all others being held out"}
    }
    noise = zoo.levels("label_noise") if "label_noise" in zoo.knobs else []
    if len(noise) > 1 and noise[0] == 0:
        scenarios["cross-noise"] = {
            "train_keep": {"label_noise": Range(max=0)},
            "test_keep": {"label_noise": Range(min=noise[1])},
            "about": "a random choice of cells without label noise, to be tested with it",
        }
    return scenarios


def _sweep(zoo: Zoo, task: Task, scenario: str, how: dict[str, Any]) -> Sweep:
    rows = taking_part(zoo, task, tuple(how.get("train_keep", {}).items()))
    if len(np.unique(rows.codes)) < 2:
        raise MdbenchError(f"every row to train on has the verdict {rows.labels[0]!r}")
    cells = len(np.unique(rows.cells))
    if cells < 2 * FEWEST:
        raise MdbenchError(f"{cells} cells to train on are too few, {2 * FEWEST} are needed")
    budget = max(FEWEST, cells // SHARE)
    seeds = SEEDS[: cells // 2 // budget] if how.get("held_out") else SEEDS
    knobs = tuple(knob for knob in zoo.cell_knobs if rows.table[knob].nunique() > 1)
    return Sweep(
        name=f"{zoo.name}/{task.name}/{scenario}",
        task=task.name,
        train=zoo.name,
        test=zoo.name,
        scenario=scenario,
        sample="cells",
        knobs=knobs,
        budgets=(budget,),
        seeds=seeds,
        **how | {"about": f"{how['about']}; BUDGET of {cells}, {' × '.join(knobs)}"},
    )
