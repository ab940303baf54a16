"""Data sets that are generated: each against what its formula says."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mdbench.errors import MdbenchError
from zoo_builder.specification.datasets.dataset import load_dataset
from zoo_builder.specification.datasets.equations import ASKED, KNOWN, PAIR, PROBLEMS, RESIDUAL, PosedEquation
from zoo_builder.specification.datasets.spec import DatasetSpec
from zoo_builder.specification.models import pinn
from zoo_builder.specification.spec import parse_spec


def loaded(name, **fields):
    return load_dataset(DatasetSpec(name=name, **fields))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("teacher", {"dimension": 5}),
        ("convection", {"difficulty": 3}),
        ("reaction", {"difficulty": 3}),
        ("helmholtz", {"difficulty": 2}),
        ("shapes", {"size": 12}),
        ("digits", {}),
    ],
)
def test_data_are_a_function_of_the_seed(name, options):
    one, same, other = (loaded(name, train=30, test=16, seed=seed, options=options).digest for seed in (0, 0, 1))
    assert one == same != other


def test_a_single_index_teacher_is_a_function_of_one_projection():
    data = loaded("teacher", train=400, test=100, options={"dimension": 6, "link": "tanh"})
    assert (data.kind, data.outputs, data.train_inputs.shape, data.train_targets.shape) == (
        "values",
        1,
        (400, 6),
        (400, 1),
    )
    direction, *_ = np.linalg.lstsq(data.train_inputs, np.arctanh(data.train_targets), rcond=None)
    assert np.linalg.norm(direction) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(np.tanh(data.test_inputs @ direction), data.test_targets, atol=1e-3)


def test_noise_of_a_teacher_has_its_standard_deviation():
    clean, noisy = (
        loaded("teacher", train=4000, test=10, options={"dimension": 3, "noise": noise}).train_targets
        for noise in (0.0, 0.3)
    )
    assert (noisy - clean).std() == pytest.approx(0.3, rel=0.05)


def test_a_multi_index_teacher_sums_orthonormal_directions():
    options = {"dimension": 5, "directions": 2, "link": "hermite"}
    data = loaded("teacher", train=500, test=10, options=options)
    pairs = [(i, j) for i in range(5) for j in range(i, 5)]
    quadratic = np.stack([data.train_inputs[:, i] * data.train_inputs[:, j] for i, j in pairs], 1)
    found, *_ = np.linalg.lstsq(np.column_stack([quadratic, np.ones(500)]), data.train_targets[:, 0], rcond=None)
    form = np.zeros((5, 5))
    for (i, j), value in zip(pairs, found, strict=False):
        form[i, j] = form[j, i] = value if i == j else value / 2
    # Σⱼ (βⱼβⱼᵀ) / 2, and −1: two eigenvalues of a half.
    np.testing.assert_allclose(np.linalg.eigvalsh(form), [0, 0, 0, 0.5, 0.5], atol=1e-4)
    assert found[-1] == pytest.approx(-1, abs=1e-4)


class Exact(nn.Module):
    """The solution itself, as a network would compute it."""

    def __init__(self, name, difficulty):
        super().__init__()
        self.name, self.difficulty = name, difficulty

    def forward(self, points):
        x, t = points[:, :1], points[:, 1:]
        if self.name == "convection":
            return torch.sin(x - self.difficulty * t)
        if self.name == "helmholtz":
            return torch.sin(math.pi * x) * torch.sin(self.difficulty * math.pi * t)
        angle = torch.remainder(x, 2 * math.pi)
        start = torch.exp(-((angle - math.pi) ** 2) / (2 * (math.pi / 4) ** 2))
        grown = start * torch.exp(self.difficulty * t)
        return grown / (grown + 1 - start)


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_the_solution_solves_its_equation(name):
    data = loaded(name, train=200, test=100, options={"difficulty": 2.5})
    equation = data.equation
    informed = equation.informed(Exact(name, 2.5))
    inputs = torch.from_numpy(data.train_inputs).double()
    away = informed(inputs) - torch.from_numpy(data.train_targets).double()
    known = inputs[:, 2] == KNOWN
    assert away[known].abs().max() < 1e-6 * equation.scales[1]  # what is known is rounded to single precision
    assert away[~known].abs().max() < 1e-10
    asked, targets = equation.solved(data.train_inputs)
    assert (asked[:, 2] == ASKED).all()
    np.testing.assert_allclose(informed(torch.from_numpy(asked).double()).numpy(), targets, atol=1e-6)
    assert (data.test_inputs[:, 2] == ASKED).all()
    assert len(data.test_inputs) == 100
    solved = informed(torch.from_numpy(data.test_inputs).double()).numpy()
    np.testing.assert_allclose(solved, data.test_targets, atol=1e-5)


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_the_mean_of_squares_is_the_weighted_sum_of_the_parts(name):
    data = loaded(name, train=70, test=16, options={"difficulty": 2.0, "known": 20, "weight": 3.0})
    torch.manual_seed(0)
    network = pinn((2,), 1, 8, 2).double()
    inputs, targets = torch.from_numpy(data.train_inputs).double(), torch.from_numpy(data.train_targets).double()
    whole = (data.equation.informed(network)(inputs) - targets).square().mean().item()
    kind = data.train_inputs[:, 2]
    plain = PosedEquation(name, 2.0, (1, 1, 1)).informed(network)(inputs).detach()
    known = plain[kind == KNOWN] - targets[kind == KNOWN] / data.equation.scales[1]
    parts = plain[kind == RESIDUAL].square().mean() + 3 * known.square().mean()
    if (kind == PAIR).any():
        parts = parts + 3 * plain[kind == PAIR].square().mean()
    assert whole == pytest.approx(parts.item(), rel=1e-6)


class Plain(nn.Module):
    """The same network without its jet."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_derivatives_are_those_of_autograd(name):
    torch.manual_seed(1)
    network = pinn((2,), 1, 7, 2).double()
    points = torch.rand(20, 2, dtype=torch.float64, requires_grad=True)
    u = network(points)
    (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
    second = [torch.autograd.grad(slope[:, at].sum(), points, retain_graph=True)[0][:, at : at + 1] for at in (0, 1)]
    x, y = points.detach().T[:, :, None]
    residual = {
        "convection": slope[:, 1:] + 3 * slope[:, :1],
        "reaction": slope[:, 1:] - 3 * u * (1 - u),
        "helmholtz": second[0]
        + second[1]
        + u
        - (1 - 10 * math.pi**2) * torch.sin(math.pi * x) * torch.sin(3 * math.pi * y),
    }[name]
    inputs = torch.cat([points.detach(), torch.full((20, 1), float(RESIDUAL))], 1)
    for some in (network, Plain(network)):
        torch.testing.assert_close(
            PosedEquation(name, 3.0, (1, 1, 1)).informed(some)(inputs), residual, rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize("wrap", [lambda network: network, Plain], ids=["jet", "jvp"])
@pytest.mark.parametrize("name", list(PROBLEMS))
def test_what_is_asked_can_be_mapped_and_differentiated_twice(name, wrap):
    data = loaded(name, train=12, test=16, options={"difficulty": 2, "known": 5})
    inputs, targets = (torch.from_numpy(a).double() for a in (data.train_inputs, data.train_targets))
    torch.manual_seed(2)
    modules = [data.equation.informed(wrap(pinn((2,), 1, 5, 2))).double() for _ in range(2)]

    def loss(parameters):
        return (torch.func.functional_call(modules[0], parameters, inputs) - targets).square().mean()

    points, _ = torch.func.stack_module_state(modules)
    along = {key: torch.randn_like(value) for key, value in points.items()}
    slopes = torch.func.vmap(torch.func.grad(loss))(points)
    curved = torch.func.vmap(lambda at, way: torch.func.jvp(torch.func.grad(loss), (at,), (way,))[1])(points, along)
    for at, module in enumerate(modules):
        own = dict(module.named_parameters())
        mean = (module(inputs) - targets).square().mean()
        gradient = torch.autograd.grad(mean, list(own.values()), create_graph=True)
        forward = sum((g * along[key][at]).sum() for key, g in zip(own, gradient, strict=True))
        products = torch.autograd.grad(forward, list(own.values()))
        for key, first, second in zip(own, gradient, products, strict=True):
            torch.testing.assert_close(slopes[key][at], first, rtol=1e-9, atol=1e-10)
            torch.testing.assert_close(curved[key][at], second, rtol=1e-9, atol=1e-9)


def test_the_boundary_of_helmholtz_is_the_boundary():
    data = loaded("helmholtz", train=10, test=16, options={"difficulty": 2, "known": 400})
    edge = data.train_inputs[data.train_inputs[:, 2] == KNOWN][:, :2]
    assert np.abs(edge).max(1) == pytest.approx(1)
    sides = [(edge[:, axis] == side).mean() for axis in (0, 1) for side in (-1, 1)]
    assert sides == pytest.approx([0.25] * 4, abs=0.1)


def test_shapes_are_what_their_labels_say():
    data = loaded("shapes", train=60, test=5, options={"size": 20, "noise": 0.0, "shapes": 3})
    assert (data.kind, data.outputs, data.shape, data.train_targets.shape) == (
        "positions",
        4,
        (1, 20, 20),
        (60, 20, 20),
    )
    images = data.train_inputs[:, 0]
    assert (images[data.train_targets == 0] == 0).all()
    assert images[data.train_targets > 0].min() >= 0.5
    assert set(np.unique(data.train_targets)) == {0, 1, 2, 3}
    noisy = loaded("shapes", train=60, test=5, options={"size": 20, "noise": 0.2, "shapes": 3}).train_inputs[:, 0]
    assert noisy.std() > images.std()


def test_digits_are_split_without_overlap():
    data = loaded("digits")
    assert (len(data.train_inputs), len(data.test_inputs), data.shape, data.outputs) == (1397, 400, (1, 8, 8), 10)
    rows = {part.tobytes() for part in data.train_inputs}
    assert not rows & {part.tobytes() for part in data.test_inputs}
    with pytest.raises(MdbenchError, match="more than the 1797"):
        loaded("digits", train=1500)
    with pytest.raises(MdbenchError, match="test = 1797 of 1797 images leaves none"):
        loaded("digits", test=1797)


SPEC = """
name = "it"
[dataset]
name = "convection"
{options}
[architecture]
name = "pinn"
width = 8
[[axes]]
knob = "{knob}"
values = [1, 2]
"""


@pytest.mark.parametrize(
    ("options", "knob", "message"),
    [
        ("", "batch_size", "convection' needs difficulty: write options"),
        ("options = {difficulty = 2}", "difficulty", "stands in .dataset.options. too"),
        ("options = {difficulti = 2}", "batch_size", "no option 'difficulti'; its options are difficulty, known"),
        ("options = {difficulty = -2}", "batch_size", "difficulty = -2 is not possible .* a number from 0 up"),
        ("test = 99", "difficulty", "test = 99 is no square"),
        ("", "poison", "poison is an axis, but data set 'convection' has none"),
        ("", "label_noise", "label_noise is of data with a class an example"),
        ("size = 3", "difficulty", "'size' means nothing"),
    ],
)
def test_what_contradicts_itself_is_refused(options, knob, message):
    with pytest.raises(MdbenchError, match=message):
        parse_spec(SPEC.format(options=options, knob=knob), "it")


def test_an_axis_of_data_makes_data_of_its_own():
    spec = parse_spec(SPEC.format(options="train = 20\ntest = 16", knob="difficulty"), "it")
    from zoo_builder.specification.material import Material

    lessons = Material.of_spec(spec).lessons
    assert [lesson.dataset.equation.difficulty for lesson in lessons.values()] == [1, 2]
