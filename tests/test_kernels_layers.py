"""Every layer that compiled loops know: trained as by a plain PyTorch loop, differentiated once and twice as by autograd."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from applied import applied
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from test_optimizers import EPOCHS, check, positions, subsets_of, tokens, values
from test_tape import batch_of, run
from test_training import data, spec
from torch import nn
from torch.nn import functional

from mdbench.errors import MdbenchError
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.objective import CrossEntropy
from zoo_builder.landscape.taped import Taped
from zoo_builder.specification.dropout import BITS, FACTORS, GOLDEN, Dropout
from zoo_builder.specification.material import Material
from zoo_builder.specification.models.attention import Attention, transformer
from zoo_builder.specification.network import networks
from zoo_builder.training import form, taped
from zoo_builder.training.graph import UnknownLayerError
from zoo_builder.training.kernels import dropout
from zoo_builder.training.tape import Tape

DOUBLE, SINGLE = torch.float64, torch.float32
WAYS = {
    "sgd": "momentum = 0.8\nlearning_rate = 0.004",
    "adamw": 'optimizer = "adamw"\neps = 1e-4\nlearning_rate = 0.002\nweight_decay = 0.1',
    "sam": "sharpness = { rho = 0.05 }\nmomentum = 0.8\nlearning_rate = 0.004",
}
TOLERANCES = {DOUBLE: 1e-9, SINGLE: 1e-4}
#: Biases in front of batch normalization have gradients of rounding alone, which AdamW scales up: in single precision by smaller
#: steps, or plain loops in single and double precision differ by more than the tolerance.
CALM = WAYS | {"adamw": WAYS["adamw"].replace("0.002", "0.00005")}


class Pools(nn.Module):
    """Both poolings, a transposed convolution whose blocks overlap, channels joined, activations as functions."""

    def __init__(self, width):
        super().__init__()
        self.first, self.up = nn.Conv2d(1, width, 3, padding=1), nn.ConvTranspose2d(width, 3, 3, stride=2)
        self.most, self.mean = nn.MaxPool2d(3, 2), nn.AvgPool2d(2)
        self.norm, self.drop = nn.GroupNorm(2, width), Dropout(0.2)
        self.last = nn.Linear((width + 3) * 9, 10)

    def forward(self, x):
        x = self.drop(torch.sigmoid(self.norm(self.first(x))))
        below = self.most(functional.gelu(x))
        up = self.mean(self.up(below))
        return self.last(torch.cat([below, up], dim=1).flatten(1))


@pytest.fixture(autouse=True)
def pools(monkeypatch):
    module = ModuleType("pools")
    module.make = lambda shape, outputs, width, **options: Pools(width)
    monkeypatch.setitem(sys.modules, "pools", module)


#: Architecture, its options, data.
LAYERS = {
    "layer and gelu": ("mlp", 'norm = "layer", activation = "gelu"', data((1, 40))),
    "nothing, tanh and dropout": ("mlp", 'norm = "none", activation = "tanh", dropout = 0.3', data((1, 40))),
    "a way around groups and silu": ("mlp", 'norm = "group", activation = "silu", residual = true', data((1, 40))),
    "softplus, values": ("mlp", 'norm = "layer", activation = "softplus", dropout = 0.1', values((1, 40))),
    "a signal in groups": ("cnn1d", 'norm = "group", activation = "gelu", residual = true', data((1, 40))),
    "an image as a layer": ("cnn2d", 'norm = "layer", activation = "silu", dropout = 0.2', data((1, 8, 8))),
    "batch, dropout and tanh": ("cnn1d", 'norm = "batch", activation = "tanh", dropout = 0.2', data((1, 40))),
    "pools": ("pools:make", "", data((1, 8, 8))),
    "pixels": ("unet", 'norm = "group", activation = "gelu", dropout = 0.1', positions()),
    "pixels in batches": ("unet", "", positions()),
    "next tokens by one table": ("transformer", "causal = true, tied = true, dropout = 0.1", tokens()),
    "next tokens": ("transformer", 'causal = true, activation = "silu"', tokens()),
    "tokens of a vector": ("transformer", "heads = 1", values((5,))),
    "patches of a signal": ("transformer", "dropout = 0.2, patch = 8", data((1, 40))),
    "patches of an image": ("transformer", "", data((1, 8, 8))),
}


def specified(name, training, epochs=EPOCHS):
    architecture, options, dataset = LAYERS[name]
    sizes = "depth = 1\n" if architecture in ("unet", "transformer") else ""
    text = f"width = {2 if architecture == 'unet' else 8}\n{sizes}options = {{ {options} }}"
    return spec(architecture, {"batch_size": [12]}, epochs, text, training, seeds=(3,)), dataset


@pytest.mark.parametrize("dtype", TOLERANCES, ids=["double", "single"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_train_as_in_a_plain_loop(name, way, dtype):
    what, dataset = specified(name, (WAYS if dtype == DOUBLE else CALM)[way])
    (one,) = check(what, dataset, taped.train, dtype, TOLERANCES[dtype])
    assert one.network.steps == 200


@pytest.mark.parametrize("name", LAYERS)
def test_plans_say_that_these_networks_train_from_tapes(name):
    what, dataset = specified(name, "")
    material = Material.single(what, dataset, subsets_of(dataset))
    network = networks(what, material)[0]
    assert form(what, dataset, network, "cpu") == "taped"
    assert taped.step_seconds(what, dataset, subsets_of(dataset), network) > 0


@pytest.mark.parametrize(
    "wrapper", ['average = "swa"\naverage_from = 0.5', "clip = 0.3", "sharpness = { adaptive = true }"]
)
def test_dropout_and_positions_with_all_that_is_done_to_steps(wrapper):
    """Statistics of an average are taken without dropout."""
    for name in ("batch, dropout and tanh", "pixels in batches"):
        what, dataset = specified(name, f"{WAYS['sgd']}\n{wrapper}")
        check(what, dataset, taped.train, DOUBLE, 1e-9)


@pytest.mark.parametrize("loss", ["class_weights = [1, 2, 0.5]", "label_smoothing = 0.2\nclass_weights = [1, 2, 0.5]"])
def test_losses_of_positions(loss):
    what, dataset = specified("pixels", f"{WAYS['adamw']}\n{loss}", 5)
    check(what, dataset, taped.train, DOUBLE, 1e-9)
    check(what, dataset, taped.train, SINGLE, 1e-4)


def test_loops_draw_the_numbers_that_modules_draw():
    assert (dropout._BITS, int(dropout._GOLDEN)) == (BITS, GOLDEN)
    assert (int(dropout._FIRST), int(dropout._SECOND)) == FACTORS


@pytest.mark.parametrize(
    ("which", "exact", "low", "high", "relative"),
    [
        (0, np.exp, -87, 0, True),
        (1, special.erf, -6, 6, False),
        (2, np.tanh, -12, 12, False),
        (3, np.log1p, 0, 1, True),
        (4, special.expit, -80, 80, True),
    ],
    ids=["exp", "erf", "tanh", "log1p", "sigmoid"],
)
def test_functions_are_within_rounding_of_scipy_s(which, exact, low, high, relative):
    for dtype, tolerance in ((np.float32, 4e-7), (np.float64, 5e-16)):
        x = np.linspace(low, high, 100_001).astype(dtype)
        out = np.empty_like(x)
        applied(which, x, out)
        truth = exact(x.astype(np.float64))
        size = np.maximum(np.abs(truth), np.finfo(np.float64).tiny) if relative else 1
        assert np.max(np.abs(out - truth) / size) <= tolerance
        applied(which, np.array([np.nan], dtype), out)
        assert np.isnan(out[0])


@st.composite
def any_networks(draw):
    """Layers at random over vectors, signals or images, with ways around them, to classes or classes of positions."""
    axes = draw(st.integers(0, 2))
    sides = [draw(st.integers(4, 7)) for _ in range(axes)]
    channels = draw(st.integers(1, 3))
    shape, seed = (channels, *sides), draw(st.integers(0, 2**20))
    makes = [(nn.Linear,), (nn.Conv1d, nn.ConvTranspose1d), (nn.Conv2d, nn.ConvTranspose2d)][axes]
    pools = [(), (nn.MaxPool1d, nn.AvgPool1d), (nn.MaxPool2d, nn.AvgPool2d)][axes]
    torch.manual_seed(seed)
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        if pools and min(sides) > 2 and draw(st.booleans()):
            size, stride = draw(st.integers(1, 2)), draw(st.integers(1, 2))
            layers.append(draw(st.sampled_from(pools))(size, stride))
            sides = [(side - size) // stride + 1 for side in sides]
        out = draw(st.sampled_from([2, 4, 6]))
        make = draw(st.sampled_from(makes))
        if make is nn.Linear:
            layers.append(nn.Linear(channels, out))
        elif make in makes[:1]:
            layers.append(make(channels, out, 3, padding=1))
        else:
            size, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
            layers.append(make(channels, out, size, stride, bias=draw(st.booleans())))
            sides = [(side - 1) * stride + size for side in sides]
        norms = [nn.GroupNorm(draw(st.sampled_from([1, 2])), out), nn.Identity()]
        if not axes:
            norms.append(nn.LayerNorm(out))
        activations = [nn.GELU(), nn.GELU("tanh"), nn.Tanh(), nn.SiLU(), nn.Softplus(), nn.Sigmoid()]
        layers += [draw(st.sampled_from(norms)), draw(st.sampled_from(activations))]
        around = draw(st.sampled_from(["", "add", "join"]))
        if around:
            same = [makes[0](out, out, *((3,) if axes else ()), **({"padding": 1} if axes else {}))]
            layers.append(Around(around, nn.Sequential(*same, draw(st.sampled_from(activations)))))
            out *= 2 if around == "join" else 1
        channels = out
    here = axes and draw(st.booleans())
    if here:
        layers.append(makes[0](channels, 5, 1))
    else:
        layers += [nn.Flatten(), nn.Linear(channels * int(np.prod(sides, dtype=int)), 5)]
    network = nn.Sequential(*layers).double()
    for module in network.modules():
        if isinstance(module, nn.GroupNorm | nn.LayerNorm):
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias, 0, 0.3)
    return network, shape, tuple(sides) if here else ()


class Around(nn.Module):
    """What goes around some layers is added to what they give, or joined with it."""

    def __init__(self, how, inner):
        super().__init__()
        self.how, self.inner = how, inner

    def forward(self, x):
        return x + self.inner(x) if self.how == "add" else torch.cat((x, self.inner(x)), 1)


@given(any_networks(), st.integers(2, 20))
@settings(max_examples=60, deadline=None)
def test_gradients_of_any_network_are_those_of_autograd(case, batch):
    network, shape, sides = case
    inputs, _ = batch_of(shape, 5, batch)
    labels = np.random.default_rng(1).integers(0, 5, (batch, *sides))
    tape = Tape(network, shape)
    assert tape.sides == tuple(sides)
    loss, state = run(tape, network, inputs, labels)
    expected = functional.cross_entropy(network(torch.from_numpy(inputs)), torch.from_numpy(labels))
    assert loss == pytest.approx(expected.item(), rel=1e-10)
    slopes = torch.autograd.grad(expected, list(network.parameters()))
    for (name, _), slope in zip(network.named_parameters(), slopes, strict=True):
        torch.testing.assert_close(state[name], slope, rtol=1e-8, atol=1e-10)


def product_of(network, inputs, labels):
    """The Hessian of the mean cross-entropy of what has a label times a vector, and that vector."""
    parameters = list(network.parameters())
    loss = functional.cross_entropy(network(inputs), labels, ignore_index=-1)
    slopes = torch.autograd.grad(loss, parameters, create_graph=True)
    way = [torch.randn_like(value) for value in parameters]
    along = sum((slope * part).sum() for slope, part in zip(slopes, way, strict=True))
    product = torch.autograd.grad(along, parameters)
    return torch.cat([part.reshape(-1) for part in product]), torch.cat([part.reshape(-1) for part in way])


@st.composite
def transformers(draw, positions):
    """Transformers with parameters at random, inputs and targets for them; `positions` says what may be causal."""
    heads = draw(st.integers(1, 3))
    width, batch = heads * draw(st.integers(1, 5)), draw(st.integers(2, 20))
    chance = np.random.default_rng(draw(st.integers(0, 99)))
    kind = draw(st.sampled_from(["ids", "vector", "signal", *(["next", "tied"] if positions else [])]))
    options = {"causal": kind in ("next", "tied"), "tied": kind == "tied", "heads": heads}
    shape = (2, 4 * draw(st.integers(1, 4))) if kind == "signal" else (draw(st.integers(1, 9)),)
    vocabulary = 0 if kind in ("vector", "signal") else 5
    inputs = chance.integers(0, 5, (batch, *shape)) if vocabulary else chance.normal(size=(batch, *shape))
    network = transformer(shape, 5, width, draw(st.integers(1, 2)), vocabulary, **options).double()
    torch.manual_seed(0)
    for value in network.parameters():
        nn.init.normal_(value, 0, 0.5)
    return network, inputs, chance.integers(0, 5, (batch, *(shape if options["causal"] else ())))


@given(transformers(positions=True))
@settings(max_examples=40, deadline=None)
def test_gradients_of_any_transformer_are_those_of_autograd(case):
    network, inputs, labels = case
    tape = Tape(network, inputs.shape[1:])
    loss, state = run(tape, network, inputs, labels)
    expected = functional.cross_entropy(network(torch.from_numpy(inputs)), torch.from_numpy(labels))
    assert loss == pytest.approx(expected.item(), rel=1e-10)
    slopes = torch.autograd.grad(expected, list(network.parameters()))
    for (name, _), slope in zip(network.named_parameters(), slopes, strict=True):
        torch.testing.assert_close(state[name], slope, rtol=1e-8, atol=1e-10)


def checked_product(network, inputs, labels):
    """Compare a product with the Hessian with that of autograd; of classes of positions, a third are masked."""
    masked = labels.dim() > 1
    if masked:
        labels = torch.where(torch.rand(labels.shape) < 1 / 3, -1, labels)
        labels.view(-1)[0] = 0  # one counts
    expected, way = product_of(network, inputs, labels)
    objective = CrossEntropy(classifies=not masked, ignore_index=-1 if masked else None)
    surface = Taped([network], inputs.shape[1:], DOUBLE, objective)
    found = surface.curvature(Data(inputs, labels))(way[None, None])[0, 0]
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


@given(transformers(positions=True))
@settings(max_examples=40, deadline=None)
def test_products_with_the_hessian_of_any_transformer_are_those_of_autograd(case):
    network, *data_of = case
    checked_product(network, *(torch.from_numpy(some) for some in data_of))


def test_ids_that_a_table_does_not_have_are_refused():
    network = transformer((3,), 5, 4, 1, 5)
    surface = Taped([network], (3,), DOUBLE)
    for inputs in (torch.tensor([[0, 5, 1]]), torch.tensor([[0, -1, 1]]), torch.zeros(1, 3)):
        with pytest.raises(MdbenchError, match="integers from 0 to 4"):
            surface.logits(Data(inputs, torch.zeros(1, dtype=torch.int64)))


class Masked(nn.Module):
    """Attention under a mask of one's own, which loops do not know."""

    def __init__(self, mask):
        super().__init__()
        self.tokens, self.attention, self.last = nn.Embedding(5, 4), Attention(4, 2), nn.Linear(4, 3)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x):
        return self.last(self.attention(self.tokens(x), self.mask).mean(1))


def test_loops_know_masks_of_later_keys_alone():
    later = torch.full((6, 6), -torch.inf).triu(1)
    assert taped.write(Masked(later), (6,)).vocabulary == 5
    for other in (later.T.contiguous(), torch.zeros(6, 6), later + 1):
        with pytest.raises(UnknownLayerError):
            taped.write(Masked(other), (6,))


@given(any_networks(), st.integers(2, 20))
@settings(max_examples=60, deadline=None)
def test_products_with_the_hessian_of_any_network_are_those_of_autograd(case, batch):
    network, shape, sides = case
    inputs, labels = (torch.from_numpy(some) for some in batch_of(shape, 5, batch))
    if sides:
        labels = torch.from_numpy(np.random.default_rng(1).integers(0, 5, (batch, *sides)))
    checked_product(network, inputs, labels)
