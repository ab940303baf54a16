"""The figures of one configuration of a zoo: what is around its networks."""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mdbench.showing import plots
from zoo_builder.building import Built, Source, meant_in, open_subject, portion_of, writing
from zoo_builder.landscape import (
    Settings,
    Subject,
    connectivity,
    figures,
    hessian,
    matrices,
    plain_attention,
    spectra,
    topology,
)

FIGURES: Final = (
    "loss_surface",
    "loss_surface_random",
    "hessian_density",
    "weight_spectra",
    "persistence",
    "connectivity",
)
#: Points along each axis of a plane, and along a curve.
_SIDE: Final = 31
_ALONG: Final = 25
#: Points at which a spectral density is drawn, and the width of a mass, as a share of the spectrum's.
_PLACES: Final = 2000
_WIDTH: Final = 0.004

Floats = NDArray[np.float64]


def show(folder: Path, name: str, out: Path | None = None, *, trust_code: bool = False) -> list[Path]:
    """Draw the figures of a configuration, or of one of its networks and the next seed's.

    Parameters
    ----------
    folder : a zoo's, whose networks are all there.
    name : a configuration, or a network, as the zoo's tables name them; or as many of its knobs, in any order, as only it
        has: ``width=16/batch_size=64``.
    out : where the figures go; ``figures/NAME`` in the zoo's folder if left out.
    trust_code : whether to run the code that the specification names, see `zoo_builder.specification.check_trust`.

    Returns
    -------
    The files written.

    Raises
    ------
    MdbenchError
        The folder holds no finished build, or one that names code, and is not trusted; there is
        no such configuration or network, or several; it diverged.
    """
    built = Built.open(folder, trust_code=trust_code)
    name = meant_in(built, name)
    portion = portion_of(built, name)
    with plain_attention():
        drawn = drawings(open_subject(Source.of(built), portion, Settings()), name)
    where = out or built.store.folder / "figures" / name.replace("/", "_")
    with writing(where):
        where.mkdir(parents=True, exist_ok=True)
        for title in FIGURES:
            path = where / f"{title}.png"
            if title in drawn:
                plots.save(drawn[title], path)
            else:
                path.unlink(missing_ok=True)  # of an earlier time
    return [where / f"{title}.png" for title in drawn]


def drawings(subject: Subject, name: str) -> dict[str, Figure]:
    """Return the figures of a subject's first network and, where there is one, of its way to the second, by name."""
    plane, random = (_plane(subject, random=way) for way in (False, True))
    drawn = {
        "loss_surface": _surface(subject, plane, name),
        "loss_surface_random": _random_surface(random, name),
        "hessian_density": _density(subject, name),
        "weight_spectra": _weights(subject, name),
        "persistence": _persistence(plane, name),
        "connectivity": _ways(subject, name),
    }
    return {title: figure for title, figure in drawn.items() if figure is not None}


def _plane(subject: Subject, *, random: bool) -> Floats | None:
    """Return the losses over a plane through a network, (n, n); None where its directions are not known."""
    directions = (topology.random_directions if random else topology.eigenvector_directions)(subject, 2)[[0]]
    if directions.shape[1] < 2 or not torch.isfinite(directions).all():
        return None
    data = subject.train.first(subject.settings.topology_sample)
    losses = topology.sampled(subject.surface.part([0]), data, directions, topology.grid(_SIDE, 2))
    return losses.reshape(_SIDE, _SIDE)


def _surface(subject: Subject, losses: Floats | None, name: str) -> Figure | None:
    if losses is None:
        return None
    offsets = topology.EIGENVECTOR_REACH * np.linspace(-1, 1, _SIDE)
    values = hessian.spectrum(subject).values[0]
    axes = [f"eigenvector of λ{'₁₂'[at]} = {values[at]:.3g}" for at in range(2)]
    return figures.loss_surface(losses, offsets, axes, title=f"Training loss · {name}")


def _random_surface(losses: Floats | None, name: str) -> Figure | None:
    if losses is None:
        return None
    offsets, axes = np.linspace(-1, 1, _SIDE), ["a random direction", "another one"]
    return figures.loss_surface(losses, offsets, axes, title=f"Training loss · {name}", unit="filter-normalized")


def _persistence(losses: Floats | None, name: str) -> Figure | None:
    if losses is None or not np.isfinite(losses).all():
        return None
    return figures.persistence(
        topology.persistence(losses), topology.merge_tree(losses), title=f"Basins of the training loss · {name}"
    )


def _density(subject: Subject, name: str) -> Figure | None:
    found = hessian.spectrum(subject)
    density = found.densities[0]
    if density is None:
        return None
    low, high = density.nodes.min(), density.nodes.max()
    if not high > low:
        return None  # the Hessian is zero
    margin = 0.05 * (high - low)
    x = np.linspace(low - margin, high + margin, _PLACES)
    smoothed = density.smoothed(x, _WIDTH * (high - low))
    return figures.spectral_density(x, smoothed, found.values[0], title=f"Spectral density of the Hessian · {name}")


def _weights(subject: Subject, name: str) -> Figure | None:
    surface = subject.ordinary
    found = {
        matrix.name: spectra.curves(spectra.weights(surface, matrix)[0])
        for matrix in matrices.find(surface.module).known
    }
    return figures.weight_spectra(found, title=f"Eigenvalues of the weights · {name}") if found else None


def _ways(subject: Subject, name: str) -> Figure | None:
    """Draw the curve, the line, and the line after units were put in the same order."""
    if len(subject.surface) < 2:
        return None
    times, losses, errors = connectivity.followed(subject, _ALONG)
    seeds = [one.rpartition("/")[2].replace("=", " ") for one in subject.names]
    return figures.curve(times, errors, losses, ends=seeds, title=f"From one network to another · {name}")
