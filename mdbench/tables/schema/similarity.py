"""Columns of the similarity of two seeds."""

from typing import Final

from mdbench.tables.schema.column import Column, Family, Need
from mdbench.tables.schema.papers import JIANG_2022, KORNBLITH_2019, SONG_2012, YANG_2021

#: CKA as the publication says it, and as its code computes it. They stand first in the tables.
PUBLISHED: Final = (
    Column(
        "output_cka",
        "1",
        Family.LANDSCAPE,
        "linear CKA between the outputs of two seeds, mean over ordered seed pairs; on the first 1,000 training examples "
        "where mdbench measured it, over the pairs that have one",
        KORNBLITH_2019,
        needs=(Need.SEEDS,),
    ),
    Column(
        "mixup_cka",
        "1",
        Family.LANDSCAPE,
        "linear CKA between the probabilities that two seeds give to mixtures λ x + (1 − λ) x′ of training examples, λ from "
        "Beta(16, 16) for each batch of 128, mean over seed pairs; of the first 1,000 examples where mdbench measured it, "
        "over the pairs that have one",
        YANG_2021,
        needs=(Need.CLASSES, Need.SEEDS),
    ),
)

COLUMNS: Final = (
    Column(
        "output_cka_debiased",
        "1",
        Family.LANDSCAPE,
        "output_cka with unbiased estimates of the independence criterion, which few examples do not raise; it may be below "
        "zero",
        SONG_2012,
        needs=(Need.SEEDS,),
    ),
    Column(
        "penultimate_cka",
        "1",
        Family.LANDSCAPE,
        "linear CKA between what the last linear layers of two seeds see of the first 1,000 training examples, mean over the "
        "seed pairs that have one",
        KORNBLITH_2019,
        needs=(Need.SEEDS,),
    ),
    Column(
        "penultimate_cka_debiased",
        "1",
        Family.LANDSCAPE,
        "penultimate_cka with unbiased estimates of the independence criterion, which few examples do not raise; it may be "
        "below zero",
        SONG_2012,
        needs=(Need.SEEDS,),
    ),
    Column(
        "train_disagreement",
        "%",
        Family.LANDSCAPE,
        "share of training examples on which two seeds predict different classes, mean over seed pairs",
        JIANG_2022,
        needs=(Need.CLASSES, Need.SEEDS),
    ),
    Column(
        "test_disagreement",
        "%",
        Family.VALIDATION,
        "share of test inputs on which two seeds predict different classes, mean over seed pairs; estimates the test error",
        JIANG_2022,
        reveals_label=True,
        needs=(Need.CLASSES, Need.TEST, Need.SEEDS),
    ),
)
