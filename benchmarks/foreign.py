"""What does `mdbench diagnose` say of networks of other data? A small zoo, built and measured on the fly.

    python benchmarks/foreign.py

Perceptrons of depth two learn Gaussian vectors that a random network labels: fifty configurations, three seeds. One network
of each is measured as `--quick` measures, and asked about; what is right is told by the zoo itself, as of every zoo. Prints
the table that `benchmarks/diagnose.py` puts into docs/diagnose.md.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from mdbench.diagnosing import verdicts_of
from mdbench.diagnosing.pool import ASKED, pool_of
from mdbench.showing import code, table
from mdbench.tables import Zoo, find_task
from zoo_builder.building import OpenExecutor, build, executors, measure
from zoo_builder.examining.extent import EXTENTS
from zoo_builder.landscape import FAMILIES

#: `folder` is where the data are.
SPEC: Final = """\
name = "foreign"
seeds = [0, 1, 2]
[dataset]
name = "gaussians.npz"
folder = "{folder}"
[architecture]
name = "mlp"
depth = 2
[training]
epochs = 30
batch_size = 32
[[axes]]
knob = "data_fraction"
values = [10, 20, 40, 70, 100]
[[axes]]
knob = "width"
values = [4, 32]
[[axes]]
knob = "learning_rate"
values = [0.001, 0.005, 0.02, 0.1, 0.4]
"""
FEATURES, HIDDEN, CLASSES = 16, 12, 5
#: What is measured of one network.
FAMILIES_ASKED: Final = tuple(name for name in EXTENTS["quick"] if FAMILIES[name].columns("checkpoint"))


def examples() -> dict[str, np.ndarray]:
    """Return vectors, and what a network of random weights makes of them."""
    drawn = np.random.default_rng(0)
    first, second = drawn.normal(size=(FEATURES, HIDDEN)), drawn.normal(size=(HIDDEN, CLASSES))
    found = {}
    for part, count in (("train", 600), ("test", 1000)):
        inputs = drawn.normal(size=(count, FEATURES))
        found[f"{part}_inputs"] = inputs.astype(np.float32)
        found[f"{part}_labels"] = (np.tanh(inputs @ first / 2) @ second).argmax(1)
    return found


def made(folder: Path, workers: OpenExecutor) -> Zoo:
    """Build and measure the zoo in a folder."""
    np.savez(folder / "gaussians.npz", **examples())  # type: ignore[arg-type]
    spec = folder / "foreign.toml"
    spec.write_text(SPEC.format(folder=folder))
    build(spec, folder / "zoo", workers)
    return measure(folder / "zoo", workers, families=FAMILIES_ASKED)


def asked(zoo: Zoo, tasks: Sequence[str] = ASKED) -> pd.DataFrame:
    """Return a row for each network and question that has a right answer.

    Columns: task, probability (of what was said), right, answered, clear.
    """
    pool = pool_of({zoo.name: zoo}, {task: {zoo.name: 0} for task in ASKED}, seeds=False)
    columns = [name for family in FAMILIES_ASKED for name in FAMILIES[family].columns("checkpoint")]
    found = []
    for at in range(len(pool.rows)):
        for said in verdicts_of(pool.rows.iloc[[at]][columns], seeds=False, tasks=tasks):
            label = pool.labels[said.task].iloc[at]
            if label in find_task(said.task).classes:
                sure, clear = said.probabilities[said.likeliest], bool(pool.decided[said.task].iloc[at])
                found.append((said.task, sure, said.likeliest == label, said.answered, clear))
    return pd.DataFrame(found, columns=["task", "probability", "right", "answered", "clear"])


def page(found: pd.DataFrame) -> Iterator[str]:
    """Yield the lines of the page about it."""
    rows = []
    for task, own in found.groupby("task", sort=False):
        answered = own[own["answered"]]
        rows.append(
            (
                code(str(task)),
                len(own),
                f"{own['probability'].mean():.0%}",
                f"{own['right'].mean():.0%}",
                len(answered),
                f"{answered['right'].sum()} of {len(answered)}" if len(answered) else "–",
            )
        )
    yield from (
        "Perceptrons that learn Gaussian vectors which a random network labels (`benchmarks/foreign.py`): fifty "
        "configurations, one network of each, asked about as `--quick` asks.",
        "",
        table(("task", "networks", "said, in the mean", "right", "answered", "right of these"), rows, "lrrrrr"),
        "",
        "What is answered is as right as the page says, within the noise of so few. A hint is not: what is said below the "
        "threshold was learned from zoos that lack this one's kind, and is right much less often than its probability says.",
        "",
    )


def main() -> None:
    """Build, measure, ask, print."""
    with tempfile.TemporaryDirectory() as folder:
        print("\n".join(page(asked(made(Path(folder), executors.local(1, ["cpu"]))))))


if __name__ == "__main__":
    main()
