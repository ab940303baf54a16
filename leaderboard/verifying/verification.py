"""Entries checked, run again, and what came of it written into the ledger."""

import hmac
import shlex
import tempfile
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

import mdbench
from leaderboard.entry import METHOD, SELECTIONS, Checked, Entry, Exam, Refused, check, check_among, line, read_entry
from leaderboard.sealing import Part, SealedScore, answer, check_answers, score
from leaderboard.verifying import ledger, run
from leaderboard.verifying.ledger import Ledger, State, Verdict
from leaderboard.verifying.rerun import first_difference, rerun
from leaderboard.verifying.superseding import check_leave, places
from mdbench.errors import MdbenchError
from mdbench.methods import Runner

UNTOUCHED: Final = "self-reported"


@dataclass(frozen=True)
class Verified:
    """What came of an entry.

    Attributes
    ----------
    slug : the entry.
    verdict : what it is worth.
    checked : what was found in its folder; None where it was refused.
    exam : what it answers; None where it was refused.
    contents : the predictions of the runs here, as files, see `leaderboard.verifying.run`.
    """

    slug: str
    verdict: Verdict
    checked: Checked | None = None
    exam: Exam | None = None
    contents: tuple[bytes, ...] = ()

    @property
    def sent(self) -> dict[str, float]:
        """Accuracy on each case, in %, of the predictions that were sent."""
        if self.checked is None or self.exam is None:
            return {}
        return scored(self.checked.predicted, self.exam)

    @property
    def scores(self) -> dict[str, float]:
        """Accuracy on each case, in %: of the run here, and where there was none, of the predictions that were sent."""
        return self.verdict.run.scores if self.verdict.run else self.sent


def scored(predicted: Mapping[str, np.ndarray], exam: Exam) -> dict[str, float]:
    """Return the accuracy of predictions on each case, in %: the mean over seeds and test rows."""
    return {
        case: float(100 * (said == exam.posed[case].rows.test.codes).mean(axis=1).mean())
        for case, said in predicted.items()
    }


class Exams:
    """The exams of entries: one for all that they answer."""

    def __init__(self) -> None:
        self._posed: dict[tuple[str, ...], Exam] = {}
        self._lock = threading.Lock()

    def of_entry(self, entry: Entry, state: State) -> Exam:
        """Return what an entry answers: today's exam, and of one that was accepted earlier that of its day.

        Raises as `Exam.of` does.
        """
        exam = self.of(entry.selections)
        return exam if state.accepted_on is None else exam.as_recorded(entry.dataset)

    def of(self, selections: Iterable[str]) -> Exam:
        """Return the exam of some selections; raises as `Exam.of` does."""
        chosen = tuple(name for name in SELECTIONS if name in set(selections))
        with self._lock:
            if chosen not in self._posed:
                self._posed[chosen] = Exam.of(chosen)
            return self._posed[chosen]


def verify(
    folder: Path,
    known: Mapping[str, Entry],
    history: Ledger,
    exams: Exams,
    runner: Runner | None,
    secret: str | None = None,
) -> Verified:
    """Check an entry, and run its method again.

    Parameters
    ----------
    folder : the entry.
    known : the other entries, see `leaderboard.entry.read_entries`.
    history : what happened before.
    exams : the exams.
    runner : runs the method; None where it is not to be run.
    secret : see `leaderboard.verifying.rerun.rerun`.

    Raises
    ------
    MdbenchError
        Nothing can be said of it: it answers cases that cannot be posed on this machine, its files are not those that were
        accepted, or it is of a format that a newer mdbench writes.
    """
    state = history.state(folder.name)
    try:
        entry = read_entry(folder)
        exam = exams.of_entry(entry, state)
        checked = check(folder, exam, rescored=any(event.kind == "rescored" for event in state.history))
        check_among(checked.entry, _before(checked.entry, known, history))
        accepted = [event for event in state.history if event.kind == "accepted"]
        if accepted and accepted[-1].entry_sha256 != checked.entry_sha256:
            raise Refused("changed", "it has changed since it was accepted; bring back what was there, and submit anew")
    except Refused as refused:
        if state.accepted_on is not None and refused.kind == "dataset":
            raise MdbenchError(
                f"{folder.name}: the data have changed since it was accepted; run `mdbench leaderboard rescore` first"
            ) from refused
        if state.accepted_on is not None:
            raise MdbenchError(
                f"{folder.name} cannot be checked here, and nothing was recorded: its files are not those that were accepted "
                f"({refused}); bring them back: git checkout -- {shlex.quote(str(folder))}"
            ) from refused
        if refused.kind == "format":
            raise MdbenchError(
                f"{folder.name} cannot be checked here, and nothing was recorded: {refused}"
            ) from refused
        return Verified(folder.name, Verdict(outcome="rejected", reason=f"{refused.kind}: {refused}"))
    if runner is None:
        return Verified(folder.name, Verdict(outcome=UNTOUCHED, reason="not run again"), checked, exam)
    found = rerun(checked, exam, runner, secret)
    return Verified(folder.name, found.verdict, checked, exam, found.contents)


def _before(entry: Entry, known: Mapping[str, Entry], history: Ledger) -> dict[str, Entry]:
    """Return the entries that an entry has to stand among: those accepted before it, and those that it supersedes.

    One that is not accepted yet has to stand among all that were not removed. Whatever is handed in later takes nothing from
    one that was accepted.
    """
    accepted = {event.entry: event.number for event in history.events if event.kind == "accepted"}
    if entry.slug not in accepted:
        return {slug: one for slug, one in known.items() if history.state(slug).status != "removed"}
    mine, superseded = accepted[entry.slug], line(entry, known)
    return {slug: one for slug, one in known.items() if slug in superseded or accepted.get(slug, mine + 1) <= mine}


def record(path: Path, found: Verified, known: Mapping[str, Entry], allowed: Collection[str] = ()) -> None:
    """Write what came of an entry into the ledger: its acceptance, if it is new and not rejected, and the verdict.

    A submission that is rejected at once leaves no trace in it: it was never on the board. Nor does a method that was not run
    where the entry has the verdict of a run: see `stays`.

    Parameters
    ----------
    path : the ledger.
    found : of `verify`.
    known : all entries, see `leaderboard.entry.read_entries`; one may supersede another.
    allowed : entries that a maintainer lets take another's place.

    Raises
    ------
    MdbenchError
        It cannot be recorded, or would take a place without leave.
    """
    history = Ledger.read(path)
    state = history.state(found.slug)
    if (
        found.checked is None
        or found.exam is None
        or (state.accepted_on is None and found.verdict.outcome == "rejected")
    ):
        return
    if stays(found, state):
        return
    entry = found.checked.entry
    check_leave(entry, known, history, allowed)
    run.keep(path.parent, found.contents)
    about = {"entry": entry.slug, "entry_sha256": found.checked.entry_sha256, "mdbench": mdbench.__version__}
    said: dict[str, Any] = about | {"dataset": found.exam.digest_of(found.checked.predicted)}
    events = []
    if state.accepted_on is None:
        events.append({"kind": "accepted", "reason": "all checks passed", "scores": found.sent, **said})
    events.append({"kind": "verification", "reason": found.verdict.reason, "verdict": found.verdict, **said})
    for old, new in places(entry, known, history, found.verdict):
        last = history.state(old).history[-1] if old != entry.slug else None
        lost = (
            said if last is None else {**said, "entry": old, "entry_sha256": last.entry_sha256, "dataset": last.dataset}
        )
        events.append({"kind": "superseded", "reason": f"its authors submitted {new}", "by": new, **lost})
    ledger.append_all(path, events)


def stays(found: Verified, state: State) -> bool:
    """Tell whether an entry keeps the verdict that it has: what was not run says nothing against what was, nor for it."""
    known = state.verdict is not None and state.verdict.outcome != UNTOUCHED
    return known and found.verdict.outcome == UNTOUCHED


def score_sealed(found: Checked, labels: Path, key: Path, public: Path, **how: Any) -> SealedScore:
    """Score an entry on a sealed zoo, after its method, run again, has said the same of it.

    Scored is what the method says to questions whose order, halves and seeds follow from a secret of the key and the entry,
    which the score names: those that were sent were answered in a public order, which a method can know.

    Parameters
    ----------
    found : the entry.
    labels, key, public : of the sealed zoo.
    how : workers, timeout, sandbox: see `leaderboard.sealing.answer`.

    Raises
    ------
    MdbenchError
        The entry has no predictions for it, or they are not those of its method, or it looks at other rows.
    """
    part = Part.read(public)
    content = found.sealed.get(part.sealed.name)
    if content is None:
        raise MdbenchError(f"{found.entry.slug} has no predictions on {part.sealed.name}")
    exam = part.exam()
    submitted = check_answers(content, exam)
    with tempfile.TemporaryDirectory(prefix="mdbench-verify-") as folder:
        file = Path(folder, METHOD)
        file.write_text(found.source, encoding="utf-8")
        answered = answer(file, public, **how)
        # Of the key, so that nobody foresees it and nobody draws until a score pleases.
        secret = hmac.new(key.read_bytes().strip(), found.entry_sha256.encode(), "sha256").hexdigest()[:32]
        drawn = answer(file, public, secret=secret, **how)
    again = check_answers(answered.content, exam) if answered.content else {}
    if submitted.keys() != again.keys():
        raise MdbenchError(f"{found.entry.slug} answers other tasks on {part.sealed.name} when it is run again")
    where = first_difference(submitted, again, exam)
    if where:
        raise MdbenchError(f"{found.entry.slug}: predictions on {part.sealed.name} are not its method's: {where}")
    if drawn.content is None:
        raise MdbenchError(f"{found.entry.slug} answers nothing on {part.sealed.name} in another order")
    return score(drawn.content, public, labels, key, secret=secret)
