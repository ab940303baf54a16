"""Every architecture as one function of its parameters: mapped over networks, and differentiated twice."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jvp, stack_module_state, vmap

from zoo_builder.specification.architecture import ArchitectureSpec

#: Architecture → an input's shape, token ids, options.
KINDS = {
    "mlp": ("mlp", (6,), 0, {"norm": "layer", "activation": "gelu", "residual": True}),
    "cnn1d": ("cnn1d", (2, 17), 0, {"norm": "group", "activation": "silu", "residual": True}),
    "cnn2d": ("cnn2d", (2, 9, 8), 0, {"norm": "layer", "activation": "tanh", "residual": True}),
    "resnet18": ("resnet18", (2, 8, 8), 0, {"norm": "group", "activation": "softplus"}),
    "unet": ("unet", (2, 8, 8), 0, {"norm": "none", "activation": "gelu"}),
    "vectors": ("transformer", (6,), 0, {}),
    "images": ("transformer", (2, 8, 8), 0, {}),
    "text": ("transformer", (6,), 9, {"causal": True, "tied": True}),
    "pinn": ("pinn", (2,), 0, {"fourier": 3}),
    "jet": ("pinn", (2,), 0, {}),
}


class Residuals(nn.Module):
    """What is left of an equation with first and second derivatives, as in physics-informed training."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        value, first, second = self.network.jet(x, (0, 1))
        return first[0] - second.sum(0) + value


def network_of(kind, seed, **options):
    name, shape, vocabulary, given = KINDS[kind]
    outputs = vocabulary or 3
    spec = ArchitectureSpec(name=name, options=given)
    network = spec.build(shape, outputs, 4, 2, seed, vocabulary=vocabulary, **options).double()
    return Residuals(network) if kind == "jet" else network


def inputs(kind):
    _, shape, vocabulary, _ = KINDS[kind]
    draws = torch.Generator().manual_seed(0)
    if vocabulary:
        return torch.randint(vocabulary, (5, *shape), generator=draws)
    return torch.randn(5, *shape, dtype=torch.float64, generator=draws)


def loss_of(network, x):
    """Return a loss as a function of a network's parameters and buffers, and both."""

    def loss(parameters, buffers):
        return functional_call(network, (parameters, buffers), (x,)).square().mean()

    return loss, dict(network.named_parameters()), dict(network.named_buffers())


@pytest.mark.parametrize(
    ("kind", "dropout"), [(kind, rate) for kind in KINDS for rate in (0, 0.25) if not rate or KINDS[kind][0] != "pinn"]
)
def test_three_networks_as_one_are_each_what_it_is_alone(kind, dropout):
    networks = [network_of(kind, seed, **({"dropout": dropout} if dropout else {})) for seed in range(3)]
    for at, network in enumerate(networks):
        for name, value in network.named_buffers():
            if name.endswith("key"):
                value.fill_(1000 + at)
    x = inputs(kind)
    parameters, buffers = stack_module_state(networks)
    shell = copy.deepcopy(networks[0])
    loss, _, _ = loss_of(shell, x)
    outs = vmap(lambda p, b: functional_call(shell, (p, b), (x,)))(parameters, buffers)
    gradients = vmap(grad(loss))(parameters, buffers)
    for at, network in enumerate(networks):
        torch.testing.assert_close(outs[at], network(x))
        network(x).square().mean().backward()
        for name, value in network.named_parameters():
            torch.testing.assert_close(gradients[name][at], value.grad)


@pytest.mark.parametrize("kind", KINDS)
def test_products_with_the_hessian_are_differences_of_the_gradient(kind):
    network, x = network_of(kind, 1), inputs(kind)
    loss, parameters, buffers = loss_of(network, x)
    draws = torch.Generator().manual_seed(0)
    directions = {
        name: torch.randn(value.shape, generator=draws, dtype=value.dtype) for name, value in parameters.items()
    }

    gradients = torch.autograd.grad(loss(parameters, buffers), list(parameters.values()), create_graph=True)
    along = sum((slope * directions[name]).sum() for name, slope in zip(parameters, gradients, strict=True))
    products = dict(
        zip(parameters, torch.autograd.grad(along, list(parameters.values()), materialize_grads=True), strict=True)
    )

    step = 1e-6
    ends = [grad(loss)({n: v + s * directions[n] for n, v in parameters.items()}, buffers) for s in (step, -step)]
    _, forwards = jvp(lambda p: grad(loss)(p, buffers), (parameters,), (directions,))
    largest = max(value.abs().max() for value in products.values())
    for name, product in products.items():
        difference = (ends[0][name] - ends[1][name]) / (2 * step)
        assert (product - difference).abs().max() < 1e-6 * largest, name
        assert (product - forwards[name]).abs().max() < 1e-9 * largest, name
