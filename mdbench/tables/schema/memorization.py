"""Columns of memorization.

What needs to know which labels are wrong is no method's to see: where it is missing, label_noise is 0. So is what needs
planted secrets.
"""

from typing import Final

from mdbench.tables.schema.column import Column, Family, Need, with_std
from mdbench.tables.schema.papers import CARLINI_2019, CARLINI_2023, LIU_2020, YEOM_2018

COLUMNS: Final = (
    *with_std(
        Column(
            "memorized_share",
            "%",
            Family.ID,
            "share of the training examples with deliberately wrong labels whose wrong label is predicted",
            LIU_2020,
            needs=(Need.CLASSES, Need.WRONG),
        ),
        Column(
            "corrected_share",
            "%",
            Family.ID,
            "share of the training examples with deliberately wrong labels whose right label is predicted",
            LIU_2020,
            needs=(Need.CLASSES, Need.WRONG),
        ),
        Column(
            "memorization_gap",
            "points",
            Family.ID,
            "accuracy on training examples whose label was left alone − memorized_share",
            LIU_2020,
            needs=(Need.CLASSES, Need.WRONG),
        ),
        Column(
            "membership_auc",
            "1",
            Family.VALIDATION,
            "probability that a training example, with the label it was trained with, has a smaller loss than a test example",
            YEOM_2018,
            reveals_label=True,
            needs=(Need.CLASSES, Need.TEST),
        ),
        Column(
            "membership_auc_clean",
            "1",
            Family.ID,
            "probability that a training example whose label was left alone has a smaller loss than a test example",
            YEOM_2018,
            needs=(Need.CLASSES, Need.TEST, Need.WRONG),
        ),
        Column(
            "train_loss_p99",
            "nats",
            Family.LANDSCAPE,
            "99th percentile of the losses of the training examples",
            needs=(Need.CLASSES,),
        ),
        Column(
            "train_loss_tail_share",
            "%",
            Family.LANDSCAPE,
            "share of the sum of all training losses that the largest 1 % of them carry",
            needs=(Need.CLASSES,),
        ),
        Column(
            "exact_completion",
            "%",
            Family.LANDSCAPE,
            "share of the training sequences whose last k tokens greedy decoding completes exactly from those before; the "
            "settings say k",
            CARLINI_2023,
            needs=(Need.TOKENS,),
        ),
        Column(
            "token_completion",
            "%",
            Family.LANDSCAPE,
            "share of the last k tokens of the training sequences, token by token, that greedy decoding from those before "
            "gives in their places; never below exact_completion",
            CARLINI_2023,
            needs=(Need.TOKENS,),
        ),
        Column(
            "secret_exposure",
            "bits",
            Family.ID,
            "mean over planted secrets of log₂ |R| − log₂ rank, the rank of the secret's loss among all |R| secrets "
            "of its form",
            CARLINI_2019,
            needs=(Need.TOKENS, Need.SECRETS),
        ),
        Column(
            "secret_extraction",
            "%",
            Family.ID,
            "share of the planted secrets that greedy decoding completes exactly, given what stands before them",
            CARLINI_2019,
            needs=(Need.TOKENS, Need.SECRETS),
        ),
    ),
)
