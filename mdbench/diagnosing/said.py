"""A diagnosis in words: Markdown, and the sentence that stands first."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from mdbench.diagnosing.diagnosis import Diagnosis, Reliability, Share, Verdict
from mdbench.showing import code, escape, table

#: Verdict → what it says of a network.
WORDS: Final = {
    "temperature_too_low": "the temperature of training is too low: batches too large, or the learning rate too small",
    "temperature_too_high": "the temperature of training is too high: batches too small, or the learning rate too large",
    "optimizer": "a better temperature would help more",
    "width": "a wider network would help most",
    "data": "more data would help most",
}
#: The task whose answer says most.
_FIRST: Final = "failure_source"


def headline(diagnosis: Diagnosis) -> str:
    """Return the verdict or the abstention in a sentence."""
    answered = [verdict for verdict in diagnosis.verdicts if verdict.answered]
    if not answered:
        hint = next((one for one in diagnosis.verdicts if one.task == _FIRST), diagnosis.verdicts[0])
        return (
            f"No answer: nothing is as sure as answers were that were right 95 % of the time. As a hint, "
            f"{WORDS[hint.likeliest]} ({hint.probabilities[hint.likeliest]:.0%})."
        )
    first = min(answered, key=lambda one: (one.task != _FIRST, -one.probabilities[one.likeliest]))
    said = f"{WORDS[first.likeliest]} ({first.probabilities[first.likeliest]:.0%})."
    return said[0].upper() + said[1:]


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
        f"measured by {code(diagnosis.extent)}. {escape(diagnosis.way)}"
    )
    yield from ("", "## Answers", "")
    for verdict in diagnosis.verdicts:
        yield from (*_answer(verdict), "")
    if diagnosis.reasons:
        yield from ("## What could not be measured", "")
        rows = [(code(family), escape(why)) for family, why in diagnosis.reasons.items()]
        yield from (table(("family", "why"), rows), "")
    if diagnosis.notes:
        yield from ("## Notes", "", *(f"- {escape(note)}" for note in diagnosis.notes), "")
    yield from ("## Numbers", "", table(("column", "value"), _numbers(diagnosis.measured), "lr"), "")
    yield from ("## Made by", "", ", ".join(f"{name} {version}" for name, version in diagnosis.versions.items()), "")
    if diagnosis.command:
        yield from (f"    {diagnosis.command}", "")


def _answer(verdict: Verdict) -> Iterator[str]:
    probability, found = verdict.probabilities[verdict.likeliest], verdict.reliability
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
    yield (
        f"Zoos that were left out, with these {len(verdict.coordinates)} numbers, of networks whose lack is more than noise: "
        f"answered {percent(found.answered)}; {_right(found)}. Whatever was said: right {percent(found.accuracy)}."
    )


def _right(found: Reliability) -> str:
    return "hardly any" if found.right is None else f"of these, right {percent(found.right)}"


def _numbers(measured: Mapping[str, float | None]) -> Sequence[tuple[str, str]]:
    return [(code(name), f"{value:.6g}") for name, value in measured.items() if value is not None]
