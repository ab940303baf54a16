"""A random forest on loss-landscape metrics."""

from sklearn.ensemble import RandomForestClassifier

columns = ["train_error", "mode_connectivity_peak", "output_cka|mixup_cka", "log_hessian_trace"]

method = RandomForestClassifier(n_estimators=100, random_state=42)
