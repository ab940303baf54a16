"""Permutation alignment against permutations that are known, brute force, and what may not change."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from zoo_builder.landscape.alignment import Units, aligned, hidden_units, match, permuted, shuffled
from zoo_builder.landscape.surface import Layout
from zoo_builder.specification.models import cnn1d, cnn2d, mlp, resnet18
from zoo_builder.training.graph import UnknownLayerError

SEEDS = st.integers(0, 2**32 - 1)
KINDS = {
    "mlp": (lambda: mlp((5,), 3, 6, depth=3), (5,)),
    "mlp without norm": (lambda: mlp((5,), 3, 6, norm=False), (5,)),
    "cnn1d": (lambda: cnn1d((2, 24), 3, 5), (2, 24)),
    "cnn1d without norm": (lambda: cnn1d((2, 24), 3, 5, norm=False), (2, 24)),
    "cnn2d": (lambda: cnn2d((1, 9, 9), 3, 3), (1, 9, 9)),
    "cnn2d without norm": (lambda: cnn2d((1, 9, 9), 3, 3, depth=2, norm=False), (1, 9, 9)),
    "resnet18": (lambda: resnet18((3, 8, 8), 3, 2), (3, 8, 8)),
}


class Twice(nn.Module):
    """A layer that is called twice: the same units are at both of its ends."""

    def __init__(self):
        super().__init__()
        self.before, self.shared, self.behind = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = torch.relu(self.before(x))
        x = torch.relu(self.shared(x))
        return self.behind(torch.relu(self.shared(x)))


class Skipped(nn.Module):
    """An input that is added to hidden values ties them to their places; what is added to the output, too."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(4, 4), nn.Linear(4, 5), nn.Linear(5, 4)

    def forward(self, x):
        x = x + self.one(x)
        return x + self.three(torch.relu(self.two(x)))


def drawn(make, seed):
    """Return a network in float64 all of whose numbers are drawn: statistics, too."""
    chance = torch.Generator().manual_seed(seed)
    network = make().double().eval()
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.normal_(generator=chance)
            if name.endswith("running_var"):
                value.abs_()
    return network


def inner(one, other):
    return sum(float((one[name] * other[name]).sum()) for name in one)


def parameters(network):
    return {name: value.detach() for name, value in network.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_a_permuted_network_computes_the_same_and_is_put_back_in_order(kind, seed):
    make, shape = KINDS[kind]
    network = drawn(make, seed)
    rng = np.random.default_rng(seed)
    units = hidden_units(network, shape)
    orders = [rng.permutation(one.count) for one in units]
    other = make().double().eval()
    other.load_state_dict(permuted(network.state_dict(), units, orders))
    x = torch.from_numpy(rng.normal(size=(7, *shape)))
    with torch.no_grad():
        for training in (False, True):
            expected, found = network.train(training)(x), other.train(training)(x)
            assert (found - expected).norm() <= 1e-10 * expected.norm()
    found = match(parameters(network), parameters(other), units)
    for order, back in zip(orders, found, strict=True):
        np.testing.assert_array_equal(back, np.argsort(order))


@pytest.mark.parametrize("kind", KINDS)
def test_shuffling_moves_units_and_changes_no_output(kind):
    make, shape = KINDS[kind]
    network = drawn(make, 1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    other = shuffled(network, shape, np.random.default_rng(2))
    x = torch.randn(7, *shape, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        assert (network(x) - other(x)).norm() <= 1e-10 * network(x).norm()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    moved = [name for name, value in other.state_dict().items() if not torch.equal(value, before[name])]
    assert len(moved) > len(before) / 2


def test_units_told_by_hand():
    assert hidden_units(mlp((5,), 3, 6, norm=False), (5,)) == (
        Units(6, (("1.weight", 0), ("1.bias", 0), ("3.weight", 1))),
        Units(6, (("3.weight", 0), ("3.bias", 0), ("5.weight", 1))),
    )
    normalization = tuple((f"1.{name}", 0) for name in ("weight", "bias", "running_mean", "running_var"))
    # 24 → 11 positions of 4 channels each, behind one another, are the 44 features of the linear layer.
    assert hidden_units(cnn1d((2, 24), 3, 4, depth=1), (2, 24)) == (
        Units(4, (("0.weight", 0), *normalization, ("4.weight", 1))),
    )
    assert hidden_units(Skipped(), (4,)) == (Units(5, (("two.weight", 0), ("two.bias", 0), ("three.weight", 1))),)
    assert [one.count for one in hidden_units(Twice(), (3,))] == [4]
    assert hidden_units(nn.Sequential(nn.Linear(4, 2)), (4,)) == ()


def test_residual_additions_tie_the_channels_of_a_stage():
    units = hidden_units(resnet18((3, 8, 8), 10, 2), (3, 8, 8))
    # Four stages of two blocks: one order of channels a stage, one inside each block.
    assert sorted(one.count for one in units) == sorted([2, 4, 8, 16] + 2 * [2, 4, 8, 16])
    stage = next(one for one in units if ("0.weight", 0) in one.axes)
    assert {("3.conv2.weight", 0), ("4.conv2.weight", 0), ("3.conv1.weight", 1), ("5.conv1.weight", 1)} < set(
        stage.axes
    )
    assert ("5.shortcut.0.weight", 1) in stage.axes
    assert ("5.conv2.weight", 0) not in stage.axes


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_one_hidden_layer_is_matched_as_well_as_any_permutation_can(seed):
    one, other = (parameters(drawn(lambda: mlp((3,), 2, 4, depth=1), (seed + at) % 2**32)) for at in (0, 1))
    units = hidden_units(mlp((3,), 2, 4, depth=1), (3,))
    best = max(inner(one, permuted(other, units, [np.array(order)])) for order in permutations(range(4)))
    assert inner(one, permuted(other, units, match(one, other, units))) == pytest.approx(best, rel=1e-12)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_no_order_of_a_single_layer_improves_what_was_found(seed):
    def make():
        return mlp((3,), 2, 4, depth=3, norm=False)

    one, other = (parameters(drawn(make, (seed + at) % 2**32)) for at in (0, 1))
    units = hidden_units(make(), (3,))
    found = match(one, other, units)
    reached = inner(one, permuted(other, units, found))
    for at, order in product(range(3), permutations(range(4))):
        changed = [np.array(order) if at == i else kept for i, kept in enumerate(found)]
        assert inner(one, permuted(other, units, changed)) <= reached + 1e-9


@pytest.mark.parametrize("kind", ["mlp", "cnn2d", "resnet18"])
@settings(max_examples=5, deadline=None)
@given(seed=SEEDS)
def test_the_order_that_units_came_in_does_not_matter(kind, seed):
    make, shape = KINDS[kind]
    one, other = (drawn(make, (seed + at) % 2**32) for at in (0, 1))
    units = hidden_units(one, shape)
    rng = np.random.default_rng(seed)

    def result(reference, network):
        return permuted(parameters(network), units, match(parameters(reference), parameters(network), units))

    expected = result(one, other)
    assert all(torch.equal(value, expected[name]) for name, value in result(one, shuffled(other, shape, rng)).items())
    orders = [rng.permutation(unit.count) for unit in units]
    moved = make().double()
    moved.load_state_dict(permuted(one.state_dict(), units, orders))
    back = permuted(result(moved, other), units, [np.argsort(order) for order in orders])
    assert all(torch.equal(value, expected[name]) for name, value in back.items())


def test_units_at_both_ends_of_a_layer():
    network = drawn(Twice, 3)
    (order,) = (np.array([2, 0, 3, 1]),)
    units = hidden_units(network, (3,))
    other = permuted(parameters(network), units, [order])
    np.testing.assert_array_equal(match(parameters(network), other, units)[0], np.argsort(order))
    for seed in range(20):  # the objective is not linear here: a descent that trusted its assignments need not end
        one, two = parameters(drawn(Twice, seed)), parameters(drawn(Twice, seed + 100))
        reached = inner(one, permuted(two, units, match(one, two, units)))
        assert reached <= max(inner(one, permuted(two, units, [np.array(p)])) for p in permutations(range(4))) + 1e-9


def test_stacks_are_aligned_row_by_row():
    make, shape = KINDS["cnn1d"]
    networks = [drawn(make, seed) for seed in range(3)]
    others = [shuffled(network, shape, np.random.default_rng(5)) for network in networks]
    layout, units = Layout(networks[0]), hidden_units(networks[0], shape)

    def points(some):
        return torch.stack([nn.utils.parameters_to_vector(network.parameters()).detach() for network in some])

    assert not torch.equal(points(networks), points(others))
    torch.testing.assert_close(
        aligned(layout, units, points(networks), points(others)), points(networks), rtol=0, atol=0
    )


class OverTheLastAxis(nn.Module):
    """A linear layer over positions, which leaves channels where they are: no layer says so, and 8 is a multiple of 4."""

    def __init__(self):
        super().__init__()
        self.one, self.over, self.behind = nn.Conv1d(1, 4, 1), nn.Linear(8, 8), nn.Linear(32, 2)

    def forward(self, x):
        return self.behind(torch.flatten(self.over(torch.relu(self.one(x))), 1))


def hooked():
    network = mlp((5,), 3, 6, norm=False)
    network[2].register_forward_hook(lambda module, inputs, out: out * torch.arange(6))
    return network


@pytest.mark.parametrize(
    ("network", "shape"),
    [(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), (3,)), (OverTheLastAxis(), (1, 8)), (hooked(), (5,))],
    ids=["a layer that is not known", "a linear layer over positions", "a hook"],
)
def test_where_the_layers_do_not_say_what_is_computed(network, shape):
    with pytest.raises(UnknownLayerError):
        hidden_units(network, shape)
