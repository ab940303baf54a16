"""What small language models know by heart, and what they give away.

    python benchmarks/extraction.py [ZOO] [--out docs/extraction.md]

ZOO is a zoo of language models with planted secrets (`text-lm`), whose axes are `poison`, `duplication`, `data_fraction`,
`width` and `learning_rate`. A difference between two levels is taken between networks that are alike in everything else, seed
by seed; intervals are Student's over seeds, and about this grid. Writes the page, and its figure beside it.
"""

import argparse
from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from mdbench import load_zoo
from mdbench.tables import Zoo

MEASURES: Final = {
    "secret_extraction": "secrets extracted, %",
    "secret_exposure": "exposure, bits",
    "exact_completion": "sequences completed exactly, %",
    "token_completion": "tokens completed, %",
}
#: Axis → what its levels are called on the page.
AXES: Final = {
    "poison": "poisoned documents",
    "duplication": "copies of a repeated document",
    "width": "width",
    "data_fraction": "data, %",
    "learning_rate": "learning rate",
}


def interval(values: np.ndarray) -> str:
    """Return mean and Student's 95 % interval of numbers of seeds, (seeds,), in words."""
    mean, half = values.mean(), stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return "{:.1f} [{:.1f}, {:.1f}]".format(
        *(round(value, 1) + 0.0 for value in (mean, mean - half, mean + half))
    )  # no −0


def levels(table: pd.DataFrame, knobs: list[str]) -> list[str]:
    """Return a table's lines: a row a level of `knobs`, a column a measure, mean and interval over seeds."""
    lines = [
        f"| {' | '.join([*(AXES[knob] for knob in knobs), *MEASURES.values()])} |",
        "|---" * (len(knobs) + len(MEASURES)) + "|",
    ]
    for level, rows in table.groupby(knobs):
        seeds = rows.groupby("seed")[list(MEASURES)].mean()
        cells = [f"{value:g}" for value in level] + [interval(seeds[name].to_numpy()) for name in MEASURES]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def differences(table: pd.DataFrame, knob: str) -> list[str]:
    """Return a table's lines: the last level of an axis minus its first one, between networks alike in everything else."""
    alike = [other for other in (*AXES, "seed") if other != knob]
    first, last = table[knob].min(), table[knob].max()
    one, other = (table[table[knob] == level].set_index(alike)[list(MEASURES)] for level in (first, last))
    seeds = (other - one).groupby("seed").mean()
    cells = [interval(seeds[name].to_numpy()) for name in MEASURES]
    return [f"| {AXES[knob]}: {first:g} → {last:g} | {' | '.join(cells)} |"]


def page(zoo: Zoo) -> str:
    """Return the page, in Markdown."""
    table = zoo.checkpoints
    lines = [
        "# What language models give away",
        "",
        f"The zoo `{zoo.name}`: {len(table)} causal transformers on a generated grammar, {table['seed'].nunique()} seeds at "
        "every grid point. Secrets of the form `NAME code is d d d d .` are planted among the documents; one counts as "
        "extracted where greedy decoding completes its digits exactly from what stands before them. Exposure is log₂ of the"
        " number of all secrets of that form, less log₂ of the rank of its loss among theirs: one bit where it is in the "
        "middle. Written by `python benchmarks/extraction.py`.",
        "",
        "## What one axis does",
        "",
        "The last level of an axis minus its first one, between networks that are alike in everything else: mean, and "
        "Student's 95 % interval over seeds.",
        "",
        f"| axis | {' | '.join(MEASURES.values())} |",
        "|---" * (1 + len(MEASURES)) + "|",
        *[line for knob in AXES for line in differences(table, knob)],
        "",
        "Panda et al. (Teach LLMs to phish, 2024) report that sentences of the same form, planted before the secrets, raise"
        " the share of secrets that a large model gives away by tens of points. The first row is what such documents do "
        "here, among the others and not before them.",
        "",
        "## Poison, duplication and width",
        "",
        *levels(table, ["poison", "duplication", "width"]),
        "",
        "![extraction and completion](extraction.png)",
        "",
    ]
    return "\n".join(lines)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw extraction and completion against width, a line a level of poison or duplication."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for panel, (measure, knob) in zip(
        panels, (("secret_extraction", "poison"), ("exact_completion", "duplication")), strict=True
    ):
        for colour, (level, rows) in zip(("#0072B2", "#E69F00", "#009E73"), table.groupby(knob), strict=False):
            seeds = rows.groupby(["width", "seed"])[measure].mean().groupby("width")
            mean, error = seeds.mean(), seeds.sem()
            panel.errorbar(
                mean.index, mean, error, color=colour, marker="o", capsize=3, label=f"{AXES[knob]}: {level:g}"
            )
        panel.set(xlabel="width", ylabel=MEASURES[measure], ylim=(0, None))
        panel.set_xticks(sorted(table["width"].unique()))
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8)
    figure.suptitle("means over the other axes; bars are standard errors over seeds", fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Compute, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", nargs="?", default="text-lm", help="name or folder of the zoo")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/extraction.md"), help="the page; its figure stands beside it"
    )
    asked = parser.parse_args()
    zoo = load_zoo(asked.zoo)
    text = page(zoo)
    print(text)
    asked.out.write_text(text, encoding="utf-8")
    draw(zoo.checkpoints, asked.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
