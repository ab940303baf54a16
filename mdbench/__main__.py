"""The program ``mdbench``, and ``python -m mdbench``."""

import signal
import sys
from types import FrameType

#: Commands that run methods in workers.
_RUNNING = (["evaluate"], ["compare"], ["prescribe"], ["plot", "budget"])


def main() -> None:
    """Let the workers' imports begin where the command will want workers, then read the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop_once)
    try:
        _run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(130)
    finally:
        # If Ctrl-C came in an `exec` of text, as namedtuple's, `python -m` ends by the signal, unless there was another.
        exec("")  # noqa: S102


def _stop_once(_number: int, _frame: FrameType | None) -> None:
    """Obey Ctrl-C once: pressed again, it would only cut the tidying short, and leave processes behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _run(words: list[str]) -> None:
    if any(words[: len(command)] == command for command in _RUNNING) and not {"--help", "--workers", "--sandbox"} & set(
        words
    ):
        from mdbench.methods import BESIDE, worker_context

        beside = [] if any(word.startswith("--beside") for word in words) else [BESIDE]
        worker_context(methods=[*words, *(name for word in [*words, *beside] for name in word.split(","))])
    from mdbench.cli import main as run

    run()


if __name__ == "__main__":
    main()
