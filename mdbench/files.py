"""Files that are there whole or not at all, and whose bytes say only what they hold."""

import ctypes
import errno
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


#: Of Linux's ``renameat2``: paths are as they are, and the two exchange their names.
_HERE, _EXCHANGE = -100, 2
#: What `replace` writes beside a file's name.
_BESIDE = re.compile(r"\.[\w.-]+\.(json|toml|safetensors|parquet|md|png)\.\d+")


def write(path: Path, content: bytes) -> None:
    """Write a file, and return when the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return when the disk has what was made, renamed or removed in a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def exchange(fresh: Path, home: Path, stale: Path) -> None:
    """Put a folder in the place of another at one instant, so that a kill leaves one or the other.

    Where the system cannot do that (other systems than Linux, some file systems), there is an instant without either; what
    goes wrong then, a kill apart, brings the old one back.

    Parameters
    ----------
    fresh, home, stale : the new folder; its place, where the old one may be; where nothing is. All on one file system. The
        old folder is at `fresh` or `stale` afterwards.

    Raises
    ------
    OSError
        It cannot be done; the old folder is in its place.
    """
    if not home.exists():
        fresh.rename(home)
    elif not _swap(fresh, home):
        try:
            home.rename(stale)
            fresh.rename(home)
        except BaseException:  # Ctrl-C included
            if stale.exists() and not home.exists():
                stale.rename(home)
            raise
    sync_folder(home.parent)


def _swap(one: Path, other: Path) -> bool:
    """Let two folders exchange their names, and tell whether the system can: ``renameat2`` of Linux."""
    system = ctypes.CDLL(None, use_errno=True)
    if not hasattr(system, "renameat2"):
        return False
    if system.renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(number, os.strerror(number), str(other))


def replace(files: dict[Path, bytes]) -> None:
    """Write files beside their names, bring them to the disk, and only then give them their names, in the order given.

    Whatever happens on the way, each file is its old self or its new one, and nothing else is left behind but by a kill.

    Raises
    ------
    OSError
        A file cannot be written; as long as that happens before the first renaming, all are as they were.
    """
    beside = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in files}
    try:
        for path, content in files.items():
            write(beside[path], content)
        for path, scratch in beside.items():
            scratch.replace(path)
        for folder in {path.parent for path in files}:
            sync_folder(folder)
    finally:
        for scratch in beside.values():
            with suppress(OSError):  # what went wrong before is what matters
                scratch.unlink(missing_ok=True)


def tidy(folder: Path) -> None:
    """Remove what `replace` left in a folder when it was killed; a folder that is not there is tidy."""
    for path in folder.glob(".*"):
        if _BESIDE.fullmatch(path.name):
            path.unlink(missing_ok=True)


def parquet(table: "pd.DataFrame | pa.Table") -> bytes:
    """Return a table as Parquet, without its index: the same table gives the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not isinstance(table, pa.Table):
        table = pa.Table.from_pandas(table, preserve_index=False)
    numbers = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(None),
        sink,
        compression="zstd",
        compression_level=19,
        # A zoo has five hundred columns: what is said of each of them takes a tenth of the file, and nothing here reads it.
        write_statistics=False,
        store_schema=False,
        # Measurements hardly repeat; what their first bytes share is found when these stand together.
        use_dictionary=[name for name in table.column_names if name not in numbers],
        use_byte_stream_split=numbers,
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content
