"""Statistics of weights against NumPy, of layers of every kind as PyTorch keeps them."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, prune

from mdbench.tables import COLUMNS
from zoo_builder.landscape import measure, weights
from zoo_builder.landscape.registry import FAMILIES

QUANTILES = (0, 25, 50, 75, 100)
STATISTICS = ("mean", "variance", *(f"q{share}" for share in QUANTILES))
#: What layers are made of: widths that differ, so that no part can be taken for another one.
EMBED, UNITS = 6, 5


def plain(values):
    """Mean, variance and quantiles by NumPy's functions for them."""
    values = np.asarray(values, dtype=np.float64).ravel()
    return np.array([values.mean(), ((values - values.mean()) ** 2).mean(), *np.percentile(values, QUANTILES)])


def numbers(row, what):
    return np.array([row[f"{what}_{name}"] for name in STATISTICS], dtype=float)


class Flat(nn.Module):
    """Any module, on inputs of its own, with two outputs an example; only its layer has weights."""

    def __init__(self, layer, call):
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, x):
        return self.call(self.layer, x).flatten(1)[:, :2]


def tokens(x):
    return (x.abs() * 3).long() % 7


def attention(layer, x):
    given = x[:, :, None] * torch.arange(1.0, layer.embed_dim + 1)
    key, value = given[..., :1].expand(*x.shape, layer.kdim), given[..., :1].expand(*x.shape, layer.vdim)
    return layer(given, key.contiguous(), value.contiguous())[0]


def recurrent(layer, x):
    return layer(x[:, :, None] * torch.ones(3))[0]


def gates(layer, weight, bias, names):
    """Rows of a stacked weight and of its biases, gate by gate."""
    parts = zip(names, getattr(layer, weight).split(UNITS), getattr(layer, bias).split(UNITS), strict=True)
    return {f"layer.{weight}.{name}": (rows, of) for name, rows, of in parts}


#: Kind → a network and, layer by layer, the weights and the biases that it should be measured by.
def kinds():
    torch.manual_seed(0)
    linear = nn.Linear(8, 4)
    yield "linear", Flat(linear, lambda layer, x: layer(x)), {"layer": (linear.weight, linear.bias)}
    grouped = nn.Conv1d(2, 4, 3, groups=2)
    yield (
        "grouped convolution",
        Flat(grouped, lambda layer, x: layer(x.reshape(-1, 2, 4))),
        {"layer": (grouped.weight, grouped.bias)},
    )
    back = nn.ConvTranspose1d(2, 3, 3)
    yield "transposed", Flat(back, lambda layer, x: layer(x.reshape(-1, 2, 4))), {"layer": (back.weight, back.bias)}
    words = nn.Embedding(7, 4)
    yield "embedding", Flat(words, lambda layer, x: layer(tokens(x))), {"layer": (words.weight, None)}
    both = nn.Bilinear(8, 8, 3)
    yield "bilinear", Flat(both, lambda layer, x: layer(x, x)), {"layer": (both.weight, both.bias)}
    bare = nn.Linear(8, 4, bias=False)
    yield "without biases", Flat(bare, lambda layer, x: layer(x)), {"layer": (bare.weight, None)}
    lstm = nn.LSTM(3, UNITS, batch_first=True)
    names = ("input", "forget", "cell", "output")
    every = gates(lstm, "weight_ih_l0", "bias_ih_l0", names) | gates(lstm, "weight_hh_l0", "bias_hh_l0", names)
    yield "lstm", Flat(lstm, recurrent), every
    gru = nn.GRUCell(3, UNITS)
    names = ("reset", "update", "new")
    every = gates(gru, "weight_ih", "bias_ih", names) | gates(gru, "weight_hh", "bias_hh", names)
    yield "gru cell", Flat(gru, lambda layer, x: layer(x[:, :3])), every
    alike = nn.MultiheadAttention(EMBED, 2, batch_first=True)
    parts = zip(("query", "key", "value"), alike.in_proj_weight.chunk(3), alike.in_proj_bias.chunk(3), strict=True)
    out = {"layer.out_proj": (alike.out_proj.weight, alike.out_proj.bias)}
    every = {f"layer.in_proj_weight.{name}": (rows, of) for name, rows, of in parts}
    yield "attention", Flat(alike, attention), every | out
    apart = nn.MultiheadAttention(EMBED, 2, kdim=4, vdim=3, batch_first=True)
    parts = zip("qkv", apart.in_proj_bias.chunk(3), strict=True)
    every = {f"layer.{name}_proj_weight": (getattr(apart, f"{name}_proj_weight"), of) for name, of in parts}
    out = {"layer.out_proj": (apart.out_proj.weight, apart.out_proj.bias)}
    yield "attention of other keys", Flat(apart, attention), every | out
    for attended in (alike, apart):
        nn.init.normal_(attended.in_proj_bias)


KINDS = {name: (network, every) for name, network, every in kinds()}


def measured(networks, dtype=torch.float64, inputs=8):
    torch.manual_seed(1)
    x, y = torch.randn(24, inputs), torch.arange(24) % 2
    return measure(networks, "cross_entropy", (x, y), families=["weights"], dtype=dtype)


@pytest.mark.parametrize("name", KINDS)
def test_a_layers_numbers_are_those_of_numpy(name):
    network, every = KINDS[name]
    layers = measured([network]).layers.set_index("layer")
    assert set(layers.index) == set(every)
    for path, (weight, bias) in every.items():
        np.testing.assert_allclose(numbers(layers.loc[path], "weight"), plain(weight.detach()), rtol=1e-12, atol=1e-15)
        if bias is None:
            assert np.isnan(numbers(layers.loc[path], "bias")).all()
            assert "the layer has no biases" in layers.loc[path, "weights_reason"]
        else:
            np.testing.assert_allclose(numbers(layers.loc[path], "bias"), plain(bias.detach()), rtol=1e-12, atol=1e-15)
            assert layers.loc[path, "weights_reason"] is None


def deep(depth, width=7, seed=0):
    torch.manual_seed(seed)
    inner = [part for _ in range(depth) for part in (nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU())]
    return nn.Sequential(nn.Linear(8, width, bias=False), *inner, nn.Linear(width, 2)).eval()


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_networks_of_every_depth_have_the_same_columns(depth):
    networks = [deep(depth, seed=seed) for seed in range(3)]
    found = measured(networks)
    linear = [[module for module in network if isinstance(module, nn.Linear)] for network in networks]
    for row, layers in enumerate(linear):
        for what, first in (("weight", layers[0].weight), ("bias", layers[1].bias)):
            own = [getattr(layer, what) for layer in layers if getattr(layer, what) is not None]
            every = np.array([plain(values.detach()) for values in own])
            ends = {"mean": every.mean(0), "first": plain(first.detach()), "last": plain(own[-1].detach())}
            for over, expected in ends.items():
                said = [found.models.loc[row, f"{what}_{name}_{over}"] for name in STATISTICS]
                np.testing.assert_allclose(said, expected, rtol=1e-12, atol=1e-15)
    assert list(found.models) == [*FAMILIES["weights"].columns("checkpoint"), "weights_reason"]
    assert found.models["weights_reason"].isna().all()


def test_shared_weights_stand_there_once_with_the_biases_of_all_who_share_them():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.out = nn.Embedding(7, 4), nn.Linear(4, 7)
            self.out.weight = self.words.weight

        def forward(self, x):
            return self.out(self.words(tokens(x)).mean(1))[:, :2]

    torch.manual_seed(0)
    network = Tied()
    (row,) = measured([network]).layers.to_dict("records")
    assert row["layer"] == "words, out"
    np.testing.assert_allclose(numbers(row, "weight"), plain(network.out.weight.detach()), rtol=1e-12)
    np.testing.assert_allclose(numbers(row, "bias"), plain(network.out.bias.detach()), rtol=1e-12)


def test_computed_and_masked_weights_are_taken_as_they_multiply():
    torch.manual_seed(0)
    normed = nn.Sequential(parametrizations.weight_norm(nn.Linear(8, 6)), nn.ReLU(), nn.Linear(6, 2))
    prune.l1_unstructured(normed[2], "weight", 5)
    with torch.no_grad():
        normed[0].parametrizations.weight.original0.mul_(3)
    layers = measured([normed]).layers.set_index("layer")
    masked = normed[2].weight.detach()
    assert (masked == 0).sum() == 5
    for path, weight in (("0", normed[0].weight.detach()), ("2", masked)):
        np.testing.assert_allclose(numbers(layers.loc[path], "weight"), plain(weight), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(numbers(layers.loc[path], "bias"), plain(normed[int(path)].bias.detach()), rtol=1e-9)


def test_what_has_no_known_matrix_is_named():
    class Own(nn.Linear):
        def forward(self, x):
            return super().forward(x) ** 2

    network = nn.Sequential(Own(8, 6), nn.Linear(6, 2))
    found = measured([network])
    assert found.models.loc[0, "weight_mean_mean"] == pytest.approx(network[1].weight.mean().item(), rel=1e-5)
    assert found.models.loc[0, "weights_reason"] == "which matrix is applied is not known of 0 (Own)"
    row = found.layers.set_index("layer").loc["0"]
    assert np.isnan([*numbers(row, "weight"), *numbers(row, "bias")]).all()
    alone = measured([nn.Sequential(Own(8, 2))])
    assert alone.models[FAMILIES["weights"].columns("checkpoint")].isna().all(axis=None)
    assert "weight_mean_mean" in alone.models.loc[0, "weights_reason"]


def test_a_network_without_biases_says_so():
    found = measured([nn.Sequential(nn.Linear(8, 4, bias=False), nn.Linear(4, 2, bias=False))])
    missing = set(found.models.columns[found.models.iloc[0].isna()])
    assert missing == {column for column in FAMILIES["weights"].columns("checkpoint") if column.startswith("bias_")}
    assert found.models.loc[0, "weights_reason"].endswith(": no layer has biases")


def test_half_precision_is_measured_as_what_it_is():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 2)).half()
    (row,) = measured([network], dtype=torch.float32).layers.to_dict("records")
    np.testing.assert_allclose(numbers(row, "weight"), plain(network[0].weight.detach()), rtol=1e-12)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=40), st.floats(0.01, 50), st.floats(-10, 10), st.randoms())
def test_statistics_move_with_scale_and_place_and_not_with_order(values, scale, shift, random):
    rows = np.array([values])
    (before,) = np.transpose(list(weights.statistics(rows).values()))
    np.testing.assert_allclose(before, plain(values), rtol=1e-9, atol=1e-9)
    moved = copy.copy(values)
    random.shuffle(moved)
    (after,) = np.transpose(list(weights.statistics(scale * np.array([moved]) + shift).values()))
    expected = scale * before + shift
    expected[1] = scale**2 * before[1]
    np.testing.assert_allclose(after, expected, rtol=1e-8, atol=1e-8)


def test_what_is_not_finite_or_not_there_has_no_statistics():
    found = weights.statistics(np.array([[1.0, 2.0], [np.inf, 2.0], [np.nan, 0.0]]))
    for values in found.values():
        assert np.isfinite(values).tolist() == [True, False, False]
    assert all(
        np.isnan(values).all() and values.shape == (3,) for values in weights.statistics(np.empty((3, 0))).values()
    )


def test_every_column_says_what_it_is():
    for metric in weights.METRICS:
        assert "Unterthiner" in COLUMNS[metric.column].source
        assert COLUMNS[metric.column].needs == ()
