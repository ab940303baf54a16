from . import maintenance as maintenance
from .head import Head as Head
from .ledger import (
    Event as Event,
    LEDGER as LEDGER,
    Ledger as Ledger,
    Outcome as Outcome,
    State as State,
    Verdict as Verdict,
)
from .queries import asked as asked
from .run import read_runs as read_runs
