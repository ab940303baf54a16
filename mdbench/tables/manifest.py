"""``zoo.json``: what the folder of a zoo says of itself, its tables and where they come from."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mdbench.errors import MdbenchError, reason
from mdbench.tables.predicted import Predicted
from mdbench.tables.tasks import Task, offered_tasks

MANIFEST = "zoo.json"
CONFIGURATIONS = "configurations.parquet"
CHECKPOINTS = "checkpoints.parquet"
LAYERS = "layers.parquet"
TRAJECTORY = "trajectory.parquet"
FORMAT = 1
#: Fields that came later than the format.
_LATE = ("predicted", "trajectory_sha256")


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


class MoveRecord(_Strict):
    """A move as the file has it, see `mdbench.tables.Move`."""

    name: str
    knob: str
    step: Literal["up", "down"]


class Manifest(_Strict):
    """What ``zoo.json`` says.

    Attributes
    ----------
    format : of the file; a larger one is newer.
    name, title, moves, provenance : see `mdbench.tables.Zoo`.
    rows : configurations.
    predicted : see `mdbench.tables.Zoo`; left out where it is a class an example.
    sha256, checkpoints_sha256, layers_sha256, trajectory_sha256 : digests of the tables; None of one that the zoo does not
        have.
    """

    format: int
    name: str
    title: str
    moves: tuple[MoveRecord, ...]
    rows: int
    sha256: str
    checkpoints_sha256: str | None = None
    layers_sha256: str | None = None
    provenance: Provenance
    predicted: Predicted = Predicted.CLASSES
    trajectory_sha256: str | None = None

    def written(self) -> bytes:
        """Return the file. What zoos had not always is left out where it says nothing, so that theirs stay as they are."""
        late = {name for name in _LATE if getattr(self, name) == type(self).model_fields[name].default}
        return (self.model_dump_json(indent=2, exclude=late) + "\n").encode()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read what the folder of a zoo says of itself.

    Raises
    ------
    MdbenchError
        It cannot be read, or is of a newer format.
    """
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        raise MdbenchError(f"{folder / MANIFEST} cannot be read: {reason(error)}") from error
    if manifest.format > FORMAT:
        raise MdbenchError(
            f"{folder}: format {manifest.format} is newer than this mdbench knows ({FORMAT}); upgrade it"
        )
    return manifest


def posed_tasks(folder: Path) -> dict[str, Task]:
    """Return the tasks that the zoo in a folder has labels of, see `mdbench.tables.Zoo.tasks`; raises as `read_manifest`."""
    return offered_tasks(move.name for move in read_manifest(folder).moves)


def table_digests(folder: Path) -> dict[str, str]:
    """Return what ``zoo.json`` says of the zoo's other files: name → SHA-256; raises as `load_zoo` does."""
    manifest = read_manifest(folder)
    known = {
        CONFIGURATIONS: manifest.sha256,
        CHECKPOINTS: manifest.checkpoints_sha256,
        LAYERS: manifest.layers_sha256,
        TRAJECTORY: manifest.trajectory_sha256,
    }
    return {name: sha256 for name, sha256 in known.items() if sha256 is not None}
