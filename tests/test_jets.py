"""Compiled loops over jets: networks learn equations as in a plain loop whose derivatives are autograd's."""

import math

import numpy as np
import plain
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_training import differences
from torch import nn

from zoo_builder.landscape.taped import Taped
from zoo_builder.specification.datasets.equations import ASKED, KNOWN, PAIR, PROBLEMS, RESIDUAL, pose
from zoo_builder.specification.material import Material
from zoo_builder.specification.models import pinn
from zoo_builder.specification.network import networks
from zoo_builder.specification.spec import parse_spec
from zoo_builder.training import form, stacked, taped
from zoo_builder.training.graph import UnknownLayerError
from zoo_builder.training.kernels import activation
from zoo_builder.training.kernels.layout import GELU, SILU, SOFTPLUS, TANH
from zoo_builder.training.tape import Tape

DOUBLE, SINGLE = torch.float64, torch.float32
TOLERANCES = {DOUBLE: 1e-9, SINGLE: 1e-4}
WAYS = {
    "adam": 'optimizer = "adam"\neps = 1e-4\nlearning_rate = 0.001',
    "sam and clipped": "sharpness = { rho = 0.05 }\nclip = 0.3\nmomentum = 0.5\nlearning_rate = 0.001",
    "ema": 'optimizer = "adamw"\neps = 1e-4\nlearning_rate = 0.001\naverage = "ema"\naverage_decay = 0.9',
}
NETWORKS = {
    "tanh": "depth = 2",
    "waves": "depth = 2\noptions = { fourier = 3, scale = 0.2 }",
    "gelu": 'depth = 3\noptions = { activation = "gelu" }',
    "silu of waves": 'depth = 1\noptions = { activation = "silu", fourier = 2, scale = 0.2 }',
    "softplus": 'depth = 2\noptions = { activation = "softplus" }',
}


class ByAutograd(nn.Module):
    """What an equation asks of a network, written down by hand."""

    def __init__(self, network, equation):
        super().__init__()
        self.network, self.equation = network, equation

    def forward(self, x):
        points, kind = x[:, :2].clone().requires_grad_(), x[:, 2:]
        with torch.enable_grad():
            u = self.network(points)
            (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
            residual = self._residual(points, u, slope)
        scales, out = self.equation.scales, u
        shifted = self.network(points + torch.tensor([2 * math.pi, 0.0], dtype=x.dtype))
        out = torch.where(kind == RESIDUAL, scales[0] * residual, out)
        out = torch.where(kind == KNOWN, scales[1] * u, out)
        return out if self.equation.name == "helmholtz" else torch.where(kind == PAIR, scales[2] * (u - shifted), out)

    def _residual(self, points, u, slope):
        c = self.equation.difficulty
        if self.equation.name == "convection":
            return slope[:, 1:] + c * slope[:, :1]
        if self.equation.name == "reaction":
            return slope[:, 1:] - c * u * (1 - u)
        second = [torch.autograd.grad(slope[:, at].sum(), points, create_graph=True)[0][:, [at]] for at in (0, 1)]
        waves = torch.sin(math.pi * points[:, :1]) * torch.sin(c * math.pi * points[:, 1:])
        return sum(second) + u - (1 - math.pi**2 * (1 + c**2)) * waves


def posed(equation, network, way, seeds=(0, 3)):
    text = f"""
        name = "test"
        seeds = {list(seeds)}
        dataset = {{ name = "{equation}", train = 70, test = 49, options = {{ difficulty = 2, known = 50 }} }}
        [architecture]
        name = "pinn"
        width = 6
        {NETWORKS[network]}
        [training]
        steps = 200
        {WAYS[way]}
        [[axes]]
        knob = "batch_size"
        values = [12]
    """
    what = parse_spec(text, "the test")
    return what, *Material.of_spec(what).first


def plainly(what, dataset, subsets, network, dtype):
    """Learn with autograd."""
    rows = subsets.examples(network.data_fraction)

    def make():
        seed = plain.initialisation_seed(network.seed)
        return ByAutograd(what.architecture.build((2,), 1, network.width, network.depth, seed=seed), dataset.equation)

    loss = nn.functional.mse_loss
    return plain.learn(make, network, dataset.train_inputs[rows], dataset.train_targets[rows], loss, dtype), rows


def close(found, expected, tolerance):
    assert found == pytest.approx(expected, rel=1000 * tolerance, abs=1000 * tolerance)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=["double", "single"])
@pytest.mark.parametrize(
    ("network", "way"),
    [
        ("tanh", "adam"),
        ("tanh", "sam and clipped"),
        ("waves", "adam"),
        ("waves", "ema"),
        ("gelu", "adam"),
        ("silu of waves", "sam and clipped"),
        ("softplus", "ema"),
    ],
)
@pytest.mark.parametrize("equation", PROBLEMS)
def test_equations_are_learnt_as_in_a_plain_loop(equation, network, way, dtype):
    what, dataset, subsets = posed(equation, network, way)
    every = networks(what, Material.single(what, dataset, subsets))
    assert form(what, dataset, every[0], "cpu") == "taped"
    for one in taped.train(what, dataset, subsets, every, dtype=dtype):
        assert one.network.steps == 200
        alone, rows = plainly(what, dataset, subsets, one.network, dtype)
        worst = differences(one.state, alone)
        assert max(worst.values()) < TOLERANCES[dtype], worst
        inputs, targets = dataset.train_inputs[rows], dataset.train_targets[rows]
        out = alone(torch.as_tensor(inputs, dtype=dtype)).detach().double()
        close(one.train_loss, (out - torch.as_tensor(targets)).square().mean().item(), TOLERANCES[dtype])
        for found, where in ((one.train_error, inputs), (one.test_error, dataset.test_inputs)):
            points = torch.as_tensor(where[:, :2], dtype=DOUBLE)
            truth = torch.as_tensor(PROBLEMS[equation].solution(points.numpy(), 2.0))
            u = alone.double().network(points)[:, 0].detach()
            close(found, 100 * ((u - truth).norm() / truth.norm()).item(), TOLERANCES[SINGLE])
            alone.to(dtype)


@pytest.mark.parametrize("equation", PROBLEMS)
def test_stacks_learn_the_same(equation):
    what, dataset, subsets = posed(equation, "waves", "adam")
    every = networks(what, Material.single(what, dataset, subsets))
    ways = [way.train(what, dataset, subsets, every, dtype=DOUBLE) for way in (taped, stacked)]
    for one, other in zip(*ways, strict=True):
        for name, value in one.state.items():
            torch.testing.assert_close(value, other.state[name], rtol=1e-9, atol=1e-9)
        for what_ in ("train_loss", "train_error", "test_loss", "test_error"):
            assert getattr(one, what_) == pytest.approx(getattr(other, what_), rel=1e-7)


@given(
    st.sampled_from(sorted(PROBLEMS)),
    st.sampled_from(["tanh", "gelu", "silu", "softplus"]),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(0, 2**20),
)
@settings(max_examples=40, deadline=None)
def test_gradients_of_any_network_are_those_of_autograd(name, function, width, depth, fourier, seed):
    """A tape is taken for good only where a probe agrees; in double precision its bound is 1e-6."""
    torch.manual_seed(seed)
    network = pinn((2,), 1, width, depth, activation=function, fourier=fourier)
    assert isinstance(taped.write(pose(name, 10, difficulty=1.5).informed(network), (3,), DOUBLE), Tape)


def test_the_numbers_that_weigh_a_jet_say_what_is_asked():
    for name, problem in PROBLEMS.items():
        equation = pose(name, 10, difficulty=3.0)
        points = np.random.default_rng(0).uniform(-1, 1, (8, 2))
        inputs = np.column_stack([points, np.arange(8) % 4])
        weighed = equation.weighed(inputs)
        periodic = problem.periodic is not None
        parts = 1 + problem.order * len(problem.along) + periodic
        assert weighed.shape == (8, 2 + 2 * periodic + parts + 2)
        weights = weighed[:, 2 + 2 * periodic :]
        asked = inputs[:, 2] == ASKED
        np.testing.assert_array_equal(weights[asked], np.eye(parts + 2)[[0] * asked.sum()])
        if periodic:
            np.testing.assert_allclose(weighed[:, 2:4] - weighed[:, :2], [[2 * math.pi, 0]] * 8)
            pairs = inputs[:, 2] == PAIR
            np.testing.assert_allclose(weights[pairs, 0], -weights[pairs, parts - 1])


@pytest.mark.parametrize(
    ("which", "function"),
    [
        (GELU, nn.GELU()),
        (TANH, nn.Tanh()),
        (SILU, nn.SiLU()),
        (SOFTPLUS, nn.Softplus()),
    ],
)
def test_third_derivatives_are_those_of_autograd(which, function):
    x = torch.linspace(-6, 6, 101, dtype=DOUBLE, requires_grad=True)
    slope = function(x)
    for _ in range(3):
        (slope,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-5)):
        out = np.empty(101, dtype)
        activation.thirds(which, x.detach().numpy().astype(dtype), out)
        np.testing.assert_allclose(out, slope.detach().numpy(), rtol=0, atol=tolerance)


def test_other_networks_and_second_derivatives_go_another_way():
    network = pose("convection", 10, difficulty=1.0).informed(pinn((2,), 1, 4, 2))
    with pytest.raises(UnknownLayerError):
        Taped([network], (3,), DOUBLE)
    for other in (nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)), pinn((2,), 1, 4, 2, activation="relu")):
        with pytest.raises(UnknownLayerError):
            taped.write(pose("reaction", 10, difficulty=1.0).informed(other), (3,), DOUBLE)
