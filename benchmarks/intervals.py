"""How often Student's intervals hold what they are about, by simulation on the zoos' own tables.

    python benchmarks/intervals.py [METHOD …]

Two things can be meant by a score's interval:

- **this grid**: the mean accuracy over all training samples that could be drawn, of these very rows. For each case of
  `sisters`, many samples are drawn and scored; their mean is the truth. Intervals of a few of them are counted that hold it.
- **other zoos**: the mean over zoos. The scores of the zoos that there are stand for all; as many are drawn with replacement.

Prints both as Markdown.
"""

import argparse
from collections import defaultdict

import numpy as np
from scipy import stats

import mdbench
from mdbench.cases import load_cases
from mdbench.scoring import evaluated

POPULATION = 300
DRAWS = 4000
LEVEL = 0.95


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
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    cases = [
        case.model_copy(update={"seeds": tuple(range(1000, 1000 + arguments.samples))})
        for case in load_cases("sisters")
    ]
    print("| method | this grid, 5 samples | 25 samples | half-width, 5 | 25 |")
    print("|---|---|---|---|---|")
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    for score in evaluated(arguments.methods, cases, cache=False).result.scores:
        found[score.method].append(np.array(score.accuracy_by_seed))
    for method, several in found.items():
        held = {size: np.mean([coverage(one, size, rng, replace=False) for one in several], axis=0) for size in (5, 25)}
        print(f"| `{method}` | {held[5][0]:.1f} % | {held[25][0]:.1f} % | ±{held[5][1]:.1f} | ±{held[25][1]:.1f} |")
    print("\n| method | task | zoos | other zoos | half-width |")
    print("|---|---|---|---|---|")
    zoos: dict[tuple[str, str], list[float]] = defaultdict(list)
    tasks = {case.name: case.task for case in load_cases("unseen")}
    for score in mdbench.evaluate(arguments.methods, "unseen").scores:
        zoos[score.method, tasks[score.case]].append(score.balanced_accuracy)
    for (method, task), scores in zoos.items():
        if len(scores) > 2:
            share, half = coverage(np.array(scores), len(scores), rng, replace=True)
            print(f"| `{method}` | {task} | {len(scores)} | {share:.1f} % | ±{half:.1f} |")


if __name__ == "__main__":
    main()
