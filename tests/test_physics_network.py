"""The network of coordinates: derivatives that go through its layers, against automatic ones."""

import math

import pytest
import torch
from torch.func import hessian, jacrev, vmap

from mdbench.errors import MdbenchError
from zoo_builder.specification.architecture import ArchitectureSpec
from zoo_builder.specification.models import parameter_count, pinn


def network_of(inputs=3, outputs=2, depth=3, **options):
    return ArchitectureSpec(name="pinn", options=options).build((inputs,), outputs, 9, depth, seed=2).double()


def points(count=6, inputs=3):
    return torch.randn(count, inputs, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("fourier", [0, 4])
@pytest.mark.parametrize("activation", ["tanh", "gelu", "silu", "softplus", "relu"])
def test_jets_are_the_derivatives_of_the_network(activation, fourier):
    network, x = network_of(activation=activation, fourier=fourier), points()

    def one(x):
        return network(x[None])[0]

    value, first, second = network.jet(x, (2, 0))
    assert (value.shape, first.shape, second.shape) == ((6, 2), (2, 6, 2), (2, 6, 2))
    exactly = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(value, network(x), **exactly)
    slopes, curvatures = vmap(jacrev(one))(x), vmap(hessian(one))(x)
    for at, axis in enumerate((2, 0)):
        torch.testing.assert_close(first[at], slopes[:, :, axis], **exactly)
        torch.testing.assert_close(second[at], curvatures[:, :, axis, axis], **exactly)
    alone = network.jet(x, (2, 0), order=1)
    torch.testing.assert_close(alone[:2], (value, first), **exactly)
    assert alone[2].shape == (0, 6, 2)
    assert first.abs().min() > 0
    assert (second.abs().min() > 0) == (activation != "relu" or fourier > 0)


def test_one_hidden_unit_has_the_derivatives_of_its_formula():
    network = pinn((1,), 1, 1, depth=1).double()
    x = points(5, 1)
    (weight, bias, scale, shift) = (value.detach().flatten() for value in network.parameters())
    value, first, second = network.jet(x, [0])
    t = (weight * x + bias).tanh()
    torch.testing.assert_close(value, scale * t + shift)
    torch.testing.assert_close(first[0], scale * weight * (1 - t**2))
    torch.testing.assert_close(second[0], -2 * scale * weight**2 * t * (1 - t**2))


def test_no_direction_is_the_value_alone():
    network, x = network_of(), points()
    value, first, second = network.jet(x, ())
    torch.testing.assert_close(value, network(x))
    assert first.shape == second.shape == (0, 6, 2)


def test_fourier_features_are_drawn_once_from_the_seed_and_not_trained():
    drawn = [network_of(fourier=2000, scale=scale).frequencies for scale in (1, 3.0)]
    torch.testing.assert_close(3 * drawn[0], drawn[1])
    assert abs(drawn[0].std().item() - 1) < 0.05
    network = network_of(fourier=4)
    assert "frequencies" in network.state_dict()
    assert "frequencies" not in dict(network.named_parameters())
    # 8 features, three hidden layers of 9 units, 2 outputs.
    assert parameter_count(network) == (8 * 9 + 9) + 2 * (9 * 9 + 9) + (9 * 2 + 2)
    x = points()
    angles = 2 * math.pi * x @ network.frequencies
    features = torch.cat([angles.sin(), angles.cos()], 1)
    h = features
    for layer in network.hidden:
        h = (h @ layer.weight.T + layer.bias).tanh()
    torch.testing.assert_close(network(x), h @ network.head.weight.T + network.head.bias)


def test_what_does_not_fit_is_refused():
    with pytest.raises(MdbenchError, match=r"pinn wants inputs of shape \(features,\), the data set's are \(1, 40\)"):
        pinn((1, 40), 1, 4)
    with pytest.raises(MdbenchError, match="scale is that of Fourier features"):
        pinn((2,), 1, 4, scale=2)
    with pytest.raises(MdbenchError, match="none of relu, gelu, tanh, silu, softplus"):
        pinn((2,), 1, 4, activation="sine")
