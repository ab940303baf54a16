"""Columns of the heavy-tailed spectra of weight matrices."""

from typing import Final

from mdbench.tables.schema.column import Column, Family, over_layers, with_std
from mdbench.tables.schema.papers import (
    CLAUSET_2009,
    HU_2025,
    KOTHAPALLI_2024,
    LU_2024_ALPHAPRUNING,
    MARTIN_2021_REGULARIZATION,
    MARTIN_2021_TRENDS,
    ZHOU_2023,
)

COLUMNS: Final = (
    Column("layer", "", Family.ID, "path of a layer in its network"),
    Column(
        "matrix_rows",
        "1",
        Family.ID,
        "rows of the matrix that a layer multiplies by (docs/metrics.md says which): units or channels that go out",
    ),
    Column(
        "matrix_columns",
        "1",
        Family.ID,
        "columns of the matrix that a layer multiplies by: units, or channels times kernel, that come in",
    ),
    Column(
        "alpha_ks",
        "1",
        Family.LANDSCAPE,
        "Kolmogorov–Smirnov distance between the tail of the eigenvalues of a layer's WᵀW and the power law of alpha",
        CLAUSET_2009,
        of_layer=True,
    ),
    Column(
        "bulk_edge",
        "1",
        Family.LANDSCAPE,
        "what the eigenvalues of a layer's WᵀW would lie below, were they noise of the same median; mp_spikes are above",
        MARTIN_2021_REGULARIZATION,
        of_layer=True,
    ),
    *over_layers(
        Column(
            "alpha",
            "1",
            Family.LANDSCAPE,
            "maximum-likelihood exponent of a power law in the tail of the eigenvalues of a layer's WᵀW; "
            "the tail begins where the Kolmogorov–Smirnov distance is the smallest",
            MARTIN_2021_REGULARIZATION,
        ),
        Column(
            "alpha_hill",
            "1",
            Family.LANDSCAPE,
            "Hill's estimate of that exponent from the larger half of the nonzero eigenvalues",
            ZHOU_2023,
        ),
        Column(
            "alpha_hat",
            "log10",
            Family.LANDSCAPE,
            "alpha times the decimal logarithm of the largest eigenvalue of a layer's WᵀW",
            MARTIN_2021_TRENDS,
        ),
        Column(
            "stable_rank",
            "1",
            Family.LANDSCAPE,
            "squared Frobenius norm of a layer's weight matrix, divided by its squared spectral norm",
            MARTIN_2021_REGULARIZATION,
        ),
        Column(
            "log_spectral_norm",
            "log10",
            Family.LANDSCAPE,
            "decimal logarithm of the squared spectral norm of a layer's weight matrix",
            MARTIN_2021_TRENDS,
        ),
        Column(
            "log_frobenius_norm",
            "log10",
            Family.LANDSCAPE,
            "decimal logarithm of the squared Frobenius norm of a layer's weight matrix",
            MARTIN_2021_TRENDS,
        ),
        Column(
            "mp_spikes",
            "eigenvalues",
            Family.LANDSCAPE,
            "eigenvalues of a layer's WᵀW above the 95 % quantile of the largest one of a random matrix of the variance that "
            "the median eigenvalue tells; since that is uncertain, 7 to 21 % of random matrices have one",
            MARTIN_2021_REGULARIZATION,
        ),
        Column(
            "mp_distance",
            "1",
            Family.LANDSCAPE,
            "Kolmogorov–Smirnov distance between the other eigenvalues and the Marchenko–Pastur law with that median",
            MARTIN_2021_REGULARIZATION,
        ),
    ),
    *over_layers(
        Column(
            "alpha_peak",
            "1",
            Family.LANDSCAPE,
            "like alpha, but the tail begins between 0.95 and 1.5 times where the fullest of 100 bins of the eigenvalues' "
            "logarithms begins",
            LU_2024_ALPHAPRUNING,
        ),
        Column(
            "alpha_hill_windows",
            "1",
            Family.LANDSCAPE,
            "mean alpha_hill of square windows of a layer's matrix, 64 rows and 16 windows at most: what the matrix's "
            "aspect ratio does to alpha_hill is left out",
            HU_2025,
        ),
        Column(
            "alpha_hill_minus_fresh",
            "1",
            Family.LANDSCAPE,
            "alpha_hill minus that of the same layer freshly initialised by its kind's own rule, mean over up to 64 of "
            "these: what the shape does to alpha_hill is left out",
        ),
        ways=("mean",),
    ),
    *with_std(
        Column(
            "alpha_hill_step_change",
            "1",
            Family.LANDSCAPE,
            "by how much alpha_hill, mean over the layers that have it, is larger after one step of gradient descent on all "
            "of the first 1,000 training examples, in evaluation mode, that moves each layer's matrix by its Frobenius norm",
            KOTHAPALLI_2024,
        )
    ),
)
