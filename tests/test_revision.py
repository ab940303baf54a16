import shutil
import subprocess
from pathlib import Path

import pytest

from mdbench import revision


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def working_copy(tmp_path, monkeypatch) -> Path:
    """A working copy that holds a package with this module."""
    folder = tmp_path / "copy"
    (folder / "mdbench").mkdir(parents=True)
    (folder / "mdbench/__init__.py").write_text("")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=one")
    monkeypatch.setattr(revision, "__file__", str(folder / "mdbench/revision.py"))
    return folder


def test_the_revision_is_that_of_the_commit_and_says_what_is_uncommitted(working_copy):
    head = git(working_copy, "rev-parse", "HEAD").strip()
    assert revision.own_revision() == revision.git_revision(working_copy) == head
    (working_copy / "mdbench/__init__.py").write_text("changed\n")
    assert revision.own_revision() == f"{head}+"


def test_a_package_installed_inside_a_working_copy_is_not_of_it(working_copy, monkeypatch):
    shutil.copytree(working_copy / "mdbench", working_copy / "site-packages/mdbench")
    monkeypatch.setattr(revision, "__file__", str(working_copy / "site-packages/mdbench/revision.py"))
    assert revision.own_revision() is None


def test_elsewhere_there_is_none(tmp_path):
    assert revision.git_revision(tmp_path) is None
