"""Method files: what is found in them, and what is refused."""

import sys

import numpy as np
import pandas as pd
import pytest
import toy
from sklearn.linear_model import LogisticRegression

from mdbench.cases import load_cases, split
from mdbench.methods.method import MethodError, as_method, find_method, imported_names, load_method, named_methods
from mdbench.methods.trial import ask

FIT = "    def fit(self, models, labels, task): pass\n"
PREDICT = "    def predict(self, models): return ['width'] * len(models)\n"


@pytest.mark.parametrize(
    "text",
    [
        f"class Mine:\n{FIT}{PREDICT}",
        f"class Mine:\n{FIT}{PREDICT}\nmine = Mine()\nmethod = mine",
        f"class _Base:\n{FIT}{PREDICT}\nclass Mine(_Base): pass",
        "from sklearn.tree import DecisionTreeClassifier\nmethod = DecisionTreeClassifier()",
        "from sklearn.tree import DecisionTreeClassifier\ntree = DecisionTreeClassifier()",
        "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler\n"
        "from sklearn.svm import SVC\npipe = make_pipeline(StandardScaler(), SVC())",
        f"zero_shot = True\nclass Rule:\n{PREDICT}",
        f"class Rule:\n    zero_shot = True\n{PREDICT}",
        f"import numpy as np\nfrom sklearn.svm import SVC\nclass Mine:\n{FIT}{PREDICT}",
    ],
)
def test_the_one_method_in_a_file_is_found(method_file, text):
    method = load_method(method_file(text))
    assert method.name == "mine"
    assert callable(method.fresh().predict)


def test_what_a_method_says_of_itself(method_file):
    method = load_method(
        method_file(
            "name = 'My method'\ncolumns = ['train_error', 'output_cka', 'train_error']\ntrack = 'transductive'\n"
            f"class Mine:\n{FIT}{PREDICT}"
        )
    )
    assert method.name == "My method"
    assert method.columns["width_vs_optimizer"] == ("train_error", "output_cka")
    assert method.track == "transductive"


def test_a_mapping_of_columns_says_which_tasks_are_answered(method_file):
    method = load_method(method_file(f"class Mine:\n    columns = {{'optimizer': ['train_error']}}\n{FIT}{PREDICT}"))
    assert method.answers("optimizer")
    assert not method.answers("failure_source")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", r"mine.py, line 1: syntax error"),
        ("x = 1\n\ny = 1/0\n", "cannot be loaded: ZeroDivisionError"),
        ("import no_such_package_at_all", "No module named 'no_such_package_at_all'"),
        ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3"),
        ("x = 1", "there is no method"),
        ("", "there is no method"),
        ("import pandas", "there is no method"),
        ("from sklearn.tree import DecisionTreeClassifier", "there is no method"),
        (f"class Mine:\n{PREDICT}", "there is no method"),
        (f"class A:\n{FIT}{PREDICT}\nclass B:\n{FIT}{PREDICT}", r"several methods \(A, B\)"),
        ("method = 3", r"has no predict\(models\)"),
        (f"class Mine:\n{PREDICT}\nmethod = Mine", r"no fit\(models, labels, task\)"),
        (
            f"columns = ['width']\nclass Mine:\n{FIT}{PREDICT}",
            "column 'width' is forbidden: no method sees the knob family",
        ),
        (f"columns = ['rfi_data']\nclass Mine:\n{FIT}{PREDICT}", "no method sees the rfi family"),
        (f"columns = ['optimizer']\nclass Mine:\n{FIT}{PREDICT}", "no method sees the label family"),
        (f"columns = ['train_error|width']\nclass Mine:\n{FIT}{PREDICT}", "column 'width' is forbidden"),
        (f"columns = ['train_error|']\nclass Mine:\n{FIT}{PREDICT}", "column '' does not exist"),
        (f"columns = ['sharpness']\nclass Mine:\n{FIT}{PREDICT}", "column 'sharpness' does not exist"),
        (f"columns = 'train_error'\nclass Mine:\n{FIT}{PREDICT}", "columns must be a list"),
        (f"columns = {{'fortune': []}}\nclass Mine:\n{FIT}{PREDICT}", "task 'fortune' does not exist"),
        (f"track = 'fast'\nclass Mine:\n{FIT}{PREDICT}", "track 'fast' does not exist"),
        (f"track = 'transductive'\ncolumns = ['test_error']\nclass Mine:\n{FIT}{PREDICT}", "gives their labels away"),
        (f"name = ''\nclass Mine:\n{FIT}{PREDICT}", "printable text"),
        (f"name = 'a\\x1b[2J'\nclass Mine:\n{FIT}{PREDICT}", "printable text"),
    ],
)
def test_a_file_that_is_no_method_says_why(method_file, text, message):
    with pytest.raises(MethodError, match=message):
        load_method(method_file(text))


def test_bytes_that_are_no_python(tmp_path):
    (tmp_path / "mine.py").write_bytes(b"\x00\xff\xfe")
    with pytest.raises(MethodError):
        load_method(tmp_path / "mine.py")


def test_a_traceback_shows_the_methods_own_frames(method_file):
    with pytest.raises(MethodError) as caught:
        load_method(method_file("def f():\n    raise KeyError('gone')\nf()\n"))
    lines = caught.value.traceback.splitlines()
    assert "mine.py" in lines[0]
    assert "line 3" in lines[0]
    assert lines[-1] == "KeyError: 'gone'"
    assert "importlib" not in caught.value.traceback


def test_methods_are_found_by_name_or_file(method_file, monkeypatch, tmp_path):
    assert find_method("md_tree") == named_methods()["md_tree"]
    file = method_file("x = 1")
    assert find_method(str(file)) == file
    monkeypatch.chdir(tmp_path)
    assert find_method("mine.py") == file
    for missing in ("yours.py", "md_treee", str(tmp_path)):
        with pytest.raises(MethodError):
            find_method(missing)


def test_a_fresh_copy_shares_nothing():
    method = as_method(LogisticRegression(C=3))
    one, two = method.fresh(), method.fresh()
    one.fit(np.array([[0.0], [1]]), ["a", "b"])
    assert two.C == 3
    assert not hasattr(two, "coef_")
    assert not hasattr(method.prototype, "coef_")

    class Mine:
        def __init__(self):
            self.seen = []

        def fit(self, models, labels):
            self.seen.append(1)

        def predict(self, models):
            return []

    shared = as_method(Mine())
    shared.fresh().fit(pd.DataFrame(), [])
    assert shared.prototype.seen == []


def test_the_digest_covers_what_a_method_imports(method_file, tmp_path):
    method_file("LIMIT = 1\n", "helper_for_digest.py")
    text = "from helper_for_digest import LIMIT\nimport helper_for_digest\nfrom sklearn.svm import SVC\nmethod = SVC(C=LIMIT)\n"
    first = load_method(method_file(text, "first.py")).source_sha256
    method_file("LIMIT = 2  # changed\n", "helper_for_digest.py")
    del sys.modules["helper_for_digest"]
    assert load_method(method_file(text, "second.py")).source_sha256 != first


def test_a_file_beside_a_method_does_not_hide_the_standard_library(method_file):
    method_file("raise RuntimeError('the wrong one')", "tomllib.py")
    sys.modules.pop("tomllib", None)
    load_method(method_file(f"import tomllib\nclass Mine:\n{FIT}{PREDICT}"))


def test_a_missing_package_of_an_extra_is_named_with_the_way_to_get_it(method_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)  # as if it were not installed
    said = "ModuleNotFoundError: the package xgboost is missing; run pip install 'model-diagnosis-bench\\[xgboost\\]'$"
    with pytest.raises(MethodError, match=f"^xgboost.py cannot be loaded: {said}"):
        load_method(named_methods()["xgboost"])
    lazy = f"class Mine:\n    def fit(self, models, labels): from xgboost import XGBClassifier\n{PREDICT}"
    method = load_method(method_file(lazy))
    with pytest.raises(MethodError, match=f"^it raised {said}"):
        ask(method, split(load_cases("cifar10/optimizer/few-shot/8")[0], *toy.both()))


def test_a_method_of_a_package_does_not_hide_the_library_of_its_name(monkeypatch):
    """``baselines/xgboost.py`` imports xgboost: were its folder searched, it would find itself where that is not installed."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    files = named_methods().values()
    for file in files:
        load_method(file)
    assert not {str(file.parent) for file in files} & set(sys.path)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import numpy as np, os.path\nfrom scipy import stats", {"numpy", "os.path", "scipy"}),
        ("def f():\n    try:\n        from a.b import c\n    except ImportError:\n        import d", {"a.b", "d"}),
        ("from . import a\nfrom .b import c", set()),
        ("import a\n)", set()),
        ("import a\0", set()),
    ],
)
def test_what_a_source_imports_is_read_without_running_it(source, expected):
    assert imported_names(source) == expected
