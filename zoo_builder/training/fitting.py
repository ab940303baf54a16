"""Whether a ``[training]`` table, an architecture and data fit together: asked before training starts."""

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from mdbench.errors import MdbenchError
from zoo_builder.specification import LOSSES, Augmentation, Dataset, TrainingSpec, told
from zoo_builder.training.copies import copied
from zoo_builder.training.layerwise import Balance

#: Layers that mix the examples of a batch.
_BATCHES: Final = nn.modules.batchnorm._BatchNorm

_TARGETS: Final = {
    "classes": "a class an example",
    "positions": "a class for every position",
    "values": "numbers",
}


def check_training(how: TrainingSpec, dataset: Dataset, network: nn.Module) -> None:
    """Make sure that a network can be trained so, on such data.

    Raises
    ------
    MdbenchError
        It cannot; the message says what to write.
    """
    _check_loss(how, dataset)
    if how.augmentation is not None:
        _check_augmentation(how.augmentation, dataset)
    if dataset.equation is not None and any(isinstance(one, _BATCHES) for one in network.modules()):
        raise MdbenchError(
            f"data set {dataset.name!r} is an equation, whose derivatives are those of one point, and batch normalization "
            'mixes the points of a batch: write options = { norm = "none" } in [architecture], or another norm'
        )
    _check_outputs(dataset, network)
    if how.layerwise is not None and len(Balance(network, how.layerwise).layers) < 2:
        raise MdbenchError(
            "layerwise balances the layers between the first and the last one, and this architecture has not two of them; "
            "write a larger depth, or leave layerwise out"
        )


def _check_loss(how: TrainingSpec, dataset: Dataset) -> None:
    kind, name, ours = dataset.kind, dataset.name, LOSSES[dataset.kind]
    if how.loss is not None and ":" not in how.loss and how.loss != ours:
        (wants,) = (_TARGETS[other] for other, loss in LOSSES.items() if loss == how.loss)
        raise MdbenchError(
            f'loss = "{how.loss}" wants {wants}, and data set {name!r} has {_TARGETS[kind]}; write loss = "{ours}", '
            "or leave it out"
        )
    if kind == "values":
        for field in ("label_smoothing", "class_weights"):
            if getattr(how, field):
                raise MdbenchError(f"{field} is of classes, and data set {name!r} has numbers to predict; leave it out")
        if how.label_noise:
            raise MdbenchError(f"label_noise is of classes, and data set {name!r} has numbers to predict; leave it out")
        if not np.any(dataset.test_targets - dataset.middle):
            raise MdbenchError(
                f"data set {name!r}: all test targets are {'0' if dataset.baseline == 'zero' else 'the training mean'}, "
                "so that there is no relative error; test on other values"
            )
    elif how.class_weights and len(how.class_weights) != dataset.outputs:
        raise MdbenchError(
            f"class_weights are {len(how.class_weights)}, and data set {name!r} has {dataset.outputs} classes; "
            "write one weight a class"
        )


def _check_augmentation(how: Augmentation, dataset: Dataset) -> None:
    what = None
    if dataset.vocabulary:
        what = "token ids"
    elif dataset.equation is not None:
        what = "points"
    elif len(dataset.shape) < 2:
        what = "vectors"
    if what:
        raise MdbenchError(
            f"augmentation moves signals and images, and the inputs of data set {dataset.name!r} are {what}; leave it out"
        )
    if dataset.kind == "positions":
        raise MdbenchError(
            f"augmentation moves inputs, but not the classes of their positions, which data set {dataset.name!r} has; "
            "leave it out"
        )
    side = min(dataset.shape[1:])
    for name, most in (("shift", how.shift), ("crop", how.crop)):
        if most >= side:
            raise MdbenchError(
                f"augmentation: {name} = {most} is no less than the inputs of data set {dataset.name!r} are wide, {side}: "
                f"write {side - 1} at most"
            )


def _check_outputs(dataset: Dataset, network: nn.Module) -> None:
    targets = dataset.train_targets
    wanted = (dataset.outputs, *targets.shape[1:]) if dataset.kind == "positions" else (dataset.outputs,)
    inputs = torch.from_numpy(dataset.train_inputs[:2])
    try:
        with torch.no_grad():
            outputs = copied(network).eval()(inputs)
    except Exception as error:
        raise MdbenchError(f"the architecture fails on inputs of data set {dataset.name!r}: {told(error)}") from error
    if not isinstance(outputs, Tensor) or tuple(outputs.shape[1:]) != wanted:
        given = tuple(outputs.shape[1:]) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise MdbenchError(
            f"the architecture gives {given} an example, and data set {dataset.name!r} wants {wanted}: "
            f"{_TARGETS[dataset.kind]}; take an architecture that gives that"
        )
