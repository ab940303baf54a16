"""Sealed zoos: everybody can answer for their configurations, and nobody but the maintainers has the labels.

The public part of a sealed zoo is a folder: ``models.parquet``, one row a configuration, and ``sealed.json``, which says what
is asked. The labels are in ``labels.fernet``, which ``key`` opens. `leaderboard.seal` makes both.

What the public part leaves out, so that nobody can get the labels from it:

- Where a row stands. Its name is drawn at random, and rows are sorted by these names.
- What reveals a label. The columns are those that a method may see which uses the test table as a batch.
- The configuration family, which methods may use elsewhere. Data amount and parameter count tell a row's grid cell, and
  where a public zoo has the same grid, its labels in that cell would be an answer by heart.
- Spreads over seeds. Mean and spread of two networks are the two networks, and one can be trained from a guessed seed.
"""

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import pandas as pd
from cryptography.fernet import Fernet, InvalidToken
from pandas.api.types import is_numeric_dtype, is_string_dtype
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from leaderboard.entry import PREDICTION_COLUMNS, Sha256, Slug, sealed_file
from leaderboard.exam import PUBLISHED, Exam
from leaderboard.ledger import SealedScore
from leaderboard.refused import Refused
from leaderboard.sheet import TEXTS, Sheet, read_table
from mdbench import stats, zoo
from mdbench.cases import Case
from mdbench.errors import MdbenchError, reason
from mdbench.evaluation import Posed, Progress
from mdbench.method import Method, MethodError
from mdbench.nursery import CORES, TIMEOUT
from mdbench.schema import COLUMNS, Family
from mdbench.splits import CaseRows, Rows, draw, taking_part
from mdbench.tasks import TASKS, find_task
from mdbench.trial import given_columns
from mdbench.workers import Here, Order, Runner

FORMAT: Final = 1
SEALED: Final = "sealed.json"
MODELS: Final = "models.parquet"
#: What stands in the labels for a row without a verdict.
UNDECIDED: Final = "-"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sealed(_Strict):
    """What is asked of a sealed zoo, ``sealed.json``.

    Attributes
    ----------
    name : the sealed zoo.
    mdbench : version that sealed it.
    train, train_sha256 : the zoo whose labels are learned from, and its digest, see `mdbench.zoo.Zoo.digest`.
    tasks : task → its verdicts.
    knobs, budget, seeds : how the training rows are drawn, see `mdbench.cases.Case`.
    rows : configurations of the sealed zoo.
    models_sha256 : digest of ``models.parquet``.
    labels_sha256 : digest of the labels with a random number: they cannot be changed later, nor be found by trying.
    """

    format: Literal[1] = FORMAT
    name: Slug
    mdbench: str = Field(max_length=40)
    train: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)
    train_sha256: Sha256
    tasks: dict[str, tuple[str, ...]] = Field(min_length=1)
    knobs: tuple[str, ...] = Field(min_length=1)
    budget: int = Field(ge=1)
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = Field(min_length=1, max_length=100)
    rows: int = Field(ge=1, le=1_000_000)
    models_sha256: Sha256
    labels_sha256: Sha256

    @model_validator(mode="after")
    def _check(self) -> "Sealed":
        for task, verdicts in self.tasks.items():
            if task not in TASKS or verdicts != TASKS[task].classes:
                raise ValueError(f"tasks: {task!r} with these verdicts is none of this mdbench")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: one stands there twice")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of all of it but the digest of the labels, which hold this one."""
        return hashlib.sha256(self.model_dump_json(exclude={"labels_sha256"}).encode()).hexdigest()

    @property
    def cases(self) -> list[Case]:
        """One case for every task."""
        return [
            Case(
                name=f"{self.name}/{task}/sealed/{self.budget}",
                sweep=f"{self.name}/{task}/sealed",
                task=task,
                train=self.train,
                test=self.name,
                scenario="sealed",
                about=f"BUDGET random cells, {' × '.join(self.knobs)}, to be tested where nobody has the labels",
                sample="cells",
                knobs=self.knobs,
                budget=self.budget,
                seeds=self.seeds,
            )
            for task in self.tasks
        ]


class Labels(_Strict):
    """The labels of a sealed zoo. Their length does not depend on what they say: encryption does not hide it.

    Attributes
    ----------
    salt : a random number.
    public_sha256 : `Sealed.digest` of the public part that they belong to.
    cells : the grid cell of each row of ``models.parquet``, numbered from 0.
    verdicts : task → one sign a row: the place of its label among the task's verdicts, or `UNDECIDED`.
    """

    salt: str
    public_sha256: Sha256
    cells: tuple[int, ...]
    verdicts: dict[str, str]

    def codes(self, task: str) -> np.ndarray:
        """Return the labels as places in ``task.classes``, −1 for rows without a verdict; shape (rows,), int8."""
        return np.array([-1 if sign == UNDECIDED else int(sign) for sign in self.verdicts[task]], dtype=np.int8)


def is_public(column: str) -> bool:
    """Tell whether a column of a zoo stands in the public part of a sealed one."""
    known = COLUMNS[column]
    measured = known.family in (Family.VALIDATION, Family.LANDSCAPE)
    return measured and not known.reveals_label and not column.endswith("_std")


@dataclass(frozen=True, eq=False)
class Part:
    """The public part of a sealed zoo.

    Attributes
    ----------
    folder : where it is.
    sealed : what is asked.
    models : one row a configuration, indexed by its name.
    """

    folder: Path
    sealed: Sealed
    models: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> "Part":
        """Read and check the public part of a sealed zoo.

        Raises
        ------
        MdbenchError
            It is not there, damaged, or holds what has no place in it.
        """
        try:
            sealed = Sealed.model_validate_json((folder / SEALED).read_bytes())
        except (OSError, ValidationError) as error:
            raise MdbenchError(f"{folder / SEALED} cannot be read: {reason(error)}; fetch the folder anew") from error
        table = zoo.read_table(folder / MODELS, sealed.models_sha256, sealed.rows, described=SEALED)
        for name in map(str, table):
            if name != "configuration" and not (is_public(name) and is_numeric_dtype(table[name])):
                raise MdbenchError(
                    f"{folder / MODELS}: column {name!r} has no place in the public part of a sealed zoo"
                )
        named = "configuration" in table and is_string_dtype(table["configuration"])
        if not named or not table["configuration"].is_unique:
            raise MdbenchError(f"{folder / MODELS}: its rows are not named in column 'configuration', each differently")
        return cls(folder, sealed, table.set_index("configuration"))

    def exam(self) -> Exam:
        """Pose the cases; the rows to diagnose have no labels.

        Raises
        ------
        MdbenchError
            The zoo to learn from is not on this machine, or is not as it was.
        """
        sealed, folder = self.sealed, zoo.find_zoo(self.sealed.train, of_case=True)
        known = zoo.load_zoo(folder, layers=False)
        if known.digest != sealed.train_sha256:
            raise MdbenchError(
                f"zoo {known.name} is not as it was when {sealed.name} was sealed; use mdbench {sealed.mdbench}"
            )
        provenance = zoo.Provenance(source=str(self.folder), license="", made_by="mdbench leaderboard seal")
        asked = zoo.Zoo(sealed.name, "without labels", self.models, (), provenance)
        posed = {}
        for case in sealed.cases:
            train = taking_part(known, find_task(case.task))
            test = Rows(self.models, train.task, np.zeros(len(self.models), dtype=np.int64), 1)
            rows = CaseRows(case, train, test, [draw(train, case, seed) for seed in case.seeds])
            posed[case.name] = Posed(rows, known, asked, (folder, self.folder))
        return Exam({sealed.name: tuple(posed)}, posed)


@dataclass(frozen=True)
class Answered:
    """What a method said of a sealed zoo.

    Attributes
    ----------
    sealed : what was asked.
    content : the predictions, as the file that an entry has, see `leaderboard.entry.sealed_file`; None where there are none.
    left_out : task → why the method does not answer it.
    """

    sealed: Sealed
    content: bytes | None
    left_out: Mapping[str, str]


def answer(
    method_file: Path,
    public: Path,
    *,
    workers: int = CORES,
    timeout: float = TIMEOUT,
    sandbox: bool = True,
    progress: Progress | None = None,
) -> Answered:
    """Ask a method about a sealed zoo.

    Parameters
    ----------
    method_file : the method.
    public : the public part.
    workers, timeout : sandboxes at a time, and seconds that the method may take for one case.
    sandbox : whether the method is isolated. Otherwise it runs in this process, without a time limit.
    progress : called with the number of answers there and wanted.

    Raises
    ------
    MdbenchError
        The method cannot be loaded, or fails where it answers; the public part is damaged, or the zoo to learn from is not
        there.
    """
    part = Part.read(public)
    exam = part.exam()
    predicted, left_out, orders = {}, {}, []
    with _runner(workers, timeout, sandbox=sandbox) as runner:
        ((_, method),) = runner.load([method_file.resolve()])
        if isinstance(method, MethodError):
            raise method
        for one in exam.posed.values():
            why = _cannot(method, one.rows)
            if why is None:
                orders.append(Order(method, one.rows, *one.folders))
            else:
                left_out[one.rows.task.name] = why
        for order, said in runner.ask(orders):
            name = order.rows.case.name
            if isinstance(said, MethodError):
                raise MethodError(f"{method.name} fails on {name}: {said}", said.traceback)
            predicted[name] = said.predicted
            if progress:
                progress(len(predicted), len(orders))
    cases = tuple(name for name in exam.posed if name in predicted)
    return Answered(part.sealed, Sheet(exam, cases).write(predicted) if cases else None, left_out)


def _runner(workers: int, timeout: float, *, sandbox: bool) -> AbstractContextManager[Runner]:
    if not sandbox:
        return nullcontext(Here())
    from mdbench.sandbox import Sandbox

    return Sandbox(workers, timeout)


def _cannot(method: Method, rows: CaseRows) -> str | None:
    """Return why a method does not answer a case; None where it does."""
    if not method.answers(rows.task.name):
        return "it is not made for this task"
    try:
        given_columns(method, rows)
    except MethodError as error:
        return str(error)
    return None


def check_answers(content: bytes, exam: Exam) -> dict[str, np.ndarray]:
    """Read predictions on a sealed zoo, which may come from anywhere.

    Parameters
    ----------
    content : a file, see `Answered`.
    exam : the cases, see `Part.exam`.

    Returns
    -------
    case → places in the task's classes, int8, shape (seeds, rows), for the tasks that are answered.

    Raises
    ------
    Refused
        They are not one verdict for every seed and row of one task or several.
    """
    file, every = sealed_file(*exam.selections), Sheet(exam, tuple(exam.posed))
    table = read_table(content, file, PREDICTION_COLUMNS, TEXTS, most=2 * every.size)
    named = {text for chunk in table["case"].chunks for text in chunk.dictionary.to_pylist()}
    cases = tuple(name for name in exam.posed if name in named)
    if not cases:
        raise Refused("missing row", f"{file} answers none of {', '.join(exam.posed)}")
    return Sheet(exam, cases, file).read(content)


def score(content: bytes, public: Path, labels: Path, key: Path) -> SealedScore:
    """Score predictions on a sealed zoo.

    Parameters
    ----------
    content : the predictions, see `Answered`.
    public : the public part.
    labels, key : the other part.

    Returns
    -------
    Accuracy over the rows that have a verdict, and the mean, with its interval, over the three tasks of the paper; of a
    method that does not answer all of these, over what it answers.

    Raises
    ------
    MdbenchError
        A file cannot be read, or the parts do not belong together; of predictions `Refused`, see `check_answers`.
    """
    part = Part.read(public)
    truth = unlock(labels, key, part)
    exam = part.exam()
    cells = np.array(truth.cells)
    pairs = {}
    for name, said in check_answers(content, exam).items():
        task = exam.posed[name].rows.task.name
        codes = truth.codes(task)
        known = codes >= 0
        right = (said[:, known] == codes[known]).astype(float)
        pairs[task] = stats.Pair(right, cells[known], int(cells.max()) + 1, part.sealed.name)
    # Means over other tasks cannot be compared: whoever answers those of the paper is ranked by these.
    tasks = PUBLISHED if set(PUBLISHED) <= set(pairs) else tuple(pairs)
    # As the difference from a method that is never right: all tasks then share the draws of cells and of training samples.
    mean = stats.paired_difference([pairs[task] for task in tasks])
    return SealedScore(
        zoo=part.sealed.name,
        labels_sha256=part.sealed.labels_sha256,
        tasks=tasks,
        accuracy=mean.estimate,
        low=mean.interval.low,
        high=mean.interval.high,
        by_task={task: float(100 * pair.gain.mean()) for task, pair in pairs.items()},
    )


def unlock(labels: Path, key: Path, part: Part) -> Labels:
    """Return the labels of a sealed zoo.

    Raises
    ------
    MdbenchError
        The key does not open them, or they are not those that the public part was published with.
    """
    try:
        content = Fernet(key.read_bytes().strip()).decrypt(labels.read_bytes())
    except OSError as error:
        raise MdbenchError(f"{error.filename} cannot be read: {reason(error)}") from error
    except (InvalidToken, ValueError) as error:
        raise MdbenchError(
            f"{key} does not open {labels}: it is the key of other labels, or one of the two is damaged"
        ) from error
    if hashlib.sha256(content).hexdigest() != part.sealed.labels_sha256:
        raise MdbenchError(
            f"{labels} does not hold the labels that {part.folder / SEALED} was published with: they are of another zoo, or "
            "one of the two has been changed since"
        )
    found = Labels.model_validate_json(content)
    if found.public_sha256 != part.sealed.digest:
        raise MdbenchError(f"{part.folder} is not the public part that {labels} was sealed with; fetch it anew")
    return found
