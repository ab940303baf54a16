"""Columns of the sharpness: how much the training loss rises near a network."""

from typing import Final

from mdbench.tables.schema.column import Column, Family, with_std
from mdbench.tables.schema.papers import ANDRIUSHCHENKO_2023, FORET_2021, KWON_2021

COLUMNS: Final = (
    *with_std(
        Column(
            "sharpness_worst",
            "nats",
            Family.LANDSCAPE,
            "largest rise of the loss on the first 1,000 training examples found within a distance of 0.1 of the parameters; "
            "a lower bound",
            FORET_2021,
        ),
        Column(
            "sharpness_adaptive",
            "nats",
            Family.LANDSCAPE,
            "largest rise of the loss on the first 1,000 training examples found where ‖δ / |w|‖ ≤ 0.1, δ the change of "
            "parameters w; a lower bound",
            KWON_2021,
        ),
        Column(
            "sharpness_average",
            "nats",
            Family.LANDSCAPE,
            "mean rise of the loss on the first 1,000 training examples over 20 random directions as long as 5 % of the "
            "parameters' norm",
            ANDRIUSHCHENKO_2023,
        ),
        Column(
            "sharpness_average_se",
            "nats",
            Family.LANDSCAPE,
            "standard error of sharpness_average over its 20 directions",
        ),
    ),
)
