"""Columns of prunability: how much of a network can be left out."""

from typing import Final

from mdbench.tables.schema.column import Column, Family, Need, with_std
from mdbench.tables.schema.papers import LU_2024_ALPHAPRUNING

COLUMNS: Final = (
    *with_std(
        *(
            Column(
                f"pruned_test_error_{way}_{sparsity}",
                "%",
                Family.VALIDATION,
                f"test error, on the first 2,000 examples, without the {sparsity} % of the weights that are smallest {among}",
                LU_2024_ALPHAPRUNING,
                reveals_label=True,
                needs=(Need.CLASSES, Need.TEST),
            )
            for way, among in (
                ("global", "in the network"),
                ("layerwise", "in each layer"),
                ("alpha", "in their layer, layers with a larger alpha_hill losing more"),
            )
            for sparsity in (50, 70, 80, 90)
        ),
        *(
            Column(
                f"alpha_pruning_gain_{sparsity}",
                "points",
                Family.VALIDATION,
                f"pruned_test_error_layerwise_{sparsity} − pruned_test_error_alpha_{sparsity}",
                LU_2024_ALPHAPRUNING,
                needs=(Need.CLASSES, Need.TEST),
            )
            for sparsity in (50, 70, 80, 90)
        ),
        *(
            Column(
                f"pruned_test_error_published_{sparsity}",
                "%",
                Family.VALIDATION,
                f"test error, on the first 2,000 examples, without the {sparsity} % of the weights that are smallest in "
                "their layer, blocks with a larger mean alpha_peak losing more, embeddings and the last layer left whole",
                LU_2024_ALPHAPRUNING,
                reveals_label=True,
                needs=(Need.CLASSES, Need.TEST),
            )
            for sparsity in (70, 80)
        ),
        *(
            Column(
                f"published_pruning_gain_{sparsity}",
                "points",
                Family.VALIDATION,
                f"test error without the {sparsity} % of the weights that are smallest in each layer, embeddings and the "
                f"last layer left whole − pruned_test_error_published_{sparsity}",
                LU_2024_ALPHAPRUNING,
                needs=(Need.CLASSES, Need.TEST),
            )
            for sparsity in (70, 80)
        ),
        Column(
            "prunable_sparsity",
            "%",
            Family.VALIDATION,
            "largest share of the weights, in steps of 5 %, that can be pruned globally before the test error, on the first "
            "2,000 examples, has risen by more than 5 points; 95 is the most that is tried, and means 95 or more; missing "
            "where 5 points more are at or above chance, 100 (1 − 1/K) % of K classes",
            LU_2024_ALPHAPRUNING,
            reveals_label=True,
            needs=(Need.CLASSES, Need.TEST),
        ),
    ),
)
