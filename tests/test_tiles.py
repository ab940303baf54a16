"""Convolutions by tiles in registers: gradients are autograd's, and networks train as in a plain loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kernels_layers import DOUBLE, SINGLE, WAYS
from test_optimizers import check, positions
from test_tape import batch_of, run
from test_training import spec
from torch import nn
from torch.nn import functional

from zoo_builder.training import taped
from zoo_builder.training.kernels import direct
from zoo_builder.training.tape import Tape


@given(
    st.integers(1, 9),
    st.integers(1, 17),
    st.tuples(st.integers(2, 3), st.integers(1, 3)),
    st.integers(0, 1),
    st.booleans(),
    st.sampled_from([8, 16, 32]),
    st.integers(0, 2**20),
)
@settings(max_examples=40, deadline=None)
def test_gradients_are_those_of_autograd(channels, out, kernel, padding, bias, batch, seed):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(2, channels, 1), nn.Conv2d(channels, out, kernel, padding=padding, bias=bias)]
    layers += [nn.Conv2d(out, 3, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)]
    network = nn.Sequential(*layers).double()
    inputs, labels = batch_of((2, 5, 6), 3, batch)
    tape = Tape(network, (2, 5, 6))
    arena = np.empty(0)
    known = [step for step in tape.steps.view(np.recarray) if step.kernel_height > 1]
    assert len(known) == 2
    assert all(direct.is_direct.py_func(step, out, 3 * channels, batch, arena) for step in known)
    loss, state = run(tape, network, inputs, labels)
    expected = functional.cross_entropy(network(torch.from_numpy(inputs)), torch.from_numpy(labels))
    assert loss == pytest.approx(expected.item(), rel=1e-10)
    slopes = torch.autograd.grad(expected, list(network.parameters()))
    for (name, _), slope in zip(network.named_parameters(), slopes, strict=True):
        torch.testing.assert_close(state[name], slope, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(DOUBLE, 1e-9), (SINGLE, 1e-4)], ids=["double", "single"])
@pytest.mark.parametrize("way", ["adamw", "sam"])
def test_they_train_as_in_a_plain_loop(way, dtype, tolerance):
    options = 'width = 5\ndepth = 1\noptions = { norm = "group", activation = "gelu" }'
    what = spec("unet", {"batch_size": [16]}, 27, options, WAYS[way], seeds=(3,))
    (one,) = check(what, positions(), taped.train, dtype, tolerance)
    assert one.network.steps >= 200
