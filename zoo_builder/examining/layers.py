"""Layer by layer: what spectra say of each, and what follows by the rules of three publications."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from mdbench.diagnosing import Layer
from zoo_builder.landscape import prunability
from zoo_builder.training import balanced

#: Eigenvalues from which on an exponent means something: its standard error is then 20 % of it less one.
FEWEST: Final = 50
#: Between which factors rates go (TempBalance), and what is pruned in all, in % (AlphaPruning).
_RATES: Final = (0.5, 1.5)
_SPARSITY: Final = 50
#: Experts a layer on average, and the power that exponents are taken to (AlphaLoRA's own: 160 over 32 layers, and β).
EXPERTS, POWER = 5, 2.5
#: By how many standard errors an exponent must differ from that of a fresh layer.
_APART: Final = 2.0


def experts_of(exponents: Sequence[float], total: int) -> list[int]:
    """Return how many of so many experts each layer gets.

    Layer l has the share α_l^β / Σ α^β of them, β = `POWER`: the lighter a layer's tail, the less it has learnt, and the more
    adapters it is given (Qing et al., AlphaLoRA: Assigning LoRA experts based on layer training quality, EMNLP 2024; its
    code, github.com/morelife2017/alphalora, has β = 2.5). Whole numbers are reached by rounding down, and up where
    remainders are the largest; the code there rounds to the nearest, and then moves single experts until the sum is right.

    Parameters
    ----------
    exponents : (L,), Hill's; positive.
    total : experts.
    """
    powers = np.asarray(exponents, dtype=np.float64) ** POWER
    return [int(count) for count in prunability.allotted([total] * len(powers), powers[None], total)[0]]


def layers_of(found: pd.DataFrame, experts: int | None = None) -> tuple[Layer, ...]:
    """Return what follows for each layer of the first network.

    Under-trained is a layer whose exponent is not smaller than that of a fresh one by two standard errors. These are
    (α − 1) / √(n / 2) of n eigenvalues, whose larger half is the tail. Over-trained is one whose exponent is below 2, where
    the law has no mean.

    Parameters
    ----------
    found : a row a layer: ``model``, ``layer``, ``matrix_rows``, ``matrix_columns``, ``alpha_hill`` and the columns of the
        family `spectra`.
    experts : adapters in all; `EXPERTS` a layer that has an exponent, if left out.
    """
    if "alpha_hill" not in found:
        return ()
    own = found[(found["model"] == 0) & found["matrix_rows"].notna()]
    if not len(own):
        return ()
    exponents = own["alpha_hill"].to_numpy(dtype=float)
    rates = balanced(exponents[None], _RATES)[0]
    sizes = (own["matrix_rows"] * own["matrix_columns"]).astype(int).tolist()
    shares = prunability.proportions(exponents[None], prunability.safe_tau(_SPARSITY))
    pruned = np.full(len(own), np.nan)
    if np.isfinite(shares).all():
        total = prunability.pruned_count(sum(sizes), _SPARSITY)
        pruned = prunability.allotted(sizes, shares, total)[0] / np.array(sizes)
    known = np.isfinite(exponents)
    allotted = np.full(len(own), np.nan)
    if known.any():
        allotted[known] = experts_of(exponents[known], EXPERTS * int(known.sum()) if experts is None else experts)
    rows: list[Any] = own.to_dict("records")
    return tuple(_layer(*one) for one in zip(rows, rates, pruned, allotted, strict=True))


def _layer(row: dict[str, Any], rate: float, pruned: float, experts: float) -> Layer:
    exponent, fresh = _number(row["alpha_hill"]), _number(row.get("alpha_hill_minus_fresh"))
    count = min(int(row["matrix_rows"]), int(row["matrix_columns"]))
    said: Any = None
    if exponent is not None and fresh is not None and count >= FEWEST:
        error = (exponent - 1) / np.sqrt(count / 2)
        said = "over" if exponent < 2 else "under" if fresh > -_APART * error else "well"
    return Layer(
        layer=str(row["layer"]),
        rows=int(row["matrix_rows"]),
        columns=int(row["matrix_columns"]),
        exponent=exponent,
        minus_fresh=fresh,
        trained=said,
        rate=None if exponent is None else float(rate),
        pruned=_number(pruned),
        experts=None if np.isnan(experts) else int(experts),
    )


def _number(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
