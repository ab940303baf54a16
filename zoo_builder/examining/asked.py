"""What a command asks about: networks, their loss and data, and what is known of their training."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn import functional

from mdbench.errors import MdbenchError
from zoo_builder.building import Built, Source, meant_in, open_subject, portion_of
from zoo_builder.examining import bringing
from zoo_builder.landscape import Settings
from zoo_builder.specification import LOSSES, Kind, TrainingSpec, imported


@dataclass(frozen=True)
class Asked:
    """Networks that are to be diagnosed.

    Attributes
    ----------
    models, loss, train, test : see `zoo_builder.landscape.measure`.
    configuration : what is known of the training; see `zoo_builder.examining.diagnose`.
    mixed : whether training examples are in a random order, as those of zoos are.
    """

    models: list[nn.Module]
    loss: Any
    train: Any
    test: Any
    configuration: dict[str, float] = field(default_factory=dict)
    mixed: bool = False


def given(network: str, weights: Sequence[Path], data: str, loss: str, *, without_test: bool = False) -> Asked:
    """Return networks that are named by import paths and files.

    Parameters
    ----------
    network, weights, data, loss : see `zoo_builder.examining.bringing`.
    without_test : whether to do without test data.

    Raises
    ------
    MdbenchError
        One of them cannot be used; there are no test data, and nobody said that there are none.
    """
    models = bringing.checkpoints(bringing.factory(network), weights)
    train, test = bringing.data_of(data)
    if test is None and not without_test:
        raise MdbenchError(
            f"{data} has no test data: without them the gap of errors is not known, which answers lean on; give some, or "
            "say --no-test"
        )
    return Asked(models, bringing.loss_of(loss), train, None if without_test else test)


def of_zoo(folder: Path, name: str, *, trust_code: bool = False) -> Asked:
    """Return a network of a built zoo, or two seeds of a configuration.

    Parameters
    ----------
    folder : of the zoo.
    name : a configuration or a network, as `zoo_builder.reporting.show` takes it.
    trust_code : whether to run the code that the specification names.

    Raises
    ------
    MdbenchError
        The folder holds no finished build; there is no such network, or several; it diverged.
    """
    built = Built.open(folder, trust_code=trust_code)
    name = meant_in(built, name)
    portion = portion_of(built, name)
    first = portion.networks[0]
    subject = open_subject(Source.of(built), portion, Settings())
    rows = range(1 if name == first.name else len(portion.networks))
    how, dropout = first.how, dict(first.point).get("dropout", 0.0)
    known = {
        "epochs": float(how.epochs),
        "batch_size": float(min(how.batch_size, len(subject.train)) if not how.full_batch else len(subject.train)),
        "learning_rate": float(how.learning_rate),
        "momentum": float(how.momentum if how.optimizer == "sgd" else how.betas[0]),
        "weight_decay": float(how.weight_decay),
        "dropout": float(dropout),
    }
    models = [subject.surface.network(row).eval() for row in rows]
    kind = built.material.of(first.data)[0].kind
    return Asked(models, _loss(how, kind), subject.train, subject.test, known, mixed=True)


def _loss(how: TrainingSpec, kind: Kind) -> Any:
    """Return what networks of a zoo were trained to make small, as a person would give it."""
    loss = how.loss or LOSSES[kind]
    if loss == "mse":
        return functional.mse_loss
    if loss not in ("cross_entropy", "per_position"):
        return imported(loss, "loss", "returns a loss")
    if kind == "classes" and not how.label_smoothing and not how.class_weights:
        return "cross_entropy"
    raise MdbenchError(
        f"networks of {kind}, trained by {loss} with weights or smoothing, are not diagnosed from a zoo yet"
    )
