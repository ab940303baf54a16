"""What the networks of a zoo predict, and so what its errors and losses are.

Labels are made of one number, ``test_error``, in %. What it is a share of is the zoo's to say.
"""

from enum import StrEnum
from typing import Final


class Predicted(StrEnum):
    """What networks predict.

    `CLASSES` is a class an example; `POSITIONS` a class for every pixel or token of it; `VALUES` numbers; `SOLUTION` numbers
    too, those of an equation, of which networks are not told the values.
    """

    CLASSES = "classes"
    POSITIONS = "positions"
    VALUES = "values"
    SOLUTION = "solution"

    @property
    def error(self) -> str:
        """What the error is, in words that go on behind "test error: "."""
        return _ERRORS[self]

    @property
    def loss(self) -> str:
        """What the loss is unless networks learn by another one, in words."""
        return (
            "mean cross-entropy, in nats" if self.bounded else "mean squared error, in the unit of the values squared"
        )

    @property
    def bounded(self) -> bool:
        """Whether the error is a share, at most 100 %. A relative error may be more, and 100 − error below zero."""
        return self in (Predicted.CLASSES, Predicted.POSITIONS)


_ERRORS: Final = {
    Predicted.CLASSES: "share of the examples that are misclassified",
    Predicted.POSITIONS: "share of the pixels or tokens, without those that are masked, that are misclassified",
    Predicted.VALUES: (
        "relative L2 error, 100 ‖prediction − target‖ / ‖mean − target‖: 100 % is that of predicting the mean of the "
        "training targets, and it may be more"
    ),
    Predicted.SOLUTION: (
        "relative L2 error, 100 ‖prediction − solution‖ / ‖solution‖: 100 % is that of predicting zero, and it may be more"
    ),
}
