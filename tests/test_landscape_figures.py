"""Figures show what they are given."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.contour import QuadContourSet
from matplotlib.patches import StepPatch
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from zoo_builder.landscape import figures, spectra, topology


@pytest.fixture(autouse=True)
def drawn():
    """Every figure is laid out and drawn, and closed after it."""
    yield
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    plt.close("all")


def texts(figure):
    figure.canvas.draw()
    return [text.get_text() for text in figure.findobj(plt.Text) if text.get_text()]


def lines(panel):
    """What is drawn with a label, label → (x, y)."""
    return {line.get_label(): line.get_data() for line in panel.get_lines() if not line.get_label().startswith("_")}


def test_contours_run_where_the_loss_is_the_same():
    offsets = np.linspace(-0.1, 0.1, 9)
    # It grows along the first direction alone, tenfold from one end to the other.
    losses = np.tile(10 ** (1 + 5 * offsets)[:, None], (1, 9))
    figure = figures.loss_surface(losses, offsets, ["eigenvector 1, λ = 7", "eigenvector 2, λ = 3"])
    above, relief = figure.axes[0], next(panel for panel in figure.axes if panel.name == "3d")
    bands, contours = (child for child in above.get_children() if isinstance(child, QuadContourSet))
    assert bands.levels[[0, -1]] == pytest.approx([losses.min(), losses.max()])
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        x, y = path.vertices.T
        assert y.max() - y.min() == pytest.approx(0.2)
        # Between two points of the grid a contour is where a straight line between them is.
        np.testing.assert_allclose(x, np.interp(level, losses[:, 0], offsets))
    star = above.get_lines()[0]
    assert (star.get_xdata().tolist(), star.get_ydata().tolist()) == ([0], [0])
    assert above.get_xlabel().startswith("eigenvector 1, λ = 7\n")
    assert above.get_ylabel().startswith("eigenvector 2, λ = 3\n")
    assert {"loss, nats", "network", "Training loss"} <= set(texts(figure))
    assert relief.get_zlim()[0] <= math.log10(losses.min()) < math.log10(losses.max()) <= relief.get_zlim()[1]
    heights = [relief.zaxis.get_ticklocs(), [float(tick.get_text()) for tick in relief.get_zticklabels()]]
    np.testing.assert_allclose(10 ** np.array(heights[0]), heights[1])
    assert any(isinstance(child, Poly3DCollection) for child in relief.get_children())


@pytest.mark.parametrize("losses", [np.full((5, 5), 2.0), np.zeros((5, 5)), np.eye(5) * 1e9])
def test_surfaces_that_are_flat_or_zero_are_drawn(losses):
    figure = figures.loss_surface(losses, np.linspace(-1, 1, 5), ["one", "other"], unit="filter-normalized")
    assert figure.axes[0].get_xlabel() == "one\nfilter-normalized"


def test_losses_that_are_not_finite_are_left_out():
    losses = np.arange(1.0, 26).reshape(5, 5)
    losses[0, 0], losses[4, 4] = np.nan, np.inf
    figure = figures.loss_surface(losses, np.linspace(-1, 1, 5), ["one", "other"])
    bands = next(child for child in figure.axes[0].get_children() if isinstance(child, QuadContourSet))
    assert bands.levels[[0, -1]] == pytest.approx([2, 24])


def test_ways_between_two_networks():
    t = np.linspace(0, 1, 5)
    errors = {"Bézier curve": np.array([1.0, 2, 3, 2, 1.5]), "straight line": np.array([1.0, 30, 80, 40, 1.5])}
    losses = {name: values / 50 for name, values in errors.items()}
    figure = figures.curve(t, errors, losses, ends=("seed 3", "seed 4"))
    for panel, ways, label in zip(figure.axes, (errors, losses), ("error, %", "loss, nats"), strict=True):
        shown = lines(panel)
        assert list(shown) == list(ways)
        for name, (x, y) in shown.items():
            np.testing.assert_array_equal(x, t)
            np.testing.assert_array_equal(y, ways[name])
        ends = panel.get_lines()[-1]
        assert list(ends.get_xdata()) == [0, 1]
        assert list(ends.get_ydata()) == [ways["straight line"][0], ways["straight line"][-1]]
        assert panel.get_ylabel().endswith(label)
        assert [tick.get_text() for tick in panel.get_xticklabels()] == ["seed 3", "¼", "½", "¾", "seed 4"]
    assert {"Bézier curve", "straight line"} <= {text.get_text() for text in figure.legends[0].get_texts()}


def test_a_spectral_density_with_its_largest_eigenvalues():
    x = np.linspace(-5, 5, 201)
    density = np.exp(-(x**2))
    panel = figures.spectral_density(x, density, np.array([4.25, 3, np.nan])).axes[0]
    curve = panel.get_lines()[0]
    seen = density > 1e-7
    np.testing.assert_array_equal(curve.get_ydata()[seen], density[seen])
    assert np.isnan(curve.get_ydata()[~seen]).all()
    assert panel.get_yscale() == "log"
    assert [line.get_xdata()[0] for line in panel.get_lines()[1:]] == [4.25, 3, 0]
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["2 largest: λ₁ = 4.25"]


def test_a_spectral_density_without_eigenvalues():
    panel = figures.spectral_density(np.linspace(0, 1, 9), np.ones(9), np.full(5, np.nan)).axes[0]
    assert panel.get_legend() is None


def test_spectra_of_weights_with_what_was_fitted():
    rng = np.random.default_rng(0)
    noise, spiked = rng.standard_normal((30, 60)), rng.standard_normal((40, 40))
    spiked[0] += 9
    shown = {"a.conv": spectra.curves(noise), "fc": spectra.curves(spiked), "still": spectra.curves(np.zeros((3, 4)))}
    panels = figures.weight_spectra(shown).axes
    for panel, (name, found) in zip(panels, list(shown.items())[:2], strict=False):
        assert panel.get_title(loc="left") == f"layer {name}\nα = {found.law.alpha:.2f}"
        density, edges, _ = next(child for child in panel.get_children() if isinstance(child, StepPatch)).get_data()
        counts = density * np.diff(edges) * len(found.eigenvalues)
        np.testing.assert_allclose(counts, np.histogram(found.eigenvalues, edges)[0], atol=1e-9)
        assert counts.sum() == pytest.approx(len(found.eigenvalues))
        drawn = lines(panel)
        for label, values in (("power law", found.tail), ("Marchenko–Pastur", found.bulk)):
            np.testing.assert_array_equal(drawn[label][0], found.x)
            np.testing.assert_array_equal(drawn[label][1][values > 0], values[values > 0])
        assert set(drawn["edge of the noise"][0]) == {float(found.noise.edge)}
    assert panels[2].get_title(loc="left") == "layer still\nno power law"


def test_many_layers_take_several_lines():
    found = spectra.curves(np.random.default_rng(0).standard_normal((9, 9)))
    figure = figures.weight_spectra({f"{at}": found for at in range(6)})
    assert [panel.axison for panel in figure.axes] == [True] * 6 + [False] * 2


def test_a_persistence_diagram_and_its_tree():
    losses = np.array([0.5, 2, 1, 5, 0.75, 3, 2.5])
    diagrams, tree = topology.persistence(losses), topology.merge_tree(losses)
    diagrams = [*diagrams, np.array([[1.0, 4.0]])]
    left, right = figures.persistence(diagrams, tree).axes
    shown = lines(left)
    top = left.get_ylim()[1]
    # The lowest never dies, and is drawn at the top.
    assert np.column_stack(shown["basins"]).tolist() == [[0.5, top], [0.75, 5], [1, 2], [2.5, 3]]
    assert np.column_stack(shown["loops"]).tolist() == [[1, 4]]
    assert right.get_title(loc="left") == "Merge tree: 4 minima"
    marks = lines(right)
    assert sorted(marks["minima"][1]) == [0.5, 0.75, 1, 2.5]
    assert sorted(marks["merges"][1]) == [2, 3, 5]
    uprights = [
        line.get_data() for line in right.get_lines() if len(line.get_xdata()) == 2 and np.ptp(line.get_xdata()) == 0
    ]
    assert sorted((y[0], y[1]) for _, y in uprights if y[1] > y[0]) == [
        (0.5, 2), (0.75, 3), (1, 2), (2, 5), (2.5, 3), (3, 5), (5, top)
    ]  # fmt: skip


def test_trees_do_not_cross_themselves():
    rng = np.random.default_rng(1)
    tree = topology.merge_tree(rng.random((12, 12)))
    places = figures._places(tree)
    leaves = tree.leaves
    assert sorted(places[leaves]) == list(range(len(leaves)))
    below = {node: {node} for node in leaves.tolist()}
    for node in range(len(tree)):
        for child in np.flatnonzero(tree.parents == node).tolist():
            below.setdefault(node, set()).update(below[child])
        # The leaves of every basin are next to one another, and its node is above them.
        under = np.sort(places[list(below[node])])
        assert (np.diff(under) == 1).all()
        assert under[0] <= places[node] <= under[-1]


def test_one_basin_alone():
    losses = topology.grid(5, 2)[:, 0].reshape(5, 5) ** 2 + 1
    left, right = figures.persistence(topology.persistence(losses), topology.merge_tree(losses)).axes
    assert right.get_title(loc="left") == "Merge tree: 1 minimum"
    assert lines(right)["minima"][1].tolist() == [1]
    assert "merges" not in lines(right)
    assert [text.get_text() for text in right.texts if "one minimum" in text.get_text()]
    assert left.get_ylim()[0] < 1 < left.get_ylim()[1]
