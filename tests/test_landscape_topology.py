"""Topology against counting components level by level, planted wells, and losses known in closed form."""

import math
import types
from functools import cache

import gudhi
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from torch import nn
from torch.nn import functional

from mdbench.tables.schema import COLUMNS
from zoo_builder.landscape import topology
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Settings, Subject
from zoo_builder.landscape.opening import open_surface
from zoo_builder.specification.models import cnn1d, mlp

SHAPES = st.one_of(*(st.tuples(*[st.integers(2, side)] * axes) for axes, side in ((1, 12), (2, 6), (3, 4))))
#: Few different values, so that there are ties; sixteenths, so that sums and differences are exact.
GRIDS = SHAPES.flatmap(lambda shape: arrays(np.float64, shape, elements=st.integers(-40, 40).map(lambda n: n / 16)))
ODD = st.sampled_from([(3,), (7,), (5, 7), (7, 3), (3, 5, 3), (5, 5, 5)])
ODD_GRIDS = ODD.flatmap(lambda shape: arrays(np.float64, shape, elements=st.integers(-40, 40).map(lambda n: n / 16)))


def components(mask):
    """Number of components of a part of a grid, neighbours along diagonals included."""
    return ndimage.label(mask, np.ones([3] * mask.ndim))[1]


def alive(pairs, level):
    return int(((pairs[:, 0] <= level) & (level < pairs[:, 1])).sum())


def wells(depths, side=21, axes=2):
    """Cones of these depths in a plain of height 0, five points apart, their bottoms on points of the grid."""
    at = np.stack(np.meshgrid(*[np.arange(side)] * axes, indexing="ij"), -1)
    losses = np.zeros([side] * axes)
    for number, deep in enumerate(depths):
        middle = np.full(axes, 3)
        middle[0] += 5 * number
        losses = np.minimum(losses, deep * (np.linalg.norm(at - middle, axis=-1) / 2 - 1))
    return losses


@given(GRIDS)
def test_at_every_level_as_many_classes_live_as_there_are_components_and_holes(losses):
    basins, *others = topology.persistence(losses)
    for level in np.unique(losses):
        below = losses <= level
        assert alive(basins, level) == components(below)
        if losses.ndim == 2:
            # A hole is a part of what is higher, neighbours along axes alone, that does not reach the outside.
            outside = np.pad(~below, 1, constant_values=True)
            assert alive(others[0], level) == ndimage.label(outside)[1] - 1


@given(GRIDS)
def test_the_merge_tree_has_the_minima_and_the_components_of_every_level(losses):
    tree = topology.merge_tree(losses)
    np.testing.assert_array_equal(tree.heights, losses.ravel()[tree.vertices])
    assert (np.flatnonzero(tree.parents < 0) == [len(tree) - 1]).all()
    below = np.append(tree.heights[tree.parents[:-1]], np.inf)
    assert (below > tree.heights).all()
    for level in np.unique(losses):
        assert int(((tree.heights <= level) & (level < below)).sum()) == components(losses <= level)
    # At a pass two or more basins meet, and it is one node, however many there are.
    merges = np.setdiff1d(np.arange(len(tree)), tree.leaves)
    assert (np.bincount(tree.parents[:-1], minlength=len(tree))[merges] >= 2).all()


@given(GRIDS, st.integers(0, 30).map(lambda n: n / 16))
def test_the_merge_trees_pairs_are_gudhis(losses, threshold):
    cells = gudhi.CubicalComplex(dimensions=losses.shape[::-1], top_dimensional_cells=losses.ravel())
    expected = sorted(
        [birth, death]
        for dimension, (birth, death) in cells.persistence(homology_coeff_field=3)
        if dimension == 0 and threshold < death - birth < math.inf
    )
    tree = topology.merge_tree(losses, threshold)
    assert sorted(tree.pairs().tolist()) == expected
    assert len(tree.leaves) == len(expected) + 1
    basins, *_ = topology.persistence(losses, threshold)
    assert sorted(basins[1:].tolist()) == expected
    assert basins[0].tolist() == [losses.min(), np.inf]


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_planted_wells_persist_by_their_depths(axes):
    losses = wells([1, 3, 0.5, 2], axes=axes)
    basins, *_ = topology.persistence(losses)
    assert basins.tolist() == [[-3, np.inf], [-2, 0], [-1, 0], [-0.5, 0]]
    tree = topology.merge_tree(losses)
    # All four meet in the plain: one merge, with four children.
    assert (len(tree), tree.parents.tolist()) == (5, [4, 4, 4, 4, -1])
    assert tree.heights.tolist() == [-3, -2, -1, -0.5, 0]
    found = topology.described(losses)
    lengths = np.array([0.5, 1, 2, 3])
    shares = lengths / lengths.sum()
    assert found["minima"] == 4
    assert found["largest_persistence"] == 2
    assert found["total_persistence"] == 3.5
    assert found["persistence_entropy"] == pytest.approx(-(shares * np.log(shares)).sum())
    assert found["merge_tree_size"] == 5


def test_wells_that_meet_in_steps_make_two_merges():
    tree = topology.merge_tree(np.array([0.0, 2, 1, 5, 0.5]))
    assert tree.heights.tolist() == [0, 0.5, 1, 2, 5]
    assert tree.parents.tolist() == [3, 4, 3, 4, -1]
    assert tree.vertices.tolist() == [0, 4, 2, 1, 3]
    assert tree.pairs().tolist() == [[1, 2], [0.5, 5]]


def test_a_rampart_is_a_hole_and_the_basin_inside_it_as_deep_as_it_is_high():
    # Around the middle, 1 high but for a gap of 0.75; around that, a moat of −1, and outside 4.
    losses = np.full((9, 9), 4.0)
    losses[1:-1, 1:-1] = -1
    losses[2:-2, 2:-2] = 1
    losses[2, 4] = 0.75
    losses[3:-3, 3:-3] = 0
    basins, holes = topology.persistence(losses)
    assert basins.tolist() == [[-1, np.inf], [0, 0.75]]
    # The moat is a loop around what is higher; the gap cuts what it surrounds, but the rampart does not close it before 1.
    assert holes.tolist() == [[-1, 1]]
    assert topology.depth(losses) == 4


def test_a_narrow_oblique_valley_is_one_minimum():
    x, y = topology.grid(11, 2).T
    losses = (1000 * (x + 0.9 * y) ** 2 + (x - y) ** 2).reshape(11, 11)
    assert topology.described(losses)["minima"] == 1
    assert len(gudhi.CubicalComplex(vertices=losses).persistence()) > 2  # along axes alone it comes apart


def test_neighbours_along_axes_alone_make_minima_that_are_not_there():
    losses = np.random.default_rng(16).random((11, 11))
    basins, *_ = topology.persistence(losses)
    assert len(basins) == topology.described(losses)["minima"] == 15
    assert len(topology.merge_tree(losses).leaves) == 15
    along_axes = gudhi.CubicalComplex(vertices=losses)
    along_axes.compute_persistence()
    assert len(along_axes.persistence_intervals_in_dimension(0)) == 26


def test_a_loop_is_a_loop_as_soon_as_it_is_closed():
    """Whatever is inside it, and without anything that fills it first."""
    losses = np.zeros((3, 3))
    losses[1, 1] = 1
    basins, holes = topology.persistence(losses)
    assert (basins.tolist(), holes.tolist()) == ([[0, np.inf]], [[0, 1]])


@given(ODD_GRIDS)
def test_the_depth_is_the_first_level_at_which_the_middle_reaches_the_rim(losses):
    middle = tuple(side // 2 for side in losses.shape)
    rim = np.ones(losses.shape, dtype=bool)
    rim[(slice(1, -1),) * losses.ndim] = False
    for level in np.unique(losses):
        labels, _ = ndimage.label(losses <= level, np.ones([3] * losses.ndim))
        if labels[middle] and (labels[rim] == labels[middle]).any():
            break
    assert topology.depth(losses) == level - losses[middle]


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_quadratic_is_one_basin(axes):
    offsets = topology.grid(9, axes)
    losses = 7 + offsets**2 @ np.array([5.0, 3, 4][:axes])
    expected = {"minima": 1, "largest_persistence": 0, "total_persistence": 0, "persistence_entropy": 0}
    lowest = min([5, 3, 4][:axes])
    found = topology.described(losses.reshape((9,) * axes))
    assert found == expected | {"merge_tree_size": 1, "depth": pytest.approx(lowest)}


def test_a_plain_is_one_basin():
    found = topology.described(np.full((5, 5), 2.0))
    assert found == dict.fromkeys(found, 0) | {"minima": 1, "merge_tree_size": 1}


@given(ODD_GRIDS, st.integers(-64, 64), st.sampled_from([0.5, 2, 8]))
def test_constants_change_nothing_and_factors_scale(losses, constant, factor):
    found = topology.described(losses)
    assert topology.described(losses + constant) == pytest.approx(found)
    scaled = topology.described(factor * losses)
    for name, value in found.items():
        in_nats = name in ("largest_persistence", "total_persistence", "depth")
        assert scaled[name] == pytest.approx(factor * value if in_nats else value)


@given(ODD_GRIDS, st.randoms(use_true_random=False))
def test_it_does_not_matter_which_axis_is_which_nor_where_it_points(losses, random):
    axes = list(range(losses.ndim))
    random.shuffle(axes)
    turned = np.flip(losses.transpose(axes), [axis for axis in axes if random.random() < 0.5])
    assert topology.described(np.ascontiguousarray(turned)) == pytest.approx(topology.described(losses))


def test_entropies_of_bars():
    assert topology.persistence_entropy(np.full(7, 0.3)) == pytest.approx(math.log(7))
    assert topology.persistence_entropy(np.array([2.0])) == 0
    assert topology.persistence_entropy(np.array([1.0, 3.0])) == pytest.approx(math.log(4) - 0.75 * math.log(3))


def test_grids_run_from_minus_one_to_one_the_last_axis_fastest():
    assert topology.grid(3, 2).tolist() == [[x, y] for x in (-1, 0, 1) for y in (-1, 0, 1)]
    offsets = topology.grid(7, 3)
    assert offsets.shape == (343, 3)
    assert (offsets[343 // 2] == 0).all()


# Networks


def data(examples=24, shape=(1, 12), classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return Data.of(rng.standard_normal((examples, *shape)), rng.integers(0, classes, examples))


def networks(many=3, build=mlp, width=4, shape=(1, 12)):
    made = []
    for seed in range(many):
        torch.manual_seed(seed)
        network = build(shape, 3, width).double()
        with torch.no_grad():
            for name, value in network.named_buffers():
                if name.endswith("mean"):
                    value.normal_()
                elif name.endswith("var"):
                    value.uniform_(0.5, 2)
        made.append(network.eval())
    return made


@cache
def trained():
    """Networks near minima of their loss."""
    made, examples = networks(), data()
    for network in made:
        descent = torch.optim.Adam(network.parameters(), 0.03)
        for _ in range(60):
            descent.zero_grad()
            functional.cross_entropy(network(examples.inputs), examples.targets).backward()
            descent.step()
    return made


def subject(made=None, rows=None, shape=(1, 12), **more):
    made = made or networks(shape=shape)
    rows = range(len(made)) if rows is None else rows
    surface = open_surface([made[row] for row in rows], shape, dtype=torch.float64)
    return Subject(surface, data(shape=shape), names=[f"n{row}" for row in rows], **more)


@pytest.mark.parametrize("build", [mlp, cnn1d])
def test_filters_of_random_directions_are_as_long_as_the_networks_own_and_all_else_is_still(build):
    asked = subject(networks(build=build))
    directions = topology.random_directions(asked, 3)
    for row in range(3):
        own = dict(asked.surface.network(row).named_parameters())
        for axis in range(3):
            for name, value in asked.surface.layout.tensors(directions[row, axis]).items():
                if value.dim() < 2:
                    assert not value.any()
                else:
                    torch.testing.assert_close(value.flatten(1).norm(dim=1), own[name].detach().flatten(1).norm(dim=1))
                    # Gaussian within a filter: no two filters or axes point the same way.
                    assert not torch.allclose(
                        value / value.norm(), directions[row, axis - 1][: value.numel()].view_as(value)
                    )
    torch.testing.assert_close(topology.random_directions(asked, 2), directions[:, :2])
    torch.testing.assert_close(
        topology.filter_normalized(asked.surface.layout, asked.surface.points, 5 * directions), directions
    )


def test_sampled_losses_are_those_of_the_module_at_these_parameters(monkeypatch):
    monkeypatch.setattr(topology, "_CHUNK", 5000)  # several chunks
    made = networks()
    asked = subject(made)
    examples, directions = data(), topology.random_directions(asked, 2)
    offsets = topology.grid(5, 2)
    found = topology.sampled(asked.surface, examples, directions, offsets)
    for row, network in enumerate(made):
        own = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
        for at, offset in enumerate(offsets):
            place = own + torch.as_tensor(offset) @ directions[row]
            torch.nn.utils.vector_to_parameters(place, network.parameters())
            with torch.no_grad():
                loss = functional.cross_entropy(network(examples.inputs), examples.targets)
            assert found[row, at] == pytest.approx(loss.item(), rel=1e-12)


class Linear(nn.Module):
    """On the rows of the identity, its outputs are its parameters."""

    def __init__(self, values):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([values], dtype=torch.float64))

    def forward(self, x):
        return functional.linear(x, self.weight)


def known(loss, *places, **more):
    """Networks whose loss is a function of a few parameters, at some places."""
    size = len(places[0])
    surface = open_surface(
        [Linear(place) for place in places], (size,), loss=lambda out, _: loss(out[:, 0]), dtype=torch.float64
    )
    return Subject(surface, Data(torch.eye(size, dtype=torch.float64), torch.zeros(size, dtype=torch.int64)), **more)


def test_the_first_axis_of_a_grid_is_along_the_first_direction():
    asked = known(lambda w: torch.sin(3 * w[0]) + w[1] ** 3, [0.25, -0.5])
    directions = torch.tensor([[[0.0, 2], [0.5, 0]]], dtype=torch.float64)
    found = topology.sampled(asked.surface, asked.train, directions, topology.grid(5, 2)).reshape(5, 5)
    offsets = np.linspace(-1, 1, 5)
    expected = np.sin(3 * (0.25 + 0.5 * offsets[None, :])) + (-0.5 + 2 * offsets[:, None]) ** 3
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_eigenvectors_of_a_known_hessian_and_the_depth_along_them():
    curvatures, place = torch.tensor([1.0, 8, 2, 4], dtype=torch.float64), torch.tensor([3.0, -1, 2, 1]).double()
    asked = known(lambda w: (curvatures * (w - place) ** 2).sum() / 2, place.tolist())
    directions = topology.eigenvector_directions(asked, 3)
    reach = topology.EIGENVECTOR_REACH * math.sqrt(15)
    torch.testing.assert_close(directions[0], reach * torch.eye(4, dtype=torch.float64)[[1, 3, 2]])
    found = topology.measure(asked).networks
    assert found["topology_eigen_2d_depth"] == pytest.approx(4 * reach**2 / 2)
    assert found["topology_eigen_3d_depth"] == pytest.approx(2 * reach**2 / 2)
    for axes in (2, 3):
        assert found[f"topology_eigen_{axes}d_minima"] == 1
        assert found[f"topology_eigen_{axes}d_total_persistence"] == 0


class Parted(nn.Module):
    """As `Linear`, its parameters in two tensors."""

    def __init__(self, values):
        super().__init__()
        whole = torch.tensor([values], dtype=torch.float64)
        self.one, self.other = nn.Parameter(whole[:, :1].clone()), nn.Parameter(whole[:, 1:].clone())

    def forward(self, x):
        return functional.linear(x, torch.cat([self.one, self.other], 1))


def test_along_an_eigenvector_the_loss_is_as_curved_as_its_eigenvalue_says():
    """A direction is walked as it is: no tensor's part of it is longer or shorter."""
    direction = torch.tensor([0.96, 0.12, -0.16, 0.2]).double()
    direction /= direction.norm()
    place = torch.tensor([3.0, -1, 2, 1]).double()

    def loss(out, _):
        away = out[:, 0] - place
        return 50 * (direction @ away) ** 2 + 0.01 * (away @ away)

    surface = open_surface([Parted(place.tolist())], (4,), loss=loss, dtype=torch.float64)
    asked = Subject(surface, Data(torch.eye(4, dtype=torch.float64), torch.zeros(4, dtype=torch.int64)))
    (values,) = topology.sampled(
        surface, asked.train, topology.eigenvector_directions(asked, 1), topology.grid(topology.SIDES[2], 1)
    )
    step = 2 * topology.EIGENVECTOR_REACH * math.sqrt(15) / (topology.SIDES[2] - 1)
    assert np.diff(values, 2) / step**2 == pytest.approx(np.full(topology.SIDES[2] - 2, 100.02))


def test_two_wells_of_a_known_loss_are_found_with_their_pass():
    # Along w₀, wells at ±1 and a pass at 0: (w₀² − 1)² + w₀ / 4, to which w₁ adds a parabola.
    def loss(w):
        return 40 * ((w[0] ** 2 - 1) ** 2 + w[0] / 4) + 3 * w[1] ** 2

    asked = known(loss, [0.0, 0.0])
    directions = 1.25 * torch.eye(2, dtype=torch.float64)[None]
    losses = topology.sampled(asked.surface, asked.train, directions, topology.grid(21, 2)).reshape(21, 21)
    line = np.linspace(-1.25, 1.25, 21)
    values = 40 * ((line**2 - 1) ** 2 + line / 4)
    expected = values[7:14].max() - values[line > 0.5].min()
    found = topology.described(losses)
    assert (found["minima"], found["merge_tree_size"]) == (2, 3)
    assert found["largest_persistence"] == pytest.approx(expected)
    assert found["total_persistence"] == pytest.approx(expected)


def test_measured_alone_and_in_company():
    whole = topology.measure(subject(trained()))
    assert set(whole.networks) == {metric.column for metric in topology.METRICS} <= set(COLUMNS)
    assert not whole.network_reasons
    for rows in ([1], [2, 0]):
        part = topology.measure(subject(trained(), rows))
        for column, values in whole.networks.items():
            np.testing.assert_allclose(part.networks[column], values[rows], rtol=1e-6, err_msg=column)
    assert len(np.unique(whole.networks["topology_random_2d_depth"])) == 3


def test_measured_again_it_is_the_same_to_the_digit():
    one, other = (topology.measure(subject(trained())).networks for _ in range(2))
    for column, values in one.items():
        np.testing.assert_array_equal(values, other[column])


def test_measured_values_are_those_of_the_grids():
    asked = subject(settings=Settings(topology_sample=10))
    found = topology.measure(asked).networks
    directions = topology.random_directions(asked, 3)
    losses = topology.sampled(asked.surface, asked.train.first(10), directions, topology.grid(topology.SIDES[3], 3))
    for row in range(3):
        for name, value in topology.described(losses[row].reshape([topology.SIDES[3]] * 3)).items():
            assert found[f"topology_random_3d_{name}"][row] == value


def test_every_number_lies_within_its_bounds():
    found = topology.measure(subject(networks(build=cnn1d)))
    for metric in topology.METRICS:
        assert (found.networks[metric.column] >= metric.low).all()


def test_losses_that_are_not_finite():
    # The logarithm has no values below zero: one network's grid reaches there.
    asked = known(lambda w: (w - torch.log(w)).sum(), [1.0, 1.0, 1.0], [0.01, 1.0, 1.0])
    found = topology.measure(asked)
    columns = [metric.column for metric in topology.METRICS if "eigen" in metric.column]
    assert all(np.isfinite(found.networks[column][0]) and np.isnan(found.networks[column][1]) for column in columns)
    assert found.network_reasons[1].startswith("topology_eigen_2d_minima, ")
    assert "the loss on the grid is not finite" in found.network_reasons[1]


def test_fewer_parameters_than_axes():
    found = topology.measure(known(lambda w: (w**2).sum(), [1.0, 2.0]))
    assert np.isfinite(found.networks["topology_eigen_2d_minima"])
    assert np.isnan(found.networks["topology_eigen_3d_minima"])
    assert np.isnan(found.networks["topology_random_3d_minima"])
    assert found.network_reasons[0].startswith("topology_eigen_3d_minima, ")
    assert found.network_reasons[0].endswith("topology_random_3d_depth: there are fewer than 3 parameters")


def test_eigenvectors_that_did_not_converge(monkeypatch):
    asked = subject()
    vectors = topology.spectrum(asked).vectors.clone()
    vectors[1] = math.nan
    monkeypatch.setattr(topology, "spectrum", lambda _: types.SimpleNamespace(vectors=vectors))
    found = topology.measure(asked)
    assert list(found.network_reasons) == [1]
    assert found.network_reasons[1].endswith("topology_eigen_3d_depth: the Hessian's eigenvectors did not converge")
    for metric in topology.METRICS:
        assert np.isnan(found.networks[metric.column]).tolist() == [False, "eigen" in metric.column, False]


def test_weights_that_are_all_zero():
    made = networks()
    with torch.no_grad():
        for parameter in made[2].parameters():
            if parameter.dim() > 1:
                parameter.zero_()
    found = topology.measure(subject(made))
    assert np.isnan(found.networks["topology_random_2d_depth"]).tolist() == [False, False, True]
    assert "topology_random_3d_depth: all weights are zero" in found.network_reasons[2]
