"""Columns of the similarity of two seeds."""

from typing import Final

from mdbench.tables.schema.column import Column, Family
from mdbench.tables.schema.papers import JIANG_2022, KORNBLITH_2019

#: Those of the publication, which stand first in the tables.
PUBLISHED: Final = (
    Column(
        "output_cka",
        "1",
        Family.LANDSCAPE,
        "linear CKA between the outputs of two seeds, mean over ordered seed pairs; on the first 1,000 training examples "
        "where mdbench measured it, over the pairs that have one",
        KORNBLITH_2019,
    ),
)

COLUMNS: Final = (
    Column(
        "penultimate_cka",
        "1",
        Family.LANDSCAPE,
        "linear CKA between what the last linear layers of two seeds see of the first 1,000 training examples, mean over the "
        "seed pairs that have one",
        KORNBLITH_2019,
    ),
    Column(
        "train_disagreement",
        "%",
        Family.LANDSCAPE,
        "share of training examples on which two seeds predict different classes, mean over seed pairs",
        JIANG_2022,
    ),
    Column(
        "test_disagreement",
        "%",
        Family.VALIDATION,
        "share of test inputs on which two seeds predict different classes, mean over seed pairs; estimates the test error",
        JIANG_2022,
        reveals_label=True,
    ),
)
