"""Which state of a source, by Git, is at work."""

import subprocess
from pathlib import Path


def git_revision(folder: Path) -> str | None:
    """Return the revision of the working copy that a folder is in; + marks uncommitted changes. None where there is none."""
    return _git(folder, "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*")


def own_revision() -> str | None:
    """Return the revision of mdbench itself, as `git_revision` says it; None where it does not run from a working copy.

    A package that is installed inside some other working copy is not of that one: Git must know the file.
    """
    folder = Path(__file__).parent
    return git_revision(folder) if _git(folder, "ls-files", "--error-unmatch", "__init__.py") else None


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        said = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return said.strip() or None
