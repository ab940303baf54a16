"""Compiling in another process, so that what runs is always what is kept.

In the process that compiles it, a function calls what it calls as that was compiled by itself; kept, it brings its own
copies, which were optimized with it and round sums differently (seen with Numba 0.68.1). So another process compiles, and
this one takes what was kept: a network is the same whether or not its loops were there before.
"""

import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import numba
from numba import types

#: Set in a process that compiles for another one.
_APART: Final = "MDBENCH_COMPILES"
#: Not empty within `telling`.
_TOLD_ANYWAY: Final[list[bool]] = []
#: Records that loops are given: name → where its dtype is.
_RECORDS: Final = {"VALUE": "layout", "STEP": "layout", "RECIPE": "recipe"}


def compiled_apart(module: str, function: str, sig: Sequence[Any]) -> bool:
    """Have another process compile a function for the types of its arguments, and tell whether it did.

    It does not know functions of scripts and terminals, nor types other than numbers, arrays, and the records of this room.
    """
    said = [_said(kind) for kind in sig]
    if _APART in os.environ or module == "__main__" or "<" in function or not sys.executable or None in said:
        return False
    _tell()
    begin = f"import sys; from {__name__} import compile_for_another; compile_for_another(*sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", begin, module, function, json.dumps(said)],
        stdin=subprocess.PIPE,  # open until it is done: where this process ends, it ends
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, _APART: "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,  # Ctrl-C is not for it: who asked would compile by itself, and compute other last bits
    ) as process:
        try:
            return process.wait() == 0
        except BaseException:
            process.kill()
            raise


@contextmanager
def telling() -> Iterator[None]:
    """Have it told that loops are compiled also where nobody sits at a terminal: whoever reads what is said later."""
    _TOLD_ANYWAY.append(True)
    try:
        yield
    finally:
        _TOLD_ANYWAY.pop()


@cache
def _tell() -> None:
    """Tell who sits at a terminal, once, why nothing else happens for a while."""
    if sys.stderr.isatty() or _TOLD_ANYWAY:
        sys.stderr.write(
            "compiling the loops that train and measure networks, once for this machine: a minute or two\n"
        )


def compile_for_another(module: str, function: str, said: str) -> None:
    """Compile a function, and keep it; `said` is the types of its arguments."""

    def end_with_it() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()
    sig = tuple(_meant(one) for one in json.loads(said))
    getattr(importlib.import_module(module), function).compile(sig)


def _said(kind: Any) -> Any:
    """Return a type as JSON; None of one that is not known."""
    if isinstance(kind, types.Array):
        said: Any = [_said(kind.dtype), kind.ndim, kind.layout, not kind.mutable, kind.aligned]
    elif isinstance(kind, types.Record):
        said = next((name for name in _RECORDS if _meant(name) == kind), None)
    else:
        said = str(kind)
    try:
        return said if _meant(said) == kind else None
    except (AttributeError, TypeError):
        return None


def _meant(said: Any) -> Any:
    """Return the type that was said."""
    if isinstance(said, list):
        dtype, axes, layout, readonly, aligned = said
        return types.Array(_meant(dtype), axes, layout, readonly=readonly, aligned=aligned)
    if said in _RECORDS:
        room = importlib.import_module(f"{__package__}.{_RECORDS[said]}")
        return numba.from_dtype(getattr(room, said))
    return getattr(types, said)
