"""The transformer, over token ids, vectors, signals and images.

Attention is written out, so that it can be mapped over networks and differentiated any number of times.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdbench.errors import MdbenchError
from zoo_builder.specification.dropout import Dropout
from zoo_builder.specification.models.layers import Activation, activation_of
from zoo_builder.specification.models.sizes import Shape

#: Standard deviation of embeddings before training (Radford et al., Language models are unsupervised multitask
#: learners, 2019).
_SPREAD = 0.02


class Features(nn.Module):
    """The tokens of a vector: each number times a vector of its own (Gorishniy et al., NeurIPS 2021)."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, width) / math.sqrt(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, features) to (B, features, width)."""
        return x.unsqueeze(-1) * self.weight


class Patches(nn.Module):
    """The tokens of a signal or image: a linear function of each patch (Dosovitskiy et al., ICLR 2021)."""

    def __init__(self, channels: int, width: int, patch: int, axes: int) -> None:
        super().__init__()
        kind = nn.Conv1d if axes == 1 else nn.Conv2d
        self.patches = kind(channels, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, …) to (B, patches, width)."""
        out: Tensor = self.patches(x).flatten(2).transpose(1, 2)
        return out


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al., NeurIPS 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.split = (3, heads, width // heads)
        self.scale = (width // heads) ** -0.5
        self.inner = nn.Linear(width, 3 * width)
        self.outer = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, length, width) to the same shape; `mask` (length, length) is added to what softmax sees."""
        queries, keys, values = self.inner(x).unflatten(-1, self.split).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (queries * self.scale) @ keys.transpose(-1, -2)
        weights = (scores if mask is None else scores + mask).softmax(-1)
        out: Tensor = self.outer((weights @ values).transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Attention, then two linear layers, each with a normalization before, dropout behind and a way around."""

    def __init__(self, width: int, heads: int, activation: Activation, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.activation = activation_of(activation)
        self.dropout1, self.dropout2 = _dropout(dropout), _dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, length, width) to the same shape."""
        x = x + self.dropout1(self.attention(self.norm1(x), mask))
        out: Tensor = x + self.dropout2(self.linear2(self.activation(self.linear1(self.norm2(x)))))
        return out


class Transformer(nn.Module):
    """Tokens with learned positions, blocks, a normalization, and a linear layer.

    It sees the mean of all tokens, or, `causal`, each of them, which knows what is before it. Without an `outputs` of its own
    that layer is the embedding of the tokens (Press and Wolf, Using the output embedding, EACL 2017).
    """

    mask: Tensor | None

    def __init__(
        self,
        tokens: nn.Embedding | Features | Patches,
        length: int,
        outputs: int | None,
        width: int,
        depth: int,
        heads: int,
        causal: bool,
        activation: Activation,
        dropout: float,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.positions = nn.Parameter(_SPREAD * torch.randn(length, width))
        self.dropout = _dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, activation, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = None if outputs is None else nn.Linear(width, outputs)
        self.causal = causal
        mask = torch.full((length, length), -math.inf).triu(1) if causal else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, …) to (B, outputs), or (B, outputs, length) of a causal one."""
        x = self.dropout(self.tokens(x) + self.positions)
        for block in self.blocks:
            x = block(x, self.mask)
        x = self.norm(x)
        x = x if self.causal else x.mean(1)
        x = functional.linear(x, cast("Tensor", self.tokens.weight)) if self.head is None else self.head(x)
        return x.transpose(1, 2) if self.causal else x


def transformer(
    shape: Shape,
    outputs: int,
    width: int,
    depth: int = 2,
    vocabulary: int = 0,
    heads: int | None = None,
    patch: int | None = None,
    causal: bool = False,
    tied: bool = False,
    activation: Activation = "gelu",
    dropout: float = 0,
) -> nn.Module:
    """Return `depth` blocks of attention over tokens of `width` numbers.

    Tokens are ids, if there is a `vocabulary`; the numbers of a vector; or patches of a signal or image, of `patch` (4)
    positions along each of its axes. `heads` are 4, 2 or 1, the most that divide the width, if left out. A `causal` one
    says at every token which is the next; `tied`, by the embedding. Dropout is behind the embedding and in each block behind
    attention and behind the second linear layer.
    """
    heads = math.gcd(4, width) if heads is None else heads
    if width % heads:
        raise MdbenchError(
            f"architecture transformer: heads = {heads} does not divide the width {width}; write a divisor or leave heads out"
        )
    if causal and not vocabulary:
        raise MdbenchError("architecture transformer: causal is for token ids, and the data set has none; leave it out")
    if tied and not causal:
        raise MdbenchError(
            "architecture transformer: tied is for next tokens; write causal = true too, or leave tied out"
        )
    if tied and outputs != vocabulary:
        raise MdbenchError(
            f"architecture transformer: the outputs, {outputs}, are not the {vocabulary} token ids; leave tied out"
        )
    if patch is not None and len(shape) == 1:
        raise MdbenchError("architecture transformer: patch is for signals and images; leave it out")
    tokens, length = _tokens(shape, width, vocabulary, patch or 4)
    return Transformer(tokens, length, None if tied else outputs, width, depth, heads, causal, activation, dropout)


def _tokens(shape: Shape, width: int, vocabulary: int, patch: int) -> tuple[nn.Embedding | Features | Patches, int]:
    """Return what makes tokens of inputs of a shape, and how many it makes."""
    if len(shape) == 1:
        if not vocabulary:
            return Features(*shape, width), shape[0]
        embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(embedding.weight, std=_SPREAD)
        return embedding, shape[0]
    channels, *sides = shape
    if vocabulary or len(sides) > 2:
        raise MdbenchError(
            "architecture transformer wants inputs of shape (features,), (channels, length) or (channels, height, width), "
            f"or token ids of shape (length,); the data set's {'token ids' if vocabulary else 'inputs'} are {shape}"
        )
    if any(side % patch for side in sides):
        raise MdbenchError(
            f"architecture transformer: patch = {patch} does not divide {' × '.join(map(str, sides))}; "
            f"write a divisor of {math.gcd(*sides)}"
        )
    return Patches(channels, width, patch, len(sides)), math.prod(side // patch for side in sides)


def _dropout(rate: float) -> nn.Module:
    return Dropout(rate) if rate else nn.Identity()
