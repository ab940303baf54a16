"""What methods may use, unless told otherwise. It stands apart from what starts them: the help needs these numbers alone."""

import os
from typing import Final

#: Seconds a method may take for one case, all its seeds together.
TIMEOUT: Final = 600.0
#: Cores that this process may use: as many workers.
CORES: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
