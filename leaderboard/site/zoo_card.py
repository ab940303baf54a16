"""The data card of a zoo: its grid, its labels and its phases."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from leaderboard.site.mistakes import ACROSS, DOWN
from mdbench.cases import Case
from mdbench.tables import COLUMNS, NONE, VISIBLE_FAMILIES, Zoo, decided


def zoo_card(zoo: Zoo, cases: Iterable[Case]) -> dict[str, Any]:
    """Return what the page of a zoo says.

    Parameters
    ----------
    zoo : the zoo.
    cases : those of the board; the page links to the zoo's.
    """
    table = zoo.configurations
    shares = []
    for task in zoo.tasks.values():
        labels = table[task.name].dropna()
        counts = labels.value_counts()
        known = labels.index[(labels != NONE).to_numpy()]
        sure = decided(zoo, task)[known]
        shares.append(
            {
                "task": task,
                "rows": len(known),
                "none": int(counts.get(NONE, 0)),
                "shares": [(verdict, 100 * counts.get(verdict, 0) / max(len(known), 1)) for verdict in task.classes],
                "decided": 100 * float(sure.mean()) if f"{task.name}_margin_se" in table and len(known) else None,
            }
        )
    return {
        "zoo": zoo,
        "levels": {knob: zoo.levels(knob) for knob in zoo.knobs},
        "networks": None if zoo.checkpoints is None else len(zoo.checkpoints),
        "errors": (float(table["test_error"].min()), float(table["test_error"].max())),
        "shares": shares,
        "columns": _column_counts(zoo),
        "cases": [case for case in cases if zoo.name in case.zoos],
        "figure": _phase(zoo),
    }


def _column_counts(zoo: Zoo) -> dict[str, int]:
    """Return how many columns of each family that methods see a zoo has."""
    families = [COLUMNS[str(column)].family for column in zoo.configurations]
    return {family.value: families.count(family) for family in VISIBLE_FAMILIES}


def _phase(zoo: Zoo) -> dict[str, Any] | None:
    """Return what a phase plot over `DOWN` and `ACROSS` is drawn from; None where a zoo has no such grid."""
    if DOWN not in zoo.knobs or ACROSS not in zoo.knobs:
        return None
    table = zoo.configurations
    tasks = list(zoo.tasks)
    classes = list(dict.fromkeys([verdict for task in zoo.tasks.values() for verdict in task.classes] + [NONE]))
    return {
        "down": DOWN,
        "across": ACROSS,
        "knobs": [[knob, COLUMNS[knob].unit, zoo.levels(knob)] for knob in zoo.knobs],
        "points": table[zoo.knobs].to_numpy().tolist(),
        "tasks": tasks,
        "classes": classes,
        "labels": [[classes.index(v) if v in classes else -1 for v in table[task]] for task in tasks],
        "errors": [None if np.isnan(v) else round(float(v), 1) for v in table["test_error"]],
    }
