"""`mdbench.tables.tasks`, under the path that method files import."""

from mdbench.tables.tasks import *  # noqa: F403
