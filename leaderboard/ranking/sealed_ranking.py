"""Rankings on sealed zoos, apart from the public ones, and how often each zoo was asked."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from leaderboard.entry import Entry
from leaderboard.verifying import Ledger, asked
from mdbench.scoring import Interval


@dataclass(frozen=True)
class SealedPlace:
    """An entry on a sealed zoo.

    Attributes
    ----------
    slug : the entry.
    above_chance, interval : mean of what it has above chance over the tasks of its ranking, in %.
    accuracy : mean accuracy over these, in %.
    by_task : task → accuracy of all it answers.
    displaced_by : the entry that superseded it; None of one on the board.
    """

    slug: str
    above_chance: float
    interval: Interval
    accuracy: float
    by_task: Mapping[str, float]
    displaced_by: str | None = None


@dataclass(frozen=True)
class SealedBoard:
    """A ranking on a sealed zoo: of the entries whose mean is over the same tasks.

    Attributes
    ----------
    name : the zoo.
    tasks : what the mean is over.
    places : best first. What was superseded keeps its row: it shows how often its authors asked.
    asked : scores on the zoo's labels, of this ranking and the others, whatever became of the entries.
    by_author : author → those of these scores that are of entries of theirs, the most first.
    """

    name: str
    tasks: tuple[str, ...]
    places: tuple[SealedPlace, ...]
    asked: int = 0
    by_author: Mapping[str, int] = field(default_factory=dict)

    @property
    def ranks(self) -> tuple[int, ...]:
        """1 + the number of entries that have more above chance, for each place."""
        return tuple(1 + sum(other.above_chance > place.above_chance for other in self.places) for place in self.places)


def sealed_rankings(ledger: Ledger, listed: Collection[str], known: Mapping[str, Entry]) -> list[SealedBoard]:
    """Return the rankings on each sealed zoo: one for those whose mean is over the same tasks, and for the same labels.

    Parameters
    ----------
    ledger : what happened.
    listed : entries on the board; superseded ones stand beside them, removed and rejected ones do not.
    known : slug → entry.
    """
    states = {slug: ledger.state(slug) for slug in known}
    shown = {slug for slug, state in states.items() if slug in listed or state.status == "superseded"}
    # The last score of an entry is the one that counts.
    last = {
        (event.sealed.zoo, event.sealed.labels_sha256, event.entry): event.sealed
        for event in ledger.events
        if event.sealed and event.entry in shown
    }
    rankings: dict[tuple[str, str, tuple[str, ...]], list[SealedPlace]] = {}
    for (zoo, labels, slug), score in last.items():
        by = states[slug].displaced_by if states[slug].status == "superseded" else None
        interval = Interval(score.low, score.high)
        place = SealedPlace(slug, score.above_chance, interval, score.accuracy, score.by_task, by)
        rankings.setdefault((zoo, labels, score.tasks), []).append(place)
    labels_of = {zoo: {labels for name, labels, _ in rankings if name == zoo} for zoo, *_ in rankings}
    counts = {labels: asked(ledger.events, known, labels) for _, labels, _ in rankings}
    return [
        SealedBoard(
            zoo if len(labels_of[zoo]) == 1 else f"{zoo} ({labels[:8]})",
            tasks,
            tuple(sorted(places, key=lambda place: (-place.above_chance, place.slug))),
            counts[labels][0],
            dict(sorted(counts[labels][1].items(), key=lambda one: (-one[1], one[0]))),
        )
        for (zoo, labels, tasks), places in sorted(
            rankings.items(), key=lambda one: (one[0][:2], -len(one[0][2]), one[0])
        )
    ]
