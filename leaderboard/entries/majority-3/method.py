"""The most frequent training label, whatever the model."""

import numpy as np
import pandas as pd

columns: list[str] = []


class Majority:
    """Says one thing; of equally frequent labels the first in the alphabet."""

    def fit(self, _models: pd.DataFrame, labels: pd.Series) -> None:
        """Count labels."""
        self.classes_, counts = np.unique(labels.to_numpy(), return_counts=True)
        self.verdict = self.classes_[counts.argmax()]
        self.shares = counts / counts.sum()

    def predict(self, models: pd.DataFrame) -> list[str]:
        """Say it again for every model."""
        return [self.verdict] * len(models)

    def predict_proba(self, models: pd.DataFrame) -> np.ndarray:
        """Give each verdict its share of the training labels."""
        return np.tile(self.shares, (len(models), 1))
