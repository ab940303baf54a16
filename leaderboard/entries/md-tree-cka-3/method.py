"""MD tree with similarity in place of sharpness: its last question is about CKA (Zhou et al., ICML 2024).

Published was the CKA of probabilities on mixtures of examples. Where that was not measured, it is the CKA of outputs.
"""

from collections.abc import Mapping, Sequence

from baselines.md_tree import ERROR, HIGH, LOW, PEAK, MDTree, columns_of, question

CKA = ("mixup_cka|output_cka", 0.5, (0.2, 0.8))
TREES = {"optimizer": [question(ERROR, LOW, 1), question(PEAK, 2, HIGH), question(CKA, LOW, HIGH)]}


class MDTreeCKA(MDTree):
    """MD tree for the optimizer task, asking about CKA last."""

    trees = TREES
    name = "md_tree_cka"
    columns: Mapping[str, Sequence[str]] = {task: columns_of(tree) for task, tree in TREES.items()}


method = MDTreeCKA
