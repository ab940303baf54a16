"""What methods may use, unless told otherwise. It stands apart from what starts them: the help needs these numbers alone."""

import os
from typing import Final

#: Seconds a method may take for one case, all its seeds together.
TIMEOUT: Final = 600.0
#: Cores that this process may use: as many workers.
CORES: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
#: Workers where nothing is said: each takes about 60 MB, and all of a short evaluation's processes together at most 1 GB.
WORKERS: Final = min(CORES, 8)
