"""A folder of units of work, each of which is there whole or not at all.

A unit is written into a folder of another name, which gets its own once everything in it is on the disk. What a kill or a
power cut leaves behind are folders of names that nobody reads, and that the next command removes.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mdbench import files
from mdbench.errors import MdbenchError, reason
from mdbench.tables import sha256_of

UNIT = "unit.json"
_UNFINISHED = ".unfinished-"
_RUBBISH = ".rubbish-"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: dict[str, str]


class Units:
    """The folder.

    Attributes
    ----------
    folder : where it is; made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def home(self, key: str) -> Path:
        """Return the folder of a unit."""
        return self.folder / key

    def has(self, key: str) -> bool:
        """Tell whether a unit is there; `check` tells whether it is whole, as it was when it got its name."""
        return self.home(key).exists()

    def write(self, key: str, contents: Mapping[str, bytes]) -> Path:
        """Write a unit: whole or not at all; one that is there already stays.

        Parameters
        ----------
        key : the unit's key.
        contents : file's name → what it holds.

        Returns
        -------
        The unit's folder.

        Raises
        ------
        MdbenchError
            It cannot be written; what was there before is as it was.
        """
        home = self.home(key)
        # Two workers, perhaps on two machines, may write the same unit: neither knows of the other.
        scratch = self.folder / f"{_UNFINISHED}{key}-{uuid.uuid4().hex}"
        with writing(home):
            try:
                scratch.mkdir(parents=True)
                digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
                record = (_Record(sha256=digests).model_dump_json(indent=2) + "\n").encode()
                for name, content in {**contents, UNIT: record}.items():
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

    def check(self, key: str, names: tuple[str, ...], again: str) -> None:
        """Make sure that a unit is what was written.

        Parameters
        ----------
        key : the unit's key.
        names : the files that it must have.
        again : what the same command does where the unit is missing.

        Raises
        ------
        MdbenchError
            A file of it is missing or changed.
        """
        home = self.home(key)
        advice = f"move {home} away, and the same command {again}"
        try:
            record = _Record.model_validate_json((home / UNIT).read_bytes())
            for name in names:
                if sha256_of(home / name) != record.sha256.get(name):
                    raise MdbenchError(f"{home / name} is damaged (its SHA-256 differs); {advice}")
        except (OSError, ValidationError) as error:
            raise MdbenchError(f"{home} is damaged: {reason(error)}; {advice}") from error

    def keep(self, keys: Collection[str]) -> None:
        """Remove all units but these."""
        for path in self.folder.iterdir():
            if path.name not in keys and not path.name.startswith("."):
                path.rename(path.with_name(f"{_RUBBISH}{uuid.uuid4().hex}"))
        self.tidy()

    def tidy(self) -> None:
        """Remove what interrupted writing left behind."""
        for path in self.folder.glob(f"{_UNFINISHED}*"):
            # A worker on another machine may be writing there still: it loses the whole folder at once, never half of it.
            with suppress(FileNotFoundError):
                path.rename(path.with_name(f"{_RUBBISH}{uuid.uuid4().hex}"))
        for path in self.folder.glob(f"{_RUBBISH}*"):
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def writing(where: Path) -> Iterator[None]:
    """Stand around what writes: where that fails, say what to do about it.

    Raises
    ------
    MdbenchError
        It failed.
    """
    try:
        yield
    except OSError as error:
        raise MdbenchError(f"cannot write {where}: {reason(error)}; {_advice(error)}") from error
    except MdbenchError as error:
        # Who raised it stood within another one of these, or did not say what to do.
        if isinstance(error.__cause__, OSError) and _advice(error.__cause__) not in str(error):
            raise MdbenchError(f"{error}; {_advice(error.__cause__)}") from error
        raise


@contextmanager
def alone(where: Path, what: str) -> Iterator[None]:
    """Hold a folder, which is made where it is missing, for one of those that ask for it at a time; a kill gives it back.

    Parameters
    ----------
    where : the folder.
    what : is at work there, for the message.

    Raises
    ------
    MdbenchError
        Somebody else holds it, or it cannot be made.
    """
    with writing(where):
        where.mkdir(parents=True, exist_ok=True)
        handle = os.open(where, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MdbenchError(f"another {what} is at work in {where}; wait for it, or stop it") from None
        yield
    finally:
        os.close(handle)


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room, and the same command goes on from there"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return "is it a folder, and yours to write?"
    return "once that is mended, the same command goes on from there"
