"""Which configuration or network of a zoo a person means, who says some of its knobs."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final

from mdbench.errors import MdbenchError
from mdbench.tables import same_level

#: Candidates that a message lists.
_LISTED: Final = 8


def meant(said: str, names: Iterable[str]) -> str:
    """Return the one name that has all the values that are said.

    Parameters
    ----------
    said : a name, or some ``knob=value`` of it in any order, with ``/`` between them.
    names : of configurations, ``knob=value/knob=value``, and of networks, which end in ``/seed=N``. A network is meant where
        a seed is said, otherwise a configuration.

    Raises
    ------
    MdbenchError
        No name has these values, or several have: the message lists some of them.
    """
    every = {name: values(name) for name in names}
    if said in every:
        return said
    wanted = values(said)
    found = [name for name, its in every.items() if ("seed" in its) == ("seed" in wanted) and _fits(wanted, its)]
    if len(found) == 1:
        return found[0]
    if found:
        others = next(iter(every[name] for name in found)).keys() - wanted.keys()
        more = f", … ({len(found)} in all)" if len(found) > _LISTED else ""
        raise MdbenchError(
            f"{said!r} is {', '.join(found[:_LISTED])}{more}; say one of them, by {' or '.join(sorted(others))} too"
        )
    near = get_close_matches(said, list(every), n=3, cutoff=0.3) or list(every)[:1]
    raise MdbenchError(f"the zoo has no configuration or network {said!r}; it has, for instance, {', '.join(near)}")


def values(name: str) -> dict[str, str]:
    """Return the values of knobs that a name says, as texts."""
    parts = [part.strip().partition("=") for part in name.split("/") if part.strip()]
    return {knob.strip(): value.strip() for knob, _, value in parts}


def _fits(wanted: Mapping[str, str], its: Mapping[str, str]) -> bool:
    return bool(wanted) and all(knob in its and same_level(value, its[knob]) for knob, value in wanted.items())
