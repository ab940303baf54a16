"""How much memory measuring may take: read, and held against what it needs before it starts.

What takes memory is the Hessian: vectors as long as a network, a dozen of them at least. Other families hold few of them.
"""

import re
from typing import Final

from mdbench.errors import MdbenchError
from zoo_builder.landscape import hessian
from zoo_builder.landscape.metric import MEMORY
from zoo_builder.landscape.surface import Surface

_UNITS: Final = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30}
#: Shares of what is left that bases may take, in turn.
_SHARES: Final = (1.0, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05, 0.0)


def bytes_of(said: int | str) -> int:
    """Return an amount of memory in bytes, given in bytes or as text: ``"3 GB"`` is 3 · 10⁹, ``"3 GiB"`` 3 · 2³⁰.

    Raises
    ------
    MdbenchError
        It is not a positive amount.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)?\s*", str(said), re.IGNORECASE)
    unit = (found[2] or "B").lower() if found else ""
    if isinstance(said, bool) or not found or unit not in _UNITS or float(found[1]) <= 0:
        raise MdbenchError(f"memory is {said!r}; give a number of bytes, or text such as '3 GB' or '512 MiB'")
    return int(float(found[1]) * _UNITS[unit])


def bytes_needed(surface: Surface, examples: int, memory: int = MEMORY) -> int:
    """Return how many bytes measuring Hessians takes, about, beside what there is when it begins.

    Parameters
    ----------
    surface : of the networks.
    examples : that the loss is a mean over.
    memory : bytes that vectors as long as a network may take.
    """
    size, length = surface.points.shape
    itemsize, layers = surface.points.element_size(), len(surface.layout.layers)
    vectors = hessian.bytes_needed(size, length, itemsize, memory, layers)
    return vectors + surface.held(examples)


def vectors_within(surface: Surface, examples: int, budget: int) -> int:
    """Return how many bytes bases may take so that Hessians are measured within a budget.

    Raises
    ------
    MdbenchError
        They cannot be.
    """
    least = bytes_needed(surface, examples, 0)
    for share in _SHARES:
        memory = int(share * max(0, budget - surface.held(examples)))
        if bytes_needed(surface, examples, memory) <= budget:
            return memory
    size, length = surface.points.shape
    raise MdbenchError(
        f"the Hessians of {size} networks of {length:,} parameters need about {least / 1e9:.2g} GB, and memory is "
        f"{budget / 1e9:.2g} GB: allow more, measure fewer networks at a time, or leave out the families hessian and topology"
    )
