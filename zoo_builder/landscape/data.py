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
