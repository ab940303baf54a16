"""A network as a tape of steps that the compiled loops of `zoo_builder.training.kernels` read.

Every value that the network puts out has its place in one flat arena, as (height, width, channels, examples); one-dimensional
signals have height 1, vectors have channels alone. Parameters and buffers lie in one vector each, rearranged so that the
loops find them as they need them.
"""

from collections.abc import Container, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from zoo_builder.specification import Informed, dropouts
from zoo_builder.training import kernels
from zoo_builder.training.draft import Piece
from zoo_builder.training.graph import UnknownLayerError
from zoo_builder.training.informed import InformedWriter
from zoo_builder.training.writer import Writer


class Tape:
    """A network's steps.

    Attributes
    ----------
    values : `kernels.VALUE` (V,), the input first.
    steps : `kernels.STEP` (N,), the last of which gives the logits.
    size : numbers an example that the arena holds; of these, `outputs` are values, the others their gradients.
    exit, channels : row in `values` of what is put out, and how many numbers that is at a position.
    sides : of the positions that are put out, as PyTorch sees them; none of a vector.
    drops : names of the dropout layers, in the order of their streams.
    multiplications : multiply–adds of a forward pass, an example.
    features : of what the linear layer sees that is used last: its row in `values`, and position here → feature in
        PyTorch; None without such a layer.
    vocabulary : ids that inputs may hold, 0 where they hold numbers.
    saved : numbers that normalizations keep of a batch.
    fewest : values that the normalization with the fewest takes its statistics from, an example; None without any.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...], *, lasting: bool = False) -> None:
        """Write a network's tape, for inputs of a shape (without the batch's axis).

        Parameters
        ----------
        network, shape : what to write.
        lasting : whether every gradient keeps its place to the end; second derivatives look at them again.

        Raises
        ------
        UnknownLayerError
            The network does something that the compiled loops do not know.
        """
        if lasting and isinstance(network, Informed):
            raise UnknownLayerError  # derivatives along a direction of the parameters are not known of jets
        writer = (InformedWriter if isinstance(network, Informed) else Writer)(network, shape)
        self.values, self.steps, self.outputs, self.size = writer.finish(lasting)
        self.exit = int(self.steps[-1]["target"])
        self.channels = int(self.values[self.exit]["channels"])
        self.sides = writer.sides
        self.drops = dropouts(network)
        self.features = writer.features
        self.vocabulary = writer.vocabulary
        self.multiplications = writer.multiplications
        self.saved, self.fewest = writer.saved, min(writer.counts, default=None)
        self._parameters, self._buffers, self._counters = writer.parameters, writer.buffers, writer.counters

    def parameters(self, network: nn.Module, dtype: np.dtype) -> np.ndarray:
        """Return a network's parameters as a vector, (P,)."""
        return _pack(self._parameters, dict(network.named_parameters()), dtype)

    def buffers(self, network: nn.Module, dtype: np.dtype) -> np.ndarray:
        """Return a network's buffers as a vector, (Q,)."""
        return _pack(self._buffers, dict(network.named_buffers()), dtype)

    def places(self, starts: Mapping[str, int]) -> np.ndarray:
        """Return where each parameter of the vector lies among flattened tensors that begin at `starts`, int64 (P,)."""
        return np.concatenate([starts[piece.name] + piece.order for piece in self._parameters]).astype(np.int64)

    def spread(self, values: Mapping[str, float], other: float, dtype: np.dtype) -> np.ndarray:
        """Return a number for each parameter of the vector, (P,): that of the tensor's name, or another one."""
        parts = [np.full(len(piece.order), values.get(piece.name, other)) for piece in self._parameters]
        return np.concatenate([np.empty(0), *parts]).astype(dtype)

    def write(self, values: Mapping[str, float], out: np.ndarray) -> None:
        """Write a number in the place of each parameter of some tensors, by name; the others' places in `out`, (P,), stay."""
        for piece in self._parameters:
            if piece.name in values:
                out[piece.start : piece.start + len(piece.order)] = values[piece.name]

    @property
    def names(self) -> list[str]:
        """The names of the parameters."""
        return [piece.name for piece in self._parameters]

    def some(self, names: Container[str], parameters: np.ndarray) -> dict[str, Tensor]:
        """Return some parameters as tensors, by name."""
        return _unpack([piece for piece in self._parameters if piece.name in names], parameters)

    def state(self, parameters: np.ndarray, buffers: np.ndarray, taken: int) -> dict[str, Tensor]:
        """Return vectors as the tensors of a ``state_dict``, after so many steps of training."""
        counters = {name: torch.tensor(before + taken) for name, before in self._counters.items()}
        return {**_unpack(self._parameters, parameters), **_unpack(self._buffers, buffers), **counters}


class Memory:
    """What the compiled loops work in, for batches of one size: the place of every value, and some room."""

    def __init__(self, tape: Tape, batch: int, dtype: np.dtype, *, training: bool = True) -> None:
        """Take the memory that a tape needs; without `training`, gradients have no place in it."""
        self.batch = batch
        # Zeros around values stay what they are.
        self.arena = np.zeros((tape.size if training else tape.outputs) * batch, dtype)
        self.saved = np.empty(tape.saved, dtype)
        self.scratch = np.empty((6, kernels.strip(batch) * batch), dtype)


def _pack(pieces: Sequence[Piece], tensors: Mapping[str, Tensor], dtype: np.dtype) -> np.ndarray:
    parts = [tensors[piece.name].detach().to("cpu", torch.float64).numpy().reshape(-1)[piece.order] for piece in pieces]
    return np.concatenate([np.empty(0), *parts]).astype(dtype)


def _unpack(pieces: Sequence[Piece], vector: np.ndarray) -> dict[str, Tensor]:
    tensors = {}
    for piece in pieces:
        flat = np.empty(len(piece.order), vector.dtype)
        flat[piece.order] = vector[piece.start : piece.start + len(piece.order)]
        tensors[piece.name] = torch.from_numpy(flat.reshape(piece.shape))
    return tensors
