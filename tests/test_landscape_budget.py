"""What measuring takes, against what was said before, and what is refused."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from mdbench.errors import MdbenchError
from zoo_builder.landscape import measure, registry
from zoo_builder.landscape.budget import bytes_needed, bytes_of, vectors_within
from zoo_builder.landscape.opening import open_surface


@pytest.mark.parametrize(
    ("said", "count"),
    [(1000, 1000), ("1000", 1000), ("3 GB", 3 * 10**9), ("1.5GiB", 3 * 2**29), (" 512 mib ", 2**29), ("2 kB", 2000)],
)
def test_amounts_are_read(said, count):
    assert bytes_of(said) == count


@pytest.mark.parametrize("said", ["", "GB", "3 gigs", "-1 GB", -1, 0, "0 GB", "1e9", True, "3 GB or so", "nan"])
def test_what_is_no_amount_is_refused(said):
    with pytest.raises(MdbenchError, match="number of bytes"):
        bytes_of(said)


def networks(count=2, width=64):
    torch.manual_seed(0)
    found = [nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, 3)) for _ in range(count)]
    return found, (torch.randn(40, 5), torch.arange(40) % 3)


def test_what_does_not_fit_is_refused_before_anything_is_measured(monkeypatch):
    models, data = networks()

    def measured(*_):
        raise AssertionError

    for family in ("performance", "hessian"):
        one = registry.FAMILIES[family]
        monkeypatch.setitem(registry.FAMILIES, family, type(one)(family, one.metrics, measured))
    with pytest.raises(
        MdbenchError, match=r"2 networks of 579 parameters need about .* GB, and memory is 1e-05 GB: allow"
    ):
        measure(models, "cross_entropy", data, families=["performance", "hessian"], memory="10 kB")


def test_other_families_have_no_budget():
    models, data = networks()
    found = measure(models, "cross_entropy", data, families=["performance"], memory="10 kB").models
    assert found["train_loss"].notna().all()


def test_with_little_memory_the_same_is_found():
    models, data = networks(3)
    surface = open_surface(models, (5,))
    least = bytes_needed(surface, 40, 0)
    assert vectors_within(surface, 40, least) < vectors_within(surface, 40, 100 * least)
    with pytest.raises(MdbenchError, match="memory is"):
        vectors_within(surface, 40, least - 1)
    expected, found = (
        measure(models, "cross_entropy", data, families=["hessian"], memory=memory).models
        for memory in ("1 GB", int(1.2 * least))
    )
    for column in ("hessian_trace", "hessian_top_eigenvalue"):
        assert list(found[column]) == pytest.approx(list(expected[column]), rel=0.03), column


MEASURED = """
import sys
from pathlib import Path
import torch
from torch import nn
from zoo_builder.landscape import measure
from zoo_builder.landscape.alone import Alone
from zoo_builder.landscape.budget import bytes_needed, vectors_within
from zoo_builder.landscape.hessian import measure as hessian
from zoo_builder.landscape.metric import Subject
from zoo_builder.landscape.objective import CrossEntropy
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.opening import open_surface
from zoo_builder.specification.models import cnn1d

def most():
    return 1024 * int(next(line for line in Path("/proc/self/status").open() if line.startswith("VmHWM")).split()[1])

torch.manual_seed(0)
kind, budget = sys.argv[1], int(sys.argv[2])
if kind == "perceptron":
    make = lambda width: nn.Sequential(nn.Linear(40, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))
    examples, shape, widths, opened = 32, (40,), (8, 1024), lambda models: Alone(models, CrossEntropy())
else:
    make = lambda width: cnn1d((1, 40), 10, width).eval()
    examples, shape, widths, opened = 1000, (1, 40), (4, 24), lambda models: open_surface(models, (1, 40))
for width in widths:  # small ones first: libraries are read and loops compiled
    models = [make(width) for _ in range(2 if kind == "perceptron" else 4)]
    data = Data(torch.randn(examples, *shape), torch.arange(examples) % 10)
    surface = opened(models)
    surface.logits(data.first(64))
    memory = vectors_within(surface, examples, budget)
    before = most()
    found = hessian(Subject(surface, data, memory=memory))
assert not found.network_reasons, found.network_reasons
print(most() - before, bytes_needed(surface, examples, memory))
"""


@pytest.mark.parametrize(
    ("kind", "budget"), [("perceptron", 4 * 10**8), ("perceptron", 10**9), ("convolutional", 10**9)]
)
def test_it_takes_what_was_said_before_or_a_third_of_it(kind, budget):
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1048576"}  # what is freed is given back at once
    command = [sys.executable, "-c", MEASURED, kind, str(budget)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    taken, said = map(int, done.stdout.split())
    assert taken <= said <= budget
    assert said <= 3 * taken  # a basis has room for more steps than are mostly needed
