"""Loss surfaces of networks with a class a position: compiled loops say what stacks and the networks themselves say."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from mdbench.errors import MdbenchError
from zoo_builder.landscape import hessian
from zoo_builder.landscape.alone import Alone
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Subject
from zoo_builder.landscape.objective import CrossEntropy
from zoo_builder.landscape.opening import fitting_surface, own_outputs
from zoo_builder.landscape.stacked import Stacked
from zoo_builder.landscape.taped import Taped
from zoo_builder.specification.models import transformer, unet
from zoo_builder.training.graph import UnknownLayerError

#: More than a batch, and no multiple of one; classes; what does not count.
EXAMPLES, CLASSES, MASKED = 70, 4, -7
OF_POSITIONS = CrossEntropy(classifies=False, ignore_index=MASKED)
DOUBLE = torch.float64
CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def of_tokens(tied):
    return transformer((6,), CLASSES, 8, 1, CLASSES, causal=True, heads=2, tied=tied)


MAKES = {
    "tokens": (lambda: of_tokens(tied=False), (6,)),
    "tied": (lambda: of_tokens(tied=True), (6,)),
    "pixels": (lambda: unet((1, 8, 8), CLASSES, 2), (1, 8, 8)),
    "signal": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Conv1d(3, CLASSES, 1)),
        (2, 9),
    ),
}


def made(name, count=2, seed=0):
    """Networks, and examples of which a third of the positions are masked: in one, all of them."""
    torch.manual_seed(seed)
    make, shape = MAKES[name]
    networks = [make().double().eval() for _ in range(count)]
    for network in networks:
        for value in (*network.parameters(), *network.buffers()):
            if value.is_floating_point() and value.isfinite().all():  # a causal mask is not
                value.data.copy_(0.5 + torch.rand_like(value) if value.dim() == 1 else 0.4 * torch.randn_like(value))
    if name in ("tokens", "tied"):
        inputs = torch.randint(0, CLASSES, (EXAMPLES, *shape))
    else:
        inputs = torch.randn(EXAMPLES, *shape).double()
    sides = networks[0](inputs[:1]).shape[2:]
    targets = torch.randint(0, CLASSES, (EXAMPLES, *sides))
    targets[torch.rand(targets.shape) < 1 / 3] = MASKED
    targets[3] = MASKED
    return networks, Data(inputs, targets)


def loss_of(network, data):
    return functional.cross_entropy(network(data.inputs), data.targets, ignore_index=MASKED)


def flat(tensors):
    return torch.cat([one.reshape(-1) for one in tensors])


@pytest.mark.parametrize("name", MAKES)
def test_loops_say_what_autograd_says(name):
    networks, data = made(name)
    surface = Taped(networks, data.shape, DOUBLE, OF_POSITIONS)
    vectors = torch.randn(2, 3, surface.layout.size).double()
    chosen = torch.randint(0, EXAMPLES, (2, 20))
    losses, errors = surface.scores(data, surface.points[:, None])
    assert torch.isnan(errors).all()
    logits, (whole, slopes) = surface.logits(data), surface.gradients(data, surface.points)
    some, some_slopes = surface.gradients(data, surface.points, chosen)
    batched, batch_slopes = surface.gradients(data, surface.points, chosen, training=True)
    curvature = surface.curvature(data)
    products, again = curvature(vectors), curvature(vectors[1:], [1])
    for row, network in enumerate(networks):
        torch.testing.assert_close(logits[row], network(data.inputs).detach(), **CLOSE)
        loss, own = loss_of(network, data), list(network.parameters())
        assert losses[row, 0] == pytest.approx(loss.item(), rel=1e-9)
        slope = torch.autograd.grad(loss, own, create_graph=True)
        part = data.some(chosen[row])
        for examples, found, value, training in (
            (data, slopes, whole, False),
            (part, some_slopes, some, False),
            (part, batch_slopes, batched, True),
        ):
            other = copy.deepcopy(network).train(training)  # whose statistics of normalization move
            expected = loss_of(other, examples)
            assert value[row] == pytest.approx(expected.item(), rel=1e-9)
            truth = torch.autograd.grad(expected, list(other.parameters()))
            torch.testing.assert_close(found[row], flat(truth), **CLOSE)
        for vector, product in zip(vectors[row], products[row], strict=True):
            true = flat(torch.autograd.grad(flat(slope) @ vector, own, retain_graph=True, materialize_grads=True))
            assert (product - true).norm() <= 1e-9 * true.norm()
    torch.testing.assert_close(again[0], products[1], **CLOSE)


@pytest.mark.parametrize("name", MAKES)
def test_loops_say_what_the_other_ways_say(name):
    """Of spectra too: traces and eigenvalues by the same random numbers."""
    networks, data = made(name)
    ways = [Taped(networks, data.shape, DOUBLE, OF_POSITIONS), Alone(networks, OF_POSITIONS, dtype=DOUBLE)]
    if data.floating:
        ways.append(Stacked(networks, data.shape, objective=OF_POSITIONS, dtype=DOUBLE))
    vectors = torch.randn(2, 2, ways[0].layout.size).double()
    mine, *others = [(way.logits(data), *way.gradients(data, way.points), way.curvature(data)(vectors)) for way in ways]
    few = data.first(12)
    spectra = [hessian.measure(Subject(way, few, names=["one", "two"])).networks for way in ways]
    for theirs in others:
        for one, other in zip(mine, theirs, strict=True):
            assert (one - other).norm() <= 1e-9 * other.norm()
    for theirs in spectra[1:]:
        for column in ("hessian_trace", "hessian_top_eigenvalue"):
            np.testing.assert_allclose(spectra[0][column], theirs[column], rtol=1e-9)
    if name != "pixels" and name != "signal":
        torch.testing.assert_close(ways[0].features(data), ways[1].features(data), **CLOSE)
    renewed = [way.renormalized(data, way.points).logits(data) for way in ways]
    torch.testing.assert_close(renewed[0], renewed[-1], **CLOSE)


@pytest.mark.parametrize("name", MAKES)
def test_the_gate_takes_loops(name):
    networks, data = made(name)
    surface = fitting_surface(networks, data, OF_POSITIONS, own_outputs(networks, data, dtype=DOUBLE), dtype=DOUBLE)
    assert isinstance(surface, Taped)
    assert not surface.classifies
    again = surface.reopened(networks)
    torch.testing.assert_close(again.logits(data), surface.logits(data), rtol=0, atol=0)


def test_what_loops_do_not_know_goes_another_way():
    networks, data = made("pixels")
    outputs = own_outputs(networks, data, dtype=DOUBLE)
    for objective in (
        CrossEntropy(classifies=False, ignore_index=MASKED, smoothing=0.1),
        CrossEntropy(classifies=False, ignore_index=MASKED, weight=torch.arange(1.0, 1 + CLASSES)),
        CrossEntropy(classifies=False, ignore_index=MASKED, summed=True),
    ):
        surface = fitting_surface(networks, data, objective, outputs, dtype=DOUBLE)
        assert not isinstance(surface, Taped)
        assert surface.objective is objective
    for objective in (None, CrossEntropy(classifies=False, of_logits=False)):
        with pytest.raises(UnknownLayerError):
            Taped(networks, data.shape, DOUBLE, objective)
    with pytest.raises(UnknownLayerError):  # one class an example, and a loss of positions
        Taped([nn.Linear(3, CLASSES)], (3,), DOUBLE, OF_POSITIONS)


def test_what_are_no_classes_of_positions_is_refused():
    networks, data = made("pixels")
    surface = Taped(networks, data.shape, DOUBLE, OF_POSITIONS)
    for label in (-1, CLASSES):
        targets = data.targets.clone()
        targets[5, 0, 2] = label
        with pytest.raises(
            MdbenchError, match=rf"example 5 has {label} at position 2, .* for classes 0 to {CLASSES - 1}"
        ):
            surface.scores(Data(data.inputs, targets), surface.points[:, None])
    for targets in (data.targets.double(), data.targets[:, :4], data.targets[:, 0, 0]):
        with pytest.raises(MdbenchError, match=r"integers of shape \(n, 8, 8\)"):
            surface.gradients(Data(data.inputs, targets), surface.points)


@pytest.mark.parametrize("name", ["tokens", "pixels"])
def test_products_hold_in_single_precision_where_networks_are_sure(name):
    """Where p is nearly 1 everywhere, 1 − p must not be a difference of numbers that are nearly 1."""
    networks, data = made(name, count=1)
    last = (
        networks[0].head if name == "tokens" else [one for one in networks[0].modules() if type(one) is nn.Conv2d][-1]
    )
    with torch.no_grad():
        last.weight.mul_(8)
        logits = networks[0](data.inputs)
    targets = logits.argmax(1)
    losses = functional.cross_entropy(logits, targets, reduction="none")
    targets[(losses > 1e-5) | (losses < 1e-9)] = MASKED
    assert (targets != MASKED).sum() > 20
    data = Data(data.inputs, targets)
    double = Taped(networks, data.shape, DOUBLE, OF_POSITIONS)
    single = Taped(networks, data.shape, torch.float32, OF_POSITIONS)
    v = torch.randn(1, 2, double.layout.size)
    exact = double.curvature(data)(v.double())
    inputs = data.inputs.float() if data.floating else data.inputs
    assert (single.curvature(Data(inputs, targets))(v) - exact).norm() <= 1e-3 * exact.norm()
