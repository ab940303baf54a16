"""What a column is, and the columns that follow from one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Family(StrEnum):
    """What kind of knowledge a column is. The family decides who may see it.

    `ID` holds names and the record of the runs. All other columns are numbers, but for a knob whose values are names.
    """

    ID = "id"
    KNOB = "knob"
    CONFIGURATION = "configuration"
    VALIDATION = "validation"
    LANDSCAPE = "landscape"
    RFI = "rfi"
    LABEL = "label"


class Need(StrEnum):
    """What a column cannot be measured without, besides networks, their loss and training data.

    `CLASSES` is a loss that is the cross-entropy of one class an example; `WRONG` is to know which training labels were
    replaced by wrong ones, and that some were; `TOKENS` is a network that says which token is next, `SECRETS` to know which
    secrets were planted among its training data.
    """

    CLASSES = "classes"
    TEST = "test data"
    WRONG = "which labels are wrong"
    SEEDS = "two seeds"
    TOKENS = "next tokens"
    SECRETS = "planted secrets"


@dataclass(frozen=True)
class Column:
    """One column of a zoo table.

    Attributes
    ----------
    name : the column's name in every table, file and message.
    unit : unit of the values; ``"1"`` for pure numbers, ``""`` for text.
    family : what kind of knowledge it is.
    meaning : one sentence.
    source : the paper or formula it comes from.
    reveals_label : whether a batch of test rows with this column gives the labels away, because a label is a
        function of the test error over the whole grid, whose spread over seeds goes with it. Transductive methods do
        not get such columns.
    relative : whether it places a row among all rows of its zoo. Only transductive methods get such columns.
    of_layer : whether it stands in the table of layers alone.
    needs : what it cannot be measured without, in the order of `Need`.
    """

    name: str
    unit: str
    family: Family
    meaning: str
    source: str = ""
    reveals_label: bool = False
    relative: bool = False
    of_layer: bool = False
    needs: tuple[Need, ...] = ()


def with_std(*columns: Column) -> Iterator[Column]:
    """Yield what is measured of every network: a configuration has the mean over its seeds, and their standard deviation."""
    for column in columns:
        yield replace(column, meaning=f"{column.meaning}; mean over seeds")
        yield Column(
            f"{column.name}_std",
            "points" if column.unit == "%" else column.unit,
            column.family,
            f"standard deviation over seeds of {column.name}",
            reveals_label=column.reveals_label,
            needs=tuple(need for need in Need if need is Need.SEEDS or need in column.needs),
        )


def over_layers(*columns: Column, ways: Sequence[str] = ("mean", "min", "max", "imbalance")) -> Iterator[Column]:
    """Yield what is measured of every layer: a network has its mean over the layers, its extremes and its imbalance.

    It may have that of the first and of the last layer, too. Layers without the number are left out. Where not all of
    these `ways` are given, it has those that are.
    """
    for column in columns:
        said = {
            "mean": "mean over the layers that have it of",
            "min": "smallest over the layers that have it of",
            "max": "largest over the layers that have it of",
            "imbalance": "standard deviation over the layers that have it"
            f"{', divided by the mean,' if column.unit == '1' else ''} of",
            "first": "of the first layer that has it:",
            "last": "of the last layer that has it:",
        }
        yield replace(column, of_layer=True)
        yield from with_std(
            *(replace(column, name=f"{column.name}_{over}", meaning=f"{said[over]} {column.name}") for over in ways)
        )
