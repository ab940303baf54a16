"""What happens when a library is used for the first time, done before the first question.

Python specialises its bytecode, libraries look up their types, compile their checks and import what they had put off: several
times as long as answering takes. Every question is answered by a process that was forked before any of that, and would do it
again. So, before the fork, small methods of our own are asked a small question about numbers drawn here, each written as a
method's file is. Of the methods that will be judged nothing runs, and no table is read.
"""

import random
import sys
import warnings
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from mdbench.methods.letter import read_question, write_question
from mdbench.methods.method import read_method
from mdbench.methods.replies import Reply
from mdbench.methods.trial import Question, solve
from mdbench.tables import TASKS, Task

#: The tasks that are asked: one of two verdicts, one of several.
TASKS_ASKED: Final = (TASKS["optimizer"], TASKS["failure_source"])
#: Module → what of it is rehearsed: as they stand, and behind what fills and scales.
_KINDS: Final = {
    "sklearn.tree": ("DecisionTreeClassifier()",),
    "sklearn.ensemble": ("RandomForestClassifier(n_estimators=3)", "ExtraTreesClassifier(n_estimators=3)"),
    "sklearn.linear_model": ("LogisticRegression()",),
    "sklearn.neighbors": ("KNeighborsClassifier()",),
    "sklearn.naive_bayes": ("GaussianNB()",),
    "sklearn.svm": ("SVC()",),
    "sklearn.discriminant_analysis": ("LinearDiscriminantAnalysis()",),
    "sklearn.dummy": ("DummyClassifier()",),
}
_ALONE: Final = """
from {module} import *

method = {made}
"""
_BEHIND: Final = """
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from {module} import *

method = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), {made})
"""
#: What any method does with numbers and names.
_PLAIN: Final = '''
"""A method that counts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

columns: Sequence[str] = ["train_error", "log_hessian_trace"]


class Found(NamedTuple):
    """What it has found."""

    middle: pd.Series
    said: np.ndarray


class Counting:
    """The nearer of the means, and the commonest verdict where there is one."""

    def fit(self, models: pd.DataFrame, labels: pd.Series, task) -> None:
        truth = labels.to_numpy()
        self.classes_, places, counts = np.unique(truth, return_inverse=True, return_counts=True)
        values = models.fillna(models.median()).to_numpy()
        self.found = Found(models.median(), self.classes_[np.argsort(-counts, kind="stable")])
        self.means = np.array([values[places == place].mean(axis=0) for place in range(len(self.classes_))])
        right = {verdict: truth == verdict for verdict in task.classes}
        values = np.where(np.isnan(values), np.inf, values)
        np.concatenate([[0], np.cumsum(right[task.classes[0]].astype(int) - (values[:, 0] <= 0))]).max()
        np.linalg.solve(values.T @ values + np.eye(values.shape[1]), self.means.T)

    def predict(self, models: pd.DataFrame) -> np.ndarray:
        return np.asarray(self.classes_[self.predict_proba(models).argmax(axis=1)])

    def predict_proba(self, models: pd.DataFrame) -> np.ndarray:
        values = models["train_error"].to_numpy(), models["log_hessian_trace"].to_numpy()
        far = ((np.column_stack(values)[:, None] - self.means) ** 2).sum(axis=2)
        near = np.exp(-np.clip(far, 0, 9))
        return near / near.sum(axis=1, keepdims=True)


method = Counting
'''
_MINIMISING: Final = """
from bisect import bisect_right

from scipy.optimize import minimize, minimize_scalar


class Minimising:
    def fit(self, models, labels):
        self.said = labels.to_numpy()[0]
        ascending = sorted(models.iloc[:, 0].tolist())
        minimize_scalar(lambda at: -bisect_right(ascending, at), method="bounded", bounds=(-2.0, 2.0))
        minimize(lambda at: float((at**2).sum()), models.to_numpy()[0])

    def predict(self, models):
        return [self.said] * len(models)


method = Minimising
"""
_BOOSTING: Final = """
import numpy as np
from xgboost import Booster, QuantileDMatrix, XGBClassifier


class Boosting:
    def fit(self, models, labels):
        self.classes_, numbers = np.unique(labels.to_numpy(), return_inverse=True)
        data = QuantileDMatrix(models.to_numpy(), numbers, nthread=1)
        several = {"objective": "multi:softprob", "num_class": len(self.classes_)}
        about = several if len(self.classes_) > 2 else {"objective": "binary:logistic"}
        self.trees = Booster({"max_depth": 4, "nthread": 1, "random_state": 0, **about}, [data])
        for turn in range(3):
            self.trees.update(data, turn)
        self.kept = XGBClassifier(n_estimators=3, n_jobs=1).fit(models, numbers)

    def predict(self, models):
        self.trees.inplace_predict(models.to_numpy())
        return self.classes_[self.kept.predict(models)]

    def predict_proba(self, models):
        return self.kept.predict_proba(models)


method = Boosting
"""


def rehearse() -> None:
    """Use the libraries that have been imported once, in this process; what fails is for a method that needs it to say.

    The states of the global generators are afterwards what they were.
    """
    before = random.getstate(), np.random.get_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for source in sources(sys.modules):
            for task in TASKS_ASKED:
                with suppress(Exception):
                    rehearse_one(source, task)
    random.setstate(before[0])
    np.random.set_state(before[1])


def sources(modules: Container[str]) -> list[str]:
    """Return the methods' files that use what is known of some modules."""
    found = [_PLAIN]
    for module in _KINDS:
        if module in modules:
            found += [form.format(module=module, made=made) for made in _KINDS[module] for form in (_ALONE, _BEHIND)]
    found += [text for module, text in (("scipy.optimize", _MINIMISING), ("xgboost", _BOOSTING)) if module in modules]
    return found


def rehearse_one(source: str, task: Task) -> Reply:
    """Ask a method's file as it is asked in a sandbox; raises `MethodError` where it cannot be."""
    method, _ = read_method(Path("rehearsal.py"), source.encode())
    return solve(method, read_question(*write_question(_question(task))))


def _question(task: Task) -> Question:
    """Return a question about numbers that mean nothing."""
    draws = np.random.default_rng(0)
    train, test = draws.normal(size=(24, 2)), draws.normal(size=(12, 2))
    labels = np.array([task.classes[place % len(task.classes)] for place in range(len(train))], dtype=object)
    return Question(task, ("train_error", "log_hessian_trace"), train, labels, test, seed=0)
