"""Means over several cases: over shared ones alone, and the table says over which."""

import re

import numpy as np
import pytest
from typer.testing import CliRunner

import mdbench
from mdbench.cli import app

pytestmark = pytest.mark.usefixtures("toy_home")
CASES = ["cifar10/optimizer/few-shot/3", "cifar10/width_vs_optimizer/data-limited/20"]


def test_means_are_over_shared_cases_and_say_which():
    methods = ["majority", "validation_tree", "barrier_rule"]
    said = CliRunner().invoke(
        app, ["evaluate", *methods, "--cases", ",".join(CASES), "--beside", "", "--workers", "0"], terminal_width=140
    )
    assert said.exit_code == 0, said.output
    assert "over all 2 cases" in said.output
    assert re.search(r"over the 1 case of optimizer\s+that these all\s+answer", said.output)
    whole, part = said.output.split("over all 2 cases")[1].split("over the 1 case")
    assert "barrier_rule" not in whole
    assert all(method in part for method in methods)
    scores = {(score.method, score.case): score for score in mdbench.evaluate(methods, CASES).scores}
    for method in methods[:2]:
        mean = np.mean([scores[method, case].accuracy for case in CASES])
        above = np.mean([scores[method, case].above_chance for case in CASES])
        assert re.search(rf"{method}\s+{above:.2f}\s+{mean:.2f}", whole)
        first = scores[method, CASES[0]]
        assert re.search(rf"{method}\s+{first.above_chance:.2f}\s+{first.accuracy:.2f}", part)


def test_readme_says_what_several_cases_show():
    said = CliRunner().invoke(
        app, ["evaluate", "validation_tree", "--cases", ",".join(CASES), "--beside", "", "--workers", "0"]
    )
    assert said.output.count("95 % interval") >= len(CASES)
    assert "sees" in said.output.split("over all 2 cases")[1]
    assert "validation" in said.output.split("over all 2 cases")[1]


def test_a_result_is_short_in_a_terminal_and_a_table_in_a_notebook():
    result = mdbench.evaluate(["majority", "validation_tree"], CASES[0])
    assert repr(result) == str(result) == "<Result: 2 methods, 1 cases, 2 scores>"
    html = result._repr_html_()
    assert f"<td>{result.scores[0].accuracy:.2f}</td>" in html
    assert html.count("<tr") == 3


def test_comparing_from_python():
    assert "compare" in dir(mdbench)
    found = mdbench.compare("validation_tree", "majority", CASES[0])
    assert (found.a, found.b) == ("validation_tree", "majority")
