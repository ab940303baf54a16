"""How long a large board takes: 500 entries × 60 cases read, ranked and drawn, and its table sorted in a browser.

    python benchmarks/board.py [ENTRIES]

The entries are folders as `mdbench submit` writes them, with drawn answers: better and worse methods, harder and easier rows.
The cases are two scenarios of all zoos of the package. What is measured begins with the folder of entries and an exam that is
not yet posed, and ends with the site on the disk. A sort is timed from the call until the browser has drawn the next frame,
in headless Chromium; without it or its driver, that part is left out.
"""

import hashlib
import shutil
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

import mdbench
from leaderboard.entry.checks import families_of
from leaderboard.entry.entry import ENTRY, METHOD, PREDICTIONS, Entry, File, MethodFile, Timings
from leaderboard.entry.exam import Exam
from leaderboard.entry.sheet import sheet_of
from leaderboard.ranking.board import assemble
from leaderboard.site.site import build
from leaderboard.verifying.ledger import LEDGER, Event, Verdict
from mdbench.cases.cases import load_cases
from mdbench.scoring.results import Environment
from mdbench.tables.tasks import TASKS

ENTRIES = 500
ZOOS = ("mnist1d-cnn", "fashion-cnn", "mnist1d-mlp")
SCENARIOS = ("cross-noise", "data-limited")
COLUMNS = (("train_error", "log_hessian_trace"), ("test_loss", "train_error"), ("parameter_count", "train_error"))
SOURCE = '''"""A tree of depth {number}, for measuring how long a board takes."""

from sklearn.tree import DecisionTreeClassifier

columns = {columns!r}
method = DecisionTreeClassifier(max_depth={number}, random_state={number})
'''
#: Sorted in turn, each both ways.
SORTED = ("name", "accuracy", "rank", "authors", "date", "verdict")
ROUNDS = 5
SORT = """
const [field, direction, done] = arguments;
const begun = performance.now();
mdbench.table.setSort(field, direction);
requestAnimationFrame(() => {
  const channel = new MessageChannel();  // behind the frame
  channel.port1.onmessage = () => done(performance.now() - begun);
  channel.port2.postMessage(null);
});
"""


def exam() -> Exam:
    return Exam.posing({"core": load_cases([f"{zoo}/*/{scenario}/*" for zoo in ZOOS for scenario in SCENARIOS])})


def write(folder: Path, posed: Exam, entries: int) -> None:
    """Write entries and their ledger."""
    drawn = np.random.default_rng(0)
    hardness = {name: drawn.normal(size=len(one.rows.test)) for name, one in posed.posed.items()}
    sheet = sheet_of(posed, tuple(posed.posed))
    previous, lines = "0" * 64, []
    began = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(1, entries + 1):
        predicted, scores = {}, {}
        for name, one in posed.posed.items():
            truth, classes = one.rows.test.codes, len(one.rows.task.classes)
            ability = drawn.normal(1.0 - number / entries, 0.2)
            right = ability + drawn.normal(size=(len(one.rows.samples), len(truth))) > hardness[name]
            other = (truth + drawn.integers(1, classes, right.shape)) % classes
            predicted[name] = np.where(right, truth, other).astype(np.int8)
            scores[name] = float(100 * right.mean())
        columns = COLUMNS[number % len(COLUMNS)]
        source = SOURCE.format(number=number, columns=list(columns)).encode()
        answers = sheet.write(predicted)
        seen = dict.fromkeys(TASKS, columns)
        entry = Entry(
            slug=f"method-{number}",
            name=f"method_{number}",
            authors=(f"Author {number % 97}", f"Author {number % 89}"),
            created=began + timedelta(hours=number),
            method=MethodFile(sha256=_sha256(source), track="inductive", zero_shot=False),
            predictions=File(sha256=_sha256(answers)),
            selections=("core",),
            columns=seen,
            families=families_of(seen),
            seeds=sheet.seeds,
            dataset=sheet.dataset,
            environment=Environment.here(),
            timings=Timings(fit_seconds=1.0, predict_seconds=0.1),
        )
        content = (entry.model_dump_json(indent=2) + "\n").encode()
        home = folder / entry.slug
        home.mkdir(parents=True)
        for name, said in ((METHOD, source), (PREDICTIONS, answers), (ENTRY, content)):
            (home / name).write_bytes(said)
        about = {
            "entry": entry.slug,
            "entry_sha256": _sha256(content),
            "reason": "measuring",
            "mdbench": mdbench.__version__,
            "dataset": posed.digest,
        }
        verdict = Verdict(outcome="verified", reason="its predictions were the same")
        for event in ({"kind": "verification", "verdict": verdict}, {"kind": "accepted", "scores": scores}):
            date = began + timedelta(hours=number)
            made = Event(number=len(lines) + 1, previous=previous, date=date, **about, **event)
            lines.append(made.model_dump_json(exclude_none=True).encode())
            previous = _sha256(lines[-1])
    (folder / LEDGER).write_bytes(b"".join(line + b"\n" for line in lines))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sorting(site: Path) -> None:
    """Print how long the table takes to be sorted."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and chromedriver):
        print("chromium and chromedriver are not installed: the sort was not measured")
        return
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:  # it is still being tidied
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.add_argument("--window-size=1400,1000")
        driver = webdriver.Chrome(options=options, service=Service(chromedriver))
        try:
            driver.get((site / "index.html").as_uri())
            while not driver.execute_script("return !!document.querySelector('.tabulator-row')"):
                time.sleep(0.05)
            count = driver.execute_script("return mdbench.table.getDataCount()")
            taken = [
                driver.execute_async_script(SORT, field, direction)
                for _ in range(ROUNDS)
                for field in SORTED
                for direction in ("asc", "desc")
            ]
        finally:
            driver.quit()
    print(
        f"sort of {count} entries in Chromium: median {statistics.median(taken):.0f} ms of {len(taken)}, "
        f"{min(taken):.0f} to {max(taken):.0f} ms"
    )


def main() -> None:
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else ENTRIES
    with tempfile.TemporaryDirectory() as scratch:
        folder, site = Path(scratch, "entries"), Path(scratch, "site")
        posed = exam()
        write(folder, posed, entries)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{entries} entries × {len(posed.posed)} cases, {size / 1e6:.0f} MB")
        begun = time.perf_counter()
        posed = exam()
        there = time.perf_counter()
        board = assemble(folder, posed)
        assembled = time.perf_counter()
        build(board, site)
        drawn = time.perf_counter()
        print(f"posing the cases {there - begun:.1f} s, assembling the board {assembled - there:.1f} s", end=", ")
        print(f"drawing it {drawn - assembled:.1f} s: {drawn - begun:.1f} s in all")
        files = [path for path in site.rglob("*") if path.is_file()]
        print(f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.0f} MB")
        sorting(site)


if __name__ == "__main__":
    main()
