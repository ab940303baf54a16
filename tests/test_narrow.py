"""On a terminal of 80 columns nothing is cut: every number that Python gives stands in the line of its method."""

import re

import pytest
from typer.testing import CliRunner

import mdbench
from mdbench.cli import app

CASE = "mnist1d-cnn/optimizer/cross-noise/20"
METHODS = ("hyperparameter_tree", "majority")


@pytest.fixture
def narrow(monkeypatch):
    """Run a command on a terminal of 80 columns; return the lines that it printed, without colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments):
        done = CliRunner().invoke(app, [*arguments, "--cases", CASE, "--workers", "0"])
        assert done.exit_code == 0, done.output
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", done.output)
        assert "…" not in plain
        return plain.splitlines()

    return run


def line_of(lines, name, *numbers):
    return any(re.search(rf"\b{name}\b", line) and all(text in line for text in numbers) for line in lines)


def test_scores_and_mistakes(narrow):
    lines = narrow("evaluate", *METHODS, "--beside", "", "--mistakes")
    result = mdbench.evaluate(METHODS, CASE)
    for score in result.scores:
        interval = f"[{score.accuracy_interval.low:.1f}, {score.accuracy_interval.high:.1f}]"
        assert line_of(lines, score.method, f"{score.accuracy:.2f}", f"{score.accuracy_std:.2f}", interval)
    wrong = result.mistakes()
    surest = wrong[wrong["method"] == "majority"].iloc[0]
    assert line_of(lines, surest["row"], surest["true"], surest["said"], f"{surest['wrong']:.0f}")


def test_comparisons(narrow):
    lines = narrow("compare", *METHODS)
    row = mdbench.compare(*METHODS, CASE).to_frame().iloc[0]
    assert line_of(lines, CASE, f"{row[METHODS[0]]:.2f}", f"{row[METHODS[1]]:.2f}", f"{row['difference']:+.2f}")


def test_prescriptions(narrow):
    lines = narrow("prescribe", *METHODS, "--beside", "")
    for row in mdbench.prescribe(METHODS, CASE).to_frame().itertuples():
        assert line_of(lines, row.diagnosis, f"{row.gain:.2f} ± {row.std:.2f}", f"{row.unclipped:+.2f}")
