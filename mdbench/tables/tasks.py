"""The questions of model diagnosis: what may be answered, and which moves on the grid stand behind each verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mdbench.errors import MdbenchError

#: The label of a row for which no verdict of a task is better than every other. Such rows are left out of the task.
NONE = "none"


@dataclass(frozen=True, eq=False)
class Task:
    """A question asked of a trained network.

    Attributes
    ----------
    name : the task's name, which is also the name of its label column.
    question : the question in words.
    verdicts : verdict → the moves on the grid that it recommends. A row's label is the verdict whose best move
        has the largest room for improvement (RFI), `NONE` where two verdicts share the largest one.
    """

    name: str
    question: str
    verdicts: Mapping[str, tuple[str, ...]]

    @property
    def classes(self) -> tuple[str, ...]:
        """The verdicts, in the order in which they are counted and drawn."""
        return tuple(self.verdicts)

    @property
    def moves(self) -> tuple[str, ...]:
        """Every move that some verdict of the task recommends."""
        return tuple(move for moves in self.verdicts.values() for move in moves)


_TEMPERATURE = ("temperature_up", "temperature_down")

TASKS: Final[dict[str, Task]] = {
    task.name: task
    for task in (
        Task(
            "optimizer",
            "Is the temperature of learning too low or too high?",
            {"temperature_too_low": ("temperature_up",), "temperature_too_high": ("temperature_down",)},
        ),
        Task(
            "width_vs_optimizer",
            "Would a wider model have helped more, or a better temperature?",
            {"width": ("width",), "optimizer": _TEMPERATURE},
        ),
        Task(
            "data_vs_optimizer",
            "Would more data have helped more, or a better temperature?",
            {"data": ("data",), "optimizer": _TEMPERATURE},
        ),
        Task(
            "failure_source",
            "Which move, made alone, would have helped most?",
            {
                "temperature_too_low": ("temperature_up",),
                "temperature_too_high": ("temperature_down",),
                "width": ("width",),
                "data": ("data",),
            },
        ),
    )
}


def find_task(name: str) -> Task:
    """Return the task of this name.

    Raises
    ------
    MdbenchError
        There is no such task.
    """
    if name not in TASKS:
        raise MdbenchError(f"task {name!r} does not exist; there are {', '.join(TASKS)}")
    return TASKS[name]
