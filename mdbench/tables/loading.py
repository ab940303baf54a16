"""Zoos found by their names, and read from their folders, which may come from anywhere."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mdbench.errors import MdbenchError, reason
from mdbench.paths import zoo_home
from mdbench.tables.dataset import bundled_zoos
from mdbench.tables.labels import Move
from mdbench.tables.manifest import (
    CHECKPOINTS,
    CONFIGURATIONS,
    LAYERS,
    MANIFEST,
    TRAJECTORY,
    read_manifest,
    sha256_of,
    table_digests,
)
from mdbench.tables.schema import COLUMNS
from mdbench.tables.zoo import Zoo

#: Bytes of the largest table that is read, at eight a value. A file of a few kilobytes can hold as much of one number.
_LARGEST = 2**31


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
    name_or_path : the name of a zoo of this package or one that was imported, or a zoo's folder.
    layers : whether to read the tables of layers and trajectory too, which no case asks about.

    Raises
    ------
    MdbenchError
        There is no such zoo, its files are damaged, or its table is not a zoo table.
    """
    folder = find_zoo(name_or_path)
    manifest = read_manifest(folder)
    table = read_table(folder / CONFIGURATIONS, manifest.sha256, manifest.rows)
    wanted = (
        (CHECKPOINTS, manifest.checkpoints_sha256),
        (LAYERS, manifest.layers_sha256 if layers else None),
        (TRAJECTORY, manifest.trajectory_sha256 if layers else None),
    )
    of_networks, of_layers, of_steps = (
        read_table(folder / name, known) if known is not None else None for name, known in wanted
    )
    moves = [Move(move.name, move.knob, move.step) for move in manifest.moves]
    return Zoo.from_table(
        manifest.name,
        manifest.title,
        table,
        moves,
        manifest.provenance,
        of_networks,
        of_layers,
        predicted=manifest.predicted,
        trajectory=of_steps,
    )


def load_checkpoints(folder: Path) -> pd.DataFrame:
    """Load a zoo's table of networks alone, as its file has it, one row a network; raises as `load_zoo` does."""
    sha256 = table_digests(folder).get(CHECKPOINTS)
    if sha256 is None:
        raise MdbenchError(f"{folder / MANIFEST} describes no table of networks: only the configurations are known")
    return read_table(folder / CHECKPOINTS, sha256)


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
