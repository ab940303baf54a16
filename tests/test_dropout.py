"""Dropout by masks that can be drawn again."""

import numpy as np
import pytest
import torch
from torch import nn

from zoo_builder.specification.dropout import BITS, Dropout, dropouts, key_at, mask, mixed, stream, swapped, threshold


def _split_mix(state: int, count: int) -> list[int]:
    """SplitMix64 as its authors write it: a state that moves."""
    out = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        out.append(z ^ (z >> 31))
    return out


def test_numbers_are_those_of_splitmix64() -> None:
    assert _split_mix(1234567, 3)[0] == 6457827717110365317  # published test vector of the generator
    for key in (1234567, 2**64 - 5, 0):
        assert mixed(np.array([key], np.uint64), np.arange(50)).tolist() == _split_mix(key, 50)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.93])
def test_pytorch_and_numpy_draw_the_same_masks(rate: float) -> None:
    key = key_at(stream(3, 1), 17)
    index = torch.arange(6000).view(20, 3, 100)
    upper = mixed(np.array([key]).astype(np.uint64), index.numpy()) >> np.uint64(64 - BITS)
    wanted = (upper >= threshold(rate)) / (1 - rate)
    assert np.array_equal(mask(torch.tensor(key), index, rate, torch.float64).numpy(), wanted)
    assert abs((wanted == 0).mean() - rate) < 4 * (rate * (1 - rate) / wanted.size) ** 0.5


def test_masks_differ_between_networks_steps_and_layers() -> None:
    keys = {key_at(stream(seed, layer), step) for seed in range(5) for layer in range(4) for step in range(50)}
    assert len(keys) == 1000
    masks = np.stack([mask(torch.tensor(key), torch.arange(400), 0.5, torch.float32).numpy() for key in sorted(keys)])
    between = np.corrcoef(masks[:200])[np.triu_indices(200, 1)]
    assert abs(between.mean()) < 0.002
    assert abs(between.std() * 400**0.5 - 1) < 0.05


def test_a_layer_drops_in_training_alone_and_keeps_the_mean() -> None:
    layer = Dropout(0.25)
    x = torch.ones(1000, 20)
    assert torch.equal(layer.eval()(x), x)
    out = layer.train()(x)
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert abs(out.mean().item() - 1) < 0.02
    assert "key" not in layer.state_dict()


def test_dropout_of_ones_own_architecture_is_swapped() -> None:
    network = swapped(nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.3), nn.Sequential(nn.Dropout(0.2))))
    assert dropouts(network) == ["1", "2.0"]
    assert network[1].rate == 0.3
    with pytest.raises(ValueError, match="share from 0 to below 1"):
        Dropout(1.0)
