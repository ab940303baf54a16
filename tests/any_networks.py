"""Networks as people have them, in small, and what an independent computation says of their losses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import prune

from mdbench.errors import MdbenchError
from zoo_builder.landscape import measure
from zoo_builder.landscape.measurement import Measurements


@dataclass(frozen=True)
class Given:
    """A network with its data, as `measure` is given them, and its loss as plain PyTorch computes it on all data at once.

    Attributes
    ----------
    network, loss, data : for `measure`.
    plain : the network in double precision → its loss, a scalar.
    """

    network: nn.Module
    loss: Any
    data: Any
    plain: Callable[[nn.Module], Tensor]


def gradient(network: nn.Module, plain: Callable[[nn.Module], Tensor], point: Tensor) -> Tensor:
    own = list(network.parameters())
    nn.utils.vector_to_parameters(point, own)
    slopes = torch.autograd.grad(plain(network), own, allow_unused=True, materialize_grads=True)
    return torch.cat([slope.reshape(-1) for slope in slopes])


def dense_hessian(given: Given, step: float = 1e-5) -> Tensor:
    """The Hessian (P, P) by differences of gradients in double precision: no second derivative of PyTorch's is asked for."""
    network = given.network.double().eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            point = nn.utils.parameters_to_vector(network.parameters()).detach()
            rows = []
            for at in range(len(point)):
                way = torch.zeros_like(point)
                way[at] = step
                ends = [gradient(network, given.plain, point + sign * way) for sign in (1, -1)]
                rows.append((ends[0] - ends[1]) / (2 * step))
            nn.utils.vector_to_parameters(point, network.parameters())
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    whole = torch.stack(rows)
    return (whole + whole.T) / 2


class Encoder(nn.Module):
    """Attention over token ids."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), 1)
        self.out = nn.Linear(4, 3)

    def forward(self, tokens):
        return self.out(self.encoder(self.embedding(tokens)).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cells, self.out = kind(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.cells(x)[0][:, -1])


class Physics(nn.Module):
    """A solution and its residual: derivatives by its inputs are part of what it puts out."""

    def __init__(self):
        super().__init__()
        self.solution = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1))

    def forward(self, x):
        x = x.requires_grad_()
        with torch.enable_grad():
            u = self.solution(x)
            (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        return torch.cat([u, slope[:, 1:] + 3 * slope[:, :1]], 1)


class Segmentation(nn.Module):
    """A small UNet: a class a pixel."""

    def __init__(self):
        super().__init__()
        self.down, self.norm = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.deep, self.up = nn.Conv2d(3, 3, 3, stride=2, padding=1), nn.ConvTranspose2d(3, 3, 2, stride=2)
        self.out = nn.Conv2d(6, 3, 1)

    def forward(self, x):
        shallow = torch.relu(self.norm(self.down(x)))
        return self.out(torch.cat([shallow, self.up(functional.gelu(self.deep(shallow)))], 1))


class Language(nn.Module):
    """A causal transformer with a tied embedding, that takes keyword arguments and puts out a mapping."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.1, batch_first=True, activation="gelu")
        self.out = nn.Linear(4, 6, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, input_ids, attention_mask=None):
        size = input_ids.shape[1]
        ahead = torch.triu(torch.full((size, size), -torch.inf, dtype=self.out.weight.dtype), 1)
        return {"logits": self.out(self.layer(self.embedding(input_ids), src_mask=ahead))}


class Scaled(nn.Module):
    """A learned temperature, which has no axis, and a parameter that holds nothing."""

    def __init__(self):
        super().__init__()
        self.layer, self.scale, self.nothing = (
            nn.Linear(5, 3),
            nn.Parameter(torch.tensor(1.5)),
            nn.Parameter(torch.empty(0)),
        )

    def forward(self, x):
        return self.layer(x) * self.scale.exp()


class Padded(nn.Module):
    """Tokens, of which 0 is padding, whose vector training leaves alone."""

    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(7, 3, padding_idx=0), nn.Linear(3, 3)
        nn.init.normal_(self.embedding.weight)

    def forward(self, ids):
        return self.out(torch.tanh(self.embedding(ids)).mean(1))


def _per_sequence(outputs, targets):
    return functional.cross_entropy(outputs.transpose(1, 2), targets, reduction="none").sum(1)


def _mlp(*first: nn.Module) -> nn.Module:
    return nn.Sequential(*first, nn.Linear(6, 3))


def _classifier(network: nn.Module, x: Tensor, y: Tensor, loss: Any = "cross_entropy", **how: Any) -> Given:
    plain = functional.cross_entropy
    floating = x.is_floating_point()
    return Given(network, loss, (x, y), lambda own: plain(own(x.double() if floating else x), y, **how))


def make(name: str) -> Given:
    """Make one of `NAMES`."""
    torch.manual_seed(0)
    x, y, sequences = torch.randn(24, 5), torch.arange(24) % 3, torch.randn(24, 5, 3)
    images, pixels = torch.randn(10, 1, 4, 4), torch.randint(0, 3, (10, 4, 4))
    pixels[:, :1] = -100
    pixels[2:5] = -100
    pixels[2, 0, 0] = 1
    ids = torch.randint(0, 6, (16, 4))
    following = ids.roll(-1, 1)
    following[:, -1] = -100
    weight = torch.tensor([1.0, 2.0, 5.0])
    targets = torch.randn(24, 3)
    match name:
        case "attention on tokens":
            tokens = torch.randint(0, 7, (24, 5))
            return _classifier(Encoder(), tokens, y)
        case "LSTM":
            return _classifier(Recurrent(nn.LSTM), sequences, y)
        case "GRU":
            return _classifier(Recurrent(nn.GRU), sequences, y)
        case "physics-informed":
            points, zero = torch.rand(24, 2), torch.zeros(24, 2)
            return Given(Physics(), nn.MSELoss(), (points, zero), lambda own: own(points.double()).square().mean())
        case "a class a pixel, some ignored":
            return _classifier(Segmentation(), images, pixels, nn.CrossEntropyLoss())
        case "a class a pixel, weighted and smoothed":
            how = {"weight": weight.double(), "label_smoothing": 0.1}
            return _classifier(
                Segmentation(), images, pixels, nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1), **how
            )
        case "language model":
            batches = [{"input_ids": ids[at : at + 7], "labels": following[at : at + 7]} for at in range(0, 16, 7)]
            return Given(
                Language(), _per_sequence, batches, lambda own: _per_sequence(own(ids)["logits"], following).mean()
            )
        case "hardswish":
            return _classifier(_mlp(nn.Linear(5, 6), nn.Hardswish()), x, y)
        case "weight normalization":
            return _classifier(_mlp(nn.utils.parametrizations.weight_norm(nn.Linear(5, 6)), nn.Tanh()), x, y)
        case "pruned by a mask":
            first = nn.Linear(5, 6)
            prune.l1_unstructured(first, "weight", 0.5)
            return _classifier(_mlp(first, nn.Tanh()), x, y)
        case "sum of losses":
            network = _mlp(nn.Linear(5, 6), nn.GELU())
            return _classifier(network, x, y, nn.CrossEntropyLoss(reduction="sum"), reduction="sum")
        case "half precision":
            return _classifier(_mlp(nn.Linear(5, 6), nn.Tanh()).half(), x, y)
        case "dropout and squared errors":
            network = _mlp(nn.Linear(5, 6), nn.Tanh(), nn.Dropout(0.5))
            return Given(
                network, nn.MSELoss(), (x, targets), lambda own: functional.mse_loss(own(x.double()), targets.double())
            )
        case "a scalar parameter":
            return _classifier(Scaled(), x, y)
        case "padded tokens":
            tokens, network = torch.randint(0, 7, (24, 5)), Padded()
            first = network.embedding.weight[:1].detach().double().clone()

            def plain(own: Any) -> Tensor:
                vectors = torch.cat([first, own.embedding.weight[1:]])
                return functional.cross_entropy(own.out(torch.tanh(vectors[tokens]).mean(1)), y)

            return Given(network, "cross_entropy", (tokens, y), plain)
        case "one loss an example":
            network = _mlp(nn.Linear(5, 6), nn.SiLU())
            return Given(
                network,
                lambda outputs, wanted: (outputs - wanted).abs().pow(3).sum(1),
                (x.numpy(), targets.numpy()),
                lambda own: (own(x.double()) - targets.double()).abs().pow(3).sum(1).mean(),
            )
    raise KeyError(name)


NAMES = (
    "attention on tokens",
    "LSTM",
    "GRU",
    "physics-informed",
    "a class a pixel, some ignored",
    "a class a pixel, weighted and smoothed",
    "language model",
    "hardswish",
    "weight normalization",
    "pruned by a mask",
    "sum of losses",
    "half precision",
    "dropout and squared errors",
    "one loss an example",
    "a scalar parameter",
    "padded tokens",
)


#: Sixty examples of three classes, and what asks about small networks of them.
X, Y = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3


def net(seed: int = 0, between: nn.Module | None = None, width: int = 7) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, width), between or nn.Tanh(), nn.Linear(width, 3))


def measured(models, loss="cross_entropy", data=(X, Y), families=("performance",), **more) -> Measurements:
    return measure(models, loss, data, families=families, **more)


def refused(said: str, *given, **more) -> None:
    with pytest.raises(MdbenchError, match=said):
        measured(*given, **more)
