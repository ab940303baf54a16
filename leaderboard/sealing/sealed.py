"""Sealed zoos: everybody can answer for their configurations, and nobody but the maintainers has the labels.

The public part of a sealed zoo is a folder: ``models.parquet``, one row a configuration, and ``sealed.json``, which says what
is asked. The labels are in ``labels.fernet``, which ``key`` opens. `leaderboard.sealing.seal` makes both.

What the public part leaves out, so that nobody can get the labels from it:

- Where a row stands. Its name is drawn at random, and rows are sorted by these names.
- What reveals a label. The columns are those that a method may see which uses the test table as a batch.
- The configuration family, which methods may use elsewhere. Data amount and parameter count tell a row's grid cell, and
  where a public zoo has the same grid, its labels in that cell would be an answer by heart.
- Decimals: a share of examples tells of how many it is one (`leaderboard.sealing.rounding`).
- Spreads over seeds. Mean and spread of two networks are the two networks, and one can be trained from a guessed seed.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype, is_string_dtype
from pydantic import BaseModel, ConfigDict, Field, model_validator

from leaderboard.entry import (
    Exam,
    Sha256,
    Slug,
    plain_json,
)
from mdbench.cases import Case, CaseRows, Rows, draw, taking_part
from mdbench.errors import MdbenchError, reason
from mdbench.scoring import Posed
from mdbench.tables import COLUMNS, TASKS, Family, Provenance, Zoo, find_task, find_zoo, load_zoo, read_table

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
    train, train_sha256 : the zoo whose labels are learned from, and its digest, see `mdbench.tables.Zoo.digest`.
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
            known = TASKS.get(task)
            moves = [move for verdict in verdicts for move in known.verdicts.get(verdict, ())] if known else ()
            here = known.among(moves) if known else None
            if here is None or verdicts != here.classes:
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
            said = plain_json.read((folder / SEALED).read_bytes())
            newer = said.get("format") if isinstance(said, dict) else None
            if isinstance(newer, int) and newer > FORMAT:
                raise MdbenchError(
                    f"{folder / SEALED}: format {newer} is newer than this mdbench knows ({FORMAT}); upgrade mdbench"
                )
            sealed = Sealed.model_validate(said)
        except (OSError, ValueError) as error:  # ValidationError among them
            raise MdbenchError(f"{folder / SEALED} cannot be read: {reason(error)}; fetch the folder anew") from error
        table = read_table(folder / MODELS, sealed.models_sha256, sealed.rows, described=SEALED)
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
        sealed, folder = self.sealed, find_zoo(self.sealed.train, of_case=True)
        known = load_zoo(folder, layers=False)
        if known.digest != sealed.train_sha256:
            raise MdbenchError(
                f"zoo {known.name} is not as it was when {sealed.name} was sealed; use mdbench {sealed.mdbench}"
            )
        provenance = Provenance(source=str(self.folder), license="", made_by="mdbench leaderboard seal")
        asked = Zoo(sealed.name, "without labels", self.models, (), provenance)
        posed = {}
        for case in sealed.cases:
            train = taking_part(known, known.tasks.get(case.task, find_task(case.task)))
            if train.task.classes != sealed.tasks[case.task]:
                raise MdbenchError(f"zoo {known.name} has other verdicts for {case.task} than {sealed.name}")
            test = Rows(self.models, train.task, np.zeros(len(self.models), dtype=np.int64), 1)
            rows = CaseRows(case, train, test, [draw(train, case, seed) for seed in case.seeds])
            posed[case.name] = Posed(rows, (known,), asked, (folder, self.folder))
        return Exam({sealed.name: tuple(posed)}, posed)
