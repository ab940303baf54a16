"""Method files: what is found in them, and what is refused."""

import ast
import gc
import hashlib
import importlib.metadata
import inspect
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toy
from sklearn.linear_model import LogisticRegression

from mdbench.cases import load_cases, split
from mdbench.extras import OPTIONAL
from mdbench.methods.imports import imported_names, installed_imports, syntax_tree
from mdbench.methods.method import MethodError, as_method, find_method, load_method, named_methods
from mdbench.methods.trial import ask
from mdbench.scoring.evaluation import evaluate
from mdbench.tables import find_task

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
        (f"columns = ['|train_error']\nclass Mine:\n{FIT}{PREDICT}", "column '' does not exist"),
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


@pytest.mark.parametrize(
    "method",
    [
        "from settings_here import WHICH\n\n\nclass M:\n    def fit(self, m, l): pass\n    def predict(self, m): return [WHICH] * len(m)\n",
        "class M:\n    def fit(self, m, l):\n        import settings_here\n\n    def predict(self, m): return [1] * len(m)\n",
        "class M:\n    def fit(self, m, l):\n        from parts_here import settings\n\n    def predict(self, m): return m\n",
        "class M:\n    def fit(self, m, l):\n        import between_here\n\n    def predict(self, m): return m\n",
    ],
)
def test_the_digest_covers_constants_and_what_is_imported_late(method_file, tmp_path, method):
    (tmp_path / "between_here.py").write_text("def later():\n    from parts_here import more\n")
    parts = tmp_path / "parts_here"
    parts.mkdir()
    (parts / "__init__.py").write_text("")
    (parts / "more.py").write_text("def latest():\n    from . import settings\n")

    def digest(which):
        for name in (tmp_path / "settings_here.py", parts / "settings.py"):
            name.write_text(f"WHICH = {which}\n")
        for name in [name for name in sys.modules if name.endswith("_here")]:
            del sys.modules[name]
        return load_method(method_file(method)).source_sha256

    assert digest(0) == digest(0) != digest(1)


def test_the_digest_covers_the_versions_of_what_is_installed(method_file, monkeypatch):
    text = "class M:\n    def fit(self, m, l):\n        import torch\n\n    def predict(self, m): return m\n"
    before = load_method(method_file(text)).source_sha256
    known = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9" if name == "torch" else known(name))
    assert load_method(method_file(text)).source_sha256 != before


def test_a_file_beside_a_method_does_not_hide_the_standard_library(method_file):
    method_file("raise RuntimeError('the wrong one')", "tomllib.py")
    sys.modules.pop("tomllib", None)
    load_method(method_file(f"import tomllib\nclass Mine:\n{FIT}{PREDICT}"))


def test_a_missing_package_of_an_extra_is_named_with_the_way_to_get_it(method_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)  # as if it were not installed
    said = "ModuleNotFoundError: the package xgboost is missing; run pip install -e '.\\[xgboost\\]' in a clone of mdbench$"
    with pytest.raises(MethodError, match=f"^xgboost.py cannot be loaded: {said}"):
        load_method(named_methods()["xgboost"])
    lazy = f"class Mine:\n    def fit(self, models, labels): from xgboost import XGBClassifier\n{PREDICT}"
    method = load_method(method_file(lazy))
    with pytest.raises(MethodError, match=f"^it raised {said}"):
        ask(method, split(load_cases("cifar10/optimizer/few-shot/8")[0], *toy.both()))


METHOD = f"class Mine:\n{FIT}{PREDICT}"
#: A method that imports its own name, in three ways.
OWN_NAME = {
    "at once": f"import {{0}}\n{METHOD}",
    "when it is trained": f"class Mine:\n    def fit(self, models, labels): import {{0}}\n{PREDICT}",
    "by a helper": f"import helper_of_{{0}}\n{METHOD}",
    "behind the reader's back": f"import importlib\nimportlib.import_module('{{0}}')\n{METHOD}",
}


def _loaded_and_asked(file):
    method = load_method(file)
    return ask(method, split(load_cases("cifar10/optimizer/few-shot/8")[0], *toy.both()))


@pytest.mark.parametrize("first_in_path", [False, True])
@pytest.mark.parametrize("way", OWN_NAME)
def test_a_method_does_not_pass_for_the_library_of_its_name(method_file, monkeypatch, tmp_path, way, first_in_path):
    if first_in_path:  # as where a script beside it runs
        monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.path)
    monkeypatch.setitem(OPTIONAL, "no_such_library", "xgboost")
    method_file("import no_such_library", "helper_of_no_such_library.py")
    file = method_file(OWN_NAME[way].format("no_such_library"), "no_such_library.py")
    with pytest.raises(MethodError, match=r"the package no_such_library is missing; run pip install .*\[xgboost\]"):
        _loaded_and_asked(file)
    assert sys.path == before
    assert "no_such_library" not in sys.modules


def test_a_method_beside_another_does_not_pass_for_the_library_of_its_name(method_file):
    method_file(OWN_NAME["at once"].format("no_such_library"), "no_such_library.py")
    with pytest.raises(MethodError, match="ModuleNotFoundError: No module named 'no_such_library'"):
        load_method(method_file(f"from no_such_library import Classifier\n{METHOD}"))


@pytest.mark.usefixtures("toy_home")
def test_nor_does_it_in_a_worker(method_file):
    for way in ("at once", "when it is trained"):
        file = method_file(OWN_NAME[way].format("no_such_library"), "no_such_library.py")
        (failure,) = evaluate(str(file), "cifar10/optimizer/few-shot/3", workers=1).failures
        assert failure.reason.endswith("ModuleNotFoundError: No module named 'no_such_library'")


@pytest.mark.parametrize("way", ["at once", "when it is trained"])
def test_an_installed_library_is_found_before_what_lies_beside_a_method(method_file, monkeypatch, tmp_path, way):
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "toy_library.py").write_text("from toy_part import PART\n")
    (tmp_path / "installed" / "toy_part.py").write_text("PART = 1\n")
    method_file("raise RuntimeError('the wrong one')", "toy_part.py")
    monkeypatch.syspath_prepend(tmp_path / "installed")
    monkeypatch.syspath_prepend(tmp_path)
    _loaded_and_asked(
        method_file(
            OWN_NAME[way].format("toy_library").replace("['width']", "['temperature_too_low']"), "toy_library.py"
        )
    )
    assert sys.modules.pop("toy_library").PART == sys.modules.pop("toy_part").PART


def test_a_method_imports_another_that_lies_beside_it(method_file):
    other = method_file(METHOD, "other_method.py")
    load_method(other)
    assert load_method(method_file("from other_method import Mine\nmethod = Mine()")).name == "mine"


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """A package of methods, installed: one imports `_shared_in_plug_in` at once, the other when it is trained."""
    package = tmp_path / "site-packages" / "plug_in"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "_shared_in_plug_in.py").write_text("VERDICT = 'temperature_too_low'\n")
    predict = "    def predict(self, models): return [self.verdict] * len(models)\n"
    (package / "eager.py").write_text(
        "from _shared_in_plug_in import VERDICT\nimport _shared_in_plug_in\n"
        f"class Eager:\n    def fit(self, models, labels): self.verdict = VERDICT\n{predict}"
    )
    (package / "lazy.py").write_text(
        "class Lazy:\n    def fit(self, models, labels):\n        from _shared_in_plug_in import VERDICT\n"
        f"        self.verdict = VERDICT\n{predict}"
    )
    monkeypatch.syspath_prepend(package.parent)
    entry = importlib.metadata.EntryPoint("plug_in", "plug_in", "mdbench.methods")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: [entry])
    monkeypatch.setattr("sysconfig.get_path", lambda key: str(package.parent))
    named_methods.cache_clear()
    yield package
    named_methods.cache_clear()
    for name in ("plug_in", "_shared_in_plug_in"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["eager", "lazy"])
def test_methods_of_an_installed_package_import_each_others_files(plug_in, name):
    assert set(named_methods()) == {"eager", "lazy"}
    said = _loaded_and_asked(find_method(name)).predicted
    assert (said == find_task("optimizer").classes.index("temperature_too_low")).all()
    assert str(plug_in) not in sys.path


def test_the_digest_covers_what_lies_beside_a_method_of_an_installed_package(plug_in):
    first = load_method(find_method("eager")).source_sha256
    assert load_method(find_method("eager")).source_sha256 == first
    (plug_in / "_shared_in_plug_in.py").write_text("VERDICT = 'temperature_too_low'  # changed\n")
    del sys.modules["_shared_in_plug_in"]
    assert load_method(find_method("eager")).source_sha256 != first


def test_the_digest_leaves_installed_packages_out(plug_in, method_file):
    text = f"from plug_in import lazy\n{METHOD}"
    first = load_method(method_file(text)).source_sha256
    assert first == hashlib.sha256(text.encode()).hexdigest()


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


def test_what_is_imported_beforehand_is_what_packages_installed(tmp_path, monkeypatch):
    # What packages say of themselves, however long it takes to ask them all.
    distributed = set(importlib.metadata.packages_distributions())
    names = [
        "numpy",
        "pandas.api.types",
        "sklearn.tree",
        "xgboost",
        "json",
        "mdbench.tables",
        "baselines.md_tree",
        "nowhere",
    ]
    source = "\n".join(f"import {name}" for name in [*names, "beside", "here"]) + "\nfrom . import mine\n"
    for name in ("beside", "here"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this was imported')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    wanted = {name for name in names if name.partition(".")[0] in distributed - {"mdbench", "baselines"}}
    assert installed_imports(source) == wanted >= {"numpy", "pandas.api.types", "sklearn.tree"}


def test_sources_are_parsed_by_one_thread_at_a_time():
    """CPython 3.11 counts how deep all threads are together, and takes what it counts for a fault of its own."""
    source = Path(inspect.getfile(load_method)).read_text()

    def switch(*_):
        sum(range(100))

    before = gc.get_threshold(), sys.getswitchinterval()
    gc.callbacks.append(switch)
    try:
        gc.set_threshold(5)
        sys.setswitchinterval(1e-6)
        with ThreadPoolExecutor(4) as threads:
            trees = [*threads.map(lambda _: syntax_tree(source), range(120))]
    finally:
        gc.callbacks.remove(switch)
        gc.set_threshold(*before[0])
        sys.setswitchinterval(before[1])
    assert len({ast.dump(tree) for tree in trees}) == 1
