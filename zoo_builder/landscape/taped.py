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
from zoo_builder.landscape.data import Data, class_numbers, position_numbers
from zoo_builder.landscape.module import dense
from zoo_builder.landscape.objective import CrossEntropy
from zoo_builder.landscape.surface import NO_LINEAR, STATISTICS_BATCH, Curvature, Layout, filled, numbers
from zoo_builder.training import Memory, Tape, UnknownLayerError, copied, kernels, taped

#: Numbers that an arena should not exceed, a few times what the second cache holds; batches are cut to that.
_ARENA = 2**19
#: Fewest and most examples in a batch.
_FEWEST, _MOST = 16, 64
#: Both where there is a class a position. There the work is in many small layers at every position, and loops over more
#: examples gain more than what no longer fits the cache loses: a product with the Hessian took 0.6 to 0.8 times as long.
_ARENA_OF_POSITIONS, _FEWEST_OF_POSITIONS = 2**21, 32
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

    def __init__(
        self,
        networks: Sequence[nn.Module],
        shape: tuple[int, ...],
        dtype: torch.dtype,
        objective: CrossEntropy | None = None,
    ) -> None:
        """Write the tape; see `zoo_builder.landscape.open_surface`.

        Parameters
        ----------
        networks, shape, dtype : see there.
        objective : the loss, an unweighted one; the mean cross-entropy of a class an example if left out.

        Raises
        ------
        UnknownLayerError
            The networks do something that the compiled loops do not know, or have no class where the loss is of one.
        """
        if not networks:
            raise ValueError("a surface needs at least one network")
        self.module, self._shape = dense(copied(networks[0])), shape
        self.layout = Layout(self.module)
        self.objective = objective or CrossEntropy()
        parameters, _ = numbers(networks, lambda value: value.detach().to("cpu", dtype))
        self._tape = taped.write(self.module, shape, dtype, lasting=True)
        if bool(self._tape.sides) == self.objective.classifies or not self.objective.unweighted:
            raise UnknownLayerError
        self._kind = torch.empty(0, dtype=dtype).numpy().dtype
        self._places = self._tape.places({name: place.start for name, place in self.layout.slices.items()})
        self.points = self.layout.points(parameters)
        self._buffers = np.stack([self._tape.buffers(network, self._kind) for network in networks])
        arena, fewest = (_ARENA_OF_POSITIONS, _FEWEST_OF_POSITIONS) if self._tape.sides else (_ARENA, _FEWEST)
        self._batch = int(np.clip(arena // self._tape.size // 16 * 16, fewest, _MOST))
        #: For gradients alone, which leave their places to one another: a fifth less time where a cache is too small for all.
        self._descent = Tape(self.module, shape)
        self._memories: dict[tuple[int, bool], Memory] = {}
        self._labelled: tuple[Data, np.ndarray] | None = None

    @property
    def classifies(self) -> bool:
        """Whether the loss is one of classes, one an example, and not one a position."""
        return self.objective.classifies

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
        return type(self)(networks, self._shape, self.points.dtype, self.objective)

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
        """Return memory for batches of a size, kept for the next time; with `training`, for `_descent`."""
        if (batch, training) not in self._memories:
            tape = self._descent if training else self._tape
            self._memories[batch, training] = Memory(tape, batch, self._kind, training=training)
        return self._memories[batch, training]

    def _laid_out(self, data: Data) -> np.ndarray:
        many = self._tape.vocabulary
        if many and (data.floating or bool(((data.tensor < 0) | (data.tensor >= many)).any())):
            raise MdbenchError(
                f"the networks embed token ids, and the inputs are not integers from 0 to {many - 1}: give them as these"
            )
        return data.laid_out.astype(self._kind, copy=False)

    def _labels(self, data: Data) -> np.ndarray:
        """Return class numbers, int64 (n,), or (n, positions), −1 where none counts; the last ones are kept."""
        if self.classifies:
            return class_numbers(data.targets, "targets").numpy()
        if self._labelled is None or self._labelled[0] is not data:
            classes, sides, ignored = self._tape.channels, self._tape.sides, self.objective.ignore_index
            self._labelled = data, position_numbers(data.targets, "targets", classes, sides, ignored).numpy()
        return self._labelled[1]

    def _shown(self, data: Data, points: Tensor, row: int) -> np.ndarray:
        """Return a value of the tape, (S, n, positions, channels)."""
        vectors, inputs = self._vectors(points), self._laid_out(data)
        memory = self._memory(self._batch, training=False)
        value = self._tape.values[row]
        positions, channels = int(value["height"] * value["width"]), int(value["channels"])
        out = np.empty((len(points), len(data), positions * channels), self._kind)
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
        return out.reshape(len(points), len(data), positions, channels)

    def logits(self, data: Data, points: Tensor | None = None) -> Tensor:
        """Return outputs (S, n, K), or (S, n, K, …) of a class a position."""
        shown = torch.from_numpy(self._shown(data, self.points if points is None else points, self._tape.exit))
        return shown.movedim(3, 2).reshape(*shown.shape[:2], self._tape.channels, *self._tape.sides)

    def features(self, data: Data) -> Tensor:
        """Return what the linear layer sees that is used last, (S, n, F)."""
        if self._tape.features is None:
            raise MdbenchError(NO_LINEAR)
        row, order = self._tape.features
        seen = self._shown(data, self.points, row)
        out = np.empty_like(seen)
        out[..., order] = seen
        return torch.from_numpy(out).flatten(2)

    def scores(self, data: Data, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean losses and errors in %, (S, M) each, at points (S, M, P); no errors of positions."""
        inputs, labels = self._laid_out(data), self._labels(data)
        if not self.classifies:
            return self._losses(inputs, labels, points)
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

    def _losses(self, inputs: np.ndarray, labels: np.ndarray, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean losses of all positions that count, (S, M), at points (S, M, P), and NaN for their errors."""
        memory = self._memory(self._batch, training=False)
        losses, whole = np.zeros(points.shape[:2]), np.float64((labels >= 0).sum())
        with _one_thread():
            for at in range(len(points)):
                for m, vector in enumerate(self._vectors(points[at])):
                    for first in range(0, len(inputs), _PAUSE):
                        losses[at, m] += kernels.evaluate_positions(
                            self._tape.values,
                            self._tape.steps,
                            vector,
                            self._buffers[at],
                            memory.arena,
                            memory.saved,
                            memory.scratch,
                            inputs[first : first + _PAUSE],
                            labels[first : first + _PAUSE],
                            self._batch,
                        )
        return torch.from_numpy(losses / whole), torch.full(points.shape[:2], torch.nan, dtype=torch.float64)

    def gradients(
        self, data: Data, points: Tensor, chosen: Tensor | None = None, *, training: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return mean losses (S,) and gradients (S, P), at points (S, P)."""
        vectors, inputs, labels = self._vectors(points), self._laid_out(data), self._labels(data)
        every = np.arange(len(data))[None] if chosen is None else chosen.numpy()
        every = np.broadcast_to(every, (len(points), every.shape[1]))
        batch = every.shape[1] if training else self._batch
        memory = self._memory(batch, training=True)
        losses, gradients = torch.empty(len(points), dtype=torch.float64), np.empty_like(vectors)
        part, buffers = np.empty_like(vectors[0]), self._buffers.copy()
        with _one_thread():
            for at, vector in enumerate(vectors):
                losses[at] = kernels.differentiate(
                    self._descent.values,
                    self._descent.steps,
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
        inputs, labels = self._laid_out(data), self._labels(data)
        where, batch, tape = self._vectors(self.points), self._batch, self._tape
        memory = Memory(tape, batch, self._kind)
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
