"""Every verdict equally likely.

A model's verdict is drawn from a hash of its measurements and of the training sample's seed, so that it does not depend on
which other models are asked about.
"""

import hashlib

import numpy as np
import pandas as pd

from mdbench.tasks import Task

columns = ["train_loss", "test_loss"]


class Random:
    """Draws verdicts."""

    def fit(self, _models: pd.DataFrame, _labels: pd.Series, task: Task) -> None:
        """Remember the verdicts there are; the harness seeds NumPy's generator for every sample."""
        self.verdicts = task.classes
        self.key = np.random.bytes(16)

    def predict(self, models: pd.DataFrame) -> list[str]:
        """Draw a verdict for every model."""
        hashes = (hashlib.blake2b(row.tobytes(), key=self.key, digest_size=8).digest() for row in models.to_numpy())
        return [self.verdicts[int.from_bytes(drawn, "big") % len(self.verdicts)] for drawn in hashes]

    def predict_proba(self, models: pd.DataFrame) -> np.ndarray:
        """Say that every verdict is equally likely."""
        return np.full((len(models), len(self.verdicts)), 1 / len(self.verdicts))
