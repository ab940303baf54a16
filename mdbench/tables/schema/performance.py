"""Columns of the performance: errors and losses, calibration and margins."""

from typing import Final

from mdbench.tables.schema.column import Column, Family, Need, with_std
from mdbench.tables.schema.papers import GUO_2017, JIANG_2020

#: What training measures.
TRAINED: Final = (
    Column(
        "test_error",
        "%",
        Family.VALIDATION,
        "share of test examples (100 − test accuracy), pixels or tokens that are misclassified, or relative L2 error of "
        "values or of a solution, which may exceed 100, as the zoo says; mean over seeds",
        reveals_label=True,
        needs=(Need.CLASSES, Need.TEST),
    ),
    Column(
        "test_error_std",
        "points",
        Family.VALIDATION,
        "standard deviation over seeds of the test error",
        reveals_label=True,
        needs=(Need.CLASSES, Need.TEST, Need.SEEDS),
    ),
    Column(
        "test_loss",
        "nats",
        Family.VALIDATION,
        "mean loss on test data, mean over seeds: cross-entropy; of values the mean squared error, which is not in nats",
        reveals_label=True,
        needs=(Need.TEST,),
    ),
    Column(
        "test_loss_std",
        "nats",
        Family.VALIDATION,
        "standard deviation over seeds of the test loss",
        reveals_label=True,
        needs=(Need.TEST, Need.SEEDS),
    ),
    Column(
        "generalization_gap",
        "points",
        Family.VALIDATION,
        "test error − training error",
        reveals_label=True,
        needs=(Need.CLASSES, Need.TEST),
    ),
    Column(
        "generalization_gap_std",
        "points",
        Family.VALIDATION,
        "standard deviation over seeds of the generalization gap",
        reveals_label=True,
        needs=(Need.CLASSES, Need.TEST, Need.SEEDS),
    ),
    Column(
        "train_error",
        "%",
        Family.LANDSCAPE,
        "how wrong predictions on training data are, as test_error has it; mean over seeds",
        needs=(Need.CLASSES,),
    ),
    Column(
        "train_error_std",
        "points",
        Family.LANDSCAPE,
        "standard deviation over seeds of the training error",
        needs=(Need.CLASSES, Need.SEEDS),
    ),
    Column("train_loss", "nats", Family.LANDSCAPE, "mean loss on training data, as test_loss has it; mean over seeds"),
    Column(
        "train_loss_std",
        "nats",
        Family.LANDSCAPE,
        "standard deviation over seeds of the training loss",
        needs=(Need.SEEDS,),
    ),
)

COLUMNS: Final = (
    *with_std(
        Column(
            "train_ece",
            "%",
            Family.LANDSCAPE,
            "expected calibration error on training data: mean |accuracy − confidence| over 15 equal bins of confidence",
            GUO_2017,
            needs=(Need.CLASSES,),
        ),
        Column(
            "train_confidence",
            "%",
            Family.LANDSCAPE,
            "mean probability of the predicted class on training data",
            GUO_2017,
            needs=(Need.CLASSES,),
        ),
        Column(
            "train_margin",
            "1",
            Family.LANDSCAPE,
            "mean over training examples of the label's logit minus the largest other",
            JIANG_2020,
            needs=(Need.CLASSES,),
        ),
        Column(
            "train_margin_p10",
            "1",
            Family.LANDSCAPE,
            "10th percentile over training examples of the label's logit minus the largest other",
            JIANG_2020,
            needs=(Need.CLASSES,),
        ),
        Column(
            "test_ece",
            "%",
            Family.VALIDATION,
            "expected calibration error on test data: mean |accuracy − confidence| over 15 equal bins of confidence",
            GUO_2017,
            reveals_label=True,
            needs=(Need.CLASSES, Need.TEST),
        ),
        Column(
            "test_confidence",
            "%",
            Family.VALIDATION,
            "mean probability of the predicted class on test data",
            GUO_2017,
            reveals_label=True,
            needs=(Need.CLASSES, Need.TEST),
        ),
    ),
)
