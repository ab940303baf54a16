"""What the public part of a sealed zoo gives away: a classifier tries to tell amounts of data from the decimals of measures."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leaderboard.sealing.rounding import SHARES, rounded, step_of
from leaderboard.sealing.sealed import is_public
from mdbench.paths import PACKAGE
from mdbench.tables.loading import load_zoo
from mdbench.tables.predicted import Predicted
from mdbench.tables.schema import COLUMNS

ZOOS = sorted(path.parent.name for path in Path(PACKAGE, "data").glob("*/zoo.json"))
SEEDS = 5


def told(values, amounts):
    """How often the amount is right that a lattice tells: the least of which all seeds together give a whole number of errors."""
    levels = np.unique(amounts)
    errors = values[:, None] / 100 * SEEDS * levels
    fits = np.abs(errors - np.round(errors)) < 1e-6 * np.maximum(1, errors)
    return (np.where(fits.any(axis=1), levels[fits.argmax(axis=1)], levels[0]) == amounts).mean()


def guessed(values, amounts):
    """How often the amount is right that is the most frequent among all other rows of exactly this value."""
    levels, codes = np.unique(amounts, return_inverse=True)
    _, places = np.unique(values, return_inverse=True)
    counts = np.zeros((places.max() + 1, len(levels)))
    np.add.at(counts, (places, codes), 1)
    others = counts[places]
    others[np.arange(len(codes)), codes] -= 1
    everybody = np.bincount(codes)[None] - np.eye(len(levels))[codes]
    return (np.argmax(others + 1e-6 * everybody, axis=1) == codes).mean()


def shares(zoo):
    table = zoo.configurations
    return [
        name
        for name in map(str, table)
        if is_public(name) and COLUMNS[name].unit in SHARES and table[name].notna().sum() > 50
    ]


@pytest.mark.parametrize("name", ZOOS)
def test_nobody_tells_the_amount_of_data_from_decimals(name):
    zoo = load_zoo(name, layers=False)
    table, drawn = zoo.configurations, np.random.default_rng(0)
    step = step_of(table)
    for column in shares(zoo):
        there = table[column].notna()
        amounts, values = table.loc[there, "data_amount"].to_numpy(float), table.loc[there, column].to_numpy(float)
        public = rounded(table.loc[there, [column]], step)[column].to_numpy(float)
        # The measure itself, without the lattice on which it was read off: somewhere between two numbers of errors.
        lattice = 100 / (SEEDS * amounts)
        smooth = [values + drawn.uniform(-0.5, 0.5, len(values)) * lattice for _ in range(8)]
        plain = [rounded(pd.DataFrame({column: one}), step)[column].to_numpy(float) for one in smooth]
        for tried in (told, guessed):
            without = np.array([tried(one, amounts) for one in plain])
            # Four standard errors of a share of so many rows.
            margin = 4 * np.sqrt(without.mean() * (1 - without.mean()) / len(values))
            assert tried(public, amounts) <= without.mean() + margin, (column, tried.__name__)


@pytest.mark.parametrize("name", ZOOS)
def test_decimals_tell_it_where_nothing_is_rounded(name):
    """What would be given away, by the same classifier: the test above would see it."""
    zoo = load_zoo(name, layers=False)
    table = zoo.configurations[zoo.configurations["train_error"].notna()]
    if zoo.predicted is not Predicted.CLASSES or table["train_error"].max() > 100:
        pytest.skip("this zoo's error is no share of examples: of pixels there are too many to tell by decimals")
    amounts = table["data_amount"].to_numpy(float)
    chance = max(np.unique(amounts, return_counts=True)[1]) / len(amounts)
    assert told(table["train_error"].to_numpy(float), amounts) > 2 * chance


def test_numbers_of_eigenvalues_are_whole_and_shares_are_multiples():
    table = load_zoo("mnist1d-cnn", layers=False).configurations
    public = rounded(table[["train_error", "mp_spikes_mean", "train_loss"]], step_of(table))
    assert step_of(table) == 0.1  # of a thousand examples, one
    assert set(public["mp_spikes_mean"].dropna() % 1) == {0}
    assert all(f"{value:.1f}" == str(value) for value in public["train_error"].dropna())
    assert public["train_loss"].equals(table["train_loss"])


@pytest.mark.parametrize(
    ("fewest", "step"), [(100, 1), (98, 2), (1000, 0.1), (480, 0.5), (400, 0.5), (240, 0.5), (60000, 0.002)]
)
def test_one_example_of_the_smallest_amount_is_a_step_at_most(fewest, step):
    assert step_of(pd.DataFrame({"data_amount": [fewest, 10 * fewest]})) == pytest.approx(step)
    assert step >= 100 / fewest
