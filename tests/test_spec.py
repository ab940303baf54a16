"""Specifications: what they say, and what is wrong with those that do not fit."""

import pytest

from mdbench.errors import MdbenchError
from mdbench.tables.labels import Move
from zoo_builder.specification.spec import parse_spec, read_spec

GOOD = """
name = "zoo"
seeds = [0, 1]
[dataset]
name = "mnist1d"
[architecture]
name = "cnn1d"
[[axes]]
knob = "width"
values = [2, 4]
[[axes]]
knob = "batch_size"
values = [8, 16, 32]
[[axes]]
knob = "label_noise"
values = [0, 10]
"""


def test_defaults_are_those_of_the_literature():
    training = parse_spec(GOOD, "it").training
    assert (training.momentum, training.weight_decay) == (0.9, 5e-4)
    assert (training.milestones, training.factor) == ((0.5, 0.75), 0.1)


def test_the_grid_is_the_product_of_the_axes():
    spec = parse_spec(GOOD, "it")
    points = list(spec.points())
    assert len(points) == 12
    assert points[0] == {"width": 2, "batch_size": 8, "label_noise": 0}
    assert points[-1] == {"width": 4, "batch_size": 32, "label_noise": 10}
    assert list(points[0]) == ["width", "batch_size", "label_noise"]
    assert spec.knob(points[0], "batch_size") == 8
    assert spec.knob(points[0], "learning_rate") == spec.training.learning_rate


def test_moves_follow_from_the_axes():
    assert parse_spec(GOOD, "it").moves == (
        Move("width", "width", "up"),
        Move("temperature_up", "batch_size", "down"),
        Move("temperature_down", "batch_size", "up"),
    )
    hotter = GOOD.replace('knob = "batch_size"\nvalues = [8, 16, 32]', 'knob = "learning_rate"\nvalues = [0.1, 1]')
    assert set(parse_spec(hotter, "it").moves) == {
        Move("width", "width", "up"),
        Move("temperature_up", "learning_rate", "up"),
        Move("temperature_down", "learning_rate", "down"),
    }
    still = GOOD.replace("values = [2, 4]", 'values = [2, 4]\nimproves = "no"').replace("[8, 16, 32]", "[8]")
    assert parse_spec(still, "it").moves == ()
    one_way = GOOD.replace("values = [8, 16, 32]", 'values = [8, 16, 32]\nimproves = "down"')
    assert Move("temperature_down", "batch_size", "up") not in parse_spec(one_way, "it").moves


def test_the_digest_is_of_what_is_said_not_of_how():
    spec = parse_spec(GOOD, "it")
    assert parse_spec("# a comment\n" + GOOD.replace("[0, 1]", "[ 0,1 ]"), "it").digest == spec.digest
    assert parse_spec(GOOD.replace('name = "zoo"', 'name = "zoo"\ntitle = "A zoo"'), "it").digest == spec.digest
    licensed = parse_spec(GOOD.replace('name = "zoo"', 'name = "zoo"\nlicence = "MIT"'), "it")
    assert (licensed.licence, licensed.digest, spec.licence) == ("MIT", spec.digest, "")
    for said, meant in ('" MIT "', "MIT"), ('"  "', ""), (r'"MIT\nfor all"', "MIT for all"):  # one line of a table
        assert parse_spec(GOOD.replace('name = "zoo"', f'name = "zoo"\nlicence = {said}'), "it").licence == meant
    assert "licence" not in spec.model_dump_json()
    assert parse_spec(GOOD + "[training]\nmomentum = 0.9\n", "it").digest == spec.digest
    assert parse_spec(GOOD.replace("[2, 4]", "[2, 5]"), "it").digest != spec.digest
    assert parse_spec(GOOD + "[training]\nmomentum = 0.8\n", "it").digest != spec.digest


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[2, 4]", "[4, 2]", "axes.0: the values of width must ascend"),
        ("[2, 4]", "[2, 2]", "must ascend, each once"),
        ("[2, 4]", "[2.5]", "width must be a whole number from 1 up, not 2.5"),
        ("[2, 4]", "[0]", "width must be a whole number"),
        ("[2, 4]", "[nan]", "width must be finite"),
        ("[2, 4]", "[]", "axes.0.values"),
        ("[0, 10]", "[0, 100]", "label_noise is in %"),
        ('knob = "label_noise"\nvalues = [0, 10]', 'knob = "data_fraction"\nvalues = [0]', "data_fraction is in %"),
        ('"label_noise"', '"momentum"', "axes.2.knob"),
        ('"label_noise"\nvalues = [0, 10]', '"width"\nvalues = [1]', "every knob can be the axis of a grid once"),
        (
            "values = [2, 4]",
            'values = [2, 4]\nimproves = "down"',
            "width has no move that improves a network by going down",
        ),
        ("seeds = [0, 1]", "seeds = [0, 0]", "seeds must be whole numbers"),
        ("seeds = [0, 1]", "seeds = [-1]", "seeds must be whole numbers"),
        ("seeds = [0, 1]", "sedes = [0]", "sedes"),
        ('name = "zoo"', 'name = "../zoo"', "name"),
        ('name = "cnn1d"', 'name = "cnn3d"', "none of mlp, cnn1d"),
        ('name = "cnn1d"', 'name = "cnn1d"\nwidth = 3', "width is an axis, and stands in"),
        ('name = "mnist1d"', 'name = "mnist3d"', "mnist3d"),
        ("[dataset]", "[dataset", "is not TOML"),
        ("[dataset]", "[training]\nmilestones = [0.9, 0.5]\n[dataset]", "milestones are shares"),
        ("[dataset]", "[training]\nlearning_rate = 0\n[dataset]", "learning_rate must be above 0"),
        ("[dataset]", "[training]\nweight_decay = -1\n[dataset]", "weight_decay must not be below 0"),
        ("[dataset]", "[training]\nmomentum = 1\n[dataset]", "training.momentum"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(old, new, message):
    assert old in GOOD
    with pytest.raises(MdbenchError) as caught:
        parse_spec(GOOD.replace(old, new, 1), "zoos/mine.toml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("zoos/mine.toml")
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(MdbenchError, match=r"none\.toml cannot be read: No such file"):
        read_spec(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(MdbenchError, match=r"latin\.toml cannot be read"):
        read_spec(tmp_path / "latin.toml")


ARMS = """
name = "arms"
[dataset]
name = "mnist1d"
[architecture]
name = "mlp"
width = 4
[training.optimizers.gd]
rate_factor = 100
[training.optimizers.adam]
optimizer = "adam"
[[axes]]
knob = "optimizer"
values = ["gd", "adam"]
"""
RATES = """
[[axes]]
knob = "learning_rate"
values = [0.01, 0.1]
"""


def test_ways_of_training_share_an_axis_of_rates_by_their_factors():
    training = parse_spec(ARMS + RATES, "arms.toml").training
    rates = [
        training.at({"optimizer": name, "learning_rate": rate}).learning_rate
        for name in ("gd", "adam")
        for rate in (0.01, 0.1)
    ]
    assert rates == [1, 10, 0.01, 0.1]


def test_a_factor_without_an_axis_of_rates_is_refused():
    with pytest.raises(MdbenchError, match="rate_factor multiplies an axis learning_rate, and there is none"):
        parse_spec(ARMS, "arms.toml")
