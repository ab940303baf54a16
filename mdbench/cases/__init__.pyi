from .cases import (
    Case as Case,
    cases_among as cases_among,
    load_cases as load_cases,
    select as select,
    selections as selections,
)
from .own import SEEDS as SEEDS, own_cases as own_cases, own_cases_and_why as own_cases_and_why
from .splits import (
    CaseRows as CaseRows,
    Rows as Rows,
    codes as codes,
    draw as draw,
    split as split,
    taking_part as taking_part,
)
from .unseen import UNSEEN as UNSEEN
