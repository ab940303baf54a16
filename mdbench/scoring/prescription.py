"""From diagnosis to one move on the grid, and what it gains (Zhou et al., ICML 2024, appendix A).

A verdict recommends a move. The gain of a move is the test accuracy at the point it leads to minus the model's own, clipped
at 0 (who sees a loss goes back), and beside that as it is; a model at the end of the grid gains 0. Three rules say how far
to go: to the next grid value (``one``), to a uniform choice among the values in that direction (``random``; its expectation
is computed, not drawn), to the best (``optimal``). Where several knobs of a zoo make the same move, one of them is turned.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from mdbench.cases import Case
from mdbench.errors import MdbenchError, nearest
from mdbench.methods import TIMEOUT, Answer, Method
from mdbench.scoring.evaluation import Asking, Progress
from mdbench.scoring.posing import Posed, choose, pose
from mdbench.scoring.results import Failure
from mdbench.scoring.student import Interval, over_rows
from mdbench.tables import TASKS, Move, Task, Zoo, order_along

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
    interval : 95 % interval of the mean, Student's, over training samples or, where these change nothing, test grid cells.
    unclipped : mean gain where losses count too.
    """

    diagnosis: str
    rule: str
    mean: float
    std: float
    interval: Interval
    unclipped: float


@dataclass(frozen=True)
class Prescription:
    """The gains of several diagnoses on one case.

    Attributes
    ----------
    case, test_rows : which case, and how many networks are diagnosed.
    gains : one a diagnosis and rule.
    knobs : move → the knob that is turned for it.
    instead : other knobs of the zoo that make one of these moves, and are left alone.
    """

    case: Case
    test_rows: int
    gains: tuple[Gain, ...]
    knobs: dict[str, str]
    instead: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Prescriptions:
    """The gains of several diagnoses on several cases, and what could not be answered."""

    cases: tuple[Prescription, ...]
    failures: tuple[Failure, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return a row a case, diagnosis and rule: ``gain``, ``std``, ``low``, ``high`` and ``unclipped``, in points."""
        columns = ["case", "diagnosis", "rule", "gain", "std", "low", "high", "unclipped"]
        rows = [
            (one.case.name, g.diagnosis, g.rule, g.mean, g.std, g.interval.low, g.interval.high, g.unclipped)
            for one in self.cases
            for g in one.gains
        ]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        diagnoses = dict.fromkeys(gain.diagnosis for one in self.cases for gain in one.gains)
        failed = f", {len(self.failures)} failures" if self.failures else ""
        return f"<Prescriptions: {len(diagnoses)} diagnoses, {len(self.cases)} cases{failed}>"

    def _repr_html_(self) -> str:
        """Return the gains as a table, for notebooks."""
        html: str = self.to_frame().to_html(index=False, float_format="{:.2f}".format)
        return html


def turned_by(zoo: Zoo, move: str, knob: str | None = None) -> Move | None:
    """Return how a zoo makes a move: by a knob, or where not by that one, by the first that it names."""
    ways = [turn for turn in zoo.moves if turn.name == move]
    return next((turn for turn in ways if turn.knob == knob), ways[0] if ways else None)


def step_gains(zoo: Zoo, move: str, knob: str | None = None, *, clipped: bool = True) -> np.ndarray:
    """Return what a move gains at every grid point.

    Parameters
    ----------
    zoo : the grid.
    move : name of the move; 0 is gained where the zoo does not make it.
    knob : which knob to turn where several make the move, see `turned_by`.
    clipped : whether a loss counts as 0.

    Returns
    -------
    Gains in points of test accuracy, one row a rule of `RULES`, shape (3, rows), the zoo's order.
    """
    accuracy = 100 - zoo.configurations["test_error"].to_numpy()
    gains = np.zeros((len(RULES), len(accuracy)))
    turn = turned_by(zoo, move, knob)
    if turn is None:
        return gains
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
                gains[:, row] = ahead[0], ahead.mean(), ahead.max()
    return gains


def prescribe(
    methods: Any,
    cases: str | Sequence[str] | None = None,
    *,
    zoo: str | os.PathLike[str] | None = None,
    knob: str | None = None,
    workers: int = 0,
    timeout: float = TIMEOUT,
    cache: bool = True,
    strict: bool = False,
    progress: Progress | None = None,
) -> Prescriptions:
    """Turn the diagnoses of methods into one move and report what it gains.

    Where a verdict leaves open which way the temperature should go, the method is asked the optimizer task too, trained
    on the same sample; rows without a verdict in either task are left out on both sides.

    Parameters
    ----------
    methods : one or several of: the name of a method, the path of a method file, an object or class that is a method.
    cases : cases whose verdicts are moves: selections, tasks, sweeps, cases or patterns, as `mdbench cases` lists them; None
        for the selection ``core-moves``. With a zoo, of that zoo's own cases, None for all.
    zoo : name or folder of a zoo to prescribe on, by the cases that it makes by itself.
    knob : which knob to turn where several make the same move, as batch size and learning rate both set the temperature;
        None for the first that each zoo names.
    workers : processes to run method files in. 0 runs them in this one, without a time limit; objects always run here.
    timeout : seconds a method may take for one case, with workers.
    cache : whether answers given before, by the same source to the same case, are used and new ones kept.
    strict : whether a method that cannot be loaded ends everything, before any is asked; otherwise it is a failure.
    progress : called with the number of answers there and wanted, after every answer.

    Raises
    ------
    MdbenchError
        There is no such case or zoo; no case can be posed; no zoo that is asked about makes one of the moves by the knob.
    """
    wanted, at_hand = choose(cases, zoo, otherwise="core-moves")
    firsts, seconds = [], {}
    for case in wanted:
        if any(len(moves) > 1 for moves in TASKS[case.task].verdicts.values()):
            firsts.append(case.model_copy(update={"also": (RESOLVER.name,)}))
            seconds[case.name] = case.model_copy(
                update={"name": f"{case.name} ({RESOLVER.name})", "task": RESOLVER.name, "also": (case.task,)}
            )
        else:
            firsts.append(case)
    with Asking(methods, workers=workers, timeout=timeout, cache=cache, strict=strict, progress=progress) as asking:
        posed, unposed = pose([*firsts, *seconds.values()], at_hand)
        _check_knob(knob, posed)
        answers = asking.answers(posed)
        failures = (*asking.failures, *unposed)
        asked = asking.methods
    by_name = {one.rows.case.name: one for one in posed}
    prescriptions = []
    for case in firsts:
        if case.name in by_name:
            second = seconds.get(case.name)
            resolver = by_name.get(second.name) if second else None
            if second and not resolver:
                continue
            prescriptions.append(_prescription(by_name[case.name], resolver, asked, answers, knob))
    return Prescriptions(tuple(prescriptions), failures)


def _check_knob(knob: str | None, posed: Sequence[Posed]) -> None:
    if knob is not None:
        knobs = dict.fromkeys(turn.knob for one in posed for turn in _turns(one))
        if knob not in knobs:
            raise MdbenchError(
                f"no move of these cases turns {knob!r}; they turn {', '.join(knobs)}{nearest(knob, knobs)}"
            )


def _turns(posed: Posed) -> list[Move]:
    """Return all ways in which the zoo asked about makes the moves of the task."""
    return [turn for turn in posed.test.moves if turn.name in posed.rows.task.moves]


def _prescription(
    first: Posed,
    second: Posed | None,
    methods: Sequence[Method],
    answers: dict[tuple[str, str], Answer],
    knob: str | None,
) -> Prescription:
    rows = first.rows
    task = rows.task
    places = first.test.configurations.index.get_indexer(rows.test.table.index)
    # Gains of each way to make a move, clipped and not: (2, rules, rows).
    every = {
        (turn.name, turn.knob): np.stack(
            [step_gains(first.test, turn.name, turn.knob, clipped=clipped)[:, places] for clipped in (True, False)]
        )
        for turn in _turns(first)
    }
    turns = {turn.name: turn.knob for move in task.moves if (turn := turned_by(first.test, move, knob))}
    moves = {move: every[move, by] for move, by in turns.items()}
    gains = []
    for method in methods:
        names = [one.rows.case.name for one in (first, second) if one]
        if all((method.name, name) in answers for name in names):
            predicted = answers[method.name, names[0]].predicted
            resolved = answers[method.name, names[1]].predicted if second else None
            gains += _report(method.name, _gained(task, moves, predicted, resolved), first)
    # The best of all moves by each rule, model by model and by whatever knob: the true verdict's own need not be it, but by
    # the rule `optimal`. Where all moves lose, it is none: whoever abstains stays.
    gains += _report("best possible", np.maximum(np.max(list(every.values()), axis=0), 0)[:, :, None], first)
    chance = np.mean([np.mean([moves[move] for move in some], axis=0) for some in task.verdicts.values()], axis=0)
    gains += _report("random", chance[:, :, None], first)
    instead = tuple(dict.fromkeys(by for move, by in every if by not in turns.values()))
    return Prescription(rows.case, len(rows.test), tuple(gains), turns, instead)


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
    test = posed.rows.test
    intervals = over_rows(clipped, test.cells, test.cell_count, several=posed.rows.several).intervals(low=0)
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
