"""Columns of the Hessian of the training loss."""

from typing import Final

from mdbench.tables.schema.column import Column, Family, with_std
from mdbench.tables.schema.papers import GHORBANI_2019, GOLUB_2013, MEYER_2021, ROY_2007, ZHOU_2024

#: Those of the publication, which stand first in the tables.
PUBLISHED: Final = (
    Column(
        "log_hessian_trace",
        "ln",
        Family.LANDSCAPE,
        "natural logarithm of the seed mean of the trace of the training loss's Hessian; on the first 1,000 training "
        "examples where mdbench measured it",
        ZHOU_2024,
    ),
    Column(
        "log_hessian_top_eigenvalue",
        "ln",
        Family.LANDSCAPE,
        "natural logarithm of the seed mean of the largest eigenvalue of the training loss's Hessian; on the first "
        "1,000 training examples where mdbench measured it",
        ZHOU_2024,
    ),
)

COLUMNS: Final = (
    *with_std(
        Column(
            "hessian_trace",
            "1",
            Family.LANDSCAPE,
            "trace of the Hessian of the mean loss on the first 1,000 training examples, evaluation mode, by deflated "
            "Hutchinson probes",
            MEYER_2021,
        ),
        Column(
            "hessian_trace_se",
            "1",
            Family.LANDSCAPE,
            "standard error of hessian_trace over its random probes; 0 where the trace is exact",
            MEYER_2021,
        ),
        Column(
            "hessian_top_eigenvalue",
            "1",
            Family.LANDSCAPE,
            "largest eigenvalue of the Hessian of the mean loss on the first 1,000 training examples, evaluation mode",
            GHORBANI_2019,
        ),
        Column(
            "hessian_top_eigenvalue_residual",
            "1",
            Family.ID,  # of the solver, not of the network
            "‖Hx − θx‖ / |θ| of hessian_top_eigenvalue θ and its unit eigenvector x, as Lanczos' recurrence tells it: an "
            "eigenvalue of H lies that close to θ; below the rounding of single precision, 1e-6, it says nothing",
            GOLUB_2013,
        ),
        *(
            Column(
                f"hessian_eigenvalue_{at}",
                "1",
                Family.LANDSCAPE,
                f"{rank} largest eigenvalue of the Hessian of the mean loss on the first 1,000 training examples, "
                "evaluation mode",
                GHORBANI_2019,
            )
            for at, rank in ((2, "second"), (3, "third"), (4, "fourth"), (5, "fifth"))
        ),
        Column(
            "hessian_bottom_eigenvalue",
            "1",
            Family.LANDSCAPE,
            "smallest Ritz value of the Lanczos run on the Hessian of the mean loss on the first 1,000 training examples: an "
            "upper bound of the smallest eigenvalue, whose size can be many times larger",
            GHORBANI_2019,
        ),
        Column(
            "hessian_effective_rank",
            "1",
            Family.LANDSCAPE,
            "participation ratio (Σ|λ|)² / Σλ² of the eigenvalues of the Hessian of the mean loss on the first 1,000 "
            "training examples",
            f"{ROY_2007}, with the Rényi entropy of order 2 for Shannon's",
        ),
        Column(
            "hessian_negative_mass",
            "1",
            Family.LANDSCAPE,
            "share of Σ|λ| that is the negative eigenvalues' of the Hessian of the mean loss on the first 1,000 training "
            "examples, by stochastic Lanczos quadrature from one random start; from start to start it varies by about "
            "30 %, and on average it is up to 24 % too large",
            GHORBANI_2019,
        ),
        Column(
            "hessian_products",
            "1",
            Family.ID,
            "Hessian–vector products that the Hessian's metrics took, those of layers included",
        ),
    ),
)
