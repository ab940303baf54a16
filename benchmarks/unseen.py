"""How methods do on zoos that nobody trained on: means over zoos, with intervals that are about other zoos.

    mdbench evaluate METHOD … --cases unseen --beside "" --out DIR
    python benchmarks/unseen.py DIR [--out docs/unseen.md]

A number is the mean over zoos of balanced accuracy, in %; its 95 % interval is Student's over zoos. Writes the page.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from scipy import stats

from mdbench.scoring import Result, load_result

TASKS: Final = ("optimizer", "width_vs_optimizer", "data_vs_optimizer", "failure_source")
#: Whose numbers are shown zoo by zoo.
SHOWN: Final = "md_committee"


def said(values: Sequence[float]) -> str:
    """Return the mean of some zoos' scores, its interval, and of how many they are."""
    if len(values) < 2:
        return "–"
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{np.mean(values):.1f} ± {half:.1f} ({len(values)})"


def page(result: Result) -> str:
    """Return the page, in Markdown."""
    scores: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for score in result.scores:
        zoo, task, scenario, *_ = score.case.split("/")
        if scenario == "unseen":
            scores[score.method, task][zoo.removeprefix("others-to-")] = score.balanced_accuracy
    methods = list(dict.fromkeys(method for method, _ in scores))
    methods.sort(key=lambda name: -float(np.mean([np.mean([*scores[name, task].values()] or [0]) for task in TASKS])))
    lines = [
        "# Zoos that nobody trained on",
        "",
        "Each zoo in turn is asked about by methods that learned from all others, its kin left out (`--cases unseen`). "
        "Balanced accuracy in %: mean over zoos ± Student's 95 % interval over zoos (zoos answered). Chance is 50, for "
        "`failure_source` 25. Written by `python benchmarks/unseen.py`, which says how.",
        "",
        f"| method | {' | '.join(f'`{task}`' for task in TASKS)} |",
        "|---" * (1 + len(TASKS)) + "|",
        *(
            f"| `{method}` | {' | '.join(said([*scores[method, task].values()]) for task in TASKS)} |"
            for method in methods
        ),
        "",
        f"`{SHOWN}`, zoo by zoo:",
        "",
        f"| zoo | {' | '.join(f'`{task}`' for task in TASKS)} |",
        "|---" * (1 + len(TASKS)) + "|",
    ]
    for zoo in sorted({zoo for task in TASKS for zoo in scores[SHOWN, task]}):
        cells = [f"{scores[SHOWN, task][zoo]:.1f}" if zoo in scores[SHOWN, task] else "–" for task in TASKS]
        lines.append(f"| `{zoo}` | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "What the methods were developed on: [methods.md](methods.md).", ""])


def main() -> None:
    """Read, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path, help="folder of `mdbench evaluate --cases unseen --out`")
    parser.add_argument("--out", type=Path, default=Path("docs/unseen.md"), help="the page")
    asked = parser.parse_args()
    text = page(load_result(asked.result))
    print(text)
    asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
