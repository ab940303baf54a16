"""Logistic regression on standardized loss-landscape metrics."""

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression as Regression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

columns = ["train_error", "mode_connectivity_peak", "output_cka|mixup_cka", "log_hessian_trace"]


class LogisticRegression:
    """A small training sample may hold a single verdict; there is nothing to regress on then, and it is repeated."""

    def fit(self, models: pd.DataFrame, labels: pd.Series) -> None:
        """Fit the regression."""
        regression = Regression(solver="newton-cholesky", max_iter=1000) if labels.nunique() > 1 else DummyClassifier()
        filled = SimpleImputer(strategy="median", keep_empty_features=True)  # what could not be measured
        self.pipeline = make_pipeline(filled, StandardScaler(), regression).fit(models.to_numpy(), labels.to_numpy())
        self.classes_ = self.pipeline.classes_

    def predict(self, models: pd.DataFrame) -> np.ndarray:
        """Say the likeliest verdict."""
        return np.asarray(self.pipeline.predict(models.to_numpy()))

    def predict_proba(self, models: pd.DataFrame) -> np.ndarray:
        """Say how likely each verdict is, those of the training sample alone."""
        return np.asarray(self.pipeline.predict_proba(models.to_numpy()))
