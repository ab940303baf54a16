"""How fast is an evaluation? Everything is timed in one run against the plain procedure of `reference.py`.

    python benchmarks/evaluate.py PATH

PATH is a clone of the public ModelDiagnosis repository. Prints, as ratios:

1. the 27 published curves × 5 seeds: one `mdbench evaluate`, uncached, start-up included, against the plain procedure in one
   process, start-up included; the accuracies of both must agree;
2. fitting MD tree: ours against the plain loop, with the same thresholds;
3. the jointly optimal thresholds (md_tree_exact) against the plain loop for the published ones.

    python benchmarks/evaluate.py --before CHECKOUT

CHECKOUT is a working tree of an earlier revision (`git worktree add`). Prints what the twelve cases `sisters` take here and
there, by turns, uncached, start-up included, for MD tree alone and for the fifteen methods of the board, and the peak memory
of all processes together (proportional set sizes: what is shared counts once).
"""

import argparse
import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import reference

from baselines.md_tree import MDTree
from baselines.md_tree_exact import MDTreeExact
from mdbench.sources.modeldiagnosis import COLUMNS
from mdbench.tables.tasks import TASKS

METHODS = ("md_tree", "md_tree_cka", "hyperparameter_tree", "validation_tree", "hyperparameter_validation_tree")
#: What the board had entries of when cases had five samples.
FIFTEEN = (
    *("barrier_rule", "hyperparameter_tree", "hyperparameter_validation_tree", "landscape_tree", "logistic_regression"),
    *("majority", "md_tree", "md_tree_cka", "md_tree_exact", "md_tree_quantile", "nearest_neighbours", "random"),
    *("random_forest", "validation_tree", "xgboost"),
)
MDBENCH = Path(sys.executable).with_name("mdbench")


def seconds(command: list[str], home: Path) -> float:
    """Return how long a command takes."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "MDBENCH_HOME": str(home)})
    return time.perf_counter() - started


def inside(tree: Path, home: Path) -> dict[str, str]:
    """Return the environment of a command of some working tree."""
    return {**os.environ, "MDBENCH_HOME": str(home), "PYTHONPATH": str(tree)}


def timed(command: list[str], tree: Path, home: Path) -> float:
    """Return how long a command of some working tree takes, in seconds."""
    started = time.perf_counter()
    subprocess.run(command, check=True, cwd=tree, stdout=subprocess.DEVNULL, env=inside(tree, home))
    return time.perf_counter() - started


def watched(command: list[str], tree: Path, home: Path) -> int:
    """Return the peak memory of a command's processes, in bytes. Not timed: looking takes time from them."""
    peak = 0
    with subprocess.Popen(
        command, cwd=tree, stdout=subprocess.DEVNULL, env=inside(tree, home), start_new_session=True
    ) as process:
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed in {tree}")
    return peak


def memory(session: int) -> int:
    """Return the bytes that the processes of a session hold together."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
            # Behind the command's name, which may hold anything: state, parent, group, session.
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                lines = (folder / "smaps_rollup").read_text().splitlines()
                total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def trees(before: Path, runs: int) -> None:
    """Time the twelve cases here and in an earlier working tree, by turns."""
    here = Path(__file__).resolve().parent.parent
    for what, methods in (("md_tree", ("md_tree",)), ("fifteen methods", FIFTEEN)):
        command = [
            sys.executable,
            "-m",
            "mdbench",
            "evaluate",
            *methods,
            "--cases",
            "sisters",
            "--beside",
            "",
            "--no-cache",
        ]
        with tempfile.TemporaryDirectory() as home:
            found = [(timed(command, before, Path(home)), timed(command, here, Path(home))) for _ in range(runs)]
            most = watched(command, here, Path(home))
        then, now = (statistics.median(pair[side] for pair in found) for side in (0, 1))
        print(f"{what}: before {then:.2f} s, here {now:.2f} s, {now / then:.2f} times; ", end="")
        print(f"ratios {', '.join(f'{b / a:.2f}' for a, b in found)}; peak memory here {most / 2**20:.0f} MiB")


def best_of(runs: int, work: Callable[[], object]) -> float:
    """Return the median time of some work, in seconds."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def sweep(clone: Path, slice_seconds: float) -> None:
    """Time the published curves."""
    with tempfile.TemporaryDirectory() as scratch:
        home, out = Path(scratch, "home"), Path(scratch, "out")
        subprocess.run(
            [MDBENCH, "import", "modeldiagnosis", clone],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "MDBENCH_HOME": str(home)},
        )
        ours = [str(MDBENCH), "evaluate", *METHODS, "--beside", "", "--cases", "published", "--no-cache"]
        subprocess.run(
            [*ours, "--out", str(out)],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "MDBENCH_HOME": str(home)},
        )
        scores = {
            (s["method"], s["case"]): s["accuracy"] for s in json.loads((out / "result.json").read_text())["scores"]
        }
        # The long one is stopped every now and then for one of ours, so that a machine whose speed changes (others
        # compute on it too) changes it for both.
        plain = [sys.executable, str(Path(reference.__file__)), str(clone), str(Path(scratch, "plain.json"))]
        theirs, mine = 0.0, []
        with subprocess.Popen(plain) as process:
            while process.returncode is None:
                started = time.perf_counter()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=slice_seconds)
                theirs += time.perf_counter() - started
                if process.returncode is None:
                    process.send_signal(signal.SIGSTOP)
                    mine.append(seconds(ours, home))
                    process.send_signal(signal.SIGCONT)
        if process.returncode:
            raise SystemExit("the plain procedure failed")
        curves = json.loads(Path(scratch, "plain.json").read_text())
    off = max(
        abs(scores[method, case] - statistics.fmean(values))
        for method, cases in curves.items()
        for case, values in cases.items()
    )
    middle, mean = statistics.median(mine), statistics.fmean(mine)
    print(f"published curves: plain {theirs:.1f} s; mdbench evaluate, {len(mine)} runs in between: ", end="")
    print(f"median {middle:.2f} s, mean {mean:.2f} s, from {min(mine):.2f} to {max(mine):.2f} s")
    print(f"                  {theirs / middle:.1f} times faster by the median, {theirs / mean:.1f} by the mean")
    print(f"                  largest difference of an accuracy: {off:.6f} points")


def fits(clone: Path, runs: int) -> None:
    """Time the fitting of MD tree."""
    clean, _ = reference.read_tables(clone)
    for label, task in (
        ("bs_failure", "optimizer"),
        ("width_vs_batch", "width_vs_optimizer"),
        ("data_vs_batch", "data_vs_optimizer"),
    ):
        rows = clean[(clean[label] != "optimal") & (clean["width"] >= (32 if task.startswith("data") else 0))]
        sizes = {"few": reference.sample(rows, "random", 8, 42), "all": rows}
        for sample in sizes.values():
            models = sample[list(COLUMNS)].rename(columns=COLUMNS)
            ours = {"small": "temperature_too_low", "large": "temperature_too_high", "batch": "optimizer"}
            labels = sample[label].replace(ours)
            features = sample[reference.TREES[label][1]].to_numpy()
            said = sample[label].to_numpy()

            def plain(label: str = label, features: np.ndarray = features, said: np.ndarray = said) -> list[float]:
                return reference.fit_thresholds(label, features, said)

            def fitted(
                kind: type[MDTree], models: pd.DataFrame = models, labels: pd.Series = labels, task: str = task
            ) -> MDTree:
                tree = kind()
                tree.fit(models[MDTree.columns[task]], labels, TASKS[task])
                return tree

            same = np.allclose(plain(), fitted(MDTree).thresholds, rtol=0, atol=1e-12)
            slow, fast = best_of(runs, plain), best_of(5 * runs, lambda f=fitted: f(MDTree))
            exact = best_of(runs, lambda f=fitted: f(MDTreeExact))
            print(
                f"{task:20s} {len(sample):5d} rows: plain {1e3 * slow:6.1f} ms; md_tree {1e3 * fast:5.2f} ms, "
                f"{slow / fast:5.1f} times faster, thresholds {'the same' if same else 'DIFFERENT'}; "
                f"md_tree_exact {1e3 * exact:6.1f} ms, {slow / exact:5.1f} times faster"
            )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clone", type=Path, nargs="?", help="clone of the public ModelDiagnosis repository")
    parser.add_argument("--before", type=Path, help="working tree of an earlier revision, to compare with")
    parser.add_argument("--runs", type=int, default=3, help="timed runs of what is short (default 3)")
    parser.add_argument("--slice", type=float, default=12, help="seconds of the plain procedure between two of ours")
    parser.add_argument("--only", choices=("sweep", "fits"), help="one part alone")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    if arguments.before:
        trees(arguments.before.resolve(), arguments.runs)
    if arguments.clone is None:
        if not arguments.before:
            parser.error("give the clone of ModelDiagnosis, --before, or both")
        return
    if arguments.only != "sweep":
        fits(arguments.clone, arguments.runs)
    if arguments.only != "fits":
        sweep(arguments.clone, arguments.slice)


if __name__ == "__main__":
    main()
