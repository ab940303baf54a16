"""One entry in the place of another: allowed by a maintainer, by name, and taken back where it was not right."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from leaderboard.entry import Entry, resembling
from leaderboard.verifying.ledger import Ledger, Verdict
from mdbench.errors import MdbenchError


def check_leave(entry: Entry, known: Mapping[str, Entry], history: Ledger, allowed: Collection[str]) -> None:
    """Make sure that an entry which would take another's place, and was not accepted before, may do so.

    Anybody can write somebody's name among the authors: that it is there says nothing about who submitted.

    Parameters
    ----------
    entry : the new one.
    known, history : all entries, and what happened before.
    allowed : entries that a maintainer lets take the places that they ask for.

    Raises
    ------
    MdbenchError
        It is not among them.
    """
    old = entry.supersedes
    if old is None or entry.slug in allowed or history.state(entry.slug).accepted_on is not None:
        return
    whose = f" by {', '.join(known[old].authors)}" if old in known else ""
    raise MdbenchError(
        f"it would take the place of {old}{whose}, and was not recorded; where these are who submitted it: "
        f"--allow-supersede {entry.slug}"
    )


def places(entry: Entry, known: Mapping[str, Entry], history: Ledger, verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Yield who loses a place to whom, once an entry is accepted: old and new.

    Parameters
    ----------
    entry, verdict : the entry, and what verifying it came to.
    known, history : all entries, and what happened before.
    """
    if entry.supersedes is not None and verdict.outcome != "rejected":
        state = history.state(entry.supersedes)
        if state.accepted_on and state.status in ("on board", "rejected"):
            yield entry.supersedes, entry.slug
    if history.state(entry.slug).status != "superseded":
        for other in known.values():  # whichever of the two is accepted first
            if other.supersedes == entry.slug and history.state(other.slug).status == "on board":
                yield entry.slug, other.slug


def announced(slugs: Iterable[str], known: Mapping[str, Entry], history: Ledger) -> Iterator[str]:
    """Yield what a maintainer has to look at in new entries: whose place they ask for, and whose name theirs is close to."""
    for slug in slugs:
        entry = known.get(slug)
        if entry is None or len(history.state(slug).history) > 2:
            continue
        if entry.supersedes is not None:
            whose = f" by {', '.join(known[entry.supersedes].authors)}" if entry.supersedes in known else ""
            yield f"{slug} takes the place of {entry.supersedes}{whose}; is it submitted by them?"
        for other in resembling(entry, known):
            yield f"the name {entry.name!a} of {slug} is close to {other.name!a} of {other.slug}; is it another method?"


def displaced(history: Ledger, slug: str) -> str | None:
    """Return the entry that comes back once another is removed: the last in its line that was not; None where none does."""
    if history.state(slug).status not in ("on board", "rejected"):
        return None
    behind = slug
    while True:
        states = {slug: history.state(slug) for slug in {event.entry for event in history.events}}
        before = {slug: state.status for slug, state in states.items() if state.displaced_by == behind}
        if "superseded" in before.values():
            return next(slug for slug, status in before.items() if status == "superseded")
        behind = next((slug for slug, status in before.items() if status == "removed"), "")
        if not behind:
            return None
