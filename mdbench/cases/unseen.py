"""Zoos that nobody trained on: which others are learned from where one is asked about.

These are all that pose the same task, kin left out: zoos with the same data and the same architecture as the one in question.
A task is the same where it has the same verdicts. Where fewer than two zoos are left, nothing is asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from mdbench.tables import MANIFEST, Task, bundled_zoos, posed_tasks

#: Zoo → the tasks that it poses, by name.
Posing = Mapping[str, Mapping[str, Task]]
#: The scenario, and the selection.
UNSEEN: Final = "unseen"
#: Zoos that are learned from, at least.
FEWEST: Final = 2


def bundled_tasks() -> dict[str, dict[str, Task]]:
    """Return the zoos of this package, in the order of the alphabet, with the tasks that each of them poses."""
    folders = sorted(path.parent for path in bundled_zoos().glob(f"*/{MANIFEST}"))
    return {folder.name: posed_tasks(folder) for folder in folders}


def others(kin: Sequence[Sequence[str]], posing: Posing) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield what can be asked of zoos that were not learned from.

    Parameters
    ----------
    kin : groups of zoos that are left out together, each zoo in one.
    posing : the zoos that are there, and the tasks that each of them poses. Those in no group take no part.

    Yields
    ------
    The zoo that is asked about, the task, and the zoos that are learned from, in the order of the alphabet.
    """
    group = {zoo: at for at, zoos in enumerate(kin) for zoo in zoos}
    there = sorted(set(posing) & set(group))
    for test in there:
        for name, task in posing[test].items():
            train = tuple(
                zoo
                for zoo in there
                if group[zoo] != group[test] and name in posing[zoo] and posing[zoo][name].classes == task.classes
            )
            if len(train) >= FEWEST:
                yield test, name, train
