"""Under which licence a dataset's data are: what its zoos say, as people, the Hub and Croissant call it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mdbench.tables import Zoo

NOT_STATED: Final = "not stated"
#: Licence → what the Hub calls it, and its address.
_KNOWN: Final = {
    "CC BY 4.0": ("cc-by-4.0", "https://creativecommons.org/licenses/by/4.0/"),
    "CC BY-SA 4.0": ("cc-by-sa-4.0", "https://creativecommons.org/licenses/by-sa/4.0/"),
    "CC BY-NC 4.0": ("cc-by-nc-4.0", "https://creativecommons.org/licenses/by-nc/4.0/"),
    "CC0 1.0": ("cc0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
    "MIT": ("mit", "https://opensource.org/license/mit"),
    "Apache 2.0": ("apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0"),
}


@dataclass(frozen=True)
class Licence:
    """A dataset's licence.

    Attributes
    ----------
    said : a sentence's beginning about the data, for people.
    hub : what the Hub calls it: ``other`` where it has no name for it, ``unknown`` where none is stated.
    address : its address; where it has none, its name.
    """

    said: str
    hub: str
    address: str


def licence_of(zoos: Sequence[Zoo]) -> Licence:
    """Return the licence of a dataset of zoos; where they have several, each zoo's is said.

    Spelling does not matter: ``cc-by-4.0`` is CC BY 4.0.
    """
    each = {zoo.name: _known_as(" ".join(zoo.provenance.license.split())) for zoo in zoos}
    names = set(each.values())
    if len(names) > 1:
        said = ", ".join(f"{zoo}: {name or NOT_STATED}" for zoo, name in each.items())
        return Licence(f"The data are under several licences ({said})", "other", said)
    (name,) = names
    if not name:
        return Licence(f"The licence of the data is {NOT_STATED}", "unknown", NOT_STATED)
    hub, address = _KNOWN.get(name, ("other", name))
    return Licence(f"The data are under {name}", hub, address)


def _known_as(name: str) -> str:
    """Return a licence under the name that it has in `_KNOWN`; as it is where it is not there."""

    def letters(text: str) -> str:
        return re.sub(r"[\W_]", "", text.casefold())

    return next((known for known in _KNOWN if letters(known) == letters(name)), name)
