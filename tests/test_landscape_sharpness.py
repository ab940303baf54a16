"""Sharpness against closed forms, grids over the ball and rescaled networks; ensembles by hand."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from torch import nn
from torch.nn import functional

from mdbench.tables.schema import COLUMNS
from zoo_builder.landscape import diversity, sharpness
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Settings, Subject
from zoo_builder.landscape.opening import open_surface
from zoo_builder.landscape.sharpness import METRICS, Centre, average_rises, measure, searched_rises, worst_rises
from zoo_builder.specification.models import cnn1d, mlp

NETWORK = [metric.column for metric in METRICS if metric.of == "checkpoint"]
GROUP = [metric.column for metric in METRICS if metric.of == "configuration"]


def landscape(function, points):
    """A surface whose loss at w is function(w): one linear unit sees the unit vectors, so that its outputs are w."""
    points = torch.as_tensor(points, dtype=torch.float64)
    networks = [nn.Linear(points.shape[1], 1, bias=False).double() for _ in points]
    for network, point in zip(networks, points, strict=True):
        network.weight.data = point[None].clone()
    size = points.shape[1]
    surface = open_surface(networks, (size,), loss=lambda logits, _: function(logits[:, 0]), dtype=torch.float64)
    return surface, Data(torch.eye(size, dtype=torch.float64), torch.zeros(size, dtype=torch.int64))


def worst(function, points, **kwargs):
    surface, data = landscape(function, points)
    start = torch.as_tensor(np.random.default_rng(5).standard_normal(surface.points.shape))
    return worst_rises(surface, data, Centre.of(surface, data), start, **kwargs)


def average(function, points, radius, seed=0, **kwargs):
    surface, data = landscape(function, points)
    generators = [np.random.default_rng([seed, row]) for row in range(len(surface))]
    radii = torch.full((len(surface),), radius, dtype=torch.float64)
    return average_rises(surface, data, Centre.of(surface, data), generators, radii, **kwargs)


def curvature(size, seed):
    root = np.random.default_rng(seed).standard_normal((size, size))
    return root @ root.T


def quadratic(hessian, minimum):
    hessian, minimum = torch.as_tensor(hessian), torch.as_tensor(minimum)
    return lambda w: 0.5 * (w - minimum) @ hessian @ (w - minimum)


@pytest.mark.parametrize("radius", [0.01, 3.0])
def test_at_a_minimum_the_worst_is_half_the_square_of_the_radius_times_the_largest_eigenvalue(radius):
    hessian, minimum = curvature(5, 7), np.array([0.3, -2.0, 1.0, 0.0, 0.7])
    function = quadratic(hessian, minimum)
    expected = 0.5 * radius**2 * np.linalg.eigvalsh(hessian)[-1]
    assert worst(function, minimum[None], radius=radius, steps=30) == pytest.approx([expected], rel=1e-6)
    # In units of the parameters, the Hessian is D H D, D their absolute values.
    units = np.diag(np.abs(minimum))
    expected = 0.5 * radius**2 * np.linalg.eigvalsh(units @ hessian @ units)[-1]
    found = worst(function, minimum[None], radius=radius, scale=torch.as_tensor(np.abs(minimum))[None], steps=30)
    assert found == pytest.approx([expected], rel=1e-6)


def valley(w):
    """Neither convex nor symmetric."""
    return torch.log1p(torch.exp(3 * w[0] - w[1])) + torch.cos(2 * w[1]) + 0.3 * w[0] ** 2


@pytest.mark.parametrize("point", [[1.0, 0.4], [-0.5, 1.5], [0.2, -2.0]])
@pytest.mark.parametrize("adaptive", [False, True])
def test_in_two_dimensions_it_is_what_a_grid_over_the_ball_finds(point, adaptive):
    radius = 0.5
    scale = np.abs(point) if adaptive else np.ones(2)
    angles, radii = np.linspace(0, 2 * np.pi, 721), np.linspace(0, radius, 51)
    moves = (radii[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], 1)).reshape(-1, 2) * scale
    centre = torch.tensor(point, dtype=torch.float64)
    expected = float((torch.vmap(valley)(centre + torch.as_tensor(moves)) - valley(centre)).max())
    found = worst(valley, [point], radius=radius, scale=torch.as_tensor(scale)[None] if adaptive else None, steps=20)[0]
    assert found == pytest.approx(expected, rel=1e-3)
    assert found <= expected * (1 + 1e-4)  # as fine as the grid is


def test_along_a_slope_it_is_the_radius_times_the_gradient():
    slope = torch.tensor([3.0, -4.0, 12.0]).double()
    assert worst(lambda w: slope @ w, [[1.0, 2.0, 3.0]], radius=0.1) == pytest.approx([1.3])
    scale = torch.tensor([[1.0, 2.0, 3.0]]).double()
    expected = 0.1 * math.sqrt(3**2 + 8**2 + 36**2)
    assert worst(lambda w: slope @ w, [[1.0, 2.0, 3.0]], radius=0.1, scale=scale) == pytest.approx([expected])


def test_on_a_summit_nothing_rises():
    assert worst(lambda w: -(w @ w), [[0.0, 0.0, 0.0]]).tolist() == [0]


def test_the_average_at_a_minimum_is_the_square_of_the_radius_times_the_trace_over_twice_the_number():
    size, radius, many = 5, 0.7, 1000
    hessian, minimum = curvature(size, 3), np.arange(5.0)
    mean, error = average(quadratic(hessian, minimum), minimum[None], radius, many=many)
    trace, square = np.trace(hessian), np.trace(hessian @ hessian)
    assert mean[0] == pytest.approx(radius**2 * trace / (2 * size), abs=5 * error[0])
    # The variance of a quadratic form on the unit sphere is 2 (P tr H² − tr² H) / (P² (P + 2)).
    variance = 2 * (size * square - trace**2) / (size**2 * (size + 2))
    assert error[0] == pytest.approx(0.5 * radius**2 * math.sqrt(variance / many), rel=0.1)


def test_the_slope_is_no_part_of_the_average():
    """On a slope as steep as it may be, the mean and its error are those of the curvature alone."""
    hessian, minimum, away = curvature(4, 1), np.zeros(4), np.full(4, 1e4)
    at_minimum = average(quadratic(hessian, minimum), minimum[None], 0.5, many=30)
    elsewhere = average(quadratic(hessian, minimum), away[None], 0.5, many=30)
    np.testing.assert_allclose(elsewhere, at_minimum, rtol=1e-4)


def test_as_many_directions_are_asked_of_every_network():
    def asked(function, point, **kwargs):
        surface, data = landscape(function, [point])
        generator = np.random.default_rng(8)
        average_rises(surface, data, Centre.of(surface, data), [generator], torch.ones(1).double(), **kwargs)
        following = generator.standard_normal()
        stream = np.random.default_rng(8).standard_normal(len(point) * 40 + 1)
        return int(np.flatnonzero(stream == following)[0]) / len(point)

    assert asked(lambda w: w @ w, [0.0] * 3) == 20  # the same in all directions, and as soon known
    assert asked(quadratic(np.diag([1.0, 0, 0]), np.zeros(3)), [0.0] * 3) == 20
    assert asked(quadratic(np.diag([1.0, 0, 0]), np.zeros(3)), [0.0] * 3, many=25) == 25


class Steep:
    """Stands for a surface whose loss is the sum of the squares of the first 8 parameters: the rises are skewed, as χ² is."""

    def __init__(self, networks, parameters):
        self.points = torch.zeros(networks, parameters, dtype=torch.float64)

    def part(self, rows):
        return Steep(len(rows), self.points.shape[1])

    def scores(self, data, points):
        return points[..., :8].square().sum(-1), torch.zeros(points.shape[:2])


def test_the_standard_error_is_honest():
    networks, parameters, radius = 2000, 40, 3.0
    surface = Steep(networks, parameters)
    centre = Centre(torch.zeros(networks, dtype=torch.float64), torch.zeros_like(surface.points))
    generators = [np.random.default_rng(seed) for seed in range(networks)]
    radii = torch.full((networks,), radius, dtype=torch.float64)
    mean, error = average_rises(surface, None, centre, generators, radii)
    truth = radius**2 * 8 / parameters  # on a sphere all parameters are alike
    assert mean.mean() == pytest.approx(truth, abs=4 * mean.std() / math.sqrt(networks))
    # The squares of the errors that are said are on average the variance of the means, which 2,000 of them know to 3 %.
    # Where directions were asked until the error is 10 %, at most 30, they were 0.79 of it, and z had the deviation 1.18.
    assert np.mean(error**2) == pytest.approx(mean.var(), rel=0.1)
    z = (mean - truth) / error
    assert z.std() < 1.13  # Student's with 19 degrees of freedom has 1.06
    assert np.mean(np.abs(z) > 2) < 0.08


def some_data(n, seed, shape=(6,)):
    rng = torch.Generator().manual_seed(seed)
    return Data(torch.randn(n, *shape, generator=rng).double(), torch.randint(0, 4, (n,), generator=rng))


def rescaled_rises(factor, seed, *, adaptive):
    """Worst rises around a network, and around the same function with a layer's weights rescaled."""
    torch.manual_seed(seed)
    network = mlp((6,), 4, 8, depth=2, norm=False).double()
    rescaled = copy.deepcopy(network)
    for parameter in rescaled[1].parameters():
        parameter.data *= factor
    rescaled[3].weight.data /= factor
    data = some_data(50, seed)
    assert torch.allclose(network(data.inputs), rescaled(data.inputs))
    surface = open_surface([network, rescaled], (6,), dtype=torch.float64)
    scale = surface.points.abs() if adaptive else None
    return worst_rises(
        surface, data, Centre.of(surface, data), torch.ones_like(surface.points), radius=0.3, scale=scale
    )


@given(st.floats(0.05, 20), st.integers(0, 2**16))
@settings(max_examples=6)
def test_adaptive_sharpness_is_invariant_under_rescaling_that_changes_nothing(factor, seed):
    before, after = rescaled_rises(factor, seed, adaptive=True)
    assert after == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("factor", [0.05, 0.3, 3, 20])
def test_plain_sharpness_is_not(factor):
    """Or nothing would have been shown. At factors near 1, and at a few networks, it hardly moves: these are fixed."""
    before, after = rescaled_rises(factor, 0, adaptive=False)
    assert abs(after / before - 1) > 0.01


def networks(many, norm=True):
    torch.manual_seed(1)
    return [mlp((6,), 4, 8, norm=norm).double().eval() for _ in range(many)]


def subject_of(made, test=True, loss=None, **kwargs):
    surface = open_surface(made, (6,), dtype=torch.float64, loss=loss)
    return Subject(surface, some_data(90, 1), some_data(60, 2) if test else None, **kwargs)


def test_the_family_measures_the_loss_on_the_sample():
    (network,) = networks(1)
    with torch.no_grad():  # surer than at first, so that its loss is curved
        network[-1].weight.mul_(4)
    subject = subject_of([network], settings=Settings(train_sample=40), names=["network 0"])
    subject.train = Data(subject.train.inputs, network(subject.train.inputs).argmax(1))
    found = measure(subject).networks
    data = subject.train.first(40)
    loss = functional.cross_entropy(network(data.inputs), data.targets)
    slopes = torch.autograd.grad(loss, list(network.parameters()))
    weights = [value.detach().clone() for value in network.parameters()]

    def rise(moves):
        with torch.no_grad():
            for parameter, weight, move in zip(network.parameters(), weights, moves, strict=True):
                parameter.copy_(weight + move)
            return float(functional.cross_entropy(network(data.inputs), data.targets) - loss)

    def length(moves):
        return math.sqrt(sum(float(move.square().sum()) for move in moves))

    # At least what sharpness-aware minimization sees.
    one_step = rise([0.1 * s / length(slopes) for s in slopes])
    assert 0 < one_step <= found["sharpness_worst"][0] < 2 * one_step
    slope = length([w * s for w, s in zip(weights, slopes, strict=True)])
    one_step = rise([0.1 * w.square() * s / slope for w, s in zip(weights, slopes, strict=True)])
    assert 0 < one_step <= found["sharpness_adaptive"][0] < 2 * one_step

    generator = torch.Generator().manual_seed(0)
    rises = []
    for _ in range(500):
        moves = [torch.randn(w.shape, generator=generator).double() for w in weights]
        factor = 0.05 * length(weights) / length(moves)
        rises.append((rise([factor * m for m in moves]) + rise([-factor * m for m in moves])) / 2)
    error = math.hypot(found["sharpness_average_se"][0], np.std(rises) / math.sqrt(500))
    assert error < 0.15 * abs(np.mean(rises))  # or nothing would have been shown
    assert found["sharpness_average"][0] == pytest.approx(np.mean(rises), abs=4 * error)


def test_company_changes_nothing():
    torch.manual_seed(2)
    made = [cnn1d((1, 12), 4, 3).double().eval() for _ in range(4)]
    names = ["one", "two", "three", "four"]

    def of(rows, **kwargs):
        surface = open_surface([made[row] for row in rows], (1, 12), dtype=torch.float64)
        data = some_data(60, 1, (1, 12)), some_data(50, 2, (1, 12))
        return measure(Subject(surface, *data, names=[names[row] for row in rows], **kwargs))

    together = of(range(4), groups=[[0, 2], [1, 3]])
    assert list(together.networks) == NETWORK
    assert list(together.configurations) == GROUP
    assert {*NETWORK, *GROUP} <= set(COLUMNS)
    assert not together.network_reasons
    assert not together.configuration_reasons
    for row in range(4):
        for column, values in of([row]).networks.items():
            assert values[0] == pytest.approx(together.networks[column][row], rel=1e-9), column
    for at, rows in enumerate(([0, 2], [1, 3])):
        for column, values in of(rows).configurations.items():
            assert values[0] == pytest.approx(together.configurations[column][at], rel=1e-12), column
    for metric in METRICS:
        values = (together.networks if metric.of == "checkpoint" else together.configurations)[metric.column]
        assert metric.low is None or (values >= metric.low).all()
        assert metric.high is None or (values <= metric.high).all()


def test_company_changes_nothing_where_networks_have_no_names():
    """A network's random directions are its own, wherever it stands."""
    made = networks(3)
    together = measure(subject_of(made)).networks
    for row, network in enumerate(made):
        alone = measure(subject_of([network])).networks
        for column, values in alone.items():
            assert values[0] == pytest.approx(together[column][row], rel=1e-9), column
    twice = subject_of([made[0], made[1], made[0]])
    assert len(set(twice.names)) == 3  # each has directions of its own
    assert twice.names[:2] == subject_of(made).names[:2]
    single = Subject(open_surface([network.float() for network in made], (6,)), some_data(90, 1))
    doubled = Subject(open_surface([network.double() for network in made], (6,), dtype=torch.float64), some_data(90, 1))
    assert single.names == doubled.names  # precision is not another network


def test_ensembles_by_hand():
    # Three networks, four examples of class 0, two classes. Alone they err on 2, 1 and 1; together on the second one only.
    first = torch.tensor([[0.9, 0.1, 0.4, 0.9], [0.8, 0.2, 0.8, 0.8], [0.7, 0.9, 0.7, 0.2]]).double()
    probabilities, labels = torch.stack([first, 1 - first], 2), torch.zeros(4, dtype=torch.int64)
    assert diversity.ensemble_error(probabilities, labels) == 25
    predictions = probabilities.argmax(2).numpy()
    # Pairs differ on 1, 3 and 2 of 4 examples: half on average; a third of the predictions are wrong.
    assert diversity.disagreement_error_ratio(predictions, labels.numpy()) == pytest.approx(0.5 / (4 / 12))
    assert math.isnan(diversity.disagreement_error_ratio(np.zeros((3, 4)), np.zeros(4)))
    variances = [2 * np.var(first[:, at].numpy(), ddof=1) for at in range(4)]
    assert diversity.predictive_variance(probabilities) == pytest.approx(np.mean(variances))
    sure = functional.one_hot(torch.tensor([[0, 0], [1, 1]]), 2).double()
    assert diversity.predictive_variance(sure) == 1


def test_the_family_asks_the_ensemble_of_every_group():
    made = networks(5)
    subject = subject_of(made, groups=[[0, 1, 2], [3, 4]])
    found = measure(subject).configurations
    with torch.no_grad():
        said = [network(subject.test.inputs).softmax(1) for network in made]
    labels = subject.test.targets
    for at, rows in enumerate(subject.groups):
        errors = [100 * float((said[row].argmax(1) != labels).double().mean()) for row in rows]
        together = 100 * float((sum(said[row] for row in rows).argmax(1) != labels).double().mean())
        assert found["ensemble_test_error"][at] == pytest.approx(together)
        assert found["ensemble_gain"][at] == pytest.approx(np.mean(errors) - together)
        pairs = [(i, j) for i in rows for j in rows if i != j]
        differ = [100 * float((said[i].argmax(1) != said[j].argmax(1)).double().mean()) for i, j in pairs]
        assert found["ensemble_diversity"][at] == pytest.approx(np.mean(differ) / np.mean(errors))


def test_what_has_no_ensemble():
    found = measure(subject_of(networks(3), groups=[[0], [1, 2]]))
    every = ", ".join(GROUP)
    assert found.configuration_reasons == {0: f"{every}: there is one network, and no other to compare it with"}
    assert np.isfinite([values[1] for values in found.configurations.values()]).all()
    found = measure(subject_of(networks(2), test=False))
    assert found.configuration_reasons == {0: f"{every}: there are no test data"}
    assert np.isfinite([*found.networks.values()]).all()
    # A loss of one's own has a landscape, but no classes.
    found = measure(subject_of(networks(2), loss=lambda logits, targets: logits.square().mean()))
    assert found.configuration_reasons == {0: f"{every}: the loss is not the cross-entropy of classes"}
    assert np.isfinite([*found.networks.values()]).all()
    assert np.isnan([*found.configurations.values()]).all()


def test_networks_that_never_err_have_no_ratio():
    made = networks(2)
    subject = subject_of(made)
    with torch.no_grad():
        for network in made:
            network[-1].weight.zero_()
            network[-1].bias.copy_(torch.tensor([5.0, 0, 0, 0]))
    subject = subject_of(made)
    subject.test = Data(subject.test.inputs, torch.zeros_like(subject.test.targets))
    found = measure(subject)
    assert found.configuration_reasons == {0: "ensemble_diversity: no network errs on test data"}
    assert np.isnan(found.configurations["ensemble_diversity"]).all()
    assert found.configurations["ensemble_test_error"] == found.configurations["ensemble_gain"] == [0]


def test_networks_that_are_not_finite():
    made = networks(2)
    made[1][-1].bias.data[0] = torch.nan
    found = measure(subject_of(made))
    assert np.isfinite([values[0] for values in found.networks.values()]).all()
    assert np.isnan([values[1] for values in found.networks.values()]).all()
    assert found.network_reasons == {
        1: f"{', '.join(NETWORK)}: the loss on the sample, or near the network, is not finite"
    }
    assert found.configuration_reasons == {0: f"{', '.join(GROUP)}: a network's outputs are not finite"}


def test_metrics_of_the_family_are_joined():
    assert set(diversity.METRICS) < set(sharpness.METRICS)


# Where the gradient says nothing.


def largest_rise_of_equal_outputs(classes, radius):
    """Of the mean cross-entropy of equally frequent classes, in a ball of logits: at its centre all are equal."""
    directions = np.random.default_rng(0).standard_normal((20_000, classes))
    directions -= directions.mean(1, keepdims=True)
    spike = np.append(classes - 1.0, -np.ones(classes - 1))  # by the third derivative, the steepest
    logits = np.concatenate([directions, spike[None]])
    logits *= radius / np.linalg.norm(logits, axis=1, keepdims=True)
    return float((np.log(np.exp(logits).sum(1)) - logits.mean(1)).max() - math.log(classes))


def dead(classes, dtype, constant=0.0):
    """A network whose first units are dead; behind them, features are a constant."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, classes)).to(dtype)
    with torch.no_grad():
        network[0].bias.fill_(-100)
        network[2].bias.fill_(constant)
        network[2].weight.zero_()
        network[4].weight.zero_()
        network[4].bias.zero_()
    return network.eval()


def balanced(classes, examples, dtype, order="alternating"):
    rng = torch.Generator().manual_seed(1)
    labels = torch.arange(examples) % classes
    labels = labels.sort().values if order == "sorted" else labels
    return Data(torch.randn(examples, 5, generator=rng).to(dtype), labels)


@pytest.mark.parametrize("order", ["alternating", "sorted"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("classes", "examples"), [(2, 40), (3, 9), (10, 500), (10, 1000), (30, 900)])
def test_a_network_with_dead_units_is_as_sharp_as_its_output_biases(classes, examples, dtype, order):
    data = balanced(classes, examples, dtype, order)
    subject = Subject(open_surface([dead(classes, dtype)], (5,), dtype=dtype), data)
    expected = largest_rise_of_equal_outputs(classes, sharpness.RADIUS)
    assert measure(subject).networks["sharpness_worst"] == pytest.approx([expected], rel=5e-3)
    # In units of its parameters, of which all that count are zero, it cannot be moved.
    assert measure(subject).networks["sharpness_adaptive"] == pytest.approx([0], abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", [None, functional.cross_entropy])
def test_large_constants_behind_dead_units_do_not_hide_that_the_gradient_is_rounding(dtype, loss):
    # Logits move by δb + δW h: as far as in a ball of the radius times √(1 + |h|²), of which the biases of h move little.
    constant = 3.0
    data = balanced(10, 1000, dtype)
    subject = Subject(open_surface([dead(10, dtype, constant)], (5,), dtype=dtype, loss=loss), data)
    reach = math.sqrt(1 + 8 * constant**2)
    expected = largest_rise_of_equal_outputs(10, sharpness.RADIUS * reach)
    (found,) = measure(subject).networks["sharpness_worst"]
    assert expected * 0.998 < found < expected * 1.02


def test_where_classes_are_not_equally_frequent_or_some_units_live_the_gradient_is_followed():
    """And then a search over many directions finds no more."""
    network, data = dead(4, torch.float64), balanced(4, 90, torch.float64)
    with torch.no_grad():
        network[0].bias[:4] = 0
        network[2].weight.normal_(generator=torch.Generator().manual_seed(0))
    subject = Subject(open_surface([network], (5,), dtype=torch.float64), data)
    (found,) = measure(subject).networks["sharpness_worst"]
    centre, start = Centre.of(subject.surface, data), torch.zeros_like(subject.surface.points)
    assert found == worst_rises(subject.surface, data, centre, start)[0]  # to the digit
    starts = torch.randn(1, 40, start.shape[1], generator=torch.Generator().manual_seed(2)).double()
    searched = searched_rises(subject.surface, data, centre.losses, starts, scale=torch.ones_like(start))
    assert found == pytest.approx(searched[0], rel=0.02)
    directions = torch.randn(1, 2000, start.shape[1], generator=torch.Generator().manual_seed(3)).double()
    points = subject.surface.points[:, None] + 0.1 * directions / directions.norm(dim=2, keepdim=True)
    assert found > float(subject.surface.scores(data, points)[0].max() - centre.losses)


def test_at_a_saddle_the_search_climbs_along_what_is_curved_upwards():
    curvatures = np.array([1.0, -100, -50, 0.5, -100])
    function, points = quadratic(np.diag(curvatures), np.zeros(5)), np.zeros((1, 5))
    assert worst(function, points).tolist() == [0]  # each step goes where the loss falls most
    surface, data = landscape(function, points)
    starts = torch.as_tensor(np.random.default_rng(0).standard_normal((1, 4, 5)))
    found = searched_rises(surface, data, torch.zeros(1).double(), starts, scale=torch.ones(1, 5).double())
    assert found == pytest.approx([0.5 * 0.1**2], rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_product_of_weights_that_are_zero_is_a_saddle(dtype):
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).to(dtype)
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    x = torch.linspace(-1, 1, 50)[:, None].to(dtype)
    surface = open_surface([network], (1,), loss=lambda out, y: 0.5 * (out - y).square().mean(), dtype=dtype)
    found = measure(Subject(surface, Data(x, x))).networks
    # ½ E x² (1 − uv)², and uv is at least −r²/2.
    power = 0.5 * float(x.square().mean())
    expected = power * ((1 + sharpness.RADIUS**2 / 2) ** 2 - 1)
    assert found["sharpness_worst"] == pytest.approx([expected], rel=1e-3)
    assert found["sharpness_adaptive"].tolist() == [0]


def test_company_changes_nothing_where_the_gradient_says_nothing():
    data = balanced(4, 80, torch.float64)
    torch.manual_seed(3)
    other = copy.deepcopy(dead(4, torch.float64))
    for parameter in other.parameters():
        nn.init.normal_(parameter, std=0.3)
    made, names = [other, dead(4, torch.float64), other], ["other", "dead", "again"]
    together = measure(Subject(open_surface(made, (5,), dtype=torch.float64), data, names=names)).networks
    for row in range(3):
        surface = open_surface([made[row]], (5,), dtype=torch.float64)
        alone = measure(Subject(surface, data, names=[names[row]])).networks
        for column, values in alone.items():
            assert values[0] == pytest.approx(together[column][row], rel=1e-9), column


def test_divergence_between_pairs_is_that_of_scipy():
    logits = torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p = logits.softmax(2).numpy()
    pairs = [entropy(p[i], p[j], axis=1).mean() for i in range(3) for j in range(3) if i != j]
    assert diversity.pairwise_divergence(logits) == pytest.approx(np.mean(pairs))
    assert diversity.pairwise_divergence(logits[:1].expand(2, -1, -1)) == pytest.approx(0, abs=1e-12)


def test_inputs_are_moved_by_noise_of_its_standard_deviation():
    data = diversity.Data(torch.ones(2000, 5), torch.zeros(2000, dtype=torch.int64))
    moved = diversity.shifted(data, 0.5)
    assert (moved.tensor - 1).std().item() == pytest.approx(0.5, rel=0.03)
    assert torch.equal(moved.tensor, diversity.shifted(data, 0.5).tensor)
