"""`mdbench.cases.splits`, under the path that published schemas name."""

from mdbench.cases.splits import CaseRows, Rows, codes, draw, split, taking_part

__all__ = ["CaseRows", "Rows", "codes", "draw", "split", "taking_part"]
