"""A zoo: a grid of trained networks as a table, with its labels and where it comes from.

On disk a zoo is a folder: ``zoo.json`` (name, moves, provenance, digests), ``configurations.parquet``, one row a grid point,
and, where the single networks are known, ``checkpoints.parquet``, one row a network, ``layers.parquet``, one row a layer
of a network, and ``trajectory.parquet``, one row a layer of a network at a step of its training.
"""

import hashlib
import html
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mdbench import files
from mdbench.errors import MdbenchError
from mdbench.tables.checks import checked, checked_checkpoints, checked_layers, named
from mdbench.tables.labels import Move, derive
from mdbench.tables.manifest import (
    CHECKPOINTS,
    CONFIGURATIONS,
    FORMAT,
    LAYERS,
    MANIFEST,
    TRAJECTORY,
    Manifest,
    MoveRecord,
    Provenance,
)
from mdbench.tables.predicted import Predicted
from mdbench.tables.quantiles import quantiles
from mdbench.tables.schema import COLUMNS, Family, kind, level_text
from mdbench.tables.tasks import Task, offered_tasks

_ARROW = {"number": pa.float64(), "whole": pa.int64(), "flag": pa.bool_(), "text": pa.string()}


@dataclass(frozen=True, eq=False, repr=False)
class Zoo:
    """A grid of trained networks. Two zoos with the same `digest` say the same; `==` is identity.

    Attributes
    ----------
    name : the zoo's name, which cases refer to.
    title : one line for people.
    configurations : one row a grid point, indexed by ``configuration``; columns as in `mdbench.tables.schema`. RFI and label
        columns are always computed from the test errors, and quantiles from what they are quantiles of, never read.
    moves : which knob can be turned, in which direction, and what that does.
    provenance : where the zoo comes from.
    checkpoints : one row a network, indexed by ``checkpoint``: the ``configuration`` and the ``seed`` that it was trained
        with, and what was measured of it alone; None where only means are known.
    layers : one row a layer of a network: ``checkpoint``, ``layer``, and what was measured of it; None where nothing was.
    predicted : what the networks predict, which says what ``test_error`` and the other errors and losses are.
    trajectory : one row a layer of a network at a step that was kept of its training: ``checkpoint``, ``step``, ``layer``,
        and what was measured of it; None where no steps were kept.
    """

    name: str
    title: str
    configurations: pd.DataFrame
    moves: tuple[Move, ...]
    provenance: Provenance
    checkpoints: pd.DataFrame | None = None
    layers: pd.DataFrame | None = None
    predicted: Predicted = Predicted.CLASSES
    trajectory: pd.DataFrame | None = None

    @classmethod
    def from_table(
        cls,
        name: str,
        title: str,
        table: pd.DataFrame,
        moves: Sequence[Move],
        provenance: Provenance,
        checkpoints: pd.DataFrame | None = None,
        layers: pd.DataFrame | None = None,
        predicted: Predicted = Predicted.CLASSES,
        trajectory: pd.DataFrame | None = None,
    ) -> "Zoo":
        """Check a table of measurements and label it.

        Parameters
        ----------
        name, title, moves, provenance, predicted : see the class.
        table : one row a grid point: the knobs, ``test_error``, and any other measured columns of the schema. RFI and
            label columns and quantiles, if there are any, are dropped and computed anew. ``configuration`` is made where it
            is missing.
        checkpoints : one row a network: ``checkpoint``, ``configuration``, ``seed``, ``test_error``, NaN where it could not
            be measured, and any other columns of the schema. The labels then have standard errors.
        layers : one row a layer of one of these networks: ``checkpoint``, ``layer``, and any other columns of the schema.
        trajectory : the same for every step that was kept: ``checkpoint``, ``step``, ``layer``, and any other columns.

        Raises
        ------
        MdbenchError
            A column is missing, unknown, not numeric, or NaN in a knob; a move turns a knob without an order; a grid point
            stands there twice; no rows; the checkpoints do not fit the configurations or contradict them, or the layers the
            checkpoints.
        """
        table = checked(f"zoo {name}", table, ("test_error", *(move.knob for move in moves)))
        knobs = [column for column in map(str, table.columns) if COLUMNS[column].family is Family.KNOB]
        for knob in knobs:
            if kind(knob) == "text":
                continue
            bad = np.flatnonzero(~np.isfinite(table[knob].to_numpy(dtype=float, na_value=np.nan)))
            if len(bad):
                raise MdbenchError(f"zoo {name}: row {bad[0] + 1}: knob {knob!r} has no finite value")
            if kind(knob) == "whole":
                if (table[knob] % 1 != 0).any():
                    raise MdbenchError(f"zoo {name}: knob {knob!r} has values that are not whole")
                table = table.astype({knob: np.int64})
        for move in moves:
            if kind(move.knob) == "text":
                raise MdbenchError(
                    f"zoo {name}: move {move.name!r} turns {move.knob!r}, whose values are names without an order"
                )
        twice = table.duplicated(subset=knobs, keep=False)
        if twice.any():
            first = table.loc[twice, knobs].iloc[0]
            where = ", ".join(f"{knob} {level_text(value)}" for knob, value in first.items())
            raise MdbenchError(f"zoo {name}: grid point ({where}) stands there {_times(table, knobs, first)} times")
        if "configuration" not in table.columns:
            texts = [[f"{knob}={level_text(value)}" for value in table[knob]] for knob in knobs]
            table = table.assign(configuration=["/".join(parts) for parts in zip(*texts, strict=True)])
        table = named(f"zoo {name}", table, "configuration")
        by_seed = None
        if checkpoints is not None:
            checkpoints = checked_checkpoints(
                f"zoo {name}: checkpoints", checkpoints, table[knobs], table["test_error"]
            )
            by_seed = checkpoints.pivot(index="configuration", columns="seed", values="test_error").reindex(table.index)
        derived = derive(table[knobs], table["test_error"], moves, by_seed)
        if layers is not None:
            layers = checked_layers(f"zoo {name}: layers", layers, checkpoints)
        if trajectory is not None:
            trajectory = checked_layers(f"zoo {name}: trajectory", trajectory, checkpoints, steps=True)
        whole = pd.concat([table, quantiles(table), derived], axis=1).copy()  # in one piece, whatever it is made of
        return cls(name, title, whole, tuple(moves), provenance, checkpoints, layers, predicted, trajectory)

    def __repr__(self) -> str:
        networks = "" if self.checkpoints is None else f", {len(self.checkpoints):,} networks"
        return f"<Zoo {self.name}: {len(self.configurations):,} configurations{networks}, {' × '.join(self.knobs)}>"

    def _repr_html_(self) -> str:
        """Return the axes of the grid as a table, for notebooks."""
        table = pd.DataFrame(
            {
                "knob": self.knobs,
                "levels": [", ".join(map(level_text, self.levels(knob))) for knob in self.knobs],
                "turned for": [", ".join(m.name for m in self.moves if m.knob == knob) or "–" for knob in self.knobs],
            }
        )
        head = html.escape(f"{self!r}: {self.title}")
        return f"<p>{head}</p>\n{table.to_html(index=False)}"

    @property
    def knobs(self) -> list[str]:
        """The axes of the grid."""
        return [column for column in map(str, self.configurations) if COLUMNS[column].family is Family.KNOB]

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """The tasks that the zoo has labels of, name → task with the verdicts that it has here; see `Task.among`."""
        return offered_tasks(move.name for move in self.moves)

    @property
    def cell_knobs(self) -> list[str]:
        """The axes that no temperature move turns: rows that share these values form a cell, and are not independent."""
        temperature = {move.knob for move in self.moves if move.name.startswith("temperature")}
        return [knob for knob in self.knobs if knob not in temperature]

    @cached_property
    def cells(self) -> "pd.Series[int]":
        """The number of the cell that each row belongs to, from 0, indexed like `configurations`."""
        table = self.configurations
        number = table.groupby(self.cell_knobs, sort=True).ngroup() if self.cell_knobs else range(len(table))
        return pd.Series(number, index=table.index)

    def levels(self, knob: str) -> list[Any]:
        """Return the values of a knob, ascending: numbers, or names in the order of the alphabet."""
        return sorted(self.configurations[knob].unique().tolist())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the zoo says: its moves, what it predicts, its column names, its identifiers and its values."""
        table = self.configurations
        said = hashlib.sha256(repr((self.name, self.moves, list(table.columns))).encode())
        if self.predicted is not Predicted.CLASSES:
            said.update(self.predicted.encode())
        said.update("\0".join(table.index).encode())
        for column in table:
            values = table[column]
            said.update(
                values.to_numpy().tobytes()
                if pd.api.types.is_float_dtype(values)
                else "\0".join(values.fillna("").astype(str)).encode()
            )
        return said.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the zoo as a folder: whole or not at all; what was there before is replaced.

        Raises
        ------
        MdbenchError
            The folder cannot be written, or something that is not a zoo is in the way.
        """
        if folder.exists() and not (folder / MANIFEST).is_file():
            raise MdbenchError(f"{folder} exists and is not a zoo; move it away first")
        others = sorted(
            path.name
            for path in folder.glob("[!.]*")
            if path.name not in (MANIFEST, CONFIGURATIONS, CHECKPOINTS, LAYERS, TRAJECTORY)
        )
        if others:
            raise MdbenchError(
                f"{folder} holds more than a zoo's tables ({others[0]}), which would be lost; move it away"
            )
        with _blaming(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
                fresh, stale = Path(scratch, "fresh"), Path(scratch, "stale")
                fresh.mkdir()
                for name, content in _files(self).items():
                    files.write(fresh / name, content)
                files.sync_folder(fresh)
                files.exchange(fresh, folder, stale)


def write_tables(zoo: Zoo, folder: Path) -> None:
    """Write a zoo's tables into a folder that holds other things too, such as the networks themselves.

    Every file is written beside its name, brought to the disk, and then renamed, ``zoo.json`` last. Interrupted at any
    point, the folder holds the old zoo, the new one, or tables that do not fit their ``zoo.json``, which `load_zoo`
    refuses; writing again mends that. The same zoo gives the same bytes.

    Parameters
    ----------
    zoo : what to write.
    folder : made where it is missing.

    Raises
    ------
    MdbenchError
        The folder cannot be written.
    """
    with _blaming(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tables = _files(zoo)
        files.replace({folder / name: content for name, content in tables.items()})
        for name in (CHECKPOINTS, LAYERS, TRAJECTORY):
            if name not in tables:
                (folder / name).unlink(missing_ok=True)


@contextmanager
def _blaming(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MdbenchError(f"cannot write the zoo to {folder}: {error.strerror or error}") from error


def _files(zoo: Zoo) -> dict[str, bytes]:
    """Return the files of a zoo, name → content, the manifest last."""
    tables = {name: files.parquet(table) for name, table in arrow_tables(zoo).items()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in tables.items()}
    manifest = Manifest(
        format=FORMAT,
        name=zoo.name,
        title=zoo.title,
        moves=tuple(MoveRecord(name=m.name, knob=m.knob, step=m.step) for m in zoo.moves),
        rows=len(zoo.configurations),
        sha256=digests[CONFIGURATIONS],
        checkpoints_sha256=digests.get(CHECKPOINTS),
        layers_sha256=digests.get(LAYERS),
        trajectory_sha256=digests.get(TRAJECTORY),
        provenance=zoo.provenance,
        predicted=zoo.predicted,
    )
    return {**tables, MANIFEST: manifest.written()}


def arrow_tables(zoo: Zoo) -> dict[str, pa.Table]:
    """Return the tables of a zoo as its files hold them, name of the file → table.

    What is measured of single networks and of layers, other than the test error, which labels are made of, is in single
    precision: its seven digits are more than any of these numbers is worth, and half the size.
    """
    tables = {CONFIGURATIONS: _arrow(zoo.configurations.reset_index(), pa.float64())}
    if zoo.checkpoints is not None:
        tables[CHECKPOINTS] = _arrow(zoo.checkpoints.reset_index(), pa.float32())
    if zoo.layers is not None:
        tables[LAYERS] = _arrow(zoo.layers, pa.float32())
    if zoo.trajectory is not None:
        tables[TRAJECTORY] = _arrow(zoo.trajectory, pa.float32())
    return tables


def single_precision(zoo: Zoo) -> Zoo:
    """Return a zoo whose measured means, the test error excepted, are rounded to single precision; labels stay as they are.

    As numbers of eight bytes: what their last bytes would say is noise, and three of ten bytes of a compressed table.
    """
    names = [name for name in map(str, zoo.configurations) if is_single(name)]
    rounded = zoo.configurations.astype(dict.fromkeys(names, np.float32)).astype(dict.fromkeys(names, np.float64))
    return Zoo.from_table(
        zoo.name,
        zoo.title,
        rounded.copy().reset_index(),
        zoo.moves,
        zoo.provenance,
        None if zoo.checkpoints is None else zoo.checkpoints.reset_index(),
        zoo.layers,
        zoo.predicted,
        zoo.trajectory,
    )


def is_single(name: str) -> bool:
    """Tell whether a column is published in single precision: what is measured, the test error excepted."""
    return COLUMNS[name].family in (Family.VALIDATION, Family.LANDSCAPE) and name != "test_error"


def _arrow(table: pd.DataFrame, measured: pa.DataType) -> pa.Table:
    fields = [pa.field(name, measured if is_single(name) else _ARROW[kind(name)]) for name in map(str, table)]
    return pa.Table.from_pandas(table, schema=pa.schema(fields), preserve_index=False)


def _times(table: pd.DataFrame, knobs: list[str], point: "pd.Series[Any]") -> int:
    return int((table[knobs] == point).all(axis=1).sum())
