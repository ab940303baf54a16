"""What to do: the move that a verdict stands for, in a person's own terms, what it gained elsewhere, what would tell more."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from mdbench.diagnosing.diagnosis import Move, Neighbour, Verdict
from mdbench.diagnosing.pool import Pool
from mdbench.scoring import RULES, step_gains
from mdbench.tables import find_task

#: The task whose verdicts are moves.
ASKED: Final = "failure_source"
#: The rule of `RULES` by which a gain is counted: to the next value of the grid.
_ONE: Final = RULES.index("one")
#: The lacks that say which way the temperature is off.
_TEMPERATURES: Final = {"temperature_too_low", "temperature_too_high"}
#: Of the other of two likely lacks: what helps.
_HELPS: Final = {
    "temperature_too_low": "a higher temperature of training",
    "temperature_too_high": "a lower temperature of training",
    "width": "a wider network",
}


def moves_of(
    verdicts: Sequence[Verdict],
    nearest: Sequence[Neighbour],
    pool: Pool,
    configuration: Mapping[str, float],
    examples: int,
) -> tuple[Move, ...]:
    """Return the moves of the verdicts of `failure_source`, with what one step gained.

    What answers say comes first, and what an answer calls the lesser move after what it calls the better one. The rest is in
    the order of its probabilities; last is the direction of the temperature that was answered to be the wrong one.

    Parameters
    ----------
    verdicts : all.
    nearest : networks of the pool that look like this one.
    pool : they are in.
    configuration : what is known of the training.
    examples : training examples.
    """
    found = next((verdict for verdict in verdicts if verdict.task == ASKED), None)
    if found is None:
        return ()
    said, lesser, wrong = said_by(verdicts), lesser_by(verdicts), _wrong_way(verdicts)

    def place(name: str) -> tuple[bool, bool, bool, float]:
        (move,) = find_task(ASKED).verdicts[name]
        return name in wrong, move not in said, move in lesser, -found.probabilities[name]

    order = sorted(found.probabilities, key=place)
    return tuple(_move(name, nearest, pool, configuration, examples) for name in order)


def said_by(verdicts: Sequence[Verdict]) -> set[str]:
    """Return the moves that answers stand for."""
    answered = [one for one in verdicts if one.answered]
    return {move for one in answered for move in find_task(one.task).verdicts[one.likeliest]}


def lesser_by(verdicts: Sequence[Verdict]) -> set[str]:
    """Return the moves that some answer was not given for, though its question was about them too."""
    answered = [one for one in verdicts if one.answered]
    tasks = [(find_task(one.task).verdicts, one.likeliest) for one in answered]
    return {move for asked, said in tasks for name in asked if name != said for move in asked[name]}


def _wrong_way(verdicts: Sequence[Verdict]) -> set[str]:
    """Return the lack that is not the one that was answered, of a temperature too low and too high; empty if neither was."""
    sure = next((one.likeliest for one in verdicts if one.task == "optimizer" and one.answered), None)
    first = {one.likeliest for one in verdicts if one.task == ASKED and one.answered}
    return set() if sure is None else _TEMPERATURES - {sure} - first


def _move(
    verdict: str, nearest: Sequence[Neighbour], pool: Pool, configuration: Mapping[str, float], examples: int
) -> Move:
    (move,) = find_task(ASKED).verdicts[verdict]
    gains = []
    tables = {name: step_gains(pool.zoos[name], move)[_ONE] for name in {one.zoo for one in nearest}}
    for one in nearest:
        zoo = pool.zoos[one.zoo]
        if any(turn.name == move for turn in zoo.moves):
            gains.append(float(tables[one.zoo][zoo.configurations.index.get_loc(one.configuration)]))
    known = len(gains) > 1
    return Move(
        verdict=verdict,
        what=in_words(move, configuration, examples),
        gain=float(np.mean(gains)) if known else None,
        spread=float(np.std(gains, ddof=1)) if known else None,
        networks=len(gains),
    )


def in_words(move: str, configuration: Mapping[str, float], examples: int) -> str:
    """Return a move of one step, a factor of two, in a person's own terms.

    The temperature of gradient noise goes with learning rate / batch size (Smith and Le, ICLR 2018): half the batch is about
    twice the rate. A batch has one example at least, and all of them at most: beyond that, the rate alone is left.
    """
    up = move == "temperature_up"
    if move in ("temperature_up", "temperature_down"):
        batch, rate = configuration.get("batch_size"), configuration.get("learning_rate")
        first = "halve the batch size" if up else "double the batch size"
        second = "double the learning rate" if up else "halve the learning rate"
        if rate:
            second = f"learning rate {rate:g} → {rate * 2 if up else rate / 2:.3g}"
        if batch:
            turned = max(1, round(batch / 2)) if up else min(round(2 * batch), examples)
            if (turned >= batch) if up else (turned <= batch):
                return second
            first = f"batch size {batch:g} → {turned}"
        return f"{first}, or {second}"
    if move == "data":
        return f"more data: {examples:,} examples → {2 * examples:,}, or more augmentation"
    return "a wider network: twice the units of every hidden layer"


def experiment(verdicts: Sequence[Verdict]) -> str | None:
    """Return the cheapest experiment that tells the two likeliest moves apart; None where nothing is asked.

    What the other questions' answers rule out is not asked again.
    """
    found = next((verdict for verdict in verdicts if verdict.task == ASKED), None)
    if found is None:
        return None
    lesser = lesser_by([one for one in verdicts if one.task != ASKED])
    open_ones = [name for name in found.probabilities if not lesser.intersection(find_task(ASKED).verdicts[name])]
    first, second = sorted(open_ones, key=lambda name: -found.probabilities[name])[:2]
    pair = {first, second}
    if pair == _TEMPERATURES:
        return (
            "train once more with twice the learning rate, and once with half of it: the same cost each; the "
            "better one says which way."
        )
    if "data" in pair:
        return (
            "train once on half of the data, for as many epochs, at half the cost: if the test error hardly rises, more "
            f"data will not lower it either, but rather {_HELPS[(pair - {'data'}).pop()]}."
        )
    rate = "twice" if "temperature_too_low" in pair else "half"
    return (
        f"train once more with {rate} the learning rate, at the same cost: if the test error does not fall, a wider "
        "network will lower it rather."
    )
