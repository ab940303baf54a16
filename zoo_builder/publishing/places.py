"""Where published files are: in a folder, or in a dataset repository of the Hugging Face Hub.

What is read there is a file of a few megabytes as a whole, or a part of a large one, and nothing else.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

from mdbench.errors import MdbenchError, reason
from zoo_builder.publishing.shards import INDEX, shard_path

_CHUNK: Final = 2**22  # bytes
#: Bytes of the largest file that is read as a whole.
LARGEST: Final = 2**30
_REPOSITORY: Final = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}")
_AN_INDEX: Final = re.compile(re.escape(shard_path("ZOO", INDEX)).replace("ZOO", "([a-z0-9][a-z0-9._-]{0,79})"))
#: Patience with a server, in attempts: after failures it is waited for 1, 2 and 4 seconds.
_RETRIES: Final = 3


class Place(Protocol):
    """A place.

    Attributes
    ----------
    name : for messages.
    """

    name: str

    def zoos(self) -> list[str]:
        """Return the names of the zoos whose networks are there."""

    def file(self, path: str) -> Path:
        """Return a file as a whole, on this machine. Files of one folder are in one folder there too."""

    def read(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield what is in a file from a position to before another, piece by piece; all of it, or an error."""


class Folder:
    """A folder on this machine."""

    def __init__(self, folder: Path) -> None:
        self.name, self._folder = str(folder), folder

    def zoos(self) -> list[str]:
        """Return the names of the zoos whose networks are there."""
        return _zoos(path.relative_to(self._folder).as_posix() for path in self._folder.glob(shard_path("*", INDEX)))

    def file(self, path: str) -> Path:
        """Return where a file is."""
        with self._reading(path):
            _check_size(self.name, path, (self._folder / path).stat().st_size)
        return self._folder / path

    def read(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield what is in a file from a position to before another."""
        with self._reading(path), (self._folder / path).open("rb") as file:
            file.seek(start)
            while start < stop:
                piece = file.read(min(_CHUNK, stop - start))
                if not piece:
                    raise MdbenchError(
                        f"{self.name}/{path} ends at byte {start}, {stop - start} too early; get it anew"
                    )
                start += len(piece)
                yield piece

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MdbenchError(f"{self._folder / path} cannot be read: {reason(error)}") from error


class Repository:
    """A dataset repository of the Hugging Face Hub, at one commit.

    Raises
    ------
    MdbenchError
        There is no such repository or revision, or none for this user; the Hub cannot be reached.
    """

    def __init__(self, name: str, revision: str | None = None) -> None:
        from huggingface_hub import HfApi

        self.name = self._repository = name
        with self._asking(f"revision {revision}" if revision else "the repository"):
            info = HfApi().dataset_info(name, revision=revision, files_metadata=True)
        if not re.fullmatch(r"[0-9a-f]{40}", info.sha or ""):
            raise MdbenchError(f"{name}: the Hub does not say which commit {revision or 'the newest'} is")
        self.commit = str(info.sha)
        self._sizes = {one.rfilename: one.size or 0 for one in info.siblings or ()}

    def zoos(self) -> list[str]:
        """Return the names of the zoos whose networks are there."""
        return _zoos(self._sizes)

    def file(self, path: str) -> Path:
        """Download a file, unless it was before, and return where it is."""
        from huggingface_hub import hf_hub_download

        _check_size(self.name, path, self._sizes.get(path, 0))
        with self._asking(path):
            return Path(hf_hub_download(self._repository, path, repo_type="dataset", revision=self.commit))

    def read(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield what is in a file from a position to before another; the rest is not transferred."""
        from huggingface_hub import constants, hf_hub_url

        client: Any = import_module("huggingface_hub.utils")  # which does not say what it exports

        url = hf_hub_url(self._repository, path, repo_type="dataset", revision=self.commit)
        # What is compressed on the way has no positions.
        headers = {**client.build_hf_headers(), "Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        # The client retries what a server refuses for the moment; once an answer has begun, it must not begin again.
        patience: dict[str, Any] = {
            "timeout": constants.HF_HUB_DOWNLOAD_TIMEOUT,
            "max_retries": _RETRIES,
            "retry_on_exceptions": (),
        }
        with self._asking(path), client.http_stream_backoff("GET", url, headers=headers, **patience) as answer:
            client.hf_raise_for_status(answer)
            # A server, or a proxy before it, may ignore ranges: what comes before ours is then dropped as it arrives.
            position, left = _first_byte(answer, start, f"{self.name}: {path}"), stop - start
            for piece in answer.iter_bytes():
                own = piece[max(0, start - position) :][:left]
                position, left = position + len(piece), left - len(own)
                if own:
                    yield own
                if not left:
                    return
            raise MdbenchError(f"{self.name}: {path} ends {left} bytes too early; the same again may help")

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        from huggingface_hub import errors

        try:
            yield
        except MdbenchError:
            raise
        except errors.RevisionNotFoundError as error:
            raise MdbenchError(f"{self.name} has no {what}; give a branch, a tag or a commit") from error
        except errors.RepositoryNotFoundError as error:
            raise MdbenchError(
                f"{self.name} is no dataset repository on the Hugging Face Hub, or not one that you may read; "
                "check the name, and `hf auth login` where it is not public"
            ) from error
        except errors.RemoteEntryNotFoundError as error:
            raise MdbenchError(f"{self.name} has no file {what}") from error
        except errors.HfHubHTTPError as error:
            raise MdbenchError(f"{self.name}: {what} cannot be read from the Hub: {reason(error)}") from error
        except Exception as error:
            raise MdbenchError(
                f"{self.name}: {what} cannot be fetched from the Hugging Face Hub ({reason(error)}); "
                "is the network there? What is fetched already is kept"
            ) from error


def place(source: str | Path, revision: str | None = None) -> Place:
    """Return the place that a source means: a folder that is there, or ORG/NAME on the Hub.

    Parameters
    ----------
    source : the folder, or ORG/NAME; ``hf:ORG/NAME`` where a folder has that name.
    revision : branch, tag or commit on the Hub; its newest state if left out.

    Raises
    ------
    MdbenchError
        It is neither; a folder is asked for a revision; what `Repository` raises.
    """
    if Path(source).is_dir():
        if revision is not None:
            raise MdbenchError(f"{source} is a folder, which has no revisions; leave {revision!r} out")
        return Folder(Path(source))
    name = str(source).removeprefix("hf:")
    if isinstance(source, Path) or not _REPOSITORY.fullmatch(name):
        raise MdbenchError(f"{source} is neither a folder here, nor ORG/NAME of a dataset on the Hugging Face Hub")
    return Repository(name, revision)


def _zoos(paths: Iterable[str]) -> list[str]:
    """Return the zoos of which an index is among these paths."""
    return sorted(found[1] for path in paths if (found := _AN_INDEX.fullmatch(path)))


def _first_byte(answer: Any, start: int, where: str) -> int:
    """Return the position of an answer's first byte."""
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise MdbenchError(f"{where} comes compressed, although that was declined; a proxy on the way may do that")
    if answer.status_code != 206:
        return 0
    said = re.match(r"bytes (\d{1,20})-", answer.headers.get("content-range", ""))
    if not said or int(said[1]) != start:
        raise MdbenchError(f"{where}: bytes from {start} on were asked for, others came; the same again may help")
    return start


def _check_size(name: str, path: str, size: int) -> None:
    if size > LARGEST:
        raise MdbenchError(f"{name}: {path} has {size} bytes, more than any such file")
