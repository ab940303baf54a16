"""The figures of one configuration of a zoo: what is around its networks."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mdbench import plots
from mdbench.zoo import load_zoo
from zoo_builder.graph import UnknownLayerError
from zoo_builder.landscape import alignment, connectivity, figures, hessian, krylov, spectra, topology
from zoo_builder.landscape.metric import Settings, Subject
from zoo_builder.measuring import open_subject, portion_of
from zoo_builder.spec import read_spec
from zoo_builder.store import SPEC, Store
from zoo_builder.units import writing
from zoo_builder.work import material

#: Points along each axis of a plane, and along a curve.
_SIDE: Final = 31
_ALONG: Final = 25
#: Points at which a spectral density is drawn, and the width of a mass, as a share of the spectrum's.
_PLACES: Final = 2000
_WIDTH: Final = 0.004

Floats = NDArray[np.float64]


def show(folder: Path, name: str, out: Path | None = None) -> list[Path]:
    """Draw the figures of a configuration, or of one of its networks and the next seed's.

    Parameters
    ----------
    folder : a zoo's, whose networks are all there.
    name : a configuration, or a network, as the zoo's tables name them.
    out : where the figures go; ``figures/NAME`` in the zoo's folder if left out.

    Returns
    -------
    The files written.

    Raises
    ------
    MdbenchError
        The folder holds no finished build; there is no such configuration or network; all of it diverged.
    """
    store = Store(folder.absolute())
    store.manifest()
    zoo = load_zoo(store.folder)
    spec = read_spec(store.folder / SPEC)
    dataset, subsets = material(spec)
    portion, first = portion_of(spec, subsets, zoo, name)
    subject = open_subject(store.folder, spec, dataset, subsets, portion, Settings(), "cpu")
    drawn = drawings(subject, first, name)
    where = out or store.folder / "figures" / name.replace("/", "_")
    written = []
    with writing(where):
        where.mkdir(parents=True, exist_ok=True)
        for title, figure in drawn.items():
            path = where / f"{title}.png"
            plots.save(figure, path)
            written.append(path)
    return written


def drawings(subject: Subject, row: int, name: str) -> dict[str, Figure]:
    """Return the figures of a network and, where there is one, of its way to the next seed's, by name."""
    drawn = {
        "loss_surface": _surface(subject, row, name, random=False),
        "loss_surface_random": _surface(subject, row, name, random=True),
        "hessian_density": _density(subject, row, name),
        "weight_spectra": _weights(subject, row, name),
        "persistence": _persistence(subject, row, name),
    }
    if len(subject.surface) > 1:
        drawn["connectivity"] = _ways(subject, row, (row + 1) % len(subject.surface), name)
    return {title: figure for title, figure in drawn.items() if figure is not None}


def _plane(subject: Subject, row: int, *, random: bool) -> Floats | None:
    """Return the losses over a plane through a network, (n, n); None where its directions are not known."""
    directions = (topology.random_directions if random else topology.eigenvector_directions)(subject, 2)[[row]]
    if not torch.isfinite(directions).all():
        return None
    data = subject.train.first(subject.settings.topology_sample)
    losses = topology.sampled(subject.surface.part([row]), data, directions, topology.grid(_SIDE, 2))
    return losses.reshape(_SIDE, _SIDE)


def _surface(subject: Subject, row: int, name: str, *, random: bool) -> Figure | None:
    losses = _plane(subject, row, random=random)
    if losses is None:
        return None
    if random:
        offsets, axes = np.linspace(-1, 1, _SIDE), ["a random direction", "another one"]
        return figures.loss_surface(losses, offsets, axes, title=f"Training loss · {name}", unit="filter-normalized")
    offsets = topology.EIGENVECTOR_REACH * np.linspace(-1, 1, _SIDE)
    values = hessian.spectrum(subject).values[row]
    axes = [f"eigenvector of λ{'₁₂'[at]} = {values[at]:.3g}" for at in range(2)]
    return figures.loss_surface(losses, offsets, axes, title=f"Training loss · {name}")


def _persistence(subject: Subject, row: int, name: str) -> Figure | None:
    losses = _plane(subject, row, random=False)
    if losses is None:
        return None
    return figures.persistence(
        topology.persistence(losses), topology.merge_tree(losses), title=f"Basins of the training loss · {name}"
    )


def _density(subject: Subject, row: int, name: str) -> Figure:
    found = hessian.spectrum(subject)
    density = krylov.density(found.krylov, row, hessian.DENSITY_TOLERANCE)
    low, high = density.nodes.min(), density.nodes.max()
    margin = 0.05 * (high - low)
    x = np.linspace(low - margin, high + margin, _PLACES)
    smoothed = density.smoothed(x, _WIDTH * (high - low))
    return figures.spectral_density(x, smoothed, found.values[row], title=f"Spectral density of the Hessian · {name}")


def _weights(subject: Subject, row: int, name: str) -> Figure:
    tensors = subject.surface.layout.tensors(subject.surface.points[row].double().cpu())
    found = {
        layer: spectra.curves(spectra.as_matrices(tensors[parameter][None])[0])
        for layer, parameter in spectra.weight_matrices(subject.surface.module).items()
    }
    return figures.weight_spectra(found, title=f"Eigenvalues of the weights · {name}")


def _ways(subject: Subject, one: int, other: int, name: str) -> Figure:
    """Draw the curve, the line, and the line after units were put in the same order."""
    surface, sample = subject.surface, subject.sample
    start, end = surface.points[[one]], surface.points[[other]]
    between = surface.part([one])
    rng = subject.pair_rng((one, other), "mode connectivity")
    middle = connectivity.train_curves(between, subject.train, start, end, [rng])
    ways: dict[str, Any] = {
        "trained curve": lambda t: connectivity.bezier(start, middle, end, t),
        "straight line": lambda t: torch.lerp(start, end, t),
    }
    try:
        units = alignment.hidden_units(surface.network(0), sample.shape)
        like_start = alignment.aligned(surface.layout, units, start, end)
        ways["line, units aligned"] = lambda t: torch.lerp(start, like_start, t)
    except UnknownLayerError:
        pass
    times = np.linspace(0, 1, _ALONG)
    losses, errors = {}, {}
    ends = [
        tuple(float(found[row, 0]) for found in surface.scores(sample, surface.points[:, None])) for row in (one, other)
    ]
    for way, point in ways.items():
        inside = []
        for t in times[1:-1]:
            points = point(float(t))
            inside.append(
                [float(found) for found in between.renormalized(sample, points).scores(sample, points[:, None])]
            )
        losses[way], errors[way] = np.array([ends[0], *inside, ends[1]]).T
    seeds = [subject.names[row].rpartition("/")[2].replace("=", " ") for row in (one, other)]
    return figures.curve(times, errors, losses, ends=seeds, title=f"From one network to another · {name}")
