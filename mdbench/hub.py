"""What to say where the Hugging Face Hub does not do what it is asked. Needs huggingface-hub, which mdbench does not."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx2
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from mdbench.errors import MdbenchError, reason


@contextmanager
def asking(failed: str, *, again: str, unheard: str, advice: Mapping[int, str]) -> Iterator[None]:
    """Stand around what is asked of the Hub: where it fails, say what to do about it.

    Parameters
    ----------
    failed : what has then not been done, and where.
    again : what the same command does when it is run again.
    unheard : what to do where the Hub was not heard of.
    advice : status → what to do where the Hub answers that; 401, 429 and those from 500 on are known.

    Raises
    ------
    MdbenchError
        It failed.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, httpx2.HTTPError) as error:
        # The client says of a large file which one it was, and of what happened to it that it was the cause.
        cause = error.__cause__ if type(error) is RuntimeError and error.__cause__ else error
        raise MdbenchError(f"{failed}: {_said(cause)}; {_advice(cause, again, unheard, advice)}") from error


def _said(error: BaseException) -> str:
    """Return in one line what went wrong."""
    if isinstance(error, HfHubHTTPError):
        told = error.server_message or ""
        return f"the Hub answers {error.response.status_code}" + (f" ({' '.join(told.split())})" if told else "")
    where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    return where + (" ".join(str(error).split()) if isinstance(error, ValueError) else reason(error))


def _advice(error: BaseException, again: str, unheard: str, advice: Mapping[int, str]) -> str:
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in advice:
            return advice[status]
        if status == 401:
            return "log in with `hf auth login`, or set HF_TOKEN to a token that is valid"
        if status == 429 or status >= 500:
            return f"later, {again}"
    if isinstance(error, HFValidationError):
        return "a repository is called ORGANISATION/NAME"
    if isinstance(error, OfflineModeIsEnabled):
        return "unset HF_HUB_OFFLINE"
    if isinstance(error, (httpx2.TransportError, ConnectionError, TimeoutError)):
        return f"is there a network? {unheard}"
    return f"once that is mended, {again}"
