from . import stats as stats
from .comparison import Comparison as Comparison, compare as compare, gained as gained
from .evaluation import (
    Evaluated as Evaluated,
    Progress as Progress,
    evaluate as evaluate,
    evaluated as evaluated,
)
from .explanation import Explanation as Explanation, explain as explain
from .memory import PeakMemory as PeakMemory
from .mistakes import (
    NO_ANSWER as NO_ANSWER,
    axes_of as axes_of,
    by_axes as by_axes,
    by_margin as by_margin,
    two_axes as two_axes,
)
from .posing import Posed as Posed, pose as pose
from .prescription import (
    Prescriptions as Prescriptions,
    RULES as RULES,
    prescribe as prescribe,
    step_gains as step_gains,
)
from .probability import probability_record as probability_record
from .results import (
    CaseRecord as CaseRecord,
    Environment as Environment,
    Failure as Failure,
    IntervalRecord as IntervalRecord,
    Result as Result,
    Score as Score,
    load_result as load_result,
)
from .student import (
    Difference as Difference,
    Interval as Interval,
    Means as Means,
    mean_interval as mean_interval,
    mean_of as mean_of,
    over_zoos as over_zoos,
)
