"""The columns of the training configuration: what a specification says, worked out by hand."""

import pandas as pd
import pytest

from mdbench.tables import COLUMNS, Family, load_zoo
from mdbench.tables.dataset import bundled_zoos
from zoo_builder.building.configuration import recipe_of, with_configuration
from zoo_builder.specification import parse_spec, read_spec

HEAD = """
name = "one"
seeds = [0, 1]
dataset = {name = "mnist1d", train = 1000, test = 100}
"""


def of(training, architecture='name = "mlp"', axis='{knob = "width", values = [4, 8]}', **point):
    spec = parse_spec(f"{HEAD}architecture = {{{architecture}}}\naxes = [{axis}]\n[training]\n{training}", "here")
    return recipe_of(spec, point or {"width": 4}, 1000, 640)


def test_what_is_left_alone_is_sgd_with_momentum():
    assert of("epochs = 20") == {
        "recipe_epochs": 20,
        "recipe_steps_per_epoch": 1000 / 128,
        "recipe_learning_rate": 0.1,
        "recipe_weight_decay": 5e-4,
        "recipe_momentum": 0.9,
        "recipe_adaptive": 0,
        "recipe_sharpness": 0,
        "recipe_layerwise": 0,
        "recipe_dropout": 0,
    }


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ("steps = 640\nbatch_size = 50", {"recipe_epochs": 32, "recipe_steps_per_epoch": 20}),
        ("full_batch = true\nepochs = 640", {"recipe_epochs": 640, "recipe_steps_per_epoch": 1}),
        (
            'optimizer = "adamw"\nbetas = [0.8, 0.99]',
            {"recipe_adaptive": 1, "recipe_momentum": 0.8, "recipe_learning_rate": 1e-3},
        ),
        ("momentum = 0.0\nsharpness = {rho = 0.2}", {"recipe_momentum": 0, "recipe_sharpness": 0.2}),
        ("layerwise = {every = 2}", {"recipe_layerwise": 1}),
    ],
)
def test_what_the_training_says(training, expected):
    found = of(training)
    assert {name: found[name] for name in expected} == expected


def test_what_the_grid_point_says_comes_first():
    rate = '{knob = "learning_rate", values = [0.1, 0.3]}, {knob = "dropout", values = [0, 0.25]}'
    assert of("", axis=rate, learning_rate=0.3, dropout=0.25)["recipe_learning_rate"] == 0.3
    assert of("", axis=rate, learning_rate=0.3, dropout=0.25)["recipe_dropout"] == 0.25
    assert of("", architecture='name = "mlp", options = {dropout = 0.5}')["recipe_dropout"] == 0.5
    named = '{knob = "optimizer", values = ["sgd", "sam"]}'
    table = "weight_decay = 0.01\n[training.optimizers.sam]\nsharpness = {rho = 0.1}\nlearning_rate = 0.05"
    plain, sharp = (of(table, axis=named, optimizer=name) for name in ("sgd", "sam"))
    assert (plain["recipe_sharpness"], sharp["recipe_sharpness"]) == (0, 0.1)
    assert (plain["recipe_learning_rate"], sharp["recipe_learning_rate"]) == (0.1, 0.05)
    assert plain["recipe_weight_decay"] == sharp["recipe_weight_decay"] == 0.01


@pytest.mark.parametrize("name", ["mnist1d-cnn", "fashion-cnn", "mnist1d-mlp"])
def test_they_follow_from_the_tables_of_a_zoo_without_any_training(name):
    zoo, spec = load_zoo(name), read_spec(bundled_zoos() / name / "spec.toml")
    steps = zoo.checkpoints.groupby("configuration")["steps"].first()
    table = with_configuration(spec, zoo.configurations, steps)
    columns = list(recipe_of(spec, next(spec.points()), 1.0, 1.0))
    assert all(COLUMNS[column].family is Family.CONFIGURATION for column in columns)
    rest = zoo.configurations.drop(columns=columns, errors="ignore")
    pd.testing.assert_frame_equal(table.drop(columns=columns)[rest.columns], rest)
    batches = table["data_amount"] / table["batch_size"]
    pd.testing.assert_series_equal(table["recipe_steps_per_epoch"], batches, check_names=False)
    # The last step may begin in the last epoch and end behind it.
    late = steps.reindex(table.index) - table["recipe_epochs"] * table["recipe_steps_per_epoch"]
    assert late.between(-1e-9, 1).all()
    assert table["recipe_learning_rate"].unique() == [{"fashion-cnn": 0.2}.get(name, 0.1)]
    pd.testing.assert_frame_equal(with_configuration(spec, table, steps), table)
