"""The most frequent training label, whatever the model."""

import numpy as np
import pandas as pd

columns: list[str] = []


class Majority:
    """Says one thing; of equally frequent labels the first in the alphabet."""

    def fit(self, _models: pd.DataFrame, labels: pd.Series) -> None:
        """Count labels."""
        self.verdict = labels.mode().iloc[0]
        self.shares = labels.value_counts(normalize=True)
        self.classes_ = self.shares.index

    def predict(self, models: pd.DataFrame) -> list[str]:
        """Say it again for every model."""
        return [self.verdict] * len(models)

    def predict_proba(self, models: pd.DataFrame) -> np.ndarray:
        """Give each verdict its share of the training labels."""
        return np.tile(self.shares, (len(models), 1))
