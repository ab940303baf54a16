"""Stacks compute what their networks compute, in training and evaluation, whatever the network is made of."""

import pytest
import torch
from torch import nn

from mdbench.errors import MdbenchError
from zoo_builder.specification.models import cnn1d, cnn2d, mlp, resnet18
from zoo_builder.training.program import program_of
from zoo_builder.training.stack import Stack


class Residual(nn.Module):
    """Everything that has a stacked form besides layers: additions, functions, methods, a way around nothing."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.two = nn.Conv2d(4, 4, (1, 3), padding=(0, 1), bias=False)
        self.other = nn.BatchNorm2d(4, momentum=0.3, eps=1e-3)
        self.around = nn.Identity()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.last = nn.Linear(4, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.one(x)))
        y = self.two(x)
        y += self.around(x)
        y = torch.add(self.other(y).relu(), x)
        return self.last(torch.flatten(self.pool(nn.functional.relu(y)), 1))


class Viewing(nn.Module):
    """A view by the batch's size, which no stacked form knows, in front of batch normalization."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(12)
        self.last = nn.Linear(12, 5)

    def forward(self, x):
        return self.last(torch.tanh(self.norm(x.view(x.size(0), -1))))


class Twice(nn.Module):
    """A normalization whose output is used by a ReLU and by something else: they must not be fused."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.flat = nn.Flatten()
        self.last = nn.Linear(12, 5)

    def forward(self, x):
        y = self.norm(x)
        return self.last(self.flat(torch.relu(y) + y))


class InPlace(nn.Module):
    """Works in place where nobody sees it, or also where somebody does."""

    def __init__(self, seen):
        super().__init__()
        self.one, self.norm, self.last = nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Linear(9, 5)
        self.relu, self.flat, self.seen = nn.ReLU(inplace=True), nn.Flatten(), seen

    def forward(self, x):
        x = self.one(x)
        y = self.norm(x)
        y += x
        z = self.flat(y if self.seen == "as a view" else self.relu(y))
        if self.seen == "as a view":
            return self.last(self.relu(z) + self.flat(y))
        return self.last(self.flat(y) + z if self.seen == "itself" else z)


class Method(nn.Module):
    """Flattens by a tensor's method."""

    def __init__(self):
        super().__init__()
        self.one, self.last = nn.Conv1d(2, 3, 2), nn.Linear(9, 5)

    def forward(self, x):
        return self.last(torch.flatten(self.one(x).flatten(1), start_dim=1))


class Other(nn.Module):
    """What a trace does not see, or not rightly."""

    def __init__(self, how):
        super().__init__()
        self.one, self.norm, self.last = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 5)
        self.relu, self.how = nn.ReLU(inplace=True), how
        if how == "hook":
            self.one.register_forward_hook(lambda module, inputs, output: 2 * output)

    def train(self, mode=True):
        super().train(mode)
        if self.how == "kept statistics":
            self.norm.eval()
        return self

    def forward(self, x):
        x = self.norm(self.one(x))
        if self.how == "unassigned":
            self.relu(x)
        if self.how == "branch":
            return self.last(x) if self.training else self.last(x + x)
        return self.last(torch.relu(input=x) if self.how == "by name" else torch.relu(x))


class TiedWeights(nn.Module):
    """One matrix in two layers."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.two(torch.tanh(self.one(x)))


class Stopped(nn.Module):
    """Lets no gradient through to its first layer."""

    def __init__(self):
        super().__init__()
        self.one, self.last = nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, x):
        with torch.no_grad():
            x = self.one(x)
        return self.last(x)


NETWORKS = {
    "mlp": (lambda: mlp((2, 6), 5, 4), (2, 6), "stacked"),
    "mlp, deep": (lambda: mlp((7,), 5, 3, depth=4), (7,), "stacked"),
    "cnn1d": (lambda: cnn1d((2, 30), 5, 3), (2, 30), "stacked"),
    "cnn1d without norm": (lambda: cnn1d((1, 30), 5, 3, depth=2, norm=False), (1, 30), "stacked"),
    "cnn2d": (lambda: cnn2d((1, 9, 7), 5, 2), (1, 9, 7), "stacked"),
    "resnet18": (lambda: resnet18((2, 8, 8), 5, 2), (2, 8, 8), "stacked"),
    "residual": (Residual, (2, 5, 6), "stacked"),
    "twice": (Twice, (3, 4), "stacked"),
    "in place": (lambda: InPlace(""), (2, 4), "stacked"),
    "in place, seen": (lambda: InPlace("itself"), (2, 4), "mapped"),
    "in place, seen as a view": (lambda: InPlace("as a view"), (2, 4), "mapped"),
    **{
        how: (lambda how=how: Other(how), (4,), "mapped")
        for how in ("hook", "unassigned", "branch", "kept statistics", "by name")
    },
    "rows": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Flatten(), nn.Linear(6, 5)), (2, 4), "mapped"),
    "method": (Method, (2, 4), "stacked"),
    "viewing": (Viewing, (3, 4), "mapped"),
    "grouped": (lambda: nn.Sequential(nn.Conv1d(4, 4, 3, groups=2), nn.Flatten(), nn.Linear(8, 5)), (4, 4), "mapped"),
    "dilated": (lambda: nn.Sequential(nn.Conv1d(2, 3, 2, dilation=2), nn.Flatten(), nn.Linear(6, 5)), (2, 4), "mapped"),
    "gelu": (lambda: nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 5)), (4,), "mapped"),
    "same": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 3, padding="same"), nn.Flatten(), nn.Linear(12, 5)),
        (2, 4),
        "mapped",
    ),
}


def networks(make, count=3):
    torch.manual_seed(0)
    made = [make().double() for _ in range(count)]
    for network in made:  # affine parameters and statistics that are not all the same
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1, 0.3)
                nn.init.normal_(module.bias, 0, 0.3)
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return made


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_stack_computes_what_its_networks_compute(name, training):
    make, shape, form = NETWORKS[name]
    alone = networks(make)
    stack = Stack(alone, shape, dtype=torch.float64)
    assert stack.program.form == form
    assert len(stack) == 3
    x = torch.randn(3, 6, *shape, dtype=torch.float64)
    out = stack(x.movedim(1, -1), training=training)
    expected = torch.stack([network.train(training)(x[s]) for s, network in enumerate(alone)]).transpose(1, 2)
    torch.testing.assert_close(out, expected, rtol=1e-11, atol=1e-12)
    slopes = torch.autograd.grad((out**3).sum(), list(stack.parameters.values()))
    each = [
        torch.autograd.grad((expected[s] ** 3).sum(), list(alone[s].parameters()), retain_graph=True) for s in range(3)
    ]
    for slope, own in zip(slopes, zip(*each, strict=True), strict=True):
        torch.testing.assert_close(slope, torch.stack(own), rtol=1e-9, atol=1e-10)
    for s, network in enumerate(alone):
        for key, value in network.state_dict().items():
            torch.testing.assert_close(stack.state(s)[key], value, rtol=1e-11, atol=1e-12, check_dtype=True)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_may_see_the_same_inputs(name):
    make, shape, _ = NETWORKS[name]
    alone = networks(make)
    x = torch.randn(6, *shape, dtype=torch.float64)
    out = Stack(alone, shape, dtype=torch.float64)(x.movedim(0, -1)[None], training=False)
    expected = torch.stack([network.eval()(x) for network in alone]).transpose(1, 2)
    torch.testing.assert_close(out, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["cnn1d", "viewing"])
def test_hessian_vector_products_go_through_a_stack(name):
    make, shape, _ = NETWORKS[name]
    alone = networks(make, 2)
    stack = Stack(alone, shape, dtype=torch.float64)
    x = torch.randn(2, 6, *shape, dtype=torch.float64)

    def product(out, parameters):
        slopes = torch.autograd.grad((out**2).mean(), parameters, create_graph=True)
        return torch.autograd.grad(sum((slope * slope).sum() for slope in slopes), parameters)

    loss = stack(x.movedim(1, -1), training=True)
    for s, network in enumerate(alone):
        stacked = product(loss[s].T, list(stack.parameters.values()))
        own = product(network.train()(x[s]), list(network.parameters()))
        for mine, theirs in zip(stacked, own, strict=True):
            torch.testing.assert_close(mine[s], theirs, rtol=1e-8, atol=1e-9)
            assert not mine[1 - s].any()
        loss = stack(x.movedim(1, -1), training=True)


def test_a_part_of_a_stack_is_a_copy():
    make, shape, _ = NETWORKS["cnn1d"]
    alone = networks(make, 4)
    stack = Stack(alone, shape, dtype=torch.float64)
    part = stack.part(torch.tensor([2, 0]))
    x = torch.randn(1, *shape, 5, dtype=torch.float64)
    whole = stack(x, training=False)
    torch.testing.assert_close(part(x, training=False), whole[[2, 0]], rtol=1e-12, atol=1e-12)
    for value in part.parameters.values():
        value.detach().zero_()
    torch.testing.assert_close(stack(x, training=False), whole, rtol=0, atol=0)


def test_networks_of_different_shapes_do_not_stack():
    with pytest.raises(ValueError, match="same names and shapes"):
        Stack([mlp((4,), 5, 3), mlp((4,), 5, 2)], (4,))
    with pytest.raises(ValueError, match="at least one"):
        Stack([], (4,))


def test_a_stack_leaves_its_networks_as_they_are():
    network = mlp((4,), 5, 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    stack = Stack([network, network], (4,))
    for value in (*stack.parameters.values(), *stack.buffers.values()):
        value.detach().zero_()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert program_of(network, (4,)).form == "stacked"


def test_gradients_that_a_network_stops_are_stopped():
    torch.manual_seed(0)
    stack = Stack([Stopped().double()], (4,), dtype=torch.float64)
    assert stack.program.form == "mapped"
    logits = stack(torch.randn(1, 4, 6, dtype=torch.float64), training=True)
    slopes = torch.autograd.grad(logits.sum(), list(stack.parameters.values()), allow_unused=True)
    assert [slope is None for slope in slopes] == [True, True, False, False]


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_weights_that_layers_share_are_shared(training):
    alone = networks(TiedWeights)
    stack = Stack(alone, (4,), dtype=torch.float64)
    x = torch.randn(3, 6, 4, dtype=torch.float64)
    out = stack(x.movedim(1, -1), training=training)
    expected = torch.stack([network(x[s]) for s, network in enumerate(alone)]).transpose(1, 2)
    torch.testing.assert_close(out, expected, rtol=1e-11, atol=1e-12)
    slopes = torch.autograd.grad((out**3).sum(), stack.parameters["one.weight"])[0]
    own = torch.autograd.grad((expected**3).sum(), [network.one.weight for network in alone])
    torch.testing.assert_close(slopes, torch.stack(own), rtol=1e-9, atol=1e-10)


def test_a_state_has_every_name_of_a_tensor():
    alone = networks(TiedWeights)
    stack = Stack(alone, (4,), dtype=torch.float64)
    for row, network in enumerate(alone):
        state = stack.state(row)
        assert list(state) == list(network.state_dict())
        assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
        TiedWeights().double().load_state_dict(state)


def test_buffers_that_are_not_kept_are_not_in_a_state():
    network = mlp((4,), 5, 3)
    network.register_buffer("shift", torch.ones(3), persistent=False)
    assert set(Stack([network], (4,)).state(0)) == set(network.state_dict())


@pytest.mark.parametrize(
    ("make", "said"),
    [(lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout()), "random"), (lambda: nn.BatchNorm1d(4), "batch size")],
)
def test_what_cannot_be_mapped_says_why(make, said):
    stack = Stack([make()], (4,))
    assert stack.program.form == "mapped"
    with pytest.raises(MdbenchError, match=said):
        stack(torch.randn(1, 4, 1), training=True)
