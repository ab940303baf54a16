"""What limits a method on zoos that nobody trained on: its ceiling inside each zoo, and what its errors have in common.

    python benchmarks/unseen.py [METHOD] [--out docs/unseen.md]

For every zoo and task of `--cases unseen`, the method's score after learning from the other zoos stands beside that after
learning from four fifths of this very zoo's cells (drawn five times, the others asked about): more than that the columns and
the method do not give, however many other zoos there were. Writes the page.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from mdbench.cases import Case, load_cases
from mdbench.scoring import Evaluated, Posed, evaluated, stats
from mdbench.showing import code, table
from mdbench.tables import decided

PARTS: Final = 5
#: Rows of the table of errors, the commonest.
SHOWN: Final = 12


def inside(one: Posed) -> list[Case]:
    """Return cases that ask about a fifth of a zoo's grid cells, drawn at random, after learning from the others."""
    zoo, task = one.test, one.rows.task.name
    knobs = tuple(knob for knob in zoo.cell_knobs if one.rows.test.table[knob].nunique() > 1)
    cells = len(one.rows.test.table[[*knobs]].drop_duplicates())
    drawn = {"about": "four fifths of the cells, the others being held out", "sample": "cells", "knobs": knobs}
    name = f"{zoo.name}/{task}/inside"
    return [
        Case(
            name=f"{name}/{seed}",
            sweep=name,
            task=task,
            train=zoo.name,
            test=zoo.name,
            scenario="inside",
            held_out=True,
            budget=cells - max(1, cells // PARTS),
            seeds=(seed,),
            **drawn,
        )
        for seed in range(PARTS)
    ]


def page(found: Evaluated, name: str, ceilings: Mapping[str, float]) -> str:
    """Return the page, in Markdown."""
    rows, errors = [], []
    for one in found.posed:
        case, test = one.rows.case, one.rows.test
        score = found.result.score(name, case.name)
        ceiling = ceilings.get(f"{case.test}/{case.task}")
        if score is None or score.above_chance is None or ceiling is None:
            continue
        said, sure = (
            found.answers[name, case.name].predicted,
            decided(one.test, one.rows.task)[test.table.index].to_numpy(),
        )
        wrong = said != test.codes
        alone = [stats.balanced_accuracy(each[sure], test.codes[sure]) for each in said] if sure.any() else []
        verdicts = len(stats.counted(test.codes[sure])) if sure.any() else 0
        clear = f"{stats.above_chance(float(np.mean(alone)), verdicts):.1f}" if verdicts > 1 else "–"
        rows.append(
            (
                code(case.test),
                code(case.task),
                f"{score.above_chance:.1f}",
                clear,
                f"{ceiling:.1f}",
                f"{100 * (~sure).mean():.0f} %",
                f"{100 * wrong[:, ~sure].sum() / max(wrong.sum(), 1):.0f} %",
            )
        )
        for true, verdict in enumerate(one.rows.task.classes):
            for answer, other in enumerate(one.rows.task.classes):
                share = float(((said == answer) & (test.codes == true)).mean())
                if true != answer and share > 0:
                    errors.append((share, code(case.test), code(case.task), code(verdict), code(other)))
    errors.sort(key=lambda error: -error[0])
    numbers = np.array([[float(row[2]), float(row[4])] for row in rows])
    return "\n\n".join(
        [
            f"# What limits {code(name)} on zoos that nobody trained on",
            f"Written by `python benchmarks/unseen.py {name}`, which says how. Above chance in % (0: one verdict said "
            "always, 100: all right). *Other zoos*: after learning from all others, kin left out. *Of decided rows*: the "
            "same, scored on rows whose label is outside seed noise. *Inside*: after learning from four fifths of the zoo's "
            f"own cells. The means of *other zoos* and *inside* are {numbers[:, 0].mean():.1f} and "
            f"{numbers[:, 1].mean():.1f}: what is between them is lost from zoo to zoo; what is above the latter is not in "
            "these columns for it, or is noise in the labels.",
            table(
                (
                    "zoo",
                    "task",
                    "other zoos",
                    "of decided rows",
                    "inside",
                    "labels within noise",
                    "errors within noise",
                ),
                rows,
                "llrrrrr",
            ),
            "## The commonest errors",
            "As shares of a zoo's rows, means over draws.",
            table(
                ("share", "zoo", "task", "it was", "it said"),
                [(f"{100 * share:.0f} %", *rest) for share, *rest in errors[:SHOWN]],
                "rllll",
            ),
            "How all methods do, with intervals: [results.md](results.md). What they were developed on: "
            "[methods.md](methods.md).\n",
        ]
    )


def main() -> None:
    """Ask, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", nargs="?", default="md_committee", help="name of a method or its file")
    parser.add_argument("--out", type=Path, default=Path("docs/unseen.md"), help="the page")
    asked = parser.parse_args()
    found = evaluated([asked.method], load_cases("unseen"))
    at_hand = {one.test.name: (one.folders[-1], one.test) for one in found.posed}
    within = evaluated([asked.method], [case for one in found.posed for case in inside(one)], at_hand)
    scores: dict[str, list[float]] = defaultdict(list)
    for score in within.result.scores:
        if score.above_chance is not None:
            scores[score.case.rpartition("/inside/")[0]].append(score.above_chance)
    (method,) = found.result.methods
    ceilings = {sweep: float(np.mean(some)) for sweep, some in scores.items()}
    text = page(found, method.name, ceilings)
    print(text)
    asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
