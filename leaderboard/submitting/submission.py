"""From a method's file to an entry: the method is run as it will be when the entry is verified, and its folder is written."""

import errno
import hashlib
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import typer
from pydantic import ValidationError

from leaderboard.entry import (
    ENTRY,
    METHOD,
    MOST_SEALED,
    PREDICTIONS,
    REQUIRED,
    REQUIREMENTS,
    SELECTIONS,
    Dataset,
    Entry,
    Exam,
    File,
    MethodFile,
    Timings,
    check,
    check_among,
    check_method,
    check_requirements,
    families_of,
    read_entries,
    resembling,
    sealed_file,
    sheet_of,
    slug_of,
)
from leaderboard.paths import ENTRIES, sealed_home
from leaderboard.sealing import Part, answer, sealed_zoos
from mdbench import files
from mdbench.cases import load_cases
from mdbench.cli import progress_bar
from mdbench.errors import MdbenchError, reason
from mdbench.methods import CORES, TIMEOUT, find_method
from mdbench.scoring import Environment, Evaluated, Failure, Progress, evaluated
from mdbench.showing import say, show_failures
from mdbench.tables import Zoo, find_zoo

_SCRATCH: Final = ".submitting-"
_STALE: Final = 24 * 3600  # seconds after which nobody is writing there any more


class UnansweredError(MdbenchError):
    """The method failed on some of the cases.

    Attributes
    ----------
    failures : which, and why.
    """

    def __init__(self, failures: Sequence[Failure]) -> None:
        first = failures[0]
        where = f" on {first.case}" if first.case else ""
        super().__init__(f"nothing was written: the method fails{where}: {first.reason}")
        self.failures = failures


def submit(
    method: str | Path,
    *,
    name: str,
    authors: Sequence[str],
    entries: Path,
    paper: str | None = None,
    requirements: Path | None = None,
    supersedes: str | None = None,
    selections: Sequence[str] | None = None,
    sealed: Sequence[Path] | None = None,
    workers: int = CORES,
    timeout: float = TIMEOUT,
    sandbox: bool = True,
    gone: Collection[str] = (),
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Run a method on the cases of the board, and write an entry for it: whole or not at all.

    Parameters
    ----------
    method : its file, or the name of one.
    name, authors, paper, supersedes : see `leaderboard.entry.Entry`.
    requirements : file of what it needs more than mdbench does.
    entries : folder of the entries; made where it is missing.
    selections : what is answered, `leaderboard.entry.REQUIRED` in any case; None for that, and for the published cases
        where their zoos are on this machine.
    sealed : public parts of sealed zoos, to be answered too; None for all that are in ``sealed`` beside `entries`.
    workers, timeout, sandbox, progress : see `mdbench.scoring.evaluation.Asking`.
    gone : entries that were removed from the board, which stand in nobody's way.
    say : called with what is worth knowing.

    Returns
    -------
    The entry's folder. If this very submission is there already, its folder, and nothing is run.

    Raises
    ------
    MdbenchError
        Something that was given cannot be used, an entry of that name is there, or the method fails: then an
        `UnansweredError`. Nothing is written.
    """
    if not authors:
        raise MdbenchError("--authors: say who made it")
    if entries.exists() and not entries.is_dir():
        raise MdbenchError(f"{entries} is no folder; --entries says where the entries are to be")
    source = _source(method)
    contents = {METHOD: source}
    if requirements is not None:
        contents[REQUIREMENTS] = _read(requirements)
        check_requirements(contents[REQUIREMENTS], str(requirements))
    chosen = _selections(selections)
    known = {slug: entry for slug, entry in read_entries(entries).items() if slug not in gone}
    said = {"name": name, "authors": tuple(authors), "paper": paper, "supersedes": supersedes, "selections": chosen}
    parts = _parts(sealed, entries)
    draft = _draft(entries, known, contents, said, parts)
    if draft.slug in known:
        say(f"{entries / draft.slug} is this submission already: nothing was run")
        for zoo in sorted(parts.keys() - draft.sealed.keys()):
            say(f"it does not answer {zoo}; if its method can, submit it with --supersedes {draft.slug}")
        return entries / draft.slug
    for other in resembling(draft, known):
        say(f"look: the name {name!a} is close to {other.name!a} of {other.slug}; maintainers will be told")
    exam = Exam.of(chosen)
    with tempfile.TemporaryDirectory(prefix="mdbench-submission-") as alone:
        # What runs is what will be run when the entry is verified: the method's file, and nothing beside it.
        file = Path(alone, METHOD)
        file.write_bytes(source)
        how: dict[str, Any] = {"workers": workers, "timeout": timeout, "sandbox": sandbox, "progress": progress}
        found = evaluated([file], [one.rows.case for one in exam.posed.values()], _zoos(exam), cache=False, **how)
        if found.result.failures:
            raise UnansweredError(found.result.failures)
        if not found.answers:
            raise MdbenchError("nothing was written: the method answers none of the tasks of the board")
        on_sealed = {}
        for part in parts.values():
            answered = answer(file, part.folder, **how)
            if answered.content is not None:
                on_sealed[answered.sealed.name] = answered.content
            for task, why in answered.left_out.items():
                say(f"{answered.sealed.name}: {task} is left out: {why}")
    folder = _write(entries, draft.slug, _contents(draft, found, exam, contents, on_sealed), exam)
    for written in sorted(folder.iterdir()):
        say(f"wrote {written}")
    return folder


def command(
    method: str,
    *,
    name: str,
    authors: Sequence[str],
    paper: str | None,
    requirements: Path | None,
    supersedes: str | None,
    selections: str | None,
    sealed: Sequence[Path] | None,
    entries: Path,
    pr: str | None,
    workers: int,
    timeout: float,
    sandbox: bool,
    gone: Collection[str] = (),
) -> None:
    """Write an entry, open a pull request where that is wanted, and say what comes next."""
    try:
        with progress_bar("nothing was written") as progress:
            folder = submit(
                method,
                name=name,
                authors=_listed(authors),
                paper=paper,
                requirements=requirements,
                supersedes=supersedes,
                selections=_listed([selections]) if selections else None,
                sealed=sealed,
                entries=entries,
                workers=workers,
                timeout=timeout,
                sandbox=sandbox,
                gone=gone,
                progress=progress,
                say=say,
            )
    except UnansweredError as error:
        show_failures(error.failures)
        say("nothing was written: an entry answers every case of its tasks")
        raise typer.Exit(2) from error
    if pr is None:
        elsewhere = "" if entries == ENTRIES else f" --entries {shlex.quote(str(entries))}"
        say(f"verify it:  mdbench leaderboard verify {folder.name}{elsewhere}")
        say(f"submit it:  commit {folder} and open a pull request; docs/submitting.md says how")
        return
    from leaderboard.submitting.pull_request import open_pull_request

    try:
        say(f"opened {open_pull_request(folder, pr)}")
    except KeyboardInterrupt:
        typer.echo(f"stopped; {folder} is written, and the same command opens the pull request", err=True)
        raise typer.Exit(130) from None


def _listed(texts: Sequence[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def _source(method: str | Path) -> bytes:
    """Return the text of a method's file, with the ends of its lines as everywhere."""
    path = find_method(str(method))
    source = _read(path).removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    check_method(source, str(path))
    return source


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MdbenchError(f"{path} cannot be read: {reason(error)}") from error


def _selections(wanted: Sequence[str] | None) -> tuple[str, ...]:
    if wanted is None:
        return (REQUIRED, "paper") if _at_hand("paper") else (REQUIRED,)
    unknown = [name for name in wanted if name not in SELECTIONS]
    if unknown:
        raise MdbenchError(f"an entry cannot answer {unknown[0]!r}; there are {', '.join(SELECTIONS)}")
    return tuple(name for name in SELECTIONS if name == REQUIRED or name in wanted)


def _at_hand(selection: str) -> bool:
    """Tell whether all zoos of a selection are on this machine."""
    try:
        for zoo in sorted({zoo for case in load_cases(selection) for zoo in case.zoos}):
            find_zoo(zoo, of_case=True)
    except MdbenchError:
        return False
    return True


def _parts(sealed: Sequence[Path] | None, entries: Path) -> dict[str, Part]:
    """Return the sealed zoos that are to be answered, by their names.

    Raises
    ------
    MdbenchError
        One is damaged; two have one name; they are more than an entry answers.
    """
    if sealed is None:
        found = sealed_zoos(sealed_home(entries))
    else:
        parts = [Part.read(folder) for folder in sealed]
        found = {part.sealed.name: part for part in parts}
        if len(found) < len(parts):
            raise MdbenchError("--sealed: two of these sealed zoos have one name")
    if len(found) > MOST_SEALED:
        raise MdbenchError(
            f"an entry answers at most {MOST_SEALED} sealed zoos, and there are {len(found)}; --sealed says which"
        )
    return found


def _draft(
    entries: Path,
    known: Mapping[str, Entry],
    contents: Mapping[str, bytes],
    said: Mapping[str, Any],
    sealed: Mapping[str, Part],
) -> Entry:
    """Return the entry as far as it is known before anything is run; or the one that is there, if it is this submission.

    It is where it answers no other sealed zoos: of those that are asked, a method need not answer all.

    Raises
    ------
    MdbenchError
        It is not what an entry has to be, or cannot stand among the others.
    """
    slugs = (slug_of(said["name"], number) or "x" for number in count(1))
    slug = next(slug for slug in slugs if said["supersedes"] is None or not _is_there(entries / slug))
    given_files = {name: _file(content) for name, content in contents.items()}
    here = Environment.here()
    try:
        draft = Entry(
            slug=slug,
            **said,
            method=MethodFile(sha256=given_files[METHOD].sha256, track="inductive", zero_shot=False),
            requirements=given_files.get(REQUIREMENTS),
            predictions=File(sha256="0" * 64),
            columns={},
            families=(),
            seeds=(),
            dataset=Dataset(version=here.mdbench, zoos={}, splits={}),
            environment=here,
            timings=Timings(fit_seconds=0, predict_seconds=0),
        )
    except ValidationError as error:
        detail = error.errors()[0]
        raise MdbenchError(f"--{detail['loc'][0]}: {detail['msg'].removeprefix('Value error, ')}") from error

    def given(entry: Entry) -> tuple[object, ...]:
        return *(getattr(entry, key) for key in said), entry.method.sha256, entry.requirements

    same = next(
        (one for one in known.values() if given(one) == given(draft) and one.sealed.keys() <= sealed.keys()), None
    )
    if same is not None:
        return same
    if _is_there(entries / slug):
        raise MdbenchError(
            f"{entries / slug} is there, and entries are never changed; a new version of it is submitted with "
            f"--supersedes {slug}, anything else under another name"
        )
    check_among(draft, known)
    return draft


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _zoos(exam: Exam) -> dict[str, tuple[Path, Zoo]]:
    """Return the zoos of an exam, which are loaded already: name → folder and zoo."""
    return {
        zoo.name: (folder, zoo)
        for one in exam.posed.values()
        for zoo, folder in zip(one.zoos, one.folders, strict=True)
    }


def _contents(
    draft: Entry, found: Evaluated, exam: Exam, given: Mapping[str, bytes], sealed: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Return the files of an entry, name → what it holds: those that were given, and those that come of them."""
    (method,) = found.result.methods
    answers = {case: answer for (_, case), answer in found.answers.items()}
    columns: dict[str, dict[str, None]] = {}
    for case, one in exam.posed.items():
        if case in answers:
            columns.setdefault(one.rows.task.name, {}).update(dict.fromkeys(answers[case].columns))
    seen = {task: tuple(names) for task, names in columns.items()}
    sheet = sheet_of(exam, exam.cases(draft.selections, seen))
    predictions = sheet.write({case: answer.predicted for case, answer in answers.items()})
    entry = draft.model_copy(
        update={
            "method": MethodFile(sha256=draft.method.sha256, track=method.track, zero_shot=method.zero_shot),
            "predictions": _file(predictions),
            "sealed": {zoo: _file(content) for zoo, content in sealed.items()},
            "columns": seen,
            "families": families_of(seen),
            "seeds": sheet.seeds,
            "dataset": sheet.dataset,
            "timings": Timings(
                fit_seconds=round(sum(sum(answer.fit_seconds) for answer in answers.values()), 3),
                predict_seconds=round(sum(sum(answer.predict_seconds) for answer in answers.values()), 3),
            ),
        }
    )
    return {
        **given,
        **{sealed_file(zoo): content for zoo, content in sealed.items()},
        PREDICTIONS: predictions,
        ENTRY: (entry.model_dump_json(indent=2) + "\n").encode(),
    }


def _file(content: bytes) -> File:
    return File(sha256=hashlib.sha256(content).hexdigest())


def _write(entries: Path, slug: str, contents: Mapping[str, bytes], exam: Exam) -> Path:
    """Write an entry's folder: whole and checked, or not at all; one that is there stays as it is."""
    try:
        entries.mkdir(parents=True, exist_ok=True)
        _tidy(entries)
        with tempfile.TemporaryDirectory(dir=entries, prefix=_SCRATCH) as scratch:
            fresh, home = Path(scratch, slug), entries / slug
            fresh.mkdir()
            for name, content in contents.items():
                files.write(fresh / name, content)
            files.sync_folder(fresh)
            check(fresh, exam)
            fresh.rename(home)
            files.sync_folder(entries)
    except OSError as error:
        why = "it is there by now" if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR) else reason(error)
        raise MdbenchError(f"cannot write {entries / slug}: {why}; nothing was written") from error
    return home


def _tidy(entries: Path) -> None:
    """Remove what was left by a submission that was killed."""
    for scratch in entries.glob(f"{_SCRATCH}*"):
        with suppress(FileNotFoundError):
            if time.time() - scratch.stat().st_mtime > _STALE:
                shutil.rmtree(scratch, ignore_errors=True)
