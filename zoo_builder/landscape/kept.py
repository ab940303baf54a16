"""The spectra of a network on its way: at the steps that were kept of its training."""

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd
from torch import nn

from zoo_builder.landscape import matrices
from zoo_builder.landscape.eigenvalues import block_eigenvalues
from zoo_builder.landscape.noise import bulk
from zoo_builder.landscape.spectra import layer_metrics

EDGE: Final = "bulk_edge"


def trajectory(kept: Mapping[int, nn.Module]) -> pd.DataFrame:
    """Return the spectra of one network's layers at several steps.

    Parameters
    ----------
    kept : step → the network as it was behind it.

    Returns
    -------
    One row a step and layer: ``step``, ``layer``, ``matrix_rows``, ``matrix_columns``, what
    `zoo_builder.landscape.spectra.layer_metrics` says of its eigenvalues, and ``bulk_edge``, above which one is a spike.
    """
    return pd.DataFrame([{"step": step, **row} for step, network in kept.items() for row in _rows(network)])


def _rows(network: nn.Module) -> list[dict[str, Any]]:
    plain, found = matrices.ordinary(network), []
    for matrix in matrices.find(plain).known:
        numbers = plain.get_submodule(matrix.path).get_parameter(matrix.attribute).detach().cpu().flatten()
        values = block_eigenvalues(matrix.cut(numbers[matrix.start : matrix.start + matrix.size]).numpy())
        of = layer_metrics(values, *matrix.sides, matrix.blocks)
        of[EDGE] = bulk(values, *matrix.sides, matrix.blocks).edge
        sides = {"matrix_rows": matrix.rows, "matrix_columns": matrix.columns}
        found.append({"layer": matrix.name, **sides, **{column: float(value) for column, value in of.items()}})
    return found
