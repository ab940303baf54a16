"""A folder as a dataset repository on the Hugging Face Hub, whose versions are tags.

A version is one commit, which is there whole or not at all. That is why the client's `create_commit` sends it, and not
`upload_folder`, which cuts a large folder into several commits where it has Xet. Large files go first, and those that arrived
are not sent again: whatever stops an upload, the same command goes on from there.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoFile, get_token

from mdbench.errors import MdbenchError
from mdbench.hub import asking
from mdbench.tables import sha256_of
from zoo_builder.publishing.card import is_card

#: What in a repository is ours, and goes when it is no longer in the folder; everything else there stays.
OWN: Final = ("README.md", "croissant.json", "data/", "figures/", "checkpoints/")
_CARD: Final = "README.md"
_LARGEST_CARD: Final = 2**24  # bytes
_AGAIN: Final = "the same command goes on from there"
_ADVICE: Final = {
    **dict.fromkeys(
        (402, 403, 404), "is it yours to write, and may the token write (`hf auth whoami`)? If not: `hf auth login`"
    ),
    **dict.fromkeys((409, 412), "it has changed meanwhile: the same command looks anew"),
}


def upload(
    folder: Path,
    repo: str,
    *,
    tag: str,
    message: str,
    private: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> str:
    """Upload a folder as a version of a dataset. What is there already is not sent again, and tags are never moved.

    Where the Hub is and who asks is the client's to know (``HF_ENDPOINT``, ``HF_TOKEN``, ``hf auth login``).

    Parameters
    ----------
    folder : what to upload: its README.md and what else is a dataset's; other files stay where they are.
    repo : ``ORG/NAME``, made where there is none.
    tag : the version's name.
    message : the commit's.
    private : whether nobody else may see the repository. One that is private already stays so in any case.
    say : called with what is worth knowing: that nothing was to be done.

    Returns
    -------
    The address of the tagged revision.

    Raises
    ------
    MdbenchError
        The folder is no dataset, the repository is another one, the tag means another content, or the Hub does not do what it
        is asked. Without the tag, the repository is as it was, or has all of the new content as its latest commit.
    """
    files = _files(folder)
    with asking(f"cannot upload to {repo}", again=_AGAIN, unheard=f"Once there is, {_AGAIN}", advice=_ADVICE):
        if get_token() is None:
            raise MdbenchError("the Hub does not know who you are; log in with `hf auth login`, or set HF_TOKEN")
        api = HfApi()
        made = api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        name, address = made.repo_id, f"{made}/tree/{quote(tag, safe='')}"
        before = api.dataset_info(name)
        if private and not before.private:
            raise MdbenchError(f"{name} is public; make it private in its settings first, or upload it as what it is")
        if any(one.name == tag for one in api.list_repo_refs(name, repo_type="dataset").tags):
            if other := _difference(files, _tree(api, name, tag)):
                raise MdbenchError(
                    f"{name} has a {tag} already, which differs in {other}; versions stay what they are: choose another"
                )
            say(f"{name} has this as version {tag} already: nothing to do")
            return address
        there = _tree(api, name, before.sha)
        _check(api, name, before.sha, there)
        gone = [path for path in there if _is_own(path) and path not in files]
        commit = api.create_commit(
            name,
            [
                *(CommitOperationDelete(path, is_folder=False) for path in gone),
                *(CommitOperationAdd(path, file) for path, file in files.items()),
            ],
            commit_message=message,
            repo_type="dataset",
            parent_commit=before.sha,
        )
        if commit.oid == before.sha:
            say(f"{name} has these files already; its latest commit becomes version {tag}")
        api.create_tag(name, tag=tag, revision=commit.oid, repo_type="dataset")
    return address


def _files(folder: Path) -> dict[str, Path]:
    """Return what is to be uploaded, path in the repository → file: the dataset's, and nothing else that lies there."""
    found = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {
        path.as_posix(): file
        for path, file in found.items()
        if _is_own(path.as_posix()) and not any(part.startswith(".") for part in path.parts)
    }
    if _CARD not in files:
        raise MdbenchError(f"{folder} is no dataset: it has no README.md; publish zoos into a folder, and upload that")
    return files


def _tree(api: HfApi, name: str, revision: str | None) -> dict[str, RepoFile]:
    """Return the files of a revision by their paths."""
    entries = api.list_repo_tree(name, recursive=True, revision=revision, repo_type="dataset")
    return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}


def _check(api: HfApi, name: str, revision: str | None, there: dict[str, RepoFile]) -> None:
    """Make sure that a repository is new, or holds a dataset of zoos: in any other, what is there would be lost."""
    card = there.get(_CARD)
    if card and card.size <= _LARGEST_CARD:
        path = Path(api.hf_hub_download(name, _CARD, repo_type="dataset", revision=revision))
        if is_card(path.read_text(encoding="utf-8", errors="replace")):
            return
    if set(there) - {".gitattributes"}:
        raise MdbenchError(
            f"{name} is there, and its {_CARD} is not the card of a dataset of zoos; choose another name"
        )


def _is_own(path: str) -> bool:
    return any(path == own or (own.endswith("/") and path.startswith(own)) for own in OWN)


def _difference(files: dict[str, Path], there: dict[str, RepoFile]) -> str | None:
    """Return the first path whose content is not what the Hub has; `None` where all are."""
    ours = {path for path in there if _is_own(path)}
    for path in sorted(ours | set(files)):
        if path not in files or path not in there or not _is(files[path], there[path]):
            return path
    return None


def _is(file: Path, there: RepoFile) -> bool:
    """Tell whether a file is what the Hub has: by its SHA-256 where it is a large one, otherwise as git names it."""
    if file.stat().st_size != there.size:
        return False
    if there.lfs:
        return sha256_of(file) == there.lfs.sha256
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == there.blob_id
