"""The Hessian of the training loss: largest eigenvalues, trace and spectral density, of the network and of its layers.

The loss is the mean over the sample (`Subject.curved`), in evaluation mode; the Hessian is with respect to all P
parameters, and that of a layer its diagonal block. How all of it follows from one Lanczos run a network and a few probes,
and what the numbers of a density mean, says `zoo_builder.landscape.krylov`.

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

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo_builder.landscape import gaussnewton
from zoo_builder.landscape.blocks import block_starts, blockwise, lanczos_of_blocks
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.density import Density, density, masses
from zoo_builder.landscape.krylov import Krylov, lanczos
from zoo_builder.landscape.metric import MEMORY, Measured, Metric, Subject
from zoo_builder.landscape.missing import Missing
from zoo_builder.landscape.objective import CrossEntropy
from zoo_builder.landscape.surface import Curvature
from zoo_builder.landscape.traces import Traces, traces
from zoo_builder.landscape.vectors import CHUNK, Floats, indices

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
#: Fewest vectors of a basis, however little memory there is.
ROOM: Final = 12
#: Parameters from which on traces are computed exactly where that is possible; of smaller networks probes are cheaper.
LARGE: Final = 2**20

#: Vectors that a measurement holds beside its basis: probes and their images, sums in double precision, a product.
WORKING: Final = PROBES[0] + 6
#: Numbers in the vectors of all layers that are multiplied together.
_TOGETHER: Final = 2**26

_EIGENVALUES: Final = ("hessian_top_eigenvalue", *(f"hessian_eigenvalue_{at}" for at in range(2, len(TOLERANCES) + 1)))
_RESIDUAL: Final = "hessian_top_eigenvalue_residual"
_PRODUCTS: Final = "hessian_products"
_NOT_FINITE: Final = "the Hessian is not finite"

Found = TypeVar("Found", "Spectrum", Traces, "_Tops")

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
    """The Hessians of a subject's networks, as `zoo_builder.landscape.krylov.Products`.

    Attributes
    ----------
    spent : int64 (S,), products asked for so far.
    """

    def __init__(self, subject: Subject) -> None:
        surface = subject.surface
        self._curvature: Curvature = surface.curvature(subject.curved)
        self._length, self._said = surface.points.shape[1], subject.said
        self.spent = np.zeros(len(surface), dtype=np.int64)

    def __call__(self, rows: NDArray[np.int64], vectors: Tensor) -> Tensor:
        """Return products (b, V, P) of some networks' Hessians with vectors (b, V, P)."""
        self._count(rows, vectors)
        return self._curvature(vectors, rows.tolist())

    def _count(self, rows: NDArray[np.int64], vectors: Tensor) -> None:
        self.spent[rows] += vectors.shape[1]
        self._said(f"{self.spent.sum():,} products with Hessians")

    def within(self, rows: NDArray[np.int64], vectors: Tensor, block: slice) -> Tensor:
        """Return products (b, V, p) of diagonal blocks with vectors (b, V, p)."""
        inside = getattr(self._curvature, "within", None)
        if inside is not None:
            self._count(rows, vectors)
            found: Tensor = inside(vectors, rows.tolist(), block)
            return found
        whole = vectors.new_zeros(*vectors.shape[:2], self._length)
        whole[:, :, block] = vectors
        return self(rows, whole)[:, :, block]


@dataclass(frozen=True)
class Spectrum:
    """The largest eigenvalues of the Hessians of S networks. Those that did not converge are NaN, and so are their vectors.

    Attributes
    ----------
    values : (S, k), the largest first.
    vectors : (S, k, P), of length 1; their sign is arbitrary.
    residuals : (S, k), ‖H x − θ x‖ / |θ|, whether converged or not.
    bottoms : (S,), smallest Ritz values.
    steps : int64 (S,), of Lanczos' algorithm.
    densities : S, None where a Hessian is not finite.
    """

    values: Floats
    vectors: Tensor
    residuals: Floats
    bottoms: Floats
    steps: NDArray[np.int64]
    densities: tuple[Density | None, ...]


def spectrum(subject: Subject) -> Spectrum:
    """Return the largest eigenvalues of the Hessians of a subject's networks, with eigenvectors; computed once a subject."""
    kept = subject.shared.get("hessian spectrum")
    if kept is None:
        hessians = Hessians(subject)
        kept = _joined([_spectrum(_lanczos(subject, hessians, rows)) for rows in _portions(subject)])
        subject.shared["hessian spectrum"] = kept
    assert isinstance(kept, Spectrum)
    return kept


def bytes_needed(networks: int, parameters: int, itemsize: int, memory: int = MEMORY, layers: int = 1) -> int:
    """Return how many bytes vectors take, about, while the Hessians of some networks are measured.

    Beside them there are the networks themselves, and what a surface keeps for its products.

    Parameters
    ----------
    networks, parameters : how many, and of how many parameters each.
    itemsize : bytes of a number.
    memory : bytes that bases may take.
    layers : how many each has.
    """
    vector, room = parameters * itemsize, _room(parameters, itemsize, memory)
    # A short basis begins anew, and then a part of it stands beside the half of it that it is made of; where there is more
    # room, seldom before the search ends.
    beside = int(np.ceil(1.5 * room * min(1, CHUNK / parameters))) if room < STEPS[1] else 0
    together = min(networks, _at_once(parameters, itemsize, memory))
    if together > 1:
        beside = max(beside, room)  # where some are done, the others' bases are copied
    held = (_vectors_of_one(parameters, itemsize, memory) + beside) * together * vector
    of_layers = _layers_together(together, parameters, itemsize, layers)
    if of_layers <= memory:
        held = max(held, of_layers)
    return held + networks * len(TOLERANCES) * vector


def _layers_together(networks: int, parameters: int, itemsize: int, layers: int) -> int:
    """Return how many bytes the search for layers' eigenvalues takes where all of them ask together."""
    return (LAYER_STEPS + 1 + 2 * layers) * networks * parameters * itemsize


def _vectors_of_one(parameters: int, itemsize: int, memory: int) -> int:
    """Return how many vectors one network's measurement holds at a time."""
    return _room(parameters, itemsize, memory) + 1 + WORKING


def _room(parameters: int, itemsize: int, memory: int) -> int:
    """Return how many vectors a basis may have."""
    return int(np.clip(memory // (parameters * itemsize) - WORKING - 1, ROOM, STEPS[1]))


def _at_once(parameters: int, itemsize: int, memory: int) -> int:
    """Return how many networks are measured together."""
    return max(1, memory // (_vectors_of_one(parameters, itemsize, memory) * parameters * itemsize))


def _portions(subject: Subject) -> list[NDArray[np.int64]]:
    """Return networks' rows, those together that are measured together."""
    points = subject.surface.points
    size = _at_once(points.shape[1], points.element_size(), subject.memory)
    return [np.arange(start, min(start + size, len(points))) for start in range(0, len(points), size)]


def _lanczos(subject: Subject, hessians: Hessians, rows: NDArray[np.int64]) -> Krylov:
    """Run Lanczos' algorithm for some of the networks."""
    points = subject.surface.points
    length = points.shape[1]
    generators = [subject.rng(int(row), "hessian start") for row in rows]
    starts = torch.as_tensor(np.stack([generator.standard_normal(length) for generator in generators]))
    return lanczos(
        lambda which, vectors: hessians(rows[which], vectors),
        starts.to(points),
        TOLERANCES,
        generators,
        fewest=STEPS[0],
        most=STEPS[1],
        room=_room(length, points.element_size(), subject.memory),
    )


def _spectrum(krylov: Krylov) -> Spectrum:
    """Return what Lanczos runs say of the spectra."""
    size, _, length = krylov.vectors.shape
    many = len(TOLERANCES)
    values, residuals, bottoms = np.full((size, many), np.nan), np.full((size, many), np.nan), np.full(size, np.nan)
    vectors = krylov.vectors.new_full((size, many, length), torch.nan)
    for row in indices(krylov.finite):
        ritz = krylov.ritz(row)
        bottoms[row], residuals[row, : len(ritz.values)] = ritz.values[-1], ritz.relative[:many]
        good = indices(ritz.within(TOLERANCES))
        values[row, good] = ritz.values[good]
        coordinates = torch.as_tensor(ritz.vectors[:, good].T.copy()).to(vectors)
        vectors[row, good] = coordinates @ krylov.basis[row, : len(ritz.values)]
    densities = [
        density(krylov, row, DENSITY_TOLERANCE) if finite else None for row, finite in enumerate(krylov.finite)
    ]
    return Spectrum(values, vectors, residuals, bottoms, krylov.spent, tuple(densities))


@dataclass(frozen=True)
class _Tops:
    """Largest eigenvalues of L diagonal blocks of S networks' Hessians, (S, L) each; NaN where one did not converge.

    Attributes
    ----------
    values, residuals : as in `Spectrum`.
    steps : of Lanczos' algorithm.
    """

    values: Floats
    residuals: Floats
    steps: Floats


def _joined(parts: Sequence[Found]) -> Found:
    """Return what was found of portions of the networks as one."""
    together: dict[str, Any] = {}
    for name in (field.name for field in fields(parts[0])):
        values: list[Any] = [getattr(part, name) for part in parts]
        if isinstance(values[0], tuple):
            together[name] = tuple(one for value in values for one in value)
        else:
            together[name] = torch.cat(values) if isinstance(values[0], Tensor) else np.concatenate(values)
    return type(parts[0])(**together)


def measure(subject: Subject) -> Measured:
    """Measure all of a subject's networks, their layers, and its groups."""
    hessians = Hessians(subject)
    portions = [_portion(subject, hessians, rows) for rows in _portions(subject)]
    found, sums, tops = (_joined(parts) for parts in zip(*portions, strict=True))
    subject.shared["hessian spectrum"] = found
    networks, reasons = _networks(found, sums, hessians.spent, subject.surface.points.shape[1])
    configurations, reasons_together = _configurations(subject, networks)
    return Measured(networks, configurations, _layers(subject, sums, tops), reasons, reasons_together)


def _portion(subject: Subject, hessians: Hessians, rows: NDArray[np.int64]) -> tuple[Spectrum, Traces, _Tops]:
    """Measure some of the networks."""
    krylov = _lanczos(subject, hessians, rows)
    found, sums = _spectrum(krylov), _traces(subject, hessians, rows, krylov)
    generators = [subject.rng(int(row), "hessian layers") for row in rows]
    starts = block_starts(krylov, _blocks(subject), generators)
    finite = krylov.finite
    del krylov  # what comes now needs room, and no basis
    shape = len(rows), len(starts)
    tops = _Tops(np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape))
    some = indices(finite)
    if some and subject.settings.layer_eigenvalues:
        runs = _layer_runs(
            subject, hessians, rows[some], [start[some] for start in starts], [generators[row] for row in some]
        )
        for layer, run in enumerate(runs):
            for at, row in enumerate(some):
                ritz = run.ritz(at)
                tops.steps[row, layer], tops.residuals[row, layer] = run.spent[at], ritz.relative[0]
                if run.finite[at] and ritz.within((LAYER_TOLERANCE,))[0]:
                    tops.values[row, layer] = ritz.values[0]
    return found, sums, tops


def _blocks(subject: Subject) -> list[slice]:
    return [layer.block for layer in subject.surface.layout.layers]


def _traces(subject: Subject, hessians: Hessians, rows: NDArray[np.int64], krylov: Krylov) -> Traces:
    """Return traces of some of the networks: exact ones where they are cheaper than probes."""
    exact = [exact_traces(subject, int(row)) for row in rows]
    known = [one for one in exact if one is not None]
    sums = traces(
        lambda which, vectors: hessians(rows[which], vectors),
        krylov,
        _blocks(subject),
        [subject.rng(int(row), "hessian probes") for row in rows],
        tolerance=TRACE_TOLERANCE,
        at_once=PROBES[0],
        most=PROBES[0] if len(known) == len(rows) else PROBES[1],  # squares come from probes, too, and need few
    )
    if len(known) < len(rows):
        return sums
    where = np.isfinite(sums.whole)
    return replace(
        sums,
        whole=np.where(where, [one.whole for one in known], np.nan),
        whole_se=np.where(where, [one.whole_se for one in known], np.nan),
        blocks=np.where(where[:, None], [one.blocks for one in known], np.nan),
        blocks_se=np.where(where[:, None], [one.blocks_se for one in known], np.nan),
    )


def exact_traces(subject: Subject, row: int) -> gaussnewton.BlockTraces | None:
    """Return the traces of one network's Hessian exactly; None where they are not known to be, or probes are cheaper."""
    surface, data = subject.surface, subject.curved
    plain = isinstance(surface.objective, CrossEntropy) and surface.objective.plain
    every = len(surface.layout.shapes) == len(list(surface.module.parameters()))
    if not (plain and every and data.floating) or surface.points.shape[1] < LARGE:
        return None
    return gaussnewton.block_traces(
        surface.network(row).to(surface.points),
        Data(data.tensor.to(surface.points), data.targets),
        [layer.parameters for layer in surface.layout.layers],
        subject.rng(row, "hessian classes"),
    )


def _layer_runs(
    subject: Subject,
    hessians: Hessians,
    rows: NDArray[np.int64],
    starts: Sequence[Tensor],
    generators: Sequence[np.random.Generator],
) -> list[Krylov]:
    """Search for the largest eigenvalues of the layers' diagonal blocks.

    The search begins with what is known from the network's Lanczos run, and stops at `LAYER_TOLERANCE`. Where two
    eigenvalues are that close, it may be the second that is found. Layers ask together where there is memory for it.
    """
    points, blocks = subject.surface.points, _blocks(subject)
    length, itemsize = points.shape[1], points.element_size()
    fits = _layers_together(len(rows), length, itemsize, len(blocks)) <= subject.memory
    if fits and len(rows) * len(blocks) * length <= _TOGETHER:
        together = blockwise(lambda which, vectors: hessians(rows[which], vectors), blocks, length)
        return lanczos_of_blocks(together, starts, (LAYER_TOLERANCE,), generators, most=LAYER_STEPS)
    runs = []
    for block, start in zip(blocks, starts, strict=True):

        def within(which: NDArray[np.int64], vectors: Tensor, block: slice = block) -> Tensor:
            return hessians.within(rows[which], vectors, block)

        room = _room(start.shape[1], itemsize, subject.memory)
        runs.append(lanczos(within, start, (LAYER_TOLERANCE,), generators, most=LAYER_STEPS, room=room))
    return runs


def _layers(subject: Subject, sums: Traces, tops: _Tops) -> list[dict[str, Any]]:
    """Return the rows of the table of layers."""
    rows = []
    for row, layer in np.ndindex(tops.values.shape):
        reason = None
        if np.isnan(sums.blocks[row, layer]):
            reason = f"hessian_trace, hessian_trace_se, hessian_top_eigenvalue: {_NOT_FINITE}"
        elif not subject.settings.layer_eigenvalues:
            reason = "hessian_top_eigenvalue: it was not asked for"
        elif np.isnan(tops.values[row, layer]):
            said = _not_reached(LAYER_TOLERANCE, int(tops.steps[row, layer]), float(tops.residuals[row, layer]))
            reason = f"hessian_top_eigenvalue: {said}"
        rows.append(
            {
                "network": row,
                "layer": subject.surface.layout.layers[layer].name,
                "hessian_trace": sums.blocks[row, layer],
                "hessian_trace_se": sums.blocks_se[row, layer],
                "hessian_top_eigenvalue": tops.values[row, layer],
                "hessian_reason": reason,
            }
        )
    return rows


def _networks(
    found: Spectrum, sums: Traces, spent: NDArray[np.int64], length: int
) -> tuple[dict[str, Floats], dict[int, str]]:
    """Return what is measured of networks, and why something is missing."""
    size = len(found.values)
    rank, mass = np.full((2, size), np.nan)
    missing = Missing(size)
    for row, seen in enumerate(found.densities):
        if seen is None:
            continue
        negative, positive = masses(sums.whole[row], seen, length)
        if negative + positive > 0:
            rank[row] = (negative + positive) ** 2 / sums.squares[row]
            mass[row] = negative / (negative + positive)
        else:
            missing.because("the Hessian is zero", ["hessian_effective_rank", "hessian_negative_mass"], [row])
        for at, column in enumerate(_EIGENVALUES):
            if at >= length:
                missing.because("there are fewer parameters", [column], [row])
            elif np.isnan(found.values[row, at]):
                reason = _not_reached(TOLERANCES[at], int(found.steps[row]), found.residuals[row, at])
                missing.because(reason, [column, *([_RESIDUAL] if at == 0 else [])], [row])
    columns: dict[str, Floats] = {
        "hessian_trace": sums.whole,
        "hessian_trace_se": sums.whole_se,
        _RESIDUAL: np.where(np.isnan(found.values[:, 0]), np.nan, found.residuals[:, 0]),
        **dict(zip(_EIGENVALUES, found.values.T, strict=True)),
        "hessian_bottom_eigenvalue": found.bottoms,
        "hessian_effective_rank": rank,
        "hessian_negative_mass": mass,
        _PRODUCTS: spent.astype(np.float64),
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
