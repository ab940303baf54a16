"""Compiles the loops that tests run, in single and in double precision at once; `make test` does so while types are checked."""

from concurrent.futures import ProcessPoolExecutor

import torch
from torch import nn

from zoo_builder.landscape.data import Data
from zoo_builder.landscape.objective import CrossEntropy
from zoo_builder.landscape.taped import Taped


def compile_loops(dtype: torch.dtype) -> None:
    """Call each loop once: types are those of any network, so that its sizes do not matter."""
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2)).eval()
    data = Data(torch.randn(8, 2, dtype=dtype), torch.arange(8) % 2)
    surface = Taped([network], (2,), dtype)
    surface.scores(data, surface.points[:, None])
    surface.gradients(data, surface.points)
    surface.curvature(data)(surface.points[:, None])
    surface.renormalized(data, surface.points)
    signal = Data(torch.randn(8, 2, 4, dtype=dtype), torch.arange(32).reshape(8, 4) % 3)
    classify = nn.Sequential(nn.Conv1d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv1d(3, 3, 1)).eval()
    of_positions = Taped([classify], (2, 4), dtype, CrossEntropy(classifies=False))
    of_positions.scores(signal, of_positions.points[:, None])


if __name__ == "__main__":
    with ProcessPoolExecutor(2) as workers:
        list(workers.map(compile_loops, [torch.float32, torch.float64]))
