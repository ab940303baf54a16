"""From diagnosis to one move on the grid, and what it gains (Zhou et al., ICML 2024, appendix A).

A verdict recommends a move. The gain of a move is the test accuracy at the point it leads to minus the model's own, clipped
at 0 (who sees a loss goes back), and beside that as it is; a model at the end of the grid gains 0. Three rules say how far
to go: to the next grid value (``one``), to a uniform choice among the values in that direction (``random``; its expectation
is computed, not drawn), to the best (``optimal``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mdbench.cases import Case
from mdbench.errors import MdbenchError
from mdbench.methods import TIMEOUT, Answer, Method
from mdbench.scoring import stats
from mdbench.scoring.evaluation import Asking, AtHand, Posed, Progress, pose
from mdbench.scoring.results import Failure
from mdbench.tables import TASKS, Task, Zoo, order_along

RULES: Final = ("one", "random", "optimal")
#: The task that says which way to turn the temperature, where another task's verdict leaves that open.
RESOLVER: Final = TASKS["optimizer"]


@dataclass(frozen=True)
class Gain:
    """What following a diagnosis gains.

    Attributes
    ----------
    diagnosis : a method's name, or ``best possible`` or ``random``.
    rule : how far the move goes.
    mean : mean gain over test rows and seeds, in points of test accuracy.
    std : sample standard deviation over seeds; 0 where there is one, or none is involved.
    interval : 95 % interval of the mean, bootstrap over training samples and test grid cells.
    unclipped : mean gain where losses count too.
    """

    diagnosis: str
    rule: str
    mean: float
    std: float
    interval: stats.Interval
    unclipped: float


@dataclass(frozen=True)
class Prescription:
    """The gains of several diagnoses on one case."""

    case: Case
    test_rows: int
    gains: tuple[Gain, ...]


def step_gains(zoo: Zoo, move: str, *, clipped: bool = True) -> np.ndarray:
    """Return what a move gains at every grid point.

    Parameters
    ----------
    zoo : the grid.
    move : name of the move; where several knobs make it, the one that gains more counts.
    clipped : whether a loss counts as 0.

    Returns
    -------
    Gains in points of test accuracy, one row a rule of `RULES`, shape (3, rows), the zoo's order.
    """
    accuracy = 100 - zoo.configurations["test_error"].to_numpy()
    best = np.full((len(RULES), len(accuracy)), -np.inf)
    for turn in (turn for turn in zoo.moves if turn.name == move):
        line, order = order_along(zoo.configurations[zoo.knobs], turn)
        for along in np.split(order, np.flatnonzero(np.diff(line[order])) + 1):
            reached = accuracy[along]
            # gain[i, j]: going from the i-th point of the line to the j-th
            gain = reached[None, :] - reached[:, None]
            gain = np.maximum(gain, 0) if clipped else gain
            for place, row in enumerate(along):
                ahead = gain[place, place + 1 :]
                ahead = ahead[np.isfinite(ahead)]
                if len(ahead):
                    best[:, row] = np.maximum(best[:, row], (ahead[0], ahead.mean(), ahead.max()))
    return np.where(np.isfinite(best), best, 0.0)


def prescribe(
    methods: Sequence[object],
    cases: Sequence[Case],
    *,
    at_hand: AtHand | None = None,
    workers: int = 0,
    timeout: float = TIMEOUT,
    cache: bool = True,
    progress: Progress | None = None,
) -> tuple[list[Prescription], list[Failure]]:
    """Turn the diagnoses of methods into one move and report what it gains.

    Where a verdict leaves open which way the temperature should go, the method is asked the optimizer task too, trained
    on the same sample; rows without a verdict in either task are left out on both sides.

    Parameters
    ----------
    methods, workers, timeout, cache, progress : see `mdbench.scoring.evaluate`.
    cases : cases whose verdicts are moves.
    at_hand : zoos of these cases that were loaded already.

    Returns
    -------
    One prescription a case, in order, and what failed.

    Raises
    ------
    MdbenchError
        No case can be posed.
    """
    firsts, seconds = [], {}
    for case in cases:
        if any(len(moves) > 1 for moves in TASKS[case.task].verdicts.values()):
            firsts.append(case.model_copy(update={"also": (RESOLVER.name,)}))
            seconds[case.name] = case.model_copy(
                update={"name": f"{case.name} ({RESOLVER.name})", "task": RESOLVER.name, "also": (case.task,)}
            )
        else:
            firsts.append(case)
    with Asking(methods, workers=workers, timeout=timeout, cache=cache, progress=progress) as asking:
        posed, unposed = pose([*firsts, *seconds.values()], at_hand)
        answers = asking.answers(posed)
        failures = [*asking.failures, *unposed]
        asked = asking.methods
    by_name = {one.rows.case.name: one for one in posed}
    prescriptions = []
    for case in firsts:
        if case.name in by_name:
            second = seconds.get(case.name)
            resolver = by_name.get(second.name) if second else None
            if second and not resolver:
                continue
            prescriptions.append(_prescription(by_name[case.name], resolver, asked, answers))
    return prescriptions, failures


def _prescription(
    first: Posed, second: Posed | None, methods: Sequence[Method], answers: dict[tuple[str, str], Answer]
) -> Prescription:
    rows = first.rows
    task = rows.task
    places = first.test.configurations.index.get_indexer(rows.test.table.index)
    # Gains of each move, clipped and not: (2, rules, rows).
    moves = {
        move: np.stack([step_gains(first.test, move, clipped=clipped)[:, places] for clipped in (True, False)])
        for move in task.moves
    }
    gains = []
    for method in methods:
        names = [one.rows.case.name for one in (first, second) if one]
        if all((method.name, name) in answers for name in names):
            predicted = answers[method.name, names[0]].predicted
            resolved = answers[method.name, names[1]].predicted if second else None
            gains += _report(method.name, _gained(task, moves, predicted, resolved), first)
    # The best of all moves by each rule, model by model: the true verdict's own need not be it, but by the rule `optimal`.
    gains += _report("best possible", np.max(list(moves.values()), axis=0)[:, :, None], first)
    chance = np.mean([np.mean([moves[move] for move in some], axis=0) for some in task.verdicts.values()], axis=0)
    gains += _report("random", chance[:, :, None], first)
    return Prescription(rows.case, len(rows.test), tuple(gains))


def _gained(task: Task, moves: dict[str, np.ndarray], predicted: np.ndarray, resolved: np.ndarray | None) -> np.ndarray:
    """Return the gain of every rule, seed and row; `predicted` and `resolved` (seeds, rows) → (2, rules, seeds, rows)."""
    gained = np.zeros((2, len(RULES), *predicted.shape))
    for place, some in enumerate(task.verdicts.values()):
        for move in some:
            chosen = predicted == place
            if len(some) > 1:
                if resolved is None:
                    raise MdbenchError(f"task {task.name} leaves the direction of the temperature open")
                chosen = chosen & (resolved == [move in way for way in RESOLVER.verdicts.values()].index(True))
            gained += np.where(chosen, moves[move][:, :, None], 0)
    return gained


def _report(diagnosis: str, gained: np.ndarray, posed: Posed) -> list[Gain]:
    clipped, whole = gained
    intervals = stats.mean_intervals(clipped, posed.rows.test.cells, posed.rows.test.cell_count)
    by_seed = clipped.mean(axis=2)
    return [
        Gain(
            diagnosis,
            rule,
            float(by_seed[place].mean()),
            float(by_seed[place].std(ddof=1)) if by_seed.shape[1] > 1 else 0.0,
            intervals[place],
            float(whole[place].mean()),
        )
        for place, rule in enumerate(RULES)
    ]
