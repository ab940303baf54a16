"""The questions of model diagnosis: what may be answered, and which moves on the grid stand behind each verdict."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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
    wide : whether the task is asked over whatever moves a zoo offers, so that its verdicts depend on the zoo.
    """

    name: str
    question: str
    verdicts: Mapping[str, tuple[str, ...]]
    wide: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        """The verdicts, in the order in which they are counted and drawn."""
        return tuple(self.verdicts)

    @property
    def moves(self) -> tuple[str, ...]:
        """Every move that some verdict of the task recommends."""
        return tuple(move for moves in self.verdicts.values() for move in moves)

    def among(self, moves: Iterable[str]) -> "Task | None":
        """Return the task as it is asked of a zoo that offers these moves; None where it cannot be.

        A task needs all its moves. A wide one is asked about those of its verdicts whose moves are there, of which it needs
        two.
        """
        there = set(moves)
        offered = {verdict: some for verdict, some in self.verdicts.items() if there.issuperset(some)}
        if len(offered) == len(self.verdicts):
            return self
        return replace(self, verdicts=offered) if self.wide and len(offered) > 1 else None


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
        Task(
            "length_vs_optimizer",
            "Would training longer have helped more, or a better temperature?",
            {"training_too_short": ("longer",), "optimizer": _TEMPERATURE},
        ),
        Task(
            "regularization",
            "Is the regularization too weak or too strong?",
            {
                "regularization_too_weak": ("regularization_up",),
                "regularization_too_strong": ("regularization_down",),
            },
        ),
        Task(
            "failure_source_wide",
            "Which of all moves that the zoo offers, made alone, would have helped most?",
            {
                "temperature_too_low": ("temperature_up",),
                "temperature_too_high": ("temperature_down",),
                "width": ("width",),
                "data": ("data",),
                "training_too_short": ("longer",),
                "regularization_too_weak": ("regularization_up",),
                "regularization_too_strong": ("regularization_down",),
            },
            wide=True,
        ),
    )
}


def offered_tasks(moves: Iterable[str]) -> dict[str, Task]:
    """Return the tasks that a zoo with these moves can be asked, name → task with the verdicts that it has there.

    A wide task that asks no more than another one asks already is left out.
    """
    names = set(moves)
    found: dict[str, Task] = {}
    for task in TASKS.values():
        here = task.among(names)
        if here and not (task.wide and any(here.verdicts == other.verdicts for other in found.values())):
            found[task.name] = here
    return found


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
