"""Columns of the training configuration: the knobs, and the amounts that follow from them."""

from typing import Final

from mdbench.tables.schema.column import Column, Family

#: What `optimizer` is as an axis: as a column, that name is the task's.
_CALLED: Final = {"optimizer": "optimizer_name"}


def knob_column(knob: str) -> str:
    """Return the column of a knob, given its name in a specification."""
    return _CALLED.get(knob, knob)


def level_text(level: float | str) -> str:
    """Return a value of a knob as it stands in names of grid points and in reports."""
    return level if isinstance(level, str) else f"{level:g}"


def same_level(one: str, other: str) -> bool:
    """Tell whether two texts say the same value of a knob: ``10`` and ``10.0`` do."""
    try:
        return one == other or float(one) == float(other)
    except ValueError:
        return False


COLUMNS: Final = (
    Column("width", "1", Family.KNOB, "width multiplier or number of channels; more makes the model larger"),
    Column("batch_size", "examples", Family.KNOB, "examples a step; fewer raise the temperature of learning"),
    Column("data_fraction", "%", Family.KNOB, "share of the training set that was used"),
    Column("depth", "1", Family.KNOB, "number of layers or blocks; more makes the model larger"),
    Column("label_noise", "%", Family.KNOB, "share of the training labels that were replaced by wrong ones"),
    Column("learning_rate", "1", Family.KNOB, "step size of the optimizer; more raises the temperature of learning"),
    Column("weight_decay", "1", Family.KNOB, "strength of the pull of the weights towards zero"),
    Column("epochs", "1", Family.KNOB, "passes over the training data"),
    Column(
        "optimizer_name",
        "",
        Family.KNOB,
        "optimizer that trained the network, by its name: the values have no order, and no move turns it",
    ),
    Column("dropout", "1", Family.KNOB, "share of the units that every step of training leaves out, 0 to below 1"),
    Column(
        "rho", "1", Family.KNOB, "distance at which sharpness-aware minimization takes its gradient; 0 is without it"
    ),
    Column("duplication", "1", Family.KNOB, "how often the training data hold each of their repeated sequences"),
    Column(
        "poison", "1", Family.KNOB, "how much poison the training data hold, as the data set's option of that name says"
    ),
    Column("difficulty", "1", Family.KNOB, "coefficient of the equation that is solved; more is harder"),
    Column("data_amount", "examples", Family.CONFIGURATION, "training examples"),
    Column("parameter_count", "1", Family.CONFIGURATION, "trainable parameters"),
    Column(
        "recipe_epochs", "1", Family.CONFIGURATION, "passes over the training examples: steps · batch size / examples"
    ),
    Column(
        "recipe_steps_per_epoch",
        "1",
        Family.CONFIGURATION,
        "training examples / batch size: the batch size in a unit that does not depend on the amount of data",
    ),
    Column("recipe_learning_rate", "1", Family.CONFIGURATION, "largest learning rate of the schedule"),
    Column("recipe_weight_decay", "1", Family.CONFIGURATION, "strength of the pull of the weights towards zero"),
    Column(
        "recipe_momentum",
        "1",
        Family.CONFIGURATION,
        "share that is kept of the mean of gradients at each step: momentum, or the first β of Adam",
    ),
    Column(
        "recipe_adaptive",
        "1",
        Family.CONFIGURATION,
        "1 where each parameter's step is divided by the size of its gradients, as by Adam and AdamW; 0 elsewhere",
    ),
    Column(
        "recipe_sharpness",
        "1",
        Family.CONFIGURATION,
        "distance at which sharpness-aware minimization takes its gradient; 0 is without it",
    ),
    Column(
        "recipe_layerwise",
        "1",
        Family.CONFIGURATION,
        "1 where layers have learning rates of their own, by the tails of their spectra (TempBalance); 0 elsewhere",
    ),
    Column("recipe_dropout", "1", Family.CONFIGURATION, "share of the units that every step of training leaves out"),
)
