"""The store: a folder in which units of work are whole or not at all.

    DIR/build.json              what is built here: digests of the specification and of the data, the units
    DIR/spec.toml               the specification, as it was given
    DIR/examples.safetensors    which examples a data fraction uses, which labels are wrong
    DIR/units/KEY/              a unit: networks.parquet, checkpoints.safetensors, unit.json with their SHA-256; and
                                kept.safetensors, the networks at the steps that were kept, where there are any
    DIR/zoo.json, configurations.parquet, checkpoints.parquet, timings.parquet
                                the zoo, once all units are there
    DIR/landscape/              what was measured of its networks; see `zoo_builder.building.measuring`

What a kill or a power cut leaves behind are folders and files of names that nobody reads, and that the next build removes.
"""

import errno
import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from mdbench import files
from mdbench.errors import MdbenchError, reason
from zoo_builder.building.units import Units, writing

FORMAT = 1
MANIFEST = "build.json"
SPEC = "spec.toml"
EXAMPLES = "examples.safetensors"
UNITS = "units"
LANDSCAPE = "landscape"
NETWORKS = "networks.parquet"
CHECKPOINTS = "checkpoints.safetensors"
KEPT = "kept.safetensors"
_LOCK = ".lock"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Manifest(_Strict):
    """What is built in a folder: networks of another specification, data set or builder do not belong into it.

    Attributes
    ----------
    spec_sha256, data_sha256 : digests of the specification and of the data set.
    builder : version of mdbench that began the build.
    revision : its git revision, + marking uncommitted changes; None where it ran from elsewhere.
    device : the kind of device that the work was cut for.
    units : key → number of networks.
    """

    format: int = FORMAT
    spec_sha256: str
    data_sha256: str
    builder: str
    revision: str | None = None
    device: str
    units: dict[str, int]

    @property
    def made_by(self) -> str:
        """What began the build, in words."""
        return f"mdbench {self.builder}" + (f", revision {self.revision}" if self.revision else "")


class Store:
    """The folder of one build.

    Attributes
    ----------
    folder : where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._units = Units(folder / UNITS)

    @property
    def begun(self) -> bool:
        """Whether a build has begun here."""
        return (self.folder / MANIFEST).is_file()

    def manifest(self) -> Manifest:
        """Return what is built here.

        Raises
        ------
        MdbenchError
            Nothing is, or ``build.json`` is damaged.
        """
        path = self.folder / MANIFEST
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise MdbenchError(f"{self.folder} is not the folder of a build: it has no {MANIFEST}") from None
        except (OSError, ValidationError) as error:
            raise MdbenchError(
                f"{path} cannot be read: {reason(error)}; remove it, and the same command writes it anew"
            ) from error
        if manifest.format > FORMAT:
            raise MdbenchError(f"{path}: format {manifest.format} is newer than this builder knows ({FORMAT})")
        return manifest

    def begin(self, manifest: Manifest, spec_text: str, examples: Mapping[str, Any]) -> None:
        """Open the folder for a build, or make sure that it is this build's.

        Parameters
        ----------
        manifest : what is to be built.
        spec_text : the specification's text.
        examples : name → tensor, for ``examples.safetensors``.

        Raises
        ------
        MdbenchError
            The folder cannot be written, or holds another build.
        """
        wanted = {self.folder / SPEC: spec_text.encode(), self.folder / EXAMPLES: _safetensors(examples)}
        if self.begun:
            self._compare(self.manifest(), manifest)
        else:
            wanted[self.folder / MANIFEST] = (manifest.model_dump_json(indent=2) + "\n").encode()
        with writing(self.folder):
            (self.folder / UNITS).mkdir(parents=True, exist_ok=True)
            # A specification with the same digest may have another title and other comments: the last one given is kept.
            files.replace({path: content for path, content in wanted.items() if not _holds(path, content)})
            self._tidy()

    def _tidy(self) -> None:
        """Remove what interrupted writing left behind."""
        files.tidy(self.folder)
        self._units.tidy()

    def _compare(self, there: Manifest, wanted: Manifest) -> None:
        reasons = {
            "spec_sha256": f"another specification, kept as {self.folder / SPEC}",
            "data_sha256": "other data under the same name",
            "device": f"a build for the device {there.device}",
            "units": "a build whose work was cut in another way, by another version of the builder",
        }
        for field, other in reasons.items():
            if getattr(there, field) != getattr(wanted, field):
                raise MdbenchError(
                    f"{self.folder} holds {other}; nothing was changed. Build into another folder, or move this one away"
                )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one build at a time; it is made where it is missing.

        Raises
        ------
        MdbenchError
            Another build holds it; it cannot be written; it is not empty, and not a build's.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            # The folder of units is the first thing that a build makes.
            if not (self.folder / UNITS).is_dir() and any(path.name != _LOCK for path in self.folder.iterdir()):
                raise MdbenchError(f"{self.folder} is not empty, and not the folder of a build; give another one")
            lock = (self.folder / _LOCK).open("a")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise MdbenchError(f"{self.folder} cannot be locked: {reason(error)}") from error
                raise MdbenchError(f"another build is at work in {self.folder}; wait for it, or stop it") from None
            yield

    def home(self, key: str) -> Path:
        """Return the folder of a unit."""
        return self._units.home(key)

    def has(self, key: str) -> bool:
        """Tell whether a unit is there; `check` tells whether it is whole, as it was when it got its name."""
        return self._units.has(key)

    def write(
        self, key: str, rows: pd.DataFrame, tensors: Mapping[str, Any], kept: Mapping[str, Any] | None = None
    ) -> Path:
        """Write a unit: whole or not at all; one that is there already stays.

        Parameters
        ----------
        key : the unit's key.
        rows : one row a network.
        tensors : ``checkpoint/parameter`` → tensor.
        kept : ``checkpoint/step/parameter`` → tensor.

        Returns
        -------
        The unit's folder.

        Raises
        ------
        MdbenchError
            It cannot be written; what was there before is as it was.
        """
        contents = {CHECKPOINTS: _safetensors(tensors), NETWORKS: files.parquet(rows)}
        return self._units.write(key, contents | ({KEPT: _safetensors(kept)} if kept else {}))

    def check(self, key: str) -> None:
        """Make sure that a unit is what was written.

        Raises
        ------
        MdbenchError
            A file of it is missing or changed.
        """
        self._units.check(key, (CHECKPOINTS, NETWORKS), "trains these networks again")

    def check_kept(self, key: str) -> None:
        """Make sure that what a unit has of steps that were kept is what was written; raises as `check` does."""
        self._units.check(key, (KEPT,), "trains these networks again")

    def rows(self, keys: Sequence[str]) -> pd.DataFrame:
        """Return the rows of these units; ``shard`` is where a network's checkpoint is, relative to the folder."""
        tables = []
        for key in keys:
            path = self.home(key) / NETWORKS
            try:
                table = pq.ParquetFile(path).read().to_pandas()
            except (OSError, pa.ArrowException) as error:
                raise MdbenchError(f"{path} cannot be read: {reason(error)}") from error
            tables.append(table.assign(shard=f"{UNITS}/{key}/{CHECKPOINTS}"))
        rows: pd.DataFrame = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
        return rows

    def measured(self) -> dict[str, int]:
        """Return of how many networks there are numbers: family → networks. Measuring may be at work, or was stopped."""
        return {
            shelf.name: len({name for unit in shelf.glob("[!.]*") for name in _checkpoints_in(unit / NETWORKS)})
            for shelf in sorted((self.folder / LANDSCAPE).glob("*"))
            if shelf.is_dir()
        }


def _checkpoints_in(path: Path) -> list[str]:
    """Return the networks that a unit of a family has rows of; none where it has just been moved away."""
    try:
        names: list[str] = pq.read_table(path, columns=["checkpoint"])["checkpoint"].to_pylist()
    except FileNotFoundError:
        return []
    except (OSError, pa.ArrowException) as error:
        raise MdbenchError(f"{path} cannot be read: {reason(error)}") from error
    return names


def _safetensors(tensors: Mapping[str, Any]) -> bytes:
    from safetensors.torch import save

    return save(dict(tensors))


def _holds(path: Path, content: bytes) -> bool:
    """Tell whether a file is there and says this."""
    try:
        return path.read_bytes() == content
    except OSError:
        return False
