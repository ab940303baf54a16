"""Commands that other packages add: listed without their heavy packages, and never in the way of anything else."""

import importlib.metadata
import re
import sys

import pytest

from mdbench.cli import main
from mdbench.errors import MdbenchError
from mdbench.extras import needs
from mdbench.plugins import ENTRY_POINTS

GOOD = """
import typer
from mdbench.errors import MdbenchError
from mdbench.extras import needs
app = typer.Typer(help="Train a zoo.", add_completion=False, rich_markup_mode=None)
@app.callback()
def _main() -> None: pass
@app.command()
def train(name: str) -> None:
    typer.echo(f"trained {name}")
@app.command()
def heavy() -> None:
    with needs("zoo"):
        import not_installed.deep
"""


@pytest.fixture
def mdbench(tmp_path, monkeypatch, capsys):
    """Run ``mdbench`` with plug-ins given as name=text of their module; return exit code, output and errors."""
    monkeypatch.syspath_prepend(tmp_path)

    def run(*arguments: str, **modules: str) -> tuple[int, str, str]:
        entries = []
        for name, text in modules.items():
            (tmp_path / f"plugin_{name}.py").write_text(text)
            monkeypatch.delitem(sys.modules, f"plugin_{name}", raising=False)
            entries.append(importlib.metadata.EntryPoint(name, f"plugin_{name}:app", ENTRY_POINTS))
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: entries)
        monkeypatch.setattr(sys, "argv", ["mdbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


def test_a_plugin_is_listed_with_its_help_and_runs(mdbench):
    code, out, _ = mdbench("--help", zoo=GOOD)
    assert code == 0
    assert re.search(r"^  zoo +Train a zoo\.$", out, re.MULTILINE)
    assert "  evaluate " in out
    assert mdbench("zoo", "train", "mine", zoo=GOOD) == (0, "trained mine\n", "")
    assert "  train" in mdbench("zoo", "--help", zoo=GOOD)[1]


def test_a_package_that_a_command_needs_is_named_with_the_way_to_get_it(mdbench):
    error = "error: the package not_installed is missing; run pip install -e '.[zoo]' in a clone of mdbench\n"
    assert mdbench("zoo", "heavy", zoo=GOOD) == (2, "", error)


@pytest.mark.parametrize(("name", "extra"), [("zoo", "zoo"), ("submit", "leaderboard"), ("leaderboard", "leaderboard")])
def test_a_plugin_without_its_packages_says_how_to_get_them(mdbench, name, extra):
    plugin = {name: "import not_installed"}
    for arguments in ((name,), (name, "train", "--fast"), (name, "--help")):
        code, out, error = mdbench(*arguments, **plugin)
        assert (code, out) == (2, "")
        assert error == (
            f"error: mdbench {name}: the package not_installed is missing; "
            f"run pip install -e '.[{extra}]' in a clone of mdbench\n"
        )
    assert f"  {name} " in mdbench("--help", **plugin)[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise SystemExit(9)", "SystemExit: 9"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("", "has no attribute 'app'"),
        ("app = 3", "'int' object"),
        ("import mdbench.nothing", "No module named 'mdbench.nothing'"),
    ],
)
def test_a_broken_plugin_is_in_nobodys_way(mdbench, text, message):
    code, out, _ = mdbench("--help", broken=text, zoo=GOOD)
    assert code == 0
    assert re.search(r"^  broken +\(not usable\) it cannot be loaded", out, re.MULTILINE)
    assert re.search(r"^  zoo +Train a zoo\.$", out, re.MULTILINE)
    code, _, error = mdbench("broken", "x", broken=text)
    assert code == 2
    assert error.startswith("error: mdbench broken: it cannot be loaded: ")
    assert message in error
    assert mdbench("zoo", "train", "mine", broken=text, zoo=GOOD)[0] == 0


def test_a_plugin_is_imported_when_it_is_wanted_and_takes_no_name_of_ours(mdbench):
    assert "No such command 'typo'" in mdbench("typo", zoo=GOOD)[2]
    assert "List the columns" in mdbench("columns", "--help", columns=GOOD, zoo=GOOD)[1]
    assert not {"plugin_zoo", "plugin_columns"} & set(sys.modules)


def test_a_fault_is_not_taken_for_a_missing_package():
    with pytest.raises(MdbenchError, match="the package not_installed is missing"), needs("zoo"):
        import not_installed.deep  # noqa: F401
    with pytest.raises(ModuleNotFoundError), needs("zoo"):
        import mdbench.nothing  # noqa: F401
    with pytest.raises(ImportError), needs("zoo"):
        from mdbench.tables.zoo import nothing  # noqa: F401
