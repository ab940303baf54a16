"""The board: entries in their places, as of a date."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from leaderboard.entry import Entry
from leaderboard.exam import Exam
from leaderboard.ledger import Event, Verdict
from mdbench.stats import Interval


@dataclass(frozen=True)
class CaseScore:
    """How an entry did on one case, in %."""

    accuracy: float
    interval: Interval
    balanced_accuracy: float


@dataclass(frozen=True)
class Row:
    """An entry on the board.

    Attributes
    ----------
    entry : what it says of itself.
    verdict : what became of verifying it last, and when (`verified_on`).
    scores : case → score, for the cases that it answers.
    predicted : case → places in the task's classes, int8, shape (seeds, test rows), test rows in the zoo's order.
    source : text of the method's file.
    requirements : text of its requirements; None where it has none.
    history : events of the ledger about it, oldest first.
    """

    entry: Entry
    verdict: Verdict
    verified_on: datetime
    scores: Mapping[str, CaseScore]
    predicted: Mapping[str, np.ndarray]
    source: str
    requirements: str | None
    history: Sequence[Event]


@dataclass(frozen=True)
class Place:
    """The place of an entry among those that answer every case of a view.

    Attributes
    ----------
    slug : the entry.
    accuracy : mean over the cases, in %, with its `interval`.
    average_rank : mean over the cases of the rank among these entries; 1 is best, equal accuracies share the mean rank.
    place : 1 + the number of entries that are better and can be told apart from it.
    groups : letters of the groups of entries that cannot be told apart, parted by spaces; two that share a letter cannot.
    first_over_rows, first_over_cases : share of random halves of the test cells, and of the cases, in which it is first.
    """

    slug: str
    accuracy: float
    interval: Interval
    average_rank: float
    place: int
    groups: str
    first_over_rows: float
    first_over_cases: float


@dataclass(frozen=True)
class View:
    """A ranking over some of the cases.

    Attributes
    ----------
    selection : selection of cases.
    task, scenario : what is looked at; ``all``, and for tasks also ``published``: the three of the paper.
    cases : names of its cases.
    places : best first; entries that do not answer all of them have no place.
    """

    selection: str
    task: str
    scenario: str
    cases: tuple[str, ...]
    places: tuple[Place, ...]


@dataclass(frozen=True)
class SealedPlace:
    """An entry on a sealed zoo: mean accuracy over the tasks, in %."""

    slug: str
    accuracy: float
    interval: Interval
    by_task: Mapping[str, float]


@dataclass(frozen=True)
class SealedBoard:
    """The ranking on one sealed zoo, apart from the public ones."""

    name: str
    places: tuple[SealedPlace, ...]


@dataclass(frozen=True)
class Board:
    """Everything that the pages show.

    Attributes
    ----------
    as_of : the date that it shows.
    exam : the cases.
    rows : slug → entry, for the entries on the board: accepted, not superseded, removed or rejected.
    views : rankings, the headline (selection core, task published, scenario all) first.
    sealed : rankings on sealed zoos.
    events : the whole ledger up to the date, oldest first.
    entries : slug → entry of every entry that the ledger speaks of, those no longer on the board included.
    """

    as_of: datetime
    exam: Exam
    rows: Mapping[str, Row]
    views: Sequence[View]
    sealed: Sequence[SealedBoard]
    events: Sequence[Event]
    entries: Mapping[str, Entry]
