"""Columns of the training configuration: the knobs, and the amounts that follow from them."""

from typing import Final

from mdbench.tables.schema.column import Column, Family

COLUMNS: Final = (
    Column("width", "1", Family.KNOB, "width multiplier or number of channels; more makes the model larger"),
    Column("batch_size", "examples", Family.KNOB, "examples a step; fewer raise the temperature of learning"),
    Column("data_fraction", "%", Family.KNOB, "share of the training set that was used"),
    Column("depth", "1", Family.KNOB, "number of layers or blocks; more makes the model larger"),
    Column("label_noise", "%", Family.KNOB, "share of the training labels that were replaced by wrong ones"),
    Column("learning_rate", "1", Family.KNOB, "step size of the optimizer; more raises the temperature of learning"),
    Column("weight_decay", "1", Family.KNOB, "strength of the pull of the weights towards zero"),
    Column("epochs", "1", Family.KNOB, "passes over the training data"),
    Column("data_amount", "examples", Family.CONFIGURATION, "training examples"),
    Column("parameter_count", "1", Family.CONFIGURATION, "trainable parameters"),
)
