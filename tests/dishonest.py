"""An honest entry, and what somebody might hand in instead: each with the kind of refusal that it has to meet.

The exam is a small one of three cases on two toy zoos of 156 configurations, of which the honest method answers two.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import toy

from leaderboard.entry.exam import Exam
from mdbench.cases.cases import Case
from mdbench.paths import zoo_home
from mdbench.scoring.evaluation import evaluated
from mdbench.scoring.results import Environment

METHOD = '''\
"""Above the median of the training error of one verdict, or below it."""

columns = {task: ["train_error", "log_hessian_trace"] for task in ("optimizer", "width_vs_optimizer")}


class MedianRule:
    def fit(self, models, labels, task):
        self.classes = task.classes
        self.median = models["train_error"].median()

    def predict(self, models):
        return [self.classes[int(error > self.median)] for error in models["train_error"]]
'''
#: Does the same, and is not the same file.
OTHER = METHOD.replace("MedianRule", "Middle")
#: Says the same of every row.
CONSTANT = METHOD.replace("int(error > self.median)", "0")
NAME, SLUG = "Median rule", "median-rule"
BYSTANDER = "bystander"


def case(task: str, seeds: tuple[int, ...] = (42, 90)) -> Case:
    return Case(
        name=f"own/{task}/few-shot/3",
        sweep=f"own/{task}/few-shot",
        task=task,
        train="own",
        test="own-too",
        scenario="few-shot",
        about="BUDGET random cells",
        sample="cells",
        knobs=("data_fraction", "width"),
        budget=3,
        seeds=seeds,
    )


def small_exam(home: Path) -> Exam:
    """Pose an exam whose zoos are saved below a folder; the widths of the two differ, and so do their labels."""
    with patch.dict(os.environ, {"MDBENCH_HOME": str(home)}):
        for name, widths in (("own", (2, 8, 32)), ("own-too", (3, 11, 45))):
            if not (zoo_home() / name).exists():
                toy.own_zoo(name, widths=widths, fractions=(10, 60)).save(zoo_home() / name)
        cases = [case("optimizer"), case("width_vs_optimizer", (42, 7, 18)), case("data_vs_optimizer")]
        return Exam.posing({"core": cases, "bundled": cases[:1]})


def honest(entries: Path, exam: Exam, name: str = NAME, method: str = METHOD, **more: Any) -> Path:
    """Write an honest entry, by the plain ways of pandas and pyarrow."""
    slug = name.lower().replace(" ", "-")
    folder = entries / slug
    folder.mkdir(parents=True)
    (folder / "method.py").write_text(method)
    zoos = {zoo.name: (at, zoo) for one in exam.posed.values() for zoo, at in zip(one.zoos, one.folders, strict=True)}
    found = evaluated([folder / "method.py"], [one.rows.case for one in exam.posed.values()], zoos, cache=False)
    scores = {score.case: score for score in found.result.scores}
    answered = {name: one for name, one in exam.posed.items() if name in scores}
    columns = {one.rows.task.name: list(scores[name].columns) for name, one in answered.items()}
    record = exam.dataset
    entry = {
        "format": 1,
        "slug": slug,
        "name": name,
        "authors": ["Ada Lovelace"],
        "paper": "https://example.org/paper",
        "created": "2026-01-02T03:04:05Z",
        "method": {"sha256": "", "track": "inductive", "zero_shot": False},
        "predictions": {"sha256": ""},
        "selections": ["core"],
        "columns": columns,
        "families": ["landscape"],
        "seeds": [7, 18, 42, 90],
        "dataset": {
            "version": record.version,
            "zoos": dict(record.zoos),
            "splits": {name: list(record.splits[name]) for name in answered},
        },
        "environment": Environment.here().model_dump(),
        "timings": {"fit_seconds": 0.5, "predict_seconds": 0.25},
        **more,
    }
    (folder / "entry.json").write_text(json.dumps(entry))
    write_table(folder, found.result.predictions[["case", "seed", "row", "predicted"]])
    return folder


# --- tools ------------------------------------------------------------------------------------------------------------


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def describe(folder: Path) -> None:
    """Make the digests in entry.json those of the files."""
    entry = read(folder)
    for key, name in (
        ("method", "method.py"),
        ("predictions", "predictions.parquet"),
        ("requirements", "requirements.txt"),
    ):
        if (folder / name).is_file():
            entry[key] = (entry.get(key) or {}) | {"sha256": sha256(folder / name)}
    (folder / "entry.json").write_text(json.dumps(entry))


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "entry.json").read_text())


def table(folder: Path) -> pd.DataFrame:
    return pq.read_table(folder / "predictions.parquet").to_pandas().astype({"case": str, "row": str, "predicted": str})


def write_table(folder: Path, what: pd.DataFrame | pa.Table, **how: Any) -> None:
    if isinstance(what, pd.DataFrame):
        what = pa.Table.from_pandas(what, preserve_index=False)
    pq.write_table(what, folder / "predictions.parquet", **{"compression": "none", **how})
    describe(folder)


@dataclass(frozen=True)
class Trick:
    """A submission that must not get on the board, or gains nothing there.

    Attributes
    ----------
    name : what it is.
    kind : of the refusal; None where only running the method tells: the verdict is then ``rejected``, or where it is
        `harmless` what the method is worth, whatever was sent.
    play : turns the folder of an honest entry into it; returns another folder where it is that.
    """

    name: str
    kind: str | None
    play: Callable[[Path], Path | None]
    harmless: bool = False


#: Tricks with predictions that were sent, which are not what is scored.
HARMLESS = ("every tenth row flipped", "one row flipped", "every row flipped", "predictions of another method")
TRICKS: list[Trick] = []


def trick(kind: str | None, name: str = "") -> Callable[[Callable[[Path], Path | None]], Callable[[Path], Path | None]]:
    def add(play: Callable[[Path], Path | None]) -> Callable[[Path], Path | None]:
        called = name or play.__name__.replace("_", " ")
        TRICKS.append(Trick(called, kind, play, harmless=called in HARMLESS))
        return play

    return add


def with_entry(kind: str, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """A trick that changes what entry.json says."""

    @trick(kind, name)
    def play(folder: Path) -> None:
        entry = read(folder)
        change(entry)
        (folder / "entry.json").write_text(json.dumps(entry, ensure_ascii=False))


def with_text(kind: str, name: str, change: Callable[[str], str | bytes]) -> None:
    """A trick that changes the text of entry.json."""

    @trick(kind, name)
    def play(folder: Path) -> None:
        said = change((folder / "entry.json").read_text())
        (folder / "entry.json").write_bytes(said if isinstance(said, bytes) else said.encode())


def with_method(kind: str | None, name: str, change: Callable[[str], str | bytes]) -> None:
    """A trick that changes the method's file, and the digest with it."""

    @trick(kind, name)
    def play(folder: Path) -> None:
        said = change((folder / "method.py").read_text())
        (folder / "method.py").write_bytes(said if isinstance(said, bytes) else said.encode())
        describe(folder)


def with_requirements(kind: str, name: str, text: str | bytes) -> None:
    """A trick with a file of requirements."""

    @trick(kind, name)
    def play(folder: Path) -> None:
        (folder / "requirements.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        describe(folder)


def with_table(
    kind: str | None, name: str, change: Callable[[pd.DataFrame], pd.DataFrame | pa.Table], **how: Any
) -> None:
    """A trick that changes the predictions, and the digest with them."""

    @trick(kind, name)
    def play(folder: Path) -> None:
        write_table(folder, change(table(folder)), **how)


def with_predictions(kind: str, name: str, content: bytes) -> None:
    """A trick whose predictions are other bytes, the digest being theirs."""

    @trick(kind, name)
    def play(folder: Path) -> None:
        (folder / "predictions.parquet").write_bytes(content)
        describe(folder)


def set_to(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(entry: Any) -> None:
        for key in path[:-1]:
            entry = entry[key]
        entry[path[-1]] = value

    return change


# --- what it says of itself -------------------------------------------------------------------------------------------

with_entry("schema", "a score of its own", set_to("scores", value={"own/optimizer/few-shot/3": 100.0}))
with_entry("schema", "an accuracy of its own", set_to("accuracy", value=99.9))
with_entry("schema", "a verdict of its own", set_to("verdict", value={"outcome": "verified", "reason": "trust me"}))
with_entry("schema", "a score within the method", set_to("method", "score", value=1))
with_entry("schema", "no authors", set_to("authors", value=[]))
with_entry("schema", "no author key", lambda entry: entry.pop("authors"))
with_entry("schema", "a hundred authors", set_to("authors", value=[f"A{i}" for i in range(100)]))
with_entry("schema", "an author of 10,000 letters", set_to("authors", value=["a" * 10_000]))
with_entry("schema", "an empty author", set_to("authors", value=[""]))
with_entry("size", "a platform of 900 KB", set_to("environment", "platform", value="x" * 900_000))
with_entry("size", "a package of 900 KB", set_to("environment", "packages", value={"numpy": "1" * 900_000}))
with_entry("size", "20,000 packages", set_to("environment", "packages", value={f"p{n}": "1" for n in range(20_000)}))
with_entry("text", "an author with a newline", set_to("authors", value=["Ada\nLovelace"]))
with_entry("text", "an author with a bidi sign", set_to("authors", value=["Ada \u202elatot"]))
with_entry("text", "an author with a zero-width space", set_to("authors", value=["Ada\u200bLovelace"]))
with_entry("text", "an author who cannot be seen", set_to("authors", value=["\u3164"]))
with_entry("text", "an author with an escape sequence", set_to("authors", value=["\x1b[31mAda"]))
with_entry("text", "an author with a NUL", set_to("authors", value=["Ada\0"]))
with_entry("text", "a platform with a bidi sign", set_to("environment", "platform", value="Linux\u2066"))
with_entry("text", "a package with a newline", set_to("environment", "packages", value={"numpy\n": "1"}))
with_entry("schema", "a script for a paper", set_to("paper", value="javascript:alert(1)"))
with_entry("schema", "a file for a paper", set_to("paper", value="file:///etc/passwd"))
with_entry("schema", "a paper with quotes", set_to("paper", value='https://example.org" onclick="alert(1)'))
with_entry("schema", "a paper that is none", set_to("paper", value=7))
with_entry("name", "a Cyrillic letter in the name", set_to("name", value="Mediаn rule"))
with_entry("name", "a Greek letter in the name", set_to("name", value="Mediαn rule"))
with_entry("name", "a full-width letter in the name", set_to("name", value="Ｍedian rule"))
with_entry("name", "a combining sign in the name", set_to("name", value="Me\u0301dian rule"))
with_entry("text", "a zero-width joiner in the name", set_to("name", value="Median\u200d rule"))
with_entry("text", "a soft hyphen in the name", set_to("name", value="Median\u00ad rule"))
with_entry("text", "a bidi sign in the name", set_to("name", value="\u202eelur naideM"))
with_entry("name", "a no-break space in the name", set_to("name", value="Median\u00a0rule"))
with_entry("name", "a script for a name", set_to("name", value="<script>alert(1)</script>"))
with_entry("name", "a path for a name", set_to("name", value="../../bystander"))
with_entry("name", "an empty name", set_to("name", value=""))
with_entry("name", "a name of spaces", set_to("name", value="   "))
with_entry("name", "a name of digits", set_to("name", value="123"))
with_entry("name", "a name of 81 letters", set_to("name", value="m" * 81))
with_entry("name", "a name that is a list", set_to("name", value=["Median rule"]))
with_entry("slug", "another name than the slug's", set_to("name", value="Mean rule"))
with_entry("slug", "the slug of another entry", set_to("slug", value=BYSTANDER))
with_entry("slug", "a slug that climbs", set_to("slug", value="../bystander"))
with_entry("slug", "a slug from the root", set_to("slug", value="/etc/passwd"))
with_entry("slug", "a slug with capitals", set_to("slug", value="Median-Rule"))
with_entry("slug", "a slug with a hyphen before it", set_to("slug", value="-median-rule"))
with_entry("slug", "an empty slug", set_to("slug", value=""))
with_entry("schema", "a superseded slug that climbs", set_to("supersedes", value="../bystander"))
with_entry("schema", "superseding itself", set_to("supersedes", value=SLUG))
with_entry("supersedes", "superseding what is not there", set_to("supersedes", value="nobodys"))
with_entry("supersedes", "superseding somebody else's", set_to("supersedes", value=BYSTANDER))
with_entry("format", "a future format", set_to("format", value=2))
with_entry("format", "a far future format", set_to("format", value=10**30))
with_entry("schema", "a format in words", set_to("format", value="1"))
with_entry("schema", "an earlier format", set_to("format", value=0))
with_entry("schema", "a date without a time zone", set_to("created", value="2026-01-02T03:04:05"))
with_entry("schema", "a date that is none", set_to("created", value="yesterday"))
with_entry("date", "a date to come", set_to("created", value="9999-01-02T03:04:05Z"))
with_entry("schema", "another track", set_to("method", "track", value="clairvoyant"))
with_entry("schema", "a selection that there is not", set_to("selections", value=["core", "mine"]))
with_entry("schema", "an exam of one's own choice", set_to("selections", value=["bundled"]))
with_entry("schema", "no selection", set_to("selections", value=[]))
with_entry("columns", "no task", set_to("columns", value={}))
with_entry("columns", "a task that there is not", set_to("columns", "star_sign", value=["train_error"]))
with_entry("columns", "a column that there is not", set_to("columns", "optimizer", value=["star_sign"]))
with_entry("columns", "a knob", set_to("columns", "optimizer", value=["batch_size"]))
with_entry("columns", "a label", set_to("columns", "optimizer", value=["optimizer"]))
with_entry("columns", "a quantile, inductively", set_to("columns", "optimizer", value=["train_error_quantile"]))
with_entry("columns", "a column twice", set_to("columns", "optimizer", value=["train_error", "train_error"]))
with_entry("columns", "a family hidden", set_to("families", value=[]))
with_entry("columns", "a family made up", set_to("families", value=["magic"]))
with_entry(
    "columns", "a family of columns that it does not use", set_to("families", value=["configuration", "landscape"])
)
with_entry("dataset", "a task that it does not answer", set_to("columns", "data_vs_optimizer", value=["train_error"]))
with_entry("seeds", "other seeds said", set_to("seeds", value=[1, 2, 3]))
with_entry("seeds", "seeds left out", set_to("seeds", value=[42, 90]))
with_entry("schema", "seeds in words", set_to("seeds", value=["all of them"]))
with_entry("dataset", "another zoo", set_to("dataset", "zoos", "own", value="f" * 64))
with_entry("dataset", "one zoo more", set_to("dataset", "zoos", "mine", value="f" * 64))
with_entry("dataset", "one zoo less", lambda entry: entry["dataset"]["zoos"].pop("own-too"))
with_entry("dataset", "other splits", set_to("dataset", "splits", "own/optimizer/few-shot/3", value=["0" * 64] * 2))
with_entry("dataset", "fewer splits", lambda entry: entry["dataset"]["splits"].pop("own/optimizer/few-shot/3"))
with_entry("schema", "a digest that is none", set_to("dataset", "zoos", "own", value="../../etc/passwd"))
with_entry("schema", "a digest in capitals", set_to("method", "sha256", value="A" * 64))
with_entry("digest", "the digest of another method", set_to("method", "sha256", value="a" * 64))
with_entry("digest", "the digest of other predictions", set_to("predictions", "sha256", value="a" * 64))
with_entry(
    "digest",
    "swapped digests",
    lambda entry: (
        entry["method"].update(sha256=entry["predictions"]["sha256"], old=entry["method"]["sha256"])
        or entry["predictions"].update(sha256=entry["method"].pop("old"))
    ),
)
with_entry("missing file", "requirements that are not there", set_to("requirements", value={"sha256": "a" * 64}))
with_entry("missing file", "a sealed zoo without its answers", set_to("sealed", value={"one": {"sha256": "a" * 64}}))
with_entry("schema", "a sealed zoo that climbs", set_to("sealed", value={"../x": {"sha256": "a" * 64}}))
with_entry("schema", "less than no time", set_to("timings", "fit_seconds", value=-1))
with_entry("schema", "more time than there was", set_to("timings", "fit_seconds", value=1e300))
with_entry("schema", "time in words", set_to("timings", "fit_seconds", value="none"))

with_text("json", "an empty entry.json", lambda said: "")
with_text("json", "half of it", lambda said: said[: len(said) // 2])
with_text("json", "no JSON", lambda said: "name: Median rule\n")
with_text("json", "a key twice", lambda said: said.replace('"slug"', '"name": "Another", "slug"', 1))
with_text("json", "not a number", lambda said: said.replace("0.25", "NaN"))
with_text("json", "an infinite number", lambda said: said.replace("0.25", "Infinity"))
with_text("json", "a number beyond all bounds", lambda said: said.replace("0.25", "1e999"))
with_text("json", "a number of 5,000 digits", lambda said: said.replace("[7,", "[" + "7" * 5_000 + ","))
with_text("json", "100,000 lists in each other", lambda said: "[" * 100_000 + "]" * 100_000)
with_text("json", "100,000 objects in each other", lambda said: '{"a":' * 100_000 + "1" + "}" * 100_000)
with_text("json", "a byte order mark", lambda said: b"\xef\xbb\xbf" + said.encode())
with_text("json", "UTF-16", lambda said: said.encode("utf-16"))
with_text("json", "Latin-1", lambda said: said.replace("Ada", "Adé").encode("latin-1"))
with_text("json", "something behind it", lambda said: said + said)
with_text("schema", "a list", lambda said: f"[{said}]")
with_text("schema", "null", lambda said: "null")
with_text("text", "half a surrogate pair", lambda said: said.replace("Ada", "\\ud800"))
with_text("size", "2 MB of spaces", lambda said: said + " " * 2**21)

# --- its files --------------------------------------------------------------------------------------------------------


@trick("missing file")
def no_entry_json(folder: Path) -> None:
    (folder / "entry.json").unlink()


@trick("missing file")
def no_method(folder: Path) -> None:
    (folder / "method.py").unlink()


@trick("missing file")
def no_predictions(folder: Path) -> None:
    (folder / "predictions.parquet").unlink()


@trick("folder")
def not_there_at_all(folder: Path) -> None:
    shutil.rmtree(folder)


@trick("folder")
def a_file_in_its_place(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("{}")


@trick("folder")
def a_link_to_a_folder_elsewhere(folder: Path) -> None:
    folder.rename(folder.parent.parent / "elsewhere")
    folder.symlink_to(folder.parent.parent / "elsewhere")


@trick("folder")
def a_link_to_another_entry(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(folder.parent / BYSTANDER)


@trick("slug")
def a_folder_of_another_name(folder: Path) -> Path:
    return folder.rename(folder.with_name("mean-rule"))


@trick("slug")
def a_folder_with_a_space(folder: Path) -> Path:
    return folder.rename(folder.with_name("median rule"))


@trick("slug")
def a_folder_with_a_bidi_sign(folder: Path) -> Path:
    return folder.rename(folder.with_name("median\u202e-rule"))


@trick("slug")
def a_folder_above(folder: Path) -> Path:
    return folder / ".."


@trick("slug")
def a_hidden_folder(folder: Path) -> Path:
    return folder.rename(folder.with_name(".median-rule"))


def extra(kind: str, name: str, content: bytes = b"") -> None:
    @trick(kind, f"a file more: {name!a}")
    def play(folder: Path) -> None:
        (folder / name).write_bytes(content)


extra("file", "notes.txt", b"Look here.")
extra("file", "labels.parquet", b"PAR1")
extra("file", "sitecustomize.py", b"print(1)")
extra("file", "conftest.py", b"print(1)")
extra("file", "METHOD.PY", b"print(1)")
extra("file", "method.py\n", b"print(1)")
extra("file", ".gitattributes", b"* filter=evil")
extra("file", "entry.json.orig", b"{}")
extra("file", "sealed-one.parquet", b"PAR1")
extra("file", "m\u0435thod.py", b"print(1)")
extra("file", "requirements.txt", b"numpy\n")


@trick("file")
def a_thousand_files(folder: Path) -> None:
    for number in range(1000):
        (folder / str(number)).touch()


@trick("file")
def a_folder_in_it(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "labels.csv").write_text("a,b\n")


def in_place_of(name: str) -> None:
    """Tricks that put something else than an ordinary file in a file's place."""

    @trick("file", f"a folder called {name}")
    def as_folder(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    @trick("file", f"a pipe called {name}")
    def as_pipe(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    @trick("file", f"{name} a link to outside")
    def as_link(folder: Path) -> None:
        outside = folder.parent.parent / f"outside-{name}"
        (folder / name).rename(outside)
        (folder / name).symlink_to(outside)

    @trick("file", f"{name} a link to another entry's")
    def as_theirs(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(folder.parent / BYSTANDER / name)

    @trick("file", f"{name} a link to nowhere")
    def as_nothing(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to("/nowhere")

    @trick("file", f"{name} a link without end")
    def as_endless(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to("/dev/zero")

    @trick("size", f"{name} of a terabyte")
    def as_terabyte(folder: Path) -> None:
        os.truncate(folder / name, 2**40)  # without a byte on the disk


for each in ("entry.json", "method.py", "predictions.parquet"):
    in_place_of(each)


@trick("digest")
def a_method_changed_afterwards(folder: Path) -> None:
    (folder / "method.py").write_text(OTHER)


@trick("digest")
def predictions_changed_afterwards(folder: Path) -> None:
    said = table(folder)
    said.loc[0, "predicted"] = said["predicted"].iloc[-1]
    pq.write_table(pa.Table.from_pandas(said), folder / "predictions.parquet")


with_method("python", "an empty method", lambda said: "")
with_method("python", "a method of comments", lambda said: "# nothing\n")
with_method("python", "no Python", lambda said: said + "def f(:\n")
with_method("python", "20,000 brackets", lambda said: "x = " + "(" * 20_000 + ")" * 20_000)
with_method("python", "50,000 signs in a row", lambda said: "x = " + "-" * 50_000 + "1")
with_method("python", "50,000 attributes in a row", lambda said: "x = a" + ".b" * 50_000)
with_method("text", "a binary method", lambda said: b"\x7fELF" + bytes(range(256)))
with_method("text", "compiled Python", lambda said: b"\xa7\r\r\n\0\0\0\0" + bytes(100))
with_method("text", "a method with a NUL", lambda said: said + "# \0\n")
with_method("text", "a method in UTF-16", lambda said: said.encode("utf-16"))
with_method("text", "a method with a byte order mark", lambda said: "\ufeff" + said)
with_method("text", "a method with carriage returns", lambda said: said.replace("\n", "\r\n"))
with_method("text", "a method with an escape sequence", lambda said: said + "# \x1b[2J\n")
with_method("text", "a method that reads otherwise than it runs", lambda said: said + "# \u202e fi\u2066\n")
with_method("text", "a method with an invisible letter", lambda said: said + "ok\u200b = 1\n")
with_method(
    "text", "labels behind a letter", lambda said: said + f"# a{''.join(chr(0xFE00 + i % 16) for i in range(99))}\n"
)
with_method("text", "a variable that is a blank", lambda said: said + "\u3164 = 1\n")
with_method("text", "a method with another end of line", lambda said: said + "# a\u2028b\n")
with_method("size", "a method of 1 MB", lambda said: said + "#" * 2**20)

with_requirements("requirements", "a marker that cannot be evaluated", 'numpy; os_name ~= "posix"\n')
with_requirements("requirements", "requirements from an address", "numpy @ https://example.org/numpy.whl\n")
with_requirements("requirements", "requirements from git", "git+https://example.org/evil.git\n")
with_requirements("requirements", "requirements that are editable", "-e .\n")
with_requirements("requirements", "requirements from another index", "--index-url https://example.org/simple\nnumpy\n")
with_requirements("requirements", "requirements of requirements", "-r /etc/passwd\n")
with_requirements("requirements", "requirements from a path", "../evil\n")
with_requirements("requirements", "requirements with a command", "numpy; import os\n")
with_requirements("requirements", "requirements that are prose", "you need numpy\n")
with_requirements("text", "requirements with a NUL", "numpy\0\n")
with_requirements("text", "requirements in bytes", b"\xff\xfe")
with_requirements("size", "requirements without end", "numpy\n" * 20_000)

# --- its predictions --------------------------------------------------------------------------------------------------

with_predictions("damaged", "empty predictions", b"")
with_predictions("damaged", "predictions as text", b"case,seed,row,predicted\n")
with_predictions("damaged", "a beginning without an end", b"PAR1" + bytes(100))
with_predictions("damaged", "an end that lies", b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1")
with_predictions("damaged", "an archive", b"PK\x03\x04" + bytes(1000))
with_predictions("damaged", "an encrypted table", b"PARE" + bytes(100) + b"\x10\0\0\0PARE")


@trick("damaged")
def arrow_instead_of_parquet(folder: Path) -> None:
    said = pa.Table.from_pandas(table(folder))
    with pa.ipc.new_file(folder / "predictions.parquet", said.schema) as file:
        file.write_table(said)
    describe(folder)


@trick("damaged")
def half_a_table(folder: Path) -> None:
    content = (folder / "predictions.parquet").read_bytes()
    (folder / "predictions.parquet").write_bytes(content[: len(content) // 2])
    describe(folder)


@trick("damaged")
def a_table_with_a_hole(folder: Path) -> None:
    content = bytearray((folder / "predictions.parquet").read_bytes())
    content[4:200] = bytes(196)
    (folder / "predictions.parquet").write_bytes(content)
    describe(folder)


with_table("compressed", "a compressed table", lambda said: said, compression="zstd")
with_table(
    "compressed",
    "a bomb: 64 MB of one letter",
    lambda said: said.assign(case=["a" * 2**26] + ["a"] * (len(said) - 1)),
    compression={"case": "gzip", "seed": "none", "row": "none", "predicted": "none"},
    write_statistics=False,
)
with_table(
    "damaged",
    "a bomb of prefixes",
    lambda said: said.assign(case=["a" * 2**16] * len(said)),
    use_dictionary=False,
    column_encoding={"case": "DELTA_BYTE_ARRAY", "seed": "PLAIN", "row": "PLAIN", "predicted": "PLAIN"},
    write_statistics=False,
)
with_table("size", "one line a row group", lambda said: pd.concat([said] * 2), row_group_size=1)
with_table("size", "a million rows", lambda said: pd.concat([said] * (1_000_000 // len(said))), write_statistics=False)
with_table("table", "a column more", lambda said: said.assign(true=said["predicted"]))
with_table("table", "a column less", lambda said: said.drop(columns="seed"))
with_table("table", "columns in another order", lambda said: said[["seed", "case", "row", "predicted"]])
with_table("table", "a column of another name", lambda said: said.rename(columns={"predicted": "label"}))
with_table("table", "columns within columns", lambda said: said.assign(case=[{"a": name} for name in said["case"]]))
with_table("table", "lists of verdicts", lambda said: said.assign(predicted=[[one] for one in said["predicted"]]))
with_table("types", "places for verdicts", lambda said: said.assign(predicted=np.arange(len(said)) % 2))
with_table("types", "probabilities for verdicts", lambda said: said.assign(predicted=np.nan))
with_table(
    "types", "bytes for verdicts", lambda said: said.assign(predicted=[one.encode() for one in said["predicted"]])
)
with_table("types", "seeds as texts", lambda said: said.assign(seed=said["seed"].astype(str)))
with_table("types", "seeds with a fraction", lambda said: said.assign(seed=said["seed"] + 0.5))
with_table("types", "seeds as dates", lambda said: said.assign(seed=pd.to_datetime(said["seed"])))
with_table("types", "rows by number", lambda said: said.assign(row=range(len(said))))


def at(said: pd.DataFrame, column: str, place: int, value: object) -> pd.DataFrame:
    values = said[column].astype(object).tolist()
    values[place] = value
    return said.assign(**{column: values})


def nullable(said: pd.DataFrame, column: str, place: int) -> pa.Table:
    values = said[column].tolist()
    values[place] = None
    made = pa.Table.from_pandas(said, preserve_index=False)
    position = made.schema.get_field_index(column)
    return made.set_column(position, column, pa.array(values, pa.int64() if column == "seed" else pa.string()))


for each in ("case", "seed", "row", "predicted"):
    with_table("empty value", f"a {each} left empty", lambda said, each=each: nullable(said, each, 5))
with_table("missing row", "no rows", lambda said: pa.Table.from_pandas(said, preserve_index=False).slice(0, 0))
with_table("missing row", "the last row dropped", lambda said: said.iloc[:-1])
with_table(
    "missing row",
    "hard rows dropped: those of which it says now this, now that",
    lambda said: said[said.groupby(["case", "row"])["predicted"].transform("nunique") == 1],
)
with_table("missing row", "one case dropped", lambda said: said[said["case"] != "own/optimizer/few-shot/3"])
with_table("missing row", "one seed dropped", lambda said: said[said["seed"] != 90])
with_table("missing row", "one of the seeds of one case dropped", lambda said: said[said["seed"] != 18])
with_table("duplicate row", "a row twice", lambda said: pd.concat([said, said.iloc[[7]]]))
with_table(
    "duplicate row",
    "a row twice, and another verdict",
    lambda said: pd.concat([said, said.iloc[[7]].assign(predicted=said["predicted"].iloc[-1])]),
)
with_table("duplicate row", "easy rows for hard ones", lambda said: pd.concat([said.iloc[:-20], said.iloc[:20]]))
with_table("duplicate row", "everything twice", lambda said: pd.concat([said, said]))
with_table(
    "unknown case", "a case renamed", lambda said: said.replace({"case": {"own/optimizer/few-shot/3": "own/easy"}})
)
with_table(
    "unknown case",
    "a case of the exam that it says it does not answer",
    lambda said: said.replace({"case": {"own/optimizer/few-shot/3": "own/data_vs_optimizer/few-shot/3"}}),
)
with_table("unknown case", "a case that looks like one", lambda said: at(said, "case", 3, "own/оptimizer/few-shot/3"))
with_table("unknown seed", "another seed", lambda said: said.replace({"seed": {90: 91}}))
with_table("unknown seed", "a seed of another case", lambda said: at(said, "seed", 0, 18).astype({"seed": int}))
with_table("unknown seed", "the largest seed", lambda said: at(said, "seed", 0, 2**63 - 1).astype({"seed": int}))
with_table("unknown seed", "the smallest seed", lambda said: at(said, "seed", 0, -(2**63)).astype({"seed": int}))
with_table("unknown row", "a row of no zoo", lambda said: at(said, "row", 3, "point-9999"))
with_table("unknown row", "rows by their places", lambda said: said.assign(row=[str(i) for i in range(len(said))]))
with_table("unknown row", "a row with a space behind it", lambda said: at(said, "row", 3, said["row"].iloc[3] + " "))
with_table("unknown row", "a row of 10 MB", lambda said: at(said, "row", 3, "x" * 10**7))
with_table("unknown label", "a verdict that there is not", lambda said: at(said, "predicted", 3, "bad luck"))
with_table("unknown label", "no verdict", lambda said: at(said, "predicted", 3, "none"))
with_table("unknown label", "an empty verdict", lambda said: at(said, "predicted", 3, ""))
with_table("unknown label", "not a number for a verdict", lambda said: at(said, "predicted", 3, "NaN"))
with_table(
    "unknown label",
    "a verdict of another task",
    lambda said: said.assign(predicted=said["predicted"].where(said["case"] != "own/optimizer/few-shot/3", "width")),
)
with_table("unknown label", "a verdict in capitals", lambda said: said.assign(predicted=said["predicted"].str.upper()))

# --- among others -----------------------------------------------------------------------------------------------------


def renamed(folder: Path, name: str, **more: Any) -> Path:
    """Make an entry one of another name."""
    slug = "-".join("".join(sign if sign.isalnum() else " " for sign in name.lower()).split())
    home = folder.rename(folder.with_name(slug))
    (home / "entry.json").write_text(json.dumps(read(home) | {"name": name, "slug": slug} | more))
    return home


for each in ("By stander", "BY_STANDER", "By-Stander", "B y.s t (ander)", "Bystand er"):

    @trick("look-alike", f"a name that looks like another: {each}")
    def play(folder: Path, name: str = each) -> Path:
        return renamed(folder, name)


@trick("slug")
def the_place_of_another(folder: Path) -> Path:
    entry = read(folder) | {"name": "Bystander"}
    (folder / "entry.json").write_text(json.dumps(entry))
    return folder


@trick("copy")
def anothers_entry_under_another_name(folder: Path) -> Path:
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / BYSTANDER, folder)
    entry = read(folder) | {"name": NAME, "slug": SLUG, "authors": ["Charles Babbage"]}
    (folder / "entry.json").write_text(json.dumps(entry))
    return folder


@trick("copy")
def anothers_method_with_predictions_of_ones_own(folder: Path) -> None:
    shutil.copy(folder.parent / BYSTANDER / "method.py", folder / "method.py")
    describe(folder)


@trick("slug")
def a_number_behind_the_slug_that_supersedes_nothing(folder: Path) -> Path:
    home = folder.rename(folder.with_name(f"{SLUG}-2"))
    (home / "entry.json").write_text(json.dumps(read(home) | {"slug": f"{SLUG}-2"}))
    return home


# --- what only running the method again tells -------------------------------------------------------------------------


def flipped(said: pd.DataFrame, rows: Any) -> pd.DataFrame:
    """Give some rows the other verdict of their task."""
    both = {name: sorted(part.unique()) for name, part in said.groupby("case")["predicted"]}
    other = [both[name][one == both[name][0]] for name, one in zip(said["case"], said["predicted"], strict=True)]
    return said.assign(predicted=np.where(rows, other, said["predicted"]))


with_table(None, "every tenth row flipped", lambda said: flipped(said, np.arange(len(said)) % 10 == 0))
with_table(None, "one row flipped", lambda said: flipped(said, np.arange(len(said)) == 3))
with_table(None, "every row flipped", lambda said: flipped(said, np.full(len(said), True)))
with_method(None, "predictions of another method", lambda said: CONSTANT)
with_method(None, "a method that fails", lambda said: said.replace("return [", "raise RuntimeError; return ["))
with_method(None, "a method that is none", lambda said: "answer = 42\n")
with_method(None, "a method that cannot be loaded", lambda said: "import nothing_of_this_name\n" + said)
with_method(None, "a method that answers fewer tasks", lambda said: said.replace(', "width_vs_optimizer"', ","))
