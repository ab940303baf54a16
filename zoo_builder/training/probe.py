"""Whether what was made from a network computes what the network computes.

A trace sees a network once; of hooks, of branches on `training`, of stopped gradients it knows nothing. What was made from it
is therefore tried on a few examples before it is trusted: loss, gradients and buffers of a step, and the loss in evaluation
mode.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo_builder.specification import Informed
from zoo_builder.training.copies import copied
from zoo_builder.training.graph import UnknownLayerError

_EXAMPLES = 8
#: Relative differences that rounding explains; what a trace misses makes differences of the order of one.
_TOLERANCE = {torch.float32: 1e-2, torch.float64: 1e-6}


@dataclass(frozen=True)
class Answers:
    """What a network says about the examples.

    Attributes
    ----------
    losses : see `tried_loss`, in training and after that in evaluation mode.
    gradients : by parameter, of the former; zeros where the loss does not depend on it.
    buffers : after it: those that are kept, and others that have changed.
    """

    losses: tuple[float, float]
    gradients: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]


@dataclass(frozen=True)
class Probe:
    """Examples, and what the network itself says about them.

    Attributes
    ----------
    inputs : (n, …).
    labels : (n, …), int64, a class for every example or position.
    dtype : what is computed in.
    answers : the network's.
    """

    inputs: Tensor
    labels: Tensor
    dtype: torch.dtype
    answers: Answers

    @classmethod
    def of(cls, network: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, vocabulary: int = 0) -> "Probe":
        """Ask a copy of a network, on the CPU, wherever the network lies; it stays as it is.

        Inputs are numbers, or ids of a vocabulary; where an equation is asked about, all that is asked is among them.

        Raises
        ------
        UnknownLayerError
            It does not give (examples, classes) or (examples, classes, …).
        """
        network = copied(network).to("cpu", dtype).requires_grad_()
        before = {name: value.clone() for name, value in network.named_buffers()}
        draws = torch.Generator().manual_seed(0)
        if vocabulary:
            inputs = torch.randint(vocabulary, (_EXAMPLES, *shape), generator=draws)
        else:
            inputs = torch.randn(_EXAMPLES, *shape, generator=draws).to(dtype)
        if isinstance(network, Informed):
            inputs[:, -1] = torch.arange(_EXAMPLES) % network.kinds
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            logits = network.train()(inputs)
            if not isinstance(logits, Tensor) or logits.dim() < 2:
                raise UnknownLayerError
            labels = torch.arange(logits[:, 0].numel()).view(logits[:, 0].shape) % logits.shape[1]
            loss = tried_loss(logits, labels)
            named = dict(network.named_parameters())
            slopes = torch.autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
            with torch.no_grad():
                later = tried_loss(network.eval()(inputs), labels)
        kept = network.state_dict()
        buffers = {
            name: value.detach()
            for name, value in network.named_buffers()
            if name in kept or not torch.equal(value, before[name])
        }
        answers = Answers((loss.item(), later.item()), dict(zip(named, slopes, strict=True)), buffers)
        return cls(inputs, labels, dtype, answers)

    def check(self, answers: Answers) -> None:
        """Compare what was made from the network with it.

        Raises
        ------
        UnknownLayerError
            They differ.
        """
        tolerance = _TOLERANCE[self.dtype]
        mine, theirs = torch.tensor(answers.losses), torch.tensor(self.answers.losses)
        same = torch.allclose(mine, theirs, rtol=tolerance, atol=tolerance)
        for some, expected in ((answers.gradients, self.answers.gradients), (answers.buffers, self.answers.buffers)):
            whole = sum((value.double().square().sum() for value in expected.values()), torch.zeros(())).sqrt()
            # What ought to be zero is rounded too: a hundredth of all of them counts as zero.
            same = same and all(
                name in some
                and bool(
                    (some[name].double() - value.double()).norm() <= tolerance * (value.double().norm() + whole / 100)
                )
                for name, value in expected.items()
            )
        if not same:
            raise UnknownLayerError


def tried_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats of outputs (n, K, …); of one output, the mean square of its distance to 1."""
    if outputs.shape[1] > 1:
        return functional.cross_entropy(outputs, labels)
    return (outputs - 1).square().mean()
