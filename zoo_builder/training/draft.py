"""What a tape is made of while it is written: values that lie in one arena, steps over them, parameters in one vector."""

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from zoo_builder.training import kernels
from zoo_builder.training.graph import UnknownLayerError


@dataclass(frozen=True)
class Piece:
    """A parameter or buffer in its vector.

    Attributes
    ----------
    name : in the network's ``state_dict``.
    shape : there.
    start : where it begins in the vector.
    order : position in the vector, from `start` → position in the flattened tensor.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    order: np.ndarray


@dataclass
class Value:
    """A value while the tape is written.

    Attributes
    ----------
    row : in the table of values.
    axes : spatial axes that PyTorch sees: 0 of a vector, 1 of a signal, 2 of an image.
    order : of a vector: position here → feature in PyTorch.
    tokens : whether PyTorch sees (length, channels), and not (channels, length).
    whole : the value whose memory it is, itself in most cases.
    """

    row: int
    height: int
    width: int
    channels: int
    axes: int
    order: np.ndarray | None
    needs_slope: bool
    above: int = 0
    beside: int = 0
    tokens: bool = False
    whole: "Value" = field(init=False)

    def __post_init__(self) -> None:
        self.whole = self

    @property
    def size(self) -> int:
        """Numbers an example that it takes, with what is around it."""
        return (self.height + 2 * self.above) * (self.width + 2 * self.beside) * self.channels


class Draft:
    """A tape that is not finished.

    Attributes
    ----------
    parameters, buffers : the pieces of either vector, in its order.
    counters : batches that normalizations have counted, by name.
    saved, multiplications, counts, vocabulary, features : what a `Tape` says of itself; `counts` are the values that each
        normalization takes its statistics from, an example.
    logits : what is put out; known at the end.
    """

    logits: Value

    def __init__(self) -> None:
        self.parameters: list[Piece] = []
        self.buffers: list[Piece] = []
        self.counters: dict[str, int] = {}
        self.saved = self.multiplications = self.vocabulary = 0
        self.counts: list[int] = []
        self.features: tuple[int, np.ndarray] | None = None
        self._values: list[Value] = []
        self._steps: list[dict[str, int | float]] = []

    def finish(self, lasting: bool) -> tuple[np.ndarray, np.ndarray, int, int]:
        """Give every value its place, and return values, steps, and the size of the arena without and with gradients."""
        values = np.zeros(len(self._values), kernels.VALUE)
        steps = np.zeros(len(self._steps), kernels.STEP)
        at = 0
        for value in self._values:
            if value.whole is not value and value.whole.size != value.size:
                raise UnknownLayerError  # a vector over memory that has zeros between
            if value.whole is value:
                values[value.row]["at"] = at
                at += value.size
            else:
                values[value.row]["at"] = values[value.whole.row]["at"]
            for name in ("height", "width", "channels", "above", "beside"):
                values[value.row][name] = getattr(value, name)
        for row, said in zip(steps, self._steps, strict=True):
            for name, number in said.items():
                row[name] = number
        return values, steps, at, self._place_slopes(values, steps, at, lasting)

    def _place_slopes(self, values: np.ndarray, steps: np.ndarray, end: int, lasting: bool) -> int:
        """Give gradients their places behind `end`; backwards, one that has been passed on leaves its place to others.

        Lasting ones keep it.
        """
        places: dict[int, int] = {}
        free: list[tuple[int, int]] = []

        def open_(row: int) -> bool:
            """Open the gradient of a value; tell whether this is its first."""
            nonlocal end
            whole = self._values[row].whole
            if not whole.needs_slope or whole.row in places:
                return False
            fitting = [(size, at) for size, at in free if size >= whole.size]
            if fitting:
                place = min(fitting)
                free.remove(place)
            else:
                place = (whole.size, end)
                end += whole.size
            sizes[whole.row], places[whole.row] = place
            return True

        sizes: dict[int, int] = {}
        open_(self.logits.row)
        for step in steps[::-1]:
            step["opens"] = open_(int(step["source"]))
            if step["kind"] in (kernels.ADDITION, kernels.CONCATENATION):
                step["opens_other"] = open_(int(step["other"]))
            done = self._values[int(step["target"])].whole.row
            if done in places and not lasting:
                free.append((sizes[done], places[done]))
        for value in self._values:
            values[value.row]["slope"] = places.get(value.whole.row, -1)
        return end

    def _value(
        self, height: int, width: int, channels: int, axes: int, order: np.ndarray | None, *, needs_slope: bool
    ) -> Value:
        value = Value(len(self._values), height, width, channels, axes, order, needs_slope)
        self._values.append(value)
        return value

    def _tokens(self, length: int, channels: int, *, needs_slope: bool = True) -> Value:
        value = self._value(1, length, channels, 1, None, needs_slope=needs_slope)
        value.tokens = True
        return value

    def _seen_as(self, source: Value, target: Value) -> Value:
        """Return a value that is another one, seen in another way."""
        target.whole = source.whole
        return target

    def _step(self, kind: int, source: Value, target: Value, **more: int | float) -> Value:
        self._steps.append({"kind": kind, "source": source.row, "target": target.row, "weight": -1, "bias": -1, **more})
        return target

    def _like(self, source: Value, *, needs_slope: bool) -> Value:
        value = self._value(
            source.height, source.width, source.channels, source.axes, source.order, needs_slope=needs_slope
        )
        value.tokens = source.tokens
        return value

    @staticmethod
    def _piece(pieces: list[Piece], name: str, tensor: Tensor, order: np.ndarray | None = None) -> int:
        start = pieces[-1].start + len(pieces[-1].order) if pieces else 0
        positions = np.arange(tensor.numel()) if order is None else order.reshape(-1)
        pieces.append(Piece(name, tuple(tensor.shape), start, positions))
        return start


def order_of(value: Value) -> np.ndarray:
    """Return of a value's channels: position here → feature in PyTorch."""
    return np.arange(value.channels) if value.order is None else value.order
