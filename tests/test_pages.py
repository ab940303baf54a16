"""The pages' examples run, and what they say of tables and of output is so."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pandas as pd
import pytest
import typer
from test_cli import run

import mdbench
import mdbench.cli
from mdbench.scoring.evaluation import evaluate
from mdbench.scoring.results import load_result
from mdbench.tables import COLUMNS
from mdbench.tables.dataset import dataset_path
from mdbench.tables.loading import load_zoo
from mdbench.testing import CHECKS
from zoo_builder.publishing.card import CASES, SPLITS, columns_said

ROOT = Path(__file__).resolve().parent.parent
TABLES = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
CARD = Path(dataset_path(), "README.md").read_text(encoding="utf-8")
CASE = "mnist1d-cnn/optimizer/cross-noise/20"


def blocks(page: str) -> list[str]:
    """Return the Python examples of a page."""
    return re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def ran(code: str, cache: Path) -> str:
    """Run code in a process of its own, in the checkout, without a network; return what it prints."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_md_tree_from_the_tables_alone_is_that_of_evaluate(tmp_path):
    said = ran(blocks(TABLES)[0], tmp_path).strip()
    assert f"It prints {said}, the accuracy in %" in TABLES
    assert said == f"{evaluate('md_tree', CASE).score('md_tree', CASE).accuracy:.2f}"


@pytest.mark.parametrize("page", [TABLES, CARD], ids=["page", "card"])
def test_the_two_lines_make_what_a_data_loader_takes(page, tmp_path):
    code = [block for block in blocks(page) if "load_dataset" in block or "DataLoader" in block]
    name = re.search(
        r'zoo = .*\["(\w+)"\]$',
        code[-1].replace("  # in a checkout; elsewhere load_dataset(mdbench.dataset_path())", ""),
        re.MULTILINE,
    )[1]
    after = (
        "batches = [*loader]\n"
        "assert set(batches[0]) == set(whole) and 100 < len(whole) < len(zoo.column_names)\n"
        "assert batches[0]['test_error'].shape == (32,)\n"
        "print(sum(float(batch['test_error'].sum()) for batch in batches), zoo.features['optimizer'].names)\n"
        "try: next(iter(DataLoader(zoo, batch_size=32)))\n"
        "except TypeError as error: print('NoneType' in str(error))\n"
    )
    total, names, dies = re.fullmatch(r"(\S+) (\[.*\])\n(.*)\n", ran("\n".join([*code, after]), tmp_path)).groups()
    table = pd.read_parquet(Path(dataset_path(), "data", name.replace("_", "-"), "configurations.parquet"))
    assert float(total) == pytest.approx(table["test_error"].sum())
    assert set(table["optimizer"]) <= set(eval(names))
    assert dies == "True"


@pytest.mark.parametrize(("name", "columns"), [("cases", CASES), ("splits", SPLITS)])
def test_every_column_of_the_benchmarks_tables_is_described(name, columns):
    assert list(pd.read_parquet(Path(dataset_path(), "data", f"{name}.parquet"))) == list(columns)
    for page in (CARD, (ROOT / "docs" / "zoos.md").read_text(encoding="utf-8")):
        assert f"The columns of `{name}`:\n\n{columns_said(columns)}\n" in page


# Every example runs, but for those that need what no test has


README = (ROOT / "README.md").read_text(encoding="utf-8")
METHODS = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
#: Examples that stand for something else: page and place → why nothing runs here.
NOT_RUN = {("docs/zoos.md", 1): "it starts jobs on a Slurm cluster"}
#: Before an example: what it says that its reader has.
NETWORK = (
    "import torch\nfrom torch.utils.data import DataLoader, TensorDataset\ntorch.manual_seed(0)\n"
    "inputs, labels = torch.randn(60, 4), torch.randint(0, 3, (60,))\n"
    "test_inputs, test_labels = torch.randn(60, 4), torch.randint(0, 3, (60,))\n"
    "models = [torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)) for _ in range(2)]\n"
    "model, train_loader = models[0], DataLoader(TensorDataset(inputs, labels), batch_size=20)\n"
)
#: Examples that run as they stand, or after something: page and place → what runs before, and after.
RUN = {
    ("README.md", 0): ("", "assert len(zoos['mnist1d_cnn'].to_pandas()) == 672"),
    ("README.md", 1): (
        "import torch\nNet = lambda: torch.nn.Linear(2, 2)\n"
        "train_inputs = test_inputs = torch.zeros(4, 2)\ntrain_targets = test_targets = torch.zeros(4, dtype=torch.long)\n",
        "import sys\nsys.modules['my_module'] = sys.modules['__main__']\n"
        "from zoo_builder.examining.bringing import data_of, factory\n"
        "assert isinstance(factory('my_module:make')(), torch.nn.Module)\n"
        "assert [len(part) for part in data_of('my_module:data')] == [2, 2]",
    ),
    ("README.md", 3): (NETWORK, "assert found.models['hessian_trace'].notna().all() and len(found.layers) == 2"),
    ("docs/metrics.md", 0): (
        NETWORK,
        "assert len(found.models) == 2 and len(found.layers) == 4 and 'mode_connectivity' in found.together\nassert found.way",
    ),
    ("docs/methods.md", 4): (
        "",
        "import mdbench\nfor name in ('mnist1d-cnn', 'teacher-wide'):\n"
        "    table = mdbench.load_zoo(name).configurations\n"
        "    MyMethod().fit(table, None)\n    assert list(coordinates_of(table, names)) == names\n",
    ),
    ("mdbench/README.md", 0): ("", "assert set(zoos) >= {'digits_adamw', 'mnist1d_cnn'}"),
}
#: Examples that other tests of this file run.
ELSEWHERE = {
    *(("README.md", place) for place in (2, 4)),
    *(("docs/methods.md", place) for place in range(4)),
    *(("docs/tables.md", place) for place in range(2)),
    ("docs/submitting.md", 0),
    ("docs/zoos.md", 0),
    ("mdbench/README.md", 1),
}
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "mdbench/README.md",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]
EXAMPLES = {
    (page, place): block
    for page in PAGES
    for place, block in enumerate(blocks((ROOT / page).read_text(encoding="utf-8")))
}


def test_every_example_is_run_by_some_test():
    assert set(EXAMPLES) == {*RUN, *ELSEWHERE, *NOT_RUN}


@pytest.mark.parametrize("example", RUN, ids=lambda example: f"{example[0]} {example[1]}")
def test_an_example_runs(example, tmp_path):
    before, after = RUN[example]
    ran(f"{before}{EXAMPLES[example]}\n{after}", tmp_path)


@pytest.fixture
def my_method(tmp_path, monkeypatch) -> Path:
    """README's method, in the folder that commands are typed in."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my_method.py"
    path.write_text(EXAMPLES["README.md", 2])
    return path


def test_readmes_python_runs(my_method, tmp_path, capsys):
    found = {}
    exec(EXAMPLES["README.md", 4], found)
    said = capsys.readouterr().out
    assert "my_method" in said
    assert {"above_chance", "diagnosis", "rule", "optimal", "test_error"} <= set(said.split())
    assert "<Comparison: my_method − md_tree = " in said
    assert {"above_chance", "coverage_at_95"} <= set(found["result"].to_frame())
    assert (tmp_path / "failure_source.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("example", [("docs/methods.md", 0), ("docs/methods.md", 1), ("docs/submitting.md", 0)])
def test_methods_of_pages_pass_the_checks_that_any_must(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_method.py").write_text(EXAMPLES[example])
    found = {}
    exec(EXAMPLES["docs/methods.md", 3], found)
    for check in ("trains and answers", "fresh copies", "one row"):
        found["test_my_method"](check)


def test_a_network_comes_back_from_where_it_was_published(built, monkeypatch):
    zoo = load_zoo(built)
    name = zoo.checkpoints.index[0]
    code = EXAMPLES["docs/zoos.md", 0].replace("ORG/NAME", str(built))
    code = re.sub(r'"width=\S+"', repr(name), code)
    found = {}
    exec(code, found)
    assert sum(one.numel() for one in found["network"].parameters()) == zoo.configurations["parameter_count"].iloc[0]


def test_docstrings_examples_run():
    import mdbench.testing

    found = doctest.testmod(mdbench.testing)
    assert (found.attempted, found.failed) == (2, 0)
    sources = [path for room in ("mdbench", "zoo_builder", "leaderboard") for path in (ROOT / room).rglob("*.py")]
    others = [path for path in sources if re.search(r"^ *>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)]
    assert [path.relative_to(ROOT).as_posix() for path in others] == ["mdbench/testing.py"]


# Commands that pages name are there, with their options


def commands() -> list[tuple[str, str]]:
    """Return what pages say to type, page and line."""
    found: list[tuple[str, str]] = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        typed = [line for line in text.splitlines() if line.startswith("    ") and page != "docs/design.md"]
        lines = typed + re.findall(r"`(mdbench [^`]+)`", text)
        parts = [part.strip() for line in lines for part in re.split(r";|&&|\$ ", line.partition("  #")[0])]
        found += [(page, " ".join(part.split())) for part in parts if part.startswith("mdbench ")]
    return found


def test_commands_and_options_of_pages_exist():
    app = typer.main.get_command(mdbench.cli.app)
    assert len(commands()) > 60
    for page, line in commands():
        command, words = app, re.findall(r"[^\s']+", line)[1:]
        context = click.Context(command)
        while hasattr(command, "get_command") and words and not words[0].startswith("-"):
            if words[0] in ("…", "..."):
                break
            command = command.get_command(context, words.pop(0))
            assert command is not None, (page, line)
        options = {opt for one in command.params for opt in (*one.opts, *one.secondary_opts)} | {"--help", "--version"}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0].rstrip(".,)") in options, (page, line, word)


# What README and docs/methods.md say of output, held against output


def test_up_to_ten_cases_have_intervals_and_what_a_method_looked_at(my_method):
    """README: of up to ten cases, each with its 95 % intervals; MD tree and the validation baselines beside it."""
    said = run("evaluate", my_method, "--cases", CASE, "--samples", 2).stdout
    head = next(line for line in said.splitlines() if line.startswith("#"))
    assert re.split(r"\s{2,}", head.strip()) == [
        *("#", "method", "above chance", "95 % interval", "accuracy", "± std", "95 % interval", "sees")
    ]
    rows = re.findall(r"^\d +(\w+) +\S+ +\[[^]]+\] +\S+ +\S+ +\[[^]]+\] +(.*?) *$", said, re.MULTILINE)
    sees = dict(rows)
    assert sees.pop("my_method") == "landscape"
    assert sees == {
        "md_tree": "landscape",
        "validation_tree": "landscape, validation",
        "hyperparameter_tree": "configuration",
        "majority": "nothing",
    }


def test_of_more_cases_there_is_a_line_each_and_means_are_over_shared_cases(my_method):
    """README: means are over cases that all methods of a table answer. Without intervals, as it says of more than ten."""
    said = run("evaluate", my_method, "--cases", "sisters", "--samples", 2).stdout
    assert "above chance in %, one line a case" in said
    assert re.search(rf"^{re.escape(CASE)} +[\d.–-]+ ", said, re.MULTILINE)
    tables = re.findall(
        r"^over (all \d+ cases|the \d+ cases of .*?these all answer) *\n(.*?)\n\n", said, re.DOTALL | re.MULTILINE
    )
    assert [" ".join(title.split())[:14] for title, _ in tables] == ["all 12 cases", "the 9 cases of"]
    for title, body in tables:
        methods = {line.split()[0] for line in body.splitlines()[1:] if line.strip()}
        assert ("md_tree" in methods) is title.startswith("the 9")  # which answers three of the four tasks
        assert "my_method" in methods
    assert "[" not in said.partition("over all")[0]


def test_out_keeps_scores_and_predictions(my_method, tmp_path):
    """README: --out DIR keeps scores and predictions; docs/methods.md: bins, curve and a column for every verdict."""
    done = run(
        "evaluate", my_method, "--cases", CASE, "--samples", 2, "--beside", "majority", "--out", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    result = load_result(tmp_path / "out")
    score = result.score("my_method", CASE)
    assert score.probability.bins
    assert len(score.probability.accuracy_by_coverage) == 20
    (case,) = result.cases
    assert {f"p_{verdict}" for verdict in case.classes} <= set(result.predictions)


def test_how_sure_a_method_is_stands_below(tmp_path, monkeypatch):
    """docs/methods.md: log loss and Brier score with their intervals, calibration error, area, surer half, 95 %; what is answered, and right."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "careful.py").write_text("columns = ['train_error']\n" + EXAMPLES["docs/methods.md", 2])
    said = run("evaluate", "careful.py", "--cases", CASE, "--samples", 5, "--beside", "").stdout
    below = said.partition("how sure, and whether that is deserved")[2].splitlines()
    assert re.split(r"\s{2,}", below[1].strip()) == [
        *(
            "method",
            "log loss",
            "Brier score",
            "calibration error",
            "risk–coverage",
            "surer half",
            "95 % right",
            "answered",
            "of these right",
        )
    ]
    (row,) = [line for line in below if line.startswith("careful ")]
    assert len(re.findall(r"\[[\d.]+, [\d.]+\]", row)) == 2
    answered, right = map(float, row.split()[-2:])
    said = mdbench.evaluate("careful.py", CASE, samples=5).predictions
    some = said[said["predicted"].notna()]
    assert answered == pytest.approx(100 * len(some) / len(said), abs=0.05)
    assert right == pytest.approx(100 * (some["predicted"] == some["true"]).mean(), abs=0.05)


def test_mistakes_say_what_the_page_says(my_method):
    """docs/methods.md, Where it goes wrong."""
    said = run("evaluate", my_method, "--cases", CASE, "--samples", 2, "--beside", "", "--mistakes").stdout
    zoo = mdbench.load_zoo("mnist1d-cnn")
    assert "what was true ↓, what was said →" in said
    assert "accuracy in % by width ↓ and batch_size →" in said
    assert "accuracy in % by the label's margin over its standard error" in said
    assert "mdbench zoo show FOLDER --config CONFIGURATION" in said
    surest = said.partition("surest mistakes")[2]
    first = [line.split()[0] for line in surest.splitlines() if line.strip()]
    assert sum(word in zoo.configurations.index for word in first) == 5


def test_explain_says_what_the_page_says(my_method, tmp_path):
    """docs/methods.md, Which columns decide."""
    done = run("explain", my_method, "--case", CASE, "--samples", 2, "--out", tmp_path / "columns.png")
    said = " ".join(done.stdout.split())
    assert "mean of 2 training samples × 10 shuffles; Student's interval over training samples" in said
    assert all(column in said for column in ("train_error", "mode_connectivity_peak"))
    assert (tmp_path / "columns.png").read_bytes().startswith(b"\x89PNG")


def test_check_prints_a_line_a_check(my_method, tmp_path):
    """docs/methods.md: a line a check, ✓ or what was wrong; the exit code is 1 where one fails."""
    done = run("check", my_method)
    assert done.returncode == 0
    lines = done.stdout.strip().splitlines()
    assert [line.removeprefix("✓ ") for line in lines] == list(CHECKS)
    cheat = tmp_path / "cheat.py"
    cheat.write_text(EXAMPLES["docs/methods.md", 0].replace("[self.verdict] * len(models)", "['?'] * len(models)"))
    done = run("check", cheat)
    assert done.returncode == 1
    assert done.stdout.startswith("✗ trains and answers: it predicted '?'")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("compare my_method.py md_tree", "about other zoos"),
        ("prescribe my_method.py", "test accuracy gained, in points"),
        ("plot budget my_method.py", "wrote budget.png"),
        ("plot phase failure_source", "wrote failure_source.png"),
        ("methods", "md_tree"),
        ("cases", "sweeps: a case is SWEEP/BUDGET"),
        ("columns", "log_hessian_trace"),
    ],
)
def test_what_readme_says_to_ask_more_answers(my_method, tmp_path, line, said):
    assert re.search(rf"^    (?:.*; )?mdbench {re.escape(line)}\b", README, re.MULTILINE)
    quick = ["--cases", "mnist1d-cnn/optimizer/cross-noise/5,fashion-cnn/optimizer/cross-noise/5"]
    words = line.split()
    done = run(*words, *(quick if words[0] in ("compare", "prescribe") or words[:2] == ["plot", "budget"] else ()))
    assert done.returncode == 0, done.stderr
    assert said in " ".join(done.stdout.split())
    assert all((tmp_path / name).stat().st_size > 1000 for name in re.findall(r"wrote (\S+\.png)", done.stdout))


def test_columns_lists_each_with_its_unit_its_meaning_and_what_it_needs():
    """docs/metrics.md: every column with its unit, its meaning and what it needs."""
    said = run("columns").stdout
    begun = [line for line in said.splitlines() if line and not line.startswith(" ")]
    assert begun == list(COLUMNS)
    parts = re.split(r"^(?=\S)", said, flags=re.MULTILINE)[1:]
    for column, part in zip(COLUMNS.values(), parts, strict=True):
        text = " ".join(part.split())
        assert " ".join(column.meaning.split()) in text
        assert ("a number" if column.unit == "1" else column.unit) in text
        assert all(need.value in text for need in column.needs)
