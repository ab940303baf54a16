"""What compiled loops compute from a tape is what PyTorch computes from the network, whatever it is made of."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core import caching
from test_stack import NETWORKS, Stopped, networks
from torch import nn
from torch.nn import functional

from mdbench.errors import MdbenchError
from zoo_builder.specification.dropout import Dropout
from zoo_builder.specification.models import resnet18
from zoo_builder.specification.recipe import TrainingSpec
from zoo_builder.training import kernels, taped
from zoo_builder.training.graph import UnknownLayerError
from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.learning import Learning, recipe_of
from zoo_builder.training.tape import Memory, Tape

DOUBLE = np.dtype(np.float64)


class Ways(nn.Module):
    """Values that go several ways, so that their gradients are sums: twice the same, over each other, at different sizes."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.two = nn.Conv2d(4, 4, 5, padding=2)
        self.three = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.last = nn.Linear(4, 5)

    def forward(self, x):
        x = self.one(x)
        y = self.norm(x)
        z = torch.relu(self.two(y)) + self.three(y)
        z = z + y + x + x
        return self.last(torch.flatten(self.pool(z + torch.relu(z)), 1))


class Pooled(nn.Module):
    """An input that reaches the last layer without any parameter in between, and an identity."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Identity())
        self.last = nn.Linear(3, 5)

    def forward(self, x):
        return self.last(self.body(x))


class Featured(nn.Module):
    """Batch normalization of the features of a signal."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 3, stride=2, bias=False)
        self.flat = nn.Flatten()
        self.norm = nn.BatchNorm1d(12)
        self.around = nn.BatchNorm1d(12)
        self.last = nn.Linear(12, 5)

    def forward(self, x):
        x = self.flat(self.conv(x))
        return self.last(torch.relu(self.norm(x)) + self.around(x))


class Broad(nn.Module):
    """Matrices so large that they are cut: pieces that are not alike, and positions that see parts of them, or nothing."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 100, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(100)
        self.second = nn.Conv2d(100, 130, 3, stride=2, padding=1, bias=False)
        self.around = nn.Conv2d(130, 170, 1, padding=1)
        self.inner, self.last = nn.Linear(170 * 16, 8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.around(torch.relu(self.second(torch.relu(self.norm(self.first(x))))))
        return self.last(torch.relu(self.inner(torch.flatten(x, 1))))


TAPED = {
    **{name: (make, shape) for name, (make, shape, form) in NETWORKS.items() if form == "stacked" or name == "gelu"},
    "ways": (Ways, (2, 6, 5)),
    "pooled": (Pooled, (3, 7)),
    "featured": (Featured, (2, 9)),
    "broad": (Broad, (2, 4, 3)),
}


def poisoned(tape, batch, dtype=DOUBLE):
    """Memory that holds no number but the zeros around values: what is read must have been written."""
    memory = Memory(tape, batch, dtype)
    poison = np.full_like(memory.arena, np.nan)
    for value in tape.values:
        high, wide, above, beside = (int(value[name]) for name in ("height", "width", "above", "beside"))
        if above or beside:
            shape = (high + 2 * above, wide + 2 * beside, int(value["channels"]) * batch)
            whole = poison[value["at"] * batch :][: np.prod(shape)].reshape(shape)
            inside = np.zeros(shape, bool)
            inside[above : above + high, beside : beside + wide] = True
            whole[~inside] = 0
    memory.arena[:] = poison
    memory.saved[:] = memory.scratch[:] = np.nan
    return memory


def run(tape, network, inputs, labels, dtype=DOUBLE):
    """Loss, gradients and buffers after a step that changes nothing."""
    batch = len(labels)
    memory = poisoned(tape, batch, dtype)
    parameters, buffers = tape.parameters(network, dtype), tape.buffers(network, dtype)
    examples = np.moveaxis(inputs, 1, -1).reshape(batch, -1).astype(dtype)
    gradient, loss = np.full_like(parameters, np.nan), np.empty(1, dtype)
    loss_name = "per_position" if tape.sides else "cross_entropy"
    learning = Learning.of(recipe_of(TrainingSpec(momentum=0), loss_name, 0), tape, parameters, buffers)
    network_of = tape.values, tape.steps, parameters, learning.moments, gradient, buffers
    room = memory.arena, memory.saved, memory.scratch
    taught = np.arange(batch)[None], np.moveaxis(labels, 0, -1).reshape(1, -1), np.empty((1, 0, 0), dtype)
    keys = np.zeros((1, len(tape.drops)), np.uint64)
    told = np.zeros(1), *learning.arrays, np.zeros(1), learning.aside, keys, 0, loss
    kernels.train(*network_of, *room, examples, *taught, *told)
    return loss[0], tape.state(gradient, buffers, 1)


def gradients(network, inputs, labels):
    loss = functional.cross_entropy(network.train()(torch.from_numpy(inputs)), torch.from_numpy(labels))
    names = [name for name, _ in network.named_parameters()]
    slopes = dict(zip(names, torch.autograd.grad(loss, list(network.parameters())), strict=True))
    return loss.item(), {**slopes, **dict(network.named_buffers())}


def batch_of(shape, classes, size=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(size, *shape)), rng.integers(0, classes, size)


def classes_of(network):
    return next(module for module in reversed(list(network.modules())) if isinstance(module, nn.Linear)).out_features


@pytest.mark.parametrize("name", TAPED)
def test_a_tape_gives_the_loss_and_gradients_of_its_network(name):
    make, shape = TAPED[name]
    network = networks(make, 1)[0]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    tape = Tape(network, shape)
    # Batches that a strip of normalization holds many channels of, few, and not even one.
    for size in (6, 37, 2100):
        network.load_state_dict(before)
        inputs, labels = batch_of(shape, classes_of(network), size)
        loss, state = run(tape, network, inputs, labels)
        expected, slopes = gradients(network, inputs, labels)
        assert loss == pytest.approx(expected, rel=1e-10)
        assert set(state) == set(slopes)
        for key, value in state.items():
            torch.testing.assert_close(
                value, slopes[key], rtol=1e-8, atol=1e-10, msg=lambda said, key=key: f"{key} {said}"
            )


@pytest.mark.parametrize("name", TAPED)
@pytest.mark.parametrize("size", [1, 8, 13])
def test_a_tape_measures_as_its_network_does(name, size):
    make, shape = TAPED[name]
    network = networks(make, 1)[0].eval()
    inputs, labels = batch_of(shape, classes_of(network), size)
    tape = Tape(network, shape)
    memory = poisoned(tape, 8)
    loss, wrong = kernels.evaluate(
        tape.values,
        tape.steps,
        tape.parameters(network, DOUBLE),
        tape.buffers(network, DOUBLE),
        memory.arena,
        memory.saved,
        memory.scratch,
        np.moveaxis(inputs, 1, -1).reshape(size, -1),
        np.arange(size),
        labels,
        8,
    )
    with torch.no_grad():
        logits = network(torch.from_numpy(inputs))
    expected = functional.cross_entropy(logits, torch.from_numpy(labels), reduction="sum").item()
    assert loss == pytest.approx(expected, rel=1e-10)
    assert wrong == (logits.argmax(1).numpy() != labels).sum()


@st.composite
def convolutions(draw):
    axes = draw(st.integers(1, 2))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(axes))
    stride = tuple(draw(st.integers(1, 4)) for _ in range(axes))
    padding = tuple(draw(st.integers(0, size // 2)) for size in kernel)
    size = tuple(draw(st.integers(max(1, k - 2 * p), 8)) for k, p in zip(kernel, padding, strict=True))
    return kernel, stride, padding, size, *(draw(st.integers(1, 5)) for _ in range(2)), draw(st.booleans())


@given(convolutions(), st.integers(1, 40))
@settings(max_examples=60)
def test_convolutions_of_any_shape(case, batch):
    kernel, stride, padding, size, channels, out, biased = case
    make = nn.Conv1d if len(size) == 1 else nn.Conv2d
    torch.manual_seed(0)
    network = nn.Sequential(
        make(channels, out, kernel, stride, padding, bias=biased),
        nn.ReLU(),
        make(out, 3, 3, padding=1),  # needs the gradient of its input, and zeros around it
        nn.Flatten(),
        nn.LazyLinear(4),
    )
    network(torch.zeros(1, channels, *size))
    network = nn.Sequential(*network).double()
    inputs, labels = batch_of((channels, *size), 4, batch)
    loss, state = run(Tape(network, (channels, *size)), network, inputs, labels)
    expected, slopes = gradients(network, inputs, labels)
    assert loss == pytest.approx(expected, rel=1e-10)
    for key, value in state.items():
        torch.testing.assert_close(value, slopes[key], rtol=1e-8, atol=1e-10)


def test_vectors_hold_every_parameter_and_buffer():
    network = networks(lambda: resnet18((3, 8, 8), 10, 2), 1)[0]
    tape = Tape(network, (3, 8, 8))
    state = tape.state(tape.parameters(network, DOUBLE), tape.buffers(network, DOUBLE), 7)
    expected = network.state_dict()
    assert set(state) == set(expected)
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            assert value == 7
            assert value.dtype == torch.int64
        else:
            assert torch.equal(value, expected[name])


def test_gradients_leave_their_places_to_others():
    network = resnet18((3, 32, 32), 10, 2)
    tape = Tape(network, (3, 32, 32))
    values = [value for value in tape.values if value["slope"] >= 0]
    held = sum(
        int((value["height"] + 2 * value["above"]) * (value["width"] + 2 * value["beside"]) * value["channels"])
        for value in values
    )
    behind = tape.size - min(int(value["slope"]) for value in values)
    assert behind < held / 4


def test_what_is_not_a_number_stays_visible():
    network = networks(TAPED["cnn1d"][0], 1)[0]
    inputs, labels = batch_of((2, 30), 5)
    inputs[3, 1, 7] = np.nan
    loss, state = run(Tape(network, (2, 30)), network, inputs, labels)
    assert np.isnan(loss)
    assert all(value.isnan().any() for name, value in state.items() if name.endswith("weight"))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(4, 4)

    def forward(self, x):
        return self.one(self.one(x))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.two(self.one(x))


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.one(x)


class Own(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Padded(nn.Module):
    """A value whose features are counted one by one, and that has zeros around it for a convolution."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv1d(2, 2, 3), nn.Conv1d(2, 2, 3, padding=1)
        self.last, self.flat = nn.Linear(12, 5), nn.Flatten()

    def forward(self, x):
        x = self.one(x)
        return self.last(self.flat(x) + self.flat(self.two(x)))


class Joined(nn.Module):
    """Channels joined three at a time."""

    def __init__(self):
        super().__init__()
        self.one, self.last = nn.Conv1d(2, 2, 1), nn.Conv1d(6, 5, 1)

    def forward(self, x):
        x = self.one(x)
        return self.last(torch.cat([x, x, x], 1))


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (Shared, (4,)),
        (Tied, (4,)),
        (Unused, (4,)),
        (lambda: nn.Sequential(Own(4, 3)), (4,)),
        (Padded, (2, 8)),
        (lambda: nn.Sequential(nn.Linear(4, 3)), (2, 4)),  # of every row
        (lambda: nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten()), (2, 3, 3)),  # logits in another order
        (lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.BatchNorm1d(6)), (2, 4)),
        (lambda: nn.Sequential(nn.Conv1d(2, 1, 3)), (2, 4)),  # positions without classes
        (lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.LayerNorm([3, 2]), nn.Flatten()), (2, 4)),  # a weight a place
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3, elementwise_affine=False)), (4,)),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3, bias=False)), (4,)),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.Softplus(2)), (4,)),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.ELU()), (4,)),
        (lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.MaxPool1d(2, padding=1)), (2, 8)),
        (lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.MaxPool1d(2, dilation=2)), (2, 8)),
        (lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.AvgPool1d(4, ceil_mode=True)), (2, 8)),
        (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.AvgPool2d(2, divisor_override=3)), (2, 8, 8)),
        (lambda: nn.Sequential(nn.ConvTranspose1d(2, 3, 3, padding=1)), (2, 8)),
        (lambda: nn.Sequential(nn.ConvTranspose1d(2, 4, 3, groups=2)), (2, 8)),
        (
            lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), Dropout(0.5), nn.Linear(6, 5)),
            (2, 4),
        ),  # of positions
        (lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.Flatten(), nn.GroupNorm(2, 8), nn.Linear(8, 5)), (2, 4)),
        (Joined, (2, 4)),
        (lambda: nn.Sequential(nn.ReLU()), (4,)),  # nothing to learn
        (lambda: nn.Sequential(nn.Conv1d(5, 3, 4), nn.Flatten()), (2, 4)),  # other channels
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(5)), (4,)),
        (Stopped, (4,)),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.Identity(), nn.Dropout()), (4,)),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False)), (4,)),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=None)), (4,)),
        (lambda: nn.Sequential(nn.Flatten()), (4,)),
        *((make, shape) for name, (make, shape, form) in NETWORKS.items() if form == "mapped" and name != "gelu"),
    ],
)
def test_what_the_loops_do_not_know_is_left_to_pytorch(make, shape):
    with pytest.raises(UnknownLayerError):
        taped.write(make().double(), shape, torch.float64)


def test_loops_that_cannot_be_kept_say_where_they_could_be(monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    with pytest.raises(MdbenchError, match=r"no locator available .* set NUMBA_CACHE_DIR"):
        compiled(lambda x: x)
