"""Losses as sums over examples, over a normalizer that is known for all of them beforehand.

Data are passed through networks in blocks, and how large these are must not show. A mean over examples adds up; a mean that
class weights or ignored targets are part of does not, for every block has another normalizer. So a loss is here a numerator,
which is added up block by block, and a normalizer, which is computed once, over all the data.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdbench.errors import MdbenchError, reason

#: Outputs (n, …) and targets (n, …) of one network → its loss: a scalar, or one number an example or more.
Loss = Callable[[Tensor, Tensor], Tensor]
#: A loss by its name, as a module or a function.
GivenLoss = Loss | Literal["cross_entropy"]

#: By what share of itself a loss of one's own may differ from the sum of its parts: rounding in single precision.
_TOLERANCE: Final = 1e-5
#: What to give instead of a loss whose parts do not add up.
_INSTEAD: Final = (
    "give it as a function that returns one loss an example, shape (n,), whose mean is then taken; of nn.CrossEntropyLoss "
    "and nn.NLLLoss, give the module itself: weights and ignored classes are read from it"
)


class Objective(Protocol):
    """A loss of all data: the sum of `total` over blocks of examples, divided by `normalizer` of all targets.

    Attributes
    ----------
    classifies : whether outputs are (n, K), targets class numbers (n,): then there are errors.
    """

    @property
    def classifies(self) -> bool:
        """Whether there is one class an example."""

    @property
    def summed(self) -> bool:
        """Whether losses are added up, and not averaged."""

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the numerator of some examples, a scalar, differentiable twice and under `torch.func.vmap`."""

    def normalizer(self, targets: Tensor) -> float:
        """Return what the sum of numerators over these targets is divided by."""


@dataclass(frozen=True, eq=False)
class CrossEntropy:
    """The cross-entropy of classes in nats, as `torch.nn.CrossEntropyLoss` and `torch.nn.NLLLoss` define it.

    Attributes
    ----------
    classifies : whether there is one class an example; otherwise one a position, or probabilities.
    weight : (K,), of classes; None for ones.
    ignore_index : class number of examples that do not count; None where there is none.
    smoothing : label smoothing ε, 0 to 1: targets are (1 − ε) of themselves and ε of the uniform distribution.
    summed : whether losses are added up, and not averaged.
    of_logits : whether outputs are logits; otherwise log-probabilities.
    """

    classifies: bool = True
    weight: Tensor | None = None
    ignore_index: int | None = None
    smoothing: float = 0.0
    summed: bool = False
    of_logits: bool = True

    @property
    def plain(self) -> bool:
        """Whether it is the mean over examples of −ln p of their class, and nothing else."""
        return self.classifies and self.unweighted

    @property
    def unweighted(self) -> bool:
        """Whether it is the mean of −ln p, of the class of each example or of each position that counts."""
        return self.of_logits and self.weight is None and not self.smoothing and not self.summed

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the numerator of outputs (n, K, …), of targets (n, …) or probabilities (n, K, …)."""
        weight = None if self.weight is None else self.weight.to(outputs)
        if targets.is_floating_point():
            return functional.cross_entropy(outputs, targets, weight, reduction="sum", label_smoothing=self.smoothing)
        counts = self.counts(targets)
        labels, scores = torch.where(counts, targets, 0).long(), outputs.movedim(1, -1)
        others = negative_log_likelihoods(scores, labels) if self.of_logits else -scores
        own = others.gather(-1, labels[..., None])[..., 0]
        scale = counts.to(outputs) if weight is None else weight[labels] * counts
        found = (1 - self.smoothing) * (scale * own).sum()
        if self.smoothing:
            uniform = others if weight is None else others * weight
            found = found + self.smoothing / outputs.shape[1] * (uniform.sum(-1) * counts).sum()
        return found

    def normalizer(self, targets: Tensor) -> float:
        """Return the sum of the weights of the targets that count; of probabilities (n, K, …), the number of positions."""
        if self.summed:
            return 1.0
        if targets.is_floating_point():
            return targets.numel() / targets.shape[1]
        counts = self.counts(targets)
        if self.weight is None:
            return float(counts.sum())
        return float((self.weight.double().to(targets.device)[torch.where(counts, targets, 0).long()] * counts).sum())

    def counts(self, targets: Tensor) -> Tensor:
        """Return which class numbers (n, …) count."""
        if self.ignore_index is None:
            return torch.ones_like(targets, dtype=torch.bool)
        return targets.long() != self.ignore_index  # of bytes, -100 would be 156


def negative_log_likelihoods(logits: Tensor, labels: Tensor) -> Tensor:
    """Return −ln p of every class, (…, K), of logits (…, K) and labels (…), such that nothing cancels where p is nearly 1.

    With z the logits less the label's, −ln p of the label is ln(1 + Σ exp z) over the other classes: where a network is sure,
    that is a small sum of small numbers, and so are its derivatives. The plain form, log-sum-exp less the logit, has lost
    them to rounding once the label leads by 17 in single precision.
    """
    own = labels[..., None]
    relative = logits - logits.gather(-1, own)
    most = relative.detach().amax(-1, keepdim=True)  # at least 0, the label's own
    others = (relative - most).exp().scatter(-1, own, 0.0).sum(-1, keepdim=True)
    return most + torch.log1p(torch.expm1(-most) + others) - relative


@dataclass(frozen=True, eq=False)
class Own:
    """A loss of one's own.

    Attributes
    ----------
    function : see `Loss`.
    kind : whether it is a ``mean`` over examples, a ``sum`` over them, or gives one number an example (``each``).
    """

    function: Loss
    kind: Literal["mean", "sum", "each"]
    classifies: bool = False

    @property
    def summed(self) -> bool:
        """Whether losses are added up, and not averaged."""
        return self.kind == "sum"

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the numerator of outputs (n, …) and targets (n, …)."""
        found = self.function(outputs, targets)
        if self.kind == "sum":
            return found.sum()
        return found.mean() * len(outputs)

    def normalizer(self, targets: Tensor) -> float:
        """Return the number of examples; 1 of a sum."""
        return 1.0 if self.kind == "sum" else float(len(targets))


def objective_of(loss: GivenLoss, outputs: Tensor, targets: Tensor) -> Objective:
    """Return a loss as a sum over examples.

    Parameters
    ----------
    loss : ``"cross_entropy"``, a module or a function. `torch.nn.CrossEntropyLoss` and `torch.nn.NLLLoss` are read; anything
        else is tried: on parts of the examples and on all of them together.
    outputs, targets : (n, …) each, of a network on some examples of all kinds that there are: `Data.tried`.

    Raises
    ------
    MdbenchError
        There is no such loss; it fails; it does not return numbers, or its parts do not add up.
    """
    if isinstance(loss, str):
        if outputs.dim() != 2:
            raise MdbenchError(
                f"the networks' outputs have shape {tuple(outputs.shape[1:])} an example; cross-entropy wants a number a "
                "class: give nn.CrossEntropyLoss() where there is a class a position, and any other loss as a function"
            )
        return CrossEntropy()
    read = _read(loss, targets)
    if read is not None:
        _check_classes_axis(outputs, targets)
        return read
    if not callable(loss):
        raise MdbenchError(
            f"the loss is a {type(loss).__name__}; it is 'cross_entropy', or a function of outputs and targets"
        )
    return Own(loss, _kind(loss, outputs, targets))


def _read(loss: Loss, targets: Tensor) -> CrossEntropy | None:
    """Return what a loss of PyTorch's says of itself; None where it is another, or gives one number an example."""
    classifies = targets.dim() == 1 and not targets.is_floating_point()
    if type(loss) in (nn.CrossEntropyLoss, nn.NLLLoss):
        said: dict[str, Any] = {name: getattr(loss, name, default) for name, default in _SETTINGS.items()}
        of_logits = type(loss) is nn.CrossEntropyLoss
    elif (
        isinstance(loss, partial) and loss.func in _FUNCTIONS and not loss.args and set(loss.keywords) <= set(_SETTINGS)
    ):
        said, of_logits = _SETTINGS | loss.keywords, loss.func is functional.cross_entropy
    elif loss in _FUNCTIONS:
        said, of_logits = dict(_SETTINGS), loss is functional.cross_entropy
    else:
        return None
    if said["reduction"] not in ("mean", "sum"):
        return None
    weight = said["weight"]
    return CrossEntropy(
        classifies,
        None if weight is None else weight.detach(),
        said["ignore_index"],
        said["label_smoothing"],
        said["reduction"] == "sum",
        of_logits,
    )


_FUNCTIONS: Final = (functional.cross_entropy, functional.nll_loss)
_SETTINGS: Final[dict[str, Any]] = {"weight": None, "ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0}


def _check_classes_axis(outputs: Tensor, targets: Tensor) -> None:
    """Make sure that outputs (n, K, …) have their classes where PyTorch wants them."""
    wanted = outputs.shape if targets.is_floating_point() else torch.Size((len(outputs), *outputs.shape[2:]))
    if outputs.dim() < 2 or targets.shape != wanted:
        raise MdbenchError(
            f"the outputs have shape (n, {', '.join(map(str, outputs.shape[1:]))}) and the targets shape "
            f"({', '.join(['n', *map(str, targets.shape[1:])])}), {targets.dtype}; cross-entropy wants outputs "
            "(n, classes, …) and class numbers, integers (n, …): turn one-hot targets into numbers by argmax(1), move "
            "classes to axis 1 in a function given as output=, and give any other loss as a function"
        )


def _kind(loss: Loss, outputs: Tensor, targets: Tensor) -> Literal["mean", "sum", "each"]:
    """Return how a loss of one's own adds up: tried on parts of some examples, and on all of them together."""
    whole = _tried(loss, outputs, targets)
    if whole.dim() and whole.numel() != 1:
        if len(whole) != len(outputs):
            raise MdbenchError(
                f"the loss returns shape {tuple(whole.shape)} for {len(outputs)} examples; it must be one number, or the "
                "first axis that of the examples"
            )
        for part in (part for parts in _splits(outputs, targets) for part in parts):
            own, there = _tried(loss, outputs[part], targets[part]), whole[part.to(whole.device)]
            slack = _TOLERANCE * float(whole.abs().max())
            if own.shape != there.shape or not bool(((own - there).abs() <= slack).all()):
                raise MdbenchError(
                    "the loss gives an example another number when other examples are with it: asked about "
                    f"{len(part)} of {len(outputs)} examples, it returns shape {tuple(own.shape)} for outputs "
                    f"{tuple(outputs[part].shape)} and targets {tuple(targets[part].shape)}; it must be one loss an example, "
                    "of it alone (where shapes differ, PyTorch may pair every output with every target)"
                )
        return "each"
    mean, total = True, True
    for one, other in _splits(outputs, targets):
        first, second = (float(_tried(loss, outputs[some], targets[some])) for some in (one, other))
        share = len(one) / len(outputs)
        slack = _TOLERANCE * max(abs(first), abs(second), abs(float(whole)))
        mean &= abs(share * first + (1 - share) * second - float(whole)) <= slack
        total &= abs(first + second - float(whole)) <= 2 * slack
    if not mean and not total:
        raise MdbenchError(
            "the loss is neither a mean nor a sum over examples: computed on two parts of them, it does not give what it "
            f"gives on all together. {_paired(outputs, targets)}Class weights, ignored targets and terms between examples "
            f"are like that; {_INSTEAD}"
        )
    return "mean" if mean else "sum"


def _splits(outputs: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield parts of examples (n,) that differ: by place, by their targets, where class weights show, by their outputs."""
    many = len(targets)
    if many < 2:
        return
    by_target, by_output = (values.reshape(many, -1).double().sum(1).argsort() for values in (targets, outputs))
    for order in (torch.arange(many), by_target.cpu(), by_output.cpu()):
        yield order[: many // 2], order[many // 2 :]


def _tried(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is wrong with it, more is said below
            found = loss(outputs, targets)
    except (Exception, SystemExit) as error:
        raise MdbenchError(
            f"the loss fails: {reason(error)}. It is called with outputs {tuple(outputs.shape)}, {outputs.dtype}, and "
            f"targets {tuple(targets.shape)}, {targets.dtype}"
        ) from error
    if not isinstance(found, Tensor) or not found.is_floating_point():
        raise MdbenchError(f"the loss returns {_named(found)}; it must return a floating point tensor")
    if not torch.isfinite(found).all():
        raise MdbenchError(
            f"the loss is not finite on some of the training examples; it is called with outputs {tuple(outputs.shape)} and "
            f"targets {tuple(targets.shape)}: leave such examples out, or keep it from infinity (a logarithm of 0?)"
        )
    return found.detach()


def _paired(outputs: Tensor, targets: Tensor) -> str:
    """Return what PyTorch makes of outputs and targets of other shapes, where it makes something of them."""
    if outputs.shape == targets.shape or outputs.numel() != targets.numel():
        return ""
    return (
        f"Outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} have other shapes, so that PyTorch may pair "
        "every output with every target. "
    )


def _named(value: object) -> str:
    return f"{value.dtype} numbers" if isinstance(value, Tensor) else f"a {type(value).__name__}"
