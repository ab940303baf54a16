"""mdbench: the benchmark of model diagnosis.

Given a trained network that underperforms, and without its training configuration, say why. ``mdbench.evaluate`` scores a
method on the standardized transfer cases; ``mdbench.load_zoo`` gives the tables.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdbench.cases import Case, Task, load_cases
    from mdbench.dataset import dataset_path
    from mdbench.errors import MdbenchError
    from mdbench.evaluation import evaluate
    from mdbench.results import Result, load_result
    from mdbench.zoo import Zoo, load_zoo

__version__ = "0.1.0"

__all__ = [
    "Case",
    "MdbenchError",
    "Result",
    "Task",
    "Zoo",
    "dataset_path",
    "evaluate",
    "load_cases",
    "load_result",
    "load_zoo",
]

_HOMES = {
    "Case": "cases",
    "MdbenchError": "errors",
    "Result": "results",
    "Task": "cases",
    "Zoo": "zoo",
    "dataset_path": "dataset",
    "evaluate": "evaluation",
    "load_cases": "cases",
    "load_result": "results",
    "load_zoo": "zoo",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: the command line's help must not wait for pandas."""
    if name in _HOMES:
        return getattr(import_module(f"mdbench.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mdbench' has no attribute {name!r}")
