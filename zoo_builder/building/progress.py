"""How far a build is, or the measuring of one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a build is.

    Attributes
    ----------
    models, models_done : networks, of which so many are in the store.
    found : networks that were there when this attempt began.
    work, work_done, work_fresh : what they cost, in arbitrary units: in all, in the store, by this attempt.
    seconds : since this attempt began.
    """

    models: int
    models_done: int
    found: int
    work: float
    work_done: float
    work_fresh: float
    seconds: float
