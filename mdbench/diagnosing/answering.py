"""From the numbers of one network to answers, or to why there is none."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pandas as pd

from mdbench.diagnosing import calibration
from mdbench.diagnosing.diagnosis import Bin, Reliability, Share, Verdict, ZooRecord
from mdbench.diagnosing.judge import FAR, Judge, known
from mdbench.diagnosing.keeping import is_kept, of_bundle
from mdbench.diagnosing.leaving import Calibration, LeftOut, Rows, learned, leave_out
from mdbench.diagnosing.pool import ASKED, Pool, bundled_pool
from mdbench.tables import Task, find_task

#: Tasks whose verdicts are hints however sure they are, and why: they have not separated on zoos that were left out.
HINTS: Final = {
    "width_vs_optimizer": "no method has told width from temperature on zoos that it never saw, however sure it was",
}
#: Between which probabilities reliability is shown.
EDGES: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def verdicts_of(
    row: pd.DataFrame,
    *,
    seeds: bool,
    tested: int | None = None,
    pool: Pool | None = None,
    tasks: Sequence[str] = ASKED,
    said: Callable[[str], None] = lambda _: None,
) -> tuple[Verdict, ...]:
    """Return the answer to every task.

    Parameters
    ----------
    row : columns of a zoo's tables, one row.
    seeds : whether the row is of several seeds.
    tested : how many test examples its numbers are of; None where that is not known.
    pool : what is learned from; the zoos that come with mdbench if left out.
    tasks : what is asked.
    said : is called with what is being done.

    Raises
    ------
    MdbenchError
        Too little could be measured for any answer.
    """
    bundled, pool = pool is None, bundled_pool(seeds) if pool is None else pool
    columns = known(row, pool.rows)
    few = _too_few(row, pool, tested)
    found = []
    for name in tasks:
        known_already = not bundled or is_kept(seeds, name, columns)
        said(name if known_already else f"{name}, once it is learned from the zoos")
        if bundled:
            parts = of_bundle(seeds, name, columns)
        else:
            rows = Rows.of(pool, find_task(name))
            parts = (*leave_out(pool, find_task(name), columns), learned(pool, find_task(name), columns, rows))
        found.append(_verdict(row, pool, find_task(name), few, *parts))
    return tuple(found)


def _too_few(row: pd.DataFrame, pool: Pool, tested: int | None) -> str | None:
    """Return why so few examples say nothing: no network that was learned from had as few; None where they are enough."""
    least = int(pool.rows["data_amount"].min()) if "data_amount" in pool.rows else 0
    trained = float(row["data_amount"].iloc[0]) if "data_amount" in row else np.inf
    for what, amount in (("training", trained), ("test", np.inf if tested is None else tested)):
        if amount < least:
            return (
                f"its numbers are of {amount:g} {what} example{'s' * (amount != 1)}, and fewer than {least} say nothing"
            )
    return None


def _verdict(
    row: pd.DataFrame, pool: Pool, task: Task, few: str | None, found: Calibration, left_out: LeftOut, judge: Judge
) -> Verdict:
    (probabilities,) = calibration.tempered(judge.predict_proba(row), found.temperature)
    best = int(probabilities.argmax())
    far = bool(judge.far(row)[0])
    why = few or _why_not(task, float(probabilities[best]), found.threshold, far=far)
    return Verdict(
        task=task.name,
        question=task.question,
        probabilities={name: float(value) for name, value in zip(task.classes, probabilities, strict=True)},
        likeliest=task.classes[best],
        answered=why is None,
        why_not=why,
        threshold=found.threshold if np.isfinite(found.threshold) else None,
        temperature=found.temperature,
        coordinates=tuple(judge.names),
        reliability=reliability_of(pool, left_out),
    )


def _why_not(task: Task, probability: float, threshold: float, *, far: bool) -> str | None:
    if task.name in HINTS:
        return HINTS[task.name]
    if far:
        return f"a number of it lies more than {FAR:g} standard deviations beyond all networks that were learned from"
    if not np.isfinite(threshold):
        return f"on zoos that were left out, no probability was right {calibration.WANTED:.0%} of the time"
    if probability < threshold:
        return (
            f"its probability is {probability:.0%}, and zoos that were left out were right {calibration.WANTED:.0%} of the "
            f"time from {threshold:.0%} on"
        )
    return None


def reliability_of(pool: Pool, found: LeftOut) -> Reliability:
    """Return how good answers were, of networks whose kin was not seen."""
    clear = found.rows.clear
    zoos = records(pool, found)
    bins = calibration.reliability(found.sure[clear], found.hit[clear], EDGES)
    there = [one for one in zoos if one.clear]
    answered = [one.clear_answered / one.clear for one in there]
    right = [one.clear_right_answered / one.clear for one in there]
    return Reliability(
        accuracy=_share(calibration.over_zoos([one.clear_right / one.clear for one in there]), len(there)),
        answered=_share(calibration.over_zoos(answered), len(there)),
        right=_share(calibration.ratio_over_zoos(right, answered), len(there)) if sum(answered) else None,
        bins=tuple(
            Bin(said=one.said, right=Share(value=one.right, low=one.low, high=one.high, count=one.count))
            for one in bins
        ),
        zoos=zoos,
    )


def records(pool: Pool, found: LeftOut) -> tuple[ZooRecord, ...]:
    """Return what became of each zoo's networks."""
    zoos, clear = pool.rows["zoo"].to_numpy()[found.rows.at], found.rows.clear
    hit, answered = found.hit, found.answered

    def count(which: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> int:
        return int(which.sum())

    return tuple(
        ZooRecord(
            zoo=zoo,
            networks=count(there),
            right=count(there & hit),
            answered=count(there & answered),
            right_answered=count(there & answered & hit),
            clear=count(there & clear),
            clear_right=count(there & clear & hit),
            clear_answered=count(there & clear & answered),
            clear_right_answered=count(there & clear & answered & hit),
        )
        for zoo in np.unique(zoos)
        for there in [zoos == zoo]
    )


def _share(found: tuple[float, float, float], count: int) -> Share:
    value, low, high = found
    return Share(value=value, low=low, high=high, count=count)
