"""Networks of a person's own, measured as the zoos are, gone on with after an interruption."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from mdbench.errors import MdbenchError
from zoo_builder.examining.extent import EXTENTS, Extent, settings_of
from zoo_builder.examining.forecast import Forecast, forecast
from zoo_builder.examining.shelf import keep, kept, shelf_of
from zoo_builder.landscape import (
    FAMILIES,
    CrossEntropy,
    Data,
    Interrupted,
    Measurements,
    Objective,
    Subject,
    bytes_of,
    called,
    check_classes,
    check_positions,
    class_numbers,
    data_of,
    joined_in_order,
    main_output,
    measure,
    models_of,
    objective_of,
    of_each,
    own_outputs,
    plain_attention,
)
from zoo_builder.training import copied

#: What a person may say of the training → the column that follows; the batch size is turned into steps an epoch.
TOLD: Final = {
    "epochs": "recipe_epochs",
    "learning_rate": "recipe_learning_rate",
    "weight_decay": "recipe_weight_decay",
    "momentum": "recipe_momentum",
    "dropout": "recipe_dropout",
}
_BATCH_SIZE: Final = "batch_size"
#: Examples on which the gradient of the loss is computed before anything is measured.
_STEEP: Final = 4
#: Class number of examples that cross-entropy leaves out (torch.nn.functional.cross_entropy).
_IGNORED: Final = -100


@dataclass(frozen=True, eq=False)
class Examined:
    """Networks with what was measured of them.

    Attributes
    ----------
    networks, loss, train, test : what was given, as it is measured.
    extent : how much was measured.
    found : of each network, of all together, of each layer.
    row : all numbers as the zoos' tables have them, one row.
    notes : what is worth knowing, a sentence each.
    forecast : what measuring was said to take before it began; None where nothing was left to measure.
    """

    networks: list[nn.Module]
    loss: Any
    train: Data
    test: Data | None
    extent: Extent
    found: Measurements
    row: pd.DataFrame
    notes: tuple[str, ...]
    forecast: Forecast | None = None

    @property
    def reasons(self) -> dict[str, str]:
        """Family → what of it is missing, and why."""
        found: dict[str, str] = {}
        for name in FAMILIES:
            column = f"{name}_reason"
            own = [*self.found.models.get(column, pd.Series(dtype=object)).dropna().unique()]
            together = self.found.together.get(column)
            said = dict.fromkeys([*own, *([together] if isinstance(together, str) else [])])
            if said:
                found[name] = "; ".join(said)
        return found


def examine(
    models: Any,
    loss: Any,
    *,
    train: Any,
    test: Any = None,
    configuration: Mapping[str, float] | None = None,
    extent: Extent = "default",
    memory: int | str | None = None,
    progress: bool = False,
    said: Callable[[str], None] = lambda _: None,
    mixed: bool = False,
) -> Examined:
    """Measure networks; what an interrupted call had measured of these very networks is not measured again.

    Parameters
    ----------
    models, loss, train, test, memory, progress : see `zoo_builder.landscape.measure`.
    configuration : what is known of the training: ``epochs``, ``batch_size``, ``learning_rate``, ``momentum``,
        ``weight_decay``, ``dropout``, as numbers.
    extent : ``quick``, ``default`` or ``thorough``.
    said : is called with what will be measured, how long it takes and how much memory, before it begins.
    mixed : whether training examples are in a random order already. Samples are beginnings of them; where people have their
        examples class by class, those would be of one class, so that others are put in a random order first.

    Raises
    ------
    MdbenchError
        Something that was given cannot be used; see `zoo_builder.landscape.measure`.
    Interrupted
        Ctrl-C; what was measured before is kept for the next call.
    """
    if extent not in EXTENTS:
        raise MdbenchError(f"extent is {extent!r}; it is {', '.join(EXTENTS)}")
    networks = models_of(models)
    (seen, note), held_out = data_of(train, "training"), None if test is None else data_of(test, "test")
    training = [str(at) for at, network in enumerate(networks) if network.training]
    notes = [note, held_out[1] if held_out else None]
    if training:
        notes.append(f"network {', '.join(training)} was in training mode, and was measured in evaluation mode")
    if memory is not None:
        bytes_of(memory)  # refused also where all was measured before
    computed = check(networks, loss, seen, held_out[0] if held_out else None)
    if not mixed:
        seen = seen.some(torch.randperm(len(seen), generator=torch.Generator().manual_seed(0)))
    told = known(configuration or {}, len(seen))
    if loss == "cross_entropy" and _are_shares(computed[0]):
        notes.append(
            "the outputs add up to 1, as after a softmax: cross-entropy takes what comes before it, and does that itself"
        )
    families = [name for name in EXTENTS[extent] if len(networks) > 1 or name not in ("connectivity", "similarity")]
    said(f"{len(networks)} network{'s' * (len(networks) > 1)}: {', '.join(families)}")
    settings, shortened = settings_of(extent, networks, seen)
    if shortened is not None:
        notes.append(shortened)
        said(shortened)
    shelf = shelf_of(networks, seen, held_out[0] if held_out else None, loss, settings, computed)
    before = kept(shelf)
    left = [name for name in families if before is None or f"{name}_reason" not in before.models]
    expected: list[Forecast] = []

    def foretold(subject: Subject) -> None:
        expected.append(forecast(subject, left))
        said(str(expected[0]))

    if left:
        try:
            found = measure(
                networks,
                loss,
                seen,
                test=held_out[0] if held_out else None,
                families=left,
                settings=settings,
                memory=memory,
                compiled=False,  # for one network PyTorch is done long before loops are compiled
                progress=progress,
                before=foretold,
            )
        except Interrupted as stopped:
            keep(shelf, _joined(before, stopped.found))
            raise
        before = _joined(before, found)
        keep(shelf, before)
    assert before is not None
    row = _row(before, networks, len(seen), told)
    said_before = tuple(one for one in notes if one and one not in before.notes)
    return Examined(
        networks,
        loss,
        seen,
        held_out[0] if held_out else None,
        extent,
        before,
        row,
        (*said_before, *before.notes),
        expected[0] if expected else None,
    )


def check(networks: Sequence[nn.Module], loss: Any, train: Data, test: Data | None) -> tuple[Tensor, ...]:
    """Refuse what can be measured but not diagnosed, and return what was computed for that.

    Returns
    -------
    outputs (S, n, …) of each network on some examples; the sum of the loss over them (S,), and what that is divided by for
    all examples; how steep the loss is (parameters,) at each network, see `slopes`.

    Raises
    ------
    MdbenchError
        Weights are not finite, or those of two seeds the same; a network says the same of everything; there is one class
        only; the loss is a sum.
    """
    for at, network in enumerate(networks):
        for name, value in network.state_dict().items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise MdbenchError(f"network {at}: {name} holds numbers that are not finite: this network diverged")
    for first, second in combinations(range(len(networks)), 2):
        if _same(networks[first], networks[second]):
            raise MdbenchError(
                f"networks {first} and {second} have the same weights: give each seed once, or one network alone"
            )
    classes = train.targets.dim() == 1 and not train.targets.is_floating_point()
    if classes and bool((train.targets == train.targets[0]).all()):
        none = f", which cross-entropy leaves out ({_IGNORED})" if int(train.targets[0]) == _IGNORED else ""
        raise MdbenchError(
            f"all training targets are {int(train.targets[0])}{none}: with one class there is nothing to learn"
        )
    train.check("training", train)
    with plain_attention():
        outputs = own_outputs(networks, train)
    parts = {"training": train} | ({"test": test} if test is not None else {})
    for what, one in parts.items():
        one.check(what, train)
    for at, own in enumerate(outputs):
        if len(own) > 1 and bool((own == own[:1]).all()):
            raise MdbenchError(
                f"network {at} puts out the same whatever it is given: it has learned nothing from its inputs, or they do "
                "not reach its outputs (a learning rate so large that all units died, a wrong scale of the inputs)"
            )
    if isinstance(loss, str):
        parts = {what: one.classified(what) for what, one in parts.items()}
    some = parts["training"].tried
    objective = objective_of(loss, outputs[0], some.targets)
    for what, one in parts.items():
        one.check_alike(what, parts["training"])
    if isinstance(objective, CrossEntropy) and not objective.classifies:
        check_positions(parts, outputs.shape[2:], objective.ignore_index)
    elif isinstance(objective, CrossEntropy):
        for what, one in parts.items():
            said = f"{what} targets"
            check_classes(
                class_numbers(one.targets.where(objective.counts(one.targets), 0), said), said, outputs.shape[2]
            )
    steep = [slopes(network, objective, some.first(_STEEP)) for network in networks]
    if objective.summed:
        raise MdbenchError(
            "the loss is a sum over examples, and answers were learned from means: give its mean, reduction='mean'"
        )
    totals = torch.stack([objective.total(own, some.targets).detach() for own in outputs])
    return outputs, totals, torch.tensor(objective.normalizer(parts["training"].targets)), *steep


def slopes(network: nn.Module, objective: Objective, some: Data) -> Tensor:
    """Return the length of the gradient of the loss of some examples by each parameter, to two digits: NaN where none leads.

    Parameters
    ----------
    network, objective : in any mode, and the loss; neither is changed.
    some : examples.

    Returns
    -------
    (parameters,), of those that require a gradient.

    Raises
    ------
    MdbenchError
        It does not: gradients are cut off on the way, by ``torch.no_grad`` or ``detach``, or are zero.
    """
    network = copied(network).eval().to("cpu").float()  # as it is measured
    inputs = of_each(some.inputs, lambda value: value.float() if value.is_floating_point() else value)
    with torch.enable_grad(), plain_attention():
        loss = objective.total(main_output(called(network, inputs)), some.targets)
    if not loss.requires_grad:
        raise MdbenchError(
            "the loss has no gradient: on the way from the parameters to it something cuts it off (torch.no_grad, detach, "
            "a round trip through NumPy), or no parameter requires one"
        )
    parameters = [one for one in network.parameters() if one.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    if bool(loss != 0) and not any(bool((slope != 0).any()) for slope in found if slope is not None):
        raise MdbenchError(
            "the gradient of the loss is zero: something on the way from the parameters to it is flat (round, sign, argmax), "
            "so that nothing can be learned by it"
        )
    lengths = [torch.nan if slope is None else float(f"{float(slope.norm()):.1e}") for slope in found]
    return torch.tensor(lengths, dtype=torch.float64)


def _are_shares(outputs: Tensor) -> bool:
    """Tell whether outputs (S, n, classes) are distributions already."""
    several = outputs.dim() == 3 and outputs.shape[2] > 1 and outputs.is_floating_point()
    return several and bool((outputs >= 0).all()) and bool(((outputs.sum(dim=2) - 1).abs() < 1e-3).all())


def _same(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def known(configuration: Mapping[str, float], examples: int) -> dict[str, float]:
    """Return what is known of a training as columns.

    Raises
    ------
    MdbenchError
        There is no such thing to be known, or it is no number.
    """
    if not isinstance(configuration, Mapping):
        raise MdbenchError(
            f"the configuration is a {type(configuration).__name__}; it must map names to numbers, {{'epochs': 30}}"
        )
    found = {}
    for name, value in configuration.items():
        if name not in (*TOLD, _BATCH_SIZE):
            raise MdbenchError(f"configuration: there is no {name!r}; there are {', '.join((*TOLD, _BATCH_SIZE))}")
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = np.nan
        least = int(name == _BATCH_SIZE)
        if not np.isfinite(number) or number < least:
            raise MdbenchError(f"configuration: {name} is {value!r}; it must be a number, at least {least}")
        if name == _BATCH_SIZE:
            if number > examples:
                raise MdbenchError(f"configuration: {name} is {value!r}, and there are {examples} training examples")
            found["recipe_steps_per_epoch"] = examples / number
        else:
            found[TOLD[name]] = number
    return found


def _row(found: Measurements, networks: Sequence[nn.Module], examples: int, told: Mapping[str, float]) -> pd.DataFrame:
    """Return one row of a zoo's table: means over the networks, what is of all together, what is known besides."""
    numbers = {str(name): float(value) for name, value in found.models.select_dtypes("number").mean().items()}
    numbers |= {
        str(name): float(value) for name, value in found.together.items() if isinstance(value, int | float | np.number)
    }
    # A reason is a text; where there was none to keep, what is read back is an empty number.
    numbers = {name: value for name, value in numbers.items() if not name.endswith("_reason")}
    size = sum(value.numel() for value in networks[0].parameters())
    return pd.DataFrame([{**numbers, "data_amount": float(examples), "parameter_count": float(size), **told}])


def _joined(before: Measurements | None, found: Measurements) -> Measurements:
    """Return what was measured before with what was measured now."""
    if before is None:
        return found
    keys = ["model", "layer"]
    layers = before.layers if len(before.layers) else found.layers
    if len(before.layers) and len(found.layers):
        fresh = [name for name in found.layers if name in keys or name not in before.layers]
        layers = joined_in_order(before.layers, found.layers[fresh], keys)
    new = [name for name in found.models if name not in before.models]
    return Measurements(
        pd.concat([before.models, found.models[new]], axis=1),
        pd.concat(
            [before.together, found.together[[name for name in found.together.index if name not in before.together]]]
        ),
        layers,
        found.way or before.way,
        tuple(dict.fromkeys([*before.notes, *found.notes])),
    )
