"""`mdbench.tables.tasks`, under the path that method files import."""

from mdbench.tables.tasks import NONE, TASKS, Task, find_task

__all__ = ["NONE", "TASKS", "Task", "find_task"]
