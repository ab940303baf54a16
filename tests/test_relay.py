"""Sealed zoos from end to end: all baselines answer several, are scored where the labels are, and lead the board elsewhere."""

import hashlib
import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import toy
from typer.testing import CliRunner

from leaderboard.entry.exam import Exam
from leaderboard.ranking import assemble, markdown, summarised
from leaderboard.sealing import seal as sealing
from leaderboard.sealing.answers import answer
from leaderboard.sealing.seal import seal
from leaderboard.sealing.shelf import sealed_zoos
from leaderboard.site.site import build
from leaderboard.submitting.submission import submit
from leaderboard.verifying import head
from leaderboard.verifying.ledger import LEDGER, Ledger
from mdbench.cases.cases import Case
from mdbench.cli import app
from mdbench.errors import MdbenchError
from mdbench.methods.method import find_method, load_method, named_methods
from mdbench.sources.modeldiagnosis import MOVES
from mdbench.tables.manifest import Provenance
from mdbench.tables.zoo import Zoo

PAPER = ("optimizer", "width_vs_optimizer", "data_vs_optimizer")
#: Those that are told the training configuration or an error on test data, neither of which a sealed zoo says.
CANNOT = {"hyperparameter_tree", "hyperparameter_validation_tree", "random", "validation_tree"}
HOW = {"workers": 0, "sandbox": False}


def zoo(name: str, widths: tuple[int, ...], fractions: tuple[int, ...], seed: int) -> Zoo:
    """A toy zoo, with the columns of weights too."""
    table = toy.table(seed=seed)
    table = table[table["width"].isin(widths) & table["data_fraction"].isin(fractions)]
    for column in load_method(find_method("weights_forest")).columns["optimizer"]:
        for part in filter(None, column.split("|")):
            table = table.assign(**{part: np.log2(table["width"]) + np.log2(table["batch_size"])})
    return Zoo.from_table(name, "a toy", table, MOVES, Provenance(source="here", license="MIT", made_by="the tests"))


KNOWN = zoo("known", (2, 6, 16, 45, 128), (10, 30, 50, 70, 100), seed=0)
ASKED = zoo("asked", (4, 23), (30, 80), seed=3)
HIDDEN = {
    "winter": zoo("hidden", (3, 8, 32), (20, 80), seed=7),
    "spring": zoo("hidden-too", (4, 11, 64), (40, 90), seed=8),
}


def case(task: str) -> Case:
    return Case(
        name=f"known/{task}/few-shot/20", sweep=f"known/{task}/few-shot", task=task, train="known", test="asked",
        scenario="few-shot", about="BUDGET random cells", sample="cells", knobs=("data_fraction", "width"), budget=20,
        seeds=(42, 90),
    )  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A clone in which all baselines have answered two sealed zoos, and, elsewhere, the labels and another clone."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MDBENCH_HOME", str(folder / "home"))
        patched.setattr(sealing, "SEEDS", (42, 90))
        for one in (KNOWN, ASKED):
            one.save(folder / "home" / "zoos" / one.name)
        exam = Exam.posing({"core": [case(task) for task in PAPER]})
        patched.setattr(Exam, "of", classmethod(lambda cls, selections: exam))
        clone = folder / "clone" / "leaderboard"
        for name, hidden in HIDDEN.items():
            hidden.save(folder / "secret" / name)
            seal(folder / "secret" / name, folder / "vault" / name, name, "known")
            shutil.copytree(folder / "vault" / name / "public", clone / "sealed" / name / "public")
        for method in named_methods():
            submit(method, name=method, authors=["The authors", f"Of {method}"], entries=clone / "entries", **HOW)
        ran = CliRunner().invoke(
            app, ["leaderboard", "verify", "--all", "--no-rerun", "--entries", str(clone / "entries")]
        )
        assert ran.exit_code == 0, ran.output
        shutil.copytree(folder / "clone", folder / "vault" / "clone")
    return folder, exam


@pytest.fixture(autouse=True)
def here(home, world, monkeypatch):
    folder, exam = world
    monkeypatch.setenv("MDBENCH_HOME", str(folder / "home"))
    monkeypatch.setattr(Exam, "of", classmethod(lambda cls, selections: exam))


def run(*words: object):
    return CliRunner().invoke(app, ["leaderboard", *map(str, words)])


def score(world, name: str, out: Path, *slugs: str):
    """Score where the labels are."""
    vault = world[0] / "vault"
    return run(
        "score-sealed", *slugs, "--labels", vault / name / "labels.fernet", "--key", vault / name / "key", "--out", out,
        "--entries", vault / "clone" / "leaderboard" / "entries", "--no-sandbox",
    )  # fmt: skip


@pytest.fixture(scope="module")
def lines(world, tmp_path_factory):
    """What whoever has the labels of winter hands on."""
    out = tmp_path_factory.mktemp("handed-on") / "winter.jsonl"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MDBENCH_HOME", str(world[0] / "home"))
        patched.setattr(Exam, "of", classmethod(lambda cls, selections: world[1]))
        ran = score(world, "winter", out)
        assert ran.exit_code == 0, (ran.output, ran.exception)
    return out


@pytest.fixture
def clone(world, tmp_path):
    """The clone where the board is, to be changed."""
    shutil.copytree(world[0] / "clone", tmp_path / "clone")
    return tmp_path / "clone" / "leaderboard"


def accuracies(folder: Path, name: str, hidden: Zoo, secret: str) -> dict[str, float]:
    """Accuracy on each task of an entry on a sealed zoo, by pandas, asked with a secret, and the zoo's own labels."""
    public = folder.parent.parent / "sealed" / name / "public"
    said = pq.read_table(
        BytesIO(answer(folder / "method.py", public, sandbox=False, secret=secret).content)
    ).to_pandas()
    models = pq.read_table(folder.parent.parent / "sealed" / name / "public" / "models.parquet").to_pandas()
    # Losses are not rounded: they tell which row is which.
    names = pd.Series(models["configuration"].to_numpy(), index=models["train_loss"].to_numpy())
    truth = hidden.configurations.assign(row=names.loc[hidden.configurations["train_loss"]].to_numpy()).set_index("row")
    found = {}
    for posed, part in said.groupby("case", observed=True):
        task = posed.split("/")[1]
        right = truth[task].loc[part["row"].astype(str)].to_numpy()
        decided = pd.notna(right) & (right != "none")
        found[task] = 100 * (part["predicted"].astype(str).to_numpy() == right)[decided].mean()
    return found


def test_all_baselines_answer_all_sealed_zoos_of_the_clone_but_those_that_cannot(world):
    entries = world[0] / "clone" / "leaderboard" / "entries"
    assert list(sealed_zoos(entries.parent / "sealed")) == ["spring", "winter"]
    found = {
        json.loads((folder / "entry.json").read_text())["name"]: sorted(one.name for one in folder.glob("sealed-*"))
        for folder in entries.glob("[a-z]*/")
    }
    assert set(found) == set(named_methods())
    assert {name for name, files in found.items() if not files} == CANNOT
    assert {tuple(files) for name, files in found.items() if files} == {
        ("sealed-spring.parquet", "sealed-winter.parquet")
    }


def test_scores_from_where_the_labels_are_lead_the_board_where_it_is(world, lines, clone, tmp_path):
    vault, entries = world[0] / "vault" / "clone" / "leaderboard" / "entries", clone / "entries"
    before = (entries / LEDGER).read_bytes()
    assert (vault / LEDGER).read_bytes() == before, "where the labels are nothing is changed"
    assert not list(entries.parent.parent.rglob("labels*"))
    ran = run("append", lines, "--entries", entries)
    assert ran.exit_code == 0, (ran.output, ran.exception)
    assert (entries / LEDGER).read_bytes() == before + lines.read_bytes()
    after = Ledger.read(entries / LEDGER)
    assert head.read_head(entries / LEDGER).number == len(after.events)
    scored = {event.entry: event.sealed for event in after.events if event.sealed}
    assert {slug.replace("-", "_") for slug in scored} == set(named_methods()) - CANNOT
    assert len({found.secret for found in scored.values()}) == len(scored)
    for slug in ("majority", "md-tree", "random-forest", "barrier-rule"):
        found = scored[slug]
        assert found.by_task == pytest.approx(accuracies(entries / slug, "winter", HIDDEN["winter"], found.secret)), (
            slug
        )
    best = max(found.above_chance for found in scored.values() if found.tasks == PAPER)
    # The second zoo, after the ledger has come to where the labels are.
    shutil.copy(entries / LEDGER, vault / LEDGER)
    shutil.copy(entries / "ledger.head", vault / "ledger.head")
    try:
        assert score(world, "spring", tmp_path / "spring.jsonl", "majority", "md-tree").exit_code == 0
    finally:
        (vault / LEDGER).write_bytes(before)
        shutil.copy(world[0] / "clone" / "leaderboard" / "entries" / "ledger.head", vault / "ledger.head")
    assert run("append", tmp_path / "spring.jsonl", "--entries", entries).exit_code == 0
    board = assemble(entries, world[1])
    assert [(one.name, one.tasks, len(one.places)) for one in board.sealed] == [
        ("spring", PAPER, 2),
        ("winter", PAPER, len(scored) - 2),
        ("winter", ("optimizer",), 2),  # barrier_rule and md_tree_cka answer no more
    ]
    assert {(one.name, one.asked, one.by_author["The authors"]) for one in board.sealed} == {
        ("winter", len(scored), len(scored)),
        ("spring", 2, 2),
    }
    build(board, tmp_path / "site")
    page = (tmp_path / "site" / "index.html").read_text()
    # Sealed zoos come first.
    at = [page.index(what) for what in ('id="leading"', "<h3>spring", "<h3>winter", 'id="public"', 'id="board"')]
    assert at == sorted(at)
    assert f"The best 10 of {len(scored) - 2}" in page
    said = next(one for one in board.sealed if one.name == "winter").places[0]
    assert said.above_chance == best
    text = markdown(board)
    assert text.index("## Sealed zoo spring") < text.index("## Sealed zoo winter")
    assert summarised(board).sealed[1].places[0].rank == 1


def test_nothing_is_scored_twice_by_default(world, lines, clone, tmp_path):
    assert run("append", lines, "--entries", clone / "entries").exit_code == 0
    labels = world[0] / "vault" / "winter"
    words = (
        "--labels",
        labels / "labels.fernet",
        "--key",
        labels / "key",
        "--entries",
        clone / "entries",
        "--no-sandbox",
    )
    ran = run("score-sealed", *words, "--out", tmp_path / "again")
    assert ran.exit_code == 0
    assert "no line was written" in ran.output
    ran = run("score-sealed", "majority", *words, "--out", tmp_path / "again")
    assert "majority: the ledger says so already" in ran.output
    assert not (tmp_path / "again").exists()


# --- what is refused ----------------------------------------------------------------------------------------------------


def refused(entries: Path, lines: Path) -> str:
    """Append lines, see that nothing was, and return why."""
    before = {path: path.read_bytes() for path in entries.glob("ledger.*")}
    ran = run("append", lines, "--entries", entries)
    assert isinstance(ran.exception, MdbenchError), (ran.output, ran.exception)
    assert {path: path.read_bytes() for path in entries.glob("ledger.*")} == before
    return str(ran.exception)


def chained(lines: Path, out: Path, change, keep: slice = slice(None)) -> Path:
    """Write lines anew, each changed and with the digest of the one before it."""
    said, previous = [], None
    for number, line in enumerate(lines.read_text().splitlines()[keep]):
        event = json.loads(line)
        previous = previous or event["previous"]
        change(event, number)
        new = json.dumps(event | {"previous": previous}, separators=(",", ":"), ensure_ascii=False)
        previous = hashlib.sha256(new.encode()).hexdigest()
        said.append(new + "\n")
    out.write_text("".join(said))
    return out


def test_lines_written_anew_as_they_were_are_the_same(lines, tmp_path):
    assert chained(lines, tmp_path / "same", lambda event, number: None).read_bytes() == lines.read_bytes()


def test_lines_that_do_not_continue_the_ledger_are_refused(lines, clone):
    entries = clone / "entries"
    assert run("remove", "majority", "--reason", "for a test", "--entries", entries).exit_code == 0
    assert "score there again" in refused(entries, lines)


def test_lines_that_are_there_are_refused(lines, clone):
    entries = clone / "entries"
    first = len(Ledger.read(entries / LEDGER).events) + 1
    assert run("append", lines, "--entries", entries).exit_code == 0
    assert f"line {first} of the ledger says this already" in refused(entries, lines)


def test_a_score_that_is_there_is_refused(lines, clone, tmp_path):
    entries = clone / "entries"
    assert run("append", lines, "--entries", entries).exit_code == 0
    ledger = Ledger.read(entries / LEDGER)

    def later(event, number):
        event["number"] = ledger.head.number + 1 + number
        event["date"] = ledger.events[-1].date.isoformat().replace("+00:00", "Z")

    again = chained(lines, tmp_path / "again", later, slice(2))
    first = json.loads(again.read_text().splitlines()[0])
    again.write_text(again.read_text().replace(first["previous"], ledger.head.sha256, 1))
    again = chained(again, tmp_path / "again-too", lambda event, number: None)
    assert "has this score on winter already, by line" in refused(entries, again)


def _future(event, number):
    event["date"] = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")


def _past(event, number):
    event["date"] = "2020-01-01T00:00:00Z"


def _of(key, value):
    return lambda event, number: event.__setitem__(key, value)


def _score(key, value):
    return lambda event, number: event["sealed"].__setitem__(key, value)


def _removal(event, number):
    event |= {"kind": "removed"}
    event.pop("sealed")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_future, "is dated in the future"),
        (_past, "earlier date than the one before"),
        (_removal, "says 'removed', and what is made elsewhere are scores on sealed zoos"),
        (_of("entry_sha256", "0" * 64), "has changed since it was accepted"),
        (_of("entry", "nobody"), "nobody cannot have a score on winter"),
        (_of("entry", "random"), "random cannot have a score on winter: it has no predictions on it"),
        (_of("number", 7), "7, .*|continues a ledger whose line 6"),
        (_score("labels_sha256", "0" * 64), "it is of other labels"),
        (_score("zoo", "autumn"), "without its public part nobody can answer it"),
        (_score("accuracy", "high"), "line 1"),
        (_of("colour", "red"), "line 1"),
    ],
)
def test_what_makes_no_sense_is_refused(lines, clone, tmp_path, change, why):
    made = chained(lines, tmp_path / "made", change, slice(1))
    assert re.search(why, refused(clone / "entries", made))


def test_lines_out_of_order_cut_or_in_other_words_are_refused(lines, clone, tmp_path):
    entries, made, whole = clone / "entries", tmp_path / "made", lines.read_bytes()
    several = whole.splitlines(keepends=True)
    for content, why in (
        (b"".join([several[0], several[2]]), "does not continue the one before it"),
        (b"".join(several[1:]), "continues a ledger whose line"),
        (whole[:-1], "holds no whole lines"),
        (b"", "holds no whole lines"),
        (b"\n", "line 1"),
        (several[0].replace(b'{"number"', b'{ "number"'), "in other words"),
        (several[0].replace(b'"kind":"sealed"', b'"kind":"sealed","kind":"sealed"'), "line 1"),
        (b"\xff\n", "line 1"),
    ):
        made.write_bytes(content)
        assert why in refused(entries, made), content
    twice = chained(lines, made, lambda event, number: None, slice(1)).read_text()
    event = json.loads(twice) | {"previous": hashlib.sha256(twice[:-1].encode()).hexdigest()}
    event["number"] += 1
    event["sealed"]["accuracy"] = 1.0
    made.write_text(twice + json.dumps(event, separators=(",", ":")) + "\n")
    assert "has two scores on the same labels" in refused(entries, made)
    assert "cannot be read" in refused(entries, tmp_path / "nowhere")


def test_what_cannot_be_scored_where_the_labels_are(world, tmp_path):
    (tmp_path / "there").write_text("mine")
    for slugs, name, out, why in (
        ((), "winter", "there", "is there, and is not written over"),
        (("nobody",), "winter", "out", "nobody is not on the board"),
    ):
        assert why in str(score(world, name, tmp_path / out, *slugs).exception)
    assert (tmp_path / "there").read_text() == "mine"
    ran = score(world, "winter", tmp_path / "out", "random")
    assert ran.exit_code == 2
    assert "random has no predictions on winter" in ran.output
    vault = world[0] / "vault"
    ran = run("score-sealed", "--labels", vault / "winter" / "labels.fernet", "--key", vault / "spring" / "key",
              "--out", tmp_path / "out", "--entries", vault / "clone" / "leaderboard" / "entries")  # fmt: skip
    assert "does not open" in str(ran.exception)
    assert not (tmp_path / "out").exists()


def test_another_key_is_told_before_anything_is_verified(clone, world):
    entries, vault = clone / "entries", world[0] / "vault"
    before = (entries / "ledger.jsonl").read_bytes()
    ran = run("verify", "majority", "--no-rerun", "--sealed", vault / "winter" / "labels.fernet",
              "--key", vault / "spring" / "key", "--entries", entries)  # fmt: skip
    assert "does not open" in str(ran.exception)
    assert (entries / "ledger.jsonl").read_bytes() == before


def test_an_entry_that_is_named_twice_is_scored_once(world, tmp_path):
    ran = score(world, "spring", tmp_path / "out", "majority", "majority")
    assert ran.exit_code == 0, ran.output
    assert (tmp_path / "out").read_bytes().count(b"\n") == 1


def test_queries_are_said_before_anything_is_scored_and_stand_on_the_page(lines, clone, tmp_path, world):
    entries = clone / "entries"
    assert run("append", lines, "--entries", entries).exit_code == 0
    assert run("remove", "majority", "--reason", "for a test", "--entries", entries).exit_code == 0
    labels = world[0] / "vault" / "winter"
    ran = run("score-sealed", "--labels", labels / "labels.fernet", "--key", labels / "key", "--out", tmp_path / "out",
              "--entries", entries)  # fmt: skip
    times = len(lines.read_bytes().splitlines())
    assert ran.output.splitlines()[:2] == [f"winter was asked {times} times before, by:", f"  The authors: {times}"]
    build(assemble(entries, world[1]), tmp_path / "site")
    page = re.sub(r"<[^>]*>", "", (tmp_path / "site" / "sealed.html").read_text())
    assert f"The labels of winter were asked {times} times in all; by author: The authors {times}, " in page
    assert "Of majority 1" in page, "what was removed since was asked, too"


# --- submitting ---------------------------------------------------------------------------------------------------------


def test_a_submission_answers_what_it_is_told_to(clone, world):
    entries, said = clone / "entries", []
    how = {"authors": ["A"], "entries": entries, **HOW}
    assert len(list((entries / "majority").glob("sealed-*"))) == 2
    none = submit(_changed(clone, "none"), name="None", sealed=[], **how)
    assert not list(none.glob("sealed-*"))
    one = submit(_changed(clone, "one"), name="One", sealed=[clone / "sealed" / "spring" / "public"], **how)
    assert [path.name for path in one.glob("sealed-*")] == ["sealed-spring.parquet"]
    # The same again is the same, also where the clone has one more zoo by now; which it does not answer is said.
    again = submit(_changed(clone, "one"), name="One", **how, say=said.append)
    assert again == one
    assert said == [
        f"{one} is this submission already: nothing was run",
        "it does not answer winter; if its method can, submit it with --supersedes one",
    ]


def _changed(folder: Path, word: str) -> Path:
    """A method's file that is like no other."""
    path = folder / f"{word}.py"
    path.write_text(find_method("majority").read_text() + f"# {word}\n")
    return path


def test_sealed_zoos_that_cannot_be_answered_stop_a_submission_before_it_runs(clone):
    entries, sealed = clone / "entries", clone / "sealed"
    how = {"name": "One", "authors": ["A"], "entries": entries, **HOW}
    (sealed / "winter").rename(sealed / "autumn")
    with pytest.raises(MdbenchError, match="is the public part of winter: rename autumn to that"):
        submit(_changed(clone, "one"), **how)
    public = sealed / "autumn" / "public"
    with pytest.raises(MdbenchError, match="two of these sealed zoos have one name"):
        submit(_changed(clone, "one"), sealed=[public, public], **how)
    (public / "models.parquet").write_bytes(b"")
    (sealed / "autumn").rename(sealed / "winter")
    with pytest.raises(MdbenchError, match=r"is not the file that sealed\.json describes"):
        submit(_changed(clone, "one"), **how)
    assert not (entries / "one").exists()
    ran = CliRunner().invoke(
        app, ["submit", str(_changed(clone, "one")), "--name", "One", "--authors", "A", "--sealed", "x", "--no-sealed"]
    )
    assert "not both" in ran.output
