"""A diagnosis as one page of HTML, which asks for nothing from elsewhere. Everything from outside is escaped."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from mdbench.diagnosing import (
    COORDINATES_SAID,
    LAYERS_SAID,
    WORDS,
    Diagnosis,
    Standing,
    bin_of,
    headline,
    looked_at,
    of_which,
    reliable,
    sentence,
    threshold_of,
)
from mdbench.showing import VERDICT_COLOURS
from zoo_builder.examining.basins import Plane
from zoo_builder.examining.between import Ways
from zoo_builder.examining.drawing import Spectrum

#: Where a plot's points are, of its 300 × 230 units.
_LEFT, _RIGHT, _TOP, _BOTTOM = 36.0, 290.0, 10.0, 194.0
#: Networks that a plot shows at most.
_SHOWN: Final = 500


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("zoo_builder.examining"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "words": lambda name: name.replace("_", " "),
        "number": lambda value: "–" if value is None else f"{value:.2f}",
        "percent": lambda value: "–" if value is None else f"{100 * value:.0f} %",
    }
    return environment


def page(
    found: Diagnosis,
    standing: Sequence[Standing],
    spectra: Sequence[Spectrum] = (),
    plane: Plane | None = None,
    ways: Ways | None = None,
) -> str:
    """Return the page.

    Parameters
    ----------
    found : what it is about.
    standing : the pool's phase plots with this network in them.
    spectra : of its layers.
    plane : the loss around it; None where nobody looked.
    ways : the loss between two seeds; the same.
    """
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            found=found,
            headline=headline(found),
            words=WORDS,
            bins={verdict.task: bin_of(verdict) for verdict in found.verdicts},
            reliable={verdict.task: reliable(verdict) for verdict in found.verdicts},
            plots=[_plot(one) for one in standing],
            spectra=spectra,
            plane=plane,
            ways=ways,
            thresholds={verdict.task: threshold_of(verdict) for verdict in found.verdicts},
            looked_at=looked_at(found),
            coordinates_said=COORDINATES_SAID,
            of_which=of_which(found),
            notes=[sentence(note) for note in found.notes],
            layers_said=LAYERS_SAID,
        )
    )


def _plot(standing: Standing) -> dict[str, Any]:
    """Return a phase plot in units of its drawing."""
    every = np.vstack([standing.points, standing.own[None]])
    low, high = np.percentile(standing.points, (1, 99), axis=0)
    low, high = np.minimum(low, standing.own), np.maximum(high, standing.own)
    share = np.clip((every - low) / np.where(high > low, high - low, 1.0), 0, 1)
    x = np.round(_LEFT + share[:, 0] * (_RIGHT - _LEFT), 1)
    y = np.round(_BOTTOM - share[:, 1] * (_BOTTOM - _TOP), 1)
    some = np.random.default_rng(0).permutation(len(standing.points))[:_SHOWN]
    return {
        "x": standing.x,
        "y": standing.y,
        "points": [
            {"x": float(x[at]), "y": float(y[at]), "colour": VERDICT_COLOURS[standing.labels[at]]} for at in some
        ],
        "you": {"x": float(x[-1]), "y": float(y[-1])},
        "key": [(name, VERDICT_COLOURS[name]) for name in dict.fromkeys(sorted(standing.labels))],
    }
