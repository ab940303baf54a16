"""Loss surfaces of classifiers on a CPU, one network after the other, each from its tape, in compiled loops."""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Self

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from mdbench.errors import MdbenchError
from zoo_builder.landscape.data import Data, class_numbers
from zoo_builder.landscape.objective import CrossEntropy
from zoo_builder.landscape.surface import NO_LINEAR, STATISTICS_BATCH, Curvature, Layout, filled, numbers
from zoo_builder.training import Memory, UnknownLayerError, kernels, taped

#: Numbers that an arena should not exceed, a few times what the second cache holds; batches are cut to that.
_ARENA = 2**19
#: Fewest and most examples in a batch.
_FEWEST, _MOST = 16, 64
#: Bytes of values and gradients that are kept between Hessian–vector products, all networks of a surface together.
_KEPT = 2**29
#: Examples that pass through a network before an interruption is heard.
_PAUSE = 2**16


@cache
def _libraries() -> ThreadpoolController:
    """Find the libraries that have threads: once, for that takes longer than a small product."""
    return ThreadpoolController()


def _one_thread() -> AbstractContextManager[object]:
    """Have matrices multiplied in this thread: several would wait for one another."""
    limited: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limited


class Taped:
    """The loss surfaces of networks that tapes know; see `zoo_builder.landscape.surface.Surface`."""

    def __init__(self, networks: Sequence[nn.Module], shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Write the tape; see `zoo_builder.landscape.open_surface`.

        Raises
        ------
        UnknownLayerError
            The networks do something that the compiled loops do not know.
        """
        if not networks:
            raise ValueError("a surface needs at least one network")
        self.module, self._shape = networks[0], shape
        self.layout = Layout(self.module)
        self.objective = CrossEntropy()
        parameters, _ = numbers(networks, lambda value: value.detach().to("cpu", dtype))
        self._tape = taped.write(self.module, shape, dtype, lasting=True)
        if self._tape.sides:
            raise UnknownLayerError  # its loss is not one of examples
        self._kind = torch.empty(0, dtype=dtype).numpy().dtype
        self._places = self._tape.places({name: place.start for name, place in self.layout.slices.items()})
        self.points = self.layout.points(parameters)
        self._buffers = np.stack([self._tape.buffers(network, self._kind) for network in networks])
        self._batch = int(np.clip(_ARENA // self._tape.size // 16 * 16, _FEWEST, _MOST))
        self._memories: dict[tuple[int, bool], Memory] = {}

    @property
    def classifies(self) -> bool:
        """Whether the loss is one of classes, one an example: it is."""
        return True

    @property
    def way(self) -> str:
        """How it is computed, in words."""
        return "compiled loops"

    def __len__(self) -> int:
        return len(self.points)

    def _with(self, points: Tensor, buffers: np.ndarray) -> Self:
        other = copy.copy(self)
        other.points, other._buffers = points, buffers
        return other

    def part(self, rows: Sequence[int]) -> Self:
        """Return the surfaces of some of the networks."""
        chosen = np.asarray(rows, dtype=np.int64)
        return self._with(self.points[torch.from_numpy(chosen)], self._buffers[chosen])

    def network(self, row: int) -> nn.Module:
        """Return a copy of one network."""
        return filled(self.module, self._tape.state(self._vectors(self.points)[row], self._buffers[row], 0))

    def reopened(self, networks: Sequence[nn.Module]) -> Self:
        """Return the surfaces of other networks."""
        return type(self)(networks, self._shape, self.points.dtype)

    def _vectors(self, points: Tensor) -> np.ndarray:
        """Return points (…, P) as the loops read them."""
        vectors: np.ndarray = np.ascontiguousarray(points.detach().numpy()[..., self._places], self._kind)
        return vectors

    def _points(self, vectors: np.ndarray) -> Tensor:
        """Return what the loops wrote, (…, P), as points."""
        points = np.empty_like(vectors)
        points[..., self._places] = vectors
        return torch.from_numpy(points)

    def _memory(self, batch: int, *, training: bool) -> Memory:
        """Return memory for batches of a size, kept for the next time."""
        if (batch, training) not in self._memories:
            self._memories[batch, training] = Memory(self._tape, batch, self._kind, training=training)
        return self._memories[batch, training]

    def _laid_out(self, data: Data) -> np.ndarray:
        many = self._tape.vocabulary
        if many and (data.floating or bool(((data.tensor < 0) | (data.tensor >= many)).any())):
            raise MdbenchError(
                f"the networks embed token ids, and the inputs are not integers from 0 to {many - 1}: give them as these"
            )
        return data.laid_out.astype(self._kind, copy=False)

    def _shown(self, data: Data, points: Tensor, row: int, channels: int) -> np.ndarray:
        vectors, inputs = self._vectors(points), self._laid_out(data)
        memory = self._memory(self._batch, training=False)
        out = np.empty((len(points), len(data), channels), self._kind)
        with _one_thread():
            for at, vector in enumerate(vectors):
                for first in range(0, len(data), _PAUSE):
                    kernels.logits(
                        self._tape.values,
                        self._tape.steps,
                        vector,
                        self._buffers[at],
                        memory.arena,
                        memory.saved,
                        memory.scratch,
                        inputs[first : first + _PAUSE],
                        self._batch,
                        row,
                        out[at, first : first + _PAUSE],
                    )
        return out

    def logits(self, data: Data, points: Tensor | None = None) -> Tensor:
        """Return outputs (S, n, K)."""
        row = int(self._tape.steps[-1]["target"])
        channels = int(self._tape.values[row]["channels"])
        return torch.from_numpy(self._shown(data, self.points if points is None else points, row, channels))

    def features(self, data: Data) -> Tensor:
        """Return what the linear layer sees that is used last, (S, n, F)."""
        if self._tape.features is None:
            raise MdbenchError(NO_LINEAR)
        row, order = self._tape.features
        seen = self._shown(data, self.points, row, len(order))
        out = np.empty_like(seen)
        out[..., order] = seen
        return torch.from_numpy(out)

    def scores(self, data: Data, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean losses and errors in %, (S, M) each, at points (S, M, P)."""
        inputs, labels = self._laid_out(data), class_numbers(data.targets, "targets").numpy()
        examples = len(data)
        every = np.arange(examples)
        memory = self._memory(self._batch, training=False)
        losses, errors = np.empty(points.shape[:2]), np.empty(points.shape[:2])
        with _one_thread():
            for at in range(len(points)):
                for m, vector in enumerate(self._vectors(points[at])):
                    loss, wrong = 0.0, 0
                    for first in range(0, examples, _PAUSE):
                        more, missed = kernels.evaluate(
                            self._tape.values,
                            self._tape.steps,
                            vector,
                            self._buffers[at],
                            memory.arena,
                            memory.saved,
                            memory.scratch,
                            inputs,
                            every[first : first + _PAUSE],
                            labels[first : first + _PAUSE],
                            self._batch,
                        )
                        loss, wrong = loss + more, wrong + missed
                    losses[at, m], errors[at, m] = loss / examples, 100 * wrong / examples
        return torch.from_numpy(losses), torch.from_numpy(errors)

    def gradients(
        self, data: Data, points: Tensor, chosen: Tensor | None = None, *, training: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return mean losses (S,) and gradients (S, P), at points (S, P)."""
        vectors, inputs, labels = (
            self._vectors(points),
            self._laid_out(data),
            class_numbers(data.targets, "targets").numpy(),
        )
        every = np.arange(len(data))[None] if chosen is None else chosen.numpy()
        every = np.broadcast_to(every, (len(points), every.shape[1]))
        batch = every.shape[1] if training else self._batch
        memory = self._memory(batch, training=True)
        losses, gradients = torch.empty(len(points), dtype=torch.float64), np.empty_like(vectors)
        part, buffers = np.empty_like(vectors[0]), self._buffers.copy()
        with _one_thread():
            for at, vector in enumerate(vectors):
                losses[at] = kernels.differentiate(
                    self._tape.values,
                    self._tape.steps,
                    vector,
                    buffers[at],
                    memory.arena,
                    memory.saved,
                    memory.scratch,
                    part,
                    inputs,
                    every[at],
                    labels[every[at]],
                    batch,
                    training,
                    gradients[at],
                )
        return losses, self._points(gradients)

    def curvature(self, data: Data) -> Curvature:
        """Return the Hessians of the mean losses where the networks are.

        Values and gradients of all examples are kept from the first product on where memory allows it.
        """
        inputs, labels = self._laid_out(data), class_numbers(data.targets, "targets").numpy()
        where, batch, tape = self._vectors(self.points), self._batch, self._tape
        memory = self._memory(batch, training=True)
        along, part = np.zeros_like(memory.arena), np.empty_like(where[0])
        batches = -(-len(data) // batch)
        fits = batches * memory.arena.nbytes * len(where) <= _KEPT
        shape = (batches if fits else 1, len(memory.arena))
        kept: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(where)

        def products(vectors: Tensor, rows: Sequence[int] | None = None) -> Tensor:
            directions = self._vectors(vectors)
            out = np.empty_like(directions)
            with _one_thread():
                for number, at in enumerate(range(len(where)) if rows is None else rows):
                    ready = kept[at] is not None
                    arenas, saved = kept[at] or (np.zeros(shape, self._kind), np.empty_like(memory.saved))
                    if fits:
                        kept[at] = arenas, saved
                    kernels.multiply_hessian(
                        tape.values,
                        tape.steps,
                        where[at],
                        self._buffers[at],
                        arenas,
                        along,
                        saved,
                        memory.scratch,
                        part,
                        inputs,
                        labels,
                        batch,
                        ready,
                        directions[number],
                        out[number],
                    )
            return self._points(out)

        return products

    def held(self, examples: int) -> int:
        """Return how many bytes products with the Hessians hold, about, beside their vectors."""
        arena = self._tape.size * self._batch * self.points.element_size()
        kept = -(-examples // self._batch) * arena * len(self)
        return 3 * arena + (kept if kept <= _KEPT else arena)

    def renormalized(self, data: Data, points: Tensor) -> Self:
        """Return the surfaces at other points, normalization's statistics taken anew there."""
        if not self._buffers.shape[1]:
            return self._with(points, self._buffers)
        batch = min(STATISTICS_BATCH, len(data))
        memory = self._memory(batch, training=False)
        steps = self._tape.steps.copy()
        steps["momentum"] = 1
        inputs, fresh = self._laid_out(data), np.empty_like(self._buffers)
        with _one_thread():
            for at, vector in enumerate(self._vectors(points)):
                kernels.statistics(
                    self._tape.values,
                    steps,
                    vector,
                    np.empty_like(fresh[at]),
                    memory.arena,
                    memory.saved,
                    memory.scratch,
                    inputs,
                    batch,
                    fresh[at],
                )
        return self._with(points, fresh)
