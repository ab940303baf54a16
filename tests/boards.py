"""Boards without submissions: entries whose answers are drawn, and whose places follow from their accuracies alone."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np

from leaderboard.entry.entry import Dataset, Entry, File, MethodFile, Timings, slug_of
from leaderboard.entry.exam import Exam
from leaderboard.ranking.board import Board, Row
from leaderboard.ranking.places import COMPARED, CaseScore, Place, View
from leaderboard.ranking.sealed_ranking import SealedBoard, SealedPlace
from leaderboard.sealing.sealed_score import SealedScore
from leaderboard.verifying.head import NOTHING, Head
from leaderboard.verifying.ledger import Event, Verdict
from leaderboard.verifying.run import Controls, Run, Sure
from mdbench.cases.cases import load_cases
from mdbench.scoring.results import Environment
from mdbench.scoring.student import Interval
from mdbench.tables.tasks import TASKS

NAMES = (
    *("md_tree_exact", "xgboost", "logistic_regression", "md_tree", "random_forest", "nearest_neighbours"),
    *("landscape_tree", "md_tree_quantile", "majority", "hyperparameter_tree", "validation_tree"),
    *("hyperparameter_validation_tree", "random", "barrier_rule"),
)
PUBLISHED = ("optimizer", "width_vs_optimizer", "data_vs_optimizer")
DATE = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
SOURCE = '''"""A tree of depth {depth}."""

from sklearn.tree import DecisionTreeClassifier


class Method:
    columns = ["train_error", "log_hessian_trace", "output_cka"]

    def fit(self, rows, labels, task):
        self.tree = DecisionTreeClassifier(max_depth={depth}, random_state=0).fit(rows, labels)

    def predict(self, rows):
        return self.tree.predict(rows)  # one verdict a row
'''
_DIGEST = "0123456789abcdef" * 4
_FAMILIES = {"md": ("landscape",), "hy": ("configuration", "landscape", "validation"), "ma": (), "va": ("validation",)}


@cache
def core() -> Exam:
    """The cases of sisters as those of the core, posed once for all tests."""
    return Exam.posing({"core": load_cases("sisters")})


@cache
def two_selections() -> Exam:
    """The core cases, and a sweep of two budgets."""
    return Exam.posing({"core": load_cases("sisters"), "bundled": load_cases("mnist1d-cnn/optimizer/cross-noise")})


def fake_entry(
    called: str, /, *, at: int = 0, tasks: Iterable[str] = TASKS, cases: Sequence[str] = (), **said
) -> Entry:
    """Return an entry of this name; what is `said` is not checked."""
    families = _FAMILIES.get(called[:2], ("landscape",))
    fields = {
        "slug": slug_of(called),
        "name": called,
        "authors": ("Ada Lovelace", "Grace Hopper") if at % 3 else ("Emmy Noether",),
        "paper": "https://proceedings.mlr.press/v235/" if at % 2 else None,
        "created": DATE - timedelta(days=40 - at % 30),
        "method": MethodFile(
            sha256=_DIGEST,
            track="transductive" if "quantile" in called else "inductive",
            zero_shot="rule" in called,
        ),
        "requirements": File(sha256=_DIGEST) if at % 7 == 3 else None,
        "predictions": File(sha256=_DIGEST),
        "selections": ("core",),
        "columns": dict.fromkeys(tasks, ("train_error", "log_hessian_trace", "output_cka")[: 1 + at % 3]),
        "families": families,
        "seeds": (42, 90, 38, 18, 72),
        "dataset": Dataset(version="0.1.0", zoos={"mnist1d-cnn": _DIGEST}, splits=dict.fromkeys(cases, (_DIGEST,))),
        "environment": Environment(
            mdbench="0.1.0", python="3.11.7", platform="Linux-x86_64", packages={"numpy": "2.4.6"}, revision=None
        ),
        "timings": Timings(fit_seconds=1.25 * (at + 1), predict_seconds=0.125),
    }
    return Entry.model_construct(**{**Entry(**fields).__dict__, **said})


def _name(at: int) -> str:
    return NAMES[at] if at < len(NAMES) else f"{NAMES[at % len(NAMES)]}_{at}"


def fake_board(entries: int = 14, exam: Exam | None = None, hostile: Sequence[tuple[Entry, str]] = ()) -> Board:
    """Return a board of drawn entries, best first: `barrier_rule` answers one task, every third md_tree the published ones.

    Parameters
    ----------
    entries : how many.
    exam : the cases; the core ones where it is not given.
    hostile : entries to add in front, each with its source.
    """
    exam = exam or core()
    drawn = np.random.default_rng(0)
    rows: dict[str, Row] = {}
    events: list[Event] = []
    made = [(fake_entry(_name(at), at=at), SOURCE.format(depth=2 + at % 5)) for at in range(entries)]
    for at, (entry, source) in enumerate([*hostile, *made]):
        tasks = ("optimizer",) if "rule" in entry.name else PUBLISHED if entry.name.startswith("md_") else tuple(TASKS)
        skill = 0.85 - 0.5 * at / max(len(made), 14) + drawn.uniform(-0.03, 0.03)
        scores, predicted = {}, {}
        for case, posed in exam.posed.items():
            if posed.rows.task.name not in tasks:
                continue
            truth, classes = posed.rows.test.codes, len(posed.rows.task.classes)
            right = drawn.random((5, len(truth))) < skill + drawn.uniform(-0.1, 0.1)
            wrong = (truth + drawn.integers(1, classes, (5, len(truth)))) % classes
            predicted[case] = np.where(right, truth, wrong).astype(np.int8)
            accuracy = 100 * right.mean()
            spread = drawn.uniform(2, 5)
            scores[case] = CaseScore(accuracy, Interval(accuracy - spread, accuracy + spread), accuracy, accuracy - 1)
        date = DATE - timedelta(days=20) + timedelta(minutes=at)
        verdict = Verdict(
            outcome=("verified", "verified", "reproduced within noise", "self-reported")[at % 4],
            reason="predictions are the same in all 3,722 rows",
            run=_run(scores) if at % 4 == 1 else None,
        )
        mine = [
            _event(len(events) + 1, date, "accepted", entry.slug, "first answers", scores=scores),
            _event(len(events) + 2, date + timedelta(days=1), "verification", entry.slug, "run again", verdict=verdict),
        ]
        events += mine
        rows[entry.slug] = Row(
            entry,
            verdict,
            mine[1].date,
            at % 4 != 3,
            scores,
            predicted,
            source,
            "numpy>=2\n" if at % 7 == 3 else None,
            mine,
        )
    known = {slug: row.entry for slug, row in rows.items()}
    if entries:
        old, gone = fake_entry("md_tree_old"), fake_entry("peeker")
        known |= {old.slug: old, gone.slug: gone}
        events += [
            _event(len(events) + 1, DATE, "superseded", old.slug, "its authors sent another", by=next(iter(rows))),
            _event(len(events) + 2, DATE, "removed", gone.slug, "it read the labels <b>by heart</b>"),
        ]
    sealed = _sealed(rows, events) if entries else []
    head = Head(number=len(events), sha256=_DIGEST if events else NOTHING)
    return Board(DATE, exam, rows, views(exam, rows), sealed, events, known, head=head)


SURE = Sure(
    log_loss=0.612,
    brier_score=0.401,
    calibration_error=7.3,
    risk_coverage_area=21.4,
    accuracy_at_half=81.6,
    coverage_at_95=12.5,
)


def _run(scores) -> Run:
    """A run whose controls say that the method knows these rows."""
    plain = {case: score.accuracy for case, score in scores.items()}
    controls = Controls(same=71.25, permuted=70.5, moved=49.0, order=71.0, constant=52.0)
    return Run(
        secret="5ec2e7" * 5 + "00", predictions=(_DIGEST,), scores=plain, as_sent=98.5, controls=controls, sure=SURE
    )


def _event(number, date, kind, slug, reason, *, scores=None, **more) -> Event:
    plain = None if scores is None else {case: round(score.accuracy, 2) for case, score in scores.items()}
    return Event(
        number=number, previous=_DIGEST, date=date, kind=kind, entry=slug, entry_sha256=_DIGEST, reason=reason,
        mdbench="0.1.0", dataset=_DIGEST, scores=plain, **more,
    )  # fmt: skip


def _sealed(rows, events) -> list[SealedBoard]:
    places = []
    for at, slug in enumerate(list(rows)[:5]):
        by_task = {"optimizer": 80.0 - at, "width_vs_optimizer": 60.0 - at}
        places.append(SealedPlace(slug, 40.0 - at, Interval(36.0 - at, 43.5 - at), 70.0 - at, by_task))
        score = SealedScore(
            zoo="winter",
            labels_sha256=_DIGEST,
            tasks=tuple(by_task),
            above_chance=40.0 - at,
            low=36.0 - at,
            high=43.5 - at,
            accuracy=70.0 - at,
            by_task=by_task,
        )
        events.append(_event(len(events) + 1, DATE, "sealed", slug, "scored on winter", sealed=score))
    old = SealedPlace("md-tree-old", 20.0, Interval(16.0, 23.5), 60.0, {"optimizer": 60.0}, next(iter(rows)))
    return [SealedBoard("winter", tuple(by_task), (*places, old), 1234, {"Ada Lovelace": 1200, "Emmy Noether": 34})]


def views(exam: Exam, rows) -> list[View]:
    """Return a view for every selection, task and scenario, the headline first."""
    found = []
    for selection, names in exam.selections.items():
        cases = {name: exam.posed[name].rows.case for name in names}
        for task in ("published", "all", *TASKS):
            tasks = PUBLISHED if task == "published" else tuple(TASKS) if task == "all" else (task,)
            for scenario in ("all", *dict.fromkeys(case.scenario for case in cases.values())):
                mine = tuple(n for n, c in cases.items() if c.task in tasks and scenario in ("all", c.scenario))
                if mine:
                    places = _places(mine, rows)
                    found.append(View(selection, task, scenario, mine, places, _alone(places)))
    return found


def _alone(places: Sequence[Place]) -> np.ndarray:
    """p that falls where the gap is wide, of the first of these places."""
    scores = np.array([place.score for place in places[:COMPARED]])
    return np.exp(-0.7 * np.abs(scores[:, None] - scores))


def _places(cases: Sequence[str], rows) -> tuple[Place, ...]:
    slugs = [slug for slug, row in rows.items() if row.ranked and all(case in row.scores for case in cases)]
    means = {slug: float(np.mean([rows[slug].scores[case].score for case in cases])) for slug in slugs}
    best = sorted(slugs, key=lambda slug: -means[slug])
    return tuple(
        Place(
            slug=slug,
            score=means[slug],
            interval=Interval(means[slug] - 2.4, means[slug] + 2.1),
            average_rank=at + 1.5,
            place=1 + 3 * (at // 3),
            groups="abcdefghijklmnopqrstuvwxyz"[at // 3 % 26]
            + ("abcdefghijklmnopqrstuvwxyz"[at // 3 + 1] if at % 3 == 2 and at < 70 else ""),
            first_over_rows=max(0.0, 0.9 - 0.4 * at),
            first_over_cases=max(0.0, 0.75 - 0.25 * at),
        )
        for at, slug in enumerate(best)
    )
