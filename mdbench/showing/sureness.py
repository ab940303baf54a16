"""What the probabilities that methods give are worth, in a document."""

from collections.abc import Iterable, Sequence

from mdbench.cases import Case
from mdbench.scoring import Evaluated
from mdbench.showing.markdown import code, table
from mdbench.showing.means import comparable


def how_sure(found: Evaluated, cases: Sequence[Case]) -> list[str]:
    """Return the section, with a table for each set of cases whose means can be compared; nothing where none gives any."""
    scores = {(score.method, score.case): score for score in found.result.scores}
    blocks: list[str] = []
    for tasks, names, methods in comparable(found, cases) if cases else ():
        rows = []
        for method in methods:
            given = [scores[method, name].probability for name in names]
            known = [one for one in given if one]
            if len(known) < len(names):
                continue
            errors = [one.calibration_error for one in known if one.calibration_error is not None]
            rows.append(
                (
                    code(method),
                    f"{_average(one.log_loss for one in known):.3f}",
                    f"{_average(one.brier_score for one in known):.3f}",
                    f"{_average(errors):.1f}" if errors else "–",
                    f"{_average(one.risk_coverage_area for one in known):.1f}",
                    f"{_average(one.accuracy_at_half for one in known):.1f}",
                    f"{_average(one.coverage_at_95 for one in known):.1f}",
                    f"{_average(scores[method, name].coverage for name in names):.1f}",
                )
            )
        every = len(tasks) == len({case.task for case in cases})
        heads = (
            "method",
            "log loss",
            "Brier score",
            "calibration error",
            "risk–coverage",
            "surer half",
            "95 % right",
            "answered",
        )
        if rows:
            ranked = sorted(rows, key=lambda row: float(row[1]))
            title = "Every task" if every else ", ".join(code(task) for task in tasks)
            blocks += [f"### {title}, {len(names)} cases", table(heads, ranked, "lrrrrrrr")]
    if not blocks:
        return []
    return [
        "## How sure methods are",
        "Of methods that give probabilities, means over the cases. *Log loss* is in nats; a probability below 2.2e-16 "
        "counts as that. *Brier score*: the sum over the verdicts of squared differences, from 0 to 2. Confidence is the "
        "probability of the verdict that is said. *Calibration error*: the difference between accuracy and confidence, in"
        " points, over ten bins of equal width, (0, 0.1] to (0.9, 1], weighed by what is in them. *Risk–coverage*: the "
        "error in % among the surest networks, its mean over all shares of them; equally sure ones come in random order. "
        "*Surer half*: accuracy on it, in %. *95 % right*: the largest share of the networks, in %, on which the accuracy"
        " is that. *Answered*: the share of the networks, in %, of which the method did not abstain. Intervals of log "
        "loss and Brier score on each case are in `result.json`.",
        *blocks,
    ]


def _average(values: Iterable[float]) -> float:
    each = list(values)
    return sum(each) / len(each)
