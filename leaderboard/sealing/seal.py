"""Sealing a zoo: a public part without labels, and the labels under lock and key (see `leaderboard.sealing.sealed`).

The labels are still a function of the zoo's specification, for building is deterministic: whoever has it, or guesses its
seeds, can build the zoo again. It must be kept as the labels are, and its seeds drawn from so many that trying is hopeless.
"""

import hashlib
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from cryptography.fernet import Fernet
from pydantic import ValidationError

import mdbench
from leaderboard.sealing.rounding import rounded, step_of
from leaderboard.sealing.sealed import MODELS, SEALED, UNDECIDED, Labels, Part, Sealed, is_public
from mdbench import files
from mdbench.cases import SEEDS, codes, split, taking_part
from mdbench.errors import MdbenchError, reason
from mdbench.showing import say
from mdbench.tables import TASKS, Zoo, find_zoo, load_zoo

PUBLIC: Final = "public"
LABELS: Final = "labels.fernet"
KEY: Final = "key"
#: Cells of the public zoo whose rows are learned from, as in the core cases.
BUDGET: Final = 20
#: Bits of a seed that cannot be found by trying.
BITS: Final = 62


def seal(zoo: str | Path, out: Path, name: str, train: str) -> Sealed:
    """Split a zoo that nobody has seen into a public part and its labels under lock and key.

    Parameters
    ----------
    zoo : its name or folder.
    out : folder to make, which nobody else on this machine can look into: ``public/``, ``labels.fernet``, ``key``. It is
        there whole or not at all.
    name : what the board calls it.
    train : name of the zoo whose labels may be learned from.

    Raises
    ------
    MdbenchError
        `out` exists or cannot be written; a zoo is not there, or they are one; no task can be learned and asked.
    """
    if out.exists():
        raise MdbenchError(f"{out} exists, and what is sealed is never written over; give another folder")
    hidden, known = load_zoo(zoo, layers=False), load_zoo(find_zoo(train, of_case=True), layers=False)
    if hidden.digest == known.digest:
        raise MdbenchError(
            f"zoo {known.name} is the one whose labels may be learned from; seal one that nobody has seen"
        )
    shown = hidden.configurations[[str(column) for column in hidden.configurations if is_public(str(column))]]
    shown = rounded(shown, step_of(hidden.configurations))
    names = np.array([secrets.token_hex(16) for _ in shown.index], dtype=object)
    order = names.argsort()
    models = shown.iloc[order].dropna(axis=1, how="all").set_axis(pd.Index(names[order], name="configuration"))
    table = files.parquet(models.copy().reset_index())
    try:
        draft = Sealed(
            name=name,
            mdbench=mdbench.__version__,
            train=known.name,
            train_sha256=known.digest,
            tasks=_tasks(known, hidden),
            knobs=tuple(knob for knob in known.cell_knobs if len(known.levels(knob)) > 1),
            budget=BUDGET,
            seeds=SEEDS,
            rows=len(models),
            models_sha256=hashlib.sha256(table).hexdigest(),
            labels_sha256="0" * 64,
        )
    except ValidationError as error:
        raise MdbenchError(f"zoo {hidden.name} cannot be sealed: {reason(error)}") from error
    for case in draft.cases:
        split(case, known, hidden)  # its training rows can be drawn
    labels = _labels(hidden, order, draft)
    sealed = draft.model_copy(update={"labels_sha256": hashlib.sha256(labels).hexdigest()})
    key = Fernet.generate_key()
    _write(
        out,
        {
            f"{PUBLIC}/{MODELS}": table,
            f"{PUBLIC}/{SEALED}": (sealed.model_dump_json(indent=2) + "\n").encode(),
            LABELS: Fernet(key).encrypt(labels),
            KEY: key,
        },
    )
    return sealed


def _tasks(known: Zoo, hidden: Zoo) -> dict[str, tuple[str, ...]]:
    """Return the tasks that can be learned from one zoo and asked of the other, with their verdicts."""
    tasks, reasons = {}, []
    for name, whole in TASKS.items():
        task = hidden.tasks.get(name, whole)
        try:
            taking_part(known, task)
            if known.tasks[name].classes != task.classes:
                raise MdbenchError(f"zoo {known.name} has other verdicts")
            if len(np.unique(taking_part(hidden, task).codes)) < 2:
                raise MdbenchError("every row has the same verdict")
            tasks[name] = task.classes
        except MdbenchError as error:
            reasons.append(f"{name}: {error}")
    if not tasks:
        raise MdbenchError(f"zoo {hidden.name} cannot be sealed: {'; '.join(reasons)}")
    return tasks


def _labels(hidden: Zoo, order: np.ndarray, sealed: Sealed) -> bytes:
    found = {
        task: codes(hidden.configurations[task].to_numpy(dtype=object)[order], hidden.tasks[task])
        for task in sealed.tasks
    }
    labels = Labels(
        salt=secrets.token_hex(32),
        public_sha256=sealed.digest,
        cells=tuple(hidden.cells.to_numpy()[order].tolist()),
        verdicts={
            task: "".join(UNDECIDED if code < 0 else str(code) for code in every) for task, every in found.items()
        },
    )
    return labels.model_dump_json().encode()


def _write(out: Path, content: Mapping[str, bytes]) -> None:
    """Make the folder: whole or not at all, and from the first moment for nobody else's eyes."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
            fresh = Path(scratch, "fresh")
            fresh.mkdir(mode=0o700)
            (fresh / PUBLIC).mkdir()
            for name, part in content.items():
                files.write(fresh / name, part)
            (fresh / KEY).chmod(0o600)
            for folder in (fresh / PUBLIC, fresh):
                files.sync_folder(folder)
            fresh.rename(out)
            files.sync_folder(out.parent)
    except OSError as error:
        raise MdbenchError(f"cannot write {out}: {error.strerror or error}") from error


def guessable(zoo: Zoo) -> bool:
    """Tell whether the seeds of a zoo's networks, where they are known, are so small that they can be found by trying."""
    return zoo.checkpoints is not None and int(zoo.checkpoints["seed"].max()) < 2 ** (BITS // 2)


def command(zoo: str, *, out: Path, name: str, train: str) -> None:
    """Seal a zoo, and say what is public, what is secret, and what comes next."""
    sealed = seal(zoo, out, name, train)
    columns = len(Part.read(out / PUBLIC).models.columns)
    say(f"{sealed.name}: {sealed.rows} configurations, {columns} columns; tasks {', '.join(sealed.tasks)}")
    say(
        f"public: {out / PUBLIC}, to be published as leaderboard/sealed/{name}/{PUBLIC}; the digest in it binds the labels"
    )
    say(
        f"secret: {out / LABELS}; {out / KEY}, in another place; and {zoo} with its specification, which makes them again"
    )
    if guessable(load_zoo(zoo, layers=False)):
        say(
            "careful: the seeds of its networks can be found by trying, unless its data set has a seed that cannot; a zoo to "
            f'be sealed draws them: python -c "import secrets; print(secrets.randbits({BITS}))"'
        )
    say("next: mdbench submit METHOD.py, which answers it")
    say(
        f"      mdbench leaderboard score-sealed --labels {out / LABELS} --key {out / KEY} --out LINES, and `append` LINES"
    )
