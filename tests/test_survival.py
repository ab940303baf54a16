"""Killed, or out of disk: afterwards the state is the old one or the new one, and the same command goes on."""

import errno
import time

import numpy as np
import pytest
from survival import COMMANDS, Trial, prepared


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    prepared(folder)
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_or_out_of_disk_at_random_instants(name, world, tmp_path):
    """At some; `benchmarks/kills.py` tries all."""
    trial, drawn = Trial(name, world, tmp_path), np.random.default_rng()
    for at in drawn.integers(1, trial.calls + 1, 2).tolist():
        trial.killed_at(at)
    trial.full_from(int(drawn.integers(1, trial.calls + 1)), errno.ENOSPC)
    trial.killed_when(lambda: time.sleep(drawn.uniform(0, 0.2)))
