"""Methods that nobody has read, run where they can do no harm and see nothing that they are not told.

A method file runs under bubblewrap: namespaces of its own, no network, a system that cannot be written, an empty working
folder, a user that is nobody, limits on memory, processes, files and time. Of this package it sees the code; the tables, the
labels, the other entries and everybody's files are not there. It is sent training rows with labels and test rows without, as
numbers over a pipe. Every question is answered by a process of its own, in namespaces of its own, that has heard of no other
(`mdbench.methods.inside`); the halves that are asked about once more are the one exception, all of a case together, and for
them there is another sandbox. What comes back is read as data: numbers within bounds, or the text of an error.

What the kernel keeps between processes is refused by a filter of system calls (`mdbench.methods.syscalls`). What is left is
what hardware tells, how fast it is and how busy, and faults of the kernel.
"""

import hashlib
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Annotated, Any, Final, Self, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mdbench.errors import reason
from mdbench.methods.box import Box, BrokenBoxError
from mdbench.methods.confinement import find_bubblewrap
from mdbench.methods.imports import imported_names
from mdbench.methods.letter import write_question
from mdbench.methods.method import Method, MethodError, as_method, named_methods
from mdbench.methods.probabilities import check_probabilities
from mdbench.methods.replies import ABSTAINED, Answer, Reply
from mdbench.methods.trial import Question, answer
from mdbench.methods.warned import MOST, TEXT, MethodWarning
from mdbench.methods.wire import LENGTH, Limits
from mdbench.methods.workers import Order

#: What is imported before the first question where a method names it, beside the baselines: that takes seconds.
_PRELOADED: Final = frozenset(
    {"scipy.optimize", "scipy.stats", "xgboost"}
    | {
        f"sklearn.{name}"
        for name in ("base", "dummy", "ensemble", "linear_model", "naive_bayes", "neighbors", "neural_network")
    }
    | {f"sklearn.{name}" for name in ("discriminant_analysis", "impute", "pipeline", "preprocessing", "svm", "tree")}
    | {"sklearn.model_selection"}
    | {"torch", "torch.nn", "torch.nn.functional", "torch.optim", "torch.utils.data"}
)
_BYTES: Final = 1 << 20  # of a method's file

T = TypeVar("T", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


_Warned = Annotated[list[Annotated[str, Field(max_length=TEXT)]], Field(max_length=MOST)]


class _Error(_Strict):
    error: str
    traceback: str


class _Declared(_Strict):
    name: str
    columns: dict[str, list[str]] | None
    track: str
    zero_shot: bool
    warned: _Warned


class _Replies(_Strict):
    replies: list["_Replied"]
    warned: _Warned


class _Replied(_Strict):
    probabilities: bool = False
    fit_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    predict_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class _Source:
    """A method's file: what is sent, and its digest."""

    file: Path
    text: str
    sha256: str

    @cached_property
    def wanted(self) -> frozenset[str]:
        """The modules of `_PRELOADED` that it imports."""
        return imported_names(self.text) & (_PRELOADED | {f"baselines.{name}" for name in named_methods()})

    @classmethod
    def read(cls, file: Path) -> "_Source":
        try:
            with file.open("rb") as opened:
                content = opened.read(_BYTES + 1)
            if len(content) > _BYTES:
                raise MethodError(f"{file}: a method's file has at most {_BYTES >> 20} MiB")
            return cls(file, content.decode(), hashlib.sha256(content).hexdigest())
        except (OSError, UnicodeDecodeError) as error:
            raise MethodError(f"{file}: {reason(error)}") from error


class Sandbox:
    """Runs method files in sandboxes; a `mdbench.methods.Runner`.

    Parameters
    ----------
    count : sandboxes at work at a time.
    timeout : seconds a method may take for one case.
    limits : what it may use.
    files : the method files, as far as they are known: what they import is loaded once, before the first question.

    Raises
    ------
    MdbenchError
        There is no bubblewrap.
    """

    def __init__(self, count: int, timeout: float, limits: Limits | None = None, files: Iterable[Path] = ()) -> None:
        find_bubblewrap()
        self._timeout = timeout
        self._limits = replace(limits or Limits(), seconds=timeout)
        self._threads = ThreadPoolExecutor(count)
        self._idle: list[Box] = []
        self._busy: set[Box] = set()
        self._lock = threading.Lock()
        self._wanted: set[str] = set()
        for file in files:
            with suppress(MethodError):  # which says so when it is loaded
                self._wanted |= _Source.read(file).wanted

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            boxes = [*self._idle, *self._busy]
        for box in boxes:
            box.close()
        self._threads.shutdown()

    def load(self, files: Iterable[Path]) -> Iterator[tuple[Path, Method | MethodError]]:
        """Load method files; what comes back has no prototype."""
        sources: dict[Path, _Source | MethodError] = {}
        for file in files:
            try:
                sources[file] = source = _Source.read(file)
                self._wanted |= source.wanted
            except MethodError as error:
                sources[file] = error
        waiting = {self._threads.submit(self._load, source): file for file, source in sources.items()}
        for future in as_completed(waiting):
            yield waiting[future], future.result()

    def ask(self, orders: Iterable[Order]) -> Iterator[tuple[Order, Answer | MethodError]]:
        """Ask methods cases, several at a time; answers come as they are ready."""
        waiting = {self._threads.submit(self._ask, order): order for order in orders}
        for future in as_completed(waiting):
            yield waiting[future], future.result()

    def _load(self, source: "_Source | MethodError") -> Method | MethodError:
        if isinstance(source, MethodError):
            return source
        try:
            with self._borrowed(source) as box:
                head, _ = self._question(box, source, (), (), self._timeout)
            declared = _read(_Declared, head)
            for line in declared.warned:
                warnings.warn(f"method {source.file.stem}: {_printable(line)}", MethodWarning, stacklevel=2)
            said = SimpleNamespace(**declared.model_dump(exclude={"warned"}), fit=len, predict=len)
            return replace(as_method(said), prototype=None, file=source.file, source_sha256=source.sha256)
        except MethodError as error:
            return error

    def _ask(self, order: Order) -> Answer | MethodError:
        try:
            assert order.method.file
            return self._answer(order, _Source.read(order.method.file))
        except MethodError as error:
            return error

    def _answer(self, order: Order, source: "_Source") -> Answer:
        if source.sha256 != order.method.source_sha256:
            raise MethodError("its file has changed since it was loaded")
        until = time.monotonic() + self._timeout
        warned: dict[str, None] = {}

        def solved(asked: Sequence[Question]) -> list[Reply]:
            with self._borrowed(source) as box:
                replies = [self._solved(box, source, [question], until, warned)[0] for question in asked]
            # Then, in another sandbox, the halves, all of one case together: they are the same rows after every sample, so
            # that no more can be learned of the others, and score nothing.
            halves = {at: question.halved() for at, question in enumerate(asked) if question.half is not None}
            if halves:
                with self._borrowed(source, other_than=box) as another:
                    said = self._solved(another, source, list(halves.values()), until, warned)
                for at, half in zip(halves, said, strict=True):
                    replies[at] = replace(replies[at], half=half)
            return replies

        found = answer(order.method, order.rows, solved, order.secret, order.control)
        return replace(found, warned=tuple(warned))

    def _solved(
        self, box: Box, source: "_Source", asked: Sequence[Question], until: float, warned: dict[str, None]
    ) -> list[Reply]:
        """Put questions to one process of a sandbox; return the replies, and add what was warned of."""
        letters = [write_question(question) for question in asked]
        orders = [about for about, _ in letters]
        numbers = [part for _, parts in letters for part in parts]
        head, body = self._question(box, source, orders, numbers, until - time.monotonic())
        said = _read(_Replies, head)
        heads = said.replies
        warned.update(dict.fromkeys(map(_printable, said.warned)))
        shapes = [(len(question.test), len(question.task.classes)) for question in asked]
        sizes = [
            rows * (1 + 4 * classes * one.probabilities) for (rows, classes), one in zip(shapes, heads, strict=False)
        ]
        if len(heads) != len(asked) or len(body) != sum(sizes):
            raise MethodError("it replied something that is not one verdict a row")
        ends = np.cumsum([0, *sizes])
        return [
            _reply(one, body[start:end], rows, classes)
            for one, start, end, (rows, classes) in zip(heads, ends[:-1], ends[1:], shapes, strict=True)
        ]

    def _question(
        self, box: Box, source: "_Source", orders: Sequence[dict[str, Any]], numbers: Sequence[bytes], seconds: float
    ) -> tuple[bytes, bytes]:
        """Put questions to a sandbox; return the reply's JSON, and what follows it."""
        told = {"file": source.file.name, "source": source.text, "questions": orders}
        try:
            ended, reply = box.ask(told, numbers, seconds=max(seconds, 0))
        except TimeoutError:
            raise MethodError(f"it took longer than {self._timeout:g} s (--timeout)") from None
        except (BrokenBoxError, OSError) as error:
            raise MethodError(f"it broke its sandbox: {reason(error)}") from error
        if ended != "exit 0":
            raise MethodError(self._why(ended))
        return _parts(reply)

    @contextmanager
    def _borrowed(self, source: "_Source", other_than: Box | None = None) -> Iterator[Box]:
        """Have a sandbox for oneself that has in memory what a method needs, one that is idle or a new one.

        Starting one takes longer than a hundred questions. So a case is asked in one from its first question to its last,
        and its halves in one more, which the next case finds.
        """
        with self._lock:
            self._wanted |= source.wanted
            idle = next((one for one in reversed(self._idle) if one is not other_than), None)
            if idle:
                self._idle.remove(idle)
            wanted = sorted(self._wanted)
        if idle and not source.wanted <= idle.preloaded:
            idle.close()
            idle = None
        box = idle or Box(wanted, self._limits)
        with self._lock:
            self._busy.add(box)
        try:
            yield box
        finally:
            with self._lock:
                self._busy.discard(box)
                if not box.closed:
                    self._idle.append(box)

    def _why(self, ended: str) -> str:
        kind, _, which = ended.partition(" ")
        return {
            "exit": f"it ended its process (exit code {which})",
            "signal": f"its process was ended by {which}",
            "memory": f"it used more than {self._limits.memory / 2**30:g} GiB of memory",
            "size": f"it replied with more than {self._limits.reply / 2**20:g} MiB",
        }.get(kind, "it broke its sandbox")


def _reply(head: _Replied, body: bytes, rows: int, classes: int) -> Reply:
    """Return the reply to one question, checked: verdicts, and where there are any probabilities."""
    said = np.frombuffer(body[:rows], dtype=np.int8)
    if (said < ABSTAINED).any() or (said >= classes).any():
        raise MethodError("it replied something that is not one verdict a row")
    given = np.frombuffer(body[rows:], dtype="<f4").reshape(rows, classes) if head.probabilities else None
    if given is not None:
        check_probabilities(given)
    return Reply(said, head.fit_seconds, head.predict_seconds, given)


def _parts(reply: bytes) -> tuple[bytes, bytes]:
    """Return a reply's JSON, and what follows it."""
    if len(reply) < LENGTH.size:
        raise MethodError("it replied nothing")
    end = LENGTH.size + LENGTH.unpack_from(reply)[0]
    return reply[LENGTH.size : end], reply[end:]


def _read(model: type[T], head: bytes) -> T:
    """Read the JSON of a reply: what is expected, or the text of an error, which is raised."""
    try:
        with suppress(ValidationError):
            said = _Error.model_validate_json(head)
            raise MethodError(_printable(said.error), _printable(said.traceback))
        return model.model_validate_json(head)
    except (ValidationError, RecursionError) as error:
        raise MethodError(f"it replied something that is not an answer: {reason(error)}") from error


def _printable(text: str) -> str:
    """Return a text without what could do something to the terminal or the page that it is shown on."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in text)
