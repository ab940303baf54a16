"""Means over zoos that nobody trained on, against plain computations."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import t as student

from mdbench.scoring.results import CaseRecord
from mdbench.showing import others

ZOOS = ("a", "b", "c", "d")


def found(scores: dict[str, list[float | None]], counted=("temperature_too_low", "temperature_too_high")):
    """Return what an evaluation of methods on the optimizer of four zoos leaves behind; scores above chance in %."""
    cases = [
        SimpleNamespace(name=f"others-to-{zoo}/optimizer/unseen/80", task="optimizer", scenario="unseen", test=zoo)
        for zoo in ZOOS
    ]
    records = [
        SimpleNamespace(case=case, classes=("temperature_too_low", "temperature_too_high"), counted=counted)
        for case in cases
    ]
    for record in records:
        record.rare = CaseRecord.rare.fget(record)
    return SimpleNamespace(
        posed=[SimpleNamespace(rows=SimpleNamespace(case=case)) for case in cases],
        result=SimpleNamespace(
            cases=records,
            methods=[SimpleNamespace(name=name) for name in scores],
            scores=[
                SimpleNamespace(method=name, case=case.name, above_chance=value, families=families(name))
                for name, values in scores.items()
                for case, value in zip(cases, values, strict=True)
                if value is not None
            ],
        ),
    )


def families(name: str) -> tuple[str, ...]:
    return ("configuration",) if name.startswith("knows") else ("landscape",)


def test_a_mean_over_zoos_has_students_interval():
    values = np.array([80.0, 60.0, 70.0, 10.0])
    text = "\n".join(others.zoos_nobody_trained_on(found({"one": values.tolist()})))
    low, _ = student.interval(0.95, 3, values.mean(), values.std(ddof=1) / 2)
    assert f"**{values.mean():.1f} ± {values.mean() - low:.1f} ({50 + values.mean() / 2:.1f})**" in text
    assert "| `a` | 80.0 |" in text


def test_those_that_cannot_be_told_from_the_best_are_bold_and_methods_that_know_the_training_stand_apart():
    best, near = np.array([80.0, 60.0, 70.0, 50.0]), np.array([79.0, 62.0, 66.0, 51.0])
    text = "\n".join(
        others.zoos_nobody_trained_on(
            found(
                {
                    "best": best.tolist(),
                    "near": near.tolist(),
                    "far": (best - [20, 21, 19, 20]).tolist(),
                    "knows": [100.0] * 4,
                }
            )
        )
    )
    low, high = student.interval(0.95, 3, (near - best).mean(), (near - best).std(ddof=1) / 2)
    assert low < 0 < high
    first, second = text.split("### Where the training configuration is known")
    lines = {line.split("`")[1]: line for line in first.splitlines() if line.startswith("| `") and "±" in line}
    assert list(lines) == ["best", "near", "far"]
    assert [line.count("**") for line in lines.values()] == [4, 4, 0]
    assert "`knows`" in second


def test_a_method_that_answers_fewer_zoos_says_so_and_is_never_the_best():
    text = "\n".join(others.zoos_nobody_trained_on(found({"all": [10.0, 20, 30, 40], "some": [90.0, 91, 92, None]})))
    (line,) = (line for line in text.splitlines() if line.startswith("| `some`"))
    assert ", 3 zoos" in line
    assert "**" not in line


def test_nothing_is_said_of_one_zoo():
    one = found({"one": [50.0, None, None, None]})
    assert others.zoos_nobody_trained_on(one) == []


@pytest.mark.parametrize("zoo", ZOOS)
def test_verdicts_that_are_not_counted_are_named(zoo):
    some = found({"one": [1.0, 2.0, 3.0, 4.0]})
    record = next(record for record in some.result.cases if record.case.test == zoo)
    record.rare = ("temperature_too_low",)
    assert f"are not counted (`{zoo}`: `temperature_too_low`)" in "\n".join(others.zoos_nobody_trained_on(some))
