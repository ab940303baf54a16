"""Figures of one configuration's landscape, from arrays."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from numpy.typing import NDArray

from mdbench.showing import COLOURS, MARKERS, STYLE
from zoo_builder.landscape.spectra import Curves
from zoo_builder.landscape.topology import MergeTree

Floats = NDArray[np.float64]

_BLACK, _ORANGE, _BLUE, _GREEN, *_, _VERMILION, _SKY, _GREY = COLOURS
_RULE: Final = "#dddddd"
#: Around text, so that it can be read on anything.
_HALO: Final = withStroke(linewidth=2.5, foreground="white")
#: Bands between contours.
_BANDS: Final = 14
#: Of what spans more decades than this, the lowest values have one colour.
_DECADES: Final = 4
#: Layers in one line of panels.
_ACROSS: Final = 4


def loss_surface(
    losses: Floats,
    offsets: Floats,
    axes: Sequence[str],
    *,
    title: str = "Training loss",
    unit: str = "share of the parameters’ norm",
) -> Figure:
    """Draw the loss over a plane through a network: contours from above, and the surface beside them.

    Parameters
    ----------
    losses : (n, n), in nats; the first axis is along the first direction, and the network in the middle.
    offsets : (n,), along either direction.
    axes : what the two directions are.
    title : of the figure.
    unit : of the offsets.
    """
    finite = np.where(np.isfinite(losses), losses, np.nan)
    highest = float(np.nanmax(finite))
    lowest = max(float(np.nanmin(finite)), highest * 10.0**-_DECADES, np.finfo(float).tiny)
    shown = np.clip(finite, lowest, None).T
    highest = max(highest, lowest * 1.01)
    levels = np.geomspace(lowest, highest, _BANDS + 1)
    norm = LogNorm(lowest, highest)
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(9.4, 4.3), layout="constrained")
        parts: Any = figure.subfigures(1, 2, width_ratios=(1.12, 1))
        above, beside = parts
        panel = above.subplots()
        bands = panel.contourf(offsets, offsets, shown, levels=levels, norm=norm, cmap="viridis", extend="neither")
        panel.contour(offsets, offsets, shown, levels=levels[1:-1], colors="white", linewidths=0.4, alpha=0.6)
        panel.plot(0, 0, marker="*", ms=13, mfc="white", mec=_BLACK, mew=0.8, ls="none")
        panel.annotate("network", (0, 0), (9, 6), textcoords="offset points", path_effects=[_HALO])
        panel.set_aspect("equal")
        panel.set_xlabel(f"{axes[0]}\n{unit}")
        panel.set_ylabel(f"{axes[1]}\n{unit}")
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        panel.spines[:].set_visible(False)
        bar = above.colorbar(bands, ax=panel, pad=0.02, shrink=0.9)
        bar.set_label("loss, nats")
        bar.outline.set_visible(False)
        bar.set_ticks(_round_numbers(lowest, highest))
        bar.ax.minorticks_off()
        bar.ax.yaxis.set_major_formatter(FuncFormatter(_plain))
        _relief(beside.add_subplot(projection="3d"), shown, offsets, norm, axes)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _relief(relief: Any, shown: Floats, offsets: Floats, norm: LogNorm, axes: Sequence[str]) -> None:
    """Draw a loss as a surface, its height being its logarithm."""
    x, y = np.meshgrid(offsets, offsets)
    heights = np.log10(shown)
    colours = plt.get_cmap("viridis")(norm(shown))
    relief.plot_surface(
        x, y, heights, facecolors=colours, rstride=1, cstride=1, lw=0.15, edgecolor="#ffffff55", shade=False
    )
    relief.set_xlabel(axes[0].split(",")[0], labelpad=-4)
    relief.set_ylabel(axes[1].split(",")[0], labelpad=-4)
    ticks = _round_numbers(float(np.nanmin(shown)), float(np.nanmax(shown)))
    relief.set_zticks([math.log10(tick) for tick in ticks], labels=[_plain(tick) for tick in ticks])
    for axis in (relief.xaxis, relief.yaxis, relief.zaxis):
        axis.set_pane_color((1, 1, 1, 0))
        axis._axinfo["grid"].update(color=_RULE, linewidth=0.5)
        if axis is not relief.zaxis:
            axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    relief.set_zlabel("loss, nats", labelpad=-4)
    relief.tick_params(pad=-2, labelsize=7)
    relief.view_init(elev=32, azim=-55)
    relief.set_box_aspect((1, 1, 0.8), zoom=0.95)


def curve(
    t: Floats,
    errors: Mapping[str, Floats],
    losses: Mapping[str, Floats],
    *,
    ends: Sequence[str] = ("one seed", "another"),
    title: str = "From one network to another",
) -> Figure:
    """Draw errors and losses along ways between two networks.

    Parameters
    ----------
    t : (n,), from 0 to 1.
    errors, losses : a way's name → its values at t, (n,), in % and in nats. Up to four ways.
    ends : names of the networks at 0 and 1.
    title : of the figure.
    """
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, 2, figsize=(8.4, 3.3), layout="constrained")
        for panel, ways, label in zip(
            panels, (errors, losses), ("training error, %", "training loss, nats"), strict=True
        ):
            for (name, values), colour, marker in zip(
                ways.items(), (_BLUE, _VERMILION, _GREEN, _BLACK), MARKERS, strict=False
            ):
                panel.plot(t, values, color=colour, marker=marker, ms=4, lw=1.6, label=name, clip_on=False)
            first = next(iter(ways.values()))
            panel.plot([0, 1], [first[0], first[-1]], "o", color=_BLACK, ms=7, zorder=3, clip_on=False)
            panel.set_xticks([0, 0.25, 0.5, 0.75, 1], [ends[0], "¼", "½", "¾", ends[1]])
            panel.set_xlim(0, 1)
            panel.set_ylim(bottom=0)
            panel.set_ylabel(label)
            panel.grid(axis="y", color=_RULE, lw=0.6)
            panel.set_axisbelow(True)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def spectral_density(
    x: Floats, density: Floats, eigenvalues: Floats, *, title: str = "Spectral density of the Hessian"
) -> Figure:
    """Draw a Hessian's spectral density on a logarithmic axis, with the largest eigenvalues marked.

    Parameters
    ----------
    x : (n,), ascending.
    density : (n,), at x.
    eigenvalues : (k,), the largest ones.
    title : of the figure.
    """
    highest = float(np.nanmax(density))
    low = highest * 1e-7
    with plt.rc_context(STYLE):
        figure, panel = plt.subplots(figsize=(6.4, 3.3), layout="constrained")
        panel.set_yscale("log")
        panel.set_ylim(low, highest * 4)
        panel.fill_between(x, low, np.maximum(density, low), color=_SKY, alpha=0.35, lw=0)
        panel.plot(x, np.where(density > low, density, np.nan), color=_BLUE, lw=1.4)
        known = eigenvalues[np.isfinite(eigenvalues)]
        for at, value in enumerate(known):
            label = f"{len(known)} largest: λ₁ = {value:.3g}" if at == 0 else None
            panel.axvline(value, ymax=0.1, color=_VERMILION, lw=1.5, label=label)
        if len(known):
            panel.legend(loc="upper right")
        panel.axvline(0, color=_GREY, lw=0.8, ls=":")
        panel.set_xlabel("eigenvalue")
        panel.set_ylabel("density")
        panel.yaxis.set_major_locator(LogLocator(numticks=6))
        panel.minorticks_off()
        panel.set_title(title)
    return figure


def weight_spectra(spectra: Mapping[str, Curves], *, title: str = "Eigenvalues of the weights") -> Figure:
    """Draw how the eigenvalues of each layer are distributed, with the power law and the noise that were fitted.

    Parameters
    ----------
    spectra : a layer's name → its spectrum.
    title : of the figure.
    """
    across = min(_ACROSS, len(spectra))
    lines = -(-len(spectra) // across)
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            lines, across, figsize=(max(2.7 * across, 5), 2.6 * lines + 0.7), squeeze=False, layout="constrained"
        )
        for panel, (name, spectrum) in zip(panels.flat, spectra.items(), strict=False):
            _draw_spectrum(panel, name, spectrum)
        for panel in panels.flat[len(spectra) :]:
            panel.axis("off")
        for panel in panels[:, 0]:
            panel.set_ylabel("density")
        handles = {
            label: handle
            for panel in panels.flat
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=4)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _draw_spectrum(panel: Axes, name: str, spectrum: Curves) -> None:
    values, alpha = spectrum.eigenvalues, float(spectrum.law.alpha)
    panel.set_title(f"layer {name}\n" + (f"α = {alpha:.2f}" if math.isfinite(alpha) else "no power law"), fontsize=9)
    if not len(values):
        return
    bins = np.geomspace(values[0] * 0.999, values[-1] * 1.001, max(6, math.ceil(2 * math.sqrt(len(values)))) + 1)
    density, _ = np.histogram(values, bins, density=True)
    panel.stairs(density, bins, fill=True, color=_GREY, alpha=0.45, label="eigenvalues")
    panel.set_xscale("log")
    panel.set_yscale("log")
    seen = density[density > 0]
    panel.set_ylim(seen.min() / 4, seen.max() * 6)
    for fitted, colour, label in ((spectrum.tail, _VERMILION, "power law"), (spectrum.bulk, _BLUE, "Marchenko–Pastur")):
        panel.plot(spectrum.x, np.where(fitted > 0, fitted, np.nan), color=colour, lw=1.5, label=label)
    if np.isfinite(spectrum.noise.edge):
        panel.axvline(float(spectrum.noise.edge), color=_BLUE, lw=1, ls="--", label="edge of the noise")
    panel.set_xlabel("eigenvalue")
    panel.set_xticks(_round_numbers(*panel.get_xlim(), most=4))
    panel.xaxis.set_major_formatter(FuncFormatter(_plain))
    panel.minorticks_off()


def persistence(diagrams: Sequence[Floats], tree: MergeTree, *, title: str = "Basins of the training loss") -> Figure:
    """Draw a persistence diagram, and beside it the merge tree.

    Parameters
    ----------
    diagrams : births and deaths (k, 2), of basins, and of holes of one dimension after the other.
    tree : how the basins merge.
    title : of the figure.
    """
    heights = [tree.heights, *(pairs[np.isfinite(pairs)] for pairs in diagrams)]
    low, high = (float(extreme(np.concatenate(heights))) for extreme in (np.min, np.max))
    margin = 0.08 * (high - low) or abs(low) / 2 or 1.0
    bottom, top = low - margin, high + 2 * margin
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(8.4, 3.9), sharey=True, width_ratios=(1, 1.15), layout="constrained"
        )
        left.plot([bottom, top], [bottom, top], color=_GREY, lw=0.8)
        left.axhline(top, color=_GREY, lw=0.8, ls="--")
        left.annotate("never", (high + margin, top), (0, 3), textcoords="offset points", ha="right", color="#666666")
        kinds = zip(diagrams, ("basins", "loops", "cavities"), (_BLUE, _ORANGE, _GREEN), MARKERS, strict=False)
        for pairs, name, colour, marker in kinds:
            if len(pairs):
                deaths = np.where(np.isfinite(pairs[:, 1]), pairs[:, 1], top)
                left.plot(
                    pairs[:, 0], deaths, marker, color=colour, ms=7, mec="white", mew=0.6, label=name, clip_on=False
                )
        left.set_xlim(bottom, high + margin)
        left.set_ylim(bottom, top)
        left.set_xlabel("birth, nats")
        left.set_ylabel("death, nats")
        left.legend(loc="lower right")
        left.set_title("Persistence")
        _draw_tree(right, tree, top)
        if len(tree.heights) == 1:
            words = "one minimum: from every point of the grid\na way down leads to it, and nothing merges"
            right.text(0.5, 0.55, words, transform=right.transAxes, ha="center", color="#666666")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _draw_tree(panel: Axes, tree: MergeTree, top: float) -> None:
    """Draw minima as points, and above them where they merge."""
    places = _places(tree)
    for node, parent in enumerate(tree.parents):
        end = top if parent < 0 else tree.heights[parent]
        panel.plot([places[node]] * 2, [tree.heights[node], end], color=_BLACK, lw=1.2, ls="--" if parent < 0 else "-")
        children = places[tree.parents == node]
        if len(children):
            panel.plot([children.min(), children.max()], [tree.heights[node]] * 2, color=_BLACK, lw=1.2)
    leaves = tree.leaves
    merges = np.setdiff1d(np.arange(len(tree)), leaves)
    panel.plot(places[leaves], tree.heights[leaves], "o", color=_BLUE, ms=6, mec="white", mew=0.6, label="minima")
    if len(merges):
        panel.plot(
            places[merges], tree.heights[merges], "D", color=_VERMILION, ms=5, mec="white", mew=0.6, label="merges"
        )
    panel.set_xticks([])
    panel.spines["bottom"].set_visible(False)
    panel.margins(x=0.1)
    panel.set_ylabel("loss, nats")
    panel.tick_params(labelleft=True)
    panel.grid(axis="y", color=_RULE, lw=0.6)
    panel.set_axisbelow(True)
    panel.legend(loc="best")
    panel.set_title(f"Merge tree: {len(leaves)} minim{'um' if len(leaves) == 1 else 'a'}")


def _places(tree: MergeTree) -> Floats:
    """Return where nodes are from left to right: leaves evenly, so that no lines cross, and merges amid what they join."""
    order: list[int] = []
    waiting = [len(tree) - 1]
    while waiting:
        node = waiting.pop()
        order.append(node)
        waiting += np.flatnonzero(tree.parents == node).tolist()
    places = np.zeros(len(tree))
    places[[node for node in order if node in set(tree.leaves.tolist())]] = np.arange(len(tree.leaves))
    for node in range(len(tree)):
        children = places[tree.parents == node]
        if len(children):
            places[node] = (children.min() + children.max()) / 2
    return places


def _round_numbers(low: float, high: float, most: int = 7) -> list[float]:
    """Return 1, 2, 5, 10, … within a range; fewer of each decade where these are too many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [digit * 10.0**decade for decade in decades for digit in digits if low <= digit * 10.0**decade <= high]
        if len(ticks) <= most:
            break
    return ticks or [low, high]


def _plain(value: float, _: object = None) -> str:
    return f"{value:g}"
