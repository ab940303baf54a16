"""Cases: which question is asked, of which zoo, after training on which rows. Read from ``cases.toml``: data, not code."""

import fnmatch
import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mdbench.cases.unseen import Posing, bundled_tasks, others
from mdbench.errors import MdbenchError, nearest
from mdbench.tables import TASKS, Task

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Case", "Range", "Sweep", "Task", "load_cases", "select", "selections"]

Sample = Literal["cells", "levels", "limit", "each", "share"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(_Strict):
    """Values of a knob, ends included; None leaves an end open."""

    min: float | None = None
    max: float | None = None

    def holds(self, values: "pd.Series[float]") -> "pd.Series[bool]":
        """Tell which values lie in the range."""
        low = -math.inf if self.min is None else self.min
        return values.between(low, math.inf if self.max is None else self.max)


class Case(_Strict):
    """One cell of the benchmark: task × train zoos × test zoo × scenario × budget.

    Attributes
    ----------
    name : sweep and budget, ``zoos/task/scenario/budget``.
    sweep : the sweep it belongs to: the cases that differ in budget alone.
    task : name of the question.
    train : name of the zoo that is learned from; where there are several, their names.
    test : name of the zoo that is asked about.
    scenario : how train and test differ.
    about : how the training rows are drawn, in words, with the word BUDGET for the budget.
    sample, knobs, budget : how the training rows are drawn; see `mdbench.cases.draw`.
    seeds : one training sample for each.
    keep : knob → values that take part, in both zoos.
    train_keep, test_keep : the same, in one of them only.
    held_out : whether no row is asked about whose grid cell some seed trains on; for cases within one zoo.
    also : other tasks; rows without a verdict in one of them are left out too, on both sides.
    """

    name: str
    sweep: str
    task: str
    train: str | tuple[str, ...]
    test: str
    scenario: str
    about: str
    sample: Sample
    knobs: tuple[str, ...]
    budget: float
    seeds: tuple[int, ...]
    keep: dict[str, Range] = {}
    train_keep: dict[str, Range] = {}
    test_keep: dict[str, Range] = {}
    held_out: bool = False
    also: tuple[str, ...] = ()

    @property
    def train_zoos(self) -> tuple[str, ...]:
        """The names of the zoos that are learned from."""
        return (self.train,) if isinstance(self.train, str) else self.train

    @property
    def zoos(self) -> tuple[str, ...]:
        """The names of all zoos: those learned from, then the one asked about."""
        return (*self.train_zoos, self.test)

    @property
    def budget_text(self) -> str:
        """The budget as it stands in the case's name."""
        return f"{self.budget:g}"

    def first(self, samples: int | None) -> Self:
        """Return the case with its first training samples alone, for a quick look; all of them if None.

        Raises
        ------
        MdbenchError
            There are to be fewer than one.
        """
        if samples is not None and samples < 1:
            raise MdbenchError(f"{samples} training samples are too few: a method learns from one at least")
        return self if samples is None else self.model_copy(update={"seeds": self.seeds[:samples]})

    @property
    def drawn(self) -> str:
        """How the training rows are drawn, in words."""
        return self.about.replace("BUDGET", self.budget_text)


class Sweep(_Strict):
    """Cases that differ in budget alone; see `Case`."""

    name: str
    task: Literal[tuple(TASKS)]  # type: ignore[valid-type]
    train: str
    test: str
    scenario: str
    about: str
    sample: Literal["cells", "levels", "limit", "each"]
    knobs: tuple[str, ...] = Field(min_length=1)
    budgets: tuple[float, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    keep: dict[str, Range] = {}
    train_keep: dict[str, Range] = {}
    test_keep: dict[str, Range] = {}
    held_out: bool = False

    @model_validator(mode="after")
    def _check(self) -> "Sweep":
        if self.sample != "cells" and len(self.knobs) != 1:
            raise ValueError(f"sample {self.sample!r} takes exactly one knob")
        if self.sample != "limit" and any(budget != int(budget) or budget < 1 for budget in self.budgets):
            raise ValueError("a budget counts cells or levels: whole numbers from 1 up")
        if self.held_out and self.train != self.test:
            raise ValueError("cells are held out of one zoo: train and test must be the same")
        return self

    def cases(self) -> list[Case]:
        """Return one case for each budget."""
        shared = self.model_dump(exclude={"name", "budgets"})
        return [
            Case(name=f"{self.name}/{budget:g}", sweep=self.name, budget=budget, **shared) for budget in self.budgets
        ]


class Unseen(_Strict):
    """Cases that ask about a zoo after learning from others; TEST and TASK in `name` stand for what is asked of which.

    Attributes
    ----------
    kin : groups of zoos with the same data and the same architecture, which are left out together.
    name, scenario, about, budgets, seeds : see `Case`; a budget is the share of every zoo's cells that is drawn, in %.
    """

    name: str
    scenario: str
    about: str
    budgets: tuple[Annotated[float, Field(gt=0, le=100)], ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    kin: tuple[tuple[str, ...], ...]

    @model_validator(mode="after")
    def _check(self) -> "Unseen":
        every = [zoo for zoos in self.kin for zoo in zoos]
        twice = next((zoo for zoo in every if every.count(zoo) > 1), None)
        if twice is not None:
            raise ValueError(f"zoo {twice} is in several groups of kin")
        return self

    def cases(self, posing: Posing) -> list[Case]:
        """Return one case for each task of each zoo, and for each budget."""
        shared = {"scenario": self.scenario, "about": self.about, "sample": "share", "knobs": (), "seeds": self.seeds}
        found = []
        for test, task, train in others(self.kin, posing):
            sweep = self.name.replace("TEST", test).replace("TASK", task)
            found += [
                Case(
                    name=f"{sweep}/{budget:g}", sweep=sweep, task=task, train=train, test=test, budget=budget, **shared
                )
                for budget in self.budgets
            ]
        return found


class _Registry(_Strict):
    unseen: Unseen | None = None
    sweep: tuple[Sweep, ...]
    selections: dict[str, tuple[str, ...]]

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, said: Any) -> Any:
        if not isinstance(said, dict) or not isinstance(said.get("sweep"), list):
            return said
        return {**said, "sweep": [one for sweep in said["sweep"] for one in _spread(sweep)]}


def _spread(sweep: Any) -> Iterator[Any]:
    """Yield a sweep for each combination of its tasks and zoos; TASK, TRAIN and TEST in its texts stand for them."""
    if not isinstance(sweep, dict):
        yield sweep
        return
    lists = {
        key: sweep[key] if isinstance(sweep.get(key), list) else [sweep.get(key)] for key in ("train", "test", "task")
    }
    for values in itertools.product(*lists.values()):
        chosen = {key: value for key, value in zip(lists, values, strict=True) if key in sweep}
        if chosen.get("test") == "TRAIN":
            chosen["test"] = chosen["train"]
        texts = {key: value for key, value in sweep.items() if isinstance(value, str) and key not in chosen}
        for word in ("TASK", "TRAIN", "TEST"):
            texts = {key: text.replace(word, str(chosen.get(word.lower(), word))) for key, text in texts.items()}
        yield {**sweep, **texts, **chosen}


@cache
def _registry() -> tuple[dict[str, Case], dict[str, tuple[str, ...]]]:
    return read_registry(_text(), bundled_tasks())


def _text() -> str:
    return resources.files("mdbench.cases").joinpath("cases.toml").read_text(encoding="utf-8")


def read_registry(text: str, posing: Posing | None = None) -> tuple[dict[str, Case], dict[str, tuple[str, ...]]]:
    """Parse the text of a ``cases.toml``.

    Parameters
    ----------
    text : the text.
    posing : zoo → the tasks that it poses, of the zoos that are learned from and asked about by turns.

    Returns
    -------
    cases : name → case, in file order, those of unseen zoos first.
    selections : name → patterns of case names.

    Raises
    ------
    MdbenchError
        The text is not TOML, does not fit, or names a case twice.
    """
    try:
        registry = _Registry.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise MdbenchError(f"cases.toml is not TOML: {error}") from error
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(str(part) for part in detail["loc"])
        raise MdbenchError(f"cases.toml: {where}: {detail['msg']}") from error
    cases: dict[str, Case] = {}
    unseen = registry.unseen.cases(posing or {}) if registry.unseen else []
    for case in (*unseen, *(case for sweep in registry.sweep for case in sweep.cases())):
        if case.name in cases:
            raise MdbenchError(f"cases.toml: case {case.name!r} stands there twice")
        cases[case.name] = case
    return cases, registry.selections


def cases_among(posing: Posing) -> list[Case]:
    """Return the cases that need no other zoos than some, given with the tasks that each of them poses."""
    return [case for case in read_registry(_text(), posing)[0].values() if set(case.zoos) <= set(posing)]


def selections() -> dict[str, tuple[str, ...]]:
    """Return the named selections and what they are made of: patterns of case names, and other selections."""
    return dict(_registry()[1])


def load_cases(wanted: str | Sequence[str] = "core") -> list[Case]:
    """Return cases by name.

    Parameters
    ----------
    wanted : one or several of: a selection (``core``, ``paper``), ``all``, a task (all its cases), a case, a sweep (all its
        budgets), a pattern with ``*``.

    Returns
    -------
    The cases, each once, in the order of ``cases.toml``.

    Raises
    ------
    MdbenchError
        A name matches no case, or there is no name.
    """
    cases, named = _registry()
    tasks = dict.fromkeys(case.task for case in cases.values())
    hint = f"there are the selections {', '.join(named)}, the tasks {', '.join(tasks)}, and what `mdbench cases` lists"
    return select(wanted, cases, named, hint)


def select(
    wanted: str | Sequence[str], cases: Mapping[str, Case], named: Mapping[str, tuple[str, ...]], hint: str
) -> list[Case]:
    """Return some of the given cases, in their order.

    Parameters
    ----------
    wanted : see `load_cases`.
    cases : name → case.
    named : selections: name → patterns of case names, and names of other selections.
    hint : where to look for names, in the words of an error.

    Raises
    ------
    MdbenchError
        A name matches no case, or there is no name.
    """
    chosen: set[str] = set()
    names = [wanted] if isinstance(wanted, str) else wanted
    if not names:
        raise MdbenchError(f"no case is named; {hint}")
    for name in names:
        found = {case for pattern in _patterns(name, named) for case in _matching(cases, pattern)}
        if not found:
            raise MdbenchError(f"case {name!r} does not exist; {hint}{nearest(name, _names(cases, named))}")
        chosen |= found
    return [case for name, case in cases.items() if name in chosen]


def _patterns(name: str, named: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield what a name stands for: a selection for its patterns, those of selections in it included."""
    for part in named.get(name, (name,)):
        yield from _patterns(part, named) if part in named and part != name else (part,)


def _matching(cases: Mapping[str, Case], pattern: str) -> list[str]:
    if pattern == "all":
        return list(cases)
    return [
        name for name, case in cases.items() if pattern in (case.sweep, case.task) or fnmatch.fnmatchcase(name, pattern)
    ]


def _names(cases: Mapping[str, Case], named: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [*named, "all", *dict.fromkeys(case.task for case in cases.values()), *cases]
