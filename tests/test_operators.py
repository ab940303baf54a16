"""Operators on stacks, network by network against PyTorch's own, and their derivatives against finite differences."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from zoo_builder.training import operators, optimizers

torch.manual_seed(0)
PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def normal(*shape, requires_grad=False):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=requires_grad)


@st.composite
def convolutions(draw):
    kernel, stride = draw(PAIRS), draw(PAIRS)
    padding = tuple(draw(st.integers(0, size // 2)) for size in kernel)
    size = tuple(draw(st.integers(max(1, k - 2 * p), 7)) for k, p in zip(kernel, padding, strict=True))
    networks, channels, out, batch = (draw(st.integers(1, 4)) for _ in range(4))
    return kernel, stride, padding, size, networks, channels, out, batch


@given(convolutions(), st.booleans())
def test_convolution_is_that_of_each_network(case, biased):
    kernel, stride, padding, size, networks, channels, out, batch = case
    x = normal(networks, channels, *size, batch, requires_grad=True)
    weight = normal(networks, out, channels, *kernel, requires_grad=True)
    bias = normal(networks, out, requires_grad=True) if biased else None
    result = operators.convolve(x, weight, bias, stride, padding)
    expected = torch.stack(
        [
            functional.conv2d(x[s].movedim(-1, 0), weight[s], None if bias is None else bias[s], stride, padding)
            for s in range(networks)
        ]
    ).movedim(1, -1)
    torch.testing.assert_close(result, expected, **EXACT)
    inputs = [value for value in (x, weight, bias) if value is not None]
    slope = torch.randn_like(result)
    for mine, theirs in zip(
        torch.autograd.grad(result, inputs, slope), torch.autograd.grad(expected, inputs, slope), strict=True
    ):
        torch.testing.assert_close(mine, theirs, **EXACT)


def test_networks_may_share_their_input():
    x, weight = normal(1, 2, 5, 5, 3), normal(4, 3, 2, 3, 3)
    shared = operators.convolve(x, weight, None, (2, 1), (1, 1))
    each = operators.convolve(x.expand(4, -1, -1, -1, -1), weight, None, (2, 1), (1, 1))
    torch.testing.assert_close(shared, each, **EXACT)


@given(convolutions())
def test_unfolding_and_folding_are_adjoint(case):
    kernel, stride, padding, size, networks, channels, _, batch = case
    x = normal(networks, channels, *size, batch, requires_grad=True)
    unfolded = operators.unfold(x, kernel, stride, padding)
    other = torch.randn_like(unfolded)
    (folded,) = torch.autograd.grad(unfolded, x, other)
    torch.testing.assert_close((unfolded * other).sum(), (x * folded).sum(), **EXACT)


def test_convolution_can_be_differentiated_twice():
    x, weight = normal(2, 2, 4, 3, 2, requires_grad=True), normal(2, 2, 2, 2, 3, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, w: operators.convolve(x, w, None, (1, 2), (1, 1)) ** 2, (x, weight))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(3, 4, 6), (2, 3, 5, 4), (1, 2, 3, 2, 7)])
def test_normalization_is_that_of_each_network(shape, relu):
    x = (3 + 2 * normal(*shape)).requires_grad_()
    weight, bias = normal(*shape[:2], requires_grad=True), normal(*shape[:2], requires_grad=True)
    result, mean, variance = operators.normalize(x, weight, bias, 1e-5, relu=relu)
    expected = torch.stack(
        [
            functional.batch_norm(x[s].movedim(-1, 0), None, None, weight[s], bias[s], training=True)
            for s in range(shape[0])
        ]
    ).movedim(1, -1)
    expected = expected.relu() if relu else expected
    torch.testing.assert_close(result, expected, **EXACT)
    rows = x.detach().flatten(2)
    torch.testing.assert_close(mean, rows.mean(2), **EXACT)
    torch.testing.assert_close(variance, rows.var(2, correction=0), **EXACT)
    slope = torch.randn_like(result)
    inputs = (x, weight, bias)
    for mine, theirs in zip(
        torch.autograd.grad(result, inputs, slope), torch.autograd.grad(expected, inputs, slope), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-11)


def test_normalization_can_be_differentiated_twice():
    x, weight, bias = normal(2, 2, 3, 4, requires_grad=True), normal(2, 2, requires_grad=True), normal(2, 2)

    def mean_square(x, weight):
        return operators.normalize(x, weight, bias, 0.1)[0] ** 2

    assert torch.autograd.gradcheck(mean_square, (x, weight))
    assert torch.autograd.gradgradcheck(mean_square, (x, weight))


def test_what_is_not_a_number_stays_visible():
    x = normal(1, 2, 5)
    x[0, 1, 3] = torch.nan
    result, *_ = operators.normalize(x, torch.ones(1, 2).double(), torch.zeros(1, 2).double(), 1e-5, relu=True)
    assert result[0, 0].isfinite().all()
    assert result[0, 1].isnan().all()
    loss, _ = operators.cross_entropy(
        torch.tensor([[[torch.nan], [0.0]], [[torch.inf], [0.0]]]), torch.tensor([[1], [1]])
    )
    assert not loss.isfinite().any()


@given(st.integers(1, 3), st.integers(2, 5), st.integers(1, 6), st.floats(0.1, 100))
def test_cross_entropy_and_its_gradient(networks, classes, batch, scale):
    logits = (scale * normal(networks, classes, batch)).requires_grad_()
    labels = torch.randint(0, classes, (networks, batch))
    loss, slope = operators.cross_entropy(logits, labels)
    expected = functional.cross_entropy(logits, labels, reduction="none").mean(1)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slope, torch.autograd.grad(expected.sum(), logits)[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gathering(dtype):
    examples, chosen = torch.randn(9, 2, 5, dtype=dtype), torch.randint(0, 9, (3, 4))
    gathered = operators.gather(examples, chosen)
    assert gathered.shape == (3, 2, 5, 4)
    assert torch.equal(gathered, examples[chosen].movedim(1, -1))


def test_descent_is_that_of_pytorch_with_each_networks_own_rates():
    start = [normal(3, 4, 2), normal(3, 5)]
    rates, decays = torch.tensor([0.1, 0.01, 1.0]).double(), torch.tensor([0.0, 0.1, 0.01]).double()
    mine = [value.clone() for value in start]
    descent = optimizers.Descent(mine, 0.8, decays)
    slopes = [[torch.randn_like(value) for value in start] for _ in range(4)]
    for some in slopes:
        descent.step(some, rates)
    for s in range(3):
        alone = [value[s].clone().requires_grad_() for value in start]
        optimizer = torch.optim.SGD(alone, lr=rates[s].item(), momentum=0.8, weight_decay=decays[s].item())
        for some in slopes:
            for value, slope in zip(alone, some, strict=True):
                value.grad = slope[s]
            optimizer.step()
        for value, stacked in zip(alone, mine, strict=True):
            torch.testing.assert_close(stacked[s], value.detach(), rtol=1e-12, atol=1e-12)
