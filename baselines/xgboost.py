"""Gradient-boosted trees on loss-landscape metrics."""

import numpy as np
import pandas as pd
from xgboost import XGBClassifier

columns = ["train_error", "mode_connectivity_peak", "output_cka|mixup_cka", "log_hessian_trace"]


class XGBoost:
    """XGBoost wants numbers for labels, and at least two of them."""

    def fit(self, models: pd.DataFrame, labels: pd.Series) -> None:
        """Grow the trees."""
        numbers, self.verdicts = pd.factorize(labels, sort=True)
        self.classes_ = np.asarray(self.verdicts)
        self.trees = XGBClassifier(n_estimators=100, max_depth=4, learning_rate=0.1, n_jobs=1, random_state=42)
        if len(self.verdicts) > 1:
            self.trees.fit(models, numbers)

    def predict(self, models: pd.DataFrame) -> np.ndarray:
        """Say the likeliest verdict."""
        numbers = self.trees.predict(models) if len(self.verdicts) > 1 else np.zeros(len(models), dtype=int)
        said: np.ndarray = np.asarray(self.verdicts)[numbers]
        return said

    def predict_proba(self, models: pd.DataFrame) -> np.ndarray:
        """Say how likely each verdict is, those of the training sample alone."""
        if len(self.verdicts) < 2:
            return np.ones((len(models), 1))
        said: np.ndarray = self.trees.predict_proba(models)
        return said
