"""The Hessian of the training loss: largest eigenvalues, trace and spectral density, of the network and of its layers.

The loss is the mean over the sample, in evaluation mode; the Hessian is with respect to all P parameters, and that of a
layer its diagonal block. How all of it follows from one Lanczos run a network and a few probes, and what the numbers of a
density mean, says `zoo_builder.landscape.krylov`.

What it costs and how good it is, on convolutional networks of a zoo (widths 6, 16 and 32; P = 592, 2,522 and 8,106):

- The five largest eigenvalues have converged after 10 to 16 steps. An eigenvalue with a relative residual r is wrong by
  the order of r², unless others are as close as r.
- A probe's standard error is several times smaller with a known subspace of 16 steps than without. What both cost together
  is flat around there: fewer steps want more probes. `benchmarks/hessian.py` prints the products.
- A layer's largest eigenvalue takes a product or two, for what the run knows of the layer is nearly its eigenvector. The
  column ``hessian_products`` has all of them.
- The effective rank (Σ|λ|)² / Σλ² has Σλ² from the probes, to a few percent, and Σ|λ| from trace and negative mass. The
  negative mass is the weak one: it is seen from a single start, and more steps hardly make it better.
- The smallest Ritz value is only a bound: it is within 10 % of the smallest eigenvalue where that one stands out, and a
  fraction of it where the negative eigenvalues are small against the positive ones.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo_builder.landscape.data import Data
from zoo_builder.landscape.krylov import (
    Floats,
    Krylov,
    Traces,
    block_starts,
    blockwise,
    density,
    indices,
    lanczos,
    masses,
    traces,
)
from zoo_builder.landscape.metric import Measured, Metric, Subject
from zoo_builder.landscape.missing import Missing
from zoo_builder.landscape.surface import Curvature, Surface

#: Largest relative residuals ‖H x − θ x‖ / |θ| of the largest eigenvalues, in order.
TOLERANCES: Final = (0.01, 0.05, 0.05, 0.05, 0.05)
#: Fewest and most Lanczos steps. Eigenvalues need fewer; the others are what the trace saves in probes.
STEPS: Final = (16, 96)
#: The trace is good enough when its standard error is this share of it.
TRACE_TOLERANCE: Final = 0.02
#: Probes of the trace that are asked at a time, and at most.
PROBES: Final = (4, 64)
#: Largest relative residual of a layer's largest eigenvalue, and most Lanczos steps.
LAYER_TOLERANCE: Final = 0.05
LAYER_STEPS: Final = 32
#: Relative residual up to which an eigenvalue is one of its own in the spectral density.
DENSITY_TOLERANCE: Final = 0.2

_EIGENVALUES: Final = ("hessian_top_eigenvalue", *(f"hessian_eigenvalue_{at}" for at in range(2, len(TOLERANCES) + 1)))
_RESIDUAL: Final = "hessian_top_eigenvalue_residual"
_PRODUCTS: Final = "hessian_products"
_NOT_FINITE: Final = "the Hessian is not finite"

METRICS: Final = (
    Metric("hessian_trace", "checkpoint", cost="4 to 20 Hessian–vector products"),
    Metric("hessian_trace_se", "checkpoint", 0),
    Metric(_EIGENVALUES[0], "checkpoint", cost="16 to 24 Hessian–vector products"),
    Metric(_RESIDUAL, "checkpoint", 0, TOLERANCES[0]),
    *(Metric(column, "checkpoint") for column in _EIGENVALUES[1:]),
    Metric("hessian_bottom_eigenvalue", "checkpoint"),
    Metric("hessian_effective_rank", "checkpoint", 1),
    Metric("hessian_negative_mass", "checkpoint", 0, 1),
    Metric(_PRODUCTS, "checkpoint", 1),
    Metric("log_hessian_trace", "configuration"),
    Metric("log_hessian_top_eigenvalue", "configuration"),
    Metric("hessian_trace", "layer"),
    Metric("hessian_trace_se", "layer", 0),
    Metric("hessian_top_eigenvalue", "layer", cost="1 to 3 Hessian–vector products"),
)


class Hessians:
    """The Hessians of the networks of a surface, as `zoo_builder.landscape.krylov.Products`.

    Attributes
    ----------
    spent : int64 (S,), products asked for so far.
    """

    def __init__(self, surface: Surface, data: Data) -> None:
        self._curvature: Curvature = surface.curvature(data)
        self.spent = np.zeros(len(surface), dtype=np.int64)

    def __call__(self, rows: NDArray[np.int64], vectors: Tensor) -> Tensor:
        """Return products (b, V, P) of some networks' Hessians with vectors (b, V, P)."""
        self.spent[rows] += vectors.shape[1]
        return self._curvature(vectors, rows.tolist())


@dataclass(frozen=True)
class Spectrum:
    """The largest eigenvalues of the Hessians of S networks. Those that did not converge are NaN, and so are their vectors.

    Attributes
    ----------
    values : (S, k), the largest first.
    vectors : (S, k, P), of length 1; their sign is arbitrary.
    residuals : (S, k), ‖H x − θ x‖ / |θ|, whether converged or not.
    krylov : the Lanczos runs.
    hessians : whom they asked.
    """

    values: Floats
    vectors: Tensor
    residuals: Floats
    krylov: Krylov
    hessians: Hessians


def spectrum(subject: Subject) -> Spectrum:
    """Return the largest eigenvalues of the Hessians of a subject's networks, with eigenvectors; computed once a subject."""
    kept = subject.shared.get("hessian spectrum")
    if kept is None:
        kept = subject.shared["hessian spectrum"] = _spectrum(subject)
    assert isinstance(kept, Spectrum)
    return kept


def _spectrum(subject: Subject) -> Spectrum:
    surface, many = subject.surface, len(TOLERANCES)
    size, length = surface.points.shape
    generators = [subject.rng(row, "hessian start") for row in range(size)]
    starts = torch.as_tensor(np.stack([generator.standard_normal(length) for generator in generators]))
    hessians = Hessians(surface, subject.sample)
    krylov = lanczos(hessians, starts.to(surface.points), TOLERANCES, generators, fewest=STEPS[0], most=STEPS[1])
    values, residuals = np.full((size, many), np.nan), np.full((size, many), np.nan)
    vectors = torch.full((size, many, length), torch.nan).to(surface.points)
    for row in indices(krylov.finite):
        ritz = krylov.ritz(row)
        residuals[row, : len(ritz.values)] = ritz.relative[:many]
        good = indices(ritz.within(TOLERANCES))
        values[row, good] = ritz.values[good]
        coordinates = torch.as_tensor(ritz.vectors[:, good].T.copy()).to(krylov.basis)
        vectors[row, good] = coordinates @ krylov.basis[row, : len(ritz.values)]
    return Spectrum(values, vectors, residuals, krylov, hessians)


def measure(subject: Subject) -> Measured:
    """Measure all of a subject's networks, their layers, and its groups."""
    layers, found = subject.surface.layout.layers, spectrum(subject)
    size = len(subject.surface)
    generators = [subject.rng(row, "hessian probes") for row in range(size)]
    sums = traces(
        found.hessians,
        found.krylov,
        [layer.block for layer in layers],
        generators,
        tolerance=TRACE_TOLERANCE,
        at_once=PROBES[0],
        most=PROBES[1],
    )
    tops, why = layer_tops(subject)
    rows: list[dict[str, Any]] = [
        {
            "network": row,
            "layer": layer.name,
            "hessian_trace": sums.blocks[row, at],
            "hessian_trace_se": sums.blocks_se[row, at],
            "hessian_top_eigenvalue": tops[row, at],
            "hessian_reason": why.get((row, at)),
        }
        for row in range(size)
        for at, layer in enumerate(layers)
    ]
    networks, reasons = _networks(found, sums)
    configurations, reasons_together = _configurations(subject, networks)
    return Measured(networks, configurations, rows, reasons, reasons_together)


def layer_tops(subject: Subject) -> tuple[Floats, dict[tuple[int, int], str]]:
    """Return the largest eigenvalues of the layers' diagonal blocks, (S, L), and (row, layer) → why one is missing (NaN).

    The search begins with what is known from the network's Lanczos run, and stops at `LAYER_TOLERANCE`. Where two
    eigenvalues are that close, it may be the second that is found.
    """
    found, blocks = spectrum(subject), [layer.block for layer in subject.surface.layout.layers]
    finite, many = found.krylov.finite, len(blocks)
    tops = np.full((len(finite), many), np.nan)
    missing = f"hessian_trace, hessian_trace_se, hessian_top_eigenvalue: {_NOT_FINITE}"
    why = {(row, at): missing for row in indices(~finite) for at in range(many)}
    if not finite.any():
        return tops, why
    generators = [subject.rng(row, "hessian layers") for row in range(len(finite))]
    starts = block_starts(found.krylov, blocks, generators).flatten(0, 1)
    pairs = np.flatnonzero(np.repeat(finite, many))
    products = blockwise(found.hessians, blocks)
    run = lanczos(
        lambda which, vectors: products(pairs[which], vectors),
        starts[pairs],
        (LAYER_TOLERANCE,),
        [generators[pair // many] for pair in pairs],
        most=LAYER_STEPS,
    )
    for at, pair in enumerate(pairs):
        place, ritz = divmod(int(pair), many), run.ritz(at)
        if run.finite[at] and ritz.within((LAYER_TOLERANCE,))[0]:
            tops[place] = ritz.values[0]
        else:
            why[place] = f"hessian_top_eigenvalue: {_not_reached(LAYER_TOLERANCE, run.steps[at], ritz.relative[0])}"
    return tops, why


def _networks(found: Spectrum, sums: Traces) -> tuple[dict[str, Floats], dict[int, str]]:
    """Return what is measured of networks, and why something is missing."""
    krylov = found.krylov
    size, _, length = krylov.basis.shape
    rank, mass, bottom = np.full((3, size), np.nan)
    missing = Missing(size)
    for row in indices(krylov.finite):
        bottom[row] = krylov.ritz(row).values[-1]
        negative, positive = masses(sums.whole[row], density(krylov, row, DENSITY_TOLERANCE), length)
        if negative + positive > 0:
            rank[row] = (negative + positive) ** 2 / sums.squares[row]
            mass[row] = negative / (negative + positive)
        else:
            missing.because("the Hessian is zero", ["hessian_effective_rank", "hessian_negative_mass"], [row])
        for at, column in enumerate(_EIGENVALUES):
            if at >= length:
                missing.because("there are fewer parameters", [column], [row])
            elif np.isnan(found.values[row, at]):
                reason = _not_reached(TOLERANCES[at], krylov.steps[row], found.residuals[row, at])
                missing.because(reason, [column, *([_RESIDUAL] if at == 0 else [])], [row])
    columns: dict[str, Floats] = {
        "hessian_trace": sums.whole,
        "hessian_trace_se": sums.whole_se,
        _RESIDUAL: np.where(np.isnan(found.values[:, 0]), np.nan, found.residuals[:, 0]),
        **dict(zip(_EIGENVALUES, found.values.T, strict=True)),
        "hessian_bottom_eigenvalue": bottom,
        "hessian_effective_rank": rank,
        "hessian_negative_mass": mass,
        _PRODUCTS: found.hessians.spent.astype(np.float64),
    }
    names = [metric.column for metric in METRICS if metric.of == "checkpoint"]
    return missing.fill(columns, names, _NOT_FINITE), missing.reasons


def _not_reached(tolerance: float, steps: int, residual: float) -> str:
    return f"Lanczos did not reach {100 * tolerance:g} % in {steps} steps ({100 * residual:.2g} %)"


def _configurations(subject: Subject, networks: dict[str, Floats]) -> tuple[dict[str, Floats], dict[int, str]]:
    """Return the natural logarithms of the groups' means, and why one is missing."""
    missing = Missing(len(subject.groups))
    found: dict[str, Floats] = {}
    for column in ("hessian_trace", "hessian_top_eigenvalue"):
        logarithms = found[f"log_{column}"] = np.full(len(subject.groups), np.nan)
        for at, group in enumerate(subject.groups):
            values = networks[column][list(group)]
            values = values[np.isfinite(values)]
            if not len(values):
                missing.because(f"{column} was measured of none of the networks", [f"log_{column}"], [at])
            elif values.mean() <= 0:
                missing.because(f"the mean of {column} is {values.mean():.3g}", [f"log_{column}"], [at])
            else:
                logarithms[at] = np.log(values.mean())
    return missing.fill(found, list(found)), missing.reasons
