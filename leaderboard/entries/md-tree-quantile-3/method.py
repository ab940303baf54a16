"""MD tree on quantiles: every threshold is a place among the models of a zoo, and not a number on that zoo's own scale.

The trees are the published ones. A place says the same on every zoo, so that all questions start at the median and may end
anywhere.
"""

from collections.abc import Mapping, Sequence

from baselines.md_tree import TREES as PUBLISHED
from baselines.md_tree import MDTree, columns_of
from mdbench.schema import QUANTILE

TREES = {
    task: [step._replace(column=step.column + QUANTILE, start=0.5, bounds=(0.0, 1.0)) for step in tree]
    for task, tree in PUBLISHED.items()
}


class MDTreeQuantile(MDTree):
    """MD tree on quantiles."""

    trees = TREES
    name = "md_tree_quantile"
    track = "transductive"
    columns: Mapping[str, Sequence[str]] = {task: columns_of(tree) for task, tree in TREES.items()}


method = MDTreeQuantile
