"""mdbench: the benchmark of model diagnosis.

Given a trained network that underperforms, and without its training configuration, say why. ``mdbench.evaluate`` scores a
method on the standardized transfer cases; ``mdbench.load_zoo`` gives the tables.
"""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
__all__ = [
    "Case",
    "MdbenchError",
    "Result",
    "Task",
    "Zoo",
    "compare",
    "dataset_path",
    "diagnose",
    "evaluate",
    "explain",
    "load_cases",
    "load_result",
    "load_zoo",
    "plot",
    "prescribe",
    "tabulate",
]
