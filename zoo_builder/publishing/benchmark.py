"""The benchmark as tables: which cases there are, and which rows train and test in each."""

from collections.abc import Iterable, Sequence

import pyarrow as pa

from mdbench.cases import Case, CaseRows, all_cases, load_cases, own_cases, split
from mdbench.errors import MdbenchError
from mdbench.tables import Zoo
from zoo_builder.publishing.card import split_name

_TEXTS = pa.list_(pa.string())
_CASES = pa.schema(
    {
        "case": pa.string(),
        "sweep": pa.string(),
        "core": pa.bool_(),
        "task": pa.string(),
        "question": pa.string(),
        "classes": _TEXTS,
        "train_zoo": pa.string(),
        "test_zoo": pa.string(),
        "scenario": pa.string(),
        "training_rows": pa.string(),
        "budget": pa.float64(),
        "seeds": pa.list_(pa.int64()),
    }
)
_SPLITS = pa.schema(
    {
        "case": pa.string(),
        "seed": pa.int64(),
        "train_zoo": pa.string(),
        "test_zoo": pa.string(),
        "train_split": pa.string(),
        "test_split": pa.string(),
        "train": _TEXTS,
        "test": _TEXTS,
    }
)


def cases_of(zoos: Iterable[Zoo]) -> list[CaseRows]:
    """Return the cases of some zoos: those of the benchmark that need no other; where there are none, their own.

    Raises
    ------
    MdbenchError
        A case of the benchmark cannot be posed to the zoos that it is about: they are not what it was made for.
    """
    by_name = {zoo.name: zoo for zoo in zoos}
    standing = [case for case in all_cases() if {case.train, case.test} <= set(by_name)]
    cases = standing or [case for zoo in by_name.values() for case in _own(zoo)]
    try:
        return [split(case, by_name[case.train], by_name[case.test]) for case in cases]
    except MdbenchError as error:
        raise MdbenchError(
            f"{error}. A zoo that has the name of one of the benchmark's is asked its cases; give yours another name"
        ) from error


def _own(zoo: Zoo) -> Sequence[Case]:
    try:
        return own_cases(zoo)
    except MdbenchError:  # a zoo without labels is a table of networks all the same
        return []


def cases_table(cases: Iterable[CaseRows]) -> pa.Table:
    """Return one row a case: what is asked, of which zoos, how the training rows are drawn, and with which seeds."""
    core = {case.name for case in load_cases("core")}
    rows = [
        {
            "case": case.name,
            "sweep": case.sweep,
            "core": case.name in core,
            "task": case.task,
            "question": rows.task.question,
            "classes": list(rows.task.classes),
            "train_zoo": case.train,
            "test_zoo": case.test,
            "scenario": case.scenario,
            "training_rows": case.drawn,
            "budget": case.budget,
            "seeds": list(case.seeds),
        }
        for rows in cases
        for case in (rows.case,)
    ]
    return pa.Table.from_pylist(rows, schema=_CASES)


def splits_table(cases: Iterable[CaseRows]) -> pa.Table:
    """Return one row a case and seed: the configurations to train on and those to diagnose, by name, and where they are."""
    rows = [
        {
            "case": one.case.name,
            "seed": seed,
            "train_zoo": one.case.train,
            "test_zoo": one.case.test,
            "train_split": split_name(one.case.train),
            "test_split": split_name(one.case.test),
            "train": one.train.ids[sample].tolist(),
            "test": one.test.ids.tolist(),
        }
        for one in cases
        for seed, sample in zip(one.case.seeds, one.samples, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=_SPLITS)
