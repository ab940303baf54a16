"""Spectra of a network with the layers of ResNet-18: zoo_builder.landscape against WeightWatcher, in one run, in one thread.

    python benchmarks/spectra.py [--seed 0]

The network has the convolutions and the linear layer of ResNet-18 for 1,000 classes, of ordinary PyTorch modules, with random
weights to which a low rank was added, as training does. WeightWatcher is asked twice: about linear layers with the same
matrices, whose numbers are compared, and about the network itself, of whose convolutions it takes slices. Ours are what is
fitted to eigenvalues, which it has too, and all columns of layers, those of windows and of fresh layers among them. Seconds
are the processor's, the least of three turns.
"""

import argparse
import contextlib
import io
import logging
import os
import platform
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before torch and NumPy

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from zoo_builder.landscape import matrices, spectra
from zoo_builder.landscape.stacked import Stacked
from zoo_builder.landscape.surface import Surface

#: Columns that mean the same: WeightWatcher's name → ours.
SAME = {
    "alpha": "alpha",
    "D": "alpha_ks",
    "alpha_weighted": "alpha_hat",
    "stable_rank": "stable_rank",
    "log_spectral_norm": "log_spectral_norm",
    "log_norm": "log_frobenius_norm",
}


class Block(nn.Module):
    """Two convolutions beside a shorter way."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.short = nn.Identity() if before == after else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what comes after."""
        y: torch.Tensor = self.second(torch.relu(self.first(x))) + self.short(x)
        return torch.relu(y)


def network(seed: int) -> nn.Module:
    """Return a network with the matrices of ResNet-18."""
    torch.manual_seed(seed)
    sides = (64, 64, 64, 128, 128, 256, 256, 512, 512)
    blocks = (Block(before, after) for before, after in pairwise(sides))
    whole = nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.ReLU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, 1000),
    )
    with torch.no_grad():
        for weight in whole.parameters():
            if weight.dim() > 1:
                flat = weight.view(len(weight), -1)
                rank = len(flat) // 4
                low = (
                    torch.randn(len(flat), rank) * torch.arange(1, rank + 1) ** -0.7 @ torch.randn(rank, flat.shape[1])
                )
                flat += low * flat.std() / 2
    return whole.eval()


def shared(surface: Surface) -> pd.DataFrame:
    """Measure the layers of a network: what is fitted to their eigenvalues."""
    known = matrices.find(surface.module).known
    every = spectra.spectra(surface, known)
    found = [
        spectra.layer_metrics(values, *matrix.sides, matrix.blocks) for matrix, values in zip(known, every, strict=True)
    ]
    return _table(found)


def everything(surface: Surface) -> pd.DataFrame:
    """Measure all columns of layers, as a zoo's are."""
    known = matrices.find(surface.module).known
    return _table(spectra.of_layers(surface, known, spectra.spectra(surface, known)))


def _table(found: list[dict[str, NDArray[np.float64]]]) -> pd.DataFrame:
    return pd.DataFrame([{column: float(of[column][0]) for column in of} for of in found])


def as_linear(whole: nn.Module) -> nn.Module:
    """Return linear layers with the same matrices."""
    found = nn.ModuleList()
    for module in whole.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            flat = module.weight.detach().flatten(1)
            found.append(nn.Linear(flat.shape[1], len(flat), bias=False))
            found[-1].weight = nn.Parameter(flat)
    return found


def weightwatcher(whole: nn.Module) -> pd.DataFrame:
    """Measure layers with WeightWatcher, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import weightwatcher as other

        logging.getLogger("weightwatcher").setLevel(logging.CRITICAL)
        return other.WeightWatcher(model=whole).analyze()


def taken(work: Callable[[Any], pd.DataFrame], what: Any) -> tuple[float, pd.DataFrame]:
    """Return the processor's seconds, and what came of it."""
    seconds = []
    for _ in range(3):
        begun = time.process_time()
        found = work(what)
        seconds.append(time.process_time() - begun)
    return min(seconds), found


def processor() -> str:
    """Return what computes."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def main() -> None:
    """Print seconds, their ratios, and the largest differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    whole = network(arguments.seed)
    linear, surface = as_linear(whole), Stacked([whole], (3, 32, 32))
    weightwatcher(nn.ModuleList([nn.Linear(60, 60)]))  # imports, and what is done once
    seconds, mine = taken(shared, surface)
    longer, _ = taken(everything, surface)
    same, theirs = taken(weightwatcher, linear)
    slices, _ = taken(weightwatcher, whole)
    print(f"{len(mine)} matrices, {sum(value.numel() for value in linear.parameters()):,} weights, {processor()}")
    print(f"  ours, what both measure           {seconds:6.2f} s")
    print(f"  ours, all columns of layers       {longer:6.2f} s")
    for what, took in (("the same matrices", same), ("slices of kernels", slices)):
        print(f"  WeightWatcher, {what}  {took:6.2f} s, {took / seconds:.1f} and {took / longer:.1f} times ours")
    print("  largest difference over the layers, of the same matrices:")
    for name, column in SAME.items():
        off = abs(theirs[name].to_numpy() - mine[column].to_numpy()).max()
        print(f"    {column:<20}{off:.1e}")


if __name__ == "__main__":
    main()
