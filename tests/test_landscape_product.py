"""Products of one network's Hessian against the dense one."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from zoo_builder.landscape.product import Differentiated


class Network(nn.Module):
    """Smooth, so that every parameter bends the loss; one parameter is not used, and one is used twice."""

    def __init__(self):
        super().__init__()
        self.inner, self.norm, self.outer = nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(6, 3)
        self.idle = nn.Parameter(torch.ones(2))
        self.scale = nn.Parameter(torch.tensor(1.3))

    def forward(self, x):
        return self.scale * self.outer(torch.tanh(self.scale * self.norm(self.inner(x))))


@pytest.fixture
def case():
    torch.manual_seed(0)
    network, inputs, targets = Network().double(), torch.randn(20, 5).double(), torch.arange(20) % 3
    parameters = list(network.parameters())

    def loss(examples):
        return functional.cross_entropy(network(inputs[examples]), targets[examples], reduction="sum") / 20

    names = [name for name, _ in network.named_parameters()]
    sizes = [parameter.numel() for parameter in parameters]

    def of_point(point):
        parts = {
            name: part.view_as(parameter)
            for name, part, parameter in zip(names, point.split(sizes), parameters, strict=True)
        }
        return functional.cross_entropy(torch.func.functional_call(network, parts, (inputs,)), targets)

    point = torch.cat([parameter.detach().flatten() for parameter in parameters])
    return parameters, loss, torch.func.jacrev(torch.func.grad(of_point))(point)


@pytest.mark.parametrize("kept", [2**29, 20_000, 0])
def test_products_are_those_of_the_dense_hessian(case, kept):
    parameters, loss, dense = case
    products = Differentiated(parameters, loss, 20, kept=kept)
    vectors = torch.randn(1, 4, len(dense)).double()
    for _ in range(2):
        torch.testing.assert_close(products(vectors), vectors @ dense)
        torch.testing.assert_close(products(vectors[:, :1], [0]), vectors[:, :1] @ dense)


@pytest.mark.parametrize("kept", [2**29, 0])
def test_diagonal_blocks_are_those_of_the_dense_hessian(case, kept):
    parameters, loss, dense = case
    products = Differentiated(parameters, loss, 20, kept=kept)
    at = 0
    for parameter in parameters:
        block = slice(at, at := at + parameter.numel())
        vectors = torch.randn(1, 2, parameter.numel()).double()
        torch.testing.assert_close(products.within(vectors, [0], block), vectors @ dense[block, block])


def test_what_memory_holds_is_computed_once_and_else_in_blocks(case):
    parameters, loss, dense = case
    asked = []

    def counting(examples):
        asked.append(examples.stop - examples.start)
        return loss(examples)

    vectors = torch.randn(1, 2, len(dense)).double()
    kept = Differentiated(parameters, counting, 20)
    asked.clear()
    for _ in range(3):
        kept(vectors)
    assert asked == [20]
    one_by_one = Differentiated(parameters, counting, 20, kept=0)
    asked.clear()
    for _ in range(3):
        one_by_one(vectors)
    assert asked == 60 * [1]


def test_a_plane_does_not_bend():
    parameters = [torch.ones(3, requires_grad=True), torch.ones(2, 2, requires_grad=True)]
    vectors = torch.randn(1, 2, 7)
    for loss in (lambda examples: parameters[0].sum(), lambda examples: torch.ones(())):
        products = Differentiated(parameters, loss, 1)
        assert not products(vectors).any()
        assert not products.within(vectors[:, :, 3:], None, slice(3, 7)).any()


def test_there_is_one_network(case):
    parameters, loss, dense = case
    with pytest.raises(ValueError, match=r"rows \[1\]"):
        Differentiated(parameters, loss, 20)(torch.zeros(1, 1, len(dense)).double(), [1])
