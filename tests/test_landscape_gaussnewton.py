"""Exact traces against the diagonals of dense Hessians."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from zoo_builder.landscape import gaussnewton, hessian
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.gaussnewton import block_traces
from zoo_builder.landscape.metric import Subject
from zoo_builder.landscape.opening import open_surface
from zoo_builder.specification.models import cnn1d, mlp


class Residual(nn.Module):
    """What residual networks are made of: a stem with pooling, in-place ReLU and addition, a way around, groups."""

    def __init__(self, classes=3):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.one, self.norm, self.two = (
            nn.Conv2d(4, 6, 3, 2, 1, groups=2),
            nn.BatchNorm2d(6),
            nn.Conv2d(6, 6, (3, 1), padding=(1, 0)),
        )
        self.around = nn.Conv2d(4, 6, 1, 2, bias=False)
        self.relu, self.mean = nn.LeakyReLU(0.2, inplace=True), nn.AdaptiveAvgPool2d((1, 1))
        self.head = nn.Linear(6, classes)

    def forward(self, x):
        x = self.pool(self.stem(x))
        out = self.two(self.relu(self.norm(self.one(x))))
        out += self.around(x)
        return self.head(torch.flatten(self.mean(functional.relu(out)), 1))


class Sequence(nn.Module):
    """A linear layer that is used at every position, and a dilated convolution in one dimension."""

    def __init__(self):
        super().__init__()
        self.each, self.along, self.head = nn.Linear(3, 4), nn.Conv1d(4, 5, 2, dilation=2, padding=1), nn.Linear(5, 3)

    def forward(self, x):
        x = torch.relu(self.each(x))
        return self.head(functional.relu(self.along(x.view(x.size(0), 4, -1))).mean(2))


KNOWN = {
    "mlp": (lambda: mlp((6,), 3, 7), (6,)),
    "cnn1d": (lambda: cnn1d((1, 16), 3, 4), (1, 16)),
    "residual": (Residual, (2, 14, 14)),
    "sequence": (Sequence, (6, 3)),
}


def sample(make, shape, classes=3, count=24, steps=30):
    """A network with statistics of its own, trained a little, and its data."""
    torch.manual_seed(0)
    network, labels = make().double(), torch.arange(count) % classes
    inputs = torch.randn(count, *shape).double() + torch.randn(classes, *shape).double()[labels]
    optimizer = torch.optim.SGD(network.parameters(), 0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
    return network.eval(), Data(inputs, labels)


def diagonal(network, data):
    """The Hessian's diagonal, parameter's name → its entries, by differentiating twice."""
    network = copy.deepcopy(network).double()
    found = {}
    for name, parameter in network.named_parameters():

        def loss(value, name=name):
            outputs = torch.func.functional_call(network, {name: value}, (data.inputs.double(),))
            return functional.cross_entropy(outputs, data.targets)

        size = parameter.numel()
        dense = torch.func.jacrev(torch.func.grad(loss))(parameter.detach())
        found[name] = dense.detach().reshape(size, size).diagonal()
    return found


def blocks_of(network):
    owned = {}
    for name, _ in network.named_parameters():
        owned.setdefault(name.rpartition(".")[0], []).append(name)
    return list(owned.values())


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", KNOWN)
@pytest.mark.parametrize("block", [2**23, 1])
def test_traces_are_those_of_the_dense_hessian(kind, block, monkeypatch):
    monkeypatch.setattr(gaussnewton, "_BLOCK", block)
    network, data = sample(*KNOWN[kind])
    expected, blocks = diagonal(network, data), blocks_of(network)
    found = block_traces(copy.deepcopy(network), data, blocks, rng())
    np.testing.assert_allclose(
        found.blocks, [sum(float(expected[name].sum()) for name in names) for names in blocks], rtol=1e-9
    )
    assert found.whole == pytest.approx(float(sum(part.sum() for part in expected.values())))
    assert found.whole_se == 0
    assert not found.blocks_se.any()


def test_parameters_that_are_not_asked_about_are_left_out():
    network, data = sample(*KNOWN["residual"])
    expected = diagonal(network, data)
    found = block_traces(network, data, [["one.bias"], ["head.weight", "stem.1.bias"]], rng())
    wanted = [expected["one.bias"].sum(), expected["head.weight"].sum() + expected["stem.1.bias"].sum()]
    np.testing.assert_allclose(found.blocks, wanted, rtol=1e-9)


def test_where_classes_are_many_combinations_of_them_are_asked():
    network, data = sample(lambda: mlp((6,), 40, 5), (6,), classes=40, count=80)
    expected = diagonal(network, data)
    blocks = blocks_of(network)
    wanted = np.array([sum(float(expected[name].sum()) for name in names) for names in blocks])
    runs = [block_traces(copy.deepcopy(network), data, blocks, rng(seed)) for seed in range(100)]
    z = np.array([(one.whole - wanted.sum()) / one.whole_se for one in runs])
    each = np.array([(one.blocks - wanted) / one.blocks_se for one in runs])
    # The variance of 100 z has a standard deviation of 14 %.
    for values in (z, *each.T):
        assert abs(values.mean()) < 0.4
        assert 0.5 < values.var() < 1.6
    assert all(0 < one.whole_se < 0.05 * one.whole for one in runs)


def test_sure_networks_keep_their_digits_in_single_precision():
    network, data = sample(*KNOWN["residual"])
    with torch.no_grad():
        network.head.weight *= 30
        network.head.bias[0] += 25
    probabilities = network(data.inputs).softmax(1).max(1).values
    assert (1 - probabilities[data.targets == 0]).max() < 1e-7  # what float32 cannot tell from 0
    expected = sum(float(part.sum()) for part in diagonal(network, data).values())
    single = Data(data.inputs.float(), data.targets)
    found = block_traces(copy.deepcopy(network).float(), single, blocks_of(network), rng())
    assert found.whole == pytest.approx(expected, rel=1e-3)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.other = nn.Linear(6, 6)
        self.other.weight = self.inner.weight
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(functional.relu(self.other(functional.relu(self.inner(x)))))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(functional.relu(self.inner(functional.relu(self.inner(x)))))


class Product(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(x * self.inner(x))


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.scale = nn.Linear(6, 3), nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.scale * self.head(x)


class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        out = self.head(x)
        return out + out.mean(0, keepdim=True)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(x) if x.sum() > 0 else self.head(-x)


def hooked():
    network = mlp((6,), 3, 7)
    network.register_forward_hook(lambda module, inputs, output: output**2)
    return network


UNKNOWN = {
    "tanh": lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    "layer norm": lambda: nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3)),
    "statistics of the batch": lambda: nn.Sequential(
        nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3)
    ),
    "weight norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 3))),
    "weights used twice": Tied,
    "a layer used twice": Twice,
    "a product": Product,
    "a parameter of no layer": Scaled,
    "examples that see each other": Centred,
    "a branch": Branching,
    "a hook": hooked,
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_networks_that_may_bend_within_a_layer_are_left_to_probes(kind):
    torch.manual_seed(0)
    network, data = UNKNOWN[kind]().double().eval(), Data(torch.randn(9, 6).double(), torch.arange(9) % 3)
    assert block_traces(network, data, blocks_of(network), rng()) is None


def test_the_family_has_them_where_networks_are_large(monkeypatch):
    network, data = sample(*KNOWN["residual"])
    monkeypatch.setattr(hessian, "LARGE", 0)
    found = hessian.measure(Subject(open_surface([network], (2, 14, 14), dtype=torch.float64), data))
    expected, blocks = diagonal(network, data), blocks_of(network)
    assert found.networks["hessian_trace"][0] == pytest.approx(sum(float(part.sum()) for part in expected.values()))
    assert found.networks["hessian_trace_se"][0] == 0
    for layer, names in zip(found.layers, blocks, strict=True):
        assert layer["hessian_trace"] == pytest.approx(sum(float(expected[name].sum()) for name in names))
        assert layer["hessian_trace_se"] == 0


def test_the_family_asks_probes_about_all_others(monkeypatch):
    monkeypatch.setattr(hessian, "LARGE", 0)
    network, data = sample(lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), (6,))
    found = hessian.measure(Subject(open_surface([network], (6,), dtype=torch.float64), data)).networks
    expected = sum(float(part.sum()) for part in diagonal(network, data).values())
    assert found["hessian_trace_se"][0] > 0
    assert abs(found["hessian_trace"][0] - expected) < 4 * found["hessian_trace_se"][0]
    monkeypatch.setattr(hessian, "LARGE", 10**9)
    again = hessian.measure(Subject(open_surface([network], (6,), dtype=torch.float64), data)).networks
    assert again["hessian_trace"][0] == found["hessian_trace"][0]


@pytest.mark.parametrize("kind", KNOWN)
def test_norms_of_single_examples_gradients_are_of_undivided_gradients(kind):
    # BackPACK's Variance is of gradients that are divided by the number of examples.
    network, data = sample(*KNOWN[kind])
    expected = [
        torch.autograd.grad(functional.cross_entropy(network(x[None]), y[None]), list(network.parameters()))
        for x, y in zip(data.inputs, data.targets, strict=True)
    ]
    names = [name for name, _ in network.named_parameters()]
    recorder = gaussnewton._Recorder.of(network)
    logits, layers = recorder.recorded(data.inputs)
    loss = functional.cross_entropy(logits, data.targets, reduction="sum")
    slopes = torch.autograd.grad(loss, [layer.output for layer in layers])
    found = {}
    for layer, slope in zip(layers, slopes, strict=True):
        found |= layer.squares(slope)
    for at, name in enumerate(names):
        torch.testing.assert_close(found[name], torch.stack([gradients[at].square().sum() for gradients in expected]))
