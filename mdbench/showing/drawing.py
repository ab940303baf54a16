"""One function that draws what it is given."""

import os
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from mdbench.errors import MdbenchError
from mdbench.scoring import Explanation, Result
from mdbench.showing.explanation import importance
from mdbench.showing.plots import accuracy_against_budget, check_format, levels_at, phase, save
from mdbench.tables import Zoo, load_zoo


def plot(
    thing: Result | Explanation | Zoo | str | os.PathLike[str],
    column: str | None = None,
    *,
    at: Mapping[str, float | str] | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw scores against training budget, what decides, or a column of a zoo over width × batch size.

    Parameters
    ----------
    thing : a result, whose accuracies are drawn against the budget, a panel a sweep; an explanation, whose columns are drawn
        by what is lost without them; or a zoo, its name or folder, of which a column is drawn.
    column : of a zoo: which column, as `mdbench columns` lists them.
    at : of a zoo: levels of knobs other than width and batch size, which are then shown alone.
    out : image to write, .png, .svg or .pdf; None writes nothing.

    Returns
    -------
    The figure. A notebook shows it; ``savefig`` writes it.

    Raises
    ------
    MdbenchError
        There is nothing to draw, no such zoo, column or level; or the image cannot be written.
    """
    path = None if out is None else Path(out)
    if path:
        check_format(path)
    if isinstance(thing, Result | Explanation):
        if column or at:
            raise MdbenchError(
                "column and at are of a zoo; of a result all scores are drawn, of an explanation all columns"
            )
        if isinstance(thing, Result) and not thing.scores:
            raise MdbenchError("the result has no scores to draw")
        figure = importance(thing) if isinstance(thing, Explanation) else accuracy_against_budget(thing)
    elif not isinstance(thing, Zoo | str | os.PathLike):
        raise MdbenchError(f"a {type(thing).__name__} cannot be drawn; a result, an explanation or a zoo can")
    else:
        zoo = thing if isinstance(thing, Zoo) else load_zoo(thing, layers=False)
        if column is None:
            raise MdbenchError(f'of zoo {zoo.name} a column is drawn: mdbench.plot({zoo.name!r}, "failure_source")')
        figure = phase(zoo, column, levels_at(zoo, [f"{knob}={level}" for knob, level in (at or {}).items()]))
    plt.close(figure)  # a notebook would show it a second time
    if path:
        save(figure, path)
    return figure
