"""Who gains from a treatment? Networks trained plainly, and the same ones trained by SAM and TempBalance.

    python benchmarks/treatments.py [ZOO] [--out docs/treatments.md]

ZOO is a zoo with an axis `optimizer` whose arms are the plain way and the treatments (`mnist1d-treated`). A network's gain is
the test error of the plainly trained one minus that of the treated one of the same grid point and seed, which began alike and
saw the same batches. What is asked of each treatment: is the gain larger where a metric of the plainly trained network is
larger? Printed, a row a metric:

- the rank correlation (Spearman) of metric and gain over the grid points;
- the same within levels of data and width, which decide most about the error: ranks within each level, correlated over all;
- the mean gain of the upper half of the grid points minus that of the lower half, in points of test error.

Each is computed for every seed by itself; intervals are Student's over seeds. They are about this grid. Writes the page, and
its figure beside it.
"""

import argparse
from collections.abc import Callable
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

#: Arm → what it treats, in words; the others are compared with `PLAIN`.
PLAIN: Final = "sgd"
TREATMENTS: Final = {"sam": "SAM", "balanced": "TempBalance", "both": "both"}
#: Metrics of the plainly trained network.
METRICS: Final = {
    "alpha_hill_imbalance": "imbalance of layers (spread of Hill's exponent)",
    "log_hessian_top": "sharpness (log of the largest eigenvalue of the Hessian)",
    "sharpness_worst": "sharpness (worst loss nearby)",
    "train_loss": "training loss",
    "test_error": "test error",
}
#: What the page asks first.
ASKED: Final = {"balanced": "alpha_hill_imbalance", "sam": "log_hessian_top"}


def _grid(zoo: Zoo) -> list[str]:
    return [knob for knob in zoo.knobs if knob != "optimizer_name"]


def gains(zoo: Zoo) -> pd.DataFrame:
    """Return one row a grid point, seed and treatment: its levels, metrics of the plain network, gain in points."""
    table = zoo.checkpoints.copy()
    table["log_hessian_top"] = np.log10(table["hessian_top_eigenvalue"].where(table["hessian_top_eigenvalue"] > 0))
    keys = [*_grid(zoo), "seed"]
    plain = table[table["optimizer_name"] == PLAIN].set_index(keys)[list(METRICS)]
    parts = []
    for arm in TREATMENTS:
        treated = table[table["optimizer_name"] == arm].set_index(keys)["test_error"]
        parts.append(plain.assign(treatment=arm, gain=plain["test_error"] - treated).reset_index())
    return pd.concat(parts, ignore_index=True)


def _correlation(one: pd.DataFrame, metric: str) -> float:
    return float(stats.spearmanr(one[metric], one["gain"], nan_policy="omit").statistic)


def _correlation_within(one: pd.DataFrame, metric: str) -> float:
    levels = one.dropna(subset=[metric, "gain"]).groupby(["data_fraction", "width"])
    ranks = {
        name: levels[name].rank() - levels[name].rank().groupby(levels.ngroup()).transform("mean")
        for name in (metric, "gain")
    }
    return float(np.corrcoef(ranks[metric], ranks["gain"])[0, 1])


def _halves(one: pd.DataFrame, metric: str) -> float:
    upper = one[metric] > one[metric].median()
    return float(one.loc[upper, "gain"].mean() - one.loc[~upper, "gain"].mean())


ESTIMANDS: Final[dict[str, Callable[[pd.DataFrame, str], float]]] = {
    "rank correlation": _correlation,
    "within data and width": _correlation_within,
    "upper − lower half, points": _halves,
}


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return mean, and Student's 95 % interval, of numbers of seeds, (seeds,)."""
    mean, half = float(values.mean()), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return mean, mean - half, mean + half


def _said(values: np.ndarray) -> str:
    mean, low, high = interval(values)
    return f"{'**' if low > 0 or high < 0 else ''}{mean:+.2f} [{low:+.2f}, {high:+.2f}]{'**' if low > 0 or high < 0 else ''}"


def page(zoo: Zoo, rows: pd.DataFrame) -> str:
    """Return the page, in Markdown."""
    seeds, points = rows["seed"].nunique(), len(rows) // rows["seed"].nunique() // len(TREATMENTS)
    lines = [
        "# Who gains from a treatment?",
        "",
        f"The zoo `{zoo.name}` is one grid of {points} points, trained by SGD, by SAM, by TempBalance, and by both; "
        f"{seeds} seeds each. "
        "A treated network and its plain twin begin alike and see the same batches. Written by "
        "`python benchmarks/treatments.py`.",
        "",
        "## What the treatments do to the test error",
        "",
        "Gain: test error of the plain network − that of its treated twin, in points; mean over the grid, Student's 95 % "
        "interval over seeds.",
        "",
        "| treatment | mean gain | grid points whose mean gain is above zero |",
        "|---|---|---|",
    ]
    for arm, words in TREATMENTS.items():
        one = rows[rows["treatment"] == arm]
        positive = (one.groupby(_grid(zoo))["gain"].mean() > 0).mean()
        lines.append(f"| {words} | {_said(one.groupby('seed')['gain'].mean().to_numpy())} | {100 * positive:.0f} % |")
    lines += ["", "## Does a metric of the plain network tell who gains?", ""]
    for arm, metric in ASKED.items():
        one = rows[rows["treatment"] == arm]
        found = {name: interval(_by_seed(one, metric, what)) for name, what in ESTIMANDS.items()}
        mean, low, high = found["within data and width"]
        answer = "yes" if low > 0 else "no: the other way round" if high < 0 else "it cannot be told from chance"
        question = (
            "Does a network whose layers are out of balance gain more from TempBalance than one whose layers are not?"
            if arm == "balanced"
            else "Does a sharp network gain more from SAM than a flat one?"
        )
        lines.append(
            f"- {question} Among networks of the same width and amount of data, {answer}: rank correlation {mean:+.2f} "
            f"[{low:+.2f}, {high:+.2f}], of the {one.dropna(subset=[metric]).groupby(_grid(zoo)).ngroups} grid points of "
            f"{points} that have the metric."
        )
    lines += [
        "",
        "Rank correlations of metric and gain; intervals that do not hold zero are bold. Amount of data and width decide "
        "most about the error and about every metric, so that the second column is the fairer one. The gain holds the plain"
        " network's own test error: one that came out badly by chance has more to gain, whatever is done to it (regression "
        "to the mean). The last row shows how much that is.",
        "",
    ]
    for arm, words in TREATMENTS.items():
        one = rows[rows["treatment"] == arm]
        lines += [
            f"### {words}",
            "",
            f"| metric of the plain network | {' | '.join(ESTIMANDS)} |",
            "|---|" + "---|" * len(ESTIMANDS),
        ]
        for metric, said in METRICS.items():
            cells = [_said(_by_seed(one, metric, what)) for what in ESTIMANDS.values()]
            lines.append(f"| {said} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join([*lines, "![gain against metric](treatments.png)", ""])


def _by_seed(one: pd.DataFrame, metric: str, what: Callable[[pd.DataFrame, str], float]) -> np.ndarray:
    return np.array([what(rows, metric) for _, rows in one.groupby("seed")])


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Draw gain against the metric asked of each treatment, a dot a grid point, means over seeds."""
    figure, panels = plt.subplots(1, len(ASKED), figsize=(10, 4.2), layout="constrained")
    knobs = ["data_fraction", "width", "batch_size"]
    for panel, (arm, metric) in zip(panels, ASKED.items(), strict=True):
        one = rows[rows["treatment"] == arm].groupby(knobs)[[metric, "gain"]].mean().reset_index()
        for colour, (fraction, part) in zip(
            ("#0072B2", "#E69F00", "#009E73"), one.groupby("data_fraction"), strict=False
        ):
            panel.scatter(
                part[metric],
                part["gain"],
                12 + 3 * part["width"],
                colour,
                alpha=0.8,
                label=f"{fraction:g} % of the data",
            )
        panel.axhline(0, color="#8C8C8C", linewidth=0.8)
        panel.set(xlabel=METRICS[metric], ylabel=f"gain from {TREATMENTS[arm]}, points")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, title="larger dots: wider", fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Compute, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", nargs="?", default="mnist1d-treated", help="name or folder of the zoo")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/treatments.md"), help="the page; its figure stands beside it"
    )
    asked = parser.parse_args()
    zoo = load_zoo(asked.zoo)
    rows = gains(zoo)
    text = page(zoo, rows)
    print(text)
    asked.out.write_text(text, encoding="utf-8")
    draw(rows, asked.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
