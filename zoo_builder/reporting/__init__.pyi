from .datareport import write_report as write_report
from .portrait import show as show
from .quantities import duration as duration, size as size
from .summary import (
    families_of as families_of,
    label_balance as label_balance,
    size_of as size_of,
    within_seed_noise as within_seed_noise,
)
