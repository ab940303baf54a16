"""Columns of the topology of the loss on grids around a network."""

from typing import Final

from mdbench.tables.schema.column import Column, Family, with_std
from mdbench.tables.schema.papers import CHINTAKUNTA_2015, LI_2018, XIE_2024

COLUMNS: Final = (
    *with_std(
        *(
            Column(
                f"topology_{plane}_{name}",
                unit,
                Family.LANDSCAPE,
                f"loss of the first training examples on a grid along {where}: {meaning}",
                CHINTAKUNTA_2015 if name == "persistence_entropy" else taken,
            )
            for plane, where, taken in (
                ("eigen_2d", "2 top Hessian eigenvectors", XIE_2024),
                ("eigen_3d", "3 top Hessian eigenvectors", XIE_2024),
                ("random_2d", "2 filter-normalized random directions", LI_2018),
                ("random_3d", "3 filter-normalized random directions", LI_2018),
            )
            for name, unit, meaning in (
                ("minima", "1", "number of minima"),
                ("largest_persistence", "nats", "largest persistence of a minimum other than the lowest"),
                ("total_persistence", "nats", "sum of the persistences of the minima other than the lowest"),
                (
                    "persistence_entropy",
                    "nats",
                    "entropy of the minima's shares of their total persistence, the lowest persisting over the range",
                ),
                ("merge_tree_size", "1", "nodes of the merge tree, minima and merges"),
                ("depth", "nats", "least rise on a way from the network to the grid's rim"),
            )
        )
    ),
)
