"""Docstrings as this project writes them, read by mkdocstrings: types stand in signatures, prose after a colon."""

import re
from typing import Any

import griffe

_SECTION = re.compile(r"^(Parameters|Attributes|Returns|Yields)\n-{3,}\n((?:.+\n?|\n(?= ))*)", re.MULTILINE)
_ITEM = re.compile(r"^([\w*][\w*, ]*) : (.*)$", re.MULTILINE)


def numpydoc(text: str) -> str:
    """Return a docstring as numpydoc has it: names alone, prose below them; what is returned as a paragraph."""

    def moved(section: re.Match[str]) -> str:
        name, body = section[1], section[2]
        if name in ("Returns", "Yields"):
            return f"**{name}:** {body}"
        return f"{name}\n{'-' * len(name)}\n" + _ITEM.sub(r"\1\n    \2", body)

    return _SECTION.sub(moved, text)


class Prose(griffe.Extension):
    """Hands mkdocstrings docstrings as numpydoc has them."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one."""
        if obj.docstring is not None:
            obj.docstring.value = numpydoc(obj.docstring.value)
