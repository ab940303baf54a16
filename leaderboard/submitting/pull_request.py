"""An entry as a pull request to a data set repository on the Hugging Face Hub.

Where the Hub is and who asks is the client's to know (``HF_ENDPOINT``, ``HF_TOKEN``, ``hf auth login``).
"""

from pathlib import Path
from typing import Final

from huggingface_hub import CommitOperationAdd, HfApi, get_token

from mdbench.errors import MdbenchError
from mdbench.hub import asking

#: Where entries are in a repository.
ENTRIES: Final = "leaderboard/entries"
_AGAIN: Final = "the same command opens it"
_ADVICE: Final = {
    403: "may your token write (`hf auth whoami`)? If not: `hf auth login`",
    404: "is there such a data set repository, and may you see it?",
}


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
    unheard = f"See that it is not among the discussions of {repo}, then {_AGAIN}"
    with asking(f"no pull request was opened to {repo}", again=_AGAIN, unheard=unheard, advice=_ADVICE):
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
