"""Sealed zoos: nothing public leads to a label, scores are what a plain procedure makes of them, and no part can be changed."""

import errno
import hashlib
import json
import math
import shutil
import stat
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
import toy
from cryptography.fernet import Fernet
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_zoo import Faults, failing
from typer.testing import CliRunner

from leaderboard.cli import app
from leaderboard.entry.refused import Refused
from leaderboard.entry.sheet import write_table
from leaderboard.sealing import seal as sealing
from leaderboard.sealing.answers import Answered, answer, check_answers
from leaderboard.sealing.rounding import rounded, step_of
from leaderboard.sealing.seal import guessable, seal
from leaderboard.sealing.sealed import Labels, Part, Sealed, is_public
from leaderboard.sealing.sealed_score import score
from mdbench import files
from mdbench.cases.splits import split
from mdbench.errors import MdbenchError
from mdbench.methods.method import MethodError
from mdbench.scoring.evaluation import evaluated
from mdbench.sources.modeldiagnosis import MOVES
from mdbench.tables.manifest import Provenance
from mdbench.tables.schema import COLUMNS, Family
from mdbench.tables.tasks import NONE, TASKS
from mdbench.tables.zoo import Zoo

PROVENANCE = Provenance(source="here", license="MIT", made_by="the tests")
TREE = """
from sklearn.tree import DecisionTreeClassifier

columns = ["train_error", "log_hessian_trace", "output_cka"]
method = DecisionTreeClassifier(max_depth=4, random_state=0)
"""
NEAREST = """
columns = ["train_error"]

class Nearest:
    def fit(self, models, labels, task):
        self.known = list(zip(models["train_error"], labels))

    def predict(self, models):
        return [min(self.known, key=lambda one: abs(one[0] - error))[1] for error in models["train_error"]]
"""


def _zoo(name: str, widths: tuple[int, ...], fractions: tuple[int, ...], seed: int) -> Zoo:
    table = toy.table(seed=seed)
    table = table[table["width"].isin(widths) & table["data_fraction"].isin(fractions)]
    table = table.assign(train_error_std=table["train_error"] / 10, test_error_std=table["test_error"] / 10)
    table.iloc[5, table.columns.get_loc("test_error")] = np.nan  # a configuration whose networks all diverged
    return Zoo.from_table(name, "a toy", table, MOVES, PROVENANCE)


KNOWN = _zoo("known", (2, 6, 16, 45, 128), (10, 30, 50, 70, 100), seed=0)
HIDDEN = _zoo("hidden", (3, 8, 32, 91), (20, 40, 80), seed=7)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A home with the zoo to learn from, the hidden zoo, one of its seals, and a method file."""
    folder = tmp_path_factory.mktemp("shelf")
    KNOWN.save(folder / "home" / "zoos" / "known")
    HIDDEN.save(folder / "hidden")
    (folder / "tree.py").write_text(TREE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MDBENCH_HOME", str(folder / "home"))
        seal(folder / "hidden", folder / "winter", "winter", "known")
    return folder


@pytest.fixture(autouse=True)
def at_home(home, shelf, monkeypatch):
    monkeypatch.setenv("MDBENCH_HOME", str(shelf / "home"))


@pytest.fixture
def winter(shelf, tmp_path):
    """A copy of the seal, to be changed."""
    shutil.copytree(shelf / "winter", tmp_path / "winter")
    return tmp_path / "winter"


def asked(method, folder, **how) -> Answered:
    return answer(method, folder / "public", sandbox=False, **how)


def scored(content, folder):
    return score(content, folder / "public", folder / "labels.fernet", folder / "key")


def opened(folder) -> dict:
    return json.loads(Fernet((folder / "key").read_bytes()).decrypt((folder / "labels.fernet").read_bytes()))


def lock(folder, labels: dict) -> bytes:
    content = json.dumps(labels, separators=(",", ":")).encode()
    (folder / "labels.fernet").write_bytes(Fernet((folder / "key").read_bytes()).encrypt(content))
    return content


def tell(folder, **changes) -> None:
    """Change what sealed.json says."""
    path = folder / "public" / "sealed.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def places(folder) -> np.ndarray:
    """Where in the hidden zoo each row of the public part stands, found by its values."""
    table = pq.read_table(folder / "public" / "models.parquet").to_pandas()
    place = {value: number for number, value in enumerate(HIDDEN.configurations["train_loss"])}
    return np.array([place[value] for value in table["train_loss"]])


# --- what is public -----------------------------------------------------------------------------------------------------


def test_no_column_that_leads_to_a_label_is_public(shelf):
    table = pq.read_table(shelf / "winter" / "public" / "models.parquet").to_pandas()
    shown = [COLUMNS[name] for name in table if name != "configuration"]
    assert {column.family for column in shown} == {Family.LANDSCAPE}
    assert not any(column.reveals_label or column.name.endswith("_std") for column in shown)
    # Nor is one there under another name: no column has the values of a hidden one, in whatever order.
    whole = HIDDEN.configurations
    hidden = [name for name in whole if name not in table and pd.api.types.is_numeric_dtype(whole[name])]
    assert {"test_error", "test_loss", "generalization_gap", "width", "batch_size", "data_amount", "rfi_width"} <= set(
        hidden
    )
    seen = {tuple(np.sort(table[name])) for name in table if name != "configuration"}
    assert not seen & {tuple(np.sort(whole[name])) for name in hidden}
    # What is there is what was measured, rounded where decimals would tell a knob, whole rows together.
    measured = rounded(whole[[column.name for column in shown]], step_of(whole)).iloc[places(shelf / "winter")]
    assert np.array_equal(table.drop(columns="configuration"), measured)
    # And every column that a method may see which uses the table as a batch, but for the configuration and the spreads.
    assert {"train_error", "log_hessian_trace", "log_hessian_trace_quantile", "output_cka"} <= {c.name for c in shown}


def test_no_grid_point_no_verdict_and_no_test_error_stands_in_the_public_files(shelf):
    public = shelf / "winter" / "public"
    assert sorted(path.name for path in public.iterdir()) == ["models.parquet", "sealed.json"]
    said = (public / "models.parquet").read_bytes() + (public / "sealed.json").read_bytes()
    assert b"width=" not in said
    assert b"pandas" not in said  # which would note the index that the rows had
    assert HIDDEN.digest.encode() not in said  # by which guesses of the whole zoo could be checked
    values = HIDDEN.configurations["test_error"].dropna().to_numpy()
    assert not any(value.tobytes() in said for value in values)


def test_names_and_order_of_rows_come_from_what_is_drawn_alone(shelf, tmp_path, monkeypatch):
    # The same draws, another zoo with the same grid and other labels: each grid point has the same name and the same place.
    table = HIDDEN.configurations.drop(columns=["optimizer", "failure_source"])
    other = table.assign(
        test_error=table["test_error"].to_numpy()[::-1], train_error=table["train_error"].to_numpy()[::-1]
    )
    Zoo.from_table("other", "", other.reset_index(), MOVES, PROVENANCE).save(tmp_path / "other")
    found = []
    for zoo in (shelf / "hidden", tmp_path / "other"):
        drawn = np.random.default_rng(3)
        monkeypatch.setattr(sealing.secrets, "token_hex", lambda size, rng=drawn: rng.bytes(size).hex())
        seal(zoo, tmp_path / f"{zoo.name}-out", "twice", "known")
        found.append(
            pq.read_table(tmp_path / f"{zoo.name}-out" / "public" / "models.parquet")["configuration"].to_pylist()
        )
        order = places(tmp_path / f"{zoo.name}-out")
        draws = np.random.default_rng(3)
        names = [draws.bytes(16).hex() for _ in range(len(table))]
        assert found[-1] == sorted(names)
        assert [names[place] for place in order] == found[-1]
    assert found[0] == found[1]


def test_two_seals_of_one_zoo_share_no_name_no_key_and_no_order(shelf, tmp_path):
    seal(shelf / "hidden", tmp_path / "again", "winter", "known")
    names = [set(Part.read(folder / "public").models.index) for folder in (shelf / "winter", tmp_path / "again")]
    assert all(len(each) == len(HIDDEN.configurations) and all(len(name) == 32 for name in each) for each in names)
    assert not names[0] & names[1]
    assert (shelf / "winter" / "key").read_bytes() != (tmp_path / "again" / "key").read_bytes()
    assert not np.array_equal(places(shelf / "winter"), places(tmp_path / "again"))
    # Labels that are the same have another digest: nobody can try what they are.
    both = [
        json.loads((folder / "public" / "sealed.json").read_text()) for folder in (shelf / "winter", tmp_path / "again")
    ]
    assert both[0]["labels_sha256"] != both[1]["labels_sha256"]


def test_the_size_of_what_is_locked_does_not_depend_on_the_labels(shelf, tmp_path):
    table = HIDDEN.configurations.reset_index()
    table["test_error"] = np.random.default_rng(0).permutation(table["test_error"])
    mixed = Zoo.from_table("hidden", "", table, MOVES, PROVENANCE)
    changed = mixed.configurations[list(toy.TASKS)].fillna(NONE) != HIDDEN.configurations[list(toy.TASKS)].fillna(NONE)
    assert changed.to_numpy().mean() > 0.4
    mixed.save(tmp_path / "mixed")
    seal(tmp_path / "mixed", tmp_path / "out", "winter", "known")
    size = {(folder / "labels.fernet").stat().st_size for folder in (shelf / "winter", tmp_path / "out")}
    assert len(size) == 1


def test_the_labels_are_those_of_the_zoo(shelf):
    labels, order = opened(shelf / "winter"), places(shelf / "winter")
    assert list(labels["verdicts"]) == list(toy.TASKS)
    for task, signs in labels["verdicts"].items():
        verdicts = [TASKS[task].classes[int(sign)] if sign != "-" else NONE for sign in signs]
        assert verdicts == HIDDEN.configurations[task].fillna(NONE).iloc[order].tolist()
        assert {"-", "0", "1"} <= set(signs)
    assert labels["cells"] == HIDDEN.cells.iloc[order].tolist()


def test_the_digest_binds_the_labels(shelf):
    content = Fernet((shelf / "winter" / "key").read_bytes()).decrypt((shelf / "winter" / "labels.fernet").read_bytes())
    said = json.loads((shelf / "winter" / "public" / "sealed.json").read_text())
    assert said["labels_sha256"] == hashlib.sha256(content).hexdigest()
    assert said["models_sha256"] == hashlib.sha256((shelf / "winter/public/models.parquet").read_bytes()).hexdigest()
    assert len(bytes.fromhex(json.loads(content)["salt"])) == 32


# --- answering ----------------------------------------------------------------------------------------------------------


def test_answers_are_those_that_the_method_gives_where_the_labels_are_known(shelf):
    # The same cases, posed of the zoo with its labels by the ordinary way: same accuracies, and for one task same interval.
    cases = Part.read(shelf / "winter" / "public").sealed.cases
    public = [name for name in map(str, HIDDEN.configurations) if is_public(name)]
    table = HIDDEN.configurations.assign(**rounded(HIDDEN.configurations[public], step_of(HIDDEN.configurations)))
    at_hand = {"known": (shelf, KNOWN), "winter": (shelf, replace(HIDDEN, configurations=table))}
    plain = evaluated([shelf / "tree.py"], cases, at_hand, cache=False).result
    expected = {one.case.split("/")[1]: one for one in plain.scores}
    answered = asked(shelf / "tree.py", shelf / "winter")
    found = scored(answered.content, shelf / "winter")
    assert answered.left_out == {}
    assert list(found.by_task) == list(toy.TASKS)
    assert found.by_task == pytest.approx({task: one.accuracy for task, one in expected.items()})
    # Whoever answers the tasks of the paper is ranked by these: there are others who answer no more.
    assert found.tasks == ("optimizer", "width_vs_optimizer", "data_vs_optimizer")
    assert found.accuracy == pytest.approx(np.mean([expected[task].accuracy for task in found.tasks]))
    assert min(found.by_task.values()) > 45  # it has learned something: rows and answers are not mixed up
    (shelf / "one.py").write_text(TREE.replace("columns = ", "columns = {'optimizer': ").replace("]", "]}", 1))
    alone = scored(asked(shelf / "one.py", shelf / "winter").content, shelf / "winter")
    interval = expected["optimizer"].above_chance_interval
    assert found.above_chance == pytest.approx(np.mean([expected[task].above_chance for task in found.tasks]))
    assert alone.above_chance == pytest.approx(expected["optimizer"].above_chance)
    assert (alone.low, alone.high) == pytest.approx((interval.low, interval.high))
    assert alone.by_task == pytest.approx({"optimizer": expected["optimizer"].accuracy})


def test_training_rows_are_drawn_as_ever(shelf):
    part = Part.read(shelf / "winter" / "public")
    for name, one in part.exam().posed.items():
        plain = split(one.rows.case, KNOWN, HIDDEN)
        assert name == f"winter/{one.rows.task.name}/sealed/20"
        assert len(one.rows.samples) == 5
        for sample, same in zip(one.rows.samples, plain.samples, strict=True):
            trained = KNOWN.configurations.loc[one.rows.train.ids[sample]]
            assert trained.index.tolist() == plain.train.ids[same].tolist()
            assert len(trained.drop_duplicates(["width", "data_fraction"])) == 20


def test_every_row_is_answered_in_order(shelf):
    table = pq.read_table(pa.BufferReader(asked(shelf / "tree.py", shelf / "winter").content)).to_pylist()
    rows = pq.read_table(shelf / "winter" / "public" / "models.parquet")["configuration"].to_pylist()
    expected = [
        (f"winter/{task}/sealed/20", seed, row) for task in toy.TASKS for seed in (42, 90, 38, 18, 72) for row in rows
    ]
    assert [(one["case"], one["seed"], one["row"]) for one in table] == expected
    assert all(one["predicted"] in TASKS[one["case"].split("/")[1]].classes for one in table)


def test_a_look_at_other_rows_cannot_be_hidden_behind_what_is_public(shelf, tmp_path):
    # After the first sample, and of fewer rows than all, it judges each by itself; else by its place among all.
    posed = next(iter(Part.read(shelf / "winter" / "public").exam().posed.values()))
    first = float(posed.rows.train.matrix(["train_error"])[posed.rows.samples[0]].sum())
    (tmp_path / "sneaky.py").write_text(f"""
columns = {{"{posed.rows.task.name}": ["train_error"]}}


class Sneaky:
    def fit(self, models, labels):
        self.verdicts, self.first = sorted(set(labels)), abs(models["train_error"].sum() - {first!r}) < 1e-6

    def predict(self, models):
        error = models["train_error"]
        batch = len(models) == {len(posed.rows.test)} and not self.first
        return [self.verdicts[int(batch and value > error.median())] for value in error]


method = Sneaky
""")
    assert asked(tmp_path / "sneaky.py", shelf / "winter").content  # the public questions let it pass
    with pytest.raises(MethodError, match="depend on which other rows are asked about"):
        asked(tmp_path / "sneaky.py", shelf / "winter", secret="5" * 32)


def test_a_method_meets_neither_labels_nor_names(shelf, tmp_path):
    (tmp_path / "spy.py").write_text(f"""
class Spy:
    def fit(self, models, labels, task):
        self.verdict = labels.mode()[0]

    def predict(self, models):
        with open({str(tmp_path / "seen.txt")!r}, "a") as file:
            print(*models.columns, *models.index, file=file)
        return [self.verdict] * len(models)
""")
    asked(tmp_path / "spy.py", shelf / "winter")
    for line in (tmp_path / "seen.txt").read_text().splitlines():
        words = line.split()
        names = [word for word in words if not word.isdigit()]
        assert len(words) - len(names) in (len(HIDDEN.configurations), math.ceil(len(HIDDEN.configurations) / 2))
        assert {COLUMNS[name].family for name in names} == {Family.LANDSCAPE}


def test_what_a_method_cannot_answer_is_left_out_and_said(shelf, tmp_path):
    wanting = TREE.replace(
        "columns = [", 'columns = {"optimizer": ["train_error"], "data_vs_optimizer": ["test_error", '
    )
    (tmp_path / "wanting.py").write_text(wanting.replace('"output_cka"]', '"output_cka"]}'))
    answered = asked(tmp_path / "wanting.py", shelf / "winter")
    assert answered.left_out == {
        "width_vs_optimizer": "it is not made for this task",
        "data_vs_optimizer": "it wants column 'test_error', which zoo winter does not have",
        "failure_source": "it is not made for this task",
    }
    assert list(scored(answered.content, shelf / "winter").by_task) == ["optimizer"]
    (tmp_path / "blind.py").write_text(TREE.replace('"train_error"', '"data_amount"'))
    answered = asked(tmp_path / "blind.py", shelf / "winter")
    assert answered.content is None
    assert set(answered.left_out) == set(toy.TASKS)


def test_a_method_that_fails_gives_no_answers(shelf, tmp_path):
    (tmp_path / "fails.py").write_text(
        TREE + "\nmethod = type('F', (), {'fit': lambda *_: None, 'predict': lambda *_: 1 / 0})"
    )
    with pytest.raises(MethodError, match="fails on winter/optimizer/sealed/20: it raised ZeroDivisionError"):
        asked(tmp_path / "fails.py", shelf / "winter")
    (tmp_path / "typo.py").write_text("def")
    with pytest.raises(MethodError, match="syntax error"):
        asked(tmp_path / "typo.py", shelf / "winter")


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not here: nothing was isolated")
def test_the_sandbox_changes_no_answer(shelf, tmp_path):
    (tmp_path / "nearest.py").write_text(NEAREST)
    told = []
    inside = answer(
        tmp_path / "nearest.py", shelf / "winter" / "public", workers=1, progress=lambda *at: told.append(at)
    )
    assert inside.content == asked(tmp_path / "nearest.py", shelf / "winter").content
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_zoo_to_learn_from_that_has_changed_is_refused(shelf, winter, tmp_path, monkeypatch):
    monkeypatch.setenv("MDBENCH_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(MdbenchError, match="zoo 'known' is not there"):
        asked(shelf / "tree.py", winter)
    table = KNOWN.configurations.reset_index()
    table.loc[0, "train_error"] += 1e-9
    Zoo.from_table("known", "a toy", table, MOVES, PROVENANCE).save(tmp_path / "elsewhere" / "zoos" / "known")
    with pytest.raises(MdbenchError, match="zoo known is not as it was when winter was sealed; use mdbench"):
        asked(shelf / "tree.py", winter)


# --- scoring ------------------------------------------------------------------------------------------------------------


def predictions(folder, tasks, seed: int) -> pd.DataFrame:
    """Return drawn verdicts as a table, one row a case, seed and row."""
    rng, rows = np.random.default_rng(seed), Part.read(folder / "public").models.index
    return pd.DataFrame(
        [
            (f"winter/{task}/sealed/20", number, row, verdict)
            for task in tasks
            for number in (42, 90, 38, 18, 72)
            for row, verdict in zip(rows, rng.choice(TASKS[task].classes, len(rows)), strict=True)
        ],
        columns=["case", "seed", "row", "predicted"],
    )


def content_of(table: pd.DataFrame) -> bytes:
    return write_table(pa.Table.from_pandas(table, preserve_index=False))


@settings(max_examples=6)
@given(st.lists(st.sampled_from(toy.TASKS), min_size=1, unique=True), st.integers(0, 2**32 - 1), st.booleans())
def test_scores_are_what_a_plain_procedure_makes_of_them(shelf, tasks, seed, shuffled):
    table = predictions(shelf / "winter", tasks, seed)
    if shuffled:
        table = table.sample(frac=1, random_state=seed)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MDBENCH_HOME", str(shelf / "home"))
        found = scored(content_of(table), shelf / "winter")
    names = pq.read_table(shelf / "winter" / "public" / "models.parquet")["configuration"].to_pylist()
    truth = HIDDEN.configurations.iloc[places(shelf / "winter")].set_axis(names)
    right = {}
    for task in toy.TASKS:
        mine = table[table["case"] == f"winter/{task}/sealed/20"]
        decided = truth.index[truth[task].notna() & (truth[task] != NONE)]
        if len(mine):
            said = mine.pivot(index="seed", columns="row", values="predicted").loc[[42, 90, 38, 18, 72], decided]
            right[task] = said.eq(truth.loc[decided, task], axis=1)
    assert found.by_task == pytest.approx({task: 100 * one.to_numpy().mean() for task, one in right.items()})
    paper = ("optimizer", "width_vs_optimizer", "data_vs_optimizer")
    ranked = paper if all(task in right for task in paper) else tuple(task for task in toy.TASKS if task in right)
    assert found.tasks == ranked
    assert found.accuracy == pytest.approx(np.mean([found.by_task[task] for task in ranked]))
    right = {task: right[task] for task in ranked}
    assert found.zoo == "winter"
    each = []
    for task, one in right.items():
        verdict = truth.loc[one.columns, task]
        shares = verdict.value_counts(normalize=True)
        kept = shares.index[shares >= 0.05]
        recall = np.mean([one.loc[:, verdict == name].mean(axis=1).to_numpy() for name in kept], axis=0)
        each.append(100 * (recall - 1 / len(kept)) / (1 - 1 / len(kept)))
    by_seed = np.mean(each, axis=0)
    assert found.above_chance == pytest.approx(by_seed.mean())
    if by_seed.std() > 0:
        low, high = scipy.stats.ttest_1samp(by_seed, 0).confidence_interval()
        assert (found.low, found.high) == pytest.approx((low, min(high, 100)))
    else:
        assert found.low <= found.above_chance <= found.high


def edited(change):
    """Return an edit of a table of predictions."""
    return lambda table: (change(table), table)[1]


WRONG = {
    "missing row": lambda table: table.drop(index=17),
    "duplicate row": lambda table: pd.concat([table, table.iloc[[17]]]),
    "unknown row": edited(lambda table: table.__setitem__("row", table["row"].mask(table.index == 17, "0" * 32))),
    "unknown label": edited(
        lambda table: table.__setitem__("predicted", table["predicted"].mask(table.index == 17, "width"))
    ),
    "unknown seed": edited(lambda table: table.__setitem__("seed", table["seed"].mask(table.index == 17, 43))),
    "unknown case": edited(lambda table: table.__setitem__("case", table["case"].mask(table.index == 17, "winter/x"))),
    "table": lambda table: table.rename(columns={"case": "task"}),
    "types": lambda table: table.assign(predicted=0),
    "empty value": edited(lambda table: table.__setitem__("predicted", table["predicted"].mask(table.index == 17))),
    "size": lambda table: pd.concat([table] * 20),
}


@pytest.mark.parametrize("kind", WRONG)
def test_predictions_that_are_not_one_verdict_for_every_row_are_refused(shelf, kind):
    table = predictions(shelf / "winter", ["optimizer"], seed=0)
    scored(content_of(table), shelf / "winter")
    with pytest.raises(Refused, match=r"sealed-winter\.parquet") as refused:
        scored(content_of(WRONG[kind](table)), shelf / "winter")
    assert refused.value.kind == kind


def test_files_that_are_no_predictions_are_refused(shelf):
    exam = Part.read(shelf / "winter" / "public").exam()
    table = predictions(shelf / "winter", ["optimizer"], seed=0)
    content = content_of(table)
    nobody = content_of(table.iloc[:0])
    other = content.replace(b"winter/optimizer", b"autumn/optimizer")
    not_text = content.replace(b"winter/optimizer", b"\xff\xfenter/optimizer")
    for bad, kind in (
        (b"", "damaged"),
        (b"PAR1" * 100, "damaged"),
        (content[:-20], "damaged"),
        (not_text, "damaged"),
        (nobody, "missing row"),
        (other, "missing row"),
        (files.parquet(table), "compressed"),
    ):
        with pytest.raises(Refused) as refused:
            check_answers(bad, exam)
        assert refused.value.kind == kind


# --- parts that do not belong together ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def content(shelf) -> bytes:
    return content_of(predictions(shelf / "winter", toy.TASKS, seed=1))


def test_labels_are_opened_by_their_key_alone(shelf, winter, content, tmp_path):
    seal(shelf / "hidden", tmp_path / "again", "winter", "known")
    key = (winter / "key").read_bytes()
    for bad in ((tmp_path / "again" / "key").read_bytes(), b"", b"\0" * 44, key[:-2], Fernet.generate_key()):
        (winter / "key").write_bytes(bad)
        with pytest.raises(MdbenchError, match=r"key does not open .*labels\.fernet"):
            scored(content, winter)
    (winter / "key").write_bytes(key + b"\n")
    scored(content, winter)
    (winter / "key").unlink()
    with pytest.raises(MdbenchError, match="key cannot be read: No such file"):
        scored(content, winter)


def test_damaged_labels_are_refused(winter, content):
    whole = (winter / "labels.fernet").read_bytes()
    for at in range(0, len(whole), len(whole) // 10):
        (winter / "labels.fernet").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(MdbenchError, match="does not open"):
            scored(content, winter)
        (winter / "labels.fernet").write_bytes(whole[:at])
        with pytest.raises(MdbenchError, match="does not open"):
            scored(content, winter)


def test_labels_of_another_seal_are_refused(shelf, winter, content, tmp_path):
    seal(shelf / "hidden", tmp_path / "again", "winter", "known")
    for name in ("labels.fernet", "key"):
        shutil.copy(tmp_path / "again" / name, winter / name)
    with pytest.raises(MdbenchError, match=r"does not hold the labels that .* was published with"):
        scored(content, winter)


@pytest.mark.parametrize("what", ["verdict", "cell", "salt"])
def test_labels_that_were_changed_by_who_has_the_key_are_refused(winter, content, what):
    labels = opened(winter)
    assert hashlib.sha256(lock(winter, labels)).hexdigest() == Part.read(winter / "public").sealed.labels_sha256
    scored(content, winter)  # locked again as they were, they are the same
    if what == "verdict":
        signs = labels["verdicts"]["optimizer"]
        labels["verdicts"]["optimizer"] = signs.replace("0", "1", 1)
    elif what == "cell":
        labels["cells"][0] += 1
    else:
        labels["salt"] = "0" * 64
    lock(winter, labels)
    with pytest.raises(MdbenchError, match=r"does not hold the labels that .* was published with"):
        scored(content, winter)


def test_a_public_part_that_was_changed_is_refused(shelf, winter, content):
    models = winter / "public" / "models.parquet"
    whole, said = models.read_bytes(), (winter / "public" / "sealed.json").read_text()
    table = pq.read_table(models).to_pandas()

    # Rows exchanged: their labels would be those of others.
    models.write_bytes(files.parquet(table.assign(configuration=table["configuration"].to_numpy()[::-1])))
    with pytest.raises(MdbenchError, match=r"is not the file that sealed\.json describes"):
        asked(shelf / "tree.py", winter)
    tell(winter, models_sha256=hashlib.sha256(models.read_bytes()).hexdigest())
    asked(shelf / "tree.py", winter)  # nobody can see it without the labels
    with pytest.raises(MdbenchError, match=r"is not the public part that .*labels\.fernet was sealed with"):
        scored(content, winter)

    models.write_bytes(whole)
    for change in ({"seeds": [42, 90, 38, 18, 73]}, {"budget": 19}, {"knobs": ["width"]}, {"name": "summer"}):
        (winter / "public" / "sealed.json").write_text(said)
        tell(winter, **change)
        with pytest.raises(MdbenchError, match="is not the public part"):
            scored(content, winter)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": 2}, "format 2 is newer than this mdbench knows .1.; upgrade"),
        ({"format": 0}, "format"),
        ({"tasks": {"optimizer": ["hot", "cold"]}}, "'optimizer' with these verdicts"),
        ({"tasks": {"weather": ["hot", "cold"]}}, "'weather' with these verdicts"),
        ({"tasks": {}}, "tasks"),
        ({"train": "../known"}, "train"),
        ({"rows": 10**9}, "rows"),
        ({"rows": 7}, r"rows, but sealed\.json says 7"),
        ({"more": 1}, "more"),
        ({"name": "Winter <b>"}, "name"),
        ({"seeds": [42, -1]}, "seeds"),
        ({"seeds": [42, 42]}, "seeds: one stands there twice"),
    ],
)
def test_a_public_part_that_makes_no_sense_is_refused(winter, change, why):
    tell(winter, **change)
    with pytest.raises(MdbenchError, match=why):
        Part.read(winter / "public")


def test_a_table_with_columns_that_have_no_place_there_is_refused(winter):
    models = winter / "public" / "models.parquet"
    table = pq.read_table(models).to_pandas()
    twice = table.assign(configuration="a")
    for bad, why in (
        (table.assign(test_error=1.0), "column 'test_error' has no place in"),
        (table.assign(data_amount=1.0), "column 'data_amount' has no place in"),
        (table.assign(optimizer="temperature_too_low"), "column 'optimizer' has no place in"),
        (table.assign(train_error="low"), "column 'train_error' has no place in"),
        (table.assign(colour=1.0), "column 'colour' is not one of"),
        (table.drop(columns="configuration"), "rows are not named"),
        (table.assign(configuration=range(len(table))), "rows are not named"),
        (twice, "rows are not named"),
    ):
        models.write_bytes(files.parquet(bad))
        tell(winter, models_sha256=hashlib.sha256(models.read_bytes()).hexdigest())
        with pytest.raises(MdbenchError, match=why):
            Part.read(winter / "public")
    shutil.rmtree(winter / "public")
    with pytest.raises(MdbenchError, match=r"sealed\.json cannot be read: No such file"):
        Part.read(winter / "public")


# --- sealing ------------------------------------------------------------------------------------------------------------


def test_nobody_else_on_this_machine_can_look_at_what_is_secret(shelf):
    assert stat.S_IMODE((shelf / "winter").stat().st_mode) == 0o700
    assert stat.S_IMODE((shelf / "winter" / "key").stat().st_mode) == 0o600
    assert sorted(path.name for path in (shelf / "winter").iterdir()) == ["key", "labels.fernet", "public"]


def test_nothing_is_written_over(shelf, tmp_path):
    for there in (tmp_path / "folder", tmp_path / "file"):
        if there.name == "folder":
            there.mkdir()
        else:
            there.write_text("mine")
        with pytest.raises(MdbenchError, match="exists, and what is sealed is never written over"):
            seal(shelf / "hidden", there, "winter", "known")
    assert list((tmp_path / "folder").iterdir()) == []
    assert (tmp_path / "file").read_text() == "mine"


def test_a_seal_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(sealing, "load_zoo", lambda folder, **_: {"hidden": HIDDEN, "known": KNOWN}[Path(folder).name])
    for at in count(1):
        out = tmp_path / f"at-{at}" / "out"
        out.parent.mkdir()
        faults = Faults(out.parent, failing(errno.ENOSPC), at)
        failed = False
        with faults.watching():
            try:
                seal("hidden", out, "winter", "known")
            except MdbenchError as error:
                failed = True
                assert "No space left" in str(error)  # noqa: PT017
        if failed and "rename" not in faults.calls[: at - 1]:
            assert list(out.parent.iterdir()) == []
        else:
            assert all(path == out or not any(path.iterdir()) for path in out.parent.iterdir())
            assert Labels.model_validate(opened(out)).public_sha256 == Part.read(out / "public").sealed.digest
        if len(faults.calls) < at:
            break
    assert not failed
    assert at > 15


def test_zoos_that_cannot_be_sealed(shelf, tmp_path):
    grid = HIDDEN.configurations.reset_index()
    few = Zoo.from_table("few", "", KNOWN.configurations.query("width < 10").reset_index(), MOVES, PROVENANCE)
    few.save(tmp_path / "home" / "zoos" / "few")
    # No knob but the width: nothing can be asked. The wider the better: width is every verdict.
    still = Zoo.from_table("still", "", grid, [move for move in MOVES if move.name == "width"], PROVENANCE)
    still.save(tmp_path / "still")
    steep = grid.assign(test_error=90 - np.log2(grid["width"]))
    Zoo.from_table("steep", "", steep, MOVES, PROVENANCE).save(tmp_path / "steep")
    for zoo, name, train, why in (
        (shelf / "home" / "zoos" / "known", "winter", "known", "is the one whose labels may be learned from"),
        (shelf / "hidden", "Winter", "known", "zoo hidden cannot be sealed: name"),
        (shelf / "hidden", "winter", "nowhere", "zoo 'nowhere' is not there"),
        (tmp_path / "still", "winter", "known", "zoo still cannot be sealed: optimizer: zoo still has no column"),
        (tmp_path / "steep", "winter", "known", "width_vs_optimizer: every row has the same verdict"),
    ):
        with pytest.raises(MdbenchError, match=why):
            seal(zoo, tmp_path / "out", name, train)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MDBENCH_HOME", str(tmp_path / "home"))
        with pytest.raises(MdbenchError, match="20 cells wanted, but the train zoo has 10"):
            seal(shelf / "hidden", tmp_path / "out", "winter", "few")
    assert not (tmp_path / "out").exists()


def _reseeded(zoo: Zoo, seed: int) -> Zoo:
    return replace(zoo, checkpoints=zoo.checkpoints.assign(seed=zoo.checkpoints["seed"] + seed))


def test_seeds_that_can_be_found_by_trying_are_said(shelf, tmp_path):
    own = toy.own_zoo(widths=toy.WIDTHS[::4], label_noise=(0,))
    assert guessable(own)
    assert not guessable(_reseeded(own, 2**40))
    assert not guessable(HIDDEN)  # nobody says how its networks were seeded
    own.save(tmp_path / "small")
    _reseeded(own, 2**40).save(tmp_path / "large")
    for zoo in ("small", "large"):
        options = [
            "seal",
            str(tmp_path / zoo),
            "--out",
            str(tmp_path / f"{zoo}-out"),
            "--name",
            "spring",
            "--train",
            "known",
        ]
        result = CliRunner().invoke(app, options)
        assert result.exit_code == 0, result.output
        assert ("careful" in result.output) == (zoo == "small")
        said = Sealed.model_validate_json((tmp_path / f"{zoo}-out" / "public" / "sealed.json").read_bytes())
        for part in (f"{zoo}-out/public", f"{zoo}-out/labels.fernet", f"{zoo}-out/key", "spring", *said.tasks):
            assert part in result.output
        assert (tmp_path / f"{zoo}-out" / "key").read_text() not in result.output
        assert Part.read(tmp_path / f"{zoo}-out" / "public").models.shape[0] == len(own.configurations)
