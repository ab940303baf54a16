"""Layer by layer: what spectra say of each, and what follows by the rules of two publications."""

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
#: By how many standard errors an exponent must differ from that of a fresh layer.
_APART: Final = 2.0


def layers_of(found: pd.DataFrame) -> tuple[Layer, ...]:
    """Return what follows for each layer of the first network.

    Under-trained is a layer whose exponent is not smaller than that of a fresh one by two standard errors. These are
    (α − 1) / √(n / 2) of n eigenvalues, whose larger half is the tail. Over-trained is one whose exponent is below 2, where
    the law has no mean.

    Parameters
    ----------
    found : a row a layer: ``model``, ``layer``, ``matrix_rows``, ``matrix_columns``, ``alpha_hill`` and the columns of the
        family `spectra`.
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
    rows: list[Any] = own.to_dict("records")
    return tuple(_layer(row, rate, part) for row, rate, part in zip(rows, rates, pruned, strict=True))


def _layer(row: dict[str, Any], rate: float, pruned: float) -> Layer:
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
    )


def _number(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
