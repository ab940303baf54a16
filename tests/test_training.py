"""Tapes and stacks train what a plain loop trains, whatever the neighbours."""

import sys
from functools import partial
from types import ModuleType

import numpy as np
import plain
import pytest
import torch
from torch import nn

from mdbench.errors import MdbenchError
from zoo_builder.specification.datasets import Dataset
from zoo_builder.specification.material import Material
from zoo_builder.specification.network import networks
from zoo_builder.specification.spec import parse_spec
from zoo_builder.specification.subsets import draw_subsets
from zoo_builder.training import stacked, taped
from zoo_builder.training.trainer import form, train

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
WAYS = {
    "taped": taped.train,
    "stacked": stacked.train,
    "stacked on a GPU": partial(stacked.train, device="cuda"),
}
ways = pytest.mark.parametrize("way", [*list(WAYS)[:2], pytest.param("stacked on a GPU", marks=GPU)])
SHAPES = {"mlp": (1, 40), "cnn1d": (1, 40), "cnn2d": (1, 12, 12), "resnet18": (3, 8, 8), "odd:make": (1, 40)}


class Odd(nn.Module):
    """A user's own network, with a layer and a view that have no stacked form."""

    def __init__(self, width):
        super().__init__()
        self.first = nn.Conv1d(1, width, 7, stride=3)
        self.norm = nn.BatchNorm1d(width)
        self.last = nn.Linear(width * 12, 10)

    def forward(self, x):
        return self.last(torch.tanh(self.norm(self.first(x))).view(x.size(0), -1))


@pytest.fixture(autouse=True)
def odd(monkeypatch):
    module = ModuleType("odd")
    module.make = lambda shape, classes, width, **options: Odd(width)
    monkeypatch.setitem(sys.modules, "odd", module)


def data(shape, train_size=120, test_size=50):
    """Ten classes, told apart by their means."""
    rng = np.random.default_rng(1)
    centers = rng.normal(size=(10, *shape))

    def part(size):
        labels = rng.integers(0, 10, size)
        return (centers[labels] + 1.5 * rng.normal(size=(size, *shape))).astype(np.float32), labels.astype(np.int64)

    inputs, labels = part(train_size)
    labels[:10] = np.arange(10)
    return Dataset("blobs", inputs, labels, *part(test_size), outputs=10)


def spec(architecture, axes, epochs, options="", training="", seeds=(0, 3)):
    text = f"""
        name = "test"
        seeds = {list(seeds)}
        [dataset]
        name = "mnist1d"
        [architecture]
        name = "{architecture}"
        {options}
        [training]
        epochs = {epochs}
        {training}
    """
    for knob, values in axes.items():
        text += f"\n[[axes]]\nknob = '{knob}'\nvalues = {values}\n"
    return parse_spec(text, "the test")


def differences(state, module):
    """Relative difference of every parameter and buffer, in the Euclidean norm."""
    expected = module.state_dict()
    assert set(state) == set(expected)
    return {
        name: (value.double() - expected[name].cpu().double()).norm().item()
        / max(expected[name].double().norm().item(), 1e-3)
        for name, value in state.items()
    }


def check(what, dataset, dtype, tolerance, train=train, device="cpu"):
    subsets = draw_subsets(dataset.train_targets, dataset.outputs, 0)
    every = networks(what, Material.single(what, dataset, subsets))
    trained = train(what, dataset, subsets, every, dtype=dtype)
    assert [one.network for one in trained] == every
    for one in trained:
        network = one.network
        rows = subsets.examples(network.data_fraction)
        labels = dataset.train_targets[rows].copy()
        told_wrong = np.isin(rows, subsets.corrupted(network.data_fraction, network.label_noise))
        labels[told_wrong] = subsets.wrong_labels[rows][told_wrong]

        def loop(network=network, rows=rows, labels=labels):
            make = partial(what.architecture.build, dataset.shape, 10, network.width, network.depth)
            seed = plain.initialisation_seed(network.seed)
            inputs = dataset.train_inputs[rows]
            return plain.train(partial(make, seed=seed), network, what.training, inputs, labels, dtype, device)

        alone = plain.once(what, dataset, network, dtype, device, loop)
        worst = differences(one.state, alone)
        assert max(worst.values()) < tolerance, (network.name, worst)
        close = {"rel": 100 * tolerance, "abs": 100 * tolerance}
        alone = alone.cpu()
        loss, error = plain.measure(alone, dataset.train_inputs[rows], labels, dtype)
        assert (one.train_loss, one.train_error) == (pytest.approx(loss, **close), pytest.approx(error, abs=1e-6))
        loss, error = plain.measure(alone, dataset.test_inputs, dataset.test_targets, dtype)
        assert (one.test_loss, one.test_error) == (pytest.approx(loss, **close), pytest.approx(error, abs=1e-6))
        assert one.diverged_at is None
    return trained


# Half of these networks leave the stack on the way.
AXES = {"data_fraction": [50, 100], "label_noise": [20], "learning_rate": [0.002, 0.01], "batch_size": [12]}
EPOCHS = 20  # of 120 examples: 200 steps
# In float32 rounding grows where a ReLU is on its edge, and where normalization divides a dead channel's by √ε = 0.003: plain
# loops in float32 and in float64 differ as much. So the same in float32 is done with small steps, on networks without either.
CALM = {"data_fraction": [50, 100], "label_noise": [20], "learning_rate": [0.001, 0.002], "batch_size": [12]}
CALMER = {"data_fraction": [100], "label_noise": [0], "learning_rate": [0.00003], "batch_size": [24]}


def train_of(way, architecture):
    if way == "taped" and architecture == "odd:make":
        pytest.skip("this network has layers that the compiled loops do not know")
    return WAYS[way], "cuda" if "GPU" in way else "cpu"


@ways
@pytest.mark.parametrize("architecture", SHAPES)
def test_every_way_trains_what_a_plain_loop_trains(architecture, way):
    how = train_of(way, architecture)
    large = architecture == "resnet18"
    axes, seeds = ({**AXES, "learning_rate": [0.01]}, (3,)) if large else (AXES, (0, 3))
    what = spec(architecture, {**axes, "width": [3]}, EPOCHS, seeds=seeds)
    trained = check(what, data(SHAPES[architecture]), torch.float64, 1e-9, *how)
    assert {one.network.steps for one in trained} == {100, 200}


@ways
@pytest.mark.parametrize("architecture", SHAPES)
def test_every_way_trains_what_a_plain_loop_trains_in_single_precision(architecture, way):
    how = train_of(way, architecture)
    residual = architecture == "resnet18"
    axes, epochs, seeds = (CALMER, 40, (0,)) if residual else (CALM, EPOCHS, (0, 3))
    what = spec(architecture, {**axes, "width": [3]}, epochs, seeds=seeds)
    trained = check(what, data(SHAPES[architecture]), torch.float32, 1e-4, *how)
    assert max(one.network.steps for one in trained) == 200


@pytest.mark.parametrize("architecture", ["mlp", "cnn1d", "cnn2d"])
def test_noises_and_decays_share_a_stack_and_networks_need_no_normalization(architecture):
    axes = {"weight_decay": [0, 0.01], "label_noise": [0, 5, 30], "batch_size": [20]}
    what = spec(architecture, axes, 5, "width = 4\noptions = {norm = false}")
    check(what, data(SHAPES[architecture]), torch.float64, 1e-9)


def test_warm_up_milestones_and_momentum_are_those_of_the_specification():
    training = "warmup = 0.2\nmilestones = [0.3, 0.6, 0.9]\nfactor = 0.5\nmomentum = 0.5\nlearning_rate = 0.05"
    what = spec("mlp", {"epochs": [3, 7], "batch_size": [30]}, 1, "width = 5\ndepth = 1", training)
    trained = check(what, data((1, 40)), torch.float64, 1e-9)
    assert {one.network.steps for one in trained} == {12, 28}


def test_batches_may_be_larger_than_the_data():
    what = spec("mlp", {"data_fraction": [10], "batch_size": [50]}, 9, "width = 5")
    trained = check(what, data((1, 40)), torch.float64, 1e-9)
    assert {one.network.steps for one in trained} == {3}  # ⌈9 · 12 / 50⌉


@pytest.mark.parametrize("train", [taped.train, stacked.train])
def test_a_network_does_not_depend_on_its_neighbours(train):
    axes = {**AXES, "learning_rate": [0.01, 1e30]}
    what = spec("cnn1d", axes, 6, "width = 3")
    dataset = data((1, 40))
    subsets = draw_subsets(dataset.train_targets, 10, 0)
    every = networks(what, Material.single(what, dataset, subsets))[
        ::-1
    ]  # those that diverge leave nothing but NaN behind
    together = {one.network.name: one for one in train(what, dataset, subsets, every, dtype=torch.float64)}
    assert {one.network.learning_rate for one in together.values() if one.diverged_at is not None} == {1e30}
    exactly = {"rtol": 0, "atol": 0} if train is taped.train else {"rtol": 1e-10, "atol": 1e-12}
    for network in every:
        if network.learning_rate < 1:
            (alone,) = train(what, dataset, subsets, [network], dtype=torch.float64)
            among = together[network.name]
            for name, value in alone.state.items():
                torch.testing.assert_close(value, among.state[name], **exactly)
            assert alone.test_error == among.test_error


@pytest.mark.parametrize("train", [taped.train, stacked.train])
def test_the_same_networks_are_the_same_bits(train):
    what = spec("cnn1d", {"width": [3], "batch_size": [12]}, 3)
    dataset = data((1, 40))
    subsets = draw_subsets(dataset.train_targets, 10, 0)
    one, other = (
        train(what, dataset, subsets, networks(what, Material.single(what, dataset, subsets))) for _ in range(2)
    )
    for first, second in zip(one, other, strict=True):
        assert all(torch.equal(value, second.state[name]) for name, value in first.state.items())
        assert (first.test_loss, first.train_loss) == (second.test_loss, second.train_loss)


@pytest.mark.parametrize("train", [taped.train, stacked.train])
def test_divergence_is_noted_at_the_first_step_whose_loss_is_not_finite(train):
    axes = {"learning_rate": [0.01, 1e12], "batch_size": [12]}
    what = spec("mlp", axes, 4, "width = 4\noptions = {norm = false}")
    dataset = data((1, 40))
    subsets = draw_subsets(dataset.train_targets, 10, 0)
    for one in train(what, dataset, subsets, networks(what, Material.single(what, dataset, subsets))):
        if one.network.learning_rate < 1:
            assert one.diverged_at is None
            continue
        module = what.architecture.build(dataset.shape, 10, seed=plain.initialisation_seed(one.network.seed))
        optimizer = torch.optim.SGD(module.parameters(), lr=1e12, momentum=0.9, weight_decay=5e-4)
        inputs = torch.from_numpy(dataset.train_inputs[subsets.order])
        labels = torch.from_numpy(dataset.train_targets[subsets.order])
        for step, rows in enumerate(plain.order(one.network.seed, 120, 12, 40)):  # noqa: B007 - read after the loop
            loss = nn.functional.cross_entropy(module(inputs[rows]), labels[rows])
            if not loss.isfinite():
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert one.diverged_at == step


@pytest.mark.parametrize("knob", ["batch_size", "width", "depth"])
def test_networks_that_differ_in_shape_or_batch_size_do_not_train_together(knob):
    what = spec("mlp", {knob: [2, 3]}, 1)
    dataset = data((1, 40))
    subsets = draw_subsets(dataset.train_targets, 10, 0)
    with pytest.raises(ValueError, match="one shape and one batch size"):
        train(what, dataset, subsets, networks(what, Material.single(what, dataset, subsets)))


def test_batch_normalization_needs_more_than_one_value():
    dataset = data((1, 40))
    subsets = draw_subsets(dataset.train_targets, 10, 0)
    what = spec("mlp", {"batch_size": [1]}, 1, "width = 4")
    for way in (taped.train, stacked.train):
        with pytest.raises(MdbenchError, match="batch size must be 2 at least"):
            way(what, dataset, subsets, networks(what, Material.single(what, dataset, subsets)))
    check(spec("cnn1d", {"batch_size": [1]}, 1, "width = 4"), dataset, torch.float64, 1e-7)


def test_the_way_is_the_one_that_knows_the_network():
    for architecture, way in {"cnn1d": "taped", "odd:make": "mapped"}.items():
        dataset, what = data((1, 40)), spec(architecture, {"batch_size": [4], "width": [4]}, 1)
        subsets = draw_subsets(dataset.train_targets, 10, 0)
        first = networks(what, Material.single(what, dataset, subsets))[0]
        assert form(what, dataset, first, "cpu") == way
        assert form(what, dataset, first, "cuda") == ("mapped" if way == "mapped" else "stacked")


class Lazy(nn.Module):
    """Has a layer that it never uses: PyTorch's optimizer leaves it alone, weight decay included."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(40, 10), nn.Linear(4, 4)

    def forward(self, x):
        return self.used(x.flatten(1))


@pytest.mark.parametrize("train", [train, stacked.train])
def test_layers_that_are_not_used_stay_as_they_are(odd, train):
    sys.modules["odd"].make = lambda shape, classes, **options: Lazy()
    check(spec("odd:make", {"batch_size": [12]}, 3), data((1, 40)), torch.float64, 1e-9, train)


def test_frozen_layers_are_refused(odd):
    def make(shape, classes, **options):
        network = Lazy()
        network.unused.weight.requires_grad_(False)
        return network

    sys.modules["odd"].make = make
    with pytest.raises(MdbenchError, match=r"freezes unused\.weight"):
        spec("odd:make", {"batch_size": [12]}, 3).architecture.build((1, 40), 10)
