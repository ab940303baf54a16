"""Measuring networks: what is given, a gate, then family after family."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.progress import Progress, TaskID, TimeElapsedColumn
from torch import Tensor

from mdbench.errors import MdbenchError
from zoo_builder.landscape.budget import bytes_of, vectors_within
from zoo_builder.landscape.data import Data, check_classes, check_positions, class_numbers
from zoo_builder.landscape.given import GivenData, GivenModels, data_of, models_of
from zoo_builder.landscape.metric import Measured, Settings, Subject
from zoo_builder.landscape.module import Output, Which, main_output, plain_attention, trained
from zoo_builder.landscape.objective import CrossEntropy, GivenLoss, objective_of
from zoo_builder.landscape.opening import fitting_surface, own_outputs
from zoo_builder.landscape.registry import Family, chosen

_GATE = 64
_TRUTH = "right labels (truth)"
_PRECISIONS: Final = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Measurements:
    """What was measured of some networks.

    Attributes
    ----------
    models : one row a network, in the order given; a column a metric, and a column ``FAMILY_reason``.
    together : what is a property of all of them together (means over pairs, an ensemble), and ``FAMILY_reason``.
    layers : one row a layer of a network: ``model``, ``layer``, a column a metric.
    way : how it was computed, in words.
    notes : what is worth knowing about what was measured, a sentence each.
    """

    models: pd.DataFrame
    together: "pd.Series[Any]"
    layers: pd.DataFrame
    way: str = ""
    notes: tuple[str, ...] = ()


class Interrupted(KeyboardInterrupt):
    """Measuring was interrupted. What families had found by then is in `found`."""

    def __init__(self, found: Measurements) -> None:
        super().__init__()
        self.found = found


def measure(
    models: GivenModels,
    loss: GivenLoss,
    data: GivenData,
    *,
    families: Sequence[str] | None = None,
    test: GivenData | None = None,
    truth: Tensor | None = None,
    output: Output = main_output,
    parameters: Which = "trained",
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    settings: Settings | None = None,
    memory: int | str | None = None,
    compiled: bool = True,
    progress: bool = False,
    before: Callable[[Subject], None] = lambda _: None,
) -> Measurements:
    """Measure the loss landscape around networks.

    Parameters
    ----------
    models : a network, or several whose parameters have the same names and shapes. They are not changed, and measured in
        evaluation mode. What is said of all of them together supposes that they differ by their seed alone.
    loss : what they were trained with: ``"cross_entropy"``, a module such as ``nn.CrossEntropyLoss(weight=…)``, or a function
        of outputs (n, …) and targets (n, …) that returns their mean, their sum, or one loss an example. Metrics that are
        about classes are missing unless outputs are (n, K) and targets class numbers (n,).
    data : training inputs (n, …) and targets (n, …): a pair of tensors or arrays, a ``Dataset``, a ``DataLoader`` (read once,
        in its order), or batches. Inputs may be a tuple or a mapping of tensors, which are the network's arguments.
    families : which families to measure, see `zoo_builder.landscape.FAMILIES`; all if left out.
    test : held-out inputs and targets.
    truth : the right labels of the training examples, (n,), where some were replaced by wrong ones on purpose.
    output : what a network puts out → the tensor that the loss sees. If left out, a tensor is that itself; of a mapping or an
        object it is ``logits`` or ``out``; of a tuple, the first.
    parameters : over which parameters the landscape is: those that require gradients, or all.
    device, dtype : where, and in which precision, float32 or float64, whatever the networks are in.
    settings : how much of everything.
    memory : what measuring may take beside the networks and the data, about: bytes, or text such as ``"3 GB"``. Fewer vectors
        are held then, and networks measured one after the other; what does not fit is refused before anything is measured.
        If left out, vectors take up to 1.6 GB.
    compiled : whether compiled loops may measure small networks on a CPU. Compiling takes minutes, once on a machine; PyTorch
        gives the same numbers, but for rounding, and takes longer where networks are many.
    progress : whether a bar shows how far it is.
    before : is called with what is measured, as families get it, before the first of them.

    Raises
    ------
    MdbenchError
        Something that was given cannot be used; a family does not exist; the models draw random numbers, give no finite
        outputs, or give an example another output when others are beside it; memory is too little.
    Interrupted
        Ctrl-C, or another interruption; with what was measured before.
    """
    budget = None if memory is None else bytes_of(memory)
    wanted, networks = chosen(families), models_of(models)
    if dtype not in _PRECISIONS:
        raise MdbenchError(
            f"dtype is {dtype}; landscapes are computed in torch.float32 or torch.float64, whatever networks are in"
        )
    (train, note), held_out = data_of(data, "training"), None if test is None else data_of(test, "test")
    notes = [note, held_out[1] if held_out else None, _frozen(networks[0], parameters)]
    parts = {"training": train} | ({"test": held_out[0]} if held_out else {})
    for what, one in parts.items():
        one.check(what, train)
    if isinstance(loss, str):
        if loss != "cross_entropy":
            raise MdbenchError(
                f"there is no loss {loss!r}: it is 'cross_entropy', or a function of outputs and targets"
            )
        parts = {what: one.classified(what) for what, one in parts.items()}
    with plain_attention():
        outputs = own_outputs(networks, train, output=output, device=device, dtype=dtype)
        objective = objective_of(loss, outputs[0], train.tried.targets.to(outputs.device))
        for what, one in parts.items():
            one.check_alike(what, parts["training"])
        if isinstance(objective, CrossEntropy) and not objective.classifies:
            check_positions(parts, outputs.shape[2:], objective.ignore_index)
        right = wrong = None
        if isinstance(objective, CrossEntropy) and objective.classifies:
            counts = {what: objective.counts(one.targets) for what, one in parts.items()}
            for what, there in counts.items():
                if not there.any():
                    raise MdbenchError(f"all {what} targets are {objective.ignore_index}, which the loss leaves out")
            parts = {what: one.only(counts[what]).classified(what) for what, one in parts.items()}
            if truth is not None:
                right = class_numbers(torch.as_tensor(truth), _TRUTH).numpy()
                wrong = _differ(right, train.targets.numpy())[counts["training"].numpy()]
                right = right[counts["training"].numpy()]
            _check_labels(parts, right, outputs.shape[2])
            if not counts["training"].all():
                outputs = own_outputs(networks, parts["training"], output=output, device=device, dtype=dtype)
        train = parts["training"]
        surface = fitting_surface(
            networks,
            train,
            objective,
            outputs,
            output=output,
            which=parameters,
            device=device,
            dtype=dtype,
            compiled=compiled,
        )
        subject = Subject(surface, train, parts.get("test"), wrong=wrong, truth=right, settings=settings)
        if budget is not None and {"hessian", "topology"} & {family.name for family in wanted}:
            subject.memory = vectors_within(surface, len(subject.curved), budget)
        gate(subject)
        before(subject)
        found: list[tuple[Family, Measured]] = []
        rest = tuple(said for said in notes if said)
        try:
            for family in _shown(wanted, subject, progress):
                numbers = family.measured(subject)
                found.append((family, numbers))
        except KeyboardInterrupt:
            raise Interrupted(_joined(found, subject, rest)) from None
    return _joined(found, subject, rest)


def _shown(families: Sequence[Family], subject: Subject, progress: bool) -> Iterator[Family]:
    """Yield families, and show which of them is measured and what it does."""
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), disable=not progress, transient=True) as bar:
        whole, one = bar.add_task("measuring", total=len(families)), bar.add_task("", total=None)
        for family in families:
            bar.update(one, description=family.name)
            subject.said = partial(_say, bar, one, family.name)
            yield family
            bar.advance(whole)
    subject.said = lambda _: None


def _say(bar: Progress, task: TaskID, family: str, said: str) -> None:
    bar.update(task, description=f"{family}: {said}")


def _joined(found: Sequence[tuple[Family, Measured]], subject: Subject, notes: tuple[str, ...]) -> Measurements:
    """Return what families have found as tables."""
    rows = list(range(len(subject.surface)))
    models = [network_table(family, some, rows) for family, some in found]
    together = [configuration_table(family, some, ["together"]) for family, some in found]
    return Measurements(
        (pd.concat(models, axis=1) if models else pd.DataFrame(index=rows)).rename_axis("model"),
        pd.Series(pd.concat(together, axis=1).loc["together"]) if together else pd.Series(dtype=object),
        joined_layers([layer_table(some, rows) for _, some in found]).rename(columns={"checkpoint": "model"}),
        subject.surface.way,
        notes,
    )


def _frozen(network: Any, which: Which) -> str | None:
    """Return what is worth knowing about parameters that do not train."""
    every, counted = [name for name, _ in network.named_parameters()], trained(network, which)
    if len(every) == len(counted):
        return None
    return (
        f"{len(every) - len(counted)} of {len(every)} parameters do not require gradients, and are taken as constants; "
        "parameters='all' measures the landscape over all"
    )


def _differ(right: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which labels are not the right ones."""
    if len(right) != len(labels):
        raise MdbenchError(
            f"there are {len(right)} {_TRUTH} for {len(labels)} training examples; there must be one each"
        )
    return np.asarray(right != labels)


def gate(subject: Subject) -> None:
    """Make sure that the networks can be measured at all: the same outputs twice, all of them finite, on sound examples.

    Raises
    ------
    MdbenchError
        They cannot.
    """
    parts = {"training": subject.train} | ({} if subject.test is None else {"test": subject.test})
    for what, data in parts.items():
        data.check(what, subject.train)
    some = subject.train.first(_GATE)
    once, again = subject.surface.logits(some), subject.surface.logits(some)
    bad = ~torch.isfinite(once).flatten(1).all(1)
    if bad.any():
        row = int(bad.int().argmax())
        raise MdbenchError(
            f"network {row} has outputs that are not finite ({subject.names[row]}): leave out networks that diverged"
        )
    differ = (once != again).flatten(1).any(1)
    if differ.any():
        row = int(differ.int().argmax())
        raise MdbenchError(
            f"network {row} gives other outputs when asked twice ({subject.names[row]}): "
            "it draws random numbers in evaluation mode, and has no landscape"
        )
    if subject.surface.classifies:
        _check_labels(parts, subject.truth, once.shape[2])


def _check_labels(parts: Mapping[str, Data], truth: NDArray[np.int64] | None, classes: int) -> None:
    """Make sure that labels are classes: the compiled loops do not ask."""
    labels = {f"{what} targets": data.targets for what, data in parts.items()}
    if truth is not None:
        labels[_TRUTH] = torch.as_tensor(truth)
    for what, numbers in labels.items():
        check_classes(class_numbers(numbers, what), what, classes)


def network_table(family: Family, found: Measured, names: Sequence[Any]) -> pd.DataFrame:
    """Return what was measured of networks, one row each, and why something is missing."""
    return _table(family.columns("checkpoint"), found.networks, found.network_reasons, family.reason, names)


def configuration_table(family: Family, found: Measured, names: Sequence[Any]) -> pd.DataFrame:
    """Return what was measured of configurations, one row each, and why something is missing."""
    return _table(
        family.columns("configuration"), found.configurations, found.configuration_reasons, family.reason, names
    )


def _table(
    columns: Sequence[str], found: dict[str, Any], reasons: dict[int, str], reason: str, names: Sequence[Any]
) -> pd.DataFrame:
    table = {column: np.asarray(found[column], dtype=np.float64) for column in columns}
    return pd.DataFrame({**table, reason: [reasons.get(at) for at in range(len(names))]}, index=list(names))


def layer_table(found: Measured, names: Sequence[Any]) -> pd.DataFrame:
    """Return what was measured of layers: ``checkpoint``, ``layer``, and columns."""
    rows = [{"checkpoint": names[row["network"]], **row} for row in found.layers]
    table = pd.DataFrame(rows, columns=None if rows else ["checkpoint", "layer"])
    return table.drop(columns="network", errors="ignore")


def joined_layers(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return several families' tables of layers as one, layers in the order in which they come first."""
    keys = ["checkpoint", "layer"]
    whole = pd.DataFrame(columns=keys)
    for table in tables:
        if len(table):
            whole = table if whole.empty else joined_in_order(whole, table, keys)
    return whole


def joined_in_order(one: pd.DataFrame, other: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return two tables as one, rows in the order in which their keys come first: an outer merge of pandas sorts them."""
    names = list(keys)
    order = pd.concat([one[names], other[names]]).drop_duplicates()
    return order.merge(one, on=names, how="left").merge(other, on=names, how="left")
