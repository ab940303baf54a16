"""A diagnosis in words: Markdown, and the sentence that stands first."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from mdbench.diagnosing.answering import HINTS
from mdbench.diagnosing.diagnosis import Bin, Diagnosis, Reliability, Share, Verdict
from mdbench.diagnosing.moves import lesser_by, said_by
from mdbench.showing import code, escape, table

#: Task → verdict → what it says of a network.
WORDS: Final[dict[str, dict[str, str]]] = {
    "optimizer": {
        "temperature_too_low": "the temperature of training is too low: batches too large, or the learning rate too small",
        "temperature_too_high": "the temperature of training is too high: batches too small, or the learning rate too large",
    },
    "data_vs_optimizer": {
        "data": "more data would help more than a better temperature of training",
        "optimizer": "a better temperature of training would help more than more data",
    },
    "width_vs_optimizer": {
        "width": "a wider network would help more than a better temperature of training",
        "optimizer": "a better temperature of training would help more than a wider network",
    },
    "failure_source": {
        "temperature_too_low": "a higher temperature would help most: smaller batches, or a larger learning rate",
        "temperature_too_high": "a lower temperature would help most: larger batches, or a smaller learning rate",
        "width": "a wider network would help most",
        "data": "more data would help most",
    },
}
#: How to read the table of layers, and from which width of layers on it means something.
LAYERS_SAID: Final = (
    "Hill: exponent of the tail, the larger half of the eigenvalues; less fresh: less that of the same "
    "layer freshly initialised, "
    "below zero where training has made the tail heavier. Its standard error is about (α − 1) / √(n / 2) "
    "for n eigenvalues: 20 % "
    "from layers of 50 on the shorter side on, 10 % from 200 on. Narrower layers are called neither under- nor over-trained. "
    "Rate: what TempBalance "
    "multiplies the learning rate by, 0.5 to 1.5 over the layers. Pruned: AlphaPruning's share of a layer, 50 % in all. "
    "Experts: how many of the adapters (LoRA experts) a layer gets by AlphaLoRA, in proportion to α to the power of 2.5; "
    "its layers are blocks of a transformer with the mean α of their matrices, and here each matrix is one."
)
#: Where it is said what coordinates are.
COORDINATES_SAID: Final = "What each of them is says docs/methods.md of mdbench, under Coordinates."
#: How far a bin's probability may be from the one in question.
_NEAR: Final = 0.1
#: Nearest networks that are listed.
_LISTED: Final = 5
#: The task whose answer says most.
_FIRST: Final = "failure_source"


def headline(diagnosis: Diagnosis) -> str:
    """Return the verdict or the abstention in a sentence."""
    answered = [verdict for verdict in diagnosis.verdicts if verdict.answered]
    if not answered:
        hint = next((one for one in diagnosis.verdicts if one.task == _FIRST), diagnosis.verdicts[0])
        return (
            f"No answer: {_no_answer(diagnosis)}. As a hint, "
            f"{WORDS[hint.task][hint.likeliest]} ({hint.probabilities[hint.likeliest]:.0%})."
        )
    lesser = lesser_by(answered)
    first = min(
        answered,
        key=lambda one: (one.task != _FIRST, said_by([one]) <= lesser, -one.probabilities[one.likeliest]),
    )
    said = f"{WORDS[first.task][first.likeliest]} ({first.probabilities[first.likeliest]:.0%})."
    return said[0].upper() + said[1:]


def _no_answer(diagnosis: Diagnosis) -> str:
    """Return why nothing is answered: nothing is sure enough, or what is has another reason."""
    sure = (
        one.why_not
        for one in diagnosis.verdicts
        if one.task not in HINTS and one.threshold is not None and one.probabilities[one.likeliest] >= one.threshold
    )
    return next(sure, None) or "nothing is as sure as answers were that were right 95 % of the time"


def percent(share: Share) -> str:
    """Return a share in % with its interval over zoos."""
    return f"{100 * share.value:.0f} % [{100 * share.low:.0f}, {100 * share.high:.0f}] ({share.count} zoos)"


def markdown(diagnosis: Diagnosis) -> str:
    """Return the report."""
    return "\n".join(_lines(diagnosis)) + "\n"


def _lines(diagnosis: Diagnosis) -> Iterator[str]:
    yield from ("# Diagnosis", "", f"**{headline(diagnosis)}**", "")
    yield (
        f"{diagnosis.checkpoints} network{'s' * (diagnosis.checkpoints > 1)} of {diagnosis.parameters:,} parameters, "
        f"measured: {diagnosis.extent}."
    )
    yield from ("", "## Answers", "")
    for verdict in diagnosis.verdicts:
        yield from (*_answer(verdict), "")
    yield from _moves(diagnosis)
    yield from _stands(diagnosis)
    yield from _layers(diagnosis)
    if diagnosis.reasons:
        yield from ("## What could not be measured", "")
        rows = [(code(family), escape(why)) for family, why in diagnosis.reasons.items()]
        yield from (table(("family", "why"), rows), "")
    if diagnosis.notes:
        yield from ("## Notes", "", *(f"- {escape(sentence(note))}" for note in diagnosis.notes), "")
    yield from ("## What was looked at", "")
    for coordinates, tasks in looked_at(diagnosis).items():
        yield from (f"{', '.join(map(code, tasks))}: {', '.join(map(code, coordinates))}.", "")
    yield from (COORDINATES_SAID, "")
    yield from ("## Numbers", "", table(("column", "value"), _numbers(diagnosis.measured), "lr"), "")
    yield from ("## Made by", "", ", ".join(f"{name} {version}" for name, version in diagnosis.versions.items()), "")
    if diagnosis.command:
        yield from (f"    {diagnosis.command}", "")


def _answer(verdict: Verdict) -> Iterator[str]:
    probability = verdict.probabilities[verdict.likeliest]
    yield f"### {verdict.question}"
    yield ""
    if verdict.answered:
        yield f"{code(verdict.likeliest)}, {probability:.0%}."
    else:
        yield f"No answer: {escape(verdict.why_not or '')}. A hint: {code(verdict.likeliest)}, {probability:.0%}."
    yield ""
    yield table(
        ("verdict", "probability"),
        [(code(name), f"{value:.0%}") for name, value in verdict.probabilities.items()],
        "lr",
    )
    yield ""
    yield reliable(verdict)


def reliable(verdict: Verdict) -> str:
    """Return in a sentence how good these very columns are on zoos that were left out."""
    found = verdict.reliability
    numbers = len(verdict.coordinates)
    asked = f"Zoos that were left out, with these {numbers} numbers, of networks whose lack is more than noise"
    if verdict.task in HINTS:
        return f"{asked}: what was said as a hint was right {percent(found.accuracy)}."
    return (
        f"{asked}: answered {percent(found.answered)}; {_right(found)}. "
        f"Whatever was said: right {percent(found.accuracy)}."
    )


def threshold_of(verdict: Verdict) -> float | None:
    """Return from which probability on there is an answer; None where there never is."""
    return None if verdict.task in HINTS else verdict.threshold


def looked_at(diagnosis: Diagnosis) -> dict[tuple[str, ...], list[str]]:
    """Return the coordinates that were looked at → the tasks in which these were."""
    found: dict[tuple[str, ...], list[str]] = {}
    for verdict in diagnosis.verdicts:
        found.setdefault(verdict.coordinates, []).append(verdict.task)
    return found


def of_which(diagnosis: Diagnosis) -> str:
    """Return what a heading adds where one of several networks is shown."""
    return " of the first network" if diagnosis.checkpoints > 1 else ""


def sentence(note: str) -> str:
    """Return a note as a sentence."""
    return f"{note[:1].upper()}{note[1:]}{'' if note.endswith('.') else '.'}"


def bin_of(verdict: Verdict) -> Bin | None:
    """Return the left-out networks that were about as sure as this one; None where there were none."""
    sure = verdict.probabilities[verdict.likeliest]
    near = min(verdict.reliability.bins, key=lambda one: abs(one.said - sure), default=None)
    return near if near is not None and abs(near.said - sure) < _NEAR else None


def _right(found: Reliability) -> str:
    return "hardly any" if found.right is None else f"of these, right {percent(found.right)}"


def _numbers(measured: Mapping[str, float | None]) -> Sequence[tuple[str, str]]:
    return [(code(name), f"{value:.6g}") for name, value in measured.items() if value is not None]


def _moves(diagnosis: Diagnosis) -> Iterator[str]:
    if not diagnosis.moves:
        return
    rows = [
        (
            code(one.verdict),
            escape(one.what),
            "–" if one.gain is None else f"{one.gain:.1f} ± {one.spread or 0:.1f} ({one.networks})",
        )
        for one in diagnosis.moves
    ]
    yield from ("## What to do", "", table(("if", "then", "gained by the nearest, points"), rows, "llr"), "")
    if diagnosis.experiment:
        yield from (f"The cheapest experiment that tells: {diagnosis.experiment}", "")


def _stands(diagnosis: Diagnosis) -> Iterator[str]:
    yield from ("## Where it stands", "")
    if diagnosis.outside:
        rows = [
            (code(one.coordinate), f"{one.value:.3g}", f"{one.low:.3g} to {one.high:.3g}", f"{one.beyond:.1f}")
            for one in diagnosis.outside
        ]
        yield from (
            table(("beyond all networks of the zoos", "value", "their range", "standard deviations"), rows, "lrrr"),
            "",
        )
    else:
        yield from ("All that was looked at lies within what the zoos have.", "")
    near = [
        (code(one.zoo), code(one.configuration), code(one.lacked.get(_FIRST, "none")), f"{one.distance:.2f}")
        for one in diagnosis.nearest[:_LISTED]
    ]
    if near:
        yield from (table(("nearest: zoo", "network", "lacked", "distance"), near, "lllr"), "")


def _layers(diagnosis: Diagnosis) -> Iterator[str]:
    if not diagnosis.layers:
        return
    rows = [
        (
            code(one.layer),
            f"{one.rows} × {one.columns}",
            *("–" if value is None else f"{value:.2f}" for value in (one.exponent, one.minus_fresh)),
            one.trained or "–",
            *("–" if value is None else f"{value:.2f}" for value in (one.rate, one.pruned)),
            "–" if one.experts is None else str(one.experts),
        )
        for one in diagnosis.layers
    ]
    header = ("layer", "matrix", "Hill", "less fresh", "trained", "rate ×", "pruned", "experts")
    yield from (f"## Layer by layer{of_which(diagnosis)}", "", table(header, rows, "lrrrlrrr"), "", LAYERS_SAID, "")
