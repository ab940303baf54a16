"""How often Student's intervals hold what they are about, by simulation on the zoos' own tables.

    python benchmarks/intervals.py [METHOD …]

Two things can be meant by a score's interval:

- **this grid**: the mean score over all training samples that could be drawn, of these very rows. For each case of
  `sisters`, many samples are drawn and scored; their mean is the truth. Intervals of a few of them are counted that hold it.
- **other zoos**: the mean over zoos. The scores of the zoos that there are stand for all; as many are drawn with replacement.

Writes docs/intervals.md, or what --out says.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy import stats

import mdbench
from mdbench.cases import load_cases
from mdbench.scoring import evaluated

POPULATION = 300
DRAWS = 4000
LEVEL = 0.95
PAGE = """# How often intervals hold what they are about

Written by `python benchmarks/intervals.py`, which says how. Balanced accuracy; intervals are Student's, at 95 %.

## This grid

Of each case of `sisters`, {samples} training samples were drawn and scored: their mean is the truth. Of these, 5 and 25 were
drawn {draws:,} times, and the share of intervals that hold the truth is the coverage; mean over the cases, with the median
half of an interval's length, in points.

| method | coverage, 5 samples | 25 samples | half, 5 | 25 |
| --- | ---: | ---: | ---: | ---: |
{grid}

## Other zoos

The zoos that there are stand for all zoos: as many are drawn from them with replacement, {draws:,} times.

| method | task | zoos | coverage | half |
| --- | --- | ---: | ---: | ---: |
{others}
"""


def coverage(values: np.ndarray, size: int, rng: np.random.Generator, *, replace: bool) -> tuple[float, float]:
    """Return the share of Student's intervals that hold the mean, in %, and their median half-width, from draws of `size`.

    Drawn without replacement from a finite population, a mean varies less by √(1 − size / population): that is taken off.
    """
    drawn = np.stack([rng.choice(values, size, replace=replace) for _ in range(DRAWS)])
    error = stats.sem(drawn, axis=1) * (1 if replace else np.sqrt(1 - size / len(values)))
    half = stats.t.ppf((1 + LEVEL) / 2, size - 1) * error
    held = np.abs(drawn.mean(axis=1) - values.mean()) <= half + 1e-12
    return 100 * float(held.mean()), float(np.median(half))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=["md_tree", "validation_tree", "logistic_regression"])
    parser.add_argument("--samples", type=int, default=POPULATION, help="training samples a case (default 300)")
    parser.add_argument("--out", type=Path, default=Path("docs/intervals.md"))
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    cases = [
        case.model_copy(update={"seeds": tuple(range(1000, 1000 + arguments.samples))})
        for case in load_cases("sisters")
    ]
    by_case: dict[str, list[np.ndarray]] = defaultdict(list)
    for score in evaluated(arguments.methods, cases, cache=False, workers=2).result.scores:
        by_case[score.method].append(np.array(score.balanced_accuracy_by_seed))
    grid = []
    for method, several in by_case.items():
        held = {size: np.mean([coverage(one, size, rng, replace=False) for one in several], axis=0) for size in (5, 25)}
        grid.append(
            (f"`{method}`", *(f"{held[size][0]:.1f} %" for size in held), *(f"±{held[size][1]:.1f}" for size in held))
        )
    by_task: dict[tuple[str, str], list[float]] = defaultdict(list)
    tasks = {case.name: case.task for case in load_cases("unseen")}
    for score in mdbench.evaluate(arguments.methods, "unseen", workers=2).scores:
        by_task[score.method, tasks[score.case]].append(score.balanced_accuracy)
    others = []
    for (method, task), scores in by_task.items():
        if len(scores) > 2:
            share, half = coverage(np.array(scores), len(scores), rng, replace=True)
            others.append((f"`{method}`", f"`{task}`", str(len(scores)), f"{share:.1f} %", f"±{half:.1f}"))
    arguments.out.write_text(PAGE.format(samples=arguments.samples, draws=DRAWS, grid=rows(grid), others=rows(others)))


def rows(table: list[tuple[str, ...]]) -> str:
    """Return lines of a Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in table)


if __name__ == "__main__":
    main()
