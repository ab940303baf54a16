"""Killed, or out of disk: afterwards the state is the old one or the new one, and the same command goes on."""

import errno
import time

import numpy as np
import pytest
from survival import COMMANDS, SLUG, Trial, end_server, prepared, run, run_within

from leaderboard.verifying.ledger import LEDGER, Ledger


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    prepared(folder)
    yield folder
    end_server()


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_or_out_of_disk_at_random_instants(name, world, tmp_path):
    """At some; `benchmarks/kills.py` tries all."""
    trial, drawn = Trial(name, world, tmp_path), np.random.default_rng()
    for at in drawn.integers(1, trial.calls + 1, 2).tolist():
        trial.killed_at(at)
    trial.full_from(int(drawn.integers(1, trial.calls + 1)), errno.ENOSPC)
    trial.killed_when(lambda: time.sleep(drawn.uniform(0, 0.2)))


@pytest.mark.parametrize("name", COMMANDS)
def test_two_writers_at_once_leave_the_new_state(name, world, tmp_path):
    trial, drawn = Trial(name, world, tmp_path), np.random.default_rng()
    for at in drawn.integers(1, trial.calls + 1, 2).tolist():
        trial.twice_at(at)


@pytest.mark.parametrize(("name", "other"), [("verify", "remove"), ("supersede", "verify"), ("submit", "supersede")])
def test_two_writers_of_different_kinds_lose_nothing_of_each_other(name, other, world, tmp_path):
    """Whatever is recorded by one command after the other is recorded by both at once, and the chain holds."""
    trial, drawn = Trial(name, world, tmp_path), np.random.default_rng()
    one = trial.copy()
    run(name, one)
    run(other, one)
    both = trial.copy()
    first, second = run_within(name, other, both, int(drawn.integers(1, trial.calls + 1)))
    assert first.said == second.said == ""
    assert COMMANDS[name].found(both) == COMMANDS[name].found(one)
    kinds = [
        sorted((event.entry, event.kind) for event in Ledger.read(at / "entries" / LEDGER).events) for at in (one, both)
    ]
    assert kinds[0] == kinds[1]
    assert SLUG in {entry for entry, _ in kinds[1]}
