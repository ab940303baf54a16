"""Which matrix a layer multiplies by, against what it does to unit inputs; weights that are computed, against plain ones."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils import spectral_norm as spectral_norm_of_old
from torch.nn.utils import weight_norm as weight_norm_of_old

from mdbench.errors import MdbenchError
from zoo_builder.landscape import matrices, measure, prunability, spectra
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Subject
from zoo_builder.landscape.stacked import Stacked
from zoo_builder.landscape.surface import Layout
from zoo_builder.specification.models import cnn2d


def points(network):
    return torch.cat([value.detach().flatten() for value in network.parameters()])[None]


def cut(network):
    """The matrices of a network, name → whole and dense, with zeros outside the blocks."""
    network = matrices.ordinary(network)
    layout, found = Layout(network), {}
    for matrix in matrices.find(network).known:
        blocks = matrix.cut(points(network)[0, matrix.place(layout)])
        whole = torch.block_diag(*blocks).numpy()
        assert whole.shape == (matrix.rows, matrix.columns)
        assert matrix.size == blocks.numel()
        found[matrix.name] = whole
    return found


def same(one, other):
    """Whether two matrices have the same sides and singular values, those that float32 tells from zero."""
    assert one.shape == other.shape
    first, second = (np.linalg.svd(of, compute_uv=False) for of in (one, other))
    np.testing.assert_allclose(first, second, atol=3e-6 * first[0])


def units(*shape):
    """All unit vectors of a shape, (size, *shape)."""
    size = int(np.prod(shape))
    return torch.eye(size).reshape(size, *shape)


def responses(layer, inputs):
    """What a layer without bias makes of inputs, one column each."""
    with torch.no_grad():
        return layer(inputs).flatten(1).T.numpy()


# Kinds of layers.


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_convolutions(groups, dimensions):
    torch.manual_seed(0)
    kernel = (3, 2, 2)[:dimensions]
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    layer = kind(8, 16, kernel, groups=groups, bias=False)
    (found,) = cut(layer).values()
    # Seen from one position; what a block sees stands in the columns in another order than channel by channel.
    same(found, responses(layer, units(8, *kernel)))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_transposed_convolutions(groups, dimensions):
    torch.manual_seed(0)
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dimensions - 1]
    layer = kind(8, 12, (3, 2, 2)[:dimensions], groups=groups, bias=False)
    (found,) = cut(layer).values()
    same(found, responses(layer, units(8, *[1] * dimensions)))
    assert found.shape[1] == 8


def test_linear_and_bilinear_layers():
    torch.manual_seed(0)
    linear = nn.Linear(5, 7, bias=False)
    np.testing.assert_allclose(cut(linear)[""], responses(linear, units(5)))
    bilinear = nn.Bilinear(3, 4, 6, bias=False)
    left, right = units(3).repeat_interleave(4, 0), units(4).repeat(3, 1)
    np.testing.assert_allclose(cut(bilinear)[""], bilinear(left, right).T.detach(), rtol=1e-6)


@pytest.mark.parametrize("bound", [None, 1.0])
@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_embeddings(kind, bound):
    torch.manual_seed(0)
    layer = kind(9, 4, max_norm=bound)
    found = cut(layer)[""]
    with torch.no_grad():
        words = layer(torch.arange(9)[:, None]).reshape(9, 4)
    np.testing.assert_allclose(found, words.T, rtol=1e-6)
    assert bound is None or np.linalg.norm(found, axis=0).max() == pytest.approx(1)


@pytest.mark.parametrize("sizes", [{}, {"kdim": 5, "vdim": 3}])
def test_attention_has_matrices_of_queries_keys_and_values(sizes):
    """One head, one query: what comes out is then Wo Wv of the keys' mean, weighted by what Wq and Wk say."""
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 1, batch_first=True, **sizes)
    found = cut(layer)
    inside = "in_proj_weight.query in_proj_weight.key in_proj_weight.value"
    names = "q_proj_weight k_proj_weight v_proj_weight" if sizes else inside
    assert list(found) == [*names.split(), "out_proj"]
    q, k, v, o = found.values()
    assert [of.shape for of in (q, k, v, o)] == [(8, 8), (8, sizes.get("kdim", 8)), (8, sizes.get("vdim", 8)), (8, 8)]
    query, keys, seen = torch.randn(1, 1, 8), torch.randn(1, 6, k.shape[1]), torch.randn(1, 6, v.shape[1])
    scores = (query[0].numpy() @ q.T) @ (keys[0].numpy() @ k.T).T / np.sqrt(8)
    weights = np.exp(scores) / np.exp(scores).sum()
    if not sizes:
        seen = keys
    expected = weights @ (seen[0].numpy() @ v.T) @ o.T
    np.testing.assert_allclose(layer(query, keys, seen)[0][0].detach(), expected, atol=1e-5)


def one_step(kind, w, u, x, h, c):
    """A step of a recurrent layer, written out; w and u are its matrices by gate."""

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    z = [a @ x for a in w]
    y = [a @ h for a in u]
    if kind == "RNN":
        return np.tanh(z[0] + y[0])
    if kind == "GRU":
        r, update = sigmoid(z[0] + y[0]), sigmoid(z[1] + y[1])
        return (1 - update) * np.tanh(z[2] + r * y[2]) + update * h
    i, f, g, o = (a + b for a, b in zip(z, y, strict=True))
    return sigmoid(o) * np.tanh(sigmoid(f) * c + sigmoid(i) * np.tanh(g))


@pytest.mark.parametrize("cell", [False, True])
@pytest.mark.parametrize(("kind", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_recurrent_layers_have_a_matrix_a_gate(kind, gates, cell):
    torch.manual_seed(0)
    layer = getattr(nn, f"{kind}Cell" if cell else kind)(5, 6, bias=False)
    found = cut(layer)
    values = list(found.values())
    assert [of.shape for of in values] == [(6, 5)] * gates + [(6, 6)] * gates
    assert all(name.startswith("weight_ih" if at < gates else "weight_hh") for at, name in enumerate(found))
    x, h, c = torch.randn(1, 5), torch.randn(1, 6), torch.randn(1, 6)
    state = (h, c) if kind == "LSTM" else h
    with torch.no_grad():
        out = layer(x, state) if cell else layer(x, state)[1]
    out = out[0] if kind == "LSTM" else out
    expected = one_step(kind, values[:gates], values[gates:], x[0].numpy(), h[0].numpy(), c[0].numpy())
    np.testing.assert_allclose(out[0].numpy(), expected, atol=1e-6)


def test_recurrent_layers_of_several_layers_both_ways_and_with_projections():
    found = cut(nn.LSTM(5, 6, num_layers=2, bidirectional=True, proj_size=3))
    assert len(found) == 4 * (4 + 4 + 1)
    assert found["weight_ih_l0.forget"].shape == (6, 5)
    assert found["weight_ih_l1_reverse.output"].shape == (6, 6)
    assert found["weight_hh_l1.cell"].shape == (6, 3)
    assert found["weight_hr_l0_reverse"].shape == (3, 6)


class Conv1D(nn.Module):
    """A linear layer as Hugging Face's transformers write it."""

    def __init__(self, out, into):
        super().__init__()
        self.nf, self.weight = out, nn.Parameter(torch.randn(into, out))

    def forward(self, x):
        return x @ self.weight


def test_the_transposed_linear_layer_of_transformers():
    layer = Conv1D(7, 4)
    np.testing.assert_allclose(cut(layer)[""], responses(layer, units(4)))
    layer.nf = 4  # then it is something else
    assert matrices.find(layer).unknown == {"": "Conv1D"}


# Which there are.


class Scaled(nn.Linear):
    """Looks like a linear layer and is another."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight / self.weight.norm(), self.bias)


class Renamed(nn.Linear):
    """A linear layer by another name."""


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(3, 4))


def test_what_has_no_known_matrix_is_named():
    patched, hooked = nn.Linear(3, 3), nn.Linear(3, 3)
    patched.forward = lambda x: x
    del hooked.weight
    hooked.weight = torch.zeros(3, 3)  # computed by somebody, before each pass
    network = nn.ModuleDict(
        {
            "scaled": Scaled(3, 3),
            "renamed": Renamed(3, 3),
            "own": Own(),
            "patched": patched,
            "hooked": hooked,
            "norm": nn.LayerNorm((3, 4)),
            "bare": nn.BatchNorm1d(3),
        }
    )
    found = matrices.find(network)
    assert [matrix.name for matrix in found.known] == ["renamed"]
    assert found.unknown == {"scaled": "Scaled", "own": "Own", "patched": "Linear", "hooked": "Linear"}
    assert found.left_out == (
        "which matrix is applied is not known of scaled (Scaled), own (Own), patched (Linear), hooked (Linear)"
    )
    assert len(found) == 5
    assert matrices.find(nn.Linear(2, 2)).left_out == ""


def test_a_weight_that_layers_share_is_there_once_under_all_names():
    shared, table, linear = nn.Linear(3, 3), nn.Embedding(6, 3), nn.Linear(3, 6)
    linear.weight = table.weight
    network = nn.ModuleDict({"a": shared, "table": table, "in": nn.ModuleDict({"b": shared}), "out": linear})
    found = matrices.find(network).known
    assert [(matrix.name, matrix.weight) for matrix in found] == [
        ("a, in.b", "a.weight"),
        ("table, out", "table.weight"),
    ]
    assert [(matrix.rows, matrix.columns) for matrix in found] == [(3, 3), (3, 6)]  # of the first


def test_layers_without_a_shape_are_refused():
    with pytest.raises(MdbenchError, match=r"^1 has no shape yet \(LazyLinear.weight\)"):
        matrices.find(nn.Sequential(nn.ReLU(), nn.LazyLinear(3)))


def test_the_zoos_networks():
    found = matrices.find(cnn2d((1, 8, 8), 3, 2)).known
    assert [matrix.name for matrix in found] == ["0", "3", "6", "10"]
    assert not any(matrix.blocks > 1 or matrix.transposed or matrix.embedding for matrix in found)


# Blocks, and the last layer.


class Unit(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.second(torch.relu(self.first(x)))


class Residual(nn.Module):
    """The last layer is defined first."""

    def __init__(self, width=6, classes=4):
        super().__init__()
        self.head, self.units = nn.Linear(width, classes), nn.Sequential(Unit(width), Unit(width))
        self.start = nn.Linear(5, width)

    def forward(self, x):
        return self.head(self.units(self.start(x)))


def test_blocks_are_what_is_repeated():
    network = Residual()
    known = matrices.find(network).known
    assert matrices.repeated(network, known) == ["head", "units.0", "units.0", "units.1", "units.1", "start"]
    outer = nn.Sequential(Residual())
    assert matrices.repeated(outer, matrices.find(outer).known)[1] == "0.units.0"
    coder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    assert matrices.repeated(coder, matrices.find(coder).known) == ["layers.0"] * 6 + ["layers.1"] * 6
    plain = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    assert matrices.repeated(plain, matrices.find(plain).known) == ["0", "1.0", "1.1"]


def test_the_last_layer_is_the_one_that_is_used_last():
    network = Residual().double()
    known = matrices.find(network).known
    assert [matrix.name for matrix in matrices.used_last(network, torch.randn(2, 5), known)] == ["head"]


# Weights that are computed.


def masked(layer):
    prune.l1_unstructured(layer, "weight", 0.4)
    prune.random_unstructured(layer, "weight", 0.3)


WAYS = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "old weight_norm": weight_norm_of_old,
    "old spectral_norm": spectral_norm_of_old,
    "masked": masked,
}


def trained(change, seed=0):
    """A network of which two layers compute their weights, and a plain one with the same weights."""
    torch.manual_seed(seed)
    plain = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 6))
    network = copy.deepcopy(plain)
    x, y = examples()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for at in (0, 2):
            change(network[at])
    descent = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(60):
        descent.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        descent.step()
    network.eval()
    with torch.no_grad():
        network(x)
        for at in (0, 2, 4):
            plain[at].weight.copy_(network[at].weight)
            plain[at].bias.copy_(network[at].bias)
    return network, plain.eval()


def examples():
    x = torch.randn(120, 5, generator=torch.Generator().manual_seed(0))
    return x, (3 * x[:, 0] + x[:, 1]).argsort().argsort() * 6 // 120


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("way", WAYS)
def test_computed_weights_are_measured_as_they_multiply(way):
    pairs = [trained(WAYS[way], seed) for seed in range(2)]
    x, y = examples()
    with torch.no_grad():
        assert torch.allclose(pairs[0][0](x), pairs[0][1](x), atol=1e-5)
    found, expected = (
        measure([pair[at] for pair in pairs], "cross_entropy", (x, y), test=(x, y), families=["spectra", "prunability"])
        for at in (0, 1)
    )
    assert list(found.layers["layer"]) == ["0", "2", "4"] * 2
    for table, other in ((found.models, expected.models), (found.layers, expected.layers)):
        for column in table:
            if column == "layer" or column.endswith("_reason"):
                assert [str(of) for of in table[column]] == [str(of) for of in other[column]]
            else:
                # Their float32 weights differ in the last bit, and one example may lie between two classes.
                tolerance = 100 / len(x) + 1e-6 if "prun" in column else 2e-4
                np.testing.assert_allclose(table[column], other[column], atol=tolerance, rtol=2e-4, err_msg=column)
    assert not matrices.reparametrized(pairs[0][1])


@pytest.mark.parametrize("way", WAYS)
def test_a_network_is_left_as_it_was(way):
    network, _ = trained(WAYS[way])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    plain = matrices.ordinary(network)
    assert matrices.reparametrized(network)
    assert not matrices.reparametrized(plain)
    assert {name: tuple(value.shape) for name, value in plain.named_parameters()}.keys() >= {"0.weight", "2.weight"}
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    x, _ = examples()
    assert torch.allclose(plain(x), network(x), atol=1e-6)
    network(x)  # a pass with gradients leaves a computed weight behind, of which PyTorch makes no deep copy
    assert torch.allclose(matrices.ordinary(network)(x), network(x), atol=1e-6)


def test_masked_weights_stay_masked():
    network, _ = trained(masked)
    x, y = examples()
    subject = Subject(Stacked([network], (5,)), Data(x, y), Data(x, y))
    surface = subject.ordinary
    known = matrices.find(surface.module).known
    zero = surface.points[0] == 0
    assert int(zero.sum()) >= 0.5 * (60 + 96)
    pruned = prunability.Pruning(surface, known).globally(np.array([[0, 20, 120]]))[0]
    for at in range(3):
        assert bool((pruned[at][zero] == 0).all())
    weights = torch.cat([torch.arange(surface.layout.size)[matrix.place(surface.layout)] for matrix in known])
    assert int((pruned[2][weights] == 0).sum()) == 120


# Networks with them.


class Words(nn.Module):
    """Word vectors, their mean, and back to words with the same weights."""

    def __init__(self, tied=True):
        super().__init__()
        self.table, self.inner = nn.Embedding(30, 8), nn.Linear(8, 8)
        self.back = nn.Linear(8, 30, bias=False)
        if tied:
            self.back.weight = self.table.weight
        self.offset = nn.Parameter(torch.zeros(1, 8))

    def forward(self, x):
        return self.back(torch.tanh(self.inner(self.table(x.long()).mean(1) + self.offset)))


def test_reasons_say_over_how_many_layers_and_which_are_not_known():
    torch.manual_seed(0)
    network = Words().eval()
    x, y = torch.randint(0, 30, (40, 5)).float(), torch.arange(40) % 30
    found = measure([network], "cross_entropy", (x, y), test=(x, y), families=["spectra", "prunability"])
    assert list(found.layers["layer"]) == ["table, back", "inner", ""]
    weights = [network.table.weight, network.inner.weight]
    expected = np.mean([2 * np.log10(np.linalg.norm(of.detach(), 2)) for of in weights])
    assert found.models["log_spectral_norm_mean"][0] == pytest.approx(expected, rel=1e-6)
    reason = found.models["spectra_reason"][0]
    assert ", log_spectral_norm, log_frobenius_norm, mp_spikes, mp_distance: over 2 of 3 layers; " in reason
    assert reason.endswith("; which matrix is applied is not known of the network itself (Words)")
    last = found.layers.iloc[2]
    assert np.isnan(last["stable_rank"])
    assert last["spectra_reason"].endswith(": which matrix is applied is not known of a Words")
    assert (
        "not pruned: which matrix is applied is not known of the network itself (Words)"
        in (found.models["prunability_reason"][0])
    )
    # Without embedding and last layer one layer is left, which nothing guides.
    assert np.isnan(found.models["pruned_test_error_published_70"][0])


def test_grouped_convolutions_are_measured_as_block_diagonal_matrices():
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 16, 3, groups=4, bias=False)
    network = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)).eval()
    x = torch.randn(20, 16, 6, 6)
    row = measure([network], "cross_entropy", (x, torch.arange(20) % 3), families=["spectra"]).layers.iloc[0]
    values = np.linalg.svd(responses(layer, units(16, 3, 3)), compute_uv=False)[::-1] ** 2
    assert (row["matrix_rows"], row["matrix_columns"]) == (16, 144)
    assert row["stable_rank"] == pytest.approx(values.sum() / values[-1], rel=1e-5)
    assert row["alpha_hill"] == pytest.approx(1 + 8 / np.log(values[-8:] / values[7]).sum(), rel=1e-4)
    known = matrices.find(network).known[0]
    assert spectra.weights(Stacked([network], (16, 6, 6)), known).shape == (1, 4, 4, 36)
