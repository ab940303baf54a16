"""The ledger: appended to and never changed, whatever happens while it is written or to what was written."""

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from leaderboard.sealing.sealed_score import SealedScore
from leaderboard.verifying import ledger
from leaderboard.verifying.ledger import Ledger, Verdict
from mdbench.errors import MdbenchError

SHA = "a" * 64
OTHER = "b" * 64
HOW = {"entry_sha256": SHA, "reason": "because", "mdbench": "0.1.0", "dataset": "d" * 64}
GOOD, BAD = Verdict(outcome="verified", reason="the same"), Verdict(outcome="rejected", reason="not the same")
SCORES = {"a/b": 61.8033988749895}
SEALED = SealedScore(
    zoo="secret",
    labels_sha256=OTHER,
    tasks=("optimizer",),
    above_chance=0,
    low=-20,
    high=20,
    accuracy=50,
    by_task={"optimizer": 50},
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def accept(path, entry="one", **more):
    return ledger.append(path, kind="accepted", entry=entry, scores=SCORES, **{**HOW, **more})


def verify(path, verdict=GOOD, entry="one", **more):
    return ledger.append(path, kind="verification", entry=entry, verdict=verdict, **{**HOW, **more})


def remove(path, entry="one", **more):
    return ledger.append(path, kind="removed", entry=entry, **{**HOW, **more})


def supersede(path, entry="one", by="two"):
    return ledger.append(path, kind="superseded", entry=entry, by=by, **HOW)


def rescore(path, entry="one"):
    return ledger.append(path, kind="rescored", entry=entry, scores=SCORES, **HOW)


def lines(path):
    return path.read_bytes().splitlines()


def rewrite(path, change):
    """Change the events of a ledger and chain them anew, as somebody would who may write the file."""
    events = [json.loads(line) for line in lines(path)]
    change(events)
    previous, content = "0" * 64, b""
    for event in events:
        if "previous" in event:
            event["previous"] = previous
        line = json.dumps(event).encode()
        previous = hashlib.sha256(line).hexdigest()
        content += line + b"\n"
    path.write_bytes(content)


def test_nothing_has_happened_where_there_is_no_file(path):
    assert Ledger.read(path) == Ledger(())
    assert Ledger.read(path).state("one").status == "pending"
    assert not path.exists()


def test_what_is_appended_is_read(path):
    before = datetime.now(UTC)
    events = (accept(path), verify(path), ledger.append(path, kind="sealed", entry="one", sealed=SEALED, **HOW))
    assert Ledger.read(path).events == events
    assert [event.number for event in events] == [1, 2, 3]
    assert before <= events[0].date <= events[1].date <= events[2].date <= datetime.now(UTC)


def test_each_line_has_the_digest_of_the_one_before(path):
    accept(path), verify(path), verify(path, BAD)
    said = [json.loads(line)["previous"] for line in lines(path)]
    assert said == ["0" * 64, *(hashlib.sha256(line).hexdigest() for line in lines(path)[:2])]


# --- states -----------------------------------------------------------------------------------------------------------

HISTORIES = {
    "pending": ("pending", []),
    "accepted": ("on board", [accept]),
    "verified": ("on board", [accept, verify]),
    "verified before": ("on board", [verify, accept]),
    "rejected": ("rejected", [accept, lambda path: verify(path, BAD)]),
    "rejected before": ("rejected", [lambda path: verify(path, BAD)]),
    "rejected, then verified": ("on board", [accept, lambda path: verify(path, BAD), verify]),
    "verified, then rejected": ("rejected", [accept, verify, lambda path: verify(path, BAD)]),
    "rescored": ("on board", [accept, verify, rescore]),
    "superseded": ("superseded", [accept, lambda path: accept(path, "two"), supersede]),
    "superseded, then verified": ("superseded", [accept, lambda path: accept(path, "two"), supersede, verify]),
    "superseded, then removed": ("removed", [accept, lambda path: accept(path, "two"), supersede, remove]),
    "removed": ("removed", [accept, verify, remove]),
    "changed before it was accepted": (
        "pending",
        [lambda path: verify(path, BAD), lambda path: verify(path, GOOD, entry_sha256=OTHER)],
    ),
}


@pytest.mark.parametrize(("status", "steps"), HISTORIES.values(), ids=HISTORIES)
def test_states(status, steps, path):
    events = [step(path) for step in steps]
    state = Ledger.read(path).state("one")
    mine = [event for event in events if event.entry == "one"]
    assert state.status == status
    assert list(state.history) == mine
    verdicts = [event for event in mine if event.verdict]
    assert state.verdict == (verdicts[-1].verdict if verdicts else None)
    assert state.verified_on == (verdicts[-1].date if verdicts else None)
    assert state.accepted_on == next((event.date for event in mine if event.kind == "accepted"), None)


def test_as_of_a_date_nothing_later_has_happened(path):
    first, second = accept(path), verify(path, BAD)
    whole = Ledger.read(path)
    assert whole.until(first.date - timedelta(microseconds=1)).state("one").status == "pending"
    assert whole.until(first.date).state("one").status == "on board"
    assert whole.until(second.date).state("one").status == "rejected"
    assert whole.until(first.date.replace(tzinfo=None)).events == (first,)


@pytest.mark.parametrize(
    ("steps", "last", "wanted"),
    [
        ([], remove, "one cannot be removed: it was never accepted"),
        ([], rescore, "one cannot be rescored: it was never accepted"),
        ([], supersede, "one cannot be superseded: it was never accepted"),
        ([verify], remove, "never accepted"),
        ([accept], accept, "one cannot be accepted: it was before"),
        ([accept, remove], verify, "one cannot be verified: it was removed before"),
        ([accept, remove], remove, "one cannot be removed: it was removed before"),
        ([accept, remove], accept, "one cannot be accepted: it was removed before"),
        ([accept], supersede, "one cannot be superseded by two, which was not accepted"),
        ([accept], lambda path: supersede(path, by="one"), "cannot be superseded by one"),
        (
            [accept, lambda path: accept(path, "two"), supersede],
            supersede,
            "one cannot be superseded: it was superseded before",
        ),
        ([accept], lambda path: verify(path, entry_sha256=OTHER), "one has changed since it was accepted"),
    ],
)
def test_what_makes_no_sense_is_neither_written_nor_read(steps, last, wanted, path, monkeypatch):
    for step in steps:
        step(path)
    before = path.read_bytes() if path.exists() else b""
    with pytest.raises(MdbenchError, match=f"^this cannot be recorded: .*{wanted}"):
        last(path)
    assert (path.read_bytes() if path.exists() else b"") == before
    # The same, written by somebody who does not ask.
    monkeypatch.setattr(ledger, "_after", lambda states, event: ledger.State("pending"))
    last(path)
    monkeypatch.undo()
    with pytest.raises(MdbenchError, match=rf"ledger.jsonl, line {len(steps) + 1}: .*{wanted}"):
        Ledger.read(path)


@pytest.mark.parametrize(
    "said",
    [
        {"kind": "accepted"},
        {"kind": "verification"},
        {"kind": "rescored"},
        {"kind": "superseded"},
        {"kind": "sealed"},
        {"kind": "accepted", "scores": SCORES, "verdict": GOOD},
        {"kind": "removed", "by": "two"},
        {"kind": "forgotten"},
        {"kind": "accepted", "scores": SCORES, "entry": "../one"},
        {"kind": "accepted", "scores": SCORES, "reason": ""},
        {"kind": "accepted", "scores": SCORES, "entry_sha256": "a"},
    ],
    ids=str,
)
def test_an_event_says_what_its_kind_needs(said, path):
    with pytest.raises(MdbenchError, match="this cannot be recorded"):
        ledger.append(path, **{"entry": "one", **HOW, **said})
    assert Ledger.read(path) == Ledger(())


# --- what somebody does to the file -----------------------------------------------------------------------------------


@pytest.fixture
def written(path):
    accept(path), verify(path), accept(path, "two"), supersede(path), remove(path, "two")
    return path


@pytest.mark.parametrize("number", range(5))
def test_no_past_line_can_be_changed_dropped_or_put_in(number, written):
    good = lines(written)
    changed = good[number].replace(b"because", b"BECAUSE")
    spaced = good[number].replace(b":", b": ", 1)
    for edit in (
        [*good[:number], changed, *good[number + 1 :]],
        [*good[:number], spaced, *good[number + 1 :]],
        [*good[:number], *good[number + 1 :]],
        [*good[:number], good[number], *good[number:]],
        [*good[:number], b"", *good[number:]],
        [*good[:number], *reversed(good[number : number + 2]), *good[number + 2 :]],
    ):
        # What no line follows can be changed or dropped, and then it is the ledger of another past: git knows which.
        if edit == good or (number == 4 and edit in ([*good[:4]], [*good[:4], changed], [*good[:4], spaced])):
            continue
        written.write_bytes(b"".join(line + b"\n" for line in edit))
        with pytest.raises(MdbenchError, match=r"ledger\.jsonl, line \d: .* bring back the one that was there before"):
            Ledger.read(written)
        with pytest.raises(MdbenchError, match="bring back"):
            remove(written)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda events: events[1].update(date="2020-01-01T00:00:00Z"), "line 2: .*earlier date"),
        (lambda events: events[1].update(date="2020-01-01T00:00:00"), "line 2: date: .*timezone"),
        (lambda events: events[1].update(number=7), "line 2: it says that it is event 7"),
        (lambda events: events[1].update(score=100), "line 2: score: Extra inputs"),
        (lambda events: events[1].update(entry="../one"), "line 2: entry: "),
        (lambda events: events[1].pop("previous"), "line 2: previous: Field required"),
        (lambda events: events[0]["scores"].update(x="high"), "line 1: scores.x: "),
        (lambda events: events.pop(0), "line 1: it says that it is event 2"),
    ],
)
def test_a_ledger_chained_anew_must_still_make_sense(change, wanted, written):
    rewrite(written, change)
    with pytest.raises(MdbenchError, match=wanted):
        Ledger.read(written)


@pytest.mark.parametrize(
    "content",
    [
        b"\n",
        b"[]\n",
        b"null\n",
        b"{\n",
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b'{"number": NaN}\n',
        b'{"number": 1, "number": 2}\n',
        b"\0" * 100 + b"\n",
    ],
    ids=lambda content: ascii(content[:20]),
)
def test_a_file_that_is_no_ledger(content, path):
    path.write_bytes(content)
    with pytest.raises(MdbenchError, match="line 1: ") as caught:
        Ledger.read(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_ordinary_file(path, tmp_path):
    os.mkfifo(path)
    with pytest.raises(MdbenchError, match="no ledger"):
        Ledger.read(path)
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(b"")
    path.symlink_to(tmp_path / "elsewhere")
    for act in (Ledger.read, accept):
        with pytest.raises(MdbenchError, match="symbolic links"):
            act(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(MdbenchError):
        accept(path)


# --- what goes wrong while it is written ------------------------------------------------------------------------------


def test_what_was_torn_by_a_kill_was_not_recorded(path):
    accept(path), verify(path), accept(path, "two"), supersede(path)
    head, before = path.with_suffix(".head").read_bytes(), path.read_bytes()
    events = Ledger.read(path).events
    about = {"entry_sha256": "a" * 64, "reason": "for a test", "mdbench": "0.1.0", "dataset": "d" * 64}
    several = [{"kind": "verification", "entry": "two", "verdict": GOOD}, {"kind": "removed", "entry": "two"}]
    ledger.append_all(path, [{**about, **one} for one in several])
    whole = path.read_bytes()
    ends = len(before), len(before) + whole[len(before) :].index(b"\n") + 1
    for cut in (1, 10, len(whole) - ends[1] - 1, len(whole) - ends[1] + 2, len(whole) - len(before) - 1):
        path.write_bytes(whole[:-cut])
        after = path.with_suffix(".head").read_bytes()
        for act in (Ledger.read, accept):  # its head speaks of them: they were recorded
            with pytest.raises(MdbenchError, match="its tail was cut off"):
                act(path)
        path.with_suffix(".head").write_bytes(head)
        # Neither of the two was, though one of them may be whole.
        assert Ledger.read(path).events == events
        assert path.read_bytes() == whole[:-cut], "who reads changes nothing"
        remove(path, "two")
        assert [event.kind for event in Ledger.read(path).events] == [*(event.kind for event in events), "removed"]
        assert path.read_bytes().startswith(before)
        path.with_suffix(".head").write_bytes(after)


def test_a_torn_line_of_a_ledger_without_a_head_is_told_and_can_be_removed_as_told(path):
    accept(path), verify(path)
    whole, events = path.read_bytes(), Ledger.read(path).events
    path.with_suffix(".head").unlink()
    path.write_bytes(whole[:-10])
    for act in (Ledger.read, accept):
        with pytest.raises(MdbenchError, match=r"the last line is not whole.*truncate -s") as caught:
            act(path)
    subprocess.run(str(caught.value).split("`")[1].split(), check=True)
    assert Ledger.read(path).events == events[:-1]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=str)
def test_half_a_line_is_taken_back(error, written, monkeypatch):
    before, real = written.read_bytes(), os.write

    def half(file, content):
        real(file, content[: len(content) // 2])
        raise error

    monkeypatch.setattr(ledger.os, "write", half)
    with pytest.raises((MdbenchError, KeyboardInterrupt)) as caught:
        accept(written, "three")
    if isinstance(error, OSError):
        assert "No space left on device; nothing was recorded" in str(caught.value)
    assert written.read_bytes() == before


def test_a_short_write_is_taken_back(written, monkeypatch):
    before, real = written.read_bytes(), os.write
    monkeypatch.setattr(ledger.os, "write", lambda file, content: real(file, content[:7]))
    with pytest.raises(MdbenchError, match="nothing was recorded"):
        accept(written, "three")
    assert written.read_bytes() == before


def test_the_clock_goes_back(path, monkeypatch):
    last = accept(path)

    class Clock(datetime):
        behind = timedelta()

        @classmethod
        def now(cls, tz=None):
            return last.date - cls.behind

    monkeypatch.setattr(ledger, "datetime", Clock)
    Clock.behind = timedelta(seconds=5)
    assert verify(path).date == last.date  # clocks are set right now and then
    Clock.behind = timedelta(hours=5)
    with pytest.raises(MdbenchError, match="set the clock right"):
        verify(path)
    assert len(Ledger.read(path).events) == 2


def test_it_cannot_be_written(tmp_path):
    with pytest.raises(MdbenchError, match="No such file or directory; nothing was recorded"):
        accept(tmp_path / "nowhere" / "ledger.jsonl")


def _append(path, first, count):
    for number in range(first, first + count):
        accept(path, f"entry-{number}")


def test_several_append_at_once(path):
    context = multiprocessing.get_context("spawn")
    several = [context.Process(target=_append, args=(path, 100 * i, 15)) for i in range(2)]
    for one in several:
        one.start()
    for one in several:
        one.join()
    assert [one.exitcode for one in several] == [0] * 2
    events = Ledger.read(path).events
    assert sorted(event.entry for event in events) == sorted(
        f"entry-{100 * i + j}" for i in range(2) for j in range(15)
    )


def test_killed_while_it_appends(path):
    """Whenever the kill comes, the ledger can be read and written."""
    program = (
        "import sys; sys.path.insert(0, 'tests'); from pathlib import Path; from test_ledger import _append; "
        "path = Path(sys.argv[1]); _append(path, 0, 1); print('begun', flush=True); _append(path, 1, 10_000)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, path], stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent
    )
    process.stdout.readline()
    while len(lines(path)) < 20:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    whole = path.read_bytes().count(b"\n")
    assert len(Ledger.read(path).events) in (whole - 1, whole)
    assert whole >= 20
    accept(path, "after")
    assert Ledger.read(path).events[-1].entry == "after"


# --- its head, and its dates ------------------------------------------------------------------------------------------


def test_a_tail_that_was_cut_is_found(written):
    """A removed entry would be back on the board if nobody missed the line that removed it."""
    good = lines(written)
    assert Ledger.read(written).state("two").status == "removed"
    said = json.loads(written.with_suffix(".head").read_text())
    assert said == {"number": 5, "sha256": hashlib.sha256(good[-1]).hexdigest()}
    for kept in range(5):
        written.write_bytes(b"".join(line + b"\n" for line in good[:kept]))
        for act in (Ledger.read, accept):
            with pytest.raises(MdbenchError, match=r"line 5 was .*its tail was cut off.*bring back both"):
                act(written)
    written.unlink()
    with pytest.raises(MdbenchError, match="its tail was cut off"):
        Ledger.read(written)
    # Another line in the place of the last one.
    written.write_bytes(b"".join(line + b"\n" for line in [*good[:4], good[4].replace(b"because", b"BECAUSE")]))
    with pytest.raises(MdbenchError, match="another line"):
        Ledger.read(written)


def test_a_ledger_from_before_there_were_heads_gets_one_with_its_next_line(written):
    written.with_suffix(".head").unlink()
    assert len(Ledger.read(written).events) == 5
    accept(written, "three")
    assert json.loads(written.with_suffix(".head").read_text())["number"] == 6


def test_killed_between_a_line_and_its_head_the_next_line_mends_it(path, monkeypatch):
    accept(path)
    head = path.with_suffix(".head").read_bytes()
    verify(path)
    path.with_suffix(".head").write_bytes(head)
    assert len(Ledger.read(path).events) == 2
    verify(path)
    assert json.loads(path.with_suffix(".head").read_text())["number"] == 3


def test_what_was_read_once_is_not_torn_away_by_a_second_kill(path, monkeypatch):
    accept(path)
    head = path.with_suffix(".head").read_bytes()
    verify(path)
    path.with_suffix(".head").write_bytes(head)  # killed behind the line and before its head
    events = Ledger.read(path).events
    real = os.write

    def torn(file: int, content: bytes) -> int:
        real(file, content[:10])
        raise SystemExit  # killed: nothing takes it back

    monkeypatch.setattr(os, "write", torn)
    monkeypatch.setattr(os, "ftruncate", lambda file, size: None)
    with pytest.raises(SystemExit):
        verify(path)
    monkeypatch.undo()
    assert path.read_bytes().count(b"\n") == 2, "half a line is there"
    assert Ledger.read(path).events == events
    verify(path)
    assert Ledger.read(path).events[:2] == events


def test_as_of_a_date_the_head_is_that_of_the_date(written):
    events = Ledger.read(written).events
    digests = [hashlib.sha256(line).hexdigest() for line in lines(written)]
    for number, event in enumerate(events, 1):
        head = Ledger.read(written).until(event.date).head
        assert (head.number, head.sha256) == (number, digests[number - 1])


def test_events_that_belong_together_are_written_together_or_not_at_all(path):
    accepted = {"kind": "accepted", "entry": "one", "scores": SCORES, **HOW}
    with pytest.raises(MdbenchError, match="was never accepted"):
        ledger.append_all(path, [accepted, {"kind": "removed", "entry": "two", **HOW}])
    assert Ledger.read(path).events == ()
    both = ledger.append_all(path, [accepted, {"kind": "verification", "entry": "one", "verdict": GOOD, **HOW}])
    assert Ledger.read(path).events == both
    assert both[1].previous == hashlib.sha256(lines(path)[0]).hexdigest()


class Clock(datetime):
    ahead = timedelta()

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + cls.ahead


def test_a_line_from_the_future_has_a_way_out_that_is_recorded(path, monkeypatch):
    accept(path)
    with pytest.raises(MdbenchError, match=r"no line of .* is dated in the future"):
        ledger.redate(path, "the clock was wrong")
    monkeypatch.setattr(ledger, "datetime", Clock)
    Clock.ahead = timedelta(days=400)
    accept(path, "two"), verify(path, entry="two")
    Clock.ahead = timedelta()
    for act in (verify, remove):
        with pytest.raises(MdbenchError, match=r"set the clock right, or.*mdbench leaderboard redate --reason"):
            act(path)
    old = lines(path)
    event = ledger.redate(path, "the clock was wrong")
    assert (event.kind, event.redates, event.reason) == ("redated", 2, "the clock was wrong")
    assert lines(path)[:3] == old  # what was written stays
    verify(path)
    whole = Ledger.read(path)
    assert [each.date for each in whole.events[1:4]] == [event.date] * 3
    assert whole.state("two").accepted_on == whole.state("two").verified_on == event.date
    assert whole.until(event.date).state("two").status == "on board"
    assert whole.until(whole.events[0].date).state("two").status == "pending"


def test_dates_cannot_be_given_to_lines_that_were_not_in_the_future(path):
    accept(path), verify(path), verify(path)
    rewrite(path, lambda events: events[2].update(kind="redated", redates=2) or events[2].pop("verdict"))
    path.with_suffix(".head").unlink()
    with pytest.raises(MdbenchError, match="it redates lines from 2 on"):
        Ledger.read(path)


def test_what_was_displaced_comes_back_with_the_line_that_removes_its_displacer(path):
    accept(path), verify(path), accept(path, "two"), supersede(path)
    accept(path, "three"), supersede(path, "two", "three")
    with pytest.raises(MdbenchError, match="one cannot come back: two, which superseded it, was not removed"):
        remove(path, "three", restores="one")
    with pytest.raises(MdbenchError, match="nobody cannot come back"):
        remove(path, "three", restores="nobody")
    remove(path, "three", restores="two")
    assert [Ledger.read(path).state(slug).status for slug in ("one", "two", "three")] == [
        "superseded", "on board", "removed"
    ]  # fmt: skip
    remove(path, "two", restores="one")
    assert Ledger.read(path).state("one").status == "on board"
    with pytest.raises(MdbenchError, match="restores does not belong"):
        verify(path, restores="two")
