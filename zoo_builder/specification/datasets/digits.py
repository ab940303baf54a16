"""The handwritten digits that come with scikit-learn: 1,797 images of 8 × 8 pixels."""

from typing import Final

import numpy as np

from mdbench.errors import MdbenchError
from zoo_builder.specification.datasets.raw import Part, Raw

_TEST: Final = 400


def read_digits(train: int | None, test: int | None, seed: int) -> Raw:
    """Return the digits, split by the seed; all that is not tested on is trained on unless told.

    Raises
    ------
    MdbenchError
        There are not that many, or none is left to train on.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    there, tested = len(labels), _TEST if test is None else test
    trained = there - tested if train is None else train
    if trained < 1:
        raise MdbenchError(f"digits: test = {tested} of {there} images leaves none to train on; write a smaller test")
    if trained + tested > there:
        raise MdbenchError(f"digits: train + test = {trained + tested} is more than the {there} images that there are")
    order = np.random.default_rng([seed, 6]).permutation(there)
    inputs, labels = images.reshape(there, 1, 8, 8).astype(np.float32), labels.astype(np.int64)
    learnt, asked = np.sort(order[tested:][:trained]), np.sort(order[:tested])
    return Raw(Part(inputs[learnt], labels[learnt]), Part(inputs[asked], labels[asked]), 10)
