"""A toy model of a zoo, for tests that need a table and no published one.

A configuration has width w, batch size b and a share d of the data. With log2 capacity c = log2(w / 2) ∈ [0, 6], temperature
t = −log2(b / 128) ∈ [−3, 3] and log2 data a = log2(d / 10) ∈ [0, 3.3], the temperature that suits a configuration is
t* = a / 2 + c / 6 − 1, and

    test error  = 60 − 5 c − 6 a + 1.5 (t − t*)²  (+ noise)
    train error = max(0, test error − 25 + 4 a − 3 (t* − t))

The landscape follows the distance to t*: below it, seeds fall into separate minima (a high barrier, a sharp Hessian, unlike
outputs), above it they do not. Nothing here is measured; the shapes are those that the labels must be able to tell apart.
"""

from itertools import product

import numpy as np
import pandas as pd

from mdbench.sources.modeldiagnosis import MOVES, TABLES
from mdbench.tables.manifest import Provenance
from mdbench.tables.zoo import Zoo

WIDTHS = (2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128)
BATCHES = (16, 24, 32, 44, 64, 92, 128, 180, 256, 364, 512, 724, 1024)
FRACTIONS = tuple(range(10, 101, 10))
#: The tasks that a zoo with the published moves has labels of.
TASKS = ("optimizer", "width_vs_optimizer", "data_vs_optimizer", "failure_source")


def table(noise: float = 0.3, seed: int = 0) -> pd.DataFrame:
    """Return the toy measurements on the published grid, 1,690 rows."""
    rng = np.random.default_rng(seed)
    grid = pd.DataFrame(product(WIDTHS, BATCHES, FRACTIONS), columns=["width", "batch_size", "data_fraction"]).astype(
        float
    )
    c, t, a = np.log2(grid["width"] / 2), -np.log2(grid["batch_size"] / 128), np.log2(grid["data_fraction"] / 10)
    cold = a / 2 + c / 6 - 1 - t

    def jitter(scale: float) -> np.ndarray:
        return scale * rng.normal(size=len(grid))

    test = (60 - 5 * c - 6 * a + 1.5 * cold**2 + jitter(noise)).clip(1, 90)
    train = (test - 25 + 4 * a - 3 * cold + jitter(noise)).clip(0, 90)
    return grid.assign(
        data_amount=500 * grid["data_fraction"],
        parameter_count=2800 * grid["width"] ** 2,
        test_error=test,
        test_loss=test / 30 + jitter(0.01),
        generalization_gap=test - train,
        train_error=train,
        train_loss=train / 35 + jitter(0.01),
        log_hessian_trace=6 + 0.5 * cold + jitter(0.3),
        log_hessian_top_eigenvalue=4 + 0.5 * cold + jitter(0.3),
        mode_connectivity=-2 * cold + jitter(1),
        mode_connectivity_peak=-(train + 2 * cold + jitter(1)).clip(0, 100),
        output_cka=(0.7 - 0.1 * cold + jitter(0.03)).clip(0, 1),
        mixup_cka=(0.6 - 0.1 * cold + jitter(0.03)).clip(0, 1),
    )


def zoo(name: str = "cifar10-resnet18", noise: float = 0.3, seed: int = 0) -> Zoo:
    """Return a toy zoo."""
    provenance = Provenance(source="tests/toy.py", license="MIT", made_by="the tests")
    return Zoo.from_table(name, "toy", table(noise, seed), MOVES, provenance)


def networks(
    widths: tuple[int, ...] = WIDTHS[::4],
    fractions: tuple[int, ...] = (10, 30, 60, 100),
    label_noise: tuple[int, ...] = (0, 20),
    seeds: int = 3,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a smaller grid with label noise for an axis, as a builder would write it: configurations, and their networks.

    Wrong labels make the test error larger and the temperature that suits higher: 1 % costs 0.2 points where the
    temperature is high and 0.4 where it is low. The first network of the grid diverged.
    """
    grid = table(noise=0)
    grid = grid[grid["width"].isin(widths) & grid["data_fraction"].isin(fractions)]
    grid = grid.merge(pd.DataFrame({"label_noise": np.array(label_noise, dtype=float)}), how="cross")
    grid["test_error"] += grid["label_noise"] * (0.2 + 0.2 * (grid["batch_size"] > 128))
    grid = grid.assign(depth=1.0, learning_rate=0.1, weight_decay=0.0, epochs=10.0)
    grid.insert(0, "configuration", [f"point-{i}" for i in range(len(grid))])

    rng = np.random.default_rng(0)
    one = grid.merge(pd.DataFrame({"seed": range(seeds)}), how="cross")
    one.insert(0, "checkpoint", one["configuration"] + "/seed-" + one["seed"].astype(str))
    one["test_error"] += rng.normal(size=len(one))
    one = one.assign(
        diverged=[True] + [False] * (len(one) - 1),
        diverged_at=[7.0] + [np.nan] * (len(one) - 1),
        steps=100,
        shard="shards/0.safetensors",
        sha256="0" * 64,
    )
    one.loc[0, ["test_error", "test_loss", "generalization_gap", "train_error", "train_loss"]] = np.nan
    one = one[[c for c in one if not c.startswith(("log_", "mode_", "output_", "mixup_"))]]

    known = one.groupby("configuration", sort=False)
    for column in ("test_error", "test_loss", "train_error", "train_loss", "generalization_gap"):
        grid[column] = known[column].mean().to_numpy()
        grid[f"{column}_std"] = known[column].std(ddof=1).to_numpy()
    return grid.assign(seeds=known["test_error"].count().to_numpy(), diverged_seeds=[1] + [0] * (len(grid) - 1)), one


def own_zoo(name: str = "own", **grid: object) -> Zoo:
    """Return a zoo of `networks`."""
    configurations, checkpoints = networks(**grid)
    provenance = Provenance(source="tests/toy.py", license="MIT", made_by="the tests")
    return Zoo.from_table(name, "a zoo with its networks", configurations, MOVES, provenance, checkpoints)


def both() -> list[Zoo]:
    """Return toy zoos under the names that the published cases use, so that those cases can be posed."""
    return [zoo(name, seed=seed) for seed, (name, _) in enumerate(TABLES.values())]
