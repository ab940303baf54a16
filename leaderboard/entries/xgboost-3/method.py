"""Gradient-boosted trees on loss-landscape metrics."""

import numpy as np
import pandas as pd
from xgboost import Booster, DMatrix, QuantileDMatrix

columns = ["train_error", "mode_connectivity_peak", "output_cka|mixup_cka", "log_hessian_trace"]
settings = {"max_depth": 4, "learning_rate": 0.1, "nthread": 1, "random_state": 42}
ROUNDS = 100
BINS = 256


class XGBoost:
    """XGBoost wants numbers for labels, and at least two of them.

    It is asked without its estimator for scikit-learn, which takes half of the time on a hundred networks. Where there are no
    more networks than a histogram has bins, every cut is tried with either, and trying takes less without a histogram.
    """

    def fit(self, models: pd.DataFrame, labels: pd.Series) -> None:
        """Grow the trees."""
        self.classes_, numbers = np.unique(labels.to_numpy(), return_inverse=True)
        if len(self.classes_) < 2:
            return
        few = len(models) <= BINS
        data = (DMatrix if few else QuantileDMatrix)(models.to_numpy(), numbers, nthread=1)
        many = {"objective": "multi:softprob", "num_class": len(self.classes_)}
        about = {"objective": "binary:logistic"} if len(self.classes_) == 2 else many
        self.trees = Booster({**settings, **about, "tree_method": "exact" if few else "hist"}, [data])
        for turn in range(ROUNDS):
            self.trees.update(data, turn)

    def predict(self, models: pd.DataFrame) -> np.ndarray:
        """Say the likeliest verdict."""
        said: np.ndarray = self.classes_[self.predict_proba(models).argmax(axis=1)]
        return said

    def predict_proba(self, models: pd.DataFrame) -> np.ndarray:
        """Say how likely each verdict is, those of the training sample alone."""
        if len(self.classes_) < 2:
            return np.ones((len(models), 1))
        likely: np.ndarray = self.trees.inplace_predict(models.to_numpy())
        return likely if likely.ndim == 2 else np.column_stack([1 - likely, likely])
