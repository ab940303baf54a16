"""The templates of the pages, and how texts, numbers and data come into them."""

import re
from functools import cache, lru_cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic_core import to_json
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from leaderboard.ranking import LEVEL, Row
from mdbench.tables import COLUMNS, level_text

#: Verdict on an entry → a sign, for eyes that do not see its colour.
SIGNS: Final = {"verified": "✓", "reproduced within noise": "≈", "self-reported": "○", "rejected": "✕"}
#: Kind of an event of the ledger → what a page calls it.
KINDS: Final = {
    "accepted": "accepted",
    "verification": "checked",
    "rescored": "scored anew",
    "superseded": "superseded",
    "removed": "removed",
    "sealed": "scored on sealed labels",
    "redated": "dated anew",
}
#: Characters that end a script, or a line of one, in texts that stand in a script.
_UNSAFE: Final = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def embedded(data: Any) -> Markup:
    """Return data as JSON that can stand within a script element."""
    text = to_json(data, inf_nan_mode="null").decode()  # several times as fast as Python's own
    return Markup(text.translate(_UNSAFE))  # noqa: S704 - nothing that ends the element is left


@lru_cache(maxsize=1024)
def highlighted(source: str) -> Markup:
    """Return a text in Python with its words marked, for ``style.css`` to colour."""
    return Markup(highlight(source, PythonLexer(), HtmlFormatter(nowrap=True)))  # noqa: S704 - which escapes


def track_of(row: Row) -> str:
    """Return an entry's track; methods that are not trained are a kind of their own."""
    return "not trained" if row.entry.method.zero_shot else row.entry.method.track


def case_page(name: str) -> str:
    """Return where the page of a case is."""
    return f"cases/{name}.html"


def breakable(name: str) -> Markup:
    """Return a name as HTML that may end a line behind a slash, underscore or hyphen, where it would else break in a word."""
    return Markup("<wbr>").join(re.split(r"(?<=[/_-])", name))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("leaderboard.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "embedded": embedded,
        "number": lambda value: f"{value:.1f}",
        "count": lambda value: f"{value:,}",
        "day": lambda date: f"{date:%Y-%m-%d}",
        "short": lambda digest: digest[:12],
        "unit": lambda knob: "" if COLUMNS[knob].unit in ("1", "") else COLUMNS[knob].unit,
        "words": lambda name: name.replace("_", " "),
        "breakable": breakable,
        "p": lambda p: f"{p:.3f}" if p >= 0.001 else "< 0.001",
        "level": level_text,
    }
    environment.globals |= {
        "signs": SIGNS,
        "kinds": KINDS,
        "case_page": case_page,
        "track_of": track_of,
        "level": LEVEL,
    }
    return environment


def render(template: str, **said: Any) -> str:
    """Return a page.

    Parameters
    ----------
    template : its name, without its ending.
    said : what it is about. Texts are escaped.
    """
    return _environment().get_template(f"{template}.jinja").render(**said)


def cells(row: Row) -> str:
    """Return the cells that say of an entry what it sees, its track and its verdict."""
    parts: Any = _environment().get_template("parts.html.jinja").module
    return str(parts.about(row))
