"""The program ``mdbench``, and ``python -m mdbench``."""

import sys

#: Commands that run methods in workers.
_RUNNING = (["evaluate"], ["compare"], ["prescribe"], ["plot", "budget"])


def main() -> None:
    """Let the workers' imports begin where the command will want workers, then read the command line."""
    words = sys.argv[1:]
    if any(words[: len(command)] == command for command in _RUNNING) and not {"--help", "--workers", "--sandbox"} & set(
        words
    ):
        from mdbench.methods import worker_context

        worker_context(files=[word for word in words if word.endswith(".py")])
    from mdbench.cli import main as run

    run()


if __name__ == "__main__":
    main()
