"""What an evaluation leaves behind: ``result.json`` and ``predictions.parquet``.

The JSON is typed and versioned: a file of an older format stays readable. Its JSON Schema is ``docs/result.schema.json``,
written by ``python -m mdbench.scoring.results``.
"""

import json
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from mdbench import files
from mdbench.cases import Case
from mdbench.errors import MdbenchError
from mdbench.revision import git_revision
from mdbench.scoring.mistakes import confusion, mistakes
from mdbench.scoring.student import LEVEL
from mdbench.version import __version__, package_versions

FORMAT: Final = 3
RESULT: Final = "result.json"
PREDICTIONS: Final = "predictions.parquet"
PREDICTION_COLUMNS: Final = ("method", "case", "seed", "row", "predicted", "true")
#: Begins the name of a verdict's column of probabilities, which is there where some method gave any.
PROBABILITY: Final = "p_"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Environment(_Strict):
    """Where and with what a result was made."""

    mdbench: str
    python: str
    platform: str
    packages: dict[str, str]
    revision: str | None = Field(description="git revision of the working folder; + marks uncommitted changes")

    @classmethod
    def here(cls) -> "Environment":
        """Describe this process."""
        return cls(
            mdbench=__version__,
            python=platform.python_version(),
            platform=platform.platform(),
            packages=package_versions(),
            revision=git_revision(Path.cwd()),
        )


class ZooRecord(_Strict):
    """A zoo that was used."""

    name: str
    rows: int
    sha256: str = Field(description="digest of its table, see Zoo.digest")


class SplitRecord(_Strict):
    """One seed's split of a case."""

    seed: int
    train_rows: int
    sha256: str = Field(description="digest of the sorted identifiers of training and test rows, see CaseRows.digest")


class CaseRecord(_Strict):
    """A case that was asked."""

    case: Case
    classes: tuple[str, ...]
    test_rows: int
    test_cells: int
    splits: tuple[SplitRecord, ...]
    counted: tuple[str, ...] = Field(
        (), description="verdicts that balanced accuracy is over: those that no fewer than 5 % of the test rows have"
    )

    @property
    def rare(self) -> tuple[str, ...]:
        """The verdicts that balanced accuracy is not over."""
        return tuple(verdict for verdict in self.classes if self.counted and verdict not in self.counted)


class MethodRecord(_Strict):
    """A method that was asked."""

    name: str
    file: str | None
    source_sha256: str | None
    track: Literal["inductive", "transductive"]
    zero_shot: bool


class IntervalRecord(_Strict):
    """A 95 % interval, in %."""

    low: float
    high: float


class BinRecord(_Strict):
    """Answers whose confidence is in (low, high]; in %."""

    low: float
    high: float
    answers: int = Field(description="over all seeds")
    confidence: float
    accuracy: float


class ProbabilityRecord(_Strict):
    """What a method's probabilities are worth; see `mdbench.scoring.probability`. Confidence is that of the verdict said."""

    log_loss: float = Field(description="in nats; probabilities below 2.2e-16 count as that, as in scikit-learn")
    log_loss_interval: IntervalRecord = Field(description="in nats; as of the accuracy")
    brier_score: float = Field(description="sum over verdicts of squared differences, from 0 to 2")
    brier_score_interval: IntervalRecord = Field(description="as of the accuracy")
    calibration_error: float | None = Field(
        description="expected calibration error over `bins`, in points; null where nothing was answered"
    )
    bins: tuple[BinRecord, ...] = Field(description="ten of equal width, all seeds together; empty ones are left out")
    risk_coverage_area: float = Field(
        description="mean over all coverages of the error in % among the surest networks (AURC); 0 is best"
    )
    accuracy_at_half: float = Field(description="accuracy on the surer half of the networks, in %")
    coverage_at_95: float = Field(description="largest share of networks, in %, on which the accuracy is at least 95 %")
    accuracy_by_coverage: tuple[float, ...] = Field(
        description="accuracy in % on the surest 5, 10, …, 100 % of the networks; equally sure ones in random order"
    )


class Score(_Strict):
    """How one method did on one case. Accuracies are in %, times in seconds."""

    method: str
    case: str
    accuracy: float = Field(description="mean over the case's seeds; an abstention is not right")
    accuracy_std: float = Field(description="sample standard deviation over seeds; 0 where there is one seed")
    accuracy_interval: IntervalRecord = Field(
        description="Student's, over training samples; where these change nothing, over the test zoo's grid cells"
    )
    balanced_accuracy: float = Field(description="mean recall of the verdicts that are not rare, see CaseRecord")
    balanced_accuracy_interval: IntervalRecord
    above_chance: float | None = Field(
        None,
        description="balanced accuracy where saying one verdict always is 0 and perfect 100; null where all rows but a few "
        "have one verdict",
    )
    above_chance_interval: IntervalRecord | None = Field(None, description="that of the balanced accuracy, so rescaled")
    rank: int = Field(
        description="1 = best balanced accuracy among the methods of this result; equal ones share a rank"
    )
    accuracy_by_seed: tuple[float, ...]
    balanced_accuracy_by_seed: tuple[float, ...]
    fit_seconds: tuple[float, ...] = Field(description="one a seed; seeds with the same training rows share one run")
    predict_seconds: tuple[float, ...]
    columns: tuple[str, ...]
    families: tuple[str, ...]
    coverage: float = Field(100.0, description="share of the answers that are no abstentions, in %")
    accuracy_answered: float | None = Field(
        None, description="accuracy among those; null where nothing was answered, or in a result of format 1"
    )
    probability: ProbabilityRecord | None = Field(None, description="null where the method gives no probabilities")


class Failure(_Strict):
    """Something that could not be scored."""

    method: str | None = Field(description="null where the case itself could not be posed")
    case: str | None = Field(description="null where the method could not be loaded")
    reason: str
    traceback: str = ""


class Bootstrap(_Strict):
    """How intervals were made before format 3."""

    resamples: int
    level: float
    seed: int


class Result(_Strict):
    """The outcome of an evaluation: methods × cases."""

    format: int = FORMAT
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))
    seconds: float
    environment: Environment
    level: float = Field(LEVEL, description="share of intervals that are to hold what they are about")
    bootstrap: Bootstrap | None = Field(None, description="null from format 3 on: intervals are Student's")
    zoos: tuple[ZooRecord, ...]
    cases: tuple[CaseRecord, ...]
    methods: tuple[MethodRecord, ...]
    scores: tuple[Score, ...]
    failures: tuple[Failure, ...]
    peak_memory: int | None = Field(
        None, description="bytes that all processes held together at most; null where nobody looked (--json)"
    )
    #: Makes the table of predictions: millions of rows, that few ask for.
    _predictions: Callable[[], pa.Table] | None = PrivateAttr(default=None)

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failures" if self.failures else ""
        return f"<Result: {len(self.methods)} methods, {len(self.cases)} cases, {len(self.scores)} scores{failed}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """Return the scores as a table, for notebooks."""
        shown = self.to_frame().dropna(axis="columns", how="all")
        html: str = shown.to_html(index=False, float_format="{:.2f}".format)
        return html

    @property
    def predictions(self) -> pd.DataFrame:
        """One row a method, case, seed and test row: ``method, case, seed, row, predicted, true``.

        An abstention is null. Where a method gave probabilities, there is a column for every verdict, ``p_VERDICT``, null
        where the method gives none or the task has no such verdict.

        Raises
        ------
        MdbenchError
            The result was read without its predictions, or they cannot be read.
        """
        predictions: pd.DataFrame = self._table().to_pandas()
        return predictions

    def _table(self) -> pa.Table:
        if self._predictions is None:
            raise MdbenchError(f"this result has no predictions; {PREDICTIONS} was not beside {RESULT}")
        try:
            return self._predictions()
        except (OSError, pa.ArrowException) as error:
            raise MdbenchError(f"the predictions cannot be read: {error}") from error

    def score(self, method: str, case: str) -> Score | None:
        """Return the score of a method on a case; None where there is none."""
        return next((s for s in self.scores if s.method == method and s.case == case), None)

    def to_frame(self) -> pd.DataFrame:
        """Return the scores as a table: one row a method and case; NaN where a method gives no probabilities."""
        rows = [
            {
                "case": s.case,
                "method": s.method,
                "accuracy": s.accuracy,
                "accuracy_std": s.accuracy_std,
                "low": s.accuracy_interval.low,
                "high": s.accuracy_interval.high,
                "balanced_accuracy": s.balanced_accuracy,
                "above_chance": s.above_chance,
                "rank": s.rank,
                "coverage": s.coverage,
                "log_loss": s.probability and s.probability.log_loss,
                "brier_score": s.probability and s.probability.brier_score,
                "calibration_error": s.probability and s.probability.calibration_error,
                "risk_coverage_area": s.probability and s.probability.risk_coverage_area,
                "accuracy_at_half": s.probability and s.probability.accuracy_at_half,
                "coverage_at_95": s.probability and s.probability.coverage_at_95,
            }
            for s in self.scores
        ]
        frame = pd.DataFrame(rows)
        numbers = frame.columns.difference(["case", "method"], sort=False)
        return frame.astype({name: float for name in numbers if name != "rank"})

    def confusion(self) -> pd.DataFrame:
        """Return how often each verdict was said where each was true; see `mdbench.scoring.mistakes.confusion`.

        Raises
        ------
        MdbenchError
            There are no predictions.
        """
        return confusion(self.predictions)

    def mistakes(self) -> pd.DataFrame:
        """Return the networks that methods were wrong about, the surest first; see `mdbench.scoring.mistakes.mistakes`.

        Raises
        ------
        MdbenchError
            There are no predictions.
        """
        return mistakes(self.predictions)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``result.json`` and ``predictions.parquet`` into a folder, which is made where it is missing.

        Both are written beside their names and then renamed, the JSON last: a reader never sees half a file, and where there
        is no room for both, what was there stays.

        Raises
        ------
        MdbenchError
            The folder cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            said = pa.BufferOutputStream()
            pq.write_table(self._table(), said)
            text = self.model_dump_json(indent=2) + "\n"
            files.replace({folder / PREDICTIONS: said.getvalue(), folder / RESULT: text.encode()})
        except OSError as error:
            raise MdbenchError(f"cannot write the result to {folder}: {error.strerror or error}") from error


def load_result(folder: str | os.PathLike[str]) -> Result:
    """Read a result that was saved.

    Parameters
    ----------
    folder : where `Result.save`, or ``mdbench evaluate --out``, wrote it.

    Raises
    ------
    MdbenchError
        The files are not there, damaged, or of a newer format.
    """
    path = Path(folder, RESULT)
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, dict) and isinstance(content.get("format"), int) and content["format"] > FORMAT:
            raise MdbenchError(
                f"{path}: format {content['format']} is newer than this mdbench knows ({FORMAT}); upgrade it"
            )
        result = Result.model_validate_json(path.read_bytes())
        predictions = Path(folder, PREDICTIONS)
        if predictions.is_file():
            result._predictions = partial(pq.read_table, predictions)
    except OSError as error:
        raise MdbenchError(f"{path}: {error.strerror or error}") from error
    except ValidationError as error:
        detail = error.errors()[0]
        raise MdbenchError(f"{path}: {'.'.join(map(str, detail['loc']))}: {detail['msg']}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MdbenchError(f"{folder} holds no readable result: {error}") from error
    return result


def json_schema() -> str:
    """Return the JSON Schema of ``result.json``."""
    return json.dumps(Result.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())
