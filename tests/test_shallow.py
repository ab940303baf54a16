"""The two-layer network of feature learning's theory."""

import math

import numpy as np
import torch
from torch.nn import functional

from zoo_builder.specification.models import two_layer


def test_it_is_what_its_formula_says() -> None:
    torch.manual_seed(0)
    network, x = two_layer((7,), 2, width=11), torch.randn(5, 7)
    hidden = np.tanh(x.numpy() @ network.hidden.weight.detach().numpy().T / math.sqrt(7))
    wanted = hidden @ network.readout.numpy().T / math.sqrt(11)
    np.testing.assert_allclose(network(x).detach().numpy(), wanted, rtol=1e-5)
    assert [name for name, _ in network.named_parameters()] == ["hidden.weight"]
    assert [name for name, _ in two_layer((7,), 2, 11, readout=True).named_parameters()] == ["readout", "hidden.weight"]


def test_a_large_step_of_gradient_descent_makes_a_spike() -> None:
    """At first there is the bulk, below its Marchenko–Pastur edge; one step of full-batch descent puts one value outside."""
    torch.manual_seed(0)
    d, h, n = 200, 300, 400
    network, x, direction = two_layer((d,), 1, h), torch.randn(n, d), torch.randn(d)
    y = functional.softplus(x @ direction / direction.norm())[:, None]
    edge = (1 + math.sqrt(h / d)) ** 2

    def eigenvalues() -> np.ndarray:
        return torch.linalg.svdvals(network.hidden.weight.detach()).square().numpy() / d

    assert eigenvalues()[0] < 1.02 * edge
    descent = torch.optim.SGD(network.parameters(), lr=600)
    functional.mse_loss(network(x), y).backward()
    descent.step()
    first, second = eigenvalues()[:2]
    assert first > 1.2 * edge
    assert second < 1.05 * edge
