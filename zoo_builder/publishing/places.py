"""Where published files are: in a folder, or in a dataset repository of the Hugging Face Hub.

What is read there is a file of a few megabytes as a whole, or a part of a large one, and nothing else.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from mdbench import files
from mdbench.errors import MdbenchError, reason
from mdbench.paths import cache_home
from zoo_builder.publishing.card import CARD, UNFINISHED
from zoo_builder.publishing.shards import INDEX, shard_path

_CHUNK: Final = 2**22  # bytes
#: Bytes of the largest file that is read as a whole.
LARGEST: Final = 2**30
#: The same of the list of a repository's files.
_LARGEST_LISTING: Final = 2**26
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
        from huggingface_hub import constants

        self.name = self._repository = name
        url = f"{constants.ENDPOINT}/api/datasets/{name}" + (
            f"/revision/{quote(revision, safe='')}" if revision else ""
        )
        with self._asking(f"revision {revision}" if revision else "the repository"):
            with self._answer(f"{url}?blobs=true") as answer:
                content = b""
                for piece in answer.iter_bytes():
                    content += piece
                    if len(content) > _LARGEST_LISTING:
                        raise MdbenchError(f"{name}: the list of its files has more than {_LARGEST_LISTING} bytes")
            said = json.loads(content)
            commit, self._sizes = (
                said.get("sha"),
                {one["rfilename"]: int(one.get("size") or 0) for one in said["siblings"]},
            )
        if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise MdbenchError(f"{name}: the Hub does not say which commit {revision or 'the newest'} is")
        self.commit = commit

    def zoos(self) -> list[str]:
        """Return the names of the zoos whose networks are there."""
        return _zoos(self._sizes)

    def file(self, path: str) -> Path:
        """Download a file, unless it was before, and return where it is: a folder of the cache for every commit."""
        size = self._size(path)
        _check_size(self.name, path, size)
        to = cache_home() / "hub" / self._repository.replace("/", "--") / self.commit / path
        with self._asking(path):
            if not (to.is_file() and to.stat().st_size == size):
                to.parent.mkdir(parents=True, exist_ok=True)
                files.replace({to: b"".join(self.read(path, 0, size))})
        return to

    def read(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield what is in a file from a position to before another; the rest is not transferred."""
        from huggingface_hub import hf_hub_url

        size, left = self._size(path), stop - start
        if stop > size:
            raise MdbenchError(f"{self.name}: {path} has {size} bytes there, {stop - size} fewer than it should")
        if not left:
            return
        url = hf_hub_url(self._repository, path, repo_type="dataset", revision=self.commit)
        ranged = {} if left == size else {"Range": f"bytes={start}-{stop - 1}"}
        with self._asking(path), self._answer(url, **ranged) as answer:
            # A server, or a proxy before it, may ignore ranges: what comes before ours is then dropped as it arrives.
            position = _first_byte(answer, start, size, f"{self.name}: {path}")
            for piece in answer.iter_bytes():
                own = piece[max(0, start - position) :][:left]
                position, left = position + len(piece), left - len(own)
                if own:
                    yield own
                if not left:
                    return
            raise MdbenchError(f"{self.name}: {path} ends {left} bytes too early; the same again may help")

    def _size(self, path: str) -> int:
        """Return how many bytes a file has, by the list of the repository's files."""
        if path not in self._sizes:
            raise MdbenchError(f"{self.name} has no file {path}")
        return self._sizes[path]

    @staticmethod
    @contextmanager
    def _answer(url: str, **headers: str) -> Iterator[Any]:
        """Ask for something, and give the answer as it arrives. Who asks is said to the Hub alone, and to no other host."""
        from huggingface_hub import constants

        client: Any = import_module("huggingface_hub.utils")  # which does not say what it exports
        # What is compressed on the way has no positions, and no bound.
        headers = {**client.build_hf_headers(), **headers, "Accept-Encoding": "identity"}
        # The client retries what a server refuses for the moment; once an answer has begun, it must not begin again.
        patience: dict[str, Any] = {
            "timeout": constants.HF_HUB_DOWNLOAD_TIMEOUT,
            "max_retries": _RETRIES,
            "retry_on_exceptions": (),
        }
        with client.http_stream_backoff("GET", url, headers=headers, **patience) as answer:
            client.hf_raise_for_status(answer)
            yield answer

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
        It is neither; a folder is unfinished, or asked for a revision; what `Repository` raises.
    """
    if Path(source).is_dir():
        if revision is not None:
            raise MdbenchError(f"{source} is a folder, which has no revisions; leave {revision!r} out")
        card = Path(source, CARD)
        if card.is_file() and card.read_bytes() == UNFINISHED.encode():
            raise MdbenchError(
                f"{source} is unfinished: publishing it was stopped; the same `mdbench zoo publish` goes on"
            )
        return Folder(Path(source))
    name = str(source).removeprefix("hf:")
    if isinstance(source, Path) or not _REPOSITORY.fullmatch(name):
        raise MdbenchError(f"{source} is neither a folder here, nor ORG/NAME of a dataset on the Hugging Face Hub")
    return Repository(name, revision)


def _zoos(paths: Iterable[str]) -> list[str]:
    """Return the zoos of which an index is among these paths."""
    return sorted(found[1] for path in paths if (found := _AN_INDEX.fullmatch(path)))


def _first_byte(answer: Any, start: int, size: int, where: str) -> int:
    """Return the position of an answer's first byte.

    Parameters
    ----------
    answer, where : the answer, and of what.
    start : the position that was asked for.
    size : bytes of the whole file, as the list of files has it.
    """
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise MdbenchError(f"{where} comes compressed, although that was declined; a proxy on the way may do that")
    if answer.status_code != 206:
        whole = answer.headers.get("content-length", str(size))
        first = 0
    else:
        said = re.match(r"bytes (\d{1,20})-\d{1,20}/(\d{1,20}|\*)$", answer.headers.get("content-range", ""))
        if not said or int(said[1]) != start:
            raise MdbenchError(f"{where}: bytes from {start} on were asked for, others came; the same again may help")
        whole = str(size) if said[2] == "*" else said[2]
        first = start
    if whole != str(size):
        raise MdbenchError(
            f"{where} has {whole[:20]} bytes where it comes from, and {size} in the repository's list of files"
        )
    return first


def _check_size(name: str, path: str, size: int) -> None:
    if size > LARGEST:
        raise MdbenchError(f"{name}: {path} has {size} bytes, more than any such file")
