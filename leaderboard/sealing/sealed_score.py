"""Answers to a sealed zoo, scored by whoever has its labels."""

import hashlib
from pathlib import Path

import numpy as np
from cryptography.fernet import Fernet, InvalidToken
from pydantic import BaseModel, ConfigDict, Field

from leaderboard.entry import (
    PUBLISHED,
    Sha256,
)
from leaderboard.sealing.answers import check_answers
from leaderboard.sealing.sealed import SEALED, Labels, Part
from mdbench.errors import MdbenchError, reason
from mdbench.scoring import mean_of, stats


class SealedScore(BaseModel):
    """What answers to a sealed zoo are worth, in %.

    Attributes
    ----------
    zoo, labels_sha256 : which zoo.
    tasks : what the means are over.
    above_chance, low, high : balanced accuracy above chance, as the board ranks by; its 95 % interval.
    accuracy : how many verdicts are right.
    by_task : task → accuracy, of all tasks that are answered.
    secret : what the questions followed from whose answers were scored; None where they were those that were sent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    zoo: str
    labels_sha256: Sha256
    tasks: tuple[str, ...]
    above_chance: float
    low: float
    high: float
    accuracy: float
    by_task: dict[str, float]
    secret: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")


def score(content: bytes, public: Path, labels: Path, key: Path, *, secret: str | None = None) -> SealedScore:
    """Score predictions on a sealed zoo.

    Parameters
    ----------
    content : the predictions, see `Answered`.
    public : the public part.
    labels, key : the other part.
    secret : what the questions followed from.

    Returns
    -------
    Scores over the rows that have a verdict; means over the three tasks of the paper, and of a method that does not answer
    all of these, over what it answers. A task that has one verdict only, but for a few rows, is in no mean.

    Raises
    ------
    MdbenchError
        A file cannot be read, or the parts do not belong together; of predictions `Refused`, see `check_answers`.
    """
    part = Part.read(public)
    truth = unlock(labels, key, part)
    exam = part.exam()
    cells = np.array(truth.cells)
    by_task, above = {}, {}
    for name, said in check_answers(content, exam).items():
        task = exam.posed[name].rows.task.name
        codes = truth.codes(task)
        known = codes >= 0
        right = (said[None, :, known] == codes[known]).astype(float)
        by_task[task] = float(100 * right.mean())
        means = stats.means_above_chance(
            right, codes[known], cells[known], int(cells.max()) + 1, zoo=part.sealed.name, several=True
        )
        if means is not None:
            above[task] = means
    if not above:
        raise MdbenchError(f"{part.sealed.name}: of no task that is answered do several verdicts occur")
    # Means over other tasks cannot be compared: whoever answers those of the paper is ranked by these.
    tasks = PUBLISHED if set(PUBLISHED) <= set(above) else tuple(above)
    mean = mean_of([above[task] for task in tasks])
    (interval,) = mean.intervals(high=100)
    return SealedScore(
        zoo=part.sealed.name,
        labels_sha256=part.sealed.labels_sha256,
        tasks=tasks,
        above_chance=float(mean.values[0]),
        low=interval.low,
        high=interval.high,
        accuracy=float(np.mean([by_task[task] for task in tasks])),
        by_task=by_task,
        secret=secret,
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
