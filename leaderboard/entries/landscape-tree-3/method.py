"""A decision tree on loss-landscape metrics (Zhou et al., ICML 2024), the published ones where they were measured."""

from sklearn.tree import DecisionTreeClassifier

columns = ["train_error", "mode_connectivity_peak", "mixup_cka|output_cka", "log_hessian_trace"]

method = DecisionTreeClassifier(max_depth=4, random_state=42)
