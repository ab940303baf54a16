"""Markdown, as far as reports need it."""

import re
from collections.abc import Iterable, Sequence

import numpy as np


def table(header: Sequence[str], rows: Iterable[Sequence[object]], align: str = "") -> str:
    """Return a table; `align` has an ``l`` or an ``r`` for each column, whole numbers get their thousands separated."""
    marks = {"l": "---", "r": "---:"}
    lines = [header, [marks[side] for side in align or "l" * len(header)]]
    lines += [[f"{cell:,}" if isinstance(cell, int | np.integer) else str(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(text: str) -> str:
    """Return a text in the type of code, in which nothing is markup; also within a table."""
    text = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


def escape(text: str) -> str:
    """Return a text that stands in a table as it is."""
    return text.replace("|", "\\|").replace("\n", " ")
