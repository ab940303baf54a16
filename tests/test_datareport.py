"""The data report: what it says is what the tables say, its links lead somewhere, and it replaces nothing but itself."""

import json
import re
import shutil
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import toy
from markdown_it import MarkdownIt
from tiny_zoo import build_here, contents, write_spec

from mdbench.cli import main
from mdbench.errors import MdbenchError
from mdbench.showing.plots import VERDICT_COLOURS
from mdbench.tables.labels import Move
from mdbench.tables.loading import load_zoo
from mdbench.tables.noise import decided
from mdbench.tables.tasks import NONE
from mdbench.tables.zoo import Zoo
from zoo_builder.reporting import figures, summary
from zoo_builder.reporting.datareport import MARK, compose, write_report


def measured(zoo):
    """A zoo of networks that is measured: one metric of each network, another of each configuration, some missing."""
    rng = np.random.default_rng(0)
    corrupted = zoo.checkpoints["label_noise"] > 0
    checkpoints = zoo.checkpoints.assign(
        memorized_share=np.where(corrupted, rng.random(len(corrupted)), np.nan),
        memorization_reason=np.where(corrupted, None, "memorized_share: no label | was corrupted"),
    )
    configurations = zoo.configurations.assign(
        memorized_share=checkpoints.groupby("configuration")["memorized_share"].mean(),
        memorization_reason="5 of its networks: memorized_share: no label | was corrupted",
    )
    return Zoo.from_table(
        zoo.name, zoo.title, configurations.reset_index(), zoo.moves, zoo.provenance, checkpoints.reset_index()
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The folder of a measured zoo of networks with its report."""
    folder = tmp_path_factory.mktemp("zoos") / "own"
    measured(toy.own_zoo()).save(folder)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def text(home):
    return (home / "report" / "report.md").read_text()


def tables(text):
    """Return all tables of a Markdown text, each as a list of rows of cells, as a Markdown parser reads them."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and token.level == 4:
            found[-1][-1].append("".join(child.content for child in token.children))
    return found


def table_of(text, corner):
    """Return the table whose first cells begin with `corner`, as header and rows."""
    (found,) = (table for table in tables(text) if tuple(table[0][: len(corner)]) == corner)
    assert {len(row) for row in found} == {len(found[0])}
    return found[0], found[1:]


def test_every_file_is_named_in_the_text_and_every_figure_has_words(home, text):
    there = {path.name for path in (home / "report").iterdir()} - {"report.md"}
    assert there == {
        "balance.png",
        "correlations.png",
        "labels.png",
        "metrics.png",
        "correlations.csv",
        "missing.csv",
    }
    images = re.findall(r"!\[(.*?)\]\((.*?)\)", text)
    assert {name for _, name in images} == {name for name in there if name.endswith(".png")}
    assert all(len(alt) > 40 for alt, _ in images)
    assert set(re.findall(r"(?<!!)\[.*?\]\((.*?)\)", text)) == {name for name in there if name.endswith(".csv")}
    assert text.startswith(MARK)
    assert str(home) not in text


def test_the_counts_of_labels_stand_in_it(home, text):
    zoo = load_zoo(home)
    header, rows = table_of(text, ("failure_source",))
    assert header[1:] == ["temperature_too_low", "temperature_too_high", "width", "data", "no verdict"]
    assert [row[0] for row in rows] == ["all", "0 % label noise", "20 % label noise"]
    for row, part in zip(
        rows,
        [zoo.configurations, *(part for _, part in zoo.configurations.groupby("label_noise"))],
        strict=True,
    ):
        counts = part["failure_source"].value_counts()
        whole = counts.drop("none", errors="ignore").sum()
        for verdict, cell in zip(header[1:-1], row[1:], strict=False):
            assert cell == f"{counts.get(verdict, 0):,} ({100 * counts.get(verdict, 0) / whole:.1f} %)"
        assert row[-1] == str(counts.get("none", 0))


def one_sided(**columns):
    """A zoo on which smaller batches and more data are always better."""
    table = toy.table().query("width == 2")[["batch_size", "data_fraction"]]
    table = table.assign(test_error=table["batch_size"] / 50 + 50 / table["data_fraction"], **columns)
    moves = [
        Move("temperature_up", "batch_size", "down"),
        Move("temperature_down", "batch_size", "up"),
        Move("data", "data_fraction", "up"),
    ]
    return Zoo.from_table("one-sided", "", table, moves, toy.zoo().provenance)


_SCRATCH = []


@pytest.fixture(autouse=True)
def scratch(tmp_path):
    """Where `compose_here` writes."""
    _SCRATCH[:] = [tmp_path]


def compose_here(zoo, **more):
    folder = _SCRATCH[0] / f"report-{zoo.name}"
    folder.mkdir()
    return compose(zoo, folder, **more)


def test_a_grid_that_shows_one_side_says_so_and_needs_no_networks_and_no_widths():
    text = compose_here(one_sided())
    _, rows = table_of(text, ("cells whose best is",))
    assert rows == [["all", "0 (0.0 %)", "10 (100.0 %)", "0 (0.0 %)", "10"]]
    assert (
        "lies inside the grid in 0 of 10 cells (all rows that share the other knobs): the grid shows **one side only**"
        in text
    )
    _, rows = table_of(text, ("rows that can grow",))
    assert rows == [["all", "117", "117 (100.0 %)", "not known"]]
    assert "more of it helps in 117 (100.0 %) of 117 rows; the grid shows **one side only**" in text
    rare = "in `optimizer`, less than 2 % are `temperature_too_high` (0.0 %, 0 rows)"
    for said in (
        f"> **Degenerate:** {rare}",
        "the tables hold means only",
        "margins have no standard errors",
        "was measured here",
        "No phase plots",
    ):
        assert said in text
    assert {path.name for path in (_SCRATCH[0] / "report-one-sided").iterdir()} == {
        "balance.png",
        "correlations.csv",
        "correlations.png",
    }


def test_a_zoo_of_nothing_but_errors_has_a_report():
    table = pd.DataFrame({"batch_size": [8.0, 16.0], "test_error": [np.nan, np.nan], "train_loss": [np.nan, 1.0]})
    text = compose_here(Zoo.from_table("nothing", "", table, [], toy.zoo().provenance))
    for said in (
        "the zoo has no labels",
        "\n\nThere are no labels.\n",
        "No metric varies",
        "| test error | not known |",
        "No phase plots",
    ):
        assert said in text


@pytest.mark.parametrize("name", ["fashion-cnn", "mnist1d-treated"])
def test_tasks_whose_labels_are_mostly_within_noise_are_named(name, tmp_path):
    zoo = load_zoo(name)
    asked = {name: task for name, task in zoo.tasks.items() if (zoo.configurations[name] != NONE).any()}
    shares = {
        name: 100 - 100 * decided(zoo, task)[zoo.configurations[name] != NONE].mean() for name, task in asked.items()
    }
    expected = [f"`{task}` ({share:.1f} %)" for task, share in shares.items() if share > 50]
    said = [line for line in compose(zoo, tmp_path).splitlines() if line.startswith("> **Mostly within noise:**")]
    assert [re.findall(r"`\w+` \([\d.]+ %\)", line) for line in said] == ([expected] if expected else [])
    assert bool(expected) == (name == "fashion-cnn")


def test_an_imported_zoo_has_a_report():
    text = compose_here(toy.zoo())
    _, rows = table_of(text, ("", "metric"))
    found = summary.correlations(toy.zoo())
    assert [row[1].removesuffix(" †") for row in rows] == found.index.tolist()
    assert [row[1].endswith(" †") for row in rows] == found["reveals_label"].tolist()
    assert [row[3] for row in rows[:3]] == [f"{value:+.2f}".replace("-", "−") for value in found["data_mean"][:3]]
    assert rows[0][5].replace("\u00a0", " ") == "10 × 169"


def test_missing_numbers_are_told_with_their_reason(home, text):
    _, rows = table_of(text, ("family", "reason"))
    assert rows == [
        ["memorization", "no label | was corrupted", "624 (50.0 %) checkpoints", "memorized_share"],
    ]
    _, rows = table_of(text, ("family", "columns"))
    assert dict(zip((row[0] for row in rows), (row[2] for row in rows), strict=True))["memorization"] == "50.0 %"
    found = pd.read_csv(home / "report" / "missing.csv")
    assert found.loc[0, ["rows", "numbers"]].tolist() == [624, 624]


def test_the_table_of_correlations_is_the_csv_file(home):
    found = pd.read_csv(home / "report" / "correlations.csv", index_col="metric")
    expected = summary.correlations(load_zoo(home))
    assert found.index.tolist() == expected.index.tolist()
    np.testing.assert_allclose(found["width_mean"], expected["width_mean"], rtol=1e-5)


def test_the_same_zoo_gives_the_same_bytes_and_a_report_is_replaced(home, tmp_path):
    first = {path.name: path.read_bytes() for path in (home / "report").iterdir()}
    out = tmp_path / "out" / "deep"
    shutil.copytree(home / "report", out)
    (out / "report.md").write_text(f"{MARK}\nof long ago")
    written = write_report(home, out)
    assert written[0] == out / "report.md"
    assert {path.name: path.read_bytes() for path in written} == first
    assert {path.name for path in out.iterdir()} == set(first)
    assert [path.name for path in out.parent.iterdir()] == ["deep"]  # nothing else is left behind


@pytest.mark.parametrize("way", ["foreign file", "foreign report", "file", "extra file", "folder inside"])
def test_what_is_not_a_report_is_left_alone(home, tmp_path, way):
    out = tmp_path / "out"
    if way == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "report.md").write_text("mine" if way == "foreign report" else MARK)
        if way == "foreign file":
            (out / "report.md").rename(out / "notes.md")
        if way == "extra file":
            (out / "notes.md").write_text("mine")
        if way == "folder inside":
            (out / "raw").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MdbenchError, match="exists and is not a report"):
        write_report(home, out)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def command(monkeypatch, capsys):
    """Run ``mdbench zoo report``; return exit code, output and errors."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["mdbench", "zoo", "report", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


def test_the_command_writes_the_report_of_a_build(command, tmp_path):
    build_here(write_spec(tmp_path), tmp_path / "zoo")
    code, out, error = command(tmp_path / "zoo", "--json")
    assert (code, error) == (0, "")
    said = json.loads(out)
    assert said["event"] == "reported"
    assert said["files"][0] == str(tmp_path / "zoo" / "report" / "report.md")
    assert sorted(said["files"]) == sorted(map(str, (tmp_path / "zoo" / "report").iterdir()))
    text = (tmp_path / "zoo" / "report" / "report.md").read_text()
    about, *_, times = (dict(table[1:]) for table in tables(text) if len(table[0]) == 2)
    assert about["networks"] == "16, 2 at a grid point"
    assert about["data set"].startswith(str(tmp_path / "data.npz"))
    assert about["architecture"] == "mlp; depth 1"
    assert "batch size" not in about["training"]  # it is an axis of the grid
    assert about["seeds"] == "0, 1"
    seconds = pd.read_parquet(tmp_path / "zoo" / "timings.parquet")["seconds"]
    assert times["networks"] == "16"
    assert times["the slowest network"] == f"{seconds.max():.2f} s"
    before = contents(tmp_path / "zoo" / "report")
    build_here(tmp_path / "spec.toml", tmp_path / "zoo")  # a report is not in a build's way
    assert contents(tmp_path / "zoo" / "report") == before


def test_the_command_says_where_the_report_is_and_what_is_wrong(command, home, tmp_path):
    code, out, _ = command(home, "--out", tmp_path / "out")
    assert code == 0
    assert out == f"wrote {tmp_path / 'out' / 'report.md'}, with 6 figures and tables beside it\n"
    code, _, error = command(tmp_path / "nothing")
    assert code == 2
    assert "is not there" in error


def test_dots_are_where_the_correlations_are():
    found = summary.strongest(summary.correlations(toy.zoo()), 5)
    figure = figures.dots(found, {"data": "fixed data", "width": "fixed width"})
    for axes, fixed in zip(figure.axes, ("data", "width"), strict=True):
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        known = found[found[f"{fixed}_mean"].notna()]
        assert [line.get_xdata()[0] for line in dots] == known[f"{fixed}_mean"].tolist()
        hollow = [line.get_markerfacecolor() == "white" for line in dots]
        assert hollow == known["reveals_label"].tolist()
        names = {label.get_position()[1]: label.get_text() for label in figure.axes[0].get_yticklabels()}
        assert [names[line.get_ydata()[0]] for line in dots] == known.index.tolist()
    plt.close(figure)


def test_bars_are_as_long_as_verdicts_are_frequent():
    found = summary.label_balance(toy.own_zoo())
    figure = figures.balance(found)
    axes = figure.axes[3]
    assert axes.get_title(loc="left") == "failure_source"
    own = found[(found["task"] == "failure_source") & found["label_noise"].isna()]
    bars = [patch for patch in axes.patches if abs(patch.get_y() + patch.get_height() / 2) < 1e-9]
    np.testing.assert_allclose([bar.get_width() for bar in bars], 100 * own["rows"] / own["rows"].sum())
    assert sum(bar.get_width() for bar in bars) == pytest.approx(100)
    shown = [bar.get_facecolor() for bar in bars]
    assert shown == [plt.matplotlib.colors.to_rgba(VERDICT_COLOURS[verdict]) for verdict in own["verdict"]]
    plt.close(figure)


def test_a_report_says_of_training_what_has_a_meaning(tmp_path):
    training = 'schedule = "constant"\n[training.optimizers.sam]\nsharpness = { rho = 0.1 }'
    axes = {"optimizer": ["sgd", "sam"], "steps": [2, 3], "width": [2]}
    spec = write_spec(tmp_path, training=training, **axes)
    build_here(spec, tmp_path / "zoo")
    write_report(tmp_path / "zoo", tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    about = dict(next(table for table in tables(text) if len(table[0]) == 2)[1:])
    assert about["training"] == (
        "learning rate 0.1; weight decay 0.0005; momentum 0.9; batch size 128; data fraction 100; label noise 0; warmup 0; "
        "schedule constant; optimizers (sam (sharpness (rho 0.1)))"
    )
    assert "nan %" not in text
