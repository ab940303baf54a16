"""What can go wrong with things that come from outside."""

from collections.abc import Iterable


class MdbenchError(Exception):
    """An input cannot be used. The message says what was wrong, where, and what to do about it.

    The command line prints the message alone and exits with code 2.
    """


def nearest(name: str, names: Iterable[str]) -> str:
    """Return which of some names is meant by a misspelt one, as the end of a message; empty where none is near."""
    import difflib

    near = difflib.get_close_matches(name, list(names), n=1)
    return f" (nearest: {near[0]})" if near else ""


def reason(error: BaseException) -> str:
    """Return in one line what an error says, for a message that says where and what to do."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        detail = error.errors()[0]
        return f"{'.'.join(str(part) for part in detail['loc']) or 'content'}: {detail['msg']}"
    said = str(getattr(error, "strerror", None) or error)
    return (said.splitlines() or [type(error).__name__])[0]
