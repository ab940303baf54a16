"""Which labels are outside noise, against a plain loop over points and against chance."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import toy
from scipy import stats

from mdbench.sources.modeldiagnosis import MOVES
from mdbench.tables.noise import count_examples, decided
from mdbench.tables.predicted import Predicted
from mdbench.tables.tasks import TASKS
from mdbench.tables.zoo import Zoo

EXAMPLES = 400


def zoo_of(errors: dict[tuple[float, float], list[float]], **changes) -> Zoo:
    """Return a zoo of batch size and width from the test errors of its networks, one a seed."""
    rows = [(width, batch, seed, e) for (width, batch), some in errors.items() for seed, e in enumerate(some)]
    one = pd.DataFrame(rows, columns=["width", "batch_size", "seed", "test_error"])
    one["configuration"] = [
        f"{width:g}/{batch:g}" for width, batch in zip(one["width"], one["batch_size"], strict=True)
    ]
    one["checkpoint"] = one["configuration"] + "/" + one["seed"].astype(str)
    table = one.groupby(["configuration", "width", "batch_size"], as_index=False)["test_error"].mean()
    one = one.drop(columns=["width", "batch_size"])
    moves = [move for move in MOVES if move.knob in ("width", "batch_size")]
    zoo = Zoo.from_table("noisy", "", table, moves, toy.zoo().provenance, one)
    return replace(zoo, **changes) if changes else zoo


@pytest.fixture(scope="module")
def errors() -> dict[tuple[float, float], list[float]]:
    rng = np.random.default_rng(0)
    drawn = {}
    for width in (2.0, 4.0, 8.0):
        for batch in (16.0, 32.0, 64.0, 128.0):
            p = 0.1 + 0.3 / width + 0.03 * abs(np.log2(batch / 32)) + 0.02 * rng.normal(size=5)
            drawn[width, batch] = (100 * rng.binomial(EXAMPLES, p) / EXAMPLES).tolist()
    return drawn


def by_hand(errors, point, task, examples):
    """Say whether the label at a point is outside noise, from the words of `mdbench.tables.noise`."""
    mean = {at: np.mean(some) for at, some in errors.items()}
    width, batch = point
    ahead = {
        "temperature_up": [(width, b) for w, b in errors if w == width and b < batch],
        "temperature_down": [(width, b) for w, b in errors if w == width and b > batch],
        "width": [(w, batch) for w, b in errors if b == batch and w > width],
    }
    best = {move: min([point, *there], key=lambda at: mean[at]) for move, there in ahead.items()}
    ends = [min((best[move] for move in moves), key=lambda at: mean[at]) for moves in TASKS[task].verdicts.values()]
    first, second = sorted(ends, key=lambda at: mean[at])[:2]
    if first == second:
        return False
    difference = np.array(errors[second]) - np.array(errors[first])
    k = len(difference)
    p, q = mean[first] / 100, mean[second] / 100
    sampled = (p * (1 - p) + q * (1 - q)) / (k * examples) * 100**2 if examples else 0
    error = np.sqrt(difference.var(ddof=1) / k + sampled)
    return bool(difference.mean() / error > stats.t.ppf(0.975, k - 1))


@pytest.mark.parametrize("task", ["optimizer", "width_vs_optimizer"])
@pytest.mark.parametrize("predicted", [Predicted.CLASSES, Predicted.VALUES])
@pytest.mark.parametrize("seeds", [5, 3])
def test_a_margin_is_compared_with_students_quantile(errors, task, predicted, seeds):
    some = {point: values[:seeds] for point, values in errors.items()}
    found = decided(zoo_of(some, predicted=predicted), TASKS[task])
    examples = EXAMPLES if predicted is Predicted.CLASSES else None
    said = {point: bool(found[f"{point[0]:g}/{point[1]:g}"]) for point in some}
    assert said == {point: by_hand(some, point, task, examples) for point in some}
    if seeds == 5:
        assert 0 < sum(said.values()) < len(said)


def test_the_number_of_test_examples_follows_from_the_errors(errors):
    zoo = zoo_of(errors)
    assert count_examples(zoo) == EXAMPLES
    assert count_examples(zoo_of(errors, predicted=Predicted.POSITIONS)) is None
    assert count_examples(toy.own_zoo()) is None  # whose errors are shares of nothing
    assert count_examples(toy.zoo()) is None


@pytest.mark.parametrize(("zoo", "examples"), [("mnist1d-cnn", 16_000), ("fashion-cnn", 10_000)])
def test_the_zoos_of_the_package_have_the_examples_that_their_specifications_say(zoo, examples):
    from mdbench.tables.loading import load_zoo

    assert count_examples(load_zoo(zoo, layers=False)) == examples


def test_what_has_no_standard_error_is_not_decided():
    zoo = toy.zoo()
    assert not decided(zoo, TASKS["optimizer"]).any()
    assert decided(zoo, TASKS["optimizer"]).index.equals(zoo.configurations.index)
    lonely = zoo_of({(2.0, 16.0): [50.0], (2.0, 32.0): [25.0], (4.0, 16.0): [20.0], (4.0, 32.0): [10.0]})
    assert not decided(lonely, TASKS["width_vs_optimizer"]).any()


@pytest.mark.parametrize(("seeds", "of_two"), [(5, 0.116), (3, 0.184)])
def test_chance_exceeds_the_bound_in_one_row_of_twenty(seeds, of_two):
    """Two moves that help equally: width and temperature, of many networks each tested on examples of its own."""
    rng, repeats = np.random.default_rng(seeds), 1000
    grid = pd.DataFrame(
        [(width, batch, epochs) for epochs in range(1, repeats + 1) for width in (2.0, 4.0) for batch in (16.0, 32.0)],
        columns=["width", "batch_size", "epochs"],
    )
    mean = np.where(
        grid["width"] == 2, np.where(grid["batch_size"] == 32, 60, 20), np.where(grid["batch_size"] == 32, 20, 70)
    )
    by_seed = mean[:, None] + rng.normal(size=(len(grid), seeds))
    table = grid.assign(configuration=[f"point-{at}" for at in range(len(grid))], test_error=by_seed.mean(axis=1))
    one = pd.DataFrame(
        {"configuration": np.repeat(table["configuration"], seeds), "seed": np.tile(range(seeds), len(grid))}
    )
    one = one.assign(test_error=by_seed.ravel(), checkpoint=one["configuration"] + "/" + one["seed"].astype(str))
    moves = [move for move in MOVES if move.knob in ("width", "batch_size")]
    zoo = replace(Zoo.from_table("noisy", "", table, moves, toy.zoo().provenance, one), predicted=Predicted.VALUES)
    asked = ((grid["width"] == 2) & (grid["batch_size"] == 32)).to_numpy()
    rows = zoo.configurations[asked]
    beyond = decided(zoo, TASKS["width_vs_optimizer"])[asked].mean()
    twice = (rows["width_vs_optimizer_margin"] > 2 * rows["width_vs_optimizer_margin_se"]).mean()
    assert beyond == pytest.approx(0.05, abs=0.02)
    assert twice == pytest.approx(of_two, abs=0.03)
