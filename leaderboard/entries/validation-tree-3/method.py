"""A decision tree on training and validation metrics (Zhou et al., ICML 2024)."""

from sklearn.tree import DecisionTreeClassifier

columns = ["train_error", "train_loss", "test_loss", "test_error"]

method = DecisionTreeClassifier(max_depth=4, random_state=42)
