"""What a loss is a mean over: examples with their targets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mdbench.errors import MdbenchError

#: What a network is given: a tensor (n, …), or several as positional or as keyword arguments.
Inputs: TypeAlias = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]
#: Which examples: a slice, or numbers (b,).
Rows: TypeAlias = slice | Tensor
#: Examples that networks and losses are tried on: from all over, and at most so many more of rare targets.
_TRIED: Final = 64
#: Targets that are counted for that: where there is a class a position, there may be very many.
_COUNTED: Final = 10_000_000


def of_each(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """Return inputs whose tensors were changed, each by itself."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {name: change(value) for name, value in inputs.items()}
    return tuple(change(value) for value in inputs)


def named(inputs: Inputs) -> dict[str, Tensor]:
    """Return the tensors of inputs by what to call them in a message: the argument, its number, or nothing."""
    if isinstance(inputs, Tensor):
        return {"": inputs}
    if isinstance(inputs, Mapping):
        return {f" {name!r}": value for name, value in inputs.items()}
    return {f" {at}": value for at, value in enumerate(inputs)}


@dataclass(frozen=True, eq=False)
class Data:
    """Examples.

    Attributes
    ----------
    inputs : (n, …): floating point, or integers such as token ids; or a tuple or a mapping of such tensors, which the network
        is given as its arguments.
    targets : (n, …): class numbers, int64 (n,), or whatever a loss of one's own wants.
    """

    inputs: Inputs
    targets: Tensor

    def __post_init__(self) -> None:
        for name, value in named(self.inputs).items():
            if not len(value) and not len(self.targets):
                raise MdbenchError(f"there are no examples: 0 inputs{name} and 0 targets")
            if len(value) != len(self.targets):
                raise MdbenchError(
                    f"there are {len(value)} inputs{name} and {len(self.targets)} targets; there must be one target an input"
                )

    @classmethod
    def of(cls, inputs: np.ndarray, targets: np.ndarray) -> "Data":
        """Return arrays as examples."""
        return cls(torch.as_tensor(inputs), torch.as_tensor(targets))

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def bytes(self) -> int:
        """What they hold in memory."""
        return sum(value.nbytes for value in [*named(self.inputs).values(), self.targets])

    @property
    def tensor(self) -> Tensor:
        """The inputs, where they are one tensor."""
        assert isinstance(self.inputs, Tensor)
        return self.inputs

    @property
    def floating(self) -> bool:
        """Whether the inputs are one tensor of floating point numbers."""
        return isinstance(self.inputs, Tensor) and self.inputs.is_floating_point()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input, where they are one tensor."""
        return tuple(self.tensor.shape[1:])

    def given(self, rows: Rows) -> Inputs:
        """Return the inputs of some examples."""
        return of_each(self.inputs, lambda value: value[rows])

    def some(self, rows: Rows) -> "Data":
        """Return some of the examples."""
        return Data(self.given(rows), self.targets[rows])

    def only(self, which: Tensor) -> "Data":
        """Return the examples that are chosen, bool (n,); all of them are these themselves."""
        return self if which.all() else self.some(which.nonzero()[:, 0])

    @cached_property
    def tried(self) -> "Data":
        """Some of the examples, to try networks and losses on: 64 from all over the data, and up to 64 of rare targets.

        These are one of each of the rarest classes, or of other targets those where one is largest or smallest: a loss may
        treat them in its own way.
        """
        if len(self) <= _TRIED:
            return self
        everywhere = torch.linspace(0, len(self) - 1, _TRIED).long()
        rare = _rare(self.targets.detach().cpu())[:_TRIED]
        return self.some(torch.as_tensor(sorted({*everywhere.tolist(), *rare.tolist()})))

    def classified(self, what: str) -> "Data":
        """Return the examples with their targets as class numbers; see `class_numbers`."""
        return Data(self.inputs, class_numbers(self.targets, f"{what} targets"))

    def check(self, what: str, like: "Data") -> None:
        """Make sure that networks for the inputs of other examples can be given these.

        Raises
        ------
        MdbenchError
            The inputs have another form or shape, are no numbers, or not finite.
        """
        mine, theirs = named(self.inputs), named(like.inputs)
        if mine.keys() != theirs.keys():
            raise MdbenchError(
                f"the {what} inputs are {_listed(self.inputs)}; they must be {_listed(like.inputs)}, like the training inputs"
            )
        for name, value in mine.items():
            if value.is_complex() or value.is_quantized:
                raise MdbenchError(
                    f"the {what} inputs{name} are {value.dtype}; they must be floating point, or integers"
                )
            if theirs[name].is_floating_point():
                _check_kind(f"{what} inputs{name}", value, theirs[name], "inputs")
            shape, wanted = tuple(value.shape[1:]), tuple(theirs[name].shape[1:])
            if shape != wanted:
                raise MdbenchError(
                    f"the {what} inputs{name} have shape {shape} each; they must be {wanted}, like the training inputs"
                )
            bad = ~torch.isfinite(value).reshape(len(self), -1).all(1)
            if bad.any():
                raise MdbenchError(
                    f"the {what} inputs{name} hold numbers that are not finite, first in example {int(bad.int().argmax())}: "
                    "leave such examples out, or fill in what is missing"
                )

    def check_alike(self, what: str, like: "Data") -> None:
        """Make sure that examples which passed `check` are of the kind of those of training, which a network and a loss take.

        Raises
        ------
        MdbenchError
            Inputs or targets are floating point where those are integers, or the other way round, or targets have another
            shape, so that a loss would pair what does not belong together.
        """
        for name, value in named(self.inputs).items():
            _check_kind(f"{what} inputs{name}", value, named(like.inputs)[name], "inputs")
        _check_kind(f"{what} targets", self.targets, like.targets, "targets")
        if self.targets.shape[1:] != like.targets.shape[1:]:
            raise MdbenchError(
                f"the {what} targets have shape {tuple(self.targets.shape[1:])} each; they must be "
                f"{tuple(like.targets.shape[1:])}, like the training targets"
            )

    def first(self, n: int) -> "Data":
        """Return the first n examples, or all where there are fewer."""
        return self if n >= len(self) else self._firsts.setdefault(n, self.some(slice(n)))

    @cached_property
    def _firsts(self) -> dict[int, "Data"]:
        return {}

    @cached_property
    def laid_out(self) -> np.ndarray:
        """The inputs as the compiled loops read them: (n, … · channels), channels last."""
        values = self.tensor.detach().cpu().numpy()
        return np.ascontiguousarray(np.moveaxis(values, 1, -1).reshape(len(values), -1))


def _rare(targets: Tensor) -> Tensor:
    """Return where targets (n, …) are rare, the rarest first: each class, or the extremes of other numbers."""
    each = targets.reshape(len(targets), -1)
    if not each.shape[1] or each.is_complex():
        return torch.empty(0, dtype=torch.int64)
    if each.is_floating_point():
        shown = torch.cat([each.double().sum(1, keepdim=True), each[:, : _TRIED // 2 - 1].double()], 1)
        return torch.cat([shown.argmax(0), shown.argmin(0)])  # where one is no number, it is the largest
    _, first, times = np.unique(each[: 1 + _COUNTED // each.shape[1]].numpy(), return_index=True, return_counts=True)
    return torch.as_tensor(first[times.argsort(kind="stable")] // each.shape[1])


def _check_kind(what: str, values: Tensor, like: Tensor, those: str) -> None:
    """Make sure that numbers are floating point where those of training are, and integers where those are."""
    if values.is_floating_point() != like.is_floating_point():
        kind = "floating point" if like.is_floating_point() else f"integers, {like.dtype}"
        raise MdbenchError(f"the {what} are {values.dtype}; they must be {kind}, like the training {those}")


def _listed(inputs: Inputs) -> str:
    if isinstance(inputs, Tensor):
        return "one tensor"
    if isinstance(inputs, Mapping):
        return f"tensors called {', '.join(map(repr, inputs))}"
    return f"{len(inputs)} tensors"


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
            f"shape (n,): {_instead(labels)}, and give any other loss as a function"
        )
    return labels.to("cpu", torch.int64)


def _instead(labels: Tensor) -> str:
    """Return what to do with labels that are no class numbers."""
    if labels.dim() == 1 or labels.shape[1:].numel() == 1:
        return f"take targets{'.flatten()' * (labels.dim() > 1)}{'.long()' * labels.is_floating_point()}"
    one_hot = "turn one-hot targets into numbers by argmax(1)"
    if labels.is_floating_point():
        return one_hot
    return f"{one_hot}, give nn.CrossEntropyLoss() (torch.nn:CrossEntropyLoss) where there is a class a position"


def position_numbers(
    labels: Tensor, what: str, classes: int, sides: tuple[int, ...], ignored: int | None = None
) -> Tensor:
    """Return labels of positions, in a row an example: int64 (n, positions) on the CPU, −1 where they do not count.

    Parameters
    ----------
    labels : integers (n, *sides).
    what : they are, for messages.
    classes : how many there are.
    sides : of what the networks put out a class at.
    ignored : label of positions that do not count; None where there is none.

    Raises
    ------
    MdbenchError
        They are something else, or one is no class.
    """
    if labels.is_floating_point() or labels.is_complex() or tuple(labels.shape[1:]) != sides:
        raise MdbenchError(
            f"the {what} are {labels.dtype} of shape {tuple(labels.shape)}; cross-entropy wants class numbers, integers of "
            f"shape (n, {', '.join(map(str, sides))}), one a position of what the networks put out"
        )
    numbers = labels.to("cpu", torch.int64).flatten(1)
    counts = torch.ones_like(numbers, dtype=torch.bool) if ignored is None else numbers != ignored
    outside = counts & ((numbers < 0) | (numbers >= classes))
    if outside.any():
        at, position = (int(number) for number in outside.nonzero()[0])
        raise MdbenchError(
            f"of the {what}, example {at} has {int(numbers[at, position])} at position {position}, but the networks have "
            f"{classes} outputs there, for classes 0 to {classes - 1}"
        )
    return torch.where(counts, numbers, -1)


def check_positions(parts: Mapping[str, Data], shape: tuple[int, ...], ignored: int | None) -> None:
    """Make sure that targets of positions are classes of networks that put out `shape`, (classes, …), for an example.

    Raises
    ------
    MdbenchError
        One is not.
    """
    for what, data in parts.items():
        if not data.targets.is_floating_point():
            position_numbers(data.targets, f"{what} targets", shape[0], tuple(shape[1:]), ignored)


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
        has = f"of the {what}, example {at} has {int(labels[at])}"
        if classes == 1:
            raise MdbenchError(
                f"{has}, but the networks have one output, and cross-entropy wants one a class: a loss of one output is "
                "torch.nn.BCEWithLogitsLoss, with targets that are floating point"
            )
        raise MdbenchError(
            f"{has}, but the networks have {classes} outputs, for classes 0 to {classes - 1}: leave out examples that have "
            "no class, and number classes as in training"
        )
