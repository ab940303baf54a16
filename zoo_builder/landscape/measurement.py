"""Measuring networks: a gate, then family after family."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from mdbench.errors import MdbenchError
from zoo_builder.landscape.data import Data, check_classes, class_numbers
from zoo_builder.landscape.metric import Measured, Settings, Subject
from zoo_builder.landscape.opening import open_surface
from zoo_builder.landscape.registry import Family, chosen
from zoo_builder.landscape.surface import Loss

_GATE = 64
_TRUTH = "right labels (truth)"


@dataclass(frozen=True)
class Measurements:
    """What was measured of some networks.

    Attributes
    ----------
    models : one row a network, in the order given; a column a metric, and a column ``FAMILY_reason``.
    together : what is a property of all of them together (means over pairs, an ensemble), and ``FAMILY_reason``.
    layers : one row a layer of a network: ``model``, ``layer``, a column a metric.
    """

    models: pd.DataFrame
    together: "pd.Series[Any]"
    layers: pd.DataFrame


def measure(
    models: Sequence[nn.Module],
    loss: Loss | Literal["cross_entropy"],
    data: Data | tuple[Tensor, Tensor],
    *,
    families: Sequence[str] | None = None,
    test: Data | tuple[Tensor, Tensor] | None = None,
    truth: Tensor | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    settings: Settings | None = None,
) -> Measurements:
    """Measure the loss landscape around networks that differ by their seed alone.

    Parameters
    ----------
    models : the networks, of one shape. They are not changed, and measured in evaluation mode.
    loss : what they were trained with: ``"cross_entropy"``, or a function of outputs (n, …) and targets (n, …) that
        returns their mean loss; metrics that are about classes are then missing.
    data : training inputs (n, …), floating point, and targets (n, …): for ``"cross_entropy"`` class numbers (n,).
    families : which families to measure, see `zoo_builder.landscape.FAMILIES`; all if left out.
    test : held-out inputs and targets.
    truth : the right labels of the training examples, (n,), where some were replaced by wrong ones on purpose.
    device, dtype : where, and in which precision.
    settings : how much of everything.

    Raises
    ------
    MdbenchError
        There are no models; a family does not exist; inputs or targets are not what the models and the loss want; the models
        draw random numbers or give no finite outputs.
    """
    if not models:
        raise MdbenchError("there are no models to measure")
    wanted, own = chosen(families), _own(loss)
    train, held_out = _data(data), None if test is None else _data(test)
    right = wrong = None
    if own is None:
        train, held_out = train.classified("training"), None if held_out is None else held_out.classified("test")
        right = None if truth is None else class_numbers(truth, _TRUTH).numpy()
        wrong = None if right is None else _differ(right, train.targets.numpy())
    try:
        surface = open_surface(models, train.shape, loss=own, device=device, dtype=dtype)
    except ValueError as error:
        raise MdbenchError(str(error)) from error
    subject = Subject(surface, train, held_out, wrong=wrong, truth=right, settings=settings)
    gate(subject)
    found = [(family, family.measure(subject)) for family in wanted]
    rows = list(range(len(models)))
    together = pd.concat([configuration_table(family, some, ["together"]) for family, some in found], axis=1)
    return Measurements(
        pd.concat([network_table(family, some, rows) for family, some in found], axis=1).rename_axis("model"),
        pd.Series(together.loc["together"]),
        joined_layers([layer_table(some, rows) for _, some in found]).rename(columns={"checkpoint": "model"}),
    )


def _data(given: Data | tuple[Tensor, Tensor]) -> Data:
    return given if isinstance(given, Data) else Data(*given)


def _differ(right: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which labels are not the right ones."""
    if len(right) != len(labels):
        raise MdbenchError(
            f"there are {len(right)} {_TRUTH} for {len(labels)} training examples; there must be one each"
        )
    return np.asarray(right != labels)


def _own(loss: Loss | Literal["cross_entropy"]) -> Loss | None:
    """Return a loss, or None for the cross-entropy without weights, smoothing or ignored classes of its own."""
    plain = nn.CrossEntropyLoss()
    settings = ("weight", "ignore_index", "reduction", "label_smoothing")
    if loss is functional.cross_entropy or (
        type(loss) is nn.CrossEntropyLoss and all(getattr(loss, name) == getattr(plain, name) for name in settings)
    ):
        return None
    if isinstance(loss, str):
        if loss != "cross_entropy":
            raise MdbenchError(
                f"there is no loss {loss!r}: it is 'cross_entropy', or a function of outputs and targets"
            )
        return None
    return loss


def gate(subject: Subject) -> None:
    """Make sure that the networks can be measured at all: the same outputs twice, all of them finite, on sound examples.

    Raises
    ------
    MdbenchError
        They cannot.
    """
    parts = {"training": subject.train} | ({} if subject.test is None else {"test": subject.test})
    for what, data in parts.items():
        data.check(what, subject.train.shape)
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
    if not subject.surface.classifies:
        return
    if once.dim() != 3:
        raise MdbenchError(
            f"the networks' outputs have shape {tuple(once.shape[2:])} an example; cross-entropy wants a number a class: "
            "give any other loss as a function"
        )
    labels = {f"{what} targets": data.targets for what, data in parts.items()}
    if subject.truth is not None:
        labels[_TRUTH] = torch.as_tensor(subject.truth)
    for what, numbers in labels.items():
        check_classes(class_numbers(numbers, what), what, once.shape[2])


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
    """Return several families' tables of layers as one."""
    whole = pd.DataFrame(columns=["checkpoint", "layer"])
    for table in tables:
        if len(table):
            whole = table if whole.empty else whole.merge(table, on=["checkpoint", "layer"], how="outer", sort=False)
    return whole
