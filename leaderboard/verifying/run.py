"""What the maintainers' own run of a method said: the predictions that are scored, and what they are worth.

The predictions lie beside the ledger, each file under its digest, and the ledger names them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from leaderboard.entry import Refused, Sha256, Sheet
from mdbench import files
from mdbench.errors import MdbenchError, reason

#: The folder of the predictions, in that of the entries.
FOLDER: Final = ".runs"
#: Points that an honest method may lose where values move by a millionth, or order changes; and points that a method which
#: learns may be better than the best constant answer where the labels that it learns from are exchanged. Ten times what
#: any baseline has lost that is not drawn (tests/test_entries.py).
SUSPECT: Final = 5.0
#: Points beyond which it is no longer a matter of suspicion.
BEYOND: Final = 20.0


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Controls(_Strict):
    """How a method did on changed questions, one training sample of each case; mean accuracies over the cases, in %.

    Attributes
    ----------
    same : the questions as they are.
    permuted, moved, order : changed, see `mdbench.methods.trial.Control`.
    constant : the best constant answer to each case.
    """

    same: float
    permuted: float
    moved: float
    order: float
    constant: float

    def found(self, *, trained: bool, allowed: float = SUSPECT) -> tuple[str, ...]:
        """Say what of this an honest method would not do.

        Parameters
        ----------
        trained : whether the method learns anything.
        allowed : by how many points.
        """
        said = []
        if self.same - self.moved > allowed:
            said.append(f"moved by a millionth, values are worth {self.moved:.1f} % in place of {self.same:.1f} %")
        if trained and self.permuted - self.constant > allowed:
            said.append(f"after labels that say nothing it is right in {self.permuted:.1f} %")
        if self.same - self.order > allowed:
            said.append(f"in another order it is right in {self.order:.1f} % in place of {self.same:.1f} %")
        return tuple(said)


class Sure(_Strict):
    """How sure a method said it was, and whether that is deserved: means over its cases, see `mdbench.scoring.probability`.

    Attributes
    ----------
    log_loss, brier_score : in nats; from 0 to 2.
    calibration_error : in points.
    risk_coverage_area : mean error in % over all shares of the networks that are answered, the surest first.
    accuracy_at_half : in %, on the surer half.
    coverage_at_95 : largest share of the networks, in %, on which 95 % are right.
    """

    log_loss: float
    brier_score: float
    calibration_error: float
    risk_coverage_area: float
    accuracy_at_half: float
    coverage_at_95: float


class Run(_Strict):
    """The maintainers' run of an entry's method.

    Attributes
    ----------
    secret : what orders, halves and seeds followed from; drawn then.
    predictions : SHA-256 of the predictions of each run: one, or several of a method that does not repeat itself.
    scores : case → accuracy in %, mean over the runs.
    spread : points between the best run and the worst.
    as_sent : share of the predictions sent that were the same in the first run, in %.
    controls : the same method on changed questions.
    sure : what its probabilities are worth, in the first run; None of a method that gives none.
    """

    secret: str = Field(pattern=r"^[0-9a-f]{32}$")
    predictions: tuple[Sha256, ...] = Field(min_length=1, max_length=9)
    scores: dict[str, float]
    spread: float = 0.0
    as_sent: float
    controls: Controls
    sure: Sure | None = None


def keep(entries: Path, contents: Sequence[bytes]) -> None:
    """Write the predictions of runs, each whole or not at all; those that are there stay.

    Raises
    ------
    MdbenchError
        They cannot be written.
    """
    folder = entries / FOLDER
    for content in contents:
        path = folder / f"{hashlib.sha256(content).hexdigest()}.parquet"
        try:
            if not path.exists():
                folder.mkdir(exist_ok=True)
                files.replace({path: content})
        except OSError as error:
            raise MdbenchError(f"{path} cannot be written: {reason(error)}; nothing was recorded") from error


def read_runs(entries: Path, run: Run, sheet: Sheet, *, more: bool = False) -> list[Mapping[str, np.ndarray]]:
    """Return the predictions of each run, case → places in the task's classes.

    Parameters
    ----------
    entries, run : where, and which.
    sheet : what was answered.
    more : see `leaderboard.entry.Sheet.read`.

    Raises
    ------
    MdbenchError
        A file is missing, or is not what was written.
    """
    found: list[Mapping[str, np.ndarray]] = []
    for sha256 in run.predictions:
        path = entries / FOLDER / f"{sha256}.parquet"
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != sha256:
                raise MdbenchError(f"{path} is not what was written there (SHA-256 differs); bring back what was there")
            found.append(sheet.read(content, more=more))
        except (OSError, Refused) as error:
            raise MdbenchError(f"{path}, the predictions of a run, cannot be read: {error}; bring it back") from error
    return found
