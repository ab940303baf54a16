"""The site on this machine, for looking at it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import typer

from leaderboard.ranking import assemble
from leaderboard.site.site import build
from mdbench.errors import MdbenchError, reason

HOST: Final = "127.0.0.1"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the standard library
        """Say nothing of what was asked for."""


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[ThreadingHTTPServer]:
    """Open a port of this machine, where `serve_forever` shows a folder, and close it in the end.

    Parameters
    ----------
    folder : what is shown.
    port : 0 for any that is free.

    Raises
    ------
    MdbenchError
        The port cannot be opened.
    """
    try:
        server = ThreadingHTTPServer((HOST, port), partial(_Quiet, directory=str(folder)))
    except OSError as error:
        raise MdbenchError(
            f"port {port} of {HOST} cannot be opened: {reason(error)}; name another with --port, or 0 for any that is free"
        ) from error
    with server:
        yield server


def command(*, entries: Path, port: int) -> None:
    """Draw the board of a folder of entries and show it until Ctrl-C.

    Raises
    ------
    MdbenchError
        The entries cannot be read, or the port cannot be opened.
    """
    with tempfile.TemporaryDirectory(prefix="mdbench-site-") as scratch:
        site = Path(scratch, "site")
        # The port first: nobody wants to wait for pages that cannot be shown.
        with serving(site, port) as server:
            build(assemble(entries), site)
            typer.echo(f"http://{HOST}:{server.server_port}/  (Ctrl-C ends it)")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                typer.echo("stopped", err=True)
