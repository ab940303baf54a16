"""A random forest on statistics of the weights alone: what a landscape has to be better than.

After Unterthiner et al., Predicting neural network accuracy from weights (2020): mean, variance and quantiles of each
layer's weights and biases, here those of the first and of the last layer and means over all, so that networks of every
depth have the same. No data, no loss, no pass through the network. Networks need not have biases; what is missing counts as
the training median.
"""

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

columns = [
    f"{what}_{statistic}_{layer}{end}"
    for what, end in (("weight", ""), ("bias", "|"))
    for statistic in ("mean", "variance", "q0", "q25", "q50", "q75", "q100")
    for layer in ("mean", "first", "last")
]


class WeightsForest:
    """Trees to which rare verdicts weigh as much as common ones."""

    def fit(self, models: pd.DataFrame, labels: pd.Series) -> None:
        """Grow the trees."""
        self.middle = models.median().fillna(0.0)
        self.trees = RandomForestClassifier(300, class_weight="balanced", random_state=42)
        self.trees.fit(models.fillna(self.middle).to_numpy(), labels.to_numpy())
        self.classes_ = self.trees.classes_

    def predict(self, models: pd.DataFrame) -> np.ndarray:
        """Let the trees vote."""
        said: np.ndarray = self.trees.predict(models.fillna(self.middle).to_numpy())
        return said

    def predict_proba(self, models: pd.DataFrame) -> np.ndarray:
        """Return the mean over the trees, for verdicts that are equally common."""
        said: np.ndarray = self.trees.predict_proba(models.fillna(self.middle).to_numpy())
        return said


method = WeightsForest
