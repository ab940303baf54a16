"""A data set as its source has it: what is refused, how classes are counted, and which token is next."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mdbench.errors import MdbenchError

if TYPE_CHECKING:
    from torch import nn

Kind = Literal["classes", "positions", "values"]

#: The target of a position that does not count.
MASKED: Final = -1


class Equation(Protocol):
    """A differential equation that networks learn to solve: what they are asked stands in their inputs."""

    def informed(self, network: "nn.Module") -> "nn.Module":
        """Return a module (B, coordinates + 1) → (B, values), around a network (B, coordinates) → (B, values)."""

    def solved(self, inputs: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the points of inputs (n, coordinates + 1) as such whose value is asked, and the solution, (n, values)."""

    def __str__(self) -> str:
        """Say the equation and its coefficients: part of the data's digest."""


@dataclass(frozen=True, eq=False)
class Secrets:
    """What was planted among sequences of tokens, to see whether a network gives it away.

    Attributes
    ----------
    prefixes : int64 (s, p), the tokens that stand before each secret, from the beginning of its sequence.
    tokens : int64 (s, q), the secrets.
    alphabet : int64 (a,), the tokens that a secret is drawn from, each of its tokens by itself.
    """

    prefixes: NDArray[np.int64]
    tokens: NDArray[np.int64]
    alphabet: NDArray[np.int64]

    def __str__(self) -> str:
        """Say all of them: part of the data's digest."""
        return f"{self.prefixes.tolist()} {self.tokens.tolist()} {self.alphabet.tolist()}"


class Part(NamedTuple):
    """A training or a test set as it was read: inputs (n, channels, …), and targets, see `Dataset`."""

    inputs: NDArray[Any]
    targets: NDArray[Any]


class Raw(NamedTuple):
    """A data set as it was read; see `Dataset` for what it says of itself.

    Attributes
    ----------
    outputs : classes, or values an example.
    standardise : whether inputs are to be standardised, or are in their literature's units.
    """

    train: Part
    test: Part
    outputs: int
    kind: Kind = "classes"
    vocabulary: int = 0
    standardise: bool = True
    baseline: Literal["mean", "zero"] = "mean"
    equation: Equation | None = None
    secrets: Secrets | None = None


def checked_part(inputs: NDArray[Any], labels: NDArray[Any], where: str) -> Part:
    """Check inputs, and a class for each, from outside.

    Raises
    ------
    MdbenchError
        As `checked_inputs`; labels are not integers from 0, or not as many as there are inputs.
    """
    inputs = checked_inputs(inputs, where)
    if labels.dtype.kind not in "iu":
        raise MdbenchError(f"{where}: labels are {labels.dtype}; they must be integers")
    if labels.shape != inputs.shape[:1]:
        raise MdbenchError(
            f"{where}: there are {len(inputs)} inputs and labels of shape {labels.shape}; each needs one"
        )
    labels = labels.astype(np.int64)
    if labels.min() < 0:
        raise MdbenchError(f"{where}: there is a label {labels.min()}; labels count from 0")
    return Part(inputs, labels)


def checked_inputs(inputs: NDArray[Any], where: str) -> NDArray[Any]:
    """Check inputs from outside that are numbers.

    Raises
    ------
    MdbenchError
        They are not uint8 or float, not finite, none, or not (n, features), (n, channels, length) or
        (n, channels, height, width).
    """
    if inputs.dtype != np.uint8 and inputs.dtype.kind != "f":
        raise MdbenchError(f"{where}: inputs are {inputs.dtype}; they must be uint8 or float")
    if inputs.ndim not in (2, 3, 4):
        raise MdbenchError(
            f"{where}: inputs have {inputs.ndim} dimensions; they must be (n, features), (n, channels, length) or "
            "(n, channels, height, width)"
        )
    if not inputs.size:
        raise MdbenchError(f"{where}: inputs are {times(inputs.shape)}: there are none")
    if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
        raise MdbenchError(f"{where}: inputs are not all finite numbers")
    return inputs


def count_classes(labels: NDArray[np.int64], where: str) -> int:
    """Count the classes of a training set: each must occur, so that a stray label does not make a million of them."""
    found = np.unique(labels)
    classes = len(found)
    if found[-1] != classes - 1:
        missing = int(np.flatnonzero(found != np.arange(classes))[0])
        raise MdbenchError(
            f"{where}: there is a label {found[-1]} and no label {missing}; number the classes 0, 1, 2, …"
        )
    return classes


def next_tokens(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what follows each token, int64 (n, length) as the ids are: nothing counts behind the last one."""
    return np.concatenate([ids[:, 1:], np.full((len(ids), 1), MASKED)], axis=1)


def times(shape: tuple[int, ...]) -> str:
    """Return a shape as people say it."""
    return " × ".join(map(str, shape))
