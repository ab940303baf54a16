"""What entries get wrong in a case: which verdict they take for which, and where on the grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdbench.scoring import Posed
from mdbench.tables import TASKS

#: The knobs over which mistakes are drawn: down and across.
DOWN, ACROSS = "batch_size", "width"


@dataclass(frozen=True)
class Mistakes:
    """The mistakes of n entries in one case.

    Attributes
    ----------
    confusion : how often a row of the first verdict was called the second, all seeds together; shape (n, classes, classes).
    down, across : levels of the knobs `DOWN` and `ACROSS` among the test rows, ascending; empty where there is no such knob.
    shares : share of wrong answers among the test rows at each of these grid points in whole %, all seeds together, −1 where
        none stands; shape (n, down, across).
    """

    confusion: np.ndarray
    down: Sequence[float]
    across: Sequence[float]
    shares: np.ndarray


def mistakes(posed: Posed, predicted: np.ndarray) -> Mistakes:
    """Count what was answered.

    Parameters
    ----------
    posed : the case.
    predicted : places in the task's classes, int8, shape (n, seeds, test rows); anything outside of these is wrong.
    """
    test = posed.rows.test
    truth, classes = test.codes, len(posed.rows.task.classes)
    entries = len(predicted)
    said = np.eye(classes, dtype=np.float32)[truth]
    confusion = np.stack(
        [(predicted == verdict).sum(axis=1) for verdict in range(classes)], axis=2
    )  # (n, rows, classes)
    confusion = np.einsum("rt,nrp->ntp", said, confusion.astype(np.float32), optimize=True).round().astype(int)
    if DOWN not in test.table or ACROSS not in test.table:
        return Mistakes(confusion, (), (), np.empty((entries, 0, 0), dtype=int))
    down, at_down = np.unique(test.table[DOWN].to_numpy(), return_inverse=True)
    across, at_across = np.unique(test.table[ACROSS].to_numpy(), return_inverse=True)
    points = len(down) * len(across)
    stands = np.eye(points)[at_down * len(across) + at_across]  # (rows, points)
    there = stands.sum(axis=0)
    wrong = (predicted != truth).mean(axis=1) @ stands
    shares = np.where(there > 0, np.rint(100 * wrong / np.maximum(there, 1)), -1).astype(int)
    return Mistakes(confusion, down.tolist(), across.tolist(), shares.reshape(entries, len(down), len(across)))


class Figures:
    """What the figures on the pages of entries are drawn from.

    Parameters
    ----------
    posed : case → the case with its rows.
    predicted : entry → case → places in the task's classes, int8, shape (seeds, test rows).
    """

    def __init__(self, posed: Mapping[str, Posed], predicted: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        self._grids: list[Any] = []
        self._cases: list[tuple[dict[str, Any], dict[str, int], list[Any], list[Any]]] = []
        for name, one in posed.items():
            slugs = [slug for slug, answers in predicted.items() if name in answers]
            if not slugs:
                continue
            # The entries of a case together, where they answer as many samples: entry by entry it takes many times as long.
            counts = [len(predicted[slug][name]) for slug in slugs]
            slugs = [slug for _, slug in sorted(zip(counts, slugs, strict=True))]
            made = [
                mistakes(
                    one, np.stack([predicted[slug][name] for slug in slugs if len(predicted[slug][name]) == count])
                )
                for count in sorted(set(counts))
            ]
            grid = [list(made[0].down), list(made[0].across)]
            if grid not in self._grids:
                self._grids.append(grid)
            about = {"name": name, "task": one.rows.case.task, "grid": self._grids.index(grid)}
            whose = {slug: number for number, slug in enumerate(slugs)}
            confusion = [each for part in made for each in part.confusion.tolist()]
            shares = [each for part in made for each in part.shares.tolist()]
            self._cases.append((about, whose, confusion, shares))

    def of(self, slug: str) -> dict[str, Any]:
        """Return the mistakes of an entry, case by case, each with the number of its grid."""
        cases = [
            {**about, "confusion": confusion[whose[slug]], "shares": shares[whose[slug]]}
            for about, whose, confusion, shares in self._cases
            if slug in whose
        ]
        tasks = dict.fromkeys(case["task"] for case in cases)
        return {
            "down": DOWN.replace("_", " "),
            "across": ACROSS.replace("_", " "),
            "grids": self._grids,
            "classes": {task: [verdict.replace("_", " ") for verdict in TASKS[task].classes] for task in tasks},
            "cases": cases,
        }
