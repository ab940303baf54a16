"""What libraries warn of while a method runs: said once a method, not once a fit."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

#: Characters of a warning that are kept, and how many warnings of one question a sandbox tells of.
TEXT: Final = 300
MOST: Final = 100


class MethodWarning(UserWarning):
    """What a method was warned of, in one line."""


@contextmanager
def kept_back() -> Iterator[list[str]]:
    """Stand around a method's code; the list that is yielded holds afterwards, once each, what was warned of meanwhile.

    Filters stay as they are: what is ignored is not there, what is an error is raised.
    """
    said: list[str] = []
    with warnings.catch_warnings(record=True) as heard:
        try:
            yield said
        finally:
            said += dict.fromkeys(_line(one) for one in heard)


def _line(warning: warnings.WarningMessage) -> str:
    """Return a warning as one line: its kind, and the first line of what it says."""
    text = str(warning.message).strip().partition("\n")[0]
    return f"{warning.category.__name__}: {text}"[:TEXT].rstrip(" :")


def say_once(method: str, by_case: Iterable[Iterable[str]]) -> None:
    """Warn of what a method was warned of in several cases: once a kind of warning, with its first text, and in how many."""
    first: dict[str, str] = {}
    cases: dict[str, int] = {}
    for said in by_case:
        for kind, text in {text.partition(":")[0]: text for text in reversed([*said])}.items():
            first.setdefault(kind, text)
            cases[kind] = cases.get(kind, 0) + 1
    for kind, text in first.items():
        count = f"{cases[kind]} case{'s' * (cases[kind] > 1)}"
        warnings.warn(f"method {method}: {text} (in {count})", MethodWarning, stacklevel=2)
