"""The store: a folder in which units of work are whole or not at all.

    DIR/build.json              what is built here: digests of the specification and of the data, the units
    DIR/spec.toml               the specification, as it was given
    DIR/examples.safetensors    which examples a data fraction uses, which labels are wrong
    DIR/units/KEY/              a unit: networks.parquet, checkpoints.safetensors, unit.json with their SHA-256
    DIR/zoo.json, configurations.parquet, checkpoints.parquet, timings.parquet
                                the zoo, once all units are there

A unit is written into a folder of another name, which gets its own once everything in it is on the disk. What a kill or
a power cut leaves behind is a folder that nobody reads, and that the next build removes.
"""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from mdbench import files
from mdbench.errors import MdbenchError
from mdbench.zoo import sha256_of

FORMAT = 1
MANIFEST = "build.json"
SPEC = "spec.toml"
EXAMPLES = "examples.safetensors"
UNITS = "units"
UNIT = "unit.json"
NETWORKS = "networks.parquet"
CHECKPOINTS = "checkpoints.safetensors"
_LOCK = ".lock"
_UNFINISHED = ".unfinished-"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Manifest(_Strict):
    """What is built in a folder: networks of another specification, data set or builder do not belong into it.

    Attributes
    ----------
    spec_sha256, data_sha256 : digests of the specification and of the data set.
    builder : version of mdbench that began the build.
    device : the kind of device that the work was cut for.
    units : key → number of networks.
    """

    format: int = FORMAT
    spec_sha256: str
    data_sha256: str
    builder: str
    device: str
    units: dict[str, int]


class _UnitRecord(_Strict):
    sha256: dict[str, str]


class Store:
    """The folder of one build.

    Attributes
    ----------
    folder : where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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
            raise MdbenchError(f"{path} cannot be read: {_reason(error)}") from error
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
            The folder cannot be written, is not empty and not a build, or holds another build.
        """
        if self.begun:
            self._compare(self.manifest(), manifest)
        else:
            with _writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                foreign = [path.name for path in self.folder.iterdir() if not path.name.startswith(".")]
                if set(foreign) - {SPEC, EXAMPLES, UNITS}:
                    raise MdbenchError(f"{self.folder} is not empty, and not the folder of a build; give another one")
                (self.folder / UNITS).mkdir(exist_ok=True)
                files.replace(
                    {
                        self.folder / SPEC: spec_text.encode(),
                        self.folder / EXAMPLES: _safetensors(examples),
                        self.folder / MANIFEST: (manifest.model_dump_json(indent=2) + "\n").encode(),
                    }
                )
        for path in (self.folder / UNITS).glob(f"{_UNFINISHED}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _compare(self, there: Manifest, wanted: Manifest) -> None:
        reasons = {
            "spec_sha256": f"another specification, kept as {self.folder / SPEC}",
            "data_sha256": "other data under the same name",
            "device": f"a build for the device {there.device}",
            "units": "a build whose work was cut in another way, by another version of the builder",
        }
        for field, reason in reasons.items():
            if getattr(there, field) != getattr(wanted, field):
                raise MdbenchError(
                    f"{self.folder} holds {reason}; nothing was changed. Build into another folder, or move this one away"
                )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one build at a time.

        Raises
        ------
        MdbenchError
            Another build holds it.
        """
        with _writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / _LOCK).open("w")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise MdbenchError(f"{self.folder} cannot be locked: {_reason(error)}") from error
                raise MdbenchError(f"another build is at work in {self.folder}; wait for it, or stop it") from None
            yield

    def home(self, key: str) -> Path:
        """Return the folder of a unit."""
        return self.folder / UNITS / key

    def has(self, key: str) -> bool:
        """Tell whether a unit is there."""
        return (self.home(key) / UNIT).is_file()

    def write(self, key: str, rows: pd.DataFrame, tensors: Mapping[str, Any]) -> Path:
        """Write a unit: whole or not at all; one that is there already stays.

        Parameters
        ----------
        key : the unit's key.
        rows : one row a network.
        tensors : ``checkpoint/parameter`` → tensor.

        Returns
        -------
        The unit's folder.

        Raises
        ------
        MdbenchError
            It cannot be written; what was there before is as it was.
        """
        home = self.home(key)
        scratch = self.folder / UNITS / f"{_UNFINISHED}{key}-{os.getpid()}"
        with _writing(home):
            try:
                scratch.mkdir(parents=True, exist_ok=True)
                contents = {CHECKPOINTS: _safetensors(tensors), NETWORKS: files.parquet(rows)}
                digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
                contents[UNIT] = (_UnitRecord(sha256=digests).model_dump_json(indent=2) + "\n").encode()
                for name, content in contents.items():
                    files.write(scratch / name, content)
                files.sync_folder(scratch)
                try:
                    scratch.rename(home)
                except OSError as error:
                    if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                        raise
                files.sync_folder(home.parent)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return home

    def check(self, key: str) -> None:
        """Make sure that a unit is what was written.

        Raises
        ------
        MdbenchError
            A file of it is missing or changed.
        """
        home = self.home(key)
        advice = f"move {home} away, and the same command trains these networks again"
        try:
            record = _UnitRecord.model_validate_json((home / UNIT).read_bytes())
            for name, digest in record.sha256.items():
                if sha256_of(home / Path(name).name) != digest:
                    raise MdbenchError(f"{home / name} is damaged (its SHA-256 differs); {advice}")
        except (OSError, ValidationError) as error:
            raise MdbenchError(f"{home} is damaged: {_reason(error)}; {advice}") from error

    def rows(self, keys: Sequence[str]) -> pd.DataFrame:
        """Return the rows of these units; ``shard`` is where a network's checkpoint is, relative to the folder."""
        tables = []
        for key in keys:
            path = self.home(key) / NETWORKS
            try:
                table = pq.ParquetFile(path).read().to_pandas()
            except (OSError, pa.ArrowException) as error:
                raise MdbenchError(f"{path} cannot be read: {_reason(error)}") from error
            tables.append(table.assign(shard=f"{UNITS}/{key}/{CHECKPOINTS}"))
        rows: pd.DataFrame = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
        return rows


def _safetensors(tensors: Mapping[str, Any]) -> bytes:
    from safetensors.torch import save

    return save(dict(tensors))


@contextmanager
def _writing(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "make room, and the same command goes on from there" if full else "is it yours to write?"
        raise MdbenchError(f"cannot write {where}: {_reason(error)}; {advice}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        detail = error.errors()[0]
        return f"{'.'.join(str(part) for part in detail['loc']) or 'content'}: {detail['msg']}"
    return str(getattr(error, "strerror", None) or error).splitlines()[0]
