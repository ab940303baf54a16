"""A rule without training: the inside of the connectivity curve is worse than, or as good as, its ends.

If two seeds are joined by a curve of low error, learning was hot enough to leave sharp, separate minima.
"""

import numpy as np
import pandas as pd

zero_shot = True
columns = {"optimizer": ["mode_connectivity_peak", "train_error"]}

#: Points of training error that the inside may be better than the ends and still count as no better.
TOLERANCE = 0.3


class BarrierRule:
    """Temperature too low where the largest error inside the curve exceeds that of its ends minus the tolerance."""

    def predict(self, models: pd.DataFrame) -> np.ndarray:
        """Compare the inside of the curve with its ends."""
        barrier = -models["mode_connectivity_peak"] - models["train_error"]
        return np.where(barrier > -TOLERANCE, "temperature_too_low", "temperature_too_high")
