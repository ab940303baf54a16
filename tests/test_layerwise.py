"""Learning rates of layers, and the exponents that they follow."""

import numpy as np
import pytest
import torch
from torch import nn

from zoo_builder.specification.recipe import Layerwise
from zoo_builder.training.layerwise import Balance, balanced, exponent


def test_the_published_rates():
    exponents = np.array([[2.5926, 2.0195, 2.0202, 4.4697]])
    rates = 0.1 * balanced(exponents, (0.5, 1.5))
    np.testing.assert_allclose(rates, [[0.07339, 0.05, 0.05003, 0.15]], atol=5e-6)


def test_what_is_not_known_or_does_not_differ_has_the_base_rate():
    exponents = np.array([[2.0, np.nan, 3.0], [2.0, 2.0, 2.0], [np.nan, np.nan, 4.0]])
    np.testing.assert_array_equal(balanced(exponents, (0.5, 2)), [[0.5, 1, 2], [1, 1, 1], [1, 1, 1]])


def spectrum(values, columns=None):
    """A matrix with these eigenvalues of WᵀW."""
    n = len(values)
    left, right = (torch.linalg.qr(torch.randn(k, n, dtype=torch.float64))[0] for k in (columns or n, n))
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64).sqrt()) @ right.T


@pytest.mark.parametrize("tail", ["middle", "peak", "fit"])
def test_a_power_law_has_its_exponent(tail):
    n, alpha = 400, 3.0
    quantiles = (1 - (np.arange(n) + 0.5) / n) ** (-1 / (alpha - 1))
    assert exponent(spectrum(quantiles, 500)[None], tail)[0] == pytest.approx(alpha, rel=0.05)


def test_the_middle_by_hand():
    values = [0.5, 1.0, 2.0, 4.0, 8.0]
    expected = 1 + 3 / (np.log(2) + np.log(4))
    assert exponent(spectrum(values)[None], "middle")[0] == pytest.approx(expected)


def test_a_tail_begins_at_the_peak_or_where_the_fit_is_closest():
    rng = np.random.default_rng(0)
    bulk, tail = rng.uniform(0.01, 1, 100), 1.2 * rng.pareto(2, 150) + 1.2
    values = np.sort(np.concatenate([bulk, tail]))
    weight = spectrum(values)[None]
    starts = range(len(values) - 1)
    alphas = [1 + (len(values) - i) / np.log(values[i:] / values[i]).sum() for i in starts]
    distances = [
        max(
            abs(1 - (value / values[i]) ** (1 - alphas[i]) - j / (len(values) - i))
            for j, value in enumerate(values[i:])
        )
        for i in starts
    ]
    assert exponent(weight, "fit")[0] == pytest.approx(alphas[int(np.argmin(distances))], rel=1e-6)
    counts, edges = np.histogram(np.log10(values), 100)
    peak = 10 ** edges[counts.argmax()]
    near = [i for i in starts if 0.95 * peak <= values[i] <= 1.5 * peak]
    assert exponent(weight, "peak")[0] == pytest.approx(alphas[min(near, key=lambda i: distances[i])], rel=1e-6)


def test_the_matrices_of_a_convolution_are_pooled():
    weight = torch.randn(1, 6, 5, 3, 2, dtype=torch.float64)
    singular = [torch.linalg.svdvals(weight[0, :, :, i, j]) for i in range(3) for j in range(2)]
    values = torch.cat(singular).square().sort().values
    half = values[15:].log()
    assert exponent(weight, "middle")[0] == pytest.approx((1 + 15 / (half - half[0]).sum()).item())


@pytest.mark.parametrize("weight", [torch.zeros(1, 4, 4), torch.full((1, 4, 4), torch.nan), torch.ones(1, 4, 4)])
@pytest.mark.parametrize("tail", ["middle", "peak", "fit"])
def test_a_matrix_without_a_tail_has_no_exponent(weight, tail):
    found = exponent(weight, tail)
    assert found.shape == (1,)
    assert np.isnan(found).all()


def test_first_and_last_layer_keep_the_base_rate_and_normalization_goes_with_its_convolution():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 8), nn.Linear(8, 2),
    )  # fmt: skip
    balance = Balance(network, Layerwise())
    assert balance.layers == {
        "2": ["2.weight", "3.weight", "3.bias"],
        "6": ["6.weight", "6.bias"],
        "8": ["8.weight", "8.bias"],
    }
    assert Balance(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), Layerwise()).factors({}) == {}
