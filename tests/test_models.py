"""Architectures: the published parameter counts, and what their tables ask for."""

import sys
from types import ModuleType

import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from mdbench.errors import MdbenchError
from zoo_builder.specification.architecture import ArchitectureSpec
from zoo_builder.specification.models import cnn1d, cnn2d, mlp, parameter_count, resnet18

#: Width → parameters of the published zoo's ResNet-18 on CIFAR-10.
PUBLISHED = {
    2: 11420,
    3: 25297,
    4: 44622,
    6: 99616,
    8: 176402,
    11: 332441,
    16: 701466,
    23: 1446917,
    32: 2797610,
    45: 5527675,
    64: 11173962,
    91: 22580841,
    128: 44662922,
}


@pytest.mark.parametrize("width", PUBLISHED)
def test_the_residual_network_has_the_published_parameter_counts(width):
    with torch.device("meta"):
        assert parameter_count(resnet18((3, 32, 32), 10, width)) == PUBLISHED[width]


def test_those_counts_are_the_published_tables(published):
    table = pd.read_csv(published / "model_diagnosis_dataset" / "dataframe" / "dataframe_normal_public.csv")
    assert sorted(table["para_amount"].unique()) == sorted(PUBLISHED.values())


@pytest.mark.parametrize(
    ("network", "shape", "count"),
    [
        # 40 · 8 + 2 · 8, 8 · 8 + 2 · 8, 8 · 10 + 10
        (mlp((1, 40), 10, 8), (1, 40), 336 + 80 + 90),
        # 5 · 4 + 8, 3 · 4 · 4 + 8 twice, 40 → 19 → 10 → 5: 4 · 5 · 10 + 10
        (cnn1d((1, 40), 10, 4), (1, 40), 28 + 56 + 56 + 210),
        # 9 · 2 + 4, 9 · 2 · 4 + 8, 9 · 4 · 8 + 16, 14 → 7 → 4 → 2: 8 · 4 · 10 + 10
        (cnn2d((1, 14, 14), 10, 2), (1, 14, 14), 22 + 80 + 304 + 330),
        # 40 · 3 + 3, 3 · 10 + 10
        (mlp((40,), 10, 3, depth=1, norm=False), (40,), 123 + 40),
    ],
    ids=["mlp", "cnn1d", "cnn2d", "mlp without norm"],
)
def test_parameters_counted_by_hand(network, shape, count):
    assert parameter_count(network) == count
    assert network(torch.randn(3, *shape)).shape == (3, 10)


@pytest.mark.parametrize(("name", "shape"), [("cnn1d", (40,)), ("cnn2d", (1, 40)), ("resnet18", (5,))])
def test_inputs_of_another_shape_are_refused(name, shape):
    with pytest.raises(MdbenchError, match=r"wants inputs of shape .*the data set's are"):
        ArchitectureSpec(name=name).build(shape, 10, width=2)


def test_inputs_that_are_too_short_are_refused():
    with pytest.raises(MdbenchError, match="too short for depth 1"):
        ArchitectureSpec(name="cnn1d").build((1, 2), 10, width=2, depth=1)


def test_the_seed_decides_the_initialisation_and_global_generators_are_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, other, third = (ArchitectureSpec(name="mlp").build((4,), 3, width=2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(next(one.parameters()), next(third.parameters()))


@pytest.fixture
def mine(monkeypatch):
    module = ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)
    return module


def test_a_factory_of_ones_own(mine):
    def make(shape, classes, width, scale=1):
        return nn.Sequential(nn.Flatten(), nn.Linear(shape[0], width * scale), nn.Linear(width * scale, classes))

    mine.make = make
    spec = ArchitectureSpec(name="mine:make", options={"scale": 3})
    assert parameter_count(spec.build((4,), 2, width=5)) == 4 * 15 + 15 + 15 * 2 + 2
    with pytest.raises(MdbenchError, match=r"mine:make: it does not take depth, only width, scale"):
        spec.build((4,), 2, width=5, depth=1)


def test_factories_that_lead_nowhere(mine):
    mine.number, mine.text = 3, lambda shape, classes: "no network"
    for name, reason in {
        "nowhere_at_all:make": "No module named",
        "mine:other": "no attribute 'other'",
        "mine:number": "not a function",
        "mine:text": "returns str",
    }.items():
        with pytest.raises(MdbenchError, match=reason):
            ArchitectureSpec(name=name).build((4,), 2)
    with pytest.raises(ValidationError, match="none of mlp, cnn1d, cnn2d, resnet18"):
        ArchitectureSpec(name="resnet50")
