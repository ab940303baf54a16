"""How much is measured: families, and what they will take, said before they begin."""

from typing import Final, Literal

from zoo_builder.landscape import FAMILIES

Extent = Literal["quick", "default", "thorough"]

#: Families of each extent; those that compare networks are measured where there are several.
EXTENTS: Final[dict[str, tuple[str, ...]]] = {
    "quick": ("performance", "hessian", "similarity", "spectra"),
    "default": ("performance", "hessian", "connectivity", "similarity", "sharpness", "spectra", "memorization"),
    "thorough": tuple(name for name, family in FAMILIES.items() if not family.of_tokens),
}
