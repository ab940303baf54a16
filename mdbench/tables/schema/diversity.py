"""Columns of the diversity of the seeds, as an ensemble."""

from typing import Final

from mdbench.tables.schema.column import Column, Family, Need
from mdbench.tables.schema.papers import LAKSHMINARAYANAN_2017, LU_2024_SHARPBALANCE, THEISEN_2023

COLUMNS: Final = (
    Column(
        "ensemble_test_error",
        "%",
        Family.VALIDATION,
        "test error of the mean over seeds of the predicted probabilities",
        LAKSHMINARAYANAN_2017,
        reveals_label=True,
        needs=(Need.CLASSES, Need.TEST, Need.SEEDS),
    ),
    Column(
        "ensemble_gain",
        "points",
        Family.VALIDATION,
        "mean test error of the seeds − ensemble_test_error: absolute, and of averaged probabilities (Theisen et al.'s "
        "improvement rate is relative to the mean error, and of majority votes)",
        THEISEN_2023,
        reveals_label=True,
        needs=(Need.CLASSES, Need.TEST, Need.SEEDS),
    ),
    Column(
        "ensemble_diversity",
        "1",
        Family.VALIDATION,
        "disagreement-error ratio: test_disagreement / mean test error of the seeds",
        THEISEN_2023,
        reveals_label=True,
        needs=(Need.CLASSES, Need.TEST, Need.SEEDS),
    ),
    Column(
        "ensemble_variance",
        "1",
        Family.VALIDATION,
        "mean over test inputs of the variance over seeds of the predicted probabilities, summed over classes",
        LU_2024_SHARPBALANCE,
        reveals_label=True,
        needs=(Need.CLASSES, Need.TEST, Need.SEEDS),
    ),
    Column(
        "pairwise_kl",
        "nats",
        Family.VALIDATION,
        "mean over test inputs and ordered pairs of seeds of the Kullback–Leibler divergence between the probabilities that "
        "they predict",
        LU_2024_SHARPBALANCE,
        reveals_label=True,
        needs=(Need.CLASSES, Need.TEST, Need.SEEDS),
    ),
    Column(
        "shifted_error",
        "%",
        Family.VALIDATION,
        "ensemble_test_error on test inputs with normal noise on them, of a standard deviation of 0.5 unless settings say "
        "another one",
        LU_2024_SHARPBALANCE,
        reveals_label=True,
        needs=(Need.CLASSES, Need.TEST, Need.SEEDS),
    ),
)
