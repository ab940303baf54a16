from . import maintenance as maintenance
from .ledger import (
    Event as Event,
    LEDGER as LEDGER,
    Ledger as Ledger,
    Outcome as Outcome,
    State as State,
    Verdict as Verdict,
)
