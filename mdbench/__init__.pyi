from .cases import Case as Case, load_cases as load_cases
from .errors import MdbenchError as MdbenchError
from .plugins import diagnose as diagnose
from .scoring import (
    Result as Result,
    compare as compare,
    evaluate as evaluate,
    explain as explain,
    load_result as load_result,
    prescribe as prescribe,
)
from .showing import plot as plot, tabulate as tabulate
from .tables import Task as Task, Zoo as Zoo, dataset_path as dataset_path, load_zoo as load_zoo
from .version import __version__ as __version__
