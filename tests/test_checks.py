"""What can be checked of an entry without running it: the honest one passes, and everything dishonest is refused."""

import json
import random
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from dishonest import (
    BYSTANDER,
    METHOD,
    NAME,
    OTHER,
    SLUG,
    TRICKS,
    describe,
    honest,
    read,
    renamed,
    small_exam,
    table,
    write_table,
)

from leaderboard.entry.checks import Refused, check, check_among, check_names, read_entries, read_entry, resembling
from leaderboard.entry.entry import Entry, skeleton
from leaderboard.entry.sheet import sheet_of
from mdbench.errors import MdbenchError
from mdbench.scoring.evaluation import evaluated

STATIC = [trick for trick in TRICKS if trick.kind]


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    return small_exam(tmp_path_factory.mktemp("zoos"))


@pytest.fixture(scope="module")
def made(exam, tmp_path_factory):
    """A folder of two honest entries."""
    entries = tmp_path_factory.mktemp("made") / "entries"
    honest(entries, exam)
    honest(entries, exam, name="Bystander", method=OTHER, authors=["Charles Babbage"])
    return entries


@pytest.fixture
def entries(made, tmp_path):
    shutil.copytree(made, tmp_path / "entries")
    return tmp_path / "entries"


@pytest.fixture
def folder(entries):
    return entries / SLUG


def judge(folder, exam):
    checked = check(folder, exam)
    check_among(checked.entry, read_entries(folder.parent))
    return checked


def on_disk(root):
    """Return everything below a folder: path → what it is, how large, and when it was changed."""
    return {path: (path.lstat().st_mode, path.lstat().st_size, path.lstat().st_mtime_ns) for path in root.rglob("*")}


def same(one, other):
    return list(one) == list(other) and all(np.array_equal(one[name], other[name]) for name in one)


def test_the_honest_entry_is_what_its_method_says(exam, folder):
    checked = judge(folder, exam)
    cases = [one.rows.case for one in exam.posed.values()]
    zoos = {zoo.name: (at, zoo) for one in exam.posed.values() for zoo, at in zip(one.zoos, one.folders, strict=True)}
    answers = evaluated([folder / "method.py"], cases, zoos, cache=False).answers
    assert {name for _, name in answers} == set(checked.predicted) == set(list(exam.posed)[:2])
    for (_, name), answer in answers.items():
        np.testing.assert_array_equal(checked.predicted[name], answer.predicted)
    assert (checked.source, checked.requirements) == (METHOD, None)


def test_there_are_enough_of_them():
    names = [trick.name for trick in TRICKS]
    assert len(set(names)) == len(names) >= 200


@pytest.mark.parametrize("trick", STATIC, ids=lambda trick: trick.name)
def test_what_is_dishonest_is_refused(trick, exam, folder, tmp_path):
    where = trick.play(folder) or folder
    before = on_disk(tmp_path)
    with pytest.raises(Refused) as caught:
        judge(where, exam)
    said = str(caught.value)
    assert caught.value.kind == trick.kind, said
    assert len(said) < 500
    assert said.isprintable()
    assert on_disk(tmp_path) == before
    check(folder.parent / BYSTANDER, exam)


@pytest.mark.parametrize("trick", [one for one in TRICKS if one.kind is None], ids=lambda trick: trick.name)
def test_what_only_the_rerun_tells_is_not_refused_before(trick, exam, folder):
    judge(trick.play(folder) or folder, exam)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("the last row dropped", "case own/width_vs_optimizer/few-shot/3, seed 18, row point-155 is not answered"),
        ("another seed", "case own/optimizer/few-shot/3: seed 91 is not one that is to be answered"),
        ("a row of no zoo", "row 'point-9999' is not one"),
        (
            "a verdict that there is not",
            "'bad luck' is no verdict of its task (temperature_too_low, temperature_too_high)",
        ),
        ("another zoo", "zoo 'own' is not the one that is asked here: the entry was made with mdbench"),
        ("other splits", "case 'own/optimizer/few-shot/3' has other rows here"),
        ("a Cyrillic letter in the name", "'\\u0430' (CYRILLIC SMALL LETTER A) cannot stand in a name"),
        ("a future format", "format 2 is newer than this mdbench knows (1); upgrade it"),
        ("method.py a link to outside", "method.py is no ordinary file that can be read: it is a link"),
    ],
)
def test_the_message_says_what_and_where(name, wanted, exam, folder):
    next(trick for trick in TRICKS if trick.name == name).play(folder)
    with pytest.raises(Refused) as caught:
        judge(folder, exam)
    assert wanted in str(caught.value)


# --- predictions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"use_dictionary": False},
        {"row_group_size": 100},
        {"use_dictionary": False, "row_group_size": 7},
        {"data_page_version": "2.0", "data_page_size": 64},
        {"store_schema": False},
        {"use_dictionary": ["case"], "column_encoding": {"seed": "DELTA_BINARY_PACKED"}},
    ],
    ids=str,
)
@pytest.mark.parametrize("shuffled", [False, True])
def test_rows_are_joined_by_their_names(how, shuffled, exam, folder):
    wanted = check(folder, exam).predicted
    said = table(folder)
    write_table(folder, said.sample(frac=1, random_state=0) if shuffled else said, **how)
    assert same(check(folder, exam).predicted, wanted)


@pytest.mark.parametrize("seed", [pa.int32(), pa.int64()])
@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_texts_and_numbers_of_other_widths(seed, text, exam, folder):
    wanted = check(folder, exam).predicted
    said = table(folder)
    columns = {
        name: pa.array(said[name], seed) if name == "seed" else pa.array(said[name], pa.string()) for name in said
    }
    columns["case"], columns["predicted"] = columns["case"].cast(text), columns["predicted"].cast(text)
    write_table(folder, pa.table(columns))
    assert same(check(folder, exam).predicted, wanted)


def test_what_is_written_is_read_and_is_the_same_every_time(exam):
    sheet = sheet_of(exam, tuple(exam.posed))
    rng = np.random.default_rng(0)
    predicted = {
        name: rng.integers(len(one.rows.task.classes), size=(len(one.rows.samples), len(one.rows.test)), dtype=np.int8)
        for name, one in exam.posed.items()
    }
    content = sheet.write(predicted)
    assert content == sheet.write(predicted)
    assert same(sheet.read(content), predicted)
    again = small_exam(exam.posed["own/optimizer/few-shot/3"].folders[0].parent.parent)
    assert sheet_of(again, tuple(again.posed)).write(predicted) == content


def test_a_damaged_file_is_refused_or_says_the_same(exam, made):
    """Whatever is changed in a file, reading it ends, and with nothing else than its verdicts or a refusal."""
    content = (made / SLUG / "predictions.parquet").read_bytes()
    sheet = sheet_of(exam, tuple(exam.posed)[:2])
    wanted = sheet.read(content)
    rng, kinds = random.Random(0), set()
    for number in range(1500):
        damaged = bytearray(content)
        # Half of the changes in the last tenth: that is where the file says what it holds.
        first = len(content) * 9 // 10 if number % 2 else 0
        for _ in range(rng.choice([1, 1, 1, 2, 8])):
            damaged[rng.randrange(first, len(content))] = rng.randrange(256)
        try:
            found = sheet.read(bytes(damaged))
        except Refused as refused:
            kinds.add(refused.kind)
            continue
        assert [values.shape for values in found.values()] == [values.shape for values in wanted.values()]
        assert all(np.isin(values, (0, 1)).all() for values in found.values())
    assert kinds.issuperset({"damaged", "unknown row", "duplicate row", "compressed", "types", "table"})


def test_a_zoo_that_has_changed(exam, folder):
    """Scored anew, rows that are no longer asked for are passed over, and the record of the data may be another."""
    wanted = check(folder, exam).predicted
    said = table(folder)
    extra = said.iloc[[0, 200]].assign(row=["point-9998", "point-9999"])
    other = said.iloc[[1]].assign(case="own/retired/few-shot/3", seed=11, predicted="width")
    write_table(folder, pd.concat([said, extra, other]))
    with pytest.raises(Refused, match="not one that is to be answered"):
        check(folder, exam)
    entry = read(folder)
    entry["dataset"]["zoos"]["own"] = "0" * 64
    (folder / "entry.json").write_text(json.dumps(entry))
    with pytest.raises(Refused, match="dataset"):
        check(folder, exam)
    assert same(check(folder, exam, rescored=True).predicted, wanted)
    write_table(folder, said.iloc[1:])
    with pytest.raises(Refused, match="is not answered"):
        check(folder, exam, rescored=True)


def test_a_selection_that_is_not_posed_here_is_no_fault_of_the_entry(exam, folder):
    entry = read(folder) | {"selections": ["core", "paper"]}
    (folder / "entry.json").write_text(json.dumps(entry))
    with pytest.raises(MdbenchError, match="'paper' are not posed here") as caught:
        check(folder, exam)
    assert not isinstance(caught.value, Refused)


def test_requirements(exam, folder):
    text = "# what it needs\nnumpy>=1.26,<3  # arrays\n\nscikit-learn[alldeps] ; python_version >= '3.11'\n"
    (folder / "requirements.txt").write_text(text)
    describe(folder)
    assert check(folder, exam).requirements == text


def test_a_file_that_grows_while_it_is_read(exam, folder, monkeypatch):
    """What the file system says of a size is not relied upon."""
    real = __import__("os").fstat

    class Small:
        def __init__(self, about):
            self.st_mode, self.st_size = about.st_mode, 0

    (folder / "method.py").write_text(METHOD + "#" * 2**20)
    describe(folder)
    monkeypatch.setattr("leaderboard.entry.checks.os.fstat", lambda handle: Small(real(handle)))
    with pytest.raises(Refused, match=r"method\.py is larger than"):
        check(folder, exam)


# --- among others -----------------------------------------------------------------------------------------------------


def successor(folder, name=NAME, slug=None, **more):
    """Copy an entry as one that supersedes it."""
    old = read(folder)
    home = folder.with_name(slug or f"{old['slug']}-2")
    shutil.copytree(folder, home)
    (home / "entry.json").write_text(
        json.dumps(old | {"name": name, "slug": home.name, "supersedes": old["slug"]} | more)
    )
    return home


def test_a_line_of_entries_may_share_a_name_and_a_method(exam, folder):
    second = successor(folder)
    third = successor(second, slug=f"{SLUG}-3")
    for one in (folder, second, third):
        judge(one, exam)
    check_names(read_entries(folder.parent))


def test_an_entry_has_one_successor(exam, folder):
    successor(folder)
    other = successor(folder, name="Mean rule", slug="mean-rule")
    with pytest.raises(Refused, match=r"superse.*median-rule-2") as caught:
        judge(other, exam)
    assert caught.value.kind == "supersedes"


def test_names_that_are_close_to_anothers_are_found(exam, entries):
    """Every change of one sign, against every text of so many signs: those at a distance of one, by its definition."""
    names = {
        "Tree",
        "Three",
        "Tre",
        "Trae",
        "Tere",
        "Rtee",
        "Tree of trees",
        "Random tree",
        "Trees",
        "Free tea",
        "Threes",
        "Forest",
    }
    plain = {name: skeleton(name) for name in names}
    every = "abcdefghijklmnopqrstuvwxyz"

    def neighbours(text):
        cuts = [(text[:at], text[at:]) for at in range(len(text) + 1)]
        for front, back in cuts:
            yield from (front + sign + back for sign in every)
            yield front + back[1:]
            yield from (front + sign + back[1:] for sign in every if back)
            yield front + back[:2][::-1] + back[2:]

    mine = Entry.model_construct(name="Tree", slug="tree", supersedes=None)
    others = {
        str(at): Entry.model_construct(name=name, slug=str(at), supersedes=None)
        for at, name in enumerate(sorted(names))
    }
    close = {other.name for other in resembling(mine, others)}
    assert close == {name for name in names if plain[name] in set(neighbours("tree")) or "tree" in plain[name]}
    assert {"Three", "Tre", "Trae", "Tere"} <= close
    assert not close & {"Threes", "Free tea", "Forest"}


def test_entries_that_supersede_each_other_end(exam, folder, entries):
    """Each says that the other came first: both are refused, and looking ends."""
    one = read(folder) | {"supersedes": BYSTANDER, "authors": ["Charles Babbage"]}
    other = read(entries / BYSTANDER) | {"supersedes": SLUG}
    (folder / "entry.json").write_text(json.dumps(one))
    (entries / BYSTANDER / "entry.json").write_text(json.dumps(other))
    with pytest.raises(Refused) as caught:
        check_names(read_entries(entries))
    assert caught.value.kind == "supersedes"


def test_a_broken_neighbour_stops_nobody(exam, entries):
    (entries / BYSTANDER / "entry.json").write_text("[")
    (entries / "loop").symlink_to(entries)
    assert list(read_entries(entries)) == [SLUG]
    judge(entries / SLUG, exam)
    assert isinstance(read_entry(entries / SLUG), Entry)


def test_names_with_other_numbers_are_not_alike(exam, entries):
    for name, method in (("Tree 2", METHOD + "# 2\n"), ("Tree 3", METHOD + "# 3\n")):
        home = honest(entries, exam, name=name, method=method)
        judge(home, exam)
    check_names(read_entries(entries))
    with pytest.raises(Refused, match="looks like"):
        judge(renamed(home, "Tre e 2"), exam)
