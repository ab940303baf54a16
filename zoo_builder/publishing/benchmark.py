"""The benchmark as tables: which cases there are, and which rows train and test in each."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from mdbench.cases import Case, CaseRows, cases_among, load_cases, own_cases, split
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
        "train_zoos": _TEXTS,
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
    standing = cases_among({name: zoo.tasks for name, zoo in by_name.items()})
    cases = standing or [case for zoo in by_name.values() for case in _own(zoo)]
    try:
        return [split(case, [by_name[zoo] for zoo in case.train_zoos], by_name[case.test]) for case in cases]
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
    """Return one row a case: what is asked of which zoo, which are learned from, how the training rows are drawn."""
    core = {case.name for case in load_cases("core")}
    rows = [
        {
            "case": case.name,
            "sweep": case.sweep,
            "core": case.name in core,
            "task": case.task,
            "question": rows.task.question,
            "classes": list(rows.task.classes),
            "train_zoos": list(case.train_zoos),
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
    """Return one row a case, seed and zoo that is learned from: the configurations to train on and those to diagnose.

    Configurations are said by name; beside the zoos stands what `datasets` calls them.
    """
    rows = [
        {
            "case": one.case.name,
            "seed": seed,
            "train_zoo": zoo,
            "test_zoo": one.case.test,
            "train_split": split_name(zoo),
            "test_split": split_name(one.case.test),
            "train": names,
            "test": one.test.ids.tolist(),
        }
        for one in cases
        for seed, sample in zip(one.case.seeds, one.samples, strict=True)
        for zoo, names in _by_zoo(one, sample)
    ]
    return pa.Table.from_pylist(rows, schema=_SPLITS)


def _by_zoo(rows: CaseRows, sample: np.ndarray) -> Iterator[tuple[str, list[str]]]:
    """Yield the names of a sample's rows, zoo by zoo."""
    start = 0
    for zoo, part in zip(rows.case.train_zoos, rows.train.parts, strict=True):
        mine = sample[(sample >= start) & (sample < start + len(part))]
        yield zoo, part.ids[mine - start].tolist()
        start += len(part)
