"""What columns need, as the schema says it: taken away, exactly these are missing, and the reason says what was."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from mdbench.tables import COLUMNS, Need
from mdbench.tables.quantiles import QUANTILE
from zoo_builder.landscape import FAMILIES, Settings, measure
from zoo_builder.landscape.missing import WITHOUT

#: Of all networks; what is of networks that say tokens is in test_generation.py.
OF_ALL = [family for family in FAMILIES.values() if not family.of_tokens]
METRICS = {metric.column: family.reason for family in OF_ALL for metric in family.metrics}
IN_LAYERS = {metric.column for family in FAMILIES.values() for metric in family.metrics if metric.of == "layer"}
DOCS = Path(__file__).parents[1] / "docs" / "metrics.md"
SMALL = Settings(train_sample=60, topology_sample=20, curve_learning_rate=0.05)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.second(self.first(x).relu())


def trained(seed, inputs, targets, loss):
    torch.manual_seed(seed)
    outputs = 3 if targets.dim() == 1 else targets.shape[1]
    network = nn.Sequential(nn.Linear(6, 12), Block(12), Block(12), nn.Linear(12, outputs))
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss(network(inputs), targets).backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def examples():
    """Inputs, targets and right labels to learn from, and others to be tested on."""
    torch.manual_seed(0)
    inputs, hidden = torch.randn(240, 6), torch.randn(6, 3)
    right = (inputs @ hidden).argmax(1)
    given = right.clone()
    given[:120:10] = (given[:120:10] + 1) % 3
    return {"train": (inputs[:120], given[:120]), "truth": right[:120], "test": (inputs[120:], right[120:])}


@pytest.fixture(scope="module")
def classifiers(examples):
    return [trained(seed, *examples["train"], functional.cross_entropy) for seed in range(2)]


@pytest.fixture(scope="module")
def whole(examples, classifiers):
    return measured(classifiers, examples, "cross_entropy")


def measured(networks, examples, loss, **without):
    given = examples | without
    return measure(
        networks, loss, given["train"], test=given["test"], truth=given["truth"], settings=SMALL, dtype=torch.float64
    )


def missing(found):
    """Column → the reason beside it, of the columns that have no number."""
    tables = [found.models.iloc[0], found.together]
    said = {}
    for table in tables:
        for column in table.index.intersection(list(METRICS)):
            if table[column] != table[column]:
                reasons = table[METRICS[column]].split("; ")
                (said[column],) = (
                    why for names, why in (part.split(": ", 1) for part in reasons) if column in names.split(", ")
                )
    return said


def needing(need):
    return {column for column in METRICS if need in COLUMNS[column].needs}


def test_with_everything_nothing_is_missing(whole):
    assert missing(whole) == {}
    assert set(whole.models) | set(whole.together.index) >= set(METRICS) - IN_LAYERS
    assert whole.layers[list(IN_LAYERS)].notna().any().all()


@pytest.mark.parametrize(
    ("need", "without"),
    [(Need.TEST, {"test": None}), (Need.WRONG, {"truth": None}), (Need.SEEDS, {}), (Need.CLASSES, {})],
    ids=str,
)
def test_what_is_taken_away_is_what_columns_need(whole, examples, classifiers, need, without):
    networks, loss = classifiers, "cross_entropy"
    if need is Need.SEEDS:
        networks = classifiers[:1]
    if need is Need.CLASSES:
        inputs, _ = examples["train"]
        loss = nn.MSELoss()
        without = {"train": (inputs, inputs[:, :2].sin()), "test": (inputs, inputs[:, :2].sin()), "truth": None}
        networks = [trained(seed, *without["train"], loss) for seed in range(2)]
    found = measured(networks, examples, loss, **without)
    assert missing(found) == dict.fromkeys(needing(need), WITHOUT[need])
    assert needing(need)


def test_what_all_of_these_lack_is_what_is_left(examples):
    """One network of a regression, and nothing else."""
    inputs, _ = examples["train"]
    network = trained(0, inputs, inputs[:, :2].sin(), functional.mse_loss)
    found = measured([network], examples, nn.MSELoss(), train=(inputs, inputs[:, :2].sin()), test=None, truth=None)
    assert set(missing(found)) == {column for column in METRICS if COLUMNS[column].needs}


def test_spreads_need_two_seeds_and_places_what_their_column_needs():
    order = list(Need)
    for name, column in COLUMNS.items():
        assert list(column.needs) == sorted(column.needs, key=order.index), name
        if name.endswith("_std"):
            assert set(column.needs) == {*COLUMNS[name.removesuffix("_std")].needs, Need.SEEDS}
        if name.endswith(QUANTILE):
            assert column.needs == COLUMNS[name.removesuffix(QUANTILE)].needs


def rows_of_docs():
    """Family, patterns of columns, needs: the rows of the table in docs/metrics.md."""
    text = DOCS.read_text().split("## What each column needs", 1)[1].split("\n## ", 1)[0]
    lines = [line.removeprefix("|").removesuffix("|") for line in text.splitlines() if line.startswith("| ")]
    table = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert table[0] == ["family", "columns", *Need]
    for family, names, *marks in table[1:]:
        yield family, re.findall(r"`([^`]+)`", names), tuple(mark == "yes" for mark in marks)


def test_the_docs_say_of_every_metric_what_it_needs():
    found, every = {}, {metric.column for family in FAMILIES.values() for metric in family.metrics}
    for family, patterns, marks in rows_of_docs():
        needs = tuple(need for need, mark in zip(Need, marks, strict=True) if mark)
        for pattern in patterns:
            some = {metric.column for metric in FAMILIES[family].metrics if fnmatch(metric.column, pattern)}
            assert some, pattern
            assert not some & set(found), pattern
            found |= dict.fromkeys(some, needs)
    assert found == {column: COLUMNS[column].needs for column in every}
