"""mdbench from Python, as somebody meets it who types its name into a terminal or a notebook."""

import inspect
import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import image

import mdbench
from mdbench.errors import MdbenchError

CASE = "mnist1d-cnn/optimizer/cross-noise/20"
FUNCTIONS = [name for name in mdbench.__all__ if inspect.isfunction(getattr(mdbench, name))]


def test_all_that_can_be_asked_for_is_listed():
    asked = {"compare", "diagnose", "evaluate", "explain", "plot", "prescribe", "tabulate", "load_zoo", "load_result"}
    assert asked <= set(FUNCTIONS)
    assert set(mdbench.__all__) <= set(dir(mdbench))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_has_the_parameters_themselves(name):
    function = getattr(mdbench, name)
    parameters = inspect.signature(function).parameters
    found = re.search(r"\n {4}Parameters\n {4}-+\n(.*?)(?=\n\n {4}\w+\n {4}-|\Z)", function.__doc__ or "", re.DOTALL)
    if not parameters:
        return
    assert found, name
    items = re.findall(r"^ {4}([\w, ]+) : (.*)", found[1], re.MULTILINE)
    named = [one for names, _ in items for one in names.split(", ")]
    assert named == [*parameters]
    assert not any(prose.startswith("see ") for _, prose in items)
    assert not any(
        parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) for parameter in parameters.values()
    )


def test_diagnose_takes_what_the_function_behind_it_takes():
    from zoo_builder.examining import diagnose

    mine, behind = (inspect.signature(one).parameters for one in (mdbench.diagnose, diagnose))
    assert list(mine) == list(behind)
    for name in mine:
        assert mine[name].kind == behind[name].kind
        assert callable(mine[name].default) or mine[name].default == behind[name].default


def test_a_zoo_is_a_line_in_a_terminal_and_a_table_in_a_notebook():
    zoo = mdbench.load_zoo("fashion-cnn")
    counts = f"{len(zoo.configurations):,} configurations, {len(zoo.checkpoints):,} networks"
    assert repr(zoo) == f"<Zoo fashion-cnn: {counts}, {' × '.join(zoo.knobs)}>"
    html = zoo._repr_html_()
    assert html.startswith(f"<p>&lt;Zoo fashion-cnn: {counts}")
    for knob in zoo.knobs:
        levels = ", ".join(f"{level:g}" for level in np.unique(zoo.configurations[knob]))
        assert re.search(rf"<td>{knob}</td>\s*<td>{re.escape(levels)}</td>", html), knob


def test_plot_draws_results_explanations_and_zoos(tmp_path):
    result = mdbench.evaluate("majority", "mnist1d-cnn/optimizer/cross-noise", samples=2)
    explanation = mdbench.explain("barrier_rule", CASE, samples=1, shuffles=2)
    drawn = {
        "budget": mdbench.plot(result, out=tmp_path / "budget.png"),
        "columns": mdbench.plot(explanation, out=tmp_path / "columns.png"),
        "phase": mdbench.plot("mnist1d-cnn", "failure_source", at={"label_noise": 10}, out=tmp_path / "phase.png"),
    }
    for name, figure in drawn.items():
        assert image.imread(tmp_path / f"{name}.png").size > 0
        assert figure.axes, name
    assert "label noise 10 %, 126 of 672 configurations" in drawn["phase"].get_suptitle()
    mdbench.plot(mdbench.load_zoo("mnist1d-cnn"), "width").savefig(tmp_path / "again.png")
    for thing, said in (
        (("mnist1d-cnn",), "of zoo mnist1d-cnn a column is drawn"),
        ((result, "width"), "column and at are of a zoo"),
        (("mnist1d-cnn", "widht"), "nearest: width"),
    ):
        with pytest.raises(MdbenchError, match=said):
            mdbench.plot(*thing)


def test_tabulate_writes_what_the_command_writes(tmp_path):
    made = mdbench.tabulate(["majority", "barrier_rule"], CASE, tmp_path / "page.md", samples=2)
    assert made.paths[-1] == tmp_path / "page.md"
    text = made.paths[-1].read_text()
    assert "Made by `mdbench.tabulate(['majority', 'barrier_rule'], " in text
    score = made.result.score("barrier_rule", CASE)
    assert f"{score.accuracy:.1f} [" in text
    assert made.result.scores == mdbench.evaluate(["majority", "barrier_rule"], CASE, samples=2).scores


def test_a_notebook_keeps_its_own_way_to_show_figures():
    code = (
        "import sys, types; sys.modules['ipykernel'] = types.ModuleType('ipykernel')\n"
        "import matplotlib; matplotlib.use('svg'); import mdbench; mdbench.plot; assert matplotlib.get_backend() == 'svg'\n"
        "del sys.modules['ipykernel'], sys.modules['mdbench.showing.plots']\n"
        "import mdbench.showing.plots; assert matplotlib.get_backend() == 'agg'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_cannot_be_drawn_is_said(tmp_path):
    compared = mdbench.compare("hyperparameter_tree", "majority", CASE)
    with pytest.raises(mdbench.MdbenchError, match="a Comparison cannot be drawn"):
        mdbench.plot(compared)
    with pytest.raises(mdbench.MdbenchError, match="no label_noise=None; it has 0, 10"):
        mdbench.plot("mnist1d-cnn", "test_error", at={"label_noise": None})


@pytest.mark.parametrize("samples", [0, -1])
def test_fewer_samples_than_one_are_refused(samples):
    for ask in (mdbench.evaluate, mdbench.explain):
        with pytest.raises(mdbench.MdbenchError, match=f"{samples} training samples are too few"):
            ask("hyperparameter_tree", CASE, samples=samples)


def test_a_name_alone_is_one_method_and_a_text_is_a_folder(tmp_path):
    compared = mdbench.compare("hyperparameter_tree", "majority", CASE, among="validation_tree")
    assert compared.corrected.methods == ("hyperparameter_tree", "majority", "validation_tree")
    result = mdbench.evaluate("majority", CASE)
    result.save(str(tmp_path / "kept"))
    assert mdbench.load_result(str(tmp_path / "kept")).predictions.equals(result.predictions)
