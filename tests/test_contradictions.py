"""Specifications that contradict themselves, or change nothing: refused before anything trains, and the message says what to do."""

import pytest

from mdbench.errors import MdbenchError
from zoo_builder.building.builder import forecast
from zoo_builder.building.plan import LIMITS, plan
from zoo_builder.specification.datasets.equations import PROBLEMS
from zoo_builder.specification.material import Material
from zoo_builder.specification.spec import parse_spec

DIGITS = 'name = "digits"\ntrain = 100\ntest = 50'
TEXT = 'name = "text"\ntrain = 20\ntest = 20'
MLP = 'name = "mlp"\nwidth = 4'
CAUSAL = 'name = "transformer"\nwidth = 4\noptions = { causal = true }'
STEPS = "steps = 2\nbatch_size = 10"
HALVES = ("data_fraction", "[50, 100]")


def text_of(data=DIGITS, architecture=MLP, training=STEPS, axes=(HALVES,), seeds="[0]"):
    said = [
        f'name = "x"\nseeds = {seeds}',
        f"[dataset]\n{data}",
        f"[architecture]\n{architecture}",
        f"[training]\n{training}",
    ]
    return "\n".join(said + [f'[[axes]]\nknob = "{knob}"\nvalues = {values}' for knob, values in axes])


def planned(text):
    spec = parse_spec(text, "it")
    return plan(spec, Material.of_spec(spec), **LIMITS["cpu"])


ARMS = "steps = 2\n[training.optimizers.one]\n{}\n[training.optimizers.other]\n{}"
NAMES = ("optimizer", '["one", "other"]')
SAM = "sharpness = { adaptive = false }"
RADII = ("rho", "[0.01, 0.1]")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"axes": [("weight_decay", "[0.1, 0.10000001]")]},
            "0.1 and 0.10000001 of weight_decay would have one name, 0.1",
        ),
        ({"axes": [("steps", "[1234567, 1234568]")], "training": ""}, "would have one name, 1.23457e+06"),
        ({"axes": [("weight_decay", "[false, true]")]}, "must be a number or a name, not true or false"),
        ({"training": 'learning_rate = "0.1"'}, "training.learning_rate: must be a number, not '0.1'"),
        ({"training": "epochs = true"}, "training.epochs: must be a number, not true"),
        ({"training": "factor = inf"}, "training.factor"),
        ({"training": 'optimizer = "adam"\neps = inf'}, "training.eps"),
        ({"training": "batch_size = 99999999999999999999"}, "batch_size must be below 2³¹"),
        ({"seeds": "[true]"}, "seeds.0: must be a number, not true"),
        ({"seeds": "[9223372036854775808]"}, "from 0 to below 2⁶³"),
        ({"training": "augmentation = {}"}, "nothing is changed: write shift, flip or crop"),
        (
            {"training": ARMS.format("clip = 1", "clip = 1"), "axes": [NAMES]},
            "'one' and 'other' are the same way of training",
        ),
        (
            {"training": ARMS.format("clip = 1", "keep = [1]\nclip = 1"), "axes": [NAMES]},
            "are the same way of training",
        ),
        (
            {"training": ARMS.format("clip = 1", "clip = 2")},
            "training.optimizers describes names for the axis optimizer",
        ),
        (
            {"training": ARMS.format("learning_rate = 1", "clip = 2"), "axes": [NAMES, ("learning_rate", "[1, 2]")]},
            "learning_rate is an axis, and learning_rate stands in [training.optimizers.one]",
        ),
        (
            {"training": ARMS.format("steps = 1", "clip = 2")[10:], "axes": [NAMES, ("epochs", "[1, 2]")]},
            "epochs is an axis, and steps stands in [training.optimizers.one]",
        ),
        ({"training": ARMS.format(SAM, "clip = 1"), "axes": [NAMES, RADII]}, "optimizer 'other' does not use it"),
        (
            {"training": ARMS.format(SAM, "clip = 1\nsharpness = { rho = 1 }"), "axes": [NAMES, RADII]},
            "stands in the sharpness of optimizer 'other' too",
        ),
        (
            {"training": "sharpness = { rho = 1 }", "axes": [RADII]},
            "rho is an axis, and stands in [training.sharpness] too",
        ),
    ],
)
def test_the_specification_alone_tells(changes, said):
    with pytest.raises(MdbenchError) as caught:
        parse_spec(text_of(**changes), "it")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_radii_are_those_of_ways_that_use_them():
    training = ARMS.format(f"clip = 1\n{SAM}", 'optimizer = "adam"\nsharpness = { adaptive = true }')
    spec = parse_spec(text_of(training=training, axes=[NAMES, RADII]), "it")
    told = [spec.training.at(point) for point in spec.points()]
    assert [(how.optimizer, how.sharpness.rho, how.sharpness.adaptive) for how in told] == [
        ("sgd", 0.01, False),
        ("sgd", 0.1, False),
        ("adam", 0.01, True),
        ("adam", 0.1, True),
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"axes": [("data_fraction", "[50, 50.1]")]}, "data_fraction = 50 and data_fraction = 50.1 are the same data"),
        ({"axes": [("label_noise", "[0, 0.1, 10]")]}, "label_noise = 0 and label_noise = 0.1 are the same data"),
        (
            {"data": f"{TEXT}\noptions = {{ share = 0 }}", "architecture": CAUSAL, "axes": [("duplication", "[1, 2]")]},
            "duplication = 1 and duplication = 2 are the same data",
        ),
        ({"training": "steps = 5\nkeep = [0, 5, 6]"}, "step 6 is never reached, for networks take 5 steps at most"),
        ({"training": f"{STEPS}\naugmentation = {{ shift = 99999999999 }}"}, "digits' are wide, 8: write 7 at most"),
        ({"training": f"{STEPS}\naugmentation = {{ crop = 8 }}"}, "crop = 8 is no less than"),
        ({"data": 'name = "teacher"\noptions = { noise = 1e300 }'}, "training targets are not all finite"),
        ({"data": 'name = "shapes"\noptions = { noise = 1e300 }'}, "training inputs are not all finite"),
        (
            {"data": 'name = "teacher"', "architecture": 'name = "two_layer"'},
            "it needs width: write it in [architecture]",
        ),
        (
            {"data": 'name = "teacher"', "architecture": 'name = "two_layer"\nwidth = 4\ndepth = 2'},
            "it does not take depth, only width, activation, readout",
        ),
        ({"architecture": 'name = "unet"\nwidth = 2'}, "wants (10,): a class an example"),
        (
            {"data": TEXT, "architecture": 'name = "transformer"\nwidth = 4'},
            "wants (100, 32): a class for every position",
        ),
        ({"training": f'{STEPS}\nloss = "mse"'}, 'write loss = "cross_entropy"'),
        (
            {"training": ARMS.format("class_weights = [1, 2]", "clip = 1"), "axes": [NAMES]},
            "class_weights are 2, and data set 'digits' has 10 classes",
        ),
        (
            {"data": 'name = "convection"\noptions = { difficulty = 1 }'},
            'write options = { norm = "none" } in [architecture]',
        ),
    ],
)
def test_a_plan_tells(changes, said):
    with pytest.raises(MdbenchError) as caught:
        planned(text_of(**changes))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_steps_that_some_network_reaches_are_kept():
    training = 'optimizer = "adam"\nbatch_size = 10\nkeep = [0, 7]'
    assert planned(text_of(training=training, axes=[("steps", "[2, 7]")])).models == 2


def test_a_fast_reaction_is_over_and_a_slow_one_is_not():
    import numpy as np

    points = np.array([[1.0, 0.0], [1.0, 0.5], [1.0, 1.0]])
    start = np.exp(-((1 - np.pi) ** 2) / (2 * (np.pi / 4) ** 2))
    with np.errstate(all="raise"):
        fast = PROBLEMS["reaction"].solution(points, 1e6)
        slow = PROBLEMS["reaction"].solution(points, 3.0)
    assert fast == pytest.approx([start, 1, 1])
    assert slow == pytest.approx(1 / (1 + (1 - start) / start * np.exp(-3 * points[:, 1])), rel=1e-14)


OWN = """
import torch
from torch import nn

class Broken(nn.Module):
    def __init__(self, shape, outputs, where):
        super().__init__()
        self.layer, self.where = nn.Linear(64, outputs), where

    def forward(self, x):
        return self.layer(self.inner(x.flatten(1)))

    def inner(self, x):
        if self.where == "always" or self.training or (self.where == "zeros" and not x.any()):
            raise IndexError("that is broken")
        return x

def make(shape, outputs, *, where):
    return Broken(shape, outputs, where)
"""


@pytest.mark.parametrize("where", ["always", "training", "zeros"])
def test_what_an_architecture_raises_at_work_is_shown_with_its_own_frames(where, tmp_path, monkeypatch):
    (tmp_path / f"broken_{where}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    architecture = f'name = "broken_{where}:make"\noptions = {{ where = "{where}" }}'
    (tmp_path / "it.toml").write_text(text_of(architecture=architecture))
    with pytest.raises(MdbenchError) as caught:
        forecast(tmp_path / "it.toml", "cpu", 1, trust_code=True)
    said = str(caught.value)
    assert "IndexError: that is broken" in said
    assert said.count("File ") == 2
    assert "return self.layer(self.inner(x.flatten(1)))" in said
    assert "in inner" in said


def test_a_generator_that_leaves_has_raised(tmp_path, monkeypatch):
    (tmp_path / "leaving.py").write_text("def make(seed):\n    raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MdbenchError, match="raises SystemExit: 3"):
        Material.of_spec(parse_spec(text_of(data='name = "leaving:make"'), "it"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training": 'full_batch = "yes"'}, "it: training.full_batch: must be true or false, not 'yes'"),
        ({"training": "nesterov = 1"}, "it: training.nesterov: must be true or false, not 1"),
        ({"training": "sharpness = { adaptive = 1 }"}, "training.sharpness.adaptive: must be true or false, not 1"),
        ({"training": "sharpness = true"}, "it: training.sharpness: must be a table, { … }"),
        ({"training": "optimizers = []"}, "it: training.optimizers: must be a table, { … }"),
        ({"seeds": "3"}, "it: seeds: must be a list, [ … ]"),
        ({"seeds": "[]"}, "it: seeds: must have 1 at least"),
        ({"training": 'optimizer = "adam"\nbetas = [0.9, 0.9, 0.9]'}, "it: training.betas: must have 2 at most"),
        ({"axes": []}, "it: axes: is missing: write it"),
        ({"axes": [("data_fraction", "[100, 50]")]}, "it: axes.0: the values of data_fraction must ascend, each once"),
        ({"axes": [("data_fraction", "[[50]]")]}, "it: axes.0.values.0: must be a number, a text, true or false"),
        (
            {"architecture": 'name = "mlp"\noptions = { norm = [] }'},
            "architecture.options.norm: must be a number, a text",
        ),
        (
            {"training": ARMS.format("clipp = 1", "clip = 1"), "axes": [NAMES]},
            "it: training: optimizers.one.clipp: there is no such key; docs/zoos.md has all that there are",
        ),
    ],
)
def test_what_is_not_of_its_type_says_what_to_write(changes, said):
    with pytest.raises(MdbenchError) as caught:
        parse_spec(text_of(**changes), "it")
    assert str(caught.value).startswith("it: ")
    assert said in str(caught.value)
    assert "more)" not in str(caught.value)


@pytest.mark.parametrize("name", [" ", "a\\tb", "a\\rb", "a\\u202eb", "a ", "\\u00a0", "a" * 81])
def test_names_of_optimizers_can_be_seen(name):
    training = f'steps = 2\n[training.optimizers."{name}"]\nclip = 1'
    with pytest.raises(MdbenchError, match="must be signs that can be seen, 80 at most"):
        parse_spec(text_of(training=training, axes=[("optimizer", f'["{name}", "sgd"]')]), "it")


def test_names_of_optimizers_are_of_any_script():
    training = 'steps = 2\n[training.optimizers."größe 大"]\nclip = 1'
    spec = parse_spec(text_of(training=training, axes=[("optimizer", '["größe 大", "sgd"]')]), "it")
    assert [spec.training.at(point).clip for point in spec.points()] == [1, 0]


@pytest.mark.parametrize("path", ["..:make", ".own:make", "own.:make", "a..b:make"])
def test_an_import_path_is_of_names(path):
    with pytest.raises(MdbenchError, match=r"data set .* is unknown"):
        parse_spec(text_of(data=f'name = "{path}"'), "it")
    with pytest.raises(MdbenchError, match="nor the import path of a function"):
        parse_spec(text_of(training=f'loss = "{path}"'), "it")


def test_without_half_waves_there_is_no_solution():
    for value in ("0", "0.0"):
        with pytest.raises(MdbenchError, match=r"difficulty = 0.* write a number above 0"):
            parse_spec(text_of(data=f'name = "helmholtz"\noptions = {{ difficulty = {value} }}'), "it")


def test_a_width_beyond_all_numbers_is_said_in_a_line():
    with pytest.raises(MdbenchError) as caught:
        planned(text_of(architecture='name = "mlp"', axes=[("width", "[4, 1e30]")]))
    assert "Overflow" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_architecture_that_leaves_has_raised(tmp_path, monkeypatch):
    (tmp_path / "departing.py").write_text("def make(shape, outputs):\n    raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MdbenchError, match=r"architecture departing:make with \{\}: 3\n"):
        planned(text_of(architecture='name = "departing:make"'))


def test_arrays_of_objects_are_no_data(tmp_path, monkeypatch):
    text = "import numpy as np\ndef make(seed):\n    return {'train_inputs': np.array([[1.5], [2.5]], dtype=object)}\n"
    (tmp_path / "objects.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MdbenchError, match="train_inputs is an array of object; it must be one of numbers"):
        Material.of_spec(parse_spec(text_of(data='name = "objects:make"'), "it"))
