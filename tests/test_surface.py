"""Loss surfaces: what either kind says about networks is what PyTorch says about each of them alone."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tape import TAPED
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from mdbench.errors import MdbenchError
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.opening import open_surface
from zoo_builder.landscape.stacked import Stacked
from zoo_builder.landscape.surface import STATISTICS_BATCH, Layout
from zoo_builder.landscape.taped import Taped
from zoo_builder.specification.models import cnn1d, mlp, resnet18
from zoo_builder.training.graph import UnknownLayerError

KINDS = {
    "stacked": lambda nets, shape: Stacked(nets, shape, dtype=torch.float64),
    "taped": lambda nets, shape: Taped(nets, shape, torch.float64),
}
#: More than a batch of either kind, and no multiple of one.
EXAMPLES = 150


class Odd(nn.Module):
    """A network that is no list of known layers, smooth."""

    def __init__(self):
        super().__init__()
        self.one, self.norm, self.two = nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3)

    def forward(self, x):
        return self.two(torch.atan(self.norm(self.one(x))))


class Branches(nn.Module):
    """Two linear layers that are added; the one that is called last is the first by name."""

    def __init__(self):
        super().__init__()
        self.one, self.norm, self.two = nn.Linear(6, 5), nn.BatchNorm1d(6), nn.Linear(6, 5)

    def forward(self, x):
        later = self.two(torch.relu(self.norm(x)))
        return later + self.one(x)


class Unused(nn.Module):
    """A linear layer that nobody calls."""

    def __init__(self):
        super().__init__()
        self.one, self.more = nn.Linear(6, 5), nn.Linear(6, 5)

    def forward(self, x):
        return self.one(x)


class Smooth(nn.Sequential):
    """A network that only PyTorch knows, with buffers."""

    def __init__(self):
        super().__init__(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Mish(), nn.Linear(4, 5))


class Wide(nn.Module):
    """A network that puts out far more numbers than come in, and notes of how many examples at a time."""

    seen: list[int] = []

    def __init__(self):
        super().__init__()
        self.one, self.last = nn.Linear(6, 1000), nn.Linear(1000, 5)

    def forward(self, x):
        self.seen.append(len(x))
        return self.last(torch.tanh(self.one(x)))


class Pair(nn.Module):
    """A layer that gives two tensors."""

    def forward(self, x):
        return torch.tanh(x), x


class Paired(nn.Module):
    """A network whose numbers cannot be counted."""

    def __init__(self):
        super().__init__()
        self.one, self.pair, self.last = nn.Linear(6, 8), Pair(), nn.Linear(8, 5)

    def forward(self, x):
        one, other = self.pair(self.one(x))
        return self.last(one * other)


class Tied(nn.Module):
    """One matrix in two layers, one shift by two names, and a layer by two."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 5)
        self.norm = nn.BatchNorm1d(6, affine=False)
        self.register_buffer("shift", torch.randn(6), persistent=False)
        self.two.weight, self.again = self.one.weight, self.last
        self.register_buffer("too", self.shift)

    def forward(self, x):
        x = torch.tanh(self.norm(self.one(x) + self.shift))
        return self.again(torch.tanh(self.two(x)) - self.too)


class Named(nn.Module):
    """A layer with a second name that nobody calls it by, so that the loops know the network."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(6, 5)
        self.head = self.one

    def forward(self, x):
        return self.one(x)


def trained(make, shape, count=2, seed=0):
    """A few networks after a few steps, so that statistics and scales are not those of the beginning; double precision."""
    torch.manual_seed(seed)
    data = Data(torch.randn(EXAMPLES, *shape).double(), torch.arange(EXAMPLES) % 5)
    found = []
    for _ in range(count):
        network = make().double().train()
        for value in network.parameters():
            nn.init.normal_(value, std=0.4) if value.dim() == 1 else None
        optimizer = torch.optim.SGD(network.parameters(), 0.02)
        for _ in range(3):
            optimizer.zero_grad()
            functional.cross_entropy(network(data.inputs), data.targets).backward()
            optimizer.step()
        found.append(network.eval())
    return found, data


def vector(network):
    return torch.cat([value.detach().reshape(-1) for value in network.parameters()])


def at(network, point):
    """A copy of a network elsewhere."""
    other = copy.deepcopy(network)
    torch.nn.utils.vector_to_parameters(point, other.parameters())
    return other


def loss_of(network, data, targets=None):
    return functional.cross_entropy(network(data.inputs), data.targets if targets is None else targets)


def product(network, data, direction):
    """A Hessian–vector product by differentiating twice."""
    values = list(network.parameters())
    slope = torch.autograd.grad(loss_of(network, data), values, create_graph=True)
    inner = sum(
        (part.reshape(-1) * part_v).sum()
        for part, part_v in zip(slope, direction.split([v.numel() for v in values]), strict=True)
    )
    return torch.cat([part.reshape(-1) for part in torch.autograd.grad(inner, values, materialize_grads=True)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TAPED)
def test_a_surface_is_what_each_network_is_alone(name, kind):
    make, shape = TAPED[name]
    nets, data = trained(make, shape)
    surface = KINDS[kind](nets, shape)
    rng = torch.Generator().manual_seed(1)
    points = surface.points + 0.1 * torch.randn(surface.points.shape, generator=rng).double()
    directions = torch.randn(len(nets), 3, surface.layout.size, generator=rng).double()
    chosen = torch.randint(0, EXAMPLES, (2, 40), generator=rng)
    several = torch.stack([surface.points, points], 1)
    losses, errors = surface.scores(data, several)
    whole, slopes = surface.gradients(data, points)
    some, some_slopes = surface.gradients(data, points, chosen)
    batched, batch_slopes = surface.gradients(data, points, chosen, training=True)
    curvature = surface.curvature(data)
    once, again = curvature(directions), curvature(directions[:, 1:2])
    logits, elsewhere = surface.logits(data), surface.logits(data, points)
    renormalized = surface.renormalized(data, points)
    close = {"rtol": 1e-9, "atol": 1e-11}
    for row, network in enumerate(nets):
        assert torch.equal(surface.points[row], vector(network))
        moved = at(network, points[row])
        for m, one in enumerate((network, moved)):
            out = one(data.inputs)
            torch.testing.assert_close((logits, elsewhere)[m][row], out.detach(), **close)
            assert losses[row, m] == pytest.approx(loss_of(one, data).item(), rel=1e-9)
            assert errors[row, m] == pytest.approx(100 * (out.argmax(1) != data.targets).double().mean().item())
        part = Data(data.inputs[chosen[row]], data.targets[chosen[row]])
        for training, examples, found, slope in (
            (False, data, whole, slopes),
            (False, part, some, some_slopes),
            (True, part, batched, batch_slopes),
        ):
            one = at(network, points[row]).train(training)
            value = loss_of(one, examples)
            assert found[row] == pytest.approx(value.item(), rel=1e-9)
            expected = torch.autograd.grad(value, list(one.parameters()), materialize_grads=True)
            torch.testing.assert_close(slope[row], torch.cat([part.reshape(-1) for part in expected]), **close)
        for v in range(3):
            # A product is exact to rounding: far below the 1e-6 that docs/metrics.md states.
            torch.testing.assert_close(once[row, v], product(network, data, directions[row, v]), rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(again[row, 0], once[row, 1], **close)
        updated = at(network, points[row])
        size = min(STATISTICS_BATCH, EXAMPLES)
        update_bn([data.inputs[:size]], updated)
        torch.testing.assert_close(renormalized.logits(data)[row], updated.eval()(data.inputs).detach(), **close)
        for key, value in surface.network(row).state_dict().items():
            if not key.endswith("num_batches_tracked"):
                torch.testing.assert_close(value.double(), network.state_dict()[key].double())


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_are_means_over_batches(kind):
    nets, _ = trained(lambda: cnn1d((1, 20), 5, 3), (1, 20))
    torch.manual_seed(3)
    n = 2 * STATISTICS_BATCH + 40
    data = Data(torch.randn(n, 1, 20).double(), torch.arange(n) % 5)
    surface = KINDS[kind](nets, (1, 20)).renormalized(data, KINDS[kind](nets, (1, 20)).points)
    for row, network in enumerate(nets):
        updated = copy.deepcopy(network)
        update_bn(data.inputs[: 2 * STATISTICS_BATCH].split(STATISTICS_BATCH), updated)
        torch.testing.assert_close(surface.logits(data)[row], updated.eval()(data.inputs).detach())


@pytest.mark.parametrize("kind", KINDS)
def test_a_product_is_that_of_the_dense_hessian(kind):
    nets, data = trained(lambda: mlp((6,), 5, 4), (6,))
    surface = KINDS[kind](nets, (6,))
    products = surface.curvature(data)(torch.eye(surface.layout.size).double().expand(2, -1, -1))
    for row, network in enumerate(nets):

        def loss(point, network=network):
            state = {
                **dict(network.named_buffers()),
                **surface.layout.tensors(point),
            }
            return functional.cross_entropy(torch.func.functional_call(network, state, (data.inputs,)), data.targets)

        dense = torch.autograd.functional.hessian(loss, surface.points[row])
        assert (products[row] - dense).norm() <= 1e-9 * dense.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_the_company_changes_nothing(kind):
    nets, data = trained(lambda: cnn1d((1, 20), 5, 3), (1, 20), count=3)
    surface = KINDS[kind](nets, (1, 20))
    v = torch.randn(3, 2, surface.layout.size).double()
    every = surface.curvature(data)(v)
    for row, network in enumerate(nets):
        for one in (surface.part([row]), KINDS[kind]([network], (1, 20))):
            assert len(one) == 1
            torch.testing.assert_close(one.logits(data), surface.logits(data)[row : row + 1], rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(
                one.features(data), surface.features(data)[row : row + 1], rtol=1e-12, atol=1e-12
            )
            torch.testing.assert_close(one.curvature(data)(v[row : row + 1])[0], every[row], rtol=1e-11, atol=1e-12)
    curvature = surface.curvature(data)
    for rows in ([2, 0], [1], [0, 1, 2]):  # in any order, asked before or not
        torch.testing.assert_close(curvature(v[rows], rows), every[rows], rtol=1e-11, atol=1e-12)
    twice = surface.part([2, 0, 2])
    assert torch.equal(twice.points, surface.points[[2, 0, 2]])


@pytest.mark.parametrize("name", [name for name in TAPED if name != "resnet18"])
def test_features_are_what_the_last_layer_sees(name):
    make, shape = TAPED[name]
    nets, data = trained(make, shape)
    for surface in (KINDS["stacked"](nets, shape), KINDS["taped"](nets, shape)):
        seen = surface.features(data)
        for row, network in enumerate(nets):
            last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
            expected = network(data.inputs)
            torch.testing.assert_close(last(seen[row]), expected)


#: What stands behind the last linear layer is not what it sees.
BEHIND = {
    "normalization": lambda: nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 5), nn.BatchNorm1d(5)),
    "normalization and ReLU": lambda: nn.Sequential(nn.Linear(6, 7), nn.Linear(7, 5), nn.BatchNorm1d(5), nn.ReLU()),
    "ReLU": lambda: nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 5), nn.ReLU()),
    "sum": Branches,
    "convolution": lambda: nn.Sequential(nn.Conv1d(2, 4, 2), nn.Flatten(), nn.Linear(8, 5), nn.BatchNorm1d(5)),
}


@pytest.mark.parametrize("name", BEHIND)
def test_the_last_linear_layer_need_not_be_the_last_layer(name):
    shape = (2, 3) if name == "convolution" else (6,)
    nets, data = trained(BEHIND[name], shape)
    surfaces = [kind(nets, shape) for kind in KINDS.values()]
    for row, network in enumerate(nets):
        seen = []
        for module in network.modules():
            if isinstance(module, nn.Linear):
                module.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].detach()))
        network(data.inputs)
        last = seen[-1]
        for surface in surfaces:
            torch.testing.assert_close(surface.features(data)[row], last, rtol=1e-9, atol=1e-11)


def test_without_a_linear_layer_there_are_no_features():
    nets, data = trained(lambda: nn.Sequential(nn.Conv1d(2, 5, 4), nn.Flatten(), nn.BatchNorm1d(5)), (2, 4))
    for kind in KINDS.values():
        with pytest.raises(MdbenchError, match="no linear layer"):
            kind(nets, (2, 4)).features(data)
    nets, data = trained(Unused, (6,))
    for surface in (
        open_surface(nets, (6,), dtype=torch.float64),
        KINDS["stacked"](nets, (6,)),
    ):  # that of the one it uses
        torch.testing.assert_close(surface.features(data), data.inputs.expand(len(nets), -1, -1), rtol=1e-12, atol=0)


def test_where_memory_is_short_nothing_is_kept_and_products_are_the_same(monkeypatch):
    nets, data = trained(lambda: cnn1d((1, 20), 5, 3), (1, 20))
    surface = KINDS["taped"](nets, (1, 20))
    v = torch.randn(2, 2, surface.layout.size).double()
    kept = surface.curvature(data)
    kept(v)
    monkeypatch.setattr("zoo_builder.landscape.taped._KEPT", 0)
    short = surface.curvature(data)
    for _ in range(2):
        torch.testing.assert_close(short(v), kept(v), rtol=1e-12, atol=1e-13)


@settings(max_examples=25, deadline=None)
@given(scale=st.sampled_from([1.0, 5.0, 30.0]), seed=st.integers(0, 99))
def test_single_precision_holds_where_networks_are_sure_of_themselves(scale, seed):
    """Where p is nearly 1 for the right class, 1 − p must not drown in rounding."""
    torch.manual_seed(seed)
    network = mlp((4,), 3, 5, depth=1, norm=False)
    with torch.no_grad():
        network[-1].weight.mul_(scale)
    inputs = torch.randn(64, 4)
    data = Data(inputs, network(inputs).argmax(1))
    single, double = Taped([network], (4,), torch.float32), Taped([network.double()], (4,), torch.float64)
    v = torch.randn(1, 2, single.layout.size)
    exact = double.curvature(data)(v.double())
    assert (single.curvature(data)(v).double() - exact).norm() <= 1e-4 * exact.norm()


@pytest.mark.parametrize("make", [Wide, Paired])
def test_blocks_hold_what_the_network_puts_out(make, monkeypatch):
    nets, data = trained(make, (6,))
    whole = Stacked(nets, (6,), dtype=torch.float64)
    v = torch.randn(2, 1, whole.layout.size).double()
    expected = whole.logits(data), *whole.gradients(data, whole.points), whole.curvature(data)(v), whole.features(data)
    limit = 100_000
    monkeypatch.setattr("zoo_builder.landscape.stacked._BLOCK", limit)
    monkeypatch.setattr(Wide, "seen", [])
    short = Stacked(nets, (6,), dtype=torch.float64)
    Wide.seen.clear()
    found = short.logits(data), *short.gradients(data, short.points), short.curvature(data)(v)
    several = list(Wide.seen)
    for mine, theirs in zip((*found, short.features(data)), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
    if make is Wide:
        assert limit / 2 < max(several) * 2 * 1000 <= limit


def test_blocks_of_a_large_network_hold_few_examples():
    """A ResNet-18 of width 64 puts out some millions of numbers an example."""
    surface = Stacked([resnet18((3, 32, 32), 10, 64)] * 2, (3, 32, 32))
    data = Data(torch.zeros(1, 3, 32, 32).expand(100, -1, -1, -1), torch.zeros(100, dtype=torch.int64))
    taken = []
    surface._run = lambda points, buffers, inputs, training=False: (
        taken.append(inputs.shape[1]) or torch.zeros(2, inputs.shape[1], 10)
    )
    surface.logits(data)
    assert sum(taken) == 100
    # Convolutions and normalizations: five each of 64 · 32 · 32 numbers, then four each of a half, a quarter, an eighth.
    least = 2 * (5 + 4 / 2 + 4 / 4 + 4 / 8) * 64 * 32 * 32
    assert max(taken) * 2 * least <= 2**25


@pytest.mark.parametrize("seed", range(5))
def test_single_precision_holds_where_networks_are_sure_of_everything(seed):
    """Where the largest loss is 1e-5 nats, 1 − p is all there is: it must be no difference of numbers that are nearly 1."""
    torch.manual_seed(seed)
    network = mlp((4,), 3, 5, depth=1, norm=False)
    with torch.no_grad():
        network[-1].weight.mul_(60)
    inputs = torch.randn(2000, 4)
    with torch.no_grad():
        logits = copy.deepcopy(network).double()(inputs.double())
    labels = logits.argmax(1)
    losses = functional.cross_entropy(logits, labels, reduction="none")
    sure = (losses < 1e-5) & (losses > 1e-9)
    assert sure.sum() > 50
    data = Data(inputs[sure], labels[sure])
    exact = copy.deepcopy(network).double()
    for kind, tolerance in ((Taped, 1e-5), (Stacked, 2e-2)):
        single, double = kind([network], (4,), dtype=torch.float32), kind([exact], (4,), dtype=torch.float64)
        v = torch.randn(1, 2, single.layout.size)
        products = double.curvature(data)(v.double())
        assert (single.curvature(data)(v) - products).norm() <= tolerance * products.norm()
        for training in (False, True):
            slopes = double.gradients(data, double.points, training=training)[1]
            found = single.gradients(data, single.points, training=training)[1]
            assert (found - slopes).norm() <= tolerance * slopes.norm()


@pytest.mark.parametrize("name", ["taped", "stacked"])
def test_networks_of_any_precision_that_are_partly_frozen(name):
    """What fine-tuning leaves: layers that require no gradient, networks in half, single and double precision."""
    make, known = {"taped": (lambda: cnn1d((1, 20), 5, 3), Taped), "stacked": (Smooth, Stacked)}[name]
    shape = (1, 20) if name == "taped" else (6,)
    nets, data = trained(make, shape, count=3)
    exact = open_surface(nets, shape, dtype=torch.float64)
    assert isinstance(exact, known)
    _, before = exact.gradients(data, exact.points)
    for network, dtype in zip(nets, (torch.float64, torch.float32, torch.bfloat16), strict=True):
        network.to(dtype)
        next(network.parameters()).requires_grad_(False)
    nets[1].requires_grad_(False)
    surface = open_surface(nets, shape, dtype=torch.float64)
    assert isinstance(surface, known)
    _, slopes = surface.gradients(data, surface.points)
    torch.testing.assert_close(slopes[0], before[0])
    torch.testing.assert_close(slopes[1], before[1], rtol=1e-4, atol=1e-5)
    assert surface.features(data).shape[:2] == (3, EXAMPLES)
    for row, network in enumerate(nets):
        copied = surface.network(row).state_dict()
        torch.testing.assert_close(copied, network.state_dict(), rtol=0, atol=0, check_dtype=False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("make", [lambda: mlp((6,), 5, 4), Tied])
def test_networks_on_a_gpu_have_a_surface_anywhere(make, device):
    nets, data = trained(make, (6,))
    expected = open_surface(nets, (6,), dtype=torch.float64)
    surface = open_surface(
        [copy.deepcopy(network).cuda() for network in nets], (6,), device=device, dtype=torch.float64
    )
    slopes, own = surface.gradients(data, surface.points)[1], expected.gradients(data, expected.points)[1]
    torch.testing.assert_close(slopes.cpu(), own)
    torch.testing.assert_close(surface.network(1).state_dict(), nets[1].state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_one_surface_have_the_same_buffers(kind):
    nets = [mlp((6,), 5, 4), mlp((6,), 5, 4)]
    nets[1].register_buffer("more", torch.zeros(2))
    with pytest.raises(ValueError, match="same names and shapes"):
        KINDS[kind](nets, (6,))


def test_what_is_one_parameter_by_several_names_is_one():
    nets, data = trained(Tied, (6,))
    surface = open_surface(nets, (6,), dtype=torch.float64)
    assert isinstance(surface, Stacked)
    v = torch.randn(2, 1, surface.layout.size).double()
    logits, products = surface.logits(data), surface.curvature(data)(v)
    _, slopes = surface.gradients(data, surface.points)
    for row, network in enumerate(nets):
        torch.testing.assert_close(logits[row], network(data.inputs).detach(), rtol=1e-9, atol=1e-11)
        slope = torch.autograd.grad(loss_of(network, data), list(network.parameters()))
        torch.testing.assert_close(slopes[row], torch.cat([part.reshape(-1) for part in slope]))
        torch.testing.assert_close(products[row, 0], product(network, data, v[row, 0]), rtol=1e-8, atol=1e-10)
        copied = surface.network(row)
        assert copied.two.weight is copied.one.weight
        torch.testing.assert_close(copied(data.inputs), network(data.inputs), rtol=1e-12, atol=1e-12)


def test_a_copy_of_a_network_has_all_its_names():
    nets, _ = trained(Named, (6,))
    for kind in KINDS.values():
        again = kind(nets, (6,)).network(1)
        assert again.head is again.one
        torch.testing.assert_close(again.state_dict(), nets[1].state_dict())


def test_the_kind_is_chosen_by_what_is_known():
    nets, _ = trained(lambda: mlp((6,), 5, 4), (6,))
    assert isinstance(open_surface(nets, (6,)), Taped)
    assert isinstance(open_surface(nets, (6,), loss=functional.cross_entropy), Stacked)
    assert isinstance(open_surface([Odd()], (6,)), Stacked)
    with pytest.raises(UnknownLayerError):
        Taped([Odd()], (6,), torch.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_one_surface_have_one_shape(kind):
    with pytest.raises(ValueError, match="same names and shapes"):
        KINDS[kind]([mlp((6,), 5, 4), mlp((6,), 5, 3)], (6,))
    with pytest.raises(ValueError, match="at least one"):
        KINDS[kind]([], (6,))


def test_a_layout_says_where_parameters_lie():
    network = cnn1d((1, 20), 5, 3)
    layout = Layout(network)
    point = vector(network)
    tensors = layout.tensors(point)
    assert {name: value.shape for name, value in tensors.items()} == {
        name: value.shape for name, value in network.named_parameters()
    }
    assert all(torch.equal(tensors[name], value) for name, value in network.named_parameters())
    assert torch.equal(layout.points({name: value[None] for name, value in tensors.items()})[0], point)
    assert [layer.name for layer in layout.layers] == ["0", "1", "3", "4", "6", "7", "10"]
    assert np.concatenate([np.arange(layout.size)[layer.block] for layer in layout.layers]).tolist() == list(
        range(layout.size)
    )


def test_data_are_inputs_with_targets():
    with pytest.raises(MdbenchError, match="3 inputs and 2 targets"):
        Data(torch.zeros(3, 1), torch.zeros(2))
    with pytest.raises(MdbenchError, match="0 inputs"):
        Data(torch.zeros(0, 1), torch.zeros(0))
    data = Data(torch.zeros(3, 2, 4), torch.zeros(3))
    assert len(data.first(2)) == 2
    assert data.first(5) is data
    assert data.laid_out.shape == (3, 8)
