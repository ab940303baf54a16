"""Scores of methods on cases, written as a document.

RESULTS.md     the tables, in Markdown
RESULTS.png    zoos that nobody trained on, and the selection `core`, drawn
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdbench import files
from mdbench.cases import load_cases
from mdbench.errors import MdbenchError
from mdbench.methods import TIMEOUT, named_methods
from mdbench.scoring import Evaluated, Progress, Result, evaluated
from mdbench.showing import plots
from mdbench.showing.document import MARK, PARTS, compose, panels_of
from mdbench.showing.means import sees


@dataclass(frozen=True)
class Tabulated:
    """What `tabulate` wrote.

    Attributes
    ----------
    paths : the files, the document last; there is no figure where no case of `core` was answered.
    result : the scores that stand in it.
    """

    paths: tuple[Path, ...]
    result: Result


def tabulate(
    methods: Any = None,
    cases: str | Sequence[str] | None = None,
    out: str | os.PathLike[str] = "results.md",
    *,
    samples: int | None = None,
    command: str | None = None,
    workers: int = 0,
    timeout: float = TIMEOUT,
    cache: bool = True,
    strict: bool = False,
    progress: Progress | None = None,
) -> Tabulated:
    """Score methods on cases and write the scores as Markdown, with intervals and a figure.

    Parameters
    ----------
    methods : one or several of: the name of a method, the path of a method file, an object or class that is a method; None
        for all that `mdbench methods` lists.
    cases : the parts of the document, each a selection, a task, a sweep, a case or a pattern, as `mdbench cases` lists them;
        None for `PARTS`.
    out : document to write, .md; its figure stands beside it. What this command wrote there before is replaced.
    samples : how many of a case's training samples are learned from, the first ones, for a quick look; None for all.
    command : what the document says that it was made by; None for this call.
    workers : processes to run method files in. 0 runs them in this one, without a time limit; objects always run here.
    timeout : seconds a method may take for one case, with workers.
    cache : whether answers given before, by the same source to the same case, are used and new ones kept.
    strict : whether a method that cannot be loaded ends everything, before any is asked; otherwise it is a failure.
    progress : called with the number of answers there and wanted, after every answer.

    Raises
    ------
    MdbenchError
        There is no such case; none can be posed; two methods share a name; the document cannot be written, see
        `check_replaceable`.
    """
    path = Path(out)
    everybody = list(named_methods()) if methods is None else methods
    parts = PARTS if cases is None else (cases,) if isinstance(cases, str) else tuple(cases)
    wanted = [case.first(samples) for case in load_cases(parts)]
    check_replaceable(path)
    found = evaluated(
        everybody, wanted, workers=workers, timeout=timeout, cache=cache, strict=strict, progress=progress
    )
    made_by = command or f"mdbench.tabulate({methods!r}, {cases!r}, {str(out)!r}, samples={samples!r})"
    return Tabulated(tuple(write(found, parts, made_by, path)), found.result)


def check_replaceable(out: Path) -> None:
    """Check that a document can be written under a name, before any work is done for it.

    Raises
    ------
    MdbenchError
        The name does not end in ``.md``; the folder is not there; something that is no such document is in the way.
    """
    if out.suffix != ".md":
        raise MdbenchError(f"{out}: the name of the document ends in .md")
    if not out.parent.is_dir():
        raise MdbenchError(f"{out}: there is no folder {out.parent}")
    if out.exists() or out.with_suffix(".png").exists():
        try:
            ours = out.read_text(encoding="utf-8").startswith(MARK)
        except (OSError, UnicodeDecodeError):
            ours = False
        if not ours:
            raise MdbenchError(f"{out} or its figure exists and was not written by this command; choose another --out")


def write(found: Evaluated, parts: Sequence[str], command: str, out: Path) -> list[Path]:
    """Write the document and its figure.

    Parameters
    ----------
    found, parts, command : see `compose`.
    out : the document; the figure stands beside it under the same name. Both are replaced whole, the document last.

    Returns
    -------
    What was written. There is no figure where no case of `core` was answered.

    Raises
    ------
    MdbenchError
        See `check_replaceable`; or a file cannot be written.
    """
    check_replaceable(out)
    picture = out.with_suffix(".png")
    panels = panels_of(found)
    text = compose(found, parts, command, picture.name if panels else None)
    written = {out: text.encode()}
    if panels:
        with tempfile.TemporaryDirectory() as scratch:
            drawn = Path(scratch, picture.name)
            plots.save(plots.scores_by_panel(panels, sees(found)), drawn)
            written = {picture: drawn.read_bytes(), **written}
    try:
        files.replace(written)
    except OSError as error:
        raise MdbenchError(f"cannot write {out}: {error.strerror or error}") from error
    return list(written)
