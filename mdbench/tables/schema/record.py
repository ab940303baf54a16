"""Columns that name rows, and the record of the runs.

They are of families that no method sees: steps say what the batch size was. Where networks differ in how many steps they
took and nothing else follows from it, steps are an axis of the grid.
"""

from typing import Final

from mdbench.tables.schema.column import Column, Family

COLUMNS: Final = (
    Column("configuration", "", Family.ID, "name of the grid point, knob by knob"),
    Column("checkpoint", "", Family.ID, "name of a trained network"),
    Column("seed", "1", Family.ID, "of the network's initialisation and data order; the same at every grid point"),
    Column("shard", "", Family.ID, "file that holds the network's tensors, relative to the zoo's folder"),
    Column("sha256", "", Family.ID, "digest of the network's tensors"),
    Column("steps", "1", Family.KNOB, "optimizer steps taken"),
    Column("diverged", "", Family.ID, "whether the training loss stopped being finite"),
    Column("diverged_at", "1", Family.ID, "optimizer step at which it did"),
    Column("step", "1", Family.ID, "optimizer step behind which a network was kept; 0 is before the first"),
    Column("seeds", "1", Family.ID, "networks that the means of a configuration are over"),
    Column("diverged_seeds", "1", Family.ID, "networks of a configuration that diverged, and are in no mean"),
    *(
        Column(f"{family}_reason", "", Family.ID, f"which {family} metrics could not be measured, and why")
        for family in (
            "performance",
            "hessian",
            "connectivity",
            "similarity",
            "sharpness",
            "spectra",
            "topology",
            "memorization",
            "prunability",
            "weights",
            "generation",
        )
    ),
)
