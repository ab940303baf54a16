"""Statistics of weights and biases: how they are distributed in each layer, whatever they compute.

Unterthiner et al. (Predicting neural network accuracy from weights, 2020) predict a network's test accuracy from mean,
variance and quantiles of each layer's weights and of its biases alone. It takes no data and no pass through the network:
what else is measured has to be worth more than this.

A layer's weights are those that it multiplies by, and its biases those that it adds to what it multiplied
(`zoo_builder.landscape.matrices`). Normalizations have neither.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zoo_builder.landscape import matrices
from zoo_builder.landscape.matrices import Matrices, Matrix
from zoo_builder.landscape.metric import Measured, Metric, Subject
from zoo_builder.landscape.missing import Missing
from zoo_builder.landscape.surface import Surface

Array = NDArray[np.float64]

#: Quantiles, in %: the smallest value, the quartiles, the largest.
QUANTILES: Final = (0, 25, 50, 75, 100)
#: How the layers' values become a network's, so that networks of other depths have the same columns.
OVER_LAYERS: Final = ("mean", "first", "last")

_STATISTICS: Final = ("mean", "variance", *(f"q{share}" for share in QUANTILES))
_OF_LAYERS: Final = tuple(f"{what}_{statistic}" for what in ("weight", "bias") for statistic in _STATISTICS)
_NOT_FINITE: Final = "a weight or a bias is not finite"


def _low(column: str) -> float | None:
    """Return the lower bound of a layer's column."""
    return 0 if column.endswith("variance") else None


METRICS: Final[tuple[Metric, ...]] = (
    *(Metric(column, "layer", _low(column)) for column in _OF_LAYERS),
    *(Metric(f"{column}_{over}", "checkpoint", _low(column)) for column in _OF_LAYERS for over in OVER_LAYERS),
)


def statistics(values: Array) -> dict[str, Array]:
    """Return mean, variance and quantiles of numbers (S, n): statistic → (S,).

    The variance is that of the numbers themselves, divided by n. A quantile q lies at the place q (n − 1) of the numbers in
    their order, and between two of them on the line that joins them. All are NaN where there is no number, or one is not
    finite.
    """
    if not values.shape[1]:
        return dict.fromkeys(_STATISTICS, np.full(len(values), np.nan))
    finite = np.asarray(np.isfinite(values).all(axis=1))
    some = np.where(finite[:, None], values, 0.0)
    quantiles = np.quantile(some, [share / 100 for share in QUANTILES], axis=1)
    found = dict(zip(_STATISTICS, (some.mean(1), some.var(1), *quantiles), strict=True))
    return {name: np.where(finite, of, np.nan) for name, of in found.items()}


def of_layers(surface: Surface, known: Sequence[Matrix], biased: Sequence[Sequence[slice]]) -> list[dict[str, Array]]:
    """Return what is measured of each layer, column → (S,).

    Parameters
    ----------
    surface : networks whose weights are parameters.
    known : their matrices.
    biased : where the biases of each lie in a point.
    """
    found = []
    for matrix, places in zip(known, biased, strict=True):
        parts = {
            "weight": _numbers(surface, [matrix.place(surface.layout)]),
            "bias": _numbers(surface, places),
        }
        found.append(
            {f"{what}_{name}": of for what, values in parts.items() for name, of in statistics(values).items()}
        )
    return found


def _numbers(surface: Surface, places: Sequence[slice]) -> Array:
    """Return what lies at some places of the networks' points, one behind the other, (S, n)."""
    parts = [surface.points[:, place].detach().cpu().double().numpy() for place in places]
    return np.concatenate([np.empty((len(surface), 0)), *parts], axis=1)


def over_layers(column: str, values: Array) -> dict[str, Array]:
    """Return what the layers' values (S, L), in the order of the layers, say of networks: column → (S,).

    Returns
    -------
    mean, first, last : over, and of, the layers that have the number; NaN where none has.
    """
    found = {f"{column}_{over}": np.full(len(values), np.nan) for over in OVER_LAYERS}
    for row, layers in enumerate(values):
        known = layers[np.isfinite(layers)]
        if len(known):
            for over, value in zip(OVER_LAYERS, (known.mean(), known[0], known[-1]), strict=True):
                found[f"{column}_{over}"][row] = value
    return found


def measure(subject: Subject) -> Measured:
    """Measure how networks' weights and biases are distributed, layer by layer."""
    surface = subject.ordinary
    layers = matrices.find(surface.module)
    biased = [matrices.biases(surface.module, matrix, surface.layout) for matrix in layers.known]
    found = of_layers(surface, layers.known, biased)
    networks: dict[str, Array] = {}
    for column in _OF_LAYERS:
        values = np.stack([of[column] for of in found], 1) if found else np.empty((len(surface), 0))
        networks |= over_layers(column, values)
    missing = Missing(len(surface))
    if not layers.known:
        missing.because(layers.left_out or "there is no layer with a matrix", networks)
    elif all(not places for places in biased):
        missing.because("no layer has biases", (column for column in networks if column.startswith("bias_")))
    answer = Measured(missing.fill(networks, list(networks), _NOT_FINITE))
    answer.layers = list(_rows(layers, found, biased, len(surface)))
    for row in range(len(surface)):
        some = layers.left_out if layers.known else ""
        if said := "; ".join(filter(None, [missing.reasons.get(row), some])):
            answer.network_reasons[row] = said
    return answer


def _rows(
    layers: Matrices, found: Sequence[dict[str, Array]], biased: Sequence[Sequence[slice]], networks: int
) -> Iterator[dict[str, Any]]:
    for row in range(networks):
        for matrix, of, places in zip(layers.known, found, biased, strict=True):
            missing = Missing(1)
            if not places:
                missing.because("the layer has no biases", (column for column in of if column.startswith("bias_")))
            numbers = missing.fill({column: values[[row]] for column, values in of.items()}, list(of), _NOT_FINITE)
            yield {
                "network": row,
                "layer": matrix.name,
                **{column: float(values[0]) for column, values in numbers.items()},
                "weights_reason": missing.reasons.get(0),
            }
        for path, kind in layers.unknown.items():
            yield {
                "network": row,
                "layer": path,
                **dict.fromkeys(_OF_LAYERS, np.nan),
                "weights_reason": f"{', '.join(_OF_LAYERS)}: {matrices.NOT_KNOWN} of a {kind}",
            }
