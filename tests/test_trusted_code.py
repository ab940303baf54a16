"""Code of somebody's own: generators of data by import path, what raises, whose code is run; and networks of all data fetched."""

import sys

import numpy as np
import pytest
import torch
from publication import published
from pydantic import ValidationError
from tiny_zoo import build_here, here, write_data, write_spec
from torch import nn

from mdbench.errors import MdbenchError
from zoo_builder.building.builder import build, forecast, status
from zoo_builder.building.built import Built, Source
from zoo_builder.building.measuring import measure
from zoo_builder.publishing.download import load_checkpoint
from zoo_builder.reporting.portrait import show
from zoo_builder.specification.datasets import DatasetSpec, load_dataset
from zoo_builder.specification.material import Material
from zoo_builder.specification.network import networks
from zoo_builder.specification.own import imported
from zoo_builder.specification.spec import parse_spec
from zoo_builder.specification.trust import check_trust, code_of
from zoo_builder.training.losses import _Own, try_loss


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """Write a module that may be imported, whose import leaves a mark; return the mark."""

    def write(text):
        path = tmp_path / "theirs.py"
        path.write_text(f"from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n{text}")
        monkeypatch.delitem(sys.modules, "theirs", raising=False)
        return path.with_suffix(".ran")

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield write
    sys.modules.pop("theirs", None)


# Generators

MAKE = """
import numpy as np

def make(seed, train=8, test=4, difficulty=1.0, classes=0):
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, amount in (("train", train), ("test", test)):
        inputs = arrays[f"{part}_inputs"] = rng.normal(size=(amount, 3))
        if classes:
            arrays[f"{part}_labels"] = np.arange(amount) % classes
        else:
            arrays[f"{part}_targets"] = np.sin(difficulty * inputs[:, :1])
    return arrays
"""


def test_a_generator_of_ones_own_gets_what_the_table_says(theirs):
    theirs(MAKE)
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(8, 3))
    plain = load_dataset(DatasetSpec(name="theirs:make", seed=5))
    assert (plain.kind, plain.outputs, len(plain.test_inputs)) == ("values", 1, 4)
    np.testing.assert_allclose(plain.train_targets, np.sin(inputs[:, :1]), rtol=1e-6)
    np.testing.assert_allclose(plain.train_inputs, (inputs - inputs.mean(0)) / inputs.std(0), rtol=1e-4, atol=1e-6)
    told = load_dataset(DatasetSpec(name="theirs:make", seed=5, train=6, test=2, options={"classes": 2}))
    assert (told.kind, len(told.train_inputs), told.test_targets.tolist()) == ("classes", 6, [0, 1])


def test_a_generators_options_are_axes(theirs):
    theirs(MAKE)
    spec = parse_spec(_spec(difficulty=[1, 2]), "here")
    material = Material.of_spec(spec)
    inputs = np.random.default_rng(0).normal(size=(8, 3))
    for factor, lesson in zip((1, 2), material.lessons.values(), strict=True):
        np.testing.assert_allclose(lesson.dataset.train_targets, np.sin(factor * inputs[:, :1]), rtol=1e-6)


def _spec(**axes):
    lines = ['name = "own"', "[dataset]", 'name = "theirs:make"', "[architecture]", 'name = "mlp"', "width = 2"]
    for knob, values in axes.items():
        lines += ["[[axes]]", f'knob = "{knob}"', f"values = {values}"]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def make(seed):\n    return [1]", "returns list; it must return a mapping"),
        ("def make(seed):\n    return {'inputs': 1}", "returns 'inputs'; its arrays can be train_inputs"),
        ("def make(seed):\n    return {'train_inputs': [1]}", "train_inputs is list; it must be a NumPy array"),
        ("def make(seed):\n    return {}", "data set theirs:make: array 'train_inputs' is missing"),
        ("make = 3", "theirs:make is not a function that makes arrays"),
        ("", r"theirs\.py has no attribute 'make'; .*where another theirs is meant, write PYTHONPATH=FOLDER"),
        (
            "mak = 3",
            r"theirs\.py has no attribute 'make' \(nearest: mak\); give the name of a function in it that makes",
        ),
        (
            "import nowhere_at_all",
            "No module named 'nowhere_at_all'; nowhere_at_all is looked for among what is installed",
        ),
        ("def make():\n    return {}", "raises TypeError: .*unexpected keyword argument 'seed'"),
        (
            "import numpy as np\ndef make(seed):\n    return {'train_inputs': np.random.rand(3, 2)}",
            "another 'train_inputs'",
        ),
        (
            "import numpy as np\ngiven = {'train_inputs': np.zeros((3, 2))}\n"
            "def make(seed):\n    given['train_inputs'] += 1\n    return given",
            "called twice with the same arguments, it returns another 'train_inputs'",
        ),
    ],
)
def test_generators_that_cannot_be_used(theirs, text, message):
    theirs(text)
    with pytest.raises(MdbenchError, match=message):
        load_dataset(DatasetSpec(name="theirs:make"))


@pytest.mark.parametrize(
    ("searched", "said"), [(False, ", in the folders of PYTHONPATH:"), (True, " and in the current folder:")]
)
def test_where_a_module_was_looked_for_is_said(monkeypatch, searched, said):
    monkeypatch.setattr(sys, "path", [*([""] if searched else []), *(one for one in sys.path if one)])
    with pytest.raises(MdbenchError, match="No module named 'nowhere_at_all'; nowhere_at_all is looked for") as told:
        imported("nowhere_at_all:make", "network", "makes it")
    assert said in str(told.value)


def test_a_module_is_named_without_its_ending(theirs):
    theirs("def make():\n    return 3")
    with pytest.raises(MdbenchError, match=r"a module is named without \.py: theirs:make$") as told:
        imported("theirs.py:make", "network", "makes it")
    assert "PYTHONPATH" not in str(told.value)


def test_a_generator_makes_as_many_examples_as_it_is_asked_for(theirs):
    theirs(MAKE.replace('("test", test)', '("test", test + 1)'))
    assert len(load_dataset(DatasetSpec(name="theirs:make")).test_inputs) == 5
    with pytest.raises(MdbenchError, match="asked for test = 7 examples, it returns 8"):
        load_dataset(DatasetSpec(name="theirs:make", train=3, test=7))


@pytest.mark.parametrize("option", ["train", "test", "seed"])
def test_an_option_does_not_take_the_place_of_the_table(option):
    with pytest.raises(ValidationError, match=f"'{option}' must not be an option: write it in .dataset. itself"):
        DatasetSpec(name="theirs:make", options={option: 3})


def test_data_of_a_zoo_have_one_form(theirs):
    theirs(MAKE.replace("size=(amount, 3)", "size=(amount, int(difficulty))"))
    with pytest.raises(MdbenchError, match=r"several forms .* values \(1,\) 1 0 and values \(2,\) 1 0"):
        Material.of_spec(parse_spec(_spec(difficulty=[1, 2]), "here"))
    theirs(MAKE)
    with pytest.raises(MdbenchError, match="label_noise is of data with a class an example"):
        Material.of_spec(parse_spec(_spec(label_noise=[0, 10]), "here"))


@pytest.mark.parametrize("field", [{"size": 3}, {"folder": "x"}, {"revision": "x"}])
def test_fields_that_mean_nothing_to_a_generator(field):
    with pytest.raises(ValidationError, match="means nothing for data set 'theirs:make'"):
        DatasetSpec(name="theirs:make", **field)


# Their own frames


def test_what_raises_shows_its_own_frames_alone(theirs):
    theirs("def inner():\n    return 1 / 0\n\ndef make(seed):\n    return inner()")
    with pytest.raises(MdbenchError) as raised:
        load_dataset(DatasetSpec(name="theirs:make"))
    first, *lines = str(raised.value).splitlines()
    assert first == "data set theirs:make with {'seed': 0} raises ZeroDivisionError: division by zero"
    assert [line.strip() for line in lines if line.startswith("    ") and "^" not in line and "~" not in line] == [
        "return inner()",
        "return 1 / 0",
    ]
    assert all("theirs.py" in line for line in lines if line.startswith("  File"))
    theirs("boom = {}['nothing']")
    with pytest.raises(
        MdbenchError, match=r"(?s)cannot be imported: KeyError: 'nothing'\n  File .*theirs\.py\".*boom = "
    ):
        load_dataset(DatasetSpec(name="theirs:make"))


def test_a_loss_that_raises_shows_its_own_frames(theirs):
    def loss(outputs, targets):
        raise ValueError("no such loss")

    with pytest.raises(
        MdbenchError, match=r"(?s)loss a:b raises ValueError: no such loss\n  File .*raise ValueError"
    ) as raised:
        try_loss(_Own("a:b", loss), torch.zeros(4, 3), torch.zeros(4, dtype=torch.long))
    assert "zoo_builder" not in str(raised.value)


def test_an_architecture_that_raises_shows_its_own_frames(theirs):
    from zoo_builder.specification.architecture import ArchitectureSpec

    theirs("def net(shape, outputs):\n    return shape.nothing")
    with pytest.raises(
        MdbenchError, match=r"(?s)theirs:net with {}: .*'nothing'\n  File .*theirs\.py.*shape\.nothing"
    ) as raised:
        ArchitectureSpec(name="theirs:net").build((3,), 2)
    assert "architecture.py" not in str(raised.value)


# Trust

CODE = (
    MAKE
    + """
import torch
from zoo_builder.specification.models import mlp

def net(shape, classes, width):
    return mlp(shape, classes, width, 1)

def loss(outputs, targets):
    return (outputs - targets).square().mean() if outputs.shape == targets.shape else torch.nn.functional.cross_entropy(outputs, targets)
"""
)
NAMING = {
    "architecture": {"architecture": 'name = "theirs:net"'},
    "loss": {"training": 'epochs = 1\nloss = "theirs:loss"'},
    "loss of an optimizer": {
        "training": 'epochs = 1\n[training.optimizers.mine]\nloss = "theirs:loss"',
        "optimizer": ["mine", "sgd"],
    },
}


@pytest.mark.parametrize("changes", NAMING.values(), ids=NAMING)
def test_code_is_run_by_nothing_without_trust(theirs, tmp_path, changes):
    mark, path = theirs(CODE), write_spec(tmp_path, **{"width": [2], "seeds": "[0]", **changes})
    message = r"zoo tiny runs code of its own, theirs:(net|loss); .*trust_code=True \(--trust-code\)"
    with pytest.raises(MdbenchError, match=message):
        forecast(path, "cpu", 1)
    with pytest.raises(MdbenchError, match=message):
        build(path, tmp_path / "zoo", here)
    assert not mark.exists()
    assert not (tmp_path / "zoo").exists()
    build(path, tmp_path / "zoo", here, trust_code=True)
    assert mark.exists()
    mark.unlink()
    sys.modules.pop("theirs", None)
    for use in (
        lambda: measure(tmp_path / "zoo", here),
        lambda: show(tmp_path / "zoo", "width=2"),
        lambda: Built.open(tmp_path / "zoo"),
    ):
        with pytest.raises(MdbenchError, match=message):
            use()
    assert status(tmp_path / "zoo").tables  # asks nobody
    assert not mark.exists()


def test_a_generator_of_a_zoo_is_trusted_or_not_run(theirs, tmp_path):
    mark, path = theirs(CODE), tmp_path / "spec.toml"
    path.write_text(_spec(difficulty=[1, 2]))
    with pytest.raises(MdbenchError, match=r"zoo own runs code of its own, theirs:make"):
        build(path, tmp_path / "zoo", here)
    assert not mark.exists()
    build(path, tmp_path / "zoo", here, trust_code=True)
    published(tmp_path / "zoo", tmp_path / "out")
    mark.unlink()
    sys.modules.pop("theirs", None)
    name = "difficulty=2/seed=0"
    # What is published says what its networks were made for: nothing is imported.
    assert isinstance(load_checkpoint(tmp_path / "out", name), nn.Module)
    with pytest.raises(MdbenchError, match="theirs:make"):
        load_checkpoint(tmp_path / "zoo", name)
    assert not mark.exists()
    assert isinstance(load_checkpoint(tmp_path / "zoo", name, trust_code=True), nn.Module)
    assert mark.exists()


def test_what_a_specification_would_import_is_listed():
    text = _spec(width=[2]).replace("width = 2\n", "").replace('"mlp"', '"my.nets:net"')
    text = text.replace("width = 2", "")
    text += '\n[training]\nloss = "a:one"\n[training.optimizers.other]\nloss = "a:two"\n'
    spec = parse_spec(text + '[[axes]]\nknob = "optimizer"\nvalues = ["other", "sgd"]\n', "here")
    assert code_of(spec) == {
        "architecture": ["my.nets:net"],
        "dataset": ["theirs:make"],
        "training": ["a:one", "a:two"],
    }
    check_trust(spec, True, "here")
    with pytest.raises(MdbenchError, match=r"^here: zoo own runs code of its own, my\.nets:net; "):
        check_trust(spec, False, "here", ("architecture",))


# Out of publications

ZOOS = {
    "an equation": (
        'name = "convection"\ntrain = 20\ntest = 16\noptions = {known = 5, pairs = 4}',
        'name = "pinn"\nwidth = 3\ndepth = 2',
        {"difficulty": [1, 2.5]},
    ),
    "text": (
        'name = "text"\ntrain = 30\ntest = 10\noptions = {length = 16}',
        'name = "transformer"\ndepth = 1\nwidth = 4\noptions = {causal = true}',
        {"duplication": [1, 2]},
    ),
    "optimizers": (
        'name = "teacher"\ntrain = 20\ntest = 10\noptions = {dimension = 3}',
        'name = "mlp"\nwidth = 3',
        {"optimizer": ["sgd", "adamw"], "dropout": [0, 0.5]},
    ),
}


@pytest.mark.parametrize(("data", "architecture", "axes"), ZOOS.values(), ids=ZOOS)
@pytest.mark.parametrize("where", ["published", "build"])
def test_networks_of_every_kind_of_data_come_back(tmp_path, data, architecture, axes, where):
    lines = ['name = "kinds"', "[dataset]", data, "[architecture]", architecture, "[training]", "epochs = 1"]
    for knob, values in axes.items():
        lines += ["[[axes]]", f'knob = "{knob}"', f"values = {values}"]
    (tmp_path / "spec.toml").write_text("\n".join(lines))
    zoo = build_here(tmp_path / "spec.toml", tmp_path / "build")
    published(tmp_path / "build", tmp_path / "out")
    built = Built.open(tmp_path / "build")
    for one in networks(built.spec, built.material):
        row = zoo.checkpoints.loc[one.name]
        expected = Source.of(built).load(one, row["shard"], row["sha256"])
        found = load_checkpoint(tmp_path / ("out" if where == "published" else "build"), one.name)
        inputs = torch.from_numpy(built.material.of(one.data).dataset.test_inputs)
        np.testing.assert_array_equal(found(inputs).detach(), expected(inputs).detach())


def test_files_of_data_are_no_code(tmp_path):
    write_data(tmp_path / "data.npz")
    assert code_of(parse_spec(write_spec(tmp_path).read_text(), "here")) == {}
    with pytest.raises(ValidationError, match="is unknown"):
        DatasetSpec(name="hf:theirs")
