"""Losses and errors of a stack in evaluation mode."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from zoo_builder.specification import Dataset, Network, Subsets
from zoo_builder.training.errors import error_parts, percent
from zoo_builder.training.losses import Loss
from zoo_builder.training.operators import gather
from zoo_builder.training.stack import Stack

#: Numbers that one layer's output may have in an evaluation, and that all networks may put out; they bound its memory.
_EVALUATION, _PUT_OUT = 2**20, 2**24


class Examples:
    """A data set on a device.

    Attributes
    ----------
    kind : of the targets.
    inputs : training inputs (n, …), numbers or token ids.
    labels : noise level in % → training targets (n, …).
    order : training examples in the order in which data fractions take them, (n,).
    test_inputs : (…, m), the examples last.
    test_targets : (…, m).
    asked : what training errors are taken on where that is not what is trained on: inputs and targets, (n, …) each.
    middle : what an error of 100 % of values predicts, (outputs,).
    """

    def __init__(
        self,
        dataset: Dataset,
        subsets: Subsets,
        noises: Sequence[float],
        device: str | torch.device,
        dtype: torch.dtype,
    ) -> None:
        def tensor(array: np.ndarray) -> Tensor:
            whole = torch.from_numpy(array)
            return whole.to(device, dtype) if whole.is_floating_point() else whole.to(device)

        self.kind = dataset.kind
        self.inputs = tensor(dataset.train_inputs)
        self.labels = {noise: tensor(subsets.labels(dataset.train_targets, noise)) for noise in set(noises)}
        self.order = torch.from_numpy(subsets.order.astype(np.int64)).to(device)
        self.test_inputs = tensor(dataset.test_inputs).movedim(0, -1).contiguous()
        self.test_targets = tensor(dataset.test_targets).movedim(0, -1).contiguous()
        self.asked: tuple[Tensor, Tensor] | None = None
        if dataset.equation is not None:
            inputs, targets = dataset.asked
            self.asked = tensor(inputs), tensor(targets)
        self.middle = tensor(dataset.middle) if dataset.kind == "values" else None


def evaluate_on_test(stack: Stack, loss: Loss, examples: Examples) -> list[tuple[float, float]]:
    """Return each network's test loss and test error (%), in evaluation mode."""
    targets = examples.test_targets
    total = torch.zeros(4, len(stack), dtype=torch.float64, device=targets.device)
    for some in _portions(stack, targets.shape[-1]):
        outputs = _outputs(stack, examples.test_inputs[..., some].contiguous()[None])
        seen = targets[..., some].expand(len(stack), *targets[..., some].shape)
        total += _parts(loss, examples, outputs, seen).sum(2)
    return _means(examples, total)


def evaluate_on_training(
    stack: Stack, loss: Loss, examples: Examples, networks: Sequence[Network]
) -> list[tuple[float, float]]:
    """Return each network's loss and error (%) on the examples and targets it was trained on, in evaluation mode.

    The error of an equation is that on `Examples.asked`.
    """
    targets = torch.stack([examples.labels[one.label_noise] for one in networks])
    total = _on_training(stack, loss, examples, networks, examples.inputs, targets)
    if examples.asked is not None:
        inputs, known = examples.asked
        other = _on_training(stack, loss, examples, networks, inputs, known.expand(len(stack), *known.shape))
        total = torch.cat([total[:2], other[2:]])
    return _means(examples, total)


def _on_training(
    stack: Stack, loss: Loss, examples: Examples, networks: Sequence[Network], inputs: Tensor, targets: Tensor
) -> Tensor:
    counts = torch.tensor([one.examples for one in networks], device=examples.order.device)
    rows = torch.arange(len(stack), device=examples.order.device)[:, None]
    total = torch.zeros(4, len(stack), dtype=torch.float64, device=examples.order.device)
    for some in _portions(stack, int(counts.max())):
        chosen = examples.order[some].expand(len(stack), -1).contiguous()
        outputs = _outputs(stack, gather(inputs, chosen))
        own = torch.arange(some.start, some.start + chosen.shape[1], device=counts.device) < counts[:, None]
        each = _parts(loss, examples, outputs, targets[rows, chosen].movedim(1, -1))
        total += torch.where(own, each, 0).sum(2)
    return total


def _portions(stack: Stack, examples: int) -> list[slice]:
    widest = max(value[0].shape[0] for value in stack.parameters.values() if value.dim() > 1)
    size = max(
        16, min(examples, _EVALUATION // (len(stack) * widest * 16), _PUT_OUT // (len(stack) * max(1, stack.put_out)))
    )
    return [slice(start, min(start + size, examples)) for start in range(0, examples, size)]


@torch.no_grad()
def _outputs(stack: Stack, x: Tensor) -> Tensor:
    return stack(x, training=False)


def _parts(loss: Loss, examples: Examples, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return what examples add to loss and error, and what these are shares of: (4, S, B), float64."""
    total, weight = loss.parts(outputs, targets)
    wrong, whole = error_parts(examples.kind, outputs, targets, examples.middle)
    return torch.stack([total.double(), weight.double(), wrong, whole])


def _means(examples: Examples, total: Tensor) -> list[tuple[float, float]]:
    losses, errors = (total[0] / total[1]).tolist(), percent(examples.kind, total[2], total[3]).tolist()
    return list(zip(losses, errors, strict=True))
