"""Extremely randomized trees on coordinates that mean the same in every zoo (Geurts et al., Machine Learning, 2006).

No coordinate of a network is taken to lie beyond what the training networks had, so that a strange zoo is judged as the
nearest known one; what is missing counts as the training median. Rare verdicts weigh as much as common ones.
"""

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesClassifier

from mdbench.tables import columns_for, coordinates_of

COORDINATES = [
    *("relative_peak", "barrier", "curve_log_loss", "scaled_trace", "log_trace", "log_rest", "relative_sharpness"),
    *("exponent", "window_exponent", "log_spikes", "noise_distance", "log_stable_rank"),
    *("log_loss", "log_error", "error_gap", "disagreement"),
]
columns = columns_for(COORDINATES)


class MDForest:
    """Trees on what was seen."""

    def fit(self, models: pd.DataFrame, labels: pd.Series) -> None:
        """Grow the trees."""
        found = coordinates_of(models, COORDINATES)
        self.middle = found.median().fillna(0.0)
        seen = found.fillna(self.middle).to_numpy()
        self.least, self.most = seen.min(axis=0), seen.max(axis=0)
        self.trees = ExtraTreesClassifier(300, min_samples_leaf=2, class_weight="balanced", random_state=42)
        self.trees.fit(seen, labels.to_numpy())
        self.classes_ = self.trees.classes_

    def predict(self, models: pd.DataFrame) -> np.ndarray:
        """Let the trees vote."""
        said: np.ndarray = self.trees.predict(self.look(models))
        return said

    def predict_proba(self, models: pd.DataFrame) -> np.ndarray:
        """Return the mean over the trees, for verdicts that are equally common."""
        said: np.ndarray = self.trees.predict_proba(self.look(models))
        return said

    def look(self, models: pd.DataFrame) -> np.ndarray:
        """Return the coordinates of networks, within what was seen in training; shape (n, coordinates)."""
        seen = coordinates_of(models, COORDINATES).fillna(self.middle).to_numpy()
        within: np.ndarray = np.clip(seen, self.least, self.most)
        return within


method = MDForest
