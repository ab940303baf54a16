"""`mdbench.tables.zoo`, under the path that it was first published with."""

from mdbench.tables.zoo import *  # noqa: F403
