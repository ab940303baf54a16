"""What a loss is a mean over: examples with their targets."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mdbench.errors import MdbenchError


@dataclass(frozen=True, eq=False)
class Data:
    """Examples.

    Attributes
    ----------
    inputs : (n, …), floating point.
    targets : (n, …): class numbers, int64 (n,), or whatever a loss of one's own wants.
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        if not len(self.inputs) or len(self.inputs) != len(self.targets):
            raise MdbenchError(
                f"there are {len(self.inputs)} inputs and {len(self.targets)} targets; there must be one target an input"
            )

    @classmethod
    def of(cls, inputs: np.ndarray, targets: np.ndarray) -> "Data":
        """Return arrays as examples."""
        return cls(torch.as_tensor(inputs), torch.as_tensor(targets))

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.inputs.shape[1:])

    def classified(self, what: str) -> "Data":
        """Return the examples with their targets as class numbers; see `class_numbers`."""
        return Data(self.inputs, class_numbers(self.targets, f"{what} targets"))

    def check(self, what: str, shape: tuple[int, ...]) -> None:
        """Make sure that networks for inputs of a shape can be given these.

        Raises
        ------
        MdbenchError
            The inputs have another shape, are no floating point numbers, or not finite.
        """
        if not self.inputs.is_floating_point():
            raise MdbenchError(
                f"the {what} inputs are {self.inputs.dtype}; they must be floating point, scaled as in training: "
                "inputs.float()"
            )
        if self.shape != shape:
            raise MdbenchError(
                f"the {what} inputs have shape {self.shape} each; they must be {shape}, like the training inputs"
            )
        bad = ~torch.isfinite(self.inputs).reshape(len(self), -1).all(1)
        if bad.any():
            raise MdbenchError(
                f"the {what} inputs hold numbers that are not finite, first in example {int(bad.int().argmax())}: "
                "leave such examples out, or fill in what is missing"
            )

    def first(self, n: int) -> "Data":
        """Return the first n examples, or all where there are fewer."""
        return self if n >= len(self) else self._firsts.setdefault(n, Data(self.inputs[:n], self.targets[:n]))

    @cached_property
    def _firsts(self) -> dict[int, "Data"]:
        return {}

    @cached_property
    def laid_out(self) -> np.ndarray:
        """The inputs as the compiled loops read them: (n, … · channels), channels last."""
        values = self.inputs.detach().cpu().numpy()
        return np.ascontiguousarray(np.moveaxis(values, 1, -1).reshape(len(values), -1))


def class_numbers(labels: Tensor, what: str) -> Tensor:
    """Return labels as class numbers, int64 (n,) on the CPU.

    Parameters
    ----------
    labels : integers (n,).
    what : they are, for messages.

    Raises
    ------
    MdbenchError
        They are something else.
    """
    if labels.dim() != 1 or labels.is_floating_point() or labels.is_complex():
        raise MdbenchError(
            f"the {what} are {labels.dtype} of shape {tuple(labels.shape)}; cross-entropy wants class numbers, integers of "
            "shape (n,): turn one-hot targets into numbers by argmax(1), and give any other loss as a function"
        )
    return labels.to("cpu", torch.int64)


def check_classes(labels: Tensor, what: str, classes: int) -> None:
    """Make sure that labels (n,) are classes of networks with so many outputs.

    Raises
    ------
    MdbenchError
        One is not.
    """
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        at = int(outside.int().argmax())
        raise MdbenchError(
            f"of the {what}, example {at} has {int(labels[at])}, but the networks have {classes} outputs, for classes "
            f"0 to {classes - 1}: leave out examples that have no class, and number classes as in training"
        )
