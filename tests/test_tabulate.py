"""The document, read as Markdown by another program, against plain computations on what an evaluation leaves behind."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toy
from markdown_it import MarkdownIt
from scipy.stats import t as student
from sklearn.metrics import recall_score, roc_auc_score
from test_cli import refusal, run

import mdbench
from baselines.md_tree import TREES
from mdbench.cases.cases import load_cases
from mdbench.errors import MdbenchError
from mdbench.scoring.comparison import compare
from mdbench.scoring.evaluation import evaluated
from mdbench.showing import document as page
from mdbench.showing import tabulation
from mdbench.showing.bounds import BOUNDS
from mdbench.showing.markdown import code, table
from mdbench.showing.means import mean, outside_noise
from mdbench.showing.plots import SEEN_COLOURS, scores_by_panel
from mdbench.tables.noise import decided
from mdbench.tables.tasks import TASKS

ZOOS = {name: toy.own_zoo(name, widths=toy.WIDTHS[::step]) for name, step in (("mnist1d-cnn", 2), ("mnist1d-mlp", 3))}
METHODS = ["md_tree", "validation_tree", "majority", "barrier_rule"]
PARTS = ("core", "mnist1d-cnn-to-mnist1d-mlp/optimizer/cross-architecture")
HOSTILE = "a|b\\|`<img src=x onerror=alert(1)>[x](javascript:y)``*c*"


def put(home: Path, patch: pytest.MonkeyPatch) -> None:
    """Make a home with two of the three zoos that the core selection is about, and no others beside it."""
    patch.setenv("MDBENCH_HOME", str(home))
    patch.setattr("mdbench.tables.loading.bundled_zoos", lambda: home / "none")
    for name, zoo in ZOOS.items():
        zoo.save(home / "zoos" / name)


@pytest.fixture
def own_home(home, monkeypatch):
    put(home, monkeypatch)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        put(tmp_path_factory.mktemp("home"), patch)
        return evaluated(METHODS, load_cases(PARTS))


def tables(text: str) -> list[pd.DataFrame]:
    """Return the tables of a Markdown document, their cells as plain texts."""
    found, rows = [], []
    tokens = iter(MarkdownIt("commonmark").enable("table").parse(text))
    for token in tokens:
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append("".join(child.content for child in next(tokens).children))
        elif token.type == "table_close":
            found.append(pd.DataFrame(rows[1:], columns=rows[0]))
    return found


def accuracies(found, tmp_path, only_decided: bool = False) -> pd.DataFrame:
    """Return the accuracy of each method (column) on each case (row) in %, from predictions.parquet."""
    found.result.save(tmp_path / "result")
    said = pd.read_parquet(tmp_path / "result" / "predictions.parquet").astype({"row": str, "case": str, "method": str})
    if only_decided:
        parts = []
        for case in load_cases(PARTS):
            zoo = ZOOS.get(case.test)
            if zoo is not None:
                sure = decided(zoo, TASKS[case.task])
                known = sure.index[sure]
                parts.append(said[(said["case"] == case.name) & said["row"].isin(known)])
        assert 0 < sum(map(len, parts)) < len(said)
        said = pd.concat(parts)
    right = said["predicted"].astype(str) == said["true"].astype(str)
    return 100 * right.groupby([said["case"], said["method"]]).mean().unstack()


def adjusted(rows: pd.DataFrame) -> float:
    """Return the balanced accuracy of some predictions over verdicts that 5 % of them have, 0 where it is chance."""
    true, said = rows["true"].astype(str), rows["predicted"].astype(str)
    shares = true.value_counts(normalize=True)
    common = sorted(shares.index[shares >= 0.05])
    recall = recall_score(true, said, labels=common, average="macro", zero_division=0)
    return 100 * (recall - 1 / len(common)) / (1 - 1 / len(common))


def test_the_means_of_the_headline_are_those_of_the_predictions(found, tmp_path):
    whole, sure = accuracies(found, tmp_path), accuracies(found, tmp_path, only_decided=True)
    core = {case.name for case in load_cases("sisters")}
    whole, sure = whole[whole.index.isin(core)], sure[sure.index.isin(core)]
    said = found.result.predictions
    by_sample = {keys: adjusted(rows) for keys, rows in said.groupby(["case", "method", "seed"], observed=True)}
    above = pd.Series(by_sample).groupby(level=[0, 1]).mean().unstack()
    shown = [one.set_index("method") for one in tables(page.compose(found, PARTS, "x")) if "rank" in one]
    asked = [task for task in TASKS if any(name.split("/")[1] == task for name in core)]
    answered = [asked, asked[:3], ["optimizer"]]
    assert [set(one.index) for one in shown] == [
        set(METHODS) - {"md_tree", "barrier_rule"},
        set(METHODS[:3]),
        set(METHODS),
    ]
    for one, tasks in zip(shown, answered, strict=True):
        cases = [name for name in whole.index if name.split("/")[1] in tasks]
        assert len(cases) == 2 * len(tasks)
        means = above.loc[cases, one.index].mean()
        assert one["above chance"].tolist() == [f"{mean:.1f}" for mean in means]
        assert means.is_monotonic_decreasing
        assert one["accuracy"].tolist() == [f"{mean:.1f}" for mean in whole.loc[cases, one.index].mean()]
        assert one["decided"].tolist() == [f"{mean:.1f}" for mean in sure.loc[cases, one.index].mean()]
        ranks = above.loc[cases, one.index].rank(axis=1, ascending=False, method="min").mean()
        assert one["rank"].tolist() == [f"{rank:.1f}" for rank in ranks]
        for method, interval in one["interval"].items():
            values = pd.Series(by_sample).loc[cases].unstack(level=1)[method].unstack(level=0).mean(axis=1)
            if values.std() > 1e-9:
                low, high = student.interval(0.95, len(values) - 1, values.mean(), values.sem())
                assert interval == f"[{low:.1f}, {high:.1f}]"
            else:  # over cells, of which tests of `mdbench.scoring.student` speak
                low, high = map(float, interval.strip("[]").split(", "))
                assert low < values.mean() < high or low == high == round(values.mean(), 1)


def test_every_case_is_there_and_the_best_are_bold(found, own_home, tmp_path):
    whole = accuracies(found, tmp_path)
    text = page.compose(found, PARTS, "x")
    shown = [one.set_index("method") for one in tables(text) if any("rows" in column for column in one)]
    assert sum(column != "mean" for one in shown for column in one) == len(found.posed) == len(whole)
    # What stands first in its table: the core case across architectures, on the optimizer.
    case = "mnist1d-cnn-to-mnist1d-mlp/optimizer/cross-architecture/20"
    start = text.index("cross-architecture: 4 cases")
    column = "mnist1d-cnn → mnist1d-mlp<br>20 cells<br>"
    one = next(table for table in tables(text[start:]) if "barrier_rule" in table["method"].tolist()).set_index(
        "method"
    )
    assert column in one.columns[0]
    cells = one.iloc[:, 0]
    assert [cell.split(" [")[0] for cell in cells] == [f"{whole.loc[case, method]:.1f}" for method in cells.index]
    best = whole.loc[case].idxmax()
    for method in METHODS:
        line = next(line for line in text[start:].splitlines() if line.startswith(f"| `{method}`"))
        against = None if method == best else compare(best, method, case, accuracy=True).overall.difference.interval
        assert ("**" in line) == (against is None or against.low <= 0)
    assert text[start:].count("**") > 0


def test_the_advantage_is_what_compare_says(found, own_home):
    text = page.compose(found, PARTS, "x")
    shown = next(one for one in tables(text) if "scenario" in one).set_index(["part", "scenario", "task"])
    ahead, behind = dict.fromkeys(METHODS, 0), dict.fromkeys(METHODS, 0)
    lines = shown.loc["core"].query("scenario != 'all of these'")
    for (scenario, task), line in lines.iterrows():
        cases = [
            one.rows.case.name
            for one in found.posed
            if scenario in one.rows.case.sweep and f"/{task}/" in one.rows.case.name
        ]
        cases = [name for name in cases if name.endswith("/20")]
        for rival in METHODS[1:3]:
            d = compare("md_tree", rival, cases, accuracy=True).overall.difference
            low, high = d.interval.low, d.interval.high
            assert line[f"− {rival}"] == f"{d.estimate:+.1f} [{low:+.1f}, {high:+.1f}]"
            ahead[rival], behind[rival] = ahead[rival] + (low > 0), behind[rival] + (high < 0)
        assert (line["− barrier_rule"] == "–") == (task != "optimizer")
    every = [case.name for case in load_cases("sisters")]
    everything = compare("md_tree", "majority", every, accuracy=True).overall.difference
    assert shown.loc["core", "all of these", ""]["− majority"].startswith(f"{everything.estimate:+.1f} ")
    assert len(lines) == 6
    for rival in METHODS[1:3]:
        a, b = ahead[rival], behind[rival]
        assert (
            f"`md_tree` against `{rival}`: of `core` it is ahead in {a} of 6, behind in {b}, and cannot be told from it in "
            f"{6 - a - b}"
        ) in text


def test_decided_rows_are_scored_apart(found):
    # Without its decided rows right, a method loses everything that counts there, and no more.
    one = next(one for one in found.posed if one.rows.case.name == "mnist1d-cnn/optimizer/cross-noise/20")
    name = one.rows.case.name
    sure = outside_noise(one)
    assert 0 < sure.sum() < len(sure)
    truth = one.rows.test.codes
    said = np.where(sure, truth, 1 - truth)[None].repeat(5, axis=0)
    answers = {**found.answers, ("majority", name): replace(found.answers["majority", name], predicted=said)}
    made_up = replace(found, answers=answers)
    assert mean(made_up, [name], "majority", only_decided=True).estimate == 100
    assert mean(made_up, [name], "majority").estimate == pytest.approx(100 * sure.mean())
    assert mean(made_up, [name], "majority", only_decided=True).interval.low == 100


def test_labels_within_seed_noise_are_counted(found):
    shown = next(one for one in tables(page.compose(found, PARTS, "x")) if "within noise" in one)
    assert len(shown) == sum(len(zoo.tasks) for zoo in ZOOS.values())
    for _, line in shown.iterrows():
        rows = ZOOS[line["zoo"]].configurations
        known = rows[(rows[line["task"]] != "none") & rows[f"{line['task']}_margin_se"].notna()]
        within = ~decided(ZOOS[line["zoo"]], TASKS[line["task"]])[known.index]
        assert line["within noise"] == f"{within.sum():,}"
        assert 0 < within.sum() < len(known)


def test_rows_beyond_the_bounds_of_md_tree_are_counted(found, own_home):
    assert {(step.column, step.bounds) for tree in TREES.values() for step in tree} == set(BOUNDS.items())
    shown = next(one for one in tables(page.compose(found, PARTS, "x")) if "larger where too low" in one)
    assert len(shown) == 3 * len(ZOOS)
    for _, line in shown.iterrows():
        whole, (low, high) = ZOOS[line["zoo"]].configurations, BOUNDS[line["column"]]
        values = whole[line["column"]]
        counted = [f"{100 * share:.0f} %" for share in ((values < low).mean(), (values > high).mean())]
        assert [line["below"], line["above"]] == counted
        asked = whole[whole["optimizer"] != "none"]
        area = roc_auc_score(asked["optimizer"] == "temperature_too_low", asked[line["column"]])
        assert line["larger where too low"] == f"{100 * area:.0f} %"
    others = evaluated(["majority"], load_cases(PARTS))
    assert "out of its bounds" not in page.compose(others, PARTS, "x")


def test_what_cannot_be_posed_or_answered_is_said(own_home, method_file):
    text = "columns = ['train_error']\nclass M:\n    def fit(self, m, l, task):\n        self.l = l.mode()[0]\n        if task.name == 'optimizer': raise ValueError('no idea')\n    def predict(self, m): return [self.l] * len(m)\n"
    found = evaluated(["majority", str(method_file(text))], load_cases("sisters"))
    document = page.compose(found, ["sisters"], "x")
    assert "Not posed: `mnist1d-cnn-to-fashion-cnn/optimizer/cross-dataset/20` and 3 more" in document
    assert "4 more of the selection could not be posed" in document
    assert "not asked for" not in document
    some = page.compose(evaluated(["majority"], [found.posed[0].rows.case]), ["sisters"], "x")
    assert "could not be posed" not in some
    assert "11 more of the selection were not asked for" in some
    (failed,) = (one for one in tables(document) if "why" in one)
    assert failed.to_numpy().tolist() == [["mine", "2", "it raised ValueError: no idea"]]
    sets = [set(one["method"]) for one in tables(document) if "rank" in one]
    assert sets == [{"majority"}, {"majority", "mine"}]
    assert "md_tree" not in document


def test_hostile_names_stay_names(own_home, method_file):
    cases = load_cases("sisters")
    hostile, plain = (
        page.compose(
            evaluated(
                [
                    str(
                        method_file(
                            f"name = {name!r}\ncolumns = []\nclass M:\n    def fit(self, m, l): self.l = l.mode()[0]\n"
                            "    def predict(self, m): return [self.l] * len(m)\n"
                        )
                    ),
                    "md_tree",
                ],
                cases,
            ),
            ["sisters"],
            "x",
        )
        for name in (HOSTILE, "plain")
    )
    found, expected = tables(hostile), tables(plain)
    assert [one.shape for one in found] == [one.shape for one in expected]
    assert any(HOSTILE in one["method"].tolist() for one in found if "method" in one)
    inert = re.compile(r"<br>|<!--[^<>]*-->|<details><summary>[^<>&]*</summary>|</details>")
    for token in MarkdownIt("commonmark").enable("table").parse(hostile):
        for part in [token, *(token.children or ())]:
            assert not part.type.startswith("link")
            if part.type.startswith("html"):
                assert inert.fullmatch(part.content.strip()), part.content


@pytest.mark.parametrize("text", ["a", "`", "``a`", "a|b", "<b>", "a\\|", "x" * 80, "a\nb", " a "])
def test_code_holds_anything(text):
    (shown,) = tables(table(("x", "y"), [(code(text), 1)]))
    assert shown.to_numpy().tolist() == [[" ".join(text.split()), "1"]]


def test_the_figure_shows_the_scores(found):
    panels = {
        ("cross-noise", "optimizer"): {m: mean(found, ["mnist1d-cnn/optimizer/cross-noise/20"], m) for m in METHODS}
    }
    sees = {
        "md_tree": ["landscape"],
        "validation_tree": ["landscape", "validation"],
        "majority": [],
        "barrier_rule": ["landscape"],
    }
    (panel,) = scores_by_panel(panels, sees).axes
    names = [label.get_text() for label in panel.get_yticklabels()]
    drawn = {}
    for whisker, dot in zip(panel.lines[::2], panel.lines[1::2], strict=True):
        drawn[names[int(dot.get_ydata()[0])]] = (*whisker.get_xdata(), *dot.get_xdata(), dot.get_color())
    colours = dict(zip(("landscape", "validation", "configuration", "nothing"), SEEN_COLOURS.values(), strict=True))
    for method, kind in zip(METHODS, ("landscape", "validation", "nothing", "landscape"), strict=True):
        score = found.result.score(method, "mnist1d-cnn/optimizer/cross-noise/20")
        values = np.array(score.accuracy_by_seed)
        low, high = score.accuracy_interval.low, score.accuracy_interval.high
        if values.std() > 1e-9:
            error = values.std(ddof=1) / len(values) ** 0.5
            low, high = student.interval(0.95, len(values) - 1, values.mean(), error)
        expected = low, high, score.accuracy
        assert drawn[method][:3] == pytest.approx(expected)
        assert drawn[method][3] == colours[kind]


@pytest.mark.usefixtures("toy_home")
def test_the_command_writes_what_was_asked_and_replaces_nothing_else(tmp_path):
    out = tmp_path / "results.md"
    cases = "cifar10/optimizer/few-shot/3"
    arguments = ("tabulate", "md_tree", "majority", "--cases", cases, "--workers", 0, "--out", out)
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert text.startswith(page.MARK)
    assert f"Made by `mdbench tabulate md_tree majority --cases {cases} --workers 0" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "results.md"]  # no case of core, no figure
    out.write_text("my own notes")
    assert "was not written by this command" in refusal(run(*arguments))
    assert out.read_text() == "my own notes"


def test_names_that_cannot_be_written(tmp_path):
    for out, why in (("a.txt", "ends in .md"), ("no/a.md", "there is no folder")):
        with pytest.raises(MdbenchError, match=why):
            tabulation.check_replaceable(tmp_path / out)
    (tmp_path / "a.png").write_bytes(b"a picture of mine")
    with pytest.raises(MdbenchError, match="was not written by this command"):
        tabulation.check_replaceable(tmp_path / "a.md")


def test_a_document_that_cannot_be_written_leaves_the_old_one(found, tmp_path, monkeypatch):
    out = tmp_path / "results.md"
    tabulation.write(found, PARTS, "x", out)
    before = out.read_bytes(), out.with_suffix(".png").read_bytes()
    assert before[1].startswith(b"\x89PNG")
    assert b"](results.png)" in before[0]
    tabulation.write(found, PARTS, "x", out)
    assert (out.read_bytes(), out.with_suffix(".png").read_bytes()) == before

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mdbench.files.write", full)
    with pytest.raises(MdbenchError, match="No space left on device"):
        tabulation.write(found, PARTS, "y", out)
    assert (out.read_bytes(), out.with_suffix(".png").read_bytes()) == before
    assert mdbench.__version__ in before[0].decode()
