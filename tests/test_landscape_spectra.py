"""Spectra against other libraries, planted laws, closed forms and numerical integration."""

import contextlib
import copy
import io
import logging
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, linalg
from scipy import stats as scipy_stats
from torch import nn

from mdbench.tables.schema import COLUMNS, Family
from zoo_builder.landscape import noise, spectra, tails
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.eigenvalues import block_eigenvalues, eigenvalues, windows
from zoo_builder.landscape.matrices import find
from zoo_builder.landscape.metric import Subject
from zoo_builder.landscape.opening import open_surface
from zoo_builder.landscape.stacked import Stacked
from zoo_builder.specification.models import cnn1d, mlp

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
        values = eigenvalues(matrix)
        ours, theirs = tails.power_law(values), quietly(lambda v=values: powerlaw.Fit(v, **free))
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
        matrix = layer.weight.detach().numpy()
        found = spectra.layer_metrics(eigenvalues(matrix), *matrix.shape)
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
    values = eigenvalues(heavy(400, 300, seed, exponent))
    # The estimate's standard error is (α − 1) / √n (Clauset et al., equation 3.2); the search for x_min shortens the tail.
    law = tails.power_law(values)
    tail = np.count_nonzero(values >= law.x_min)
    assert abs(law.alpha - exponent) < 5 * (exponent - 1) / np.sqrt(tail) + 0.1
    assert abs(tails.hill(values) - exponent) < 5 * (exponent - 1) / np.sqrt(150)


@given(SEEDS, st.integers(5, 40))
def test_the_tail_is_the_best_of_all_and_its_distance_is_what_it_is(seed, n):
    values = np.sort(np.random.default_rng(seed).lognormal(size=n))
    law = tails.power_law(values)
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
    assert tails.hill(np.exp(np.arange(10.0))) == pytest.approx(1 + 5 / 15)
    # An odd number: of seven, three, above the fourth. Zeros do not count.
    assert tails.hill(np.append(np.zeros(6), np.exp(np.arange(7.0)))) == pytest.approx(1 + 3 / 6)


def test_too_few_or_equal_eigenvalues_have_no_law():
    for values in (np.arange(1.0, 5), np.append(np.zeros(20), np.arange(1.0, 5)), np.ones(10), np.zeros(10)):
        law = tails.power_law(values)
        assert np.isnan([law.alpha, law.x_min, law.distance, tails.hill(values)]).all()
    assert np.isfinite(tails.power_law(np.arange(1.0, 6)).alpha)
    assert np.isfinite(tails.hill(np.arange(1.0, 6)))


def test_equal_values_begin_one_tail():
    values = np.array([1.0, 1, 2, 2, 2, 3, 5, 5, 9])
    law = tails.power_law(values)
    assert law.alpha == pytest.approx(1 + np.mean(np.log(values[values >= law.x_min] / law.x_min)) ** -1)


def test_large_samples_have_the_best_of_all_tails():
    values = np.sort(np.random.default_rng(0).pareto(1.5, 1500) + 1)
    law, logs = tails.power_law(values), np.log(values)
    every = []
    for start in range(len(values) - 1):
        above = logs[start:] - logs[start]
        alpha = 1 + len(above) / above.sum()
        every.append((np.abs(1 - np.exp((1 - alpha) * above) - np.arange(len(above)) / len(above)).max(), alpha))
    distance, alpha = min(every)
    assert law.alpha == pytest.approx(alpha, rel=1e-9)
    assert law.distance == pytest.approx(distance, abs=1e-12)


def orthogonal(rows, columns, way="init"):
    """A matrix whose singular values are all 1, but for the rounding of float32."""
    layer = nn.Linear(columns, rows, bias=False)
    if way == "init":
        nn.init.orthogonal_(layer.weight)
    else:
        layer = nn.utils.parametrizations.orthogonal(layer, orthogonal_map=way if rows == columns else None)
    return layer.weight.detach()


@settings(max_examples=30)
@given(SEEDS, st.sampled_from([(5, 5), (5, 9), (8, 40), (32, 64), (64, 64), (130, 130)]))
def test_values_that_float32_cannot_tell_apart_are_the_same(seed, sides):
    torch.manual_seed(seed % 2**31)
    ways = [orthogonal(*sides, way) for way in ("init", "matrix_exp", "cayley", "householder")]
    scaled = 3.7 * orthogonal(*sides)
    product = orthogonal(sides[0], sides[0]) @ orthogonal(*sides)
    for weight in (*ways, scaled, product):
        values = eigenvalues(weight.numpy())
        assert (values > 0).all()
        law = tails.power_law(values)
        peak = tails.every_tail(values).best(tails.near_peak(values)).alpha
        assert np.isnan([law.alpha, law.x_min, law.distance, tails.hill(values), peak]).all()
        found = spectra.layer_metrics(values, *sides)
        assert found["stable_rank"] == pytest.approx(min(sides), rel=1e-5)


@pytest.mark.parametrize("top", [3.0, 300.0])
@pytest.mark.parametrize("n", [12, 40, 90])
def test_equal_values_below_others_are_the_same_too(n, top):
    """As with exact numbers a tail begins at the first of them, or above, and never among them."""
    torch.manual_seed(n)
    exact = torch.ones(n)
    exact[-4:] = torch.linspace(top / 3, top, 4)
    made = eigenvalues((orthogonal(n, n) * exact @ orthogonal(n, n)).numpy())
    assert len(set(made[:-4])) == n - 4  # by rounding
    expected = tails.power_law(exact.double().numpy() ** 2)
    found = tails.power_law(made)
    assert found.alpha == pytest.approx(expected.alpha, rel=1e-4)
    assert found.x_min == pytest.approx(expected.x_min, rel=1e-4)


@given(SEEDS, st.integers(6, 200))
def test_the_peak_is_that_of_a_histogram(seed, n):
    values = np.sort(np.random.default_rng(seed).lognormal(size=n))
    logs = torch.from_numpy(np.log10(values))
    counts = torch.histc(logs, 100, float(logs[0]), float(logs[-1]))
    edges = torch.linspace(float(logs[0]), float(logs[-1]), 101, dtype=torch.float64)
    peak = 10 ** float(edges[counts.argmax()])
    near = [0.95 * peak <= value <= 1.5 * peak for value in values]
    assert tails.near_peak(values).tolist() == near
    padded = tails.near_peak(np.append(np.zeros(4), values))
    assert padded.tolist() == [False] * 4 + near


def test_hill_leaves_the_value_that_it_measures_from_out_of_the_sum():
    """TempBalance and AlphaPruning count it: as one value more, whose logarithm above itself is 0."""
    values = np.exp(np.arange(10.0))
    above = np.log(values[5:] / values[5])
    assert 1 + len(above) / above.sum() == pytest.approx(1.5)  # theirs
    assert tails.hill(values) == pytest.approx(1 + 5 / 15)  # ours


# Windows, and fresh layers.


@given(st.integers(1, 3), st.integers(1, 200), st.integers(1, 200))
def test_windows_are_squares_that_cover_a_matrix(many, rows, columns):
    numbers = np.arange(many * rows * columns, dtype=float).reshape(1, many, rows, columns)
    found = windows(numbers)[0]
    side = min(rows, columns, 64)
    assert found.shape[1:] == (side, side)
    needed = many * -(-rows // side) * -(-columns // side)
    assert len(found) == min(needed, 16)
    assert (np.diff(found, axis=2) == 1).all()  # neighbours stay neighbours
    assert (np.diff(found, axis=1) == columns).all()
    if needed <= 16:
        assert len(np.unique(found)) == numbers.size
    assert found[0, 0, 0] == 0
    assert found[-1, -1, -1] == numbers.size - 1


def test_windows_leave_out_what_the_aspect_ratio_does():
    def both(rows, columns):
        whole, parts = [], []
        for seed in range(20):
            matrix = gaussian(rows, columns, seed)
            whole.append(float(tails.hill(eigenvalues(matrix))))
            parts.append(float(tails.mean_hill(eigenvalues(windows(matrix[None])))))
        return np.mean(whole), np.mean(parts)

    square, wide, tall = both(40, 40), both(40, 400), both(400, 40)
    assert square[0] == pytest.approx(square[1])
    assert wide[0] == pytest.approx(tall[0], rel=0.05)
    assert wide[0] > 2 * square[0]
    for parts in (wide[1], tall[1]):
        assert parts == pytest.approx(square[1], rel=0.03)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(60, 20),
        nn.Linear(20, 60),
        nn.Conv2d(24, 24, 3, groups=2),
        nn.ConvTranspose1d(12, 20, 3),
        nn.Embedding(200, 16),
        nn.LSTM(10, 24),
        nn.MultiheadAttention(32, 4),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_fresh_layers_are_about_as_heavy_as_fresh_layers(layer):
    """A layer of the same kind and shape that nobody trained differs from the mean of fresh ones by chance alone."""
    known = [matrix for matrix in find(layer).known if matrix.path == ""]
    fresh, state = spectra.fresh_hill(layer, known), torch.random.get_rng_state()
    assert fresh == spectra.fresh_hill(layer, known)
    assert torch.equal(state, torch.random.get_rng_state())
    others = []
    for seed in range(40):
        torch.manual_seed(seed)
        getattr(layer, "reset_parameters", getattr(layer, "_reset_parameters", None))()
        flat = [layer.get_parameter(matrix.weight).detach().flatten() for matrix in known]
        numbers = [of[matrix.start :][: matrix.size] for of, matrix in zip(flat, known, strict=True)]
        blocks = [matrix.cut(of).numpy() for of, matrix in zip(numbers, known, strict=True)]
        others.append([float(tails.hill(block_eigenvalues(of))) for of in blocks])
    spread = np.std(others, axis=0)
    assert (np.abs(np.mean(others, axis=0) - fresh) < 1.5 * spread).all()
    assert (np.abs(np.mean(others, axis=0) - fresh) < 0.1 * (np.array(fresh) - 1)).all()


def test_a_layer_is_compared_with_itself_freshly_initialised():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(LENGTH, 60), nn.ReLU(), nn.Linear(60, 12))
    with torch.no_grad():
        network[3].weight.copy_(torch.tensor(heavy(12, 60, 0, 1.5)))
    one, other = spectra.measure(subject([network])).layers
    assert abs(one["alpha_hill_minus_fresh"]) < 0.7  # nobody trained it
    fresh = spectra.fresh_hill(copy.deepcopy(network[3]), find(network[3]).known)[0]
    assert other["alpha_hill_minus_fresh"] == pytest.approx(other["alpha_hill"] - fresh)
    assert other["alpha_hill_minus_fresh"] < -1


class Conv1D(nn.Module):
    """A layer that does not say how it is initialised, as Hugging Face's transformers have it."""

    def __init__(self, out, into):
        super().__init__()
        self.nf, self.weight = out, nn.Parameter(torch.randn(into, out))

    def forward(self, x):
        return x @ self.weight


def test_what_there_is_no_window_and_no_fresh_layer_for_says_so():
    torch.manual_seed(0)
    depthwise = nn.Conv1d(8, 8, 3, groups=8, padding=1)
    network = nn.Sequential(Conv1D(24, LENGTH), nn.Unflatten(1, (1, 24)), nn.Conv1d(1, 8, 3), depthwise, nn.Flatten())
    network = nn.Sequential(nn.Flatten(), *network, nn.Linear(8 * 22, 12)).eval()
    rows = {row["layer"]: row["spectra_reason"] for row in spectra.measure(subject([network])).layers}
    assert rows["1"] == "alpha_hill_minus_fresh: its kind of layer does not say how it is initialised"
    assert rows["4"] == (
        "alpha_hill_windows: no square window of the matrix has 5 nonzero eigenvalues that are not all the same"
    )
    assert rows["6"] is None


# The Marchenko–Pastur law.


@pytest.mark.parametrize("q", [0.05, 0.3, 0.5, 0.9, 1.0])
def test_the_law_is_its_densitys_integral(q):
    low, high = noise.marchenko_pastur_edges(q)

    def share(to):
        # With x = low + (high − low) sin² t the integrand has no infinite slopes.
        def integrand(t):
            x = np.array(low + (high - low) * np.sin(t) ** 2)
            return float(noise.marchenko_pastur_density(x, q)) * (high - low) * np.sin(2 * t)

        return integrate.quad(integrand, 0, np.arcsin(np.sqrt((to - low) / (high - low))), epsabs=1e-12)[0]

    for to in np.linspace(low, high, 9)[1:]:
        assert float(noise.marchenko_pastur_cdf(np.array(to), q)) == pytest.approx(share(to), abs=1e-9)
    assert noise.marchenko_pastur_cdf(np.array([low - 1, low, high, high + 1]), q) == pytest.approx([0, 0, 1, 1])
    assert share(noise.marchenko_pastur_median(q)) == pytest.approx(0.5, abs=1e-9)


def test_square_noise_has_the_quarter_circles_singular_values():
    x = np.linspace(0.1, 3.9, 9)
    root = np.sqrt(x)
    circle = (root * np.sqrt(4 - x) / 2 + 2 * np.arcsin(root / 2)) / np.pi
    np.testing.assert_allclose(noise.marchenko_pastur_cdf(x, 1.0), circle, atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "columns", "spiked"),
    [
        *((6, 5, 0.18), (8, 5, 0.16), (6, 18, 0.08), (10, 10, 0.16)),  # of 4,000 matrices
        *((16, 48, 0.09), (32, 96, 0.10), (10, 160, 0.07), (64, 64, 0.13), (200, 150, 0.08)),  # of 500
    ],
)
def test_noise_has_few_spikes_and_its_variance_is_found(rows, columns, spiked):
    sigma, many = 0.3, 1500 if rows * columns < 2000 else 200
    values = eigenvalues(sigma * np.random.default_rng(1).normal(size=(many, rows, columns)))
    found = noise.bulk(values, rows, columns)
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


@pytest.mark.parametrize(("blocks", "rows", "columns"), [(1, 16, 48), (4, 12, 36), (16, 8, 24), (64, 4, 36)])
def test_of_several_blocks_of_noise_the_largest_eigenvalue_keeps_to_the_edge(blocks, rows, columns):
    sigma, many = 0.3, 1500
    matrices = sigma * np.random.default_rng(2).normal(size=(many, blocks, rows, columns))
    values = block_eigenvalues(matrices)
    found = noise.bulk(values, rows, columns, blocks)
    assert np.mean(found.scale) == pytest.approx(columns * sigma**2, rel=0.05)
    edge = found.edge / found.scale * columns * sigma**2
    assert np.mean(values[:, -1] > edge) == pytest.approx(0.05, abs=0.03 + 2 * np.sqrt(0.05 * 0.95 / many))


@settings(max_examples=25)
@given(SEEDS, st.integers(0, 4), st.sampled_from([(60, 60), (40, 160), (160, 40), (100, 75)]))
def test_planted_spikes_are_counted(seed, rank, sides):
    rows, columns = sides
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(side, max(rank, 1))))[0][:, :rank] for side in sides)
    strengths = 3 * (np.sqrt(rows) + np.sqrt(columns)) * (1 + np.arange(rank))
    values = eigenvalues(gaussian(rows, columns, seed) + left * strengths @ right.T)
    spikes = noise.bulk(values, rows, columns).spikes
    # Spikes push the median up and noise may have one of its own.
    assert rank <= spikes <= rank + 1


def test_the_distance_is_that_of_kolmogorov_and_smirnov_and_tells_noise_from_heavy_tails():
    for seed, (rows, columns) in enumerate([(50, 80), (90, 60), (64, 64)]):
        distances = []
        for matrix in (gaussian(rows, columns, seed), heavy(rows, columns, seed)):
            values = eigenvalues(matrix)
            found = noise.bulk(values, rows, columns)
            left = values[values <= found.edge] / found.scale
            reference = scipy_stats.kstest(left, lambda x, q=found.q: noise.marchenko_pastur_cdf(x, q)).statistic
            assert found.distance == pytest.approx(reference, abs=1e-12)
            assert found.spikes == len(values) - len(left)
            distances.append(found.distance)
        assert distances[0] < 0.05
        assert distances[1] > 0.15


def test_a_matrix_that_is_mostly_zero_has_no_bulk():
    matrix = np.zeros((20, 30))
    matrix[:8] = gaussian(8, 30, 0)
    found = spectra.layer_metrics(eigenvalues(matrix), 20, 30)
    assert np.isnan([found["mp_spikes"], found["mp_distance"]]).all()
    assert np.isfinite([found["alpha"], found["alpha_hill"], found["stable_rank"]]).all()


# Layers.


@given(SEEDS, st.floats(1e-3, 1e3), st.sampled_from([(8, 24), (30, 10), (20, 20)]))
def test_shapes_of_spectra_have_no_scale_and_norms_do(seed, factor, sides):
    matrix = gaussian(*sides, seed) ** 3
    one, other = (spectra.layer_metrics(eigenvalues(of), *sides) for of in (matrix, factor * matrix))
    for column in ("alpha", "alpha_ks", "alpha_hill", "stable_rank", "mp_spikes", "mp_distance"):
        assert other[column] == pytest.approx(one[column], rel=1e-8)
    for column in ("log_spectral_norm", "log_frobenius_norm"):
        assert other[column] - one[column] == pytest.approx(2 * np.log10(factor), abs=1e-9)


@given(SEEDS, st.integers(5, 12), st.integers(5, 30))
def test_norms_and_ranks_are_those_of_the_matrix_and_of_its_transpose(seed, rows, columns):
    matrix = gaussian(rows, columns, seed)
    found = spectra.layer_metrics(eigenvalues(matrix), rows, columns)
    frobenius, spectral = np.linalg.norm(matrix), np.linalg.norm(matrix, 2)
    assert found["stable_rank"] == pytest.approx((frobenius / spectral) ** 2)
    assert found["log_spectral_norm"] == pytest.approx(2 * np.log10(spectral), abs=1e-12)
    assert found["log_frobenius_norm"] == pytest.approx(2 * np.log10(frobenius), abs=1e-12)
    assert found["alpha_hat"] == pytest.approx(found["alpha"] * 2 * np.log10(spectral), abs=1e-9)
    other = spectra.layer_metrics(eigenvalues(matrix.T), columns, rows)
    for column, value in found.items():
        assert other[column] == pytest.approx(value, rel=1e-8), column


def test_eigenvalues_are_those_of_the_product_and_rank_is_numpys():
    matrix = (gaussian(12, 4, 0) @ gaussian(4, 9, 1)).astype(np.float32).astype(float)
    values = eigenvalues(matrix)
    assert len(values) == 9
    assert np.count_nonzero(values) == np.linalg.matrix_rank(matrix.astype(np.float32)) == 4
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix.T @ matrix), atol=1e-5)


@pytest.mark.parametrize("sides", [(200, 300), (300, 200), (128, 128)])
def test_eigenvalues_of_large_matrices_are_squared_singular_values(sides):
    """They are those of WᵀW in double precision, up to the smallest one that is not called zero."""
    spectrum = np.geomspace(1e-3, 1, min(sides))
    left, right = (np.linalg.qr(gaussian(side, min(sides), 1))[0] for side in sides)
    matrix = left * spectrum @ right.T
    np.testing.assert_allclose(eigenvalues(matrix), spectrum**2, rtol=1e-8)
    least = max(sides) * np.finfo(np.float32).eps
    spectrum = np.geomspace(least / 50, 1, min(sides))
    found = eigenvalues(left * spectrum @ right.T)
    np.testing.assert_array_equal(found > 0, spectrum > least)
    np.testing.assert_allclose(found[found > 0], spectrum[spectrum > least] ** 2, rtol=1e-3)
    for factor in (1e-150, 1e150):  # whose squares are no numbers
        np.testing.assert_allclose(np.sqrt(eigenvalues(factor * matrix)[-1]), factor, rtol=1e-9)


def test_blocks_have_the_eigenvalues_of_the_whole_matrix():
    blocks = np.random.default_rng(0).normal(size=(2, 3, 4, 6))
    for some, values in zip(blocks, block_eigenvalues(blocks), strict=True):
        whole = np.linalg.svd(linalg.block_diag(*some), compute_uv=False)
        np.testing.assert_allclose(values, whole[::-1] ** 2, rtol=1e-10)
    blocks[0, 1, 0, 0] = np.inf
    assert not block_eigenvalues(blocks)[0].any()
    assert block_eigenvalues(blocks)[1].all()


def test_what_a_figure_shows():
    matrix = gaussian(120, 80, 0) + 6 * np.outer(np.ones(120), np.ones(80))
    found = spectra.curves(matrix, 4000)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.svd(matrix, compute_uv=False)[::-1] ** 2)
    assert found.noise.spikes == 1
    # The bulk's density holds the eigenvalues that are not spikes; the tail's, from x_min to infinity, the share of the tail.
    inside = np.diff(noise.marchenko_pastur_cdf(found.x[[0, -1]] / found.noise.scale, 80 / 120))
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
    assert len(of_networks) == 36
    assert all(reason.endswith(": over 3 of 4 layers") for reason in found.network_reasons.values())
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


def exponent(values):
    top = np.sort(values)[::-1]
    return 1 + len(top) // 2 / np.log(top[: len(top) // 2] / top[len(top) // 2]).sum()


def test_the_step_is_one_of_gradient_descent_as_long_as_each_matrix():
    torch.manual_seed(0)
    network = mlp((1, LENGTH), CLASSES, 12, norm=False).double()
    rng = np.random.default_rng(0)
    data = Data.of(rng.normal(size=(60, 1, LENGTH)), rng.integers(0, CLASSES, 60))
    change = spectra.measure(Subject(Stacked([network], (1, LENGTH), dtype=torch.float64), data)).networks
    nn.functional.cross_entropy(network(data.inputs), data.targets).backward()
    expected = []
    for layer in network:
        if isinstance(layer, nn.Linear):
            w, g = (of.detach().numpy() for of in (layer.weight, layer.weight.grad))
            stepped = w - np.linalg.norm(w) * g / np.linalg.norm(g)
            assert np.linalg.norm(stepped - w) == pytest.approx(np.linalg.norm(w))
            expected.append(
                exponent(np.linalg.svd(stepped, compute_uv=False) ** 2)
                - exponent(np.linalg.svd(w, compute_uv=False) ** 2)
            )
    assert change["alpha_hill_step_change"][0] == pytest.approx(np.mean(expected[:-1]), rel=1e-6)  # four eigenvalues


def test_the_step_moves_the_exponents_of_trained_networks():
    """By as much as these differ from each other, which the small steps of training do not."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLASSES, 1, LENGTH))
    labels = rng.integers(0, CLASSES, 200)
    data = Data.of((centres[labels] + rng.normal(size=(200, 1, LENGTH))).astype(np.float32), labels)
    nets = networks(6, 12)
    for count, network in enumerate(nets):
        descent = torch.optim.SGD(network.train().parameters(), lr=0.05, momentum=0.9)
        for _ in range(20 * count):
            descent.zero_grad()
            nn.functional.cross_entropy(network(data.inputs), data.targets).backward()
            descent.step()
        network.eval()
    found = spectra.measure(Subject(open_surface(nets, (1, LENGTH)), data)).networks
    assert np.median(np.abs(found["alpha_hill_step_change"])) > 0.5 * np.std(found["alpha_hill_mean"])


def test_a_layer_without_a_gradient_stays():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(LENGTH, 8), nn.ReLU(), nn.Linear(8, CLASSES + 4))
    nn.init.constant_(network[1].bias, -1e3)  # all units are off
    surface = Stacked([network], (1, LENGTH))
    data = Data(torch.randn(20, 1, LENGTH), torch.arange(20) % CLASSES)
    after = spectra.stepped(surface, find(network).known, data)
    assert torch.equal(after, surface.points)
    assert spectra.measure(Subject(surface, data)).networks["alpha_hill_step_change"][0] == 0


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
        "only 1 of 2 layers has one; alpha, alpha_hill, alpha_peak, alpha_hill_windows, alpha_hill_minus_fresh, alpha_hat, "
        "mp_spikes, mp_distance: over 1 of 2 layers"
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
    bulk = ["mp_spikes", "mp_distance"]
    law = ["alpha", "alpha_ks", "alpha_hill", "alpha_peak", "alpha_hill_windows", "alpha_hill_minus_fresh", "alpha_hat"]
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
    assert reason.endswith(": there is no layer with a matrix")


def test_weights_that_are_not_numbers_have_no_spectra():
    nets = networks(2)
    with torch.no_grad():
        nets[0][3].weight.fill_(torch.nan)
        nets[0][0].weight.zero_()
    found = spectra.measure(subject(nets))
    assert all(np.isfinite(values[1]) for values in found.networks.values())
    assert found.network_reasons[1].endswith(": over 3 of 4 layers")  # the last one has four classes
    assert "log_spectral_norm, log_frobenius_norm: over 2 of 4 layers" in found.network_reasons[0]
    rows = {row["layer"]: row for row in found.layers if row["network"] == 0}
    for layer in ("0", "3"):
        assert np.isnan([rows[layer][metric.column] for metric in spectra.METRICS if metric.of == "layer"]).all()
    assert found.networks["log_spectral_norm_mean"][0] == pytest.approx(
        np.mean([rows[layer]["log_spectral_norm"] for layer in ("6", "10")])
    )


def test_a_large_stack_is_fitted_in_parts(monkeypatch):
    monkeypatch.setattr(tails, "_STARTS", 5)
    values = np.stack([eigenvalues(heavy(30, 28, seed)) for seed in range(11)])
    together = tails.power_law(values)
    assert len(set(together.alpha)) == 11
    alone = [tails.power_law(value) for value in values]
    np.testing.assert_array_equal(together.alpha, [law.alpha for law in alone])
    np.testing.assert_array_equal(together.distance, [law.distance for law in alone])
    monkeypatch.setattr(tails, "_STARTS", 64)
    np.testing.assert_allclose(tails.power_law(values).alpha, together.alpha, rtol=1e-12)


def test_zeros_before_small_values_are_no_start_of_a_tail_and_overflow_nothing():
    positive = np.geomspace(1e-12, 1e-3, 60)
    padded = np.concatenate([np.zeros(3), positive])
    assert tails.power_law(padded[None]).alpha == tails.power_law(positive[None]).alpha
