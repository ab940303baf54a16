"""Spectra against other libraries, planted laws, closed forms and numerical integration."""

import contextlib
import io
import logging
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy import stats as scipy_stats
from torch import nn

from mdbench.tables.schema import COLUMNS, Family
from zoo_builder.landscape import spectra
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Subject
from zoo_builder.landscape.opening import open_surface
from zoo_builder.landscape.stacked import Stacked
from zoo_builder.specification.models import cnn1d, cnn2d, mlp

SEEDS = st.integers(0, 2**32 - 1)
LENGTH, CLASSES = 20, 4


def gaussian(rows, columns, seed, sigma=1.0):
    return sigma * np.random.default_rng(seed).normal(size=(rows, columns))


def heavy(rows, columns, seed, exponent=2.5):
    """A matrix whose eigenvalues are Pareto distributed, of a density ∝ x^−exponent."""
    rng = np.random.default_rng(seed)
    n = min(rows, columns)
    left, right = (np.linalg.qr(rng.normal(size=(side, n)))[0] for side in (rows, columns))
    values = (1 - rng.random(n)) ** (-1 / (exponent - 1))
    return left * np.sqrt(values) @ right.T


def quietly(do):
    """Call another library without what it prints and warns of."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        return do()


@pytest.fixture(scope="module")
def powerlaw():
    return quietly(lambda: pytest.importorskip("powerlaw"))


@pytest.fixture(scope="module")
def weightwatcher():
    kept = logging.getLogger().level, logging.getLogger().handlers[:]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        module = pytest.importorskip("weightwatcher", exc_type=ImportError)
    logging.getLogger().setLevel(kept[0])
    logging.getLogger().handlers[:] = kept[1]
    logging.getLogger("weightwatcher").setLevel(logging.CRITICAL)
    return module


def matrices():
    """Matrices of several shapes, random, spiked and heavy-tailed."""
    for seed, (rows, columns) in enumerate(((8, 24), (16, 16), (10, 160), (40, 30), (120, 64))):
        yield gaussian(rows, columns, seed)
        yield gaussian(rows, columns, seed) + 3 * np.outer(np.ones(rows), gaussian(1, columns, seed + 100)[0])
        yield heavy(rows, columns, seed)


def networks(count=3, width=8):
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        made.append(cnn1d((1, LENGTH), CLASSES, width).eval())
    return made


def subject(nets, **more):
    rng = np.random.default_rng(0)
    data = Data.of(rng.normal(size=(60, 1, LENGTH)).astype(np.float32), rng.integers(0, CLASSES, 60))
    return Subject(open_surface(nets, (1, LENGTH)), data, **more)


# Power laws.


def test_power_laws_are_those_of_the_powerlaw_package(powerlaw):
    free = {"parameter_ranges": {"alpha": [1, 1e6]}, "verbose": 0}  # by itself it looks for exponents up to 3 alone
    for matrix in matrices():
        values = spectra.eigenvalues(matrix)
        ours, theirs = spectra.power_law(values), quietly(lambda v=values: powerlaw.Fit(v, **free))
        assert ours.x_min == pytest.approx(theirs.xmin, rel=1e-12)
        assert ours.alpha == pytest.approx(theirs.power_law.alpha, rel=1e-9)
        assert ours.distance == pytest.approx(theirs.power_law.D, abs=1e-9)


def test_layers_are_those_of_weightwatcher(weightwatcher):
    """Linear layers with at least 20 eigenvalues: below, WeightWatcher corrects the exponent for the size of the sample."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(40, 60), nn.Linear(60, 30), nn.Linear(30, 50))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor(heavy(30, 60, 1)))
    watcher = weightwatcher.WeightWatcher(model=network)
    theirs = quietly(lambda: watcher.analyze(min_evals=2, detX=False, mp_fit=False))
    assert len(theirs) == 3
    for (_, row), layer in zip(theirs.iterrows(), network, strict=True):
        matrix = spectra.as_matrices(layer.weight[None])[0]
        found = spectra.layer_metrics(spectra.eigenvalues(matrix), *matrix.shape)
        # It keeps matrices in float32.
        assert found["alpha"] == pytest.approx(row["alpha"], rel=1e-4)
        assert found["alpha_ks"] == pytest.approx(row["D"], abs=1e-4)
        assert found["alpha_hat"] == pytest.approx(row["alpha_weighted"], rel=1e-4)
        assert found["stable_rank"] == pytest.approx(row["stable_rank"], rel=1e-5)
        assert found["log_spectral_norm"] == pytest.approx(row["log_spectral_norm"], rel=1e-5)
        assert found["log_frobenius_norm"] == pytest.approx(row["log_norm"], rel=1e-5)


@settings(max_examples=20)
@given(SEEDS, st.floats(1.5, 5))
def test_planted_exponents_are_found(seed, exponent):
    values = spectra.eigenvalues(heavy(400, 300, seed, exponent))
    # The estimate's standard error is (α − 1) / √n (Clauset et al., equation 3.2); the search for x_min shortens the tail.
    law = spectra.power_law(values)
    tail = np.count_nonzero(values >= law.x_min)
    assert abs(law.alpha - exponent) < 5 * (exponent - 1) / np.sqrt(tail) + 0.1
    assert abs(spectra.hill(values) - exponent) < 5 * (exponent - 1) / np.sqrt(150)


@given(SEEDS, st.integers(5, 40))
def test_the_tail_is_the_best_of_all_and_its_distance_is_what_it_is(seed, n):
    values = np.sort(np.random.default_rng(seed).lognormal(size=n))
    law = spectra.power_law(values)
    every = []
    for start in range(n - 1):
        tail = values[start:]
        alpha = 1 + len(tail) / sum(np.log(x / tail[0]) for x in tail)
        every.append(max(abs(1 - (x / tail[0]) ** (1 - alpha) - i / len(tail)) for i, x in enumerate(tail)))
        if tail[0] == law.x_min:
            assert law.alpha == pytest.approx(alpha)
            assert law.distance == pytest.approx(every[-1])
    assert law.distance == pytest.approx(min(every))


def test_hill_has_its_closed_form():
    # Of 1, e, e², …, e⁹ the upper five are e⁵ … e⁹, and the sum of their logarithms above e⁴ is 1 + 2 + 3 + 4 + 5.
    assert spectra.hill(np.exp(np.arange(10.0))) == pytest.approx(1 + 5 / 15)
    # An odd number: of seven, three, above the fourth. Zeros do not count.
    assert spectra.hill(np.append(np.zeros(6), np.exp(np.arange(7.0)))) == pytest.approx(1 + 3 / 6)


def test_too_few_or_equal_eigenvalues_have_no_law():
    for values in (np.arange(1.0, 5), np.append(np.zeros(20), np.arange(1.0, 5)), np.ones(10), np.zeros(10)):
        law = spectra.power_law(values)
        assert np.isnan([law.alpha, law.x_min, law.distance, spectra.hill(values)]).all()
    assert np.isfinite(spectra.power_law(np.arange(1.0, 6)).alpha)
    assert np.isfinite(spectra.hill(np.arange(1.0, 6)))


def test_equal_values_begin_one_tail():
    values = np.array([1.0, 1, 2, 2, 2, 3, 5, 5, 9])
    law = spectra.power_law(values)
    assert law.alpha == pytest.approx(1 + np.mean(np.log(values[values >= law.x_min] / law.x_min)) ** -1)


# The Marchenko–Pastur law.


@pytest.mark.parametrize("q", [0.05, 0.3, 0.5, 0.9, 1.0])
def test_the_law_is_its_densitys_integral(q):
    low, high = spectra.marchenko_pastur_edges(q)

    def share(to):
        # With x = low + (high − low) sin² t the integrand has no infinite slopes.
        def integrand(t):
            x = np.array(low + (high - low) * np.sin(t) ** 2)
            return float(spectra.marchenko_pastur_density(x, q)) * (high - low) * np.sin(2 * t)

        return integrate.quad(integrand, 0, np.arcsin(np.sqrt((to - low) / (high - low))), epsabs=1e-12)[0]

    for to in np.linspace(low, high, 9)[1:]:
        assert float(spectra.marchenko_pastur_cdf(np.array(to), q)) == pytest.approx(share(to), abs=1e-9)
    assert spectra.marchenko_pastur_cdf(np.array([low - 1, low, high, high + 1]), q) == pytest.approx([0, 0, 1, 1])
    assert share(spectra.marchenko_pastur_median(q)) == pytest.approx(0.5, abs=1e-9)


def test_square_noise_has_the_quarter_circles_singular_values():
    x = np.linspace(0.1, 3.9, 9)
    root = np.sqrt(x)
    circle = (root * np.sqrt(4 - x) / 2 + 2 * np.arcsin(root / 2)) / np.pi
    np.testing.assert_allclose(spectra.marchenko_pastur_cdf(x, 1.0), circle, atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "columns", "spiked"),
    [
        *((6, 5, 0.18), (8, 5, 0.16), (6, 18, 0.08), (10, 10, 0.16)),  # of 4,000 matrices
        *((16, 48, 0.09), (32, 96, 0.10), (10, 160, 0.07), (64, 64, 0.13), (200, 150, 0.08)),  # of 500
    ],
)
def test_noise_has_few_spikes_and_its_variance_is_found(rows, columns, spiked):
    sigma, many = 0.3, 1500 if rows * columns < 2000 else 200
    values = spectra.eigenvalues(sigma * np.random.default_rng(1).normal(size=(many, rows, columns)))
    found = spectra.bulk(values, rows, columns)
    # One in twenty by the Tracy–Widom law, where the variance is known …
    edge = found.edge / found.scale * max(rows, columns) * sigma**2
    assert np.mean(values[:, -1] > edge) == pytest.approx(0.05, abs=0.02 + 2 * np.sqrt(0.05 * 0.95 / many))
    # … and what is said of it where the median of few eigenvalues tells it.
    assert np.mean(found.spikes > 0) == pytest.approx(spiked, abs=0.01 + 3 * np.sqrt(spiked * (1 - spiked) / many))
    assert found.spikes.max() <= 3
    assert np.mean(found.scale) == pytest.approx(max(rows, columns) * sigma**2, rel=0.05)
    # Eigenvalues repel each other: they keep to the law much more closely than independent draws, to which 0.9 / √n is typical.
    n = min(rows, columns)
    assert np.mean(found.distance) < (0.5 + 0.5 / n) / np.sqrt(n)


@settings(max_examples=25)
@given(SEEDS, st.integers(0, 4), st.sampled_from([(60, 60), (40, 160), (160, 40), (100, 75)]))
def test_planted_spikes_are_counted(seed, rank, sides):
    rows, columns = sides
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(side, max(rank, 1))))[0][:, :rank] for side in sides)
    strengths = 3 * (np.sqrt(rows) + np.sqrt(columns)) * (1 + np.arange(rank))
    values = spectra.eigenvalues(gaussian(rows, columns, seed) + left * strengths @ right.T)
    spikes = spectra.bulk(values, rows, columns).spikes
    # Spikes push the median up and noise may have one of its own.
    assert rank <= spikes <= rank + 1


def test_the_distance_is_that_of_kolmogorov_and_smirnov_and_tells_noise_from_heavy_tails():
    for seed, (rows, columns) in enumerate([(50, 80), (90, 60), (64, 64)]):
        distances = []
        for matrix in (gaussian(rows, columns, seed), heavy(rows, columns, seed)):
            values = spectra.eigenvalues(matrix)
            found = spectra.bulk(values, rows, columns)
            left = values[values <= found.edge] / found.scale
            reference = scipy_stats.kstest(left, lambda x, q=found.q: spectra.marchenko_pastur_cdf(x, q)).statistic
            assert found.distance == pytest.approx(reference, abs=1e-12)
            assert found.spikes == len(values) - len(left)
            distances.append(found.distance)
        assert distances[0] < 0.05
        assert distances[1] > 0.15


def test_a_matrix_that_is_mostly_zero_has_no_bulk():
    matrix = np.zeros((20, 30))
    matrix[:8] = gaussian(8, 30, 0)
    found = spectra.layer_metrics(spectra.eigenvalues(matrix), 20, 30)
    assert np.isnan([found["mp_spikes"], found["mp_distance"]]).all()
    assert np.isfinite([found["alpha"], found["alpha_hill"], found["stable_rank"]]).all()


# Layers.


@given(SEEDS, st.floats(1e-3, 1e3), st.sampled_from([(8, 24), (30, 10), (20, 20)]))
def test_shapes_of_spectra_have_no_scale_and_norms_do(seed, factor, sides):
    matrix = gaussian(*sides, seed) ** 3
    one, other = (spectra.layer_metrics(spectra.eigenvalues(of), *sides) for of in (matrix, factor * matrix))
    for column in ("alpha", "alpha_ks", "alpha_hill", "stable_rank", "mp_spikes", "mp_distance"):
        assert other[column] == pytest.approx(one[column], rel=1e-8)
    for column in ("log_spectral_norm", "log_frobenius_norm"):
        assert other[column] - one[column] == pytest.approx(2 * np.log10(factor), abs=1e-9)


@given(SEEDS, st.integers(5, 12), st.integers(5, 30))
def test_norms_and_ranks_are_those_of_the_matrix_and_of_its_transpose(seed, rows, columns):
    matrix = gaussian(rows, columns, seed)
    found = spectra.layer_metrics(spectra.eigenvalues(matrix), rows, columns)
    frobenius, spectral = np.linalg.norm(matrix), np.linalg.norm(matrix, 2)
    assert found["stable_rank"] == pytest.approx((frobenius / spectral) ** 2)
    assert found["log_spectral_norm"] == pytest.approx(2 * np.log10(spectral), abs=1e-12)
    assert found["log_frobenius_norm"] == pytest.approx(2 * np.log10(frobenius), abs=1e-12)
    assert found["alpha_hat"] == pytest.approx(found["alpha"] * 2 * np.log10(spectral), abs=1e-9)
    other = spectra.layer_metrics(spectra.eigenvalues(matrix.T), columns, rows)
    for column, value in found.items():
        assert other[column] == pytest.approx(value, rel=1e-8), column


def test_eigenvalues_are_those_of_the_product_and_rank_is_numpys():
    matrix = (gaussian(12, 4, 0) @ gaussian(4, 9, 1)).astype(np.float32).astype(float)
    values = spectra.eigenvalues(matrix)
    assert len(values) == 9
    assert np.count_nonzero(values) == np.linalg.matrix_rank(matrix.astype(np.float32)) == 4
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix.T @ matrix), atol=1e-5)


def test_a_convolutions_matrix_multiplies_what_is_seen_from_one_position():
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 7, (2, 4), bias=False)
    matrix = spectra.as_matrices(layer.weight[None])[0]
    assert matrix.shape == (7, 24)
    seen = torch.randn(1, 3, 2, 4)
    np.testing.assert_allclose(matrix @ seen.numpy().ravel(), layer(seen).detach().numpy().ravel(), rtol=1e-4)


def test_the_layers_with_a_matrix():
    shared = nn.Linear(3, 3)
    network = nn.Sequential(nn.Conv1d(1, 3, 2), nn.BatchNorm1d(3), nn.Embedding(4, 5), shared, nn.Sequential(shared))
    assert spectra.weight_matrices(network) == {"0": "0.weight", "3": "3.weight"}
    assert spectra.weight_matrices(nn.Linear(2, 2)) == {"": "weight"}
    assert [*spectra.weight_matrices(cnn2d((1, 8, 8), 3, 2))] == ["0", "3", "6", "10"]


def test_what_a_figure_shows():
    matrix = gaussian(120, 80, 0) + 6 * np.outer(np.ones(120), np.ones(80))
    found = spectra.curves(matrix, 4000)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.svd(matrix, compute_uv=False)[::-1] ** 2)
    assert found.noise.spikes == 1
    # The bulk's density holds the eigenvalues that are not spikes; the tail's, from x_min to infinity, the share of the tail.
    inside = np.diff(spectra.marchenko_pastur_cdf(found.x[[0, -1]] / found.noise.scale, 80 / 120))
    assert np.trapezoid(found.bulk, found.x) == pytest.approx(inside[0] * 79 / 80, abs=1e-3)
    law = found.law
    share = np.mean(found.eigenvalues >= law.x_min) * (1 - (found.x[-1] / law.x_min) ** (1 - law.alpha))
    assert np.trapezoid(found.tail, found.x) == pytest.approx(share, abs=0.005)
    assert np.isnan(spectra.curves(np.zeros((6, 6))).tail).all()


@given(st.lists(st.one_of(st.floats(1, 10), st.just(np.nan)), min_size=1, max_size=6))
def test_over_layers(values):
    known = [value for value in values if np.isfinite(value)]
    for column in ("alpha", "log_spectral_norm"):
        found = {name: float(of[0]) for name, of in spectra.over_layers(column, np.array([values])).items()}
        expected = [np.nan] * 4
        if known:
            imbalance = np.std(known) / (np.mean(known) if column == "alpha" else 1) if len(known) > 1 else np.nan
            expected = [np.mean(known), min(known), max(known), imbalance]
        names = [f"{column}_{over}" for over in ("mean", "min", "max", "imbalance")]
        assert [found[name] for name in names] == pytest.approx(expected, nan_ok=True, abs=1e-12)


# Networks.


def test_every_column_is_measured_and_known():
    found = spectra.measure(subject(networks()))
    of_networks = {metric.column for metric in spectra.METRICS if metric.of == "checkpoint"}
    of_layers = {metric.column for metric in spectra.METRICS if metric.of == "layer"}
    assert set(found.networks) == of_networks
    assert len(of_networks) == 33
    assert not found.network_reasons
    for row in found.layers:
        assert set(row) == of_layers | {"network", "layer", "matrix_rows", "matrix_columns", "spectra_reason"}
    assert all(COLUMNS[column].family is Family.LANDSCAPE for column in of_networks | of_layers)
    assert {f"{column}_std" for column in of_networks} <= set(COLUMNS)
    for metric in spectra.METRICS:
        # The last layer has four classes, and so four eigenvalues.
        rows = [row[metric.column] for row in found.layers if row["layer"] != "10"] if metric.of == "layer" else None
        rows = np.array(found.networks[metric.column] if rows is None else rows)
        assert np.isfinite(rows).all()
        assert metric.low is None or (rows >= metric.low).all()
        assert metric.high is None or (rows <= metric.high).all()


def test_layers_are_the_modules_and_networks_are_over_them():
    nets = networks()
    found = spectra.measure(subject(nets))
    assert [(row["network"], row["layer"]) for row in found.layers] == [
        (s, n) for s in range(3) for n in ("0", "3", "6", "10")
    ]
    for row in found.layers:
        matrix = nets[row["network"]].get_submodule(row["layer"]).weight.detach().flatten(1).numpy()
        assert matrix.shape == (row["matrix_rows"], row["matrix_columns"])
        assert row["log_spectral_norm"] == pytest.approx(2 * np.log10(np.linalg.norm(matrix, 2)), abs=1e-5)
    for network in range(3):
        alphas = [row["alpha"] for row in found.layers if row["network"] == network]
        assert np.isnan(alphas[3])
        assert found.networks["alpha_mean"][network] == pytest.approx(np.mean(alphas[:3]))
        assert found.networks["alpha_imbalance"][network] == pytest.approx(np.std(alphas[:3]) / np.mean(alphas[:3]))
        ranks = [row["stable_rank"] for row in found.layers if row["network"] == network]
        assert found.networks["stable_rank_max"][network] == max(ranks)


def test_a_network_alone_is_measured_as_in_a_stack():
    nets = networks()
    together = spectra.measure(subject(nets))
    for row, network in enumerate(nets):
        alone = spectra.measure(subject([network]))
        for column, values in together.networks.items():
            tolerance = 1e-3 if column == "alpha_hill_step_change" else 0  # gradients are sums in another order
            np.testing.assert_allclose(alone.networks[column][0], values[row], rtol=tolerance, atol=tolerance / 100)
        ours = [{**layer, "network": 0} for layer in together.layers if layer["network"] == row]
        assert str(ours) == str(alone.layers)


def test_steps_are_those_of_gradient_descent():
    torch.manual_seed(0)
    network = mlp((1, LENGTH), CLASSES, 12, norm=False).double()
    rng = np.random.default_rng(0)
    data = Data.of(rng.normal(size=(60, 1, LENGTH)), rng.integers(0, CLASSES, 60))
    surface = Stacked([network], (1, LENGTH), dtype=torch.float64)
    before = [
        np.linalg.svd(of.weight.detach().numpy(), compute_uv=False) ** 2 for of in network if isinstance(of, nn.Linear)
    ]
    change = spectra.measure(Subject(surface, data)).networks["alpha_hill_step_change"][0]
    descent = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(5):
        descent.zero_grad()
        nn.functional.cross_entropy(network(data.inputs), data.targets).backward()
        descent.step()
    after = [
        np.linalg.svd(of.weight.detach().numpy(), compute_uv=False) ** 2 for of in network if isinstance(of, nn.Linear)
    ]

    def exponent(values):
        top = np.sort(values)[::-1]
        return 1 + len(top) // 2 / np.log(top[: len(top) // 2] / top[len(top) // 2]).sum()

    expected = np.mean([exponent(new) - exponent(old) for old, new in zip(before, after, strict=True) if len(old) > 4])
    assert abs(expected) > 1e-6
    assert change == pytest.approx(expected, rel=1e-6)


def test_networks_without_spectra_say_so():
    torch.manual_seed(0)
    narrow = mlp((1, LENGTH), CLASSES, 3)
    found = spectra.measure(subject([narrow]))
    reasons = found.network_reasons[0].split("; ")
    missing = {column for column, values in found.networks.items() if np.isnan(values[0])}
    assert {column for reason in reasons for column in reason.split(": ")[0].split(", ")} == missing
    assert "alpha_mean" in missing
    assert "alpha_hill_step_change" in missing
    assert "stable_rank_mean" not in missing  # which any matrix has
    assert "no layer's matrix has 5 nonzero eigenvalues" in reasons[0]

    one = networks(1, width=3)  # of four layers, none has five
    assert np.isnan(spectra.measure(subject(one)).networks["mp_spikes_mean"]).all()
    torch.manual_seed(0)
    single = spectra.measure(subject([nn.Sequential(nn.Flatten(), nn.Linear(LENGTH, CLASSES + 4))]))
    assert np.isfinite(single.networks["alpha_mean"]).all()
    assert np.isnan(single.networks["alpha_imbalance"]).all()
    assert "there is no more than one layer to compare" in single.network_reasons[0]


def test_an_imbalance_takes_two_layers_that_could_be_measured():
    """Of two layers the second one has four eigenvalues: there are layers to compare, but one exponent."""
    torch.manual_seed(0)
    found = spectra.measure(subject([mlp((1, LENGTH), CLASSES, 12, depth=1)]))
    assert found.network_reasons == {
        0: "alpha_imbalance, alpha_hill_imbalance, alpha_hat_imbalance, mp_spikes_imbalance, mp_distance_imbalance: "
        "only 1 of 2 layers has one"
    }


def test_layers_without_spectra_say_so():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), *(nn.Linear(LENGTH, LENGTH) for _ in range(5)), nn.Linear(LENGTH, CLASSES))
    with torch.no_grad():
        network[2].weight.zero_()
        network[3].weight[5:].zero_()
        network[3].weight[:5] = torch.randn(5, LENGTH)
        network[4].weight.copy_(torch.eye(LENGTH))
        network[5].weight.fill_(torch.inf)
    found = spectra.measure(subject([network]))
    law, bulk = ["alpha", "alpha_ks", "alpha_hill", "alpha_hat"], ["mp_spikes", "mp_distance"]
    every = [*law, "stable_rank", "log_spectral_norm", "log_frobenius_norm", *bulk]
    expected = {
        "1": None,
        "2": f"{', '.join(every)}: the matrix is zero, or not finite",
        "3": f"{', '.join(bulk)}: most eigenvalues are zero",
        "4": f"{', '.join(law)}: the nonzero eigenvalues, or the larger half of them, are all the same",
        "5": f"{', '.join(every)}: the matrix is zero, or not finite",
        "6": f"{', '.join([*law, *bulk])}: the matrix has 4 nonzero eigenvalues, and it takes 5",
    }
    assert {row["layer"]: row["spectra_reason"] for row in found.layers} == expected
    for row in found.layers:
        said = (row["spectra_reason"] or "").replace(";", ",")
        assert {column for column in every if np.isnan(row[column])} == {
            column for column in every if f", {column}," in f", {said.replace(':', ',')}"
        }


def test_matrices_that_are_zero_have_no_norms():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(LENGTH, CLASSES, bias=False))
    nn.init.zeros_(network[1].weight)
    reasons = spectra.measure(subject([network])).network_reasons[0].split("; ")
    assert reasons[0].startswith("stable_rank_mean, ")
    assert reasons[0].endswith(": every layer's matrix is zero, or not finite")
    bare = spectra.measure(subject([nn.Sequential(nn.BatchNorm1d(1), nn.Flatten())]))
    (reason,) = bare.network_reasons.values()
    assert reason.endswith(": there is no linear layer and no convolution")


def test_weights_that_are_not_numbers_have_no_spectra():
    nets = networks(2)
    with torch.no_grad():
        nets[0][3].weight.fill_(torch.nan)
        nets[0][0].weight.zero_()
    found = spectra.measure(subject(nets))
    assert all(np.isfinite(values[1]) for values in found.networks.values())
    assert 1 not in found.network_reasons
    rows = {row["layer"]: row for row in found.layers if row["network"] == 0}
    for layer in ("0", "3"):
        assert np.isnan([rows[layer][metric.column] for metric in spectra.METRICS if metric.of == "layer"]).all()
    assert found.networks["log_spectral_norm_mean"][0] == pytest.approx(
        np.mean([rows[layer]["log_spectral_norm"] for layer in ("6", "10")])
    )


def test_a_large_stack_is_fitted_in_parts(monkeypatch):
    monkeypatch.setattr(spectra, "_BLOCK", 3 * 28**2)
    values = np.stack([spectra.eigenvalues(heavy(30, 28, seed)) for seed in range(11)])
    together = spectra.power_law(values)
    assert len(set(together.alpha)) == 11
    alone = [spectra.power_law(value) for value in values]
    np.testing.assert_array_equal(together.alpha, [law.alpha for law in alone])
    np.testing.assert_array_equal(together.distance, [law.distance for law in alone])


def test_zeros_before_small_values_are_no_start_of_a_tail_and_overflow_nothing():
    positive = np.geomspace(1e-12, 1e-3, 60)
    padded = np.concatenate([np.zeros(3), positive])
    assert spectra.power_law(padded[None]).alpha == spectra.power_law(positive[None]).alpha
