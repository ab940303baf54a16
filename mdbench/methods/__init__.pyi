from . import cache as cache
from .allowance import BESIDE as BESIDE, CORES as CORES, TIMEOUT as TIMEOUT, WORKERS as WORKERS
from .conformance import (
    CHECKS as CHECKS,
    Checked as Checked,
    assert_conforms as assert_conforms,
    check_method as check_method,
)
from .forest import stand_in as stand_in
from .imports import beside as beside, optional_imports as optional_imports, syntax_tree as syntax_tree
from .method import (
    Method as Method,
    MethodError as MethodError,
    Track as Track,
    alternatives as alternatives,
    as_method as as_method,
    find_method as find_method,
    load_method as load_method,
    loaded_method as loaded_method,
    named_methods as named_methods,
)
from .nursery import end_nursery as end_nursery, worker_context as worker_context
from .replies import Answer as Answer, depends_on_others as depends_on_others, leans_on_others as leans_on_others
from .sandbox import Sandbox as Sandbox
from .trial import (
    Control as Control,
    Learner as Learner,
    Question as Question,
    WANTS_COLUMN as WANTS_COLUMN,
    given_columns as given_columns,
    questions as questions,
)
from .warned import MethodWarning as MethodWarning, kept_back as kept_back, say_once as say_once
from .workers import Here as Here, Order as Order, Runner as Runner, Workers as Workers
