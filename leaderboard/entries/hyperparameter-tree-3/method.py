"""A decision tree on the training configuration (Zhou et al., ICML 2024).

Each task leaves out the quantity that its two verdicts trade against the optimizer.
"""

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeClassifier

columns = {
    "optimizer": ["data_amount", "parameter_count"],
    "width_vs_optimizer": ["data_amount"],
    "data_vs_optimizer": ["parameter_count"],
    "failure_source": ["data_amount", "parameter_count"],
}


class HyperparameterTree:
    """The tree sees logarithms, so that it cuts between grid values in the middle of their ratio."""

    def fit(self, models: pd.DataFrame, labels: pd.Series) -> None:
        """Grow the tree."""
        self.tree = DecisionTreeClassifier(max_depth=4, random_state=42)
        self.tree.fit(np.log(models.to_numpy()), labels.to_numpy())

    def predict(self, models: pd.DataFrame) -> np.ndarray:
        """Walk every model down the tree."""
        return np.asarray(self.tree.predict(np.log(models.to_numpy())))
