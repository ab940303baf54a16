"""Products of one network's Hessian with vectors: by differentiating its loss twice, or by differences of its gradient."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

#: Bytes of the gradient's graph that are kept between products, or recorded at a time.
KEPT: Final = 2**29


@dataclass(frozen=True)
class Differences:
    """Products as differences of gradients: (g(w + h v) − g(w − h v)) / 2h.

    The gradient jumps where a unit crosses the kink of a ReLU, and large networks have millions of units: of ResNet-18 on 24
    images, steps of 1e-6 and more see curvature that is not there, 40 to 200 times the right one.

    Attributes
    ----------
    step : ‖h v‖, as a share of ‖w‖, or of 1 where that is less.
    dtype : what gradients are computed in. Rounding leaves errors of its ε / `step`.
    """

    step: float
    dtype: torch.dtype


#: Errors of rounding are 1e-6 of a product.
DOUBLE: Final = Differences(1e-9, torch.float64)
#: Of networks that compute in single precision inside, whatever they are in: 1e-4.
NARROWED: Final = Differences(1e-3, torch.float64)
#: Of networks that do not run in double precision: the same.
SINGLE: Final = Differences(1e-3, torch.float32)


class Differentiated:
    """The Hessian of one network's loss, a `zoo_builder.landscape.surface.Curvature` with S = 1.

    A product is the derivative of ⟨gradient, v⟩ (Pearlmutter, Neural Computation 1994). What the gradient was computed from
    is kept between products where memory allows it; a product is then one pass back through that, about twice the work of a
    gradient. Elsewhere the gradient is computed again, a block of examples at a time.

    Parameters
    ----------
    parameters : tensors that the loss depends on, in the order of a point; none of them a part of another.
    loss : examples → what they add to the loss, a scalar. It adds up: the loss is that of slice(0, examples).
    examples : how many there are.
    kept : bytes to keep.
    recorded : bytes to record at a time where nothing is kept; as many if left out.

    Attributes
    ----------
    kept : bytes to keep, from the next product on.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        loss: Callable[[slice], Tensor],
        examples: int,
        *,
        kept: int = KEPT,
        recorded: int | None = None,
    ) -> None:
        self._parameters, self._loss = list(parameters), loss
        self._places: list[slice] = []
        at = 0
        for parameter in self._parameters:
            self._places.append(slice(at, at := at + parameter.numel()))
        self.kept, self._recorded, self._examples = kept, kept if recorded is None else recorded, examples
        self._bytes = max(1, self._graph(2) - self._graph(1)) if examples > 1 else 1  # of one example
        self._slopes: list[Tensor] | None = None

    @property
    def keeps(self) -> bool:
        """Whether the graph of all examples is kept between products."""
        return self.would_keep(self._examples)

    def would_keep(self, examples: int) -> bool:
        """Tell whether the graph of so many examples would be kept."""
        return self._bytes * examples <= self.kept

    def _blocks(self) -> list[slice]:
        size = self._examples if self.keeps else max(1, self._recorded // self._bytes)
        return [slice(start, min(start + size, self._examples)) for start in range(0, self._examples, size)]

    def __call__(self, vectors: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """Return products (1, V, P) of vectors (1, V, P); `rows` is None or [0]."""
        return self.within(vectors, rows, slice(0, self._places[-1].stop))

    def within(self, vectors: Tensor, rows: Sequence[int] | None, block: slice) -> Tensor:
        """Return products of the diagonal block of some neighbouring parameters, (1, V, p) of vectors (1, V, p).

        They cost less than those of the whole: what does not lie between these parameters and the loss is left out.
        """
        if rows is not None and list(rows) != [0]:
            raise ValueError(f"there is one network, and rows {list(rows)} are asked for")
        inside = [
            at for at, place in enumerate(self._places) if block.start <= place.start and place.stop <= block.stop
        ]
        places = [slice(self._places[at].start - block.start, self._places[at].stop - block.start) for at in inside]
        own = [self._parameters[at] for at in inside]
        out = torch.zeros_like(vectors)
        for examples in self._blocks():
            slopes = self._gradient(examples)
            bending = [
                (slopes[at], place) for at, place in zip(inside, places, strict=True) if slopes[at].requires_grad
            ]
            if not bending:
                continue  # the loss is a plane
            for vector, product in zip(vectors[0], out[0], strict=True):
                images = torch.autograd.grad(
                    [slope for slope, _ in bending],
                    own,
                    [vector[place].view_as(slope) for slope, place in bending],
                    retain_graph=True,
                    allow_unused=True,
                )
                for image, place in zip(images, places, strict=True):
                    if image is not None:
                        product[place] += image.flatten()
        return out

    def _gradient(self, examples: slice) -> list[Tensor]:
        """Return the gradient of what some examples add to the loss, with its graph."""
        if not self.keeps:
            self._slopes = None
            return self._differentiated(examples)
        if self._slopes is None:
            self._slopes = self._differentiated(examples)
        return self._slopes

    def _differentiated(self, examples: slice) -> list[Tensor]:
        with torch.enable_grad():
            loss = self._loss(examples)
            if not loss.requires_grad:
                return [torch.zeros_like(parameter) for parameter in self._parameters]
            slopes = torch.autograd.grad(
                loss, self._parameters, create_graph=True, allow_unused=True, materialize_grads=True
            )
        return list(slopes)

    def _graph(self, examples: int) -> int:
        """Return how many bytes the graph of the gradient on a few examples holds."""
        sizes: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            slopes = self._differentiated(slice(0, examples))
        del slopes
        return sum(sizes.values())
