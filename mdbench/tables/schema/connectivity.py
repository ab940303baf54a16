"""Columns of mode connectivity: what lies between two seeds."""

from typing import Final

from mdbench.tables.schema.column import Column, Family, Need
from mdbench.tables.schema.papers import AINSWORTH_2023, ENTEZARI_2022, YANG_2021, ZHOU_2024

#: Those of the publication, which stand first in the tables.
PUBLISHED: Final = (
    Column(
        "mode_connectivity",
        "points",
        Family.LANDSCAPE,
        "(e(0)+e(1))/2 − e(t*): training error along a trained quadratic Bézier curve between two seeds, "
        "t* where it deviates most; on the first 1,000 training examples, mean over neighbouring seeds around a ring, where "
        "mdbench measured it",
        ZHOU_2024,
        needs=(Need.CLASSES, Need.SEEDS),
    ),
    Column(
        "mode_connectivity_peak",
        "%",
        Family.LANDSCAPE,
        "minus the largest training error at the three interior points of that curve; on the same examples and seeds",
        ZHOU_2024,
        needs=(Need.CLASSES, Need.SEEDS),
    ),
)

COLUMNS: Final = (
    Column(
        "mode_connectivity_loss",
        "nats",
        Family.LANDSCAPE,
        "(l(0)+l(1))/2 − l(t*): loss on the first 1,000 training examples along a trained quadratic Bézier curve between "
        "two seeds, t* where it deviates most; mean over neighbouring seeds around a ring",
        YANG_2021,
        needs=(Need.SEEDS,),
    ),
    Column(
        "mode_connectivity_peak_loss",
        "nats",
        Family.LANDSCAPE,
        "minus the largest loss at the three interior points of that curve; on the same examples and seeds",
        ZHOU_2024,
        needs=(Need.SEEDS,),
    ),
    Column(
        "mode_connectivity_log_loss",
        "ln",
        Family.LANDSCAPE,
        "mode_connectivity_loss of the natural logarithms of the losses, which do not depend on the loss's unit",
        YANG_2021,
        needs=(Need.SEEDS,),
    ),
    Column(
        "linear_barrier",
        "points",
        Family.LANDSCAPE,
        "how far the error on the first 1,000 training examples at t = 0.25, 0.5 or 0.75 of the straight line between two "
        "seeds rises at most above the line between the errors at its ends (not above their mean, as Frankle et al., ICML "
        "2020, have it); mean over neighbouring seeds around a ring",
        ENTEZARI_2022,
        needs=(Need.CLASSES, Need.SEEDS),
    ),
    Column(
        "linear_barrier_loss",
        "nats",
        Family.LANDSCAPE,
        "how far the loss on the first 1,000 training examples at t = 0.25, 0.5 or 0.75 of the straight line between two "
        "seeds rises at most above the line between the losses at its ends (not above their mean, as Frankle et al., ICML "
        "2020, have it); mean over neighbouring seeds around a ring",
        ENTEZARI_2022,
        needs=(Need.SEEDS,),
    ),
    Column(
        "linear_barrier_log_loss",
        "ln",
        Family.LANDSCAPE,
        "linear_barrier_loss of the natural logarithms of the losses, which do not depend on the loss's unit",
        ENTEZARI_2022,
        needs=(Need.SEEDS,),
    ),
    Column(
        "aligned_barrier",
        "points",
        Family.LANDSCAPE,
        "linear_barrier after the hidden units of one of the two seeds were permuted by weight matching",
        AINSWORTH_2023,
        needs=(Need.CLASSES, Need.SEEDS),
    ),
    Column(
        "aligned_barrier_loss",
        "nats",
        Family.LANDSCAPE,
        "linear_barrier_loss after the hidden units of one of the two seeds were permuted by weight matching",
        AINSWORTH_2023,
        needs=(Need.SEEDS,),
    ),
    Column(
        "aligned_barrier_log_loss",
        "ln",
        Family.LANDSCAPE,
        "linear_barrier_log_loss after the hidden units of one of the two seeds were permuted by weight matching",
        AINSWORTH_2023,
        needs=(Need.SEEDS,),
    ),
)
