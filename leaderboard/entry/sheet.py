"""The sheet that an entry fills in: one prediction for every case, seed and test row; as a file, and read from one.

A file is read within bounds: its columns are not compressed, and its texts are read as places in a dictionary, so that
nothing in it can grow larger than the file is.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from leaderboard.entry.entry import PREDICTION_COLUMNS, PREDICTIONS, Dataset
from leaderboard.entry.exam import Exam
from leaderboard.entry.footer import FooterError, read_footer
from leaderboard.entry.refused import Refused
from mdbench.errors import MdbenchError, reason

#: Columns of texts, and of whole numbers, of predictions.
TEXTS: Final = ("case", "row", "predicted")
NUMBERS: Final = ("seed",)
_KEYS: Final = ("case", "seed", "row")
#: Rows of the largest file of predictions that is read.
_MOST: Final = 5_000_000


class Sheet:
    """What is to be answered.

    Parameters
    ----------
    exam : the exam.
    cases : those of its cases that are answered.
    file : what the file is called that they are answered in.

    Attributes
    ----------
    seeds : of the training samples, over all cases, ascending.
    size : predictions wanted.
    """

    def __init__(self, exam: Exam, cases: tuple[str, ...], file: str = PREDICTIONS) -> None:
        self.exam, self.cases, self.file = exam, cases, file
        self._rows = [exam.posed[name].rows for name in cases]
        self._shapes = [(len(one.samples), len(one.test)) for one in self._rows]
        self._starts = np.cumsum([0, *(seeds * rows for seeds, rows in self._shapes)])
        self.size = int(self._starts[-1])
        self.seeds = tuple(sorted({seed for one in self._rows for seed in one.case.seeds}))
        # Everything that may stand in a column has a number, over all cases.
        self._numbers: dict[str, dict[Any, int]] = {
            "case": _numbered(cases),
            "seed": _numbered(self.seeds),
            "row": _numbered(row for one in self._rows for row in one.test.ids),
            "predicted": _numbered(verdict for one in self._rows for verdict in one.task.classes),
        }
        self._dictionaries = {name: pa.array(list(self._numbers[name]), pa.string()) for name in TEXTS}

    @cached_property
    def dataset(self) -> Dataset:
        """The data of the cases."""
        return self.exam.record(self.cases)

    @cached_property
    def _keys(self) -> dict[str, np.ndarray]:
        """The columns that say what is answered, as numbers; each of shape (size,), int32."""
        seed, row = self._numbers["seed"], self._numbers["row"]
        keys: dict[str, list[np.ndarray]] = {name: [] for name in _KEYS}
        for number, (one, (seeds, rows)) in enumerate(zip(self._rows, self._shapes, strict=True)):
            keys["case"].append(np.full(seeds * rows, number))
            keys["seed"].append(np.repeat([seed[each] for each in one.case.seeds], rows))
            keys["row"].append(np.tile([row[each] for each in one.test.ids], seeds))
        return {name: np.concatenate(parts).astype(np.int32) for name, parts in keys.items()}

    @cached_property
    def _places(self) -> dict[str, np.ndarray]:
        """Case and number of a seed, row or verdict → its place in the case, −1 where it has none, as the last number."""
        places = {}
        for name in ("seed", "row", "predicted"):
            places[name] = np.full((len(self.cases), len(self._numbers[name]) + 1), -1, np.int32)
            for case, one in enumerate(self._rows):
                things = {"seed": one.case.seeds, "row": one.test.ids, "predicted": one.task.classes}[name]
                places[name][case, [self._numbers[name][thing] for thing in things]] = np.arange(len(things))
        return places

    def write(self, predicted: Mapping[str, np.ndarray]) -> bytes:
        """Return predictions as the file that an entry has; the same predictions give the same bytes.

        Parameters
        ----------
        predicted : case → places in the task's classes, shape (seeds, test rows), test rows in the zoo's order.

        Raises
        ------
        MdbenchError
            A method abstained.
        """
        for name in self.cases:
            abstained = int((predicted[name] < 0).sum())
            if abstained:
                raise MdbenchError(
                    f"case {name}: the method abstained {abstained} times; an entry answers everything: give a verdict, and "
                    "say how sure you are of it by predict_proba"
                )
        said = [
            np.array([self._numbers["predicted"][verdict] for verdict in one.task.classes])[predicted[name].ravel()]
            for name, one in zip(self.cases, self._rows, strict=True)
        ]
        codes = {"case": self._keys["case"], "row": self._keys["row"], "predicted": np.concatenate(said)}
        columns = {
            name: pa.DictionaryArray.from_arrays(pa.array(codes[name], pa.int32()), self._dictionaries[name])
            for name in TEXTS
        }
        columns["seed"] = pa.array(np.array(self.seeds, np.int64)[self._keys["seed"]])
        return write_table(pa.table({name: columns[name] for name in PREDICTION_COLUMNS}))

    def read(self, content: bytes, *, more: bool = False) -> dict[str, np.ndarray]:
        """Return the predictions in a file: case → places in the task's classes, int8, shape (seeds, test rows).

        Parameters
        ----------
        content : the file.
        more : whether rows that are not asked for are passed over: the data may have changed since it was written.

        Raises
        ------
        Refused
            It is no table of predictions, or its cases, seeds and rows are not those that are to be answered, each once.
        """
        # Of what is passed over there may be any number: another selection, whose zoos are not here.
        most = _MOST if more else 2 * self.size + 1000
        table = read_table(content, self.file, PREDICTION_COLUMNS, TEXTS, most=most)
        codes = {name: self._codes(table[name], name) for name in PREDICTION_COLUMNS}
        position = None
        if not all(np.array_equal(codes[name], self._keys[name]) for name in _KEYS):
            position, table, codes = self._positions(table, codes, more=more)
        said = self._look_up("predicted", codes)
        if (said < 0).any():
            wrong = int(np.argmin(said))
            about = self._about(codes, wrong)
            expected = ", ".join(self.exam.posed[self.cases[codes["case"][wrong]]].rows.task.classes)
            raise Refused(
                "unknown label",
                f"{self.file}: {about}: {_shown(table, 'predicted', wrong)} is no verdict of its task ({expected})",
            )
        filled = np.empty(self.size, np.int8)
        filled[slice(None) if position is None else position] = said
        return {
            name: filled[start : start + seeds * rows].reshape(seeds, rows)
            for name, start, (seeds, rows) in zip(self.cases, self._starts[:-1], self._shapes, strict=True)
        }

    def _codes(self, column: pa.ChunkedArray, name: str) -> np.ndarray:
        """Return a column as numbers, int32; −1 for what stands in no case."""
        numbers = self._numbers[name]
        if name in NUMBERS:
            values, known = column.to_numpy(), np.array(self.seeds)
            keys = self._keys[name]
            if len(values) == len(keys) and np.array_equal(values, known[keys]):
                return keys
            found = np.searchsorted(known, values).clip(max=len(known) - 1).astype(np.int32)
            return np.where(known[found] == values, found, np.int32(-1))
        parts = [np.empty(0, np.int32)]
        for chunk in column.chunks:
            codes = chunk.indices.to_numpy()
            if len(codes) and not 0 <= codes.min() <= codes.max() < len(chunk.dictionary):
                raise Refused("damaged", f"{self.file}: column {name} points outside of its dictionary")
            if not chunk.dictionary.equals(self._dictionaries[name]):
                found = [numbers.get(text, -1) for text in chunk.dictionary.to_pylist()]
                codes = np.array(found, np.int32)[codes] if len(codes) else codes
            parts.append(codes.astype(np.int32, copy=False))
        return np.concatenate(parts) if len(parts) != 2 else parts[1]

    def _look_up(self, name: str, codes: Mapping[str, np.ndarray]) -> np.ndarray:
        # A number of −1 finds the last place of the case before, which is −1 too.
        places = self._places[name]
        found: np.ndarray = places.ravel()[codes["case"] * np.int32(places.shape[1]) + codes[name]]
        return found

    def _positions(
        self, table: pa.Table, codes: dict[str, np.ndarray], *, more: bool
    ) -> tuple[np.ndarray, pa.Table, dict[str, np.ndarray]]:
        """Return where in the sheet each row of a table belongs, with the rows that do; raises as `read` does."""
        places = {"case": codes["case"]} | {name: self._look_up(name, codes) for name in ("seed", "row")}
        for name in ("seed", "row"):
            places[name][codes["case"] < 0] = -1
        if more:
            asked = np.logical_and.reduce([places[name] >= 0 for name in _KEYS])
            table, codes = table.filter(pa.array(asked)), {name: values[asked] for name, values in codes.items()}
            places = {name: values[asked] for name, values in places.items()}
        for name in _KEYS:
            if (places[name] < 0).any():
                wrong = int(np.argmax(places[name] < 0))
                about = "" if name == "case" else f"case {self.cases[codes['case'][wrong]]}: "
                raise Refused(
                    f"unknown {name}",
                    f"{self.file}: {about}{name} {_shown(table, name, wrong)} is not one that is to be answered "
                    f"(row {wrong + 1} of the table)",
                )
        rows = np.array([rows for _, rows in self._shapes])[places["case"]]
        position = self._starts[places["case"]] + places["seed"] * rows + places["row"]
        times = np.bincount(position, minlength=self.size)
        for kind, which in (("duplicate row", times > 1), ("missing row", times == 0)):
            if which.any():
                count, first = int(which.sum()), int(np.argmax(which))
                verb = "answered more than once" if kind == "duplicate row" else "not answered"
                raise Refused(
                    kind,
                    f"{self.file}: {self._about(self._keys, first)} is {verb}"
                    + (f", and so are {count - 1:,} others" if count > 1 else "")
                    + f"; every one of the {self.size:,} is to be answered once",
                )
        return position, table, codes

    def _about(self, codes: Mapping[str, np.ndarray], at: int) -> str:
        """Return in words what stands in the keys at a place."""
        case, seed, row = (list(self._numbers[name])[codes[name][at]] for name in _KEYS)
        return f"case {case}, seed {seed}, row {row}"


@lru_cache(maxsize=64)
def sheet_of(exam: Exam, cases: tuple[str, ...]) -> Sheet:
    """Return the sheet of some cases of an exam; it is made once."""
    return Sheet(exam, cases)


def write_table(table: pa.Table) -> bytes:
    """Return a table as a file that `read_table` reads; the same table gives the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none", dictionary_pagesize_limit=2**24, write_statistics=False)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def read_table(content: bytes, what: str, columns: Sequence[str], texts: Sequence[str], most: int) -> pa.Table:
    """Return a table of unknown origin: texts as dictionaries, anything else as whole numbers, no value missing.

    Parameters
    ----------
    content : a Parquet file.
    what : what it is called.
    columns : the columns that it must have, in this order.
    texts : those of them that are texts.
    most : rows that it has at most.

    Raises
    ------
    Refused
        It is not such a file. Nothing larger than the file was made of it.
    """
    try:
        rows = read_footer(content, tuple(columns), tuple(texts)).rows
        if rows > most:
            raise FooterError("size", f"it has {rows:,} rows, which is far more than is asked for")
        file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=list(texts), arrow_extensions_enabled=False)
        table: pa.Table = file.read(use_threads=False, use_pandas_metadata=False)
        table.validate(full=True)  # texts are UTF-8, and places are in their dictionary
    except FooterError as error:
        raise Refused(error.kind, f"{what}: {error}") from error
    except (pa.ArrowException, OSError, ValueError, LookupError, MemoryError) as error:
        raise Refused("damaged", f"{what} cannot be read as Parquet: {reason(error)}") from error
    if table.num_rows != rows or table.column_names != list(columns):
        raise Refused("damaged", f"{what} does not hold the rows and columns that it says it does")
    for name in columns:
        values = table[name]
        text = pa.types.is_dictionary(values.type) and values.type.value_type in (pa.string(), pa.large_string())
        if not (text if name in texts else values.type in (pa.int32(), pa.int64())):
            raise Refused("types", f"{what}: column {name} holds {values.type}")
        if values.null_count:
            raise Refused("empty value", f"{what}: column {name}: {values.null_count:,} values are empty")
    return table


def _numbered(things: Iterable[Any]) -> dict[Any, int]:
    return {thing: number for number, thing in enumerate(dict.fromkeys(things))}


def _shown(table: pa.Table, column: str, at: int) -> str:
    """Return a value as it can be shown: in one line, of bounded length, without signs that are not what they look like."""
    return ascii(table[column][at].as_py())[:80]
