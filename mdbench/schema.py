"""`mdbench.tables.schema`, under the path that method files import."""

from mdbench.tables.schema import *  # noqa: F403
