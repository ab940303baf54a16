"""A decision tree on loss-landscape metrics (Zhou et al., ICML 2024)."""

from sklearn.tree import DecisionTreeClassifier

columns = ["train_error", "mode_connectivity_peak", "output_cka", "log_hessian_trace"]

method = DecisionTreeClassifier(max_depth=4, random_state=42)
