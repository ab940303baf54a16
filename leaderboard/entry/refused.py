"""Why a submission is refused."""

from mdbench.errors import MdbenchError


class Refused(MdbenchError):  # noqa: N818 - it is no error of anybody's but the submission's
    """A submission is not what it has to be.

    Attributes
    ----------
    kind : what is wrong with it, in a word or two that do not change.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
