"""Spectra of networks at the steps that were kept of their training."""

import math

import numpy as np
import torch
from torch import nn

from mdbench.tables import COLUMNS
from zoo_builder.landscape.kept import trajectory


def test_rows_are_those_of_the_matrices_at_each_step():
    torch.manual_seed(0)
    first, later = (nn.Sequential(nn.Linear(40, 30), nn.Tanh(), nn.Linear(30, 8)) for _ in range(2))
    with torch.no_grad():  # a spike that nothing else comes near
        later[0].weight += 3 * torch.outer(torch.ones(30) / math.sqrt(30), torch.ones(40) / math.sqrt(40))
    table = trajectory({0: first, 7: later})
    assert [tuple(row) for row in table[["step", "layer"]].to_numpy()] == [(0, "0"), (0, "2"), (7, "0"), (7, "2")]
    assert set(table) <= set(COLUMNS)
    for row, module in zip(table.itertuples(), (first[0], first[2], later[0], later[2]), strict=True):
        values = np.linalg.svd(module.weight.detach().numpy(), compute_uv=False) ** 2
        np.testing.assert_allclose(row.log_spectral_norm, np.log10(values[0]), rtol=1e-5)
        np.testing.assert_allclose(row.stable_rank, values.sum() / values[0], rtol=1e-5)
        assert row.mp_spikes == (values > row.bulk_edge).sum()
    spikes = table.set_index(["step", "layer"])["mp_spikes"]
    assert spikes[7, "0"] == spikes[0, "0"] + 1
    # Entries are uniform in ±1/√40: their variance is 1/120, and the edge N σ² (1 + √q)² of noise, and a little more.
    edge = 40 / 120 * (1 + math.sqrt(30 / 40)) ** 2
    assert table["bulk_edge"][0] / edge == np.clip(table["bulk_edge"][0] / edge, 0.95, 1.35)
