"""The sealed zoos of a clone, several at once: the public part of each is ``leaderboard/sealed/NAME/public``."""

from pathlib import Path

from leaderboard.sealing.seal import PUBLIC
from leaderboard.sealing.sealed import Part
from mdbench.errors import MdbenchError


def sealed_zoos(folder: Path) -> dict[str, Part]:
    """Return the public parts of sealed zoos, name → part, in the order of their names.

    Parameters
    ----------
    folder : ``leaderboard/sealed``; where it is missing, there are none.

    Raises
    ------
    MdbenchError
        One is damaged, or lies under another name than its own.
    """
    found = {}
    for public in sorted(folder.glob(f"[!.]*/{PUBLIC}")):
        part = Part.read(public)
        if part.sealed.name != public.parent.name:
            raise MdbenchError(
                f"{public} is the public part of {part.sealed.name}: rename {public.parent.name} to that"
            )
        found[part.sealed.name] = part
    return found
