"""Columns of how weights and biases are distributed in layers."""

from typing import Final

from mdbench.tables.schema.column import Column, Family, over_layers
from mdbench.tables.schema.papers import UNTERTHINER_2020

COLUMNS: Final = tuple(
    over_layers(
        *(
            Column(f"{what}_{name}", "1", Family.LANDSCAPE, f"{meaning} a layer's {said}", UNTERTHINER_2020)
            for what, said in (
                ("weight", "weights, those of its matrix (docs/metrics.md says which)"),
                ("bias", "biases, those that are added to what the matrix multiplied"),
            )
            for name, meaning in (
                ("mean", "mean of"),
                ("variance", "variance, divided by their number, of"),
                ("q0", "smallest of"),
                ("q25", "first quartile of"),
                ("q50", "median of"),
                ("q75", "third quartile of"),
                ("q100", "largest of"),
            )
        ),
        ways=("mean", "first", "last"),
    )
)
