"""Columns of what follows from the test errors over the grid: room for improvement (RFI), labels and margins."""

from dataclasses import replace
from typing import Final

from mdbench.tables.schema.column import Column, Family, Need
from mdbench.tables.schema.papers import ZHOU_2024

_OF_THE_GRID: Final = (
    Column(
        "rfi_temperature_up", "points", Family.RFI, "test accuracy to gain by raising the temperature alone", ZHOU_2024
    ),
    Column(
        "rfi_temperature_down",
        "points",
        Family.RFI,
        "test accuracy to gain by lowering the temperature alone",
        ZHOU_2024,
    ),
    Column("rfi_width", "points", Family.RFI, "test accuracy to gain by widening the model alone", ZHOU_2024),
    Column("rfi_data", "points", Family.RFI, "test accuracy to gain by training on more data alone", ZHOU_2024),
    *(
        Column(f"rfi_{move}_se", "points", Family.RFI, f"standard error over paired seeds of rfi_{move}")
        for move in ("temperature_up", "temperature_down", "width", "data")
    ),
    Column("optimizer", "", Family.LABEL, "is the temperature of learning too high or too low?", ZHOU_2024),
    Column("optimizer_margin", "points", Family.LABEL, "largest RFI among the verdicts − second largest"),
    Column("width_vs_optimizer", "", Family.LABEL, "would width or the optimizer have helped more?", ZHOU_2024),
    Column("width_vs_optimizer_margin", "points", Family.LABEL, "largest RFI among the verdicts − second largest"),
    Column("data_vs_optimizer", "", Family.LABEL, "would data or the optimizer have helped more?", ZHOU_2024),
    Column("data_vs_optimizer_margin", "points", Family.LABEL, "largest RFI among the verdicts − second largest"),
    Column("failure_source", "", Family.LABEL, "which knob, moved alone, would have helped most?"),
    Column("failure_source_margin", "points", Family.LABEL, "largest RFI among the verdicts − second largest"),
    *(
        Column(f"{task}_margin_se", "points", Family.LABEL, f"standard error over paired seeds of {task}_margin")
        for task in ("optimizer", "width_vs_optimizer", "data_vs_optimizer", "failure_source")
    ),
    Column("rfi_longer", "points", Family.RFI, "test accuracy to gain by training longer alone"),
    Column("rfi_regularization_up", "points", Family.RFI, "test accuracy to gain by regularizing more alone"),
    Column("rfi_regularization_down", "points", Family.RFI, "test accuracy to gain by regularizing less alone"),
    *(
        Column(f"rfi_{move}_se", "points", Family.RFI, f"standard error over paired seeds of rfi_{move}")
        for move in ("longer", "regularization_up", "regularization_down")
    ),
    *(
        column
        for task, meaning in (
            ("length_vs_optimizer", "would training longer or the optimizer have helped more?"),
            ("regularization", "is the regularization too weak or too strong?"),
            ("failure_source_wide", "which knob of all that the zoo can turn, moved alone, would have helped most?"),
        )
        for column in (
            Column(task, "", Family.LABEL, meaning),
            Column(f"{task}_margin", "points", Family.LABEL, "largest RFI among the verdicts − second largest"),
            Column(f"{task}_margin_se", "points", Family.LABEL, f"standard error over paired seeds of {task}_margin"),
        )
    ),
)

#: All of them follow from the test errors.
COLUMNS: Final = tuple(
    replace(column, needs=(Need.CLASSES, Need.TEST, *((Need.SEEDS,) if column.name.endswith("_se") else ())))
    for column in _OF_THE_GRID
)
