"""A zoo: a grid of trained networks as a table, with its labels and where it comes from.

On disk a zoo is a folder: ``zoo.json`` (name, moves, provenance, digests), ``configurations.parquet``, one row a grid point,
and, where the single networks are known, ``checkpoints.parquet``, one row a network, and ``layers.parquet``, one row a layer
of a network.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from mdbench import files
from mdbench.errors import MdbenchError, reason
from mdbench.paths import zoo_home
from mdbench.tables.dataset import bundled_zoos
from mdbench.tables.labels import Move, derive
from mdbench.tables.quantiles import quantiles
from mdbench.tables.schema import COLUMNS, Family, kind

MANIFEST = "zoo.json"
CONFIGURATIONS = "configurations.parquet"
CHECKPOINTS = "checkpoints.parquet"
LAYERS = "layers.parquet"
FORMAT = 1

#: Bytes of the largest table that is read, at eight a value. A file of a few kilobytes can hold as much of one number.
_LARGEST = 2**31
_DERIVED = (Family.RFI, Family.LABEL)
_ARROW = {"number": pa.float64(), "whole": pa.int64(), "flag": pa.bool_(), "text": pa.string()}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputFile(_Strict):
    """A file that a zoo was made from."""

    path: str
    sha256: str


class Provenance(_Strict):
    """Where a zoo comes from."""

    source: str
    license: str
    citation: str = ""
    inputs: tuple[InputFile, ...] = ()
    made_by: str


class _MoveRecord(_Strict):
    name: str
    knob: str
    step: Literal["up", "down"]


class _Manifest(_Strict):
    format: int
    name: str
    title: str
    moves: tuple[_MoveRecord, ...]
    rows: int
    sha256: str
    checkpoints_sha256: str | None = None
    layers_sha256: str | None = None
    provenance: Provenance


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, eq=False)
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
    """

    name: str
    title: str
    configurations: pd.DataFrame
    moves: tuple[Move, ...]
    provenance: Provenance
    checkpoints: pd.DataFrame | None = None
    layers: pd.DataFrame | None = None

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
    ) -> "Zoo":
        """Check a table of measurements and label it.

        Parameters
        ----------
        name, title, moves, provenance : see the class.
        table : one row a grid point: the knobs, ``test_error``, and any other measured columns of the schema. RFI and
            label columns and quantiles, if there are any, are dropped and computed anew. ``configuration`` is made where it
            is missing.
        checkpoints : one row a network: ``checkpoint``, ``configuration``, ``seed``, ``test_error``, NaN where it could not
            be measured, and any other columns of the schema. The labels then have standard errors.
        layers : one row a layer of one of these networks: ``checkpoint``, ``layer``, and any other columns of the schema.

        Raises
        ------
        MdbenchError
            A column is missing, unknown, not numeric, or NaN in a knob; a grid point stands there twice; no rows; the
            checkpoints do not fit the configurations or contradict them, or the layers the checkpoints.
        """
        table = _checked(f"zoo {name}", table, ("test_error", *(move.knob for move in moves)))
        knobs = [column for column in map(str, table.columns) if COLUMNS[column].family is Family.KNOB]
        for knob in knobs:
            bad = np.flatnonzero(~np.isfinite(table[knob].to_numpy()))
            if len(bad):
                raise MdbenchError(f"zoo {name}: row {bad[0] + 1}: knob {knob!r} has no finite value")
        twice = table.duplicated(subset=knobs, keep=False)
        if twice.any():
            first = table.loc[twice, knobs].iloc[0]
            where = ", ".join(f"{knob} {value:g}" for knob, value in first.items())
            raise MdbenchError(f"zoo {name}: grid point ({where}) stands there {_times(table, knobs, first)} times")
        if "configuration" not in table.columns:
            texts = [[f"{knob}={value:g}" for value in table[knob]] for knob in knobs]
            table = table.assign(configuration=["/".join(parts) for parts in zip(*texts, strict=True)])
        table = _named(f"zoo {name}", table, "configuration")
        by_seed = None
        if checkpoints is not None:
            checkpoints = _checked_checkpoints(
                f"zoo {name}: checkpoints", checkpoints, table[knobs], table["test_error"]
            )
            by_seed = checkpoints.pivot(index="configuration", columns="seed", values="test_error").reindex(table.index)
        derived = derive(table[knobs], table["test_error"], moves, by_seed)
        if layers is not None:
            layers = _checked_layers(f"zoo {name}: layers", layers, checkpoints)
        whole = pd.concat([table, quantiles(table), derived], axis=1)
        return cls(name, title, whole, tuple(moves), provenance, checkpoints, layers)

    @property
    def knobs(self) -> list[str]:
        """The axes of the grid."""
        return [column for column in map(str, self.configurations) if COLUMNS[column].family is Family.KNOB]

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

    def levels(self, knob: str) -> list[float]:
        """Return the values of a knob, ascending."""
        return sorted(self.configurations[knob].unique().tolist())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the zoo says: its moves, its column names, its identifiers and its values."""
        table = self.configurations
        said = hashlib.sha256(repr((self.name, self.moves, list(table.columns))).encode())
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
            if path.name not in (MANIFEST, CONFIGURATIONS, CHECKPOINTS, LAYERS)
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
                try:
                    if folder.exists():
                        folder.rename(stale)
                    fresh.rename(folder)
                except BaseException:  # Ctrl-C included: with the scratch folder the old zoo would go
                    if stale.exists() and not folder.exists():
                        stale.rename(folder)
                    raise


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
        for name in (CHECKPOINTS, LAYERS):
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
    manifest = _Manifest(
        format=FORMAT,
        name=zoo.name,
        title=zoo.title,
        moves=tuple(_MoveRecord(name=m.name, knob=m.knob, step=m.step) for m in zoo.moves),
        rows=len(zoo.configurations),
        sha256=digests[CONFIGURATIONS],
        checkpoints_sha256=digests.get(CHECKPOINTS),
        layers_sha256=digests.get(LAYERS),
        provenance=zoo.provenance,
    )
    return {**tables, MANIFEST: (manifest.model_dump_json(indent=2) + "\n").encode()}


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
    return tables


def _arrow(table: pd.DataFrame, measured: pa.DataType) -> pa.Table:
    fields = []
    for name in map(str, table):
        single = COLUMNS[name].family in (Family.VALIDATION, Family.LANDSCAPE) and name != "test_error"
        fields.append(pa.field(name, measured if single else _ARROW[kind(name)]))
    return pa.Table.from_pandas(table, schema=pa.schema(fields), preserve_index=False)


def _checked(where: str, table: pd.DataFrame, needed: Sequence[str]) -> pd.DataFrame:
    """Return a table with its measurements as floats, and without what is computed from them."""
    table = table.drop(columns=[c for c in table.columns if c in COLUMNS and _is_derived(c)])
    unknown = [str(column) for column in table.columns if column not in COLUMNS]
    if unknown:
        raise MdbenchError(f"{where}: column {unknown[0]!r} is not one of `mdbench columns`")
    absent = [need for need in needed if need not in table.columns]
    if absent:
        raise MdbenchError(f"{where}: column {absent[0]!r} is missing")
    if table.empty:
        raise MdbenchError(f"{where}: the table has no rows")
    kinds = table.dtypes
    measured = [column for column in table.columns if COLUMNS[column].family is not Family.ID]
    for column in measured:
        if not pd.api.types.is_numeric_dtype(kinds[column]) or pd.api.types.is_bool_dtype(kinds[column]):
            raise MdbenchError(f"{where}: column {column!r} is not numeric")
    # As one block: pandas takes a millisecond for every column that is converted alone.
    numbers = table[measured].to_numpy(dtype=float, na_value=np.nan)
    return pd.concat([table.drop(columns=measured), pd.DataFrame(numbers, index=table.index, columns=measured)], axis=1)


def _is_derived(column: str) -> bool:
    return COLUMNS[column].family in _DERIVED or COLUMNS[column].relative


def _named(where: str, table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a table indexed by the names of its rows, columns in schema order."""
    if table[column].isna().any() or table[column].duplicated().any():
        raise MdbenchError(f"{where}: column {column!r} must name every row, each differently")
    return table.set_index(column)[[known for known in COLUMNS if known in table.columns and known != column]]


def _checked_checkpoints(where: str, table: pd.DataFrame, grid: pd.DataFrame, means: pd.Series) -> pd.DataFrame:
    """Return the table of networks, which must agree with the knobs and the mean test errors of the configurations."""
    table = _checked(where, table, ("checkpoint", "configuration", "seed", "test_error"))
    table = _named(where, table, "checkpoint")
    if not pd.api.types.is_integer_dtype(table["seed"]):
        raise MdbenchError(f"{where}: column 'seed' must be whole numbers")
    strangers = table[~table["configuration"].isin(grid.index)]
    if len(strangers):
        name, unknown = strangers.index[0], strangers["configuration"].iloc[0]
        raise MdbenchError(f"{where}: {name!r} is of configuration {unknown!r}, which the zoo does not have")
    twice = table.index[table.duplicated(subset=["configuration", "seed"])]
    if len(twice):
        raise MdbenchError(f"{where}: {twice[0]!r} has the configuration and the seed of another network")
    for knob in grid.columns.intersection(table.columns):
        wrong = table.index[table[knob].to_numpy() != grid.loc[table["configuration"], knob].to_numpy()]
        if len(wrong):
            raise MdbenchError(f"{where}: knob {knob!r} of {wrong[0]!r} is not that of its configuration")
    table["test_error"] = table["test_error"].where(np.isfinite(table["test_error"]))
    found = table.groupby("configuration")["test_error"].mean().reindex(means.index)
    contradicted = means.index[~np.isclose(found, means, rtol=1e-9, atol=1e-9, equal_nan=True)]
    if len(contradicted):
        name = contradicted[0]
        raise MdbenchError(
            f"{where}: the test errors of configuration {name!r} have the mean {found[name]:.10g}, "
            f"but its own test_error is {means[name]:.10g}"
        )
    return table


def _checked_layers(where: str, table: pd.DataFrame, checkpoints: pd.DataFrame | None) -> pd.DataFrame:
    """Return the table of layers, whose networks the table of networks must have."""
    table = _checked(where, table, ("checkpoint", "layer")).reset_index(drop=True)
    unknown = table["checkpoint"][~table["checkpoint"].isin([] if checkpoints is None else checkpoints.index)]
    if len(unknown):
        raise MdbenchError(f"{where}: {unknown.iloc[0]!r} is a network that the zoo does not have")
    twice = table[table.duplicated(subset=["checkpoint", "layer"])]
    if len(twice):
        name, layer = twice[["checkpoint", "layer"]].iloc[0]
        raise MdbenchError(f"{where}: layer {layer!r} of {name!r} stands there twice")
    return table[[known for known in COLUMNS if known in table.columns]]


def _times(table: pd.DataFrame, knobs: list[str], point: "pd.Series[Any]") -> int:
    return int((table[knobs] == point).all(axis=1).sum())


def zoo_names() -> list[str]:
    """Return the names of the zoos on this machine: those of this package, and those imported or built."""
    return sorted({path.parent.name for home in (bundled_zoos(), zoo_home()) for path in home.glob(f"*/{MANIFEST}")})


def find_zoo(name_or_path: str | os.PathLike[str], *, of_case: bool = False) -> Path:
    """Return the folder of a zoo, given its name or its folder.

    Parameters
    ----------
    name_or_path : a name is looked for among the zoos of this package, in `zoo_home`, and here.
    of_case : whether a case says it: then the zoo of this package is meant, so that cases mean the same everywhere.

    Raises
    ------
    MdbenchError
        There is none, or the name is that of several.
    """
    text = os.fspath(name_or_path)
    named = [bundled_zoos() / text, zoo_home() / text, Path(text)]
    candidates = [Path(text)] if os.sep in text or text.startswith(".") else named
    found = [folder for folder in candidates if (folder / MANIFEST).is_file()]
    if found:
        return found[0] if of_case else only_one(text, found)
    hint = (
        "import it with `mdbench import modeldiagnosis PATH`, PATH being a clone of the public ModelDiagnosis repository"
        if text.startswith("cifar10-resnet18")
        else f"on this machine there are: {', '.join(zoo_names()) or 'none'}"
    )
    raise MdbenchError(f"zoo {text!r} is not there; {hint}")


def only_one(name: str, folders: Sequence[Path]) -> Path:
    """Return the folder that a name means.

    Raises
    ------
    MdbenchError
        The name is that of several folders.
    """
    several = list(dict.fromkeys(str(folder.resolve()) for folder in folders))
    if len(several) > 1:
        raise MdbenchError(
            f"zoo {name!r} is in several places: {', '.join(several)}; give the folder of the one you mean"
        )
    return folders[0]


def load_zoo(name_or_path: str | os.PathLike[str], *, layers: bool = True) -> Zoo:
    """Load a zoo by its name or its folder.

    Parameters
    ----------
    name_or_path : see `find_zoo`.
    layers : whether to read the table of layers too, which no case asks about.

    Raises
    ------
    MdbenchError
        There is no such zoo, its files are damaged, or its table is not a zoo table.
    """
    folder = find_zoo(name_or_path)
    manifest = _manifest(folder)
    table = read_table(folder / CONFIGURATIONS, manifest.sha256, manifest.rows)
    wanted = ((CHECKPOINTS, manifest.checkpoints_sha256), (LAYERS, manifest.layers_sha256 if layers else None))
    of_networks, of_layers = (read_table(folder / name, known) if known is not None else None for name, known in wanted)
    moves = [Move(move.name, move.knob, move.step) for move in manifest.moves]
    return Zoo.from_table(manifest.name, manifest.title, table, moves, manifest.provenance, of_networks, of_layers)


def table_digests(folder: Path) -> dict[str, str]:
    """Return what ``zoo.json`` says of the zoo's other files: name → SHA-256; raises as `load_zoo` does."""
    manifest = _manifest(folder)
    known = {CONFIGURATIONS: manifest.sha256, CHECKPOINTS: manifest.checkpoints_sha256, LAYERS: manifest.layers_sha256}
    return {name: sha256 for name, sha256 in known.items() if sha256 is not None}


def load_checkpoints(folder: Path) -> pd.DataFrame:
    """Load a zoo's table of networks alone, as its file has it, one row a network; raises as `load_zoo` does."""
    sha256 = table_digests(folder).get(CHECKPOINTS)
    if sha256 is None:
        raise MdbenchError(f"{folder / MANIFEST} describes no table of networks: only the configurations are known")
    return read_table(folder / CHECKPOINTS, sha256)


def _manifest(folder: Path) -> _Manifest:
    try:
        manifest = _Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        raise MdbenchError(f"{folder / MANIFEST} cannot be read: {reason(error)}") from error
    if manifest.format > FORMAT:
        raise MdbenchError(
            f"{folder}: format {manifest.format} is newer than this mdbench knows ({FORMAT}); upgrade it"
        )
    return manifest


def read_table(path: Path, sha256: str, rows: int | None = None, *, described: str = MANIFEST) -> pd.DataFrame:
    """Read a table of columns of the schema that may come from anywhere.

    Parameters
    ----------
    path : a Parquet file.
    sha256, rows : digest of the file, and how many rows it has, if that is known.
    described : the file beside it that says so.

    Raises
    ------
    MdbenchError
        It is not that file, cannot be read, or is too large.
    """
    try:
        if sha256_of(path) != sha256:
            raise MdbenchError(
                f"{path} is not the file that {described} describes (SHA-256 differs); make the zoo anew"
            )
        file = pq.ParquetFile(path)
        _check_size(path, file, rows, described)
        table: pd.DataFrame = file.read().to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise MdbenchError(f"{path} cannot be read: {reason(error)}") from error
    return table


def _check_size(path: Path, file: pq.ParquetFile, rows: int | None, described: str) -> None:
    """Make sure of what a file says of itself, before it is read as a whole."""
    there, names = file.metadata.num_rows, file.schema_arrow.names
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise MdbenchError(f"{path}: column {unknown[0]!r} is not one of `mdbench columns`")
    nested = [field.name for field in file.schema_arrow if pa.types.is_nested(field.type)]
    if nested or len(set(names)) < len(names):
        raise MdbenchError(f"{path}: its columns are not numbers and texts, each under its own name")
    if rows is not None and there != rows:
        raise MdbenchError(f"{path} has {there} rows, but {described} says {rows}; make the zoo anew")
    if there * len(names) * 8 > _LARGEST:
        raise MdbenchError(f"{path}: {there} rows of {len(names)} columns are more than any zoo has")
