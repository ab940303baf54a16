"""Networks and plans: what each network is trained with, and how the work is cut."""

import itertools
import resource
from collections import Counter
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo_builder.building.builder import build, forecast, makespan
from zoo_builder.building.executors import local
from zoo_builder.building.plan import LIMITS, estimate, plan
from zoo_builder.specification.datasets import Dataset
from zoo_builder.specification.material import Material
from zoo_builder.specification.models import cnn1d, cnn2d, mlp
from zoo_builder.specification.network import Batches, initialisation_seed, learning_rate_share, networks
from zoo_builder.specification.recipe import TrainingSpec
from zoo_builder.specification.spec import parse_spec
from zoo_builder.specification.subsets import draw_subsets
from zoo_builder.training import taped
from zoo_builder.training.costs import cost

SPEC = parse_spec(
    """
    name = "zoo"
    seeds = [4, 7]
    [dataset]
    name = "mnist1d"
    [architecture]
    name = "cnn1d"
    [training]
    epochs = 3
    label_noise = 5
    [[axes]]
    knob = "data_fraction"
    values = [10, 50, 100]
    [[axes]]
    knob = "width"
    values = [2, 3]
    [[axes]]
    knob = "batch_size"
    values = [8, 16]
    """,
    "it",
)
LABELS = np.arange(90) % 10
DATA = Dataset("none", np.zeros((90, 1, 40), "f"), LABELS, np.zeros((9, 1, 40), "f"), LABELS[:9], 10)
SUBSETS = draw_subsets(LABELS, 10, 0)
MATERIAL = Material.single(SPEC, DATA, SUBSETS)


def test_every_network_of_the_grid():
    every = networks(SPEC, MATERIAL)
    assert len(every) == len({one.name for one in every}) == 24
    first = every[0]
    assert first.name == "data_fraction=10/width=2/batch_size=8/seed=4"
    assert (first.width, first.depth, first.batch_size, first.seed) == (2, None, 8, 4)
    assert (first.examples, first.label_noise, first.learning_rate) == (9, 5, 0.1)
    assert first.steps == 4  # ⌈3 · 9 / 8⌉


@given(st.integers(0, 5), st.integers(1, 20), st.integers(1, 30), st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_batches_are_epoch_after_epoch_however_they_are_taken(seed, examples, batch_size, portions):
    batches = Batches(seed, examples, batch_size)
    stream = np.concatenate([batches.take(steps).ravel() for steps in portions])
    assert len(stream) == sum(portions) * batch_size
    for epoch in range(0, len(stream) - examples + 1, examples):
        assert sorted(stream[epoch : epoch + examples]) == list(range(examples))
    again = Batches(seed, examples, batch_size).take(sum(portions))
    assert np.array_equal(again.ravel(), stream)


def test_seeds_differ_and_streams_share_nothing():
    drawn = {initialisation_seed(seed) for seed in range(100)}
    assert len(drawn) == 100
    assert not np.array_equal(Batches(0, 50, 50).take(1), Batches(1, 50, 50).take(1))
    first, second = Batches(0, 50, 50).take(2)
    assert not np.array_equal(first, second)


def test_the_learning_rate_is_divided_at_half_and_again_at_three_quarters():
    shares = [learning_rate_share(step, 8, TrainingSpec(milestones=(0.5, 0.75))) for step in range(8)]
    assert shares == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    warm = [learning_rate_share(step, 8, TrainingSpec(milestones=(0.5,), warmup=0.5)) for step in range(8)]
    assert warm == pytest.approx([0.25, 0.5, 0.75, 1, 0.1, 0.1, 0.1, 0.1])


def test_units_hold_every_network_once_and_stack():
    whole = plan(SPEC, Material.single(SPEC, DATA, SUBSETS), stack=4, activations=10**9)
    assert Counter(one.name for unit in whole.units for one in unit.networks) == Counter(
        one.name for one in networks(SPEC, MATERIAL)
    )
    for unit in whole.units:
        assert len({(one.width, one.batch_size) for one in unit.networks}) == 1
        assert len(unit.networks) <= 4
    assert len(whole.units) == 8  # 6 networks of each of 4 kinds, in pieces of 3
    weights = [whole.weight(unit) for unit in whole.units]
    assert weights == sorted(weights, reverse=True)


def test_a_stack_is_no_larger_than_its_activations_may_be():
    largest = cost(cnn1d((1, 40), 10, 3), (1, 40)).activations
    whole = plan(SPEC, Material.single(SPEC, DATA, SUBSETS), stack=99, activations=2 * 16 * largest)
    assert max(len(unit.networks) for unit in whole.units if unit.networks[0].batch_size == 16) <= 3
    assert {
        len(unit.networks) for unit in whole.units if unit.networks[0].batch_size == 16 and unit.networks[0].width == 3
    } == {2}


def test_keys_say_what_the_result_depends_on():
    keys = {unit.key for unit in plan(SPEC, Material.single(SPEC, DATA, SUBSETS), stack=64, activations=10**9).units}
    renamed = SPEC.model_copy(update={"name": "other", "title": "another"})
    assert {
        unit.key for unit in plan(renamed, Material.single(renamed, DATA, SUBSETS), stack=64, activations=10**9).units
    } == keys
    hotter = SPEC.model_copy(update={"training": SPEC.training.model_copy(update={"momentum": 0.8})})
    assert (
        not {
            unit.key for unit in plan(hotter, Material.single(hotter, DATA, SUBSETS), stack=64, activations=10**9).units
        }
        & keys
    )
    other = Dataset("none", DATA.train_inputs + 1, LABELS, DATA.test_inputs, LABELS[:9], 10)
    assert (
        not {unit.key for unit in plan(SPEC, Material.single(SPEC, other, SUBSETS), stack=64, activations=10**9).units}
        & keys
    )


def test_costs_counted_by_hand():
    # 40 → 3 → 3 → 10, all in matrix products; flattened, two layers of linear, normalization, ReLU, and the logits
    small = cost(mlp((1, 40), 10, 3), (1, 40))
    assert (small.parameters, small.multiplications) == (120 + 6 + 9 + 6 + 40, 120 + 9 + 30)
    assert small.activations == 40 + 6 * 3 + 10
    # 19 positions of 5 taps on 1 channel, 10 and 5 of 3 taps on 2 channels, 10 features to 10 classes
    line = cost(cnn1d((1, 40), 10, 2), (1, 40))
    assert line.multiplications == 19 * 5 * 2 + 10 * 3 * 2 * 2 + 5 * 3 * 2 * 2 + 10 * 10
    assert line.activations == 19 * 5 + 10 * 6 + 5 * 6 + 3 * 2 * (19 + 10 + 5) + 10 + 10
    plane = cost(cnn2d((1, 4, 4), 10, 1, depth=1), (1, 4, 4))
    assert plane.multiplications == 4 * 9 + 4 * 10


def test_totals_of_a_plan():
    whole = plan(SPEC, Material.single(SPEC, DATA, SUBSETS), stack=64, activations=10**9)
    every = networks(SPEC, MATERIAL)
    assert whole.models == 24
    assert whole.steps == sum(one.steps for one in every)
    assert whole.samples == sum(one.steps * one.batch_size for one in every)
    two, three = (cost(cnn1d((1, 40), 10, width), (1, 40)) for width in (2, 3))
    assert whole.parameters == (two.parameters, three.parameters)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=8), st.integers(1, 4))
def test_makespan_lies_between_its_bounds(seconds, workers):
    span = makespan(seconds, workers)
    assert span >= max(*seconds, sum(seconds) / workers) - 1e-9
    assert span <= sum(seconds) / workers + max(seconds) + 1e-9
    assert makespan(seconds, 1) == pytest.approx(sum(seconds))


def test_a_unit_takes_as_long_as_its_ways_of_training_do(monkeypatch):
    """Networks of several optimizers share a unit: each takes the time of its own step."""
    text = """
name = "arms"
seeds = [0, 1]
[dataset]
name = "digits"
train = 40
test = 30
[architecture]
name = "mlp"
width = 3
[training]
steps = 10
batch_size = 10
[training.optimizers.sam]
sharpness = { rho = 0.1 }
[[axes]]
knob = "optimizer"
values = ["sam", "sgd"]
"""
    spec = parse_spec(text, "it")
    material = Material.of_spec(spec)
    whole = plan(spec, material, **LIMITS["cpu"])
    asked = []

    def step_seconds(spec, dataset, subsets, group, device):
        asked.append({one.configuration for one in group})
        return (0.0, 2.0) if group[0].how.sharpness else (0.0, 1.0)

    monkeypatch.setattr("zoo_builder.building.plan.step_seconds", step_seconds)
    told = []
    (seconds,) = estimate(whole, material, "cpu", lambda *how_far: told.append(how_far)).values()
    assert told == [(0, 2), (1, 2)]
    measured = (30 + 40) / 10 / 3
    assert seconds == pytest.approx(2 * (10 + measured) * 2.0 + 2 * (10 + measured) * 1.0)
    assert asked == [{"optimizer=sam"}, {"optimizer=sgd"}]


def test_a_step_of_seconds_is_timed_once(monkeypatch):
    """A hundred steps of a second each are no better an estimate than one."""
    whole = plan(SPEC, Material.of_spec(SPEC), **LIMITS["cpu"])
    network = whole.units[0].networks[0]
    taken = []

    def advance(run, steps):
        taken.append(steps)

    monkeypatch.setattr("zoo_builder.training.taped._Run.advance", advance)
    for ticks, calls in ((5.0, 2), (0.02, 6)):  # seconds by the clock; one step before any is timed
        taken.clear()
        clock = itertools.count(0, ticks)
        lesson = Material.of_spec(SPEC).of(network.data)
        assert taped.step_seconds(SPEC, *lesson, network, lambda: next(clock)) == pytest.approx(ticks)  # noqa: B023
        assert taken == [1] * calls


@pytest.mark.parametrize(
    ("data", "architecture"),
    [
        ('name = "digits"\ntrain = 300', 'name = "mlp"\nwidth = 1000\noptions = { norm = "layer" }'),
        ('name = "mnist1d"\ntrain = 2000\ntest = 2000', 'name = "cnn1d"\nwidth = 24'),
    ],
    ids=["mapped", "taped"],
)
def test_a_worker_needs_the_memory_that_a_plan_says(data, architecture, tmp_path):
    """Within a quarter, as the worker of a whole build has it."""
    (tmp_path / "it.toml").write_text(
        f"""
name = "heavy"
seeds = [0, 1, 2, 3]
[dataset]
{data}
[architecture]
{architecture}
[training]
steps = 12
batch_size = 256
[[axes]]
knob = "data_fraction"
values = [50, 100]
"""
    )
    planned = forecast(tmp_path / "it.toml", "cpu", 1)
    with local(1, ["cpu"])() as worker:
        build(tmp_path / "it.toml", tmp_path / "zoo", lambda: nullcontext(worker))
        peak = worker.submit(resource.getrusage, resource.RUSAGE_SELF).result().ru_maxrss * 1024
    assert peak > 200e6  # PyTorch alone
    assert planned.memory == pytest.approx(peak, rel=0.25)
    assert planned.memory < 1e9
