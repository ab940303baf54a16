"""An entry as a pull request to a data set repository on the Hugging Face Hub.

Where the Hub is and who asks is the client's to know (``HF_ENDPOINT``, ``HF_TOKEN``, ``hf auth login``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from mdbench.errors import MdbenchError, reason

#: Where entries are in a repository.
ENTRIES: Final = "leaderboard/entries"


def open_pull_request(folder: Path, repo: str) -> str:
    """Open an entry as a pull request: with all of its files or not at all.

    Parameters
    ----------
    folder : the entry.
    repo : ``ORG/NAME``, a data set repository. Nobody need own it to open a pull request.

    Returns
    -------
    The address of the pull request.

    Raises
    ------
    MdbenchError
        The repository has an entry of this name, or the Hub does not do what it is asked.
    """
    home = f"{ENTRIES}/{folder.name}"
    with _asking(repo):
        if get_token() is None:
            raise MdbenchError("the Hub does not know who you are; log in with `hf auth login`, or set HF_TOKEN")
        api = HfApi()
        if api.get_paths_info(repo, [home], repo_type="dataset"):
            raise MdbenchError(
                f"{repo} has an entry {folder.name} already, and entries are never changed; a new version of it is "
                f"submitted with --supersedes {folder.name}, anything else under another name"
            )
        files = [CommitOperationAdd(f"{home}/{file.name}", file) for file in sorted(folder.iterdir())]
        commit = api.create_commit(
            repo, files, commit_message=f"Entry {folder.name}", repo_type="dataset", create_pr=True
        )
    return str(commit.pr_url)


@contextmanager
def _asking(repo: str) -> Iterator[None]:
    """Stand around what is asked of the Hub: where it fails, say what to do about it.

    Raises
    ------
    MdbenchError
        It failed.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, httpx2.HTTPError) as error:
        # The client says of a large file which one it was, and of what happened to it that it was the cause.
        cause = error.__cause__ if type(error) is RuntimeError and error.__cause__ else error
        raise MdbenchError(f"no pull request was opened to {repo}: {_said(cause)}; {_advice(cause, repo)}") from error


def _said(error: BaseException) -> str:
    """Return in one line what went wrong."""
    if isinstance(error, HfHubHTTPError):
        return f"the Hub answers {error.response.status_code} ({' '.join((error.server_message or '').split())})"
    return " ".join(str(error).split()) if isinstance(error, ValueError) else reason(error)


def _advice(error: BaseException, repo: str) -> str:
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status == 401:
            return "log in with `hf auth login`, or set HF_TOKEN to a token that is valid"
        if status == 403:
            return "may your token write (`hf auth whoami`)? If not: `hf auth login`"
        if status == 404:
            return "is there such a data set repository, and may you see it?"
        if status == 429 or status >= 500:
            return "later, the same command opens it"
    if isinstance(error, HFValidationError):
        return "a repository is called ORGANISATION/NAME"
    if isinstance(error, OfflineModeIsEnabled):
        return "unset HF_HUB_OFFLINE"
    if isinstance(error, (httpx2.TransportError, ConnectionError, TimeoutError)):
        return f"is there a network? See that it is not among the discussions of {repo}, then the same command opens it"
    return "once that is mended, the same command opens it"
