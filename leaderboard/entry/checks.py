"""What can be checked of an entry without running it. A folder is hostile until all of this has been said of it."""

import errno
import hashlib
import os
import re
import stat
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from pydantic import ValidationError

from leaderboard.entry import plain_json
from leaderboard.entry.entry import (
    ENTRY,
    FORMAT,
    METHOD,
    PREDICTIONS,
    REQUIREMENTS,
    Dataset,
    Entry,
    sealed_file,
    skeleton,
    slug_of,
    unseen,
)
from leaderboard.entry.exam import Exam
from leaderboard.entry.refused import Refused
from leaderboard.entry.sheet import sheet_of
from mdbench.errors import MdbenchError, reason
from mdbench.methods import syntax_tree
from mdbench.scoring import Environment
from mdbench.tables import COLUMNS, check_visible

__all__ = [
    "Checked",
    "Refused",
    "check",
    "check_among",
    "check_method",
    "check_names",
    "line",
    "read_entries",
    "read_entry",
    "resembling",
]

#: File → the bytes that it may have.
LARGEST: Final = {ENTRY: 2**20, METHOD: 2**18, REQUIREMENTS: 2**16, PREDICTIONS: 2**26}
#: The same of a file of predictions on a sealed zoo.
_LARGEST_SEALED: Final = 2**21
#: Packages that an environment names at most.
_PACKAGES: Final = 100
#: Signs of a name that is looked for within others.
_A_WORD: Final = 4
#: Signs of the longest text that an environment holds.
_LONGEST: Final = 200


@dataclass(frozen=True)
class Checked:
    """An entry that is what it has to be.

    Attributes
    ----------
    entry : what it says of itself.
    predicted : case → places in the task's classes, int8, shape (seeds, test rows), test rows in the zoo's order.
    source, requirements : text of the method's file, and of its requirements; None where it has none.
    entry_sha256 : digest of its ``entry.json``.
    sealed : name of a sealed zoo → the file of the predictions on it, of which only the digest is checked.
    """

    entry: Entry
    predicted: Mapping[str, np.ndarray]
    source: str
    requirements: str | None
    entry_sha256: str
    sealed: Mapping[str, bytes] = field(default_factory=dict)


def check(folder: Path, exam: Exam, *, rescored: bool = False) -> Checked:
    """Check everything about an entry that can be seen without running it, and without the other entries.

    Parameters
    ----------
    folder : the entry.
    exam : what it has to answer.
    rescored : whether the ledger says that it was scored anew: the data may have changed since it was made. Rows that are no
        longer asked for are then passed over.

    Raises
    ------
    Refused
        It is not what it has to be.
    MdbenchError
        It answers a selection that is not in the exam.
    """
    with _opened(folder) as (handle, names):
        content = _content(handle, ENTRY, names)
        entry = _entry(content, folder.name)
        wanted = {METHOD: entry.method.sha256, PREDICTIONS: entry.predictions.sha256}
        wanted |= {sealed_file(name): file.sha256 for name, file in entry.sealed.items()}
        if entry.requirements:
            wanted[REQUIREMENTS] = entry.requirements.sha256
        for name in sorted(names - {ENTRY, *wanted}):
            why = (
                f"{ENTRY} says nothing of it" if name in LARGEST else f"an entry has {', '.join(LARGEST)} and no other"
            )
            raise Refused("file", f"{name[:80]!a} does not belong into the entry: {why}")
        files = {name: _content(handle, name, names) for name in wanted}
    for name, sha256 in wanted.items():
        if hashlib.sha256(files[name]).hexdigest() != sha256:
            raise Refused("digest", f"{name} is not the file that {ENTRY} describes (SHA-256 differs)")
    source = check_method(files[METHOD], METHOD)
    requirements = check_requirements(files[REQUIREMENTS], REQUIREMENTS) if entry.requirements else None
    _check_columns(entry)
    sheet = sheet_of(exam, exam.cases(entry.selections, entry.columns))
    for task in entry.columns:
        if not any(exam.posed[case].rows.task.name == task for case in sheet.cases):
            raise Refused("columns", f"{ENTRY}: columns: no case of its selections asks {task!a}")
    if not rescored:
        _check_dataset(entry.dataset, sheet.dataset)
    if entry.seeds != sheet.seeds and not (rescored and set(entry.seeds) > set(sheet.seeds)):
        raise Refused("seeds", f"{ENTRY}: seeds are not those of its cases, {', '.join(map(str, sheet.seeds))}")
    predicted = sheet.read(files[PREDICTIONS], more=rescored)
    sealed = {name: files[sealed_file(name)] for name in entry.sealed}
    return Checked(entry, predicted, source, requirements, hashlib.sha256(content).hexdigest(), sealed)


def read_entry(folder: Path) -> Entry:
    """Return what an entry says of itself; nothing else of it is looked at.

    Raises
    ------
    Refused
        The folder or its ``entry.json`` is not what it has to be.
    """
    with _opened(folder) as (handle, names):
        return _entry(_content(handle, ENTRY, names), folder.name)


def read_entries(entries: Path) -> dict[str, Entry]:
    """Return the entries in a folder that can be read, slug → entry, in the order of their slugs."""
    found = {}
    for folder in sorted(entries.glob("[!.]*/")):
        try:
            found[folder.name] = read_entry(folder)
        except Refused:
            continue
    return found


def check_names(entries: Mapping[str, Entry]) -> None:
    """Check that entries can stand beside each other; see `check_among`."""
    for entry in entries.values():
        check_among(entry, entries)


def check_among(entry: Entry, entries: Mapping[str, Entry]) -> None:
    """Check that an entry can stand among others.

    Parameters
    ----------
    entry : the entry.
    entries : slug → entry; it may be among them.

    Raises
    ------
    Refused
        It supersedes an entry that is not there, that none of its authors made, or that another one supersedes; its name
        looks like that of an entry, or its method's file is that of one, that neither supersedes the other.
    """
    earlier = line(entry, entries)
    if entry.slug in earlier:
        raise Refused("supersedes", f"{ENTRY}: supersedes: {entry.supersedes} supersedes it, or one that does")
    if entry.supersedes is not None:
        old = entries.get(entry.supersedes)
        if old is None:
            raise Refused("supersedes", f"{ENTRY}: supersedes: there is no entry {entry.supersedes}")
        if not set(entry.authors) & set(old.authors):
            raise Refused(
                "supersedes", f"{ENTRY}: supersedes: {old.slug} is by {', '.join(old.authors)}, and by nobody of this"
            )
        for other in entries.values():
            if other.supersedes == old.slug and other.slug != entry.slug:
                raise Refused(
                    "supersedes", f"{ENTRY}: supersedes: {old.slug} is superseded by {other.slug}; name that one"
                )
    for slug, other in entries.items():
        alike = skeleton(other.name) == skeleton(entry.name)
        copied = other.method.sha256 == entry.method.sha256
        if not (alike or copied) or slug in (entry.slug, *earlier) or entry.slug in line(other, entries):
            continue
        if alike:
            raise Refused(
                "look-alike", f"{ENTRY}: name {entry.name!a} looks like {other.name!a} ({slug}); choose another"
            )
        raise Refused("copy", f"{METHOD} is that of {slug}, to the letter; say --supersedes {slug} where it is yours")


def resembling(entry: Entry, entries: Mapping[str, Entry]) -> list[Entry]:
    """Return the entries, of none of its line, whose name is one sign from an entry's, holds it, or is within it.

    Such a name may be honest, so that it is not refused; somebody should look at it.
    """
    mine, own = skeleton(entry.name), {entry.slug, *line(entry, entries)}
    return [
        other
        for slug, other in entries.items()
        if slug not in own and entry.slug not in line(other, entries) and _close(mine, skeleton(other.name))
    ]


def _close(one: str, other: str) -> bool:
    """Tell whether one text holds the other, or a sign was left out, put in, changed, or changed places with the next."""
    short, long = sorted((one, other), key=len)
    if len(short) >= _A_WORD and short in long:
        return True
    changed = short + " " * (len(long) - len(short))
    first = next((at for at, (a, b) in enumerate(zip(changed, long, strict=True)) if a != b), len(long))
    behind = long[first + 1 :]
    swapped = short[first : first + 2][::-1] + short[first + 2 :]
    return behind in (short[first + 1 :], short[first:]) or swapped == long[first:]


def line(entry: Entry, entries: Mapping[str, Entry]) -> set[str]:
    """Return the entries that an entry supersedes, and those that these do."""
    line: set[str] = set()
    slug = entry.supersedes
    while slug is not None and slug not in line:
        line.add(slug)
        slug = entries[slug].supersedes if slug in entries else None
    return line


def check_method(content: bytes, what: str) -> str:
    """Return the text of a method's file, which is not run.

    Raises
    ------
    Refused
        It is too large, no text, or no Python.
    """
    _check_size(len(content), LARGEST[METHOD], what)
    source = _text(content, what)
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = syntax_tree(source)
    except SyntaxError as error:
        raise Refused("python", f"{what}, line {error.lineno}: syntax error: {error.msg}") from error
    except (RecursionError, MemoryError, ValueError) as error:
        raise Refused("python", f"{what} cannot be parsed: {reason(error)}") from error
    if not tree.body:
        raise Refused("python", f"{what} is empty")
    return source


def check_requirements(content: bytes, what: str) -> str:
    """Return the text of a file of requirements.

    Raises
    ------
    Refused
        It is too large, or a line is not the name of a package with its versions.
    """
    _check_size(len(content), LARGEST[REQUIREMENTS], what)
    text = _text(content, what)
    for number, said in requirement_lines(text):
        try:
            wanted = Requirement(said)
            wrong = "a package comes from the index, not from an address" if wanted.url else None
            if wanted.marker is not None:
                wanted.marker.evaluate()
        except (InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName, RecursionError, ValueError):
            wrong = "a line is the name of a package with its versions, as in scikit-learn>=1.5; options are not"
        if wrong:
            raise Refused("requirements", f"{what}, line {number}: {said[:60]!a}: {wrong}")
    return text


def requirement_lines(text: str) -> list[tuple[int, str]]:
    """Return the lines of a file of requirements that say something, each with its number, without comments."""
    lines = ((number, re.sub(r"(^|\s)#.*", "", line).strip()) for number, line in enumerate(text.split("\n"), 1))
    return [(number, said) for number, said in lines if said]


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[int, set[str]]]:
    """Open a folder and list it."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", folder.name):
        raise Refused(
            "slug", f"a folder cannot be called {folder.name[:80]!a}: lower-case letters, digits and - can stand there"
        )
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        why = "it is a link" if folder.is_symlink() else reason(error)
        raise Refused("folder", f"{folder.name} is not a folder that can be read: {why}") from error
    try:
        with os.scandir(handle) as there:
            names = {one.name for _, one in zip(range(100), there, strict=False)}
        if len(names) == 100:
            raise Refused("file", f"{folder.name} holds a hundred files or more; an entry has {', '.join(LARGEST)}")
        yield handle, names
    except OSError as error:
        raise Refused("folder", f"{folder.name} cannot be read: {reason(error)}") from error
    finally:
        os.close(handle)


def _content(folder: int, name: str, names: set[str]) -> bytes:
    """Return what an ordinary file in an open folder holds, within its bounds."""
    if name not in names:
        raise Refused("missing file", f"{name} is missing")
    try:
        # A link is not followed, and nobody waits for what is at the other end of a pipe.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else reason(error)
        raise Refused("file", f"{name} is no ordinary file that can be read: {why}") from error
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise Refused("file", f"{name} is no ordinary file")
        most = LARGEST.get(name, _LARGEST_SEALED)
        _check_size(about.st_size, most, name)
        with os.fdopen(handle, "rb", closefd=False) as file:
            content = file.read(most + 1)
        _check_size(len(content), most, name)  # it may grow while it is read
    finally:
        os.close(handle)
    return content


def _check_size(size: int, most: int, what: str) -> None:
    if size > most:
        raise Refused("size", f"{what} is larger than {most:,} bytes")


@lru_cache(maxsize=1024)  # a board reads each twice: for what it answers, and to check it
def _entry(content: bytes, folder: str) -> Entry:
    try:
        said = plain_json.read(content)
    except ValueError as error:
        raise Refused("json", f"{ENTRY}: {error}") from error
    newer = said.get("format") if isinstance(said, dict) else None
    if isinstance(newer, int) and newer > FORMAT:
        raise Refused("format", f"{ENTRY}: format {newer} is newer than this mdbench knows ({FORMAT}); upgrade it")
    _check_texts(said)
    try:
        entry = Entry.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]["loc"][:1]
        kind = str(first[0]) if first in (("name",), ("slug",)) else "schema"
        raise Refused(kind, f"{ENTRY}: {_plain(reason(error))}") from error
    _check_environment(entry.environment)
    if entry.slug != folder:
        raise Refused("slug", f"{ENTRY}: slug {entry.slug} is not the name of its folder, {folder[:80]!a}")
    tail = re.search(r"-([1-9][0-9]{0,5})$", entry.slug)
    own = {slug_of(entry.name)} | ({slug_of(entry.name, int(tail[1]))} if tail and entry.supersedes else set())
    if entry.slug not in own:
        raise Refused(
            "slug", f"{ENTRY}: slug {entry.slug} does not fit the name {entry.name!a}: {slug_of(entry.name)} does"
        )
    if entry.created > datetime.now(UTC) + timedelta(days=1):
        raise Refused("date", f"{ENTRY}: created {entry.created:%Y-%m-%d} is in the future")
    return entry


def _plain(text: str) -> str:
    """Return a message as it can be shown: of bounded length, and without signs that look like others."""
    return text.replace("Value error, ", "").encode("ascii", "backslashreplace").decode()[:300]


def _check_texts(said: Any) -> None:
    """Make sure that what a submitter wrote can be seen: all of it is shown on the board."""
    texts, waiting = [], [said]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, str):
            texts.append(one)
    for sign in sorted(unseen("".join(texts))):
        raise Refused("text", f"{ENTRY}: U+{ord(sign):04X} cannot stand in a text: it cannot be seen")


def _check_environment(said: Environment) -> None:
    """Make sure that what an entry says of its machine, all of which stands on its page, is of bounded length."""
    if len(said.packages) > _PACKAGES:
        raise Refused(
            "size", f"{ENTRY}: environment: {len(said.packages):,} packages; {_PACKAGES} at most can be named"
        )
    for text in (
        said.mdbench,
        said.python,
        said.platform,
        said.revision or "",
        *said.packages,
        *said.packages.values(),
    ):
        if len(text) > _LONGEST:
            raise Refused("size", f"{ENTRY}: environment: {text[:40]!a}… has {len(text):,} signs, more than {_LONGEST}")


def _text(content: bytes, what: str) -> str:
    """Return a text of which everything can be seen."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("text", f"{what} is no text in UTF-8 (byte {error.start})") from error
    for sign in sorted(unseen(text) - {"\n", "\t"}):
        line = text[: text.index(sign)].count("\n") + 1
        raise Refused("text", f"{what}, line {line}: U+{ord(sign):04X} cannot stand in a text: it cannot be seen")
    return text


def _check_columns(entry: Entry) -> None:
    if not entry.columns:
        raise Refused("columns", f"{ENTRY}: columns: it answers no task")
    transductive = entry.method.track == "transductive"
    for task, columns in entry.columns.items():
        try:
            check_visible(columns, transductive=transductive)
        except MdbenchError as error:
            raise Refused("columns", f"{ENTRY}: columns: {task[:40]!a}: {_plain(str(error))}") from error
        if len(set(columns)) < len(columns):
            raise Refused("columns", f"{ENTRY}: columns: {task[:40]!a}: one stands there twice")
    families = families_of(entry.columns)
    if entry.families != families:
        said = ", ".join(families) or "none"
        raise Refused("columns", f"{ENTRY}: families are not those of its columns ({said})")


def families_of(columns: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the families of the columns that a method is given, task → columns, in the order of their names."""
    return tuple(sorted({COLUMNS[name].family.value for names in columns.values() for name in names}))


def _check_dataset(said: Dataset, exam: Dataset) -> None:
    for part, ours, theirs in (("zoo", exam.zoos, said.zoos), ("case", exam.splits, said.splits)):
        for name in sorted(set(ours) | set(theirs)):
            if ours.get(name) != theirs.get(name):
                what = "is not part of what it answers" if name not in ours else "is not recorded"
                if name in ours and name in theirs:
                    what = "is not the one that is asked here" if part == "zoo" else "has other rows here"
                raise Refused(
                    "dataset",
                    f"{ENTRY}: dataset: {part} {name[:80]!a} {what}: the entry was made with mdbench {said.version!a}, and "
                    f"this is {exam.version}; submit it again with this one",
                )
