import hashlib
import json
import shutil
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import typer
from dishonest import BYSTANDER, CONSTANT, METHOD, NAME, OTHER, SLUG, TRICKS, case, describe, honest, read, small_exam
from typer.testing import CliRunner

import mdbench
from leaderboard.entry.checks import check
from leaderboard.entry.entry import ENTRY
from leaderboard.entry.exam import Exam
from leaderboard.verifying import maintenance
from leaderboard.verifying.ledger import LEDGER, Ledger, append
from leaderboard.verifying.maintenance import Unverified, verified
from leaderboard.verifying.verification import Exams, Verified, scored
from leaderboard.verifying.verification import verify as verify_one
from mdbench.cli import app
from mdbench.errors import MdbenchError

needs_sandbox = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not here: nothing was run again"
)


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    return small_exam(tmp_path_factory.mktemp("exam"))


@pytest.fixture(scope="module")
def made(exam, tmp_path_factory):
    """An honest entry, and one beside it."""
    home = tmp_path_factory.mktemp("made")
    honest(home, exam)
    honest(home, exam, "Bystander", OTHER, authors=["Charles Babbage"])
    return home


@pytest.fixture
def entries(made, tmp_path, exam, monkeypatch):
    """A folder of entries, whose exam is the small one."""
    monkeypatch.setattr(Exam, "of", classmethod(lambda cls, selections: exam))
    home = tmp_path / "entries"
    shutil.copytree(made, home)
    return home


def run(*words, entries):
    return CliRunner().invoke(app, ["leaderboard", *map(str, words), "--entries", str(entries)])


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@needs_sandbox
def test_all_tricks_in_one_run_are_refused_each_for_its_reason(made, exam, tmp_path, monkeypatch):
    monkeypatch.setattr(Exam, "of", classmethod(lambda cls, selections: exam))
    folders, before = [], {}
    for number, trick in enumerate(TRICKS):
        home = tmp_path / f"{number}"
        shutil.copytree(made, home)
        folders += [trick.play(home / SLUG) or home / SLUG, home / BYSTANDER]
        before |= everything(home / BYSTANDER)
    of_method = scored(check(made / SLUG, exam).predicted, exam)
    of_constant = scored(check(honest(tmp_path / "constant", exam, method=CONSTANT), exam).predicted, exam)
    ready = dict(verified(folders[0::2], Ledger(), rerun=True, workers=2, timeout=60, sandbox=True))
    found = [ready[folder] for folder in folders[0::2]]
    # Those beside them were accepted before, and lose nothing by it.
    append(
        tmp_path / LEDGER,
        kind="accepted",
        entry=BYSTANDER,
        entry_sha256=hashlib.sha256((made / BYSTANDER / ENTRY).read_bytes()).hexdigest(),
        reason="all checks passed",
        mdbench=mdbench.__version__,
        dataset=exam.digest,
        scores={},
    )
    history = Ledger.read(tmp_path / LEDGER)
    ready = dict(verified(folders[1::2], history, rerun=False, workers=2, timeout=60, sandbox=True))
    beside = [ready[folder] for folder in folders[1::2]]
    assert len(found) == len(TRICKS) >= 100
    for trick, one in zip(TRICKS, found, strict=True):
        if trick.kind == "format":  # which is no trick, but a newer mdbench
            assert isinstance(one, Unverified), (trick.name, one)
            continue
        assert isinstance(one, Verified), (trick.name, one)
        if trick.harmless:
            # It is worth what its method is: a median, which knows no order and no chance.
            assert (one.verdict.outcome, one.verdict.run.spread) == ("verified", 0), (trick.name, one.verdict)
            assert one.verdict.run.as_sent < 100
            assert one.scores == (of_constant if "another method" in trick.name else of_method)
            continue
        assert one.verdict.outcome == "rejected", (trick.name, one.verdict)
        if trick.kind is None:
            assert one.verdict.reason.startswith("run again, "), trick.name
        else:
            assert one.verdict.reason.startswith(f"{trick.kind}: "), (trick.name, one.verdict)
    for trick, one in zip(TRICKS, beside, strict=True):
        assert isinstance(one, Verified), (trick.name, one)
        assert one.verdict.outcome == "self-reported", (trick.name, one)
    assert all(path.read_bytes() == content for path, content in before.items())


@needs_sandbox
def test_from_pending_to_verified_to_changed(entries, exam):
    files = everything(entries)
    result = run("verify", "--all", entries=entries)
    assert result.exit_code == 0, result.output
    assert result.output.count("verified") == 2
    ledger = Ledger.read(entries / LEDGER)
    said = [(event.kind, event.entry) for event in ledger.events]
    each = [[(kind, slug) for kind in ("accepted", "verification")] for slug in (BYSTANDER, SLUG)]
    assert said in ([*each[0], *each[1]], [*each[1], *each[0]])
    assert {path: path.read_bytes() for path in files} == files
    # The recorded scores are those of the predictions, by another road.
    predictions = json.loads((entries / SLUG / ENTRY).read_text())
    accepted = next(event for event in ledger.events if event.entry == SLUG)
    import pandas as pd

    table = pd.read_parquet(entries / SLUG / "predictions.parquet")
    assert predictions["slug"] == SLUG
    for name, part in table.groupby("case"):
        truth = exam.posed[name].test.configurations[exam.posed[name].rows.task.name]
        right = part["predicted"].astype(str).to_numpy() == truth.loc[part["row"].astype(str)].to_numpy()
        assert accepted.scores[name] == pytest.approx(100 * right.mean(), abs=1e-9)

    # Two more verdicts the second time; where nothing is run, nothing is known that was not.
    assert run("verify", "--all", entries=entries).exit_code == 0
    assert [event.kind for event in Ledger.read(entries / LEDGER).events[4:]] == ["verification"] * 2
    result = run("verify", "--all", "--no-rerun", entries=entries)
    assert result.exit_code == 0
    assert f"{SLUG} was not run, and stays verified; nothing was recorded" in result.output
    assert len(Ledger.read(entries / LEDGER).events) == 6
    assert Ledger.read(entries / LEDGER).state(SLUG).verdict.outcome == "verified"

    # Changed after it was accepted, and otherwise right in everything: whoever did that, it is not what it says that is wrong.
    before = (entries / LEDGER).read_bytes()
    (entries / SLUG / "method.py").write_text(METHOD + "# changed\n")
    describe(entries / SLUG)
    result = run("verify", SLUG, entries=entries)
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert "not verified" in said
    assert f"{SLUG} cannot be checked here, and nothing was recorded" in said
    assert "changed since it was accepted" in said
    assert (entries / LEDGER).read_bytes() == before


DAMAGE = {
    "an emptied file": lambda folder: (folder / "predictions.parquet").write_bytes(b""),
    "an emptied entry": lambda folder: (folder / ENTRY).write_bytes(b""),
    "a file that is gone": lambda folder: (folder / "method.py").unlink(),
    "half a file": lambda folder: (folder / "method.py").write_text(METHOD[: len(METHOD) // 2]),
    "a file more": lambda folder: (folder / "notes.txt").write_text("mine"),
    "a newer format": lambda folder: (folder / ENTRY).write_text(json.dumps(read(folder) | {"format": 2})),
}


def test_a_rejected_entry_is_not_back_because_it_was_not_run(entries):
    path = entries / LEDGER
    assert run("verify", SLUG, "--no-rerun", entries=entries).exit_code == 0
    about = {"entry": SLUG, "entry_sha256": Ledger.read(path).events[0].entry_sha256}
    verdict = {"outcome": "rejected", "reason": "run again, it does not repeat itself"}
    append(
        path,
        kind="verification",
        verdict=verdict,
        reason="x",
        mdbench="0.1.0",
        dataset=Ledger.read(path).events[0].dataset,
        **about,
    )
    before = path.read_bytes()
    result = run("verify", SLUG, "--no-rerun", entries=entries)
    assert f"{SLUG} was not run, and stays rejected; nothing was recorded" in result.output
    assert path.read_bytes() == before
    assert Ledger.read(path).state(SLUG).status == "rejected"


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_not_guilt(entries, damage):
    assert run("verify", SLUG, "--no-rerun", entries=entries).exit_code == 0
    before = (entries / LEDGER).read_bytes()
    kept = everything(entries / SLUG)
    DAMAGE[damage](entries / SLUG)
    result = run("verify", SLUG, "--no-rerun", entries=entries)
    said = " ".join(result.output.split())
    assert result.exit_code == 2
    assert "cannot be checked here, and nothing was recorded" in said
    assert "git checkout -- " in said
    assert (entries / LEDGER).read_bytes() == before
    # What it says to do helps.
    shutil.rmtree(entries / SLUG)
    (entries / SLUG).mkdir()
    for path, content in kept.items():
        path.write_bytes(content)
    assert run("verify", SLUG, "--no-rerun", entries=entries).exit_code == 0
    assert Ledger.read(entries / LEDGER).state(SLUG).status == "on board"


def test_a_newer_format_is_never_guilt(entries):
    DAMAGE["a newer format"](entries / SLUG)
    result = run("verify", SLUG, "--no-rerun", "--dry-run", entries=entries)
    said = " ".join(result.output.split())
    assert "cannot be checked here" in said
    assert "upgrade it" in said
    assert "rejected" not in said


def test_a_submission_that_is_rejected_at_once_leaves_no_trace(entries):
    (entries / SLUG / "predictions.parquet").write_bytes(b"PAR1")
    result = run("verify", SLUG, "--no-rerun", entries=entries)
    assert result.exit_code == 2
    assert "rejected" in result.output
    assert not (entries / LEDGER).exists()


def test_a_dry_run_writes_nothing(entries):
    before = everything(entries)
    assert run("verify", "--all", "--no-rerun", "--dry-run", entries=entries).exit_code == 0
    assert everything(entries) == before


@pytest.mark.parametrize("order", [("new", "old"), ("old", "new")])
def test_superseding_in_either_order(entries, exam, order):
    new = honest(entries, exam, f"{NAME} 2", METHOD + "# better\n", supersedes=SLUG)
    said = read(new) | {"name": NAME, "slug": f"{SLUG}-2"}
    (new / ENTRY).write_text(json.dumps(said))
    describe(new)
    slugs = {"old": SLUG, "new": new.name}
    for which in order:
        leave = ["--allow-supersede", new.name]
        assert run("verify", slugs[which], "--no-rerun", *leave, entries=entries).exit_code == 0
    ledger = Ledger.read(entries / LEDGER)
    assert ledger.state(SLUG).status == "superseded"
    assert ledger.state(new.name).status == "on board"
    assert (ledger.events[-1].kind, ledger.events[-1].by) == ("superseded", new.name)
    # It is no longer among all, and its files are there.
    result = run("verify", "--all", "--no-rerun", entries=entries)
    assert result.exit_code == 0
    assert f"{SLUG} " not in result.output
    assert (entries / SLUG / ENTRY).is_file()


def impostor(entries, exam, number=2, authors=("Ada Lovelace", "Mallory"), old=SLUG):
    """An entry that takes another's name and place, whose authors need only be written into it."""
    new = honest(entries, exam, f"{NAME} {number}", METHOD + "#" * number, supersedes=old, authors=list(authors))
    (new / ENTRY).write_text(json.dumps(read(new) | {"name": NAME, "slug": f"{SLUG}-{number}"}))
    describe(new)
    return new.name


def test_nobody_is_displaced_without_leave_and_who_was_comes_back(entries, exam):
    assert run("verify", SLUG, "--no-rerun", entries=entries).exit_code == 0
    before = (entries / LEDGER).read_bytes()
    new = impostor(entries, exam, authors=read(entries / SLUG)["authors"] + ["Mallory"])
    for leave in ([], ["--allow-supersede", SLUG], ["--allow-supersede", "another"]):
        result = run("verify", new, "--no-rerun", *leave, entries=entries)
        said = " ".join(result.output.split())
        assert result.exit_code == 2
        assert f"would take the place of {SLUG}" in said
        assert f"--allow-supersede {new}" in said
        assert f"look: {new} takes the place of {SLUG} by {', '.join(read(entries / SLUG)['authors'])}" in said
        assert (entries / LEDGER).read_bytes() == before
    assert run("verify", "--all", "--no-rerun", "--allow-supersede", new, entries=entries).exit_code == 0
    state = Ledger.read(entries / LEDGER).state
    assert (state(SLUG).status, state(new).status) == ("superseded", "on board")
    # A second impostor, in the place of the first.
    newer = impostor(entries, exam, 3, read(entries / SLUG)["authors"], new)
    assert run("verify", newer, "--no-rerun", "--allow-supersede", newer, entries=entries).exit_code == 0
    maintenance.remove(new, "it was not theirs", entries)
    assert Ledger.read(entries / LEDGER).state(SLUG).status == "superseded"
    maintenance.remove(newer, "nor was this", entries)
    history = Ledger.read(entries / LEDGER)
    assert [history.state(slug).status for slug in (SLUG, new, newer)] == ["on board", "removed", "removed"]
    assert history.events[-1].restores == SLUG
    # The real authors' new version is not in the way of those that were removed.
    real = impostor(entries, exam, 4, read(entries / SLUG)["authors"])
    assert run("verify", real, "--no-rerun", "--allow-supersede", real, entries=entries).exit_code == 0
    assert Ledger.read(entries / LEDGER).state(SLUG).displaced_by == real


def test_a_name_close_to_anothers_is_announced(entries, exam):
    new = honest(entries, exam, f"{NAME}s", METHOD + "# other\n")
    result = run("verify", new.name, "--no-rerun", entries=entries)
    assert result.exit_code == 0
    assert f"is close to '{NAME}' of {SLUG}; is it another method?" in " ".join(result.output.split())


def test_removing_takes_a_reason_and_is_final(entries):
    assert run("verify", SLUG, "--no-rerun", entries=entries).exit_code == 0
    with pytest.raises(MdbenchError, match="was never on the board"):
        maintenance.remove(BYSTANDER, "why", entries)
    maintenance.remove(SLUG, "its authors asked for it", entries)
    state = Ledger.read(entries / LEDGER).state(SLUG)
    assert (state.status, state.history[-1].reason) == ("removed", "its authors asked for it")
    assert (entries / SLUG / ENTRY).is_file()
    with pytest.raises(MdbenchError, match="removed before"):
        maintenance.remove(SLUG, "again", entries)


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (" ", "say why"),
        ("x" * 501, "it has 501 signs, and 500 at most"),
        ("taken \u202eback", r"U\+202E cannot stand in a text"),
        ("taken\x1b[2J back", r"U\+001B cannot stand in a text"),
        ("not \udcff UTF-8", r"U\+DCFF cannot stand in a text"),
    ],
)
def test_a_reason_is_one_that_can_stand_on_the_board_for_ever(entries, reason, why):
    assert run("verify", SLUG, "--no-rerun", entries=entries).exit_code == 0
    before = everything(entries)
    for act in (lambda: maintenance.remove(SLUG, reason, entries), lambda: maintenance.rescore(reason, entries),
                lambda: maintenance.redate(reason, entries)):  # fmt: skip
        with pytest.raises(MdbenchError, match=why):
            act()
    assert everything(entries) == before
    maintenance.remove(SLUG, "  its authors asked: Erdős’s way  ", entries)
    assert Ledger.read(entries / LEDGER).events[-1].reason == "its authors asked: Erdős’s way"


@pytest.mark.parametrize(
    "act",
    [
        lambda entries: maintenance.remove(SLUG, "why", entries),
        lambda entries: maintenance.rescore("why", entries),
        lambda entries: maintenance.redate("the clock was wrong", entries),
    ],
)
def test_no_ledger_comes_of_what_records_nothing(entries, act):
    before = everything(entries)
    with suppress(MdbenchError):
        act(entries)
    assert everything(entries) == before


def test_an_entry_that_is_named_twice_is_verified_once(entries):
    assert run("verify", SLUG, SLUG, entries / SLUG, "--no-rerun", entries=entries).exit_code == 0
    assert [event.kind for event in Ledger.read(entries / LEDGER).events] == ["accepted", "verification"]


def test_when_the_data_change_entries_are_scored_anew_and_nobody_is_thrown_off(entries, exam, tmp_path, monkeypatch):
    assert run("verify", "--all", "--no-rerun", entries=entries).exit_code == 0
    before = Ledger.read(entries / LEDGER)
    # The same grid, measured again: other test errors, so other labels, and other rows that have one.
    from mdbench.paths import zoo_home
    from mdbench.tables.loading import load_zoo
    from mdbench.tables.zoo import Zoo

    home = tmp_path / "changed"
    small_exam(home)
    monkeypatch.setenv("MDBENCH_HOME", str(home))
    old = load_zoo("own-too")
    table = old.configurations.reset_index()
    table.loc[::7, "test_error"] += 0.5
    new = Zoo.from_table(old.name, old.title, table, old.moves, old.provenance)
    new.save(zoo_home() / "own-too")
    changed = small_exam(home)
    kept = {
        name: one
        for name, one in changed.posed.items()
        if set(one.rows.test.ids) <= set(exam.posed[name].rows.test.ids)
    }
    monkeypatch.setattr(Exam, "of", classmethod(lambda cls, selections: changed))
    result = run("verify", SLUG, "--no-rerun", entries=entries)
    assert result.exit_code == 2
    assert "rescore" in result.output
    assert Ledger.read(entries / LEDGER) == before  # nobody was rejected for it
    if len(kept) == len(changed.posed):
        maintenance.rescore("measured again", entries)
        after = Ledger.read(entries / LEDGER)
        assert [event.kind for event in after.events[len(before.events) :]] == ["rescored"] * 2
        event = after.state(SLUG).history[-1]
        assert event.scores == scored(maintenance.check(entries / SLUG, changed, rescored=True).predicted, changed)
        assert run("verify", SLUG, "--no-rerun", entries=entries).exit_code == 0
        count = len(Ledger.read(entries / LEDGER).events)
        maintenance.rescore("again", entries)
        assert len(Ledger.read(entries / LEDGER).events) == count


def test_rescoring_what_has_not_changed_records_nothing(entries, capsys):
    assert run("verify", "--all", "--no-rerun", entries=entries).exit_code == 0
    before = (entries / LEDGER).read_bytes()
    maintenance.rescore("for no reason", entries)
    assert (entries / LEDGER).read_bytes() == before
    assert "nothing has changed" in capsys.readouterr().out


@needs_sandbox
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"method": {"track": "transductive"}}, "its file says track = 'inductive', but its entry 'transductive'"),
        (
            {"columns": {"optimizer": ["train_error"], "width_vs_optimizer": ["train_error", "log_hessian_trace"]}},
            "it looks at other columns for optimizer than its entry says: log_hessian_trace",
        ),
    ],
)
def test_what_an_entry_says_of_its_method_is_compared_with_its_file(entries, change, expected):
    said = read(entries / SLUG)
    for key, value in change.items():
        said[key] = said[key] | value
    (entries / SLUG / ENTRY).write_text(json.dumps(said))
    ((_, one),) = verified([entries / SLUG], Ledger(), rerun=True, workers=1, timeout=60, sandbox=True)
    assert isinstance(one, Verified)
    assert one.verdict.reason == f"run again, {expected}"


def test_what_is_not_installed_here_is_self_reported(entries):
    (entries / SLUG / "requirements.txt").write_text("no-package-of-this-name>=2\n")
    describe(entries / SLUG)
    ((_, one),) = verified([entries / SLUG], Ledger(), rerun=True, workers=1, timeout=60, sandbox=False)
    assert isinstance(one, Verified)
    assert one.verdict.outcome == "self-reported"
    assert "no-package-of-this-name>=2 is not installed here" in one.verdict.reason


def test_a_package_that_is_apart_from_mdbench_is_not_held_against_an_entry(entries, monkeypatch):
    """An entry need not list it among its requirements, so that only its source tells."""
    monkeypatch.setitem(sys.modules, "xgboost", None)  # as if it were not installed
    file = entries / SLUG / "method.py"
    file.write_text(file.read_text() + "\n\ndef never():\n    from xgboost.sklearn import XGBClassifier\n")
    describe(entries / SLUG)
    ((_, one),) = verified([entries / SLUG], Ledger(), rerun=True, workers=1, timeout=60, sandbox=False)
    assert isinstance(one, Verified)
    assert (one.verdict.outcome, one.verdict.reason) == (
        "self-reported",
        "not run again: xgboost is not installed here",
    )


def test_cases_that_are_not_here_are_no_verdict(entries, monkeypatch):
    def absent(cls, selections):
        raise MdbenchError("zoo 'cifar10-resnet18' is not there")

    monkeypatch.setattr(Exam, "of", classmethod(absent))
    ((_, one),) = verified([entries / SLUG], Ledger(), rerun=False, workers=1, timeout=60, sandbox=True, exams=Exams())
    assert one == Unverified(SLUG, "zoo 'cifar10-resnet18' is not there")
    result = run("verify", SLUG, "--no-rerun", entries=entries)
    assert result.exit_code == 2
    assert "not verified" in result.output
    assert not (entries / LEDGER).exists()


@pytest.mark.parametrize("to", ["own-renamed", "elsewhere/own"])
def test_a_zoo_that_was_moved_after_acceptance_is_no_guilt_and_back_in_its_place_all_is_as_before(
    made, tmp_path, monkeypatch, to
):
    entries, home = tmp_path / "entries", tmp_path / "home"
    shutil.copytree(made, entries)
    small_exam(home)
    monkeypatch.setenv("MDBENCH_HOME", str(home))
    monkeypatch.setattr(Exam, "of", classmethod(lambda cls, selections: Exam.posing(cases)))
    cases = {"core": [case("optimizer"), case("width_vs_optimizer", (42, 7, 18)), case("data_vs_optimizer")]}
    cases["bundled"] = cases["core"][:1]
    assert run("verify", SLUG, "--no-rerun", entries=entries).exit_code == 0
    before, zoo = everything(entries), home / "zoos" / "own"
    (home / "zoos" / to).parent.mkdir(exist_ok=True)
    zoo.rename(home / "zoos" / to)
    result = run("verify", SLUG, "--no-rerun", entries=entries)
    assert result.exit_code == 2
    assert "not verified" in result.output
    assert "zoo 'own' is not there" in " ".join(result.output.split()), result.output
    result = run("rescore", "--reason", "for a test", entries=entries)
    assert (result.exit_code, "zoo 'own' is not there" in result.output) == (2, True), result.output
    assert everything(entries) == before
    (home / "zoos" / to).rename(zoo)
    assert run("rescore", "--reason", "for a test", entries=entries).exit_code == 0
    assert run("verify", SLUG, "--no-rerun", "--dry-run", entries=entries).exit_code == 0
    assert everything(entries) == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "give the names of entries, or --all"),
        (("--all", SLUG), "give names, or --all, not both"),
        (("nobody",), "there is no entry"),
    ],
)
def test_which_entries_are_meant(entries, words, expected):
    result = run("verify", *words, entries=entries)
    assert result.exit_code
    assert expected in str(result.exception)


def test_what_lies_elsewhere_is_not_written_about(entries, tmp_path):
    shutil.copytree(entries / SLUG, tmp_path / "else" / SLUG)
    result = run("verify", tmp_path / "else" / SLUG, "--no-rerun", entries=entries)
    assert "whose ledger would speak of it; say --dry-run" in str(result.exception)
    assert not (entries / LEDGER).exists()
    assert run("verify", tmp_path / "else" / SLUG, "--no-rerun", "--dry-run", entries=entries).exit_code == 0


def test_a_fault_in_one_entry_leaves_the_others_alone(entries, monkeypatch):
    def faulty(folder, *others):
        if folder.name == SLUG:
            raise RuntimeError("something nobody thought of")
        return verify_one(folder, *others)

    monkeypatch.setattr(maintenance, "verify_one", faulty)
    result = run("verify", "--all", "--no-rerun", entries=entries)
    assert result.exit_code == 2
    assert "a fault of mdbench: RuntimeError" in result.output.replace("\n", " ")
    assert Ledger.read(entries / LEDGER).state(BYSTANDER).status == "on board"


def test_rescoring_goes_on_behind_an_entry_that_cannot_be(entries, capsys):
    assert run("verify", "--all", "--no-rerun", entries=entries).exit_code == 0
    (entries / BYSTANDER / "method.py").write_text("changed = 1\n")
    with pytest.raises(typer.Exit):
        maintenance.rescore("for no reason", entries)
    said = capsys.readouterr()
    assert f"error: {BYSTANDER}: method.py is not the file" in said.err
    assert "nothing has changed" in said.out


def test_a_removed_entry_is_refused_before_anything_is_run(entries):
    assert run("verify", "--all", "--no-rerun", entries=entries).exit_code == 0
    maintenance.remove(SLUG, "its authors asked for it", entries)
    before = (entries / LEDGER).read_bytes()
    result = run("verify", SLUG, BYSTANDER, entries=entries)
    assert f"{SLUG} was removed: its authors asked for it" in str(result.exception)
    assert (entries / LEDGER).read_bytes() == before


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    result = run("verify", "--all", entries=tmp_path / "nothing")
    assert "there is no folder" in str(result.exception)


def test_no_entries_are_no_error(tmp_path):
    result = run("verify", "--all", "--no-rerun", entries=tmp_path)
    assert (result.exit_code, result.output.strip()) == (0, "there are no entries")


def test_verdicts_come_as_they_are_ready_so_that_a_slow_method_keeps_none_from_the_ledger(entries, monkeypatch):
    seen = threading.Event()

    def slowly(folder, *rest):
        assert folder.name != SLUG or seen.wait(20), "nobody saw the other one meanwhile"
        return Unverified(folder.name, "not run")

    monkeypatch.setattr(maintenance, "verify_one", slowly)
    folders = [entries / SLUG, entries / BYSTANDER]
    ready = verified(folders, Ledger(), rerun=False, workers=2, timeout=60, sandbox=True)
    assert next(ready) == (folders[1], Unverified(BYSTANDER, "not run"))
    seen.set()
    assert list(ready) == [(folders[0], Unverified(SLUG, "not run"))]
