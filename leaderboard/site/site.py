"""The site: a folder of static pages, which works from a disk, as GitHub Pages and as a static Space of Hugging Face."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import resources
from pathlib import Path
from shutil import copytree
from typing import Final

import typer

from leaderboard.ranking import MARKDOWN, STANDINGS, Board, assemble, markdown, no_collection, summarised
from leaderboard.site.pages import Pages
from mdbench import files
from mdbench.errors import MdbenchError, reason

#: What tells a folder of ours from any other.
MARKER: Final = ".mdbench-leaderboard"
_SAYS: Final = "Written by `mdbench leaderboard build`, which replaces this folder when it is run again.\n"
#: What a static Space is told of itself.
_SPACE: Final = """\
---
title: mdbench leaderboard
colorFrom: blue
colorTo: gray
sdk: static
pinned: false
license: mit
---

"""


def build(board: Board, out: Path) -> None:
    """Write the site into a folder: whole or not at all. What a build wrote there before is replaced.

    Of a link, what it points to is replaced. Beside the pages are ``leaderboard.json``, ``LEADERBOARD.md`` and, for a Space,
    ``README.md``. The same board gives the same bytes.

    Raises
    ------
    MdbenchError
        The folder holds something else, or cannot be written.
    """
    if out.is_symlink():  # what it points to is replaced, and the link stays
        out = out.resolve()
    if out.exists() and not (out / MARKER).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise MdbenchError(f"{out} exists and is not a site of the leaderboard; move it away, or name another folder")
    with _blaming(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
            fresh, stale = Path(scratch, "fresh"), Path(scratch, "stale")
            with no_collection():
                _write(board, fresh)
            files.exchange(fresh, out, stale)


@contextmanager
def _blaming(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MdbenchError(f"cannot write the site to {out}: {reason(error)}") from error


def _write(board: Board, folder: Path) -> None:
    with resources.as_file(resources.files("leaderboard.site").joinpath("assets")) as assets:
        copytree(assets, folder / "assets")
    table = markdown(board)
    for name, text in (
        *Pages(board),
        (STANDINGS, summarised(board).model_dump_json() + "\n"),
        (MARKDOWN, table),
        ("README.md", _SPACE + table),
        (MARKER, _SAYS),
        (".nojekyll", ""),  # GitHub Pages would run the pages through a generator of its own
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def command(*, out: Path, as_of: datetime | None, entries: Path) -> None:
    """Draw the board of a folder of entries, as it was on a date where one is given.

    Raises
    ------
    MdbenchError
        The entries or their ledger cannot be read, or the site cannot be written.
    """
    board = assemble(entries, as_of=as_of)
    build(board, out)
    typer.echo(
        f"{out / 'index.html'}: {len(board.rows):,} entries, {len(board.exam.posed):,} cases, as of {board.as_of:%Y-%m-%d}"
    )
