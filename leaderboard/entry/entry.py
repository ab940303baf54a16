"""An entry: what a submission says of itself, ``entry.json``. Its scores are not there: they are computed from predictions.

An entry is a folder: ``entry.json``, ``method.py``, ``predictions.parquet`` and, where the method needs more than mdbench
does, ``requirements.txt``; ``sealed-NAME.parquet`` where it answers a sealed zoo. The JSON Schema is
``docs/entry.schema.json``, written by ``python -m leaderboard.entry.entry``.
"""

import json
import re
import sys
import unicodedata
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from mdbench.methods import Track
from mdbench.scoring import Environment

FORMAT: Final = 1
ENTRY: Final = "entry.json"
METHOD: Final = "method.py"
REQUIREMENTS: Final = "requirements.txt"
PREDICTIONS: Final = "predictions.parquet"
#: Columns of ``predictions.parquet``.
PREDICTION_COLUMNS: Final = ("case", "seed", "row", "predicted")
#: What every entry answers, and what it may answer besides: selections of ``cases.toml``.
REQUIRED: Final = "core"
SELECTIONS: Final = (REQUIRED, "paper", "bundled")
#: Sealed zoos that an entry answers at most.
MOST_SEALED: Final = 10
#: Seconds that an entry's method can have taken: thirty years.
_LONGEST: Final = 1e9
#: Signs that look like others, and digits that are read as letters inside words: no two names may differ by these alone.
_ALIKE: Final = str.maketrans("01i5|2346789", "ollslzeagtbq")
#: Words that are the board's to say, without what a skeleton leaves out.
_OURS: Final = ("verified", "reproduced", "self-reported", "rejected", "official")

#: Kinds of signs that cannot be seen, or turn what is around them over: control, formatting, and what is nobody's.
_UNSEEN_KINDS: Final = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
#: Letters, marks and symbols that show nothing: Unicode's ``Default_Ignorable_Code_Point`` that is of no such kind (variation
#: selectors, fillers), and blanks. A byte can be hidden in each.
_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U00016fe4\U0001d159\U000e0000-\U000e0fff]"
)

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]


def check_name(name: str) -> str:
    """Return a method's name as it is, if it can stand on a board.

    Raises
    ------
    ValueError
        It holds something else than ASCII letters, digits, spaces and ``_ - + . ( )``, or no letter: names must be told apart
        by eye, and letters of other scripts look like these. It says of itself what only the board can say.
    """
    for sign in name:
        if not re.fullmatch(r"[A-Za-z0-9 _+.()-]", sign):
            called = unicodedata.name(sign, f"U+{ord(sign):04X}")
            raise ValueError(
                f"{sign!a} ({called}) cannot stand in a name: ASCII letters, digits, spaces and _ - + . ( ) can"
            )
    if not re.search(r"[A-Za-z]", name) or name != name.strip():
        raise ValueError("a name has a letter, and no space at its ends")
    for word in _OURS:
        if skeleton(word) in skeleton(name):
            raise ValueError(f"{word!r} is a word of the board, which says itself of what it is true")
    return name


def unseen(text: str) -> set[str]:
    """Return the signs of a text that cannot be seen, or turn what is around them over; ends of lines and tabs among them."""
    return {sign for sign in set(text) if unicodedata.category(sign) in _UNSEEN_KINDS or _UNSEEN.match(sign)}


def check_text(text: str) -> str:
    """Return a text as it is, if all of it can be seen, and it has no space at its ends.

    Raises
    ------
    ValueError
        It holds signs that are `unseen`, or that Unicode does not know yet.
    """
    hidden = unseen(text)
    for sign in text:
        if sign in hidden or unicodedata.category(sign) == "Cn":
            raise ValueError(f"U+{ord(sign):04X} cannot stand in a text: it cannot be seen")
    if text != text.strip():
        raise ValueError("there is a space at its ends")
    return text


@lru_cache(maxsize=4096)
def skeleton(name: str) -> str:
    """Return what names that look alike have in common: no case, spaces or signs; 0 is o, 1 and i are l, 3 is e and so on."""
    return re.sub(r"[^a-z0-9]", "", name.lower().translate(_ALIKE).replace("rn", "m").replace("vv", "w")) or name


def slug_of(name: str, number: int = 1) -> str:
    """Return a name as it stands in addresses and names of folders: lower case, words joined by ``-``.

    Parameters
    ----------
    name : the name.
    number : which entry of that name; from the second on it stands behind the name.
    """
    tail = f"-{number}" if number > 1 else ""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[: 60 - len(tail)].strip("-") + tail


def sealed_file(name: str) -> str:
    """Return the name of the file that holds an entry's predictions on a sealed zoo."""
    return f"sealed-{name}.parquet"


Name = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(check_name)]
Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(check_text)]
Link = Annotated[str, Field(pattern=r"^https://[A-Za-z0-9.-]+(:[0-9]+)?(/[!-~]*)?$", max_length=300)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(_Strict):
    """A file of the entry."""

    sha256: Sha256


class MethodFile(File):
    """The method's file, and what the method says of itself."""

    track: Track
    zero_shot: bool


class Dataset(_Strict):
    """The data that was answered for.

    Attributes
    ----------
    version : of mdbench, which the data comes with.
    zoos : name → digest, see `mdbench.tables.Zoo.digest`.
    splits : case → one digest a seed, see `mdbench.cases.CaseRows.digests`.
    """

    version: str = Field(max_length=40)
    zoos: dict[str, Sha256]
    splits: dict[str, tuple[Sha256, ...]]


class Timings(_Strict):
    """Seconds of all cases and seeds together, on the submitter's machine."""

    fit_seconds: float = Field(ge=0, le=_LONGEST, allow_inf_nan=False)
    predict_seconds: float = Field(ge=0, le=_LONGEST, allow_inf_nan=False)


class Entry(_Strict):
    """A submission.

    Attributes
    ----------
    slug : name of its folder, and of its page.
    name : what the board calls it.
    supersedes : slug of an earlier entry that this one takes the place of; that one is kept.
    sealed : name of a sealed zoo → the predictions on it, in ``sealed-NAME.parquet``.
    selections : what was answered; `REQUIRED` is among them. A method need not answer every task.
    columns : task → the columns it was given, all cases together.
    families : families of these columns.
    seeds : seeds of the training samples, over all cases.
    """

    format: Literal[1] = FORMAT
    slug: Slug
    name: Name
    authors: tuple[Text, ...] = Field(min_length=1, max_length=50)
    paper: Link | None = None
    supersedes: Slug | None = None
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    method: MethodFile
    requirements: File | None = None
    predictions: File
    sealed: dict[Slug, File] = Field(default={}, max_length=MOST_SEALED)
    selections: tuple[Literal[SELECTIONS], ...]  # type: ignore[valid-type]
    columns: dict[str, tuple[str, ...]]
    families: tuple[str, ...]
    seeds: tuple[int, ...]
    dataset: Dataset
    environment: Environment
    timings: Timings

    @model_validator(mode="after")
    def _check(self) -> "Entry":
        if REQUIRED not in self.selections:
            raise ValueError(f"selections: {REQUIRED!r} is not among them")
        if self.supersedes == self.slug:
            raise ValueError("supersedes: an entry cannot take its own place")
        return self


def json_schema() -> str:
    """Return the JSON Schema of ``entry.json``."""
    return json.dumps(Entry.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())
