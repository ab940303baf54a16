"""Every verdict equally likely.

A model's verdict is drawn from a hash of its measurements and of the training sample's seed, so that it does not depend on
which other models are asked about.
"""

import numpy as np
import pandas as pd

from mdbench.tasks import Task

columns = ["train_loss", "test_loss"]


class Random:
    """Draws verdicts."""

    def fit(self, models: pd.DataFrame, labels: pd.Series, task: Task) -> None:  # noqa: ARG002
        """Remember the verdicts there are; the harness seeds NumPy's generator for every sample."""
        self.verdicts = np.array(task.classes, dtype=object)
        self.salt = np.random.randint(2**31)

    def predict(self, models: pd.DataFrame) -> np.ndarray:
        """Draw a verdict for every model."""
        drawn = pd.util.hash_pandas_object(models.assign(salt=self.salt), index=False).to_numpy()
        return self.verdicts[(drawn >> np.uint64(32)) % len(self.verdicts)]
