"""The published procedure done the plain way: one curve after another, one threshold after another, one row after another.

It follows the description of the published code: rows are chosen by applying a function to every row of the table, MD
tree's objective walks the training rows in a Python loop for every threshold that the optimiser tries, and the metrics are
scikit-learn's. It reads the published tables themselves and shares no code with mdbench, so it also checks the results.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from sklearn.metrics import accuracy_score
from sklearn.tree import DecisionTreeClassifier

SEEDS = (42, 90, 38, 18, 72)
WIDTHS = (2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128)
FOLDER = Path("model_diagnosis_dataset", "dataframe")
VALIDATION = ["train_error", "train_loss", "test_loss", "test_error"]
#: sweep → label, how rows are drawn, budgets, smallest width, configuration columns of the hyperparameter tree
SWEEPS = {
    "cifar10/optimizer/few-shot": ("bs_failure", "random", range(1, 25), 0, ["log_data_amount", "log_para_amount"]),
    "cifar10/optimizer/data-limited": ("bs_failure", "data", range(1, 11), 0, ["log_data_amount", "log_para_amount"]),
    "cifar10/optimizer/width-limited": ("bs_failure", "width", WIDTHS, 0, ["log_data_amount", "log_para_amount"]),
    "cifar10/width_vs_optimizer/few-shot": ("width_vs_batch", "random_data", range(1, 11), 0, ["log_data_amount"]),
    "cifar10/width_vs_optimizer/data-limited": ("width_vs_batch", "data", range(1, 11), 0, ["log_data_amount"]),
    "cifar10/data_vs_optimizer/few-shot": ("data_vs_batch", "random_width", range(1, 6), 32, ["log_para_amount"]),
    "cifar10/data_vs_optimizer/width-limited": ("data_vs_batch", "width", WIDTHS[8:], 32, ["log_para_amount"]),
}


def optimizer_verdicts(rows: np.ndarray, t: list[float]) -> np.ndarray:
    said = []
    for i in range(len(rows)):
        if rows[i, 0] <= t[0]:
            said.append("small")
        elif rows[i, 1] <= t[1]:
            said.append("large" if rows[i, 2] <= t[2] else "small")
        else:
            said.append("large")
    return np.array(said)


def cka_verdicts(rows: np.ndarray, t: list[float]) -> np.ndarray:
    said = []
    for i in range(len(rows)):
        if rows[i, 0] <= t[0]:
            said.append("small")
        elif rows[i, 1] <= t[1]:
            said.append("small" if rows[i, 2] <= t[2] else "large")
        else:
            said.append("large")
    return np.array(said)


def width_verdicts(rows: np.ndarray, t: list[float]) -> np.ndarray:
    said = []
    for i in range(len(rows)):
        poorly_connected = rows[i, 1] <= t[1] if rows[i, 0] <= t[0] else rows[i, 1] <= t[2]
        said.append("width" if poorly_connected else "batch")
    return np.array(said)


def data_verdicts(rows: np.ndarray, t: list[float]) -> np.ndarray:
    said = []
    for i in range(len(rows)):
        if rows[i, 0] <= t[0]:
            flat = rows[i, 2] <= t[4] if rows[i, 1] <= t[1] else rows[i, 2] <= t[2]
        else:
            flat = rows[i, 1] > t[3] and rows[i, 2] <= t[5]
        said.append("data" if flat else "batch")
    return np.array(said)


ERROR, PEAK, TRACE = (0.5, (0, 1)), (-10, (-30, 0)), (7, (4, 9))
LANDSCAPE = ["train_error", "mode_connectivity_peak", "hessian_t"]
#: tree → its walk, its columns, start and bounds of each threshold
TREES = {
    "bs_failure": (optimizer_verdicts, LANDSCAPE, (ERROR, PEAK, TRACE)),
    "cka": (cka_verdicts, ["train_error", "mode_connectivity_peak", "CKA"], (ERROR, PEAK, (0.5, (0.2, 0.8)))),
    "width_vs_batch": (width_verdicts, LANDSCAPE, (ERROR, PEAK, PEAK)),
    "data_vs_batch": (data_verdicts, LANDSCAPE, (ERROR, PEAK, TRACE, PEAK, TRACE, TRACE)),
}


def fit_thresholds(tree: str, rows: np.ndarray, labels: np.ndarray) -> list[float]:
    """Set the thresholds of an MD tree one after the other; every trial walks every row."""
    walk, _, plan = TREES[tree]
    thresholds = [start for start, _ in plan]
    for i, (_, bounds) in enumerate(plan):

        def loss(threshold: float, i: int = i) -> float:
            thresholds[i] = threshold
            return -accuracy_score(labels, walk(rows, thresholds))

        thresholds[i] = minimize_scalar(loss, method="bounded", bounds=bounds).x
    return thresholds


def read_tables(clone: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the clean and the noisy published table."""
    files = ("dataframe_normal_public.csv", "dataframe_noise_public.csv")
    return tuple(pd.read_csv(clone / FOLDER / file) for file in files)


def sample(frame: pd.DataFrame, how: str, k: int, seed: int) -> pd.DataFrame:
    """Draw training rows."""
    np.random.seed(seed)
    data, widths = sorted(set(frame["data"])), sorted(set(frame["width"]))
    if how == "random":
        cells = [(d, w) for d in data for w in widths]
        chosen = [cells[i] for i in np.random.choice(range(len(cells)), size=k, replace=False)]
        return frame[frame.apply(lambda row: (row["data"], row["width"]) in chosen, axis=1)]
    if how == "random_data":
        return frame[frame["data"].isin(np.random.choice(data, size=k, replace=False))]
    if how == "random_width":
        return frame[frame["width"].isin(np.random.choice(widths, size=k, replace=False))]
    return frame[frame[how] <= k]


def curve(tables: tuple[pd.DataFrame, pd.DataFrame], sweep: str, method: str) -> dict[str, list[float]]:
    """Return the accuracies (%) of one method on one sweep: budget → one a seed."""
    label, how, budgets, smallest, configuration = SWEEPS[sweep]
    train, test = (t[(t[label] != "optimal") & (t["width"] >= smallest)] for t in tables)
    columns = {
        "hyperparameter_tree": configuration,
        "validation_tree": VALIDATION,
        "hyperparameter_validation_tree": configuration + VALIDATION,
    }
    accuracies: dict[str, list[float]] = {}
    for k in budgets:
        accuracies[f"{sweep}/{10 * k if how == 'data' else k}"] = scores = []
        for seed in SEEDS:
            rows = sample(train, how, k, seed)
            if method in columns:
                tree = DecisionTreeClassifier(max_depth=4, random_state=42)
                tree.fit(rows[columns[method]].to_numpy(), rows[label].to_numpy())
                said = tree.predict(test[columns[method]].to_numpy())
            else:
                walk, features, _ = TREES["cka" if method == "md_tree_cka" else label]
                thresholds = fit_thresholds(
                    "cka" if method == "md_tree_cka" else label, rows[features].to_numpy(), rows[label].to_numpy()
                )
                said = walk(test[features].to_numpy(), thresholds)
            scores.append(100 * float(np.mean(said == test[label].to_numpy())))
    return accuracies


def curves() -> list[tuple[str, str]]:
    """Return the 27 curves of the publication: five methods on the optimizer sweeps, three on the others."""
    three = ["hyperparameter_tree", "validation_tree", "md_tree"]
    five = [*three, "md_tree_cka", "hyperparameter_validation_tree"]
    return [(sweep, method) for sweep in SWEEPS for method in (five if "/optimizer/" in sweep else three)]


if __name__ == "__main__":
    # python reference.py CLONE OUT.json
    tables = read_tables(Path(sys.argv[1]))
    found: dict[str, dict[str, list[float]]] = {}
    for sweep, method in curves():
        found.setdefault(method, {}).update(curve(tables, sweep, method))
    Path(sys.argv[2]).write_text(json.dumps(found))
