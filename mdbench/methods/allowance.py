"""What holds unless told otherwise. It stands apart from what starts methods: the help needs this alone."""

import os
from typing import Final

#: Seconds a method may take for one case, all its seeds together.
TIMEOUT: Final = 600.0
#: Cores that this process may use: as many workers.
CORES: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
#: Workers where nothing is said: each takes about 60 MB, and all of a short evaluation's processes together at most 1 GB.
WORKERS: Final = min(CORES, 8)
#: The baselines that stand beside a method that is evaluated.
BESIDE: Final = "md_tree,validation_tree,hyperparameter_tree,majority"
