from .cases import (
    Case as Case,
    all_cases as all_cases,
    cases_among as cases_among,
    load_cases as load_cases,
    select as select,
    selections as selections,
)
from .own import SEEDS as SEEDS, own_cases as own_cases
from .splits import (
    CaseRows as CaseRows,
    Pool as Pool,
    Rows as Rows,
    codes as codes,
    draw as draw,
    split as split,
    taking_part as taking_part,
)
