"""Networks that nobody here wrote: every family of measurements, beside something independent, in one run.

    pip install --editable ".[zoo,networks,dev]"
    python benchmarks/networks.py [--only resnet18 GPT-2] [--families hessian spectra] [--write]

Two networks of each kind are trained for a moment, and given to `zoo_builder.landscape.measure` as anybody gives them. What
it says is compared with plain PyTorch in double precision, on all data at once: losses, errors, barriers, similarities,
pruned networks, singular values of what layers multiply by, and dense Hessians by differences of gradients where they
fit; of larger networks SciPy's `eigsh` and probes of the trace, by gradients differentiated in double
precision. `--write` puts the table into docs/metrics.md.
"""

import argparse
import copy
import importlib.metadata
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
import torchvision
import transformers
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset

from zoo_builder.landscape import FAMILIES, measure
from zoo_builder.landscape.measurement import Measurements
from zoo_builder.landscape.module import plain_attention

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
BEGIN, END = "<!-- by benchmarks/networks.py -->", "<!-- end -->"
PACKAGES = ("torch", "torchvision", "transformers")
CLASSES = 5
#: Steps of training; the Hessian of a network at its initialisation is another thing.
STEPS = 8
#: Parameters up to which whole Hessians are computed.
DENSE = 3000
#: Step of differences of gradients, of vectors of length 1: so short that hardly a unit crosses a kink on it.
STEP = 1e-7
#: Random directions of rises; Hutchinson's probes of what is compared with in place of a dense trace.
DIRECTIONS, PROBES = 48, 200

Examples = tuple[Any, Tensor]  # inputs, targets


@dataclass(frozen=True)
class Kind:
    """A kind of network, with data, as `measure` is given them.

    Attributes
    ----------
    make : () → a network, as it is initialised.
    train, test : inputs and targets.
    loss : for `measure`.
    plain : the same in plain PyTorch: outputs, as the loss sees them, and targets, of all examples → the loss.
    output : what a network puts out → what the loss sees; left to `measure` where None.
    form : examples → what `measure` is given of them.
    """

    make: Callable[[], nn.Module]
    train: Examples
    test: Examples
    loss: Any = "cross_entropy"
    plain: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy
    output: Callable[[Any], Tensor] | None = None
    form: Callable[[Examples], Any] = lambda examples: examples


# The kinds.


def images(side: int, seed: int = 0, many: int = 24, channels: int = 3) -> tuple[Examples, Examples]:
    """Return images and their classes, for training and held out: a pattern a class, and noise."""
    chance = torch.Generator().manual_seed(seed)
    patterns = torch.randn(CLASSES, channels, side, side, generator=chance)
    labels = torch.randint(0, CLASSES, (2 * many,), generator=chance)
    noisy = patterns[labels] + torch.randn(2 * many, channels, side, side, generator=chance)
    return (noisy[:many], labels[:many]), (noisy[many:], labels[many:])


def resnet18() -> Kind:
    """Return torchvision's, as it is."""
    return Kind(lambda: torchvision.models.resnet18(num_classes=CLASSES), *images(32))


def mobilenet() -> Kind:
    """Return torchvision's MobileNetV3, as it is: hard swishes, which have no second derivative in PyTorch."""
    return Kind(lambda: torchvision.models.mobilenet_v3_small(num_classes=CLASSES), *images(32))


def vit() -> Kind:
    """Return a small one of torchvision's class."""
    small = {"image_size": 8, "patch_size": 4, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}

    def make() -> nn.Module:
        network = torchvision.models.VisionTransformer(**small, num_classes=CLASSES)
        nn.init.normal_(network.heads.head.weight, std=0.3)  # torchvision begins with zeros
        return network

    return Kind(make, *images(8))


class Twice(nn.Sequential):
    """Two convolutions with normalization."""

    def __init__(self, before: int, after: int) -> None:
        layers: list[nn.Module] = []
        for channels in (before, after):
            layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers)


class UNet(nn.Module):
    """The network of Ronneberger et al. (MICCAI 2015), as it is mostly written: padded, normalized; two levels."""

    def __init__(self, channels: int = 1, width: int = 4, classes: int = CLASSES) -> None:
        super().__init__()
        self.first, self.down = Twice(channels, width), nn.Sequential(nn.MaxPool2d(2), Twice(width, 2 * width))
        self.up, self.last = nn.ConvTranspose2d(2 * width, width, 2, stride=2), Twice(2 * width, width)
        self.out = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return a number a class and pixel."""
        shallow = self.first(x)
        found: Tensor = self.out(self.last(torch.cat([shallow, self.up(self.down(shallow))], 1)))
        return found


def unet() -> Kind:
    """Return a UNet whose loss is a mean over pixels, of which some are ignored."""
    parts = []
    for (inputs, _), seed in zip(images(8, channels=1), (1, 2), strict=True):
        chance = torch.Generator().manual_seed(seed)
        labels = (inputs[:, 0] * 2).long().clamp(0, CLASSES - 1)
        labels[torch.rand(labels.shape, generator=chance) < 0.3] = -100
        labels[::5] = -100
        labels[::5, 0, 0] = 1
        parts.append((inputs, labels))
    return Kind(UNet, *parts, nn.CrossEntropyLoss())


class Solution(nn.Module):
    """u(t, x) of the heat equation u_t = u_xx, with its residual: second derivatives are part of the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.u = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, points: Tensor) -> Tensor:
        """Return u and u_t − u_xx, (n, 2), at points (n, 2)."""
        points = points.requires_grad_()
        u = self.u(points)
        (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
        (bend,) = torch.autograd.grad(slope[:, 1].sum(), points, create_graph=True)
        return torch.stack([u[:, 0], slope[:, 0] - bend[:, 1]], 1)


def physics() -> Kind:
    """Return a physics-informed network (Raissi et al., JCP 2019): a loss of initial values, and of an equation inside."""

    def losses(outputs: Tensor, targets: Tensor) -> Tensor:
        wanted, known = targets.T
        return known * (outputs[:, 0] - wanted) ** 2 + (1 - known) * outputs[:, 1] ** 2

    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        return losses(outputs, targets).mean()

    parts = []
    for seed in (0, 1):
        points = torch.rand(60, 2, generator=torch.Generator().manual_seed(seed))
        points[:20, 0] = 0
        known = (torch.arange(60) < 20).float()
        parts.append((points, torch.stack([known * torch.sin(math.pi * points[:, 1]), known], 1)))
    return Kind(Solution, *parts, losses, mean)


def sequences(words: int, length: int, seed: int = 0, many: int = 24) -> tuple[Tensor, Tensor]:
    """Return token ids (n, length), for training and held out, each likely to be followed by the next."""
    chance = torch.Generator().manual_seed(seed)
    steps = torch.where(torch.rand(2 * many, length, generator=chance) < 0.7, 1, 3)
    ids = (torch.randint(0, words, (2 * many, 1), generator=chance) + steps.cumsum(1)) % words
    return ids[:many], ids[many:]


class Encoder(nn.Module):
    """`nn.TransformerEncoder` on token ids, with padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8, padding_idx=0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.out = nn.Linear(8, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits."""
        seen = self.encoder(self.embedding(ids), src_key_padding_mask=ids == 0)
        found: Tensor = self.out(seen[:, 0])
        return found


def encoder() -> Kind:
    """Return a transformer for classes of sequences of several lengths."""
    parts = []
    for ids in sequences(10, 6):
        padded = ids + 1
        padded[::3, 4:] = 0
        parts.append((padded, ids[:, 0] % CLASSES))
    return Kind(Encoder, *parts)


def gpt2() -> Kind:
    """Return GPT-2 of transformers, in small, with a loss of the next word; its embedding is its last layer's weight."""
    none = {"bos_token_id": None, "eos_token_id": None}
    small = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=17, n_positions=8, **none)
    parts = [(ids, ids[:, 1:]) for ids in sequences(17, 8)]

    def output(given: Any) -> Tensor:
        logits: Tensor = given.logits
        return logits[:, :-1].transpose(1, 2)

    return Kind(
        lambda: transformers.GPT2LMHeadModel(small),
        *parts,
        nn.CrossEntropyLoss(),
        output=output,
        form=lambda examples: {"input_ids": examples[0], "labels": examples[1]},
    )


class Recurrent(nn.Module):
    """An LSTM of two layers, and what its last state says."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(3, 8, num_layers=2, batch_first=True), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        found: Tensor = self.out(self.lstm(x)[0][:, -1])
        return found


def lstm() -> Kind:
    """Return an LSTM for classes of sequences."""
    train, test = images(6, channels=1)
    return Kind(Recurrent, *((x.flatten(1).reshape(-1, 12, 3), labels) for x, labels in (train, test)))


KINDS: dict[str, Callable[[], Kind]] = {
    "resnet18": resnet18,
    "mobilenet_v3_small": mobilenet,
    "VisionTransformer": vit,
    "UNet": unet,
    "physics-informed": physics,
    "TransformerEncoder": encoder,
    "GPT-2": gpt2,
    "LSTM": lstm,
}


# What is independent: plain PyTorch, NumPy, SciPy and scikit-learn, in double precision.


class Reference:
    """Two networks of a kind, trained for a moment, and in double precision what is to be said of them.

    Attributes
    ----------
    kind : of network.
    networks : as `measure` is given them.
    doubled : the same in double precision.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind, self.networks = kind, [trained(kind, seed) for seed in (0, 1)]
        self.doubled = [copy.deepcopy(network).double().eval() for network in self.networks]

    def outputs(self, network: nn.Module, examples: Examples) -> Tensor:
        """Return what the loss sees."""
        given = network(doubled(examples[0]))
        return given if self.kind.output is None else self.kind.output(given)

    def loss(self, network: nn.Module, examples: Examples | None = None) -> Tensor:
        """Return the loss on all examples, of training where none are given."""
        examples = examples or self.kind.train
        return self.kind.plain(self.outputs(network, examples), doubled(examples[1]))

    def loss_at(self, network: nn.Module, point: Tensor) -> float:
        """Return the training loss with other parameters."""
        return float(self.loss(moved(network, point)).detach())

    def gradient(self, network: nn.Module, point: Tensor) -> Tensor:
        """Return the gradient of the training loss with other parameters."""
        network = moved(network, point)
        found = torch.autograd.grad(
            self.loss(network), list(network.parameters()), allow_unused=True, materialize_grads=True
        )
        return torch.cat([one.reshape(-1) for one in found])

    def product(self, vector: Tensor) -> Tensor:
        """Return the first network's Hessian times a vector, by differences of gradients, not by second derivatives.

        They are wrong where a unit lies at its kink, and eigenvectors of large networks find such units.
        """
        network, step = self.doubled[0], STEP / vector.norm()
        place = point_of(network)
        ends = [self.gradient(network, place + sign * step * vector) for sign in (1, -1)]
        moved(network, place)
        return (ends[0] - ends[1]) / (2 * step)

    def differentiated(self) -> Callable[[Tensor], Tensor]:
        """Return products of the first network's Hessian with vectors, by PyTorch in double precision, twice backwards."""
        network = composed(copy.deepcopy(self.doubled[0]))
        parameters = list(network.parameters())
        slopes = torch.autograd.grad(self.loss(network), parameters, create_graph=True)
        flat = torch.cat([slope.reshape(-1) for slope in slopes])

        def product(vector: Tensor) -> Tensor:
            found = torch.autograd.grad(flat @ vector, parameters, retain_graph=True)
            return torch.cat([one.reshape(-1) for one in found])

        return product

    def size(self) -> int:
        """Return how many parameters a network has."""
        return len(point_of(self.doubled[0]))


class Hard(nn.Module):
    """A hard sigmoid, or a hard swish, of parts that PyTorch differentiates twice."""

    def __init__(self, *, swish: bool) -> None:
        super().__init__()
        self.swish = swish

    def forward(self, x: Tensor) -> Tensor:
        """Return ReLU6(x + 3) / 6, times x of a swish."""
        gate = functional.relu6(x + 3) / 6
        return x * gate if self.swish else gate


def composed(network: nn.Module) -> nn.Module:
    """Return a network itself, with other hard sigmoids and swishes."""
    for path, module in list(network.named_modules()):
        if isinstance(module, nn.Hardswish | nn.Hardsigmoid):
            network.set_submodule(path, Hard(swish=isinstance(module, nn.Hardswish)))
    return network


def doubled(value: Tensor) -> Tensor:
    """Return floating point numbers in double precision; a copy, for a network may want derivatives by its inputs."""
    return value.double() if value.is_floating_point() else value


def point_of(network: nn.Module) -> Tensor:
    """Return a network's parameters, (P,)."""
    return nn.utils.parameters_to_vector(network.parameters()).detach()


def moved(network: nn.Module, point: Tensor) -> nn.Module:
    """Return the network itself, with other parameters."""
    nn.utils.vector_to_parameters(point, network.parameters())
    return network


def trained(kind: Kind, seed: int) -> nn.Module:
    """Return a network that was trained for a moment."""
    torch.manual_seed(seed)
    network = kind.make().train()
    descent = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(STEPS):
        given = network(kind.train[0].clone())
        loss = kind.plain(given if kind.output is None else kind.output(given), kind.train[1])
        descent.zero_grad()
        loss.backward()
        descent.step()
    # Or the outputs would hardly vary: torchvision's MobileNet averages over 100 steps.
    update_bn([kind.train[0]], network)
    return network.eval()


def applied(module: nn.Module) -> dict[str, Tensor]:
    """Return the matrices that a module multiplies by, found by what it does to unit inputs where that can be: name → matrix.

    Names are what comes behind the module's path.
    """
    one: Any = module
    if isinstance(module, nn.Linear):
        return {"": (module(torch.eye(module.in_features).double()) - (0 if module.bias is None else module.bias)).T}
    if isinstance(module, nn.Conv2d):
        seen = module.in_channels * math.prod(module.kernel_size)
        patches = torch.eye(seen).double().reshape(seen, module.in_channels, *module.kernel_size)
        return {"": functional.conv2d(patches, module.weight, groups=module.groups).reshape(seen, -1).T}
    if isinstance(module, nn.ConvTranspose2d):
        points = torch.eye(module.in_channels).double()[:, :, None, None]
        found = functional.conv_transpose2d(points, module.weight, groups=module.groups)
        return {"": found.reshape(module.in_channels, -1).T}
    if isinstance(module, nn.Embedding):
        return {"": module(torch.arange(module.num_embeddings)).T}
    if isinstance(module, nn.MultiheadAttention):
        names = (f".in_proj_weight.{name}" for name in ("query", "key", "value"))
        return dict(zip(names, one.in_proj_weight.chunk(3), strict=True))
    if isinstance(module, nn.LSTM):
        gates = ("input", "forget", "cell", "output")
        weights = {name: weight.chunk(4) for name, weight in module.named_parameters() if name.startswith("weight")}
        return {
            f".{name}.{gate}": part for name, parts in weights.items() for gate, part in zip(gates, parts, strict=True)
        }
    if type(module).__name__ == "Conv1D":
        return {"": (module(torch.eye(one.nx).double()) - one.bias).T}
    return {}


def matrices(network: nn.Module) -> dict[str, Tensor]:
    """Return the matrices that a network multiplies by, by the names that layers have in `measure`'s table."""
    return {
        f"{path}{name}".lstrip("."): found.detach()
        for path, module in network.named_modules()
        for name, found in applied(module).items()
    }


# What is compared.


@dataclass(frozen=True)
class Agreement:
    """How far a number is from what is independent.

    Attributes
    ----------
    what : was compared.
    off : how far it is off.
    allowed : how far it may be.
    unit : of both: nothing for a share, ``se`` for standard errors, ``points`` of error.
    """

    what: str
    off: float
    allowed: float
    unit: str = ""

    def __str__(self) -> str:
        """Say it in a cell of a table."""
        number = f"{self.off:.0e}" if not self.unit and self.off else f"{self.off:.1f}".removesuffix(".0")
        return f"{self.what} {number}" + (f" {self.unit}" if self.unit else "")

    @property
    def good(self) -> bool:
        """Whether it is near enough."""
        return self.off <= self.allowed


def share(one: float, other: float) -> float:
    """Return by what share of the other a number is off."""
    return abs(one - other) / max(abs(other), 1e-12)


Compared = list[Agreement]


def of_performance(it: Reference, found: Measurements) -> Compared:
    """Compare losses and errors."""
    row, out = found.models.iloc[0], []
    for part, examples in (("train", it.kind.train), ("test", it.kind.test)):
        out.append(share(row[f"{part}_loss"], float(it.loss(it.doubled[0], examples).detach())))
    said = [Agreement("losses", max(out), 1e-4)]
    if np.isfinite(row["test_error"]):
        said.append(Agreement("error", abs(row["test_error"] - error(it, it.doubled[0])), 0, "points"))
    return said


def error(it: Reference, network: nn.Module) -> float:
    """Return a network's error on held-out examples, in %."""
    outputs = it.outputs(network, it.kind.test)
    return 100 * float((outputs.argmax(1) != it.kind.test[1]).double().mean())


def of_hessian(it: Reference, found: Measurements) -> Compared:
    """Compare trace and largest eigenvalue, of the network and of its layers."""
    row, size = found.models.iloc[0], it.size()
    if size > DENSE:
        chance = torch.Generator().manual_seed(0)
        product = it.differentiated()
        signs = (2 * torch.randint(0, 2, (size,), generator=chance).double() - 1 for _ in range(PROBES))
        probes = np.array([float(sign @ product(sign)) for sign in signs])
        trace, spread = probes.mean(), probes.std(ddof=1) / math.sqrt(PROBES)
        operator = LinearOperator(
            (size, size), matvec=lambda v: product(torch.as_tensor(v.ravel())).numpy(), dtype=np.float64
        )
        start = np.random.default_rng(0).standard_normal(size)
        top = float(eigsh(operator, k=1, which="LA", tol=1e-3, v0=start, return_eigenvectors=False)[0])
        off = abs(row["hessian_trace"] - trace) / math.hypot(spread, row["hessian_trace_se"])
        return [
            Agreement("top", share(row["hessian_top_eigenvalue"], top), 0.01),
            Agreement("trace", off, 4.5, f"se ({100 * spread / abs(trace):.0f} %)"),
        ]
    rows = [it.product(unit) for unit in torch.eye(size).double()]
    dense = torch.stack(rows)
    dense = (dense + dense.T) / 2
    trace, top = float(dense.trace()), float(torch.linalg.eigvalsh(dense)[-1])
    tops, traces, at = [], [], 0
    layers = found.layers[found.layers["model"] == 0].set_index("layer")
    names = pd.Series([name.rpartition(".")[0] for name, _ in it.doubled[0].named_parameters()])
    sizes = [value.numel() for value in it.doubled[0].parameters()]
    for module in names.unique():
        length = sum(size for name, size in zip(names, sizes, strict=True) if name == module)
        block, said = dense[at : at + length, at : at + length], layers.loc[_named(layers, module)]
        at += length
        traces.append(abs(said["hessian_trace"] - float(block.trace())) / max(said["hessian_trace_se"], 1e-4 * top))
        tops.append(abs(said["hessian_top_eigenvalue"] - float(torch.linalg.eigvalsh(block)[-1])) / top)
    return [
        Agreement("top", share(row["hessian_top_eigenvalue"], top), 0.01),
        Agreement("trace", abs(row["hessian_trace"] - trace) / row["hessian_trace_se"], 4.5, "se"),
        Agreement("layers' tops", float(np.nanmax(tops)), 0.01),
        Agreement("traces", max(traces), 6, "se"),
    ]


def _named(layers: pd.DataFrame, module: str) -> str:
    """Return the row of a module that has parameters: its path, or all paths that share them."""
    return next(name for name in layers.index if module in name.split(", "))


def of_connectivity(it: Reference, found: Measurements) -> Compared:
    """Compare the barrier on the straight line."""
    start, end = map(point_of, it.doubled)
    network = copy.deepcopy(it.doubled[0])
    loader = DataLoader(TensorDataset(doubled(it.kind.train[0])), 256)
    losses = []
    for t in (0, 0.25, 0.5, 0.75, 1):
        moved(network, torch.lerp(start, end, t))
        if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()):
            for module in network.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0
            update_bn(loader, network)
        losses.append(float(it.loss(network.eval()).detach()))
    line = np.interp((0.25, 0.5, 0.75), (0, 1), (losses[0], losses[-1]))
    barrier = float(np.max(losses[1:-1] - line))
    return [Agreement("barrier", abs(found.together["linear_barrier_loss"] - barrier) / max(losses), 1e-3)]


def of_similarity(it: Reference, found: Measurements) -> Compared:
    """Compare CKA of outputs, as the alignment of Gram matrices (Kornblith et al., ICML 2019)."""
    grams = []
    for network in it.doubled:
        seen = it.outputs(network, it.kind.train).detach().flatten(1).numpy()
        centring = np.eye(len(seen)) - 1 / len(seen)
        grams.append(centring @ seen @ seen.T @ centring)
    cka = np.sum(grams[0] * grams[1]) / (np.linalg.norm(grams[0]) * np.linalg.norm(grams[1]))
    return [Agreement("CKA", share(found.together["output_cka"], float(cka)), 1e-4)]


def of_sharpness(it: Reference, found: Measurements) -> Compared:
    """Compare the mean rise along other random directions; the largest rise is not below that where SAM looks."""
    row, network = found.models.iloc[0], it.doubled[0]
    place = point_of(network)
    loss, slope = it.loss_at(network, place), it.gradient(network, place)
    chance, rises = torch.Generator().manual_seed(1), []
    for _ in range(DIRECTIONS):
        way = torch.randn(len(place), generator=chance, dtype=torch.float64)
        way *= 0.05 * place.norm() / way.norm()
        rises.append(it.loss_at(network, place + way) - loss - float(way @ slope))
    climbed = it.loss_at(network, place + 0.1 * slope / slope.norm()) - loss
    moved(network, place)
    spread = math.hypot(float(np.std(rises, ddof=1)) / math.sqrt(len(rises)), row["sharpness_average_se"])
    return [
        Agreement("average", abs(row["sharpness_average"] - float(np.mean(rises))) / spread, 4.5, "se"),
        Agreement("worst below SAM's", max(0.0, 1 - row["sharpness_worst"] / climbed), 1e-3),
    ]


def of_spectra(it: Reference, found: Measurements) -> Compared:
    """Compare norms and stable ranks by NumPy's singular values, of all layers."""
    said, off = found.layers[(found.layers["model"] == 0) & found.layers["stable_rank"].notna()], []
    every = matrices(it.doubled[0])
    assert {name for names in said["layer"] for name in names.split(", ")} == set(every)
    for layer in said.itertuples():
        values = np.linalg.svd(every[str(layer.layer).split(", ")[0]].numpy(), compute_uv=False) ** 2
        off += [
            abs(layer.log_spectral_norm - math.log10(values[0])),
            abs(layer.log_frobenius_norm - math.log10(values.sum())),
            share(layer.stable_rank, values.sum() / values[0]),
        ]
    return [Agreement(f"{len(said)} matrices", max(off), 1e-4)]


def of_weights(it: Reference, found: Measurements) -> Compared:
    """Compare variances and quartiles of all layers' weights by NumPy."""
    said, off = found.layers[(found.layers["model"] == 0) & found.layers["weight_mean"].notna()], []
    every, modules = matrices(it.doubled[0]), dict(it.doubled[0].named_modules())
    assert {name for names in said["layer"] for name in names.split(", ")} == set(every)
    for layer in said.itertuples():
        name = str(layer.layer).split(", ")[0]
        module = modules.get(name)
        # The zeros between the groups of a convolution's matrix are no weights.
        grouped = isinstance(module, nn.Conv2d) and module.groups > 1
        values = (module.weight.detach() if grouped else every[name]).numpy()
        off += [share(layer.weight_variance, values.var()), abs(layer.weight_q75 - np.percentile(values, 75))]
    return [Agreement(f"{len(said)} layers", max(off), 1e-4)]


def of_memorization(it: Reference, found: Measurements) -> Compared:
    """Compare the AUC of losses, by scikit-learn, and their 99th percentile, by NumPy."""
    row, network = found.models.iloc[0], it.doubled[0]
    parts = [
        functional.cross_entropy(it.outputs(network, examples), examples[1], reduction="none").detach().numpy()
        for examples in (it.kind.train, it.kind.test)
    ]
    members = np.repeat([1, 0], [len(part) for part in parts])
    auc = roc_auc_score(members, -np.concatenate(parts))
    return [
        Agreement("AUC", abs(row["membership_auc"] - auc), 1e-6),
        Agreement("p99", share(row["train_loss_p99"], float(np.quantile(parts[0], 0.99))), 1e-4),
    ]


def of_prunability(it: Reference, found: Measurements) -> Compared:
    """Compare errors without the smallest weights, zeroed by hand."""
    row, off = found.models.iloc[0], []
    for sparsity in (50, 70, 80, 90):
        network = copy.deepcopy(it.doubled[0])
        weights = pruned(network)
        order = torch.cat([weight.detach().abs().flatten() for weight in weights]).argsort(stable=True)
        flat = torch.ones(len(order), dtype=torch.float64)
        flat[order[: round(len(order) * sparsity / 100)]] = 0
        with torch.no_grad():
            for weight, mask in zip(weights, flat.split([weight.numel() for weight in weights]), strict=True):
                weight.mul_(mask.view_as(weight))
        off.append(abs(row[f"pruned_test_error_global_{sparsity}"] - error(it, network)))
    return [Agreement("errors", max(off), 100 / len(it.kind.test[1]), "points")]


def pruned(network: nn.Module) -> list[nn.Parameter]:
    """Return the weights that a network multiplies by."""
    known = [module for module in network.modules() if applied(module)]
    own = [value for module in known for value in module.parameters(recurse=False) if value.dim() > 1]
    return list({id(value): value for value in own}.values())


COMPARISONS: dict[str, Callable[[Reference, Measurements], Compared]] = {
    "performance": of_performance,
    "hessian": of_hessian,
    "connectivity": of_connectivity,
    "similarity": of_similarity,
    "sharpness": of_sharpness,
    "spectra": of_spectra,
    "memorization": of_memorization,
    "prunability": of_prunability,
    "weights": of_weights,
}


@dataclass(frozen=True)
class Compare:
    """What became of one family of one kind of network.

    Attributes
    ----------
    agreements : with what is independent; none where it only ran.
    measured, columns : how many numbers there are, of how many.
    reason : why nothing was measured; empty where something was.
    """

    agreements: Compared
    measured: int
    columns: int
    reason: str = ""

    def __str__(self) -> str:
        """Say it in a cell of a table."""
        said = ", ".join(map(str, self.agreements)) or "runs"
        return self.reason or (said if self.measured == self.columns else f"{said}; {self.measured} of {self.columns}")


def compare(it: Reference, name: str) -> tuple[str, Compare]:
    """Measure one family; return the way it was computed, and how it agrees."""
    kind, family = it.kind, FAMILIES[name]
    more: dict[str, Any] = {} if kind.output is None else {"output": kind.output}
    found = measure(it.networks, kind.loss, kind.form(kind.train), test=kind.form(kind.test), families=[name], **more)
    numbers = [*found.models.loc[0, family.columns("checkpoint")], *found.together[family.columns("configuration")]]
    known, columns = int(np.isfinite(np.array(numbers, dtype=float)).sum()), len(numbers)
    if not known:
        reasons = (found.models[family.reason][0], found.together[family.reason])
        return found.way, Compare([], 0, columns, next(str(one).rpartition(": ")[2] for one in reasons if one))
    with plain_attention():
        agreements = COMPARISONS[name](it, found) if name in COMPARISONS else []
    return found.way, Compare(agreements, known, columns)


# The table.


def row(name: str, families: Sequence[str]) -> tuple[str, list[str]]:
    """Measure and compare one kind of network; return its row, and what is not near enough."""
    it, cells, wrong, way = Reference(KINDS[name]()), [], [], ""
    for family in families:
        begun = time.perf_counter()
        way, one = compare(it, family)
        cells.append(str(one))
        wrong += [f"{name}, {family}: {said}" for said in one.agreements if not said.good]
        print(f"{name:<20} {family:<14} {time.perf_counter() - begun:>6.0f} s  {one}", flush=True)
    return f"| {name} | {it.size():,} | {way} | {' | '.join(cells)} |", wrong


def written(rows: Sequence[str], families: Sequence[str]) -> None:
    """Write cells into docs/metrics.md: those of these networks and families are replaced, the others stay."""
    page = PAGE.read_text(encoding="utf-8")
    before, between, after = re.split(f"{re.escape(BEGIN)}|{re.escape(END)}", page)
    there = [line for line in between.splitlines() if line.startswith("|")]
    every: dict[str, dict[str, str]] = {}
    for lines in (there, [*_head(families), *rows]):
        columns, _, *networks = (line[2:-2].split(" | ") for line in lines)
        for cells in networks:
            every.setdefault(cells[0], {}).update(zip(columns, cells, strict=True))
    head = _head(list(FAMILIES))
    columns = head[0][2:-2].split(" | ")
    table = [f"| {' | '.join(every[name].get(column, '') for column in columns)} |" for name in KINDS if name in every]
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)
    text = "\n".join([BEGIN, f"With {versions}:", "", *head, *table, END])
    PAGE.write_text(f"{before}{text}{after}", encoding="utf-8")


def _head(families: Sequence[str]) -> list[str]:
    return [f"| network | parameters | way | {' | '.join(families)} |", "|---" * (3 + len(families)) + "|"]


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(KINDS), choices=list(KINDS), metavar="NETWORK")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES), metavar="FAMILY")
    parser.add_argument("--write", action="store_true", help="put these cells into the table in docs/metrics.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    rows, wrong = [], []
    for name in arguments.only:
        line, off = row(name, arguments.families)
        rows.append(line)
        wrong += off
        if arguments.write:
            written([line], arguments.families)
    print("\n".join([*_head(arguments.families), *rows]))
    if wrong:
        raise SystemExit("not near enough: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
