"""How often a sealed zoo was asked, counted by author and in all."""

import numpy as np
from boards import fake_entry

from leaderboard.sealing.sealed_score import SealedScore
from leaderboard.verifying import ledger, queries
from leaderboard.verifying.ledger import Ledger

LABELS, OTHERS = "1" * 64, "2" * 64
ABOUT = {"entry_sha256": "a" * 64, "reason": "for a test", "mdbench": "0.1.0", "dataset": "d" * 64}


def ask(path, slug, labels):
    score = SealedScore(
        zoo="winter",
        labels_sha256=labels,
        tasks=("optimizer",),
        above_chance=0,
        low=-20,
        high=20,
        accuracy=50,
        by_task={"optimizer": 50},
    )
    ledger.append(path, kind="sealed", entry=slug, sealed=score, **ABOUT)


def test_queries_are_counted_by_author_and_in_all_whatever_became_of_the_entry(tmp_path):
    path = tmp_path / "ledger.jsonl"
    authors = {"one": ("Ada", "Grace"), "two": ("Ada", "Ada"), "three": ("Emmy",)}
    known = {slug: fake_entry(slug, authors=names) for slug, names in authors.items()}
    for slug in known:
        ledger.append(path, kind="accepted", entry=slug, scores={"a": 50.0}, **ABOUT)
    drawn = np.random.default_rng(0).choice(list(known), 12)
    for slug in drawn:
        ask(path, str(slug), LABELS)
    ask(path, "three", OTHERS)
    ledger.append(path, kind="superseded", entry="one", by="two", **ABOUT)
    ledger.append(path, kind="removed", entry="two", **ABOUT)
    times = {slug: int((drawn == slug).sum()) for slug in known}
    in_all, by_author = queries.asked(Ledger.read(path).events, known, LABELS)
    assert in_all == 12
    assert by_author == {"Ada": times["one"] + times["two"], "Grace": times["one"], "Emmy": times["three"]}
    assert queries.asked(Ledger.read(path).events, known, OTHERS) == (1, {"Emmy": 1})
    assert queries.asked((), known, LABELS) == (0, {})
