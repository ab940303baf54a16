"""For those who write methods: the checks that any method must pass, for a test suite of one's own.

>>> import mdbench.testing
>>> mdbench.testing.assert_conforms("majority", "one row")
"""

from typing import Final

from mdbench.methods import CHECKS as _CHECKS
from mdbench.methods import Checked, assert_conforms, check_method

__all__ = ["CHECKS", "Checked", "assert_conforms", "check_method"]

#: The names of the checks, in their order.
CHECKS: Final = tuple(_CHECKS)
