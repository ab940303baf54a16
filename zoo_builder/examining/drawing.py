"""What of a network is drawn on its page, in units of the drawing: spectral densities of its layers."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mdbench.errors import MdbenchError
from zoo_builder.landscape import matrices, spectra

#: Where curves are drawn, of 220 × 150 units.
LEFT, RIGHT, TOP, BOTTOM = 8.0, 212.0, 8.0, 128.0
#: Layers that are drawn at most: evenly from all of them, the first and the last among them.
LAYERS: Final = 12
#: By what factor the axis goes beyond the lowest and the highest density.
_BEYOND: Final = 3.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """The density of a layer's eigenvalues, both axes logarithmic, and the densities fitted to it.

    Attributes
    ----------
    layer : its name.
    exponent : of the power law; None where there is none.
    bars : (x, y, width, height) each, of a histogram of the nonzero eigenvalues.
    tail, bulk : points of the power law and of the Marchenko–Pastur law, as SVG has them; empty where one was not fitted.
    low, high : the smallest and the largest eigenvalue.
    """

    layer: str
    exponent: float | None
    bars: tuple[tuple[float, float, float, float], ...]
    tail: str
    bulk: str
    low: float
    high: float


def densities(network: nn.Module) -> tuple[Spectrum, ...]:
    """Return the spectral densities of a network's layers; of none where its weights cannot be told from other numbers."""
    try:
        plain = matrices.ordinary(network)
        known = [matrix for matrix in matrices.find(plain).known if min(matrix.sides) > 1]
    except MdbenchError:
        return ()
    chosen = sorted({round(at) for at in np.linspace(0, len(known) - 1, min(LAYERS, len(known)))})
    found = []
    for matrix in (known[at] for at in chosen):
        numbers = plain.get_submodule(matrix.path).get_parameter(matrix.attribute).detach().cpu().float().flatten()
        curves = spectra.curves(matrix.cut(numbers[matrix.start : matrix.start + matrix.size]).numpy())
        if len(curves.eigenvalues) > 1 and curves.eigenvalues[0] < curves.eigenvalues[-1]:
            found.append(drawn(matrix.name, curves))
    return tuple(found)


def drawn(layer: str, curves: spectra.Curves) -> Spectrum:
    """Return the drawing of a spectrum of at least two different eigenvalues."""
    values = curves.eigenvalues
    many = max(6, int(np.ceil(2 * np.sqrt(len(values)))))
    edges = np.geomspace(values[0] * (1 - 1e-9), values[-1] * (1 + 1e-9), many + 1)
    density, _ = np.histogram(values, edges, density=True)
    seen = density[density > 0]
    low, high = np.log(seen.min() / _BEYOND), np.log(seen.max() * _BEYOND)

    def across(x: Floats) -> Floats:
        found: Floats = LEFT + (RIGHT - LEFT) * np.log(x / edges[0]) / np.log(edges[-1] / edges[0])
        return found.round(1)

    def down(y: Floats) -> Floats:
        found: Floats = BOTTOM - (BOTTOM - TOP) * (np.log(y) - low) / (high - low)
        return found.round(1)

    def line(y: Floats) -> str:
        inside = (y > np.exp(low)) & (y < np.exp(high))
        pairs = zip(across(curves.x[inside]), down(y[inside]), strict=True)
        return " ".join(f"{x:g},{height:g}" for x, height in pairs)

    at = across(edges)
    bars = tuple(
        (
            float(at[place]),
            float(down(density[place])),
            float(at[place + 1] - at[place]),
            float(BOTTOM - down(density[place])),
        )
        for place in np.flatnonzero(density)
    )
    exponent = float(curves.law.alpha)
    return Spectrum(
        layer,
        exponent if np.isfinite(exponent) else None,
        bars,
        line(curves.tail),
        line(curves.bulk),
        float(values[0]),
        float(values[-1]),
    )
