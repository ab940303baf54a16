"""How often a sealed zoo was asked: every score says something about its labels, whatever became of the entry since."""

from collections import Counter
from collections.abc import Iterable, Mapping

from leaderboard.entry import Entry
from leaderboard.verifying.ledger import Event


def asked(events: Iterable[Event], known: Mapping[str, Entry], labels_sha256: str) -> tuple[int, Counter[str]]:
    """Count the scores on the labels of a sealed zoo: in all, and by author.

    Parameters
    ----------
    events : of the ledger. Entries that are superseded or removed by now count as any other.
    known : all entries.
    labels_sha256 : digest of the labels.
    """
    about = [event.entry for event in events if event.sealed and event.sealed.labels_sha256 == labels_sha256]
    return len(about), Counter(author for slug in about if slug in known for author in set(known[slug].authors))
