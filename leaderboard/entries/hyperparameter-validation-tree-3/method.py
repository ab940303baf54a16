"""A decision tree on the training configuration and on training and validation metrics (Zhou et al., ICML 2024)."""

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeClassifier

metrics = ["train_error", "train_loss", "test_loss", "test_error"]
configuration = ["data_amount", "parameter_count"]
columns = {
    "optimizer": [*configuration, *metrics],
    "width_vs_optimizer": ["data_amount", *metrics],
    "data_vs_optimizer": ["parameter_count", *metrics],
    "failure_source": [*configuration, *metrics],
}


class HyperparameterValidationTree:
    """The tree sees logarithms of the configuration, and the metrics as they are."""

    def fit(self, models: pd.DataFrame, labels: pd.Series) -> None:
        """Grow the tree."""
        self.tree = DecisionTreeClassifier(max_depth=4, random_state=42)
        self.tree.fit(features(models), labels.to_numpy())

    def predict(self, models: pd.DataFrame) -> np.ndarray:
        """Walk every model down the tree."""
        return np.asarray(self.tree.predict(features(models)))


def features(models: pd.DataFrame) -> np.ndarray:
    """Return what the tree sees; shape (n, columns)."""
    seen = models.to_numpy(copy=True)
    logged = [column in configuration for column in models.columns]
    seen[:, logged] = np.log(seen[:, logged])
    return seen
