"""Numbers that could not be measured, each with a reason."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mdbench.tables import Need

NOT_CLASSES = "the loss is not the cross-entropy of classes"
NO_TEST = "there are no test data"
NOT_KNOWN_WRONG = "nobody knows which labels are wrong"
ALONE = "there is one network, and no other to compare it with"
NOT_TOKENS = "the network does not say which token is next"
NO_SECRETS = "no secrets were planted among the training data"
NOT_FINITE = "outputs are not finite"

#: Why a column is missing, of what it needs.
WITHOUT: Final = {
    Need.CLASSES: NOT_CLASSES,
    Need.TEST: NO_TEST,
    Need.WRONG: NOT_KNOWN_WRONG,
    Need.SEEDS: ALONE,
    Need.TOKENS: NOT_TOKENS,
    Need.SECRETS: NO_SECRETS,
}


class Missing:
    """Why numbers are missing: of networks, or of groups.

    Attributes
    ----------
    size : how many there are.
    known : columns of which somebody has the numbers already: nobody need be told why they are missing here.
    """

    def __init__(self, size: int, known: Collection[str] = ()) -> None:
        self.size, self.known = size, frozenset(known)
        self._reasons: dict[int, dict[str, list[str]]] = {}

    def because(self, why: str, columns: Iterable[str], rows: Iterable[int] | None = None) -> None:
        """Say why some columns are missing: in some rows, or in all. What is said first stands."""
        columns = [column for column in columns if column not in self.known]
        for row in range(self.size) if rows is None else rows:
            said = {column for others in self._reasons.get(row, {}).values() for column in others}
            new = [column for column in columns if column not in said]
            if new:
                self._reasons.setdefault(row, {}).setdefault(why, []).extend(new)

    def fill(
        self, found: Mapping[str, ArrayLike], columns: Sequence[str], otherwise: str = NOT_FINITE
    ) -> dict[str, NDArray[np.float64]]:
        """Return all columns, float64 (size,) each: NaN where nothing was found, or nothing finite.

        Parameters
        ----------
        found : column → (size,).
        columns : all that there are to be.
        otherwise : why a number is missing where nothing else was said.
        """
        filled = {}
        for column in columns:
            values = np.array(found.get(column, np.full(self.size, np.nan)), dtype=np.float64)
            values[~np.isfinite(values)] = np.nan
            filled[column] = values
        for row in range(self.size):
            self.because(otherwise, [column for column in columns if np.isnan(filled[column][row])], [row])
        return filled

    @property
    def reasons(self) -> dict[int, str]:
        """Row → what is missing and why, in one line."""
        return {
            row: "; ".join(f"{', '.join(columns)}: {why}" for why, columns in said.items())
            for row, said in sorted(self._reasons.items())
        }
