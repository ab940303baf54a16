"""`mdbench.tables.Zoo` and the folders of zoos, under the path that they were first published with."""

from mdbench.tables.loading import *  # noqa: F403
from mdbench.tables.manifest import *  # noqa: F403
from mdbench.tables.zoo import *  # noqa: F403
