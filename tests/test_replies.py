"""Drawn answers, whose distributions are known: of a half as of all rows, or other ones."""

import numpy as np
import pytest

from mdbench.methods.replies import UNASKED, Answer, leans_on_others

CASES, SAMPLES, ROWS, RUNS = 12, 5, 120, 5


def drawn(rng, fixed: np.ndarray, flipped: float) -> np.ndarray:
    """Return verdicts of which each is the other one with some probability."""
    return np.where(rng.random(fixed.shape) < flipped, 1 - fixed, fixed).astype(np.int8)


def runs_of(rng, *, whole: float, half: float, leaning: float, cases: int = CASES) -> list[list[Answer]]:
    """Return runs of a method that flips verdicts at random, and of some rows says another one where a half is asked about."""
    alone = [rng.integers(0, 2, (SAMPLES, ROWS)) for _ in range(cases)]
    among = [drawn(rng, fixed, leaning) for fixed in alone]
    asked = np.arange(ROWS) < ROWS // 2
    return [
        [
            Answer(
                drawn(rng, others, whole),
                ("train_error",),
                (),
                (),
                halves=np.where(asked, drawn(rng, own, half), UNASKED).astype(np.int8),
            )
            for own, others in zip(alone, among, strict=True)
        ]
        for _ in range(RUNS)
    ]


@pytest.mark.parametrize("noise", [0.001, 0.02, 0.1, 0.4])
def test_a_method_that_draws_alike_leans_on_nobody(noise):
    rng = np.random.default_rng(1)
    found = [leans_on_others(runs_of(rng, whole=noise, half=noise, leaning=0.0)) for _ in range(40)]
    assert sum(found) <= 1  # one of a thousand is wanted


@pytest.mark.parametrize(("whole", "half"), [(0.11, 0.0), (0.11, 0.11), (0.0, 0.11), (0.0, 0.0)])
def test_noise_does_not_hide_what_leans_on_others(whole, half):
    rng = np.random.default_rng(2)
    assert all(leans_on_others(runs_of(rng, whole=whole, half=half, leaning=0.15)) for _ in range(20))
    assert all(leans_on_others(runs_of(rng, whole=whole, half=half, leaning=0.03)) for _ in range(20))


def test_what_leans_in_one_case_alone_is_found():
    rng = np.random.default_rng(3)
    leaning = runs_of(rng, whole=0.05, half=0.05, leaning=0.3, cases=1)
    steady = runs_of(rng, whole=0.05, half=0.05, leaning=0.0)
    assert leans_on_others([one + other for one, other in zip(leaning, steady, strict=True)])
    assert leans_on_others(leaning)


def test_runs_without_halves_say_nothing():
    assert not leans_on_others([[Answer(np.zeros((1, 4), dtype=np.int8), (), (), ())]] * 2)
